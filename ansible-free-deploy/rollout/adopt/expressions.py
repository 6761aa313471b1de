"""What an expression of settings is, and which environment variables it looks up. Pure."""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rollout.adopt import classes, environment
from rollout.adopt.classes import Group
from rollout.adopt.environment import ENVIRON, Lookup, Read
from rollout.adopt.values import (
    FUNCTIONS,
    NOTHING,
    Computed,
    External,
    Function,
    Names,
    Scope,
    Setting,
    bounded,
    joined,
    known,
    method,
    operated,
    result,
    truth,
    unknown,
    unset,
)

CHANGES = ("append", "extend", "insert", "remove", "update", "setdefault")
_SAID = {
    "corsheaders.defaults.default_headers": [
        "accept",
        "authorization",
        "content-type",
        "user-agent",
        "x-csrftoken",
        "x-requested-with",
    ],
    "corsheaders.defaults.default_methods": ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"],
}
_STEPS, _CALLS, _DEEP, _ITEMS = 60_000, 1_000, 6, 100


@dataclass
class Doubt:
    """A condition that only a run can tell; whether it holds in an empty environment (None: not
    known)."""

    holds: bool | None
    unless: str = ""


@dataclass(frozen=True)
class Switch:
    """A branch on DEBUG: the value that DEBUG has there, and the settings that hang on it."""

    debug: Any
    test: str
    names: tuple[str, ...]
    where: str


@dataclass
class Expressions:
    """`reads` are the variables that were met, `switches` the branches on DEBUG; `given` is an
    environment to try."""

    root: Path
    given: Mapping[str, str] = field(default_factory=dict)
    reads: dict[str, Read] = field(default_factory=dict)
    switches: list[Switch] = field(default_factory=list)
    strict: int = 0  # how many lookups were met that raise in an empty environment
    _declared: dict[str, Lookup] = field(default_factory=dict)
    _doubts: list[Doubt] = field(default_factory=list)
    _site: str = ""  # where the project's own function was called from settings
    _prefix: str = ""
    steps: int = 0
    limits: dict[str, Setting] = field(
        default_factory=dict
    )  # where something was left out, by which limit
    _calls: int = 0
    _lookups: dict[int, bool] = field(default_factory=dict)
    _depth: int = 0

    def module(self, name: str) -> Names:
        raise NotImplementedError

    def find(self, module: str) -> Path | None:
        raise NotImplementedError

    def run(self, statements: Iterable[ast.stmt], scope: Scope) -> bool:
        raise NotImplementedError

    def where(self, file: Path, node: ast.AST) -> str:
        """`file:line` as messages have it."""
        name = file.relative_to(self.root) if file.is_relative_to(self.root) else file
        return f"{name}:{getattr(node, 'lineno', 1)}"

    @contextmanager
    def doubting(self, holds: bool | None, unless: str = "") -> Iterator[Doubt]:
        """What is met within hangs on a condition."""
        doubt, before = Doubt(holds, unless), len(self._doubts)
        self._doubts.append(doubt)
        try:
            yield doubt
        finally:
            del self._doubts[before:]

    def value(self, node: ast.expr, scope: Scope) -> Any:
        """What an expression is. After as many as no settings have, the rest is computed at run
        time."""
        self.steps += 1
        if not self.spent():
            return bounded(self._value(node, scope))
        self._limit(f"{_STEPS} expressions", node, scope)
        return Computed()

    def spent(self) -> bool:
        """Whether more was read than any settings have."""
        return self.steps > _STEPS

    def _limit(self, what: str, node: ast.AST, scope: Scope) -> None:
        """Note the first place that a limit leaves out."""
        if what not in self.limits:
            text = f"{what} are as far as this reads: what comes after is computed at run time"
            self.limits[what] = Setting(text, self.where(scope.file, node))

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
                return self._dict(keys, [self.value(one, scope) for one in values], scope)
            case ast.BinOp(left=left, op=op, right=right):
                return operated(op, self.value(left, scope), self.value(right, scope))
            case ast.Compare(left=left, ops=ops, comparators=rest):
                return self._compared(left, ops, rest, scope)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return result(operator.not_, [self.value(operand, scope)])
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return result(operator.neg, [self.value(operand, scope)])
            case ast.BoolOp(op=op, values=values):
                return self._either(op, values, scope)
            case ast.IfExp(test=test, body=one, orelse=other):
                return self._choice(test, one, other, scope)
            case ast.NamedExpr(target=ast.Name(id=name), value=inner):
                found = self.value(inner, scope)
                scope.names[name] = Setting(found, self.where(scope.file, node))
                return found
            case ast.JoinedStr(values=values):
                return result(
                    lambda *parts: "".join(map(str, parts)),
                    [self.value(one, scope) for one in values],
                )
            case ast.FormattedValue(value=inner):
                return self.value(inner, scope)
            case ast.Lambda():
                return Function(node, scope)
            case ast.Attribute(value=inner, attr=attr):
                return self._attribute(self.value(inner, scope), attr)
            case ast.Subscript(value=inner, slice=place):
                old, key = self.value(inner, scope), self.value(place, scope)
                if old == External(ENVIRON):
                    return self._looked(f"{ENVIRON}.__getitem__", [key], {}, node, scope)
                return result(operator.getitem, [old, key])
            case ast.Call():
                return self._call(node, scope)
            case (
                ast.ListComp(elt=elt, generators=[loop])
                | ast.GeneratorExp(elt=elt, generators=[loop])
            ):
                return self._each(elt, loop, scope)
            case _:
                parts = [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)]
                return unknown(*(self.value(one, scope) for one in parts))

    def _elements(self, node: ast.expr, scope: Scope) -> list[Any]:
        if not isinstance(node, ast.Starred):
            return [self.value(node, scope)]
        inner = self.value(node.value, scope)
        return inner if isinstance(inner, list) else [unknown(inner)]

    def _dict(self, keys: list[ast.expr | None], values: list[Any], scope: Scope) -> Any:
        found: dict[Any, Any] = {}
        for key, value in zip(keys, values, strict=True):
            name = self.value(key, scope) if key else None
            if isinstance(name, (str, int)):
                found[name] = value
            elif key is None and isinstance(value, dict):
                found |= value
            else:
                return unknown(found, *values)
        return found

    def _compared(
        self, left: ast.expr, ops: list[ast.cmpop], rest: list[ast.expr], scope: Scope
    ) -> Any:
        found, one = [], self.value(left, scope)
        for op, node in zip(ops, rest, strict=True):
            other = self.value(node, scope)
            if (
                other == External(ENVIRON)
                and isinstance(op, (ast.In, ast.NotIn))
                and environment.is_name(one)
            ):
                there = self.look_up(Lookup(one, False, "there"), node, scope)
                found.append(there if isinstance(op, ast.In) else result(operator.not_, [there]))
            else:
                found.append(operated(op, one, other))
            one = other
        return found[0] if len(found) == 1 else result(lambda *parts: all(parts), found)

    def _either(self, op: ast.boolop, nodes: list[ast.expr], scope: Scope) -> Any:
        """`and` and `or`: what comes later is looked at only where what came before leaves it
        open."""
        found, goes_on = self.value(nodes[0], scope), isinstance(op, ast.And)
        for node in nodes[1:]:
            if known(found):
                if bool(found) is not goes_on:
                    return found
                found = self.value(node, scope)
                continue
            holds = truth(found)
            with self.doubting(
                None if holds is None else holds is goes_on, "" if goes_on else told(node, found)
            ):
                other = self.value(node, scope)
            plain = NOTHING if holds is None else unset(other if holds is goes_on else found)
            found = bounded(replace(unknown(found, other), unset=plain))
        return found

    def _choice(self, test: ast.expr, one: ast.expr, other: ast.expr, scope: Scope) -> Any:
        condition = self.value(test, scope)
        self.switch(test, test, scope)
        if known(condition):
            return self.value(one if condition else other, scope)
        holds, text = truth(condition), told(test, condition)
        with self.doubting(holds):
            yes = self.value(one, scope)
        with self.doubting(None if holds is None else not holds, text):
            no = self.value(other, scope)
        made = joined(yes, no, short(test), condition)
        return replace(made, maybe=None, when="") if isinstance(made, Computed) else made

    def switch(self, test: ast.expr, node: ast.AST, scope: Scope) -> None:
        """Note a branch on DEBUG."""
        if any(isinstance(one, ast.Name) and one.id == "DEBUG" for one in ast.walk(test)):
            debug = scope.names.get("DEBUG", Setting()).value
            self.switches.append(
                Switch(debug, short(test), stored(node), self.where(scope.file, test))
            )

    def _each(self, elt: ast.expr, loop: ast.comprehension, scope: Scope) -> Any:
        """A comprehension over a list that is said, one item after the other."""
        items = self.value(loop.iter, scope)
        if isinstance(items, list) and len(items) > _ITEMS:
            self._limit(f"{_ITEMS} items of a list", loop.iter, scope)
        if (
            not isinstance(items, list)
            or not isinstance(loop.target, ast.Name)
            or len(items) > _ITEMS
        ):
            with self.doubting(None):
                return unknown(items, self.value(elt, replace(scope, names=dict(scope.names))))
        found = []
        for item in items:
            inner = replace(scope, names={**scope.names, loop.target.id: Setting(item)})
            tests = [self.value(one, inner) for one in loop.ifs]
            if not all(map(known, tests)):
                if not (loop.ifs and isinstance(elt, ast.Name)):
                    return unknown(items, *tests)
                found.append(item)  # a filter by what only a run can tell: it is still one of these
            elif all(tests):
                found.append(self.value(elt, inner))
        return found

    def _attribute(self, inner: Any, name: str) -> Any:
        if isinstance(inner, Group):
            return inner.attributes[name].value if name in inner.attributes else unknown(inner)
        if isinstance(inner, External):
            if self.find(inner.name):
                return (
                    self.module(inner.name)
                    .get(name, Setting(External(f"{inner.name}.{name}")))
                    .value
                )
            return said(f"{inner.name}.{name}")
        if isinstance(inner, Path) and name in ("parent", "parents", "name", "stem", "suffix"):
            return list(inner.parents) if name == "parents" else getattr(inner, name)
        return unknown(inner)

    # ---------------------------------------------------------------------------------------- calls

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        words = {word.arg: self.value(word.value, scope) for word in node.keywords if word.arg}
        given = [one for argument in node.args for one in self._elements(argument, scope)]
        if isinstance(node.func, ast.Attribute):
            inner = self.value(node.func.value, scope)
            if node.func.attr in ("resolve", "absolute", "expanduser"):
                return inner  # a path of a file that was found here
            found = method(inner, node.func.attr, given, words)
            if found is not NOTHING:
                return found
            function = self._attribute(inner, node.func.attr)
        else:
            function = self.value(node.func, scope)
        if isinstance(function, Function):
            return self._invoke(function, given, words, node, scope)
        if isinstance(function, Group):
            return classes.instance(self, function, words)
        return self._outside(
            function.name if isinstance(function, External) else "",
            function,
            given,
            words,
            node,
            scope,
        )

    def _outside(
        self,
        name: str,
        function: Any,
        given: list[Any],
        words: dict[str, Any],
        node: ast.Call,
        scope: Scope,
    ) -> Any:
        if instance := environment.reader(name):
            self._declared |= environment.schemes(words)
            return instance
        if late := classes.late(name, given, words):
            return late
        if (
            name == "map"
            and len(given) == 2
            and isinstance(given[0], External)
            and isinstance(given[1], list)
        ):
            if len(given[1]) > _ITEMS:
                self._limit(f"{_ITEMS} items of a list", node, scope)
                return unknown(given[1])
            return [self._looked(given[0].name, [one], {}, node, scope) for one in given[1]]
        if name in FUNCTIONS:
            return result(FUNCTIONS[name], given, words)
        return self._looked(name, given, words, node, scope, function)

    def _looked(
        self,
        name: str,
        given: list[Any],
        words: dict[str, Any],
        node: ast.AST,
        scope: Scope,
        function: Any = None,
    ) -> Any:
        found = environment.lookup(name, given, words, self._declared)
        return (
            self.look_up(found, node, scope)
            if found
            else unknown(function, *given, *words.values())
        )

    def look_up(self, found: Lookup, node: ast.AST, scope: Scope) -> Any:
        """A variable's value in the environment that is given, else that it is looked up."""
        name = self._prefix + found.name
        if name in self.given:
            value = True if found.kind == "there" else found.of(self.given[name])
            return Computed((name,)) if value is NOTHING else value
        if found.required:
            self.strict += 1
        self.read(name, found.required, node, scope, kind=found.kind)
        plain = NOTHING if isinstance(found.default, External) else found.default
        return Computed((name,), unset=plain)

    def read(
        self,
        name: str,
        required: bool,
        node: ast.AST,
        scope: Scope,
        unless: str = "",
        kind: str = "",
    ) -> None:
        """Note a variable; what hangs on a condition that doesn't hold in an empty environment is
        not needed."""
        required = (
            required
            and all(one.holds for one in self._doubts)
            and name not in self._declared_defaults()
        )
        unless = unless or next((one.unless for one in reversed(self._doubts) if one.unless), "")
        before = self.reads.get(name)
        if before is None or (required and not before.required):
            kind = kind or (before.kind if before else "")
            self.reads[name] = Read(
                name,
                required,
                self._site or self.where(scope.file, node),
                unless if required else "",
                kind,
            )

    def _declared_defaults(self) -> set[str]:
        return {name for name, one in self._declared.items() if not one.required}

    def declare(self, name: object, value: Any) -> None:
        """The settings themselves put a variable into the environment."""
        if environment.is_name(name):
            plain = unset(value)
            self._declared[str(name)] = Lookup(
                str(name), External("a default") if plain is NOTHING else plain
            )

    def _invoke(
        self,
        function: Function,
        given: list[Any],
        words: dict[str, Any],
        call: ast.AST,
        scope: Scope,
    ) -> Any:
        """A function of the project: which variables it looks up, and what it returns in an empty
        environment. Its value is computed at run time, whatever it is; that of a lambda is its
        expression's."""
        self._calls += 1
        if not isinstance(function.node, ast.Lambda) and not self._looks_up(function):
            return unknown(*given, *words.values())
        if self._calls > _CALLS or self._depth >= _DEEP:
            what = (
                f"{_CALLS} calls of own functions"
                if self._calls > _CALLS
                else f"{_DEEP} levels of calls"
            )
            self._limit(what, call, scope)
            return unknown(*given, *words.values())
        inner = self._bound(function, given, words)
        site, self._site = self._site, self._site or self.where(scope.file, call)
        self._depth += 1
        try:
            with self.doubting(True):
                if isinstance(function.node, ast.Lambda):
                    value = self.value(function.node.body, inner)
                    return value if known(value) else replace(unknown(value), unset=unset(value))
                stopped = self.run(function.node.body, inner)
        finally:
            self._depth -= 1
            self._site = site
        returned = inner.returned or []
        if len(returned) == 1 and isinstance(returned[0][0], Group):
            return returned[0][0]
        sure = [value for value, holds in returned if holds]
        plain = unset(sure[0]) if sure else NOTHING if returned or stopped else None
        return replace(
            unknown(*given, *words.values(), *(value for value, _ in returned)), unset=plain
        )

    def _looks_up(self, function: Function) -> bool:
        """Whether a function, or one that it calls, has to do with the environment."""
        if id(function.node) not in self._lookups:
            self._lookups[id(function.node)] = False  # functions call each other in a circle
            names = {one.id for one in ast.walk(function.node) if isinstance(one, ast.Name)}
            values = [function.scope.names.get(name, Setting()).value for name in sorted(names)]
            outside = bool(names & {"os", "environ", "getenv"}) or any(
                isinstance(one, Group)
                or (isinstance(one, External) and environment.concerns(one.name))
                for one in values
            )
            called = [
                one for one in values if isinstance(one, Function) and one.node is not function.node
            ]
            self._lookups[id(function.node)] = outside or any(self._looks_up(one) for one in called)
        return self._lookups[id(function.node)]

    def _bound(self, function: Function, given: list[Any], words: dict[str, Any]) -> Scope:
        arguments, outer = function.node.args, function.scope
        names, place = dict(outer.names), "default of a parameter"
        plain = [*arguments.posonlyargs, *arguments.args]
        defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
        pairs = [
            *zip(plain, defaults, strict=True),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        for number, (parameter, default) in enumerate(pairs):
            value = self.value(default, outer) if default else Computed()
            if number < min(len(given), len(plain)):
                value = given[number]
            names[parameter.arg] = Setting(words.get(parameter.arg, value), place)
        taken = {parameter.arg for parameter, _ in pairs}
        if arguments.vararg:
            names[arguments.vararg.arg] = Setting(given[len(plain) :], place)
        if arguments.kwarg:
            rest = {name: value for name, value in words.items() if name not in taken}
            names[arguments.kwarg.arg] = Setting(rest, place)
        return Scope(outer.module, outer.file, names, [])

    def sure(self) -> bool:
        """Whether this is reached in an empty environment."""
        return all(one.holds for one in self._doubts)


def stored(node: ast.AST) -> tuple[str, ...]:
    """The names that a statement may set, in their order."""
    return tuple(dict.fromkeys(_targets(node)))


def _targets(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        match one:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store()):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if (
                attr in CHANGES
            ):
                yield name


def said(name: str) -> Any:
    """A name from outside; some are known."""
    return _SAID.get(name, External(name))


def short(node: ast.AST) -> str:
    """Source on one line, shortened."""
    text = ast.unparse(node).replace("\n", " ")
    return text if len(text) <= 50 else text[:47] + "..."


def told(test: ast.expr, condition: Any) -> str:
    """A condition for a person: that a variable is set, or the test itself."""
    if isinstance(condition, Computed) and len(condition.names) == 1 and not condition.unset:
        return f"{condition.names[0]} is set"
    return f"`{short(test)}`"
