"""What a deploy depends on in a project, and which settings the kit's module changes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.core.keys import KEYS
from rollout.adopt.environment import Read
from rollout.adopt.project import Project
from rollout.adopt.values import Computed, known, shown
from rollout.release import ReleaseError

LAYER = "corsheaders.middleware.CorsMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
OWN_KEY = ("SECRET_KEY", "DJANGO_SECRET_KEY")  # the kit sees to these
SQLITE = ("sqlite3", "spatialite")
_OVER_HTTP = "False: plain http carries no Secure cookie"

_MOST_OWN_LAYERS = 3

# What the kit's module sets: the project's value that it leaves as it is, if any, and the text for
# what any other becomes.
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
    "DATA_UPLOAD_MAX_MEMORY_SIZE": (None, ""),
    "LOGGING": (None, ""),
}
# Of these the kit's module sets its own only where the project has none.
_KEPT = ("DATA_UPLOAD_MAX_MEMORY_SIZE", "LOGGING")

# Settings that django-cors-headers' own check refuses today.
GONE = ("CORS_MODEL", "CORS_REPLACE_HTTPS_REFERER")


def also(before: str, names: Sequence[str]) -> str:
    """The names after a text; "" where there are none."""
    if not names:
        return ""
    return before + ", ".join(names)


def _layers(project: Project) -> str:
    layers = project.items("MIDDLEWARE")
    if not layers:
        return shown(project.get("MIDDLEWARE").value)
    text = f"{len(layers)}, no CorsMiddleware"
    if LAYER in layers:
        text = f"{len(layers)}, CorsMiddleware at place {layers.index(LAYER) + 1}"
    if COMMON not in layers:
        text += ", no CommonMiddleware"
    own = _own_layers(project, layers)
    text += also(", own: ", own[:_MOST_OWN_LAYERS])
    if len(own) > _MOST_OWN_LAYERS:
        text += f" and {len(own) - _MOST_OWN_LAYERS} more"
    return text


def _own_layers(project: Project, layers: Sequence[Any]) -> list[str]:
    """The middleware that is the project's code."""
    own = []
    for layer in layers:
        name = layer
        if isinstance(layer, Computed):
            name = layer.maybe
        if isinstance(name, str) and project.is_own(name):
            own.append(name)
    return own


def databases(project: Project) -> dict[str, Any]:
    """The entries of DATABASES by their alias; what is no dict counts as the default one."""
    value = project.get("DATABASES").value
    return value if isinstance(value, dict) else {"default": value}


def _engine(database: Any) -> str | None:
    if not isinstance(database, dict):
        return None
    engine = database.get("ENGINE")
    if not isinstance(engine, str):
        return None
    return engine.rpartition(".")[2]


def _database(project: Project, database: Any) -> str:
    engine = _engine(database)
    if not engine:
        return shown(database)
    return f"{engine}, {project.said(database.get('NAME'))}"


def moving(project: Project) -> list[str]:
    """Names of the SQLite files that the kit's module moves from the code's folder to the data."""
    names = []
    for database in databases(project).values():
        if _engine(database) not in SQLITE:
            continue
        name = database.get("NAME")
        if not known(name):
            continue
        path = str(name or "")
        is_file = path and not path.startswith((":", "file:"))
        if is_file and project.inside(path):
            names.append(Path(path).name)
    return names


def needed(project: Project) -> list[Read]:
    """The variables without which the settings don't load; the kit sets its own key."""
    return [read for read in project.reads if read.required and read.name not in OWN_KEY]


def url_path(project: Project, setting: str) -> str | None:
    """STATIC_URL or MEDIA_URL as a path on the backend; None where it is not one."""
    value = project.get(setting).value
    if not isinstance(value, str):
        return None
    try:
        return str(KEYS["static_url"].read(f"/{value.strip('/')}/"))
    except ValueError:
        return None


def overview(
    project: Project,
    frontend: str | None,
    image: str = "",
) -> list[tuple[str, str]]:
    """One row for each thing that a deploy depends on.

    `image` is the Debian that was chosen for the project's Python.
    """
    settings = f"{project.settings}, {project.why}"
    rows = [
        ("settings", settings + _other_settings(project)),
        ("wsgi", project.wsgi),
    ]
    if project.requires_python:
        because = f", so image: {image}" if image else ""
        rows.append(("python", project.requires_python + because))
    return [
        *rows,
        ("requirements", _requirements(project)),
        ("middleware", _layers(project)),
        ("databases", _all_databases(project)),
        ("static, media", ", ".join(_urls(project))),
        ("environment", _environment(project)),
        ("frontend", frontend or "no built folder next to it"),
    ]


def _other_settings(project: Project) -> str:
    return also("; there are also ", project.others)


def _requirements(project: Project) -> str:
    if isinstance(project.needs, ReleaseError):
        return "none that can be used"
    return project.short(project.needs.path)


def _all_databases(project: Project) -> str:
    texts = []
    for alias, database in databases(project).items():
        texts.append(f"{alias}: {_database(project, database)}")
    return "; ".join(texts)


def _urls(project: Project) -> Iterator[str]:
    for name in ("STATIC_URL", "MEDIA_URL"):
        value = project.get(name).value
        if not isinstance(value, str):
            value = shown(value)
        yield value


def _environment(project: Project) -> str:
    number = len(needed(project)) or "none"
    return f"{len(project.reads)} variables are read, {number} of them needed"


# ----------------------------------------------------------------------------------------- changes


def changes(project: Project, values: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Setting, now, then, where: the settings of the project that the kit's module changes.

    `values` are all keys of the stack's config.
    """
    rows = []
    for setting in TABLE:
        change = _change(project, setting, values)
        if change:
            where = project.get(setting).where
            rows.append((project.name(setting), *change, where))
    for setting in GONE:
        if setting in project.names:
            gone = project.get(setting)
            rows.append((setting, project.said(gone.value), "gone", gone.where))
    return rows


def _change(
    project: Project,
    setting: str,
    values: Mapping[str, Any],
) -> tuple[str, str] | None:
    """The value now and the value then; None where it stays."""
    value = project.get(setting).value
    unchanged, template = TABLE[setting]
    by_stack = values.get(template.strip("{}"))
    if value in (None, unchanged, by_stack) or setting in _KEPT:
        return None
    then = _then(template, values)
    match setting:
        case "SECRET_KEY":
            return _secret_key(value, then)
        case "INSTALLED_APPS" if isinstance(value, list):
            return _apps(value, then)
        case "MIDDLEWARE" if isinstance(value, list):
            if value[:1] == [LAYER]:
                return None
            return _layers(project).split(", own")[0], then
        case "DATABASES":
            return _files(project, then)
        case "STATIC_URL" | "MEDIA_URL" | "MEDIA_ROOT" if _is_kept(project, setting, then):
            return None
        case "MEDIA_ROOT" if not known(value):
            then += ", if it is next to the code"
    return project.said(value), then


def _then(template: str, values: Mapping[str, Any]) -> str:
    """What a setting becomes, for the values of a stack."""
    texts = {}
    for key, value in values.items():
        if isinstance(value, (list, int)):
            value = shown(value)
        texts[key] = value
    more = ""
    for origin in values["extra_origins"]:
        more += f", {origin}"
    texts["extra_origins"] = more
    return template.format_map(texts)


def _secret_key(value: Any, then: str) -> tuple[str, str] | None:
    if isinstance(value, str):
        return "written in the file", then
    if value in [Computed((name,)) for name in OWN_KEY]:
        return None
    return shown(value), then


def _apps(apps: list[Any], then: str) -> tuple[str, str] | None:
    if "corsheaders" in apps:
        return None
    more = "" if all(map(known, apps)) else " or more"
    return f"{len(apps)} apps{more}", then


def _is_kept(project: Project, setting: str, then: str) -> bool:
    """Whether the kit's module leaves a URL or folder of files as it is."""
    if setting in ("STATIC_URL", "MEDIA_URL") and url_path(project, setting) == then:
        return True
    if setting == "STATIC_URL":
        return False
    root = project.get("MEDIA_ROOT").value
    return known(root) and not project.inside(root or "media")


def _files(project: Project, then: str) -> tuple[str, str] | None:
    """Which SQLite files move; where only a run shows, that as well."""
    files = moving(project)
    if files:
        return ", ".join(files), then
    for database in databases(project).values():
        engine = _engine(database)
        may_move = engine in SQLITE and not known(database.get("NAME"))
        if engine is None or may_move:
            return _database(project, database), f"{then}, if it is SQLite next to the code"
    return None


def added_settings(project: Project) -> list[str]:
    """What the kit's module sets and the project doesn't."""
    names = ["every other CORS_*"]
    for setting in TABLE:
        if project.get(setting).where == "" and not setting.startswith("CORS_"):
            names.append(setting)
    return names
