"""What `fab logs` shows of a host: all logs by time, without the kit's own requests."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from on_host import audit, logfiles, looks, untrusted
from on_host.orders import ORDERS

OPEN = 'open() "/opt/shop/current/static/none" failed (2: No such file or directory)'
FORGED = f'{OPEN}, client: 127.0.0.1, server: _, request: "GET / HTTP/1.1"'
NOON = 1_800_000_000  # 2027-01-15T08:00:00Z
Entry = tuple[float, str, str]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host's /var/log, in UTC, with a journal that says what `journal` was given."""
    (tmp_path / "nginx").mkdir()
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/journalctl").write_text('#!/bin/sh\ncat "${0%/*}/journal"\n')
    (tmp_path / "fake/journalctl").chmod(0o755)
    (tmp_path / "fake/journal").write_text("")
    monkeypatch.setattr(logfiles, "NGINX", tmp_path / "nginx")
    monkeypatch.setattr(audit, "AUDIT", tmp_path / "audit.jsonl")
    monkeypatch.setattr(logfiles, "ASKED", tmp_path / "asked.jsonl")
    monkeypatch.setenv("PATH", f"{tmp_path / 'fake'}:{os.environ['PATH']}")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


def access(
    at: float, request: str, status: int, client: str = "203.0.113.9", agent: str = "curl"
) -> str:
    when = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(at))
    return f'{client} - - [{when}] "{request} HTTP/1.1" {status} 5 "-" "{agent}"\n'


def error(at: float, what: str, request: str, client: str = "203.0.113.9") -> str:
    when = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime(at))
    return (
        f'{when} [error] 9#9: *1 {what}, client: {client}, server: _, request: "{request}'
        ' HTTP/1.1", host: "x"\n'
    )


def journal(host: Path, *entries: tuple[float, object]) -> None:
    lines = [
        {
            "__REALTIME_TIMESTAMP": str(int(at * 1e6)),
            "MESSAGE": text,
            "SYSLOG_IDENTIFIER": "gunicorn",
            "_PID": "7",
        }
        for at, text in entries
    ]
    (host / "fake/journal").write_text("".join(json.dumps(line) + "\n" for line in lines))


def said(count: int = 50) -> list[str]:
    return logfiles.last(count, ["nginx.service", "shop.service"]).splitlines()


def asked(monkeypatch: pytest.MonkeyPatch, at: float, *what: object) -> None:
    monkeypatch.setattr("on_host.logfiles.time.time", lambda: at)
    logfiles.note(*what)  # type: ignore[arg-type]


def test_entries_are_in_the_order_of_time(host: Path) -> None:
    """The application's line on a request comes before nginx's, which has whole seconds only."""
    (host / "nginx/access.log").write_text(
        access(NOON, "GET /a", 500) + access(NOON + 2, "GET /b?c=d", 404)
    )
    (host / "nginx/error.log").write_text(error(NOON + 1, "upstream prematurely closed", "GET /x"))
    journal(host, (NOON + 0.4, "Internal Server Error: /a"), (NOON + 1.5, "Not Found: /b"))
    lines = said()
    assert [line.split(" ", 1)[1].split(":")[0] for line in lines] == [
        "gunicorn[7]",
        "nginx access",
        "gunicorn[7]",
        "nginx error",
        "nginx access",
    ]
    assert lines[0] == "2027-01-15T08:00:00+0000 gunicorn[7]: Internal Server Error: /a"
    assert '"GET /b?c=d HTTP/1.1" 404' in lines[-1]
    assert said(2) == lines[-2:]


def test_lines_of_the_kit_s_requests_are_left_out(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe causes a line of nginx and one of Django; a 404 by nginx, one in its error log."""
    for at, *what in (
        (NOON, "nginx", "GET", "/", 404),
        (NOON, "gunicorn", "GET", "/none", 404),
        (NOON + 1, "nginx", "GET", "/static/none?a=b", 404),
        (NOON + 1, "nginx", "OPTIONS", "/", None),
    ):
        asked(monkeypatch, at, *what)
    (host / "nginx/access.log").write_text(
        access(NOON, "GET /", 404, "127.0.0.1")
        + access(NOON + 1, "GET /static/none?a=b", 404, "127.0.0.1")
        + access(NOON + 1, "OPTIONS /", 204, "127.0.0.1")
    )
    (host / "nginx/error.log").write_text(
        error(NOON + 1, OPEN, "GET /static/none?a=b", "127.0.0.1")
    )
    journal(
        host,
        (NOON + 0.2, "Not Found: /"),
        (NOON + 0.3, "[django.request] Not Found: /none"),
        (NOON + 4, "Method Not Allowed: /"),  # the probe had stopped waiting
    )
    assert said() == []


@pytest.mark.parametrize(
    "text", ["Not Found: /none", "he said Not Found: /", "x\nNot Found: /", "Not Found: /?"]
)
def test_other_lines_of_the_application_stay(
    host: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Only Django's own line on the request's path is left out."""
    asked(monkeypatch, NOON, "gunicorn", "GET", "/", 404)
    journal(host, (NOON, text))
    assert said() != []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("access", access(NOON, "GET /", 404)),
        ("access", access(NOON, "GET /", 404, "203.0.113.9", "origin-kit")),
        ("access", access(NOON, "GET /", 200, "127.0.0.1")),
        ("access", access(NOON, "POST /", 404, "127.0.0.1")),
        ("access", access(NOON, "GET /?", 404, "127.0.0.1")),
        ("access", access(NOON + 9, "GET /", 404, "127.0.0.1", "origin-kit")),
        ("error", error(NOON, OPEN, "GET /")),
        ("error", error(NOON, OPEN, "GET /other", "127.0.0.1")),
        ("error", error(NOON, FORGED, "GET /x")),
        ("error", error(NOON, OPEN, "GET /").rstrip() + f', referrer: "x{FORGED}, host: "x"\n'),
    ],
)
def test_lines_of_other_clients_stay(
    host: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: str
) -> None:
    """From another address, of another kind, at another time, whatever the client claims to be."""
    asked(monkeypatch, NOON, "nginx", "GET", "/", 404)
    (host / f"nginx/{name}.log").write_text(line)
    assert len(said()) == 1


def test_one_request_hides_one_line_only(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal requests by the application to its own host are all still shown."""
    asked(monkeypatch, NOON, "nginx", "GET", "/", 404)
    (host / "nginx/access.log").write_text(
        access(NOON, "GET /", 404, "127.0.0.1", "origin-kit") * 3
    )
    journal(host, *[(NOON + 0.1, "Not Found: /")] * 3)
    lines = said()
    assert [sum(word in line for line in lines) for word in ("access", "gunicorn")] == [2, 2]


def test_reasons_of_failures_stay(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the failed request was the kit's own."""
    asked(monkeypatch, NOON, "nginx", "GET", "/", 502)
    (host / "nginx/error.log").write_text(error(NOON, "connect() failed", "GET /", "127.0.0.1"))
    journal(
        host, (NOON, "Internal Server Error: /\nTraceback (most recent call last):\n  ValueError")
    )
    assert len(said()) == 4


def test_an_entry_can_t_look_like_two(host: Path) -> None:
    """Further lines of an entry are indented."""
    journal(
        host,
        (NOON, "first\n2027-01-15T08:00:00+0000 nginx access: 127.0.0.1 forged"),
        (NOON, list(b"\xffbytes")),
    )
    assert said() == [
        "2027-01-15T08:00:00+0000 gunicorn[7]: first",
        "    2027-01-15T08:00:00+0000 nginx access: 127.0.0.1 forged",
        "2027-01-15T08:00:00+0000 gunicorn[7]: �bytes",
    ]


def test_lines_without_a_time_keep_their_place(host: Path) -> None:
    """A line in another format stays behind the line before it."""
    (host / "nginx/access.log").write_text(access(NOON + 5, "GET /", 200) + '{"json": 1}\n')
    journal(host, (NOON, "a"), (NOON + 9, "b"))
    assert [line[20:].split(": ", 1)[1][-11:] for line in said()] == [
        "a",
        '5 "-" "curl"'[-11:],
        '{"json": 1}',
        "b",
    ]


def test_the_rotated_log_is_shown_too(host: Path) -> None:
    """Where the log is short, lines of the one before are shown first."""
    (host / "nginx/access.log.1").write_text(access(NOON, "GET /before", 200))
    (host / "nginx/access.log").write_text(access(NOON + 1, "GET /after", 200))
    assert [line.split('"')[1] for line in said()] == [
        "GET /before HTTP/1.1",
        "GET /after HTTP/1.1",
    ]


def test_links_and_pipes_are_not_read(host: Path) -> None:
    """A line says that the log is not shown."""
    (host / "secret").write_text("root's own\n")
    (host / "nginx/access.log").symlink_to(host / "secret")
    os.mkfifo(host / "nginx/error.log")
    lines = said()
    assert len(lines) == 2 and all("is not shown" in line for line in lines)


def test_a_huge_log_is_read_from_its_end(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its last bytes are read."""
    monkeypatch.setattr(untrusted, "LARGEST_TAIL", 1000)
    (host / "nginx/access.log").write_text(
        "".join(access(NOON, f"GET /{n}", 200) for n in range(5000))
    )
    lines = said()
    assert 5 < len(lines) < 15 and "GET /4999 " in lines[-1]


def test_the_record_of_requests_is_bounded(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older half is removed when it grows too large, and only root can read it."""
    monkeypatch.setattr(logfiles, "MOST_NOTED", 1000)
    for number in range(50):
        logfiles.note("nginx", "GET", f"/{number}", 200)
    assert (host / "asked.jsonl").stat().st_size <= 1000
    assert (host / "asked.jsonl").stat().st_mode & 0o777 == 0o600
    assert logfiles.asked()[-1]["target"] == "/49"


def test_a_full_disk_fails_no_probe(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that can not be recorded is shown in the log."""
    (host / "asked.jsonl").mkdir()
    logfiles.note("nginx", "GET", "/", 200)
    assert logfiles.asked() == []


def test_no_secret_is_shown(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The value of a secret in a request's line is replaced."""
    monkeypatch.setitem(ORDERS, "secrets", {"TOKEN": "hunter2hunter2"})
    monkeypatch.setitem(ORDERS, "units", ["shop.service"])
    (host / "nginx/access.log").write_text(access(NOON, "GET /?t=hunter2hunter2", 200))
    assert "GET /?t=(secret) HTTP/1.1" in looks.logs()["text"]
