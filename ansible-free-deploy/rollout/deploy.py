"""Run a verb on all hosts: render a generation for each, send it the orders, gather the answers."""

from __future__ import annotations

import functools
import getpass
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar, Unpack, cast

from infra.core import exits, wanted
from infra.core.contract import Contract, Cors, Host, Json
from infra.core.errors import KitError
from infra.core.https import FILES
from infra.core.keys.previews import PASSWORD
from infra.core.origins import Origin, look_alikes
from infra.core.topology import ROLES
from on_host import protocol
from on_host.protocol import (
    Certificate,
    DeployOrders,
    MoreOrders,
    Orders,
    Probes,
    StatusOrders,
    Verb,
)
from rollout import access, change, hosts, report, secret_values
from rollout.certificates import given
from rollout.certificates.errors import PairError
from rollout.change import ChangeError
from rollout.host_errors import HostError
from rollout.outputs import Outputs
from rollout.render import render, timers
from rollout.render.generation import Generation
from rollout.secret_values import SecretsError
from rollout.stacks import ROOT

WAIT_S = 60  # for another ship or deploy on the host: ^C leaves one running that ends by itself
_CHANGING = ("deploy", "rollback")  # the verbs that change hosts; the others look
WHAT = {"frontend": "page", "backend": "code"}  # what a release is, by role
# Verbs that ask of a host what it remembers.
LOOKS_BACK = ("history", "releases", "logs", "moving", "running")
UNITS = {
    "backend": ("nginx.service", "{app}.service"),
    "frontend": ("nginx.service",),
}

A = TypeVar("A")  # the type of a verb's answer
A_co = TypeVar("A_co", covariant=True)


class UsageError(KitError):
    """An invalid value of an option; the text says how to write it."""

    exit_status = exits.USAGE


def seconds(text: str | None, option: str = "--wait") -> int:
    """How long to wait: `90`, `90s` or `5m`; a minute by default.

    Raises UsageError.
    """
    if not text:
        return WAIT_S
    match = re.fullmatch(r"(\d{1,5})([sm]?)", text)
    if match is None:
        raise UsageError(f"{option} {text}: write seconds or minutes, e.g. 90s or 5m")
    number, unit = match.groups()
    if unit == "m":
        return int(number) * 60
    return int(number)


def role_of(text: str | None) -> str | None:
    """A role as it is named on the command line. Raises UsageError."""
    if text not in (None, *WHAT):
        raise UsageError(f"--role {text}: there are two, {' and '.join(WHAT)}")
    return text


@dataclass(frozen=True)
class Outcome(Generic[A_co]):
    """What one host reported; `result` is its answer, `phases` how many seconds each took."""

    role: str
    host: Host
    result: A_co
    phases: Mapping[str, float] = field(default_factory=dict)


def orders(contract: Contract, role: str) -> Orders:
    """The orders for a host of `role` that needs no configuration to carry them out."""
    return {
        "app": contract.application.name,
        "role": role,
        "who": who(),
        "commit": commit(),
        "wait_s": WAIT_S,
        "units": units(contract, role),
    }


def units(contract: Contract, role: str) -> list[str]:
    """The units that run on a host of `role`."""
    application = contract.application
    found = [unit.format(app=application.name) for unit in UNITS[role]]
    if role == "backend":
        for own in timers.units(application).values():
            found += own
    return found


def payload(
    contract: Contract,
    role: str,
    host: Host,
    secret: Mapping[str, str],
) -> DeployOrders:
    """The orders for one host: what it should hold and how to find out whether it works. `secret`
    is what it gets (`secret_values.of_host`)."""
    generation = render(contract, role, host, secret)
    return {
        **orders(contract, role),
        "generation": generation.to_json(),
        "secrets": _secrets_of(role, secret),  # so that no message from there quotes one
        "probes": probes(contract, role, generation),
    }


def _secrets_of(role: str, secret: Mapping[str, str]) -> dict[str, str]:
    """What a host of the role gets of these secrets: the application's are its host's alone."""
    if role == "backend":
        return dict(secret)
    return {name: value for name, value in secret.items() if name == PASSWORD}


def _orders_for(outputs: Outputs, verb: str) -> Callable[[str, Host], Orders]:
    """What to send to each host. Verbs that look back send no configuration, and no secret leaves
    this machine."""
    contract = outputs.contract
    if verb in LOOKS_BACK:
        return lambda role, host: orders(contract, role)
    if verb == protocol.STATUS:
        compared = _compared(outputs)

        def outlined(role: str, host: Host) -> Orders:
            names = secret_values.names_for_host(outputs, role)
            sent = _status_orders(contract, role, host, names)
            if role in compared:
                sent["certificate"] = compared[role]
            return sent

        return outlined
    secrets = {role: secret_values.of_host(outputs, role) for role in ROLES}
    pairs = _certificates(outputs, verb)

    def whole(role: str, host: Host) -> Orders:
        sent = payload(contract, role, host, secrets[role])
        if role in pairs:
            sent["certificate"] = pairs[role]
        return sent

    return whole


def _certificates(outputs: Outputs, verb: str) -> dict[str, Certificate]:
    """By role, the certificate that hosts should have, where it is ours to give; only a deploy gets
    its key. Raises PairError and SecretsError."""
    if verb not in (protocol.DEPLOY, protocol.PLAN, protocol.STATUS):
        return {}
    secrets = secret_values.of_https(outputs)
    is_deploy = verb == protocol.DEPLOY
    found = given.orders(outputs.contract, secrets, make=is_deploy)
    if not is_deploy:
        return given.without_keys(found)
    if outputs.contract.tls == FILES:
        for role, text in given.ages(found).items():
            report.step(role, text)
    return found


def _compared(outputs: Outputs) -> dict[str, Certificate]:
    """The certificates that a status compares with; none where the secrets are no good pair, which
    a deploy says."""
    try:
        return _certificates(outputs, protocol.STATUS)
    except (PairError, SecretsError):
        return {}


def _status_orders(
    contract: Contract,
    role: str,
    host: Host,
    names: Mapping[str, str],
) -> StatusOrders:
    outline = render(contract, role, host, names).outline()
    return {**orders(contract, role), "outline": outline}


def who() -> str:
    """Who deploys, for the lock and the audit line."""
    user = os.environ.get("SUDO_USER") or getpass.getuser()
    return f"{user}@{platform.node()} (pid {os.getpid()})"


@functools.cache
def commit() -> str | None:
    """The commit that this checkout of the kit and its stacks is at, for the audit line."""
    git = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return git.stdout.strip() or None


def probes(
    contract: Contract,
    role: str,
    generation: Generation,
) -> Probes:
    """What must and must not be answered once the generation is live."""
    if role == "frontend":
        found: Probes = {
            "host": contract.frontend.parsed_origin.authority,
            "pages": {"/": "", "/config.json": contract.backend.origin},
        }
    else:
        cors = contract.cors
        found = {
            "host": contract.backend.parsed_origin.authority,
            "allowed": list(cors.exact_origins),
            "refused": _refused(cors),
            "wildcard": cors.allows_every_origin and not cors.allow_credentials,
        }
    if not contract.speaks_https:
        return found
    of_role = contract.frontend if role == "frontend" else contract.backend
    return {
        **found,
        "origin": of_role.origin,
        "lineage": contract.lineage(role),
        "plain": _plain(contract, role),
    }


def _plain(contract: Contract, role: str) -> Literal["redirect", "deny", "same"]:
    """What port 80 answers next to https."""
    if role == "frontend":
        is_former = _twin(contract.frontend.parsed_origin) in contract.frontend.former
        return "same" if is_former else "redirect"
    return "same" if contract.answers_http else "deny"


def _refused(cors: Cors) -> list[str]:
    """A look-alike of the first origin, and the http twin of each https one, which nobody may be
    mistaken for."""
    if not cors.origins or cors.allows_every_origin:
        return []
    refused = [_look_alike(cors)]
    for origin in cors.origins:
        if origin.scheme != "https":
            continue
        twin = _twin(origin)
        if not cors.lists(twin):
            refused.append(twin)
    return list(dict.fromkeys(refused))


def _twin(origin: Origin) -> str:
    """The same origin by http."""
    return str(replace(origin, scheme="http"))


def _look_alike(cors: Cors) -> str:
    """A value that resembles the first origin of the list and is not in it."""
    for text in look_alikes(cors.origins[0]):
        printable = text.isascii() and text.isprintable()
        if printable and not cors.lists(text):
            return text
    raise AssertionError("an origin has more look-alikes than a list has room for")


def run_on_all_hosts(
    outputs: Outputs,
    verb: Verb[Any, A],
    *,
    batch: int = 1,
    only: str | None = None,
    again: Mapping[str, str] | None = None,
    to: Mapping[str, str | None] | None = None,
    **more: Unpack[MoreOrders],
) -> list[Outcome[A]]:
    """Run `verb` on every host, or on the role or the host that `only` names, side by side.

    What changes hosts is staged and checked on all of them first, then switched on `batch` hosts at
    a time; where one fails, all stay or go back. `to` is the generation of a rollback, by host.
    Raises ChangeError, `again` is as there; UsageError where there is no such host.
    """
    contract = outputs.contract
    orders_of = _orders_for(outputs, verb)
    pairs = _chosen(contract, only)
    common: MoreOrders = {
        "deploy": change.new_transaction(),
        "together": len(pairs) > 1,
        **more,
    }

    def run_on_one(role: str, host: Host, turn: change.Turn) -> Outcome[A]:
        started = time.monotonic()
        with hosts.session(host, access.identity(contract)) as session:
            connected = time.monotonic() - started
            sent = {
                **orders_of(role, host),
                **access.logins(contract, session),
                **common,
            }
            if to is not None:
                sent["to"] = to[host.name]
            answer = turn.run(session, verb, sent)
        return _outcome(outputs, role, host, answer, connected)

    changes = verb in _CHANGING
    outcomes = change.carry_out(contract, pairs, run_on_one, batch, changes=changes, again=again)
    return _all_or_error(outcomes, again)


def _chosen(contract: Contract, only: str | None) -> Sequence[tuple[str, Host]]:
    """The hosts that `only` names, each with its role; all where it names none. Raises
    UsageError."""
    pairs = contract.chosen(only)
    if pairs:
        return pairs
    raise UsageError(
        f"{contract.environment} has no {only} of its own: it is attached to"
        f" {contract.attached_to}",
        cure=f"ask that one: `--stack {contract.attached_to}`",
    )


def _outcome(
    outputs: Outputs,
    role: str,
    host: Host,
    result: A,
    connected: float,
) -> Outcome[A]:
    """A host's answer, with what was found out here: the keys to ship, the time to connect in
    seconds."""
    answer = cast("Json", result)
    if "made_from" in answer:
        made_from = answer.pop("made_from")
        answer["to_ship"] = wanted.to_ship(outputs.made_from.get(role, {}), made_from)
    phases = {
        "connect": round(connected, 3),
        **answer.pop("phases", {}),
    }
    return Outcome(role, host, result, phases)


def _all_or_error(
    outcomes: Sequence[Outcome[A] | HostError], again: Mapping[str, str] | None
) -> list[Outcome[A]]:
    """What the hosts answered. Raises ChangeError where one failed."""
    answered, failures = change.split(outcomes)
    if failures:
        changed = [outcome.host.name for outcome in answered if has_changed(outcome)]
        raise ChangeError(failures, changed, again=again)
    return answered


def has_changed(outcome: Outcome[Any]) -> bool:
    """Whether a host reports that it has changed; the answer of a verb that looks says nothing."""
    return bool(outcome.result.get("changed"))
