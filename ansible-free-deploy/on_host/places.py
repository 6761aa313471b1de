"""Where things are on this host."""

from __future__ import annotations

import os
from pathlib import Path

from on_host.orders import ORDERS

ROOT = Path(ORDERS.get("root", "/"))  # another one in tests only
KIT = ROOT / "etc/origin-kit"
RUN = ROOT / "run/origin-kit"  # 0700: nobody but root can open what is in it, a lock included
JOURNAL = KIT / "journal.json"
GENERATIONS = KIT / "generations"
CONFIGURATION = KIT / "current"  # a link to the generation that is current


def app() -> str:
    """The application's name, which is in most paths."""
    return str(ORDERS.get("app", ""))


def user() -> str:
    """Who the application runs as."""
    return str(ORDERS.get("user", app()))


def is_backend() -> bool:
    """Whether the application runs here; a frontend has files alone."""
    return ORDERS.get("role") == "backend"


def home() -> Path:
    return ROOT / "opt" / app()


def releases() -> Path:
    """A release is complete as soon as it has its own name here; `<id>.partial` before, which the
    next run removes."""
    return home() / "releases"


def venvs() -> Path:
    """An environment is complete when `.complete` is in it; scripts hold their own path, so it
    can't be moved."""
    return home() / "venvs"


def current_release() -> Path:
    """The one switch of the code: a link, replaced by one rename."""
    return home() / "current"


def earlier() -> Path:
    """Links to the releases of a page that served before, named 1 for the last one and so on."""
    return home() / "earlier"


def data() -> Path:
    """Everything below is the application's: root makes the folder and gives it away."""
    return ROOT / "var/lib" / app()


def private() -> Path:
    """Where the environment of the application's programs is written for systemd; only root
    enters."""
    return ROOT / "run" / f"origin-kit-code-{app()}"


def staged() -> Path:
    """The files of a generation that Django reads, in memory, while a release is tried with
    them."""
    return ROOT / "run" / f"origin-kit-ship-{app()}"


def current_folder() -> str | None:
    """The folder of the release that is current, or None."""
    path = current_release()
    return os.path.realpath(str(path)) if path.exists() else None


def current_id() -> str | None:
    """The id of the release that is current, or None."""
    folder = current_folder()
    return Path(folder).name if folder else None
