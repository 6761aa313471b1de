"""`fab adopt` on the shapes that real projects have: each is said in the report, and none ends
it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.core.keys import KEYS
from infra.local import image
from rollout import services
from rollout.adopt import Adopted, AdoptError, adopt
from rollout.adopt.packages import below_floor, of_text
from rollout.adopt.services import lines
from rollout.release import local
from rollout.release.needs import requirements
from tests.test_adopt import PLAIN, adopted, config, decisions, with_settings, write

FROM_CALL = """
def more(apps, layers):
    return apps, layers
INSTALLED_APPS, MIDDLEWARE = more(INSTALLED_APPS, MIDDLEWARE)
"""


def git(app: Path) -> None:
    """Commit what is not ignored."""
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", "-C", str(app), *words], check=True, capture_output=True)


def row(result: Adopted, name: str) -> str:
    """The line of the report that begins with a word."""
    return next(line for line in str(result).splitlines() if line.strip().startswith(name))


# ----------------------------------------------------------------------------------- which settings


def test_lists_that_a_function_returns_are_computed_at_run_time(tmp_path: Path) -> None:
    """The report is whole, and no list is said to be empty."""
    result = adopted(write(tmp_path, PLAIN + FROM_CALL), tmp_path / "kit")
    assert "computed at run time  CorsMiddleware first" in row(result, "MIDDLEWARE")
    assert "computed at run time" in row(result, "INSTALLED_APPS")
    assert "[]" not in row(result, "INSTALLED_APPS")


def test_settings_in_parts_are_read_where_they_are_included(tmp_path: Path) -> None:
    """django-split-settings: the parts are read in their order; a part that nobody can name may set
    anything."""
    files = {
        "shop/settings.py": "",
        "shop/settings/__init__.py": (
            "from split_settings.tools import include, optional\n"
            'include("parts/*.py", optional("local.py"))\n'
        ),
        "shop/settings/parts/common.py": PLAIN,
    }
    result = adopted(write(tmp_path, "", files), tmp_path / "kit")
    assert config(result).settings == "shop.settings"
    assert "1 apps" in row(result, "INSTALLED_APPS")
    files["shop/settings/__init__.py"] = (
        "from split_settings.tools import include\ninclude(f'{which()}.py')\n"
    )
    result = adopted(write(tmp_path / "open", "", files), tmp_path / "open" / "kit")
    assert config(result).settings == "shop.settings"
    assert "may set anything" in decisions(result)


def test_the_only_settings_are_taken(tmp_path: Path) -> None:
    """Where the environment names the module: the one candidate, or a message with all of them and
    the option."""
    bare = "application = None\n"
    files = {
        "shop/settings.py": "",
        "shop/wsgi.py": bare,
        "manage.py": "import sys\n",
        "shop/settings/__init__.py": "\n",
        "shop/settings/base.py": PLAIN,
    }
    app = write(tmp_path, "", files)
    result = adopted(app, tmp_path / "kit")
    assert config(result).settings == "shop.settings.base"
    assert "--settings MODULE takes another one" in str(result)
    (app / "shop" / "settings" / "second.py").write_text(PLAIN)
    with pytest.raises(
        AdoptError, match=r"candidates: shop\.settings\.base, shop\.settings\.second.*--settings"
    ):
        adopt(app, stacks=tmp_path / "none")
    result = adopted(app, tmp_path / "second", settings="shop.settings.second", wsgi="shop.wsgi")
    found = config(result)
    assert (found.settings, found.wsgi) == ("shop.settings.second", "shop.wsgi:application")


@pytest.mark.parametrize(
    "option", [{"settings": "shop.nothing"}, {"wsgi": "shop.nothing:application"}]
)
def test_a_named_module_has_to_be_there(tmp_path: Path, option: dict[str, str]) -> None:
    with pytest.raises(AdoptError, match=r"--(settings|wsgi) shop\.nothing"):
        adopt(write(tmp_path), stacks=tmp_path, **option)  # type: ignore[arg-type]
    assert not list(tmp_path.glob("Pulumi.*"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"cookiecutter.json": "{}"}, r"is a template for projects .*cookiecutter "),
        (
            {"manage.py": "x = '{{ project_name }}'"},
            r"is a template for projects .*startproject --template",
        ),
    ],
)
def test_a_template_for_projects_is_recognised(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    with pytest.raises(AdoptError, match=words):
        adopt(write(tmp_path, PLAIN, files), stacks=tmp_path)


def test_force_replaces_the_file_of_the_stack(tmp_path: Path) -> None:
    app, stacks = write(tmp_path), tmp_path / "stacks"
    stacks.mkdir()
    (stacks / "Pulumi.shop.yaml").write_text("old")
    with pytest.raises(AdoptError, match="--force"):
        adopt(app, stacks=stacks)
    assert (stacks / "Pulumi.shop.yaml").read_text() == "old"
    adopt(app, stacks=stacks, force=True)
    assert "origin-kit:settings: shop.settings" in (stacks / "Pulumi.shop.yaml").read_text()


def test_settings_that_are_classes_are_reported(tmp_path: Path) -> None:
    """django-configurations: a module's names are all that the kit's module takes over."""
    more = (
        "from configurations import Configuration\nclass Live(Configuration):\n    DEBUG = True\n"
    )
    assert "Live is a class of settings (django-configurations)" in with_settings(tmp_path, more)[1]


# --------------------------------------------------------------------------------------- installing


NEWER = (
    "def f(x):\n    return f'{x['a'] !r:{'>' + '('}}' + 'Access-Control-Allow-Origin'\ntype A[T] ="
    " list[T]\n(\n"
)


def test_a_file_in_a_newer_grammar_does_not_end_it(tmp_path: Path) -> None:
    """Views that settings and their neighbours import: reported in one line, and the rest is
    read."""
    views = (
        "from shop.newer import f\nopen(BASE_DIR / 'n', 'w')\nr['Access-Control-Allow-Origin'] ="
        " 'https://a.org'\n"
    )
    files = {
        "shop/newer.py": NEWER,
        "shop/views.py": views,
        "shop/starter/manage.py": "{{ x }} y\n",
    }
    found, said, _ = with_settings(tmp_path, "from shop.newer import f\n", files)
    assert "this file is not valid Python 3." in said
    assert (
        "so it is not in this report (shop/newer.py:2)" in said
        or "report (shop/newer.py:3)" in said
    )
    assert [str(one) for one in found.extra_origins] == ["https://a.org"]


def test_settings_in_a_newer_grammar_are_reported(tmp_path: Path) -> None:
    with pytest.raises(
        AdoptError,
        match=r"shop/settings\.py:\d+: not valid Python 3\.\d+ .*newer Python.*UV_PYTHON=",
    ):
        adopt(write(tmp_path, PLAIN + "(\n"), stacks=tmp_path)


def test_the_python_of_included_requirements_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django 6 in a file that another one includes, above the folder with manage.py."""
    monkeypatch.setattr(image, "host_release", lambda: "bookworm")
    app = write(tmp_path, files={"requirements.txt": ""})
    (app / "requirements").mkdir()
    (app / "requirements.txt").write_text("-r requirements/live.txt\n")
    (app / "requirements" / "live.txt").write_text("-r base.txt\n")
    (app / "requirements" / "base.txt").write_text("Django>=6.0,<6.1\n")
    assert ">=3.12, so image: trixie" in row(adopted(app, tmp_path / "kit"), "python")
    inner = write(tmp_path / "top", files={"requirements.txt": ""})
    (tmp_path / "top" / "requirements.txt").write_text("django==6.0.8\n")
    (tmp_path / "top" / "pyproject.toml").write_text(
        "[project]\nname = 'x'\nrequires-python = '>=3.12'\n"
    )
    git(tmp_path / "top")
    assert "python         >=3.12, so image: trixie" in row(
        adopted(inner, tmp_path / "top" / "kit"), "python"
    )


def test_only_settings_are_called_others(tmp_path: Path) -> None:
    """A package `config` holds urls.py and wsgi.py as well."""
    files = {
        "manage.py": (
            "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.config.settings')\n"
        ),
        "shop/config/settings.py": PLAIN,
        "shop/config/urls.py": "x = 1\n",
        "shop/config/wsgi.py": "x = 1\n",
        "shop/config/local_settings.py": "x = 1\n",
        "shop/settings.py": "",
        "shop/wsgi.py": (
            "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.config.settings')\n"
            "application = None\n"
        ),
    }
    said = row(adopted(write(tmp_path, "", files), tmp_path / "kit"), "settings")
    assert said.endswith("there are also shop.config.local_settings")


def test_the_python_and_its_debian_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poetry's way of writing it counts as well; one that no Debian has is to decide."""
    monkeypatch.setattr(image, "host_release", lambda: "bookworm")
    poetry = '[tool.poetry.dependencies]\npython = "^3.13"\n'
    result = adopted(write(tmp_path, files={"pyproject.toml": poetry}), tmp_path / "kit")
    assert ">=3.13,<4, so image: trixie" in row(result, "python")
    future = '[project]\nname = "shop"\nrequires-python = ">=3.99"\n'
    result = adopted(
        write(tmp_path / "b", files={"pyproject.toml": future}), tmp_path / "b" / "kit"
    )
    assert "no Debian has such a Python" in decisions(result)


@pytest.mark.parametrize(
    ("line", "library", "instead"),
    [
        ("psycopg2==2.9.10", "libpq-dev", "psycopg2-binary"),
        ("psycopg[c]>=3.2", "libpq-dev", "psycopg[binary]"),
        ("mysqlclient", "default-libmysqlclient-dev", "PyMySQL"),
        ("python-ldap", "libldap-dev and libsasl2-dev", "ldap3"),
        ("pycairo", "libcairo2-dev", "→ put a wheel of it on your own index"),
        (
            "dbus-python",
            "libdbus-1-dev",
            "remove its line from requirements.txt, since no server needs it",
        ),
    ],
)
def test_a_package_that_can_not_be_built_is_named_early(
    tmp_path: Path, line: str, library: str, instead: str
) -> None:
    """It is called as the project calls it, with the library that is missing. `build_sdists` is not
    offered: what comes of it can't be shipped."""
    result = adopted(
        write(tmp_path, files={"requirements.txt": f"django\n{line}\n"}), tmp_path / "kit"
    )
    said = decisions(result)
    assert f"{line} comes as source alone and has to be compiled; a build needs {library}" in said
    assert instead in said
    assert "build_sdists" not in said and "leave it in" not in said


def test_a_package_that_has_wheels_by_now_is_no_finding(tmp_path: Path) -> None:
    """pygraphviz has them since 2.0."""
    said = decisions(
        adopted(write(tmp_path, files={"requirements.txt": "pygraphviz\n"}), tmp_path / "kit")
    )
    assert "pygraphviz" not in said


def test_a_package_to_build_is_named_with_the_place(
    tmp_path: Path,
) -> None:
    """uwsgi is plain C: a ship builds it, and fails where no build machine can be made."""
    said = decisions(
        adopted(write(tmp_path, files={"requirements.txt": "uwsgi==2.0.31\n"}), tmp_path / "kit")
    )
    assert "uwsgi==2.0.31 comes as source alone" in said
    assert (
        "it is built where `fab` can make a build machine (root, systemd-nspawn, hosts of this"
        " architecture)" in said
    )
    assert (
        "remove its line from requirements.txt, since gunicorn serves here; or leave it in" in said
    )


@pytest.mark.parametrize(
    ("line", "below"),
    [
        ("gunicorn==20.1.0", True),
        ("gunicorn<22", True),
        ("gunicorn~=21.0", True),
        ("gunicorn==21.*", True),
        ("gunicorn<=21.2", True),
        ("gunicorn==22.0", False),
        ("gunicorn~=22.0", False),
        ("gunicorn>=3", False),
        ("gunicorn<23", False),
        ("gunicorn", False),
        ("gunicorn @ https://example.com/x.whl", False),
    ],
)
def test_every_way_to_hold_a_version_is_compared_with_the_floor(line: str, below: bool) -> None:
    assert bool(list(below_floor(of_text(line, "requirements.txt"), {"gunicorn": "22"}))) is below


def test_pins_of_every_kind_of_file_are_read(tmp_path: Path) -> None:
    """A lock's too; and what Django itself asks of asgiref."""
    lock = 'version = 1\n[[package]]\nname = "gunicorn"\nversion = "20.1.0"\n'
    files = {
        "requirements.txt": "",
        "uv.lock": lock,
        "pyproject.toml": '[project]\nname = "x"\nversion = "1"\n',
    }
    assert "gunicorn is held at ==20.1.0 (uv.lock)" in with_settings(tmp_path / "a", "", files)[1]
    said = with_settings(
        tmp_path / "b", "", {"requirements.txt": "django>=5.2,<5.3\nasgiref==3.8.0\n"}
    )[1]
    assert (
        "asgiref is held at ==3.8.0 (requirements.txt)" in said
        and "Django 5.2 needs asgiref>=3.8.1" in said
    )


def test_a_lock_of_poetry_says_what_to_run(tmp_path: Path) -> None:
    said = with_settings(tmp_path, "", {"requirements.txt": "", "poetry.lock": "x"})[1]
    assert "poetry export -f requirements.txt" in said


# ---------------------------------------------------------------------------------------- variables

NEEDS = {
    "PORT = env.int('A', 8000)": {"A": False},
    "PORT = env.int('A', default_port())": {"A": False},
    "PORT = env.int('A')": {"A": True},
    "URL = env('A', str, 'x')": {"A": False},
    "URL = env('A', str)": {"A": True},
    "DATABASES['default'] = env.db()": {"DATABASE_URL": True},
    "DATABASES['default'] = env.db(default='sqlite://:memory:')": {"DATABASE_URL": False},
    """
def must(name):
    value = os.environ.get(name)
    if value is None:
        raise ValueError(name)
    return value
X = must('A')
""": {"A": True},
    """
def may(name, default=None):
    value = os.environ.get(name, default)
    if value is None:
        raise ValueError(name)
    return value
X = may('A', 'x')
Y = may('B')
""": {
        "A": False,
        "B": True,
    },
    """
def may(name, default=None):
    try:
        return os.environ[name]
    except KeyError:
        if default is not None:
            return default
        raise
X = may('A', 'x')
Y = may('B')
""": {
        "A": False,
        "B": True,
    },
    "PORT = int(os.environ.get('A', 0))\nif not 1024 <= PORT < 65536:\n    raise ValueError": {
        "A": True
    },
    "PORT = int(os.environ.get('A', 8000))\nif not 1024 <= PORT < 65536:\n    raise ValueError": {
        "A": False
    },
    "assert os.environ.get('A'), 'say A'": {"A": True},
    "X = os.environ.get('A') or os.environ['B']": {"A": False, "B": True},
    """
def under(path):
    return os.path.join(os.environ.get('HOME', '/'), path)
X = under('a')
""": {"HOME": False},
    "X = env.path('/srv/media', '/x')": {},
    "with envs.prefixed('SHOP_'):\n    X = envs.str('A')": {"SHOP_A": True},
    "if 'A' in os.environ:\n    X = 1\n    if os.environ['A'].startswith('x'):\n        X = 2": {
        "A": False
    },
    "X = {name: os.environ.get(name) for name in ('A',)}": {},
    "X = [os.environ[name] for name in ('A', 'B')]": {"A": True, "B": True},
}


@pytest.mark.parametrize("more", NEEDS)
def test_a_variable_is_needed_where_nothing_loads_without_it(tmp_path: Path, more: str) -> None:
    """Defaults, helpers, checks that raise; a path is no variable."""
    start = "import os\nimport environ, environs\nenv = environ.Env()\nenvs = environs.Env()\n"
    result = adopted(write(tmp_path, PLAIN + start + more + "\n"), tmp_path / "kit")
    assert {read.name: read.required for read in result.project.reads} == NEEDS[more]


# -------------------------------------------------------------------------------------------- DEBUG


@pytest.mark.parametrize(
    ("read", "text"),
    [
        ('env.bool("DEBUG", True)', "false"),
        ('os.environ.get("DEBUG", "True") == "True"', "false"),
        ('bool(int(os.environ.get("DEBUG", 1)))', "0"),
        ('bool(os.environ.get("DEBUG", "yes"))', ""),
        ('config("DEBUG", default=True, cast=bool)', "false"),
        ('flag("DEBUG", "True")', "False"),
    ],
)
def test_debug_is_switched_off_where_the_project_reads_it(
    tmp_path: Path, read: str, text: str
) -> None:
    """The branches that would run are reported, and the stack's file has the variable that switches
    them off."""
    more = f"""
import os, environ
from decouple import config
env = environ.Env()
FLAGS = {{"True": True, "False": False}}
def flag(name, default):
    text = os.getenv(name, default)
    if text not in FLAGS:
        raise ValueError(name)
    return FLAGS[text]
DEBUG = {read}
if DEBUG:
    EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
"""
    found, said, _ = with_settings(tmp_path, more)
    assert found.env == {"DEBUG": text}
    assert "`DEBUG` sets EMAIL_BACKEND" in said and f'env: DEBUG: "{text}" is in the file' in said


def test_branches_of_a_debug_that_is_written_are_reported(tmp_path: Path) -> None:
    """They run though DEBUG ends as False; those of a DEBUG that is off don't."""
    branch = "if DEBUG:\n    CACHES = {}\n"
    assert "`DEBUG` sets CACHES" in with_settings(tmp_path / "a", f"DEBUG = True\n{branch}")[1]
    assert "DEBUG" not in with_settings(tmp_path / "b", branch)[1]
    off = "import os\nDEBUG = os.environ.get('DEBUG') == '1'\n"
    found, said, _ = with_settings(tmp_path / "c", off + branch)
    assert (found.env, "DEBUG" in said) == ({}, False)


# -------------------------------------------------------------------------------- files and cookies


def test_paths_that_a_lambda_makes_are_read(tmp_path: Path) -> None:
    """`location = lambda x: …`, as many older projects have it; a search index next to the code
    among them."""
    more = """
import os
location = lambda x: os.path.join(os.path.dirname(os.path.realpath(__file__)), x)
STATIC_ROOT = location("public/static")
HAYSTACK_CONNECTIONS = {"default": {
    "ENGINE": "haystack.backends.whoosh_backend.E", "PATH": location("index")
}}
"""
    _, said, whole = with_settings(tmp_path, more)
    assert (
        "HAYSTACK_CONNECTIONS['default'] is shop/index, next to the code (shop/settings.py:15)"
        in said
    )
    assert "shop/public/static" in whole


def test_a_static_root_with_files_of_the_project_is_reported(tmp_path: Path) -> None:
    files = {"static/site/main.css": "x"}
    said = with_settings(tmp_path, "STATIC_ROOT = BASE_DIR / 'static'\n", files)[1]
    assert "STATIC_ROOT static holds files of the project (static/site/main.css)" in said


def test_what_git_ignores_is_not_the_project_s(tmp_path: Path) -> None:
    """Its origins don't count, and that it stays here is reported; the same file without git is
    shipped."""
    files = {
        "shop/local.py": "CORS_ALLOWED_ORIGINS = ['https://a.example.com']\n",
        ".gitignore": "local.py\n",
    }
    app = write(tmp_path, PLAIN + "from shop.local import *\n", files)
    git(app)
    result = adopted(app, tmp_path / "kit")
    assert config(result).extra_origins == ()
    assert "shop/local.py is ignored by git, so it is not shipped" in decisions(result)
    found, said, _ = with_settings(tmp_path / "plain", "from shop.local import *\n", files)
    assert [str(one) for one in found.extra_origins] == ["https://a.example.com"]
    assert "ignored by git, so" not in said


@pytest.mark.parametrize("name", ["__Secure-sessionid", "__Host-sessionid"])
def test_a_cookie_s_name_that_plain_http_loses_is_reported(tmp_path: Path, name: str) -> None:
    said = with_settings(tmp_path, f"SESSION_COOKIE_NAME = '{name}'\n")[1]
    assert (
        f"SESSION_COOKIE_NAME is '{name}': plain http loses" in said
        and "name it 'sessionid'" in said
    )


def test_a_page_that_asks_its_own_host_is_reported(tmp_path: Path) -> None:
    """It was made for a development server's proxy; one that reads config.json knows better."""
    page = {
        "dist/app.js": "fetch('/api/plants/').then(show)\n",
        "dist/other.js": "fetch('data.json'); fetch('/app.js')",
    }
    said = with_settings(tmp_path / "a", "", page)[1]
    assert (
        "the page asks /api/plants/ of its own host" in said
        and "(app.js:1)" in said
        and "other.js" not in said
    )
    page["dist/start.js"] = "fetch('/config.json')\n"
    assert "of its own host" not in with_settings(tmp_path / "b", "", page)[1]


# ---------------------------------------------------------------------------------- headers by hand


# ----------------------------------------------------------------------------------------- services

SERVICES = {
    "ASGI_APPLICATION = 'shop.asgi.application'": ("ASGI", "WebSockets answer 404"),
    "INSTALLED_APPS += ['channels']": ("ASGI", "channels is in INSTALLED_APPS"),
    "CELERY_BROKER_URL = 'amqp://guest:word@mq//'": (
        "Celery",
        "tasks that are sent are not worked on",
    ),
    "BROKER = 'amqp://guest:word@mq//'": ("RabbitMQ", "amqp://mq//"),
    "RQ_QUEUES = {'default': {}}": ("RQ", "no worker runs here yet"),
    "CACHES = {'default': {'BACKEND': 'django_redis.cache.RedisCache'}}": ("Redis", "no Redis"),
    "CACHES = {'default': {'BACKEND': 'django.core.cache.backends.memcached.X'}}": (
        "Memcached",
        "no memcached",
    ),
    "DATABASES = {'default': {'ENGINE': 'django.db.backends.mysql', 'NAME': 'x'}}": (
        "MySQL",
        "mysql on 'localhost'",
    ),
    "ELASTICSEARCH_DSL = {}": ("Elasticsearch", "so search fails"),
    "DEFAULT_FILE_STORAGE = 'storages.backends.s3boto3.S3Boto3Storage'": (
        "object storage",
        "in a bucket",
    ),
}


@pytest.mark.parametrize("more", SERVICES)
def test_what_runs_next_to_gunicorn_is_reported(tmp_path: Path, more: str) -> None:
    """In adopt, and a line each for the verbs that ship; no password in it."""
    result = adopted(write(tmp_path, PLAIN + more + "\n"), tmp_path / "kit")
    name, words = SERVICES[more]
    assert f"{name}: " in decisions(result) and words in decisions(result)
    assert any(line.startswith(f"{name}: ") and words in line for line in lines(result.project))
    assert "guest:word" not in decisions(result)


def test_websockets_without_channels_are_reported(tmp_path: Path) -> None:
    """An ASGI callable of the project's own, as the most used template has it."""
    asgi = (
        "async def application(scope, receive, send):\n    if scope['type'] == 'websocket':\n      "
        "  await ws(scope)\n"
    )
    said = with_settings(tmp_path, "", {"config/asgi.py": asgi})[1]
    assert (
        "ASGI: config/asgi.py has WebSocket consumers" in said and "WebSockets answer 404" in said
    )


def test_the_verbs_say_the_same_of_the_project_that_is_shipped(tmp_path: Path) -> None:
    """One line each; a project that can't be read any more is one line as well, never the end of
    the verb."""
    app = write(tmp_path, PLAIN + "ASGI_APPLICATION = 'shop.asgi.application'\n")
    found = config(adopted(app, tmp_path / "kit"))
    assert [line.split(":")[1].strip() for line in services.notes(found)] == ["ASGI"]
    (app / "shop" / "settings.py").write_text("print 'x'\n")
    assert "is not known" in services.notes(found)[0]


def test_a_cookie_name_that_http_loses_is_noted(tmp_path: Path) -> None:
    """The verbs note a cookie's name that plain http loses."""
    app = write(tmp_path, PLAIN + "SESSION_COOKIE_NAME = '__Secure-sessionid'\n")
    (line,) = services.notes(config(adopted(app, tmp_path / "kit")))
    assert (
        "SESSION_COOKIE_NAME is '__Secure-sessionid': plain http loses a cookie of that name"
        in line
    )


def test_a_plain_project_needs_nothing_next_to_gunicorn(tmp_path: Path) -> None:
    """SQLite, the local memory cache, mail by SMTP and an asgi.py as startproject writes it."""
    asgi = (
        "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n"
    )
    more = (
        "CACHES = {'default': {'BACKEND':"
        " 'django.core.cache.backends.locmem.LocMemCache'}}\nEMAIL_HOST = 'mx'\n"
    )
    result = adopted(write(tmp_path, PLAIN + more, {"shop/asgi.py": asgi}), tmp_path / "kit")
    assert lines(result.project) == []


# ------------------------------------------------------------------------------- from real projects


def test_code_that_this_python_cannot_read_ends_nothing(tmp_path: Path) -> None:
    """A file that another one imports: the report is whole, and says which file, why, and which
    Debian may read it."""
    newer = "from shop.serial import thing\nFILES = open('x', 'w')\n"
    files = {"shop/serial.py": "thing = 1 ) 2\n", "shop/views.py": newer}
    result = adopted(write(tmp_path, files=files), tmp_path / "kit")
    assert "this file is not valid Python 3." in decisions(result)
    assert "(shop/serial.py:1)" in decisions(result)
    assert "if it is written for a newer Python, Debian 13 has 3.13: `image: trixie`" in decisions(
        result
    )
    settings = write(
        tmp_path / "b", PLAIN.replace("SECRET_KEY", "from shop.serial import *\nSECRET_KEY"), files
    )
    result = adopted(settings, tmp_path / "b" / "kit")
    assert decisions(result).count("(shop/serial.py:1)") == 1


def test_production_settings_are_preferred(tmp_path: Path) -> None:
    """`settings/__init__.py` imports dev, and wsgi.py names the package: a host runs prod, and why
    is reported."""
    files = {
        "shop/settings.py": "",
        "shop/settings/__init__.py": (
            "try:\n    from .dev import *\nexcept ImportError:\n    from .prod import *\n"
        ),
        "shop/settings/base.py": PLAIN,
        "shop/settings/dev.py": "from .base import *\nDEBUG = True\n",
        "shop/settings/prod.py": "from .base import *\nDEBUG = False\n",
    }
    result = adopted(write(tmp_path, "", files), tmp_path / "kit")
    assert config(result).settings == "shop.settings.prod"
    assert "shop.settings, which wsgi.py names, imports shop/settings/dev.py" in row(
        result, "settings"
    )
    del files["shop/settings/prod.py"]
    result = adopted(write(tmp_path / "b", "", files), tmp_path / "b" / "kit")
    assert config(result).settings == "shop.settings"


def test_a_server_behind_a_variable_is_no_note(tmp_path: Path) -> None:
    """SQLite is what there is without it: adopt says so, and nothing else repeats that a server is
    missing."""
    source = (
        PLAIN + "import os\n"
        "if os.getenv('DB_ENGINE', 'sqlite') == 'postgres':\n"
        "    one = {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'shop'}\n"
        "else:\n"
        "    one = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}\n"
        "DATABASES = {'default': one}\n"
    )
    result = adopted(write(tmp_path, source), tmp_path / "kit")
    assert "but SQLite where none of its variables is set, which the hosts have" in decisions(
        result
    )
    assert "nothing for SQLite; otherwise name one" in decisions(result)
    assert lines(result.project) == []


def test_places_that_settings_make_are_reported(tmp_path: Path) -> None:
    """A queue's file, and a folder of the project's own naming that holds nothing yet; what is
    there is left alone."""
    source = (
        PLAIN + "HUEY = {'filename': str(BASE_DIR / 'data' / 'tasks.sqlite3')}\n"
        "SHOP_FAVICON_FOLDER = str(BASE_DIR / 'data' / 'favicons')\n"
        "SHOP_FONT_DIR = BASE_DIR / 'shop' / 'fonts'\n"
        "TEST_OUTPUT_DIR = BASE_DIR / 'junit'\n"
        "FRONTEND_DIST_DIR = BASE_DIR / 'dist'\n"
        "import os\n"
        "SHOP_STORE_PATH = os.environ.get('SHOP_STORE', str(BASE_DIR / 'store'))\n"
    )
    result = adopted(write(tmp_path, source, {"shop/fonts/a.txt": "x"}), tmp_path / "kit")
    text = decisions(result)
    assert "HUEY['filename'] is data/tasks.sqlite3, next to the code" in text
    assert "SHOP_FAVICON_FOLDER is data/favicons, next to the code" in text
    assert "SHOP_STORE_PATH is store where SHOP_STORE is not set, next to the code" in text
    assert "or set SHOP_STORE in env: to a path below /var/lib/shop" in text
    assert not any(
        name in text for name in ("SHOP_FONT_DIR", "TEST_OUTPUT_DIR", "FRONTEND_DIST_DIR")
    )


def test_scripts_and_helpers_of_tests_are_not_what_a_host_runs(tmp_path: Path) -> None:
    """A file whose name no import can write, and folders of tests whatever they are called."""
    writes = "open('CHANGELOG.md', 'w')\n"
    files = {
        "scripts/make-changelog.py": writes,
        "shop/tests_e2e/helpers.py": writes,
        "conftest.py": writes,
    }
    assert "CHANGELOG" not in decisions(adopted(write(tmp_path, files=files), tmp_path / "kit"))


def test_of_a_uv_lock_only_what_is_installed_counts(tmp_path: Path) -> None:
    """An extra or a group of its own is locked as well, and the kit installs neither."""
    lock = """version = 1
[[package]]
name = "shop"
version = "1.0"
source = { virtual = "." }
dependencies = [{ name = "django" }, { name = "chosen", extra = ["fast"] }]
[package.optional-dependencies]
mariadb = [{ name = "mysqlclient" }]
[[package]]
name = "django"
version = "5.2.1"
[[package]]
name = "chosen"
version = "1.0"
[package.optional-dependencies]
fast = [{ name = "uwsgi" }]
slow = [{ name = "pycairo" }]
[[package]]
name = "mysqlclient"
version = "2.2.8"
[[package]]
name = "uwsgi"
version = "2.0.31"
[[package]]
name = "pycairo"
version = "1.0"
"""
    assert {one.name for one in of_text(lock, "uv.lock")} == {"shop", "django", "chosen", "uwsgi"}
    pyproject = "[project]\nname = 'shop'\n"
    text = decisions(
        adopted(
            write(tmp_path, files={"uv.lock": lock, "pyproject.toml": pyproject}), tmp_path / "kit"
        )
    )
    assert "uwsgi==2.0.31 comes as source alone" in text and "`uv remove uwsgi`" in text
    assert "mysqlclient" not in text


EXTRA = """[project]
name = "shop"
version = "1"
dependencies = ["django"]
[project.optional-dependencies]
docs = ["sphinx"]
test = ["pytest", "Django-Environ>=0.11", "django-debug-toolbar"]
"""


def test_package_that_only_an_extra_has(tmp_path: Path) -> None:
    """A module that the settings import, or an app, is named with the extra of pyproject.toml that
    alone has its package, and with the way to ask for it."""
    more = "import environ\nINSTALLED_APPS += ['debug_toolbar']\n"
    files = {"requirements.txt": "", "pyproject.toml": EXTRA}
    said = with_settings(tmp_path, more, files)[1]
    assert (
        "the settings import environ, and django-environ is only in the extra 'test' of"
        " pyproject.toml, which is not installed (shop/settings.py:11)" in said
    )
    assert "debug_toolbar, and django-debug-toolbar is only in the extra 'test'" in said
    command = "uv pip compile pyproject.toml --extra test -o requirements-hosts.txt"
    assert f"run `{command}` in the folder of pyproject.toml" in said
    assert "write `requirements: requirements-hosts.txt` into the file" in said
    assert "sphinx" not in said and "pytest" not in said


def test_extra_of_a_pyproject_above(tmp_path: Path) -> None:
    """The list is written where pyproject.toml is, and named from the folder with manage.py; with a
    uv.lock it is exported from that."""
    lock = "version = 1\n[[package]]\nname = 'shop'\nversion = '1'\nsource = {virtual = '.'}\n"
    app = write(tmp_path / "top", PLAIN + "import environ\n", {"requirements.txt": ""})
    (tmp_path / "top" / "pyproject.toml").write_text(EXTRA)
    (tmp_path / "top" / "uv.lock").write_text(lock.replace("'", '"'))
    git(tmp_path / "top")
    said = decisions(adopted(app, tmp_path / "kit"))
    assert "uv export --no-dev --no-emit-project --extra test -o requirements-hosts.txt" in said
    assert "write `requirements: ../requirements-hosts.txt` into the file" in said
    (tmp_path / "top" / "requirements-hosts.txt").write_text("django\ndjango-environ\n")
    named = str(KEYS["requirements"].read("../requirements-hosts.txt"))
    assert "django-environ" in requirements(local(app), named).text


@pytest.mark.parametrize(
    ("settings", "listed"),
    [
        ("import environ\n", EXTRA.replace('["django"]', '["django", "django-environ"]')),
        ("try:\n    import environ\nexcept ImportError:\n    X = 1\n", EXTRA),
        ("import os\nif os.getenv('TEST'):\n    import environ\n", EXTRA),
        ("import sphinx_theme\n", EXTRA),
    ],
)
def test_no_extra_is_needed(tmp_path: Path, settings: str, listed: str) -> None:
    """The package is installed as well, or the settings load without it, or no extra has it."""
    files = {"requirements.txt": "", "pyproject.toml": listed}
    assert "extra '" not in with_settings(tmp_path, settings, files)[1]


@pytest.mark.parametrize(
    ("lines", "cure"),
    [
        ("COMPRESS_OFFLINE = True\n", "set COMPRESS_ENABLED = False in the settings where"),
        (
            (
                "import os\nCOMPRESS_OFFLINE = True\nCOMPRESS_ENABLED = os.environ.get('SQUEEZE',"
                " '1') == '1'\n"
            ),
            'set SQUEEZE: "False" in env:',
        ),
    ],
)
def test_a_compressor_that_needs_a_run_of_its_own_is_reported(
    tmp_path: Path, lines: str, cure: str
) -> None:
    """A ship has no such step yet, so the way round is said before a machine is made."""
    said = decisions(adopted(write(tmp_path, PLAIN + lines), tmp_path / "kit"))
    assert "COMPRESS_OFFLINE asks for `manage.py compress`" in said and cure in said
    quiet = decisions(
        adopted(
            write(tmp_path / "off", PLAIN + "COMPRESS_OFFLINE = False\n"), tmp_path / "off" / "kit"
        )
    )
    assert "COMPRESS" not in quiet
