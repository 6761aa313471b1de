"""Which names never go into a release, and why. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

# Secrets: left out whether git tracks them or not.
_SECRET_FILES = (
    ".env",
    ".env.*",
    ".envrc",
    "*.env",
    "*.secrets",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.ppk",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ovpn",
    ".netrc",
    "_netrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".htpasswd",
    ".npmrc",
    ".git-credentials",
    "pip.conf",
    "service-account*.json",
    "credentials.json",
)
_SECRET_FOLDERS = {".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".envs", ".gcloud"}
_EXAMPLES = re.compile(r".*[._-](example|sample|template|dist)(\.\w+)?")
# Data: a database is never code; dumps may be, where git tracks them.
_DATABASES = ("db.sqlite3*", "*.sqlite3-journal", "*.sqlite3-wal", "*.sqlite3-shm")
_DUMPS = (
    "*.sqlite3",
    "*.sqlite",
    "*.sql",
    "*.sql.*",
    "*.dump",
    "*.dump.*",
    "*.pgdump",
    "*.bak",
    "*.rdb",
)
# Files that say where packages are from, which is where passwords of indexes are written.
_SAY_WHERE = re.compile(
    r"(?:^|/)((requirements|constraints)[^/]*(/[^/]*)?\.(txt|in)|(pyproject|uv|pylock[^/]*)\.toml|[^/]*\.lock|Pipfile)$"
)
_USER = re.compile(r"https?://([^/\s\"'@]+)@")


def why(path: str, tracked: bool = False, ship_also: Collection[str] = ()) -> str | None:
    """Why the file at this path (POSIX, inside of the project) is left out of a release; None where
    it goes along.

    `tracked`: git has it. `ship_also`: patterns of paths or names that go along all the same.
    """
    if is_named(path, ship_also):
        return None
    *folders, name = path.split("/")
    if not _SECRET_FOLDERS.isdisjoint(folders):
        return "a name of secrets"
    if _is_one_of(name, _SECRET_FILES) and not _EXAMPLES.fullmatch(name):
        return "a name of secrets"
    if _is_one_of(name, _DATABASES):
        return "a database"
    if not tracked and _is_one_of(name, _DUMPS):
        return "data"
    return None


def is_named(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns is for this path, or for its last name."""
    name = path.rsplit("/", 1)[-1]
    return any(fnmatchcase(path, pattern) or fnmatchcase(name, pattern) for pattern in patterns)


def may_hold_a_password(path: str) -> bool:
    """Whether a file of this name says where packages are from."""
    return _SAY_WHERE.search(path) is not None


def holds_a_password(text: str) -> bool:
    """Whether a URL in it carries one, or a token; `${VARIABLE}` is none."""
    for user in _USER.findall(text):
        secret = user.rpartition(":")[2]
        if secret and secret != "git" and not secret.startswith("$"):
            return True
    return False


def lines(files: Iterable[tuple[str, str]], most: int = 10) -> list[str]:
    """The messages about files that were left out: the first ones, and how many more; none for
    none."""
    listed = list(files)
    if not listed:
        return []
    messages = [f"leaves out {path}: {reason}" for path, reason in listed[:most]]
    hint = "`ship_also` in the stack's config ships a file all the same"
    if len(listed) > most:
        hint = f"{len(listed) - most} more are left out; {hint}"
    return [*messages, hint]


def _is_one_of(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)
