"""Whether the project's error pages can be rendered: a real Django, called as a ship does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from on_host import as_user

TEXT = as_user.text("error_pages")
SETTINGS = """
SECRET_KEY, ROOT_URLCONF, DEBUG = "x", "urls", False
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["pages"]}]
"""


def failing(folder: Path, urls: str = "", **pages: str) -> dict[str, str]:
    (folder / "origin_kit_settings.py").write_text(SETTINGS)
    (folder / "urls.py").write_text(f"urlpatterns = []\n{urls}")
    (folder / "pages").mkdir()
    for name, text in pages.items():
        (folder / "pages" / f"{name.removeprefix('p')}.html").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", TEXT], cwd=folder, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)["failing"]
    return found


@pytest.mark.parametrize("pages", [{}, {"p400": "no", "p500": "<h1>{{ request }}</h1>"}])
def test_good_pages_and_no_pages_are_fine(tmp_path: Path, pages: dict[str, str]) -> None:
    """Pages that render, and a project without pages, give no failure."""
    assert failing(tmp_path, **pages) == {}


def test_a_page_that_raises_is_named_with_its_exception(tmp_path: Path) -> None:
    """An unknown tag library or URL name: visitors would get gunicorn's bare 500."""
    found = failing(tmp_path, p400="{% load nowhere %}", p500="{% url 'nothing' %}")
    assert list(found) == ["400.html", "500.html"]
    assert found["400.html"].startswith(
        "TemplateSyntaxError: 'nowhere' is not a registered tag library"
    )
    assert found["500.html"].startswith("NoReverseMatch: ")
    assert all("\n" not in text for text in found.values())


def test_a_view_of_the_project_is_not_called(tmp_path: Path) -> None:
    """It may need more of a request than a ship has."""
    urls = "def mine(request, *_): raise KeyError\nhandler400 = handler500 = mine\n"
    assert failing(tmp_path, urls) == {}
