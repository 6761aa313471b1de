"""From what a project asks for to the very packages: its lock, or what `uv pip compile` says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from rollout.release import additions
from rollout.release.building import Building
from rollout.release.chosen import Choice, Hashes, NoWheel, choose, from_line
from rollout.release.compiling import Compiler
from rollout.release.declared import Requirements
from rollout.release.errors import ReleaseError
from rollout.release.lines import (
    hashes_of,
    index_options,
    name_of,
    wheel_name,
    with_built,
    without_hashes,
)
from rollout.release.output import detail, last, reason
from rollout.release.refusals import Refusals
from rollout.release.target import Target
from rollout.release.tools import uv

_MOST_WITHOUT_WHEEL = 20  # that are looked for before they are reported

Advance = Callable[[float, str], None]


@dataclass(frozen=True)
class Resolver:
    """Chooses the packages of `building.wanted` for `building.target`. `may_build` are the packages
    that the stack's config allows to build here."""

    building: Building
    may_build: list[str]

    @property
    def wanted(self) -> Requirements:
        """What the project asks for."""
        return self.building.wanted

    @property
    def target(self) -> Target:
        """The kind of host."""
        return self.building.target

    @property
    def allowed(self) -> list[str] | None:
        """The packages that may be built: None for all, on a build machine."""
        return None if self.building.workshop else self.may_build

    @cached_property
    def compiler(self) -> Compiler:
        return Compiler(self.wanted, self.target)

    @cached_property
    def refusals(self) -> Refusals:
        return Refusals(self.wanted, self.target)

    @property
    def is_locked(self) -> bool:
        """Whether every package has a hash that does not depend on the day."""
        return self.wanted.is_lock or hashes_of(self.wanted) is not None

    def choices(self, scratch: Path, advance: Advance) -> list[Choice]:
        """The project's packages, then the kit's own. What had to be built already is in `scratch`.

        Raises ReleaseError for what can't be resolved, or has no wheel and may not be built.
        """
        try:
            chosen = self._project(scratch, advance)
            have = {one.name: one.version for one in chosen}
            added = additions.missing(have, self.wanted)
            if added:
                chosen += self._additions(added, scratch)
        except NoWheel as problem:
            raise self.refusals.no_wheel(problem.names) from None
        return chosen

    def _project(self, scratch: Path, advance: Advance) -> list[Choice]:
        if not self.wanted.is_lock:
            return self._compiled(scratch, advance)
        text = self._exported() if self.wanted.file == "uv.lock" else self.wanted.text
        return choose(text, self.wanted, self.target, self.allowed)

    def _exported(self) -> str:
        """A uv.lock as a `pylock.toml`."""
        root = self.wanted.path.parent
        options = ["--frozen", "--no-dev", "--no-emit-project", "--no-header", "-q"]
        options += ["--format", "pylock.toml", "--no-python-downloads"]
        project = self.wanted.project or root
        answer = uv("export", *options, "--project", str(project), at=root)
        if answer.returncode:
            raise ReleaseError(
                f"uv can't read it: {last(answer.stderr)}",
                where=str(self.wanted.path),
                cure="run `uv lock` there",
            )
        return answer.stdout

    def _additions(self, added: list[additions.Addition], scratch: Path) -> list[Choice]:
        """The kit's additions, by the kit's own hashes: from the index that this machine is set up
        with, or from that of the project."""
        text = "\n".join(one.line for one in added)
        kit = Requirements(text, Path("the kit's own list"))
        pins = [one.pin for one in added]
        for index in ([], index_options(self.wanted)):
            compiled = self.compiler.compile([*index, *pins], scratch, "--no-deps")
            if not compiled.failed:
                return choose(compiled.text, kit, self.target, [], hashes_of(kit))
        raise ReleaseError(
            f"{' and '.join(pins)}, which the kit adds, can't be had: {reason(compiled.error)}",
            detail(compiled.error),
        )

    # ----------------------------------------------------------------------------- a list of lines

    def _compiled(self, scratch: Path, advance: Advance) -> list[Choice]:
        """Every package of a list, for the target's markers. What has no wheel is built where that
        is allowed; resolving alone would run a source distribution's code to ask for its needs."""
        locks = hashes_of(self.wanted)
        lines = []
        for line in without_hashes(self.wanted.text):
            lines.append(self._with_wheel(line, scratch, advance))
        built: set[str] = set()
        while True:
            compiled = self.compiler.compile(lines, scratch)
            if not compiled.failed:
                break
            lacking = compiled.without_wheel
            self._refuse_unless_allowed(lacking, lines, scratch)
            if lacking <= built:
                raise self.refusals.unresolved(compiled.error)
            for name in sorted(lacking - built):
                advance(-1, f"builds {name}, which has no wheel")
                lines = self._with_built_wheel(name, lines, scratch, locks)
            built |= lacking
        if locks is None:
            self._report_older(compiled.text, scratch)
        hashes = with_built(locks, scratch)
        return choose(compiled.text, self.wanted, self.target, self.allowed, hashes)

    def _refuse_unless_allowed(self, lacking: set[str], lines: list[str], scratch: Path) -> None:
        """Raise NoWheel where one of these packages may not be built, with all such packages."""
        if self.allowed is None:
            return
        refused = lacking - set(self.allowed)
        if refused:
            raise NoWheel(refused | self._more_without_wheel(refused, lines, scratch))

    def _more_without_wheel(self, known: set[str], lines: list[str], scratch: Path) -> set[str]:
        """The others that would be refused next: uv stops at the first."""
        names = set(known)
        overrides = scratch / "overrides.txt"
        for _ in range(_MOST_WITHOUT_WHEEL):
            left_out = [f"{name} ; python_version < '0'\n" for name in sorted(names)]
            overrides.write_text("".join(left_out))
            compiled = self.compiler.compile(lines, scratch, "--overrides", str(overrides))
            if compiled.without_wheel <= names:
                break
            names |= compiled.without_wheel
        overrides.unlink(missing_ok=True)
        return names - set(self.may_build)

    def _report_older(self, lock: str, scratch: Path) -> None:
        """Say which packages are older than today's, because the newer ones have no wheel: nobody
        chose that."""
        direct = set()
        for line in self.wanted.text.splitlines():
            if line[:1].isalnum() and "==" not in line:
                direct.add(name_of(line))
        for name, version in older(tomllib.loads(lock), direct):
            newest = self._newest_without_wheel(name, version, scratch)
            if not newest:
                continue
            allow = ""
            if self.building.workshop is None:
                allow = f" and allow `build_sdists: [{name}]`"
            self.building.say(
                f"takes {name} {version}, since newer versions have no wheel; for the newest, ask"
                f" for `{name}>={newest}` in {self.wanted.file}{allow}"
            )

    def _newest_without_wheel(self, name: str, version: str, scratch: Path) -> str:
        """The newest version after this one, where no newer one has a wheel; "" otherwise."""
        lines = [*index_options(self.wanted), f"{name}>{version}"]
        options = ("--no-deps", "--prerelease", "disallow")
        as_wheel = self.compiler.compile(lines, scratch, *options)
        if name not in as_wheel.without_wheel:
            return ""
        as_source = self.compiler.compile(lines, scratch, *options, source=name)
        if as_source.failed:
            return ""
        for package in tomllib.loads(as_source.text)["packages"]:
            if package["name"] == name:
                return str(package["version"])
        return ""

    # -------------------------------------------------------------------------------- what is built

    def _with_wheel(self, line: str, scratch: Path, advance: Advance) -> str:
        """A line that is a folder or wheel of the project, as a requirement for the wheel that it
        becomes; any other line as it is."""
        if not line.startswith("/"):
            return line
        path, separator, marker = line.partition(" ;")
        extras = ""
        match = re.search(r"\[[^]/]*\]$", path)
        if match:
            extras = match[0]
        wheel = Path(path.removesuffix(extras))
        if wheel.suffix != ".whl":
            advance(-1, f"builds {wheel.name}, which is part of the project")
            wheel = self.building.folder(wheel, scratch)
        return f"{wheel_name(wheel)}{extras} @ {wheel.as_uri()}{separator}{marker}"

    def _with_built_wheel(
        self,
        name: str,
        lines: list[str],
        scratch: Path,
        locks: Hashes | None,
    ) -> list[str]:
        """The lines with the wheel that was built in place of where the package was from; nothing
        else can be taken."""
        names = [name_of(line) for line in lines]
        if name in names:
            number = names.index(name)
            line = re.sub(r"\s;.*?(?=\s--hash|$)", "", lines[number])
        else:
            number = len(lines)
            line = name
        hashes = locks.get(name, ()) if locks else ()
        if self.building.workshop:
            source = self._source(name, line, lines, scratch, locks)
            wheel = self.building.wheel(source, scratch)
        else:
            allowed = "".join(f" --hash={text}" for text in hashes)
            wheel = self.building.here(name, line + allowed, scratch)
        return [*lines[:number], f"{name} @ {wheel.as_uri()}", *lines[number + 1 :]]

    def _source(
        self,
        name: str,
        line: str,
        lines: list[str],
        scratch: Path,
        locks: Hashes | None,
    ) -> Choice:
        """The source of a package that a line names, found without running anything of it."""
        if " @ " in line or "://" in line:
            return from_line(name, line, locks.get(name, ()) if locks else ())
        options = [other for other in lines if other.startswith("-")]
        compiled = self.compiler.compile([*options, line], scratch, "--no-deps", source=name)
        if compiled.failed:
            raise self.refusals.unresolved(compiled.error)
        choices = choose(compiled.text, self.wanted, self.target, None, locks)
        return next(one for one in choices if one.name == name)

    def build_needs(self, name: str, lines: list[str], folder: Path) -> list[Choice]:
        """The wheels that the build of a package asks for, today's versions: no lock says anything
        of them."""
        wanted = Requirements("\n".join(lines), Path(f"the build of {name}"))
        compiled = self.compiler.compile([*index_options(self.wanted), *lines], folder)
        if compiled.failed:
            raise ReleaseError(
                f"the build of {name} needs {', '.join(lines)}: {reason(compiled.error)}"
            )
        return choose(compiled.text, wanted, self.target, [])


def older(lock: Mapping[str, Any], direct: Collection[str]) -> list[tuple[str, str]]:
    """Name and version of the packages that may have a newer version without a wheel: those whose
    wheel is a year old, and those that the project asks for itself, where the index does not report
    when it got a file."""
    year_ago = datetime.now(UTC) - timedelta(days=365)
    packages: list[tuple[str, str]] = []
    for package in lock.get("packages", []):
        name, version, files = package["name"], package.get("version"), package.get("wheels")
        if not version or not files:
            continue
        uploads = [file["upload-time"] for file in files if "upload-time" in file]
        is_old = max(uploads) < year_ago if uploads else name in direct
        if is_old:
            packages.append((name, version))
    return packages
