"""After a deploy: ask from here what a browser would ask, and say where to look."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from infra.contract import Contract, Host
from infra.origins import origin_notes, parse_origin
from rollout import hosts

TIMEOUT_S = 10


class CheckError(ValueError):
    """What a browser would get is not what the contract promises."""


def from_here(contract: Contract, only: str = "") -> None:
    """One look at every host, or at the one named `only`, by its address, under its public name. Raises CheckError that
    names host and cure."""
    hosts.each(
        [pair for pair in contract.hosts if only in ("", pair[1].name)],
        lambda pair: _frontend(contract, pair[1]) if pair[0] == "frontend" else _backend(contract, pair[1]),
    )


def _frontend(contract: Contract, host: Host) -> None:
    status, _ = _ask(host, contract.frontend.origin, "GET", {})
    if status != 200:
        raise CheckError(f"{host.name} ({host.address}): the page answers {status}; run `fab status`, then `fab ship`")


def _backend(contract: Contract, host: Host) -> None:
    origin = contract.frontend.origin
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    status, answered = _ask(host, contract.backend.origin, "OPTIONS", headers)
    expected = ["*"] if contract.cors.allowed_shapes == ("*",) and not contract.cors.allow_credentials else [origin]
    if not 200 <= status < 300 or answered != expected:
        raise CheckError(
            f"{host.name} ({host.address}): a preflight from {origin} gets {status} and "
            f"Access-Control-Allow-Origin {answered or 'none'}; run `fab deploy`"
        )


def _ask(host: Host, origin: str, method: str, headers: dict[str, str]) -> tuple[int, list[str]]:
    connection = http.client.HTTPConnection(host.address, urlsplit(origin).port or 80, timeout=TIMEOUT_S)
    try:
        connection.request(method, "/", headers={"Host": urlsplit(origin).netloc, **headers})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get_all("Access-Control-Allow-Origin") or []
    except (OSError, http.client.HTTPException) as problem:
        raise CheckError(
            f"{host.name} ({host.address}): port 80 does not answer from here ({problem}); "
            "does its firewall let this machine in?"
        ) from None
    finally:
        connection.close()


def where_to_look(contract: Contract) -> str:
    """The two URLs, lines for the hosts file where the names exist nowhere else, what is easily taken for listed."""
    lines = ["", f"open  {contract.frontend.origin}/", f"api   {contract.backend.origin}/"]
    names = [
        (role.hosts[0].address, urlsplit(role.origin).hostname or "") for role in (contract.frontend, contract.backend)
    ]
    if any(name.endswith(".test") for _, name in names):
        lines += [
            "",
            "for your hosts file (the names exist nowhere else):",
            *(f"{address}  {name}" for address, name in names),
        ]
    notes = origin_notes(parse_origin(text, production=False) for text in contract.cors.allowed_origins)
    if notes and not contract.cors.allowed_shapes:  # a shape may hold the other one
        lines += ["", *notes]
    return "\n".join(lines)
