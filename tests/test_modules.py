"""Whether a release can run under a configuration, by its modules and classes of settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from on_host.release import modules

PLAIN = "from shop.settings import *\n"
WITH_CLASS = "from configurations import importer as _importer\nfrom shop.settings import *\n"
CLASSES = "from configurations import Configuration\nclass Prod(Configuration): pass\n"


@pytest.mark.parametrize(
    ("kit", "settings", "installed", "fits"),
    [
        (PLAIN, {"settings.py": "X = 1\n"}, False, True),
        (PLAIN, {"other.py": "X = 1\n"}, False, False),
        (WITH_CLASS, {"settings.py": CLASSES}, True, True),
        # The previous release, without the package django-configurations.
        (WITH_CLASS, {"settings.py": "X = 1\n"}, False, False),
        # Its class would override the kit's settings.
        (PLAIN, {"settings.py": CLASSES}, True, False),
        (
            PLAIN,
            {"settings/__init__.py": "from .base import *\n", "settings/base.py": CLASSES},
            True,
            False,
        ),
        (PLAIN, {"settings.py": "X = 1\n", "base.py": CLASSES}, True, True),
    ],
)
def test_a_release_fits_a_configuration(
    tmp_path: Path, kit: str, settings: dict[str, str], installed: bool, fits: bool
) -> None:
    """It needs the modules that the configuration names; classes of settings need a named class."""
    generation = tmp_path / "generation"
    release = tmp_path / "release"
    (generation / "django").mkdir(parents=True)
    (generation / "django/origin_kit_settings.py").write_text(kit)
    for name, text in settings.items():
        (release / "app/shop" / name).parent.mkdir(parents=True, exist_ok=True)
        (release / "app/shop" / name).write_text(text)
    if installed:
        package = release / "venv/lib/python3.11/site-packages/configurations/__init__.py"
        package.parent.mkdir(parents=True)
        package.touch()
    assert modules.fits(generation, release) is fits
