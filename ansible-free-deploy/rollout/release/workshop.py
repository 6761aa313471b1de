"""From a source to a wheel for one kind of host, on a build machine of the hosts' own Debian.

The machine has no network: what a build asks for is fetched on this side, as wheels, and given
along. What was built is kept by the SHA-256 of its source, so that it is built once.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from infra.core import debian
from infra.core.home import cache_folder, locked, write_whole
from infra.local import build_machine
from infra.local.build_machine import BuildError
from rollout.release.archive import digest, out_of_use
from rollout.release.errors import ReleaseError
from rollout.release.target import Target

Say = Callable[[str], None]
Needs = Callable[[list[str], Path], None]  # fetches wheels for these requirements into a folder

_KINDS = (".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")
_USUAL = ["setuptools>=40.8.0", "wheel"]  # what pip takes for a source that doesn't say
_ROUNDS = 5
KEPT_WHEELS = 100  # of what was built, those used last
_LARGEST = 2**20  # of a pyproject.toml
# Its name, then the wheel itself, so that nothing is looked for in a folder that a third party's
# build has written.
_SCRIPT = """
set -eu
{version}
python3 -m venv venv >&2
venv/bin/python -m pip wheel -q --disable-pip-version-check --no-input --no-cache-dir \
    --no-index --find-links needs --no-deps --use-pep517 -w out {source} >&2
cd out
set -- *.whl
printf '%s\\n' "$1"
cat "$1"
"""


class Machine(Protocol):
    """What is asked of a build machine."""

    def install(self) -> None:
        """Get the compiler."""

    def build(self, script: str, given: dict[str, Path], out: Path) -> None:
        """Run a script without rights, its output into `out`."""

    def stop(self) -> None:
        """End what runs, from another thread."""


Make = Callable[[str, Say], AbstractContextManager[Machine]]


class BuildFailed(ReleaseError):
    """`package` could not be built; `why` is the first reason that the build gave."""

    def __init__(self, package: str, why: str) -> None:
        super().__init__(f"{package} can't be built: {why}")
        self.package = package
        self.why = why


@dataclass
class Workshop:
    """Builds for hosts of one kind. Its machine is made at the first build and removed when `open`
    ends."""

    release: debian.Release
    target: Target
    make: Make = build_machine.made
    _machine: Machine | None = field(default=None, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _stopped: bool = field(default=False, init=False)

    @classmethod
    def of(cls, target: Target) -> Workshop | None:
        """None where this machine can't make one for such hosts."""
        release = debian.of(target.python, target.libc)
        if release is None or why_none(target):
            return None
        return cls(release, target)

    @contextmanager
    def open(self) -> Iterator[None]:
        """The machine lives until the block ends."""
        with self._stack:
            try:
                yield
            finally:
                self._machine = None

    def stop(self) -> None:
        """End what is built, from another thread: the block's thread clears up."""
        self._stopped = True
        if self._machine is not None:
            self._machine.stop()

    def wheel(
        self,
        name: str,
        version: str,
        source: Path,
        needs: Needs,
        say: Say,
    ) -> Path:
        """The wheel of an archive of source, in the cache; `version` is empty where it is not known
        yet.

        Raises BuildFailed with the first reason.
        """
        key = f"{digest(source)}-{self.release.name}-{self.target.machine}"
        folder = cache_folder("built") / key
        with locked(folder.parent / ".lock"):
            kept = _kept(folder)
            if kept:
                os.utime(folder)  # it is in use: not the one to remove
                return kept
        what = f"{name} {version}".rstrip()
        say(f"builds {what} for Python {self.target.python} on a build machine")
        with tempfile.TemporaryDirectory(prefix="origin-kit-build-") as temporary:
            scratch = Path(temporary)
            out = self._built(what, version, source, needs, say, scratch)
            return _keep(self._taken(name, version, out, scratch), folder)

    def _built(
        self,
        what: str,
        version: str,
        source: Path,
        needs: Needs,
        say: Say,
        scratch: Path,
    ) -> Path:
        """The output of the build. A build may ask for more when it has begun (PEP 517): then it
        runs once more."""
        asked, out = _static_needs(source), scratch / "out"
        given = "source" + _kind_of(source)
        known_version = ""
        if version:  # a source without its repository can't ask git for its version
            known_version = f"export SETUPTOOLS_SCM_PRETEND_VERSION={shlex.quote(version)}"
        script = _SCRIPT.format(version=known_version, source=given)
        for _ in range(_ROUNDS):
            folder = Path(tempfile.mkdtemp(dir=scratch, prefix="needs-"))
            if asked:
                needs(asked, folder)
            files = {f"needs/{path.name}": path for path in folder.glob("*.whl")}
            machine = self._machine_there(say)
            try:
                machine.build(script, {given: source, **files}, out)
                return out
            except BuildError as problem:
                more = _lacks(problem.said)
                if more is None or more in asked:
                    why = first_reason(problem.said) if problem.said else str(problem)
                    raise BuildFailed(what, why) from None
                asked = [*asked, more]
        raise BuildFailed(what, f"it asks for more and more packages: {', '.join(asked)}")

    def _machine_there(self, say: Say) -> Machine:
        if self._machine is None:
            machine = self._stack.enter_context(self.make(self.release.name, say))
            self._machine = machine
            if self._stopped:
                machine.stop()
            machine.install()
        return self._machine

    def _taken(
        self,
        name: str,
        version: str,
        out: Path,
        scratch: Path,
    ) -> Path:
        """The wheel in an output, if it is the one that was asked for and the hosts can load it."""
        what = f"{name} {version}".rstrip()
        with out.open("rb") as content:
            file = content.readline(256).decode(errors="replace").strip()
            self._check_name(what, name, version, file)
            with (scratch / file).open("wb") as wheel:
                shutil.copyfileobj(content, wheel)
        return scratch / file

    def _check_name(
        self,
        what: str,
        name: str,
        version: str,
        file: str,
    ) -> None:
        """Raise BuildFailed for a file that is no wheel, another package's, or not for the
        hosts."""
        try:
            if "/" in file:
                raise InvalidWheelFilename(file)
            built_name, built_version, _, tags = parse_wheel_filename(file)
        except InvalidWheelFilename:
            raise BuildFailed(what, f"its build leaves no wheel, but {file[:80]!r}") from None
        is_asked_for = built_name == canonicalize_name(name) and str(built_version) == version
        if version and not is_asked_for:
            raise BuildFailed(what, f"its build makes {file}, which is another package or version")
        if tags.isdisjoint(self.target.tags):
            raise BuildFailed(what, f"its build makes {file}, which {self.target} can't load")


def why_none(target: Target) -> str:
    """Why no build machine for such hosts can be made here; "" where one can."""
    release = debian.of(target.python, target.libc)
    if release is None:
        return f"the kit knows no Debian with Python {target.python} and glibc {target.libc}"
    return build_machine.lacking(release.name, target.machine)


def without_one(target: Target) -> str:
    """The reason as a clause, for a message about what would need a build machine; "" where one can
    be made."""
    why = why_none(target)
    return f", and no build machine can be made ({why})" if why else ""


def _kept(folder: Path) -> Path | None:
    """The wheel that was built before, if it is undamaged."""
    note = folder / "sha256"
    for wheel in folder.glob("*.whl"):
        if note.is_file() and note.read_text() == digest(wheel):
            return wheel
    return None


def _keep(wheel: Path, folder: Path) -> Path:
    """Copy a wheel to its folder of the cache, and remove those that were not used for longest."""
    with locked(folder.parent / ".lock"):
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or of another run meanwhile
        folder.mkdir()
        kept = Path(shutil.copy(wheel, folder / wheel.name))
        # Last: without it the wheel doesn't count.
        write_whole(folder / "sha256", digest(wheel))
        for old in out_of_use(folder.parent.glob("*/"), KEPT_WHEELS):
            shutil.rmtree(old)
    return kept


def _kind_of(source: Path) -> str:
    for kind in _KINDS:
        if source.name.endswith(kind):
            return kind
    return ".tar.gz"


def _static_needs(source: Path) -> list[str]:
    """What a build needs by its pyproject.toml, read from the archive. Nothing is unpacked."""
    try:
        content = tomllib.loads(_read(source, "pyproject.toml"))
        requires = content.get("build-system", {}).get("requires")
    except (tomllib.TOMLDecodeError, AttributeError):
        requires = None  # its build reports it, in better words
    if isinstance(requires, list):
        return [str(one) for one in requires]
    return list(_USUAL)


def _read(source: Path, name: str) -> str:
    """A file at the top of an archive; "" where there is none."""
    try:
        if source.name.endswith(".zip"):
            return _read_zip(source, rf"[^/]+/{name}")
        return _read_tar(source, rf"(\./)?[^/]+/{name}")
    except (tarfile.TarError, zipfile.BadZipFile, UnicodeDecodeError, EOFError):
        return ""


def _read_zip(source: Path, pattern: str) -> str:
    with zipfile.ZipFile(source) as zipped:
        for member in zipped.namelist():
            if re.fullmatch(pattern, member):
                return zipped.open(member).read(_LARGEST).decode()
    return ""


def _read_tar(source: Path, pattern: str) -> str:
    with tarfile.open(source) as tar:
        for member in tar:
            if member.isfile() and re.fullmatch(pattern, member.name):
                content = tar.extractfile(member)
                return content.read(_LARGEST).decode() if content else ""
    return ""


def _lacks(said: str) -> str | None:
    """What pip looked for among the wheels that were given and did not find."""
    found = re.search(r"No matching distribution found for (\S[^\n(]*)", said)
    return found[1].strip() if found else None


# What compilers and builds say first, before what follows from it.
_REASONS = (
    r"^.*fatal error: .*$",
    r"^.*\b(?:not found|No such file or directory)\b.*$",
    r"^.*(?:Rust|Cargo|cargo|rustc).*$",
    r"^.*\berror: (?!subprocess-exited|metadata-generation|command ).*$",
    r"^\w*(?:Error|Exception): .*$",
)
_FRAME = re.compile(r"^(?:[\s│|]|error: |ERROR: |╰─>|×)+")


def first_reason(said: str) -> str:
    """The line of a failed build that says why, on one line and not too long."""
    unframed = [_FRAME.sub("", raw).strip() for raw in said.splitlines()]
    lines = [line for line in unframed if line]
    for pattern in _REASONS:
        for line in lines:
            if re.match(pattern, line):
                return line[:300].rstrip(".")
    return (lines or ["no reason given"])[-1][:300].rstrip(".")
