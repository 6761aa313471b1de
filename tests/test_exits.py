"""The exit status of every verb: one table of what it means, and one of cases that each verb is put
through."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit

import tasks
from infra.core import errors, exits
from infra.core.contract import Host
from rollout import change, host_errors, state_files
from rollout.deploy import Outcome
from rollout.deploy_report import as_wanted, would_change
from tests.support import stackfiles
from tests.support.kit import FAB, ROOT

# What each verb needs besides --stack or --outputs.
VERBS: dict[str, tuple[str, ...]] = {
    "up": (),
    "down": ("--yes",),
    "replace": ("backend-1",),
    "move": (),
    "outputs": (),
    "images": (),
    "build": ("release.tar.gz",),
    "ship": (),
    "deploy": (),
    "rollback": (),
    "plan": (),
    "status": (),
    "history": (),
    "logs": (),
    "manage": ("--", "check"),
    "backup": (),
    "backups": (),
    "restore": ("nothing.age",),
    "doctor": (),
    "adopt": (),
    "preview.up": (),
    "preview.list": (),
    "preview.down": (),
    "preview.sweep": (),
    "preview.comment": (),
    "preview.build": ("release.tar.gz",),
    "tls.show": (),
    "tls.renew": (),
}
# These name no stack: a branch, or all previews.
OF_STACKS = [verb for verb in VERBS if verb != "adopt" and not verb.startswith("preview.")]
ON_HOSTS = (
    "deploy",
    "rollback",
    "plan",
    "status",
    "tls.show",
    "history",
    "logs",
    "manage",
    "doctor",
    "ship",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def stack() -> Iterator[str]:
    """A local stack of this test's own, that is not up."""
    name = f"test-{os.getpid()}-exits"
    path = ROOT / "stacks" / f"Pulumi.{name}.yaml"
    path.write_text((ROOT / "stacks" / "Pulumi.local.yaml").read_text())
    yield name
    path.unlink()


def fab(
    *words: str, path: str | None = None, closed: bool = False
) -> subprocess.CompletedProcess[str]:
    """`fab WORDS` with no terminal; its stdout is closed before it writes where that is asked
    for."""
    environment = {**os.environ, **({"PATH": path} if path else {})}
    reading, writing = os.pipe()
    if closed:
        os.close(reading)
    try:
        done = subprocess.run(
            [FAB, *words],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=60,
            stdout=writing if closed else subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    finally:
        os.close(writing)
        if not closed:
            os.close(reading)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def unreachable(folder: Path, stack: str) -> Path:
    """A contract whose hosts refuse every connection."""
    contract = json.loads((ROOT / "tests/golden/clouds/aws-dev.json").read_text())["outputs"][
        "contract"
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for number, role in enumerate(("frontend", "backend"), 1):
        contract[role]["hosts"][0] |= {"address": f"127.0.0.{number}", "port": port}
        contract[role]["origin"] = (
            f"http://127.0.0.1:{port}" if role == "frontend" else f"http://localhost:{port}"
        )
    contract["cors"]["allowed_origins"] = [contract["frontend"]["origin"]]
    path = folder / "contract.json"
    path.write_text(json.dumps({**contract, "environment": stack}))
    return path


def test_every_verb_is_in_these_tables() -> None:
    assert set(tasks.ns.task_names) - {"verbs"} == set(VERBS)


def test_the_guide_has_the_same_statuses() -> None:
    """The table in docs/operating.md, from top to bottom."""
    text = (ROOT / "docs/operating.md").read_text().split("## Exit status")[1].split("\n## ")[0]
    documented = [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert documented == [
        exits.OK,
        exits.WRONG,
        exits.USAGE,
        exits.QUESTION,
        exits.UNREACHABLE,
        exits.STOPPED,
    ]


def test_control_c_before_any_verb_has_begun_is_130(tmp_path: Path) -> None:
    """While Python still reads Fabric: one line, and nothing has happened."""
    (tmp_path / "fabric").mkdir()
    (tmp_path / "fabric" / "__init__.py").touch()
    (tmp_path / "fabric" / "main.py").write_text("raise KeyboardInterrupt\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [FAB, "status"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (exits.STOPPED, "stopped; nothing was changed\n")


def test_control_c_while_the_verbs_are_read_is_130(tmp_path: Path) -> None:
    """Invoke, which reads them, would end with status 1 and no message."""
    (tmp_path / "fabfile.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [FAB, "status"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (exits.STOPPED, "stopped; nothing was changed\n")


@pytest.mark.parametrize("verb", VERBS)
def test_a_misspelt_option_is_2(verb: str) -> None:
    """One line, which names the verb's own options."""
    done = fab(verb, "--sstack", "x")
    assert done.returncode == exits.USAGE
    needs = {
        "adopt": "PATH",
        "build": "FILE",
        "preview.build": "FILE",
        "replace": "NAME",
        "restore": "SOURCE",
    }
    first = needs.get(verb)
    said = "has no option --sstack; did you mean --stack?"
    if first:
        said = f"needs {first} before --sstack"
    elif verb.startswith("preview."):
        said = f"has no option --sstack; `fab {verb} --help` shows them"
    assert done.stderr.startswith(f"`fab {verb}` {said}"), done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("manage", "check"), "The command stands after --, e.g. `fab manage -- createsuperuser`"),
        (("replace",), "`fab replace` needs NAME; `fab replace --help` says more"),
        (("adopt",), "`fab adopt` needs PATH; `fab adopt --help` says more"),
        (
            ("preview.build",),
            "`fab preview.build` needs FILE; `fab preview.build --help` says more",
        ),
        (("manage", "--stak", "x"), "`fab manage` has no option --stak; did you mean --stack?"),
    ],
)
def test_what_a_verb_needs_is_said_in_one_line(words: tuple[str, ...], said: str) -> None:
    done = fab(*words)
    assert (done.returncode, done.stderr.strip()) == (exits.USAGE, said)


@pytest.mark.parametrize("verb", OF_STACKS)
def test_an_unknown_stack_is_2(verb: str, home: Path) -> None:
    done = fab(verb, "--stack", "lokal", *VERBS[verb])
    assert (done.returncode, done.stderr.split(";")[0]) == (
        exits.USAGE,
        "there is no stack 'lokal'",
    )


@pytest.mark.parametrize("verb", ["up", "down", "ship", "move", "images"])
def test_a_config_that_is_no_yaml_is_2(verb: str, home: Path, stack: str, tmp_path: Path) -> None:
    (ROOT / "stacks" / f"Pulumi.{stack}.yaml").write_text("config:\n  a: b\n   c: d\n")
    more = ("--outputs", str(unreachable(tmp_path, stack))) if verb == "ship" else VERBS[verb]
    done = fab(verb, "--stack", stack, *more)
    assert done.returncode == exits.USAGE
    assert "line 3: not YAML" in done.stderr


@pytest.mark.parametrize("verb", ["outputs", *ON_HOSTS])
def test_a_file_that_is_no_contract_is_2(verb: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    for name in ("x.json", "missing.json"):
        assert fab(verb, "--outputs", str(tmp_path / name), *VERBS[verb]).returncode == exits.USAGE


def test_a_plan_is_0_and_its_check_1_for_changes(home: Path, stack: str) -> None:
    """A stack that is not up is the greatest change of all, and no error."""
    for more, status in ((), exits.OK), (("--check",), exits.WRONG):
        done = fab("plan", "--stack", stack, *more)
        assert done.returncode == status, done.stderr
        assert f"infrastructure: nothing is there yet: run `fab up --stack {stack}`" in done.stdout


@pytest.mark.parametrize("verb", ["ship", "deploy", "status", "rollback"])
def test_a_missing_key_file_stops_no_work_on_hosts(
    verb: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only who makes hosts needs the file: the others come as far as hosts that refuse them."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/backend")
    with stackfiles.like("aws-dev") as stack:
        stack.edit(ssh_key_file=str(tmp_path / "missing.pub"))
        contract = json.loads(unreachable(tmp_path, stack.name).read_text())
        resource = {"type": "pulumi:pulumi:Stack", "outputs": {"contract": contract}}
        state = tmp_path / "backend/.pulumi/stacks/origin-kit" / f"{stack.name}.json"
        state.parent.mkdir(parents=True)
        state.write_text(
            json.dumps({"version": 3, "checkpoint": {"latest": {"resources": [resource]}}})
        )
        done = fab(verb, "--stack", stack.name, *VERBS[verb])
    assert (done.returncode, "missing.pub" in done.stderr) == (exits.UNREACHABLE, False), done


@pytest.mark.parametrize(
    "verb", ["outputs", "move", *(verb for verb in ON_HOSTS if verb != "plan")]
)
def test_a_stack_that_is_not_up_is_1(verb: str, home: Path, stack: str) -> None:
    """What should be there is not."""
    done = fab(verb, "--stack", stack, *VERBS[verb])
    assert (done.returncode, "run `fab up" in done.stderr) == (exits.WRONG, True), done.stderr


@pytest.mark.parametrize("verb", ON_HOSTS)
def test_hosts_that_can_t_be_reached_are_4(
    verb: str, home: Path, stack: str, tmp_path: Path
) -> None:
    """No answer is no verdict: neither all well nor something wrong."""
    done = fab(verb, "--outputs", str(unreachable(tmp_path, stack)), *VERBS[verb])
    assert done.returncode == exits.UNREACHABLE, done.stderr


@pytest.mark.parametrize("verb", ["outputs", *(verb for verb in ON_HOSTS if verb != "plan")])
def test_a_cloud_without_the_cli_is_4(
    verb: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can be asked."""
    monkeypatch.setenv("PULUMI_HOME", str(home))
    done = fab(verb, "--stack", "aws-dev", *VERBS[verb], path="/usr/bin:/bin")
    assert (done.returncode, "needs the pulumi CLI" in done.stderr) == (
        exits.UNREACHABLE,
        True,
    ), done.stderr


@pytest.mark.parametrize("words", [("down",), ("down", "--stack", "local")])
def test_a_question_without_a_terminal_is_3(words: tuple[str, ...], home: Path) -> None:
    assert fab(*words).returncode == exits.QUESTION


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stauts",), "there is no verb stauts; did you mean status?"),
        (("deploy", "--dry"), "no verb has --dry, and nothing was changed"),
        (("--dry", "down", "--yes"), "no verb has --dry, and nothing was changed"),
        (("preview.sweep", "-R"), "no verb has --dry, and nothing was changed"),
        (("xyzzy",), "there is no verb xyzzy; there is up, down, "),
        (("deploy", "--batch", "x"), "--batch x: write a whole number from 1"),
        (("deploy", "--batch", "0"), "--batch 0: write a whole number from 1"),
        (("logs", "--lines", "abc"), "--lines abc: write a whole number from 1"),
        (("logs", "--lines", "-3"), "--lines -3: write a whole number from 1"),
        (("logs", "--lines"), "--lines needs a value"),
        (("deploy", "--wait", "soon"), "--wait soon: write seconds or minutes"),
        (("logs", "--role", "x"), "--role x: there are two, frontend and backend"),
        (("move", "--quiet", "long"), "--quiet long: write seconds or minutes"),
        (("move", "--stay", "--undo"), "--stay and --undo: choose one"),
        (("rollback", "--role", "frontend"), "--role and --past-migrations go with --release"),
        (("rollback", "--past-migrations"), "--role and --past-migrations go with --release"),
    ],
)
def test_words_that_can_t_be_used_are_one_line_and_2(
    words: tuple[str, ...], said: str, home: Path
) -> None:
    done = fab(*words)
    assert done.returncode == exits.USAGE
    assert done.stderr.startswith(said), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_fab_alone_shows_the_verbs() -> None:
    """A line each, and none of Fabric's options."""
    done = fab()
    assert done.returncode == exits.OK
    assert [line.split()[0] for line in done.stdout.splitlines()[2:-2]] == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_h_is_help_on_every_verb(verb: str, home: Path) -> None:
    """Nothing runs, and no option takes the letter."""
    done = fab(verb, "-h")
    assert done.returncode == exits.OK
    assert done.stdout.startswith(f"Usage: fab [--core-opts] {verb} ")
    assert "  -h" not in done.stdout


def test_a_reader_that_leaves_is_no_error(home: Path, stack: str, tmp_path: Path) -> None:
    """`fab outputs | head -3`: the status is the verb's own."""
    done = fab("outputs", "--outputs", str(unreachable(tmp_path, stack)), closed=True)
    assert (done.returncode, "BrokenPipe" in done.stderr) == (exits.OK, False)


@pytest.mark.parametrize("words", [[], ["-h"], ["--list"], ["deploy", "--help"]])
def test_a_reader_of_help_that_leaves_is_no_error(words: list[str]) -> None:
    """`fab | head -3`, which is Fabric's own text for the most part."""
    done = fab(*words, closed=True)
    assert (done.returncode, done.stderr) == (exits.OK, "")


@pytest.mark.parametrize("words", [("-h",), ("--help",)])
def test_help_without_a_verb_is_the_verbs(words: tuple[str, ...]) -> None:
    """As `fab` alone prints them; Fabric's own options are one command further."""
    done = fab(*words)
    assert (done.returncode, done.stdout) == (exits.OK, fab().stdout)
    assert "`fab --help fabric` shows the options of Fabric itself" in done.stdout
    assert "  deploy     " in done.stdout and "--prompt-for-login-password" not in done.stdout
    own = fab("--help", "fabric")
    assert own.returncode == exits.OK and "--prompt-for-login-password" in own.stdout
    wrong = fab("--help", "deplyo")
    assert (wrong.returncode, wrong.stderr) == (
        exits.USAGE,
        "there is no verb deplyo; did you mean deploy?\n",
    )


def host(name: str) -> Host:
    return Host(name, "192.0.2.1", 22, "deploy", ())


def test_unreachable_only_if_no_host_says_otherwise() -> None:
    """One that was reached and failed is something wrong; one kept as it was for another's sake has
    no say."""
    away, wrong = (
        host_errors.ConnectError(host("a"), "timed out"),
        host_errors.HostError(host("b"), "the disk is full"),
    )
    kept = host_errors.HostError(host("c"), "", left_alone=True)
    assert change.ChangeError([away, kept]).exit_status == exits.UNREACHABLE
    assert change.ChangeError([away, wrong]).exit_status == exits.WRONG


def test_what_is_no_error_of_ours_is_1() -> None:
    assert errors.status_of(ValueError("a bug")) == exits.WRONG
    assert errors.status_of(state_files.OutputsError("x")) == exits.USAGE


WELL = {
    "generation": "g",
    "release": "/opt/shop/releases/r",
    "units": {"nginx.service": "active"},
    "unfinished": False,
    "differs": [],
    "restarts": {},
}


@pytest.mark.parametrize(
    ("more", "well", "changes"),
    [
        ({}, True, False),
        ({"differs": ["/etc/nginx/x"]}, False, True),
        ({"restarts": {"gunicorn": "runs another generation"}}, False, True),
        ({"unfinished": True}, False, True),
        ({"units": {"nginx.service": "active", "shop.service": "failed"}}, False, False),
        ({"to_ship": ["backend_ref: v1 → v2"]}, False, True),
    ],
)
def test_status_and_plan_name_a_host_that_is_as_wanted(
    more: dict[str, object], well: bool, changes: bool
) -> None:
    """`fab status` is 1 for a service that does not run; `fab plan --check` is 1 for what `fab up`
    would change."""
    outcome: Outcome[Any] = Outcome("backend", host("backend-1"), {**WELL, **more})
    assert (as_wanted(outcome), would_change(outcome)) == (well, changes)


def test_tls_renew_says_where_no_ca_is_asked(stack: str, tmp_path: Path) -> None:
    """It is a use that does not fit the config, on whatever hosts."""
    done = fab("tls.renew", "--outputs", str(unreachable(tmp_path, stack)))
    assert done.returncode == exits.USAGE
    assert "tls is off: nothing is asked of an ACME server" in done.stderr


WITH_A_WORD = ("build", "replace", "restore")
CHANGING = ("up", "down", "replace", "restore", "move", "ship", "deploy", "tls.renew")


@pytest.mark.parametrize("verb", OF_STACKS)
def test_what_is_said_after_an_interrupt_is_true_of_the_verb(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only looks has changed nothing; what may be repeated says so; a rollback is never among
    that."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    module = tasks.ns[verb].body.__module__
    for name in ("named", "read"):
        monkeypatch.setattr(f"{module}.{name}", interrupted, raising=False)
    monkeypatch.setattr("sys.argv", ["fab", verb, "--", "check"])
    with pytest.raises(Exit) as caught:
        tasks.ns[verb].body(None, *(VERBS[verb] if verb in WITH_A_WORD else ()))
    assert caught.value.code == exits.STOPPED
    said = str(caught.value.message)
    assert ("run the same command again" in said) is (verb in CHANGING)
    assert ("nothing was changed" in said) is (verb not in (*CHANGING, "manage"))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.startswith("preview.")])
def test_what_is_said_after_an_interrupt_of_a_preview(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes one is finished by the same command."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rollout.previews.making.Template.read", interrupted)
    with pytest.raises(Exit) as caught:
        tasks.ns[verb].body(None, *VERBS[verb])
    changes = verb in ("preview.up", "preview.down", "preview.sweep")
    said = "run the same command again" if changes else "nothing was changed"
    assert (caught.value.code, said in str(caught.value.message)) == (exits.STOPPED, True)


def test_a_change_that_was_stopped_says_itself_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise change.Stopped("run `fab rollback --to 0123abcd`: it finishes what was under way")

    monkeypatch.setattr("verbs.deployment.read", interrupted)
    with pytest.raises(Exit) as caught:
        tasks.ns["rollback"].body(None)
    assert (
        caught.value.message
        == "stopped; run `fab rollback --to 0123abcd`: it finishes what was under way"
    )
