"""Fill a folder of the cache with the wheels of a project, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

from infra.core.home import locked
from on_host import wheelfiles
from rollout.release.archive import digest
from rollout.release.building import Building
from rollout.release.chosen import Choice, wrong_hash
from rollout.release.declared import Requirements
from rollout.release.errors import ReleaseError
from rollout.release.lines import config_folders, credentials
from rollout.release.resolving import Resolver
from rollout.release.target import Target
from rollout.release.tools import pip
from rollout.release.workshop import Workshop

FORMAT = "3"  # of what the host makes of wheels; another one makes every environment another

Say = Callable[[str], None]
Advance = Callable[[float, str], None]


class Record(TypedDict):
    """wheels.json in the folder of a fetch."""

    lock: str  # a digest of all wheels
    names: dict[str, str]  # file name → SHA-256
    locked: bool  # the project has a lock of its own
    choices: list[dict[str, Any]]  # fields of `Choice`; empty where they are to be chosen again


def recorded(folder: Path) -> Record | None:
    """The record of a fetch; None where there was none, or its record is cut."""
    try:
        record: Record = json.loads((folder / "wheels.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    is_complete = {"lock", "names", "locked", "choices"} <= record.keys()
    return record if is_complete else None


@dataclass(frozen=True)
class Fetch:
    """Fills `folder` with the wheels of `wanted` for `target`."""

    wanted: Requirements
    target: Target
    may_build: list[str]
    folder: Path
    say: Say
    workshop: Workshop | None = None

    @cached_property
    def building(self) -> Building:
        """How what has no wheel becomes one."""
        return Building(self.wanted, self.target, self.say, self.workshop, self._fetch_needs)

    @cached_property
    def resolver(self) -> Resolver:
        """How the packages are chosen."""
        return Resolver(self.building, self.may_build)

    def all(self, advance: Advance, known: list[Choice] | None = None) -> Record:
        """Fill the folder, whole or not at all, in place of what may be there, and return its
        record. `known` are the choices of an earlier run."""
        scratch = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix="new-"))
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            if self.workshop:
                stack.enter_context(self.workshop.open())
            advance(0.05, f"resolves {self.wanted.file}")
            choices = known or self.resolver.choices(scratch, advance)
            self._have(choices, scratch, advance)
            record = self._record(scratch, choices)
            (scratch / "wheels.json").write_text(json.dumps(record, indent=1))
            with locked(self.folder.parent / ".lock"):
                shutil.rmtree(self.folder, ignore_errors=True)
                scratch.rename(self.folder)
            advance(1.0, "has all wheels")
            return record

    def again(self, lock: str, advance: Advance) -> None:
        """Fetch the very same wheels in place of damaged ones: the release's id is made of them."""
        known: list[Choice] | None = None
        record = recorded(self.folder)
        if record:
            known = []
            for fields in record["choices"]:
                known.append(Choice(**{**fields, "hashes": tuple(fields["hashes"])}))
        if self.all(advance, known)["lock"] != lock:
            raise ReleaseError(
                "wheels there were damaged, and the index has others now",
                where=str(self.folder),
                cure="run it again",
            )

    def _have(self, choices: list[Choice], scratch: Path, advance: Advance) -> None:
        """Build or download each choice."""
        to_download = []
        for one in choices:
            if one.build:
                advance(-1, f"builds {one.name}")
                self.building.wheel(one, scratch)
            else:
                to_download.append(one)
        advance(0.3, f"fetches {len(to_download)} wheels")
        self._download(to_download, scratch)

    def _record(self, folder: Path, choices: list[Choice]) -> Record:
        names: dict[str, str] = {}
        for path in sorted(folder.glob("*.whl")):
            check_wheel(path, self.target.python)
            names[path.name] = digest(path)
        return {
            "lock": lock_of(self.target, names),
            "names": names,
            "locked": self.resolver.is_locked,
            "choices": _known(choices, folder),
        }

    def _fetch_needs(self, name: str, lines: list[str], folder: Path) -> None:
        """Fetch the wheels that the build of a package asks for."""
        self._download(self.resolver.build_needs(name, lines, folder), folder)

    def _download(self, choices: list[Choice], scratch: Path) -> None:
        """Download exactly these files, each from its own address; pip refuses one with another
        hash."""
        remote = [one for one in choices if not one.address.startswith(scratch.as_uri())]
        with_hash = [one.line for one in remote if one.hashes]
        without_hash = [one.line for one in remote if not one.hashes]
        if with_hash:
            self._pip_download(with_hash, scratch, "--require-hashes")
        if without_hash:
            self._pip_download(without_hash, scratch)
        self._require_hashes(remote, scratch)

    def _pip_download(self, lines: list[str], scratch: Path, *more: str) -> None:
        options = ["--only-binary=:all:", "-d", str(scratch), "--implementation", "cp"]
        options += ["--python-version", self.target.python, "--abi", self.target.abi]
        for platform in self.target.platforms:
            options += ["--platform", platform]
        asked = [*credentials(self.wanted), *lines]
        folders = config_folders(self.wanted)
        answer = pip(
            "download",
            *options,
            *more,
            lines=asked,
            scratch=scratch,
            folders=folders,
        )
        if answer.returncode:
            raise self.resolver.refusals.not_fetched(answer.stderr)

    def _require_hashes(self, choices: list[Choice], scratch: Path) -> None:
        """Raise ReleaseError where a file is not what was chosen, to the byte: its hash is compared
        once more, independently of pip."""
        for one in choices:
            allowed = [text for text in one.hashes if text.startswith("sha256:")]
            path = scratch / one.filename
            is_right = path.is_file()
            if is_right and allowed:
                is_right = f"sha256:{digest(path)}" in allowed
            if not is_right:
                raise ReleaseError(wrong_hash(self.wanted, f"{one.name}=={one.version}"))


def lock_of(target: Target, names: Mapping[str, str]) -> str:
    """The name of a set of wheels (file name → SHA-256) for a kind of host."""
    facts = [FORMAT, target.python, target.machine, names]
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_wheel(path: Path, python: str) -> None:
    """Raise ReleaseError for a wheel that the host would refuse, before anything is sent."""
    try:
        wheelfiles.check(path, python)
    except wheelfiles.WheelRefused as problem:
        raise ReleaseError(
            f"a wheel is refused: {problem}", cure="pin another version of it, or leave it out"
        ) from problem


def _known(choices: list[Choice], folder: Path) -> list[dict[str, Any]]:
    """The choices, for a later run; none where that has to choose again.

    What was built is gone with the folder, and a repository's address may hold a password.
    """
    for one in choices:
        if one.build or str(folder) in one.address:
            return []
    return [asdict(one) for one in choices]
