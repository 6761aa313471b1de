"""A project whose settings branch on DEBUG, on a real machine: refused, then served by its
variable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kit import ROOT, Stack, a_copy_of_the_example

pytestmark = pytest.mark.machines

FROM_A_VARIABLE = 'import os\nDEBUG = os.environ.get("SHOP_DEBUG", "1") == "1"'
BRANCH = """
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
if DEBUG:
    EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
CACHE_SECONDS = 0 if DEBUG else 60
"""
ASK = (
    "import json; from django.conf import settings as s; print(json.dumps([s.DEBUG,"
    " s.EMAIL_BACKEND, s.CACHE_SECONDS]))"
)


@pytest.fixture
def project() -> Iterator[Path]:
    with a_copy_of_the_example() as copy:
        settings = copy / "shop" / "settings.py"
        settings.write_text(settings.read_text().replace("DEBUG = True", FROM_A_VARIABLE) + BRANCH)
        yield copy


def lines(project: Path, *starts: str) -> list[int]:
    """Where the settings have these lines."""
    text = (project / "shop" / "settings.py").read_text().splitlines()
    return [
        next(number for number, line in enumerate(text, 1) if line.startswith(start))
        for start in starts
    ]


def served(stack: Stack) -> str:
    """The release that the backend serves."""
    status = json.loads(stack.fab("status", "--json", status=None).stdout)
    return str(status["backend-1"]["release"])


@pytest.mark.soak
def test_debug_branches_are_refused_until_it_is_set(stack: Stack, project: Path) -> None:
    """The ship names each branch and where DEBUG is set, and the release of before serves; with the
    variable in `env` a deploy and a ship go through, and the values are production's."""
    before, path = served(stack), str(project.relative_to(ROOT))
    branch, cache, debug = lines(project, "if DEBUG", "CACHE_SECONDS", "DEBUG =")
    try:
        stack.write(backend_path=path)
        refused = " ".join(stack.fab("ship", status=1).stderr.split())
        uses = f"shop/settings.py, line {branch}; shop/settings.py, line {cache}"
        assert f"DEBUG is true while the settings are read, and they use it ({uses})" in refused
        assert (
            f'DEBUG = os.environ.get("SHOP_DEBUG", "1") == "1" (shop/settings.py, line {debug})'
            in refused
        )
        assert "a variable that it reads goes into `env` of the stack's config" in refused
        assert served(stack) == before

        stack.write(backend_path=path, env={"SHOP_DEBUG": "0"})
        stack.fab("up")
        assert served(stack) != before
        said = stack.kit.fab(
            "manage", "--stack", stack.name, "--", "shell", "-v0", "-c", ASK
        ).stdout
        values = json.loads(said.splitlines()[-1])
        assert values == [False, "django.core.mail.backends.smtp.EmailBackend", 60]
        stack.fab("doctor")
    finally:
        stack.write()
        stack.fab("up")
    assert served(stack) == before
