"""`fab adopt`: what is read of a project, what is said of it, what is written. Nothing of a project
is ever run."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.core.settings import Settings, SettingsError
from infra.core.stackfile import read_config
from infra.local import image
from rollout.adopt import DEFAULTS, Adopted, AdoptError, adopt
from rollout.adopt.called import calls_of
from rollout.adopt.evaluate import Reader
from rollout.adopt.findings import TABLE, changes
from rollout.adopt.values import Computed, Setting, known, shown
from rollout.render.django import settings_text
from tests.support.folders import write_files
from tests.support.kit import FAB, ROOT
from tests.test_render import load
from tests.test_render_settings import PROJECTS, Project

SCRIPT = (
    "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', '{}')\napplication ="
    " get_wsgi_application()\n"
)
COMMON = "django.middleware.common.CommonMiddleware"
CORS = "corsheaders.middleware.CorsMiddleware"
SQLITE = "django.db.backends.sqlite3"
PLAIN = f"""
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "written here"
DEBUG = False
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
INSTALLED_APPS = ["django.contrib.auth"]
MIDDLEWARE = ["{COMMON}"]
DATABASES = {{"default": {{"ENGINE": "{SQLITE}", "NAME": BASE_DIR / "db.sqlite3"}}}}
"""


# What the project's own module says otherwise than the kit's in front of it (kinds of lists and
# order of apps aside).
COMPARE = """
import origin_kit_settings as after
import shop.settings as before
def plain(name, value):
    if name == "INSTALLED_APPS":
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value
for name, value in vars(before).items():
    if name.isupper() and plain(name, value) != plain(name, getattr(after, name, ())):
        print(name)
"""


def write(folder: Path, settings: str = PLAIN, files: Mapping[str, str] | None = None) -> Path:
    """A project in `folder`/app; `files` come on top by their path below it, an empty one is left
    out."""
    usual = {
        "manage.py": SCRIPT.format("shop.settings"),
        "shop/wsgi.py": SCRIPT.format("shop.settings"),
        "shop/settings.py": settings,
        "requirements.txt": "django>=5.2\n",
        "dist/index.html": "<!doctype html>",
    }
    files = usual | dict(files or {})
    write_files(folder / "app", {name: text for name, text in files.items() if text})
    return folder / "app"


def fingerprint(folder: Path) -> list[tuple[str, int, int, str]]:
    """Every file's path, mode, time of change and content."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [
        (
            str(path),
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in files
    ]


def adopted(app: Path, kit: Path, **options: Any) -> Adopted:
    """Adopt it into a kit of its own; asserts that the project is untouched."""
    before = fingerprint(app)
    (kit / "stacks").mkdir(parents=True)
    shutil.copy(ROOT / "Pulumi.yaml", kit)
    result = adopt(app, stacks=kit / "stacks", **options)
    assert fingerprint(app) == before
    return result


def config(result: Adopted) -> Settings:
    """What was written, as the kit reads it; every mistake in it is raised."""
    stack = result.config.name.split(".")[1]
    return Settings.read(read_config(result.config.parent.parent, stack), stack)


def decisions(result: Adopted) -> str:
    return "\n".join(map(str, result.findings))


def with_settings(
    tmp_path: Path, more: str, files: Mapping[str, str] | None = None
) -> tuple[Settings, str, str]:
    """The config, the decisions and the whole report for a plain project with `more` in its
    settings."""
    result = adopted(write(tmp_path, PLAIN + more, files), tmp_path / "kit")
    return config(result), decisions(result), str(result)


# -------------------------------------------------------------------------------------- the example


def test_the_example_is_adopted_as_its_own_stack_has_it(tmp_path: Path) -> None:
    """The written config names what stacks/Pulumi.local.yaml names, and nothing is left to
    decide."""
    result, shipped = (
        adopted(ROOT / "examples" / "backend", tmp_path),
        Settings.read(read_config(ROOT, "local"), "local"),
    )
    found = config(result)
    for key in (
        "application",
        "backend_path",
        "wsgi",
        "settings",
        "frontend_path",
        "static_url",
        "media_url",
    ):
        assert getattr(found, key) == getattr(shipped, key)
    assert result.findings == ()


def test_the_table_of_changes_is_what_the_settings_module_sets() -> None:
    """Every setting that the rendered module assigns has a row, and no other has."""
    contract = load("local-ip")
    tree = ast.parse(settings_text(contract, contract.backend.hosts[0]))
    stored = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert {name for name in stored if name.isupper()} == set(TABLE)


@pytest.mark.parametrize("name", PROJECTS)
def test_the_report_names_what_really_changes(tmp_path: Path, name: str) -> None:
    """Each setting that a real Django has otherwise behind the kit's module has a row, and no other
    has."""
    host = Project(tmp_path, PROJECTS[name])
    for file, text in (
        ("manage.py", SCRIPT),
        ("shop/wsgi.py", SCRIPT),
        ("requirements.txt", "django\n"),
    ):
        (host.app / file).write_text(text.format("shop.settings"))
    result = adopted(host.app, tmp_path / "kit", frontend=ROOT / "examples" / "frontend")
    found = config(result)
    host.write_module(
        "local-ip",
        allow_headers=found.allow_headers,
        allow_methods=found.allow_methods,
        expose_headers=found.expose_headers,
        max_age_s=found.max_age_s,
    )
    done = host.run(COMPARE)
    assert done.returncode == 0, done.stderr
    assert {row[0] for row in changes(result.project, DEFAULTS | result.values)} == {
        *done.stdout.split()
    }


def test_nothing_of_the_project_runs(tmp_path: Path) -> None:
    """Settings that would write a file, or end the process, are read all the same."""
    effects = "import sys\nopen('ran', 'w')\nsys.exit('ran')\n"
    app = write(tmp_path, effects + PLAIN, {"shop/__init__.py": "raise SystemExit\n"})
    assert config(adopted(app, tmp_path / "kit")).settings == "shop.settings"


# ------------------------------------------------------------------------------------- its own CORS


def test_own_origins_go_over_in_a_browser_s_spelling(tmp_path: Path) -> None:
    """What parse_origin makes of them is in the config; what it refuses is reported with its words
    and left out."""
    more = """
CORS_ALLOWED_ORIGINS = ["https://shop.example.com", "https://App.example.com:443/"]
CORS_ALLOWED_ORIGINS += ("localhost:3000", "https://x.example.com/login",)
"""
    found, said, _ = with_settings(tmp_path, more)
    assert [str(origin) for origin in found.extra_origins] == [
        "https://shop.example.com",
        "https://app.example.com",
    ]
    assert (
        "'https://App.example.com:443/' never matches what a browser sends (shop/settings.py:13)"
        in said
    )
    assert (
        "'localhost:3000' has no scheme; write http://localhost:3000 or https://localhost:3000"
        in said
    )
    assert "has a path ('/login')" in said


def test_an_apps_origin_goes_over_into_its_own_key(tmp_path: Path) -> None:
    """It is no website's, and the project has allowed it: the app goes on working."""
    more = 'CORS_ALLOWED_ORIGINS = ["capacitor://localhost", "https://shop.example.com"]'
    found, said, _ = with_settings(tmp_path, more)
    assert found.app_origins == ("capacitor://localhost",)
    assert [str(origin) for origin in found.extra_origins] == ["https://shop.example.com"]
    assert "capacitor" not in said


# What the project says → what has to be decided.
CONFLICTS = {
    "CORS_ALLOWED_ORIGINS = 'https://a.example.com'": (
        "each of its characters is taken for an origin"
    ),
    "CORS_ORIGIN_WHITELIST = ['*']": "CORS_ORIGIN_WHITELIST: '*' is every origin",
    "CORS_ALLOWED_ORIGIN_REGEXES = r'^https://a\\.example\\.com$'": "is text, not a list",
    "CORS_ALLOWED_ORIGIN_REGEXES = ['']": "holds an empty pattern: every website is allowed",
    "CORS_ALLOWED_ORIGIN_REGEXES = [r'^http://203\\.0\\.113\\.7']": (
        "if it means http://203.0.113.7, write"
    ),
    "CORS_ALLOWED_ORIGIN_REGEXES = [r'^http://203\\.0\\.113\\.[5-9]']": (
        "allows whatever begins or ends like it"
    ),
    "CORS_ALLOWED_ORIGIN_REGEXES = [r'^https://.*\\.com$']": (
        "has a bare dot, which is any character"
    ),
    "CORS_ALLOW_ALL_ORIGINS = True": "any website reads the answers (shop/settings.py:11)",
    "CORS_ORIGIN_ALLOW_ALL = CORS_ALLOW_CREDENTIALS = True": (
        "any website reads the answers, with the visitor's"
    ),
    "CORS_ALLOW_CREDENTIALS = True": "browsers send no cookies between two bare addresses",
    "CORS_URLS_REGEX = r'^/api/.*$'": "pages on allowed origins may read every path",
    "CORS_ALLOW_METHODS = 'GET'": "CORS_ALLOW_METHODS: 'GET' is not a list",
    "CORS_ALLOW_HEADERS = ['*']": "'*' is taken literally",
    "CORS_PREFLIGHT_MAX_AGE = 10**9": "CORS_PREFLIGHT_MAX_AGE is computed at run time",
    "CSRF_TRUSTED_ORIGINS = ['https://admin.example.com']": (
        "CSRF_TRUSTED_ORIGINS loses https://admin.example.com"
    ),
    "SESSION_COOKIE_SAMESITE = 'None'": "over http browsers drop the cookie",
    "CSRF_COOKIE_DOMAIN = '.example.com'": "under another name browsers drop the cookie",
    "STATIC_URL = 'https://cdn.example.com/s/'": (
        "STATIC_URL is 'https://cdn.example.com/s/', no plain path"
    ),
    "MEDIA_ROOT = '/srv/media'": "MEDIA_ROOT '/srv/media' is outside of the project",
    "MIDDLEWARE += ['corsheaders.middleware.CorsPostCsrfMiddleware']": "is gone since 4.0",
    "DATABASES['x'] = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'var/db.sqlite3'}": (
        "would become one"
    ),
    "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'HOST': 'db'}}": (
        "postgresql on 'db'"
    ),
    "from secret_settings import *": "`from secret_settings import *` is not in the project",
    "django_heroku.settings(locals())": "may set anything",
    "assert os.environ.get('A')": "don't load without these environment variables: A",
}


@pytest.mark.parametrize("more", CONFLICTS)
def test_conflict_is_reported(tmp_path: Path, more: str) -> None:
    """Each with its place and what to do; the config is valid all the same."""
    _, said, _ = with_settings(tmp_path, more)
    assert CONFLICTS[more] in said
    assert "(shop/settings.py:11)" in said
    assert all("→ " in one for one in said.split("\n     ")[1::2])


@pytest.mark.parametrize(
    ("regex", "pattern"),
    [
        (r"^https://[a-z0-9-]+\.preview\.example\.com$", "https://{name}.preview.example.com"),
        (r"^https://\w+\.example\.com$", "https://{name}.example.com"),
        (r"^https?://(?:[\w-]+)\.shop\.example\.com\Z", "https://{name}.shop.example.com"),
        (r"^http://localhost:\d+$", "http://localhost:*"),
    ],
)
def test_a_regex_is_offered_as_a_pattern(tmp_path: Path, regex: str, pattern: str) -> None:
    """As a comment: letting many in is a decision."""
    result = adopted(
        write(tmp_path, PLAIN + f"CORS_ALLOWED_ORIGIN_REGEXES = [r'{regex}']\n"), tmp_path / "kit"
    )
    assert config(result).allowed_patterns == ()
    assert pattern in decisions(result)
    line = next(
        line for line in result.config.read_text().splitlines() if "allowed_patterns" in line
    )
    result.config.write_text(result.config.read_text().replace(line, line.replace("# ", "")))
    assert [one.text for one in config(result).allowed_patterns] == [pattern]


def test_credentials_are_offered_with_a_domain(tmp_path: Path) -> None:
    """Uncommented, the two lines are a valid config."""
    result = adopted(write(tmp_path, PLAIN + "CORS_ALLOW_CREDENTIALS = True\n"), tmp_path / "kit")
    text = result.config.read_text()
    for key in ("domain", "allow_credentials"):
        text = text.replace(f"# origin-kit:{key}", f"origin-kit:{key}")
    result.config.write_text(text)
    assert (config(result).domain, config(result).allow_credentials) == ("shop.test", True)


# --------------------------------------------------------------------------------------- middleware


def test_own_corsheaders_is_placed_first(tmp_path: Path) -> None:
    """Where it stands today is reported, and that it changes; there where it is first, nothing
    is."""
    last = f"INSTALLED_APPS += ['corsheaders']\nMIDDLEWARE += ['{CORS}']\n"
    _, _, report = with_settings(tmp_path / "a", last)
    assert "middleware     2, CorsMiddleware at place 2" in report
    assert "INSTALLED_APPS " not in report
    _, _, report = with_settings(
        tmp_path / "b", last.replace(f"+= ['{CORS}']", f".insert(0, '{CORS}')")
    )
    assert "MIDDLEWARE " not in report


@pytest.mark.parametrize(
    ("pin", "clashes"),
    [
        ("django-cors-headers==3.4.0", True),
        ("Django-Cors-Headers~=3.4.0 ; python_version > '3'", True),
        ("django-cors-headers>=3.0,<3.4", True),
        ("gunicorn==20.1.0", True),
        ("django-cors-headers==4.9.0", False),
        ("django-cors-headers>=3", False),
        ("django-cors-headers-extra==1.0", False),
    ],
)
def test_a_pin_that_the_kit_can_t_live_with_is_reported(
    tmp_path: Path, pin: str, clashes: bool
) -> None:
    """The kit asks for its own least versions next to the project's; a pin below them can't be
    resolved."""
    app = write(tmp_path)
    (app / "requirements.txt").write_text(f"django\n{pin}\n")
    assert ("the kit needs " in decisions(adopted(app, tmp_path / "kit"))) is clashes


def test_a_middleware_that_writes_the_headers_is_found(tmp_path: Path) -> None:
    """Its file and line, however it is spelt; tests of the project don't count."""
    own = (
        "class Own:\n    def __call__(self, request):\n        r['access-control-allow-origin'] ="
        " '*'\n"
    )
    more = "MIDDLEWARE.append('shop.middleware.Own')\n"
    _, said, report = with_settings(
        tmp_path, more, {"shop/middleware.py": own, "shop/tests/test_own.py": own}
    )
    assert (
        said.count(
            "the project's own code writes access-control-allow-origin (shop/middleware.py:3)"
        )
        == 1
    )
    assert said.count("own code") == 1
    assert "own: shop.middleware.Own" in report


def test_a_signal_that_decides_is_found(tmp_path: Path) -> None:
    """nginx can't ask it."""
    handler = "from corsheaders.signals import check_request_enabled\n"
    assert "(shop/handlers.py:1)" in with_settings(tmp_path, "", {"shop/handlers.py": handler})[1]


def test_no_common_middleware_is_no_obstacle(tmp_path: Path) -> None:
    """It is said, and nothing has to be decided."""
    _, said, report = with_settings(tmp_path, "MIDDLEWARE = []\n")
    assert "middleware     not" not in report
    assert said == ""


# ----------------------------------------------------------------------------------- which settings


@pytest.mark.parametrize(
    ("wsgi", "manage", "chosen", "why"),
    [
        (
            "shop.settings.production",
            "shop.settings.dev",
            "shop.settings.production",
            "named by wsgi.py",
        ),
        (
            "shop.settings.dev",
            "shop.settings.dev",
            "shop.settings.production",
            "looks like the one for production",
        ),
        (
            "shop.settings.base",
            "shop.settings.base",
            "shop.settings.production",
            "looks like the one for production",
        ),
        (
            "missing.settings",
            "shop.settings.dev",
            "shop.settings.production",
            "looks like the one for production",
        ),
        (
            "shop.settings",
            "shop.settings",
            "shop.settings.production",
            "looks like the one for production",
        ),
    ],
)
def test_one_of_a_settings_package_is_chosen(
    tmp_path: Path, wsgi: str, manage: str, chosen: str, why: str
) -> None:
    """What wsgi.py names, unless that is for development or says nothing; then what is called
    production."""
    files = {
        "manage.py": SCRIPT.format(manage),
        "shop/wsgi.py": SCRIPT.format(wsgi),
        "shop/settings/__init__.py": "\n",
        "shop/settings/base.py": PLAIN,
        "shop/settings/dev.py": "from .base import *\nDEBUG = True\n",
        "shop/settings/production.py": (
            "from shop.settings.base import *\nMIDDLEWARE = ['a.B'] + MIDDLEWARE\n"
        ),
    }
    app = write(tmp_path, "", files)
    result = adopted(app, tmp_path / "kit")
    assert config(result).settings == chosen
    assert f"{chosen}, {'it ' if 'looks' in why else ''}{why}; there are also shop.settings" in str(
        result
    )


def test_a_plain_module_next_to_others_is_chosen_by_its_name(tmp_path: Path) -> None:
    """settings_production.py next to settings.py, where wsgi.py names none."""
    more = {
        "shop/settings_production.py": "from .settings import *\n",
        "shop/wsgi.py": "application = None\n",
    }
    assert with_settings(tmp_path, "", more)[0].settings == "shop.settings_production"


def test_overwriting_the_variable_is_reported(tmp_path: Path) -> None:
    """wsgi.py may only suggest its settings module, or the kit's never comes first."""
    hard = "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'shop.settings'\napplication = 1\n"
    found, said, _ = with_settings(tmp_path, "", {"shop/wsgi.py": hard})
    assert found.settings == "shop.settings"
    assert "DJANGO_SETTINGS_MODULE is overwritten with 'shop.settings' (shop/wsgi.py:2)" in said
    assert "write os.environ.setdefault(…)" in said


# ---------------------------------------------------------------------------------- the environment

BOTH = {"NEEDED": True, "OTHER": False}
READERS = {
    "import os\nX = os.environ['NEEDED']\nY = os.environ.get('OTHER')\n": BOTH,
    "from os import environ as e, getenv\nX = e['NEEDED']\nY = getenv('OTHER', 'x')\n": BOTH,
    """
import environ
env = environ.Env(OTHER=(bool, False))
X = env.db('NEEDED')
Y = env('OTHER')
""": BOTH,
    """
from environs import Env
env = Env()
env.read_env()
X = env.list('NEEDED')
Y = env.int('OTHER', 1)
""": BOTH,
    """
from decouple import config
X = config('NEEDED', cast=bool)
Y = config('OTHER', default=1)
""": BOTH,
    "import os\ndef must(name):\n    return os.environ[name]\nX = must('NEEDED')\n": {
        "NEEDED": True
    },
    "import os\nif 'OTHER' in os.environ and os.environ['OTHER']:\n    X = os.environ['OTHER']\n": {
        "OTHER": False
    },
    "import os\nX = os.environ['OTHER'] if 'OTHER' in os.environ else None\n": {"OTHER": False},
    """
import os
def may(key):
    return next(filter(None, map(os.environ.get, [key])))
X = may('OTHER')
""": {"OTHER": False},
    "import os\nif 'OTHER' in os.environ:\n    X = os.environ['OTHER']\n": {"OTHER": False},
    "import os\ntry:\n    X = os.environ['OTHER']\nexcept KeyError:\n    X = 1\n": {"OTHER": False},
    "import os\ntry:\n    X = os.environ['NEEDED']\nexcept KeyError:\n    raise SystemExit\n": {
        "NEEDED": True
    },
    "import os\nX = os.getenv('NEEDED')\nif not X:\n    raise SystemExit\n": {"NEEDED": True},
    "import os\nX = os.getenv('OTHER')\nif X == 'y':\n    raise SystemExit\n": {"OTHER": False},
    "import os\nos.environ.setdefault('OTHER', 'x')\nX = os.environ['OTHER']\n": {"OTHER": False},
    "import os\nif DEBUG:\n    X = os.environ['NEVER']\n": {},
    "import dj_database_url\nDATABASES['default'] = dj_database_url.config(ssl=1)\n": {
        "DATABASE_URL": False
    },
}


@pytest.mark.parametrize("more", READERS)
def test_variables_are_reported_needed_or_not(tmp_path: Path, more: str) -> None:
    """What settings look up in the environment, in the ways that are common; a branch that never
    runs looks up none."""
    result = adopted(write(tmp_path, PLAIN + more), tmp_path / "kit")
    assert {read.name: read.required for read in result.project.reads} == READERS[more]
    assert ("don't load without these environment variables: NEEDED" in decisions(result)) is (
        "NEEDED" in READERS[more]
    )
    for name in READERS[more]:
        assert name in result.config.read_text()


# ------------------------------------------------------------------------------------------ reading

SOURCES: dict[str, Any] = {
    "X = ['a'] + ['b']": ["a", "b"],
    "X = ['a']\nX += ('b',)\nX.append('c')\nX.insert(0, 'd')\nX.remove('a')\nX.extend(['e'])": [
        "d",
        "b",
        "c",
        "e",
    ],
    "Y = ['a']\nX = [*Y, 'b']": ["a", "b"],
    "Y = ['a', None]\nX = [y for y in Y if y]": ["a"],
    "A, X = 1, 2": 2,
    "X: int = 3": 3,
    "X = 60 * 60": 3600,
    "X = {'a': 1}\nX['b'] = {'c': 2}\nX['b']['c'] = 3\nX.update({'d': 4})": {
        "a": 1,
        "b": {"c": 3},
        "d": 4,
    },
    "D = False\nif D:\n    X = 1\nelif not D:\n    X = 2\nelse:\n    X = 3": 2,
    "E = 'prod'\nX = 1\nif E == 'prod':\n    X = 2": 2,
    "P = 'a'\nX = f'{P}/b'": "a/b",
    "import os\nX = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'a')": "ROOT/a",
    "from pathlib import Path as P\nX = str(P(__file__).resolve().parents[0] / 'a')": "ROOT/a",
    "from other import *": 7,
    "from other import X as Y\nX = Y": 7,
    "try:\n    from other import *\nexcept ImportError:\n    X = 1": 7,
    "from contextlib import suppress\nwith suppress(ImportError):\n    from other import *": 7,
}
UNCERTAIN = {
    "X = f()": "computed at run time",
    "import os\nX = os.environ['A'] + os.getenv('B')": "computed at run time, from A and B",
    "import os\nX = [os.environ['A'], 'b']": "[computed at run time, from A, 'b']",
    "X = ['a']\nfor y in z:\n    X.append(y)": "['a', computed at run time]",
    "X = ['a']\nif f():\n    X.append('b')": "['a', 'b' if f()]",
    "if f():\n    X = True": "True if f()",
    "X = 2 ** 999999999": "computed at run time",
    "X = 'x' * 999999999999": "computed at run time",
    "with open('x') as X:\n    pass": "computed at run time",
    "try:\n    from missing import *\nexcept ImportError:\n    X = 1": "computed at run time",
    "try:\n    import z\n    X = 1\nexcept ImportError:\n    X = 2": "1 if line 2 succeeds",
}


def value(folder: Path, source: str) -> Any:
    (folder / "settings.py").write_text(source)
    (folder / "other.py").write_text("X = 7\n_Y = 8\n")
    return Reader(folder).module("settings")["X"].value


@pytest.mark.parametrize("source", SOURCES)
def test_what_source_says_is_read(tmp_path: Path, source: str) -> None:
    """Literals, lists as they grow, paths, conditions that the source itself settles, modules of
    the project."""
    expected = SOURCES[source]
    if isinstance(expected, str):
        expected = expected.replace("ROOT", str(tmp_path))
    assert value(tmp_path, source) == expected


@pytest.mark.parametrize("source", UNCERTAIN)
def test_what_only_a_run_shows_is_said_to_be_so(tmp_path: Path, source: str) -> None:
    """Computed, with the variables and the condition that it hangs on."""
    found = value(tmp_path, source)
    assert not known(found)
    assert shown(found) == UNCERTAIN[source]


# ----------------------------------------------------------------------------------------- mistakes


def test_mistakes_are_one_line_with_the_next_step(tmp_path: Path) -> None:
    """No folder, no manage.py, one a folder down, no Python, no settings, no WSGI callable, no
    page, a taken name."""
    app, bare, kit = write(tmp_path), tmp_path / "bare", tmp_path / "stacks"
    bare.mkdir()
    kit.mkdir()
    broken = write(tmp_path / "broken", PLAIN + "print 'x'\n")
    lost = write(tmp_path / "lost", "X = 1\n")
    asgi = write(
        tmp_path / "asgi",
        PLAIN.replace("WSGI_APPLICATION", "ASGI_APPLICATION"),
        {"shop/wsgi.py": "x = 1\n"},
    )
    (kit / "Pulumi.taken.yaml").write_text("mine")
    for path, options, words in (
        (tmp_path / "none", {}, "there is no folder"),
        (bare, {}, "has no manage.py, so it is no Django project; name the folder that holds it"),
        (tmp_path, {}, f"did you mean {app}?"),
        (broken, {}, "shop/settings.py:11: not valid Python 3."),
        (lost, {}, "no settings found (wsgi.py and manage.py name shop.settings)"),
        (asgi, {}, "there is no WSGI callable"),
        (app, {"frontend": bare}, "has no index.html; name the folder that your build writes"),
        (app, {"stack": "a/b"}, "--stack 'a/b' is no name for a stack"),
        (app, {"stack": "taken"}, "is there already; pass --stack NAME"),
    ):
        with pytest.raises(AdoptError) as caught:
            adopt(path, stacks=kit, **options)
        assert words in str(caught.value)
    assert [path.name for path in kit.iterdir()] == ["Pulumi.taken.yaml"]
    assert (kit / "Pulumi.taken.yaml").read_text() == "mine"


def test_without_a_frontend_only_that_is_missing(tmp_path: Path) -> None:
    """The config says TODO, the report asks, and `fab up` will name that key and nothing else."""
    app = write(tmp_path)
    (app / "dist" / "index.html").unlink()
    result = adopted(app, tmp_path / "kit")
    assert "# TODO: the folder that your build writes" in result.config.read_text()
    assert "no built frontend was found next to it" in decisions(result)
    with pytest.raises(SettingsError) as caught:
        config(result)
    assert [line.split(": ")[1] for line in caught.value.problems] == ["frontend_path"]


@pytest.mark.parametrize(
    ("limit", "is_reported"), [("5_000_000", True), ("50_000_000", False), ("None", False)]
)
def test_a_limit_below_the_stack_s_is_reported(
    tmp_path: Path, limit: str, is_reported: bool
) -> None:
    """It stays, so a body between the two is refused by Django."""
    line = f"DATA_UPLOAD_MAX_MEMORY_SIZE = {limit}\n"
    result = adopted(write(tmp_path, PLAIN + line), tmp_path / "kit")
    text = "DATA_UPLOAD_MAX_MEMORY_SIZE 5000000 stays: a body above it that is no file is a 400"
    assert (text in decisions(result)) == is_reported


def test_a_page_that_is_named_wins(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("x")
    result = adopted(write(tmp_path), tmp_path / "kit", frontend=page)
    assert config(result).frontend_path == str(page)


def test_a_file_with_the_environment_stays_here(tmp_path: Path) -> None:
    """A .env is mostly ignored by git, so its values have to be named; none of them is shown."""
    app = write(tmp_path, PLAIN, {".env": "PASSWORD=hunter2\n"})
    result = adopted(app, tmp_path / "kit")
    assert "a .env is mostly ignored (.env)" in decisions(result)
    assert "hunter2" not in str(result) + result.config.read_text()


def test_names_of_folders_that_say_nothing_are_no_names(tmp_path: Path) -> None:
    """`config.settings` in a folder `backend` is called after the folder around it."""
    app, script = tmp_path / "Book_Shop" / "backend", SCRIPT.format("config.settings")
    files = {"manage.py": script, "shop/wsgi.py": "", "config/wsgi.py": script}
    write(tmp_path, "", {**files, "config/settings.py": PLAIN.replace("shop.", "config.")})
    shutil.copytree(tmp_path / "app", app)
    assert config(adopted(app, tmp_path / "kit")).application == "book-shop"


def test_a_name_that_debian_uses_is_not_proposed(tmp_path: Path) -> None:
    """A project `news` would be refused as the user that every host has: the next folder's name, or
    a longer one."""
    app, script = tmp_path / "mail" / "news", SCRIPT.format("news.settings")
    files = {
        "manage.py": script,
        "news/wsgi.py": script,
        "news/settings.py": PLAIN.replace("shop.", "news."),
    }
    write(tmp_path, "", files)
    shutil.copytree(tmp_path / "app", app)
    assert config(adopted(app, tmp_path / "kit")).application == "news-app"


def test_the_verb_writes_and_says_so(tmp_path: Path) -> None:
    """Status 0 and a report; a second run refuses with status 1 and one message."""
    stack = f"test-{os.getpid()}-adopt"
    path = ROOT / "stacks" / f"Pulumi.{stack}.yaml"
    command = [FAB, "adopt", "backend", "--stack", stack, "--frontend", "frontend"]
    try:
        first, second = (
            subprocess.run(
                command, cwd=ROOT / "examples", capture_output=True, text=True, check=False
            )
            for _ in range(2)
        )
        assert first.returncode == 0, first.stderr
        assert f"wrote stacks/{path.name}; next: `fab up --stack {stack}`" in first.stdout
        assert Settings.read(read_config(ROOT, stack), stack).frontend_path == "examples/frontend"
        assert second.returncode == 2
        assert second.stderr.strip().splitlines() == [
            f"stacks/{path.name} is there already; pass --stack NAME for another one, or --force to"
            " replace it"
        ]
    finally:
        path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------ two real ones


def fetched(name: str, version: str, folder: Path) -> Path:
    """A project from the package registry, unpacked; its code is never run, nor is anything
    built."""
    wanted = [
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--disable-pip-version-check",
        "-q",
        "-d",
        str(folder),
    ]
    command = [sys.executable, "-m", "pip", "download", *wanted, f"{name}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"{name} {version} can't be fetched: {done.stderr.strip()[-200:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / name)
    return folder / name


def test_squad(tmp_path: Path) -> None:
    """A quality dashboard: own corsheaders with every origin allowed, lists that are filtered,
    `exec` at the end."""
    root = fetched("squad", "1.98", tmp_path)
    with pytest.raises(AdoptError, match=r"did you mean .*squad/squad\?"):
        adopted(root, tmp_path / "above")
    page = ROOT / "examples" / "frontend"
    result = adopted(root / "squad", tmp_path / "kit", frontend=page)
    found, said, report = config(result), decisions(result), str(result)
    assert (found.settings, found.wsgi, found.application) == (
        "squad.settings",
        "squad.wsgi:application",
        "squad",
    )
    assert (found.backend_path, found.static_url, found.allow_methods) == (
        str(root),
        "/static/",
        ("GET", "HEAD"),
    )
    assert "manage.py is inside the package squad" in said
    assert (
        "CORS_ORIGIN_ALLOW_ALL is True: any website reads the answers (squad/settings.py:418)"
        in said
    )
    assert "says nowhere what it needs" in said
    assert (
        "SQUAD_EXTRA_SETTINGS" in said
        and "`from squad.local_settings import *` is not in the project" in said
    )
    assert "middleware     12, CorsMiddleware at place 2\n" in report
    last = result.project.items("MIDDLEWARE")[-1]
    assert (last.maybe, last.when) == (
        "allauth.account.middleware.AccountMiddleware",
        "find_spec('allauth')",
    )
    assert result.project.get("DEBUG").value == Computed(("ENV",))
    reads = {read.name: read.required for read in result.project.reads}
    assert {"SECRET_KEY", "DATABASE", "SQUAD_CELERY_BROKER_URL", "SENTRY_DSN"} <= reads.keys()
    assert not any(reads.values())


def test_doccano(tmp_path: Path) -> None:
    """An annotation tool: a settings package over environs, manage.py for development, wsgi.py for
    production."""
    root = fetched("doccano", "1.8.4", tmp_path)
    result = adopted(root / "backend", tmp_path / "kit")
    found, said, report = config(result), decisions(result), str(result)
    assert (found.settings, found.wsgi, found.application) == (
        "config.settings.production",
        "config.wsgi:application",
        "doccano",
    )
    assert "named by wsgi.py; there are also config.settings.aws, config.settings.base" in report
    assert found.frontend_path == str(root / "backend" / "client" / "dist")
    assert (found.static_url, found.media_url, found.extra_origins) == ("/static/", "/media/", ())
    assert (
        "middleware     10, CorsMiddleware at place 9, own: api.middleware.HeaderAuthMiddleware"
        in report
    )
    assert "DEBUG is True while the settings are read" in said and "CORS_ORIGIN_ALLOW_ALL" in said
    assert found.env == {"DEBUG": "false"}
    assert "pyproject.toml is only read by poetry" in said
    assert result.project.get("DEBUG").value is False
    assert "computed at run time, from DATABASE_URL" in report
    reads = {read.name: read.required for read in result.project.reads}
    assert reads["DATABASE_URL"] is reads["CELERY_BROKER_URL"] is reads["SECRET_KEY"] is False
    assert "AWS_ACCESS_KEY_ID" not in reads  # another module of the package needs it
    assert "DATABASE_URL" in result.config.read_text().split("doccano.secrets")[1]


@pytest.mark.parametrize(
    ("wanted", "written"),
    [(">=3.12", "trixie"), (">=3.11", None), ("<3.12", None), (">=3.99", None), ("what", None)],
)
def test_a_newer_python_gets_the_debian_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, written: str | None
) -> None:
    """Before any machine is made; a Python that no Debian has is for `fab up` to refuse."""
    monkeypatch.setattr(image, "host_release", lambda: "bookworm")
    pyproject = f'[project]\nname = "shop"\nrequires-python = "{wanted}"\n'
    result = adopted(write(tmp_path, files={"pyproject.toml": pyproject}), tmp_path / "kit")
    assert result.values.get("image") == written
    assert config(result).image == (written or "")


# ---------------------------------------------------------------------------------------- the page

VITE = (
    "import{t as e}from'./v.js';let r=`http://localhost:8000`;"
    "fetch(`${r}/api/x`),new WebSocket(`wss://live.example.com/chat`);"
    'var t="https://react.dev/errors/"+e,n=new URL(e,"http://localhost");'
    'e.create({baseURL:"https://api.shop.example/v1"}),e.init({dsn:"https://k@o1.sentry.example/4"})'
)
CALLED = {
    "a minified build": (
        {"assets/index-1.js": VITE},
        ["http://localhost:8000 assets/index-1.js:1:35", "https://api.shop.example"],
        ["wss://live.example.com assets/index-1.js:1:93", "https://o1.sentry.example"],
    ),
    "a constant of a build": (
        {"a.js": 'const u="https://api.stripe.com/v1";\nlet z = 1;\nfetch(u+"/tokens")'},
        [],
        ["https://api.stripe.com a.js:1:10"],
    ),
    "a method before it": (
        {"a.mjs": "x.open('POST', 'https://log.example.com/in')"},
        [],
        ["https://log.example.com a.mjs:1:17"],
    ),
    "in the HTML": (
        {"a.html": "<h1>x</h1>\n<script>\n  axios.get('https://a.example.com')\n</script>"},
        [],
        ["https://a.example.com a.html:3:14"],
    ),
    "an address of a network": (
        {"a.js": 'x={API_URL:"http://192.168.1.20:8000"},y="ws://[::1]:9000/s"'},
        ["http://192.168.1.20:8000 a.js:1:13", "ws://[::1]:9000"],
        [],
    ),
    "names that nobody calls": (
        {
            "a.js": 'x="http://www.w3.org/2000/svg";y={url:"https://github.com/a"};'
            "z=`https://${host}/x`;fetch(`https://api.${host}`);w='https://docs.example.com/'",
        },
        [],
        [],
    ),
    "a page that reads config.json": (
        {
            "a.js": 'let backend="http://localhost:8000";fetch("/config.json").then(c=>backend=c)',
            "b.js": 'z.create({baseURL:"https://maps.example.com"});fetch("http://10.0.0.3/x")',
        },
        ["http://10.0.0.3 b.js:1:55"],
        ["https://maps.example.com b.js:1:20"],
    ),
    "no JavaScript": ({"a.txt": 'fetch("https://api.example.com")'}, [], []),
}


def starts_alike(found: tuple[Setting, ...], wanted: list[str]) -> bool:
    lines = [f"{server.value} {server.where}" for server in found]
    return len(lines) == len(wanted) and all(map(str.startswith, lines, wanted))


@pytest.mark.parametrize("case", CALLED)
def test_what_a_page_calls_is_read(case: str, tmp_path: Path) -> None:
    """Addresses of an API that a build has put in, and servers of others, each with its place."""
    files, built_in, services = CALLED[case]
    write_files(tmp_path, files)
    calls = calls_of(tmp_path)
    assert starts_alike(calls.built_in, built_in), calls.built_in
    assert starts_alike(calls.services, services), calls.services


def test_a_page_that_calls_others_gets_a_proposal(tmp_path: Path) -> None:
    """The line for connect_src stands in the file as a comment, and is right as it stands."""
    files = {
        "dist/index.html": (
            '<meta http-equiv="Content-Security-Policy" content="default-src \'self\';'
            " connect-src 'self' http://localhost:8000 https://m.example.com; sandbox\">\n"
            '<script src="https://js.stripe.com/v3"></script><script src="a.js"></script>'
        ),
        "dist/a.js": VITE,
    }
    result = adopted(write(tmp_path, PLAIN, files), tmp_path / "kit")
    said = decisions(result)
    assert (
        "API's address built in, http://localhost:8000; on the hosts it is elsewhere (a.js:1:35"
        in (said)
    )
    assert "docs/page.md shows how with Vite, Next, Angular and Vue" in said
    assert "until connect_src lists them: wss://live.example.com (a.js:1:93), https://o1" in said
    assert "loads scripts from https://js.stripe.com, which may call" in said
    assert "browsers hold it to both" in said and "(index.html:1:1)" in said
    sources = "'wss://live.example.com', 'https://o1.sentry.example', 'https://m.example.com'"
    line = f"# origin-kit:connect_src: [{sources}]"
    text = result.config.read_text()
    assert line in text and config(result).connect_src == ()
    result.config.write_text(text.replace("# origin-kit:", "origin-kit:"))
    found = config(result)
    assert found.connect_src[1:] == ("https://o1.sentry.example", "https://m.example.com")
    assert found.csp == "default-src 'self'"


def test_a_policy_that_no_key_takes_is_no_proposal(tmp_path: Path) -> None:
    """A directive that browsers don't know: the finding alone."""
    policy = '<meta content="img-src *; sxript-src *" http-equiv=Content-Security-Policy>'
    result = adopted(write(tmp_path, PLAIN, {"dist/index.html": policy}), tmp_path / "kit")
    assert "write it into the key csp, and remove it from the page" in decisions(result)
    assert "csp:" not in result.config.read_text()
