"""What a person or another program reads of the hosts' answers: texts, tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from infra.core.contract import Contract
from on_host.answers import AuditLine, DeployAnswer, HistoryAnswer, PlanAnswer, StatusAnswer
from rollout import report, timer_report
from rollout.config_rollback import leads_to
from rollout.deploy import WHAT, Outcome, has_changed
from rollout.move import words

if TYPE_CHECKING:
    from rollout.certificates.shown import Shown

AS_WANTED = "as the contract says"
_SHOWN_PATHS = 3  # in a table
_SHOWN_LINES = 20  # of a host's history
_OF_HISTORY = ("at", "what", "id", "", "commit", "took", "who", "result")
Row = tuple[str, ...]


# ------------------------------------------------------------------------------------------- deploy


def summary(contract: Contract, outcomes: Sequence[Outcome[DeployAnswer]]) -> str:
    """The table of hosts after a deploy."""
    origins = {
        "frontend": contract.frontend.origin,
        "backend": contract.backend.origin,
    }
    rows = []
    for outcome in outcomes:
        row = (
            outcome.role,
            outcome.host.address,
            origins[outcome.role],
            state(outcome.result),
        )
        rows.append(row)
    return report.table(("role", "address", "origin", "state"), rows)


def seconds_by_phase(outcomes: Sequence[Outcome[DeployAnswer]]) -> str:
    """Where the time went, for each host that changed; a host that did not has nothing to
    report."""
    lines = []
    for outcome in outcomes:
        if not has_changed(outcome):
            continue
        phases = []
        for name, spent in outcome.phases.items():
            if spent:
                phases.append(f"{name} {spent:.2f} s")
        lines.append(f"  {outcome.host.name:<12} {' · '.join(phases)}")
    return "\n".join(lines)


def state(result: DeployAnswer) -> str:
    """A host's state in a few words."""
    texts = ["changed" if result["changed"] else "unchanged"]
    if result.get("certificate"):
        texts.append("new certificate")
    if result["restarted"]:
        services = ", ".join(sorted(result["restarted"]))
        texts.append(f"restarted {services}")
    to_ship = _to_ship(result)
    if to_ship:
        texts.append(to_ship)
    return "; ".join(texts)


def as_json(outcomes: Sequence[Outcome[Any]]) -> str:
    """Every host's answer under its name, for other programs."""
    answers = {}
    for outcome in outcomes:
        answers[outcome.host.name] = {
            "role": outcome.role,
            "address": outcome.host.address,
            **outcome.result,
            "phases": outcome.phases,
        }
    return json.dumps(answers, indent=2)


# ------------------------------------------------------------------------------------------ history


def history_text(outcome: Outcome[HistoryAnswer]) -> str:
    """The deploys and ships of one host, the last first; what a rollback can go to is marked."""
    lines: list[tuple[int, Row]] = []
    for line, row in [*_deploys(outcome), *_ships(outcome.result)]:
        if line["result"] != "unchanged":
            lines.append((line["number"], row))
    lines.sort(reverse=True)
    rows = [row for _, row in lines[:_SHOWN_LINES]]
    table = report.table(_OF_HISTORY, rows)
    texts = [outcome.host.name]
    for text in table.splitlines():
        texts.append(f"  {text}")
    return "\n".join(texts)


def _deploys(outcome: Outcome[HistoryAnswer]) -> Iterator[tuple[AuditLine, Row]]:
    result = outcome.result
    marks: dict[str | None, str] = {}
    for kept in result["kept"]:
        marks[kept] = "kept"
        if leads_to(kept, outcome) != kept:
            marks[kept] = "kept, with today's secrets"
    marks[result["current"]] = "current"
    for line in result["deploys"]:
        yield line, _row(line, "deploy", line["generation"], marks, "")


def _ships(result: HistoryAnswer) -> Iterator[tuple[AuditLine, Row]]:
    marks: dict[str | None, str] = {}
    for kept in result["releases"]:
        marks[kept] = "kept"
    marks[result["release"]] = "current"
    for line in result["ships"]:
        yield line, _row(line, "ship", line["release"], marks, line["revision"])


def _row(
    line: AuditLine,
    what: str,
    name: str | None,
    marks: Mapping[str | None, str],
    commit: str,
) -> Row:
    return (
        line["at"],
        what,
        name or "none",
        marks.get(name or "", ""),
        commit,
        f"{line['seconds']:.1f} s",
        line["who"],
        line["result"],
    )


# --------------------------------------------------------------------------------------------- plan


def plan_text(outcome: Outcome[PlanAnswer]) -> str:
    """What would change on one host, as a diff, and what would restart, with the reason."""
    result = outcome.result
    lines = [f"{outcome.host.name}: {_headline(result)}"]
    if result["unfinished"]:
        lines.append("  a change that was interrupted is finished or undone first")
    for service, why in sorted(result["restarts"].items()):
        lines.append(f"  restarts {service}: {why}")
    for change in result.get("to_ship", ()):
        lines.append(f"  {change}: `fab ship` takes it")
    for diff in result["diff"].values():
        for text in diff.splitlines():
            lines.append(f"  {text}")
    return "\n".join(lines)


def _headline(result: PlanAnswer) -> str:
    if result["release"] is None:
        return "has no release yet; run `fab ship` first"
    if result["differs"] or result["restarts"]:
        return "would change"
    if result.get("to_ship"):
        return "needs a ship"
    return "unchanged"


def would_change(outcome: Outcome[PlanAnswer]) -> bool:
    """Whether a deploy or a ship has anything to do on a host that was asked for a plan."""
    result = outcome.result
    keys = ("differs", "restarts", "unfinished", "to_ship")
    return result["release"] is None or any(result.get(key) for key in keys)


# ------------------------------------------------------------------------------------------- status


def status_table(outcomes: Sequence[Outcome[StatusAnswer]]) -> str:
    """One row a host: what it holds, what runs, whether that is the contract."""
    header = ("host", "address", "generation", "release", "commit", "units", "state")
    rows = [_status_row(outcome) for outcome in outcomes]
    table = report.table(header, rows)
    timers: list[Row] = []
    for outcome in outcomes:
        timers += timer_report.rows(outcome.host.name, outcome.result.get("timers", {}))
    if timers:
        table = "\n".join([table, "", report.table(timer_report.HEADINGS, timers)])
    found = found_certificates(outcomes)
    if not found:
        return table
    from rollout.certificates import shown

    return "\n".join([table, "", shown.table(found), *shown.notes(found)])


def found_certificates(outcomes: Sequence[Outcome[StatusAnswer]]) -> list[Shown]:
    """The certificates of the hosts that have https."""
    found = []
    for outcome in outcomes:
        certificate = _certificate(outcome)
        if certificate:
            found.append(certificate)
    return found


def _certificate(outcome: Outcome[StatusAnswer]) -> Shown | None:
    """A host's certificate; None where it has no https, and then nothing slow is imported."""
    answer = outcome.result.get("certificate")
    if not answer or not answer["lineage"]:
        return None
    from rollout.certificates import shown

    return shown.of(outcome.host.name, outcome.role, answer)


def _status_row(outcome: Outcome[StatusAnswer]) -> Row:
    result = outcome.result
    units = [f"{unit}={state}" for unit, state in result["units"].items()]
    return (
        outcome.host.name,
        outcome.host.address,
        result["generation"] or "none",
        _release(result),
        result.get("revision") or "",
        " ".join(units),
        _state(outcome),
    )


def _release(result: StatusAnswer) -> str:
    if not result["release"]:
        return "none"
    return result["release"].rsplit("/", 1)[-1]


def _state(outcome: Outcome[StatusAnswer]) -> str:
    """A host's state, each problem with its cure. Code that was rolled back is no problem: a person
    wanted it."""
    problems = _problems(outcome)
    verdict = "; ".join(problems) or AS_WANTED
    line = outcome.result.get("last_ship") or {}
    if line.get("result") != "rolled back":
        return verdict
    if not problems:
        verdict = f"configuration {verdict}"
    previous = line["previous"] or "unknown"
    back = f"its {WHAT[outcome.role]} was rolled back from release {previous}"
    return f"{verdict}; {back}: `fab ship` ships what is here"


def as_wanted(outcome: Outcome[StatusAnswer]) -> bool:
    """Whether a host holds and runs what the contract says."""
    return not _problems(outcome)


def _problems(outcome: Outcome[StatusAnswer]) -> list[str]:
    """What differs from the contract, each with its cure; empty where nothing does."""
    result = outcome.result
    changed = _release_changed(result.get("release_changed", []), _release(result))
    certificate = _certificate(outcome)
    old = certificate.problem if certificate else ""
    failed = timer_report.problem(result.get("timers", {}))
    texts = [_configuration(result), changed, _to_ship(result), old, failed]
    return [text for text in texts if text]


def _configuration(result: StatusAnswer) -> str:
    """The first problem of the configuration or of what runs under it; "" where there is none."""
    if result.get("replaced"):
        return str(result["replaced"])
    if result.get("in_doubt"):
        return "waits for the outcome on the other hosts: run `fab deploy`"
    if result["unfinished"]:
        return "interrupted: run `fab deploy`"
    if result["release"] is None:
        return "has no release yet: run `fab ship`, then `fab deploy`"
    moving = words.state(result.get("origins"))
    if moving:
        return moving
    if result["differs"]:
        return "differs from the contract: run `fab deploy`"
    if result["restarts"]:
        restarts = sorted(result["restarts"].items())
        reasons = "; ".join(f"{service}: {why}" for service, why in restarts)
        return f"{reasons}: run `fab deploy`"
    stopped = sorted(unit for unit, state in result["units"].items() if state != "active")
    if stopped:
        return f"{', '.join(stopped)}: not running: run `fab logs`, then `fab deploy --restart`"
    killed = result.get("workers_killed")
    if killed:
        return (
            f"{killed} of gunicorn's workers were killed in the last 5 min, for want of memory: see"
            " `fab doctor`"
        )
    return ""


def _to_ship(result: DeployAnswer | StatusAnswer) -> str:
    """The keys of the config that the release was not made from."""
    keys = [change.partition(":")[0] for change in result.get("to_ship", ())]
    if not keys:
        return ""
    return f"{', '.join(keys)} changed: run `fab ship`"


def _release_changed(paths: Sequence[str], release: str) -> str:
    if not paths:
        return ""
    shown = ", ".join(paths[:_SHOWN_PATHS])
    if len(paths) > _SHOWN_PATHS:
        shown = f"{shown} and {len(paths) - _SHOWN_PATHS} more"
    return f"release {release} was changed on the host ({shown}): run `fab ship`"
