"""What the doctor asks, concludes and reports. Nothing is sent; tests/e2e/test_doctor.py is the
live part."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from infra.core.contract import Contract
from infra.core.keys import LARGEST_BODY_MB
from on_host.answers import HostState
from rollout import doctor
from rollout.deploy import UsageError
from rollout.doctor import Diagnosis, Observations, as_json, as_text, browser, diagnose
from rollout.doctor.ask import Answer, Page, Unanswered
from rollout.doctor.checks.near_miss import near_miss
from rollout.doctor.codes import Code
from rollout.doctor.findings import findings
from rollout.doctor.observations import Cell, Direct, HostReport
from rollout.doctor.on_hosts import direct_lines
from rollout.doctor.page import html, write
from rollout.doctor.questions import UNLISTED, Question, endpoints, questions
from rollout.doctor.rows import rows
from rollout.doctor.verdicts import verdict
from rollout.finding import Finding
from rollout.verdict import Response
from tests.support.kit import ROOT
from tests.test_readme import anchors
from tests.test_render import load

IP, NAMES, OPEN, PATTERNS = (
    load(case) for case in ("local-ip", "names-credentials", "allow-all", "patterns-ipv6")
)
FRONT = IP.frontend.origin
HEALTHY: dict[str, Any] = {
    "release": "r1",
    "unfinished": None,
    "units": {"nginx.service": "active"},
    "diff": {},
    "differs": [],
    "restarts": {},
}


def right(contract: Contract) -> Callable[[Question], tuple[Answer, ...]]:
    """Answers as the kit's nginx gives them."""

    def answers(question: Question) -> tuple[Answer, ...]:
        cors = contract.cors
        said = [("Vary", "Origin"), ("Server", "nginx")]
        if question.row.allowed:
            said += [
                ("Access-Control-Allow-Origin", question.row.origin),
                ("Access-Control-Allow-Methods", ", ".join(cors.allow_methods)),
                ("Access-Control-Allow-Headers", ", ".join(cors.allow_headers)),
            ]
            said += [("Access-Control-Allow-Credentials", "true")] if cors.allow_credentials else []
        return tuple(Response(200, tuple(said)) for _ in question.lines("backend"))

    return answers


def observed(
    contract: Contract = IP,
    answers: Callable[[Question], tuple[Answer, ...]] | None = None,
    hosts: Sequence[HostReport] = (),
    **changes: Any,
) -> Observations:
    """All as intended, but for `changes`."""
    asked = questions(
        contract, rows(contract), endpoints(contract), None, contract.cors.allow_credentials
    )
    found = [(question, (answers or right(contract))(question)) for question in asked]
    addresses: dict[str, tuple[str, ...]] = {
        role: (getattr(contract, role).address,) for role in ("frontend", "backend")
    }
    whole = Observations(
        contract=contract,
        cells=tuple(
            Cell(question, "public", own, verdict(question, own)) for question, own in found
        ),
        direct=(),
        hosts=tuple(hosts) or (state(),),
        page=Page(200, None, contract.backend.origin),
        addresses=addresses,
    )
    return replace(whole, **changes)


def state(**changes: Any) -> HostReport:
    return reporting("backend-1", "10.0.0.2", **changes)


def reporting(name: str, address: str, **changes: Any) -> HostReport:
    """A host that is healthy but for `changes`."""
    return HostReport(name, address, cast("HostState", {**HEALTHY, **changes}))


def said(whole: Observations) -> str:
    return sentences(findings(whole))


def sentences(found: Sequence[Finding]) -> str:
    """Every root cause with its cure and what follows from it, on one line each, however a report
    breaks them; commands in backticks."""
    lines = []
    for number, finding in enumerate(found, 1):
        lines += [f"{number}. {finding.text}", f"   → {finding.cure}"]
        if finding.follows:
            lines.append("   what follows from it:")
        lines += [f"   - {one.text}" for one in finding.follows]
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------- questions


@pytest.mark.parametrize("contract", [IP, NAMES, OPEN, PATTERNS])
def test_rows_are_the_list_its_patterns_and_unlisted_origins(contract: Contract) -> None:
    """Every listed origin, a sample of each pattern, look-alikes, an unlisted origin and `null`."""
    found = rows(contract)
    texts = [row.origin for row in found]
    assert len(set(texts)) == len(texts)
    assert {row.origin for row in found if row.allowed} >= set(contract.cors.allowed_origins)
    assert sum(row.why.startswith("of the pattern") for row in found) == len(
        [pattern for pattern in contract.cors.allowed_shapes if pattern != "*"]
    )
    assert "null" in texts and UNLISTED in texts
    others = ("a look-alike", "an unlisted origin", "a sandboxed page")
    assert {row.allowed for row in found if row.why in others} == {contract is OPEN}


def test_what_could_change_data_is_only_asked_for() -> None:
    """A PUT's preflight is sent, the PUT never; the upload that is too big announces a body and
    sends none.

    It is too big for every host: one that still allows more than the contract would wait for it.
    """
    asked = questions(IP, rows(IP), endpoints(IP), None, True)
    methods = {
        line[0]
        for question in asked
        for line in question.lines("backend")
        if question.endpoint.body is None
    }
    assert methods == {"GET", "OPTIONS"}
    upload, *_ = [question for question in asked if question.endpoint.body is not None]
    announced = dict(list(upload.lines("backend"))[-1][2])["Content-Length"]
    assert int(announced) > LARGEST_BODY_MB * 1024 * 1024


def test_of_another_generation_only_differences_are_reported() -> None:
    """After an edit of the config every file is in another folder than it should be; only the
    changed one is named."""
    differs = ["current", "nginx/a.conf", "secrets.env", "systemd/nginx.socket"]
    shown = said(observed(hosts=[state(differs=differs, diff={"nginx/a.conf": "-a;\n+b;"})]))
    assert "1 file differs; nginx/a.conf: it has `a;`" in shown
    assert "another owner, mode or target" not in shown


def test_only_what_the_contract_lets_pages_do_is_expected_of_it() -> None:
    """The change is made by a method of the list, with JSON only if its header is in the list."""
    titles = {
        methods: [
            endpoint.title
            for endpoint in endpoints(replace(IP, cors=replace(IP.cors, allow_methods=methods)))
        ][1]
        for methods in (("GET", "PUT"), ("GET", "DELETE"), ("GET",))
    }
    assert list(titles.values()) == ["PUT / json", "DELETE / json", "404 of Django"]
    assert endpoints(replace(IP, cors=replace(IP.cors, allow_headers=())))[1].headers == ()


# -------------------------------------------------------------------------------------- conclusions


@pytest.mark.parametrize(
    "contract", [NAMES, replace(IP, cors=replace(IP.cors, allow_credentials=False))]
)
def test_all_as_intended_is_status_0_and_no_finding(contract: Contract) -> None:
    """Nothing is made up."""
    result = diagnose(observed(contract))
    assert [finding for finding in result.findings if not finding.warning] == []
    assert result.status == 0


def without(
    *names: str,
    status: int | None = None,
    only: Callable[[Question], bool] = lambda _: True,
    contract: Contract = IP,
) -> Callable[[Question], tuple[Answer, ...]]:
    """The right answers less some headers."""

    def answers(question: Question) -> tuple[Answer, ...]:
        own = [answer for answer in right(contract)(question) if isinstance(answer, Response)]
        if not only(question):
            return tuple(own)
        return tuple(
            Response(
                status or answer.status,
                tuple(pair for pair in answer.headers if pair[0] not in names),
            )
            for answer in own
        )

    return answers


def added(name: str, value: str) -> Callable[[Question], tuple[Answer, ...]]:
    def answers(question: Question) -> tuple[Answer, ...]:
        own = [answer for answer in right(IP)(question) if isinstance(answer, Response)]
        return tuple(Response(answer.status, (*answer.headers, (name, value))) for answer in own)

    return answers


def silence(question: Question) -> tuple[Answer, ...]:
    return tuple(Unanswered("refused") for _ in question.lines("b"))


def wide_open(question: Question) -> tuple[Answer, ...]:
    """Every origin may read everything, cookies included, and no method is allowed."""
    headers = ((ORIGIN, question.row.origin), ("Access-Control-Allow-Credentials", "true"))
    return tuple(Response(200, headers) for _ in question.lines("b"))


ORIGIN = "Access-Control-Allow-Origin"
OLD = f'--- a\n+++ b\n-    "http://203.0.113.9" "$http_origin";\n+    "{FRONT}" "$http_origin";\n'
CASES: list[tuple[str, Observations, str]] = [
    (
        "drift",
        observed(hosts=[state(diff={"nginx/cors.conf": OLD}, restarts={"nginx": "files changed"})]),
        f"nginx on backend-1 still answers for http://203.0.113.9; the contract says {FRONT}",
    ),
    (
        "drift of Django",
        observed(hosts=[state(diff={"django/x.py": OLD.replace('"', "'")})]),
        f"Django on backend-1 still answers for http://203.0.113.9; the contract says {FRONT}",
    ),
    (
        "other files",
        observed(hosts=[state(diff={"nginx/a.conf": "--- a\n+++ b\n-gzip on;\n+gzip off;\n"})]),
        (
            "nginx/a.conf on backend-1 is not what the contract says: it has `gzip on;`, it lacks"
            " `gzip off;`"
        ),
    ),
    (
        "a link",
        observed(hosts=[state(differs=["links/nginx"])]),
        "links/nginx on backend-1 has another owner, mode or target",
    ),
    (
        "old process",
        observed(hosts=[state(restarts={"gunicorn": "it loaded g1"})]),
        "gunicorn on backend-1 runs an older configuration than its files hold",
    ),
    ("no release", observed(hosts=[state(release=None)]), "run `fab ship`"),
    (
        "interrupted",
        observed(hosts=[state(unfinished="g2")]),
        "a deploy was interrupted on backend-1",
    ),
    (
        "edited release",
        observed(hosts=[state(release_changed=["app/shop/views.py", "static/a.css", "x"])]),
        "the release on backend-1 was changed on the host: app/shop/views.py and 2 more",
    ),
    (
        "unit",
        observed(hosts=[state(units={"shop.service": "failed"})]),
        "shop.service on backend-1 is failed",
    ),
    (
        "host",
        observed(hosts=[HostReport("backend-1", "10.0.0.2", None, "no answer on port 22")]),
        "backend-1 can't be asked: no answer on port 22",
    ),
    (
        "a move",
        observed(replace(IP, frontend=replace(IP.frontend, former=("http://10.9.9.9",)))),
        f"a move to {FRONT} is under way: http://10.9.9.9 answered as well",
    ),
    ("not listed", observed(answers=without(ORIGIN)), "it is not in the list that runs there"),
    (
        "errors only",
        observed(answers=without(ORIGIN, status=404, only=lambda q: q.endpoint.title[0] == "4")),
        "`add_header` without `always`",
    ),
    ("twice", observed(answers=added(ORIGIN, FRONT)), "let only one of them add it"),
    (
        "no cookies",
        observed(NAMES, answers=without("Access-Control-Allow-Credentials", contract=NAMES)),
        "set allow_credentials: true",
    ),
    (
        "unlisted origin is allowed",
        observed(answers=wide_open),
        f"allows {UNLISTED}",
    ),
    ("414", observed(answers=without(ORIGIN, status=414)), "414, the URL is too long"),
    (
        "another block",
        observed(answers=without(ORIGIN, "Vary", status=400)),
        "400 of another server block",
    ),
    ("silence", observed(answers=silence), "the public address does not answer (refused)"),
    ("open", observed(OPEN), "every website may read the answers: allow_all_origins is on"),
    (
        "moved",
        observed(addresses={"frontend": ("10.213.7.10",), "backend": ("198.51.100.7",)}),
        "the address changed since the last `pulumi up`",
    ),
    (
        "nowhere",
        observed(NAMES, addresses={"frontend": (), "backend": ()}),
        "resolves to nothing from here",
    ),
    (
        "no page",
        observed(page=Page(None, problem="refused")),
        f"the page {FRONT} does not answer: refused",
    ),
    ("error page", observed(page=Page(500)), f"the page {FRONT} answers 500"),
    ("no config.json", observed(page=Page(200)), "config.json does not say where the backend is"),
    (
        "old config.json",
        observed(page=Page(200, None, "http://203.0.113.9")),
        "sends it to http://203.0.113.9",
    ),
    ("csp", observed(page=Page(200, "connect-src 'self'", IP.backend.origin)), ""),
    (
        "middleware",
        observed(direct=[Direct("backend-1", FRONT, True, "bad host", ())]),
        "CorsMiddleware is missing",
    ),
    (
        "Django refuses",
        observed(direct=[Direct("backend-1", FRONT, True, "page", ())]),
        f"does not allow {FRONT}",
    ),
    (
        "Django allows",
        observed(direct=[Direct("backend-1", UNLISTED, False, "page", (UNLISTED,))]),
        "is CORS_ALLOWED_ORIGIN_REGEXES text instead of a list",
    ),
    (
        "two IPs",
        observed(replace(IP, cors=replace(IP.cors, allow_credentials=True))),
        "cookies can't travel between two IPs",
    ),
    (
        "an address in production",
        observed(replace(IP, production=True)),
        "its next owner is allowed",
    ),
]


@pytest.mark.parametrize(
    ("whole", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_each_cause_is_named_with_a_cure(whole: Observations, wanted: str) -> None:
    """A line that says what is wrong and where, a line that says what to do."""
    shown = said(whole)
    assert wanted in shown
    lines = shown.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\d", line):
            assert lines[number + 1].startswith("   → ")


def test_a_proxy_in_front_is_distinguished_from_nginx() -> None:
    """Two lines on the host are a line of Django's that nginx does not hide; only in front, a
    proxy's."""
    twice = observed(answers=added(ORIGIN, FRONT))
    hosts = tuple(replace(cell, view="backend-1") for cell in twice.cells)
    assert "Django's line is not hidden" in said(replace(twice, cells=(*twice.cells, *hosts)))


def test_where_files_are_right_a_plain_deploy_is_no_cure() -> None:
    """It would find nothing to do: what runs has to be restarted. Where a file differs it is
    enough."""
    ill = observed(answers=without(ORIGIN))
    assert "run `fab deploy --restart`" in said(ill)
    shown = said(
        replace(ill, hosts=(state(differs=["nginx/a.conf"], diff={"nginx/a.conf": "-a;\n+b;"}),))
    )
    assert "--restart" not in shown and "run `fab deploy`" in shown


def test_the_page_s_policy_counts_for_the_page_alone() -> None:
    """connect-src without the backend spoils the frontend's own cells."""
    asked = questions(NAMES, rows(NAMES), endpoints(NAMES), "connect-src 'self'", True)
    cells = tuple(
        Cell(question, "public", own, verdict(question, own))
        for question in asked
        for own in [right(NAMES)(question)]
    )
    shown = said(observed(NAMES, cells=cells))
    assert "connect-src from the contract" in shown and NAMES.frontend.origin in shown


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("app.example.com", "https://app.example.com"),
        ("https://app.example.com/path", "path"),
        ("http://app.example.com", "one is http, the other https"),
        ("https://app.example.com:8443", "the port counts"),
        ("https://www.app.example.com", "www. counts"),
        ("https://other.example", "not in the contract"),
    ],
)
def test_a_near_miss_is_explained_by_what_differs(text: str, wanted: str) -> None:
    """What a Django developer writes and does not see."""
    front = replace(NAMES.frontend, origin="https://app.example.com")
    contract = replace(
        NAMES,
        frontend=front,
        cors=replace(NAMES.cors, allowed_origins=("https://app.example.com",)),
    )
    found = near_miss(text, contract)
    assert found is not None and wanted in found.text


def test_localhost_and_127_0_0_1_are_two_origins() -> None:
    """The most frequent of them all."""
    contract = replace(IP, cors=replace(IP.cors, allowed_origins=(FRONT, "http://localhost:8080")))
    found = near_miss("http://127.0.0.1:8080", contract)
    assert (
        found is not None and "`127.0.0.1` and `localhost` are two names to a browser" in found.text
    )
    assert near_miss("http://localhost:8080/", contract) is None


def test_silence_everywhere_is_status_4() -> None:
    """Nothing could be asked is not the same as nothing is right."""
    hosts = [HostReport("backend-1", "10.0.0.2", None, "no answer")]
    silent = observed(answers=silence, hosts=hosts, page=Page(None, problem="refused"))
    assert diagnose(silent).status == 4
    assert diagnose(replace(silent, hosts=(state(),))).status == 1
    assert diagnose(replace(silent, page=Page(200, None, IP.backend.origin))).status == 1


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("x", "/", "GET", [], False), "--origin"),
        ((None, "things", "GET", [], False), "--path things"),
        ((None, "/", "GET", ["a b: c"], False), "--header 'a b'"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(words: Any, wanted: str) -> None:
    """One line, naming the option."""
    with pytest.raises(UsageError, match=re.escape(wanted)):
        doctor.single_cell(IP, *words)


def test_one_question_is_one_cell() -> None:
    """--origin, --path, --method, --header, --credentials."""
    matrix = doctor.single_cell(IP, "http://10.9.9.9/", "/api", "PUT", ["X-Foo", "X-Bar: 2"], True)
    (row,), (endpoint,) = matrix.rows, matrix.endpoints
    assert (row.origin, row.allowed) == ("http://10.9.9.9", False)
    assert (endpoint.method, endpoint.headers, matrix.credentials) == (
        "PUT",
        (("X-Foo", "1"), ("X-Bar", "2")),
        True,
    )


# ------------------------------------------------------------------------------- no answer, and 5xx


def failing(status: int, *names: str) -> Callable[[Question], tuple[Answer, ...]]:
    """The right answers, but GET / has this status, and less the `names`; nginx answers preflights
    itself."""
    spoilt = without(*names, status=status)

    def answers(question: Question) -> tuple[Answer, ...]:
        own = right(IP)(question)
        return (*own[:-1], spoilt(question)[-1]) if question.endpoint.title == "GET /" else own

    return answers


def also_on_the_host(whole: Observations) -> Observations:
    """The same answers as nginx on backend-1 gives."""
    return replace(
        whole, cells=(*whole.cells, *(replace(cell, view="backend-1") for cell in whole.cells))
    )


NO_HOST = HostReport("backend-1", IP.backend.hosts[0].address, None, "no answer on port 22")
NOTHING = observed(
    answers=silence,
    page=Page(None, problem="refused"),
    addresses={"frontend": (), "backend": ()},
    hosts=[
        NO_HOST,
        HostReport("frontend-1", IP.frontend.hosts[0].address, None, "no answer on port 22"),
    ],
)


def test_nothing_answers_is_one_finding_and_accuses_nobody() -> None:
    """What could not be asked is listed under it; no origin is said to be allowed or refused,
    Chromium is not asked."""
    (only,) = findings(NOTHING)
    assert only.text.startswith("nothing answers")
    under = "\n".join(one.text for one in only.follows)
    for part in (
        "backend-1 can't be asked",
        "frontend-1 can't be asked",
        "the page",
        "the public address does not",
    ):
        assert part in under
    everything = as_text(diagnose(NOTHING, browse=True))
    matrix = everything.partition("allowed by the contract:")[2]
    assert "allows" not in matrix and "allowed" not in matrix and "!" not in matrix
    assert everything.endswith("nothing could be asked")
    shown = json.loads(as_json(diagnose(NOTHING)))
    assert {cell["as_intended"] for cell in shown["cells"]} == {None}
    assert [one["text"] for one in shown["findings"][0]["follows"]] == [
        one.text for one in only.follows
    ]


def test_a_name_that_leads_to_the_proxy_in_front_is_right() -> None:
    """`behind` names its networks: no finding, and a host's silence explains the public one."""
    elsewhere = {"frontend": ("10.213.7.10",), "backend": ("198.51.100.7",)}
    proxied = replace(IP, behind=("198.51.100.0/24",))
    assert "resolves to" not in said(observed(proxied, addresses=elsewhere))
    text = said(observed(addresses=elsewhere))
    assert "resolves to 198.51.100.7" in text and "list its networks as `behind`" in text
    down = observed(proxied, answers=silence, addresses=elsewhere, hosts=[NO_HOST])
    host, *others = findings(down)
    assert host.text.startswith("backend-1 can't be asked") and host.follows
    assert not [one for one in others if "does not answer" in one.text]


def test_a_wrong_address_does_not_follow_from_silence() -> None:
    """The name service answered: that is a finding of its own, after the silence."""
    elsewhere = replace(NOTHING, addresses={"frontend": (), "backend": ("198.51.100.7",)})
    silence_first, name, *_ = findings(elsewhere)
    assert (
        silence_first.text.startswith("nothing answers") and "resolves to 198.51.100.7" in name.text
    )


def test_no_answer_is_no_disagreement_with_the_browser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where there is no verdict there is nothing to disagree with."""
    whole = observed(NAMES)
    mute = replace(whole.cells[0], answers=(Unanswered("reset"),), verdict=None)
    monkeypatch.setattr(
        browser, "browse", lambda _: {mute.key: browser.Outcome(False, "net::ERR_FAILED")}
    )
    shown = sentences(
        diagnose(replace(whole, cells=(mute, *whole.cells[1:])), browse=True).findings
    )
    assert "disagree" not in shown and "the public address does not answer (reset)" in shown


@pytest.mark.parametrize(
    ("whole", "root", "under"),
    [
        (
            observed(answers=silence, hosts=[NO_HOST]),
            "backend-1 can't be asked",
            "the public address does not answer",
        ),
        (
            observed(
                page=Page(None, problem="refused"),
                hosts=[
                    state(),
                    HostReport("frontend-1", IP.frontend.hosts[0].address, None, "no answer"),
                ],
            ),
            "frontend-1 can't be asked",
            "does not answer: refused",
        ),
        (
            observed(
                answers=failing(502),
                hosts=[
                    reporting(
                        "backend-1",
                        IP.backend.hosts[0].address,
                        units={"shop.service": "failed"},
                    )
                ],
            ),
            "shop.service on backend-1 is failed",
            "answers 502",
        ),
        (
            also_on_the_host(
                observed(
                    answers=without(ORIGIN),
                    hosts=[
                        reporting(
                            "backend-1",
                            IP.backend.hosts[0].address,
                            diff={"nginx/a.conf": "-a;\n+b;"},
                        )
                    ],
                )
            ),
            "nginx/a.conf on backend-1 is not what",
            "it is not in the list that runs there",
        ),
        (
            observed(
                answers=without(ORIGIN),
                addresses={"frontend": ("10.213.7.10",), "backend": ("198.51.100.7",)},
            ),
            "resolves to 198.51.100.7",
            "it is not in the list that runs there",
        ),
        (
            observed(answers=failing(500, ORIGIN)),
            "GET http://10.213.7.74/ answers 500",
            "GET /, for ",
        ),
    ],
)
def test_what_follows_from_a_cause_is_listed_under_it(
    whole: Observations, root: str, under: str
) -> None:
    """One root cause is one finding, and it is the first."""
    first, *others = findings(whole)
    assert root in first.text
    assert any(under in one.text for one in first.follows)
    assert not any(under in one.text for one in others)
    assert "what follows from it" in said(whole) and "what follows from it" in html(
        Diagnosis(whole, (first,), {})
    )


@pytest.mark.parametrize(
    ("release", "text", "cure"),
    [
        (None, "nothing was shipped or deployed to {} yet", "run `fab up`"),
        ("r1", "no configuration was deployed to {} yet", "run `fab deploy`"),
    ],
)
def test_a_host_that_nothing_was_deployed_to_is_one_finding(
    release: str | None, text: str, cure: str
) -> None:
    """That nothing runs or answers there, and that no file is as it should be, follows from it."""
    files = {"nginx/a.conf": "+b;", "environment": '+X="1"', "systemd/shop.service": "+[Unit]"}
    units = {"nginx.service": "inactive", "shop.service": "inactive"}
    new = {
        "release": release,
        "generation": None,
        "diff": files,
        "differs": ["current", *files],
        "units": units,
    }
    hosts = [
        reporting("backend-1", IP.backend.hosts[0].address, **new),
        reporting("frontend-1", IP.frontend.hosts[0].address, **new),
    ]
    found = findings(observed(answers=silence, hosts=hosts, page=Page(None, problem="refused")))
    new_hosts = ("backend-1", "frontend-1")
    assert [(one.text, one.cure) for one in found] == [
        (text.format(name), cure) for name in new_hosts
    ]


@pytest.mark.parametrize(
    ("landing", "found"), [(("/en/shop/", 500), 1), (("/en/shop/", 200), 0), (None, 0)]
)
def test_where_redirects_lead_is_asked_too(landing: tuple[str, int] | None, found: int) -> None:
    """`/` answers 302 all is well, and the page that it leads to fails."""
    texts = [one.text for one in findings(observed(landing=landing))]
    assert len(texts) == found
    assert all(
        "GET http://10.213.7.74/ leads to /en/shop/, which answers 500" in text for text in texts
    )


def test_one_host_s_trouble_explains_nothing_of_another_s() -> None:
    """A frontend that can't be asked is not why the API is silent."""
    whole = observed(
        answers=silence,
        hosts=[state(), HostReport("frontend-1", IP.frontend.hosts[0].address, None, "no")],
    )
    assert [one.follows for one in findings(whole)] == [(), ()]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_5xx_is_never_as_intended(status: int) -> None:
    """One finding with the URL and the status, though every origin may read it; the cells show the
    status."""
    whole = also_on_the_host(observed(answers=failing(status)))
    result = diagnose(whole)
    (only,) = result.findings
    assert only.text.startswith(f"GET http://10.213.7.74/ answers {status}: ")
    next_step = "`fab deploy`" if status == 504 else "`fab logs`"
    assert only.text.endswith("CORS is not the reason") and next_step in only.cure
    assert result.status == 1
    text = as_text(result)
    assert f"{status} fails !" in text and "200 ok" in text
    assert "all as intended" not in text
    shown = json.loads(as_json(result))
    assert {cell["as_intended"] for cell in shown["cells"] if cell["status"] == status} == {False}
    assert f"{status} fails&nbsp;!" in html(result)


def test_5xx_names_who_answers_so_and_how_its_log_ends() -> None:
    """Only one of two views: it is named. The last exception of the log is quoted, and a long line
    is cut."""
    words = (
        "Internal Server Error: /\nOSError: [Errno 30] Read-only file system: 'visits.txt'\nlast"
        " line"
    )
    whole = observed(hosts=[state(last_words=words)])
    ill = [replace(cell, view="backend-1") for cell in observed(answers=failing(500)).cells]
    (only,) = findings(replace(whole, cells=(*whole.cells, *ill)))
    assert "answers 500 (nginx on backend-1)" in only.text
    assert only.text.endswith(
        "its log ends with: OSError: [Errno 30] Read-only file system: 'visits.txt'"
    )


@pytest.mark.parametrize(
    ("cookie", "status", "words"),
    [
        (
            "__Secure-sessionid=x; Path=/; Secure",
            1,
            "a cookie of that name needs https, so a log-in answers 403",
        ),
        ("__host-csrf=x; Path=/; Secure", 1, "name it 'csrf' on plain http"),
        ("lang=de; Path=/; Secure", 0, "it is marked Secure: over plain http browsers drop it"),
        ("lang=de; Path=/", 0, ""),
        ("secure=1; Path=/insecure", 0, ""),
    ],
)
def test_a_cookie_that_plain_http_loses_is_a_finding(cookie: str, status: int, words: str) -> None:
    """Once, however many answers set it; one whose log-in fails for it is wrong, any other worth
    knowing."""

    def answers(question: Question) -> tuple[Answer, ...]:
        found = []
        for one in right(IP)(question):
            assert isinstance(one, Response)
            found.append(replace(one, headers=(*one.headers, ("Set-Cookie", cookie))))
        return tuple(found)

    result = diagnose(also_on_the_host(observed(answers=answers)))
    assert result.status == status
    assert [cookie.split("=")[0] in one.text for one in result.findings] == [True] * bool(words)
    assert words in sentences(result.findings)


def test_nothing_is_all_as_intended_over_what_is_noted() -> None:
    """A WebSocket that is a 404, or workers that don't run: the last line is no other truth than
    the notes."""
    healthy = diagnose(observed())
    assert as_text(healthy).splitlines()[-1] == "all as intended"
    noted = as_text(healthy, notes=["note: ASGI: WebSockets answer 404"]).splitlines()
    assert noted[-3] == "note: ASGI: WebSockets answer 404"
    assert noted[-1] == "all as intended, but for what is noted above"
    wrong = as_text(diagnose(observed(answers=failing(500))), notes=["note: x"]).splitlines()
    assert wrong[-1] == "not as intended"


FILE = "/var/lib/shop/errors.log"


@pytest.mark.parametrize(
    ("log", "words", "cure"),
    [
        (
            {"files": {FILE: "Internal Server Error: /\nValueError: no such plant"}},
            f"{FILE} on backend-1 ends with: ValueError: no such plant",
            f"see {FILE} on backend-1",
        ),
        (
            {"files": {FILE: ""}},
            f"the journal has nothing about it, the project's LOGGING writes to {FILE}",
            f"see {FILE} on backend-1",
        ),
        (
            {"others": ["graypy.GELFUDPHandler"]},
            (
                "the journal has nothing about it, the project's LOGGING sends it to"
                " graypy.GELFUDPHandler"
            ),
            "look there",
        ),
        (
            {},
            "the project's LOGGING sends such errors nowhere",
            "give the logger django.request a handler, e.g. logging.StreamHandler",
        ),
        ({"journal": True}, "CORS is not the reason", "see `fab logs`"),
        (None, "CORS is not the reason", "see `fab logs`"),
    ],
)
def test_a_5xx_with_a_silent_journal_names_the_log(
    log: dict[str, Any] | None, words: str, cure: str
) -> None:
    """A project may log to a file, or elsewhere; the finding names it, and its last exception where
    it can be read."""
    log = None if log is None else {"files": {}, "journal": False, "others": [], **log}
    whole = also_on_the_host(
        observed(answers=failing(500), hosts=[state(last_words="", request_log=log)])
    )
    (only,) = findings(whole)
    assert only.text.endswith(words) and cure in only.cure


def test_the_journal_s_word_counts_before_any_file() -> None:
    log = {"files": {FILE: "KeyError: 'old'"}, "journal": True, "others": []}
    host = state(last_words="OSError: new", request_log=log)
    (only,) = findings(also_on_the_host(observed(answers=failing(500), hosts=[host])))
    assert only.text.endswith("its log ends with: OSError: new") and FILE not in only.text


def test_an_error_page_that_fails_is_reported_as_such() -> None:
    """gunicorn wrote the answer itself: neither its 500 nor its missing headers say anything about
    CorsMiddleware."""
    host = replace(state(), bare=frozenset({("GET", "/")}))
    page, refusal = (
        Direct("backend-1", FRONT, True, kind, (), status=500, bare=True)
        for kind in ("page", "bad host")
    )
    shown = said(
        also_on_the_host(observed(answers=failing(500), hosts=[host], direct=[page, refusal]))
    )
    assert "and so does its own error page (the answer is gunicorn's)" in shown
    assert "whether CorsMiddleware is in place could not be asked" in shown
    assert "is missing" not in shown and "does not allow" not in shown


def test_the_wrong_host_is_asked_in_a_preflight_once() -> None:
    """CorsMiddleware answers it itself, if it stands first: Django notices no wrong Host and logs
    nothing."""
    asked = direct_lines("api.shop.test", rows(NAMES))
    wrong = [line for _, kind, line in asked if kind == "bad host"]
    assert len(wrong) == 1
    assert all(line[1] == "OPTIONS" for _, _, line in asked)
    headers = [line[3] for _, _, line in asked]
    assert all("Access-Control-Request-Method" in str(one) for one in headers)


def test_what_gunicorn_does_not_answer_is_reported() -> None:
    """It was silence before: no answer is a finding, and no verdict on the middleware."""
    shown = said(
        observed(direct=[Direct("backend-1", FRONT, True, "page", None, problem="timed out")])
    )
    assert (
        "gunicorn on backend-1 does not answer (timed out)" in shown
        and "does not allow" not in shown
    )


def test_a_config_json_that_could_not_be_read_accuses_nobody() -> None:
    shown = said(observed(page=Page(200, config_problem="it answers 500")))
    assert "config.json could not be read (it answers 500)" in shown and "does not say" not in shown


# ------------------------------------------------------------------------------------------ output


@pytest.mark.parametrize("whole", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_every_finding_has_a_code(whole: Observations) -> None:
    """A stable name of the list; what only follows from a finding has one as well."""
    for finding in findings(whole):
        for each in (finding, *finding.follows):
            assert Code(each.code)


@pytest.mark.parametrize("whole", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_findings_link_into_the_guide(whole: Observations) -> None:
    """Every link leads to a heading of its page."""
    for finding in findings(whole):
        page, _, anchor = finding.link.partition("#")
        assert not anchor or anchor in anchors(ROOT / page)


@pytest.fixture
def result() -> Diagnosis:
    """A diagnosis with all colours, hostile text in it, and Chromium's view."""
    whole = observed(answers=without(ORIGIN, only=lambda q: q.endpoint.title[0] == "4"))
    first = whole.cells[0]
    hostile = Response(
        200, (("X-Said", "</pre><script>alert(1)</script>"), ("Set-Cookie", "sessionid=secret"))
    )
    cells = (replace(first, answers=(hostile,)), *whole.cells[1:])
    browsed = {
        cell.key: browser.Outcome(cell.verdict is not None and cell.verdict.allowed, "200")
        for cell in cells
    }
    return Diagnosis(
        replace(whole, cells=cells),
        (Finding("<b>wrong</b>", cure="mend & go", anchor="csp"),),
        browsed,
    )


def test_the_page_is_self_contained_and_escaped(result: Diagnosis) -> None:
    """Nothing is loaded, nothing that a server said is markup, and no cookie is kept."""
    text = html(result)
    assert not re.search(r"<script|src=|@import|url\(|<link|sessionid", text)
    assert "&lt;b&gt;wrong&lt;/b&gt;" in text and "mend &amp; go" in text
    for kind in ("ok", "refused", "wrong"):
        assert f"<td class={kind} " in text
    ids = re.findall(r'id="(cell-\d+)"', text)
    assert len(set(ids)) == len(ids) == len(result.observed.cells)
    assert set(re.findall(r'href="#(cell-\d+)"', text)) == set(ids)


def test_warnings_alone_are_not_called_wrong(result: Diagnosis) -> None:
    """The page calls nothing wrong where there are only warnings."""
    assert "What is wrong, and the cure" in html(result)
    calm = replace(result, findings=tuple(replace(one, warning=True) for one in result.findings))
    assert "What is wrong" not in html(calm) and "Worth knowing" in html(calm)


def test_a_page_that_can_not_be_written_is_named(result: Diagnosis, tmp_path: Any) -> None:
    """No traceback."""
    with pytest.raises(UsageError, match=r"--html .* can't be written: No such file"):
        write(str(tmp_path / "none" / "x.html"), result)


def test_json_is_the_same_for_programs(result: Diagnosis) -> None:
    """Cells, findings, status."""
    shown = json.loads(as_json(result))
    assert shown["status"] == 1 and len(shown["cells"]) == len(result.observed.cells)
    assert shown["findings"][0] == {
        "code": "",
        "commands": [],
        "text": "<b>wrong</b>",
        "cure": "mend & go",
        "link": "docs/cors-errors.md#csp",
        "warning": False,
        "follows": [],
    }


def test_chromium_that_disagrees_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second opinion is never dropped in silence."""
    whole = observed(NAMES)
    lies = {whole.cells[0].key: browser.Outcome(False, "MissingAllowOriginHeader")}
    monkeypatch.setattr(browser, "browse", lambda _: lies)
    result = diagnose(whole, browse=True)
    assert result.status == 1
    assert any("Chromium and the verdict disagree" in finding.text for finding in result.findings)


def test_workers_that_are_killed_are_a_finding() -> None:
    """Each request may be answered all the same, by the next worker, so no cell shows it."""
    whole = observed(hosts=[state(workers_killed=3)])
    assert "the kernel has killed 3 of gunicorn's workers on backend-1" in said(whole)
    assert "memory_mb" in said(whole)
    assert diagnose(whole).status == 1


def test_a_log_without_an_exception_comes_with_a_way_to_see_it() -> None:
    """A project may log in a format of its own, without tracebacks."""
    words = "level=ERROR module=log message=Internal Server Error: /\n"
    (only,) = findings(replace(observed(answers=failing(500)), hosts=(state(last_words=words),)))
    host = urlsplit(observed().contract.backend.origin).netloc
    assert f"from django.test import Client; Client(HTTP_HOST='{host}').get('/')" in only.cure
    assert "fab manage -- shell -c" in only.cure
