"""What the doctor makes of TLS and of schemes: each cause is flagged, what resembles it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.core.contract import Contract
from rollout.doctor import Observations, diagnose, handshake
from rollout.doctor.ask import Answer, Page, Unanswered
from rollout.doctor.checks.near_miss import near_miss
from rollout.doctor.codes import Code
from rollout.doctor.findings import findings
from rollout.doctor.handshake import Handshake
from rollout.doctor.observations import HostReport
from rollout.doctor.plain_http import Plain
from rollout.doctor.questions import Question
from rollout.doctor.reach import Reach
from rollout.finding import Finding
from rollout.verdict import Response
from tests.support.certificates import DAY, Authority, Issued
from tests.test_doctor import NAMES as BY_HTTP
from tests.test_doctor import ORIGIN, observed, reporting, right, silence, wide_open

PAGE, API = "https://app.shop.test", "https://api.shop.test"
TWIN = "http://app.shop.test"
APP, BACKEND = "app.shop.test", "api.shop.test"


def secure(tls: str = "acme", *origins: str, **https: Any) -> Contract:
    """The pair of names by https."""
    return replace(
        BY_HTTP,
        tls=tls,
        frontend=replace(BY_HTTP.frontend, origin=PAGE),
        backend=replace(BY_HTTP.backend, origin=API),
        cors=replace(BY_HTTP.cors, allowed_origins=(PAGE, *origins)),
        https=replace(BY_HTTP.https, **https),
    )


ROOT = Authority.root("Test Root")
MIDDLE = ROOT.intermediate("Test Issuer")
STAGING = Authority.root("(STAGING) Pretend Root").intermediate("(STAGING) Pretend Issuer")
GOOD = MIDDLE.issue(BACKEND)
DUE = MIDDLE.issue(BACKEND, starts=-60 * DAY, ends=29 * DAY)
LATE = MIDDLE.issue(BACKEND, starts=-80 * DAY, ends=10 * DAY)
NOW = datetime.now(UTC)


def refusing(issued: Issued, code: int, problem: str = "refused", **more: Any) -> Handshake:
    return Handshake(NOW, problem, code, version="TLSv1.3", chain=issued.ders, **more)


def accepted(issued: Issued = GOOD, **more: Any) -> Handshake:
    return Handshake(NOW, version="TLSv1.3", chain=issued.ders, **more)


def kept(served: Issued = GOOD, disk: Issued | None = None) -> HostReport:
    """A backend that reports its certificate."""
    certificate = {"lineage": "x", "disk": (disk or served).chain, "served": served.chain}
    address = BY_HTTP.backend.hosts[0].address
    return reporting("backend-1", address, certificate=certificate)


def asked(
    shaken: Handshake,
    contract: Contract | None = None,
    host: HostReport | None = None,
    **changes: Any,
) -> Observations:
    """An environment whose API shook hands so; without a handshake nothing was answered there."""
    contract = contract or secure()
    address = contract.backend.hosts[0].address
    there = Reach(address, answered=not shaken.problem, handshake=shaken)
    front = contract.frontend.hosts[0].address
    page = Reach(front, answered=True, handshake=accepted(MIDDLE.issue(APP)))
    return observed(
        contract,
        answers=silence if shaken.problem else right(contract),
        hosts=[host or kept()],
        reach={"frontend": page, "backend": there},
        **changes,
    )


def errors(whole: Observations) -> list[Finding]:
    return [finding for finding in findings(whole) if not finding.warning]


def codes(found: Sequence[Finding]) -> list[str]:
    return [finding.code for finding in found]


def test_a_certificate_that_browsers_accept_is_no_finding() -> None:
    assert findings(asked(accepted())) == ()


SELF_SIGNED = Authority.root(BACKEND)
EXPIRED = MIDDLE.issue(BACKEND, starts=-90 * DAY, ends=-3 * DAY)
FLAGGED: dict[str, tuple[Handshake, str, str]] = {
    "expired": (refusing(EXPIRED, handshake.EXPIRED), "certificate-expired", "expired 3 days ago"),
    "an expired issuer": (
        refusing(GOOD, handshake.EXPIRED),
        "certificate-expired",
        "an issuer of its certificate has expired",
    ),
    "not yet valid": (
        refusing(MIDDLE.issue(BACKEND, starts=DAY), handshake.NOT_YET_VALID),
        "certificate-not-yet-valid",
        "is valid from",
    ),
    "another name": (
        refusing(MIDDLE.issue("www.shop.test", "shop.test"), handshake.WRONG_HOST),
        "certificate-wrong-name",
        "is for www.shop.test, shop.test",
    ),
    # OpenSSL looks for a root before it looks at names and times; people look at those first.
    "another name of an unknown CA": (
        refusing(SELF_SIGNED.issue("www.shop.test"), handshake.ISSUER_UNKNOWN),
        "certificate-wrong-name",
        "is for www.shop.test",
    ),
    "expired, of an unknown CA": (
        refusing(STAGING.issue(BACKEND, starts=-90 * DAY, ends=-3 * DAY), handshake.ISSUER_UNKNOWN),
        "certificate-expired",
        "expired 3 days ago",
    ),
    "no intermediate": (
        refusing(GOOD.alone, handshake.ISSUER_UNKNOWN),
        "certificate-chain-incomplete",
        "without the one of its issuer Test Issuer",
    ),
    "a private root": (
        refusing(ROOT.issue(BACKEND), handshake.ISSUER_UNKNOWN),
        "certificate-untrusted",
        "its CA Test Root is not in this machine's trust store",
    ),
    "a private CA with an intermediate": (
        refusing(GOOD, handshake.ISSUER_UNKNOWN),
        "certificate-untrusted",
        "its CA Test Root is not",
    ),
    "a staging CA": (
        refusing(STAGING.issue(BACKEND), handshake.ISSUER_UNKNOWN),
        "certificate-untrusted",
        "of a staging CA ((STAGING) Pretend Root)",
    ),
    "self-signed": (
        refusing(SELF_SIGNED.issue(BACKEND), handshake.SELF_SIGNED),
        "certificate-untrusted",
        "signs itself",
    ),
    "TLS 1.1": (
        Handshake(NOW, "alert", reason="TLSV1_ALERT_PROTOCOL_VERSION", version="TLSv1.1"),
        "tls-too-old",
        "it speaks TLSv1.1 at most",
    ),
    "no TLS": (
        Handshake(NOW, "wrong version number", reason="WRONG_VERSION_NUMBER"),
        "no-tls",
        "answers without TLS",
    ),
    "closed": (Handshake(NOW, "timed out"), "tls-fails", "the TLS handshake fails (timed out)"),
}


@pytest.mark.parametrize("name", FLAGGED)
def test_what_browsers_refuse_is_one_finding(name: str) -> None:
    """With its cause, whatever OpenSSL finds first; that nothing was answered follows from it."""
    shaken, code, words = FLAGGED[name]
    served = kept() if not shaken.chain else host_serving(shaken)
    (found,) = errors(asked(shaken, host=served))
    assert found.code == code
    assert words in found.text and API in found.text
    assert codes(found.follows) == ["view-silent"]
    assert found.link == f"docs/cors-errors.md#{code}"


def host_serving(shaken: Handshake) -> HostReport:
    """A host that has and serves the same leaf."""
    import ssl

    pem = ssl.DER_cert_to_PEM_cert(shaken.chain[0])
    certificate = {"lineage": "x", "disk": pem, "served": pem}
    address = BY_HTTP.backend.hosts[0].address
    return reporting("backend-1", address, certificate=certificate)


@pytest.mark.parametrize(
    ("tls", "shaken", "cure"),
    [
        ("acme", FLAGGED["expired"][0], "then run `fab tls.renew`"),
        ("files", FLAGGED["expired"][0], "into the secrets backend_chain and backend_key"),
        ("local-ca", FLAGGED["expired"][0], "run `fab deploy`, which issues a new one"),
        ("acme", FLAGGED["another name"][0], "run `fab tls.renew --force`"),
        ("files", FLAGGED["another name"][0], "backend_chain and backend_key"),
        ("local-ca", FLAGGED["another name"][0], "for the contract's names"),
        ("files", FLAGGED["no intermediate"][0], "append the CA's intermediates to backend_chain"),
        ("acme", FLAGGED["a staging CA"][0], "set acme_staging: false"),
        ("files", FLAGGED["a private root"][0], "or name it in SSL_CERT_FILE"),
        ("local-ca", FLAGGED["a private root"][0], "one of your own CA"),
        ("acme", FLAGGED["not yet valid"][0], "compare this machine's clock"),
        ("acme", FLAGGED["TLS 1.1"][0], "enable TLS 1.2 and 1.3"),
        ("acme", FLAGGED["no TLS"][0], "run `fab deploy --restart`"),
    ],
)
def test_the_cure_is_the_one_for_where_the_pair_comes_from(
    tls: str, shaken: Handshake, cure: str
) -> None:
    host = host_serving(shaken) if shaken.chain else None
    (found,) = errors(asked(shaken, secure(tls), host))
    assert cure in found.cure


def test_what_stands_in_front_is_named_where_the_hosts_serve_another() -> None:
    """A CDN whose own certificate has expired: no renewal on the hosts would help."""
    (found,) = errors(asked(FLAGGED["expired"][0], host=kept(GOOD)))
    assert "something in front serves it" in found.text
    assert found.cure == "renew it in the proxy, CDN or load balancer in front"


def test_a_certificate_of_something_in_front_that_is_accepted_is_no_finding() -> None:
    assert findings(asked(accepted(ROOT.issue(BACKEND)), host=kept(GOOD))) == ()


def test_one_staging_ca_is_one_finding_for_both_roles() -> None:
    """Both roles, one cure; that both are silent follows from it."""
    whole = asked(FLAGGED["a staging CA"][0], host=host_serving(FLAGGED["a staging CA"][0]))
    page = refusing(STAGING.issue(APP), handshake.ISSUER_UNKNOWN)
    front = Reach(whole.contract.frontend.hosts[0].address, handshake=page)
    silent = replace(
        whole,
        reach={**whole.reach, "frontend": front},
        page=Page(None, problem=front.obstacle),
    )
    (found,) = errors(silent)
    assert PAGE in found.text and API in found.text
    assert sorted(codes(found.follows)) == ["page-silent", "view-silent"]


def test_a_name_that_leads_elsewhere_explains_another_s_certificate() -> None:
    """Whoever is there now has a certificate of its own."""
    shaken = FLAGGED["another name"][0]
    whole = asked(
        shaken,
        addresses={
            "frontend": (BY_HTTP.frontend.hosts[0].address,),
            "backend": ("198.51.100.9",),
        },
    )
    (found,) = errors(whole)
    assert found.code == "name-leads-elsewhere"
    assert "certificate-wrong-name" in codes(found.follows)


# --------------------------------------------------------------------------------- what hosts have


def test_a_renewed_certificate_that_is_not_served_is_the_cause() -> None:
    """Also where the old one still is valid; that it expires at last follows from it."""
    (found,) = errors(asked(accepted(), host=kept(GOOD, disk=MIDDLE.issue(BACKEND))))
    assert found.code == "certificate-not-served" and found.cure == "run `fab deploy --restart`"
    expired = asked(FLAGGED["expired"][0], host=kept(EXPIRED, disk=MIDDLE.issue(BACKEND)))
    (found,) = errors(expired)
    assert found.code == "certificate-not-served"
    assert codes(found.follows) == ["certificate-expired", "view-silent"]


def test_a_renewed_certificate_that_is_not_served_ends_soon() -> None:
    """It was renewed in time: that the old one ends is no finding of its own."""
    host = kept(LATE, disk=MIDDLE.issue(BACKEND))
    (found,) = findings(asked(accepted(LATE), host=host))
    assert found.code == "certificate-not-served"
    assert codes(found.follows) == ["certificate-ends-soon"]


def test_an_old_certificate_in_front_is_none_of_the_hosts() -> None:
    """They serve another one, whatever is wrong with that."""
    host = kept(GOOD, disk=MIDDLE.issue(BACKEND))
    found = findings(asked(accepted(LATE), host=host))
    assert codes(found) == ["certificate-not-served", "certificate-ends-soon"]


def test_a_host_without_a_certificate_is_the_cause() -> None:
    address = BY_HTTP.backend.hosts[0].address
    bare = reporting("backend-1", address, certificate={"lineage": "x", "disk": ""})
    (found,) = errors(asked(Handshake(NOW, "alert"), host=bare))
    assert found.code == "certificate-missing"
    assert codes(found.follows) == ["tls-fails", "view-silent"]


def not_deployed(name: str, address: str) -> HostReport:
    """It runs what it ran before `tls` was set."""
    return reporting(
        name,
        address,
        generation="g1",
        differs=["current", "nginx/a.conf"],
        diff={"nginx/a.conf": "+listen 443;"},
        units={"nginx.service": "active"},
        listens=False,
    )


def test_a_configuration_that_was_not_deployed_explains_its_closed_port() -> None:
    """`tls` was set, and the hosts still run the configuration before."""
    host = not_deployed("backend-1", BY_HTTP.backend.hosts[0].address)
    whole = observed(
        secure(),
        answers=silence,
        hosts=[host],
        reach={"backend": Reach(host.address, "Connection refused")},
    )
    (found,) = errors(whole)
    assert found.code in ("older-configuration", "file-differs")
    assert set(codes(found.follows)) == {"port-closed", "view-silent"}


def test_a_deploy_that_is_due_explains_the_closed_port_of_every_host() -> None:
    """The deploy is one cause of all hosts, wherever it was seen first."""
    hosts = [
        not_deployed("backend-1", BY_HTTP.backend.hosts[0].address),
        not_deployed("frontend-1", BY_HTTP.frontend.hosts[0].address),
    ]
    closed = {
        host.name.partition("-")[0]: Reach(host.address, "Connection refused") for host in hosts
    }
    (found,) = errors(observed(secure(), answers=silence, hosts=hosts, reach=closed))
    assert found.code == "older-configuration"
    assert codes(found.follows).count("port-closed") == 2


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        ({"listens": True}, ["port-blocked"]),
        ({"listens": False}, ["port-closed"]),
        ({"listens": False, "units": {"nginx.service": "inactive"}}, ["unit-not-active"]),
        ({}, ["view-silent"]),
    ],
)
def test_a_closed_port_443_is_nginx_s_or_a_firewall_s(
    says: dict[str, Any], wanted: list[str]
) -> None:
    address = BY_HTTP.backend.hosts[0].address
    whole = observed(
        secure(),
        answers=silence,
        hosts=[reporting("backend-1", address, **says)],
        reach={"backend": Reach(address, "timed out")},
    )
    found = errors(whole)
    assert codes(found) == wanted
    if wanted != ["unit-not-active"] and wanted != ["view-silent"]:
        assert "port 443" in found[0].text


# --------------------------------------------------------------------------------------- warnings


@pytest.mark.parametrize(
    ("shaken", "wanted"),
    [
        (accepted(by_local_ca=True, browsers_trust=False), ["local-ca-unknown"]),
        (accepted(by_local_ca=True, browsers_trust=True), []),
        (accepted(by_local_ca=True, browsers_trust=None), []),
        (accepted(by_local_ca=False), []),
        (accepted(LATE), ["certificate-ends-soon"]),
        (accepted(DUE), []),
    ],
)
def test_what_will_break_is_a_warning(shaken: Handshake, wanted: list[str]) -> None:
    found = findings(asked(shaken))
    assert codes(found) == wanted
    assert all(finding.warning for finding in found)


# ---------------------------------------------------------------------------------------- schemes


def test_an_https_page_of_an_http_api_is_mixed_content() -> None:
    """The list of an http API has an https origin: its pages are blocked, whatever is answered."""
    listed = replace(
        BY_HTTP,
        cors=replace(BY_HTTP.cors, allowed_origins=(TWIN, "https://admin.shop.test")),
        frontend=replace(BY_HTTP.frontend, origin=TWIN),
        backend=replace(BY_HTTP.backend, origin="http://api.shop.test"),
    )
    (found,) = errors(observed(listed))
    assert found.code == "mixed-content" and "https://admin.shop.test" in found.text
    assert "set `tls`" in found.cure
    by_https = secure("acme", "https://admin.shop.test")
    assert errors(asked(accepted(), by_https)) == []


@pytest.mark.parametrize(
    ("sources", "blocked"),
    [
        (["http://maps.test", "https://pay.test"], "lists http://maps.test: the page"),
        (["ws://*.live.test", "http:"], "lists ws://*.live.test, http:: the page"),
        (["http://10.0.0.7:*"], "lists http://10.0.0.7:*: the page"),
        (["https:", "wss://live.test", "http://localhost:*", "ws://127.0.0.1:9000"], ""),
    ],
)
def test_what_an_https_page_calls_by_http_is_mixed_content(
    sources: list[str], blocked: str
) -> None:
    """A warning: the page may call none of them yet. This machine is excepted, a page by http may
    call anybody, and upgrade-insecure-requests makes https of it."""
    called = replace(BY_HTTP.page, connect_src=tuple(sources))
    found = findings(asked(accepted(), replace(secure(), page=called)))
    assert [one.code for one in found] == (["mixed-content"] if blocked else [])
    assert all(one.warning and blocked in one.text for one in found)
    upgraded = replace(called, csp="upgrade-insecure-requests")
    assert not findings(asked(accepted(), replace(secure(), page=upgraded)))
    assert not findings(observed(replace(BY_HTTP, page=called)))


@pytest.mark.parametrize(
    ("origins", "former", "wanted"),
    [
        ([TWIN], (), ["http-origin-listed"]),
        ([TWIN], (TWIN,), []),
        (["http://localhost:3000"], (), []),
        (["http://other.shop.test"], (), []),
    ],
)
def test_the_http_twin_of_the_page_is_not_to_be_listed(
    origins: list[str], former: tuple[str, ...], wanted: list[str]
) -> None:
    contract = secure("acme", *origins)
    contract = replace(contract, frontend=replace(contract.frontend, former=former))
    assert codes(errors(asked(accepted(), contract))) == wanted


def test_an_http_page_may_list_what_it_likes() -> None:
    http = replace(BY_HTTP.frontend, origin=TWIN)
    listed = replace(BY_HTTP.cors, allowed_origins=(TWIN,))
    contract = replace(BY_HTTP, frontend=http, cors=listed)
    assert "http-origin-listed" not in codes(findings(observed(contract)))


def answer(status: int, *lines: tuple[str, str]) -> Answer:
    return Response(status, lines)


DENIED = answer(403, (ORIGIN, PAGE))
MOVED = answer(301, ("Location", f"{API}/"))
PORT_80_CLOSED = Unanswered("Connection refused")


def plain(view: str, preflight: Answer, page: Answer, twin: Answer) -> list[Plain]:
    return [
        Plain(view, "preflight", PAGE, preflight),
        Plain(view, "GET", PAGE, page),
        Plain(view, "GET", TWIN, twin),
    ]


HOST_80 = plain("backend-1", answer(204, (ORIGIN, PAGE)), DENIED, answer(403))


def with_plain(*found: Plain, contract: Contract | None = None) -> Sequence[Finding]:
    return findings(asked(accepted(), contract, plain=tuple(found)))


def test_a_403_that_is_readable_is_as_it_must_be() -> None:
    public = plain("public", answer(204, (ORIGIN, PAGE)), DENIED, answer(403))
    assert with_plain(*public, *HOST_80) == ()


def test_a_redirect_of_port_80_is_named_and_who_does_it() -> None:
    """In front: worth knowing, as only pages that call the API by http notice; with such a page in
    the list it is wrong. On the hosts themselves as well."""
    public = plain("public", MOVED, MOVED, MOVED)
    (found,) = with_plain(*public, *HOST_80)
    assert (found.code, found.warning) == ("plain-http-redirected", True)
    assert "something in front" in found.text and "`Origin: null`" in found.text
    listed = secure("acme", "http://legacy.shop.test")
    (found,) = with_plain(*public, *HOST_80, contract=listed)
    assert not found.warning
    own = plain("backend-1", MOVED, MOVED, MOVED)
    (found,) = with_plain(*public, *own)
    assert found.text.startswith("the public address redirects") and "--restart" in found.cure


@pytest.mark.parametrize("allowed", [TWIN, "*"])
def test_the_http_twin_that_port_80_allows_is_a_finding(allowed: str) -> None:
    public = plain("public", answer(204, (ORIGIN, PAGE)), DENIED, answer(403, (ORIGIN, allowed)))
    (found,) = with_plain(*public, *HOST_80)
    assert found.code == "unlisted-origin-allowed" and f"allows {TWIN} by http" in found.text
    listed = secure("acme", TWIN)
    assert "unlisted-origin-allowed" not in codes(with_plain(*public, contract=listed))


def test_the_http_twin_that_https_allows_too_is_said_once() -> None:
    """One list answers on both ports."""
    wide = answer(403, (ORIGIN, TWIN))
    found = plain("public", answer(204, (ORIGIN, PAGE)), DENIED, wide)
    whole = replace(asked(accepted()), plain=tuple(found))
    cells = observed(whole.contract, answers=wide_open).cells
    code = Code.UNLISTED_ORIGIN_ALLOWED
    said = [one.text for one in findings(replace(whole, cells=cells)) if one.code == code]
    assert len(said) == 1 and TWIN in said[0]


@pytest.mark.parametrize(
    ("tls", "wanted"), [("acme", ["challenge-blocked"]), ("files", []), ("local-ca", [])]
)
def test_a_closed_port_80_stops_renewals_of_acme_alone(tls: str, wanted: list[str]) -> None:
    public = plain("public", *[PORT_80_CLOSED] * 3)
    assert codes(with_plain(*public, *HOST_80, contract=secure(tls))) == wanted


def test_where_443_is_closed_too_port_80_is_not_accused() -> None:
    """No answer is no verdict."""
    public = plain("public", *[PORT_80_CLOSED] * 3)
    silent = observed(
        secure(),
        answers=silence,
        hosts=[kept()],
        reach={"backend": Reach("10.0.0.2", "timed out")},
        plain=tuple(public),
    )
    assert codes(errors(silent)) == ["view-silent"]


def sending(hsts: str) -> Callable[[Question], tuple[Answer, ...]]:
    def answers(question: Question) -> tuple[Answer, ...]:
        found: list[Answer] = []
        for one in right(question_contract)(question):
            assert isinstance(one, Response)
            found.append(Response(one.status, (*one.headers, ("Strict-Transport-Security", hsts))))
        return tuple(found)

    question_contract = secure("acme", "http://old.api.shop.test", "http://10.1.2.3")
    return answers


@pytest.mark.parametrize(
    ("api", "page", "origins", "wanted"),
    [
        ("max-age=300; includeSubDomains", None, ["http://old.api.shop.test"], 1),
        ('max-age="300";includesubdomains', None, ["http://old.api.shop.test"], 1),
        ("max-age=300", None, ["http://old.api.shop.test"], 0),
        ("max-age=0; includeSubDomains", None, ["http://old.api.shop.test"], 0),
        ("includeSubDomains", None, ["http://old.api.shop.test"], 0),
        ("max-age=300; includeSubDomains", None, ["http://other.shop.test"], 0),
        ("max-age=300; includeSubDomains", None, ["https://old.api.shop.test"], 0),
        (
            "max-age=300; includeSubDomains",
            None,
            ["http://old.api.shop.test", "https://old.api.shop.test"],
            0,
        ),
        ("max-age=300; includeSubDomains", None, ["http://10.1.2.3"], 0),
        ("max-age=0", "max-age=300; includeSubDomains", ["http://x.app.shop.test"], 1),
    ],
)
def test_hsts_that_changes_a_listed_origin_is_named(
    api: str, page: str | None, origins: list[str], wanted: int
) -> None:
    """What browsers open by https has another origin; an IP is never opened so (RFC 6797)."""
    contract = secure("acme", *origins)
    whole = asked(accepted(), contract)
    cells = observed(contract, answers=sending(api)).cells
    found = [
        one
        for one in findings(replace(whole, cells=cells, page=Page(200, None, API, hsts=page)))
        if one.code == "hsts-changes-origin"
    ]
    assert len(found) == wanted


def test_the_http_twin_that_somebody_expects_is_refused_as_it_must_be() -> None:
    """The cure is never to list it."""
    found = near_miss(TWIN, secure())
    assert found is not None and "as it must be" in found.text
    assert found.cure == f"open the page as {PAGE}"


def test_a_failed_handshake_is_an_answer() -> None:
    """No host can be asked over SSH, and both certificates have expired: that was found out."""
    page = refusing(MIDDLE.issue(APP, starts=-90 * DAY, ends=-3 * DAY), handshake.EXPIRED)
    whole = asked(FLAGGED["expired"][0], page=Page(None, problem="the TLS handshake fails"))
    front = Reach(whole.contract.frontend.hosts[0].address, handshake=page)
    away = HostReport("backend-1", "10.0.0.2", None, "no answer on port 22")
    result = diagnose(replace(whole, hosts=(away,), reach={**whole.reach, "frontend": front}))
    assert result.status == 1
    assert codes(result.findings) == ["host-unreachable", "certificate-expired"]


def test_a_proxy_that_redirects_an_http_api_is_one_finding() -> None:
    """Everything at the public address leads to https; the hosts answer well."""

    def moved(question: Question) -> tuple[Answer, ...]:
        location = ("Location", question.request.url.replace("http:", "https:"))
        return tuple(Response(301, (location,)) for _ in question.lines("x"))

    whole = observed(BY_HTTP, answers=moved)
    hosts = tuple(replace(cell, view="backend-1") for cell in observed(BY_HTTP).cells)
    found = errors(replace(whole, cells=(*whole.cells, *hosts)))
    assert codes(found) == ["changed-in-front"]
    assert "something in front redirects to https://api.shop.test" in found[0].text
