"""Make one host hold one generation, or leave it as it was.

Standard library only (Python >= 3.9): this text is sent to the host and runs there as root, as one unit of work. It
finds its orders in the global PAYLOAD and prints JSON lines: `{"step": ...}` as it goes, then `{"result": ...}` or
`{"error": ...}`. It writes nothing outside /etc/origin-kit, the links that the generation names, and
/var/log/origin-kit.

The one switch is the rename of /etc/origin-kit/current. Before it a journal says where to go back to; after the checks
have passed the journal goes away. Whoever finds a journal (the next run, after a crash or a power cut) goes back first.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterator, TextIO  # noqa: UP035 - Python 3.9 evaluates the aliases below

Json = dict[str, Any]
PAYLOAD: Json = globals().get("PAYLOAD", {})  # put there by the one who started this text
KIT = Path("/etc/origin-kit")
GENERATIONS = KIT / "generations"
CURRENT = KIT / "current"
JOURNAL = KIT / "journal.json"
AUDIT = Path("/var/log/origin-kit/audit.jsonl")
LOCK = Path("/run/origin-kit.lock")
NGINX_STATUS = "/run/origin-kit-nginx.sock"
KEPT = 10
WAIT_S = 40
Answer = tuple[int, dict[str, list[str]], bytes]  # status, headers by lower-case name, body


class Failed(Exception):
    """A step failed: what is wrong and the next step, and the failing program's own words."""

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail


# ------------------------------------------------------------------------------------------------- talking back


def emit(**event: Any) -> None:
    """One JSON line to the operator. A gone operator does not stop the work."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def step(name: str, text: str) -> None:
    """Announce a step. `PAYLOAD["die_at"]` is the crash tests' way to pull the plug exactly here."""
    if PAYLOAD.get("die_at") == name:
        os.kill(os.getpid(), signal.SIGKILL)
    emit(step=name, text=text)


def run(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """The finished process; its output is kept as text."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)


def systemctl(*words: str) -> None:
    done = run("systemctl", *words)
    if done.returncode:
        raise Failed(
            "systemctl {} failed; the unit's own words follow".format(" ".join(words)),
            done.stdout + journal_of(words[-1]),
        )


def journal_of(unit: str) -> str:
    return run("journalctl", "-u", unit, "-n", "15", "--no-pager", "-o", "cat").stdout


def wait_for(question: Callable[[], bool], seconds: float = WAIT_S) -> bool:
    """The first truthy answer, or the last one when the time is up."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(0.02)


# ------------------------------------------------------------------------------------------------- the lock


def take_lock() -> TextIO:
    """Hold the host's lock until this process ends. Raises Failed that names who holds it when `wait_s` is over."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    handle = LOCK.open("a+")
    end, waited = time.monotonic() + PAYLOAD.get("wait_s", 0), False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip()
            if time.monotonic() > end:
                raise Failed(
                    f"another ship or deploy is running here: {owner}; run this again when it is done"
                ) from None
            if not waited:
                emit(step="wait", text=f"waits for {owner}")
            waited = True
            time.sleep(0.1)
    handle.truncate(0)
    handle.write("{} since {}".format(PAYLOAD["who"], time.strftime("%Y-%m-%d %H:%M:%S %z")))
    handle.flush()
    return handle


# ------------------------------------------------------------------------------------------------- files and links


def write_durably(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as handle:
        os.fchmod(descriptor, mode)
        handle.write(data)
        handle.flush()
        os.fsync(descriptor)


def sync(folder: Path) -> None:
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def point(place: Path, target: str) -> None:
    """Make `place` a link to `target` by one rename, durably."""
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.origin-kit")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    new.symlink_to(target)
    new.rename(place)
    sync(place.parent)


def link_of(path: str | Path) -> str | None:
    try:
        return str(Path(path).readlink())
    except OSError:
        return None


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
    return wrong


# ------------------------------------------------------------------------------------------------- what runs


def release() -> str | None:
    """The folder of the release that is current, or None."""
    path = Path("/opt") / PAYLOAD["app"] / "current"
    return os.path.realpath(str(path)) if path.exists() else None


def loaded_by_nginx() -> str | None:
    """The fingerprint that the running nginx loaded, told on its local socket; None where it does not answer."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(2)
    try:
        connection.sock.connect(NGINX_STATUS)
        connection.request("GET", "/loaded")
        return connection.getresponse().read().decode().strip()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def loaded_by_gunicorn() -> set[tuple[str, str]]:
    """What the living workers loaded, as a set of (fingerprint, release)."""
    found = set()
    for record in Path("/run", PAYLOAD["app"], "workers").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if Path("/proc", record.name).exists():
                data = json.loads(record.read_text())
                found.add((data["fingerprint"], data["release"]))
    return found


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


# ------------------------------------------------------------------------------------------------- stage and validate


def stage(generation: Json) -> Path:
    """Write the whole generation beside the others, durably; nothing reads it yet."""
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


def validate(generation: Json, staged: Path) -> None:
    if "gunicorn" in generation["fingerprints"]:
        step("check-django", "checks the project with the staged settings")
        check_django(staged)
    step("check-nginx", "tests nginx on the staged tree")
    check_nginx(generation)


def check_nginx(generation: Json) -> None:
    """`nginx -t` as the host would be after the switch.

    Debian's nginx.conf includes absolute paths, so the staged tree is bound over /etc/nginx in a
    mount namespace of its own. Raises Failed with nginx's words.
    """
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
            'mount --bind "$2" /etc/nginx && exec nginx -t -q'
        )
        done = run("unshare", "-m", "sh", "-c", script, "sh", str(KIT), str(nginx), str(kit))
    if done.returncode:
        raise Failed(
            "nginx refuses the new configuration; nothing was changed. Is another site on this host at fault?",
            done.stdout.replace(scratch, ""),
        )


def environment_of(folder: Path) -> dict[str, str]:
    """The application's environment as systemd would read it from the generation's two files."""
    values = {}
    for name in ("secrets.env", "environment"):
        path = folder / name
        if path.exists():
            for key, quoted in re.findall(
                r'^([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"$', path.read_text(), re.MULTILINE | re.DOTALL
            ):
                values[key] = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL).replace(str(CURRENT), str(folder))
    return values


def check_django(staged: Path) -> None:
    """`manage.py check --deploy` as the application's user, under the staged settings, or Failed."""
    app, where = PAYLOAD["app"], str(release())
    user = pwd.getpwnam(app)
    base = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/var/lib/" + app}
    done = run(
        where + "/venv/bin/python",
        "manage.py",
        "check",
        "--deploy",
        "--fail-level",
        "ERROR",
        cwd=where + "/app",
        env={**base, **environment_of(staged)},
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
    )
    if done.returncode:
        raise Failed(
            "the project does not pass its checks with the new settings; nothing was changed", shorten(done.stdout)
        )


def shorten(text: str, lines: int = 12) -> str:
    kept = text.strip().splitlines()
    return "\n".join(kept[-lines:] if len(kept) <= lines else ["…", *kept[-lines:]])


# ------------------------------------------------------------------------------------------------- switch and restart


def switch(generation: Json) -> None:
    """Make the generation current: the links that are new first exist when `current` does, so one rename does it."""
    remember(generation)
    step("switch", "switches to generation {}".format(generation["id"]))
    point(CURRENT, "generations/" + generation["id"])
    step("link", "links the files to their places")
    for link in generation["links"]:
        if link_of(link["place"]) != str(CURRENT / link["target"]):
            point(Path(link["place"]), str(CURRENT / link["target"]))
    for place in generation["absent"]:
        if os.path.lexists(place):
            Path(place).unlink()
    systemctl("daemon-reload")
    # Debian's own unit; the kit's units are enabled by links of the generation, which `enable` would pin to this one.
    systemctl("enable", "-q", "nginx.service")


def remember(generation: Json) -> None:
    """Where to go back to, durably, before anything changes."""
    step("journal", "notes the way back")
    touched = [link["place"] for link in generation["links"]] + list(generation["absent"])
    way = {
        "from": current_id(),
        "to": generation["id"],
        "places": {place: link_of(place) for place in touched},
        "units": generation["units"],
    }
    write_durably(JOURNAL, json.dumps(way).encode(), 0o600)
    sync(KIT)


def go_back() -> Json:
    """Undo what a failed or killed run has switched, by its journal; links first: a second crash repeats it."""
    way: Json = json.loads(JOURNAL.read_text())
    for place, target in way["places"].items():
        if target is None and str(link_of(place) or "").startswith(str(CURRENT)):
            Path(place).unlink()
        elif target is not None and link_of(place) != target:
            point(Path(place), target)
    if way["from"]:
        point(CURRENT, "generations/" + way["from"])
    else:
        with contextlib.suppress(FileNotFoundError):
            CURRENT.unlink()
    systemctl("daemon-reload")
    return way


def settle(way: Json) -> None:
    """After going back: bring what runs back to what is on disk again, then forget the journal."""
    record = GENERATIONS / str(way["from"]) / "generation.json"
    if way["from"] and record.exists():
        old = json.loads(record.read_text())
        restart(old, stale(old), "back")
    else:
        for units in way["units"].values():
            run("systemctl", "disable", "--now", *units)
        run("systemctl", "restart", "nginx.service")
    JOURNAL.unlink()
    sync(KIT)


def restart(generation: Json, reasons: dict[str, str], prefix: str = "restart") -> None:
    """`systemctl restart` for each service that needs it; done when what runs reports the new generation."""
    for service, units in generation["units"].items():
        for unit in [unit for unit in units if unit.endswith(".socket")]:
            hold(unit, [u for u in units if u.endswith(".service")])
        if service in reasons:
            step(f"{prefix}-{service}", f"restarts {service}: {reasons[service]}")
            run("systemctl", "reset-failed", *units)
            for unit in units:
                if unit.endswith(".service"):
                    systemctl("restart", unit)
            confirm(generation, service)


def hold(unit: str, services: list[str]) -> None:
    """Let systemd hold the listening sockets. Its service has it open until then: one short gap, once."""
    if run("systemctl", "is-active", "-q", unit).returncode == 0 and not listens_elsewhere(unit):
        return
    for service in services:
        run("systemctl", "stop", service)
    run("systemctl", "stop", unit)
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


def listens_elsewhere(unit: str) -> bool:
    """Whether the socket unit listens on something else than its file says now."""
    shown = run("systemctl", "show", "-p", "Listen", "--value", unit).stdout.split("\n")
    listening = {line.split(" ")[0] for line in shown if line}
    path = Path("/etc/systemd/system", unit)
    wanted = {
        line.split("=", 1)[1].strip() for line in path.read_text().splitlines() if line.startswith("ListenStream=")
    }
    open_now = run("ss", "-Hlnxt").stdout
    return listening != wanted or any(address.split(":")[-1] not in open_now for address in wanted)


def confirm(generation: Json, service: str) -> None:
    wanted = generation["fingerprints"][service]
    if service == "gunicorn":
        if wait_for(lambda: loaded_by_gunicorn() == {(wanted, release())}):
            return
        raise Failed("no gunicorn worker came up with the new configuration", journal_of(PAYLOAD["app"] + ".service"))
    if not wait_for(lambda: loaded_by_nginx() == wanted):
        raise Failed("nginx did not come up with the new configuration", journal_of("nginx.service"))


# ------------------------------------------------------------------------------------------------- probe


def ask(method: str, path: str, headers: dict[str, str]) -> Answer:
    """One request through this host's nginx: status and all headers, names in lower case, values as lists."""
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=WAIT_S)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        found: dict[str, list[str]] = {}
        for name, value in answer.getheaders():
            found.setdefault(name.lower(), []).append(value)
        return answer.status, found, body
    except (OSError, http.client.HTTPException) as problem:
        raise Failed(f"nginx does not answer on port 80: {problem}") from problem
    finally:
        connection.close()


def probe(probes: Json) -> None:
    """Ask as a browser would. `probes`: {"host": str, "allowed": [origin], "refused": [origin], "wildcard": bool} or
    {"host": str, "pages": {path: text it must hold}}."""
    step("probe", "asks as a browser would")
    for path, text in probes.get("pages", {}).items():
        status, _, body = ask("GET", path, {"Host": probes["host"]})
        if status != 200 or text.encode() not in body:
            raise Failed(f"GET {path} answers {status}, and not what it should", body[:300].decode(errors="replace"))
    for origin in probes.get("allowed", ()):
        allowed(probes, origin)
    for origin in probes.get("refused", ()):
        refused(probes, origin)


def exchange(probes: Json, origin: str) -> Iterator[tuple[str, Answer]]:
    preflight = {"Host": probes["host"], "Origin": origin, "Access-Control-Request-Method": "PUT"}
    yield "preflight", ask("OPTIONS", "/", preflight)
    yield "GET", ask("GET", "/", {"Host": probes["host"], "Origin": origin})


def allowed(probes: Json, origin: str) -> None:
    expected = ["*"] if probes.get("wildcard") else [origin]
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


def refused(probes: Json, origin: str) -> None:
    for kind, (_, headers, _) in exchange(probes, origin):
        if "access-control-allow-origin" in headers:
            raise Failed(f"a {kind} from {origin}, which is not allowed, is let in")


# ------------------------------------------------------------------------------------------------- the transaction


def diff(generation: Json) -> dict[str, str]:
    """What would change, as unified diffs by path; a file that is secret shows only that it changes."""
    base = GENERATIONS / str(current_id())
    found: dict[str, str] = {}
    for file in generation["files"]:
        old = file_state(base / file["path"])
        before = old[0].decode(errors="replace") if old else ""
        if before == file["text"] and old and old[3] == file["mode"]:
            continue
        if file["mode"] & 0o077 == 0:
            found[file["path"]] = "(secret: differs)\n"
            continue
        lines = difflib.unified_diff(
            before.splitlines(True), file["text"].splitlines(True), "now/" + file["path"], "new/" + file["path"]
        )
        found[file["path"]] = "".join(lines) or "(mode or owner differs)\n"
    return found


def prune() -> None:
    """Keep the newest generations; the current one always."""
    kept = sorted(
        (path for path in GENERATIONS.iterdir() if not path.name.endswith(".partial")),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    for path in kept[KEPT:]:
        if path.name != current_id():
            shutil.rmtree(str(path))


def audit(result: str, seconds: float) -> None:
    line = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "who": PAYLOAD["who"],
        "commit": PAYLOAD.get("commit"),
        "deploy": PAYLOAD.get("deploy"),
        "generation": PAYLOAD["generation"]["id"],
        "result": result,
        "seconds": round(seconds, 3),
    }
    AUDIT.parent.mkdir(parents=True, exist_ok=True)
    with AUDIT.open("a") as handle:
        handle.write(json.dumps(line) + "\n")


def recover() -> None:
    """Finish what an earlier run left: go back if it had switched, drop what it only half wrote."""
    GENERATIONS.mkdir(parents=True, exist_ok=True)
    for path in GENERATIONS.glob("*.partial"):
        shutil.rmtree(str(path))
    if JOURNAL.exists():
        emit(step="recover", text="undoes what an interrupted run left")
        settle(go_back())


def removed_origins(probes: Json) -> list[str]:
    """Origins that the generation before let in and this one does not: they must no longer pass."""
    try:
        before = json.loads((CURRENT / "generation.json").read_text())["probes"].get("allowed", [])
    except (OSError, ValueError, KeyError):
        return []
    return [] if probes.get("wildcard") else [origin for origin in before if origin not in probes.get("allowed", ())]


def deploy() -> Json:
    generation, probes = PAYLOAD["generation"], dict(PAYLOAD.get("probes", {}))
    if release() is None:
        raise Failed("there is no release of {} here yet; run `fab ship` first".format(PAYLOAD["app"]))
    recover()
    wrong, reasons = differences(generation), stale(generation)
    if PAYLOAD.get("restart"):
        reasons = {service: reasons.get(service, "asked for") for service in generation["fingerprints"]}
    if not wrong and not reasons:
        return {"changed": False, "restarted": {}, "generation": generation["id"]}
    probes["refused"] = [*probes.get("refused", ()), *removed_origins(probes)]
    step("stage", "writes generation {}".format(generation["id"]))
    staged = stage(generation)
    check_ports(generation)
    if wrong:
        validate(generation, staged)
    try:
        switch(generation)
        restart(generation, stale(generation) | reasons if PAYLOAD.get("restart") else stale(generation))
        probe(probes)
        step("commit", "keeps it")
    except Failed as problem:
        undo(problem)
        raise
    JOURNAL.unlink()
    sync(KIT)
    prune()
    return {"changed": True, "restarted": reasons, "generation": generation["id"], "differs": wrong}


def undo(problem: Failed) -> None:
    way = go_back()
    emit(step="undo", text="goes back to {}: {}".format(way["from"] or "what was there before", problem))
    try:
        settle(way)
    except Failed as second:
        raise Failed(f"{problem}; going back failed too: {second}", problem.detail + "\n" + second.detail) from problem


def kept() -> list[str]:
    """Generations that are still whole here."""
    return sorted(path.parent.name for path in GENERATIONS.glob("*/generation.json"))


def rollback() -> Json:
    """Deploy `to`, a generation that is still here."""
    to = PAYLOAD["to"]
    if to not in kept():
        raise Failed("generation {} is not here; there is {}".format(to, ", ".join(kept()) or "none"))
    PAYLOAD["generation"] = stored(to)
    PAYLOAD["probes"] = PAYLOAD["generation"]["probes"]
    return deploy()


def stored(name: str) -> Json:
    """A generation as `deploy` wants it, read back from the disk."""
    folder = GENERATIONS / name
    generation: Json = json.loads((folder / "generation.json").read_text())
    for file in generation["files"]:
        file["text"] = (folder / file["path"]).read_text()
    return generation


def audit_lines() -> list[Json]:
    try:
        lines = AUDIT.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):  # a line cut short by a pulled plug
            found.append(json.loads(line))
    return found


def history() -> Json:
    """What was deployed here, the last first, and what a rollback can go to."""
    return {"current": current_id(), "kept": kept(), "deploys": audit_lines()[::-1][: PAYLOAD.get("count", 200)]}


def logs() -> Json:
    """The last lines of the services' journals."""
    count = str(PAYLOAD.get("count", 20))
    units = [word for unit in PAYLOAD["units"] for word in ("-u", unit)]
    return {"text": run("journalctl", *units, "-n", count, "--no-pager", "-o", "short-iso").stdout}


def plan() -> Json:
    generation = PAYLOAD["generation"]
    return {
        "differs": differences(generation),
        "diff": diff(generation),
        "restarts": stale(generation),
        "unfinished": JOURNAL.exists(),
        "release": release(),
        "generation": current_id(),
    }


def status() -> Json:
    """What this host holds and what its processes loaded."""
    active = {unit: run("systemctl", "is-active", unit).stdout.strip() for unit in PAYLOAD["units"]}
    generation = PAYLOAD.get("generation")
    return {
        "generation": current_id(),
        "release": release(),
        "units": active,
        "unfinished": JOURNAL.exists(),
        "differs": differences(generation) if generation else [],
        "restarts": stale(generation) if generation else {},
    }


def main() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    started = time.monotonic()
    looks = {"plan": plan, "status": status, "history": history, "logs": logs}
    if PAYLOAD["verb"] in looks:
        emit(result=looks[PAYLOAD["verb"]]())
        return
    lock = take_lock()
    try:
        result = {"deploy": deploy, "rollback": rollback}[PAYLOAD["verb"]]()
    except Failed as problem:
        audit(f"failed: {problem}", time.monotonic() - started)
        raise
    audit("deployed" if result["changed"] else "unchanged", time.monotonic() - started)
    result["seconds"] = round(time.monotonic() - started, 3)
    emit(result=result)
    lock.close()


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        emit(error=str(failure), detail=shorten(failure.detail, 20))
        sys.exit(1)
    except OSError as failure:
        emit(error=f"the host could not do it: {failure}; nothing is half-done that the next deploy does not undo")
        sys.exit(1)
