"""Public suffixes: the names under which anyone gets a name. Pure."""

from __future__ import annotations

import functools

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
