"""The kit's home: what is in it is the kit's, is nobody else's to reach, and belongs to one
checkout and user."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.core import home, owner
from infra.core.home import LocalCloudError
from infra.core.owner import Owner, OwnerError
from infra.local import networks, nspawn
from rollout import local_stack
from tests.support.kit import FAB, ROOT, copy_of_the_checkout

ADA, BOB = Owner("/srv/a", "ada"), Owner("/srv/b", "bob")
WRITING = ("up", "down", "ship", "deploy", "rollback")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the home will be."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SUDO_UID", raising=False)
    return tmp_path / "home"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def before_marks(place: Path, stack: str = "local") -> Path:
    """A home as the version before marks and owners left it: open to all, with a state."""
    state = place / "state/.pulumi/stacks/origin-kit" / f"{stack}.json"
    state.parent.mkdir(parents=True)
    state.write_text('{"version": 3, "checkpoint": {"latest": {"resources": []}}}')
    for name in ("machines/local-backend-1-0", "ssh"):
        (place / name).mkdir(parents=True)
    for folder in (place, place / "machines/local-backend-1-0"):
        folder.chmod(0o755)
    return state


def fab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FAB, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


# ------------------------------------------------------------------------------------ nobody else's


def test_a_new_home_is_its_owner_s_alone(place: Path) -> None:
    """Set-uid files of a machine lie below it: nobody else may pass."""
    home.claim()
    assert mode(place) == 0o700
    assert len(home.identity()) == 32


def test_a_home_that_was_open_is_closed_by_the_next_verb(place: Path) -> None:
    """One made by an older version, its machines' folders included; verbs that only read do it
    too."""
    before_marks(place)
    assert "no outputs" in fab("status", "--stack", "local").stderr
    assert {mode(path) for path in (place, place / "machines/local-backend-1-0")} == {0o700}


def test_cache_folders_are_closed_and_yours_keeps_its_mode(
    place: Path,
) -> None:
    """Bases hold set-uid files, git trees and wheels private code."""
    chosen = place.with_name("cache")
    (chosen / "git").mkdir(parents=True, mode=0o755)
    chosen.chmod(0o755)
    assert mode(home.cache_folder("git")) == 0o700
    assert mode(home.cache_folder("images")) == 0o700
    assert mode(chosen) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns it could swap what root runs there; but whoever became root by sudo may have made it
    before."""
    place.mkdir()
    os.chown(place, 1234, 1234)
    with pytest.raises(
        LocalCloudError, match=f"{place} belongs to 1234, not to you; name a folder of root's"
    ):
        home.claim()
    monkeypatch.setenv("SUDO_UID", "1234")
    home.claim()
    assert place.stat().st_uid == 0
    shared = place.with_name("shared")
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(shared))
    with pytest.raises(LocalCloudError, match="is shared by all users"):
        home.claim()
    assert mode(shared) == 0o1777


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a home that others can't read")
def test_without_root_a_closed_home_is_a_message(place: Path) -> None:
    """A local stack needs sudo, and says so; for a stack on a cloud the home does not matter."""
    before_marks(place)
    home.claim()
    checkout = copy_of_the_checkout(place.with_name("checkout"))
    for folder in place.parents:
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o1:
            folder.chmod(0o755)
    script = (
        "import os, infra.core.stackfile\n"
        "from rollout.state_files import kit_has\nos.setuid(65534)\n"
        "print(kit_has('aws-dev'))\n"
        "try: kit_has('local')\nexcept ValueError as problem: print(problem)\n"
    )
    path = f"{checkout}:{checkout}/ansible-free-deploy"
    done = subprocess.run(
        [str(Path(FAB).with_name("python")), "-c", script],
        cwd="/",
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "False",
        f"{place}: only root can read this folder; run this with sudo",
    ]


# ------------------------------------------------------------------------------------ the kit's own


@pytest.mark.parametrize("verb", ["up", "down"])
def test_a_folder_that_the_kit_did_not_make_is_refused(place: Path, verb: str) -> None:
    """Nothing in it is touched, and the message says what to do; a mode is not changed either."""
    place.mkdir()
    place.chmod(0o755)
    (place / "thesis.tex").write_text("x")
    (place / "more").mkdir()
    done = fab(verb, "--stack", "local")
    assert done.returncode == 1
    assert (
        f"{place} was not made by the kit and holds more and 1 more; set ORIGIN_KIT_HOME to a new"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert files(place) == {"thesis.tex", "more"}
    assert mode(place) == 0o755


def test_a_home_without_a_mark_is_known_by_its_state(place: Path) -> None:
    """The version before marks made it: it is taken over, foreign files and all."""
    before_marks(place)
    (place / "mine.txt").write_text("x")
    home.claim()
    assert (place / home.MARK).exists()
    assert (place / "mine.txt").exists()


def test_an_empty_folder_may_become_the_home(place: Path) -> None:
    """A fresh disk mounted there has lost+found, and nothing else."""
    (place / "lost+found").mkdir(parents=True)
    home.claim()
    assert home.leave() == []
    assert files(place) == {"lost+found"}


def test_down_leaves_what_is_not_the_kit_s(place: Path) -> None:
    """Foreign files at any depth stay where they are; everything of the kit's goes; then the home
    itself."""
    state = before_marks(place)
    (place / "machines/local-backend-1-0").rmdir()
    owner.take("local", ADA)
    home.operator_key()
    local_stack.passphrase()
    foreign = {
        "mine.txt",
        "ssh/my_key",
        "state/.pulumi/stacks/origin-kit/local-old.txt",
        "machines/notes/n.txt",
    }
    for name in foreign:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("x")
    for name in (
        "bases/b/etc",
        "config",
        "state/.pulumi/history/origin-kit/local",
        "state/.pulumi/locks/o",
    ):
        (place / name).mkdir(parents=True)
    (place / "config/Pulumi.local.yaml").touch()
    (place / "state/gate.lock").touch()
    state.with_name("local.json.bak").touch()
    for killed in (
        state.with_name(".local.json.new"),
        place / "owners/local.json.7.new",
        place / f"{home.MARK}.7.new",
    ):
        killed.touch()
    local_stack.forget("local")
    left = {name for name in files(place) if (place / name).is_file()}
    assert left == foreign | {home.MARK}
    for name in foreign:
        (place / name).unlink()
    (place / "machines/notes").rmdir()
    local_stack.forget("local")
    assert not place.exists()


def test_down_names_what_it_leaves(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The user learns why the home is still there."""
    before_marks(place)
    (place / "machines/local-backend-1-0").rmdir()
    (place / "mine.txt").write_text("x")
    local_stack.forget("local")
    assert f"leaves {place / 'mine.txt'}, which is not the kit's" in capsys.readouterr().out
    (place / "mine.txt").unlink()


def test_down_follows_no_link(place: Path) -> None:
    """A folder elsewhere that the home links to is kept, whatever the link's name is."""
    before_marks(place)
    (place / "machines/local-backend-1-0").rmdir()
    for name in ("bases", "builds", "state/.pulumi/history", "state/.pulumi/locks"):
        elsewhere = place.with_name(name.replace("/", "-"))
        elsewhere.mkdir()
        (elsewhere / "thesis.tex").write_text("x")
        (place / name).symlink_to(elsewhere)
    local_stack.forget("local")
    assert len(list(place.parent.glob("*/thesis.tex"))) == 4


def test_the_last_down_removes_machines_without_a_state(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines of this home whose state was lost: no other command could remove them."""
    before_marks(place)
    (place / "machines/local-backend-1-0").rmdir()
    lost = SimpleNamespace(name="backend-1", id="local-backend-1-0", bridge="ok-1")
    removed: list[str] = []
    monkeypatch.setattr(nspawn, "machines", lambda: [lost])
    monkeypatch.setattr(nspawn, "delete", removed.append)
    monkeypatch.setattr(networks, "delete_network", removed.append)
    local_stack.forget("local")
    assert removed == [lost.id, lost.bridge]


def test_what_a_rename_left_behind_is_no_stack(place: Path) -> None:
    """`pulumi stack rename`, there and back, leaves backups under the other name: they don't keep
    the home."""
    before_marks(place)
    owner.take("local", ADA)
    for name in ("two.json.bak", "two.json.bak.attrs"):
        (place / "state/.pulumi/stacks/origin-kit" / name).write_text("{}")
    (place / "machines/local-backend-1-0").rmdir()
    local_stack.forget("local")
    assert not place.exists()


def test_the_last_stack_takes_the_home_along_and_no_other(place: Path) -> None:
    """Another stack, one that is just being made, and another project's in the same backend keep
    it."""
    for other in (
        "state/.pulumi/stacks/origin-kit/two.json",
        "state/.pulumi/locks/organization/origin-kit/two/x.json",
        "owners/two.json",
        "state/.pulumi/stacks/mine/one.json",
    ):
        before_marks(place)
        owner.take("local", ADA)
        (place / other).parent.mkdir(parents=True, exist_ok=True)
        (place / other).write_text("{}")
        shared = local_stack.passphrase()
        local_stack.forget("local")
        assert (place / other).exists()
        assert (place / home.MARK).exists()
        assert local_stack.passphrase() == shared, "the other's secrets can't be read any more"
        (place / other).unlink()
        (place / "machines/local-backend-1-0").rmdir()
        local_stack.forget("local")
        assert not place.exists()


# ---------------------------------------------------------------------------------------- one owner


def test_a_stack_belongs_to_the_first_who_uses_it(place: Path) -> None:
    """One without an owner is taken silently; then the other is refused, with both names and the
    way out."""
    before_marks(place)
    owner.take("local", ADA)
    owner.take("local", ADA)
    with pytest.raises(OwnerError) as problem:
        owner.take("local", BOB)
    assert (
        "stack 'local' belongs to ada in /srv/a, a folder that is gone (moved?), and this is bob in"
        " /srv/b" in str(problem.value)
    )
    assert "`fab up --stack local --take-over`" in str(problem.value)
    assert owner.owner_of("local") == ADA
    owner.take("local", BOB, take_over=True)
    with pytest.raises(OwnerError):
        owner.refuse_other("local", ADA)
    owner.take("other", ADA)  # each stack has its own


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (ADA, Owner("/srv/a", "bob"), False),
        (ADA, Owner("/srv/b", "ada"), False),
        (ADA, Owner("/srv/a", "root"), True),  # a root shell, by whomever
        (Owner("/srv/a", "root"), Owner("/srv/b", "root"), False),
    ],
)
def test_an_owner_is_a_checkout_and_a_user(one: Owner, other: Owner, same: bool) -> None:
    assert one.is_same(other) is same
    assert other.is_same(one) is same


def test_the_owner_is_whoever_called_sudo_and_the_real_folder(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to the checkout is the checkout."""
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Owner.here(tmp_path / "link") == Owner(str(tmp_path.resolve()), "nobody")


def test_a_note_of_the_owner_that_can_t_be_read_says_so(place: Path) -> None:
    """It is no traceback, and no permission either; taking over mends it."""
    owner.take("local", ADA)
    (place / "owners/local.json").write_text("{")
    with pytest.raises(
        OwnerError,
        match=r"owners/local\.json can't be read .*; remove it if stack 'local' is yours",
    ):
        owner.take("local", ADA)
    owner.take("local", ADA, take_over=True)
    assert json.loads((place / "owners/local.json").read_text()) == {
        "checkout": "/srv/a",
        "user": "ada",
    }


@pytest.mark.parametrize("verb", WRITING)
def test_every_changing_verb_refuses_another_s_stack(place: Path, verb: str) -> None:
    """Before anything is asked or changed: state, owner and files stay as they are."""
    state = before_marks(place)
    contract = (ROOT / "tests/golden/clouds/aws-dev.json").read_text()
    outputs = json.loads(contract)["outputs"]
    outputs["contract"]["environment"] = "local"
    resources = [{"type": "pulumi:pulumi:Stack", "outputs": outputs, "urn": "u", "custom": False}]
    state.write_text(json.dumps({"version": 3, "checkpoint": {"latest": {"resources": resources}}}))
    owner.take("local", ADA)
    before = state.read_bytes()
    done = fab(verb, "--stack", "local")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "belongs to ada in /srv/a" in done.stderr
    assert "--take-over" in done.stderr
    assert "Traceback" not in done.stderr
    assert state.read_bytes() == before
    assert owner.owner_of("local") == ADA
