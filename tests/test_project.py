"""What people who change the kit rely on: the guide's files exist, the hooks are local."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.kit import ROOT

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# What a path in the guide is relative to.
BASES = (ROOT, ROOT / "ansible-free-deploy", ROOT / "ansible-free-deploy" / "rollout")
# The tables that the guide sends a reader to, and where they are.
TABLES = {
    "KEYS": "infra/core/keys/__init__.py",
    "CHANGES": "tests/test_config_keys.py",
    "FAB": "ansible-free-deploy/tasks.py",
    "GROUPS": "ansible-free-deploy/tasks.py",
    "LOOKS": "ansible-free-deploy/on_host/looks.py",
    "LOOKS_BACK": "ansible-free-deploy/rollout/deploy.py",
    "MODULE_OF": "ansible-free-deploy/on_host/__main__.py",
    "CASES": "tests/test_doctor.py",
    "VERBS": "tests/test_exits.py",
    "ON_HOSTS": "tests/test_exits.py",
    "COMMITS": "tests/e2e/test_taken_over.py",
}


def test_every_file_of_the_guide_exists() -> None:
    """CONTRIBUTING.md names files by their place in the checkout, or in the package that it is
    about."""
    named = set(re.findall(r"`([\w./-]+\.(?:py|yaml|md|toml))`", CONTRIBUTING)) - {"local.json"}
    assert len(named) > 20
    missing = [name for name in sorted(named) if not any((base / name).exists() for base in BASES)]
    assert missing == []


@pytest.mark.parametrize("table", TABLES)
def test_every_table_of_the_guide_is_where_it_says(table: str) -> None:
    """A table that has moved or is gone would leave a reader without the next step."""
    assert f"`{table}`" in CONTRIBUTING
    assert re.search(rf"^{table}\b.*=", (ROOT / TABLES[table]).read_text(), re.MULTILINE)


def test_every_package_says_that_it_is_typed() -> None:
    """PEP 561; the wheel takes the file along with its package."""
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [name for name in packages if not Path(ROOT, name, "py.typed").is_file()] == []
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]


def test_the_hooks_are_the_parts_of_make_check() -> None:
    """Nothing is fetched from elsewhere: each hook is a program of the project's own `.venv`."""
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [one["repo"] for one in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    programs = {hook["entry"].split()[0] for hook in hooks}
    check = (ROOT / "Makefile").read_text().split("\ncheck:")[1].split("\nbench:")[0]
    assert programs == set(re.findall(r"\.venv/bin/\w+", check))


def test_continuous_integration_runs_what_has_to_pass() -> None:
    """`.ci/run` and nothing next to it, with the whole history: a test takes an older commit from
    there."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["ci"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    [checkout] = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["fetch-depth"] == 0


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_an_issue_template_has_a_name_and_says_when(name: str) -> None:
    """Its head is YAML; a bug report asks for what the doctor and the hosts say."""
    text = (ROOT / f".github/ISSUE_TEMPLATE/{name}.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["name"] and head["about"]
    asked = ("fab doctor --html", "fab status --json")
    assert all((words in text) == (name == "bug") for words in asked)
