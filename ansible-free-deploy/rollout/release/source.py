"""Where the code is, and which of its files go into a release."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from infra.core.errors import KitError
from infra.core.home import cache, cache_folder, locked
from infra.core.rules import hide_password as hide_password
from on_host import links
from rollout.release import left_out

_SKIPPED = {
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    ".venv",
    "node_modules",
    ".DS_Store",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".idea",
    ".vscode",
}
T = TypeVar("T")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


class ReleaseError(KitError):
    """A release can't be made of this; the text says what is missing, where, and the next step.

    `detail` is what a tool said itself, shortened.
    """

    def __init__(self, what: str, detail: str = "", *, where: str = "", cure: str = "") -> None:
        super().__init__(what, where=where, cure=cure, detail=detail)


@contextmanager
def told() -> Iterator[None]:
    """What this machine's disk refuses, as an error for people. Also a decorator."""
    try:
        yield
    except OSError as problem:
        full = (
            "; make room there"
            if problem.errno == errno.ENOSPC
            else "; see its owner and mode, and $ORIGIN_KIT_CACHE"
        )
        raise ReleaseError(
            f"{problem.filename or cache()}: {problem.strerror or problem}{full}"
        ) from problem


@dataclass(frozen=True)
class Source:
    """`folder` holds manage.py; `label` names it in messages; `roof` is the highest folder that
    belongs to it.

    `work_tree` says that git knows which files are by-products; `commit` is the one checked out,
    where there is one, and `changed` says that the files are not as in it.
    """

    folder: Path
    label: str
    roof: Path
    work_tree: bool = False
    commit: str | None = None
    changed: bool = False


@dataclass(frozen=True)
class Entry:
    """One file or link of a release: its path there (POSIX), what it is here, and a digest of mode
    and content."""

    path: str
    here: Path
    link: str | None
    executable: bool
    digest: str


# ------------------------------------------------------------------------------ where it comes from


@told()
def local(folder: Path) -> Source:
    """A folder of this machine. Raises ReleaseError where there is none, or it is no Django
    project."""
    here = folder.resolve()
    top = _git_top(here) if here.is_dir() else None
    commit = _head(top) if top and _knows(here, "manage.py") else None
    changed = commit is not None and _is_changed(here)
    return _django(
        Source(here, str(folder), top or here, top is not None, commit, changed), "backend_path"
    )


@told()
def page(folder: Path) -> Source:
    """A folder of built files. Where git knows none of them, the commit is that of the sources
    around it."""
    here = folder.resolve()
    top = _git_top(here) if here.is_dir() else None
    commit = _head(top) if top else None
    if top is None or commit is None:
        return Source(folder, str(folder), here)
    sources = here
    while sources != top and not _git("ls-files", "-z", "--", ".", at=sources).stdout:
        sources = sources.parent
    return Source(folder, str(folder), top, True, commit, _is_changed(sources))


@told()
def from_git(url: str, ref: str = "", inside: str = "") -> Source:
    """`ref` (branch, tag or commit; empty: the default branch) of a repository, unpacked once per
    commit in the cache.

    Raises ReleaseError for a repository that can't be reached, an unknown ref, or no Django project
    at `inside`.
    """
    tree, name = repository(url, ref), hide_password(url)
    commit = tree.name
    if (tree / ".gitmodules").exists():
        raise ReleaseError(
            f"{name} has git submodules, which are not fetched; clone it and set backend_path"
        )
    folder = tree / inside if inside else tree
    if not folder.resolve().is_relative_to(tree.resolve()):
        raise ReleaseError(
            f"backend_path: {inside} leaves the repository {name}; write a folder inside of it"
        )
    label = f"{name} at {ref or 'HEAD'} ({commit[:10]})" + (f", {inside}" if inside else "")
    return _django(Source(folder, label, tree, commit=commit), "backend_path")


def repository(url: str, ref: str = "") -> Path:
    """The files of a commit, in the cache; the folder's name is the commit's. Raises ReleaseError
    as `from_git`."""
    store = cache_folder("git") / hashlib.sha256(url.encode()).hexdigest()[:16]
    with locked(store / ".lock"):
        for leftover in [*store.glob("git-*"), *store.glob("tree-*")]:  # of runs that were killed
            shutil.rmtree(leftover)
        commit = _resolve(url, ref, store)
        tree = store / commit
        if not _is_whole(tree):
            _on_store(store, lambda bare: _unpack(url, hide_password(url), commit, bare, tree))
    return tree


def _django(source: Source, key: str) -> Source:
    if not source.folder.is_dir():
        raise ReleaseError(
            f"{key}: there is no folder {source.label}; correct it in the stack's config"
        )
    if not (source.folder / "manage.py").is_file():
        found = sorted(path.parent.name for path in source.folder.glob("*/manage.py"))
        hint = (
            f"did you mean {source.folder.name}/{found[0]}?"
            if found
            else "name the folder that holds it"
        )
        raise ReleaseError(
            f"{key}: {source.label} has no manage.py, so it is no Django project; {hint}"
        )
    return source


def _resolve(url: str, ref: str, store: Path) -> str:
    """The commit that `ref` is. One that is unpacked already, or named in full, is not asked for
    again."""
    if len(ref) == 40 and _COMMIT.fullmatch(ref):
        return ref
    lines = (line.split("\t", 1) for line in _git_remote(url, "ls-remote", "--", url).splitlines())
    listed = {name: commit for commit, name in lines}
    names = (
        [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"{ref}^{{}}", ref]
        if ref
        else ["HEAD"]
    )
    if found := next((listed[name] for name in names if name in listed), None):
        return found
    short = (
        _on_store(store, lambda bare: _resolve_short(url, ref, bare))
        if _COMMIT.fullmatch(ref)
        else None
    )
    if short:
        return short
    raise ReleaseError(_unknown_ref(url, ref, listed), where="backend_ref")


def _resolve_short(url: str, ref: str, bare: Path) -> str | None:
    _fetch(url, "", bare)
    done = _git("rev-parse", "--verify", "-q", ref + "^{commit}", at=bare)
    return done.stdout.strip() if done.returncode == 0 else None


def _on_store(store: Path, work: Callable[[Path], T]) -> T:
    """`work` on the bare repository that is kept; where that fails, once more on a new one: a
    killed run or a full disk may have left a broken one."""
    bare = store / "git"
    if bare.exists():
        with suppress(ReleaseError):
            return work(bare)
    fresh = Path(tempfile.mkdtemp(dir=store, prefix="git-"))
    try:
        done = work(fresh)
        shutil.rmtree(bare, ignore_errors=True)
        fresh.rename(bare)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return done


def _unknown_ref(url: str, ref: str, listed: Iterable[str]) -> str:
    known = [
        name.split("/", 2)[2] for name in listed if re.match(r"refs/(heads|tags)/[^^]+$", name)
    ]
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    there = f"it has {shown}" if known else "it is empty"
    return f"{hide_password(url)} has no branch, tag or commit {ref or 'HEAD'!r}; {there}"


def _unpack(url: str, name: str, commit: str, bare: Path, tree: Path) -> None:
    """Write the files of `commit` to `tree`, whole or not at all, and beside it git's index of
    them."""
    _fetch(url, commit, bare)
    scratch = Path(tempfile.mkdtemp(dir=tree.parent, prefix="tree-"))
    _index(tree).unlink(missing_ok=True)
    try:
        checkout = [f"--work-tree={scratch}", "checkout", "-f", "-q", commit, "--", "."]
        if _git(*checkout, at=bare, index=_index(tree)).returncode:
            raise ReleaseError(
                f"{name} has no commit {commit}",
                where="backend_ref",
                cure="push it to that repository",
            )
        shutil.rmtree(tree, ignore_errors=True)  # damaged, or there would be nothing to do
        scratch.rename(tree)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_whole(tree: Path) -> bool:
    """Whether an unpacked commit still has every file as git wrote it; git looks at times and sizes
    first."""
    bare = tree.parent / "git"
    if not (tree.is_dir() and bare.is_dir() and _index(tree).exists()):
        return False
    return (
        _git(f"--work-tree={tree}", "diff", "--quiet", at=bare, index=_index(tree)).returncode == 0
    )


def _index(tree: Path) -> Path:
    return tree.with_name(f"{tree.name}.index")


def _fetch(url: str, commit: str, bare: Path) -> None:
    """Have `commit` in the store; not every server hands out one that no branch points at, so all
    branches then."""
    if not (bare / "HEAD").exists():
        _git("init", "-q", "--bare", ".", at=bare)
    if commit and _git("cat-file", "-e", commit + "^{commit}", at=bare).returncode == 0:
        return
    if commit and _git("fetch", "-q", "--depth=1", "--", url, commit, at=bare).returncode == 0:
        return
    shallow = ["--unshallow"] if (bare / "shallow").exists() else []
    _git_remote(
        url,
        "fetch",
        "-q",
        *shallow,
        "--",
        url,
        "+refs/heads/*:refs/heads/*",
        "+refs/tags/*:refs/tags/*",
        at=bare,
    )


def _git(
    *words: str, at: Path | None = None, index: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    if index:
        environment["GIT_INDEX_FILE"] = str(index)
    where = ["-C", str(at)] if at else []
    # Under sudo the folder is somebody else's; only listing is asked for there.
    settings = ["-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    try:
        return subprocess.run(
            ["git", *settings, *where, *words],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            env=environment,
        )
    except FileNotFoundError:
        raise ReleaseError("git is not installed; install it: `apt-get install git`") from None


def _git_remote(url: str, *words: str, at: Path | None = None) -> str:
    done = _git(*words, at=at)
    if done.returncode:
        said = hide_password(
            (done.stderr.strip().splitlines() or ["no reason given"])[-1 if at else 0]
        )
        raise ReleaseError(
            f"{hide_password(url)} can't be read: {said}",
            where="backend_git",
            cure="check the URL, and that this machine may read it",
        )
    return done.stdout


def _git_top(folder: Path) -> Path | None:
    if not any(
        (parent / ".git").exists() for parent in (folder.absolute(), *folder.absolute().parents)
    ):
        return None
    done = _git("rev-parse", "--show-toplevel", at=folder)
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def _head(top: Path) -> str | None:
    done = _git("rev-parse", "-q", "--verify", "HEAD", at=top)
    return done.stdout.strip() or None


def _knows(folder: Path, name: str) -> bool:
    """Whether git tracks a file, or would: one in a folder that it ignores is of no commit."""
    return bool(
        _git("ls-files", "--cached", "--others", "--exclude-standard", "--", name, at=folder).stdout
    )


def _is_changed(folder: Path) -> bool:
    """Whether what would be shipped of a folder is not as in the commit that is checked out.

    `git diff` and `git status` may run filters that the repository's own config names, under sudo
    as root; so git lists names and digests, and the contents are compared here.
    """
    new = _git("ls-files", "-z", "--others", "--exclude-standard", at=folder).stdout
    listed = _git("ls-tree", "-r", "-z", "HEAD", at=folder).stdout
    if any(_is_shipped(name) for name in _names(new)):
        return True
    entries = (line.partition("\t") for line in _names(listed))
    return any(
        not _is_as_in(folder, name, *facts.split())
        for facts, _, name in entries
        if _is_shipped(name)
    )


def _names(listed: str) -> list[str]:
    return [name for name in listed.split("\0") if name]


def _is_shipped(name: str) -> bool:
    return not (
        _SKIPPED.intersection(name.split("/"))
        or name.startswith("media/")
        or left_out.why(name, True, ())
    )


def _is_as_in(folder: Path, name: str, mode: str, kind: str, digest: str) -> bool:
    """Whether a file is as a line of `git ls-tree` says; a submodule is taken to be."""
    path = folder / name
    if kind != "blob":
        return True
    if not os.path.lexists(path) or (path.is_dir() and not path.is_symlink()):
        return False
    found = path.lstat().st_mode
    data = os.fsencode(path.readlink()) if stat.S_ISLNK(found) else path.read_bytes()
    if mode != ("120000" if stat.S_ISLNK(found) else "100755" if found & 0o100 else "100644"):
        return False
    hashed = hashlib.new("sha256" if len(digest) == 64 else "sha1", b"blob %d\0" % len(data) + data)
    return hashed.hexdigest() == digest or _is_large_file(folder, digest, data)


def _is_large_file(folder: Path, digest: str, data: bytes) -> bool:
    """Whether the commit has a pointer of Git LFS in the place of this content."""
    noted = _git("cat-file", "blob", digest, at=folder).stdout[:200]
    return (
        noted.startswith("version https://git-lfs")
        and f"sha256:{hashlib.sha256(data).hexdigest()}" in noted
    )


# ----------------------------------------------------------------------------------- which files go


@dataclass(frozen=True)
class Picked:
    """The files of a release, sorted, and those that stay here: (path, why)."""

    entries: list[Entry]
    left_out: list[tuple[str, str]]


def pick_backend(source: Source, ship_also: Collection[str] = ()) -> Picked:
    """The project's files: what git does not ignore, or else all but the usual by-products; never
    secrets or data, but for what `ship_also` names. Raises ReleaseError for a link that leads out.
    """
    paths = _listed(source.folder) if source.work_tree else {}
    if "manage.py" not in paths:  # the whole folder is ignored, or git can't tell
        paths = dict.fromkeys(
            walk(source.folder), source.commit is not None and not source.work_tree
        )
    taken, left = [], dict[str, str]()
    for path, tracked in sorted(paths.items()):
        if path.endswith(".pyc"):
            continue
        uploads = (
            path.startswith("media/") and not (source.folder / "media" / "__init__.py").exists()
        )
        if uploads and not left_out.is_named(path, ship_also):
            left["media/"] = "uploads"
        elif reason := left_out.why(path, tracked, ship_also) or _password_in(
            source.folder / path, path, ship_also
        ):
            left[path] = reason
        else:
            taken.append(path)
    return Picked(_entries(source.folder, taken, source.label), list(left.items()))


def _password_in(here: Path, path: str, ship_also: Collection[str]) -> str | None:
    if (
        not left_out.may_hold_a_password(path)
        or left_out.is_named(path, ship_also)
        or not here.is_file()
    ):
        return None
    holds = left_out.holds_a_password(here.read_text(encoding="utf-8", errors="replace"))
    return "a URL in it holds a password; write ${VARIABLE} there" if holds else None


def backend_files(source: Source) -> list[Entry]:
    """The project's files, as `pick_backend` has them."""
    return pick_backend(source).entries


def pick_frontend(folder: Path, ship_also: Collection[str] = ()) -> Picked:
    """Every file of a built folder, sorted, but for secrets and databases; git is not asked,
    because built files are what it ignores.

    A link inside of it becomes what it leads to: nginx follows none. Raises ReleaseError for one
    that leads out or to a folder that it is in.
    """
    entries = _entries(folder, walk(folder), str(folder))
    whole = sorted(
        (one for entry in entries for one in _followed(folder, entry, ())),
        key=lambda entry: entry.path,
    )
    left = [
        (one.path, reason) for one in whole if (reason := left_out.why(one.path, True, ship_also))
    ]
    names = {path for path, _ in left}
    return Picked([one for one in whole if one.path not in names], left)


def frontend_files(folder: Path) -> list[Entry]:
    """The page's files, as `pick_frontend` has them."""
    return pick_frontend(folder).entries


def _followed(folder: Path, entry: Entry, through: tuple[Path, ...]) -> Iterator[Entry]:
    """The entry, or the files behind a link; `through` are the folders that links have led to on
    the way."""
    if entry.link is None:
        yield entry
        return
    root, real = folder.resolve(), entry.here.resolve()
    label = f"{folder}: {entry.path} is a link"
    if not real.is_relative_to(root):
        raise ReleaseError(f"{label} that leads to {real}, outside of the folder; put a copy there")
    if real in through:
        raise ReleaseError(f"{label} to a folder that it is in itself, without end; remove it")
    if real.is_file():
        yield Entry(entry.path, real, None, False, content_digest(real.read_bytes(), False))
    for path in sorted(walk(real)):
        if inner := _entry(root, (real / path).relative_to(root).as_posix()):
            yield from _followed(
                root, replace(inner, path=f"{entry.path}/{path}"), (*through, real)
            )


def _listed(folder: Path) -> dict[str, bool]:
    """What git tracks (True) or does not ignore, repositories inside of it included; empty where
    git can't tell."""
    tracked = set(_git("ls-files", "-z", "--cached", at=folder).stdout.split("\0"))
    others = set(
        _git("ls-files", "-z", "--others", "--exclude-standard", at=folder).stdout.split("\0")
    )
    found: dict[str, bool] = {}
    for listed in filter(None, tracked | others):
        name = listed.rstrip("/")
        here = folder / name
        if _SKIPPED.intersection(name.split("/")):
            continue
        if here.is_dir() and not here.is_symlink():
            inside = _listed(here) if (here / ".git").exists() else {}
            found |= {f"{name}/{inner}": known for inner, known in inside.items()}
        elif os.path.lexists(here):
            found[name] = listed in tracked
    return found


def walk(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(folder):
        links = [name for name in folders if Path(here, name).is_symlink()]
        folders[:] = [
            name for name in folders if name not in links and not _is_by_product(Path(here, name))
        ]
        for name in [*names, *links]:
            if name not in _SKIPPED:
                yield Path(here, name).relative_to(folder).as_posix()


def _is_by_product(folder: Path) -> bool:
    return folder.name in _SKIPPED or (folder / "pyvenv.cfg").exists()


def _entries(folder: Path, paths: Iterable[str], label: str) -> list[Entry]:
    entries = [entry for path in sorted(paths) if (entry := _entry(folder, path)) is not None]
    # Followed by names, as the host will: what lies behind a link on this machine is not what lies
    # there.
    linked = {entry.path: entry.link for entry in entries if entry.link is not None}
    for path in links.leading_out(linked):
        raise ReleaseError(
            f"{label}: {path} is a link to {linked[path]}, outside of the folder; put a copy there"
        )
    return entries


def _entry(folder: Path, path: str) -> Entry | None:
    here = folder / path
    mode = here.lstat().st_mode
    if stat.S_ISLNK(mode):
        link = str(here.readlink())
        return Entry(path, here, link, False, hashlib.sha256(b"link " + link.encode()).hexdigest())
    if not stat.S_ISREG(mode):
        return None
    executable = bool(mode & 0o100)
    return Entry(path, here, None, executable, content_digest(here.read_bytes(), executable))


def content_digest(data: bytes, executable: bool) -> str:
    """What makes a file of a release another one."""
    return hashlib.sha256((b"x" if executable else b"-") + data).hexdigest()
