"""`fab preview.comment`: asks what the comment says."""

from __future__ import annotations

from datetime import datetime

from infra.core import exits
from rollout import doctor, outputs, report
from rollout.previews import comment as markdown
from rollout.previews import listing, making
from rollout.previews.branches import BranchError
from rollout.previews.listing import Row
from rollout.previews.living import UNREADABLE, UP, VACANT
from rollout.previews.making import Template


def comment(branch: str | None, now: datetime) -> tuple[str, int]:
    """The comment, and the verb's exit status: the doctor's, or WRONG for a preview that is not up.
    Raises BranchError where no branch is named and none is checked out, RegistryError."""
    read = Template.read()
    name = branch or making.checkout(read).chosen(None)
    row = _row(name, now)
    if row.state in (UNREADABLE, VACANT) or not row.origin:
        return markdown.text(row, None, now), exits.WRONG
    with report.silenced():
        found = outputs.load(row.name)
        verdict = markdown.verdict(doctor.diagnose(doctor.examine(found)))
    status = verdict.status or (exits.OK if row.state == UP else exits.WRONG)
    return markdown.text(row, verdict, now, _subject(read, row.commit)), status


def _row(name: str, now: datetime) -> Row:
    for row in listing.rows(now)[0]:
        if name in (row.branch, row.name):
            return row
    return Row(name, name, "not made", "", "", "", "", "", "", "", False, None)


def _subject(read: Template, commit: str) -> str:
    """The first line of the commit's message, where this checkout has it."""
    try:
        return making.checkout(read).subject(commit) if commit else ""
    except BranchError:
        return ""
