"""Sites: which origins browsers take for parts of one."""

from __future__ import annotations

from infra.core.origins import domain_of
from rollout.verdict.values import origin_of


def same_site(page: str, url: str, schemeful: bool = True) -> bool:
    """Whether page and URL are one site. Ports don't count; the scheme does where `schemeful`.
    https://html.spec.whatwg.org/#schemelessly-same-site"""
    one, other = origin_of(page), origin_of(url)
    if schemeful and one.scheme != other.scheme:
        return False
    return domain_of(one) == domain_of(other)
