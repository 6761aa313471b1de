"""One host's part in a change of several hosts: a two-phase commit (prepare, commit, abort), with
presumed abort.

The questions, their answers and the states are the tables in `states.py`; the operator's side is
`rollout/coordinator.py`.

Without an answer, because the operator is gone: before it has voted (`switched`) a host undoes what
it did; afterwards it keeps serving the target, keeps the journal, and the next run asks how the
change ended elsewhere. A host that takes part alone decides alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from on_host import handover, journal, states
from on_host.orders import ORDERS
from on_host.runtime import Failed, end_step, step

if TYPE_CHECKING:
    from on_host.on_disk import Journal

UNCHANGED = "nothing was changed here, as another host failed or the operator left"


class LeftAlone(Failed):
    """Another host failed, or the operator is gone: this one stays, or goes back to, as it was."""


class InDoubt(Failed):
    """This host serves the target and doesn't know whether the others do."""


class Yield(Exception):
    """Another change has the lock of a host before this one: give this one's back, so that nobody
    waits in a circle."""


class Work:
    """What a change does on this host; `two_phase.run` calls these in this order."""

    def stage(self) -> None:
        """Get everything ready. Nothing that is served changes; a failure leaves nothing to
        undo."""
        raise NotImplementedError

    def switch(self) -> None:
        """Write the journal, then make the target current and let it run. Raises Failed where it
        does not come up."""
        raise NotImplementedError

    def keep(self) -> None:
        """What a commit writes besides the journal's end; called before it."""
        raise NotImplementedError

    def undo(self, problem: Exception) -> None:
        """Go back to what the journal says, if there is one. Raises Failed where that does not come
        up either."""
        raise NotImplementedError


def run(work: Work) -> None:
    """Carry the change out here, if it is carried out everywhere. Raises Failed where it is not."""
    work.stage()
    end_step()
    alone = _wait_for_the_others()
    try:
        work.switch()
        end_step()
        if not alone:
            _vote()
    except InDoubt:
        raise
    except (Failed, OSError) as problem:
        work.undo(problem)
        raise
    # The outcome is known, and the same everywhere: what fails from here on is finished by the next
    # run, never undone.
    step("commit", "commits")
    work.keep()
    journal.commit()


def _wait_for_the_others() -> bool:
    """Whether this host takes part alone. Raises LeftAlone, or Yield."""
    if not ORDERS.get("together"):
        return True
    answer = handover.ask("staged")
    if answer == "yield":
        raise Yield
    participants = states.participants_in(answer)
    if participants is None:
        raise LeftAlone(UNCHANGED)
    ORDERS["participants"] = participants
    return len(participants) == 1


def _vote() -> None:
    """Report that this host serves the target, and wait for the outcome."""
    if handover.operator_is_gone():
        raise LeftAlone("the operator left before all hosts had switched")
    journal.prepare()
    answer = handover.ask("switched")
    if answer == states.UNDO:
        raise LeftAlone("another host failed")
    if answer != states.COMMIT:
        raise InDoubt(
            "the operator left when this host had switched and others may have; it serves the new"
            " one until the next `fab deploy` or `fab ship` has asked all hosts how this ended"
        )


def wait_until_unlocked() -> None:
    """After a Yield: come back when the coordinator says so. Raises LeftAlone where it does not."""
    if handover.ask("again") != "go":
        raise LeftAlone(UNCHANGED)


def outcome(way: Journal, runs_target: bool) -> states.Decision:
    """What is to become of a change that an interrupted run has left: `commit` or `undo`.

    `runs_target`: what runs here is what the journal leads to. Raises Failed where that depends on
    a host that can't be asked now.
    """
    transaction, participants = way["transaction"], way["participants"]
    if transaction and transaction in journal.committed():
        return states.COMMIT
    if way["state"] != states.PREPARED and not runs_target:
        return states.UNDO
    if len(participants) <= 1:
        return states.COMMIT if runs_target else states.UNDO
    answer = handover.ask(states.in_doubt(transaction, participants))
    if answer == states.COMMIT:
        return states.COMMIT
    if answer == states.UNDO:
        return states.UNDO
    raise Failed(
        "an earlier change waits for its outcome, which only all of its hosts together know"
        f" ({', '.join(participants)}), and not all could be asked; make them reachable, then run"
        " this again"
    )
