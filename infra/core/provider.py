"""What AWS and Google ask of a stack's config: forms, defaults, and what does not go together. No
SDK is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.core import debian, exits, rules
from infra.core.errors import KitError
from infra.core.keys import KEYS, Effect

ROOT = Path(__file__).resolve().parents[2]
NETWORK_CIDR = "10.20.0.0/16"


class KeyFileError(KitError):
    """The file with the operator's public keys can't be used; the text says why."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Form:
    """How one provider writes its things."""

    name: str
    region: str
    zone: str
    machine_type: str
    default_type: str
    arm: str
    image: str
    network: str
    subnet: str
    zones: int
    required: tuple[str, ...]
    examples: dict[str, str] = field(default_factory=dict)


FORMS = {
    "aws": Form(
        name="AWS",
        region=r"[a-z]{2}(-[a-z]+)+-\d",
        zone=r"{region}[a-z]",
        machine_type=r"[a-z][a-z0-9-]*\.[a-z0-9-]+",
        default_type="t3.small",
        arm=r"(a1|[a-z]+\d+g[a-z]*)\.",
        image=r"ami-[0-9a-f]{8,17}",
        network=r"vpc-[0-9a-f]{8,17}",
        subnet=r"subnet-[0-9a-f]{8,17}",
        zones=2,
        required=("region", "machine_image", "ssh_from"),
        examples={
            "region": "eu-central-1",
            "zones": "eu-central-1a",
            "machine_type": "t3.small",
            "machine_image": "ami-0123456789abcdef0",
            "existing_network": "vpc-0123456789abcdef0",
            "existing_subnets": "subnet-0123456789abcdef0",
        },
    ),
    "gcp": Form(
        name="Google Cloud",
        region=r"[a-z]+-[a-z]+\d{1,2}",
        zone=r"{region}-[a-z]",
        machine_type=r"[a-z]\d[a-z]?-[a-z0-9-]+",
        default_type="e2-small",
        arm=r"(t2a|c4a|n4a)-",
        image=r"projects/[a-z0-9-]+/global/images/[a-z0-9-]+",
        network=r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
        subnet=r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
        zones=1,
        required=("region", "gcp_project", "machine_image", "ssh_from"),
        examples={
            "region": "europe-west3",
            "zones": "europe-west3-b",
            "machine_type": "e2-small",
            "machine_image": "projects/debian-cloud/global/images/debian-13-trixie-v20260101",
            "existing_network": "my-network",
            "existing_subnets": "my-subnet",
        },
    ),
}


def zones(settings: Any) -> tuple[str, ...]:
    """The zones to use: those of the config, else the provider's usual first ones (two on AWS, one
    on Google)."""
    return tuple(settings.zones) or usual_zones(settings.cloud, settings.region)


def usual_zones(cloud: str, region: str) -> tuple[str, ...]:
    """Those that nearly every account has; where one is missing, `fab images --pin` names others in
    the config."""
    return tuple(f"{region}{end}" for end in {"aws": ("a", "b"), "gcp": ("-b",)}[cloud])


def machine_type(settings: Any) -> str:
    """The machine type of the config, else the provider's small one."""
    return str(settings.machine_type or FORMS[settings.cloud].default_type)


def public_keys(file: str) -> tuple[str, ...]:
    """The operator's public keys, one a line; none for no file. Relative paths start at the
    repository.

    Raises KeyFileError.
    """
    if not file:
        return ()
    path = ROOT / Path(file).expanduser()
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise KeyFileError(
            f"{file} is not there",
            cure="list who may log in as ssh_keys, or make a key with `ssh-keygen -t ed25519`",
        ) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise KeyFileError(f"{file} can't be read: {problem}") from None
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if any("PRIVATE KEY" in key for key in keys):
        raise KeyFileError(f"{file} is a private key", cure=f"name the public one, {file}.pub")
    if not keys:
        raise KeyFileError(
            f"{file} holds no public key",
            cure="a line of one looks like `ssh-ed25519 AAAA… you@laptop`",
        )
    try:
        return rules.login_keys(keys)
    except ValueError as problem:
        raise KeyFileError(str(problem), where=str(file)) from None


def problems(values: Mapping[str, Any]) -> Iterator[str]:
    """`key: what is wrong, what is asked` for everything that this cloud requires. A value
    that has a problem already is None, or missing."""
    cloud = values.get("cloud")
    if cloud == "local":
        yield from _foreign(cloud, "the local cloud", values)
        return
    if cloud not in FORMS:
        return
    form = FORMS[cloud]
    yield from _foreign(cloud, form.name, values)
    # None stands for a value that has been complained of already.
    for key in form.required:
        value = values.get(key, "")
        if value is not None and not value:
            yield f"{key}: missing; {_ask(form, key)}"
    if values.get("image") and values["image"] not in debian.RELEASES:
        yield (
            f"image: {values['image']!r} is no Debian that the kit supports; it is"
            f" {' or '.join(debian.RELEASES)}"
        )
    yield from _forms(form, values)
    yield from _networks(form, values)
    if values.get("domain") and values.get("dns_zone") == "":
        yield (
            "dns_zone: missing; a domain needs the zone that its records go to (an id on AWS, a"
            " name on Google)"
        )
    if values.get("dns_zone") and not values.get("domain"):
        yield "domain: missing; dns_zone alone names nothing"


def _foreign(cloud: str, name: str, values: Mapping[str, Any]) -> Iterator[str]:
    """The keys that are set though this cloud does not use them; one that always has a value may
    be."""
    for key in KEYS.values():
        if key.effect(cloud) is not Effect.UNUSED:
            continue
        may_be_empty = key.default in ("", ())
        if may_be_empty and values.get(key.name):
            yield f"{key.name}: for {name} it means nothing; take it out"


def _ask(form: Form, key: str) -> str:
    if key == "machine_image":
        return "run `fab images --pin`, which finds Debian's newest and writes it here"
    if key == "ssh_from":
        return "list the networks that may use SSH, e.g. your own address as 203.0.113.7/32"
    return (
        f"write it like {form.examples[key]}"
        if key in form.examples
        else "the schema in Pulumi.yaml says what it is"
    )


def _forms(form: Form, values: Mapping[str, Any]) -> Iterator[str]:
    region = values.get("region") or ""
    singles = {
        "region": form.region,
        "machine_type": form.machine_type,
        "machine_image": form.image,
        "existing_network": form.network,
    }
    for key, pattern in singles.items():
        if values.get(key) and not re.fullmatch(pattern, values[key]):
            yield (
                f"{key}: {values[key]!r} is not how {form.name} writes it; write it like"
                f" {form.examples[key]}"
            )
    for zone in values.get("zones") or ():
        if not re.fullmatch(form.zone.format(region=re.escape(region)), zone):
            yield (
                f"zones: {zone!r} is no zone of region {region}; write it like"
                f" {form.examples['zones']}"
            )
    if values.get("zones") and len(values["zones"]) != form.zones:
        yield f"zones: {form.name} uses {form.zones} here; name as many, or leave it out"
    for subnet in values.get("existing_subnets") or ():
        if not re.fullmatch(form.subnet, subnet):
            yield (
                f"existing_subnets: invalid value {subnet!r}; write it like"
                f" {form.examples['existing_subnets']}"
            )
    kind, wanted = values.get("machine_type") or form.default_type, values.get("architecture")
    found = "arm64" if re.match(form.arm, kind) else "x86_64"
    if wanted and found != wanted:
        yield (
            f"machine_type: {kind} is {found}, architecture says {wanted}; change one (and"
            " machine_image with it)"
        )


def _networks(form: Form, values: Mapping[str, Any]) -> Iterator[str]:
    existing, subnets = values.get("existing_network"), values.get("existing_subnets") or ()
    if existing and values.get("network_cidr"):
        yield "network_cidr: existing_network has its own; keep one of the two"
    if existing and len(subnets) != form.zones:
        yield (
            f"existing_subnets: {len(subnets)} given; existing_network on {form.name} needs"
            f" {form.zones} public ones"
        )
    if subnets and not existing:
        yield "existing_subnets: they belong to an existing_network, which is missing"
