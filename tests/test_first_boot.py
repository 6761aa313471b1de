"""First boot: what goes into the text, what never does, and how its end is read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.core import first_boot
from infra.core.first_boot import FirstBoot, FirstBootError, cloud_config, startup_script, verdict
from tests.support import graph

GOLDEN = Path(__file__).parent / "golden" / "first_boot"
PUBLIC, PRIVATE = graph._key("backend-1")
BOOT = FirstBoot("backend-1", (f"{PUBLIC} ada@laptop",), PRIVATE, PUBLIC, "aws")


@pytest.mark.parametrize(("metadata", "render"), [("aws", cloud_config), ("gcp", startup_script)])
def test_the_text_is_the_golden_one(metadata: str, render: object) -> None:
    """UPDATE_GOLDEN=1 writes it again."""
    assert callable(render)
    found = render(replace(BOOT, metadata=metadata))
    path = GOLDEN / f"{metadata}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found)
    assert found == path.read_text()


def test_cloud_init_reads_what_is_meant() -> None:
    """YAML of the names that cloud-init documents: one user with keys, no password, no generated
    host key."""
    text = cloud_config(BOOT)
    assert text.startswith("#cloud-config\n")
    config = yaml.safe_load(text)
    assert [user["name"] for user in config["users"]] == ["deploy"]
    assert config["users"][0]["ssh_authorized_keys"] == [PUBLIC]
    assert (config["disable_root"], config["ssh_pwauth"], config["ssh_deletekeys"]) == (
        True,
        False,
        True,
    )
    assert config["ssh_keys"] == {"ed25519_private": PRIVATE, "ed25519_public": PUBLIC + "\n"}
    assert config["ssh_genkeytypes"] == []


def test_the_startup_script_is_sound_shell() -> None:
    done = subprocess.run(
        ["sh", "-n"], input=startup_script(replace(BOOT, metadata="gcp")), text=True, check=False
    )
    assert done.returncode == 0


def packages_from(folder: Path, works_at: int) -> subprocess.CompletedProcess[str]:
    """The step that fetches packages, where apt-get works from its so-many-eth install on."""
    bin_ = folder / "bin"
    bin_.mkdir()
    fakes = {
        "dpkg-query": f"[ -e {folder}/installed ] && echo 'install ok installed'",
        "apt-get": (
            f'case "$*" in *update) exit 100;; esac; echo try >> {folder}/tries; '
            f"[ $(wc -l < {folder}/tries) -ge {works_at} ] && touch {folder}/installed"
        ),
        "sleep": f"echo $1 >> {folder}/slept",
    }
    for name, text in fakes.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    return subprocess.run(
        ["sh", "-euc", first_boot._packages()],
        env={"PATH": f"{bin_}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def test_packages_are_tried_for_until_there_is_a_way_out(tmp_path: Path) -> None:
    """On AWS the public address comes after the first boot has begun."""
    done = packages_from(tmp_path, works_at=4)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "slept").read_text().split() == ["5"] * 3


def test_packages_that_never_come_are_reported(tmp_path: Path) -> None:
    done = packages_from(tmp_path, works_at=1000)
    assert done.returncode == 1
    assert "after 60 tries: is there a way out?" in done.stdout


def test_the_cloud_init_steps_are_sound_shell(tmp_path: Path) -> None:
    """What went wrong first is what `fab up` says, not that a script of cloud-init's failed."""
    text = first_boot._cloud_init_steps().replace(
        "/var/lib/origin-kit-first-boot", str(tmp_path / "marks")
    )
    done = subprocess.run(
        ["sh", "-euc", text], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True
    )
    assert done.returncode != 0
    assert (tmp_path / "marks" / "failed").read_text().startswith("first boot failed at SSH; see")


@pytest.mark.skipif(
    shutil.which("nft", path="/usr/sbin") is None, reason="nftables is not installed"
)
@pytest.mark.parametrize("metadata", ["aws", "gcp"])
def test_the_rules_are_sound_and_may_be_loaded_twice(metadata: str, tmp_path: Path) -> None:
    """In a network of their own."""
    rules = tmp_path / "rules.nft"
    rules.write_text(replace(BOOT, metadata=metadata).rules)
    load = f"/usr/sbin/nft -f {rules} && /usr/sbin/nft -f {rules} && /usr/sbin/nft list ruleset"
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-c", load], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("chain output") == 1
    assert ("tcp dport 80" in done.stdout) is (
        metadata == "gcp"
    )  # there the address is the DNS server as well


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hostname": "a b"}, "is no host name"),
        ({"hostname": "a\nb"}, "is no host name"),
        ({"hostname": "-a"}, "is no host name"),
        ({"deploy_keys": ()}, "no key may log in"),
        (
            {"deploy_keys": ("ssh-ed25519 AAAA x\nORIGIN_KIT_END\nreboot",)},
            "is no OpenSSH public key",
        ),
        ({"deploy_keys": ("hello",)}, "is no OpenSSH public key"),
        ({"host_public_key": "ssh-ed25519 AAAA'"}, "is no OpenSSH public key"),
        (
            {"host_key": "-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----\n"},
            "no OpenSSH private key",
        ),
        ({"host_key": PRIVATE + "\nORIGIN_KIT_END\nreboot\n"}, "no OpenSSH private key"),
        ({"metadata": "azure"}, "there are aws and gcp"),
    ],
)
def test_what_could_break_out_of_the_text_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(FirstBootError, match=said):
        replace(BOOT, **change)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.text())
def test_a_comment_never_gets_in(comment: str) -> None:
    """Whatever stands behind a key is refused, or changes nothing."""
    try:
        boot = replace(BOOT, deploy_keys=(f"{PUBLIC} {comment}",), metadata="gcp")
    except FirstBootError:
        return
    assert startup_script(boot) == startup_script(replace(BOOT, metadata="gcp"))
    assert cloud_config(boot) == cloud_config(replace(BOOT, metadata="gcp"))


def test_more_than_ec2_takes_is_refused() -> None:
    with pytest.raises(FirstBootError, match="EC2 takes 16384; list fewer SSH keys"):
        cloud_config(
            replace(BOOT, deploy_keys=tuple(f"{PUBLIC} {number}" for number in range(200)))
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"status": "done", "errors": []}', None),
        ('{"status": "running"}', "running"),
        ('{"status": "not run"}', "running"),
        (
            '{"status": "error", "errors": ["(\'packages\', ProcessExecutionError())"]}',
            "('packages', ProcessExecutionError())",
        ),
        ('{"status": "error"}', "cloud-init ends with status error"),
        ('{"status": "done", "errors": ["late"]}', "late"),
        ("sh: not found", "cloud-init gives no status but 'sh: not found'"),
        ("[]", "cloud-init gives no status but '[]'"),
    ],
)
def test_the_end_is_read(text: str, said: str | None) -> None:
    assert verdict(text) == said


def test_the_question_is_answered_where_there_is_no_cloud_init(tmp_path: Path) -> None:
    """The marks of the startup script, through the shell that will be asked."""
    for mark, text, wanted in (
        (None, "", "running"),
        ("done", "", None),
        ("failed", 'first boot failed: "packages" \\ x\n', "first boot failed: packages  x"),
    ):
        if mark:
            (tmp_path / mark).write_text(text)
        question = first_boot.QUESTION.replace(
            "/var/lib/origin-kit-first-boot", str(tmp_path)
        ).replace("command -v cloud-init", "false")
        done = subprocess.run(["sh", "-c", question], capture_output=True, text=True, check=True)
        json.loads(done.stdout)
        assert verdict(done.stdout) == wanted
