"""A move to other origins on a real pair, with pages in a real Chromium that poll the API all the
while; and a move that is killed at each step."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Request, Response, sync_playwright
from playwright.sync_api import Error as NetworkError

from infra.core.contract import Contract
from rollout.certificates import local_ca
from rollout.doctor.browser import FLAGS, NETWORK_CHANGED
from tests.e2e.conftest import PASSWORD
from tests.e2e.test_browser import call, log_in
from tests.support.kit import ROOT, Kit, Stack, manage, unwrapped
from tests.support.sampling import sampled

pytestmark = pytest.mark.machines

DOMAIN = "shop.test"
NAMED: dict[str, object] = {"domain": DOMAIN}
TARGETS: dict[str, dict[str, object]] = {
    "https and names": {**NAMED, "tls": "local-ca", "allow_credentials": True},
    "names": NAMED,
    "https": {"tls": "local-ca"},
}

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
    # Why requests failed, but for those that a page gave up as it left. Chromium gives all up when
    # a network interface of this machine comes or goes, which no page is to blame for.
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
        """Open it, again where an interface came or went."""
        for _ in range(5):
            with suppress(NetworkError):
                answer = page.goto(url)
                assert answer is not None
                return answer
            assert self.failures[-1] == NETWORK_CHANGED, self.failures
        raise AssertionError(f"{url} was not reached in a network that changes all the while")

    @property
    def wrong(self) -> list[dict[str, str]]:
        """Polls that a page of the environment could not read."""
        wrong = [poll for poll in self.polls if poll["said"] != "200"]
        changes = self.failures.count(NETWORK_CHANGED)
        if set(self.failures) <= {NETWORK_CHANGED} and len(wrong) <= changes:
            return []
        return [*wrong, {"failures": ", ".join(self.failures)}]

    def origins(self) -> list[str]:
        """Where pages have polled, each once, in the order of their first answer."""
        return list(dict.fromkeys(poll["origin"] for poll in self.polls))


@contextmanager
def visitors(kit: Kit, contract: Contract) -> Iterator[Visitors]:
    """A browser that knows the names of the pair, old and new, and trusts the kit's own CA."""
    rules = [
        f"MAP {label}.{DOMAIN} {role.hosts[0].address}"
        for label, role in (("app", contract.frontend), ("api", contract.backend))
    ]
    home = kit.home.with_name(f"{kit.home.name}-browser")
    trusts(kit, home)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[*FLAGS, f"--host-resolver-rules={', '.join(rules)}"],
            env={**os.environ, "HOME": str(home)},
        )
        try:
            yield Visitors(browser.new_context())
        finally:
            browser.close()


def trusts(kit: Kit, home: Path) -> None:
    """Chromium on Linux reads the roots of its user from this database."""
    database = home / ".pki/nssdb"
    if database.exists():
        shutil.rmtree(database)
    database.mkdir(parents=True)
    words = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*words, "-N", "--empty-password"], check=True)
    ca = kit.home / "tls/ca.pem"
    if ca.exists():
        subprocess.run([*words, "-A", "-t", "C,,", "-n", "kit", "-i", str(ca)], check=True)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack.of(Kit(tmp_path_factory.mktemp("moving") / "home")) as made:
        made.fab("up")
        add_user(made)
        yield made


@pytest.fixture
def at_addresses(pair: Stack) -> Iterator[Stack]:
    """The pair at two bare addresses over http; the next test finds it there as well."""
    yield pair
    pair.write()
    pair.fab("deploy")


def add_user(stack: Stack) -> None:
    host = stack.contract.backend.hosts[0]
    stack.kit.ssh(host, manage("shop", f"createdemo ada {PASSWORD}"))


# ----------------------------------------------------------------------------- with pages that poll


@pytest.mark.browser
@pytest.mark.parametrize("target", sampled(TARGETS, ["https and names"]))
def test_open_pages_see_no_error_while_the_environment_moves(
    at_addresses: Stack, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One page goes where its config.json sends it, another one stays at its origin; both poll
    through the whole move. When the one that stays is closed, the move ends."""
    stack = at_addresses
    old = stack.contract
    if "tls" in TARGETS[target]:  # a person has their browser trust it first
        monkeypatch.setenv("ORIGIN_KIT_HOME", str(stack.kit.home))
        local_ca.authority()
    with visitors(stack.kit, old) as seen:
        follower = seen.opens(f"{old.frontend.origin}/", follows=True)
        stayer = seen.opens(f"{old.frontend.origin}/", follows=False)
        stack.write(**TARGETS[target])
        new = stack.contract
        change = f"{old.frontend.origin} → {new.frontend.origin}"
        plan = unwrapped(stack.fab("plan").stdout)
        assert change in plan and "`fab move` answers both meanwhile" in plan

        said = seen.until_it_ends(stayer, stack.started("move", "--stay"))
        assert f"{new.frontend.origin} and {new.backend.origin} are answered, and so are" in said
        follower.wait_for_url(f"{new.frontend.origin}/")
        seen.wait_for_a_poll(stayer)
        assert stayer.url == f"{old.frontend.origin}/"
        comes_later(seen, old, new)
        says_so(stack, old, new)

        stayer.close()
        said = seen.until_it_ends(follower, stack.started("move", "--quiet", "2s"))
        assert f"moved to {new.frontend.origin} and {new.backend.origin}" in said
        seen.wait_for_a_poll(follower)
        assert seen.wrong == [], seen.wrong
        assert seen.origins() == [old.frontend.origin, new.frontend.origin]
        follower.close()
        works(seen, old, new)
    assert stack.fab("status").stdout.count("as the contract says") == 2
    assert "nothing to move" in stack.fab("move").stdout


def comes_later(seen: Visitors, old: Contract, new: Contract) -> None:
    """Who opens the old page now is led to the new one, by what no browser keeps."""
    page = seen.context.new_page()
    answer = seen.goes_to(page, f"{old.frontend.origin}/?a=b")
    assert answer.url == f"{new.frontend.origin}/?a=b"
    led = answer.request.redirected_from
    first = led.response() if led else None
    assert first is not None
    assert (first.status, first.headers["cache-control"]) == (307, "no-store")
    page.close()


def says_so(stack: Stack, old: Contract, new: Contract) -> None:
    """Every verb that looks names the move and what ends it."""
    line = f"a move to {new.frontend.origin} is under way"
    ends = "`fab move` finishes it, `fab move --undo` goes back"
    status = unwrapped(stack.fab("status", status=1).stdout)
    assert status.count(f"a move is under way: {ends}") == 2 and line in status
    plan = unwrapped(stack.fab("plan").stdout)
    assert line in plan and f"{old.frontend.origin}" in plan and "end it at once" in plan
    doctor = unwrapped(stack.fab("doctor", status=None).stdout)
    assert line in doctor and ends.replace("`", "") in doctor  # the report draws its commands


def works(seen: Visitors, old: Contract, new: Contract) -> None:
    """The page at its new origin logs in and writes; one at the old one is refused."""
    page = seen.context.new_page()
    seen.goes_to(page, f"{new.frontend.origin}/")
    page.wait_for_function("window.shop !== undefined")
    log_in(page)
    body = {"name": "Kettle", "price": "19.90", "stock": 2}
    made = call(page, "POST", "/api/products/", body=body)
    assert (made["kind"], made["status"]) == ("ok", 201)
    address = new.backend.hosts[0].address
    scheme = new.backend.parsed_origin.scheme
    refused = page.context.request.get(
        f"{scheme}://{address}/api/products/",
        headers={"Host": new.backend.parsed_origin.host, "Origin": old.frontend.origin},
        ignore_https_errors=True,
    )
    assert refused.status == 200 and "access-control-allow-origin" not in refused.headers


# ---------------------------------------------------------------------------------- and interrupted

# Lines of the output at which the operator is killed. Each deploy has one of a kind for each host.
MOMENTS = (
    ("answers at", 1),
    ("switches to generation", 1),
    ("asks for", 1),
    ("leads who opens", 1),
    ("switches to generation", 3),
    ("waits until no page", 1),
    ("leaves", 1),
    ("switches to generation", 5),
)


def killed_at(stack: Stack, text: str, number: int) -> None:
    """A move whose operator gets SIGKILL when this line appears for the n-th time."""
    process = stack.started("move", "--quiet", "1s", alone=True)
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += text in line
        if seen == number:
            break
    assert seen == number, f"{text} was seen {seen} times"
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.soak
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_move_that_was_killed_is_run_again(at_addresses: Stack, moment: tuple[str, int]) -> None:
    """It goes on from what the hosts hold, and ends where it would have ended."""
    stack = at_addresses
    stack.write(**NAMED)
    killed_at(stack, *moment)
    said = unwrapped(stack.fab("move", "--quiet", "1s").stdout)
    assert "moved to http://app.shop.test" in said or "nothing to move" in said
    assert stack.fab("status").stdout.count("as the contract says") == 2


@pytest.mark.soak
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_move_that_was_killed_is_undone(at_addresses: Stack, moment: tuple[str, int]) -> None:
    """All hosts are back at what they held before, unless the last deploy had ended already, or the
    first had not begun."""
    stack = at_addresses
    before = generations(stack)
    stack.write(**NAMED)
    killed_at(stack, *moment)
    done = stack.fab("move", "--undo", status=None)
    if "no move is under way" in done.stderr:
        assert moment in (MOMENTS[0], MOMENTS[1], *MOMENTS[-2:])
        return
    assert done.returncode == 0, done.stderr
    assert generations(stack) == before
    stack.write()
    assert stack.fab("status").stdout.count("as the contract says") == 2


@pytest.mark.soak
@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_move_goes_on_after_a_host_lost_power(at_addresses: Stack, number: int) -> None:
    """In the middle of each of the three deploys: the move ends with an error, and the next one
    goes on."""
    stack = at_addresses
    stack.write(**NAMED)
    process = stack.started("move", "--quiet", "1s")
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += "switches to generation" in line
        if seen == number:
            break
    for pid in stack.kit.pids("backend-1"):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode != 0
    engine = [sys.executable, "-m", "infra.local.engine", "up", "--stack", stack.name]
    subprocess.run(engine, cwd=ROOT, env=stack.kit.environment, check=True, capture_output=True)
    assert "moved to" in stack.fab("move", "--quiet", "1s").stdout
    assert stack.fab("status").stdout.count("as the contract says") == 2


def generations(stack: Stack) -> dict[str, str]:
    """What each host holds."""
    held = json.loads(stack.fab("status", "--json", status=None).stdout)
    return {name: answer["generation"] for name, answer in held.items()}


@pytest.mark.soak
def test_a_plain_deploy_says_which_pages_it_refuses(at_addresses: Stack) -> None:
    """Before it refuses them; and `fab move` would have avoided it."""
    stack = at_addresses
    old = stack.contract.frontend.origin
    stack.write(**NAMED)
    said = unwrapped(stack.fab("deploy").stdout)
    assert f"pages that are open at {old} will be refused: `fab move` would answer both" in said
