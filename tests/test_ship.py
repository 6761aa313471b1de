"""What the operator's side adds to a host's words about a ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.core.contract import Host
from rollout.hosts import HostError
from rollout.release import Release
from rollout.release.picked import Entry
from rollout.ship import not_shipped

HERE = "garden/local_settings.py is in p here and was not shipped, because git ignores it"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "manage.py check fails: No module named 'garden.local_settings'; nothing was changed",
            HERE,
        ),
        (
            "No module named 'garden.settings'",
            "",
        ),  # shipped: the host has it, and something else is wrong
        ("No module named 'requests'", ""),
        ("a wheel is refused", ""),
    ],
)
def test_a_module_that_git_ignores_is_said_to_be_here(tmp_path: Path, text: str, said: str) -> None:
    folder = tmp_path / "p"
    (folder / "garden").mkdir(parents=True)
    for name in ("settings", "local_settings"):
        (folder / "garden" / f"{name}.py").touch()
    entry = Entry("garden/settings.py", folder / "garden/settings.py", None, False, "0")
    built = Release("0123456789ab", "backend", "p", None, (entry,))
    assert not_shipped(text, folder, built) == said
    assert not_shipped(text, None, built) == ""  # from a repository that is elsewhere


def test_what_is_added_to_an_error_stands_behind_it() -> None:
    problem = HostError(
        Host("backend-1", "192.0.2.1", 22, "deploy", ()), "it fails", left_alone=True
    )
    assert str(problem) == "backend-1 (192.0.2.1): it fails"
    problem.note = "and why"
    assert (str(problem), problem.left_alone) == ("backend-1 (192.0.2.1): it fails; and why", True)
