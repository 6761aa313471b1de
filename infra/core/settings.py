"""Stack config → one frozen `Settings`.

Every mistake is found in one pass and reported as `stacks/Pulumi.<stack>.yaml: key: what is wrong,
what is asked`. No pulumi import: the rollout reads the same settings to know which folders to ship.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Any, cast

from infra.core import exits, provider, rules, variables
from infra.core.errors import KitError
from infra.core.origins import Origin, OriginError, OriginPattern, parse_origin, parse_pattern
from infra.core.rules import Check, quote
from infra.core.serials import Serials

CLOUDS = ("local", "aws", "gcp")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
DEFAULT_HEADERS = (
    "DNT",
    "User-Agent",
    "X-Requested-With",
    "If-Modified-Since",
    "Cache-Control",
    "Content-Type",
    "Range",
    "Authorization",
    "X-CSRFToken",
)

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # PEP 508

UNBALANCED = (  # 1: for the kit's own tests and figures, which take many hosts
    "ORIGIN_KIT_WITHOUT_BALANCER"
)


class SettingsError(KitError):
    """All that is wrong with a stack's config; `problems` holds one line each."""

    exit_status = exits.USAGE

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Settings:
    """A stack's config, checked. Counts are per role, `timeout_s` and `max_age_s` in seconds, sizes
    in MiB."""

    stack: str
    cloud: str
    application: str
    wsgi: str
    settings: str
    frontend_path: str
    production: bool = False
    tls: str = "off"
    domain: str = ""
    frontend_name: str = "app"
    backend_name: str = "api"
    frontend_count: int = 1
    backend_count: int = 1
    backend_path: str = ""
    backend_git: str = ""
    backend_ref: str = ""
    requirements: str = ""
    build_sdists: tuple[str, ...] = ()
    ship_also: tuple[str, ...] = ()
    static_url: str = "/static/"
    media_url: str = "/media/"
    max_body_mb: int = 10
    timeout_s: int = 30
    workers: int = 2
    env: dict[str, str] = field(default_factory=dict)
    extra_origins: tuple[Origin, ...] = ()
    allowed_shapes: tuple[OriginPattern, ...] = ()
    allow_all_origins: bool = False
    allow_credentials: bool = False
    allow_methods: tuple[str, ...] = METHODS
    allow_headers: tuple[str, ...] = DEFAULT_HEADERS
    expose_headers: tuple[str, ...] = ()
    max_age_s: int = 600
    region: str = ""
    zones: tuple[str, ...] = ()
    gcp_project: str = ""
    machine_type: str = ""
    architecture: str = "x86_64"
    machine_image: str = ""
    disk_gb: int = 20
    ssh_from: tuple[str, ...] = ()
    ssh_from_anywhere: bool = False
    ssh_keys: tuple[str, ...] = ()
    ssh_key_file: str = "~/.ssh/id_ed25519.pub"
    network_cidr: str = ""
    existing_network: str = ""
    existing_subnets: tuple[str, ...] = ()
    dns_zone: str = ""
    image: str = ""
    memory_mb: int = 512
    subnet: str = ""
    serials: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, config: Mapping[str, str], stack: str, key_file: bool = True) -> Settings:
        """Settings from `config`, a flat map of plain keys to strings (objects and arrays as JSON),
        as Pulumi has it.

        Without `key_file` the file that `ssh_key_file` names is not read: who deploys need not have
        it. Raises SettingsError with every problem found.
        """
        return _Reader(config, stack, key_file).read()


def _optional(check: Check) -> Check:
    return lambda value: "" if value == "" else check(value)


def _tls(value: Any) -> str:
    # YAML 1.1 readers turn a bare `off` into false.
    return str(rules.tls("off" if value == "false" else value))


def _boolean(value: Any) -> bool:
    if value not in ("true", "false"):
        raise ValueError(f"{quote(value)} is neither true nor false")
    return bool(value == "true")


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if not re.fullmatch(r"\d{1,9}", str(value), re.ASCII) or not low <= int(value) <= high:
            raise ValueError(f"{quote(value)} is not a whole number from {low} to {high}")
        return int(value)

    return check


def _strings(value: Any) -> tuple[str, ...]:
    items = _decode(value, list, "a list; write one value a line, each after a dash")
    if wrong := [item for item in items if not isinstance(item, str)]:
        raise ValueError(f"{quote(wrong[0])} is not text; put it in quotes")
    return tuple(items)


def _tokens(value: Any) -> tuple[str, ...]:
    return tuple(rules.header(item) for item in _strings(value))


def _packages(value: Any) -> tuple[str, ...]:
    items = _strings(value)
    if wrong := [item for item in items if not _PACKAGE.fullmatch(item)]:
        raise ValueError(
            f"{rules.quote(wrong[0])} is not a package's name; write it without a version, e.g."
            " django-foo"
        )
    return items


def _methods(value: Any) -> tuple[str, ...]:
    return tuple(rules.method(item) for item in _strings(value))


def _environment(value: Any) -> dict[str, str]:
    items = _decode(value, dict, "a map of NAME: value")
    for name, item in items.items():
        rules.variable_name(name)
        if not isinstance(item, str):
            raise ValueError(f"{name} is {quote(item)}, not text; put it in quotes")
        if problem := variables.problem(name, item):
            raise ValueError(f"the value of {name} {problem}")
    return cast(dict[str, str], items)


def _serials(value: Any) -> dict[str, str]:
    """By host; one that has its first machine is left out."""
    items = _decode(value, dict, "a map of host: serial; `fab replace` writes it")
    found = {name: str(Serials.parse(str(item))) for name, item in items.items()}
    if len([text for text in found.values() if not text.isdigit()]) > 1:
        raise ValueError(
            "more than one host is being replaced; finish one first: `fab replace NAME`"
        )
    return {name: text for name, text in found.items() if text != "1"}


def _domain(value: Any) -> str:
    if (
        not isinstance(value, str)
        or value != value.lower()
        or not all(map(_LABEL.fullmatch, value.split(".")))
    ):
        raise ValueError(f"{quote(value)} is not a domain; write it like shop.example.com")
    if "." not in value:
        raise ValueError(f"{quote(value)} is a single label; write it like shop.example.com")
    return value


def _subnet(value: Any) -> str:
    try:
        network = IPv4Network(value)
    except ValueError as problem:
        raise ValueError(
            f"{quote(value)} is not a subnet ({problem}); write it like 10.213.7.0/24"
        ) from None
    if network.prefixlen != 24 or not network.is_private:
        raise ValueError(f"{value} is not a private /24; write it like 10.213.7.0/24")
    return str(network)


def _cidrs(value: Any) -> tuple[str, ...]:
    return tuple(_cidr(item) for item in _strings(value))


def _login_keys(value: Any) -> tuple[str, ...]:
    return rules.login_keys(_strings(value))


def _cidr(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as problem:
        raise ValueError(
            f"{quote(text)} is no CIDR ({problem}); write it like 203.0.113.0/24"
        ) from None


def _network_cidr(value: Any) -> str:
    try:
        network = IPv4Network(value)
    except ValueError as problem:
        raise ValueError(
            f"{quote(value)} is no network ({problem}); write it like 10.20.0.0/16"
        ) from None
    if not network.is_private or not 16 <= network.prefixlen <= 24:
        raise ValueError(f"{value} is no private network of /16 to /24; write it like 10.20.0.0/16")
    return str(network)


def _decode(value: Any, kind: type, asked: str) -> Any:
    try:
        decoded = json.loads(value)
    except ValueError:
        decoded = value
    if not isinstance(decoded, kind):
        raise ValueError(f"{quote(value)} is not {asked}")
    return decoded


# A folder, a file, a URL: what the shell of nobody reads, and no line break ends.
_path = rules.text(re.compile(r"[^\0\n]+"), "a folder, relative to the repository's root", 1000)
_whole_numbers = {key: _integer(*bounds) for key, bounds in rules.BOUNDS.items()}

# One row a key: how its text becomes a value. A key without a default in Settings is required.
CHECKS: dict[str, Check] = {
    "cloud": rules.one_of(*CLOUDS),
    "production": _boolean,
    "tls": _tls,
    "domain": _optional(_domain),
    "frontend_name": rules.label,
    "backend_name": rules.label,
    "frontend_count": _integer(1, 64),
    "backend_count": _integer(1, 64),
    "application": rules.application_name,
    "backend_path": _optional(_path),
    "backend_git": _optional(rules.text(re.compile(r"[^\s-]\S*"), "a git URL")),
    "backend_ref": _optional(rules.text(re.compile(r"[^\s-]\S*"), "a branch, tag or commit")),
    "requirements": _optional(_path),
    "build_sdists": _packages,
    "ship_also": _strings,
    "wsgi": rules.wsgi,
    "settings": rules.module,
    "frontend_path": _path,
    "static_url": rules.url_path,
    "media_url": rules.url_path,
    "max_body_mb": _whole_numbers["max_body_mb"],
    "timeout_s": _whole_numbers["timeout_s"],
    "workers": _whole_numbers["workers"],
    "env": _environment,
    "extra_origins": _strings,
    "allowed_shapes": _strings,
    "allow_all_origins": _boolean,
    "allow_credentials": _boolean,
    "allow_methods": _methods,
    "allow_headers": _tokens,
    "expose_headers": _tokens,
    "max_age_s": _whole_numbers["max_age_s"],
    "region": _optional(
        rules.text(re.compile(r"[a-z0-9-]+"), "a region, e.g. eu-central-1 or europe-west3")
    ),
    "zones": _strings,
    "gcp_project": _optional(
        rules.text(re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]"), "the project's id")
    ),
    "machine_type": _optional(
        rules.text(re.compile(r"[a-z0-9][a-z0-9.-]+"), "a type, e.g. t3.small or e2-small")
    ),
    "architecture": rules.one_of("x86_64", "arm64"),
    "machine_image": _optional(
        rules.text(re.compile(r"\S+"), "an image; run `fab images`, which shows and pins it")
    ),
    "disk_gb": _integer(8, 16_384),
    "ssh_from": _cidrs,
    "ssh_from_anywhere": _boolean,
    "ssh_keys": _login_keys,
    "ssh_key_file": rules.text(re.compile(r"[^\0\n]+"), "the path of an SSH public key"),
    "network_cidr": _optional(_network_cidr),
    "existing_network": _optional(
        rules.text(re.compile(r"[A-Za-z0-9_./-]+"), "the network's id or name")
    ),
    "existing_subnets": _strings,
    "dns_zone": _optional(rules.text(re.compile(r"[A-Za-z0-9-]+"), "the hosted zone's id or name")),
    "image": _optional(
        rules.text(re.compile(r"[a-z]{3,20}"), "a Debian release's code name, e.g. bookworm")
    ),
    "memory_mb": _integer(128, 1_048_576),
    "subnet": _optional(_subnet),
    "serials": _serials,
}

REQUIRED = ("cloud", "application", "wsgi", "settings", "frontend_path")


class _Reader:
    def __init__(self, config: Mapping[str, str], stack: str, key_file: bool) -> None:
        self.config = config
        self.stack = stack
        self.key_file = key_file
        self.problems: list[str] = []
        self.where = f"stacks/Pulumi.{stack}.yaml"

    def read(self) -> Settings:
        try:
            rules.environment_name(self.stack)
        except ValueError as problem:
            self.problems.append(f"the stack's own name: {problem}")
        for key in sorted(self.config.keys() - CHECKS.keys()):
            self._unknown(key)
        values = {
            key: self._value(key, check) for key, check in CHECKS.items() if key in self.config
        }
        for key in [key for key in REQUIRED if key not in self.config]:
            self._problem(key, "missing; the schema in Pulumi.yaml says what it is")
        values["extra_origins"] = self._each("extra_origins", parse_origin, values)
        values["allowed_shapes"] = self._each("allowed_shapes", parse_pattern, values)
        if values.get("ssh_keys"):  # the file is for who has no list
            values["ssh_key_file"] = ""
        self._together(values)
        self.problems += [f"{self.where}: {text}" for text in provider.problems(values)]
        if self.key_file:
            self.problems += [
                f"{self.where}: {text}" for text in provider.key_file_problems(values)
            ]
        if self.problems:
            raise SettingsError(self.problems)
        return Settings(stack=self.stack, **values)

    def _problem(self, key: str, text: str) -> None:
        self.problems.append(f"{self.where}: {key if key.isprintable() else quote(key)}: {text}")

    def _unknown(self, key: str) -> None:
        if key.startswith("env."):
            try:
                rules.variable_name(key.removeprefix("env."))
            except ValueError as problem:
                self._problem(key, str(problem))
            if self.config.get("cloud", "local") == "local":
                self._problem(
                    key,
                    f"a secret; on the local cloud it goes to stacks/{self.stack}.secrets (mode"
                    " 0600)",
                )
            return
        close = difflib.get_close_matches(key, CHECKS, n=1)
        self._problem(
            key,
            "unknown key"
            + (f"; did you mean {close[0]}?" if close else "; see `config:` in Pulumi.yaml"),
        )

    def _value(self, key: str, check: Check) -> Any:
        try:
            return check(self.config[key])
        except ValueError as problem:
            self._problem(key, str(problem))
            return None

    def _each(
        self, key: str, parse: Callable[..., Any], values: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        found = []
        for text in values.get(key) or ():
            try:
                found.append(parse(text, production=bool(values.get("production"))))
            except OriginError as problem:
                self._problem(key, str(problem))
        return tuple(dict.fromkeys(found))

    @staticmethod
    def _whole_internet(values: Mapping[str, Any]) -> str | None:
        return next(
            (text for text in values.get("ssh_from") or () if ip_network(text).prefixlen == 0), None
        )

    def _refuse_many(self, key: str, count: int) -> None:
        if count > 1 and os.environ.get(UNBALANCED) != "1":
            self._problem(
                key,
                f"{count}: without a load balancer, which this kit doesn't have yet, each host"
                " would have a database and a secret key of its own, and all requests would go to"
                " the first; set it to 1 (`fab up` asks before it removes the others)",
            )

    def _together(self, values: Mapping[str, Any]) -> None:
        """What no key can say alone."""
        production, cloud = values.get("production"), values.get("cloud")
        if production and values.get("allow_all_origins"):
            self._problem("allow_all_origins", rules.EVERYONE_IN_PRODUCTION)
        if values.get("allow_all_origins") and values.get("allowed_shapes"):
            self._problem(
                "allowed_shapes",
                "allow_all_origins lets everything in already; keep one of the two",
            )
        plain = [origin for origin in values.get("extra_origins") or () if origin.scheme == "http"]
        if (
            production
            and values.get("allow_credentials")
            and (plain or values.get("tls", "off") == "off")
        ):
            what = str(plain[0]) if plain else "the frontend's own origin"
            self._problem("allow_credentials", rules.plain_http_credentials(what))
        for key in ("frontend_count", "backend_count"):
            self._refuse_many(key, values.get(key) or 1)
        hosts = {
            f"{role}-{n + 1}"
            for role in ("frontend", "backend")
            for n in range(values.get(f"{role}_count") or 1)
        }
        for name in sorted((values.get("serials") or {}).keys() - hosts):
            self._problem("serials", f"there is no host {quote(name)}; take it out")
        if values.get("ssh_from_anywhere") is False and (wide := self._whole_internet(values)):
            self._problem(
                "ssh_from",
                f"{wide} is the whole internet; name your own, or say ssh_from_anywhere: true",
            )
        if production and cloud == "local":
            self._problem("production", "the local cloud is for development; set it to false")
        if not values.get("backend_git", "") and values.get("backend_path", "") == "":
            self._problem(
                "backend_path", "missing, and so is backend_git; name the folder with manage.py"
            )
        if values.get("backend_ref") and not values.get("backend_git"):
            self._problem("backend_ref", "there is no backend_git that it belongs to")
        if values.get("frontend_name", "app") == values.get("backend_name", "api"):
            self._problem(
                "frontend_name", "the same as backend_name; the two need names of their own"
            )
        if (
            values.get("allow_credentials")
            and values.get("domain", "") == ""
            and values.get("tls", "off") == "off"
        ):
            self._problem(
                "allow_credentials",
                "browsers never send cookies between two http IPs; set a domain, or leave it false"
                " and use tokens",
            )
        if values.get("static_url", "/static/") == values.get("media_url", "/media/"):
            self._problem("media_url", rules.SAME_URL)
