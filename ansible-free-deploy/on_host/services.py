"""The services of this host: ask systemd, nginx and gunicorn, and restart them."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from on_host import places, untrusted
from on_host.audit import STARTED
from on_host.orders import ORDERS
from on_host.runtime import WAIT_S, Failed, last_lines, run, wait_for

if TYPE_CHECKING:
    from on_host.generations import Generation

NGINX_STATUS = "/run/origin-kit-nginx.sock"
Properties = dict[str, list[str]]  # of a unit: name → values
HTTPS_SOCKET = "nginx-https.socket"  # with nginx.socket, where a generation speaks https
NGINX_ENABLED = "/etc/systemd/system/multi-user.target.wants/nginx.service"


def systemctl(*words: str) -> None:
    """Run systemctl for a unit, the last of `words`. Raises Failed with the unit's log."""
    done = run("systemctl", *words)
    if done.returncode:
        command = " ".join(words)
        raise Failed(
            f"`systemctl {command}` failed; the unit's log follows, correct the cause and run this"
            " again",
            done.stdout + journal_of(words[-1]),
        )


def activity(unit: str) -> str:
    """The state of a unit in systemd's word, such as `active` or `failed`."""
    state = run("systemctl", "is-active", unit).stdout.strip()
    if re.fullmatch("[a-z-]+", state):
        return state
    return "unknown: systemd does not answer"


# The line of a log that names an exception: `OSError: ...`,
# `django.core.exceptions.ImproperlyConfigured: ...`.
EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*: \S|^[\w.]*(Error|Exception|DoesNotExist)$", re.MULTILINE)


def journal_of(unit: str, since: float | None = None) -> str:
    """The last lines of a unit's log, only those from `since` on where that is given.

    The frames of tracebacks and gunicorn's [INFO] lines are left out.
    """
    command = ["journalctl", "-u", unit]
    if since is not None:
        run("journalctl", "--sync")  # recent lines may still be on their way into the journal
        command.append(f"--since=@{since:.6f}")
    command += ["-n", "200", "-q", "--no-pager", "-o", "cat"]
    relevant = []
    for line in run(*command).stdout.splitlines():
        if not line.startswith(("  ", "Traceback")) and "[INFO]" not in line:
            relevant.append(line)
    return last_lines("\n".join(relevant), 20)


def property_of(unit: str, name: str) -> str:
    """One of systemd's properties of a unit."""
    return run("systemctl", "show", "-p", name, "--value", unit).stdout.strip()


def service() -> str:
    """The application's unit."""
    return f"{places.app()}.service"


def has_service() -> bool:
    """Whether there is a service: not before the first deploy, and never on a frontend."""
    return property_of(service(), "LoadState") == "loaded"


def restart_service() -> None:
    """Restart the application's service, even one that systemd no longer restarts itself."""
    run("systemctl", "reset-failed", service())
    done = run("systemctl", "restart", service())
    if done.returncode:
        raise Failed(
            f"{service()} does not start; see `fab logs`",
            last_lines(done.stdout + journal_of(service())),
        )


_LATELY = "-5min"
_KILLED = re.compile(r"Worker \(pid:(\d+)\) was sent SIGKILL")
TOO_SLOW = re.compile(r"WORKER TIMEOUT \(pid:(\d+)\)")  # gunicorn ends these itself


def workers_killed(unit: str, since: str = _LATELY) -> int:
    """How many of gunicorn's workers the kernel has killed since a time.

    Only the current run of the service counts.
    """
    run_id = property_of(unit, "InvocationID")
    if not re.fullmatch("[0-9a-f]{32}", run_id):
        return 0
    command = ["journalctl", f"_SYSTEMD_INVOCATION_ID={run_id}", f"--since={since}"]
    command += ["-n", "2000", "--no-pager", "-q", "-o", "cat"]
    return killed_in(run(*command).stdout)


def killed_in(log: str) -> int:
    """How many workers were killed, by gunicorn's log.

    Those that gunicorn itself killed as too slow do not count.
    """
    killed = set(_KILLED.findall(log))
    too_slow = set(TOO_SLOW.findall(log))
    return len(killed - too_slow)


def for_want_of_memory() -> str:
    """The end of a message where the kernel has killed workers since this run began; "" elsewhere.

    Workers that were killed before do not count: the host may have more memory since.
    """
    began = time.time() - (time.monotonic() - STARTED)
    killed = workers_killed(service(), f"@{int(began)}")
    if not killed:
        return ""
    return (
        f": the kernel has killed {killed} of gunicorn's workers, because memory is short; give the"
        " host more (memory_mb or machine_type in the stack's config, then `fab up`), or reduce"
        " `workers`"
    )


def await_workers() -> None:
    """Wait until every worker has loaded the current release."""
    if not wait_for(loads_current_release, ORDERS.get("workers_s", WAIT_S)):
        raise Failed(
            f"no gunicorn worker has loaded the release in time{for_want_of_memory()}",
            last_lines(journal_of(service())),
        )


def loads_current_release() -> bool:
    """Whether every worker has loaded the current release, or there is no service to run one."""
    if not has_service():
        return True
    loaded = {release for _, release in loaded_by_gunicorn()}
    return loaded == {places.current_folder()}


def loaded_by_gunicorn() -> set[tuple[str, str]]:
    """What the living workers have loaded: a set of (fingerprint, release)."""
    loaded = set()
    for record in untrusted.worker_records(places.app()):
        loaded.add((record["fingerprint"], record["release"]))
    return loaded


def loaded_by_nginx() -> str | None:
    """The fingerprint that the running nginx has loaded; None where it does not answer.

    nginx reports it on a local socket.
    """
    response = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        try:
            connection.connect(NGINX_STATUS)
            connection.sendall(b"GET /loaded HTTP/1.0\r\n\r\n")
            while chunk := connection.recv(4096):
                response += chunk
        except OSError:
            return None
    head, _, body = response.partition(b"\r\n\r\n")
    status_line, _, _ = head.partition(b"\r\n")
    if b" 200 " not in status_line:
        return None
    return body.decode().strip()


def gave_up(unit: str) -> bool:
    """Whether a service that was just started has ended since; systemd keeps starting it."""
    properties = property_of(unit, "NRestarts,ActiveState").split()
    return properties[:1] != ["0"] or "failed" in properties


def properties_of(units: list[str]) -> dict[str, Properties]:
    """Unit → systemd's properties of it: name → values.

    One command for all units: each costs systemd as much as a program's start.
    """
    done = run("systemctl", "show", "-p", "Id,ActiveState,Listen", *units)
    if done.returncode:
        raise Failed("systemd does not answer; see `systemctl status` on the host", done.stdout)
    found: dict[str, Properties] = {}
    for text in done.stdout.split("\n\n"):
        properties: Properties = {
            "Id": [],
            "ActiveState": [],
            "Listen": [],
        }
        for line in text.splitlines():
            name, _, value = line.partition("=")
            properties.setdefault(name, []).append(value)
        for unit in properties["Id"]:
            found[unit] = properties
    return found


def hold_socket(unit: str, services: list[str]) -> None:
    """Let systemd hold the listening sockets.

    The service has the sockets open until then, so there is one short gap, once.
    """
    for service in services:
        run("systemctl", "stop", service)
    run("systemctl", "stop", unit)
    run("systemctl", "reset-failed", unit, *services)
    done = run("systemctl", "start", unit)
    if done.returncode:
        raise Failed(
            f"{unit} can't listen; `ss -ltnp` on the host shows which program has the port: stop"
            " it, then run this again",
            journal_of(unit),
        )


def listens_elsewhere(unit: str, listening: list[str], open_now: str) -> bool:
    """Whether the socket unit listens on other addresses than its file says.

    `listening` are systemd's values of the unit's Listen; `open_now` is the output of `ss`.
    """
    text = Path("/etc/systemd/system", unit).read_text()
    wanted = set()
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name == "ListenStream":
            wanted.add(value.strip())
    if wanted != {value.split(" ")[0] for value in listening}:
        return True
    for address in wanted:
        port = address.split(":")[-1]
        if port not in open_now:
            return True
    return False


_PORT = re.compile(r"^ListenStream=(?:\S*:)?(\d+)$", re.MULTILINE)
_HOLDER = re.compile(r'\("([^"]+)",pid=(\d+)')


def check_ports(generation: Generation) -> None:
    """Raise Failed where another program than nginx has a port that the generation needs.

    This comes before anything is stopped.
    """
    ports: set[str] = set()
    for file in generation["files"]:
        if file["path"].endswith(".socket"):
            ports.update(_PORT.findall(file["text"]))
    for port in sorted(ports):
        listeners = run("ss", "-Hlntp", "sport", "=", f":{port}").stdout
        for name, pid in sorted(set(_HOLDER.findall(listeners))):
            if name in ("systemd", "nginx"):
                continue
            raise Failed(
                f"port {port} is taken by {name} (pid {pid}); stop it, then run this again; nothing"
                " was changed"
            )
