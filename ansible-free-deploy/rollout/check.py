"""After a deploy: ask from here what a browser would ask, and say where to look."""

from __future__ import annotations

import http.client

from infra.core.contract import Contract, Host
from infra.core.errors import KitError
from infra.core.origins import Origin, origin_notes
from infra.core.settings import Settings
from rollout import hosts
from rollout.doctor import ask

TIMEOUT_S = 10


class CheckError(KitError):
    """What a browser would get is not what the contract promises."""


def from_here(contract: Contract, only: str = "") -> int:
    """One look at every host, or at the one named `only`, by its address, under its public name:
    the page, and the API's `/` with its preflight.

    The status of the API's `/`: an API may well have nothing there (404), but it never fails.
    Raises CheckError that names host, URL and cure.
    """
    pairs = contract.chosen(only)
    looks = hosts.each(
        pairs,
        lambda pair: (
            _frontend(contract, pair[1]) if pair[0] == "frontend" else _backend(contract, pair[1])
        ),
    )
    backends = [
        int(status) for (role, _), status in zip(pairs, looks, strict=True) if role == "backend"
    ]
    return max(backends, default=200)


def _frontend(contract: Contract, host: Host) -> int:
    status, _ = _ask(host, contract.frontend.parsed_origin, "GET", {})
    if status >= 500:
        raise _fails(host, contract.frontend.origin, status)
    if status != 200:
        raise CheckError(
            f"{host.name} ({host.address}): the page answers {status}; run `fab status`, then `fab"
            " ship`"
        )
    return status


def _backend(contract: Contract, host: Host) -> int:
    origin = contract.frontend.origin
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    preflight, answered = _ask(host, contract.backend.parsed_origin, "OPTIONS", headers)
    wildcard = contract.cors.allows_every_origin and not contract.cors.allow_credentials
    expected = ["*"] if wildcard else [origin]
    if not 200 <= preflight < 300 or answered != expected:
        raise CheckError(
            f"{host.name} ({host.address}): a preflight from {origin} gets {preflight} and "
            f"Access-Control-Allow-Origin {answered or 'none'}; run `fab deploy`"
        )
    status, _ = _ask(host, contract.backend.parsed_origin, "GET", {"Origin": origin})
    if status >= 500:
        raise _fails(host, contract.backend.origin, status)
    end = (
        ask.landing(host.address, contract.backend.parsed_origin, (("Origin", origin),))
        if 300 <= status < 400
        else None
    )
    if end and end[1] >= 500:
        raise _fails(host, contract.backend.origin, end[1], end[0])
    return status


def _fails(host: Host, origin: str, status: int, led_to: str = "") -> CheckError:
    """`led_to` is where redirects from `/` lead, which is what a browser shows."""
    leads = f"/ leads to {led_to}, which" if led_to else "/"
    return CheckError(
        f"GET {origin}{leads} answers {status} ({host.name}, {host.address}): all is deployed, but"
        " what runs there fails; see `fab logs`, then `fab doctor`"
    )


def _ask(host: Host, origin: Origin, method: str, headers: dict[str, str]) -> tuple[int, list[str]]:
    """Status and Access-Control-Allow-Origin lines. The body is the application's, and may be
    without an end."""
    connection = http.client.HTTPConnection(host.address, origin.port_number, timeout=TIMEOUT_S)
    try:
        connection.request(method, "/", headers={"Host": origin.authority, **headers})
        answer = connection.getresponse()
        return answer.status, answer.headers.get_all("Access-Control-Allow-Origin") or []
    except (OSError, http.client.HTTPException) as problem:
        raise CheckError(
            f"{host.name} ({host.address}): port {origin.port_number} does not answer from"
            f" here ({problem}); does its firewall let this machine in?"
        ) from None
    finally:
        connection.close()


def unsaved(settings: Settings) -> str:
    """What nobody does yet for the data of a production stack on a cloud; empty for any other."""
    if settings.cloud == "local" or not settings.production:
        return ""
    return (
        f"nothing backs up /var/lib/{settings.application} yet: have the cloud take snapshots of"
        " the instances' disks on a schedule (docs/clouds.md, Backups)"
    )


def where_to_look(contract: Contract, api: int = 200) -> str:
    """The two URLs, with the status of the API's `/` where that is 4xx; lines for the hosts file
    where the names exist nowhere else; what is easily taken for listed."""
    answers = f"  (answers {api})" if api >= 400 else ""
    lines = ["", f"open  {contract.frontend.origin}/", f"api   {contract.backend.origin}/{answers}"]
    names = [
        (role.hosts[0].address, role.parsed_origin.hostname)
        for role in (contract.frontend, contract.backend)
    ]
    if any(name.endswith(".test") for _, name in names):
        lines += [
            "",
            "for your hosts file (the names exist nowhere else):",
            *(f"{address}  {name}" for address, name in names),
        ]
    notes = origin_notes(contract.cors.origins)
    if notes and not contract.cors.allowed_shapes:  # a pattern may hold the other one
        lines += ["", *notes]
    return "\n".join(lines)
