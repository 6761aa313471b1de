"""Collect the project's static files where only this process sees them, and hand them over on
standard output.

`python -I -c TEXT COMMAND...` runs the command with ORIGIN_KIT_STATIC, a folder, in its
environment. Each file follows a line with its name and size, as JSON; ["", count] ends it.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile


def main(command: list[str]) -> int:
    folder = tempfile.mkdtemp(prefix="static-", dir="/var/tmp")
    try:
        environment = dict(os.environ, ORIGIN_KIT_STATIC=folder)
        status = subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode
        if status:
            return abs(status)
        count = 0
        for path in paths(folder):
            hand_over(folder, path)
            count += 1
        sys.stdout.buffer.write(json.dumps(["", count]).encode() + b"\n")
        sys.stdout.buffer.flush()
        return 0
    except OSError as problem:
        sys.exit(f"a static file changes while it is read: {problem.filename}: {problem.strerror}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def paths(folder: str) -> list[str]:
    """What is below the folder, relative to it: files, and links to anything."""
    found = []
    for here, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        found += [os.path.relpath(os.path.join(here, name), folder) for name in names + links]
    return found


def hand_over(folder: str, path: str) -> None:
    place = os.path.join(folder, path)
    if not stat.S_ISREG(os.lstat(place).st_mode):
        sys.exit(f"it leaves {path}, which is no regular file; only regular files can be served")
    with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as source:
        size = os.fstat(source.fileno()).st_size
        sys.stdout.buffer.write(json.dumps([path, size]).encode() + b"\n")
        while size:
            data = source.read(min(size, 1 << 20))
            if not data:
                sys.exit(f"{path} changes while it is read")
            sys.stdout.buffer.write(data)
            size -= len(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
