"""Collect the project's static files in a private folder and write them to standard output.

`python -I -c TEXT COMMAND...` runs the command with ORIGIN_KIT_STATIC, a folder that only this
process sees, in its environment. Each file follows a line with its name and size, as JSON;
["", count] is the end.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile

_AT_ONCE = 1 << 20  # bytes


def main(command: list[str]) -> int:
    folder = tempfile.mkdtemp(prefix="static-", dir="/var/tmp")
    try:
        return collect(command, folder)
    except OSError as problem:
        sys.exit(f"a static file changed while it was read: {problem.filename}: {problem.strerror}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def collect(command: list[str], folder: str) -> int:
    """Run the command, then send what it left in the folder; its status."""
    environment = dict(os.environ, ORIGIN_KIT_STATIC=folder)
    done = subprocess.run(
        command,
        env=environment,
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode:
        return abs(done.returncode)
    count = 0
    for path in paths(folder):
        send(folder, path)
        count += 1
    send_header("", count)
    sys.stdout.buffer.flush()
    return 0


def paths(folder: str) -> list[str]:
    """The files below the folder, and links to anything, relative to it."""
    found = []
    for here, folders, names in os.walk(folder):
        for name in folders:
            path = os.path.join(here, name)
            if os.path.islink(path):
                found.append(os.path.relpath(path, folder))
        for name in names:
            path = os.path.join(here, name)
            found.append(os.path.relpath(path, folder))
    return found


def send(folder: str, path: str) -> None:
    """Write a file's header and its bytes. Exits for anything but a regular file."""
    place = os.path.join(folder, path)
    if not stat.S_ISREG(os.lstat(place).st_mode):
        sys.exit(
            f"collectstatic leaves {path}, which is no regular file; only regular files can be"
            " served"
        )
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as source:
        size = os.fstat(descriptor).st_size
        send_header(path, size)
        while size:
            data = source.read(min(size, _AT_ONCE))
            if not data:
                sys.exit(f"the static file {path} changed while it was read")
            sys.stdout.buffer.write(data)
            size -= len(data)


def send_header(path: str, size: int) -> None:
    sys.stdout.buffer.write(json.dumps([path, size]).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
