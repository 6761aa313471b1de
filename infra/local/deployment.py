"""Steps over a checkpoint: create, update, replace and delete what the program declares."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dill  # type: ignore[import-untyped]
from pulumi.dynamic import ResourceProvider
from pulumi.output import Unknown

from infra.core.errors import KitError
from infra.local.checkpoint import Checkpoint, Json, now

INSTALL = "install the pulumi CLI (https://www.pulumi.com/docs/install/)"
PROVIDER = "__provider"


class EngineError(KitError):
    """The program asks for something that this engine does not do, or a step failed; the text is
    for a person."""


class Deployment:
    """Steps over a checkpoint. Each is noted before it begins and written when it has ended, so
    that a run that is killed between any two of them is finished or undone by the next."""

    def __init__(
        self, checkpoint: Checkpoint, preview: bool, say: Callable[[str, str], None]
    ) -> None:
        self.checkpoint, self.preview, self._say = checkpoint, preview, say
        self.steps: list[Json] = []  # as `pulumi preview --json` lists them
        self._before = list(checkpoint.resources)
        self._done: list[Json] = []
        self._lock = threading.RLock()

    @property
    def changes(self) -> int:
        """How many steps were taken, or would be."""
        return len(self.steps)

    # ---------------------------------------------------------------- state

    def old(self, urn: str) -> Json | None:
        """The resource as the last run left it, unless this run has already replaced or removed
        it."""
        for state in self._before:
            if state["urn"] == urn:
                return state
        return None

    def settle(self, state: Json) -> None:
        """Record a resource as it is now. What this run has done stands first: it never depends on
        what is still to come."""
        with self._lock:
            self._drop(state)
            urns = [one["urn"] for one in self._done]
            if state["urn"] in urns:
                # Where it stood: its children stand after it.
                self._done[urns.index(state["urn"])] = state
            else:
                self._done.append(state)
            self._write()

    def _forget(self, state: Json) -> None:
        with self._lock:
            self._drop(state)
            self._write()

    def _drop(self, state: Json) -> None:
        self._before = [one for one in self._before if one["urn"] != state["urn"]]

    def _write(self) -> None:
        self.checkpoint.resources = [*self._done, *self._before]
        if not self.preview:
            self.checkpoint.write()

    @contextmanager
    def _pending(self, kind: str, state: Json) -> Iterator[None]:
        """Record the operation on disk for as long as it runs. A step that fails cleans up after
        itself."""
        note = {"resource": state, "type": kind}
        with self._lock:
            self.checkpoint.pending.append(note)
            self._write()
        try:
            yield
        finally:
            with self._lock:
                others = [one for one in self.checkpoint.pending if one is not note]
                self.checkpoint.pending = others
                self._write()

    # ---------------------------------------------------------------- steps

    def place(self, state: Json) -> Json:
        """Make what exists equal to `state` (urn, type, inputs …): create, update, replace, or
        leave it alone."""
        provider, old = provider_of(state["inputs"]), self.old(state["urn"])
        state["inputs"] = checked(provider, old, state)
        if old is None:
            return self._create(provider, state)
        difference = provider.diff(old["id"], old["outputs"], state["inputs"])
        replaces = list(difference.replaces or ())
        if replaces:
            if not difference.delete_before_replace:
                raise EngineError(
                    "replaced while the old one stays: the embedded engine doesn't",
                    where=_name(state),
                    cure=INSTALL,
                )
            return self._replace(provider, old, state, replaces)
        # As in Pulumi, an answer without an opinion means: compare.
        changes = difference.changes
        if changes is None:
            changes = old["inputs"] != state["inputs"]
        if changes:
            return self._update(provider, old, state)
        return self._keep(old, state)

    def _keep(self, old: Json, state: Json) -> Json:
        outputs = {**old["outputs"], PROVIDER: state["inputs"][PROVIDER]}
        kept = {
            **old,
            **state,
            "id": old["id"],
            "outputs": outputs,
        }
        self.settle(kept)
        return kept

    def _create(self, provider: ResourceProvider, state: Json) -> Json:
        self._step(state, "create")
        if self.preview:
            planned = {**state, "outputs": state["inputs"]}
            self.settle(planned)
            return {**planned, "id": ""}
        with self._pending("creating", state):
            result = provider.create(_plain(state["inputs"]))
            outputs = {**(result.outs or {}), PROVIDER: state["inputs"][PROVIDER]}
            created = {
                **state,
                "id": result.id,
                "outputs": outputs,
            }
            created |= {"created": now(), "modified": now()}
            self.settle(created)
        return created

    def _update(self, provider: ResourceProvider, old: Json, state: Json) -> Json:
        self._step(state, "update", _changed(old, state))
        if self.preview:
            planned = {
                **state,
                "id": old["id"],
                "outputs": {**old["outputs"], **state["inputs"]},
            }
            self.settle(planned)
            return planned
        with self._pending("updating", old):
            result = provider.update(old["id"], old["outputs"], _plain(state["inputs"]))
            outputs = {**(result.outs or {}), PROVIDER: state["inputs"][PROVIDER]}
            updated = {
                **old,
                **state,
                "id": old["id"],
                "outputs": outputs,
                "modified": now(),
            }
            self.settle(updated)
        return updated

    def _replace(
        self,
        provider: ResourceProvider,
        old: Json,
        state: Json,
        why: Sequence[str],
    ) -> Json:
        """Delete first what depends on it, then itself, then create; the dependents are created
        again when the program asks."""
        self._step(state, "replace", why)
        for dependent in reversed(list(self._dependents_of(old["urn"]))):
            self.remove(dependent)
        self.remove(old)
        return self._create(provider, state)

    def _dependents_of(self, urn: str) -> Iterator[Json]:
        urns = {urn}
        for one in list(self._before):
            needs = [one.get("parent"), *one.get("dependencies", ())]
            if not urns.isdisjoint(needs):
                urns.add(one["urn"])
                yield one

    def remove(self, state: Json) -> None:
        """Delete a resource and forget it; one that is gone already is fine."""
        if state["custom"] and not is_provider(state):
            self._step(state, "delete")
            if not self.preview:
                with self._pending("deleting", state):
                    provider_of(state["outputs"]).delete(state["id"], state["outputs"])
                    self._forget(state)
                return
        self._forget(state)

    def remove_undeclared(self) -> None:
        """Delete what the program did not mention, dependents first."""
        for state in reversed(list(self._before)):
            self.remove(state)

    def refresh(self) -> None:
        """Look at what is really there: what is gone is removed from the state, what has changed is
        recorded."""
        for state in list(self._before):
            if not state["custom"] or is_provider(state):
                continue
            actual = provider_of(state["outputs"]).read(state["id"], state["outputs"])
            if not actual.id:
                self._say(_name(state), "is gone")
                self._forget(state)
                continue
            outputs = {**(actual.outs or {}), PROVIDER: state["outputs"][PROVIDER]}
            if outputs != state["outputs"]:
                self._say(_name(state), "has changed: " + _difference(state["outputs"], outputs))
                state["outputs"] = outputs
                self._write()

    def recover(self) -> None:
        """Undo what a killed run had begun to create. Every other step is repeated by the next
        comparison."""
        for note in list(self.checkpoint.pending):
            state = note["resource"]
            if note["type"] == "creating":
                provider = provider_of(state["inputs"])
                planned = getattr(provider, "planned_id", None)
                if planned is None:
                    raise EngineError(
                        "a killed run may have made it",
                        where=_name(state),
                        cure=f"look, then {INSTALL} and run refresh",
                    )
                self._say(_name(state), "clears what a killed run has left")
                provider.delete(planned(state["inputs"]), state["inputs"])
            self.checkpoint.pending.remove(note)
            self._write()

    def _step(self, state: Json, verb: str, keys: Sequence[str] = ()) -> None:
        step = {"op": verb, "urn": state["urn"]}
        text = f"would {verb} it" if self.preview else f"{verb}s it"
        if keys:
            step["replaceReasons" if verb == "replace" else "diffReasons"] = list(keys)
            text += f": {', '.join(keys)} changed"
        self.steps.append(step)
        self._say(_name(state), text)


def is_provider(state: Json) -> bool:
    """Whether it is a provider itself, which nobody creates or deletes."""
    return str(state["type"]).startswith("pulumi:providers:")


def provider_of(props: Json) -> ResourceProvider:
    """The provider that a dynamic resource carries with it, by the name of its class."""
    return _load_provider(props[PROVIDER])


def _load_provider(text: str) -> ResourceProvider:
    loaded: ResourceProvider = dill.loads(base64.b64decode(text))
    return loaded


def checked(provider: ResourceProvider, old: Json | None, state: Json) -> Json:
    """The inputs as the provider wants them. Raises EngineError with all its objections."""
    result = provider.check(old["inputs"] if old else {}, state["inputs"])
    if result.failures:
        reasons = [f"{failure.property}: {failure.reason}" for failure in result.failures]
        raise EngineError("; ".join(reasons), where=_name(state))
    return {**result.inputs, PROVIDER: state["inputs"][PROVIDER]}


def _plain(inputs: Json) -> Json:
    return {key: value for key, value in inputs.items() if key != PROVIDER}


def _changed(old: Json, state: Json) -> list[str]:
    """The inputs that have changed; what a provider finds changed by itself (a machine that
    stopped) is none."""
    before, after = _plain(old["inputs"]), _plain(state["inputs"])
    changed = []
    for key, value in after.items():
        if not isinstance(value, Unknown) and before.get(key) != value:
            changed.append(key)
    return sorted(changed)


def _name(state: Json) -> str:
    return str(state["urn"]).rsplit("::", 1)[1]


def _difference(before: Json, after: Json) -> str:
    parts = []
    for key in sorted(before.keys() | after.keys()):
        earlier, later = before.get(key), after.get(key)
        if earlier != later:
            parts.append(f"{key}: {_json(earlier)} → {_json(later)}")
    return ", ".join(parts)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
