"""A stack's settings, read on the operator's side: the same file, the same checks as in the Pulumi
program."""

from __future__ import annotations

from infra.core.settings import Settings
from infra.core.stackfile import read_config
from rollout.outputs import ROOT


def read(stack: str, key_file: bool = True) -> Settings:
    """Raises SettingsError with every problem, StackFileError for a file that is no YAML.

    Without `key_file` the operator's public keys need not be here: only `fab up` takes them.
    """
    return Settings.read(read_config(ROOT, stack), stack, key_file)
