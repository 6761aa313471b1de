"""What a project says of CORS today, as keys of the stack's config; and what of it can't go over as
it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from infra.core.origins import OriginError, parse_origin, parse_pattern
from infra.core.settings import CHECKS
from infra.core.stackfile import as_text
from rollout.adopt import headers
from rollout.adopt.project import Project
from rollout.adopt.values import Computed, known, shown
from rollout.finding import Finding

_EVERY_PATH = ("^.*$", ".*", "^/.*$", "^", "", "^/")
# One place of a pattern where much fits: a set or a group of sets, repeated.
_MANY = re.compile(
    r"\(?(?:\?:|\?P<\w+>)?(?:\[[^]]+\]|\\[wd]|\.)(?:[+*]|\{\d*,?\d*\})\)?(?:\(\?:[^()]*\)\??)?"
)


@dataclass
class Carried:
    """`values` go into the stack's config, `offered` stand there as comments: those let in more
    than one origin."""

    values: dict[str, Any] = field(default_factory=dict)
    offered: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def carry(project: Project) -> Carried:
    """The project's own CORS settings, checked as the kit checks its config."""
    carried = Carried()
    carried.findings += [
        *_origins(project, carried),
        *_patterns(project, carried),
        *_switches(project, carried),
    ]
    for setting, key in (
        ("CORS_ALLOW_METHODS", "allow_methods"),
        ("CORS_ALLOW_HEADERS", "allow_headers"),
        ("CORS_EXPOSE_HEADERS", "expose_headers"),
        ("CORS_PREFLIGHT_MAX_AGE", "max_age_s"),
    ):
        carried.findings += _list(project, carried, setting, key)
    carried.findings += list(_by_hand(project, carried))
    return carried


def _by_hand(project: Project, carried: Carried) -> Iterator[Finding]:
    """What its own code writes, each line of it."""
    for one in project.written:
        if one.header == headers.SIGNAL:
            cure = "nginx asks no code: write those origins into extra_origins or allowed_shapes"
            yield Finding("a handler of corsheaders' signal decides about origins", one.where, cure)
        else:
            cure = headers.carry(one, carried.values)
            yield Finding(f"the project's own code writes {one.header}", one.where, cure)


def _origins(project: Project, carried: Carried) -> Iterator[Finding]:
    name, found = project.name("CORS_ALLOWED_ORIGINS"), project.get("CORS_ALLOWED_ORIGINS")
    if isinstance(found.value, str):
        text = (
            f"{name} is text, not a list: each of its characters is taken for an origin, so none is"
            " let in"
        )
        yield Finding(text, found.where, "write the origins into extra_origins, one an item")
    elif isinstance(found.value, Computed):
        cure = "write those origins into extra_origins; the frontend's own needs no entry"
        yield Finding(f"{name} is {shown(found.value)}", found.where, cure)
    for value in project.items("CORS_ALLOWED_ORIGINS"):
        if not known(value):
            yield Finding(
                f"{name}: an origin is {shown(value)}", found.where, "write it into extra_origins"
            )
            continue
        try:
            origin = str(parse_origin(value, production=False))
        except OriginError as problem:
            yield Finding(
                f"{name}: {problem}",
                found.where,
                "left out: write what was meant into extra_origins",
            )
            continue
        _add(carried.values, "extra_origins", origin)
        if origin != value.rstrip("/"):
            text = f"{name}: {value!r} never matches what a browser sends"
            yield Finding(
                text,
                found.where,
                f"carried over as {origin}: remove it from extra_origins if not wanted",
            )


def _patterns(project: Project, carried: Carried) -> Iterator[Finding]:
    name, found = (
        project.name("CORS_ALLOWED_ORIGIN_REGEXES"),
        project.get("CORS_ALLOWED_ORIGIN_REGEXES"),
    )
    if found.value and (
        isinstance(found.value, str) or "" in project.items("CORS_ALLOWED_ORIGIN_REGEXES")
    ):
        text = isinstance(found.value, str)
        why = (
            "is text, not a list, so each of its characters is a pattern"
            if text
            else "holds an empty pattern"
        )
        cure = "none of it goes over: write shapes into allowed_shapes"
        yield Finding(f"{name} {why}: every website is let in", found.where, cure)
    elif isinstance(found.value, Computed):
        yield Finding(
            f"{name} is {shown(found.value)}", found.where, "write shapes into allowed_shapes"
        )
    for pattern in project.items("CORS_ALLOWED_ORIGIN_REGEXES"):
        if isinstance(pattern, str) and pattern:
            yield _pattern(name, pattern, found.where, carried)


def _pattern(name: str, pattern: str, where: str, carried: Carried) -> Finding:
    """A pattern stays out; what it most likely means is offered."""
    text = f"{name}: {_refusal(pattern)}"
    bare = re.sub(r"\A(\^|\\A)|(\$|\\[zZ])\Z", "", pattern).replace("https?://", "https://")
    bare = re.sub(r"\\([./:-])", r"\1", _MANY.sub("{name}", bare, count=1))
    for shape in (bare, bare.replace("{name}", "*")):
        with suppress(OriginError):
            _add(carried.offered, "allowed_shapes", parse_pattern(shape, production=False).text)
            return Finding(
                text, where, f"if it means {shape}, uncomment allowed_shapes in the file"
            )
    with suppress(OriginError):
        origin = parse_origin(bare, production=False)
        return Finding(text, where, f"if it means {origin}, write that into extra_origins")
    return Finding(
        text, where, "left out: write origins into extra_origins, or shapes into allowed_shapes"
    )


def _refusal(pattern: str) -> str:
    try:
        parse_pattern(pattern, production=False)
    except OriginError as problem:
        return str(problem)
    return f"{pattern!r} is a regular expression, which the contract takes in development only"


def _switches(project: Project, carried: Carried) -> Iterator[Finding]:
    everyone, cookies = project.get("CORS_ALLOW_ALL_ORIGINS"), project.get("CORS_ALLOW_CREDENTIALS")
    if everyone.value not in (None, False):
        also = ", with the visitor's cookies" if cookies.value is True else ""
        name, cure = (
            project.name("CORS_ALLOW_ALL_ORIGINS"),
            "the contract lets in the frontend and extra_origins only",
        )
        then = "any" if everyone.value is True else "where it is true, any"
        text = f"{name} is {shown(everyone.value)}: {then} website reads the answers{also}"
        yield Finding(text, everyone.where, cure)
    if cookies.value not in (None, False):
        carried.offered |= {"domain": f"{project.application}.test", "allow_credentials": True}
        text = (
            f"CORS_ALLOW_CREDENTIALS is {shown(cookies.value)}; browsers send no cookies between"
            " two bare addresses"
        )
        cure = "set domain and allow_credentials: true (in the file as comments), or use tokens"
        yield Finding(text, cookies.where, cure)
    paths = project.get("CORS_URLS_REGEX")
    if paths.value is not None and paths.value not in _EVERY_PATH:
        text = (
            f"CORS_URLS_REGEX {shown(paths.value)} is not kept: pages on allowed origins may read"
            " every path"
        )
        yield Finding(
            text, paths.where, "make sure that the other paths ask for permission themselves"
        )


def _list(project: Project, carried: Carried, setting: str, key: str) -> Iterator[Finding]:
    found = project.get(setting)
    if found.value is None:
        return
    try:
        value = CHECKS[key](as_text(found.value)) if known(found.value) else None
    except (ValueError, TypeError) as problem:
        yield Finding(f"{setting}: {problem}", found.where, f"left out: write {key} into the file")
        return
    if value is None:
        cure = f"write {key} into the file, if the default is not enough"
        yield Finding(f"{setting} is {shown(found.value)}", found.where, cure)
        return
    if key == "allow_headers":
        own, whole = headers.of_its_own(key, value)
        value = whole if own else None
    if value not in (None, ()):
        carried.values[key] = value if isinstance(value, int) else list(value)


def _add(values: dict[str, Any], key: str, value: str) -> None:
    if value not in values.setdefault(key, []):
        values[key].append(value)
