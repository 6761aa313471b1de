"""When a stack's outputs were written: from the state, from Pulumi's history, from a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rollout.made_at import outputs_made_at
from tests.support.kit import ROOT

TIME = "2026-11-01T00:00:00Z"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No state of whoever runs this, and no `pulumi`."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "pulumi"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def state(folder: Path, text: str) -> None:
    path = folder / ".pulumi" / "stacks" / "origin-kit" / "local.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_the_state_of_a_local_stack_has_the_time(home: Path) -> None:
    """Pulumi's manifest."""
    state(home / "home" / "state", (ROOT / "tests/state/c449aef/local.json").read_text())
    assert outputs_made_at("local") == TIME


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"checkpoint": {"latest": null}}'])
def test_a_state_without_a_time_says_nothing(home: Path, text: str) -> None:
    """No traceback, no invented time."""
    state(home / "home" / "state", text)
    assert outputs_made_at("local") == ""


def test_another_file_backend_is_read_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{home}/backend")
    state(home / "backend", (ROOT / "tests/state/c449aef/local.json").read_text())
    assert outputs_made_at("local") == TIME


@pytest.mark.parametrize(
    ("answer", "time"),
    [(json.dumps([{"endTime": TIME}]), TIME), ("[]", ""), ("error", ""), ('[{"endTime": 1}]', "")],
)
def test_the_cli_is_asked_for_the_last_update(
    home: Path, monkeypatch: pytest.MonkeyPatch, answer: str, time: str
) -> None:
    """The state of a cloud stack may be anywhere; the CLI knows its history."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    program = home / "bin" / "pulumi"
    program.parent.mkdir()
    words = "stack history --json --page-size 1 --stack aws-dev --non-interactive"
    program.write_text(f"#!/bin/sh\n[ \"$*\" = '{words}' ] && echo '{answer}'\n")
    program.chmod(0o755)
    assert outputs_made_at("aws-dev") == time


def test_without_the_cli_nothing_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    assert outputs_made_at("aws-dev") == ""


def test_a_file_of_outputs_has_its_own_time(home: Path) -> None:
    """Its modification time, in UTC."""
    file = home / "outputs.json"
    file.write_text("{}")
    os.utime(file, (0, 0))
    assert outputs_made_at("local", str(file)) == "1970-01-01T00:00:00+00:00"
    assert outputs_made_at("local", str(home / "none")) == ""
