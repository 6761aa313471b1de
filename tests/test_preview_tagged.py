"""What clouds still have of previews without a stack: AWS's under moto, Google's by the docs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from infra.core.previews.tags import GOOGLE_PREVIEW
from rollout.previews import tagged
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


def test_the_docs_have_the_commands_for_google() -> None:
    """By the label, and by the description of what has no labels."""
    page = (ROOT / "docs" / "previews.md").read_text()
    for words in (f"labels.{GOOGLE_PREVIEW}:*", f"description~^{GOOGLE_PREVIEW}="):
        assert f"--filter='{words}'" in page
