"""certbot's Python environment on this host, made of the wheels that the operator has sent.

Its name is a digest of these wheels and of the Python that they are for. Debian's own certbot is
too old for profiles and for IPs.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path
from typing import Iterable, Mapping  # noqa: UP035 - Python 3.9 on hosts

from on_host import wheelfiles
from on_host.acme.paths import VENVS
from on_host.files import link_of, point, sync
from on_host.release.venv import byte_compile, sha256_of
from on_host.runtime import Failed, last_lines, run

_CURRENT = "current"
_COMPLETE = ".complete"
_CUT = "certbot's wheels arrive incomplete; was the connection cut? run {again}"


def kept() -> list[str]:
    """The names of the complete environments that this host's Python can run."""
    return sorted(path.name for path in VENVS.glob("*") if _is_complete(path))


def _is_complete(venv: Path) -> bool:
    version = "python{}.{}".format(*sys.version_info)
    is_ours = (venv / "lib" / version / "site-packages").is_dir()
    return is_ours and not venv.is_symlink() and (venv / _COMPLETE).exists()


def python() -> Path:
    """The interpreter that has certbot. Raises Failed where there is none."""
    name = link_of(VENVS / _CURRENT)
    if name not in kept():
        raise Failed(
            "certbot is not installed on this host, or for another version of Python; run"
            " `fab tls.renew`"
        )
    return VENVS / str(name) / "bin/python"


def use(name: str) -> bool:
    """Make a complete environment the one that renewals run in, and remove the others; whether it
    is here."""
    if name not in kept():
        return False
    if link_of(VENVS / _CURRENT) != name:
        point(VENVS / _CURRENT, name)
    for other in VENVS.iterdir():
        if other.name not in (name, _CURRENT):
            shutil.rmtree(str(other), ignore_errors=True)
    return True


def make(name: str, wheels: Mapping[str, str], arriving: Iterable[bytes]) -> None:
    """Make the environment from an archive of exactly these wheels (file name → SHA-256).

    Raises Failed, and leaves nothing then.
    """
    venv = VENVS / name
    scratch = VENVS / f"{name}.partial"
    for leftover in (venv, scratch):
        shutil.rmtree(str(leftover), ignore_errors=True)
    scratch.mkdir(parents=True, mode=0o700)
    try:
        files = _unpack(scratch, wheels, arriving)
        _install(venv, files)
    except BaseException:
        shutil.rmtree(str(venv), ignore_errors=True)
        raise
    finally:
        shutil.rmtree(str(scratch), ignore_errors=True)


def _unpack(scratch: Path, wheels: Mapping[str, str], arriving: Iterable[bytes]) -> list[Path]:
    archive = scratch / "wheels.tar"
    with archive.open("wb") as out:
        for chunk in arriving:
            out.write(chunk)
    files = []
    try:
        with tarfile.open(str(archive)) as tar:
            for name in wheels:
                files.append(_unpack_one(tar, name, scratch))
    except (tarfile.TarError, KeyError, EOFError) as problem:
        raise Failed(_CUT) from problem
    for file in files:
        if sha256_of(file) != wheels[file.name]:
            raise Failed(f"{file.name} has another SHA-256 than the kit's list says; run {{again}}")
    return files


def _unpack_one(tar: tarfile.TarFile, name: str, folder: Path) -> Path:
    """Write one wheel; its name is one of the orders', never one of the archive's choosing."""
    place = folder / Path(name).name
    source = tar.extractfile(name)
    if source is None:
        raise Failed(_CUT)
    with source, place.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    return place


def _install(venv: Path, files: list[Path]) -> None:
    made = run(sys.executable, "-I", "-m", "venv", "--without-pip", str(venv), cwd="/")
    if made.returncode:
        raise Failed(
            "`python3 -m venv` fails on this host; install python3-venv there, then run {again}",
            last_lines(made.stdout),
        )
    try:
        wheelfiles.install(files, venv)
    except wheelfiles.WheelRefused as problem:
        raise Failed(f"a wheel of certbot's is refused: {problem}") from problem
    byte_compile(venv / "lib")
    (venv / _COMPLETE).touch()
    sync(venv)
