"""What a host makes of a page's release, and which releases before it nginx goes on serving."""

from __future__ import annotations

from pathlib import Path

import pytest

from on_host import orders, places
from on_host.activation import note_activation
from on_host.page_files import EARLIER
from on_host.release import site, switch
from tests.support.folders import write_files


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frontend below `tmp_path`."""
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setitem(orders.ORDERS, "app", "shop")
    monkeypatch.setitem(orders.ORDERS, "role", "frontend")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the operator reads."""
    texts: list[str] = []
    monkeypatch.setattr(site, "note", lambda name, text: texts.append(text))
    return texts


def release(name: str, **files: str) -> Path:
    folder = places.releases() / name
    write_files(folder / "site", {"index.html": "home"} | files)
    return folder


def activate(name: str) -> None:
    """As a ship or a rollback to this release does it."""
    site.keep_earlier()
    places.current_release().unlink(missing_ok=True)
    places.current_release().symlink_to(f"releases/{name}")
    note_activation(places.releases(), name)


def earlier() -> list[str]:
    """Names of the releases that the links lead to, the first one first."""
    found = sorted(places.earlier().iterdir(), key=lambda place: place.name)
    assert [place.name for place in found] == [str(n + 1) for n in range(len(found))]
    return [place.resolve().name for place in found]


def test_the_releases_before_stay_reachable() -> None:
    """The last one first, as many as there are links; after a rollback the one that was left."""
    for name in "abcdef":
        release(name)
        activate(name)
    assert earlier() == ["e", "d", "c", "b"][:EARLIER]
    activate("d")
    assert earlier() == ["f", "e", "d", "c"][:EARLIER]
    activate("f")
    assert earlier() == ["d", "f", "e", "c"][:EARLIER]


def test_a_switch_that_fails_leaves_them_reachable() -> None:
    """The links are led before the switch: the current release is the first of them until then."""
    for name in "ab":
        release(name)
        activate(name)
    release("broken")
    site.keep_earlier()
    assert earlier() == ["b", "a"]
    activate("a")
    assert earlier()[0] == "b"


def test_what_is_reachable_is_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old releases are removed after a ship, never one that a link leads to."""
    monkeypatch.setattr(switch, "step", lambda *_: None)
    for name in "abcdefgh":
        release(name)
        activate(name)
        switch.prune()
        if name == "a":
            continue  # there was none before
        assert all(
            (places.earlier() / link / "site").is_dir() for link in places.earlier().iterdir()
        )
    assert earlier() == ["g", "f", "e", "d"]
    assert sorted(path.name for path in places.releases().iterdir()) == list("defgh")


def test_a_release_that_never_served_is_not_reachable() -> None:
    release("staged")
    release("a")
    activate("a")
    release("b")
    activate("b")
    assert earlier() == ["a"]


def test_a_backend_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(orders.ORDERS, "role", "backend")
    release("a")
    activate("a")
    activate("a")
    assert not places.earlier().exists()


def test_content_that_changes_under_a_kept_name_is_reported(said: list[str]) -> None:
    """Whoever has the old one keeps it for a year; a plain name may change."""
    name = "assets/theme-DarkMode.css"
    release("a", **{name: "old", "app.js": "old", "assets/same-BdR7x9Qz.js": "same"})
    activate("a")
    site.warn_of_kept_names(
        release("b", **{name: "new", "app.js": "new", "assets/same-BdR7x9Qz.js": "same"})
    )
    (line,) = said
    assert name in line and "give it another name" in line
