"""The host's own probes over https: nginx is played by servers on loopback."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Contract
from on_host import logfiles, places, probe
from on_host.certificates import served
from on_host.protocol import Probes
from on_host.runtime import Failed
from rollout import deploy
from rollout.render import render
from tests.support.certificates import DAY, Authority
from tests.support.servers import Quiet, answering
from tests.test_doctor import NAMES
from tests.test_doctor_https import secure

PAGE, TWIN, API = "https://app.shop.test", "http://app.shop.test", "https://api.shop.test"
CA = Authority.root()
PAIR = CA.issue("api.shop.test", ends=-DAY, starts=-9 * DAY)  # not even trust in time is asked
LINEAGE = "acme-0123456789abcdef"
BACKEND: Probes = {
    "host": "api.shop.test",
    "origin": API,
    "lineage": LINEAGE,
    "plain": "deny",
    "allowed": [PAGE],
    "refused": [TWIN],
    "wildcard": False,
}
Answers = Callable[[str, Message], tuple[int, dict[str, str]]]


def allowing(status: int, *origins: str, **more: str) -> Answers:
    """This status for everything, readable for these origins."""

    def answers(method: str, headers: Message) -> tuple[int, dict[str, str]]:
        origin = headers.get("Origin", "")
        said = {"Access-Control-Allow-Origin": origin} if origin in origins else {}
        return status, {**said, **more}

    return answers


def denying(method: str, headers: Message) -> tuple[int, dict[str, str]]:
    """Port 80 as the kit's nginx answers it next to https."""
    if "Origin" not in headers:
        return 307, {"Location": f"{API}/"}
    return allowing(403, PAGE)(method, headers)


@contextmanager
def nginx(
    monkeypatch: pytest.MonkeyPatch, secure: Answers, plain: Answers, tls: ssl.SSLContext
) -> Iterator[list[tuple[str, str]]]:
    """What both ports answer; the requests that arrive, each with its port's name."""
    arrived: list[tuple[str, str]] = []

    def handler(name: str, answers: Answers) -> type[Quiet]:
        class Handler(Quiet):
            def do_GET(self) -> None:
                arrived.append((name, f"{self.command} {self.headers['Host']}"))
                status, headers = answers(self.command, self.headers)
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_OPTIONS = do_GET

        return Handler

    with (
        answering(handler("plain", plain)) as http,
        answering(handler("secure", secure), tls=tls) as https,
    ):
        monkeypatch.setattr(probe, "PLAIN", http)
        monkeypatch.setattr(served, "PORT", https)
        yield arrived


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with PAIR on its disk, whose workers are well."""
    monkeypatch.setattr(places, "KIT", tmp_path)
    monkeypatch.setattr(probe, "refuse_killed_workers", lambda: None)
    monkeypatch.setattr(probe, "step", lambda *_: None)
    current = tmp_path / "tls" / LINEAGE / "current"
    current.mkdir(parents=True)
    (current / "chain.pem").write_text(PAIR.chain)
    (current / "key.pem").write_text(PAIR.key)
    return tmp_path


@pytest.fixture(autouse=True)
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The log that each own request is noted for."""
    found: list[str] = []
    monkeypatch.setattr(logfiles, "note", lambda via, *_: found.append(via))
    return found


def tried(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    secure: Answers,
    plain: Answers,
    probes: Probes,
) -> list[tuple[str, str]]:
    with nginx(monkeypatch, secure, plain, PAIR.context(folder)) as arrived:
        probe.probe(probes)
    return arrived


def test_both_ports_are_asked_under_the_right_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, noted: list[str]
) -> None:
    """Expired or of an unknown CA, the pair on the disk is what counts here."""
    arrived = tried(monkeypatch, tmp_path, allowing(200, PAGE), denying, BACKEND)
    for port in ("plain", "secure"):
        for method in ("GET", "OPTIONS"):
            assert (port, f"{method} api.shop.test") in arrived
    assert set(noted) == {"nginx"}


WRONG: dict[str, tuple[Answers, Answers, str]] = {
    "https refuses the page": (allowing(200), denying, "must have one Access-Control-Allow-Origin"),
    "https allows the http twin": (allowing(200, PAGE, TWIN), denying, f"from {TWIN} is allowed"),
    "http allows the http twin": (
        allowing(200, PAGE),
        allowing(403, PAGE, TWIN),
        f"from {TWIN} is allowed",
    ),
    "http redirects": (
        allowing(200, PAGE),
        allowing(301, PAGE, Location=f"{API}/"),
        r"port 80 redirects a preflight .*`Origin: null`",
    ),
    "http serves": (allowing(200, PAGE), allowing(200, PAGE), "with 200 instead of 403"),
    "http is not readable": (
        allowing(200, PAGE),
        allowing(403),
        "must have one Access-Control-Allow-Origin",
    ),
    "no way to https": (
        allowing(200, PAGE),
        allowing(403, PAGE),
        "it must redirect to https://api",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_browser_would_stumble_over_fails(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secure, plain, words = WRONG[name]
    with pytest.raises(Failed, match=words):
        tried(monkeypatch, tmp_path, secure, plain, BACKEND)


def test_http_that_is_listed_is_answered_as_https_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    probes: Probes = {**BACKEND, "plain": "same", "allowed": [PAGE, TWIN], "refused": []}
    tried(monkeypatch, tmp_path, allowing(200, PAGE, TWIN), allowing(200, PAGE, TWIN), probes)
    with pytest.raises(Failed, match="redirects a preflight"):
        moved = allowing(308, PAGE, TWIN, Location=API)
        tried(monkeypatch, tmp_path, allowing(200, PAGE, TWIN), moved, probes)


def test_the_page_s_port_80_leads_to_https(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    probes: Probes = {
        "host": "app.shop.test",
        "origin": PAGE,
        "lineage": LINEAGE,
        "plain": "redirect",
        "pages": {"/": ""},
    }
    tried(monkeypatch, tmp_path, allowing(200), allowing(308, Location=f"{PAGE}/"), probes)
    for wrong in (allowing(200), allowing(308, Location=f"{API}/"), allowing(404)):
        with pytest.raises(Failed, match=f"it must redirect to {PAGE}/"):
            tried(monkeypatch, tmp_path, allowing(200), wrong, probes)


def test_another_certificate_than_the_one_on_the_disk_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: Path
) -> None:
    """Renewed on the disk, and the old one is served."""
    renewed = CA.issue("api.shop.test")
    (host / "tls" / LINEAGE / "current" / "chain.pem").write_text(renewed.chain)
    with pytest.raises(Failed, match="serves another certificate for api"):
        tried(monkeypatch, tmp_path, allowing(200, PAGE), denying, BACKEND)


def test_a_port_443_without_tls_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (
        nginx(monkeypatch, denying, denying, PAIR.context(tmp_path)),
        answering(Quiet) as plain,
    ):
        monkeypatch.setattr(served, "PORT", plain)
        with pytest.raises(Failed, match="no TLS handshake with nginx on port 443"):
            probe.probe(BACKEND)


def test_without_tls_nothing_of_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    probes: Any = {key: BACKEND[key] for key in ("host", "allowed", "refused", "wildcard")}
    arrived = tried(monkeypatch, tmp_path, denying, allowing(200, PAGE), probes)
    assert {port for port, _ in arrived} == {"plain"}


@pytest.mark.parametrize("via", ["nginx", "https"])
def test_the_doctor_s_questions_go_to_the_port_that_they_name(
    via: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with nginx(monkeypatch, allowing(200), allowing(403), PAIR.context(tmp_path)) as arrived:
        answer = probe.answer(via, "GET", "/", [["Host", "api.shop.test"], ["Origin", PAGE]])
    assert answer["status"] == {"nginx": 403, "https": 200}[via]
    assert [port for port, _ in arrived] == [{"nginx": "plain", "https": "secure"}[via]]


def test_a_deploy_orders_what_each_port_must_answer() -> None:
    """With the certificate's lineage; without https nothing of it."""
    api = probes_of(secure("local-ca"), "backend")
    assert api["plain"] == "deny" and TWIN in api["refused"]
    assert api["lineage"] == secure("local-ca").lineage("backend") and api["origin"] == API
    assert probes_of(secure("local-ca", TWIN), "backend")["plain"] == "same"
    page = probes_of(secure("local-ca"), "frontend")
    assert page["plain"] == "redirect" and page["lineage"] == secure("local-ca").lineage("frontend")
    moving = secure("local-ca")
    moving = replace(moving, frontend=replace(moving.frontend, former=(TWIN,)))
    assert probes_of(moving, "frontend")["plain"] == "same"
    assert probes_of(moving, "backend")["plain"] == "same"
    assert "lineage" not in probes_of(NAMES, "backend")


def probes_of(contract: Contract, role: str) -> Probes:
    host = getattr(contract, role).hosts[0]
    return deploy.probes(contract, role, render(contract, role, host, {}))
