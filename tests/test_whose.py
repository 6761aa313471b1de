"""Two applications whose stacks of one name keep their state in one place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from infra.core.settings import Settings
from rollout import whose
from rollout.whose import OtherApplicationError
from tests.support.graph import ROOT

OLD = ROOT / "tests" / "state" / "c449aef" / "aws-dev.json"
SHOP = Settings.of(
    "aws-dev",
    cloud="aws",
    application="shop",
    wsgi="shop.wsgi:application",
    settings="shop.settings",
    frontend_path="page",
)


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file backend in which `shop` has a stack aws-dev, made by an earlier version of the kit."""
    state = json.loads(OLD.read_text())
    path = tmp_path / ".pulumi" / "stacks" / "origin-kit" / "aws-dev.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": state["deployment"]}}))
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    return path


def test_another_application_s_stack_is_refused(backend: Path) -> None:
    """Nothing is adopted: the message says whose it is, and both ways on."""
    whose.refuse_other(SHOP)
    with pytest.raises(
        OtherApplicationError, match="stack aws-dev belongs to the application shop"
    ):
        whose.refuse_other(replace(SHOP, application="store"))


@pytest.mark.parametrize("former", [{"shop": "renamed"}, {"shop": "removed"}])
def test_a_renamed_or_removed_one_is_not(backend: Path, former: dict[str, str]) -> None:
    whose.refuse_other(replace(SHOP, application="store"), former)


def test_a_stack_that_is_not_up_is_nobody_s(backend: Path) -> None:
    backend.unlink()
    whose.refuse_other(replace(SHOP, application="store"))
