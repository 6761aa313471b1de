"""The table of modules in docs/architecture.md is what the modules say of themselves, and imports
follow the layers."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "architecture.md"
HALVES = {
    "infra": "infra",
    "core": "infra/core",
    "verbs": "ansible-free-deploy/verbs",
    "rollout": "ansible-free-deploy/rollout",
    "on_host": "ansible-free-deploy/on_host",
}
EXTRA = {"__init__", "__main__"}


def summary(path: Path) -> str:
    """The first paragraph of a module's or a package's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split("\n"))


def modules(folder: Path) -> list[Path]:
    """A package's own modules and the `__init__` of the packages in it, in the order of their
    names."""
    own = [path for path in folder.glob("*.py") if path.stem not in EXTRA]
    inner = [path for path in folder.glob("*/__init__.py") if path.parent.name != "templates"]
    return sorted(
        [*own, *inner], key=lambda path: path.parent.name if path.stem == "__init__" else path.stem
    )


def row(half: str, path: Path) -> str:
    name = f"{half}/{path.name}" if path.stem != "__init__" else f"{half}/{path.parent.name}/"
    return f"| `{name}` | {summary(path)} |"


def table(half: str) -> str:
    rows = [row(half, path) for path in modules(ROOT / HALVES[half])]
    return "\n".join(["| module | its one job |", "|---|---|", *rows])


@pytest.mark.parametrize("half", HALVES)
def test_the_table_is_the_tree(half: str) -> None:
    """UPDATE_DOCS=1 writes it."""
    text = DOCUMENT.read_text()
    pattern = rf"(<!-- modules of {half} -->\n).*?(\n<!-- end -->)"
    assert re.search(pattern, text, re.DOTALL), (
        f"docs/architecture.md has no place for the modules of {half}"
    )
    wanted = re.sub(pattern, lambda found: found[1] + table(half) + found[2], text, flags=re.DOTALL)
    if os.environ.get("UPDATE_DOCS"):
        DOCUMENT.write_text(wanted)
        return
    assert text == wanted


@pytest.mark.parametrize("half", HALVES)
def test_every_module_says_its_job_in_one_sentence(half: str) -> None:
    for path in modules(ROOT / HALVES[half]):
        line = summary(path)
        assert line.endswith((".", "?")) and len(line) > 20, f"{path}: {line!r}"


def test_imports_follow_the_layers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The contracts are in pyproject.toml; `lint-imports` runs them from the command line."""
    monkeypatch.chdir(ROOT)
    status = lint_imports(no_cache=True)
    assert status == 0, capsys.readouterr().out
