"""Make one host hold one generation, or leave it as it was.

Standard library only (Python >= 3.9): this text is sent to the host and runs there as root, as one unit of work. It
finds its orders in the global PAYLOAD and prints JSON lines: `{"step": ...}` as it goes, then `{"result": ...}` or
`{"error": ...}`. It writes nothing outside /etc/origin-kit, the links that the generation names, the unit that goes
back after a power cut, /run/origin-kit and /var/log/origin-kit.

The one switch is the rename of /etc/origin-kit/current. Before it a journal says where to go back to; when the outcome
is known the journal goes away (`journal`, `two_phase`). Whoever finds a journal (the next run after a kill, the boot
after a power cut) finishes or undoes that change first, be it a configuration or a release.
"""

from __future__ import annotations

# What only some of the work needs is imported there: a question that finds nothing to do is to cost a host little.
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, Mapping, TextIO  # noqa: UP035 - Python 3.9 evaluates the aliases below

import rollout
from rollout import (
    claims,
    handover,
    journal,
    logfiles,
    logins,
    made_from,
    manifest,
    modules,
    replacement,
    seal,
    shipped,
    two_phase,
    untrusted,
)
from rollout.confined import Confined, Ended
from rollout.journal import STARTED, audit, link_of
from rollout.onhost import (
    EXCEPTION,
    KIT,
    PAYLOAD,
    ROOT,
    RUN,
    WAIT_S,
    Failed,
    Json,
    emit,
    end_step,
    hide,
    journal_of,
    last_lines,
    phases,
    point,
    run,
    send_heartbeats,
    step,
    sync,
    take_lock,
    trouble,
    try_lock,
    wait_for,
    write_durably,
)
from rollout.seal import is_secret

SCRIPT: str = globals().get("SCRIPT", "")  # this whole text, for the unit that the work is handed to
GENERATIONS = KIT / "generations"
CURRENT = KIT / "current"
NGINX_STATUS = "/run/origin-kit-nginx.sock"
NGINX_ENABLED = "/etc/systemd/system/multi-user.target.wants/nginx.service"
KEPT = 10
USER_AGENT = "origin-kit"  # for who reads the logs; nothing goes by it, since anybody can send it
LARGEST_PAGE = 1 << 20  # bytes of a page that are looked at
Answer = tuple[int, dict[str, list[str]], bytes]  # status, headers by lower-case name, body


def systemctl(*words: str) -> None:
    done = run("systemctl", *words)
    if done.returncode:
        raise Failed(
            "systemctl {} failed; the unit's own words follow".format(" ".join(words)),
            done.stdout + journal_of(words[-1]),
        )


# ------------------------------------------------------------------------------------------------- files and links


def current_id() -> str | None:
    target = link_of(CURRENT)
    return Path(target).name if target else None


def file_state(path: Path) -> tuple[bytes, int, int, int] | None:
    """Bytes, owner and mode, or None."""
    try:
        found = path.lstat()
        return path.read_bytes(), found.st_uid, found.st_gid, found.st_mode & 0o7777
    except OSError:
        return None


def differences(generation: Json) -> list[str]:
    """Paths of the generation whose bytes, owner or mode are not those on disk, and links that point elsewhere."""
    base = GENERATIONS / generation["id"]
    wrong = [] if current_id() == generation["id"] else ["current"]
    wrong += [
        f["path"] for f in generation["files"] if file_state(base / f["path"]) != (f["text"].encode(), 0, 0, f["mode"])
    ]
    wrong += [link["place"] for link in generation["links"] if link_of(link["place"]) != str(CURRENT / link["target"])]
    wrong += [place for place in generation["absent"] if os.path.lexists(place)]
    return wrong + left_secrets(generation)


def left_secrets(generation: Json) -> list[str]:
    """What still holds secrets that were replaced, though this generation is current: a commit removes them, and a
    run that was killed may not have come to it."""
    if current_id() != generation["id"]:
        return []
    left = [*GENERATIONS.glob("*.partial"), *old_secrets(generation["id"])]
    return [str(path.relative_to(KIT)) for path in left]


def old_secrets(current: str) -> list[Path]:
    """Secret files of other generations that do not hold what the current one's hold."""
    found = []
    for name, record in records().items():
        for file in record["files"]:
            path = GENERATIONS / name / file["path"]
            if name == current or not is_secret(file) or not path.exists():
                continue
            if file_state(path) != file_state(CURRENT / file["path"]):
                found.append(path)
    return found


# ------------------------------------------------------------------------------------------------- what runs


def release() -> str | None:
    """The folder of the release that is current, or None."""
    path = Path(ROOT, "opt", PAYLOAD["app"], "current")
    return os.path.realpath(str(path)) if path.exists() else None


def current_release() -> str | None:
    """The id of the release that is current, or None."""
    folder = release()
    return Path(folder).name if folder else None


def release_made_from() -> Json | None:
    """The keys of the config that the current release was made from, as they were then."""
    folder = release()
    return made_from.of(Path(ROOT, "opt", PAYLOAD["app"]), Path(folder).name) if folder else None


def changed_in_release() -> list[str]:
    """What of the current release, and of the environment that it runs in, is not as it was shipped."""
    folder = release()
    if folder is None:
        return []
    venv = Path(folder, "venv")
    if venv.is_symlink() and not (venv / ".complete").exists():
        return ["venv"]
    inner = manifest.changes(venv.resolve()) if venv.is_symlink() else []
    return [*manifest.changes(Path(folder)), *(f"venv/{path}" for path in inner)]


def loaded_by_nginx() -> str | None:
    """The fingerprint that the running nginx loaded, told on its local socket; None where it does not answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        try:
            connection.connect(NGINX_STATUS)
            connection.sendall(b"GET /loaded HTTP/1.0\r\n\r\n")
            head, _, body = b"".join(iter(lambda: connection.recv(4096), b"")).partition(b"\r\n\r\n")
        except OSError:
            return None
    return body.decode().strip() if b" 200 " in head.split(b"\r\n")[0] else None


def loaded_by_gunicorn() -> set[tuple[str, str]]:
    """What the living workers loaded, as a set of (fingerprint, release)."""
    return {(record["fingerprint"], record["release"]) for record in untrusted.worker_records(PAYLOAD["app"])}


def loads_current_release() -> bool:
    """Whether every worker has loaded the release that is current; also where there is no service to run one."""
    return not has_service() or {loaded for _, loaded in loaded_by_gunicorn()} == {release()}


def has_service() -> bool:
    """Whether there is a service to restart: not before the first deploy, and never on a frontend."""
    return run("systemctl", "show", "-p", "LoadState", "--value", service()).stdout.strip() == "loaded"


def service() -> str:
    """The application's unit."""
    return "{}.service".format(PAYLOAD["app"])


def stale(generation: Json) -> dict[str, str]:
    """Service → why it has to restart; empty where what runs is what is wanted."""
    wanted, reasons = generation["fingerprints"], {}
    if "gunicorn" in wanted:
        running = loaded_by_gunicorn()
        if not running:
            reasons["gunicorn"] = "it does not run"
        elif running != {(wanted["gunicorn"], release())}:
            other = any(fingerprint != wanted["gunicorn"] for fingerprint, _ in running)
            reasons["gunicorn"] = "it runs on other configuration" if other else "it runs another release"
    if "nginx" in wanted:
        loaded = loaded_by_nginx()
        if loaded != wanted["nginx"]:
            reasons["nginx"] = "it runs on other configuration" if loaded else "it does not run under the kit yet"
    return reasons


def compare(generation: Json) -> tuple[list[str], dict[str, str]]:
    """What differs on disk, and service → why it has to restart: a file of it that was changed by hand counts too."""
    wrong, reasons = differences(generation), stale(generation)
    if current_id() == generation["id"]:
        edited = {file["service"] for file in generation["files"] if file["path"] in wrong and file["service"]}
        reasons = {**dict.fromkeys(sorted(edited), "a file of it was changed by hand"), **reasons}
    return wrong, reasons


# ------------------------------------------------------------------------------------------------- stage and validate


def stage(generation: Json) -> Path:
    """Write the whole generation beside the others, durably; nothing reads it yet."""
    GENERATIONS.mkdir(parents=True, exist_ok=True)
    final = GENERATIONS / str(generation["id"])
    if final.exists() and current_id() != generation["id"]:
        shutil.rmtree(str(final))
    partial = GENERATIONS / (generation["id"] + ".partial")
    target = final if final.exists() else partial
    for file in generation["files"]:
        write_durably(target / file["path"], file["text"].encode(), file["mode"])
    for folder in {(target / file["path"]).parent for file in generation["files"]}:
        sync(folder)
    if target is partial:
        write_durably(partial / "generation.json", json.dumps(generation_record(generation)).encode(), 0o644)
        partial.rename(final)
    sync(GENERATIONS)
    return final


def generation_record(generation: Json) -> Json:
    """What a rollback has to know later: everything but the text, which the files hold."""
    files = [{"path": file["path"], "mode": file["mode"], "service": file["service"]} for file in generation["files"]]
    return dict(generation, files=files, probes=PAYLOAD.get("probes", {}))


def validate(generation: Json, staged: Path, code: str) -> None:
    """Try the staged generation with the release in the folder `code`. Raises Failed; nothing was changed then."""
    if "gunicorn" in generation["fingerprints"]:
        step("check-django", "checks the project with the staged settings")
        check_django(staged, code)
    step("check-nginx", "tests nginx on the staged tree")
    check_nginx(generation)


def check_nginx(generation: Json) -> None:
    """`nginx -t` as the host would be after the switch.

    Debian's nginx.conf includes absolute paths, so the staged tree is bound over /etc/nginx in a
    mount namespace of its own. Raises Failed with nginx's words.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="origin-kit-") as scratch:
        nginx, kit = Path(scratch, "nginx"), Path(scratch, "kit")
        shutil.copytree("/etc/nginx", str(nginx), symlinks=True)
        kit.mkdir()
        (kit / "generations").mkdir()
        (kit / "current").symlink_to("generations/" + generation["id"])
        for link in generation["links"]:
            if link["place"].startswith("/etc/nginx/"):
                point(nginx / link["place"][len("/etc/nginx/") :], str(CURRENT / link["target"]))
        for place in generation["absent"]:
            if place.startswith("/etc/nginx/"):
                with contextlib.suppress(FileNotFoundError):
                    (nginx / place[len("/etc/nginx/") :]).unlink()
        script = (
            'mount --bind "$1/generations" "$3/generations" && mount --rbind "$3" "$1" && '
            'mount --bind "$2" /etc/nginx && exec nginx -t -q -c "$4"'
        )
        done = run("unshare", "-m", "sh", "-c", script, "sh", str(KIT), str(nginx), str(kit), main_file(generation))
    if done.returncode:
        places = [link["place"] for link in generation["links"]]
        raise Failed(f"{why_nginx(done, places)}; nothing was changed", done.stdout.replace(scratch, ""))


def main_file(generation: Json) -> str:
    """The file that nginx starts with: the generation's own, or Debian's for one of an older kit."""
    own = "/etc/nginx/origin-kit-main.conf"
    return own if own in [link["place"] for link in generation["links"]] else "/etc/nginx/nginx.conf"


def why_nginx(done: subprocess.CompletedProcess[str], places: list[str]) -> str:
    """Why the test of nginx failed: nginx itself, or what it takes to ask it; `places` are the kit's own files."""
    if done.returncode == 127:
        return "nginx is not installed on this host (Debian: nginx-light)"
    if not re.search(r"^nginx: ", done.stdout, re.MULTILINE):
        return "nginx can't be tested: a mount namespace of its own is refused to root here"
    where = re.search(r" in (/\S+):\d+$", done.stdout, re.MULTILINE)
    if where and where[1] not in places and not where[1].startswith(str(KIT)):
        return f"nginx refuses the new configuration because of {where[1]}, which is not this kit's"
    return "nginx refuses the new configuration"


def check_django(staged: Path, code: str) -> None:
    """`manage.py check --deploy` under the staged settings, as the service's user and within its limits, or Failed."""
    app, environment = PAYLOAD["app"], Path(PAYLOAD["job"], "environment")
    environment.write_bytes((staged / "environment").read_bytes().replace(bytes(CURRENT), bytes(staged)))
    place = Confined(app, app, (staged / "systemd" / f"{app}.service").read_text(), Path(PAYLOAD["job"], "private"))
    done = place.run(
        f"{code}/venv/bin/python", "manage.py", "check", "--deploy", "--fail-level", "ERROR",
        cwd=f"{code}/app", files=(staged / "secrets.env", environment),
    )  # fmt: skip
    if done.late:
        raise Failed(f"manage.py check did not end within {done.limit_s:g} s and was stopped; nothing was changed")
    if done.returncode:
        lacking = modules.missing(staged, Path(code))
        why = modules.needs_ship(lacking[0]) if lacking else why_django(done)
        raise Failed(f"{why}; nothing was changed", last_lines(done.stdout))


_SYSTEMD_EXITS = range(200, 250)  # systemd.exec(5): it did not come to start the program
_NOT_ASKED = ("Failed to connect to bus", "Failed to start transient", "Failed to create bus")


def why_django(done: subprocess.CompletedProcess[str] | Ended) -> str:
    """Why the checks failed: the project, what is left of it here, or who starts them."""
    if paths := changed_in_release():
        return f"the project fails its checks, and its release was changed on the host ({paths[0]}): run `fab ship`"
    if done.stdout.lstrip().startswith(_NOT_ASKED):
        return "systemd can't start the project's checks; see `systemctl status` on the host"
    if done.returncode in _SYSTEMD_EXITS and not done.stdout.strip():
        return f"the release's Python can't be started there (systemd's status {done.returncode}): run `fab ship`"
    if not done.stdout.strip():
        return f"the project's checks ended with status {done.returncode} and no word; out of memory?"
    return "the project does not pass its checks with the new settings"


# ------------------------------------------------------------------------------------------------- switch and restart


def switch(generation: Json) -> None:
    """Make the generation current, whose journal is written: the links that are new first exist when `current` does,
    so one rename does it."""
    units_differ = units_of(CURRENT) != units_of(GENERATIONS / str(generation["id"]))
    step("switch", "switches to generation {}".format(generation["id"]))
    point(CURRENT, "generations/" + generation["id"])
    step("link", "links the files to their places")
    for link in generation["links"]:
        if link_of(link["place"]) != str(CURRENT / link["target"]):
            point(Path(link["place"]), str(CURRENT / link["target"]))
            units_differ = True
    for place in generation["absent"]:
        if os.path.lexists(place):
            Path(place).unlink()
    if units_differ:  # it takes systemd longer than all the rest here
        systemctl("daemon-reload")
    # Debian's own unit; the kit's units are enabled by links of the generation, which `enable` would pin to this one.
    if not os.path.lexists(NGINX_ENABLED):
        systemctl("enable", "-q", "nginx.service")


def units_of(folder: Path) -> dict[str, bytes]:
    """systemd's part of a generation, by path."""
    base = folder / "systemd"
    return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}


def write_journal(generation: Json, also: Mapping[str, str | None], code: str | None = None) -> None:
    """Where to go back to, durably, before anything changes. `also` are links that are switched along with it, to the
    release `code`."""
    touched = [link["place"] for link in generation["links"]] + list(generation["absent"])
    back = current_id()
    links = {place: link_of(place) for place in touched}
    links[str(CURRENT)] = f"generations/{back}" if back else None
    journal.begin("configuration", str(generation["id"]), back, {**links, **also}, generation["units"], code)


def settle(way: Json) -> None:
    """After the links have gone back: bring what runs back to what is on disk again.

    The journal goes even where that fails: what did not come up once must not stop every later run.
    """
    try:
        if way["kind"] == "release":
            settle_release()
        else:
            settle_configuration(way)
    finally:
        journal.forget()


def settle_release() -> None:
    """Let the service run the release that is current."""
    if release() is None or loads_current_release():
        return
    step("back-release", "restarts {} with the release before".format(PAYLOAD["app"]))
    try:
        restart_service()
        await_workers()
    except Failed as problem:
        raise Failed(f"{service()} does not come up with the release before either", problem.detail) from problem


def restart_service() -> None:
    """Restart the application's service, even one that systemd has given up."""
    run("systemctl", "reset-failed", service())
    done = run("systemctl", "restart", service())
    if done.returncode:
        raise Failed(f"{service()} does not start", last_lines(done.stdout + journal_of(service())))


def await_workers() -> None:
    """Wait until every worker has loaded the release that is current."""
    if not wait_for(loads_current_release, PAYLOAD.get("workers_s", WAIT_S)):
        raise Failed("no worker has loaded it in time", last_lines(journal_of(service())))


def settle_configuration(way: Json) -> None:
    """Let the services run the generation that is current, or stop what only the undone one has brought."""
    systemctl("daemon-reload")
    old = record_of(current_id())
    if old is not None:
        restart(old, stale(old), "back")
        return
    for units in way["units"].values():
        run("systemctl", "disable", "--now", *units)
    run("systemctl", "restart", "nginx.service")


def record_of(name: str | None) -> Json | None:
    """What `generation_record` has noted of a generation, or None where there is none."""
    return records().get(name) if name else None


def restart(generation: Json, reasons: dict[str, str], prefix: str = "restart") -> None:
    """`systemctl restart` for each service that needs it; done when what runs reports the new generation."""
    every = [unit for units in generation["units"].values() for unit in units]
    states = told_of(every)
    if any(told["ActiveState"] == ["failed"] for told in states.values()):
        run("systemctl", "reset-failed", *every)
    listening = run("ss", "-Hlnxt").stdout
    for service, units in generation["units"].items():
        for unit in [unit for unit in units if unit.endswith(".socket")]:
            if states[unit]["ActiveState"] != ["active"] or listens_elsewhere(unit, states[unit]["Listen"], listening):
                hold_socket(unit, [u for u in units if u.endswith(".service")])
        if service in reasons:
            step(f"{prefix}-{service}", f"restarts {service}: {reasons[service]}")
            for unit in units:
                if unit.endswith(".service"):
                    systemctl("restart", unit)
            confirm(generation, service)


def told_of(units: list[str]) -> dict[str, dict[str, list[str]]]:
    """What systemd says of each unit, by property; one question for all, since each costs it as much as a program."""
    found: dict[str, dict[str, list[str]]] = {}
    done = run("systemctl", "show", "-p", "Id,ActiveState,Listen", *units)
    if done.returncode:
        raise Failed("systemd does not answer; see `systemctl status` on the host", done.stdout)
    for text in done.stdout.split("\n\n"):
        told: dict[str, list[str]] = {"Id": [], "ActiveState": [], "Listen": []}
        for line in text.splitlines():
            name, _, value = line.partition("=")
            told.setdefault(name, []).append(value)
        found.update(dict.fromkeys(told["Id"], told))
    return found


def hold_socket(unit: str, services: list[str]) -> None:
    """Let systemd hold the listening sockets. Its service has it open until then: one short gap, once."""
    for service in services:
        run("systemctl", "stop", service)
    run("systemctl", "stop", unit)
    run("systemctl", "reset-failed", unit, *services)
    done = run("systemctl", "start", unit)
    if done.returncode:
        raise Failed(f"{unit} can't listen; `ss -ltnp` on the host shows who does", journal_of(unit))


def check_ports(generation: Json) -> None:
    """Raises Failed where another program than nginx has a port of the kit's, before anything is stopped for it."""
    units = [file["text"] for file in generation["files"] if file["path"].endswith(".socket")]
    for port in sorted(
        {port for text in units for port in re.findall(r"^ListenStream=(?:\S*:)?(\d+)$", text, re.MULTILINE)}
    ):
        holders = set(re.findall(r'\("([^"]+)",pid=(\d+)', run("ss", "-Hlntp", "sport", "=", ":" + port).stdout))
        for name, pid in sorted(holders):
            if name not in ("systemd", "nginx"):
                raise Failed(
                    f"port {port} is taken by {name} (pid {pid}); stop it, then run this again; nothing was changed"
                )


def listens_elsewhere(unit: str, told: list[str], open_now: str) -> bool:
    """Whether the socket unit listens on something else than its file says now; `told` is systemd's word on it."""
    path = Path("/etc/systemd/system", unit)
    wanted = {
        line.split("=", 1)[1].strip() for line in path.read_text().splitlines() if line.startswith("ListenStream=")
    }
    listening = {line.split(" ")[0] for line in told}
    return listening != wanted or any(address.split(":")[-1] not in open_now for address in wanted)


def gave_up(unit: str) -> bool:
    """Whether a service that was just started has died since: systemd starts it again and again."""
    shown = run("systemctl", "show", "-p", "NRestarts,ActiveState", "--value", unit).stdout.split()
    return shown[:1] != ["0"] or "failed" in shown


def confirm(generation: Json, service: str) -> None:
    wanted = generation["fingerprints"][service]
    if service == "gunicorn":
        unit = PAYLOAD["app"] + ".service"

        def up() -> bool:
            return loaded_by_gunicorn() == {(wanted, release())}

        if wait_for(up, hopeless=lambda: gave_up(unit)):
            return
        raise Failed("no gunicorn worker came up with the new configuration", journal_of(unit))
    if not wait_for(lambda: loaded_by_nginx() == wanted):
        raise Failed("nginx did not come up with the new configuration", journal_of("nginx.service"))


# ------------------------------------------------------------------------------------------------- probe


def ask(method: str, path: str, headers: dict[str, str], most: int = 0) -> Answer:
    """One request through this host's nginx: status and all headers, names in lower case, values as lists, and at most
    `most` bytes of the body. The application may answer without an end, or a byte a minute: neither is waited for."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=WAIT_S)
    status = None
    try:
        with untrusted.within(WAIT_S):
            connection.request(method, path, headers={"User-Agent": USER_AGENT, **headers})
            answer = connection.getresponse()
            status = answer.status
            body = answer.read(most) if most else b""
        found: dict[str, list[str]] = {}
        for name, value in answer.getheaders():
            found.setdefault(name.lower(), []).append(value)
        return status, found, body
    except (OSError, http.client.HTTPException) as problem:
        raise Failed(f"nginx does not answer on port 80: {problem}") from problem
    finally:
        connection.close()
        logfiles.note("nginx", method, path, status)


def probe(probes: Json) -> None:
    """Ask as a browser would. `probes`: {"host": str, "allowed": [origin], "refused": [origin], "wildcard": bool} or
    {"host": str, "pages": {path: text it must hold}}."""
    step("probe", "probes with browser-like requests")
    for path, text in probes.get("pages", {}).items():
        status, _, body = ask("GET", path, {"Host": probes["host"]}, LARGEST_PAGE)
        if status != 200 or text.encode() not in body:
            raise Failed(f"GET {path} answers {status}, and not what it should", body[:300].decode(errors="replace"))
    worst = max((allowed(probes, origin) for origin in probes.get("allowed", ())), default=0)
    if worst >= 500:  # told, not undone: it may well be data that is missing, and CORS is judged all the same
        step("probe", f"warning: GET / answers {worst}: the application itself fails; see `fab logs`")
    for origin in probes.get("refused", ()):
        refused(probes, origin)


def exchange(probes: Json, origin: str) -> Iterator[tuple[str, Answer]]:
    preflight = {"Host": probes["host"], "Origin": origin, "Access-Control-Request-Method": "PUT"}
    yield "preflight", ask("OPTIONS", "/", preflight)
    yield "GET", ask("GET", "/", {"Host": probes["host"], "Origin": origin})


def allowed(probes: Json, origin: str) -> int:
    """The higher status of preflight and GET. Raises Failed where a browser would not let the page read them."""
    expected = ["*"] if probes.get("wildcard") else [origin]
    worst = 0
    for kind, (status, headers, _) in exchange(probes, origin):
        if status in (502, 503, 504):
            raise Failed(
                f"the application does not answer: {kind} from {origin} gives {status}",
                journal_of(PAYLOAD["app"] + ".service"),
            )
        if headers.get("access-control-allow-origin") != expected:
            raise Failed(
                "a {} from {} must carry one Access-Control-Allow-Origin, it has {}".format(
                    kind, origin, headers.get("access-control-allow-origin", "none")
                )
            )
        worst = max(worst, status)
    return worst


def refused(probes: Json, origin: str) -> None:
    for kind, (_, headers, _) in exchange(probes, origin):
        if "access-control-allow-origin" in headers:
            raise Failed(f"a {kind} from {origin}, which is not allowed, is let in")


# ------------------------------------------------------------------------------------------------- the transaction


def diff(generation: Json) -> dict[str, str]:
    """What would change, as unified diffs by path; a file that is secret shows only that it changes."""
    import difflib

    base = GENERATIONS / str(current_id())
    found: dict[str, str] = {}
    for file in generation["files"]:
        old = file_state(base / file["path"])
        before = old[0].decode(errors="replace") if old else ""
        if before == file["text"] and old and old[3] == file["mode"]:
            continue
        if is_secret(file) or (old and is_secret({"mode": old[3]})):
            found[file["path"]] = "(secret: differs)\n"
            continue
        lines = difflib.unified_diff(
            before.splitlines(True), file["text"].splitlines(True), "now/" + file["path"], "new/" + file["path"]
        )
        # A plain value may become a secret, or have been one in the file that is there.
        found[file["path"]] = hide("".join(lines)) or "(mode or owner differs)\n"
    return found


def prune() -> None:
    """Keep the newest generations, the current one always; secrets only where they are the current one's.

    A secret that was replaced leaves with this. Nobody but root needs to read what is not current.
    """
    current = str(current_id())
    newest = sorted(records(), key=by_activation, reverse=True)[:KEPT]
    for path in list(GENERATIONS.iterdir()):
        if path.name not in (*newest, current):
            partial = path.with_name(path.name + ".partial")  # half a generation must not look like one
            path.rename(partial)
            shutil.rmtree(str(partial))
    for path in old_secrets(current):
        path.unlink()
        sync(path.parent)
    GENERATIONS.chmod(0o711)
    for name in newest:
        if name != current:
            (GENERATIONS / name).chmod(0o700)


def by_activation(name: str) -> tuple[int, float]:
    """The order in which generations served. No clock is asked, but for those from before there were numbers."""
    return activation_number(GENERATIONS / name), (GENERATIONS / name).stat().st_mtime


def recover() -> bool:
    """Finish or undo what an earlier run left, configuration or release; whether it was finished: the new one stays."""
    for path in GENERATIONS.glob("*.partial"):
        shutil.rmtree(str(path))
    way = journal.read()
    if way is None:
        return False
    journal.tell_unfinished()
    finished = two_phase.outcome(way, runs_target(way)) == "commit"
    if finished:
        keep(way)
        journal.commit()
        claims.finish_open_move(PAYLOAD["app"])
    else:
        journal.put_links_back()
        try:
            settle(way)
        except Failed as problem:
            emit(step="recover", text=f"what ran before does not come up again: {problem}")
    if finished:  # under the name of the change that it was
        text, more = f"kept {way['to']}", {"deploy": way["transaction"], "previous": way["from"]}
    else:
        text, more = f"went back from {way['to']}", {}
    audit(f"{text}, which an interrupted run had left", way["to"] if finished else way["from"], way["kind"], **more)
    return finished


def runs_target(way: Json) -> bool:
    """Whether what runs here is what the journal leads to, and answers as it should."""
    if way["kind"] == "release":
        # A fresh copy in the place of a changed one has the same name: workers can't tell which of the two they loaded.
        renewed = way["from"] == way["to"]
        return not renewed and Path(str(release())).name == way["to"] and loads_current_release()
    if current_id() != way["to"]:
        return False
    try:
        now = stored(way["to"])
        if differences(now) or stale(now):
            return False
        probe(now["probes"])
    except (Failed, OSError):
        return False
    return True


def keep(way: Json) -> None:
    """What a commit writes besides the journal's end: the place of this one in the order of those that served."""
    releases = Path(ROOT, "opt", PAYLOAD["app"], "releases")
    note_activation(GENERATIONS if way["kind"] == "configuration" else releases, str(way["to"]))
    if way["release"]:
        note_activation(releases, way["release"])


def activation_number(folder: Path) -> int:
    """When this generation or release last became current, as a number that only grows (no clock can turn it back);
    0 for one that never did, or did before these numbers were kept."""
    try:
        return int((folder / "turn").read_text())
    except (OSError, ValueError):
        return 0


def note_activation(folder: Path, name: str) -> None:
    """Give `folder/name` the highest activation number of all in `folder`."""
    highest = max((activation_number(path) for path in folder.iterdir()), default=0)
    write_durably(folder / name / "turn", str(highest + 1).encode())
    sync(folder / name)


def removed_origins(probes: Json) -> list[str]:
    """Origins that the generation before let in and this one does not: they must no longer pass."""
    try:
        before = json.loads((CURRENT / "generation.json").read_text())["probes"].get("allowed", [])
    except (OSError, ValueError, KeyError):
        return []
    return [] if probes.get("wildcard") else [origin for origin in before if origin not in probes.get("allowed", ())]


def work_for(generation: Json) -> tuple[list[str], dict[str, str]]:
    """What differs, and which service has to restart and why."""
    claims.check(generation, PAYLOAD["app"])
    if release() is None:
        raise Failed("there is no release of {} here yet; run `fab ship` first".format(PAYLOAD["app"]))
    wrong, reasons = compare(generation)
    if PAYLOAD.get("restart"):
        reasons = {service: reasons.get(service, "asked for") for service in generation["fingerprints"]}
    return wrong, reasons


def unchanged(generation: Json) -> Json:
    return {"changed": False, "restarted": {}, "generation": generation["id"]}


class Deploy(two_phase.Work):
    """Make this host hold `generation`, tried with the release in the folder `code` (the current one)."""

    def __init__(self, generation: Json, code: Path | None = None) -> None:
        self.generation = generation
        self.code = str(code or release())
        self.probes = dict(PAYLOAD.get("probes", {}))
        self.wrong: list[str] = []
        self.reasons: dict[str, str] = {}

    def stage(self) -> None:
        probes = self.probes
        probes["refused"] = [*probes.get("refused", ()), *removed_origins(probes)]
        step("stage", "writes generation {}".format(self.generation["id"]))
        staged = stage(self.generation)
        check_ports(self.generation)
        validate(self.generation, staged, self.code)

    def switch(self) -> None:
        write_journal(self.generation, {})
        self.switch_to()

    def switch_to(self) -> None:
        """Make it current and let it run, with the journal written."""
        switch(self.generation)
        restart(self.generation, {**self.reasons, **stale(self.generation)})
        probe(self.probes)

    def keep(self) -> None:
        note_activation(GENERATIONS, str(self.generation["id"]))

    def undo(self, problem: Exception) -> None:
        undo(problem)


def deploy(generation: Json) -> Json:
    """The whole of it, with the lock held."""
    finished = recover()
    work = Deploy(generation)
    work.wrong, work.reasons = work_for(generation)
    if not work.wrong and not work.reasons:
        return {**unchanged(generation), "changed": finished}
    two_phase.run(work)
    prune()
    return {"changed": True, "restarted": work.reasons, "generation": generation["id"], "differs": work.wrong}


def undo(problem: Exception) -> None:
    """Go back to what the journal says, if a change has got that far."""
    if not journal.exists():
        return
    way = journal.put_links_back()
    emit(step="undo", text="goes back to {}: {}".format(way["from"] or "what was there before", problem))
    try:
        settle(way)
    except Failed as second:
        detail = getattr(problem, "detail", "") + "\n" + second.detail
        raise Failed(f"{problem}; going back failed too: {second}", detail) from problem


def kept() -> list[str]:
    """Generations that are still whole here, but perhaps for their secrets."""
    return sorted(records())


def records() -> dict[str, Json]:
    """What is known of the generations that are here: everything but the text of their files."""
    found: dict[str, Json] = {}
    for path in GENERATIONS.glob("*/generation.json"):
        if path.parent.suffix != ".partial":
            with contextlib.suppress(OSError, ValueError):  # changed by hand: nobody can go back to it
                found[path.parent.name] = json.loads(path.read_text())
    return found


def given(*, make_key: bool = False) -> Json:
    """The generation that came along, with this host's marks."""
    return seal.sealed(PAYLOAD["generation"], seal.key(make=make_key))


def wanted() -> Json:
    """The generation that is asked for: the one that came along, or for a rollback one that is still here."""
    if PAYLOAD["verb"] == "deploy":
        return given(make_key=True)
    to = PAYLOAD["to"]
    if to not in kept():
        raise Failed("generation {} is not here; there is {}".format(to, ", ".join(kept()) or "none"))
    found = stored(to)
    PAYLOAD["probes"] = found["probes"]
    return found


def stored(name: str) -> Json:
    """A generation as `deploy` wants it, read back from the disk; its secrets are today's, whatever they were.

    So a rollback brings back no secret that was replaced, and needs none to be kept.
    """
    generation = records()[name]
    for file in generation["files"]:
        folder = CURRENT if is_secret(file) and current_id() else GENERATIONS / name
        file["text"] = (folder / file["path"]).read_bytes().decode()
    by = seal.key(make=True)
    return seal.sealed(seal.unsealed(generation, by), by)


def history() -> Json:
    """What was deployed and shipped here, the last first, and what a rollback can go to."""
    lines, count = shipped.audit_lines(), PAYLOAD.get("count", 200)
    return {
        "current": current_id(),
        "kept": kept(),
        "leads_to": leads_to(),
        "deploys": shipped.lines_of("configuration", lines)[:count],
        "release": current_release(),
        "releases": shipped.served(),
        "ships": shipped.ships(lines)[:count],
    }


def releases() -> Json:
    """What a rollback of the code has to know."""
    return shipped.look(current_release())


def leads_to() -> dict[str, str]:
    """What a rollback to each generation that is here makes current: itself, or itself with today's secrets."""
    found = {}
    for name, record in records().items():
        secrets = [
            {**file, "text": (CURRENT / file["path"]).read_bytes().decode()}
            for file in record["files"]
            if is_secret(file) and (CURRENT / file["path"]).exists()
        ]
        by = seal.key()
        found[name] = seal.sealed_id(seal.unsealed_id(record, by), secrets, by)
    return found


def logs() -> Json:
    """The last that nginx and the application wrote."""
    return {"text": hide(logfiles.last(PAYLOAD.get("count", 20), PAYLOAD["units"]))}


def plan() -> Json:
    generation = given()
    claims.check(generation, PAYLOAD["app"])
    wrong, reasons = compare(generation)
    access = logins.differences()
    return {
        "differs": [*wrong, *access],
        "diff": {**diff(generation), **access},
        "restarts": reasons,
        "unfinished": journal.exists(),
        "in_doubt": journal.in_doubt(),
        "release": release(),
        "made_from": release_made_from(),
        "generation": current_id(),
    }


def status() -> Json:
    """What this host holds and what its processes loaded."""
    claims.refuse_others(PAYLOAD["app"])
    active = {unit: activity(unit) for unit in PAYLOAD["units"]}
    wrong, reasons = compare(given()) if PAYLOAD.get("generation") else ([], {})
    serves = current_release()
    return {
        "generation": current_id(),
        "release": release(),
        "revision": shipped.revision(serves) if serves else None,
        "last_ship": shipped.last_change(shipped.ships(shipped.audit_lines()), serves),
        "made_from": release_made_from(),
        "units": active,
        "unfinished": journal.exists(),
        "in_doubt": journal.in_doubt(),
        "differs": [*wrong, *logins.differences()],
        "restarts": reasons,
        "release_changed": changed_in_release(),
        "replaced": replacement.told(),
    }


def activity(unit: str) -> str:
    """systemd's one word on a unit."""
    said = run("systemctl", "is-active", unit).stdout.strip()
    return said if re.fullmatch("[a-z-]+", said) else "unknown: systemd does not answer"


def examine() -> Json:
    """Everything a diagnosis wants of this host: its state, the diff, and what nginx and gunicorn answer when asked
    beside each other. PAYLOAD["questions"]: [via ("nginx" or "gunicorn"), method, target, [[name, value], ...]]."""
    started = time.time()
    answers = [answer(*question) for question in PAYLOAD["questions"]]
    words, log = "", None
    if any(one.get("status", 0) >= 500 for one in answers) and has_service():
        words = journal_of(service(), since=started)
        if not EXCEPTION.search(words):
            log = request_log()
            words = journal_of(service(), since=started)  # a line may be written later than its answer
    return {**plan(), **status(), "answers": answers, "last_words": hide(words), "request_log": log}


def request_log() -> Json | None:
    """Where the project's log of failed requests goes, and how it ends there; None where the project can't say."""
    app, code = PAYLOAD["app"], release()
    if code is None:
        return None
    # Not by the name of what a ship runs, which goes on meanwhile.
    unit = f"origin-kit-asked-{app}-{os.getpid()}"
    place = Confined(app, app, (CURRENT / "systemd" / f"{app}.service").read_text(), RUN / unit, unit)
    done = place.run(
        f"{code}/venv/bin/python", "-c", rollout.TEXTS["request_log"],  # type: ignore[attr-defined]
        cwd=f"{code}/app", files=(CURRENT / "secrets.env", CURRENT / "environment"), limit_s=30,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"request_log"')]
    return told_by_the_project(hide(lines[-1])) if lines else None


_MOST_FILES, _MOST_TEXT = 5, 4_000


def told_by_the_project(line: str) -> Json | None:
    """What it says of its log, in the form that it should have and with bounds; None for anything else."""
    try:
        found = json.loads(line)["request_log"]
        files = list(found["files"].items())[:_MOST_FILES]
        return {
            "files": {str(path)[:_MOST_TEXT]: str(end)[-_MOST_TEXT:] for path, end in files},
            "journal": found["journal"] is True,
            "others": [str(name)[:200] for name in found["others"][:_MOST_FILES]],
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


# What gunicorn writes for an application that raised instead of answering.
_OWN_PAGE = b"<h1><p>Internal Server Error</p></h1>"


def answer(via: str, method: str, target: str, headers: list[list[str]]) -> Json:
    """One raw exchange: {"status": int, "headers": [[name, value], ...], "bare": whether gunicorn wrote its error page
    itself}, or {"problem": text}."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=15)
    status = None
    try:
        if via == "gunicorn":
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(15)
            connection.sock.connect("/run/{}.sock".format(PAYLOAD["app"]))
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        with untrusted.within(15):
            connection.endheaders()
            found = connection.getresponse()
            bare = found.status == 500 and _OWN_PAGE in found.read(1000)
        status = found.status
        return {"status": status, "headers": [list(pair) for pair in found.getheaders()], "bare": bare}
    except (OSError, http.client.HTTPException) as problem:
        return {"problem": str(problem) or type(problem).__name__}
    finally:
        connection.close()
        logfiles.note(via, method, target, status)


def outcome() -> Json:
    """How the transaction PAYLOAD["transaction"] ended here: see `journal.outcome`."""
    return {"outcome": journal.outcome(PAYLOAD["transaction"])}


LOOKS = {
    "plan": plan, "status": status, "history": history, "releases": releases, "logs": logs, "examine": examine,
    "outcome": outcome,
}  # fmt: skip


def main() -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    verb = PAYLOAD["verb"]
    if "job" in PAYLOAD:
        do()
        return 0
    send_heartbeats()
    if verb in LOOKS:
        emit(result=LOOKS[verb]())
    elif not nothing_to_do():
        return handover.hand_over(SCRIPT)
    return 0


def nothing_to_do() -> bool:
    """Whether all is as wanted; reported in the very exchange that asked. Waits for whoever works here first."""
    with lock_after_others():
        generation = wanted()
        claims.check(generation, PAYLOAD["app"])
        logins.settle()
        if journal.exists() or any(work_for(generation)):
            return False
        finish(unchanged(generation), "unchanged")
        return True


def lock_after_others() -> TextIO:
    """The lock; whoever works here meanwhile is followed."""
    lock = try_lock()
    while lock is None:
        job = handover.running()
        if job is None:
            lock = take_lock()  # somebody who just looks whether there is anything to do
        else:
            handover.wait_along(job)
            lock = try_lock()
    return lock


def do() -> None:
    """The unit's part."""
    generation = wanted()
    try:
        result = under_the_lock(lambda: deploy(wanted()))  # asked again: another deploy may have come between
    except (Failed, OSError) as problem:
        audit(f"{kind_of(problem)}: {problem}", generation["id"], "configuration")
        raise
    finish(result, "deployed" if result["changed"] else "unchanged")


def under_the_lock(work: Callable[[], Json]) -> Json:
    """`work` with the host's lock held. It is given back and taken again where the coordinator wants that."""
    while True:
        try:
            with take_lock():
                replacement.refuse()
                return work()
        except two_phase.Yield:
            two_phase.wait_until_unlocked()


def kind_of(problem: Exception) -> str:
    """How the audit calls a change that did not come about."""
    if isinstance(problem, two_phase.InDoubt):
        return "in doubt"
    return "left alone" if isinstance(problem, two_phase.LeftAlone) else "failed"


def finish(result: Json, word: str) -> None:
    end_step()
    claims.forget_former(PAYLOAD["app"])
    audit(word, result["generation"], "configuration")
    report({**result, "made_from": release_made_from()})


def report(result: Json) -> None:
    """The last event of a run that has changed something, or found nothing to change."""
    emit(result={**result, "phases": phases, "seconds": round(time.monotonic() - STARTED, 3)})


def report_failure(failure: Failed) -> None:
    """The last event of a run that has failed."""
    emit(
        error=str(failure),
        detail=last_lines(failure.detail, 20),
        left_alone=isinstance(failure, two_phase.LeftAlone),
        in_doubt=journal.in_doubt(),
    )


def explain(problem: OSError) -> str:
    return f"{trouble(problem, KIT)}; the host serves what it served"


if __name__ == "__main__" and PAYLOAD:
    try:
        sys.exit(main())
    except Failed as failure:
        report_failure(failure)
    except OSError as failure:
        emit(error=explain(failure), detail="")
    sys.exit(1)
