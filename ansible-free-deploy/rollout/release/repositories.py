"""The files of a commit of a remote repository, unpacked once per commit in the cache."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from infra.core.home import cache_folder, locked
from infra.core.rules import hide_password
from rollout.release.errors import ReleaseError
from rollout.release.git import git

T = TypeVar("T")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_SHOWN_REFS = 8


def repository(url: str, ref: str = "") -> Path:
    """The files of a commit, in the cache; the folder's name is the commit's.

    `ref` is a branch, tag or commit; empty: the default branch. Raises ReleaseError for a
    repository that can't be reached, or an unknown ref.
    """
    store = cache_folder("git") / hashlib.sha256(url.encode()).hexdigest()[:16]
    with locked(store / ".lock"):
        for leftover in [*store.glob("git-*"), *store.glob("tree-*")]:  # of runs that were killed
            shutil.rmtree(leftover)
        commit = _resolve(url, ref, store)
        tree = store / commit
        if not _is_whole(tree):
            _on_store(store, lambda bare: _unpack(url, commit, bare, tree))
    return tree


# ------------------------------------------------------------------------------------- which commit


def _resolve(url: str, ref: str, store: Path) -> str:
    """The commit that `ref` is. One that is named in full is not asked for."""
    if len(ref) == 40 and _COMMIT.fullmatch(ref):
        return ref
    refs = _remote_refs(url)
    for name in _names_of(ref):
        if name in refs:
            return refs[name]
    if _COMMIT.fullmatch(ref):
        commit = _on_store(store, lambda bare: _resolve_short(url, ref, bare))
        if commit:
            return commit
    raise ReleaseError(_unknown_ref(url, ref, refs), where="backend_ref")


def _remote_refs(url: str) -> dict[str, str]:
    """The commit of each ref of a repository, by the ref's full name."""
    refs = {}
    for line in _git_remote(url, "ls-remote", "--", url).splitlines():
        commit, name = line.split("\t", 1)
        refs[name] = commit
    return refs


def _names_of(ref: str) -> list[str]:
    """The full names that a ref may have, the most likely first."""
    if not ref:
        return ["HEAD"]
    tag = f"refs/tags/{ref}"
    return [f"refs/heads/{ref}", f"{tag}^{{}}", tag, f"{ref}^{{}}", ref]


def _resolve_short(url: str, ref: str, bare: Path) -> str | None:
    _fetch(url, "", bare)
    answer = git("rev-parse", "--verify", "-q", ref + "^{commit}", at=bare)
    if answer.returncode:
        return None
    return answer.stdout.strip()


def _unknown_ref(url: str, ref: str, refs: Iterable[str]) -> str:
    known = [name.split("/", 2)[2] for name in refs if re.match(r"refs/(heads|tags)/[^^]+$", name)]
    there = "it is empty"
    if known:
        there = "it has " + ", ".join(known[:_SHOWN_REFS])
    if len(known) > _SHOWN_REFS:
        there += ", …"
    name = hide_password(url)
    return f"{name} has no branch, tag or commit {ref or 'HEAD'!r}; {there}"


# ---------------------------------------------------------------------------------------- the store


def _on_store(store: Path, work: Callable[[Path], T]) -> T:
    """Run `work` on the bare repository that is kept; where that fails, once more on a new one: a
    killed run or a full disk may have left a broken one."""
    bare = store / "git"
    if bare.exists():
        with suppress(ReleaseError):
            return work(bare)
    fresh = Path(tempfile.mkdtemp(dir=store, prefix="git-"))
    try:
        result = work(fresh)
        shutil.rmtree(bare, ignore_errors=True)
        fresh.rename(bare)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return result


def _unpack(url: str, commit: str, bare: Path, tree: Path) -> None:
    """Write the files of `commit` to `tree`, whole or not at all, and next to it git's index of
    them."""
    _fetch(url, commit, bare)
    scratch = Path(tempfile.mkdtemp(dir=tree.parent, prefix="tree-"))
    _index(tree).unlink(missing_ok=True)
    try:
        checkout = [f"--work-tree={scratch}", "checkout", "-f", "-q", commit, "--", "."]
        if git(*checkout, at=bare, index=_index(tree)).returncode:
            name = hide_password(url)
            raise ReleaseError(
                f"{name} has no commit {commit}",
                where="backend_ref",
                cure="push it to that repository",
            )
        shutil.rmtree(tree, ignore_errors=True)  # damaged, or this would not run
        scratch.rename(tree)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_whole(tree: Path) -> bool:
    """Whether an unpacked commit still has every file as git wrote it; git compares times and sizes
    first."""
    bare, index = tree.parent / "git", _index(tree)
    if not (tree.is_dir() and bare.is_dir() and index.exists()):
        return False
    compared = git(f"--work-tree={tree}", "diff", "--quiet", at=bare, index=index)
    return compared.returncode == 0


def _index(tree: Path) -> Path:
    return tree.with_name(f"{tree.name}.index")


def _fetch(url: str, commit: str, bare: Path) -> None:
    """Have `commit` in the store. Not every server hands out a commit that no branch points at: all
    branches are fetched then."""
    if not (bare / "HEAD").exists():
        git("init", "-q", "--bare", ".", at=bare)
    if commit and git("cat-file", "-e", commit + "^{commit}", at=bare).returncode == 0:
        return
    if commit and git("fetch", "-q", "--depth=1", "--", url, commit, at=bare).returncode == 0:
        return
    options = ["-q"]
    if (bare / "shallow").exists():
        options.append("--unshallow")
    refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
    _git_remote(url, "fetch", *options, "--", url, *refs, at=bare)


def _git_remote(url: str, *words: str, at: Path | None = None) -> str:
    answer = git(*words, at=at)
    if answer.returncode == 0:
        return answer.stdout
    lines = answer.stderr.strip().splitlines() or ["no reason given"]
    said = lines[-1] if at else lines[0]
    raise ReleaseError(
        f"{hide_password(url)} can't be read: {hide_password(said)}",
        where="backend_git",
        cure="check the URL, and that this machine may read it",
    )
