"""Can this page log in and write? The verdict, row by row, against a real Chromium in front of a
real Django."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Playwright, sync_playwright

from rollout.doctor.browser import FLAGS
from rollout.verdict.login import CHROMIUM, CHROMIUM_BLOCKING, Browser, Cause, Hurdle
from tests.support.chromium import STEADY
from tests.support.logins import SCRIPT, SETTINGS, Case, cases, differences, serving
from tests.support.sampling import sampled

pytestmark = [pytest.mark.browser]

SAMPLE_ROUNDS = 3  # 24 pairs each
BROWSERS = {"default": CHROMIUM, "third-party-blocked": CHROMIUM_BLOCKING}
# components/content_settings/core/browser/cookie_settings.h: block all third-party cookies, or only
# those of private windows, which is the default that Chromium is built with. Debian's package
# blocks them by default.
CONTROLS_MODE = {CHROMIUM: 2, CHROMIUM_BLOCKING: 1}
# What DevTools calls why a cookie was not stored or not sent. Of one that is Partitioned, and not
# Secure or not over https, it says nothing.
_LAX = {
    f"{schemeful}SameSite{rule}"
    for schemeful in ("", "Schemeful")
    for rule in ("Lax", "Strict", "UnspecifiedTreatedAsLax")
}
REASONS = {
    Cause.SECURE_OVER_HTTP: {"SecureOnly"},
    Cause.PREFIX_OVER_HTTP: {"InvalidPrefix"},
    Cause.BROKEN_PREFIX: {"InvalidPrefix"},
    Cause.FOREIGN_DOMAIN: {"InvalidDomain"},
    Cause.NONE_WITHOUT_SECURE: {"SameSiteNoneInsecure"},
    Cause.SAME_SITE: _LAX,
    Cause.SITES_OVER_HTTP: _LAX,
    Cause.THIRD_PARTY: {"UserPreferences", "ThirdPartyPhaseout"},
    Cause.OTHER_PATH: {"NotOnPath"},
}


@dataclass
class Watch:
    """Why Chromium does not store or send cookies, by their names."""

    reasons: dict[str, set[str]] = field(default_factory=dict)

    def listen(self, context: BrowserContext) -> None:
        page = context.pages[0]
        session = context.new_cdp_session(page)
        session.on("Network.responseReceivedExtraInfo", self._received)
        session.on("Network.requestWillBeSentExtraInfo", self._sent)
        session.send("Network.enable")

    def _received(self, event: dict[str, Any]) -> None:
        for blocked in event["blockedCookies"]:
            name = blocked["cookieLine"].partition("=")[0]
            self.reasons.setdefault(name, set()).update(blocked["blockedReasons"])

    def _sent(self, event: dict[str, Any]) -> None:
        for cookie in event["associatedCookies"]:
            name = cookie["cookie"]["name"]
            self.reasons.setdefault(name, set()).update(cookie["blockedReasons"])


@contextmanager
def chromium(
    playwright: Playwright, browser: Browser, rules: Sequence[str], profile: Path
) -> Iterator[BrowserContext]:
    """Chromium with a profile on disk: what is off the record blocks third-party cookies always."""
    preferences = profile / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    preferences.write_text(
        json.dumps({"profile": {"cookie_controls_mode": CONTROLS_MODE[browser]}})
    )
    mapped = f"--host-resolver-rules={', '.join(rules)}"
    context = playwright.chromium.launch_persistent_context(
        profile,
        executable_path=STEADY,
        args=[*FLAGS, mapped, "--ignore-certificate-errors"],
    )
    try:
        yield context
    finally:
        context.close()


def asked(context: BrowserContext, watch: Watch, row: Case) -> dict[str, Any]:
    """What the row's page gets."""
    page = context.pages[0]
    context.clear_cookies()
    watch.reasons.clear()
    page.goto(f"{row.pair.page}/", wait_until="commit")
    got: dict[str, Any] = page.evaluate(SCRIPT, row.script)
    return got


def other_reason(context: BrowserContext, watch: Watch, row: Case, hurdle: Hurdle) -> list[str]:
    """A line if Chromium has another reason for what it does with a cookie."""
    wanted = REASONS.get(hurdle.cause, set())
    if row.django.get("PARTITIONED") and hurdle.cause is Cause.SECURE_OVER_HTTP:
        wanted = set()
    deadline = time.monotonic() + 10
    while wanted and hurdle.what not in watch.reasons and time.monotonic() < deadline:
        context.pages[0].evaluate("0")  # lets DevTools' events arrive
    found = watch.reasons.get(hurdle.what, set())
    if not wanted or wanted & found:
        return []
    return [f"{row}: Chromium says {sorted(found)}, the verdict {hurdle.sentence}"]


def compare(rows: Sequence[Case], browser: Browser, folder: Path) -> Counter[str]:
    """How often each cause is in the way of a session, a token or a write. Asserts that Chromium
    agrees on every row."""
    lines: list[str] = []
    causes: Counter[str] = Counter()
    watch = Watch()
    with (
        serving(rows, folder) as servers,
        sync_playwright() as playwright,
        chromium(playwright, browser, servers.rules(), folder / "profile") as context,
    ):
        watch.listen(context)
        for row in rows:
            login = row.verdict(browser)
            lines += differences(row, login, asked(context, watch, row))
            # Where the user's setting blocks a cookie, Chromium looks at nothing else.
            if login.session and browser is CHROMIUM:
                lines += other_reason(context, watch, row, login.session)
            causes.update(
                str(hurdle.cause if hurdle else "works")
                for hurdle in (login.session, login.token, login.write)
            )
    assert not lines, f"{len(lines)} of {len(rows)} rows:\n" + "\n".join(lines)
    return causes


@pytest.mark.parametrize("setting", sampled(BROWSERS, ["default"]))
def test_the_verdict_is_chromiums_for_a_sample(setting: str, tmp_path: Path) -> None:
    """Session, token and write, and why a cookie is lost."""
    causes = compare(cases(SAMPLE_ROUNDS), BROWSERS[setting], tmp_path)
    assert causes["works"] > 30 and len(causes) > 12, causes


@pytest.mark.soak
@pytest.mark.parametrize("setting", BROWSERS)
def test_the_verdict_is_chromiums_for_every_pair_and_setting(setting: str, tmp_path: Path) -> None:
    """The whole product, in which every cause is in the way of something."""
    causes = compare(cases(len(SETTINGS)), BROWSERS[setting], tmp_path)
    # No row is drawn so that one of these comes first; tests/test_verdict_login.py has them.
    never = {Cause.ORIGIN_NOT_LISTED, Cause.HIDDEN_BY_PATH, Cause.HIDDEN_FROM_HTTP}
    if setting == "default":
        never.add(Cause.THIRD_PARTY)
    assert set(causes) == {str(cause) for cause in Cause if cause not in never} | {"works"}
