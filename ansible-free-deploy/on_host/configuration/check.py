"""Validate a generation before anything changes.

nginx is tested on the staged files, the project under the staged settings.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from on_host import places, timers
from on_host.certificates import versions
from on_host.confined import Confined, Ended
from on_host.files import point
from on_host.orders import ORDERS
from on_host.release import modules
from on_host.release.state import changed_in_release
from on_host.runtime import Failed, last_lines, run, step

if TYPE_CHECKING:
    from on_host.generations import GenerationHead


def validate(
    generation: GenerationHead,
    staged: Path,
    code: str,
    pair: tuple[str, str] | None = None,
) -> None:
    """Validate the staged generation with the release in the folder `code`.

    `pair` is the lineage and the version of a certificate that is switched with it. Raises Failed;
    then nothing was changed.
    """
    if "gunicorn" in generation["fingerprints"]:
        step("check-django", "checks the project with the staged settings")
        check_django(staged, code)
        timers.check(staged, code)
    step("check-nginx", "tests nginx on the staged tree")
    check_nginx(generation, pair)


_NGINX = "/etc/nginx/"
_NGINX_MAIN = _NGINX + "origin-kit-main.conf"
# Certificates are no part of a generation: nginx reads those that are there.
_IN_NAMESPACE = (
    'mount --bind "$1/generations" "$3/generations" && '
    '{ [ ! -d "$1/tls" ] || mount --bind "$1/tls" "$3/tls"; } && '
    '{ [ -z "$5" ] || mount --bind "$5" "$6"; } && '
    'mount --rbind "$3" "$1" && mount --bind "$2" /etc/nginx && exec nginx -t -q -c "$4"'
)


def check_nginx(generation: GenerationHead, pair: tuple[str, str] | None = None) -> None:
    """Run `nginx -t` on the host as it would be after the switch.

    Debian's nginx.conf includes absolute paths, so the staged tree is bound over /etc/nginx in a
    mount namespace of its own. Raises Failed with nginx's output.
    """
    import tempfile

    places_of_links = [link["place"] for link in generation["links"]]
    with tempfile.TemporaryDirectory(prefix="origin-kit-") as scratch:
        nginx = Path(scratch, "nginx")
        kit = Path(scratch, "kit")
        lay_out_nginx(generation, nginx)
        (kit / "generations").mkdir(parents=True)
        (kit / "tls").mkdir()
        (kit / "current").symlink_to("generations/" + generation["id"])
        main = main_file(places_of_links)
        arguments = [str(places.KIT), str(nginx), str(kit), main, *_new_over_old(kit, pair)]
        done = run("unshare", "-m", "sh", "-c", _IN_NAMESPACE, "sh", *arguments)
    if done.returncode:
        why = why_nginx(done, places_of_links)
        raise Failed(f"{why}; nothing was changed", done.stdout.replace(scratch, ""))


def _new_over_old(kit: Path, pair: tuple[str, str] | None) -> tuple[str, str]:
    """The folder of the certificate that is to be current, and the place of the one that is."""
    if pair is None:
        return "", ""
    lineage, target = pair
    new = versions.home(lineage) / target
    old = versions.link(lineage).resolve().relative_to(versions.root().resolve())
    return str(new), str(kit / "tls" / old)


def lay_out_nginx(generation: GenerationHead, folder: Path) -> None:
    """Make a copy of /etc/nginx as it would be with the generation's links."""
    shutil.copytree("/etc/nginx", str(folder), symlinks=True)
    for link in generation["links"]:
        if link["place"].startswith(_NGINX):
            place = folder / link["place"][len(_NGINX) :]
            point(place, str(places.CONFIGURATION / link["target"]))
    for absent in generation["absent"]:
        if absent.startswith(_NGINX):
            with contextlib.suppress(FileNotFoundError):
                (folder / absent[len(_NGINX) :]).unlink()


def main_file(places_of_links: list[str]) -> str:
    """The file that nginx starts with: the generation's own; of an older kit, Debian's."""
    if _NGINX_MAIN in places_of_links:
        return _NGINX_MAIN
    return "/etc/nginx/nginx.conf"


def why_nginx(done: subprocess.CompletedProcess[str], linked: list[str]) -> str:
    """Why the test of nginx failed; `linked` are the kit's own files."""
    if done.returncode == 127:
        return "nginx is not installed on this host (Debian: nginx-light); install it"
    if not re.search(r"^nginx: ", done.stdout, re.MULTILINE):
        return (
            "nginx can't be tested: root may not make a mount namespace on this host; allow it"
            " (`unshare -m true` must work)"
        )
    where = re.search(r" in (/\S+):\d+$", done.stdout, re.MULTILINE)
    if where is None:
        return "nginx refuses the new configuration"
    file = where[1]
    if file in linked or file.startswith(str(places.KIT)):
        return "nginx refuses the new configuration"
    return (
        f"nginx refuses the new configuration because of {file}, which is not this kit's; correct"
        " or remove that file"
    )


def check_django(staged: Path, code: str) -> None:
    """Run `manage.py check --deploy` under the staged settings. Raises Failed.

    It runs as the service's user and within the service's limits.
    """
    app = places.app()
    unit = (staged / "systemd" / f"{app}.service").read_text()
    place = Confined(app, app, unit, Path(ORDERS["job"], "private"))
    done = place.run(
        f"{code}/venv/bin/python",
        "manage.py",
        "check",
        "--deploy",
        "--fail-level",
        "ERROR",
        cwd=f"{code}/app",
        files=(staged / "secrets.env", staged_environment(staged)),
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


def staged_environment(staged: Path) -> Path:
    """The service's environment file with the paths of the staged files."""
    file = Path(ORDERS["job"], "environment")
    text = (staged / "environment").read_bytes()
    file.write_bytes(text.replace(bytes(places.CONFIGURATION), bytes(staged)))
    return file


_SYSTEMD_EXITS = range(200, 250)  # systemd.exec(5): the program was not started
_NOT_STARTED = ("Failed to connect to bus", "Failed to start transient", "Failed to create bus")


def why_django(done: subprocess.CompletedProcess[str] | Ended) -> str:
    """Why the checks failed: the project, its release on this host, or systemd."""
    changed = changed_in_release()
    if changed:
        return (
            f"the project fails its checks, and its release was changed on the host ({changed[0]}):"
            " run `fab ship`"
        )
    output = done.stdout.strip()
    if output.startswith(_NOT_STARTED):
        return "systemd can't start the project's checks; see `systemctl status` on the host"
    if output:
        return "the project does not pass its checks with the new settings"
    if done.returncode in _SYSTEMD_EXITS:
        return (
            "the release's Python can't be started on the host (systemd's status"
            f" {done.returncode}): run `fab ship`"
        )
    return (
        f"the project's checks ended with status {done.returncode} and no output; the host may be"
        " out of memory: see `journalctl -k` there"
    )
