"""Which calls look up an environment variable: its name, its default, how its text is parsed.
Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.core import variables
from rollout.adopt.operations import boolean
from rollout.adopt.values import NOTHING, External, unset

ENVIRON = "os.environ"
# An instance of django-environ's or environs' Env, or decouple's config.
_READER = "an environment reader"

_CLASSES = ("Env", "FileAwareEnv", "FileAwareMapping", "AutoConfig", "Config", "EnvConfig")
_READY = {
    "decouple.config": "decouple",
    "starlette.config.config": "decouple",
}
# Methods of django-environ with a variable of their own, and the one that they look up by default.
_OWN_VARIABLE = {
    "db": "DATABASE_URL",
    "db_url": "DATABASE_URL",
    "cache": "CACHE_URL",
    "cache_url": "CACHE_URL",
    "email": "EMAIL_URL",
    "email_url": "EMAIL_URL",
    "search_url": "SEARCH_URL",
    "search": "SEARCH_URL",
    "channels": "CHANNELS_URL",
    "channels_url": "CHANNELS_URL",
}
# Methods of django-environ whose arguments are (variable, cast, default).
_CAST_SECOND = ("", "get_value", "list", "tuple", "dict", "set")
_NO_DEFAULT = ("NOTSET", "undefined", "missing", "UNSET")
_OF_OS = ("os.getenv", f"{ENVIRON}.get", f"{ENVIRON}.pop", f"{ENVIRON}.setdefault")
_NO_LOOKUP = (
    "read_env",
    "read_envfile",
    "prefixed",
    "seal",
    "dump",
    "parser",
    "add_parser",
    "parse_value",
    "scheme",
    "db_url_config",
    "cache_url_config",
    "email_url_config",
    "search_url_config",
)


@dataclass(frozen=True)
class Read:
    """An environment variable that is looked up, and the file and line that do so.

    Without a `required` one the settings don't load. `unless` is the condition under which they
    do, e.g. "DATABASE_URL is set". `kind` is what its text is parsed as, e.g. "int"; "" for text.
    """

    name: str
    required: bool
    where: str
    unless: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Lookup:
    """A variable that a call looks up; `default` is NOTHING where an unset variable raises."""

    name: str
    default: Any = NOTHING
    kind: str = ""

    @property
    def required(self) -> bool:
        return self.default is NOTHING

    def of(self, text: str) -> Any:
        """The value for this text of the variable; NOTHING where that is not known."""
        cast = _CASTS.get(self.kind)
        if cast is None:
            return NOTHING
        try:
            return cast(text)
        except ValueError:
            return NOTHING


def _items(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    return [part for part in parts if part]


_CASTS: dict[str, Callable[[str], Any]] = {
    "": str,
    "str": str,
    "bool": boolean,
    "strtobool": boolean,
    "int": int,
    "float": float,
    "json": json.loads,
    "list": _items,
}


def is_name(name: object) -> bool:
    """Whether it can be the name of a variable: a path or a sentence can't."""
    return isinstance(name, str) and variables.NAME.fullmatch(name) is not None


def reader(name: str) -> External | None:
    """The environment reader that the class `name` makes; None for any other class."""
    package = name.split(".")[0]
    last = name.split(".")[-1]
    if last not in _CLASSES:
        return None
    if last == "Config" and package not in ("decouple", "starlette"):
        return None
    return External(f"{_READER} ({_kind_of_reader(package, last)})")


def _kind_of_reader(package: str, class_name: str) -> str:
    if package == "environs":
        return "environs"
    if "Config" in class_name:
        return "decouple"
    return "environ"


def concerns(name: str) -> bool:
    """Whether a name from outside has to do with the environment."""
    package = name.split(".")[0]
    if package in ("os", "environ", "environs", "decouple", "starlette"):
        return True
    return name.startswith(_READER)


def prefixed(name: str) -> bool:
    """Whether it is environs' `with env.prefixed("SHOP_")`."""
    return name.startswith(_READER) and name.endswith(").prefixed")


def lookup(
    name: str,
    arguments: list[Any],
    keywords: Mapping[str, Any],
    declared: Mapping[str, Lookup],
) -> Lookup | None:
    """The variable that a call of `name` looks up; None where it looks up none that is known."""
    if name in _OF_OS:
        default = _default(arguments[1:2], keywords)
        if default is NOTHING and not name.endswith("pop"):
            default = None
        return _named(arguments, keywords, "key", default, "")
    if name == f"{ENVIRON}.__getitem__":
        return _named(arguments, keywords, "key", NOTHING, "")
    if name == "dj_database_url.config":
        first = arguments[0] if arguments else "DATABASE_URL"
        variable = keywords.get("env", first)
        if not is_name(variable):
            return None
        return Lookup(variable, None, "url")
    kind = _READY.get(name) or _kind_in_name(name)
    if not kind:
        return None
    return _by_reader(kind, _method(name), arguments, keywords, declared)


def _kind_in_name(name: str) -> str:
    match = re.match(rf"{_READER} \((\w+)\)", name)
    return match[1] if match else ""


def _method(name: str) -> str:
    return name.rpartition(").")[2] if ")." in name else ""


def _by_reader(
    kind: str,
    method: str,
    arguments: list[Any],
    keywords: Mapping[str, Any],
    declared: Mapping[str, Lookup],
) -> Lookup | None:
    if method in _NO_LOOKUP or "." in method or method.isupper():
        return None
    cast_second = kind == "environ" and method in _CAST_SECOND
    after_name = arguments[1:]
    if cast_second and after_name and isinstance(after_name[0], External):
        after_name = after_name[1:]
    default = _default(after_name[:1], keywords)
    parsed_as = method or _last_name(_cast(kind, cast_second, arguments, keywords))
    if not arguments and kind == "environ" and method in _OWN_VARIABLE:
        arguments = [_OWN_VARIABLE[method]]
    keyword = "option" if kind == "decouple" else "var"
    variable = _named(arguments, keywords, keyword, default, parsed_as)
    if variable is None or not variable.required or variable.name not in declared:
        return variable
    declaration = declared[variable.name]
    return Lookup(variable.name, declaration.default, variable.kind or declaration.kind)


def _cast(
    kind: str,
    cast_second: bool,
    arguments: list[Any],
    keywords: Mapping[str, Any],
) -> Any:
    """The argument that says what the text is parsed as; None where none does."""
    if kind == "decouple" and len(arguments) > 2:
        return arguments[2]
    if "cast" in keywords:
        return keywords["cast"]
    if cast_second and len(arguments) > 1:
        return arguments[1]
    return None


def _last_name(cast: Any) -> str:
    if isinstance(cast, External):
        return cast.name.rpartition(".")[2]
    return ""


def _default(arguments: list[Any], keywords: Mapping[str, Any]) -> Any:
    """The default among arguments; NOTHING where there is none."""
    first = arguments[0] if arguments else NOTHING
    value = keywords.get("default", keywords.get("failobj", first))
    if _last_name(value) in _NO_DEFAULT:
        return NOTHING
    return known_default(value)


def known_default(value: Any) -> Any:
    """A default as lookups have it: NOTHING only where there is none."""
    if value is NOTHING:
        return NOTHING
    plain = unset(value)
    return External("a default") if plain is NOTHING else plain


def _named(
    arguments: list[Any],
    keywords: Mapping[str, Any],
    keyword: str,
    default: Any,
    kind: str,
) -> Lookup | None:
    name = arguments[0] if arguments else keywords.get(keyword, keywords.get("name"))
    if not is_name(name):
        return None
    return Lookup(name, default, kind)


def schemes(keywords: Mapping[str, Any]) -> dict[str, Lookup]:
    """What `Env(DEBUG=(bool, False))` declares: how variables are parsed, and their defaults."""
    declared = {}
    for name, value in keywords.items():
        cast = value
        default = NOTHING
        if isinstance(value, list) and len(value) == 2:
            cast, default = value
        declared[name] = Lookup(name, known_default(default), _last_name(cast))
    return declared
