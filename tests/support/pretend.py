"""Providers that the real Pulumi CLI talks to in tests: `aws`, `gcp` and `tls`, without a cloud
behind them.

The engine, the program, the state and the steps are Pulumi's own. Pretended is what a cloud's
provider says: whether a changed input is updated in place or replaces the resource. `IN_PLACE` is
that knowledge: what has no `ForceNew` in the Terraform providers that Pulumi's are built from.
Instances and service accounts were read in their source, the others are written from memory;
whatever is not listed counts as replacing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import yaml
from google.protobuf import empty_pb2, struct_pb2
from google.protobuf.json_format import MessageToDict
from pulumi.runtime.mocks import MockResourceArgs
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from infra.core.stackfile import stack_values
from tests.support import graph

Json = dict[str, Any]
SECRET = "4dabf18193072939515e22adb298388d"
PASSPHRASE = "only for tests"

_OF_A_RULE = {
    "tags",
    "description",
    "cidrIpv4",
    "cidrIpv6",
    "ipProtocol",
    "fromPort",
    "toPort",
}
# By type: the inputs that a provider updates where they are; `a.b` is a property of an object or of
# its items.
IN_PLACE: dict[str, set[str]] = {
    "aws:ec2/vpc:Vpc": {"tags", "enableDnsHostnames"},
    "aws:ec2/internetGateway:InternetGateway": {"tags"},
    "aws:ec2/routeTable:RouteTable": {"tags"},
    "aws:ec2/route:Route": {"gatewayId"},
    "aws:ec2/subnet:Subnet": {"tags", "mapPublicIpOnLaunch"},
    "aws:ec2/routeTableAssociation:RouteTableAssociation": {"routeTableId"},
    "aws:ec2/securityGroup:SecurityGroup": {"tags"},
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _OF_A_RULE,
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _OF_A_RULE,
    "aws:iam/role:Role": {"tags", "assumeRolePolicy", "description"},
    "aws:iam/instanceProfile:InstanceProfile": {"tags", "role"},
    "aws:ec2/keyPair:KeyPair": {"tags"},
    # An instance's type and its user data are changed by stopping it; its profile and groups while
    # it runs.
    "aws:ec2/instance:Instance": {
        "tags",
        "instanceType",
        "userData",
        "iamInstanceProfile",
        "vpcSecurityGroupIds",
        "disableApiTermination",
        "metadataOptions",
        "rootBlockDevice.tags",
        "rootBlockDevice.volumeSize",
        "rootBlockDevice.volumeType",
    },
    "aws:ec2/eip:Eip": {"tags"},
    "aws:ec2/eipAssociation:EipAssociation": set(),
    "aws:route53/record:Record": {"records", "ttl"},
    "gcp:compute/network:Network": set(),
    "gcp:compute/subnetwork:Subnetwork": set(),
    "gcp:compute/firewall:Firewall": {
        "sourceRanges",
        "allows",
        "targetServiceAccounts",
        "description",
    },
    "gcp:compute/address:Address": {"labels"},
    "gcp:compute/instance:Instance": {
        "labels",
        "metadata",
        "machineType",
        "deletionProtection",
        "allowStoppingForUpdate",
        "serviceAccount",
        "shieldedInstanceConfig",
        "networkInterfaces.accessConfigs",
        "networkInterfaces.subnetwork",
        "bootDisk.initializeParams.size",
        "desiredStatus",
    },
    "gcp:serviceaccount/account:Account": {"displayName", "description"},
    "gcp:dns/recordSet:RecordSet": {"rrdatas", "ttl"},
    "tls:index/privateKey:PrivateKey": set(),
}
# Pulumi names these itself where the program does not.
NAMED = {
    "aws:iam/role:Role": "name",
    "aws:iam/instanceProfile:InstanceProfile": "name",
    "aws:ec2/securityGroup:SecurityGroup": "name",
    "aws:ec2/keyPair:KeyPair": "keyName",
}


def type_and_name(urn: str) -> tuple[str, str]:
    """`aws:ec2/instance:Instance` and `backend-1` of a URN."""
    kind, name = urn.split("::")[2:]
    return kind.rpartition("$")[2], name


def changed_inputs(old: Json, new: Json) -> set[str]:
    """Where the inputs of a resource differ.

    One that takes `project` now and did not before keeps the one that its provider gave it:
    Google's own provider sees no change in that (tried), but replaces it for another project.
    """
    known = {"project": new["project"], **old} if "project" in new else old
    return set(changed_paths(known, new))


def changed_paths(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Where two inputs differ; items of lists have the list's path."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from changed_paths(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            yield from changed_paths(before, after, path)
    elif old != new:
        yield path


def replacing(kind: str, paths: set[str]) -> set[str]:
    """Those of the changed inputs that replace the resource."""
    known = IN_PLACE[kind]
    return {
        path
        for path in paths
        if not any(path == one or path.startswith(f"{one}.") for one in known)
    }


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One package's provider."""

    def __init__(self, package: str) -> None:
        self.package = package

    def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version="99.0.0")

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, acceptResources=False
        )

    def Check(self, request: Any, context: Any) -> Any:
        kind, name = type_and_name(request.urn)
        news, olds = MessageToDict(request.news), MessageToDict(request.olds)
        own = NAMED.get(kind)
        if own and own not in news:
            digest = hashlib.sha256(request.urn.encode()).hexdigest()[:7]
            news[own] = olds.get(own, f"{name}-{digest}")
            news["__defaults"] = [own]
        return provider_pb2.CheckResponse(inputs=_struct(news))

    def Diff(self, request: Any, context: Any) -> Any:
        kind, _ = type_and_name(request.urn)
        old, new = MessageToDict(request.old_inputs), MessageToDict(request.news)
        for inputs in (old, new):
            inputs.pop("__defaults", None)
        paths = changed_inputs(old, new)
        some = provider_pb2.DiffResponse.DIFF_SOME if paths else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(
            changes=some, diffs=sorted(paths), replaces=sorted(replacing(kind, paths))
        )

    def Create(self, request: Any, context: Any) -> Any:
        kind, name = type_and_name(request.urn)
        inputs = MessageToDict(request.properties)
        plain = {key: _plain(value) for key, value in inputs.items()}
        asked = MockResourceArgs(
            typ=kind, name=name, inputs=plain, provider="", resource_id="", custom=True
        )
        identity, state = graph.Cloud().new_resource(asked)
        # What the program marked as secret stays so; the mocks' answer comes without the marks.
        state = {
            key: inputs.get(key, value) if key in inputs else value for key, value in state.items()
        }
        return provider_pb2.CreateResponse(
            id="" if request.preview else identity or "", properties=_struct(state)
        )

    def Update(self, request: Any, context: Any) -> Any:
        return provider_pb2.UpdateResponse(
            properties=_struct({**MessageToDict(request.olds), **MessageToDict(request.news)})
        )

    def Delete(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()


def _plain(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and SECRET in value else value


def _struct(value: Json) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(value)
    return made


@contextmanager
def providers() -> Iterator[str]:
    """The three providers on loopback; what PULUMI_DEBUG_PROVIDERS has to be for the CLI to attach
    to them."""
    servers = []
    places = []
    for package in ("aws", "gcp", "tls"):
        server = grpc.server(ThreadPoolExecutor(8))
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(package), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        places.append(f"{package}:{port}")
    try:
        yield ",".join(places)
    finally:
        for server in servers:
            server.stop(None).wait()


class Cli:
    """The real CLI for one stack, with a backend of its own, in a copy of what a checkout's program
    is started from.

    The copy is there because the CLI writes into the stack's config file; modules come from the
    checkout itself.
    """

    def __init__(self, checkout: Path, python: Path, folder: Path, stack: str, debug: str) -> None:
        self.project, self.stack = folder / "project", stack
        (folder / "backend").mkdir(parents=True)
        shutil.copytree(
            checkout / "infra", self.project / "infra", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(checkout / "Pulumi.yaml", self.project)
        self.environment = {
            **os.environ,
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "PULUMI_BACKEND_URL": f"file://{folder / 'backend'}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DEBUG_PROVIDERS": debug,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *words: str, status: int | None = 0) -> str:
        """What it says on stdout."""
        command = ["pulumi", "-C", str(self.project), *words, "--non-interactive"]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=300
        )
        said = f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert status is None or done.returncode == status, said
        return done.stdout

    def init(self, values: Mapping[str, Any], state: Json | None = None) -> None:
        """Make the stack with this config, and this state if there is one."""
        file = self.project / "stacks" / f"Pulumi.{self.stack}.yaml"
        file.parent.mkdir()
        file.write_text(
            yaml.safe_dump(
                {"config": {f"{graph.PROJECT}:{key}": item for key, item in values.items()}}
            )
        )
        self.run("stack", "init", "--stack", self.stack)
        if state:
            salt = yaml.safe_load(file.read_text())["encryptionsalt"]
            state["deployment"]["secrets_providers"] = {
                "type": "passphrase",
                "state": {"salt": salt},
            }
            path = self.project / "state.json"
            path.write_text(json.dumps(state))
            self.run("stack", "import", "--stack", self.stack, "--file", str(path))

    def preview(self) -> list[Json]:
        """The steps of a preview, as the CLI prints them."""
        text = self.run("preview", "--stack", self.stack, "--json", status=None)
        assert "steps" in text, text
        return list(json.loads(text[text.index("{") :])["steps"])

    def steps(self) -> dict[str, str]:
        """What a preview would do: `type name` → operation, without what stays."""
        found = self.preview()
        return {
            " ".join(type_and_name(step["urn"])): step["op"]
            for step in found
            if step["op"] != "same"
        }


def hidden(state: Json) -> Json:
    """A state of `pulumi stack export --show-secrets` without private keys and without what differs
    every time."""

    def hide(found: Json) -> Json:
        if "plaintext" not in found:
            return found
        value = json.loads(found["plaintext"])
        parts = value if isinstance(value, dict) else {"": value}
        parts = {
            key: "hidden" if "PRIVATE KEY" in str(item) else item for key, item in parts.items()
        }
        return {**found, "plaintext": json.dumps(parts if isinstance(value, dict) else parts[""])}

    state = json.loads(json.dumps(state), object_hook=hide)
    state["deployment"]["manifest"]["time"] = "2026-11-01T00:00:00Z"
    for resource in state["deployment"]["resources"]:
        for key in ("created", "modified", "sourcePosition", "stackTrace"):
            resource.pop(key, None)
    state["deployment"].pop("secrets_providers", None)
    return dict(state)


def shown(state: Json) -> Json:
    """The same with keys of the right form where hosts have theirs."""
    for resource in state["deployment"]["resources"]:
        if resource["type"] == "tls:index/privateKey:PrivateKey":
            private = graph._key(type_and_name(resource["urn"])[1])[1]
            resource["outputs"]["privateKeyOpenssh"]["plaintext"] = json.dumps(private)
    return state


def stack_config(checkout: Path, stack: str) -> Json:
    """What a shipped stack says, with a pinned image."""
    values = {key.partition(":")[2]: value for key, value in stack_values(checkout, stack).items()}
    return {**values, "machine_image": graph.IMAGES[values["cloud"]]}


def main() -> None:
    """`python -m tests.support.pretend CHECKOUT FOLDER`: write the state of every cloud stack as
    that checkout makes it."""
    checkout, target = (Path(word).resolve() for word in sys.argv[1:])
    target.mkdir(parents=True, exist_ok=True)
    with providers() as debug:
        for path in sorted((checkout / "stacks").glob("Pulumi.[ag]*.yaml")):
            stack = path.name.split(".")[1]
            with tempfile.TemporaryDirectory() as name:
                cli = Cli(checkout, checkout / ".venv/bin/python", Path(name), stack, debug)
                cli.init(stack_config(checkout, stack))
                cli.run("up", "--stack", stack, "--yes", "--skip-preview")
                state = json.loads(cli.run("stack", "export", "--stack", stack, "--show-secrets"))
            (target / f"{stack}.json").write_text(
                json.dumps(hidden(state), indent=1, sort_keys=True) + "\n"
            )


if __name__ == "__main__":
    main()
