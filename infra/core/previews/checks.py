"""What the config of a preview may say, and what its contract has to hold together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from infra.core.keys import KEYS
from infra.core.keys.previews import FRONTEND, FULL
from infra.core.previews.names import (
    PREFIX,
    TEMPLATE,
    backend_label,
    frontend_label,
    is_preview,
    slot_of,
)
from infra.core.rules import quote

if TYPE_CHECKING:
    from infra.core.contract import Contract
    from infra.core.settings import Settings

# Keys that mean something for a preview alone.
_OF_PREVIEWS = (
    "preview_mode",
    "attach_to",
    "attached_backend",
    "preview_seed",
    "preview_from",
    "preview_owner",
    "preview_commit",
    "preview_updated",
    "preview_keep",
    "preview_vacant",
)
_OF_ENVIRONMENTS = {
    "attachable": "previews attach to environments, and this is a preview; take it out",
    "production": "a preview runs a branch's code and may be removed at any time; set it to false",
    "www_redirect": "the names of a preview are its branch's; take it out",
}
_FROM_THE_BRANCH = ("frontend_name", "backend_name")

Problems = Iterator[tuple[str, str]]


def problems(stack: str, values: Mapping[str, Any]) -> Problems:
    """What is wrong with a stack's config, by key, where it is a preview or could be taken for one.
    `values` holds None for a key that has a problem already."""
    branch = values.get("branch")
    if stack == TEMPLATE:
        yield "branch", "this file is the template of previews, no stack: run `fab preview.up`"
    elif is_preview(stack):
        if branch == "":
            yield (
                "branch",
                f"missing; a stack called {PREFIX}… is a preview, which `fab preview.up` makes:"
                " rename this one",
            )
        yield from _of_a_preview(values)
    elif branch:
        yield (
            "branch",
            f"only a preview has one, and its stack is called {PREFIX}…: run `fab preview.up`",
        )
    else:
        yield from _of_no_preview(values)


def _of_no_preview(values: Mapping[str, Any]) -> Problems:
    for name in _OF_PREVIEWS:
        if values.get(name) not in (None, KEYS[name].default):
            yield name, "it means something for a preview alone; take it out"


def _of_a_preview(values: Mapping[str, Any]) -> Problems:
    for name, text in _OF_ENVIRONMENTS.items():
        if values.get(name):
            yield name, text
    for name in _FROM_THE_BRANCH:
        if values.get(name) not in (None, KEYS[name].default):
            yield name, "the names of a preview are its branch's; take it out"
    if values.get("preview_mode") == FULL:
        yield from _of_a_full_one(values)
    elif values.get("preview_mode") == FRONTEND:
        yield from _of_an_attached_one(values)


def _of_a_full_one(values: Mapping[str, Any]) -> Problems:
    for name in ("attach_to", "attached_backend"):
        if values.get(name):
            yield name, f"preview_mode is {FULL}, so it has a backend of its own; take it out"
    if values.get("tls") == "files":
        yield (
            "tls",
            "your certificate's key would lie on a machine that runs a branch's code; set acme or"
            " local-ca",
        )


def _of_an_attached_one(values: Mapping[str, Any]) -> Problems:
    environment, origin = values.get("attach_to"), values.get("attached_backend")
    if environment == "":
        yield "attach_to", f"missing; preview_mode: {FRONTEND} needs the stack that it calls"
    elif environment and (is_preview(environment) or environment == TEMPLATE):
        yield "attach_to", f"{quote(environment)} is a preview; name an environment"
    if origin == "":
        yield "attached_backend", "missing; `fab preview.up` writes it"
    elif origin and origin.startswith("http:") and values.get("tls") not in (None, "off"):
        yield (
            "attached_backend",
            f"{origin} is plain http, which no page on https may call; set tls: off, or attach to"
            " an environment on https",
        )


def derived(stack: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that follow from a preview's others, by key; none for any other stack."""
    if not is_preview(stack) or not values.get("branch"):
        return {}
    found: dict[str, Any] = {
        "frontend_name": frontend_label(stack),
        "backend_name": backend_label(stack),
    }
    if values.get("preview_mode") == FRONTEND:
        found["backend_count"] = 0
    return found


def output(settings: Settings) -> dict[str, Any]:
    """What the program exports next to a preview's contract, as JSON types; `slot` is 0 where it
    has none."""
    return {
        "branch": settings.branch,
        "owner": settings.preview_owner,
        "commit": settings.preview_commit,
        "updated": settings.preview_updated,
        "ttl_h": settings.preview_ttl_h,
        "keep": settings.preview_keep,
        "vacant": settings.preview_vacant,
        "slot": slot_of(settings.stack),
        "mode": settings.preview_mode,
        "attach_to": settings.attach_to,
    }


def of_contract(contract: Contract) -> Problems:
    """What of a preview, or of previews attached to an environment, does not hold together in a
    contract; by its place there."""
    is_one = contract.kind == "preview"
    if is_one != is_preview(contract.environment) or contract.environment == TEMPLATE:
        yield (
            "environment",
            f"{quote(contract.environment)}, and its kind is {contract.kind}; a preview's begins"
            f" with {PREFIX}",
        )
    if is_one != (contract.branch is not None):
        yield "branch", f"{quote(contract.branch)}; every preview has one, and nothing else"
    if is_one != (contract.preview is not None):
        yield "preview", "missing, or not of a preview"
    if contract.attached_to is not None and not is_one:
        yield "attached_to", "only a preview is attached to an environment"
    if contract.attached_to is not None and is_preview(contract.attached_to):
        yield "attached_to", f"{quote(contract.attached_to)} is a preview"
    if contract.attached and is_one:
        yield "attached", "previews attach to environments, and this is a preview"
    for name, origin in contract.attached.items():
        if not is_preview(name):
            yield "attached", f"{quote(name)} is not the name of a preview"
        if origin not in contract.cors.allowed_origins:
            yield "attached", f"{quote(origin)} is not among cors.allowed_origins"
