"""The diagnosis for other programs."""

from __future__ import annotations

import json

from infra.core.contract import Json
from rollout.doctor.diagnosis import Diagnosis
from rollout.doctor.observations import Cell
from rollout.finding import Finding


def as_json(result: Diagnosis) -> str:
    """Findings and cells as JSON text."""
    findings = [_finding(finding) for finding in result.findings]
    cells = [_cell(result, cell) for cell in result.observed.cells]
    document = {
        "environment": result.observed.contract.environment,
        "status": result.status,
        "findings": findings,
        "cells": cells,
    }
    return json.dumps(document, indent=2)


def _finding(finding: Finding) -> Json:
    return {
        "text": finding.text,
        "cure": finding.cure,
        "link": finding.link,
        "warning": finding.warning,
        "follows": [_finding(consequence) for consequence in finding.follows],
    }


def _cell(result: Diagnosis, cell: Cell) -> Json:
    """A cell without an answer has null for all that a verdict says."""
    origin, endpoint = cell.key
    shown: Json = {
        "view": cell.view,
        "origin": origin,
        "endpoint": endpoint,
        "status": cell.status,
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
    return shown
