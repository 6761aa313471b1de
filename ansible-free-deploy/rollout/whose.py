"""Whose a cloud stack is: asked before `fab up` touches it.

Two checkouts of the kit, each with its own application and a stack of one name, that keep their
state in one place have one stack between them: the second would take over the first one's hosts,
addresses and names.
"""

from __future__ import annotations

from collections.abc import Collection

from infra.core import exits
from infra.core.errors import KitError
from infra.core.settings import Settings
from rollout import outputs


class OtherApplicationError(KitError):
    """The stack's state is another application's; the text says whose, and what to do."""

    exit_status = exits.USAGE


def refuse_other(settings: Settings, former: Collection[str] = ()) -> None:
    """Raises OtherApplicationError where the stack was made for an application that is not one of
    `former` either.

    A local stack's hosts and owner say so themselves.
    """
    held = None if settings.cloud == "local" else outputs.recorded(settings.stack)
    if held is None or held.application.name in (settings.application, *former):
        return
    name = held.application.name
    stack = settings.stack
    raise OtherApplicationError(
        f"stack {stack} belongs to the application {name}, and stacks/Pulumi.{stack}.yaml says"
        f" {settings.application}",
        cure=(
            f"nothing was changed. If it was renamed, run `fab up --stack {stack} --rename-from"
            f" {name}`; if it is another one, give its stack another name, or keep its state"
            " elsewhere (docs/state.md)"
        ),
    )
