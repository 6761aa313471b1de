"""What `preview.up`, `down` and `sweep` leave alone, whatever it is called."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.core.previews import name_of
from rollout.previews import down, up
from rollout.previews.branches import Wanted
from rollout.previews.lifetime import stamp
from rollout.previews.living import Known
from rollout.previews.making import Template
from rollout.previews.registry import Entry
from tests.test_preview_list import BRANCH, STACK, entry

READ = Template("", {"cloud": "local", "application": "shop"})
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def changed(**fields: Any) -> Known:
    """A preview whose contract says something else."""
    found = entry()
    contract = {**found.outputs["contract"], **fields}
    return Known(STACK, replace(found, outputs={**found.outputs, "contract": contract}))


def test_a_preview_of_this_project_may_go() -> None:
    down.refuse_other(Known(STACK, entry()), READ)
    down.refuse_other(Known(STACK, Entry(STACK)), READ)  # made partly


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (changed(project="other"), "of project other"),
        (changed(branch="another"), "not the name of a preview of another"),
        (
            changed(application={**entry().outputs["contract"]["application"], "name": "blog"}),
            "to the application blog",
        ),
    ],
)
def test_what_is_none_of_ours_is_left_alone(found: Known, why: str) -> None:
    with pytest.raises(down.NotAPreviewError, match=f"was not removed: .*{why}"):
        down.refuse_other(found, READ)


def test_nothing_is_made_over_what_can_t_be_read() -> None:
    up.refuse_unreadable(None)
    up.refuse_unreadable(entry())
    with pytest.raises(up.UnreadableError, match="broken; nothing was changed"):
        up.refuse_unreadable(Entry(STACK, problem="broken"))


class History:
    """A repository in which `old` is contained in `new`."""

    def is_ancestor(self, older: str, newer: str) -> bool:
        return (older, newer) == ("old", "new")


@pytest.mark.parametrize(
    ("there", "mine", "minutes", "later"),
    [
        ("new", "old", 1, True),
        ("new", "old", -1, False),  # the branch was taken back since
        ("old", "new", 1, False),
        ("new", "new", 1, False),
        ("other", "old", 1, False),
        ("", "old", 1, False),
    ],
)
def test_the_later_push_wins(there: str, mine: str, minutes: int, later: bool) -> None:
    """Where another run put a commit there while this one waited that contains ours."""
    updated = stamp(NOW + timedelta(minutes=minutes))
    wanted = Wanted(BRANCH, mine, False)
    for vacant in (False, True):  # what a slot had before is another branch's
        noted = replace(entry(commit=there, updated=updated, vacant=vacant), stack="preview-slot-1")
        found = Known(noted.stack, noted)
        is_later = up._is_later(found, wanted, NOW, History())  # type: ignore[arg-type]
        assert is_later is (later and not vacant)


def test_a_name_says_whose_it_is() -> None:
    assert name_of(BRANCH) == STACK
