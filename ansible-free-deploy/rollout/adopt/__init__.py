"""Adopt a Django project: read it, say what will change and what conflicts, write the config of a
stack for it.

The project is read as text. Nothing of it is imported, run or changed.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from infra.core import debian
from infra.core.home import LocalCloudError
from infra.core.settings import Settings
from infra.local import image
from rollout import python, report
from rollout.adopt.classes import VARIABLE
from rollout.adopt.cors import carry
from rollout.adopt.decisions import findings
from rollout.adopt.findings import changes, found, new, url_path
from rollout.adopt.project import Project, read
from rollout.adopt.stack import text
from rollout.adopt.values import AdoptError
from rollout.finding import Finding
from rollout.outputs import ROOT
from rollout.release.source import told

__all__ = ["AdoptError", "Adopted", "adopt"]

_STACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")
DEFAULTS = {
    one.name: list(one.default) if isinstance(one.default, tuple) else one.default
    for one in fields(Settings)
    if one.default is not MISSING
}


@dataclass(frozen=True)
class Adopted:
    """What is known of a project, and the config that was written for it; `values` are what stands
    in that."""

    project: Project
    values: dict[str, Any]
    findings: tuple[Finding, ...]
    config: Path

    def __str__(self) -> str:
        project = self.project
        rows = changes(project, DEFAULTS | self.values)
        stack = self.config.name.removeprefix("Pulumi.").removesuffix(".yaml")
        parts = [
            f"reads {place(project.manage)}: runs nothing of it, changes nothing in it",
            _table(found(project, self.values.get("frontend_path"), self.values.get("image", ""))),
            "on the host the kit's settings module comes after the project's",
            _table([("setting", "now", "then", "where"), *rows]),
            _filled("sets too: " + ", ".join(new(project))),
            "to decide" if self.findings else "",
            *(f"  {number}. {finding}" for number, finding in enumerate(self.findings, 1)),
            f"wrote {place(self.config)}; next: `fab up --stack {stack}`",
        ]
        return "\n".join(filter(None, parts))


@told()
def adopt(
    path: Path,
    stack: str | None = None,
    frontend: Path | None = None,
    stacks: Path = ROOT / "stacks",
    *,
    settings: str | None = None,
    wsgi: str | None = None,
    force: bool = False,
) -> Adopted:
    """Raises AdoptError for what is no Django project, for a frontend that is none, and for a stack
    that exists, unless `force` is to replace its file. The file is written last, when all that
    there is to say has been said.
    """
    project = read(path, settings, wsgi)
    name = stack or project.application
    if not _STACK.fullmatch(name):
        raise AdoptError(f"--stack {name!r} is no name for a stack; use letters, digits, - and _")
    config = stacks / f"Pulumi.{name}.yaml"
    if config.exists() and not force:
        raise AdoptError(
            f"{place(config)} is there already; pass --stack NAME for another one, or --force to"
            " replace it"
        )
    page, carried = _frontend(project, frontend), carry(project)
    values = {
        "cloud": "local",
        "application": project.application,
        "backend_path": place(project.root),
        "wsgi": project.wsgi,
        "settings": project.settings,
        **({"frontend_path": page} if page else {}),
        **_image(project),
        **_urls(project),
        **carried.values,
        **_environment(project),
    }
    folder = ROOT / page if page else None
    result = Adopted(project, values, tuple(findings(project, carried, page, folder)), config)
    str(result)
    config.write_text(text(values, carried.offered, project.reads, name))
    return result


def _image(project: Project) -> dict[str, str]:
    """Another Debian than this host's, where the project's Python is there and not here."""
    try:
        here = debian.RELEASES.get(image.host_release())
    except LocalCloudError:
        return {}
    wanted = python.requires(project.root)
    fits = debian.fitting(wanted) if wanted and here and not debian.meets(here, wanted) else None
    return {"image": fits.name} if fits else {}


def _environment(project: Project) -> dict[str, dict[str, str]]:
    """What the settings need so that they are read as a host has to."""
    classes = {VARIABLE: project.configuration} if project.configuration else {}
    found = classes | dict([project.debug_off] if project.debug_off else [])
    return {"env": found} if found else {}


def _urls(project: Project) -> dict[str, str]:
    """Where they are not the usual ones."""
    found = {key: url_path(project, key.upper()) for key in ("static_url", "media_url")}
    return {key: url for key, url in found.items() if url and url != DEFAULTS[key]}


def _frontend(project: Project, given: Path | None) -> str | None:
    """The folder that was named, else a built one in the project or beside it."""
    if given is not None:
        if not (given / "index.html").is_file():
            raise AdoptError(
                f"--frontend {given} has no index.html; name the folder that your build writes,"
                " e.g. dist"
            )
        return place(given.resolve())
    folders = [
        base / name
        for base in (project.root, project.root.parent)
        for name in ("frontend", "client", "web", "ui")
    ]
    built = [
        folder / name for folder in (*folders, project.root) for name in ("dist", "build", "out")
    ]
    plain = [folder for folder in folders if not (folder / "package.json").exists()]
    return next(
        (place(folder) for folder in (*built, *plain) if (folder / "index.html").is_file()), None
    )


def place(path: Path) -> str:
    """A path as the stack's config has it: relative to the kit's folder where it is inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _table(rows: Sequence[Sequence[str]]) -> str:
    return textwrap.indent(report.table(rows[0], rows[1:]), "  ")


def _filled(line: str) -> str:
    return textwrap.fill(line, 110, initial_indent="  ", subsequent_indent="  ")
