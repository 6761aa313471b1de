"""Write a generation next to the others, make it current, and restart the services."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, Sequence  # noqa: UP035 - Python 3.9 on hosts

from on_host import journal, places, timers
from on_host.certificates import store
from on_host.configuration.state import (
    KEPT,
    by_activation,
    current_id,
    current_record,
    old_secrets,
    record_of,
    records,
    stale,
    units_of,
)
from on_host.files import link_of, point, sync, write_durably
from on_host.orders import ORDERS
from on_host.runtime import Failed, run, step, wait_for
from on_host.services import (
    HTTPS_SOCKET,
    NGINX_ENABLED,
    Properties,
    for_want_of_memory,
    gave_up,
    hold_socket,
    journal_of,
    listens_elsewhere,
    loaded_by_gunicorn,
    loaded_by_nginx,
    properties_of,
    service,
    systemctl,
)

if TYPE_CHECKING:
    from on_host.generations import FileFacts, Generation, GenerationHead
    from on_host.on_disk import GenerationRecord, Journal


def stage(generation: Generation) -> Path:
    """Write the whole generation next to the others, durably; nothing reads it yet."""
    places.GENERATIONS.mkdir(parents=True, exist_ok=True)
    final = places.GENERATIONS / str(generation["id"])
    is_current = current_id() == generation["id"]
    if final.exists() and not is_current:
        shutil.rmtree(str(final))
    if final.exists():
        write_files(generation, final)
    else:
        partial = final.with_name(f"{final.name}.partial")
        write_files(generation, partial)
        record = json.dumps(generation_record(generation))
        write_durably(partial / "generation.json", record.encode(), 0o644)
        partial.rename(final)
    sync(places.GENERATIONS)
    return final


def write_files(generation: Generation, target: Path) -> None:
    """Write the generation's files into a folder, durably."""
    folders = set()
    for file in generation["files"]:
        path = target / file["path"]
        write_durably(path, file["text"].encode(), file["mode"])
        folders.add(path.parent)
    for folder in folders:
        sync(folder)


def generation_record(generation: Generation) -> GenerationRecord:
    """What a rollback needs later: everything but the texts, which the files hold."""
    files: list[FileFacts] = []
    for file in generation["files"]:
        files.append(
            {
                "path": file["path"],
                "mode": file["mode"],
                "service": file["service"],
            }
        )
    return {
        **generation,
        "files": files,
        "probes": ORDERS.get("probes", {}),
    }


def switch(generation: GenerationHead) -> None:
    """Make the generation current; its journal must be written.

    One rename does it: new links point below `current`, so they come into effect with it.
    """
    ended = dropped(generation)
    old_units = units_of(places.CONFIGURATION)
    new_units = units_of(places.GENERATIONS / str(generation["id"]))
    step("switch", f"switches to generation {generation['id']}")
    point(places.CONFIGURATION, f"generations/{generation['id']}")
    step("link", "links the files to their places")
    links_changed = place_links(generation)
    for place in [*generation["absent"], *ended]:
        if os.path.lexists(place):
            if place.endswith(".timer"):  # else it goes on until the next boot
                run("systemctl", "stop", Path(place).name)
            Path(place).unlink()
    stop_commands(ended)
    # It takes systemd longer than everything else here, so only where it is necessary.
    if links_changed or old_units != new_units:
        systemctl("daemon-reload")
    # Only Debian's own unit is enabled here. The kit's units are enabled by links of the
    # generation; `enable` would make links to this one generation.
    if not os.path.lexists(NGINX_ENABLED):
        systemctl("enable", "-q", "nginx.service")


def dropped(generation: GenerationHead) -> list[str]:
    """The places of links of the current generation that this one says nothing of, as those of a
    timer that the config has no more."""
    mentioned = {link["place"] for link in generation["links"]} | set(generation["absent"])
    found = []
    for link in current_record()["links"]:
        place = link["place"]
        target = str(places.CONFIGURATION / link["target"])
        if place not in mentioned and link_of(place) == target:
            found.append(place)
    return found


def stop_commands(ended: Sequence[str]) -> None:
    """End what the timers at these places have started: it belongs to no generation any more."""
    names = {Path(place).name for place in ended if place.endswith(".timer")}
    for name in sorted(names):
        run("systemctl", "stop", timers.service_of(name))


def place_links(generation: GenerationHead) -> bool:
    """Make the generation's links; whether one was missing or pointed elsewhere."""
    changed = False
    for link in generation["links"]:
        target = str(places.CONFIGURATION / link["target"])
        if link_of(link["place"]) != target:
            point(Path(link["place"]), target)
            changed = True
    return changed


def write_journal(
    generation: GenerationHead, also: Mapping[str, str | None], code: str | None = None
) -> None:
    """Write the state to roll back to, durably, before anything changes.

    `also` are links that are switched in the same step, to the release `code`.
    """
    touched = [link["place"] for link in generation["links"]]
    touched += generation["absent"]
    touched += dropped(generation)
    back = current_id()
    links = {place: link_of(place) for place in touched}
    links[str(places.CONFIGURATION)] = f"generations/{back}" if back else None
    links.update(also)
    journal.begin(
        "configuration",
        str(generation["id"]),
        back,
        links,
        generation["units"],
        code,
    )


def restart(generation: GenerationHead, reasons: dict[str, str], prefix: str = "restart") -> None:
    """Restart each service in `reasons`; done when it reports the new generation.

    Sockets that systemd does not hold as the generation says are opened too, and the one of https
    is closed where the generation has none.
    """
    every_unit: list[str] = []
    for units in generation["units"].values():
        every_unit += units
    states = properties_of([*every_unit, HTTPS_SOCKET])
    if any(state["ActiveState"] == ["failed"] for state in states.values()):
        run("systemctl", "reset-failed", *every_unit)
    if HTTPS_SOCKET not in every_unit and states[HTTPS_SOCKET]["ActiveState"] == ["active"]:
        systemctl("stop", HTTPS_SOCKET)
    open_now = run("ss", "-Hlnxt").stdout
    for name, units in generation["units"].items():
        services = [unit for unit in units if unit.endswith((".service", ".timer"))]
        hold_sockets(units, services, states, open_now, name in reasons)
        if name in reasons:
            step(f"{prefix}-{name}", f"restarts {name}: {reasons[name]}")
            for unit in services:
                systemctl("restart", unit)
            confirm(generation, name)


def hold_sockets(
    units: Sequence[str],
    services: list[str],
    states: dict[str, Properties],
    open_now: str,
    restarts: bool,
) -> None:
    """Let systemd hold the sockets among the units; `restarts`: the services do so next."""
    sockets = [unit for unit in units if unit.endswith(".socket")]
    lacking = [unit for unit in sockets if not is_held(unit, states[unit], open_now)]
    if restarts and comes_with_the_service(lacking, sockets, states):
        return
    for unit in lacking:
        hold_socket(unit, services)


def comes_with_the_service(
    lacking: list[str], sockets: list[str], states: dict[str, Properties]
) -> bool:
    """Whether a restart of the service opens these sockets: each is closed, and another one stays
    open.

    systemd then starts them between the end of the old process and the start of the new one
    (`Requires=` and `After=`), and requests wait at the open one. systemd.unit(5), "Before=": of a
    unit that is restarted the stop comes first.
    """
    closed = all(states[unit]["ActiveState"] == ["inactive"] for unit in lacking)
    return closed and len(lacking) < len(sockets)


def is_held(unit: str, state: Properties, open_now: str) -> bool:
    """Whether systemd holds the sockets of a unit as the unit's file says."""
    if state["ActiveState"] != ["active"]:
        return False
    return not listens_elsewhere(unit, state["Listen"], open_now)


def confirm(generation: GenerationHead, name: str) -> None:
    """Wait until a service reports the generation. Raises Failed where it does not."""
    wanted = generation["fingerprints"][name]
    if name == "gunicorn":
        confirm_gunicorn(wanted)
    elif name == "nginx" and not wait_for(lambda: loaded_by_nginx() == wanted):
        raise Failed(
            "nginx did not come up with the new configuration; see `fab logs`",
            journal_of("nginx.service"),
        )


def confirm_gunicorn(wanted: str) -> None:
    unit = service()

    def is_up() -> bool:
        return loaded_by_gunicorn() == {(wanted, places.current_folder())}

    if not wait_for(is_up, hopeless=lambda: gave_up(unit)):
        why = for_want_of_memory() or "; see `fab logs`"
        raise Failed(
            f"no gunicorn worker came up with the new configuration{why}", journal_of(unit)
        )


def settle_configuration(way: Journal) -> None:
    """Let the services run the current generation.

    Where there is none, stop the services that only the rolled back generation has added.
    """
    systemctl("daemon-reload")
    old = record_of(current_id())
    if old is not None:
        stop_new_timers(way, old)
        restart(old, stale(old), "back")
        store.settle()
        return
    for units in way["units"].values():
        run("systemctl", "disable", "--now", *units)
    run("systemctl", "restart", "nginx.service")


def stop_new_timers(way: Journal, old: GenerationHead) -> None:
    """Stop the timers that only the rolled back generation has: their files are gone, and systemd
    would go on with what it has read."""
    for name, units in way["units"].items():
        kept = old["units"].get(name, ())
        for unit in units:
            if unit.endswith(".timer") and unit not in kept:
                run("systemctl", "stop", unit)


def prune() -> None:
    """Keep the newest generations and always the current one; secrets only in the current one.

    Secrets that were replaced are removed. Of generations that are not current, nobody but root
    needs to read anything.
    """
    current = str(current_id())
    newest = sorted(records(), key=by_activation, reverse=True)[:KEPT]
    for path in list(places.GENERATIONS.iterdir()):
        if path.name in newest or path.name == current:
            continue
        partial = path.with_name(path.name + ".partial")  # half a generation must not look like one
        path.rename(partial)
        shutil.rmtree(str(partial))
    for path in old_secrets(current):
        path.unlink()
        sync(path.parent)
    store.prune()
    places.GENERATIONS.chmod(0o711)
    for name in newest:
        if name != current:
            (places.GENERATIONS / name).chmod(0o700)
