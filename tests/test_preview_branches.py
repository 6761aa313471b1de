"""What git says of branches, and a commit that is shipped without being checked out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.core.settings import Settings
from rollout.previews.branches import GONE, MERGED, THERE, UNKNOWN, BranchError, Checkout
from rollout.release import ReleaseError, page_of, source_of, unpacked
from tests.support.folders import write_files

NAMES = ("feature/x", "feature-x", "Über/Größe", "-dash", "123", "x" * 200, "a@b#c=d")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    command = ["git", *identity, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, name: str, text: str) -> str:
    """The commit that makes a file have this text."""
    write_files(folder, {name: text})
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", f"{name}: {text}")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit on `main`."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder, "page/index.html", "main")
    return folder


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "-q", str(repository), "clone")
    return tmp_path / "clone"


# ----------------------------------------------------------------------------- what is made from it


def test_the_branch_that_is_checked_out_is_taken_as_it_is(repository: Path) -> None:
    here = Checkout.of(repository / "page")
    assert here.top == repository
    assert here.chosen(None) == "main"
    found = here.wanted("main")
    assert (found.commit, found.is_here) == (here.head(), True)


@pytest.mark.parametrize("name", NAMES)
def test_another_branch_is_its_last_commit(repository: Path, name: str) -> None:
    """Whatever git lets a branch be called."""
    git(repository, "update-ref", f"refs/heads/{name}", "HEAD")
    git(repository, "symbolic-ref", "HEAD", f"refs/heads/{name}")
    last = commit(repository, "page/index.html", "theirs")
    assert Checkout.of(repository).chosen(None) == name
    git(repository, "symbolic-ref", "HEAD", "refs/heads/main")
    found = Checkout.of(repository).wanted(name)
    assert (found.commit, found.is_here) == (last, False)


def test_what_the_remote_has_further_on_counts(repository: Path, clone: Path) -> None:
    """A branch that was fetched and not merged here; one that has gone apart is taken as it is."""
    git(repository, "switch", "-q", "-c", "topic")
    commit(repository, "a", "1")
    git(clone, "fetch", "-q")
    git(clone, "branch", "topic", "origin/topic")
    further = commit(repository, "a", "2")
    git(clone, "fetch", "-q")
    here = Checkout.of(clone)
    assert here.wanted("topic").commit == further
    git(clone, "switch", "-q", "topic")
    own = commit(clone, "b", "own")
    git(clone, "switch", "-q", "main")
    assert here.wanted("topic").commit == own


def test_a_commit_that_ci_checks_out_is_its_branch(repository: Path, clone: Path) -> None:
    """Where the branch is there at another commit, that one counts."""
    git(clone, "checkout", "-q", "--detach")
    here = Checkout.of(clone)
    with pytest.raises(BranchError, match="--branch NAME"):
        here.chosen(None)
    assert here.wanted("feature/not-fetched").is_here
    git(repository, "branch", "topic")
    git(clone, "fetch", "-q")
    assert here.wanted("topic").is_here
    git(repository, "switch", "-q", "topic")
    last = commit(repository, "a", "1")
    git(clone, "fetch", "-q")
    assert (here.wanted("topic").commit, here.wanted("topic").is_here) == (last, False)


def test_a_branch_that_is_not_here(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(BranchError, match=r"there is no branch 'topic'.*git fetch origin topic"):
        Checkout.of(repository).wanted("topic")
    (tmp_path / "plain").mkdir()
    with pytest.raises(BranchError, match="is not in a git repository"):
        Checkout.of(tmp_path / "plain")


# -------------------------------------------------------------------------------- what became of it


def test_a_branch_is_gone_where_neither_side_has_it(repository: Path, clone: Path) -> None:
    git(repository, "branch", "pushed")
    git(clone, "branch", "mine")
    found = Checkout.of(clone).branches()
    assert [found.fate(name) for name in ("pushed", "mine", "deleted")] == [THERE, THERE, GONE]


def test_no_answer_of_the_remote_is_no_verdict(repository: Path, clone: Path) -> None:
    """A branch that is not here may be there."""
    git(clone, "branch", "mine")
    repository.rename(repository.with_name("moved"))
    found = Checkout.of(clone).branches()
    assert "the remote origin can't be read" in found.problem
    assert [found.fate(name) for name in ("mine", "theirs")] == [THERE, UNKNOWN]


def test_a_merge_is_seen_and_a_new_branch_is_none(repository: Path) -> None:
    """A branch without a commit of its own is on the default branch as well."""
    git(repository, "branch", "new")
    git(repository, "switch", "-q", "-c", "topic")
    commit(repository, "a", "1")
    assert Checkout.of(repository).branches().fate("topic") == THERE
    git(repository, "switch", "-q", "main")
    git(repository, "merge", "-q", "--no-ff", "-m", "merge", "topic")
    found = Checkout.of(repository).branches()
    assert [found.fate(name) for name in ("topic", "new")] == [MERGED, THERE]
    git(repository, "switch", "-q", "topic")
    commit(repository, "a", "2")
    assert Checkout.of(repository).branches().fate("topic") == THERE


# ------------------------------------------------------------------------------- a commit, unpacked


def test_a_commit_is_unpacked_as_git_holds_it(repository: Path) -> None:
    """Programs, links and any bytes; no filter that the repository names is run."""
    content = bytes(range(256)) * 40
    (repository / "data.bin").write_bytes(content)
    (repository / "run").write_text("#!/bin/sh\n")
    (repository / "run").chmod(0o755)
    (repository / "link").symlink_to("run")
    write_files(repository, {"a b/ü\n.txt": "", ".gitattributes": "*.txt filter=own export-ignore"})
    git(repository, "config", "filter.own.smudge", f"touch {repository}/ran; cat")
    last = commit(repository, "page/index.html", "theirs")
    commit(repository, "page/index.html", "later")
    with unpacked(repository, last) as there:
        assert (there.folder / "data.bin").read_bytes() == content
        assert (there.folder / "run").stat().st_mode & 0o111
        assert (there.folder / "link").readlink() == Path("run")
        assert (there.folder / "a b/ü\n.txt").read_text() == ""
        assert (there.folder / "page/index.html").read_text() == "theirs"
        assert there.of(repository / "page") == there.folder / "page"
        assert there.of(repository.parent) is None
    assert not there.folder.exists()
    assert not (repository / "ran").exists()


@pytest.mark.parametrize("kind", ["lfs", "submodule"])
def test_what_a_commit_has_not_is_refused(repository: Path, kind: str) -> None:
    if kind == "lfs":
        last = commit(repository, "big", "version https://git-lfs.github.com/spec/v1\noid …")
    else:
        head = git(repository, "rev-parse", "HEAD")
        git(repository, "update-index", "--add", "--cacheinfo", f"160000,{head},sub")
        git(repository, "commit", "-q", "-m", "sub")
        last = git(repository, "rev-parse", "HEAD")
    with (
        pytest.raises(ReleaseError, match=r"(big|sub) of commit .* check the branch out"),
        unpacked(repository, last),
    ):
        pass


def settings(**paths: str) -> Settings:
    usual = {"backend_path": "backend", "frontend_path": "page", "wsgi": "a:b", "settings": "a"}
    return Settings.of("test", cloud="local", application="shop", **(usual | paths))


def test_a_release_is_made_of_the_commit(repository: Path) -> None:
    """Its folders are those of the config, its commit is known and nothing of it has changed."""
    write_files(repository, {"backend/manage.py": ""})
    last = commit(repository, "page/index.html", "theirs")
    write_files(repository, {"page/index.html": "edited"})
    folders = {
        "backend_path": str(repository / "backend"),
        "frontend_path": str(repository / "page"),
    }
    config = settings(**folders)
    with unpacked(repository, last) as there:
        backend, page = source_of(config, there), page_of(config, there)
        assert backend.folder == there.folder / "backend"
        assert (page.folder / "index.html").read_text() == "theirs"
        for source in (backend, page):
            assert (source.commit, source.changed, source.work_tree) == (last, False, False)
        gone = settings(frontend_path=str(repository / "dist"))
        with pytest.raises(ReleaseError, match=r"frontend_path: commit .* has no folder"):
            page_of(gone, there)
