"""What one value may look like: one rule for each kind, whoever reads it.

`infra.core.settings` applies the rules to a stack's config, `infra.core.contract` to the outputs,
which may come from a file that somebody edited. Each check returns its value or raises ValueError
with what was expected; the caller names the place.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from infra.core import variables

Check = Callable[[Any], Any]

MOST_KEYS = 8_000  # bytes
HIGHEST_PORT = 65_535
LONGEST = 255  # of a text that has no limit of its own

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_WSGI = re.compile(rf"{_MODULE.pattern}:[A-Za-z_]\w*", re.ASCII)
_URL_PATH = re.compile(r"/(?:(?!\.{1,2}/)[A-Za-z0-9._~-]+/)+")
# RFC 9110, section 5.6.2, without the dollar sign, which nginx expands.
_TOKEN = re.compile(r"[!#%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD = re.compile(r"[!#%&'+.^_`|~0-9A-Z-]+")
PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
HOST_KEY_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)

LOGIN_KEY_KINDS = (
    *HOST_KEY_KINDS,
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)

# The application's name is also a user, a group, /opt/<name>, /var/lib/<name>, /run/<name>,
# <name>.service and <name>.socket. Listed is what Debian or this kit calls so;
# tests/e2e/test_names.py compares it with a real machine. What else a host has is found there,
# before anything is changed.
RESERVED = {
    "a user or group of Debian's": """
        root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc
        nobody nogroup messagebus sshd ssh adm audio cdrom dialout dip disk fax floppy kmem
        operator plugdev sasl shadow src staff sudo tape tty users utmp video voice input
        kvm render sgx crontab netdev polkitd tcpdump uuidd chrony""",
    "a folder in /var/lib": """
        apt dbus dpkg misc pam private python systemd ucf polkit-1 cloud dhcp logrotate git
        os-prober""",
    "a folder in /run": """
        adduser credentials host initctl lock log mount motd network runit screen shm udev
        user""",
    "a unit of Debian's": """
        console-getty cron cryptdisks cryptdisks-early debug-shell dpkg-db-backup emergency
        exim4 fstrim getty-static hwclock ifup kmod kmod-static-nodes modprobe networking
        procps quotaon rc rc-local rescue rsyslog syslog system-update-cleanup timers
        unattended-upgrades x11-common""",
    "a program that the kit runs or may run": """
        nginx gunicorn postgres postgresql redis redis-server valkey haproxy certbot
        letsencrypt deploy""",
}
_RESERVED_FAMILIES = (
    "systemd-",
    "origin-kit",
    "apt-",
    "initrd-",
    "cloud-",
    "nginx-",
    "postgresql-",
)
_REASONS = {name: reason for reason, names in RESERVED.items() for name in names.split()}


def quote(value: object) -> str:
    """A value for a message: short, on one line, without anything that a terminal would act on."""
    shown = value if isinstance(value, str) else json.dumps(value, default=str)
    short = shown if len(shown) <= 60 else shown[:57] + "..."
    return repr(short) if isinstance(value, str) else short


def hide_password(url: str) -> str:
    """`url` as it may be printed: without the user and password that it may hold."""
    return re.sub(r"//[^/\s]*@", "//", url)


def text(pattern: re.Pattern[str], expected: str, longest: int = LONGEST) -> Check:
    """The check for a text that is wholly of this pattern."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"invalid value {quote(value)}: expected {expected}")
        if len(value) > longest:
            raise ValueError(f"invalid value {quote(value)}: longer than {longest} characters")
        return value

    return check


def one_of(*allowed: str) -> Check:
    """The check for one of a few words."""

    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"invalid value {quote(value)}: expected {' or '.join(allowed)}")
        return str(value)

    return check


def within(value: Any, low: int, high: int) -> int:
    """A whole number within bounds."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{quote(value)} is not a whole number from {low} to {high}")
    return value


def port(value: Any) -> int:
    """A TCP port."""
    return within(value, 1, HIGHEST_PORT)


label = text(LABEL, "one label of a host name, e.g. app")
APEX = "@"  # as zone files write the domain itself
WWW = "www"
frontend_label = text(
    re.compile(rf"{LABEL.pattern}|{APEX}"),
    f'one label of a host name, e.g. app, or "{APEX}" for the domain itself',
)
# A stack's name is part of file names (stacks/<name>.secrets).
environment_name = text(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*"), "the name of a stack, e.g. staging", 100
)
project_name = text(re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*"), "the name of a Pulumi project", 100)
_branch_text = text(PRINTABLE, "the name of a branch")
# As git-check-ref-format(1) and `git check-ref-format --branch` have it.
_NOT_IN_A_BRANCH = re.compile(
    r"[\s~^:?*\[\\]|\.\.|@\{|//|^[/-]|[/.]$|(^|/)\.|\.lock(/|$)|^@$|^HEAD$"
)
module = text(_MODULE, "a module, e.g. shop.settings")
wsgi = text(_WSGI, "module:name, e.g. shop.wsgi:application")
url_path = text(_URL_PATH, "a path that starts and ends with a slash, e.g. /static/")
user_name = text(re.compile(r"[a-z_][a-z0-9_-]{0,31}"), "the name of a user, e.g. deploy")
kind = one_of("environment", "preview")
tls = one_of("off", "acme", "files", "local-ca")

_application_name = text(re.compile(r"[a-z][a-z0-9-]{0,29}"), "a short lower-case name, e.g. shop")


def branch_name(value: Any) -> str:
    """The name of a git branch that can be shown on one line."""
    name = str(_branch_text(value))
    if _NOT_IN_A_BRANCH.search(name):
        raise ValueError(f"invalid value {quote(name)}: expected the name of a branch")
    return name


def application_name(value: Any) -> str:
    """A name for user, group, folders and units that is nobody's yet, as far as one can know
    without a host."""
    name = str(_application_name(value))
    family = next((start for start in _RESERVED_FAMILIES if name.startswith(start)), None)
    reason = _REASONS.get(name) or (
        f"the start of names of the system's own ({family}…)" if family else None
    )
    if reason:
        raise ValueError(
            f"{name!r} is {reason}: its user, folders and units would be mixed up; choose another"
            " name"
        )
    return name


def address(value: Any) -> str:
    """An IP address, or a DNS name that no browser or resolver takes for one."""
    if isinstance(value, str):
        for kind_of_address in (IPv4Address, IPv6Address):
            try:
                kind_of_address(value)
            except ValueError:
                continue
            if "%" not in value:
                return value
        if _labels(value):
            return value
    raise ValueError(f"invalid value {quote(value)}: expected an IP address or a host name")


def host_name(value: Any) -> str:
    """A DNS name of two labels or more, and no address."""
    if not isinstance(value, str) or len(_labels(value)) < 2:
        raise ValueError(
            f"invalid value {quote(value)}: expected a host name without scheme and port, e.g."
            " api2.example.com"
        )
    return value


def _labels(text: str) -> list[str]:
    """The labels of a DNS name that no browser or resolver takes for an address; none for any other
    text."""
    labels = text.split(".")
    if len(text) > 253 or labels[-1].isdigit() or not all(map(LABEL.fullmatch, labels)):
        return []
    return labels


def host_key(value: Any) -> str:
    """An OpenSSH public key line of a host: kind, base64, and perhaps a comment."""
    words = value.split(None, 2) if isinstance(value, str) and PRINTABLE.fullmatch(value) else []
    if len(words) < 2 or words[0] not in HOST_KEY_KINDS or not _is_key(words[0], words[1]):
        raise ValueError(
            f"invalid SSH host key {quote(value)}: expected a line like `ssh-ed25519 AAAA…`"
        )
    return str(value)


def login_key(value: Any) -> str:
    """An OpenSSH public key line of a person: kind, base64, and perhaps a comment. Options are not
    taken."""
    words = value.split(None, 2) if isinstance(value, str) and PRINTABLE.fullmatch(value) else []
    if len(words) < 2 or words[0] not in LOGIN_KEY_KINDS or not _is_key(words[0], words[1]):
        raise ValueError(
            f"invalid SSH public key {quote(value)}: expected a line like `ssh-ed25519 AAAA…"
            " ada@laptop`"
        )
    return str(value).strip()


def login_keys(values: Iterable[Any]) -> tuple[str, ...]:
    """Those who may log in, as many as a first boot takes: on AWS all of its text is 16 KiB at
    most."""
    keys = tuple(map(login_key, values))
    if (size := sum(map(len, keys))) > MOST_KEYS:
        raise ValueError(
            f"{size} bytes of SSH keys, a first boot takes {MOST_KEYS}; list fewer, or ed25519 ones"
        )
    return keys


def _is_key(kind_of_key: str, encoded: str) -> bool:
    """Whether the base64 text begins as keys of this kind do (RFC 4253, section 6.6), with
    something behind it."""
    if len(encoded) > 8192:
        return False
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    start = len(kind_of_key).to_bytes(4, "big") + kind_of_key.encode()
    return data.startswith(start) and len(data) >= len(start) + 32


def method(value: Any) -> str:
    """An HTTP method as browsers send it."""
    if not isinstance(value, str) or not _METHOD.fullmatch(value) or len(value) > LONGEST:
        raise ValueError(f"{quote(value)} is not a method; methods are upper case, e.g. PUT")
    return value


def header(value: Any) -> str:
    """The name of an HTTP header."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value) or len(value) > LONGEST:
        raise ValueError(f"{quote(value)} is not a header name")
    if value == "*":
        raise ValueError("'*' is taken literally as soon as credentials are sent; name each header")
    return value


def variable_name(value: Any) -> str:
    """The name of an environment variable."""
    if not isinstance(value, str) or not variables.NAME.fullmatch(value) or len(value) > LONGEST:
        raise ValueError(f"{quote(value)} is not a variable's name")
    return value


EVERYONE_IN_PRODUCTION = "every website could read the answers; list extra_origins in production"
SAME_URL = "the same as static_url; the two need paths of their own"


def plain_http_credentials(origin: str) -> str:
    """Why cookies and this http origin do not go together in production."""
    return (
        f"{origin} is plain http: whoever is on the way can act with a visitor's cookies; use https"
    )


def full_name(label: str, domain: str) -> str:
    """The name of a label under `domain`; "@" is the domain itself."""
    if label == APEX:
        return domain
    return f"{label}.{domain}"
