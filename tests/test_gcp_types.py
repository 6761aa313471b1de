"""The graph for Google, built into the request messages of Google's own libraries.

An unknown field or a wrong type fails in the message itself; enums, which those messages keep as
text, are held against the enum that stands next to the field. The translator fails on any input
that it does not map.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.auth.credentials
import pytest
from google.cloud import compute_v1, dns  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from infra.core import names
from tests.support import graph
from tests.support.graph import Graph, Node
from tests.test_clouds import KEY

Json = dict[str, Any]
STACKS = ["gcp-dev", "gcp-staging", "gcp-prod"]


@pytest.fixture(autouse=True)
def an_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(KEY)
    monkeypatch.setenv("HOME", str(tmp_path))


def known(message: type, field: str, value: str) -> str:
    """`value`, if the enum that belongs to the field has it."""
    enum = getattr(message, "".join(part.title() for part in field.split("_")))
    assert value in enum.__members__, (
        f"{message.__name__}.{field}: {value!r} is none of {sorted(enum.__members__)}"
    )
    return value


def network(node: Node, inputs: Json) -> Any:
    return compute_v1.Network(
        name=inputs.pop("name"), auto_create_subnetworks=inputs.pop("autoCreateSubnetworks")
    )


def subnetwork(node: Node, inputs: Json) -> Any:
    return compute_v1.Subnetwork(
        name=inputs.pop("name"),
        network=inputs.pop("network"),
        region=inputs.pop("region"),
        ip_cidr_range=inputs.pop("ipCidrRange"),
    )


def firewall(node: Node, inputs: Json) -> Any:
    allowed = []
    for allow in inputs.pop("allows"):
        allowed.append(
            compute_v1.Allowed(I_p_protocol=allow.pop("protocol"), ports=allow.pop("ports"))
        )
        assert not allow, allow
    return compute_v1.Firewall(
        name=inputs.pop("name"),
        network=inputs.pop("network"),
        source_ranges=inputs.pop("sourceRanges"),
        direction=known(compute_v1.Firewall, "direction", inputs.pop("direction")),
        allowed=allowed,
        target_service_accounts=inputs.pop("targetServiceAccounts"),
    )


def address(node: Node, inputs: Json) -> Any:
    return compute_v1.Address(
        name=inputs.pop("name"),
        region=inputs.pop("region"),
        labels=inputs.pop("labels"),
        address_type=known(compute_v1.Address, "address_type", inputs.pop("addressType")),
    )


def instance(node: Node, inputs: Json) -> Any:
    disk = inputs.pop("bootDisk")
    parameters = disk.pop("initializeParams")
    project, zone = "projects/my-project", inputs.pop("zone")
    made = compute_v1.Instance(
        name=inputs.pop("name"),
        zone=zone,
        machine_type=f"{project}/zones/{zone}/machineTypes/{inputs.pop('machineType')}",
        labels=inputs.pop("labels"),
        deletion_protection=inputs.pop("deletionProtection"),
        disks=[
            compute_v1.AttachedDisk(
                boot=True,
                initialize_params=compute_v1.AttachedDiskInitializeParams(
                    source_image=parameters.pop("image"),
                    disk_size_gb=parameters.pop("size"),
                    labels=parameters.pop("labels"),
                    disk_type=f"{project}/zones/{zone}/diskTypes/{parameters.pop('type')}",
                ),
            )
        ],
        network_interfaces=[interface(one) for one in inputs.pop("networkInterfaces")],
        service_accounts=[compute_v1.ServiceAccount(**inputs.pop("serviceAccount"))],
        shielded_instance_config=compute_v1.ShieldedInstanceConfig(
            **{snake(key): value for key, value in inputs.pop("shieldedInstanceConfig").items()}
        ),
        metadata=compute_v1.Metadata(
            items=[
                compute_v1.Items(key=key, value=value)
                for key, value in inputs.pop("metadata")["secret"].items()
            ]
        ),
    )
    assert inputs.pop("allowStoppingForUpdate") is True
    assert not disk, disk
    assert not parameters, parameters
    return made


def interface(given: Json) -> Any:
    configs = [
        compute_v1.AccessConfig(
            nat_i_p=config.pop("natIp"),
            type_=known(compute_v1.AccessConfig, "type", "ONE_TO_ONE_NAT"),
        )
        for config in given["accessConfigs"]
    ]
    assert not any(given.pop("accessConfigs")), "an access config with more than an address"
    made = compute_v1.NetworkInterface(subnetwork=given.pop("subnetwork"), access_configs=configs)
    assert not given, given
    return made


def account(node: Node, inputs: Json) -> Any:
    """No message for it in these libraries; the form is that of IAM's reference,
    projects.serviceAccounts.create."""
    identity = inputs.pop("accountId")
    assert re.fullmatch(r"[a-z]([-a-z0-9]{4,28}[a-z0-9])", identity), identity
    assert len(inputs.pop("displayName").encode()) <= 100
    return identity


def record(node: Node, inputs: Json) -> Any:
    client = dns.Client(
        project="my-project",
        credentials=google.auth.credentials.AnonymousCredentials(),  # type: ignore[no-untyped-call]
    )
    zone = client.zone(inputs.pop("managedZone"), "example.com.")
    made = zone.resource_record_set(
        inputs.pop("name"), inputs.pop("type"), inputs.pop("ttl"), inputs.pop("rrdatas")
    )
    changes = zone.changes()
    changes.add_record_set(made)
    assert isinstance(made.ttl, int)
    assert made.name.endswith(".example.com.")
    return changes._build_resource()["additions"][0]


def snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)


TRANSLATE: dict[str, Callable[[Node, Json], Any]] = {
    "gcp:compute/network:Network": network,
    "gcp:compute/subnetwork:Subnetwork": subnetwork,
    "gcp:compute/firewall:Firewall": firewall,
    "gcp:compute/address:Address": address,
    "gcp:compute/instance:Instance": instance,
    "gcp:serviceaccount/account:Account": account,
    "gcp:dns/recordSet:RecordSet": record,
}


def messages(built: Graph) -> dict[tuple[str, str], Any]:
    """Every resource as Google's message."""
    made = {}
    for node in built.nodes:
        if node.type.startswith("gcp:"):
            inputs = json.loads(json.dumps(node.inputs))
            assert inputs.pop("project") == "my-project"  # of the request's path
            made[node.type.rpartition(":")[2], node.name] = TRANSLATE[node.type](node, inputs)
            assert not inputs, (
                f"{node.type} {node.name}: the translator does not map {sorted(inputs)}"
            )
    return made


@pytest.mark.parametrize("stack", STACKS)
def test_the_stack_is_taken_by_google_s_own_types(stack: str) -> None:
    """Every input of every resource has its field; addresses are the reserved ones, the image is
    the pinned one."""
    made = messages(graph.program(stack))
    for name in ("frontend-1", "backend-1"):
        one = made["Instance", name]
        assert one.network_interfaces[0].access_configs[0].nat_i_p == graph.address(name)
        assert one.disks[0].initialize_params.source_image == graph.IMAGES["gcp"]
        assert one.shielded_instance_config.enable_secure_boot
        assert one.deletion_protection is (stack == "gcp-prod")
        assert list(one.service_accounts[0].scopes) == []


@pytest.mark.parametrize("stack", STACKS)
def test_ports_answer_whom_they_should(stack: str) -> None:
    made = messages(graph.program(stack))
    for role in ("frontend", "backend"):
        account = made["Instance", f"{role}-1"].service_accounts[0].email
        rules = [
            one
            for (kind, _), one in made.items()
            if kind == "Firewall" and account in one.target_service_accounts
        ]
        open_to = {
            (port, source)
            for one in rules
            for allow in one.allowed
            for port in allow.ports
            for source in one.source_ranges
        }
        assert open_to == {("80", "0.0.0.0/0"), ("443", "0.0.0.0/0"), ("22", "203.0.113.0/24")}


def test_the_records_point_at_the_reserved_addresses() -> None:
    made = messages(graph.program("gcp-prod"))
    records = {
        one["name"]: one["rrdatas"] for (kind, _), one in made.items() if kind == "RecordSet"
    }
    assert records == {"app.example.com.": ["203.0.113.10"], "api.example.com.": ["203.0.113.20"]}


NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


@pytest.mark.usefixtures("many_hosts")
def test_names_keep_google_s_form_and_length() -> None:
    """RFC 1035 labels of at most 63 characters, for the longest stack name that is shipped."""
    for one in messages(graph.program("gcp-staging", backend_count="64")).values():
        name = getattr(one, "name", "x")
        assert NAME.fullmatch(name), name


words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", fullmatch=True)
applications = st.from_regex(r"[a-z][a-z0-9-]{0,29}", fullmatch=True)


@given(applications, words, st.sampled_from(["network", "backend-operators-ipv6", "frontend-64"]))
def test_every_stack_s_names_are_of_google_s_form(application: str, stack: str, name: str) -> None:
    """Whatever the stack is called: names, accounts and labels are taken by Google."""
    assert NAME.fullmatch(names.dashed(application, stack, name))
    assert re.fullmatch(
        r"[a-z][-a-z0-9]{4,28}[a-z0-9]", names.dashed("backend", application, stack, longest=30)
    )
    assert re.fullmatch(r"[a-z0-9_-]{1,63}", names.label(stack))


def test_names_that_are_cut_never_become_one() -> None:
    """Two stacks with the same first thirty characters, or that differ in what Google does not
    take."""
    cases = [("shop", "a" * 40 + end) for end in "xyz"] + [
        ("shop", "eu.1"),
        ("shop", "eu_1"),
        ("shop", "EU-1"),
    ]
    accounts = {names.dashed("frontend", *case, longest=30) for case in cases}
    assert len(accounts) == len(cases)


def test_two_applications_share_a_project() -> None:
    """No name of the one is the other's: networks, rules, addresses, machines and accounts."""
    shop, store = (
        messages(graph.program("gcp-dev", application=name)) for name in ("shop", "store")
    )
    taken = [{str(getattr(one, "name", one)) for one in made.values()} for made in (shop, store)]
    assert not taken[0] & taken[1]


def test_each_family_of_addresses_has_a_rule_of_its_own() -> None:
    """Google refuses a rule with both."""
    made = messages(graph.program("gcp-dev", ssh_from='["203.0.113.0/24", "2001:db8::/32"]'))
    found = {
        name: list(one.source_ranges) for (kind, name), one in made.items() if kind == "Firewall"
    }
    assert found["backend-operators"] == ["203.0.113.0/24"]
    assert found["backend-operators-ipv6"] == ["2001:db8::/32"]
    assert "backend-anyone-ipv6" not in found
    alone = messages(graph.program("gcp-dev", ssh_from='["2001:db8::/32"]'))
    assert list(alone["Firewall", "backend-operators"].source_ranges) == ["2001:db8::/32"]


BREAKS: list[tuple[str, Callable[[Json], None], str]] = [
    ("gcp:compute/firewall:Firewall", lambda inputs: inputs.update(direction="INWARDS"), "none of"),
    ("gcp:compute/address:Address", lambda inputs: inputs.update(addressType="PUBLIC"), "none of"),
    ("gcp:compute/network:Network", lambda inputs: inputs.update(mtu=1500), "does not map"),
    (
        "gcp:compute/instance:Instance",
        lambda inputs: inputs["serviceAccount"].update(roles=["owner"]),
        "Unknown field",
    ),
    (
        "gcp:compute/instance:Instance",
        lambda inputs: inputs["bootDisk"]["initializeParams"].update(size="big"),
        "big",
    ),
    (
        "gcp:compute/instance:Instance",
        lambda inputs: inputs.update(deletionProtection="yes"),
        "'str' object",
    ),
]


@pytest.mark.parametrize("number", range(len(BREAKS)))
def test_a_wrong_field_enum_or_type_is_caught(number: int) -> None:
    kind, change, said = BREAKS[number]
    built = graph.program("gcp-dev")
    change(built.of(kind)[0].inputs)
    with pytest.raises((AssertionError, ValueError, TypeError), match=said):
        messages(built)
