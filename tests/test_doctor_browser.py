"""What counts as Chromium's outcome: the page's own request, on a network that does not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rollout.doctor import browser
from rollout.doctor.browser import NETWORK_CHANGED, Outcome
from rollout.doctor.failed_requests import FailedRequests

KEY = ("http://a.org", "GET /")
GOOD, CUT = {KEY: Outcome(True, "200")}, {KEY: Outcome(False, NETWORK_CHANGED)}


@pytest.mark.parametrize(
    ("answers", "word"),
    [((GOOD,), "200"), ((CUT, CUT, GOOD), "200"), ((CUT,) * 9, NETWORK_CHANGED)],
)
def test_a_row_is_asked_again_when_the_network_changed(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[Any, ...], word: str
) -> None:
    """A network change says nothing of the backend. One that never ends is reported at last."""
    left: Iterator[Any] = iter(answers)
    monkeypatch.setattr(browser, "_row", lambda *_: next(left))
    found = browser._row_of_a_quiet_network(None, None, "http://a.org")  # type: ignore[arg-type]
    assert found[KEY].word == word


class Session:
    """Chromium's side of DevTools: it reports the events that it is given."""

    def __init__(self) -> None:
        self.listeners: dict[str, Callable[[Any], None]] = {}

    def on(self, name: str, listener: Callable[[Any], None]) -> None:
        self.listeners[name] = listener

    def send(self, command: str) -> None:
        assert command == "Network.enable"

    def sends(self, number: str, url: str, kind: str = "Fetch") -> None:
        event = {"requestId": number, "request": {"url": url}, "type": kind}
        self.listeners["Network.requestWillBeSent"](event)

    def fails(self, number: str, kind: str = "Fetch", **why: Any) -> None:
        event = {"requestId": number, "type": kind, "errorText": "net::ERR_FAILED", **why}
        self.listeners["Network.loadingFailed"](event)


URL = "http://b.org/api/?q=1&0"


def test_a_preflights_own_failure_is_not_the_requests() -> None:
    """As Chromium 156 reports a preflight that is redirected: its own request has another id, the
    same URL, the type "Other" when it is sent, and it fails first with a network error."""
    session, failed = Session(), FailedRequests()
    failed.listen(session)
    session.sends("preflight", URL, "Other")
    session.sends("1", URL)
    session.fails("preflight", "Preflight", errorText="net::ERR_INVALID_REDIRECT")
    assert failed.reasons == {}
    session.fails("1", corsErrorStatus={"corsError": "PreflightDisallowedRedirect"})
    assert failed.reasons == {URL: "PreflightDisallowedRedirect"}


def test_a_redirected_request_fails_under_the_url_that_was_asked_for() -> None:
    """Each hop is another event of one request; the page knows only the first URL."""
    session, failed = Session(), FailedRequests()
    failed.listen(session)
    session.sends("1", URL)
    session.sends("1", "http://b.org/login/?next=/api/")
    session.fails("1", corsErrorStatus={"corsError": "MissingAllowOriginHeader"})
    assert failed.reasons == {URL: "MissingAllowOriginHeader"}


def test_chromiums_word_is_what_it_names_first_hand() -> None:
    """A CORS error, else why DevTools call the request blocked, else the network's error."""
    session, failed = Session(), FailedRequests()
    failed.listen(session)
    for number, why in enumerate([{"blockedReason": "mixed-content"}, {}]):
        session.sends(str(number), f"{URL}{number}")
        session.fails(str(number), **why)
    session.fails("of another page", errorText="net::ERR_ABORTED")
    assert failed.reasons == {f"{URL}0": "mixed-content", f"{URL}1": "net::ERR_FAILED"}
