"""How browsers differ about cookies, as they are by default."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ThirdParty(StrEnum):
    """What becomes of cookies of an API that is another site than the page."""

    SENT = "sent"
    PARTITIONED = "partitioned"  # kept, but only for pages of the same site
    BLOCKED = "blocked"  # but for cookies marked Partitioned


@dataclass(frozen=True)
class Browser:
    """One browser with one setting.

    `lax_by_default`: a cookie without SameSite counts as Lax. `none_needs_secure`: SameSite=None
    counts only together with Secure. `schemeful`: http and https of one domain are two sites.
    `trusts_loopback`: `Secure` cookies are stored by http://localhost. `run`: tests compare the
    verdict with this browser; otherwise it was read in the `source`.
    """

    name: str
    third_party: ThirdParty
    source: str
    lax_by_default: bool = True
    none_needs_secure: bool = True
    schemeful: bool = True
    trusts_loopback: bool = True
    run: bool = True


CHROMIUM = Browser(
    "Chromium",
    ThirdParty.SENT,
    "https://privacysandbox.google.com/cookies",
)
CHROMIUM_BLOCKING = Browser(
    "Chromium without third-party cookies",
    ThirdParty.BLOCKED,
    "https://privacysandbox.google.com/cookies/chips",
)
FIREFOX = Browser(
    "Firefox",
    ThirdParty.PARTITIONED,
    "https://support.mozilla.org/kb/introducing-total-cookie-protection-standard-mode",
    lax_by_default=False,
    schemeful=False,
)
SAFARI = Browser(
    "Safari",
    ThirdParty.BLOCKED,
    "https://webkit.org/blog/10218/full-third-party-cookie-blocking-and-more/",
    lax_by_default=False,
    none_needs_secure=False,
    schemeful=False,
    trusts_loopback=False,
    run=False,
)
BROWSERS = (CHROMIUM, CHROMIUM_BLOCKING, FIREFOX, SAFARI)
