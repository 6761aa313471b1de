"""Settings that stand in classes.

django-configurations makes settings of a class's attributes, and a variable names the class.
pydantic-settings makes variables of a class's fields, and settings read them from what the class
makes. Pure.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rollout.adopt.environment import Lookup
from rollout.adopt.values import NOTHING, Computed, External, Names, Scope, Setting, unset
from rollout.render import places

if TYPE_CHECKING:
    from rollout.adopt.expressions import Expressions

VARIABLE = places.CONFIGURATION
CONFIGURATION, SCHEMA, PLAIN, MADE = (
    "django-configurations",
    "pydantic-settings",
    "a class",
    "what a class makes",
)
_BASES = {
    "configurations.Configuration": CONFIGURATION,
    "configurations.base.Configuration": CONFIGURATION,
    "pydantic_settings.BaseSettings": SCHEMA,
    "pydantic_settings.main.BaseSettings": SCHEMA,
    "pydantic.BaseSettings": SCHEMA,
    "pydantic.v1.BaseSettings": SCHEMA,
    "object": PLAIN,
}
_VALUES = "configurations.values."
# django-configurations: the variable of a value that has one of its own, without the usual DJANGO_
# in front.
_OWN_VARIABLE = {
    "DatabaseURLValue": "DATABASE_URL",
    "CacheURLValue": "CACHE_URL",
    "EmailURLValue": "EMAIL_URL",
    "SearchURLValue": "SEARCH_URL",
}
_KINDS = {
    "BooleanValue": "bool",
    "IntegerValue": "int",
    "PositiveIntegerValue": "int",
    "FloatValue": "float",
    "ListValue": "list",
    "TupleValue": "list",
    "SetValue": "list",
}
_ANNOTATED = {
    "bool": "bool",
    "int": "int",
    "float": "float",
    "list": "json",
    "dict": "json",
    "tuple": "json",
}


@dataclass(frozen=True, eq=False)
class Group(External):
    """A class of the project, or what it makes (MADE), with its attributes; `fields` are those of a
    SCHEMA."""

    kind: str = PLAIN
    attributes: Names = field(default_factory=dict, repr=False)
    fields: Mapping[str, Field] = field(default_factory=dict, repr=False)
    prefix: str = ""


@dataclass(frozen=True)
class Field:
    """A field of a SCHEMA: what it looks up, its default, and where it stands."""

    lookup: Lookup
    default: Any
    node: ast.AST
    scope: Scope


@dataclass(frozen=True, eq=False)
class Late(External):
    """A value of django-configurations: its variable is known when the attribute has its name."""

    given: Sequence[Any] = ()
    words: Mapping[str, Any] = field(default_factory=dict)

    def lookup(self, attribute: str) -> Lookup | None:
        """What it looks up as this attribute; None where it looks up nothing."""
        kind = self.name.removeprefix(_VALUES)
        if self.words.get("environ", True) is False:
            return None
        own = _OWN_VARIABLE.get(kind)
        prefix = self.words.get("environ_prefix", None if own else "DJANGO")
        name = str(self.words.get("environ_name") or own or attribute)
        required = kind == "SecretValue" or self.words.get("environ_required") is True
        full = f"{prefix.rstrip('_')}_{name}" if isinstance(prefix, str) and prefix else name
        return Lookup(
            full, NOTHING if required else known_default(self.default), _KINDS.get(kind, "")
        )

    @property
    def default(self) -> Any:
        """What it is without its variable."""
        return self.words.get("default", self.given[0] if self.given else None)


def late(name: str, given: Sequence[Any], words: Mapping[str, Any]) -> Late | None:
    """What calling `name` gives, if that is a value of django-configurations."""
    is_value = name.startswith(_VALUES) and name.endswith("Value")
    return Late(name, tuple(given), dict(words)) if is_value else None


def known_default(value: Any) -> Any:
    """A default as lookups have it: never NOTHING, which means that there is none."""
    plain = unset(value)
    return External("a default") if plain is NOTHING else plain


# ---------------------------------------------------------------------------------- reading a class


def made(
    reader: Expressions, node: ast.ClassDef, bases: Sequence[Any], body: Names, scope: Scope
) -> Group | None:
    """The class that a statement makes, `body` being the names that it sets; None for one that is
    not followed."""
    kinds = [_kind(base) for base in bases]
    if None in kinds:
        return None
    kind = next((one for one in kinds if one in (CONFIGURATION, SCHEMA)), PLAIN)
    groups = [base for base in bases if isinstance(base, Group)]
    attributes = {name: one for base in reversed(groups) for name, one in base.attributes.items()}
    name = f"{scope.module}.{node.name}"
    if kind is SCHEMA:
        return _schema(reader, node, name, groups, scope)
    own = {one: _settled(reader, one, setting, node, scope) for one, setting in body.items()}
    return Group(name, kind, {**attributes, **own})


def _kind(base: Any) -> str | None:
    if isinstance(base, Group):
        return base.kind if base.kind != MADE else None
    return _BASES.get(base.name) if isinstance(base, External) else None


def _settled(
    reader: Expressions, name: str, one: Setting, node: ast.ClassDef, scope: Scope
) -> Setting:
    if not isinstance(one.value, Late):
        return one
    found = one.value.lookup(name)
    line = next((part for part in node.body if name in _targets(part)), node)
    return Setting(reader.look_up(found, line, scope) if found else one.value.default, one.where)


def _targets(node: ast.stmt) -> list[str]:
    return [
        one.id
        for one in ast.walk(node)
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    ]


# -------------------------------------------------------------------------------- pydantic-settings


def _schema(
    reader: Expressions, node: ast.ClassDef, name: str, bases: Sequence[Group], scope: Scope
) -> Group:
    prefix = next((base.prefix for base in bases), "")
    for call in node.body:
        prefix = _prefix(reader, call, scope, prefix)
    fields = {key: one for base in reversed(bases) for key, one in base.fields.items()}
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            key, kind = part.target.id, _of_annotation(part.annotation)
            if key != "model_config" and not key.startswith("_") and kind != "ClassVar":
                fields[key] = _field(reader, key, kind, part, scope, prefix)
    return Group(name, SCHEMA, {}, fields, prefix)


def _prefix(reader: Expressions, node: ast.stmt, scope: Scope, before: str) -> str:
    """`env_prefix`, in model_config or, in older versions, in a class Config."""
    words = [word for one in ast.walk(node) if isinstance(one, ast.Call) for word in one.keywords]
    found = [word.value for word in words if word.arg == "env_prefix"]
    if isinstance(node, ast.ClassDef) and node.name == "Config":
        found += [
            one.value
            for one in node.body
            if isinstance(one, ast.Assign) and "env_prefix" in _targets(one)
        ]
    for one in ast.walk(node):
        if isinstance(one, ast.Dict):
            keys = zip(one.keys, one.values, strict=True)
            found += [
                value
                for key, value in keys
                if isinstance(key, ast.Constant) and key.value == "env_prefix"
            ]
    values = [reader.value(one, scope) for one in found]
    return next((one for one in values if isinstance(one, str)), before)


def _of_annotation(node: ast.expr) -> str:
    """The type that a text is read as: the first name of `list[str]`, `int | None`,
    `Optional[bool]`."""
    names = [
        one.id if isinstance(one, ast.Name) else one.attr
        for one in ast.walk(node)
        if isinstance(one, (ast.Name, ast.Attribute))
    ]
    return next(
        (one for one in names if one not in ("Optional", "Union", "Annotated", "typing", "None")),
        "",
    )


def _field(
    reader: Expressions, key: str, kind: str, node: ast.AnnAssign, scope: Scope, prefix: str
) -> Field:
    given, words, default = _declared(reader, node.value, scope)
    alias = next(
        (words[word] for word in ("validation_alias", "alias", "env") if word in words), None
    )
    names = [one for one in (alias if isinstance(alias, list) else [alias]) if isinstance(one, str)]
    name = names[0] if names else f"{prefix}{key}"
    if given and default is NOTHING:
        default = given[0]
    lookup = Lookup(
        name.upper(),
        NOTHING if default is NOTHING else known_default(default),
        _ANNOTATED.get(kind.lower(), ""),
    )
    return Field(lookup, default, node, scope)


def _declared(
    reader: Expressions, value: ast.expr | None, scope: Scope
) -> tuple[list[Any], dict[str, Any], Any]:
    """The arguments of `Field(…)`, and the default, NOTHING where there is none."""
    if value is None:
        return [], {}, NOTHING
    if not (isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] == "Field"):
        return [], {}, _unless_dots(value, reader.value(value, scope))
    words = {word.arg: _arguments(reader, word.value, scope) for word in value.keywords if word.arg}
    given = [
        reader.value(one, scope) for one in value.args if _unless_dots(one, None) is not NOTHING
    ]
    if "default_factory" in words:
        return [], words, Computed()
    default = next((word.value for word in value.keywords if word.arg == "default"), None)
    return given, words, _unless_dots(default, words.get("default")) if default else NOTHING


def _unless_dots(node: ast.expr, value: Any) -> Any:
    """`...` says that there is no default."""
    return NOTHING if isinstance(node, ast.Constant) and node.value is ... else value


def _arguments(reader: Expressions, node: ast.expr, scope: Scope) -> Any:
    """AliasChoices("A", "B") as its names."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("AliasChoices"):
        return [reader.value(one, scope) for one in node.args]
    return reader.value(node, scope)


def instance(reader: Expressions, group: Group, words: Mapping[str, Any]) -> Any:
    """What calling a class gives: of a SCHEMA its fields, each looked up; of any other what only a
    run can tell."""
    if group.kind != SCHEMA:
        return Computed()
    found = {}
    for key, one in group.fields.items():
        value = words[key] if key in words else _looked_up(reader, one)
        found[key] = Setting(value, reader.where(one.scope.file, one.node))
    return Group(group.name, MADE, found)


def _looked_up(reader: Expressions, one: Field) -> Any:
    return (
        one.default
        if isinstance(one.default, Group)
        else reader.look_up(one.lookup, one.node, one.scope)
    )


# -------------------------------------------------------------------------------------- which class


def configurations(names: Names) -> list[str]:
    """The classes of django-configurations among a module's names."""
    return [
        name
        for name, one in names.items()
        if isinstance(one.value, Group) and one.value.kind == CONFIGURATION
    ]


def chosen(
    there: Sequence[str], by_scripts: Iterable[str], is_production: re.Pattern[str]
) -> tuple[str, str]:
    """The class to deploy with, and why; "" where none can be made out."""
    live = [name for name in there if is_production.fullmatch(_snake(name))]
    named = [name for name in by_scripts if name in there]
    for names, why in (
        (live, "it looks like the one for production"),
        (named, f"{VARIABLE} names it"),
        (there, ""),
    ):
        if names and (names is not there or len(there) == 1):
            return names[0], why or "the only one"
    return "", ""


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def configured(names: Names, name: str) -> Names:
    """A module's names, and over them the settings of one of its classes; where none is named, what
    all of them have in common, and the rest as what only a run can tell."""
    there = [names[one].value for one in ([name] if name else configurations(names))]
    found: Names = {}
    for group in there:
        for key, one in _settings(group.attributes):
            agree = all(
                key in other.attributes and other.attributes[key].value == one.value
                for other in there
            )
            found[key] = one if agree else Setting(Computed(), one.where)
    return {**names, **found}


def _settings(attributes: Names) -> Iterator[tuple[str, Setting]]:
    for name, one in attributes.items():
        if name == name.upper() and not name.startswith("_"):
            yield name, one
