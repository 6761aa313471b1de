"""A project whose settings are classes of django-configurations, on a real machine: adopted,
refused, then served."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kit import ROOT, Stack, a_copy_of_the_example

pytestmark = [pytest.mark.machines, pytest.mark.soak]

# The example's own settings, as a class; another one allows everybody.
SETTINGS = """
from configurations import Configuration
from shop import plain

own = {name: value for name, value in vars(plain).items() if name.isupper()}
Common = type("Common", (Configuration,), own)

class Dev(Common):
    DEBUG = True

class Prod(Common):
    CORS_ALLOW_ALL_ORIGINS = True
    ALLOWED_HOSTS = ["*"]
"""
CONFIGURATION = "os.environ.setdefault('DJANGO_CONFIGURATION', 'Dev')"


@pytest.fixture
def project() -> Iterator[Path]:
    with a_copy_of_the_example() as copy:
        shop = copy / "shop"
        (shop / "settings.py").rename(shop / "plain.py")
        (shop / "settings.py").write_text(SETTINGS)
        (copy / "requirements.txt").write_text("django==5.2.19\ndjango-configurations==2.5.1\n")
        for file, name in ((copy / "manage.py", "management"), (shop / "wsgi.py", "wsgi")):
            text = file.read_text().replace("django.core.management", "configurations.management")
            text = text.replace("django.core.wsgi", "configurations.wsgi")
            before = "from configurations" if name == "wsgi" else "    try:"
            file.write_text(
                text.replace(
                    before, f"{'    ' if name != 'wsgi' else ''}{CONFIGURATION}\n{before}", 1
                )
            )
        wsgi = (shop / "wsgi.py").read_text()
        usual = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
        (shop / "wsgi.py").write_text(
            wsgi.replace(usual, "").replace(CONFIGURATION, usual + CONFIGURATION)
        )
        yield copy


def test_a_class_serves_with_the_contract_s_list(stack: Stack, project: Path) -> None:
    """Without the name of the class a ship is refused and the release of before serves; with it the
    class's values are in, and none of them over the contract's."""
    before = json.loads(stack.fab("status", "--json").stdout)["backend-1"]["release"]
    path = str(project.relative_to(ROOT))
    try:
        stack.write(backend_path=path)
        refused = stack.fab("ship", status=1).stderr
        assert (
            "the settings are classes: name one by DJANGO_CONFIGURATION in `env` of the stack's"
            " config" in refused
        )
        assert (
            json.loads(stack.fab("status", "--json", status=None).stdout)["backend-1"]["release"]
            == before
        )
        stack.write(backend_path=path, env={"DJANGO_CONFIGURATION": "Prod"})
        stack.fab("up")
        for words in (["check", "--deploy", "--fail-level", "ERROR"], ["shell", "-v0", "-c", ASK]):
            said = stack.kit.fab("manage", "--stack", stack.name, "--", *words).stdout
        values = json.loads(said.splitlines()[-1])
        assert values == [
            False,
            False,
            "corsheaders.middleware.CorsMiddleware",
            "origin_kit_settings.Prod",
        ]
        origin = stack.contract.backend.origin
        for page, lines in ((stack.contract.frontend.origin, 1), ("http://evil.test", 0)):
            asked = urllib.request.Request(f"{origin}/api/products/", headers={"Origin": page})
            with urllib.request.urlopen(asked, timeout=20) as answer:
                assert len(answer.headers.get_all("Access-Control-Allow-Origin", [])) == lines
        stack.fab("doctor")
    finally:
        stack.write()
        stack.fab("up")  # release and configuration go back as one: the one before knows no classes
    assert json.loads(stack.fab("status", "--json").stdout)["backend-1"]["release"] == before


ASK = (
    "import json; from django.conf import settings as s; "
    "print(json.dumps([s.DEBUG, s.CORS_ALLOW_ALL_ORIGINS, s.MIDDLEWARE[0], s.CONFIGURATION]))"
)
