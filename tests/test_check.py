"""What `fab up` says at its end."""

from __future__ import annotations

import dataclasses

import pytest

from infra.contract import Contract
from rollout import check, settings
from tests import stackfiles
from tests.graph import ROOT
from tests.test_render import cors, load


def named(contract: Contract, frontend: str, backend: str) -> Contract:
    """The same under these origins."""
    return dataclasses.replace(
        contract,
        frontend=dataclasses.replace(contract.frontend, origin=frontend),
        backend=dataclasses.replace(contract.backend, origin=backend),
    )


@pytest.mark.parametrize(
    ("stack", "said"), [("aws-prod", True), ("gcp-prod", True), ("aws-staging", False), ("local", False)]
)
def test_production_on_a_cloud_is_told_that_nothing_backs_it_up(stack: str, said: bool) -> None:
    """Where the data is, and where it says what to do; the page it names has that part."""
    with stackfiles.like(stack) as made:
        found = check.unsaved(settings.read(made.name, key_file=False))
    assert ("nothing backs up /var/lib/shop yet" in found) == said
    assert bool(found) == said
    assert "\n## Backups\n" in (ROOT / "docs" / "clouds.md").read_text()


def test_both_urls_are_given() -> None:
    said = check.where_to_look(cors(load("local-ip"), allowed_origins=("http://10.213.7.10",)))
    assert said == "\nopen  http://10.213.7.10/\napi   http://10.213.7.74/"


def test_names_that_exist_nowhere_come_as_lines_for_the_hosts_file() -> None:
    said = check.where_to_look(named(load("local-ip"), "http://app.shop.test", "http://api.shop.test"))
    assert "\n10.213.7.10  app.shop.test\n10.213.7.74  api.shop.test" in said
    assert "hosts file" not in check.where_to_look(
        named(load("local-ip"), "https://a.example.com", "https://b.example.com")
    )


def test_half_of_localhost_and_127_0_0_1_is_told() -> None:
    """They are two origins; whoever lists both, or a shape that may hold them, is told nothing."""
    one, other = "http://localhost:8080", "http://127.0.0.1:8080"
    assert f"two origins: add {other}" in check.where_to_look(cors(load("local-ip"), allowed_origins=(one,)))
    assert "two origins" not in check.where_to_look(cors(load("local-ip"), allowed_origins=(one, other)))
    with_shape = cors(load("local-ip"), allowed_origins=(one,), allowed_shapes=("http://127.0.0.1:*",))
    assert "two origins" not in check.where_to_look(with_shape)
