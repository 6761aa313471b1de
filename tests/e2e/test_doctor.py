"""The doctor at a live environment: it is well, it is made ill in each of the usual ways, and every
cause is named."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Host
from tests.e2e.conftest import ARTEFACTS, chromium
from tests.support.kit import ROOT, Kit, Stack, a_copy_of_the_example, unwrapped
from tests.support.sampling import sampled

pytestmark = pytest.mark.machines

OTHER = "http://10.99.0.7:3000"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack.of(Kit(tmp_path_factory.mktemp("doctor") / "home")) as made:
        made.usual = {
            "domain": "shop.test",
            "allow_credentials": True,
            "extra_origins": [OTHER],
            "allowed_patterns": ["http://{branch}.preview.shop.test"],
        }
        made.write()
        made.fab("up")
        yield made


def examine(stack: Stack, *words: str, status: int) -> dict[str, Any]:
    """`fab doctor --json`."""
    found: dict[str, Any] = json.loads(stack.fab("doctor", "--json", *words, status=status).stdout)
    assert found["status"] == status
    return found


def problems(found: dict[str, Any]) -> str:
    """Root causes and what follows from them, less mere warnings."""
    roots = [one for one in found["findings"] if not one["warning"]]
    return "\n".join(
        f"{one['text']} → {one['cure']}" for root in roots for one in (root, *root["follows"])
    )


@pytest.fixture
def backend(stack: Stack) -> Host:
    return stack.contract.backend.hosts[0]


def test_a_healthy_environment_is_as_intended(stack: Stack) -> None:
    """Every listed origin may read all five endpoints, every unlisted origin is refused, here and
    on the host."""
    found = examine(stack, status=0)
    assert problems(found) == ""
    assert {cell["view"] for cell in found["cells"]} == {"public", "backend-1"}
    assert all(cell["as_intended"] for cell in found["cells"])
    assert {cell["origin"] for cell in found["cells"] if cell["intended"]} == {
        "http://app.shop.test",
        OTHER,
        "http://doctor.preview.shop.test",
    }
    text = stack.fab("doctor").stdout
    assert text.rstrip().endswith("all as intended")
    assert re.search(r" \d+ ok +\d+ ok +404 ok +404 ok +413 ok$", text, re.MULTILINE), text


# One careless edit on the host each: file below the current generation, what stands there, what
# takes its place, and what the doctor reports of it. The drift of the file is always reported as
# well.
CONF, CORS, DJANGO = (
    "nginx/origin-kit.conf",
    "nginx/origin-kit-cors.conf",
    "django/origin_kit_settings.py",
)
MUTATIONS: dict[str, tuple[str, str, str, str]] = {
    "no always": (
        CORS,
        "$origin_kit_allowed     always",
        "$origin_kit_allowed",
        "`add_header` without `always`",
    ),
    "no hiding": (
        CONF,
        "proxy_hide_header Access-Control-Allow-Origin;",
        "",
        "Django's line is not hidden",
    ),
    "unescaped": (CONF, r"preview\.shop", "preview.shop", "allows http://"),
    "unanchored": (CONF, r"preview\.shop\.test$", r"preview\.shop\.test", "allows http://"),
    "an old origin": (CONF, "http://10.99.0.7:3000", "http://10.99.0.8:3000", "nginx on backend-1"),
    "middleware below": (
        DJANGO,
        (
            'MIDDLEWARE = [_cors, *(_layer for _layer in globals().get("MIDDLEWARE", ()) if _layer'
            " != _cors)]"
        ),
        'MIDDLEWARE = [*globals().get("MIDDLEWARE", ()), _cors]',
        "stands below the middleware that refuses",
    ),
    "no middleware": (
        DJANGO,
        "MIDDLEWARE = [_cors, ",
        "MIDDLEWARE = [",
        "does not allow http://app.shop.test",
    ),
    "text for a list": (
        DJANGO,
        "CORS_ALLOWED_ORIGIN_REGEXES = [",
        "CORS_ALLOWED_ORIGIN_REGEXES = '.*' and '.' or [",
        "is CORS_ALLOWED_ORIGIN_REGEXES text instead of a list",
    ),
    "allow-all left on": (
        DJANGO,
        "CORS_ALLOW_ALL_ORIGINS = False",
        "CORS_ALLOW_ALL_ORIGINS = True",
        "allows http://evil.example",
    ),
}


@contextmanager
def edited(stack: Stack, host: Host, path: str, before: str, after: str) -> Iterator[None]:
    """The file with the edit, and its service on it; afterwards as it was."""
    file = f"/etc/origin-kit/current/{path}"
    text = stack.kit.ssh(host, f"cat {file}")
    assert before in text
    load = "systemctl restart shop" if path == DJANGO else "systemctl reload nginx"

    def write(new: str) -> None:
        stack.kit.ssh(host, f"cat > {file} <<'THE-END'\n{new}THE-END\n{load}\n")

    write(text.replace(before, after))
    try:
        yield
    finally:
        write(text)


@pytest.mark.parametrize("name", sampled(MUTATIONS, ["unescaped"]))
def test_each_careless_edit_is_named(stack: Stack, backend: Host, name: str) -> None:
    """By its symptom and by its file, with the cure; without it all is well."""
    path, before, after, wanted = MUTATIONS[name]
    with edited(stack, backend, path, before, after):
        found = problems(examine(stack, status=1))
    assert wanted in found, found
    assert f"{path} on backend-1" in found or "still answers for" in found, found
    assert "run `fab deploy`" in found


def test_the_cure_is_the_cure(stack: Stack, backend: Host) -> None:
    """What the doctor says to do mends it."""
    path, before, after, wanted = MUTATIONS["no hiding"]
    with edited(stack, backend, path, before, after):
        assert wanted in problems(examine(stack, status=1))
        stack.fab("deploy")
        examine(stack, status=0)


def test_drift_is_reported_in_origins(stack: Stack) -> None:
    """The config moved on; the hosts still have the old list."""
    stack.write(extra_origins=["http://10.99.0.8:3000"])
    try:
        found = problems(examine(stack, status=1))
    finally:
        stack.write()
    assert (
        f"nginx on backend-1 still answers for {OTHER}; the contract says http://10.99.0.8:3000"
        in found.replace("Django and nginx", "nginx")
    )
    # Nobody asked for it: it is not listed, and no row of the matrix.
    assert f"allows {OTHER}" not in found


def test_a_dead_service_is_named(stack: Stack, backend: Host) -> None:
    """gunicorn is down: nginx's 502 is readable, and still not as intended. The unit is the cause
    and comes first."""
    stack.kit.ssh(backend, "systemctl stop shop.socket shop")
    try:
        found = examine(stack, status=1)
    finally:
        stack.kit.ssh(backend, "systemctl start shop.socket shop")
    first, *others = found["findings"]
    assert "on backend-1 is inactive" in first["text"]
    assert any("answers 502" in one["text"] for one in first["follows"])
    assert not any(
        "answers 502" in one["text"] or "does not answer" in one["text"] for one in others
    )


def test_the_questions_leave_nothing_in_the_log(stack: Stack, backend: Host) -> None:
    """A healthy application notices no wrong Host: not a line of its journal is the doctor's."""
    (mark,) = stack.kit.ssh(backend, "journalctl -n 0 --show-cursor -o cat").split("-- cursor: ")[
        1:
    ]
    examine(stack, status=0)
    text = stack.kit.ssh(
        backend, f"journalctl -u shop.service --no-pager -o cat --after-cursor='{mark.strip()}'"
    )
    assert (
        "DisallowedHost" not in text
        and "origin-kit-doctor.invalid" not in text
        and "Traceback" not in text
    )
    # The 404 that it asks for: the journal was read, and Django writes to it.
    assert "/origin-kit-doctor" in text


# A project as people have them: it writes next to its code, and its error pages need a file that no
# build has made.
EXTRA = """
from pathlib import Path as _P
from django.http import JsonResponse as _J
from django.urls import path as _path

def _count(request):
    (_P(__file__).parent / "visits.txt").open("a").write("one")
    return _J({})

urlpatterns = [_path("api/count/", _count), *urlpatterns]
"""
STYLED = "{% load static %}<link href=\"{% static 'built/missing.css' %}\">sorry"
STORAGES = """
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}
TEMPLATES[0]["DIRS"] = [*TEMPLATES[0]["DIRS"], BASE_DIR / "pages"]
"""


@contextmanager
def shipped(stack: Stack, project: Path, up: int = 0) -> Iterator[str]:
    """The stack with this project's release, and the output of `fab up`; afterwards with the
    usual one."""
    stack.write(backend_path=str(project.relative_to(ROOT)))
    try:
        done = stack.fab("up", status=up)
        yield done.stdout + done.stderr
    finally:
        stack.write()
        stack.fab("up")


@pytest.mark.soak
def test_a_500_is_reported_with_its_cause(stack: Stack, tmp_path: Path) -> None:
    """A view that writes next to the code: readable by every origin, and not as intended."""
    with a_copy_of_the_example() as project:
        urls = project / "shop" / "urls.py"
        urls.write_text(urls.read_text() + EXTRA)
        with shipped(stack, project) as said:
            assert "done" in said  # `/` answers: nobody has named this path to `up`
            found = examine(
                stack, "--path", "/api/count/", "--html", str(tmp_path / "500.html"), status=1
            )
            text = stack.fab("doctor", "--path", "/api/count/", status=1).stdout
    (one,) = [one for one in found["findings"] if "answers 500" in one["text"]]
    assert one["text"].startswith(
        "GET http://api.shop.test/api/count/ answers 500: the application itself fails"
    )
    assert "CORS is not the reason" in one["text"] and "Read-only file system" in one["text"]
    assert {(cell["status"], cell["allowed"], cell["as_intended"]) for cell in found["cells"]} == {
        (500, True, False)
    }
    assert "500 fails !" in text and "all as intended" not in text
    keep(tmp_path / "500.html")


# A project whose log never comes to the journal.
TO_A_FILE = """
import os as _os
_FILE = _os.environ["ORIGIN_KIT_DATA"] + "/errors.log"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"file": {"class": "logging.FileHandler", "filename": _FILE}},
    "root": {"handlers": ["file"], "level": "WARNING"},
}
ASGI_APPLICATION = "shop.asgi.application"
SESSION_COOKIE_NAME = "__Secure-shop"
"""
NOWHERE = TO_A_FILE.replace('"logging.FileHandler", "filename": _FILE', '"logging.NullHandler"')


@pytest.mark.soak
def test_a_log_file_is_read_and_limits_are_noted(stack: Stack) -> None:
    """The journal is silent: the doctor asks the project where its log goes, and reads its end as
    its own user. Where it goes nowhere, that is said. What the hosts lack is noted by `up`, `ship`
    and `doctor`, never called done.
    """
    with a_copy_of_the_example() as project:
        urls, settings = project / "shop" / "urls.py", project / "shop" / "settings.py"
        plain = settings.read_text()
        urls.write_text(urls.read_text() + EXTRA)
        settings.write_text(plain + TO_A_FILE)
        with shipped(stack, project) as said:
            for text in (said, stack.fab("ship").stdout, stack.fab("doctor").stdout):
                assert (
                    "note: ASGI: gunicorn serves the WSGI application alone, so WebSockets"
                    " answer 404" in unwrapped(text)
                )
                wanted = "note: SESSION_COOKIE_NAME is '__Secure-shop': plain http loses"
                assert wanted in unwrapped(text)
            assert "done, but for what is noted above" in said
            assert "all as intended, but for what is noted above" in text
            found = examine(stack, "--path", "/api/count/", status=1)
            (one,) = [one for one in found["findings"] if "answers 500" in one["text"]]
            log = "/var/lib/shop/errors.log on backend-1"
            assert f"; {log} ends with: OSError: [Errno 30] Read-only file system" in one["text"]
            assert one["cure"] == f"see {log}"
            settings.write_text(plain + NOWHERE)
            stack.fab("ship")
            found = examine(stack, "--path", "/api/count/", status=1)
            (one,) = [one for one in found["findings"] if "answers 500" in one["text"]]
            assert one["text"].endswith("the project's LOGGING sends such errors nowhere")
    left = stack.kit.ssh(
        stack.contract.backend.hosts[0],
        "systemctl list-units --all 'origin-kit-asked-*' --no-legend",
    )
    assert left.strip() == ""


@pytest.mark.soak
def test_up_is_not_done_over_an_api_that_fails(stack: Stack) -> None:
    """It is deployed and stays so, for it may have to be repaired there; URL, status and next step
    are reported."""
    with a_copy_of_the_example() as project:
        urls = project / "shop" / "urls.py"
        urls.write_text(urls.read_text() + EXTRA.replace("api/count/", ""))
        with shipped(stack, project, up=1) as said:
            assert "GET http://api.shop.test/ answers 500" in said and "`fab logs`" in said
            assert "done," not in said and "nothing to do" not in said
            # What the transaction's own probe says.
            assert "warning: GET / answers 500" in stack.fab("deploy", "--restart").stdout
            stack.fab("status")  # every host holds and runs what the contract says
            assert "GET http://api.shop.test/ answers 500: the" in problems(
                examine(stack, status=1)
            )


@pytest.mark.soak
def test_error_pages_that_fail_accuse_no_middleware(stack: Stack) -> None:
    """One for a wrong Host answers nobody here. One for a missing page ends in gunicorn's own 500:
    that is reported."""
    with a_copy_of_the_example() as project:
        settings = project / "shop" / "settings.py"
        settings.write_text(settings.read_text() + STORAGES)
        pages = project / "pages"
        pages.mkdir()
        (pages / "400.html").write_text(STYLED)
        (pages / "500.html").write_text(STYLED)
        with shipped(stack, project) as said:
            assert (
                "400.html of the project fails itself (" in said
                and "500.html of the project" in said
            )
            assert problems(examine(stack, status=0)) == ""
            (pages / "404.html").write_text(STYLED)
            stack.fab("ship")
            found = problems(examine(stack, status=1))
    assert "CorsMiddleware" not in found
    assert "/origin-kit-doctor answers 500" in found
    assert "so does its own error page (the answer is gunicorn's)" in found


def keep(page: Path) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    shutil.copy(page, ARTEFACTS / f"doctor-{page.name}")


def test_nothing_that_answers_is_status_4(stack: Stack, tmp_path: Path) -> None:
    """One finding: nothing answers. Every host is named under it with the reason; no origin is
    accused of anything."""
    contract = json.loads(stack.fab("outputs").stdout)
    # Bound, not listening: nobody else gets the port, and nobody answers on it.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        for role, address in (("frontend", "127.0.0.1"), ("backend", "127.0.0.2")):
            contract[role]["origin"] = f"http://127.0.0.1:{port}"
            contract[role]["hosts"][0] |= {"address": address, "port": port}
        contract["cors"]["allowed_origins"] = [f"http://127.0.0.1:{port}"]
        file = stack.kit.home / "nobody.json"
        file.write_text(json.dumps(contract))
        found = examine(
            stack, "--outputs", str(file), "--html", str(tmp_path / "nothing.html"), status=4
        )
    text = problems(found)
    assert found["findings"][0]["text"].startswith("nothing answers")
    assert "backend-1 can't be asked" in text and "frontend-1 can't be asked" in text
    assert "allows" not in text and {cell["as_intended"] for cell in found["cells"]} == {None}
    keep(tmp_path / "nothing.html")


@pytest.mark.parametrize(
    ("words", "wanted", "status"),
    [
        (("--origin", "https://app.shop.test"), "one is https, the other http", 1),
        (("--origin", "http://app.shop.test:8080"), "the port counts", 1),
        (("--origin", "app.shop.test"), "--origin: ", 2),
        (("--header", "X-Unknown"), "add it to allow_headers", 1),
        (("--method", "PROPFIND"), "add it to allow_methods", 1),
        (("--path", "/" + "x" * 9000), "414 ok", 0),
        (("--path", "/" + "x" * 40_000), "no header can reach it", 1),
    ],
)
def test_a_question_of_a_person_s_is_answered(
    stack: Stack, words: tuple[str, ...], wanted: str, status: int
) -> None:
    """One cell, and the reason in words; what is no origin is a usage error."""
    done = stack.fab("doctor", *words, status=status)
    assert wanted in unwrapped(done.stdout + done.stderr)


def test_cookies_that_can_not_travel_are_explained(stack: Stack) -> None:
    """Two IPs are two sites: with credentials on, the doctor says it."""
    contract = json.loads(stack.fab("outputs").stdout)
    for role in ("frontend", "backend"):
        contract[role]["origin"] = f"http://{contract[role]['hosts'][0]['address']}"
    contract["cors"]["allowed_origins"] = [contract["frontend"]["origin"]]
    file = stack.kit.home / "cookies.json"
    file.write_text(json.dumps(contract))
    found = problems(examine(stack, "--outputs", str(file), status=1))
    assert "cookies can't travel between two IPs" in found


def answers(found: dict[str, Any], origin: str) -> dict[str, list[str]]:
    """Browser → why session, token and write don't work; empty where they do."""
    rows = [row for row in found["logins"] if row["origin"] == origin]
    questions = ("session", "token", "write")
    return {
        row["browser"]: [(row[one] or {}).get("cause", "") for one in questions] for row in rows
    }


def test_who_can_log_in_and_write_is_said(stack: Stack) -> None:
    """By what the project on the host says of its cookies: under one domain in every browser, from
    an address in none."""
    found = examine(stack, status=0)
    own = answers(found, "http://app.shop.test")
    assert len(own) == 4 and set(map(tuple, own.values())) == {("", "", "")}
    assert {row["token_from"] for row in found["logins"] if not row["token"]} == {"body"}
    assert answers(found, OTHER)["Chromium"][0] == "sites-over-http"
    text = stack.fab("doctor").stdout
    assert re.search(r"^    every browser +kept +answer +passes$", text, re.MULTILINE), text


GIVES = """@api('GET')
def csrf(request):
    return JsonResponse({'csrfToken': get_token(request)})
"""
SETS = """@ensure_csrf_cookie
@api('GET')
def csrf(request):
    return JsonResponse({})
"""


@pytest.mark.soak
def test_a_token_that_no_script_can_read_is_named_with_the_cure(stack: Stack) -> None:
    """The project hands it out in a cookie of the API's host alone, and the page is on another."""
    with a_copy_of_the_example() as copy:
        views = copy / "catalog" / "views.py"
        text = views.read_text().replace(GIVES, SETS)
        text = text.replace("django.middleware.csrf", "django.views.decorators.csrf")
        views.write_text(text.replace("import get_token", "import ensure_csrf_cookie"))
        try:
            stack.write(backend_path=str(copy.relative_to(ROOT)))
            stack.fab("ship")
            found = problems(examine(stack, status=1))
        finally:
            stack.write()
            stack.fab("ship")
    assert "belongs to api.shop.test alone" in found
    assert "catalog/views.py, line " in found
    assert "return the token in an answer's body" in found
    assert "`expose_headers`" in found


@pytest.mark.browser
def test_chromium_s_reason_is_waited_for(stack: Stack) -> None:
    """The page notices a failure before DevTools reports why; with one question nothing else gives
    it time."""
    found = examine(stack, "--origin", "http://evil.example", "--browser", status=1)
    assert [cell["chromium"] for cell in found["cells"] if "chromium" in cell] == [
        "MissingAllowOriginHeader"
    ]


@pytest.mark.browser
@pytest.mark.soak  # of an https pair in test_doctor_causes_https.py
def test_chromium_agrees_on_every_cell_and_the_page_shows_it(
    stack: Stack, backend: Host, tmp_path: Path
) -> None:
    """A healthy environment and an ill one, side by side with Chromium; the report opens without a
    network."""
    healthy, ill = tmp_path / "healthy.html", tmp_path / "ill.html"
    found = examine(stack, "--browser", "--html", str(healthy), status=0)
    asked = [cell for cell in found["cells"] if "chromium" in cell]
    assert len(asked) > 30
    path, before, after, _ = MUTATIONS["no hiding"]
    with edited(stack, backend, path, before, after):
        found = examine(stack, "--browser", "--html", str(ill), status=1)
    assert "disagree" not in problems(found)
    assert any(cell.get("chromium") == "MultipleAllowOriginValues" for cell in found["cells"])
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, color_scheme="light")
        asked_for: list[str] = []
        page.on("request", lambda request: asked_for.append(request.url))
        ARTEFACTS.mkdir(exist_ok=True)
        for file in (healthy, ill):
            page.goto(file.as_uri())
            page.screenshot(path=str(ARTEFACTS / f"doctor-{file.stem}.png"), full_page=True)
        page.click("td.wrong a")
        assert "Access-Control-Allow-Origin" in page.inner_text(".exchange:target")
        page.screenshot(path=str(ARTEFACTS / "doctor-exchange.png"))
        assert [url for url in asked_for if not url.startswith("file:")] == []
