"""Run `uv pip compile`: requirement lines in, a `pylock.toml` for the target out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from rollout.release.declared import Requirements
from rollout.release.indexes import settings_of_indexes
from rollout.release.lines import config_folders
from rollout.release.target import Target
from rollout.release.tools import uv, write_private

_WITHOUT_WHEEL = re.compile(
    r"(?:Wheels are required|Building source distributions) for `([A-Za-z0-9._-]+)`"
)
_NAMES_ITS_INDEX = re.compile(r"-i\b|--index-url|--no-index")


@dataclass(frozen=True)
class Compiled:
    """The answer of uv: `text` is the lock, "" where it failed; `error` is its standard error."""

    text: str
    error: str

    @property
    def failed(self) -> bool:
        """Whether there is no lock."""
        return not self.text

    @property
    def without_wheel(self) -> set[str]:
        """The normal names of the packages that have no wheel."""
        return {str(canonicalize_name(name)) for name in _WITHOUT_WHEEL.findall(self.error)}


@dataclass(frozen=True)
class Compiler:
    """Resolves lines for `target`, with the indexes and in the folder of `wanted`."""

    wanted: Requirements
    target: Target

    def compile(
        self,
        lines: Iterable[str],
        scratch: Path,
        *more: str,
        source: str = "",
    ) -> Compiled:
        """What the lines mean for the target, as wheels; `more` are options of uv's.

        `source` is the one package that may be source. The configuration for uv says that it needs
        nothing: so uv has no reason to run its build and ask.
        """
        given = list(lines)
        asked, config, lock = scratch / "asked.txt", scratch / "uv.toml", scratch / "pylock.toml"
        write_private(asked, "\n".join(given) + "\n")
        lock.unlink(missing_ok=True)
        # uv asks the index of the environment before that of the lines, pip after it; so does this:
        # a list that says where its packages are from is not served from elsewhere.
        own_index = any(_NAMES_ITS_INDEX.match(line) for line in given)
        options = ["--format", "pylock.toml", "-o", str(lock), "--no-header", "-q"]
        if source:
            write_private(config, self._config(source, own_index))
            options += ["--config-file", str(config)]
        else:
            options.append("--no-build")
        try:
            words = ["pip", "compile", str(asked), *options, *self._host(), *more]
            answer = uv(
                *words,
                at=self.wanted.path.parent,
                own_index=own_index,
            )
        finally:
            asked.unlink()
            config.unlink(missing_ok=True)
        return _compiled(answer, lock)

    def _host(self) -> list[str]:
        options = ["--python-version", self.target.version]
        options += ["--python-platform", self.target.uv_platform]
        # Without --python, uv runs that of any .venv nearby.
        return [*options, "--no-python-downloads", "--python", sys.executable]

    def _config(self, source: str, own_index: bool) -> str:
        indexes = "" if own_index else settings_of_indexes(config_folders(self.wanted))
        return f"{indexes}[[dependency-metadata]]\nname = {json.dumps(source)}\n"


def _compiled(answer: subprocess.CompletedProcess[str], lock: Path) -> Compiled:
    text = "" if answer.returncode else lock.read_text()
    return Compiled(text, answer.stderr)
