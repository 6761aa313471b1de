"""The project's own commands, as the application's user, within its service's limits."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

from on_host import confined, places
from on_host.as_user import load_project, text
from on_host.orders import ORDERS, Json
from on_host.release.state import unharmed
from on_host.runtime import Failed, last_lines
from on_host.user import as_user


class Django:
    """The project in a staged release, under the settings that came along, as the application's
    user."""

    def __init__(self, release: Path) -> None:
        self.release = release
        self.app = release / "app"
        self.python = str(release / "venv/bin/python")
        self.env = self.environment()

    def environment(self) -> dict[str, str]:
        """Values of the live generation are replaced by those that came along; secrets stay in the
        environment."""
        given = {**ORDERS["env"], **ORDERS["secrets"]}
        own = [
            part
            for part in given.get("PYTHONPATH", "").split(":")
            if part and not part.startswith("/etc/origin-kit/")
        ]
        return {
            **given,
            "PYTHONPATH": ":".join([str(places.staged() / "django"), *own]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DJANGO_SETTINGS_MODULE": "origin_kit_settings",
            "ORIGIN_KIT_RELEASE": str(self.release),
            "ORIGIN_KIT_DATA": str(places.data()),
        }

    def program(self, name: str, *words: str) -> confined.Ended:
        """Run a program of `on_host.as_user` by the release's own interpreter."""
        return as_user(self.python, "-c", text(name), *words, cwd=str(self.app), env=self.env)

    def manage(self, *words: str, **more: Any) -> confined.Ended:
        return as_user(*self.manage_words(*words), cwd=str(self.app), env=self.env, **more)

    def manage_words(self, *words: str) -> list[str]:
        return [self.python, "manage.py", *words, "--no-color", "--settings=origin_kit_settings"]

    def collect(self, into: BinaryIO) -> confined.Ended:
        """Collect the static files, and have them handed over to `into`."""
        words = [
            sys.executable,
            "-I",
            "-c",
            text("static_files"),
            *self.manage_words("collectstatic", "--noinput"),
        ]
        return as_user(*words, cwd=str(self.app), env=self.env, into=into)

    def must(self, done: confined.Ended, what: str, after: str = "") -> None:
        """Raise Failed with the gist of the traceback where `done` did not end well."""
        if done.late:
            raise Failed(
                f"{what} did not end within {done.limit_s:g} s, the limit for it, and was stopped; "
                f"{unharmed()}{after}. Correct it and ship again",
                last_lines(self.shown(done.stdout)),
            )
        if done.returncode:
            said = self.shown(done.stdout)
            cures = where_to_write(said), no_server(said), class_to_name(said), self.named_by(said)
            why = gist(said) + "".join(cures)
            text = f"{what} fails: {why}; {unharmed()}{after}. Correct it and ship again"
            raise Failed(text, last_lines(said))

    def shown(self, said: str) -> str:
        """Paths as the developer knows them: from the project's folder."""
        return said.replace(f"{self.app}/", "").replace(f"{places.staged()}/django/", "the kit's ")

    def named_by(self, said: str) -> str:
        """Who asked for what can't be imported, if that is what happened: a setting, a package or a
        file."""
        missing = re.search(r"No module named '([^']+)'", said)
        if not missing:
            return misfit(said)
        for key in ("settings", "wsgi"):
            named = ORDERS[key].split(":")[0]
            if named == missing[1] or named.startswith(missing[1] + "."):
                return f"; `{key}` in the stack's config names it"
        done = self.program("who_names", missing[1])
        # Its warnings are in the same output, so names are marked as such.
        names = (
            ", ".join(re.findall(r"^named: (\w+)$", done.stdout, re.MULTILINE))
            if done.returncode == 0
            else ""
        )
        own = self.of_project(missing[1])
        if own:
            return f"; {own} is not among the project's files: write it, or have git take it"
        named = f"; {names} in the project's settings names it" if names else ""
        package = PACKAGES.get(missing[1].split(".")[0])
        if package:
            return f"{named}; it comes with the package {package}: add that to its requirements"
        return named or misfit(said) or "; is it among its requirements?"

    def of_project(self, module: str) -> str:
        """The file that a module of the project's own would be in; "" for a module from
        elsewhere."""
        top, *inner = module.split(".")
        return f"{'/'.join([top, *inner])}.py" if inner and (self.app / top).is_dir() else ""


# Modules whose package has another name, or that Python itself had once.
PACKAGES = {
    "pkg_resources": "setuptools<81",
    "distutils": "setuptools",
    "cgi": "legacy-cgi",
    "imp": "zombie-imp",
    "environ": "django-environ",
    "decouple": "python-decouple",
    "dotenv": "python-dotenv",
    "PIL": "Pillow",
    "yaml": "PyYAML",
    "MySQLdb": "mysqlclient",
    "dateutil": "python-dateutil",
    "jwt": "PyJWT",
    "magic": "python-magic",
    "bs4": "beautifulsoup4",
    "ldap": "python-ldap",
    "rest_framework": "djangorestframework",
    "debug_toolbar": "django-debug-toolbar",
    "allauth": "django-allauth",
    "storages": "django-storages",
}


def printed(done: confined.Ended, key: str) -> Json:
    """The last line of a program's output that is {key: {...}}; {} where there is none."""
    lines = [line for line in done.stdout.splitlines() if line.startswith(f'{{"{key}": ')]
    found: Json = json.loads(lines[-1])[key] if lines else {}
    return found


def last_traceback(said: str) -> str:
    return said.rsplit("Traceback (most recent call last):", 1)[-1]


def gist(said: str) -> str:
    """The exception of the last traceback and the project's own line, on one line."""
    block = last_traceback(said)
    lines = [
        line.rstrip() for line in block.splitlines() if line.strip() and not line.startswith(" ")
    ]
    text = next(
        (line for line in lines if re.match(r"[A-Za-z_][\w.]*(:|$)", line)),
        lines[-1] if lines else "no reason",
    )
    found = re.findall(
        r"^\S*: \(\w+\.E\d+\).*", said, re.MULTILINE
    )  # what Django's own checks found
    frames = re.findall(
        r'^  File "(?!manage\.py|the kit)([^"/<][^"]*)", line (\d+)', block, re.MULTILINE
    )
    file_problem = re.findall(
        rf"^{_FILE_PROBLEM}: .*", said, re.MULTILINE
    )  # of the exception behind the last one
    causes = [line for line in file_problem[-1:] if line not in text]
    return "; ".join([text, *causes, *found[:2]]) + (
        " ({}, line {})".format(*frames[-1]) if frames else ""
    )


# A file that the project wants to write, most often a log: the exception that reaches the end may
# not name it.
_FILE_PROBLEM = (
    r"(?:PermissionError|FileNotFoundError|NotADirectoryError|IsADirectoryError|OSError)"
)


# Python finds the package before it misses what is in it. Each ends with the package that lacks
# something.
_LACKS_MODULE = r"No module named '(\w+)\."
_LACKS_NAME = r"cannot import name '\w+' from '(\w+)[\w.]*' \(\S*/site-packages/"
_ASKER = r'^  File "(?:\S*/site-packages/(\w+)[^"]*|([^"/<][^"]*))", line'


def misfit(said: str) -> str:
    """Which file or package asks an installed package for what its version does not have, if that
    is what happened."""
    block = last_traceback(said)
    module, name = re.search(_LACKS_MODULE, block), re.search(_LACKS_NAME, block)
    askers = re.findall(_ASKER, block, re.MULTILINE)
    lacks = module or name
    if not lacks or not askers:
        return ""
    package, file = askers[-1]
    if package == lacks[1]:
        return ""
    versions = " or ".join(filter(None, (lacks[1], package)))
    more = ", or add the package that brings it" if module else ""
    cure = f"pin another version of {versions}{more}"
    return f"; {package or file} asks for it, and the installed {lacks[1]} has none: {cure}"


_SERVERS = {
    "5432": "PostgreSQL",
    "3306": "MySQL",
    "6379": "Redis",
    "5672": "RabbitMQ",
    "9200": "Elasticsearch",
}
_NOT_REACHED = r"(?i)refused|can't connect|could not connect|unreachable|timed? ?out"


def no_server(said: str) -> str:
    """Which server the project asked for in vain, by its port: the kit has none on the hosts."""
    for line in said.splitlines():
        port = re.search(rf"(?:\bport |:)({'|'.join(_SERVERS)})\b", line)
        if port and re.search(_NOT_REACHED, line):
            name = _SERVERS[port[1]]
            return (
                f"; the kit installs no {name}: name one that this host reaches, in env: or among"
                " the secrets"
            )
    return ""


def class_to_name(said: str) -> str:
    """What to do about settings of django-configurations whose class is not known."""
    unnamed = (
        r"django-configurations settings importer wasn't|variable DJANGO_CONFIGURATION is undefined"
    )
    return "; " + load_project.CLASSES if re.search(unnamed, said) else ""


def where_to_write(said: str) -> str:
    """What to do about a file that can't be written because it is beside the code."""
    paths = re.findall(
        r"(?:Read-only file system|Permission denied): '([^']+)'|unable to open database file", said
    )
    return (
        f" (only {places.data()} can be written: its path is in ORIGIN_KIT_DATA)" if paths else ""
    )
