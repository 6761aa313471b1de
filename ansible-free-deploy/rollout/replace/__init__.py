"""`fab replace NAME`: a new machine for a host, with all that the old one holds, and the old one
removed last.

The steps are a table (`steps.py`). Each may be done twice, and the stack's config says how far it
has come (`infra/core/serials.py`), so that a run which was killed is continued by the next one. Up
to `switch` the old machine serves, or can at any time; from then on the new one has all that it
had.
"""

from rollout.replace.course import journal_of, replace
from rollout.replace.limits import ReplaceError, UnexpectedError, only
from rollout.replace.replacement import Replacement
from rollout.replace.steps import STEPS, Step, first_step, steps

__all__ = [
    "STEPS",
    "ReplaceError",
    "Replacement",
    "Step",
    "UnexpectedError",
    "first_step",
    "journal_of",
    "only",
    "replace",
    "steps",
]
