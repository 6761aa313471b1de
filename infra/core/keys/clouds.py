"""Config keys, AWS and Google: where instances run, and who may log in."""

from __future__ import annotations

import re

from infra.core import rules
from infra.core.keys import values
from infra.core.keys.key import Effect, Key, on_clouds

KEYS = (
    Key(
        name="region",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[a-z0-9-]+"), "a region, e.g. eu-central-1 or europe-west3"),
        effects=on_clouds(Effect.REPLACES),
        description="aws, gcp: where the instances are, e.g. eu-central-1 or europe-west3.",
    ),
    Key(
        name="zones",
        type="array",
        default=(),
        effects=on_clouds(Effect.REPLACES),
        description=(
            "aws, gcp: zones of the region; two on AWS, one on Google. Empty takes the "
            "usual ones (a and b; -b). `fab images --pin` names others where the account "
            "lacks one of these."
        ),
    ),
    Key(
        name="gcp_project",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]"), "the project's id"),
        effects=(Effect.UNUSED, Effect.UNUSED, Effect.REPLACES),
        description="gcp: the project's id.",
    ),
    Key(
        name="machine_type",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[a-z0-9][a-z0-9.-]+"), "a type, e.g. t3.small or e2-small"),
        effects=on_clouds(Effect.STOPS),
        description="aws, gcp: empty means t3.small or e2-small. It has to be of `architecture`.",
    ),
    Key(
        name="architecture",
        type="string",
        default="x86_64",
        rule=rules.one_of("x86_64", "arm64"),
        effects=on_clouds(Effect.CHECK),
        description="aws, gcp: x86_64 or arm64.",
    ),
    Key(
        name="machine_image",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"\S+"), "an image; run `fab images`, which shows and pins it"),
        effects=on_clouds(Effect.NEW_HOSTS),
        description=(
            "aws, gcp: the image of Debian, found once and pinned by `fab images --pin`. A "
            "newer one never touches a running instance."
        ),
    ),
    Key(
        name="disk_gb",
        type="integer",
        default=20,
        bounds=(8, 16_384),
        effects=on_clouds(Effect.IN_PLACE),
        description="aws, gcp: size of each instance's encrypted disk in GB.",
    ),
    Key(
        name="ssh_from",
        type="array",
        default=(),
        item_rule=values.cidr,
        effects=on_clouds(Effect.IN_PLACE),
        description="aws, gcp: networks that may use SSH, as CIDRs.",
    ),
    Key(
        name="ssh_from_anywhere",
        type="boolean",
        default=False,
        effects=on_clouds(Effect.CHECK),
        description=(
            "aws, gcp: let `ssh_from` hold the whole internet. Keys only, no passwords, "
            "but expect scanners to try."
        ),
    ),
    Key(
        name="ssh_keys",
        type="array",
        default=(),
        rule=rules.login_keys,
        effects=on_clouds(Effect.CONFIG),
        contract="ssh_keys",
        description=(
            "aws, gcp: SSH public keys of all who may log in and deploy, one line each. "
            "`fab deploy` makes every host take exactly these; it keeps the key that it "
            "uses itself. Empty: whoever made the host."
        ),
    ),
    Key(
        name="ssh_key_file",
        type="string",
        default="~/.ssh/id_ed25519.pub",
        rule=rules.text(re.compile(r"[^\0\n]+"), "the path of an SSH public key"),
        effects=on_clouds(Effect.NEW_HOSTS),
        description=(
            "aws, gcp: without `ssh_keys`, the file whose SSH public keys a new host "
            "takes, one a line; relative to the repository, or with ~ in front."
        ),
    ),
    Key(
        name="network_cidr",
        type="string",
        default="",
        may_be_empty=True,
        rule=values.network_cidr,
        effects=on_clouds(Effect.REPLACES),
        description=(
            "aws, gcp: addresses of the network made for this environment; empty means "
            "10.20.0.0/16."
        ),
    ),
    Key(
        name="existing_network",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[A-Za-z0-9_./-]+"), "the network's id or name"),
        effects=(Effect.UNUSED, Effect.REPLACES, Effect.STOPS),
        description="aws, gcp: use this VPC (id) or network (name) in place of a new one.",
    ),
    Key(
        name="existing_subnets",
        type="array",
        default=(),
        effects=(Effect.UNUSED, Effect.REPLACES, Effect.STOPS),
        description=(
            "aws, gcp: public subnets of `existing_network`; two ids on AWS, one name on Google."
        ),
    ),
    Key(
        name="dns_zone",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[A-Za-z0-9-]+"), "the hosted zone's id or name"),
        effects=on_clouds(Effect.IN_PLACE),
        description=(
            "aws, gcp: the Route 53 zone's id or the Cloud DNS zone's name that `domain` is in."
        ),
    ),
)
