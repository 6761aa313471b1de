"""Services that a project needs next to gunicorn, by its settings and its requirements, and that
the hosts don't have.

`fab adopt` reports them as findings; `fab up`, `fab ship` and `fab doctor` one line each.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.adopt.findings import SQLITE, databases
from rollout.adopt.project import Project
from rollout.adopt.syntax import parse
from rollout.adopt.values import AdoptError, Setting, known, unset


@dataclass(frozen=True)
class Service:
    """A service that is missing: what names it and where, what will not work, and what to do.

    An `optional` one is needed only where a variable asks for it; who sets that names the server.
    """

    name: str
    why: str
    effect: str
    cure: str
    where: str = ""
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.effect} ({self.why}); {self.cure}"


@dataclass(frozen=True)
class _Kind:
    """The signs of a service: a package among the requirements, a setting, a text in the
    settings."""

    name: str
    effect: str
    cure: str
    packages: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    text: str = ""


_REACHED = (
    "that the backend's hosts reach, in env: or among the secrets (of a local stack: this machine"
    " is .1 of its /24)"
)
_NO_WORKER = "no worker runs here yet, so tasks that are sent are not worked on"
_OWN_WORKER = "run a worker with the same code on a machine of your own"
KINDS = (
    _Kind(
        "Celery",
        _NO_WORKER,
        f"{_OWN_WORKER}, or have tasks run in the request (CELERY_TASK_ALWAYS_EAGER)",
        ("celery", "django-celery-beat", "django-celery-results"),
        ("CELERY_BROKER_URL", "BROKER_URL", "CELERY_BEAT_SCHEDULE", "CELERYBEAT_SCHEDULE"),
    ),
    _Kind(
        "RQ",
        _NO_WORKER,
        _OWN_WORKER,
        ("django-rq", "django-tasks-rq", "rq-scheduler"),
        ("RQ_QUEUES",),
    ),
    _Kind(
        "Dramatiq",
        _NO_WORKER,
        _OWN_WORKER,
        ("dramatiq", "django-dramatiq"),
        ("DRAMATIQ_BROKER",),
    ),
    _Kind(
        "Huey",
        _NO_WORKER,
        f"{_OWN_WORKER}, or set `immediate` in HUEY",
        ("huey", "django-huey"),
        ("HUEY",),
    ),
    _Kind(
        "Django Q",
        _NO_WORKER,
        f"{_OWN_WORKER}, or set `sync` in Q_CLUSTER",
        ("django-q", "django-q2"),
        ("Q_CLUSTER",),
    ),
    _Kind("Procrastinate", _NO_WORKER, _OWN_WORKER, ("procrastinate",)),
    _Kind(
        "background tasks",
        _NO_WORKER,
        _OWN_WORKER,
        ("django-background-tasks", "django-background-tasks-updated", "django-lightweight-queue"),
    ),
    _Kind(
        "scheduled jobs",
        "nothing starts scheduled work here yet",
        "start its commands from a machine of your own",
        ("django-crontab", "django-cron", "django-apscheduler", "django-kronos"),
        ("CRONJOBS", "CRON_CLASSES"),
    ),
    _Kind(
        "Redis",
        "no Redis runs on the hosts, so caches, sessions and queues in it fail",
        f"name one {_REACHED}",
        ("django-redis", "channels-redis", "django-valkey"),
        text=r"(redis|rediss|valkey|valkeys)://|django_redis|backends\.redis\.|channels_redis",
    ),
    _Kind(
        "Memcached",
        "no memcached runs on the hosts, so the cache stores nothing",
        f"use the local memory cache, or name one {_REACHED}",
        text=r"cache\.backends\.memcached",
    ),
    _Kind(
        "RabbitMQ",
        "no RabbitMQ runs on the hosts",
        f"name one {_REACHED}",
        text=r"(amqp|amqps|pyamqp)://",
    ),
    _Kind(
        "Elasticsearch",
        "no Elasticsearch, OpenSearch or Solr runs on the hosts, so search fails",
        f"name one {_REACHED}",
        (
            "elasticsearch-dsl",
            "django-elasticsearch-dsl",
            "django-opensearch-dsl",
            "pysolr",
            "elasticsearch",
        ),
        ("ELASTICSEARCH_DSL", "OPENSEARCH_DSL"),
        r"elasticsearch\d*_backend|search\.backends\.elasticsearch|solr_backend",
    ),
    _Kind(
        "object storage",
        "files are kept in a bucket, and the kit makes none; nginx serves only what is on the host",
        "name your bucket and its keys among the secrets, and allow the frontend's origin in its"
        " own CORS rules",
        ("django-minio-storage", "django-s3-storage"),
        text=(
            r"storages\.backends\.(?!ftp|sftp)|django_s3_storage|minio_storage|cloudinary_storage\."
        ),
    ),
    _Kind(
        "MongoDB",
        "no MongoDB runs on the hosts",
        f"name one {_REACHED}",
        ("djongo", "mongoengine", "django-mongodb-backend"),
        text=r"mongodb(\+srv)?://",
    ),
)
_ENGINES = {
    "postgresql": "PostgreSQL",
    "postgresql_psycopg2": "PostgreSQL",
    "postgres": "PostgreSQL",
    "postgis": "PostgreSQL with PostGIS",
    "mysql": "MySQL",
    "oracle": "Oracle",
    "mssql": "SQL Server",
}
_ENGINE_NAMES = "|".join(sorted(_ENGINES, key=len, reverse=True))
_ENGINE = re.compile(rf"((?=mssql)|[\w.]+\.backends\.)(?P<engine>{_ENGINE_NAMES})\Z")
_URL = re.compile(rf"(?P<engine>{_ENGINE_NAMES})(?:\+\w+)?://")
_LONGEST_TEXT = 200
_DRIVERS = {
    "psycopg": "PostgreSQL",
    "psycopg2": "PostgreSQL",
    "psycopg2-binary": "PostgreSQL",
    "asyncpg": "PostgreSQL",
    "mysqlclient": "MySQL",
    "pymysql": "MySQL",
    "mysql-connector-python": "MySQL",
    "oracledb": "Oracle",
    "cx-oracle": "Oracle",
    "mssql-django": "SQL Server",
}


def needed(project: Project) -> tuple[Service, ...]:
    """Every service that the project needs and the hosts don't have."""
    texts = _texts(project)
    return (*_asgi(project), *_databases(project, texts), *_others(project, texts))


def lines(project: Project) -> list[str]:
    """One line for each service that is needed whatever the environment is."""
    return [str(service) for service in needed(project) if not service.optional]


def _texts(project: Project) -> list[Setting]:
    """Every text that the settings hold, and where; those in a branch that never runs too."""
    texts: list[Setting] = []
    for file in project.files:
        texts += _texts_of_file(project, file)
    return texts


def _texts_of_file(project: Project, file: Path) -> Iterator[Setting]:
    try:
        tree = parse(file)
    except AdoptError:
        return
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            docstrings.add(id(node.value))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in docstrings:
            continue
        if isinstance(node.value, str):
            where = f"{project.short(file)}:{node.lineno}"
            yield Setting(node.value, where)


# --------------------------------------------------------------------------------------------- ASGI


def _asgi(project: Project) -> Iterator[Service]:
    sign = _sign_of_asgi(project)
    if sign is None:
        return
    effect = (
        "gunicorn serves the WSGI application alone, so WebSockets answer 404 and no ASGI"
        " application runs"
    )
    cure = (
        "run the ASGI application on a machine of your own, or have the page ask by fetch instead"
    )
    yield Service("ASGI", str(sign.value), effect, cure, sign.where)


def _sign_of_asgi(project: Project) -> Setting | None:
    asked = project.get("ASGI_APPLICATION")
    if asked.value is not None:
        text = f"is {asked.value}" if known(asked.value) else "is set"
        return Setting(f"ASGI_APPLICATION {text}", asked.where)
    for app in project.items("INSTALLED_APPS"):
        if isinstance(app, str) and app.split(".")[0] in ("channels", "daphne"):
            where = project.get("INSTALLED_APPS").where
            return Setting(f"{app} is in INSTALLED_APPS", where)
    return project.sockets[0] if project.sockets else None


# ---------------------------------------------------------------------------------------- databases


def _databases(project: Project, texts: list[Setting]) -> Iterator[Service]:
    where = project.get("DATABASES").where
    reported: set[str] = set()
    for alias, database in databases(project).items():
        optional = _is_sqlite(unset(database))
        for name, text in _servers(f"DATABASES[{alias!r}]", database, texts, project):
            if name in reported:
                continue
            reported.add(name)
            cure = f"name one {_REACHED}"
            if optional:
                text += ", but SQLite where none of its variables is set, which the hosts have"
                cure = f"nothing for SQLite; otherwise {cure}"
            effect = "the kit installs none on the hosts"
            yield Service(name, text, effect, cure, where, optional)


def _servers(
    place: str,
    database: Any,
    texts: list[Setting],
    project: Project,
) -> Iterator[tuple[str, str]]:
    """The servers that an entry of DATABASES needs, or may need, and the reason."""
    engine = _engine(database)
    if engine:
        name = _server(engine)
        if name:
            last = engine.rpartition(".")[2]
            yield name, f"{place} is {last} on {_host(database)}"
        return
    if database is None or known(database):
        return
    for names, reason in (
        (_in_texts(_ENGINE, texts), "one of its branches is {}"),
        (_in_texts(_URL, texts), "its default is {}"),
        (_drivers(project), "the requirements have a driver for {}"),
    ):
        if not names:
            continue
        for name in sorted(names):
            word = name.split()[0].lower()
            yield name, f"{place} is computed at run time, and {reason.format(word)}"
        return


def _in_texts(pattern: re.Pattern[str], texts: list[Setting]) -> set[str]:
    """The servers that texts of the settings name."""
    names = set()
    for text in texts:
        match = pattern.match(str(text.value))
        if match:
            names.add(_ENGINES[match["engine"]])
    return names


def _drivers(project: Project) -> set[str]:
    names = set()
    for package in project.packages:
        if package.name in _DRIVERS:
            names.add(_DRIVERS[package.name])
    return names


def _engine(database: Any) -> str:
    if not isinstance(database, dict):
        return ""
    engine = database.get("ENGINE")
    return engine if isinstance(engine, str) else ""


def _is_sqlite(database: Any) -> bool:
    return _engine(database).rpartition(".")[2] in SQLITE


def _server(engine: str) -> str | None:
    """The server that an engine talks to; None for SQLite and for none at all."""
    last = engine.rpartition(".")[2]
    if last in ("", "dummy", *SQLITE):
        return None
    return _ENGINES.get(last, engine)


def _host(database: Any) -> str:
    host = database.get("HOST")
    if host in (None, ""):
        return "'localhost'"
    plain = unset(host)
    if isinstance(plain, str) and plain:
        return repr(plain)
    return "a host that is computed at run time"


# --------------------------------------------------------------------------------------- all others


def _others(project: Project, texts: list[Setting]) -> Iterator[Service]:
    for kind in KINDS:
        sign = _sign(kind, project, texts)
        if sign:
            yield Service(
                kind.name,
                str(sign.value),
                kind.effect,
                kind.cure,
                sign.where,
            )


def _sign(
    kind: _Kind,
    project: Project,
    texts: list[Setting],
) -> Setting | None:
    """The first sign of a service, and where."""
    for name in kind.settings:
        setting = project.get(name)
        if setting.value is not None:
            return Setting(f"{name} is set", setting.where)
    if kind.text:
        for text in texts:
            value = str(text.value)
            if re.search(kind.text, value) and len(value) < _LONGEST_TEXT:
                return Setting(f"the settings name {_without_password(value)}", text.where)
    for package in project.packages:
        if package.name in kind.packages:
            return Setting(f"{package.name} is among the requirements", package.file)
    return None


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)
