"""Contract → one generation of files for a host. Pure: it reads nothing but its templates."""

from __future__ import annotations

import json
from collections.abc import Mapping

from infra.core.contract import Contract, Host
from rollout.render import django, frontend, nginx, places, renewal, units
from rollout.render.demands import RenderError, demand
from rollout.render.generation import File, Generation, Link, assemble

__all__ = ["File", "Generation", "Link", "RenderError", "closed", "render"]


def render(contract: Contract, role: str, host: Host, secrets: Mapping[str, str]) -> Generation:
    """The whole configuration of `host` in `role` (`backend` or `frontend`).

    `secrets` are environment variables for the backend; a frontend gets none.
    Raises RenderError with all that is wrong, KeyError for another role.
    """
    demand(contract, secrets)
    return {"backend": _backend, "frontend": _frontend}[role](contract, host, secrets)


def contract_file(contract: Contract) -> File:
    """The contract that a generation was made from: what a host runs, for verbs that have to know.
    Nothing on the host reads it, so its change restarts nothing."""
    return File(places.CONTRACT, json.dumps(contract.to_json(), indent=1) + "\n")


def closed(contract: Contract, host: Host, secrets: Mapping[str, str]) -> Generation:
    """The configuration of a backend that takes no writes: nginx answers 503, and nothing starts
    the application, a boot included. What else the ordinary one has stays, so that going back to it
    needs nothing."""
    demand(contract, secrets)
    application = contract.application
    return assemble(
        [
            *django.files(contract, host, secrets),
            *nginx.files(contract, closed=True),
            *units.nginx_files(contract),
            contract_file(contract),
            *renewal.files(contract, "backend"),
        ],
        [*nginx.links(), *units.nginx_links(contract), *renewal.links(contract)],
        [
            *nginx.ABSENT,
            *units.nginx_absent(contract),
            *renewal.absent(contract),
            *(link.place for link in units.gunicorn_links(application)),
        ],
        {"nginx": units.names("backend", contract)["nginx"]} | renewal.units(contract),
    )


def _backend(contract: Contract, host: Host, secrets: Mapping[str, str]) -> Generation:
    application = contract.application
    return assemble(
        [
            *django.files(contract, host, secrets),
            *units.gunicorn_files(application),
            *nginx.files(contract),
            *units.nginx_files(contract),
            contract_file(contract),
            *renewal.files(contract, "backend"),
        ],
        [
            *units.gunicorn_links(application),
            *nginx.links(),
            *units.nginx_links(contract),
            *renewal.links(contract),
        ],
        [*nginx.ABSENT, *units.nginx_absent(contract), *renewal.absent(contract)],
        units.names("backend", contract) | renewal.units(contract),
    )


def _frontend(contract: Contract, host: Host, secrets: Mapping[str, str]) -> Generation:
    return assemble(
        [
            *frontend.files(contract),
            *units.nginx_files(contract),
            contract_file(contract),
            *renewal.files(contract, "frontend"),
        ],
        [*frontend.links(), *units.nginx_links(contract), *renewal.links(contract)],
        [*nginx.ABSENT, *units.nginx_absent(contract), *renewal.absent(contract)],
        units.names("frontend", contract) | renewal.units(contract),
    )
