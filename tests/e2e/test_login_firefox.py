"""Can this page log in and write? The verdict, row by row, against Debian's Firefox in front of a
real Django."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from marionette_driver.marionette import Marionette

from rollout.verdict.login import FIREFOX, Cause
from tests.support.logins import SCRIPT, SETTINGS, Servers, cases, differences, serving

pytestmark = [pytest.mark.firefox, pytest.mark.soak]

# Names and ports lead to loopback; what decides about cookies stays as Firefox is delivered.
COOKIE_PREFERENCES = {
    "network.cookie.cookieBehavior": 5,  # Total Cookie Protection
    "network.cookie.sameSite.laxByDefault": False,
    "network.cookie.sameSite.noneRequiresSecure": True,
    "network.cookie.sameSite.schemeful": False,
}


@contextmanager
def firefox(servers: Servers, folder: Path) -> Iterator[Any]:
    """Debian's Firefox with a new profile."""
    ports = {80: servers.http, 8080: servers.http, 443: servers.https, 8443: servers.https}
    preferences = {
        "network.dns.forceResolve": "127.0.0.1",
        "network.socket.forcePort": ";".join(f"{port}={here}" for port, here in ports.items()),
    }
    browser = Marionette(
        bin="/usr/bin/firefox-esr",
        headless=True,
        prefs=preferences,
        workspace=str(folder),
        gecko_log=str(folder / "gecko.log"),
    )
    try:
        browser.start_session({"acceptInsecureCerts": True, "pageLoadStrategy": "eager"})
        browser.timeout.script = 60
        yield browser
    finally:
        browser.cleanup()


def test_the_verdict_is_firefoxs_for_every_pair_and_setting(tmp_path: Path) -> None:
    """Session, token and write; the preferences that the verdict is written for are its own."""
    rows = cases(len(SETTINGS))
    lines: list[str] = []
    causes = set()
    with serving(rows, tmp_path) as servers, firefox(servers, tmp_path) as browser:
        found = {name: browser.get_pref(name) for name in COOKIE_PREFERENCES}
        assert found == COOKIE_PREFERENCES
        for row in rows:
            browser.navigate(f"{row.pair.page}/")
            ask = f"const [row, done] = arguments; ({SCRIPT})(row).then(done);"
            got = browser.execute_async_script(ask, [row.script], sandbox=None)
            login = row.verdict(FIREFOX)
            lines += differences(row, login, got)
            hurdles = (login.session, login.token, login.write)
            causes |= {hurdle.cause for hurdle in hurdles if hurdle}
    assert not lines, f"{len(lines)} of {len(rows)} rows:\n" + "\n".join(lines)
    assert {Cause.SAME_SITE, Cause.HOST_ONLY, Cause.ORIGIN_NOT_TRUSTED} <= causes
