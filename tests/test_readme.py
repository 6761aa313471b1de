"""The README says what is true."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.e2e.kit import FAB, ROOT

README = ROOT / "README.md"
TABLE = re.compile(r"(<!-- config table:[^\n]*-->\n)(.*?)(<!-- end of config table -->)", re.DOTALL)


def config_table() -> str:
    """Every key of the schema, as a Markdown table."""
    schema = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    rows = ["| key | default | |", "|---|---|---|"]
    for key, entry in schema.items():
        default = entry.get("default", "required")
        shown = default if isinstance(default, str) and default else json.dumps(default)
        shown = "the usual nine" if key == "allow_headers" else "all" if key == "allow_methods" else shown
        rows.append(f"| `{key}` | {shown if default == 'required' else f'`{shown}`'} | {entry['description']} |")
    return "\n".join(rows) + "\n"


def test_the_config_table_is_the_schema() -> None:
    """README and Pulumi.yaml can't drift apart; UPDATE_README=1 rewrites the table."""
    text = README.read_text()
    if os.environ.get("UPDATE_README"):
        README.write_text(TABLE.sub(lambda match: match[1] + config_table() + match[3], text))
        text = README.read_text()
    found = TABLE.search(text)
    assert found is not None
    assert found[2] == config_table()


def test_every_verb_of_the_readme_exists() -> None:
    """Each `fab <verb>` in the README is one that `fab --list` has."""
    listed = subprocess.run([FAB, "--list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    verbs = set(re.findall(r"^\s{2}([a-z-]+)", listed, re.MULTILINE))
    assert set(re.findall(r"fab ([a-z]+)", README.read_text())) <= verbs


@pytest.mark.parametrize(
    "folder", [".", "infra", "ansible-free-deploy/rollout", "stacks", "examples", "docs", "tests/e2e"]
)
def test_fab_finds_its_tasks_from_everywhere(folder: str) -> None:
    """`fab --list` works from the root and every folder below it."""
    done = subprocess.run([FAB, "--list"], cwd=ROOT / folder, capture_output=True, text=True, check=True)
    assert "deploy" in done.stdout


def test_every_make_target_of_the_readme_exists() -> None:
    """`make` alone lists the targets, and the README names no other."""
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^  make (\w+)", listed, re.MULTILINE))
    named = set(re.findall(r"^make (\w+)$|`make (\w+)`", README.read_text(), re.MULTILINE))
    assert {one or other for one, other in named} <= targets


def test_every_link_of_the_docs_leads_somewhere() -> None:
    """A relative link in README or docs names a file that exists."""
    for page in [README, *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_path_of_a_machine_is_in_the_project() -> None:
    """Nothing that is committed names a folder of somebody's machine."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in filter(None, listed):
        path = Path(ROOT, name)
        if path.suffix in (".py", ".md", ".yaml", ".toml", ".in", ".sh", "") and path.is_file():
            assert "/work" + "/main" not in path.read_text(errors="replace"), name
