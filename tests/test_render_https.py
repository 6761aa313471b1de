"""The rendered nginx over https, run for real on loopback: what port 443 says, and port 80 next to
it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.core.contract import Contract
from rollout.render import closed, places
from tests import test_render_nginx
from tests.support.folders import write_files
from tests.support.packages import unpacked
from tests.test_render import SECRETS, cors, load, rendered, text
from tests.test_render_nginx import (
    ALLOW,
    AUTHORITY,
    PREFLIGHT,
    UNLISTED,
    Site,
    anyone,
    backend,
    running,
)

pytestmark = pytest.mark.nginx

PAGE, TWIN = "https://app.shop.test", "http://app.shop.test"
API = {"Host": "api.shop.test"}
OPENED = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
CHALLENGE = "/.well-known/acme-challenge/token-1"
STRICT = "Strict-Transport-Security"


def role(contract: Contract, name: str, **changes: object) -> Contract:
    """The contract with another value of a role's."""
    changed = dataclasses.replace(getattr(contract, name), **changes)
    return dataclasses.replace(contract, **{name: changed})


@pytest.fixture(scope="module")
def api() -> Iterator[Site]:
    """A backend that is called by name, over https alone."""
    with backend(load("https-names")) as found:
        yield found


@contextlib.contextmanager
def page_of(contract: Contract) -> Iterator[Site]:
    with running(rendered(contract, "frontend")) as found:
        write_files(found.folder / "opt/shop/current/site", {"index.html": "this is the page"})
        yield found


@pytest.fixture(scope="module")
def page() -> Iterator[Site]:
    with page_of(load("https-names")) as found:
        yield found


@pytest.fixture(scope="module")
def moving_api() -> Iterator[Site]:
    """A backend while its environment moves from http and addresses to https and names."""
    with backend(load("https-moving")) as found:
        yield found


@pytest.fixture(scope="module")
def moving_page() -> Iterator[Site]:
    with page_of(load("https-moving")) as found:
        yield found


# -------------------------------------------------------------------------- the API over http

WAYS = {
    "GET": ("GET", {}, None),
    "HEAD": ("HEAD", {}, None),
    "POST of JSON": ("POST", {"Content-Type": "application/json", "Content-Length": "2"}, b"{}"),
    "PUT": ("PUT", {}, None),
    "a page's own GET for HTML": ("GET", OPENED, None),
}


@pytest.mark.parametrize("origin", [PAGE, TWIN, UNLISTED, "null"])
@pytest.mark.parametrize("way", WAYS)
def test_the_api_says_over_http_what_to_call(api: Site, way: str, origin: str) -> None:
    """A 403 that a listed page can read, and nobody else: not the http twin of a listed origin.
    Never a redirect, which would make the origin `null`."""
    method, headers, body = WAYS[way]
    answer = api.ask(method, "/echo/", {**API, **headers, "Origin": origin}, body)
    assert answer.status == 403
    assert answer.allowed == ([PAGE] if origin == PAGE else [])
    credentials = answer.headers.get_all("Access-Control-Allow-Credentials", [])
    assert credentials == (["true"] if origin == PAGE else [])
    assert {"origin", "accept"} <= answer.vary
    assert answer.headers["Cache-Control"] == "no-store"
    if method != "HEAD":
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["backend"] == "https://api.shop.test"
        assert "https://api.shop.test" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/static/site.css", "/media/cat.txt", "/admin/?next=/"])
def test_nothing_of_the_api_is_served_over_http(api: Site, path: str) -> None:
    assert api.ask("GET", path, {**API, "Origin": PAGE}).status == 403
    assert api.ask("GET", path, API).status == 403


def test_a_large_body_is_not_read_over_http(api: Site) -> None:
    """It would be a 413 otherwise, in place of the text that says what to call."""
    headers = {**API, "Origin": PAGE, "Content-Length": "90000000"}
    answer = api.ask("POST", "/echo/", headers)
    assert (answer.status, answer.allowed) == (403, [PAGE])


@pytest.mark.parametrize("origin", [PAGE, TWIN])
def test_a_preflight_over_http_is_answered_so_that_the_403_can_be_read(
    api: Site, origin: str
) -> None:
    answer = api.ask("OPTIONS", "/echo/", {**API, **PREFLIGHT, "Origin": origin})
    assert answer.status == 204
    assert answer.allowed == ([PAGE] if origin == PAGE else [])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("api.shop.test", "https://api.shop.test"),
        ("api2.shop.test", "https://api2.shop.test"),
        ("evil.example", "https://api.shop.test"),
    ],
)
def test_who_opens_the_api_in_a_browser_is_sent_to_https(
    api: Site, method: str, host: str, target: str
) -> None:
    """The admin, typed without a scheme: by 307, never cached, to this kit's names alone."""
    answer = api.ask(method, "/admin/?a=b%20c", {"Host": host, **OPENED})
    assert (answer.status, answer.headers["Location"]) == (307, f"{target}/admin/?a=b%20c")
    assert answer.headers["Cache-Control"] == "no-store"
    assert {"origin", "accept"} <= answer.vary
    assert answer.headers[STRICT] is None


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", OPENED),
        ("OPTIONS", OPENED),
        ("GET", {"Accept": "application/json"}),
        ("GET", {"Accept": "*/*"}),
        ("GET", {}),
        ("GET", {**OPENED, "Origin": PAGE}),
        ("GET", {**OPENED, "Origin": UNLISTED}),
    ],
)
def test_nobody_else_is_redirected(api: Site, method: str, headers: dict[str, str]) -> None:
    assert api.ask(method, "/echo/", {**API, **headers}).status == 403


# `(changed contract, whether http is answered)`: one http origin in the list is enough.
LISTED: dict[str, tuple[Callable[[Contract], Contract], bool]] = {
    "none": (lambda c: c, False),
    "an app's own scheme": (lambda c: cors(c, app_origins=("capacitor://localhost",)), False),
    "an exact one": (
        lambda c: cors(c, allowed_origins=(*c.cors.allowed_origins, "http://localhost:8080")),
        True,
    ),
    "a pattern": (lambda c: cors(c, allowed_shapes=("http://localhost:*",)), True),
    "an app's": (lambda c: cors(c, app_origins=("http://tauri.localhost",)), True),
    "everyone": (lambda c: cors(c, allowed_shapes=("*",)), True),
    "the page's former one": (lambda c: role(c, "frontend", former=("http://10.1.1.1",)), True),
    "the API's former one": (lambda c: role(c, "backend", former=("http://10.1.1.2",)), True),
    "a former one over https": (lambda c: role(c, "backend", former=("https://b.test",)), False),
}


@pytest.mark.parametrize("case", LISTED)
def test_http_is_answered_as_https_is_as_soon_as_a_page_may_be_on_http(case: str) -> None:
    alter, answered = LISTED[case]
    contract = alter(load("https-names"))
    assert contract.answers_http == answered
    with backend(contract) as site:
        answer = site.ask("GET", "/echo/", {**API, "Origin": PAGE})
    assert answer.status == (200 if answered else 403)
    assert answer.allowed == [PAGE]


# ------------------------------------------------------------------------- the API over https


@pytest.mark.parametrize("origin", [PAGE, TWIN, UNLISTED])
def test_the_api_answers_over_https(api: Site, origin: str) -> None:
    """With the same rules, and Django knows that the request was https."""
    answer = api.ask("GET", "/echo/", {**API, "Origin": origin}, https=True)
    assert (answer.status, answer.allowed) == (200, [PAGE] if origin == PAGE else [])
    assert "origin" in answer.vary
    preflight = api.ask("OPTIONS", "/echo/", {**API, **PREFLIGHT, "Origin": origin}, https=True)
    assert (preflight.status, preflight.allowed) == (204, answer.allowed)


def test_nobody_claims_https_who_came_over_http(moving_api: Site) -> None:
    """Django believes a header that nginx sets from the connection, whatever the client sends."""
    claims = {"Host": "10.213.8.74", "X-Forwarded-Proto": "https", "Forwarded": "proto=https"}
    assert moving_api.ask("GET", "/echo/", claims).json()["scheme"] == "http"
    denies = {**claims, "X-Forwarded-Proto": "http", "Host": "api.shop.test"}
    assert moving_api.ask("GET", "/echo/", denies, https=True).json()["scheme"] == "https"


@pytest.mark.parametrize("name", ["a static file", "a media file", "a 404", "a 413", "a 416"])
def test_strict_transport_goes_over_https_alone(api: Site, moving_api: Site, name: str) -> None:
    """On every kind of answer, once; where nobody set it, on none."""
    method, path, headers = {
        "a static file": ("GET", "/static/site.css", {}),
        "a media file": ("GET", "/media/cat.txt", {}),
        "a 404": ("GET", "/nowhere/", {}),
        "a 413": ("POST", "/echo/", {"Content-Length": "11000000"}),
        "a 416": ("GET", "/static/site.css", {"Range": "bytes=900-"}),
    }[name]
    expected = "max-age=31536000; includeSubDomains"
    answer = api.ask(method, path, {**API, **headers}, https=True)
    assert answer.headers.get_all(STRICT) == [expected]
    assert api.ask(method, path, {**API, **headers}).headers[STRICT] is None
    assert moving_api.ask(method, path, {**API, **headers}, https=True).headers[STRICT] is None


# -------------------------------------------------------------------------------------- the page


@pytest.mark.parametrize("host", ["app.shop.test", "10.213.8.10", "evil.example"])
def test_the_page_s_http_leads_to_https(page: Site, host: str) -> None:
    """By a redirect that no browser keeps, to the page's own origin."""
    answer = page.ask("GET", "/a?b=c", {"Host": host})
    assert (answer.status, answer.headers["Location"]) == (301, f"{PAGE}/a?b=c")
    assert (answer.headers["Cache-Control"], answer.headers[STRICT]) == ("no-cache", None)
    served = page.ask("GET", "/", {"Host": "app.shop.test"}, https=True)
    assert (served.status, served.body) == (200, b"this is the page")
    assert served.headers.get_all(STRICT) == ["max-age=31536000; includeSubDomains"]


def test_the_page_s_other_names_lead_to_its_origin(moving_page: Site) -> None:
    """Over both schemes, in one step."""
    for secure in (False, True):
        answer = moving_page.ask("GET", "/a", {"Host": "www.shop.test"}, https=secure)
        assert (answer.status, answer.headers["Location"]) == (301, f"{PAGE}/a")


def test_a_former_origin_of_the_page_is_served_as_before(moving_page: Site) -> None:
    """Over http, for that name alone; its policy knows both the API's origins."""
    answer = moving_page.ask("GET", "/", {"Host": "10.213.8.10"})
    assert (answer.status, answer.body) == (200, b"this is the page")
    policy = answer.headers["Content-Security-Policy"]
    assert "https://api.shop.test" in policy and "http://10.213.8.74" in policy
    assert moving_page.ask("GET", "/", {"Host": "app.shop.test"}).status == 301
    assert moving_page.ask("GET", "/", {"Host": "app.shop.test"}, https=True).status == 200


# ------------------------------------------------------------------------------------- the move


@pytest.mark.parametrize("origin", [PAGE, "http://10.213.8.10"])
@pytest.mark.parametrize(
    ("host", "secure"),
    [("api.shop.test", True), ("old.shop.test", True), ("10.213.8.74", False)],
)
def test_while_it_moves_every_origin_reads_every_address_of_the_api(
    moving_api: Site, host: str, secure: bool, origin: str
) -> None:
    """The old page, the new page, an old tab: none is refused, and Django takes their writes."""
    headers = {"Host": host, "Origin": origin}
    answer = moving_api.ask("GET", "/echo/", headers, https=secure)
    assert (answer.status, answer.allowed) == (200, [origin])
    preflight = moving_api.ask("OPTIONS", "/echo/", {**headers, **PREFLIGHT}, https=secure)
    assert (preflight.status, preflight.allowed) == (204, [origin])


# --------------------------------------------------------------------------------- the challenge


@pytest.mark.parametrize("name", ["backend", "frontend"])
@pytest.mark.parametrize(
    "case", ["local-ip", "apex-proxy", "allow-all", "https-ip", "https-names", "https-moving"]
)
def test_a_challenge_is_answered_by_every_generation(case: str, name: str) -> None:
    """Over http, for every name and address; one that is not there is nginx's own 404."""
    contract = load(case)
    found = getattr(contract, name)
    with running(rendered(contract, name)) as site:
        webroot = site.folder / places.WEBROOT[1:]
        write_files(webroot, {CHALLENGE[1:]: "token-1.thumbprint"})
        hosts = [found.parsed_origin.host, found.hosts[0].address, "any.test", *found.aliases]
        for host in hosts:
            answer = site.ask("GET", CHALLENGE, {"Host": host})
            assert (answer.status, answer.body) == (200, b"token-1.thumbprint"), host
            assert answer.headers["Content-Type"] == "text/plain"
            # Django is not there: what came to it would be a 502.
            assert site.ask("GET", f"{CHALLENGE}2", {"Host": host}).status == 404
        (webroot / CHALLENGE[1:]).with_name("link").symlink_to("/etc/passwd")
        assert site.ask("GET", "/.well-known/acme-challenge/link", {"Host": host}).status != 200


# -------------------------------------------------------------------------------------------- TLS


def negotiated(site: Site, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", site.secure_port), 20)
    return context.wrap_socket(plain, server_hostname="api.shop.test")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_with_http_2(api: Site, version: ssl.TLSVersion) -> None:
    """By ALPN; who does not ask for HTTP/2 gets HTTP/1.1."""
    for offered in (["h2", "http/1.1"], ["http/1.1"]):
        context = anyone()
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(offered)
        with negotiated(api, context) as connection:
            assert connection.selected_alpn_protocol() == offered[0]
            assert connection.version() == version.name.replace("_", ".", 1).replace("_", ".")


@pytest.mark.parametrize(
    "ciphers",
    ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-SHA"],
)
def test_no_cipher_outside_of_the_guideline(api: Site, ciphers: str) -> None:
    """No key exchange without forward secrecy, no CBC."""
    context = anyone()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        negotiated(api, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_no_older_tls(api: Site, version: ssl.TLSVersion) -> None:
    context = anyone()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        negotiated(api, context)


def test_a_session_is_kept_by_the_server_and_no_ticket_is_given(api: Site) -> None:
    """TLS 1.2, where a ticket is an extension: the session has an id, and comes back by it."""
    context = anyone()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with negotiated(api, context) as connection:
        session = connection.session
    assert session is not None and session.id and not session.has_ticket
    plain = socket.create_connection(("127.0.0.1", api.secure_port), 20)
    with context.wrap_socket(plain, server_hostname="api.shop.test", session=session) as again:
        assert again.session_reused


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
def test_no_answer_is_stapled(api: Site) -> None:
    """CAs have ended OCSP, and an old answer would be worse than none."""
    words = ["openssl", "s_client", "-status", "-connect", f"127.0.0.1:{api.secure_port}"]
    done = subprocess.run(words, input="", capture_output=True, text=True, check=False, timeout=30)
    assert "OCSP response: no response sent" in done.stdout


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_an_answer_over_http_2_has_the_same_headers(api: Site) -> None:
    """As curl reads it; its name reaches Django."""
    url = f"https://api.shop.test:{api.secure_port}/echo/"
    resolve = f"api.shop.test:{api.secure_port}:127.0.0.1"
    words = [
        "curl",
        "-sk",
        "--http2",
        "-D",
        "-",
        "--resolve",
        resolve,
        "-H",
        f"Origin: {PAGE}",
        url,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    assert head.startswith("HTTP/2 200")
    assert head.lower().count(f"{ALLOW.lower()}: {PAGE}") == 1
    assert json.loads(body)["scheme"] == "https"


@pytest.mark.parametrize("name", ["backend", "frontend"])
def test_the_sockets_of_both_units_are_the_listen_lines(name: str) -> None:
    """Port 443 has a unit of its own, so that it comes and goes while port 80 stays open; nginx
    counts the descriptors of both."""
    contract = load("https-names")
    generation = rendered(contract, name)
    units = generation.units["nginx"]
    assert units == ("nginx.socket", "nginx-https.socket", "nginx.service")
    held = [
        line.removeprefix("ListenStream=")
        for unit in units[:2]
        for line in text(generation, f"systemd/{unit}").splitlines()
        if line.startswith("ListenStream=")
    ]
    service = text(generation, "systemd/nginx.service.d/origin-kit.conf")
    assert "Requires=nginx.socket nginx-https.socket\n" in service
    assert f"NGINX={':'.join(str(3 + number) for number in range(len(held)))};" in service
    site = text(generation, "nginx/origin-kit.conf")
    assert all(f"listen {stream} " in site for stream in held if ":" in stream)
    plain = rendered(load("local-ip"), name)
    assert "/etc/systemd/system/nginx-https.socket" in plain.absent


@pytest.mark.parametrize("case", ["https-ip", "https-names", "https-moving"])
@pytest.mark.parametrize("name", ["backend", "frontend"])
def test_a_generation_names_its_pair_and_holds_none(case: str, name: str) -> None:
    contract = load(case)
    generation = rendered(contract, name)
    folder = places.certificate(contract.lineage(name))
    site = text(generation, "nginx/origin-kit.conf")
    assert f"ssl_certificate {folder}/chain.pem;" in site
    assert f"ssl_certificate_key {folder}/key.pem;" in site
    assert "PRIVATE KEY" not in json.dumps(generation.to_json())
    kept = json.loads(text(generation, places.CONTRACT))
    whole = json.loads(json.dumps(contract.to_json()))
    for role in ("frontend", "backend"):
        assert kept.pop(role) == {key: whole[role][key] for key in whole[role] if key != "hosts"}
    rest = whole if name == "backend" else ("contract",)
    assert kept == {key: whole[key] for key in rest if key not in ("frontend", "backend")}


def test_a_renewed_pair_is_served_after_a_reload(api: Site) -> None:
    """Without another generation: nginx reads the folder again."""
    renewed = AUTHORITY.issue("api.shop.test")
    api.put_pair(renewed)
    api.reload()
    with negotiated(api, anyone()) as connection:
        assert connection.getpeercert(binary_form=True) == renewed.der


@pytest.fixture
def newer_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian 13's nginx in place of this host's, with the libraries that it is built for."""
    found = unpacked("nginx", "trixie")
    (loader,) = found.glob("usr/lib*/ld-linux-*.so.*")
    (libc,) = found.glob("usr/lib/*/libc.so.6")
    script = tmp_path / "nginx"
    words = f'exec {loader} --library-path {libc.parent} {found}/usr/sbin/nginx "$@"'
    script.write_text(f"#!/bin/sh\n{words}\n")
    script.chmod(0o755)
    said = subprocess.run([script, "-v"], capture_output=True, text=True, check=True).stderr
    assert "nginx/1.26" in said
    monkeypatch.setattr(test_render_nginx, "program", lambda: str(script))


@pytest.mark.debian
@pytest.mark.usefixtures("newer_nginx")
@pytest.mark.parametrize("case", ["https-names", "https-moving", "https-ip"])
def test_debian_13_s_nginx_reads_the_same(case: str) -> None:
    """One spelling of HTTP/2 that both take; the newer one warns of it and of nothing else."""
    contract = load(case)
    api = {"Host": contract.backend.parsed_origin.host, "Origin": contract.frontend.origin}
    with backend(contract) as site:
        context = anyone()
        context.set_alpn_protocols(["h2"])
        with negotiated(site, context) as connection:
            assert connection.selected_alpn_protocol() == "h2"
        over = site.ask("GET", "/echo/", api, https=True)
        assert (over.status, over.allowed) == (200, [contract.frontend.origin])
        assert site.ask("GET", "/echo/", api).status == (200 if contract.answers_http else 403)
        said = warnings_of(site)
    assert all("http2" in line and "deprecated" in line for line in said if "[warn]" in line), said
    assert not re.findall(r"\[(?:error|crit|alert|emerg)\]", "\n".join(said))


def warnings_of(site: Site) -> list[str]:
    """What `nginx -t` says of the site's configuration, a line each."""
    words = [test_render_nginx.program(), "-t", "-c", str(site.folder / "etc/nginx/nginx.conf")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


@pytest.mark.parametrize("case", ["https-names", "https-moving", "https-ip"])
@pytest.mark.parametrize("name", ["backend", "frontend"])
def test_debian_12_s_nginx_has_no_warning(case: str, name: str) -> None:
    with running(rendered(load(case), name)) as site:
        assert [line for line in warnings_of(site) if "[warn]" in line] == []


@pytest.mark.parametrize("host", ["10.213.7.74", "10.213.7.99"])
def test_a_bare_address_is_answered_without_a_name(host: str) -> None:
    """A client that asks for an IP sends no server name: the one certificate is for it."""
    contract = load("https-ip")
    with backend(contract) as site:
        headers = {"Host": host, "Origin": contract.frontend.origin}
        answer = site.ask("GET", "/static/site.css", headers, https=True)
        assert (answer.status, answer.allowed) == (200, [contract.frontend.origin])
        assert site.ask("GET", "/static/site.css", headers).status == 403


def test_a_closed_backend_says_so_over_https() -> None:
    """While its data is copied: 503 over https, readable by pages; over http still what to call."""
    contract = load("https-names")
    generation = closed(contract, contract.backend.hosts[0], SECRETS)
    with running(generation) as site:
        headers = {**API, "Origin": PAGE}
        answer = site.ask("GET", "/echo/", headers, https=True)
        assert (answer.status, answer.allowed) == (503, [PAGE])
        assert site.ask("GET", "/echo/", headers).status == 403
