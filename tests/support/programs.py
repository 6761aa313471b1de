"""Programs for hosts that only tests send."""

from __future__ import annotations

import contextlib
import json
import textwrap
from importlib import resources
from pathlib import Path
from typing import Any

from infra.core.contract import Json
from rollout import program
from rollout.program import Program

BOOTSTRAP = resources.files("on_host").joinpath("bootstrap.py").read_text()


def doing(text: str) -> Program:
    """A program of nothing but these lines, which find their orders in `orders` and give their
    status back."""
    body = textwrap.indent(text, "    ")
    return program.pack(
        {
            "on_host/__init__.py": "",
            "on_host/__main__.py": f"def main(orders):\n{body}\n    return 0\n",
        }
    )


def bootstrap(root: Path) -> str:
    """What starts a program on a host, for one whose files are below `root`."""
    return BOOTSTRAP.replace(
        '"/run/origin-kit/programs"', repr(str(root / "run/origin-kit/programs"))
    )


def begin(process: Any, wanted: Program, orders: Json) -> None:
    """What the operator's side says first to a process that runs `bootstrap`."""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(wanted.head(orders))
        process.stdin.flush()
        if json.loads(process.stdout.readline())["program"] == "missing":
            process.stdin.write(wanted.data)
            process.stdin.flush()
