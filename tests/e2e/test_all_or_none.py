"""A deploy that changes both hosts, and an operator who leaves in the middle of it: both end on one
side."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_bad_days import ended
from tests.support.kit import Stack
from tests.support.sampling import sampled

pytestmark = [pytest.mark.machines, pytest.mark.either_scheme]


@pytest.fixture
def slower(stack: Stack) -> Iterator[Path]:
    """Outputs with another time-out, which is in the units of both hosts; afterwards they hold the
    old ones again."""
    stack.fab("deploy")
    contract = json.loads(stack.fab("outputs").stdout)
    contract["application"]["timeout_s"] += 7
    file = stack.kit.home / "slower.json"
    file.write_text(json.dumps(contract))
    yield file
    stack.fab("deploy")
    file.unlink()


def sides(stack: Stack, file: Path) -> dict[str, str]:
    """Host → `old`, `new`, or `?` for one that waits to hear how the change ended."""
    found = {}
    said = stack.fab("status", "--json", "--outputs", str(file), status=None).stdout
    for name, host in json.loads(said).items():
        new = not host["differs"] and not host["restarts"]
        found[name] = "?" if host["in_doubt"] else "new" if new else "old"
    return found


# A line of the output after which the operator leaves; the hosts switch one after the other, the
# backend first.
MOMENTS = (
    "writes generation",
    "tests nginx",
    "switches to generation",
    "restarts nginx",
    "probes",
    "commits",
)


@pytest.mark.parametrize("leaves", sampled([signal.SIGINT, signal.SIGKILL], [signal.SIGKILL]))
@pytest.mark.parametrize("host", sampled(["backend-1", "frontend-1"], ["backend-1"]))
@pytest.mark.parametrize("moment", sampled(MOMENTS, ["restarts nginx"]))
def test_both_hosts_end_on_one_side(
    stack: Stack, slower: Path, moment: str, host: str, leaves: signal.Signals
) -> None:
    """^C takes both back unless the outcome was decided; a dead laptop leaves at most hosts that
    wait for the outcome, and the next deploy gives all of them the same."""
    with stack.started("deploy", "--outputs", str(slower)) as process:
        assert process.stdout and process.stderr
        next(line for line in process.stdout if line.split()[:1] == [host] and moment in line)
        process.send_signal(leaves)
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        said = process.stderr.read()
        status = process.wait(60)
        drain.join()
    assert "Traceback" not in said
    for one in (stack.contract.backend.hosts[0], stack.contract.frontend.hosts[0]):
        ended(stack, one)
    after = sides(stack, slower)
    known = {*after.values()} - {"?"}
    assert len(known) <= 1, after
    if leaves == signal.SIGINT and status == 130:
        assert "?" not in after.values(), (
            "the first ^C waits until every host has heard the outcome"
        )
    stack.fab("deploy", "--outputs", str(slower))
    assert {*sides(stack, slower).values()} == {"new"}
