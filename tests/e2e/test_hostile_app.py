"""An application and a dependency that attack their host: they get nothing of it, and every verb
still ends.

`hostile` is a pair of its own that runs `tests/e2e/hostile_app`; every new script of root's is
tried by it.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.core.contract import Json
from on_host import protocol
from on_host.protocol import Orders
from rollout import access, change, host_errors, hosts, outputs, settings, ship
from tests.support.hostile import Hostile
from tests.support.sampling import sampled

pytestmark = pytest.mark.machines

ENDS_S = 90  # on a busy machine; what hangs on a pipe or on an open output hangs for good


def shipped_with(hostile: Hostile, **more: object) -> Json:
    """A ship to the backend with more orders than `fab` gives. Raises HostError."""
    stack = hostile.stack
    found = outputs.load(stack.name, None)
    contract, host = found.contract, found.contract.backend.hosts[0]
    with hosts.session(host, access.identity(contract)) as session:
        question: Orders = {"app": "trap", "role": "backend", "who": "tests"}
        facts = session.ask(protocol.FACTS, question)
        built = ship.Builder(settings.read(stack.name)).release("backend", facts)
        archive = built.archive(facts, lambda fraction, doing: None)
        application = contract.application
        orders = built.orders(
            facts,
            "trap",
            "tests",
            archive=archive,
            wsgi=application.wsgi,
            settings=application.settings,
            **ship._environment(contract, host, {}),
        )
        sent = {**orders, "deploy": change.new_transaction(), **more}
        return session.run(sent, blob=archive, on_gate=lambda question: "go")


@pytest.fixture(autouse=True)
def the_host_stays_root_s(hostile: Hostile) -> Iterator[None]:
    """Owners, groups, modes and targets in /etc, /usr and /root are what they were, /opt is root's
    alone, and nothing of the application's runs but its service."""
    yield
    assert hostile.damage() == ""


def test_the_attacks_are_real(hostile: Hostile) -> None:
    """The worker has planted what it wants to plant; a manage.py is out of its sight, and its root
    out of reach.

    The same code without the service's limits sees and enters a process of its user.
    """
    hostile.becomes("")
    hostile.stack.fab("ship")
    planted = hostile.ssh(
        "find /run/trap/workers /var/lib/trap -maxdepth 1 -printf '%y %f\\n' | sort"
    )
    assert "p 1\n" in planted
    assert "p pipe\n" in planted
    assert "l link\n" in planted
    attacks = hostile.attacks()
    assert "left a child behind" in attacks
    assert "603" in hostile.ssh("find /opt/trap/current/static -name '*.txt' | wc -l")
    assert "entered /proc/<pid>/root" not in attacks
    free = (
        "systemd-run -q --collect --uid=trap -p RuntimeMaxSec=4"
        " --working-directory=/opt/trap/current/app"
    )
    prey = "/usr/bin/python3 -c 'import time; time.sleep(60)' manage.py"
    hunter = "/usr/bin/python3 -c 'from trap import attack; attack.hunt()'"
    hostile.ssh(
        f"{free} --unit=prey {prey}; {free} --unit=hunter --wait -E ORIGIN_KIT_DATA=/var/lib/trap"
        f" {hunter}; true"
    )
    assert "saw /usr/bin/python3" in hostile.attacks()
    assert "entered /proc/<pid>/root" in hostile.attacks()


VERBS = (
    "status",
    "plan",
    "deploy --restart",
    "history",
    "logs",
    "doctor",
    "ship",
    "rollback --release",
    "deploy",
)


@pytest.mark.parametrize("words", sampled(VERBS, ["status", "doctor", "ship"]))
def test_every_verb_ends_with_a_hostile_application(hostile: Hostile, words: str) -> None:
    """Pipes, links to terabytes and broken records where root reads: no hang, no traceback, and the
    truth."""
    began = time.monotonic()
    verb, *options = words.split()
    done = hostile.stack.fab(verb, *options)
    assert time.monotonic() - began < ENDS_S
    assert "Traceback" not in done.stdout + done.stderr
    if verb == "status":
        assert done.stdout.count("as the contract says") == 2


@pytest.mark.soak
def test_a_failing_release_keeps_no_folder(hostile: Hostile) -> None:
    """The second ship of a release finds what the first has left; a folder of it that becomes a
    link leads nowhere."""
    hostile.becomes("fail")
    for _ in range(2):
        done = hostile.stack.fab("ship", status=1)
        assert "manage.py migrate fails: RuntimeError: the migration fails" in done.stderr
    assert "swapped" not in hostile.attacks()


def test_folders_swapped_while_collecting_do_no_harm(hostile: Hostile) -> None:
    """Whatever comes of a race that the application runs against itself: root writes plain files or
    stops."""
    hostile.becomes("swap")
    done = hostile.stack.fab("ship", status=None)
    assert done.returncode == 0 or "collectstatic" in done.stderr
    assert "left a child behind: swap" in hostile.attacks()
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.soak
def test_a_child_with_the_output_open_is_ended(hostile: Hostile) -> None:
    """collectstatic leaves a daemon with the pipe open that ignores SIGTERM; the ship goes on at
    once."""
    hostile.becomes("hold")
    began = time.monotonic()
    hostile.stack.fab("ship")
    assert time.monotonic() - began < ENDS_S
    assert "left a child behind: hold" in hostile.attacks()


@pytest.mark.soak
def test_a_migration_that_hangs_ends_at_its_limit(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the command and the limit; nothing of it runs on, and the next ship goes
    through."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(hostile.stack.kit.home))
    hostile.becomes("hang")
    with pytest.raises(
        host_errors.HostError, match=r"manage.py migrate did not end within 12 s, the limit for it"
    ):
        shipped_with(hostile, limit_s=12)
    assert hostile.damage() == ""
    hostile.becomes("")
    hostile.stack.fab("ship")


def test_a_dependency_s_start_up_file_never_runs_as_root(hostile: Hostile, tmp_path: Path) -> None:
    """A wheel with a `.pth` is installed and compiled; the application's user runs it, root never
    does."""
    mark = (
        "import os; os.geteuid() or open('/etc/taken', 'w'); open('/var/lib/trap/started',"
        " 'a').write('x')"
    )
    hostile.becomes("", wheel(tmp_path, {"evil.pth": mark + "\n"}))
    hostile.stack.fab("ship")
    assert hostile.ssh("ls /etc/taken 2>/dev/null || true") == ""
    assert "x" in hostile.ssh("cat /var/lib/trap/started")
    hostile.becomes("")
    hostile.stack.fab("ship")


def test_a_dependency_that_brings_an_interpreter_is_refused(
    hostile: Hostile, tmp_path: Path
) -> None:
    """Before anything is sent; the host refuses such a wheel too (tests/test_install.py)."""
    hostile.becomes(
        "", wheel(tmp_path, {"evil-1.0.data/scripts/python": "#!/bin/sh\ntouch /etc/taken\n"})
    )
    done = hostile.stack.fab("ship", status=1)
    assert "would replace the environment's own bin/python" in done.stderr
    hostile.becomes("")


def wheel(folder: Path, files: dict[str, str]) -> str:
    """Requirements that name a wheel with these files, in a folder."""
    facts = "evil-1.0.dist-info"
    with zipfile.ZipFile(folder / "evil-1.0-py3-none-any.whl", "w") as out:
        out.writestr("evil.py", "")
        for name, text in files.items():
            out.writestr(name, text)
        out.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
        out.writestr(
            f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        out.writestr(f"{facts}/RECORD", "")
    return f"--find-links {folder}\nevil==1.0\n"
