"""Stacks that exist are taken over: what the program does to a state that an earlier commit has
written.

`tests/state/c449aef` holds the states of the shipped cloud stacks as the program of that commit
made them under the real Pulumi CLI, with pretended providers (`tests/support/pretend.py`), and the
local stack's as the embedded engine made it on real machines. Two judges: a model of Pulumi's step
generator, always; the real CLI where it is installed.

What this proves: with the knowledge in `pretend.IN_PLACE` of which inputs a provider updates in
place, no instance, disk, address or network is replaced or deleted. It does not prove that this
knowledge is complete or current: it was read from the providers' schemas by hand. Inputs that are
not listed count as replacing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.machines import MachineProvider, NetworkProvider
from rollout.changes import changes
from tests.support import graph, pretend
from tests.support.graph import ROOT, Graph, Node
from tests.test_clouds import KEY

STATES = ROOT / "tests" / "state" / "c449aef"
STACKS = ["aws-dev", "aws-prod", "aws-staging", "gcp-dev", "gcp-prod", "gcp-staging"]
Json = dict[str, Any]

# What holds data, or what people and other things know it by.
PRECIOUS = {
    "aws:ec2/instance:Instance",
    "aws:ec2/eip:Eip",
    "aws:ec2/eipAssociation:EipAssociation",
    "aws:ec2/vpc:Vpc",
    "aws:ec2/subnet:Subnet",
    "aws:ec2/internetGateway:InternetGateway",
    "aws:ec2/routeTable:RouteTable",
    "aws:ec2/route:Route",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:route53/record:Record",
    "tls:index/privateKey:PrivateKey",
    "gcp:compute/instance:Instance",
    "gcp:compute/address:Address",
    "gcp:compute/network:Network",
    "gcp:compute/subnetwork:Subnetwork",
    "gcp:serviceaccount/account:Account",
    "gcp:compute/firewall:Firewall",
    "gcp:dns/recordSet:RecordSet",
}
INSTANCES = {"aws": "aws:ec2/instance:Instance", "gcp": "gcp:compute/instance:Instance"}
cli = pytest.mark.skipif(
    not (shutil.which("pulumi") and shutil.which("pulumi-language-python")),
    reason="the pulumi CLI and its language host for Python are not on PATH",
)


@pytest.fixture(autouse=True)
def an_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(KEY)
    monkeypatch.setenv("HOME", str(tmp_path))


def old_state(stack: str) -> Json:
    return dict(json.loads((STATES / f"{stack}.json").read_text()))


def old_resources(stack: str) -> dict[str, Json]:
    """What the state holds, by type and name, without stacks, components and providers."""
    found = {}
    for resource in old_state(stack)["deployment"]["resources"]:
        if resource["custom"] and not resource["type"].startswith("pulumi:"):
            found[" ".join(pretend.type_and_name(resource["urn"]))] = resource
    return found


def plain(value: Any) -> Any:
    """Inputs of a state or of a graph in one form; what is secret is left out of the comparison."""
    if isinstance(value, dict):
        if set(value) == {"secret"} or pretend.SECRET in value:
            return "secret"
        return {
            key: plain(item)
            for key, item in value.items()
            if key not in ("__defaults", "__internal")
        }
    return [plain(item) for item in value] if isinstance(value, list) else value


def put_back(new: Json, old: Json, path: str) -> None:
    """What `ignoreChanges` does: the old value counts, also where there was none."""
    *folders, key = path.split(".")
    for folder in folders:
        new, old = new.get(folder, {}), old.get(folder, {})
    new.pop(key, None)
    if key in old:
        new[key] = old[key]


def steps(stack: str, built: Graph) -> dict[str, str]:
    """`type name` → create, update, replace or delete, without what stays."""
    old = old_resources(stack)
    new = {
        f"{node.type} {node.name}": node for node in built.nodes if node.type in pretend.IN_PLACE
    }
    found = dict.fromkeys(new.keys() - old.keys(), "create") | dict.fromkeys(
        old.keys() - new.keys(), "delete"
    )
    text = json.dumps({key: plain(node.inputs) for key, node in new.items()})
    for key, node in new.items():  # an account that keeps its id keeps its address
        if key in old and "accountId" in node.inputs:
            text = text.replace(
                f'"{node.inputs["accountId"]}@', f'"{old[key]["inputs"]["accountId"]}@'
            )
    inputs = json.loads(text)
    for key in sorted(old.keys() & new.keys()):
        if what := step(plain(old[key]["inputs"]), inputs[key], new[key]):
            found[key] = what
    return found


def step(before: Json, after: Json, node: Node) -> str | None:
    own = pretend.NAMED.get(node.type)
    if own and own not in after:
        after[own] = before.get(own)
    for path in node.ignores:
        put_back(after, before, path)
    paths = pretend.changed_inputs(before, after)
    if pretend.replacing(node.type, paths):
        return "replace"
    return "update" if paths else None


def losses(found: dict[str, str]) -> dict[str, str]:
    """What is precious and is not kept where it is."""
    return {
        key: what
        for key, what in found.items()
        if what not in ("create", "update") and key.split()[0] in PRECIOUS
    }


@pytest.mark.parametrize("stack", STACKS)
def test_nothing_with_data_of_an_old_stack_is_replaced(stack: str) -> None:
    """No instance, disk, address, network, host key, name or account of a stack of commit
    c449aef."""
    assert losses(steps(stack, graph.program(stack))) == {}


def test_no_machine_of_an_old_local_stack_is_replaced() -> None:
    """The providers of the local cloud, asked about the old outputs and the new program's
    inputs."""
    latest = old_state("local")["checkpoint"]["latest"]
    dynamic = [one for one in latest["resources"] if one["type"].startswith("pulumi-python:")]
    old = {" ".join(pretend.type_and_name(one["urn"])): one for one in dynamic}
    new = {f"{node.type} {node.name}": node for node in graph.program("local").nodes}
    assert old.keys() <= new.keys()
    assert len(old) == 3
    judges = {"Network": NetworkProvider(), "Machine": MachineProvider()}
    for key, one in old.items():
        judge = judges[one["type"].rpartition(":")[2]]
        given = {
            key: one["outputs"][key] for key in ("bridge", "subnet")
        }  # the network's, which stays
        found = judge.diff(one["id"], one["outputs"], {**plain(new[key].inputs), **given})
        assert (found.changes, found.replaces) == (False, []), key


@pytest.fixture(scope="module")
def debug() -> Iterator[str]:
    with pretend.providers() as places:
        yield places


@pytest.fixture
def old(debug: str, tmp_path: Path) -> Callable[[str], pretend.Cli]:
    """The CLI on a stack with its old state."""

    def make(stack: str, **config: Any) -> pretend.Cli:
        python = ROOT / ".venv" / "bin" / "python"
        made = pretend.Cli(ROOT, python, tmp_path / "cli", stack, debug)
        made.init({**pretend.stack_config(ROOT, stack), **config}, pretend.shown(old_state(stack)))
        return made

    return make


@cli
@pytest.mark.parametrize("stack", ["aws-prod", "gcp-prod"])
def test_the_real_cli_s_preview_agrees(old: Callable[[str], pretend.Cli], stack: str) -> None:
    """The engine itself, over the old state: the same steps as the model's, nothing precious among
    the losses."""
    made = old(stack)
    found = {key: what for key, what in made.steps().items() if key.split()[0] in pretend.IN_PLACE}
    assert losses(found) == {}
    assert not any(change.stops for change in changes(made.preview()))
    assert found == steps(stack, graph.program(stack))


@cli
@pytest.mark.parametrize("stack", ["aws-prod", "gcp-prod"])
def test_a_renamed_stack_keeps_what_it_has(old: Callable[[str], pretend.Cli], stack: str) -> None:
    """`pulumi stack rename`: tags and labels follow, names that can't be changed stay; nothing is
    replaced."""
    made = old(stack)
    renamed = f"{stack}-2"
    made.run("stack", "rename", renamed, "--stack", stack)
    made.stack = renamed
    found = {key: what for key, what in made.steps().items() if key.split()[0] in pretend.IN_PLACE}
    assert losses(found) == {}
    assert found[f"{INSTANCES[stack[:3]]} backend-1"] == "update"


@pytest.mark.parametrize("stack", ["aws-prod", "gcp-prod"])
def test_a_colleague_s_own_key_changes_nothing(stack: str, tmp_path: Path) -> None:
    """Another file of public keys, or a list in the config: the same steps."""
    before = steps(stack, graph.program(stack))
    other = KEY.replace("IJKE", "IJKF")
    (tmp_path / "other.pub").write_text(other)
    assert steps(stack, graph.program(stack, ssh_key_file=str(tmp_path / "other.pub"))) == before
    assert steps(stack, graph.program(stack, ssh_keys=json.dumps([other.strip()]))) == before


@pytest.mark.parametrize("stack", ["aws-prod", "gcp-prod"])
def test_another_machine_type_is_an_update_in_place(stack: str) -> None:
    """On both clouds: the machine is stopped and started, not replaced."""
    found = steps(
        stack,
        graph.program(stack, machine_type={"aws": "t3.large", "gcp": "e2-standard-2"}[stack[:3]]),
    )
    assert losses(found) == {}
    assert found[f"{INSTANCES[stack[:3]]} backend-1"] == "update"


@cli
@pytest.mark.parametrize("stack", ["aws-prod", "gcp-prod"])
def test_the_cli_s_preview_of_another_machine_type_asks(
    old: Callable[..., pretend.Cli], stack: str
) -> None:
    """`fab up` reads from its events that both instances are stopped for a while, and why."""
    kind = {"aws": "t3.large", "gcp": "e2-standard-2"}[stack[:3]]
    asked = [change for change in changes(old(stack, machine_type=kind).preview()) if change.asks]
    key = {"aws": "instanceType", "gcp": "machineType"}[stack[:3]]
    assert {change.name: (change.option, key in change.keys) for change in asked} == {
        "frontend-1": ("stop", True),
        "backend-1": ("stop", True),
    }


def test_a_rule_of_another_network_is_a_new_rule() -> None:
    """Google changes a rule's network for nobody; its provider asks for it all the same."""
    rules = graph.program("gcp-prod").of("gcp:compute/firewall:Firewall")
    assert {rule.replaces_on for rule in rules} == {("network",)}
    assert len(rules) == 4


def test_another_project_is_seen_and_replaces() -> None:
    """Every resource of Google names its project: for another one of its provider alone Google's
    own provider changes nothing, and says nothing."""
    nodes = [node for node in graph.program("gcp-prod").nodes if node.type.startswith("gcp:")]
    assert {node.inputs.get("project") for node in nodes} == {"my-project"}
    before = {"name": "a"}
    assert pretend.changed_inputs(before, {**before, "project": "my-project"}) == set()
    assert pretend.changed_inputs({"project": "a"}, {"project": "b"}) == {"project"}
    assert pretend.replacing("gcp:compute/instance:Instance", {"project"}) == {"project"}


def test_google_may_stop_an_instance_for_an_update() -> None:
    """Without that its provider refuses another machine type; `fab up` asks before."""
    nodes = [node for node in graph.program("gcp-prod").nodes if node.type == INSTANCES["gcp"]]
    assert [node.inputs["allowStoppingForUpdate"] for node in nodes] == [True, True]


def test_the_model_sees_a_replacement() -> None:
    """A program that ignores nothing, or gives another name, replaces; so would one that drops a
    resource."""
    built = graph.program("gcp-prod")

    def changed(node: Node) -> Node:
        return (
            replace(node, inputs={**node.inputs, "name": "other"}, ignores=())
            if "name" in node.inputs
            else node
        )

    found = steps("gcp-prod", replace(built, nodes=tuple(map(changed, built.nodes))))
    assert found["gcp:compute/instance:Instance backend-1"] == "replace"
    fewer = replace(
        built,
        nodes=tuple(node for node in built.nodes if node.type != "gcp:compute/address:Address"),
    )
    assert losses(steps("gcp-prod", fewer)) == {
        "gcp:compute/address:Address backend-1": "delete",
        "gcp:compute/address:Address frontend-1": "delete",
    }
