"""What on this host can keep requests from the kit's nginx: a firewall, another server block with
this name, a full disk. For the doctor."""

from __future__ import annotations

import contextlib
import fnmatch
import re
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Iterator  # noqa: UP035 - Python 3.9 on hosts

from on_host import untrusted
from on_host.logfiles import NGINX
from on_host.runtime import run

if TYPE_CHECKING:
    from on_host.answers import OtherSite

_CONNECT_S = 3.0
_DEFAULT = 80  # of `listen` without a port
_LISTEN = "0A"  # of the states in /proc/net/tcp
_OURS = re.compile(
    r"/etc/origin-kit/.*|/etc/nginx/(?:conf\.d|snippets)/origin-kit(?:-[a-z]+)?\.conf"
)
_SECTION = re.compile(r"^# configuration file (\S+):$", re.MULTILINE)
_DENIES = re.compile(r"\b(?:drop|reject|DROP|REJECT)\b")
_SERVICES = {80: "http", 443: "https"}
_MOST_LINES = 20_000


def connects(port: int) -> str:
    """Why no connection to nginx's port is possible on this host itself; empty if it is."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_S):
            return ""
    except OSError as problem:
        return str(problem) or type(problem).__name__


def listens(port: int) -> bool:
    """Whether a process has a socket that listens on nginx's port."""
    return any(_listens_in(Path("/proc/net", name), port) for name in ("tcp", "tcp6"))


def _listens_in(table: Path, port: int) -> bool:
    with contextlib.suppress(OSError):
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            number = int(fields[1].rpartition(":")[2], 16)
            if number == port and fields[3] == _LISTEN:
                return True
    return False


def firewall_lines(port: int) -> list[str]:
    """Rules of this host's own firewall that deny nginx's port, as its tool shows them; none where
    there is no such tool."""
    for command in (("nft", "list", "ruleset"), ("iptables-save",)):
        if shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin"):
            lines = [line.strip() for line in run(*command).stdout.splitlines()]
            return [line for line in lines if denies(line, port)]
    return []


def denies(line: str, port: int) -> bool:
    """Whether this rule keeps connections from the port."""
    name = _SERVICES.get(port, port)
    of_port = rf"\bdports?\b.*(?<![\w.])(?:{port}|{name})(?![\w.])|policy drop"
    return bool(_DENIES.search(line)) and bool(re.search(of_port, line, re.IGNORECASE))


def arrived(target: str) -> bool:
    """Whether nginx has logged a request with this text in its line."""
    return any(target in line for line in untrusted.tail(NGINX, "access.log", _MOST_LINES))


# ------------------------------------------------------------------------------ other server blocks


def other_sites(name: str, port: int) -> list[OtherSite]:
    """The server blocks of other files that nginx prefers for requests to `name` on its port, which
    is a host name or an address without a port: `file`, and `names` as the file has them."""
    if not shutil.which("nginx", path="/usr/sbin:/usr/bin"):
        return []
    done = run("env", "-u", "NGINX", "nginx", "-T", "-q")
    return list(sites_in(done.stdout, name, port))


def sites_in(text: str, name: str, port: int) -> Iterator[OtherSite]:
    """The same from what `nginx -T` prints."""
    parts = _SECTION.split(text)
    for file, content in zip(parts[1::2], parts[2::2]):  # noqa: B905 - Python 3.9 on hosts
        if _OURS.fullmatch(file):
            continue
        for block in _server_blocks(content):
            names = _names_of(block)
            if _is_on_port(block, port) and any(_fits(one, name) for one in names):
                yield {"file": file, "names": names}


def _server_blocks(content: str) -> Iterator[list[list[str]]]:
    """The directives of each `server {}`, those of its locations too, each as its words."""
    depth = 0
    begun: int | None = None
    block: list[list[str]] = []
    words: list[str] = []
    for token in _tokens(content):
        if token == "{":
            depth += 1
            if words == ["server"]:
                begun, block = depth, []
            words = []
        elif token == "}":
            if begun == depth:
                yield block
                begun = None
            depth -= 1
            words = []
        elif token == ";":
            if begun == depth:
                block.append(words)
            words = []
        else:
            words.append(token)


_TOKEN = re.compile(
    r"""#[^\n]*|"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|([{};])|((?:\\.|[^\s;{}"'])+)"""
)


def _tokens(content: str) -> Iterator[str]:
    for match in _TOKEN.finditer(content):
        if match[0].startswith("#"):
            continue
        yield next(group for group in match.groups() if group is not None)


def _names_of(block: list[list[str]]) -> list[str]:
    names = []
    for directive in block:
        if directive[:1] == ["server_name"]:
            names += directive[1:]
    return names


def _is_on_port(block: list[list[str]], port: int) -> bool:
    """Whether it listens on nginx's port: without `listen` on 80."""
    listens = [directive[1] for directive in block if directive[:1] == ["listen"] and directive[1:]]
    if not listens:
        return port == _DEFAULT
    for address in listens:
        if address.startswith("unix:"):
            continue
        number = address.rpartition(":")[2] if ":" in address.rpartition("]")[2] else address
        if port == (int(number) if number.isdigit() else _DEFAULT):
            return True
    return False


def _fits(pattern: str, name: str) -> bool:
    """Whether a `server_name` is for this name.
    https://nginx.org/en/docs/http/server_names.html"""
    pattern, name = pattern.lower(), name.lower()
    if pattern.startswith("~"):
        with contextlib.suppress(re.error):
            expression = pattern[1:].replace("(?<", "(?P<").replace("(?P<=", "(?<=")
            return re.search(expression.replace("(?P<!", "(?<!"), name) is not None
        return False
    if pattern.startswith("."):
        return name == pattern[1:] or name.endswith(pattern)
    return fnmatch.fnmatchcase(name, pattern) if "*" in pattern else name == pattern
