"""The figures of docs/benchmarks.md: `make bench`. Ratios are taken within one run, in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from infra.core.contract import Host
from tests.support.kit import FAB, ROOT, Kit

STACK = "local"
TURNS = 9


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turn(*works: Callable[[], object]) -> list[list[float]]:
    """Each work's times, taken A B A B …, after one warm-up round."""
    for work in works:
        work()
    rounds = [[seconds(work) for work in works] for _ in range(TURNS)]
    return [list(column) for column in zip(*rounds, strict=True)]


def floor_fabfile(folder: Path, kit: Kit, host: Host) -> list[str]:
    """A fabfile whose only task runs `true` on the same host: what Fabric itself costs."""
    key = kit.home / "ssh" / "id_ed25519"
    text = f"""
        from fabric import Connection, task

        @task
        def nothing(c):
            keys = {{"key_filename": "{key}"}}
            there = dict(port={host.port}, user="{host.user}", connect_kwargs=keys)
            Connection("{host.address}", **there).run("true")
    """
    (folder / "fabfile.py").write_text(textwrap.dedent(text))
    return [FAB, "--search-root", str(folder), "nothing"]


def deploys(kit: Kit, stack: str, folder: Path) -> list[list[float]]:
    """Times of `fab deploy` with nothing to do, and of a fabfile that runs `true` on a host."""
    floor = floor_fabfile(folder, kit, kit.contract(stack).backend.hosts[0])
    return in_turn(
        lambda: kit.fab("deploy", "--stack", stack),
        lambda: subprocess.run(floor, check=True, cwd=ROOT),
    )


def pss_mb(pid: int) -> float:
    """Proportional set size of a machine: its init and everything below, in MiB."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder.name))
    todo, total = [pid], 0
    while todo:
        one = todo.pop()
        todo += children.get(one, [])
        try:
            rollup = Path("/proc", str(one), "smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(
            int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
        )
    return total / 1024


CLASSES = {
    "aws": "ec2.Instance, ec2.Vpc, iam.Role, vpc.SecurityGroupIngressRule",
    "gcp": "compute.Instance, compute.Network, serviceaccount.Account",
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKEuSMBaet2WqKLQAGmX5AIBdotxpQcDqIVBB7a99c3"


def program_start(cloud: str, folder: Path) -> float:
    """The whole program, run against a monitor, over bare imports of pulumi and the classes it uses
    (median ratio)."""
    (folder / "key.pub").write_text(KEY)
    modules = sorted({name.split(".")[0] for name in CLASSES[cloud].split(", ")})
    bare = (
        f"import pulumi, pulumi_tls; from pulumi_{cloud} import {', '.join(modules)};"
        f" {CLASSES[cloud]}"
    )
    ours = (
        f"from tests.support import graph; graph.program('{cloud}-dev',"
        f" ssh_key_file='{folder}/key.pub')"
    )
    times = in_turn(
        *[
            partial(subprocess.run, [sys.executable, "-c", code], check=True, cwd=ROOT)
            for code in (ours, bare)
        ]
    )
    return float(statistics.median(a / b for a, b in zip(*times, strict=True)))


def line(name: str, value: str, wanted: str) -> None:
    print(f"{name:<58} {value:>12}   wanted {wanted}", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for cloud in CLASSES:
            ratio = program_start(cloud, Path(folder))
            line(
                f"the program on {cloud} / bare imports of what it uses",
                f"{ratio:.2f} ×",
                "< 1.3 ×",
            )
        kit = Kit(Path(folder) / "home")
        try:
            measure(kit, Path(folder))
        finally:
            kit.fab("down", "--yes", "--stack", STACK)


def measure(kit: Kit, folder: Path) -> None:
    kit.fab("up", "--stack", STACK)
    kit.fab("down", "--yes", "--stack", STACK)
    line(
        "warm `fab up` from an existing base image",
        f"{seconds(lambda: kit.fab('up', '--stack', STACK)):.1f} s",
        "< 25 s",
    )
    line(
        "the second, no-change run",
        f"{seconds(lambda: kit.fab('up', '--stack', STACK)):.2f} s",
        "< 4 s",
    )
    for record in sorted(kit.home.glob("machines/*/machine.json")):
        data = json.loads(record.read_text())
        line(
            f"memory of {data['name']} (summed PSS)", f"{pss_mb(data['pid']):.0f} MiB", "< 120 MiB"
        )
        line(f"SSH on {data['name']} after its start", f"{data['ssh_after_s']:.2f} s", "< 3 s")
    ours, theirs = deploys(kit, STACK, folder)
    line("a fabfile whose only task runs `true` (median)", f"{statistics.median(theirs):.2f} s", "")
    line(
        "`fab deploy` with nothing to do, two hosts (median)",
        f"{statistics.median(ours):.2f} s",
        "",
    )
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    line("  ratio, pair by pair (median)", f"{ratio:.2f} ×", "< 1.6 ×")


if __name__ == "__main__":
    main()
