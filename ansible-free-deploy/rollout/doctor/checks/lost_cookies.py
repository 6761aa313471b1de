"""Cookies that the API sets and browsers drop, since it is reached by plain http. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rollout.doctor import login
from rollout.doctor.codes import Code
from rollout.doctor.observations import Observations
from rollout.finding import Finding
from rollout.verdict.login import without_prefix


def lost_cookies(observed: Observations) -> Iterator[Finding]:
    """One finding for each cookie, however many answers set it."""
    if not observed.contract.backend.origin.startswith("http:"):
        return
    for name, cookie in login.real_cookies(observed).items():
        plain = without_prefix(name)
        if plain is not None:
            yield Finding(
                f"the API sets the cookie {name!r} over plain http, and browsers drop it: a cookie"
                " of that name needs https, so a log-in answers 403",
                cure=f"name it {plain!r} on plain http",
                code=Code.COOKIE_NEEDS_HTTPS,
                anchor="login.md#prefix-over-http",
            )
        elif cookie.secure:
            yield Finding(
                f"the API sets the cookie {name!r}, and it is marked Secure: over plain http"
                " browsers drop it",
                cure="set it without Secure on plain http",
                code=Code.COOKIE_NEEDS_HTTPS,
                anchor="login.md#secure-over-http",
                warning=True,
            )
