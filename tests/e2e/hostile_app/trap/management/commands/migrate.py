"""Migrates, and then fails or hangs, as `mode.py` says."""

import os
import signal
import time

from django.core.management.commands import migrate

from trap.mode import MODE


class Command(migrate.Command):
    def handle(self, *args, **options):
        super().handle(*args, **options)
        if options["check_unapplied"]:
            return
        if MODE == "fail":
            raise RuntimeError("the migration fails")
        if MODE == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
