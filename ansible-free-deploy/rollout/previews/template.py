"""From the tracked template of previews to the config of one preview, a file that git ignores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.core import exits
from infra.core.errors import KitError
from infra.core.home import write_whole
from infra.core.previews import TEMPLATE
from infra.core.stackfile import stack_path, with_key
from rollout.cloudstack import goes_with_its_secrets
from rollout.stacks import PROJECT, ROOT

_HEAD = (
    "# Written by `fab preview.up` from stacks/Pulumi.preview.yaml: edit that one. Git ignores"
    " this file.\n"
)


class TemplateError(KitError):
    """The template is not there, or no preview can be made from it; the text says the cure."""

    exit_status = exits.USAGE


def text() -> str:
    """The template. Raises TemplateError where there is none."""
    path = stack_path(ROOT, TEMPLATE)
    try:
        return path.read_text()
    except FileNotFoundError:
        raise TemplateError(
            f"there is no {path.relative_to(ROOT)}, the template of previews",
            cure="restore it: `git restore stacks/`; docs/previews.md says what it holds",
        ) from None


def config_of(template: str, values: Mapping[str, Any]) -> str:
    """The config of one preview: every line of the template, its keys of these names replaced, the
    others added. A value of None takes the key out.

    What Pulumi reads secrets with (`encryptionsalt` and its like) comes along. Raises TemplateError
    for secrets that another stack could not read.
    """
    if goes_with_its_secrets(template):
        raise TemplateError(
            "its secrets can be read by one stack only, so no preview could",
            where=f"stacks/Pulumi.{TEMPLATE}.yaml",
            cure=(
                "encrypt them with a passphrase or a key service: `pulumi stack"
                " change-secrets-provider`, docs/previews.md"
            ),
        )
    written = template
    for key, value in values.items():
        line = None if value is None else json.dumps(value, ensure_ascii=False)
        written = with_key(written, f"{PROJECT}:{key}", line)
    return _HEAD + written


def write(stack: str, config: str) -> Path:
    """Put the config of a preview where Pulumi looks for it: the whole text, or the one before."""
    path = stack_path(ROOT, stack)
    write_whole(path, config)
    return path


def has(stack: str) -> bool:
    """Whether this checkout has the config of a preview."""
    return stack_path(ROOT, stack).exists()


def forget(stack: str) -> None:
    """The preview is gone, and so is its config."""
    stack_path(ROOT, stack).unlink(missing_ok=True)


def secrets_provider(config: str) -> str:
    """The key service that the config's secrets are encrypted with; empty for a passphrase."""
    found = yaml.safe_load(config) or {}
    return str(found.get("secretsprovider") or "")
