"""What the program builds on AWS and Google: golden graphs, and properties that hold over every
stack."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import graph
from tests.support.graph import ROOT, Graph, Node

GOLDEN = ROOT / "tests" / "golden" / "clouds"
STACKS = sorted(path.name.split(".")[1] for path in (ROOT / "stacks").glob("Pulumi.[ag]*.yaml"))
KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKEuSMBaet2WqKLQAGmX5AIBdotxpQcDqIVBB7a99c3 ada@laptop\n"
)


@pytest.fixture(autouse=True)
def an_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(KEY)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_types_of_every_service_in_use_are_read() -> None:
    """mypy is configured to skip the other services of the SDKs; one that it skips would be checked
    by nobody."""
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    read = {
        name
        for part in overrides
        if part.get("follow_imports") == "normal"
        for name in part["module"]
    }
    for cloud in ("aws", "gcp"):
        used = set(
            re.findall(rf"\b{cloud}\.([a-z0-9]+)\.", (ROOT / "infra" / f"{cloud}.py").read_text())
        )
        assert used and {f"pulumi_{cloud}.{service}.*" for service in used} <= read


def test_six_stacks_are_shipped() -> None:
    assert STACKS == ["aws-dev", "aws-prod", "aws-staging", "gcp-dev", "gcp-prod", "gcp-staging"]


@pytest.mark.parametrize("stack", STACKS)
def test_the_graph_of_a_stack_is_the_golden_one(stack: str) -> None:
    """Types, inputs, parents, secrets, protection, what is ignored; UPDATE_GOLDEN=1 writes it
    again."""
    same_as_golden(graph.program(stack), stack)


BRANCH = "Feature/Login_Page"
PREVIEW = "preview-feature-login-page-12ff048e"
MODES: dict[str, dict[str, str]] = {
    "full": {},
    "frontend": {
        "preview_mode": "frontend",
        "attach_to": "staging",
        "attached_backend": "https://api.staging.example.com",
    },
}


def a_preview(cloud: str, mode: str, **config: str) -> Graph:
    return graph.preview(BRANCH, f"{cloud}-staging", **MODES[mode], **config)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_the_graph_of_a_preview_is_the_golden_one(cloud: str, mode: str) -> None:
    """The staging stack's config with a branch: UPDATE_GOLDEN=1 writes it again."""
    same_as_golden(a_preview(cloud, mode), f"{cloud}-preview-{mode}")


# At AWS what has no tags of its own goes with what it belongs to; so does a record at Google, whose
# name is the branch's.
UNMARKED = {
    "aws:ec2/route:Route",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:ec2/eipAssociation:EipAssociation",
    "aws:route53/record:Record",
    "gcp:dns/recordSet:RecordSet",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_every_resource_of_a_preview_is_marked_as_one(cloud: str, mode: str) -> None:
    """By tag at AWS, by label or description at Google; a record by its name. An environment's
    resources have no such mark."""
    built = a_preview(cloud, mode)
    of_the_cloud = [node for node in built.nodes if node.type.startswith(f"{cloud}:")]
    for node in of_the_cloud:
        if node.type in UNMARKED:
            names = node.inputs.get("name", "").split(".")[0]
            assert "recordSet" not in node.type.lower() or names.startswith(PREVIEW[8:])
            continue
        assert PREVIEW in mark_of(node), node.name
    assert len(of_the_cloud) > 7
    for node in graph.program(f"{cloud}-staging").nodes:
        assert mark_of(node) == ""


def mark_of(node: Node) -> str:
    """What a sweep finds it by; empty where it has no such mark."""
    tags, labels = node.inputs.get("tags") or {}, node.inputs.get("labels") or {}
    description = str(node.inputs.get("description") or "")
    marked = description if description.startswith("origin-kit-preview=") else ""
    return str(tags.get("origin-kit:preview") or labels.get("origin-kit-preview") or marked)


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_a_preview_in_frontend_mode_has_nothing_of_a_backend(cloud: str) -> None:
    """Its page calls the attached one; whose name and address are no resource of this stack."""
    built = a_preview(cloud, "frontend")
    assert [node.name for node in built.nodes if "backend" in node.name] == []
    kinds = ("aws:ec2/instance:Instance", "gcp:compute/instance:Instance")
    assert [node.name for kind in kinds for node in built.of(kind)] == ["frontend-1"]
    contract = built.outputs["contract"]
    assert contract["backend"] == {
        **contract["backend"],
        "origin": "https://api.staging.example.com",
        "hosts": [],
    }
    assert built.outputs["preview"]["mode"] == "frontend"


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_the_next_branch_of_a_slot_replaces_nothing(cloud: str) -> None:
    """Tags and labels change where they are; a description, which some could not, has no branch."""
    first, second = (
        graph.of_stack("preview-slot-3", f"{cloud}-staging", branch=branch)
        for branch in ("feature/one", "feature/two")
    )
    after = {(node.type, node.name): node for node in second.nodes}
    assert after.keys() == {(node.type, node.name) for node in first.nodes}
    changed = set()
    for one in first.nodes:
        other = after[one.type, one.name]
        changed |= {key for key in one.inputs if one.inputs[key] != other.inputs.get(key)}
    assert changed <= {"tags", "labels", "rootBlockDevice", "bootDisk", "__provider"}


def same_as_golden(built: Graph, name: str) -> None:
    found = json.dumps(built.to_json(), indent=1, sort_keys=True) + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found)
    assert found == path.read_text()


# --------------------------------------------------------------------------------------- properties


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path)
    else:
        yield path, value


def ssh_from_everywhere(built: Graph) -> list[str]:
    """Rules that open port 22 to more than the operators."""
    wide = ("0.0.0.0/0", "::/0")
    aws = [
        node.name
        for node in built.of("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
        if node.inputs["fromPort"] <= 22 <= node.inputs["toPort"]
        and (node.inputs.get("cidrIpv4") in wide or node.inputs.get("cidrIpv6") in wide)
    ]
    gcp = [
        node.name
        for node in built.of("gcp:compute/firewall:Firewall")
        if any("22" in allow["ports"] for allow in node.inputs["allows"])
        and set(wide) & set(node.inputs["sourceRanges"])
    ]
    return aws + gcp


def unencrypted(built: Graph) -> list[str]:
    """Disks in the clear. Google encrypts every disk; there it is a key of somebody else's that
    would be wrong."""
    return [
        node.name
        for node in built.of("aws:ec2/instance:Instance")
        if node.inputs["rootBlockDevice"].get("encrypted") is not True
        or node.inputs["rootBlockDevice"].get("volumeType") != "gp3"
    ]


def unreserved(built: Graph) -> list[str]:
    """Addresses in the contract that no reserved address has."""
    reserved = {
        graph.address(node.name)
        for node in (*built.of("aws:ec2/eip:Eip"), *built.of("gcp:compute/address:Address"))
    }
    roles = (built.outputs["contract"][role] for role in ("frontend", "backend"))
    return [
        host["address"]
        for role in roles
        for host in role["hosts"]
        if host["address"] not in reserved
    ]


def plain_secrets(built: Graph) -> list[str]:
    """Places where a private key, or a configured secret, stands as plain text."""
    return [
        f"{node.name}{path}"
        for node in built.nodes
        for path, value in leaves(node.inputs)
        if isinstance(value, str)
        and ("PRIVATE KEY" in value or "hush-hush" in value)
        and ".secret" not in path
    ] + [
        path
        for path, value in leaves(built.outputs)
        if isinstance(value, str)
        and ("PRIVATE KEY" in value or "hush-hush" in value)
        and ".secret" not in path
    ]


# What these SDKs give no tags or labels to.
TAGLESS = {
    "aws:ec2/route:Route",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:ec2/eipAssociation:EipAssociation",
    "aws:route53/record:Record",
    "gcp:compute/network:Network",
    "gcp:compute/subnetwork:Subnetwork",
    "gcp:compute/firewall:Firewall",
    "gcp:serviceaccount/account:Account",
    "gcp:dns/recordSet:RecordSet",
}


def untagged(built: Graph) -> list[str]:
    """Resources that can have tags or labels and lack the application's, the project's or the
    stack's."""
    cloud = [
        node
        for node in built.nodes
        if node.type.split(":")[0] in ("aws", "gcp") and node.type not in TAGLESS
    ]
    return [
        node.name
        for node in cloud
        if not {"application", "project", "stack"}
        <= set(node.inputs.get("tags", node.inputs.get("labels", {})))
    ]


def talkative(built: Graph) -> list[str]:
    """Instances whose metadata service, accounts or logins give more than they have to."""
    aws = [
        node.name
        for node in built.of("aws:ec2/instance:Instance")
        if node.inputs["metadataOptions"].get("httpTokens") != "required"
        or node.inputs["metadataOptions"].get("httpPutResponseHopLimit") != 1
    ]
    gcp = [
        node.name
        for node in built.of("gcp:compute/instance:Instance")
        if node.inputs["serviceAccount"]["scopes"]
        or not all(node.inputs["shieldedInstanceConfig"].values())
        or node.inputs["metadata"]["secret"].get("block-project-ssh-keys") != "TRUE"
    ]
    return aws + gcp


def loses_data(built: Graph) -> list[str]:
    """Instances that a newer image or another first boot would stop or replace."""
    wanted = {
        "aws:ec2/instance:Instance": {"ami", "userData", "keyName"},
        "gcp:compute/instance:Instance": {
            "bootDisk.initializeParams.image",
            "bootDisk.initializeParams.labels",
            'metadata["startup-script"]',
            "name",
        },
    }
    return [
        node.name
        for kind, ignored in wanted.items()
        for node in built.of(kind)
        if not ignored <= set(node.ignores)
    ]


def unprotected(built: Graph) -> list[str]:
    """In production: what holds data or an address that people know, and may be deleted by
    mistake."""
    if not built.outputs["contract"]["production"]:
        return []
    kinds = (
        "aws:ec2/instance:Instance",
        "aws:ec2/eip:Eip",
        "gcp:compute/instance:Instance",
        "gcp:compute/address:Address",
    )
    kept = [node for kind in kinds for node in built.of(kind)]
    flags = {
        "aws:ec2/instance:Instance": "disableApiTermination",
        "gcp:compute/instance:Instance": "deletionProtection",
    }
    return [
        node.name
        for node in kept
        if not node.protect or (node.type in flags and not node.inputs[flags[node.type]])
    ]


def anonymous(built: Graph) -> list[str]:
    """Names at Google that do not begin with the application's, or are of another one's: names are
    unique a project."""
    application = built.outputs["contract"]["application"]["name"]
    named = [node for node in built.nodes if node.type.startswith("gcp:compute/")]
    return [
        node.name for node in named if not str(node.inputs["name"]).startswith(f"{application}-")
    ] + [
        node.name
        for node in built.of("gcp:serviceaccount/account:Account")
        if f"-{application}-" not in node.inputs["accountId"]
    ]


def identified(built: Graph) -> list[str]:
    """Instances that may ask the cloud for something, though no key of the config needs it; and key
    pairs."""
    return [
        node.name
        for node in built.nodes
        if ":iam/" in node.type or node.type == "aws:ec2/keyPair:KeyPair"
    ] + [
        node.name
        for node in built.of("aws:ec2/instance:Instance")
        if {"iamInstanceProfile", "keyName"} & set(node.inputs)
    ]


PROPERTIES = (
    ssh_from_everywhere,
    unencrypted,
    unreserved,
    plain_secrets,
    untagged,
    talkative,
    loses_data,
    unprotected,
    anonymous,
    identified,
)


@pytest.mark.parametrize("stack", STACKS)
def test_every_property_holds(stack: str) -> None:
    built = graph.program(stack, **{"env.TOKEN": "hush-hush"})
    assert {rule.__name__: rule(built) for rule in PROPERTIES} == {
        rule.__name__: [] for rule in PROPERTIES
    }


def changed(
    built: Graph, kind: str, change: Callable[[dict[str, Any]], None], **more: Any
) -> Graph:
    """The same graph with the inputs of every resource of a kind changed."""

    def one(node: Node) -> Node:
        if node.type != kind:
            return node
        inputs = json.loads(json.dumps(node.inputs))
        change(inputs)
        return replace(node, inputs=inputs, **more)

    return replace(built, nodes=tuple(map(one, built.nodes)))


def setting(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(inputs: dict[str, Any]) -> None:
        for key in path[:-1]:
            inputs = inputs[key]
        inputs[path[-1]] = to

    return change


INSTANCE = {"aws": "aws:ec2/instance:Instance", "gcp": "gcp:compute/instance:Instance"}
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
BREAKS: list[
    tuple[str, Callable[[Graph], list[str]], str, Callable[[dict[str, Any]], None], dict[str, Any]]
] = [
    ("aws-prod", ssh_from_everywhere, INGRESS, setting("cidrIpv4", to="0.0.0.0/0"), {}),
    (
        "gcp-prod",
        ssh_from_everywhere,
        "gcp:compute/firewall:Firewall",
        setting("sourceRanges", to=["0.0.0.0/0"]),
        {},
    ),
    (
        "aws-prod",
        unencrypted,
        INSTANCE["aws"],
        setting("rootBlockDevice", "encrypted", to=False),
        {},
    ),
    (
        "aws-prod",
        unencrypted,
        INSTANCE["aws"],
        setting("rootBlockDevice", "volumeType", to="gp2"),
        {},
    ),
    (
        "aws-dev",
        plain_secrets,
        INSTANCE["aws"],
        setting("userData", to="-----BEGIN OPENSSH PRIVATE KEY-----"),
        {},
    ),
    (
        "gcp-dev",
        plain_secrets,
        INSTANCE["gcp"],
        setting("metadata", to={"x": "BEGIN PRIVATE KEY"}),
        {},
    ),
    ("aws-dev", untagged, "aws:ec2/vpc:Vpc", setting("tags", to={}), {}),
    ("gcp-dev", untagged, INSTANCE["gcp"], setting("labels", to={"stack": "x"}), {}),
    (
        "aws-dev",
        talkative,
        INSTANCE["aws"],
        setting("metadataOptions", "httpTokens", to="optional"),
        {},
    ),
    (
        "aws-dev",
        talkative,
        INSTANCE["aws"],
        setting("metadataOptions", "httpPutResponseHopLimit", to=2),
        {},
    ),
    (
        "gcp-dev",
        talkative,
        INSTANCE["gcp"],
        setting("serviceAccount", "scopes", to=["cloud-platform"]),
        {},
    ),
    (
        "gcp-dev",
        talkative,
        INSTANCE["gcp"],
        setting("shieldedInstanceConfig", "enableSecureBoot", to=False),
        {},
    ),
    ("aws-dev", loses_data, INSTANCE["aws"], setting("ami", to="ami-1"), {"ignores": ("ami",)}),
    ("gcp-dev", loses_data, INSTANCE["gcp"], setting("name", to="x"), {"ignores": ()}),
    (
        "gcp-dev",
        anonymous,
        "gcp:compute/network:Network",
        setting("name", to="origin-kit-gcp-dev-network"),
        {},
    ),
    (
        "gcp-dev",
        anonymous,
        "gcp:serviceaccount/account:Account",
        setting("accountId", to="backend-gcp-dev"),
        {},
    ),
    ("aws-dev", identified, INSTANCE["aws"], setting("keyName", to="operator"), {}),
    ("aws-dev", identified, INSTANCE["aws"], setting("iamInstanceProfile", to="everything"), {}),
    ("aws-prod", unprotected, "aws:ec2/eip:Eip", setting("domain", to="vpc"), {"protect": False}),
    ("aws-prod", unprotected, INSTANCE["aws"], setting("disableApiTermination", to=False), {}),
    ("gcp-prod", unprotected, INSTANCE["gcp"], setting("deletionProtection", to=False), {}),
]


@pytest.mark.parametrize("number", range(len(BREAKS)))
def test_a_broken_program_is_caught(number: int) -> None:
    """Each property is broken in the graph on purpose, and says so."""
    stack, rule, kind, change, more = BREAKS[number]
    built = graph.program(stack)
    assert rule(built) == []
    assert rule(changed(built, kind, change, **more)) != []


def test_an_address_that_nobody_reserved_is_caught() -> None:
    built = graph.program("aws-dev")
    built.outputs["contract"]["backend"]["hosts"][0]["address"] = "198.51.100.9"
    assert unreserved(built) == ["198.51.100.9"]


def test_every_property_has_a_break() -> None:
    assert {rule for _, rule, *_ in BREAKS} | {unreserved} == set(PROPERTIES)


# -------------------------------------------------------------------------------- contract, choices


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_addresses_alone_make_a_contract(cloud: str) -> None:
    """dev: the reserved address is the origin, and its host key is pinned before anybody has
    connected."""
    contract = graph.program(f"{cloud}-dev").outputs["contract"]
    assert contract["frontend"]["origin"] == "http://203.0.113.10"
    assert contract["cors"]["allowed_origins"] == ["http://203.0.113.10"]
    assert contract["backend"]["hosts"][0]["host_keys"][0].startswith("ssh-ed25519 AAAA")
    assert contract["backend"]["hosts"][0]["user"] == "deploy"


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_names_lead_to_the_reserved_addresses(cloud: str) -> None:
    built = graph.program(f"{cloud}-staging")
    addresses = {
        node.inputs["name"].rstrip("."): node.inputs.get("records", node.inputs.get("rrdatas"))
        for node in records(built)
    }
    assert addresses == {
        "app.staging.example.com": ["203.0.113.10"],
        "api.staging.example.com": ["203.0.113.20"],
    }


APEX = {"frontend_name": "@", "www_redirect": "true"}


@pytest.mark.parametrize("stack", ["aws-staging", "gcp-staging"])
def test_the_graph_with_the_domain_itself(stack: str) -> None:
    """As the other golden graphs: the page at the domain, www as one more record."""
    same_as_golden(graph.program(stack, **APEX), f"{stack}-apex")


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_another_direction_makes_no_record_again(cloud: str) -> None:
    """Between the domain itself and www: the same records under the same names, so nothing is
    created where another record still has its name. The ordinary name's record stays as it was."""
    from_www = {**APEX, "frontend_name": "www"}
    first, second = (dns(graph.program(f"{cloud}-staging", **way)) for way in (APEX, from_www))
    assert first == second and set(first) == {"frontend-1", "frontend-1-apex", "backend-1"}
    usual = dns(graph.program(f"{cloud}-staging"))
    assert set(usual) == {"frontend-1", "backend-1"}


def dns(built: Graph) -> dict[str, str]:
    """The name of each record by that of its resource."""
    return {node.name: node.inputs["name"] for node in records(built)}


def records(built: Graph) -> tuple[Node, ...]:
    return (*built.of("aws:route53/record:Record"), *built.of("gcp:dns/recordSet:RecordSet"))


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_secrets_are_an_output_of_their_own_and_secret(cloud: str) -> None:
    """Never in the contract; without any there is no such output."""
    outputs = graph.program(f"{cloud}-dev", **{"env.DATABASE_URL": "hush-hush"}).outputs
    assert outputs["secret_env"] == {"secret": {"DATABASE_URL": "hush-hush"}}
    assert "hush-hush" not in json.dumps(outputs["contract"])
    assert "secret_env" not in graph.program(f"{cloud}-dev").outputs


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_the_secrets_of_https_are_a_secret_output_too(cloud: str) -> None:
    """Apart from the application's, which gets none of them."""
    outputs = graph.program(f"{cloud}-dev", frontend_key="hush-hush").outputs
    assert outputs["secret_https"] == {"secret": {"frontend_key": "hush-hush"}}
    assert "hush-hush" not in json.dumps({**outputs, "secret_https": None})
    assert "secret_env" not in outputs
    assert "secret_https" not in graph.program(f"{cloud}-dev").outputs


@pytest.mark.usefixtures("many_hosts")
def test_many_instances_spread_over_both_zones() -> None:
    built = graph.program("aws-dev", backend_count="3")
    subnets = [
        node.inputs["subnetId"]
        for node in built.of("aws:ec2/instance:Instance")
        if "backend" in node.name
    ]
    assert sorted(subnets) == ["Subnet.public-1"] * 2 + ["Subnet.public-2"]
    assert len(built.outputs["contract"]["backend"]["hosts"]) == 3


def test_an_existing_network_is_used_and_none_is_made() -> None:
    subnets = '["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]'
    aws = graph.program(
        "aws-dev", existing_network="vpc-0123456789abcdef0", existing_subnets=subnets
    )
    assert aws.of("aws:ec2/vpc:Vpc") == []
    assert {node.inputs["vpcId"] for node in aws.of("aws:ec2/securityGroup:SecurityGroup")} == {
        "vpc-0123456789abcdef0"
    }
    gcp = graph.program("gcp-dev", existing_network="mine", existing_subnets='["mine-public"]')
    assert gcp.of("gcp:compute/network:Network") == []
    assert {node.inputs["network"] for node in gcp.of("gcp:compute/firewall:Firewall")} == {"mine"}


@pytest.mark.parametrize(("cloud", "other"), [("aws", "gcp"), ("gcp", "aws")])
def test_one_cloud_loads_nothing_of_the_other(cloud: str, other: str) -> None:
    code = (
        f"import sys; from tests.support import graph; graph.program('{cloud}-dev');"
        " print(sorted(name for name in sys.modules if name.startswith('pulumi_')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"pulumi_{other}" not in done.stdout
    assert f"'pulumi_{cloud}'" in done.stdout
