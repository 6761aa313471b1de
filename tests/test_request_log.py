"""Where a project's log of failed requests goes: a real Django, called as the doctor does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from on_host import as_user

TEXT = as_user.text("request_log")
FILE = '{"class": "logging.FileHandler", "filename": "%s"}'
MAIL = '{"class": "django.utils.log.AdminEmailHandler"}'


def logging_of(handler: str, logger: str = "root", more: str = "", keep: bool = True) -> str:
    """Settings whose logger has this one handler; `keep` is whether Django's own loggers go on."""
    place = (
        f'"root": {{"handlers": ["one"]{more}}}'
        if logger == "root"
        else (f'"loggers": {{"{logger}": {{"handlers": ["one"]{more}}}}}')
    )
    on = '"disable_existing_loggers": False, ' if keep else ""
    return f'LOGGING = {{"version": 1, {on}"handlers": {{"one": {handler}}}, {place}}}\n'


def destinations(folder: Path, settings: str) -> dict[str, Any]:
    (folder / "origin_kit_settings.py").write_text(f"SECRET_KEY = 'x'\n{settings}")
    done = subprocess.run(
        [sys.executable, "-c", TEXT], cwd=folder, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["request_log"]
    return found


def test_a_file_is_named_with_its_last_lines(tmp_path: Path) -> None:
    """The frames of its tracebacks are left out."""
    log = tmp_path / "errors.log"
    log.write_text(
        'Internal Server Error: /\nTraceback (most recent call last):\n  File "x", line 1\nOSError:'
        " full\n"
    )
    found = destinations(tmp_path, logging_of(FILE % log))
    assert found == {
        "files": {str(log): "Internal Server Error: /\nOSError: full"},
        "journal": False,
        "others": [],
    }


@pytest.mark.parametrize("logger", ["root", "django", "django.request"])
def test_every_logger_on_the_way_counts(tmp_path: Path, logger: str) -> None:
    """A handler of django.request, of its parent or of the root gets the error."""
    assert list(destinations(tmp_path, logging_of(FILE % "a.log", logger))["files"]) == [
        str(tmp_path / "a.log")
    ]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (logging_of('{"class": "logging.StreamHandler"}'), (True, [])),
        (
            logging_of('{"class": "logging.handlers.SysLogHandler"}'),
            (False, ["logging.handlers.SysLogHandler"]),
        ),
        (
            "ADMINS = [('a', 'a@example.com')]\n" + logging_of(MAIL),
            (False, ["django.utils.log.AdminEmailHandler"]),
        ),
        (logging_of(MAIL), (False, [])),  # without ADMINS nobody gets it
        (logging_of('{"class": "logging.NullHandler"}'), (False, [])),
        (logging_of('{"class": "logging.StreamHandler", "level": "CRITICAL"}'), (False, [])),
        (
            logging_of(
                '{"class": "logging.StreamHandler"}', "django.request", ', "level": "CRITICAL"'
            ),
            (False, []),
        ),
        # disable_existing_loggers is True here.
        (logging_of('{"class": "logging.StreamHandler"}', keep=False), (False, [])),
        ("", (False, [])),  # Django's own, with DEBUG off and no ADMINS
    ],
)
def test_other_handlers_are_distinguished(
    tmp_path: Path, settings: str, wanted: tuple[bool, list[str]]
) -> None:
    """A handler writes to the journal, sends the log elsewhere, or drops it."""
    found = destinations(tmp_path, settings)
    assert (found["files"], (found["journal"], found["others"])) == ({}, wanted)


def test_only_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    """The last line of a log of 5 MB is returned."""
    log = tmp_path / "a.log"
    log.write_text("x" * 5_000_000 + "\nValueError: the last\n")
    assert destinations(tmp_path, logging_of(FILE % log))["files"][str(log)].endswith(
        "ValueError: the last"
    )
