"""Config keys, Previews: what a preview of a branch is, for how long, and to what attached."""

from __future__ import annotations

import re
import shlex
from datetime import datetime
from typing import Any

from infra.core import rules
from infra.core.keys import values
from infra.core.keys.key import Effect, Key, on_every_cloud
from infra.core.origins import parse_origin

FULL, FRONTEND = "full", "frontend"
MOST_SLOTS = 50

_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_COMMAND = re.compile(r"[A-Za-z_][A-Za-z0-9_]*( [^\0-\x1f\x7f]+)?")


def moment(value: Any) -> str:
    """A moment in UTC with its second, as ISO 8601 writes it: 2026-11-30T18:00:00Z."""
    try:
        if isinstance(value, str) and _UTC.fullmatch(value):
            datetime.fromisoformat(value)
            return value
    except ValueError:
        pass  # a 30th of February: said below
    raise ValueError(
        f"invalid value {rules.quote(value)}: expected a moment in UTC, e.g. 2026-11-30T18:00:00Z"
    )


def origin(value: Any) -> str:
    """One origin as a browser sends it. Raises OriginError, a ValueError."""
    return str(parse_origin(value, production=False))


def command(value: Any) -> str:
    """A management command with its arguments, as `fab manage --` takes them."""
    text = str(rules.text(_COMMAND, "a management command, e.g. loaddata shop.json")(value))
    try:
        shlex.split(text)
    except ValueError as problem:
        raise ValueError(f"{rules.quote(text)} can't be split into words: {problem}") from None
    return text


# Secrets are no keys of the schema; see infra/core/keys/https.py.
PASSWORD = "preview_password"

KEYS = (
    Key(
        name="attachable",
        type="boolean",
        default=False,
        effects=on_every_cloud(Effect.CONFIG),
        contract="attachable",
        description=(
            "Whether previews in frontend mode may attach to this environment although it is"
            " production: their pages then call its API. To other environments they always may."
        ),
    ),
    Key(
        name="branch",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.branch_name,
        effects=(Effect.CONFIG, Effect.IN_PLACE, Effect.IN_PLACE),
        description="The branch that a preview shows; written by preview.up. Empty: none.",
    ),
    Key(
        name="preview_mode",
        type="string",
        default=FULL,
        rule=rules.one_of(FULL, FRONTEND),
        effects=on_every_cloud(Effect.IN_PLACE),
        description=(
            "`full`: a preview has a frontend and a backend of its own. `frontend`: its page calls"
            " the backend of the environment that `attach_to` names."
        ),
    ),
    Key(
        name="attach_to",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.environment_name,
        effects=on_every_cloud(Effect.OUTPUTS),
        description=(
            "preview_mode: frontend: the stack whose backend the page calls, e.g. staging. That one"
            " allows the preview's origin for as long as there is the preview."
        ),
    ),
    Key(
        name="attached_backend",
        type="string",
        default="",
        may_be_empty=True,
        rule=origin,
        effects=on_every_cloud(Effect.CONFIG),
        description="The origin of the attached backend; written by preview.up.",
    ),
    Key(
        name="preview_slots",
        type="integer",
        default=0,
        bounds=(0, MOST_SLOTS),
        effects=on_every_cloud(Effect.CHECK),
        description=(
            "How many previews with fixed names (slot-1, slot-2 …) branches take in turn, for"
            " OAuth providers and others that must know every origin. 0: each branch has names of"
            " its own."
        ),
    ),
    Key(
        name="preview_max",
        type="integer",
        default=10,
        bounds=(1, 200),
        effects=on_every_cloud(Effect.CHECK),
        description="How many previews there may be; preview.up refuses one more.",
    ),
    Key(
        name="preview_ttl_h",
        type="integer",
        default=72,
        bounds=(1, 8760),
        effects=on_every_cloud(Effect.OUTPUTS),
        contract="preview.ttl_h",
        description=(
            "Hours from the last update after which a preview has expired; preview.sweep"
            " removes it then."
        ),
    ),
    Key(
        name="preview_seed",
        type="string",
        default="",
        may_be_empty=True,
        rule=command,
        effects=on_every_cloud(Effect.CHECK),
        description=(
            "A management command of the project that fills the empty database of a preview, e.g."
            " loaddata shop.json."
        ),
    ),
    Key(
        name="preview_from",
        type="array",
        default=(),
        item_rule=values.cidr,
        effects=on_every_cloud(Effect.CONFIG),
        contract="preview.allowed_from",
        description=(
            "Networks that may open a preview, page and API, as CIDRs. Empty: everybody who knows"
            " the address."
        ),
    ),
    Key(
        name="preview_owner",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(rules.PRINTABLE, "a name on one line", 100),
        effects=on_every_cloud(Effect.OUTPUTS),
        contract="preview.owner",
        description="Who made the preview; written by preview.up.",
    ),
    Key(
        name="preview_commit",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[0-9a-f]{7,64}"), "a commit's hash"),
        effects=on_every_cloud(Effect.OUTPUTS),
        contract="preview.commit",
        description="The commit that the preview shows; written by preview.up.",
    ),
    Key(
        name="preview_updated",
        type="string",
        default="",
        may_be_empty=True,
        rule=moment,
        effects=on_every_cloud(Effect.OUTPUTS),
        contract="preview.updated",
        description=(
            "When the preview was updated, in UTC, e.g. 2026-11-30T18:00:00Z; written by"
            " preview.up."
        ),
    ),
    Key(
        name="preview_keep",
        type="boolean",
        default=False,
        effects=on_every_cloud(Effect.OUTPUTS),
        contract="preview.keep",
        description="The preview never expires; written by preview.up --keep.",
    ),
    Key(
        name="preview_vacant",
        type="boolean",
        default=False,
        effects=on_every_cloud(Effect.OUTPUTS),
        contract="preview.vacant",
        description=(
            "The slot is empty: its machines wait for the next branch; written by preview.down and"
            " preview.sweep."
        ),
    ),
)
