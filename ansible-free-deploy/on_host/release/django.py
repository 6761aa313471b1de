"""Run the project's own commands as the application's user, within its service's limits."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

from on_host import confined, places
from on_host.as_user import load_project, text
from on_host.orders import ORDERS, SHIP_ORDERS, Json
from on_host.release.state import unharmed
from on_host.runtime import Failed, last_lines
from on_host.user import as_user


class Django:
    """The project in a staged release, under the settings that came with the orders."""

    def __init__(self, release: Path) -> None:
        self.release = release
        self.app = release / "app"
        self.python = str(release / "venv/bin/python")
        self.env = self.environment()

    def environment(self) -> dict[str, str]:
        """The variables for the project's commands.

        Values of the live generation are replaced by those that came with the orders. Secrets are
        only in the environment, never in a file.
        """
        given = {**SHIP_ORDERS["env"], **ORDERS["secrets"]}
        paths = [str(places.staged() / "django")]
        for path in given.get("PYTHONPATH", "").split(":"):
            if path and not path.startswith("/etc/origin-kit/"):
                paths.append(path)
        return {
            **given,
            "PYTHONPATH": ":".join(paths),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DJANGO_SETTINGS_MODULE": "origin_kit_settings",
            "ORIGIN_KIT_RELEASE": str(self.release),
            "ORIGIN_KIT_DATA": str(places.data()),
        }

    def program(self, name: str, *words: str) -> confined.Ended:
        """Run a program of `on_host.as_user` by the release's own interpreter."""
        return self.run(self.python, "-c", text(name), *words)

    def manage(self, *words: str, **more: Any) -> confined.Ended:
        """Run a command of the project's manage.py; `more` is for `as_user`."""
        return self.run(*self.manage_words(*words), **more)

    def run(self, *command: str, **more: Any) -> confined.Ended:
        """Run a command in the project's folder with the project's variables."""
        return as_user(*command, cwd=str(self.app), env=self.env, **more)

    def manage_words(self, *words: str) -> list[str]:
        return [self.python, "manage.py", *words, "--no-color", "--settings=origin_kit_settings"]

    def collect(self, into: BinaryIO) -> confined.Ended:
        """Collect the static files; they are sent to `into`, see `as_user/static_files.py`."""
        command = [sys.executable, "-I", "-c", text("static_files")]
        command += self.manage_words("collectstatic", "--noinput")
        return self.run(*command, into=into)

    def must(self, done: confined.Ended, what: str, after: str = "") -> None:
        """Raise Failed with the main lines of the output where `done` did not succeed."""
        if not done.late and not done.returncode:
            return
        output = self.shown(done.stdout)
        if done.late:
            limit = f"{done.limit_s:g} s, the limit for it"
            why = f"{what} did not end within {limit}, and was stopped"
        else:
            why = f"{what} fails: {gist(output)}{self.cure(output)}"
        raise Failed(f"{why}; {unharmed()}{after}. Correct it and ship again", last_lines(output))

    def cure(self, output: str) -> str:
        """What to do about it, for the failures that are known; "" for others."""
        cures = (
            where_to_write(output),
            no_server(output),
            class_to_name(output),
            self.named_by(output),
        )
        return "".join(cures)

    def shown(self, output: str) -> str:
        """The output with paths as the developer knows them: from the project's folder."""
        output = output.replace(f"{self.app}/", "")
        return output.replace(f"{places.staged()}/django/", "the kit's ")

    def named_by(self, output: str) -> str:
        """What names a module that can't be imported, and what to do.

        That may be a key of the config, a setting, a package or a file; "" where all modules can
        be imported.
        """
        match = re.search(r"No module named '([^']+)'", output)
        if match is None:
            return misfit(output)
        module = match[1]
        orders = SHIP_ORDERS
        for key, value in (("settings", orders["settings"]), ("wsgi", orders["wsgi"])):
            named, _, _ = value.partition(":")
            if named == module or named.startswith(module + "."):
                return f"; `{key}` in the stack's config names it"
        file = self.file_of_project(module)
        if file:
            return f"; {file} is not among the project's files: write it, or add it to git"
        names = self.settings_that_name(module)
        named_by = f"; {names} in the project's settings names it" if names else ""
        package = PACKAGES.get(module.split(".")[0])
        if package:
            return f"{named_by}; it comes with the package {package}: add that to its requirements"
        return named_by or misfit(output) or "; is it among its requirements?"

    def settings_that_name(self, module: str) -> str:
        """The names of the settings that name a module."""
        done = self.program("who_names", module)
        if done.returncode:
            return ""
        # Warnings are in the same output, so the names are marked.
        return ", ".join(re.findall(r"^named: (\w+)$", done.stdout, re.MULTILINE))

    def file_of_project(self, module: str) -> str:
        """The file that a module of the project would be in; "" for any other module."""
        top, *inner = module.split(".")
        if not inner or not (self.app / top).is_dir():
            return ""
        return "/".join([top, *inner]) + ".py"


# Modules whose package has another name, or that were once part of Python.
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
    """The value of the last line of a program's output that is {key: {...}}; {} without one."""
    begin = f'{{"{key}": '
    last = ""
    for line in done.stdout.splitlines():
        if line.startswith(begin):
            last = line
    if not last:
        return {}
    value: Json = json.loads(last)[key]
    return value


# ------------------------------------------------------------------------------ what an output says

_CHECK_ERROR = re.compile(r"^\S*: \(\w+\.E\d+\).*", re.MULTILINE)
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(:|$)")
_PROJECT_FRAME = re.compile(
    r'^  File "(?!manage\.py|the kit)([^"/<][^"]*)", line (\d+)', re.MULTILINE
)
# A file that the project wants to write, most often a log: the last exception may not name it.
_FILE_PROBLEM = re.compile(
    r"^(?:PermissionError|FileNotFoundError|NotADirectoryError|IsADirectoryError|OSError): .*",
    re.MULTILINE,
)


def last_traceback(output: str) -> str:
    return output.rsplit("Traceback (most recent call last):", 1)[-1]


def gist(output: str) -> str:
    """The exception of the last traceback and the project's own line, on one line."""
    traceback = last_traceback(output)
    exception = _exception_in(traceback)
    parts = [exception]
    for problem in _FILE_PROBLEM.findall(output)[-1:]:
        if problem not in exception:
            parts.append(problem)
    parts += _CHECK_ERROR.findall(output)[:2]
    text = "; ".join(parts)
    frames = _PROJECT_FRAME.findall(traceback)
    if frames:
        file, number = frames[-1]
        text += f" ({file}, line {number})"
    return text


def _exception_in(traceback: str) -> str:
    """The line of the exception; without one, the last line."""
    last = "no reason"
    for line in traceback.splitlines():
        if not line.strip() or line.startswith(" "):
            continue
        last = line.rstrip()
        if _EXCEPTION.match(last):
            return last
    return last


# Python finds the package before it misses what is in it. The group is the package that lacks it.
_LACKS_MODULE = re.compile(r"No module named '(\w+)\.")
_LACKS_NAME = re.compile(r"cannot import name '\w+' from '(\w+)[\w.]*' \(\S*/site-packages/")
_IMPORTER = re.compile(
    r'^  File "(?:\S*/site-packages/(\w+)[^"]*|([^"/<][^"]*))", line', re.MULTILINE
)


def misfit(output: str) -> str:
    """What to do where an installed package lacks what a file or another package imports.

    "" where that is not what happened.
    """
    traceback = last_traceback(output)
    lacks_module = _LACKS_MODULE.search(traceback)
    lacks = lacks_module or _LACKS_NAME.search(traceback)
    importers = _IMPORTER.findall(traceback)
    if lacks is None or not importers:
        return ""
    lacking = lacks[1]
    package, file = importers[-1]
    if package == lacking:
        return ""
    cure = f"pin another version of {lacking}"
    if package:
        cure += f" or {package}"
    if lacks_module:
        cure += ", or add the package that brings it"
    return f"; {package or file} asks for it, and the installed {lacking} has none: {cure}"


_SERVERS = {
    "5432": "PostgreSQL",
    "3306": "MySQL",
    "6379": "Redis",
    "5672": "RabbitMQ",
    "9200": "Elasticsearch",
}
_SERVER_PORT = re.compile(rf"(?:\bport |:)({'|'.join(_SERVERS)})\b")
_NOT_REACHED = re.compile(r"(?i)refused|can't connect|could not connect|unreachable|timed? ?out")


def no_server(output: str) -> str:
    """Which server the project could not reach, by its port: the kit has none on the hosts."""
    for line in output.splitlines():
        port = _SERVER_PORT.search(line)
        if port and _NOT_REACHED.search(line):
            return (
                f"; the kit installs no {_SERVERS[port[1]]}: name one that this host reaches, in"
                " env: or among the secrets"
            )
    return ""


_UNNAMED_CLASS = re.compile(
    r"django-configurations settings importer wasn't|variable DJANGO_CONFIGURATION is undefined"
)


def class_to_name(output: str) -> str:
    """What to do about settings of django-configurations whose class is not known."""
    if _UNNAMED_CLASS.search(output):
        return "; " + load_project.CLASSES
    return ""


_CAN_T_WRITE = re.compile(
    r"(?:Read-only file system|Permission denied): '([^']+)'|unable to open database file"
)


def where_to_write(output: str) -> str:
    """What to do about a file that can't be written because it is next to the code."""
    if _CAN_T_WRITE.search(output):
        return f" (only {places.data()} can be written: its path is in ORIGIN_KIT_DATA)"
    return ""
