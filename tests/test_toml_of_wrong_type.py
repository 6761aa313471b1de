"""A project's TOML whose values have the wrong type: the message names the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.release import indexes
from rollout.release.errors import ReleaseError
from rollout.release.needs import requirements
from rollout.release.source import local

HEAD = '[project]\nname = "shop"\nversion = "1"\n'


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ('project = "shop"', "`project` is not a table"),
        ('tool = "uv"', "`tool` is not a table"),
        (f'{HEAD}dependencies = "django"', "`dependencies` is not a list of strings"),
        (f"{HEAD}dependencies = [1]", "`dependencies` is not a list of strings"),
        (f'{HEAD}dependencies = []\n[tool.uv]\nsources = "x"', "`sources` is not a table"),
        (f'{HEAD}dependencies = []\n[tool]\nuv = "x"', "`tool.uv` is not a table"),
        (f'{HEAD}dependencies = []\n[tool]\npdm = "x"', "`tool.pdm` is not a table"),
        (f'{HEAD}dependencies = []\n[tool]\npoetry = ["x"]', "`tool.poetry` is not a table"),
        (
            f'{HEAD}dependencies = []\n[tool.poetry]\ndependencies = "x"',
            "`dependencies` is not a table",
        ),
    ],
)
def test_a_wrong_type_in_a_pyproject(tmp_path: Path, toml: str, key: str) -> None:
    """Where dependencies are read from pyproject.toml, it is an error of that file."""
    path = tmp_path / "pyproject.toml"
    path.write_text(toml)
    (tmp_path / "manage.py").touch()
    with pytest.raises(ReleaseError) as raised:
        requirements(local(tmp_path), "")
    assert str(raised.value) == f"{path}: {key}; correct it there"


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ('index = "https://ours.invalid"', "`index` is not a list of tables"),
        ('index = ["https://ours.invalid"]', "`index` is not a list of tables"),
        ('pip = "x"', "`pip` is not a table"),
    ],
)
def test_a_wrong_type_in_uv_toml(tmp_path: Path, toml: str, key: str) -> None:
    """Settings of uv's are read for their indexes: a wrong type is an error before uv is asked."""
    path = tmp_path / "uv.toml"
    path.write_text(toml)
    (tmp_path / "manage.py").touch()
    with pytest.raises(ReleaseError) as raised:
        indexes.keyring([tmp_path])
        indexes.settings_of_indexes([tmp_path])
    assert str(raised.value) == f"{path}: {key}; correct it there"


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ('workspace = "x"', "`workspace` is not a table"),
        ('workspace = { members = "apps/*" }', "`members` is not a list of strings"),
    ],
)
def test_a_wrong_type_in_a_workspace(tmp_path: Path, toml: str, key: str) -> None:
    """The root of a uv workspace is looked for above the project."""
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[tool.uv]\n{toml}\n")
    member = tmp_path / "apps"
    member.mkdir()
    (member / "manage.py").touch()
    (member / "pyproject.toml").write_text(f"{HEAD}dependencies = []\n")
    with pytest.raises(ReleaseError) as raised:
        requirements(local(member), "")
    assert str(raised.value) == f"{path}: {key}; correct it there"
