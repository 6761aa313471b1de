"""Which gate of a preview refused an answer, and what it wants of who asks: a page behind one is
not broken."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from infra.core.keys.previews import PASSWORD
from rollout.render.gates import HEADER, PREVIEW_FROM, REALM, USER

OF_GATES = {
    PREVIEW_FROM: "it answers only the networks in preview_from, and this machine is in none",
    PASSWORD: f"it asks for {PASSWORD}, which was not sent",
}


def gate_of(status: int, header: Callable[[str], str | None]) -> str:
    """The config key of the gate that answered; empty where none did. `header` gives a header of
    the answer by its name."""
    if status == 403 and header(HEADER) == PREVIEW_FROM:
        return PREVIEW_FROM
    if status == 401 and header("WWW-Authenticate") == f'Basic realm="{REALM}"':
        return PASSWORD
    return ""


def credentials(secrets: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The header lines that open a page whose secrets these are; none without a password."""
    if PASSWORD not in secrets:
        return ()
    pair = base64.b64encode(f"{USER}:{secrets[PASSWORD]}".encode()).decode()
    return (("Authorization", f"Basic {pair}"),)
