"""Whether a server keeps to Mozilla's intermediate guideline for TLS, by sslyze's verdict.

https://wiki.mozilla.org/Security/Server_Side_TLS
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.kit import ROOT

_SCAN = Path(__file__).with_name("guideline_scan.py")
_UV = ROOT / ".tools" / "bin" / "uv"
_LONGEST_S = 300  # of the first scan, which installs sslyze

# Rule of the guideline → what the kit's nginx has for it, and what breaks it. OpenSSL takes the
# older versions of TLS only below its security level 1.
WEAKENED = {
    "tls_versions": ("ssl_protocols TLSv1.2", "ssl_protocols TLSv1.1 TLSv1.2"),
    "ciphers": ("ssl_ciphers ", "ssl_ciphers ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0:"),
    "tls_curves": ("ssl_ecdh_curve ", "ssl_ecdh_curve secp521r1:"),
}


def deviations(name: str, address: str, port: int, roots: Path) -> dict[str, str]:
    """Rule of the guideline → how the server breaks it; empty where nothing is wrong.

    `roots` is a PEM file: a certificate has to lead to one of them or to a public CA.
    """
    run: list[str | Path] = [
        _UV,
        "run",
        "--quiet",
        "--no-python-downloads",
        "--locked",
        "--script",
        _SCAN,
    ]
    done = subprocess.run(
        [*run, name, address, str(port), roots],
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found
