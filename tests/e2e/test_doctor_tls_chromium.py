"""The doctor's TLS findings next to a real Chromium: the same servers on loopback, the same CA
trusted by both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from infra.core.contract import Contract
from infra.core.origins import Origin
from rollout.certificates import local_ca
from rollout.doctor import Observations, ask, browser, reach
from rollout.doctor.browser import FLAGS
from rollout.doctor.findings import findings
from rollout.doctor.handshake import Handshake
from rollout.doctor.observations import Cell
from rollout.doctor.questions import endpoints, questions
from rollout.doctor.rows import rows
from rollout.doctor.verdicts import judged
from rollout.tls import Place
from tests.support.certificates import DAY, Authority, Issued
from tests.support.chromium import STEADY
from tests.support.servers import Quiet, answering
from tests.support.trust import trust
from tests.test_doctor import NAMES, observed, silence
from tests.test_handshake import old

pytestmark = pytest.mark.browser

API, PAGE = "api.shop.test", "app.shop.test"
ROOT = Authority.root()
MIDDLE = ROOT.intermediate()
ELSEWHERE = Authority.root("Somebody Else's Root")


class Hello(Quiet):
    """200 for everything, readable for the page's origins."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", self.headers["Origin"] or "null")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_OPTIONS(self) -> None:
        self.do_GET()


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user whose system and whose Chromium trust ROOT, and who has no CA of their own."""
    folder = tmp_path_factory.mktemp("tls")
    root = ROOT.write(folder / "root.pem")
    trust(folder, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("SSL_CERT_FILE", str(root))
        patch.setenv("ORIGIN_KIT_HOME", str(folder / "kit"))
        yield folder


@pytest.fixture(scope="module")
def chromium(home: Path) -> Iterator[Browser]:
    """Chromium of that user; the API's name leads to this machine."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=STEADY,
            args=[*FLAGS, f"--host-resolver-rules=MAP {API} 127.0.0.1"],
        )
        yield made
        made.close()


def word_of(chromium: Browser, url: str) -> str:
    """What Chromium says where it opens this URL: empty, or the name of its error."""
    page = chromium.new_page()
    try:
        page.goto(url)
    except Error as problem:
        return problem.message.partition("net::")[2].split()[0]
    finally:
        page.close()
    return ""


@contextmanager
def serving(
    issued: Issued, folder: Path, change: Callable[[Any], None] | None = None
) -> Iterator[Origin]:
    """The API's origin, whose server has this certificate."""
    context = issued.context(folder)
    if change:
        change(context)
    with answering(Hello, tls=context) as port:
        yield Origin("https", API, port)


def secure(api: Origin) -> Contract:
    """An https pair whose API is this one."""
    front = replace(NAMES.frontend, origin=f"https://{PAGE}")
    host = replace(NAMES.backend.hosts[0], address="127.0.0.1")
    back = replace(NAMES.backend, origin=str(api), hosts=(host,))
    cors = replace(NAMES.cors, allowed_origins=(front.origin,), allow_credentials=False)
    return replace(NAMES, tls="files", frontend=front, backend=back, cors=cors)


def examined(api: Origin) -> Observations:
    """What the doctor observes of the API's TLS."""
    contract = secure(api)
    found = {"backend": reach.of(Place(api, "127.0.0.1"), "/x")}
    return observed(contract, answers=silence, reach=found)


# --------------------------------------------------------------------- what `--browser` makes of it
# First, since Playwright has one loop at a time and the module's own Chromium keeps it.


def asked(contract: Contract, address: str = "127.0.0.1") -> Observations:
    """The public cells, asked as the doctor does, of the API on this machine."""
    cells = questions(contract, rows(contract), endpoints(contract)[:2], None, False)
    requests = []
    origin = contract.backend.parsed_origin
    for question in cells:
        requests += list(question.lines(origin.authority))
    place = Place(origin, address)
    answers = ask.exchange_all(place, requests)
    found: list[Cell] = judged("public", cells, origin.authority, answers)
    reached = {"backend": reach.of(place, "/x")}
    return observed(contract, cells=tuple(found), reach=reached)


def test_chromium_reads_an_api_of_the_user_s_own_ca(tmp_path: Path) -> None:
    """Also where it does not know that CA yet: that is a finding of its own, no disagreement."""
    ELSEWHERE.write(local_ca.certificate_path())
    try:
        with serving(ELSEWHERE.issue(API), tmp_path) as api:
            whole = asked(secure(api))
            outcomes = browser.browse(whole)
    finally:
        local_ca.certificate_path().unlink()
    page = f"https://{PAGE}"
    assert outcomes[page, "GET /"] == browser.Outcome(True, "200")
    assert outcomes[f"http://{PAGE}", "GET /"].allowed  # this API reflects every origin
    handshake = whole.reach["backend"].handshake
    assert isinstance(handshake, Handshake) and handshake.by_local_ca
    assert [one.code for one in findings(whole) if one.warning] == ["local-ca-unknown"]


def test_mixed_content_is_blocked_in_chromium_as_the_doctor_says(tmp_path: Path) -> None:
    """A page by https, and an API by http that is not this very machine: nothing is sent."""
    with answering(Hello) as port:
        contract = secure(Origin("https", API, 1))
        back = replace(contract.backend, origin=f"http://{API}:{port}")
        contract = replace(contract, tls="off", backend=back)
        whole = asked(contract)
        outcomes = browser.browse(whole)
    page = f"https://{PAGE}"
    cells = {cell.key: cell for cell in whole.public}
    verdict = cells[page, "GET /"].verdict
    assert outcomes[page, "GET /"] == browser.Outcome(False, "mixed-content")
    assert verdict is not None and verdict.reason == "mixed-content"
    assert "mixed-content" in [one.code for one in findings(whole)]


# ------------------------------------------------------------------------ what Chromium itself says


CASES: dict[str, tuple[Issued, str, Sequence[str]]] = {
    "as it should be": (MIDDLE.issue(API), "", ()),
    "expired": (
        MIDDLE.issue(API, starts=-9 * DAY, ends=-DAY),
        "ERR_CERT_DATE_INVALID",
        ["certificate-expired"],
    ),
    "not yet valid": (
        MIDDLE.issue(API, starts=DAY),
        "ERR_CERT_DATE_INVALID",
        ["certificate-not-yet-valid"],
    ),
    "another name": (
        MIDDLE.issue("www.shop.test"),
        "ERR_CERT_COMMON_NAME_INVALID",
        ["certificate-wrong-name"],
    ),
    "a wildcard above": (
        MIDDLE.issue("*.test"),
        "ERR_CERT_COMMON_NAME_INVALID",
        ["certificate-wrong-name"],
    ),
    "a wildcard": (MIDDLE.issue("*.shop.test"), "", ()),
    "no intermediate": (
        MIDDLE.issue(API).alone,
        "ERR_CERT_AUTHORITY_INVALID",
        ["certificate-chain-incomplete"],
    ),
    "another root": (
        ELSEWHERE.issue(API),
        "ERR_CERT_AUTHORITY_INVALID",
        ["certificate-untrusted"],
    ),
    "self-signed": (
        ELSEWHERE,
        "ERR_CERT_AUTHORITY_INVALID",
        ["certificate-wrong-name"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_doctor_refuses_what_chromium_refuses(
    chromium: Browser, tmp_path: Path, name: str
) -> None:
    issued, word, codes = CASES[name]
    with serving(issued, tmp_path) as api:
        found = [one.code for one in findings(examined(api)) if one.code != "view-silent"]
        assert word_of(chromium, f"{api}/") == word
    assert found == list(codes)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_that_is_too_old_is_so_for_both(chromium: Browser, tmp_path: Path) -> None:
    with serving(MIDDLE.issue(API), tmp_path, old) as api:
        (found,) = findings(examined(api))
        assert found.code == "tls-too-old"
        assert word_of(chromium, f"{api}/") == "ERR_SSL_VERSION_OR_CIPHER_MISMATCH"


def test_plain_http_on_an_https_port_is_so_for_both(chromium: Browser) -> None:
    with answering(Hello) as port:
        api = Origin("https", API, port)
        (found,) = findings(examined(api))
        assert found.code == "no-tls"
        assert word_of(chromium, f"{api}/") == "ERR_SSL_PROTOCOL_ERROR"
