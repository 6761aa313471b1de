"""Files and processes of a host that are not what the contract says. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from on_host.answers import HostState
from on_host.restart_reasons import NOT_RUNNING
from rollout.doctor.codes import Code
from rollout.finding import Finding

_OTHERS = "generations/"  # files of other generations than the one that is compared
_SERVICES = {"nginx": "nginx", "django": "Django"}
_DEPLOY = "run `fab deploy`"
_LITERAL = re.compile(r'"(https?://[^"\\^$]+)"|\'(https?://[^\'\\^$]+)\'')


def drift(name: str, state: HostState) -> Iterator[Finding]:
    """Files first: a process with an older configuration is reported only where the files are
    right."""
    yield from _content(name, state["diff"], stale="current" in state["differs"])
    yield from _attributes(name, state)
    if state["diff"]:
        return
    for service, why in state["restarts"].items():
        if why != NOT_RUNNING and _runs(service, state["units"]):
            yield Finding(
                f"{service} on {name} runs an older configuration than its files hold",
                cure=_DEPLOY,
                code=Code.PROCESS_STALE,
            )


def _runs(service: str, units: dict[str, str]) -> bool:
    """Whether the units of a service run: a stopped one runs no older configuration."""
    is_nginx = service == "nginx"
    for unit, status in units.items():
        is_its_unit = unit.startswith("nginx.") == is_nginx
        if is_its_unit and status != "active":
            return False
    return True


def _content(
    name: str,
    diffs: dict[str, str],
    stale: bool,
) -> Iterator[Finding]:
    """What files hold. Files in which the same origins differ are one finding, and so are all files
    of another generation (`stale`): nobody has edited them."""
    paths_by_origins: dict[str, list[str]] = {}
    others: dict[str, str] = {}
    for path, diff in diffs.items():
        is_a_list = path.split("/")[0] in _SERVICES
        origins = _origins_changed(diff) if is_a_list else ""
        lines = _lines_changed(diff)
        if origins:
            paths_by_origins.setdefault(origins, []).append(path)
        elif lines and stale:
            others[path] = lines
        elif lines:
            yield Finding(
                f"{path} on {name} is not what the contract says: {lines}",
                cure=_DEPLOY,
                code=Code.FILE_DIFFERS,
            )
    if others:
        yield _older(name, others)
    for origins, paths in paths_by_origins.items():
        yield Finding(
            f"{_services(paths)} on {name} still answers for {origins}",
            cure=_DEPLOY,
            code=Code.ORIGINS_DIFFER,
            anchor="alloworiginmismatch",
        )


def _older(name: str, lines_by_path: dict[str, str]) -> Finding:
    """Files of another generation than the contract's."""
    path, lines = next(iter(lines_by_path.items()))
    files = "1 file differs" if len(lines_by_path) == 1 else f"{len(lines_by_path)} files differ"
    return Finding(
        f"{name} holds another configuration than the contract's: {files}; {path}: {lines}",
        cure=_DEPLOY,
        code=Code.OLDER_CONFIGURATION,
    )


def _services(paths: list[str]) -> str:
    names = set()
    for path in paths:
        folder = path.split("/")[0]
        names.add(_SERVICES.get(folder, path))
    return " and ".join(sorted(names))


def _attributes(name: str, state: HostState) -> Iterator[Finding]:
    """Owner, mode and target of files, and secrets of older generations."""
    differs = state["differs"]
    diffs = state["diff"]
    if any(path.startswith(_OTHERS) for path in differs):
        yield Finding(
            f"{name} still keeps secrets that were replaced",
            cure=_DEPLOY,
            code=Code.OLD_SECRETS,
            warning=True,
        )
    if "current" in differs and diffs:
        # The host holds another generation: every file differs in place, and the diff says what
        # matters.
        return
    for path in differs:
        if path in diffs or path == "current" or path.startswith(_OTHERS):
            continue
        yield Finding(
            f"{path} on {name} has another owner, mode or target than it should",
            cure=_DEPLOY,
            code=Code.FILE_ATTRIBUTES_DIFFER,
        )


def _origins_changed(diff: str) -> str:
    """`X; the contract says Y`, where origins were added or removed; else empty."""
    on_host = _origins(diff, "-")
    wanted = _origins(diff, "+")
    old = sorted(on_host - wanted)
    new = sorted(wanted - on_host)
    if not old and not new:
        return ""
    there = ", ".join(old) or "fewer origins"
    if not new:
        return f"{there}; the contract does not name it"
    return f"{there}; the contract says {', '.join(new)}"


def _origins(diff: str, sign: str) -> set[str]:
    """The origins in the diff's lines with this sign."""
    found = set()
    for line in _lines(diff, sign):
        for double_quoted, single_quoted in _LITERAL.findall(line):
            found.add(double_quoted or single_quoted)
    return found


def _lines_changed(diff: str) -> str:
    """The first lines that differ, as a person would quote them."""
    parts = []
    for sign, text in (("-", "it has"), ("+", "it lacks")):
        for line in _lines(diff, sign):
            if "fingerprint" not in line.lower():
                parts.append(f"{text} `{line}`")
                break
    return ", ".join(parts)


def _lines(diff: str, sign: str) -> list[str]:
    """What the diff's lines with this sign say, without headings (`+++`) and blank lines."""
    found = []
    for line in diff.splitlines():
        text = line[1:].strip()
        if line.startswith(sign) and not line.startswith(sign * 3) and text:
            found.append(text)
    return found
