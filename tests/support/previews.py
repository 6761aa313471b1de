"""Previews and the environment that they attach to, without a machine: states in files, and hosts
that are a fake at the wire."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Contract, Host, Json
from infra.core.home import state_dir
from rollout import access, hosts, outputs, stacks
from rollout.host_errors import HostError
from rollout.previews import making, template
from tests.test_contract import of_a_preview
from tests.test_render import load

ENVIRONMENT = "local"
PROJECT = "origin-kit"


def in_a_checkout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work with a home, a cache and a checkout without stacks, all below `folder`."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(folder / "home"))
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(folder / "cache"))
    checkout = folder / "checkout"
    (checkout / "stacks").mkdir(parents=True)
    (checkout / "Pulumi.yaml").write_text((stacks.ROOT / "Pulumi.yaml").read_text())
    for module in (stacks, outputs, making, template):
        monkeypatch.setattr(module, "ROOT", checkout)


def environment(**changes: Any) -> Contract:
    """The contract of a local environment with a backend host and a page's host."""
    return replace(load("local-ip"), **changes)


def production(**changes: Any) -> Contract:
    """The same as production, with public names on https."""
    text = json.dumps(load("https-names").to_json()).replace("shop.test", "example.com")
    data = json.loads(text) | {"environment": ENVIRONMENT, "production": True}
    return replace(Contract.from_json(data), **changes)


def preview(stack: str, origin: str, attached_to: str = ENVIRONMENT) -> Contract:
    """The contract of a preview whose page is at this origin."""
    data = of_a_preview() | {"environment": stack, "attached_to": attached_to}
    data["frontend"]["origin"] = origin
    if origin.startswith("https:"):
        data["tls"] = "acme"
        data["backend"]["origin"] = "https://api.example.com"
    data["cors"]["allowed_origins"] = [origin]
    return Contract.from_json(data)


def state(outputs: Json, **latest: Any) -> str:
    """A Pulumi checkpoint with these outputs and one resource."""
    resources = [
        {"type": "pulumi:pulumi:Stack", "outputs": outputs},
        {"type": "local:machine:Machine"},
    ]
    manifest = {"time": "2026-11-30T18:00:00Z"}
    whole = {"manifest": manifest, "resources": resources, **latest}
    return json.dumps({"version": 3, "checkpoint": {"latest": whole}})


def write_state(stack: str, text: str, base: Path | None = None) -> Path:
    """Put a state where the kit keeps those of local stacks, or into another file backend."""
    path = (base or state_dir()) / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_preview(stack: str, origin: str, attached_to: str = ENVIRONMENT) -> Path:
    """The state of a live preview, attached to the environment."""
    found = {"attach_to": attached_to, "branch": "feature/x"}
    contract = preview(stack, origin, attached_to).to_json()
    return write_state(stack, state({"contract": contract, "preview": found}))


def without_hosts(contract: Contract) -> Json:
    """As a backend host holds it."""
    data: Json = json.loads(json.dumps(contract.to_json()))
    for role in ("frontend", "backend"):
        del data[role]["hosts"]
    return data


@dataclass
class FakeHost:
    """A backend host: it holds a contract, and secrets of which it says the names.

    `sent` are all orders that came, `before` what happens before a verb is carried out, once.
    """

    host: Host
    contract: Json
    secrets: dict[str, str] = field(default_factory=dict)
    generation: str = "g1"
    differs: list[str] = field(default_factory=list)
    unfinished: bool = False
    sent: list[Json] = field(default_factory=list)
    before: dict[str, Callable[[FakeHost], object]] = field(default_factory=dict)

    def ask(self, verb: str, orders: Mapping[str, Any], **_: Any) -> Json:
        self.sent.append(json.loads(json.dumps({**orders, "verb": verb})))
        happens = self.before.pop(verb, None)
        if happens:
            happens(self)
        answers: dict[str, Callable[[Mapping[str, Any]], Json]] = {
            "running": self._running,
            "status": self._status,
            "deploy": self._deploy,
            "rollback": self._rollback,
        }
        return answers[verb](orders)

    def hold(self, contract: Json) -> None:
        """Another configuration became current."""
        self.contract = contract
        self.generation = f"g{int(self.generation[1:]) + 1}"

    @property
    def verbs(self) -> list[str]:
        return [orders["verb"] for orders in self.sent]

    @property
    def attached(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.contract.get("attached", {})
        return found

    @property
    def allowed(self) -> list[str]:
        found: list[str] = self.contract["cors"]["allowed_origins"]
        return found

    def _running(self, _: Mapping[str, Any]) -> Json:
        return {
            "generation": self.generation,
            "release": "/opt/shop/releases/1",
            "contract": self.contract,
            "secrets": sorted(self.secrets),
            "unfinished": self.unfinished,
        }

    def _status(self, _: Mapping[str, Any]) -> Json:
        return {
            "generation": self.generation,
            "differs": self.differs,
            "unfinished": self.unfinished,
        }

    def _refuse_another(self, orders: Mapping[str, Any]) -> None:
        self.unfinished = False
        if orders["expects"] != self.generation:
            raise HostError(self.host, "another change came first", changed_meanwhile=True)

    def _deploy(self, orders: Mapping[str, Any]) -> Json:
        self._refuse_another(orders)
        texts = {file["path"]: file["text"] for file in orders["generation"]["files"]}
        self.hold(json.loads(texts["contract.json"]))
        return {"changed": True, "restarted": {}, "generation": self.generation}

    def _rollback(self, orders: Mapping[str, Any]) -> Json:
        self._refuse_another(orders)
        assert orders["to"] == orders["expects"]
        return {"changed": False, "restarted": {}, "generation": self.generation}


@dataclass(frozen=True)
class FakeSession:
    host: Host
    fake: FakeHost
    connection: None = None

    def ask(self, verb: str, orders: Mapping[str, Any], **more: Any) -> Json:
        return self.fake.ask(verb, orders, **more)


def sessions(fakes: Mapping[str, FakeHost]) -> Callable[..., Any]:
    """What stands for `rollout.hosts.session`; a host that is no fake is never asked."""

    @contextlib.contextmanager
    def session(host: Host, _identity: object) -> Iterator[FakeSession]:
        yield FakeSession(host, fakes[host.name])

    return session


def bring_up(patch: pytest.MonkeyPatch, runs: Contract, **facts: Any) -> FakeHost:
    """Have the environment up. Its one backend host, which is returned, runs this contract."""
    write_state(ENVIRONMENT, state({"contract": environment().to_json()}))
    (host,) = runs.backend.hosts
    fake = FakeHost(host, without_hosts(runs), **facts)
    patch.setattr(hosts, "session", sessions({host.name: fake}))
    patch.setattr(access, "identity", lambda contract: None)
    return fake
