"""Contract → one generation of files for a host. Pure: it reads nothing but its templates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from infra.core.contract import Contract, Host
from infra.core.topology import ROLES
from rollout.render import django, frontend, nginx, places, renewal, timers, units
from rollout.render.demands import RenderError, demand
from rollout.render.generation import File, Generation, Link, assemble

__all__ = ["File", "Generation", "Link", "RenderError", "closed", "render"]


def render(
    contract: Contract,
    role: str,
    host: Host,
    secrets: Mapping[str, str],
) -> Generation:
    """The whole configuration of `host` in `role` (`backend` or `frontend`).

    `secrets` are environment variables for the backend; a preview's frontend takes the page's
    password of them, no other frontend takes any.
    Raises RenderError with all that is wrong, KeyError for another role.
    """
    demand(contract, secrets)
    return {"backend": _backend, "frontend": _frontend}[role](contract, host, secrets)


def closed(contract: Contract, host: Host, secrets: Mapping[str, str]) -> Generation:
    """The configuration of a backend that takes no writes: nginx answers 503, and nothing starts
    the application, a boot included. What else the ordinary one has stays, so that going back to it
    needs nothing."""
    demand(contract, secrets)
    return _generation(
        contract,
        "backend",
        files=[*django.files(contract, host, secrets), *nginx.files(contract, closed=True)],
        links=nginx.links(),
        absent=[link.place for link in units.gunicorn_links(contract.application)],
        services={"nginx": units.names("backend", contract)["nginx"]},
    )


def _backend(contract: Contract, host: Host, secrets: Mapping[str, str]) -> Generation:
    application = contract.application
    return _generation(
        contract,
        "backend",
        files=[
            *django.files(contract, host, secrets),
            *units.gunicorn_files(application),
            *timers.files(application),
            *nginx.files(contract),
        ],
        links=[
            *units.gunicorn_links(application),
            *timers.links(application),
            *nginx.links(),
        ],
        services={**units.names("backend", contract), **timers.units(application)},
    )


def _frontend(contract: Contract, host: Host, secrets: Mapping[str, str]) -> Generation:
    return _generation(
        contract,
        "frontend",
        files=frontend.files(contract, secrets),
        links=frontend.links(),
        services=units.names("frontend", contract),
    )


def _generation(
    contract: Contract,
    role: str,
    *,
    files: Iterable[File],
    links: Iterable[Link],
    services: Mapping[str, tuple[str, ...]],
    absent: Iterable[str] = (),
) -> Generation:
    """A generation of these parts and of those that every host has."""
    return assemble(
        [
            *files,
            *units.nginx_files(contract),
            contract_file(contract, role),
            *renewal.files(contract, role),
        ],
        [*links, *units.nginx_links(contract), *renewal.links(contract)],
        [*nginx.ABSENT, *units.nginx_absent(contract), *renewal.absent(contract), *absent],
        {**services, **renewal.units(contract)},
    )


def contract_file(contract: Contract, role: str) -> File:
    """The contract that a generation was made from, without its hosts: what a host runs, for verbs
    that have to know. No service reads it, so its change restarts nothing; and by which user, port
    or key an operator reaches the hosts changes nothing that they run.

    Nor is it any host's business whose a preview is and until when: an update of that writes
    nothing there.

    The page's host has the origins alone. What else is the API's, its environment and its lists,
    is nothing that host needs, and an edit of it is none of the page's.
    """
    data = contract.to_json()
    if contract.preview is not None:
        data["preview"] = {"allowed_from": contract.preview.allowed_from}
    origins = {name: _without_hosts(data[name]) for name in ROLES}
    kept = data if role == "backend" else {"contract": data["contract"]}
    return File(places.CONTRACT, json.dumps(kept | origins, indent=1) + "\n")


def _without_hosts(role: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in role.items() if name != "hosts"}
