"""The smallest cloud: a thing is a file in a folder. For tests of the embedded engine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

Props = dict[str, Any]


class World:
    """The folder of things, and a journal of what was done to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def things(self) -> dict[str, Any]:
        return {
            path.stem: json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))
        }

    def journal(self) -> list[str]:
        """Read it and begin a new one."""
        path = self.folder / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def note(self, text: str) -> None:
        with (self.folder / "journal").open("a") as handle:
            handle.write(text + "\n")


def world() -> World:
    return World(Path(os.environ["THINGS"]))


class ThingProvider(ResourceProvider):
    serialize_as_secret_always = False

    def planned_id(self, props: Props) -> str:
        return str(props["label"])

    def create(self, props: Props) -> CreateResult:
        label = props["label"]
        world().note(f"create {label}")
        if props["size"] < 0:
            raise ValueError(f"{label}: a size below zero; ask for more")
        path = world().folder / f"{label}.json"
        assert not path.exists(), f"{label} is made twice"
        path.write_text(json.dumps(props["size"]))
        return CreateResult(label, {**props, "there": True})

    def read(self, id_: str, props: Props) -> ReadResult:
        path = world().folder / f"{id_}.json"
        return (
            ReadResult(id_, {**props, "size": json.loads(path.read_text())})
            if path.exists()
            else ReadResult("", {})
        )

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        replaces = [key for key in ("label", "kind") if olds[key] != news[key]]
        return DiffResult(
            bool(replaces) or olds["size"] != news["size"], replaces, delete_before_replace=True
        )

    def update(self, id_: str, _olds: Props, news: Props) -> UpdateResult:
        world().note(f"update {id_}")
        (world().folder / f"{id_}.json").write_text(json.dumps(news["size"]))
        return UpdateResult({**news, "there": True})

    def delete(self, id_: str, _props: Props) -> None:
        world().note(f"delete {id_}")
        (world().folder / f"{id_}.json").unlink(missing_ok=True)


class Thing(Resource, module="tests", name="Thing"):
    there: pulumi.Output[bool]
    label: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        label: Any = None,
        size: int = 1,
        kind: str = "a",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {"label": label or name, "size": size, "kind": kind, "there": None}
        super().__init__(ThingProvider(), name, props, opts)
