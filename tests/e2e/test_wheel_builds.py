"""A package that is C source alone: built on a machine made for it, by its locked hash, and
imported on the backend."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.test_bad_input import said
from tests.support.archives import archive_of
from tests.support.kit import ROOT, Kit, Stack, a_copy_of_the_example, manage
from tests.support.loopback import Index, serving, sha256, wheels_of_the_example

pytestmark = pytest.mark.machines

_SETUP = """
import os, sys
from setuptools import Extension, setup

saw = {{
    "user": os.getuid(),
    "networks": os.listdir("/sys/class/net"),
    "operator": [path for path in {paths!r} if os.path.exists(path)],
    "writes": os.access("/etc", os.W_OK),
}}
open("okdemo_saw.py", "w").write(f"saw = {{saw!r}}\\n")
setup(
    name="okdemo",
    version="1.0",
    py_modules=["okdemo_saw"],
    ext_modules=[Extension("okdemo", ["okdemo.c"])],
)
"""
_C = """
#include <Python.h>
{include}
static PyObject *answer(PyObject *self, PyObject *none) {{ return PyUnicode_FromString("{text}"); }}
static PyMethodDef methods[] = {{{{"answer", answer, METH_NOARGS, 0}}, {{0, 0, 0, 0}}}};
static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, "okdemo", 0, -1, methods}};
PyMODINIT_FUNC PyInit_okdemo(void) {{ return PyModule_Create(&module); }}
"""


def sdist(text: str, paths: list[str], include: str = "") -> bytes:
    """A source distribution of the module `okdemo`, whose setup.py looks around."""
    files = {
        "setup.py": _SETUP.format(paths=paths),
        "okdemo.c": _C.format(text=text, include=include),
        "PKG-INFO": "Metadata-Version: 2.1\nName: okdemo\nVersion: 1.0\n",
    }
    return archive_of(
        *((f"okdemo-1.0/{name}", content.encode()) for name, content in files.items())
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    kit = Kit(tmp_path_factory.mktemp("builds") / "home", {"PIP_NO_CACHE_DIR": "1"})
    with Stack.of(kit) as made:
        yield made


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Wheels of the example and of what a build needs."""
    wheels = wheels_of_the_example(tmp_path_factory.mktemp("wheels"), "setuptools<81", "wheel")
    with serving() as made:
        made.files.update(wheels)
        yield made


@pytest.fixture(scope="module")
def backend(stack: Stack) -> Iterator[Path]:
    with a_copy_of_the_example() as folder:
        stack.usual = {"backend_path": str(folder.relative_to(ROOT))}
        stack.write()
        yield folder


def lock(backend: Path, index: Index, source: bytes, other: str = "", more: str = "") -> None:
    """requirements.txt with hashes; `other` in place of the right one of the source."""
    index.files["okdemo-1.0.tar.gz"] = source
    pins = [
        f"{name.split('-')[0]}=={name.split('-')[1].removesuffix('.tar.gz')}"
        f" --hash=sha256:{sha256(data)}"
        for name, data in index.files.items()
        if not name.startswith(("setuptools-", "wheel-"))
    ]
    text = "\n".join([f"--index-url {index.url}", *pins, more, ""])
    (backend / "requirements.txt").write_text(text.replace(sha256(source), other or sha256(source)))


def ship(stack: Stack, status: int = 0) -> subprocess.CompletedProcess[str]:
    """`fab ship` with the time that a compiler and a build need on a busy machine."""
    return stack.kit.fab("ship", "--stack", stack.name, status=status, timeout=900)


def left(stack: Stack) -> list[str]:
    """Build machines, their mounts and processes."""
    folders = [str(path) for path in (stack.kit.home / "builds").glob("*/") if path.is_dir()]
    mounts = [
        line
        for line in Path("/proc/mounts").read_text().splitlines()
        if f"{stack.kit.home}/builds" in line
    ]
    ps = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [
        *folders,
        *mounts,
        *(line for line in ps.splitlines() if f"{stack.kit.home}/builds" in line),
    ]


def interrupted(stack: Stack, number: int, when: Callable[[], bool]) -> tuple[int, str]:
    """`fab ship`, sent this signal when something is so: its status and what it said."""
    process = stack.started("ship", stderr=subprocess.STDOUT, alone=True)
    end = time.monotonic() + 240
    while not when():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, number)
    text, _ = process.communicate(timeout=60)
    return process.returncode, text


@pytest.mark.soak
def test_a_package_of_c_code_is_built_and_imported(
    stack: Stack, index: Index, backend: Path
) -> None:
    """A wrong hash is refused before a build; ^C leaves no machine; what a killed run left goes
    with the next; it is imported on the backend, and saw nothing of the operator; a second ship
    builds nothing."""
    text, paths = (
        uuid4().hex,
        [
            str(stack.kit.home),
            str(ROOT),
            "/root/.ssh",
            "/var/cache/origin-kit",
        ],
    )
    source = sdist(text, paths)
    lock(backend, index, source, other="0" * 64)
    refused = said(stack.fab("up", status=1))
    assert (
        "okdemo==1.0: what its index has is not what requirements.txt locks (another hash)"
        in refused
    )
    assert "build machine" not in refused and not (stack.kit.home / "builds").exists()

    lock(backend, index, source)
    builds = stack.kit.home / "builds"
    status, output = interrupted(
        stack, signal.SIGINT, lambda: any(builds.glob("*/root/usr/bin/gcc*"))
    )
    assert status == 130 and "Traceback" not in output, output
    assert "builds okdemo 1.0 for Python 3.11 on a build machine" in output
    assert left(stack) == []

    status, output = interrupted(stack, signal.SIGKILL, lambda: any(builds.glob("*/work-*")))
    assert status == -signal.SIGKILL
    assert left(stack)

    before = time.monotonic()
    shipped = said(ship(stack))
    first = time.monotonic() - before
    assert "builds okdemo 1.0 for Python 3.11 on a build machine" in shipped
    assert left(stack) == []
    stack.fab("deploy")
    host = stack.contract.backend.hosts[0]
    look = manage(
        "shop", "shell -v0 -c 'import okdemo, okdemo_saw; print(okdemo.answer(), okdemo_saw.saw)'"
    )
    saw = {"user": 2000, "networks": ["lo"], "operator": [], "writes": False}
    assert f"{text} {saw}" in stack.kit.ssh(host, look)
    assert stack.kit.ssh(host, "command -v gcc", check=False) == ""

    lock(backend, index, source, more="# another text is another request")
    before = time.monotonic()
    again = said(stack.fab("ship"))
    print(f"first ship {first:.1f} s, second {time.monotonic() - before:.1f} s")
    assert "build machine" not in again and left(stack) == []
    assert text in stack.kit.ssh(host, look)


@pytest.mark.soak
def test_a_missing_header_is_named(stack: Stack, index: Index, backend: Path) -> None:
    """The compiler's first reason and the way out, on one line; the release before serves on."""
    lock(backend, index, sdist(uuid4().hex, [], include="#include <libpq-fe.h>"))
    failed = said(ship(stack, status=1))
    assert (
        "okdemo 1.0 has no wheel, and building one fails: okdemo.c:3:10: fatal error: libpq-fe.h: "
        in failed
    )
    assert "pin a version that has a wheel, or put one on your own index" in failed
    assert left(stack) == []
