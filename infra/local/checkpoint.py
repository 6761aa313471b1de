"""The state of one stack: a Pulumi checkpoint in a file backend, as the CLI reads and writes it.

Layout below the backend's folder (Pulumi's own): `.pulumi/meta.yaml`,
`.pulumi/stacks/<project>/<stack>.json`, `.pulumi/locks/organization/<project>/<stack>/<id>.json`.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from infra.core import exits
from infra.core.errors import KitError
from infra.core.processes import start_time

Json = dict[str, Any]

VERSION = 3
_SECRET = "4dabf18193072939515e22adb298388d"  # the key that marks a special value in Pulumi's JSON


class StateError(KitError):
    """The state can't be used as it is; the text says why and the next step."""

    exit_status = exits.UNREACHABLE


def now() -> str:
    """RFC 3339, UTC."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Checkpoint:
    """`resources` in the order that they depend on each other, `pending` operations, and whatever
    else was there."""

    def __init__(self, backend: Path, project: str, stack: str) -> None:
        self.path = backend / ".pulumi" / "stacks" / project / f"{stack}.json"
        self._backend, self._name = backend, f"organization/{project}/{stack}"
        self._rest: Json = {}
        self._backed_up = False
        self.resources: list[Json] = []
        self.pending: list[Json] = []

    def load(self) -> Checkpoint:
        """Read what is there; nothing is an empty stack. Raises StateError for what this engine
        can't read."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            if self.path.with_suffix(".json.gz").exists():
                raise StateError(
                    f"{self.path}.gz: compressed state", cure="only the pulumi CLI reads it"
                ) from None
            return self
        try:
            whole = json.loads(text)
            version, latest = whole["version"], dict(whole["checkpoint"].get("latest") or {})
        except (ValueError, KeyError, TypeError) as problem:
            raise StateError(
                f"no Pulumi state ({problem})",
                where=str(self.path),
                cure="restore it from the .bak file next to it",
            ) from problem
        if version != VERSION:
            raise StateError(
                f"state of version {version}, this engine reads {VERSION}",
                where=str(self.path),
                cure="use --engine pulumi",
            )
        if _SECRET in text:
            raise StateError(
                "the state holds secrets",
                where=str(self.path),
                cure="only the CLI reads them: use --engine pulumi",
            )
        self.resources = list(latest.pop("resources", None) or ())
        self.pending = list(latest.pop("pending_operations", None) or ())
        self._rest = latest
        return self

    def write(self) -> None:
        """Put the state on disk: durable when this returns, and the old or the new one whoever
        reads meanwhile."""
        latest = {
            **self._rest,
            "manifest": {
                "time": now(),
                "magic": "",
                "version": "",
            },
            "resources": self.resources,
        }
        if self.pending:
            latest["pending_operations"] = self.pending
        self.path.parent.mkdir(parents=True, exist_ok=True)
        meta = self._backend / ".pulumi" / "meta.yaml"
        if not meta.exists():
            _write(meta, "version: 1\n")
        if self.path.exists() and not self._backed_up:
            _write(self.path.with_name(self.path.name + ".bak"), self.path.read_text())
        self._backed_up = True
        _write(
            self.path,
            json.dumps({"version": VERSION, "checkpoint": {"stack": self._name, "latest": latest}}),
        )

    @property
    def salt(self) -> str | None:
        """What the CLI derives its key from, once it has run here: `encryptionsalt` of a stack's
        config."""
        state = (self._rest.get("secrets_providers") or {}).get("state") or {}
        return state.get("salt") if isinstance(state, dict) else None

    @property
    def outputs(self) -> Json:
        """What the program has exported."""
        stacks = [one for one in self.resources if one["type"] == "pulumi:pulumi:Stack"]
        return dict(stacks[0].get("outputs") or {}) if stacks else {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other run out, the CLI's included. Raises StateError that says who is in
        there."""
        folder = self._backend / ".pulumi" / "locks" / self._name
        folder.mkdir(parents=True, exist_ok=True)
        own = folder / f"{uuid4()}.json"
        # Between looking and taking nobody else looks.
        with (self._backend / "gate.lock").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            self.refuse_if_locked()
            content = {
                "pid": os.getpid(),
                "username": getpass.getuser(),
                "hostname": platform.node(),
            }
            _write(own, json.dumps({**content, "timestamp": now()}))
        try:
            yield
        finally:
            own.unlink(missing_ok=True)

    def refuse_if_locked(self) -> None:
        """Raises StateError while a living process holds the stack; locks of dead ones on this host
        are removed."""
        for path in (self._backend / ".pulumi" / "locks" / self._name).glob("*.json"):
            try:
                held = json.loads(path.read_text())
                pid, who, where = int(held["pid"]), held["username"], held["hostname"]
            except (OSError, ValueError, KeyError, TypeError):
                pid, who, where = 0, "somebody", "an unknown host"
            if where == platform.node() and not start_time(pid):
                path.unlink(missing_ok=True)
                continue
            raise StateError(
                f"stack {self._name.rsplit('/', 1)[1]} is locked by {who}@{where} (pid {pid}): wait"
                f" for it to end; if it is long gone, remove {path}"
            )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
