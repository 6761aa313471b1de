"""A new certificate in the place of another one, under a real nginx that serves meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from on_host import disk, places
from on_host.certificates import given, served, store, versions
from on_host.runtime import Failed
from rollout.certificates.pair import Pair
from tests.support.certificates import Authority
from tests.support.tls import serving
from tests.test_render_nginx import program

pytestmark = [pytest.mark.nginx, pytest.mark.machines]

LINEAGE = "files-0123456789abcdef"
OTHER = "acme-fedcba9876543210"
ROOT = Authority.root("Test Root")
NGINX = """
user root;
daemon off;
worker_processes 2;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{}}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {root}/etc/origin-kit/tls/{lineage}/current/chain.pem;
        ssl_certificate_key {root}/etc/origin-kit/tls/{lineage}/current/key.pem;
        return 200 "here\\n";
    }}
}}
"""
SYSTEMCTL = """#!/bin/sh
[ "$1" != show ] || exec cat {root}/nginx.pid
[ ! -e {root}/deaf ] || exit 0
kill -s HUP "$(cat {root}/nginx.pid)"
"""


def made() -> Pair:
    """Another pair each time, valid now."""
    issued = ROOT.issue("shop.example.com")
    return Pair(issued.pem, issued.key)


@dataclass
class Host:
    """A host's folders, and the nginx that serves from them."""

    root: Path
    port: int
    process: subprocess.Popen[bytes]

    def serves(self, pair: Pair) -> bool:
        """Whether a handshake shows this pair's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.port), 5) as plain,
            context.wrap_socket(plain) as secured,
        ):
            found = secured.getpeercert(binary_form=True)
        return found == ssl.PEM_cert_to_DER_cert(pair.chain)

    def keys(self) -> list[Path]:
        """Every file below the store that holds a private key."""
        store_of = self.root / "etc/origin-kit/tls"
        files = [path for path in store_of.rglob("*") if path.is_file()]
        return [path for path in files if "PRIVATE" in path.read_text()]

    def stop(self) -> None:
        """The master process and its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with suppress(ProcessLookupError):
            while True:  # the workers, which are nobody's by now
                os.killpg(self.process.pid, signal.SIGKILL)
                time.sleep(0.01)

    def restarts(self) -> None:
        """As after a boot."""
        self.stop()
        self.process = start(self.root, self.port)


def start(root: Path, port: int) -> subprocess.Popen[bytes]:
    main = root / "etc/nginx/origin-kit-main.conf"
    process = subprocess.Popen([program(), "-c", str(main)], start_new_session=True)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process
        time.sleep(0.02)
    raise AssertionError((root / "error.log").read_text())


FIRST = made()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """It serves FIRST; a generation names its lineage."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kit = tmp_path / "etc/origin-kit"
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setattr(places, "KIT", kit)
    monkeypatch.setattr(places, "GENERATIONS", kit / "generations")
    monkeypatch.setattr(places, "CONFIGURATION", kit / "current")
    monkeypatch.setattr(served, "PORT", port)
    monkeypatch.setattr(store, "RELOADS_S", 2.0)
    main = tmp_path / "etc/nginx/origin-kit-main.conf"
    generation = kit / "generations/g1"
    for folder in (generation / "nginx", main.parent, tmp_path / "bin"):
        folder.mkdir(parents=True)
    text = NGINX.format(root=tmp_path, port=port, lineage=LINEAGE)
    main.write_text(text)
    (generation / "nginx/site.conf").write_text(text)
    place = "/etc/nginx/origin-kit-main.conf"
    (generation / "generation.json").write_text(
        '{"files": [], "fingerprints": {}, "probes": {"host": "shop.example.com"}, "links":'
        f' [{{"place": "{place}", "target": "nginx/main.conf"}}]}}'
    )
    (kit / "current").symlink_to("generations/g1")
    for name, script in (("systemctl", SYSTEMCTL), ("journalctl", "#!/bin/sh\n")):
        (tmp_path / "bin" / name).write_text(script.format(root=tmp_path))
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}:/usr/sbin")
    versions.put(LINEAGE, FIRST.chain, FIRST.key)
    running = Host(tmp_path, port, start(tmp_path, port))
    yield running
    running.stop()


def install(pair: Pair, lineage: str = LINEAGE) -> bool:
    return store.install(lineage, pair.chain, pair.key)


def test_a_pair_on_the_disk_that_is_not_served_differs(host: Host) -> None:
    """Until nginx has read it. What begins with no certificate is never what is served."""
    assert given.differences(given.look()) == []
    second = made()
    versions.make_current(LINEAGE, versions.put(LINEAGE, second.chain, second.key))
    assert given.differences(given.look()) == [given.CERTIFICATE]
    store.follow()
    assert given.differences(given.look()) == []
    (versions.link(LINEAGE) / versions.CHAIN).write_text("no certificate")
    assert given.differences({**given.look(), "served": ""}) == [given.CERTIFICATE]


def test_a_new_pair_serves_after_a_reload(host: Host) -> None:
    """The master process stays; the old key leaves the disk."""
    second = made()
    assert host.serves(FIRST)
    assert install(second) is True
    assert host.serves(second)
    assert host.process.poll() is None
    assert store.pair(LINEAGE) == (second.chain, second.key)
    assert len(host.keys()) == 1
    assert install(second) is False


def test_only_root_can_reach_a_key(host: Host) -> None:
    """0600 in folders of 0700; the certificate is no secret."""
    install(made())
    folder = versions.link(LINEAGE)
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "chain.pem").stat().st_mode) == 0o644
    for path in (
        versions.root(),
        versions.home(LINEAGE),
        folder.resolve(),
        folder.resolve().parent,
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_no_request_is_lost(host: Host) -> None:
    """Handshakes and answers go on while certificates are replaced."""
    wrong: list[object] = []
    stop = threading.Event()
    done = [0]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def load() -> None:
        while not stop.is_set():
            try:
                with (
                    socket.create_connection(("127.0.0.1", host.port), 5) as plain,
                    context.wrap_socket(plain) as secured,
                ):
                    secured.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    if b"here" not in secured.makefile("rb").read():
                        wrong.append("no answer")
                done[0] += 1
            except OSError as problem:
                wrong.append(problem)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        install(made())
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert done[0] > 50


MISMATCHED = Pair(made().chain, made().key)
BROKEN = Pair("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", FIRST.key)


@pytest.mark.parametrize("pair", [MISMATCHED, BROKEN], ids=["other-key", "broken"])
def test_a_pair_that_nginx_refuses_is_never_switched_to(host: Host, pair: Pair) -> None:
    """It is tried in a mount namespace of its own; a boot in the next moment finds the old one."""
    with pytest.raises(Failed, match="nginx refuses the new certificate; the one before serves"):
        install(pair)
    assert store.pair(LINEAGE) == (FIRST.chain, FIRST.key)
    assert host.serves(FIRST)
    assert install(made())


def test_a_file_of_somebody_else_s_that_nginx_refuses_is_named(host: Host) -> None:
    """The certificate is not to blame."""
    main = host.root / "etc/nginx/origin-kit-main.conf"
    main.write_text(main.read_text() + "nonsense;\n")
    with pytest.raises(Failed, match=r"because of /.*; the certificate before serves"):
        install(made())
    assert host.serves(FIRST)


def test_a_reload_that_does_nothing_is_noticed(host: Host) -> None:
    """Renewed on disk and the old one served is the classic failure: the link goes back."""
    (host.root / "deaf").touch()
    with pytest.raises(Failed, match="nginx does not reload"):
        install(made())
    assert store.pair(LINEAGE) == (FIRST.chain, FIRST.key)
    assert host.serves(FIRST)
    assert served.is_on_disk(LINEAGE)


def test_a_name_with_another_certificate_is_noticed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nginx has reloaded and still serves another one, as a server block of somebody else's has the
    address: the handshake says it."""
    other = made()
    with serving(other) as port:
        monkeypatch.setattr(served, "PORT", port)
        with pytest.raises(Failed, match="does not serve the certificate that is on the disk"):
            install(made())
    assert store.pair(LINEAGE) == (FIRST.chain, FIRST.key)
    assert host.serves(FIRST)


def test_a_reload_that_was_lost_is_made_up_for(host: Host) -> None:
    """A run was killed between the switch and the reload: the next one finds it by a handshake."""
    second = made()
    versions.make_current(LINEAGE, versions.put(LINEAGE, second.chain, second.key))
    assert not served.is_on_disk(LINEAGE)
    assert install(second) is True
    assert host.serves(second)


def test_a_lineage_that_nothing_uses_yet_is_only_written(host: Host) -> None:
    """Before the first deploy that names it: no test, no reload, no handshake."""
    (host.root / "deaf").touch()
    second = made()
    assert install(second, OTHER) is True
    assert store.pair(OTHER) == (second.chain, second.key)
    assert install(made(), OTHER) is True
    assert host.serves(FIRST)


@pytest.fixture
def small_disk(host: Host, tmp_path: Path) -> Iterator[Path]:
    """The kit's folder on a disk of its own."""
    copy = tmp_path / "copy"
    shutil.copytree(places.KIT, copy, symlinks=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", places.KIT], check=True)
    shutil.copytree(copy, places.KIT, symlinks=True, dirs_exist_ok=True)
    host.restarts()
    yield places.KIT
    subprocess.run(["umount", "-l", places.KIT], check=True)


def test_a_full_disk_leaves_the_old_certificate(host: Host, small_disk: Path) -> None:
    """Nothing half-written stays, and the message names the place."""
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as handle:
        while True:
            handle.write(b"x" * 4096)
    with pytest.raises(OSError, match="No space left") as raised:
        install(made())
    assert "the disk is full" in disk.trouble(raised.value, small_disk)
    assert host.serves(FIRST)
    assert store.pair(LINEAGE) == (FIRST.chain, FIRST.key)
    assert [path.name for path in (versions.home(LINEAGE) / "versions").iterdir()] == ["1"]
    filler.unlink()
    assert install(made()) is True


def killed_after(steps: int, pair: Pair) -> bool:
    """Install in a process that is killed at its change number `steps` of the file system; whether
    it got that far."""
    child = os.fork()
    if child == 0:
        count = [0]

        def cut(event: str, arguments: tuple[object, ...]) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
            if writes or event in ("os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir"):
                count[0] += 1
                if count[0] == steps:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(cut)
        try:
            install(pair)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def test_a_power_cut_at_each_step_leaves_a_valid_pair(host: Host) -> None:
    """Killed before each change of the file system: whole, one of the two, and nginx takes it; the
    next run ends what was begun."""
    before = FIRST
    steps = 0
    was_killed = True
    seen = set()
    while was_killed:
        steps += 1
        pair = made()
        was_killed = killed_after(steps, pair)
        both = {(before.chain, before.key): "before", (pair.chain, pair.key): "new"}
        here = store.pair(LINEAGE)
        assert here in both, steps
        seen.add(both[here])
        main = host.root / "etc/nginx/origin-kit-main.conf"
        subprocess.run([program(), "-t", "-q", "-c", str(main)], check=True)
        if steps in (1, 10):
            host.restarts()
            assert host.serves(pair if both[here] == "new" else before)
        install(pair)
        assert host.serves(pair), steps
        assert len(host.keys()) == 1 or was_killed
        before = pair
    assert steps > 12
    assert seen == {"before", "new"}


def test_lineages_that_no_generation_names_are_removed(host: Host) -> None:
    """certbot's own folder is none of them."""
    install(made(), OTHER)
    (versions.root() / "certbot").mkdir()
    second = made()
    versions.make_current(LINEAGE, versions.put(LINEAGE, second.chain, second.key))
    store.prune()
    assert sorted(path.name for path in versions.root().iterdir()) == ["certbot", LINEAGE]
    assert len(host.keys()) == 1
    assert versions.in_use() == LINEAGE
