"""What the source of settings says by itself. Pure: nothing of it is imported or run.

Literals, lists that grow, paths from `__file__`, imports inside the project; all else is `Computed`, never guessed.
"""

from __future__ import annotations

import ast
import operator
import os.path
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra import exits

ENVIRON = "os.environ"
_READER = "an environment reader"  # decouple's config, an instance of django-environ's or environs' Env


class AdoptError(ValueError):
    """The project can't be read, or the stack's config not be written; the text says where, and the next step."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Computed:
    """What only a run can tell: the variables and the condition that it hangs on, and what it is where that holds."""

    names: tuple[str, ...] = ()
    when: str = ""
    maybe: Any = None


@dataclass(frozen=True)
class External:
    """A name from outside of what is read, dotted: `os.environ`, `list`, `environ.Env`."""

    name: str


@dataclass(frozen=True)
class Setting:
    """A value, and the file and line that said it last; None where nothing did."""

    value: Any = None
    where: str = ""


@dataclass(frozen=True)
class Read:
    """An environment variable that is looked up; without a `required` one the settings don't load."""

    name: str
    required: bool
    where: str


Names = dict[str, Setting]


@dataclass
class Scope:
    """The module that is being read."""

    module: str
    file: Path
    names: Names


def shown(value: Any) -> str:
    """A value for a person, shortened; never a guess."""
    if isinstance(value, Computed):
        source = f", from {' and '.join(value.names)}" if value.names else ""
        sure = value.when and value.maybe is not None and not isinstance(value.maybe, Computed)
        text = f"{shown(value.maybe)} if {value.when}" if sure else f"computed at run time{source}"
    elif isinstance(value, dict) and not known(value):
        text = shown(unknown(value))
    elif isinstance(value, list):
        text = f"[{', '.join(map(shown, value))}]"
    elif isinstance(value, External):
        text = value.name
    else:
        text = "not set" if value is None else str(value) if isinstance(value, Path) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def known(value: Any) -> bool:
    """Whether all of it is said."""
    if isinstance(value, (list, dict)):
        return all(map(known, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, (Computed, External, ast.AST))


def unknown(*values: Any) -> Computed:
    """What comes of values in a way that is not followed: it hangs on the same variables."""
    return Computed(tuple(sorted(_variables(values))))


def _variables(values: Iterable[Any]) -> set[str]:
    inner = [list(one.values()) if isinstance(one, dict) else one for one in values]
    own = {name for one in inner if isinstance(one, Computed) for name in one.names}
    return own.union(*(_variables(one) for one in inner if isinstance(one, list)))


def _product(left: Any, right: Any) -> int:
    if not isinstance(left, int) or not isinstance(right, int):
        raise TypeError  # text times a number can be any size
    return left * right


_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Mult: _product, ast.Div: operator.truediv, ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.Is: operator.eq, ast.IsNot: operator.ne, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "str": str, "bool": bool, "list": list, "tuple": list, "re.compile": lambda pattern, *_: pattern,
    "pathlib.Path": Path, "os.path.join": os.path.join, "os.path.dirname": os.path.dirname,
    "os.path.abspath": os.path.normpath, "os.path.realpath": os.path.normpath, "os.path.normpath": os.path.normpath,
}  # fmt: skip
_SAID = {
    "corsheaders.defaults.default_headers": [
        "accept", "authorization", "content-type", "user-agent", "x-csrftoken", "x-requested-with",
    ],
    "corsheaders.defaults.default_methods": ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"],
}  # fmt: skip
_CHANGES = ("append", "extend", "insert", "remove", "update", "setdefault")


@dataclass
class Reader:
    """Modules below `root`, each read once; `reads` and `notes` are what was met in them."""

    root: Path
    reads: dict[str, Read] = field(default_factory=dict)
    notes: list[Setting] = field(default_factory=list)
    _modules: dict[str, Names] = field(default_factory=dict)
    _declared: set[str] = field(default_factory=set)
    _doubt: int = 0  # how many conditions deep that only a run can tell

    def find(self, module: str) -> Path | None:
        """The file of a module of the project."""
        base = self.root.joinpath(*module.split("."))
        return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)

    def module(self, name: str) -> Names:
        """The names that a module of the project has at its end; none for any other module."""
        file = self.find(name)
        if name not in self._modules and file is not None:
            self._modules[name] = {}  # first, since modules import each other
            self._run(parse(file).body, Scope(name, file, self._modules[name]))
        return self._modules.get(name, {})

    def where(self, file: Path, node: ast.AST) -> str:
        """`file:line` as messages have it."""
        return f"{file.relative_to(self.root)}:{getattr(node, 'lineno', 1)}"

    # ------------------------------------------------------------------------------------------------- statements

    def _run(self, statements: Iterable[ast.stmt], scope: Scope) -> None:
        for statement in statements:
            self._statement(statement, scope)

    def _statement(self, node: ast.stmt, scope: Scope) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                found = self._value(value, scope)
                for target in targets:
                    self._store(target, found, scope)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._store(target, self._value(value, scope), scope)
            case ast.AugAssign(target=target, op=op, value=value):
                self._store(target, _operated(op, self._value(target, scope), self._value(value, scope)), scope)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=target, attr=attr), args=args)) if attr in _CHANGES:
                self._change(target, attr, [self._value(one, scope) for one in args], scope)
            case ast.Expr(value=value):
                self._aside(value, scope)
            case ast.If(test=test, body=body, orelse=orelse):
                self._if(test, body, orelse, scope)
            case ast.Try():
                self._try(node, scope)
            case ast.With(items=items, body=body):
                for item in filter(None, [one.optional_vars for one in items]):
                    self._store(item, Computed(), scope)
                self._run(body, scope)
            case ast.Import(names=names):
                for alias in names:
                    name = alias.asname or alias.name.split(".")[0]
                    self._bind(name, External(alias.name if alias.asname else name), node, scope)
            case ast.ImportFrom():
                self._import(node, scope)
            case ast.FunctionDef(name=name):
                self._bind(name, node, node, scope)
            case _:
                self._fog(node, scope)

    def _bind(self, name: str, value: Any, node: ast.AST, scope: Scope) -> None:
        scope.names[name] = Setting(value, self.where(scope.file, node))

    def _store(self, target: ast.expr, value: Any, scope: Scope) -> None:
        match target:
            case ast.Name(id=name):
                self._bind(name, value, target, scope)
            case ast.Tuple(elts=elts):
                each = value if isinstance(value, list) and len(value) == len(elts) else [unknown(value)] * len(elts)
                for element, one in zip(elts, each, strict=True):
                    self._store(element, one, scope)
            case ast.Subscript(value=inner, slice=place):
                old, key = self._value(inner, scope), self._value(place, scope)
                if old == External(ENVIRON):
                    self._declared.add(str(key))
                elif isinstance(old, dict):
                    self._store(inner, {**old, key: value} if isinstance(key, str) else unknown(old, value), scope)

    def _change(self, target: ast.expr, attr: str, given: list[Any], scope: Scope) -> None:
        """A list or dict that is changed in place is another one from here on."""
        old = self._value(target, scope)
        if old == External(ENVIRON):
            self._declared |= {str(one) for one in given[:1]}
        elif isinstance(old, (list, dict)):
            self._store(target, _changed(old, attr, given), scope)

    def _aside(self, node: ast.expr, scope: Scope) -> None:
        """A call for its effects; one that gets hold of all names may set any of them."""
        self._value(node, scope)
        if {"exec", "locals", "globals", "include"} & {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}:
            self.notes.append(Setting(f"`{_short(node)}` may set anything", self.where(scope.file, node)))

    def _if(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt], scope: Scope) -> None:
        condition = self._value(test, scope)
        if known(condition):
            self._run(body if condition else orelse, scope)
        elif isinstance(body[-1], ast.Raise):
            for name in condition.names if isinstance(test, ast.UnaryOp) and isinstance(condition, Computed) else ():
                self._read(name, True, test, scope)  # `if not NAME: raise`
            self._run(orelse, scope)
        else:
            other = replace(scope, names=dict(scope.names))
            self._doubt += 1
            self._run(body, scope)
            self._run(orelse, other)
            self._doubt -= 1
            _merge(scope.names, other.names, _short(test), condition)

    def _try(self, node: ast.Try, scope: Scope) -> None:
        found = [isinstance(one, ast.ImportFrom) and self.find(_source(one, scope)) for one in node.body]
        handlers = [] if all(found) else [one for one in node.handlers if not isinstance(one.body[-1], ast.Raise)]
        before, doubt = dict(scope.names), bool(handlers)
        self._doubt += doubt
        self._run([*node.body, *node.orelse], scope)
        for handler in handlers:
            other = replace(scope, names=dict(before))
            self._run(handler.body, other)
            _merge(scope.names, other.names, f"line {node.body[0].lineno} succeeds", None)
        self._doubt -= doubt
        self._run(node.finalbody, scope)

    def _import(self, node: ast.ImportFrom, scope: Scope) -> None:
        source = _source(node, scope)
        if node.names[0].name != "*":
            found = self.module(source)
            for alias in node.names:
                name = f"{source}.{alias.name}"
                value = found[alias.name].value if alias.name in found else _SAID.get(name, External(name))
                self._bind(alias.asname or alias.name, value, node, scope)
        elif self.find(source):
            scope.names |= {name: one for name, one in self.module(source).items() if not name.startswith("_")}
        else:
            self.notes.append(Setting(f"`{_short(node)}` is not in the project", self.where(scope.file, node)))

    def _fog(self, node: ast.stmt, scope: Scope) -> None:
        """Loops and the like: what they may set is not said any more, a list that they may change has unknown parts."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                self._bind(inner.id, Computed(), inner, scope)
            elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in _CHANGES:
                self._change(inner.func.value, inner.func.attr, [Computed()], scope)

    # ------------------------------------------------------------------------------------------------- expressions

    def _value(self, node: ast.expr, scope: Scope) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id="__file__"):
                return str(scope.file)
            case ast.Name(id=name):
                return scope.names[name].value if name in scope.names else External(name)
            case ast.List(elts=elts) | ast.Tuple(elts=elts) | ast.Set(elts=elts):
                return [one for element in elts for one in self._elements(element, scope)]
            case ast.Dict(keys=keys, values=values):
                return self._dict(keys, [self._value(one, scope) for one in values], scope)
            case ast.BinOp(left=left, op=op, right=right):
                return _operated(op, self._value(left, scope), self._value(right, scope))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                name, among = self._value(left, scope), self._value(right, scope)
                looks = among == External(ENVIRON) and isinstance(name, str)
                return self._read(name, False, node, scope) if looks else _operated(op, name, among)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                value = self._value(operand, scope)
                return not value if known(value) else unknown(value)
            case ast.BoolOp(values=[first, *rest]):
                return unknown(self._value(first, scope), *self._perhaps(rest, scope))
            case ast.IfExp(test=first, body=one, orelse=other):
                return unknown(self._value(first, scope), *self._perhaps([one, other], scope))
            case ast.JoinedStr(values=values):
                return _result(lambda *parts: "".join(map(str, parts)), [self._value(one, scope) for one in values])
            case ast.FormattedValue(value=inner):
                return self._value(inner, scope)
            case ast.Attribute(value=inner, attr=attr):
                return _attribute(self._value(inner, scope), attr)
            case ast.Subscript(value=inner, slice=place):
                old, key = self._value(inner, scope), self._value(place, scope)
                looks = old == External(ENVIRON) and isinstance(key, str)
                return self._read(key, True, node, scope) if looks else _result(operator.getitem, [old, key])
            case ast.Call(func=function, args=args, keywords=keywords):
                words = {word.arg: self._value(word.value, scope) for word in keywords if word.arg}
                return self._call(function, [self._value(one, scope) for one in args], words, scope)
            case ast.ListComp(elt=ast.Name(id=name), generators=[ast.comprehension(target=ast.Name(id=each)) as loop]):
                items = self._value(loop.iter, scope)
                kept = isinstance(items, list) and all(one == name for one in [each, *map(ast.unparse, loop.ifs)])
                return [one for one in items if one] if kept else unknown(items)
            case _:
                parts = [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)]
                return unknown(*(self._value(one, scope) for one in parts))

    def _perhaps(self, nodes: list[ast.expr], scope: Scope) -> list[Any]:
        """Values that are only looked at if another one is so."""
        self._doubt += 1
        values = [self._value(node, scope) for node in nodes]
        self._doubt -= 1
        return values

    def _elements(self, node: ast.expr, scope: Scope) -> list[Any]:
        if not isinstance(node, ast.Starred):
            return [self._value(node, scope)]
        inner = self._value(node.value, scope)
        return inner if isinstance(inner, list) else [unknown(inner)]

    def _dict(self, keys: list[ast.expr | None], values: list[Any], scope: Scope) -> Any:
        found: dict[Any, Any] = {}
        for key, value in zip(keys, values, strict=True):
            name = self._value(key, scope) if key else None
            if isinstance(name, (str, int)):
                found[name] = value
            elif key is None and isinstance(value, dict):
                found |= value
            else:
                return unknown(found, *values)
        return found

    def _call(self, called: ast.expr, given: list[Any], words: dict[str, Any], scope: Scope) -> Any:
        if isinstance(called, ast.Attribute) and called.attr in ("resolve", "absolute"):
            return self._value(called.value, scope)  # a path of a file that was found here
        function = self._value(called, scope)
        name = function.name if isinstance(function, External) else ""
        if name.split(".")[-1] in ("Env", "FileAwareEnv", "AutoConfig"):
            self._declared |= {word for word, value in words.items() if isinstance(value, list) and len(value) == 2}
            return External(_READER)
        if name == "dj_database_url.config":
            return self._read(words.get("env", "DATABASE_URL"), False, called, scope)
        if name in _FUNCTIONS:
            return _result(_FUNCTIONS[name], given, words)
        required = _helper(function) if isinstance(function, ast.FunctionDef) else _lookup(name)
        if required is not None and given and isinstance(given[0], str):
            default = "default" in words or any(not isinstance(one, External) for one in given[1:])  # others are casts
            return self._read(given[0], required and not default, called, scope)
        return unknown(function, *given, *words.values())

    def _read(self, name: str, required: bool, node: ast.AST, scope: Scope) -> Computed:
        required = required and not self._doubt and name not in self._declared
        if name not in self.reads or (required and not self.reads[name].required):
            self.reads[name] = Read(name, required, self.where(scope.file, node))
        return Computed((name,))


def parse(file: Path) -> ast.Module:
    """Raises AdoptError for what is no Python."""
    try:
        return ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as problem:
        line = getattr(problem, "lineno", None) or 1
        raise AdoptError(f"{file}:{line} is no Python 3 ({problem}); correct it, then run this again") from None


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 50 else text[:47] + "..."


def _source(node: ast.ImportFrom, scope: Scope) -> str:
    """The full name of the module that `from` names."""
    package = scope.module.split(".")[: None if scope.file.name == "__init__.py" else -1]
    base = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*base, *filter(None, [node.module])])


def _helper(function: ast.FunctionDef) -> bool | None:
    """Whether a function of the project needs its first argument in the environment; None: it looks nothing up."""
    name, text = function.args.args[0].arg if function.args.args else "", ast.unparse(function)
    return f"environ[{name}]" in text if re.search(r"\b(environ|getenv)\b", text) else None


def _lookup(name: str) -> bool | None:
    """The same of a function from outside."""
    if name in ("os.getenv", f"{ENVIRON}.get"):
        return False
    reader = name == "decouple.config" or name.split(".")[0] == _READER
    return True if reader and not name.endswith(".read_env") else None


def _operated(op: ast.AST, left: Any, right: Any) -> Any:
    """`left op right`; a list with an unknown part is still a list."""
    if isinstance(op, ast.Add) and (isinstance(left, list) or isinstance(right, list)):
        sides = [side if isinstance(side, list) else [unknown(side)] for side in (left, right)]
        return sides[0] + sides[1]
    return _result(_OPERATORS[type(op)], [left, right]) if type(op) in _OPERATORS else unknown(left, right)


def _result(function: Callable[..., Any], given: list[Any], words: dict[str, Any] | None = None) -> Any:
    """What a function without effects returns, where its arguments are said."""
    if function is list and len(given) == 1 and isinstance(given[0], list):
        return given[0]
    everything = [*given, *(words or {}).values()]
    shallow = function is operator.getitem and isinstance(given[0], (list, dict)) and known(given[1])
    try:
        return function(*given, **(words or {})) if shallow or all(map(known, everything)) else unknown(*everything)
    except (TypeError, ValueError, LookupError, ArithmeticError):
        return unknown(*everything)


def _attribute(inner: Any, name: str) -> Any:
    if isinstance(inner, External):
        return _SAID.get(f"{inner.name}.{name}", External(f"{inner.name}.{name}"))
    if isinstance(inner, Path) and name in ("parent", "parents", "name"):
        return list(inner.parents) if name == "parents" else getattr(inner, name)
    return unknown(inner)


def _changed(old: Any, attr: str, given: list[Any]) -> Any:
    match attr, old, given:
        case "append", list(), [one]:
            return [*old, one]
        case "extend", list(), [list() as more]:
            return [*old, *more]
        case "insert", list(), [int() as place, one]:
            return [*old[:place], one, *old[place:]]
        case "remove", list(), [one] if known(one):
            return [kept for kept in old if kept != one]
        case "update", dict(), [dict() as more]:
            return {**old, **more}
        case "setdefault", dict(), [str() as key, value]:
            return {key: value, **old}
    return [*old, unknown(*given)] if isinstance(old, list) else unknown(old, *given)


def _merge(yes: Names, no: Names, when: str, condition: Any) -> None:
    """Into `yes` what is so whether or not the condition holds; the rest as what hangs on it."""
    for name in yes.keys() | no.keys():
        one, other = yes.get(name, Setting()), no.get(name, Setting())
        if one.value != other.value:
            yes[name] = Setting(_joined(one.value, other.value, when, condition), one.where or other.where)


def _joined(yes: Any, no: Any, when: str, condition: Any) -> Any:
    if isinstance(yes, dict) and isinstance(no, dict) and yes.keys() == no.keys():
        return {key: yes[key] if yes[key] == no[key] else _joined(yes[key], no[key], when, condition) for key in yes}
    if isinstance(yes, list) and isinstance(no, list):
        longer, text = (yes, when) if len(yes) > len(no) else (no, f"not ({when})")
        shorter = no if longer is yes else yes
        if all(one in longer for one in shorter):
            names = unknown(condition).names
            return [one if one in shorter else Computed(names, text, one) for one in longer]
    return replace(unknown(yes, no, condition), when=when, maybe=yes)
