"""Where a role's pair comes from, what hosts are ordered, and what a person reads of them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Contract, Host
from infra.core.https import FILES, LOCAL_CA
from on_host.answers import CertificateAnswer, Renewal
from rollout import secret_values
from rollout.certificates import given, shown
from rollout.certificates.errors import PairError
from rollout.deploy import Outcome
from rollout.deploy_report import found_certificates
from tests.support.certificates import DAY, NOW, Authority, Issued
from tests.test_render import load

ROOT = Authority.root("Test Root")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    roots = tmp_path / "roots.pem"
    roots.write_text(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    return tmp_path


def speaking(tls: str) -> Contract:
    """A contract of two names, over https."""
    plain = load("names-credentials")

    def secure(origin: str) -> str:
        return origin.replace("http://", "https://")

    return dataclasses.replace(
        plain,
        tls=tls,
        frontend=dataclasses.replace(plain.frontend, origin=secure(plain.frontend.origin)),
        backend=dataclasses.replace(plain.backend, origin=secure(plain.backend.origin)),
    )


def secrets(contract: Contract) -> tuple[dict[str, str], dict[str, Issued]]:
    """A good pair of each role, as a secrets file holds it."""
    issued = {
        role: ROOT.issue(*contract.certificate_names(role), starts=-DAY, ends=89 * DAY)
        for role in ("frontend", "backend")
    }
    lines = {}
    for role, one in issued.items():
        lines[f"{role}_chain"] = one.pem.replace("\n", "\\n")
        lines[f"{role}_key"] = one.key.replace("\n", "\\n")
    return lines, issued


def test_files_come_from_the_secrets() -> None:
    """With the line ends of a secrets file, in which a value is one line, or with real ones."""
    contract = speaking(FILES)
    lines, issued = secrets(contract)
    found = given.orders(contract, lines, make=True)
    for role, one in issued.items():
        assert found[role]["lineage"] == contract.lineage(role)
        assert (found[role]["chain"], found[role]["key"]) == (one.pem, one.key)
    assert given.ages(found)["backend"] == "certificate of Test Root: 88 days left"
    plain = {name: value.replace("\\n", "\n") for name, value in lines.items()}
    assert given.orders(contract, plain, make=True) == found


def test_a_secrets_file_holds_a_pair(place: Path) -> None:
    """A line each, which the parser of the file takes as it is."""
    lines, _ = secrets(speaking(FILES))
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    assert secret_values.parse(text.encode()) == lines


def test_what_is_wrong_with_files_comes_before_anything_is_sent() -> None:
    """Of both roles; a message quotes nothing of a key."""
    contract = speaking(FILES)
    with pytest.raises(PairError) as raised:
        given.orders(contract, {}, make=True)
    assert raised.value.problems[0].startswith(
        "frontend_chain: not set, and tls is files; run `pulumi config set --secret frontend_chain"
    )
    lines, issued = secrets(contract)
    lines["backend_key"] = lines["frontend_key"]
    with pytest.raises(PairError, match="backend_key: the key of another certificate") as raised:
        given.orders(contract, lines, make=True)
    assert issued["frontend"].key.splitlines()[1] not in str(raised.value)


def test_a_plan_makes_no_certificate(place: Path) -> None:
    """The own CA makes one when it is to be deployed; until then hosts are said that they lack
    one."""
    contract = speaking(LOCAL_CA)
    before = given.orders(contract, {}, make=False)
    assert before["backend"]["digest"] == given.NONE_YET
    assert not (place / "home").exists()
    made = given.orders(contract, {}, make=True)
    assert given.orders(contract, {}, make=False) == made
    assert made["backend"]["key"].startswith("-----BEGIN PRIVATE KEY-----")
    compared = given.without_keys(made)
    assert "PRIVATE" not in json.dumps(compared)
    assert compared["backend"]["digest"] == made["backend"]["digest"]


@pytest.mark.parametrize("tls", ["off", "acme"])
def test_nothing_is_brought_for_hosts_that_get_theirs_themselves(tls: str) -> None:
    assert (
        given.orders(dataclasses.replace(load("names-credentials"), tls=tls), {}, make=True) == {}
    )


# ------------------------------------------------------------------------------------ what is shown


def answer(
    served: Issued | None, disk: Issued | None, tls: str = "acme", text: str = ""
) -> CertificateAnswer:
    return {
        "lineage": f"{tls}-0123456789abcdef",
        "served": served.pem if served else "",
        "disk": disk.pem if disk else "",
        "renewal": failed(text) if text else None,
    }


def failed(text: str) -> Renewal:
    """What a host has noted of a renewal that has failed."""
    return {
        "checked": 0,
        "next": 0,
        "result": "failed",
        "text": text,
        "retry_after": "",
        "issued": [],
        "failed": [0],
    }


def issued(left_days: int) -> Issued:
    ca = dataclasses.replace(ROOT, now=NOW)
    left = left_days * DAY
    return ca.issue("shop.example.com", starts=left - 90 * DAY, ends=left)


FRESH, OLD, LATE, GONE = issued(80), issued(19), issued(9), issued(-3)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (answer(FRESH, FRESH), ""),
        (answer(issued(21), None), r"serves another certificate .* on its disk: run `fab deploy`"),
        (answer(FRESH, OLD), r"serves another certificate than the one on its disk"),
        (answer(None, FRESH), r"no certificate is served: run `fab deploy`"),
        (answer(OLD, OLD), r"certificate 19 days left: run `fab tls\.renew`"),
        (
            answer(LATE, LATE, "files"),
            r"9 days left \(urgent\): set a new chain and key, then run `fab dep",
        ),
        (answer(GONE, GONE, "local-ca"), r"certificate expired 3 days ago: run `fab deploy`"),
        (
            answer(OLD, OLD, text="shop.example.com: no route"),
            r"19 days left \(the last renewal failed: shop.example.com: no route\): run",
        ),
    ],
)
def test_what_is_wrong_with_a_certificate(found: CertificateAnswer, problem: str) -> None:
    """Nothing before its warning line; then the time left and the next step."""
    one = shown.of("frontend-1", "frontend", found, NOW)
    assert re.search(problem or "^$", one.problem), one.problem


def test_a_renewal_that_fails_is_shown_before_it_matters() -> None:
    """80 days are left: status 0, and one line that says what the CA said."""
    one = shown.of("frontend-1", "frontend", answer(FRESH, FRESH, text="no route"), NOW)
    assert not one.problem
    note = "frontend-1: the last renewal failed, the next try is within six hours: no route"
    assert note in shown.text([one])


def test_a_host_without_https_has_no_certificate() -> None:
    """Neither has one of an older kit, which does not answer."""
    plain = {"certificate": {"lineage": "", "disk": "", "served": ""}}
    host = Host("a", "203.0.113.1", 22, "deploy", ())
    outcomes: list[Outcome[Any]] = [Outcome("backend", host, answer) for answer in (plain, {})]
    assert found_certificates(outcomes) == []
    assert "tls: off" in shown.text([])


def test_the_table_and_the_json() -> None:
    one = shown.of("frontend-1", "frontend", answer(OLD, OLD), NOW)
    text = shown.text([one])
    assert "shop.example.com" in text and "Test Root" in text and "2027-03-20 12:00 UTC" in text
    assert text.splitlines()[-1] == "frontend-1: certificate 19 days left: run `fab tls.renew`"
    facts = json.loads(shown.as_json([one]))["frontend-1"]
    assert facts["state"] == "warning"
    assert facts["left_s"] == 19 * 86400
    assert facts["names"] == ["shop.example.com"]
    assert facts["serial"] == f"{OLD.certificate.serial_number:x}"
    assert (facts["served"], facts["on_disk"]) == (True, True)
