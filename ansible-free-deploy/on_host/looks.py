"""The verbs that only look. Each answers in one exchange and waits for nobody."""

from __future__ import annotations

import time

from on_host import (
    audit,
    journal,
    logfiles,
    logins,
    name_checks,
    places,
    project_log,
    replacement,
    shipped,
)
from on_host.configuration import outline
from on_host.configuration.state import (
    compare,
    current_id,
    current_record,
    diff,
    given,
    kept,
    leads_to,
    with_todays_text,
)
from on_host.envfile import environment
from on_host.orders import ORDERS, Json
from on_host.probe import answer
from on_host.release.state import changed_in_release, release_made_from
from on_host.runtime import hide, hide_also
from on_host.services import EXCEPTION, activity, has_service, journal_of, service, workers_killed
from on_host.work import still_serves, told


def history() -> Json:
    """What was deployed and shipped here, the last first, and what a rollback can go to."""
    lines, count = audit.lines(), ORDERS.get("count", 200)
    return {
        "current": current_id(),
        "kept": kept(),
        "leads_to": leads_to(),
        "deploys": shipped.lines_of("configuration", lines)[:count],
        "release": places.current_id(),
        "releases": shipped.served(),
        "ships": shipped.ships(lines)[:count],
    }


def releases() -> Json:
    """What a rollback of the code has to know."""
    return shipped.look(places.current_id())


def logs() -> Json:
    """The last that nginx and the application wrote."""
    secrets = with_todays_text(current_record()["files"])
    hide_also(secret for file in secrets for secret in environment(file["text"]).values())
    return {"text": hide(logfiles.last(ORDERS.get("count", 20), ORDERS["units"]))}


def plan() -> Json:
    generation = given()
    name_checks.check(generation, places.app())
    wrong, reasons = compare(generation)
    access = logins.differences()
    return {
        "differs": [*wrong, *access],
        "diff": {**diff(generation), **access},
        "restarts": reasons,
        "unfinished": journal.exists(),
        "in_doubt": journal.in_doubt(),
        "release": places.current_folder(),
        "made_from": release_made_from(),
        "generation": current_id(),
    }


def status() -> Json:
    """What this host holds and what its processes loaded, compared with the outline of what it
    should hold."""
    found = held()
    wrong, reasons = outline.compare(ORDERS["outline"])
    return {**found, "differs": [*wrong, *logins.differences()], "restarts": reasons}


def held() -> Json:
    """What this host holds and what its processes loaded."""
    name_checks.refuse_others(places.app())
    active = {unit: activity(unit) for unit in ORDERS["units"]}
    serves = places.current_id()
    return {
        "generation": current_id(),
        "release": places.current_folder(),
        "revision": shipped.revision(serves) if serves else None,
        "last_ship": shipped.last_change(shipped.ships(audit.lines()), serves),
        "made_from": release_made_from(),
        "units": active,
        "workers_killed": workers_killed(service()),
        "unfinished": journal.exists(),
        "in_doubt": journal.in_doubt(),
        "release_changed": changed_in_release(),
        "replaced": replacement.told(),
    }


def examine() -> Json:
    """Everything a diagnosis wants of this host: its state, the diff, and what nginx and gunicorn
    answer when asked beside each other. ORDERS["questions"]: [via ("nginx" or "gunicorn"), method,
    target, [[name, value], ...]].
    """
    started = time.time()
    answers = [answer(*question) for question in ORDERS["questions"]]
    words, log = "", None
    if any(one.get("status", 0) >= 500 for one in answers) and has_service():
        words = journal_of(service(), since=started)
        if not EXCEPTION.search(words):
            log = project_log.destinations()
            words = journal_of(
                service(), since=started
            )  # a line may be written later than its answer
    return {**plan(), **held(), "answers": answers, "last_words": hide(words), "request_log": log}


def outcome() -> Json:
    """How the transaction ORDERS["transaction"] ended here: see `journal.outcome`."""
    return {"outcome": journal.outcome(ORDERS["transaction"])}


LOOKS = {
    "plan": plan,
    "status": status,
    "history": history,
    "releases": releases,
    "logs": logs,
    "examine": examine,
    "outcome": outcome,
}


def main() -> int:
    """Answer the question."""
    return told(LOOKS[ORDERS["verb"]], still_serves)
