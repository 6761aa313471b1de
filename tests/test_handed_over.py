"""A release in a file, from a job that runs a branch's code to one that holds credentials: the
second runs nothing of it, and reads nothing of this machine because of it."""

from __future__ import annotations

import dataclasses
import io
import json
import platform
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.core.settings import Settings
from on_host.answers import FactsAnswer
from rollout import build, ship
from rollout.release import Release, ReleaseError, Target, handed_over, tools
from rollout.release.archive import digest
from rollout.release.fetching import lock_of
from rollout.release.wheels import Wheels
from tests.support.servers import Quiet, answering
from tests.test_release import index, pinned, project
from tests.test_settings import GOOD

__all__ = ["index", "pinned"]  # fixtures

TARGET = Target("3.13", platform.machine(), "2.41")
Change = Callable[[dict[str, tuple[tarfile.TarInfo, bytes]]], None]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))


def quiet(part: float, doing: str) -> None:
    pass


@pytest.fixture
def settings(tmp_path: Path, pinned: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a project with a program, a link, a page and two wheels; they were fetched already."""
    monkeypatch.setattr(ship, "ROOT", tmp_path)
    monkeypatch.setattr("rollout.release.source.ROOT", tmp_path)
    folder = project(tmp_path / "p", pinned, **{"run.sh": "#!/bin/sh\n"})
    (folder / "run.sh").chmod(0o755)
    (folder / "also.py").symlink_to("shop/wsgi.py")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<p>hello")
    wheels = tmp_path / "index"
    names = {path.name: digest(path) for path in wheels.glob("*.whl")}
    found = Wheels(lock_of(TARGET, names), wheels, names, lambda advance: None)
    monkeypatch.setattr("rollout.release.release.wheels", lambda *words: found)
    config = {**GOOD, "backend_path": "p", "frontend_path": "site", "image": "trixie"}
    return Settings.read(config, "local")


@pytest.fixture
def made(tmp_path: Path, settings: Settings) -> Path:
    place = tmp_path / "out" / "release.tar.gz"
    build.build(settings, place)
    return place


def of(settings: Settings, file: Path) -> Release:
    return handed_over.read(file).backend(settings.wsgi, settings.settings, TARGET)


def test_what_is_handed_over_is_the_release_that_a_ship_would_build(
    settings: Settings, made: Path
) -> None:
    """The same ids: a ship of the file after one from the folder changes nothing."""
    here = ship.Builder(settings)
    read = handed_over.read(made)
    backend = read.backend(settings.wsgi, settings.settings, TARGET)
    assert read.page().id == here.made_for("frontend", None).id
    assert backend.id == here.made_for("backend", TARGET).id
    facts: Any = {"releases": [], "venvs": []}
    place = backend.archive(facts, quiet)
    assert place
    with tarfile.open(place) as tar:
        assert tar.getmember("app/run.sh").mode == 0o755
        assert tar.getmember("app/also.py").linkname == "shop/wsgi.py"
        assert "wheels/gunicorn-98.0-py3-none-any.whl" in tar.getnames()


def test_a_ship_of_the_file_reads_and_runs_nothing_of_the_project(
    settings: Settings, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No process at all, and the folders that the config names need not be there."""

    def refuse(*words: object, **more: object) -> None:
        raise AssertionError(f"runs {words}")

    monkeypatch.setattr("subprocess.Popen", refuse)
    gone = dataclasses.replace(settings, backend_path="gone", frontend_path="gone")
    builder = ship.Builder(gone, handed_over=handed_over.read(made))
    facts: Any = {
        "python": "3.13",
        "python_full": "3.13.5",
        "machine": TARGET.machine,
        "libc": "2.41",
    }
    answer: FactsAnswer = facts
    assert builder.release("backend", answer).wheels
    assert builder.release("frontend", answer).entries
    assert builder.folder is None


def test_nothing_of_it_stays_on_this_machine(
    settings: Settings, made: Path, tmp_path: Path
) -> None:
    read = handed_over.read(made)
    assert list((tmp_path / "cache" / "built").iterdir())
    read.folder.cleanup()
    assert not list((tmp_path / "cache" / "built").iterdir())


# ------------------------------------------------------------------------------- a file of anybody


def rewritten(file: Path, change: Change) -> Path:
    """The file with other members."""
    members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    with tarfile.open(file) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            members[member.name] = (member, content.read() if content else b"")
    change(members)
    with tarfile.open(file, "w:gz") as tar:
        for member, data in members.values():
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return file


def adding(
    name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, to: str = "", known: str = ""
) -> Change:
    def change(members: dict[str, tuple[tarfile.TarInfo, bytes]]) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, to
        members[known or name] = (member, data)

    return change


def saying(**fields: object) -> Change:
    """What it says of itself, with these fields."""

    def change(members: dict[str, tuple[tarfile.TarInfo, bytes]]) -> None:
        member, data = members["about.json"]
        members["about.json"] = (member, json.dumps({**json.loads(data), **fields}).encode())

    return change


def role(**fields: object) -> Change:
    return saying(roles={"backend": {"label": "p", "commit": None, "changed": False, **fields}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (adding("app/x", kind=tarfile.SYMTYPE, to="/etc/passwd"), "outside of the folder"),
        (adding("app/x", kind=tarfile.SYMTYPE, to="../../../.aws"), "outside of the folder"),
        (adding("site/x", kind=tarfile.SYMTYPE, to="index.html"), "'site/x' is no file"),
        (adding("wheels/x.whl", kind=tarfile.SYMTYPE, to="/proc/self/environ"), "is no file"),
        (adding("site", kind=tarfile.SYMTYPE, to="/root"), "'site' is in it"),
        (adding("app/x", kind=tarfile.LNKTYPE, to="/etc/passwd"), "is no file"),
        (adding("app/x", kind=tarfile.FIFOTYPE), "is no file"),
        (adding("app/x", kind=tarfile.CHRTYPE), "is no file"),
        (adding("../x"), "'../x' is in it"),
        (adding("app/../../x"), "is in it"),
        (adding("/tmp/x"), "'/tmp/x' is in it"),
        (adding("else/x"), "'else/x' is in it"),
        (adding("app/manage.py", known="again"), "is in it twice"),
        (adding("app/manage.py/x"), "File exists|Not a directory"),
        (saying(format=2), "about.json is not of this version of the kit"),
        (saying(roles=None), "about.json"),
        (saying(roles={"backend": []}), "about.json"),
        (role(label="\x1b[2J"), "about.json"),
        (role(label=""), "about.json"),
        (role(commit="HEAD"), "about.json"),
        (role(changed="no"), "about.json"),
        (adding("about.json", b"[]"), "about.json"),
        (adding("about.json", b"\xff"), "about.json"),
    ],
)
def test_a_file_that_the_kit_would_not_write_is_refused(
    settings: Settings, made: Path, change: Change, said: str
) -> None:
    """A build of a branch may write what it likes: no link is followed or made, nothing is written
    outside of the run's own folder, and no text acts on a terminal."""
    with pytest.raises(ReleaseError, match=said):
        of(settings, rewritten(made, change))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("evil.whl", "Invalid wheel filename"),
        ("evil-1.0-py3-none-win32.whl", "nothing that Python 3.13 on"),
        ("evil-1.0-py3-none-any.whl", "would replace the environment's own bin/python3"),
    ],
)
def test_a_wheel_that_hosts_refuse_is_refused_here(
    settings: Settings, made: Path, name: str, said: str
) -> None:
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.writestr("evil-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        zipped.writestr("evil-1.0.dist-info/METADATA", "Name: evil\nVersion: 1.0\n")
        zipped.writestr("evil-1.0.dist-info/RECORD", "")
        zipped.writestr("evil-1.0.data/scripts/python3", "#!/bin/sh\n")
    with pytest.raises(ReleaseError, match=said):
        of(settings, rewritten(made, adding(f"wheels/{name}", wheel.getvalue())))


def without(*names: str) -> Change:
    def change(members: dict[str, tuple[tarfile.TarInfo, bytes]]) -> None:
        for name in names:
            del members[name]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("app/shop/wsgi.py"), "no shop/wsgi"),
        (saying(python="3.11"), "built for Python 3.11 on .*, and the hosts have 3.13"),
        (saying(roles={}), "no backend is in it"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    settings: Settings, made: Path, change: Change, said: str
) -> None:
    with pytest.raises(ReleaseError, match=said):
        of(settings, rewritten(made, change))


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00cut"])
def test_what_is_no_archive_is_refused(settings: Settings, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ReleaseError, match=r"it can't be unpacked|not made by `fab build`"):
        of(settings, tmp_path / "x")
    with pytest.raises(ReleaseError, match="there is no file"):
        of(settings, tmp_path / "missing")


def test_an_archive_that_unpacks_to_too_much_is_refused(
    settings: Settings, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handed_over, "LARGEST", 10)
    with pytest.raises(ReleaseError, match="it has more than"):
        of(settings, made)


# -------------------------------------------------------------- why a list is not resolved there


@pytest.mark.soak
def test_a_variable_in_a_list_of_packages_would_leave_with_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip and uv put variables of the environment into addresses of a requirements.txt: where a
    branch's list is resolved, its index learns them. So this belongs to the job without
    credentials."""
    monkeypatch.setenv("A_TOKEN", "secret-of-the-job")
    asked: list[str] = []

    class Index(Quiet):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with answering(Index, "127.0.0.1") as port:
        address = f"http://127.0.0.1:{port}/${{A_TOKEN}}/simple"
        lines = [f"--index-url {address}", "evil==1.0"]
        tools.pip("download", "-d", str(tmp_path), lines=lines, scratch=tmp_path)
    assert any("secret-of-the-job" in path for path in asked)
