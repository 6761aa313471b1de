"""What has no wheel and becomes one: on a build machine where one can be made for the hosts, else
here.

Here it is the operator who runs the build, so only the project's own packages and those that the
stack's config names are built, and only what is pure Python can be shipped.
"""

from __future__ import annotations

import gzip
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urldefrag, urlsplit

from infra.core.rules import hide_password
from rollout.release import left_out, ways_out
from rollout.release.archive import digest
from rollout.release.chosen import Choice, wrong_hash
from rollout.release.declared import Requirements
from rollout.release.errors import ReleaseError
from rollout.release.folders import walk
from rollout.release.lines import config_folders, credentials, index_options, shown
from rollout.release.output import detail, last
from rollout.release.repositories import repository
from rollout.release.target import Target
from rollout.release.tools import fetch, pip, uv
from rollout.release.workshop import BuildFailed, Workshop, without_one

_COMPILED = {".c", ".cc", ".cpp", ".cxx", ".pyx", ".rs", ".f", ".f90"}

Say = Callable[[str], None]
FetchNeeds = Callable[[str, list[str], Path], None]


@dataclass(frozen=True)
class Building:
    """Builds for `target` what `wanted` asks for. `fetch_needs` has wheels of what the build of a
    package needs."""

    wanted: Requirements
    target: Target
    say: Say
    workshop: Workshop | None
    fetch_needs: FetchNeeds

    def wheel(self, one: Choice, scratch: Path) -> Path:
        """A wheel of what has none, in `scratch`."""
        if one.folder is not None:
            return self.folder(one.folder, scratch, one.name, one.version)
        if self.workshop is None:
            return self.here(one.name, one.line, scratch)
        name = re.sub(r"[^\w.+-]", "_", one.filename)
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            source = Path(folder) / (name or "source.tar.gz")
            self._fetch(one, source)
            return self._on_machine(self.workshop, one.name, one.version, source, scratch)

    def folder(
        self,
        folder: Path,
        scratch: Path,
        name: str = "",
        version: str = "",
    ) -> Path:
        """The wheel of a package of the project's own, built from a copy: nothing is left there.
        What is not pure Python is built on the build machine, if there is one."""
        if self.workshop is None:
            return self._folder_here(folder, scratch)
        if not _has_compiled_sources(folder):
            built = self._folder_here(folder, scratch, pure=False)
            if _is_pure(built):
                return built
            built.unlink()
        with tempfile.TemporaryDirectory(dir=scratch) as packed:
            source = Path(packed) / "source.tar.gz"
            _pack(folder, source)
            return self._on_machine(self.workshop, name or folder.name, version, source, scratch)

    # --------------------------------------------------------------------------------- on a machine

    def _on_machine(
        self,
        workshop: Workshop,
        name: str,
        version: str,
        source: Path,
        scratch: Path,
    ) -> Path:
        def needs(lines: list[str], folder: Path) -> None:
            self.fetch_needs(name, lines, folder)

        try:
            built = workshop.wheel(name, version, source, needs, self.say)
        except BuildFailed as problem:
            raise ReleaseError(
                f"{problem.package} has no wheel, and building one fails: {problem.why}",
                where=self.wanted.file,
                cure=(
                    "the build machine can't have more Debian packages yet: pin a version that has"
                    f" a wheel, or put one on your own index{ways_out.hint([name], self.wanted)}"
                ),
            ) from None
        return Path(shutil.copy(built, scratch / built.name))

    def _fetch(self, one: Choice, source: Path) -> None:
        """The source, by its hash; nothing of it is run. Raises ReleaseError for another hash."""
        if "+" in urlsplit(one.address).scheme:
            _pack(self._repository(one), source)
            return
        lines = [*index_options(self.wanted), *credentials(self.wanted)]
        address = urldefrag(one.address).url
        answer = fetch(address, source, lines, config_folders(self.wanted))
        if answer.returncode:
            raise ReleaseError(
                f"{one.name} can't be fetched: {last(answer.stderr)}", where=str(self.wanted.path)
            )
        if one.hashes and not _has_one_of(source, one.hashes):
            raise ReleaseError(wrong_hash(self.wanted, f"{one.name}=={one.version}"))

    def _repository(self, one: Choice) -> Path:
        """The folder of a repository that holds the package, at the commit that is locked."""
        parts = urlsplit(one.address.partition("+")[2])
        path, _, ref = parts.path.partition("@")
        inside = unquote(dict(parse_qsl(parts.fragment)).get("subdirectory", ""))
        try:
            tree = repository(parts._replace(path=path, fragment="").geturl(), ref)
        except ReleaseError as problem:
            problem.where = f"{self.wanted.path}: {one.name}"
            raise
        folder = tree / inside
        if not folder.is_dir() or not folder.resolve().is_relative_to(tree.resolve()):
            raise ReleaseError(
                f"{one.name}: {hide_password(one.address)} has no folder {inside}",
                where=str(self.wanted.path),
                cure="correct it there",
            )
        return folder

    # ----------------------------------------------------------------------------------------- here

    def _folder_here(self, folder: Path, scratch: Path, pure: bool = True) -> Path:
        """As `uv sync` would build it."""
        self.say(
            f"builds {folder.name} from {folder}, which is part of the project; that runs its build"
            " here"
        )
        built = Path(tempfile.mkdtemp(dir=scratch, prefix="built-"))
        copy = Path(tempfile.mkdtemp(dir=scratch, prefix="copy-"))
        _copy_files(folder, copy)
        options = ["--wheel", "-q", "--no-create-gitignore", "--no-python-downloads"]
        options += ["--python", sys.executable, "-o", str(built)]
        answer = uv("build", *options, str(copy), at=copy)
        shutil.rmtree(copy)
        if answer.returncode:
            raise ReleaseError(
                f"{folder} can't be built: {last(answer.stderr)}",
                detail(answer.stderr),
                cure="`uv build` there shows more",
            )
        return self._taken(folder.name, built, scratch, pure)

    def here(self, name: str, line: str, scratch: Path) -> Path:
        """A wheel from source, built here; what building needs comes as wheels."""
        built = Path(tempfile.mkdtemp(dir=scratch, prefix="built-"))
        options = ["--only-binary=:all:", f"--no-binary={name}", "-w", str(built)]
        # pip keeps what it built by the address of its source, so a source that was replaced in a
        # folder of wheels would give the wheel of the one before.
        options.append("--no-cache-dir")
        lines = [*index_options(self.wanted), *credentials(self.wanted), line]
        folders = config_folders(self.wanted)
        answer = pip(
            "wheel",
            *options,
            lines=lines,
            scratch=scratch,
            folders=folders,
        )
        if answer.returncode:
            if "HASHES" in answer.stderr:
                raise ReleaseError(wrong_hash(self.wanted, name))
            raise ReleaseError(
                f"{shown(line)} has no wheel, and building one here"
                f" fails{without_one(self.target)}",
                detail(answer.stderr),
                where=self.wanted.file,
                cure=(
                    "pin a version that has one, or put a wheel on your own"
                    f" index{ways_out.hint([name], self.wanted)}"
                ),
            )
        return self._taken(shown(line), built, scratch)

    def _taken(
        self,
        what: str,
        built: Path,
        scratch: Path,
        pure: bool = True,
    ) -> Path:
        """The wheel that was built here, moved to `scratch`. Raises ReleaseError with `pure` for
        one that is not good for any host: something compiled is in it."""
        wheel = next(built.glob("*.whl"))
        if pure and not _is_pure(wheel):
            name = wheel.name.partition("-")[0]
            raise ReleaseError(
                f"{what} has no wheel for {self.target} and is not pure"
                f" Python{without_one(self.target)}",
                where=self.wanted.file,
                cure=(
                    "pin a version that has one, or put such a wheel on your own"
                    f" index{ways_out.hint([name], self.wanted)}"
                ),
            )
        place = wheel.rename(scratch / wheel.name)
        shutil.rmtree(built)
        return place


def _is_pure(wheel: Path) -> bool:
    return wheel.name.endswith("-none-any.whl")


def _has_compiled_sources(folder: Path) -> bool:
    return any(Path(path).suffix in _COMPILED for path in walk(folder))


def _has_one_of(file: Path, hashes: Collection[str]) -> bool:
    kinds = {text.partition(":")[0] for text in hashes}
    return any(f"{kind}:{digest(file, kind)}" in hashes for kind in kinds)


def _copy_files(folder: Path, copy: Path) -> None:
    for path in walk(folder):
        if (folder / path).is_file():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / path, copy / path)


def _pack(folder: Path, place: Path) -> None:
    """The files of a folder as an archive of source, secrets left out; the same content is the same
    to the byte."""
    shipped = [path for path in walk(folder) if left_out.why(path, tracked=True) is None]
    with (
        place.open("wb") as out,
        gzip.GzipFile("", "wb", 1, out, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in sorted(shipped):
            tar.add(
                folder / path,
                f"source/{path}",
                recursive=False,
                filter=_without_facts,
            )


def _without_facts(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member of an archive without times and owners."""
    info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
    info.mode = 0o755 if info.mode & 0o100 else 0o644
    return info
