"""What the operator's side adds to a host's words about a ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.core.contract import Contract, Host
from infra.core.settings import Settings
from rollout import ship
from rollout.deploy import UsageError
from rollout.host_errors import HostError
from rollout.outputs import Outputs
from rollout.release import Release
from rollout.release.picked import Entry
from rollout.ship import not_shipped
from tests.test_outputs import CONTRACT
from tests.test_settings import GOOD

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


def test_orders_say_what_becomes_of_other_applications() -> None:
    """The orders name each application with another name, and whether it is renamed or removed."""
    assert ship.moving(None, ()) == {}
    assert ship.moving("shop", ["old"]) == {"shop": "renamed", "old": "removed"}


@pytest.mark.parametrize(
    ("rename_from", "remove", "said"),
    [
        ("apt", [], "--rename-from: 'apt' is a folder in /var/lib"),
        (None, ["shop", "lock"], "--remove-application: 'lock' is a folder in /run"),
        ("../../etc", [], "--rename-from: invalid value"),
        ("shop", ["shop"], "shop is to be renamed and to be removed; say one of the two"),
    ],
)
def test_a_name_of_the_system_is_never_moved(
    rename_from: str | None, remove: list[str], said: str
) -> None:
    """A host would take a folder of the system for the data of an application."""
    with pytest.raises(UsageError) as caught:
        ship.moving(rename_from, remove)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("fate", ["renamed", "removed"])
def test_an_application_is_not_moved_to_itself(fate: str) -> None:
    """It would lose its data, so this is refused before any host is asked."""
    contract = Contract.from_json(CONTRACT)
    name = contract.application.name
    config = Settings.read(GOOD, "aws-dev")
    with pytest.raises(UsageError, match=f"{name} is the application's name now"):
        ship.ship_to_all_hosts(config, Outputs(contract), {name: fate})
