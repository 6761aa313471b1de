"""The contract's list as the patterns that nginx and Django match by."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.core.contract import Contract

_SUBDOMAIN = re.compile(r"(https?)://\{\w+\}\.([a-z0-9.:-]+)")


@dataclass(frozen=True)
class Allowed:
    """Who may read answers: exact origins of websites and apps (those that the page had among them
    while it moves), then patterns in each language;
    `everyone` is for development."""

    origins: tuple[str, ...]
    texts: tuple[str, ...]
    python_patterns: tuple[str, ...]
    nginx_patterns: tuple[str, ...]
    everyone: bool

    @classmethod
    def of(cls, contract: Contract) -> Allowed:
        """Read the contract's `cors`. Raises OriginError for a pattern that is none."""
        cors = contract.cors
        return cls(
            origins=tuple(dict.fromkeys([*cors.exact_origins, *contract.frontend.former])),
            texts=cors.pattern_texts,
            python_patterns=tuple(pattern.python_pattern for pattern in cors.patterns),
            nginx_patterns=tuple(pattern.nginx_pattern for pattern in cors.patterns),
            everyone=cors.allows_every_origin,
        )

    @property
    def trusted(self) -> tuple[str, ...]:
        """The same list as Django's CSRF check writes it, which knows `https://*.example.com` and
        no other pattern."""
        trusted = list(self.origins)
        for text in self.texts:
            subdomain = _SUBDOMAIN.fullmatch(text)
            if subdomain:
                trusted.append(f"{subdomain[1]}://*.{subdomain[2]}")
        return tuple(trusted)
