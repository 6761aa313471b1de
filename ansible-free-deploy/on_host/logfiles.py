"""What nginx and the application wrote on this host, in the order of time, without what the kit's
own questions caused.

The kit notes each request that it makes here, and for each note one line goes: what anybody else
asks stays, whatever it says of itself and wherever it is from.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path

from on_host import audit, places, untrusted
from on_host.files import json_lines, write_durably
from on_host.orders import Json
from on_host.runtime import run

NGINX = places.ROOT / "var/log/nginx"
ASKED = audit.AUDIT.with_name("asked.jsonl")
MOST_NOTED = 512 << 10  # bytes; of more than that the older half goes
# Between a line and our note of the same request, on a machine with much to do. Wide is harmless:
# for each note one line goes, and those that could be taken for it say the same.
LATE_S = 5.0
_ACCESS = re.compile(r'(\S+) .*?\[([^\]]+)\] "(\S+) (\S+)[^"]*" (\d{3}) ')
_ERROR = re.compile(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) ")
# The whole line, without a place where a client's own words could stand for what comes behind them.
_OUR_ERROR = re.compile(
    r'[\d/]+ [\d:]+ \[error\] \d+#\d+: \*\d+ (?:open\w*\(\) "[^" ]*" failed \(2: [\w ]+\)'
    r"|client intended to send too large body: \d+ bytes)"
    r', client: 127\.0\.0\.1, server: _, request: "(\S+) (\S+) HTTP/1\.[01]", host: "[^" ]*"'
)
_OURS = "127.0.0.1"

Line = tuple[float, str, str]  # when, who, what


# -------------------------------------------------------------------------------------- what we ask


def note(via: str, method: str, target: str, status: int | None) -> None:
    """Write down a request that the kit has made here, via `nginx` or `gunicorn`; status None where
    none came."""
    line = (
        json.dumps(
            {"at": time.time(), "via": via, "method": method, "target": target, "status": status}
        )
        + "\n"
    )
    with contextlib.suppress(
        OSError
    ):  # where the disk is full, `fab logs` shows one request too many
        audit.AUDIT.parent.mkdir(parents=True, exist_ok=True)
        with ASKED.open("a") as handle:
            os.fchmod(handle.fileno(), 0o600)
            handle.write(line)
        if ASKED.stat().st_size > MOST_NOTED:
            lines = ASKED.read_bytes().splitlines(keepends=True)
            write_durably(ASKED, b"".join(lines[len(lines) // 2 :]), 0o600)


def asked() -> list[Json]:
    """The requests that the kit has made here."""
    return [one for _, one in json_lines(ASKED)]


def without_ours(lines: list[Line], ours: list[Json]) -> list[Line]:
    """The lines but one of each kind (access, error, the application's) for each of our
    requests."""
    left: dict[str, dict[int, list[Json]]] = {"access": {}, "error": {}, "application": {}}
    for one in ours:
        for by_second in left.values():
            by_second.setdefault(int(one["at"]), []).append(one)
    return [line for line in lines if not _takes(left[_kind(line)], line)]


def _kind(line: Line) -> str:
    return {"nginx access": "access", "nginx error": "error"}.get(line[1], "application")


def _takes(left: dict[int, list[Json]], line: Line) -> bool:
    """Whether one of our requests has caused the line; that one is used up."""
    is_cause = {"access": _is_access, "error": _is_error, "application": _is_warning}[_kind(line)]
    for second in range(int(line[0] - LATE_S), int(line[0] + LATE_S) + 1):
        for one in left.get(second, ()):
            if is_cause(one, line[2]):
                left[second].remove(one)
                return True
    return False


def _is_access(one: Json, text: str) -> bool:
    found = _ACCESS.match(text)
    if not found or one["via"] != "nginx" or found[1] != _OURS:
        return False
    return (found[3], found[4]) == (one["method"], one["target"]) and one["status"] in (
        None,
        int(found[5]),
    )


def _is_error(one: Json, text: str) -> bool:
    """What nginx says of a file that is missing or a body that is too large; why an application
    fails stays."""
    found = _OUR_ERROR.fullmatch(text)
    return (
        found is not None
        and one["via"] == "nginx"
        and found.groups() == (one["method"], one["target"])
    )


def _is_warning(one: Json, text: str) -> bool:
    """Django's line on an answer of 4xx, as it is or behind what a formatter writes."""
    from http import HTTPStatus

    if one["status"] is None:  # nobody waited for the end of it
        reasons = [status.phrase for status in HTTPStatus if 400 <= status < 500]
    elif one["status"] in range(400, 500) and one["status"] in list(HTTPStatus):
        reasons = [HTTPStatus(one["status"]).phrase]
    else:
        return False
    said = "(?:{}): {}".format(
        "|".join(map(re.escape, reasons)), re.escape(one["target"].partition("?")[0])
    )
    return bool(
        re.fullmatch(rf"(?:.{{0,80}}\b(?:WARNING|django\.request)\b.{{0,40}})?{said}", text)
    )


# ------------------------------------------------------------------------------------- what is said


def last(count: int, units: list[str]) -> str:
    """The last `count` entries of the units' journals and of nginx's files, each with its time and
    who wrote it."""
    ours = asked()
    most = count + len(ours)
    lines = [*of_journal(units, most), *of_file("access", most), *of_file("error", most)]
    return "\n".join(
        map(shown, without_ours(sorted(lines, key=lambda line: line[0]), ours)[-count:])
    )


def shown(line: Line) -> str:
    """An entry for people; what has more than one line can't look like another entry."""
    when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(line[0]))
    return f"{when} {line[1]}: " + line[2].rstrip("\n").replace("\n", "\n    ")


def of_journal(units: list[str], most: int) -> list[Line]:
    """What systemd has of the units."""
    words = [word for unit in units for word in ("-u", unit)]
    fields = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID"
    done = run("journalctl", *words, "-n", str(most), "--no-pager", "-q", "-o", "json", fields)
    found: list[Line] = []
    for text in done.stdout.splitlines():
        try:
            entry = json.loads(text)
            at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        except (ValueError, KeyError, TypeError):
            found.append((time.time(), "journalctl", text))  # it says why there is nothing
            continue
        process = "[{}]".format(entry["_PID"]) if "_PID" in entry else ""
        found.append(
            (
                at,
                f"{entry.get('SYSLOG_IDENTIFIER') or '?'}{process}",
                _message(entry.get("MESSAGE")),
            )
        )
    return found


def _message(value: object) -> str:
    """Text, or a list of bytes where it is none, or nothing where it is too long for the journal's
    JSON."""
    if isinstance(value, list):
        return bytes(value).decode(errors="replace")
    return value if isinstance(value, str) else "(too long)"


def of_file(name: str, most: int) -> list[Line]:
    """The end of nginx's access.log or error.log, and of the one before where that is short."""
    lines = untrusted.tail(NGINX, f"{name}.log", most)
    if len(lines) < most:
        lines = [*untrusted.tail(NGINX, f"{name}.log.1", most - len(lines)), *lines]
    found: list[Line] = []
    at = _written(NGINX / f"{name}.log")
    for line in lines:
        at = (
            _time(name, line) or at
        )  # in a format of its own, or the rest of an entry: with the one before
        found.append((at, f"nginx {name}", line))
    return found


def _written(path: Path) -> float:
    """When a file was written to last: the time of lines that tell none."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return time.time()


def _time(name: str, line: str) -> float | None:
    """When a line was written: its second's end, since what the application says of a request comes
    before."""
    from datetime import datetime

    with contextlib.suppress(ValueError, OverflowError):
        if name == "access" and (found := _ACCESS.match(line)):
            return datetime.strptime(found[2], "%d/%b/%Y:%H:%M:%S %z").timestamp() + 0.999
        if name == "error" and (found := _ERROR.match(line)):
            return time.mktime(time.strptime(found[1], "%Y/%m/%d %H:%M:%S")) + 0.999
    return None
