"""What certbot is given, what its output means, and which of the CA's limits are near."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn, cast

import pytest

from infra.core.contract import Contract
from infra.core.https import LETS_ENCRYPT, Https
from on_host.acme import account, certbot, record, words
from on_host.answers import CertifyFactsAnswer as Facts
from on_host.protocol import Account, CertificateOrder
from rollout.acme import certify, limits
from rollout.acme.certify import Look, http_first
from rollout.acme.limits import Issue
from rollout.acme.orders import order_of, without_https
from rollout.acme.wheels import requirements
from rollout.host_errors import HostError
from rollout.outputs import Outputs
from rollout.render import render
from tests.support.certificates import Authority
from tests.test_contract import example

SERVER = "https://10.0.0.1:14000/dir"


def order(**fields: object) -> CertificateOrder:
    """An order for one name."""
    found: CertificateOrder = {
        "lineage": "acme-0123456789abcdef",
        "names": ["app.example.com"],
        "server": SERVER,
        "email": "",
        "profile": "",
        "environment": "test",
        "eab_kid": "",
    }
    found.update(fields)  # type: ignore[typeddict-item]
    return found


# ------------------------------------------------------------------------------- what certbot says

REFUSED = """\
Saving debug log to /var/log/origin-kit/certbot/letsencrypt.log
Renewing an existing certificate for 10.0.0.2

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority \
reported these problems:
  Identifier: 10.0.0.2
  Type:   connection
  Detail: Get "http://10.0.0.2:80/.well-known/acme-challenge/rzx": dial tcp: connection refused

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org.
"""
LIMITED = """\
Saving debug log to /var/log/origin-kit/certbot/letsencrypt.log
An unexpected error occurred:
too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, \
retry after 2031-01-02 03:04:05 UTC: see https://letsencrypt.org/docs/rate-limits/
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile
"""
WRONG_EAB = """\
Saving debug log to /var/log/origin-kit/certbot/letsencrypt.log
Unable to register an account with ACME server. Error returned by the ACME server: external \
account binding JWS verification error: go-jose/go-jose: error in cryptographic primitive
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile
"""
CONNECTION = """\
An unexpected error occurred:
requests.exceptions.ConnectionError: HTTPSConnectionPool(host='10.0.0.1', port=14000): Max retries \
exceeded with url: /dir (Caused by {})
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile
"""


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (REFUSED, '10.0.0.2: Get "http://10.0.0.2:80/.well-known/acme-challenge/rzx": dial tcp'),
        (LIMITED, "too many certificates (5) already issued for this exact set of identifiers"),
        (WRONG_EAB, "external account binding JWS verification error: go-jose/go-jose: error in"),
        (
            CONNECTION.format('NewConnectionError("[Errno 111] Connection refused"))'),
            f"{SERVER} can't be reached: Connection refused",
        ),
        (
            CONNECTION.format("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FA"),
            f"{SERVER} can't be reached: the connection fails",
        ),
        (
            CONNECTION.format("SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]'))"),
            "run `update-ca-certificates`",
        ),
        (CONNECTION.format("NameResolutionError('x')"), "this host can't resolve the name of"),
        ("", "certbot gives no reason"),
    ],
)
def test_a_failure_is_reported_in_the_words_of_the_ca(output: str, said: str) -> None:
    text = words.why(output, SERVER)
    assert said in text
    assert "Ask for help" not in text
    assert "Saving debug log" not in text
    assert "\n" not in text


def test_the_time_of_the_next_try_is_the_cas() -> None:
    assert words.retry_after(LIMITED) == "2031-01-02 03:04:05 UTC"
    assert words.retry_after(REFUSED) == ""


# --------------------------------------------------------------------------- what certbot is given


def test_a_name_prefers_a_profile_and_an_address_requires_one() -> None:
    """One that is preferred falls back to a profile without IPs, and nobody says so."""
    assert certbot.profile(order()) == ["--preferred-profile", "tlsserver"]
    for names in (["10.0.0.2"], ["2001:db8::1"], ["app.example.com", "10.0.0.2"]):
        assert certbot.profile(order(names=names)) == ["--required-profile", "shortlived"]
    assert certbot.profile(order(profile="classic")) == ["--required-profile", "classic"]


def test_names_and_addresses_have_options_of_their_own() -> None:
    said = certbot.arguments(order(names=["a.example", "10.0.0.2"]), None, force=False)
    assert said[-5:] == [
        *("--domain", "a.example", "--ip-address", "10.0.0.2"),
        "--keep-until-expiring",
    ]
    assert "--register-unsafely-without-email" in said
    assert "--account" not in said
    forced = certbot.arguments(order(email="ada@example.com"), "id-1", force=True)
    assert forced[-1] == "--force-renewal"
    assert "ada@example.com" in forced
    assert forced[forced.index("--account") + 1] == "id-1"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's folders below a temporary one."""
    monkeypatch.setattr("on_host.acme.paths.ACCOUNTS", tmp_path / "certbot")
    monkeypatch.setattr("on_host.acme.record.RECORD", tmp_path / "renewal.json")
    monkeypatch.setattr("on_host.acme.certbot._OPTIONS", tmp_path / "run/certbot.ini")
    return tmp_path


def test_the_hmac_key_is_in_a_private_file_as_long_as_certbot_runs(host: Path) -> None:
    """A process list shows arguments to everybody."""
    asked = order(eab_kid="kid-1")
    assert "secret" not in " ".join(certbot.arguments(asked, None, force=False))
    with certbot._options(asked, "secret") as path:
        assert "eab-hmac-key = secret\n" in path.read_text()
        assert "eab-kid = kid-1\n" in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_certbot_never_sleeps_by_itself(host: Path) -> None:
    with certbot._options(order(), "") as path:
        assert path.read_text() == "no-random-sleep-on-renew = true\n"


# ------------------------------------------------------------------------------------- the account

ACCOUNT: Account = {
    "id": "105ad502",
    "files": {"meta.json": "{}", "private_key.json": '{"n": "key"}', "regr.json": "{}"},
}
PLACE = "certbot/test/accounts/10.0.0.1:14000/dir"


def test_an_account_that_was_made_elsewhere_is_the_only_one(host: Path) -> None:
    """A damaged file of it is whole again at the next run."""
    other = host / PLACE / "other"
    other.mkdir(parents=True)
    account.give(order(), ACCOUNT)
    assert account.known(order()) == ACCOUNT
    assert account.lay_out(order()) == "105ad502"
    assert [path.name for path in (host / PLACE).iterdir()] == ["105ad502"]
    key = host / PLACE / "105ad502/private_key.json"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.write_text("")
    account.lay_out(order())
    assert key.read_text() == '{"n": "key"}'


def test_an_account_that_certbot_makes_is_copied(host: Path) -> None:
    folder = host / PLACE / "105ad502"
    folder.mkdir(parents=True)
    for name, text in ACCOUNT["files"].items():
        (folder / name).write_text(text)
    account.keep_new(order())
    assert account.known(order()) == ACCOUNT
    copy = host / "certbot/test/accounts.json"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_half_an_account_is_none(host: Path) -> None:
    """A power cut in the middle of the registration: certbot makes another."""
    folder = host / PLACE / "105ad502"
    folder.mkdir(parents=True)
    (folder / "private_key.json").write_text("")
    account.keep_new(order())
    assert account.known(order()) is None
    assert account.lay_out(order()) is None
    assert not folder.exists()


def test_environments_and_servers_share_no_account(host: Path) -> None:
    account.give(order(), ACCOUNT)
    assert account.known(order(environment="preview-7")) is None
    assert account.known(order(server="https://other/dir")) is None


# -------------------------------------------------------------------------------- what is cut short


@pytest.fixture
def issued(host: Path) -> Path:
    """certbot's folder after one issue, as certbot leaves it."""
    folder = host / "certbot/test"
    lineage = order()["lineage"]
    pair = Authority.root("CA").issue("app.example.com")
    texts = {"cert": pair.pem, "chain": "", "fullchain": pair.pem, "privkey": pair.key}
    texts["chain"] = pair.pem
    for name in ("archive", "live"):
        (folder / name / lineage).mkdir(parents=True)
    for name, text in texts.items():
        (folder / "archive" / lineage / f"{name}1.pem").write_text(text)
        link = folder / "live" / lineage / f"{name}.pem"
        link.symlink_to(f"../../archive/{lineage}/{name}1.pem")
    (folder / "renewal").mkdir()
    (folder / "renewal" / f"{lineage}.conf").write_text("[renewalparams]\n")
    return folder


def test_what_is_whole_stays(issued: Path) -> None:
    certbot.forget_damaged(order())
    assert certbot.pair(order()) is not None


@pytest.mark.parametrize(
    "damage",
    [
        "archive/acme-0123456789abcdef/cert1.pem",
        "archive/acme-0123456789abcdef/privkey1.pem",
        "archive/acme-0123456789abcdef/fullchain1.pem",
        "renewal/acme-0123456789abcdef.conf",
    ],
)
def test_a_lineage_that_is_cut_is_forgotten(issued: Path, damage: str) -> None:
    """certbot would end with a traceback at each renewal; the pair that serves lies elsewhere."""
    (issued / damage).write_text("")
    certbot.forget_damaged(order())
    assert certbot.pair(order()) is None
    assert not list((issued / "archive").iterdir())
    assert not list((issued / "renewal").iterdir())


def test_a_newer_version_that_is_cut_counts(issued: Path) -> None:
    """The disk was full when certbot wrote the second."""
    archive = issued / "archive" / order()["lineage"]
    shutil.copy(archive / "privkey1.pem", archive / "privkey2.pem")
    (archive / "cert2.pem").touch()
    certbot.forget_damaged(order())
    assert not archive.exists()


# --------------------------------------------------------------------------------------- the record


def test_the_record_counts_what_was_issued_and_what_has_failed(host: Path) -> None:
    lineage = order()["lineage"]
    assert record.of(lineage) is None
    record.note(lineage, "issued")
    record.note(lineage, "failed", "the CA says no", "2031-01-02")
    found = record.of(lineage)
    assert found is not None
    assert len(found["issued"]) == len(found["failed"]) == 1
    assert (found["result"], found["text"]) == ("failed", "the CA says no")
    assert found["next"] - found["checked"] == 6 * 3600
    record.note(lineage, "kept")
    kept = record.of(lineage)
    assert kept is not None and kept["text"] == ""


def test_a_record_that_is_cut_is_begun_again(host: Path) -> None:
    (host / "renewal.json").write_text('{"acme')
    assert record.of("acme-1") is None
    record.note("acme-1", "kept")
    assert json.loads((host / "renewal.json").read_text())["acme-1"]["result"] == "kept"


# --------------------------------------------------------------------------------------- the limits

NOW = 1_900_000_000.0
HOUR, DAY = 3600, 86_400


def said(
    names: list[str],
    issued: list[float] | None = None,
    failed: list[float] | None = None,
    others: list[Issue] | None = None,
    server: str = LETS_ENCRYPT,
) -> list[str]:
    return list(
        limits.warnings(
            server, names, map(int, issued or []), map(int, failed or []), others or [], NOW
        )
    )


def test_the_fourth_of_five_is_reported_before_the_fifth() -> None:
    names = ["app.example.com"]
    assert said(names, [NOW - DAY] * 3) == []
    (line,) = said(names, [NOW - DAY] * 4)
    assert "4 certificates for exactly app.example.com in 7 days: Let's Encrypt issues 5" in line
    assert said(names, [NOW - 8 * DAY] * 4) == []
    assert said(names, [NOW - DAY] * 4, server="https://10.0.0.1/dir") == []


def test_the_fourth_failure_of_five_is_reported() -> None:
    (line,) = said(["app.example.com"], failed=[NOW - 60] * 4)
    assert "4 failed orders" in line
    assert said(["app.example.com"], failed=[NOW - 2 * HOUR] * 9) == []


def test_names_under_one_registered_domain_count_together_without_renewals() -> None:
    fresh = [Issue(int(NOW) - DAY, (f"b{number}.example.co.uk",), False) for number in range(45)]
    renewals = [replace(one, renewal=True) for one in fresh]
    (line,) = said(["app.example.co.uk"], others=fresh)
    assert "45 new certificates below example.co.uk in 7 days" in line
    assert said(["app.example.co.uk"], others=renewals) == []
    assert said(["app.other.co.uk"], others=fresh) == []


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("a.b.example.com", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::"),
    ],
)
def test_what_counts_as_one_domain(name: str, domain: str) -> None:
    assert limits.registered_domain(name) == domain


def test_issues_of_the_last_week_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))
    old, new = Issue(1, ("a.example",), False), Issue(1_900_000_000, ("b.example",), True)
    limits.note(old)
    limits.note(new)
    assert limits.read() == [new]


# --------------------------------------------------------------------------------------- the orders


CONTRACT = example()


def of_acme() -> Contract:
    """A contract with `tls: acme`."""
    names = {
        role: replace(getattr(CONTRACT, role), origin=f"https://{name}.example.com")
        for role, name in (("frontend", "app"), ("backend", "api"))
    }
    cors = replace(CONTRACT.cors, allowed_origins=("https://app.example.com", "https://b.example"))
    https = Https(directory=SERVER, email="ada@example.com", eab_kid="kid-1")
    return replace(CONTRACT, tls="acme", https=https, cors=cors, **names)


def test_the_order_of_a_role_is_for_its_names() -> None:
    contract = of_acme()
    found = order_of(contract, "backend")
    assert found["names"] == ["api.example.com"]
    assert found["server"] == SERVER
    assert found["lineage"].startswith("acme-")
    assert found["environment"] == CONTRACT.environment


def test_before_the_first_certificate_the_same_is_served_over_http() -> None:
    """The page keeps working meanwhile: both of its schemes are in the list."""
    plain = without_https(of_acme())
    assert plain.tls == "off"
    assert plain.frontend.origin == "http://app.example.com"
    assert plain.backend.origin == "http://api.example.com"
    assert plain.cors.allowed_origins[:2] == ("http://app.example.com", "https://b.example")
    assert "https://app.example.com" in plain.cors.allowed_origins


def test_production_too_can_be_asked_for_its_first_certificate() -> None:
    """What production denies over http, and what makes browsers ask for https, is left out for the
    moments in which there is no certificate: the rest can be rendered."""
    contract = of_acme()
    strict = replace(
        contract,
        production=True,
        cors=replace(contract.cors, allow_credentials=True, allowed_shapes=()),
        page=replace(contract.page, csp="img-src 'self'; upgrade-insecure-requests"),
    )
    plain = without_https(strict)
    for role, host in plain.hosts:
        assert render(plain, role, host, {}).files
    assert not plain.speaks_https and plain.cors.allow_credentials


@pytest.mark.parametrize(
    ("answering", "expected"),
    [
        ({}, [None]),
        ({"backend-1": True}, ["frontend-1"]),
        ({"backend-1": True, "frontend-1": True}, []),
    ],
)
def test_only_a_host_that_the_ca_can_not_ask_goes_to_http_first(
    answering: dict[str, bool], expected: list[str | None]
) -> None:
    """Not the whole environment, some of which may serve https."""
    looks = []
    for role, host in of_acme().hosts:
        facts = cast(Facts, {"chain": "", "answers_challenge": answering.get(host.name, False)})
        looks.append(Look(role, host, facts))
    assert http_first(looks, None) == expected


@pytest.fixture
def two_hosts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Facts]:
    """What two hosts have whose CA refuses every order; by name, to be changed."""
    found = {
        host.name: cast(
            Facts, {"chain": OLD, "has_account": True, "answers_challenge": True, "renewal": None}
        )
        for _, host in of_acme().hosts
    }

    def looks(contract: Contract, only: str | None, **_: object) -> list[Look]:
        hosts = contract.chosen(only)
        return [Look(role, host, found[host.name]) for role, host in hosts]

    def refuse(_: Contract, look: Look, orders: object) -> NoReturn:
        raise HostError(look.host, "no new certificate: too many; the one that serves stays")

    monkeypatch.setattr(certify, "_looks", looks)
    monkeypatch.setattr(certify, "_account", lambda *_: None)
    monkeypatch.setattr(certify, "_ask", refuse)
    return found


OLD = Authority.root().issue("app.example.com", ends=timedelta(days=1)).chain


def test_a_ca_that_is_down_stops_no_deploy_where_a_certificate_serves(
    two_hosts: dict[str, Facts], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is near its end, and the CA does not answer: a change of the configuration goes on. One
    refusal is enough."""
    certify.before_deploy(Outputs(of_acme(), {}))
    said = capsys.readouterr().out
    assert said.count("warning: no new certificate: too many; the one that serves stays") == 1


def test_a_host_without_a_certificate_stops_the_deploy(two_hosts: dict[str, Facts]) -> None:
    """Even after another one has gone on with its old one."""
    two_hosts["frontend-1"]["chain"] = ""
    with pytest.raises(HostError, match=r"frontend-1 .*: no new certificate"):
        certify.before_deploy(Outputs(of_acme(), {}))


def test_a_renewal_that_fails_is_an_error_where_it_was_asked_for(
    two_hosts: dict[str, Facts],
) -> None:
    """`fab tls.renew` changes nothing else: its failure is an error."""
    with pytest.raises(HostError):
        certify.renew(Outputs(of_acme(), {}), force=True)


def test_every_package_of_certbot_is_pinned_with_hashes() -> None:
    lines = [line for line in requirements().splitlines() if line[:1].isalnum()]
    assert any(line.startswith("certbot==5.8.0 ") for line in lines)
    for line in lines:
        assert "==" in line and line.endswith("\\")
    assert requirements().count("--hash=sha256:") > len(lines)
