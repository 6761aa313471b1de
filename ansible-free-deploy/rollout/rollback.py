"""Go back to the code before: on exactly the hosts that the last ship has changed, or to a release
by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from infra.core import exits
from infra.core.contract import Host
from infra.core.errors import KitError
from on_host import protocol
from on_host.answers import AuditLine, ReleasesAnswer
from on_host.protocol import ReleaseRollbackOrders
from rollout import access, change, deploy, hosts, question, release
from rollout.config_rollback import RollbackError
from rollout.deploy import WHAT, Outcome
from rollout.outputs import Outputs
from rollout.ship import all_or_error, common_orders

PAST_MIGRATIONS = "--past-migrations"


class DeclinedError(KitError):
    """The person at the terminal did not agree."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Back:
    """One host's rollback, from a release to another. `migrations` are those that the other one
    does not hold, and `copy` says where the database from before them is."""

    role: str
    host: Host
    leaving: str
    to: str
    revision: str
    migrations: tuple[str, ...] = ()
    copy: str = ""

    def __str__(self) -> str:
        where = f"{self.host.name}: {WHAT[self.role]}"
        return f"{where} {self.leaving} → {self.to} ({of_commit(self.revision)})"


def of_commit(revision: str) -> str:
    """A release's commit in a sentence; hosts say themselves that there is none, or that it is not
    known."""
    return f"application's commit {revision}" if re.match(r"[0-9a-f]{7}", revision) else revision


def rollback(
    outputs: Outputs,
    to: str | None,
    role: str | None,
    past_migrations: bool,
    wait_s: int,
    batch: int = 1,
) -> list[str]:
    """Take back what the last ship changed, or go to release `to`; on hosts of `role` only, if one
    is named. What was done, line by line; empty where there is nothing to do.

    Raises RollbackError where there is nothing to go back to, QuestionError or DeclinedError before
    migrations that the older code does not know, ChangeError where a host failed.
    """
    looks = deploy.run_on_all_hosts(outputs, protocol.RELEASES)
    looks = [look for look in looks if role in (None, look.role)]
    ways = to_release(looks, to) if to else to_before_the_last_ship(looks)
    if not ways:
        return []
    ask_before(ways, past_migrations)
    contract = outputs.contract
    own = {way.host.name: way for way in ways}
    pairs = []
    for host_role, host in contract.hosts:
        if host.name in own:
            pairs.append((host_role, host))
    common = common_orders(contract, pairs, wait_s)

    def roll_back_one(role: str, host: Host, turn: change.Turn) -> tuple[Host, bool]:
        way = own[host.name]
        orders = release.rollback_orders(
            contract.application.name,
            role,
            deploy.who(),
            way.to,
            way.leaving or None,
        )
        sent: ReleaseRollbackOrders = {**orders, **common}
        with hosts.session(host, access.identity(contract)) as session:
            answer = turn.run(session, protocol.RELEASE_ROLLBACK, sent)
            return host, answer["changed"]

    again = {way.host.name: f"`fab rollback --release --to {way.to}`" for way in ways}
    outcomes = change.carry_out(contract, pairs, roll_back_one, batch, again=again)
    all_or_error(outcomes, again)
    return _report(looks, own)


def _report(looks: Sequence[Outcome[ReleasesAnswer]], own: Mapping[str, Back]) -> list[str]:
    """What was done, then which hosts stay at theirs, then which migrations stay applied."""
    lines = [str(way) for way in own.values()]
    for look in looks:
        if look.host.name not in own:
            lines.append(f"{look.host.name}: stays at {_current(look)}")
    for way in own.values():
        if way.migrations:
            lines.append(left_applied(way))
    return lines


def left_applied(way: Back) -> str:
    """What the data is after a rollback past migrations."""
    text = f"{way.host.name}: these migrations stay applied: {', '.join(way.migrations)}"
    if way.copy:
        text += f"; the database from before them is in {way.copy}"
    return text


def ask_before(ways: Sequence[Back], agreed: bool) -> None:
    """Return where no way leads past a migration, or a person agrees to that. Raises QuestionError
    or DeclinedError."""
    past = [way for way in ways if way.migrations]
    if not past or agreed:
        return
    unknown = []
    for way in past:
        migrations = ", ".join(way.migrations)
        unknown.append(f"{way.host.name}: release {way.to} does not know {migrations}")
    gaps = "; ".join(unknown)
    typed = question.ask(
        f"Migrations are not undone: the older code runs on the newer database.\n{gaps}\nType"
        " yes to go back: ",
        "nothing was changed: migrations are not undone, and the older code would run on the newer"
        f" database. {gaps}. There is no terminal to ask on: add {PAST_MIGRATIONS} to go back"
        " all the same",
    )
    if typed.lower() not in ("y", "yes"):
        raise DeclinedError("nothing was changed")


# ---------------------------------------------------------------------------------------- which way


def to_before_the_last_ship(looks: Sequence[Outcome[ReleasesAnswer]]) -> list[Back]:
    """The rollback of every host that the last ship (or the last rollback of the code) has changed;
    of others none.

    Raises RollbackError where that is not known, or one of these hosts had no release before, or
    has it no longer.
    """
    lines: dict[str, AuditLine] = {}
    for look in looks:
        if look.result["last"]:
            lines[look.host.name] = look.result["last"]
    if not lines:
        raise RollbackError("the last ship is on no host's record", cure=_choice(looks))
    last = max(lines.values(), key=_moment)
    own = []
    before: dict[str, str] = {}
    first = []
    for look in looks:
        name = look.host.name
        if name not in lines or lines[name]["deploy"] != last["deploy"]:
            continue
        own.append(look)
        previous = lines[name]["previous"]
        if previous is None:
            first.append(name)
        else:
            before[name] = previous
    if first:
        raise RollbackError(
            f"there is no release before this one on {', '.join(first)}",
            cure="`fab ship` puts one",
        )
    for look in own:
        name = look.host.name
        if before[name] not in look.result["kept"]:
            raise RollbackError(
                f"release {before[name]}, which the last ship replaced, is not on {name} any more",
                cure=_choice([look]),
            )
    return [way(look, before[look.host.name]) for look in own]


def _moment(line: AuditLine) -> datetime:
    return datetime.strptime(line["at"], "%Y-%m-%dT%H:%M:%S%z")


def to_release(looks: Sequence[Outcome[ReleasesAnswer]], to: str) -> list[Back]:
    """The way to a release by its name, of every host of the role that it is of. Raises
    RollbackError."""
    roles = set()
    for look in looks:
        if to in look.result["kept"]:
            roles.add(look.role)
    if not roles:
        raise RollbackError(f"release {to} is on no host", cure=_choice(looks))
    lacking = []
    ways = []
    for look in looks:
        if look.role not in roles:
            continue
        if to not in look.result["kept"]:
            lacking.append(look.host.name)
        elif look.result["current"] != to:
            ways.append(way(look, to))
    if lacking:
        raise RollbackError(
            f"release {to} is not on {', '.join(lacking)}, and all hosts change or none"
        )
    return ways


def _choice(looks: Sequence[Outcome[ReleasesAnswer]]) -> str:
    """Which other releases there are, and how to name one."""
    there = set()
    for look in looks:
        for name, kept in look.result["kept"].items():
            if name != look.result["current"]:
                there.add(f"{name} ({WHAT[look.role]}, {of_commit(kept['revision'])})")
    if not there:
        return "there is no other release; `fab ship` puts one"
    return f"name one: `fab rollback --release --to ID`; there is {', '.join(sorted(there))}"


def way(look: Outcome[ReleasesAnswer], to: str) -> Back:
    """A host's way to a release that is there."""
    result = look.result
    kept = result["kept"]
    current = result["current"] or ""  # none where somebody has removed the link
    past = set(kept.get(current, kept[to])["migrations"]) - set(kept[to]["migrations"])
    return Back(
        look.role,
        look.host,
        current,
        to,
        kept[to]["revision"],
        tuple(sorted(past)),
        copy_from(result["ships"], to) if past else "",
    )


def copy_from(ships: Sequence[AuditLine], to: str) -> str:
    """Where the first copy of the database is that a ship has made since release `to` served.
    `ships`: the last first."""
    found = ""
    for line in ships:
        if line["release"] == to and line["result"] in ("shipped", "rolled back"):
            break
        found = line.get("copy") or found
    return found


def _current(look: Outcome[ReleasesAnswer]) -> str:
    kept = look.result["kept"]
    current = look.result["current"]
    if not current:
        return "no release"
    return f"{WHAT[look.role]} {current} ({of_commit(kept[current]['revision'])})"
