"""What an `up` would do to the infrastructure, and what of that loses data or stops a host. Pure.

It reads the steps that `pulumi preview --json` (or the embedded engine's) lists.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# What may not go without a word: data, and addresses, which somebody else has tomorrow.
KEPT = {
    "pulumi-python:dynamic/local:Machine": "machine",
    "aws:ec2/instance:Instance": "instance",
    "gcp:compute/instance:Instance": "instance",
    "aws:ebs/volume:Volume": "disk",
    "gcp:compute/disk:Disk": "disk",
    "aws:rds/instance:Instance": "database",
    "aws:rds/cluster:Cluster": "database",
    "gcp:sql/databaseInstance:DatabaseInstance": "database",
    "aws:s3/bucket:Bucket": "bucket",
    "aws:s3/bucketV2:BucketV2": "bucket",
    "gcp:storage/bucket:Bucket": "bucket",
    "aws:ec2/eip:Eip": "public address",
    "gcp:compute/address:Address": "public address",
}

# Inputs that a cloud changes on a stopped instance only: its provider stops it, changes it, and
# starts it again.
STOPS = {
    "aws:ec2/instance:Instance": {"instanceType", "userData", "userDataBase64"},
    "gcp:compute/instance:Instance": {
        "machineType",
        "minCpuPlatform",
        "serviceAccount",
        "enableDisplay",
        "shieldedInstanceConfig",
        "advancedMachineFeatures",
        "confidentialInstanceConfig",
        "scheduling",
        "networkInterfaces",
        "networkPerformanceConfig",
    },
}

# Pulumi's own names of its steps. `same`, `read` and `refresh` change nothing; a replacement is
# listed in two or three.
_REPLACES = {"replace", "create-replacement", "delete-replaced", "import-replacement"}
_DELETES = {"delete", "delete-replaced"}
_CREATES = {"create", "create-replacement", "import-replacement", "replace"}
_NOTHING = {
    "same",
    "read",
    "refresh",
    "import",
    "discard",
    "read-discard",
    "remove-pending-replace",
}


@dataclass(frozen=True)
class Change:
    """One resource that would change; `verb` is create, update, replace or delete, `keys` its
    inputs that say so."""

    urn: str
    verb: str
    keys: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the program, e.g. backend-1."""
        return self.urn.rsplit("::", 1)[1]

    @property
    def type(self) -> str:
        """Its type, without those of its parents."""
        return self.urn.split("::")[2].rsplit("$", 1)[-1]

    @property
    def kind(self) -> str:
        """What it is to a person."""
        return KEPT.get(self.type) or self.type.rsplit(":", 1)[-1]

    @property
    def loses(self) -> bool:
        """Whether data, or a public address, goes with it."""
        return self.type in KEPT and self.verb in ("replace", "delete")

    @property
    def stops(self) -> bool:
        """Whether the instance is stopped for a while."""
        tops = {re.split(r"[.\[]", key)[0] for key in self.keys}
        return self.verb == "update" and not tops.isdisjoint(STOPS.get(self.type, ()))

    @property
    def asks(self) -> bool:
        """Whether it needs a word before."""
        return self.loses or self.stops

    @property
    def option(self) -> str:
        """Its part of the option that allows it: replace, delete or stop."""
        return "stop" if self.stops else self.verb

    @property
    def consequence(self) -> str:
        """What a person has to know before they agree."""
        if self.loses:
            return "what it holds is lost"
        if self.stops:
            return "it is stopped for a minute or two, and answers nothing; its data stays"
        return ""

    def __str__(self) -> str:
        why = f": {', '.join(self.keys)} changed" if self.keys else ""
        return f"{self.name:<12} would {self.verb} the {self.kind}{why}"


def changes(steps: Iterable[Mapping[str, Any]]) -> list[Change]:
    """One change a resource, by name; what stays the same is left out. (The CLI's own order differs
    from run to run: it works on several resources at once.)"""
    verbs: dict[str, set[str]] = {}
    keys: dict[str, dict[str, None]] = {}
    rests_on: dict[str, set[str]] = {}
    for step in steps:
        urn, verb = str(step["urn"]), str(step["op"])
        if verb in _NOTHING or Change(urn, verb).type.startswith(
            "pulumi:"
        ):  # the stack, and providers
            continue
        verbs.setdefault(urn, set()).add(verb)
        keys.setdefault(urn, {}).update(dict.fromkeys(_reasons(step)))
        rests_on.setdefault(urn, set()).update(
            (step.get("newState") or {}).get("dependencies") or ()
        )
    found = {urn: Change(urn, _verb(taken), tuple(keys[urn])) for urn, taken in verbs.items()}
    replaced = {urn for urn, change in found.items() if change.verb == "replace"}
    listed = sorted(found.values(), key=lambda change: (change.name, change.urn))
    return [_with_its_ground(change, rests_on[change.urn] & replaced) for change in listed]


def _with_its_ground(change: Change, replaced: Collection[str]) -> Change:
    """A dynamic provider doesn't know, in a preview, that a value which nobody knows yet will be
    another one: what rests on something that is replaced is taken to be replaced with it.
    (Providers of a cloud know it.)
    """
    if (
        change.verb != "update"
        or not replaced
        or not change.type.startswith("pulumi-python:dynamic/")
    ):
        return change
    return replace(
        change, verb="replace", keys=tuple(sorted(Change(urn, "replace").name for urn in replaced))
    )


def _reasons(step: Mapping[str, Any]) -> list[str]:
    """The inputs that say so: named by the provider, else those that differ."""
    if named := step.get("replaceReasons") or step.get("diffReasons"):
        return [str(key) for key in named]
    before = (step.get("oldState") or {}).get("inputs") or {}
    after = (step.get("newState") or {}).get("inputs") or {}
    if not before or not after:
        return []
    reasons = []
    for key, value in after.items():
        if not key.startswith("__") and before.get(key) != value:
            reasons.append(key)
    return sorted(reasons)


def _verb(steps: Collection[str]) -> str:
    """What the steps of one resource come to. A verb that this kit doesn't know counts as the
    worst."""
    steps = set(steps)
    if steps & _REPLACES or (steps & _DELETES and steps & _CREATES):
        return "replace"
    if steps <= {"create"}:
        return "create"
    if steps <= {"update", "create"}:
        return "update"
    return "delete"


@dataclass(frozen=True)
class Allowed:
    """The names that may be replaced, deleted and stopped."""

    replace: Collection[str] = ()
    delete: Collection[str] = ()
    stop: Collection[str] = ()


def refused(found: Sequence[Change], allowed: Allowed) -> list[Change]:
    """What loses data or stops a host, and was not allowed by name."""
    not_allowed = []
    for change in found:
        names = getattr(allowed, change.option) if change.asks else ()
        if change.asks and change.name not in names:
            not_allowed.append(change)
    return not_allowed


def flags(found: Iterable[Change]) -> str:
    """The options that allow these."""
    return " ".join(dict.fromkeys(f"--allow-{change.option} {change.name}" for change in found))
