"""The script that puts a release on a host: run as the host runs it, below a root of its own.

`systemctl` and `journalctl` are the one fake, found on PATH; "restarting" writes what a gunicorn
worker would record.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import on_host
from rollout import program, release
from rollout.release import Release, Target
from tests.support.archives import archive_of
from tests.support.programs import begin, bootstrap
from tests.support.sampling import sampled

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
PACKAGE = Path(on_host.__file__).parents[1]
OF_A_SHIP = re.compile("on_host/(release/.*|user|journal|two_phase)[.]py")
TEXTS = {path: text for path, text in program.sources().items() if OF_A_SHIP.fullmatch(path)}
STEPS = sorted(
    {step for text in TEXTS.values() for step in re.findall(r'\bstep\(\s*"([a-z]+)"', text)}
)

SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$ROOT/systemctl.log"
current="$ROOT/opt/shop/current"
case "$1" in
show) if [ -e "$ROOT/unit" ]; then echo loaded; else echo not-found; fi ;;
restart)
    rm -f "$ROOT"/run/shop/workers/*
    if [ -e "$current/app/does-not-boot" ]; then exit 1; fi
    if [ -e "$current/app/never-ready" ]; then exit 0; fi
    mkdir -p "$ROOT/run/shop/workers"
    printf '{"fingerprint": "f", "release": "%s"}' "$(readlink -f "$current")" \\
        > "$ROOT/run/shop/workers/$WORKER" ;;
esac
"""

# Stands for Django where only its exit status matters: a whole Django costs ten seconds a host.
MANAGE = """
import os, pathlib, sys
verb, data = sys.argv[1], pathlib.Path(os.environ["ORIGIN_KIT_DATA"])
import origin_kit_settings
if verb == FAILING:
    raise RuntimeError(verb + " goes wrong")
if verb == "collectstatic":
    pathlib.Path(os.environ["ORIGIN_KIT_STATIC"], "style.css").write_text("body {}")
if verb == "migrate" and "--check" in sys.argv:
    sys.exit(WAITING)
if verb == "migrate":
    import sqlite3
    with sqlite3.connect(data / "db.sqlite3") as database:
        database.execute("create table if not exists seen (release text)")
        release = os.environ["ORIGIN_KIT_RELEASE"].rsplit("/", 1)[-1]
        database.execute("insert into seen values (?)", [release])
"""


@dataclass
class Machine:
    """A host's file system below `root`."""

    root: Path
    more: dict[str, Any] = field(default_factory=dict)
    said: list[dict[str, Any]] = field(default_factory=list)
    status: int = 0

    @property
    def home(self) -> Path:
        return self.root / "opt/shop"

    @property
    def data(self) -> Path:
        return self.root / "var/lib/shop"

    @property
    def current(self) -> str | None:
        link = self.home / "current"
        return link.readlink().name if link.is_symlink() else None

    @property
    def restarts(self) -> int:
        log = self.root / "systemctl.log"
        return log.read_text().count("restart shop.service") if log.exists() else 0

    @property
    def seen(self) -> list[str]:
        """Which releases have migrated the database: the data that has to survive."""
        import sqlite3

        with sqlite3.connect(self.data / "db.sqlite3") as database:
            return [row[0] for row in database.execute("select release from seen")]

    def run(
        self, orders: Mapping[str, Any], blob: bytes = b"", *, hang_up: bool = False
    ) -> dict[str, Any]:
        """The result, or the error, of one exec; `said` and `status` hold the rest. The operator
        stays on the line, unless it is to `hang_up` behind the last byte."""
        user = {"user": "nobody"} if os.geteuid() == 0 else {}
        common = {
            "root": str(self.root),
            "workers_s": 0.3,
            "deploy": uuid4().hex[:12],
            "who": "tests",
            **user,
        }
        common["silence_s"] = (
            300  # this operator sends no sign of life, and a busy machine takes its time
        )
        environment = {
            "PATH": f"{self.root}/fake:{os.environ['PATH']}",
            "ROOT": str(self.root),
            "WORKER": str(os.getpid()),
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(
            [PYTHON, "-I", "-c", bootstrap(self.root)], env=environment, cwd="/", **pipes
        ) as process:  # type: ignore[call-overload]
            begin(process, program.current(), {**common, **orders, **self.more})
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(blob)
                process.stdin.flush()
            if hang_up:
                process.stdin.close()
            out = process.stdout.read()
            err = process.stderr.read()
        self.status = process.returncode
        for errors in (self.root / "run/origin-kit/jobs").glob("*/errors"):
            err += errors.read_bytes()
        assert not err, err.decode()
        self.said = [
            event for line in out.splitlines() if "beat" not in (event := json.loads(line))
        ]
        last = self.said[-1] if self.said else {}
        result: dict[str, Any] = last.get("result", last)
        return {key: value for key, value in result.items() if key not in ("phases", "seconds")}

    def facts(self) -> Any:
        return self.run({"verb": "facts", "app": "shop"})

    def ship(self, built: Release, **more: Any) -> dict[str, Any]:
        facts = self.facts()
        archive = built.archive(facts, lambda fraction, doing: None)
        orders = built.orders(facts, "shop", "tests", archive=archive, **{**BACKEND, **more})
        return self.run(orders, archive.read_bytes() if archive else b"")

    def killed(self, step: str, built: Release, **more: Any) -> str:
        """What is said of a ship whose process on the host is killed when it comes to `step`."""
        self.more = {"die_at": step, **more}
        said = str(self.ship(built)["error"])
        self.more = {}
        return said

    def steps(self) -> list[str]:
        return [event["step"] for event in self.said if "step" in event]


SETTINGS = "DJANGO_SETTINGS_MODULE"
BACKEND: dict[str, Any] = {
    "wsgi": "shop.wsgi:application",
    "settings": "shop.settings",
    "files": {"django/origin_kit_settings.py": "from shop.settings import *\n"},
}


@pytest.fixture
def machine() -> Iterator[Machine]:
    yield from _machine()


@pytest.fixture(scope="module")
def old_machine() -> Iterator[Machine]:
    yield from _machine()


def _machine() -> Iterator[Machine]:
    root = Path(tempfile.mkdtemp(prefix="origin-kit-host-"))
    root.chmod(0o755)  # the application's user passes through
    (root / "fake").mkdir()
    for name, text in (
        ("systemctl", SYSTEMCTL),
        ("journalctl", "#!/bin/sh\necho gunicorn says why\n"),
    ):
        (root / "fake" / name).write_text(text)
        (root / "fake" / name).chmod(0o755)
    yield Machine(root)
    shutil.rmtree(root)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("ORIGIN_KIT_CACHE")
    os.environ["ORIGIN_KIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["ORIGIN_KIT_CACHE"]
    if before is not None:
        os.environ["ORIGIN_KIT_CACHE"] = before


def tiny_wheels(version: str) -> str:
    """Requirements that only name small stand-ins for gunicorn and django-cors-headers, which come
    from a folder."""
    folder = Path(os.environ["ORIGIN_KIT_CACHE"], "index")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("gunicorn", "django_cors_headers"):
        facts = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "def run(): ...\n")
            wheel.writestr(
                f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            wheel.writestr(
                f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{facts}/entry_points.txt", f"[console_scripts]\n{name} = {name}:run\n")
            wheel.writestr(f"{facts}/RECORD", "")
    return f"--find-links {folder}\ngunicorn=={version}\ndjango-cors-headers=={version}\n"


def project(folder: Path, **files: str) -> Path:
    """A project whose manage.py is the stand-in; `files` are more of it, `__` for a slash and
    `_dot_` for a dot."""
    manage = f"FAILING = None\nWAITING = 0\n{MANAGE}"
    wsgi = "def application(environ, start_response): ...\n"
    texts = {
        "manage_dot_py": manage,
        "shop__settings_dot_py": "NAME = 'shop'\n",
        "shop__wsgi_dot_py": wsgi,
    }
    for name, text in {**texts, "requirements_dot_txt": tiny_wheels("98.0"), **files}.items():
        path = folder / name.replace("_dot_", ".").replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def build(folder: Path) -> Release:
    def quiet(*_: object) -> None: ...

    host = subprocess.run(
        [PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True
    )
    target = Target(python=host.stdout.decode().strip())
    return release.build_backend(
        release.local(folder), BACKEND["wsgi"], BACKEND["settings"], target, quiet, quiet
    )


def failing(verb: str) -> str:
    return f"FAILING = {verb!r}\nWAITING = 1\n{MANAGE}"


WAITING = f"FAILING = None\nWAITING = 1\n{MANAGE}"


def page(folder: Path, text: str = "<h1>shop</h1>") -> Release:
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text(text)
    return release.build_frontend(folder)


# ------------------------------------------------------------------------------------------- a ship


def test_the_first_ship_puts_everything_in_place(machine: Machine, tmp_path: Path) -> None:
    """It makes the environment, static files, data and the link, and restarts nothing."""
    built = build(project(tmp_path / "p"))
    assert machine.ship(built) == {"changed": True, "release": built.id, "previous": None}
    here = machine.home / "current"
    assert machine.current == built.id
    assert (here / "app/manage.py").exists()
    assert (here / "static/style.css").read_text() == "body {}"
    assert (here / "venv/bin/gunicorn").stat().st_mode & 0o111
    assert machine.seen == [built.id]
    for folder in (
        here / "app",
        (here / "venv").resolve(),
    ):  # nobody but root and the application's user
        assert folder.stat().st_mode & 0o777 == 0o750
    assert (here / "static").stat().st_mode & 0o777 == 0o755
    assert (machine.data / "secret_key").stat().st_mode & 0o777 == 0o600
    assert (machine.data / "media").stat().st_mode & 0o777 == 0o755
    assert (machine.data / "db.sqlite3").stat().st_mode & 0o777 == 0o600
    assert machine.restarts == 0
    assert not (machine.root / "run/origin-kit-ship-shop").exists()


def test_the_config_of_a_release_is_recorded(machine: Machine, tmp_path: Path) -> None:
    """Other keys that lead to the same release are recorded without shipping it.

    After a rollback, the keys of the older release are reported; without a record, nothing."""
    first, second = (
        build(project(tmp_path / "p")),
        build(project(tmp_path / "q", shop__new_dot_py="x = 1\n")),
    )
    machine.ship(first)
    assert machine.facts()["made_from"] is None
    machine.more = {"made_from": {"backend_ref": "v1"}}
    assert machine.ship(first)["changed"] is False
    assert machine.facts()["made_from"] == {"backend_ref": "v1"}
    machine.more = {"made_from": {"backend_ref": "v2"}}
    machine.ship(second)
    assert machine.facts()["made_from"] == {"backend_ref": "v2"}
    machine.more = {}
    machine.run(release.rollback_orders("shop", "backend", "tests"))
    assert machine.facts()["made_from"] == {"backend_ref": "v1"}
    (machine.home / "made_from.json").write_text("{")
    assert machine.facts()["made_from"] is None


def test_the_same_release_again_changes_nothing(machine: Machine, tmp_path: Path) -> None:
    """Shipping the current release sends nothing, runs nothing and restarts nothing."""
    built = build(project(tmp_path / "p"))
    machine.ship(built)
    facts = machine.facts()
    assert built.rests_on(facts)
    assert built.archive(facts, lambda fraction, doing: None) is None
    assert machine.ship(built) == {"changed": False, "release": built.id, "previous": None}
    assert machine.steps() == []


def test_new_code_sends_no_wheels_and_restarts(machine: Machine, tmp_path: Path) -> None:
    """With the same requirements only code is sent: the environment is shared, the data stays."""
    first = build(project(tmp_path / "p"))
    machine.ship(first)
    key = (machine.data / "secret_key").read_text()
    (machine.data / "media/photo").write_text("uploaded")
    (machine.root / "unit").touch()
    second = build(project(tmp_path / "p", shop__views_dot_py="x = 1\n"))
    result = machine.ship(second)
    assert result == {"changed": True, "release": second.id, "previous": first.id}
    assert "venv" not in machine.steps()
    assert machine.restarts == 1
    assert machine.seen == [first.id, second.id]
    assert (machine.data / "secret_key").read_text() == key
    assert (machine.data / "media/photo").read_text() == "uploaded"
    assert machine.facts()["settled"]


def test_a_service_on_other_code_is_restarted(machine: Machine, tmp_path: Path) -> None:
    """The right link is not enough: workers that run another release are restarted by a ship."""
    built = build(project(tmp_path / "p"))
    machine.ship(built)
    (machine.root / "unit").touch()
    workers = machine.root / "run/shop/workers"
    workers.mkdir(parents=True)
    (workers / str(os.getpid())).write_text(
        '{"fingerprint": "f", "release": "/opt/shop/releases/old"}'
    )
    assert not built.rests_on(machine.facts())
    assert machine.ship(built)["changed"]
    assert machine.restarts == 1


def test_a_database_next_to_the_code_is_not_sent(machine: Machine, tmp_path: Path) -> None:
    """The developer's db.sqlite3 and uploads are not sent; the host's own are not touched."""
    folder = project(tmp_path / "p", db_dot_sqlite3="mine", media__photo="mine")
    machine.ship(build(folder))
    assert not (machine.home / "current/app/db.sqlite3").exists()
    assert not (machine.home / "current/app/media").exists()


def test_the_database_is_copied_before_migrations(machine: Machine, tmp_path: Path) -> None:
    """The last three copies are kept, and the error of a failing migration names the copy."""
    machine.ship(build(project(tmp_path / "p")))
    result = machine.ship(build(project(tmp_path / "p", manage_dot_py=failing("migrate"))))
    copies = sorted((machine.data / "backups").iterdir())
    assert [copy.name.split("-")[0] for copy in copies] == ["00001"]
    assert (copies[0] / "db.sqlite3").read_bytes()[:6] == b"SQLite"
    assert str(copies[0]) in result["error"]


@pytest.mark.parametrize("verb", ["check", "collectstatic", "migrate"])
def test_a_failing_command_leaves_the_old_release(
    machine: Machine, tmp_path: Path, verb: str
) -> None:
    """The old release continues to serve, and the error is the project's own, shortened."""
    first = build(project(tmp_path / "p"))
    machine.ship(first)
    (machine.root / "unit").touch()
    result = machine.ship(build(project(tmp_path / "p", manage_dot_py=failing(verb))))
    assert machine.status == 1
    assert result["error"].startswith(
        f"manage.py {verb} fails: RuntimeError: {verb} goes wrong; release {first.id}"
    )
    assert "Correct it and ship again" in result["error"]
    assert len(result["detail"].splitlines()) <= 13
    assert (machine.current, machine.restarts) == (first.id, 0)


@pytest.mark.parametrize("mark", ["does-not-boot", "never-ready"])
def test_a_release_that_does_not_come_up_is_undone(
    machine: Machine, tmp_path: Path, mark: str
) -> None:
    """When no worker loads the new release, the host rolls back to the old one."""
    first = build(project(tmp_path / "p"))
    machine.ship(first)
    (machine.root / "unit").touch()
    result = machine.ship(build(project(tmp_path / "p", **{mark: ""})))
    assert "does not come up" in result["error"]
    assert "the previous release serves again" in result["error"]
    assert "gunicorn says why" in result["detail"]
    assert (machine.current, machine.restarts) == (first.id, 2)
    assert first.rests_on(machine.facts())


def test_secrets_reach_only_the_application(machine: Machine, tmp_path: Path) -> None:
    """A secret is in the environment of the project's commands, and in no file, event or error."""
    check = (
        "import os\nassert os.environ['TOKEN'] == 'sentinel-4711'\nassert os.environ['FLAG'] =="
        " 'on'\n"
    )
    manage = f"FAILING = None\nWAITING = 0\n{check}{MANAGE}"
    built = build(project(tmp_path / "p", manage_dot_py=manage))
    assert machine.ship(built, secrets={"TOKEN": "sentinel-4711"}, env={"FLAG": "on"})["changed"]
    assert "sentinel" not in json.dumps(machine.said)
    texts = [path for path in machine.root.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    holding = [path.name for path in texts if b"sentinel-4711" in path.read_bytes()]
    assert set(holding) <= {"manage.py"}


# ------------------------------------------------------------------------------------- bad projects

UNWRITABLE = """
try:
    open("shop.log", "w")
except OSError as problem: raise ValueError("no handler") from problem
"""


# What Django says of a project that fails its checks.
CHECKS = """
import sys
print("SystemCheckError: System check identified some issues:\\n\\nERRORS:\\n"
      "shop.Plant.beds: (fields.E304) Reverse accessor 'Bed.plants' clashes.\\n"
      "\\tHINT: Add related_name.\\n"
      "?: (corsheaders.E013) Origin 'a' in CORS_ALLOWED_ORIGINS is missing scheme or netloc\\n")
sys.exit(1)
"""
# What django-configurations says where the kit does not know which class it is.
UNNAMED = """
text = "django-configurations settings importer wasn't correctly installed."
raise ValueError(text + " Please use one of the starter functions")
"""
UNDEFINED = """
text = "Configuration cannot be imported, environment variable"
raise ValueError(text + " DJANGO_CONFIGURATION is undefined.")
"""


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (
            {"shop__settings_dot_py": "import gone\n"},
            "No module named 'gone' (shop/settings.py, line 1)",
        ),
        ({"shop__settings_dot_py": "import gone\n"}, "is it among its requirements?"),
        (
            {"shop__settings_dot_py": "import environ\n"},
            "it comes with the package django-environ: add that",
        ),
        (
            {"shop__settings_dot_py": "import shop.mine\n"},
            "shop/mine.py is not among the project's files: write it",
        ),
        ({"shop__wsgi_dot_py": "import gone\n"}, "No module named 'gone' (shop/wsgi.py, line 1)"),
        ({"shop__wsgi_dot_py": "app = 1\n"}, "nothing callable named 'application'"),
        (
            {
                "shop__wsgi_dot_py": (
                    f"import os\nos.environ['{SETTINGS}'] = 'shop.settings'\ndef application():"
                    " ...\n"
                )
            },
            "sets DJANGO_SETTINGS_MODULE itself",
        ),
        (
            {
                "shop__settings_dot_py": "X = ['gone.apps']\n",
                "shop__wsgi_dot_py": "import gone.apps\n",
            },
            "X in the project's settings names it",
        ),
        (
            {
                "shop__settings_dot_py": (
                    "import warnings\nwarnings.warn('no heating here')\nX = ['gone.apps']\n"
                ),
                "shop__wsgi_dot_py": "import gone.apps\n",
            },
            "'gone' (shop/wsgi.py, line 1); X in the project's settings names it",
        ),
        (
            {"shop__settings_dot_py": "X = ['json']\n", "shop__wsgi_dot_py": "import json.gone\n"},
            (
                "(shop/wsgi.py, line 1); shop/wsgi.py asks for it, and the installed json has none:"
                " pin another version"
            ),
        ),
        (
            {
                "shop__settings_dot_py": (
                    "raise OSError('connection to server at \"::1\", port 5432 failed: refused')\n"
                )
            },
            "; the kit installs no PostgreSQL: name one that this host reaches",
        ),
        (
            {
                "shop__settings_dot_py": (
                    "raise OSError('Error 111 connecting to localhost:6379. Connection refused.')\n"
                )
            },
            "; the kit installs no Redis: name one that this host reaches",
        ),
        ({"shop__settings_dot_py": "def (\n"}, "SyntaxError"),
        (
            {"shop__wsgi_dot_py": "async def application(scope, receive, send): ...\n"},
            "holds an ASGI application",
        ),
        (
            {
                "shop__wsgi_dot_py": (
                    "class App:\n    async def __call__(self, *_): ...\napplication = App()\n"
                )
            },
            "name the module with get_wsgi_application()",
        ),
        (
            {"shop__settings_dot_py": UNWRITABLE},
            (
                "no handler; PermissionError: [Errno 13] Permission denied: 'shop.log'"
                " (shop/settings.py, line 4)"
            ),
        ),
        ({"shop__settings_dot_py": UNWRITABLE}, "its path is in ORIGIN_KIT_DATA"),
        (
            {"manage_dot_py": CHECKS},
            "identified some issues:; shop.Plant.beds: (fields.E304) Reverse accessor",
        ),
        (
            {"manage_dot_py": CHECKS},
            "?: (corsheaders.E013) Origin 'a' in CORS_ALLOWED_ORIGINS is missing scheme",
        ),
        (
            {"shop__settings_dot_py": UNNAMED},
            "are classes: name one by DJANGO_CONFIGURATION in `env` of the stack's",
        ),
        (
            {"shop__wsgi_dot_py": UNDEFINED},
            "are classes: name one by DJANGO_CONFIGURATION in `env` of the stack's",
        ),
        (
            {"shop__settings_dot_py": "DEBUG = 1\nif DEBUG:\n    X = 'y'\n"},
            "they use it (shop/settings.py, line 2)",
        ),
        (
            {
                "shop__settings_dot_py": "from .base import *\nX = not DEBUG\n",
                "shop__base_dot_py": "DEBUG = 1 == 1\n",
            },
            "Let it be false on the host: DEBUG = 1 == 1 (shop/base.py, line 1)",
        ),
    ],
)
def test_errors_of_a_project_are_named(
    old_machine: Machine, tmp_path: Path, files: dict[str, str], wanted: str
) -> None:
    """The message names the exception, the line, and the setting that led there."""
    result = old_machine.ship(build(project(tmp_path / "p", **files)))
    assert wanted in result["error"]
    assert len(result["error"].splitlines()) == 1


@pytest.mark.parametrize(
    "settings",
    [
        "DEBUG = True\nX = [1]\n",
        "import os\nDEBUG = bool(os.environ.get('DEBUG'))\nif DEBUG:\n    raise SystemExit\n",
        "DEBUG = True\ndef later():\n    return DEBUG\n",
        "DEBUG = True\nDEBUG = DEBUG and False\nif DEBUG:\n    raise SystemExit\n",
    ],
)
def test_debug_may_be_true_where_it_is_not_used(
    old_machine: Machine, tmp_path: Path, settings: str
) -> None:
    """Also where it is false in the end, or used only after the kit has set it."""
    assert old_machine.ship(build(project(tmp_path / "p", shop__settings_dot_py=settings)))[
        "changed"
    ]


# ------------------------------------------------------------------------------------- bad archives


def site_orders(blob: bytes, name: str = "0123456789ab") -> dict[str, Any]:
    return {
        "verb": "ship",
        "app": "shop",
        "role": "frontend",
        "who": "tests",
        "id": name,
        "digest": hashlib.sha256(blob).hexdigest(),
        "size": len(blob),
        "label": "page",
        "commit": None,
        "lock": None,
        "wsgi": "",
        "settings": "",
        "files": {},
        "env": {},
        "secrets": {},
    }


@pytest.mark.parametrize(
    "members",
    [
        [("../../../../tmp/evil", b"x")],
        [("/etc/evil", b"x")],
        [("site/../../evil", b"x")],
        [("elsewhere/x", b"x")],
        [("site/link", "/etc/passwd")],
        [("site/link", "../../../etc/passwd")],
        [("site/link", "../app")],
        [("site/out", "../.."), ("site/out/evil", b"x")],
        [("site/deep/er/x", b"x"), ("site/d", "deep/er"), ("site/passwd", "d/../../../etc/passwd")],
        [("site/deep/up", ".."), ("site/passwd", "deep/up/../etc/passwd")],
        [("site/a", "b"), ("site/b", "a")],
        [("site/d", "index.html"), ("site/d", "../../../etc/passwd")],
        [("site/d/x", b"x"), ("site/d", "index.html")],
        [("site/device", None)],
    ],
)
def test_an_archive_that_reaches_outside_is_refused(
    old_machine: Machine, members: list[tuple[str, bytes | str | None]]
) -> None:
    """No member of an archive is written, or leads, outside of its release; nothing of it stays."""
    before = old_machine.current
    blob = archive_of(("site/index.html", b"x"), *members)
    result = old_machine.run(site_orders(blob), blob)
    assert old_machine.status == 1
    assert "was not made by this kit" in result["error"]
    assert old_machine.current == before
    assert not list((old_machine.home / "releases").glob("0123456789ab*"))
    assert not list(old_machine.root.rglob("evil"))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_an_incomplete_archive_is_refused(old_machine: Machine, keep: float) -> None:
    """A connection that ends too early leaves no release, and the message says so."""
    blob = archive_of(*[(f"site/{number}", os.urandom(300)) for number in range(40)])
    result = old_machine.run(site_orders(blob), blob[: int(len(blob) * keep)], hang_up=True)
    assert "was the connection cut? ship again" in result["error"]
    assert not list((old_machine.home / "releases").glob("0123456789ab*"))


def test_an_upload_that_stops_blocks_nobody(machine: Machine) -> None:
    """The host waits for a while, then gives up; another ship can run meanwhile."""
    blob = archive_of(("site/index.html", b"x" * 5000))
    orders = site_orders(blob, "0123456789aa") | {"silence_s": 0.5}
    result = machine.run(orders, blob[:100])
    assert (
        result["error"]
        == "nothing has arrived from the operator for 0 s; is the connection down? ship again"
    )
    assert not (machine.root / "run/origin-kit/lock").exists()


def test_a_silent_operator_learns_why_it_was_given_up(machine: Machine) -> None:
    """The work ends by itself; the same ship, run again, succeeds."""
    blob = archive_of(("site/index.html", b"x"))
    orders = site_orders(blob, "0123456789aa")
    result = machine.run({**orders, "together": True, "silence_s": 1.0}, blob)
    assert "heard nothing from this computer for 1 s" in result["error"]
    assert (machine.status, result["in_doubt"]) == (1, False)
    assert machine.run({**orders, "wait_s": 60}, blob)["changed"]
    assert machine.current == "0123456789aa"


def test_links_inside_a_release_are_kept(old_machine: Machine) -> None:
    """A link to another file of the same release arrives as a link."""
    blob = archive_of(("site/a/index.html", b"x"), ("site/b", "a/index.html"))
    assert old_machine.run(site_orders(blob, "abcdefabcdef"), blob)["changed"]
    assert (old_machine.home / "current/site/b").readlink() == Path("a/index.html")


# ------------------------------------------------------------------------------------- hostile ones


def backend_archive(
    machine: Machine, tmp_path: Path, *wheels: Path
) -> tuple[dict[str, Any], bytes]:
    """The orders and the archive of a small project with these wheels next to its own, which no
    operator would send."""
    built = build(project(tmp_path / "p"))
    archive = built.archive(machine.facts(), lambda fraction, doing: None)
    assert archive
    orders = built.orders(machine.facts(), "shop", "tests", archive=archive, **BACKEND)
    out = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
        for wheel in wheels:
            new.add(wheel, f"wheels/{wheel.name}")
    blob = out.getvalue()
    expected = {
        **orders["wheels"],
        **{wheel.name: hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels},
    }
    return {
        **orders,
        "digest": hashlib.sha256(blob).hexdigest(),
        "size": len(blob),
        "wheels": expected,
    }, blob


def evil_wheel(folder: Path, files: dict[str, str]) -> Path:
    path = folder / "evil-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as out:
        for name, text in files.items():
            out.writestr(name, text)
        out.writestr(
            "evil-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"
        )
        out.writestr(
            "evil-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        out.writestr("evil-1.0.dist-info/RECORD", "")
    return path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has anything to lose")
def test_a_pth_file_of_a_wheel_never_runs_as_root(machine: Machine, tmp_path: Path) -> None:
    """A `.pth` runs whenever the environment's interpreter starts, so root never starts it."""
    log = machine.root / "started"
    log.touch()
    log.chmod(0o666)
    line = f"import os; open({str(log)!r}, 'a').write(str(os.geteuid()) + '\\n')\n"
    orders, blob = backend_archive(machine, tmp_path, evil_wheel(tmp_path, {"evil.pth": line}))
    assert machine.run(orders, blob)["changed"]
    started = log.read_text().split()
    assert started  # by the application's user
    assert "0" not in started


@pytest.mark.parametrize(
    "name",
    ["evil-1.0.data/scripts/python", "evil-1.0.data/data/pyvenv.cfg", "../../evil"],
)
def test_a_wheel_that_writes_elsewhere_is_refused(
    machine: Machine, tmp_path: Path, name: str
) -> None:
    """It is refused before anything is installed; no environment and no release are left."""
    orders, blob = backend_archive(machine, tmp_path, evil_wheel(tmp_path, {name: "evil"}))
    result = machine.run(orders, blob)
    assert result["error"].startswith("a wheel is refused: evil-1.0-py3-none-any.whl: ")
    assert machine.facts()["venvs"] == []
    assert machine.facts()["releases"] == []
    assert not list(machine.root.rglob("evil"))


@pytest.mark.parametrize("what", ["another one", "one more", "one less"])
def test_the_host_refuses_a_wheel_that_is_not_locked(
    machine: Machine, tmp_path: Path, what: str
) -> None:
    """The orders name every wheel with its SHA-256, and the archive must agree."""
    orders, blob = backend_archive(machine, tmp_path, evil_wheel(tmp_path, {"evil.py": ""}))
    name = "evil-1.0-py3-none-any.whl"
    match what:
        case "another one":
            orders["wheels"][name] = "0" * 64
        case "one more":
            del orders["wheels"][name]
        case "one less":
            orders["wheels"]["missing-1.0-py3-none-any.whl"] = "0" * 64
    said = machine.run(orders, blob)["error"]
    shown = "missing-1.0" if what == "one less" else "evil-1.0"
    wanted = (
        "is not the wheel that was locked"
        if what == "another one"
        else "is not among the wheels of the orders"
    )
    assert said.startswith(f"{shown}-py3-none-any.whl {wanted}")
    assert machine.facts()["venvs"] == machine.facts()["releases"] == []


def test_files_of_the_application_block_no_ship(machine: Machine, tmp_path: Path) -> None:
    """Pipes, links and broken records in places that root reads: a ship succeeds."""
    machine.ship(build(project(tmp_path / "p")))
    workers = machine.root / "run/shop/workers"
    workers.mkdir(parents=True)
    os.mkfifo(workers / "1")
    (workers / "2").symlink_to("/dev/zero")
    (workers / str(os.getppid())).write_text("{}")
    os.mkfifo(machine.data / "pipe")
    (machine.data / "link").symlink_to("/dev/zero")
    (machine.data / "gone").symlink_to("nowhere")
    waiting = f"FAILING = None\nWAITING = 1\n{MANAGE}"
    second = build(project(tmp_path / "p", manage_dot_py=waiting))
    assert machine.ship(second)["changed"]
    assert second.rests_on(machine.facts())


LEAVES_A_CHILD = """
import os, sys, time
if sys.argv[1] == "migrate" and "--check" not in sys.argv and os.fork() == 0:
    time.sleep(3600)
"""
HANGS = """
import sys, time
if sys.argv[1] == "migrate":
    time.sleep(3600)
"""


def test_a_child_left_behind_blocks_no_ship(machine: Machine, tmp_path: Path) -> None:
    """The command has ended, although a child of it still has the output open."""
    built = build(
        project(
            tmp_path / "p", manage_dot_py=f"FAILING = None\nWAITING = 0\n{MANAGE}{LEAVES_A_CHILD}"
        )
    )
    assert machine.ship(built)["changed"]


@pytest.mark.parametrize("verb", ["check", "migrate"])
def test_a_command_that_hangs_is_stopped_and_named(
    machine: Machine, tmp_path: Path, verb: str
) -> None:
    """The message says which command, after how long, what serves now and what to do."""
    first = build(project(tmp_path / "p"))
    machine.ship(first)
    machine.more = {"limit_s": 3}
    hangs = HANGS.replace("migrate", verb)
    built = build(
        project(tmp_path / "p", manage_dot_py=f"FAILING = None\nWAITING = 0\n{hangs}{MANAGE}")
    )
    error = machine.ship(built)["error"]
    assert (
        f"manage.py {verb} did not end within 3 s, the limit for it, and was stopped; release"
        f" {first.id}" in error
    )
    assert error.endswith("Correct it and ship again")


SWAPS = """
if sys.argv[1] == "collectstatic":
    static = os.environ["ORIGIN_KIT_STATIC"]
    for name in ("a", "z"):
        os.mkdir(static + "/" + name)
        for number in range(300):
            open(f"{static}/{name}/{number}", "w").close()
    if os.fork() == 0:
        import time
        end = time.monotonic() + 60
        while time.monotonic() < end and os.path.isdir(static):
            try:
                os.rename(static + "/z", static + "/was-z")
                os.symlink("/etc", static + "/z")
                os.unlink(static + "/z")
                os.rename(static + "/was-z", static + "/z")
            except OSError:
                pass
        os._exit(0)
"""


def test_a_swapped_folder_does_no_harm(machine: Machine, tmp_path: Path) -> None:
    """Whoever wins the race, nothing in the release is a link or the application's."""
    first = build(project(tmp_path / "p"))
    machine.ship(first)
    second = build(
        project(tmp_path / "p", manage_dot_py=f"FAILING = None\nWAITING = 0\n{MANAGE}{SWAPS}")
    )
    result = machine.ship(second)
    assert "changed" in result or "manage.py collectstatic fails" in result["error"]
    found = [
        path
        for release in (machine.home / "releases").iterdir()
        for path in (release / "static").rglob("*")
    ]
    assert not [path for path in found if path.is_symlink() or path.stat().st_uid != os.geteuid()]
    assert not list((machine.home / "releases").rglob("*.partial"))


# ------------------------------------------------------------------------------------- interruption


@pytest.fixture(scope="module")
def two_releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Release, Release]:
    """Two releases that differ in code; the second one's migrations wait, so that every step is
    taken."""
    folder = tmp_path_factory.mktemp("p")
    waiting = f"FAILING = None\nWAITING = 1\n{MANAGE}"
    first, second = project(folder / "1"), project(folder / "2", manage_dot_py=waiting)
    return build(first), build(second)


@pytest.fixture(scope="module")
def killed_machine() -> Iterator[Machine]:
    for machine in _machine():
        (machine.root / "unit").touch()
        yield machine


@pytest.mark.parametrize("name", [step for step in STEPS if step not in ("undo", "replace")])
def test_the_next_run_settles_a_kill_at_any_step(
    killed_machine: Machine, two_releases: tuple[Release, Release], name: str
) -> None:
    """One complete release is current, and the same ship again completes the new one."""
    machine, (first, second) = killed_machine, two_releases
    machine.ship(first)
    forget(machine, second, environment=name == "venv")
    assert "the work on the host was killed" in machine.killed(name, second)
    assert machine.current in (first.id, second.id)
    assert (machine.home / "current/app/manage.py").exists()
    restarts = machine.restarts
    if not second.rests_on(machine.facts()):
        assert machine.ship(second)["changed"]
    assert machine.current == second.id
    assert second.rests_on(machine.facts())
    if name in ("confirm", "commit"):
        assert machine.restarts == restarts, (
            "what runs already is committed, not taken back to be put there again"
        )
    assert not list(machine.home.rglob("*.partial"))
    workers = [
        json.loads(path.read_text()) for path in (machine.root / "run/shop/workers").iterdir()
    ]
    assert [worker["release"] for worker in workers] == [
        str((machine.home / "releases" / second.id).resolve())
    ]


def forget(machine: Machine, built: Release, environment: bool) -> None:
    """Remove a release from the host completely."""
    shutil.rmtree(machine.home / "releases" / built.id, ignore_errors=True)
    if environment:
        shutil.rmtree(machine.home / "venvs")


def test_a_kill_while_rolling_back_is_settled_too(
    machine: Machine, two_releases: tuple[Release, Release], tmp_path: Path
) -> None:
    """A second kill, during the rollback of the first, does not change the outcome."""
    first, second = two_releases
    machine.ship(first)
    (machine.root / "unit").touch()
    never = build(project(tmp_path / "p", **{"never-ready": ""}))
    for name in ("confirm", "back-release"):
        assert "was killed" in machine.killed(name, never)
    assert machine.ship(second)["changed"]
    assert second.rests_on(machine.facts())


def test_an_older_kit_s_journal_is_understood(
    machine: Machine, two_releases: tuple[Release, Release]
) -> None:
    """Older kits wrote the journal of an interrupted ship next to the releases."""
    first, second = two_releases
    machine.ship(first)
    machine.ship(second)
    (machine.root / "unit").touch()
    old = machine.home / "journal.json"
    old.write_text(json.dumps({"from": first.id, "to": second.id}))
    assert not machine.facts()["settled"]
    assert machine.ship(second)["changed"]
    assert (machine.current, old.exists()) == (second.id, False)
    assert second.rests_on(machine.facts())


def test_the_boot_after_a_power_cut_restores_it(
    machine: Machine, two_releases: tuple[Release, Release]
) -> None:
    """Its boot guard is the one of configuration, on the disk before the link moves."""
    first, second = two_releases
    machine.ship(first)
    (machine.root / "unit").touch()
    machine.killed("restart", second)
    assert machine.current == second.id
    guard = machine.root / "etc/origin-kit/recover.pyz"
    assert guard.read_bytes() == program.current().data
    boot = f"ExecStart=/usr/bin/python3 -I {guard} boot shop\n"
    assert boot in (machine.root / "etc/systemd/system/origin-kit-recover.service").read_text()
    in_a_process(
        machine,
        guard,
        "from on_host.__main__ import start; sys.argv[1:] = ['boot', 'shop']; start()",
    )
    assert machine.current == first.id
    assert not (machine.root / "etc/origin-kit/journal.json").exists()
    assert "after a power cut" in (machine.root / "var/log/origin-kit/audit.jsonl").read_text()
    assert (
        machine.root / "etc/systemd/system/sysinit.target.wants/origin-kit-recover.service"
    ).is_symlink()


def test_two_ships_exclude_each_other(machine: Machine, tmp_path: Path) -> None:
    """The second one names who holds the lock and since when, and touches nothing."""
    import fcntl

    (machine.root / "run/origin-kit").mkdir(parents=True)
    with (machine.root / "run/origin-kit/lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.write("eve@laptop since noon")
        handle.flush()
        blob = archive_of(("site/index.html", b"x"))
        result = machine.run(site_orders(blob), blob)
    assert result["error"].startswith(
        "another ship or deploy is running here: eve@laptop since noon. It ends by itself"
    )
    assert not machine.home.exists()
    assert stat.S_IMODE((machine.root / "run/origin-kit").stat().st_mode) == 0o700
    assert (
        stat.S_IMODE((machine.root / "run/origin-kit/lock").stat().st_mode) & 0o077 == 0o044
    )  # as it was found


# ---------------------------------------------------------------------------------- changed by hand


def edit(path: Path, text: str = "x = 'edited'\n") -> None:
    """Change a file as an editor does, but keep its size and times where possible."""
    before = path.stat()
    path.write_text(text.ljust(before.st_size, "#")[: before.st_size])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def rot(folder: Path, inside: str) -> None:
    """Change one bit, as a failing disk does: no time changes."""
    edit(folder / inside)
    entries = json.loads((folder / "manifest.json").read_text())
    found = (folder / inside).stat()
    entries[inside]["stat"][-2:] = [found.st_mtime_ns, found.st_ctime_ns]
    (folder / "manifest.json").write_text(json.dumps(entries))


def lib(machine: Machine) -> Path:
    return next((machine.home / "current/venv/lib").glob("python3*/site-packages"))


def to_app(inside: str, change: Callable[[Path], None]) -> Callable[[Machine], None]:
    return lambda machine: change(machine.home / "current" / inside)


def add_settings(path: Path) -> None:
    path.write_text("DEBUG = True\n")


def link_away(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def break_record(path: Path) -> None:
    path.write_text("{")


HAND = {
    "edited": to_app("app/shop/settings.py", edit),
    "gone": to_app("app/shop/wsgi.py", Path.unlink),
    "mode": to_app("app/manage.py", lambda path: path.chmod(0o600)),
    "owner": to_app("static/style.css", lambda path: os.chown(path, 1, 1)),
    "new": to_app("app/shop/local_settings.py", add_settings),
    "link": to_app("app/manage.py", link_away),
    "folder": to_app("static", lambda path: path.chmod(0o700)),
    "rotten": lambda machine: rot(machine.home / "current", "app/shop/settings.py"),
    "package edited": lambda machine: edit(lib(machine) / "gunicorn.py"),
    "package gone": lambda machine: (lib(machine) / "gunicorn.py").unlink(),
    "package rotten": lambda machine: rot(
        (machine.home / "current/venv").resolve(),
        str(
            (lib(machine) / "gunicorn.py")
            .resolve()
            .relative_to((machine.home / "current/venv").resolve())
        ),
    ),
    "python gone": lambda machine: (machine.home / "current/venv/bin/python").unlink(),
    "unfinished": lambda machine: (machine.home / "current/venv/.complete").unlink(),
    "record broken": to_app("manifest.json", break_record),
}


@pytest.fixture(scope="module")
def hand_machine() -> Iterator[Machine]:
    yield from _machine()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
@pytest.mark.parametrize("case", HAND)
def test_a_release_changed_on_the_host_is_repaired(
    hand_machine: Machine, two_releases: tuple[Release, Release], case: str
) -> None:
    """The same ship again restores what was shipped, and restarts the service."""
    machine, (built, _) = hand_machine, two_releases
    machine.ship(built)
    (machine.root / "unit").touch()
    assert built.rests_on(machine.facts())
    restarts = machine.restarts
    HAND[case](machine)
    assert not built.rests_on(machine.facts())
    assert machine.ship(built)["changed"]
    assert machine.restarts == restarts + 1
    assert built.rests_on(machine.facts())
    assert (machine.home / "current/app/shop/settings.py").read_text() == "NAME = 'shop'\n"
    assert not (machine.home / "current/app/shop/local_settings.py").exists()
    assert (machine.home / "current/static/style.css").read_text() == "body {}"
    assert (lib(machine) / "gunicorn.py").read_text() == "def run(): ...\n"
    assert not list(machine.home.rglob("*.partial"))
    assert machine.run({"verb": "facts", "app": "shop"})["venvs"] == [
        built.wheels.lock if built.wheels else ""
    ]
    assert len(list((machine.home / "venvs").iterdir())) == 1


def test_a_host_lists_changed_files_of_its_release(
    machine: Machine, two_releases: tuple[Release, Release]
) -> None:
    """`status` and the doctor print files of the release and of its environment."""
    machine.ship(two_releases[0])

    def lists(*expected: str) -> None:
        program = f"""
from on_host.release.state import changed_in_release
changed = changed_in_release()
assert changed == {[*expected]!r}, changed
"""
        in_a_process(machine, PACKAGE, program)

    lists()
    edit(machine.home / "current/app/shop/settings.py")
    lists("app/shop/settings.py")
    package = lib(machine) / "gunicorn.py"
    package.unlink()
    inside = package.relative_to(machine.home / "current/venv")
    lists("app/shop/settings.py", f"venv/{inside}")
    (machine.home / "current/venv/.complete").unlink()
    lists("venv")


def test_an_unmodified_release_is_complete(machine: Machine, tmp_path: Path) -> None:
    """Also with other times, as in a copy of the disk, and with caches that Python wrote.

    A release of an older kit has no manifest, and counts as well."""
    built = build(project(tmp_path / "p"))
    machine.ship(built)
    for path in (machine.home / "current/app").rglob("*.py"):
        path.touch()
    cache = machine.home / "current/app/shop/__pycache__"
    (cache / "more.cpython-311.opt-1.pyc").write_bytes(b"")
    assert built.rests_on(machine.facts())
    for folder in (machine.home / "current", machine.home / "current/venv"):
        (folder / "manifest.json").unlink()
    edit(machine.home / "current/app/shop/settings.py")
    assert built.rests_on(machine.facts())


def test_a_changed_environment_is_replaced(machine: Machine, tmp_path: Path) -> None:
    """For all its releases: the next one does not reuse it, and a rollback works."""
    old = build(project(tmp_path / "p"))
    machine.ship(old)
    (machine.root / "unit").touch()
    (lib(machine) / "gunicorn.py").unlink()
    new = build(project(tmp_path / "p", shop__views_dot_py="x = 1\n"))
    assert machine.facts()["venvs"] == []
    assert machine.ship(new)["changed"]
    assert (lib(machine) / "gunicorn.py").exists()
    assert machine.facts()["releases"] == sorted([old.id, new.id])
    assert machine.run(release.rollback_orders("shop", "backend", "tests"))["release"] == old.id
    assert (lib(machine) / "gunicorn.py").exists()


MENDING = (
    "unpack",
    "compile",
    "check",
    "replace",
    "journal",
    "switch",
    "restart",
    "confirm",
    "commit",
    "prune",
)


@pytest.mark.parametrize("name", sampled(MENDING, ["check", "replace", "journal", "confirm"]))
def test_the_next_ship_finishes_an_interrupted_repair(
    hand_machine: Machine, two_releases: tuple[Release, Release], name: str
) -> None:
    """The changed release continues to serve until it is replaced."""
    machine, (built, _) = hand_machine, two_releases
    machine.ship(built)
    (machine.root / "unit").touch()
    edit(machine.home / "current/app/shop/settings.py")
    assert "was killed" in machine.killed(name, built)
    assert (machine.home / "current/static/style.css").exists()
    if name != "prune":
        assert not built.rests_on(machine.facts())
        restarts = machine.restarts
        assert machine.ship(built)["changed"]
        assert machine.restarts > restarts
    assert built.rests_on(machine.facts())
    assert (machine.home / "current/app/shop/settings.py").read_text() == "NAME = 'shop'\n"


def test_a_page_is_there_while_it_is_repaired(machine: Machine, tmp_path: Path) -> None:
    """The names are exchanged in one step, so no request finds nothing."""
    built = page(tmp_path / "page")
    machine.ship(built)
    place, missed, stop = machine.home / "current/site/index.html", [], threading.Event()
    edit(place, "<h1>evil</h1>")

    def look() -> None:
        while not stop.is_set():
            if not place.exists():
                missed.append(True)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        assert machine.ship(built)["changed"]
    finally:
        stop.set()
        watcher.join()
    assert place.read_text() == "<h1>shop</h1>"
    assert missed == []


def test_a_failing_release_does_not_replace_another(machine: Machine, tmp_path: Path) -> None:
    """A fresh copy that fails its checks does not replace the changed release."""
    built = build(project(tmp_path / "p"))
    machine.ship(built)
    edit(machine.home / "current/app/shop/settings.py")
    before = (machine.home / "current/app/shop/settings.py").read_text()
    assert (
        "fails"
        in machine.ship(built, files={"django/origin_kit_settings.py": "import nothing\n"})["error"]
    )
    assert (machine.home / "current/app/shop/settings.py").read_text() == before


# -------------------------------------------------------------------------------- rollback, pruning


def test_rollback_goes_to_the_previous_release(machine: Machine, tmp_path: Path) -> None:
    """It needs no argument and keeps the data; a second one goes forward again."""
    first = build(project(tmp_path / "p"))
    second = build(project(tmp_path / "p", shop__views_dot_py="x = 1\n"))
    (machine.root / "unit").touch()
    orders = release.rollback_orders("shop", "backend", "tests")
    assert "no release before this one" in machine.run(orders)["error"]
    machine.ship(first)
    machine.ship(second)
    assert machine.run(orders) == {"changed": True, "release": first.id, "previous": second.id}
    assert (machine.current, machine.restarts) == (first.id, 3)
    assert machine.seen == [first.id, second.id]
    assert machine.run(orders)["release"] == second.id
    named = release.rollback_orders("shop", "backend", "tests", "feedfeedfeed")
    here = ", ".join(sorted([first.id, second.id]))
    said = f"release feedfeedfeed is not here; releases here: {here}"
    assert machine.run(named)["error"] == said


def look(machine: Machine, verb: str = "releases") -> dict[str, Any]:
    """What the host reports of its releases to an operator."""
    return machine.run({"verb": verb, "app": "shop", "units": []})


def in_a_process(machine: Machine, package: Path, text: str) -> None:
    """Run lines on this machine's files, with the kit's package from `package`, and no operator."""
    orders = {"root": str(machine.root), "app": "shop", "who": "tests"}
    begin = f"import sys; sys.path.insert(0, {str(package)!r}); from on_host.orders import ORDERS\n"
    environment = {"PATH": f"{machine.root}/fake:/usr/bin:/bin", "ROOT": str(machine.root)}
    words = [PYTHON, "-I", "-c", f"{begin}ORDERS.update({orders!r})\n{text}"]
    subprocess.run(words, env=environment, check=True)


def audit(machine: Machine) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (machine.root / "var/log/origin-kit/audit.jsonl").read_text().splitlines()
    ]


def test_a_rollback_from_another_release_is_refused(machine: Machine, tmp_path: Path) -> None:
    """Somebody else may have shipped since the operator looked."""
    pages = [page(tmp_path / str(number), f"<h1>{number}</h1>") for number in range(3)]
    for built in pages:
        machine.ship(built)
    orders = release.rollback_orders("shop", "frontend", "tests", pages[0].id, leaving=pages[1].id)
    said = f"release {pages[2].id} serves here by now, no longer {pages[1].id}; run this again"
    assert machine.run(orders)["error"] == said
    assert machine.current == pages[2].id


def test_a_host_reports_what_the_last_ship_replaced(machine: Machine, tmp_path: Path) -> None:
    """A rollback is a change too; a ship that changes nothing, or only repairs, is none."""
    pages = (page(tmp_path / str(number), f"<h1>{number}</h1>") for number in range(2))
    first, second = (
        dataclasses.replace(one, commit=word * 40) for one, word in zip(pages, "cd", strict=True)
    )
    second = dataclasses.replace(second, changed=True)
    for built in (first, second, second):
        machine.ship(built)
    last = look(machine)["last"]
    assert (last["release"], last["previous"], last["revision"]) == (
        second.id,
        first.id,
        "dddddddddddd+changes",
    )
    edit(machine.home / "current/site/index.html")
    assert machine.ship(second)["changed"]
    assert look(machine)["last"]["deploy"] == last["deploy"]
    machine.run(release.rollback_orders("shop", "frontend", "tests"))
    last = look(machine)["last"]
    assert (last["result"], last["release"], last["previous"]) == (
        "rolled back",
        first.id,
        second.id,
    )
    kept = look(machine)["kept"]
    assert {name: one["revision"] for name, one in kept.items()} == {
        first.id: "c" * 12,
        second.id: "dddddddddddd+changes",
    }


def test_releases_of_an_older_kit_are_understood(machine: Machine, tmp_path: Path) -> None:
    """Lines without the replaced release, releases without their tree's state or commit."""
    first, second = (page(tmp_path / str(number), f"<h1>{number}</h1>") for number in range(2))
    machine.ship(first)
    machine.ship(second)
    old = ("revision", "previous", "copy")
    lines = [
        {key: value for key, value in line.items() if key not in old} for line in audit(machine)
    ]
    (machine.root / "var/log/origin-kit/audit.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )
    for name, commit in ((first.id, None), (second.id, "e" * 40)):
        place = machine.home / "releases" / name / "release.json"
        noted = {
            key: value for key, value in json.loads(place.read_text()).items() if key != "revision"
        }
        place.write_text(json.dumps({**noted, "commit": commit}))
    seen = look(machine)
    assert (seen["last"]["release"], seen["last"]["previous"]) == (second.id, first.id)
    assert seen["kept"][first.id]["revision"] == "commit unknown"
    assert seen["last"]["revision"] == "eeeeeeeeeeee, changes unknown"
    (machine.root / "var/log/origin-kit/audit.jsonl").unlink()
    assert look(machine)["last"] is None


def test_an_interrupted_ship_stays_one_change(machine: Machine, tmp_path: Path) -> None:
    """The next run finishes it under its own name, so that all its hosts roll back together."""
    first, second = (page(tmp_path / str(number), f"<h1>{number}</h1>") for number in range(2))
    machine.ship(first)
    assert "was killed" in machine.killed("commit", second, deploy="0123456789ab")
    machine.ship(second)
    last = look(machine)["last"]
    assert (last["deploy"], last["release"], last["previous"]) == (
        "0123456789ab",
        second.id,
        first.id,
    )


def test_a_host_names_migrations_and_the_copy(machine: Machine, tmp_path: Path) -> None:
    """The project's and its packages' migrations; nothing is run to find them."""
    first = build(
        project(
            tmp_path / "p",
            shop__migrations__0001_initial_dot_py="",
            shop__migrations____init___dot_py="",
        )
    )
    machine.ship(first)
    second = build(
        project(
            tmp_path / "p",
            shop__migrations__0002_more_dot_py="raise SystemExit\n",
            manage_dot_py=WAITING,
        )
    )
    machine.ship(second)
    names = lib(machine) / "allauth/account/migrations"
    names.mkdir(parents=True)
    (names / "0001_initial.py").touch()
    kept = look(machine)["kept"]
    assert kept[first.id]["migrations"] == ["account.0001_initial", "shop.0001_initial"]
    assert kept[second.id]["migrations"] == [
        "account.0001_initial",
        "shop.0001_initial",
        "shop.0002_more",
    ]
    copy = audit(machine)[-1]["copy"]
    assert copy == str(machine.data / f"backups/00001-before-{second.id}")


def test_a_ship_names_migrations_it_does_not_hold(machine: Machine, tmp_path: Path) -> None:
    """Only a note, since older code may be shipped on purpose."""
    machine.ship(build(project(tmp_path / "new", shop__migrations__0002_more_dot_py="")))
    assert machine.ship(build(project(tmp_path / "old")))["changed"]
    notes = [event["text"] for event in machine.said if event.get("step") == "note"]
    assert notes == ["does not hold these migrations, which stay applied: shop.0002_more"]


def test_five_releases_are_kept(machine: Machine, tmp_path: Path) -> None:
    """Older ones are removed, but never the current and the previous one."""
    built: list[Release] = []
    for number in range(7):
        built.append(page(tmp_path / "page", f"<h1>{number}</h1>"))
        assert machine.ship(built[-1])["release"] == built[-1].id
    assert machine.facts()["releases"] == sorted({one.id for one in built[-5:]})
    assert (machine.home / "current/site/index.html").read_text() == "<h1>6</h1>"


def test_an_unused_environment_is_removed(machine: Machine, tmp_path: Path) -> None:
    """An environment stays as long as a kept release runs in it."""
    old = build(project(tmp_path / "p"))
    machine.ship(old)
    new = build(project(tmp_path / "p", requirements_dot_txt=tiny_wheels("99.0")))
    machine.ship(new)
    assert old.wheels and new.wheels
    assert machine.facts()["venvs"] == sorted([old.wheels.lock, new.wheels.lock])
    for number in range(5):
        machine.ship(
            build(
                project(
                    tmp_path / "p", requirements_dot_txt=tiny_wheels("99.0"), n_dot_py=str(number)
                )
            )
        )
    assert machine.facts()["venvs"] == [new.wheels.lock]


# -------------------------------------------------------------------------------- the script itself


def test_facts_name_the_target_of_wheels(machine: Machine) -> None:
    """Wheels are chosen by what a host reports of itself."""
    target = Target.of(machine.facts())
    assert target.machine == os.uname().machine
    assert target.platforms[0].startswith("manylinux_2_")
    assert re.fullmatch(re.escape(target.python) + r"\.\d+", target.version)


@pytest.mark.parametrize("path", sorted(program.sources()))
def test_host_code_runs_on_plain_python_3_9(path: str) -> None:
    """It parses as Python 3.9, and imports only the standard library and its own package."""
    tree = ast.parse(program.sources()[path], feature_version=(3, 9))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names | {"on_host"}


def test_a_tried_release_need_not_be_sent_again(
    machine: Machine, two_releases: tuple[Release, Release]
) -> None:
    """It is complete although it never served."""
    first, second = two_releases
    machine.ship(first)
    machine.killed("migrate", second)
    assert second.id in machine.facts()["releases"]


def test_files_lost_in_a_power_cut_are_noticed(
    machine: Machine, two_releases: tuple[Release, Release]
) -> None:
    """A release gets its name before all its files must be on the disk.

    So a release that never served is compared as well."""
    first, second = two_releases
    machine.ship(first)
    machine.killed("check", second)
    file = next((machine.home / "releases" / second.id / "app").rglob("*.py"))
    text = file.read_text()
    assert text
    file.write_text("")
    assert machine.ship(second)["changed"]
    assert machine.current == second.id
    assert file.read_text() == text
