"""Package indexes: both uv and pip ask the same ones, with the same users and passwords."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rollout.release.declared import entries, table

# pip's variable, uv's variable, and the key in pip's configuration.
_SAME = (
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "index-url"),
    ("PIP_EXTRA_INDEX_URL", "UV_INDEX", "extra-index-url"),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS", "find-links"),
    ("PIP_NO_INDEX", "UV_NO_INDEX", "no-index"),
)
_PIP_KEYRING, _UV_KEYRING = "PIP_KEYRING_PROVIDER", "UV_KEYRING_PROVIDER"
_KEYRING_KEY = "keyring-provider"  # in both configurations
_OLD_NAMES = {"UV_INDEX_URL": "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL": "UV_INDEX"}
UV_VARIABLES = (*_OLD_NAMES, *(uv_name for _, uv_name, _ in _SAME))
OPTION = re.compile(
    r"-i\b|-f\b|--index-url|--extra-index-url|--find-links|--trusted-host|--no-index"
)


def has_user(url: str) -> bool:
    """Whether a URL carries a user, and maybe a password."""
    return "@" in urlsplit(url).netloc


def pip_indexes() -> dict[str, str]:
    """The indexes that pip is set up with, as uv's variables: uv reads none of pip's configuration.

    A variable that is set for uv wins.
    """
    known_to_uv = {_OLD_NAMES.get(name, name) for name in os.environ}
    variables: dict[str, str] = {}
    for pip_name, uv_name, key in _SAME:
        if uv_name in known_to_uv:
            continue
        value = os.environ.get(pip_name)
        if value is None:
            value = _pip_config().get(key)
        if value:
            separator = "," if uv_name == "UV_FIND_LINKS" else " "
            variables[uv_name] = separator.join(value.split())
    return variables


def _pip_config() -> Mapping[str, str]:
    places = ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "PIP_CONFIG_FILE")
    return _pip_config_of(tuple(os.environ.get(name) for name in places))


@functools.cache
def _pip_config_of(_places: tuple[str | None, ...]) -> Mapping[str, str]:
    command = [sys.executable, "-P", "-m", "pip", "config", "list", "--disable-pip-version-check"]
    answer = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    pairs = re.findall(r"^global\.([a-z-]+)=(['\"])(.*)\2$", answer.stdout, re.MULTILINE)
    return {key: value.replace("\\n", " ") for key, _, value in pairs}


# ------------------------------------------------------------------------------ users and passwords


def keyring(folders: Iterable[Path]) -> dict[str, str]:
    """The variables with which both tools ask a keyring, where one of them is set to: in the
    environment, in pip's configuration, in uv's of these folders or of this user. (Without input,
    pip asks none unless it is set to.)
    """
    providers = [os.environ.get(_UV_KEYRING), os.environ.get(_PIP_KEYRING)]
    for path in _uv_files(folders):
        settings = _uv_settings(path)
        providers.append(settings.get(_KEYRING_KEY))
        providers.append(table(settings, path, "pip").get(_KEYRING_KEY))
    if not any(providers):
        providers.append(_pip_config().get(_KEYRING_KEY))
    if "subprocess" not in providers and "import" not in providers:
        return {}
    return {name: os.environ.get(name, "subprocess") for name in (_PIP_KEYRING, _UV_KEYRING)}


def credentials(lines: Iterable[str], folders: Iterable[Path]) -> list[str]:
    """Options that give pip the users and passwords that uv has: the indexes that carry them, or
    whose name has them in `UV_INDEX_<NAME>_USERNAME` and `…_PASSWORD`. pip asks none of them for a
    package: it gets whole addresses.

    netrc files and keyrings are read by both tools themselves, of a keyring the password of the
    user in the URL.
    """
    named = dict(_named_indexes(folders))
    urls: list[str] = []
    for line in lines:
        urls += re.findall(r"https?://[^\s\"']+", line)
    for variable in UV_VARIABLES:
        urls += _urls_in(variable)
    urls += named.values()
    with_user = [url for url in urls if has_user(url)]
    for name, url in named.items():
        completed = _with_credentials(name, url)
        if completed:
            with_user.append(completed)
    return [f"--extra-index-url {url}" for url in dict.fromkeys(with_user)]


def _with_credentials(name: str, url: str) -> str | None:
    """The URL of an index with the user and password that the environment has for its name."""
    prefix = "UV_INDEX_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    user, password = os.environ.get(f"{prefix}_USERNAME"), os.environ.get(f"{prefix}_PASSWORD")
    if user is None and password is None:
        return None
    login = quote(user or "", safe="")
    if password is not None:  # without one the keyring is asked for this user's
        login += f":{quote(password, safe='')}"
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{login}@{host}").geturl()


# ------------------------------------------------------------------------------- uv's configuration


def settings_of_indexes(folders: Iterable[Path]) -> str:
    """The indexes of the projects in these folders, and of this user, as a configuration of uv's
    has them."""
    lines: list[str] = []
    for path in _uv_files(folders):
        for index in entries(_uv_settings(path), path, "index", dict):
            lines.append("[[index]]")
            for key, value in index.items():
                if isinstance(value, str | bool):
                    lines.append(f"{key} = {json.dumps(value)}")
    return "".join(f"{line}\n" for line in lines)


def _urls_in(variable: str) -> list[str]:
    """The URLs in one of uv's variables, without the names that they may have."""
    urls = []
    for word in os.environ.get(variable, "").split():
        urls.append(word.partition("=")[2] if _is_named(word) else word)
    return urls


def _is_named(word: str) -> bool:
    return bool(re.match(r"[\w.-]+=\w+://", word))


def _named_indexes(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for path in _uv_files(folders):
        for index in entries(_uv_settings(path), path, "index", dict):
            if isinstance(index.get("url"), str):
                yield str(index.get("name", index["url"])), index["url"]
    for variable in ("UV_INDEX", "UV_DEFAULT_INDEX"):
        for word in os.environ.get(variable, "").split():
            if _is_named(word):
                name, _, url = word.partition("=")
                yield name, url


def _uv_files(folders: Iterable[Path]) -> list[Path]:
    """Where uv's settings are: of these folders, and of this user."""
    files: list[Path] = []
    for folder in folders:
        files += [folder / "pyproject.toml", folder / "uv.toml"]
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [*files, config / "uv" / "uv.toml"]


def _uv_settings(path: Path) -> dict[str, Any]:
    """The settings in a file of uv's; none for a file that can't be read, since uv reports it.
    Raises ReleaseError where [tool.uv] is no table."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
    if path.name == "pyproject.toml":
        return table(settings, path, "tool", "uv")
    return settings
