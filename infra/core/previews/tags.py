"""What marks the cloud resources of a preview, so that they are found without a state. Pure.

Nothing of an environment has such a mark: whatever carries it may go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.core import names

if TYPE_CHECKING:
    from infra.core.settings import Settings

AWS_PREVIEW, AWS_BRANCH = "origin-kit:preview", "origin-kit:branch"
GOOGLE_PREVIEW, GOOGLE_BRANCH = "origin-kit-preview", "origin-kit-branch"


def aws_tags(settings: Settings) -> dict[str, str]:
    """The stack and the branch as they are: a value may have 256 characters, and EC2, which has
    all that the kit tags, takes any of them. None for an environment."""
    if not settings.branch:
        return {}
    return {AWS_PREVIEW: settings.stack, AWS_BRANCH: settings.branch}


def google_labels(settings: Settings) -> dict[str, str]:
    """The stack, and the branch in the form that Google takes (`infra.core.names.label`). None for
    an environment."""
    if not settings.branch:
        return {}
    return {
        GOOGLE_PREVIEW: names.label(settings.stack),
        GOOGLE_BRANCH: names.label(settings.branch),
    }


def google_description(settings: Settings) -> str | None:
    """The description of what has no labels at Google: networks, firewall rules, service accounts.
    It can't be changed on a network, so the branch, which changes in a slot, is not in it. None for
    an environment."""
    return f"{GOOGLE_PREVIEW}={names.label(settings.stack)}" if settings.branch else None
