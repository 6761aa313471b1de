"""Previews of the page alone: they call the backend of an environment, which answers exactly those
that there are."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.e2e.test_preview_story import page
from tests.support.kit import Kit
from tests.support.repository import Repository, left, repository

pytestmark = [pytest.mark.machines, pytest.mark.soak]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A checkout with a stack `shared` that is up, to which previews attach."""
    folder = tmp_path_factory.mktemp("attached")
    with repository(
        Kit(folder / "home"), folder / "checkout", preview_mode="frontend", attach_to="shared"
    ) as made:
        local = made.folder / "stacks" / "Pulumi.local.yaml"
        (made.folder / "stacks" / "Pulumi.shared.yaml").write_text(local.read_text())
        for name in ("topic/one", "topic/two"):
            made.branch(name, name)
        refused = made.fab("preview.up", "--branch", "topic/one", status=None)
        assert refused.returncode and "fab up --stack shared" in refused.stderr
        made.fab("up", "--stack", "shared")
        try:
            yield made
        finally:
            for name in made.listed():
                made.fab("preview.down", "--branch", name, status=None)
            made.fab("down", "--stack", "shared", "--yes")


def allowed(api: str, origin: str) -> bool:
    """Whether a page of this origin may read the API."""
    request = urllib.request.Request(f"{api}/", headers={"Origin": origin})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            found = answer.headers.get("Access-Control-Allow-Origin")
    except urllib.error.HTTPError as problem:
        found = problem.headers.get("Access-Control-Allow-Origin")
    return bool(found == origin)


def test_two_pages_call_one_backend_for_as_long_as_they_live(here: Repository) -> None:
    """No backend of their own is made, no secret and no config of the environment is read, and what
    is gone is refused: after `down`, and after a sweep."""
    runs = [here.started("preview.up", "--branch", name) for name in ("topic/one", "topic/two")]
    said = [run.communicate(timeout=900)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    listed = here.listed()
    one, two = listed["topic/one"], listed["topic/two"]
    assert one["attached_to"] == two["attached_to"] == "shared" and one["api"] == two["api"]
    assert "<title>topic/one</title>" in page(one["origin"])
    for preview in (one, two):
        assert allowed(one["api"], preview["origin"])
        assert not list((here.kit.home / "machines").glob(f"{preview['name']}-backend-*"))
    here.fab("preview.comment", "--branch", "topic/one")

    here.fab("preview.down", "--branch", "topic/one")
    assert not allowed(one["api"], one["origin"]) and allowed(one["api"], two["origin"])
    here.git("branch", "-qD", "topic/two")
    assert "fixed  topic/two is gone" in here.fab("preview.sweep").stdout
    assert not allowed(one["api"], two["origin"])
    for preview in (one, two):
        assert not [line for line in left(here.kit.home) if preview["name"] in line]
    here.fab("doctor", "--stack", "shared")
