"""Migrations, and the copy of the database from before them."""

from __future__ import annotations

import re
from pathlib import Path

from on_host import confined, places
from on_host.as_user.data import NONE
from on_host.orders import ORDERS
from on_host.release.django import Django
from on_host.runtime import Failed, last_lines, step
from on_host.user import in_data

KEPT_BACKUPS = 3


def migrate(release: Path) -> str:
    """Change the data: after every host has its release ready, and just before the switch. Where
    the copy from before is, if one was made."""
    django = Django(release)
    copy = back_up(django)
    step("migrate", "migrates the database")
    migrated = django.manage("migrate", "--noinput", limit_s=confined.LONG_LIMIT_S)
    saved = f"; a copy of the database from before is in {copy}" if copy else ""
    django.must(migrated, "manage.py migrate", saved)
    in_data("data", "close")
    return copy


def back_up(django: Django) -> str:
    """Copy SQLite files in the data folder if migrations wait; where the copy is."""
    found = in_data("data", "has-databases")
    if found.returncode not in (0, NONE):  # not to know is no reason to migrate without a copy
        raise Failed(
            f"{places.data()} can't be searched for databases as user {places.user()}",
            last_lines(found.stdout),
        )
    if found.returncode == NONE or django.manage("migrate", "--check").returncode == 0:
        return ""
    step("backup", "backs up the database")
    done = in_data(
        "data", "back-up", str(ORDERS["id"]), str(KEPT_BACKUPS), limit_s=confined.LONG_LIMIT_S
    )
    if done.returncode:
        raise Failed(
            "the database can't be backed up, so it is not migrated", last_lines(done.stdout)
        )
    told = done.stdout.strip()  # by a process of the application's user
    return (
        told
        if re.fullmatch(rf"{re.escape(str(places.data()))}/backups/\d+-before-[0-9a-f]+", told)
        else f"{places.data()}/backups"
    )
