"""The host that wheels are for: what its Python can load, and what markers say there."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from packaging.markers import Environment
from packaging.tags import Tag, compatible_tags, cpython_tags

from on_host.answers import FactsAnswer
from rollout.release.errors import ReleaseError

_LEGACY_TAGS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST_GLIBC_MINOR = {"x86_64": 5, "i686": 5}
_UV_GLIBC_MINORS = range(28, 41)


@dataclass(frozen=True)
class Target:
    """`python` is major.minor, `machine` as `uname -m` says, `libc` glibc's version, `full`
    Python's whole version."""

    python: str = "3.11"
    machine: str = "x86_64"
    libc: str = "2.36"
    full: str = ""

    @classmethod
    def of(cls, facts: FactsAnswer) -> Target:
        """From what a host answered to the verb `facts`."""
        return cls(
            facts["python"],
            facts["machine"],
            facts["libc"],
            facts["python_full"],
        )

    @property
    def version(self) -> str:
        """The whole version, as markers compare it (`python_full_version`)."""
        return self.full.rstrip("+") or f"{self.python}.0"

    @property
    def abi(self) -> str:
        """CPython's own tag, e.g. cp311 (PEP 425)."""
        return "cp" + self.python.replace(".", "")

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags that this host can load (PEP 600), newest first; wheels without a
        platform always count."""
        oldest = _OLDEST_GLIBC_MINOR.get(self.machine, 17)
        tags = []
        for minor in range(self._glibc_minor, oldest - 1, -1):
            tags.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in _LEGACY_TAGS:
                tags.append(f"{_LEGACY_TAGS[minor]}_{self.machine}")
        return (*tags, f"linux_{self.machine}")  # built for this very system

    @property
    def uv_platform(self) -> str:
        """The nearest that `uv --python-platform` knows; it matters for markers only, `tags` choose
        the files."""
        if self.machine not in ("x86_64", "aarch64"):
            raise ReleaseError(
                f"hosts of kind {self.machine} are not served",
                cure="use x86_64 or aarch64 machines",
            )
        minor = min(self._glibc_minor, _UV_GLIBC_MINORS[-1])
        if minor not in _UV_GLIBC_MINORS:
            return f"{self.machine}-manylinux2014"
        return f"{self.machine}-manylinux_2_{minor}"

    @functools.cached_property
    def tags(self) -> tuple[Tag, ...]:
        """What a wheel's name may say, best first."""
        major, minor = self.python.split(".")
        version = (int(major), int(minor))
        of_cpython = cpython_tags(version, [self.abi], self.platforms)
        of_any_python = compatible_tags(version, self.abi, self.platforms)
        return (*of_cpython, *of_any_python)

    @property
    def environment(self) -> Environment:
        """What markers are evaluated with (PEP 508)."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.version,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.version,
            "python_version": self.python,
            "sys_platform": "linux",
        }

    def __str__(self) -> str:
        return f"Python {self.python} on {self.machine} (glibc {self.libc})"

    @property
    def _glibc_minor(self) -> int:
        match = re.match(r"2\.(\d+)", self.libc)
        if not match:
            raise ReleaseError(
                f"the host's C library is {self.libc or 'not glibc'}",
                cure="use a glibc system, e.g. Debian",
            )
        return int(match[1])
