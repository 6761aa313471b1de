"""The renderer against whole trees, and its text against the programs that read it.

`UPDATE_GOLDEN=1 pytest tests/test_render.py` writes the trees again; review them as the files that
they become.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.core.contract import Contract
from on_host.envfile import environment_text
from rollout.render import Generation, RenderError, render
from rollout.render.django import variables
from rollout.render.frontend import connect_sources, policy
from rollout.render.generation import File, assemble
from rollout.render.templates import fill

GOLDEN = Path(__file__).parent / "golden" / "render"
CASES = sorted(folder.parent.name for folder in GOLDEN.glob("*/contract.json"))
ROLES = ("backend", "frontend")
SECRETS = {"PAYMENT_KEY": 'one "two" $three\nfour'}


def load(case: str) -> Contract:
    return Contract.from_json(json.loads((GOLDEN / case / "contract.json").read_text()))


def rendered(contract: Contract, role: str) -> Generation:
    return render(contract, role, getattr(contract, role).hosts[0], SECRETS)


def described(generation: Generation) -> dict[str, object]:
    """All of a generation but the files' text."""
    whole = generation.to_json()
    return whole | {
        "files": [
            {key: file[key] for key in ("path", "service", "mode")} for file in whole["files"]
        ]
    }


def text(generation: Generation, path: str) -> str:
    return next(file.text for file in generation.files if file.path == path)


def application(contract: Contract, **changes: Any) -> Contract:
    return dataclasses.replace(
        contract, application=dataclasses.replace(contract.application, **changes)
    )


def cors(contract: Contract, **changes: Any) -> Contract:
    return dataclasses.replace(contract, cors=dataclasses.replace(contract.cors, **changes))


def page(contract: Contract, **changes: Any) -> Contract:
    return dataclasses.replace(contract, page=dataclasses.replace(contract.page, **changes))


def write_tree(folder: Path, generation: Generation) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for file in generation.files:
        place = folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(file.text)
    folder.with_suffix(".json").write_text(json.dumps(described(generation), indent=1) + "\n")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, role: str) -> None:
    """A contract renders to exactly the tree that was reviewed."""
    folder, generation = GOLDEN / case / role, rendered(load(case), role)
    if os.environ.get("UPDATE_GOLDEN"):
        write_tree(folder, generation)
    found = {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert {file.path: file.text for file in generation.files} == found
    assert json.loads(json.dumps(described(generation))) == json.loads(
        folder.with_suffix(".json").read_text()
    )


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("case", CASES)
def test_links_lead_to_files(case: str, role: str) -> None:
    """Every link has a file of the generation behind it, and no two links one place."""
    generation = rendered(load(case), role)
    paths = {file.path for file in generation.files}
    assert {link.target for link in generation.links} <= paths
    assert len({link.place for link in generation.links}) == len(generation.links)


def test_same_contract_same_generation() -> None:
    """Rendering twice gives the same id, so that an unchanged host is seen as unchanged."""
    assert rendered(load("local-ip"), "backend") == rendered(load("local-ip"), "backend")


# What is changed in the contract → the services that have to restart on the backend, on the
# frontend.
CHANGES: dict[str, tuple[Callable[[Contract], Contract], set[str], set[str]]] = {
    "origins": (
        lambda c: cors(c, allowed_origins=("http://10.213.7.9",)),
        {"gunicorn", "nginx"},
        set(),
    ),
    "workers": (lambda c: application(c, workers=5), {"gunicorn"}, set()),
    "threads": (lambda c: application(c, threads=8), {"gunicorn"}, set()),
    "no threads": (lambda c: application(c, threads=1), {"gunicorn", "nginx"}, set()),
    "env": (lambda c: application(c, env={"A": "other"}), {"gunicorn"}, set()),
    "max_body_mb": (
        lambda c: application(c, max_body_mb=11),
        {"gunicorn", "nginx"},
        set(),
    ),
    "credentials": (lambda c: cors(c, allow_credentials=True), {"gunicorn", "nginx"}, set()),
    "backend": (
        lambda c: dataclasses.replace(
            c, backend=dataclasses.replace(c.backend, origin="http://10.213.7.77")
        ),
        {"gunicorn"},
        {"nginx"},
    ),
    "page's policy": (
        lambda c: page(c, connect_src=("wss://live.example.com",)),
        set(),
        {"nginx"},
    ),
    "referrer": (lambda c: page(c, referrer_policy="no-referrer"), set(), {"nginx"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_restarts(change: str) -> None:
    """A change alters the fingerprints of just the services that read it, and the id wherever it
    alters a byte."""
    alter, backend, frontend = CHANGES[change]
    before = load("local-ip")
    after = alter(before)
    for role, expected in (("backend", backend), ("frontend", frontend)):
        old, new = rendered(before, role), rendered(after, role)
        assert {
            name for name in new.units if old.fingerprints[name] != new.fingerprints[name]
        } == expected
        assert (old.id != new.id) == (old.files != new.files)


def test_what_is_the_apis_alone_changes_no_page_host() -> None:
    """Its environment and its lists are not on that host, whatever the edit."""
    before = load("https-names")
    env = {**before.application.env, "ONLY_THE_API": "knows"}
    after = dataclasses.replace(
        before,
        application=dataclasses.replace(before.application, env=env),
        cors=dataclasses.replace(
            before.cors, allowed_origins=(*before.cors.allowed_origins, "https://b.example")
        ),
    )
    host = before.frontend.hosts[0]
    assert render(after, "frontend", host, {}).id == render(before, "frontend", host, {}).id
    texts = [file.text for file in render(after, "frontend", host, {}).files]
    assert not [text for text in texts if "ONLY_THE_API" in text or "b.example" in text]


def test_credentials_reach_the_page_without_a_restart() -> None:
    """config.json is read by nginx for each request: its change is a new generation, and restarts
    nothing."""
    before = load("local-ip")
    old, new = (
        rendered(before, "frontend"),
        rendered(cors(before, allow_credentials=True), "frontend"),
    )
    assert old.id != new.id
    assert old.fingerprints == new.fingerprints


def test_fingerprint_covers_mode_and_path() -> None:
    """The same text in another place or with another mode is another configuration."""

    def mark(file: File) -> str:
        return assemble([file], [], [], {"nginx": ()}).fingerprints["nginx"]

    marks = [
        mark(File("a", "x", "nginx")),
        mark(File("b", "x", "nginx")),
        mark(File("a", "x", "nginx", 0o640)),
    ]
    assert len(set(marks)) == 3


def test_what_everybody_may_read_does_not_depend_on_a_secret() -> None:
    """No digest of it that could be tried out: a PIN has ten thousand values."""
    contract = load("local-ip")
    one, other = (
        render(contract, "backend", contract.backend.hosts[0], {"PIN": pin})
        for pin in ("1234", "4321")
    )
    assert one.id == other.id
    assert one.fingerprints == other.fingerprints
    assert [
        file.path for file, twin in zip(one.files, other.files, strict=True) if file != twin
    ] == ["secrets.env"]


def test_a_value_that_looks_like_a_mark_stays_as_it_is() -> None:
    """Only the files that report a fingerprint have it put in."""
    mark = "@fingerprint:gunicorn@ @{release}"
    contract = application(load("local-ip"), env={"A": mark})
    generation = render(contract, "backend", contract.backend.hosts[0], {"B": mark})
    assert f'A="{mark}"' in text(generation, "environment")
    assert f'B="{mark}"' in text(generation, "secrets.env")


def test_secrets_only_in_their_file() -> None:
    """A secret's value is in the 0600 file and in no other, and a frontend gets none."""
    contract = load("local-ip")
    holders = [
        file
        for file in rendered(contract, "backend").files
        if "$three" in file.text or "\\$three" in file.text
    ]
    assert [(file.path, file.mode) for file in holders] == [("secrets.env", 0o600)]
    assert all("three" not in file.text for file in rendered(contract, "frontend").files)


def test_fill_needs_every_value() -> None:
    """A hole in a template without a value is an error, not an empty place."""
    with pytest.raises(KeyError, match="status_socket"):
        fill("status.conf")


VALUES = (
    "plain",
    "",
    " blanks ",
    'a"b',
    "it's",
    "$HOME ${HOME} $(id) `id`",
    "back\\slash \\n \\\\ end\\",
    "line\nbreak\n",
    "# no comment",
    "tab\tand\rreturn",
    "; & | < >",
    "ünïcødé 🦆",
    "!history",
    "%n %h",
    "[1]",
    "'\"'",
    "a=b",
)


def test_environment_reads_back() -> None:
    """Every value comes out of the environment file byte for byte, as a shell reads it, whose
    quoting systemd has."""
    values = {f"V{index}": value for index, value in enumerate(VALUES)}
    script = f"set -a\n{environment_text(values)}exec env -0\n"
    done = subprocess.run(
        ["/bin/sh"], input=script.encode(), env={}, capture_output=True, check=True
    )
    found = dict(item.split("=", 1) for item in done.stdout.decode().split("\0") if item)
    assert {name: found[name] for name in values} == values


def test_kit_names_win() -> None:
    """The project's variables can't displace the settings module, and its own PYTHONPATH still
    counts."""
    contract = application(
        load("local-ip"), env={"DJANGO_SETTINGS_MODULE": "x", "PYTHONPATH": "lib", "A": "1"}
    )
    found = variables(contract, {"A": "secret"})
    assert found["DJANGO_SETTINGS_MODULE"] == "origin_kit_settings"
    assert found["PYTHONPATH"] == "/etc/origin-kit/current/django:lib"
    assert "A" not in found


REFUSED: dict[str, tuple[Callable[[Contract], Contract], str]] = {
    "name": (
        lambda c: application(c, name="shop; rm"),
        "application.name: invalid value 'shop; rm'",
    ),
    "taken name": (
        lambda c: application(c, name="nginx"),
        "'nginx' is a program that the kit runs",
    ),
    "wsgi": (lambda c: application(c, wsgi="shop.wsgi:app --bind=x"), "application.wsgi"),
    "settings": (lambda c: application(c, settings="shop import os"), "application.settings"),
    "static": (lambda c: application(c, static_url="/s{}/"), "application.static_url"),
    "media": (lambda c: application(c, media_url="/static/"), "the same as static_url"),
    "method": (lambda c: cors(c, allow_methods=('GET"; evil',)), "cors.allow_methods"),
    "header": (lambda c: cors(c, allow_headers=("$http_cookie",)), "cors.allow_headers"),
    "exposed": (lambda c: cors(c, expose_headers=("a\nb",)), "cors.expose_headers"),
    "origin": (lambda c: cors(c, allowed_origins=('http://a.test"',)), "cors.allowed_origins"),
    "spelling": (lambda c: cors(c, allowed_origins=("http://a.test:80",)), "as a browser sends it"),
    "pattern": (lambda c: cors(c, allowed_shapes=("https://.*",)), "cors.allowed_shapes"),
    "everyone": (
        lambda c: dataclasses.replace(cors(c, allowed_shapes=("*",)), production=True),
        "every website could read",
    ),
    "called": (lambda c: page(c, connect_src=('https://a.test" always',)), "page.connect_src[0]"),
    "spelling of a source": (
        lambda c: page(c, connect_src=("HTTPS://A.test",)),
        'page.connect_src: write ["https://a.test"]',
    ),
    "framed by": (lambda c: page(c, frame_ancestors=("'none'", "*")), "page.frame_ancestors"),
    "policy": (lambda c: page(c, csp="script-src 'self\"; evil"), "page.csp"),
    "policy with many names": (
        lambda c: dataclasses.replace(
            c,
            backend=dataclasses.replace(
                c.backend, aliases=tuple(f"{'a' * 60}.{number}.test" for number in range(30))
            ),
        ),
        "page: the Content-Security-Policy has",
    ),
    "policy on two lines": (lambda c: page(c, csp="script-src *;\nimg-src *"), "page.csp: write"),
    "referrer": (lambda c: page(c, referrer_policy="no\nreferrer"), "page.referrer_policy"),
    "tls": (lambda c: dataclasses.replace(c, tls="no"), "tls: invalid value 'no'"),
    "variable": (lambda c: application(c, env={"A B": ""}), "'A B' is not a variable's name"),
    "NUL": (lambda c: application(c, env={"A": "x\0y"}), "the value of A holds a NUL"),
    "no character": (lambda c: application(c, env={"A": "\ufffe"}), "the value of A holds U+FFFE"),
    "no character above": (
        lambda c: application(c, env={"A": "\U0010ffff"}),
        "the value of A holds U+10FFFF",
    ),
    "too long": (
        lambda c: application(c, env={"A": "x" * 131_070}),
        "the value of A is longer than the 131071 bytes",
    ),
    "too much": (
        lambda c: application(c, env={f"A{i}": "x" * 130_000 for i in range(9)}),
        "more than 1 MiB together",
    ),
    "surrogate": (lambda c: application(c, env={"A": "\ud800"}), "half a character"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    """What could break out of a file, or mean something else there, is refused by the name of its
    place."""
    alter, said = REFUSED[case]
    with pytest.raises(RenderError) as caught:
        rendered(alter(load("local-ip")), "backend")
    assert said in str(caught.value)


def test_refused_all_at_once() -> None:
    """Every mistake is reported in one pass, a secret's value never."""
    contract = application(load("local-ip"), name="A", wsgi="b")
    with pytest.raises(RenderError) as caught:
        render(contract, "backend", contract.backend.hosts[0], {"KEY": "sentinel\0"})
    *problems, cure = str(caught.value).splitlines()
    assert len(problems) == 3
    assert cure == "correct the stack's config, then run `fab up`"
    assert "sentinel" not in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "sources"),
    [
        ("http://10.213.7.3", "http://10.213.7.3 ws://10.213.7.3"),
        (
            "https://api.example.com:8443",
            "https://api.example.com:8443 wss://api.example.com:8443",
        ),
        ("http://[2001:db8::3]", "http: ws:"),
    ],
)
def test_connect_sources(origin: str, sources: str) -> None:
    """The page may call the backend's origin, also by WebSocket, or its schemes where a policy
    can't name an address."""
    assert " ".join(connect_sources(origin)) == sources


def test_the_policy_has_the_backend_whatever_the_keys_say() -> None:
    """The kit's directives come first, each source once, and further ones follow."""
    further = "default-src 'none'; script-src 'self'"
    contract = page(
        load("local-ip"),
        connect_src=("http://10.213.7.74", "https://api.stripe.com"),
        frame_ancestors=("'none'",),
        csp=further,
    )
    assert policy(contract) == (
        "connect-src 'self' http://10.213.7.74 ws://10.213.7.74 https://api.stripe.com;"
        f" frame-ancestors 'none'; {further}"
    )


def unit_folder(tmp_path: Path, generation: Generation) -> Path:
    """The generation's units with their users and programs replaced by such as exist here."""
    folder = tmp_path / "units"
    for file in generation.files:
        if file.path.startswith("systemd/"):
            place = folder / file.path.removeprefix("systemd/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(file.text.replace("/opt/shop/current/venv/bin/gunicorn", "/bin/true"))
    (folder / "nginx.service").write_text("[Service]\nExecStart=/bin/true\n")
    return folder


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
@pytest.mark.parametrize("role", ROLES)
def test_units_verify(tmp_path: Path, role: str) -> None:
    """systemd finds nothing to say about the units."""
    folder = unit_folder(tmp_path, rendered(load("local-ip"), role))
    (folder / "nginx.service.d" / "zz-here.conf").write_text(
        "[Service]\nExecStartPre=\nExecStart=\nExecStart=/bin/true\n"
    )
    units = [str(unit) for unit in sorted(folder.glob("*.s*")) if unit.is_file()]
    command = ["systemd-analyze", "verify", "--man=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [
        line for line in done.stderr.splitlines() if str(folder) in line or "shop" in line
    ] == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("threads", "patience"), [(1, 17), (4, 7)])
def test_timeouts_enclose_each_other(threads: int, patience: int) -> None:
    """Slowest request < gunicorn's patience < systemd's, for gunicorn and nginx alike. With threads
    it is nginx that gives a request up; without them gunicorn does, before nginx."""
    contract = application(load("local-ip"), timeout_s=7, threads=threads)
    generation = rendered(contract, "backend")

    def seconds(path: str, before: str, after: str = "\n") -> int:
        return int(text(generation, path).split(before)[1].split(after)[0])

    slowest = seconds("gunicorn/gunicorn.conf.py", "\ntimeout = ")
    graceful = seconds("gunicorn/gunicorn.conf.py", "\ngraceful_timeout = ")
    proxy = seconds("nginx/origin-kit.conf", "proxy_read_timeout ", "s;")
    gunicorn_stop = seconds("systemd/shop.service", "TimeoutStopSec=")
    nginx_stop = seconds("systemd/nginx.service.d/origin-kit.conf", "TimeoutStopSec=")
    assert slowest < graceful < gunicorn_stop
    assert slowest <= proxy < nginx_stop
    assert proxy == patience


def test_sockets_match_listen_lines() -> None:
    """nginx.socket, NGINX= and the listen lines name the same sockets in the same order."""
    for role in ROLES:
        generation = rendered(load("local-ip"), role)
        streams = re.findall(
            r"^ListenStream=(\S+)$", text(generation, "systemd/nginx.socket"), re.MULTILINE
        )
        listens = re.findall(
            r"^ +listen (?:unix:)?([^ ;]+)", text(generation, "nginx/origin-kit.conf"), re.MULTILINE
        )
        assert streams == listens
        descriptors = (
            text(generation, "systemd/nginx.service.d/origin-kit.conf")
            .split("NGINX=")[1]
            .split("\n")[0]
        )
        assert (
            descriptors
            == "".join(f"{3 + index}:" for index in range(len(streams))).removesuffix(":") + ";"
        )


RunConfiguration = Callable[..., dict[str, Any]]


@pytest.fixture
def gunicorn_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfiguration:
    """gunicorn's configuration run as gunicorn runs it, its places moved under `tmp_path`. Here
    gunicorn has a version and nothing else, and what is changed in this process is put back."""

    def run(threads: int = 1, version: tuple[int, ...] = (27, 0, 1)) -> dict[str, Any]:
        contract = application(load("local-ip"), threads=threads, timeout_s=1)
        generation = rendered(contract, "backend")
        here = tmp_path / "generations" / generation.id / "gunicorn" / "gunicorn.conf.py"
        for folder in (
            here.parent,
            tmp_path / "run/shop/workers",
            tmp_path / "opt/shop/releases/one/app",
        ):
            folder.mkdir(parents=True)
        (tmp_path / "opt/shop/current").symlink_to("releases/one")
        (tmp_path / "current").symlink_to(f"generations/{generation.id}")
        moved = text(generation, "gunicorn/gunicorn.conf.py").replace("'/run/", f"'{tmp_path}/run/")
        here.write_text(moved.replace("'/opt/", f"'{tmp_path}/opt/"))
        monkeypatch.setattr("sys.path", [*sys.path])
        monkeypatch.setenv("ORIGIN_KIT_RELEASE", "")
        monkeypatch.setitem(sys.modules, "gunicorn", SimpleNamespace(version_info=version))
        return runpy.run_path(str(tmp_path / "current/gunicorn/gunicorn.conf.py"))

    return run


def test_worker_records(tmp_path: Path, gunicorn_configuration: RunConfiguration) -> None:
    """A worker leaves a record of generation and release while it lives, and nothing when it has
    ended."""
    configuration = gunicorn_configuration()
    folder, worker = tmp_path / "run/shop/workers", SimpleNamespace(pid=4711, wsgi=dict)
    configuration["post_worker_init"](worker)
    assert json.loads((folder / "4711").read_text()) == {
        "fingerprint": configuration["FINGERPRINT"],
        "release": str(tmp_path / "opt/shop/releases/one"),
    }
    assert [path.name for path in folder.iterdir()] == ["4711"]
    configuration["child_exit"](None, worker)
    configuration["child_exit"](None, worker)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({"REMOTE_ADDR": "", "HTTP_X_REAL_IP": "203.0.113.9"}, "203.0.113.9"),
        ({"REMOTE_ADDR": "", "HTTP_X_REAL_IP": "2001:db8::9"}, "2001:db8::9"),
        ({"REMOTE_ADDR": ""}, ""),  # asked past nginx, which only root can do
    ],
)
def test_a_worker_gives_the_application_the_clients_address(
    gunicorn_configuration: RunConfiguration, environ: dict[str, str], address: str
) -> None:
    """What nginx says of the connection becomes REMOTE_ADDR; everything else passes through, both
    ways."""
    seen: list[object] = []

    def application(*given: object) -> list[bytes]:
        seen.extend(given)
        return [b"answer"]

    worker = SimpleNamespace(pid=4711, wsgi=application)
    gunicorn_configuration()["post_worker_init"](worker)
    assert worker.wsgi(dict(environ), print) == [b"answer"]
    assert seen[0] == {**environ, "REMOTE_ADDR": address}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("text/event-stream", [("X-Accel-Buffering", "no")]),
        ("text/event-stream; charset=utf-8", [("X-Accel-Buffering", "no")]),
        ("application/json", []),
    ],
)
@pytest.mark.parametrize("threads", [1, 4])
def test_an_event_stream_is_not_to_be_held_back(
    gunicorn_configuration: RunConfiguration,
    threads: int,
    kind: str,
    more: list[tuple[str, str]],
) -> None:
    """nginx is asked to pass each piece on at once, of these answers alone."""
    said: list[object] = []

    def application(environ: object, start_response: Callable[..., object]) -> list[bytes]:
        start_response("200 OK", [("content-type", kind)])
        return [b"one", b"two"]

    worker = SimpleNamespace(pid=4711, wsgi=application, alive=True)
    gunicorn_configuration(threads)["post_worker_init"](worker)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.file_wrapper": dict}
    answer = worker.wsgi(environ, lambda *given: said.append(given))
    assert list(answer) == [b"one", b"two"]
    if threads > 1:  # a list has no end of its own
        answer.close()
    assert said == [("200 OK", [("content-type", kind), *more])]


@pytest.mark.parametrize(
    ("threads", "version", "expected"),
    [(4, (27, 0, 1), (4, 4, 0)), (4, (23, 0, 0), (1, None, None)), (1, (27,), (1, None, None))],
)
def test_threads_of_a_gunicorn_that_loses_none(
    gunicorn_configuration: RunConfiguration,
    threads: int,
    version: tuple[int, ...],
    expected: tuple[int, int | None, int | None],
) -> None:
    """Before 24 a restart of its threaded worker loses requests: it has one thread then. A worker
    accepts as many connections as it has threads, so none waits in a busy one."""
    found = gunicorn_configuration(threads, version)
    keys = ("threads", "worker_connections", "keepalive")
    assert tuple(found.get(key) for key in keys) == expected
    said: list[str] = []
    found["on_starting"](SimpleNamespace(log=SimpleNamespace(warning=said.append)))
    assert bool(said) == (expected[0] < threads)


WATCH = """
import json, runpy, sys, threading, time
from types import SimpleNamespace
sys.modules["gunicorn"] = SimpleNamespace(version_info=(27, 0, 1))
conf = runpy.run_path(sys.argv[1])
let_go = threading.Event()
def application(environ, start):
    start("200 OK", [("Content-Type", environ["kind"])])
    yield b"one"
    let_go.wait()
log = SimpleNamespace(critical=lambda text, *words: print(text % words, flush=True))
worker = SimpleNamespace(pid=1, wsgi=application, alive=True, nr_conns=1, log=log)
conf["post_worker_init"](worker)
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/a\\nb", "kind": sys.argv[2]}
environ["wsgi.file_wrapper"] = dict
answer = lambda: list(worker.wsgi(environ, lambda *_: None))
threading.Thread(target=answer).start()
if sys.argv[3] == "ending":
    worker.alive = False
threading.Event().wait(20)
"""


@pytest.mark.parametrize(
    ("kind", "standing", "said"),
    [
        ("text/html", "alive", "no answer for 1 s, this worker is replaced: GET '/a\\nb'\n"),
        ("text/event-stream", "ending", ""),
    ],
)
def test_a_worker_ends_though_a_request_does_not(
    tmp_path: Path, gunicorn_configuration: RunConfiguration, kind: str, standing: str, said: str
) -> None:
    """One that hangs is named and its worker replaced; one that ends waits for no event stream
    that is silent."""
    gunicorn_configuration(threads=4)
    place = str(tmp_path / "current/gunicorn/gunicorn.conf.py")
    done = subprocess.run(
        [sys.executable, "-c", WATCH, place, kind, standing],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, said), done.stderr


def test_gunicorn_pins_what_it_was_started_with(
    tmp_path: Path, gunicorn_configuration: RunConfiguration
) -> None:
    """The links are followed at the start: workers that are started later run the same generation
    and release."""
    configuration = gunicorn_configuration()
    generation = configuration["generation"].name
    assert configuration["chdir"] == str(tmp_path / "opt/shop/releases/one/app")
    assert sys.path[0] == str(tmp_path / "generations" / generation / "django")
    assert os.environ["ORIGIN_KIT_RELEASE"] == str(tmp_path / "opt/shop/releases/one")
    assert not {"bind", "preload_app", "reuse_port"} & configuration.keys()
