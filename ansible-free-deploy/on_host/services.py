"""What systemd, nginx and gunicorn do on this host, and having them do something else."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

from on_host import places, untrusted
from on_host.audit import STARTED
from on_host.orders import ORDERS, Json
from on_host.runtime import WAIT_S, Failed, last_lines, run, wait_for

NGINX_STATUS = "/run/origin-kit-nginx.sock"
NGINX_ENABLED = "/etc/systemd/system/multi-user.target.wants/nginx.service"


def systemctl(*words: str) -> None:
    done = run("systemctl", *words)
    if done.returncode:
        raise Failed(
            "systemctl {} failed; the unit's own words follow".format(" ".join(words)),
            done.stdout + journal_of(words[-1]),
        )


def activity(unit: str) -> str:
    """systemd's one word on a unit."""
    said = run("systemctl", "is-active", unit).stdout.strip()
    return said if re.fullmatch("[a-z-]+", said) else "unknown: systemd does not answer"


# The line of a log that names an exception: `OSError: ...`,
# `django.core.exceptions.ImproperlyConfigured: ...`.
EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*: \S|^[\w.]*(Error|Exception|DoesNotExist)$", re.MULTILINE)


def journal_of(unit: str, since: float | None = None) -> str:
    """The unit's last words, without the frames of tracebacks and what gunicorn says when all is
    well; of the time `since` then alone, where that is given."""
    begin = []
    if since is not None:
        run(
            "journalctl", "--sync"
        )  # what was said until now may still be on its way into the journal
        begin = [f"--since=@{since:.6f}"]
    said = run(
        "journalctl", "-u", unit, *begin, "-n", "200", "-q", "--no-pager", "-o", "cat"
    ).stdout
    telling = [
        line
        for line in said.splitlines()
        if not line.startswith(("  ", "Traceback")) and "[INFO]" not in line
    ]
    return last_lines("\n".join(telling), 20)


def service() -> str:
    """The application's unit."""
    return f"{places.app()}.service"


def has_service() -> bool:
    """Whether there is a service to restart: not before the first deploy, and never on a
    frontend."""
    return (
        run("systemctl", "show", "-p", "LoadState", "--value", service()).stdout.strip() == "loaded"
    )


def restart_service() -> None:
    """Restart the application's service, even one that systemd has given up."""
    run("systemctl", "reset-failed", service())
    done = run("systemctl", "restart", service())
    if done.returncode:
        raise Failed(f"{service()} does not start", last_lines(done.stdout + journal_of(service())))


_LATELY = "-5min"
_KILLED = re.compile(r"Worker \(pid:(\d+)\) was sent SIGKILL")
_TOO_SLOW = re.compile(r"WORKER TIMEOUT \(pid:(\d+)\)")  # gunicorn ends these itself


def workers_killed(unit: str, since: str = _LATELY) -> int:
    """How many of gunicorn's workers the kernel has killed in this run of the service, lately or
    since a time."""
    run_id = run("systemctl", "show", "-p", "InvocationID", "--value", unit).stdout.strip()
    if not re.fullmatch("[0-9a-f]{32}", run_id):
        return 0
    words = (
        f"_SYSTEMD_INVOCATION_ID={run_id}",
        f"--since={since}",
        "-n",
        "2000",
        "--no-pager",
        "-q",
        "-o",
        "cat",
    )
    return killed_in(run("journalctl", *words).stdout)


def killed_in(said: str) -> int:
    """How many workers a log of gunicorn's says were killed, without those that it has ended as too
    slow."""
    return len(set(_KILLED.findall(said)) - set(_TOO_SLOW.findall(said)))


def for_want_of_memory() -> str:
    """That the kernel has killed workers since this began, and what to do: the end of a message; ""
    where it has not.

    What was killed before counts no more: somebody may have given the host more memory since.
    """
    began = time.time() - (time.monotonic() - STARTED)
    killed = workers_killed(service(), f"@{int(began)}")
    if not killed:
        return ""
    return (
        f": the kernel has killed {killed} of gunicorn's workers, for want of memory; give the host"
        " more (memory_mb or machine_type in the stack's config, then `fab up`), or have fewer"
        " `workers`"
    )


def await_workers() -> None:
    """Wait until every worker has loaded the release that is current."""
    if not wait_for(loads_current_release, ORDERS.get("workers_s", WAIT_S)):
        raise Failed(
            f"no worker has loaded it in time{for_want_of_memory()}",
            last_lines(journal_of(service())),
        )


def loads_current_release() -> bool:
    """Whether every worker has loaded the release that is current; also where there is no service
    to run one."""
    return not has_service() or {loaded for _, loaded in loaded_by_gunicorn()} == {
        places.current_folder()
    }


def loaded_by_gunicorn() -> set[tuple[str, str]]:
    """What the living workers loaded, as a set of (fingerprint, release)."""
    return {
        (record["fingerprint"], record["release"])
        for record in untrusted.worker_records(places.app())
    }


def loaded_by_nginx() -> str | None:
    """The fingerprint that the running nginx loaded, told on its local socket; None where it does
    not answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        try:
            connection.connect(NGINX_STATUS)
            connection.sendall(b"GET /loaded HTTP/1.0\r\n\r\n")
            head, _, body = b"".join(iter(lambda: connection.recv(4096), b"")).partition(
                b"\r\n\r\n"
            )
        except OSError:
            return None
    return body.decode().strip() if b" 200 " in head.split(b"\r\n")[0] else None


def gave_up(unit: str) -> bool:
    """Whether a service that was just started has died since: systemd starts it again and again."""
    shown = run("systemctl", "show", "-p", "NRestarts,ActiveState", "--value", unit).stdout.split()
    return shown[:1] != ["0"] or "failed" in shown


def told_of(units: list[str]) -> dict[str, dict[str, list[str]]]:
    """What systemd says of each unit, by property; one question for all, since each costs it as
    much as a program."""
    found: dict[str, dict[str, list[str]]] = {}
    done = run("systemctl", "show", "-p", "Id,ActiveState,Listen", *units)
    if done.returncode:
        raise Failed("systemd does not answer; see `systemctl status` on the host", done.stdout)
    for text in done.stdout.split("\n\n"):
        told: dict[str, list[str]] = {"Id": [], "ActiveState": [], "Listen": []}
        for line in text.splitlines():
            name, _, value = line.partition("=")
            told.setdefault(name, []).append(value)
        found.update(dict.fromkeys(told["Id"], told))
    return found


def hold_socket(unit: str, services: list[str]) -> None:
    """Let systemd hold the listening sockets. Its service has it open until then: one short gap,
    once."""
    for service in services:
        run("systemctl", "stop", service)
    run("systemctl", "stop", unit)
    run("systemctl", "reset-failed", unit, *services)
    done = run("systemctl", "start", unit)
    if done.returncode:
        raise Failed(
            f"{unit} can't listen; `ss -ltnp` on the host shows who does", journal_of(unit)
        )


def listens_elsewhere(unit: str, told: list[str], open_now: str) -> bool:
    """Whether the socket unit listens on something else than its file says now; `told` is systemd's
    word on it."""
    path = Path("/etc/systemd/system", unit)
    wanted = {
        line.split("=", 1)[1].strip()
        for line in path.read_text().splitlines()
        if line.startswith("ListenStream=")
    }
    listening = {line.split(" ")[0] for line in told}
    return listening != wanted or any(address.split(":")[-1] not in open_now for address in wanted)


def check_ports(generation: Json) -> None:
    """Raises Failed where another program than nginx has a port of the kit's, before anything is
    stopped for it."""
    units = [file["text"] for file in generation["files"] if file["path"].endswith(".socket")]
    for port in sorted(
        {
            port
            for text in units
            for port in re.findall(r"^ListenStream=(?:\S*:)?(\d+)$", text, re.MULTILINE)
        }
    ):
        holders = set(
            re.findall(
                r'\("([^"]+)",pid=(\d+)', run("ss", "-Hlntp", "sport", "=", ":" + port).stdout
            )
        )
        for name, pid in sorted(holders):
            if name not in ("systemd", "nginx"):
                raise Failed(
                    f"port {port} is taken by {name} (pid {pid}); stop it, then run this again;"
                    " nothing was changed"
                )
