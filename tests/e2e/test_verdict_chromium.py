"""The verdict, exchange by exchange, against what a real Chromium does with the same bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from playwright.sync_api import CDPSession, Page

from rollout.doctor.failed_requests import FailedRequests
from rollout.verdict import (
    Exchange,
    Reason,
    Request,
    Response,
    Verdict,
    judge,
    needs_preflight,
    preflight_headers,
)
from tests.e2e.conftest import chromium
from tests.support.exchanges import Case, Maker, Stage, page_answer, servers

pytestmark = [pytest.mark.browser]

SAMPLE, SOAK, BATCH = 150, 1500, 50
FETCH = """cases => Promise.all(cases.map(async ({url, options}) => {
  try {
    const answer = await fetch(url, {...options, signal: AbortSignal.timeout(10000)});
    return {status: answer.status, readable: [...answer.headers.keys()]};
  } catch (problem) { return {problem: String(problem)}; }
}))"""
NOTHING = Response(200, (("Content-Length", "0"),))
# Where Chromium has no CORS name for it: its network error's, or why DevTools calls it blocked.
OTHER_NAMES = {
    "net::ERR_UNSAFE_PORT": Reason.unsafe_port,
    "net::ERR_TOO_MANY_REDIRECTS": Reason.too_many_redirects,
    "net::ERR_UNSAFE_REDIRECT": Reason.CorsDisabledScheme,
    "net::ERR_FAILED": Reason.redirect_refused,
    "origin": Reason.url_with_password,
}


class Watch(FailedRequests):
    """What DevTools report of requests that failed, and of those that were never made."""

    def listen(self, session: CDPSession) -> None:
        super().listen(session)
        session.on("Audits.issueAdded", self._issue)
        session.send("Audits.enable")

    def _issue(self, event: dict[str, Any]) -> None:
        # A policy stops a request before there is one to report on.
        policy = event["issue"]["details"].get("contentSecurityPolicyIssueDetails", {})
        if policy.get("blockedURL"):
            self.reasons[policy["blockedURL"]] = Reason.csp

    def pop(self, url: str) -> str:
        """The reason as the verdict names it, once."""
        reason = self.reasons.pop(url, "")
        return OTHER_NAMES.get(reason, reason)


def run(page: Page, watch: Watch, cases: list[Case]) -> list[tuple[Any, str]]:
    """What each fetch() gave, and Chromium's reason where it gave nothing."""
    got = page.evaluate(FETCH, [case.script for case in cases])
    failed = {place: cases[place].request.url for place, one in enumerate(got) if "problem" in one}
    deadline = time.monotonic() + 20
    while any(url not in watch.reasons for url in failed.values()) and time.monotonic() < deadline:
        page.evaluate("0")  # lets DevTools' events arrive
    reasons = {place: watch.pop(url) for place, url in failed.items()}
    return [(one, reasons.get(place, "")) for place, one in enumerate(got)]


def expected(verdict: Verdict) -> Any:
    return (
        {"status": verdict.status, "readable": list(verdict.readable_headers)}
        if verdict.allowed
        else None
    )


def difference(stage: Stage, number: int, got: Any, reason: str) -> str | None:
    """One line if the verdict is not Chromium's."""
    case = stage.cases[number]
    verdict = judge(case.request, case.exchanges)
    browser = None if "problem" in got else got
    if browser != expected(verdict) or (not verdict.allowed and reason != verdict.reason):
        return (
            f"#{number}: Chromium {browser or reason}, verdict"
            f" {expected(verdict) or verdict.reason}, {case}"
        )
    return difference_in_asking(stage, number)


def difference_in_asking(stage: Stage, number: int) -> str | None:
    """A preflight is sent for the same requests, and says the same."""
    request = stage.cases[number].request
    asked = [seen for seen in stage.seen[number, 0] if "access-control-request-method" in seen]
    should = bool(needs_preflight(request)) and not request.url.startswith(request.page + "/")
    wanted = {name.lower(): value for name, value in preflight_headers(request)} if should else {}
    names = ("origin", "access-control-request-method", "access-control-request-headers")
    said = {name: asked[0][name] for name in names if name in asked[0]} if asked else {}
    return (
        None if said == wanted else f"#{number}: Chromium asks {said}, verdict {wanted}, {request}"
    )


@contextmanager
def open_page(stage: Stage) -> Iterator[tuple[list[str], Page, Watch]]:
    stage.pages["/"] = page_answer()
    with servers(stage, 3) as origins, chromium() as browser:
        page = browser.new_page()
        watch = Watch()
        watch.listen(page.context.new_cdp_session(page))
        page.goto(origins[0] + "/")
        yield origins, page, watch


def agree(count: int) -> None:
    seed = int(os.environ.get("ORIGIN_KIT_SEED") or Random().randrange(10**9))
    print(f"ORIGIN_KIT_SEED={seed}")
    stage = Stage()
    with open_page(stage) as (origins, page, watch):
        maker = Maker(Random(seed), *origins)
        stage.cases |= {number: maker.case(number) for number in range(count)}
        differences = []
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            for number, (got, reason) in zip(
                numbers, run(page, watch, [stage.cases[number] for number in numbers]), strict=True
            ):
                differences += [line for line in [difference(stage, number, got, reason)] if line]
    assert not differences, f"{len(differences)} of {count}, seed {seed}:\n" + "\n".join(
        differences
    )


def test_the_verdict_is_chromiums_for_a_sample_of_exchanges() -> None:
    """Allowed or not, why, what is readable, and what a preflight says."""
    agree(SAMPLE)


@pytest.mark.soak
def test_a_preflight_that_failed_is_not_taken_for_the_request() -> None:
    """Chromium reports both, the preflight first and without a CORS error: one request at a time,
    and again and again, because the two reports race with the page's own answer."""
    stage = Stage()
    with open_page(stage) as (origins, page, watch):
        for number in range(30):
            request = Request(origins[0], f"{origins[1]}/case/{number}/0", "PUT")
            preflight = Response(301, (("Location", "/elsewhere"), ("Content-Length", "0")))
            stage.cases[number] = Case(request, (Exchange(NOTHING, preflight),), None)
            ((_, reason),) = run(page, watch, [stage.cases[number]])
            assert reason == Reason.PreflightDisallowedRedirect, number


@pytest.mark.soak
def test_the_verdict_is_chromiums_for_many_exchanges() -> None:
    """The same, longer."""
    agree(SOAK)
