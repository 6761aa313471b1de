"""What conflicts with a deploy or is open, each with what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from infra.core.keys import KEYS
from rollout.adopt import installing, page, services, writes
from rollout.adopt.called import Calls
from rollout.adopt.classes import VARIABLE
from rollout.adopt.cors import Carried
from rollout.adopt.findings import also, moving, needed, url_path
from rollout.adopt.project import Project
from rollout.adopt.services import Service
from rollout.adopt.values import Computed, Setting, known, shown, truth
from rollout.finding import Finding
from rollout.verdict.login import without_prefix

_UNREAD = "what it sets is not in this report; the kit's module still comes after it"
_DATA = (
    'write below os.environ.get("ORIGIN_KIT_DATA", BASE_DIR): '
    "a release is read-only on the hosts, and that folder outlives it"
)
_MOST_OF_A_KIND = 5
_GONE_LAYER = "corsheaders.middleware.CorsPostCsrfMiddleware"


def findings(
    project: Project,
    carried: Carried,
    frontend: Path | None,
    calls: Calls,
) -> list[Finding]:
    """What has to be decided; what stops a deploy comes first. `frontend` is where the page is,
    and `calls` what it calls."""
    return [
        *_modules(project),
        *_frontend(frontend),
        *_environment(project),
        *_urls(project),
        *installing.findings(project),
        *installing.unreadable(project),
        *_debug(project),
        *_compressor(project),
        *carried.findings,
        *_headers(project, carried),
        *_largest_body(project),
        *_cookies(project),
        *map(_service, services.needed(project)),
        *_data(project),
        *_writes(project),
        *_static_root(project),
        *(page.findings(frontend, calls) if frontend else ()),
        *map(_unread, project.notes),
    ]


# ---------------------------------------------------------------------------------- what is loaded


def _modules(project: Project) -> Iterator[Finding]:
    """The settings module can't be the one that a host loads."""
    if project.manage != project.root:
        name = project.manage.name
        text = f"manage.py is inside the package {name}, whose modules are found from above it"
        cure = f"put a manage.py in the folder of {name}/; backend_path is that folder already"
        yield Finding(text, "", cure)
    for setting in project.overwrites:
        text = f"DJANGO_SETTINGS_MODULE is overwritten with {setting.value}"
        cure = "write os.environ.setdefault(…): the kit's settings module has to come first"
        yield Finding(text, setting.where, cure)
    yield from _classes(project)
    for setting in project.missing:
        text = (
            f"{project.short(setting.value)} is ignored by git, so it is not shipped; what it sets"
            " is not in this report"
        )
        cure = "un-ignore it, or write what the hosts need of it into env: and import it in a try"
        yield Finding(text, setting.where, cure)


def _classes(project: Project) -> Iterator[Finding]:
    """django-configurations: a variable names the class of the settings."""
    if not project.classes:
        return
    names = [str(setting.value) for setting in project.classes]
    chosen = project.configuration
    others = [name for name in names if name != chosen]
    if chosen:
        text = f"{chosen} is a class of settings (django-configurations)"
        cure = (
            f'env: {VARIABLE}: "{chosen}" is in the file for that; change it there for another'
            " class"
        )
        where = project.classes[names.index(chosen)].where if chosen in names else ""
        yield Finding(text + also("; there are also ", others), where, cure)
        return
    text = (
        "the settings are classes (django-configurations), and none is named; here is what all"
        " have in common"
    )
    asked = also(f"write env: {VARIABLE}, one of ", others)
    cure = f"{asked}, into the file, and look at its CORS settings there"
    yield Finding(text, project.classes[0].where, cure)


def _frontend(frontend: Path | None) -> Iterator[Finding]:
    if frontend is None:
        text = "no built frontend was found next to it (dist, build or out with an index.html)"
        cure = "fill in frontend_path in the file, or run this again with --frontend FOLDER"
        yield Finding(text, "", cure)


def _environment(project: Project) -> Iterator[Finding]:
    """Variables that the settings need, and a file that has them here."""
    reads = needed(project)
    if reads:
        names = []
        for read in reads:
            unless = f" (unless {read.unless})" if read.unless else ""
            names.append(read.name + unless)
        text = also("the settings don't load without these environment variables: ", names)
        cure = "fill them in below env: in the file, or among the secrets"
        yield Finding(text, reads[0].where, cure)
    if (project.root / ".env").is_file():
        text = "a release has what git doesn't ignore, and a .env is mostly ignored"
        cure = "write what the hosts need of it below env: in the file, or among the secrets"
        yield Finding(text, ".env", cure)


def _urls(project: Project) -> Iterator[Finding]:
    for setting in ("STATIC_URL", "MEDIA_URL"):
        url = project.get(setting)
        if url.value in (None, "") or url_path(project, setting) is not None:
            continue
        text = f"{setting} is {shown(url.value)}"
        if known(url.value):
            text += ", no plain path"
        cure = (
            f"nginx serves these files itself, below the stack's {setting.lower()}: write it into"
            " the file"
        )
        yield Finding(text, url.where, cure)


def _unread(note: Setting) -> Finding:
    return Finding(str(note.value), note.where, _UNREAD)


# ------------------------------------------------------------------------------------------- DEBUG


def _debug(project: Project) -> Iterator[Finding]:
    """Branches on DEBUG run while the settings are read, before the kit's module sets it to
    False."""
    branches = []
    for switch in project.switches:
        if truth(switch.debug):
            names = also(" sets ", switch.names[:4])
            branches.append(f"{switch.where} `{switch.test}`{names}")
    if not branches:
        return
    text = (
        "DEBUG is True while the settings are read, so these branches run though it ends as False: "
        + "; ".join(branches[:_MOST_OF_A_KIND])
    )
    if len(branches) > _MOST_OF_A_KIND:
        text += f" and {len(branches) - _MOST_OF_A_KIND} more"
    if project.debug_off:
        name, value = project.debug_off
        cure = f'env: {name}: "{value}" is in the file for that; keep it there'
        yield Finding(f"without {name}, {text}", "", cure)
        return
    cure = (
        'write DEBUG = os.environ.get("DEBUG") == "true" there, or name a module for production'
        " with --settings"
    )
    yield Finding(text, "", cure)


def _compressor(project: Project) -> Iterator[Finding]:
    """django-compressor that compresses offline needs a run of its own before a release serves."""
    offline = project.get("COMPRESS_OFFLINE")
    if not truth(offline.value):
        return
    enabled = project.get("COMPRESS_ENABLED").value
    if isinstance(enabled, Computed) and enabled.names:
        cure = f'set {enabled.names[0]}: "False" in env:'
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


# ----------------------------------------------------------------------------- headers and cookies


def _headers(project: Project, carried: Carried) -> Iterator[Finding]:
    if _GONE_LAYER in project.items("MIDDLEWARE"):
        text = f"{_GONE_LAYER} is gone since 4.0"
        yield Finding(text, project.get("MIDDLEWARE").where, "remove it from MIDDLEWARE")
    allowed = carried.values.get("extra_origins", [])
    dropped = []
    for origin in project.items("CSRF_TRUSTED_ORIGINS"):
        if known(origin) and origin not in allowed:
            dropped.append(str(origin))
    if dropped:
        text = also("CSRF_TRUSTED_ORIGINS loses ", dropped)
        cure = (
            "the backend's own needs no entry; others go into extra_origins, *.example.com into"
            " allowed_patterns"
        )
        yield Finding(text, project.get("CSRF_TRUSTED_ORIGINS").where, cure)


def _largest_body(project: Project) -> Iterator[Finding]:
    """A limit of the project's own below the stack's: what lies between is refused by Django."""
    limit = project.get("DATA_UPLOAD_MAX_MEMORY_SIZE")
    mebibytes = KEYS["max_body_mb"].default
    if type(limit.value) is int and limit.value < mebibytes << 20:
        text = (
            f"DATA_UPLOAD_MAX_MEMORY_SIZE {limit.value} stays: a body above it that is no file is a"
            f" 400 by Django, though nginx takes {mebibytes} MiB (max_body_mb)"
        )
        cure = "remove it, and it follows max_body_mb; or keep it, if that is meant"
        yield Finding(text, limit.where, cure)


def _cookies(project: Project) -> Iterator[Finding]:
    for cookie in ("SESSION_COOKIE", "CSRF_COOKIE"):
        same_site = project.get(f"{cookie}_SAMESITE")
        if same_site.value == "None":
            text = (
                f"{cookie}_SAMESITE 'None' needs https: over http browsers drop the cookie, the"
                " admin's too"
            )
            cure = "remove it: with both names under one domain Django's own Lax is enough"
            yield Finding(text, same_site.where, cure)
        domain = project.get(f"{cookie}_DOMAIN")
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
        if not isinstance(name.value, str):
            continue
        plain = without_prefix(name.value)
        if plain is None:
            continue
        text = (
            f"{setting} is {name.value!r}: plain http loses a cookie of that name, so a log-in"
            " answers 403"
        )
        cure = (
            f'name it {plain!r} on plain http, e.g. from os.environ["{setting}"] and env: in the'
            " file"
        )
        yield Finding(text, name.where, cure)


# ------------------------------------------------------------------------------ services and files


def _service(service: Service) -> Finding:
    text = f"{service.name}: {service.why}; {service.effect}"
    return Finding(text, service.where, service.cure)


def _data(project: Project) -> Iterator[Finding]:
    files = moving(project)
    if len(set(files)) < len(files):
        text = "two SQLite files of one name would become one"
        yield Finding(text, project.get("DATABASES").where, "name them differently")
    root = project.get("MEDIA_ROOT")
    if root.value and known(root.value) and not project.inside(root.value):
        text = f"MEDIA_ROOT {shown(root.value)} is outside of the project"
        cure = "nginx serves /var/lib only: put them next to the code, or serve them elsewhere"
        yield Finding(text, root.where, cure)


def _writes(project: Project) -> Iterator[Finding]:
    """Files that are written next to the code."""
    in_settings = writes.of_settings(project.names, project.root, project.shipped)
    places = [*in_settings, *project.writes]
    for place in places[:_MOST_OF_A_KIND]:
        text = str(place.value)
        cure = _DATA
        variable = re.search(r" where (\w+) is not set$", text)
        if variable:
            folder = f"/var/lib/{project.application}"
            cure += f"; or set {variable[1]} in env: to a path below {folder}"
        if "next to the code" not in text:
            text += ", next to the code"
        yield Finding(text, place.where, cure)
    rest = len(places) - _MOST_OF_A_KIND
    if rest > 0:
        yield Finding(f"{rest} more places write next to the code", "", _DATA)


def _static_root(project: Project) -> Iterator[Finding]:
    """STATIC_ROOT holds files of the project, which a host doesn't serve from there."""
    root = project.get("STATIC_ROOT")
    if not isinstance(root.value, (str, Path)) or not str(root.value):
        return
    folder = project.root / root.value
    if folder == project.root:
        return
    inside = []
    for file in sorted(project.shipped):
        if file.is_relative_to(folder) and not file.name.startswith("."):
            inside.append(file)
    if inside:
        text = (
            f"STATIC_ROOT {project.short(folder)} holds files of the project"
            f" ({project.short(inside[0])}), which no finder collects: they are 404"
        )
        cure = "move them to another folder and name that in STATICFILES_DIRS"
        yield Finding(text, root.where, cure)
