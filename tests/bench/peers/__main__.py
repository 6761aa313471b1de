"""The kit compared with tuned Ansible and pyinfra: `python -m tests.bench.peers`, the second part
of `make bench`.

The same job through the same relay for all: the files that the kit renders, in their real places,
on the same backend hosts; `nginx -t` and `manage.py check --deploy` under the new settings; a
restart of what they belong to; the same questions of allowed and refused origins, on all hosts at
once. Where nothing changed nobody validates, restarts or asks. Contenders take turns, A B C A B C;
a ratio is taken within a turn, and the median of a cell's ratios is shown. Next to them stand our
own way of one host after the other, and what a change costs the hosts whoever asks for it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.core.contract import Contract
from infra.core.cross_fields import UNBALANCED
from tests.bench.page import at_most, head, row, update
from tests.bench.pair import floor_fabfile
from tests.bench.peers import job, phases, relay
from tests.bench.peers.contenders import PEERS, Bench, Contender
from tests.support.kit import ROOT, Kit, Stack

HOSTS, DELAYS = (1, 4, 16), (0, 20, 100)
TURNS = {1: 5, 4: 3, 16: 1}
FLOOR = 1.6
UP_S = 900


@dataclass(frozen=True)
class Cell:
    """One row: the seconds of each contender, turn by turn."""

    kind: str
    hosts: int
    delay_ms: int
    seconds: dict[str, list[float]]

    @property
    def wanted(self) -> float:
        if self.delay_ms == 100:
            return 0.35
        return 0.5 if self.kind == "unchanged" else 0.6

    def ratio(self, peer: str) -> float:
        return statistics.median(
            a / b for a, b in zip(self.seconds["ours"], self.seconds[peer], strict=True)
        )

    def ratio_to_best(self) -> float:
        return max(self.ratio(peer) for peer in PEERS)

    def row(self) -> str:
        medians = [
            f"{statistics.median(self.seconds[name]):.1f} s" if name in self.seconds else ""
            for name in ("ours", "one by one", *PEERS, "the job itself")
        ]
        ratio = self.ratio_to_best()
        cells = [
            self.kind,
            self.hosts,
            f"{self.delay_ms} ms",
            *medians,
            f"{ratio:.2f} ×",
            at_most(ratio, self.wanted),
        ]
        return row(*cells)


class Run:
    """One run of the bench on one environment."""

    def __init__(self, bench: Bench, contract: Contract, turns: int | None) -> None:
        self.bench, self.contract, self.turns = bench, contract, turns
        self.ports = relay.free_ports(len(contract.backend.hosts))
        self.routes = {
            port: f"{host.address}:{host.port}"
            for port, host in zip(self.ports, contract.backend.hosts, strict=True)
        }
        self.numbers = itertools.count(20_000)

    def work(self, hosts: int) -> Path:
        """The folder of a job that no host has had yet."""
        number = next(self.numbers)
        contract = job.through(self.contract, self.ports[:hosts])
        folder = self.bench.folder / f"job-{number}"
        self.bench.prepare(folder, job.allowing(contract, f"http://localhost:{number}"))
        return folder

    def cells(self, hosts: int, delay_ms: int) -> Iterator[Cell]:
        """`unchanged` is the same job again and again, `changed` one of its own each turn."""
        contenders, turns = self.bench.contenders(), self.turns or TURNS[hosts]
        last = self.work(hosts)
        for contender in contenders.values():
            contender(last)
        extra: dict[str, Callable[[Path], bool]] = {"floor": self.floor} if hosts == 1 else {}
        yield Cell(
            "unchanged",
            hosts,
            delay_ms,
            in_turn(contenders | extra, turns, lambda: last, changes=False),
        )
        if hosts == 1:
            self.explain(last, delay_ms)
        extra = {"the job itself": self.bench.bare}
        if hosts > 1:
            extra["one by one"] = self.bench.one_by_one
        seconds = in_turn(contenders | extra, turns, lambda: self.work(hosts), changes=True)
        yield Cell("changed", hosts, delay_ms, seconds)

    def floor(self, _: Path) -> bool:
        subprocess.run(self.floor_words(), check=True, cwd=ROOT)
        return False

    def floor_words(self) -> list[str]:
        """A fabfile whose only task runs `true`, through the relay like the others."""
        [(_, host)] = job.through(self.contract, self.ports[:1]).hosts
        return floor_fabfile(self.bench.folder, self.bench.stack.kit, host)

    def explain(self, last: Path, delay_ms: int) -> None:
        """Print where our time beyond the floor goes, both sides phase by phase."""
        ours = ["deploy", "--stack", self.bench.stack.name, "--outputs", str(last / "outputs.json")]
        sides, file = (ours, self.floor_words()[1:]), self.bench.folder / "phases.json"
        environment = self.bench.stack.kit.environment
        rounds = [
            [phases.measured(words, environment, file) for words in sides]
            for _ in range(self.turns or 5)
        ]
        say(f"\nunchanged, 1 host, {delay_ms} ms: seconds by phase\n")
        say("\n".join(head("phase", "floor", "origin-kit", "beyond")))
        for phase in (*phases.PHASES, "on the host", "together"):
            we, floor = (statistics.median(one[side][phase] for one in rounds) for side in (0, 1))
            name = "of the exchange, on the host" if phase == "on the host" else phase
            say(row(name, f"{floor:.2f}", f"{we:.2f}", f"{we - floor:+.2f}"))
        say("")


def in_turn(
    contenders: dict[str, Contender], turns: int, job: Callable[[], Path], *, changes: bool
) -> dict[str, list[float]]:
    """Each contender's seconds, taken A B C A B C …; making a job is not part of them."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, contender in contenders.items():
            work = job()
            started = time.perf_counter()
            changed = contender(work)
            times[name].append(time.perf_counter() - started)
            assert changed == changes, (
                f"{name} says that it changed {'something' if changed else 'nothing'}"
            )
    return times


def say(text: str) -> None:
    print(text, flush=True)


def floor_row(cell: Cell) -> str:
    ratio, floor = cell.ratio("floor"), statistics.median(cell.seconds["floor"])
    ours = statistics.median(cell.seconds["ours"])
    return row(
        f"{cell.delay_ms} ms",
        f"{floor:.2f} s",
        f"{ours:.2f} s",
        f"{ratio:.2f} ×",
        at_most(ratio, FLOOR),
    )


def measure(
    bench: Bench, hosts: Sequence[int], delays: Sequence[int], turns: int | None
) -> list[Cell]:
    """Every cell, shown as it comes."""
    found: list[Cell] = []
    run = Run(bench, bench.stack.contract, turns)
    for delay_ms in delays:
        with relay.relayed(delay_ms, run.routes):
            for count in hosts:
                for cell in run.cells(count, delay_ms):
                    found.append(cell)
                    say(cell.row())
    return found


def cells_table(cells: Sequence[Cell]) -> list[str]:
    """Every cell, in the order of the page."""
    headings = ("origin-kit", "one by one", *PEERS, "the job itself", "ours / best peer", "wanted")
    ordered = sorted(cells, key=lambda cell: (cell.kind == "changed", cell.hosts, cell.delay_ms))
    return [*head("", "hosts", "added", *headings), *(cell.row() for cell in ordered)]


def floors_table(cells: Sequence[Cell]) -> list[str]:
    """Those of one host where nothing changed."""
    floors = [floor_row(cell) for cell in cells if "floor" in cell.seconds]
    return [*head("added", "floor", "origin-kit", "ratio", "wanted"), *floors]


def report(cells: Sequence[Cell], versions: dict[str, str]) -> None:
    """The tables of docs/benchmarks.md; UPDATE_DOCS=1 writes them there."""
    say(f"\nAnsible is ansible-core {versions['Ansible']}, pyinfra is {versions['pyinfra']}.\n")
    say("\n".join(cells_table(cells)))
    floors = floors_table(cells)
    say("\nUnchanged on one host, against a fabfile whose only task runs `true` there:\n")
    say("\n".join(floors))
    update(cells=cells_table(cells), floors=floors)


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--hosts", type=numbers, default=HOSTS, help="e.g. 1,4")
    parser.add_argument("--delays", type=numbers, default=DELAYS, help="milliseconds, e.g. 0,100")
    parser.add_argument("--turns", type=int, help="how often each contender works in a cell")
    chosen = parser.parse_args()
    # Short: a socket's path, Ansible's below this folder, has at most 108 bytes.
    with tempfile.TemporaryDirectory(prefix="peers-", dir="/tmp") as name:
        folder = Path(name)
        with Stack.of(Kit(folder / "home", {UNBALANCED: "1"})) as stack:
            stack.write(backend_count=max(chosen.hosts))
            stack.kit.fab("up", "--stack", stack.name, timeout=UP_S)
            bench = Bench(stack, folder)
            versions = bench.install()
            cells = measure(bench, chosen.hosts, chosen.delays, chosen.turns)
        report(cells, versions)


if __name__ == "__main__":
    main()
