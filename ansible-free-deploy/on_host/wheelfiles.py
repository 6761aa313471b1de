"""What a wheel may write, and writing it: no code that came with the wheels runs, their own
installer's included.

Both sides use it: the operator's to refuse a wheel before it is sent, the host, as root, to
install. It follows PyPA's "Binary distribution format": everything goes to site-packages, `*.data/`
to the places of its kind, and each console script becomes a file in `bin`. pip does the same and
more, but pip would have to run as root, on the host, from an index that the project's own
requirements may choose.

`contents` is the only place that decides where a file goes, and `install` writes nothing that is
not in it.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import stat
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Iterable, NamedTuple  # noqa: UP035 - Python 3.9 on hosts

LARGEST = 8 << 30  # bytes that one wheel may unpack to
_LARGEST_FACTS = 1 << 20
_SCRIPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
# What the environment itself is made of, and what people type to use it.
_RESERVED = re.compile(r"pythonw?[0-9.]*(-config)?|[Aa]ctivate(\..*|_this\.py)?|deactivate")
_PIP = re.compile(r"pip[0-9.]*")
_OWN_PLACES = ("bin", "lib", "lib64", "local", "pyvenv.cfg", ".complete")
_ENTRY_POINT = re.compile(r"([A-Za-z_][\w.]*)\s*:\s*([A-Za-z_][\w.]*)\s*(\[.*\])?")
_START = """\
#!{python}
import sys
from {module} import {name}
if __name__ == "__main__":
    sys.exit({function}())
"""


class WheelRefused(ValueError):
    """A wheel is none, or writes where it must not; the text names the wheel, the file and why."""


class Contents(NamedTuple):
    """`files`: member of the archive → its place, relative to the environment. `scripts`: name →
    module:function."""

    files: dict[str, str]
    scripts: dict[str, str]


# -------------------------------------------------------------------------------- what it may write


def check(path: Path, python: str) -> Contents:
    """What the wheel at `path` puts into an environment of Python `python` (major.minor). Raises
    WheelRefused."""
    try:
        with zipfile.ZipFile(str(path)) as wheel:
            return contents(wheel, python)
    except WheelRefused as problem:
        raise WheelRefused(f"{path.name}: {problem}") from None
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
    ) as problem:
        raise WheelRefused(f"{path.name} is no whole wheel: {problem}") from problem


def contents(wheel: zipfile.ZipFile, python: str) -> Contents:
    """As `check`, for an open archive."""
    members = [member for member in wheel.infolist() if not member.is_dir()]
    if sum(member.file_size for member in members) > LARGEST:
        raise WheelRefused(f"it unpacks to more than {LARGEST >> 30} GiB")
    names = [member.filename for member in members]
    facts = sorted(
        {name.split("/")[0] for name in names if re.fullmatch(r"[^/]+\.dist-info/WHEEL", name)}
    )
    if len(facts) != 1:
        raise WheelRefused("it has no *.dist-info/WHEEL, or more than one")
    if not re.search(
        r"^Wheel-Version:\s*1\.\d+\s*$", _text(wheel, f"{facts[0]}/WHEEL"), re.MULTILINE
    ):
        raise WheelRefused("its Wheel-Version is not 1.x")
    project = facts[0].split("-")[0]
    files = {name: _allowed(name, _place(name, project, python), project, python) for name in names}
    declared = f"{facts[0]}/entry_points.txt"
    scripts = _scripts(_text(wheel, declared)) if declared in names else {}
    for name in scripts:
        _allowed(f"the script {name}", f"bin/{name}", project, python)
    return Contents(files, scripts)


def _place(name: str, project: str, python: str) -> str:
    """Where a member goes; `*.data/KIND/` stands for the places of other kinds than plain
    modules."""
    packages = f"lib/python{python}/site-packages"
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return f"{packages}/{name}"
    kind, _, inner = rest.partition("/")
    roots = {
        "purelib": packages,
        "platlib": packages,
        "scripts": "bin",
        "headers": f"include/site/python{python}/{project}",
        "data": "",
    }
    if kind not in roots or not inner:
        raise WheelRefused(f"{name} is of a kind that no environment has a place for")
    return f"{roots[kind]}/{inner}".lstrip("/") if not inner.startswith("/") else inner


def _allowed(name: str, place: str, project: str, python: str) -> str:
    """`place` if a wheel may write there: below site-packages, a script with a name of its own, or
    data of its own."""
    parts = place.split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\x00-\x1f\x7f\\]", place):
        raise WheelRefused(f"{name!r} leads outside of the environment")
    if parts[:3] == ["lib", f"python{python}", "site-packages"]:
        return place
    if parts[0] == "bin" and len(parts) == 2 and _SCRIPT.fullmatch(parts[1]):
        own = not _RESERVED.fullmatch(parts[1]) and (
            project == "pip" or not _PIP.fullmatch(parts[1])
        )
        if own:
            return place
        raise WheelRefused(f"{name} would replace the environment's own bin/{parts[1]}")
    library = parts[0] == "lib" and len(parts) > 1 and not parts[1].startswith("python")
    if library or parts[0] not in _OWN_PLACES:
        return place
    raise WheelRefused(f"{name} writes to {place}, which is the environment's own")


def _scripts(text: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as problem:
        raise WheelRefused(f"its entry_points.txt can't be read: {problem}") from problem
    found = {}
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            if not _ENTRY_POINT.fullmatch(value.strip()):
                raise WheelRefused(f"its script {name!r} is no module:function: {value[:80]!r}")
            found[name] = value.strip()
    return found


def _text(wheel: zipfile.ZipFile, name: str) -> str:
    with wheel.open(name) as source:
        return source.read(_LARGEST_FACTS).decode("utf-8", "replace")


# --------------------------------------------------------------------------------------- writing it


def install(wheels: Iterable[Path], venv: Path) -> None:
    """Put the wheels into an environment that nobody else writes to. All are checked before the
    first is written.

    Raises WheelRefused. Of two wheels that bring the same file the later one's stays, as with pip.
    """
    python = "{}.{}".format(*sys.version_info)
    checked = [(path, check(path, python)) for path in wheels]
    for path, wanted in checked:
        try:
            _install(path, wanted, venv)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as problem:
            raise WheelRefused(f"{path.name} is no whole wheel: {problem}") from problem
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as problem:
            raise WheelRefused(
                f"{path.name}: {problem.filename} is a file of one wheel and a folder of another"
            ) from None


def _install(path: Path, wanted: Contents, venv: Path) -> None:
    python = str(venv / "bin/python")
    with zipfile.ZipFile(str(path)) as wheel:
        for member in wheel.infolist():
            if member.filename in wanted.files:
                _write(wheel, member, venv / wanted.files[member.filename], python)
    for name, value in wanted.scripts.items():
        match = _ENTRY_POINT.fullmatch(value)
        assert match
        module, function = match[1], match[2]
        text = _START.format(
            python=python, module=module, name=function.split(".")[0], function=function
        )
        with os.fdopen(_fresh(venv / "bin" / name, 0o755), "w") as out:
            out.write(text)


def _write(wheel: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path, python: str) -> None:
    script = place.parent.name == "bin" and PurePosixPath(member.filename).parts[1:2] == (
        "scripts",
    )
    executable = script or bool((member.external_attr >> 16) & stat.S_IXUSR)
    with (
        wheel.open(member) as source,
        os.fdopen(_fresh(place, 0o755 if executable else 0o644), "wb") as out,
    ):
        if script:
            first = source.readline(4096)
            out.write(f"#!{python}\n".encode() if first.startswith(b"#!python") else first)
        shutil.copyfileobj(source, out, 1 << 20)


def _fresh(place: Path, mode: int) -> int:
    """A new file at `place`, instead of what an earlier wheel put there; never through a link."""
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if place.is_symlink() or place.is_file():
        place.unlink()
    descriptor = os.open(str(place), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    os.fchmod(descriptor, mode)
    return descriptor
