"""Each config key is declared once: schema, settings and contract follow from `infra.core.keys`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import Any

import pytest
import yaml

from infra.core.contract import Application, Contract, Cors, Page, Preview, Role
from infra.core.https import Https
from infra.core.keys import CLOUDS, GROUPS, KEYS, Key
from infra.core.settings import Settings
from infra.core.stackfile import as_text
from tests.support.kit import ROOT

SCHEMA = ROOT / "Pulumi.yaml"
TYPES = {"string": str, "integer": int, "boolean": bool, "array": tuple, "object": dict}


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False
    )
    text = text.removesuffix("...\n").strip()
    return json.dumps(value, ensure_ascii=False) if text.startswith("'") else text


def schema() -> str:
    """What stands below `config:` in Pulumi.yaml."""
    lines = []
    for title, keys in GROUPS.items():
        lines.append(f"\n  # {title}")
        for key in keys:
            lines.append(f"  {key.name}:")
            lines += [f"    {word}: {flow(value)}" for word, value in key.schema.items()]
    return "\n".join(lines).lstrip("\n") + "\n"


def test_the_schema_is_made_from_the_keys() -> None:
    """UPDATE_DOCS=1 writes it."""
    text = SCHEMA.read_text()
    before, heading, found = text.partition("\nconfig:\n")
    if os.environ.get("UPDATE_DOCS"):
        SCHEMA.write_text(before + heading + schema())
        return
    assert found == schema()
    assert yaml.safe_load(text)["config"] == {key.name: key.schema for key in KEYS.values()}


def test_settings_have_a_field_for_each_key() -> None:
    """In the same order, without a default: that stands in the key."""
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    assert list(fields) == ["stack", *KEYS, "warnings"]
    for name in KEYS:
        assert fields[name].default is dataclasses.MISSING
        assert fields[name].default_factory is dataclasses.MISSING


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.name)
def test_a_key_is_declared_in_full(key: Key) -> None:
    """Type, default, description, effects, and a place in the contract that exists."""
    assert key.description.endswith(".")
    assert len(key.effects) == len(CLOUDS)
    assert (key.bounds is not None) == (key.type == "integer")
    if not key.is_required:
        assert type(key.default) is TYPES[key.type]
        text = as_text(key.schema["default"])
        assert key.read(text) == key.default
    part, _, name = key.contract.rpartition(".")
    kinds = {
        "": Contract,
        "application": Application,
        "backend": Role,
        "cors": Cors,
        "https": Https,
        "page": Page,
        "preview": Preview,
    }
    if key.contract:
        assert name in {field.name for field in dataclasses.fields(kinds[part])}


def test_every_part_of_the_contract_that_keys_fill_has_its_key() -> None:
    """No field of the application or of CORS comes from anywhere else."""
    places = {key.contract for key in KEYS.values()}
    fields = {f"application.{field.name}" for field in dataclasses.fields(Application)}
    fields |= {f"cors.{field.name}" for field in dataclasses.fields(Cors)}
    fields |= {f"https.{field.name}" for field in dataclasses.fields(Https)}
    fields |= {f"page.{field.name}" for field in dataclasses.fields(Page)}
    fields |= {f"preview.{field.name}" for field in dataclasses.fields(Preview)}
    assert fields <= places


def test_names_of_keys_are_plain() -> None:
    """A former name is no key any more."""
    for key in KEYS.values():
        assert re.fullmatch(r"[a-z][a-z_]+", key.name)
        assert key.former_name not in KEYS
