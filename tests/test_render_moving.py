"""What nginx serves while an environment moves, run for real on loopback: a page that is open at a
former origin goes on, who opens it there is led to the new one, and the API's host notes who
calls."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import pytest

from infra.core.contract import Contract
from on_host.configuration import answered
from rollout.render.moving import config_text
from tests.test_render import load, rendered, text
from tests.test_render_https import CHALLENGE, OPENED, PAGE, page_of, role
from tests.test_render_nginx import ALLOW, FRONT, Site, running

pytestmark = pytest.mark.nginx

MOVING = load("https-moving")
OLD = MOVING.frontend.former[0]
OLD_HOST = {"Host": OLD.removeprefix("http://")}
NEW_HOST = {"Host": "app.shop.test"}
HTTPS_OLD = "https://shop.example"
SITE = "nginx/origin-kit.conf"


@pytest.fixture(scope="module")
def both() -> Iterator[Site]:
    """The page after the first deploy of a move."""
    with page_of(MOVING) as found:
        yield found


@pytest.fixture(scope="module")
def switched() -> Iterator[Site]:
    """The page after the second one."""
    with page_of(role(MOVING, "frontend", redirects_former=True)) as found:
        yield found


def test_the_page_knows_its_api_by_where_it_was_opened(both: Site, switched: Site) -> None:
    """At its former origin the API's former one, where it goes on; at the new one the new one."""
    for site, moved in (both, {}), (switched, {"moved_to": PAGE}):
        old = site.ask("GET", "/config.json", OLD_HOST).json()
        assert old == {"backend": MOVING.backend.former[0], "credentials": True, **moved}
        new = site.ask("GET", "/config.json", NEW_HOST, https=True)
        assert new.json() == {"backend": MOVING.backend.origin, "credentials": True}
        assert new.headers["Content-Type"] == "application/json"


def test_a_page_over_https_calls_no_former_api_over_http() -> None:
    """Browsers refuse that as mixed content: it calls the new one, or one that is https too."""
    moving = role(MOVING, "frontend", former=(HTTPS_OLD, OLD))
    https = [origin for origin in MOVING.backend.former if origin.startswith("https:")]
    with page_of(moving) as site:
        old = {"Host": HTTPS_OLD.removeprefix("https://")}
        found = site.ask("GET", "/config.json", old, https=True).json()
        assert found == {"backend": (https or [MOVING.backend.origin])[0], "credentials": True}


def test_the_nginx_of_before_serves_the_api_of_before() -> None:
    """From the first rename on it reads the new generation's file, until it is restarted; the page
    that has it knows no other API, nor does its policy."""
    for moving in (MOVING, role(MOVING, "frontend", redirects_former=True)):
        file = json.loads(text(rendered(moving, "frontend"), "frontend/config.json"))
        assert file == {"backend": MOVING.backend.former[0], "credentials": True}


def test_who_opens_the_old_page_is_led_to_the_new_one(switched: Site) -> None:
    """By what no browser keeps, since the move may be undone; with the path and what is asked."""
    for method in ("GET", "HEAD"):
        answer = switched.ask(method, "/users/7?a=b%20c", {**OLD_HOST, **OPENED})
        assert (answer.status, answer.headers["Location"]) == (307, f"{PAGE}/users/7?a=b%20c")
        assert (answer.headers["Cache-Control"], answer.headers["Vary"]) == ("no-store", "Accept")


@pytest.mark.parametrize("path", ["/", "/index.html", "/config.json", "/users/7"])
def test_an_open_page_is_answered_as_before(switched: Site, both: Site, path: str) -> None:
    """A script asks for no HTML; until the switch nobody is led anywhere."""
    asked = {**OLD_HOST, "Accept": "*/*"}
    before, after = both.ask("GET", path, asked), switched.ask("GET", path, asked)
    assert (after.status, after.headers["Location"]) == (before.status, None)
    assert both.ask("GET", "/", {**OLD_HOST, **OPENED}).status == 200


def test_the_new_page_leads_nowhere(switched: Site) -> None:
    answer = switched.ask("GET", "/", {**NEW_HOST, **OPENED}, https=True)
    assert (answer.status, answer.body) == (200, b"this is the page")


def test_a_challenge_is_no_visit(switched: Site) -> None:
    """Whatever it accepts; there is no such file."""
    assert switched.ask("GET", CHALLENGE, {**OLD_HOST, **OPENED}).status == 404


def test_a_former_origin_is_not_led_on_as_another_name_is() -> None:
    """www. was the page's origin, and will lead to it: pages are open there."""
    apex = load("apex-proxy")
    origin = apex.frontend.parsed_origin
    www = f"{origin.scheme}://{apex.frontend.aliases[0]}"
    site = text(rendered(apex, "frontend"), SITE)
    assert f"server_name {apex.frontend.aliases[0]};" in site
    moving = text(rendered(role(apex, "frontend", former=(www,)), "frontend"), SITE)
    assert f"server_name {apex.frontend.aliases[0]};" not in moving


# ------------------------------------------------------------------------------------------ the API


def noted(site: Site) -> list[str]:
    """The origins in the log."""
    log = site.folder / "var/log/nginx" / answered.FORMER_LOG.name
    return [line.split()[1] for line in log.read_text().splitlines()]


def test_the_api_notes_no_probe_of_the_kit_s_own() -> None:
    """They come from 127.0.0.1, as these do."""
    with running(rendered(MOVING, "backend")) as site:
        for origin in (OLD, PAGE, FRONT):
            site.ask("GET", "/echo/", {"Host": "10.213.8.74", "Origin": origin})
        site.stop()  # all that it has to write is written
        assert noted(site) == []


def test_the_api_notes_calls_from_former_origins_alone() -> None:
    """Here without the exception for 127.0.0.1. The usual log has all requests as before."""
    generation = rendered(MOVING, "backend")
    files = tuple(
        dataclasses.replace(file, text=file.text.replace("(?!127\\.0\\.0\\.1 )", ""))
        for file in generation.files
    )
    with running(dataclasses.replace(generation, files=files)) as site:
        answers = [
            site.ask("GET", "/", {"Host": "10.213.8.74", "Origin": origin})
            for origin in (OLD, PAGE, FRONT, f"{OLD}.evil.example")
        ]
        assert answers[0].headers.get_all(ALLOW) == [OLD]
        site.stop()
        assert noted(site) == [OLD]
        assert (site.folder / "var/log/nginx/access.log").read_text().count("GET / ") == 4


@pytest.mark.parametrize("name", ["backend", "frontend"])
def test_without_a_move_nothing_of_it_is_there(name: str) -> None:
    """No variable, no log, no other config.json."""
    contract: Contract = load("https-names")
    generation = rendered(contract, name)
    assert "former" not in text(generation, SITE) and "418 = @origin_kit_led" not in text(
        generation, SITE
    )
    if name == "frontend":
        assert text(generation, "frontend/config.json") == config_text(contract)
        assert not [file.path for file in generation.files if "former" in file.path]
