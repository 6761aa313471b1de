"""The release of a backend or a frontend: its id, its archive, and the orders that ship it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.core.home import cache_folder, locked
from on_host import protocol
from on_host.answers import FactsAnswer
from on_host.generations import Generation
from on_host.page_files import has_pages
from on_host.protocol import Probes, ReleaseRollbackOrders, ShipOrders
from on_host.release.modules import files_of
from rollout.release import left_out
from rollout.release.archive import forget_old, pack, sound, tree_digest
from rollout.release.errors import ReleaseError, disk_errors_reported
from rollout.release.needs import requirements
from rollout.release.picked import Entry, pick_backend, pick_frontend
from rollout.release.source import Source, page
from rollout.release.target import Target
from rollout.release.wheels import Wheels, wheels
from rollout.release.workshop import Workshop

FORMAT = "2"  # of what the host makes of an archive; another one makes every id another
HAS_PAGES = (
    "the site has a 404.html and several pages. `single_page: false` in the stack's config answers"
    " any other address with the 404.html; now it is index.html"
)
NO_GIT = "no git"
CHANGED = "+changes"  # behind a commit: the files were not as in it
_KEPT_ARCHIVES = 8

Say = Callable[[str], None]
Advance = Callable[[float, str], None]


@dataclass(frozen=True)
class Release:
    """`id` is twelve hex digits over everything that is shipped; `label` says where it is from,
    `commit` and `changed` what git says of that place."""

    id: str
    role: str
    label: str
    commit: str | None
    entries: tuple[Entry, ...]
    wheels: Wheels | None = None
    changed: bool = False

    @property
    def revision(self) -> str:
        """The application's commit, for people."""
        if self.commit is None:
            return NO_GIT
        short = self.commit[:12]
        return short + CHANGED if self.changed else short

    def rests_on(self, facts: FactsAnswer) -> bool:
        """Whether a host with these facts serves this release already, with nothing half-done."""
        return facts["release"] == self.id and bool(facts["settled"])

    @disk_errors_reported()
    def archive(self, facts: FactsAnswer, on_progress: Advance) -> Path | None:
        """The file for a host with these facts, made where it does not exist yet, or is damaged;
        None for a host that has it unpacked."""
        if self.id in facts["releases"]:
            return None
        wheels = self._missing_wheels(facts)
        name = f"{self.id}-wheels" if wheels else self.id
        place = cache_folder("releases") / f"{name}.tar.gz"
        with locked(place.parent / ".lock"):
            if sound(place):
                os.utime(place)  # it is in use: not the one to remove
                return place
            for leftover in place.parent.glob("new-*"):  # of a run that was killed
                leftover.unlink()
            sent = wheels.digests(on_progress) if wheels else {}
            tree = "app" if self.role == "backend" else "site"
            pack(place, tree, self.entries, sent, on_progress)
            forget_old(place.parent, _KEPT_ARCHIVES)
        return place

    def _missing_wheels(self, facts: FactsAnswer) -> Wheels | None:
        """The wheels, where the host has no environment of them yet."""
        if self.wheels is None or self.wheels.lock in facts["venvs"]:
            return None
        return self.wheels

    def orders(
        self,
        facts: FactsAnswer,
        app: str,
        who: str,
        *,
        archive: Path | None = None,
        wsgi: str = "",
        settings: str = "",
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        unit: str = "",
        generation: Generation | None = None,
        probes: Probes | None = None,
    ) -> ShipOrders:
        """The orders of a ship; `archive` is what `archive()` returned, and is sent as the blob:
        made again here if it was damaged meanwhile.

        `files` are by path below the folder that stands for the generation,
        `django/origin_kit_settings.py` among them. `unit` is the text of the application's service:
        its code is run within the same limits. `generation` and `probes` are the configuration of
        the host, for a release that the one there can't run.
        """
        return {
            "verb": protocol.SHIP,
            "app": app,
            "role": self.role,
            "who": who,
            "id": self.id,
            "label": self.label,
            "commit": self.commit,
            "revision": self.revision,
            "digest": self._digest(facts, archive) if archive else None,
            "size": archive.stat().st_size if archive else 0,
            "lock": self.wheels.lock if self.wheels else None,
            "wheels": self.wheels.names if self.wheels else {},
            "wsgi": wsgi,
            "settings": settings,
            "files": dict(files or {}),
            "env": dict(env or {}),
            "secrets": dict(secrets or {}),
            "unit": unit,
            "generation": generation,
            "probes": probes or {},
        }

    def _digest(self, facts: FactsAnswer, archive: Path) -> str:
        digest = sound(archive)
        if digest is None:
            self.archive(facts, lambda part, doing: None)
            digest = sound(archive)
        if digest is None:
            raise ReleaseError(
                f"{archive} vanishes as soon as it is made",
                cure="is something cleaning up there? run it again",
            )
        return digest


def rollback_orders(
    app: str,
    role: str,
    who: str,
    to: str | None = None,
    leaving: str | None = None,
) -> ReleaseRollbackOrders:
    """The orders of a rollback of the code: to the release that served before this one, or to the
    one named; only if `leaving` still serves, where it is given."""
    return {
        "verb": protocol.RELEASE_ROLLBACK,
        "app": app,
        "role": role,
        "who": who,
        "to": to,
        "from": leaving,
    }


@disk_errors_reported()
def build_backend(
    source: Source,
    wsgi: str,
    settings: str,
    target: Target,
    on_step: Say,
    on_progress: Advance,
    may_build: Collection[str] = (),
    needs: str = "",
    ship_also: Collection[str] = (),
    workshop: Workshop | None = None,
) -> Release:
    """The release of a Django project for one kind of host. Nothing is packed yet; unchanged, it
    takes milliseconds.

    What has no wheel is built in `workshop`; without one only what is in `may_build`, which runs
    its code here. `needs` is the requirements file, where it is not the usual one; `ship_also`
    names files that are left out otherwise.

    Raises ReleaseError for a project that lacks its modules or requirements, or whose wheels can't
    be had.
    """
    picked = pick_backend(source, ship_also)
    entries = picked.entries
    require_module(source, entries, "wsgi", wsgi.split(":")[0])
    require_module(source, entries, "settings", settings)
    for line in left_out.lines(picked.left_out):
        on_step(line)
    fetched = wheels(requirements(source, needs), target, on_step, on_progress, may_build, workshop)
    return of_entries("backend", source, entries, fetched)


@disk_errors_reported()
def build_frontend(
    folder: Path,
    on_step: Say = lambda text: None,
    ship_also: Collection[str] = (),
    single_page: bool = True,
    source: Source | None = None,
) -> Release:
    """The release of a folder of built files. Raises ReleaseError where there is none, or no
    index.html in it.

    `single_page` is the stack's; whether it fits is said, no more. `source` is what is known of the
    folder, where it is of a commit that is not checked out.
    """
    if not folder.is_dir():
        raise ReleaseError(
            f"there is no folder {folder}",
            where="frontend_path",
            cure="build the page first, or correct the path",
        )
    picked = pick_frontend(folder, ship_also)
    entries = picked.entries
    if "index.html" not in [entry.path for entry in entries]:
        what = "has no index.html" if entries else "is empty"
        raise ReleaseError(
            f"{folder} {what}",
            where="frontend_path",
            cure="name the folder that your build writes, e.g. dist",
        )
    for line in left_out.lines(picked.left_out):
        on_step(line)
    if single_page and has_pages(entry.path for entry in entries):
        on_step(HAS_PAGES)
    return of_entries("frontend", source or page(folder), entries)


def require_module(
    source: Source,
    entries: list[Entry],
    key: str,
    module: str,
) -> None:
    """Raise ReleaseError where the entries lack a module that the config's `key` names."""
    files = files_of(module)
    shipped = {entry.path for entry in entries}
    if not shipped.isdisjoint(files):
        return
    for file in files:
        if (source.folder / file).exists():
            raise ReleaseError(
                f"{file} in {source.label} is ignored by git, so it is not shipped",
                where=key,
                cure="un-ignore it",
            )
    raise ReleaseError(
        f"{source.label} has no {files[0]} for {module!r}",
        where=key,
        cure=f"correct `{key}` in the stack's config",
    )


def of_entries(
    role: str,
    source: Source,
    entries: list[Entry],
    fetched: Wheels | None = None,
) -> Release:
    """The release of these files and wheels: its id is their content."""
    lock = fetched.lock if fetched else None
    facts = [FORMAT, role, tree_digest(entries), lock]
    identity = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    label, commit, changed = source.label, source.commit, source.changed
    return Release(identity, role, label, commit, tuple(entries), fetched, changed)
