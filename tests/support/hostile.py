"""A pair that runs an application which attacks its host, for whoever writes a script that root
runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from infra.core.contract import Host
from tests.support.kit import ROOT, Kit, Stack

APP = Path(__file__).parents[1] / "e2e" / "hostile_app"
# Everything that only root may change, and that no deploy of the kit changes once a pair is set up.
_HOLDINGS = (
    "find /etc /usr/bin /usr/sbin /usr/local /usr/lib/systemd /root -xdev -path /etc/origin-kit"
    " -prune -o -printf '%p %u %g %m %l\\n' | sort"
)
_BEFORE = "/run/hostile-before"
# What lies in /opt and is not root's, can be written by others, or is a link or worse among static
# files. Code and its environment are folders that the application's group may enter and read.
_STRANGE = (
    "find /opt ! -user root -o ! -group root ! '(' -type d -group trap -perm 0750 ')' -o ! -type l"
    " -perm /7022; find /opt/trap/releases -path '*/static' -type l -o -path '*/static/*' ! -type f"
    " ! -type d"
)
# Units and processes of the application's code that outlived the command that they were started
# for.
_LEFT = (
    "systemctl list-units -q --plain --no-legend 'origin-kit-code-*'; for p in $(pgrep -u trap); do"
    " grep -q '/trap.service$' /proc/$p/cgroup || ps -o pid=,args= $p; done"
)


@dataclass(frozen=True)
class Hostile:
    """The stack, its backend, and the copy of the project that it ships."""

    stack: Stack
    backend: Host
    project: Path

    def becomes(self, mode: str, requirements: str = "") -> None:
        """Another release of it; see hostile_app/README.md for the modes."""
        (self.project / "trap" / "mode.py").write_text(f"MODE = {mode!r}\n")
        own = (APP / "requirements.txt").read_text()
        (self.project / "requirements.txt").write_text(requirements + own)

    def ssh(self, command: str) -> str:
        return self.stack.kit.ssh(self.backend, command)

    def damage(self) -> str:
        """What changed owner, group, mode or target since it was up, is strange in /opt, or still
        runs."""
        return self.ssh(f"{_HOLDINGS} | diff {_BEFORE} -; {_STRANGE}; {_LEFT}; true")

    def attacks(self) -> str:
        """What the application notes that it could do."""
        return self.ssh("cat /var/lib/trap/attacks")


@contextmanager
def hostile_pair(home: Path, **config: object) -> Iterator[Hostile]:
    """Up, with the attacking workers running; `config` is more of the stack's."""
    project = ROOT / "artifacts" / f"hostile-{uuid4().hex[:6]}"
    shutil.copytree(APP, project, ignore=shutil.ignore_patterns("__pycache__"))
    try:
        with Stack.of(Kit(home), "", **config) as stack:
            stack.write(
                application="trap",
                wsgi="trap.wsgi:application",
                settings="trap.settings",
                backend_path=str(project.relative_to(ROOT)),
            )
            stack.fab("up")
            pair = Hostile(stack, stack.contract.backend.hosts[0], project)
            pair.ssh(f"{_HOLDINGS} > {_BEFORE}")
            yield pair
    finally:
        shutil.rmtree(project)
