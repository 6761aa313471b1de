"""The read-only verbs. Each answers in one exchange and waits for no other process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from on_host import (
    audit,
    disk,
    journal,
    logfiles,
    login_settings,
    logins,
    name_checks,
    places,
    project_log,
    replacement,
    shipped,
    surroundings,
    timers,
)
from on_host.certificates import given, served
from on_host.configuration import answered, outline
from on_host.configuration.state import (
    compare,
    current_id,
    current_record,
    diff,
    kept,
    leads_to,
    with_todays_text,
)
from on_host.configuration.state import given as ordered
from on_host.envfile import environment
from on_host.orders import EXAMINE_ORDERS, LOOK_ORDERS, ORDERS, OUTCOME_ORDERS, STATUS_ORDERS
from on_host.probe import ANSWER_S, HTTPS, LATE, SHORT_S, answer, is_late
from on_host.release.state import changed_in_release, release_made_from
from on_host.runtime import hide, hide_also, wait_for
from on_host.services import EXCEPTION, activity, has_service, journal_of, service, workers_killed
from on_host.work import print_answer, still_serves

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from on_host.answers import (
        ExamineAnswer,
        HeldAnswer,
        HistoryAnswer,
        HttpAnswer,
        LogsAnswer,
        MovingAnswer,
        OutcomeAnswer,
        PlanAnswer,
        ReleasesAnswer,
        RunningAnswer,
        StatusAnswer,
        Surroundings,
    )

_RELOADS = "another certificate: nginx reloads, nothing restarts for it\n"
_LINES = 200  # of the audit
_ARRIVES_S = 5.0  # longer than the operator's side takes for a connection


def history() -> HistoryAnswer:
    """What was deployed and shipped here, the last first, and what a rollback can go to."""
    lines = audit.lines()
    count = LOOK_ORDERS.get("count", _LINES)
    return {
        "current": current_id(),
        "kept": kept(),
        "leads_to": leads_to(),
        "deploys": shipped.lines_of("configuration", lines)[:count],
        "release": places.current_id(),
        "releases": shipped.served(),
        "ships": shipped.ships(lines)[:count],
    }


def releases() -> ReleasesAnswer:
    """What a rollback of the code has to know."""
    return shipped.look(places.current_id())


def logs() -> LogsAnswer:
    """The last lines that nginx and the application logged, without secrets."""
    for file in with_todays_text(current_record()["files"]):
        hide_also(environment(file["text"]).values())
    units = list(ORDERS["units"])
    for timer in current_record()["units"].get(timers.SERVICE, ()):
        units.append(timers.service_of(timer))
    text = logfiles.last(LOOK_ORDERS.get("count", 20), units)
    return {"text": hide(text)}


def plan() -> PlanAnswer:
    """What a deploy of the generation in the orders would change."""
    generation = ordered()
    name_checks.check(generation, places.app())
    wrong, reasons = compare(generation)
    access = logins.differences()
    certificate = given.differences(given.look())
    return {
        "differs": [*wrong, *certificate, *access],
        "diff": {
            **diff(generation),
            **dict.fromkeys(certificate, _RELOADS),
            **access,
        },
        "restarts": reasons,
        "unfinished": journal.exists(),
        "in_doubt": journal.in_doubt(),
        "release": places.current_folder(),
        "made_from": release_made_from(),
        "generation": current_id(),
        "origins": answered.origins_of(current_id()),
    }


def status() -> StatusAnswer:
    """What this host holds and its processes loaded, compared with the outline in the orders."""
    found = held()
    wrong, reasons = outline.compare(STATUS_ORDERS["outline"])
    certificate = given.differences(found["certificate"])
    differs = [*wrong, *certificate, *logins.differences()]
    return {
        **found,
        "differs": differs,
        "restarts": reasons,
    }


def held() -> HeldAnswer:
    """What this host holds and what its processes loaded."""
    name_checks.refuse_others(places.app())
    active = {unit: activity(unit) for unit in ORDERS["units"]}
    serves = places.current_id()
    ships = shipped.ships(audit.lines())
    return {
        "generation": current_id(),
        "release": places.current_folder(),
        "revision": shipped.revision(serves) if serves else None,
        "last_ship": shipped.last_change(ships, serves),
        "made_from": release_made_from(),
        "units": active,
        "workers_killed": workers_killed(service()),
        "unfinished": journal.exists(),
        "in_doubt": journal.in_doubt(),
        "release_changed": changed_in_release(),
        "replaced": replacement.in_words(),
        "origins": answered.origins_of(current_id()),
        "certificate": given.look(),
        "timers": timers.look(current_record()),
    }


def moving() -> MovingAnswer:
    """What a move of the environment has to know: at which origins each generation here answers,
    which served when, and whether a former origin is still in use."""
    names = kept()
    return {
        "current": current_id(),
        "kept": names,
        "leads_to": leads_to(),
        "deploys": shipped.lines_of("configuration", audit.lines())[:_LINES],
        "origins": {name: answered.origins_of(name) for name in names},
        "former_called_s": answered.former_called_s(),
        "unfinished": journal.exists(),
    }


def running() -> RunningAnswer:
    """What a change that starts from the configuration which runs here has to know."""
    current = current_id()
    names: set[str] = set()
    for file in with_todays_text(current_record()["files"]):
        names.update(environment(file["text"]))
    return {
        "generation": current,
        "release": places.current_folder(),
        "contract": answered.contract_of(current),
        "secrets": sorted(names),
        "unfinished": journal.exists(),
    }


def examine() -> ExamineAnswer:
    """All that a diagnosis needs of this host.

    That is its state, the diff, and the answers of nginx and gunicorn to the same requests.
    `questions`: [via ("nginx", "https" or "gunicorn"), method, target, [[name, value], ...]].
    """
    started = time.time()
    port = EXAMINE_ORDERS.get("port", 80)
    no_connection = surroundings.connects(port)
    answers = _answers(no_connection)
    result: ExamineAnswer = {
        **plan(),
        **held(),
        **_around(no_connection, port),
        "answers": answers,
        "last_words": "",
        "request_log": None,
        "login_settings": login_settings.asked() if has_service() else None,
        "ever_attached": answered.ever_attached(),
    }
    has_failures = any(found.get("status", 0) >= 500 for found in answers)
    if not has_failures or not has_service():
        return result
    log = journal_of(service(), since=started)
    if not EXCEPTION.search(log):
        result["request_log"] = project_log.destinations()
        # A line may be written later than its answer.
        log = journal_of(service(), since=started)
    result["last_words"] = hide(log)
    return result


def _around(no_connection: str, port: int) -> Surroundings:
    """What can keep requests from the kit's nginx. The operator's side asks for `target` meanwhile,
    at the public address."""
    target = EXAMINE_ORDERS.get("target", "")
    return {
        "arrived": bool(target) and wait_for(lambda: surroundings.arrived(target), _ARRIVES_S),
        "listens": surroundings.listens(port),
        "refuses_connections": no_connection,
        "firewall": surroundings.firewall_lines(port),
        "other_sites": surroundings.other_sites(EXAMINE_ORDERS.get("name", ""), port),
        "full": disk.full(),
    }


def _answers(no_connection: str) -> list[HttpAnswer]:
    """An answer to each question. What is known to have none is not waited for again: nginx where
    nothing connects to it, and what has taken too long once. The first that does is waited for as
    long as it may take, the others are not."""
    found: list[HttpAnswer] = []
    late: set[tuple[str, str, str]] = set()
    wanted = HTTPS if EXAMINE_ORDERS.get("port") == served.PORT else "nginx"
    for via, method, target, headers in EXAMINE_ORDERS["questions"]:
        asked: HttpAnswer
        # Preflights are nginx's own answers.
        key = (via, target, "" if via == "gunicorn" else method)
        if no_connection and via == wanted:
            asked = {"problem": no_connection}
        elif key in late:
            asked = {"problem": LATE}
        else:
            asked = answer(via, method, target, headers, SHORT_S if late else ANSWER_S)
        if is_late(asked.get("problem", "")):
            late.add(key)
        found.append(asked)
    return found


def outcome() -> OutcomeAnswer:
    """How a transaction ended here: see `journal.outcome`."""
    return {"outcome": journal.outcome(OUTCOME_ORDERS["transaction"])}


LOOKS: Mapping[str, Callable[[], Mapping[str, object]]] = {
    "plan": plan,
    "status": status,
    "history": history,
    "releases": releases,
    "logs": logs,
    "moving": moving,
    "running": running,
    "examine": examine,
    "outcome": outcome,
}


def main() -> int:
    """Answer the question."""
    return print_answer(LOOKS[ORDERS["verb"]], still_serves)
