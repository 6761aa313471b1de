"""Images: the newest one found, pinned in the file and nowhere else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from google.api_core.exceptions import Forbidden
from google.cloud import compute_v1

from rollout import images
from rollout.images import ImagesError

CONFIG = {"cloud": "aws", "region": "eu-central-1", "architecture": "x86_64"}


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Stubber:
    """The real client with answers of ours; it checks requests and answers against AWS's own
    model."""
    client = boto3.client(
        "ec2", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    stub = Stubber(client)
    stub.activate()
    monkeypatch.setattr(boto3, "client", lambda *_, **__: client)
    return stub


def asked(name: str) -> dict[str, Any]:
    filters = [{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}]
    return {"Owners": ["136693071363"], "Filters": filters}


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, "debian-13-amd64-*"),
        ({"architecture": "arm64"}, "debian-13-arm64-*"),
        ({"image": "bookworm"}, "debian-12-amd64-*"),
        ({"image": ""}, "debian-13-amd64-*"),
    ],
)
def test_the_newest_of_debian_s_own_account_is_found(
    ec2: Stubber, more: dict[str, str], name: str
) -> None:
    """Debian 13's, unless the config asks for 12."""
    found = [
        {"ImageId": "ami-0000000000000000a", "CreationDate": "2026-01-02T00:00:00.000Z"},
        {"ImageId": "ami-0000000000000000b", "CreationDate": "2026-03-02T00:00:00.000Z"},
        {"ImageId": "ami-0000000000000000c", "CreationDate": "2025-12-31T00:00:00.000Z"},
    ]
    ec2.add_response("describe_images", {"Images": found}, asked(name))
    assert images.newest({**CONFIG, **more}) == "ami-0000000000000000b"


def test_no_image_and_no_login_say_so(ec2: Stubber) -> None:
    ec2.add_response("describe_images", {"Images": []}, asked("debian-13-amd64-*"))
    with pytest.raises(ImagesError, match="is the region's name right"):
        images.newest(CONFIG)
    ec2.add_client_error("describe_images", "AuthFailure", "not able to validate the credentials")
    with pytest.raises(ImagesError, match="are you logged in"):
        images.newest(CONFIG)


@pytest.mark.parametrize(
    ("architecture", "family"), [("x86_64", "debian-13"), ("arm64", "debian-13-arm64")]
)
def test_google_s_family_is_asked(
    monkeypatch: pytest.MonkeyPatch, architecture: str, family: str
) -> None:
    def get(_: object, project: str, family: str) -> compute_v1.Image:
        assert project == "debian-cloud"
        return compute_v1.Image(name=f"{family}-v20260101")

    client = type("Client", (), {"get_from_family": get})
    monkeypatch.setattr(compute_v1, "ImagesClient", client)
    found = images.newest({"cloud": "gcp", "region": "europe-west3", "architecture": architecture})
    assert found == f"projects/debian-cloud/global/images/{family}-v20260101"


def test_a_google_login_that_is_missing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(*_: object, **__: object) -> None:
        raise Forbidden("no")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(compute_v1, "ImagesClient", lambda: SimpleNamespace(get_from_family=get))
    with pytest.raises(ImagesError, match="are you logged in"):
        images.newest({"cloud": "gcp", "region": "europe-west3"})


def test_pinning_changes_one_line(tmp_path: Path) -> None:
    """Comments and order stay; a second pin replaces the first."""
    (tmp_path / "Pulumi.yaml").write_text("name: origin-kit\nstackConfigDir: stacks\n")
    path = tmp_path / "stacks" / "Pulumi.x.yaml"
    path.parent.mkdir()
    path.write_text(
        "# mine\nconfig:\n  origin-kit:cloud: aws  # why\n  origin-kit:region: eu-central-1\n"
    )
    images.pin("x", "ami-1", (), tmp_path)
    assert (
        path.read_text()
        == "# mine\nconfig:\n  origin-kit:cloud: aws  # why\n  origin-kit:machine_image: ami-1\n"
        "  origin-kit:region: eu-central-1\n"
    )
    images.pin("x", "ami-2", (), tmp_path)
    images.pin("x", "ami-2", ("eu-central-1b", "eu-central-1c"), tmp_path)
    assert path.read_text().count("machine_image: ami-2") == 1
    assert "ami-1" not in path.read_text()
    assert "  origin-kit:zones: [eu-central-1b, eu-central-1c]\n" in path.read_text()


def zones_of(ec2: Stubber, there: str, offered: str) -> None:
    """The account has these zones, and this machine type in those."""
    region = "eu-central-1"
    ec2.add_response(
        "describe_availability_zones",
        {"AvailabilityZones": [{"ZoneName": region + z} for z in there]},
    )
    offers = [{"InstanceType": "t3.small", "Location": region + z} for z in offered]
    ec2.add_response("describe_instance_type_offerings", {"InstanceTypeOfferings": offers})


@pytest.mark.parametrize(
    ("there", "offered", "found"),
    [
        ("abc", "abc", ()),
        ("bc", "abc", ("eu-central-1b", "eu-central-1c")),
        ("abc", "ac", ("eu-central-1a", "eu-central-1c")),
    ],
)
def test_zones_are_named_where_the_account_lacks_the_usual(
    ec2: Stubber, there: str, offered: str, found: tuple[str, ...]
) -> None:
    """Nothing is written where a and b will do: what runs there stays there."""
    zones_of(ec2, there, offered)
    assert images.zones(CONFIG) == found


def test_zones_of_the_config_are_asked_of_nobody(ec2: Stubber) -> None:
    assert images.zones({**CONFIG, "zones": '["eu-central-1a", "eu-central-1c"]'}) == ()


def test_too_few_zones_are_reported(ec2: Stubber) -> None:
    zones_of(ec2, "a", "abc")
    with pytest.raises(
        ImagesError, match=r"has t3\.small in eu-central-1a for this account, 2 needed"
    ):
        images.zones(CONFIG)


@pytest.mark.parametrize(("there", "found"), [("bcd", ()), ("acd", ("europe-west3-a",))])
def test_google_s_zones_are_those_with_the_machine_type(
    monkeypatch: pytest.MonkeyPatch, there: str, found: tuple[str, ...]
) -> None:
    """Of the region alone; a zone that has no such type is listed without any."""
    holds = compute_v1.MachineTypesScopedList(
        machine_types=[compute_v1.MachineType(name="e2-small")]
    )
    pages = [(f"zones/europe-west3-{zone}", holds) for zone in there]
    pages += [
        ("zones/europe-west3-b", compute_v1.MachineTypesScopedList()),
        ("zones/europe-west30-b", holds),
    ]

    def aggregated_list(
        _: object, request: compute_v1.AggregatedListMachineTypesRequest
    ) -> list[object]:
        assert (request.project, request.filter) == ("my-project", 'name="e2-small"')
        return list(pages)

    monkeypatch.setattr(
        compute_v1, "MachineTypesClient", type("Client", (), {"aggregated_list": aggregated_list})
    )
    config = {"cloud": "gcp", "region": "europe-west3", "gcp_project": "my-project"}
    assert images.zones(config) == found


def test_a_local_stack_has_nothing_to_pin() -> None:
    with pytest.raises(ImagesError, match="there is nothing to pin"):
        images.config("local")
