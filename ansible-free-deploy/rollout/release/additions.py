"""What the kit itself puts next to the project's packages: its own list, with hashes, apart from
the project's lock.

A package that the project has locked stays as it is; where it is too old for the kit, that is an
error and never another version. Files are from the index that this machine is set up with; the
hashes here decide what is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement

from rollout.release.declared import Requirements
from rollout.release.errors import ReleaseError

# The oldest that a project may bring. gunicorn before 22 takes requests that nginx and it read
# differently; django-cors-headers has the settings that the kit writes since 3.5.
ADDITIONS = ("gunicorn>=22", "django-cors-headers>=3.5")


@dataclass(frozen=True)
class Addition:
    """One wheel: its pin, its SHA-256, what it needs by its own metadata."""

    pin: str
    sha256: str
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.pin.partition("==")[0]

    @property
    def line(self) -> str:
        """As a requirements file has it."""
        return f"{self.pin} --hash=sha256:{self.sha256}"


# The newest first; of one package the first is taken whose needs the project's own versions meet.
LIST: tuple[Addition, ...] = (
    Addition(
        "gunicorn==27.0.1", "378b26b9a38adcf4592f28828233c1716acc55e833ea06bf48719782efaa0d10"
    ),
    Addition(
        "django-cors-headers==4.9.0",
        "15c7f20727f90044dcee2216a9fd7303741a864865f0c3657e28b7056f61b449",
        ("asgiref>=3.6", "django>=4.2"),
    ),
    Addition(
        "django-cors-headers==4.4.0",
        "5c6e3b7fe870876a1efdfeb4f433782c3524078fa0dc9e0195f6706ce7a242f6",
        ("asgiref>=3.6", "django>=3.2"),
    ),
    Addition(
        "django-cors-headers==3.14.0",
        "684180013cc7277bdd8702b80a3c5a4b3fcae4abb2bf134dceb9f5dfe300228e",
        ("django>=3.2",),
    ),
)


def missing(have: Mapping[str, str], wanted: Requirements) -> list[Addition]:
    """The additions to the versions that the project has, by normal names; "" is a version that is
    not known.

    Raises ReleaseError for versions that are too old, or that nothing of the list fits.
    """
    needs = [Requirement(text) for text in ADDITIONS]
    for need in needs:
        version = have.get(need.name)
        if version and not _allows(need, version):
            raise ReleaseError(
                f"{wanted.file} has {need.name}=={version}, and the kit needs {need}",
                cure="raise it there, or leave it out: the kit brings its own",
            )
    added: dict[str, Addition] = {}
    for need in needs:
        if need.name not in have:
            _add(need.name, have, added, wanted)
    return list(added.values())


def _allows(need: Requirement, version: str) -> bool:
    return need.specifier.contains(version, prereleases=True)


def _add(
    name: str,
    have: Mapping[str, str],
    added: dict[str, Addition],
    wanted: Requirements,
) -> None:
    """Add the newest addition of this name that fits, and what it needs."""
    known = [one for one in LIST if one.name == name]
    fitting = [one for one in known if not _unmet(one, have)]
    if not fitting:
        raise ReleaseError(_conflict(known, have, wanted))
    newest = fitting[0]
    added[name] = newest
    for need in map(Requirement, newest.needs):
        if need.name not in have and need.name not in added:
            _add(need.name, have, added, wanted)


def _unmet(one: Addition, have: Mapping[str, str]) -> list[Requirement]:
    """The needs that the project's versions don't meet, and those that neither the project nor the
    list has."""
    listed = {other.name for other in LIST}
    unmet: list[Requirement] = []
    for need in map(Requirement, one.needs):
        if need.name in have:
            version = have[need.name]
            if version and not _allows(need, version):
                unmet.append(need)
        elif need.name not in listed:
            unmet.append(need)
    return unmet


def _conflict(known: list[Addition], have: Mapping[str, str], wanted: Requirements) -> str:
    last = known[-1]
    need = _unmet(last, have)[0]
    there = f"has no {need.name}"
    if need.name in have:
        there = f"has {need.name}=={have[need.name]}"
    return (
        f"{wanted.file} {there}, and the kit's {last.pin} needs {need}; change that there, or add"
        f" the version of {last.name} that fits to it"
    )
