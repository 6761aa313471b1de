"""What tests need of this machine; where it is missing they are skipped by name, and fail with
CI=true."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from infra.core.cross_fields import UNBALANCED
from tests.support.installed import installed

NEEDS = {
    "machines": ("systemd-nspawn", "debootstrap", "ip"),
    "browser": ("chromium", "certutil"),
    "firefox": ("firefox-esr", "openssl"),
    "nginx": ("nginx",),
    "pebble": ("go",),
    "actionlint": ("go",),
    "debian": ("apt-get", "dpkg-deb"),
}


def missing(marker: str) -> str | None:
    """Why a test with this marker can't run here, or None."""
    absent = [name for name in NEEDS[marker] if installed(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed"
    if marker == "machines" and os.geteuid() != 0:
        return "not root"
    return None


NO_HOME = pytest.StashKey[TemporaryDirectory[str]]()
OF_THE_USER = ("STACK", "PULUMI_STACK", "FORCE_COLOR", "PULUMI_BACKEND_URL")


def pytest_configure(config: pytest.Config) -> None:
    """Tests see the same output whoever runs them, and never the stacks that this user has: their
    home is another one, of which collecting the tests knows already.

    A shell that starts a job in the background has it ignore ^C, and so would all that the tests
    start.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in OF_THE_USER:
        os.environ.pop(name, None)
    config.stash[NO_HOME] = TemporaryDirectory(prefix="origin-kit-tests-")
    os.environ["ORIGIN_KIT_HOME"] = str(Path(config.stash[NO_HOME].name, "home"))


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[NO_HOME].cleanup()


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
