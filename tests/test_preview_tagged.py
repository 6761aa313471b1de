"""What clouds still have of previews without a stack: AWS's under moto, Google's at the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import responses
from google.auth.credentials import AnonymousCredentials
from moto import mock_aws
from responses.matchers import query_param_matcher

from infra.core.previews.tags import GOOGLE_PREVIEW
from rollout.previews import tagged
from rollout.previews.tagged import TaggedError
from tests.support.kit import ROOT

CONFIG = {"cloud": "aws", "region": "eu-central-1"}


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield boto3.client("ec2", region_name="eu-central-1")


def made(ec2: Any, stack: str) -> tuple[str, str]:
    """A VPC and an instance that carry a preview's tag."""
    tags = [{"Key": "origin-kit:preview", "Value": stack}]
    network = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    ec2.create_tags(Resources=[network, instance["InstanceId"]], Tags=tags)
    return network, instance["InstanceId"]


def test_what_no_stack_speaks_for_is_found_by_its_tag(ec2: Any) -> None:
    """Of a preview that has its stack nothing is named, nor an instance that has ended."""
    made(ec2, "preview-lives-1")
    network, instance = made(ec2, "preview-lost-1")
    ec2.create_vpc(CidrBlock="10.1.0.0/16")
    lines = tagged.found(CONFIG, lambda: {"preview-lives-1"})
    assert lines == [f"preview-lost-1: instance {instance}", f"preview-lost-1: vpc {network}"]
    ec2.terminate_instances(InstanceIds=[instance])
    assert tagged.found(CONFIG, lambda: {"preview-lives-1"}) == [f"preview-lost-1: vpc {network}"]


def test_other_clouds_are_not_asked() -> None:
    assert tagged.found({"cloud": "local"}, set) == []


def test_the_docs_have_the_command_for_google_s_service_accounts() -> None:
    """By the description: they have no labels."""
    page = (ROOT / "docs" / "previews.md").read_text()
    assert f"gcloud iam service-accounts list --filter='description~^{GOOGLE_PREVIEW}='" in page


# ------------------------------------------------------------------------- Google's, at the wire

API = "https://compute.googleapis.com/compute/v1/projects/shop-1"
MARK = {GOOGLE_PREVIEW: "preview-lost-1"}
MADE = f"{GOOGLE_PREVIEW}=preview-lost-1"
GOOGLE = {"cloud": "gcp", "gcp_project": "shop-1"}


def listed(kind: str, scope: str, *resources: dict[str, Any]) -> dict[str, Any]:
    """An aggregated answer: every scope is named, also those that hold nothing."""
    empty = {"warning": {"code": "NO_RESULTS_ON_PAGE"}}
    return {"items": {"zones/us-east1-b": empty, scope: {kind: list(resources)}}}


def log_in(patch: pytest.MonkeyPatch) -> None:
    """As nobody: what is asked is never sent."""
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    patch.setattr("google.auth.default", lambda **_: (nobody, "shop-1"))


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    """Compute Engine with each kind of a lost preview, and an instance of one that lives."""
    log_in(monkeypatch)
    place = f"{API}/zones/europe-west3-b"
    lives = {"name": "backend-1", "labels": {GOOGLE_PREVIEW: "preview-lives-1"}, "zone": place}
    lost = {"name": "backend-2", "labels": MARK, "zone": place}
    region = f"{API}/regions/europe-west3"
    with responses.RequestsMock() as wire:
        for kind, found in (
            ("instances", listed("instances", "zones/europe-west3-b", lives, lost)),
            ("disks", listed("disks", "zones/europe-west3-b", lost)),
            (
                "addresses",
                listed(
                    "addresses",
                    "regions/europe-west3",
                    {"name": "frontend-1", "labels": MARK, "region": region},
                ),
            ),
        ):
            labelled = {"filter": f"labels.{GOOGLE_PREVIEW}:*"}
            matcher = query_param_matcher(labelled, strict_match=False)
            wire.get(f"{API}/aggregated/{kind}", json=found, match=[matcher])
        described = {"name": "net", "description": MADE, "region": region}
        other = {"name": "default", "description": "Default network"}
        subnets = listed("subnetworks", "regions/europe-west3", described, other)
        wire.get(f"{API}/aggregated/subnetworks", json=subnets)
        plain = {"name": "net", "description": MADE}
        wire.get(f"{API}/global/networks", json={"items": [plain, other]})
        wire.get(f"{API}/global/firewalls", json={"items": [plain, {"name": "ssh"}]})
        yield wire


def test_google_s_are_found_by_label_and_by_description(google: responses.RequestsMock) -> None:
    """Each with the place that removing it asks for; nothing of a preview that lives, and nothing
    that has no mark."""
    assert tagged.found(GOOGLE, lambda: {"preview-lives-1"}) == [
        "preview-lost-1: address frontend-1 in europe-west3",
        "preview-lost-1: disk backend-2 in europe-west3-b",
        "preview-lost-1: firewall rule net",
        "preview-lost-1: instance backend-2 in europe-west3-b",
        "preview-lost-1: network net",
        "preview-lost-1: subnetwork net in europe-west3",
    ]


def test_a_google_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says stands in the message; nothing is called clean."""
    log_in(monkeypatch)
    refusal = {"error": {"code": 403, "message": "Required 'compute.instances.list' permission"}}
    with responses.RequestsMock() as wire:
        wire.get(f"{API}/aggregated/instances", status=403, json=refusal)
        with pytest.raises(TaggedError, match=r"did not list .*compute\.instances\.list"):
            tagged.found(GOOGLE, set)
