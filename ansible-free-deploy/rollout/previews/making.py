"""The settings of a preview, from the template: what `fab preview.up` writes for a branch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.core import exits, previews, topology
from infra.core.errors import KitError
from infra.core.keys import KEYS
from infra.core.keys.previews import FRONTEND
from infra.core.settings import Settings, SettingsError
from infra.core.stackfile import as_text, read_config, stack_values
from rollout import deploy, stacks
from rollout.previews import template
from rollout.previews.branches import Checkout
from rollout.previews.lifetime import stamp
from rollout.previews.living import Known
from rollout.previews.permitted import refuse_closed
from rollout.previews.running import running_of
from rollout.stacks import PROJECT, ROOT

_CI_USERS = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN")
_NOBODYS = "build.invalid"


class BranchNameError(KitError):
    """No preview may have this branch's name."""

    exit_status = exits.USAGE


@dataclass(frozen=True)
class Template:
    """The template, read once. `config` are its values as Pulumi hands them to a program."""

    text: str
    config: Mapping[str, str]

    @classmethod
    def read(cls) -> Template:
        """Raises TemplateError where there is none, StackFileError for one that is no YAML."""
        return cls(template.text(), read_config(ROOT, previews.TEMPLATE))

    @property
    def cloud(self) -> str:
        return self.config.get("cloud", "")

    @property
    def ttl_h(self) -> int:
        """Of a preview that says nothing itself."""
        return int(self.config.get("preview_ttl_h") or KEYS["preview_ttl_h"].default)

    @property
    def slots(self) -> int:
        """How many slots there may be; 0 where each branch has names of its own."""
        return int(self.config.get("preview_slots") or KEYS["preview_slots"].default)

    @property
    def has_no_backend(self) -> bool:
        """Whether its previews are a page alone, which calls another environment's backend."""
        return self.config.get("preview_mode") == FRONTEND

    @property
    def attaches_to(self) -> str:
        """The environment that previews of this template attach to; empty for full ones."""
        return self.config.get("attach_to", "") if self.has_no_backend else ""

    def settings(self, stack: str, values: Mapping[str, Any]) -> Settings:
        """What a preview would have. Raises SettingsError that names the template."""
        given = {key: as_text(value) for key, value in values.items()}
        try:
            return Settings.read({**self.config, **given}, stack)
        except SettingsError as problem:
            lines = [_of_the_template(line, stack) for line in problem.problems]
            raise SettingsError(lines) from None

    def write(self, stack: str, values: Mapping[str, Any]) -> Path:
        """The preview's own config, where Pulumi looks for it."""
        return template.write(stack, template.config_of(self.text, values))


def for_a_build(read: Template) -> Settings:
    """What a release of a preview is built by. What `fab preview.up` fills in decides nothing of
    it, so the branch and the attached backend are names that nobody has (RFC 6761, 6.4). Raises
    SettingsError."""
    filled_in = {"branch": _NOBODYS}
    if read.has_no_backend:
        filled_in["attached_backend"] = f"https://{_NOBODYS}"
    return read.settings(previews.name_of(_NOBODYS), filled_in)


def _of_the_template(line: str, stack: str) -> str:
    return line.replace(f"stacks/Pulumi.{stack}.yaml", f"stacks/Pulumi.{previews.TEMPLATE}.yaml")


def check_branch(branch: str) -> str:
    """The same branch. Raises ValueError for one that looks like an environment or a stack here."""
    others = [name for name in stacks.stack_names() if not previews.is_preview(name)]
    try:
        return previews.check_branch(branch, others)
    except ValueError as problem:
        raise BranchNameError(str(problem)) from None


def values(
    branch: str,
    commit: str,
    keep: bool,
    backend: str = "",
) -> dict[str, Any]:
    """The keys that are filled in. `backend` is the origin of the attached backend, if there is
    one."""
    found: dict[str, Any] = {
        "branch": branch,
        "preview_owner": owner(),
        "preview_commit": commit,
        "preview_updated": stamp(datetime.now(UTC)),
        "preview_keep": keep,
    }
    if backend:
        found["attached_backend"] = backend
    return found


def serials(found: Known, usual: Settings) -> dict[str, Any]:
    """The key `serials` of a preview whose hosts were replaced, and no key of any other: without it
    the first machines would be made again, empty. This checkout's config of the preview says it, as
    `fab replace` wrote it; where there is none, its state. `usual` has the hosts that there will
    be. Raises StackFileError for a config that is no YAML."""
    known: Mapping[str, Any] = {}
    if template.has(found.stack):
        known = stack_values(ROOT, found.stack).get(f"{PROJECT}:serials") or {}
    elif found.entry:
        known = found.entry.outputs.get("infrastructure", {}).get("serials") or {}
    hosts = {instance.name for instance in topology.instances(usual)}
    kept = {name: str(serial) for name, serial in known.items() if name in hosts}
    return {"serials": kept} if kept else {}


def owner() -> str:
    """Who makes the preview: the person that CI works for, else whoever runs this."""
    for name in _CI_USERS:
        if os.environ.get(name):
            return os.environ[name][:100]
    return deploy.who().partition(" ")[0][:100]


def attached_backend(read: Template) -> str:
    """The origin of the backend that previews of this template attach to, as its hosts answer it;
    empty for full ones, and where the settings say what is missing.

    Raises NotUpError where that environment is not up, DeniedError where it takes no previews, and
    what `running_of` raises.
    """
    if not read.attaches_to:
        return ""
    contract = running_of(read.attaches_to).contract
    refuse_closed(contract)
    return contract.backend.origin


def checkout(read: Template) -> Checkout:
    """The repository that branches are of: the backend's, or the page's where previews have no
    backend of their own, or that one's code is fetched from somewhere else. Raises BranchError."""
    path = read.config.get("backend_path", "")
    if not path or read.has_no_backend or read.config.get("backend_git"):
        path = read.config.get("frontend_path", "")
    place = ROOT / path
    while not place.is_dir():  # a page that is not built
        place = place.parent
    return Checkout.of(place)
