"""What `fab logs` shows of a host: nginx's files and the journal by time, without what the kit
asked itself."""

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


def test_all_of_it_comes_in_the_order_of_time(host: Path) -> None:
    """The application's word on a request comes before nginx's line on it, which has whole seconds
    only."""
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


def test_what_the_kit_asked_is_left_out_line_by_line(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe leaves a line of nginx and one of Django; a 404 of nginx itself one in its error
    log."""
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
        (NOON + 4, "Method Not Allowed: /"),  # by then nobody waited for the answer
    )
    assert said() == []


@pytest.mark.parametrize(
    "text", ["Not Found: /none", "he said Not Found: /", "x\nNot Found: /", "Not Found: /?"]
)
def test_what_the_application_says_otherwise_stays(
    host: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
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
def test_what_anybody_else_asks_stays(
    host: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: str
) -> None:
    """From elsewhere, of another kind, at another time: whatever it says of itself."""
    asked(monkeypatch, NOON, "nginx", "GET", "/", 404)
    (host / f"nginx/{name}.log").write_text(line)
    assert len(said()) == 1


def test_one_request_of_the_kit_hides_one_line_and_no_more(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an application is made to ask of its own host looks the same and stays in number."""
    asked(monkeypatch, NOON, "nginx", "GET", "/", 404)
    (host / "nginx/access.log").write_text(
        access(NOON, "GET /", 404, "127.0.0.1", "origin-kit") * 3
    )
    journal(host, *[(NOON + 0.1, "Not Found: /")] * 3)
    lines = said()
    assert [sum(word in line for line in lines) for word in ("access", "gunicorn")] == [2, 2]


def test_why_an_application_fails_stays(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it was the kit that has found out."""
    asked(monkeypatch, NOON, "nginx", "GET", "/", 502)
    (host / "nginx/error.log").write_text(error(NOON, "connect() failed", "GET /", "127.0.0.1"))
    journal(
        host, (NOON, "Internal Server Error: /\nTraceback (most recent call last):\n  ValueError")
    )
    assert len(said()) == 4


def test_an_entry_of_many_lines_can_t_look_like_another(host: Path) -> None:
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


def test_lines_in_another_format_stay_behind_the_one_before(host: Path) -> None:
    (host / "nginx/access.log").write_text(access(NOON + 5, "GET /", 200) + '{"json": 1}\n')
    journal(host, (NOON, "a"), (NOON + 9, "b"))
    assert [line[20:].split(": ", 1)[1][-11:] for line in said()] == [
        "a",
        '5 "-" "curl"'[-11:],
        '{"json": 1}',
        "b",
    ]


def test_what_was_rotated_a_moment_ago_is_shown(host: Path) -> None:
    (host / "nginx/access.log.1").write_text(access(NOON, "GET /before", 200))
    (host / "nginx/access.log").write_text(access(NOON + 1, "GET /after", 200))
    assert [line.split('"')[1] for line in said()] == [
        "GET /before HTTP/1.1",
        "GET /after HTTP/1.1",
    ]


def test_no_link_is_followed_and_no_pipe_waited_for(host: Path) -> None:
    """That it is not shown is said."""
    (host / "secret").write_text("root's own\n")
    (host / "nginx/access.log").symlink_to(host / "secret")
    os.mkfifo(host / "nginx/error.log")
    lines = said()
    assert len(lines) == 2 and all("is not shown" in line for line in lines)


def test_a_huge_log_is_read_from_its_end(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "LARGEST_TAIL", 1000)
    (host / "nginx/access.log").write_text(
        "".join(access(NOON, f"GET /{n}", 200) for n in range(5000))
    )
    lines = said()
    assert 5 < len(lines) < 15 and "GET /4999 " in lines[-1]


def test_what_is_noted_has_a_bound_and_is_root_s(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfiles, "MOST_NOTED", 1000)
    for number in range(50):
        logfiles.note("nginx", "GET", f"/{number}", 200)
    assert (host / "asked.jsonl").stat().st_size <= 1000
    assert (host / "asked.jsonl").stat().st_mode & 0o777 == 0o600
    assert logfiles.asked()[-1]["target"] == "/49"


def test_a_full_disk_costs_one_line_too_many(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe never fails because it can't be noted."""
    (host / "asked.jsonl").mkdir()
    logfiles.note("nginx", "GET", "/", 200)
    assert logfiles.asked() == []


def test_no_secret_is_in_what_is_shown(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ORDERS, "secrets", {"TOKEN": "hunter2hunter2"})
    monkeypatch.setitem(ORDERS, "units", ["shop.service"])
    (host / "nginx/access.log").write_text(access(NOON, "GET /?t=hunter2hunter2", 200))
    assert "GET /?t=(secret) HTTP/1.1" in looks.logs()["text"]
