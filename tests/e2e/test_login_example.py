"""The example logs in and writes on every https pair, under the settings that the kit writes for
it; on the same pairs the verdict is what Chromium does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Playwright, sync_playwright

from infra.core.contract import Contract
from rollout.render.django import settings_text
from rollout.verdict.login import CHROMIUM, CHROMIUM_BLOCKING
from tests.e2e.conftest import PASSWORD
from tests.e2e.test_browser import call, log_in, written
from tests.e2e.test_login_chromium import chromium
from tests.support.kit import ROOT
from tests.support.logins import started
from tests.test_doctor import NAMES
from tests.test_doctor_login import over_https

pytestmark = [pytest.mark.browser]

PAIRS = {
    "same-site": ("https://shop.example", "https://api.shop.example"),
    "siblings": ("https://app.siblings.example", "https://api.siblings.example"),
    "cross-site": ("https://app.one.example", "https://api.other.example"),
    "addresses": ("https://203.0.113.7", "https://203.0.113.8"),
}


@dataclass(frozen=True)
class World:
    """The example at every pair, each under settings of its own; `rules` lead a browser there."""

    rules: list[str]
    folder: Path


def variables(folder: Path, app: Path) -> dict[str, str]:
    """What the service of a host has in its environment, for the folders below `folder`."""
    return {
        "PYTHONPATH": os.pathsep.join(map(str, (folder, app, ROOT))),
        "DJANGO_SETTINGS_MODULE": "origin_kit_settings",
        "ORIGIN_KIT_RELEASE": str(app.parent),
        "ORIGIN_KIT_DATA": str(folder / "data"),
    }


def a_host(folder: Path, contract: Contract) -> None:
    """The kit's settings module, and the key of a host that has just been made."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "secret_key").write_text("k" * 60)
    text = settings_text(contract, contract.backend.hosts[0])
    (folder / "origin_kit_settings.py").write_text(text)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One database with a user, copied for each pair."""
    folder = tmp_path_factory.mktemp("example")
    app = folder / "release" / "app"
    shutil.copytree(ROOT / "examples" / "backend", app)
    first, *others = [folder / pair for pair in PAIRS]
    a_host(first, contract_of(next(iter(PAIRS))))
    for command in ("migrate -v0", f"createdemo ada {PASSWORD}"):
        words = [sys.executable, "manage.py", *command.split()]
        subprocess.run(words, cwd=app, env={**os.environ, **variables(first, app)}, check=True)
    for other in others:
        shutil.copytree(first / "data", other / "data")
    with ExitStack() as stack:
        waiting = []
        for pair, (page, api) in PAIRS.items():
            a_host(folder / pair, contract_of(pair))
            hosts = [urlsplit(origin).netloc for origin in (page, api)]
            words = [hosts[0], api]
            env = variables(folder / pair, app)
            _, ports = stack.enter_context(
                started("example_server", folder / pair, *words, env=env)
            )
            waiting.append((hosts, ports))
        rules = []
        for hosts, ports in waiting:
            servers = ports()
            rules += [rule for host in hosts for rule in servers.rules(host)]
        yield World(rules, folder)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started_once:
        yield started_once


@pytest.fixture(scope="module")
def page(playwright: Playwright, world: World) -> Iterator[Page]:
    """A page of a Chromium that sends third-party cookies."""
    profile = world.folder / "profile"
    with chromium(playwright, CHROMIUM, world.rules, profile) as context:
        yield context.pages[0]


def contract_of(pair: str) -> Contract:
    return over_https(NAMES, *PAIRS[pair])


def open_page(page: Page, pair: str) -> None:
    page.goto(f"{PAIRS[pair][0]}/")
    page.wait_for_function("window.shop !== undefined")


@pytest.mark.parametrize("pair", PAIRS)
def test_the_example_logs_in_and_writes_on_every_https_pair(page: Page, pair: str) -> None:
    """The token comes in an answer's body, the session's cookie travels, and it is still there when
    the page is opened again."""
    open_page(page, pair)
    log_in(page)
    assert written(page) == [201, 200, 204]
    assert page.evaluate("document.cookie") == ""
    open_page(page, pair)
    page.wait_for_function("document.querySelector('#whoami').textContent.includes('ada')")


def test_without_third_party_cookies_only_one_site_logs_in(
    playwright: Playwright, world: World
) -> None:
    """What the doctor warns about where page and API are two sites."""
    login = {"username": "ada", "password": PASSWORD}
    profile = world.folder / "blocking"
    with chromium(playwright, CHROMIUM_BLOCKING, world.rules, profile) as context:
        page = context.pages[0]
        open_page(page, "siblings")
        log_in(page)
        assert written(page) == [201, 200, 204]
        for pair in ("cross-site", "addresses"):
            open_page(page, pair)
            assert call(page, "POST", "/api/login/", body=login)["status"] == 403
            assert written(page) == [403]
