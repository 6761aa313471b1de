"""The diagnosis for other programs."""

from __future__ import annotations

import dataclasses
import json

from infra.core.contract import Json
from rollout.doctor import cells, login, second_opinion
from rollout.doctor.diagnosis import Diagnosis
from rollout.doctor.observations import Cell
from rollout.doctor.words import commands
from rollout.finding import Finding
from rollout.verdict.login import Hurdle

FORMAT = 1


def as_json(result: Diagnosis) -> str:
    """Everything that the text and the page have, as JSON text; docs/doctor.md has its fields."""
    return json.dumps(document(result), indent=2)


def document(result: Diagnosis) -> Json:
    """The same as JSON types."""
    observed = result.observed
    return {
        "format": FORMAT,
        "environment": observed.contract.environment,
        "status": result.status,
        "about": dataclasses.asdict(result.about),
        "counts": _counts(result),
        "findings": [_finding(finding) for finding in result.findings],
        "cells": [_cell(result, cell) for cell in observed.cells],
        "logins": [_login(row) for row in login.rows(observed)],
        "logins_not_judged": login.why_not_judged(observed),
    }


def _counts(result: Diagnosis) -> Json:
    return {
        **dataclasses.asdict(cells.counts(result.observed.cells)),
        "causes": result.causes,
        "warnings": result.warnings,
    }


def _finding(finding: Finding) -> Json:
    return {
        "code": finding.code,
        "text": finding.text,
        "cure": finding.cure,
        "commands": commands(finding.cure),
        "link": finding.link,
        "warning": finding.warning,
        "follows": [_finding(consequence) for consequence in finding.follows],
    }


def _login(row: login.Row) -> Json:
    """What pages of an origin can do in a browser; each answer is null where it works, and
    otherwise says why not."""
    return {
        "origin": row.origin,
        "browser": row.browser.name,
        "run": row.browser.run,
        "token_from": row.handing,
        "session": _hurdle(row.login.session),
        "token": _hurdle(row.login.token),
        "write": _hurdle(row.login.write),
    }


def _hurdle(hurdle: Hurdle | None) -> Json | None:
    if hurdle is None:
        return None
    return {
        "cause": hurdle.cause,
        "sentence": hurdle.sentence,
        "cure": hurdle.cure,
        "source": hurdle.source,
    }


def _cell(result: Diagnosis, cell: Cell) -> Json:
    """A cell without an answer has null for all that a verdict says; `chromium` is there where it
    was asked, and the reason where it was not."""
    origin, endpoint = cell.key
    shown: Json = {
        "view": cell.view,
        "origin": origin,
        "endpoint": endpoint,
        "status": cell.status,
        "state": cells.state_of(cell),
        "intended": cell.question.row.allowed,
        "allowed": None,
        "reason": None,
        "sentence": "",
        "as_intended": None,
    }
    verdict = cell.verdict
    if verdict:
        shown["allowed"] = verdict.allowed
        shown["reason"] = verdict.reason
        shown["sentence"] = verdict.sentence
        shown["as_intended"] = cell.good
    outcome = result.outcome(cell)
    if outcome:
        shown["chromium"] = outcome.word
    else:
        shown["chromium_not_asked"] = second_opinion.not_asked(result, cell)
    return shown
