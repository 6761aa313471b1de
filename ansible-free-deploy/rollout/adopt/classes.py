"""Settings that are classes, or come from classes. Pure.

django-configurations makes settings of a class's attributes, and a variable names the class.
pydantic-settings makes variables of a class's fields, and settings read them from an instance.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rollout.adopt.environment import Lookup, known_default
from rollout.adopt.values import NOTHING, Computed, External, Names, Scope, Setting
from rollout.render import places

if TYPE_CHECKING:
    from rollout.adopt.lookups import Lookups

VARIABLE = places.CONFIGURATION
CONFIGURATION = "django-configurations"
SCHEMA = "pydantic-settings"
PLAIN = "a class"
INSTANCE = "an instance of a class"
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
# The values of django-configurations that look up a variable of a fixed name, without DJANGO_ in
# front.
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
    """A class of the project or an instance of one, with its attributes.

    `fields` are those of a SCHEMA, and `prefix` is what the names of their variables begin with.
    """

    kind: str = PLAIN
    attributes: Names = field(default_factory=dict, repr=False)
    fields: Mapping[str, Field] = field(default_factory=dict, repr=False)
    prefix: str = ""


@dataclass(frozen=True)
class Field:
    """A field of a SCHEMA: the variable that it looks up, its default, and its place."""

    lookup: Lookup
    default: Any
    node: ast.AST
    scope: Scope


@dataclass(frozen=True, eq=False)
class Late(External):
    """A value of django-configurations, whose variable depends on the attribute's name."""

    arguments: Sequence[Any] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def lookup(self, attribute: str) -> Lookup | None:
        """The variable that it looks up as this attribute; None where it looks up none."""
        if self.keywords.get("environ", True) is False:
            return None
        kind = self.name.removeprefix(_VALUES)
        is_required = kind == "SecretValue" or self.keywords.get("environ_required") is True
        default: Any = NOTHING
        if not is_required:
            default = known_default(self.default)
        return Lookup(self._variable(kind, attribute), default, _KINDS.get(kind, ""))

    def _variable(self, kind: str, attribute: str) -> str:
        fixed = _OWN_VARIABLE.get(kind)
        name = str(self.keywords.get("environ_name") or fixed or attribute)
        usual = None if fixed else "DJANGO"
        prefix = self.keywords.get("environ_prefix", usual)
        if not isinstance(prefix, str) or not prefix:
            return name
        return f"{prefix.rstrip('_')}_{name}"

    @property
    def default(self) -> Any:
        """Its value without its variable."""
        first = self.arguments[0] if self.arguments else None
        return self.keywords.get("default", first)


def late(
    name: str,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
) -> Late | None:
    """The value of django-configurations that calling `name` makes; None for any other call."""
    if not name.startswith(_VALUES) or not name.endswith("Value"):
        return None
    return Late(name, tuple(arguments), dict(keywords))


# --------------------------------------------------------------------------------- reading a class


def made(
    reader: Lookups,
    node: ast.ClassDef,
    bases: Sequence[Any],
    body: Names,
    scope: Scope,
) -> Group | None:
    """The class that a statement makes; None where it is not followed.

    `body` are the names that its body sets.
    """
    groups = []
    kind = PLAIN  # or that of the first base which is more
    for base in bases:
        base_kind = _kind(base)
        if base_kind is None:
            return None
        if kind == PLAIN and base_kind in (CONFIGURATION, SCHEMA):
            kind = base_kind
        if isinstance(base, Group):
            groups.append(base)
    name = f"{scope.module}.{node.name}"
    if kind == SCHEMA:
        return _schema(reader, node, name, groups, scope)
    attributes: Names = {}
    for base in reversed(groups):
        attributes.update(base.attributes)
    for attribute, setting in body.items():
        attributes[attribute] = _settled(reader, attribute, setting, node, scope)
    return Group(name, kind, attributes)


def _kind(base: Any) -> str | None:
    if isinstance(base, Group):
        return base.kind if base.kind != INSTANCE else None
    if isinstance(base, External):
        return _BASES.get(base.name)
    return None


def _settled(
    reader: Lookups,
    name: str,
    setting: Setting,
    node: ast.ClassDef,
    scope: Scope,
) -> Setting:
    """An attribute, looked up now that its name is known."""
    value = setting.value
    if not isinstance(value, Late):
        return setting
    lookup = value.lookup(name)
    if lookup is None:
        return Setting(value.default, setting.where)
    line = _assignment_of(name, node)
    return Setting(reader.look_up(lookup, line, scope), setting.where)


def _assignment_of(name: str, node: ast.ClassDef) -> ast.stmt:
    for statement in node.body:
        if name in _targets(statement):
            return statement
    return node


def _targets(node: ast.stmt) -> list[str]:
    names = []
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            names.append(part.id)
    return names


# ------------------------------------------------------------------------------- pydantic-settings


def _schema(
    reader: Lookups,
    node: ast.ClassDef,
    name: str,
    bases: Sequence[Group],
    scope: Scope,
) -> Group:
    prefix = bases[0].prefix if bases else ""
    for statement in node.body:
        prefix = _prefix(reader, statement, scope, prefix)
    fields: dict[str, Field] = {}
    for base in reversed(bases):
        fields.update(base.fields)
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign):
            continue
        if not isinstance(statement.target, ast.Name):
            continue
        key = statement.target.id
        kind = _annotated_type(statement.annotation)
        if key != "model_config" and not key.startswith("_") and kind != "ClassVar":
            fields[key] = _field(reader, key, kind, statement, scope, prefix)
    return Group(name, SCHEMA, {}, fields, prefix)


def _prefix(
    reader: Lookups,
    node: ast.stmt,
    scope: Scope,
    before: str,
) -> str:
    """`env_prefix`, in model_config or, in older versions, in a class Config."""
    for expression in _prefix_expressions(node):
        value = reader.value(expression, scope)
        if isinstance(value, str):
            return value
    return before


def _prefix_expressions(node: ast.stmt) -> list[ast.expr]:
    by_keyword: list[ast.expr] = []
    by_class: list[ast.expr] = []
    by_key: list[ast.expr] = []
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            by_keyword += _values_of_keyword(part, "env_prefix")
        elif isinstance(part, ast.Dict):
            by_key += _values_of_key(part, "env_prefix")
    if isinstance(node, ast.ClassDef) and node.name == "Config":
        for statement in node.body:
            if isinstance(statement, ast.Assign) and "env_prefix" in _targets(statement):
                by_class.append(statement.value)
    return [*by_keyword, *by_class, *by_key]


def _values_of_keyword(node: ast.Call, name: str) -> list[ast.expr]:
    return [keyword.value for keyword in node.keywords if keyword.arg == name]


def _values_of_key(node: ast.Dict, name: str) -> list[ast.expr]:
    values = []
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == name:
            values.append(value)
    return values


def _annotated_type(node: ast.expr) -> str:
    """The type that a text is parsed as: the first name of `list[str]`, `int | None`,
    `Optional[bool]`."""
    for part in ast.walk(node):
        name = ""
        if isinstance(part, ast.Name):
            name = part.id
        elif isinstance(part, ast.Attribute):
            name = part.attr
        if name and name not in ("Optional", "Union", "Annotated", "typing", "None"):
            return name
    return ""


def _field(
    reader: Lookups,
    key: str,
    kind: str,
    node: ast.AnnAssign,
    scope: Scope,
    prefix: str,
) -> Field:
    keywords, default = _declaration(reader, node.value, scope)
    name = _alias(keywords) or f"{prefix}{key}"
    lookup = Lookup(
        name.upper(),
        known_default(default),
        _ANNOTATED.get(kind.lower(), ""),
    )
    return Field(lookup, default, node, scope)


def _alias(keywords: Mapping[str, Any]) -> str:
    """The name of a field's variable, where `Field(…)` names one."""
    for keyword in ("validation_alias", "alias", "env"):
        if keyword not in keywords:
            continue
        value = keywords[keyword]
        names = value if isinstance(value, list) else [value]
        texts = [name for name in names if isinstance(name, str)]
        return texts[0] if texts else ""
    return ""


def _declaration(
    reader: Lookups,
    value: ast.expr | None,
    scope: Scope,
) -> tuple[dict[str, Any], Any]:
    """The keywords of `Field(…)`, and the default, NOTHING where there is none."""
    if value is None:
        return {}, NOTHING
    if not isinstance(value, ast.Call) or not _is_called(value, "Field"):
        if _is_dots(value):
            return {}, NOTHING
        return {}, reader.value(value, scope)
    keywords = {}
    for keyword in value.keywords:
        if keyword.arg:
            keywords[keyword.arg] = _keyword_value(reader, keyword.value, scope)
    arguments = [reader.value(node, scope) for node in value.args if not _is_dots(node)]
    if "default_factory" in keywords:
        return keywords, Computed()
    if "default" in keywords and keywords["default"] is not ...:
        return keywords, keywords["default"]
    if arguments:
        return keywords, arguments[0]
    return keywords, NOTHING


def _is_called(node: ast.Call, name: str) -> bool:
    return ast.unparse(node.func).rpartition(".")[2] == name


def _is_dots(node: ast.expr) -> bool:
    """Whether it is `...`, which says that there is no default."""
    return isinstance(node, ast.Constant) and node.value is ...


def _keyword_value(reader: Lookups, node: ast.expr, scope: Scope) -> Any:
    """The value of a keyword; AliasChoices("A", "B") as its names."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("AliasChoices"):
        return [reader.value(choice, scope) for choice in node.args]
    return reader.value(node, scope)


def instance(
    reader: Lookups,
    group: Group,
    keywords: Mapping[str, Any],
) -> Any:
    """What calling a class returns.

    Of a SCHEMA it is an instance with each field looked up; of any other class only a run shows.
    """
    if group.kind != SCHEMA:
        return Computed()
    attributes = {}
    for key, one in group.fields.items():
        where = reader.where(one.scope.file, one.node)
        if key in keywords:
            attributes[key] = Setting(keywords[key], where)
        else:
            attributes[key] = Setting(_looked_up(reader, one), where)
    return Group(group.name, INSTANCE, attributes)


def _looked_up(reader: Lookups, one: Field) -> Any:
    if isinstance(one.default, Group):
        return one.default
    return reader.look_up(one.lookup, one.node, one.scope)
