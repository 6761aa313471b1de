"""What conflicts with a deploy or is open, each with what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from packaging.specifiers import SpecifierSet

from infra.core import debian
from rollout import cookies, python
from rollout.adopt import packages, page, services, writes
from rollout.adopt.classes import VARIABLE
from rollout.adopt.cors import Carried
from rollout.adopt.findings import also, moving, needed, url_path
from rollout.adopt.project import Project
from rollout.adopt.services import Service
from rollout.adopt.values import RUNNING, Computed, known, shown, truth
from rollout.finding import Finding
from rollout.release import ReleaseError, ways_out
from rollout.release.wheels import ADDITIONS

_UNREAD = "what it sets is not in this report; the kit's module still comes after it"
_DATA = (
    'write below os.environ.get("ORIGIN_KIT_DATA", BASE_DIR): '
    "a release is read-only on the hosts, and that folder outlives it"
)
_MANY = 5
# What Django itself asks of asgiref, by its version: a lock that was edited by hand can hold it
# below that.
_ASGIREF = {(6, 0): "3.9.1", (5, 1): "3.8.1", (5, 0): "3.7.0", (4, 2): "3.6.0"}


def findings(
    project: Project, carried: Carried, frontend: str | None, folder: Path | None = None
) -> list[Finding]:
    """What stops a deploy comes first. `folder` is where the page is."""
    return [
        *_stops(project, frontend),
        *_installing(project),
        *_unreadable(project),
        *_debug(project),
        *_compressor(project),
        *carried.findings,
        *_headers(project, carried),
        *_cookies(project),
        *map(_service, services.needed(project)),
        *_data(project),
        *_beside(project),
        *_page(folder),
        *(Finding(str(note.value), note.where, _UNREAD) for note in project.notes),
    ]


def _stops(project: Project, frontend: str | None) -> Iterator[Finding]:
    if project.manage != project.root:
        name = project.manage.name
        cure = f"put a manage.py beside {name}/; backend_path is that folder already"
        yield Finding(
            f"manage.py is inside the package {name}, whose modules are found from above it",
            "",
            cure,
        )
    for one in project.insists:
        cure = "write os.environ.setdefault(…): the kit's settings module has to come first"
        yield Finding(f"DJANGO_SETTINGS_MODULE is overwritten with {one.value}", one.where, cure)
    yield from _classes(project)
    for one in project.missing:
        text = (
            f"{project.short(one.value)} is ignored by git, so it is not shipped; what it sets is"
            " not in this report"
        )
        yield Finding(
            text,
            one.where,
            "un-ignore it, or write what the hosts need of it into env: and import it in a try",
        )
    if frontend is None:
        text = "no built frontend was found beside it (dist, build or out with an index.html)"
        yield Finding(
            text, "", "fill in frontend_path in the file, or run this again with --frontend FOLDER"
        )
    if reads := needed(project):
        cure = "fill them in below env: in the file, or among the secrets"
        names = [f"{one.name} (unless {one.unless})" if one.unless else one.name for one in reads]
        yield Finding(
            also("the settings don't load without these environment variables: ", names),
            reads[0].where,
            cure,
        )
    if (project.root / ".env").is_file():
        text = "a release has what git doesn't ignore, and a .env is mostly ignored"
        yield Finding(
            text,
            ".env",
            "write what the hosts need of it below env: in the file, or among the secrets",
        )
    for setting in ("STATIC_URL", "MEDIA_URL"):
        if (one := project.get(setting)).value not in (None, "") and url_path(
            project, setting
        ) is None:
            text = f"{setting} is {shown(one.value)}" + (
                ", no plain path" if known(one.value) else ""
            )
            cure = (
                f"nginx serves these files itself, below the stack's {setting.lower()}: write it"
                " into the file"
            )
            yield Finding(text, one.where, cure)


def _classes(project: Project) -> Iterator[Finding]:
    """django-configurations: a variable says which class the settings are."""
    others = [str(one.value) for one in project.classes if one.value != project.configuration]
    if project.configuration:
        where = next(
            (one.where for one in project.classes if one.value == project.configuration), ""
        )
        text = f"{project.configuration} is a class of settings (django-configurations)"
        cure = (
            f'env: {VARIABLE}: "{project.configuration}" is in the file for that; change it there'
            " for another class"
        )
        yield Finding(text + also("; there are also ", others), where, cure)
    elif project.classes:
        text = (
            "the settings are classes (django-configurations), and none is named; here is what all"
            " have in common"
        )
        cure = (
            also(f"write env: {VARIABLE}, one of ", others)
            + ", into the file, and look at its CORS settings there"
        )
        yield Finding(text, project.classes[0].where, cure)


# --------------------------------------------------------------------------------------- installing


def _installing(project: Project) -> Iterator[Finding]:
    if isinstance(project.needs, ReleaseError):
        problem = project.needs
        yield Finding(problem.what, problem.where, problem.cure)
    yield from _pins(project)
    yield from map(_source_alone, packages.without_wheel(list(project.packages)))
    wanted = python.requires(project.manage)
    if wanted and debian.fitting(wanted) is None:
        there = ", ".join(f"{one.version} ({one})" for one in debian.RELEASES.values())
        yield Finding(
            f"requires-python is {wanted!r}, and no Debian has such a Python: {there}",
            "pyproject.toml",
            "change it there",
        )


def _source_alone(one: packages.SourceAlone) -> Finding:
    text = f"{one.written} comes as source alone and has to be compiled; "
    if one.lacks:
        text += (
            f"a build needs {' and '.join(one.lacks)}, which the kit's build machine doesn't have"
        )
    else:
        text += (
            "it is built where `fab` can make a build machine (root, systemd-nspawn, hosts of this"
            " architecture)"
        )
    if not one.instead.startswith("nothing, "):
        take = f"take {one.instead}; or " if one.instead else ""
        return Finding(text, one.file, f"{take}put a wheel of it on your own index")
    name = re.split(r"[^\w.-]", one.written, maxsplit=1)[0]
    cure = f"{ways_out.removal(name, one.file)}, {one.instead.removeprefix('nothing, ')}"
    return Finding(
        text, one.file, cure if one.lacks else f"{cure}; or leave it in where it is built"
    )


def _unreadable(project: Project) -> Iterator[Finding]:
    """Files that are not Python here: they may be written for a newer one, which the hosts have or
    don't have."""
    found = project.unreadable
    wanted = python.requires(project.manage)
    newer = [one for one in debian.RELEASES.values() if "{}.{}".format(*one.python) != RUNNING]
    if wanted and not SpecifierSet(wanted).contains(RUNNING):
        cure = f"nothing, if it is written for Python {wanted}: the hosts have that"
    elif newer:
        version = "{}.{}".format(*newer[0].python)
        cure = (
            f"correct it; if it is written for a newer Python, {newer[0]} has {version}: `image:"
            f" {newer[0].name}`"
        )
    else:
        cure = "correct it"
    for one in found[:_MANY]:
        yield Finding(f"this file is {one.value}, so it is not in this report", one.where, cure)
    if len(found) > _MANY:
        yield Finding(f"{len(found) - _MANY} more files are not valid Python {RUNNING}", "", cure)


def _pins(project: Project) -> Iterator[Finding]:
    named = list(project.packages)
    for one, need in packages.below_floor(named, dict(need.split(">=") for need in ADDITIONS)):
        yield Finding(
            f"{one.name} is held at {one.specifier}",
            one.file,
            f"the kit needs {need}: raise it there",
        )
    django = next(
        (
            match
            for one in named
            if one.name == "django"
            and (match := re.search(r"[=>~]=\s*(\d+)\.(\d+)", one.specifier))
        ),
        None,
    )
    if django is None:
        return
    version = (int(django[1]), int(django[2]))
    least = next((text for since, text in _ASGIREF.items() if version >= since), None)
    for one, need in packages.below_floor(named, {"asgiref": least} if least else {}):
        text = f"{one.name} is held at {one.specifier}"
        yield Finding(
            text, one.file, f"Django {version[0]}.{version[1]} needs {need}: raise it there"
        )


# -------------------------------------------------------------------------------------------- DEBUG


def _debug(project: Project) -> Iterator[Finding]:
    """Branches on DEBUG run while the settings are read, before the kit's module sets it to
    False."""
    running = [one for one in project.switches if truth(one.debug)]
    if not running:
        return
    branches = [
        f"{one.where} `{one.test}`" + (f" sets {', '.join(one.names[:4])}" if one.names else "")
        for one in running[:_MANY]
    ]
    more = f" and {len(running) - _MANY} more" if len(running) > _MANY else ""
    text = (
        "DEBUG is True while the settings are read, so these branches run though it ends as False: "
    )
    if project.debug_off:
        name, value = project.debug_off
        cure = f'env: {name}: "{value}" is in the file for that; keep it there'
        yield Finding(f"without {name}, {text}{'; '.join(branches)}{more}", "", cure)
        return
    cure = (
        'write DEBUG = os.environ.get("DEBUG") == "true" there, or name a module for production'
        " with --settings"
    )
    yield Finding(f"{text}{'; '.join(branches)}{more}", "", cure)


# ------------------------------------------------------------------------------ headers and cookies


def _compressor(project: Project) -> Iterator[Finding]:
    """django-compressor needs a run of its own before a release serves, where it compresses
    offline."""
    offline = project.get("COMPRESS_OFFLINE")
    if not truth(offline.value):
        return
    enabled = project.get("COMPRESS_ENABLED").value
    variables = enabled.names if isinstance(enabled, Computed) else ()
    if variables:
        cure = f'set {variables[0]}: "False" in env:'
    else:
        cure = (
            "set COMPRESS_ENABLED = False in the settings where the environment has"
            " ORIGIN_KIT_RELEASE"
        )
    text = (
        "COMPRESS_OFFLINE asks for `manage.py compress` before each release serves, and a ship does"
        " not run that yet"
    )
    yield Finding(text, offline.where, f"{cure}: files are served uncompressed then")


def _headers(project: Project, carried: Carried) -> Iterator[Finding]:
    old = "corsheaders.middleware.CorsPostCsrfMiddleware"
    if old in project.items("MIDDLEWARE"):
        yield Finding(
            f"{old} is gone since 4.0", project.get("MIDDLEWARE").where, "remove it from MIDDLEWARE"
        )
    allowed, trusted = carried.values.get("extra_origins", []), project.get("CSRF_TRUSTED_ORIGINS")
    if dropped := [
        str(one)
        for one in project.items("CSRF_TRUSTED_ORIGINS")
        if known(one) and one not in allowed
    ]:
        cure = (
            "the backend's own needs no entry; others go into extra_origins, *.example.com into"
            " allowed_shapes"
        )
        yield Finding(also("CSRF_TRUSTED_ORIGINS loses ", dropped), trusted.where, cure)


def _cookies(project: Project) -> Iterator[Finding]:
    for cookie in ("SESSION_COOKIE", "CSRF_COOKIE"):
        same, domain = project.get(f"{cookie}_SAMESITE"), project.get(f"{cookie}_DOMAIN")
        if same.value == "None":
            cure = "remove it: with both names under one domain Django's own Lax is enough"
            text = (
                f"{cookie}_SAMESITE 'None' needs https: over http browsers drop the cookie, the"
                " admin's too"
            )
            yield Finding(text, same.where, cure)
        if domain.value:
            text = (
                f"{cookie}_DOMAIN is {shown(domain.value)}: under another name browsers drop the"
                " cookie"
            )
            yield Finding(text, domain.where, "set the stack's `domain` to that, or remove it")
    yield from lost_cookies(project)


def lost_cookies(project: Project) -> Iterator[Finding]:
    """Cookies whose names need https."""
    for setting in ("SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME"):
        name = project.get(setting)
        plain = cookies.without_prefix(name.value) if isinstance(name.value, str) else None
        if plain is not None:
            text = (
                f"{setting} is {name.value!r}: plain http loses a cookie of that name, so a log-in"
                " answers 403"
            )
            cure = (
                f'name it {plain!r} on plain http, e.g. from os.environ["{setting}"] and env: in'
                " the file"
            )
            yield Finding(text, name.where, cure)


# ------------------------------------------------------------------------------- services and files


def _service(one: Service) -> Finding:
    return Finding(f"{one.name}: {one.why}; {one.effect}", one.where, one.cure)


def _data(project: Project) -> Iterator[Finding]:
    files = moving(project)
    if len(set(files)) < len(files):
        where = project.get("DATABASES").where
        yield Finding(
            "two SQLite files of one name would become one", where, "name them differently"
        )
    root = project.get("MEDIA_ROOT")
    if root.value and known(root.value) and not project.inside(root.value):
        cure = "nginx serves /var/lib only: put them beside the code, or serve them elsewhere"
        yield Finding(f"MEDIA_ROOT {shown(root.value)} is outside of the project", root.where, cure)


def _beside(project: Project) -> Iterator[Finding]:
    """What is written next to the code, and what is served from there."""
    found = [*writes.of_settings(project.names, project.root, project.shipped), *project.writes]
    for one in found[:_MANY]:
        text = str(one.value)
        variable = re.search(r" where (\w+) is not set$", text)
        more = (
            f"; or set {variable[1]} in env: to a path below /var/lib/{project.application}"
            if variable
            else ""
        )
        yield Finding(
            text if "next to the code" in text else f"{text}, next to the code",
            one.where,
            _DATA + more,
        )
    rest = len(found) - _MANY
    if rest > 0:
        yield Finding(f"{rest} more places write next to the code", "", _DATA)
    root = project.get("STATIC_ROOT")
    if isinstance(root.value, (str, Path)) and str(root.value):
        folder = project.root / root.value
        inside = sorted(
            file
            for file in project.shipped
            if file.is_relative_to(folder) and not file.name.startswith(".")
        )
        if inside and folder != project.root:
            names = (
                f"STATIC_ROOT {project.short(folder)} holds files of the project"
                f" ({project.short(inside[0])})"
            )
            text = f"{names}, which no finder collects: they are 404"
            yield Finding(
                text, root.where, "move them to another folder and name that in STATICFILES_DIRS"
            )


def _page(folder: Path | None) -> Iterator[Finding]:
    for one in (page.relative_calls(folder) if folder else [])[:_MANY]:
        text = (
            f"the page asks {one.value} of its own host, which has no such thing; the backend is"
            " another host"
        )
        cure = (
            'have the build use the backend\'s origin: it is "backend" in /config.json, which lies'
            " next to the page"
        )
        yield Finding(text, one.where, cure)
