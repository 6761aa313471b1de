"""A planted secret: it reaches the application, and is found nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.kit import ROOT, Stack

pytestmark = pytest.mark.machines

SENTINEL = "hush-3f9c-sentinel-77aa"


def test_a_changed_secret_is_a_config_only_deploy_and_stands_nowhere_else(stack: Stack, tmp_path: Path) -> None:
    """Given as Pulumi gives it, apart from the contract. Searched for: every output, file, log, process and unit."""
    contract = json.loads(stack.fab("outputs").stdout)
    release = stack.kit.ssh(stack.contract.backend.hosts[0], "readlink /opt/shop/current")
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps({"contract": contract, "secret_env": {"API_TOKEN": SENTINEL}}))

    plan = stack.fab("plan", "--outputs", str(file)).stdout
    assert "would change" in plan
    assert "restarts gunicorn" in plan
    deployed = stack.fab("deploy", "--outputs", str(file))
    assert "restarted gunicorn" in deployed.stdout
    assert "unchanged" in stack.fab("deploy", "--outputs", str(file)).stdout
    status = stack.fab("status", "--outputs", str(file))
    assert "as the contract says" in status.stdout

    backend, frontend = stack.contract.backend.hosts[0], stack.contract.frontend.hosts[0]
    workers = "grep -lz '^API_TOKEN=' /proc/$(pgrep -u shop -o gunicorn || pgrep -u shop -o python)/environ"
    assert "environ" in stack.kit.ssh(backend, workers)
    assert stack.kit.ssh(backend, "readlink /opt/shop/current") == release

    said = plan + deployed.stdout + deployed.stderr + status.stdout + stack.fab("outputs").stdout
    assert SENTINEL not in said
    everywhere = (
        f"grep -rlF {SENTINEL} /etc /opt /var /run /home /root /tmp --exclude-dir=proc 2>/dev/null; "
        f"journalctl --no-pager -o cat | grep -cF {SENTINEL}; "
        f"systemctl show '*' --all | grep -F {SENTINEL}; "
        f"ps axww | grep -F {SENTINEL} | grep -v grep"
    )
    found = stack.kit.ssh(backend, everywhere, check=False).split()
    # The generation's one secret file (and the same one by its links); `0` is the journal's count.
    assert {Path(one).name for one in found} == {"secrets.env", "0"}
    for one in found:
        if one != "0":
            assert stack.kit.ssh(backend, f"stat -Lc '%a %U' {one}").strip() == "600 root"
    assert stack.kit.ssh(frontend, everywhere, check=False).split() == ["0"]
    home = [path for path in stack.kit.home.rglob("*") if path.is_file() and not {"machines", "bases"} & {*path.parts}]
    assert not [path for path in home if SENTINEL.encode() in path.read_bytes()]


def test_a_secrets_file_that_others_can_read_is_refused(stack: Stack) -> None:
    """On this machine secrets stand beside the stack, for their owner alone; a broken line is named by its number."""
    path = ROOT / "stacks" / f"{stack.name}.secrets"
    try:
        path.write_text(f"API_TOKEN={SENTINEL}\n")
        path.chmod(0o644)
        assert "chmod 600" in stack.fab("deploy", status=1).stderr
        path.chmod(0o600)
        path.write_text(f"# mine\nAPI TOKEN={SENTINEL}\n")
        refused = stack.fab("deploy", status=1)
        assert "line 2: not NAME=value" in refused.stderr
        assert SENTINEL not in refused.stderr + refused.stdout
        path.write_text(f"API_TOKEN={SENTINEL}\n")
        assert SENTINEL not in stack.fab("deploy").stdout
    finally:
        path.unlink()
