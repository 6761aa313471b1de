"""The package that runs on hosts as one file, and what starts it there."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import shlex
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

PACKAGE = "on_host"
_MAIN = "import sys\nfrom on_host.__main__ import start\nsys.exit(start())\n"
_SOME_DAY = (
    1980,
    1,
    1,
    0,
    0,
    0,
)  # the same sources are the same bytes, whenever they were checked out


@dataclass(frozen=True)
class Program:
    """A zip application (see `zipapp`), known on hosts by its SHA-256."""

    data: bytes
    digest: str

    def head(self, orders: Mapping[str, object]) -> bytes:
        """What `on_host/bootstrap.py` reads first: which program is wanted, and the orders."""
        packed = zlib.compress(json.dumps(orders).encode())
        return f"{self.digest} {len(self.data)} {len(packed)}\n".encode() + packed


@functools.cache
def current() -> Program:
    """The program of this version of the kit."""
    return pack(sources())


def sources() -> dict[str, str]:
    """The package's modules, by path."""
    return _files(resources.files(PACKAGE), PACKAGE)


def pack(files: Mapping[str, str]) -> Program:
    """The program of these sources, by path; `on_host/__main__.py` is where it starts."""
    buffer = io.BytesIO()
    texts = {**files, "__main__.py": _MAIN}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(texts):
            entry = zipfile.ZipInfo(path, _SOME_DAY)
            archive.writestr(entry, texts[path], zipfile.ZIP_DEFLATED)
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    return Program(data, digest)


def _files(folder: Traversable, path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in folder.iterdir():
        inner = f"{path}/{entry.name}"
        if entry.is_dir():
            found.update(_files(entry, inner))
        elif entry.name.endswith(".py"):
            found[inner] = entry.read_text()
    return found


@functools.cache
def command() -> str:
    """The command line that starts a program on a host, for the shell there."""
    text = resources.files(PACKAGE).joinpath("bootstrap.py").read_text()
    return f"sudo -n /usr/bin/python3 -I -c {shlex.quote(text)}"
