"""The steps of a replacement as a table, and where one that was stopped goes on."""

from __future__ import annotations

from dataclasses import dataclass

from infra.core.serials import Serials


@dataclass(frozen=True)
class Step:
    """One step; `data`: only for hosts that hold data; `serving`: the old machine can serve when it
    has failed."""

    name: str
    text: str
    data: bool = False
    serving: bool = True


STEPS = (
    Step("add", "makes the new machine"),
    Step("ready", "waits until it is ready"),
    Step("build", "builds the release for it"),
    Step("close", "stops writes on the old one", data=True),
    Step("copy", "copies the data here", data=True),
    Step("restore", "restores the data on the new one", data=True),
    Step("ship", "ships the release to it"),
    Step("deploy", "deploys the configuration to it"),
    Step("switch", "gives it the address of the old one", serving=False),
    Step("verify", "looks whether it serves", serving=False),
    Step("unprotect", "lifts the protection of the old one", serving=False),
    Step("remove", "removes the old one", serving=False),
    Step("clear", "clears up", serving=False),
)
CLOSED = ("close", "copy", "restore", "ship", "deploy")  # meanwhile the old machine takes no writes


def steps(role: str, production: bool, first: str = "add") -> list[Step]:
    """Those that a host of this role needs, from the one named `first` on."""
    names = [step.name for step in STEPS]
    needed = []
    for step in STEPS[names.index(first) :]:
        if step.data and role != "backend":
            continue
        if step.name == "unprotect" and not production:
            continue
        needed.append(step)
    return needed


def first_step(serials: Serials, old: int) -> str:
    """Where a replacement goes on, by what the config says."""
    if serials.other is None:
        return "add" if serials.serves == old else "remove"
    if serials.serves == old:
        return "add"
    return "switch" if serials.protected else "unprotect"
