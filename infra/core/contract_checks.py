"""What the rules refuse of a contract: each problem with its place and what was expected. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from infra.core import csp, previews, rules
from infra.core.cross_fields import UNBALANCED
from infra.core.https import misfits
from infra.core.keys import KEYS
from infra.core.keys.values import proxy_network, valid_timers
from infra.core.origins import OriginError, parse_origin, parse_pattern
from infra.core.rules import quote
from infra.core.variables import problem as variable_problem

if TYPE_CHECKING:
    from infra.core.contract import Contract, Host

MOST_HOSTS = 64  # of one role

Problems = Iterator[str]


def problems(contract: Contract) -> Problems:
    """Everything in the contract that the rules refuse, each with its place and what was
    expected."""
    yield from _environment(contract)
    yield from _values_of_keys(contract)
    yield from _hosts(contract)
    yield from _origins(contract)
    yield from _together(contract)
    for place, text in previews.of_contract(contract):
        yield f"contract.{place}: {text}"


def host_problems(place: str, host: Host) -> Problems:
    """Everything in this host that the rules refuse; `place` is where the contract has it."""
    yield from _wrong(f"{place}.name", rules.label, host.name)
    yield from _wrong(f"{place}.address", rules.address, host.address)
    yield from _wrong(f"{place}.port", rules.port, host.port)
    yield from _wrong(f"{place}.user", rules.user_name, host.user)
    if not host.host_keys:
        yield f"contract.{place}.host_keys: none; a host without a known key is never connected to"
    yield from _wrong_items(f"{place}.host_keys", rules.host_key, host.host_keys)


def _wrong(place: str, check: Callable[[Any], Any], value: Any) -> Problems:
    """The one problem of this value, if it has one."""
    try:
        check(value)
    except ValueError as problem:
        yield f"contract.{place}: {problem}"


def _wrong_items(place: str, check: Callable[[Any], Any], values: Iterable[Any]) -> Problems:
    """The problem of each item that has one."""
    for index, value in enumerate(values):
        yield from _wrong(f"{place}[{index}]", check, value)


def _environment(contract: Contract) -> Problems:
    yield from _wrong("project", rules.project_name, contract.project)
    yield from _wrong("environment", rules.environment_name, contract.environment)
    yield from _wrong("kind", rules.kind, contract.kind)
    yield from _wrong("tls", rules.tls, contract.tls)
    if contract.branch is not None:
        yield from _wrong("branch", rules.branch_name, contract.branch)
    if contract.attached_to is not None:
        yield from _wrong("attached_to", rules.environment_name, contract.attached_to)
    for name in contract.attached:
        yield from _wrong("attached", rules.environment_name, name)
    yield from _wrong_items("ssh_keys", rules.login_key, contract.ssh_keys)
    yield from _wrong_items("behind", proxy_network, contract.behind)


def _values_of_keys(contract: Contract) -> Problems:
    """What the rules of the config keys deny, in the parts that they fill."""
    for key in KEYS.values():
        part, _, name = key.contract.partition(".")
        if part not in ("application", "cors", "https", "page", "preview"):
            continue
        if name in ("env", "timers"):  # read from text; below
            continue
        if getattr(contract, part) is None:  # no preview
            continue
        value = getattr(getattr(contract, part), name)
        found: list[str] = []
        if key.item_rule:
            found += _wrong_items(key.contract, key.item_rule, value)
        found = found or list(_wrong(key.contract, key.check, value))
        if not found and key.normal(value) != value:
            found = [f"contract.{key.contract}: write {quote(key.normal(value))}"]
        yield from found
    application = contract.application
    if application.static_url == application.media_url:
        yield f"contract.application.media_url: {rules.SAME_URL}"
    yield from variables("contract.application.env", application.env)
    yield from _wrong("application.timers", valid_timers, application.timers)


def variables(place: str, values: dict[str, str]) -> Problems:
    """What is wrong with environment variables; a value is never quoted, since it may be a
    secret."""
    for name, value in values.items():
        try:
            rules.variable_name(name)
        except ValueError as problem:
            yield f"{place}: {problem}"
            continue
        if found := variable_problem(name, value):
            yield f"{place}: the value of {name} {found}"


def _hosts(contract: Contract) -> Problems:
    for role in ("frontend", "backend"):
        hosts = getattr(contract, role).hosts
        attached = role == "backend" and contract.attached_to is not None
        least, most = (0, 0) if attached else (1, MOST_HOSTS)
        if role == "frontend" and os.environ.get(UNBALANCED) == "1":
            least = 0  # `make bench` deploys to backends alone
        if not least <= len(hosts) <= most:
            expected = "none, since attached_to is set" if attached else f"1 to {MOST_HOSTS}"
            yield f"contract.{role}.hosts: {len(hosts)} hosts; expected {expected}"
        for index, host in enumerate(hosts):
            yield from host_problems(f"{role}.hosts[{index}]", host)
        yield from _aliases(contract, role)
    names, addresses = [], []
    for _, host in contract.hosts:
        names.append(host.name)
        addresses.append(f"{host.address} port {host.port}")
    yield from _twice("name", names)
    yield from _twice("address and port", addresses)


def _aliases(contract: Contract, role: str) -> Problems:
    """Names that are none, or that a role has already: a redirect to itself has no end."""
    for index, alias in enumerate(getattr(contract, role).aliases):
        place = f"{role}.aliases[{index}]"
        yield from _wrong(place, rules.host_name, alias)
        for other in ("frontend", "backend"):
            if getattr(contract, other).origin.endswith(f"//{alias}"):
                yield f"contract.{place}: {quote(alias)} is the {other}'s own name"


def _twice(what: str, values: list[str]) -> Problems:
    for value in sorted(set(values)):
        if values.count(value) > 1:
            yield f"contract: two hosts have the {what} {quote(value)}"


def _origins(contract: Contract) -> Problems:
    rows = [
        ("frontend.origin", contract.frontend.origin),
        ("backend.origin", contract.backend.origin),
    ]
    for role in ("frontend", "backend"):
        former = getattr(contract, role).former
        rows += [(f"{role}.former[{n}]", text) for n, text in enumerate(former)]
    rows += [
        (f"cors.allowed_origins[{n}]", text) for n, text in enumerate(contract.cors.allowed_origins)
    ]
    rows += [("attached", text) for text in contract.attached.values()]
    for place, text in rows:
        try:
            canonical = str(parse_origin(text, production=contract.production))
        except OriginError as problem:
            yield f"contract.{place}: {problem}"
            continue
        if canonical != text:
            yield (
                f"contract.{place}: {quote(text)} is not written as a browser sends it; write"
                f" {canonical}"
            )
    for number, text in enumerate(contract.cors.pattern_texts):
        try:
            parse_pattern(text, production=contract.production)
        except OriginError as problem:
            yield f"contract.cors.allowed_shapes[{number}]: {problem}"


def _together(contract: Contract) -> Problems:
    """Cross-field validation."""
    cors = contract.cors
    yield from _https(contract)
    if not contract.speaks_https and csp.UPGRADE in csp.names(contract.page.csp):
        yield f"contract.page.csp: {csp.UPGRADE_WITHOUT_TLS}"
    if contract.production and cors.allows_every_origin:
        yield f"contract.cors.allowed_shapes: {rules.EVERYONE_IN_PRODUCTION}"
    if contract.production and cors.allow_credentials:
        for origin in cors.exact_origins:
            if origin in contract.frontend.former:
                continue  # it is allowed until its pages are closed
            if origin.startswith("http:"):  # it may be no origin: that is another problem
                reason = rules.plain_http_credentials(origin)
                yield f"contract.cors.allow_credentials: {reason}"
                break


def _https(contract: Contract) -> Problems:
    roles = {"frontend": contract.frontend, "backend": contract.backend}
    if contract.attached_to is not None:  # the other one's certificates are that environment's
        del roles["backend"]
    try:
        rules.tls(contract.tls)
        own = {place: role.parsed_origin for place, role in roles.items()}
        texts = [text for role in roles.values() for text in role.https_origins]
        covered = [parse_origin(text, production=False) for text in texts]
    except ValueError:
        return  # reported at its place
    for place, text in misfits(contract.tls, contract.https, contract.production, own, covered):
        yield f"contract.{place}: {text}"
