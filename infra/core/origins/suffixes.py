"""Public suffixes: the names under which anyone gets a name. Pure."""

from __future__ import annotations

import functools
from pathlib import Path

from infra.core.origins.origin import Origin

_SOME_LABEL = "q0zx"


@functools.cache
def public_suffixes():  # type: ignore[no-untyped-def]  # its type would have to be imported: 70 ms
    """The public suffix list, loaded at its first use."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


@functools.cache
def _registries():  # type: ignore[no-untyped-def]  # as above
    """The list's first half: suffixes of registries, without those of companies."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(only_icann=True)


def is_registry(base: str) -> bool:
    """Whether names below `base` are sold by a registry, as those below `co.uk` are."""
    return bool(_registries().is_public(base))


def is_public(base: str) -> bool:
    """Whether names right below `base` belong to different owners."""
    suffixes = public_suffixes()
    if suffixes.is_public(base):
        return True
    # This finds rules like `*.compute.example`, where each label below has another owner.
    return bool(suffixes.is_public(f"{_SOME_LABEL}.{base}"))


def site_of(origin: Origin) -> str:
    """Scheme and registrable domain; for an address, scheme and address.
    https://html.spec.whatwg.org/#obtain-a-site"""
    return f"{origin.scheme}://{domain_of(origin)}"


def domain_of(origin: Origin) -> str:
    """The registrable domain; the host itself where it is an address or a public suffix."""
    if origin.is_ip:
        return origin.host
    top = origin.host.rpartition(".")[2]
    suffixes = public_suffixes() if top.startswith("xn--") else _below(top)
    return suffixes.privatesuffix(origin.host) or origin.host


@functools.cache
def _below(top: str):  # type: ignore[no-untyped-def]  # as above
    """The list's rules for one top-level domain. All of them take five times as long to load, and
    every deploy of a pair of names asks for its site."""
    from publicsuffixlist import PSLFILE, PublicSuffixList

    with Path(PSLFILE).open(encoding="utf-8") as lines:
        rules = [line for line in lines if line.rstrip().rpartition(".")[2] == top]
    return PublicSuffixList(source=rules)
