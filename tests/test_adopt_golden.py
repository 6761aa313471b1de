"""`fab adopt` against whole reports and files, one folder for each kind of finding.

`project/` is the project; a case without one adopts the example. `UPDATE_GOLDEN=1 pytest
tests/test_adopt_golden.py` writes said.txt and Pulumi.shop.yaml; review them as a person reads
them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from infra.core.settings import Settings, SettingsError
from infra.core.stackfile import read_config
from infra.local import image
from tests.support.kit import ROOT
from tests.test_adopt import adopted

GOLDEN = Path(__file__).parent / "golden" / "adopt"
CASES = sorted(path.name for path in GOLDEN.iterdir())
REPORT, CONFIG = "said.txt", "Pulumi.shop.yaml"


def project(case: str, folder: Path) -> Path:
    """A copy of the case's project, so that it is in no git repository; the example in place."""
    source = GOLDEN / case / "project"
    if not source.is_dir():
        return ROOT / "examples" / "backend"
    shutil.copytree(source, folder / "shop")
    return folder / "shop"


@pytest.mark.parametrize("case", CASES)
def test_adopt_golden(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project gives exactly the report and the config that were reviewed."""
    monkeypatch.setattr(image, "host_release", lambda: "bookworm")
    result = adopted(project(case, tmp_path), tmp_path / "kit")
    written = {
        REPORT: str(result).replace(str(tmp_path), "/work") + "\n",
        CONFIG: result.config.read_text().replace(str(tmp_path), "/work"),
    }
    if os.environ.get("UPDATE_GOLDEN"):
        for name, text in written.items():
            (GOLDEN / case / name).write_text(text)
    assert result.config.name == CONFIG
    for name, text in written.items():
        assert text == (GOLDEN / case / name).read_text()


@pytest.mark.parametrize("case", CASES)
def test_golden_config_is_valid(case: str, tmp_path: Path) -> None:
    """The kit reads each written config; only a missing frontend has to be filled in."""
    result = adopted(project(case, tmp_path), tmp_path / "kit")
    config = read_config(tmp_path / "kit", "shop")
    if "frontend_path" in result.values:
        assert Settings.read(config, "shop").application == "shop"
        return
    with pytest.raises(SettingsError, match="frontend_path"):
        Settings.read(config, "shop")
