"""The settings module that stands in front of the project's own, and the environment that it starts
in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infra.core.contract import Application, Contract, Host
from infra.core.origins import parse_origin
from on_host.envfile import environment_text
from rollout.render import places
from rollout.render.cors import Allowed
from rollout.render.generation import File
from rollout.render.templates import fill

MODULE = places.SETTINGS_MODULE


def files(contract: Contract, host: Host, secrets: Mapping[str, str]) -> tuple[File, ...]:
    """The settings module and the two environment files; secrets are in the one with mode 0600
    only."""
    return (
        File(f"django/{MODULE}.py", settings_text(contract, host), "gunicorn"),
        File("environment", environment_text(variables(contract, secrets)), "gunicorn"),
        File("secrets.env", environment_text(secrets), "gunicorn", 0o600),
    )


def settings_text(contract: Contract, host: Host) -> str:
    """The settings module. Every value of the contract is a Python literal in it."""
    application, cors, allowed = contract.application, contract.cors, Allowed.of(contract)
    return fill(
        f"{MODULE}.py",
        settings=application.settings,
        **_of_project(application),
        release=repr(places.release(application.name)),
        data=repr(places.data(application.name)),
        allowed_hosts=_list(allowed_hosts(contract, host)),
        allowed_origins=_list(allowed.origins),
        allowed_patterns=_list(allowed.python_patterns),
        allow_all=allowed.everyone,
        allow_credentials=cors.allow_credentials,
        allow_methods=_list(cors.allow_methods),
        allow_headers=_list(cors.allow_headers),
        expose_headers=_list(cors.expose_headers),
        max_age_s=cors.max_age_s,
        trusted_origins=_list(allowed.trusted),
        transport=_transport(contract),
        static_url=repr(application.static_url),
        media_url=repr(application.media_url),
        max_body_mb=application.max_body_mb,
    )


def _transport(contract: Contract) -> str:
    """How browsers reach it: what is secure, and which checks have nothing to say about it."""
    if not contract.speaks_https:
        return fill("transport-http").rstrip()
    return fill(
        "transport-https",
        cookies=_cookies(contract),
        strict=_strict(contract.https.hsts),
    ).rstrip()


def _cookies(contract: Contract) -> str:
    """The lines about the two cookies of Django's."""
    if contract.moves_from_http:
        return fill("cookies-moving")
    text = fill("cookies-secure")
    if contract.cors.allow_credentials and not contract.is_one_site:
        text += fill("cookies-none")
    return text


def _strict(hsts: str) -> str:
    """Strict-Transport-Security as Django has it: nginx sends the header, the checks read this."""
    if not hsts:
        return fill("hsts-off")
    seconds, *flags = hsts.removeprefix("max-age=").split("; ")
    return fill(
        "hsts-on",
        seconds=seconds,
        subdomains="includeSubDomains" in flags,
        preload="preload" in flags,
    )


def _of_project(application: Application) -> dict[str, str]:
    """How the project's settings are read, and what comes last: of a class of
    django-configurations, or of a module."""
    if places.CONFIGURATION not in application.env:
        return {
            "project": fill("settings-plain", settings=application.settings).rstrip(),
            "class_last": "",
        }
    read = fill("configurations-read", settings=application.settings).rstrip()
    return {"project": read, "class_last": fill("configurations-last")}


def allowed_hosts(contract: Contract, host: Host) -> tuple[str, ...]:
    """The public name, the others that lead here, and the host's own address so that it can be
    asked alone; IPv6 in brackets, as Django has it."""
    address = f"[{host.address}]" if ":" in host.address else host.address
    backend = contract.backend
    former = [parse_origin(origin, production=False).host for origin in backend.former]
    different = dict.fromkeys([backend.parsed_origin.host, *backend.aliases, *former, address])
    return tuple(different)


def variables(contract: Contract, secrets: Mapping[str, str]) -> dict[str, str]:
    """The plain environment. The kit's own names win over the project's, a secret over a plain
    value of that name."""
    application = contract.application
    plain = {name: value for name, value in application.env.items() if name not in secrets}
    paths = [f"{places.CURRENT}/django", *filter(None, [plain.get("PYTHONPATH")])]
    return plain | {
        "DJANGO_SETTINGS_MODULE": MODULE,
        "PYTHONPATH": ":".join(paths),
        "ORIGIN_KIT_RELEASE": places.release(application.name),
        "ORIGIN_KIT_DATA": places.data(application.name),
    }


def _list(values: Iterable[str]) -> str:
    lines = "".join(f"    {value!r},\n" for value in values)
    return f"[\n{lines}]" if lines else "[]"
