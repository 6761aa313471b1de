"""What a cloud still has of previews that no stack speaks for, found by the tag that they carry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from infra.core.errors import KitError
from infra.core.exits import UNREACHABLE
from infra.core.names import label
from infra.core.previews.tags import AWS_PREVIEW, GOOGLE_PREVIEW


class TaggedError(KitError):
    """The cloud did not answer; the text says why."""

    exit_status = UNREACHABLE


Living = Callable[[], Collection[str]]


def found(config: Mapping[str, str], living: Living) -> list[str]:
    """A line for each resource of a preview without a stack, with its id. `living` gives the names
    of stacks; it is asked last, since one may come meanwhile. Raises TaggedError.

    On AWS all that the kit makes and tags is EC2's. On Google all but the service accounts is
    Compute Engine's: docs/previews.md has the command for those. Local ones are found by their
    names (`leftovers`).
    """
    cloud = config.get("cloud")
    if cloud == "aws":
        return _aws(config, living)
    return _google(config["gcp_project"], living) if cloud == "gcp" else []


def _aws(config: Mapping[str, str], living: Living) -> list[str]:
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


def _google(project: str, living: Living) -> list[str]:
    try:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
    except ImportError:
        raise TaggedError(
            "google-cloud-compute is not installed", cure="run `uv sync --group gcp`"
        ) from None
    try:
        marked = list(_marked_on_google(project))
    except (GoogleAPIError, GoogleAuthError, OSError) as problem:
        raise TaggedError(
            f"Google did not list what is marked {GOOGLE_PREVIEW}: {problem}",
            cure="are you logged in?",
        ) from problem
    names = {label(stack) for stack in living()} if marked else set()
    return sorted(f"{stack}: {what}" for stack, what in marked if stack not in names)


def _marked_on_google(project: str) -> Iterator[tuple[str, str]]:
    """The stack's label, and kind, name and place, of each resource that has the mark."""
    for kind, found in _on_google(project):
        stack = _mark_of(found)
        if stack:
            place = str(getattr(found, "zone", "") or getattr(found, "region", ""))
            where = f" in {place.rpartition('/')[2]}" if place else ""
            yield stack, f"{kind} {found.name}{where}"


def _on_google(project: str) -> Iterator[tuple[str, Any]]:
    """Kind and resource of all that may have the mark; Google filters what has labels."""
    from google.cloud import compute_v1 as compute

    has_label = f"labels.{GOOGLE_PREVIEW}:*"
    instances = compute.AggregatedListInstancesRequest(project=project, filter=has_label)
    for _, held in compute.InstancesClient().aggregated_list(instances):
        yield from (("instance", one) for one in held.instances)
    disks = compute.AggregatedListDisksRequest(project=project, filter=has_label)
    for _, held in compute.DisksClient().aggregated_list(disks):
        yield from (("disk", one) for one in held.disks)
    addresses = compute.AggregatedListAddressesRequest(project=project, filter=has_label)
    for _, held in compute.AddressesClient().aggregated_list(addresses):
        yield from (("address", one) for one in held.addresses)
    subnetworks = compute.AggregatedListSubnetworksRequest(project=project)
    for _, held in compute.SubnetworksClient().aggregated_list(subnetworks):
        yield from (("subnetwork", one) for one in held.subnetworks)
    for one in compute.NetworksClient().list(project=project):
        yield "network", one
    for one in compute.FirewallsClient().list(project=project):
        yield "firewall rule", one


def _mark_of(found: Any) -> str:
    """The stack's label of a resource's mark (`infra.core.previews.tags`); empty where it has
    none."""
    labels = getattr(found, "labels", {})
    if GOOGLE_PREVIEW in labels:
        return str(labels[GOOGLE_PREVIEW])
    name, _, stack = str(found.description).partition("=")
    return stack if name == GOOGLE_PREVIEW else ""
