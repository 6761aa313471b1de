"""Configuration: render a generation per host, hand it to the host's transaction, gather what it
says."""

from __future__ import annotations

import functools
import getpass
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, Unpack, cast

from infra.core import exits, wanted
from infra.core.contract import Contract, Cors, Host, Json
from infra.core.errors import KitError
from infra.core.origins import look_alikes
from on_host import protocol
from on_host.answers import AuditLine, DeployAnswer, HistoryAnswer, PlanAnswer, StatusAnswer
from on_host.protocol import DeployOrders, MoreOrders, Orders, Probes, StatusOrders, Verb
from rollout import access, change, hosts, report, secret_values
from rollout.change import ChangeError
from rollout.host_errors import HostError
from rollout.outputs import Outputs
from rollout.render import render
from rollout.render.generation import Generation
from rollout.stacks import ROOT

AS_WANTED = "as the contract says"
WAIT_S = 60  # for another ship or deploy on the host: ^C leaves one running that ends by itself
_CHANGING = ("deploy", "rollback")  # the verbs that change hosts; the others look
_SHOWN = 3  # paths in a table
_SHOWN_LINES = 20  # of a host's history
ONLY_SECRETS = (
    "the last deploy changed nothing but secrets, and a rollback brings back no secret: set the"
    " value that you want and run `fab deploy`, or name a generation of `fab history`: `fab"
    " rollback --to ID`"
)
WHAT = {"frontend": "page", "backend": "code"}  # what a release is, by role
LOOKS_BACK = ("history", "releases", "logs")  # verbs that ask of a host what it remembers
UNITS = {"backend": ("nginx.service", "{app}.service"), "frontend": ("nginx.service",)}

A = TypeVar("A")  # the type of a verb's answer


class RollbackError(KitError):
    """There is nothing to go back to; the text says what there is."""

    exit_status = exits.USAGE


class UsageError(KitError):
    """An invalid value of an option; the text says how to write it."""

    exit_status = exits.USAGE


def seconds(text: str | None) -> int:
    """How long to wait for another ship or deploy: `90`, `90s` or `5m`; a minute by default. Raises
    UsageError."""
    match = re.fullmatch(r"(\d{1,5})([sm]?)", text or str(WAIT_S))
    if match is None:
        raise UsageError(f"--wait {text}: write seconds or minutes, e.g. 90s or 5m")
    return int(match[1]) * (60 if match[2] == "m" else 1)


def role_of(text: str | None) -> str | None:
    """A role as it is named on the command line. Raises UsageError."""
    if text not in (None, *WHAT):
        raise UsageError(f"--role {text}: there are two, {' and '.join(WHAT)}")
    return text


@dataclass(frozen=True)
class Outcome(Generic[A]):
    """What one host reported; `result` is its answer, `phases` how many seconds each took."""

    role: str
    host: Host
    result: A
    phases: Mapping[str, float] = field(default_factory=dict)


def orders(contract: Contract, role: str) -> Orders:
    """The orders for a host of `role` that needs no configuration to carry them out."""
    return {
        "app": contract.application.name,
        "role": role,
        "who": who(),
        "commit": commit(),
        "wait_s": WAIT_S,
        "units": [unit.format(app=contract.application.name) for unit in UNITS[role]],
    }


def payload(contract: Contract, role: str, host: Host, secret: Mapping[str, str]) -> DeployOrders:
    """The orders for one host: what it should hold and how to find out whether it works."""
    generation = render(contract, role, host, secret)
    return {
        **orders(contract, role),
        "generation": generation.to_json(),
        # So that no message from there quotes one.
        "secrets": dict(secret) if role == "backend" else {},
        "probes": probes(contract, role, generation),
    }


def _orders_for(outputs: Outputs, verb: str) -> Callable[[str, Host], Orders]:
    """What to send to each host. Verbs that look back send no configuration, and no secret leaves
    this machine."""
    contract = outputs.contract
    if verb in LOOKS_BACK:
        return lambda role, host: orders(contract, role)
    if verb == protocol.STATUS:
        names = dict.fromkeys(secret_values.names(outputs), "")
        return lambda role, host: _status_orders(contract, role, host, names)
    secret = secret_values.read(outputs)
    return lambda role, host: payload(contract, role, host, secret)


def _status_orders(
    contract: Contract, role: str, host: Host, names: Mapping[str, str]
) -> StatusOrders:
    outline = render(contract, role, host, names).outline()
    return {**orders(contract, role), "outline": outline}


def who() -> str:
    """Who deploys, for the lock and the audit line."""
    return (
        f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{platform.node()} (pid {os.getpid()})"
    )


@functools.cache
def commit() -> str | None:
    """The commit that this checkout of the kit and its stacks is at, for the audit line."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None


def probes(contract: Contract, role: str, generation: Generation) -> Probes:
    """What must and must not be answered once the generation is live."""
    if role == "frontend":
        return {
            "host": contract.frontend.parsed_origin.authority,
            "pages": {"/": "", "/config.json": contract.backend.origin},
        }
    cors = contract.cors
    refused = []
    if cors.origins and not cors.allows_every_origin:
        refused = [_look_alike(cors)]
    return {
        "host": contract.backend.parsed_origin.authority,
        "allowed": list(cors.allowed_origins),
        "refused": refused,
        "wildcard": cors.allows_every_origin and not cors.allow_credentials,
    }


def _look_alike(cors: Cors) -> str:
    """A value that resembles the first origin of the list and is not in it."""
    for text in look_alikes(cors.origins[0]):
        printable = text.isascii() and text.isprintable()
        if printable and text not in cors.allowed_origins:
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
    """`verb` on every host, or on the role or the host that `only` names, side by side. What
    changes hosts is staged and checked on all of them first, then switched on `batch` hosts at a
    time; where one fails, all stay or go back. `to` is the generation of a rollback, by host.
    Raises ChangeError; `again` is as there."""
    contract, orders_of = outputs.contract, _orders_for(outputs, verb)
    pairs = contract.chosen(only)
    common: MoreOrders = {
        "deploy": change.new_transaction(),
        "together": len(pairs) > 1,
        **more,
    }

    def one(role: str, host: Host, turn: change.Turn) -> Outcome[A]:
        started = time.monotonic()
        with hosts.session(host, access.identity(contract)) as session:
            connected = time.monotonic() - started
            sent = {**orders_of(role, host), **access.logins(contract, session), **common}
            if to is not None:
                sent["to"] = to[host.name]
            result = turn.run(session, verb, sent)
        answer = cast("Json", result)
        if "made_from" in answer:
            answer["to_ship"] = wanted.to_ship(
                outputs.made_from.get(role, {}), answer.pop("made_from")
            )
        phases = {"connect": round(connected, 3), **answer.pop("phases", {})}
        return Outcome(role, host, result, phases)

    outcomes = change.carry_out(contract, pairs, one, batch, changes=verb in _CHANGING, again=again)
    done = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
    if failures := [outcome for outcome in outcomes if isinstance(outcome, HostError)]:
        changed = [outcome.host.name for outcome in done if _has_changed(outcome)]
        raise ChangeError(failures, changed, again=again)
    return done


def _has_changed(outcome: Outcome[Any]) -> bool:
    """Whether a host reports that it has changed; the answer of a verb that looks says nothing."""
    return bool(outcome.result.get("changed"))


def summary(contract: Contract, outcomes: Sequence[Outcome[DeployAnswer]]) -> str:
    """The table of hosts after a deploy."""
    origins = {"frontend": contract.frontend.origin, "backend": contract.backend.origin}
    rows = [(o.role, o.host.address, origins[o.role], state(o.result)) for o in outcomes]
    return report.table(("role", "address", "origin", "state"), rows)


def seconds_by_phase(outcomes: Sequence[Outcome[DeployAnswer]]) -> str:
    """Where the time went, for each host that changed; a host that did not has nothing to
    report."""
    return "\n".join(
        f"  {o.host.name:<12} "
        + " · ".join(f"{name} {spent:.2f} s" for name, spent in o.phases.items() if spent)
        for o in outcomes
        if _has_changed(o)
    )


def state(result: DeployAnswer) -> str:
    """A host's state in a few words."""
    restarted = ", ".join(sorted(result["restarted"]))
    what = "changed" if result["changed"] else "unchanged"
    return "; ".join(filter(None, [what, restarted and f"restarted {restarted}", _to_ship(result)]))


def rollback(
    outputs: Outputs, to: str | None, wait_s: int, batch: int = 1
) -> list[Outcome[DeployAnswer]]:
    """Every host goes back to what it held at the deploy before the last one that changed anything,
    or to `to`.

    Raises RollbackError where there is no such deploy, ChangeError where a host failed.
    """
    looks = run_on_all_hosts(outputs, protocol.HISTORY)
    wanted = {look.host.name: to for look in looks} if to else before(looks)
    missing = [
        look.host.name for look in looks if wanted[look.host.name] not in look.result["kept"]
    ]
    if to and len(missing) == len(looks):
        choice = sorted({name for look in looks for name in look.result["kept"]})
        raise RollbackError(
            f"generation {to} is on no host; there is {', '.join(choice) or 'none'}"
        )
    stays = {look.host.name: look.result["current"] for look in looks}
    goals = {name: stays[name] if name in missing else goal for name, goal in wanted.items()}
    again = {name: f"`fab rollback --to {goal}`" for name, goal in goals.items()}
    return run_on_all_hosts(
        outputs, protocol.ROLLBACK, batch=batch, again=again, to=goals, wait_s=wait_s
    )


def before(looks: Sequence[Outcome[HistoryAnswer]]) -> dict[str, str | None]:
    """What each host held before the last change, from all histories. Raises RollbackError where
    there is none."""
    done = ("deployed", "unchanged")
    held = [
        {
            one["deploy"]: one["generation"]
            for one in look.result["deploys"]
            if one["result"] in done
        }
        for look in looks
    ]
    now = [look.result["current"] for look in looks]
    ids = dict.fromkeys(
        one["deploy"] for look in looks for one in look.result["deploys"] if one["result"] in done
    )
    for identity in ids:
        then = [states.get(identity, current) for states, current in zip(held, now, strict=True)]
        if then != now and all(
            name in look.result["kept"] for name, look in zip(then, looks, strict=True)
        ):
            if [_led_to(name, look) for name, look in zip(then, looks, strict=True)] == now:
                raise RollbackError(ONLY_SECRETS)
            return {look.host.name: name for look, name in zip(looks, then, strict=True)}
    raise RollbackError(
        "there is no configuration before this one on these hosts; `fab deploy` makes one"
    )


def _led_to(name: str | None, look: Outcome[HistoryAnswer]) -> str:
    """What a rollback to a generation makes current: it takes today's secrets, so perhaps another
    one."""
    return str(look.result.get("leads_to", {}).get(str(name), str(name)))


def as_json(outcomes: Sequence[Outcome[Any]]) -> str:
    """Every host's answer under its name, for other programs."""
    return json.dumps(
        {
            o.host.name: {"role": o.role, "address": o.host.address, **o.result, "phases": o.phases}
            for o in outcomes
        },
        indent=2,
    )


def history_text(outcome: Outcome[HistoryAnswer]) -> str:
    """The deploys and ships of one host, the last first; what a rollback can go to is marked."""
    lines = [
        (line["number"], row)
        for rows in (_deploys(outcome), _ships(outcome.result))
        for line, row in rows
        if line["result"] != "unchanged"
    ]
    rows = [row for _, row in sorted(lines, reverse=True)][:_SHOWN_LINES]
    table = report.table(("at", "what", "id", "", "commit", "took", "who", "result"), rows)
    return f"{outcome.host.name}\n" + "\n".join(f"  {line}" for line in table.splitlines())


def _deploys(outcome: Outcome[HistoryAnswer]) -> Iterator[tuple[AuditLine, tuple[str, ...]]]:
    result = outcome.result
    marks = {
        kept: "kept" if _led_to(kept, outcome) == kept else "kept, with today's secrets"
        for kept in result["kept"]
    } | {result["current"]: "current"}
    for line in result["deploys"]:
        yield line, _row(line, "deploy", line["generation"], marks, "")


def _ships(result: HistoryAnswer) -> Iterator[tuple[AuditLine, tuple[str, ...]]]:
    marks = dict.fromkeys(result["releases"], "kept") | {result["release"]: "current"}
    for line in result["ships"]:
        yield line, _row(line, "ship", line["release"], marks, line["revision"])


def _row(
    line: AuditLine, what: str, name: str | None, marks: Mapping[str | None, str], commit: str
) -> tuple[str, ...]:
    took = f"{line['seconds']:.1f} s"
    return (
        line["at"],
        what,
        name or "none",
        marks.get(name or "", ""),
        commit,
        took,
        line["who"],
        line["result"],
    )


def plan_text(outcome: Outcome[PlanAnswer]) -> str:
    """What would change on one host, as a diff, and what would restart, with the reason."""
    result, name = outcome.result, outcome.host.name
    lines = [f"{name}: {_headline(result)}"]
    if result["unfinished"]:
        lines.append("  a change that was interrupted is finished or undone first")
    lines += [f"  restarts {service}: {why}" for service, why in sorted(result["restarts"].items())]
    lines += [f"  {change}: `fab ship` takes it" for change in result.get("to_ship", ())]
    lines += ["  " + text for diff in result["diff"].values() for text in diff.splitlines()]
    return "\n".join(lines)


def _headline(result: PlanAnswer) -> str:
    if result["release"] is None:
        return "has no release yet; run `fab ship` first"
    if result["differs"] or result["restarts"]:
        return "would change"
    return "needs a ship" if result.get("to_ship") else "unchanged"


def status_table(outcomes: Sequence[Outcome[StatusAnswer]]) -> str:
    """One row a host: what it holds, what runs, whether that is the contract."""
    rows = [
        (
            o.host.name,
            o.host.address,
            o.result["generation"] or "none",
            _release(o.result),
            o.result.get("revision") or "",
            " ".join(f"{unit}={state}" for unit, state in o.result["units"].items()),
            _state(o),
        )
        for o in outcomes
    ]
    return report.table(
        ("host", "address", "generation", "release", "commit", "units", "state"), rows
    )


def _release(result: StatusAnswer) -> str:
    return result["release"].rsplit("/", 1)[-1] if result["release"] else "none"


def _state(outcome: Outcome[StatusAnswer]) -> str:
    """What is to be said of a host; that its code is not what was shipped last is nothing wrong: a
    person wanted it."""
    verdict, line = _verdict(outcome.result), outcome.result.get("last_ship") or {}
    if line.get("result") != "rolled back":
        return verdict
    back = f"its {WHAT[outcome.role]} was rolled back from release {line['previous'] or 'unknown'}"
    if as_wanted(outcome):
        verdict = f"configuration {verdict}"
    return f"{verdict}; {back}: `fab ship` ships what is here"


def as_wanted(outcome: Outcome[StatusAnswer]) -> bool:
    """Whether a host holds and runs what the contract says."""
    return not _problems(outcome.result)


def would_change(outcome: Outcome[PlanAnswer]) -> bool:
    """Whether a deploy or a ship has anything to do on a host that was asked for a plan."""
    result = outcome.result
    keys = ("differs", "restarts", "unfinished", "to_ship")
    return result["release"] is None or any(result.get(key) for key in keys)


def _verdict(result: StatusAnswer) -> str:
    """What is not as it should be, each with its cure; the first thing about the configuration, and
    the release."""
    return "; ".join(_problems(result)) or AS_WANTED


def _problems(result: StatusAnswer) -> list[str]:
    """What differs from the contract, each with its cure; empty where nothing does."""
    changed = _release_changed(result.get("release_changed", []), _release(result))
    texts = [_configuration(result), changed, _to_ship(result)]
    return [text for text in texts if text]


def _configuration(result: StatusAnswer) -> str:
    if result.get("replaced"):
        return str(result["replaced"])
    if result.get("in_doubt"):
        return "waits for the outcome on the other hosts: run `fab deploy`"
    if result["unfinished"]:
        return "interrupted: run `fab deploy`"
    if result["differs"]:
        return "differs from the contract: run `fab deploy`"
    if result["restarts"]:
        reasons = "; ".join(
            f"{service}: {why}" for service, why in sorted(result["restarts"].items())
        )
        return f"{reasons}: run `fab deploy`"
    if stopped := sorted(unit for unit, state in result["units"].items() if state != "active"):
        return f"{', '.join(stopped)}: not running: run `fab logs`, then `fab deploy --restart`"
    if killed := result.get("workers_killed"):
        return (
            f"{killed} of gunicorn's workers were killed in the last 5 min, for want of memory: see"
            " `fab doctor`"
        )
    return ""


def _to_ship(result: DeployAnswer | StatusAnswer) -> str:
    """The keys of the config that the release was not made from."""
    keys = [change.partition(":")[0] for change in result.get("to_ship", ())]
    return f"{', '.join(keys)} changed: run `fab ship`" if keys else ""


def _release_changed(paths: Sequence[str], release: str) -> str:
    if not paths:
        return ""
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return (
        f"release {release} was changed on the host ({', '.join(paths[:_SHOWN])}{more}): run `fab"
        " ship`"
    )
