"""A preview of a branch from its first push to the branch's end, on real machines."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from on_host import seed_mark
from tests.support.kit import Kit, manage
from tests.support.repository import left, repository

pytestmark = pytest.mark.machines
BRANCH = "Größe/1.x"
COUNT = "'from django.contrib.auth.models import User; print(User.objects.count())'"


def page(origin: str) -> str:
    with urllib.request.urlopen(f"{origin}/", timeout=20) as answer:
        return str(answer.read().decode())


def test_a_branch_has_a_preview_for_as_long_as_it_lives(tmp_path: Path) -> None:
    """Made from another branch than the one that is checked out, listed, updated by the next push
    without a new machine, commented, and swept with everything in it when its branch is gone."""
    home = tmp_path / "home"
    with repository(Kit(home), tmp_path / "checkout") as here:
        assert "looks like an environment" in here.fab("preview.up", status=2).stderr
        first = here.branch(BRANCH, "first")
        said = here.fab("preview.up", "--branch", BRANCH).stdout
        assert f"{BRANCH} at {first[:12]} → preview-" in said
        one = here.listed()[BRANCH]
        assert (one["state"], one["commit"]) == ("up", first)
        assert "<title>first</title>" in page(one["origin"])
        machines = {path.name: path.stat().st_ino for path in (home / "machines").glob("preview-*")}

        second = here.branch(BRANCH, "second")
        here.fab("preview.up", "--branch", BRANCH)
        assert "<title>second</title>" in page(one["origin"])
        assert here.listed()[BRANCH]["commit"] == second
        assert machines == {
            path.name: path.stat().st_ino for path in (home / "machines").glob("preview-*")
        }
        comment = here.fab("preview.comment", "--branch", BRANCH).stdout
        for line in (
            f"| Page | <{one['origin']}/> |",
            "| Reading | works |",
            "| Writing | works |",
        ):
            assert line in comment.splitlines(), comment
        assert f"`{second[:12]}` `title second`" in comment

        assert "expires in 71 h" in here.fab("preview.sweep").stdout
        assert here.listed()[BRANCH]["state"] == "up"
        here.git("branch", "-qD", BRANCH)
        would = here.fab("preview.sweep", "--dry-run").stdout
        assert f"goes   {BRANCH}: its branch is gone" in would
        assert "1 of 1 previews would go; nothing was changed" in would
        assert f"fixed  {BRANCH} is gone" in here.fab("preview.sweep").stdout
        assert "there is no preview" in here.fab("preview.list").stdout
        assert "last sweep" in here.fab("preview.list").stdout
        assert left(home) == []
        assert not list((here.folder / "stacks").glob("Pulumi.preview-*"))
        gone = here.fab("preview.down", "--branch", BRANCH).stdout
        assert f"there is no preview of {BRANCH}" in gone
    assert left(home) == []


@pytest.mark.soak
def test_a_replaced_preview_is_not_seeded_again(tmp_path: Path) -> None:
    """Its data moves to the new machine, and the mark of the seed with it: the next update runs the
    command no more, and keeps the machine."""
    home = tmp_path / "home"
    seed = 'shell -c "from django.contrib.auth.models import User; User.objects.create()"'
    seeds, count = "runs shell -c", manage("shop", "shell -v0 -c " + COUNT)
    with repository(Kit(home), tmp_path / "checkout", preview_seed=seed) as here:
        here.branch(BRANCH, "first")
        assert seeds in here.fab("preview.up", "--branch", BRANCH).stdout
        name = here.listed()[BRANCH]["name"]
        here.fab("replace", "backend-1", "--stack", name, "--yes")
        backend = here.contract(BRANCH).backend.hosts[0]
        assert here.kit.ssh(backend, f"cat {seed_mark.MARK}").strip() == seed_mark.DONE
        machines = sorted((home / "machines").glob(f"{name}-*"))

        here.branch(BRANCH, "second")
        assert seeds not in here.fab("preview.up", "--branch", BRANCH).stdout
        assert sorted((home / "machines").glob(f"{name}-*")) == machines
        backend = here.contract(BRANCH).backend.hosts[0]
        assert here.kit.ssh(backend, count).strip() == "1"
