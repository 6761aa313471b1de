"""The operator's side of a release: which files, which wheels, which id, and what is said when
there are none."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.core.rules import hide_password
from rollout import release
from rollout.release import Release, ReleaseError, Target
from rollout.release.archive import forget_old
from rollout.release.declared import Requirements
from rollout.release.needs import requirements
from rollout.release.picked import backend_files, pick_frontend
from rollout.release.release import HAS_PAGES
from rollout.release.tools import uv
from rollout.release.wheels import wheels
from tests.support.folders import write_files


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def index(tmp_path: Path) -> Callable[..., str]:
    """Makes wheels without content in a folder, and gives requirements that name them there."""
    folder = tmp_path / "index"
    folder.mkdir()

    def make(*names: str) -> str:
        for name in names:
            project, version = name.split("-")[:2]
            facts = f"{project}-{version}.dist-info"
            with zipfile.ZipFile(folder / f"{name}.whl", "w") as wheel:
                wheel.writestr(
                    f"{facts}/METADATA",
                    f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n",
                )
                wheel.writestr(
                    f"{facts}/WHEEL",
                    "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                )
                wheel.writestr(f"{facts}/RECORD", "")
        return f"--no-index\n--find-links {folder}\n"

    return make


@pytest.fixture
def pinned(index: Callable[..., str]) -> str:
    """Requirements that a folder fulfils."""
    found = index("gunicorn-98.0-py3-none-any", "django_cors_headers-98.0-py3-none-any")
    return found + "gunicorn==98.0\ndjango-cors-headers==98.0\n"


def project(folder: Path, needs: str | None = "", **files: str) -> Path:
    texts = {
        "manage.py": "",
        "shop/__init__.py": "",
        "shop/settings.py": "",
        "shop/wsgi.py": "application = print\n",
    }
    more = {} if needs is None else {"requirements.txt": needs}
    write_files(folder, {**texts, **more, **files})
    return folder


def build(
    folder: Path,
    target: Target | None = None,
    said: list[str] | None = None,
    may_build: tuple[str, ...] = (),
) -> Release:
    say = (said if said is not None else []).append
    return release.build_backend(
        release.local(folder),
        "shop.wsgi:application",
        "shop.settings",
        target or Target(),
        say,
        lambda part, doing: None,
        may_build,
    )


def git(folder: Path, *words: str) -> str:
    person = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "-c",
        "init.defaultBranch=main",
    ]
    done = subprocess.run(
        ["git", *person, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def paths(folder: Path) -> set[str]:
    return {entry.path for entry in backend_files(release.local(folder))}


# ------------------------------------------------------------------------------------------- the id


def test_an_unchanged_project_has_the_same_id(tmp_path: Path, pinned: str) -> None:
    """The id is twelve hex digits of content: neither times, owners, order nor by-products change
    it."""
    first = build(project(tmp_path / "a", pinned))
    other = project(
        tmp_path / "b",
        pinned,
        **{"db.sqlite3": "x", "shop/__pycache__/a.pyc": "x", "media/photo": "x"},
    )
    os.utime(other / "manage.py", (1, 1))
    assert build(other).id == first.id
    assert len(first.id) == 12
    assert int(first.id, 16)


@pytest.mark.parametrize("change", ["content", "name", "mode", "needs", "target"])
def test_a_changed_project_has_another_id(
    tmp_path: Path, index: Callable[..., str], pinned: str, change: str
) -> None:
    """Content, names, the executable bit, and the wheels of another host or other needs all
    count."""
    folder = project(tmp_path / "p", pinned)
    first = build(folder)
    match change:
        case "content":
            (folder / "shop/wsgi.py").write_text("application = repr\n")
        case "name":
            (folder / "shop/__init__.py").rename(folder / "shop/init.py")
        case "mode":
            (folder / "manage.py").chmod(0o755)
        case "needs":
            index("extra-1.0-py3-none-any")
            (folder / "requirements.txt").write_text(pinned + "extra\n")
    assert build(folder, Target(python="3.12") if change == "target" else None).id != first.id


def test_the_second_time_nothing_is_resolved(tmp_path: Path, pinned: str) -> None:
    """With the same requirements wheels come from the cache, even where the index has gone."""
    folder = project(tmp_path / "p", pinned)
    said: list[str] = []
    first = build(folder, said=said)
    shutil.rmtree(tmp_path / "index")
    assert build(folder, said=said).id == first.id
    assert said[0] == "resolves requirements.txt for Python 3.11 on x86_64"
    assert said[1:] == [
        "requirements.txt locks nothing: these versions are today's; a lock with hashes keeps them"
    ]


def test_a_page_is_all_of_its_folder(tmp_path: Path) -> None:
    """A built folder is shipped whole, also where git ignores it, as build folders are."""
    (tmp_path / "dist/assets").mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("dist/\n")
    (tmp_path / "dist/index.html").write_text("x")
    (tmp_path / "dist/assets/app.js").write_text("x")
    git(tmp_path, "init", "-q")
    built = release.build_frontend(tmp_path / "dist")
    assert {entry.path for entry in built.entries} == {"index.html", "assets/app.js"}


# -------------------------------------------------------------------------------------- which files


def test_a_site_of_pages_is_named_with_the_key_for_it(tmp_path: Path) -> None:
    """Where index.html answers every address all the same, as a 404.html seldom wants it."""
    for name in ("index.html", "404.html", "about.html"):
        project(tmp_path, None, **{name: name})
    for single, expected in ((True, [HAS_PAGES]), (False, [])):
        said: list[str] = []
        release.build_frontend(tmp_path, said.append, single_page=single)
        assert said == expected


def test_git_says_what_is_a_by_product(tmp_path: Path) -> None:
    """In a checkout, new files go along and ignored ones stay; deleted ones are no error."""
    folder = project(
        tmp_path, **{".gitignore": "*.log\n.env\n", "a.log": "x", ".env": "SECRET=1", "old.py": "x"}
    )
    git(folder, "init", "-q")
    git(folder, "add", ".")
    (folder / "old.py").unlink()
    (folder / "new.py").write_text("x")
    found = paths(folder)
    assert "new.py" in found
    assert not found & {"a.log", ".env", "old.py"}
    assert not [path for path in found if path.startswith(".git/")]


@pytest.mark.parametrize(
    "name",
    [
        "db.sqlite3",
        "db.sqlite3-wal",
        "media/photo.jpg",
        "node_modules/x/y.js",
        ".venv/bin/python",
        "a/__pycache__/b.pyc",
    ],
)
def test_data_and_by_products_stay_at_home(tmp_path: Path, name: str) -> None:
    """Without git the usual by-products are known, and data is never shipped."""
    assert name not in paths(project(tmp_path, **{name: "x"}))


def test_a_package_called_media_is_code(tmp_path: Path) -> None:
    """Only a folder of uploads is left out; a Django application of that name goes along."""
    assert "media/models.py" in paths(
        project(tmp_path, **{"media/__init__.py": "", "media/models.py": ""})
    )


def test_links_of_a_built_folder_are_shipped_as_files(tmp_path: Path) -> None:
    """nginx follows no link: a file and a folder behind one, and one behind another, are files at
    both places."""
    write_files(tmp_path, {name: name for name in ("v1/index.html", "v1/deep/app.js")})
    (tmp_path / "latest").symlink_to("v1")
    (tmp_path / "newest").symlink_to("latest")
    (tmp_path / "v1/near.html").symlink_to("../index.html")
    (tmp_path / "index.html").symlink_to("newest/index.html")
    (tmp_path / "nowhere.js").symlink_to("missing.js")
    entries = pick_frontend(tmp_path).entries
    found = {entry.path: entry.here.read_text() for entry in entries}
    below = {
        "index.html": "v1/index.html",
        "near.html": "v1/index.html",
        "deep/app.js": "v1/deep/app.js",
    }
    wanted = {
        f"{top}/{name}": text for top in ("v1", "latest", "newest") for name, text in below.items()
    }
    assert found == {"index.html": "v1/index.html"} | wanted
    assert [entry.path for entry in entries] == sorted(found)
    assert not any(entry.link for entry in entries)


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("a/out.txt", "../../out.txt", "outside of the folder; put a copy there"),
        ("a/out.txt", "/etc/passwd", "outside of the folder; put a copy there"),
        ("a/out.txt", "way/out.txt", "outside of the folder; put a copy there"),
        ("a/again", ".", "without end; remove it"),
        ("a/again", "../a", "without end; remove it"),
    ],
)
def test_a_link_that_leads_out_of_the_folder_is_refused(
    tmp_path: Path, name: str, target: str, said: str
) -> None:
    """By its words or by what lies behind it on this machine; and no folder is packed without
    end."""
    site = tmp_path / "site"
    (site / "a").mkdir(parents=True)
    (tmp_path / "out.txt").write_text("outside")
    if target.startswith("way/"):
        (site / "a/way").symlink_to(tmp_path.resolve())
    (site / name).symlink_to(target)
    with pytest.raises(ReleaseError, match=said):
        pick_frontend(site)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    """A link inside of the project goes along as one; a link out of it would point nowhere on the
    host."""
    folder = project(tmp_path / "p")
    (folder / "inner").symlink_to("shop/wsgi.py")
    assert (
        next(entry.link for entry in backend_files(release.local(folder)) if entry.path == "inner")
        == "shop/wsgi.py"
    )
    (folder / "outer").symlink_to("../elsewhere")
    with pytest.raises(
        ReleaseError,
        match=r"outer is a link to \.\./elsewhere, outside of the folder; put a copy there",
    ):
        backend_files(release.local(folder))


def test_a_link_that_leads_out_by_way_of_another_is_refused(tmp_path: Path) -> None:
    """Each is inside by its own text; the host would follow both."""
    folder = project(tmp_path / "p", **{"deep/er/x.py": ""})
    (folder / "d").symlink_to("deep/er")
    (folder / "passwd").symlink_to("d/../../../etc/passwd")
    with pytest.raises(
        ReleaseError,
        match=r"passwd is a link to d/\.\./\.\./\.\./etc/passwd, outside of the folder",
    ):
        backend_files(release.local(folder))


def test_a_wheel_that_replaces_the_interpreter_is_refused(
    tmp_path: Path, index: Callable[..., str], pinned: str
) -> None:
    """The message names the wheel, the file and what to do."""
    index("evil-1.0-py3-none-any")
    with zipfile.ZipFile(tmp_path / "index" / "evil-1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr("evil-1.0.data/scripts/python3", "#!/bin/sh\n")
    wanted = (
        r"evil-1\.0-py3-none-any\.whl: .*would replace the environment's own bin/python3; pin"
        r" another version"
    )
    with pytest.raises(ReleaseError, match=wanted):
        build(project(tmp_path / "p", pinned + "evil\n"))


# -------------------------------------------------------------------------------------- the archive


def test_wheels_travel_only_to_a_host_that_lacks_them(tmp_path: Path, pinned: str) -> None:
    """The archive has the wheels where the environment is missing, else only code; the same release
    needs none."""
    built = build(project(tmp_path / "p", pinned))
    assert built.wheels
    bare: Any = {"releases": [], "venvs": []}
    cases = [(bare, True), (bare | {"venvs": [built.wheels.lock]}, False)]
    for facts, with_wheels in cases:
        place = built.archive(facts, lambda part, doing: None)
        assert place
        with tarfile.open(place) as tar:
            names = tar.getnames()
        assert "app/manage.py" in names
        assert any(name.startswith("wheels/") for name in names) is with_wheels
    assert built.archive(bare | {"releases": [built.id]}, lambda part, doing: None) is None


def test_a_file_that_changes_meanwhile_is_no_release(tmp_path: Path, pinned: str) -> None:
    """What is packed is what the id was made of, or nothing."""
    folder = project(tmp_path / "p", pinned)
    built = build(folder)
    (folder / "manage.py").write_text("another")
    with pytest.raises(ReleaseError, match=r"manage\.py changes while it is packed; ship again"):
        built.archive(BARE, lambda part, doing: None)
    assert [path.name for path in (tmp_path / "cache/releases").iterdir()] == [".lock"]


BARE: Any = {"releases": [], "venvs": []}


def packed(built: Release) -> Path:
    place = built.archive(BARE, lambda part, doing: None)
    assert place
    return place


def sent(place: Path) -> set[str]:
    with tarfile.open(place) as tar:
        return set(tar.getnames())


@pytest.mark.parametrize("damage", ["vanished", "cut", "emptied", "its note vanished"])
def test_a_damaged_archive_is_made_again_the_same(tmp_path: Path, pinned: str, damage: str) -> None:
    """Whatever became of it in the cache, what is sent is whole, and to the byte what other hosts
    got."""
    built = build(project(tmp_path / "p", pinned))
    place = packed(built)
    before = place.read_bytes()
    match damage:
        case "vanished":
            place.unlink()
        case "cut":
            place.write_bytes(before[:-20])
        case "emptied":
            place.write_bytes(b"")
        case "its note vanished":
            place.with_name(f"{place.name}.json").unlink()
    assert packed(built) == place
    if damage != "its note vanished":  # with it goes the time of the first packing
        assert place.read_bytes() == before
    assert "app/manage.py" in sent(place)


@pytest.mark.parametrize("damage", ["vanished", "cut"])
def test_a_damaged_archive_is_made_again(tmp_path: Path, pinned: str, damage: str) -> None:
    """The orders name the digest of what is there when they are written."""
    built = build(project(tmp_path / "p", pinned))
    place = packed(built)
    before = place.read_bytes()
    place.unlink() if damage == "vanished" else place.write_bytes(before[:100])
    orders = built.orders(BARE, "shop", "ada", archive=place)
    assert place.read_bytes() == before
    assert orders["digest"] == hashlib.sha256(before).hexdigest()


def test_an_archive_that_another_run_may_send_is_not_forgotten(tmp_path: Path) -> None:
    """Only old ones go, those used last stay, and their notes go with them."""
    for number in range(12):
        place = tmp_path / f"{number:02}.tar.gz"
        place.write_bytes(b"x")
        place.with_name(f"{place.name}.json").write_text("{}")
        os.utime(place, (number, number)) if number < 3 else None
    forget_old(tmp_path, 8)
    assert sorted(path.name for path in tmp_path.glob("*.gz")) == [
        f"{number:02}.tar.gz" for number in range(3, 12)
    ]
    assert len(list(tmp_path.glob("*.json"))) == 9


@pytest.mark.parametrize(
    "damage", ["cut", "vanished", "all vanished", "its list is cut", "its list vanished"]
)
def test_a_damaged_wheel_is_fetched_again(tmp_path: Path, pinned: str, damage: str) -> None:
    """What a crash or a full disk has cut is known by its hash: the host gets whole wheels, under
    the same id."""
    folder = project(tmp_path / "p", pinned)
    built = build(folder)
    assert built.wheels
    one = next(built.wheels.folder.glob("gunicorn-*.whl"))
    match damage:
        case "cut":
            one.write_bytes(one.read_bytes()[:-10])
        case "vanished":
            one.unlink()
        case "all vanished":
            shutil.rmtree(built.wheels.folder)
        case "its list is cut":
            (built.wheels.folder / "wheels.json").write_text('{"lock": "x')
        case "its list vanished":
            (built.wheels.folder / "wheels.json").unlink()
    again = build(folder)
    assert again.id == built.id
    with tarfile.open(packed(again)) as tar:
        for name, expected in built.wheels.names.items():
            member = tar.extractfile(f"wheels/{name}")
            assert member
            assert hashlib.sha256(member.read()).hexdigest() == expected


def test_fetched_files_in_the_cache_are_private(tmp_path: Path, pinned: str) -> None:
    """Wheels, archives and repositories may hold private code."""
    (tmp_path / "cache/wheels").mkdir(parents=True, mode=0o755)
    packed(build(project(tmp_path / "p", pinned)))
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "cache").iterdir()
    }
    assert modes == {"wheels": 0o700, "releases": 0o700}


# ------------------------------------------------------------------------------------------- wheels


@pytest.mark.parametrize(
    ("target", "first", "holds", "lacks"),
    [
        (
            Target(libc="2.36"),
            "manylinux_2_36_x86_64",
            "manylinux1_x86_64",
            "manylinux_2_37_x86_64",
        ),
        (
            Target(libc="2.31"),
            "manylinux_2_31_x86_64",
            "manylinux2014_x86_64",
            "manylinux_2_34_x86_64",
        ),
        (
            Target(machine="aarch64"),
            "manylinux_2_36_aarch64",
            "manylinux2014_aarch64",
            "manylinux2010_aarch64",
        ),
    ],
)
def test_tags_are_what_the_host_can_load(
    target: Target, first: str, holds: str, lacks: str
) -> None:
    """A host loads wheels for its own C library and every older one (PEP 600)."""
    assert target.platforms[0] == first
    assert holds in target.platforms
    assert lacks not in target.platforms


def test_the_wheel_is_the_host_s_not_this_machine_s(
    tmp_path: Path, index: Callable[..., str], pinned: str
) -> None:
    """Of many wheels the one for the host's Python, architecture and C library is taken."""
    tags = [
        "cp311-cp311-manylinux_2_17_x86_64",
        "cp310-cp310-manylinux_2_17_aarch64",
        "cp310-cp310-manylinux_2_39_aarch64",
    ]
    index(*(f"fast-1.0-{tag}" for tag in tags))
    folder = project(tmp_path / "p", pinned + "fast\n")
    for target, tag in ((Target(), tags[0]), (Target("3.10", "aarch64", "2.31"), tags[1])):
        built = build(folder, target)
        assert built.wheels
        assert f"fast-1.0-{tag}.whl" in built.wheels.names


def test_markers_are_the_host_s(tmp_path: Path, index: Callable[..., str], pinned: str) -> None:
    """A requirement for another Python than the host's is left out, whatever Python runs here."""
    index("old-1.0-py3-none-any", "arm-1.0-py3-none-any")
    needs = pinned + "old ; python_version < '3.11'\narm ; platform_machine == 'aarch64'\n"
    folder = project(tmp_path / "p", needs)
    for target, wanted in ((Target(), set()), (Target("3.10", "aarch64"), {"old", "arm"})):
        built = build(folder, target)
        assert built.wheels
        assert {name.split("-")[0] for name in built.wheels.names} & {"old", "arm"} == wanted


def test_the_kit_s_own_needs_come_along(tmp_path: Path) -> None:
    """gunicorn and django-cors-headers are added; a version that the project asks for wins. Asks
    the real index."""
    built = build(project(tmp_path / "p", "gunicorn==23.0.0\ndjango>=5.2,<5.3\n"))
    assert built.wheels
    assert "gunicorn-23.0.0-py3-none-any.whl" in built.wheels.names
    assert any(name.startswith("django_cors_headers-") for name in built.wheels.names)
    assert not any(name.startswith("pip-") for name in built.wheels.names)


def source_package(folder: Path, pinned: str, extension: bool = False) -> str:
    """An sdist, pure or with a part to be compiled, and requirements that name it; its build asks
    the real index, and leaves a file `built` next to it."""
    name = "origin_kit_tests_only"
    top = folder / f"{name}-1.0"
    top.mkdir()
    parts = (
        f", ext_modules=[setuptools.Extension('{name}', ['{name}.c'])]"
        if extension
        else f", py_modules=['{name}']"
    )
    note = f"open({str(folder / 'built')!r}, 'w').close()"
    (top / "setup.py").write_text(
        f"import setuptools\n{note}\nsetuptools.setup(name='{name}', version='1.0'{parts})\n"
    )
    start = f"PyMODINIT_FUNC PyInit_{name}(void) {{ return 0; }}"
    (top / f"{name}.c").write_text(f"#include <Python.h>\n{start}\n")
    (top / f"{name}.py").write_text("")
    (top / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as tar:
        tar.add(top, top.name)
    return pinned.replace("--no-index\n", "") + f"{name}==1.0\n"


@pytest.mark.parametrize("asked", ["=={version}", ">=0.5"])
def test_code_of_a_package_without_a_wheel_is_not_run_here(
    tmp_path: Path, pinned: str, asked: str
) -> None:
    """Neither resolving nor fetching runs a setup.py on the operator's machine; the message names
    package and key."""
    needs = source_package(tmp_path / "index", pinned)
    wanted = "origin_kit_tests_only" + asked.format(version="1.0", folder=tmp_path / "index")
    folder = project(tmp_path / "p", None)
    (folder / "pyproject.toml").write_text(
        f"[project]\nname='p'\nversion='1'\ndependencies=[{wanted!r}]\n"
    )
    found = requirements(release.local(folder))
    text = needs.replace("origin_kit_tests_only==1.0\n", "") + found.text
    with pytest.raises(ReleaseError) as problem:
        wheels(
            Requirements(text, found.path), Target(), lambda text: None, lambda part, doing: None
        )
    assert "of origin-kit-tests-only; building from source would run that code here" in str(
        problem.value
    )
    assert "`build_sdists: [origin-kit-tests-only]`" in str(problem.value)
    assert not (tmp_path / "index/built").exists()
    assert not list((tmp_path / "cache/wheels").iterdir())


def test_an_interpreter_that_lies_about_is_not_run(
    tmp_path: Path, pinned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the .venv nor a pip.py of the folder where somebody happens to be."""
    here = tmp_path / "here"
    (here / ".venv/bin").mkdir(parents=True)
    (here / ".venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    (here / ".venv/bin/python").write_text(
        f'#!/bin/sh\ntouch {tmp_path}/ran\nexec {sys.executable} "$@"\n'
    )
    (here / ".venv/bin/python").chmod(0o755)
    (here / "pip.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.chdir(here)
    build(project(tmp_path / "p", pinned))
    assert not (tmp_path / "ran").exists()


def test_what_a_wheel_needs_may_not_be_built_either(
    tmp_path: Path, index: Callable[..., str], pinned: str
) -> None:
    """A package that nobody named, since another one needs it, is held to the same rule."""
    source_package(tmp_path / "index", pinned)
    with zipfile.ZipFile(
        tmp_path / "index/origin_kit_tests_above-1.0-py3-none-any.whl", "w"
    ) as wheel:
        needs = "Requires-Dist: origin_kit_tests_only"
        wheel.writestr(
            "origin_kit_tests_above-1.0.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: origin_kit_tests_above\nVersion: 1.0\n{needs}\n",
        )
        wheel.writestr(
            "origin_kit_tests_above-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("origin_kit_tests_above-1.0.dist-info/RECORD", "")
    folder = project(
        tmp_path / "p", pinned.replace("--no-index\n", "") + "origin_kit_tests_above\n"
    )
    with pytest.raises(ReleaseError, match="of origin-kit-tests-only; building"):
        build(folder)
    assert not (tmp_path / "index/built").exists()
    allowed = build(folder, may_build=("Origin_Kit.Tests-only", "never-asked-for"))
    assert allowed.wheels
    assert {name.split("-")[0] for name in allowed.wheels.names} >= {
        "origin_kit_tests_above",
        "origin_kit_tests_only",
    }


def test_all_packages_without_a_wheel_are_named_at_once(tmp_path: Path, pinned: str) -> None:
    """uv names one and stops; nobody has to try again for each of them."""
    needs = source_package(tmp_path / "index", pinned)
    other = tmp_path / "index/origin_kit_tests_only-1.0.tar.gz"
    shutil.copy(other, other.with_name("origin_kit_tests_too-1.0.tar.gz"))
    with pytest.raises(ReleaseError) as problem:
        build(project(tmp_path / "p", needs + "origin_kit_tests_too==1.0\n"))
    assert "of origin-kit-tests-only, origin-kit-tests-too; building from source" in str(
        problem.value
    )
    assert "`build_sdists: [origin-kit-tests-only, origin-kit-tests-too]`" in str(problem.value)


def test_no_build_is_offered_for_what_has_to_be_compiled(tmp_path: Path, pinned: str) -> None:
    """`build_sdists` makes pure wheels alone, so it would be a dead end for these."""
    (tmp_path / "index/uwsgi-2.0.31.tar.gz").write_bytes(b"")
    with pytest.raises(ReleaseError) as problem:
        build(project(tmp_path / "p", pinned + "uwsgi==2.0.31\n"))
    assert "of uwsgi, which has to be compiled: pin a version that has a wheel" in str(
        problem.value
    )
    assert "nothing, since gunicorn serves here: remove its line from requirements.txt" in str(
        problem.value
    )
    assert "build_sdists" not in str(problem.value)


def test_a_pure_package_is_built_where_the_stack_allows(tmp_path: Path, pinned: str) -> None:
    """An sdist that `build_sdists` names becomes a wheel on this side, if it is good for every
    machine. One that was replaced since is built again: pip would take what it made of the same
    address before."""
    folder = project(tmp_path / "p", source_package(tmp_path / "index", pinned))
    may_build = ("origin-kit-tests-only",)
    build(folder, may_build=may_build)
    (tmp_path / "index/built").unlink()
    shutil.rmtree(tmp_path / "cache")
    built = build(folder, may_build=may_build)
    assert built.wheels
    assert (tmp_path / "index/built").exists()
    assert any(
        name.startswith("origin_kit_tests_only-1.0-") and name.endswith("-none-any.whl")
        for name in built.wheels.names
    )


def test_a_compiled_package_without_a_wheel_is_named(tmp_path: Path, pinned: str) -> None:
    """What would have to be compiled for the host is an error with two cures; nothing half-done
    stays."""
    needs = source_package(tmp_path / "index", pinned, extension=True)
    with pytest.raises(
        ReleaseError,
        match=r"origin_kit_tests_only==1\.0 has no wheel.*; pin a version that has one, or",
    ):
        build(project(tmp_path / "p", needs), may_build=("origin-kit-tests-only",))
    assert not list((tmp_path / "cache/wheels").iterdir())


# ------------------------------------------------------------------------------------- requirements

PYLOCK = (
    'lock-version = "1.0"\n[[packages]]\nname = "django"\nversion = "5.2.1"\nmarker ='
    " \"python_version > '3'\"\n"
)


@pytest.mark.parametrize(
    ("files", "file", "text"),
    [
        (
            {"requirements.txt": "a # web\n\n-r more.txt\n", "more.txt": "b\n"},
            "requirements.txt",
            "a\nb\n",
        ),
        (
            {"requirements.txt": "a==1 \\\n  --hash=sha256:0\n"},
            "requirements.txt",
            "a==1    --hash=sha256:0\n",
        ),
        ({"requirements.txt": "a", "pylock.toml": PYLOCK}, "pylock.toml", PYLOCK),
        ({"requirements.txt": "a", "poetry.lock": ""}, "requirements.txt", "a\n"),
        (
            {"pyproject.toml": '[project]\nname="x"\ndependencies=["django"]\n'},
            "pyproject.toml",
            "django\n",
        ),
        (
            {"requirements.txt": "a", "pyproject.toml": '[project]\ndependencies=["b"]\n'},
            "requirements.txt",
            "a\n",
        ),
        ({"../requirements.txt": "up\n", "../.git/HEAD": "ref: refs/heads/main\n"}, None, None),
    ],
)
def test_requirements_are_found(
    tmp_path: Path, files: dict[str, str], file: str | None, text: str | None
) -> None:
    """A lock wins over requirements, those over pyproject.toml; what lies outside is not the
    project's."""
    folder = project(tmp_path / "p", None, **files)
    if file is None:
        with pytest.raises(ReleaseError, match="says nowhere what it needs"):
            requirements(release.local(folder))
        return
    found = requirements(release.local(folder))
    assert (found.file, found.text) == (file, text)


def test_requirements_above_in_the_same_checkout_are_found(tmp_path: Path) -> None:
    """A repository with its requirements at the top and the project below is understood."""
    project(tmp_path / "src", None)
    (tmp_path / "requirements.txt").write_text("django\n")
    git(tmp_path, "init", "-q")
    assert (
        requirements(release.local(tmp_path / "src")).path
        == tmp_path.resolve() / "requirements.txt"
    )


def test_a_uv_lock_is_followed(tmp_path: Path) -> None:
    """From a uv.lock come exactly its versions, without groups for development. Asks the real
    index."""
    toml = (
        '[project]\nname="shop"\nversion="1"\nrequires-python=">=3.10"\ndependencies=["sqlparse<0.5.3",'
        ' "django<5.3"]\n'
    )
    folder = project(
        tmp_path / "p",
        None,
        **{"pyproject.toml": toml + '[dependency-groups]\ndev=["iniconfig"]\n'},
    )
    uv("lock", "-q", "--no-python-downloads", "--project", str(folder)).check_returncode()
    built = build(folder)
    assert built.wheels
    names = [name for name in built.wheels.names if name.startswith(("sqlparse", "iniconfig"))]
    assert names == ["sqlparse-0.5.2-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, "says nowhere what it needs"),
        (
            {"poetry.lock": ""},
            "is only read by poetry; next to it, run `poetry self add poetry-plugin-export`",
        ),
        (
            {"Pipfile.lock": ""},
            "Pipfile.lock is only read by pipenv; next to it, run `pipenv requirements --hash",
        ),
        ({"pdm.lock": ""}, "pdm.lock is only read by pdm; next to it, run `pdm export --prod"),
        ({"Pipfile": ""}, "Pipfile is only read by pipenv; next to it, run `pipenv lock`"),
        (
            {"requirements.txt": "-r gone.txt"},
            "requirements.txt needs gone.txt next to it, and there is no such file",
        ),
        (
            {"requirements.txt": "-e ."},
            "`-e .` is a folder of this machine; remove the line if it is the project itself",
        ),
        ({"requirements.txt": "../lib"}, "`../lib` is a folder of this machine"),
        ({"requirements.txt": "x @ file:///x"}, "is a folder of this machine"),
        ({"pylock.toml": "[[["}, "pylock.toml: no TOML"),
    ],
)
def test_invalid_requirements_are_refused(
    tmp_path: Path, files: dict[str, str], wanted: str
) -> None:
    """What is missing or can't be read is named with its file and the next step."""
    with pytest.raises(ReleaseError) as problem:
        requirements(release.local(project(tmp_path / "p", None, **files)))
    assert wanted in str(problem.value)


def test_requirements_in_another_encoding(tmp_path: Path) -> None:
    """A file that PowerShell wrote is named as what it is."""
    folder = project(tmp_path / "p", None)
    (folder / "requirements.txt").write_text("django\n", encoding="utf-16")
    with pytest.raises(ReleaseError, match=r"requirements\.txt is not UTF-8"):
        requirements(release.local(folder))


def test_a_package_that_is_not_there_is_named(tmp_path: Path, pinned: str) -> None:
    """A version that nobody has is an error that names file, Python and package, and leaves no
    half-filled cache."""
    with pytest.raises(
        ReleaseError, match=r"requirements\.txt can't be resolved for Python 3\.11: .*gunicorn==99"
    ):
        build(project(tmp_path / "p", pinned + "gunicorn==99\n"))
    assert not list((tmp_path / "cache/wheels").iterdir())


# -------------------------------------------------------------------------------------- bad sources


def test_no_folder(tmp_path: Path) -> None:
    """A folder that does not exist is named with the key that names it."""
    with pytest.raises(ReleaseError, match=r"backend_path: there is no folder .*/gone; correct it"):
        release.local(tmp_path / "gone")


def test_no_manage_py(tmp_path: Path) -> None:
    """A folder above the project gets the name of the one that was meant."""
    project(tmp_path / "top/site")
    with pytest.raises(ReleaseError, match=r"has no manage\.py, .*did you mean top/site\?"):
        release.local(tmp_path / "top")


@pytest.mark.parametrize(
    ("wsgi", "settings", "wanted"),
    [
        (
            "shop.asgi:application",
            "shop.settings",
            "wsgi: {folder} has no shop/asgi.py for 'shop.asgi'; correct `wsgi`",
        ),
        (
            "shop.wsgi:application",
            "shop.prod",
            "settings: {folder} has no shop/prod.py for 'shop.prod'",
        ),
        (
            "shop.wsgi:application",
            "shop.mine",
            "settings: shop/mine.py in {folder} is ignored by git",
        ),
    ],
)
def test_modules_that_are_not_there(
    tmp_path: Path, pinned: str, wsgi: str, settings: str, wanted: str
) -> None:
    """A module that the config names and the release lacks is found before anything is sent."""
    folder = project(tmp_path / "p", pinned, **{"shop/mine.py": "", ".gitignore": "mine.py\n"})
    git(folder, "init", "-q")
    with pytest.raises(ReleaseError) as problem:
        release.build_backend(release.local(folder), wsgi, settings, Target(), print, print)
    assert wanted.format(folder=folder) in str(problem.value)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (None, "there is no folder"),
        ("", "is empty"),
        ("page.html", "has no index.html; name the folder that your build"),
    ],
)
def test_no_page(tmp_path: Path, name: str | None, wanted: str) -> None:
    """A frontend without a page to open is refused."""
    if name is not None:
        (tmp_path / "dist").mkdir()
    if name:
        (tmp_path / "dist" / name).write_text("x")
    with pytest.raises(ReleaseError, match=f"frontend_path: .*{wanted}"):
        release.build_frontend(tmp_path / "dist")


# ---------------------------------------------------------------------------------------------- git


@pytest.fixture
def repository(tmp_path: Path, pinned: str) -> Iterator[Path]:
    """A project with two commits on main, the first one tagged v1, the project in a folder of its
    own."""
    top = tmp_path / "repository"
    project(top / "backend", pinned)
    git(top, "init", "-q")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "one")
    git(top, "tag", "-a", "v1", "-m", "v1")
    (top / "backend/new.py").write_text("")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "two")
    yield top


@pytest.mark.parametrize(
    ("ref", "new"), [("", True), ("main", True), ("v1", False), ("commit", False), ("short", False)]
)
def test_a_ref_is_resolved_to_its_commit(repository: Path, ref: str, new: bool) -> None:
    """Branch, annotated tag, commit and abbreviated commit each give the files of that commit."""
    first = git(repository, "rev-parse", "v1^{commit}")
    source = release.from_git(
        str(repository), {"commit": first, "short": first[:8]}.get(ref, ref), "backend"
    )
    assert source.commit == (git(repository, "rev-parse", "main") if new else first)
    assert (source.folder / "new.py").exists() is new
    assert (source.folder / "manage.py").exists()


def test_a_branch_moves(repository: Path) -> None:
    """The next ship of a branch is its newest commit; a commit that is here already is not fetched
    again."""
    old = release.from_git(str(repository), "main", "backend")
    (repository / "backend/newest.py").write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "three")
    new = release.from_git(str(repository), "main", "backend")
    assert (new.folder / "newest.py").exists()
    shutil.rmtree(repository)
    assert release.from_git(str(repository), str(old.commit), "backend") == old.__class__(
        old.folder, old.label.replace("main", str(old.commit)), old.roof, commit=old.commit
    )


@pytest.mark.parametrize("damage", ["a file is cut", "a file vanished", "of an older version"])
def test_a_damaged_tree_in_the_cache_is_unpacked_again(repository: Path, damage: str) -> None:
    """What is shipped is the commit, not what became of it in the cache."""
    source = release.from_git(str(repository), "main", "backend")
    wsgi = source.folder / "shop/wsgi.py"
    before = wsgi.read_text()
    match damage:
        case "a file is cut":
            wsgi.write_text(before[:5])
        case "a file vanished":
            wsgi.unlink()
        case "of an older version":  # which kept no index
            wsgi.unlink()
            next(source.roof.parent.glob("*.index")).unlink()
    shutil.rmtree(repository / "backend")
    assert release.from_git(str(repository), "main", "backend") == source
    assert wsgi.read_text() == before


@pytest.mark.parametrize("ref", ["main", "short"])
@pytest.mark.parametrize("damage", ["empty", "no objects", "locked", "left over"])
def test_a_half_made_repository_in_the_cache_is_made_again(
    repository: Path, ref: str, damage: str
) -> None:
    """A run that was killed, or a full disk, is no reason to fail the next time."""
    wanted = {"short": git(repository, "rev-parse", "v1^{commit}")[:8]}.get(ref, ref)
    release.from_git(str(repository), "v1", "backend")
    store = next(path for path in (repository.parent / "cache/git").iterdir() if path.is_dir())
    match damage:
        case "empty":
            shutil.rmtree(store / "git")
            (store / "git").mkdir()
        case "no objects":
            shutil.rmtree(store / "git/objects")
        case "locked":
            (store / "git/shallow.lock").touch()
        case "left over":
            (store / "git-killed").mkdir()
            (store / "tree-killed").mkdir()
    source = release.from_git(str(repository), wanted, "backend")
    assert (source.folder / "manage.py").exists()
    assert not list(store.glob("*-killed"))


@pytest.mark.parametrize(
    ("ref", "inside", "wanted"),
    [
        (
            "nope",
            "backend",
            "backend_ref: {url} has no branch, tag or commit 'nope'; it has main, v1",
        ),
        ("0" * 40, "backend", "has no commit 0000"),
        ("main", "", "has no manage.py, so it is no Django project; did you mean"),
        ("main", "gone", "there is no folder {url} at main"),
        ("main", "../..", "leaves the repository"),
    ],
)
def test_what_a_repository_lacks(repository: Path, ref: str, inside: str, wanted: str) -> None:
    """An unknown ref or folder is named with what there is."""
    with pytest.raises(ReleaseError) as problem:
        release.from_git(str(repository), ref, inside)
    assert wanted.format(url=repository) in str(problem.value)


def test_a_repository_out_of_reach(tmp_path: Path) -> None:
    """A repository that can't be read is an error without a prompt and without the password in its
    URL."""
    with pytest.raises(
        ReleaseError, match=r"backend_git: .*/gone can't be read: .*; check the URL"
    ):
        release.from_git(str(tmp_path / "gone"))
    assert hide_password("https://me:secret@example.com/x.git") == "https://example.com/x.git"


# ------------------------------------------------------------------------------------- which commit


def revisions(repository: Path) -> tuple[str, str]:
    """Of the project and of the page."""
    page = repository / "web" / "dist"
    page.mkdir(parents=True, exist_ok=True)
    (page / "index.html").write_text("<h1>shop</h1>")
    return build(repository / "backend").revision, release.build_frontend(page).revision


def test_a_release_says_of_which_commit_it_is(repository: Path, pinned: str) -> None:
    """Data and by-products are not shipped, so they are no changes; other times of a file are none
    either."""
    (repository / ".gitignore").write_text("dist/\n")
    (repository / "web").mkdir()
    (repository / "web/page.ts").write_text("let x;")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "a page")
    commit = git(repository, "rev-parse", "HEAD")[:12]
    (repository / "backend/db.sqlite3").write_text("rows")
    (repository / "backend/media").mkdir()
    (repository / "backend/media/photo").write_text("x")
    for path in (repository / "backend").rglob("*.py"):
        os.utime(path, (1, 1))
    assert revisions(repository) == (commit, commit)


@pytest.mark.parametrize(
    ("path", "text", "of_project", "of_page"),
    [
        ("backend/shop/settings.py", "X = 1\n", True, False),
        ("backend/more.py", "", True, False),
        ("backend/new.py", None, True, False),
        ("web/page.ts", "let y;", False, True),
        ("README", "about\n", False, False),
    ],
)
def test_a_tree_with_changes_says_so(
    repository: Path, pinned: str, path: str, text: str | None, of_project: bool, of_page: bool
) -> None:
    """Edited, new or removed: what would be shipped is not what the commit has. For a built page
    its sources count."""
    (repository / ".gitignore").write_text("dist/\n")
    (repository / "web").mkdir()
    (repository / "web/page.ts").write_text("let x;")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "a page")
    if text is None:
        (repository / path).unlink()
    else:
        (repository / path).write_text(text)
    commit = git(repository, "rev-parse", "HEAD")[:12]
    more = {True: "+changes", False: ""}
    assert revisions(repository) == (commit + more[of_project], commit + more[of_page])


def test_an_executable_bit_is_a_change(repository: Path, pinned: str) -> None:
    (repository / "backend/manage.py").chmod(0o755)
    assert build(repository / "backend").revision.endswith("+changes")


def test_a_filter_of_the_repository_is_not_run(
    repository: Path, pinned: str, tmp_path: Path
) -> None:
    """Under sudo it would run as root."""
    (repository / ".gitattributes").write_text("*.py filter=evil\n")
    git(repository, "config", "filter.evil.clean", f"touch {tmp_path}/ran; cat")
    (repository / "backend/shop/settings.py").write_text("X = 1\n")
    assert build(repository / "backend").revision.endswith("+changes")
    assert not (tmp_path / "ran").exists()


def test_a_large_file_that_git_has_a_pointer_to_is_no_change(repository: Path, pinned: str) -> None:
    """Git LFS: the commit holds a digest of the content."""
    picture = repository / "backend/picture.png"
    digest = hashlib.sha256(b"pixels").hexdigest()
    picture.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 6\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "a picture")
    picture.write_bytes(b"pixels")
    assert build(repository / "backend").revision == git(repository, "rev-parse", "HEAD")[:12]
    picture.write_bytes(b"others")
    assert build(repository / "backend").revision.endswith("+changes")


def test_what_git_does_not_know_is_of_no_commit(
    tmp_path: Path, repository: Path, pinned: str
) -> None:
    """No repository at all, or a folder in one that it ignores."""
    assert build(project(tmp_path / "p", pinned)).revision == "no git"
    (repository / ".gitignore").write_text("copies/\n")
    assert build(project(repository / "copies/p", pinned)).revision == "no git"
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/index.html").write_text("x")
    assert release.build_frontend(tmp_path / "dist").revision == "no git"


def test_a_commit_from_git_is_that_commit(repository: Path, pinned: str) -> None:
    source = release.from_git(str(repository), "v1", "backend")
    built = release.build_backend(
        source,
        "shop.wsgi:application",
        "shop.settings",
        Target(),
        lambda text: None,
        lambda part, doing: None,
    )
    assert built.revision == git(repository, "rev-parse", "v1^{commit}")[:12]
