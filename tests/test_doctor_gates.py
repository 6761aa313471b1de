"""A preview's gates may keep this machine out as well: it is said, and nothing is called broken."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from infra.core.keys.previews import PASSWORD
from infra.core.origins import parse_origin
from rollout import check, gated
from rollout.check import CheckError
from rollout.doctor import ask, diagnose
from rollout.doctor.ask import Page
from rollout.doctor.codes import Code
from rollout.doctor.observations import Observations
from rollout.doctor.questions import Question
from rollout.render.gates import HEADER, PREVIEW_FROM
from rollout.tls import Place
from rollout.verdict import Response
from tests.support import servers
from tests.support.gated import preview_of
from tests.test_doctor import IP, observed, right
from tests.test_render import load

PREVIEW = preview_of(IP)
GATE = {HEADER: PREVIEW_FROM}
REALM = {"WWW-Authenticate": 'Basic realm="preview"'}


def refusing(question: Question) -> tuple[ask.Answer, ...]:
    """What `preview_from` answers an API's requests with; preflights are as ever."""
    *before, last = right(PREVIEW)(question)
    assert isinstance(last, Response)
    return (*before, replace(last, status=403, headers=(*last.headers, (HEADER, PREVIEW_FROM))))


def seen(page: Page, gated_api: bool = False) -> Observations:
    return observed(PREVIEW, refusing if gated_api else None, page=page)


OPEN = Page(200, None, IP.backend.origin)
CASES = {
    "both roles": (seen(Page(403, gate=PREVIEW_FROM), True), Code.OUTSIDE_PREVIEW_FROM),
    "the API alone": (seen(OPEN, True), Code.OUTSIDE_PREVIEW_FROM),
    "the password": (seen(Page(401, gate=PASSWORD)), Code.PREVIEW_PASSWORD_UNKNOWN),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_gate_keeps_out_is_one_warning(case: str) -> None:
    whole, code = CASES[case]
    result = diagnose(whole)
    assert [finding.code for finding in result.findings if finding.code == code] == [code]
    assert not [finding.code for finding in result.findings if finding.code == Code.PAGE_FAILS]
    assert (result.causes, result.status) == (0, 0)


def test_without_a_gate_there_is_no_such_warning() -> None:
    codes = {finding.code for finding in diagnose(seen(OPEN)).findings}
    assert not codes & {Code.OUTSIDE_PREVIEW_FROM, Code.PREVIEW_PASSWORD_UNKNOWN}


def test_any_other_403_is_a_page_that_fails() -> None:
    result = diagnose(seen(Page(403)))
    assert Code.PAGE_FAILS in {finding.code for finding in result.findings}
    assert result.status == 1


@pytest.mark.parametrize(
    ("status", "headers", "gate"),
    [
        (403, GATE, PREVIEW_FROM),
        (401, REALM, PASSWORD),
        (403, {}, ""),
        (200, GATE, ""),
        (401, {"WWW-Authenticate": 'Basic realm="admin"'}, ""),
        (401, {}, ""),
    ],
)
def test_a_gate_is_known_by_its_answer(status: int, headers: dict[str, str], gate: str) -> None:
    assert gated.gate_of(status, headers.get) == gate


@contextmanager
def page_with_a_password(password: str, **headers: str) -> Iterator[Place]:
    """A page here that wants this password; with `headers` it refuses everybody by them."""
    wanted = "Basic " + base64.b64encode(f"preview:{password}".encode()).decode()

    class Handler(servers.Quiet):
        def do_GET(self) -> None:
            is_open = self.headers["Authorization"] == wanted and not headers
            self.send_response(200 if is_open else 403 if headers else 401)
            for name, value in (headers or ({} if is_open else REALM)).items():
                self.send_header(name, value)
            body = b'{"backend": "http://10.213.7.74"}'
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with servers.answering(Handler) as port:
        yield Place(parse_origin(f"http://127.0.0.1:{port}", production=False), "127.0.0.1")


def test_the_doctor_sends_the_password_that_is_known() -> None:
    """Page and config.json are looked at then; without it, or with another one, neither."""
    with page_with_a_password("a password") as place:
        opened = ask.page(place, gated.credentials({PASSWORD: "a password"}))
        assert (opened.status, opened.backend, opened.gate) == (200, "http://10.213.7.74", "")
        for secrets in ({}, {PASSWORD: "another one"}):
            refused = ask.page(place, gated.credentials(secrets))
            assert (refused.status, refused.gate, refused.config_problem) == (401, PASSWORD, "")
    with page_with_a_password("a password", **GATE) as place:
        assert ask.page(place).gate == PREVIEW_FROM


@pytest.mark.parametrize("headers", [GATE, {}])
def test_the_check_after_a_deploy_says_what_it_could_not_look_at(
    headers: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with page_with_a_password("a password", **headers) as place:
        contract = load("local-ip")
        (host,) = contract.frontend.hosts
        here = replace(
            contract.frontend, origin=str(place.origin), hosts=(replace(host, address="127.0.0.1"),)
        )
        check.from_here(replace(preview_of(contract), frontend=here), only=host.name)
    said = capsys.readouterr().out
    assert f"{host.name}" in said and "can't be looked at from here" in said
    assert (PASSWORD in said) == (not headers)


def test_and_fails_for_any_other_refusal() -> None:
    with page_with_a_password("a password", Server="nginx") as place:
        contract = load("local-ip")
        (host,) = contract.frontend.hosts
        here = replace(
            contract.frontend, origin=str(place.origin), hosts=(replace(host, address="127.0.0.1"),)
        )
        with pytest.raises(CheckError, match="the page answers 403"):
            check.from_here(replace(contract, frontend=here), only=host.name)
