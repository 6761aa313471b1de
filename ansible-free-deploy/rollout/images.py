"""The Debian image and the zones of a stack: found once, pinned in its config. Newer ones touch no
running instance."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.core import debian, exits, provider
from infra.core.errors import KitError
from infra.core.stackfile import read_config, stack_path
from rollout.stacks import ROOT

DEBIAN_ON_AWS = "136693071363"  # Debian's own account: https://wiki.debian.org/Cloud/AmazonEC2Image
_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
_KEY = "origin-kit:machine_image"
_ZONES = "origin-kit:zones"


class ImagesError(KitError):
    """No image could be found, or the config can't be changed; the text says why and the next
    step."""

    exit_status = exits.UNREACHABLE


class StackError(ImagesError):
    """The stack's config names no cloud, or no region, that has images to find."""

    exit_status = exits.USAGE


def config(stack: str) -> dict[str, str]:
    """The stack's config. Raises ImagesError for a stack whose cloud has no images to find."""
    values = read_config(ROOT, stack)
    if values.get("cloud") not in FINDERS:
        raise StackError(
            f"stack {stack} is on {values.get('cloud')}: its machines are made here, there is"
            " nothing to pin"
        )
    if not values.get("region"):
        raise StackError(
            f"stacks/Pulumi.{stack}.yaml: region: missing; images are looked for there"
        )
    return values


def release(values: Mapping[str, str]) -> debian.Release:
    """The Debian release that new hosts of this stack get."""
    return debian.RELEASES.get(values.get("image", ""), debian.RELEASES[debian.DEFAULT])


def newest(values: Mapping[str, str]) -> str:
    """The newest image of the config's Debian release for its cloud, region and architecture.

    Raises ImagesError for no SDK, no credentials, no network, or no image.
    """
    return FINDERS[values["cloud"]](values)


def _aws(values: Mapping[str, str]) -> str:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise ImagesError("boto3 is not installed", cure="run `uv sync --group aws`") from None
    architecture = _ARCHITECTURES[values.get("architecture", "x86_64")]
    name = f"debian-{release(values).number}-{architecture}-*"
    filters = [{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}]
    try:
        client = boto3.client("ec2", region_name=values["region"])
        images = client.describe_images(Owners=[DEBIAN_ON_AWS], Filters=filters)["Images"]
    except (BotoCoreError, ClientError) as problem:
        raise ImagesError(
            f"AWS did not answer for {values['region']}: {problem}", cure="are you logged in?"
        ) from problem
    if not images:
        raise ImagesError(
            f"Debian has no image {name} in {values['region']}", cure="is the region's name right?"
        )
    newest_image = max(images, key=lambda image: image["CreationDate"])
    return str(newest_image["ImageId"])


def _gcp(values: Mapping[str, str]) -> str:
    try:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import compute_v1
    except ImportError:
        raise ImagesError(
            "google-cloud-compute is not installed", cure="run `uv sync --group gcp`"
        ) from None
    family = f"debian-{release(values).number}"
    if values.get("architecture") == "arm64":
        family += "-arm64"
    try:
        image = compute_v1.ImagesClient().get_from_family(project="debian-cloud", family=family)
    except (GoogleAPIError, GoogleAuthError) as problem:
        raise ImagesError(
            f"Google did not answer for family {family}: {problem}", cure="are you logged in?"
        ) from problem
    return f"projects/debian-cloud/global/images/{image.name}"


def zones(values: Mapping[str, str]) -> tuple[str, ...]:
    """Zones for the config, where it names none and the account lacks one of the usual; else none.

    Raises ImagesError as `newest` does, and where the account has too few.
    """
    if json.loads(values.get("zones") or "[]"):
        return ()
    cloud = values["cloud"]
    kind = values.get("machine_type") or provider.FORMS[cloud].default_type
    usual = provider.usual_zones(cloud, values["region"])
    zones_on = {"aws": _zones_on_aws, "gcp": _zones_on_google}
    there = zones_on[cloud](values, kind)
    if set(usual) <= set(there):
        return ()
    if len(there) < len(usual):
        places = ", ".join(there) or "no zone"
        raise ImagesError(
            f"{values['region']} has {kind} in {places} for this account,"
            f" {len(usual)} needed: choose another machine_type or region"
        )
    return tuple(there[: len(usual)])


def _zones_on_aws(values: Mapping[str, str], kind: str) -> list[str]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    offered = [{"Name": "instance-type", "Values": [kind]}]
    usable = [
        {"Name": "zone-type", "Values": ["availability-zone"]},
        {"Name": "state", "Values": ["available"]},
    ]
    try:
        client = boto3.client("ec2", region_name=values["region"])
        available = client.describe_availability_zones(Filters=usable)["AvailabilityZones"]
        offerings = client.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=offered
        )
    except (BotoCoreError, ClientError) as problem:
        raise ImagesError(
            f"AWS did not answer for {values['region']}: {problem}", cure="are you logged in?"
        ) from problem
    with_kind = {offering["Location"] for offering in offerings["InstanceTypeOfferings"]}
    names = {zone["ZoneName"] for zone in available}
    return sorted(names & with_kind)


def _zones_on_google(values: Mapping[str, str], kind: str) -> list[str]:
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import compute_v1

    request = compute_v1.AggregatedListMachineTypesRequest(
        project=values["gcp_project"], filter=f'name="{kind}"'
    )
    try:
        pages = compute_v1.MachineTypesClient().aggregated_list(request)
        places = [place for place, held in pages if held.machine_types]
    except (GoogleAPIError, GoogleAuthError) as problem:
        raise ImagesError(
            f"Google did not answer for {values['region']}: {problem}", cure="are you logged in?"
        ) from problem
    of_region = f"{values['region']}-"
    names = []
    for place in places:
        name = place.removeprefix("zones/")
        if name.startswith(of_region):
            names.append(name)
    return sorted(names)


FINDERS: dict[str, Callable[[Mapping[str, str]], str]] = {"aws": _aws, "gcp": _gcp}


def pin(
    stack: str,
    image: str,
    zones: Sequence[str] = (),
    root: Path = ROOT,
) -> None:
    """Write the image, and zones if any, into the stack's config; every other byte of the file
    stays.

    Raises ImagesError for odd files.
    """
    _write(stack, _KEY, image, root)
    if zones:
        _write(stack, _ZONES, f"[{', '.join(zones)}]", root)


def _write(
    stack: str,
    key: str,
    value: str,
    root: Path,
) -> None:
    path = stack_path(root, stack)
    text = path.read_text()
    line = f"  {key}: {value}"
    known = re.compile(rf"^[ \t]+{key}:.*$", re.MULTILINE)
    cloud = re.compile(r"^[ \t]+origin-kit:cloud:.*$", re.MULTILINE)
    if known.search(text):
        new = known.sub(line, text, count=1)
    else:
        new = cloud.sub(lambda match: f"{match[0]}\n{line}", text, count=1)
    if new == text and line not in text:
        raise ImagesError(
            "no line `origin-kit:cloud:` to write after",
            where=path.name,
            cure=f"add `{line.strip()}` yourself",
        )
    path.write_text(new)


def zones_note(zones: Sequence[str]) -> str:
    """What is said of zones that were pinned too."""
    return f", zones: {', '.join(zones)} (the account lacks one of the usual)" if zones else ""


def report(stack: str, values: Mapping[str, Any], found: str) -> str:
    """What is pinned and what is newest, and how to change it."""
    pinned = values.get("machine_image") or "nothing"
    if pinned == found:
        return f"pinned and newest: {found}"
    return (
        f"pinned: {pinned}\nnewest of {release(values)}: {found}\n"
        f"`fab images --pin --stack {stack}` pins the newest; running instances stay"
    )
