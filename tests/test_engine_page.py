"""docs/engine.md says what the embedded engine does."""

from __future__ import annotations

import re

from infra.local import checkpoint, engine, monitor
from tests.support.kit import ROOT

PAGE = (ROOT / "docs" / "engine.md").read_text()


def test_the_page_names_every_option_that_is_refused() -> None:
    """The names are those of pulumi.ResourceOptions."""
    text = PAGE.split("<!-- refused options")[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z_]+)`", text))
    refused = {name for name in monitor.REFUSED.values() if " " not in name}
    assert named == refused | {"custom_timeouts", "hooks"}


def test_the_page_names_every_command() -> None:
    """And the version of the state."""
    [line] = [line for line in PAGE.splitlines() if line.startswith("The commands are")]
    assert set(re.findall(r"`(\w+)`", line)) == {*engine.COMMANDS, "outputs"}
    assert f"a Pulumi checkpoint, version {checkpoint.VERSION}" in PAGE
