"""What git says of the branches that previews belong to: which one is here, at which commit, and
whether it is gone or merged."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.core import exits
from infra.core.errors import KitError
from infra.core.rules import hide_password
from rollout.release.git import git, work_tree_of

THERE, GONE, MERGED, UNKNOWN = "there", "gone", "merged", "unknown"
_HEADS = "refs/heads/"


class BranchError(KitError):
    """The branch that is meant is not known, or not there; the text says which, and the cure."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Checkout:
    """A work tree of git on this machine, by its highest folder."""

    top: Path

    @classmethod
    def of(cls, folder: Path) -> Checkout:
        """The one that `folder` is in. Raises BranchError where git knows nothing of it."""
        top = work_tree_of(folder) if folder.is_dir() else None
        if top is None:
            raise BranchError(
                f"{folder} is not in a git repository, and a preview needs a branch",
                cure="run this in a checkout of the application's repository",
            )
        return cls(top.resolve())

    def current(self) -> str:
        """The branch that is checked out; empty where HEAD is a commit."""
        return self._line("symbolic-ref", "-q", "--short", "HEAD")

    def head(self) -> str:
        """The commit that is checked out. Raises BranchError in a repository without one."""
        return self._commit("HEAD") or self._no_commit()

    def chosen(self, branch: str | None) -> str:
        """`branch`, else the one that is checked out. Raises BranchError where neither is known."""
        if found := branch or self.current():
            return found
        raise BranchError(
            f"{self.top} has a commit checked out, not a branch",
            cure="name the branch: --branch NAME",
        )

    def commit_of(self, branch: str) -> str | None:
        """The branch's last commit here: its own, or the remote's where that is further on; None
        where neither is there."""
        own = self._commit(f"{_HEADS}{branch}")
        remote = self.remote()
        theirs = self._commit(f"refs/remotes/{remote}/{branch}") if remote else None
        if own and theirs and self.is_ancestor(own, theirs):
            return theirs
        return own or theirs

    def wanted(self, branch: str) -> Wanted:
        """What a preview of the branch is made from. Raises BranchError for a branch that is not
        here.

        A commit that is checked out without a branch stands for the one that is named, where that
        is at this commit or nothing here knows it: so CI checks out.
        """
        current = self.current()
        known = self._commit(f"{_HEADS}{branch}") if current == branch else self.commit_of(branch)
        is_detached = not current
        if current == branch or (is_detached and known in (None, self.head())):
            return Wanted(branch, self.head(), True)
        if known is None:
            raise BranchError(
                f"there is no branch {branch!r} in {self.top}",
                cure=f"fetch it: `git fetch origin {branch}`",
            )
        return Wanted(branch, known, False)

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` contains `older`; not where git has not both of them."""
        return git("merge-base", "--is-ancestor", older, newer, at=self.top).returncode == 0

    def subject(self, commit: str) -> str:
        """The first line of a commit's message; empty for one that is not here."""
        return self._line("log", "-1", "--format=%s", commit, "--")

    # ------------------------------------------------------------------------- all of them, at once

    def remote(self) -> str:
        """The remote that branches are pushed to: `origin`, or the only one; empty for none."""
        names = git("remote", at=self.top).stdout.split()
        if "origin" in names:
            return "origin"
        return names[0] if len(names) == 1 else ""

    def branches(self) -> Branches:
        """Every branch, here and on the remote, which is asked now."""
        own = self._refs(_HEADS)
        name = self.remote()
        if not name:
            default = own.get("main") or own.get("master") or ""
            return Branches(own, {}, self._merged_into(default))
        answer = self._ask(name)
        if answer.returncode:
            why = (answer.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            problem = f"the remote {name} can't be read: {hide_password(why)}"
            return Branches(own, None, frozenset(), problem)
        theirs, default = _listed(answer.stdout)
        return Branches(own, theirs, self._merged_into(default))

    def _ask(self, remote: str) -> subprocess.CompletedProcess[str]:
        words = ["ls-remote", "--symref"]
        refs = ["HEAD", f"{_HEADS}*"]
        if os.geteuid() == 0 and os.environ.get("SUDO_UID", "0") != "0":
            # The repository's own config may name programs, and this is root.
            url = self._line("config", "--get", f"remote.{remote}.url")
            return git(*words, "--", url, *refs)
        return git(*words, remote, *refs, at=self.top)

    def _merged_into(self, default: str) -> frozenset[str]:
        """The last commits of branches that a merge commit brought into the default branch.

        One on its own line of commits may as well be a branch without a commit of its own.
        """
        if not default or not self._commit(default):
            return frozenset()
        words = ["for-each-ref", f"--merged={default}", "--format=%(objectname)"]
        merged = set(git(*words, _HEADS, "refs/remotes", at=self.top).stdout.split())
        line = git("rev-list", "--first-parent", default, at=self.top).stdout.split()
        return frozenset(merged.difference(line))

    # --------------------------------------------------------------------------------------- asking

    def _line(self, *words: str) -> str:
        return git(*words, at=self.top).stdout.strip()

    def _commit(self, name: str) -> str | None:
        return self._line("rev-parse", "-q", "--verify", f"{name}^{{commit}}") or None

    def _refs(self, prefix: str) -> dict[str, str]:
        text = self._line("for-each-ref", "--format=%(objectname) %(refname)", prefix)
        pairs = [line.split(" ", 1) for line in text.splitlines()]
        return {name.removeprefix(prefix): commit for commit, name in pairs}

    def _no_commit(self) -> str:
        raise BranchError(f"{self.top} has no commit", cure="commit something first")


@dataclass(frozen=True)
class Wanted:
    """A branch and its last commit; `is_here`: it is what is checked out, changes included."""

    branch: str
    commit: str
    is_here: bool


@dataclass(frozen=True)
class Branches:
    """The last commit of each branch: here, and on the remote (none where there is no remote; None
    where it did not answer, and `problem` says why). `merged` are last commits that the default
    branch has by a merge."""

    own: Mapping[str, str]
    theirs: Mapping[str, str] | None
    merged: frozenset[str] = field(default_factory=frozenset)
    problem: str = ""

    def fate(self, branch: str) -> str:
        """THERE, GONE, MERGED, or UNKNOWN where only the remote could say it."""
        theirs = self.theirs or {}
        last = theirs.get(branch) or self.own.get(branch)
        if last is None:
            return UNKNOWN if self.theirs is None else GONE
        return MERGED if last in self.merged else THERE


def _listed(text: str) -> tuple[dict[str, str], str]:
    """What `git ls-remote --symref` says: each branch's commit, and that of the default branch."""
    commits, default = {}, ""
    for line in text.splitlines():
        commit, _, name = line.partition("\t")
        if name == "HEAD" and not commit.startswith("ref:"):
            default = commit
        elif name.startswith(_HEADS):
            commits[name.removeprefix(_HEADS)] = commit
    return commits, default
