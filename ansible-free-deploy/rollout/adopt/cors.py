"""The project's CORS settings as keys of the stack's config, and what of them can't be carried
over. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from infra.core.keys import KEYS
from infra.core.origins import OriginError, is_app_origin, parse_origin, parse_pattern
from infra.core.stackfile import as_text
from rollout.adopt import headers
from rollout.adopt.project import Project
from rollout.adopt.values import Computed, known, shown
from rollout.finding import Finding

_LISTS = (
    ("CORS_ALLOW_METHODS", "allow_methods"),
    ("CORS_ALLOW_HEADERS", "allow_headers"),
    ("CORS_EXPOSE_HEADERS", "expose_headers"),
    ("CORS_PREFLIGHT_MAX_AGE", "max_age_s"),
)
_EVERY_PATH = ("^.*$", ".*", "^/.*$", "^", "", "^/")
# A part of a pattern that matches many texts: a set or a group of sets, repeated.
_MANY = re.compile(
    r"\(?(?:\?:|\?P<\w+>)?(?:\[[^]]+\]|\\[wd]|\.)(?:[+*]|\{\d*,?\d*\})\)?(?:\(\?:[^()]*\)\??)?"
)


@dataclass
class Carried:
    """What is carried over from the project's CORS settings.

    `values` go into the stack's config. `offered` are comments there, since each allows more than
    one origin.
    """

    values: dict[str, Any] = field(default_factory=dict)
    offered: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def carry(project: Project) -> Carried:
    """The project's own CORS settings, checked as the kit checks its config."""
    carried = Carried()
    carried.findings += _origins(project, carried)
    carried.findings += _patterns(project, carried)
    carried.findings += _everyone(project)
    carried.findings += _credentials(project, carried)
    carried.findings += _paths(project)
    for setting, key in _LISTS:
        carried.findings += _list(project, carried, setting, key)
    carried.findings += _written(project, carried)
    return carried


def _written(project: Project, carried: Carried) -> Iterator[Finding]:
    """The headers that the project's own code writes, each line of it."""
    for written in project.written:
        if written.header == headers.SIGNAL:
            text = "a handler of corsheaders' signal decides about origins"
            cure = "nginx asks no code: write those origins into extra_origins or allowed_patterns"
        else:
            text = f"the project's own code writes {written.header}"
            cure = headers.carry(written, carried.values)
        yield Finding(text, written.where, cure)


# ----------------------------------------------------------------------------------------- origins


def _origins(project: Project, carried: Carried) -> Iterator[Finding]:
    name = project.name("CORS_ALLOWED_ORIGINS")
    setting = project.get("CORS_ALLOWED_ORIGINS")
    if isinstance(setting.value, str):
        text = (
            f"{name} is text, not a list: each of its characters is taken for an origin, so none is"
            " allowed"
        )
        yield Finding(text, setting.where, "write the origins into extra_origins, one an item")
    elif isinstance(setting.value, Computed):
        cure = "write those origins into extra_origins; the frontend's own needs no entry"
        yield Finding(f"{name} is {shown(setting.value)}", setting.where, cure)
    for value in project.items("CORS_ALLOWED_ORIGINS"):
        yield from _origin(name, value, setting.where, carried)


def _origin(
    name: str,
    value: Any,
    where: str,
    carried: Carried,
) -> Iterator[Finding]:
    if not known(value):
        text = f"{name}: an origin is {shown(value)}"
        yield Finding(text, where, "write it into extra_origins")
        return
    if isinstance(value, str) and _is_only_an_apps(value):
        _add(carried.values, "app_origins", value)
        return
    try:
        origin = str(parse_origin(value, production=False))
    except OriginError as problem:
        cure = "left out: write what was meant into extra_origins"
        yield Finding(f"{name}: {problem}", where, cure)
        return
    _add(carried.values, "extra_origins", origin)
    if origin != value.rstrip("/"):
        text = f"{name}: {value!r} never matches what a browser sends"
        cure = f"carried over as {origin}: remove it from extra_origins if not wanted"
        yield Finding(text, where, cure)


def _is_only_an_apps(value: str) -> bool:
    """Whether an app sends this origin, and no website does."""
    return is_app_origin(value) and not value.startswith("http")


def _patterns(project: Project, carried: Carried) -> Iterator[Finding]:
    name = project.name("CORS_ALLOWED_ORIGIN_REGEXES")
    setting = project.get("CORS_ALLOWED_ORIGIN_REGEXES")
    patterns = project.items("CORS_ALLOWED_ORIGIN_REGEXES")
    problem = ""
    if setting.value and isinstance(setting.value, str):
        problem = "is text, not a list, so each of its characters is a pattern"
    elif "" in patterns:
        problem = "holds an empty pattern"
    if problem:
        text = f"{name} {problem}: every website is allowed"
        cure = "none of it is carried over: write patterns into allowed_patterns"
        yield Finding(text, setting.where, cure)
    elif isinstance(setting.value, Computed):
        text = f"{name} is {shown(setting.value)}"
        yield Finding(text, setting.where, "write patterns into allowed_patterns")
    for pattern in patterns:
        if isinstance(pattern, str) and pattern:
            yield _pattern(name, pattern, setting.where, carried)


def _pattern(
    name: str,
    pattern: str,
    where: str,
    carried: Carried,
) -> Finding:
    """A regular expression is left out; what it most likely means is offered."""
    text = f"{name}: {_refusal(pattern)}"
    plain = _plain_text(pattern)
    for candidate in (plain, plain.replace("{name}", "*")):
        with suppress(OriginError):
            parsed = parse_pattern(candidate, production=False)
            _add(carried.offered, "allowed_patterns", parsed.text)
            cure = f"if it means {candidate}, uncomment allowed_patterns in the file"
            return Finding(text, where, cure)
    with suppress(OriginError):
        origin = parse_origin(plain, production=False)
        return Finding(text, where, f"if it means {origin}, write that into extra_origins")
    cure = "left out: write origins into extra_origins, or patterns into allowed_patterns"
    return Finding(text, where, cure)


def _plain_text(pattern: str) -> str:
    """A regular expression as an origin pattern of the kit, as far as that is possible."""
    text = re.sub(r"\A(\^|\\A)|(\$|\\[zZ])\Z", "", pattern)
    text = text.replace("https?://", "https://")
    text = _MANY.sub("{name}", text, count=1)
    return re.sub(r"\\([./:-])", r"\1", text)


def _refusal(pattern: str) -> str:
    try:
        parse_pattern(pattern, production=False)
    except OriginError as problem:
        return str(problem)
    return f"{pattern!r} is a regular expression, which the contract takes in development only"


# ---------------------------------------------------------------------------------------- switches


def _everyone(project: Project) -> Iterator[Finding]:
    everyone = project.get("CORS_ALLOW_ALL_ORIGINS")
    if everyone.value in (None, False):
        return
    name = project.name("CORS_ALLOW_ALL_ORIGINS")
    text = f"{name} is {shown(everyone.value)}: "
    if everyone.value is not True:
        text += "where it is true, "
    text += "any website reads the answers"
    if project.get("CORS_ALLOW_CREDENTIALS").value is True:
        text += ", with the visitor's cookies"
    cure = "the contract allows the frontend and extra_origins only"
    yield Finding(text, everyone.where, cure)


def _credentials(project: Project, carried: Carried) -> Iterator[Finding]:
    cookies = project.get("CORS_ALLOW_CREDENTIALS")
    if cookies.value in (None, False):
        return
    carried.offered["domain"] = f"{project.application}.test"
    carried.offered["allow_credentials"] = True
    text = (
        f"CORS_ALLOW_CREDENTIALS is {shown(cookies.value)}; browsers send no cookies between two"
        " bare addresses"
    )
    cure = "set domain and allow_credentials: true (in the file as comments), or use tokens"
    yield Finding(text, cookies.where, cure)


def _paths(project: Project) -> Iterator[Finding]:
    paths = project.get("CORS_URLS_REGEX")
    if paths.value is None or paths.value in _EVERY_PATH:
        return
    text = (
        f"CORS_URLS_REGEX {shown(paths.value)} is not kept: pages on allowed origins may read every"
        " path"
    )
    cure = "make sure that the other paths ask for permission themselves"
    yield Finding(text, paths.where, cure)


# ------------------------------------------------------------------------------------------- lists


def _list(
    project: Project,
    carried: Carried,
    setting: str,
    key: str,
) -> Iterator[Finding]:
    current = project.get(setting)
    if current.value is None:
        return
    value = None
    try:
        if known(current.value):
            value = KEYS[key].read(as_text(current.value))
    except (ValueError, TypeError) as problem:
        cure = f"left out: write {key} into the file"
        yield Finding(f"{setting}: {problem}", current.where, cure)
        return
    if value is None:
        text = f"{setting} is {shown(current.value)}"
        cure = f"write {key} into the file, if the default is not enough"
        yield Finding(text, current.where, cure)
        return
    if key == "allow_headers":
        own, with_default = headers.without_default(key, value)
        value = with_default if own else None
    if isinstance(value, int):
        carried.values[key] = value
    elif value:
        carried.values[key] = list(value)


def _add(values: dict[str, Any], key: str, value: str) -> None:
    items = values.setdefault(key, [])
    if value not in items:
        items.append(value)
