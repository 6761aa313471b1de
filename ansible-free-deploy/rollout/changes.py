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

# Google's provider deletes a record of the same name that is there already, in the same request.
# (Route 53 refuses the second one.)
TAKES_NAMES = {"gcp:dns/recordSet:RecordSet"}

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

Step = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """One resource that would change; `verb` is create, update, replace or delete, `keys` its
    inputs that say so.

    Of a DNS record that would take its name from another one: `record`, the name, `addresses`, what
    it would point to, and `answers`, what the name answers now (see `records`).
    """

    urn: str
    verb: str
    keys: tuple[str, ...] = ()
    record: str = ""
    addresses: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

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
    def overwrites(self) -> bool:
        """Whether a DNS record that is there goes for this one."""
        return bool(self.record and self.answers)

    @property
    def asks(self) -> bool:
        """Whether it needs a word before."""
        return self.loses or self.stops or self.overwrites

    @property
    def word(self) -> str:
        """What is typed, or given with the option, to allow it."""
        return self.record if self.overwrites else self.name

    @property
    def option(self) -> str:
        """Its part of the option that allows it: replace, delete or stop."""
        if self.overwrites:
            return "replace"
        return "stop" if self.stops else self.verb

    @property
    def consequence(self) -> str:
        """What a person has to know before they agree."""
        if self.loses:
            return "what it holds is lost"
        if self.stops:
            return "it is stopped for a minute or two, and answers nothing; its data stays"
        if self.overwrites:
            now = ", ".join(self.answers)
            return f"{self.record} answers {now} now, and that record would be overwritten"
        return ""

    def __str__(self) -> str:
        why = f": {', '.join(self.keys)} changed" if self.keys else ""
        return f"{self.name:<12} would {self.verb} the {self.kind}{why}"


def changes(steps: Iterable[Step]) -> list[Change]:
    """One change a resource, by name; what stays the same is left out. (The CLI's own order differs
    from run to run: it works on several resources at once.)"""
    steps_of = _by_resource(steps)
    found = [_change(urn, own) for urn, own in steps_of.items()]
    found.sort(key=lambda change: (change.name, change.urn))
    replaced = {change.urn for change in found if change.verb == "replace"}
    complete = []
    for change in found:
        own_steps = steps_of[change.urn]
        complete.append(_with_its_ground(change, own_steps, replaced))
    return complete


def _by_resource(steps: Iterable[Step]) -> dict[str, list[Step]]:
    """The steps that change a resource, by its URN."""
    steps_of: dict[str, list[Step]] = {}
    for step in steps:
        one = Change(str(step["urn"]), str(step["op"]))
        if one.verb in _NOTHING or one.type.startswith("pulumi:"):  # the stack, and providers
            continue
        steps_of.setdefault(one.urn, []).append(step)
    return steps_of


def _change(urn: str, steps: Sequence[Step]) -> Change:
    """The change that the steps of one resource make."""
    verbs: set[str] = set()
    keys: dict[str, None] = {}
    for step in steps:
        verbs.add(str(step["op"]))
        keys.update(dict.fromkeys(_named(step) or _differing(step)))
    change = Change(urn, _verb(verbs), tuple(keys))
    if change.type not in TAKES_NAMES:
        return change
    for step in steps:
        if step["op"] in _CREATES:
            change = _with_its_record(change, _inputs(step, "newState"))
    return change


def _inputs(step: Step, state: str) -> Mapping[str, Any]:
    """The inputs in a step's `oldState` or `newState`; empty where there is none."""
    return (step.get(state) or {}).get("inputs") or {}


def _with_its_record(change: Change, inputs: Mapping[str, Any]) -> Change:
    """A DNS record that would be made; addresses that are not known yet are left out."""
    points_to = inputs.get("rrdatas")
    known = [str(one) for one in points_to] if isinstance(points_to, list) else []
    name = str(inputs.get("name", "")).rstrip(".")
    return replace(change, record=name, addresses=tuple(known))


def _with_its_ground(
    change: Change,
    steps: Sequence[Step],
    replaced: Collection[str],
) -> Change:
    """What is replaced only because something that it rests on is: that is its keys then.

    The engine deletes such a resource before the one that it rests on, and no provider has named a
    reason. A dynamic provider doesn't even know, in a preview, that a value which nobody knows yet
    will be another one, and calls it an update. (Providers of a cloud know it.)
    """
    taken_along = change.verb == "replace" and not any(map(_named, steps))
    not_known = change.verb == "update" and change.type.startswith("pulumi-python:dynamic/")
    if not (taken_along or not_known):
        return change
    grounds: set[str] = set()
    for step in steps:
        grounds.update((step.get("newState") or {}).get("dependencies") or ())
    names = sorted(Change(urn, "replace").name for urn in grounds.intersection(replaced))
    if not names:
        return change
    return replace(change, verb="replace", keys=tuple(names))


def _named(step: Step) -> list[str]:
    """The inputs that say so, by the provider; its own notes, as `__meta`, are none."""
    for reasons in ("replaceReasons", "diffReasons"):
        keys = [str(key) for key in step.get(reasons) or ()]
        if inputs := [key for key in keys if not key.startswith("__")]:
            return inputs
    return []


def _differing(step: Step) -> list[str]:
    """The inputs that are not what they were."""
    before = _inputs(step, "oldState")
    after = _inputs(step, "newState")
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
    """The names that may be replaced, deleted and stopped; of a `disposable` stack all may, but no
    DNS record of somebody else."""

    replace: Collection[str] = ()
    delete: Collection[str] = ()
    stop: Collection[str] = ()
    disposable: bool = False


def refused(found: Sequence[Change], allowed: Allowed) -> list[Change]:
    """What loses data, stops a host or overwrites a DNS record, and was not allowed by name."""
    not_allowed = []
    for change in found:
        if not change.asks or (allowed.disposable and not change.overwrites):
            continue
        if change.word not in getattr(allowed, change.option):
            not_allowed.append(change)
    return not_allowed


def flags(found: Iterable[Change]) -> str:
    """The options that allow these."""
    return " ".join(dict.fromkeys(f"--allow-{change.option} {change.word}" for change in found))
