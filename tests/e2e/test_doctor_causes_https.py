"""Broken states of a live https pair: as in `test_doctor_causes.py`, each with Chromium's word next
to the doctor's."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Error, sync_playwright

from infra.core.contract import Host
from rollout.doctor.browser import FLAGS
from tests.e2e.test_doctor_causes import API, PAGE, Json, Pair, as_written, errors, rules
from tests.support.certificates import DAY, Authority, Issued
from tests.support.chromium import STEADY
from tests.support.clients import authority_of, root_of
from tests.support.kit import ROOT, Stack
from tests.support.sampling import sampled
from tests.support.servers import answering
from tests.support.trust import trust

pytestmark = [pytest.mark.machines, pytest.mark.browser]

ADMIN = "https://admin.shop.test"
ELSEWHERE = Authority.root("Somebody Else's Root")
STORE = "/etc/origin-kit/tls"


@dataclass
class Secure(Pair):
    """An https pair, its CA, and the home of a user whose Chromium knows that CA."""

    ca: Authority = field(default=ELSEWHERE)
    home: Path = field(default=Path())

    def chromium_says(self, url: str) -> str:
        """The name of Chromium's error where it opens the URL; empty where it shows it."""
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=STEADY,
                args=[*FLAGS, f"--host-resolver-rules={', '.join(rules(self))}"],
                env={**os.environ, "HOME": str(self.home)},
            )
            try:
                browser.new_page().goto(url)
            except Error as problem:
                return problem.message.partition("net::")[2].split()[0]
            finally:
                browser.close()
        return ""

    def put(self, host: Host, issued: Issued, load: str = "systemctl reload nginx") -> None:
        """Put a pair on the host by hand as the next version of its certificate."""
        role = "backend" if host == self.backend else "frontend"
        folder = f"{STORE}/{self.stack.contract.lineage(role)}"
        script = [
            f"cd {folder}; n=versions/$(( $(ls versions | sort -n | tail -n 1) + 1 )); umask 077",
            "mkdir $n",
            f"cat > $n/chain.pem <<'THE-END'\n{issued.chain}THE-END",
            f"cat > $n/key.pem <<'THE-END'\n{issued.key}THE-END",
            f"ln -sfn $n current; {load}",
        ]
        self.on(host, "\n".join(script))


@pytest.fixture(scope="module")
def pair(shared: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("secure")
    shared.usual = {
        "domain": "shop.test",
        "tls": "local-ca",
        "allow_credentials": True,
        "extra_origins": [],
    }
    shared.write()
    shared.fab("up")
    made = Secure(shared, ROOT / "examples" / "backend", folder / "hosts")
    made.resolve()
    made.ca = authority_of(shared.kit)
    made.home = folder / "home"
    trust(made.home, root_of(shared.kit))
    yield made


# ------------------------------------------------------------------------------------ broken states

Break = Callable[[Secure, ExitStack], None]
Cure = Callable[[Secure, Json], None]


def expire(pair: Secure, _: ExitStack) -> None:
    pair.put(pair.backend, pair.ca.issue(API, starts=-90 * DAY, ends=-3 * DAY))


def expire_page(pair: Secure, _: ExitStack) -> None:
    pair.put(pair.frontend, pair.ca.issue(PAGE, starts=-90 * DAY, ends=-3 * DAY))


def name_another(pair: Secure, _: ExitStack) -> None:
    pair.put(pair.backend, pair.ca.issue("www.shop.test"))


def be_early(pair: Secure, _: ExitStack) -> None:
    pair.put(pair.backend, pair.ca.issue(API, starts=DAY))


def issue_elsewhere(pair: Secure, _: ExitStack) -> None:
    pair.put(pair.backend, ELSEWHERE.issue(API))


def renew_without_reload(pair: Secure, _: ExitStack) -> None:
    """The classic: the file is new, and nginx has the old one in memory."""
    pair.put(pair.backend, pair.ca.issue(API), load="true")


def list_twin(pair: Secure, _: ExitStack) -> None:
    pair.stack.write(extra_origins=[f"http://{PAGE}"])
    pair.fab("deploy")


def take_out(pair: Secure, finding: Json) -> None:
    assert f"take http://{PAGE} out of extra_origins" in finding["cure"]
    pair.stack.write()
    as_written(pair, finding)


def serve_http(pair: Secure, _: ExitStack) -> None:
    """`tls: off`, while a page by https calls this API."""
    pair.stack.write(tls="off", extra_origins=[ADMIN])
    pair.fab("deploy")


def serve_https(pair: Secure, finding: Json) -> None:
    assert "set `tls`" in finding["cure"]
    assert finding["commands"] == ["fab up"]
    pair.stack.write(extra_origins=[ADMIN])
    pair.stack.fab("up")


def drop_443(pair: Secure, until: ExitStack) -> None:
    rule = "rule {} pref 100 ipproto tcp sport 443 blackhole"
    until.enter_context(pair.in_net_of(pair.backend, rule.format("add"), rule.format("del")))


def allow_443(pair: Secure, finding: Json) -> None:
    assert f"allow tcp port 443 to backend-1 ({pair.backend.address})" in finding["cure"]


@dataclass(frozen=True)
class State:
    """A broken state, the code of its one finding, its cure, and what Chromium says of the API's
    URL meanwhile (None: it would wait for minutes). `always`: it runs without `soak`."""

    break_: Break
    code: str
    cure: Cure = as_written
    chromium: str | None = ""
    words: str = ""
    ask: tuple[str, ...] = ()
    url: str = f"https://{API}/"
    always: bool = False


STATES = {
    "expired": State(
        expire,
        "certificate-expired",
        chromium="ERR_CERT_DATE_INVALID",
        words="expired 3 days ago",
        always=True,
    ),
    "the page's expired": State(
        expire_page,
        "certificate-expired",
        chromium="ERR_CERT_DATE_INVALID",
        words=f"https://{PAGE}",
        url=f"https://{PAGE}/",
    ),
    "for another name": State(
        name_another,
        "certificate-wrong-name",
        chromium="ERR_CERT_COMMON_NAME_INVALID",
        words="is for www.shop.test",
    ),
    "not yet valid": State(be_early, "certificate-not-yet-valid", chromium="ERR_CERT_DATE_INVALID"),
    "of another CA": State(
        issue_elsewhere,
        "certificate-untrusted",
        chromium="ERR_CERT_AUTHORITY_INVALID",
        words="Somebody Else's Root",
    ),
    "renewed and not served": State(
        renew_without_reload, "certificate-not-served", words="backend-1"
    ),
    "the http twin listed": State(
        list_twin, "http-origin-listed", take_out, words=f"http://{PAGE}", always=True
    ),
    "mixed content": State(
        serve_http,
        "mixed-content",
        serve_https,
        chromium="ERR_CONNECTION_REFUSED",
        words=ADMIN,
        ask=("--browser",),
    ),
    "port 443 dropped": State(drop_443, "port-blocked", allow_443, words="port 443", chromium=None),
}


@pytest.mark.parametrize(
    "name", sampled(STATES, [name for name, state in STATES.items() if state.always])
)
def test_the_cause_is_named_chromium_agrees_and_the_cure_cures(pair: Secure, name: str) -> None:
    """One finding, the true one; Chromium stumbles over the same; after the cure both are
    content."""
    state = STATES[name]
    pair.as_usual()
    with pair.whole_after_a_failure():
        with ExitStack() as until:
            state.break_(pair, until)
            found = pair.doctor(*state.ask)
            causes = errors(found)
            assert [cause["code"] for cause in causes] == [state.code], found["findings"]
            assert state.words in causes[0]["text"]
            if state.chromium is not None:
                assert pair.chromium_says(state.url) == state.chromium
            if state.ask:
                _agrees_on_mixed_content(found)
            state.cure(pair, causes[0])
        healthy = pair.doctor()
        assert errors(healthy) == [] and healthy["status"] == 0, healthy["findings"]
        assert pair.chromium_says(state.url) == ""


def _agrees_on_mixed_content(found: Json) -> None:
    """Chromium was asked all cells of the https origin, and blocked each for the same reason."""
    cells = [cell for cell in found["cells"] if cell["origin"] == ADMIN and "chromium" in cell]
    assert cells and {cell["reason"] for cell in cells} == {"mixed-content"}
    assert {cell["chromium"] for cell in cells} == {"mixed-content"}


# ---------------------------------------------------------------------------------- as it should be


def test_chromium_agrees_with_every_cell_of_an_https_pair(pair: Secure) -> None:
    """All as intended; the one warning is that root's Chromium here does not know the CA yet."""
    pair.as_usual()
    found = pair.doctor("--browser")
    assert found["status"] == 0
    assert {one["code"] for one in found["findings"]} <= {"local-ca-unknown"}  # none disagrees
    asked = [cell for cell in found["cells"] if "chromium" in cell]
    assert len(asked) > 20


@contextmanager
def forwarding(listen: str, upstream: str, port: int) -> Iterator[None]:
    """Everything that comes to the port of `listen` goes to `upstream`, byte by byte."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((upstream, port), timeout=20) as there:
                back = threading.Thread(target=_copy, args=(there, self.request), daemon=True)
                back.start()
                _copy(self.request, there)
                back.join(20)

    with answering(Handler, listen, port):
        yield


def _copy(here: socket.socket, there: socket.socket) -> None:
    try:
        while data := here.recv(65536):
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)
    except OSError:  # one of both has gone
        return


@contextmanager
def redirecting(listen: str) -> Iterator[None]:
    """Port 80 of a CDN that always uses https."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            lines = ["HTTP/1.1 301 Moved", f"Location: https://{API}/", "Content-Length: 0"]
            self.wfile.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())

    with answering(Handler, listen, 80):
        yield


@pytest.mark.soak
def test_a_redirect_of_port_80_in_front_is_a_warning(pair: Secure) -> None:
    """A CDN that redirects all http: pages that call https don't notice; it is worth knowing."""
    pair.as_usual()
    pair.resolve(api=pair.in_front)
    with redirecting(pair.in_front), forwarding(pair.in_front, pair.backend.address, 443):
        found = pair.doctor()
    pair.resolve()
    assert found["status"] == 0, found["findings"]
    (one,) = [one for one in found["findings"] if one["code"] == "plain-http-redirected"]
    assert one["warning"] and "something in front" in one["text"]
