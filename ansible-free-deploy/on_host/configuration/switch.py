"""Write a generation beside the others, make it current, and restart what has to."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Mapping  # noqa: UP035 - Python 3.9 on hosts

from on_host import journal, places
from on_host.configuration.state import (
    KEPT,
    by_activation,
    current_id,
    old_secrets,
    record_of,
    records,
    stale,
    units_of,
)
from on_host.files import link_of, point, sync, write_durably
from on_host.orders import ORDERS, Json
from on_host.runtime import Failed, run, step, wait_for
from on_host.services import (
    NGINX_ENABLED,
    for_want_of_memory,
    gave_up,
    hold_socket,
    journal_of,
    listens_elsewhere,
    loaded_by_gunicorn,
    loaded_by_nginx,
    service,
    systemctl,
    told_of,
)


def stage(generation: Json) -> Path:
    """Write the whole generation beside the others, durably; nothing reads it yet."""
    places.GENERATIONS.mkdir(parents=True, exist_ok=True)
    final = places.GENERATIONS / str(generation["id"])
    if final.exists() and current_id() != generation["id"]:
        shutil.rmtree(str(final))
    partial = places.GENERATIONS / (generation["id"] + ".partial")
    target = final if final.exists() else partial
    for file in generation["files"]:
        write_durably(target / file["path"], file["text"].encode(), file["mode"])
    for folder in {(target / file["path"]).parent for file in generation["files"]}:
        sync(folder)
    if target is partial:
        write_durably(
            partial / "generation.json", json.dumps(generation_record(generation)).encode(), 0o644
        )
        partial.rename(final)
    sync(places.GENERATIONS)
    return final


def generation_record(generation: Json) -> Json:
    """What a rollback has to know later: everything but the text, which the files hold."""
    files = [
        {"path": file["path"], "mode": file["mode"], "service": file["service"]}
        for file in generation["files"]
    ]
    return dict(generation, files=files, probes=ORDERS.get("probes", {}))


def switch(generation: Json) -> None:
    """Make the generation current, whose journal is written: the links that are new first exist
    when `current` does, so one rename does it."""
    units_differ = units_of(places.CONFIGURATION) != units_of(
        places.GENERATIONS / str(generation["id"])
    )
    step("switch", "switches to generation {}".format(generation["id"]))
    point(places.CONFIGURATION, "generations/" + generation["id"])
    step("link", "links the files to their places")
    for link in generation["links"]:
        if link_of(link["place"]) != str(places.CONFIGURATION / link["target"]):
            point(Path(link["place"]), str(places.CONFIGURATION / link["target"]))
            units_differ = True
    for place in generation["absent"]:
        if os.path.lexists(place):
            Path(place).unlink()
    if units_differ:  # it takes systemd longer than all the rest here
        systemctl("daemon-reload")
    # Debian's own unit; the kit's units are enabled by links of the generation, which `enable`
    # would pin to this one.
    if not os.path.lexists(NGINX_ENABLED):
        systemctl("enable", "-q", "nginx.service")


def write_journal(
    generation: Json, also: Mapping[str, str | None], code: str | None = None
) -> None:
    """Where to go back to, durably, before anything changes. `also` are links that are switched
    along with it, to the release `code`."""
    touched = [link["place"] for link in generation["links"]] + list(generation["absent"])
    back = current_id()
    links = {place: link_of(place) for place in touched}
    links[str(places.CONFIGURATION)] = f"generations/{back}" if back else None
    journal.begin(
        "configuration", str(generation["id"]), back, {**links, **also}, generation["units"], code
    )


def restart(generation: Json, reasons: dict[str, str], prefix: str = "restart") -> None:
    """`systemctl restart` for each service that needs it; done when what runs reports the new
    generation."""
    every = [unit for units in generation["units"].values() for unit in units]
    states = told_of(every)
    if any(told["ActiveState"] == ["failed"] for told in states.values()):
        run("systemctl", "reset-failed", *every)
    listening = run("ss", "-Hlnxt").stdout
    for name, units in generation["units"].items():
        for unit in [unit for unit in units if unit.endswith(".socket")]:
            if states[unit]["ActiveState"] != ["active"] or listens_elsewhere(
                unit, states[unit]["Listen"], listening
            ):
                hold_socket(unit, [u for u in units if u.endswith(".service")])
        if name in reasons:
            step(f"{prefix}-{name}", f"restarts {name}: {reasons[name]}")
            for unit in units:
                if unit.endswith(".service"):
                    systemctl("restart", unit)
            confirm(generation, name)


def confirm(generation: Json, name: str) -> None:
    wanted = generation["fingerprints"][name]
    if name == "gunicorn":
        unit = service()

        def up() -> bool:
            return loaded_by_gunicorn() == {(wanted, places.current_folder())}

        if wait_for(up, hopeless=lambda: gave_up(unit)):
            return
        raise Failed(
            f"no gunicorn worker came up with the new configuration{for_want_of_memory()}",
            journal_of(unit),
        )
    if not wait_for(lambda: loaded_by_nginx() == wanted):
        raise Failed(
            "nginx did not come up with the new configuration", journal_of("nginx.service")
        )


def settle_configuration(way: Json) -> None:
    """Let the services run the generation that is current, or stop what only the undone one has
    brought."""
    systemctl("daemon-reload")
    old = record_of(current_id())
    if old is not None:
        restart(old, stale(old), "back")
        return
    for units in way["units"].values():
        run("systemctl", "disable", "--now", *units)
    run("systemctl", "restart", "nginx.service")


def prune() -> None:
    """Keep the newest generations, the current one always; secrets only where they are the current
    one's.

    A secret that was replaced leaves with this. Nobody but root needs to read what is not current.
    """
    current = str(current_id())
    newest = sorted(records(), key=by_activation, reverse=True)[:KEPT]
    for path in list(places.GENERATIONS.iterdir()):
        if path.name not in (*newest, current):
            partial = path.with_name(
                path.name + ".partial"
            )  # half a generation must not look like one
            path.rename(partial)
            shutil.rmtree(str(partial))
    for path in old_secrets(current):
        path.unlink()
        sync(path.parent)
    places.GENERATIONS.chmod(0o711)
    for name in newest:
        if name != current:
            (places.GENERATIONS / name).chmod(0o700)
