"""Where the project's own log of failed requests goes; the project is asked, as its user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from on_host import project

if TYPE_CHECKING:
    from on_host.answers import RequestLog

_MOST_FILES = 5
_LONGEST_TEXT = 4_000
_LONGEST_NAME = 200


def destinations() -> RequestLog | None:
    """See `as_user/request_log.py`; None where the project can't answer."""
    return project.ask("request_log", bounded)


def bounded(answer: Any) -> RequestLog:
    """The project's answer, with bounds."""
    ends = {}
    for path, end in list(answer["files"].items())[:_MOST_FILES]:
        ends[str(path)[:_LONGEST_TEXT]] = str(end)[-_LONGEST_TEXT:]
    others = [str(name)[:_LONGEST_NAME] for name in answer["others"][:_MOST_FILES]]
    return {
        "files": ends,
        "journal": answer["journal"] is True,
        "others": others,
    }
