"""Parts of the contract that come from config keys as they are. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from infra.core.keys import KEYS
from infra.core.origins import Origin, OriginPattern, parse_origin, parse_pattern

ALLOW_ALL = ("*",)


@dataclass(frozen=True)
class Application:
    """What runs on the backend; `env` holds plain values only, never a secret. `timers` are
    commands by name: what to `run`, and `at` what time."""

    name: str
    wsgi: str
    settings: str
    env: dict[str, str] = field(default_factory=dict)
    static_url: str = KEYS["static_url"].default
    media_url: str = KEYS["media_url"].default
    max_body_mb: int = KEYS["max_body_mb"].default
    gzip_answers: bool = KEYS["gzip_answers"].default
    timeout_s: int = KEYS["timeout_s"].default
    workers: int = KEYS["workers"].default
    threads: int = KEYS["threads"].default
    timers: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cors:
    """The one list of what browsers may do.

    `allowed_shapes` are origin patterns (`https://{branch}.example.com`); `*` alone means every
    origin and exists in development only. `app_origins` are what WebViews and extensions send.
    `max_age_s` is in seconds.
    """

    allowed_origins: tuple[str, ...]
    allowed_shapes: tuple[str, ...]
    allow_credentials: bool
    allow_methods: tuple[str, ...]
    allow_headers: tuple[str, ...]
    expose_headers: tuple[str, ...]
    max_age_s: int
    app_origins: tuple[str, ...] = KEYS["app_origins"].default

    @property
    def allows_every_origin(self) -> bool:
        """Whether every website may read answers."""
        return self.allowed_shapes == ALLOW_ALL

    @property
    def pattern_texts(self) -> tuple[str, ...]:
        """The origin patterns as text; none where every origin is allowed."""
        if self.allows_every_origin:
            return ()
        return self.allowed_shapes

    @property
    def exact_origins(self) -> tuple[str, ...]:
        """The websites' origins and the apps', each once."""
        return tuple(dict.fromkeys([*self.allowed_origins, *self.app_origins]))

    @cached_property
    def origins(self) -> tuple[Origin, ...]:
        """The websites' exact origins, parsed."""
        return tuple(parse_origin(text, production=False) for text in self.allowed_origins)

    @cached_property
    def patterns(self) -> tuple[OriginPattern, ...]:
        """The origin patterns, parsed; none where every origin is allowed."""
        return tuple(parse_pattern(text, production=False) for text in self.pattern_texts)

    def lists(self, origin: str) -> bool:
        """Whether this `Origin:` value is one of the origins or fits one of the patterns."""
        if origin in self.exact_origins:
            return True
        return any(pattern.matches(origin) for pattern in self.patterns)

    def allows(self, origin: str) -> bool:
        """Whether a page with this `Origin:` value may read answers."""
        return self.allows_every_origin or self.lists(origin)


@dataclass(frozen=True)
class Page:
    """How the frontend's files are served; each source as a Content-Security-Policy has it."""

    connect_src: tuple[str, ...] = KEYS["connect_src"].default
    csp: str = KEYS["csp"].default
    frame_ancestors: tuple[str, ...] = KEYS["frame_ancestors"].default
    referrer_policy: str = KEYS["referrer_policy"].default
    single_page: bool = KEYS["single_page"].default
    source_maps: bool = KEYS["source_maps"].default


@dataclass(frozen=True)
class Preview:
    """What is noted of a preview: whose it is, which commit it shows, and for how long.

    `updated` is in UTC, as ISO 8601 writes it, `ttl_h` in hours from then; one to `keep` never
    expires. A `vacant` one is a slot that no branch has. `allowed_from` are the networks that may
    open it: empty for everybody.
    """

    owner: str = KEYS["preview_owner"].default
    commit: str = KEYS["preview_commit"].default
    updated: str = KEYS["preview_updated"].default
    ttl_h: int = KEYS["preview_ttl_h"].default
    keep: bool = KEYS["preview_keep"].default
    vacant: bool = KEYS["preview_vacant"].default
    allowed_from: tuple[str, ...] = KEYS["preview_from"].default
