"""What an instance does at its first boot, as text. Pure; the same facts for both clouds.

AWS runs it as cloud-init user data, once. Google's Debian image has no cloud-init but an agent that
runs a startup script at every boot: that one is idempotent, and fast when there is nothing left to
do.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from infra.core.errors import KitError
from infra.core.rules import LABEL

DONE = "/var/lib/origin-kit-first-boot/done"
FAILED = "/var/lib/origin-kit-first-boot/failed"
PACKAGES = ("nginx-light", "python3-venv", "nftables", "sudo")
LARGEST = 16_384  # bytes of user data that EC2 takes
# The way to the packages comes late: on AWS an instance has no public address until the reserved
# one is attached.
TRIES, PAUSE_S = 60, 5

_PUBLIC_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( [^\x00-\x1f\x7f]*)?")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN OPENSSH PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END OPENSSH PRIVATE KEY-----\n*"
)

SSHD = """\
# Keys only, one user only, and only the host key that the contract names.
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers deploy
HostKey /etc/ssh/ssh_host_ed25519_key
"""
# The metadata service gives credentials and the first-boot text to whoever asks: only root may.
_RULES = {
    "aws": (
        "        ip daddr 169.254.169.254 meta skuid != 0 counter reject\n"
        "        ip6 daddr fd00:ec2::254 meta skuid != 0 counter reject\n"
    ),
    # On Google that address is the DNS server as well.
    "gcp": "        ip daddr 169.254.169.254 tcp dport 80 meta skuid != 0 counter reject\n",
}
UNIT = """\
[Unit]
Description=The metadata service is for root only
DefaultDependencies=no
Before=network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/origin-kit-metadata.nft

[Install]
WantedBy=multi-user.target
"""

# Asked as root over SSH. cloud-init's own status where it is installed; elsewhere the marks that
# the script leaves.
QUESTION = (
    "if command -v cloud-init >/dev/null; then cloud-init status --format=json; "
    f'elif [ -e {FAILED} ]; then printf \'{{"status": "error", "errors": ["%s"]}}\' '
    f'"$(tr -d \'\\\\\\\\"\\\\n\' < {FAILED})"; '
    f'elif [ -e {DONE} ]; then echo \'{{"status": "done"}}\'; else echo \'{{"status":'
    ' "running"}\'; fi'
)


class FirstBootError(KitError):
    """A value must not go into the text; says which one and what is asked."""


@dataclass(frozen=True)
class FirstBoot:
    """One instance's. `host_key` is an OpenSSH private key (secret), `deploy_keys` and
    `host_public_key` are OpenSSH public key lines, `metadata` is `aws` or `gcp`. Raises
    FirstBootError for anything else."""

    hostname: str
    deploy_keys: tuple[str, ...]
    host_key: str
    host_public_key: str
    metadata: str

    def __post_init__(self) -> None:
        if not LABEL.fullmatch(self.hostname):
            raise FirstBootError(
                f"{self.hostname!r} is no host name", cure="write one label, e.g. backend-1"
            )
        if not self.deploy_keys:
            raise FirstBootError("no key may log in", cure="give at least one public key")
        for line in (*self.deploy_keys, self.host_public_key):
            if not _PUBLIC_KEY.fullmatch(line):
                raise FirstBootError(
                    f"{line[:60]!r} is no OpenSSH public key",
                    cure="it looks like `ssh-ed25519 AAAA…`",
                )
        if not _PRIVATE_KEY.fullmatch(self.host_key):
            raise FirstBootError("the host key is no OpenSSH private key")
        if self.metadata not in _RULES:
            raise FirstBootError(
                f"{self.metadata!r} is no cloud with a metadata service",
                cure="there are aws and gcp",
            )

    @property
    def keys(self) -> tuple[str, ...]:
        """Who may log in: kind and key of each line. A comment is anybody's text, and means nothing
        to sshd."""
        return tuple(" ".join(line.split()[:2]) for line in self.deploy_keys)

    @property
    def rules(self) -> str:
        """The nftables file, whole; loading it twice leaves one table."""
        return (
            "table inet origin_kit_metadata\n"
            "delete table inet origin_kit_metadata\n"
            "table inet origin_kit_metadata {\n"
            "    chain output {\n"
            "        type filter hook output priority 0; policy accept;\n"
            f"{_RULES[self.metadata]}"
            "    }\n"
            "}\n"
        )

    @property
    def files(self) -> tuple[tuple[str, str, str], ...]:
        """Path, mode and text of what is written as root."""
        return (
            ("/etc/sudoers.d/90-origin-kit", "0440", "deploy ALL=(ALL) NOPASSWD:ALL\n"),
            ("/etc/ssh/sshd_config.d/10-origin-kit.conf", "0644", SSHD),
            ("/etc/origin-kit-metadata.nft", "0644", self.rules),
            ("/etc/systemd/system/origin-kit-metadata.service", "0644", UNIT),
        )


_SSH = "systemctl reload-or-restart ssh.service"
_FINISH = (
    "systemctl daemon-reload",
    "systemctl enable --now origin-kit-metadata.service",
    "rm -f /etc/nginx/sites-enabled/default",
)


def _packages() -> str:
    """Shell: install what is missing, again and again until it is there or the tries are used
    up."""
    status = "dpkg-query -W -f '${Status}' \"$package\" 2>/dev/null"
    give_up = f'echo "no packages ($wanted ) after {TRIES} tries: is there a way out?"; exit 1'
    install = "-o Dpkg::Options::=--force-confold install --no-install-recommends $wanted"
    return f"""\
missing() {{
    for package in {" ".join(PACKAGES)}; do
        {status} | grep -q 'ok installed' || printf ' %s' "$package"
    done
}}
export DEBIAN_FRONTEND=noninteractive
tries=0
while wanted=$(missing) && [ -n "$wanted" ]; do
    tries=$((tries + 1))
    [ $tries -le {TRIES} ] || {{ {give_up}; }}
    # A source that is of no use here may fail; whether these packages come decides.
    apt-get -q -o Acquire::Retries=2 -o Acquire::http::Timeout=20 update || true
    # shellcheck disable=SC2086
    apt-get -q -y -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60 \\
        {install} || sleep {PAUSE_S}
done
"""


def _cloud_init_steps() -> str:
    """Shell: the steps that follow what cloud-init does itself; what they fail at is left in
    `FAILED`, in a line."""
    failed = "first boot failed at $step; see /var/log/cloud-init-output.log"
    return f"""\
mkdir -p {DONE.rpartition("/")[0]}
step=start
trap '[ -e {DONE} ] || echo "{failed}" > {FAILED}' EXIT
step=SSH
{_SSH}
step=packages
{_packages()}
step=services
{chr(10).join(_FINISH)}
touch {DONE}
"""


def cloud_config(boot: FirstBoot) -> str:
    """User data for cloud-init (https://cloudinit.readthedocs.io/en/latest/reference/modules.html),
    at most 16 KiB.

    Raises FirstBootError for a larger one.
    """
    files = []
    for path, mode, content in boot.files:
        files.append(
            {
                "path": path,
                "permissions": mode,
                "owner": "root:root",
                "content": content,
            }
        )
    config = {
        "hostname": boot.hostname,
        "disable_root": True,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {
            "ed25519_private": boot.host_key,
            "ed25519_public": boot.host_public_key + "\n",
        },
        "users": [
            {
                "name": "deploy",
                "shell": "/bin/bash",
                "lock_passwd": True,
                "ssh_authorized_keys": list(boot.keys),
            }
        ],
        "write_files": files,
        "runcmd": [["sh", "-euc", _cloud_init_steps()]],
    }
    as_yaml = json.dumps(config, indent=1, ensure_ascii=False)  # JSON is YAML
    text = f"#cloud-config\n{as_yaml}\n"
    size = len(text.encode())
    if size > LARGEST:
        raise FirstBootError(
            f"the first-boot text has {size} bytes, EC2 takes {LARGEST}", cure="list fewer SSH keys"
        )
    return text


def startup_script(boot: FirstBoot) -> str:  # long because it is one script, in its order
    """A POSIX shell script for Google's agent; what it fails at is left in `FAILED`, in a line."""
    puts = "".join(
        f"put {path} {mode} <<'ORIGIN_KIT_END'\n{text}ORIGIN_KIT_END\n"
        for path, mode, text in boot.files
    )
    keys = "".join(f"{line}\n" for line in boot.keys)
    return f"""#!/bin/sh
set -eu
umask 022
mkdir -p /var/lib/origin-kit-first-boot
[ ! -e {DONE} ] || exit 0
rm -f {FAILED}
step=start
trap '[ -e {DONE} ] || echo "first boot failed: $step" > {FAILED}' EXIT

put() {{ # PATH MODE < text: whole or not at all
    cat > "$1.origin-kit"
    chmod "$2" "$1.origin-kit"
    mv "$1.origin-kit" "$1"
}}

step='host name'
hostname {boot.hostname}
echo {boot.hostname} > /etc/hostname

step='SSH host key'
put /etc/ssh/ssh_host_ed25519_key 0600 <<'ORIGIN_KIT_END'
{boot.host_key.strip()}
ORIGIN_KIT_END
put /etc/ssh/ssh_host_ed25519_key.pub 0644 <<'ORIGIN_KIT_END'
{boot.host_public_key}
ORIGIN_KIT_END
rm -f /etc/ssh/ssh_host_rsa_key* /etc/ssh/ssh_host_ecdsa_key* /etc/ssh/ssh_host_dsa_key*

step='user deploy'
id deploy >/dev/null 2>&1 || useradd --create-home --shell /bin/bash deploy
passwd --quiet --lock deploy
install -d -m 0700 -o deploy -g deploy /home/deploy/.ssh
put /home/deploy/.ssh/authorized_keys 0600 <<'ORIGIN_KIT_END'
{keys}ORIGIN_KIT_END
chown deploy: /home/deploy/.ssh/authorized_keys

step='files'
mkdir -p /etc/sudoers.d
{puts}
# From here on the operator can log in, and ask why a later step failed.
step='SSH'
{_SSH}

step='packages'
{_packages()}
step='services'
{chr(10).join(_FINISH)}
touch {DONE}
"""


def verdict(text: str) -> str | None:
    """None when the first boot is done, `running` while it runs, else its own reason. `text`
    answers QUESTION."""
    try:
        answer = json.loads(text)
        status, errors = str(answer["status"]), [str(error) for error in answer.get("errors") or ()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"cloud-init gives no status but {text.strip()[-200:]!r}"
    if status in ("done", "disabled") and not errors:
        return None
    if status in ("running", "not run", "not started"):
        return "running"
    return "; ".join(errors) or f"cloud-init ends with status {status}"
