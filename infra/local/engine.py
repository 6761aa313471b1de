"""Run the Pulumi program where the `pulumi` CLI is not installed; for the local cloud only.

The SDK runs the program as ever and talks to `Monitor` instead of a gRPC server. The state is a
Pulumi checkpoint, so that the CLI can take over at any time. What is not served is refused by name.

    python -m infra.local.engine preview|up|refresh|destroy|outputs --stack NAME
    python -m infra.local.engine preview --json --stack NAME
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import dill  # type: ignore[import-untyped]
import pulumi
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.dynamic import ResourceProvider
from pulumi.output import Unknown
from pulumi.runtime import rpc
from pulumi.runtime.config import set_all_config
from pulumi.runtime.proto import engine_pb2, resource_pb2
from pulumi.runtime.settings import Settings, configure
from pulumi.runtime.stack import run_in_stack

from infra.core import backend, owner
from infra.core.errors import KitError, status_of
from infra.core.home import claim, state_dir
from infra.core.stackfile import project, read_config
from infra.core.terminal import harmless
from infra.local.checkpoint import Checkpoint, Json, StateError, now

ROOT = Path(__file__).resolve().parents[2]
INSTALL = "install the pulumi CLI (https://www.pulumi.com/docs/install/)"
STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_TYPE = "pulumi:providers:pulumi-python"
DYNAMIC = "pulumi-python:dynamic"
PROVIDER = "__provider"
UNKNOWN = rpc.UNKNOWN
# What a resource may ask for that only the CLI does; the names are those of pulumi.ResourceOptions.
REFUSED = {
    "aliases": "aliases",
    "aliasURNs": "aliases",
    "importId": "import_",
    "provider": "provider",
    "providers": "providers",
    "ignoreChanges": "ignore_changes",
    "replaceOnChanges": "replace_on_changes",
    "additionalSecretOutputs": "additional_secret_outputs",
    "retainOnDelete": "retain_on_delete",
    "protect": "protect",
    "deletedWith": "deleted_with",
    "replace_with": "replace_with",
    "transforms": "transforms",
    "state_migrations": "state migrations",
    "remote": "a remote component",
    "packageRef": "a package",
    "version": "version",
    "pluginDownloadURL": "plugin_download_url",
}


class EngineError(KitError):
    """The program asks for something that this engine does not do, or a step failed; the text is
    for a person."""


class Stopped(KeyboardInterrupt):
    """Whoever started this engine has had ^C, and tells the person."""


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
        return next((one for one in self._before if one["urn"] == urn), None)

    def settle(self, state: Json) -> None:
        """Take a resource as it is now. What is done stands first: it never depends on what is
        still to come."""
        with self._lock:
            self._before = [one for one in self._before if one["urn"] != state["urn"]]
            known = [one["urn"] for one in self._done]
            if state["urn"] in known:
                self._done[known.index(state["urn"])] = (
                    state  # where it stood: its children stand after it
                )
            else:
                self._done.append(state)
            self._write()

    def _forget(self, state: Json) -> None:
        with self._lock:
            self._before = [one for one in self._before if one["urn"] != state["urn"]]
            self._write()

    def _write(self) -> None:
        self.checkpoint.resources = [*self._done, *self._before]
        if not self.preview:
            self.checkpoint.write()

    @contextmanager
    def _pending(self, kind: str, state: Json) -> Iterator[None]:
        """Note the operation on disk for as long as it runs. A step that fails cleans up after
        itself."""
        note = {"resource": state, "type": kind}
        with self._lock:
            self.checkpoint.pending.append(note)
            self._write()
        try:
            yield
        finally:
            with self._lock:
                self.checkpoint.pending = [
                    one for one in self.checkpoint.pending if one is not note
                ]
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
                    f"{_name(state)}: replaced while the old one stays: the embedded engine"
                    f" doesn't; {INSTALL}"
                )
            return self._replace(provider, old, state, replaces)
        # As in Pulumi, an answer without an opinion means: compare.
        changes = (
            difference.changes
            if difference.changes is not None
            else old["inputs"] != state["inputs"]
        )
        return self._update(provider, old, state) if changes else self._keep(old, state)

    def _keep(self, old: Json, state: Json) -> Json:
        same = {
            **old,
            **state,
            "id": old["id"],
            "outputs": {**old["outputs"], PROVIDER: state["inputs"][PROVIDER]},
        }
        self.settle(same)
        return same

    def _create(self, provider: ResourceProvider, state: Json) -> Json:
        self._step(state, "create")
        if self.preview:
            self.settle({**state, "outputs": state["inputs"]})
            return {**state, "id": "", "outputs": state["inputs"]}
        with self._pending("creating", state):
            made = provider.create(_plain(state["inputs"]))
            outputs = {**(made.outs or {}), PROVIDER: state["inputs"][PROVIDER]}
            done = {**state, "id": made.id, "outputs": outputs, "created": now(), "modified": now()}
            self.settle(done)
        return done

    def _update(self, provider: ResourceProvider, old: Json, state: Json) -> Json:
        self._step(state, "update", _changed(old, state))
        if self.preview:
            planned = {**state, "id": old["id"], "outputs": {**old["outputs"], **state["inputs"]}}
            self.settle(planned)
            return planned
        with self._pending("updating", old):
            result = provider.update(old["id"], old["outputs"], _plain(state["inputs"]))
            outputs = {**(result.outs or {}), PROVIDER: state["inputs"][PROVIDER]}
            done = {**old, **state, "id": old["id"], "outputs": outputs, "modified": now()}
            self.settle(done)
        return done

    def _replace(
        self, provider: ResourceProvider, old: Json, state: Json, why: Sequence[str]
    ) -> Json:
        """Delete first what rests on it, then itself, then create; the rest comes again when the
        program asks."""
        self._step(state, "replace", why)
        for dependent in reversed(list(self._resting_on(old["urn"]))):
            self.remove(dependent)
        self.remove(old)
        return self._create(provider, state)

    def _resting_on(self, urn: str) -> Iterator[Json]:
        urns = {urn}
        for one in list(self._before):
            if urns & {one.get("parent"), *one.get("dependencies", ())}:
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
        """Look at what is really there: what is gone is forgotten, what has changed is noted."""
        for state in list(self._before):
            if not state["custom"] or is_provider(state):
                continue
            found = provider_of(state["outputs"]).read(state["id"], state["outputs"])
            if not found.id:
                self._say(_name(state), "is gone")
                self._forget(state)
                continue
            outputs = {**(found.outs or {}), PROVIDER: state["outputs"][PROVIDER]}
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
                        f"{_name(state)}: a killed run may have made it; look, then {INSTALL} and"
                        " run refresh"
                    )
                self._say(_name(state), "clears what a killed run has left")
                provider.delete(planned(state["inputs"]), state["inputs"])
            self.checkpoint.pending.remove(note)
            self._write()

    def _step(self, state: Json, verb: str, keys: Sequence[str] = ()) -> None:
        reasons = (
            {"replaceReasons" if verb == "replace" else "diffReasons": list(keys)} if keys else {}
        )
        self.steps.append({"op": verb, "urn": state["urn"], **reasons})
        why = f": {', '.join(keys)} changed" if keys else ""
        self._say(_name(state), (f"would {verb} it" if self.preview else f"{verb}s it") + why)


class Monitor:
    """What the SDK calls instead of a gRPC server, from several threads at once."""

    def __init__(self, deployment: Deployment, project_name: str, stack: str, config: Json) -> None:
        self._deployment, self._prefix = deployment, f"urn:pulumi:{stack}::{project_name}::"
        self._config = config
        self._lock = threading.Lock()
        self._broken: BaseException | None = None

    def RegisterResource(self, request: Any) -> Any:
        """Serve one resource; after the first failure no other step begins."""
        if self._broken:
            raise EngineError("not begun: another step failed") from self._broken
        try:
            return self._register(request)
        except BaseException as problem:
            self._broken = self._broken or problem
            raise

    def _register(self, request: Any) -> Any:
        refuse_options(request)
        urn = self._urn(request.parent, request.type, request.name)
        state: Json = {"urn": urn, "custom": request.custom, "type": request.type}
        if request.parent:
            state["parent"] = request.parent
        if not request.custom:
            old = self._deployment.old(urn)
            known = old if old is not None else {"created": now(), "modified": now()}
            self._deployment.settle({**known, **state})
            return resource_pb2.RegisterResourceResponse(urn=urn)
        if not request.type.startswith(DYNAMIC):
            raise EngineError(
                f"{request.name}: {request.type} is of a package that only the CLI runs; {INSTALL}"
            )
        state |= {"inputs": _values(request.object, request.name), "provider": self._provider()}
        if dependencies := list(request.dependencies):
            state["dependencies"] = dependencies
        state["propertyDependencies"] = {
            key: list(on.urns) for key, on in request.propertyDependencies.items()
        }
        done = self._deployment.place(state)
        shown = struct_pb2.Struct()
        outputs = {key: value for key, value in done["outputs"].items() if value is not None}
        shown.update(
            {
                key: UNKNOWN if isinstance(value, Unknown) else value
                for key, value in outputs.items()
            }
        )
        return resource_pb2.RegisterResourceResponse(urn=urn, id=done["id"], object=shown)

    def RegisterResourceOutputs(self, request: Any) -> empty_pb2.Empty:
        state = next(
            one for one in self._deployment.checkpoint.resources if one["urn"] == request.urn
        )
        _values(request.outputs, "the outputs")  # for its refusals; it drops what is null
        values = _whole(json_format.MessageToDict(request.outputs))
        if self._broken is None:
            self._deployment.settle({**state, "outputs": values} if values else state)
        return empty_pb2.Empty()

    def _urn(self, parent: str, type_: str, name: str) -> str:
        """A child's URN holds its parents' types, but for the stack's own."""
        above = parent.split("::")[2] if parent else STACK_TYPE
        return f"{self._prefix}{type_ if above == STACK_TYPE else f'{above}${type_}'}::{name}"

    def _provider(self) -> str:
        """The reference of the one provider that all dynamic resources share; it is a resource
        itself."""
        with self._lock:
            urn = f"{self._prefix}{PROVIDER_TYPE}::default"
            known = next(
                (one for one in self._deployment.checkpoint.resources if one["urn"] == urn), None
            )
            state = known or {
                "urn": urn,
                "custom": True,
                "id": str(uuid4()),
                "type": PROVIDER_TYPE,
                "created": now(),
            }
            if self._deployment.old(urn) or known is None:
                self._deployment.settle({**state, "inputs": self._config, "outputs": self._config})
            return f"{urn}::{state['id']}"

    def GetDeploymentInfo(self, _: Any) -> Any:
        """Every feature, so that the SDK sends what it was asked for, to be refused by name here;
        but values plain."""
        features = set(resource_pb2.ResourceMonitorFeature.values())
        features.discard(resource_pb2.RESOURCE_MONITOR_FEATURE_OUTPUT_VALUES)
        return resource_pb2.DeploymentInfo(supportedFeatures=sorted(features))

    def SignalAndWaitForShutdown(self, _: Any) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def ReadResource(self, request: Any) -> Any:
        kind = (
            "StackReference"
            if request.type == "pulumi:pulumi:StackReference"
            else f"reading {request.type}"
        )
        raise self._refuse(kind)

    def Invoke(self, request: Any) -> Any:
        raise self._refuse(f"the function {request.tok}")

    def Call(self, request: Any) -> Any:
        raise self._refuse(f"the method {request.tok}")

    def RegisterPackage(self, request: Any) -> Any:
        raise self._refuse(f"the package {request.name}")

    def RegisterStackTransform(self, _: Any) -> Any:
        raise self._refuse("a transform")

    RegisterStackInvokeTransform = RegisterStackTransform

    def RegisterResourceHook(self, _: Any) -> Any:
        raise self._refuse("a resource hook")

    RegisterErrorHook = RegisterResourceHook

    def _refuse(self, what: str) -> EngineError:
        self._broken = EngineError(f"{what}: the embedded engine doesn't serve it; {INSTALL}")
        return self._broken


class Log:
    """The engine's side of `pulumi.log`: warnings and errors reach the person."""

    def Log(self, request: Any) -> empty_pb2.Empty:
        if request.severity in (engine_pb2.WARNING, engine_pb2.ERROR):
            print(harmless(request.message), file=sys.stderr, flush=True)
        return empty_pb2.Empty()


def refuse_options(request: Any) -> None:
    """Raises EngineError for an option that would silently mean nothing here."""
    asked = [name for field, name in REFUSED.items() if getattr(request, field)]
    timeouts = request.HasField("customTimeouts") and request.customTimeouts.ByteSize()
    hooks = request.HasField("hooks") and request.hooks.ByteSize()
    asked += [name for name, there in (("custom_timeouts", timeouts), ("hooks", hooks)) if there]
    if asked:
        raise EngineError(
            f"{request.name}: {', '.join(asked)}: the embedded engine doesn't serve it; {INSTALL}"
        )


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
    """The inputs as the provider wants them. Raises EngineError with everything that it minds."""
    result = provider.check(old["inputs"] if old else {}, state["inputs"])
    if result.failures:
        minds = "; ".join(f"{failure.property}: {failure.reason}" for failure in result.failures)
        raise EngineError(f"{_name(state)}: {minds}")
    return {**result.inputs, PROVIDER: state["inputs"][PROVIDER]}


def _values(struct: struct_pb2.Struct, whose: str) -> Json:
    """Properties as plain values. Raises EngineError for secrets, assets and references."""
    values: Json = _whole(rpc.deserialize_properties(struct, keep_unknowns=True))
    for value in _walk(values):
        if isinstance(value, dict) and rpc._special_sig_key in value:
            kind = (
                "a secret"
                if value[rpc._special_sig_key] == rpc._special_secret_sig
                else "a special value"
            )
            raise EngineError(f"{whose}: {kind}: the embedded engine doesn't serve it; {INSTALL}")
        if isinstance(value, pulumi.Asset | pulumi.Archive | pulumi.Resource):
            raise EngineError(
                f"{whose}: {type(value).__name__} as a value: the embedded engine doesn't serve it;"
                f" {INSTALL}"
            )
    return values


def _whole(value: Any) -> Any:
    """JSON with whole numbers as such: protobuf knows doubles only."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _walk(value: Any) -> Iterator[Any]:
    yield value
    children: Iterable[Any] = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    for child in children:
        yield from _walk(child)


def _plain(inputs: Json) -> Json:
    return {key: value for key, value in inputs.items() if key != PROVIDER}


def _changed(old: Json, state: Json) -> list[str]:
    """The inputs that are others now; what a provider finds changed by itself (a machine that
    stopped) is none."""
    before, after = _plain(old["inputs"]), _plain(state["inputs"])
    return sorted(
        key
        for key, value in after.items()
        if not isinstance(value, Unknown) and before.get(key) != value
    )


def _name(state: Json) -> str:
    return str(state["urn"]).rsplit("::", 1)[1]


def _difference(before: Json, after: Json) -> str:
    changed = sorted(
        key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
    )
    return ", ".join(
        f"{key}: {_json(before.get(key))} → {_json(after.get(key))}" for key in changed
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# ----------------------------------------------------------------------------------------- commands


def run_program(root: Path, stack: str, deployment: Deployment) -> None:
    """Run the program of `root` once. Raises what it raised first, ours (ValueError) before the
    SDK's echo of it."""
    described = project(root)
    name = str(described["name"])
    config = {f"{name}:{key}": value for key, value in read_config(root, stack).items()}
    monitor = Monitor(deployment, name, stack, config)
    set_all_config(config)
    here, login = Path.cwd(), os.environ.get("PULUMI_BACKEND_URL")
    os.environ["PULUMI_BACKEND_URL"] = (
        backend.url()
    )  # as the CLI has it: the program looks where its state is
    os.chdir(root / str(described.get("main", ".")))
    try:
        asyncio.run(_run(monitor, name, stack, root, deployment.preview))
    except Exception:
        if monitor._broken is not None and not isinstance(monitor._broken, KeyboardInterrupt):
            raise monitor._broken from None
        raise
    finally:
        os.chdir(here)
        os.environ.pop("PULUMI_BACKEND_URL")
        if login is not None:
            os.environ["PULUMI_BACKEND_URL"] = login


async def _run(monitor: Monitor, name: str, stack: str, root: Path, preview: bool) -> None:
    asyncio.get_running_loop().set_exception_handler(
        lambda *_: None
    )  # the first failure is raised; echoes are not
    configure(
        Settings(
            project=name,
            stack=stack,
            monitor=monitor,
            engine=Log(),
            dry_run=preview,
            organization="organization",
            root_directory=str(root),
        )
    )
    await run_in_stack(lambda: _program(str(Path.cwd())))


def _program(path: str) -> None:
    sys.path.insert(0, path)
    runpy.run_path(path, run_name="__main__")


def refuse_other_clouds(root: Path, stack: str) -> None:
    """Raises EngineError for a stack whose cloud only the CLI serves."""
    cloud = read_config(root, stack).get("cloud", "local")
    if cloud != "local":
        raise EngineError(
            f"stack {stack} is on {cloud}: the embedded engine serves the local cloud only;"
            f" {INSTALL}"
        )


def take_stack(command: str, root: Path, stack: str, take_over: bool) -> None:
    """Raises LocalCloudError for another checkout's or user's stack, and for a home that is not the
    kit's."""
    mine = owner.Owner.here(root)
    if command != "preview":
        owner.take(stack, mine, take_over)
    else:
        claim()  # for the lock
        owner.refuse_other(stack, mine)


def preview(root: Path, stack: str, deployment: Deployment) -> None:
    """Look, then say what `up` would do."""
    deployment.refresh()
    run_program(root, stack, deployment)
    deployment.remove_undeclared()


def up(root: Path, stack: str, deployment: Deployment) -> None:
    """Look, then make what exists equal to what the program declares."""
    deployment.recover()
    deployment.refresh()
    run_program(root, stack, deployment)
    deployment.remove_undeclared()


def refresh(_root: Path, _stack: str, deployment: Deployment) -> None:
    """Look only."""
    deployment.recover()
    deployment.refresh()


def destroy(_root: Path, _stack: str, deployment: Deployment) -> None:
    """Remove everything; needs neither the program nor its config."""
    deployment.recover()
    deployment.remove_undeclared()


COMMANDS: dict[str, Callable[[Path, str, Deployment], None]] = {
    "preview": preview,
    "up": up,
    "refresh": refresh,
    "destroy": destroy,
}


def say(who: str, text: str) -> None:
    """One line a step."""
    sys.stdout.write(
        f"  {who:<12} {harmless(text)}\n"
    )  # one write, so that threads don't mix within a line
    sys.stdout.flush()


def silent(_who: str, _text: str) -> None:
    """For a program that reads."""


def execute(
    command: str,
    root: Path,
    stack: str,
    debug: bool = False,
    take_over: bool = False,
    as_json: bool = False,
) -> int:
    """Run one command; the exit status. What went wrong is printed, without a traceback unless
    `debug`. A preview `as_json` prints its steps as `pulumi preview --json` does, and nothing
    else."""
    tell = silent if as_json else say
    try:
        checkpoint = Checkpoint(state_dir(), str(project(root)["name"]), stack)
        if command == "outputs":
            print(json.dumps(checkpoint.load().outputs, indent=2))
            return 0
        if command != "destroy":
            refuse_other_clouds(root, stack)
        take_stack(command, root, stack, take_over)
        with checkpoint.locked():
            deployment = Deployment(checkpoint.load(), command == "preview", tell)
            COMMANDS[command](root, stack, deployment)
        if command == "destroy":
            owner.forget(stack)
        if as_json:
            print(json.dumps({"steps": deployment.steps}))
        if not deployment.changes:
            tell("infra", "nothing to change")
        return 0
    except Stopped:
        return 130
    except KeyboardInterrupt:
        print("stopped after the step that was under way; run it again to go on", file=sys.stderr)
        return 130
    except Exception as problem:  # noqa: BLE001 - whatever the program raises is told in a line; --debug shows it all
        if debug:
            traceback.print_exc()
        print(harmless(describe(problem, root)), file=sys.stderr)
        return status_of(problem)


def describe(problem: Exception, root: Path) -> str:
    """What went wrong for a person: our own errors as they are, others with the place in the
    program."""
    if isinstance(problem, ValueError | pulumi.RunError):
        return str(problem)
    own = f"{root}{os.sep}"
    inside = [
        place
        for place in traceback.extract_tb(problem.__traceback__)
        if place.filename.startswith(own)
        and "site-packages" not in place.filename
        and place.filename != __file__
    ]
    where = (
        f" ({Path(inside[-1].filename).relative_to(root)}:{inside[-1].lineno})" if inside else ""
    )
    return (
        f"the program failed: {type(problem).__name__}: {problem}{where}; run it with --debug for"
        " the whole story"
    )


def stop(*_: object) -> None:
    """SIGTERM: end like ^C, after the step that is under way."""
    raise Stopped


def main(words: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, stop)
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.engine", description="Pulumi's part, for local stacks."
    )
    parser.add_argument("command", choices=[*COMMANDS, "outputs"])
    parser.add_argument("--stack", default="local")
    parser.add_argument("--cwd", type=Path, default=ROOT, help="folder with Pulumi.yaml")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument(
        "--take-over", action="store_true", help="make another checkout's stack this one's"
    )
    parser.add_argument(
        "--json", action="store_true", help="print what a preview has found as JSON, nothing else"
    )
    options = parser.parse_args(words)
    if options.json and options.command != "preview":
        parser.error("--json goes with preview")
    return execute(
        options.command,
        options.cwd.resolve(),
        options.stack,
        options.debug,
        options.take_over,
        options.json,
    )


__all__ = ["StateError", "execute", "main"]

if __name__ == "__main__":
    sys.exit(main())
