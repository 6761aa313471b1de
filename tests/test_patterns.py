"""Regular expressions as origin patterns: accepted in development, and only if they allow no
unlisted origin."""

from __future__ import annotations

import re

import pytest

from infra.core.origins import OriginError, parse_pattern


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (r"^http://localhost:(?:3000|8080)$", "http://localhost:8080", "http://localhost:80800"),
        (
            r"^https://[a-z0-9-]+\.preview\.example\.com$",
            "https://x-1.preview.example.com",
            "https://preview.example.com",
        ),
        (r"^https?://app\.shop\.example$", "http://app.shop.example", "http://appxshop.example"),
        (
            r"^http://192\.168\.1\.(?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-4]):3000$",
            "http://192.168.1.7:3000",
            "http://192.168.1.7:3001",
        ),
    ],
)
def test_a_careful_expression_is_a_pattern(text: str, inside: str, outside: str) -> None:
    """Both languages get it anchored, as one group."""
    pattern = parse_pattern(text, production=False)
    assert pattern.matches(inside)
    assert not pattern.matches(outside)
    assert not pattern.matches(inside + "\n")
    assert not pattern.matches(inside + ".evil.example")
    assert re.search(pattern.nginx_pattern, inside)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (r"^https://app\.example\.com", "write ^ in front and $ at the end"),
        (r"^https://a\.example$|https://b\.example$", "write ^ in front and $ at the end"),
        (r"^https://.*\.example\.com$", "a bare dot"),
        (r"^https://app.example\.com$", "a bare dot"),
        (r"^https://\w+\.example\.com$", r"\d or \w"),
        (r"^https://[^/]+\.example\.com$", "what is not allowed"),
        (r"^https://(app|api)\.example\.com$", "(?:…)"),
        (r"^https://(?:[a-z]+)+\.example\.com$", "nested quantifier"),
        (r"^https://(?=app)app\.example\.com$", "write it plainer"),
        (r"^(?i:https)://app\.example\.com$", "switches flags"),
        (r"^https://[a-z]+\.com$", "an unlisted origin"),
        (r"^https://app\.example\.com[a-z.]*$", "an unlisted origin"),
        (r"^https://[a-z.]*app\.example\.com$", "an unlisted origin"),
        (r"^https://app\.example\.com/?$", "which a browser writes"),
        (r"^https://app\.example\.com(?::443)?$", "which a browser writes"),
        (r"^(?:null|https://app\.example\.com)$", "no browser sends"),
        (r"^https://a[$", "can't be read"),
        (r"^https://" + "a" * 200 + r"\.example$", "more than 200"),
    ],
)
def test_an_expression_that_allows_others_is_refused(text: str, says: str) -> None:
    with pytest.raises(OriginError) as caught:
        parse_pattern(text, production=False)
    assert says in str(caught.value)


def test_every_alternative_is_tried() -> None:
    """One bad branch among good ones is found."""
    with pytest.raises(
        OriginError,
        match=r"http://b\.com.* an unlisted origin|which a browser writes|no browser sends",
    ):
        parse_pattern(r"^http://(?:a\.shop\.example|b\.example/)$", production=False)


def test_production_takes_no_regular_expressions() -> None:
    with pytest.raises(OriginError, match="for development only"):
        parse_pattern(r"^https://app\.shop\.de$", production=True)
