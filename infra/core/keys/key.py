"""What one config key is: type, rule, default, effect of a change, place in the contract. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from infra.core import rules
from infra.core.keys import values
from infra.core.rules import Check

CLOUDS = ("local", "aws", "gcp")


class Effect(StrEnum):
    """What has to run after a key has changed, and what that does. The value is the word in
    docs/operating.md."""

    CONFIG = "config-only"
    RELEASE = "release"
    IN_PLACE = "in place"
    STOPS = "stops"
    REPLACES = "**replaces**"
    NEW_HOSTS = "new hosts"
    OUTPUTS = "outputs"
    CHECK = "check"
    UNUSED = ""


Effects = tuple[Effect, Effect, Effect]  # one for each of CLOUDS


def on_every_cloud(effect: Effect) -> Effects:
    """The same effect on each cloud."""
    return effect, effect, effect


def on_clouds(effect: Effect) -> Effects:
    """The effect on AWS and Google; the local cloud does not use the key."""
    return Effect.UNUSED, effect, effect


class _Required:
    """The default of a key that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()


@dataclass(frozen=True)
class Key:
    """One key of a stack's config.

    `type` is the schema's word. `rule` checks the value, `item_rule` each item of a list; both
    return the value and raise ValueError with what was expected. `bounds` are of an integer.
    `may_be_empty`: an empty text means "not set", and no rule applies. `contract` is where the
    value goes in the contract, e.g. `application.workers`. `former_name` is still read, with a
    warning.
    """

    name: str
    type: str
    description: str
    effects: Effects
    default: Any = REQUIRED
    rule: Check | None = None
    item_rule: Check | None = None
    bounds: tuple[int, int] | None = None
    may_be_empty: bool = False
    contract: str = ""
    former_name: str = ""

    @property
    def is_required(self) -> bool:
        """Whether every stack has to set it."""
        return self.default is REQUIRED

    def effect(self, cloud: str) -> Effect:
        """What a change does to a stack of this cloud."""
        return self.effects[CLOUDS.index(cloud)]

    @property
    def schema(self) -> dict[str, Any]:
        """The key's entry in the schema of Pulumi.yaml."""
        entry: dict[str, Any] = {"type": self.type}
        if self.type == "array":
            entry["items"] = {"type": "string"}
        entry["description"] = self.description
        if not self.is_required:
            entry["default"] = list(self.default) if self.type == "array" else self.default
        return entry

    def read(self, text: Any) -> Any:
        """The value from its text, as Pulumi hands it to a program. Raises ValueError."""
        if self.type == "boolean":
            return values.boolean(text)
        if self.type == "integer":
            assert self.bounds is not None  # tests/test_keys.py checks every row
            return values.integer(text, *self.bounds)
        if self.type == "array":
            return self.normal(values.strings(text))
        return self.normal(text)

    def normal(self, value: Any) -> Any:
        """A value of the right type in the one spelling that files and contract have. Raises
        ValueError."""
        if self.may_be_empty and value == "":
            return ""
        if self.item_rule:
            value = tuple(self.item_rule(item) for item in value)
        return self.rule(value) if self.rule else value

    def check(self, value: Any) -> None:
        """Raise ValueError for a value of the right type that the key does not allow."""
        if self.bounds is not None:
            rules.within(value, *self.bounds)
        elif self.rule is not None and not (self.may_be_empty and value == ""):
            self.rule(value)
