"""Certificates of a preview, counted before anything of it is made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.core.settings import Settings
from rollout.acme import beforehand, limits
from rollout.acme.beforehand import LimitError
from rollout.acme.limits import Issue
from tests.test_settings import GOOD, REMOTE

NOW = 1_900_000_000.0
DAY = 86_400
CONFIG = {
    **GOOD,
    **REMOTE["aws"],
    "domain": "previews.example.co.uk",
    "dns_zone": "Z0123456789EXAMPLE",
    "ssh_from": '["203.0.113.0/24"]',
    "tls": "acme",
}
SETTINGS = Settings.read(CONFIG, "aws-dev")


def issued(count: int, *, at: float = NOW - DAY, domain: str = "example.co.uk") -> list[Issue]:
    """The nth one n seconds later."""
    return [Issue(int(at) + n, (f"b{n}.{domain}",), False) for n in range(count)]


def test_far_from_the_limit_nothing_is_said() -> None:
    assert beforehand.check(SETTINGS, issued(42), NOW) == ""


@pytest.mark.parametrize("count", [43, 48])
def test_near_the_limit_it_is_said(count: int) -> None:
    """Also for the last two: with them it is reached, and not passed."""
    said = beforehand.check(SETTINGS, issued(count), NOW)
    assert said == (
        f"{count} new certificates below example.co.uk in 7 days from this machine: Let's Encrypt"
        " issues 50, whoever asks; aws-dev takes 2 more"
    )


def test_over_the_limit_it_is_refused_with_the_time_from_which_there_is_room() -> None:
    """49 were issued, and page and API need one each: the oldest one has to be a week old."""
    found = issued(49)
    with pytest.raises(LimitError) as caught:
        beforehand.check(SETTINGS, found, NOW)
    said = str(caught.value)
    assert "49 new certificates below example.co.uk" in said
    assert "aws-dev needs 2; there is room from 2030-03-23 17:46 UTC" in said
    assert limits.time_of(found[0].at + limits.WEEK_S) == "2030-03-23 17:46 UTC"
    assert beforehand.check(SETTINGS, found, found[0].at + limits.WEEK_S + 1) != ""


@pytest.mark.parametrize(
    "others",
    [
        issued(60, at=NOW - 8 * DAY),
        issued(60, domain="example.com"),
        [replace(one, renewal=True) for one in issued(60)],
    ],
)
def test_what_does_not_count(others: list[Issue]) -> None:
    """Older than a week, of another domain, renewals."""
    assert beforehand.check(SETTINGS, others, NOW) == ""


def test_names_that_had_certificates_lately_need_none_that_count() -> None:
    """A preview that was removed and comes again, or a slot, whose names are the same."""
    own = [Issue(int(NOW) - DAY, (name,), False) for name in beforehand.names_of(SETTINGS)]
    assert beforehand.check(SETTINGS, [*issued(49), *own], NOW) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"tls": "off"},
        {"domain": "", "dns_zone": ""},
        {"acme_staging": True},
        {"acme_directory": "https://ca.example.com/dir"},
    ],
)
def test_who_shares_no_such_limit(change: dict[str, object]) -> None:
    """Bare IPs, other CAs and Let's Encrypt's staging, and environments without ACME."""
    assert beforehand.check(replace(SETTINGS, **change), issued(60), NOW) == ""  # type: ignore[arg-type]
