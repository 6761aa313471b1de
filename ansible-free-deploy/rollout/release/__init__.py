"""A release: what is put on a host, by an id that is its content.

source = release.source_of(settings)               # local(folder) or from_git(url, ref, inside)
built = release.build_backend(source, wsgi, settings, Target.of(facts), on_step, on_progress)
if not built.rests_on(facts):
    session.ask(SHIP, built.orders(facts, …), blob=built.archive(facts, on_progress))
"""

from __future__ import annotations

from rollout.release.errors import ReleaseError
from rollout.release.release import (
    CHANGED,
    NO_GIT,
    Release,
    build_backend,
    build_frontend,
    rollback_orders,
)
from rollout.release.source import Source, from_git, local, page_of, source_of
from rollout.release.target import Target
from rollout.release.unpacked import Unpacked, unpacked
from rollout.release.workshop import Workshop

__all__ = [
    "CHANGED",
    "NO_GIT",
    "Release",
    "ReleaseError",
    "Source",
    "Target",
    "Unpacked",
    "Workshop",
    "build_backend",
    "build_frontend",
    "from_git",
    "local",
    "page_of",
    "rollback_orders",
    "source_of",
    "unpacked",
]
