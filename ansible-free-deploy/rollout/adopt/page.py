"""What conflicts with a deploy in a built page, and the servers that it calls. Only reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.core import csp
from rollout.adopt.called import Calls, is_of_a_machine
from rollout.adopt.values import Setting
from rollout.finding import Finding
from rollout.release.folders import walk

_ASKS = re.compile(
    r"(?:\bfetch|\baxios(?:\.\w+)?|\.(?:get|post|put|patch|delete)|\bEventSource|\burl|\bbaseURL"
    r"|\bbaseUrl|\buri)\s*(?:\(|:|=)\s*"
    r"([\"'`])(/(?!/)[\w.{}$/@-]*)"
)
_BYTES = 4_000_000
_MOST_OF_A_KIND = 5
_NOT_IN_HTML = ("frame-ancestors", "report-uri", "sandbox")  # browsers pass over them there
_RECIPES = "docs/page.md shows how with Vite, Next, Angular and Vue"


def findings(page: Path, calls: Calls) -> Iterator[Finding]:
    """What has to be decided about a page and what it calls."""
    for call in relative_calls(page)[:_MOST_OF_A_KIND]:
        text = (
            f"the page asks {call.value} of its own host, which has no such thing; the backend is"
            " another host"
        )
        cure = (
            f'have the page use the backend\'s origin: it is "backend" in /config.json; {_RECIPES}'
        )
        yield Finding(text, call.where, cure)
    for server in calls.built_in[:_MOST_OF_A_KIND]:
        text = (
            f"the page has an API's address built in, {server.value}; on the hosts it is elsewhere"
        )
        cure = f"have the page read /config.json when it starts: {_RECIPES}"
        yield Finding(text, server.where, cure)
    yield from _services(calls)
    for policy in calls.policies[:1]:
        text = (
            "the page has a Content-Security-Policy of its own, and browsers hold it to both: where"
            " it limits connect-src or default-src, it denies the backend"
        )
        cure = "write it into the key csp, and remove it from the page: docs/page.md says more"
        if "csp" in offered(calls):
            cure = "remove it from the page, and the # before csp in the file"
        yield Finding(text, policy.where, cure)


def _services(calls: Calls) -> Iterator[Finding]:
    if calls.services:
        servers = ", ".join(f"{server.value} ({server.where})" for server in calls.services)
        text = f"browsers refuse these calls of the page until connect_src lists them: {servers}"
        cure = (
            "remove the # before connect_src in the file; where one of them is the API itself, have"
            " the page read /config.json"
        )
        yield Finding(text, "", cure)
    if calls.scripts:
        names = ", ".join(str(server.value) for server in calls.scripts)
        text = f"the page loads scripts from {names}, which may call servers of their own"
        cure = "add those that their documentation names to connect_src"
        yield Finding(text, calls.scripts[0].where, cure)


def offered(calls: Calls) -> dict[str, Any]:
    """The keys that would let the page call what it calls, and keep its own policy."""
    servers = [str(server.value) for server in calls.services]
    further: list[str] = []
    for directive in _directives_of(calls):
        name, *sources = directive.split()
        if name.lower() == "connect-src":
            servers += filter(_is_source, sources)
        elif name.lower() not in _NOT_IN_HTML:
            further.append(directive)
    proposed = {
        "connect_src": list(dict.fromkeys(servers)),
        "csp": _directives(further),
    }
    return {key: value for key, value in proposed.items() if value}


def _directives_of(calls: Calls) -> list[str]:
    """The directives of the page's first policy."""
    if not calls.policies:
        return []
    policy = str(calls.policies[0].value)
    return [part for part in policy.split(";") if part.strip()]


def _is_source(text: str) -> bool:
    """Whether this is a server that connect_src may list; none for development."""
    if is_of_a_machine(text):
        return False
    try:
        csp.connect_source(text)
    except ValueError:
        return False
    return True


def _directives(parts: list[str]) -> str:
    """The directives as the key csp takes them; empty where it does not."""
    try:
        return csp.directives(";".join(parts))
    except ValueError:
        return ""


def relative_calls(page: Path) -> list[Setting]:
    """The first address of each file of a page that begins with a slash and is no file of the page.

    None for a page that reads config.json, which says where the backend is.
    """
    calls: list[Setting] = []
    for name in sorted(walk(page)):
        if not name.endswith((".js", ".mjs", ".html")):
            continue
        text = (page / name).read_bytes()[:_BYTES].decode(errors="replace")
        if "config.json" in text:
            return []
        calls += _first(page, name, text)
    return calls


def _first(page: Path, name: str, text: str) -> Iterator[Setting]:
    for match in _ASKS.finditer(text):
        address = match[2]
        if address != "/" and not (page / address.strip("/")).exists():
            line = text.count("\n", 0, match.start()) + 1
            yield Setting(address, f"{name}:{line}")
            return
