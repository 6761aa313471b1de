"""`settings` and `wsgi` renamed in the code and in the stack: release and configuration switch as
one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout import change, outputs, settings, ship
from tests.support.kit import ROOT, Kit, Stack, a_copy_of_the_example
from tests.support.sampling import sampled

pytestmark = [pytest.mark.machines, pytest.mark.soak]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack.of(Kit(tmp_path_factory.mktemp("renamed") / "home")) as made:
        made.fab("up")
        yield made


def renamed(copy: Path) -> dict[str, object]:
    """The example with its modules moved to another package; the keys that name them."""
    (copy / "garden").mkdir()
    (copy / "garden" / "__init__.py").touch()
    shutil.move(copy / "shop" / "settings.py", copy / "garden" / "conf.py")
    shutil.move(copy / "shop" / "wsgi.py", copy / "garden" / "serve.py")
    for path in (copy / "manage.py", copy / "garden" / "serve.py"):
        path.write_text(path.read_text().replace("shop.settings", "garden.conf"))
    conf = copy / "garden" / "conf.py"
    conf.write_text(conf.read_text().replace("shop.wsgi", "garden.serve"))
    return {
        "backend_path": str(copy.relative_to(ROOT)),
        "settings": "garden.conf",
        "wsgi": "garden.serve:application",
    }


def served(stack: Stack) -> str:
    """What the service of the backend runs."""
    return stack.kit.ssh(
        stack.contract.backend.hosts[0],
        "grep ^ExecStart= /etc/systemd/system/shop.service; readlink /opt/shop/current",
    )


def test_a_rename_in_code_and_stack_goes_through(own: Stack) -> None:
    """`fab deploy` says to ship; `fab ship` switches both, `fab deploy` then finds nothing to do;
    `rollback --release` brings both back, and `fab up` the new ones."""
    before = served(own)
    with a_copy_of_the_example() as copy:
        own.write(**renamed(copy))
        refused = own.fab("deploy", status=1).stderr
        assert (
            "has no module" in refused
            and "run `fab ship`: it switches to a release that has it" in refused
        )
        assert served(own) == before
        assert "shipped" in own.fab("ship").stdout
        assert "garden.serve:application" in served(own)
        assert "unchanged" in own.fab("deploy").stdout
        assert "as the contract says" in own.fab("status").stdout
        own.fab("rollback", "--release")
        assert served(own) == before
        assert "run `fab deploy`" in own.fab("status", status=1).stdout
        own.fab("up")
        assert "garden.serve:application" in served(own)
        history = own.fab("history").stdout
        assert "current" in history
    own.write()


@pytest.mark.soak
def test_one_that_does_not_come_up_leaves_both_as_they_were(own: Stack) -> None:
    """A failing release takes its configuration back with it."""
    own.fab("up")
    before = served(own)
    with a_copy_of_the_example() as copy:
        keys = renamed(copy)
        conf = copy / "garden" / "conf.py"
        fails = (
            "import sys\nif 'gunicorn' in sys.argv[0]:\n    raise RuntimeError('not under"
            " gunicorn')\n"
        )
        conf.write_text(fails + conf.read_text())
        own.write(**keys)
        said = own.fab("ship", status=1).stderr
        assert "the previous release serves again" in said
        assert served(own) == before
        own.write()
        assert "as the contract says" in own.fab("status").stdout


STEPS = (
    "stage",
    "check-django",
    "check-nginx",
    "migrate",
    "journal",
    "switch",
    "link",
    "restart-gunicorn",
    "probe",
    "commit",
)


@pytest.mark.parametrize("step", sampled(STEPS, ["link"]))
def test_a_kill_at_any_step_is_settled_by_the_next_run(
    own: Stack, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under one journal: never a release with the configuration of the other."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(own.kit.home))
    own.fab("up")
    before = served(own)
    with a_copy_of_the_example() as copy:
        own.write(**renamed(copy))
        with pytest.raises(change.ChangeError, match="the work on the host was killed"):
            ship.ship_to_all_hosts(settings.read(own.name), outputs.load(own.name), die_at=step)
        own.fab("ship")
        assert "garden.serve:application" in served(own)
        assert "unchanged" in own.fab("deploy").stdout
    own.write()
    own.fab("up")
    assert served(own) == before
