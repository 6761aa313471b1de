"""What a page asks, what it gets, and what its browser makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from infra.core.origins import DEFAULT_PORTS, Origin
from rollout.verdict.reasons import Reason

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Request:
    """`fetch(url, {method, headers, credentials, redirect})` by a script of a page.

    `page` is the page's origin as `Origin:` has it; `headers` are the script's own. `credentials`
    is `credentials: "include"`. `page_address` and `address` are what the two names resolve to,
    where known; `csp` is the page's Content-Security-Policy; `permitted` says that the visitor has
    allowed local network access.
    """

    page: str
    url: str
    method: str = "GET"
    headers: Headers = ()
    credentials: bool = False
    redirect: Literal["follow", "error", "manual"] = "follow"
    listens_to_upload: bool = False
    page_address: str | None = None
    address: str | None = None
    csp: str | None = None
    permitted: bool = False

    @property
    def page_origin(self) -> Origin:
        """The page's origin; an app's, such as `capacitor://localhost`, has no port."""
        scheme, _, host = self.page.partition("://")
        if scheme in DEFAULT_PORTS:
            return origin_of(self.page)
        return Origin(scheme, host, None)


@dataclass(frozen=True)
class Response:
    """Status and header lines as they came, repeated ones included."""

    status: int
    headers: Headers = ()

    def get(self, name: str) -> str | None:
        """All values of a header, joined as browsers do; None where it is absent.

        https://fetch.spec.whatwg.org/#concept-header-list-get
        """
        values = []
        for key, value in self.headers:
            if key.lower() == name.lower():
                values.append(value.strip(" \t\r\n"))
        if not values:
            return None
        return ", ".join(values)

    @property
    def redirects(self) -> bool:
        """https://fetch.spec.whatwg.org/#redirect-status"""
        return self.status in (301, 302, 303, 307, 308)

    @property
    def location(self) -> str | None:
        """Where it redirects to; None if there is nothing to follow."""
        if not self.redirects:
            return None
        return self.get("Location")


@dataclass(frozen=True)
class Exchange:
    """The answers of one URL: to the preflight, if there was one, and to the request. None:
    nothing came back."""

    response: Response | None
    preflight: Response | None = None


@dataclass(frozen=True)
class Obstacle:
    """Why a browser keeps the answer from the page, and the value that is wrong."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the page's script gets.

    `phase` is `before`, `preflight`, `request` or `redirect 1` and so on; `status` is what the
    script reads (0 for an opaque redirect, None if blocked); `readable_headers` are lower-case
    names, sorted; `source` is a paragraph of the standard; `url` is where it ended.
    """

    allowed: bool
    reason: Reason | None
    phase: str
    sentence: str
    source: str
    url: str
    status: int | None = None
    readable_headers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """The heading in docs/cors-errors.md; empty when allowed."""
        if self.reason is None:
            return ""
        return self.reason.lower()


def origin_of(url: str) -> Origin:
    """Scheme, host and port of an http or https URL; ValueError for anything else.

    https://url.spec.whatwg.org/#concept-url-origin
    """
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{without_password(url)!a} is not an http or https URL")
    host, port = parts.hostname, parts.port
    if ":" in host:
        host = f"[{host}]"
    if port == DEFAULT_PORTS[parts.scheme]:
        port = None
    return Origin(parts.scheme, host, port)


def without_password(url: str) -> str:
    """The URL without user name, password and fragment, for people to read."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
