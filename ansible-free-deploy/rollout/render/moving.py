"""What hosts serve in addition while an environment moves (`fab move`): a page that was opened at a
former origin goes on, and the API's host notes when one has called."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from infra.core.contract import Contract
from infra.core.origins import parse_origin
from rollout.render.generation import File
from rollout.render.templates import fill

CONFIG = "config.json"

# ---------------------------------------------------------------------------------------- the page


def config_files(contract: Contract) -> tuple[File, ...]:
    """What the page fetches first: where its API is. There is one for its origin, and one for each
    scheme of its former origins."""
    files = [File(f"frontend/{CONFIG}", config_text(contract))]
    for scheme in _schemes(contract):
        files.append(File(f"frontend/{_config_of(scheme)}", _former_text(contract, scheme)))
    return tuple(files)


def config_text(contract: Contract) -> str:
    """Where the backend is, and whether to send cookies there."""
    return _json(_facts(contract, contract.backend.origin))


def _former_text(contract: Contract, scheme: str) -> str:
    """The same for a page at a former origin; with the new one as soon as visitors are led
    there."""
    facts = _facts(contract, _api_of_former(contract, scheme))
    if contract.frontend.redirects_former:
        facts["moved_to"] = contract.frontend.origin
    return _json(facts)


def _facts(contract: Contract, backend: str) -> dict[str, object]:
    return {"backend": backend, "credentials": contract.cors.allow_credentials}


def _json(facts: dict[str, object]) -> str:
    return json.dumps(facts, indent=2) + "\n"


def config_name(contract: Contract) -> str:
    """The file that is served as /config.json, or nginx's variable for it."""
    return "$origin_kit_config" if contract.frontend.former else CONFIG


def _api_of_former(contract: Contract, scheme: str) -> str:
    """Where a page at a former origin of this scheme calls the API: as before, since the new name
    may not be known everywhere yet; over https never at an http one, which browsers refuse as mixed
    content."""
    for origin in contract.backend.former:
        if scheme == "http" or origin.startswith("https:"):
            return origin
    return contract.backend.origin


def _schemes(contract: Contract) -> list[str]:
    """The schemes of the page's former origins, each once."""
    return sorted(
        {parse_origin(text, production=False).scheme for text in contract.frontend.former}
    )


def _config_of(scheme: str) -> str:
    return f"former-{scheme}.json"


def page_maps(contract: Contract) -> str:
    """The variables of a page that has former origins: which of them a request is for, by its
    scheme, and whether who opens it is led to the new one."""
    frontend = contract.frontend
    if not frontend.former:
        return ""
    origins = [
        f'    "~^{re.escape(origin)}$" {origin.partition(":")[0]};' for origin in frontend.former
    ]
    configs = [f"    {scheme} {_config_of(scheme)};" for scheme in _schemes(contract)]
    text = fill("moving-page.conf", origins=_lines(origins), configs=_lines(configs))
    if frontend.redirects_former:
        text += fill("moving-lead.conf")
    return f"\n{text}"


def page_lines(contract: Contract) -> str:
    """The lines of the page's server that lead who opens it at a former origin to the new one."""
    frontend = contract.frontend
    if not (frontend.former and frontend.redirects_former):
        return ""
    return "\n" + fill("moving-led.conf", origin=frontend.origin)


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
