"""http to https and back on real hosts: port 443 comes and goes, and port 80 is open all the
while."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.core.contract import Host
from on_host import protocol
from rollout import change, deploy, outputs
from tests.support.kit import Stack
from tests.test_render_nginx import anyone

pytestmark = pytest.mark.machines

TAKE = 'import socket; socket.create_server(("", 443)).accept()'
TAKER = f"systemd-run -q --unit=taker python3 -c '{TAKE}'"


@pytest.fixture(autouse=True)
def as_before(stack: Stack) -> Iterator[None]:
    """The next module finds config and hosts as they were."""
    yield
    stack.write()
    stack.fab("deploy")


class Caller(threading.Thread):
    """Asks a host's port 80, each time on a connection of its own, until it is ended."""

    def __init__(self, host: Host) -> None:
        super().__init__(daemon=True)
        self.host = host
        self.ends = threading.Event()
        self.statuses: list[int] = []
        self.lost: list[str] = []

    def run(self) -> None:
        while not self.ends.is_set():
            connection = http.client.HTTPConnection(self.host.address, 80, timeout=30)
            try:
                connection.request("GET", "/config.json")
                self.statuses.append(connection.getresponse().status)
            except (OSError, http.client.HTTPException) as problem:
                self.lost.append(repr(problem))
            finally:
                connection.close()


@contextmanager
def callers(stack: Stack) -> Iterator[list[Caller]]:
    """Two for each host; none of their requests may be lost."""
    found = [Caller(host) for _, host in stack.contract.hosts for _ in range(2)]
    for caller in found:
        caller.start()
    try:
        yield found
    finally:
        for caller in found:
            caller.ends.set()
        for caller in found:
            caller.join(60)
    assert [caller.lost for caller in found] == [[], [], [], []]


def answers_https(host: Host) -> bool:
    """Whether port 443 shakes hands; it must be closed otherwise, not open and silent."""
    try:
        with socket.create_connection((host.address, 443), 10) as plain:
            anyone().wrap_socket(plain, server_hostname="any.test").close()
    except ConnectionRefusedError:
        return False
    return True


def secure(stack: Stack) -> set[bool]:
    return {answers_https(host) for _, host in stack.contract.hosts}


@pytest.mark.soak
def test_https_comes_and_goes_without_a_lost_request(stack: Stack) -> None:
    """By a deploy, by a rollback, by a deploy back: systemd opens and closes port 443 while nginx
    restarts, and requests to port 80 wait for it."""
    assert secure(stack) == {False}
    with callers(stack) as found:
        stack.write(tls="local-ca")
        stack.fab("deploy")
        assert secure(stack) == {True}
        assert stack.contract.frontend.origin.startswith("https://")
        stack.fab("rollback")
        assert secure(stack) == {False}
        stack.fab("deploy")
        assert secure(stack) == {True}
        stack.write()
        stack.fab("deploy")
        assert secure(stack) == {False}
    seen = {status for caller in found for status in caller.statuses}
    assert seen == {200, 301, 404}  # the page, the same next to https, and the API


@pytest.mark.soak
@pytest.mark.parametrize("step", ["link", "restart-nginx"])
def test_killed_on_the_way_to_https(
    stack: Stack, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Port 443 is open or closed as the configuration says that the next deploy leaves."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(stack.kit.home))
    for tls, expected in (("local-ca", "off"), ("local-ca", "local-ca"), ("off", "off")):
        stack.write(tls=tls)
        with pytest.raises(change.ChangeError, match="killed"):
            deploy.run_on_all_hosts(outputs.load(stack.name), protocol.DEPLOY, die_at=step)
        stack.write(tls=expected)
        stack.fab("deploy")
        assert secure(stack) == {expected != "off"}
        assert stack.fab("status").stdout.count("as the contract says") == 2


@pytest.mark.soak
def test_a_port_that_somebody_else_has_stops_the_deploy_before_anything(stack: Stack) -> None:
    """It is named, with who has it; all hosts go on over http."""
    host = stack.contract.frontend.hosts[0]
    stack.kit.ssh(host, TAKER)
    stack.kit.ssh(host, "until ss -Hltn sport = :443 | grep -q .; do :; done")
    try:
        stack.write(tls="local-ca")
        done = stack.fab("deploy", status=1)
        assert "port 443 is taken by python3" in done.stdout + done.stderr
        assert "nothing was changed" in done.stdout + done.stderr
        for _, each in stack.contract.hosts:
            listens = stack.kit.ssh(each, "systemctl is-active nginx-https.socket || true")
            assert listens.strip() == "inactive"
    finally:
        stack.kit.ssh(host, "systemctl stop taker.service || true")
