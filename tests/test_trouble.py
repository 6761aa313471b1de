"""Errors on a host: the message names the true cause, whatever the system reports."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from on_host import disk as disk_of_host
from on_host import places, probe, services
from on_host.configuration import check
from on_host.disk import trouble
from on_host.release import check as release_check
from on_host.release import django
from on_host.runtime import Failed, run

GIB = 1 << 30


@pytest.fixture(autouse=True)
def own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setattr(disk_of_host, "_noted", [])


def disk(monkeypatch: pytest.MonkeyPatch, free: int, inodes: int, of: int = 65_536) -> None:
    """Make the kernel report this for every file system."""
    statistics = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_favail=inodes, f_files=of)
    monkeypatch.setattr(os, "statvfs", lambda path: statistics)


def said(number: int, name: str | None = None) -> str:
    return trouble(OSError(number, os.strerror(number), name), "/etc/origin-kit")


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the free bytes, and what to do."""
    disk(monkeypatch, 8192, 100)
    assert said(errno.ENOSPC).startswith("the disk is full (")
    assert "8 KiB free); make room, then run this again" in said(errno.ENOSPC)


def test_a_lack_of_inodes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """`df -h` shows free bytes, so the message says that inodes are missing."""
    disk(monkeypatch, 60 * GIB, 0)
    assert "61440 MiB free, but no inodes" in said(errno.ENOSPC)


def test_a_file_system_without_inodes_is_not_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """btrfs reports 0 free inodes of 0."""
    disk(monkeypatch, 60 * GIB, 0, of=0)
    assert "although no disk is full now" in said(errno.ENOSPC, "/opt/x")
    assert "/opt/x" in said(errno.ENOSPC, "/opt/x")


def test_a_full_disk_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that did not fit is removed before the message is made."""
    disk(monkeypatch, 60 * GIB, 0)
    disk_of_host.note_full()
    disk(monkeypatch, 60 * GIB, 9999)
    assert "no inodes" in said(errno.ENOSPC)


OTHERS = {
    errno.EDQUOT: "the disk quota of root is used up (/opt/x)",
    errno.EROFS: "/opt/x is on a read-only file system; see `dmesg`",
    errno.EIO: "the disk fails at /opt/x",
    errno.ENOMEM: "out of memory",
    errno.EAGAIN: "out of memory or processes",
    errno.EMFILE: "too many files open",
    errno.EACCES: "/opt/x: Permission denied; run this again",
}


@pytest.mark.parametrize("number", OTHERS)
def test_each_refusal_has_its_own_message(number: int) -> None:
    """Quota, read-only, broken disk, memory and open files have different next steps."""
    assert OTHERS[number] in said(number, "/opt/x")


def test_a_program_without_space_names_the_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of a failed program names the full disk, but only if one is full."""
    disk(monkeypatch, 0, 0)
    failed = Failed("the wheels can't be installed", "OSError: [Errno 28] No space left on device")
    assert str(failed).startswith("the wheels can't be installed; the disk is full (")
    disk(monkeypatch, 60 * GIB, 99)
    assert str(Failed("x", "of yesterday: No space left on device")) == "x"


def test_a_missing_program_is_named() -> None:
    """A missing working folder is not mistaken for a missing program."""
    with pytest.raises(Failed, match="the program no-such-program is not installed on this host"):
        run("no-such-program", "--version")
    with pytest.raises(FileNotFoundError):
        run("true", cwd="/nowhere/at/all")


def test_a_killed_program_is_reported() -> None:
    """The program itself may have printed nothing."""
    assert (
        run("sh", "-c", "echo begun; kill -9 $$")
        .stdout.splitlines()[-1]
        .startswith("it was killed by SIGKILL; out of")
    )
    assert run("sh", "-c", "kill -15 $$").stdout == "it was killed by SIGTERM"


def done(status: int, words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], status, words)


NGINX = {
    (127, "sh: 1: exec: nginx: not found"): "nginx is not installed on this host",
    (
        1,
        "unshare: unshare failed: Operation not permitted",
    ): "nginx can't be tested: root may not make",
    (32, "mount: /etc/nginx: permission denied."): "nginx can't be tested: root may not make",
    (
        1,
        (
            'nginx: [emerg] unknown directive "x" in /etc/nginx/conf.d/other.conf:1\nnginx:'
            " configuration file"
        ),
    ): "because of /etc/nginx/conf.d/other.conf, which is not this kit's",
    (
        1,
        'nginx: [emerg] unknown directive "x" in /etc/nginx/conf.d/origin-kit.conf:1',
    ): "refuses the new configuration",
    (1, "nginx: [emerg] bind() to 0.0.0.0:80 failed"): "refuses the new configuration",
}


@pytest.mark.parametrize("case", NGINX)
def test_why_nginx_refuses_a_configuration(case: tuple[int, str]) -> None:
    """A file that is not the kit's is named only where nginx names it."""
    text = check.why_nginx(done(*case), ["/etc/nginx/conf.d/origin-kit.conf"])
    assert NGINX[case] in text
    assert ("not this kit's" in text) == ("other.conf" in case[1])


DJANGO = {
    (1, "SystemCheckError: …"): "the project does not pass its checks",
    (
        203,
        "",
    ): "the release's Python can't be started on the host (systemd's status 203): run `fab ship`",
    (
        1,
        "Failed to connect to bus: No such file or directory",
    ): "systemd can't start the project's checks",
    (255, ""): "ended with status 255 and no output",
}


@pytest.mark.parametrize("case", DJANGO)
def test_why_the_project_s_checks_failed(
    case: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project, its release, systemd and a killed process are reported apart."""
    monkeypatch.setattr(check, "changed_in_release", list)
    assert DJANGO[case] in check.why_django(done(*case))


def test_a_changed_release_is_the_first_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the release was changed on the host, the project may be right."""
    monkeypatch.setattr(check, "changed_in_release", lambda: ["app/shop/views.py"])
    assert "its release was changed on the host (app/shop/views.py)" in check.why_django(
        done(1, "x")
    )


def test_workers_that_the_kernel_killed_are_counted() -> None:
    """By gunicorn's log; workers that gunicorn itself killed as too slow do not count."""
    said = (
        "[392] [ERROR] Worker (pid:395) was sent SIGKILL! Perhaps out of memory?\n"
        "[409] [INFO] Booting worker with pid: 409\n"
        "[392] [CRITICAL] WORKER TIMEOUT (pid:396)\n"
        "[392] [ERROR] Worker (pid:396) was sent SIGKILL! Perhaps out of memory?\n"
        "[392] [ERROR] Worker (pid:409) was sent SIGKILL! Perhaps out of memory?\n"
    )
    assert services.killed_in(said) == 2
    assert services.killed_in("[INFO] Worker exiting (pid: 395)\n") == 0


def test_killed_workers_fail_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers came up and answered, so no other check would notice."""
    monkeypatch.setattr(services, "service", lambda: "shop.service")
    monkeypatch.setattr(probe, "service", lambda: "shop.service")
    now = time.time()
    asked: list[str] = []

    def killed(unit: str, since: str) -> int:
        asked.append(since)
        return 2

    monkeypatch.setattr(services, "workers_killed", killed)
    monkeypatch.setattr(probe, "journal_of", lambda unit: "")
    with pytest.raises(
        Failed, match=r"does not stay up: the kernel has killed 2 of gunicorn's workers.*memory_mb"
    ):
        probe.probe({})
    assert (
        re.fullmatch(r"@\d+", asked[0]) and now - 3600 < int(asked[0][1:]) <= now
    )  # the clock on the wall


def test_a_database_next_to_the_code_names_the_data_folder() -> None:
    """SQLite names neither the path nor the reason."""
    said = (
        "Traceback (most recent call last):\nsqlite3.OperationalError: unable to open database"
        " file\n"
    )
    assert "can be written: its path is in ORIGIN_KIT_DATA" in django.where_to_write(said)
    assert django.where_to_write("ValueError: no\n") == ""


_THERE = "/opt/shop/venv/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("file", "missing", "said"),
    [
        (
            f"{_THERE}/haystack/fields.py",
            "ModuleNotFoundError: No module named 'django.utils.datetime_safe'",
            (
                "; haystack asks for it, and the installed django has none: pin another version of"
                " django or haystack, or add the package that brings it"
            ),
        ),
        (
            f"{_THERE}/haystack/fields.py",
            (
                "ImportError: cannot import name 'ungettext' from 'django.utils.translation' "
                f"({_THERE}/django/utils/translation/__init__.py)"
            ),
            (
                "; haystack asks for it, and the installed django has none: pin another version of"
                " django or haystack"
            ),
        ),
        (
            "shop/views.py",
            (
                "ImportError: cannot import name 'ungettext' from 'django.utils'"
                f" ({_THERE}/django/utils/__init__.py)"
            ),
            (
                "; shop/views.py asks for it, and the installed django has none: pin another"
                " version of django"
            ),
        ),
        (f"{_THERE}/django/apps.py", "ModuleNotFoundError: No module named 'django.gone'", ""),
        (
            "shop/views.py",
            "ImportError: cannot import name 'x' from 'shop.views' (shop/views.py)",
            "",
        ),
        ("shop/views.py", "ModuleNotFoundError: No module named 'gone'", ""),
    ],
)
def test_packages_that_do_not_fit_are_both_named(file: str, missing: str, said: str) -> None:
    """A package for an older Django imports what is gone; circular imports are another matter."""
    assert (
        django.misfit(
            f'Traceback (most recent call last):\n  File "{file}", line 3, in <module>\n{missing}\n'
        )
        == said
    )


def test_warnings_of_django_s_checks_are_shown() -> None:
    """With their ids; a long list is cut."""
    said = (
        "System check identified some issues:\n\nWARNINGS:\n?: (django_vite.W001) Cannot read Vite"
        " manifest file\n\tHINT: Make sure.\nshop.Item.price: (fields.W340) null has no"
        " effect\n\nSystem check identified 2 issues (0 silenced).\n"
    )
    assert release_check.warnings_of(said) == [
        "(django_vite.W001) Cannot read Vite manifest file",
        "(fields.W340) null has no effect",
    ]
    assert release_check.warnings_of("?: (a.W1) x\n" * 7)[-1] == "2 more"
    assert release_check.warnings_of("System check identified no issues (0 silenced).\n") == []


def test_an_unbuilt_static_file_has_a_next_step() -> None:
    """The message says where to build the file, or how to turn compression off."""
    why = "ValueError: Missing staticfiles manifest entry for 'shop/app.css'"
    assert (
        "collectstatic has not found it: build it before a ship"
        in release_check.static_file_to_build(why)
    )
    assert release_check.static_file_to_build("ValueError: no") == ""
    offline = "OfflineGenerationError: You may need to run 'python manage.py compress'"
    assert "let COMPRESS_ENABLED be False" in release_check.static_file_to_build(offline)
