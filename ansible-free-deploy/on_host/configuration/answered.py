"""At which origins the generations here answer: each holds the contract that it was made from; on
the page's hosts, the origins of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, cast

from on_host import places
from on_host.configuration.state import current_id, kept, record_of
from on_host.moving import can_move

if TYPE_CHECKING:
    from on_host.answers import Origins, RoleOrigins
    from on_host.generations import Generation
    from on_host.orders import Json
    from on_host.protocol import Probes

CONTRACT = "contract.json"  # its path in a generation
# Where nginx writes a line for each request of a page at a former origin (render/nginx.py).
FORMER_LOG = places.ROOT / "var/log/nginx/origin-kit-former.log"


def origins_of(name: str | None) -> Origins | None:
    """Each role as the generation's contract has it, without its hosts: origin, aliases, and the
    former origins of a move; and on a backend the attached previews. None where the generation does
    not say."""
    record = record_of(name)
    if record is None:
        return None
    try:
        contract = _contract_in(name)
        origins: Origins = {
            "frontend": _without_hosts(contract["frontend"]),
            "backend": _without_hosts(contract["backend"]),
        }
    except FileNotFoundError:
        return from_probes(record.get("probes", {}))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if "cors" in contract:  # the page's hosts have the origins alone
        origins["attached"] = contract.get("attached", {})
    return origins


def ever_attached() -> list[tuple[str, str]]:
    """The previews that the generations here answer or have answered: name and origin of each."""
    found: dict[tuple[str, str], None] = {}
    for name in kept():
        contract = contract_of(name) or {}
        found.update(dict.fromkeys(contract.get("attached", {}).items()))
    return sorted(found)


def contract_of(name: str | None) -> Json | None:
    """The contract that a generation was made from, without its hosts; None where it does not
    say."""
    if record_of(name) is None:
        return None
    try:
        return _contract_in(name)
    except (OSError, ValueError):
        return None


def _contract_in(name: str | None) -> Json:
    """What is written in a generation. Raises OSError and ValueError."""
    found: Json = json.loads((places.GENERATIONS / str(name) / CONTRACT).read_text())
    return found


def _without_hosts(role: Json) -> RoleOrigins:
    found = {key: role[key] for key in role if key != "hosts"}
    return cast("RoleOrigins", found)


def from_probes(probes: Probes) -> Origins | None:
    """The same for a generation of a kit that wrote no contract there, from what was asked of it.

    Such a kit spoke http alone, and the page's origin was the first one of the list.
    """
    host, allowed = probes.get("host"), probes.get("allowed")
    backend = probes.get("pages", {}).get("/config.json")
    if not host:
        return None
    if backend:
        return {"frontend": {"origin": f"http://{host}"}, "backend": {"origin": backend}}
    if allowed:
        return {"frontend": {"origin": allowed[0]}, "backend": {"origin": f"http://{host}"}}
    return None


def note_on_open_pages(generation: Generation) -> str:
    """What a deploy of the generation does to pages that are open at an origin which it no longer
    answers; empty where there is none."""
    now = origins_of(current_id())
    texts = [file["text"] for file in generation["files"] if file["path"] == CONTRACT]
    if now is None or not texts:
        return ""
    after = _pages(json.loads(texts[0]))
    left = [origin for origin in _pages(now) if origin not in after]
    if not left:
        return ""
    pages = f"pages that are open at {', '.join(left)} will be refused"
    if now["frontend"].get("former"):
        return f"ends the move: {pages}"
    if not can_move(left, after):
        return pages
    return f"{pages}: `fab move` would answer both meanwhile"


def _pages(origins: Origins) -> list[str]:
    """Where the page is answered."""
    page = origins["frontend"]
    return [page["origin"], *page.get("former", ())]


def former_called_s() -> float | None:
    """How many seconds ago a page at a former origin has called the API; None where none has."""
    try:
        status = FORMER_LOG.stat()
    except OSError:
        return None
    if not status.st_size:  # rotated
        return None
    return max(0.0, time.time() - status.st_mtime)
