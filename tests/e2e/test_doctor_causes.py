"""Broken states of a live pair: the doctor names the cause as its one finding, its cure is carried
out as it stands there, and then the doctor is content.

The rows share one pair, and each leaves it healthy by its cure. One row of most kinds runs always,
the others with `soak`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import sync_playwright

from infra.core.contract import Host
from rollout.doctor.browser import FLAGS
from tests.e2e.conftest import chromium
from tests.support.chromium import STEADY
from tests.support.kit import ROOT, Kit, Stack, a_copy_of_the_example
from tests.support.proxies import bad_gateway, proxy, unchanged, with_another, without_cors
from tests.support.sampling import sampled

pytestmark = pytest.mark.machines

OTHER = "http://10.99.0.7:3000"
PAGE, API = "app.shop.test", "api.shop.test"
CONF, CORS = "nginx/origin-kit.conf", "nginx/origin-kit-cors.conf"
DJANGO = "django/origin_kit_settings.py"
Json = dict[str, Any]


@dataclass
class Pair:
    """The pair, and the names as visitors resolve them."""

    stack: Stack
    project: Path
    hosts_file: Path
    names: dict[str, str] = field(default_factory=dict)

    @property
    def frontend(self) -> Host:
        return self.stack.contract.frontend.hosts[0]

    @property
    def backend(self) -> Host:
        return self.stack.contract.backend.hosts[0]

    @property
    def in_front(self) -> str:
        """An address of this machine that the hosts' network knows."""
        return self.backend.address.rpartition(".")[0] + ".1"

    def resolve(self, **names: str) -> None:
        """The two names' addresses: as the contract has them, but for `page` and `api`."""
        self.names = {
            PAGE: names.get("page", self.frontend.address),
            API: names.get("api", self.backend.address),
        }
        lines = [f"{address} {name}\n" for name, address in self.names.items()]
        self.hosts_file.write_text("".join(["127.0.0.1 localhost\n", *lines]))

    def fab(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """`fab WORDS` on a machine on which the names resolve."""
        verb, *more = words
        # A name space of its own for mounts: nobody else sees this hosts file.
        command = 'mount --bind "$0" /etc/hosts && exec "$@"'
        within = ["unshare", "-m", "sh", "-c", command, str(self.hosts_file)]
        words = (verb, "--stack", self.stack.name, *more)
        return self.stack.kit.fab(*words, status=status, within=within)

    def doctor(self, *words: str) -> Json:
        """What `fab doctor --json` says."""
        answer: Json = json.loads(self.fab("doctor", "--json", *words, status=None).stdout)
        return answer

    def as_usual(self) -> None:
        """The usual config, deployed where a row before has changed it, and the usual names."""
        before = self.stack.path.read_text()
        self.stack.write()
        if self.stack.path.read_text() != before:
            self.fab("deploy")
        self.resolve()

    def on(self, host: Host, command: str) -> str:
        return self.stack.kit.ssh(host, command)

    def edit(self, host: Host, path: str, before: str, after: str, load: str) -> None:
        """Edit a file of the current generation by hand, and load it."""
        file = f"/etc/origin-kit/current/{path}"
        text = self.on(host, f"cat {file}")
        assert before in text
        self.write(host, file, text.replace(before, after), load)

    def write(self, host: Host, file: str, text: str, load: str) -> None:
        self.on(host, f"cat > {file} <<'THE-END'\n{text}\nTHE-END\n{load}\n")

    def ship(self, **edits: str) -> None:
        """Ship the project with text added to its files; without, as it was."""
        for name in ("urls", "settings"):
            original = ROOT / "examples" / "backend" / "shop" / f"{name}.py"
            text = original.read_text() + edits.get(name, "")
            (self.project / "shop" / f"{name}.py").write_text(text)
        self.fab("ship")

    @contextmanager
    def whole_after_a_failure(self) -> Iterator[None]:
        """The next row finds a healthy pair, whatever became of this one."""
        try:
            yield
        except BaseException:
            start_ssh(self, {})
            self.on(self.backend, "rm -f /tmp/much /etc/nginx/conf.d/mine.conf")
            self.on(self.frontend, "rm -f /etc/nginx/conf.d/mine.conf")
            self.stack.write()
            self.ship()
            self.fab("deploy", "--restart", status=None)
            raise

    @contextmanager
    def in_net_of(self, host: Host, add: str, remove: str) -> Iterator[None]:
        """`ip` in the network of a host while this lasts."""
        (pid,) = self.stack.kit.pids(host.name)
        there = ["nsenter", "-n", "-t", str(pid), "ip"]
        subprocess.run([*there, *shlex.split(add)], check=True)
        try:
            yield
        finally:
            subprocess.run([*there, *shlex.split(remove)], check=True)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("causes")
    with a_copy_of_the_example() as project, Stack.of(Kit(folder / "home")) as stack:
        stack.usual = {
            "domain": "shop.test",
            "extra_origins": [OTHER],
            "allowed_patterns": ["http://{branch}.preview.shop.test"],
            "backend_path": str(project.relative_to(ROOT)),
        }
        stack.write()
        stack.fab("up")
        made = Pair(stack, project, folder / "hosts")
        made.resolve()
        yield made


# ------------------------------------------------------------------------------------ broken states

Break = Callable[[Pair, ExitStack], None]
Cure = Callable[[Pair, Json], None]


def as_written(pair: Pair, finding: Json) -> None:
    """Run the last command that the cure names; the ones before it look."""
    commands = [shlex.split(command) for command in finding["commands"]]
    assert commands, finding["cure"]
    *looks, mends = commands
    for words in looks:
        assert words[1] in ("logs", "status", "outputs", "doctor")
    assert mends[0] == "fab"
    pair.fab(*mends[1:])


def stop(unit: str) -> Break:
    def break_(pair: Pair, _: ExitStack) -> None:
        pair.on(pair.backend, f"systemctl stop {unit}")

    return break_


def edit(path: str, before: str, after: str) -> Break:
    def break_(pair: Pair, _: ExitStack) -> None:
        load = "systemctl restart shop" if path == DJANGO else "systemctl reload nginx"
        pair.edit(pair.backend, path, before, after, load)

    return break_


def edit_page(pair: Pair, _: ExitStack) -> None:
    pair.edit(pair.frontend, "frontend/config.json", f"http://{API}", "http://old.test", "true")


def edit_and_put_back(pair: Pair, _: ExitStack) -> None:
    """nginx has loaded what no file holds any more."""
    pair.edit(pair.backend, CONF, OTHER, "http://10.99.0.8:3000", "systemctl reload nginx")
    pair.edit(pair.backend, CONF, "http://10.99.0.8:3000", OTHER, "true")


def deploy_other_origins(pair: Pair, _: ExitStack) -> None:
    pair.stack.write(extra_origins=["http://10.99.0.8:3000"])
    pair.fab("deploy")
    pair.stack.write()


SITE = "server {{ listen 80; server_name {name}; location / {{ return 200 'mine'; }} }}"


def add_site(role: str) -> Break:
    def break_(pair: Pair, _: ExitStack) -> None:
        host, name = (pair.backend, API) if role == "backend" else (pair.frontend, PAGE)
        text = SITE.format(name=name)
        pair.write(host, "/etc/nginx/conf.d/mine.conf", text, "systemctl reload nginx")

    return break_


def remove_site(pair: Pair, finding: Json) -> None:
    """`remove FILE on HOST, …, then run fab deploy --restart`, word by word."""
    _, file, _, name, *_ = finding["cure"].replace(",", "").split()
    (host,) = [host for _, host in pair.stack.contract.hosts if host.name == name]
    pair.on(host, f"rm {file}")
    as_written(pair, finding)


def put_proxy(change: Callable[[bytes], bytes]) -> Break:
    def break_(pair: Pair, until: ExitStack) -> None:
        pair.resolve(api=pair.in_front)
        until.enter_context(proxy(pair.in_front, pair.backend.address, change))

    return break_


def let_it_pass(pair: Pair, finding: Json) -> None:
    """The proxy stays, and passes what the hosts send."""
    cure = finding.get("cure", "its own log")
    assert "pass the hosts' Access-Control-*" in cure or "its own log" in cure


def drop_port(pair: Pair, until: ExitStack) -> None:
    """Whatever the host sends from port 80 gets lost: a client waits until it gives up. On the host
    itself nginx answers, as behind a firewall that drops."""
    rule = "rule {} pref 100 ipproto tcp sport 80 blackhole"
    until.enter_context(pair.in_net_of(pair.backend, rule.format("add"), rule.format("del")))


def allow_port(pair: Pair, finding: Json) -> None:
    assert f"allow tcp port 80 to backend-1 ({pair.backend.address})" in finding["cure"]


def lead_elsewhere(pair: Pair, _: ExitStack) -> None:
    """The record still names a machine that is another one's by now."""
    pair.resolve(api=pair.frontend.address)


def correct_record(pair: Pair, finding: Json) -> None:
    """`point NAME at ADDRESS`, word by word."""
    _, name, _, address, *_ = finding["cure"].replace(",", "").split()
    assert name == API
    pair.resolve(api=address)


def edit_release(pair: Pair, _: ExitStack) -> None:
    """Somebody tries something in the release itself."""
    view = "/opt/shop/current/app/catalog/views.py"
    pair.on(pair.backend, f"echo 'raise RuntimeError(\"try\")' >> {view}; systemctl restart shop")


def edit_release_of_page(pair: Pair, _: ExitStack) -> None:
    pair.on(pair.frontend, "echo '<!-- try -->' >> /opt/shop/current/site/index.html")


RAISING = """
def _boom(request):
    raise RuntimeError("the cart is empty")

urlpatterns = [path("", _boom), *urlpatterns]
"""
SLOW = """
import time as _time
from django.http import HttpResponse as _Response

def _slow(request):
    _time.sleep({seconds})
    return _Response("late")

urlpatterns = [path("late/", _slow), *urlpatterns]
"""
TO_HTTPS = """
from django.http import HttpResponsePermanentRedirect as _Moved

def _to_https(get_response):
    return lambda request: _Moved("https://" + request.get_host() + request.path)

MIDDLEWARE = ["shop.settings._to_https", *MIDDLEWARE]
"""
BY_HAND = """
def _by_hand(get_response):
    def middleware(request):
        response = get_response(request)
        response["Access-Control-Allow-Origin"] = "*"
        return response
    return middleware

MIDDLEWARE = ["shop.settings._by_hand", *MIDDLEWARE]
"""


def ship(**edits: str) -> Break:
    def break_(pair: Pair, _: ExitStack) -> None:
        pair.ship(**edits)

    return break_


def mend_the_project(pair: Pair, _: Json) -> None:
    """What is wrong is the project's own: it is put right there, and shipped."""
    pair.ship()


def slow_worker(pair: Pair, _: ExitStack) -> None:
    pair.ship(urls=SLOW.format(seconds=4))
    pair.stack.write(timeout_s=2)
    pair.fab("deploy")


def raise_timeout(pair: Pair, finding: Json) -> None:
    """`raise timeout_s …, then run fab deploy`."""
    assert "timeout_s" in finding["cure"]
    pair.stack.write(timeout_s=20)
    as_written(pair, finding)


def fill_disk(pair: Pair, _: ExitStack) -> None:
    small = "mount -t tmpfs -o size=2M tmpfs /tmp"
    pair.on(pair.backend, f"{small} && (dd if=/dev/zero of=/tmp/much bs=1M count=4; true)")


def make_room(pair: Pair, finding: Json) -> None:
    assert "/tmp" in finding["text"] and "make room there" in finding["cure"]
    pair.on(pair.backend, "rm /tmp/much && umount /tmp")


def stop_ssh(pair: Pair, until: ExitStack) -> None:
    pair.on(pair.backend, "systemctl stop ssh.socket ssh 2>/dev/null; true")


def start_ssh(pair: Pair, _: Json) -> None:
    (pid,) = pair.stack.kit.pids("backend-1")
    words = ["nsenter", "-a", "-t", str(pid), "systemctl", "start", "ssh.service"]
    subprocess.run(words, check=True)


def nothing(pair: Pair, _: ExitStack) -> None:
    """The environment is as intended; what is asked is not."""


def add_to(key: str, origin: str) -> Cure:
    """`add ORIGIN to KEY and run fab deploy`."""

    def cure(pair: Pair, finding: Json) -> None:
        assert key in finding["cure"] and "fab deploy" in finding["commands"]
        listed = [OTHER, origin] if key == "extra_origins" else [origin]
        pair.stack.write(**{key: listed})
        pair.fab("deploy")

    return cure


def ask_as_it_is(pair: Pair, finding: Json) -> None:
    assert f"open the page as http://{PAGE}" in finding["cure"]


def call_with_slash(pair: Pair, finding: Json) -> None:
    assert "let the page call /api/products/, with the slash" in finding["cure"]


@dataclass(frozen=True)
class State:
    """A broken state, the code of the one finding that it must have, and its cure.

    `ask` are options of the doctor; `ask_again` those after the cure, where they differ. `words`
    are some of what it says. `always`: it runs without `soak`. `proxy`: one stays in front. The
    doctor takes at most `seconds`.
    """

    break_: Break
    code: str
    cure: Cure = as_written
    words: str = ""
    ask: tuple[str, ...] = ()
    ask_again: tuple[str, ...] | None = None
    always: bool = False
    proxy: bool = False
    seconds: float = 60


LATE = ("--path", "/late/")
STATES = {
    "gunicorn stopped": State(
        stop("shop.socket shop"), "unit-not-active", words="is inactive", always=True
    ),
    "nginx stopped": State(stop("nginx.socket nginx"), "unit-not-active", words="is inactive"),
    "another configuration deployed": State(deploy_other_origins, "origins-differ"),
    "nginx file edited": State(
        edit(CONF, "proxy_hide_header Access-Control-Allow-Origin;", ""),
        "file-differs",
        words=CONF,
    ),
    "a second add_header": State(
        edit(
            CORS,
            "add_header Vary",
            "add_header Access-Control-Allow-Origin * always;\nadd_header Vary",
        ),
        "file-differs",
        words=CORS,
    ),
    "nginx file that breaks the proxy": State(
        edit(CONF, "server unix:/run/shop.sock", "server unix:/run/shp.sock"),
        "file-differs",
        words=CONF,
    ),
    "settings edited": State(
        edit(DJANGO, "MIDDLEWARE = [_cors, ", "MIDDLEWARE = ["), "file-differs", words=DJANGO
    ),
    "settings that can't be read": State(
        edit(DJANGO, "DEBUG = False", "DEBUG = Flase"), "file-differs", words=DJANGO
    ),
    "page's config.json edited": State(edit_page, "file-differs", words="config.json"),
    "edited, loaded, put back": State(edit_and_put_back, "listed-origin-refused"),
    "another server block on the API": State(
        add_site("backend"), "name-taken", remove_site, "/etc/nginx/conf.d/mine.conf", always=True
    ),
    "another server block on the page": State(add_site("frontend"), "name-taken", remove_site),
    "a proxy that strips headers": State(
        put_proxy(without_cors),
        "changed-in-front",
        let_it_pass,
        "the hosts answer right",
        always=True,
        proxy=True,
    ),
    "a proxy that adds headers": State(
        put_proxy(with_another), "changed-in-front", let_it_pass, proxy=True
    ),
    "a balancer without hosts": State(
        put_proxy(bad_gateway),
        "fails-in-front",
        let_it_pass,
        "the proxy or load balancer in front",
        proxy=True,
    ),
    "a harmless proxy": State(put_proxy(unchanged), "", let_it_pass, proxy=True),
    "port 80 dropped": State(
        drop_port, "port-blocked", allow_port, "a firewall denies it", seconds=20
    ),
    "a record of another machine": State(lead_elsewhere, "name-leads-elsewhere", correct_record),
    "release edited": State(edit_release, "release-changed", words="views.py"),
    "release of the page edited": State(
        edit_release_of_page, "release-changed", words="index.html"
    ),
    "the application raises": State(
        ship(urls=RAISING), "server-error", mend_the_project, "RuntimeError: the cart is empty"
    ),
    "slower than anybody waits": State(
        ship(urls=SLOW.format(seconds=20)), "answer-slow", mend_the_project, ask=LATE
    ),
    "slower than gunicorn allows": State(slow_worker, "server-error", raise_timeout, ask=LATE),
    "redirect to https": State(ship(settings=TO_HTTPS), "redirected-away", mend_the_project),
    # nginx hides what Django says: no page notices, and so does the doctor not.
    "CORS by hand in a middleware": State(ship(settings=BY_HAND), "", mend_the_project),
    "a full disk": State(fill_disk, "disk-full", make_room),
    "no SSH": State(stop_ssh, "host-unreachable", start_ssh),
    "an origin that is not listed": State(
        nothing,
        "origin-unlisted",
        add_to("extra_origins", "http://10.99.0.9:3000"),
        ask=("--origin", "http://10.99.0.9:3000"),
    ),
    "a similar origin": State(
        nothing,
        "origin-unlisted",
        ask_as_it_is,
        "one is https",
        ask=("--origin", f"https://{PAGE}"),
        ask_again=("--origin", f"http://{PAGE}"),
    ),
    "an app that is not listed": State(
        nothing,
        "app-origin-unlisted",
        add_to("app_origins", "capacitor://localhost"),
        ask=("--origin", "capacitor://localhost"),
    ),
    "a POST that is redirected": State(
        nothing,
        "post-redirected",
        call_with_slash,
        "(301, APPEND_SLASH) to /api/products/",
        ask=("--path", "/api/products", "--method", "POST"),
        ask_again=("--path", "/api/products/", "--method", "POST"),
    ),
}


def errors(found: Json) -> list[Json]:
    """Findings without warnings."""
    return [finding for finding in found["findings"] if not finding["warning"]]


@pytest.mark.parametrize(
    "name",
    sampled(STATES, [name for name, state in STATES.items() if state.always]),
)
def test_the_cause_is_named_and_its_cure_cures(pair: Pair, name: str) -> None:
    """One finding, the true one; nothing else is accused; its cure makes the doctor content."""
    state = STATES[name]
    pair.as_usual()
    with pair.whole_after_a_failure():
        with ExitStack() as until:
            state.break_(pair, until)
            began = time.monotonic()
            found = pair.doctor(*state.ask)
            seconds = time.monotonic() - began
            causes = errors(found)
            codes = [cause["code"] for cause in causes]
            assert codes == ([state.code] if state.code else []), found["findings"]
            text = causes[0]["text"] + causes[0]["cure"] if causes else ""
            assert state.words in text or not causes, text
            assert seconds < state.seconds, seconds
            state.cure(pair, causes[0] if causes else {})
        if state.proxy:
            # It stays in front, and does no harm any more.
            with proxy(pair.in_front, pair.backend.address, unchanged):
                healthy = pair.doctor()
        else:
            healthy = pair.doctor(*(state.ask if state.ask_again is None else state.ask_again))
        assert errors(healthy) == [] and healthy["status"] == 0, healthy["findings"]


# ---------------------------------------------------------------------------------- what it is like

POST = """
async ([url, body]) => {
    const headers = {"Content-Type": "application/json"};
    const answer = await fetch(url, {method: "POST", headers, body: JSON.stringify(body)});
    return [answer.status, answer.redirected];
}
"""


def rules(pair: Pair) -> list[str]:
    """The two names for Chromium."""
    return [f"MAP {name} {address}" for name, address in pair.names.items()]


@pytest.mark.browser
def test_a_redirected_post_reads_200_in_chromium(pair: Pair) -> None:
    """As the doctor says: the page reads 200 and nothing was saved; with the slash the POST
    arrives."""
    pair.as_usual()
    with chromium(rules=rules(pair)) as browser:
        page = browser.new_page()
        page.goto(f"http://{PAGE}/")
        lost = page.evaluate(POST, [f"http://{API}/api/products", {"name": ""}])
        arrived = page.evaluate(POST, [f"http://{API}/api/products/", {"name": ""}])
    assert lost == [200, True]
    assert arrived == [403, False]  # Django has read it: nobody is logged in


def extension(folder: Path) -> str:
    """An extension with a page and a key of its own; its origin."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    manifest = {"manifest_version": 3, "name": "shop", "version": "1"}
    manifest["key"] = base64.b64encode(der).decode()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "page.html").write_text("<!doctype html><title>shop</title>")
    # Chromium makes the id from the key: its digest's first half, with a to p for the digits.
    digits = hashlib.sha256(der).hexdigest()[:32]
    return "chrome-extension://" + "".join(chr(ord("a") + int(digit, 16)) for digit in digits)


def read_by(pair: Pair, folder: Path, origin: str) -> int:
    """The status that the extension's page reads of the API; 0 where it may not."""
    flags = [flag for flag in FLAGS if flag != "--headless"]
    flags.append(f"--host-resolver-rules={', '.join(rules(pair))}")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(folder / "profile"),
            executable_path=STEADY,
            headless=False,  # its own new mode, which knows extensions
            args=["--headless=new", f"--load-extension={folder}", *flags],
            ignore_default_args=["--disable-extensions"],
        )
        try:
            page = context.new_page()
            page.goto(f"{origin}/page.html")
            ask = "url => fetch(url).then(answer => answer.status).catch(() => 0)"
            status: int = page.evaluate(ask, f"http://{API}/api/products/")
            return status
        finally:
            context.close()


@pytest.mark.soak
@pytest.mark.browser
def test_an_extension_reads_what_app_origins_list(pair: Pair, tmp_path: Path) -> None:
    """Chromium sends `chrome-extension://<id>`; its page reads the API from when it is listed."""
    pair.as_usual()
    origin = extension(tmp_path)
    assert read_by(pair, tmp_path, origin) == 0
    pair.stack.write(app_origins=[origin])
    pair.fab("deploy")
    assert read_by(pair, tmp_path, origin) == 200
    assert errors(pair.doctor()) == []
