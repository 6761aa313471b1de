"""The project's Python against that of the hosts, before any machine is made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from infra.core.settings import Settings
from infra.local import image
from rollout import python
from rollout.python import PythonError
from tests.support.graph import ROOT

SETTINGS = Settings.of(
    "aws-dev",
    cloud="aws",
    application="shop",
    wsgi="shop.wsgi:application",
    settings="shop.settings",
    frontend_path="page",
    backend_path="backend",
)


@pytest.fixture(autouse=True)
def nothing_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")


def check(folder: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, settings: Settings) -> None:
    (folder / "backend").mkdir()
    (folder / "backend" / "pyproject.toml").write_text(
        f'[project]\nname = "shop"\nrequires-python = "{wanted}"\n'
    )
    monkeypatch.setattr(python, "ROOT", folder)
    python.refuse_other(settings)


@pytest.mark.parametrize(
    "wanted", [">=3.11", ">=3.12,<4", "~=3.13", ">=3.13.2", "==3.13.*", "", "nonsense"]
)
def test_a_python_that_debian_13_has_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    """Debian's own patch release is not known here: any of 3.13 counts. What can't be read is pip's
    to judge."""
    check(tmp_path, monkeypatch, wanted, SETTINGS)


@pytest.mark.parametrize(
    ("settings", "wanted", "said"),
    [
        (
            replace(SETTINGS, image="bookworm"),
            ">=3.12",
            "Debian 12 has Python 3.11; choose Debian 13: `image: trixie`",
        ),
        (
            SETTINGS,
            "<3.13",
            (
                "Debian 13 has Python 3.13; choose Debian 12: `image: bookworm` in"
                " stacks/Pulumi.aws-dev.yaml"
            ),
        ),
        (SETTINGS, ">=3.14", "no Debian that the kit supports has that one"),
        (
            replace(SETTINGS, cloud="local", image="bookworm"),
            ">=3.12",
            "Debian 12 has Python 3.11; choose Debian 13",
        ),
    ],
)
def test_another_python_is_refused_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, wanted: str, said: str
) -> None:
    with pytest.raises(PythonError) as problem:
        check(tmp_path, monkeypatch, wanted, settings)
    assert str(problem.value).startswith(
        f"backend/pyproject.toml: requires-python is '{wanted}', and Debian"
    )
    assert said in str(problem.value)


def poetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    """A project that names its Python in Poetry's own table."""
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "pyproject.toml").write_text(
        f'[tool.poetry.dependencies]\npython = "{wanted}"\n'
    )
    monkeypatch.setattr(python, "ROOT", tmp_path)
    python.refuse_other(replace(SETTINGS, image="bookworm"))


@pytest.mark.parametrize("wanted", ["^3.12", "~3.12", ">= 3.12, < 4"])
def test_a_newer_python_of_poetry_s_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    with pytest.raises(PythonError, match="and Debian 12 has Python"):
        poetry(tmp_path, monkeypatch, wanted)


@pytest.mark.parametrize("wanted", ["^", "~", "^x", "~3.x", "^3.11"])
def test_a_misspelt_python_of_poetry_s_is_left_to_poetry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    """What is no constraint asks for no Python: the installer says what is wrong with it."""
    poetry(tmp_path, monkeypatch, wanted)


def test_a_local_machine_has_its_host_s_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "host_release", lambda: "bookworm")
    with pytest.raises(PythonError, match="Debian 12 has Python"):
        check(tmp_path, monkeypatch, ">=3.12", replace(SETTINGS, cloud="local"))


def test_a_project_elsewhere_is_checked_when_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project elsewhere or without a word is looked at when shipped."""
    check(
        tmp_path, monkeypatch, ">=3.99", replace(SETTINGS, backend_git="https://example.com/shop")
    )
    (tmp_path / "backend" / "pyproject.toml").unlink()
    python.refuse_other(SETTINGS)


def test_hosts_that_are_there_are_not_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another Debian would replace them."""
    state = json.loads((ROOT / "tests/state/c449aef/aws-dev.json").read_text())
    path = tmp_path / ".pulumi" / "stacks" / "origin-kit" / "aws-dev.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": state["deployment"]}}))
    check(tmp_path, monkeypatch, ">=3.99", SETTINGS)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "requirements.txt",
            "Django[argon2]==6.1\n",
            "backend/requirements.txt: Django 6 needs Python '>=3.12', and",
        ),
        ("requirements.txt", "# django==6\ndjango-environ==0.1\ndjango>=5.2\n", ""),
        (
            "uv.lock",
            '[[package]]\nname = "django"\nversion = "6.0.1"\n',
            "backend/uv.lock: Django 6 needs Python",
        ),
        ("poetry.lock", '[[package]]\nname = "Django"\nversion = "5.2.1"\n', ""),
        ("requirements.txt", "Django\n", ""),
    ],
)
def test_a_django_that_needs_a_newer_python_is_refused_as_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str
) -> None:
    """Resolving would say so too, with machines made by then; and the project itself says
    nothing."""
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / name).write_text(text)
    monkeypatch.setattr(python, "ROOT", tmp_path)
    settings = replace(SETTINGS, image="bookworm")
    if not said:
        python.refuse_other(settings)
        return
    with pytest.raises(PythonError) as problem:
        python.refuse_other(settings)
    assert str(problem.value).startswith(said)
    assert "choose Debian 13: `image: trixie`" in str(problem.value)
    python.refuse_other(SETTINGS)


def test_what_stands_above_manage_py_counts_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`src/manage.py` below the pyproject.toml of its repository; a project with requirements of
    its own is its own."""
    (tmp_path / "backend").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'p'\nrequires-python = '>=3.12'\n")
    monkeypatch.setattr(python, "ROOT", tmp_path)
    settings = replace(SETTINGS, image="bookworm")
    with pytest.raises(
        PythonError, match=r"backend/\.\./pyproject\.toml: requires-python is '>=3\.12'"
    ):
        python.refuse_other(settings)
    (tmp_path / "backend" / "requirements.txt").write_text("django\n")
    python.refuse_other(settings)
