"""The kit's settings module in front of classes of django-configurations, imported by a real
Django. Asks the real index for that package."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from on_host import as_user
from on_host.as_user import load_project
from on_host.release.django import class_to_name
from rollout.render.django import settings_text
from tests.test_render import load
from tests.test_render_settings import CHECK, CORS_FIRST, KEY, READ, Project

PACKAGE = "django-configurations==2.5.1"
CLASSES = """
import os
from configurations import Configuration, values

class Common(Configuration):
    SECRET_KEY = values.SecretValue()
    ROOT_URLCONF = "shop.urls"
    INSTALLED_APPS = ["django.contrib.contenttypes"]
    MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
    PAGE_SIZE = values.IntegerValue(20)

    @property
    def TITLE(self):
        return f"pages of {self.PAGE_SIZE}"

    def LABEL(self):
        return values.Value("none")

    @classmethod
    def pre_setup(cls):
        super().pre_setup()
        os.environ["BEFORE"] = os.environ.get("BEFORE", "") + "x"

    @classmethod
    def post_setup(cls):
        super().post_setup()
        os.environ["AFTER"] = os.environ.get("AFTER", "") + "x"

class Dev(Common):
    DEBUG = True

class Prod(Common):
    ALLOWED_HOSTS = ["*"]
    CORS_ORIGIN_WHITELIST = ["http://evil.test"]
    CORS_ALLOW_ALL_ORIGINS = values.BooleanValue(True)
"""
# How a wsgi.py and a manage.py of such a project begin; the kit's own scripts begin as any other
# program.
STARTS = {"by its importer": "import configurations\nconfigurations.setup()\n", "plainly": ""}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configurations")
    words = ["install", "-q", "--no-deps", "--only-binary=:all:", "--target", str(folder), PACKAGE]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    return folder


class Host(Project):
    """A host of a stack whose `env` names the class."""

    def __init__(self, folder: Path, package: Path, name: str = "Prod", **files: str) -> None:
        self.package, self.name = package, name
        super().__init__(folder, CLASSES, **files)

    def write_module(self, case: str, **_: Any) -> None:
        contract = load(case)
        application = dataclasses.replace(
            contract.application, env={"DJANGO_CONFIGURATION": self.name}
        )
        text = settings_text(
            dataclasses.replace(contract, application=application), contract.backend.hosts[0]
        )
        (self.folder / "django" / "origin_kit_settings.py").write_text(text)

    def run(self, script: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join([str(self.folder / "django"), str(self.package)])
        return super().run(
            script, *words, **{"PYTHONPATH": paths, "DJANGO_CONFIGURATION": self.name, **env}
        )


@pytest.mark.parametrize("start", STARTS)
def test_the_contract_wins_over_a_class(tmp_path: Path, package: Path, start: str) -> None:
    """However the process starts: the importer of such classes sets nothing after the kit's module,
    and what a class does before and after is done once."""
    host = Host(tmp_path, package)
    more = "import os\nprint(json.dumps([os.environ['BEFORE'], os.environ['AFTER']]))\n"
    done = host.run(STARTS[start] + READ + more, DJANGO_PAGE_SIZE="50")
    assert done.returncode == 0, done.stderr
    found, hooks = map(json.loads, done.stdout.splitlines())
    contract = load("local-ip")
    assert found["CORS_ALLOWED_ORIGINS"] == list(contract.cors.allowed_origins)
    assert found["CORS_ALLOW_ALL_ORIGINS"] is found["DEBUG"] is False
    assert not [old for old in found if old.startswith("CORS_ORIGIN_")]
    assert found["ALLOWED_HOSTS"] == ["10.213.7.74"]
    assert found["MIDDLEWARE"] == [CORS_FIRST, "django.middleware.common.CommonMiddleware"]
    assert found["INSTALLED_APPS"] == ["django.contrib.contenttypes", "corsheaders"]
    assert found["SECRET_KEY"] == KEY
    assert found["STATIC_ROOT"] == str(tmp_path / "current" / "static")
    assert found["DATABASES"]["default"]["NAME"] == str(host.data / "db.sqlite3")
    assert (found["PAGE_SIZE"], found["TITLE"], found["LABEL"]) == (50, "pages of 50", "none")
    assert hooks == ["x", "x"]


@pytest.mark.parametrize(("own", "expected"), [("", 10 << 20), ("5_000_000", 5_000_000)])
def test_a_class_has_a_limit_of_its_own_only_if_it_says_so(
    tmp_path: Path, package: Path, own: str, expected: int
) -> None:
    """The base of such classes holds all of Django's defaults, which are no limits of a project."""
    host = Host(tmp_path, package)
    line = f"\n    DATA_UPLOAD_MAX_MEMORY_SIZE = {own}" if own else ""
    settings = CLASSES.replace(
        "class Common(Configuration):", f"class Common(Configuration):{line}"
    )
    (host.app / "shop" / "settings.py").write_text(settings)
    done = host.run(READ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["DATA_UPLOAD_MAX_MEMORY_SIZE"] == expected


def test_django_s_checks_pass_over_a_class(tmp_path: Path, package: Path) -> None:
    host = Host(tmp_path, package)
    by_its_own = CHECK.replace("django.core.management", "configurations.management")
    for script in (CHECK, by_its_own):
        done = host.run(script)
        assert done.returncode == 0, done.stderr


def test_a_class_that_is_not_there_is_named(tmp_path: Path, package: Path) -> None:
    done = Host(tmp_path, package, "Production").run(READ)
    assert (
        "env: DJANGO_CONFIGURATION is 'Production', and shop.settings has no such class"
        in done.stderr
    )
    assert "it has ['Common', 'Dev', 'Prod']" in done.stderr


WSGI = """
import os
os.environ.setdefault("DJANGO_CONFIGURATION", "Prod")
from configurations.wsgi import get_wsgi_application
application = get_wsgi_application()
"""


@pytest.mark.parametrize("wsgi", [WSGI, "import shop.settings\napplication = print\n"])
def test_a_class_that_the_stack_does_not_name_is_refused(
    tmp_path: Path, package: Path, wsgi: str
) -> None:
    """wsgi.py's default would do, but then its values come after the kit's: whoever the class
    allows is allowed."""
    host = Project(tmp_path, CLASSES, **{"wsgi.py": wsgi})
    paths = os.pathsep.join([str(host.folder / "django"), str(package)])
    done = host.run(
        as_user.text("load_project"), "shop.wsgi:application", "shop.settings", PYTHONPATH=paths
    )
    assert done.returncode == 1
    assert load_project.CLASSES in done.stderr + class_to_name(done.stderr)
