"""Previews of the page alone on https, known by names and by addresses: in Chromium the page reads
the backend of the environment that it is attached to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import yaml

from infra.core.contract import Contract
from infra.core.previews import name_of
from tests.e2e.conftest import Environment, chromium
from tests.support.clients import ask
from tests.support.kit import Kit
from tests.support.repository import Repository, left, repository

pytestmark = [pytest.mark.machines, pytest.mark.browser, pytest.mark.soak]
BRANCH, STACK = "topic/Names", "shared"
NAMES = {"page": {"domain": "pages.test"}, "environment": {"domain": "shared.test"}}
ADDRESSES: dict[str, dict[str, str]] = {"page": {}, "environment": {}}


@pytest.fixture(scope="module", params=[NAMES, ADDRESSES], ids=["names", "addresses"])
def here(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Repository]:
    """A checkout with an environment on https that is up, to which previews attach."""
    folder = tmp_path_factory.mktemp("names")
    both = {"tls": "local-ca", "preview_mode": "frontend", "attach_to": STACK}
    template = {**both, **request.param["page"]}
    with repository(Kit(folder / "home"), folder / "checkout", **template) as made:
        made.branch(BRANCH, "a page of names")
        with an_environment(made, STACK, tls="local-ca", **request.param["environment"]):
            yield made


@contextmanager
def an_environment(made: Repository, stack: str, **config: str) -> Iterator[None]:
    """The local stack under another name and with these keys, up; at the end it goes, and before
    it every preview."""
    whole = yaml.safe_load((made.folder / "stacks" / "Pulumi.local.yaml").read_text())
    whole["config"] |= {f"origin-kit:{key}": value for key, value in config.items()}
    (made.folder / "stacks" / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(whole))
    try:
        made.fab("up", "--stack", stack)
        yield
    finally:
        for name in made.listed():
            made.fab("preview.down", "--branch", name, status=None)
        made.fab("down", "--stack", stack, "--yes", status=None)


def allowed(here: Repository, shared: Contract, origin: str) -> bool:
    """Whether a page of this origin may read the environment's backend, over verified TLS."""
    status, _, headers = ask(here.kit, shared.backend, "/api/products/", Origin=origin)
    assert status == 200
    return bool(headers["Access-Control-Allow-Origin"] == origin)


def test_the_page_reads_the_attached_backend_on_https(here: Repository) -> None:
    """For as long as it lives: the name or the address is refused the next second."""
    shared = here.of_stack(STACK)
    here.fab("preview.up", "--branch", BRANCH)
    page = here.contract(BRANCH).frontend
    name = urlsplit(page.origin).hostname
    assert page.origin.startswith("https://") and shared.backend.origin.startswith("https://")
    assert name in (f"{name_of(BRANCH).removeprefix('preview-')}.pages.test", page.hosts[0].address)
    assert allowed(here, shared, page.origin)
    environment = Environment(here.kit, STACK, shared)
    rule = f"MAP {name} {page.hosts[0].address}"
    with chromium(environment, rules=[rule]) as browser:
        opened = browser.new_page()
        opened.goto(f"{page.origin}/")
        assert opened.title() == "a page of names"
        opened.wait_for_selector("#products li")
        assert opened.inner_text("#origin") == page.origin
        assert opened.inner_text("#backend") == shared.backend.origin
    here.fab("preview.down", "--branch", BRANCH)
    assert not allowed(here, shared, page.origin)
    assert not [line for line in left(here.kit.home) if name_of(BRANCH) in line]
