"""Sites: which origins browsers take for parts of one."""

from __future__ import annotations

from infra.core.origins import domain_of, site_of
from rollout.verdict.values import origin_of


def same_site(page: str, url: str, schemeful: bool = True) -> bool:
    """Whether page and URL are one site. Ports don't count; the scheme does where `schemeful`.
    https://html.spec.whatwg.org/#schemelessly-same-site"""
    part = site_of if schemeful else domain_of
    return part(origin_of(page)) == part(origin_of(url))
