"""What nginx and the application logged on this host, by time, without the kit's own requests.

The kit records each request that it makes here, and for each record one line of each log is left
out. The lines of all other clients stay, wherever they come from and whatever they claim to be.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable  # noqa: UP035 - Python 3.9 on hosts

from on_host import audit, places, untrusted
from on_host.files import json_lines, write_durably
from on_host.runtime import run

if TYPE_CHECKING:
    from on_host.on_disk import Asked

    BySecond = dict[int, list[Asked]]  # the kit's own requests by the second they were made in

NGINX = places.ROOT / "var/log/nginx"
ASKED = audit.AUDIT.with_name("asked.jsonl")
MOST_NOTED = 512 << 10  # bytes; when there are more, the older half is removed
# Between a line and our record of the same request, on a busy machine. A wide window is harmless:
# for each record one line is left out, and those that could be taken for it are equal.
LATE_S = 5.0
_ACCESS = re.compile(r'(\S+) .*?\[([^\]]+)\] "(\S+) (\S+)[^"]*" (\d{3}) ')
_ERROR = re.compile(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) ")
# The whole line, so that no text of a client can stand for the parts behind it.
_OUR_ERROR = re.compile(
    r'[\d/]+ [\d:]+ \[error\] \d+#\d+: \*\d+ (?:open\w*\(\) "[^" ]*" failed \(2: [\w ]+\)'
    r"|client intended to send too large body: \d+ bytes)"
    r', client: 127\.0\.0\.1, server: _, request: "(\S+) (\S+) HTTP/1\.[01]", host: "[^" ]*"'
)
_OURS = "127.0.0.1"

Line = tuple[float, str, str]  # time, writer, text


# --------------------------------------------------------------------------- the kit's own requests


def note(via: str, method: str, target: str, status: int | None) -> None:
    """Record a request that the kit has made here.

    `via` is `nginx` or `gunicorn`; status is None where no answer came. On a full disk nothing is
    recorded: then `fab logs` shows one request too many.
    """
    request: Asked = {
        "at": time.time(),
        "via": via,
        "method": method,
        "target": target,
        "status": status,
    }
    with contextlib.suppress(OSError):
        audit.AUDIT.parent.mkdir(parents=True, exist_ok=True)
        with ASKED.open("a") as handle:
            os.fchmod(handle.fileno(), 0o600)
            handle.write(json.dumps(request) + "\n")
        if ASKED.stat().st_size > MOST_NOTED:
            lines = ASKED.read_bytes().splitlines(keepends=True)
            newer_half = lines[len(lines) // 2 :]
            write_durably(ASKED, b"".join(newer_half), 0o600)


def asked() -> list[Asked]:
    """The requests that the kit has made here."""
    return [request for _, request in json_lines(ASKED)]


def without_ours(lines: list[Line], ours: list[Asked]) -> list[Line]:
    """The lines without those that our requests have caused.

    Each request takes away one line of each kind: access, error, and the application's.
    """
    unused = {kind: _by_second(ours) for kind in _IS_CAUSE}
    left = []
    for line in lines:
        kind = _kind(line)
        if not _use_up(unused[kind], line, _IS_CAUSE[kind]):
            left.append(line)
    return left


def _by_second(requests: list[Asked]) -> BySecond:
    by_second: BySecond = {}
    for request in requests:
        second = int(request["at"])
        by_second.setdefault(second, []).append(request)
    return by_second


def _kind(line: Line) -> str:
    kinds = {"nginx access": "access", "nginx error": "error"}
    return kinds.get(line[1], "application")


def _use_up(unused: BySecond, line: Line, is_cause: Callable[[Asked, str], bool]) -> bool:
    """Whether one of our requests has caused the line; that one is removed from `unused`."""
    at, _, text = line
    first = int(at - LATE_S)
    last = int(at + LATE_S)
    for second in range(first, last + 1):
        for request in unused.get(second, ()):
            if is_cause(request, text):
                unused[second].remove(request)
                return True
    return False


def _causes_access(request: Asked, text: str) -> bool:
    match = _ACCESS.match(text)
    if match is None:
        return False
    client, _, method, target, status = match.groups()
    if request["via"] != "nginx" or client != _OURS:
        return False
    if (method, target) != (request["method"], request["target"]):
        return False
    return request["status"] in (None, int(status))


def _causes_error(request: Asked, text: str) -> bool:
    """nginx's line on a missing file or a body that is too large.

    Why an application fails is never left out.
    """
    match = _OUR_ERROR.fullmatch(text)
    if match is None or request["via"] != "nginx":
        return False
    return match.groups() == (request["method"], request["target"])


def _causes_warning(request: Asked, text: str) -> bool:
    """Django's line on an answer of 4xx, plain or behind the prefix of a formatter."""
    reasons = _reasons(request["status"])
    if not reasons:
        return False
    path, _, _ = request["target"].partition("?")
    any_reason = "|".join(re.escape(reason) for reason in reasons)
    warning = f"{_PREFIX}(?:{any_reason}): {re.escape(path)}"
    return re.fullmatch(warning, text) is not None


_IS_CAUSE = {
    "access": _causes_access,
    "error": _causes_error,
    "application": _causes_warning,
}
# What a formatter may write before Django's text.
_PREFIX = r"(?:.{0,80}\b(?:WARNING|django\.request)\b.{0,40})?"


def _reasons(status: int | None) -> list[str]:
    """The reason phrases that Django may log; for a request without an answer, all of 4xx."""
    from http import HTTPStatus

    errors = [error for error in HTTPStatus if 400 <= error < 500]
    return [error.phrase for error in errors if status in (None, int(error))]


# --------------------------------------------------------------------------------------- the output


def last(count: int, units: list[str]) -> str:
    """The last `count` entries, each with its time and who wrote it.

    They are from the units' journals and nginx's files.
    """
    ours = asked()
    most = count + len(ours)
    lines = of_journal(units, most)
    lines += of_file("access", most)
    lines += of_file("error", most)
    lines.sort(key=lambda line: line[0])
    left = without_ours(lines, ours)
    return "\n".join(shown(line) for line in left[-count:])


def shown(line: Line) -> str:
    """An entry for people; an entry of several lines can't look like another entry."""
    at, writer, text = line
    when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(at))
    indented = text.rstrip("\n").replace("\n", "\n    ")
    return f"{when} {writer}: {indented}"


def of_journal(units: list[str], most: int) -> list[Line]:
    """The last entries of the units in systemd's journal."""
    command = ["journalctl"]
    for unit in units:
        command += ["-u", unit]
    command += ["-n", str(most), "--no-pager", "-q", "-o", "json"]
    command += ["--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID"]
    return [_journal_line(text) for text in run(*command).stdout.splitlines()]


def _journal_line(text: str) -> Line:
    try:
        entry = json.loads(text)
        at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError):
        return time.time(), "journalctl", text  # journalctl says why there is nothing
    writer = entry.get("SYSLOG_IDENTIFIER") or "?"
    if "_PID" in entry:
        writer += f"[{entry['_PID']}]"
    return at, writer, _message(entry.get("MESSAGE"))


def _message(value: object) -> str:
    """The text of a MESSAGE.

    It is a list of bytes where it is no UTF-8, and null where it is too long for JSON.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return bytes(value).decode(errors="replace")
    return "(too long)"


def of_file(name: str, most: int) -> list[Line]:
    """The end of nginx's access.log or error.log, and of the rotated one where that is short.

    A line without a time (another format, or the rest of an entry) gets that of the line before.
    """
    lines = untrusted.tail(NGINX, f"{name}.log", most)
    missing = most - len(lines)
    if missing > 0:
        lines = untrusted.tail(NGINX, f"{name}.log.1", missing) + lines
    at = _last_write(NGINX / f"{name}.log")
    found: list[Line] = []
    for line in lines:
        at = _time(name, line) or at
        found.append((at, f"nginx {name}", line))
    return found


def _last_write(path: Path) -> float:
    """When a file was written to last: the time of lines that have none."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return time.time()


def _time(name: str, line: str) -> float | None:
    """When a line was written; None where it does not say.

    nginx writes whole seconds. The end of the second is taken, since the application's line on a
    request comes before nginx's.
    """
    from datetime import datetime

    pattern = _ACCESS if name == "access" else _ERROR
    match = pattern.match(line)
    if match is None:
        return None
    try:
        if name == "access":
            return datetime.strptime(match[2], "%d/%b/%Y:%H:%M:%S %z").timestamp() + 0.999
        return time.mktime(time.strptime(match[1], "%Y/%m/%d %H:%M:%S")) + 0.999
    except (ValueError, OverflowError):
        return None
