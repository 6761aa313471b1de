"""Up, again, changed, broken, down: the long true story of one environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kit import ROOT, Kit, Stack, a_copy_of_the_example, manage

pytestmark = pytest.mark.machines


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One environment for the whole story: begun and interrupted, grown, rebooted, changed,
    gone."""
    with Stack.of(Kit(tmp_path_factory.mktemp("life") / "home")) as made:
        yield made


def interrupted_at(stack: Stack, line: str) -> str:
    """`fab up`, with ^C as soon as it prints `line`, if it still has to; everything it has said."""
    running = stack.started("up", "--engine", "embedded", stderr=subprocess.STDOUT, alone=True)
    assert running.stdout
    said = ""
    for text in running.stdout:
        said += text
        if line in text:
            os.killpg(running.pid, signal.SIGINT)
            break
    said += running.stdout.read()
    assert running.wait(timeout=120) == (130 if line in said else 0), f"^C at {line!r}:\n{said}"
    assert "Traceback" not in said
    assert line not in said or "run the same command again" in said
    return said


@pytest.mark.soak
def test_an_interrupted_up_is_finished_by_the_next(stack: Stack) -> None:
    """^C in every part of it: one line and status 130; a host goes on alone, and the last run has
    all."""
    lines = (
        "runs the program",
        "creates it",
        "unpacks release",
        "migrates the database",
        "writes generation",
        "restarts gunicorn",
    )
    stopped = [line for line in lines if line in interrupted_at(stack, line)]
    assert len(stopped) >= 3, stopped
    assert "http://" in stack.fab("up").stdout
    assert "nothing to do" in stack.fab("up").stdout


@pytest.mark.soak
def test_more_hosts_are_deployed_to_and_fewer_are_taken_away(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    """A second backend, refused until there is a balancer, gets the same release and configuration;
    the origin stays the first one's; then it goes, when that is allowed by its name."""
    stack.write(backend_count=2)
    assert "backend_count: 2: without a load balancer" in stack.fab("up", status=2).stderr
    request.getfixturevalue("many_hosts")
    stack.fab("up")
    contract = stack.contract
    assert [host.name for host in contract.backend.hosts] == ["backend-1", "backend-2"]
    assert contract.backend.origin == f"http://{contract.backend.hosts[0].address}"
    assert stack.fab("status").stdout.count("as the contract says") == 3
    question = (
        "grep '^CORS_' -A6 /etc/origin-kit/current/django/origin_kit_settings.py; readlink"
        " /opt/shop/current"
    )
    answers = {stack.kit.ssh(host, question) for host in contract.backend.hosts}
    assert len(answers) == 1
    assert contract.frontend.origin in answers.pop()
    stack.write(backend_count=1)
    refused = stack.fab("up", status=3)
    assert "backend-2    would delete the machine; what it holds is lost" in refused.stdout
    assert f"`fab up --stack {stack.name} --allow-delete backend-2`" in refused.stderr
    assert (
        "backend-2    deletes it"
        in stack.fab("up", "--engine", "embedded", "--allow-delete", "backend-2").stdout
    )
    assert len(stack.contract.hosts) == 2
    assert [path.name for path in stack.kit.home.glob("machines/*backend-2*")] == []


def rows(stack: Stack) -> str:
    """What is in the backend's data: products, the secret key's digest, a file in media."""
    return stack.kit.ssh(
        stack.contract.backend.hosts[0],
        manage(
            "shop",
            "shell -c 'from catalog.models import Product;"
            ' print(*Product.objects.values_list("name"))\'',
        )
        + "; sha256sum < /var/lib/shop/secret_key; cat /var/lib/shop/media/kept.txt",
    )


def release_on(stack: Stack) -> str:
    return stack.kit.ssh(stack.contract.backend.hosts[0], "readlink /opt/shop/current").strip()


@pytest.mark.soak
def test_data_survives_ship_rollback_and_a_pulled_plug(stack: Stack) -> None:
    """The example keeps its db.sqlite3 next to its code; on the host its rows outlive the code all
    the same."""
    stack.fab("up")
    make = (
        'from catalog.models import Product; Product.objects.create(name="Kept", price=1, stock=1)'
    )
    backend = stack.contract.backend.hosts[0]
    stack.kit.ssh(backend, manage("shop", f"shell -c '{make}'"))
    stack.kit.ssh(backend, "echo kept | sudo -u shop tee /var/lib/shop/media/kept.txt; sync")
    before, first = rows(stack), release_on(stack)
    assert "Kept" in before

    with a_copy_of_the_example() as copy:
        (copy / "shop" / "new.py").write_text("NEW = True\n")
        stack.write(backend_path=str(copy.relative_to(ROOT)))
        assert "shipped" in stack.fab("ship").stdout
        assert release_on(stack) != first
        assert rows(stack) == before
    assert f"→ {first.rsplit('/', 1)[1]} (" in stack.fab("rollback", "--release").stdout
    assert release_on(stack) == first
    assert rows(stack) == before

    for record in stack.kit.home.glob("machines/*/machine.json"):
        os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    stack.write()
    assert "has changed: running: true → false" in stack.fab("up", "--engine", "embedded").stdout
    assert rows(stack) == before


def traces(kit: Kit) -> dict[str, list[str]]:
    """What an environment under this home leaves on the host: mounts, links, processes, files."""
    home = str(kit.home)
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if home in line]
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if home in command and int(folder.name) != os.getpid():
            processes.append(command)
    return {
        "mounts": mounts,
        "processes": processes,
        "files": [str(path) for path in kit.home.glob("*")],
    }


def links(address: str) -> list[str]:
    """The bridge that leads to the address, and all that hangs on it or is named like it."""
    asked = ["ip", "-o", "route", "get", address]
    way = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    return links_like(way[way.index("dev") + 1].removeprefix("ok-"))


def links_like(key: str) -> list[str]:
    shown = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    return sorted(line.split()[0] for line in shown.splitlines() if key in line.split()[0])


@pytest.mark.soak
def test_up_again_change_and_down(stack: Stack) -> None:
    """The second up does nothing, a changed list restarts what reads it, down leaves nothing
    behind."""
    stack.write()
    first = stack.fab("up").stdout
    contract = stack.contract
    assert contract.frontend.origin in first and contract.backend.origin in first
    running = stack.processes()
    second = stack.fab("up").stdout
    assert "nothing to do" in second
    assert stack.processes() == running
    assert "unchanged" in stack.fab("deploy").stdout

    stack.write(extra_origins=["http://localhost:9999"])
    changed = stack.fab("up").stdout
    assert "http://localhost:9999" in stack.contract.cors.allowed_origins
    assert "changed" in changed
    assert stack.processes() != running
    assert "as the contract says" in stack.fab("status").stdout

    own = links(contract.backend.hosts[0].address)
    # The bridge and a leg for each of the two machines.
    assert own[0].startswith("ok-") and len(own) == 3
    stack.fab("down", "--yes")
    assert traces(stack.kit) == {"mounts": [], "processes": [], "files": []}
    assert links_like(own[0].removeprefix("ok-")) == []  # others on this host may come and go
    assert f"there is nothing of {stack.name} to remove" in stack.fab("down", "--yes").stdout
