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
    """The real client with answers of ours; it checks requests and answers against AWS's own model."""
    client = boto3.client("ec2", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    stub = Stubber(client)
    stub.activate()
    monkeypatch.setattr(boto3, "client", lambda *_, **__: client)
    return stub


def asked(name: str) -> dict[str, Any]:
    filters = [{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}]
    return {"Owners": ["136693071363"], "Filters": filters}


@pytest.mark.parametrize(("architecture", "name"), [("x86_64", "debian-12-amd64-*"), ("arm64", "debian-12-arm64-*")])
def test_the_newest_of_debian_s_own_account_is_found(ec2: Stubber, architecture: str, name: str) -> None:
    found = [
        {"ImageId": "ami-0000000000000000a", "CreationDate": "2026-01-02T00:00:00.000Z"},
        {"ImageId": "ami-0000000000000000b", "CreationDate": "2026-03-02T00:00:00.000Z"},
        {"ImageId": "ami-0000000000000000c", "CreationDate": "2025-12-31T00:00:00.000Z"},
    ]
    ec2.add_response("describe_images", {"Images": found}, asked(name))
    assert images.newest({**CONFIG, "architecture": architecture}) == "ami-0000000000000000b"


def test_no_image_and_no_login_say_so(ec2: Stubber) -> None:
    ec2.add_response("describe_images", {"Images": []}, asked("debian-12-amd64-*"))
    with pytest.raises(ImagesError, match="is the region's name right"):
        images.newest(CONFIG)
    ec2.add_client_error("describe_images", "AuthFailure", "not able to validate the credentials")
    with pytest.raises(ImagesError, match="are you logged in"):
        images.newest(CONFIG)


@pytest.mark.parametrize(("architecture", "family"), [("x86_64", "debian-12"), ("arm64", "debian-12-arm64")])
def test_google_s_family_is_asked(monkeypatch: pytest.MonkeyPatch, architecture: str, family: str) -> None:
    def get(_: object, project: str, family: str) -> compute_v1.Image:
        assert project == "debian-cloud"
        return compute_v1.Image(name=f"{family}-v20260101")

    client = type("Client", (), {"get_from_family": get})
    monkeypatch.setattr(compute_v1, "ImagesClient", client)
    found = images.newest({"cloud": "gcp", "region": "europe-west3", "architecture": architecture})
    assert found == f"projects/debian-cloud/global/images/{family}-v20260101"


def test_a_google_login_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
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
    path.write_text("# mine\nconfig:\n  origin-kit:cloud: aws  # why\n  origin-kit:region: eu-central-1\n")
    images.pin("x", "ami-1", tmp_path)
    assert path.read_text() == (
        "# mine\nconfig:\n  origin-kit:cloud: aws  # why\n  origin-kit:machine_image: ami-1\n"
        "  origin-kit:region: eu-central-1\n"
    )
    images.pin("x", "ami-2", tmp_path)
    images.pin("x", "ami-2", tmp_path)
    assert path.read_text().count("machine_image: ami-2") == 1
    assert "ami-1" not in path.read_text()


def test_a_local_stack_has_nothing_to_pin() -> None:
    with pytest.raises(ImagesError, match="there is nothing to pin"):
        images.config("local")
