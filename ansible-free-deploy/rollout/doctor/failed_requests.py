"""Why a request of a page failed, as Chromium's DevTools report it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_PREFLIGHT = "Preflight"


@dataclass
class FailedRequests:
    """Chromium's reasons, by the URL that the page asked for.

    Events and their fields: https://chromedevtools.github.io/devtools-protocol/tot/Network/
    """

    reasons: dict[str, str] = field(default_factory=dict)
    _urls: dict[str, str] = field(default_factory=dict)  # by DevTools' id of the request

    def listen(self, session: Any) -> None:
        """From now on, in a CDP session of the page."""
        session.on("Network.requestWillBeSent", self._sent)
        session.on("Network.loadingFailed", self._failed)
        session.send("Network.enable")

    def _sent(self, event: dict[str, Any]) -> None:
        # A redirect is another event of the same request, with the URL that it leads to.
        self._urls.setdefault(event["requestId"], event["request"]["url"])

    def _failed(self, event: dict[str, Any]) -> None:
        # A preflight is a request of its own to the same URL. It fails before the page's request
        # does, and without the CORS error: services/network/cors/preflight_controller.cc
        url = self._urls.get(event["requestId"])
        if event["type"] == _PREFLIGHT or url is None:
            return
        cors_error = event.get("corsErrorStatus", {}).get("corsError")
        reason = cors_error or event.get("blockedReason") or event["errorText"]
        self.reasons.setdefault(url, str(reason))
