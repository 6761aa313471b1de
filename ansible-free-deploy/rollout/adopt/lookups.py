"""The environment variables that settings look up, and which of them they need. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollout.adopt import environment
from rollout.adopt.environment import Lookup, Read
from rollout.adopt.values import NOTHING, Computed, External, Names, Scope, Setting


@dataclass
class Condition:
    """A condition that the code being read depends on.

    `holds` says whether it holds in an empty environment; None where that is not known. `unless` is
    the opposite condition as text for a person.
    """

    holds: bool | None
    unless: str = ""


@dataclass
class Lookups:
    """What a reader of the project has noted of the environment and of its own limits.

    `reads` are the variables that are looked up. `variables` is an environment to try. `limits` are
    the places after which something is left out, by the limit.
    """

    root: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    reads: dict[str, Read] = field(default_factory=dict)
    limits: dict[str, Setting] = field(default_factory=dict)
    strict_lookups: int = 0  # those that raise in an empty environment
    _declared: dict[str, Lookup] = field(default_factory=dict)
    _conditions: list[Condition] = field(default_factory=list)
    _call_site: str = ""  # where settings called the project's function that is being read
    _prefix: str = ""  # of environs' `with env.prefixed(…)`

    def value(self, node: ast.expr, scope: Scope) -> Any:
        """The value of an expression."""
        raise NotImplementedError

    def module(self, name: str) -> Names:
        """The names of a module of the project."""
        raise NotImplementedError

    def find(self, module: str) -> Path | None:
        """The file of a module of the project."""
        raise NotImplementedError

    def where(self, file: Path, node: ast.AST) -> str:
        """`file:line` as messages have it."""
        return f"{self.short(file)}:{getattr(node, 'lineno', 1)}"

    def short(self, file: Path) -> str:
        """A file as messages name it."""
        if file.is_relative_to(self.root):
            file = file.relative_to(self.root)
        return str(file)

    def note_limit(self, limit: str, node: ast.AST, scope: Scope) -> None:
        """Note the first place after which a limit leaves something out."""
        if limit in self.limits:
            return
        text = f"{limit} are as far as this reads: what comes after is computed at run time"
        self.limits[limit] = Setting(text, self.where(scope.file, node))

    # -------------------------------------------------------------------------------- conditions

    @contextmanager
    def under(self, holds: bool | None, unless: str = "") -> Iterator[Condition]:
        """Whatever is read within depends on a condition."""
        condition = Condition(holds, unless)
        before = len(self._conditions)
        self._conditions.append(condition)
        try:
            yield condition
        finally:
            del self._conditions[before:]

    def is_reached(self) -> bool:
        """Whether the code being read is reached in an empty environment."""
        return all(condition.holds for condition in self._conditions)

    # ----------------------------------------------------------------------------------- lookups

    def call_lookup(
        self,
        name: str,
        arguments: list[Any],
        keywords: Mapping[str, Any],
        node: ast.AST,
        scope: Scope,
    ) -> Any:
        """The value of the variable that calling `name` looks up; NOTHING for any other call."""
        lookup = environment.lookup(name, arguments, keywords, self._declared)
        if lookup is None:
            return NOTHING
        return self.look_up(lookup, node, scope)

    def look_up(self, lookup: Lookup, node: ast.AST, scope: Scope) -> Any:
        """A variable's value in the environment to try; elsewhere note that it is looked up."""
        name = self._prefix + lookup.name
        if name in self.variables:
            return self._tried(lookup, name)
        if lookup.required:
            self.strict_lookups += 1
        self.read(name, lookup.required, node, scope, kind=lookup.kind)
        plain = NOTHING if isinstance(lookup.default, External) else lookup.default
        return Computed((name,), unset=plain)

    def _tried(self, lookup: Lookup, name: str) -> Any:
        if lookup.kind == "there":
            return True
        value = lookup.of(self.variables[name])
        if value is NOTHING:
            return Computed((name,))
        return value

    def read(
        self,
        name: str,
        required: bool,
        node: ast.AST,
        scope: Scope,
        unless: str = "",
        kind: str = "",
    ) -> None:
        """Note a variable; one that is only looked up in a set environment is not required."""
        if not self.is_reached() or self._has_declared_default(name):
            required = False
        before = self.reads.get(name)
        if before and (before.required or not required):
            return
        if before and not kind:
            kind = before.kind
        where = self._call_site or self.where(scope.file, node)
        exception = ""
        if required:
            exception = unless or self._unless()
        self.reads[name] = Read(name, required, where, exception, kind)

    def _unless(self) -> str:
        """The innermost condition with a text."""
        for condition in reversed(self._conditions):
            if condition.unless:
                return condition.unless
        return ""

    def _has_declared_default(self, name: str) -> bool:
        return name in self._declared and not self._declared[name].required

    def declare(self, name: object, value: Any) -> None:
        """Note that the settings themselves put a variable into the environment."""
        if not environment.is_name(name):
            return
        self._declared[str(name)] = Lookup(str(name), environment.known_default(value))
