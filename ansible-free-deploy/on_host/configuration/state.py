"""Which generations of the configuration are here, and what of the current one is not as it should
be."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from on_host import places, seal
from on_host.activation import activation_number
from on_host.files import link_of
from on_host.orders import ORDERS, Json
from on_host.runtime import hide
from on_host.seal import is_secret
from on_host.services import loaded_by_gunicorn, loaded_by_nginx

KEPT = 10
BY_HAND = "a file of it was changed by hand"  # why a service has to restart


def current_id() -> str | None:
    target = link_of(places.CONFIGURATION)
    return Path(target).name if target else None


def file_state(path: Path) -> tuple[bytes, int, int, int] | None:
    """Bytes, owner and mode, or None."""
    try:
        found = path.lstat()
        return path.read_bytes(), found.st_uid, found.st_gid, found.st_mode & 0o7777
    except OSError:
        return None


def edited(generation: Json) -> list[Json]:
    """The files of the generation whose bytes, owner or mode are not those on disk."""
    base = places.GENERATIONS / generation["id"]
    return [
        file
        for file in generation["files"]
        if file_state(base / file["path"]) != (file["text"].encode(), 0, 0, file["mode"])
    ]


def misplaced(generation: Json) -> list[str]:
    """Links of the generation that point elsewhere, and places that are to be empty and are not."""
    wrong = []
    for link in generation["links"]:
        if link_of(link["place"]) != str(places.CONFIGURATION / link["target"]):
            wrong.append(link["place"])
    return wrong + [place for place in generation["absent"] if os.path.lexists(place)]


def left_secrets(generation: Json) -> list[str]:
    """What still holds secrets that were replaced, though this generation is current: a commit
    removes them, and a run that was killed may not have come to it."""
    if current_id() != generation["id"]:
        return []
    left = [*places.GENERATIONS.glob("*.partial"), *old_secrets(generation["id"])]
    return [str(path.relative_to(places.KIT)) for path in left]


def old_secrets(current: str) -> list[Path]:
    """Secret files of other generations that do not hold what the current one's hold."""
    found = []
    for name, record in records().items():
        for file in record["files"]:
            path = places.GENERATIONS / name / file["path"]
            if name == current or not is_secret(file) or not path.exists():
                continue
            if file_state(path) != file_state(places.CONFIGURATION / file["path"]):
                found.append(path)
    return found


def stale(generation: Json) -> dict[str, str]:
    """Service → why it has to restart; empty where what runs is what is wanted."""
    wanted, reasons = generation["fingerprints"], {}
    if "gunicorn" in wanted:
        running = loaded_by_gunicorn()
        if not running:
            reasons["gunicorn"] = "it does not run"
        elif running != {(wanted["gunicorn"], places.current_folder())}:
            other = any(fingerprint != wanted["gunicorn"] for fingerprint, _ in running)
            reasons["gunicorn"] = (
                "it runs on other configuration" if other else "it runs another release"
            )
    if "nginx" in wanted:
        loaded = loaded_by_nginx()
        if loaded != wanted["nginx"]:
            reasons["nginx"] = (
                "it runs on other configuration" if loaded else "it does not run under the kit yet"
            )
    return reasons


def compare(
    generation: Json, changed: list[Json] | None = None
) -> tuple[list[str], dict[str, str]]:
    """What differs on disk, and service → why it has to restart: a file of it that was changed by
    hand counts too.

    `changed` are the files that differ, where the generation came without their texts.
    """
    changed = edited(generation) if changed is None else changed
    is_current = current_id() == generation["id"]
    wrong = [*([] if is_current else ["current"]), *(file["path"] for file in changed)]
    wrong += [*misplaced(generation), *left_secrets(generation)]
    reasons = stale(generation)
    if is_current:
        services = {file["service"] for file in changed if file["service"]}
        reasons = {**dict.fromkeys(sorted(services), BY_HAND), **reasons}
    return wrong, reasons


def diff(generation: Json) -> dict[str, str]:
    """What would change, as unified diffs by path; a file that is secret shows only that it
    changes."""
    import difflib

    base = places.GENERATIONS / str(current_id())
    found: dict[str, str] = {}
    for file in generation["files"]:
        old = file_state(base / file["path"])
        before = old[0].decode(errors="replace") if old else ""
        if before == file["text"] and old and old[3] == file["mode"]:
            continue
        if is_secret(file) or (old and is_secret({"mode": old[3]})):
            found[file["path"]] = "(secret: differs)\n"
            continue
        lines = difflib.unified_diff(
            before.splitlines(True),
            file["text"].splitlines(True),
            "now/" + file["path"],
            "new/" + file["path"],
        )
        # A plain value may become a secret, or have been one in the file that is there.
        found[file["path"]] = hide("".join(lines)) or "(mode or owner differs)\n"
    return found


def units_of(folder: Path) -> dict[str, bytes]:
    """systemd's part of a generation, by path."""
    base = folder / "systemd"
    return {
        str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()
    }


def records() -> dict[str, Json]:
    """What is known of the generations that are here: everything but the text of their files."""
    found: dict[str, Json] = {}
    for path in places.GENERATIONS.glob("*/generation.json"):
        if path.parent.suffix != ".partial":
            with contextlib.suppress(
                OSError, ValueError
            ):  # changed by hand: nobody can go back to it
                found[path.parent.name] = json.loads(path.read_text())
    return found


def kept() -> list[str]:
    """Generations that are still whole here, but perhaps for their secrets."""
    return sorted(records())


def record_of(name: str | None) -> Json | None:
    """What `generation_record` has noted of a generation, or None where there is none."""
    return records().get(name) if name else None


def by_activation(name: str) -> tuple[int, float]:
    """The order in which generations served. No clock is asked, but for those from before there
    were numbers."""
    return activation_number(places.GENERATIONS / name), (places.GENERATIONS / name).stat().st_mtime


def given(*, make_key: bool = False) -> Json:
    """The generation that came along, with this host's marks."""
    return seal.sealed(ORDERS["generation"], seal.key(make=make_key))


def stored(name: str) -> Json:
    """A generation as `deploy` wants it, read back from the disk; its secrets are today's, whatever
    they were.

    So a rollback brings back no secret that was replaced, and needs none to be kept.
    """
    generation = records()[name]
    for file in generation["files"]:
        folder = (
            places.CONFIGURATION if is_secret(file) and current_id() else places.GENERATIONS / name
        )
        file["text"] = (folder / file["path"]).read_bytes().decode()
    by = seal.key(make=True)
    return seal.sealed(seal.unsealed(generation, by), by)


def leads_to() -> dict[str, str]:
    """What a rollback to each generation that is here makes current: itself, or itself with today's
    secrets."""
    by = seal.key()
    return {
        name: seal.sealed_id(seal.unsealed_id(record, by), with_todays_text(record["files"]), by)
        for name, record in records().items()
    }


def with_todays_text(files: list[Json]) -> list[Json]:
    """The secret ones of these files, each with the text that it has in the current generation."""
    found = []
    for file in files:
        path = places.CONFIGURATION / file["path"]
        if is_secret(file) and path.exists():
            found.append({**file, "text": path.read_bytes().decode(errors="replace")})
    return found


def current_record() -> Json:
    """What is known of the generation that is current; of none at all nothing."""
    return record_of(current_id()) or {"files": [], "fingerprints": {}}


def removed_origins(probes: Json) -> list[str]:
    """Origins that the generation before let in and this one does not: they must no longer pass."""
    try:
        before = json.loads((places.CONFIGURATION / "generation.json").read_text())["probes"].get(
            "allowed", []
        )
    except (OSError, ValueError, KeyError):
        return []
    return (
        []
        if probes.get("wildcard")
        else [origin for origin in before if origin not in probes.get("allowed", ())]
    )
