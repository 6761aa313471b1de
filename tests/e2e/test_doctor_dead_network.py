"""`fab doctor` in a network that drops everything: names, connections, all of it."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.doctor.codes import Code
from tests.support.kit import Kit
from tests.test_render import load

pytestmark = pytest.mark.machines

LIMIT_S = 10.0
FOR_THE_START_S = 2.0
# A network namespace in which what is sent goes to a wire whose other end takes nothing, and a name
# server behind it.
IN_A_HOLE = """
ip link set lo up
ip link add hole type veth peer name end
ip address add 192.0.2.1/24 dev hole
ip link set end up
ip link set hole up
ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 nud permanent dev hole
ip route add default via 192.0.2.2
mount --bind "$1" /etc/resolv.conf
shift
exec "$@"
"""


def test_a_dead_network_is_reported_in_under_ten_seconds(tmp_path: Path) -> None:
    """The whole command: one finding, status 4. What Python needs to start on a busy machine is
    measured with another verb, and does not count."""
    kit = Kit(tmp_path / "home")
    contract = replace(load("names-credentials"), environment="local")
    (tmp_path / "outputs.json").write_text(json.dumps(contract.to_json()))
    (tmp_path / "resolv.conf").write_text("nameserver 198.51.100.53\n")
    _, start_s = in_a_hole(kit, tmp_path, "outputs")
    done, elapsed_s = in_a_hole(kit, tmp_path, "doctor", "--json")
    assert done.returncode == 4, done.stdout + done.stderr
    (only,) = json.loads(done.stdout)["findings"]
    assert only["code"] == Code.NOTHING_ANSWERS
    under = [one["code"] for one in only["follows"]]
    assert under.count(Code.HOST_UNREACHABLE) == 2 and Code.NAME_NOT_LOOKED_UP in under
    assert elapsed_s - start_s < LIMIT_S - FOR_THE_START_S


def in_a_hole(
    kit: Kit, folder: Path, *words: str
) -> tuple[subprocess.CompletedProcess[str], float]:
    """`fab WORDS` there, and how many seconds it took."""
    hole = ["unshare", "--net", "--mount", "sh", "-eu", "-c", IN_A_HOLE, "sh"]
    hole.append(str(folder / "resolv.conf"))
    words = (*words, "--outputs", str(folder / "outputs.json"))
    started = time.monotonic()
    done = kit.fab(*words, status=None, timeout=120, within=hole)
    return done, time.monotonic() - started
