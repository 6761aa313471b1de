"""What `fab up` says at its end."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.core.contract import Contract, Host
from rollout import check, settings
from tests.support import servers, stackfiles
from tests.support.certificates import Authority
from tests.support.graph import ROOT
from tests.test_render import cors, load


def named(contract: Contract, frontend: str, backend: str) -> Contract:
    """The same under these origins."""
    return dataclasses.replace(
        contract,
        frontend=dataclasses.replace(contract.frontend, origin=frontend),
        backend=dataclasses.replace(contract.backend, origin=backend),
    )


@pytest.mark.parametrize(
    ("stack", "warned"),
    [("aws-prod", True), ("gcp-prod", True), ("aws-staging", False), ("local", False)],
)
def test_production_on_a_cloud_is_warned_of_missing_backups(stack: str, warned: bool) -> None:
    """Where the data is, and where it says what to do; the page it names has that part."""
    with stackfiles.like(stack) as made:
        found = check.unsaved(settings.read(made.name))
    assert ("nothing backs up /var/lib/shop yet" in found) == warned
    assert bool(found) == warned
    assert "\n## Backups\n" in (ROOT / "docs" / "clouds.md").read_text()


def test_both_urls_are_given() -> None:
    text = check.where_to_look(cors(load("local-ip"), allowed_origins=("http://10.213.7.10",)))
    assert text == "\nopen  http://10.213.7.10/\napi   http://10.213.7.74/"


def test_unknown_names_come_as_lines_for_etc_hosts() -> None:
    """Names that exist nowhere come as lines for the hosts file."""
    text = check.where_to_look(
        named(load("local-ip"), "http://app.shop.test", "http://api.shop.test")
    )
    assert "\n10.213.7.10  app.shop.test\n10.213.7.74  api.shop.test" in text
    assert "hosts file" not in check.where_to_look(
        named(load("local-ip"), "https://a.example.com", "https://b.example.com")
    )


def test_half_of_localhost_and_127_0_0_1_is_noted() -> None:
    """They are two origins. A list with both, or a pattern that may match them, gets no note."""
    one, other = "http://localhost:8080", "http://127.0.0.1:8080"
    assert f"two origins: add {other}" in check.where_to_look(
        cors(load("local-ip"), allowed_origins=(one,))
    )
    assert "two origins" not in check.where_to_look(
        cors(load("local-ip"), allowed_origins=(one, other))
    )
    with_pattern = cors(
        load("local-ip"), allowed_origins=(one,), allowed_shapes=("http://127.0.0.1:*",)
    )
    assert "two origins" not in check.where_to_look(with_pattern)


FRONT, API = "http://app.shop.test", "http://api.shop.test"


@contextmanager
def answering(
    page: int, api: int, *led: tuple[str, int], tls: ssl.SSLContext | None = None
) -> Iterator[Contract]:
    """A contract whose hosts are both here and answer `/` so; preflights are right. `led` is where
    each redirect of the API's leads, and what is answered there. With `tls` they speak https."""
    leads = dict(
        zip(["/", *(target for target, _ in led)], [target for target, _ in led], strict=False)
    )

    class Handler(servers.Quiet):
        def do_GET(self) -> None:
            is_api = str(self.headers["Host"]).startswith("api.")
            self.send_response(dict(led).get(self.path, api) if is_api else page)
            if is_api and self.path in leads:
                self.send_header("Location", leads[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_OPTIONS(self) -> None:
            self.send_response(204)
            self.send_header("Access-Control-Allow-Origin", self.headers["Origin"])
            self.end_headers()

    with servers.answering(Handler, tls=tls) as port:
        origins = [f"{FRONT}:{port}", f"{API}:{port}"]
        if tls:
            origins = [origin.replace("http:", "https:") for origin in origins]
        contract = named(load("local-ip"), *origins)
        yield dataclasses.replace(
            contract,
            frontend=dataclasses.replace(
                contract.frontend, hosts=(here(contract.frontend.hosts[0]),)
            ),
            backend=dataclasses.replace(contract.backend, hosts=(here(contract.backend.hosts[0]),)),
        )


def here(host: Host) -> Host:
    return dataclasses.replace(host, address="127.0.0.1")


@pytest.mark.parametrize("api", [200, 302, 401, 404])
def test_an_api_without_anything_at_its_root_is_well(api: int) -> None:
    """4xx of `/` is an answer; it is shown where a person would open it."""
    with answering(200, api) as contract:
        assert check.from_here(contract) == api
    assert ("(answers 404)" in check.where_to_look(contract, api)) == (api == 404)


def test_5xx_behind_redirects_is_an_error_too() -> None:
    """A browser follows them, within the API or out of it; one without an end is no verdict."""
    with (
        answering(200, 302, ("/en/", 301), ("/en/shop/?all=1", 500)) as contract,
        pytest.raises(
            check.CheckError,
            match=r"GET http://api\.shop\.test:\d+/ leads to /en/shop/\?all=1, which answers 500 ",
        ),
    ):
        check.from_here(contract)
    for led in (
        [("/en/", 200)],
        [("/en/", 302), ("/en/", 302)],
        [("https://elsewhere.test/", 500)],
        [("/", 302)],
    ):
        with answering(200, 302, *led) as contract:
            assert check.from_here(contract) == 302


@pytest.mark.parametrize(
    ("page", "api", "url"), [(200, 500, API), (200, 502, API), (500, 200, FRONT), (503, 404, FRONT)]
)
def test_5xx_is_an_error(page: int, api: int, url: str) -> None:
    """The message has the URL, the status and the next step."""
    with answering(page, api) as contract, pytest.raises(check.CheckError) as raised:
        check.from_here(contract)
    text = str(raised.value)
    assert (
        f"GET {url}:" in text
        and f"answers {page if url == FRONT else api}" in text
        and "`fab logs`" in text
    )


def test_https_is_asked_with_the_system_s_trust(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By address, under the public name; what browsers refuse is an error with its reason."""
    ca = Authority.root()
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.write(tmp_path / "trusted.pem")))
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path))
    names = ("app.shop.test", "api.shop.test")
    with answering(200, 302, ("/en/", 200), tls=ca.issue(*names).context(tmp_path)) as contract:
        assert check.from_here(contract) == 302
    another = Authority.root("Another").issue(*names)
    with (
        answering(200, 200, tls=another.context(tmp_path)) as contract,
        pytest.raises(check.CheckError, match="unable to get local issuer") as raised,
    ):
        check.from_here(contract)
    assert "`fab tls.show`, then `fab doctor`" in str(raised.value)


def test_a_staging_ca_is_no_error_and_is_noted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who sets acme_staging knows that no browser trusts it; all else is checked as ever."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path))
    pair = Authority.root("(STAGING) Pretend Root").issue("app.shop.test", "api.shop.test")
    with answering(200, 404, tls=pair.context(tmp_path)) as contract:
        staging = dataclasses.replace(
            contract, tls="acme", https=dataclasses.replace(contract.https, staging=True)
        )
        assert check.from_here(staging) == 404
        with pytest.raises(check.CheckError, match="unable to get local issuer"):
            check.from_here(dataclasses.replace(contract, tls="acme"))
    assert "no browser trusts" in check.where_to_look(staging)
    assert "no browser trusts" not in check.where_to_look(contract)
