"""Nothing of another environment in a preview: neither a secret nor a database.

A preview runs whatever is on a branch, so what it is given, anybody who can push has. Its values
are compared with those of every environment of this checkout that can be read here: secrets files,
configs, and the hosts in the states. No message quotes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from infra.core import previews
from infra.core.contract import ContractError
from infra.core.settings import Settings
from infra.core.stackfile import StackFileError, stack_values
from rollout import outputs, secret_values, stacks, state_files
from rollout.secret_values import SecretsError
from rollout.stacks import PROJECT

# Two environments may have the same short value by chance: a port, a flag, a language.
_SHORTEST = 8

# Of URLs as dj-database-url, django-environ, Celery and Django's own caches take them. What is left
# of a `+driver` counts.
_SERVERS = frozenset(
    [
        "postgres",
        "postgresql",
        "postgis",
        "pgsql",
        "cockroach",
        "cockroachdb",
        "timescale",
        "redshift",
        "mysql",
        "mysqlgis",
        "mysql2",
        "mariadb",
        "mssql",
        "mssqlms",
        "oracle",
        "oraclegis",
        "mongodb",
        "amqp",
        "amqps",
        "redis",
        "rediss",
        "valkey",
        "valkeys",
        "memcached",
        "memcache",
        "elasticsearch",
        "opensearch",
        "clickhouse",
        "cassandra",
    ]
)
_HOST_VARIABLE = re.compile(r"(?:.*_)?(?:PG)?HOST(?:NAME)?", re.IGNORECASE)


class GuardError(SecretsError):
    """A preview has a value that is another environment's; one line each, no value quoted."""


@dataclass(frozen=True)
class _Given:
    """A value by its variable's name, and where it stands."""

    name: str
    value: str
    place: str
    secret: bool

    @property
    def server(self) -> SplitResult | None:
        """The URL of a database, a broker or a cache on some host; None for any other value."""
        try:
            url = urlsplit(self.value)
            named = url.hostname
        except ValueError:
            return None
        return url if url.scheme.partition("+")[0].lower() in _SERVERS and named else None

    @property
    def texts(self) -> set[str]:
        """What of the value is secret by itself: all of it, and the password in a URL."""
        url = self.server
        found = {self.value}
        if url and url.password:
            found |= {url.password, unquote(url.password)}
        return found


@dataclass(frozen=True)
class _Environment:
    """What is known here of another environment. `encrypted` are its config's secrets as Pulumi
    writes them, `hosts` the names and addresses of its hosts."""

    stack: str
    given: tuple[_Given, ...]
    encrypted: frozenset[str]
    hosts: frozenset[str]


def refuse(stack: str, env: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """Raise GuardError where a value of this preview is another environment's: a secret by its
    value, or a database by its host and name.

    `env` are the variables of its config, `secrets` those of its own set.
    """
    config = f"stacks/Pulumi.{stack}.yaml"
    given = [_Given(name, value, config, False) for name, value in env.items()]
    given += [_Given(name, value, "its secrets", True) for name, value in secrets.items()]
    found: list[str] = []
    for other in _others():
        found += _shared(given, other)
    if found:
        raise GuardError(list(dict.fromkeys(found)))


def refuse_before(settings: Settings, template: str = "") -> None:
    """The same before anything is made, from the preview's files alone: encrypted secrets are
    compared as they are written, and by their values once they are read for a ship.

    `template` is the stack whose file has the config while the preview's own is not written.
    Raises GuardError, SecretsError and StackFileError.
    """
    if not settings.branch:
        return
    written_in = template or settings.stack
    own = secret_values.in_file(secret_values.file_of(settings.stack))
    refuse(written_in, settings.env, own)
    mine = _encrypted(stack_values(stacks.ROOT, written_in))
    for other in _others():
        for name, text in mine.items():
            if text in other.encrypted:
                raise GuardError(
                    f"stacks/Pulumi.{written_in}.yaml: {name} is a secret of {other.stack},"
                    f" copied with its encryption; {_CURE}"
                )


_CURE = (
    "a preview runs a branch's code: give previews values of their own, in stacks/preview.secrets"
    " or as secrets of stacks/Pulumi.preview.yaml"
)


def _shared(given: list[_Given], other: _Environment) -> Iterator[str]:
    """A line for each value that is this environment's."""
    for own in given:
        what = _same_secret(own, other) or _same_server(own, other)
        if what:
            yield f"{own.name} ({own.place}) is {what}; {_CURE}"


def _same_secret(own: _Given, other: _Environment) -> str:
    for theirs in other.given:
        same = own.texts & theirs.texts
        if not same or not (own.secret or theirs.secret):
            continue
        by_chance = max(map(len, same)) < _SHORTEST and not (own.secret and own.name == theirs.name)
        if theirs.secret and not by_chance:
            return f"a secret of {other.stack} ({theirs.place}: {theirs.name})"
    return ""


def _same_server(own: _Given, other: _Environment) -> str:
    url = own.server
    if url is None:
        is_host = _HOST_VARIABLE.fullmatch(own.name) and _host(own.value) in other.hosts
        return f"a host of {other.stack}" if is_host else ""
    if _host(url.hostname or "") in other.hosts:
        return f"a URL of a server on a host of {other.stack}"
    for theirs in other.given:
        there = theirs.server
        if there and _database(there) == _database(url):
            return f"the URL of a database of {other.stack} ({theirs.place}: {theirs.name})"
    return ""


def _database(url: SplitResult) -> tuple[str, int | None, str] | None:
    """Host, port and name of the database, whoever logs in; None on the host itself, where each
    environment has its own."""
    host = _host(url.hostname or "")
    if host in ("localhost", "") or _is_loopback(host):
        return None
    return host, url.port, url.path.rstrip("/")


def _host(text: str) -> str:
    """A host's name or address in one spelling, without its port."""
    bare = text.strip().lower().rstrip(".")
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


# ------------------------------------------------------------------------- the other environments


def _others() -> list[_Environment]:
    """Every environment of this checkout that is no preview, as far as it can be read."""
    names = set(stacks.stack_names())
    for path in (stacks.ROOT / "stacks").glob("*.secrets"):
        names.add(path.name.removesuffix(".secrets"))
    return [
        _environment(name)
        for name in sorted(names)
        if name != previews.TEMPLATE and not previews.is_preview(name)
    ]


def _environment(stack: str) -> _Environment:
    try:
        config = stack_values(stacks.ROOT, stack)
    except StackFileError:
        config = {}
    place = f"stacks/Pulumi.{stack}.yaml"
    given = [_Given(name, value, place, False) for name, value in _env(config).items()]
    secrets = secret_values.file_of(stack)
    given += [_Given(*line, f"stacks/{secrets.name}", True) for line in _lines(secrets)]
    return _Environment(
        stack,
        tuple(one for one in given if one.value),
        frozenset(_encrypted(config).values()),
        frozenset(_hosts(stack, config)),
    )


def _lines(path: Path) -> list[tuple[str, str]]:
    """The lines of a secrets file as far as they can be read: whether it is a good one is not this
    preview's business."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        return []
    pairs = [line.rstrip("\r").partition("=") for line in text.split("\n")]
    return [(name.strip(), value) for name, _, value in pairs if not name.lstrip().startswith("#")]


def _env(config: Mapping[str, Any]) -> dict[str, str]:
    values = config.get(f"{PROJECT}:env") or config.get("env") or {}
    if not isinstance(values, dict):
        return {}
    return {str(name): str(value) for name, value in values.items()}


def _encrypted(config: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name, value in config.items():
        if isinstance(value, dict) and set(value) == {"secure"}:
            found[name.removeprefix(f"{PROJECT}:")] = str(value["secure"])
    return found


def _hosts(stack: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Names below the config's domain, and what the state has, where that is a file here."""
    own = {name.removeprefix(f"{PROJECT}:"): value for name, value in config.items()}
    domain = str(own.get("domain") or "")
    if domain:
        yield domain
        for key, default in (("frontend_name", "app"), ("backend_name", "api")):
            yield f"{own.get(key) or default}.{domain}"
    try:
        contract = outputs.recorded_here(stack)
    except (state_files.OutputsError, ContractError):
        return
    for _, host in contract.hosts if contract else ():
        yield _host(host.address)
    for role in (contract.frontend, contract.backend) if contract else ():
        yield _host(role.parsed_origin.hostname)
        yield from role.aliases
