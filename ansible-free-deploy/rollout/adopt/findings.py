"""What was found, what the kit's settings module will change, what has to be decided. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.settings import CHECKS
from rollout.adopt.cors import Carried, Finding
from rollout.adopt.evaluate import Computed, Read, known, shown
from rollout.adopt.project import Project
from rollout.release import ReleaseError
from rollout.release.wheels import ADDITIONS

LAYER = "corsheaders.middleware.CorsMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
OWN_KEY = ("SECRET_KEY", "DJANGO_SECRET_KEY")  # the kit sees to these
_SQLITE = ("sqlite3", "spatialite")
_UNREAD = "what it sets is not in this report; the kit's module still comes after it"
_OVER_HTTP = "False: plain http carries no Secure cookie"

# What the kit's module sets: the value of the project's that it leaves as it is, if any, and what becomes of others.
TABLE: dict[str, tuple[Any, str]] = {
    "DEBUG": (False, "False"),
    "SECRET_KEY": (None, "the host's own, or the one among the secrets"),
    "ALLOWED_HOSTS": (None, "the backend's own name and address"),
    "INSTALLED_APPS": (None, "with corsheaders"),
    "MIDDLEWARE": (None, "CorsMiddleware first"),
    "CORS_ALLOWED_ORIGINS": (None, "the frontend's own{extra_origins}"),
    "CORS_ALLOWED_ORIGIN_REGEXES": ([], "[]"),
    "CORS_ALLOW_ALL_ORIGINS": (False, "False"),
    "CORS_ALLOW_CREDENTIALS": (False, "False"),
    "CORS_ALLOW_METHODS": (None, "{allow_methods}"),
    "CORS_ALLOW_HEADERS": (None, "{allow_headers}"),
    "CORS_EXPOSE_HEADERS": (None, "{expose_headers}"),
    "CORS_PREFLIGHT_MAX_AGE": (None, "{max_age_s}"),
    "CORS_ALLOW_PRIVATE_NETWORK": (False, "False"),
    "CORS_URLS_REGEX": ("^.*$", "every path"),
    "CSRF_TRUSTED_ORIGINS": (None, "the same as CORS_ALLOWED_ORIGINS"),
    "SECURE_SSL_REDIRECT": (False, "False: no browser follows a preflight's redirect"),
    "SESSION_COOKIE_SECURE": (False, _OVER_HTTP),
    "CSRF_COOKIE_SECURE": (False, _OVER_HTTP),
    "SILENCED_SYSTEM_CHECKS": (None, "four more, which say the same of plain http"),
    "STATIC_URL": (None, "{static_url}"),
    "STATIC_ROOT": (None, "/opt/{application}/current/static"),
    "DATABASES": (None, "/var/lib/{application}"),
    "MEDIA_ROOT": (None, "/var/lib/{application}/media"),
    "MEDIA_URL": (None, "{media_url}"),
    "LOGGING": (None, ""),
}

GONE = ("CORS_MODEL", "CORS_REPLACE_HTTPS_REFERER")  # settings that corsheaders' own check refuses today


def _also(before: str, names: Sequence[str]) -> str:
    return before + ", ".join(names) if names else ""


def _layers(project: Project) -> str:
    layers = project.items("MIDDLEWARE")
    if not layers:
        return shown(project.get("MIDDLEWARE").value)
    names = [one.maybe if isinstance(one, Computed) else one for one in layers]
    own = [name for name in names if isinstance(name, str) and project.is_own(name)]
    more = f" and {len(own) - 3} more" if len(own) > 3 else ""
    place = f"CorsMiddleware at place {layers.index(LAYER) + 1}" if LAYER in layers else "no CorsMiddleware"
    return (
        f"{len(layers)}, {place}"
        + ("" if COMMON in layers else ", no CommonMiddleware")
        + _also(", own: ", own[:3])
        + more
    )


def _databases(project: Project) -> dict[str, Any]:
    value = project.get("DATABASES").value
    return value if isinstance(value, dict) else {"default": value}


def _engine(database: Any) -> str | None:
    engine = database.get("ENGINE") if isinstance(database, dict) else None
    return engine.rpartition(".")[2] if isinstance(engine, str) else None


def _database(project: Project, database: Any) -> str:
    engine = _engine(database)
    return f"{engine}, {project.said(database.get('NAME'))}" if engine else shown(database)


def _moving(project: Project) -> list[str]:
    """Names of the SQLite files that go from beside the code to where data lies."""
    sqlite = [one for one in _databases(project).values() if _engine(one) in _SQLITE]
    files = [str(one.get("NAME") or "") for one in sqlite if known(one.get("NAME"))]
    return [Path(name).name for name in files if name and not name.startswith((":", "file:")) and project.inside(name)]


def _needed(project: Project) -> list[Read]:
    return [read for read in project.reads if read.required and read.name not in OWN_KEY]


def url_path(project: Project, setting: str) -> str | None:
    """STATIC_URL or MEDIA_URL as a path on the backend; None where it is not one."""
    value = project.get(setting).value
    try:
        return str(CHECKS["static_url"](f"/{value.strip('/')}/")) if isinstance(value, str) else None
    except ValueError:
        return None


def found(project: Project, frontend: str | None) -> list[tuple[str, str]]:
    """One row for each thing that a deploy rests on."""
    needs, databases = project.needs, _databases(project).items()
    urls = [project.get(name).value for name in ("STATIC_URL", "MEDIA_URL")]
    return [
        ("settings", f"{project.settings}, {project.why}" + _also("; there are also ", project.others)),
        ("wsgi", project.wsgi),
        ("requirements", "none that can be used" if isinstance(needs, ReleaseError) else project.short(needs.path)),
        ("middleware", _layers(project)),
        ("databases", "; ".join(f"{alias}: {_database(project, one)}" for alias, one in databases)),
        ("static, media", ", ".join(value if isinstance(value, str) else shown(value) for value in urls)),
        ("environment", f"{len(project.reads)} variables are read, {len(_needed(project)) or 'none'} of them needed"),
        ("frontend", frontend or "no built folder beside it"),
    ]


# ------------------------------------------------------------------------------------------------- changes


def changes(project: Project, values: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Setting, now, then, where: what the project sets, and the kit's module sets otherwise by a stack's `values`."""
    rows = [(setting, _change(project, setting, values)) for setting in TABLE]
    gone = [(name, (project.said(project.get(name).value), "gone")) for name in GONE if name in project.names]
    return [(project.name(name), *row, project.get(name).where) for name, row in [*rows, *gone] if row]


def _change(project: Project, setting: str, values: Mapping[str, Any]) -> tuple[str, str] | None:
    """What it is and what it becomes; None where it stays."""
    value, (same, text) = project.get(setting).value, TABLE[setting]
    if value in (None, same, values.get(text.strip("{}"))) or setting == "LOGGING":
        return None
    words = {key: shown(one) if isinstance(one, (list, int)) else one for key, one in values.items()}
    words["extra_origins"] = "".join(f", {origin}" for origin in values["extra_origins"])
    then, root = text.format_map(words), project.get("MEDIA_ROOT").value
    stays = known(root) and not project.inside(root or "media")
    match setting:
        case "SECRET_KEY" if isinstance(value, str):
            return "written in the file", then
        case "SECRET_KEY" if value in [Computed((name,)) for name in OWN_KEY]:
            return None
        case "INSTALLED_APPS" if value := project.items(setting):
            return None if "corsheaders" in value else (f"{len(value)} apps", then)
        case "MIDDLEWARE" if value:
            return None if value[:1] == [LAYER] else (_layers(project).split(", own")[0], then)
        case "DATABASES":
            return _files(project, then)
        case "STATIC_URL" | "MEDIA_URL" if (stays and setting == "MEDIA_URL") or url_path(project, setting) == then:
            return None
        case "MEDIA_ROOT":
            beside = "" if known(value) else ", if it is beside the code"
            return None if stays else (project.said(value), then + beside)
    return project.said(value), then


def _files(project: Project, then: str) -> tuple[str, str] | None:
    """Which SQLite files move; where only a run can tell, that as well."""
    if moving := _moving(project):
        return ", ".join(moving), then
    open_ = [one for one in _databases(project).values() if _engine(one) is None or not known(one.get("NAME"))]
    sqlite = [one for one in open_ if _engine(one) in (None, *_SQLITE)]
    return (_database(project, sqlite[0]), f"{then}, if it is SQLite beside the code") if sqlite else None


def new(project: Project) -> list[str]:
    """What the kit's module sets and the project doesn't."""
    names = [setting for setting in TABLE if project.get(setting).where == ""]
    return ["every other CORS_*", *(name for name in names if not name.startswith("CORS_"))]


# ------------------------------------------------------------------------------------------------- decisions


def findings(project: Project, carried: Carried, frontend: str | None) -> list[Finding]:
    """What conflicts or is open, what stops a deploy first."""
    return [
        *_stops(project, frontend),
        *carried.findings,
        *_headers(project, carried),
        *_cookies(project),
        *_data(project),
        *(Finding(str(note.value), note.where, _UNREAD) for note in project.notes),
    ]


def _stops(project: Project, frontend: str | None) -> Iterator[Finding]:
    if project.manage != project.root:
        name = project.manage.name
        cure = f"put a manage.py beside {name}/; backend_path is that folder already"
        yield Finding(f"manage.py is inside the package {name}, whose modules are found from above it", "", cure)
    for one in project.insists:
        cure = "write os.environ.setdefault(…): the kit's settings module has to come first"
        yield Finding(f"DJANGO_SETTINGS_MODULE is overwritten with {one.value}", one.where, cure)
    if isinstance(project.needs, ReleaseError):
        text, _, cure = str(project.needs).rpartition("; ")
        yield Finding(text, "", cure)
    else:
        yield from _pins(project.needs.text, project.short(project.needs.path))
    if frontend is None:
        text = "no built frontend was found beside it (dist, build or out with an index.html)"
        yield Finding(text, "", "fill in frontend_path in the file, or run this again with --frontend FOLDER")
    if needed := _needed(project):
        cure = "fill them in below env: in the file, or among the secrets"
        text = _also("the settings don't load without these environment variables: ", [one.name for one in needed])
        yield Finding(text, needed[0].where, cure)
    if (project.root / ".env").is_file():
        text = "a release has what git doesn't ignore, and a .env is mostly ignored"
        yield Finding(text, ".env", "write what the hosts need of it below env: in the file, or among the secrets")
    for setting in ("STATIC_URL", "MEDIA_URL"):
        if (one := project.get(setting)).value not in (None, "") and url_path(project, setting) is None:
            text = f"{setting} is {shown(one.value)}" + (", no plain path" if known(one.value) else "")
            cure = f"nginx serves these files itself, below the stack's {setting.lower()}: write it into the file"
            yield Finding(text, one.where, cure)


def _pins(text: str, file: str) -> Iterator[Finding]:
    for need in ADDITIONS:
        name, least = need.split(">=")
        pattern = rf"^(?:name = \"{name}\"\nversion = \"|{name}(?![\w.-])[^\n;]*?(==|~=|<=?)\s*)(\d+)(?:\.(\d+))?"
        pin = re.search(pattern, text, re.MULTILINE | re.IGNORECASE)
        if pin and [int(pin[2]), int(pin[3] or 0)] < [int(part) for part in f"{least}.0".split(".")[:2]]:
            said = pin[0].splitlines()[-1]
            cure = f"the kit needs {need}: raise it there"
            yield Finding(f"{name} is held at {said if '=' in said else pin[2]}", file, cure)


def _headers(project: Project, carried: Carried) -> Iterator[Finding]:
    for one in project.by_hand:
        if one.value == "corsheaders.signals":
            cure = "nginx asks no code: write those origins into extra_origins or allowed_shapes"
            yield Finding("a handler of corsheaders' signal decides about origins", one.where, cure)
        else:
            cure = "nginx hides it and writes the contract's: origins that it lets in go into extra_origins"
            yield Finding(f"the project's own code writes {one.value}", one.where, cure)
    old = "corsheaders.middleware.CorsPostCsrfMiddleware"
    if old in project.items("MIDDLEWARE"):
        yield Finding(f"{old} is gone since 4.0", project.get("MIDDLEWARE").where, "remove it from MIDDLEWARE")
    allowed, trusted = carried.values.get("extra_origins", []), project.get("CSRF_TRUSTED_ORIGINS")
    if dropped := [str(one) for one in project.items("CSRF_TRUSTED_ORIGINS") if known(one) and one not in allowed]:
        cure = "the backend's own needs no entry; others go into extra_origins, *.example.com into allowed_shapes"
        yield Finding(_also("CSRF_TRUSTED_ORIGINS loses ", dropped), trusted.where, cure)


def _cookies(project: Project) -> Iterator[Finding]:
    for cookie in ("SESSION_COOKIE", "CSRF_COOKIE"):
        same, domain = project.get(f"{cookie}_SAMESITE"), project.get(f"{cookie}_DOMAIN")
        if same.value == "None":
            cure = "remove it: with both names under one domain Django's own Lax is enough"
            text = f"{cookie}_SAMESITE 'None' needs https: over http browsers drop the cookie, the admin's too"
            yield Finding(text, same.where, cure)
        if domain.value:
            text = f"{cookie}_DOMAIN is {shown(domain.value)}: under another name browsers drop the cookie"
            yield Finding(text, domain.where, "set the stack's `domain` to that, or remove it")


def _data(project: Project) -> Iterator[Finding]:
    where, moving = project.get("DATABASES").where, _moving(project)
    for alias, one in _databases(project).items():
        if (engine := _engine(one)) and engine not in _SQLITE:
            text = f"DATABASES[{alias!r}] is {engine} on {shown(one.get('HOST') or 'localhost')}; the kit installs none"
            yield Finding(text, where, "name one that the backend's hosts reach")
    if len(set(moving)) < len(moving):
        yield Finding("two SQLite files of one name would become one", where, "name them differently")
    root = project.get("MEDIA_ROOT")
    if root.value and known(root.value) and not project.inside(root.value):
        cure = "nginx serves /var/lib only: put them beside the code, or serve them elsewhere"
        yield Finding(f"MEDIA_ROOT {shown(root.value)} is outside of the project", root.where, cure)
