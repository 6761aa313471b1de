"""What is never shipped, what is said of it, and how it is shipped all the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rollout import release
from rollout.release import left_out
from rollout.release.picked import pick_backend, pick_frontend
from tests.support.folders import write_files

SECRETS = [
    ".env",
    ".env.production",
    "config/prod.env",
    "id_rsa",
    "deploy/id_ed25519",
    "tls/server.key",
    "tls/server.pem",
    ".ssh/config",
    ".aws/credentials",
    ".netrc",
    ".pypirc",
    "pip.conf",
    ".envs/.production/.django",
    ".npmrc",
]
DATA = [
    "dump.sql",
    "backup/2026.sql.gz",
    "shop.dump",
    "other.sqlite3",
    "db.sqlite3",
    "db.sqlite3-wal",
]
CODE = [
    "id_generator.py",
    "shop/keys.py",
    ".env.example",
    "shop/environment.py",
    "shop/sql/__init__.py",
    "dump.py",
]


def project(folder: Path, *names: str, **texts: str) -> Path:
    write_files(folder, dict.fromkeys(("manage.py", "shop/__init__.py", *names), "x") | texts)
    return folder


def git(folder: Path, *words: str) -> None:
    person = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", *person, *words], cwd=folder, capture_output=True, check=True)


def shipped(folder: Path, *ship_also: str) -> set[str]:
    return {entry.path for entry in pick_backend(release.local(folder), ship_also).entries}


def test_without_git_secrets_and_data_stay_here(tmp_path: Path) -> None:
    """Each of them is named with its reason; code with a similar name goes along."""
    folder = project(tmp_path, *SECRETS, *DATA, *CODE, "media/photo.jpg")
    assert shipped(folder) == {"manage.py", "shop/__init__.py", *CODE}
    assert {path for path, _ in pick_backend(release.local(folder)).left_out} == {
        *SECRETS,
        *DATA,
        "media/",
    }


def test_tracked_secrets_stay_here_and_tracked_dumps_go(tmp_path: Path) -> None:
    """A key in a repository is still a key; an SQL file that somebody has committed is what a
    migration reads."""
    folder = project(tmp_path, *SECRETS, "shop/sql/views.sql", "db.sqlite3")
    git(folder, "init", "-q")
    git(folder, "add", "-f", ".")
    (folder / "dump.sql").write_text("x")
    assert shipped(folder) == {"manage.py", "shop/__init__.py", "shop/sql/views.sql"}


def test_what_a_repository_holds_is_tracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rules for a backend from a git URL."""
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))
    folder = project(tmp_path / "r", ".env", "shop/sql/views.sql")
    git(folder, "init", "-q")
    git(folder, "add", "-f", ".")
    git(folder, "commit", "-q", "-m", "one")
    found = {entry.path for entry in pick_backend(release.from_git(str(folder))).entries}
    assert found == {"manage.py", "shop/__init__.py", "shop/sql/views.sql"}


@pytest.mark.parametrize("pattern", ["certs/ca.pem", "certs/*", "*.pem", "ca.pem"])
def test_a_file_that_the_stack_names_is_shipped_all_the_same(tmp_path: Path, pattern: str) -> None:
    """By its path, by its name or by a pattern; other files of the kind stay."""
    folder = project(tmp_path, "certs/ca.pem", ".env")
    assert shipped(folder, pattern) == {"manage.py", "shop/__init__.py", "certs/ca.pem"}


@pytest.mark.parametrize(
    ("url", "stays"),
    [
        ("https://ada:sesame@pkg.example.com/simple", True),
        ("https://ghp0123456789@pkg.example.com/simple", True),
        ("https://ada:${TOKEN}@pkg.example.com/simple", False),
        ("https://pkg.example.com/simple", False),
        ("git+https://git@github.com/x/y", False),
    ],
)
@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements/prod.txt", "pyproject.toml", "Pipfile"]
)
def test_a_password_in_a_list_of_packages_reaches_no_host(
    tmp_path: Path, name: str, url: str, stays: bool
) -> None:
    """The file stays here, since nothing on the host needs it; a variable's name is no password."""
    folder = project(tmp_path, **{name: f"--extra-index-url {url}\n"})
    assert (name not in shipped(folder)) is stays


def test_a_page_has_no_secrets_either(tmp_path: Path) -> None:
    """What a build copied along by accident would be the whole world's to read."""
    names = ("index.html", ".env", "assets/server.key", ".well-known/security.txt")
    write_files(tmp_path, dict.fromkeys(names, "x"))
    picked = pick_frontend(tmp_path)
    assert [entry.path for entry in picked.entries] == [".well-known/security.txt", "index.html"]
    assert [path for path, _ in picked.left_out] == [".env", "assets/server.key"]


def test_a_line_for_each_file_and_not_too_many() -> None:
    """Ten, then a count and the key that ships one all the same; nothing where nothing is left
    out."""
    said = left_out.lines([(f"{number}.pem", "a name of secrets") for number in range(13)])
    assert said[0] == "leaves out 0.pem: a name of secrets"
    assert said[10:] == [
        "3 more are left out; `ship_also` in the stack's config ships a file all the same"
    ]
    assert left_out.lines([]) == []
