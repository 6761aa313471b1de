"""What the source of settings says by itself. Pure: nothing of it is imported or run.

Literals, lists that grow, paths from `__file__`, imports inside the project; all else is
`Computed`, never guessed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from on_host.release.modules import files_of
from rollout.adopt import classes, environment
from rollout.adopt.environment import ENVIRON
from rollout.adopt.expressions import CHANGES, Doubt, Expressions, said, short, stored, told
from rollout.adopt.values import (
    NOTHING,
    AdoptError,
    Computed,
    External,
    Function,
    Names,
    NotPython,
    Scope,
    Setting,
    bounded,
    changed,
    known,
    merge,
    operated,
    truth,
    unknown,
)

_ENDINGS = {"sys.exit", "exit", "quit", "os._exit", "os.abort"}
_REACHES_ALL = {"exec", "eval", "locals", "globals", "include", "vars"}
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_SPLIT_SETTINGS = ("split_settings.tools.include", "split_settings.tools.optional")


@dataclass
class Reader(Expressions):
    """Modules below `root`, each read once. `notes` are what may set more than is read, `files`
    what was read, `hidden` are files that are here and are not shipped, `missing` the imports of
    such."""

    hidden: Collection[Path] = ()
    notes: list[Setting] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    missing: list[Setting] = field(default_factory=list)
    classes: list[Setting] = field(default_factory=list)
    unread: set[Path] = field(
        default_factory=set
    )  # in another grammar; one for all readers of the project
    _modules: dict[str, Names] = field(default_factory=dict)

    def fresh(self, given: Mapping[str, str] | None = None) -> Reader:
        """Another one for the same project, which has read nothing yet; `given` is an environment
        to try."""
        return Reader(self.root, given or {}, hidden=self.hidden, unread=self.unread)

    def short(self, file: Path) -> str:
        """A file as messages name it."""
        return str(file.relative_to(self.root) if file.is_relative_to(self.root) else file)

    def find(self, module: str) -> Path | None:
        """The file of a module of the project that is shipped."""
        return next((file for file in self._files(module) if file not in self.hidden), None)

    def _files(self, module: str) -> list[Path]:
        if not _MODULE.fullmatch(module):
            return []
        return [file for name in files_of(module) if (file := self.root / name).is_file()]

    def module(self, name: str) -> Names:
        """The names that a module of the project has at its end; none for any other module."""
        file = self.find(name)
        if name not in self._modules and file is not None and not self.spent():
            self._modules[name] = {}  # first, since modules import each other
            if tree := self.tree(file):
                self.files.append(file)
                self._apart(tree.body, Scope(name, file, self._modules[name]))
        return self._modules.get(name, {})

    def tree(self, file: Path) -> ast.Module | None:
        """What is in a file; None, and a note, for one in another grammar than this Python's."""
        try:
            return parse(file)
        except AdoptError:
            self.unread.add(file)
            return None

    def _apart(self, statements: Iterable[ast.stmt], scope: Scope) -> None:
        """Another file. One that ends the process is read to its end all the same."""
        with self.doubting(self.sure() or None):
            for statement in statements:
                self._guarded(statement, scope)

    # ----------------------------------------------------------------------------------- statements

    def run(self, statements: Iterable[ast.stmt], scope: Scope) -> bool:
        """Whether the end of the statements is never reached."""
        before = len(self._doubts)
        try:
            return any(self._guarded(statement, scope) for statement in statements)
        finally:
            del self._doubts[before:]

    def _guarded(self, node: ast.stmt, scope: Scope) -> bool:
        """A statement. One that is too deep for this reader is like one that only a run can
        tell."""
        try:
            if self.spent():
                self._bind_all(node, scope)
                return False
            return self._statement(node, scope)
        except (RecursionError, MemoryError):
            self._bind_all(node, scope)
            self.notes.append(
                Setting("an expression is too deep to be read", self.where(scope.file, node))
            )
            return False

    def _statement(self, node: ast.stmt, scope: Scope) -> bool:
        match node:
            case ast.Assign(targets=targets, value=value):
                found = self.value(value, scope)
                for target in targets:
                    self._store(target, found, scope)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._store(target, self.value(value, scope), scope)
            case ast.AugAssign(target=target, op=op, value=value):
                self._store(
                    target, operated(op, self.value(target, scope), self.value(value, scope)), scope
                )
            case ast.Expr(
                value=ast.Call(func=ast.Attribute(value=target, attr=attr), args=args)
            ) if attr in CHANGES:
                self._change(target, attr, [self.value(one, scope) for one in args], scope)
            case ast.Expr(value=value):
                return self._aside(value, scope)
            case ast.If():
                return self._if(node, scope)
            case ast.Assert(test=test):
                self._demand(
                    ast.UnaryOp(ast.Not(), test), self._not(self.value(test, scope)), scope
                )
            case ast.Try():
                return self._try(node, scope)
            case ast.With():
                return self._with(node, scope)
            case ast.Import(names=names):
                for alias in names:
                    self._whole_module(alias, node, scope)
            case ast.ImportFrom():
                self._import(node, scope)
            case ast.FunctionDef(name=name):
                self._bind(name, Function(node, scope), node, scope)
            case ast.ClassDef():
                self._class(node, scope)
            case ast.Delete(targets=targets):
                for target in targets:
                    if isinstance(target, ast.Name):
                        scope.names.pop(target.id, None)
            case ast.Return(value=value):
                if scope.returned is not None:
                    scope.returned.append(
                        (self.value(value, scope) if value else None, self.sure())
                    )
                return True
            case ast.Raise():
                return True
            case _:
                self._fog(node, scope)
        return False

    def _bind(self, name: str, value: Any, node: ast.AST, scope: Scope) -> None:
        scope.names[name] = Setting(bounded(value), self.where(scope.file, node))

    def _store(self, target: ast.expr, value: Any, scope: Scope) -> None:
        match target:
            case ast.Name(id=name):
                self._bind(name, value, target, scope)
            case ast.Starred(value=inner):
                self._store(inner, unknown(value), scope)
            case ast.Tuple(elts=elts) | ast.List(elts=elts):
                each = (
                    value
                    if isinstance(value, list) and len(value) == len(elts)
                    else [unknown(value)] * len(elts)
                )
                for element, one in zip(elts, each, strict=True):
                    self._store(element, one, scope)
            case ast.Subscript(value=inner, slice=place):
                old, key = self.value(inner, scope), self.value(place, scope)
                if old == External(ENVIRON):
                    self.declare(key, value)
                elif isinstance(old, dict):
                    self._store(
                        inner,
                        {**old, key: value} if isinstance(key, str) else unknown(old, value),
                        scope,
                    )
                elif isinstance(old, list):
                    self._store(inner, _replaced(old, key, value), scope)

    def _change(self, target: ast.expr, attr: str, given: list[Any], scope: Scope) -> None:
        """A list or dict that is changed in place is another one from here on."""
        old = self.value(target, scope)
        if old == External(ENVIRON):
            self.declare(given[0] if given else None, given[1] if len(given) > 1 else None)
        elif old == External("globals()"):
            self.notes.append(
                Setting(
                    f"`{short(target)}.{attr}(…)` may set anything", self.where(scope.file, target)
                )
            )
        elif isinstance(old, (list, dict)):
            self._store(target, changed(old, attr, given), scope)

    def _aside(self, node: ast.expr, scope: Scope) -> bool:
        """A call for its effects; one that gets hold of all names may set any of them."""
        if isinstance(node, ast.Call):
            function = self.value(node.func, scope)
            name = function.name if isinstance(function, External) else ""
            if name in _ENDINGS:
                return True
            if name == _SPLIT_SETTINGS[0] and self._included(node, scope):
                return False
        self.value(node, scope)
        if _REACHES_ALL & {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}:
            self.notes.append(
                Setting(f"`{short(node)}` may set anything", self.where(scope.file, node))
            )
        return False

    def _included(self, node: ast.Call, scope: Scope) -> bool:
        """django-split-settings: files that are run as if they stood here. Whether all of them are
        known by name."""
        patterns, sure = [], True
        for one in node.args:
            nodes = (
                one.value.elts
                if isinstance(one, ast.Starred) and isinstance(one.value, (ast.Tuple, ast.List))
                else [one]
            )
            for inner in nodes:
                found = self._pattern(inner, scope)
                patterns += found
                sure = sure and bool(found)
        for pattern in patterns:
            for file in (
                sorted(scope.file.parent.glob(pattern)) if not pattern.startswith("/") else []
            ):
                if file in self.hidden:
                    self.missing.append(Setting(file, self.where(scope.file, node)))
                    continue
                fits = (
                    file.suffix == ".py"
                    and file not in self.files
                    and file.is_relative_to(self.root)
                )
                if fits and (tree := self.tree(file)):
                    self.files.append(file)
                    self.run(tree.body, replace(scope, file=file))
        return sure

    def _pattern(self, node: ast.expr, scope: Scope) -> list[str]:
        value = self.value(node.value if isinstance(node, ast.Starred) else node, scope)
        if (
            isinstance(node, ast.Call)
            and node.args
            and self.value(node.func, scope) == External(_SPLIT_SETTINGS[1])
        ):
            value = self.value(node.args[0], scope)
        items = value if isinstance(value, list) else [value]
        good = [one for one in items if isinstance(one, str) and one and ".." not in one.split("/")]
        return good if len(good) == len(items) else []

    # ------------------------------------------------------------------------------------- branches

    def _if(self, node: ast.If, scope: Scope) -> bool:
        condition = self.value(node.test, scope)
        self.switch(node.test, node, scope)
        if known(condition):
            return self.run(node.body if condition else node.orelse, scope)
        if self._may_stop(node.body, scope, truth(condition)):
            self._demand(node.test, condition, scope)
            return self.run(node.orelse, scope)
        holds, text = truth(condition), told(node.test, condition)
        other = replace(scope, names=dict(scope.names))
        with self.doubting(holds):
            yes = self.run(node.body, scope)
        with self.doubting(None if holds is None else not holds, text):
            no = self.run(node.orelse, other)
        if yes and no:
            return True
        if yes or no:  # what follows is reached by the other branch alone
            if yes:
                scope.names.clear()
                scope.names.update(other.names)
            self._doubts.append(Doubt(None if holds is None else holds is no, text if yes else ""))
        else:
            merge(scope.names, other.names, short(node.test), condition)
        return False

    def _not(self, value: Any) -> Any:
        holds = truth(value)
        return (
            not value
            if known(value)
            else replace(unknown(value), unset=NOTHING if holds is None else not holds)
        )

    def _demand(self, test: ast.expr, condition: Any, scope: Scope) -> None:
        """`if TEST: raise`: where an empty environment ends there, the variables of the test are
        needed."""
        if isinstance(condition, Computed) and truth(condition):
            names = condition.names
            several = (
                len(names) > 1 and isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)
            )
            for name in names:
                others = [one for one in names if one != name]
                self.read(
                    name,
                    True,
                    test,
                    scope,
                    unless=f"{' or '.join(others)} is set" if several else "",
                )

    def _may_stop(self, body: list[ast.stmt], scope: Scope, holds: bool | None) -> bool:
        """As `_stops`. What is looked up only where the condition before `body` holds is looked up
        only there."""
        with self.doubting(holds):
            return self._stops(body, scope)

    def _stops(self, body: list[ast.stmt], scope: Scope) -> bool:
        """Whether a body raises or exits in an empty environment."""
        for node in body:
            match node:
                case ast.Raise():
                    return True
                case ast.Expr(value=ast.Call(func=called)) if (
                    self.value(called, scope) in _ENDING_NAMES
                ):
                    return True
                case ast.Return():
                    return False
                case ast.If(test=test, body=inner, orelse=other):
                    holds = truth(self.value(test, scope))
                    chosen = inner if holds else other if holds is False else []
                    if chosen and self._stops(chosen, scope):
                        return True
                    if chosen and isinstance(chosen[-1], ast.Return):
                        return False
        return False

    def _try(self, node: ast.Try, scope: Scope) -> bool:
        handlers = (
            []
            if self._is_sure(node.body, scope)
            else [one for one in node.handlers if not self._may_stop(one.body, scope, None)]
        )
        if not handlers:
            return self.run([*node.body, *node.orelse, *node.finalbody], scope)
        before, lookups, ends = dict(scope.names), self.strict, []
        with self.doubting(None) as doubt:
            doubt.holds = False  # whatever it looks up is caught
            ends.append(self.run([*node.body, *node.orelse], scope))
        fails = self.strict > lookups
        for handler in handlers:
            other = replace(scope, names=dict(before))
            if handler.name:
                other.names[handler.name] = Setting(Computed())
            with self.doubting(True if fails else None):
                ends.append(self.run(handler.body, other))
            if ends[0] and not ends[-1]:
                scope.names.clear()
                scope.names.update(other.names)
            elif not ends[-1]:
                condition = Computed(unset=False) if fails else None
                merge(
                    scope.names,
                    other.names,
                    f"line {node.body[0].lineno} succeeds",
                    condition or Computed(),
                )
        return self.run(node.finalbody, scope) or all(ends)

    def _is_sure(self, body: list[ast.stmt], scope: Scope) -> bool:
        """Whether it only imports what is in the project."""
        return all(
            isinstance(one, ast.ImportFrom) and self.find(_source(one, scope)) is not None
            for one in body
        )

    def _with(self, node: ast.With, scope: Scope) -> bool:
        prefix = self._prefix
        suppresses = False
        for item in node.items:
            value = self.value(item.context_expr, scope)
            call = item.context_expr
            if isinstance(call, ast.Call):
                function = self.value(call.func, scope)
                name = function.name if isinstance(function, External) else ""
                given = self.value(call.args[0], scope) if call.args else None
                if environment.prefixed(name) and isinstance(given, str):
                    self._prefix += given
                suppresses = suppresses or name == "contextlib.suppress"
            if item.optional_vars:
                self._store(item.optional_vars, unknown(value), scope)
        try:
            if not suppresses or self._is_sure(node.body, scope):
                return self.run(node.body, scope)
            with self.doubting(False):
                self.run(node.body, scope)
            return False
        finally:
            self._prefix = prefix

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        """A class: what it looks up, and its attributes where it is one that is followed."""
        bases = [self.value(base, scope) for base in node.bases]
        inner = dict(scope.names)
        self.run(node.body, replace(scope, names=inner, returned=None))
        body = {name: one for name, one in inner.items() if one is not scope.names.get(name)}
        found = classes.made(self, node, bases, body, scope)
        if found and found.kind == classes.CONFIGURATION:
            self.classes.append(Setting(node.name, self.where(scope.file, node)))
        self._bind(node.name, found or Computed(), node, scope)

    def _fog(self, node: ast.stmt, scope: Scope) -> None:
        """Loops and the like: what they may set is not said any more, a list that they may change
        has unknown parts."""
        with self.doubting(None):
            for body in ("body", "orelse"):
                inner = replace(scope, names=dict(scope.names), returned=None)
                for name in stored(node):
                    inner.names[name] = Setting(Computed())
                self.run(
                    [one for one in getattr(node, body, []) if isinstance(one, ast.stmt)], inner
                )
        self._bind_all(node, scope)

    def _bind_all(self, node: ast.stmt, scope: Scope) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                before = scope.names.get(inner.id, Setting()).value
                grows = isinstance(before, list) and _only_grows(node, inner.id)
                self._bind(inner.id, [*before, Computed()] if grows else Computed(), inner, scope)
            elif (
                isinstance(inner, ast.Call)
                and isinstance(inner.func, ast.Attribute)
                and inner.func.attr in CHANGES
            ):
                self._change(inner.func.value, inner.func.attr, [Computed()], scope)

    def _whole_module(self, alias: ast.alias, node: ast.stmt, scope: Scope) -> None:
        name = alias.asname or alias.name.split(".")[0]
        self._bind(name, External(alias.name if alias.asname else name), node, scope)
        self._hides(alias.name, node, scope)

    def _hides(self, module: str, node: ast.stmt, scope: Scope) -> bool:
        """Whether it is a module that is here and is not shipped; that is noted."""
        files = [file for file in self._files(module) if file in self.hidden]
        self.missing += [Setting(file, self.where(scope.file, node)) for file in files]
        return bool(files)

    def _import(self, node: ast.ImportFrom, scope: Scope) -> None:
        source = _source(node, scope)
        hides = self._hides(source, node, scope)
        found = self.module(source)
        if node.names[0].name != "*":
            for alias in node.names:
                name = f"{source}.{alias.name}"
                if alias.name not in found:
                    self._hides(name, node, scope)
                value = found[alias.name].value if alias.name in found else said(name)
                self._bind(alias.asname or alias.name, value, node, scope)
        elif self.find(source):
            listed = found.get("__all__", Setting()).value
            names = listed if isinstance(listed, list) and known(listed) else None
            scope.names |= {
                name: one
                for name, one in found.items()
                if (name in names if names is not None else not name.startswith("_"))
            }
        elif not hides:
            self.notes.append(
                Setting(f"`{short(node)}` is not in the project", self.where(scope.file, node))
            )


_ENDING_NAMES = tuple(External(name) for name in sorted(_ENDINGS))


def parse(file: Path) -> ast.Module:
    """Raises AdoptError for what is no Python, or is written for a newer one than this."""
    try:
        return ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as problem:
        raise NotPython(
            file, getattr(problem, "lineno", None) or 1, getattr(problem, "msg", problem)
        ) from None
    except (RecursionError, MemoryError):
        raise AdoptError(
            f"{file} is nested too deep to be read; correct it, then run this again"
        ) from None


def _source(node: ast.ImportFrom, scope: Scope) -> str:
    """The full name of the module that `from` names."""
    package = scope.module.split(".")[: None if scope.file.name == "__init__.py" else -1]
    base = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*base, *filter(None, [node.module])])


def _only_grows(node: ast.AST, name: str) -> bool:
    """Whether a list is only added to in a loop."""
    return not any(
        isinstance(target, ast.Name) and target.id == name
        for one in ast.walk(node)
        if isinstance(one, (ast.Assign, ast.For, ast.AnnAssign))
        for target in (one.targets if isinstance(one, ast.Assign) else [one.target])
    )


def _replaced(old: list[Any], key: Any, value: Any) -> Any:
    """A list with one item replaced; `TEMPLATES[0]["DIRS"] = …` comes here."""
    if isinstance(key, int) and -len(old) <= key < len(old):
        return [value if number == key % len(old) else one for number, one in enumerate(old)]
    return [*old, unknown(value)]
