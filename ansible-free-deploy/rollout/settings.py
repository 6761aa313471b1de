"""A stack's settings, read on the operator's side: the same file, the same checks as in the Pulumi
program."""

from __future__ import annotations

import functools
import sys

from infra.core.settings import Settings
from infra.core.stackfile import read_config
from rollout import report
from rollout.stacks import ROOT


def read(stack: str) -> Settings:
    """Read the stack's file, and print a line for each key that has a new name.

    Raises SettingsError with every problem, StackFileError for a file that is no YAML.
    """
    settings = Settings.read(read_config(ROOT, stack), stack)
    for warning in settings.warnings:
        _warn_once(warning)
    return settings


@functools.cache
def _warn_once(warning: str) -> None:
    report.line(f"warning: {warning}", sys.stderr)
