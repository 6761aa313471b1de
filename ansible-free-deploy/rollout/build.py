"""`fab build`: what `fab ship` would put on the hosts of a stack, in a file, without asking a host.

It is for a job without credentials: it runs the project's builds, where there are any, and a job
with credentials ships the file.
"""

from __future__ import annotations

import platform
from pathlib import Path

from infra.core.settings import Settings
from rollout import python, report
from rollout.release import ReleaseError, Target, handed_over
from rollout.ship import Builder

_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # as clouds say it → as `uname -m` does


def build(settings: Settings, place: Path) -> list[str]:
    """Write the releases of a stack's roles to `place`; a line for each. Raises ReleaseError."""
    target = target_of(settings)
    builder = Builder(settings)
    releases = [builder.made_for("frontend", None)]
    if settings.backend_count:
        releases.append(builder.made_for("backend", target))
    with report.progress("build") as advance:
        handed_over.write(place, releases, target, advance)
    lines = []
    for built in releases:
        lines.append(f"{built.role}: release {built.id} of {built.label} ({built.revision})")
    return lines


def target_of(settings: Settings) -> Target:
    """The kind of host that the stack's config asks for. Raises ReleaseError where only a host
    could say."""
    release = python.release_of(settings)
    if release is None:
        raise ReleaseError(
            "which Debian the hosts have is not known here",
            where="image",
            cure="name it in the stack's config: trixie or bookworm",
        )
    machine = platform.machine()
    if settings.cloud != "local":
        machine = _MACHINES[settings.architecture]
    return Target(release.version, machine, release.glibc)
