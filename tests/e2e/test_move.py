"""A move to other origins on a real pair, with pages in a real Chromium that poll the API all the
while; and a move that is killed at each step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from infra.core import exits
from infra.core.contract import Contract
from rollout.certificates import local_ca
from tests.e2e.conftest import PASSWORD
from tests.e2e.test_browser import call, log_in
from tests.support.clients import root_of
from tests.support.kit import ROOT, Kit, Stack, manage, unwrapped
from tests.support.sampling import sampled
from tests.support.visitors import Visitors, visitors

pytestmark = pytest.mark.machines

Config = Mapping[str, object]
AT_ADDRESSES: Config = {}
NAMED: Config = {"domain": "shop.test"}
HTTPS: Config = {"tls": "local-ca", "allow_credentials": True}
# Name → the config before the move, and after it.
MOVES: dict[str, tuple[Config, Config]] = {
    "addresses to https and names": (AT_ADDRESSES, {**NAMED, **HTTPS}),
    "addresses to names": (AT_ADDRESSES, NAMED),
    "http to https, at addresses": (AT_ADDRESSES, HTTPS),
    "http to https, at names": (NAMED, {**NAMED, **HTTPS}),
    "https addresses to names": (HTTPS, {**NAMED, **HTTPS}),
    "one name to another": ({**NAMED, **HTTPS}, {"domain": "store.test", **HTTPS}),
}


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
    pair.fab("deploy", *PATIENTLY)


def add_user(stack: Stack) -> None:
    host = stack.contract.backend.hosts[0]
    stack.kit.ssh(host, manage("shop", f"createdemo ada {PASSWORD}"))


# ----------------------------------------------------------------------------- with pages that poll


@pytest.mark.browser
@pytest.mark.parametrize("name", sampled(MOVES, ["addresses to https and names"]))
def test_open_pages_see_no_error_while_the_environment_moves(
    at_addresses: Stack, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one config to the other, in a browser that trusts the user's own CA."""
    before, after = MOVES[name]
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(at_addresses.kit.home))
    local_ca.authority()  # a person has their browser trust it first
    moves_with_open_pages(at_addresses, before, after, root_of(at_addresses.kit))
    assert at_addresses.fab("status").stdout.count("as the contract says") == 2
    assert "nothing to move" in at_addresses.fab("move").stdout


def moves_with_open_pages(
    stack: Stack,
    before: Config,
    after: Config,
    root: Path,
    meanwhile: Callable[[], object] = bool,
) -> None:
    """One page goes where its config.json sends it, another one stays at its origin; both poll
    through the whole move. When the one that stays is closed, the move ends.

    `root` is a CA that the browser trusts; `meanwhile` is called when both origins are answered.
    """
    stack.write(**before)
    if before:
        stack.fab("deploy")
    old = stack.contract
    stack.write(**after)
    new = stack.contract
    with visitors(stack.kit, [old, new], root) as seen:
        follower = seen.opens(f"{old.frontend.origin}/", follows=True)
        stayer = seen.opens(f"{old.frontend.origin}/", follows=False)
        change = f"{old.frontend.origin} → {new.frontend.origin}"
        plan = unwrapped(stack.fab("plan").stdout)
        assert change in plan and "`fab move` answers both meanwhile" in plan

        said = seen.until_it_ends(stayer, stack.started("move", "--stay"))
        assert f"{new.frontend.origin} and {new.backend.origin} are answered, and so are" in said
        assert "plain http first" not in said
        follower.wait_for_url(f"{new.frontend.origin}/")
        seen.wait_for_a_poll(stayer)
        assert stayer.url == f"{old.frontend.origin}/"
        comes_later(seen, old, new)
        says_so(stack, old, new)
        meanwhile()

        stayer.close()
        said = seen.until_it_ends(follower, stack.started("move", "--quiet", "2s"))
        assert f"moved to {new.frontend.origin} and {new.backend.origin}" in said
        seen.wait_for_a_poll(follower)
        assert seen.wrong == [], seen.wrong
        assert seen.origins() == [old.frontend.origin, new.frontend.origin]
        follower.close()
        works(seen, old, new)


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
TARGET = MOVES["addresses to https and names"][1]
# What works on a host without its operator ends 30 s after the step under way.
PATIENTLY = ("--wait", "4m")
MOVED = "moved to https://app.shop.test and https://api.shop.test"


def wait_for(process: subprocess.Popen[str], text: str, number: int) -> None:
    """Read on until this text has appeared in `number` lines."""
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += text in line
        if seen == number:
            return
    raise AssertionError(f"{text} was seen {seen} times")


def killed_at(stack: Stack, text: str, number: int) -> None:
    """A move whose operator gets SIGKILL when this line appears for the n-th time."""
    process = stack.started("move", "--quiet", "1s", alone=True)
    wait_for(process, text, number)
    killed(process)


def killed(process: subprocess.Popen[str]) -> None:
    """The operator gets SIGKILL, and so does what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def unplugged(stack: Stack, process: subprocess.Popen[str], host: str) -> None:
    """A machine loses power, and starts again when the operator has given up, in words."""
    for pid in stack.kit.pids(host):
        os.kill(pid, signal.SIGKILL)
    said = process.communicate()[1]
    engine = [sys.executable, "-m", "infra.local.engine", "up", "--stack", stack.name]
    subprocess.run(engine, cwd=ROOT, env=stack.kit.environment, check=True, capture_output=True)
    assert process.returncode in (exits.WRONG, exits.UNREACHABLE), said
    assert "Traceback" not in said, said


def goes_on(stack: Stack) -> None:
    """The next move ends where the interrupted one would have ended."""
    said = unwrapped(stack.fab("move", "--quiet", "1s", *PATIENTLY).stdout)
    assert MOVED in said or "nothing to move" in said
    assert stack.fab("status").stdout.count("as the contract says") == 2


def goes_back(stack: Stack, before: dict[str, str]) -> bool:
    """Whether there was a move to undo: all hosts are back at what they held before then."""
    done = stack.fab("move", "--undo", *PATIENTLY, status=None)
    if "no move is under way" in done.stderr:
        return False
    assert done.returncode == 0, done.stderr
    assert generations(stack) == before
    stack.write()
    assert stack.fab("status").stdout.count("as the contract says") == 2
    return True


@pytest.mark.soak
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_move_that_was_killed_is_run_again(at_addresses: Stack, moment: tuple[str, int]) -> None:
    """It goes on from what the hosts hold, and ends where it would have ended."""
    at_addresses.write(**TARGET)
    killed_at(at_addresses, *moment)
    goes_on(at_addresses)


@pytest.mark.soak
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_move_that_was_killed_is_undone(at_addresses: Stack, moment: tuple[str, int]) -> None:
    """All hosts are back at what they held before, unless the last deploy had ended already, or the
    first had not begun."""
    before = generations(at_addresses)
    at_addresses.write(**TARGET)
    killed_at(at_addresses, *moment)
    if not goes_back(at_addresses, before):
        assert moment in (MOMENTS[0], MOMENTS[1], *MOMENTS[-2:])


@pytest.mark.soak
@pytest.mark.parametrize("is_undone", [False, True], ids=["again", "undone"])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6])
def test_a_move_outlives_a_host_that_loses_power(
    at_addresses: Stack, number: int, is_undone: bool
) -> None:
    """In the middle of each of the three deploys, either host: the move ends with an error, and the
    next one goes on, or back."""
    stack = at_addresses
    before = generations(stack)
    stack.write(**TARGET)
    process = stack.started("move", "--quiet", "1s")
    wait_for(process, "switches to generation", number)
    unplugged(stack, process, "backend-1" if number % 2 else "frontend-1")
    if is_undone and goes_back(stack, before):
        return
    assert not is_undone or number in (1, 2, 5, 6)
    goes_on(stack)


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
