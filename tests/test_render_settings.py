"""The settings module in front of real projects, each imported by a real Django in a process of its
own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rollout.release.additions import ADDITIONS
from rollout.render.django import settings_text
from tests.test_render import cors, load

KEY = "a-key_that=the+host(made)for*itself@once&0123456789!abcdef"
CORS_FIRST = "corsheaders.middleware.CorsMiddleware"
PLAIN = """
SECRET_KEY = "x"
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["django.contrib.contenttypes"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
"""
READ = """
import json, django
from django.conf import settings
django.setup()
names = [name for name in dir(settings) if name.isupper()]
print(json.dumps({name: getattr(settings, name) for name in names}, default=str))
"""
# Who has middleware of its own: one that allows everyone by hand, one of the old kind that only
# looks on.
LAYERS = """
class Everyone:
    def __init__(self, get_response):
        self.get_response = get_response
    def __call__(self, request):
        response = self.get_response(request)
        response["Access-Control-Allow-Origin"] = "*"
        return response

def looks_on(get_response):
    return lambda request: get_response(request)
"""
ASK = """
import json, sys, django
django.setup()
from django.test import Client
for origin in sys.argv[1:]:
    browser = Client(headers={"host": "10.213.7.74", "origin": origin})
    asks = {"access-control-request-method": "PUT"}
    rows = []
    for answer in (browser.get("/"), browser.options("/", headers=asks)):
        headers = {name.lower(): value for name, value in answer.items()}
        rows.append([answer.status_code, headers])
    print(json.dumps(rows))
"""
CHECK = (
    "from django.core.management import execute_from_command_line as run; run(['manage.py',"
    " 'check', '--deploy'])"
)


class Project:
    """A host's folders: a release with the project in it, the data folder, the rendered module."""

    def __init__(self, folder: Path, settings: str, case: str = "local-ip", **files: str) -> None:
        self.folder, self.data = folder, folder / "data"
        self.release = folder / "releases" / "one"
        self.app = self.release / "app"
        for place in (self.app / "shop", self.data, folder / "django"):
            place.mkdir(parents=True)
        (folder / "current").symlink_to("releases/one")
        (self.data / "secret_key").write_text(KEY + "\n")
        (self.app / "shop" / "urls.py").write_text("urlpatterns = []\n")
        for name, text in {
            "settings.py": settings,
            "__init__.py": "",
            "layers.py": LAYERS,
            **files,
        }.items():
            (self.app / "shop" / name).parent.mkdir(exist_ok=True)
            (self.app / "shop" / name).write_text(text)
        self.write_module(case)

    def write_module(self, case: str, **changes: Any) -> None:
        contract = cors(load(case), **changes)
        text = settings_text(contract, contract.backend.hosts[0])
        (self.folder / "django" / "origin_kit_settings.py").write_text(text)

    def run(self, script: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.folder / "django"),
            "DJANGO_SETTINGS_MODULE": "origin_kit_settings",
            "ORIGIN_KIT_RELEASE": str(self.folder / "current"),
            "ORIGIN_KIT_DATA": str(self.data),
        }
        return subprocess.run(
            [sys.executable, "-c", script, *words],
            cwd=self.app,
            env=environment | env,
            capture_output=True,
            text=True,
            check=False,
        )

    def settings(self, **env: str) -> dict[str, Any]:
        done = self.run(READ, **env)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def answers(self, *origins: str) -> list[list[tuple[int, dict[str, str]]]]:
        """What Django itself answers a page of each origin: to a request, and to a preflight."""
        done = self.run(ASK, *origins)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


# Projects as they are found: what they have of their own → nothing of it may change what the
# contract says.
PROJECTS = {
    "plain": PLAIN,
    "tuples": PLAIN + "INSTALLED_APPS = tuple(INSTALLED_APPS)\nMIDDLEWARE = tuple(MIDDLEWARE)\n",
    "no CommonMiddleware": PLAIN + "MIDDLEWARE = []\n",
    "no middleware at all": PLAIN.replace("MIDDLEWARE", "OTHER"),
    "its own corsheaders, last": (
        PLAIN + f"INSTALLED_APPS += ['corsheaders']\nMIDDLEWARE += ['{CORS_FIRST}']\n"
    ),
    "its own corsheaders, by its config": (
        PLAIN + "INSTALLED_APPS += ['corsheaders.apps.CorsHeadersAppConfig']\n"
    ),
    "everything allowed": PLAIN + "CORS_ALLOW_ALL_ORIGINS = True\nCORS_ALLOW_CREDENTIALS = True\n",
    "old names": (
        PLAIN + "CORS_ORIGIN_ALLOW_ALL = True\nCORS_ORIGIN_WHITELIST ="
        " ['http://evil.test']\nCORS_ORIGIN_REGEX_WHITELIST = ['']\nCORS_MODEL ="
        " 'a.B'\nCORS_REPLACE_HTTPS_REFERER = True\n"
    ),
    "strings for lists": (
        PLAIN + "CORS_ALLOWED_ORIGIN_REGEXES = '^x$'\nCORS_ALLOWED_ORIGINS = 'http://a'\n"
    ),
    "some paths only": PLAIN + "CORS_URLS_REGEX = r'^/api/'\nCORS_ALLOW_PRIVATE_NETWORK = True\n",
    "debug, any host": (
        PLAIN + "DEBUG = True\nALLOWED_HOSTS = ['*']\nCSRF_TRUSTED_ORIGINS = ['http://evil.test']\n"
    ),
    "set up for https": (
        PLAIN + "SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True\n"
    ),
    "names like the module's own": (
        PLAIN + "from os import path as Path\nos = data = release = key = None\n"
    ),
    "its own middleware": (
        PLAIN + "MIDDLEWARE += ['shop.layers.looks_on', 'shop.layers.Everyone']\n"
    ),
    "its own middleware, first": PLAIN + "MIDDLEWARE.insert(0, 'shop.layers.Everyone')\n",
    "all from the environment": (
        "import os\n"
        + PLAIN
        + "DEBUG = os.environ.get('DEBUG', '1') == '1'\nALLOWED_HOSTS = os.environ.get('HOSTS',"
        " '*').split(',')\nSECRET_KEY = os.environ['SECRET_KEY']\nCORS_ALLOWED_ORIGINS ="
        " os.environ.get('ORIGINS', 'http://evil.test').split(',')\n"
    ),
    "key from the environment": "import os\n" + PLAIN.replace('"x"', "os.environ['SECRET_KEY']"),
    "key from Django's variable": (
        "import os\n" + PLAIN.replace('"x"', "os.environ['DJANGO_SECRET_KEY']")
    ),
}


@pytest.mark.parametrize("name", PROJECTS)
def test_contract_wins(tmp_path: Path, name: str) -> None:
    """Whatever a project has of its own, what decides about origins is the contract's."""
    project = Project(tmp_path, PROJECTS[name])
    found, contract = project.settings(), load("local-ip")
    assert (
        found["CORS_ALLOWED_ORIGINS"]
        == found["CSRF_TRUSTED_ORIGINS"]
        == list(contract.cors.allowed_origins)
    )
    assert found["CORS_ALLOWED_ORIGIN_REGEXES"] == []
    assert (
        found["CORS_ALLOW_ALL_ORIGINS"]
        is found["CORS_ALLOW_CREDENTIALS"]
        is found["DEBUG"]
        is False
    )
    assert found["CORS_ALLOW_METHODS"] == list(contract.cors.allow_methods)
    assert found["CORS_ALLOW_HEADERS"] == list(contract.cors.allow_headers)
    assert found["CORS_EXPOSE_HEADERS"] == list(contract.cors.expose_headers)
    assert (found["CORS_URLS_REGEX"], found["CORS_PREFLIGHT_MAX_AGE"]) == ("^.*$", 600)
    assert found["CORS_ALLOW_PRIVATE_NETWORK"] is found["SECURE_SSL_REDIRECT"] is False
    assert found["ALLOWED_HOSTS"] == ["10.213.7.74"]
    assert found["MIDDLEWARE"][0] == CORS_FIRST
    assert found["MIDDLEWARE"].count(CORS_FIRST) == 1
    assert [app for app in found["INSTALLED_APPS"] if app.startswith("corsheaders")] == [
        "corsheaders"
    ]
    assert not [old for old in found if old.startswith("CORS_ORIGIN_") or old in ("CORS_MODEL",)]
    assert found["SECRET_KEY"] == KEY
    assert found["STATIC_ROOT"] == str(tmp_path / "current" / "static")


@pytest.mark.parametrize("name", PROJECTS)
def test_check_deploy_is_quiet(tmp_path: Path, name: str) -> None:
    """`manage.py check --deploy` finds no error, and says nothing of what plain http makes
    inevitable."""
    done = Project(tmp_path, PROJECTS[name]).run(CHECK)
    assert done.returncode == 0, done.stderr
    said = set(re.findall(r"security\.(W\d+)", done.stderr))
    assert not said & {"W004", "W008", "W009", "W012", "W016", "W018", "W020"}
    assert "corsheaders" not in done.stderr


@pytest.mark.parametrize("name", PROJECTS)
def test_django_answers_as_the_contract_says(tmp_path: Path, name: str) -> None:
    """An allowed origin is allowed under its own name, a preflight is answered; an unlisted origin
    hears nothing of Django's."""
    project, contract = Project(tmp_path, PROJECTS[name]), load("local-ip")
    *of_allowed, of_unlisted = project.answers(*contract.cors.allowed_origins, "http://evil.test")
    for origin, ((status, headers), (preflight, allowed)) in zip(
        contract.cors.allowed_origins, of_allowed, strict=True
    ):
        assert (status, headers["access-control-allow-origin"]) == (404, origin)
        assert (preflight, allowed["access-control-allow-origin"]) == (200, origin)
        assert "PUT" in allowed["access-control-allow-methods"]
    (_, headers), (_, allowed) = of_unlisted
    # What a layer of the project's adds by hand, nginx hides: tests/test_render_nginx.py.
    assert headers.get("access-control-allow-origin") == (
        "*" if "its own middleware" in name else None
    )
    assert "access-control-allow-origin" not in allowed


def test_settings_package(tmp_path: Path) -> None:
    """A settings package is imported as the project has it, and Django answers by the contract."""
    project = Project(tmp_path, PLAIN)
    (project.app / "shop" / "settings.py").unlink()
    (project.app / "shop" / "settings").mkdir()
    (project.app / "shop" / "settings" / "__init__.py").write_text("")
    (project.app / "shop" / "settings" / "base.py").write_text(PLAIN)
    (project.app / "shop" / "settings" / "production.py").write_text(
        "from .base import *\nMARK = 'found'\n"
    )
    contract = load("local-ip")
    application = dataclasses.replace(contract.application, settings="shop.settings.production")
    text = settings_text(
        dataclasses.replace(contract, application=application), contract.backend.hosts[0]
    )
    (tmp_path / "django" / "origin_kit_settings.py").write_text(text)
    assert project.settings()["MARK"] == "found"
    [[(_, headers), _]] = project.answers(contract.frontend.origin)
    assert headers["access-control-allow-origin"] == contract.frontend.origin


@pytest.mark.parametrize("flow", ["django.setup()", "import origin_kit_settings"])
def test_a_package_that_reads_settings_while_it_is_imported(tmp_path: Path, flow: str) -> None:
    """`from .celery import app` in its __init__.py is the common case: it gets the project's own,
    which are whole by then, and whoever reads settings afterwards gets the kit's."""
    early = "from django.conf import settings\nEARLY = settings.ROOT_URLCONF\n"
    project = Project(tmp_path, PLAIN + "DEBUG = True\n", **{"__init__.py": early})
    last = (
        "import os, shop; print(shop.EARLY, settings.DEBUG, os.environ['DJANGO_SETTINGS_MODULE'])"
    )
    done = project.run(f"import django\nfrom django.conf import settings\n{flow}\n{last}\n")
    assert done.stdout.split() == ["shop.urls", "False", "origin_kit_settings"], done.stderr


def test_a_variable_that_the_settings_need_comes_from_the_stack(tmp_path: Path) -> None:
    """Without it they don't load, and the error names it; with `env:` of the stack's config they
    do."""
    project = Project(tmp_path, "import os\nNAME = os.environ['SHOP_NAME']\n" + PLAIN)
    assert "KeyError: 'SHOP_NAME'" in project.run(READ).stderr
    assert project.settings(SHOP_NAME="books")["NAME"] == "books"


def test_key_among_the_secrets_wins(tmp_path: Path) -> None:
    """A key that the operator set is used, and is what the project's own settings see."""
    project = Project(tmp_path, "import os\nSEEN = os.environ['SECRET_KEY']\n" + PLAIN)
    found = project.settings(DJANGO_SECRET_KEY="operator's")
    assert (found["SECRET_KEY"], found["SEEN"]) == ("operator's", "operator's")


def test_missing_key_is_named(tmp_path: Path) -> None:
    """Without the host's key nothing starts, and the error names the file."""
    project = Project(tmp_path, PLAIN)
    (project.data / "secret_key").unlink()
    assert f"{project.data}/secret_key" in project.run(READ).stderr


# What the project says of a file, BASE_DIR being its folder → where it lies then, None: where it
# was.
DATABASES = {
    "BASE_DIR / 'db.sqlite3'": "db.sqlite3",
    "str(BASE_DIR / 'var' / 'shop.db')": "shop.db",
    "'db.sqlite3'": "db.sqlite3",
    "'../up.sqlite3'": "up.sqlite3",
    "':memory:'": None,
    "'/srv/data/shop.db'": None,
    "'file:shared?mode=memory'": None,
}


@pytest.mark.parametrize("name", DATABASES)
def test_sqlite_outlives_the_release(tmp_path: Path, name: str) -> None:
    """An SQLite file next to the code is kept in the data folder; one that lies elsewhere stays
    there."""
    base = "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\n"
    said = (
        base
        + PLAIN
        + f"DATABASES['default']['NAME'] = {name}\nSAID = DATABASES['default']['NAME']\n"
    )
    project = Project(tmp_path, said)
    found = project.settings()
    moved = DATABASES[name]
    assert found["DATABASES"]["default"]["NAME"] == (
        str(project.data / moved) if moved else found["SAID"]
    )


def test_other_databases_stay(tmp_path: Path) -> None:
    """A database on a server is left alone, whatever its name looks like."""
    said = (
        PLAIN + "DATABASES['default'] = {'ENGINE': 'django.db.backends.postgresql', 'NAME':"
        " 'db.sqlite3'}\n"
    )
    (tmp_path / "psycopg").mkdir()
    script = "import origin_kit_settings as s; print(s.DATABASES['default']['NAME'])"
    assert Project(tmp_path, said).run(script).stdout == "db.sqlite3\n"


def test_two_databases_never_become_one(tmp_path: Path) -> None:
    """Two SQLite files of one name would be merged by moving them, which is refused by name."""
    said = PLAIN + "DATABASES['logs'] = {**DATABASES['default'], 'NAME': 'logs/db.sqlite3'}\n"
    assert "two SQLite files of one name" in Project(tmp_path, said).run(READ).stderr


@pytest.mark.parametrize(
    ("said", "root", "url"),
    [
        ("", "data/media", "/media/"),
        (
            "from pathlib import Path\nMEDIA_ROOT = Path(__file__).resolve().parent / 'm'\n",
            "data/media",
            "/media/",
        ),
        ("MEDIA_ROOT = 'uploads'\nMEDIA_URL = 'uploads/'\n", "data/media", "/media/"),
        ("MEDIA_ROOT = '/srv/m'\nMEDIA_URL = '/m/'\n", "/srv/m", "/m/"),
    ],
)
def test_media_outlive_the_release(tmp_path: Path, said: str, root: str, url: str) -> None:
    """Uploads go to the data folder unless the project keeps them somewhere of its own."""
    found = Project(tmp_path, PLAIN + said).settings()
    assert (found["MEDIA_ROOT"], found["MEDIA_URL"]) == (str(tmp_path / root), url)


def test_own_logging_stays(tmp_path: Path) -> None:
    """Errors reach the journal, unless the project has configured where else they go."""
    own = "LOGGING = {'version': 1, 'mine': True}\n"
    assert "journal" in Project(tmp_path / "a", PLAIN).settings()["LOGGING"]["handlers"]
    assert Project(tmp_path / "b", PLAIN + own).settings()["LOGGING"] == {
        "version": 1,
        "mine": True,
    }


def test_patterns_and_hosts(tmp_path: Path) -> None:
    """Patterns are whole patterns for Django, and trusted for CSRF where it can say so; IPv6 hosts
    are in brackets."""
    found = Project(tmp_path, PLAIN, case="patterns-ipv6").settings()
    patterns = found["CORS_ALLOWED_ORIGIN_REGEXES"]
    assert len(patterns) == 2
    assert all(pattern.startswith("\\A") and pattern.endswith("\\Z") for pattern in patterns)
    assert found["CSRF_TRUSTED_ORIGINS"] == [
        "http://[2001:db8::10]:3000",
        "https://app.example.com",
        "https://*.preview.example.com",
    ]
    assert found["ALLOWED_HOSTS"] == ["[2001:db8::74]"]


def test_a_host_of_several_answers_by_its_address(tmp_path: Path) -> None:
    """Each backend answers under the public name and under its own address, not under another's."""
    contract = load("patterns-ipv6")
    text = settings_text(contract, contract.backend.hosts[1])
    assert "'[2001:db8::74]',\n    '[2001:db8::75]',\n" in text


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("", 10 << 20),
        ("DATA_UPLOAD_MAX_MEMORY_SIZE = 5_000_000\n", 5_000_000),
        ("DATA_UPLOAD_MAX_MEMORY_SIZE = 2621440\n", 2_621_440),
        ("DATA_UPLOAD_MAX_MEMORY_SIZE = None\n", None),
    ],
)
def test_a_body_may_be_as_large_as_the_stack_says(
    tmp_path: Path, own: str, expected: int | None
) -> None:
    """DATA_UPLOAD_MAX_MEMORY_SIZE follows max_body_mb; a limit of the project's own stays."""
    assert Project(tmp_path, PLAIN + own).settings()["DATA_UPLOAD_MAX_MEMORY_SIZE"] == expected


def test_further_names_of_the_backend(tmp_path: Path) -> None:
    """Django answers to each; the list of origins that may send forms stays the pages'."""
    found = Project(tmp_path, PLAIN, case="apex-proxy").settings()
    assert found["ALLOWED_HOSTS"] == [
        "api.shop.test",
        "api2.shop.test",
        "api.example.com",
        "10.213.8.74",
    ]
    assert found["CSRF_TRUSTED_ORIGINS"] == ["http://shop.test"]


def test_everyone(tmp_path: Path) -> None:
    """Allow-all reaches Django as its own switch, with the list next to it."""
    found = Project(tmp_path, PLAIN, case="allow-all").settings()
    assert found["CORS_ALLOW_ALL_ORIGINS"] is True
    assert found["CORS_ALLOWED_ORIGINS"] == found["CSRF_TRUSTED_ORIGINS"] == ["http://10.213.7.10"]


SECURE = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")
SITES = ("SESSION_COOKIE_SAMESITE", "CSRF_COOKIE_SAMESITE")


@pytest.mark.parametrize(
    ("case", "secure", "sites"),
    [
        ("https-names", True, "Lax"),
        ("https-ip", True, "None"),
        ("https-moving", False, "Lax"),
        ("local-ip", False, "Lax"),
    ],
)
def test_cookies_follow_scheme_and_sites(
    tmp_path: Path, case: str, secure: bool, sites: str
) -> None:
    """Secure over https, but not while http is answered for former origins. SameSite=None where
    page and API are two sites: two bare IPs, and only over https."""
    found = Project(tmp_path, PLAIN, case=case).settings()
    assert [found[name] for name in SECURE] == [secure, secure]
    assert [found[name] for name in SITES] == [sites, sites]


def test_without_credentials_no_cookie_travels_between_sites(tmp_path: Path) -> None:
    project = Project(tmp_path, PLAIN)
    project.write_module("https-ip", allow_credentials=False)
    assert [project.settings()[name] for name in SITES] == ["Lax", "Lax"]


def test_what_https_means_to_django(tmp_path: Path) -> None:
    """It believes the header that nginx sets, knows the origins by their scheme, and never
    redirects, whatever the project says."""
    own = "SECURE_SSL_REDIRECT = True\nSECURE_SSL_HOST = 'elsewhere.test'\n"
    found = Project(tmp_path, PLAIN + own, case="https-names").settings()
    assert found["SECURE_PROXY_SSL_HEADER"] == ["HTTP_X_FORWARDED_PROTO", "https"]
    assert found["CSRF_TRUSTED_ORIGINS"] == ["https://app.shop.test"]
    assert found["SECURE_SSL_REDIRECT"] is False
    strict = ("SECONDS", "INCLUDE_SUBDOMAINS", "PRELOAD")
    assert [found[f"SECURE_HSTS_{name}"] for name in strict] == [31536000, True, False]


def test_former_origins_are_known_to_django(tmp_path: Path) -> None:
    """While an environment moves: who may read, who may write, and by which names it is called."""
    found = Project(tmp_path, PLAIN, case="https-moving").settings()
    pages = ["https://app.shop.test", "http://10.213.8.10"]
    assert found["CORS_ALLOWED_ORIGINS"] == found["CSRF_TRUSTED_ORIGINS"] == pages
    assert found["ALLOWED_HOSTS"] == ["api.shop.test", "10.213.8.74", "old.shop.test"]


@pytest.mark.parametrize(
    ("case", "hsts", "silenced"),
    [
        ("https-ip", "", {"W004", "W008"}),
        ("https-names", "", {"W004", "W008"}),
        ("https-names", "max-age=300", {"W005", "W008", "W021"}),
        ("https-moving", "", {"W004", "W008", "W012", "W016"}),
    ],
)
def test_check_deploy_is_quiet_over_https(
    tmp_path: Path, case: str, hsts: str, silenced: set[str]
) -> None:
    """`check --deploy` finds nothing; what is silenced is HSTS while it is off, and what is nginx's
    or the stack's."""
    project = Project(tmp_path, IN_ORDER)
    contract = load(case)
    contract = dataclasses.replace(contract, https=dataclasses.replace(contract.https, hsts=hsts))
    text = settings_text(contract, contract.backend.hosts[0])
    (tmp_path / "django" / "origin_kit_settings.py").write_text(text)
    done = project.run(CHECK)
    assert done.returncode == 0, done.stderr
    assert f"no issues ({len(silenced)} silenced)" in done.stdout + done.stderr
    assert set(project.settings()["SILENCED_SYSTEM_CHECKS"]) == {
        f"security.{one}" for one in silenced
    }


# With what `check --deploy` asks of a project itself.
IN_ORDER = (
    PLAIN
    + """
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
INSTALLED_APPS += ["django.contrib.sessions"]
"""
)


def test_values_are_literals(tmp_path: Path) -> None:
    """Text that could end a Python string stays inside of it."""
    project = Project(tmp_path, PLAIN)
    nasty = "'\"\\\n#{}" + '"""'
    project.write_module("local-ip", expose_headers=(nasty,))
    assert project.settings()["CORS_EXPOSE_HEADERS"] == [nasty]


def test_the_oldest_django_cors_headers_answers_the_same(tmp_path: Path) -> None:
    """A project's own pin may be as old as `ADDITIONS` says, because the settings have had these
    names since then. Asks the real index."""
    oldest = (
        next(need for need in ADDITIONS if need.startswith("django-cors-headers")).replace(
            ">=", "=="
        )
        + ".0"
    )
    words = [
        "install",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "--target",
        str(tmp_path / "old"),
        oldest,
    ]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    made = Project(tmp_path / "host", PLAIN)
    paths = os.pathsep.join([str(made.folder / "django"), str(tmp_path / "old")])
    version = made.run("import corsheaders; print(corsheaders.__file__)", PYTHONPATH=paths)
    assert str(tmp_path / "old") in version.stdout
    origins = [load("local-ip").frontend.origin, "http://evil.test", "null"]
    done = made.run(ASK, *origins, PYTHONPATH=paths)
    assert done.returncode == 0, done.stderr

    def without_vary(
        answers: list[list[tuple[int, dict[str, str]]]],
    ) -> list[list[tuple[int, dict[str, str]]]]:
        return [
            [(status, {k: v for k, v in headers.items() if k != "vary"}) for status, headers in one]
            for one in answers
        ]

    assert without_vary([json.loads(line) for line in done.stdout.splitlines()]) == without_vary(
        made.answers(*origins)
    )
    assert made.run(CHECK, PYTHONPATH=paths).returncode == 0
