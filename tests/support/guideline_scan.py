# /// script
# requires-python = ">=3.11"
# dependencies = ["sslyze==6.3.1"]
# ///
"""What sslyze finds at a TLS server against Mozilla's intermediate guideline, as JSON: rule → text.

Words: the server's name or IP, its address, its port, a file with the roots that count. It is
locked next to itself and runs in an environment of its own (`guideline.py`): sslyze wants an older
`cryptography` than the kit has.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sslyze import (
    CertificateInfoExtraArgument,
    ScanCommandsExtraArguments,
    Scanner,
    ServerNetworkLocation,
    ServerScanRequest,
)
from sslyze.mozilla_tls_profile.tls_config_checker import (
    SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)


def found(name: str, address: str, port: int, roots: Path) -> dict[str, str]:
    """What is wrong with the server. Raises ServerScanResultIncomplete where it can't be asked."""
    scanner = Scanner()
    scanner.queue_scans(
        [
            ServerScanRequest(
                server_location=ServerNetworkLocation(name, port, address),
                scan_commands=SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
                scan_commands_extra_arguments=ScanCommandsExtraArguments(
                    certificate_info=CertificateInfoExtraArgument(custom_ca_file=roots)
                ),
            )
        ]
    )
    intermediate = MozillaTlsConfiguration.get(TlsConfigurationEnum.MOZILLA_INTERMEDIATE)
    [result] = scanner.get_results()
    try:
        check_server_against_tls_configuration(result, intermediate)
    except ServerNotCompliantWithTlsConfiguration as problem:
        return dict(problem.issues)
    return {}


if __name__ == "__main__":
    name, address, port, roots = sys.argv[1:]
    print(json.dumps(found(name, address, int(port), Path(roots))))
