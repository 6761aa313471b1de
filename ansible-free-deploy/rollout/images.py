"""The Debian image of a stack: found once, pinned in its config. A newer one never touches a running instance."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra import exits
from infra.stackfile import read_config, stack_path
from rollout.outputs import ROOT

DEBIAN_ON_AWS = "136693071363"  # Debian's own account: https://wiki.debian.org/Cloud/AmazonEC2Image
_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
_KEY = "origin-kit:machine_image"


class ImagesError(ValueError):
    """No image could be found, or the config can't be changed; the text says why and the next step."""

    exit_status = exits.UNREACHABLE


def config(stack: str) -> dict[str, str]:
    """The stack's config. Raises ImagesError for a stack whose cloud has no images to find."""
    values = read_config(ROOT, stack)
    if values.get("cloud") not in FINDERS:
        raise ImagesError(
            f"stack {stack} is on {values.get('cloud')}: its machines are made here, there is nothing to pin"
        )
    if not values.get("region"):
        raise ImagesError(f"stacks/Pulumi.{stack}.yaml: region: missing; images are looked for there")
    return values


def newest(values: Mapping[str, str]) -> str:
    """The newest Debian 12 image for the config's cloud, region and architecture.

    Raises ImagesError for no SDK, no credentials, no network, or no image.
    """
    return FINDERS[values["cloud"]](values)


def _aws(values: Mapping[str, str]) -> str:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise ImagesError("boto3 is not installed; run `uv sync --group aws`") from None
    name = f"debian-12-{_ARCHITECTURES[values.get('architecture', 'x86_64')]}-*"
    filters = [{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}]
    try:
        client = boto3.client("ec2", region_name=values["region"])
        found = client.describe_images(Owners=[DEBIAN_ON_AWS], Filters=filters)["Images"]
    except (BotoCoreError, ClientError) as problem:
        raise ImagesError(f"AWS did not answer for {values['region']}: {problem}; are you logged in?") from problem
    if not found:
        raise ImagesError(f"Debian has no image {name} in {values['region']}; is the region's name right?")
    return str(max(found, key=lambda image: image["CreationDate"])["ImageId"])


def _gcp(values: Mapping[str, str]) -> str:
    try:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import compute_v1
    except ImportError:
        raise ImagesError("google-cloud-compute is not installed; run `uv sync --group gcp`") from None
    family = "debian-12-arm64" if values.get("architecture") == "arm64" else "debian-12"
    try:
        image = compute_v1.ImagesClient().get_from_family(project="debian-cloud", family=family)
    except (GoogleAPIError, GoogleAuthError) as problem:
        raise ImagesError(f"Google did not answer for family {family}: {problem}; are you logged in?") from problem
    return f"projects/debian-cloud/global/images/{image.name}"


FINDERS: dict[str, Callable[[Mapping[str, str]], str]] = {"aws": _aws, "gcp": _gcp}


def pin(stack: str, image: str, root: Path = ROOT) -> None:
    """Write the image into the stack's config; every other byte of the file stays. Raises ImagesError for odd files."""
    path = stack_path(root, stack)
    text = path.read_text()
    line = f"  {_KEY}: {image}"
    known = re.compile(rf"^[ \t]+{_KEY}:.*$", re.MULTILINE)
    cloud = re.compile(r"^[ \t]+origin-kit:cloud:.*$", re.MULTILINE)
    new = (
        known.sub(line, text, count=1) if known.search(text) else cloud.sub(lambda m: f"{m[0]}\n{line}", text, count=1)
    )
    if new == text and line not in text:
        raise ImagesError(f"{path.name}: no line `origin-kit:cloud:` to write after; add `{line.strip()}` yourself")
    path.write_text(new)


def report(stack: str, values: Mapping[str, Any], found: str) -> str:
    """What is pinned and what is newest, and how to change it."""
    pinned = values.get("machine_image") or "nothing"
    if pinned == found:
        return f"pinned and newest: {found}"
    return (
        f"pinned: {pinned}\nnewest: {found}\n`fab images --pin --stack {stack}` pins the newest; running instances stay"
    )
