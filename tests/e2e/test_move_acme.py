"""Moves for which a CA has to issue certificates: over http to names, and from addresses to names.
It refuses, the operator is killed, a host loses power: the old origins are answered on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

import pytest

from rollout.certificates.pair import names_of
from tests.e2e.test_move import (
    PATIENTLY,
    add_user,
    generations,
    killed,
    moves_with_open_pages,
    unplugged,
    wait_for,
)
from tests.support.acme import Acme, acme_pair
from tests.support.kit import unwrapped
from tests.support.pebble import LIFETIMES

pytestmark = [pytest.mark.machines, pytest.mark.pebble, pytest.mark.soak]

_NUMBERS = count(1)
ENDS = "`fab move` finishes it, `fab move --undo` goes back"


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
    acme.stack.fab("deploy", *PATIENTLY)
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


def moved(domain: str) -> str:
    return f"moved to https://app.{domain} and https://api.{domain}"


def names_served(acme: Acme) -> dict[str, list[str]]:
    """The names in each role's certificate, which a browser trusts for the new origins."""
    return {role: names_of(acme.served(role)) for role in ("backend", "frontend")}


@pytest.mark.browser
def test_open_pages_see_no_error_while_a_ca_issues(
    acme: Acme, before: Mapping[str, object], domain: str
) -> None:
    """While both are answered a certificate is for the address too where that was on https; it is
    for the names alone afterwards, and of the longer lifetime that names have."""
    held: dict[str, list[str]] = {}

    def look() -> None:
        held.update(names_served(acme))

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


def test_a_ca_that_refuses_leaves_what_is_answered(
    acme: Acme, before: Mapping[str, object], domain: str
) -> None:
    """Before the first deploy nothing is changed; before the last one, for which those who come
    from https need another certificate, both go on being answered. Then the same command ends
    it."""
    stack = acme.stack
    kept = generations(stack)
    stack.write(**after(acme, domain))
    with acme.limited() as words:
        refused = stack.fab("move", status=1)
        assert words in refused.stderr and "Traceback" not in refused.stderr
    assert generations(stack) == kept
    stack.write(**before)
    assert stack.fab("status").stdout.count("as the contract says") == 2
    stack.write(**after(acme, domain))
    assert "are answered, and so are" in unwrapped(stack.fab("move", "--stay").stdout)
    if before:
        kept, held = generations(stack), names_served(acme)
        with acme.dead() as words:
            refused = stack.fab("move", "--quiet", "1s", status=1)
            assert words in refused.stderr and "Traceback" not in refused.stderr
        assert (generations(stack), names_served(acme)) == (kept, held)
        assert ENDS in unwrapped(stack.fab("status", status=1).stdout)
    assert moved(domain) in unwrapped(stack.fab("move", "--quiet", "1s").stdout)
    acme.serials()


# ---------------------------------------------------------------------------------- and interrupted

# Lines at which it is: the first deploy's certificates, and those of the last one. Each host has
# one of a kind.
MOMENTS = (
    ("for a certificate for", 1),
    ("installs the new certificate", 1),
    ("for a certificate for", 2),
    ("for a certificate for", 3),
    ("installs the new certificate", 3),
    ("installs the new certificate", 4),
)


@pytest.mark.parametrize("before", ["https"], indirect=True)
@pytest.mark.parametrize("is_undone", [False, True], ids=["again", "undone"])
@pytest.mark.parametrize("is_unplugged", [False, True], ids=["killed", "unplugged"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_move_that_was_interrupted_at_the_ca_goes_on_or_back(
    acme: Acme,
    before: Mapping[str, object],
    domain: str,
    moment: tuple[str, int],
    is_unplugged: bool,
    is_undone: bool,
) -> None:
    """Before the first deploy has begun there is nothing to undo: the hosts hold what they held."""
    stack, kept, serials = acme.stack, generations(acme.stack), acme.serials()
    stack.write(**after(acme, domain))
    process = stack.started("move", "--quiet", "1s", alone=True)
    wait_for(process, *moment)
    if is_unplugged:
        unplugged(stack, process, "backend-1")
    else:
        killed(process)
    if is_undone:
        done = stack.fab("move", "--undo", *PATIENTLY, status=None)
        assert done.returncode == 0 or "no move is under way" in done.stderr, done.stderr
        assert (done.returncode == 0) == (moment[1] > 2)
        stack.write(**before)
        assert generations(stack) == kept
        assert acme.serials() == serials
        assert stack.fab("status").stdout.count("as the contract says") == 2
        return
    said = unwrapped(stack.fab("move", "--quiet", "1s", *PATIENTLY).stdout)
    assert moved(domain) in said
    acme.serials()
    assert stack.fab("status").stdout.count("as the contract says") == 2
