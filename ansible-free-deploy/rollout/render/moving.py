"""What hosts serve in addition while an environment moves (`fab move`): a page that was opened at a
former origin goes on, and the API's host notes when one has called."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from infra.core.contract import Contract
from rollout.render import gates, places
from rollout.render.templates import fill

# ---------------------------------------------------------------------------------------- the page


def config_text(contract: Contract) -> str:
    """What the page fetches first, a file that nginx reads for each request: where the backend is,
    and whether to send cookies there.

    While the environment moves, nginx answers from its own configuration (`page_maps`), and the
    file is for the nginx of the generation before, which reads it until it is restarted: its page
    has to go on as before.
    """
    former = contract.frontend.former
    backend = _api_of_former(contract, _scheme(former[0])) if former else contract.backend.origin
    return json.dumps(_facts(contract, backend), indent=2) + "\n"


def config_location(contract: Contract) -> str:
    """The lines of the location of /config.json."""
    if contract.frontend.former:
        return fill("moving-config.conf").rstrip()
    return fill("config.conf", current=places.CURRENT).rstrip()


def _facts(contract: Contract, backend: str) -> dict[str, object]:
    return {"backend": backend, "credentials": contract.cors.allow_credentials}


def _former_facts(contract: Contract, scheme: str) -> dict[str, object]:
    """What a page at a former origin of this scheme is answered: the new origin as well, as soon as
    visitors are led there."""
    facts = _facts(contract, _api_of_former(contract, scheme))
    if contract.frontend.redirects_former:
        facts["moved_to"] = contract.frontend.origin
    return facts


def _api_of_former(contract: Contract, scheme: str) -> str:
    """Where a page at a former origin of this scheme calls the API: as before, since the new name
    may not be known everywhere yet; over https never at an http one, which browsers refuse as mixed
    content."""
    for origin in contract.backend.former:
        if scheme == "http" or _scheme(origin) == "https":
            return origin
    return contract.backend.origin


def _scheme(origin: str) -> str:
    return origin.partition(":")[0]


def page_maps(contract: Contract) -> str:
    """The variables of a page that has former origins: which of them a request is for, by its
    scheme, and whether who opens it is led to the new one."""
    frontend = contract.frontend
    if not frontend.former:
        return ""
    origins = [f'    "~^{re.escape(text)}$" {_scheme(text)};' for text in frontend.former]
    answers = {"default": _facts(contract, contract.backend.origin)}
    for scheme in sorted({_scheme(text) for text in frontend.former}):
        answers[scheme] = _former_facts(contract, scheme)
    # No origin holds a quote or a dollar sign.
    configs = [f"    {key} '{json.dumps(facts)}';" for key, facts in answers.items()]
    text = fill(
        "moving-page.conf",
        origins=_lines(origins),
        configs=_lines(configs),
    )
    if frontend.redirects_former:
        text += fill("moving-lead.conf")
    return f"\n{text}"


def page_lines(contract: Contract) -> str:
    """The lines of the page's server that lead who opens it at a former origin to the new one."""
    frontend = contract.frontend
    if not (frontend.former and frontend.redirects_former):
        return ""
    return "\n" + fill(
        "moving-led.conf",
        origin=frontend.origin,
        noindex=gates.noindex(contract, " " * 8),
    )


def redirected_names(contract: Contract) -> list[str]:
    """The names that lead to the page at once: not those of a former origin, where it is open."""
    scheme = contract.frontend.parsed_origin.scheme
    former = contract.frontend.former
    return [name for name in contract.frontend.aliases if f"{scheme}://{name}" not in former]


# ----------------------------------------------------------------------------------------- the API


def api_maps(contract: Contract) -> str:
    """The variable and the format for the log of requests from pages at former origins."""
    former = contract.frontend.former
    if not former:
        return ""
    # The kit's own probes come from this address.
    lines = [f'    "~^(?!127\\.0\\.0\\.1 )[^ ]+ {re.escape(origin)}$" 1;' for origin in former]
    return "\n" + fill("moving-api.conf", origins=_lines(lines))


def api_lines(contract: Contract) -> str:
    """The lines of the API's server that write that log next to the usual one."""
    if not contract.frontend.former:
        return ""
    return "\n" + fill("moving-log.conf").rstrip()


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
