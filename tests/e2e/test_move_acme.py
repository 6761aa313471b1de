"""Moves for which a CA has to issue certificates: over http to names, and from addresses to
names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

import pytest

from rollout.certificates.pair import names_of
from tests.e2e.test_move import add_user, moves_with_open_pages
from tests.support.acme import Acme, acme_pair
from tests.support.pebble import LIFETIMES

pytestmark = [pytest.mark.machines, pytest.mark.pebble, pytest.mark.soak]

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acme]:
    """A pair at two bare addresses over http, and a CA that knows its names as well."""
    with acme_pair(tmp_path_factory.mktemp("acme")) as made:
        made.stack.fab("up")
        made.trust()
        add_user(made.stack)
        yield made


@pytest.fixture(params=["http", "https"])
def before(acme: Acme, request: pytest.FixtureRequest) -> Iterator[Mapping[str, object]]:
    """The config before a move, deployed: addresses over either scheme."""
    config = acme.config if request.param == "https" else {}
    acme.stack.write(**config)
    acme.stack.fab("deploy")
    yield config


@pytest.fixture
def domain(acme: Acme) -> str:
    """One that no certificate was issued for yet: the pair keeps those of before for a while."""
    found = f"kit-{next(_NUMBERS)}.test"
    acme.resolve(found)
    return found


def after(acme: Acme, domain: str) -> Mapping[str, object]:
    """The config after it: names over https."""
    return {**acme.config, "domain": domain, "allow_credentials": True}


@pytest.mark.browser
def test_open_pages_see_no_error_while_a_ca_issues(
    acme: Acme, before: Mapping[str, object], domain: str
) -> None:
    """While both are answered a certificate is for the address too where that was on https; it is
    for the names alone afterwards, and of the longer lifetime that names have."""
    held: dict[str, list[str]] = {}

    def look() -> None:
        held.update({role: names_of(acme.served(role)) for role in ("backend", "frontend")})

    root = acme.folder / "root.pem"
    root.write_text(acme.ca.root())
    moves_with_open_pages(acme.stack, before, after(acme, domain), root, look)
    for role, label in (("backend", "api"), ("frontend", "app")):
        name = f"{label}.{domain}"
        assert held[role] == ([name, acme.host(role).address] if before else [name])
        leaf = acme.served(role)
        lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        assert names_of(leaf) == [name]
        assert abs(lifetime.total_seconds() - LIFETIMES["tlsserver"]) < 5
    acme.serials()
    assert "nothing to move" in acme.stack.fab("move").stdout
