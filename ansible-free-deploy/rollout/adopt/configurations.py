"""Which class of django-configurations a host runs, and the settings that it makes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rollout.adopt.classes import CONFIGURATION, VARIABLE, Group
from rollout.adopt.values import Computed, Names, Setting


def names_of(names: Names) -> list[str]:
    """The classes of django-configurations among a module's names."""
    class_names = []
    for name, setting in names.items():
        if isinstance(setting.value, Group) and setting.value.kind == CONFIGURATION:
            class_names.append(name)
    return class_names


def chosen(
    there: Sequence[str],
    by_scripts: Iterable[str],
    is_production: re.Pattern[str],
) -> tuple[str, str]:
    """The class to deploy with, and why; "" where none can be made out."""
    for name in there:
        if is_production.fullmatch(_snake_case(name)):
            return name, "it looks like the one for production"
    for name in by_scripts:
        if name in there:
            return name, f"{VARIABLE} names it"
    if len(there) == 1:
        return there[0], "the only one"
    return "", ""


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def configured(names: Names, name: str) -> Names:
    """A module's names, and over them the settings of one of its classes.

    Where no class is named, it takes what all of them have in common; only a run shows the rest.
    """
    chosen_names = [name] if name else names_of(names)
    groups = [names[one].value for one in chosen_names]
    settings: Names = {}
    for group in groups:
        for key, setting in _settings(group.attributes):
            settings[key] = setting
            if not all(_has(other, key, setting.value) for other in groups):
                settings[key] = Setting(Computed(), setting.where)
    return {**names, **settings}


def _has(group: Group, key: str, value: Any) -> bool:
    return key in group.attributes and group.attributes[key].value == value


def _settings(attributes: Names) -> Iterator[tuple[str, Setting]]:
    for name, setting in attributes.items():
        if name == name.upper() and not name.startswith("_"):
            yield name, setting
