"""The gates of a preview, which may keep this machine out as well: nothing is broken then. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infra.core.keys.previews import PASSWORD
from rollout.doctor.codes import Code
from rollout.doctor.observations import Observations, responses
from rollout.finding import Finding
from rollout.gated import gate_of
from rollout.render.gates import PREVIEW_FROM


def gates(observed: Observations) -> Iterator[Finding]:
    """What could not be looked at from here, and why that is as it should be."""
    if _keeps_out(observed):
        yield Finding(
            "the preview answers only the networks in preview_from, and this machine is in none:"
            " it was refused, as it should be, and what page and API serve was not seen from here",
            cure="ask from a network that is listed; the hosts themselves were asked",
            code=Code.OUTSIDE_PREVIEW_FROM,
            anchor="security.md#previews",
            warning=True,
        )
    elif observed.page.gate == PASSWORD:
        yield Finding(
            f"the page asks for {PASSWORD} and did not take what is known here, so what it serves"
            " was not seen",
            cure=f"if {PASSWORD} was changed, run `fab deploy`; if it is not known here, ask where"
            " stacks/preview.secrets is, or with the passphrase of the stack's secrets",
            code=Code.PREVIEW_PASSWORD_UNKNOWN,
            anchor="security.md#previews",
            warning=True,
        )


def _keeps_out(observed: Observations) -> bool:
    """Whether an answer to this machine is that of the gate."""
    if observed.page.gate == PREVIEW_FROM:
        return True
    return any(gate_of(one.status, one.get) for one in responses(observed.public))
