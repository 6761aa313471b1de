"""certbot as wheels for a host's Python: fetched here from the index that this machine is set up
with, by the hashes in certbot.txt. A host asks no index."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from infra.core.home import cache_folder, locked, write_whole
from on_host import wheelfiles
from rollout.release.archive import digest
from rollout.release.errors import ReleaseError, disk_errors_reported
from rollout.release.target import Target
from rollout.release.tools import pip

Say = Callable[[str], None]


@dataclass(frozen=True)
class Certbot:
    """`name` is that of the environment on the host; `wheels` are file names with their SHA-256,
    all in `archive`, whose own SHA-256 is `digest`."""

    name: str
    wheels: dict[str, str]
    archive: Path
    digest: str


@disk_errors_reported()
def certbot(target: Target, say: Say) -> Certbot:
    """What a host of this kind gets; the second time from the cache, without network.

    Raises ReleaseError where a wheel can't be had, or is another one than the list says.
    """
    folder = cache_folder("certbot") / _key(target)
    with locked(folder.parent / ".lock"):
        found = _recorded(folder)
        if found is None:
            say(f"fetches certbot for Python {target.python} on {target.machine}")
            found = _fetch(folder, target)
    return found


def requirements() -> str:
    """certbot.txt: the pins and their hashes."""
    return resources.files("rollout.acme").joinpath("certbot.txt").read_text()


def _key(target: Target) -> str:
    facts = [requirements(), target.python, target.machine, target.libc]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _recorded(folder: Path) -> Certbot | None:
    """What was fetched before; None where there is none, or its archive is damaged."""
    archive = folder / "wheels.tar"
    try:
        record = json.loads((folder / "certbot.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    if not archive.is_file() or digest(archive) != record["digest"]:
        return None
    return Certbot(record["name"], record["wheels"], archive, record["digest"])


def _fetch(folder: Path, target: Target) -> Certbot:
    """Fill a folder of the cache, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as temporary:
        scratch = Path(temporary) / "certbot"
        scratch.mkdir()
        _download(scratch, target)
        wheels = {path.name: digest(path) for path in sorted(scratch.glob("*.whl"))}
        _check(scratch, target)
        archive = scratch / "wheels.tar"
        _pack(archive, scratch, wheels)
        facts = [target.python, wheels]
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        record = {
            "name": name,
            "wheels": wheels,
            "digest": digest(archive),
        }
        for wheel in scratch.glob("*.whl"):
            wheel.unlink()
        write_whole(scratch / "certbot.json", json.dumps(record))
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    found = _recorded(folder)
    assert found
    return found


def _download(scratch: Path, target: Target) -> None:
    options = ["--require-hashes", "--only-binary=:all:", "-d", str(scratch)]
    options += ["--implementation", "cp", "--python-version", target.python, "--abi", target.abi]
    for platform in target.platforms:
        options += ["--platform", platform]
    answer = pip(
        "download",
        *options,
        lines=requirements().splitlines(),
        scratch=scratch,
    )
    if answer.returncode:
        last = answer.stderr.strip().splitlines()[-1:] or ["pip gives no reason"]
        raise ReleaseError(
            f"certbot for {target} can't be fetched: {last[0].removeprefix('ERROR: ')}",
            answer.stderr[-1500:],
            cure="see that this machine reaches its package index, then run this again",
        )


def _check(scratch: Path, target: Target) -> None:
    """Raise ReleaseError for a wheel that the host would refuse."""
    try:
        for path in scratch.glob("*.whl"):
            wheelfiles.check(path, target.python)
    except wheelfiles.WheelRefused as problem:
        raise ReleaseError(f"a wheel of certbot's is refused: {problem}") from problem


def _pack(archive: Path, folder: Path, wheels: dict[str, str]) -> None:
    """One file for the wire; wheels are compressed already."""
    with tarfile.open(archive, "w") as tar:
        for name in wheels:
            tar.add(folder / name, name, filter=_nobodys)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode, member.mtime = 0o644, 0
    return member
