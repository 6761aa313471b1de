"""Names of a preview, from its branch: the stack's and the labels of its two hosts. Pure.

    feature/x  →  stack   preview-feature-x-<hash>
                  page    feature-x-<hash>.<domain>
                  API     feature-x-<hash>-api.<domain>

The hash is of the whole branch name, byte for byte, so two branches never share a name, whatever
their slugs have in common. Which branch it is of says the contract, and every resource's tag.

A slug has at most 40 characters: the API's label is one of DNS then (63, RFC 1035), the stack's
name a label's value at Google (63) and part of every name there, which `infra.core.names` shortens;
and a machine's folder has a path in which a Unix socket still has room (107 bytes, unix(7)).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from hashlib import sha256

from infra.core import rules
from infra.core.keys.previews import MOST_SLOTS

TEMPLATE = "preview"  # stacks/Pulumi.preview.yaml: every preview is made from it, and it is none
PREFIX = "preview-"
_API = "-api"
_HASH = 8  # hex digits
_LONGEST_SLUG = 40
_SLOT = re.compile(rf"{PREFIX}slot-([1-9]\d?)", re.ASCII)
# What people call an environment; more than a number behind it is a name of its own.
_ENVIRONMENT = re.compile(
    r"(main|master|trunk|live|prod|production|stage|staging)([-.]?\d{1,2})?|(prod|production)[-_./].*"
)


def name_of(branch: str) -> str:
    """The name of the branch's stack. Raises ValueError for what is no branch, and for one that
    looks like an environment."""
    return PREFIX + label_of(branch)


def label_of(branch: str) -> str:
    """The label of the branch's page below `domain`: slug and hash. Raises as `name_of` does."""
    check_branch(branch)
    digest = sha256(branch.encode()).hexdigest()[:_HASH]
    return "-".join(filter(None, (_slug(branch), digest)))


def _slug(branch: str) -> str:
    """The branch in lower-case letters, digits and single dashes, as far as it has any: é is an e
    (Unicode's compatibility decomposition), what is no Latin letter or digit a dash."""
    letters = [c for c in unicodedata.normalize("NFKD", branch) if not unicodedata.combining(c)]
    slug = re.sub(r"[^a-z0-9]+", "-", "".join(letters).lower())
    return slug.strip("-")[:_LONGEST_SLUG].rstrip("-")


def slot_name(number: int) -> str:
    """The name of the stack of a slot, counted from 1."""
    return f"{PREFIX}slot-{rules.within(number, 1, MOST_SLOTS)}"


def slot_of(stack: str) -> int:
    """The number of the slot whose stack this is; 0 for any other stack."""
    found = _SLOT.fullmatch(stack)
    return int(found[1]) if found and int(found[1]) <= MOST_SLOTS else 0


def is_preview(stack: str) -> bool:
    """Whether a stack of this name is a preview; the template is none."""
    return stack.startswith(PREFIX)


def secrets_file(stack: str) -> str:
    """The name, in stacks/, of the file with a stack's secrets. All previews share one set, which
    is no environment's: they run what is on a branch."""
    return f"{TEMPLATE if is_preview(stack) else stack}.secrets"


def frontend_label(stack: str) -> str:
    """The label of a preview's page below `domain`."""
    return stack.removeprefix(PREFIX)


def backend_label(stack: str) -> str:
    """The label of a preview's API below `domain`."""
    return frontend_label(stack) + _API


def check_branch(branch: str, stacks: Iterable[str] = ()) -> str:
    """The same branch. Raises ValueError for what is no branch, for one that looks like an
    environment, and for one called like one of `stacks`."""
    rules.branch_name(branch)
    name = branch.lower()
    if _ENVIRONMENT.fullmatch(name):
        raise ValueError(
            f"{rules.quote(branch)} looks like an environment, and a preview may be removed at any"
            " time: deploy it as a stack of its own, or rename the branch"
        )
    if name in {stack.lower() for stack in stacks}:
        raise ValueError(
            f"{rules.quote(branch)} has the name of a stack here, and its preview could be mistaken"
            " for that: rename the branch"
        )
    return branch
