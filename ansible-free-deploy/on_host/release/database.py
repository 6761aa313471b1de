"""Migrate the database, after making a copy of it."""

from __future__ import annotations

import re
from pathlib import Path

from on_host import confined, places
from on_host.as_user.data import NONE
from on_host.orders import SHIP_ORDERS
from on_host.release.django import Django
from on_host.runtime import Failed, last_lines, step
from on_host.user import in_data

KEPT_BACKUPS = 3


def migrate(release: Path) -> str:
    """Migrate the database; where the copy from before is, "" where none was made.

    This comes after every host has its release ready, and just before the switch.
    """
    django = Django(release)
    copy = back_up(django)
    step("migrate", "migrates the database")
    migrated = django.manage("migrate", "--noinput", limit_s=confined.LONG_LIMIT_S)
    saved = f"; a copy of the database from before is in {copy}" if copy else ""
    django.must(migrated, "manage.py migrate", saved)
    in_data("data", "close")
    return copy


def back_up(django: Django) -> str:
    """Copy the SQLite files in the data folder where migrations wait; where the copy is."""
    if not has_databases() or not has_migrations_to_apply(django):
        return ""
    step("backup", "backs up the database")
    words = ("back-up", SHIP_ORDERS["id"], str(KEPT_BACKUPS))
    done = in_data("data", *words, limit_s=confined.LONG_LIMIT_S)
    if done.returncode:
        raise Failed(
            "the database can't be backed up, so it is not migrated; correct the cause below, then"
            " ship again",
            last_lines(done.stdout),
        )
    folder = done.stdout.strip()  # printed by a process of the application's user: not trusted
    backups = f"{places.data()}/backups"
    if re.fullmatch(rf"{re.escape(backups)}/\d+-before-[0-9a-f]+", folder):
        return folder
    return backups


def has_databases() -> bool:
    """Whether the data folder has SQLite files. Raises Failed where that can't be found out.

    Without an answer there must be no migration: there might be no copy of the data.
    """
    done = in_data("data", "has-databases")
    if done.returncode not in (0, NONE):
        raise Failed(
            f"{places.data()} can't be searched for databases as user {places.user()}; correct the"
            " cause below, then ship again",
            last_lines(done.stdout),
        )
    return done.returncode == 0


def has_migrations_to_apply(django: Django) -> bool:
    return django.manage("migrate", "--check").returncode != 0
