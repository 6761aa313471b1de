"""Previews of the page alone: they call the backend of an environment, which answers exactly those
that there are."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from on_host.runtime import wait_for
from tests.e2e.test_preview_names import an_environment
from tests.e2e.test_preview_story import page
from tests.support.kit import Kit
from tests.support.repository import Repository, left, repository

pytestmark = [pytest.mark.machines, pytest.mark.soak]


ATTACHED = {"preview_mode": "frontend", "attach_to": "shared"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A checkout with a stack `shared` that is up, to which previews attach."""
    folder = tmp_path_factory.mktemp("attached")
    with repository(Kit(folder / "home"), folder / "checkout", **ATTACHED) as made:
        for name in ("topic/one", "topic/two"):
            made.branch(name, name)
        refused = made.fab("preview.up", "--branch", "topic/one", status=None)
        assert refused.returncode and "fab up --stack shared" in refused.stderr
        with an_environment(made, "shared"):
            yield made


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


def test_a_preview_moves_and_goes_and_its_origin_never_comes_back(here: Repository) -> None:
    """`attach_to` changes between two updates: the former environment no longer answers it. A
    removal that is killed half-way is remembered: an ordinary deploy of the environment leaves the
    origin out, and names the command that finishes it."""
    here.branch("topic/moves", "topic/moves")
    up = ("preview.up", "--branch", "topic/moves")
    with an_environment(here, "other"):
        here.fab(*up)
        first = here.listed()["topic/moves"]
        here.template(**{**ATTACHED, "attach_to": "other"})
        said = here.fab(*up).stdout
        second = here.listed()["topic/moves"]
        origin = first["origin"]
        assert second["origin"] == origin and second["api"] != first["api"]
        assert f"shared no longer answers {first['name']} ({origin})" in " ".join(said.split())
        assert allowed(second["api"], origin) and not allowed(first["api"], origin)

        removal = here.started("preview.down", "--branch", "topic/moves")
        assert wait_for(lambda: not allowed(second["api"], origin), 120)
        os.killpg(removal.pid, signal.SIGKILL)
        removal.communicate()
        assert "topic/moves" in here.listed()
        deployed = here.fab("deploy", "--stack", "other")
        said = " ".join((deployed.stdout + deployed.stderr).split())
        assert f"fab preview.down --branch {first['name']}" in said
        assert not allowed(second["api"], origin)
        here.fab("preview.down", "--branch", "topic/moves")
        assert "topic/moves" not in here.listed()
        assert not allowed(second["api"], origin)
        here.template(**ATTACHED)
