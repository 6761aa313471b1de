"""Run certbot: one command for the first issue and for every renewal.

`certonly --keep-until-expiring` asks for a certificate where there is none, and renews one when it
is time: the CA's renewal information (ARI, RFC 9773) decides, else a third of the lifetime that is
left, or a half below ten days (certbot's renewal.py). It never sleeps; the timer has the jitter.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import ssl
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping  # noqa: UP035 - Python 3.9 on hosts

from on_host import places
from on_host.acme import account, venv
from on_host.acme.paths import LOGS, WEBROOT, WORK, config
from on_host.acme.words import why
from on_host.files import private_folder, sync, write_durably
from on_host.runtime import Failed, run

if TYPE_CHECKING:
    from on_host.protocol import CertificateOrder

_MOST_S = 1500
_ISSUANCE_S = 900  # AWS Certificate Manager takes minutes; certbot's own 90 s are too few
_OPTIONS = places.RUN / "certbot.ini"
_SYSTEMS_CAS = "/etc/ssl/certs/ca-certificates.crt"
_FOR_NAMES = "tlsserver"
_FOR_ADDRESSES = "shortlived"
_VERSION = re.compile(r"^privkey(\d+)[.]pem$")
_PARTS = ("cert", "chain", "fullchain", "privkey")


def ask(order: CertificateOrder, *, force: bool = False, eab_hmac: str = "") -> None:
    """Have a certificate for the order, a new one where it is time or `force` says so.

    Raises Failed in the CA's words.
    """
    folder = config(order["environment"])
    for private in (places.KIT / "tls", folder, WORK, LOGS):
        private_folder(private)
    prepare_webroot()
    forget_damaged(order)
    own = account.lay_out(order)
    with _options(order, eab_hmac) as options:
        done = _run(["-c", str(options), *arguments(order, own, force=force)])
    account.keep_new(order)
    if done.returncode:
        names = ", ".join(order["names"])
        text = why(done.stdout, order["server"])
        # certbot's output says that a disk is full.
        failure = Failed(f"no new certificate for {names}: {text}", done.stdout)
        failure.detail = ""
        raise failure
    _sync(order)


def arguments(order: CertificateOrder, own: str | None, *, force: bool) -> list[str]:
    """certbot's command line, without secrets."""
    folder = config(order["environment"])
    words = ["certonly", "--non-interactive", "--agree-tos", "--no-eff-email"]
    words += ["--config-dir", str(folder), "--work-dir", str(WORK), "--logs-dir", str(LOGS)]
    words += ["--max-log-backups", "20", "--no-directory-hooks"]
    words += ["--server", order["server"], "--cert-name", order["lineage"]]
    words += ["--webroot", "--webroot-path", str(WEBROOT), "--key-type", "ecdsa"]
    words += ["--issuance-timeout", str(_ISSUANCE_S)]
    words += ["--account", own] if own else []
    words += (
        ["--email", order["email"]] if order["email"] else ["--register-unsafely-without-email"]
    )
    words += profile(order)
    for name in order["names"]:
        words += ["--ip-address" if is_address(name) else "--domain", name]
    return [*words, "--force-renewal" if force else "--keep-until-expiring"]


def profile(order: CertificateOrder) -> list[str]:
    """The profile to ask for. Only `shortlived` has IPs at Let's Encrypt, and one that is merely
    preferred would be replaced by another without a word."""
    if order["profile"]:
        return ["--required-profile", order["profile"]]
    if any(map(is_address, order["names"])):
        return ["--required-profile", _FOR_ADDRESSES]
    return ["--preferred-profile", _FOR_NAMES]


def is_address(name: str) -> bool:
    """Whether this is an IP, not a name."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def pair(order: CertificateOrder) -> tuple[str, str] | None:
    """The newest chain and key (PEM) that certbot has; None where it has none."""
    live = config(order["environment"]) / "live" / order["lineage"]
    try:
        return (live / "fullchain.pem").read_text(), (live / "privkey.pem").read_text()
    except OSError:
        return None


def prepare_webroot() -> None:
    """The folder that nginx reads challenges from: root's, readable by everybody."""
    WEBROOT.mkdir(parents=True, exist_ok=True)
    for folder in (WEBROOT.parent, WEBROOT):
        folder.chmod(0o755)


def forget_damaged(order: CertificateOrder) -> None:
    """Remove what certbot has of this lineage if its newest files are cut, by a full disk or a
    power cut: certbot would stumble over it at each renewal. The pair that serves lies
    elsewhere."""
    folder = config(order["environment"])
    record = folder / "renewal" / f"{order['lineage']}.conf"
    if not os.path.lexists(str(record)) and not _archive(order).exists():
        return
    if _is_whole(record) and _newest_is_whole(order):
        return
    for leftover in (folder / "live" / order["lineage"], _archive(order)):
        shutil.rmtree(str(leftover), ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        record.unlink()


def _is_whole(record: Path) -> bool:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return "[renewalparams]" in record.read_text()
    return False


def _newest_is_whole(order: CertificateOrder) -> bool:
    """Whether the last version is all there, its key fits, and the links lead to it."""
    archive = _archive(order)
    versions = [_VERSION.match(path.name) for path in archive.glob("privkey*.pem")]
    newest = max((int(match[1]) for match in versions if match), default=0)
    live = archive.parent.parent / "live" / order["lineage"]
    for part in _PARTS:
        path = archive / f"{part}{newest}.pem"
        if not path.exists() or not path.stat().st_size or not (live / f"{part}.pem").exists():
            return False
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            str(archive / f"fullchain{newest}.pem"), str(archive / f"privkey{newest}.pem")
        )
    except (OSError, ssl.SSLError):
        return False
    return True


def _archive(order: CertificateOrder) -> Path:
    return config(order["environment"]) / "archive" / order["lineage"]


def _sync(order: CertificateOrder) -> None:
    """certbot writes without fsync."""
    folder = config(order["environment"])
    for path in (
        *_archive(order).glob("*.pem"),
        folder / "renewal" / f"{order['lineage']}.conf",
    ):
        sync(path)
    for path in (_archive(order), folder / "live" / order["lineage"], folder / "renewal"):
        sync(path)


@contextlib.contextmanager
def _options(order: CertificateOrder, eab_hmac: str) -> Iterator[Path]:
    """What stands in no process list: a file of root's, in memory, gone when certbot has ended."""
    lines = ["no-random-sleep-on-renew = true"]
    if order["eab_kid"] and eab_hmac:
        lines += [f"eab-kid = {order['eab_kid']}", f"eab-hmac-key = {eab_hmac}"]
    private_folder(_OPTIONS.parent)
    write_durably(_OPTIONS, "".join(f"{line}\n" for line in lines).encode(), 0o600)
    try:
        yield _OPTIONS
    finally:
        _OPTIONS.unlink()


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    python = venv.python()
    try:
        return run(
            *(str(python), "-I", str(python.with_name("certbot")), *words),
            cwd="/",
            env=_variables(os.environ),
            timeout=_MOST_S,
        )
    except subprocess.TimeoutExpired:
        raise Failed(
            f"the CA has not answered for {_MOST_S // 60} minutes; run {{again}}"
        ) from None


def _variables(own: Mapping[str, str]) -> dict[str, str]:
    """What certbot runs with: the system's CAs in place of those that Python's packages bring, and
    a proxy where this host has one."""
    kept = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
    variables = {name: own[name] for name in kept if name in own}
    variables.update(
        {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": "/root",
        }
    )
    if Path(_SYSTEMS_CAS).exists():
        variables["REQUESTS_CA_BUNDLE"] = _SYSTEMS_CAS
    return variables
