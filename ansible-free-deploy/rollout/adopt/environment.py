"""Which calls look up an environment variable: which one, its default, how its text is read.
Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.core import variables
from rollout.adopt.values import NOTHING, External, boolean, unset

ENVIRON = "os.environ"
_READER = (  # an instance of django-environ's or environs' Env, decouple's config
    "an environment reader"
)

_CLASSES = ("Env", "FileAwareEnv", "FileAwareMapping", "AutoConfig", "Config", "EnvConfig")
_READY = {"decouple.config": "decouple", "starlette.config.config": "decouple"}
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
_CAST_SECOND = (
    "",
    "get_value",
    "list",
    "tuple",
    "dict",
    "set",
)  # of django-environ: (variable, cast, default)
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
    """An environment variable that is looked up; without a `required` one the settings don't load,
    `unless` what that says, e.g. "DATABASE_URL is set". `kind` is what is made of its text, e.g.
    "int"; "" for text as it is.
    """

    name: str
    required: bool
    where: str
    unless: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Lookup:
    """`default` is what comes of an unset variable, NOTHING where that raises."""

    name: str
    default: Any = NOTHING
    kind: str = ""

    @property
    def required(self) -> bool:
        return self.default is NOTHING

    def of(self, text: str) -> Any:
        """What comes of the variable with this text; NOTHING where that is not followed."""
        try:
            return _CASTS[self.kind](text) if self.kind in _CASTS else NOTHING
        except ValueError:
            return NOTHING


_CASTS: dict[str, Callable[[str], Any]] = {
    "": str,
    "str": str,
    "bool": boolean,
    "strtobool": boolean,
    "int": int,
    "float": float,
    "json": json.loads,
    "list": lambda text: [part.strip() for part in text.split(",") if part.strip()],
}


def is_name(name: object) -> bool:
    """Whether it can be a variable's: a path or a sentence can't."""
    return isinstance(name, str) and variables.NAME.fullmatch(name) is not None


def reader(name: str) -> External | None:
    """What calling the class `name` gives, if that reads the environment."""
    package, last = name.split(".")[0], name.split(".")[-1]
    if last not in _CLASSES or (last == "Config" and package not in ("decouple", "starlette")):
        return None
    kind = "environs" if package == "environs" else "decouple" if "Config" in last else "environ"
    return External(f"{_READER} ({kind})")


def concerns(name: str) -> bool:
    """Whether a name from outside has to do with the environment."""
    return name.split(".")[0] in (
        "os",
        "environ",
        "environs",
        "decouple",
        "starlette",
    ) or name.startswith(_READER)


def prefixed(name: str) -> bool:
    """Whether it is environs' `with env.prefixed("SHOP_")`."""
    return name.startswith(_READER) and name.endswith(").prefixed")


def lookup(
    name: str, given: list[Any], words: Mapping[str, Any], declared: Mapping[str, Lookup]
) -> Lookup | None:
    """What a call of `name` looks up; None for what looks up nothing that is known."""
    if name in ("os.getenv", f"{ENVIRON}.get", f"{ENVIRON}.pop", f"{ENVIRON}.setdefault"):
        plain = _default(given[1:2], words)
        return _named(
            given,
            words,
            "key",
            None if plain is NOTHING and not name.endswith("pop") else plain,
            "",
        )
    if name == f"{ENVIRON}.__getitem__":
        return _named(given, words, "key", NOTHING, "")
    if name == "dj_database_url.config":
        variable = words.get("env", given[0] if given else "DATABASE_URL")
        return Lookup(variable, None, "url") if is_name(variable) else None
    kind = _READY.get(name) or "".join(re.findall(rf"^{_READER} \((\w+)\)", name))
    return _by_reader(kind, _method(name), given, words, declared) if kind else None


def _method(name: str) -> str:
    return name.rpartition(").")[2] if ")." in name else ""


def _by_reader(
    kind: str,
    method: str,
    given: list[Any],
    words: Mapping[str, Any],
    declared: Mapping[str, Lookup],
) -> Lookup | None:
    if method in _NO_LOOKUP or "." in method or method.isupper():
        return None
    cast_second = kind == "environ" and method in _CAST_SECOND
    rest = given[1:]
    if cast_second and rest and isinstance(rest[0], External):
        rest = rest[1:]
    cast = words.get("cast", given[1] if cast_second and len(given) > 1 else None)
    if kind == "decouple" and len(given) > 2:
        cast = given[2]
    made = method or (cast.name.rpartition(".")[2] if isinstance(cast, External) else "")
    if not given and kind == "environ" and method in _OWN_VARIABLE:
        given = [_OWN_VARIABLE[method]]
    found = _named(
        given, words, "option" if kind == "decouple" else "var", _default(rest[:1], words), made
    )
    if found and found.required and found.name in declared:
        said = declared[found.name]
        return Lookup(found.name, said.default, found.kind or said.kind)
    return found


def _default(given: list[Any], words: Mapping[str, Any]) -> Any:
    """The default among arguments: a value for an empty environment, or one that is there and not
    known."""
    value = words.get("default", words.get("failobj", given[0] if given else NOTHING))
    if isinstance(value, External) and value.name.rpartition(".")[2] in (
        "NOTSET",
        "undefined",
        "missing",
        "UNSET",
    ):
        return NOTHING
    return _known_default(value)


def _known_default(value: Any) -> Any:
    return (
        External("a default") if value is not NOTHING and unset(value) is NOTHING else unset(value)
    )


def _named(
    given: list[Any], words: Mapping[str, Any], word: str, default: Any, kind: str
) -> Lookup | None:
    name = given[0] if given else words.get(word, words.get("name"))
    return Lookup(name, default, kind) if is_name(name) else None


def schemes(words: Mapping[str, Any]) -> dict[str, Lookup]:
    """What `Env(DEBUG=(bool, False))` declares: how variables are read, and their defaults."""
    found = {}
    for name, value in words.items():
        cast, default = value if isinstance(value, list) and len(value) == 2 else (value, NOTHING)
        kind = cast.name.rpartition(".")[2] if isinstance(cast, External) else ""
        found[name] = Lookup(name, _known_default(default), kind)
    return found
