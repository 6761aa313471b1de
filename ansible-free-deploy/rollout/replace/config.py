"""The key of the stack's config that says which machine serves as a host, and changing it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from infra.core.serials import Serials
from infra.core.settings import Settings
from infra.core.stackfile import StackFileError, stack_path, with_key
from rollout import settings as source
from rollout.stacks import PROJECT, ROOT

KEY = f"{PROJECT}:serials"


def serials_of(settings: Settings, host: str) -> Serials:
    """The machines of a host, as the config has them."""
    return Serials.parse(settings.serials.get(host, "1"))


def with_serials(
    settings: Settings,
    host: str,
    serials: Serials,
) -> Settings:
    """Write it into the stack's file, whose other bytes stay; the settings that it gives now.
    Raises StackFileError."""
    everything = {**settings.serials, host: str(serials)}
    kept = {}
    for name in sorted(everything):
        if everything[name] != "1":
            kept[name] = everything[name]
    path = stack_path(ROOT, settings.stack)
    value = _yaml(kept) if kept else None
    try:
        text = with_key(path.read_text(), KEY, value)
    except StackFileError as problem:
        raise StackFileError(f"stacks/{path.name}: {problem}") from None
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    shutil.copymode(path, new)
    before = path.stat()
    os.chown(new, before.st_uid, before.st_gid)  # with sudo it stays its owner's
    new.replace(path)
    found = source.read(settings.stack)
    if found.serials != kept:
        raise StackFileError(
            f"stacks/{path.name}: write `{KEY}: {_yaml(kept)}` into it yourself; it has another"
            " form"
        )
    return found


def _yaml(serials: Mapping[str, str]) -> str:
    pairs = [f'{name}: "{text}"' for name, text in serials.items()]
    return f"{{{', '.join(pairs)}}}"
