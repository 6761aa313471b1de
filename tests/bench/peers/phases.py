"""Where the time of a Fabric process goes: `python -m tests.bench.peers.phases FILE STARTED WORDS…`
runs `fab WORDS`.

It puts a clock around what the kit and any fabfile have in common: reading the contract, opening
the connection, the one exchange on it. FILE gets the moments as JSON, in seconds since STARTED,
when the process was asked for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from subprocess import DEVNULL, run
from typing import Any

from tests.support.kit import ROOT

PHASES = (
    "interpreter and Fabric",
    "tasks and imports",
    "contract",
    "render",
    "connect",
    "exchange",
    "report and exit",
)
Moments = dict[str, float]


def measured(words: list[str], environment: Mapping[str, str], file: Path) -> Moments:
    """Seconds by phase of one `fab WORDS`, and `on the host`, the part of the exchange that the
    host reports."""
    started = time.time()
    command = [sys.executable, "-m", "tests.bench.peers.phases", str(file), str(started), *words]
    run(command, check=True, cwd=ROOT, env=dict(environment), stdout=DEVNULL)
    total = time.time() - started
    seen: Moments = json.loads(file.read_text())
    read = seen.get("contract", seen["connect"]), seen.get("contract end", seen["connect"])
    edges = [
        0.0,
        seen["main"],
        *read,
        seen["connect"],
        seen["connect end"],
        seen["exchange end"],
        total,
    ]
    phases = {name: end - begin for name, (begin, end) in zip(PHASES, pairwise(edges), strict=True)}
    return {**phases, "on the host": seen.get("on the host", 0.0), "together": total}


def clocked(owner: Any, name: str, phase: str, seen: Moments, started: float) -> None:
    """Note when `owner.name` was first called and when it had returned."""
    function: Callable[..., Any] = getattr(owner, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        seen.setdefault(phase, time.time() - started)
        answer = function(*arguments, **options)
        seen[f"{phase} end"] = time.time() - started
        if isinstance(answer, dict) and "seconds" in answer:
            seen["on the host"] = answer["seconds"]
        return answer

    setattr(owner, name, timed)


class OnImport:
    """Put the clocks into the kit's own modules at the moment that the task imports them, not
    earlier."""

    def __init__(self, clocks: dict[str, Callable[[Any], None]]) -> None:
        self.clocks = clocks

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self.clocks:
            return None
        clock = self.clocks.pop(name)
        from importlib.util import find_spec

        spec = find_spec(name)
        assert spec and spec.loader
        execute = spec.loader.exec_module

        def then_clock(module: Any) -> None:
            execute(module)
            clock(module)

        spec.loader.exec_module = then_clock  # type: ignore[method-assign]
        return spec


def main(file: str, started_at: str, *words: str) -> None:
    started = float(started_at)
    seen: Moments = {}
    clocks: dict[str, Callable[[Any], None]] = {
        "rollout.outputs": lambda module: clocked(module, "load", "contract", seen, started),
        "rollout.hosts": lambda module: clocked(module.Session, "run", "exchange", seen, started),
    }
    sys.meta_path.insert(0, OnImport(clocks))
    from fabric import Connection
    from fabric.main import program

    clocked(Connection, "open", "connect", seen, started)
    if "--search-root" in words:
        clocked(Connection, "run", "exchange", seen, started)
    seen["main"] = time.time() - started
    program.run(["fab", *words], exit=False)
    Path(file).write_text(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
