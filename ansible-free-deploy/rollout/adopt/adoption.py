"""Adopt a project: read it, check what was asked for, and write the config of a stack for it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.core import debian
from infra.core.home import LocalCloudError
from infra.core.keys import KEYS
from infra.local import image
from rollout import python, report
from rollout.adopt.called import Calls, calls_of
from rollout.adopt.classes import VARIABLE
from rollout.adopt.cors import Carried, carry
from rollout.adopt.decisions import findings
from rollout.adopt.findings import added_settings, changes, overview, url_path
from rollout.adopt.page import offered
from rollout.adopt.project import Project
from rollout.adopt.reading import read
from rollout.adopt.stack import text
from rollout.adopt.values import AdoptError
from rollout.finding import Finding
from rollout.release.errors import disk_errors_reported
from rollout.stacks import ROOT

_STACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")
_WIDTH = 110


def _defaults() -> dict[str, Any]:
    """The defaults of a stack's config, as they are written there."""
    defaults: dict[str, Any] = {}
    for key in KEYS.values():
        if not key.is_required:
            defaults[key.name] = key.schema["default"]
    return defaults


DEFAULTS = _defaults()


@dataclass(frozen=True)
class Adopted:
    """What is known of a project, and the config that was written for it; `values` are its keys."""

    project: Project
    values: dict[str, Any]
    findings: tuple[Finding, ...]
    config: Path

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        project = self.project
        stack = self.config.name.removeprefix("Pulumi.").removesuffix(".yaml")
        yield f"reads {place(project.manage)}: runs nothing of it, changes nothing in it"
        frontend = self.values.get("frontend_path")
        debian_image = self.values.get("image", "")
        yield _table(overview(project, frontend, debian_image))
        yield "on the host the kit's settings module comes after the project's"
        rows = changes(project, DEFAULTS | self.values)
        yield _table([("setting", "now", "then", "where"), *rows])
        added = ", ".join(added_settings(project))
        yield _filled(f"sets too: {added}")
        if self.findings:
            yield "to decide"
        for number, finding in enumerate(self.findings, 1):
            yield f"  {number}. {finding}"
        yield f"wrote {place(self.config)}; next: `fab up --stack {stack}`"


@disk_errors_reported()
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
    """Read the project in `path`, and write the config of a stack for it.

    The file is written last, after the whole report is made. Raises AdoptError for what is no
    Django project, for a frontend that is none, and for a stack that exists, unless `force` is to
    replace its file.
    """
    project = read(path, settings, wsgi)
    name = stack or project.application
    config = _config_file(stacks, name, force)
    page = _frontend(project, frontend)
    carried = carry(project)
    values = _values(project, page, carried)
    folder = ROOT / page if page else None
    calls = calls_of(folder) if folder else Calls()
    decided = findings(project, carried, folder, calls)
    adopted = Adopted(project, values, tuple(decided), config)
    str(adopted)  # an error in the report leaves no file behind
    proposed = carried.offered | offered(calls)
    config.write_text(text(values, proposed, project.reads, name))
    return adopted


def _config_file(stacks: Path, name: str, force: bool) -> Path:
    if not _STACK.fullmatch(name):
        raise AdoptError(
            f"--stack {name!r} is no name for a stack", cure="use letters, digits, - and _"
        )
    config = stacks / f"Pulumi.{name}.yaml"
    if config.exists() and not force:
        raise AdoptError(
            f"{place(config)} is there already",
            cure="pass --stack NAME for another one, or --force to replace it",
        )
    return config


def _values(
    project: Project,
    page: str | None,
    carried: Carried,
) -> dict[str, Any]:
    """The keys of the stack's config, in the order of the file."""
    values: dict[str, Any] = {
        "cloud": "local",
        "application": project.application,
        "backend_path": place(project.root),
        "wsgi": project.wsgi,
        "settings": project.settings,
    }
    if page:
        values["frontend_path"] = page
    debian_image = _image(project)
    if debian_image:
        values["image"] = debian_image
    for key in ("static_url", "media_url"):
        url = url_path(project, key.upper())
        if url and url != DEFAULTS[key]:
            values[key] = url
    values |= carried.values
    environment = _environment(project)
    if environment:
        values["env"] = environment
    return values


def _image(project: Project) -> str:
    """Another Debian than this host's, where only that has the project's Python; else ""."""
    try:
        here = debian.RELEASES.get(image.host_release())
    except LocalCloudError:
        return ""
    wanted = python.requires(project.root)
    if not wanted or here is None or debian.meets(here, wanted):
        return ""
    fitting = debian.fitting(wanted)
    return fitting.name if fitting else ""


def _environment(project: Project) -> dict[str, str]:
    """The variables that the settings need so that they are read as on a host."""
    variables = {}
    if project.configuration:
        variables[VARIABLE] = project.configuration
    if project.debug_off:
        name, value = project.debug_off
        variables[name] = value
    return variables


# --------------------------------------------------------------------------------------- frontend


def _frontend(project: Project, given: Path | None) -> str | None:
    """The folder that was named, else a built one in the project or next to it."""
    if given is None:
        return _built_frontend(project)
    if not (given / "index.html").is_file():
        raise AdoptError(
            f"--frontend {given} has no index.html",
            cure="name the folder that your build writes, e.g. dist",
        )
    return place(given.resolve())


def _built_frontend(project: Project) -> str | None:
    folders = []
    for base in (project.root, project.root.parent):
        folders += [base / name for name in ("frontend", "client", "web", "ui")]
    built = []
    for folder in (*folders, project.root):
        built += [folder / name for name in ("dist", "build", "out")]
    plain = [folder for folder in folders if not (folder / "package.json").exists()]
    for folder in (*built, *plain):
        if (folder / "index.html").is_file():
            return place(folder)
    return None


# --------------------------------------------------------------------------------------- the report


def place(path: Path) -> str:
    """A path as the stack's config has it: relative to the kit's folder where it is inside."""
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return str(path)


def _table(rows: Sequence[Sequence[str]]) -> str:
    return textwrap.indent(report.table(rows[0], rows[1:]), "  ")


def _filled(line: str) -> str:
    return textwrap.fill(
        line,
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
    )
