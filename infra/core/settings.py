"""Stack config → one frozen `Settings`.

Every mistake is found in one pass and reported as `stacks/Pulumi.<stack>.yaml: key: what is wrong,
what is expected`. Nothing but the given config is read. No pulumi import: the rollout reads the
same settings to know which folders to ship.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from infra.core import csp, exits, https, previews, provider, rules
from infra.core.errors import KitError
from infra.core.keys import KEYS, SECRETS, Key
from infra.core.origins import Origin, OriginError, OriginPattern, parse_origin, parse_pattern
from infra.core.rules import quote

UNBALANCED = "ORIGIN_KIT_WITHOUT_BALANCER"  # 1: for the kit's tests, which take many hosts
WWW = "www"
WARNED = "ORIGIN_KIT_WARNED"  # 1: whoever runs the program has shown the warnings already


class SettingsError(KitError):
    """All that is wrong with a stack's config; `problems` holds one line each."""

    exit_status = exits.USAGE

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Settings:
    """A stack's config, checked: a field for each key of `infra.core.keys`, which has the defaults.

    Counts are per role, `timeout_s` and `max_age_s` in seconds, sizes in MiB. `warnings` are lines
    about keys that still work and will not in the next version.
    """

    stack: str
    cloud: str
    production: bool
    domain: str
    frontend_name: str
    www_redirect: bool
    backend_name: str
    backend_aliases: tuple[str, ...]
    behind: tuple[str, ...]
    frontend_count: int
    backend_count: int
    tls: str
    acme_directory: str
    acme_staging: bool
    acme_email: str
    acme_profile: str
    acme_eab_kid: str
    hsts: str
    application: str
    backend_path: str
    backend_git: str
    backend_ref: str
    requirements: str
    build_sdists: tuple[str, ...]
    ship_also: tuple[str, ...]
    wsgi: str
    settings: str
    frontend_path: str
    static_url: str
    media_url: str
    max_body_mb: int
    gzip_answers: bool
    timeout_s: int
    workers: int
    threads: int
    env: dict[str, str]
    extra_origins: tuple[Origin, ...]
    allowed_patterns: tuple[OriginPattern, ...]
    app_origins: tuple[str, ...]
    allow_all_origins: bool
    allow_credentials: bool
    allow_methods: tuple[str, ...]
    allow_headers: tuple[str, ...]
    expose_headers: tuple[str, ...]
    max_age_s: int
    connect_src: tuple[str, ...]
    csp: str
    frame_ancestors: tuple[str, ...]
    referrer_policy: str
    single_page: bool
    source_maps: bool
    region: str
    zones: tuple[str, ...]
    gcp_project: str
    machine_type: str
    architecture: str
    machine_image: str
    disk_gb: int
    ssh_from: tuple[str, ...]
    ssh_from_anywhere: bool
    ssh_keys: tuple[str, ...]
    ssh_key_file: str
    network_cidr: str
    existing_network: str
    existing_subnets: tuple[str, ...]
    dns_zone: str
    image: str
    memory_mb: int
    subnet: str
    serials: dict[str, str]
    attachable: bool
    branch: str
    preview_mode: str
    attach_to: str
    attached_backend: str
    preview_slots: int
    preview_max: int
    preview_ttl_h: int
    preview_seed: str
    preview_from: tuple[str, ...]
    preview_owner: str
    preview_commit: str
    preview_updated: str
    preview_keep: bool
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, stack: str, **values: Any) -> Settings:
        """Settings from values that are checked already; a key that is not given has its
        default."""
        return cls(stack=stack, **{**_defaults(), **values})

    @classmethod
    def read(cls, config: Mapping[str, str], stack: str) -> Settings:
        """Settings from `config`, a flat map of plain keys to strings (objects and arrays as JSON),
        as Pulumi has it.

        Raises SettingsError with every problem found.
        """
        return _Reader(config, stack).read()

    def check_key_file(self) -> None:
        """Read the file of public keys, as those need who make instances. Raises SettingsError."""
        if self.cloud == "local":
            return
        try:
            provider.public_keys(self.ssh_key_file)
        except provider.KeyFileError as problem:
            line = f"{_file_of(self.stack)}: ssh_key_file: {problem}"
            raise SettingsError([line]) from None


def _defaults() -> dict[str, Any]:
    defaults = {}
    for key in KEYS.values():
        if key.is_required:
            continue
        # A map may be changed by whoever has it.
        defaults[key.name] = dict(key.default) if key.type == "object" else key.default
    return defaults


def _file_of(stack: str) -> str:
    return f"stacks/Pulumi.{stack}.yaml"


class _Reader:
    """Reads one config. `values` holds None for a key that has a problem already."""

    def __init__(self, config: Mapping[str, str], stack: str) -> None:
        self.config = dict(config)
        self.stack = stack
        self.where = _file_of(stack)
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.values: dict[str, Any] = {}

    def read(self) -> Settings:
        try:
            rules.environment_name(self.stack)
        except ValueError as problem:
            self.problems.append(f"the stack's own name: {problem}")
        for key in KEYS.values():
            self._rename(key)
        for name in sorted(self.config.keys() - KEYS.keys()):
            self._unknown(name)
        for key in KEYS.values():
            self._read(key)
        self._parse_each("extra_origins", parse_origin)
        self._parse_each("allowed_patterns", parse_pattern)
        if self.values.get("ssh_keys"):  # the file is for those who have no list
            self.values["ssh_key_file"] = ""
        for name, text in previews.problems(self.stack, {**_defaults(), **self.values}):
            self._problem(name, text)
        self.values |= previews.derived(self.stack, self.values)
        known = {**_defaults(), **self.values}
        for name, text in _cross_field_problems(known):
            self._problem(name, text)
        for line in provider.problems(known):
            self.problems.append(f"{self.where}: {line}")
        if self.problems:
            raise SettingsError(self.problems)
        return Settings.of(self.stack, **self.values, warnings=tuple(self.warnings))

    def _problem(self, key: str, text: str) -> None:
        shown = key if key.isprintable() else quote(key)
        self.problems.append(f"{self.where}: {shown}: {text}")

    def _rename(self, key: Key) -> None:
        """Take the value of the key's former name; the schema's default may stand under the new
        one."""
        if key.former_name not in self.config:
            return
        value = self.config.pop(key.former_name)
        self.warnings.append(
            f"{self.where}: {key.former_name}: this key is now called {key.name}; rename it, the"
            " next version does not read the old name"
        )
        given = self.config.get(key.name, "[]")
        if given == "[]":
            self.config[key.name] = value
        else:
            self._problem(key.former_name, f"the former name of {key.name}; keep {key.name} only")

    def _unknown(self, name: str) -> None:
        if name.startswith("env."):
            self._secret(name)
            return
        if name in SECRETS:
            self._not_here(name)
            return
        close = difflib.get_close_matches(name, KEYS, n=1)
        cure = f"did you mean {close[0]}?" if close else "see `config:` in Pulumi.yaml"
        self._problem(name, f"unknown key; {cure}")

    def _secret(self, name: str) -> None:
        try:
            rules.variable_name(name.removeprefix("env."))
        except ValueError as problem:
            self._problem(name, str(problem))
        self._not_here(name)

    def _not_here(self, name: str) -> None:
        """Refuse a secret in the file of a local stack."""
        if self.config.get("cloud", "local") == "local":
            self._problem(
                name,
                "a secret; on the local cloud it goes to"
                f" stacks/{previews.secrets_file(self.stack)} (mode 0600)",
            )

    def _read(self, key: Key) -> None:
        if key.name not in self.config:
            if key.is_required:
                self._problem(key.name, "missing; the schema in Pulumi.yaml says what it is")
            return
        try:
            self.values[key.name] = key.read(self.config[key.name])
        except ValueError as problem:
            self._problem(key.name, str(problem))
            self.values[key.name] = None

    def _parse_each(self, name: str, parse: Callable[..., Any]) -> None:
        """Parse the texts of a list, which depends on `production`; each value stays once."""
        production = bool(self.values.get("production"))
        parsed = []
        for text in self.values.get(name) or ():
            try:
                parsed.append(parse(text, production=production))
            except OriginError as problem:
                self._problem(name, str(problem))
        self.values[name] = tuple(dict.fromkeys(parsed))


# -------------------------------------------------------------------------- cross-field validation

Problem = tuple[str, str]  # the key, and what is wrong with it


def _cross_field_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong between keys. A value that has a problem already is None, or missing."""
    yield from _cors_problems(values)
    yield from _credential_problems(values)
    yield from https.problems(values)
    yield from _page_problems(values)
    yield from _host_problems(values)
    yield from _ssh_problems(values)
    yield from _application_problems(values)


def _cors_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if not values.get("allow_all_origins"):
        return
    if values.get("production"):
        yield "allow_all_origins", rules.EVERYONE_IN_PRODUCTION
    if values.get("allowed_patterns"):
        yield (
            "allowed_patterns",
            "allow_all_origins allows every origin already; keep one of the two",
        )


def _credential_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if not values.get("allow_credentials"):
        return
    without_tls = values.get("tls") == https.OFF
    if values.get("production"):
        extra = [str(origin) for origin in values.get("extra_origins") or ()]
        listed = [*extra, *(values.get("app_origins") or ())]
        plain = [origin for origin in listed if origin.startswith("http:")]
        if plain:
            yield "allow_credentials", rules.plain_http_credentials(plain[0])
        elif without_tls:
            yield "allow_credentials", rules.plain_http_credentials("the frontend's own origin")
    if without_tls and values.get("domain") == "":
        yield (
            "allow_credentials",
            "browsers never send cookies between two http IPs; set a domain, or leave it false and"
            " use tokens",
        )


def _page_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if values.get("tls") == https.OFF and csp.UPGRADE in csp.names(values.get("csp") or ""):
        yield "csp", csp.UPGRADE_WITHOUT_TLS


def _host_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    hosts = set()
    for role in ("frontend", "backend"):
        count = values.get(f"{role}_count") or 1
        hosts |= {f"{role}-{number + 1}" for number in range(count)}
        if count > 1 and os.environ.get(UNBALANCED) != "1":
            yield (
                f"{role}_count",
                f"{count}: without a load balancer, which this kit doesn't have yet, each host"
                " would have a database and a secret key of its own, and all requests would go to"
                " the first; set it to 1 (`fab up` asks before it removes the others)",
            )
    replaced = values.get("serials") or {}
    for name in sorted(replaced.keys() - hosts):
        yield "serials", f"there is no host {quote(name)}; take it out"
    yield from _name_problems(values)
    if values.get("production") and values.get("cloud") == "local":
        yield "production", "the local cloud is for development; set it to false"


def _name_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    frontend, backend = values.get("frontend_name"), values.get("backend_name")
    domain = values.get("domain")
    if frontend == backend:
        yield "frontend_name", "the same as backend_name; the two need names of their own"
    if values.get("www_redirect"):
        if domain == "":
            yield "www_redirect", "there is no domain whose www it could be"
        elif frontend not in (rules.APEX, WWW):
            yield (
                "www_redirect",
                f'frontend_name is {frontend}; the redirect is between "{rules.APEX}" and {WWW}',
            )
        elif frontend == rules.APEX and backend == WWW:
            yield "www_redirect", f"backend_name is {WWW}, so that name is the backend's"
    own = _own_names(values)
    for alias in values.get("backend_aliases") or ():
        if alias in own:
            yield "backend_aliases", f"{alias} is a name of this stack already; take it out"


def _own_names(values: Mapping[str, Any]) -> set[str]:
    """The names that the stack has under its domain."""
    labels = {str(values.get("frontend_name")), str(values.get("backend_name"))}
    if values.get("www_redirect"):
        labels |= {rules.APEX, WWW}
    domain = str(values.get("domain"))
    return {full_name(label, domain) for label in labels}


def full_name(label: str, domain: str) -> str:
    """The name of a label under `domain`; "@" is the domain itself."""
    return domain if label == rules.APEX else f"{label}.{domain}"


def _ssh_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if values.get("ssh_from_anywhere") is not False:
        return
    for text in values.get("ssh_from") or ():
        if ip_network(text).prefixlen == 0:
            yield (
                "ssh_from",
                f"{text} is the whole internet; name your own, or say ssh_from_anywhere: true",
            )
            return


def _application_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    if not values.get("backend_git") and values.get("backend_path") == "":
        yield "backend_path", "missing, and so is backend_git; name the folder with manage.py"
    if values.get("backend_ref") and not values.get("backend_git"):
        yield "backend_ref", "there is no backend_git that it belongs to"
    if values.get("static_url") == values.get("media_url"):
        yield "media_url", rules.SAME_URL
