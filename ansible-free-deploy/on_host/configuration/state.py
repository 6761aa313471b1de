"""Which generations of the configuration are here, and how the current one differs from it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Sequence  # noqa: UP035 - Python 3.9 on hosts

from on_host import places, restart_reasons, seal, timers
from on_host.activation import activation_number
from on_host.envfile import environment
from on_host.files import group_of, link_of
from on_host.orders import DEPLOY_ORDERS, ORDERS
from on_host.runtime import ChangedMeanwhile, Failed, hide, hide_also
from on_host.seal import is_private, is_secret
from on_host.services import activity, loaded_by_gunicorn, loaded_by_nginx

if TYPE_CHECKING:
    from on_host.generations import FileFacts, Generation, GenerationFile, GenerationHead
    from on_host.on_disk import GenerationRecord, StoredGeneration
    from on_host.protocol import Probes

KEPT = 10


def current_id() -> str | None:
    target = link_of(places.CONFIGURATION)
    return Path(target).name if target else None


def file_state(path: Path) -> tuple[bytes, int, int, int] | None:
    """Bytes, owner, group and mode; None where the file can't be read."""
    try:
        status = path.lstat()
        return path.read_bytes(), status.st_uid, status.st_gid, status.st_mode & 0o7777
    except OSError:
        return None


# ------------------------------------------------------------------------------- what is different


def edited(generation: Generation) -> list[GenerationFile]:
    """The files of the generation that have other bytes, owner or mode on the disk."""
    base = places.GENERATIONS / generation["id"]
    changed = []
    for file in generation["files"]:
        wanted = (file["text"].encode(), 0, group_of(file["mode"]), file["mode"])
        if file_state(base / file["path"]) != wanted:
            changed.append(file)
    return changed


def misplaced(generation: GenerationHead) -> list[str]:
    """Links of the generation that point elsewhere, and places that must be empty and are not."""
    wrong = []
    for link in generation["links"]:
        target = str(places.CONFIGURATION / link["target"])
        if link_of(link["place"]) != target:
            wrong.append(link["place"])
    for place in generation["absent"]:
        if os.path.lexists(place):
            wrong.append(place)
    return wrong


def left_secrets(generation: GenerationHead) -> list[str]:
    """Files that still hold secrets that were replaced, where this generation is current.

    A commit removes them, but a run that was killed may not have got there.
    """
    if current_id() != generation["id"]:
        return []
    left = list(places.GENERATIONS.glob("*.partial"))
    left += old_secrets(generation["id"])
    return [str(path.relative_to(places.KIT)) for path in left]


def old_secrets(current: str) -> list[Path]:
    """Secret files of other generations that differ from the current generation's."""
    old = []
    for name, record in records().items():
        if name == current:
            continue
        for file in record["files"]:
            path = places.GENERATIONS / name / file["path"]
            if not is_secret(file) or not path.exists():
                continue
            if file_state(path) != file_state(places.CONFIGURATION / file["path"]):
                old.append(path)
    return old


def stale(generation: GenerationHead) -> dict[str, str]:
    """Service → why it has to restart; empty where every service runs this generation."""
    wanted = generation["fingerprints"]
    reasons = {}
    for service, reason_of in (("gunicorn", _gunicorn_is_stale), ("nginx", _nginx_is_stale)):
        if service in wanted:
            reason = reason_of(wanted[service])
            if reason:
                reasons[service] = reason
    for name in ("renewal", timers.SERVICE):
        for unit in generation["units"].get(name, ()):
            if activity(unit) != "active":
                reasons[name] = restart_reasons.NOT_RUNNING
    return reasons


def _gunicorn_is_stale(wanted: str) -> str | None:
    running = loaded_by_gunicorn()
    if not running:
        return restart_reasons.NOT_RUNNING
    if running == {(wanted, places.current_folder())}:
        return None
    if any(fingerprint != wanted for fingerprint, _ in running):
        return restart_reasons.OLD_CONFIGURATION
    return restart_reasons.OLD_RELEASE


def _nginx_is_stale(wanted: str) -> str | None:
    loaded = loaded_by_nginx()
    if loaded == wanted:
        return None
    return restart_reasons.OLD_CONFIGURATION if loaded else restart_reasons.NOT_OURS


def compare(generation: Generation) -> tuple[list[str], dict[str, str]]:
    """What differs on the disk, and service → why it has to restart."""
    return differences(generation, edited(generation))


def differences(
    generation: GenerationHead, changed: Sequence[FileFacts]
) -> tuple[list[str], dict[str, str]]:
    """The same, where `changed` are the files that differ.

    A service also has to restart where one of its files was edited by hand.
    """
    is_current = current_id() == generation["id"]
    wrong = [] if is_current else ["current"]
    wrong += [file["path"] for file in changed]
    wrong += misplaced(generation)
    wrong += left_secrets(generation)

    reasons = {}
    if is_current:
        services = {file["service"] for file in changed if file["service"]}
        reasons = dict.fromkeys(sorted(services), restart_reasons.BY_HAND)
    reasons.update(stale(generation))
    return wrong, reasons


def diff(generation: Generation) -> dict[str, str]:
    """What would change, as unified diffs by path; of a secret file only that it changes."""
    base = places.GENERATIONS / str(current_id())
    diffs = {}
    for file in generation["files"]:
        text = _diff_of(file, base)
        if text is not None:
            diffs[file["path"]] = text
    return diffs


def _diff_of(file: GenerationFile, base: Path) -> str | None:
    """The unified diff of one file; None where it does not change."""
    import difflib

    before = ""
    mode = None
    old = file_state(base / file["path"])
    if old is not None:
        data, _, _, mode = old
        before = data.decode(errors="replace")
    if before == file["text"] and mode == file["mode"]:
        return None
    was_secret = mode is not None and is_private(mode)
    if was_secret or is_secret(file):
        return "(secret: differs)\n"
    lines = difflib.unified_diff(
        before.splitlines(True),
        file["text"].splitlines(True),
        "now/" + file["path"],
        "new/" + file["path"],
    )
    # A plain value may become a secret, or may have been one in the file that is there.
    return hide("".join(lines)) or "(mode or owner differs)\n"


def units_of(folder: Path) -> dict[str, bytes]:
    """systemd's files of a generation, by path."""
    base = folder / "systemd"
    units = {}
    for path in base.rglob("*"):
        if path.is_file():
            units[str(path.relative_to(base))] = path.read_bytes()
    return units


# ---------------------------------------------------------------------------- the generations here


def records() -> dict[str, GenerationRecord]:
    """The record of each generation that is here: everything but the texts of its files.

    A generation whose record was damaged by hand is left out: no rollback can go to it.
    """
    found: dict[str, GenerationRecord] = {}
    for path in places.GENERATIONS.glob("*/generation.json"):
        name = path.parent.name
        record = record_of(name)
        if path.parent.suffix != ".partial" and record is not None:
            found[name] = record
    return found


def kept() -> list[str]:
    """Generations that are complete here, except perhaps for their secrets."""
    return sorted(records())


def record_of(name: str | None) -> GenerationRecord | None:
    """The `generation_record` of a generation; None where there is none that can be read."""
    if name is None:
        return None
    try:
        text = (places.GENERATIONS / name / "generation.json").read_text()
        record: GenerationRecord = json.loads(text)
    except (OSError, ValueError):
        return None
    return record


def by_activation(name: str) -> tuple[int, float]:
    """The sort key of generations by when they served.

    Times count only between generations from before there were activation numbers.
    """
    folder = places.GENERATIONS / name
    return activation_number(folder), folder.stat().st_mtime


def given(*, make_key: bool = False) -> Generation:
    """The generation that came with the orders, with this host's marks."""
    generation = DEPLOY_ORDERS["generation"]
    if ORDERS.get("keeps_secrets"):
        generation = with_own_secrets(generation)
    return seal.sealed(generation, seal.key(make=make_key))


def with_own_secrets(generation: Generation) -> Generation:
    """A generation whose secret files hold what they hold in the current one: they came without a
    value, and none leaves this host. Raises Failed where the current one lacks such a file."""
    files: list[GenerationFile] = []
    for file in generation["files"]:
        text = _own_secrets(file) if is_secret(file) else file["text"]
        files.append({**file, "text": text})
    return {**generation, "files": files}


def _own_secrets(file: GenerationFile) -> str:
    try:
        text = (places.CONFIGURATION / file["path"]).read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        raise Failed(
            f"{file['path']} of the configuration that runs here can't be read, so its secrets"
            " can't be kept; run `fab deploy` for this environment"
        ) from None
    hide_also(environment(text).values())
    return text


def refuse_another() -> None:
    """Raise ChangedMeanwhile where the orders are for another generation than the current one."""
    expected = ORDERS.get("expects")
    if expected and expected != current_id():
        raise ChangedMeanwhile(
            f"another change came first: generation {current_id()} is current here now, and this"
            f" change was made for {expected}; nothing was changed"
        )


def stored(name: str) -> StoredGeneration:
    """A generation read back from the disk, in the form that `deploy` wants.

    Its secrets are today's, whatever they were: a rollback brings back no secret that was
    replaced, and no such secret has to be kept.
    """
    record = records()[name]
    has_current = current_id() is not None
    files: list[GenerationFile] = []
    for file in record["files"]:
        folder = places.GENERATIONS / name
        if has_current and is_secret(file):
            folder = places.CONFIGURATION
        text = (folder / file["path"]).read_bytes().decode()
        files.append({**file, "text": text})
    key = seal.key(make=True)
    generation: StoredGeneration = {**record, "files": files}
    sealed = seal.sealed(seal.unsealed(generation, key), key)
    return {**sealed, "probes": record["probes"]}


def leads_to() -> dict[str, str]:
    """Generation → the generation that a rollback to it makes current.

    That is the same one, or one with the same files and today's secrets.
    """
    key = seal.key()
    targets = {}
    for name, record in records().items():
        secrets = with_todays_text(record["files"])
        plain = seal.unsealed_id(record, key)
        targets[name] = seal.sealed_id(plain, secrets, key)
    return targets


def with_todays_text(files: Sequence[FileFacts]) -> list[GenerationFile]:
    """The secret ones of these files, each with its text in the current generation."""
    secrets: list[GenerationFile] = []
    for file in files:
        path = places.CONFIGURATION / file["path"]
        if is_secret(file) and path.exists():
            text = path.read_bytes().decode(errors="replace")
            secrets.append({**file, "text": text})
    return secrets


def current_record() -> GenerationRecord:
    """The record of the current generation; an empty one where there is none."""
    record = record_of(current_id())
    if record is not None:
        return record
    return {
        "id": "",
        "files": [],
        "links": [],
        "absent": [],
        "fingerprints": {},
        "units": {},
        "probes": {},
    }


def removed_origins(probes: Probes) -> list[str]:
    """Origins that the current generation allows and this one does not.

    They must no longer be allowed after the switch.
    """
    if probes.get("wildcard"):
        return []
    before = current_record().get("probes", {}).get("allowed", [])
    now = probes.get("allowed", ())
    return [origin for origin in before if origin not in now]
