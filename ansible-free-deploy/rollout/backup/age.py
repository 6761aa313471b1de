"""Encryption by age (https://age-encryption.org), which Debian has: to a public key, as a stream.

Each chunk is authenticated, and the last one is marked: what is damaged or truncated does not open.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from infra.core.errors import KitError
from rollout.backup.errors import BackupError, UseError


def program() -> str:
    """Where age is. Raises UseError where it is not installed."""
    found = shutil.which("age")
    if found is None:
        raise UseError(
            "the program age, which encrypts backups, is not installed here",
            cure="run `sudo apt-get install age` (macOS: `brew install age`), then this again",
        )
    return found


class Child:
    """A program that reads a stream; what it says of errors is kept."""

    def __init__(self, command: list[str], output: IO[bytes] | int) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=self._words,
        )

    def write(self, data: bytes) -> None:
        """Hand data over. Raises BrokenPipeError where it has ended."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def end(self) -> int:
        """The exit status, once it has had all."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its status says why
            self.process.stdin.close()
        return self.process.wait()

    def stop(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._words.close()

    def words(self) -> str:
        """Its last line."""
        return last_line(self._words)


def encrypting(key: str, out: IO[bytes]) -> Child:
    """age, which writes to `out` what only the owner of the public key `key` can read."""
    return Child([program(), "--encrypt", "--recipient", key], out)


@contextmanager
def opened(path: Path, identity: Path) -> Iterator[IO[bytes]]:
    """The content of an encrypted file. Raises BackupError at the end, or in the place of what
    fails in between, where it is damaged, and UseError where this private key does not open it."""
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            [program(), "--decrypt", "--identity", str(identity), str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
        )
        assert process.stdout is not None
        try:
            yield process.stdout
        except KitError:
            raise  # another's: a host
        except Exception:
            process.stdout.close()
            if process.wait() > 0:
                raise _refusal(path, identity, last_line(words)) from None
            raise
        else:
            process.stdout.close()
            if process.wait():
                raise _refusal(path, identity, last_line(words))
        finally:
            process.kill()
            process.wait()


def last_line(words: IO[bytes]) -> str:
    """What a program said last; age begins each line with its name."""
    words.seek(0)
    lines = []
    for line in words.read().decode(errors="replace").splitlines():
        if line.strip() and "report unexpected" not in line:
            lines.append(line.removeprefix("age: error: "))
    return lines[-1] if lines else "no reason given"


def _refusal(path: Path, identity: Path, words: str) -> BackupError:
    if "no identity matched" in words:
        return UseError(
            f"{path} is encrypted to another key than the one in {identity}",
            cure="name the private key of that one with --identity; nothing was changed",
        )
    if "header" in words and "intro" in words:
        return UseError(f"{path} is no backup: age did not write it; nothing was changed")
    if str(identity) in words or "identity" in words:
        return UseError(f"the private key can't be read: {words}; nothing was changed")
    return BackupError(
        f"{path} is damaged or truncated ({words})",
        cure="take another backup; nothing was changed",
    )
