"""A pair that runs an application which attacks its host, for whoever writes a script that root runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.e2e.kit import ROOT, Kit, Stack

APP = Path(__file__).with_name("hostile_app")
# Everything that only root may change, and that no deploy of the kit changes once a pair is set up.
_HOLDINGS = "find /etc /usr /root -xdev -path /etc/origin-kit -prune -o -printf '%p %u %g %m %l\\n'"
# What lies in /opt and is not root's, can be written by others, or is a link or worse among static files.
_STRANGE = (
    "find /opt ! -user root -o ! -group root -o ! -type l -perm /7022; "
    "find /opt/trap/releases -path '*/static' -type l -o -path '*/static/*' ! -type f ! -type d"
)
# Units and processes of the application's code that outlived the command that they were started for.
_LEFT = (
    "systemctl list-units -q --plain --no-legend 'origin-kit-code-*'; "
    "for p in $(pgrep -u trap); do grep -q '/trap.service$' /proc/$p/cgroup || ps -o pid=,args= $p; done"
)


@dataclass(frozen=True)
class Hostile:
    """The stack, the copy of the project that it ships, and what the backend's root owned once it was up."""

    stack: Stack
    project: Path
    before: set[str]

    def becomes(self, mode: str, requirements: str = "") -> None:
        """Another release of it; see hostile_app/README.md for the modes."""
        (self.project / "trap" / "mode.py").write_text(f"MODE = {mode!r}\n")
        own = (APP / "requirements.txt").read_text()
        (self.project / "requirements.txt").write_text(requirements + own)

    def ssh(self, command: str) -> str:
        return self.stack.kit.ssh(self.stack.contract.backend.hosts[0], command)

    def damage(self) -> set[str]:
        """What changed owner, mode or target, is strange in /opt, or still runs; none of it is wanted."""
        now = holdings(self.stack)
        return (now ^ self.before) | set(self.ssh(f"{_STRANGE}; {_LEFT}; true").splitlines())

    def attacks(self) -> str:
        """What the application notes that it could do."""
        return self.ssh("cat /var/lib/trap/attacks")


def holdings(stack: Stack) -> set[str]:
    """Path, owner, group, mode and target of everything on the backend that is root's own."""
    return set(stack.kit.ssh(stack.contract.backend.hosts[0], _HOLDINGS).splitlines())


@contextmanager
def hostile_pair(home: Path) -> Iterator[Hostile]:
    """Up, with the attacking workers running."""
    project = ROOT / "artifacts" / f"hostile-{uuid4().hex[:6]}"
    shutil.copytree(APP, project, ignore=shutil.ignore_patterns("__pycache__"))
    try:
        with Stack.of(Kit(home)) as stack:
            stack.write(
                application="trap", wsgi="trap.wsgi:application", settings="trap.settings",
                backend_path=str(project.relative_to(ROOT)),
            )  # fmt: skip
            stack.fab("up")
            yield Hostile(stack, project, holdings(stack))
    finally:
        shutil.rmtree(project)
