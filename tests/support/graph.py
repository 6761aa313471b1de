"""The program's resource graph for a stack, by running the program through the SDK against a
monitor that records."""

from __future__ import annotations

import asyncio
import copy
import functools
import hashlib
import json
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime import rpc
from pulumi.runtime.config import set_all_config
from pulumi.runtime.mocks import MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.settings import Settings, configure
from pulumi.runtime.stack import run_in_stack

from infra.core import backend
from infra.core.previews import name_of
from infra.core.stackfile import read_config

ROOT = Path(__file__).parents[2]
PROJECT = "origin-kit"
IMAGES = {
    "aws": "ami-0123456789abcdef0",
    "gcp": "projects/debian-cloud/global/images/debian-12-bookworm-v20260101",
}


@dataclass(frozen=True)
class Node:
    """One registered resource. `inputs` as the program gave them, secrets as {"secret": value}."""

    type: str
    name: str
    parent: str | None
    inputs: dict[str, Any]
    protect: bool
    ignores: tuple[str, ...]
    secret_outputs: tuple[str, ...]
    id: str
    replaces_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """What a program has registered, in order, and what it exports."""

    nodes: tuple[Node, ...]
    outputs: dict[str, Any]

    def of(self, kind: str) -> list[Node]:
        return [node for node in self.nodes if node.type == kind]

    def to_json(self) -> dict[str, Any]:
        """A readable form for golden files: by kind and name, secrets as digests."""
        resources: dict[str, Any] = {}
        for node in sorted(self.nodes, key=lambda node: (node.type, node.name)):
            entry: dict[str, Any] = {"parent": node.parent, "inputs": _hidden(node.inputs)}
            if node.protect:
                entry["protect"] = True
            if node.ignores:
                entry["ignores"] = list(node.ignores)
            if node.replaces_on:
                entry["replaces on"] = list(node.replaces_on)
            if node.secret_outputs:
                entry["secret outputs"] = list(node.secret_outputs)
            resources[f"{node.type} {node.name}"] = entry
        return {"resources": resources, "outputs": _hidden(self.outputs)}


class Cloud(Mocks):
    """Answers as a cloud would, with addresses for documentation (RFC 5737), the same ones every
    time."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        state = {key: _plain(value) for key, value in args.inputs.items()}
        identity = f"{args.typ.rpartition(':')[2]}.{args.name}"
        if args.typ in ("aws:ec2/eip:Eip", "gcp:compute/address:Address"):
            state["publicIp" if args.typ.startswith("aws") else "address"] = address(args.name)
        if args.typ == "tls:index/privateKey:PrivateKey":
            public, private = _key(args.name)
            secret = {rpc._special_sig_key: rpc._special_secret_sig, "value": private}
            state |= {"privateKeyOpenssh": secret, "publicKeyOpenssh": public + "\n"}
        if args.typ == "pulumi-python:dynamic/local:Network":
            state |= {"bridge": "ok-1", "subnet": "10.213.1.0/24"}
        if args.typ == "pulumi-python:dynamic/local:Machine":
            serves = args.name if state.get("standing") else "-".join(args.name.split("-")[:2])
            state |= {"address": address(serves), "host_key": _key(args.name)[0]}
        if args.typ == "gcp:compute/instance:Instance":
            for access in state["networkInterfaces"][0].get("accessConfigs", []):
                access.setdefault("natIp", address(args.name))  # what Google would choose
        if args.typ == "gcp:serviceaccount/account:Account":
            state["email"] = f"{state['accountId']}@my-project.iam.gserviceaccount.com"
        return identity if args.custom else None, state

    def call(self, args: Any) -> tuple[dict[str, Any], None]:
        raise AssertionError(
            f"the program asks the cloud: {args.token}; its answer would change between runs"
        )


def address(name: str) -> str:
    """frontend-1 is 203.0.113.10, backend-1 is 203.0.113.20 and so on; what stands next to it 100
    more."""
    # `more`: backend-1-2, backend-1-standby, of a host that is being replaced.
    role, number, *more = name.split("-")
    return (
        f"203.0.113.{({'frontend': 9, 'backend': 19}[role]) + int(number) + (100 if more else 0)}"
    )


class Recorder(MockMonitor):
    """A monitor that keeps every request."""

    def __init__(self) -> None:
        super().__init__(Cloud())
        self.nodes: list[Node] = []
        self.outputs: dict[str, Any] = {}

    def RegisterResource(self, request: Any) -> Any:
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        inputs = rpc.deserialize_properties(request.object, keep_unknowns=True)
        parent = request.parent.rpartition("::")[2] or None
        self.nodes.append(
            Node(
                request.type,
                request.name,
                parent,
                _marked(inputs),
                bool(request.protect),
                tuple(request.ignoreChanges),
                tuple(request.additionalSecretOutputs),
                getattr(answer, "id", ""),
                tuple(request.replaceOnChanges),
            )
        )
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:
        values = _marked(rpc.deserialize_properties(request.outputs, keep_unknowns=True))
        self.outputs = values or self.outputs
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def program(stack: str, **config: str) -> Graph:
    """Run the program for a stack of `stacks/`, with these config values (as text) on top; the
    image is pinned.

    It is run once per stack and config; everyone gets a copy of their own.
    """
    return copy.deepcopy(_program(stack, stack, tuple(sorted(config.items()))))


def preview(branch: str, like: str, **config: str) -> Graph:
    """As `program`, of a preview of this branch whose template is the config of `like`."""
    return of_stack(name_of(branch), like, branch=branch, **config)


def of_stack(stack: str, like: str, **config: str) -> Graph:
    """As `program`, of a stack that has no file: its config is that of the stack `like`."""
    return copy.deepcopy(_program(stack, like, tuple(sorted(config.items()))))


@functools.cache
def _program(stack: str, like: str, given: tuple[tuple[str, str], ...]) -> Graph:
    config = dict(given)
    values = read_config(ROOT, like)
    values |= (
        {"machine_image": IMAGES.get(values["cloud"], "")} if values["cloud"] in IMAGES else {}
    )
    secret = [key for key in config if key.startswith("env.")]
    everything = {f"{PROJECT}:{key}": value for key, value in {**values, **config}.items()}
    set_all_config(everything, [f"{PROJECT}:{key}" for key in secret])
    recorder = Recorder()

    async def run() -> None:
        configure(
            Settings(project=PROJECT, stack=stack, monitor=recorder, engine=Silent(), dry_run=False)
        )
        await run_in_stack(lambda: run_path(ROOT / "infra"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULUMI_BACKEND_URL", backend.url())  # a local stack runs over no other
        asyncio.run(run())
    return Graph(tuple(recorder.nodes), recorder.outputs)


def run_path(path: Path) -> None:
    runpy.run_path(str(path), run_name="__main__")


class Silent:
    """The engine's log, unread."""

    def Log(self, request: Any) -> Any:
        if request.severity >= 4:
            raise AssertionError(request.message)
        from google.protobuf import empty_pb2

        return empty_pb2.Empty()


def _marked(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(rpc._special_sig_key) == rpc._special_secret_sig:
            return {"secret": _marked(value["value"])}
        if rpc._special_sig_key in value:
            return {"reference": value.get("urn", "").rpartition("::")[2]}
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if isinstance(value, pulumi.Resource):
        return {"reference": value._name}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and rpc._special_sig_key in value else value


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"secret"}:
            text = json.dumps(value["secret"], sort_keys=True)
            return {"secret": "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:16]}
        return {key: _hidden(item) for key, item in sorted(value.items())}
    return [_hidden(item) for item in value] if isinstance(value, list) else value


def _key(name: str) -> tuple[str, str]:
    """A key pair in OpenSSH's form that is the same for the same name. Only its form counts
    here."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    public = (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )
    # OpenSSH's own private form holds a random number; a fixed text of that form keeps golden files
    # still.
    middle = hashlib.sha512(name.encode()).hexdigest()
    return (
        public,
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{middle}\n-----END OPENSSH PRIVATE KEY-----\n",
    )
