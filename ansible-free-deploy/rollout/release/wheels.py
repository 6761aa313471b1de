"""What the project needs, as wheels for the host's Python, resolved and fetched on this side.

The way of a package: its lock (or, without one, `uv pip compile`) → `chosen`, the very files with
their hashes → `pip download` of exactly these → their digests, which the host is told and checks.
What was fetched is kept by the digest of what was asked for.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from packaging.utils import canonicalize_name

from infra.core.contract import Json
from infra.core.home import cache_folder, locked, user_name
from on_host import wheelfiles
from rollout.release import additions, ways_out
from rollout.release.additions import ADDITIONS
from rollout.release.archive import digest
from rollout.release.building import Building
from rollout.release.chosen import Choice, Hashes, NoWheel, choose, from_line, wrong_hash
from rollout.release.lines import (
    hashes_of,
    index_options,
    let_in,
    name_of,
    places,
    with_built,
    without_hashes,
)
from rollout.release.needs import Requirements, requirements
from rollout.release.source import ReleaseError, content_digest, walk
from rollout.release.target import Target
from rollout.release.tools import (
    detail,
    keyring,
    last,
    pip,
    reason,
    settings_of_indexes,
    uv,
    write_private,
)
from rollout.release.workshop import Workshop, without_one

__all__ = ["ADDITIONS", "Requirements", "Target", "Wheels", "requirements", "uv", "wheels"]

_FORMAT = "3"  # of what the host makes of wheels; another one makes every environment another
_MOST_WITHOUT_WHEEL = 20  # that are looked for before they are told
_WITHOUT_WHEEL = re.compile(
    r"(?:Wheels are required|Building source distributions) for `([A-Za-z0-9._-]+)`"
)

Say = Callable[[str], None]
Advance = Callable[[float, str], None]


@dataclass(frozen=True)
class Wheels:
    """`lock` names the set; `names` are wheel files in `folder` with their SHA-256; `fetch_again`
    has the same ones in place of what is damaged."""

    lock: str
    folder: Path
    names: dict[str, str]
    fetch_again: Callable[[Advance], None] = field(compare=False, repr=False)

    def files(self, advance: Advance) -> list[Path]:
        """Every wheel, whole: what has vanished from the cache or is cut is fetched again.

        Raises ReleaseError where the index has it no longer.
        """
        found = [self.folder / name for name in self.names]
        if any(not path.is_file() or digest(path) != self.names[path.name] for path in found):
            self.fetch_again(advance)
        return found


def wheels(
    wanted: Requirements,
    target: Target,
    say: Say,
    advance: Advance,
    may_build: Collection[str] = (),
    workshop: Workshop | None = None,
) -> Wheels:
    """The wheels of `wanted` and of the kit's own needs for `target`; the second time from the
    cache, without network.

    What has no wheel is built in `workshop`. Without one only packages in `may_build`, and the
    project's own ones, are built from source, since that runs their code as whoever runs this.
    Raises ReleaseError for what can't be resolved, reached, had as a wheel, or has another hash.
    """
    builds = sorted(str(canonicalize_name(name)) for name in may_build)
    local = [_content(folder) for folder in wanted.local]
    kit = [one.line for one in additions.LIST]
    asked = [_FORMAT, wanted.text, local, kit, target.version, target.machine, target.libc, *builds]
    folder = cache_folder("wheels") / hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    fetch = _Fetch(wanted, target, builds, folder, say, workshop)
    record = _recorded(folder)
    if record is None:
        say(f"resolves {wanted.file} for Python {target.python} on {target.machine}")
        record = fetch.all(advance)
        if not record["locked"]:
            say(
                f"{wanted.file} locks nothing: these versions are today's; a lock with hashes keeps"
                " them"
            )
    return Wheels(
        record["lock"], folder, record["names"], functools.partial(fetch.again, record["lock"])
    )


def older(lock: Json, direct: Collection[str]) -> list[tuple[str, str]]:
    """Name and version of the packages that may have a newer version without a wheel: those whose
    wheel is a year old, and those that the project asks for itself, where the index does not tell
    when it got a file."""
    found, year_ago = [], datetime.now(UTC) - timedelta(days=365)
    for package in lock.get("packages", []):
        name, version, files = package["name"], package.get("version"), package.get("wheels", [])
        since = [one["upload-time"] for one in files if "upload-time" in one]
        if version and files and (max(since) < year_ago if since else name in direct):
            found.append((name, version))
    return found


def _content(folder: Path) -> str:
    """Of a folder, or a file: another content is another package, under the same name and
    version."""
    paths = (
        [folder]
        if folder.is_file()
        else [folder / path for path in sorted(walk(folder))]
        if folder.is_dir()
        else []
    )
    files = [
        (os.path.relpath(path, folder), content_digest(path.read_bytes(), False))
        for path in paths
        if path.is_file()
    ]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _recorded(folder: Path) -> Json | None:
    """What a fetch has noted; None where there was none, or its note is cut."""
    try:
        record: Json = json.loads((folder / "wheels.json").read_text())
        return record if {"lock", "names", "locked", "choices"} <= record.keys() else None
    except (FileNotFoundError, ValueError):
        return None


# ---------------------------------------------------------------------------------------- one fetch


@dataclass(frozen=True)
class _Fetch:
    """Fills `folder` with the wheels of `wanted` for `target`."""

    wanted: Requirements
    target: Target
    may_build: list[str]
    folder: Path
    say: Say
    workshop: Workshop | None = None

    @property
    def building(self) -> Building:
        """How what has no wheel becomes one."""
        return Building(self.wanted, self.target, self.say, self.workshop, self._fetch_needs)

    @property
    def allowed(self) -> list[str] | None:
        """What may be built: None for all, on a build machine."""
        return None if self.workshop else self.may_build

    def all(self, advance: Advance, choices: list[Choice] | None = None) -> Json:
        """Fill the folder, whole or not at all, in place of what may be there; `choices` are known
        ones, if any."""
        scratch = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix="new-"))
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            if self.workshop:
                stack.enter_context(self.workshop.open())
            advance(0.05, f"resolves {self.wanted.file}")
            found = choices or self._chosen(scratch, advance)
            built = [one for one in found if one.build]
            for one in built:
                advance(-1, f"builds {one.name}")
                self.building.wheel(one, scratch)
            advance(0.3, f"fetches {len(found) - len(built)} wheels")
            self._download([one for one in found if not one.build], scratch)
            record = self._record(scratch, found)
            (scratch / "wheels.json").write_text(json.dumps(record, indent=1))
            with locked(self.folder.parent / ".lock"):
                shutil.rmtree(self.folder, ignore_errors=True)
                scratch.rename(self.folder)
            advance(1.0, "has all wheels")
            return record

    def again(self, lock: str, advance: Advance) -> None:
        """The very same wheels in place of damaged ones: the release's id is made of them."""
        record = _recorded(self.folder)
        choices = (
            [Choice(**{**one, "hashes": tuple(one["hashes"])}) for one in record["choices"]]
            if record
            else None
        )
        if self.all(advance, choices)["lock"] != lock:
            raise ReleaseError(
                f"{self.folder}: wheels there were damaged, and the index has others now; run it"
                " again"
            )

    def _record(self, folder: Path, choices: list[Choice]) -> Json:
        names = {path.name: digest(path) for path in sorted(folder.glob("*.whl"))}
        for name in names:
            self._check(folder / name)
        facts = [_FORMAT, self.target.python, self.target.machine, names]
        lock = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        # What was built is gone with the folder, and a repository's address may hold a password:
        # resolved again then.
        again = any(one.build or str(folder) in one.address for one in choices)
        known = [] if again else [asdict(one) for one in choices]
        return {
            "lock": lock,
            "names": names,
            "locked": self._locked() is not None,
            "choices": known,
        }

    def _check(self, path: Path) -> None:
        """The host refuses such a wheel too; here it is known before anything is sent."""
        try:
            wheelfiles.check(path, self.target.python)
        except wheelfiles.WheelRefused as problem:
            raise ReleaseError(
                f"a wheel is refused: {problem}; pin another version of it, or leave it out"
            ) from problem

    # ------------------------------------------------------------------------------- what is chosen

    def _chosen(self, scratch: Path, advance: Advance) -> list[Choice]:
        """The project's packages, then the kit's own."""
        try:
            if self.wanted.is_lock:
                text = self._exported() if self.wanted.file == "uv.lock" else self.wanted.text
                found = choose(text, self.wanted, self.target, self.allowed)
            else:
                found = self._compiled(scratch, advance)
            have = {one.name: one.version for one in found}
            added = additions.missing(have, self.wanted)
            return [*found, *(self._own(added, scratch) if added else [])]
        except NoWheel as problem:
            raise ReleaseError(self._no_wheel(problem.names)) from None

    def _exported(self) -> str:
        export = [
            "export",
            "--frozen",
            "--no-dev",
            "--no-emit-project",
            "--no-header",
            "-q",
            "--format",
            "pylock.toml",
        ]
        root = self.wanted.path.parent
        done = uv(
            *export, "--no-python-downloads", "--project", str(self.wanted.project or root), at=root
        )
        if done.returncode:
            raise ReleaseError(
                f"{self.wanted.path}: uv can't read it: {last(done.stderr)}; run `uv lock` there"
            )
        return done.stdout

    def _locked(self) -> Hashes | None:
        """The hashes of a lock; None for what no hash is known of but today's."""
        return {} if self.wanted.is_lock else hashes_of(self.wanted)

    def _compiled(self, scratch: Path, advance: Advance) -> list[Choice]:
        """Every package of a list, for the target's markers. What has no wheel is built where that
        is allowed; resolving alone would run a source distribution's code to ask for its needs."""
        locks = hashes_of(self.wanted)
        lines = [self._local(line, scratch, advance) for line in without_hashes(self.wanted.text)]
        built, refused = set[str](), set[str]()
        while True:
            done = self._uv_compile(lines, scratch, self.wanted.path.parent)
            if done.returncode == 0 and not refused:
                text = (scratch / "pylock.toml").read_text()
                if locks is None:
                    self._tell_older(text, scratch)
                return choose(
                    text, self.wanted, self.target, self.allowed, with_built(locks, scratch)
                )
            lacking = {str(canonicalize_name(name)) for name in _WITHOUT_WHEEL.findall(done.stderr)}
            refused = set() if self.allowed is None else lacking - set(self.allowed)
            if refused:
                raise NoWheel(sorted(refused | self._more_without_wheel(refused, lines, scratch)))
            if lacking <= built:
                raise self._unresolved(done.stderr)
            for name in sorted(lacking - built):
                advance(-1, f"builds {name}, which has no wheel")
                lines = self._build_line(name, lines, scratch, locks)
            built |= lacking

    def _tell_older(self, lock: str, scratch: Path) -> None:
        """Say which packages are older than today's, because the newer ones have no wheel: nobody
        chose that."""
        direct = {
            name_of(line)
            for line in self.wanted.text.splitlines()
            if line[:1].isalnum() and "==" not in line
        }
        for name, version in older(tomllib.loads(lock), direct):
            lines = [*index_options(self.wanted), f"{name}>{version}"]
            more = ("--no-deps", "--prerelease", "disallow")
            done = self._uv_compile(lines, scratch, self.wanted.path.parent, *more)
            if name not in {
                str(canonicalize_name(one)) for one in _WITHOUT_WHEEL.findall(done.stderr)
            }:
                continue
            done = self._uv_compile(lines, scratch, self.wanted.path.parent, *more, source=name)
            if done.returncode:
                continue
            packages = tomllib.loads((scratch / "pylock.toml").read_text())["packages"]
            newest = next(one["version"] for one in packages if one["name"] == name)
            allow = "" if self.workshop else f" and allow `build_sdists: [{name}]`"
            self.say(
                f"takes {name} {version}, since newer versions have no wheel; for the newest, ask"
                f" for `{name}>={newest}` in {self.wanted.file}{allow}"
            )

    def _more_without_wheel(self, known: set[str], lines: list[str], scratch: Path) -> set[str]:
        """Which others would be refused next, were it not for those: uv stops at the first."""
        found, apart = set(known), scratch / "apart.txt"
        for _ in range(_MOST_WITHOUT_WHEEL):
            apart.write_text("".join(f"{name} ; python_version < '0'\n" for name in sorted(found)))
            done = self._uv_compile(
                lines, scratch, self.wanted.path.parent, "--overrides", str(apart)
            )
            more = {
                str(canonicalize_name(name)) for name in _WITHOUT_WHEEL.findall(done.stderr)
            } - found
            if not more:
                break
            found |= more
        apart.unlink(missing_ok=True)
        return found - set(self.may_build)

    def _uv_compile(
        self, lines: list[str], scratch: Path, at: Path, *more: str, source: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """What the lines mean for the target, as wheels. `source` is the one package that may be
        source: uv is told that it needs nothing, so that it has no reason to run its build and
        ask."""
        asked, config = scratch / "asked.txt", scratch / "uv.toml"
        write_private(asked, "\n".join(lines) + "\n")
        (scratch / "pylock.toml").unlink(missing_ok=True)
        options = [
            "--format",
            "pylock.toml",
            "-o",
            str(scratch / "pylock.toml"),
            "--no-header",
            "-q",
        ]
        host = [
            "--python-version",
            self.target.version,
            "--python-platform",
            self.target.uv_platform,
        ]
        host += [
            "--no-python-downloads",
            "--python",
            sys.executable,
        ]  # else uv runs that of a .venv that lies about
        # uv asks the index of the environment before that of the lines, pip after it; so do we: a
        # list that says where its packages are from is not served from elsewhere.
        own_index = any(re.match(r"-i\b|--index-url|--no-index", line) for line in lines)
        if source:
            indexes = "" if own_index else settings_of_indexes(places(self.wanted))
            write_private(
                config, f"{indexes}[[dependency-metadata]]\nname = {json.dumps(source)}\n"
            )
            options += ["--config-file", str(config)]
        else:
            options += ["--no-build"]
        try:
            return uv(
                "pip", "compile", str(asked), *options, *host, *more, at=at, own_index=own_index
            )
        finally:
            asked.unlink()
            config.unlink(missing_ok=True)

    def _own(self, added: list[additions.Addition], scratch: Path) -> list[Choice]:
        """The kit's additions, by the kit's own hashes: from the index that this machine is set up
        with, or from that of the project."""
        kit = Requirements("\n".join(one.line for one in added), Path("the kit's own list"))
        for index in ([], index_options(self.wanted)):
            lines = [*index, *(one.pin for one in added)]
            done = self._uv_compile(lines, scratch, self.wanted.path.parent, "--no-deps")
            if done.returncode == 0:
                return choose(
                    (scratch / "pylock.toml").read_text(), kit, self.target, [], hashes_of(kit)
                )
        names = " and ".join(one.pin for one in added)
        raise ReleaseError(
            f"{names}, which the kit adds, can't be had: {reason(done.stderr)}", detail(done.stderr)
        )

    # -------------------------------------------------------------------------------- what is built

    def _local(self, line: str, scratch: Path, advance: Advance) -> str:
        """A line that is a folder or wheel of the project's own, as a requirement for the wheel
        that it becomes."""
        if not line.startswith("/"):
            return line
        path, _, marker = line.partition(" ;")
        extras = re.search(r"\[[^]/]*\]$", path)
        wheel = Path(path.removesuffix(extras[0]) if extras else path)
        if wheel.suffix != ".whl":
            advance(-1, f"builds {wheel.name}, which is part of the project")
            wheel = self.building.folder(wheel, scratch)
        name = canonicalize_name(wheel.name.partition("-")[0])
        return f"{name}{extras[0] if extras else ''} @ {wheel.as_uri()}" + (
            f" ;{marker}" if marker else ""
        )

    def _build_line(
        self, name: str, lines: list[str], scratch: Path, locks: Hashes | None
    ) -> list[str]:
        """The lines with the wheel that was built in place of where the package was from; nothing
        else can be taken."""
        place = next((number for number, line in enumerate(lines) if name_of(line) == name), None)
        line = name if place is None else re.sub(r"\s;.*?(?=\s--hash|$)", "", lines[place])
        if self.workshop:
            wheel = self.building.wheel(self._source(name, line, lines, scratch, locks), scratch)
        else:
            allowed = "".join(f" --hash={one}" for one in (locks or {}).get(name, ()))
            wheel = self.building.here(name, line + allowed, scratch)
        pin = f"{name} @ {wheel.as_uri()}"
        return [*lines, pin] if place is None else [*lines[:place], pin, *lines[place + 1 :]]

    def _source(
        self, name: str, line: str, lines: list[str], scratch: Path, locks: Hashes | None
    ) -> Choice:
        """The source of a package that a line names, found without running anything of it."""
        if " @ " in line or "://" in line:
            return from_line(name, line, (locks or {}).get(name, ()))
        options = [other for other in lines if other.startswith("-")]
        done = self._uv_compile(
            [*options, line], scratch, self.wanted.path.parent, "--no-deps", source=name
        )
        if done.returncode:
            raise self._unresolved(done.stderr)
        text = (scratch / "pylock.toml").read_text()
        return next(
            one for one in choose(text, self.wanted, self.target, None, locks) if one.name == name
        )

    def _fetch_needs(self, name: str, lines: list[str], folder: Path) -> None:
        """Wheels of what the build of a package asks for, today's versions: no lock says anything
        of them."""
        wanted = Requirements("\n".join(lines), Path(f"the build of {name}"))
        done = self._uv_compile(
            [*index_options(self.wanted), *lines], folder, self.wanted.path.parent
        )
        if done.returncode:
            raise ReleaseError(
                f"the build of {name} needs {', '.join(lines)}: {reason(done.stderr)}"
            )
        text = (folder / "pylock.toml").read_text()
        self._download(choose(text, wanted, self.target, []), folder)

    # ------------------------------------------------------------------------------ what is fetched

    def _download(self, choices: list[Choice], scratch: Path) -> None:
        """Exactly these files, each from its own address; pip refuses one with another hash."""
        here = [one for one in choices if one.address.startswith(scratch.as_uri())]
        with_hash = [one.line for one in choices if one not in here and one.hashes]
        without = [one.line for one in choices if one not in here and not one.hashes]
        platforms = [
            word for platform in self.target.platforms for word in ("--platform", platform)
        ]
        host = [
            "--python-version",
            self.target.python,
            "--implementation",
            "cp",
            "--abi",
            self.target.abi,
            *platforms,
        ]
        for lines, more in ((with_hash, ["--require-hashes"]), (without, [])):
            if lines:
                options = ["--only-binary=:all:", "-d", str(scratch), *host, *more]
                asked, folders = [*let_in(self.wanted), *lines], places(self.wanted)
                done = pip("download", *options, lines=asked, scratch=scratch, folders=folders)
                if done.returncode:
                    raise self._not_fetched(done.stderr)
        self._expect([one for one in choices if one not in here], scratch)

    def _expect(self, choices: list[Choice], scratch: Path) -> None:
        """What is here is what was chosen, to the byte: the hash is looked at once more, by our own
        hand."""
        for one in choices:
            allowed = {text for text in one.hashes if text.startswith("sha256:")}
            path = scratch / one.filename
            if not path.is_file() or (allowed and f"sha256:{digest(path)}" not in allowed):
                raise ReleaseError(wrong_hash(self.wanted, f"{one.name}=={one.version}"))

    def _not_fetched(self, said: str) -> ReleaseError:
        if "DO NOT MATCH THE HASHES" in said:
            name = re.search(
                r"^\s+(\S+) @ \S+|^\s+(\S+) from ", said.partition("HASHES")[2], re.MULTILINE
            )
            return ReleaseError(
                wrong_hash(self.wanted, name[1] or name[2] if name else "a package")
            )
        if cure := _let_in_by(said, places(self.wanted)):
            return ReleaseError(
                f"{self.wanted.path}: an index asks for a user and password: {reason(said)}{cure}"
            )
        return ReleaseError(
            f"{self.wanted.path}: pip can't fetch: {reason(said)}; is the package index in reach?"
        )

    # --------------------------------------------------------------------------------- what is said

    def _unresolved(self, said: str) -> ReleaseError:
        text = (
            f"{self.wanted.path} can't be resolved for Python {self.target.python}: {reason(said)}"
        )
        return ReleaseError(
            f"{text}{ways_out.other_python(said)}{_let_in_by(said, places(self.wanted))}",
            detail(said),
        )

    def _no_wheel(self, names: list[str]) -> str:
        text = f"{self.wanted.file}: no wheel for {self.target} of {', '.join(names)}"
        allow = ways_out.allow(names)
        if allow:
            user = user_name(os.geteuid())
            why = (
                f"{without_one(self.target)}; building from source would run that code here as"
                f" {user}"
            )
        else:
            why = f", which has to be compiled{without_one(self.target)}"
        return (
            f"{text}{why}: pin a version that has a wheel, put one on your own"
            f" index{allow}{self._hint(names)}"
        )

    def _hint(self, names: list[str]) -> str:
        return ways_out.hint(names, self.wanted)


def _let_in_by(said: str, folders: list[Path]) -> str:
    """How a user and password are given, where an index asks for them; "" where none does."""
    if not re.search(r"\b40[13]\b", said):
        return ""
    if keyring(folders) and shutil.which("keyring") is None:
        return (
            "; a keyring is to be asked for them, and there is no program `keyring` on PATH:"
            " install it"
        )
    return (
        "; give them as uv and pip take them (UV_INDEX_<NAME>_USERNAME and _PASSWORD, ~/.netrc, or"
        " a keyring with UV_KEYRING_PROVIDER=subprocess and a user in the index's URL)"
    )
