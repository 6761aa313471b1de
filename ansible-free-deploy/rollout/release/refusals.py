"""Why wheels can't be had, in words: what was asked for, the reason, the next step."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from infra.core.home import user_name
from rollout.release import ways_out
from rollout.release.chosen import wrong_hash
from rollout.release.declared import Requirements
from rollout.release.errors import ReleaseError
from rollout.release.indexes import keyring
from rollout.release.lines import config_folders
from rollout.release.output import detail, reason
from rollout.release.target import Target
from rollout.release.workshop import without_one

_FILE_WITH_OTHER_HASH = re.compile(r"^\s+(\S+) @ \S+|^\s+(\S+) from ", re.MULTILINE)


@dataclass(frozen=True)
class Refusals:
    """The errors for what `wanted` asks for, on `target`."""

    wanted: Requirements
    target: Target

    def unresolved(self, error: str) -> ReleaseError:
        """uv finds no solution; `error` is its output."""
        return ReleaseError(
            f"{self.wanted.path} can't be resolved for Python {self.target.python}:"
            f" {reason(error)}{ways_out.other_python(error)}{self._login_hint(error)}",
            detail(error),
        )

    def no_wheel(self, names: Sequence[str]) -> ReleaseError:
        """These packages have no wheel, and may not be built."""
        allow = ways_out.allow(names)
        if allow:
            user = user_name(os.geteuid())
            why = (
                f"{without_one(self.target)}; building from source would run that code here as"
                f" {user}"
            )
        else:
            why = f", which has to be compiled{without_one(self.target)}"
        return ReleaseError(
            f"no wheel for {self.target} of {', '.join(names)}{why}: pin a version that has a"
            f" wheel, put one on your own index{allow}{ways_out.hint(names, self.wanted)}",
            where=self.wanted.file,
        )

    def not_fetched(self, error: str) -> ReleaseError:
        """pip can't fetch a file; `error` is its output."""
        if "DO NOT MATCH THE HASHES" in error:
            name = "a package"
            match = _FILE_WITH_OTHER_HASH.search(error.partition("HASHES")[2])
            if match:
                name = match[1] or match[2]
            return ReleaseError(wrong_hash(self.wanted, name))
        login_hint = self._login_hint(error)
        if login_hint:
            return ReleaseError(
                f"an index asks for a user and password: {reason(error)}{login_hint}",
                where=str(self.wanted.path),
            )
        return ReleaseError(
            f"pip can't fetch: {reason(error)}",
            where=str(self.wanted.path),
            cure="is the package index in reach?",
        )

    def _login_hint(self, error: str) -> str:
        """How to give a user and password, where an index asks for them; "" where none does."""
        if not re.search(r"\b40[13]\b", error):
            return ""
        if keyring(config_folders(self.wanted)) and shutil.which("keyring") is None:
            return (
                "; a keyring is to be asked for them, and there is no program `keyring` on PATH:"
                " install it"
            )
        return (
            "; give them as uv and pip take them (UV_INDEX_<NAME>_USERNAME and _PASSWORD, ~/.netrc,"
            " or a keyring with UV_KEYRING_PROVIDER=subprocess and a user in the index's URL)"
        )
