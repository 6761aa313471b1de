"""A planted secret: it reaches the application, and is found nowhere else."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.core.contract import Json
from rollout.render import render
from tests.support.kit import ROOT, Stack

pytestmark = pytest.mark.machines

SENTINEL = "hush-3f9c-sentinel-77aa"


def test_a_changed_secret_is_a_config_only_deploy(stack: Stack, tmp_path: Path) -> None:
    """Given as Pulumi gives it, apart from the contract. Searched for: every output, file, log,
    process and unit."""
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
    workers = (
        "grep -lz '^API_TOKEN=' /proc/$(pgrep -u shop -o gunicorn || pgrep -u shop -o"
        " python)/environ"
    )
    assert "environ" in stack.kit.ssh(backend, workers)
    assert stack.kit.ssh(backend, "readlink /opt/shop/current") == release

    said = plan + deployed.stdout + deployed.stderr + status.stdout + stack.fab("outputs").stdout
    assert SENTINEL not in said
    everywhere = (
        f"grep -rlF {SENTINEL} /etc /opt /var /run /home /root /tmp --exclude-dir=proc 2>/dev/null;"
        f" journalctl --no-pager -o cat | grep -cF {SENTINEL}; systemctl show '*' --all | grep -F"
        f" {SENTINEL}; ps axww | grep -F {SENTINEL} | grep -v grep"
    )
    found = stack.kit.ssh(backend, everywhere, check=False).split()
    # The generation's one secret file (and the same one by its links); `0` is the journal's count.
    assert {Path(one).name for one in found} == {"secrets.env", "0"}
    for one in found:
        if one != "0":
            assert stack.kit.ssh(backend, f"stat -Lc '%a %U' {one}").strip() == "600 root"
    assert stack.kit.ssh(frontend, everywhere, check=False).split() == ["0"]
    home = [
        path
        for path in stack.kit.home.rglob("*")
        if path.is_file() and not {"machines", "bases"} & {*path.parts}
    ]
    assert not [path for path in home if SENTINEL.encode() in path.read_bytes()]


def test_a_secrets_file_that_others_can_read_is_refused(stack: Stack) -> None:
    """On this machine secrets stand next to the stack, for their owner alone; a broken line is
    named by its number."""
    path = ROOT / "stacks" / f"{stack.name}.secrets"
    try:
        path.write_text(f"API_TOKEN={SENTINEL}\n")
        path.chmod(0o644)
        assert "chmod 600" in stack.fab("deploy", status=2).stderr
        path.chmod(0o600)
        path.write_text(f"# mine\nAPI TOKEN={SENTINEL}\n")
        refused = stack.fab("deploy", status=2)
        assert "line 2: not NAME=value" in refused.stderr
        assert SENTINEL not in refused.stderr + refused.stdout
        path.write_text(f"API_TOKEN={SENTINEL}\n")
        assert SENTINEL not in stack.fab("deploy").stdout
    finally:
        path.unlink()


# Each reaches the process byte for byte through a file that systemd parses.
AWKWARD = (
    "",
    " blanks ",
    "quo\"te and 'this' and `that`",
    "$HOME ${HOME} $(id)",
    "back\\slash \\n \\\\ end\\",
    "line\nbreak\n",
    "cut\\\nline",
    "tab\tand\rreturn",
    "# no comment; nor this",
    "u\u2028u2029\u2029 v\x0bv f\x0cf \x1c\x1d\x1e \x85 nbsp\xa0",
    "\x01\x02\x1b[31mred\x1b[0m\x7f",
    "\ufeffmark",
    "\U0001f986 \U0010fffd \ue000",
    "%n %h %%",
    "@fingerprint:gunicorn@ @{release} @fingerprint:nginx@",
    "/etc/origin-kit/current",
    "x" * 131_000,
)


@pytest.fixture
def given(stack: Stack, tmp_path: Path) -> Iterator[Callable[..., list[str]]]:
    """Options that have `fab` start from the stack's outputs with these secrets and plain
    values."""
    contract = json.loads(stack.fab("outputs").stdout)
    file = tmp_path / "outputs.json"

    def make(secrets: dict[str, str], **env: str) -> list[str]:
        changed: Json = json.loads(json.dumps(contract))
        changed["application"]["env"].update(env)
        file.write_text(json.dumps({"contract": changed, "secret_env": secrets}))
        return ["--outputs", str(file)]

    yield make
    stack.fab("deploy")


def on_backend(stack: Stack, command: str) -> str:
    return stack.kit.ssh(stack.contract.backend.hosts[0], command)


def test_awkward_values_reach_the_process_byte_for_byte(
    stack: Stack, given: Callable[..., list[str]]
) -> None:
    """Secrets and plain values, as the kernel shows them for a process that serves."""
    secrets = {f"SECRET_{index}": value for index, value in enumerate(AWKWARD)}
    plain = {f"PLAIN_{index}": value for index, value in enumerate(AWKWARD)}
    stack.fab("deploy", *given(secrets, **plain))
    worker = "$(ls /run/shop/workers | grep -m1 .)"
    data = base64.b64decode(on_backend(stack, f"base64 -w0 /proc/{worker}/environ"))
    found = dict(item.split("=", 1) for item in data.decode().split("\0") if item)
    assert {name: found.get(name) for name in {**secrets, **plain}} == {**secrets, **plain}


@pytest.mark.soak
def test_a_pin_is_not_found_from_readable_files(
    stack: Stack, given: Callable[..., list[str]]
) -> None:
    """They know the kit and the contract, and render it with each of the ten thousand: nothing
    reports the right one."""
    stack.fab("deploy", *given({"PIN": "4711"}))
    public = (
        "sudo -u nobody sh -c 'cat /etc/origin-kit/current/*/* /var/log/origin-kit/*; readlink"
        " /etc/origin-kit/current; find /etc/origin-kit /run/shop /opt/shop/releases' 2>&1; cat"
        " /run/shop/workers/*"
    )
    seen = set(re.findall(r"[0-9a-f]{16,}", on_backend(stack, public)))
    contract, host = stack.contract, stack.contract.backend.hosts[0]
    tried = []
    for pin in ("4711", "4712"):
        generation = render(contract, "backend", host, {"PIN": pin})
        tried.append(seen & {generation.id, *generation.fingerprints.values()})
    assert tried[0] == tried[1] != set()
    assert stack.kit.ssh(host, "stat -c '%a %U' /etc/origin-kit/key").split() == ["600", "root"]


def test_a_replaced_secret_leaves_the_disk_for_good(
    stack: Stack, given: Callable[..., list[str]]
) -> None:
    """Its generations stay for their configuration; the history says that they come without their
    secrets."""
    old = {"TOKEN": "rotate-me-1f3a"}
    stack.fab("deploy", *given(old, COLOUR="red"))
    stack.fab("deploy", *given(old, COLOUR="blue"))
    assert on_backend(stack, "grep -rlF rotate-me-1f3a /etc /var /run /opt | wc -l").strip() != "0"
    new = given({"TOKEN": "fresh-77b2"}, COLOUR="blue")
    stack.fab("deploy", *new)
    assert on_backend(stack, "grep -rlF rotate-me-1f3a /etc /var /run /opt | wc -l").strip() == "0"
    assert "kept, with today's secrets" in stack.fab("history").stdout
    assert "nothing but secrets" in stack.fab("rollback", *new, status=2).stderr

    backend = json.loads(stack.fab("history", "--json").stdout)["backend-1"]
    done = [line["generation"] for line in backend["deploys"] if line["result"] == "deployed"]
    stack.fab("rollback", *new, "--to", done[2])
    environ = (
        "cat /proc/$(ls /run/shop/workers | grep -m1 .)/environ | tr '\\0' '\\n' | grep -E"
        " '^(TOKEN|COLOUR)='"
    )
    assert sorted(on_backend(stack, environ).split()) == ["COLOUR=red", "TOKEN=fresh-77b2"]
    assert on_backend(stack, "grep -rlF rotate-me-1f3a /etc /var /run /opt | wc -l").strip() == "0"
    stack.fab("deploy", *new)
    assert "unchanged" in stack.fab("deploy", *new).stdout
