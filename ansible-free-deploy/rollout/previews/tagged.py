"""What a cloud still has of previews that no stack speaks for, found by the tag that they carry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from infra.core.errors import KitError
from infra.core.exits import UNREACHABLE
from infra.core.previews.tags import AWS_PREVIEW


class TaggedError(KitError):
    """The cloud did not answer; the text says why."""

    exit_status = UNREACHABLE


Living = Callable[[], Collection[str]]


def found(config: Mapping[str, str], living: Living) -> list[str]:
    """A line for each resource of a preview without a stack, with its id. `living` gives the names
    of stacks; it is asked last, since one may come meanwhile. Raises TaggedError.

    On AWS, where all that the kit makes and tags is EC2's. Google's are not looked for:
    docs/previews.md has the commands. Local ones are found by their names (`leftovers`).
    """
    if config.get("cloud") != "aws":
        return []
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise TaggedError("boto3 is not installed", cure="run `uv sync --group aws`") from None
    try:
        client = boto3.client("ec2", region_name=config.get("region"))
        return _on_aws(client, living)
    except (BotoCoreError, ClientError) as problem:
        raise TaggedError(
            f"AWS did not list what has the tag {AWS_PREVIEW}: {problem}",
            cure="are you logged in?",
        ) from problem


def _on_aws(client: Any, living: Living) -> list[str]:
    pages = client.get_paginator("describe_tags").paginate(
        Filters=[{"Name": "key", "Values": [AWS_PREVIEW]}]
    )
    everything = [tag for page in pages for tag in page["Tags"]]
    names = living() if everything else ()
    tags = [tag for tag in everything if tag["Value"] not in names]
    ended = _ended(client, [tag["ResourceId"] for tag in tags if tag["ResourceType"] == "instance"])
    lines = []
    for tag in tags:
        if tag["ResourceId"] not in ended:
            lines.append(f"{tag['Value']}: {tag['ResourceType']} {tag['ResourceId']}")
    return sorted(lines)


def _ended(client: Any, instances: list[str]) -> set[str]:
    """Those that are terminated: AWS lists them, and their tags, for an hour."""
    if not instances:
        return set()
    filters = [
        {"Name": "instance-id", "Values": instances},
        {"Name": "instance-state-name", "Values": ["terminated", "shutting-down"]},
    ]
    pages = client.get_paginator("describe_instances").paginate(Filters=filters)
    return {
        instance["InstanceId"]
        for page in pages
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    }
