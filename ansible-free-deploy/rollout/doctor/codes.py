"""The stable names of the doctor's findings, and what each of them is about. Pure."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from rollout.finding import Finding


class Kind(IntEnum):
    """What a finding is about. A finding can only follow from one of a smaller kind, or be the same
    problem shown elsewhere."""

    NOTHING = 0  # nothing answers at all
    HOST = 1  # a host can't be asked
    NAME = 2  # a name leads to another machine
    BLOCKED = 3  # a firewall, a full disk or another site keeps requests from the application
    NO_RELEASE = 4
    STOPPED = 5  # a service does not run
    DRIFT = 6  # files or processes are not what the contract says
    TLS = 7  # browsers don't accept what port 443 serves
    BROKEN = 8  # a service can't start
    FAILS = 9  # something answers 5xx
    SILENT = 10  # no answer to a question
    CORS = 11  # a browser allows a page to read what it should not, or the other way round
    PAGE = 12  # the page does not know the backend
    OTHER = 13


class Code(StrEnum):
    """One name for each finding of the doctor. A name never changes its meaning."""

    NOTHING_ANSWERS = "nothing-answers"
    # Hosts
    HOST_UNREACHABLE = "host-unreachable"
    NOT_DEPLOYED = "not-deployed"
    NO_RELEASE = "no-release"
    DEPLOY_UNFINISHED = "deploy-unfinished"
    UNIT_NOT_ACTIVE = "unit-not-active"
    UNIT_FAILED = "unit-failed"
    DISK_FULL = "disk-full"
    NAME_TAKEN = "name-taken"
    PORT_BLOCKED = "port-blocked"
    WORKERS_KILLED = "workers-killed"
    RELEASE_CHANGED = "release-changed"
    # Files and processes of a host
    FILE_DIFFERS = "file-differs"
    ORIGINS_DIFFER = "origins-differ"
    OLDER_CONFIGURATION = "older-configuration"
    FILE_ATTRIBUTES_DIFFER = "file-attributes-differ"
    OLD_SECRETS = "old-secrets"
    PROCESS_STALE = "process-stale"
    # TLS and certificates
    PORT_CLOSED = "port-closed"
    CERTIFICATE_MISSING = "certificate-missing"
    CERTIFICATE_NOT_SERVED = "certificate-not-served"
    CERTIFICATE_WRONG_NAME = "certificate-wrong-name"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_YET_VALID = "certificate-not-yet-valid"
    CERTIFICATE_CHAIN_INCOMPLETE = "certificate-chain-incomplete"
    CERTIFICATE_UNTRUSTED = "certificate-untrusted"
    CERTIFICATE_ENDS_SOON = "certificate-ends-soon"
    LOCAL_CA_UNKNOWN = "local-ca-unknown"
    TLS_TOO_OLD = "tls-too-old"
    NO_TLS = "no-tls"
    TLS_FAILS = "tls-fails"
    # http and https next to each other
    MIXED_CONTENT = "mixed-content"
    HTTP_ORIGIN_LISTED = "http-origin-listed"
    PLAIN_HTTP_REDIRECTED = "plain-http-redirected"
    CHALLENGE_BLOCKED = "challenge-blocked"
    HSTS_CHANGES_ORIGIN = "hsts-changes-origin"
    # Names and the page
    NAME_UNKNOWN = "name-unknown"
    NAME_NOT_LOOKED_UP = "name-not-looked-up"
    NAME_LEADS_ELSEWHERE = "name-leads-elsewhere"
    PAGE_SILENT = "page-silent"
    PAGE_FAILS = "page-fails"
    PAGE_CONFIG_UNREADABLE = "page-config-unreadable"
    PAGE_CONFIG_INCOMPLETE = "page-config-incomplete"
    PAGE_CONFIG_DIFFERS = "page-config-differs"
    OUTSIDE_PREVIEW_FROM = "outside-preview-from"
    PREVIEW_PASSWORD_UNKNOWN = "preview-password-unknown"
    # Answers
    SERVER_ERROR = "server-error"
    VIEW_SILENT = "view-silent"
    ANSWER_SLOW = "answer-slow"
    EVERY_ORIGIN_ALLOWED = "every-origin-allowed"
    UNLISTED_ORIGIN_ALLOWED = "unlisted-origin-allowed"
    LISTED_ORIGIN_REFUSED = "listed-origin-refused"  # a deploy is the cure
    REFUSED_OUTSIDE_THE_KIT = "refused-outside-the-kit"  # the config or something else is
    CHANGED_IN_FRONT = "changed-in-front"
    FAILS_IN_FRONT = "fails-in-front"
    REDIRECTED_AWAY = "redirected-away"
    POST_REDIRECTED = "post-redirected"
    REFUSED_BY_A_SERVER_ERROR = "refused-by-a-server-error"
    ANSWERED_BEFORE_HEADERS = "answered-before-headers"
    COOKIE_NEEDS_HTTPS = "cookie-needs-https"
    # Logging in and writing
    SESSION_LOST = "session-lost"
    SESSION_LOST_IN_SOME = "session-lost-in-some-browsers"
    TOKEN_OUT_OF_REACH = "token-out-of-reach"
    WRITE_REFUSED = "write-refused"
    # Django, asked without nginx
    DJANGO_SILENT = "django-silent"
    DJANGO_FAILS = "django-fails"
    DJANGO_MIDDLEWARE_ORDER = "django-middleware-order"
    DJANGO_REFUSES_LISTED = "django-refuses-listed"
    DJANGO_ALLOWS_UNLISTED = "django-allows-unlisted"
    # The contract and the origin that was asked for
    MOVE_UNDER_WAY = "move-under-way"
    COOKIES_BETWEEN_SITES = "cookies-between-sites"
    ORIGIN_IS_AN_ADDRESS = "origin-is-an-address"
    ORIGIN_INVALID = "origin-invalid"
    ORIGIN_UNLISTED = "origin-unlisted"
    APP_ORIGIN_UNLISTED = "app-origin-unlisted"
    CHROMIUM_DISAGREES = "chromium-disagrees"


# What each means, in a few words: docs/doctor.md shows it.
MEANING: dict[Code, str] = {
    Code.NOTHING_ANSWERS: "neither a host nor the page nor the API could be asked",
    Code.HOST_UNREACHABLE: "a host can't be asked over SSH",
    Code.NOT_DEPLOYED: "nothing, or no configuration, was deployed to a host yet",
    Code.NO_RELEASE: "a host has no release of the application",
    Code.DEPLOY_UNFINISHED: "a deploy was interrupted",
    Code.UNIT_NOT_ACTIVE: "a service of a host does not run",
    Code.UNIT_FAILED: "a service of a host can't start, or has ended with an error",
    Code.DISK_FULL: "a disk of a host is full",
    Code.NAME_TAKEN: "another server block of the host's nginx has the name of the page or the API",
    Code.PORT_BLOCKED: "nginx runs and listens, and a firewall denies its port",
    Code.WORKERS_KILLED: "the kernel killed gunicorn's workers for want of memory",
    Code.RELEASE_CHANGED: "files of the release were changed on a host",
    Code.FILE_DIFFERS: "a file of the configuration is not what the contract says",
    Code.ORIGINS_DIFFER: "a host still answers for other origins than the contract's",
    Code.OLDER_CONFIGURATION: "a host holds another configuration than the contract's",
    Code.FILE_ATTRIBUTES_DIFFER: "a file has another owner, mode or target",
    Code.OLD_SECRETS: "a host still keeps secrets that were replaced",
    Code.PROCESS_STALE: "a process runs an older configuration than its files hold",
    Code.PORT_CLOSED: "nginx runs, and nothing listens on the origin's port",
    Code.CERTIFICATE_MISSING: "a host has no certificate for its origin",
    Code.CERTIFICATE_NOT_SERVED: "a host serves another certificate than the one on its disk",
    Code.CERTIFICATE_WRONG_NAME: "the certificate is for other names than the origin's",
    Code.CERTIFICATE_EXPIRED: "the certificate, or one of its issuers, has expired",
    Code.CERTIFICATE_NOT_YET_VALID: "the certificate is valid later, or a clock is wrong",
    Code.CERTIFICATE_CHAIN_INCOMPLETE: "the certificate of the issuer is not sent along",
    Code.CERTIFICATE_UNTRUSTED: "browsers don't trust the certificate's CA (staging CAs included)",
    Code.CERTIFICATE_ENDS_SOON: "the certificate was not renewed in time",
    Code.LOCAL_CA_UNKNOWN: "this machine's browsers don't know the user's own CA",
    Code.TLS_TOO_OLD: "TLS 1.1 or older is spoken",
    Code.NO_TLS: "the port of an https origin answers without TLS",
    Code.TLS_FAILS: "the TLS handshake fails for another reason",
    Code.MIXED_CONTENT: "an https page calls an http API or server, which browsers block",
    Code.HTTP_ORIGIN_LISTED: "the http twin of an https page is in the list",
    Code.PLAIN_HTTP_REDIRECTED: "a page's request to the API by http is redirected to https",
    Code.CHALLENGE_BLOCKED: "port 80 is closed, where the CA asks before it renews a certificate",
    Code.HSTS_CHANGES_ORIGIN: "HSTS makes a listed http origin an https one, which is not listed",
    Code.NAME_UNKNOWN: "a name resolves to nothing from here",
    Code.NAME_NOT_LOOKED_UP: "the name service did not answer",
    Code.NAME_LEADS_ELSEWHERE: "a name leads to another address than the contract's",
    Code.PAGE_SILENT: "the page does not answer",
    Code.PAGE_FAILS: "the page answers another status than 200",
    Code.PAGE_CONFIG_UNREADABLE: "config.json could not be read",
    Code.PAGE_CONFIG_INCOMPLETE: "config.json does not say where the backend is",
    Code.PAGE_CONFIG_DIFFERS: "config.json names another backend than the contract",
    Code.OUTSIDE_PREVIEW_FROM: "a preview refuses the machine that asks, as preview_from says",
    Code.PREVIEW_PASSWORD_UNKNOWN: "a preview's page asks for a password that is not known here",
    Code.SERVER_ERROR: "a request gets a status from 500 to 599",
    Code.VIEW_SILENT: "the public address, or a host's nginx, does not answer",
    Code.ANSWER_SLOW: "the application takes longer for a request than anybody waits",
    Code.EVERY_ORIGIN_ALLOWED: "every website may read the answers, as the contract says",
    Code.UNLISTED_ORIGIN_ALLOWED: "origins may read the answers that the contract does not allow",
    Code.LISTED_ORIGIN_REFUSED: "origins of the contract are refused, as a host differs from it",
    Code.REFUSED_OUTSIDE_THE_KIT: "origins are refused by what a deploy does not change",
    Code.CHANGED_IN_FRONT: "the hosts answer right, and a proxy in front changes the headers",
    Code.FAILS_IN_FRONT: "the hosts answer well, and a proxy in front answers 5xx",
    Code.REDIRECTED_AWAY: "the API redirects to another origin",
    Code.POST_REDIRECTED: "a POST is redirected, so that its body is lost",
    Code.REFUSED_BY_A_SERVER_ERROR: "an answer with 5xx lacks the headers",
    Code.ANSWERED_BEFORE_HEADERS: "nginx answers before it knows the origin (414, 400)",
    Code.COOKIE_NEEDS_HTTPS: "browsers drop a cookie that the API sets over plain http",
    Code.SESSION_LOST: "no browser keeps the session of the API's answers",
    Code.SESSION_LOST_IN_SOME: "some browsers don't keep it, by default or by a setting",
    Code.TOKEN_OUT_OF_REACH: "the page's script can't get Django's CSRF token",
    Code.WRITE_REFUSED: "Django, or the preflight, refuses a write of the page",
    Code.DJANGO_SILENT: "gunicorn does not answer",
    Code.DJANGO_FAILS: "Django fails before CorsMiddleware can be seen",
    Code.DJANGO_MIDDLEWARE_ORDER: "CorsMiddleware is missing or stands too low",
    Code.DJANGO_REFUSES_LISTED: "Django does not allow an origin of the contract",
    Code.DJANGO_ALLOWS_UNLISTED: "Django allows an origin that the contract does not",
    Code.MOVE_UNDER_WAY: "`fab move` has begun and not ended: former origins are answered too",
    Code.COOKIES_BETWEEN_SITES: "cookies can't travel between page and API",
    Code.ORIGIN_IS_AN_ADDRESS: "an origin is an IP address, which may be somebody else's tomorrow",
    Code.ORIGIN_INVALID: "what `--origin` names is not an origin",
    Code.ORIGIN_UNLISTED: "what `--origin` names is not in the contract",
    Code.APP_ORIGIN_UNLISTED: "`--origin` names what apps send, and it is not in app_origins",
    Code.CHROMIUM_DISAGREES: "Chromium and the kit's verdict disagree",
}


_CODES_OF: dict[Kind, tuple[Code, ...]] = {
    Kind.NOTHING: (Code.NOTHING_ANSWERS,),
    Kind.HOST: (Code.HOST_UNREACHABLE,),
    Kind.NAME: (Code.NAME_UNKNOWN, Code.NAME_NOT_LOOKED_UP, Code.NAME_LEADS_ELSEWHERE),
    Kind.BLOCKED: (Code.PORT_BLOCKED, Code.DISK_FULL, Code.NAME_TAKEN),
    Kind.NO_RELEASE: (Code.NOT_DEPLOYED, Code.NO_RELEASE),
    Kind.STOPPED: (Code.UNIT_NOT_ACTIVE, Code.WORKERS_KILLED),
    Kind.DRIFT: (
        Code.DEPLOY_UNFINISHED,
        Code.RELEASE_CHANGED,
        Code.FILE_DIFFERS,
        Code.ORIGINS_DIFFER,
        Code.OLDER_CONFIGURATION,
        Code.FILE_ATTRIBUTES_DIFFER,
        Code.OLD_SECRETS,
        Code.PROCESS_STALE,
    ),
    Kind.TLS: (
        Code.PORT_CLOSED,
        Code.CERTIFICATE_MISSING,
        Code.CERTIFICATE_NOT_SERVED,
        Code.CERTIFICATE_WRONG_NAME,
        Code.CERTIFICATE_EXPIRED,
        Code.CERTIFICATE_NOT_YET_VALID,
        Code.CERTIFICATE_CHAIN_INCOMPLETE,
        Code.CERTIFICATE_UNTRUSTED,
        Code.CERTIFICATE_ENDS_SOON,
        Code.TLS_TOO_OLD,
        Code.NO_TLS,
        Code.TLS_FAILS,
    ),
    Kind.BROKEN: (Code.UNIT_FAILED,),
    Kind.FAILS: (Code.ANSWER_SLOW, Code.FAILS_IN_FRONT, Code.SERVER_ERROR, Code.PAGE_FAILS),
    Kind.SILENT: (
        Code.PAGE_SILENT,
        Code.PAGE_CONFIG_UNREADABLE,
        Code.VIEW_SILENT,
        Code.DJANGO_SILENT,
        Code.DJANGO_FAILS,
    ),
    Kind.CORS: (
        Code.UNLISTED_ORIGIN_ALLOWED,
        Code.LISTED_ORIGIN_REFUSED,
        Code.CHANGED_IN_FRONT,
        Code.REDIRECTED_AWAY,
        Code.MIXED_CONTENT,
        Code.PLAIN_HTTP_REDIRECTED,
        Code.REFUSED_BY_A_SERVER_ERROR,
        Code.ANSWERED_BEFORE_HEADERS,
        Code.DJANGO_MIDDLEWARE_ORDER,
        Code.DJANGO_REFUSES_LISTED,
        Code.DJANGO_ALLOWS_UNLISTED,
    ),
    Kind.PAGE: (Code.PAGE_CONFIG_INCOMPLETE, Code.PAGE_CONFIG_DIFFERS),
}
_KIND_OF: dict[str, Kind] = {}
for _kind, _codes in _CODES_OF.items():
    _KIND_OF.update(dict.fromkeys(_codes, _kind))


def kind_of(finding: Finding) -> Kind:
    """What a finding is about, by its code; OTHER for one that has no part in cause and effect."""
    return _KIND_OF.get(finding.code, Kind.OTHER)
