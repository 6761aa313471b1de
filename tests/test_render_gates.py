"""A preview's nginx, run for real: no answer is for search engines, and each gate refuses whom it
has to and nobody else."""

from __future__ import annotations

import base64
import dataclasses
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from infra.core.contract import Contract
from infra.core.keys.previews import PASSWORD as PREVIEW_PASSWORD
from on_host import seal
from on_host.files import NGINX_READS
from rollout.render import Generation, closed, gates, render
from tests.support.folders import write_files
from tests.support.gated import preview_of
from tests.test_render import CASES, SECRETS, load, rendered, text
from tests.test_render_nginx import (
    ANSWERS,
    FRONT,
    PREFLIGHT,
    UNLISTED,
    Answer,
    Site,
    backend,
    django,
    listener,
    put_project,
    running,
)

pytestmark = pytest.mark.nginx

INSIDE, OUTSIDE = "203.0.113.9", "198.51.100.7"
INSIDE_V6, OUTSIDE_V6 = "2001:db8:1::9", "2001:db8:2::9"
LISTED = ("203.0.113.0/24", "2001:db8:1::/48")
PASSWORD = 'a page\'s: own "password" $1'
PROOF = "/.well-known/acme-challenge/token"


def preview(case: str, allowed_from: tuple[str, ...] = (), **changes: Any) -> Contract:
    """The contract of a case as a preview's; `behind` is who asks here, so that a request can come
    from anywhere."""
    return preview_of(load(case), allowed_from, behind=("127.0.0.0/8", "::1/128"), **changes)


def page_of(contract: Contract, password: str | None = None) -> Generation:
    secrets = dict(SECRETS)
    if password is not None:
        secrets[PREVIEW_PASSWORD] = password
    return render(contract, "frontend", contract.frontend.hosts[0], secrets)


def put_page(site: Site) -> None:
    """A built folder, and the proof that a CA asks for."""
    names = ("index.html", "app.js", "app.js.map", "docs/index.html", ".well-known/x.txt")
    texts = {name: f"this is {name}" for name in names}
    write_files(site.folder / "opt/shop/current/site", texts)
    put_proof(site)


def put_proof(site: Site) -> None:
    write_files(site.folder / "var/lib/origin-kit/acme", {PROOF[1:]: "proof"})


def of(address: str, **more: str) -> dict[str, str]:
    """The headers of a request that comes from this address."""
    return {"X-Forwarded-For": address, **more}


def basic(password: str, user: str = gates.USER) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def robots(answer: Answer) -> list[str]:
    return answer.headers.get_all("X-Robots-Tag", [])


# ----------------------------------------------------------------------------------------- noindex


@pytest.fixture(scope="module")
def api() -> Iterator[Site]:
    with backend(preview("local-ip")) as site:
        put_proof(site)
        yield site


@pytest.mark.parametrize(("method", "path", "headers", "status"), ANSWERS)
def test_no_answer_of_the_api_is_indexed(
    api: Site, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """Each kind of answer says it once: Django's, nginx's own, files, preflights and errors."""
    answer = api.ask(method, path, {"Origin": FRONT, **headers})
    assert (answer.status, robots(answer)) == (status, ["noindex"])


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/" + "x" * 9000, {}, 414),
        ("/" + "x" * 40_000, {}, 414),
        ("/echo/", {"Cookie": "c" * 25_000}, 431),
        ("/echo/", {"Cookie": "c" * 40_000}, 431),
        (PROOF, {}, 200),
        ("/static/.git", {}, 404),
        ("/media/../../x", {}, 400),
    ],
)
def test_nor_what_nginx_refuses_early(
    api: Site, path: str, headers: dict[str, str], status: int
) -> None:
    answer = api.ask("GET", path, headers)
    assert (answer.status, robots(answer)) == (status, ["noindex"])


def test_nor_an_application_that_is_away_or_closed() -> None:
    """502, and the 503 of a host that is being replaced."""
    contract = preview("local-ip")
    with running(rendered(contract, "backend")) as site:
        put_project(site)
        answer = site.ask("GET", "/echo/")
        assert (answer.status, robots(answer)) == (502, ["noindex"])
    with running(closed(contract, contract.backend.hosts[0], SECRETS)) as site:
        put_project(site)
        answer = site.ask("PUT", "/echo/")
        assert (answer.status, robots(answer)) == (503, ["noindex"])


def test_nor_an_application_that_is_silent() -> None:
    generation = rendered(preview("local-ip"), "backend")
    files = tuple(
        dataclasses.replace(file, text=file.text.replace("_timeout 30s", "_timeout 1s"))
        for file in generation.files
    )
    with (
        running(dataclasses.replace(generation, files=files)) as site,
        listener(socket.AF_UNIX, str(site.folder / "run/shop.sock")),
    ):
        answer = site.ask("GET", "/", {"Origin": FRONT})
        assert (answer.status, robots(answer)) == (504, ["noindex"])


PAGES = [
    ("GET", "/", {}, 200),
    ("HEAD", "/", {}, 200),
    ("GET", "/app.js", {}, 200),
    ("GET", "/app.js", {"Range": "bytes=0-3"}, 206),
    ("GET", "/docs", {}, 301),
    ("GET", "/config.json", {}, 200),
    ("GET", "/some/view", {"Accept": "text/html"}, 200),
    ("GET", "/none.png", {}, 404),
    ("GET", "/api/x", {}, 404),
    ("GET", "/app.js.map", {}, 404),
    ("GET", "/.env", {}, 404),
    ("GET", "/.well-known/x.txt", {}, 200),
    ("POST", "/", {"Content-Length": "3"}, 405),
    ("POST", "/", {"Content-Length": "3000000"}, 413),
    ("GET", PROOF, {}, 200),
    ("GET", "/" + "x" * 70_000, {}, 414),
    ("GET", "/", {"Cookie": "c" * 40_000}, 400),
]


@pytest.fixture(scope="module")
def page() -> Iterator[Site]:
    contract = preview("local-ip")
    shown = dataclasses.replace(contract.page, single_page=True, source_maps=False)
    with running(page_of(dataclasses.replace(contract, page=shown))) as site:
        put_page(site)
        yield site


@pytest.mark.parametrize(("method", "path", "headers", "status"), PAGES)
def test_no_answer_of_the_page_is_indexed(
    page: Site, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = page.ask(
        method, path, headers, b"abc" if headers.get("Content-Length") == "3" else None
    )
    assert (answer.status, robots(answer)) == (status, ["noindex"])


def test_a_range_beyond_a_file_of_the_page_is_not_indexed(page: Site) -> None:
    answer = page.ask("GET", "/app.js", {"Range": "bytes=900-"})
    assert (answer.status, set(robots(answer))) == (416, {"noindex"})


@pytest.mark.parametrize(
    ("role", "path", "headers", "https", "status"),
    [
        ("backend", "/", {}, False, 403),
        ("backend", "/", {"Accept": "text/html"}, False, 307),
        ("backend", "/", {"Origin": "https://app.shop.test", **PREFLIGHT}, False, 204),
        ("backend", PROOF, {}, False, 200),
        ("backend", "/", {}, True, 502),
        ("frontend", "/", {}, False, 301),
        ("frontend", PROOF, {}, False, 200),
        ("frontend", "/", {}, True, 200),
    ],
)
def test_nor_what_port_80_answers_next_to_https(
    role: str, path: str, headers: dict[str, str], https: bool, status: int, https_sites: Any
) -> None:
    answer = https_sites[role].ask(
        "OPTIONS" if headers.keys() & PREFLIGHT.keys() else "GET", path, headers, https=https
    )
    assert (answer.status, robots(answer)) == (status, ["noindex"])


@pytest.fixture(scope="module")
def https_sites() -> Iterator[dict[str, Site]]:
    contract = preview("https-names")
    with running(rendered(contract, "backend")) as api, running(page_of(contract)) as page:
        put_proof(api)
        put_page(page)
        yield {"backend": api, "frontend": page}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("role", ["backend", "frontend"])
def test_other_environments_have_none_of_it(case: str, role: str) -> None:
    """Neither the header, nor a gate, nor the file with the password, even where the secrets hold
    one."""
    contract = load(case)
    secrets = {**SECRETS, PREVIEW_PASSWORD: PASSWORD} if role == "frontend" else SECRETS
    generation = render(contract, role, getattr(contract, role).hosts[0], secrets)
    written = "".join(file.text for file in generation.files if file.path.startswith("nginx/"))
    assert not [
        word for word in ("X-Robots-Tag", "auth_basic", "origin_kit_refused") if word in written
    ]
    assert gates.PASSWORDS not in {file.path for file in generation.files}


# ------------------------------------------------------------------------------------ preview_from


@pytest.fixture(scope="module")
def gated_api() -> Iterator[Site]:
    with backend(preview("local-ip", LISTED)) as site:
        put_proof(site)
        yield site


@pytest.mark.parametrize("address", [INSIDE, INSIDE_V6, "127.0.0.1", "::1"])
def test_who_is_listed_is_answered(gated_api: Site, address: str) -> None:
    """And this host itself, which is how the kit's probes and its doctor ask."""
    answer = gated_api.ask("GET", "/echo/", of(address, Origin=FRONT))
    assert (answer.status, answer.allowed) == (200, [FRONT])


@pytest.mark.parametrize("address", [OUTSIDE, OUTSIDE_V6, "203.0.114.9", "10.213.7.1"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/echo/"),
        ("PUT", "/echo/"),
        ("OPTIONS", "/echo/"),
        ("GET", "/static/site.css"),
        ("GET", "/media/cat.txt"),
        ("GET", "/nowhere/"),
        ("GET", "/.well-known/x.txt"),
        ("GET", "/.well-known/acme-challenge"),
    ],
)
def test_everybody_else_reads_why_not(
    gated_api: Site, address: str, method: str, path: str
) -> None:
    """A 403 that the page can read and that names the key; another website can't read it."""
    answer = gated_api.ask(method, path, of(address, Origin=FRONT))
    assert (answer.status, answer.allowed, robots(answer)) == (403, [FRONT], ["noindex"])
    assert answer.headers[gates.HEADER] == "preview_from"
    assert answer.headers["Cache-Control"] == "no-store"
    said = answer.json()
    assert (said["gate"], said["address"]) == ("preview_from", address)
    assert gated_api.ask(method, path, of(address, Origin=UNLISTED)).allowed == []


def test_preflights_are_answered_so_that_the_refusal_can_be_read(gated_api: Site) -> None:
    """A browser sends a write only after its preflight; then the page reads the 403."""
    answer = gated_api.ask("OPTIONS", "/echo/", of(OUTSIDE, Origin=FRONT, **PREFLIGHT))
    assert (answer.status, answer.allowed) == (204, [FRONT])


def test_a_ca_is_answered_from_anywhere(gated_api: Site) -> None:
    answer = gated_api.ask("GET", PROOF, of(OUTSIDE))
    assert (answer.status, answer.body) == (200, b"proof")


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/acme-challenge/../../echo/",
        "/.well-known/acme-challenge/%2e%2e/%2e%2e/echo/",
        "//echo/",
        "/echo/?/.well-known/acme-challenge/",
        "/1/echo/",
    ],
)
def test_no_way_round_by_the_path(gated_api: Site, path: str) -> None:
    assert gated_api.ask("GET", path, of(OUTSIDE)).status == 403


def test_only_a_proxy_of_behind_says_who_asks() -> None:
    """Without `behind` a header opens nothing and closes nothing; the last proxy's word counts."""
    contract = dataclasses.replace(preview("local-ip", LISTED), behind=("198.51.100.0/24",))
    with running(rendered(contract, "backend")) as site:
        put_project(site)
        assert site.ask("GET", "/static/site.css", of(OUTSIDE)).status == 200  # this host itself
    with running(rendered(preview("local-ip", LISTED), "backend")) as site:
        put_project(site)
        spoofed = f"{INSIDE}, {OUTSIDE}"
        assert site.ask("GET", "/static/site.css", of(spoofed)).status == 403
        assert site.ask("GET", "/static/site.css", of(f"{OUTSIDE}, {INSIDE}")).status == 200


@pytest.fixture(scope="module")
def gated_page() -> Iterator[Site]:
    with running(page_of(preview("local-ip", LISTED))) as site:
        put_page(site)
        yield site


@pytest.mark.parametrize("path", ["/", "/app.js", "/config.json", "/api/x", "/none", "/.env"])
def test_the_page_refuses_as_well(gated_page: Site, path: str) -> None:
    answer = gated_page.ask("GET", path, of(OUTSIDE))
    assert (answer.status, answer.headers[gates.HEADER]) == (403, "preview_from")
    assert OUTSIDE.encode() in answer.body and b"preview_from" in answer.body
    assert answer.headers["Content-Type"] == "text/plain"
    assert gated_page.ask("GET", path, of(INSIDE)).headers[gates.HEADER] is None
    assert gated_page.ask("GET", PROOF, of(OUTSIDE)).status == 200


@pytest.mark.parametrize("role", ["backend", "frontend"])
def test_port_80_refuses_next_to_https(role: str) -> None:
    """Neither a redirect nor an explanation; a CA is answered there, and this host."""
    contract = preview("https-names", LISTED)
    generation = rendered(contract, "backend") if role == "backend" else page_of(contract)
    with running(generation) as site:
        put_page(site)
        for https in (False, True):
            answer = site.ask("GET", "/", of(OUTSIDE, Accept="text/html"), https=https)
            assert (answer.status, answer.headers[gates.HEADER]) == (403, "preview_from")
        assert site.ask("GET", PROOF, of(OUTSIDE)).status == 200
        led = site.ask("GET", "/", of("127.0.0.1", Accept="text/html"))
        assert led.status == {"backend": 307, "frontend": 301}[role]
        if role == "backend":
            page = "https://app.shop.test"
            answer = site.ask("OPTIONS", "/", of(OUTSIDE, Origin=page, **PREFLIGHT))
            assert (answer.status, answer.allowed) == (204, [page])


# -------------------------------------------------------------------------------- preview_password


@pytest.fixture(scope="module")
def asking_page() -> Iterator[Site]:
    with running(page_of(preview("local-ip"), PASSWORD)) as site:
        put_page(site)
        yield site


@pytest.mark.parametrize("path", ["/", "/app.js", "/config.json", "/none", "/api/x"])
def test_the_page_asks_for_its_password(asking_page: Site, path: str) -> None:
    asked = asking_page.ask("GET", path, of(OUTSIDE))
    assert (asked.status, asked.headers["WWW-Authenticate"]) == (401, 'Basic realm="preview"')
    assert robots(asked) == ["noindex"]
    for wrong in (
        basic("other"),
        basic(PASSWORD, "admin"),
        basic(""),
        {"Authorization": "Bearer x"},
    ):
        assert asking_page.ask("GET", path, of(OUTSIDE, **wrong)).status == 401
    right = asking_page.ask("GET", path, of(OUTSIDE, **basic(PASSWORD)))
    assert right.status == asking_page.ask("GET", path, of("127.0.0.1")).status != 401


def test_neither_a_ca_nor_the_host_itself_has_to_know_it(asking_page: Site) -> None:
    assert asking_page.ask("GET", PROOF, of(OUTSIDE)).status == 200
    for address in ("127.0.0.1", "::1"):
        answer = asking_page.ask("GET", "/config.json", of(address))
        assert (answer.status, answer.json()["backend"]) == (200, "http://10.213.7.74")


def test_the_hash_alone_is_on_the_host() -> None:
    """In a file for root and nginx's workers that no digest covers which others can read; the same
    password gives the same, for another environment it is another one."""
    contract = preview("local-ip")
    generation = page_of(contract, PASSWORD)
    (file,) = [file for file in generation.files if file.path == gates.PASSWORDS]
    assert (file.mode, file.service) == (NGINX_READS, "")
    assert file.text.startswith("preview:$2b$06$") and PASSWORD not in file.text
    assert not [one.path for one in generation.files if PASSWORD in one.text]
    assert generation == page_of(contract, PASSWORD)
    assert generation.id == page_of(contract, "another password").id
    assert gates.PASSWORDS not in {one["path"] for one in generation.outline()["files"]}
    other = dataclasses.replace(contract, environment="preview-b-123456")
    assert text(page_of(other, PASSWORD), gates.PASSWORDS) != file.text


def test_an_outline_needs_no_password() -> None:
    """A status compares without any secret's value; with the password taken out it differs."""
    contract = preview("local-ip")
    assert page_of(contract, PASSWORD).id == page_of(contract, "").id != page_of(contract).id
    assert text(page_of(contract), gates.PASSWORDS) == ""


def test_another_password_is_another_generation_and_restarts_nothing() -> None:
    """Only the host knows, by its own key."""
    contract, key = preview("local-ip"), b"k" * 32
    one, other = (
        seal.sealed(json.loads(json.dumps(page_of(contract, password).to_json())), key)
        for password in (PASSWORD, "another password")
    )
    assert one["id"] != other["id"]
    assert one["fingerprints"] == other["fingerprints"]


def test_the_api_asks_for_no_password() -> None:
    contract = preview("local-ip")
    assert "auth_basic" not in text(rendered(contract, "backend"), "nginx/origin-kit.conf")


# --------------------------------------------------------------------------------------- both gates


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Site, Site]]:
    """Page and API with both gates."""
    contract = preview("local-ip", LISTED)
    with (
        running(page_of(contract, PASSWORD)) as page,
        running(rendered(contract, "backend")) as api,
        django(api),
    ):
        put_page(page)
        yield page, api


def test_the_address_counts_before_the_password(pair: tuple[Site, Site]) -> None:
    page, _ = pair
    assert page.ask("GET", "/", of(OUTSIDE, **basic(PASSWORD))).status == 403
    assert page.ask("GET", "/", of(INSIDE)).status == 401
    assert page.ask("GET", "/", of(INSIDE, **basic(PASSWORD))).status == 200


def test_calls_with_a_token_and_with_cookies_work_under_both(pair: tuple[Site, Site]) -> None:
    """The API sees the token as the page sent it, and the cookie; neither needs the password."""
    _, api = pair
    for headers, seen in (
        ({"Authorization": "Bearer abc"}, {"HTTP_AUTHORIZATION": "Bearer abc"}),
        ({"Cookie": "sessionid=abc"}, {"HTTP_COOKIE": "sessionid=abc"}),
    ):
        asked = {"Origin": FRONT, **PREFLIGHT}
        asked["Access-Control-Request-Headers"] = "authorization"
        assert api.ask("OPTIONS", "/echo/", of(INSIDE, **asked)).status == 204
        answer = api.ask("GET", "/echo/", of(INSIDE, Origin=FRONT, **headers))
        assert (answer.status, answer.allowed) == (200, [FRONT])
        assert "WWW-Authenticate" not in answer.headers
        assert seen.items() <= answer.json()["meta"].items()
