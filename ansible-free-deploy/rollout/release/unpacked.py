"""A commit of a work tree of this machine, unpacked in a folder: another branch is shipped without
being checked out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from infra.core.home import cache_folder
from rollout.release.errors import ReleaseError
from rollout.release.git import command, git

_POINTER = b"version https://git-lfs.github.com/spec/"
_SUBMODULE, _LINK, _PROGRAM = "160000", "120000", "100755"


@dataclass(frozen=True)
class Unpacked:
    """`folder` has the files of `commit`, which belongs to the work tree at `top`."""

    folder: Path
    top: Path
    commit: str

    def of(self, place: Path) -> Path | None:
        """What `place` is in the commit; None for a place outside of the work tree."""
        real = place.resolve()
        if not real.is_relative_to(self.top):
            return None
        return self.folder / real.relative_to(self.top)


@contextmanager
def unpacked(top: Path, commit: str) -> Iterator[Unpacked]:
    """The files of a commit, as git holds them, until the block ends.

    Not by `git archive` or a checkout: they run filters that the repository's own config names,
    under sudo as root. Raises ReleaseError for submodules and files in Git LFS, whose content the
    commit has not.
    """
    folder = Path(tempfile.mkdtemp(prefix="commit-", dir=cache_folder("previews")))
    try:
        _unpack(top, commit, folder)
        yield Unpacked(folder, top, commit)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(top: Path, commit: str, folder: Path) -> None:
    files = _listed(top, commit)
    with tempfile.TemporaryFile() as asked:
        asked.write("".join(f"{digest}\n" for _, digest, _ in files).encode())
        asked.seek(0)
        reader = command("cat-file", "--batch", at=top)
        with subprocess.Popen(
            reader,
            stdin=asked,
            stdout=subprocess.PIPE,
        ) as reading:
            answers = cast(BinaryIO, reading.stdout)
            for mode, digest, name in files:
                content = _content(answers, digest)
                if content.startswith(_POINTER):
                    raise _not_whole(commit, name, "kept in Git LFS")
                _write(folder / name, mode, content)


def _listed(top: Path, commit: str) -> list[tuple[str, str, str]]:
    """Mode, object and path of each file."""
    answer = git("ls-tree", "-r", "-z", "--full-tree", commit, at=top)
    if answer.returncode:
        raise ReleaseError(f"{top} has no commit {commit[:12]}", cure="fetch it")
    files = []
    for line in filter(None, answer.stdout.split("\0")):
        facts, _, name = line.partition("\t")
        mode, _, digest = facts.split()
        if mode == _SUBMODULE:
            raise _not_whole(commit, name, "a submodule")
        files.append((mode, digest, name))
    return files


def _content(answers: BinaryIO, digest: str) -> bytes:
    """The next object: a line with name, kind and size, the bytes, a line break."""
    head = answers.readline().split()
    if len(head) != 3 or head[0].decode() != digest:
        raise ReleaseError(
            f"git does not have the object {digest}", cure="run `git fsck` in that repository"
        )
    content = answers.read(int(head[2]))
    answers.read(1)
    return content


def _write(place: Path, mode: str, content: bytes) -> None:
    """A tree of git has no path through a link, so what is written here stays in the folder."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if mode == _LINK:
        place.symlink_to(os.fsdecode(content))
        return
    place.write_bytes(content)
    if mode == _PROGRAM:
        place.chmod(0o755)


def _not_whole(commit: str, name: str, what: str) -> ReleaseError:
    return ReleaseError(
        f"{name} of commit {commit[:12]} is {what}, and the commit has not its content",
        cure="check the branch out, and run this there",
    )
