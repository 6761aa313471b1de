"""What was found, what the kit's settings module will change, what has to be decided. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.core.settings import CHECKS
from rollout import python
from rollout.adopt.environment import Read
from rollout.adopt.project import Project
from rollout.adopt.values import Computed, known, shown
from rollout.release import ReleaseError

LAYER = "corsheaders.middleware.CorsMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
OWN_KEY = ("SECRET_KEY", "DJANGO_SECRET_KEY")  # the kit sees to these
SQLITE = ("sqlite3", "spatialite")
_OVER_HTTP = "False: plain http carries no Secure cookie"

# What the kit's module sets: the value of the project's that it leaves as it is, if any, and what
# becomes of others.
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
    "SILENCED_SYSTEM_CHECKS": (
        None,
        "and security.W004, W008, W012, W016, which say the same of plain http",
    ),
    "STATIC_URL": (None, "{static_url}"),
    "STATIC_ROOT": (None, "/opt/{application}/current/static"),
    "DATABASES": (None, "/var/lib/{application}"),
    "MEDIA_ROOT": (None, "/var/lib/{application}/media"),
    "MEDIA_URL": (None, "{media_url}"),
    "LOGGING": (None, ""),
}

GONE = (
    "CORS_MODEL",
    "CORS_REPLACE_HTTPS_REFERER",
)  # settings that corsheaders' own check refuses today


def also(before: str, names: Sequence[str]) -> str:
    return before + ", ".join(names) if names else ""


def _layers(project: Project) -> str:
    layers = project.items("MIDDLEWARE")
    if not layers:
        return shown(project.get("MIDDLEWARE").value)
    names = [one.maybe if isinstance(one, Computed) else one for one in layers]
    own = [name for name in names if isinstance(name, str) and project.is_own(name)]
    more = f" and {len(own) - 3} more" if len(own) > 3 else ""
    place = (
        f"CorsMiddleware at place {layers.index(LAYER) + 1}"
        if LAYER in layers
        else "no CorsMiddleware"
    )
    return (
        f"{len(layers)}, {place}"
        + ("" if COMMON in layers else ", no CommonMiddleware")
        + also(", own: ", own[:3])
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


def moving(project: Project) -> list[str]:
    """Names of the SQLite files that go from beside the code to where data lies."""
    sqlite = [one for one in _databases(project).values() if _engine(one) in SQLITE]
    files = [str(one.get("NAME") or "") for one in sqlite if known(one.get("NAME"))]
    return [
        Path(name).name
        for name in files
        if name and not name.startswith((":", "file:")) and project.inside(name)
    ]


def needed(project: Project) -> list[Read]:
    return [read for read in project.reads if read.required and read.name not in OWN_KEY]


def url_path(project: Project, setting: str) -> str | None:
    """STATIC_URL or MEDIA_URL as a path on the backend; None where it is not one."""
    value = project.get(setting).value
    try:
        return (
            str(CHECKS["static_url"](f"/{value.strip('/')}/")) if isinstance(value, str) else None
        )
    except ValueError:
        return None


def found(project: Project, frontend: str | None, image: str = "") -> list[tuple[str, str]]:
    """One row for each thing that a deploy rests on; `image` is the Debian that was chosen for the
    project's Python."""
    needs, databases = project.needs, _databases(project).items()
    urls = [project.get(name).value for name in ("STATIC_URL", "MEDIA_URL")]
    wanted = python.requires(project.manage)
    return [
        (
            "settings",
            f"{project.settings}, {project.why}" + also("; there are also ", project.others),
        ),
        ("wsgi", project.wsgi),
        *([("python", wanted + (f", so image: {image}" if image else ""))] if wanted else []),
        (
            "requirements",
            (
                "none that can be used"
                if isinstance(needs, ReleaseError)
                else project.short(needs.path)
            ),
        ),
        ("middleware", _layers(project)),
        ("databases", "; ".join(f"{alias}: {_database(project, one)}" for alias, one in databases)),
        (
            "static, media",
            ", ".join(value if isinstance(value, str) else shown(value) for value in urls),
        ),
        (
            "environment",
            (
                f"{len(project.reads)} variables are read, {len(needed(project)) or 'none'} of them"
                " needed"
            ),
        ),
        ("frontend", frontend or "no built folder beside it"),
    ]


# ------------------------------------------------------------------------------------------ changes


def changes(project: Project, values: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Setting, now, then, where: what the project sets, and the kit's module sets otherwise by a
    stack's `values`."""
    rows = [(setting, _change(project, setting, values)) for setting in TABLE]
    gone = [
        (name, (project.said(project.get(name).value), "gone"))
        for name in GONE
        if name in project.names
    ]
    return [
        (project.name(name), *row, project.get(name).where) for name, row in [*rows, *gone] if row
    ]


def _change(project: Project, setting: str, values: Mapping[str, Any]) -> tuple[str, str] | None:
    """What it is and what it becomes; None where it stays."""
    value, (same, text) = project.get(setting).value, TABLE[setting]
    if value in (None, same, values.get(text.strip("{}"))) or setting == "LOGGING":
        return None
    words = {
        key: shown(one) if isinstance(one, (list, int)) else one for key, one in values.items()
    }
    words["extra_origins"] = "".join(f", {origin}" for origin in values["extra_origins"])
    then, root = text.format_map(words), project.get("MEDIA_ROOT").value
    stays = known(root) and not project.inside(root or "media")
    match setting:
        case "SECRET_KEY" if isinstance(value, str):
            return "written in the file", then
        case "SECRET_KEY" if value in [Computed((name,)) for name in OWN_KEY]:
            return None
        case "INSTALLED_APPS" if isinstance(value, list):
            more = "" if all(map(known, value)) else " or more"
            return None if "corsheaders" in value else (f"{len(value)} apps{more}", then)
        case "MIDDLEWARE" if isinstance(value, list):
            return None if value[:1] == [LAYER] else (_layers(project).split(", own")[0], then)
        case "DATABASES":
            return _files(project, then)
        case "STATIC_URL" | "MEDIA_URL" if (stays and setting == "MEDIA_URL") or url_path(
            project, setting
        ) == then:
            return None
        case "MEDIA_ROOT":
            beside = "" if known(value) else ", if it is beside the code"
            return None if stays else (project.said(value), then + beside)
    return project.said(value), then


def _files(project: Project, then: str) -> tuple[str, str] | None:
    """Which SQLite files move; where only a run can tell, that as well."""
    if files := moving(project):
        return ", ".join(files), then
    open_ = [
        one
        for one in _databases(project).values()
        if _engine(one) is None or not known(one.get("NAME"))
    ]
    sqlite = [one for one in open_ if _engine(one) in (None, *SQLITE)]
    return (
        (_database(project, sqlite[0]), f"{then}, if it is SQLite beside the code")
        if sqlite
        else None
    )


def new(project: Project) -> list[str]:
    """What the kit's module sets and the project doesn't."""
    names = [setting for setting in TABLE if project.get(setting).where == ""]
    return ["every other CORS_*", *(name for name in names if not name.startswith("CORS_"))]
