"""After a deploy: ask from here what a browser would ask, and show where to look."""

from __future__ import annotations

import http.client
import ssl

from infra.core.contract import Contract, Host, Role
from infra.core.errors import KitError
from infra.core.origins import origin_notes
from infra.core.settings import Settings
from rollout import gated, hosts, report
from rollout.doctor import ask
from rollout.tls import Place

TIMEOUT_S = 10


class CheckError(KitError):
    """A browser would not get what the contract promises."""


def from_here(contract: Contract, only: str = "") -> int:
    """Check every host, or the one named `only`, by its address, under its public name: the page,
    and the API's `/` with its preflight.

    Returns the status of the API's `/`: 404 is possible, because an API may have nothing there; a
    5xx is not. Raises CheckError that names host, URL and cure.
    """

    def check(pair: tuple[str, Host]) -> int:
        role, host = pair
        if role == "frontend":
            _frontend(contract, host)
            return 0
        return _backend(contract, host)

    statuses = hosts.each(contract.chosen(only), check)
    return max(statuses, default=0) or 200


def _frontend(contract: Contract, host: Host) -> None:
    answer = _ask(host, _at(contract, contract.frontend, host), "GET", {})
    status = answer.status
    if _is_gated(host, answer):
        return
    if status >= 500:
        raise _fails(host, f"{contract.frontend.origin}/", status)
    if status != 200:
        raise CheckError(
            f"the page answers {status}",
            where=_where(host),
            cure="run `fab status`, then `fab ship`",
        )


def _backend(contract: Contract, host: Host) -> int:
    """The status of the API's `/`."""
    place = _at(contract, contract.backend, host)
    _preflight(contract, host, place)
    headers = {"Origin": contract.frontend.origin}
    answer = _ask(host, place, "GET", headers)
    status = answer.status
    if _is_gated(host, answer):
        return status
    if status >= 500:
        raise _fails(host, f"{place.origin}/", status)
    if 300 <= status < 400:
        _redirects(contract, host, place)
    return status


def _preflight(contract: Contract, host: Host, place: Place) -> None:
    """Check that the API's preflight allows the page."""
    origin = contract.frontend.origin
    cors = contract.cors
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    answer = _ask(host, place, "OPTIONS", headers)
    status = answer.status
    allowed = answer.headers.get_all("Access-Control-Allow-Origin") or []
    expected = [origin]
    if cors.allows_every_origin and not cors.allow_credentials:
        expected = ["*"]
    if not 200 <= status < 300 or allowed != expected:
        raise CheckError(
            f"a preflight from {origin} gets {status} and"
            f" Access-Control-Allow-Origin {allowed or 'none'}",
            where=_where(host),
            cure="run `fab deploy`",
        )


def _redirects(contract: Contract, host: Host, place: Place) -> None:
    """Check what the redirects from the API's `/` lead to: a browser shows that."""
    headers = (("Origin", contract.frontend.origin),)
    landing = ask.landing(place, headers)
    if landing is None:
        return
    target, status = landing
    if status >= 500:
        raise _fails(host, f"{place.origin}/ leads to {target}, which", status)


def _fails(host: Host, url: str, status: int) -> CheckError:
    return CheckError(
        f"GET {url} answers {status} ({host.name}, {host.address}): everything is deployed, but the"
        " program on the host fails",
        cure="see `fab logs`, then `fab doctor`",
    )


def _where(host: Host) -> str:
    return f"{host.name} ({host.address})"


def _at(contract: Contract, role: Role, host: Host) -> Place:
    """One host, under the role's name. Who asked a staging CA knows that browsers don't trust
    it."""
    return Place(role.parsed_origin, host.address, verified=not contract.https.staging)


def _is_gated(host: Host, answer: http.client.HTTPResponse) -> bool:
    """Whether a gate of a preview refused this machine, as it should; a line says so."""
    gate = gated.gate_of(answer.status, answer.headers.get)
    if gate:
        report.step(host.name, f"can't be looked at from here: {gated.OF_GATES[gate]}")
    return bool(gate)


def _ask(
    host: Host,
    place: Place,
    method: str,
    headers: dict[str, str],
) -> http.client.HTTPResponse:
    """The answer without its body, which is the application's, and may have no end."""
    origin = place.origin
    connection = place.connection(TIMEOUT_S)
    try:
        connection.request(method, "/", headers={"Host": origin.authority, **headers})
        return connection.getresponse()
    except ssl.SSLError as problem:
        raise CheckError(
            f"browsers don't accept the TLS of {origin} here: {_of_tls(problem)}",
            where=_where(host),
            cure="see `fab tls.show`, then `fab doctor`",
        ) from None
    except (OSError, http.client.HTTPException) as problem:
        raise CheckError(
            f"port {origin.port_number} does not answer from here ({problem})",
            where=_where(host),
            cure="does its firewall allow this machine?",
        ) from None
    finally:
        connection.close()


def _of_tls(problem: ssl.SSLError) -> str:
    """Why the handshake failed, in OpenSSL's words."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return problem.verify_message
    return problem.reason or str(problem)


def unsaved(settings: Settings) -> str:
    """A warning that a production stack on a cloud has no backups; empty for any other."""
    if settings.cloud == "local" or not settings.production:
        return ""
    return (
        f"nothing backs up /var/lib/{settings.application} yet: have the cloud take snapshots of"
        " the instances' disks on a schedule (docs/clouds.md, Backups)"
    )


def _for_hosts_file(*roles: Role) -> list[str]:
    """A line for each name below .test, which no name service has; the page's first."""
    found = []
    for role in roles:
        if not role.hosts:
            continue  # an attached backend, whose name its own environment says
        for name in (role.parsed_origin.hostname, *role.aliases):
            if name.endswith(".test"):
                found.append(f"{role.hosts[0].address}  {name}")
    if not found:
        return []
    return ["", "for your hosts file (the names exist nowhere else):", *found]


def where_to_look(contract: Contract, api: int = 200) -> str:
    """The two URLs, with the status of the API's `/` where that is 4xx; lines for the hosts file
    where the names exist nowhere else; origins that are easily mistaken for a listed one."""
    frontend = contract.frontend
    backend = contract.backend
    answers = f"  (answers {api})" if api >= 400 else ""
    lines = ["", f"open  {frontend.origin}/", f"api   {backend.origin}/{answers}"]
    lines += _for_hosts_file(frontend, backend)
    if contract.https.staging:
        lines += [
            "",
            "the certificates are of a staging CA (acme_staging), which no browser trusts",
        ]
    notes = origin_notes(contract.cors.origins)
    if notes and not contract.cors.allowed_shapes:  # a pattern may match the other one
        lines += ["", *notes]
    return "\n".join(lines)
