"""`fab replace`: a new machine for a host, with all that the old one held; killed anywhere, one of
the two is whole."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from rollout.replace import STEPS, steps
from tests.support.kit import ROOT, Kit, Stack, manage

pytestmark = pytest.mark.machines
PASSWORD = "correct-horse-battery"
BACKEND = [step.name for step in steps("backend", production=False)]
SAMPLED = ("switch",)
ENGINES = [
    "embedded",
    pytest.param(
        "pulumi",
        marks=pytest.mark.skipif(
            shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH"
        ),
    ),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A pair with a user, 200 orders, an upload, and what else may lie in a data folder."""
    with Stack.of(Kit(tmp_path_factory.mktemp("replace") / "home")) as made:
        made.fab("up", "--engine", "embedded")
        backend = made.contract.backend.hosts[0]
        made.kit.ssh(backend, manage("shop", f"createdemo ada {PASSWORD}"))
        made.kit.ssh(backend, LEFT_BY_THE_APPLICATION)
        yield made


# 200 rows in a database of its own, the last hundred of them in a write-ahead log that nobody has
# checkpointed: the process is killed. A link, a folder that not everybody reads.
LEFT_BY_THE_APPLICATION = r"""
cd /var/lib/shop && sudo -u shop sh -ec '
mkdir -m 0750 orders && echo "one picture" > media/kept.txt && ln -s ../media/kept.txt orders/link
python3 - <<END || true
import os, signal, sqlite3
base = sqlite3.connect("orders/orders.db")
base.execute("pragma journal_mode = wal")
base.execute("create table orders (id integer primary key, text)")
for part in range(2):
    base.executemany("insert into orders (text) values (?)", [("order",)] * 100)
    base.commit()
os.kill(os.getpid(), signal.SIGKILL)
END
test -s orders/orders.db-wal'
"""


def data(stack: Stack) -> str:
    """What the backend holds, as far as the application knows: rows, digests, modes, owners."""
    return stack.kit.ssh(
        stack.contract.backend.hosts[0],
        "cd /var/lib/shop && sha256sum secret_key media/kept.txt && readlink orders/link && stat -c"
        " '%n %U %G %a' media media/kept.txt orders secret_key && sudo -u shop python3 -c 'import"
        ' sqlite3; print(sqlite3.connect("orders/orders.db").execute("select count(*) from'
        " orders\").fetchone())'",
    )


class Shopper(threading.Thread):
    """Makes products without a pause, as a page would; counts what was acknowledged, and what else
    was answered."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        contract = stack.contract
        self.host, self.origin = urlsplit(contract.backend.origin).netloc, contract.frontend.origin
        self.made: list[str] = []
        self.other: set[tuple[int, str | None, str | None]] = set()
        self.over = threading.Event()
        self.token = json.loads(
            self.ask("/api/token/", {"username": "ada", "password": PASSWORD}, None)[1]
        )["token"]

    def ask(
        self, path: str, body: dict[str, object], token: str | None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {"Origin": self.origin, "Content-Type": "application/json"}
        headers |= {"Authorization": f"Token {token}"} if token else {}
        connection = http.client.HTTPConnection(self.host, timeout=5)
        try:
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def run(self) -> None:
        number = 0
        while not self.over.wait(0.05):
            number += 1
            name = f"order-{self.ident}-{number}"
            try:
                answer, _ = self.ask(
                    "/api/products/", {"name": name, "price": "1.00", "stock": 1}, self.token
                )
            except (OSError, http.client.HTTPException):
                continue
            if answer.status == 201:
                self.made.append(name)
            else:
                self.other.add(
                    (
                        answer.status,
                        answer.getheader("Access-Control-Allow-Origin"),
                        answer.getheader("Retry-After"),
                    )
                )

    def stop(self) -> None:
        self.over.set()
        self.join(10)


def products(stack: Stack) -> set[str]:
    ask = (
        'from catalog.models import Product; print(*Product.objects.values_list("name", flat=True),'
        ' sep="\\n")'
    )
    return set(
        stack.kit.ssh(
            stack.contract.backend.hosts[0], manage("shop", f"shell -c '{ask}'")
        ).splitlines()
    )


def serials(stack: Stack) -> dict[str, str]:
    return dict(yaml.safe_load(stack.path.read_text())["config"].get("origin-kit:serials") or {})


def machines(stack: Stack, role: str) -> list[str]:
    return sorted(
        json.loads(path.read_text())["name"]
        for path in stack.kit.home.glob(f"machines/*{role}*/machine.json")
    )


@pytest.mark.soak
def test_without_a_terminal_nothing_is_begun(stack: Stack) -> None:
    """And no host of another name."""
    before = stack.path.read_text()
    refused = stack.fab("replace", "backend-1", status=3)
    assert "to replace backend-1, add --yes" in refused.stderr
    assert (
        "there is no host backend-2" in stack.fab("replace", "backend-2", "--yes", status=2).stderr
    )
    assert "not being replaced" in stack.fab("replace", "backend-1", "--abort", status=2).stderr
    assert stack.path.read_text() == before
    assert machines(stack, "backend") == ["backend-1"]


@pytest.mark.parametrize("engine", ENGINES)
def test_all_that_was_acknowledged_is_on_the_new_machine(stack: Stack, engine: str) -> None:
    """Orders in SQLite, an upload, the secret key; a shopper who never stops reads a 503 meanwhile,
    loses nothing."""
    pipe = "cd /var/lib/shop/orders && rm -f pipe && sudo -u shop mkfifo pipe"
    stack.kit.ssh(stack.contract.backend.hosts[0], pipe)
    before, contract, was = data(stack), stack.contract, machines(stack, "backend")
    shopper = Shopper(stack)
    shopper.start()
    said = stack.fab("replace", "backend-1", "--yes", "--engine", engine).stdout
    deadline = time.monotonic() + 20
    count = len(shopper.made)
    while len(shopper.made) < count + 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    shopper.stop()
    assert data(stack) == before
    assert "(200,)" in before
    assert len(shopper.made) >= count + 3, "it takes orders again"
    assert set(shopper.made) <= products(stack)
    assert (503, contract.frontend.origin, "30") in shopper.other
    assert all(allowed == contract.frontend.origin for _, allowed, _ in shopper.other)
    assert "orders/pipe" in said and ": all as they were copied" in said
    now = stack.contract
    assert (now.backend.origin, now.backend.hosts[0].address) == (
        contract.backend.origin,
        contract.backend.hosts[0].address,
    )
    assert now.backend.hosts[0].host_keys != contract.backend.hosts[0].host_keys
    assert len(machines(stack, "backend")) == 1 and machines(stack, "backend") != was
    assert list(stack.kit.home.glob("replace/*.tar")) == []
    assert stack.fab("status").stdout.count("as the contract says") == 2
    assert "nothing to do" in stack.fab("up", "--engine", engine).stdout
    assert "infrastructure: unchanged" in stack.fab("plan", "--check", "--engine", engine).stdout
    assert (
        stack.kit.ssh(
            now.backend.hosts[0], "ls /etc/origin-kit/replacement.json || true", check=False
        )
        == ""
    )


@pytest.mark.soak
def test_a_frontend_gets_another_machine_too(stack: Stack) -> None:
    """It has no data: nothing is copied, and its address stays."""
    before = stack.contract
    said = stack.fab("replace", "frontend-1", "--yes", "--engine", "embedded").stdout
    assert "copies the data" not in said
    assert stack.contract.frontend.origin == before.frontend.origin
    assert stack.contract.frontend.hosts[0].host_keys != before.frontend.hosts[0].host_keys
    assert machines(stack, "frontend") == ["frontend-1-2"]
    assert stack.fab("status").stdout.count("as the contract says") == 2


def ended_at(stack: Stack, name: str, by: signal.Signals, lines: int = 0) -> str:
    """A replacement that is ended by a signal when it says that it begins a step, or some lines
    later; what it said."""
    text = next(step.text for step in STEPS if step.name == name)
    words = ("backend-1", "--yes", "--engine", "embedded")
    running = stack.started("replace", *words, stderr=subprocess.STDOUT, alone=True)
    said, left = "", None
    assert running.stdout
    for line in running.stdout:
        said += line
        left = lines if text in line and "replace" in line else None if left is None else left - 1
        if left == 0:
            os.killpg(running.pid, by)
            break
    said += running.stdout.read()
    running.wait(timeout=120)
    wait_for_the_engine(stack)
    return said


def wait_for_the_engine(stack: Stack) -> None:
    """The engine is a process of its own and goes on to its end: until then the stack is locked,
    with its name."""
    end = time.monotonic() + 120
    while any(lock_is_held(path) for path in stack.kit.home.glob("state/.pulumi/locks/**/*.json")):
        assert time.monotonic() < end
        time.sleep(0.1)


def lock_is_held(path: Path) -> bool:
    try:
        return Path("/proc", str(json.loads(path.read_text())["pid"])).exists()
    except (OSError, ValueError):  # given back, or not written yet
        return path.exists()


def rows_by_machine(stack: Stack) -> dict[str, int]:
    """Orders in each backend's own files, as far as they are there. (The host reads them: no
    machine has to run.)"""
    found = {}
    for record in stack.kit.home.glob("machines/*backend*/machine.json"):
        upper: Path = record.parent / "upper" / "var/lib/shop/orders/orders.db"
        name = json.loads(record.read_text())["name"]
        if upper.exists():
            copy = record.parent / "test-orders.db"
            for end in ("", "-wal"):
                if Path(f"{upper}{end}").exists():
                    shutil.copy(f"{upper}{end}", f"{copy}{end}")
            with sqlite3.connect(copy) as base:
                found[name] = base.execute("select count(*) from orders").fetchone()[0]
            for path in record.parent.glob("test-orders*"):
                path.unlink()
    return found


def killed_and_finished(stack: Stack, name: str, lines: int) -> None:
    """SIGKILL of the operator and all that it had started; the next run ends with one machine and
    all data."""
    before, was = data(stack), machines(stack, "backend")
    ended_at(stack, name, signal.SIGKILL, lines)
    assert 200 in rows_by_machine(stack).values(), name
    stack.fab("replace", "backend-1", "--yes", "--engine", "embedded")
    assert data(stack) == before
    assert len(machines(stack, "backend")) == 1 and machines(stack, "backend") != was
    assert stack.fab("status").stdout.count("as the contract says") == 2
    assert [path.name for path in stack.kit.home.glob("replace/*") if path.suffix != ".lock"] == []


@pytest.mark.soak
@pytest.mark.parametrize("name", SAMPLED)
def test_a_killed_run_is_finished_by_the_next(stack: Stack, name: str) -> None:
    killed_and_finished(stack, name, lines=1)


@pytest.mark.soak
@pytest.mark.parametrize("lines", [0, 1])
@pytest.mark.parametrize("name", BACKEND)
def test_a_run_killed_at_any_step_is_finished_by_the_next(
    stack: Stack, name: str, lines: int
) -> None:
    """Every step of the table: as it begins, and within it."""
    killed_and_finished(stack, name, lines)


@pytest.mark.soak
def test_taken_back_the_old_machine_serves_as_before(stack: Stack) -> None:
    """Killed with the data on its way: everybody else is refused meanwhile, and --abort leaves no
    trace."""
    before, was, config = data(stack), machines(stack, "backend"), stack.path.read_text()
    ended_at(stack, "restore", signal.SIGKILL)
    for verb in ("ship", "deploy"):
        refused = stack.fab(verb, status=None)
        assert refused.returncode != 0
        assert "fab replace backend-1" in refused.stdout + refused.stderr, verb
    assert "backend-1 is being replaced since" in stack.fab("status", status=1).stdout
    assert (
        "backend-1 is being replaced"
        in stack.fab("replace", "frontend-1", "--yes", status=2).stderr
    )
    assert (
        "is as it was before"
        in stack.fab("replace", "backend-1", "--abort", "--engine", "embedded").stdout
    )
    assert (data(stack), machines(stack, "backend")) == (before, was)
    assert yaml.safe_load(stack.path.read_text()) == yaml.safe_load(config)
    assert stack.fab("status").stdout.count("as the contract says") == 2
    assert "nothing to do" in stack.fab("up", "--engine", "embedded").stdout
    assert list(stack.kit.home.glob("replace/*.tar")) == []


@pytest.mark.soak
def test_stopped_by_the_person_it_serves_again_at_once(stack: Stack) -> None:
    """^C while the data is restored: the old machine takes writes again, the new one waits for the
    next try, which makes a copy of its own."""
    before, was = data(stack), machines(stack, "backend")
    said = ended_at(stack, "restore", signal.SIGINT)
    assert "the old machine serves as before, the new one is kept for the next try" in said
    assert "Traceback" not in said
    shopper = Shopper(stack)
    answer, _ = shopper.ask(
        "/api/products/", {"name": "between", "price": "1.00", "stock": 1}, shopper.token
    )
    assert answer.status == 201
    assert stack.fab("status").stdout.count("as the contract says") == 2
    kept = stack.fab("replace", "backend-1", "--yes", "--keep-copy", "--engine", "embedded").stdout
    assert data(stack) == before
    assert "between" in products(stack)
    assert machines(stack, "backend") != was
    copies = list(stack.kit.home.glob("replace/*.tar"))
    assert len(copies) == 1 and str(copies[0]) in kept
    assert copies[0].stat().st_mode & 0o777 == 0o600
    copies[0].unlink()


@pytest.mark.soak
def test_a_changed_source_is_shipped_first(stack: Stack) -> None:
    """The new machine gets the release that the old one serves, and no migration in passing."""
    copy = ROOT / "artifacts" / f"replace-{os.getpid()}"
    shutil.copytree(
        ROOT / "examples" / "backend", copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    before = stack.path.read_text()
    try:
        (copy / "shop" / "new.py").write_text("NEW = True\n")
        config = yaml.safe_load(before)
        config["config"]["origin-kit:backend_path"] = str(copy.relative_to(ROOT))
        stack.path.write_text(yaml.safe_dump(config))
        refused = stack.fab("replace", "backend-1", "--yes", status=2)
        assert "run `fab ship` first" in refused.stderr
        assert (
            machines(stack, "backend")
            and serials(stack) == yaml.safe_load(before)["config"]["origin-kit:serials"]
        )
    finally:
        shutil.rmtree(copy)
        stack.path.write_text(before)
