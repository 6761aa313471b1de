"""What the project needs, as wheels for the host's Python, resolved and fetched on this side.

Two tools, because neither does both: `uv` resolves for another machine (pip evaluates markers for the one it runs on),
`pip` fetches files without installing them. What was fetched is kept by the digest of what was asked for.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.contract import Json
from infra.local.home import cache_folder, locked, user_name
from rollout import wheelfiles
from rollout.outputs import ROOT
from rollout.release.archive import digest
from rollout.release.source import ReleaseError, Source, hide_password

# The kit's own needs, in a range, so that a project's own pin wins.
ADDITIONS = ("gunicorn>=22", "django-cors-headers>=4.4")
_FORMAT = "2"  # of what the host makes of wheels; another one makes every environment another
_LEGACY_TAGS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST_GLIBC_MINOR = {"x86_64": 5, "i686": 5}
_UV_GLIBC_MINORS = range(28, 41)
_NO_MATCH = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+?)(?===|$|\s)")
_WITHOUT_WHEEL = re.compile(r"(?:Wheels are required|Building source distributions) for `([A-Za-z0-9._-]+)`")
_INDEX = re.compile(r"-i\b|-f\b|--index-url|--extra-index-url|--find-links|--trusted-host|--no-index")
_SAME_INDEX = (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_EXTRA_INDEX_URL", "UV_INDEX"))

Say = Callable[[str], None]
Advance = Callable[[float, str], None]


@dataclass(frozen=True)
class Target:
    """The host that wheels are for. `python` is major.minor, `machine` as `uname -m` says, `libc` glibc's version."""

    python: str = "3.11"
    machine: str = "x86_64"
    libc: str = "2.36"

    @classmethod
    def of(cls, facts: Json) -> Target:
        """From what a host answered to the `facts` action."""
        return cls(facts["python"], facts["machine"], facts["libc"])

    @property
    def abi(self) -> str:
        """CPython's own tag, e.g. cp311 (PEP 425)."""
        return "cp" + self.python.replace(".", "")

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags that this host can load (PEP 600), newest first; wheels without a platform always count."""
        oldest = _OLDEST_GLIBC_MINOR.get(self.machine, 17)
        tags = []
        for minor in range(self._glibc_minor, oldest - 1, -1):
            tags.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in _LEGACY_TAGS:
                tags.append(f"{_LEGACY_TAGS[minor]}_{self.machine}")
        return tuple(tags)

    @property
    def uv_platform(self) -> str:
        """The nearest that `uv --python-platform` knows; it matters for markers only, `platforms` choose the files."""
        if self.machine not in ("x86_64", "aarch64"):
            raise ReleaseError(f"hosts of kind {self.machine} are not served; use x86_64 or aarch64 machines")
        minor = min(self._glibc_minor, _UV_GLIBC_MINORS[-1])
        return f"{self.machine}-manylinux" + (f"_2_{minor}" if minor in _UV_GLIBC_MINORS else "2014")

    @property
    def _glibc_minor(self) -> int:
        match = re.match(r"2\.(\d+)", self.libc)
        if not match:
            raise ReleaseError(f"the host's C library is {self.libc or 'not glibc'}; use a glibc system, e.g. Debian")
        return int(match[1])


@dataclass(frozen=True)
class Requirements:
    """What a project asks for: `text` determines it, `path` is the file that it is from."""

    text: str
    path: Path

    @property
    def file(self) -> str:
        """How messages call it."""
        return self.path.name

    def lines(self) -> str:
        """As pip reads them; a uv.lock is turned into them only when it is new."""
        return _uv_export(self.path) if self.path.name == "uv.lock" else self.text


@dataclass(frozen=True)
class Wheels:
    """`lock` names the set; `names` are wheel files in `folder` with their SHA-256; `fetch_again` has the same ones in
    place of what is damaged."""

    lock: str
    folder: Path
    names: dict[str, str]
    fetch_again: Callable[[Advance], None] = field(compare=False, repr=False)

    def files(self, advance: Advance) -> list[Path]:
        """Every wheel, whole: what has vanished from the cache or is cut is fetched again.

        Raises ReleaseError where the index has it no longer.
        """
        found = [self.folder / name for name in self.names]
        if any(not path.is_file() or digest(path) != self.names[path.name] for path in found):
            self.fetch_again(advance)
        return found


# ------------------------------------------------------------------------------------------------- what is asked for


def requirements(source: Source) -> Requirements:
    """The project's lock, else its requirements, from its folder or the nearest one above inside the same repository.

    Raises ReleaseError where there are none, or they are in a form that only another tool reads.
    """
    for folder in _folders(source):
        for name, read in _READERS.items():
            if (folder / name).is_file() and (found := read(folder / name)) is not None:
                return Requirements(found, folder / name)
    looked = ", ".join(dict.fromkeys(str(folder) for folder in _folders(source)))
    raise ReleaseError(
        f"{source.label} says nowhere what it needs (looked in {looked}); "
        "put a requirements.txt, uv.lock, pylock.toml or pyproject.toml with dependencies beside manage.py"
    )


def _folders(source: Source) -> list[Path]:
    above = [source.folder, *source.folder.parents]
    inside = above[: above.index(source.roof) + 1] if source.roof in above else above[:1]
    return [folder for folder in inside if folder != ROOT]  # the kit's own lock says nothing about the application


def _uv_lock(path: Path) -> str:
    return _text(path) + _text(_beside(path, "pyproject.toml"))


def _uv_export(path: Path) -> str:
    export = ["export", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate", "-q"]
    done = uv(*export, "--no-python-downloads", "--project", str(path.parent))
    if done.returncode:
        raise ReleaseError(f"{path}: uv can't read it: {_last(done.stderr)}; run `uv lock` there")
    return done.stdout


def _pylock(path: Path) -> str:
    """PEP 751. Only packages from an index, and no groups: those markers are none that a requirement can have."""
    lines = []
    for package in _toml(path).get("packages", []):
        name, marker = package["name"], package.get("marker", "")
        if "version" not in package or "dependency_groups" in marker or "extras" in marker:
            raise ReleaseError(
                f"{path}: {name} is from a folder or a repository, or belongs to a group; "
                "export it anew without those, or write a requirements.txt"
            )
        lines.append(f"{name}=={package['version']}" + (f" ; {marker}" if marker else ""))
    return "\n".join(lines) + "\n"


def _plain(path: Path) -> str:
    """A requirements file with what it includes in place."""
    lines = []
    for line in _text(path).replace("\\\n", " ").splitlines():
        stripped = re.sub(r"(^|\s)#.*", "", line).strip()
        include = re.match(r"(?:-r|--requirement)[ =]?\s*(\S+)", stripped)
        if include:
            lines.append(_included(path, include[1]))
        elif re.match(r"(-e\b|--editable|\.{0,2}/|\.$)", stripped) or re.search(r"@\s*(file:|\.)", stripped):
            raise ReleaseError(
                f"{path}: `{stripped}` is a folder of this machine; remove the line if it is the project itself, "
                "which goes along as it is, or name a wheel on an index"
            )
        elif constraint := re.match(r"(?:-c|--constraint)[ =]?\s*(\S+)", stripped):
            lines += _constraints(path, constraint[1])
        elif stripped:
            lines.append(stripped)
    return "\n".join(lines) + "\n"


def _included(path: Path, name: str) -> str:
    return _plain(_beside(path, name))


def _constraints(path: Path, name: str) -> list[str]:
    """The file by its full name, and its text as comments, so that a change of it is a change of what is asked for."""
    other = _beside(path, name)
    return [f"-c {other.resolve()}", *(f"# {line}" for line in _text(other).splitlines())]


def _beside(path: Path, name: str) -> Path:
    other = path.parent / name
    if not other.is_file():
        raise ReleaseError(f"{path} needs {name} beside it, and there is no such file; add it, or correct the line")
    return other


def _foreign(tool: str, export: str) -> Callable[[Path], str | None]:
    def read(path: Path) -> str | None:
        if (path.parent / "requirements.txt").is_file():
            return None
        raise ReleaseError(f"{path} is only read by {tool}; beside it, run `{export}`")

    return read


def _pyproject(path: Path) -> str | None:
    project = _toml(path).get("project", {})
    return "\n".join(project["dependencies"]) + "\n" if "dependencies" in project else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ReleaseError(f"{path} is not UTF-8 (PowerShell's `>` writes UTF-16); save it as UTF-8") from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as problem:
        raise ReleaseError(f"{path}: no TOML: {problem}; correct it") from None


# In this order: a lock says more than a list of wishes.
_READERS: dict[str, Callable[[Path], str | None]] = {
    "uv.lock": _uv_lock,
    "pylock.toml": _pylock,
    "poetry.lock": _foreign("poetry", "poetry export -f requirements.txt -o requirements.txt"),
    "Pipfile.lock": _foreign("pipenv", "pipenv requirements > requirements.txt"),
    "requirements.txt": _plain,
    "pyproject.toml": _pyproject,
}


# ------------------------------------------------------------------------------------------------- what is fetched


def wheels(wanted: Requirements, target: Target, say: Say, advance: Advance, may_build: Collection[str] = ()) -> Wheels:
    """The wheels of `wanted` and of the kit's own needs for `target`; the second time from the cache, without network.

    Only packages in `may_build` are built from source, since that runs their code as whoever runs this. Raises
    ReleaseError for what can't be resolved, reached, or had as a wheel.
    """
    builds = sorted(map(_normal, may_build))
    asked = [_FORMAT, wanted.text, ADDITIONS, target.python, target.machine, target.libc, *builds]
    folder = cache_folder("wheels") / hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    record = _recorded(folder)
    if record is None:
        say(f"resolves {wanted.file} for Python {target.python} on {target.machine}")
        record = _fetch(wanted, target, folder, builds, advance)
    again = functools.partial(_fetch_again, wanted, target, folder, builds, record["lock"])
    return Wheels(record["lock"], folder, record["names"], again)


def _recorded(folder: Path) -> Json | None:
    """What a fetch has noted; None where there was none, or its note is cut."""
    try:
        record: Json = json.loads((folder / "wheels.json").read_text())
        return record if {"lock", "names"} <= record.keys() else None
    except (FileNotFoundError, ValueError):
        return None


def _fetch_again(
    wanted: Requirements, target: Target, folder: Path, may_build: list[str], lock: str, advance: Advance
) -> None:
    """The very same wheels in place of damaged ones: the release's id is made of them."""
    try:
        pinned = None if may_build else (folder / "lock.txt").read_text()
    except FileNotFoundError:
        pinned = None
    if _fetch(wanted, target, folder, may_build, advance, pinned)["lock"] != lock:
        raise ReleaseError(f"{folder}: wheels there were damaged, and the index has others now; run it again")


def _fetch(
    wanted: Requirements, target: Target, folder: Path, may_build: list[str], advance: Advance,
    pinned: str | None = None,
) -> Json:  # fmt: skip
    """Fill `folder`, whole or not at all, in place of what may be there. `pinned` are resolved requirements, if any."""
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix="new-"))
    try:
        advance(0.05, f"resolves {wanted.file}")
        lines = _lines_of(pinned) if pinned else _resolve(wanted, target, scratch, may_build, advance)
        (scratch / "lock.txt").write_text("\n".join(lines) + "\n")
        advance(0.3, f"fetches {len(lines)} wheels")
        _download(lines, wanted, target, scratch)
        record = _record(scratch, target)
        (scratch / "wheels.json").write_text(json.dumps(record, indent=1))
        with locked(folder.parent / ".lock"):
            shutil.rmtree(folder, ignore_errors=True)
            scratch.rename(folder)
        advance(1.0, "has all wheels")
        return record
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _record(folder: Path, target: Target) -> Json:
    names = {path.name: digest(path) for path in sorted(folder.glob("*.whl"))}
    for name in names:
        _check(folder / name, target)
    facts = [_FORMAT, target.python, target.machine, names]
    lock = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return {"lock": lock, "names": names}


def _check(path: Path, target: Target) -> None:
    """The host refuses such a wheel too; here it is known before anything is sent."""
    try:
        wheelfiles.check(path, target.python)
    except wheelfiles.WheelRefused as problem:
        raise ReleaseError(f"a wheel is refused: {problem}; pin another version of it, or leave it out") from problem


def _resolve(
    wanted: Requirements, target: Target, scratch: Path, may_build: list[str], advance: Advance
) -> list[str]:  # fmt: skip
    """Every package with its version and hashes, one entry each, for the target's markers. What has no wheel is built
    where that is allowed; resolving alone would run a source distribution's code to ask for its needs."""
    lines, built = wanted.lines().splitlines(), set[str]()
    while True:
        done = _compile(lines, target, scratch)
        if done.returncode == 0:
            return _lines_of((scratch / "lock.txt").read_text())
        lacking = {_normal(name) for name in _WITHOUT_WHEEL.findall(done.stderr)}
        if refused := sorted(lacking - set(may_build)):
            raise ReleaseError(_no_wheel(wanted, target, refused))
        if lacking <= built:
            raise _unresolved(wanted, target, done.stderr)
        for name in sorted(lacking - built):
            advance(-1, f"builds {name}, which has no wheel")
            lines = _build(name, lines, wanted, target, scratch)
        built |= lacking


def _compile(lines: list[str], target: Target, scratch: Path) -> subprocess.CompletedProcess[str]:
    asked = scratch / "asked.txt"
    asked.write_text("\n".join([*lines, *ADDITIONS]) + "\n")
    options = ["--generate-hashes", "--no-annotate", "--no-header", "-q", "--no-build", "--find-links", str(scratch)]
    host = ["--python-version", target.python, "--python-platform", target.uv_platform, "--no-python-downloads"]
    host += ["--python", sys.executable]  # else uv runs that of a .venv in the folder where somebody happens to be
    return uv("pip", "compile", str(asked), "-o", str(scratch / "lock.txt"), *options, *host)


def _lines_of(text: str) -> list[str]:
    """uv's output, each package with its hashes on one line."""
    return re.sub(r" \\\n\s+", " ", text).splitlines()


def _unresolved(wanted: Requirements, target: Target, said: str) -> ReleaseError:
    why = _reason(said)
    own = f" (the kit itself asks for {' and '.join(ADDITIONS)})" if any(need in why for need in ADDITIONS) else ""
    return ReleaseError(f"{wanted.path} can't be resolved for Python {target.python}: {why}{own}", _detail(said))


def _no_wheel(wanted: Requirements, target: Target, names: list[str]) -> str:
    who = user_name(os.geteuid())
    return (
        f"{wanted.file}: no wheel for Python {target.python} on {target.machine} (glibc {target.libc}) of "
        f"{', '.join(names)}; building from source would run that code here as {who}: pin a version that has a wheel, "
        f"put one on your own index, or allow it in the stack's config: `build_sdists: [{', '.join(names)}]`"
    )


def _download(pinned: list[str], wanted: Requirements, target: Target, scratch: Path) -> None:
    options = [*_index_options(wanted), f"--find-links {scratch}"]
    platforms = [word for platform in target.platforms for word in ("--platform", platform)]
    host = ["--python-version", target.python, "--implementation", "cp", "--abi", target.abi, *platforms]
    binary = ["--only-binary=:all:", "-d", str(scratch)]
    packages = [line for line in pinned if line and not line.startswith(("-", "#"))]
    done = _pip("download", *binary, *host, lines=[*options, *packages], scratch=scratch)
    if done.returncode == 0:
        return
    if lacking := sorted({_normal(name) for name in _NO_MATCH.findall(done.stderr)}):
        raise ReleaseError(_no_wheel(wanted, target, lacking))
    raise ReleaseError(f"{wanted.path}: pip can't fetch: {_reason(done.stderr)}; is the package index in reach?")


def _index_options(wanted: Requirements) -> list[str]:
    return [line for line in wanted.text.splitlines() if _INDEX.match(line)]


def _build(name: str, lines: list[str], wanted: Requirements, target: Target, scratch: Path) -> list[str]:
    """A wheel from source into `scratch`; good for any host only if there is nothing compiled in it. Returns the
    requirements with its version in place of where it was from. What building needs comes as wheels."""
    place = next((number for number, line in enumerate(lines) if _name(line) == name), None)
    line = name if place is None else re.sub(r"\s;.*?(?=\s--hash|$)", "", lines[place])
    built = Path(tempfile.mkdtemp(dir=scratch, prefix="built-"))
    options = ["--only-binary=:all:", f"--no-binary={name}", "-w", str(built)]
    done = _pip("wheel", *options, lines=[*_index_options(wanted), line], scratch=scratch)
    found = list(built.glob("*.whl"))
    shown = line.split(" --hash")[0]
    if done.returncode or not found:
        raise ReleaseError(
            f"{wanted.file}: {shown} has no wheel, and building one here fails; "
            "pin a version that has one, or put a wheel on your own index",
            _detail(done.stderr),
        )
    if not found[0].name.endswith("-none-any.whl"):
        raise ReleaseError(
            f"{wanted.file}: {shown} has no wheel for Python {target.python} on {target.machine} (glibc {target.libc}) "
            "and is not pure Python; pin a version that has one, or put such a wheel on your own index"
        )
    found[0].rename(scratch / found[0].name)
    shutil.rmtree(built)
    pin = f"{name}=={found[0].name.split('-')[1]}"
    return [*lines, pin] if place is None else [*lines[:place], pin, *lines[place + 1 :]]


def _name(line: str) -> str:
    return _normal(re.split(r"[\s=@\[;]", line, maxsplit=1)[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ------------------------------------------------------------------------------------------------- the two tools


def _pip(verb: str, *words: str, lines: list[str], scratch: Path) -> subprocess.CompletedProcess[str]:
    asked = scratch / "pip.txt"
    asked.write_text("\n".join(lines) + "\n")
    # -P: a pip.py in the folder where somebody happens to be is not run.
    command = [sys.executable, "-P", "-m", "pip", verb, "--no-deps", "--no-input", "-q", "--disable-pip-version-check"]
    environment = dict(os.environ)
    for pip, uv in _SAME_INDEX:
        if uv in environment:
            environment.setdefault(pip, environment[uv])
    done = subprocess.run(
        [*command, *words, "-r", str(asked)], capture_output=True, text=True, check=False, env=environment
    )
    asked.unlink()
    return done


def uv(*words: str) -> subprocess.CompletedProcess[str]:
    """`uv WORDS`, from PATH or from the kit's own folder of tools, with pip's index. Raises ReleaseError without it."""
    beside = [Path(sys.executable).parent, ROOT / ".tools" / "bin"]
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, beside)])
    found = shutil.which("uv", path=path)
    if found is None:
        raise ReleaseError(
            "uv, which resolves the project's dependencies, is not on PATH; install it: `pip install uv`"
        )
    environment = {**_pip_index(), **{key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}}
    return subprocess.run([found, *words], capture_output=True, text=True, check=False, env=environment)


def _pip_index() -> dict[str, str]:
    """The index that pip is set up with, as uv wants to hear it: uv reads none of pip's configuration."""
    given = {uv: os.environ[pip] for pip, uv in _SAME_INDEX if pip in os.environ}
    if "UV_DEFAULT_INDEX" not in given.keys() | os.environ.keys():
        command = [sys.executable, "-P", "-m", "pip", "config", "get", "global.index-url"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        given |= {"UV_DEFAULT_INDEX": done.stdout.strip()} if done.returncode == 0 else {}
    return given


def _reason(said: str) -> str:
    """A tool's own words up to where it quotes others, on one line and not too many."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("warning")]
    text = " ".join(re.sub(r"^(error|ERROR|cause|hint|╰─▶|×):?\s*", "", line) for line in lines)
    text = hide_password(re.split(r"\[std(?:err|out)\]|Traceback", text)[0].strip())
    return text if len(text) <= 400 else text[:397] + "..."


def _detail(said: str) -> str:
    """The end of what a tool said, where that is more than `_reason` shows."""
    lines = said.strip().splitlines()
    return hide_password("\n".join(lines[-12:])) if len(lines) > 6 else ""


def _last(said: str) -> str:
    return hide_password((said.strip().splitlines() or ["no reason given"])[-1])
