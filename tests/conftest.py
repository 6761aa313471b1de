"""What tests need of this machine; where it is missing they are skipped by name, and fail with
CI=true."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from infra.core.settings import UNBALANCED
from tests.support.installed import installed

NEEDS = {
    "machines": ("systemd-nspawn", "debootstrap", "ip"),
    "browser": ("chromium", "certutil"),
    "firefox": ("firefox-esr", "openssl"),
    "nginx": ("nginx",),
    "pebble": ("go",),
}


def missing(marker: str) -> str | None:
    """Why a test with this marker can't run here, or None."""
    absent = [name for name in NEEDS[marker] if installed(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed"
    if marker == "machines" and os.geteuid() != 0:
        return "not root"
    return None


def pytest_configure() -> None:
    """A shell that starts a job in the background has it ignore ^C, and so would all that the tests
    start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in NEEDS:
        if item.get_closest_marker(marker) and (reason := missing(marker)):
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI must be able to run this, but: {reason}", pytrace=False)
            pytest.skip(reason)


@pytest.fixture
def many_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts above 1 are taken, as they will be when the load balancer comes."""
    monkeypatch.setenv(UNBALANCED, "1")


@pytest.fixture(scope="session", autouse=True)
def no_colour_no_stack() -> Iterator[None]:
    """Tests see the same output whoever runs them."""
    before = {
        name: os.environ.pop(name, None)
        for name in ("STACK", "PULUMI_STACK", "FORCE_COLOR", "PULUMI_BACKEND_URL")
    }
    yield
    os.environ.update({name: value for name, value in before.items() if value is not None})
