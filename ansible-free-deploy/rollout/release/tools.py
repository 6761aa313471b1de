"""uv and pip, run for the kit: which indexes they are told of, and what of their output may be
shown.

`uv` resolves for another machine (pip evaluates markers for the one it runs on), `pip` fetches
files without installing them. Both are told of the same indexes. Passwords travel in the
environment and in a file of mode 0600 only.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rollout.outputs import ROOT
from rollout.release.source import ReleaseError, hide_password

# pip's name, uv's name, and how pip's configuration calls it.
_SAME = (
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "index-url"),
    ("PIP_EXTRA_INDEX_URL", "UV_INDEX", "extra-index-url"),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS", "find-links"),
    ("PIP_NO_INDEX", "UV_NO_INDEX", "no-index"),
)
_KEYRING = (
    "PIP_KEYRING_PROVIDER",
    "UV_KEYRING_PROVIDER",
    "keyring-provider",
)  # the same of a keyring
_OLD_NAMES = {"UV_INDEX_URL": "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL": "UV_INDEX"}
_SECRET = re.compile(r"(UV_INDEX_.*_(PASSWORD|USERNAME)|UV_.*TOKEN|.*_PASSWORD)")


def uv(
    *words: str, at: Path | None = None, own_index: bool = False
) -> subprocess.CompletedProcess[str]:
    """`uv WORDS` in folder `at`, from PATH or from the kit's own folder of tools, with pip's
    indexes too.

    `own_index`: what it is given names its index itself, and no other is asked. Raises ReleaseError
    without uv.
    """
    beside = [Path(sys.executable).parent, ROOT / ".tools" / "bin"]
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, beside)])
    found = shutil.which("uv", path=path)
    if found is None:
        raise ReleaseError(
            "uv, which resolves the project's dependencies, is not on PATH; install it: `pip"
            " install uv`"
        )
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    names = {uv for _, uv, _ in _SAME} | _OLD_NAMES.keys()
    if own_index:
        environment = {key: value for key, value in environment.items() if key not in names}
    else:
        environment = {**pip_indexes(), **environment}
    more = ["--no-config"] if own_index and "--config-file" not in words else []
    return subprocess.run(
        [found, *words, *more],
        capture_output=True,
        text=True,
        check=False,
        cwd=at,
        stdin=subprocess.DEVNULL,
        env={**environment, **keyring(filter(None, [at]))},
    )


def pip(
    verb: str, *words: str, lines: Iterable[str], scratch: Path, folders: Iterable[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """`pip VERB WORDS` for requirements `lines`, which it reads from a file that nobody else may
    read. `folders` are those whose uv settings count."""
    asked = scratch / "pip.txt"
    write_private(asked, "\n".join(lines) + "\n")
    # -P: a pip.py in the folder where somebody happens to be is not run.
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        verb,
        "--no-deps",
        "--no-input",
        "-q",
        "--disable-pip-version-check",
    ]
    try:
        return subprocess.run(
            [*command, *words, "-r", str(asked)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **keyring(folders)},
        )
    finally:
        asked.unlink()


# pip's own way to a file, with its certificates, proxies, netrc and keyring: `pip download` would
# run a source's build.
_FETCH = """
import sys
from pip._internal.commands import create_command
from pip._internal.network.utils import HEADERS, raise_for_status, response_chunks
command = create_command("download")
options, (address, place) = command.parse_args(sys.argv[1:])
with command.main_context(), command.get_default_session(options) as session:
    answer = session.get(address, headers=HEADERS, stream=True)
    raise_for_status(answer)
    with open(place, "wb") as out:
        out.writelines(response_chunks(answer))
"""


def fetch(
    address: str, place: Path, lines: Iterable[str], folders: Iterable[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """Have one file, whatever it is, and run nothing of it; `lines` are options that say who is let
    in where, `folders` those whose uv settings count."""
    urls = [
        os.path.expandvars(word) for line in lines for word in re.findall(r"https?://\S+", line)
    ]
    given = [
        os.environ.get("PIP_EXTRA_INDEX_URL", ""),
        *(url for url in urls if "@" in urlsplit(url).netloc),
    ]
    return subprocess.run(
        [sys.executable, "-P", "-c", _FETCH, address, str(place)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            **keyring(folders),
            "PIP_EXTRA_INDEX_URL": " ".join(filter(None, given)),
        },
    )


def write_private(path: Path, text: str) -> None:
    """Text that may hold a password: for its owner alone, from the first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)


# ------------------------------------------------------------------------------------------ indexes


def pip_indexes() -> dict[str, str]:
    """The indexes that pip is set up with, as uv wants to hear of them: uv reads none of pip's
    configuration.

    What uv is told itself wins.
    """
    told = {_OLD_NAMES.get(name, name) for name in os.environ}
    found: dict[str, str] = {}
    configured: Mapping[str, str] | None = None
    for ours, theirs, key in _SAME:
        if theirs in told:
            continue
        value = os.environ.get(ours)
        if value is None:
            configured = _pip_config() if configured is None else configured
            value = configured.get(key)
        if value:
            words = value.split()
            found[theirs] = ",".join(words) if theirs == "UV_FIND_LINKS" else " ".join(words)
    return found


def _pip_config() -> Mapping[str, str]:
    places = ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "PIP_CONFIG_FILE")
    return _pip_config_of(tuple(os.environ.get(name) for name in places))


@functools.cache
def _pip_config_of(_places: tuple[str | None, ...]) -> Mapping[str, str]:
    command = [sys.executable, "-P", "-m", "pip", "config", "list", "--disable-pip-version-check"]
    said = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    ).stdout
    pairs = re.findall(r"^global\.([a-z-]+)=(['\"])(.*)\2$", said, re.MULTILINE)
    return {key: value.replace("\\n", " ") for key, _, value in pairs}


def keyring(folders: Iterable[Path]) -> dict[str, str]:
    """The variables with which both tools ask a keyring, where one of them is told to: in the
    environment, in pip's configuration, in uv's of these folders or of this user. (Without input,
    pip asks none unless it is told to.)
    """
    ours, theirs, key = _KEYRING
    told = [os.environ.get(theirs), os.environ.get(ours)]
    settings = [_uv_settings(path) for path in _uv_files(folders)]
    told += [one for found in settings for one in (found.get(key), found.get("pip", {}).get(key))]
    if not any(told):
        told.append(_pip_config().get(key))
    if not {"subprocess", "import"}.intersection(filter(None, told)):
        return {}
    return {ours: os.environ.get(ours, "subprocess"), theirs: os.environ.get(theirs, "subprocess")}


def credentials(lines: Iterable[str], folders: Iterable[Path]) -> list[str]:
    """Options that let pip in where uv is let in: the indexes that carry a user and password, or
    whose name has them in `UV_INDEX_<NAME>_USERNAME` and `…_PASSWORD`. pip asks none of them for a
    package: it is given whole addresses.

    netrc files and keyrings are read by both tools themselves, of a keyring the password of the
    user in the URL.
    """
    named = dict(_named_indexes(folders))
    urls = [word for line in lines for word in re.findall(r"https?://[^\s\"']+", line)]
    urls += [word for name in (*_OLD_NAMES, *(one for _, one, _ in _SAME)) for word in _words(name)]
    with_user = [url for url in (*urls, *named.values()) if "@" in urlsplit(url).netloc]
    with_user += [found for name, url in named.items() if (found := _let_in(name, url))]
    return [f"--extra-index-url {url}" for url in dict.fromkeys(with_user)]


INDEX = re.compile(
    r"-i\b|-f\b|--index-url|--extra-index-url|--find-links|--trusted-host|--no-index"
)


def settings_of_indexes(folders: Iterable[Path]) -> str:
    """The indexes of the projects in these folders, and of this user, as a configuration of uv's
    has them."""
    text = ""
    for path in _uv_files(folders):
        for index in _uv_settings(path).get("index", []):
            pairs = {key: value for key, value in index.items() if isinstance(value, str | bool)}
            text += "[[index]]\n" + "".join(
                f"{key} = {json.dumps(value)}\n" for key, value in pairs.items()
            )
    return text


def _words(variable: str) -> list[str]:
    """The URLs in one of uv's variables, without the names that they may have."""
    return [
        word.partition("=")[2] if _is_named(word) else word
        for word in os.environ.get(variable, "").split()
    ]


def _is_named(word: str) -> bool:
    return bool(re.match(r"[\w.-]+=\w+://", word))


def _named_indexes(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for path in _uv_files(folders):
        for index in _uv_settings(path).get("index", []):
            if isinstance(index, dict) and isinstance(index.get("url"), str):
                yield str(index.get("name", index["url"])), index["url"]
    for variable in ("UV_INDEX", "UV_DEFAULT_INDEX"):
        for word in filter(_is_named, os.environ.get(variable, "").split()):
            name, _, url = word.partition("=")
            yield name, url


def _uv_files(folders: Iterable[Path]) -> list[Path]:
    """Where uv's settings are: of these folders, and of this user."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv"
    return [
        *(folder / name for folder in folders for name in ("pyproject.toml", "uv.toml")),
        own / "uv.toml",
    ]


def _uv_settings(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
    if path.name == "pyproject.toml":
        found = found.get("tool", {}).get("uv", {})
    return found if isinstance(found, dict) else {}


def _let_in(name: str, url: str) -> str | None:
    prefix = "UV_INDEX_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    user, password = os.environ.get(f"{prefix}_USERNAME"), os.environ.get(f"{prefix}_PASSWORD")
    if user is None and password is None:
        return None
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    # Without a password the keyring is asked for this user's.
    secret = "" if password is None else f":{quote(password, safe='')}"
    return parts._replace(netloc=f"{quote(user or '', safe='')}{secret}@{host}").geturl()


# ----------------------------------------------------------------------------------- what they said


def hidden(said: str) -> str:
    """A tool's output without passwords: those in URLs, and the values of variables that hold
    one."""
    text = hide_password(said)
    for name, value in os.environ.items():
        if len(value) > 3 and _SECRET.fullmatch(name):
            text = text.replace(value, "(secret)").replace(quote(value, safe=""), "(secret)")
    return text


def reason(said: str) -> str:
    """A tool's own words up to where it quotes others, on one line and not too many; its warnings
    are left out."""
    lines = [line.strip() for line in without_asides(said).splitlines() if line.strip()]
    text = " ".join(re.sub(r"^(error|ERROR|cause|hint|╰─▶|×):?\s*", "", line) for line in lines)
    text = hidden(re.split(r"\[std(?:err|out)\]|Traceback", text)[0].strip())
    return text if len(text) <= 400 else text[:397] + "..."


def without_asides(said: str) -> str:
    """A warning and a hint, with what belongs to it, which is indented, are no reason: hints name
    the tool's own options, which nobody can set here."""
    kept, skipped = [], False
    for line in said.splitlines():
        skipped = bool(re.match(r"\s*(warning|WARNING|DEPRECATION|hint)\b", line)) or (
            skipped and line[:1] in ("", " ", "\t")
        )
        kept += [] if skipped else [line]
    return "\n".join(kept)


def detail(said: str) -> str:
    """The end of what a tool said, where that is more than `reason` shows."""
    lines = without_asides(said).strip().splitlines()
    return hidden("\n".join(lines[-12:])) if len(lines) > 6 else ""


def last(said: str) -> str:
    """The last line that is no warning."""
    lines: Sequence[str] = without_asides(said).strip().splitlines() or ["no reason given"]
    return hidden(lines[-1])
