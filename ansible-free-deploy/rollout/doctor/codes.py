"""The stable names of the doctor's findings, and what each of them is about. Pure."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from rollout.finding import Finding


class Kind(IntEnum):
    """What a finding is about. A finding can only follow from one of a smaller kind."""

    NOTHING = 0  # nothing answers at all
    HOST = 1  # a host can't be asked
    NAME = 2  # a name leads to another machine
    NO_RELEASE = 3
    STOPPED = 4  # a service does not run
    DRIFT = 5  # files or processes are not what the contract says
    FAILS = 6  # something answers 5xx
    SILENT = 7  # no answer to a question
    CORS = 8  # a browser allows a page to read what it should not, or the other way round
    OTHER = 9


class Code(StrEnum):
    """One name for each finding of the doctor. A name never changes its meaning."""

    NOTHING_ANSWERS = "nothing-answers"
    # Hosts
    HOST_UNREACHABLE = "host-unreachable"
    NOT_DEPLOYED = "not-deployed"
    NO_RELEASE = "no-release"
    DEPLOY_UNFINISHED = "deploy-unfinished"
    UNIT_NOT_ACTIVE = "unit-not-active"
    WORKERS_KILLED = "workers-killed"
    RELEASE_CHANGED = "release-changed"
    # Files and processes of a host
    FILE_DIFFERS = "file-differs"
    ORIGINS_DIFFER = "origins-differ"
    FILE_ATTRIBUTES_DIFFER = "file-attributes-differ"
    OLD_SECRETS = "old-secrets"
    PROCESS_STALE = "process-stale"
    # Names and the page
    NAME_UNKNOWN = "name-unknown"
    NAME_LEADS_ELSEWHERE = "name-leads-elsewhere"
    PAGE_SILENT = "page-silent"
    PAGE_FAILS = "page-fails"
    PAGE_CONFIG_UNREADABLE = "page-config-unreadable"
    PAGE_CONFIG_INCOMPLETE = "page-config-incomplete"
    PAGE_CONFIG_DIFFERS = "page-config-differs"
    # Answers
    SERVER_ERROR = "server-error"
    VIEW_SILENT = "view-silent"
    EVERY_ORIGIN_ALLOWED = "every-origin-allowed"
    UNLISTED_ORIGIN_ALLOWED = "unlisted-origin-allowed"
    LISTED_ORIGIN_REFUSED = "listed-origin-refused"  # a deploy is the cure
    REFUSED_OUTSIDE_THE_KIT = "refused-outside-the-kit"  # the config or something else is
    REFUSED_BY_A_SERVER_ERROR = "refused-by-a-server-error"
    ANSWERED_BEFORE_HEADERS = "answered-before-headers"
    COOKIE_NEEDS_HTTPS = "cookie-needs-https"
    # Django, asked without nginx
    DJANGO_SILENT = "django-silent"
    DJANGO_FAILS = "django-fails"
    DJANGO_MIDDLEWARE_ORDER = "django-middleware-order"
    DJANGO_REFUSES_LISTED = "django-refuses-listed"
    DJANGO_ALLOWS_UNLISTED = "django-allows-unlisted"
    # The contract and the origin that was asked for
    COOKIES_BETWEEN_SITES = "cookies-between-sites"
    ORIGIN_IS_AN_ADDRESS = "origin-is-an-address"
    ORIGIN_INVALID = "origin-invalid"
    ORIGIN_UNLISTED = "origin-unlisted"
    CHROMIUM_DISAGREES = "chromium-disagrees"


_CODES_OF: dict[Kind, tuple[Code, ...]] = {
    Kind.NOTHING: (Code.NOTHING_ANSWERS,),
    Kind.HOST: (Code.HOST_UNREACHABLE,),
    Kind.NAME: (Code.NAME_UNKNOWN, Code.NAME_LEADS_ELSEWHERE),
    Kind.NO_RELEASE: (Code.NOT_DEPLOYED, Code.NO_RELEASE),
    Kind.STOPPED: (Code.UNIT_NOT_ACTIVE, Code.WORKERS_KILLED),
    Kind.DRIFT: (
        Code.DEPLOY_UNFINISHED,
        Code.RELEASE_CHANGED,
        Code.FILE_DIFFERS,
        Code.ORIGINS_DIFFER,
        Code.FILE_ATTRIBUTES_DIFFER,
        Code.OLD_SECRETS,
        Code.PROCESS_STALE,
    ),
    Kind.FAILS: (Code.SERVER_ERROR, Code.PAGE_FAILS),
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
        Code.REFUSED_BY_A_SERVER_ERROR,
        Code.DJANGO_MIDDLEWARE_ORDER,
        Code.DJANGO_REFUSES_LISTED,
        Code.DJANGO_ALLOWS_UNLISTED,
    ),
}
_KIND_OF: dict[str, Kind] = {}
for _kind, _codes in _CODES_OF.items():
    _KIND_OF.update(dict.fromkeys(_codes, _kind))


def kind_of(finding: Finding) -> Kind:
    """What a finding is about, by its code; OTHER for one that has no part in cause and effect."""
    return _KIND_OF.get(finding.code, Kind.OTHER)
