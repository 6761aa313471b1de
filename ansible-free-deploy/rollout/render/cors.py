"""The contract's list as the patterns that nginx and Django match by."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.core.contract import ALLOW_ALL, Contract
from infra.core.origins import parse_pattern

_SUBDOMAIN = re.compile(r"(https?)://\{\w+\}\.([a-z0-9.:-]+)")


@dataclass(frozen=True)
class Allowed:
    """Whose answers may be read: exact origins, then shapes in each language; `everyone` is for
    development."""

    origins: tuple[str, ...]
    shapes: tuple[str, ...]
    python_patterns: tuple[str, ...]
    nginx_patterns: tuple[str, ...]
    everyone: bool

    @classmethod
    def of(cls, contract: Contract) -> Allowed:
        """Read the contract's `cors`. Raises OriginError for a shape that is none."""
        everyone = contract.cors.allowed_shapes == ALLOW_ALL
        texts = () if everyone else contract.cors.allowed_shapes
        shapes = [parse_pattern(text, production=contract.production) for text in texts]
        return cls(
            origins=contract.cors.allowed_origins,
            shapes=texts,
            python_patterns=tuple(shape.python_pattern for shape in shapes),
            nginx_patterns=tuple(shape.nginx_pattern for shape in shapes),
            everyone=everyone,
        )

    @property
    def trusted(self) -> tuple[str, ...]:
        """The same list as Django's CSRF check writes it, which knows `https://*.example.com` and
        no other shape."""
        subdomains = [_SUBDOMAIN.fullmatch(shape) for shape in self.shapes]
        return (*self.origins, *(f"{found[1]}://*.{found[2]}" for found in subdomains if found))
