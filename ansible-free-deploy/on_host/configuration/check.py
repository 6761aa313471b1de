"""Try a generation before anything changes: nginx on the staged tree, the project under the staged
settings."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

from on_host import places
from on_host.confined import Confined, Ended
from on_host.files import point
from on_host.orders import ORDERS, Json
from on_host.release import modules
from on_host.release.state import changed_in_release
from on_host.runtime import Failed, last_lines, run, step


def validate(generation: Json, staged: Path, code: str) -> None:
    """Try the staged generation with the release in the folder `code`. Raises Failed; nothing was
    changed then."""
    if "gunicorn" in generation["fingerprints"]:
        step("check-django", "checks the project with the staged settings")
        check_django(staged, code)
    step("check-nginx", "tests nginx on the staged tree")
    check_nginx(generation)


def check_nginx(generation: Json) -> None:
    """`nginx -t` as the host would be after the switch.

    Debian's nginx.conf includes absolute paths, so the staged tree is bound over /etc/nginx in a
    mount namespace of its own. Raises Failed with nginx's words.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="origin-kit-") as scratch:
        nginx, kit = Path(scratch, "nginx"), Path(scratch, "kit")
        shutil.copytree("/etc/nginx", str(nginx), symlinks=True)
        kit.mkdir()
        (kit / "generations").mkdir()
        (kit / "current").symlink_to("generations/" + generation["id"])
        for link in generation["links"]:
            if link["place"].startswith("/etc/nginx/"):
                point(
                    nginx / link["place"][len("/etc/nginx/") :],
                    str(places.CONFIGURATION / link["target"]),
                )
        for place in generation["absent"]:
            if place.startswith("/etc/nginx/"):
                with contextlib.suppress(FileNotFoundError):
                    (nginx / place[len("/etc/nginx/") :]).unlink()
        script = (
            'mount --bind "$1/generations" "$3/generations" && mount --rbind "$3" "$1" && '
            'mount --bind "$2" /etc/nginx && exec nginx -t -q -c "$4"'
        )
        done = run(
            "unshare",
            "-m",
            "sh",
            "-c",
            script,
            "sh",
            str(places.KIT),
            str(nginx),
            str(kit),
            main_file(generation),
        )
    if done.returncode:
        linked = [link["place"] for link in generation["links"]]
        raise Failed(
            f"{why_nginx(done, linked)}; nothing was changed", done.stdout.replace(scratch, "")
        )


def main_file(generation: Json) -> str:
    """The file that nginx starts with: the generation's own, or Debian's for one of an older
    kit."""
    own = "/etc/nginx/origin-kit-main.conf"
    return (
        own if own in [link["place"] for link in generation["links"]] else "/etc/nginx/nginx.conf"
    )


def why_nginx(done: subprocess.CompletedProcess[str], linked: list[str]) -> str:
    """Why the test of nginx failed: nginx itself, or what it takes to ask it; `linked` are the
    kit's own files."""
    if done.returncode == 127:
        return "nginx is not installed on this host (Debian: nginx-light)"
    if not re.search(r"^nginx: ", done.stdout, re.MULTILINE):
        return "nginx can't be tested: a mount namespace of its own is refused to root here"
    where = re.search(r" in (/\S+):\d+$", done.stdout, re.MULTILINE)
    if where and where[1] not in linked and not where[1].startswith(str(places.KIT)):
        return f"nginx refuses the new configuration because of {where[1]}, which is not this kit's"
    return "nginx refuses the new configuration"


def check_django(staged: Path, code: str) -> None:
    """`manage.py check --deploy` under the staged settings, as the service's user and within its
    limits, or Failed."""
    app, environment = places.app(), Path(ORDERS["job"], "environment")
    environment.write_bytes(
        (staged / "environment").read_bytes().replace(bytes(places.CONFIGURATION), bytes(staged))
    )
    place = Confined(
        app,
        app,
        (staged / "systemd" / f"{app}.service").read_text(),
        Path(ORDERS["job"], "private"),
    )
    done = place.run(
        f"{code}/venv/bin/python",
        "manage.py",
        "check",
        "--deploy",
        "--fail-level",
        "ERROR",
        cwd=f"{code}/app",
        files=(staged / "secrets.env", environment),
    )
    if done.late:
        raise Failed(
            f"manage.py check did not end within {done.limit_s:g} s and was stopped; nothing was"
            " changed"
        )
    if done.returncode:
        lacking = modules.missing(staged, Path(code))
        why = modules.needs_ship(lacking[0]) if lacking else why_django(done)
        raise Failed(f"{why}; nothing was changed", last_lines(done.stdout))


_SYSTEMD_EXITS = range(200, 250)  # systemd.exec(5): it did not come to start the program
_NOT_ASKED = ("Failed to connect to bus", "Failed to start transient", "Failed to create bus")


def why_django(done: subprocess.CompletedProcess[str] | Ended) -> str:
    """Why the checks failed: the project, what is left of it here, or who starts them."""
    if paths := changed_in_release():
        return (
            f"the project fails its checks, and its release was changed on the host ({paths[0]}):"
            " run `fab ship`"
        )
    if done.stdout.lstrip().startswith(_NOT_ASKED):
        return "systemd can't start the project's checks; see `systemctl status` on the host"
    if done.returncode in _SYSTEMD_EXITS and not done.stdout.strip():
        return (
            f"the release's Python can't be started there (systemd's status {done.returncode}): run"
            " `fab ship`"
        )
    if not done.stdout.strip():
        return (
            f"the project's checks ended with status {done.returncode} and no word; out of memory?"
        )
    return "the project does not pass its checks with the new settings"
