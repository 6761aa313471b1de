"""uv and pip, run for the kit.

`uv` resolves for another machine (pip evaluates markers for the one it runs on), `pip` fetches
files without installing them. Both ask the same indexes. Passwords travel in the environment and in
a file of mode 0600 only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from rollout.release.errors import ReleaseError
from rollout.release.indexes import UV_VARIABLES, has_user, keyring, pip_indexes
from rollout.stacks import ROOT


def uv(
    *words: str, at: Path | None = None, own_index: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `uv WORDS` in folder `at`, from PATH or from the kit's own folder of tools, with pip's
    indexes too.

    `own_index`: what it reads names its index itself, and no other is asked. Raises ReleaseError
    without uv.
    """
    command = [_uv_path(), *words]
    environment = dict(os.environ)
    environment.pop("VIRTUAL_ENV", None)
    if own_index:
        for name in UV_VARIABLES:
            environment.pop(name, None)
        if "--config-file" not in words:
            command.append("--no-config")
    else:
        environment = {**pip_indexes(), **environment}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=at,
        stdin=subprocess.DEVNULL,
        env={**environment, **keyring([at] if at else [])},
    )


def _uv_path() -> str:
    folders = [os.environ.get("PATH", ""), Path(sys.executable).parent, ROOT / ".tools" / "bin"]
    found = shutil.which("uv", path=os.pathsep.join(map(str, folders)))
    if found is None:
        raise ReleaseError(
            "uv, which resolves the project's dependencies, is not on PATH",
            cure="install it: `pip install uv`",
        )
    return found


def pip(
    verb: str,
    *words: str,
    lines: Iterable[str],
    scratch: Path,
    folders: Iterable[Path] = (),
) -> subprocess.CompletedProcess[str]:
    """Run `pip VERB WORDS` for requirements `lines`, which it reads from a file that nobody else
    may read. `folders` are those whose uv settings count."""
    requirements = scratch / "pip.txt"
    write_private(requirements, "\n".join(lines) + "\n")
    # -P: a pip.py in the current folder is not run.
    command = [sys.executable, "-P", "-m", "pip", verb]
    command += ["--no-deps", "--no-input", "-q", "--disable-pip-version-check"]
    try:
        return subprocess.run(
            [*command, *words, "-r", str(requirements)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **keyring(folders)},
        )
    finally:
        requirements.unlink()


# As pip itself fetches a file, with its certificates, proxies, netrc and keyring: `pip download`
# would run a source's build.
_FETCH = """
import sys
from pip._internal.commands import create_command
from pip._internal.network.utils import HEADERS, raise_for_status, response_chunks
command = create_command("download")
options, (address, place) = command.parse_args(sys.argv[1:])
with command.main_context(), command.get_default_session(options) as session:
    answer = session.get(address, headers=HEADERS, stream=True)
    raise_for_status(answer)
    with open(place, "wb") as out:
        out.writelines(response_chunks(answer))
"""


def fetch(
    address: str,
    place: Path,
    lines: Iterable[str],
    folders: Iterable[Path] = (),
) -> subprocess.CompletedProcess[str]:
    """Fetch one file, whatever it is, and run nothing of it; `lines` are options that carry users
    and passwords of indexes, `folders` those whose uv settings count."""
    words = re.findall(r"https?://\S+", "\n".join(lines))
    urls = [os.path.expandvars(word) for word in words]
    indexes = [url for url in urls if has_user(url)]
    given = os.environ.get("PIP_EXTRA_INDEX_URL")
    if given:
        indexes.insert(0, given)
    return subprocess.run(
        [sys.executable, "-P", "-c", _FETCH, address, str(place)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            **keyring(folders),
            "PIP_EXTRA_INDEX_URL": " ".join(indexes),
        },
    )


def write_private(path: Path, text: str) -> None:
    """Text that may hold a password: for its owner alone, from the first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
