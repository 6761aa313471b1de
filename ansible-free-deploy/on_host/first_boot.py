"""How far the first boot of this host has come, as it reports it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from on_host.orders import FIRST_BOOT_ORDERS
from on_host.runtime import emit, run

if TYPE_CHECKING:
    from on_host.answers import FirstBootAnswer


def main() -> int:
    """Run the question, which is shell, and report what it prints."""
    done = run("sh", "-c", FIRST_BOOT_ORDERS["question"], stderr=subprocess.DEVNULL)
    answer: FirstBootAnswer = {"text": done.stdout}
    emit({"result": answer})
    return 0
