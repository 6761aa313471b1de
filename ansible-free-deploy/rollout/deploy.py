"""Configuration: render a generation per host, hand it to the host's transaction, gather what it says."""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from urllib.parse import urlsplit

from infra.contract import Contract, Host, Json
from infra.origins import look_alikes, parse_origin
from rollout import access, hosts, report, secret_values
from rollout.outputs import Outputs
from rollout.render import render
from rollout.render.generation import Generation

WAIT_S = 60  # for another ship or deploy on the host: ^C leaves one running that ends by itself
UNITS = {"backend": ("nginx.service", "{app}.service"), "frontend": ("nginx.service",)}


@dataclass(frozen=True)
class Outcome:
    """What one host reported; `result` is its answer as the transaction gives it."""

    role: str
    host: Host
    result: Json


def script() -> str:
    """The text that runs on a host."""
    return resources.files("rollout").joinpath("transaction.py").read_text()


def payload(contract: Contract, role: str, host: Host, secret: Mapping[str, str], verb: str, **more: object) -> Json:
    """The orders for one host: what it should hold and how to find out whether it works."""
    generation = render(contract, role, host, secret)
    return {
        "verb": verb,
        "app": contract.application.name,
        "role": role,
        "who": who(),
        "wait_s": WAIT_S,
        "generation": generation.to_json(),
        "units": [unit.format(app=contract.application.name) for unit in UNITS[role]],
        "probes": probes(contract, role, generation),
        **more,
    }


def who() -> str:
    """Who deploys, for the lock and the audit line."""
    return f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{platform.node()} (pid {os.getpid()})"


def probes(contract: Contract, role: str, generation: Generation) -> Json:
    """What must and must not be answered once the generation is live."""
    if role == "frontend":
        return {"host": _host(contract.frontend.origin), "pages": {"/": "", "/config.json": contract.backend.origin}}
    everyone = contract.cors.allowed_shapes == ("*",)
    names = contract.cors.allowed_origins
    strangers = [] if everyone else [_look_alike(contract, origin) for origin in names[:1]]
    return {
        "host": _host(contract.backend.origin),
        "allowed": list(names),
        "refused": strangers,
        "wildcard": everyone and not contract.cors.allow_credentials,
    }


def _look_alike(contract: Contract, origin: str) -> str:
    printable = (
        text for text in look_alikes(parse_origin(origin, production=False)) if text.isascii() and text.isprintable()
    )
    return next(text for text in printable if text not in contract.cors.allowed_origins)


def _host(origin: str) -> str:
    return urlsplit(origin).netloc


def everywhere(outputs: Outputs, verb: str, **more: object) -> list[Outcome]:
    """`verb` (deploy, plan or status) on every host, side by side. Raises HostError for the first that failed."""
    contract, secret = outputs.contract, secret_values.read(outputs)

    def one(pair: tuple[str, Host]) -> Outcome:
        role, host = pair
        with hosts.session(host, access.identity(contract)) as session:
            orders = payload(contract, role, host, secret, verb, **more)
            with report.busy(host.name) as begin:
                result = session.run(script(), orders, on_event=lambda event: begin(event["text"]))
        return Outcome(role, host, result)

    return hosts.each(contract.hosts, one)


def summary(contract: Contract, outcomes: Sequence[Outcome]) -> str:
    """The table of hosts after a deploy."""
    origins = {"frontend": contract.frontend.origin, "backend": contract.backend.origin}
    rows = [(o.role, o.host.address, origins[o.role], state(o.result)) for o in outcomes]
    return report.table(("role", "address", "origin", "state"), rows)


def state(result: Json) -> str:
    """A host's state in a few words."""
    if not result["changed"]:
        return "unchanged"
    restarted = ", ".join(sorted(result["restarted"]))
    return f"changed; restarted {restarted}" if restarted else "changed"


def plan_text(outcome: Outcome) -> str:
    """What would change on one host, as a diff, and what would restart, with the reason."""
    result, name = outcome.result, outcome.host.name
    lines = [f"{name}: {_headline(result)}"]
    if result["unfinished"]:
        lines.append("  an interrupted deploy is undone first")
    lines += [f"  restarts {service}: {why}" for service, why in sorted(result["restarts"].items())]
    lines += ["  " + text for diff in result["diff"].values() for text in diff.splitlines()]
    return "\n".join(lines)


def _headline(result: Json) -> str:
    if result["release"] is None:
        return "has no release yet; run `fab ship` first"
    return "would change" if result["differs"] or result["restarts"] else "unchanged"


def status_table(outcomes: Sequence[Outcome]) -> str:
    """One row a host: what it holds, what runs, whether that is the contract."""
    rows = [
        (
            o.host.name,
            o.host.address,
            o.result["generation"] or "none",
            _release(o.result),
            " ".join(f"{unit}={state}" for unit, state in o.result["units"].items()),
            _verdict(o.result),
        )
        for o in outcomes
    ]
    return report.table(("host", "address", "generation", "release", "units", "state"), rows)


def _release(result: Json) -> str:
    return result["release"].rsplit("/", 1)[-1] if result["release"] else "none"


def _verdict(result: Json) -> str:
    if result["unfinished"]:
        return "interrupted: run `fab deploy`"
    if result["differs"]:
        return "differs from the contract: run `fab deploy`"
    if result["restarts"]:
        return (
            "; ".join(f"{service}: {why}" for service, why in sorted(result["restarts"].items())) + ": run `fab deploy`"
        )
    return "as the contract says"
