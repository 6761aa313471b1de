"""certbot as hosts get it, and its decision to renew next to our warning lines, by a clock that is
moved."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from on_host import wheelfiles
from on_host.acme import venv
from on_host.runtime import Failed
from rollout.acme import wheels
from rollout.acme.wheels import Certbot
from rollout.certificates.age import Age, State
from rollout.release.target import Target
from tests.support.kit import ROOT

CLOCK = ROOT / "tests" / "support" / "certbot_clock.py"
DAY = timedelta(days=1)
HERE = Target(
    "{}.{}".format(*sys.version_info),
    platform.machine(),
    platform.libc_ver()[1],
    platform.python_version(),
)


@pytest.fixture(scope="module")
def sent() -> Certbot:
    """What a host gets that has this machine's Python."""
    return wheels.certbot(HERE, lambda text: None)


@pytest.fixture(scope="module")
def certbot(sent: Certbot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that was made as on a host."""
    folder = tmp_path_factory.mktemp("certbot")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("on_host.acme.venv.VENVS", folder)
        venv.make(sent.name, sent.wheels, [sent.archive.read_bytes()])
        assert venv.use(sent.name)
        return venv.python()


def test_a_host_gets_certbot_5_8_and_asks_no_index(certbot: Path) -> None:
    program = certbot.with_name("certbot")
    done = subprocess.run(
        [certbot, "-I", program, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "certbot 5.8.0\n"


def test_the_second_time_it_comes_from_the_cache(sent: Certbot) -> None:
    said: list[str] = []
    assert wheels.certbot(HERE, said.append) == sent
    assert said == []


@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_there_is_a_wheel_of_everything_for_each_kind_of_host(python: str, machine: str) -> None:
    """Debian 12 and 13, on both processors that the clouds have."""
    found = wheels.certbot(Target(python, machine, "2.36"), lambda text: None)
    assert any(name.startswith("certbot-5.8.0-") for name in found.wheels)
    assert any(name.startswith("cryptography-") and machine in name for name in found.wheels)


def test_another_archive_than_the_orders_say_leaves_nothing(
    sent: Certbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("on_host.acme.venv.VENVS", tmp_path)
    data = sent.archive.read_bytes()
    first = next(iter(sent.wheels))
    for wanted, archive in (
        (sent.wheels, data[: len(data) // 2]),
        ({**sent.wheels, first: "0" * 64}, data),
        ({**sent.wheels, "more-1-py3-none-any.whl": "0" * 64}, data),
    ):
        with pytest.raises(Failed, match=r"arrive incomplete|another SHA-256"):
            venv.make(sent.name, wanted, [archive])
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(Failed, match="certbot is not installed on this host"):
        venv.python()


def test_a_newer_certbot_takes_the_place_of_the_one_before(
    sent: Certbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("on_host.acme.venv.VENVS", tmp_path)
    monkeypatch.setattr(wheelfiles, "install", lambda files, place: None)
    for name in ("old", "new"):
        venv.make(name, sent.wheels, [sent.archive.read_bytes()])
        assert venv.use(name)
    assert venv.kept() == ["new"]
    assert not venv.use("old")


# --------------------------------------------------------------------------------------- the clock


def renewals(
    certbot: Path, lifetime: timedelta, *, ari: bool, off: timedelta = timedelta()
) -> list[Age]:
    """The age of three certificates in a row, each at the moment of its renewal."""
    wanted = {
        "lifetime_s": lifetime.total_seconds(),
        "certificates": 3,
        "ari": ari,
        "seed": 7,
        "off_s": off.total_seconds(),
    }
    done = subprocess.run(
        [certbot, "-I", CLOCK], input=json.dumps(wanted), capture_output=True, text=True, check=True
    )
    return [
        Age(*(datetime.fromtimestamp(at, UTC) for at in row)) for row in json.loads(done.stdout)
    ]


# Of Let's Encrypt's profiles now and as announced, and the longest that a public CA may issue.
LIFETIMES = [timedelta(hours=160), 45 * DAY, 64 * DAY, 90 * DAY, 200 * DAY]


@pytest.mark.parametrize("ari", [True, False])
@pytest.mark.parametrize("lifetime", LIFETIMES, ids=str)
def test_a_healthy_host_sees_no_warning_in_two_whole_cycles(
    certbot: Path, lifetime: timedelta, ari: bool
) -> None:
    """certbot itself is asked at every run of the timer; age only grows until it says yes."""
    ages = renewals(certbot, lifetime, ari=ari)
    assert len(ages) == 3
    assert [age.state for age in ages] == [State.GOOD] * 3
    # Not by chance: a run or two may fail before the line.
    assert all(age.left - age.warning_line >= timedelta(hours=6) for age in ages)


def test_a_host_that_was_off_renews_at_its_first_run(certbot: Path) -> None:
    """Past the end, nobody is asked for a better moment (RFC 9773, section 4.3)."""
    first, second, _ = renewals(certbot, timedelta(hours=160), ari=True, off=30 * DAY)
    assert first.state is State.EXPIRED
    assert first.left > -31 * DAY
    assert second.state is State.GOOD


@pytest.mark.parametrize("lifetime", LIFETIMES, ids=str)
def test_without_renewal_every_line_is_passed(lifetime: timedelta) -> None:
    """The same clock, and nobody renews: the lines are there to be seen."""
    begins = datetime(2030, 1, 1, tzinfo=UTC)
    seen = []
    for step in range(int(lifetime / timedelta(hours=6)) + 2):
        state = Age(begins, begins + lifetime, begins + step * timedelta(hours=6)).state
        if state not in seen:
            seen.append(state)
    assert seen == [State.GOOD, State.WARNING, State.RED, State.EXPIRED]
