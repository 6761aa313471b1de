"""Put one release on one host, or leave the one that serves as it was.

Standard library only (Python >= 3.9): this text is sent to the host and runs there as root, as one unit of work. It
finds its orders in the global PAYLOAD and the archive on stdin, and prints JSON lines: `{"step": ...}` as it goes, then
`{"result": ...}` or `{"error": ...}`. The application's own code (check, migrate, collectstatic) never runs as root.

    /opt/<app>/releases/<id>   complete as soon as it has this name; <id>.partial before, which the next run sweeps
    /opt/<app>/venvs/<lock>    complete when `.complete` is in it; scripts hold their own path, so it can't be moved
    /opt/<app>/current         the one switch: a link, replaced by one rename
    /opt/<app>/journal.json    from before the switch until the workers have loaded it; who finds it goes back first
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Callable, Iterator  # noqa: UP035 - Python 3.9 has no other

from rollout import claims
from rollout.onhost import (
    PAYLOAD,
    ROOT,
    WAIT_S,
    Failed,
    Json,
    emit,
    journal_of,
    last_lines,
    point,
    run,
    step,
    sync,
    take_lock,
    wait_for,
    write_durably,
)

APP = str(PAYLOAD.get("app", ""))
USER = str(PAYLOAD.get("user", APP))
HOME = ROOT / "opt" / APP
RELEASES = HOME / "releases"
VENVS = HOME / "venvs"
CURRENT = HOME / "current"
JOURNAL = HOME / "journal.json"
DATA = ROOT / "var/lib" / APP
WORKERS = ROOT / "run" / APP / "workers"
STAGED = ROOT / "run" / f"origin-kit-ship-{APP}"
SERVICE = f"{APP}.service"
KEPT = 5
KEPT_BACKUPS = 3
IS_ROOT = os.geteuid() == 0


def systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    return run("systemctl", *words)


def workers_loaded() -> bool:
    """Whether every worker has loaded what is current before the time is up."""
    return wait_for(lambda: loaded() == {served()}, PAYLOAD.get("workers_s", WAIT_S))


# ------------------------------------------------------------------------------------------------- what is here


def current_id() -> str | None:
    """The release that is current, or None."""
    try:
        return CURRENT.readlink().name
    except OSError:
        return None


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".partial") if folder.is_dir() else []


def complete_releases() -> list[str]:
    """Releases that need nothing sent: unpacked whole, and with the environment that they run in."""
    return [name for name in names_in(RELEASES) if (RELEASES / name / "venv/.complete").exists() or is_site(name)]


def is_site(name: str) -> bool:
    return (RELEASES / name / "site").is_dir()


def complete_venvs() -> list[str]:
    return [name for name in names_in(VENVS) if (VENVS / name / ".complete").exists()]


def turn_of(name: str) -> int:
    """When this release last became current, as a number that only grows (no clock can turn it back); 0 is never."""
    try:
        return int((RELEASES / name / "turn").read_text())
    except (OSError, ValueError):
        return 0


def loaded() -> set[str]:
    """The releases that living workers have loaded, as they record it: full paths."""
    found = set()
    for record in WORKERS.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            if Path("/proc", record.name).exists():
                found.add(json.loads(record.read_text())["release"])
    return found


def served() -> str:
    """The folder of the current release, as workers record it."""
    return os.path.realpath(str(CURRENT))


def has_service() -> bool:
    """Whether there is a service to restart: not before the first deploy, and never on a frontend."""
    return systemctl("show", "-p", "LoadState", "--value", SERVICE).stdout.strip() == "loaded"


def settled() -> bool:
    """Whether no ship was cut short, and what runs is what is current."""
    return not JOURNAL.exists() and loaded() <= {served()}


def facts() -> Json:
    """What the operator has to know to choose wheels and to see whether there is anything to do."""
    claims.refuse(APP, PAYLOAD.get("moving"))
    return {
        "python": "{}.{}".format(*sys.version_info),
        "machine": platform.machine(),
        "libc": platform.libc_ver()[1] if platform.libc_ver()[0] == "glibc" else "",
        "release": current_id(),
        "settled": settled() and not claims.pending(APP),
        "releases": complete_releases(),
        "venvs": complete_venvs(),
    }


# ------------------------------------------------------------------------------------------------- files


def discard(folder: Path) -> None:
    """Remove a folder so that nobody takes what is left of it for the whole, even if this is cut short."""
    partial = folder if folder.suffix == ".partial" else folder.with_name(folder.name + ".partial")
    if partial != folder:
        shutil.rmtree(str(partial), ignore_errors=True)
        folder.rename(partial)
    shutil.rmtree(str(partial))


def sweep() -> None:
    """Remove what an earlier run has left unfinished."""
    for folder in (RELEASES, VENVS):
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.partial"):
            discard(leftover)
    for name in set(names_in(VENVS)) - set(complete_venvs()):
        discard(VENVS / name)
    shutil.rmtree(str(STAGED), ignore_errors=True)


# ------------------------------------------------------------------------------------------------- user and data


def prepare_user() -> None:
    """The application's own user, and the data that outlives every release. What exists stays as it is."""
    step("user", "makes sure of the user and of its data")
    if IS_ROOT and not user_exists():
        made = run(
            "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(DATA),
            "--shell", "/usr/sbin/nologin", USER,
        )  # fmt: skip
        if made.returncode:
            raise Failed(f"the user {USER} can't be made; is the name taken by a group?", made.stdout)
    if not DATA.exists():
        DATA.mkdir(parents=True)
    if IS_ROOT:
        owner = pwd.getpwnam(USER)
        os.chown(str(DATA), owner.pw_uid, owner.pw_gid)
    DATA.chmod(0o711)  # nginx passes through to media, and can't list what else is there
    # Below this folder everything is the application's, links included: nothing there is touched by root.
    done = as_user(sys.executable, "-I", "-c", PREPARE_DATA, str(DATA), cwd="/")
    if done.returncode:
        raise Failed(f"{DATA} can't be prepared as user {USER}; see its owner and mode", last_lines(done.stdout))


PREPARE_DATA = """
import os, secrets, sys
os.chdir(sys.argv[1])
os.makedirs("media", exist_ok=True)
os.chmod("media", 0o755)
if not os.path.exists("secret_key"):
    new = os.open(".secret_key.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    os.write(new, secrets.token_urlsafe(48).encode())
    os.fsync(new)
    os.rename(".secret_key.new", "secret_key")
os.chmod("secret_key", 0o600)
"""


def user_exists() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def as_user(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run as the application's user, in no other group and with an environment that holds nothing of root's."""
    who: Json = {}
    if IS_ROOT:
        user = pwd.getpwnam(USER)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    plain = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(DATA)}
    return run(*command, env={**plain, **more.pop("env", {})}, **who, **more)


# ------------------------------------------------------------------------------------------------- unpack


class Blob:
    """What comes on stdin, hashed as it is read."""

    def __init__(self, source: BinaryIO) -> None:
        self.source = source
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.source.read(size)
        self.hash.update(data)
        return data

    def digest(self) -> str:
        while self.read(1 << 20):
            pass
        return self.hash.hexdigest()


def unpack(partial: Path) -> None:
    """Unpack the archive into `partial`. Raises Failed for one that is cut short or reaches outside of it."""
    step("unpack", "unpacks release {}".format(PAYLOAD["id"]))
    partial.mkdir(parents=True, mode=0o755)
    blob = Blob(sys.stdin.buffer)
    links: list[tuple[Path, str]] = []
    try:
        with tarfile.open(fileobj=blob, mode="r|gz") as tar:  # type: ignore[call-overload]
            for member in tar:
                unpack_one(tar, member, partial, links)
    except (tarfile.TarError, EOFError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno:
            raise
        raise Failed(f"the release arrives broken ({problem}); was the connection cut? ship again") from problem
    if blob.digest() != PAYLOAD["digest"]:
        raise Failed("the release arrives incomplete; was the connection cut? ship again")
    for place, target in links:  # last, so that no file was written through one
        place.symlink_to(target)


def unpack_one(tar: tarfile.TarFile, member: tarfile.TarInfo, partial: Path, links: list[tuple[Path, str]]) -> None:
    path = inside(member.name)
    place = partial / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        inside(os.path.normpath(str(path.parent / member.linkname)), path.parts[0])
        links.append((place, member.linkname))
        return
    if not member.isreg():
        raise Failed(
            f"the archive holds {member.name}, which is neither a file nor a link; it was not made by this kit"
        )
    source = tar.extractfile(member)
    descriptor = os.open(str(place), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as handle:
        shutil.copyfileobj(source, handle, 1 << 20)  # type: ignore[arg-type]
        os.fchmod(descriptor, 0o755 if member.mode & 0o100 else 0o644)
    os.utime(str(place), (member.mtime, member.mtime))


def inside(name: str, top: str | None = None) -> PurePosixPath:
    """`name` as a path, if it stays below app, site or wheels (or below `top`)."""
    path = PurePosixPath(name)
    tops = (top,) if top else ("app", "site", "wheels")
    if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0] not in tops:
        raise Failed(f"the archive reaches outside of the release ({name!r}); it was not made by this kit")
    return path


# ------------------------------------------------------------------------------------------------- the release


def stage() -> Path:
    """The release under its own name, with the environment that it runs in."""
    final = RELEASES / str(PAYLOAD["id"])
    if PAYLOAD["id"] in complete_releases():
        return final
    if final.exists():
        discard(final)
    partial = RELEASES / (PAYLOAD["id"] + ".partial")
    if not PAYLOAD["digest"]:
        raise Failed("release {} is no longer here; ship again".format(PAYLOAD["id"]))
    try:
        unpack(partial)
        if PAYLOAD["role"] == "backend":
            prepare_backend(partial)
        record = {key: PAYLOAD.get(key) for key in ("id", "role", "label", "commit", "lock", "who")}
        (partial / "release.json").write_text(json.dumps(record, indent=1) + "\n")
        partial.rename(final)
    finally:
        shutil.rmtree(str(partial), ignore_errors=True)
    return final


def prepare_backend(partial: Path) -> None:
    venv = VENVS / PAYLOAD["lock"]
    if not (venv / ".complete").exists():
        make_venv(venv, partial / "wheels")
    shutil.rmtree(str(partial / "wheels"), ignore_errors=True)
    (partial / "venv").symlink_to(f"../../venvs/{venv.name}")
    step("compile", "compiles the project")
    byte_compile(venv, partial / "app")


def make_venv(venv: Path, wheels: Path) -> None:
    """A virtual environment of the wheels that came along; nothing is asked of any network."""
    installer = wheels / PAYLOAD["installer"]
    if not installer.exists():
        raise Failed("the Python environment of this release is no longer here; ship again")
    step("venv", "installs {} packages".format(len(list(wheels.glob("*.whl")))))
    try:
        made = run(sys.executable, "-m", "venv", "--without-pip", str(venv), cwd="/")
        if made.returncode:
            raise Failed(
                "python3 -m venv fails on this host; is python3-venv installed there?", last_lines(made.stdout)
            )
        quiet = ["-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--disable-pip-version-check"]
        names = [str(wheel) for wheel in sorted(wheels.glob("*.whl")) if wheel != installer]
        pip = [str(venv / "bin/python"), "-I", f"{installer}/pip", "install", "--root-user-action=ignore"]
        done = run(*pip, *quiet, *names, cwd="/", env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})
        if done.returncode:
            raise Failed("the wheels can't be installed for this host's Python", last_lines(done.stdout))
        byte_compile(venv, venv / "lib")
        (venv / ".complete").touch()
        sync(venv)
    except BaseException:
        shutil.rmtree(str(venv), ignore_errors=True)
        raise


def byte_compile(venv: Path, folder: Path) -> None:
    """The application's user can't write here, so it is done now; files that are no Python 3 are nobody's concern."""
    run(str(venv / "bin/python"), "-I", "-m", "compileall", "-q", "-j", "0", str(folder), cwd="/")


# ------------------------------------------------------------------------------------------------- Django


class Django:
    """The project in a staged release, under the settings that came along, as the application's user."""

    def __init__(self, release: Path) -> None:
        self.release = release
        self.app = release / "app"
        self.python = str(release / "venv/bin/python")
        self.env = self.environment()

    def environment(self) -> dict[str, str]:
        """Values of the live generation are replaced by those that came along; secrets stay in the environment."""
        given = {**PAYLOAD["env"], **PAYLOAD["secrets"]}
        own = [
            part for part in given.get("PYTHONPATH", "").split(":") if part and not part.startswith("/etc/origin-kit/")
        ]
        return {
            **given,
            "PYTHONPATH": ":".join([str(STAGED / "django"), *own]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DJANGO_SETTINGS_MODULE": "origin_kit_settings",
            "ORIGIN_KIT_RELEASE": str(self.release),
            "ORIGIN_KIT_DATA": str(DATA),
        }

    def python_code(self, code: str, *words: str) -> subprocess.CompletedProcess[str]:
        return as_user(self.python, "-c", code, *words, cwd=str(self.app), env=self.env)

    def manage(self, *words: str) -> subprocess.CompletedProcess[str]:
        own = ("--no-color", "--settings=origin_kit_settings")
        return as_user(self.python, "manage.py", *words, *own, cwd=str(self.app), env=self.env)

    def must(self, done: subprocess.CompletedProcess[str], what: str, after: str = "") -> None:
        """Raise Failed with the gist of the traceback where `done` did not end well."""
        if done.returncode:
            said = self.shown(done.stdout)
            text = f"{what} fails: {gist(said)}{self.named_by(said)}; {unharmed()}{after}. Correct it and ship again"
            raise Failed(text, last_lines(said))

    def shown(self, said: str) -> str:
        """Paths as the developer knows them: from the project's folder."""
        return said.replace(f"{self.app}/", "").replace(f"{STAGED}/django/", "the kit's ")

    def named_by(self, said: str) -> str:
        """Which setting named the module that can't be imported, if that is what happened."""
        missing = re.search(r"No module named '([^']+)'", said)
        if not missing:
            return ""
        for key in ("settings", "wsgi"):
            named = PAYLOAD[key].split(":")[0]
            if named == missing[1] or named.startswith(missing[1] + "."):
                return f"; `{key}` in the stack's config names it"
        done = self.python_code(WHO_NAMES_IT, missing[1])
        names = ", ".join(done.stdout.split()) if done.returncode == 0 else ""
        return f"; {names} in the project's settings names it" if names else "; is it among its requirements?"


def gist(said: str) -> str:
    """The exception of the last traceback and the project's own line, on one line."""
    block = said.rsplit("Traceback (most recent call last):", 1)[-1]
    lines = [line.rstrip() for line in block.splitlines() if line.strip() and not line.startswith(" ")]
    text = next(
        (line for line in lines if re.match(r"[A-Za-z_][\w.]*(:|$)", line)), lines[-1] if lines else "no reason"
    )
    found = re.findall(r"^\S*: \(\w+\.E\d+\).*", said, re.MULTILINE)  # what Django's own checks found
    frames = re.findall(r'^  File "(?!manage\.py|the kit)([^"/<][^"]*)", line (\d+)', block, re.MULTILINE)
    return "; ".join([text, *found[:2]]) + (" ({}, line {})".format(*frames[-1]) if frames else "")


def unharmed() -> str:
    name = current_id()
    return f"release {name} goes on serving" if name else "nothing was put in service"


WHO_NAMES_IT = """
import importlib, sys
wanted = sys.argv[1]
def texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.items():
            yield from texts(list(inner))
    elif isinstance(value, (list, tuple, set)):
        for inner in value:
            yield from texts(inner)
settings = vars(importlib.import_module("origin_kit_settings"))
for name in sorted(filter(str.isupper, settings)):
    for text in texts(settings[name]):
        if text == wanted or text.startswith(wanted + ".") or wanted.startswith(text + "."):
            print(name)
            break
"""

IMPORT_WSGI = """
import importlib, os, sys
module, _, name = sys.argv[1].partition(":")
found = importlib.import_module(module)
if not callable(getattr(found, name or "application", None)):
    raise ImportError(f"{module} has nothing callable by the name of {name or 'application'!r}")
if os.environ.get("DJANGO_SETTINGS_MODULE") != "origin_kit_settings":
    raise ImportError(f"{module} sets DJANGO_SETTINGS_MODULE itself; write os.environ.setdefault(...) there")
"""


def try_backend(release: Path) -> None:
    """What can go wrong with the project goes wrong here, while the old release serves; what changes data is last."""
    stage_settings()
    django = Django(release)
    step("check", "checks the project")
    django.must(django.manage("check"), "manage.py check")
    django.must(django.python_code(IMPORT_WSGI, PAYLOAD["wsgi"]), "importing `wsgi` {}".format(PAYLOAD["wsgi"]))
    step("collectstatic", "collects static files")
    collect_static(django)
    saved = back_up(django)
    step("migrate", "migrates the database")
    django.must(django.manage("migrate", "--noinput"), "manage.py migrate", saved)
    as_user(sys.executable, "-I", "-c", CLOSE, str(DATA), cwd="/")


def stage_settings() -> None:
    """The generation's files that Django reads, in memory, for the application's user and nobody else."""
    STAGED.mkdir(parents=True, mode=0o750)
    for name, text in PAYLOAD["files"].items():
        path = STAGED / name
        if not path.resolve().is_relative_to(STAGED.resolve()):
            raise Failed(f"the file {name!r} is outside of the generation; it was not made by this kit")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if IS_ROOT:
        os.chown(str(STAGED), 0, pwd.getpwnam(USER).pw_gid)
    STAGED.chmod(0o750)


def collect_static(django: Django) -> None:
    """The folder is the application's while it is filled, and root's again afterwards."""
    static = django.release / "static"
    static.mkdir(exist_ok=True)
    give(static, USER)
    try:
        django.must(django.manage("collectstatic", "--noinput"), "manage.py collectstatic")
    finally:
        give(static, "root")


def give(folder: Path, user: str) -> None:
    """Change the owner of a tree, never through a link."""
    if not IS_ROOT:
        return
    owner = pwd.getpwnam(user)
    os.lchown(str(folder), owner.pw_uid, owner.pw_gid)
    for here, folders, names in os.walk(str(folder)):
        for name in folders + names:
            os.lchown(str(Path(here, name)), owner.pw_uid, owner.pw_gid)


def back_up(django: Django) -> str:
    """Copy SQLite files in the data folder if migrations wait; how to find the copy, for a message."""
    if not any(is_sqlite(path) for path in DATA.iterdir()) or django.manage("migrate", "--check").returncode == 0:
        return ""
    step("backup", "backs up the database")
    done = as_user(sys.executable, "-I", "-c", BACK_UP, str(DATA), PAYLOAD["id"], str(KEPT_BACKUPS), cwd="/")
    if done.returncode:
        raise Failed("the database can't be backed up, so it is not migrated", last_lines(done.stdout))
    return f"; a copy of the database from before is in {done.stdout.strip()}"


BACK_UP = """
import os, shutil, sqlite3, sys
data, release, kept = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.chdir(data)
os.umask(0o077)
os.makedirs("backups", exist_ok=True)
turn = max([int(name.split("-")[0]) for name in os.listdir("backups") if name.split("-")[0].isdigit()], default=0) + 1
folder = os.path.join("backups", f"{turn:05d}-before-{release}")
os.makedirs(folder)
for name in sorted(os.listdir(".")):
    if os.path.isfile(name) and open(name, "rb").read(16) == b"SQLite format 3\\0":
        source, copy = sqlite3.connect(name, timeout=30), sqlite3.connect(os.path.join(folder, name))
        source.backup(copy)
        copy.close()
for name in sorted(name for name in os.listdir("backups") if name.split("-")[0].isdigit())[:-kept]:
    shutil.rmtree(os.path.join("backups", name))
print(os.path.join(data, folder))
"""


CLOSE = """
import os, sys
os.chdir(sys.argv[1])
for name in os.listdir("."):
    if os.path.isfile(name) and open(name, "rb").read(16) == b"SQLite format 3\\0":
        os.chmod(name, 0o600)
"""


def is_sqlite(path: Path) -> bool:
    """Never follows a link and never waits for a pipe: the folder is the application's."""
    try:
        descriptor = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and os.read(descriptor, 16) == b"SQLite format 3\0"
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------- switch


def switch(to: str) -> None:
    """Make `to` current, and what runs with it; or everything as it was."""
    os.sync()  # nothing that the link will lead to may be in memory only
    step("journal", "notes the way back")
    write_durably(JOURNAL, json.dumps({"from": current_id(), "to": to}).encode())
    sync(HOME)
    step("switch", f"switches to release {to}")
    point(CURRENT, f"releases/{to}")
    try:
        restart()
    except Failed as problem:
        after = (
            "the one before serves again" if go_back() else "the one before does not come up either: see `fab status`"
        )
        raise Failed(
            f"release {to} does not come up: {problem}; {after}. Migrations are not taken back", problem.detail
        ) from problem
    step("commit", "forgets the way back")
    write_durably(RELEASES / to / "turn", str(max(map(turn_of, names_in(RELEASES))) + 1).encode())
    sync(RELEASES / to)
    JOURNAL.unlink()
    sync(HOME)


def restart() -> None:
    """Restart the service where there is one; done when every worker has loaded what is current."""
    if not has_service():
        return
    step("restart", f"restarts {APP}")
    systemctl("reset-failed", SERVICE)
    done = systemctl("restart", SERVICE)
    if done.returncode:
        raise Failed(f"{SERVICE} does not start", last_lines(done.stdout + journal_of(SERVICE)))
    step("confirm", "waits for the workers")
    if not workers_loaded():
        raise Failed("no worker has loaded it in time", last_lines(journal_of(SERVICE)))


def go_back() -> bool:
    """Undo a switch that has not been committed; done twice, it is done once. Whether what is current now runs."""
    before = json.loads(JOURNAL.read_text())["from"]
    if before and (RELEASES / before).exists():
        point(CURRENT, f"releases/{before}")
    else:
        with contextlib.suppress(FileNotFoundError):
            CURRENT.unlink()
    runs = True
    if before and has_service() and loaded() != {served()}:
        systemctl("reset-failed", SERVICE)
        runs = systemctl("restart", SERVICE).returncode == 0 and workers_loaded()
    JOURNAL.unlink()
    sync(HOME)
    return runs


def prune() -> None:
    """Keep what is current and what served last, `KEPT` in all, and only the environments that those run in."""
    step("prune", "removes old releases")
    by_turn = sorted(names_in(RELEASES), key=turn_of, reverse=True)
    kept = {current_id(), *[name for name in by_turn if turn_of(name)][:KEPT]}
    for name in set(by_turn) - kept:
        discard(RELEASES / name)
    used = {os.path.realpath(str(RELEASES / name / "venv")) for name in names_in(RELEASES)}
    for name in names_in(VENVS):
        if os.path.realpath(str(VENVS / name)) not in used:
            (VENVS / name / ".complete").unlink()
            discard(VENVS / name)


# ------------------------------------------------------------------------------------------------- the actions


@contextlib.contextmanager
def begin() -> Iterator[None]:
    with take_lock(), claims.entered(APP, PAYLOAD.get("moving") or {}):
        if JOURNAL.exists():
            step("undo", "undoes a ship that was cut short")
            go_back()
        sweep()
        yield


def install() -> Json:
    """PAYLOAD: app, role, who, id, digest (of the blob, or None), and for a backend lock, installer, wsgi, settings,
    files, env, secrets."""
    with begin():
        if current_id() == PAYLOAD["id"] and settled():
            return {"changed": False, "release": PAYLOAD["id"], "previous": previous()}
        before = current_id()
        prepare_user()
        release = stage()
        if PAYLOAD["role"] == "backend":
            try_backend(release)
        switch(PAYLOAD["id"])
        shutil.rmtree(str(STAGED), ignore_errors=True)
        prune()
        return {"changed": True, "release": PAYLOAD["id"], "previous": before}


def rollback() -> Json:
    """PAYLOAD: app, role, who, to (a release that is still here, or None for the one before)."""
    with begin():
        before, to = current_id(), PAYLOAD.get("to") or previous()
        here = [name for name in complete_releases() if turn_of(name)]
        if to is None:
            raise Failed("there is no release before this one here; `fab ship` puts one")
        if to == before:
            return {"changed": False, "release": to, "previous": previous()}
        if to not in here:
            raise Failed(f"release {to} is not here; there is {', '.join(here) or 'none'}")
        switch(to)
        return {"changed": True, "release": to, "previous": before}


def put_back() -> Json:
    """Another host's ship failed: a move to another name is taken back here as well."""
    with take_lock():
        claims.put_back()
    return {"changed": True}


def previous() -> str | None:
    """The release that served before the current one, if it is still here."""
    served = [name for name in complete_releases() if turn_of(name) and name != current_id()]
    return max(served, key=turn_of, default=None)


def main() -> int:
    os.umask(0o022)
    actions: dict[str, Callable[[], Json]] = {
        "facts": facts, "install": install, "rollback": rollback, "put_back": put_back,
    }  # fmt: skip
    try:
        emit(result=actions[PAYLOAD["action"]]())
        return 0
    except Failed as problem:
        emit(error=str(problem), detail=problem.detail)
    except OSError as problem:
        emit(error=explain(problem), detail="")
    return 1


def explain(problem: OSError) -> str:
    where = problem.filename or HOME
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(str(HOME if HOME.exists() else ROOT)).free >> 20
        return f"the disk is full ({free} MiB free at {HOME}); make room, then ship again; {unharmed()}"
    if problem.errno == errno.EROFS:
        return f"{where} is on a read-only file system; see `dmesg` on the host; {unharmed()}"
    return f"{where}: {problem.strerror or problem}; {unharmed()}; ship again"


if PAYLOAD:
    sys.exit(main())
