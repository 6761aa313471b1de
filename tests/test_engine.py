"""The embedded engine: steps, state, crashes and refusals, on a cloud whose things are files."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.local.checkpoint import Checkpoint, StateError
from infra.local.engine import execute
from tests.support.ended import ended_unnoticed
from tests.support.things import World

TWO = """
    a = Thing("a")
    b = Thing("b", size=2, opts=pulumi.ResourceOptions(depends_on=[a]))
    pulumi.export("there", b.there)
"""


class Project:
    """A Pulumi project in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = folder, capsys
        self.world = World(folder / "world")
        self.world.folder.mkdir()
        (folder / "infra").mkdir()
        (folder / "stacks").mkdir()
        (folder / "Pulumi.yaml").write_text(
            "name: tiny\nruntime: python\nmain: infra\nstackConfigDir: stacks\n"
            "config:\n  size: {type: integer, default: 3}\n"
        )
        self.stack()

    def stack(self, text: str = "config:\n  tiny:cloud: local\n") -> None:
        (self.root / "stacks" / "Pulumi.dev.yaml").write_text(text)

    def program(self, text: str) -> None:
        head = "import pulumi\nfrom tests.support.things import Thing\n"
        (self.root / "infra" / "__main__.py").write_text(head + textwrap.dedent(text))

    def run(self, command: str, status: int = 0) -> str:
        """What it says, stdout and stderr."""
        done = execute(command, self.root, "dev")
        said = self.capsys.readouterr()
        text = said.out + said.err
        assert done == status, text
        assert "Traceback" not in text
        return text

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(checkpoints_home() / "state", "tiny", "dev").load()

    def urns(self) -> list[str]:
        return [one["urn"].rsplit("::", 1)[1] for one in self.checkpoint.resources]


def checkpoints_home() -> Path:
    return Path(os.environ["ORIGIN_KIT_HOME"])


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Project:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    made = Project(tmp_path, capsys)
    monkeypatch.setenv("THINGS", str(made.world.folder))
    made.program(TWO)
    return made


def test_preview_says_and_does_nothing(project: Project) -> None:
    """A first preview names what would be made; neither the world nor the state has changed."""
    said = project.run("preview")
    assert "a            would create it" in said
    assert project.world.things() == {}
    assert not project.checkpoint.path.exists()


def test_a_preview_as_json_lists_the_steps_with_what_says_so(project: Project) -> None:
    """As `pulumi preview --json` does: one reader for both. What is really there counts, and
    nothing is written."""
    project.run("up")
    project.world.journal()
    (project.world.folder / "b.json").write_text("9")
    before = project.checkpoint.path.read_text()
    project.program(TWO.replace('Thing("a")', 'Thing("a", kind="b")').replace("size=2", "size=5"))
    assert execute("preview", project.root, "dev", as_json=True) == 0
    steps = json.loads(project.capsys.readouterr().out)["steps"]
    short = [(one["op"], one["urn"].rsplit("::", 1)[1], one.get("replaceReasons")) for one in steps]
    assert short == [
        ("replace", "a", ["kind"]),
        ("delete", "b", None),
        ("delete", "a", None),
        ("create", "a", None),
        ("create", "b", None),
    ]
    project.program(TWO.replace("size=2", "size=5"))
    assert execute("preview", project.root, "dev", as_json=True) == 0
    assert json.loads(project.capsys.readouterr().out)["steps"] == [
        {
            "op": "update",
            "urn": "urn:pulumi:dev::tiny::pulumi-python:dynamic/tests:Thing::b",
            "diffReasons": ["size"],
        }
    ]
    assert project.checkpoint.path.read_text() == before
    assert project.world.journal() == []


def test_up_creates_in_the_order_of_dependencies(
    project: Project,
) -> None:
    """Twice the same program: the second run does not touch a thing."""
    project.run("up")
    assert project.world.journal() == ["create a", "create b"]
    assert project.world.things() == {"a": 1, "b": 2}
    assert "nothing to change" in project.run("up")
    assert project.world.journal() == []
    assert json.loads(project.run("outputs")) == {"there": True}


def test_a_changed_input_updates_and_nothing_else(project: Project) -> None:
    project.run("up")
    project.world.journal()
    project.program(TWO.replace("size=2", "size=5"))
    assert "b            would update it" in project.run("preview")
    assert project.world.things()["b"] == 2
    project.run("up")
    assert project.world.journal() == ["update b"]
    assert project.world.things() == {"a": 1, "b": 5}


def test_a_replacement_takes_what_rests_on_it_along(project: Project) -> None:
    """b rests on a: it goes first and comes last."""
    project.run("up")
    project.world.journal()
    project.program(TWO.replace('Thing("a")', 'Thing("a", kind="b")'))
    assert "kind changed" in project.run("preview")
    assert project.world.journal() == []
    project.run("up")
    assert project.world.journal() == ["delete b", "delete a", "create a", "create b"]
    assert "nothing to change" in project.run("up")


def test_what_is_no_longer_declared_goes_dependents_first(project: Project) -> None:
    project.run("up")
    project.world.journal()
    project.program("pulumi.export('empty', True)")
    project.run("up")
    assert project.world.journal() == ["delete b", "delete a"]
    assert project.urns() == ["tiny-dev"]


def test_destroy_removes_everything_twice(project: Project) -> None:
    """Without the program: a broken one must not keep anybody from tearing down."""
    project.run("up")
    project.program("this is no python")
    project.run("destroy")
    assert project.world.things() == {}
    assert project.urns() == []
    assert "nothing to change" in project.run("destroy")


def test_refresh_finds_what_is_gone_and_what_has_changed(project: Project) -> None:
    project.run("up")
    project.world.journal()
    (project.world.folder / "a.json").unlink()
    (project.world.folder / "b.json").write_text("9")
    said = project.run("refresh")
    assert "a            is gone" in said
    assert "size: 2 → 9" in said
    project.run("up")
    assert project.world.journal() == ["create a", "update b"]
    assert project.world.things() == {"a": 1, "b": 2}


def test_a_failed_step_is_continued_by_the_next_run(project: Project) -> None:
    """The provider's own message, once; nothing after the failure begins."""
    project.program(
        TWO.replace("size=2", "size=-1")
        + '    Thing("c", opts=pulumi.ResourceOptions(depends_on=[b]))\n'
    )
    said = project.run("up", status=1)
    assert said.count("b: a size below zero; ask for more") == 1
    assert project.world.things() == {"a": 1}
    assert project.checkpoint.pending == []
    project.program(TWO)
    project.world.journal()
    project.run("up")
    assert project.world.journal() == ["create b"]


def test_a_program_that_fails_says_where(project: Project) -> None:
    project.program('Thing("a")\n{}["missing"]\n')
    said = project.run("up", status=1)
    assert "KeyError" in said
    assert "__main__.py" in said


def sound(resources: list[dict[str, Any]]) -> bool:
    """Whether everything stands after what it rests on, as the CLI demands."""
    seen: set[str] = set()
    for one in resources:
        on = {
            one.get("parent"),
            *one.get("dependencies", ()),
            (one.get("provider") or "").rpartition("::")[0],
        } - {
            None,
            "",
        }
        if not on <= seen or one["urn"] in seen:
            return False
        seen.add(one["urn"])
    return True


def killed_at(write: int, work: Callable[[], object], before: bool) -> bool:
    """Run `work` in a child that dies at its n-th write of the state, before or after it. Whether
    it did."""
    child = os.fork()
    if child == 0:
        count, real = 0, Checkpoint.write

        def dying(self: Checkpoint) -> None:
            nonlocal count
            count += 1
            if count == write and before:
                os._exit(9)
            real(self)
            assert sound(self.resources)
            if count == write:
                os._exit(9)

        Checkpoint.write = dying  # type: ignore[method-assign]
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), "the run failed by itself"
    return status == 9


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("what", ["first", "replace", "destroy"])
def test_a_killed_run_is_completed_by_the_next(project: Project, what: str, before: bool) -> None:
    """Wherever it dies, the state is whole, nothing is made twice, and nothing is left that nobody
    knows."""
    replaced = TWO.replace('Thing("a")', 'Thing("a", kind="b")')
    write = 0
    while True:
        write += 1
        project.program(TWO)
        project.run("destroy")
        if what != "first":
            project.run("up")
        project.program(replaced if what == "replace" else TWO)
        command = "destroy" if what == "destroy" else "up"
        if not killed_at(write, lambda: execute(command, project.root, "dev"), before):  # noqa: B023
            break
        assert sound(project.checkpoint.resources)
        project.run(command)
        assert project.world.things() == ({} if what == "destroy" else {"a": 1, "b": 2})
        assert project.checkpoint.pending == []
        project.run("destroy")
        assert project.world.things() == {}
    assert write > (6 if what == "destroy" else 8), (
        "it wrote too seldom for this test to mean anything"
    )


def test_the_program_finds_the_kit_s_backend_whatever_the_login(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under the CLI the variable names where the state is; afterwards it is what it was."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://mine")
    project.program("import os\npulumi.export('backend', os.environ['PULUMI_BACKEND_URL'])")
    project.run("up")
    assert json.loads(project.run("outputs")) == {
        "backend": f"file://{checkpoints_home() / 'state'}"
    }
    assert os.environ["PULUMI_BACKEND_URL"] == "s3://mine"


REFUSALS = {
    "a secret": 'Thing("a", label=pulumi.Output.secret("x"))',
    "an output": 'pulumi.export("x", pulumi.Output.secret("y"))',
    "StackReference": 'pulumi.StackReference("other")',
    "ignore_changes": 'Thing("a", opts=pulumi.ResourceOptions(ignore_changes=["size"]))',
    "protect": 'Thing("a", opts=pulumi.ResourceOptions(protect=True))',
    "import_": 'Thing("a", opts=pulumi.ResourceOptions(import_="x"))',
    "aliases": 'Thing("a", opts=pulumi.ResourceOptions(aliases=[pulumi.Alias(name="b")]))',
    "custom_timeouts": (
        'Thing("a",'
        ' opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="5m")))'
    ),
    "retain_on_delete": 'Thing("a", opts=pulumi.ResourceOptions(retain_on_delete=True))',
    "the function cloud:index:look": (
        'pulumi.export("x", pulumi.runtime.invoke("cloud:index:look", {}).value)'
    ),
    "FileAsset": 'Thing("a", label=pulumi.FileAsset("x"))',
    "only the CLI runs": 'pulumi.CustomResource("aws:ec2/vpc:Vpc", "a", {})',
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_not_served_is_refused_by_name(project: Project, what: str) -> None:
    """One line that names it and says what serves it; nothing was made."""
    project.program(REFUSALS[what])
    said = project.run("up", status=1)
    assert what.removeprefix("an output") in said
    assert "install the pulumi CLI" in said
    assert project.world.things() == {}


def test_another_cloud_is_refused_before_anything_runs(project: Project) -> None:
    project.stack("config:\n  tiny:cloud: aws\n")
    assert "stack dev is on aws" in project.run("up", status=1)
    assert not project.checkpoint.path.exists()


def test_a_second_run_waits_and_a_dead_one_does_not_block(project: Project) -> None:
    """The lock is the CLI's own kind: a file that names who holds it."""
    with project.checkpoint.locked():
        said = project.run("up", status=4)
        assert f"pid {os.getpid()}" in said
        folder = checkpoints_home() / "state/.pulumi/locks/organization/tiny/dev"
        lock = json.loads(next(folder.glob("*.json")).read_text())
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    (folder / "dead.json").write_text(json.dumps({**lock, "pid": child}))
    with ended_unnoticed() as unnoticed:
        (folder / "unnoticed.json").write_text(json.dumps({**lock, "pid": unnoticed}))
        project.run("up")
    assert list(folder.iterdir()) == []


def test_a_lock_of_another_host_is_never_taken_for_dead(project: Project) -> None:
    folder = checkpoints_home() / "state/.pulumi/locks/organization/tiny/dev"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text(
        '{"pid": 1, "username": "ada", "hostname": "elsewhere", "timestamp": "x"}'
    )
    assert "ada@elsewhere" in project.run("up", status=4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no Pulumi state"),
        ("[]", "no Pulumi state"),
        ('{"version": 4, "checkpoint": {}}', "version 4"),
        (
            (
                '{"version": 3, "checkpoint": {"latest": {"x": {"4dabf18193072939515e22adb298388d":'
                ' "y"}}}}'
            ),
            "secrets",
        ),
    ],
)
def test_a_state_that_can_t_be_read_is_left_alone(project: Project, text: str, says: str) -> None:
    path = project.checkpoint.path
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert says in project.run("up", status=4)
    assert path.read_text() == text


def test_the_state_is_never_seen_half_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails leaves the state before it."""
    project.run("up")
    before = project.checkpoint.path.read_text()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("infra.local.checkpoint.os.fsync", full)
    project.program(TWO.replace("size=2", "size=7"))
    said = project.run("up", status=1)
    assert "No space left on device" in said
    assert project.checkpoint.path.read_text() == before


def test_compressed_state_is_refused(project: Project) -> None:
    path = project.checkpoint.path
    path.parent.mkdir(parents=True)
    path.with_suffix(".json.gz").write_bytes(b"x")
    with pytest.raises(StateError, match="only the pulumi CLI reads it"):
        project.checkpoint.load()


def test_a_checkpoint_of_the_cli_keeps_what_it_needs(
    project: Project,
) -> None:
    """Its salt, above all: without it the CLI could not open its own stack again."""
    path = project.checkpoint.path
    path.parent.mkdir(parents=True)
    salt = {"type": "passphrase", "state": {"salt": "v1:abc"}}
    latest = {"manifest": {}, "secrets_providers": salt, "resources": [], "metadata": {}}
    path.write_text(
        json.dumps(
            {"version": 3, "checkpoint": {"stack": "organization/tiny/dev", "latest": latest}}
        )
    )
    project.run("up")
    assert project.checkpoint.salt == "v1:abc"
