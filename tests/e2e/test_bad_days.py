"""What goes wrong on a host or on the way to it while a deploy runs: each leaves the old or the
new, whole."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from infra.core.contract import Host, Json
from on_host import protocol
from rollout import access, change, deploy, host_errors, hosts, outputs
from tests.e2e.test_transaction import NEW, admitted
from tests.support.kit import OLD, ROOT, Stack, unwrapped
from tests.support.programs import doing
from tests.support.sampling import sampled

pytestmark = pytest.mark.machines

SEED = int(os.environ.get("ORIGIN_KIT_SEED", random.SystemRandom().randrange(1 << 32)))


@pytest.fixture
def changed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., outputs.Outputs]]:
    """Makes outputs with the new origin in place of the old one, and with whatever else is to be
    different."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(stack.kit.home))
    before = json.loads(stack.fab("outputs").stdout)
    file = stack.kit.home / "changed.json"

    def make(change: Callable[[Json], None] = lambda contract: None) -> outputs.Outputs:
        contract = json.loads(json.dumps(before))
        allowed = contract["cors"]["allowed_origins"]
        contract["cors"]["allowed_origins"] = [
            NEW if origin == OLD else origin for origin in allowed
        ]
        change(contract)
        file.write_text(json.dumps(contract))
        return outputs.load(stack.name, str(file))

    yield make
    stack.fab("deploy")
    assert admitted(stack) == {OLD}


@contextmanager
def on(stack: Stack, host: Host, begin: str, end: str) -> Iterator[None]:
    """Something is wrong there meanwhile."""
    stack.kit.ssh(host, begin)
    try:
        yield
    finally:
        stack.kit.ssh(host, end)


@pytest.mark.soak
def test_a_foreign_site_that_nginx_refuses_stops_the_deploy(
    stack: Stack, changed: Callable[..., outputs.Outputs]
) -> None:
    """It is on the frontend, and found while both are staged: the backend is not touched."""
    frontend, processes = stack.contract.frontend.hosts[0], stack.processes()
    bad = "/etc/nginx/conf.d/other.conf"
    with on(stack, frontend, f"echo 'servre {{}}' > {bad}", f"rm {bad}"):
        with pytest.raises(change.ChangeError) as caught:
            deploy.run_on_all_hosts(changed(), protocol.DEPLOY, restart=True)
        said = str(caught.value)
        assert "frontend-1" in said
        assert (
            f"nginx refuses the new configuration because of {bad}, which is not this kit's;"
            " correct or remove that file; nothing was changed" in said
        )
        assert 'unknown directive "servre"' in said
        assert "backend-1: unchanged or rolled back" in said
    assert admitted(stack) == {OLD}
    assert stack.processes() == processes


def test_a_failure_after_the_switch_rolls_all_hosts_back(
    stack: Stack, changed: Callable[..., outputs.Outputs]
) -> None:
    """The frontend's nginx passes its test and does not come up; the backend, if it was first, is
    back as well."""
    frontend = stack.contract.frontend.hosts[0]
    dropin = "/run/systemd/system/nginx.service.d/zz.conf"
    begin = (
        f"mkdir -p $(dirname {dropin}); printf '[Service]\\nExecStartPre=/bin/false\\n' > {dropin};"
        " systemctl daemon-reload"
    )
    with on(
        stack, frontend, begin, f"rm {dropin}; systemctl daemon-reload; systemctl restart nginx"
    ):
        with pytest.raises(change.ChangeError) as caught:
            deploy.run_on_all_hosts(changed(), protocol.DEPLOY, restart=True)
        assert "frontend-1" in str(caught.value)
        assert "`systemctl restart nginx.service` failed" in str(caught.value)
    assert admitted(stack) == {OLD}
    entries = json.loads(stack.fab("history", "--json").stdout)["backend-1"]["deploys"]
    assert entries[0]["result"].startswith("left alone")


@pytest.mark.soak
def test_gunicorn_that_does_not_boot_is_rolled_back(
    stack: Stack, changed: Callable[..., outputs.Outputs]
) -> None:
    """The project passes its checks, yet the name that gunicorn is to serve is none."""
    started = time.monotonic()
    with pytest.raises(change.ChangeError, match="no gunicorn worker came up") as caught:
        deploy.run_on_all_hosts(
            changed(lambda c: c["application"].update(wsgi="shop.wsgi:nothing")), protocol.DEPLOY
        )
    assert "nothing" in str(caught.value)
    assert time.monotonic() - started < 30, "a service that has died is not waited for"
    assert admitted(stack) == {OLD}


def test_a_full_or_read_only_disk_changes_nothing(
    stack: Stack, changed: Callable[..., outputs.Outputs]
) -> None:
    """A full disk and a read only one change nothing and say so."""
    backend = stack.contract.backend.hosts[0]
    full = (
        "set -e; cp -a /etc/origin-kit /run/copy; size=$(du -sk /run/copy | cut -f1); mount -t"
        " tmpfs -o size=$((size + 64))k kit /etc/origin-kit; cp -a /run/copy/. /etc/origin-kit/; dd"
        " if=/dev/zero of=/etc/origin-kit/filler bs=1k 2>/dev/null || true"
    )
    with on(stack, backend, full, "umount /etc/origin-kit; rm -r /run/copy"):
        with pytest.raises(change.ChangeError, match=r"the disk is full .*make room"):
            deploy.run_on_all_hosts(changed(), protocol.DEPLOY)
        assert admitted(stack) == {OLD}
    read_only = (
        "mount --bind /etc/origin-kit /etc/origin-kit; mount -o remount,bind,ro /etc/origin-kit"
    )
    with on(stack, backend, read_only, "umount /etc/origin-kit"):
        with pytest.raises(change.ChangeError, match="is on a read-only file system"):
            deploy.run_on_all_hosts(changed(), protocol.DEPLOY)
        assert admitted(stack) == {OLD}


@pytest.mark.soak
def test_no_inodes_is_not_called_a_full_disk(
    stack: Stack, changed: Callable[..., outputs.Outputs]
) -> None:
    """`df -h` shows room: it is the inodes that lack, for configuration and for code."""
    small = (
        "set -e; cp -a {0} /run/copy; mount -t tmpfs -o nr_inodes=$(($(find /run/copy | wc -l) +"
        " 50)) kit {0}; cp -a /run/copy/. {0}/; mkdir {0}/filler; i=0; while true > {0}/filler/$i;"
        " do i=$((i+1)); done 2>/dev/null"
    )
    backend, frontend = stack.contract.backend.hosts[0], stack.contract.frontend.hosts[0]
    with on(
        stack, backend, small.format("/etc/origin-kit"), "umount /etc/origin-kit; rm -r /run/copy"
    ):
        with pytest.raises(
            change.ChangeError, match=r"etc/origin-kit: \d+ MiB free, but no inodes"
        ):
            deploy.run_on_all_hosts(changed(), protocol.DEPLOY)
        assert admitted(stack) == {OLD}
    begin = "echo '<h1>edited' > /opt/shop/current/site/index.html; " + small.format("/opt/shop")
    with on(stack, frontend, begin, "umount /opt/shop; rm -r /run/copy"):
        said = stack.fab("ship", status=1).stderr
        assert re.search(r"opt/shop: \d+ MiB free, but no inodes", said)
        assert "continues to serve" in said
        assert "edited" in stack.kit.ssh(frontend, "cat /opt/shop/current/site/index.html")
    assert "shipped" in stack.fab("ship").stdout
    assert "unchanged" in stack.fab("ship").stdout


@pytest.mark.soak
def test_a_missing_nginx_is_nobody_else_s_site(
    stack: Stack, changed: Callable[..., outputs.Outputs]
) -> None:
    frontend, program = stack.contract.frontend.hosts[0], "/usr/sbin/nginx"
    with (
        on(stack, frontend, f"mv {program} {program}.away", f"mv {program}.away {program}"),
        pytest.raises(
            change.ChangeError, match=r"nginx is not installed on this host .*; nothing was changed"
        ),
    ):
        deploy.run_on_all_hosts(changed(), protocol.DEPLOY, restart=True)
    assert admitted(stack) == {OLD}


def test_a_killed_script_is_no_lost_connection(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the real sshd and the real sudo, by the signal that the kernel sends where memory runs
    out."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(stack.kit.home))
    contract = stack.contract
    with (
        hosts.session(contract.backend.hosts[0], access.identity(contract)) as session,
        pytest.raises(
            host_errors.HostError, match=r"was killed.*out of memory.*run the same command again"
        ) as caught,
    ):
        session.run({}, program=doing("import os; os.kill(os.getpid(), 9)"))
    assert "lost" not in str(caught.value)


@pytest.mark.soak
def test_an_unreachable_host_stops_the_change_of_all(
    stack: Stack, changed: Callable[..., outputs.Outputs]
) -> None:
    """A host that can not be reached is named and no other is changed."""

    def gone(contract: Json) -> None:
        contract["frontend"]["hosts"][0]["port"] = 9

    with pytest.raises(
        change.ChangeError, match=r"frontend-1 \(.*\): port 9 refused the connection"
    ) as caught:
        deploy.run_on_all_hosts(changed(gone), protocol.DEPLOY)
    assert "backend-1: unchanged or rolled back" in str(caught.value)
    assert admitted(stack) == {OLD}


def test_the_boot_after_a_power_cut_rolls_back(
    stack: Stack, changed: Callable[..., outputs.Outputs]
) -> None:
    """Nobody deploys in between: the machine starts again, and serves the old."""
    with pytest.raises(change.ChangeError):
        deploy.run_on_all_hosts(changed(), protocol.DEPLOY, die_at="restart-nginx")
    backend = stack.contract.backend.hosts[0]
    assert "/etc/origin-kit/journal.json" in stack.kit.ssh(
        backend, "ls /etc/origin-kit/journal.json"
    )
    before = json.loads(stack.kit.ssh(backend, "cat /etc/origin-kit/journal.json"))["from"]
    for record in stack.kit.home.glob("machines/*backend-1*/machine.json"):
        os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    engine = [sys.executable, "-m", "infra.local.engine", "up", "--stack", stack.name]
    subprocess.run(engine, cwd=ROOT, env=stack.kit.environment, check=True, capture_output=True)
    assert admitted(stack) == {OLD}
    status = json.loads(stack.fab("status", "--json").stdout)["backend-1"]
    assert (status["generation"], status["unfinished"]) == (before, False)
    assert f"went back to {before} after a power cut" in stack.fab("history").stdout


@pytest.mark.soak
def test_a_release_changed_on_the_host_is_mended(stack: Stack) -> None:
    """Code, environment and page, edited with the old size and time: `status` names them, `ship`
    brings them back."""
    backend, frontend = stack.contract.backend.hosts[0], stack.contract.frontend.hosts[0]
    assert "as the contract says" in stack.fab("status").stdout
    view, wheel, page = (
        "/opt/shop/current/app/catalog/api.py",
        "$(ls /opt/shop/current/venv/lib/python3*/site-packages/django/shortcuts.py)",
        "/opt/shop/current/site/index.html",
    )
    code = (
        stack.kit.ssh(backend, f"sha256sum {view} {wheel}"),
        stack.kit.ssh(frontend, f"sha256sum {page}"),
    )
    edit = (
        "set -e; touch -r {0} /run/t; printf X | dd of={0} conv=notrunc status=none; touch -r"
        " /run/t {0}"
    )
    stack.kit.ssh(backend, edit.format(view) + "; " + edit.format(wheel))
    stack.kit.ssh(frontend, edit.format(page))

    status = stack.fab("status", status=1).stdout
    assert "was changed on the host (app/catalog/api.py, venv/lib/python3" in status
    assert "was changed on the host (site/index.html): run `fab ship`" in status
    assert "was changed on the host" in unwrapped(stack.fab("doctor", status=None).stdout)
    assert "unchanged" in stack.fab("deploy").stdout
    processes = stack.processes()
    assert "shipped" in stack.fab("ship").stdout
    assert code == (
        stack.kit.ssh(backend, f"sha256sum {view} {wheel}"),
        stack.kit.ssh(frontend, f"sha256sum {page}"),
    )
    assert stack.processes() != processes
    assert "was changed" not in stack.fab("status").stdout
    assert "unchanged" in stack.fab("ship").stdout
    assert "unchanged" in stack.fab("deploy").stdout
    assert admitted(stack) == {OLD}


# ------------------------------------------------------------------------------------ the way there


class Cut:
    """A relay to one host that is cut for good after `limit` bytes in either direction together."""

    def __init__(self, host: Host, limit: int) -> None:
        self.left, self.lock = limit, threading.Lock()
        self.target = (host.address, host.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.passed = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        try:
            near, _ = self.listener.accept()
        except OSError:
            return
        far = socket.create_connection(self.target)
        for source, sink in ((near, far), (far, near)):
            threading.Thread(
                target=self.pump, args=(source, sink, (near, far)), daemon=True
            ).start()

    def pump(
        self, source: socket.socket, sink: socket.socket, both: tuple[socket.socket, socket.socket]
    ) -> None:
        try:
            while data := source.recv(4096):
                with self.lock:
                    taken = data[: max(0, self.left)]
                    self.left -= len(data)
                    self.passed += len(taken)
                sink.sendall(taken)
                if len(taken) < len(data):
                    break
        except OSError:
            pass  # the other direction was cut first
        for end in both:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def through(relay: Cut) -> Callable[[Json], None]:
    def change(contract: Json) -> None:
        contract["backend"]["hosts"][0].update(address="127.0.0.1", port=relay.port)

    return change


def unfinished(stack: Stack) -> bool:
    """Whether a change is open on the backend; it may hold something else than the config says."""
    found: bool = json.loads(stack.fab("status", "--json", status=None).stdout)["backend-1"][
        "unfinished"
    ]
    return found


def ended(stack: Stack, host: Host | None = None) -> None:
    """Whatever runs for a deploy or a ship on the host (the backend by default) has ended by
    itself."""
    units = (
        "systemctl list-units -q --plain --no-legend 'origin-kit-*.service'"
        " --state=running,activating"
    )
    stack.kit.ssh(
        host or stack.contract.backend.hosts[0], f"while {units} | grep -q .; do sleep 0.1; done"
    )


@pytest.mark.soak
@pytest.mark.parametrize("count", [2, 60])
def test_a_connection_cut_at_any_byte_leaves_old_or_new(
    stack: Stack, changed: Callable[..., outputs.Outputs], count: int
) -> None:
    """A connection cut at any byte leaves the old or the new and the next deploy works."""
    print(f"ORIGIN_KIT_SEED={SEED}")
    chance, host = random.Random(SEED), stack.contract.backend.hosts[0]
    whole = Cut(host, 1 << 30)
    deploy.run_on_all_hosts(changed(through(whole)), protocol.DEPLOY)
    assert admitted(stack) == {NEW}
    failures = 0
    for _ in range(count):
        stack.fab("deploy")
        relay = Cut(host, chance.randrange(whole.passed))
        try:
            deploy.run_on_all_hosts(changed(through(relay)), protocol.DEPLOY)
        except change.ChangeError:
            failures += 1
            ended(stack)
            assert len(admitted(stack)) == 1
        else:  # the result had come through: no run has as many bytes as another
            assert admitted(stack) == {NEW}
        assert unfinished(stack) is False
        deploy.run_on_all_hosts(changed(), protocol.DEPLOY)
        assert admitted(stack) == {NEW}
    assert failures > count / 2


@pytest.mark.parametrize("number", sampled([signal.SIGINT, signal.SIGKILL], [signal.SIGKILL]))
def test_a_host_finishes_without_its_operator(
    stack: Stack, changed: Callable[..., outputs.Outputs], number: signal.Signals
) -> None:
    """^C and a laptop that dies: what has begun ends by itself, in the new configuration."""
    changed()
    file = str(stack.kit.home / "changed.json")
    with stack.started("deploy", "--outputs", file) as process:
        assert process.stdout
        assert process.stderr
        next(line for line in process.stdout if "restarts gunicorn" in line)
        process.send_signal(number)
        process.wait(30)
        said = process.stderr.read()
    if number == signal.SIGINT:
        assert process.returncode == 130, said
        assert "run the same command again" in said
    ended(stack)
    assert admitted(stack) == {NEW}
    assert unfinished(stack) is False


def test_whoever_comes_while_another_deploys_follows_it_by_name(
    stack: Stack, changed: Callable[..., outputs.Outputs]
) -> None:
    """The first is held before its switch; the second sees what it does, and finds nothing left to
    do."""
    found = changed()
    host = found.contract.backend.hosts[0]
    reached, go = threading.Event(), threading.Event()

    def gate(name: str) -> str:
        reached.set()
        assert go.wait(60)
        return "go:backend-1,frontend-1" if name == "staged" else "commit"

    def first() -> None:
        orders = deploy.payload(found.contract, "backend", host, {})
        orders.update({"deploy": "first", "together": True, "who": "ada@laptop"})
        with hosts.session(host, access.identity(found.contract)) as session:
            session.ask(protocol.DEPLOY, orders, on_gate=gate)

    runner = threading.Thread(target=first)
    runner.start()
    assert reached.wait(60)
    file = str(stack.kit.home / "changed.json")
    with stack.started("deploy", "--outputs", file, "--wait", "60s", stderr=None) as second:
        assert second.stdout
        said = [
            next(line for line in second.stdout if "waits for ada@laptop: deploy since" in line)
        ]
        go.set()
        said += list(second.stdout)
    runner.join(60)
    assert second.returncode == 0
    assert any("there: switches to generation" in line for line in said)
    assert any("backend" in line and line.rstrip().endswith("unchanged") for line in said)
    assert admitted(stack) == {NEW}
