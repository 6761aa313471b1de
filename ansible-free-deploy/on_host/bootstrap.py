"""The first lines that run on a host: find this package by its digest, ask for it where it is not
kept, and start it.

The text is sent on the command line of `python3 -I -c`, so it imports nothing of the package.
Standard input holds

    DIGEST SIZE LENGTH\\n    of the program (SHA-256, bytes) and of the orders (bytes)
    the orders              JSON, compressed with zlib
    the program             only after this side has answered {"program": "missing"}
    whatever else the verb reads

The program is kept in memory (tmpfs) where only root can enter, so it travels once a boot, and no
power cut leaves half of it. It is unpacked: Python keeps the compiled modules next to the sources
then, and they are compiled once as well.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import zipfile
import zlib

PROGRAMS = "/run/origin-kit/programs"
KEPT = 4  # older ones may still run for an operator with another version of the kit


def start() -> None:
    """Read the orders, make sure that the program is here, and hand both over. Ends the process."""
    source = sys.stdin.buffer
    digest, size, length = source.readline().decode().split()
    folder = os.path.join(PROGRAMS, digest)
    is_kept = os.path.isdir(folder)
    print(json.dumps({"program": "kept" if is_kept else "missing"}), flush=True)
    orders = json.loads(zlib.decompress(source.read(int(length))))
    if not is_kept:
        keep(source.read(int(size)), digest, folder)
    os.utime(folder)
    sys.path.insert(0, folder)
    from on_host.__main__ import main

    sys.exit(main(orders))


def keep(program: bytes, digest: str, folder: str) -> None:
    """Unpack the program into `folder`, at once and whole; those that nobody has used for longest
    go."""
    if hashlib.sha256(program).hexdigest() != digest:
        sys.exit(
            "the kit's program arrives incomplete; was the connection cut? run the same command"
            " again"
        )
    os.makedirs(PROGRAMS, mode=0o700, exist_ok=True)
    for private in (os.path.dirname(PROGRAMS), PROGRAMS):
        os.chmod(private, 0o700)
    new = f"{folder}.{os.getpid()}"
    with zipfile.ZipFile(io.BytesIO(program)) as archive:
        archive.extractall(new)
    with open(os.path.join(new, "program.pyz"), "wb") as file:
        file.write(program)
    try:
        os.rename(new, folder)
    except OSError:  # somebody else's has arrived meanwhile
        shutil.rmtree(new)
    others = [entry for entry in os.scandir(PROGRAMS) if entry.path != folder]
    others.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in others[KEPT - 1 :]:
        shutil.rmtree(entry.path, ignore_errors=True)


if __name__ == "__main__":
    start()
