"""Sites: which origins browsers take for parts of one."""

from __future__ import annotations

from infra.core.origins import Origin, public_suffixes
from rollout.verdict.values import origin_of


def site_of(origin: Origin) -> str:
    """Scheme and registrable domain; for an address, scheme and address.
    https://html.spec.whatwg.org/#obtain-a-site"""
    return f"{origin.scheme}://{domain_of(origin)}"


def domain_of(origin: Origin) -> str:
    """The registrable domain; the host itself where it is an address or a public suffix."""
    domain = None
    if not origin.is_ip:
        domain = public_suffixes().privatesuffix(origin.host)
    return domain or origin.host


def same_site(page: str, url: str, schemeful: bool = True) -> bool:
    """Whether page and URL are one site. Ports don't count; the scheme does where `schemeful`.
    https://html.spec.whatwg.org/#schemelessly-same-site"""
    one, other = origin_of(page), origin_of(url)
    if schemeful and one.scheme != other.scheme:
        return False
    return domain_of(one) == domain_of(other)
