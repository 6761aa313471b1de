"""The README and the pages of docs/ say what is true."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.core.contract import Json
from rollout.doctor import cells, json_output, second_opinion
from rollout.doctor.codes import MEANING, Code
from tests import test_exits
from tests.support.kit import FAB, ROOT

README = ROOT / "README.md"
KEYS = ROOT / "docs" / "configuration.md"
VERBS_PAGE = ROOT / "docs" / "verbs.md"
DOCTOR_PAGE = ROOT / "docs" / "doctor.md"
OF_THE_ROOT = ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")
PAGES = [*(ROOT / f"{name}.md" for name in OF_THE_ROOT), *sorted(ROOT.glob("docs/*.md"))]
MOST_LINES = 120
TABLE = re.compile(r"(<!-- config table:[^\n]*-->\n)(.*?)(<!-- end of config table -->)", re.DOTALL)
CODES = re.compile(r"(<!-- codes:[^\n]*-->\n)(.*?)(<!-- end of codes -->)", re.DOTALL)


def config_table() -> str:
    """Every key of the schema, as a Markdown table."""
    schema = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    rows = ["| key | default | |", "|---|---|---|"]
    for key, entry in schema.items():
        default = entry.get("default", "required")
        shown = default if isinstance(default, str) and default else json.dumps(default)
        shown = (
            "the usual nine"
            if key == "allow_headers"
            else "all"
            if key == "allow_methods"
            else shown
        )
        rows.append(
            f"| `{key}` | {shown if default == 'required' else f'`{shown}`'} |"
            f" {entry['description']} |"
        )
    return "\n".join(rows) + "\n"


def test_the_config_table_is_the_schema() -> None:
    """docs/configuration.md and Pulumi.yaml can't drift apart; UPDATE_DOCS=1 rewrites the table."""
    text = KEYS.read_text()
    if os.environ.get("UPDATE_DOCS"):
        KEYS.write_text(TABLE.sub(lambda match: match[1] + config_table() + match[3], text))
        text = KEYS.read_text()
    found = TABLE.search(text)
    assert found is not None
    assert found[2] == config_table()


def codes_table() -> str:
    """Every code of the doctor's findings, as a Markdown table."""
    rows = [f"| `{code}` | {MEANING[code]} |" for code in Code]
    return "\n".join(["| code | |", "|---|---|", *rows]) + "\n"


def test_the_page_of_the_doctor_has_every_code() -> None:
    """docs/doctor.md and the doctor's codes can't drift apart; UPDATE_DOCS=1 rewrites the table. A
    new code needs a line in MEANING."""
    text = DOCTOR_PAGE.read_text()
    if os.environ.get("UPDATE_DOCS"):
        DOCTOR_PAGE.write_text(CODES.sub(lambda match: match[1] + codes_table() + match[3], text))
        text = DOCTOR_PAGE.read_text()
    found = CODES.search(text)
    assert found is not None
    assert found[2] == codes_table()


def test_the_page_of_the_doctor_has_every_other_name() -> None:
    """States of a cell, reasons why Chromium was not asked, and every field of the JSON."""
    named = set(re.findall(r"`([\w-]+)`", DOCTOR_PAGE.read_text()))
    assert {*cells.State, *second_opinion.NotAsked} <= named
    assert fields_of(doctor_document()) <= named


def doctor_document() -> Json:
    """What `fab doctor --json` prints: a finding with another below it, an answer and none."""
    from rollout.doctor import diagnose
    from tests.test_doctor import NOTHING, observed

    healthy = json_output.document(diagnose(observed(), origin="http://a.example"))
    silent = json_output.document(diagnose(NOTHING))
    return {**healthy, "findings": silent["findings"]}


def fields_of(document: object) -> set[str]:
    """The names of all fields, at any depth."""
    if isinstance(document, list):
        return set().union(*map(fields_of, document))
    if isinstance(document, dict):
        return set(document).union(*map(fields_of, document.values()))
    return set()


def test_the_readme_is_short() -> None:
    """A reader takes it in at one sitting; what is longer has a page in docs/."""
    assert len(README.read_text().splitlines()) <= MOST_LINES


def verbs() -> set[str]:
    """The verbs that `fab --list` has."""
    listed = subprocess.run(
        [FAB, "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    found = set(re.findall(r"^  ([a-z.-]+) {2,}", listed, re.MULTILINE))
    return found - {"verbs"}  # the list itself


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verb_of_a_page_exists(page: Path) -> None:
    """Each `fab <verb>` is one that `fab --list` has."""
    named = set(re.findall(r"(?:^|`)fab ([a-z.]+)", page.read_text(), re.MULTILINE))
    assert named <= verbs()


def test_the_page_of_verbs_has_every_verb() -> None:
    """A row for each, and the table of exit statuses tries each."""
    rows = re.findall(r"^\| `fab ([a-z.]+)", VERBS_PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(verbs())
    assert set(test_exits.VERBS) == verbs()


@pytest.mark.parametrize(
    "folder",
    [".", "infra", "ansible-free-deploy/rollout", "stacks", "examples", "docs", "tests/e2e"],
)
def test_fab_finds_its_tasks_from_everywhere(folder: str) -> None:
    """`fab --list` works from the root and every folder below it."""
    done = subprocess.run(
        [FAB, "--list"], cwd=ROOT / folder, capture_output=True, text=True, check=True
    )
    assert "deploy" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_of_a_page_exists(page: Path) -> None:
    """`make` alone lists the targets, and no page names another."""
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^  make (\w+)", listed, re.MULTILINE))
    named = set(re.findall(r"^make (\w+)$|`make (\w+)`", page.read_text(), re.MULTILINE))
    assert {one or other for one, other in named} <= targets


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Git hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """A relative link names a file that exists, and a heading that is in it."""
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        if "://" in target:
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    """docs/README.md leads to every page of docs/."""
    text = (ROOT / "docs" / "README.md").read_text()
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([\w-]+\.md)", text))


def test_no_path_of_a_machine_is_in_the_project() -> None:
    """Nothing that is committed names a folder of somebody's machine."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, listed):
        path = Path(ROOT, name)
        if path.suffix in (".py", ".md", ".yaml", ".toml", ".in", ".sh", "") and path.is_file():
            assert "/work" + "/main" not in path.read_text(errors="replace"), name
