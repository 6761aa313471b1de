"""A slot's machines stay when a branch leaves, and nothing of that branch does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.core.contract import Contract, Host
from on_host import protocol
from on_host.protocol import Orders
from rollout import access, deploy, hosts
from rollout.host_errors import HostError
from tests.e2e.test_preview_story import page
from tests.support.kit import Kit
from tests.support.repository import Repository, left, repository

pytestmark = pytest.mark.machines
STEPS = ("stop", "belongings", "kit", "logs", "user", "look")
ONE, TWO, SLOT = "topic/one", "topic/two", "preview-slot-1"
CANARY = "canary-of-the-branch-before"

# What the first branch's user leaves, in each place that some way or other leads to: the limits of
# its service are not relied on. A process of its own session is no child of the service's.
_PLANT = f"""
set -eu
text={CANARY}
for folder in /tmp /var/tmp /dev/shm /run/lock "$HOME" "$HOME/media"; do
    mkdir -p "$folder"
    echo $text > "$folder/.$text"
done
mkdir -p /tmp/deep/$text
ln -s /etc/passwd /tmp/deep/$text/link
python3 - <<'END'
import os, sqlite3
with sqlite3.connect(os.path.expanduser("~/{CANARY}.sqlite3")) as base:
    base.execute("create table secrets (word text)")
    base.execute("insert into secrets values ('{CANARY}')")
    base.execute("insert into secrets values (?)", [open("/dev/shm/.{CANARY}").read()])
END
ipcmk -M 4096 >/dev/null
(setsid sh -c "trap '' HUP TERM INT; while :; do sleep 1000; : $text; done" >/dev/null 2>&1 &)
logger -t shop $text
"""
# A request whose path the logs of nginx and of the application hold.
_ASK = f"""python3 - <<'END'
import urllib.error, urllib.request
try:
    urllib.request.urlopen("http://127.0.0.1/{CANARY}")
except urllib.error.HTTPError as answer:
    answer.close()
END"""
_PLANT_AS_ROOT = f"""
set -eu
mkdir -p /var/spool/cron/crontabs /var/lib/systemd/linger
echo '* * * * * echo {CANARY}' > /var/spool/cron/crontabs/shop
chown shop /var/spool/cron/crontabs/shop
touch /var/lib/systemd/linger/shop
{_ASK}
journalctl --sync
"""
# Searched as root, who reads all that the next branch's user may and more: kernel's files, programs
# and what the search itself says are left out.
_SEARCH = f"""
for top in /dev/shm /etc /home /opt /root /run /srv /tmp /var; do
    grep -rlaF {CANARY} $top 2>/dev/null
    find $top -name '*{CANARY}*' 2>/dev/null
done

ls /var/lib/systemd/linger
ipcs -m | grep -w 4096
for process in /proc/[0-9]*; do
    tr '\\0' ' ' < $process/cmdline | grep -F "while :; do sleep"
    tr '\\0' '\\n' < $process/environ | grep -F {CANARY}
done
true
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Repository]:
    with repository(Kit(tmp_path / "home"), tmp_path / "checkout", preview_slots=1) as made:
        made.branch(ONE, "one")
        made.branch(TWO, "two")
        yield made


def run(here: Repository, host: Host, script: str) -> str:
    return here.kit.ssh(host, script)


def planted(here: Repository, contract: Contract) -> None:
    """The first branch leaves its mark on both hosts, and on the backend wherever it can."""
    (backend,), (frontend,) = contract.backend.hosts, contract.frontend.hosts
    script = _PLANT.replace("'", "'\\''")
    run(here, backend, f"runuser -u shop -- env HOME=/var/lib/shop sh -c '{script}'")
    run(here, backend, _PLANT_AS_ROOT)
    run(here, frontend, _ASK)
    assert len(run(here, backend, _SEARCH).splitlines()) > 10, "a canary that nobody could find"


def cut_short(contract: Contract, step: str) -> None:
    """Both hosts are being emptied when the power is cut at this step."""
    identity = access.identity(contract)
    for role, host in contract.hosts:
        orders: Orders = {**deploy.orders(contract, role), "die_at": step}
        with hosts.session(host, identity) as session, pytest.raises(HostError):
            session.ask(protocol.EMPTY, orders)


def facts(here: Repository, host: Host) -> list[str]:
    """Which boot of which machine this is, and the host keys."""
    asked = "cat /proc/sys/kernel/random/boot_id /etc/machine-id; sha256sum /etc/ssh/*_key.pub"
    return run(here, host, asked).splitlines()


def secret_of(here: Repository, host: Host) -> str:
    return run(here, host, "sha256sum < /var/lib/shop/secret_key | cut -c1-64; id -u shop")


def test_nothing_of_a_branch_is_left_for_the_next_one(
    here: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same boot of the same machines serves the second branch, with secrets of its own; between
    the two nobody has the slot, and what it costs is seen. Emptying them is cut short at each step
    before. `--destroy` ends the slot."""
    here.fab("preview.up", "--branch", ONE)
    contract = here.contract(ONE)
    both = [host for _, host in contract.hosts]
    before = [facts(here, host) for host in both]
    (backend,) = contract.backend.hosts
    secret = secret_of(here, backend)
    planted(here, contract)

    monkeypatch.setenv("ORIGIN_KIT_HOME", str(here.kit.home))
    for step in STEPS:
        cut_short(contract, step)
    assert here.listed()[ONE]["name"] == SLOT
    said = here.fab("preview.down", "--branch", ONE).stdout
    assert f"the preview of {ONE} is gone; {SLOT} stays for the next branch" in said
    assert [run(here, host, _SEARCH) for host in both] == ["", ""]
    vacant = here.listed()[SLOT]
    assert (vacant["state"], vacant["branch"], vacant["commit"]) == ("vacant", "", "")
    assert "a vacant slot; removed in 71 h" in here.fab("preview.sweep").stdout
    assert "is vacant already" in here.fab("preview.down", "--branch", SLOT).stdout
    assert f"there is no preview of {ONE}" in here.fab("preview.down", "--branch", ONE).stdout

    here.fab("preview.up", "--branch", TWO)
    two = here.listed()[TWO]
    assert (two["name"], two["state"]) == (SLOT, "up")
    assert "<title>two</title>" in page(two["origin"])
    assert two["origin"] == contract.frontend.origin
    assert [facts(here, host) for host in both] == before
    assert [run(here, host, _SEARCH) for host in both] == ["", ""]
    assert not set(secret.split()) & set(secret_of(here, backend).split())
    here.fab("preview.down", "--branch", TWO, "--destroy")
    assert here.listed() == {} and left(here.kit.home) == []
