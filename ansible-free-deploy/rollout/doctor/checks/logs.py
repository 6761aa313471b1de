"""What a host's logs say about answers with 5xx, and where to read more. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from on_host.answers import RequestLog
from on_host.services import EXCEPTION, TOO_SLOW
from rollout.doctor.observations import PUBLIC, HostReport, Observations

FAB_LOGS = "see `fab logs`"
TOO_SLOW_CURE = (
    "make that view faster, or do its work outside of the request; or raise timeout_s, then run"
    " `fab deploy`"
)
_HANDLER = (
    "give the logger django.request a handler, e.g. logging.StreamHandler, whose lines `fab logs`"
    " shows; with disable_existing_loggers at its default of True, Django's own loggers are off"
)
_LONGEST = 200


@dataclass(frozen=True)
class LogEnd:
    """How a log ends, as the end of a sentence (empty: nothing is known), and where to read it.

    `unnamed` means that the log's last line names no exception.
    """

    text: str = ""
    cure: str = FAB_LOGS
    unnamed: bool = False


def log_end(observed: Observations, views: Sequence[str]) -> LogEnd:
    """How the log ends of the first host behind these views that has something to say."""
    for host in observed.hosts:
        if host.name in views or PUBLIC in views:
            end = _of_host(host)
            if end:
                return end
    return LogEnd()


def _of_host(host: HostReport) -> LogEnd | None:
    """The last exception in the journal, else the project's other logs, else the last line."""
    if not host.state:
        return None
    journal = _lines(str(host.state.get("last_words", "")))
    request_log = host.state.get("request_log")
    if any(TOO_SLOW.search(line) for line in journal):
        return LogEnd("; gunicorn has ended its worker, which took too long", TOO_SLOW_CURE)
    exception = _last_exception(journal)
    if exception:
        return LogEnd(f"; its log ends with: {exception}")
    if request_log:
        return _elsewhere(host.name, request_log)
    if request_log is None and journal:
        return LogEnd(f"; its log ends with: {_short(journal[-1])}", unnamed=True)
    return None


def _elsewhere(host: str, log: RequestLog) -> LogEnd | None:
    """Where the project's LOGGING sends the error of a request, if that is not the journal."""
    for path, end in log["files"].items():
        exception = _last_exception(_lines(end))
        if exception:
            text = f"; {path} on {host} ends with: {exception}"
            return LogEnd(text, f"see {path} on {host}")
    silent = "; the journal has nothing about it, the project's LOGGING"
    files = list(log["files"])
    if files:
        text = f"{silent} writes to {' and '.join(files)}"
        return LogEnd(text, f"see {files[0]} on {host}")
    if log["others"]:
        others = " and ".join(log["others"])
        return LogEnd(f"{silent} sends it to {others}", "look there")
    if not log["journal"]:
        return LogEnd("; the project's LOGGING sends such errors nowhere", _HANDLER)
    return None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _last_exception(lines: Sequence[str]) -> str:
    """The last line that names an exception, shortened; empty if none does."""
    for line in reversed(lines):
        if EXCEPTION.match(line):
            return _short(line)
    return ""


def _short(line: str) -> str:
    if len(line) <= _LONGEST:
        return line
    return f"{line[:_LONGEST]}…"
