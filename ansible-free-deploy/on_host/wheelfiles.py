"""What a wheel may write, and how it is written, without running any code of the wheels.

Not even their own installer runs. Both sides use this module: the operator's to refuse a wheel
before it is sent, the host, as root, to install. It follows PyPA's "Binary distribution format":
everything goes to site-packages, `*.data/` to the places of its kind, and each console script
becomes a file in `bin`. pip does the same and more, but pip would have to run as root, on the host,
from an index that the project's own requirements may choose.

`contents` is the only place that decides where a file goes, and `install` writes nothing that is
not in its result.
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
_LARGEST_METADATA = 1 << 20
_WHEEL_FILE = re.compile(r"[^/]+\.dist-info/WHEEL")
_WHEEL_VERSION = re.compile(r"^Wheel-Version:\s*1\.\d+\s*$", re.MULTILINE)
_SCRIPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
# Scripts that the environment itself consists of, and those that people type to use it.
_RESERVED = re.compile(r"pythonw?[0-9.]*(-config)?|[Aa]ctivate(\..*|_this\.py)?|deactivate")
_PIP = re.compile(r"pip[0-9.]*")
_OWN_PLACES = ("bin", "lib", "lib64", "local", "pyvenv.cfg", ".complete")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_ENTRY_POINT = re.compile(r"([A-Za-z_][\w.]*)\s*:\s*([A-Za-z_][\w.]*)\s*(\[.*\])?")
_START = """\
#!{python}
import sys
from {module} import {name}
if __name__ == "__main__":
    sys.exit({function}())
"""
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError)


class WheelRefused(ValueError):
    """A file is no wheel, or writes where it must not.

    The text names the wheel, the file in it and the reason.
    """


class Contents(NamedTuple):
    """`files`: member of the archive → its place, relative to the environment. `scripts`: name →
    module:function."""

    files: dict[str, str]
    scripts: dict[str, str]


# -------------------------------------------------------------------------------- what it may write


def check(path: Path, python: str) -> Contents:
    """What the wheel at `path` puts into an environment of Python `python` (major.minor).

    Raises WheelRefused.
    """
    try:
        with zipfile.ZipFile(str(path)) as wheel:
            return contents(wheel, python)
    except WheelRefused as problem:
        raise WheelRefused(f"{path.name}: {problem}") from None
    except (*_DAMAGED, zipfile.LargeZipFile) as problem:
        raise WheelRefused(f"{path.name} is not a complete wheel: {problem}") from problem


def contents(wheel: zipfile.ZipFile, python: str) -> Contents:
    """As `check`, for an open archive."""
    members = [member for member in wheel.infolist() if not member.is_dir()]
    if sum(member.file_size for member in members) > LARGEST:
        raise WheelRefused(f"it unpacks to more than {LARGEST >> 30} GiB")
    names = [member.filename for member in members]
    metadata = _metadata_folder(names)
    if not _WHEEL_VERSION.search(_text(wheel, f"{metadata}/WHEEL")):
        raise WheelRefused("its Wheel-Version is not 1.x")

    project, _, _ = metadata.partition("-")
    files = {}
    for name in names:
        place = _place(name, project, python)
        _check_place(name, place, project, python)
        files[name] = place

    scripts: dict[str, str] = {}
    entry_points = f"{metadata}/entry_points.txt"
    if entry_points in names:
        scripts = _scripts(_text(wheel, entry_points))
    for name in scripts:
        _check_place(f"the script {name}", f"bin/{name}", project, python)
    return Contents(files, scripts)


def _metadata_folder(names: list[str]) -> str:
    """The wheel's *.dist-info, which holds exactly one WHEEL."""
    folders = set()
    for name in names:
        if _WHEEL_FILE.fullmatch(name):
            folders.add(name.split("/")[0])
    if len(folders) != 1:
        raise WheelRefused("it has no *.dist-info/WHEEL, or more than one")
    return folders.pop()


def _place(name: str, project: str, python: str) -> str:
    """Where a member goes.

    Plain modules go to site-packages; `*.data/KIND/` stands for the place of that kind.
    """
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
        raise WheelRefused(f"{name} is no known kind of data; known kinds: {', '.join(roots)}")
    if inner.startswith("/") or not roots[kind]:
        return inner
    return f"{roots[kind]}/{inner}"


def _check_place(name: str, place: str, project: str, python: str) -> None:
    """Raise WheelRefused where a wheel may not write to `place`.

    It may write below site-packages, a script with a name of its own, and data of its own.
    """
    parts = place.split("/")
    climbs = any(part in ("", ".", "..") for part in parts)
    if climbs or _UNSAFE.search(place):
        raise WheelRefused(f"{name!r} leads outside of the environment")
    if parts[:3] == ["lib", f"python{python}", "site-packages"]:
        return
    top, *inner = parts
    if top == "bin" and len(inner) == 1 and _SCRIPT.fullmatch(inner[0]):
        if _is_reserved(inner[0], project):
            raise WheelRefused(f"{name} would replace the environment's own {place}")
        return
    is_library = top == "lib" and inner and not inner[0].startswith("python")
    if top in _OWN_PLACES and not is_library:
        raise WheelRefused(f"{name} writes to {place}, which is part of the environment itself")


def _is_reserved(script: str, project: str) -> bool:
    if _RESERVED.fullmatch(script):
        return True
    return project != "pip" and _PIP.fullmatch(script) is not None


def _scripts(text: str) -> dict[str, str]:
    """The scripts that an entry_points.txt declares: name → module:function."""
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as problem:
        raise WheelRefused(f"its entry_points.txt can't be read: {problem}") from problem
    scripts = {}
    for section in ("console_scripts", "gui_scripts"):
        if not parser.has_section(section):
            continue
        for name, value in parser.items(section):
            target = value.strip()
            if not _ENTRY_POINT.fullmatch(target):
                raise WheelRefused(f"its script {name!r} is not module:function: {value[:80]!r}")
            scripts[name] = target
    return scripts


def _text(wheel: zipfile.ZipFile, name: str) -> str:
    with wheel.open(name) as source:
        return source.read(_LARGEST_METADATA).decode("utf-8", "replace")


# --------------------------------------------------------------------------------------- writing it


def install(wheels: Iterable[Path], venv: Path) -> None:
    """Put the wheels into an environment that nobody else writes to.

    All are checked before the first is written. Raises WheelRefused. Where two wheels have the
    same file, the later one's stays, as with pip.
    """
    python = "{}.{}".format(*sys.version_info)
    checked = [(path, check(path, python)) for path in wheels]
    for path, wanted in checked:
        try:
            _install(path, wanted, venv)
        except _DAMAGED as problem:
            raise WheelRefused(f"{path.name} is not a complete wheel: {problem}") from problem
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as problem:
            raise WheelRefused(
                f"{path.name}: {problem.filename} is a file of one wheel and a folder of another"
            ) from None


def _install(path: Path, wanted: Contents, venv: Path) -> None:
    python = str(venv / "bin/python")
    with zipfile.ZipFile(str(path)) as wheel:
        for member in wheel.infolist():
            place = wanted.files.get(member.filename)
            if place is not None:
                _write(wheel, member, venv / place, python)
    for name, value in wanted.scripts.items():
        text = _start_script(value, python)
        with os.fdopen(_create(venv / "bin" / name, 0o755), "w") as out:
            out.write(text)


def _start_script(entry_point: str, python: str) -> str:
    """The text of the script that calls module:function."""
    match = _ENTRY_POINT.fullmatch(entry_point)
    assert match
    module, function = match[1], match[2]
    name, _, _ = function.partition(".")
    return _START.format(
        python=python,
        module=module,
        name=name,
        function=function,
    )


def _write(
    wheel: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    place: Path,
    python: str,
) -> None:
    """Write a member to its place; of a script, rewrite the line that names the interpreter."""
    inside = PurePosixPath(member.filename).parts
    is_script = place.parent.name == "bin" and inside[1:2] == ("scripts",)
    unix_mode = member.external_attr >> 16
    is_executable = is_script or unix_mode & stat.S_IXUSR
    mode = 0o755 if is_executable else 0o644
    with wheel.open(member) as source, os.fdopen(_create(place, mode), "wb") as out:
        if is_script:
            first_line = source.readline(4096)
            if first_line.startswith(b"#!python"):
                first_line = f"#!{python}\n".encode()
            out.write(first_line)
        shutil.copyfileobj(source, out, 1 << 20)


def _create(place: Path, mode: int) -> int:
    """A new file at `place`, also where an earlier wheel put one; never through a link."""
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if place.is_symlink() or place.is_file():
        place.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(str(place), flags, mode)
    os.fchmod(descriptor, mode)
    return descriptor
