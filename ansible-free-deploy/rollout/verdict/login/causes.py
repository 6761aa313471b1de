"""Why a page can't log in or write: a sentence, its source, and what cures it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_COOKIES = "https://httpwg.org/http-extensions/draft-ietf-httpbis-rfc6265bis.html#"
_FETCH = "https://fetch.spec.whatwg.org/#"
_CSRF = "https://docs.djangoproject.com/en/5.2/ref/csrf/#"
_SETTINGS = "https://docs.djangoproject.com/en/5.2/ref/settings/#"

_ONE_DOMAIN = (
    "serve both under one domain: `domain`, with `frontend_name` and `backend_name` below it"
)
_TOKENS = "use tokens in `Authorization` instead of cookies (`allow_credentials: false`)"
_RETURN = (
    "return the token in an answer's body, or in a header that `expose_headers` names (the view"
    " calls `get_token(request)`)"
)


class Cause(StrEnum):
    """Why a page can't keep a session, get its token, or write. docs/login.md has a heading for
    each."""

    # Nothing is sent, or no answer may be read
    MIXED_CONTENT = "mixed-content"
    NO_CREDENTIALS_SENT = "no-credentials-sent"
    ORIGIN_NOT_LISTED = "origin-not-listed"
    NO_CREDENTIALS_ALLOWED = "no-credentials-allowed"
    # A cookie is not stored
    SECURE_OVER_HTTP = "secure-over-http"
    PREFIX_OVER_HTTP = "prefix-over-http"
    BROKEN_PREFIX = "broken-prefix"
    FOREIGN_DOMAIN = "foreign-domain"
    NONE_WITHOUT_SECURE = "none-without-secure"
    PARTITIONED_WITHOUT_SECURE = "partitioned-without-secure"
    SAME_SITE = "same-site"
    SITES_OVER_HTTP = "sites-over-http"
    THIRD_PARTY = "third-party"
    # A cookie is stored, and not sent
    OTHER_PATH = "other-path"
    # The script does not get the token
    HTTP_ONLY = "http-only"
    HOST_ONLY = "host-only"
    OTHER_SITES_COOKIE = "other-sites-cookie"
    HIDDEN_BY_PATH = "hidden-by-path"
    HIDDEN_FROM_HTTP = "hidden-from-http"
    TOKEN_IN_SESSION = "token-in-session"
    HEADER_NOT_EXPOSED = "header-not-exposed"
    # A write is refused
    HEADER_NOT_ALLOWED = "header-not-allowed"
    ORIGIN_NOT_TRUSTED = "origin-not-trusted"

    @property
    def source(self) -> str:
        """The paragraph of the standard, or of Django's documentation."""
        return _WORDS[self][0]

    @property
    def template(self) -> str:
        """The sentence, with places for what it is about ({what}) and what is wrong ({detail})."""
        return _WORDS[self][1]

    @property
    def cure(self) -> str:
        """What to change, in settings of the kit or of the project; {what} and {detail} are as in
        the sentence."""
        return _WORDS[self][2]


@dataclass(frozen=True)
class Hurdle:
    """What stands in the way: the cookie, origin or header (`what`), and the value that is
    wrong."""

    cause: Cause
    what: str = ""
    detail: str = ""

    @property
    def sentence(self) -> str:
        """The cause in one sentence, without a full stop."""
        return self.cause.template.format(what=self.what, detail=self.detail)

    @property
    def cure(self) -> str:
        """The cure in one sentence, without a full stop; settings stand in backticks."""
        return self.cause.cure.format(what=self.what, detail=self.detail)

    @property
    def source(self) -> str:
        """Where the rule is written."""
        return self.cause.source


_WORDS: dict[Cause, tuple[str, str, str]] = {
    Cause.MIXED_CONTENT: (
        "https://w3c.github.io/webappsec-mixed-content/#should-block-fetch",
        "the page is https and {what} is plain http: browsers send nothing",
        "serve the API by https: `tls`",
    ),
    Cause.NO_CREDENTIALS_SENT: (
        _FETCH + "concept-request-credentials-mode",
        "the page's fetch() has credentials {detail!r}: no cookie goes to another origin or comes"
        " from it",
        'write `credentials: "include"` in the page\'s fetch(), or ' + _TOKENS,
    ),
    Cause.ORIGIN_NOT_LISTED: (
        _FETCH + "concept-cors-check",
        "{what} is not among the allowed origins: its pages can read no answer",
        "add it to `extra_origins`",
    ),
    Cause.NO_CREDENTIALS_ALLOWED: (
        _FETCH + "cors-protocol-and-credentials",
        "the answers allow no credentials: a page that sends cookies can't read them",
        "set `allow_credentials: true`, or " + _TOKENS,
    ),
    Cause.SECURE_OVER_HTTP: (
        _COOKIES + "section-5.7",
        "the cookie {what!r} is marked Secure, and over plain http browsers drop it",
        "serve both by https (`tls`), or set it without Secure on plain http",
    ),
    Cause.PREFIX_OVER_HTTP: (
        _COOKIES + "section-5.4",
        "the cookie {what!r} has a name that needs https, and over plain http browsers drop it",
        "serve both by https (`tls`), or name it without its prefix on plain http",
    ),
    Cause.BROKEN_PREFIX: (
        _COOKIES + "section-5.7",
        "the cookie {what!r} breaks the rule of its prefix, and browsers drop it: __Host- needs"
        " Secure, Path=/ and no Domain, __Secure- needs Secure",
        "correct SESSION_COOKIE_* or CSRF_COOKIE_* of the project, or name it without the prefix",
    ),
    Cause.FOREIGN_DOMAIN: (
        _COOKIES + "section-5.7",
        "the cookie {what!r} has Domain={detail}, which the API's host is not below, or which is a"
        " public suffix: browsers drop it",
        "take SESSION_COOKIE_DOMAIN and CSRF_COOKIE_DOMAIN out of the project's settings, or set"
        " them to the stack's `domain`",
    ),
    Cause.NONE_WITHOUT_SECURE: (
        _COOKIES + "section-5.7",
        "the cookie {what!r} has SameSite=None without Secure: browsers drop it",
        "serve both by https: `tls`; the kit then marks it Secure",
    ),
    Cause.PARTITIONED_WITHOUT_SECURE: (
        "https://www.ietf.org/archive/id/draft-cutler-httpbis-partitioned-cookies-01.html",
        "the cookie {what!r} is Partitioned without Secure: browsers drop it",
        "serve both by https: `tls`; the kit then marks it Secure",
    ),
    Cause.SAME_SITE: (
        _COOKIES + "section-5.2",
        "page and API are two sites, and the cookie {what!r} has {detail}: it is neither stored nor"
        " sent",
        _ONE_DOMAIN + ", or set SameSite=None and Secure over https, or " + _TOKENS,
    ),
    Cause.SITES_OVER_HTTP: (
        _COOKIES + "section-5.2",
        "page and API are two sites, and the cookie {what!r} has {detail}: SameSite=None would need"
        " Secure, and that https",
        _ONE_DOMAIN + ", or serve both by https (`tls`), or " + _TOKENS,
    ),
    Cause.THIRD_PARTY: (
        _COOKIES + "section-7.1",
        "the cookie {what!r} is a third-party cookie, as page and API are two sites, and {detail}"
        " blocks those",
        _ONE_DOMAIN + ", or " + _TOKENS,
    ),
    Cause.OTHER_PATH: (
        _COOKIES + "section-5.1.4",
        "the cookie {what!r} is only sent to paths below {detail}",
        "set SESSION_COOKIE_PATH and CSRF_COOKIE_PATH of the project to '/'",
    ),
    Cause.HTTP_ONLY: (
        _SETTINGS + "csrf-cookie-httponly",
        "the cookie {what!r} is HttpOnly: no script can read the token in it",
        _RETURN + ", or take CSRF_COOKIE_HTTPONLY out of the project's settings",
    ),
    Cause.HOST_ONLY: (
        _COOKIES + "section-5.1.3",
        "the cookie {what!r} belongs to {detail} alone: a script of another host can't read the"
        " token in it",
        _RETURN + ", or set CSRF_COOKIE_DOMAIN of the project to the stack's `domain`",
    ),
    Cause.OTHER_SITES_COOKIE: (
        _COOKIES + "section-5.1.3",
        "the cookie {what!r} belongs to {detail}, another site: the page's script can't read the"
        " token in it",
        _RETURN,
    ),
    Cause.HIDDEN_BY_PATH: (
        _COOKIES + "section-5.1.4",
        "the cookie {what!r} is for paths below {detail}, and the page is at another: its script"
        " can't read the token in it",
        _RETURN + ", or set CSRF_COOKIE_PATH of the project to '/'",
    ),
    Cause.HIDDEN_FROM_HTTP: (
        _COOKIES + "section-5.8.3",
        "the cookie {what!r} is Secure, and the page is plain http: its script can't read the token"
        " in it",
        "serve the page by https: `tls`",
    ),
    Cause.TOKEN_IN_SESSION: (
        _SETTINGS + "csrf-use-sessions",
        "CSRF_USE_SESSIONS is on: no cookie holds the token",
        _RETURN,
    ),
    Cause.HEADER_NOT_EXPOSED: (
        _FETCH + "http-access-control-expose-headers",
        "the answer's header {what}, which holds the token, is not exposed: the page's script can't"
        " read it",
        "add {what} to `expose_headers`",
    ),
    Cause.HEADER_NOT_ALLOWED: (
        _FETCH + "http-access-control-allow-headers",
        "a page may not send the header {what}, which carries the token",
        "add {what} to `allow_headers`",
    ),
    Cause.ORIGIN_NOT_TRUSTED: (
        _CSRF + "how-it-works",
        "Django does not trust {what}: every write of its pages answers 403 (Origin checking"
        " failed)",
        "list the origin itself in `extra_origins`: the kit writes CSRF_TRUSTED_ORIGINS from it,"
        " and Django knows no pattern but https://*.example.com",
    ),
}
