"""What a project wants running next to gunicorn, from its settings and its requirements, and what
of it is not there.

`fab adopt` tells it as findings; `fab up`, `fab ship` and `fab doctor` one line each.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rollout.adopt.findings import SQLITE
from rollout.adopt.project import Project
from rollout.adopt.syntax import parse
from rollout.adopt.values import AdoptError, Computed, Setting, known, unset


@dataclass(frozen=True)
class Service:
    """`name`, what of the project says so and where, what will not work on the hosts, and what to
    do today."""

    name: str
    why: str
    effect: str
    cure: str
    where: str = ""
    optional: bool = (
        False  # wanted only where a variable asks for it, and whoever sets that names the server
    )

    def __str__(self) -> str:
        return f"{self.name}: {self.effect} ({self.why}); {self.cure}"


@dataclass(frozen=True)
class _Kind:
    """What gives a service away: a package among the requirements, a setting, a text in the
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
        "Dramatiq", _NO_WORKER, _OWN_WORKER, ("dramatiq", "django-dramatiq"), ("DRAMATIQ_BROKER",)
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
_ENGINE = re.compile(rf"(?:[\w.]+\.backends\.)({_ENGINE_NAMES})|(mssql)")
_URL = re.compile(rf"({_ENGINE_NAMES})(?:\+\w+)?://")
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
    """Every service that the project wants and the hosts don't have."""
    texts = _texts(project)
    return (*_asgi(project), *_databases(project, texts), *_others(project, texts))


def lines(project: Project) -> list[str]:
    """One line for each that is wanted whatever the environment is."""
    return [str(one) for one in needed(project) if not one.optional]


def _texts(project: Project) -> list[Setting]:
    """Every text that the settings hold, and where; what stands in a branch that never runs is
    among it."""
    return [one for file in project.files for one in _of_file(project, file)]


def _of_file(project: Project, file: Any) -> Iterator[Setting]:
    try:
        tree = parse(file)
    except AdoptError:
        return
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield Setting(node.value, f"{project.short(file)}:{node.lineno}")


# --------------------------------------------------------------------------------------------- ASGI


def _asgi(project: Project) -> Iterator[Service]:
    if sign := _sign_of_asgi(project):
        effect = (
            "gunicorn serves the WSGI application alone, so WebSockets answer 404 and no ASGI"
            " application runs"
        )
        cure = (
            "run the ASGI application on a machine of your own, or have the page ask by fetch"
            " instead"
        )
        yield Service("ASGI", str(sign.value), effect, cure, sign.where)


def _sign_of_asgi(project: Project) -> Setting | None:
    asked, apps = project.get("ASGI_APPLICATION"), project.get("INSTALLED_APPS")
    if asked.value is not None:
        return Setting(
            (
                f"ASGI_APPLICATION is {asked.value}"
                if known(asked.value)
                else "ASGI_APPLICATION is set"
            ),
            asked.where,
        )
    for one in project.items("INSTALLED_APPS"):
        if isinstance(one, str) and one.split(".")[0] in ("channels", "daphne"):
            return Setting(f"{one} is in INSTALLED_APPS", apps.where)
    return next(iter(project.sockets), None)


# ---------------------------------------------------------------------------------------- databases


def _databases(project: Project, texts: list[Setting]) -> Iterator[Service]:
    found = project.get("DATABASES")
    value = found.value if isinstance(found.value, dict) else {"default": found.value}
    told: set[str] = set()
    for alias, one in value.items():
        optional = _is_sqlite(unset(one))
        for name, text in _servers(f"DATABASES[{alias!r}]", one, texts, project):
            if name in told:
                continue
            told.add(name)
            effect, cure = "the kit installs none on the hosts", f"name one {_REACHED}"
            if optional:
                text = (
                    f"{text}, but SQLite where none of its variables is set, which the hosts have"
                )
                cure = f"nothing for SQLite; otherwise {cure}"
            yield Service(name, text, effect, cure, found.where, optional)


def _servers(
    place: str, database: Any, texts: list[Setting], project: Project
) -> Iterator[tuple[str, str]]:
    """The servers that an entry of DATABASES needs, or may need, and what says so."""
    engine = database.get("ENGINE") if isinstance(database, dict) else None
    if isinstance(engine, str):
        if name := _server(engine):
            yield name, f"{place} is {engine.rpartition('.')[2]} on {_host(database)}"
        return
    if database is None or (known(database) and not isinstance(database, Computed)):
        return
    said = [str(one.value) for one in texts]
    engines = {
        _ENGINES[match[1] or match[2]] for text in said if (match := _ENGINE.fullmatch(text))
    }
    urls = {_ENGINES[match[1]] for text in said if (match := _URL.match(text))}
    drivers = {_DRIVERS[one.name] for one in project.packages if one.name in _DRIVERS}
    for names, how in (
        (engines, "one of its branches is {}"),
        (urls, "its default is {}"),
        (drivers, "the requirements have a driver for {}"),
    ):
        if names:
            for name in sorted(names):
                yield (
                    name,
                    f"{place} is computed at run time, and {how.format(name.split()[0].lower())}",
                )
            return


def _is_sqlite(database: Any) -> bool:
    engine = database.get("ENGINE") if isinstance(database, dict) else None
    return isinstance(engine, str) and engine.rpartition(".")[2] in ("sqlite3", "spatialite")


def _server(engine: str) -> str | None:
    last = engine.rpartition(".")[2]
    return None if last in ("", "dummy", *SQLITE) else _ENGINES.get(last, engine)


def _host(database: Any) -> str:
    host = database.get("HOST")
    plain = unset(host) if isinstance(host, Computed) else host
    if host in (None, ""):
        return "'localhost'"
    return (
        repr(plain) if isinstance(plain, str) and plain else "a host that is computed at run time"
    )


# --------------------------------------------------------------------------------------- all others


def _others(project: Project, texts: list[Setting]) -> Iterator[Service]:
    for kind in KINDS:
        if sign := _sign(kind, project, texts):
            yield Service(kind.name, str(sign.value), kind.effect, kind.cure, sign.where)


def _sign(kind: _Kind, project: Project, texts: list[Setting]) -> Setting | None:
    for name in kind.settings:
        if (one := project.get(name)).value is not None:
            return Setting(f"{name} is set", one.where)
    for one in texts if kind.text else ():
        if re.search(kind.text, str(one.value)) and len(str(one.value)) < 200:
            return Setting(f"the settings name {_without_password(str(one.value))}", one.where)
    for package in project.packages:
        if package.name in kind.packages:
            return Setting(f"{package.name} is among the requirements", package.file)
    return None


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)
