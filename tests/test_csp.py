"""What the keys of a policy let through can end neither nginx's quotes nor the header nor the
policy, and never takes the backend away."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.core import csp
from infra.core.origins import parse_origin
from rollout.render.frontend import policy
from rollout.verdict.csp import denying_directive
from tests.test_render import load, page

# Pieces that mean something to nginx, to a header, to a policy or to YAML.
PIECES = [
    *("'self'", "self", "'none'", "*", "https:", "wss:", "blob:", "data:", "ws://", "https://"),
    *("img-src", "default-src", "script-src", "connect-src", "sandbox", "allow-same-origin"),
    *("a.test", "*.a.test", ":8443", ":*", "/x", "10.0.0.3", "[2001:db8::3]", "bücher.test", "@"),
    *(" ", ";", ",", '"', "'", "\\", "$", "$host", "{", "}", "#", "\n", "\r\n", "\0", "\t", "\x7f"),
    *("@{policy}", "%22", "İ", "\ud800", "'nonce-a'", "'sha256-YQ=='"),
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
LISTED = r"[a-z0-9+.*:/'-]+"
BACKENDS = ["http://10.213.7.74", "https://api.example.com:8443", "http://[2001:db8::3]"]


def accepted(check: Callable[[Any], str], text: str) -> str | None:
    try:
        return check(text)
    except ValueError as problem:
        assert str(problem).isprintable(), str(problem)
        return None


@pytest.mark.parametrize("check", [csp.connect_source, csp.frame_source])
@given(text=TEXT)
def test_a_source_is_one_plain_word(check: Callable[[Any], str], text: str) -> None:
    """In one spelling, which is read back as itself."""
    found = accepted(check, text)
    if found is not None:
        assert re.fullmatch(LISTED, found), found
        assert check(found) == found


@given(text=TEXT)
def test_directives_are_one_line_of_a_policy(text: str) -> None:
    """Visible characters and single blanks; read back as themselves."""
    found = accepted(csp.directives, text)
    if found is not None:
        assert re.fullmatch(r"[!#%-+\-./:-\[\]-~0-9 ]*", found), found
        assert not set(found) & set('"\\$,') and "  " not in found
        assert csp.directives(found) == found


@pytest.mark.parametrize("backend", BACKENDS)
@given(further=TEXT, source=TEXT)
def test_the_backend_is_always_allowed(backend: str, further: str, source: str) -> None:
    """Whatever the keys hold, a browser lets the page call its backend."""
    contract = load("local-ip")
    called = accepted(csp.connect_source, source)
    contract = page(
        dataclasses.replace(
            contract, backend=dataclasses.replace(contract.backend, origin=backend)
        ),
        csp=accepted(csp.directives, further) or "",
        connect_src=(called,) if called else (),
    )
    origin = parse_origin(contract.frontend.origin, production=False)
    assert denying_directive(policy(contract), origin, f"{backend}/api/", False) is None
