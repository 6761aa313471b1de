"""TLS as the kit's questions meet it: real handshakes with servers on loopback."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.core.origins import Origin
from rollout import tls
from rollout.certificates import local_ca
from rollout.doctor import ask, handshake, reach
from rollout.doctor.handshake import Handshake, NoConnection
from rollout.tls import Place
from rollout.verdict import Response
from tests.support.certificates import DAY, Authority, Issued
from tests.support.servers import Quiet, answering
from tests.support.trust import trust

NAME = "app.shop.test"
ROOT, OTHER = Authority.root(), Authority.root("Somebody Else's Root")
MIDDLE = ROOT.intermediate()


class Hello(Quiet):
    """204 for everything."""

    def do_GET(self) -> None:
        self.send_response(204)
        self.send_header("Seen-Host", self.headers["Host"])
        self.end_headers()


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The system trusts ROOT; the user has no CA of its own yet. The folder of the home."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ROOT.write(tmp_path / "system.pem")))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "kit"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None) -> Iterator[Origin]:
    """An https origin on loopback; without `tls` its server speaks plain http."""
    with answering(Hello, tls=tls) as port:
        yield Origin("https", NAME, port)


def shaken(issued: Issued, folder: Path, host: str = NAME) -> Handshake:
    """The handshake with a server of this certificate."""
    with serving(issued.context(folder)) as origin:
        return handshake.of(Origin("https", host, origin.port), "127.0.0.1", 5)


@pytest.mark.parametrize("host", [NAME, "127.0.0.1"])
def test_what_the_system_trusts_is_accepted(trusted: Path, host: str) -> None:
    """SSL_CERT_FILE takes the place of the system's store, for names and for IPs."""
    issued = MIDDLE.issue(host)
    found = shaken(issued, trusted, host)
    assert (found.problem, found.code, found.by_local_ca) == ("", 0, False)
    assert found.version == "TLSv1.3"
    assert found.chain == issued.ders


SELF_SIGNED = Authority.root("app.shop.test")
BAD: dict[str, tuple[Issued, int, str]] = {
    "another root": (OTHER.issue(NAME), handshake.ISSUER_UNKNOWN, "unable to get local issuer"),
    "self-signed": (
        SELF_SIGNED,
        handshake.SELF_SIGNED,
        "self-signed",
    ),
    "no intermediate": (
        MIDDLE.issue(NAME).alone,
        handshake.ISSUER_UNKNOWN,
        "unable to get local issuer",
    ),
    "expired": (MIDDLE.issue(NAME, starts=-9 * DAY, ends=-DAY), handshake.EXPIRED, "expired"),
    "not yet valid": (MIDDLE.issue(NAME, starts=DAY), handshake.NOT_YET_VALID, "not yet valid"),
    "another name": (MIDDLE.issue("api.shop.test"), handshake.WRONG_HOST, "Hostname mismatch"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_browser_refuses_is_refused_and_shown(trusted: Path, name: str) -> None:
    """OpenSSL's result and sentence, and the certificates that were served all the same."""
    issued, code, words = BAD[name]
    found = shaken(issued, trusted)
    assert found.code == code
    assert words in found.problem
    assert found.chain == issued.ders
    assert found.version == "TLSv1.3"


def test_another_address_is_refused(trusted: Path) -> None:
    found = shaken(MIDDLE.issue("127.0.0.2"), trusted, "127.0.0.1")
    assert found.code == handshake.WRONG_ADDRESS


def test_the_user_s_own_ca_counts_and_is_marked(trusted: Path) -> None:
    """What only the local CA makes acceptable is marked: another machine would refuse it."""
    assert shaken(OTHER.issue(NAME), trusted).problem
    OTHER.write(local_ca.certificate_path())
    found = shaken(OTHER.issue(NAME), trusted)
    assert (found.problem, found.by_local_ca, found.browsers_trust) == ("", True, False)
    assert not shaken(MIDDLE.issue(NAME), trusted).by_local_ca
    assert shaken(OTHER.issue(NAME, starts=-9 * DAY, ends=-DAY), trusted).code == handshake.EXPIRED


@pytest.mark.browser
@pytest.mark.parametrize("folder", [".pki/nssdb", ".local/share/pki/nssdb"])
def test_a_root_that_the_user_s_chromium_has_is_known(trusted: Path, folder: str) -> None:
    """As `certutil` puts it into the user's database, and only this root."""
    trust(trusted / "home", OTHER.write(trusted / "root.pem"), folder=folder)
    assert tls.browsers_trust(OTHER.der) is True
    assert tls.browsers_trust(ROOT.der) is False


def test_a_database_that_can_not_be_read_is_no_verdict(trusted: Path) -> None:
    database = trusted / "home/.pki/nssdb/cert9.db"
    database.parent.mkdir(parents=True)
    database.write_text("no database")
    assert tls.browsers_trust(ROOT.der) is None


def old(context: ssl.SSLContext) -> None:
    """TLS 1.1 at most."""
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


def wants_a_client(context: ssl.SSLContext) -> None:
    """TLS 1.2, and a certificate of the client."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ROOT.der)
    context.verify_mode = ssl.CERT_REQUIRED


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize(
    ("change", "reason", "version"),
    [
        (old, "TLSV1_ALERT_PROTOCOL_VERSION", "TLSv1.1"),
        (wants_a_client, "SSLV3_ALERT_HANDSHAKE_FAILURE", ""),
    ],
)
def test_a_handshake_that_fails_names_openssl_s_reason(
    trusted: Path, change: Callable[[ssl.SSLContext], None], reason: str, version: str
) -> None:
    context = MIDDLE.issue(NAME).context(trusted)
    change(context)
    with serving(context) as origin:
        found = handshake.of(origin, "127.0.0.1", 5)
    assert (found.code, found.reason, found.version) == (0, reason, version)
    assert found.problem and "_ssl.c" not in found.problem and "[" not in found.problem


def test_plain_http_on_the_port_is_recognised() -> None:
    with serving(None) as origin:
        found = handshake.of(origin, "127.0.0.1", 5)
    assert found.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")


def test_a_closed_port_is_no_handshake() -> None:
    """It says nothing about certificates."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(NoConnection, match="refused"):
        handshake.of(Origin("https", NAME, port), "127.0.0.1", 5)
    found = reach.of(Place(Origin("https", NAME, port), "127.0.0.1"), "/x")
    assert "refused" in found.problem and found.handshake is None


# ------------------------------------------------------------------------------- what is asked


def test_questions_go_to_the_address_under_the_origin_s_name(trusted: Path) -> None:
    """SNI and Host are the origin's, wherever its name leads."""
    with serving(MIDDLE.issue(NAME).context(trusted)) as origin:
        place = Place(origin, "127.0.0.1")
        answer = ask.exchange(place, "GET", "/", (("Host", origin.authority),))
        there = reach.of(place, "/x")
    assert isinstance(answer, Response) and answer.get("Seen-Host") == origin.authority
    assert there.answered and there.obstacle == "" and there.handshake is not None


def test_nothing_is_asked_where_the_certificate_is_not_accepted(trusted: Path) -> None:
    """A browser sends no request there either."""
    with serving(OTHER.issue(NAME).context(trusted)) as origin:
        place = Place(origin, "127.0.0.1")
        there = reach.of(place, "/x")
        answer = ask.exchange(place, "GET", "/", ())
    assert not there.answered and there.obstacle.startswith("the TLS handshake fails: unable to")
    assert isinstance(answer, ask.Unanswered) and "certificate verify failed" in answer.problem


def test_the_trust_store_is_read_once_for_a_place(
    trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it takes longer than a request, and the doctor sends a hundred."""
    read = tls.context
    reads = []

    def counted() -> ssl.SSLContext:
        reads.append(1)
        return read()

    monkeypatch.setattr(tls, "context", counted)
    with serving(MIDDLE.issue(NAME).context(trusted)) as origin:
        request = ("GET", "/", (("Host", origin.authority),))
        answers = ask.exchange_all(Place(origin, "127.0.0.1"), [request] * 20)
    assert all(isinstance(answer, Response) for answer in answers)
    assert reads == [1]
