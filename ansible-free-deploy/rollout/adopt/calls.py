"""What a call in settings returns: of a function of the project, or one from outside. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rollout.adopt import classes, environment
from rollout.adopt.classes import Group
from rollout.adopt.lookups import Lookups
from rollout.adopt.operations import FUNCTIONS, method, result
from rollout.adopt.syntax import names_in
from rollout.adopt.values import (
    NOTHING,
    Computed,
    External,
    Function,
    Scope,
    Setting,
    known,
    unknown,
    unset,
)

_MOST_CALLS = 1_000
_DEEPEST_CALL = 6
MOST_ITEMS = 100
_SAME_PATH = ("resolve", "absolute", "expanduser")  # of a path that was found here
_PATH_PARTS = ("parent", "name", "stem", "suffix")
# Names from outside whose values are known.
_KNOWN_NAMES = {
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


@dataclass
class Calls(Lookups):
    """A reader of calls. A function of the project is followed where it reads the environment."""

    _calls: int = 0
    _depth: int = 0
    # Whether a function has to do with the environment, by the id of its node.
    _reads_environment: dict[int, bool] = field(default_factory=dict)

    def run(self, statements: Iterable[ast.stmt], scope: Scope) -> bool:
        """Whether the end of the statements is never reached."""
        raise NotImplementedError

    def items(self, node: ast.expr, scope: Scope) -> list[Any]:
        """The values of an element of a list or an argument, which may be `*more`."""
        if not isinstance(node, ast.Starred):
            return [self.value(node, scope)]
        inner = self.value(node.value, scope)
        return inner if isinstance(inner, list) else [unknown(inner)]

    def all_items(self, nodes: Iterable[ast.expr], scope: Scope) -> list[Any]:
        """The values of all elements of a list, in their order."""
        values: list[Any] = []
        for node in nodes:
            values += self.items(node, scope)
        return values

    def attribute(self, inner: Any, name: str) -> Any:
        """`inner.name`."""
        if isinstance(inner, Group):
            if name in inner.attributes:
                return inner.attributes[name].value
            return unknown(inner)
        if isinstance(inner, External):
            full = f"{inner.name}.{name}"
            if self.find(inner.name) is None:
                return outside_name(full)
            names = self.module(inner.name)
            if name in names:
                return names[name].value
            return External(full)
        if isinstance(inner, Path) and name == "parents":
            return list(inner.parents)
        if isinstance(inner, Path) and name in _PATH_PARTS:
            return getattr(inner, name)
        return unknown(inner)

    def call(self, node: ast.Call, scope: Scope) -> Any:
        """What a call returns."""
        keywords = {}
        for keyword in node.keywords:
            if keyword.arg:
                keywords[keyword.arg] = self.value(keyword.value, scope)
        arguments = self.all_items(node.args, scope)
        if isinstance(node.func, ast.Attribute):
            inner = self.value(node.func.value, scope)
            name = node.func.attr
            if name in _SAME_PATH:
                return inner
            returned = method(inner, name, arguments, keywords)
            if returned is not NOTHING:
                return returned
            function = self.attribute(inner, name)
        else:
            function = self.value(node.func, scope)
        if isinstance(function, Function):
            return self._invoke(function, arguments, keywords, node, scope)
        if isinstance(function, Group):
            return classes.instance(self, function, keywords)
        if isinstance(function, External):
            return self._outside(function, arguments, keywords, node, scope)
        return unknown(function, *arguments, *keywords.values())

    # -------------------------------------------------------------------- functions from outside

    def _outside(
        self,
        function: External,
        arguments: list[Any],
        keywords: Mapping[str, Any],
        node: ast.Call,
        scope: Scope,
    ) -> Any:
        name = function.name
        instance = environment.reader(name)
        if instance:
            self._declared |= environment.schemes(keywords)
            return instance
        late = classes.late(name, arguments, keywords)
        if late:
            return late
        if name == "map" and len(arguments) == 2:
            called, items = arguments
            if isinstance(called, External) and isinstance(items, list):
                return self._mapped(called, items, node, scope)
        if name in FUNCTIONS:
            return result(FUNCTIONS[name], arguments, keywords)
        return self._looked_up(function, arguments, keywords, node, scope)

    def _mapped(
        self,
        function: External,
        items: list[Any],
        node: ast.AST,
        scope: Scope,
    ) -> Any:
        """`map(os.getenv, NAMES)`."""
        if len(items) > MOST_ITEMS:
            self.note_limit(f"{MOST_ITEMS} items of a list", node, scope)
            return unknown(items)
        values = []
        for item in items:
            values.append(self._looked_up(function, [item], {}, node, scope))
        return values

    def _looked_up(
        self,
        function: External,
        arguments: list[Any],
        keywords: Mapping[str, Any],
        node: ast.AST,
        scope: Scope,
    ) -> Any:
        value = self.call_lookup(function.name, arguments, keywords, node, scope)
        if value is NOTHING:
            return unknown(function, *arguments, *keywords.values())
        return value

    # ------------------------------------------------------------------ functions of the project

    def _invoke(
        self,
        function: Function,
        arguments: list[Any],
        keywords: Mapping[str, Any],
        call: ast.AST,
        scope: Scope,
    ) -> Any:
        """The return value of a function of the project, and which variables it looks up.

        Its value is computed at run time, whatever it is; that of a lambda is its expression's.
        """
        self._calls += 1
        given = [*arguments, *keywords.values()]
        is_lambda = isinstance(function.node, ast.Lambda)
        if not is_lambda and not self._has_lookups(function):
            return unknown(*given)
        limit = self._exceeded_limit()
        if limit:
            self.note_limit(limit, call, scope)
            return unknown(*given)
        inner = self._bound(function, arguments, keywords)
        outer_site = self._call_site
        self._call_site = outer_site or self.where(scope.file, call)
        self._depth += 1
        try:
            with self.under(True):
                if isinstance(function.node, ast.Lambda):
                    return self._of_lambda(function.node, inner)
                stopped = self.run(function.node.body, inner)
        finally:
            self._depth -= 1
            self._call_site = outer_site
        return _return_value(given, inner.returned or [], stopped)

    def _exceeded_limit(self) -> str:
        if self._calls > _MOST_CALLS:
            return f"{_MOST_CALLS} calls of the project's functions"
        if self._depth >= _DEEPEST_CALL:
            return f"{_DEEPEST_CALL} levels of calls"
        return ""

    def _of_lambda(self, node: ast.Lambda, scope: Scope) -> Any:
        value = self.value(node.body, scope)
        if known(value):
            return value
        return replace(unknown(value), unset=unset(value))

    def _has_lookups(self, function: Function) -> bool:
        """Whether a function, or one that it calls, has to do with the environment."""
        key = id(function.node)
        if key not in self._reads_environment:
            self._reads_environment[key] = False  # functions call each other in a circle
            self._reads_environment[key] = self._names_environment(function)
        return self._reads_environment[key]

    def _names_environment(self, function: Function) -> bool:
        names = names_in(function.node)
        if names & {"os", "environ", "getenv"}:
            return True
        called = []
        for name in sorted(names):
            value = function.scope.names.get(name, Setting()).value
            if isinstance(value, Group):
                return True
            if isinstance(value, External) and environment.concerns(value.name):
                return True
            if isinstance(value, Function) and value.node is not function.node:
                called.append(value)
        return any(self._has_lookups(inner) for inner in called)

    def _bound(
        self,
        function: Function,
        arguments: list[Any],
        keywords: Mapping[str, Any],
    ) -> Scope:
        """The scope of a function's body, with the values of its parameters."""
        parameters = function.node.args
        outer = function.scope
        place = "default of a parameter"
        names = dict(outer.names)
        positional = [*parameters.posonlyargs, *parameters.args]
        bound_names = set()
        for number, (parameter, default) in enumerate(_with_defaults(parameters)):
            name = parameter.arg
            value: Any = Computed()
            if default:
                value = self.value(default, outer)
            if number < min(len(arguments), len(positional)):
                value = arguments[number]
            names[name] = Setting(keywords.get(name, value), place)
            bound_names.add(name)
        if parameters.vararg:
            further = arguments[len(positional) :]
            names[parameters.vararg.arg] = Setting(further, place)
        if parameters.kwarg:
            rest = {name: value for name, value in keywords.items() if name not in bound_names}
            names[parameters.kwarg.arg] = Setting(rest, place)
        return Scope(outer.module, outer.file, names, [])


def _with_defaults(parameters: ast.arguments) -> list[tuple[ast.arg, ast.expr | None]]:
    """Every named parameter, those by position first, and its default."""
    positional = [*parameters.posonlyargs, *parameters.args]
    without = len(positional) - len(parameters.defaults)
    defaults = [*([None] * without), *parameters.defaults]
    return [
        *zip(positional, defaults, strict=True),
        *zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True),
    ]


def _return_value(
    given: list[Any],
    returned: list[tuple[Any, bool]],
    stopped: bool,
) -> Any:
    """A function's value: the same variables, and what it returns in an empty environment."""
    values = [value for value, _ in returned]
    if len(values) == 1 and isinstance(values[0], Group):
        return values[0]
    reached = [value for value, is_reached in returned if is_reached]
    plain: Any = None
    if reached:
        plain = unset(reached[0])
    elif returned or stopped:
        plain = NOTHING
    return replace(unknown(*given, *values), unset=plain)


def outside_name(name: str) -> Any:
    """The value of a name from outside, where that is known; else the name."""
    return _KNOWN_NAMES.get(name, External(name))
