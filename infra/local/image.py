"""The base image of local machines: a Debian tree by debootstrap, made once per recipe and only
used whole."""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from infra.core.home import LocalCloudError, cache, cache_folder, home, locked

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "nginx-light",
    "python3",
    "python3-venv",
    "sudo",
    "iproute2",
    "ca-certificates",
)
_NEEDED_MB = 1500
_LINES = 700  # that debootstrap prints for these packages, for the bar

_SETUP = r"""
set -eu
useradd --uid 1000 --create-home --shell /bin/bash deploy
passwd --quiet --lock root
echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/deploy
chmod 0440 /etc/sudoers.d/deploy
install -d -m 0700 -o deploy -g deploy /home/deploy/.ssh
cat > /etc/ssh/sshd_config.d/origin-kit.conf <<'END'
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UseDNS no
HostKey /etc/ssh/ssh_host_ed25519_key
END
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id
: > /etc/machine-id
systemctl -q enable systemd-networkd.service ssh.service
systemctl -q disable nginx.service
systemctl -q mask console-getty.service getty@.service systemd-logind.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-networkd-wait-online.service systemd-resolved.service
sed -i 's/^#\?SystemMaxUse=.*/SystemMaxUse=32M/; s/^#\?Storage=.*/Storage=persistent/' \
    /etc/systemd/journald.conf
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb
"""

# The first of the 65536 ids that stand for a machine's users on this host; nspawn asks for 64 Ki
# steps.
_FIRST_USER = 0x10000000

Progress = Callable[[float, str], None]


def host_release() -> str:
    """The code name of this host's Debian, e.g. bookworm. Raises LocalCloudError on another
    system."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    if system.get("ID") != "debian":
        name = system.get("PRETTY_NAME", "something else")
        raise LocalCloudError(f"the local cloud runs on Debian, this is {name}")
    return system["VERSION_CODENAME"]


def mirror(release: str) -> str:
    """The package mirror that this host's apt is set up with. Raises LocalCloudError where there is
    none."""
    for uri, suites, components in sources():
        if release in suites and "main" in components:
            return uri
    for uri, suites, components in sources():
        if host_release() in suites and "main" in components:
            return uri
    raise LocalCloudError(
        "apt has no source for this Debian's main component", cure="see /etc/apt/sources.list.d/"
    )


def sources(folder: Path = Path("/etc/apt")) -> Iterator[tuple[str, list[str], list[str]]]:
    """URI, suites and components of every binary source, from both formats of sources.list(5)."""
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            yield from _of_stanza(stanza)
    for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]:
        if path.exists():
            yield from _one_line_sources(path.read_text())


_FIELD = re.compile(r"([\w-]+):[ \t]*(.*)")
_ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)$", re.MULTILINE)


def _of_stanza(stanza: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """The sources of a stanza of the deb822 format."""
    fields: dict[str, list[str]] = {}
    for line in stanza.splitlines():
        field = _FIELD.fullmatch(line)
        if field:
            fields[field[1].lower()] = field[2].split()
    is_on = fields.get("enabled") != ["no"]
    if not is_on or "deb" not in fields.get("types", []):
        return
    for uri in fields.get("uris", []):
        yield uri, fields.get("suites", []), fields.get("components", [])


def _one_line_sources(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """The sources of a file in the one-line format."""
    for uri, suite, components in _ONE_LINE.findall(text):
        yield uri, [suite], components.split()


@functools.cache
def first_user() -> int:
    """What root of a machine is on this host: an id that owns nothing else where the kernel maps
    users, else 0."""
    probe = subprocess.run(
        ["/usr/bin/unshare", "--user", "/bin/true"],
        capture_output=True,
        check=False,
    )
    return 0 if probe.returncode else _FIRST_USER


def key(release: str) -> str:
    """Twelve hex digits over everything that the image is made of, its release's name in front."""
    recipe = json.dumps([release, platform.machine(), PACKAGES, _SETUP, first_user()])
    return f"{release}-{sha256(recipe.encode()).hexdigest()[:12]}"


def release_of(name: str) -> str:
    """The Debian release of a key."""
    return name.rpartition("-")[0]


def path(release: str = "") -> Path:
    """Where the image of a release is, made or not; empty means this host's own."""
    return cache() / "images" / key(release or host_release())


def ready(release: str = "") -> bool:
    """Whether the image is there, whole."""
    return path(release).is_dir()


def ensure(release: str = "", on_progress: Progress = lambda fraction, text: None) -> Path:
    """The image, built if it is not there. Raises LocalCloudError for no root, no tools, no disk,
    no mirror."""
    final = cache_folder("images") / path(release).name
    with locked(final.parent / f"{final.name}.lock"):
        for leftover in final.parent.glob(f"{final.name}.partial*"):
            shutil.rmtree(leftover)
        if not final.is_dir():
            _demand(final.parent)
            partial = final.with_name(f"{final.name}.partial")
            try:
                _build(release or host_release(), partial, on_progress)
                partial.rename(final)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return final


def bases() -> Path:
    """The home's own bases, by key. Machines are mounted on these, so that the cache may be deleted
    at any time."""
    return home() / "bases"


def known(name: str) -> bool:
    """Whether the base of this key is at hand, in the home or in the cache."""
    return (bases() / name).is_dir() or (cache() / "images" / name).is_dir()


def base(name: str, on_progress: Progress = lambda fraction, text: None) -> Path:
    """The home's base by this key: held already, or taken from the cache, or built there first.

    Raises LocalCloudError as `ensure` does, and for a base that this kit's recipe no longer makes.
    """
    if (bases() / name).is_dir():
        return bases() / name
    cached, release = cache() / "images" / name, release_of(name)
    if not cached.is_dir():
        if key(release) != name:
            raise LocalCloudError(
                f"the base image {name}, which a machine was made on, is gone from {bases()} and"
                f" {cached.parent}, and this version of the kit makes another one",
                cure=(
                    "put it back, or run `fab down` and `fab up` to replace the machine and its"
                    " data"
                ),
            )
        ensure(release, on_progress)
    return hold(name, cached)


def hold(name: str, tree: Path) -> Path:
    """Have a base in the home: hard links, which cost no space, or a copy where the home is on
    another disk."""
    final = bases() / name
    with locked(bases() / ".lock"):
        for leftover in bases().glob("*.partial"):
            shutil.rmtree(leftover)
        if not final.is_dir():
            partial = final.with_name(f"{name}.partial")
            try:
                _copy(tree, partial)
                partial.rename(final)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return final


def _copy(tree: Path, target: Path) -> None:
    same_disk = tree.stat().st_dev == target.parent.stat().st_dev
    how = "--link" if same_disk else "--reflink=auto"
    done = subprocess.run(
        ["cp", "-a", how, str(tree), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1]
        raise LocalCloudError(
            f"the base image can't be put into {target.parent}: {why}",
            cure="make room, then run it again",
        )


def drop_outdated(used: Iterable[str]) -> None:
    """Remove the home's bases that no machine stands on and no new machine would."""
    if not bases().is_dir():
        return
    with locked(bases() / ".lock"):
        for folder in bases().glob("*-*"):
            if folder.name not in used and key(release_of(folder.name)) != folder.name:
                shutil.rmtree(folder)


def _demand(folder: Path) -> None:
    if os.geteuid() != 0:
        raise LocalCloudError(
            "building the base image needs root", cure="run it with sudo, or `make up`"
        )
    if shutil.which("debootstrap") is None:
        raise LocalCloudError(
            "debootstrap is not installed", cure="run `make up`, or `apt-get install debootstrap`"
        )
    free_mb = shutil.disk_usage(folder).free // 2**20
    if free_mb < _NEEDED_MB:
        raise LocalCloudError(
            f"{folder} has {free_mb} MB left, the base image needs {_NEEDED_MB}",
            cure="free some, or set ORIGIN_KIT_CACHE to a folder on another disk",
        )


def _build(release: str, target: Path, on_progress: Progress) -> None:
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        release,
        str(target),
        mirror(release),
    ]
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            lines.append(line.strip())
            on_progress(min(0.97, len(lines) / _LINES), line.strip().removeprefix("I: "))
    if process.returncode:
        last = next(
            (line for line in reversed(lines) if line.startswith(("E:", "W:"))),
            lines[-1] if lines else "",
        )
        raise LocalCloudError(
            f"debootstrap {release} failed: {last}", cure="is the package mirror in reach?"
        )
    on_progress(0.98, "sets it up")
    done = subprocess.run(
        ["chroot", str(target), "sh"],
        input=_SETUP,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LocalCloudError(f"setting up the base image failed: {done.stderr.strip()[-300:]}")
    if first_user():
        _give(target)
    on_progress(1.0, "has a base image")


def _give(target: Path) -> None:
    """Shift every owner by `first_user()`; nspawn does it with modes and ACLs in mind."""
    users = [f"--private-users={first_user()}:65536", "--private-users-ownership=chown"]
    command = [
        "systemd-nspawn",
        "-q",
        "-D",
        str(target),
        *users,
        "--register=no",
        "--keep-unit",
        "/bin/true",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalCloudError(
            f"the base image can't be given to other users: {done.stderr.strip()[-300:]}"
        )
