"""How the project keeps sessions and checks writes; the project is asked, as its user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from on_host import project

if TYPE_CHECKING:
    from on_host.answers import CookieSettings, LoginSettings

_MOST_ORIGINS = 500
_LONGEST_TEXT = 300


def asked() -> LoginSettings | None:
    """See `as_user/login_settings.py`; None where the project can't answer."""
    return project.ask("login_settings", bounded)


def bounded(answer: Any) -> LoginSettings:
    """The project's answer, with bounds."""
    return {
        "session": _cookie(answer["session"]),
        "csrf": _cookie(answer["csrf"]),
        "in_session": answer["in_session"] is True,
        "header": _text(answer["header"]),
        "trusted_origins": [_text(origin) for origin in answer["trusted_origins"][:_MOST_ORIGINS]],
        "keeps_sessions": answer["keeps_sessions"] is True,
        "checks_csrf": answer["checks_csrf"] is True,
        "returns": _text(answer["returns"]),
        "sets_cookie": _text(answer["sets_cookie"]),
    }


def _cookie(given: Any) -> CookieSettings:
    """The settings of a cookie; SAMESITE may be False, and DOMAIN None."""
    domain, rule = given["DOMAIN"], given["SAMESITE"]
    return {
        "NAME": _text(given["NAME"]),
        "DOMAIN": None if domain is None else _text(domain),
        "PATH": _text(given["PATH"]),
        "SECURE": given["SECURE"] is True,
        "HTTPONLY": given["HTTPONLY"] is True,
        "SAMESITE": rule if rule is None or isinstance(rule, bool) else _text(rule),
    }


def _text(value: object) -> str:
    return str(value)[:_LONGEST_TEXT]
