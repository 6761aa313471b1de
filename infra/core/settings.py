"""Stack config → one frozen `Settings`.

Every mistake is found in one pass and reported as `stacks/Pulumi.<stack>.yaml: key: what is wrong,
what is expected`. Nothing but the given config is read. No pulumi import: the rollout reads the
same settings to know which folders to ship.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.core import cross_fields, exits, previews, provider, rules
from infra.core.errors import KitError
from infra.core.keys import KEYS, SECRETS, Key
from infra.core.origins import Origin, OriginError, OriginPattern, parse_origin, parse_pattern
from infra.core.rules import quote

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
    backup: dict[str, str]
    timers: dict[str, dict[str, str]]
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
    preview_vacant: bool
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
        for name, text in cross_fields.problems(known):
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
