"""Put one release on one host, or leave the one that serves as it was.

Standard library only (Python >= 3.9): this text is sent to the host and runs there as root, as one unit of work. It
finds its orders in the global PAYLOAD and the archive on stdin, and prints JSON lines: `{"step": ...}` as it goes, then
`{"result": ...}` or `{"error": ...}`. Neither the application's code nor anything of a wheel ever runs as root:
`confined` runs the one, `wheelfiles` unpacks the other. What the application wrote is read by `untrusted` only.

    /opt/<app>/releases/<id>   complete as soon as it has this name; <id>.partial before, which the next run sweeps
    /opt/<app>/venvs/<lock>    complete when `.complete` is in it; scripts hold their own path, so it can't be moved
    /opt/<app>/current         the one switch: a link, replaced by one rename
    /var/cache/origin-kit/incoming/<transaction>   what arrives, before anything is locked; only root enters the folder

The journal of a switch, what a crash leaves and how hosts agree on the outcome: `journal` and `two_phase`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Callable, Iterator, NoReturn  # noqa: UP035 - Python 3.9 has no other

import rollout
from rollout import (
    claims,
    confined,
    handover,
    journal,
    links,
    made_from,
    manifest,
    modules,
    replacement,
    shipped,
    transaction,
    two_phase,
    untrusted,
    wheelfiles,
)
from rollout.appdata import APP, DATA, IS_ROOT, PRIVATE, USER, as_user, in_data, prepare_user
from rollout.journal import audit
from rollout.onhost import (
    PAYLOAD,
    ROOT,
    SILENCE_S,
    Failed,
    Json,
    emit,
    end_step,
    last_lines,
    note_full,
    point,
    private_folder,
    run,
    send_heartbeats,
    step,
    sync,
    trouble,
)

SCRIPT: str = globals().get("SCRIPT", "")  # this whole text, for the unit that the work is handed to
HOME = ROOT / "opt" / APP
RELEASES = HOME / "releases"
VENVS = HOME / "venvs"
CURRENT = HOME / "current"
INCOMING = ROOT / "var/cache/origin-kit/incoming"
STAGED = ROOT / "run" / f"origin-kit-ship-{APP}"
KEPT = 5
KEPT_BACKUPS = 3
COMPILE_S = 600
SHOWN_USES = 3
IS_BACKEND = PAYLOAD.get("role") == "backend"


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
    """Releases that need nothing sent: as they were unpacked, and with the environment that they run in."""
    return [name for name in names_in(RELEASES) if is_whole(name)]


def is_whole(name: str) -> bool:
    """Whether a release and its environment are there and as they were made; the current one is read to the byte."""
    release, thorough = RELEASES / name, name == current_id()
    if is_site(name):
        return not changes(release, thorough)
    if not (release / "venv/.complete").exists():
        return False
    return not (changes(release, thorough) or changes(Path(os.path.realpath(str(release / "venv"))), thorough))


_read_before: dict[Path, list[str]] = {}  # to the byte, which takes a second in a large environment


def changes(folder: Path, thorough: bool) -> list[str]:
    """As `manifest.changes`; a thorough look is taken once."""
    if not thorough:
        return _read_before.get(folder) or manifest.changes(folder)
    if folder not in _read_before:
        _read_before[folder] = manifest.changes(folder, thorough=True)
    return _read_before[folder]


def is_site(name: str) -> bool:
    return (RELEASES / name / "site").is_dir()


def complete_venvs() -> list[str]:
    """The locks that have an environment here that is as it was made."""
    return sorted({lock_of(name) for name in names_in(VENVS) if is_complete_venv(name)})


def is_complete_venv(name: str) -> bool:
    venv = VENVS / name
    return (venv / ".complete").exists() and not changes(venv, thorough=False)


def lock_of(venv: str) -> str:
    """An environment has the name of its lock; one that replaces a changed one that still serves has a number more."""
    return venv.split("-")[0]


def used_venvs() -> set[str]:
    """Names of the environments that releases run in."""
    return {Path(os.path.realpath(str(RELEASES / name / "venv"))).name for name in names_in(RELEASES)}


def turn_of(name: str) -> int:
    """When this release last became current, see `transaction.activation_number`."""
    return transaction.activation_number(RELEASES / name)


def settled() -> bool:
    """Whether no ship was cut short, what runs is what is current, and that is as it was shipped."""
    loaded = {release for _, release in transaction.loaded_by_gunicorn()}
    if journal.exists() or not loaded <= {os.path.realpath(str(CURRENT))}:
        return False
    name = current_id()
    return name is None or (turn_of(name) > 0 and is_whole(name))


def facts() -> Json:
    """What the operator has to know to choose wheels and to see whether there is anything to do."""
    claims.refuse(APP, PAYLOAD.get("moving"))
    replacement.refuse()
    return {
        "python": "{}.{}".format(*sys.version_info),
        "python_full": platform.python_version(),
        "machine": platform.machine(),
        "libc": platform.libc_ver()[1] if platform.libc_ver()[0] == "glibc" else "",
        "release": current_id(),
        "made_from": made_from.of(HOME, current_id()),
        "settled": settled() and not claims.pending(APP),
        "releases": complete_releases(),
        "venvs": complete_venvs(),
    }


# ------------------------------------------------------------------------------------------------- files


def discard(folder: Path) -> None:
    """Remove a folder so that nobody takes what is left of it for the whole, even if this is cut short."""
    partial = folder if folder.suffix == ".partial" else folder.with_name(folder.name + ".partial")
    if partial != folder:
        remove(partial)
        folder.rename(partial)
    remove(partial)


def remove(folder: Path) -> None:
    """Remove a tree of any depth, never through a link: an earlier version of this let the application fill some."""
    done = run("rm", "-rf", "--one-file-system", "--", str(folder))
    if done.returncode:
        raise Failed(f"{folder} can't be removed", last_lines(done.stdout))


def sweep() -> None:
    """Remove what an earlier run has left unfinished."""
    for folder in (RELEASES, VENVS):
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.partial"):
            discard(leftover)
    for name in set(names_in(VENVS)) - used_venvs():
        if not is_complete_venv(name):
            discard(VENVS / name)
    remove(STAGED)
    remove(PRIVATE)


# ------------------------------------------------------------------------------------------------- unpack


def receive() -> Path | None:
    """What the operator sends, in a file of root's; None where nothing is to come. Nothing is locked meanwhile.

    Raises Failed for an archive that arrives cut or damaged, or an operator who stops sending.
    """
    if not PAYLOAD.get("digest"):
        return None
    private_folder(INCOMING)
    forget_arrivals()
    place = INCOMING / str(PAYLOAD["deploy"])
    seen = hashlib.sha256()
    with place.open("wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for chunk in arriving(PAYLOAD["size"]):
            seen.update(chunk)
            handle.write(chunk)
    if seen.hexdigest() != PAYLOAD["digest"]:
        place.unlink()
        raise Failed("the release arrives incomplete; was the connection cut? ship again")
    return place


def arriving(size: int) -> Iterator[bytes]:
    """At most `size` bytes of the standard input; Failed where nothing more comes for a while."""

    def too_long(*_: object) -> None:
        raise Failed(f"nothing has arrived from the operator for {SILENCE_S:.0f} s; is the line down? ship again")

    signal.signal(signal.SIGALRM, too_long)
    left = size
    while left:
        signal.setitimer(signal.ITIMER_REAL, SILENCE_S)
        chunk = sys.stdin.buffer.read1(min(left, 1 << 18))  # type: ignore[union-attr]
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not chunk:
            return
        left -= len(chunk)
        yield chunk


def forget_arrivals() -> None:
    """Remove what arrived for a ship that has ended; one under way has a job, or still writes to its file."""
    for place in INCOMING.iterdir():
        if handover.unlocked(place) and not (handover.JOBS / place.name).exists():
            place.unlink()


def unpack(partial: Path) -> None:
    """Unpack the archive into `partial`. Raises Failed for one that is cut short or reaches outside of it."""
    step("unpack", "unpacks release {}".format(PAYLOAD["id"]))
    partial.mkdir(parents=True, mode=0o755)
    linked: dict[str, str] = {}
    try:
        with tarfile.open(str(INCOMING / str(PAYLOAD["deploy"])), mode="r|gz") as tar:
            for member in tar:
                unpack_one(tar, member, partial, linked)
    except (tarfile.TarError, EOFError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno:
            raise
        raise Failed(f"the archive can't be unpacked ({problem}); ship again") from problem
    make_links(partial, linked)


def unpack_one(tar: tarfile.TarFile, member: tarfile.TarInfo, partial: Path, linked: dict[str, str]) -> None:
    path = inside(member.name)
    place = partial / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        linked[str(path)] = member.linkname
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


def make_links(partial: Path, linked: dict[str, str]) -> None:
    """Last, so that no file was written through one; only those that stay inside, every link on the way followed."""
    for top in ("app", "site", "wheels"):
        below = {path[len(top) + 1 :]: target for path, target in linked.items() if path.startswith(top + "/")}
        for path in links.leading_out(below):
            outside(f"{top}/{path} → {below[path]}")
    for path, target in linked.items():
        if "/" not in path or os.path.lexists(str(partial / path)):
            outside(path)
        (partial / path).symlink_to(target)


def inside(name: str) -> PurePosixPath:
    """`name` as a path, if it stays below app, site or wheels."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0] not in ("app", "site", "wheels"):
        outside(name)
    return path


def outside(name: str) -> NoReturn:
    raise Failed(f"the archive reaches outside of the release ({name!r}); it was not made by this kit")


# ------------------------------------------------------------------------------------------------- the release


def stage() -> Path:
    """The release under its own name, with the environment that it runs in.

    Where it replaces one that serves and was changed, it has another name until `put`.
    """
    final, partial = RELEASES / str(PAYLOAD["id"]), RELEASES / "{}.partial".format(PAYLOAD["id"])
    if PAYLOAD["id"] in complete_releases():
        return final
    serves = current_id() == PAYLOAD["id"]
    if final.exists() and not serves:
        discard(final)
    if not PAYLOAD["digest"]:
        raise Failed("release {} is no longer here; ship again".format(PAYLOAD["id"]))
    try:
        unpack(partial)
        if PAYLOAD["role"] == "backend":
            prepare_backend(partial)
            for_the_application_alone(partial / "app")
        record = {key: PAYLOAD.get(key) for key in ("id", "role", "label", "commit", "revision", "lock", "who")}
        (partial / "release.json").write_text(json.dumps(record, indent=1) + "\n")
    except BaseException:
        note_full()
        shutil.rmtree(str(partial), ignore_errors=True)
        raise
    if serves:
        return partial
    partial.rename(final)
    return final


def put(release: Path) -> None:
    """Note what a release holds that has passed its checks; one that replaces a changed one takes its place."""
    manifest.write(release)
    _read_before.clear()
    if release.suffix == ".partial":
        step("replace", "replaces release {}, which was changed here".format(PAYLOAD["id"]))
        os.sync()
        exchange(release, release.with_suffix(""))
        sync(RELEASES)
        shutil.rmtree(str(release))


def exchange(one: Path, other: Path) -> None:
    """Each gets the other's name, at once: `current` leads to a whole release all the time (renameat2(2))."""
    import ctypes

    here, exchange_both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange_both):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def prepare_backend(partial: Path) -> None:
    venv = venv_for(str(PAYLOAD["lock"]))
    if not (venv / ".complete").exists():
        make_venv(venv, partial / "wheels")
        run_in(venv)
    for_the_application_alone(venv)  # its user may be another one than when the environment was made
    shutil.rmtree(str(partial / "wheels"), ignore_errors=True)
    (partial / "venv").symlink_to(f"../../venvs/{venv.name}")
    step("compile", "compiles the project")
    byte_compile(partial / "app")


def for_the_application_alone(folder: Path) -> None:
    """Code and its environment are read by the application's user; nginx and others can't enter."""
    if IS_ROOT:
        os.chown(str(folder), 0, pwd.getpwnam(USER).pw_gid)
    folder.chmod(0o750)


def venv_for(lock: str) -> Path:
    """The environment for this lock that is as it was made, or a name for a new one: scripts in it hold its path, so
    it can't be moved to where a changed one still serves."""
    names = [name for name in names_in(VENVS) if lock_of(name) == lock]
    whole = [name for name in names if is_complete_venv(name)]
    free = (name for name in (lock, *(f"{lock}-{number}" for number in range(2, 1000))) if name not in names)
    return VENVS / (whole[0] if whole else next(free))


def run_in(venv: Path) -> None:
    """Lead the releases that are here to an environment that replaces a changed one of the same lock."""
    for name in names_in(RELEASES):
        link = RELEASES / name / "venv"
        if link.is_symlink() and lock_of(link.readlink().name) == lock_of(venv.name):
            point(link, f"../../venvs/{venv.name}")


def make_venv(venv: Path, wheels: Path) -> None:
    """A virtual environment of the wheels that came along; nothing is asked of any network, and nothing of them runs.

    Its interpreter is a link to the system's. Root does not run it: with wheels in it, it runs their `*.pth`.
    """
    files = ordered_wheels(wheels)
    step("venv", f"installs {len(files)} packages")
    try:
        made = run(sys.executable, "-I", "-m", "venv", "--without-pip", str(venv), cwd="/")
        if made.returncode:
            raise Failed(
                "python3 -m venv fails on this host; is python3-venv installed there?", last_lines(made.stdout)
            )
        wheelfiles.install(files, venv)
        tell_who_runs_manage_by_hand(venv)
        byte_compile(venv / "lib")
        for_the_application_alone(venv)
        manifest.write(venv)
        (venv / ".complete").touch()
        sync(venv)
    except wheelfiles.WheelRefused as problem:
        remove(venv)
        raise Failed(f"a wheel is refused: {problem}; pin another version of it, or leave it out") from problem
    except BaseException:
        remove(venv)
        raise


# Read by `site` when an interpreter of this environment starts: a line that begins with `import` is run.
_BY_HAND = (
    "import os, sys; "
    'getattr(sys, "orig_argv", ())[1:2] == ["manage.py"] '
    'and os.environ.get("DJANGO_SETTINGS_MODULE") != "origin_kit_settings" '
    'and sys.stderr.write("manage.py: this runs without the settings and variables of the service; '
    'write `sudo origin-kit-manage COMMAND`, or `fab manage -- COMMAND` from your machine\\n")\n'
)


def tell_who_runs_manage_by_hand(venv: Path) -> None:
    """Leave a line in the environment that says what to write in place of `../venv/bin/python manage.py`."""
    for folder in (venv / "lib").glob("python3*/site-packages"):
        (folder / "origin_kit_by_hand.pth").write_text(_BY_HAND)


def ordered_wheels(folder: Path) -> list[Path]:
    """The wheels that came along, if they are those of the orders, by name and to the byte. Else raises Failed."""
    found = {path.name: path for path in sorted(folder.glob("*"))}
    if not found:
        raise Failed("the Python environment of this release is no longer here; ship again")
    ordered = PAYLOAD.get("wheels") or {}
    if other := sorted(found.keys() ^ ordered.keys()):
        raise Failed(f"{other[0]} is not among the wheels of the orders, or missing; ship again")
    for name, path in found.items():
        if sha256_of(path) != ordered[name]:
            raise Failed(f"{name} is not the wheel that was locked (another SHA-256); ship again")
    return list(found.values())


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def byte_compile(folder: Path) -> None:
    """The application's user can't write here, so it is done now; files that are no Python 3 are nobody's concern.

    The system's own interpreter reads the sources and runs none of them; `-S` leaves `*.pth` alone.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):  # what is not compiled is only slower to start
        run(sys.executable, "-I", "-S", "-m", "compileall", "-q", "-j", "0", str(folder), cwd="/", timeout=COMPILE_S)


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

    def python_code(self, code: str, *words: str) -> confined.Ended:
        return as_user(self.python, "-c", code, *words, cwd=str(self.app), env=self.env)

    def manage(self, *words: str, **more: Any) -> confined.Ended:
        return as_user(*self.manage_words(*words), cwd=str(self.app), env=self.env, **more)

    def manage_words(self, *words: str) -> list[str]:
        return [self.python, "manage.py", *words, "--no-color", "--settings=origin_kit_settings"]

    def collect(self, into: BinaryIO) -> confined.Ended:
        """Collect the static files, and have them handed over to `into`."""
        words = [sys.executable, "-I", "-c", untrusted.HAND_OVER, *self.manage_words("collectstatic", "--noinput")]
        return as_user(*words, cwd=str(self.app), env=self.env, into=into)

    def must(self, done: confined.Ended, what: str, after: str = "") -> None:
        """Raise Failed with the gist of the traceback where `done` did not end well."""
        if done.late:
            raise Failed(
                f"{what} did not end within {done.limit_s:g} s, the limit for it, and was stopped; "
                f"{unharmed()}{after}. Correct it and ship again",
                last_lines(self.shown(done.stdout)),
            )
        if done.returncode:
            said = self.shown(done.stdout)
            why = f"{gist(said)}{where_to_write(said)}{class_to_name(said)}{self.named_by(said)}"
            text = f"{what} fails: {why}; {unharmed()}{after}. Correct it and ship again"
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
        # Its warnings are in the same output, so names are marked as such.
        names = ", ".join(re.findall(r"^named: (\w+)$", done.stdout, re.MULTILINE)) if done.returncode == 0 else ""
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
    file_problem = re.findall(rf"^{_FILE_PROBLEM}: .*", said, re.MULTILINE)  # of the exception behind the last one
    causes = [line for line in file_problem[-1:] if line not in text]
    return "; ".join([text, *causes, *found[:2]]) + (" ({}, line {})".format(*frames[-1]) if frames else "")


# A file that the project wants to write, most often a log: the exception that reaches the end may not name it.
_FILE_PROBLEM = r"(?:PermissionError|FileNotFoundError|NotADirectoryError|IsADirectoryError|OSError)"


def where_to_write(said: str) -> str:
    """What to do about a file that can't be written because it is beside the code."""
    paths = re.findall(r"(?:Read-only file system|Permission denied): '([^']+)'", said)
    return f" (only {DATA} can be written: its path is in ORIGIN_KIT_DATA)" if paths else ""


def class_to_name(said: str) -> str:
    """What to do about settings of django-configurations whose class is not known: manage.py and wsgi.py may have a
    default for it, but then its values would come after the kit's."""
    unnamed = r"django-configurations settings importer wasn't|variable DJANGO_CONFIGURATION is undefined"
    cure = "; the settings are classes: name one by DJANGO_CONFIGURATION in `env` of the stack's config"
    return cure if re.search(unnamed, said) else ""


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
            print(f"\\nnamed: {name}")
            break
"""

IMPORT_WSGI = """
import importlib, inspect, os, sys
module, _, name = sys.argv[1].partition(":")
found = importlib.import_module(module)
called = getattr(found, name or "application", None)
if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(getattr(called, "__call__", None)):
    cure = "name the module with get_wsgi_application() (wsgi.py)"
    raise ImportError(f"{module} holds an ASGI application, and gunicorn serves WSGI here; {cure}")
if not callable(getattr(found, name or "application", None)):
    raise ImportError(f"{module} has nothing callable by the name of {name or 'application'!r}")
if os.environ.get("DJANGO_SETTINGS_MODULE") != "origin_kit_settings":
    raise ImportError(f"{module} sets DJANGO_SETTINGS_MODULE itself; write os.environ.setdefault(...) there")
"""


def try_backend(release: Path) -> None:
    """What can go wrong with the project goes wrong here, while the old release serves and no data has changed."""
    stage_settings()
    django = Django(release)
    step("check", "checks the project")
    django.must(django.manage("check"), "manage.py check")
    django.must(django.python_code(IMPORT_WSGI, PAYLOAD["wsgi"]), "importing `wsgi` {}".format(PAYLOAD["wsgi"]))
    refuse_settings_of_development(django)
    step("collectstatic", "collects static files")
    collect_static(django)
    tell_of_error_pages(django)


def tell_of_error_pages(django: Django) -> None:
    """A note for each page of the project for errors that fails itself; it is no reason not to serve the rest."""
    done = django.python_code(rollout.TEXTS["error_pages"])  # type: ignore[attr-defined]
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"failing"')]
    for name, why in sorted((answers[-1]["failing"] if answers else {}).items()):
        emit(step="note", text=f"{name} of the project fails itself ({why}): visitors get a bare 500 in its place")


def refuse_settings_of_development(django: Django) -> None:
    """Raise Failed where DEBUG was true while the project's settings were read, and they use it."""
    done = django.python_code(rollout.TEXTS["debug_branches"], PAYLOAD["settings"])  # type: ignore[attr-defined]
    django.must(done, "reading `settings` {}".format(PAYLOAD["settings"]))
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"uses"')]
    uses = answers[-1]["uses"] if answers else []
    if not uses:
        return
    where = "; ".join(uses[:SHOWN_USES]) + (f" and {len(uses) - SHOWN_USES} more" if len(uses) > SHOWN_USES else "")
    raise Failed(
        f"DEBUG is true while the settings are read, and they use it ({where}), so settings for development would "
        f"serve although DEBUG ends as False. Have it come out false on the host: {answers[-1]['set'] or 'it is set'}; "
        f"a variable that it reads goes into `env` of the stack's config. {unharmed().capitalize()}"
    )


def migrate(release: Path) -> str:
    """Change the data: after every host has its release ready, and just before the switch. Where the copy from before
    is, if one was made."""
    django = Django(release)
    copy = back_up(django)
    step("migrate", "migrates the database")
    migrated = django.manage("migrate", "--noinput", limit_s=confined.LONG_LIMIT_S)
    saved = f"; a copy of the database from before is in {copy}" if copy else ""
    django.must(migrated, "manage.py migrate", saved)
    in_data(CLOSE)
    return copy


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
    """The application collects where only it can see; root writes what it hands over to a fresh folder of its own.

    Nothing that the application may write to is ever walked, and it has no process left when the first file is written.
    """
    static, fresh, old = (django.release / name for name in ("static", "static.partial", "static.old"))
    remove(fresh)
    remove(old)
    try:
        with tempfile.TemporaryFile(dir=str(RELEASES)) as handed_over:
            django.must(django.collect(handed_over), "manage.py collectstatic")
            handed_over.seek(0)
            fresh.mkdir(mode=0o755)
            untrusted.receive(handed_over, fresh)
    except BaseException:
        remove(fresh)
        raise
    if os.path.lexists(str(static)):
        static.rename(old)
    fresh.rename(static)
    remove(old)


def back_up(django: Django) -> str:
    """Copy SQLite files in the data folder if migrations wait; where the copy is."""
    found = in_data(HAS_SQLITE)
    if found.returncode not in (0, _NONE):  # not to know is no reason to migrate without a copy
        raise Failed(f"{DATA} can't be searched for databases as user {USER}", last_lines(found.stdout))
    if found.returncode == _NONE or django.manage("migrate", "--check").returncode == 0:
        return ""
    step("backup", "backs up the database")
    done = in_data(BACK_UP, str(PAYLOAD["id"]), str(KEPT_BACKUPS), limit_s=confined.LONG_LIMIT_S)
    if done.returncode:
        raise Failed("the database can't be backed up, so it is not migrated", last_lines(done.stdout))
    told = done.stdout.strip()  # by a process of the application's user
    return told if re.fullmatch(rf"{re.escape(str(DATA))}/backups/\d+-before-[0-9a-f]+", told) else f"{DATA}/backups"


# These run as the application's user: in its own folder it can only harm itself.
_SQLITE_FILES = """
import os, stat, sys
os.chdir(sys.argv[1])
def is_sqlite(name):
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.read(16) == b"SQLite format 3\\0"
    except OSError:
        return False
names = [name for name in sorted(os.listdir(".")) if is_sqlite(name)]
"""

_NONE = 10
HAS_SQLITE = f"{_SQLITE_FILES}sys.exit(0 if names else {_NONE})"

BACK_UP = (
    _SQLITE_FILES
    + """
import shutil, sqlite3
data, release, kept = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.umask(0o077)
os.makedirs("backups", exist_ok=True)
turn = max([int(name.split("-")[0]) for name in os.listdir("backups") if name.split("-")[0].isdigit()], default=0) + 1
folder = os.path.join("backups", f"{turn:05d}-before-{release}")
os.makedirs(folder)
for name in names:
    source, copy = sqlite3.connect(name, timeout=30), sqlite3.connect(os.path.join(folder, name))
    source.backup(copy)
    copy.close()
for name in sorted(name for name in os.listdir("backups") if name.split("-")[0].isdigit())[:-kept]:
    shutil.rmtree(os.path.join("backups", name))
print(os.path.join(data, folder))
"""
)

CLOSE = (
    _SQLITE_FILES
    + """
for name in names:
    os.chmod(name, 0o600)
"""
)


# ------------------------------------------------------------------------------------------------- switch


class Switch(two_phase.Work):
    """Make a release that is here current, and what runs with it; or everything as it was.

    Where the live configuration names modules that the release lacks, the one that names its own is switched with it.
    """

    def __init__(self, to: str) -> None:
        self.to = to
        self.along: transaction.Deploy | None = None  # the configuration that is switched with it

    def stage(self) -> None:
        self.stage_configuration(RELEASES / self.to)

    def stage_configuration(self, code: Path) -> None:
        """Get the configuration ready that this release needs, if it is not the live one."""
        live = transaction.CURRENT
        if not IS_BACKEND or PAYLOAD.get("moving") or not live.exists() or not modules.missing(live, code):
            return
        generation = self.configuration(code)
        claims.check(generation, APP)
        self.along = transaction.Deploy(generation, code)
        self.along.stage()

    def configuration(self, code: Path) -> Json:
        """The last configuration that served and names modules of this release. Raises Failed where there is none."""
        here = sorted(transaction.kept(), key=transaction.by_activation, reverse=True)
        for name in here:
            if not modules.missing(transaction.GENERATIONS / name, code):
                PAYLOAD["probes"] = (found := transaction.stored(name))["probes"]
                return found
        lacking = modules.missing(transaction.CURRENT, code)[0]
        raise Failed(f"release {self.to} has no module {lacking!r}, which every configuration here names; {unharmed()}")

    def switch(self) -> None:
        os.sync()  # nothing that the link will lead to may be in memory only
        back = current_id()
        links = {str(CURRENT): f"releases/{back}" if back else None}
        if self.along:
            transaction.write_journal(self.along.generation, links, self.to)
        else:
            journal.begin("release", self.to, back, links, {})
        step("switch", f"switches to release {self.to}")
        point(CURRENT, f"releases/{self.to}")
        if self.along:
            self.along.switch_to()
        else:
            restart()

    def keep(self) -> None:
        transaction.note_activation(RELEASES, self.to)
        if self.along:
            self.along.keep()
            transaction.prune()

    def also(self) -> Json:
        """What is told of the configuration that was switched along: its id."""
        return {"configuration": self.along.generation["id"]} if self.along else {}

    def undo(self, problem: Exception) -> None:
        if not journal.exists():
            return
        runs = go_back()
        if isinstance(problem, two_phase.LeftAlone) and runs:
            return
        after = "the one before serves again" if runs else "the one before does not come up either: see `fab logs`"
        raise Failed(
            f"release {self.to} does not come up: {problem}; {after}. Migrations are not taken back",
            getattr(problem, "detail", ""),
        ) from problem


class Ship(Switch):
    """Put the release that arrived on this host, and make it current. `copy` is of the database before migrations."""

    copy = ""

    def stage(self) -> None:
        prepare_user()
        self.staged = stage()
        if IS_BACKEND:
            try_backend(self.staged)
            self.stage_configuration(self.staged)

    def configuration(self, code: Path) -> Json:
        """The one that came along."""
        return transaction.given(make_key=True)

    def switch(self) -> None:
        if IS_BACKEND:
            if gone := shipped.no_longer_held(current_id(), self.to):
                emit(step="note", text=f"does not hold these migrations, which stay applied: {', '.join(gone)}")
            self.copy = migrate(self.staged)
        put(self.staged)
        super().switch()

    def keep(self) -> None:
        super().keep()
        note_what_it_was_made_from()


def note_what_it_was_made_from() -> None:
    if PAYLOAD.get("made_from") is not None:
        made_from.note(HOME, str(PAYLOAD["id"]), PAYLOAD["made_from"])


def restart() -> None:
    """Restart the service where there is one; done when every worker has loaded what is current."""
    if not transaction.has_service():
        return
    step("restart", f"restarts {APP}")
    transaction.restart_service()
    step("confirm", "waits for the workers")
    transaction.await_workers()


def go_back() -> bool:
    """Undo a switch whose outcome is open; done twice, it is done once. Whether what is current now runs."""
    step("undo", "goes back to the release before")
    way = journal.put_links_back()
    try:
        transaction.settle(way)
    except Failed:
        return False
    return True


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
            (VENVS / name / ".complete").unlink(missing_ok=True)
            discard(VENVS / name)


# ------------------------------------------------------------------------------------------------- the actions


def install() -> Json:
    """PAYLOAD: app, role, who, deploy, id, digest and size (of what was sent, or None), and for a backend lock,
    wsgi, settings, files, env, secrets, unit (the text of the service's), generation (all of the configuration, for the
    release that can't do without it) and its probes."""
    finished = transaction.recover()
    with claims.entered(APP, PAYLOAD.get("moving") or {}):
        sweep()
        if current_id() == PAYLOAD["id"] and settled():
            note_what_it_was_made_from()
            return {"changed": finished, "release": PAYLOAD["id"], "previous": previous()}
        before, ship = current_id(), Ship(PAYLOAD["id"])
        two_phase.run(ship)
        shutil.rmtree(str(STAGED), ignore_errors=True)
        prune()
    copy = {"copy": ship.copy} if ship.copy else {}
    return {"changed": True, "release": PAYLOAD["id"], "previous": before, **copy, **ship.also()}


def rollback() -> Json:
    """PAYLOAD: app, role, who, deploy, to (a release that is still here, or None for the one before), from (the one
    that is to be left, if it matters)."""
    finished = transaction.recover()
    with claims.entered(APP, {}):
        sweep()
        before, to = current_id(), PAYLOAD.get("to") or previous()
        here = [name for name in complete_releases() if turn_of(name)]
        if to is None:
            raise Failed("there is no release before this one here; `fab ship` puts one")
        if to == before:
            return {"changed": finished, "release": to, "previous": previous()}
        if PAYLOAD.get("from") not in (None, before):
            raise Failed(f"release {before} serves here by now, no longer {PAYLOAD['from']}; run this again")
        if to not in here:
            raise Failed(f"release {to} is not here; there is {', '.join(here) or 'none'}")
        switch = Switch(to)
        two_phase.run(switch)
    return {"changed": True, "release": to, "previous": before, **switch.also()}


def previous() -> str | None:
    """The release that served before the current one, if it is still here."""
    served = [name for name in complete_releases() if turn_of(name) and name != current_id()]
    return max(served, key=turn_of, default=None)


ACTIONS: dict[str, Callable[[], Json]] = {"install": install, "rollback": rollback}


def main() -> int:
    os.umask(0o022)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        if "job" in PAYLOAD:
            do()
            return 0
        send_heartbeats()
        if PAYLOAD["action"] == "facts":
            emit(result=facts())
            return 0
        receive()
        return handover.hand_over(SCRIPT)
    except Failed as problem:
        transaction.report_failure(problem)
    except OSError as problem:
        emit(error=explain(problem), detail="")
    return 1


def do() -> None:
    """The unit's part."""
    asked_for = str(PAYLOAD.get("id") or PAYLOAD.get("to"))
    try:
        result = transaction.under_the_lock(ACTIONS[PAYLOAD["action"]])
    except (Failed, OSError) as problem:
        audit(f"{transaction.kind_of(problem)}: {problem}", asked_for, "release")
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            (INCOMING / str(PAYLOAD["deploy"])).unlink()
    end_step()
    if "configuration" in result:
        audit("deployed", result["configuration"], "configuration")
    word = {"install": shipped.SHIPPED, "rollback": shipped.ROLLED_BACK}[PAYLOAD["action"]]
    told = {"revision": shipped.revision(str(result["release"]))}
    # What an earlier run had left and this one has finished has a line of its own.
    changed = PAYLOAD["deploy"] in journal.committed()
    if changed:
        told.update({key: result[key] for key in ("previous", "copy") if key in result})
    audit(word if changed else "unchanged", result["release"], "release", **told)
    transaction.report(result)


def explain(problem: OSError) -> str:
    return f"{trouble(problem, HOME)}; {unharmed()}"


if PAYLOAD:
    sys.exit(main())
