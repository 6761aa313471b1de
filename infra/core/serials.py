"""Which machine stands for a host: the first one made for it, or a later one. Pure.

`fab replace` writes it into the stack's config, a step at a time; the Pulumi program makes what it
says:

    "1"      machine 1 serves, and is the only one (so it is for every host that the config does
             not name)
    "1+2"    machine 1 serves; machine 2 stands by, with an address of its own until it gets the
             host's
    "2+1"    machine 2 serves at the host's address; machine 1 is kept, with all that it holds
    "2-1"    as before, and machine 1 is no longer protected (production)
    "2"      machine 2 serves, and is the only one
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"([1-9]\d{0,3})(?:([+-])([1-9]\d{0,3}))?")
ARRIVING, LEAVING = "arriving", "leaving"


@dataclass(frozen=True)
class Serials:
    """The machine that serves as a host, and the one next to it while it is replaced."""

    serves: int = 1
    other: int | None = None
    protected: bool = True

    @classmethod
    def parse(cls, text: str) -> Serials:
        """Raises ValueError for what `fab replace` would not write."""
        problem = f"{text!r} names no machine; `fab replace` writes it like 2, 1+2, 2+1 or 2-1"
        match = _FORM.fullmatch(text)
        if not match:
            raise ValueError(problem)
        serves = int(match[1])
        if not match[3]:
            return cls(serves)
        other = int(match[3])
        protected = match[2] == "+"
        if abs(serves - other) != 1 or (other > serves and not protected):
            raise ValueError(problem)
        return cls(serves, other, protected)

    def __str__(self) -> str:
        if self.other is None:
            return str(self.serves)
        sign = "+" if self.protected else "-"
        return f"{self.serves}{sign}{self.other}"

    @property
    def standing(self) -> str:
        """What the other machine is: a newer one arrives, an older one leaves."""
        if self.other is None:
            return ""
        return ARRIVING if self.other > self.serves else LEAVING

    def machines(self) -> tuple[tuple[int, str, bool], ...]:
        """Number, standing and whether it is protected, the oldest machine first."""
        machines = [(self.serves, "", True)]
        if self.other is not None:
            protected = self.standing == LEAVING and self.protected
            machines.append((self.other, self.standing, protected))
        return tuple(sorted(machines))


def resource(host: str, serial: int) -> str:
    """The name of a machine's resources: the first one has the host's own."""
    return host if serial == 1 else f"{host}-{serial}"
