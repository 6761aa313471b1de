"""Statements that may run or not: `if`, `assert`, `try`, `with`, and what they make of names."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rollout.adopt import environment
from rollout.adopt.expressions import Expressions
from rollout.adopt.lookups import Condition
from rollout.adopt.operations import merge
from rollout.adopt.syntax import condition_text, source_text
from rollout.adopt.values import (
    Computed,
    External,
    Names,
    Scope,
    Setting,
    known,
    opposite,
    truth,
    unknown,
)

ENDINGS = ("sys.exit", "exit", "quit", "os._exit", "os.abort")


@dataclass
class Branches(Expressions):
    """A reader of statements that may run or not."""

    def store(self, target: ast.expr, value: Any, scope: Scope) -> None:
        """Set what an assignment's target names."""
        raise NotImplementedError

    def run(self, statements: Iterable[ast.stmt], scope: Scope) -> bool:
        """Whether the end of the statements is never reached."""
        before = len(self._conditions)
        try:
            return any(self.statement(statement, scope) for statement in statements)
        finally:
            del self._conditions[before:]

    def statement(self, node: ast.stmt, scope: Scope) -> bool:
        """Read a statement: whether what follows is never reached."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------------- if

    def _if(self, node: ast.If, scope: Scope) -> bool:
        condition = self.value(node.test, scope)
        self.note_switch(node.test, node, scope)
        if known(condition):
            branch = node.body if condition else node.orelse
            return self.run(branch, scope)
        holds = truth(condition)
        if self._may_stop(node.body, scope, holds):
            self._require_variables(node.test, condition, scope)
            return self.run(node.orelse, scope)
        text = condition_text(node.test, condition)
        other = replace(scope, names=dict(scope.names))
        with self.under(holds):
            body_ends = self.run(node.body, scope)
        with self.under(opposite(holds), text):
            else_ends = self.run(node.orelse, other)
        if body_ends and else_ends:
            return True
        if body_ends:  # the `else` alone reaches what follows
            _take_names(scope, other.names)
            self._conditions.append(Condition(opposite(holds), text))
        elif else_ends:
            self._conditions.append(Condition(holds))
        else:
            merge(scope.names, other.names, source_text(node.test), condition)
        return False

    def _assert(self, node: ast.Assert, scope: Scope) -> bool:
        failure = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node)
        self._require_variables(failure, self.value(failure, scope), scope)
        return False

    def _require_variables(
        self,
        test: ast.expr,
        condition: Any,
        scope: Scope,
    ) -> None:
        """`if TEST: raise`: the variables of a test that holds in an empty environment are
        required."""
        if not isinstance(condition, Computed) or not truth(condition):
            return
        is_and = isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)
        for name in condition.names:
            unless = ""
            others = [other for other in condition.names if other != name]
            if is_and and others:
                unless = f"{' or '.join(others)} is set"
            self.read(name, True, test, scope, unless=unless)

    def _may_stop(
        self,
        body: list[ast.stmt],
        scope: Scope,
        holds: bool | None,
    ) -> bool:
        """As `_stops`, for a body that runs only where a condition holds."""
        with self.under(holds):
            return self._stops(body, scope)

    def _stops(self, body: list[ast.stmt], scope: Scope) -> bool:
        """Whether a body raises or exits in an empty environment."""
        for node in body:
            match node:
                case ast.Raise():
                    return True
                case ast.Return():
                    return False
                case ast.Expr(value=ast.Call(func=function)):
                    if self._is_ending(self.value(function, scope)):
                        return True
                case ast.If():
                    branch = self._branch_taken(node, scope)
                    if self._stops(branch, scope):
                        return True
                    if branch and isinstance(branch[-1], ast.Return):
                        return False
        return False

    def _branch_taken(self, node: ast.If, scope: Scope) -> list[ast.stmt]:
        """The branch that runs in an empty environment; none where that is not known."""
        holds = truth(self.value(node.test, scope))
        if holds is None:
            return []
        return node.body if holds else node.orelse

    def _is_ending(self, function: Any) -> bool:
        """Whether calling it ends the process."""
        return isinstance(function, External) and function.name in ENDINGS

    # --------------------------------------------------------------------------------------- try

    def _try(self, node: ast.Try, scope: Scope) -> bool:
        handlers = self._handlers(node, scope)
        if not handlers:
            return self.run([*node.body, *node.orelse, *node.finalbody], scope)
        names_before = dict(scope.names)
        strict_before = self.strict_lookups
        with self.under(None) as condition:
            condition.holds = False  # whatever it looks up is caught
            body_ends = self.run([*node.body, *node.orelse], scope)
        handler_runs: bool | None = None
        succeeds = Computed()
        if self.strict_lookups > strict_before:
            handler_runs = True
            succeeds = Computed(unset=False)
        all_end = body_ends
        for handler in handlers:
            other = replace(scope, names=dict(names_before))
            if handler.name:
                other.names[handler.name] = Setting(Computed())
            with self.under(handler_runs):
                handler_ends = self.run(handler.body, other)
            all_end = all_end and handler_ends
            if handler_ends:
                continue
            if body_ends:
                _take_names(scope, other.names)
            else:
                text = f"line {node.body[0].lineno} succeeds"
                merge(scope.names, other.names, text, succeeds)
        return self.run(node.finalbody, scope) or all_end

    def _handlers(self, node: ast.Try, scope: Scope) -> list[ast.ExceptHandler]:
        """The handlers that may run and go on; none where the body can't fail."""
        if self._only_imports_own(node.body, scope):
            return []
        handlers = []
        for handler in node.handlers:
            if not self._may_stop(handler.body, scope, None):
                handlers.append(handler)
        return handlers

    def _only_imports_own(self, body: list[ast.stmt], scope: Scope) -> bool:
        """Whether a body only imports modules of the project."""
        for node in body:
            if not isinstance(node, ast.ImportFrom):
                return False
            if self.find(imported_module(node, scope)) is None:
                return False
        return True

    # -------------------------------------------------------------------------------------- with

    def _with(self, node: ast.With, scope: Scope) -> bool:
        outer_prefix = self._prefix
        suppresses = False
        for item in node.items:
            value = self.value(item.context_expr, scope)
            if isinstance(item.context_expr, ast.Call):
                name = self._enter(item.context_expr, scope)
                suppresses = suppresses or name == "contextlib.suppress"
            if item.optional_vars:
                self.store(item.optional_vars, unknown(value), scope)
        try:
            if not suppresses or self._only_imports_own(node.body, scope):
                return self.run(node.body, scope)
            with self.under(False):
                self.run(node.body, scope)
            return False
        finally:
            self._prefix = outer_prefix

    def _enter(self, call: ast.Call, scope: Scope) -> str:
        """The name of what is entered; environs' `env.prefixed(…)` adds its prefix."""
        function = self.value(call.func, scope)
        name = function.name if isinstance(function, External) else ""
        first = self.value(call.args[0], scope) if call.args else None
        if environment.prefixed(name) and isinstance(first, str):
            self._prefix += first
        return name


def imported_module(node: ast.ImportFrom, scope: Scope) -> str:
    """The full name of the module that `from` names."""
    parts: list[str] = []
    if node.level:
        package = scope.module.split(".")
        if scope.file.name != "__init__.py":
            package = package[:-1]
        parts = package[: len(package) - node.level + 1]
    if node.module:
        parts = [*parts, node.module]
    return ".".join(parts)


def _take_names(scope: Scope, names: Names) -> None:
    scope.names.clear()
    scope.names.update(names)
