"""What has no wheel is built on a build machine: what it is given, what is kept of it, and what is
said."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infra.core import debian
from infra.local.build_machine import BuildError
from rollout import release
from rollout.release import Release, ReleaseError, Target, Workshop
from rollout.release.tools import uv
from rollout.release.workshop import first_reason, why_none
from tests.support.archives import archive_of
from tests.support.folders import write_files
from tests.support.loopback import Index, fetch_everything_below, serving, sha256, wheel

TAG = "cp311-cp311-linux_x86_64"


@dataclass
class Machines:
    """Stands for build machines: `answers` in turn, a wheel's name or what a failing build says."""

    answers: list[str]
    made: list[str] = field(default_factory=list)
    removed: int = 0
    given: list[list[str]] = field(default_factory=list)
    sources: list[bytes] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)

    @contextmanager
    def make(self, release: str, say: Callable[[str], None]) -> Iterator[Machines]:
        self.made.append(release)
        try:
            yield self
        finally:
            self.removed += 1

    def install(self) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""

    def build(self, script: str, given: dict[str, Path], out: Path) -> None:
        self.scripts.append(script)
        self.given.append(sorted(given))
        self.sources += [
            path.read_bytes() for name, path in given.items() if name.startswith("source")
        ]
        answer = self.answers.pop(0)
        if not answer.endswith(".whl"):
            raise BuildError("failed", answer)
        name, version = answer.split("-")[:2]
        out.write_bytes(f"{answer}\n".encode() + wheel(name, version)[1])

    @property
    def workshop(self) -> Workshop:
        return Workshop(debian.RELEASES["bookworm"], Target(), self.make)


def sdist(name: str, version: str = "1.0", **files: str) -> bytes:
    """One whose setup.py must not be run here."""
    texts = {
        "setup.py": "raise SystemExit('this was run here')\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        **files,
    }
    return archive_of(
        *((f"{name}-{version}/{path}", text.encode()) for path, text in texts.items())
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_everything_below(tmp_path, monkeypatch)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with serving() as made:
        for name in ("gunicorn", "django-cors-headers", "setuptools", "wheel"):
            made.put(name, "98.0")
        made.files["fast-1.0.tar.gz"] = sdist("fast")
        monkeypatch.setenv("UV_DEFAULT_INDEX", made.url)
        yield made


def project(folder: Path, needs: str = "fast==1.0\n", **files: str) -> Path:
    texts = {
        "manage.py": "",
        "shop/__init__.py": "",
        "shop/settings.py": "",
        "shop/wsgi.py": "application = print\n",
    }
    more = {"requirements.txt": f"gunicorn\ndjango-cors-headers\n{needs}"} if needs else {}
    write_files(folder, {**texts, **more, **files})
    return folder


def build(folder: Path, machines: Machines, said: list[str] | None = None) -> Release:
    say = (said if said is not None else []).append
    return release.build_backend(
        release.local(folder),
        "shop.wsgi:application",
        "shop.settings",
        Target(),
        say,
        lambda *_: None,
        workshop=machines.workshop,
    )


def names(built: Release) -> set[str]:
    assert built.wheels
    return set(built.wheels.names)


def hashed(index: Index, **other: str) -> str:
    pins = {"gunicorn": "98.0", "django-cors-headers": "98.0", "fast": "1.0"}
    lines = []
    for name, version in pins.items():
        file = next(file for file in index.files if file.startswith(name.replace("-", "_") + "-"))
        lines.append(
            f"{name}=={version} --hash=sha256:{other.get(name) or sha256(index.files[file])}\n"
        )
    return "".join(lines)


def test_a_source_distribution_is_built_once_and_kept(tmp_path: Path, index: Index) -> None:
    """One line says it; the machine gets the source and what its build needs, and is removed.
    Another project with the same package, on an empty cache of requests, builds nothing and makes
    no machine."""
    machines, said = Machines([f"fast-1.0-{TAG}.whl"]), list[str]()
    first = build(project(tmp_path / "p"), machines, said)
    assert f"fast-1.0-{TAG}.whl" in names(first)
    assert "builds fast 1.0 for Python 3.11 on a build machine" in said
    needs = [f"needs/{name}-98.0-py3-none-any.whl" for name in ("setuptools", "wheel")]
    assert machines.given == [[*needs, "source.tar.gz"]]
    assert machines.sources == [index.files["fast-1.0.tar.gz"]]
    assert (machines.made, machines.removed) == (["bookworm"], 1)

    again = build(project(tmp_path / "q", "fast>=0.5\n"), machines, said)
    assert names(again) == names(first) and machines.made == ["bookworm"]


def from_source(folder: Path, machines: Machines, text: str = "") -> Path:
    """The wheel of one source, without an index; another `text` is another source."""
    source = folder / "fast-1.0.tar.gz"
    source.write_bytes(sdist("fast", text=text))
    workshop = machines.workshop
    with workshop.open():
        return workshop.wheel("fast", "1.0", source, lambda lines, into: None, lambda text: None)


def test_a_damaged_wheel_is_built_again(tmp_path: Path) -> None:
    """What is in the cache is looked at before it is used."""
    machines = Machines([f"fast-1.0-{TAG}.whl"] * 2)
    kept = from_source(tmp_path, machines)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    assert from_source(tmp_path, machines).read_bytes() == whole
    assert from_source(tmp_path, machines) == kept and len(machines.made) == 2


def test_of_what_was_built_that_stays_which_was_used_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build removes the oldest ones; a wheel that was taken from the cache a moment ago is none
    of them."""
    monkeypatch.setattr("rollout.release.workshop.KEPT_WHEELS", 3)
    machines = Machines([f"fast-1.0-{TAG}.whl"] * 2)
    used = from_source(tmp_path, machines).parent
    built = used.parent
    for number in range(5):
        (built / f"old-{number}").mkdir()
        (built / f"old-{number}" / "x.whl").touch()
        os.utime(built / f"old-{number}", (number, number))
    os.utime(used, (0, 0))
    from_source(tmp_path, machines)
    from_source(tmp_path, machines, "2")
    left = {path.name for path in built.iterdir() if path.is_dir()}
    assert {used.name, "old-4"} < left and len(left) == 3
    assert len(machines.made) == 2


def test_a_hash_of_the_lock_is_held_to_before_anything_is_built(
    tmp_path: Path, index: Index
) -> None:
    """The right one is built; with another one no machine is made."""
    machines = Machines([f"fast-1.0-{TAG}.whl"])
    wrong = project(tmp_path / "wrong", "", **{"requirements.txt": hashed(index, fast="0" * 64)})
    with pytest.raises(
        ReleaseError, match=r"fast==1\.0: what its index has is not what requirements.txt locks"
    ):
        build(wrong, machines)
    assert not machines.made
    right = build(project(tmp_path / "right", "", **{"requirements.txt": hashed(index)}), machines)
    assert f"fast-1.0-{TAG}.whl" in names(right)


@pytest.mark.parametrize("lock", ["uv.lock", "pylock.toml"])
def test_the_source_of_a_lock_is_built(tmp_path: Path, index: Index, lock: str) -> None:
    """It is from the address in the lock; published again, it is refused and no machine is made."""
    index.files["fast-1.0.tar.gz"] = sdist(
        "fast", **{"PKG-INFO": "Metadata-Version: 2.2\nName: fast\nVersion: 1.0\n"}
    )
    needs = ["fast", "gunicorn", "django-cors-headers"]
    text = (
        '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies ='
        f" {needs}\n"
    )
    folder = project(tmp_path / "p", "", **{"pyproject.toml": text})
    python = ["--no-python-downloads", "--python", sys.executable]
    uv("lock", "-q", *python, "--project", str(folder)).check_returncode()
    if lock == "pylock.toml":
        words = [
            "export",
            "-q",
            "--format",
            "pylock.toml",
            "--no-emit-project",
            "-o",
            str(folder / lock),
        ]
        uv(*words, *python, "--project", str(folder)).check_returncode()
        (folder / "uv.lock").unlink()
    before, machines = index.files["fast-1.0.tar.gz"], Machines([f"fast-1.0-{TAG}.whl"])
    index.files["fast-1.0.tar.gz"] = sdist("fast", evil="x")
    with pytest.raises(
        ReleaseError, match=rf"fast==1\.0: what its index has is not what {lock} locks"
    ):
        build(folder, machines)
    assert not machines.made
    index.files["fast-1.0.tar.gz"] = before
    assert f"fast-1.0-{TAG}.whl" in names(build(folder, machines))
    assert machines.sources == [before]


def test_what_a_package_needs_is_built_as_well(tmp_path: Path, index: Index) -> None:
    """A package that nobody named comes as source too: one machine for both."""
    index.files["faster-1.0.tar.gz"] = sdist("faster")
    index.put("top", "1.0", "", "fast")
    machines = Machines([f"faster-1.0-{TAG}.whl", f"fast-1.0-{TAG}.whl"])
    built = build(project(tmp_path / "p", "top\nfaster\n"), machines)
    assert {f"fast-1.0-{TAG}.whl", f"faster-1.0-{TAG}.whl"} <= names(built)
    assert machines.made == ["bookworm"]


def test_what_a_build_asks_for_is_fetched_here(tmp_path: Path, index: Index) -> None:
    """Its pyproject.toml says what; what it asks for when it has begun comes along in the next
    round."""
    toml = (
        '[build-system]\nrequires = ["setuptools", "cython>=3"]\nbuild-backend ='
        ' "setuptools.build_meta"\n'
    )
    index.files["fast-1.0.tar.gz"] = sdist("fast", **{"pyproject.toml": toml})
    index.put("cython", "3.1")
    asks = "ERROR: No matching distribution found for wheel\n"
    machines = Machines([asks, f"fast-1.0-{TAG}.whl"])
    build(project(tmp_path / "p"), machines)
    needs = [f"needs/{name}-py3-none-any.whl" for name in ("cython-3.1", "setuptools-98.0")]
    assert machines.given == [
        [*needs, "source.tar.gz"],
        [*needs, "needs/wheel-98.0-py3-none-any.whl", "source.tar.gz"],
    ]


def test_what_a_build_needs_and_nobody_has_is_named(tmp_path: Path, index: Index) -> None:
    """No index has it, or it has no wheel itself: the package and the need are in the message."""
    toml = '[build-system]\nrequires = ["nowhere-to-be-found"]\n'
    index.files["fast-1.0.tar.gz"] = sdist("fast", **{"pyproject.toml": toml})
    with pytest.raises(ReleaseError, match="the build of fast needs nowhere-to-be-found: "):
        build(project(tmp_path / "p"), Machines([]))


def test_a_failed_build_says_the_compiler_s_reason(tmp_path: Path, index: Index) -> None:
    """Nothing is kept, and the machine is removed."""
    index.files["psycopg2-2.9.tar.gz"] = sdist("psycopg2", "2.9")
    said = (
        "  error: subprocess-exited-with-error\n  × Building wheel for psycopg2 (pyproject.toml)"
        " did not run.\n  │ exit code: 1\n  ╰─> [9 lines of output]\n      running build_ext\n     "
        " ./psycopg/psycopg.h:35:10: fatal error: libpq-fe.h: No such file or directory\n     "
        " error: command '/usr/bin/gcc' failed with exit code 1\n      [end of output]\nERROR:"
        " Failed building wheel for psycopg2\n"
    )
    machines = Machines([said])
    with pytest.raises(ReleaseError) as problem:
        build(project(tmp_path / "p", "psycopg2\n"), machines)
    assert (
        str(problem.value) == "requirements.txt: psycopg2 2.9 has no wheel, and building one fails:"
        " ./psycopg/psycopg.h:35:10: fatal error: libpq-fe.h: No such file or directory; the"
        " build machine can't have more Debian packages yet: pin a version that has a wheel, or"
        " put one on your own index; instead of psycopg2: psycopg2-binary, the same code as a"
        " wheel, or psycopg[binary] with Django 4.2 and later"
    )
    assert machines.removed == 1
    assert not list((tmp_path / "cache/built").glob("*/")) and not list(
        (tmp_path / "cache/wheels").glob("*/")
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            (
                "  a.c:1:10: fatal error: libpq-fe.h: No such file or directory\n    error: command"
                " 'gcc' failed"
            ),
            "a.c:1:10: fatal error: libpq-fe.h: No such file or directory",
        ),
        (
            (
                "      /bin/sh: 1: mysql_config: not found\n      Exception: Can not find valid"
                " pkg-config name.\n"
            ),
            "/bin/sh: 1: mysql_config: not found",
        ),
        (
            "  × x\n      Error: pg_config executable not found.\n\n      pg_config is required\n",
            "Error: pg_config executable not found",
        ),
        ("      error: can't find Rust compiler\n", "can't find Rust compiler"),
        (
            (
                "  │ exit code: 1\n      x.c:3:5: error: unknown type name 'foo'\n  error:"
                " metadata-generation-failed\n"
            ),
            "x.c:3:5: error: unknown type name 'foo'",
        ),
        ("      Traceback (most recent call last):\n      ValueError: no\n", "ValueError: no"),
        ("ERROR: something else\n", "something else"),
        ("", "no reason given"),
    ],
)
def test_the_first_reason_is_found(said: str, reason: str) -> None:
    assert first_reason(said) == reason


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (f"other-1.0-{TAG}.whl", "which is another package or version"),
        (f"fast-2.0-{TAG}.whl", "which is another package or version"),
        (
            "fast-1.0-cp312-cp312-linux_x86_64.whl",
            r"which Python 3.11 on x86_64 \(glibc 2.36\) can't load",
        ),
        (f"fast-1.0-1/../../../../x-{TAG}.whl", "its build leaves no wheel, but 'fast-1.0-1/"),
        ("no.whl", "its build leaves no wheel, but 'no.whl'"),
    ],
)
def test_another_wheel_than_the_one_asked_for_is_refused(
    tmp_path: Path, answer: str, why: str
) -> None:
    """The build is third-party code: neither its file's name nor its content is trusted."""

    class Liars(Machines):
        def build(self, script: str, given: dict[str, Path], out: Path) -> None:
            out.write_bytes(f"{answer}\n".encode())

    with pytest.raises(ReleaseError, match=why):
        from_source(tmp_path, Liars([]))
    assert not list((tmp_path / "cache/built").glob("*/"))


def test_a_project_s_compiled_package_is_built_there(tmp_path: Path, index: Index) -> None:
    """Its files go along, its secrets don't. A pure one is built here, as ever."""
    folder = project(
        tmp_path / "p",
        "./fast\n",
        **{
            "fast/setup.py": "raise SystemExit('this was run here')\n",
            "fast/fast.c": "int x;\n",
            "fast/.env": "SECRET=1\n",
        },
    )
    machines = Machines([f"fast-1.0-{TAG}.whl"])
    assert f"fast-1.0-{TAG}.whl" in names(build(folder, machines))
    with tarfile.open(fileobj=io.BytesIO(machines.sources[0])) as tar:
        assert tar.getnames() == ["source/fast.c", "source/setup.py"]


def test_a_repository_is_built_at_its_commit(tmp_path: Path, index: Index) -> None:
    """git fetches it here; the machine gets the files of that commit alone."""
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "setup.py").write_text("raise SystemExit('this was run here')\n")
    person = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in (["init", "-q"], ["add", "."], [*person, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=origin, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=origin, capture_output=True, text=True
    ).stdout.strip()
    (origin / "later.py").write_text("")
    machines = Machines([f"fast-1.0-{TAG}.whl"])
    needs = f"fast @ git+file://{origin}@{commit}\n"
    assert f"fast-1.0-{TAG}.whl" in names(build(project(tmp_path / "p", needs), machines))
    with tarfile.open(fileobj=io.BytesIO(machines.sources[0])) as tar:
        assert tar.getnames() == ["source/setup.py"]


def test_a_host_unlike_any_machine_here_is_refused(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no workshop, and the message has the ways out."""
    assert Workshop.of(Target("3.12", "x86_64", "2.39")) is None
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    with pytest.raises(
        ReleaseError, match=r"no wheel for Python 3.11 .* of fast; .*build_sdists: \[fast\]"
    ):
        release.build_backend(
            release.local(project(tmp_path / "p")),
            "shop.wsgi:application",
            "shop.settings",
            Target(),
            print,
            print,
        )


@dataclass(frozen=True)
class Here:
    """This machine, as far as a build machine asks for it."""

    machine: str = "x86_64"
    user: int = 0
    programs: tuple[str, ...] = ("systemd-nspawn", "debootstrap")


@pytest.mark.parametrize(
    ("here", "target", "why"),
    [
        (
            Here(),
            Target("3.12", libc="2.39"),
            "the kit knows no Debian with Python 3.12 and glibc 2.39",
        ),
        (Here("aarch64"), Target(), "this machine is aarch64, the hosts are x86_64"),
        (Here(user=1000), Target(), "it needs root"),
        (Here(programs=("debootstrap",)), Target(), "systemd-nspawn is not installed"),
        (Here(programs=("systemd-nspawn",)), Target(), "debootstrap is not installed"),
    ],
)
def test_what_stands_against_a_build_machine_is_one_reason(
    monkeypatch: pytest.MonkeyPatch, here: Here, target: Target, why: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: here.machine)
    monkeypatch.setattr("os.geteuid", lambda: here.user)
    monkeypatch.setattr(
        "shutil.which", lambda name: f"/usr/bin/{name}" if name in here.programs else None
    )
    monkeypatch.setattr("infra.local.image.ready", lambda release: False)
    assert why_none(target) == why
    assert Workshop.of(target) is None


LOCKED = 'lock-version = "1.0"\ncreated-by = "a person"\n[[packages]]\nname = "fast"\n'


@pytest.mark.parametrize(
    ("files", "may_build"),
    [
        ({"requirements.txt": "fast==1.0\n"}, ()),
        ({"requirements.txt": "fast==1.0\n"}, ("fast",)),
        ({"requirements.txt": "uwsgi==1.0\n"}, ()),
        (
            {
                "pylock.toml": (
                    LOCKED + 'vcs = { type = "git", url = "https://git.invalid/fast", commit-id ='
                    ' "abc" }\n'
                )
            },
            (),
        ),
    ],
    ids=["without a wheel", "allowed and fails", "compiled", "a repository"],
)
def test_a_refusal_says_why_there_is_no_build_machine(
    tmp_path: Path, index: Index, files: dict[str, str], may_build: tuple[str, ...]
) -> None:
    """Whatever is refused for want of one."""
    index.files["uwsgi-1.0.tar.gz"] = sdist("uwsgi")
    why = (
        r", and no build machine can be made \(the kit knows no Debian with Python 3\.12 and glibc"
        r" 2\.39\)"
    )
    with pytest.raises(ReleaseError, match=why):
        release.build_backend(
            release.local(project(tmp_path / "p", "", **files)),
            "shop.wsgi:application",
            "shop.settings",
            Target("3.12", libc="2.39"),
            print,
            print,
            may_build,
        )


def test_a_project_s_own_index_is_asked_for_the_source(tmp_path: Path, index: Index) -> None:
    """An index that [tool.uv] names counts when the source is looked for, its password as well; the
    machine's own index has another package of that name."""
    with serving("ada:open-sesame") as private:
        private.files["fast-1.0.tar.gz"] = sdist("fast", **{"mine": "yes"})
        text = f'[[tool.uv.index]]\nname = "ours"\nurl = "{private.url}"\n'
        machines = Machines([f"fast-1.0-{TAG}.whl"])
        folder = project(tmp_path / "p", **{"pyproject.toml": text})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("UV_INDEX_OURS_USERNAME", "ada")
            patch.setenv("UV_INDEX_OURS_PASSWORD", "open-sesame")
            build(folder, machines)
        assert machines.sources == [private.files["fast-1.0.tar.gz"]]
