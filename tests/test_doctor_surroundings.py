"""What the doctor makes of a host's surroundings: firewalls, other server blocks, proxies in front,
redirects, slow views. Nothing is sent; tests/e2e/test_doctor_causes.py is the live part."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.core.origins import parse_origin
from on_host import looks, surroundings
from on_host.orders import ORDERS
from rollout.doctor import Observations, reach
from rollout.doctor.ask import Answer, Page, Unanswered
from rollout.doctor.examination import single_cell
from rollout.doctor.findings import findings
from rollout.doctor.observations import Cell, Direct, HostReport
from rollout.doctor.on_hosts import _answer
from rollout.doctor.questions import Question, questions
from rollout.doctor.reach import Reach
from rollout.doctor.verdicts import verdict
from rollout.finding import GUIDE, Finding
from rollout.tls import Place
from rollout.verdict import Response
from tests.support.kit import ROOT
from tests.test_doctor import (
    IP,
    ORIGIN,
    also_on_the_host,
    observed,
    reporting,
    right,
    silence,
    without,
)
from tests.test_readme import anchors

API = IP.backend.hosts[0]
AROUND: dict[str, Any] = {
    "arrived": True,
    "listens": True,
    "refuses_connections": "",
    "firewall": [],
    "other_sites": [],
    "full": "",
}


def host(name: str = "backend-1", **changes: Any) -> HostReport:
    """A host of IP that reports its surroundings."""
    (found,) = [one for _, one in IP.hosts if one.name == name]
    return reporting(found.name, found.address, **{**AROUND, **changes})


def reached(problem: str = "", address: str = API.address) -> dict[str, Reach]:
    """What became of a connection to the API; the page is well."""
    page = Reach(IP.frontend.hosts[0].address, answered=True)
    return {"frontend": page, "backend": Reach(address, problem, not problem)}


def errors(whole: Observations) -> list[Finding]:
    return [finding for finding in findings(whole) if not finding.warning]


def always(status: int) -> Callable[[Question], tuple[Answer, ...]]:
    """Nothing else, without any header."""
    return lambda question: tuple(Response(status) for _ in question.lines("backend"))


def on_the_host(
    whole: Observations, answers: Callable[[Question], tuple[Answer, ...]]
) -> Observations:
    """The same questions, asked on the host itself."""
    cells = list(whole.cells)
    for cell in whole.public:
        own = answers(cell.question)
        cells.append(Cell(cell.question, "backend-1", own, verdict(cell.question, own)))
    return replace(whole, cells=tuple(cells))


# ---------------------------------------------------------------------------------------- firewalls


@pytest.mark.parametrize(
    ("changes", "text", "cure"),
    [
        ({}, "answers on the host itself: a firewall denies it", "security group"),
        ({"refuses_connections": "timed out"}, "a firewall on the host itself", "nft list ruleset"),
        ({"firewall": ["tcp dport 80 drop"]}, "`tcp dport 80 drop`", "take that rule out"),
    ],
)
def test_a_firewall_is_the_one_cause(changes: Any, text: str, cure: str) -> None:
    """nginx runs and listens, and nothing connects from here: nothing else is accused."""
    whole = observed(
        answers=silence,
        hosts=[host(**changes)],
        reach=reached("timed out"),
        page=Page(200, None, IP.backend.origin),
    )
    (found,) = errors(whole)
    assert found.code == "port-blocked" and text in found.text and cure in found.cure
    assert [one.code for one in found.follows] == ["view-silent"]


@pytest.mark.parametrize(
    ("hosts", "where"),
    [
        ([host(listens=False)], reached("refused")),
        ([HostReport("backend-1", API.address, None, "no route")], reached("timed out")),
        ([host()], reached("timed out", "198.51.100.9")),
        ([host()], reached()),
    ],
    ids=["nothing listens", "the host can't be asked", "another address", "connected"],
)
def test_nothing_else_is_called_a_firewall(hosts: list[HostReport], where: Any) -> None:
    """Only where the host itself says that nginx listens, at the address that was tried."""
    whole = observed(answers=silence, hosts=hosts, reach=where)
    assert "port-blocked" not in [finding.code for finding in findings(whole)]


def test_a_port_where_nothing_listens_is_no_connection() -> None:
    """Why there is none is said, and nothing was answered."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        origin = parse_origin(f"http://127.0.0.1:{held.getsockname()[1]}", production=False)
        found = reach.of(Place(origin, "127.0.0.1"), "/x")
    assert found.problem and not found.answered


# ------------------------------------------------------------------------------ other server blocks

CONFIGURATION = """
# configuration file /etc/nginx/origin-kit-main.conf:
http {{ include /etc/nginx/conf.d/*.conf; }}
# configuration file /etc/nginx/conf.d/mine.conf:
{mine}
# configuration file /etc/nginx/conf.d/origin-kit.conf:
server {{ listen 0.0.0.0:80 default_server; server_name _ api.shop.test; }}
"""
BLOCKS = {
    "server { server_name api.shop.test; }": True,
    "server { listen 80; server_name other.test API.shop.test; }": True,
    "server { listen [::]:80; server_name .shop.test; }": True,
    "server { listen 10.0.0.2:80; server_name *.shop.test; }": True,
    "server { listen 443 ssl; listen 80; server_name 'api.shop.test'; }": True,
    'server { server_name "~^api\\.(?<zone>.+){1,3}$"; }': True,
    "server { location / { return 200 '} server_name x;'; } server_name api.shop.test; }": True,
    "server { listen 443 ssl; server_name api.shop.test; }": False,
    "server { listen 8080; server_name api.shop.test; }": False,
    "server { listen 127.0.0.1:8080; server_name api.shop.test; }": False,
    "server { listen unix:/run/x.sock; server_name api.shop.test; }": False,
    "server { server_name app.shop.test; }": False,
    "server { server_name shop.test; }": False,
    "server { server_name api.shop.test.evil.example; }": False,
    "server { listen 80; }": False,
    "# server { server_name api.shop.test; }": False,
    "map $host $x { default 1; api.shop.test 2; }": False,
}


@pytest.mark.parametrize(("mine", "taken"), BLOCKS.items())
def test_a_server_block_with_this_name_is_found(mine: str, taken: bool) -> None:
    """By its file and its names, as nginx reads them; the kit's own never."""
    found = list(surroundings.sites_in(CONFIGURATION.format(mine=mine), "api.shop.test", 80))
    assert [one["file"] for one in found] == (["/etc/nginx/conf.d/mine.conf"] if taken else [])


@pytest.mark.parametrize(
    ("listen", "taken"),
    [("listen 443 ssl;", True), ("listen [::]:443 ssl;", True), ("listen 80;", False), ("", False)],
)
def test_of_an_https_name_the_blocks_on_443_count(listen: str, taken: bool) -> None:
    mine = f"server {{ {listen} server_name api.shop.test; }}"
    found = list(surroundings.sites_in(CONFIGURATION.format(mine=mine), "api.shop.test", 443))
    assert bool(found) == taken


@pytest.mark.parametrize(
    ("rule", "ports"),
    [
        ("tcp dport 80 drop", {80}),
        ("tcp dport 443 reject", {443}),
        ("tcp dport { http, https } drop", {80, 443}),
        ("-A INPUT -p tcp -m tcp --dport 443 -j DROP", {443}),
        ("type filter hook input priority filter; policy drop;", {80, 443}),
        ("tcp dport 8443 drop", set()),
        ("tcp dport 443 accept", set()),
    ],
)
def test_a_rule_counts_for_the_port_of_the_origin(rule: str, ports: set[int]) -> None:
    assert {port for port in (80, 443) if surroundings.denies(rule, port)} == ports


SITE = {"file": "/etc/nginx/conf.d/mine.conf", "names": ["api.shop.test"]}


def test_another_server_block_is_the_one_cause() -> None:
    """What it answers in place of the kit's follows from it, and the cure names file and host."""
    bare = without(ORIGIN, "Vary")
    whole = observed(answers=bare, hosts=[host(other_sites=[SITE])], reach=reached())
    (found,) = errors(also_on_the_host(whole))
    assert found.code == "name-taken" and found.follows
    assert found.cure.startswith("remove /etc/nginx/conf.d/mine.conf on backend-1")


def test_another_server_block_that_is_not_loaded_is_a_warning() -> None:
    """All is well until nginx restarts."""
    whole = observed(hosts=[host(other_sites=[SITE])], reach=reached())
    (found,) = findings(whole)
    assert found.warning and "takes over at the next restart" in found.text


def test_another_server_block_explains_the_page() -> None:
    """On the frontend: a page without config.json is not one that needs a deploy."""
    whole = observed(
        hosts=[host("frontend-1", other_sites=[SITE]), host()], page=Page(200), reach=reached()
    )
    (found,) = errors(whole)
    assert found.code == "name-taken" and [one.code for one in found.follows] == [
        "page-config-incomplete"
    ]


# --------------------------------------------------------------------------------- proxies in front


def behind(answers: Callable[[Question], tuple[Answer, ...]], **state: Any) -> Observations:
    """The names lead to a proxy that answers so; the hosts answer right."""
    whole = observed(
        answers=answers,
        hosts=[host(**state)],
        reach=reached(address="198.51.100.9"),
        addresses={"frontend": (IP.frontend.hosts[0].address,), "backend": ("198.51.100.9",)},
    )
    return on_the_host(whole, right(IP))


def test_a_proxy_that_strips_headers_is_the_one_cause() -> None:
    """The hosts were asked and answer right, and what arrives at the public address has reached
    them: neither an address that changed nor a deploy that is missing."""
    (found,) = errors(behind(without(ORIGIN)))
    assert found.code == "changed-in-front" and "the hosts answer right" in found.text
    assert "removes" in found.text and "fab deploy" not in found.cure


def test_a_proxy_that_adds_headers_is_the_one_cause() -> None:
    """For listed origins the header is there twice, and unlisted ones are allowed."""

    def star(question: Question) -> tuple[Answer, ...]:
        answers = right(IP)(question)
        added = []
        for one in answers:
            assert isinstance(one, Response)
            added.append(replace(one, headers=(*one.headers, (ORIGIN, "*"))))
        return tuple(added)

    (found,) = errors(behind(star))
    assert found.code == "changed-in-front" and "fab deploy" not in found.cure


def test_a_harmless_proxy_is_no_finding() -> None:
    """What is asked at its address arrives at the hosts, and all answers are as intended."""
    assert findings(behind(right(IP))) == ()


def test_an_address_that_leads_elsewhere_is_one_cause() -> None:
    """Nothing of what was asked there has arrived: the record is wrong, and what is missing in the
    answers follows from it."""
    (found,) = errors(behind(without(ORIGIN), arrived=False))
    assert found.code == "name-leads-elsewhere" and found.follows
    assert f"at {API.address}" in found.cure


def test_a_balancer_that_fails_is_not_the_application() -> None:
    """5xx at the public address alone, while the hosts answer well."""
    (found,) = errors(behind(always(502)))
    assert found.code == "fails-in-front" and "the hosts answer it well" in found.text
    assert {"fails-in-front", "changed-in-front"} >= {one.code for one in found.follows}


# ---------------------------------------------------------------------------- redirects, slow views


def one_question(method: str, path: str, *answers: Answer) -> Observations:
    """A single cell with the last of these answers, and the first for its preflight."""
    matrix = single_cell(IP, None, path, method, (), False)
    (question,) = questions(IP, matrix.rows, matrix.endpoints, None, False)
    own = answers[-len(list(question.lines("x"))) :]
    cell = Cell(question, "public", own, verdict(question, own))
    return observed(cells=(cell,), hosts=[host()], reach=reached())


def moved(status: int, location: str) -> Response:
    allowed = (("Vary", "Origin"), (ORIGIN, IP.frontend.origin), ("Location", location))
    return Response(status, allowed)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_that_is_redirected_loses_its_body(status: int) -> None:
    """The cells read 200, and the body is lost: the cure is the final path."""
    (found,) = errors(one_question("POST", "/api/items", moved(status, "/api/items/")))
    assert found.code == "post-redirected" and "without the body" in found.text
    assert found.cure == "let the page call /api/items/, with the slash"


@pytest.mark.parametrize(
    ("method", "status"), [("POST", 307), ("POST", 308), ("POST", 200), ("GET", 301)]
)
def test_what_keeps_its_body_is_no_finding(method: str, status: int) -> None:
    """307 and 308 keep method and body, and a GET has none."""
    assert errors(one_question(method, "/api/items", moved(status, "/api/items/"))) == []


def test_a_redirect_of_everything_to_https_is_named() -> None:
    """The browser asks there with `Origin: null`, though each answer here has its headers."""

    def to_https(question: Question) -> tuple[Answer, ...]:
        location = question.request.url.replace("http:", "https:")
        of_nginx = question.endpoint.title.endswith("of nginx")
        if of_nginx:
            return right(IP)(question)
        *before, last = right(IP)(question)
        assert isinstance(last, Response)
        return (*before, replace(last, status=301, headers=(*last.headers, ("Location", location))))

    (found,) = errors(observed(answers=to_https, hosts=[host()], reach=reached()))
    assert found.code == "redirected-away" and "`Origin: null`" in found.text
    assert "take the redirect to https out" in found.cure


def test_one_path_that_leads_away_may_be_meant() -> None:
    """`/` that sends people to the documentation is none of a page's business."""

    def away(question: Question) -> tuple[Answer, ...]:
        *before, last = right(IP)(question)
        if question.endpoint.title != "GET /":
            return (*before, last)
        assert isinstance(last, Response)
        location = ("Location", "https://docs.example.com/")
        return (*before, replace(last, status=302, headers=(*last.headers, location)))

    assert errors(observed(answers=away, hosts=[host()], reach=reached())) == []


def test_a_view_that_is_slow_is_not_a_silent_server() -> None:
    """nginx has answered something else at the same time: the application takes long."""
    late = Unanswered("timed out", connected=True)
    on_host = _answer({"problem": "no complete answer within 15 s"}, connected=True)
    whole = on_the_host(one_question("GET", "/late/", late), lambda _: (on_host,))
    (found,) = errors(whole)
    assert found.code == "answer-slow" and "/late/" in found.text and "faster" in found.cure


def test_a_slow_view_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the host the questions go one by one: fifteen origins would wait fifteen times."""
    asked = []

    def answer(via: str, method: str, target: str, headers: Any, seconds: float) -> Any:
        asked.append((via, method, target))
        return (
            {"problem": "no complete answer within 15 s"} if target == "/late/" else {"status": 200}
        )

    monkeypatch.setattr(looks, "answer", answer)
    lines: list[list[Any]] = [["nginx", "GET", "/late/", []], ["nginx", "GET", "/", []]]
    monkeypatch.setitem(ORDERS, "questions", [*lines, *lines])
    assert ["problem" in one for one in looks._answers("")] == [True, False, True, False]
    assert asked.count(("nginx", "GET", "/late/")) == 1
    asked.clear()
    assert all("problem" in one for one in looks._answers("refused")) and not asked


# ------------------------------------------------------------------------------- files and services


def test_a_changed_release_explains_what_it_breaks() -> None:
    """A unit that can't start, 5xx and silence follow from the file that somebody edited."""
    units = {"nginx.service": "active", "shop.service": "failed"}
    changed = host(release_changed=["app/views.py"], units=units)
    whole = observed(answers=always(502), hosts=[changed], reach=reached())
    (found,) = errors(also_on_the_host(whole))
    assert found.code == "release-changed" and found.cure == "run `fab ship`"
    assert {"unit-failed", "server-error"} <= {one.code for one in found.follows}


def test_a_service_that_was_stopped_is_a_cause_of_its_own() -> None:
    """No changed file stops a service by hand."""
    units = {"nginx.service": "active", "shop.service": "inactive"}
    found = errors(observed(hosts=[host(release_changed=["app/views.py"], units=units)]))
    assert {one.code for one in found} == {"unit-not-active", "release-changed"}


def test_a_stopped_service_runs_no_older_configuration() -> None:
    """It runs nothing, so there is nothing to compare."""
    units = {"nginx.service": "inactive", "nginx.socket": "inactive"}
    restarts = {"nginx": "not running this kit's configuration"}
    found = errors(observed(hosts=[host(units=units, restarts=restarts)]))
    assert {one.code for one in found} == {"unit-not-active"}


def test_a_deploy_that_is_due_is_one_cause() -> None:
    """Of another generation all files differ, on every host: nobody has edited them."""
    diff = {"nginx/origin-kit.conf": "-old\n+new", "gunicorn/gunicorn.conf.py": "-a\n+b"}
    differs = ["current", *diff]
    hosts = [host(differs=differs, diff=diff), host("frontend-1", differs=differs, diff=diff)]
    (found,) = errors(observed(hosts=hosts))
    assert found.code == "older-configuration" and "2 files differ" in found.text
    assert [one.code for one in found.follows] == ["older-configuration"]


def test_a_full_disk_is_a_cause() -> None:
    """What it makes the application answer follows from it."""
    full = host(full="/var/lib/shop: 0 KiB free")
    whole = observed(answers=always(500), hosts=[full], reach=reached())
    found = errors(also_on_the_host(whole))
    assert [one.code for one in found] == ["disk-full"] and "make room" in found[0].cure


def test_the_projects_own_header_is_not_mended_by_a_deploy() -> None:
    """Files and processes are as the contract says, so the project's code allows the origin."""
    allowed = Direct("backend-1", "http://evil.example", False, "page", ("*",))
    (found,) = errors(observed(hosts=[host()], direct=(allowed,)))
    assert found.code == "django-allows-unlisted" and "`fab ship`" in found.cure
    assert "the project's own code" in found.cure


def test_a_worker_that_gunicorn_ends_was_too_slow() -> None:
    """Its log says so, and the cure is the time, not the exception that ends a worker."""
    log = "[CRITICAL] WORKER TIMEOUT (pid:7)\nSystemExit: 1"
    whole = observed(answers=always(502), hosts=[host(last_words=log)], reach=reached())
    found = errors(also_on_the_host(whole))
    assert "SystemExit" not in found[0].text and "raise timeout_s" in found[0].cure


def test_a_504_is_a_matter_of_time() -> None:
    """With threads it is nginx who gives up, after timeout_s, and no log has a line of it."""
    whole = observed(answers=always(504), hosts=[host()], reach=reached())
    found = errors(also_on_the_host(whole))
    assert "longer than timeout_s" in found[0].text and "raise timeout_s" in found[0].cure


def test_config_json_holds_no_list_of_origins() -> None:
    """An edit of it is an edit of a file."""
    diff = {"frontend/config.json": '-{"backend": "http://old.test"}\n+{"backend": "http://api"}'}
    (found,) = errors(observed(hosts=[host("frontend-1", diff=diff, differs=list(diff)), host()]))
    assert found.code == "file-differs"


def test_every_anchor_is_a_heading_of_the_guide() -> None:
    """Whatever finding it is, its link leads somewhere."""
    checks = ROOT / "ansible-free-deploy" / "rollout" / "doctor" / "checks"
    texts = [file.read_text() for file in checks.glob("*.py")]
    named = {anchor for text in texts for anchor in re.findall(r'anchor="([a-z0-9-]+)"', text)}
    assert len(named) > 8 and named <= anchors(ROOT / GUIDE)
