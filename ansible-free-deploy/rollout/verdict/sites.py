"""Sites, and whether a cookie comes back with a page's request."""

from __future__ import annotations

from infra.core.origins import Origin, public_suffixes
from rollout.verdict.local_network import is_secure
from rollout.verdict.values import origin_of


def site_of(origin: Origin) -> str:
    """Scheme and registrable domain; for an address, scheme and address.
    https://html.spec.whatwg.org/#obtain-a-site"""
    domain = None
    if not origin.is_ip:
        domain = public_suffixes().privatesuffix(origin.host)
    return f"{origin.scheme}://{domain or origin.host}"


def same_site(page: str, url: str) -> bool:
    """Whether all cookies of `url` go along with requests of `page`. Ports don't count."""
    return site_of(origin_of(page)) == site_of(origin_of(url))


def cookie_obstacle(page: str, url: str, set_cookie: str) -> str | None:
    """Why a cookie set by `url` does not come back with a fetch() of `page`; None if it does.

    RFC 6265bis, 5.7 and 5.8.3. Whether the visitor has turned third-party cookies off can't be
    known from here.
    """
    attributes = _attributes(set_cookie)
    target = origin_of(url)
    rule = attributes.get("samesite", "")
    if "secure" in attributes and not is_secure(target):
        return f"it is Secure and {target} is plain http"
    if rule == "none":
        if "secure" in attributes:
            return None
        return "SameSite=None counts only together with Secure"
    if same_site(page, url):
        return None
    shown = "no SameSite, so Lax"
    if rule in ("lax", "strict"):
        shown = f"SameSite={rule.capitalize()}"
    return (
        f"{page} and {target} are two sites, and it has {shown}; it needs SameSite=None; Secure"
        " over https"
    )


def _attributes(set_cookie: str) -> dict[str, str]:
    """The attributes of a Set-Cookie line, in lower case; the last of a name counts."""
    attributes = {}
    for part in set_cookie.split(";")[1:]:
        name, _, value = part.partition("=")
        attributes[name.strip().lower()] = value.strip().lower()
    return attributes
