"""The engine's side of the Pulumi SDK: plain objects with the methods of its gRPC servers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

import pulumi
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.output import Unknown
from pulumi.runtime import rpc
from pulumi.runtime.proto import engine_pb2, resource_pb2

from infra.core.terminal import harmless
from infra.local.checkpoint import Json, now
from infra.local.deployment import INSTALL, Deployment, EngineError

STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_TYPE = "pulumi:providers:pulumi-python"
DYNAMIC = "pulumi-python:dynamic"
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


class Monitor:
    """What the SDK calls instead of a gRPC server, from several threads at once."""

    def __init__(
        self,
        deployment: Deployment,
        project_name: str,
        stack: str,
        config: Json,
    ) -> None:
        self._deployment, self._prefix = deployment, f"urn:pulumi:{stack}::{project_name}::"
        self._config = config
        self._lock = threading.Lock()
        self.broken: BaseException | None = None  # the first failure

    def RegisterResource(self, request: Any) -> Any:
        """Serve one resource; after the first failure no other step begins."""
        if self.broken:
            raise EngineError("not begun: another step failed") from self.broken
        try:
            return self._register(request)
        except BaseException as problem:
            self.broken = self.broken or problem
            raise

    def _register(self, request: Any) -> Any:
        refuse_options(request)
        urn = self._urn(request.parent, request.type, request.name)
        state: Json = {
            "urn": urn,
            "custom": request.custom,
            "type": request.type,
        }
        if request.parent:
            state["parent"] = request.parent
        if not request.custom:
            old = self._deployment.old(urn)
            if old is None:
                old = {"created": now(), "modified": now()}
            self._deployment.settle({**old, **state})
            return resource_pb2.RegisterResourceResponse(urn=urn)
        if not request.type.startswith(DYNAMIC):
            raise EngineError(
                f"{request.type} is of a package that only the CLI runs",
                where=request.name,
                cure=INSTALL,
            )
        state |= {"inputs": _values(request.object, request.name), "provider": self._provider()}
        if request.dependencies:
            state["dependencies"] = list(request.dependencies)
        on_properties = request.propertyDependencies.items()
        state["propertyDependencies"] = {key: list(on.urns) for key, on in on_properties}
        placed = self._deployment.place(state)
        outputs = _struct(placed["outputs"])
        return resource_pb2.RegisterResourceResponse(
            urn=urn,
            id=placed["id"],
            object=outputs,
        )

    def RegisterResourceOutputs(self, request: Any) -> empty_pb2.Empty:
        state = self._state_of(request.urn)
        if state is None:
            raise EngineError("outputs of a resource that was never registered", where=request.urn)
        _values(request.outputs, "the outputs")  # for its refusals; it drops what is null
        values = _whole(json_format.MessageToDict(request.outputs))
        if values:
            state = {**state, "outputs": values}
        if self.broken is None:
            self._deployment.settle(state)
        return empty_pb2.Empty()

    def _state_of(self, urn: str) -> Json | None:
        for state in self._deployment.checkpoint.resources:
            if state["urn"] == urn:
                return state
        return None

    def _urn(self, parent: str, type_: str, name: str) -> str:
        """A child's URN holds its parents' types, except the stack's."""
        above = parent.split("::")[2] if parent else STACK_TYPE
        if above != STACK_TYPE:
            type_ = f"{above}${type_}"
        return f"{self._prefix}{type_}::{name}"

    def _provider(self) -> str:
        """The reference of the one provider that all dynamic resources share; it is a resource
        itself."""
        with self._lock:
            urn = f"{self._prefix}{PROVIDER_TYPE}::default"
            state = self._state_of(urn)
            if state is None or self._deployment.old(urn):
                if state is None:
                    state = {
                        "urn": urn,
                        "custom": True,
                        "id": str(uuid4()),
                    }
                    state |= {"type": PROVIDER_TYPE, "created": now()}
                self._deployment.settle(
                    {
                        **state,
                        "inputs": self._config,
                        "outputs": self._config,
                    }
                )
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
        what = f"reading {request.type}"
        if request.type == "pulumi:pulumi:StackReference":
            what = "StackReference"
        raise self._refuse(what)

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
        self.broken = EngineError(
            "the embedded engine doesn't serve it",
            where=what,
            cure=INSTALL,
        )
        return self.broken


class Log:
    """The engine's side of `pulumi.log`: warnings and errors reach the person."""

    def Log(self, request: Any) -> empty_pb2.Empty:
        if request.severity in (engine_pb2.WARNING, engine_pb2.ERROR):
            print(harmless(request.message), file=sys.stderr, flush=True)
        return empty_pb2.Empty()


def refuse_options(request: Any) -> None:
    """Raises EngineError for an option that would silently mean nothing here."""
    asked = [name for field, name in REFUSED.items() if getattr(request, field)]
    if request.HasField("customTimeouts") and request.customTimeouts.ByteSize():
        asked.append("custom_timeouts")
    if request.HasField("hooks") and request.hooks.ByteSize():
        asked.append("hooks")
    if asked:
        raise EngineError(
            f"{', '.join(asked)}: the embedded engine doesn't serve it",
            where=request.name,
            cure=INSTALL,
        )


def _struct(outputs: Json) -> struct_pb2.Struct:
    """Outputs as the SDK reads them: without nulls, what is unknown yet as its mark."""
    values: Json = {}
    for key, value in outputs.items():
        if isinstance(value, Unknown):
            values[key] = UNKNOWN
        elif value is not None:
            values[key] = value
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def _values(struct: struct_pb2.Struct, whose: str) -> Json:
    """Properties as plain values. Raises EngineError for secrets, assets and references."""
    values: Json = _whole(rpc.deserialize_properties(struct, keep_unknowns=True))
    for value in _walk(values):
        if isinstance(value, dict) and rpc._special_sig_key in value:
            is_secret = value[rpc._special_sig_key] == rpc._special_secret_sig
            kind = "a secret" if is_secret else "a special value"
            raise EngineError(
                f"{kind}: the embedded engine doesn't serve it",
                where=whose,
                cure=INSTALL,
            )
        if isinstance(value, pulumi.Asset | pulumi.Archive | pulumi.Resource):
            raise EngineError(
                f"{type(value).__name__} as a value: the embedded engine doesn't serve it",
                where=whose,
                cure=INSTALL,
            )
    return values


def _whole(value: Any) -> Any:
    """JSON with whole numbers as such: protobuf knows doubles only."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _walk(value: Any) -> Iterator[Any]:
    yield value
    children: Iterable[Any] = ()
    if isinstance(value, dict):
        children = value.values()
    elif isinstance(value, list):
        children = value
    for child in children:
        yield from _walk(child)
