"""A host's machines by serial: what the config may say, and what the program makes of it, run by
run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Contract, Host
from infra.core.serials import Serials
from infra.core.stackfile import with_key
from rollout.changes import changes
from rollout.replace import only
from rollout.replace.config import KEY as KEY_OF_SERIALS
from tests.support import graph, pretend
from tests.support.graph import ROOT, Graph, Node
from tests.test_clouds import KEY
from tests.test_old_state import cli, old_state, step

PHASES = ("1", "1+2", "2+1", "2-1", "2")
PRODUCTION = {"aws": "aws-prod", "gcp": "gcp-prod"}
INSTANCE = {"aws": "aws:ec2/instance:Instance", "gcp": "gcp:compute/instance:Instance"}
ADDRESS = {"aws": "aws:ec2/eip:Eip", "gcp": "gcp:compute/address:Address"}
NEW = {
    "aws": {
        "aws:ec2/instance:Instance backend-1-2": "create",
        "tls:index/privateKey:PrivateKey backend-1-2": "create",
        "aws:ec2/eip:Eip backend-1-standby": "create",
        "aws:ec2/eipAssociation:EipAssociation backend-1-standby": "create",
    },
    "gcp": {
        "gcp:compute/instance:Instance backend-1-2": "create",
        "tls:index/privateKey:PrivateKey backend-1-2": "create",
    },
}
MOVED = {
    "aws": {
        "aws:ec2/eipAssociation:EipAssociation backend-1": (
            "replace"
        ),  # one call, and it holds nothing
        "aws:ec2/eipAssociation:EipAssociation backend-1-standby": "delete",
        "aws:ec2/eip:Eip backend-1-standby": "delete",
        "aws:ec2/instance:Instance backend-1-2": "update",  # protected from now on
    },
    "gcp": {
        "gcp:compute/instance:Instance backend-1": "update",
        "gcp:compute/instance:Instance backend-1-2": "update",
    },
}


@pytest.fixture(autouse=True)
def an_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(KEY)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("text", PHASES)
def test_what_replace_writes_is_read_as_it_was_written(text: str) -> None:
    assert str(Serials.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "0", "1+1", "1+3", "1-2", "2+", "+2", "1 + 2", "2+1+3", "x", "01"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="fab replace"):
        Serials.parse(text)


def program(cloud: str, serial: str) -> Graph:
    return graph.program(PRODUCTION[cloud], serials=json.dumps({"backend-1": serial}))


def steps(before: Graph, after: Graph) -> dict[str, str]:
    """What an `up` does, by the model of the providers: create, update, replace or delete of each
    resource."""
    old, new = (
        {f"{node.type} {node.name}": node for node in one.nodes if node.type in pretend.IN_PLACE}
        for one in (before, after)
    )
    found = dict.fromkeys(new.keys() - old.keys(), "create") | dict.fromkeys(
        old.keys() - new.keys(), "delete"
    )
    for key in old.keys() & new.keys():
        if what := step(
            json.loads(json.dumps(old[key].inputs)),
            json.loads(json.dumps(new[key].inputs)),
            new[key],
        ):
            found[key] = what
    return found


def protected(built: Graph, cloud: str) -> set[str]:
    """Instances that Pulumi and the cloud itself refuse to delete; both or none."""
    flag = {"aws": "disableApiTermination", "gcp": "deletionProtection"}[cloud]
    nodes = built.of(INSTANCE[cloud])
    assert all(node.protect == node.inputs[flag] for node in nodes)
    return {node.name for node in nodes if node.protect}


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_two_runs_add_and_move_and_replace_nothing_else(cloud: str) -> None:
    """The new machine comes, the address moves to it, the old one is kept until its protection is
    lifted: by name, in a run of its own."""
    runs = [program(cloud, phase) for phase in PHASES]
    assert steps(runs[0], runs[1]) == NEW[cloud]
    assert steps(runs[1], runs[2]) == MOVED[cloud]
    assert steps(runs[2], runs[3]) == {f"{INSTANCE[cloud]} backend-1": "update"}
    assert steps(runs[3], runs[4]) == {
        f"{INSTANCE[cloud]} backend-1": "delete",
        "tls:index/privateKey:PrivateKey backend-1": "delete",
    }
    assert [protected(run, cloud) - {"frontend-1"} for run in runs] == [
        {"backend-1"},
        {"backend-1"},
        {"backend-1", "backend-1-2"},
        {"backend-1-2"},
        {"backend-1-2"},
    ]


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_taking_it_back_removes_what_was_added_and_nothing_else(cloud: str) -> None:
    found = steps(program(cloud, "1+2"), program(cloud, "1"))
    assert found == dict.fromkeys(NEW[cloud], "delete")
    lost = [node for node in program(cloud, "1+2").nodes if f"{node.type} {node.name}" in found]
    assert not any(node.protect for node in lost)


@pytest.mark.parametrize("cloud", ["local", "aws", "gcp"])
def test_the_contract_has_the_machine_that_serves(cloud: str) -> None:
    """The origins never change; the SSH key is the serving machine's; the one that arrives is an
    output of its own."""
    stack = PRODUCTION.get(cloud, "local")
    first = Contract.from_json(graph.program(stack).outputs["contract"])
    seen: list[Any] = []
    for phase in PHASES:
        built = graph.program(stack, serials=json.dumps({"backend-1": phase}))
        contract = Contract.from_json(built.outputs["contract"])
        assert (contract.backend.origin, contract.frontend) == (
            first.backend.origin,
            first.frontend,
        )
        assert [host.name for host in contract.backend.hosts] == ["backend-1"]
        standby = {
            name: Host.from_json(name, host)
            for name, host in built.outputs.get("standby", {}).items()
        }
        assert set(standby) == ({"backend-1"} if phase == "1+2" else set())
        if standby:
            assert standby["backend-1"].address not in ("", contract.backend.hosts[0].address)
            seen.append(standby["backend-1"].host_keys)
        seen.append(contract.backend.hosts[0].host_keys)
        assert contract.backend.hosts[0].address == first.backend.hosts[0].address
    old, new = seen[0], seen[1]
    assert old != new
    assert seen == [old, new, old, new, new, new]


def test_on_google_the_address_is_given_up_before_it_is_taken() -> None:
    """The newer machine waits for the older one, in each of the runs; only what leaves has no
    address at all."""
    for phase in ("1+2", "2+1", "2-1"):
        names = [node.name for node in program("gcp", phase).of(INSTANCE["gcp"])]
        assert names.index("backend-1") < names.index("backend-1-2")
    leaving = next(
        node for node in program("gcp", "2+1").of(INSTANCE["gcp"]) if node.name == "backend-1"
    )
    assert "accessConfigs" not in leaving.inputs["networkInterfaces"][0]


@pytest.fixture(scope="module")
def debug() -> Iterator[str]:
    with pretend.providers() as places:
        yield places


@cli
@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_the_real_cli_does_the_same_over_an_old_state(
    debug: str, cloud: str, tmp_path: Path
) -> None:
    """Each run over what the one before has left, from a state of commit c449aef: what it loses is
    what `fab replace` allows in that run; and Pulumi refuses to remove the old one before its
    protection is lifted."""
    stack = PRODUCTION[cloud]
    made = pretend.Cli(ROOT, ROOT / ".venv" / "bin" / "python", tmp_path / "cli", stack, debug)
    made.init(pretend.stack_config(ROOT, stack), pretend.shown(old_state(stack)))
    file = made.project / "stacks" / f"Pulumi.{stack}.yaml"
    up = ("up", "--stack", stack, "--yes", "--skip-preview")
    made.run(*up)
    allowed: dict[str, tuple[str, ...]] = {
        "2+1": ("public address backend-1-standby",),
        "2": ("instance backend-1",),
    }
    built = program(cloud, "1")
    for phase in PHASES[1:]:
        if phase == "2-1":
            file.write_text(with_key(file.read_text(), KEY_OF_SERIALS, '{backend-1: "2"}'))
            said = made.run("preview", "--stack", stack, "--json", status=1)
            assert "protected" in said
        file.write_text(with_key(file.read_text(), KEY_OF_SERIALS, f'{{backend-1: "{phase}"}}'))
        text = made.run("preview", "--stack", stack, "--json")
        found = changes(json.loads(text[text.index("{") :])["steps"])
        only(*allowed.get(phase, ()))(found)
        after = program(cloud, phase)
        mine = {
            f"{change.type} {change.name}": change.verb
            for change in found
            if change.type in pretend.IN_PLACE
        }
        assert mine == steps(built, after)
        made.run(*up)
        built = after
    contract = json.loads(made.run("stack", "output", "contract", "--json", "--stack", stack))
    assert Contract.from_json(contract) == Contract.from_json(built.outputs["contract"])


def test_what_is_public_keeps_its_name(tmp_path: Path) -> None:
    for cloud in ("aws", "gcp"):
        names = {node.name for node in program(cloud, "2").of(ADDRESS[cloud])}
        assert names == {"frontend-1", "backend-1"}


def node_names(built: Graph) -> set[str]:
    nodes: tuple[Node, ...] = built.nodes
    return {node.name for node in nodes}


def test_an_existing_stack_has_the_names_that_it_always_had() -> None:
    """Serial 1 is no part of any name."""
    assert node_names(program("aws", "1")) == node_names(graph.program("aws-prod"))
