"""Cookies as browsers store, return and show them.

https://httpwg.org/http-extensions/draft-ietf-httpbis-rfc6265bis.html, called RFC 6265bis below. A
cookie is followed from one answer of the API to the next request of the same page, by fetch() and
never by a navigation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra.core.origins import Origin, public_suffixes
from rollout.verdict.local_network import is_secure
from rollout.verdict.login.browsers import Browser, ThirdParty
from rollout.verdict.login.causes import Cause, Hurdle
from rollout.verdict.sites import same_site
from rollout.verdict.values import origin_of

# RFC 6265bis, 5.4: browsers compare without case.
_PREFIX = re.compile(r"__(Secure|Host)-", re.IGNORECASE)
_SAME_SITE = ("none", "lax", "strict")


def without_prefix(name: str) -> str | None:
    """The name without its prefix that requires https; None if it has no such prefix."""
    prefix = _PREFIX.match(name)
    if prefix is None:
        return None
    return name[prefix.end() :]


@dataclass(frozen=True)
class Cookie:
    """A Set-Cookie line as browsers read it.

    `domain` is in lower case, without a leading dot, and empty where only the host itself gets the
    cookie. `path` is empty where the attribute is missing. `same_site` is `none`, `lax`, `strict`,
    or empty.
    """

    name: str
    domain: str = ""
    path: str = ""
    secure: bool = False
    http_only: bool = False
    same_site: str = ""
    partitioned: bool = False

    @classmethod
    def parse(cls, line: str) -> Cookie:
        """RFC 6265bis, 5.6: the last attribute of a name counts; unknown values do not."""
        pair, *parts = line.split(";")
        attributes = {}
        for part in parts:
            name, _, value = part.partition("=")
            attributes[name.strip().lower()] = value.strip()
        rule = attributes.get("samesite", "").lower()
        path = attributes.get("path", "")
        return cls(
            name=pair.partition("=")[0].strip(),
            domain=attributes.get("domain", "").removeprefix(".").lower(),
            path=path if path.startswith("/") else "",
            secure="secure" in attributes,
            http_only="httponly" in attributes,
            same_site=rule if rule in _SAME_SITE else "",
            partitioned="partitioned" in attributes,
        )

    @property
    def host_only(self) -> bool:
        """Whether only the host that sets it gets it back."""
        return not self.domain


def not_stored(
    cookie: Cookie,
    page: str,
    url: str,
    browser: Browser,
) -> Hurdle | None:
    """Why a browser drops a cookie that `url` sets in its answer to a fetch() of `page`; None if it
    stores it. RFC 6265bis, 5.7."""
    return _invalid(cookie, origin_of(url), browser) or _kept_apart(cookie, page, url, browser)


def not_returned(
    cookie: Cookie,
    page: str,
    set_by: str,
    url: str,
    browser: Browser,
) -> Hurdle | None:
    """Why a cookie that `set_by` sets does not come back with the next fetch() of `page` to `url`,
    a URL of the same API; None if it does. RFC 6265bis, 5.8.3."""
    hurdle = not_stored(cookie, page, set_by, browser)
    if hurdle:
        return hurdle
    path = cookie.path or default_path(set_by)
    if not path_matches(_path_of(url), path):
        return Hurdle(Cause.OTHER_PATH, cookie.name, path)
    return None


def not_visible(
    cookie: Cookie,
    page: str,
    page_path: str,
    set_by: str,
    browser: Browser,
) -> Hurdle | None:
    """Why the page's script does not see the cookie in `document.cookie`; None if it does.

    RFC 6265bis, 5.8.2 and 5.8.3. The page is no frame, so its own cookies are first-party ones.
    """
    hurdle = not_stored(cookie, page, set_by, browser)
    if hurdle:
        return hurdle
    if cookie.http_only:
        return Hurdle(Cause.HTTP_ONLY, cookie.name)
    reader, writer = origin_of(page), origin_of(set_by)
    if not _reaches(cookie, writer, reader):
        return Hurdle(_out_of_reach(reader, writer), cookie.name, writer.host)
    if not path_matches(page_path, cookie.path or default_path(set_by)):
        return Hurdle(Cause.HIDDEN_BY_PATH, cookie.name, cookie.path or default_path(set_by))
    if cookie.secure and not _is_secure(reader, browser):
        return Hurdle(Cause.HIDDEN_FROM_HTTP, cookie.name)
    return None


# ------------------------------------------------------------------------------------------ storing


def _invalid(cookie: Cookie, target: Origin, browser: Browser) -> Hurdle | None:
    """What is wrong whichever page asks."""
    if cookie.domain and not _may_set(cookie.domain, target):
        return Hurdle(Cause.FOREIGN_DOMAIN, cookie.name, cookie.domain)
    secure = _is_secure(target, browser)
    if not secure and without_prefix(cookie.name) is not None:
        return Hurdle(Cause.PREFIX_OVER_HTTP, cookie.name)
    if not secure and cookie.secure:
        return Hurdle(Cause.SECURE_OVER_HTTP, cookie.name)
    if cookie.partitioned and not cookie.secure:
        return Hurdle(Cause.PARTITIONED_WITHOUT_SECURE, cookie.name)
    if cookie.same_site == "none" and browser.none_needs_secure and not cookie.secure:
        return Hurdle(Cause.NONE_WITHOUT_SECURE, cookie.name)
    if not _prefix_is_kept(cookie, target):
        return Hurdle(Cause.BROKEN_PREFIX, cookie.name)
    return None


def _kept_apart(
    cookie: Cookie,
    page: str,
    url: str,
    browser: Browser,
) -> Hurdle | None:
    """What is wrong between this page and this API."""
    if same_site(page, url, browser.schemeful):
        return None
    rule = cookie.same_site or ("lax" if browser.lax_by_default else "none")
    if rule != "none":
        both_http = page.startswith("http:") and url.startswith("http:")
        cause = Cause.SITES_OVER_HTTP if both_http else Cause.SAME_SITE
        shown = f"SameSite={rule.capitalize()}" if cookie.same_site else "no SameSite, so Lax"
        return Hurdle(cause, cookie.name, shown)
    if browser.third_party is ThirdParty.BLOCKED and not cookie.partitioned:
        return Hurdle(Cause.THIRD_PARTY, cookie.name, browser.name)
    return None


def _may_set(domain: str, target: Origin) -> bool:
    """Whether an answer of `target` may set a cookie for this domain. RFC 6265bis, 5.7, 9 and
    10."""
    if domain == target.host:
        return True
    is_below = target.host.endswith(f".{domain}") and not target.is_ip
    return is_below and not public_suffixes().is_public(domain)


def _prefix_is_kept(cookie: Cookie, target: Origin) -> bool:
    """RFC 6265bis, 5.7, steps 20 and 21. Chromium and Firefox take no notice of a Domain that is
    the address itself."""
    name = cookie.name.lower()
    if name.startswith("__host-"):
        is_own = cookie.host_only or (target.is_ip and cookie.domain == target.host)
        return cookie.secure and is_own and cookie.path == "/"
    return cookie.secure or not name.startswith("__secure-")


def _is_secure(origin: Origin, browser: Browser) -> bool:
    return origin.scheme == "https" or (browser.trusts_loopback and is_secure(origin))


# ----------------------------------------------------------------------------------------- matching


def _reaches(cookie: Cookie, writer: Origin, reader: Origin) -> bool:
    """RFC 6265bis, 5.1.3. Ports do not count."""
    if reader.host == writer.host:
        return True
    if cookie.host_only or reader.is_ip:
        return False
    return reader.host == cookie.domain or reader.host.endswith(f".{cookie.domain}")


def _out_of_reach(reader: Origin, writer: Origin) -> Cause:
    """A cookie of a sibling can be shared by its Domain; one of another site cannot."""
    related = same_site(str(reader), str(writer), schemeful=False)
    return Cause.HOST_ONLY if related else Cause.OTHER_SITES_COOKIE


def path_matches(path: str, cookie_path: str) -> bool:
    """RFC 6265bis, 5.1.4."""
    if path == cookie_path:
        return True
    if not path.startswith(cookie_path):
        return False
    return cookie_path.endswith("/") or path[len(cookie_path)] == "/"


def default_path(url: str) -> str:
    """The path of a cookie without that attribute. RFC 6265bis, 5.1.4."""
    folder = _path_of(url).rpartition("/")[0]
    return folder or "/"


def _path_of(url: str) -> str:
    return urlsplit(url).path or "/"
