"""What the source of settings says by itself. Pure: nothing of it is imported or run.

It follows literals, lists that grow, paths from `__file__`, and imports inside the project. All
else is `Computed`, never guessed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rollout.adopt import classes
from rollout.adopt.environment import ENVIRON
from rollout.adopt.imports import Imports
from rollout.adopt.operations import changed, operated, replaced
from rollout.adopt.syntax import (
    CHANGES,
    included_nodes,
    names_in,
    only_grows,
    source_text,
    stored,
)
from rollout.adopt.values import (
    Computed,
    External,
    Function,
    Names,
    Scope,
    Setting,
    unknown,
)

# Functions that get hold of all names of a module.
_REACHES_ALL = {"exec", "eval", "locals", "globals", "include", "vars"}
_INCLUDE = "split_settings.tools.include"
_OPTIONAL = "split_settings.tools.optional"


@dataclass
class Reader(Imports):
    """A reader of settings. `classes` are the configurations of django-configurations in them."""

    classes: list[Setting] = field(default_factory=list)

    def new_reader(self, variables: Mapping[str, str] | None = None) -> Reader:
        """Another reader of the same project that has read nothing yet.

        `variables` is an environment to try.
        """
        return Reader(
            self.root,
            variables or {},
            unshipped=self.unshipped,
            unread=self.unread,
        )

    # -------------------------------------------------------------------------------- statements

    def statement(self, node: ast.stmt, scope: Scope) -> bool:
        """Read a statement: whether what follows is never reached.

        A statement that is too deep for this reader is like one that only a run shows.
        """
        try:
            if self.is_exhausted():
                self._invalidate_names(node, scope)
                return False
            read = _STATEMENTS.get(type(node), Reader._invalidate)
            return bool(read(self, node, scope))
        except (RecursionError, MemoryError):
            self._invalidate_names(node, scope)
            self._note("an expression is too deep to be read", node, scope)
            return False

    def _assign(self, node: ast.Assign, scope: Scope) -> None:
        value = self.value(node.value, scope)
        for target in node.targets:
            self.store(target, value, scope)

    def _annotated(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is None:
            self._invalidate(node, scope)
        else:
            self.store(node.target, self.value(node.value, scope), scope)

    def _augmented(self, node: ast.AugAssign, scope: Scope) -> None:
        old = self.value(node.target, scope)
        added = self.value(node.value, scope)
        self.store(node.target, operated(node.op, old, added), scope)

    def _function(self, node: ast.FunctionDef, scope: Scope) -> None:
        self._bind(node.name, Function(node, scope), node, scope)

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        """A class: what it looks up, and its attributes where it is one that is followed."""
        bases = [self.value(base, scope) for base in node.bases]
        inner = dict(scope.names)
        inside = replace(scope, names=inner, returned=None)
        self.run(node.body, inside)
        body: Names = {}
        for name, setting in inner.items():
            if setting is not scope.names.get(name):
                body[name] = setting
        group = classes.made(self, node, bases, body, scope)
        if group and group.kind == classes.CONFIGURATION:
            where = self.where(scope.file, node)
            self.classes.append(Setting(node.name, where))
        self._bind(node.name, group or Computed(), node, scope)

    def _delete(self, node: ast.Delete, scope: Scope) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                scope.names.pop(target.id, None)

    def _return(self, node: ast.Return, scope: Scope) -> bool:
        if scope.returned is not None:
            value = None
            if node.value:
                value = self.value(node.value, scope)
            scope.returned.append((value, self.is_reached()))
        return True

    def _raise(self, node: ast.Raise, scope: Scope) -> bool:
        return True

    def _expression(self, node: ast.Expr, scope: Scope) -> bool:
        """A call for its effects; one that gets hold of all names may set any of them."""
        call = node.value
        if isinstance(call, ast.Call):
            called = call.func
            if isinstance(called, ast.Attribute) and called.attr in CHANGES:
                arguments = [self.value(argument, scope) for argument in call.args]
                self._change(called.value, called.attr, arguments, scope)
                return False
            function = self.value(called, scope)
            if self._is_ending(function):
                return True
            if function == External(_INCLUDE) and self._include(call, scope):
                return False
        self.value(call, scope)
        if _REACHES_ALL & names_in(call):
            text = f"`{source_text(call)}` may set anything"
            self._note(text, call, scope)
        return False

    # --------------------------------------------------------------------------------- assigning

    def store(self, target: ast.expr, value: Any, scope: Scope) -> None:
        """Set what an assignment's target names."""
        match target:
            case ast.Name(id=name):
                self._bind(name, value, target, scope)
            case ast.Starred(value=inner):
                self.store(inner, unknown(value), scope)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                values = [unknown(value)] * len(targets)
                if isinstance(value, list) and len(value) == len(targets):
                    values = value
                for inner, item in zip(targets, values, strict=True):
                    self.store(inner, item, scope)
            case ast.Subscript():
                self._store_item(target, value, scope)

    def _store_item(
        self,
        target: ast.Subscript,
        value: Any,
        scope: Scope,
    ) -> None:
        """`X[key] = value`, where X may be an item itself."""
        old = self.value(target.value, scope)
        key = self.value(target.slice, scope)
        if old == External(ENVIRON):
            self.declare(key, value)
        elif isinstance(old, dict):
            new: Any = unknown(old, value)
            if isinstance(key, str):
                new = {**old, key: value}
            self.store(target.value, new, scope)
        elif isinstance(old, list):
            self.store(target.value, replaced(old, key, value), scope)

    def _change(
        self,
        target: ast.expr,
        attr: str,
        arguments: list[Any],
        scope: Scope,
    ) -> None:
        """A method changes a list or dict in place: the name has another value from here on."""
        old = self.value(target, scope)
        if old == External(ENVIRON):
            name, value = [*arguments, None, None][:2]
            self.declare(name, value)
        elif old == External("globals()"):
            text = f"`{source_text(target)}.{attr}(…)` may set anything"
            self._note(text, target, scope)
        elif isinstance(old, (list, dict)):
            self.store(target, changed(old, attr, arguments), scope)

    def _invalidate(self, node: ast.stmt, scope: Scope) -> None:
        """A loop or the like: the names that it may set are not known any more.

        A list that it may change has unknown parts.
        """
        with self.under(None):
            for branch in ("body", "orelse"):
                inner = replace(scope, names=dict(scope.names), returned=None)
                for name in stored(node):
                    inner.names[name] = Setting(Computed())
                parts = getattr(node, branch, [])
                statements = [part for part in parts if isinstance(part, ast.stmt)]
                self.run(statements, inner)
        self._invalidate_names(node, scope)

    def _invalidate_names(self, node: ast.stmt, scope: Scope) -> None:
        for part in ast.walk(node):
            match part:
                case ast.Name(id=name, ctx=ast.Store()):
                    self._invalidate_name(name, node, part, scope)
                case ast.Call(func=ast.Attribute(value=target, attr=attr)):
                    if attr in CHANGES:
                        self._change(target, attr, [Computed()], scope)

    def _invalidate_name(
        self,
        name: str,
        node: ast.stmt,
        place: ast.Name,
        scope: Scope,
    ) -> None:
        before = scope.names.get(name, Setting()).value
        value: Any = Computed()
        if isinstance(before, list) and only_grows(node, name):
            value = [*before, Computed()]
        self._bind(name, value, place, scope)

    # ------------------------------------------------------------------------- modules from outside

    # ---------------------------------------------------------------------- django-split-settings

    def _include(self, node: ast.Call, scope: Scope) -> bool:
        """Run included files as if they stood here: whether all of them are known by name."""
        patterns: list[str] = []
        all_known = True
        for argument in included_nodes(node):
            of_argument = self._patterns(argument, scope)
            patterns += of_argument
            all_known = all_known and bool(of_argument)
        for pattern in patterns:
            if pattern.startswith("/"):
                continue
            for file in sorted(scope.file.parent.glob(pattern)):
                self._include_file(file, node, scope)
        return all_known

    def _include_file(
        self,
        file: Path,
        node: ast.Call,
        scope: Scope,
    ) -> None:
        if file in self.unshipped:
            self.missing.append(Setting(file, self.where(scope.file, node)))
            return
        is_own = file.suffix == ".py" and file.is_relative_to(self.root)
        if not is_own or file in self.files:
            return
        tree = self.tree(file)
        if tree:
            self.files.append(file)
            self.run(tree.body, replace(scope, file=file))

    def _patterns(self, node: ast.expr, scope: Scope) -> list[str]:
        """The patterns that an argument names; none where one of them is not known."""
        if isinstance(node, ast.Starred):
            node = node.value
        value = self.value(node, scope)
        if isinstance(node, ast.Call) and node.args:
            function = self.value(node.func, scope)
            if function == External(_OPTIONAL):
                value = self.value(node.args[0], scope)
        items = value if isinstance(value, list) else [value]
        if all(_is_pattern(item) for item in items):
            return items
        return []


def _is_pattern(item: Any) -> bool:
    """Whether this names files below the folder of the settings."""
    if not isinstance(item, str) or not item:
        return False
    return ".." not in item.split("/")


_STATEMENTS: dict[type[ast.stmt], Callable[[Reader, Any, Scope], bool | None]] = {
    ast.Assign: Reader._assign,
    ast.AnnAssign: Reader._annotated,
    ast.AugAssign: Reader._augmented,
    ast.Expr: Reader._expression,
    ast.If: Reader._if,
    ast.Assert: Reader._assert,
    ast.Try: Reader._try,
    ast.With: Reader._with,
    ast.Import: Reader._import,
    ast.ImportFrom: Reader._import_from,
    ast.FunctionDef: Reader._function,
    ast.ClassDef: Reader._class,
    ast.Delete: Reader._delete,
    ast.Return: Reader._return,
    ast.Raise: Reader._raise,
}
