"""Two real environments, stood up once for all end-to-end tests, and a real browser."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserType, Page, ViewportSize, sync_playwright

from infra.core.contract import Contract
from infra.core.https import LOCAL_CA
from rollout.doctor.browser import FLAGS
from tests.conftest import missing
from tests.support.chromium import STEADY
from tests.support.clients import root_of
from tests.support.folders import write_files
from tests.support.hostile import Hostile, hostile_pair
from tests.support.kit import OLD, ROOT, Kit, Stack, manage
from tests.support.trust import PREFERENCES, trust

ARTEFACTS = ROOT / "artifacts"
PASSWORD = "correct-horse-battery"


# The config of a pair, by what its rows of a test are called.
HTTPS = {"tls": "local-ca"}
HTTPS_PAIRS: dict[str, dict[str, str]] = {
    "https": HTTPS,
    "names-https": {**HTTPS, "domain": "kit.test"},
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A row of a test, by its mark, for each pair that it runs on: the config of the pair."""
    for name in ("stack", "hostile"):
        if name in metafunc.fixturenames and (rows := pairs_of(metafunc.definition)):
            metafunc.parametrize(name, rows, indirect=True)


def pairs_of(test: pytest.Item) -> list[object]:
    """Tests of `either_scheme` have an https pair, and in `make soak` an http one too; those of
    `also_https` an http one, and in `make soak` https ones at addresses and under names."""
    of_soak = pytest.mark.soak
    if test.get_closest_marker("also_https"):
        others = [
            pytest.param(config, id=kind, marks=of_soak) for kind, config in HTTPS_PAIRS.items()
        ]
        return [pytest.param({}, id="http"), *others]
    secured = pytest.param(HTTPS, id="local-ca")
    if test.get_closest_marker("https"):
        return [secured]
    if test.get_closest_marker("either_scheme"):
        return [secured, pytest.param({"tls": "off"}, id="off", marks=of_soak)]
    return []


@dataclass(frozen=True)
class Environment:
    """A stack that is up, its contract read once."""

    kit: Kit
    stack: str
    contract: Contract

    @classmethod
    def of(cls, stack: Stack) -> Environment:
        return cls(stack.kit, stack.name, stack.contract)

    @property
    def page_url(self) -> str:
        return self.contract.frontend.origin + "/"

    def backend(self, command: str, check: bool = True) -> str:
        """A shell command as root on the first backend host."""
        return self.kit.ssh(self.contract.backend.hosts[0], command, check)

    def add_user(self) -> None:
        """`ada`, who may log in with PASSWORD."""
        self.backend(manage(self.contract.application.name, f"createdemo ada {PASSWORD}"))


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack.of(Kit(tmp_path_factory.mktemp("shared") / "home")) as made:
        yield made


@pytest.fixture(scope="module")
def stack(shared: Stack, request: pytest.FixtureRequest) -> Stack:
    """The environment that modules share which leave it whole: a local one that allows OLD. A
    parameter is more of its config."""
    shared.usual = {"extra_origins": [OLD], "tls": "off", **getattr(request, "param", {})}
    shared.write()
    shared.fab("up")
    return shared


@pytest.fixture(scope="session")
def hostile(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Hostile]:
    """A pair whose application attacks its host: every new script of root's is tried by it. A
    parameter is more of its config."""
    more = getattr(request, "param", {})
    with hostile_pair(tmp_path_factory.mktemp("hostile") / "home", **more) as pair:
        yield pair


@contextmanager
def environment(kit: Kit, stack: str) -> Iterator[Environment]:
    """The stack up, with a user who may log in; down again at the end."""
    if reason := missing("machines"):
        pytest.skip(reason)
    try:
        kit.fab("up", "--stack", stack)
        up = Environment(kit, stack, kit.contract(stack))
        up.add_user()
        yield up
    finally:
        kit.fab("down", "--yes", "--stack", stack)


@pytest.fixture(scope="session")
def local(kit: Kit) -> Iterator[Environment]:
    with environment(kit, "local") as up:
        yield up


@pytest.fixture(scope="session")
def local_names(kit: Kit) -> Iterator[Environment]:
    with environment(kit, "local-names") as up:
        yield up


@pytest.fixture(scope="session")
def local_https(kit: Kit) -> Iterator[Environment]:
    with environment(kit, "local-https") as up:
        yield up


@pytest.fixture(scope="session")
def local_names_https(kit: Kit) -> Iterator[Environment]:
    with environment(kit, "local-names-https") as up:
        yield up


@contextmanager
def launching(
    environments: Sequence[Environment], flags: Sequence[str], rules: Sequence[str]
) -> Iterator[tuple[BrowserType, dict[str, Any], Path]]:
    """How Chromium starts, and the home of its user, who trusts the environments' own CAs."""
    found = [
        f"MAP {urlsplit(role.origin).hostname} {role.hosts[0].address}"
        for up in environments
        for role in (up.contract.frontend, up.contract.backend)
    ]
    mapped = ", ".join([*found, *rules])
    with sync_playwright() as playwright, TemporaryDirectory() as home:
        own = [root_of(up.kit) for up in environments if up.contract.tls == LOCAL_CA]
        trust(Path(home), *own)
        options = {
            "executable_path": STEADY,
            "args": [*FLAGS, f"--host-resolver-rules={mapped}", *flags],
            "env": {**os.environ, "HOME": home},
        }
        yield playwright.chromium, options, Path(home)


@contextmanager
def chromium(
    *environments: Environment, flags: Sequence[str] = (), rules: Sequence[str] = ()
) -> Iterator[Browser]:
    """Debian's Chromium; the environments' names resolve by its own rules and those of `rules`,
    everything else as ever."""
    with launching(environments, flags, rules) as (program, options, _):
        browser = program.launch(**options)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_of(up: Environment, url: str | None = None) -> Iterator[Page]:
    """The page, loaded, in a browser profile of its own, which is on disk and as Chromium makes
    one. Off the record, and by Debian's default, third-party cookies are blocked: those that a page
    at an address needs."""
    with launching([up], (), ()) as (program, options, home):
        write_files(home, {"profile/Default/Preferences": PREFERENCES})
        size = ViewportSize(width=1200, height=900)
        context = program.launch_persistent_context(home / "profile", viewport=size, **options)
        try:
            page = context.new_page()
            page.goto(url or up.page_url)
            page.wait_for_function("window.shop !== undefined")
            yield page
        finally:
            context.close()


def screenshot(page: Page, name: str) -> Path:
    """Keep a picture among the artefacts."""
    ARTEFACTS.mkdir(exist_ok=True)
    path = ARTEFACTS / f"{name}.png"
    page.screenshot(path=str(path), full_page=True)
    return path
