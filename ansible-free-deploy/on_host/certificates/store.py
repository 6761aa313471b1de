"""Put a certificate in the place of another one, or leave the old one serving.

A new pair is written next to the old one and tried by nginx before anything is switched. The switch
is one renamed link; then nginx reloads gracefully, which loses no request. A handshake has the last
word: where the new certificate is not the one that is served, the link goes back.

Wherever the power is cut, the link leads to a whole pair that nginx has accepted.
"""

from __future__ import annotations

import os
from pathlib import Path

from on_host import places
from on_host.certificates import served, versions
from on_host.certificates.versions import Pair
from on_host.configuration.check import main_file, why_nginx
from on_host.configuration.state import current_record
from on_host.files import link_of
from on_host.runtime import Failed, note, run, step, wait_for
from on_host.services import journal_of, property_of, systemctl

NGINX = "nginx.service"
RELOADS_S = 40.0  # until new workers answer


def pair(lineage: str) -> Pair:
    """Chain and key that are here, or None."""
    return versions.pair(lineage)


def install(lineage: str, chain: str, key: str) -> bool:
    """Have this pair current, and served where nginx uses the lineage; whether anything changed.

    The host's lock must be held. Raises Failed, and OSError for a full disk; then the certificate
    before is current and serves.
    """
    is_used = lineage == versions.in_use()
    if versions.pair(lineage) == (chain, key) and versions.digest(lineage):
        if not is_used or served.is_on_disk(lineage):
            return False
        reload(lineage)
        return True
    before = link_of(versions.link(lineage))
    target = stage(lineage, chain, key)
    if is_used:
        check(lineage, target)
    switch(lineage, target)
    if is_used:
        try:
            reload(lineage)
        except Failed as problem:
            go_back(lineage, before, problem)
            raise
    versions.discard_others(lineage)
    return True


# --------------------------------------------------------------------------------- the single steps


def stage(lineage: str, chain: str, key: str) -> str:
    """Write the pair next to the others; the target that `switch` takes."""
    step("certificate", "writes the new certificate")
    return versions.put(lineage, chain, key)


_IN_NAMESPACE = 'mount --bind "$1" "$2" && exec nginx -t -q -c "$3"'


def check(lineage: str, target: str) -> None:
    """Run `nginx -t` with the pair in the place of the current one, in a mount namespace of its
    own. Raises Failed with nginx's output."""
    step("check-certificate", "tests nginx with the new certificate")
    new = versions.home(lineage) / target
    place = os.path.realpath(str(versions.link(lineage)))
    linked = [link["place"] for link in current_record().get("links", [])]
    main = places.ROOT / main_file(linked).lstrip("/")
    done = run("unshare", "-m", "sh", "-c", _IN_NAMESPACE, "sh", str(new), place, str(main))
    if done.returncode == 0:
        return
    if "SSL" in done.stdout or "PEM" in done.stdout:
        raise Failed("nginx refuses the new certificate; the one before serves", done.stdout)
    raise Failed(f"{why_nginx(done, linked)}; the certificate before serves", done.stdout)


def switch(lineage: str, target: str) -> None:
    """Make the staged pair current, by one rename."""
    step("switch-certificate", "switches to the new certificate")
    versions.make_current(lineage, target)


def reload(lineage: str) -> None:
    """Have nginx read the current pair, and make sure that it serves it. Raises Failed."""
    step("reload-nginx", "reloads nginx: a new certificate")
    _reload()
    confirm(lineage)


def _reload() -> None:
    """Reload nginx, and wait until none of the workers before takes a connection any more: for a
    moment old and new ones do, so that one handshake would prove little."""
    main = property_of(NGINX, "MainPID")
    before = _accepting(main)
    systemctl("reload", NGINX)
    if not wait_for(lambda: not before & _accepting(main), RELOADS_S):
        raise Failed("nginx does not reload; see `fab logs`", journal_of(NGINX))


def _accepting(main: str) -> set[str]:
    """The workers of nginx's master process that take connections, by their process ids."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            title = (path / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if parent == main and b"worker process" in title and b"shutting down" not in title:
            found.add(path.name)
    return found


def confirm(lineage: str) -> None:
    """Make sure by a handshake that the current pair is served. Raises Failed where it is not."""
    if not wait_for(lambda: served.is_on_disk(lineage), RELOADS_S):
        raise Failed(
            "nginx does not serve the certificate that is on the disk; see `fab logs`",
            journal_of(NGINX),
        )


def go_back(lineage: str, before: str | None, problem: Exception) -> None:
    """The pair before is current and serves again."""
    if before is None:
        return
    note("undo", f"goes back to the certificate before: {problem}")
    versions.make_current(lineage, before)
    settle()


def follow() -> None:
    """Have nginx serve what is on the disk, where it does not. Raises Failed where it can't."""
    lineage = not_served()
    if lineage:
        reload(lineage)


def settle() -> None:
    """The same after the link has gone back."""
    lineage = not_served()
    if lineage:
        step("back-certificate", "reloads nginx: the certificate before")
        _reload()
        confirm(lineage)


def not_served() -> str:
    """The lineage that the current generation names, where nginx serves another certificate."""
    lineage = versions.in_use()
    if lineage and versions.pair(lineage) and not served.is_on_disk(lineage):
        return lineage
    return ""


def prune() -> None:
    """Remove what no generation here names, and old versions of what is left."""
    if not versions.root().exists():
        return
    named: set[str] = set()
    for path in places.GENERATIONS.glob("*"):
        named |= versions.named_in(Path(path))
    versions.prune(named)
    for lineage in named:
        if versions.link(lineage).exists():
            versions.discard_others(lineage)
