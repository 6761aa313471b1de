"""Commands of the application that run at times of their own: systemd's timers, as files of a
generation, so that a rollback brings back those of then."""

from __future__ import annotations

from collections.abc import Iterable

from infra.core import commands
from infra.core.contract import Application
from on_host.timers import SERVICE, service_of
from rollout.render import places
from rollout.render.generation import File, Link
from rollout.render.templates import fill
from rollout.render.units import as_the_service, stop_timeout


def files(application: Application) -> tuple[File, ...]:
    """The service and the timer of each command."""
    found: list[File] = []
    for name, timer in sorted(application.timers.items()):
        unit = f"systemd/{application.name}-{name}"
        found += [
            File(f"{unit}.service", _service(application, name, timer["run"])),
            File(f"{unit}.timer", _timer(application, name, timer["at"]), SERVICE),
        ]
    return tuple(found)


def links(application: Application) -> tuple[Link, ...]:
    """As `units.nginx_links`, for these units."""
    found: list[Link] = []
    for timer in units(application).get(SERVICE, ()):
        for unit in (service_of(timer), timer):
            found.append(Link(f"/etc/systemd/system/{unit}", f"systemd/{unit}"))
        wanted = f"/etc/systemd/system/timers.target.wants/{timer}"
        found.append(Link(wanted, f"systemd/{timer}"))
    return tuple(found)


def units(application: Application) -> dict[str, tuple[str, ...]]:
    """The timers, which a deploy starts; nothing where there are none."""
    found = tuple(f"{application.name}-{name}.timer" for name in sorted(application.timers))
    return {SERVICE: found} if found else {}


def _service(application: Application, name: str, run: str) -> str:
    return fill(
        "timer.service",
        app=application.name,
        name=name,
        start=start(application, commands.words(run)),
        stop_s=stop_timeout(application),
        as_the_service="\n".join(as_the_service(application)),
    )


def _timer(application: Application, name: str, at: str) -> str:
    return fill("timer.timer", app=application.name, name=name, at=at)


def start(application: Application, words: Iterable[str]) -> str:
    """The line that starts a command, for systemd."""
    program, *rest = words
    binaries = f"{places.release(application.name)}/venv/bin"
    if program == commands.MANAGE:
        # manage.py may set a settings module of its own in the environment; an option wins.
        rest = [program, *rest[:1], f"--settings={places.SETTINGS_MODULE}", *rest[1:]]
        program = "python"
    if not program.startswith("/"):
        program = f"{binaries}/{program}"
    return " ".join([_escaped(program), *(f'"{_quoted(word)}"' for word in rest)])


def _escaped(word: str) -> str:
    """systemd.service(5), "Command lines": % starts a specifier, $ a variable."""
    return word.replace("%", "%%").replace("$", "$$")


def _quoted(word: str) -> str:
    """The inside of a quoted word: there a backslash starts an escape."""
    return _escaped(word.replace("\\", "\\\\").replace('"', '\\"'))
