"""What a job without credentials builds of a preview, and what `fab preview.up` refuses before it
makes anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.acme.beforehand import LimitError
from rollout.previews import making, up
from rollout.previews.desk import Desk
from rollout.previews.making import Template
from rollout.previews.up import Wishes
from rollout.release import ReleaseError
from tests.test_certificates_beforehand import SETTINGS
from tests.test_settings import GOOD


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("more", "backends"),
    [({}, 1), ({"preview_mode": "frontend", "attach_to": "aws-staging"}, 0)],
)
def test_a_build_asks_nobody_for_what_the_verb_fills_in(
    more: dict[str, str], backends: int
) -> None:
    """Not the attached environment either: whoever builds may not be known to its cloud."""
    read = Template("", {**GOOD, **more})
    settings = making.for_a_build(read)
    assert (settings.application, settings.backend_count) == ("shop", backends)


def test_a_file_that_is_none_is_refused_before_anything_is_made(home: Path) -> None:
    (home / "x.tar.gz").write_text("no archive")
    with pytest.raises(ReleaseError, match="it can't be unpacked"):
        up.up(Wishes("feature", built=home / "x.tar.gz"))
    assert not (home / "home").exists()


def test_a_preview_over_the_ca_s_limit_leaves_no_trace(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is under way any more; near the limit a line says so, and it goes on."""

    def over(*words: object) -> str:
        raise LimitError("over the limit")

    desk = Desk.of("local")
    desk.begin(SETTINGS.stack, "feature", "up", home)
    monkeypatch.setattr("rollout.acme.beforehand.check", over)
    with pytest.raises(LimitError):
        up._count_certificates(SETTINGS, desk)
    assert not desk.notes()
    monkeypatch.setattr("rollout.acme.beforehand.check", lambda *words: "near the limit")
    up._count_certificates(SETTINGS, desk)
    assert "near the limit" in capsys.readouterr().out
