"""Pages in a real Chromium that poll an API all the while."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import BrowserContext, Page, Request, Response, sync_playwright

from infra.core.contract import Contract
from rollout.doctor.browser import FLAGS
from tests.support.chromium import STEADY
from tests.support.folders import write_files
from tests.support.kit import Kit, unwrapped
from tests.support.trust import PREFERENCES, trust

# What a page does that is open: it asks its config.json where the API is, and calls that. With
# `follows` it goes where config.json says that the page is now.
POLLS = """
(async () => {
  for (;;) {
    let api = "", said, config = {};
    try {
      config = await (await fetch("/config.json", {cache: "no-store"})).json();
      api = config.backend;
      const answer = await fetch(`${api}/api/products/`, {cache: "no-store"});
      await answer.json();
      said = String(answer.status);
    } catch (problem) {
      said = String(problem);
    }
    await window.noted({origin: location.origin, api, said});
    if (config.moved_to && FOLLOWS) return location.replace(config.moved_to + "/");
    await new Promise((done) => setTimeout(done, 150));
  }
})();
"""


@dataclass
class Visitors:
    """Pages in one browser, and every answer that they have had."""

    context: BrowserContext
    polls: list[dict[str, str]] = field(default_factory=list)
    # Why requests failed, but for those that a page gave up as it left.
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.on("requestfailed", self.note_failure)

    def note_failure(self, request: Request) -> None:
        """Keep what the browser says of a request."""
        if request.failure != "net::ERR_ABORTED":
            self.failures.append(str(request.failure))

    def opens(self, url: str, follows: bool) -> Page:
        """A page that polls from now on; it has had an answer."""
        page = self.context.new_page()
        page.expose_function("noted", self.note)
        if not follows:  # nor does its own script, which asks every 15 seconds
            page.add_init_script("window.setInterval = () => 0")
        page.add_init_script(POLLS.replace("FOLLOWS", json.dumps(follows)))
        self.goes_to(page, url)
        self.wait_for_a_poll(page)
        return page

    def note(self, poll: dict[str, str]) -> None:
        """Keep what a page reports."""
        self.polls.append(poll)

    def wait_for_a_poll(self, page: Page) -> None:
        """One that begins from now on."""
        count = len(self.polls)
        for _ in range(200):
            if len(self.polls) > count + 1:
                return
            page.wait_for_timeout(50)  # answers arrive while Playwright runs
        raise AssertionError("the page does not poll")

    def until_it_ends(self, page: Page, process: subprocess.Popen[str]) -> str:
        """The output of a verb, which succeeds, while the pages go on."""
        while process.poll() is None:
            page.wait_for_timeout(100)
        out, err = process.communicate()
        assert process.returncode == 0, f"{out}\n{err}"
        return unwrapped(out)

    def goes_to(self, page: Page, url: str) -> Response:
        """Open it."""
        answer = page.goto(url)
        assert answer is not None
        return answer

    @property
    def wrong(self) -> list[str]:
        """What a page of the environment could not read, and why."""
        return [*(str(poll) for poll in self.polls if poll["said"] != "200"), *self.failures]

    def origins(self) -> list[str]:
        """Where pages have polled, each once, in the order of their first answer."""
        return list(dict.fromkeys(poll["origin"] for poll in self.polls))


@contextmanager
def visitors(kit: Kit, contracts: Sequence[Contract], *roots: Path) -> Iterator[Visitors]:
    """A browser that knows the names of these contracts and trusts these CAs (PEM files). It keeps
    third-party cookies, which a page at a bare address needs."""
    rules = [
        f"MAP {role.parsed_origin.hostname} {role.hosts[0].address}"
        for contract in contracts
        for role in (contract.frontend, contract.backend)
    ]
    with TemporaryDirectory(dir=kit.home.parent) as folder, sync_playwright() as playwright:
        home = Path(folder)
        trust(home, *roots)
        write_files(home, {"profile/Default/Preferences": PREFERENCES})
        context = playwright.chromium.launch_persistent_context(
            home / "profile",
            executable_path=STEADY,
            args=[*FLAGS, f"--host-resolver-rules={', '.join(rules)}"],
            env={**os.environ, "HOME": str(home)},
        )
        try:
            yield Visitors(context)
        finally:
            context.close()
