"""`fab adopt` where settings stand in classes: django-configurations, and pydantic-settings read in
settings.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_adopt import COMMON, PLAIN, adopted, config, decisions, write
from tests.test_adopt_cases import row

SCRIPT = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
os.environ.setdefault("DJANGO_CONFIGURATION", "Dev")
from configurations.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
CLASSES = f"""
from pathlib import Path
from configurations import Configuration, values

class Common(Configuration):
    BASE_DIR = Path(__file__).resolve().parent.parent
    SECRET_KEY = values.SecretValue()
    ROOT_URLCONF = "shop.urls"
    WSGI_APPLICATION = "shop.wsgi.application"
    INSTALLED_APPS = ["django.contrib.auth"]
    MIDDLEWARE = ["{COMMON}"]
    DATABASES = values.DatabaseURLValue("sqlite:///db.sqlite3")
    CORS_ALLOWED_ORIGINS = ["https://page.example.com"]
    MAIL_HOST = values.Value(environ_required=True)
    PAGE_SIZE = values.IntegerValue(20, environ_prefix="SHOP")

    @property
    def TITLE(self):
        return f"shop on {{self.MAIL_HOST}}"

class Dev(Common):
    DEBUG = values.BooleanValue(True)
    INSTALLED_APPS = Common.INSTALLED_APPS + ["debug_toolbar"]

class Prod(Common):
    DEBUG = False
    CORS_ALLOWED_ORIGINS = Common.CORS_ALLOWED_ORIGINS + ["https://live.example.com"]
"""
FILES = {
    "manage.py": SCRIPT,
    "shop/wsgi.py": SCRIPT,
    "requirements.txt": "django\ndjango-configurations\n",
}


def test_a_settings_class_is_read_as_what_it_makes(tmp_path: Path) -> None:
    """The one for production, its bases included; a value looks up a variable by
    django-configurations' rules."""
    result = adopted(write(tmp_path, CLASSES, FILES), tmp_path / "kit")
    found, said = config(result), decisions(result)
    assert (
        "shop.settings, named by wsgi.py and manage.py; class Prod (it looks like the one for"
        " production)" in row(result, "settings")
    )
    assert "1 apps" in row(result, "INSTALLED_APPS")
    assert [str(one) for one in found.extra_origins] == [
        "https://page.example.com",
        "https://live.example.com",
    ]
    reads = {one.name: one.required for one in result.project.reads}
    assert reads["DJANGO_MAIL_HOST"] is True and reads["SHOP_PAGE_SIZE"] is False
    assert reads["DATABASE_URL"] is False
    assert "the settings don't load without these environment variables: DJANGO_MAIL_HOST" in said
    assert found.env == {"DJANGO_CONFIGURATION": "Prod"}
    assert "Prod is a class of settings (django-configurations)" in said
    assert (
        'env: DJANGO_CONFIGURATION: "Prod" is in the file' in said
        and "there are also Common, Dev" in said
    )


def test_the_class_that_the_scripts_name_is_taken(
    tmp_path: Path,
) -> None:
    """DEBUG is switched off there by the variable of its value."""
    without = CLASSES[: CLASSES.index("class Prod")]
    result = adopted(write(tmp_path, without, FILES), tmp_path / "kit")
    assert "class Dev (DJANGO_CONFIGURATION names it)" in row(result, "settings")
    assert "2 apps" in row(result, "INSTALLED_APPS")
    assert config(result).env == {"DJANGO_CONFIGURATION": "Dev", "DJANGO_DEBUG": "false"}


def test_several_classes_of_which_none_is_named_are_listed(tmp_path: Path) -> None:
    text = CLASSES.replace("class Prod", "class Other")
    plain = {
        name: one.replace('os.environ.setdefault("DJANGO_CONFIGURATION", "Dev")\n', "")
        for name, one in FILES.items()
    }
    result = adopted(write(tmp_path, text, plain), tmp_path / "kit")
    said = decisions(result)
    assert (
        "the settings are classes (django-configurations), and none is named; here is what all have"
        in said
    )
    assert "env: DJANGO_CONFIGURATION, one of Common, Dev, Other, into the file" in said
    assert "1, no CorsMiddleware" in row(result, "middleware")
    assert "computed at run time" in row(result, "INSTALLED_APPS")
    assert config(result).env == {}


SCHEMA = """
from functools import lru_cache
from pydantic import Field, AliasChoices
from pydantic_settings import BaseSettings, SettingsConfigDict

class Base(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_", env_file=".env")
    debug: bool = True
    mail_host: str

class Settings(Base):
    name: str = "shop"
    page_size: int = Field(20, ge=1)
    token: str | None = Field(default=None, alias="API_TOKEN")
    database_url: str = Field(..., validation_alias=AliasChoices("DATABASE_URL", "PG_URL"))
    origins: list[str] = ["https://page.example.com"]

    @property
    def title(self) -> str:
        return self.name.title()

@lru_cache
def get_settings():
    return Settings()
"""
READ = """
from shop.config import get_settings
conf = get_settings()
DEBUG = conf.debug
CORS_ALLOWED_ORIGINS = conf.origins
SITE_NAME = conf.name
TITLE = conf.title
if DEBUG:
    CACHES = {}
"""


def test_fields_of_pydantic_settings_are_variables(tmp_path: Path) -> None:
    """With the prefix or their alias; needed where they have no default; what they give is computed
    at run time."""
    result = adopted(write(tmp_path, PLAIN + READ, {"shop/config.py": SCHEMA}), tmp_path / "kit")
    assert {one.name: (one.required, one.kind) for one in result.project.reads} == {
        "SHOP_DEBUG": (False, "bool"),
        "SHOP_MAIL_HOST": (True, ""),
        "SHOP_NAME": (False, ""),
        "SHOP_PAGE_SIZE": (False, "int"),
        "API_TOKEN": (False, ""),
        "DATABASE_URL": (True, ""),
        "SHOP_ORIGINS": (False, "json"),
    }
    said, text = decisions(result), result.config.read_text()
    assert "without these environment variables: DATABASE_URL, SHOP_MAIL_HOST" in said
    assert "CORS_ALLOWED_ORIGINS is computed at run time, from SHOP_ORIGINS" in said
    assert "SHOP_MAIL_HOST: <text>" in text
    assert config(result).env == {"SHOP_DEBUG": "false"}


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        (
            "class S(BaseSettings):\n    x: int\n    class Config:\n        env_prefix = 'A_'\n",
            {"A_X": True},
        ),
        (
            "class S(BaseSettings):\n    model_config = {'env_prefix': 'A_'}\n    x: int\n",
            {"A_X": True},
        ),
        ("class S(BaseSettings):\n    x: int = Field(env='B')\n", {"B": True}),
        ("class S(BaseSettings):\n    x: list = Field(default_factory=list)\n", {"X": False}),
        (
            "class P(BaseSettings):\n    y: int\nclass S(BaseSettings):\n    p: P = P()\n",
            {"Y": True},
        ),
        ("class S(BaseSettings):\n    _x: int\n    n: ClassVar[int] = 1\n", {}),
        ("class S:\n    x: int\n", {}),
    ],
)
def test_ways_to_write_fields(tmp_path: Path, text: str, reads: dict[str, bool]) -> None:
    start = (
        "from typing import ClassVar\nfrom pydantic import Field\nfrom pydantic_settings import"
        " BaseSettings\n"
    )
    result = adopted(write(tmp_path, PLAIN + start + text + "s = S()\n"), tmp_path / "kit")
    assert {one.name: one.required for one in result.project.reads} == reads


def test_a_class_that_settings_read_literally_is_read(tmp_path: Path) -> None:
    more = (
        "class Site:\n    origins = ['https://page.example.com']\nCORS_ALLOWED_ORIGINS ="
        " Site.origins\n"
    )
    found = config(adopted(write(tmp_path, PLAIN + more), tmp_path / "kit"))
    assert [str(one) for one in found.extra_origins] == ["https://page.example.com"]
