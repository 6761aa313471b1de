"""Stack files of a test's own in stacks/, gone when the test is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.graph import IMAGES, ROOT


@dataclass(frozen=True)
class StackFile:
    """A copy of another stack's file with an image pinned; `edit` gives keys other values, None
    takes one out."""

    name: str
    path: Path

    def edit(self, **config: object) -> None:
        values = yaml.safe_load(self.path.read_text())["config"]
        values |= {f"origin-kit:{key}": value for key, value in config.items()}
        kept = {key: value for key, value in values.items() if value is not None}
        self.path.write_text(yaml.safe_dump({"config": kept}))


@contextmanager
def like(stack: str, prefix: str = "test-", **config: object) -> Iterator[StackFile]:
    """A copy of this stack's file, with these keys; .gitignore knows both prefixes, of an
    environment and of a preview (`preview-`)."""
    name = f"{prefix}{stack}-{os.getpid()}"
    made = StackFile(name, ROOT / "stacks" / f"Pulumi.{name}.yaml")
    made.path.write_text((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())
    try:
        made.edit(machine_image=IMAGES.get(stack.partition("-")[0]), **config)
        yield made
    finally:
        made.path.unlink()
