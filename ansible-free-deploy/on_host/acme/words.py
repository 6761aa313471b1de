"""certbot's output → why there is no certificate, in the CA's words. Pure."""

from __future__ import annotations

import re

_FAILED_CHALLENGE = re.compile(
    r"^  (?:Identifier|Domain): (?P<name>.+)\n  Type: .*\n  Detail: (?P<why>.+)$", re.MULTILINE
)
_RETRY_AFTER = re.compile(r"retry after (?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?: ?UTC|Z)?)")
_REFUSED_CONNECTION = re.compile(r"\[Errno -?\d+\] ([^\"')\]]+)")
_REPORTS = ("An unexpected error occurred:", "Error returned by the ACME server:")
# What certbot says besides.
_BESIDES = re.compile(
    r"Saving debug log|Ask for help|If you like Certbot| \* Donating|- - -|Account registered"
    r"|Requesting a certificate|Renewing an existing|Some challenges have failed|Hint: |Traceback"
)
LOG = "/var/log/origin-kit/certbot/letsencrypt.log"
_NETWORK = re.compile(r"requests\.exceptions\.|urllib3\.exceptions\.")


def why(output: str, server: str) -> str:
    """Why certbot has failed."""
    failed = _FAILED_CHALLENGE.findall(output)
    if failed:
        return "; ".join(f"{name}: {reason.strip()}" for name, reason in failed)
    if _NETWORK.search(output):
        return _no_connection(output, server)
    for report in _REPORTS:
        _, found, rest = output.partition(report)
        if found:
            return _sentence(rest)
    return _sentence(output) or f"certbot gives no reason; see {LOG} on the host"


def retry_after(output: str) -> str:
    """When the CA says that it may be asked again, as it writes times; "" where it does not."""
    match = _RETRY_AFTER.search(output)
    return match["time"] if match else ""


def _no_connection(output: str, server: str) -> str:
    """Why the ACME server can't be reached, from the exception of certbot's HTTP library."""
    if "CERTIFICATE_VERIFY_FAILED" in output:
        return (
            f"this host does not trust the certificate of {server}: if that CA is your own, put its"
            " certificate into /usr/local/share/ca-certificates on the host and run"
            " `update-ca-certificates`"
        )
    if "NameResolutionError" in output or "Failed to resolve" in output:
        return f"this host can't resolve the name of {server}"
    if "timed out" in output:
        return f"{server} can't be reached: timed out"
    match = _REFUSED_CONNECTION.search(output)
    return f"{server} can't be reached: {match[1] if match else 'the connection fails'}"


def _sentence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if not _BESIDES.match(line)]
    return " ".join(line for line in lines if line)
