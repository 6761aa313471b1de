"""What an `up` would do, read from the steps of either engine, and what of that loses data."""

from __future__ import annotations

import pytest

from rollout.changes import KEPT, STOPS, Allowed, changes, flags, refused

MACHINE = "origin-kit:local:Cloud$pulumi-python:dynamic/local:Machine"
NETWORK = "origin-kit:local:Cloud$pulumi-python:dynamic/local:Network"
INSTANCE = "origin-kit:aws:Cloud$aws:ec2/instance:Instance"


def step(verb: str, name: str, type_: str = MACHINE, **more: object) -> dict[str, object]:
    return {"op": verb, "urn": f"urn:pulumi:dev::origin-kit::{type_}::{name}", **more}


def test_what_stays_the_same_is_no_change() -> None:
    """Nor are the stack itself, providers, and what is only read."""
    steps = [
        step("same", "backend-1"),
        step("read", "backend-2"),
        step("create", "x", "pulumi:pulumi:Stack"),
        step("replace", "aws", "origin-kit:aws:Cloud$pulumi:providers:aws"),
    ]
    assert [change.name for change in changes(steps)] == []


def test_a_replacement_of_the_cli_is_one_change() -> None:
    """The CLI lists it in three steps, each with the keys; with delete-before-replace in another
    order."""
    reasons = {"replaceReasons": ["subnetId"]}
    for verbs in (
        ("create-replacement", "replace", "delete-replaced"),
        ("delete-replaced", "replace", "create-replacement"),
    ):
        found = changes([step(verb, "backend-1", INSTANCE, **reasons) for verb in verbs])
        assert [str(change) for change in found] == [
            "backend-1    would replace the instance: subnetId changed"
        ]
        assert found[0].loses


def test_what_goes_with_a_replaced_network_is_replaced_too() -> None:
    """The embedded engine deletes it and creates it again: to a person that is a replacement."""
    steps = [
        step("replace", "network", NETWORK, replaceReasons=["wanted_subnet"]),
        step("delete", "backend-1"),
        step("create", "backend-1"),
    ]
    assert [(change.name, change.verb, change.loses) for change in changes(steps)] == [
        ("backend-1", "replace", True),
        ("network", "replace", False),
    ]


def test_changes_are_listed_by_name() -> None:
    """The CLI works on several resources at once, and lists them in another order each time."""
    steps = [step("update", name) for name in ("frontend-1", "network", "backend-1")]
    for listed in (steps, steps[::-1]):
        assert [change.name for change in changes(listed)] == ["backend-1", "frontend-1", "network"]


def test_the_inputs_that_differ_are_named() -> None:
    """A dynamic provider has no words for it in the CLI."""
    old = {"inputs": {"memory_mb": 512, "name": "backend-1", "__provider": "a"}}
    new = {"inputs": {"memory_mb": 768, "name": "backend-1", "__provider": "b"}}
    found = changes([step("update", "backend-1", oldState=old, newState=new)])
    assert [str(change) for change in found] == [
        "backend-1    would update the machine: memory_mb changed"
    ]


def test_a_providers_own_note_is_no_reason() -> None:
    """Google's provider says `__meta` of a subnetwork that gets other addresses."""
    subnet = "origin-kit:gcp:Cloud$gcp:compute/subnetwork:Subnetwork"
    reasons = {"replaceReasons": ["__meta"], "diffReasons": ["__meta", "ipCidrRange"]}
    assert changes([step("replace", "public", subnet, **reasons)])[0].keys == ("ipCidrRange",)


def test_what_is_taken_along_names_what_it_rests_on() -> None:
    """The CLI replaces an instance with its subnetwork, and gives no reason; inputs that differ,
    as the form of an image's name, are none."""
    subnet = "origin-kit:gcp:Cloud$gcp:compute/subnetwork:Subnetwork"
    urn = f"urn:pulumi:dev::origin-kit::{subnet}::public"
    old = {"inputs": {"bootDisk": "https://x/image", "networkInterfaces": "known"}}
    new = {"inputs": {"bootDisk": "image", "networkInterfaces": "?"}, "dependencies": [urn]}
    google = "origin-kit:gcp:Cloud$gcp:compute/instance:Instance"
    taken = step("replace", "backend-1", google, oldState=old, newState=new)
    found = changes([step("replace", "public", subnet, diffReasons=["ipCidrRange"]), taken])
    assert str(found[0]) == "backend-1    would replace the instance: public changed"
    assert changes([taken])[0].keys == ("bootDisk", "networkInterfaces")


def test_a_machine_on_a_replaced_network_counts_as_replaced() -> None:
    """In a preview by the CLI its new network is not known yet, and its provider calls that an
    update; up replaces it. A cloud's own provider knows it, and is believed."""
    network = f"urn:pulumi:dev::origin-kit::{NETWORK}::network"
    steps = [
        step("replace", "network", NETWORK, replaceReasons=["wanted_subnet"]),
        step("update", "backend-1", newState={"dependencies": [network]}),
        step("update", "api", INSTANCE, newState={"dependencies": [network]}),
    ]
    instance, machine, _ = changes(steps)
    assert str(machine) == "backend-1    would replace the machine: network changed"
    assert (machine.loses, instance.loses) == (True, False)
    steps[0] = step("update", "network", NETWORK)  # it comes back after a reboot
    assert not any(change.loses for change in changes(steps))


@pytest.mark.parametrize("type_", KEPT)
def test_only_replace_and_delete_lose_data(type_: str) -> None:
    """An update keeps it, a creation has nothing to lose."""
    verbs = {
        verb: changes([step(verb, "x", type_)])[0].loses
        for verb in ("create", "update", "replace", "delete")
    }
    assert verbs == {"create": False, "update": False, "replace": True, "delete": True}


def test_a_rule_of_a_firewall_holds_nothing() -> None:
    """It is replaced and deleted without a question."""
    found = changes(
        [
            step(
                "replace",
                "backend-22-1",
                "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
            )
        ]
    )
    assert [change.verb for change in found] == ["replace"]
    assert refused(found, Allowed()) == []


def test_a_step_that_is_not_known_counts_as_a_loss() -> None:
    """A newer CLI may call it what it likes: it is asked for rather than let through."""
    assert changes([step("obliterate", "backend-1")])[0].loses


def test_only_what_is_named_is_allowed() -> None:
    """By name and by what becomes of it: leave to replace is none to delete."""
    found = changes(
        [step("replace", "backend-1"), step("delete", "backend-2"), step("replace", "frontend-1")]
    )
    assert [change.name for change in refused(found, Allowed())] == [
        "backend-1",
        "backend-2",
        "frontend-1",
    ]
    assert [
        change.name for change in refused(found, Allowed(replace=["backend-1", "backend-2"]))
    ] == [
        "backend-2",
        "frontend-1",
    ]
    assert refused(found, Allowed(["backend-1", "frontend-1"], ["backend-2"])) == []
    assert (
        flags(found)
        == "--allow-replace backend-1 --allow-delete backend-2 --allow-replace frontend-1"
    )


def test_an_instance_and_its_address_are_one_name() -> None:
    """Their option is given once."""
    found = changes(
        [step("delete", "backend-2", INSTANCE), step("delete", "backend-2", "aws:ec2/eip:Eip")]
    )
    assert flags(found) == "--allow-delete backend-2"


MACHINE_TYPE = {
    "aws:ec2/instance:Instance": "instanceType",
    "gcp:compute/instance:Instance": "machineType",
}


@pytest.mark.parametrize("type_", MACHINE_TYPE)
def test_another_machine_type_is_asked_about(type_: str) -> None:
    """On both clouds alike: leave to replace or delete it is none to stop it."""
    found = changes([step("update", "backend-1", type_, diffReasons=[MACHINE_TYPE[type_], "tags"])])
    assert (found[0].stops, found[0].loses) == (True, False)
    assert refused(found, Allowed(["backend-1"], ["backend-1"])) == found
    assert refused(found, Allowed(stop=["backend-1"])) == []
    assert flags(found) == "--allow-stop backend-1"


@pytest.mark.parametrize(
    ("type_", "key"), [(type_, key) for type_, keys in STOPS.items() for key in sorted(keys)]
)
def test_whatever_stops_an_instance_is_asked_about(type_: str, key: str) -> None:
    """The key alone, or what is in it."""
    for path in (key, f"{key}.part", f"{key}[0].part"):
        assert changes([step("update", "x", type_, diffReasons=[path])])[0].stops


def test_what_changes_while_an_instance_runs_is_not_asked_about() -> None:
    """Labels, a larger disk, another machine's key; nor is an instance stopped that is made or
    replaced."""
    quiet = [
        step("update", "a", INSTANCE, diffReasons=["tags", "rootBlockDevice.volumeSize"]),
        step("update", "b", "gcp:compute/instance:Instance", diffReasons=["labels", "metadata"]),
        step("update", "c", MACHINE, diffReasons=["memory_mb"]),
        step("create", "d", INSTANCE, diffReasons=["instanceType"]),
    ]
    assert not any(change.asks for change in changes(quiet))
    replaced = changes([step("replace", "e", INSTANCE, replaceReasons=["instanceType"])])
    assert flags(replaced) == "--allow-replace e"
