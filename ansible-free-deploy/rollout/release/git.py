"""What git says of a folder of this machine. No command here runs code of the repository."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path

from rollout.release import left_out
from rollout.release.errors import ReleaseError
from rollout.release.folders import is_below_by_product


def git(
    *words: str, at: Path | None = None, index: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `git WORDS` in the folder `at`. Raises ReleaseError where git is not installed."""
    environment = {
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    if index:
        environment["GIT_INDEX_FILE"] = str(index)
    try:
        return subprocess.run(
            command(*words, at=at),
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            env=environment,
        )
    except FileNotFoundError:
        raise ReleaseError(
            "git is not installed", cure="install it: `apt-get install git`"
        ) from None


def command(*words: str, at: Path | None = None) -> list[str]:
    """`git WORDS` in the folder `at`, as a command line."""
    # Under sudo the folder belongs to another user; it is only listed and read there.
    options = ["-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    if at:
        options += ["-C", str(at)]
    return ["git", *options, *words]


def work_tree_of(folder: Path) -> Path | None:
    """The highest folder of the work tree that `folder` is in."""
    absolute = folder.absolute()
    parents = [absolute, *absolute.parents]
    if not any((parent / ".git").exists() for parent in parents):
        return None
    answer = git("rev-parse", "--show-toplevel", at=folder)
    if answer.returncode:
        return None
    return Path(answer.stdout.strip())


def head(work_tree: Path) -> str | None:
    """The commit that is checked out."""
    answer = git("rev-parse", "-q", "--verify", "HEAD", at=work_tree)
    return answer.stdout.strip() or None


def tracks_anything(folder: Path) -> bool:
    """Whether git tracks any file of a folder."""
    return bool(git("ls-files", "-z", "--", ".", at=folder).stdout)


def knows(folder: Path, name: str) -> bool:
    """Whether git tracks a file, or would: one in a folder that it ignores is of no commit."""
    options = ["--cached", "--others", "--exclude-standard"]
    return bool(git("ls-files", *options, "--", name, at=folder).stdout)


def listed(folder: Path) -> dict[str, bool]:
    """What git tracks (True) or does not ignore, repositories inside of it included; empty where
    git doesn't know."""
    tracked = set(_names(git("ls-files", "-z", "--cached", at=folder).stdout))
    files: dict[str, bool] = {}
    for name in tracked | set(_untracked(folder)):
        path = name.rstrip("/")
        here = folder / path
        if is_below_by_product(path):
            continue
        if here.is_dir() and not here.is_symlink():
            if (here / ".git").exists():
                for inner, is_tracked in listed(here).items():
                    files[f"{path}/{inner}"] = is_tracked
        elif os.path.lexists(here):
            files[path] = name in tracked
    return files


# ------------------------------------------------------------------------------------ is it changed


def is_changed(folder: Path) -> bool:
    """Whether what would be shipped of a folder differs from the commit that is checked out.

    `git diff` and `git status` may run filters that the repository's own config names, under sudo
    as root; so git lists names and digests, and the contents are compared here.
    """
    for name in _untracked(folder):
        if _is_shipped(name):
            return True
    for line in _names(git("ls-tree", "-r", "-z", "HEAD", at=folder).stdout):
        facts, _, name = line.partition("\t")
        mode, kind, digest = facts.split()
        if _is_shipped(name) and not _is_as_committed(folder, name, mode, kind, digest):
            return True
    return False


def _untracked(folder: Path) -> list[str]:
    return _names(git("ls-files", "-z", "--others", "--exclude-standard", at=folder).stdout)


def _names(output: str) -> list[str]:
    return [name for name in output.split("\0") if name]


def _is_shipped(name: str) -> bool:
    if is_below_by_product(name) or name.startswith("media/"):
        return False
    return left_out.why(name, tracked=True) is None


def _is_as_committed(
    folder: Path,
    name: str,
    mode: str,
    kind: str,
    digest: str,
) -> bool:
    """Whether a file is as a line of `git ls-tree` says; a submodule is assumed to be."""
    path = folder / name
    if kind != "blob":
        return True
    if not os.path.lexists(path) or (path.is_dir() and not path.is_symlink()):
        return False
    if mode != _git_mode(path.lstat().st_mode):
        return False
    data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
    algorithm = "sha256" if len(digest) == 64 else "sha1"
    header = b"blob %d\0" % len(data)
    if hashlib.new(algorithm, header + data).hexdigest() == digest:
        return True
    return _is_large_file(folder, digest, data)


def _git_mode(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "120000"
    if mode & 0o100:
        return "100755"
    return "100644"


def _is_large_file(folder: Path, digest: str, data: bytes) -> bool:
    """Whether the commit has a pointer of Git LFS in the place of this content."""
    pointer = git("cat-file", "blob", digest, at=folder).stdout[:200]
    if not pointer.startswith("version https://git-lfs"):
        return False
    return f"sha256:{hashlib.sha256(data).hexdigest()}" in pointer
