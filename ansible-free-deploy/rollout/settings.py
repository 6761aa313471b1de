"""A stack's settings, read on the operator's side: the same file, the same checks as in the Pulumi program."""

from __future__ import annotations

from infra.settings import Settings
from infra.stackfile import read_config
from rollout.outputs import ROOT


def read(stack: str) -> Settings:
    """Raises SettingsError with every problem, StackFileError for a file that is no YAML."""
    return Settings.read(read_config(ROOT, stack), stack)
