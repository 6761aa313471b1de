"""Certificates by ACME on two real machines, from a CA that runs here; and every way in which an
order fails: the certificate before serves on."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from infra.core.contract import Host
from on_host import protocol
from rollout import access, hosts, outputs
from rollout.acme import certify
from rollout.certificates import pair as pairs
from rollout.host_errors import HostError
from tests.support.acme import RENEWAL, TLS, Acme, acme_pair
from tests.support.kit import ROOT, Stack, unwrapped
from tests.support.pebble import LIFETIMES, eab_key, pebble
from tests.support.sampling import sampled

pytestmark = [pytest.mark.machines, pytest.mark.pebble]

STAYS = "the certificate that serves stays"
BRIEF_S = 150  # the lifetime of a profile of its own: the shortest that two orders fit into


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acme]:
    """A new pair that is on https after its first `fab up`."""
    with acme_pair(tmp_path_factory.mktemp("acme"), {**LIFETIMES, "brief": BRIEF_S}) as made:
        stack = made.stack
        stack.usual |= made.config
        stack.write()
        refused = stack.fab("up", status=1)
        assert "deploys plain http first" in refused.stdout
        assert "does not trust the certificate of" in refused.stderr
        made.trust()
        assert "deploys plain http first" not in stack.fab("up").stdout
        yield made


@contextmanager
def edited(acme: Acme, **config: object) -> Iterator[None]:
    """The stack's config with other keys; afterwards it is deployed as it was."""
    acme.stack.write(**config)
    try:
        yield
    finally:
        acme.stack.write()


# ------------------------------------------------------------------------------------- what is got


def test_two_bare_addresses_have_certificates_of_their_own(acme: Acme) -> None:
    """160 hours, for the IP alone; both hosts have one account, made by the backend."""
    for role in ("backend", "frontend"):
        leaf = acme.served(role)
        assert pairs.names_of(leaf) == [acme.host(role).address]
        lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        assert abs(lifetime.total_seconds() - LIFETIMES["shortlived"]) < 5
    acme.serials()
    accounts = f"sha256sum < {TLS}/certbot/{acme.stack.name}/accounts.json"
    assert acme.run("backend", accounts) == acme.run("frontend", accounts)
    asked = f"find {TLS}/certbot/*/accounts -name private_key.json | wc -l"
    assert acme.run("frontend", asked).strip() == "1"


def test_a_deploy_with_nothing_to_do_asks_no_ca(acme: Acme) -> None:
    acme.ca.front.orders.clear()
    said = acme.stack.fab("deploy").stdout
    assert said.count("unchanged") == 2
    assert acme.ca.front.orders == []


def test_the_timer_runs_and_renews_nothing_before_its_time(acme: Acme) -> None:
    """It waits for its moment by systemd, asks for the CA's, and notes both."""
    before = acme.serials()
    for role in before:
        assert acme.run(role, f"systemctl is-active {RENEWAL}.timer").strip() == "active"
        acme.run(role, f"systemctl start {RENEWAL}.service")
        record = acme.record(role)
        assert record["result"] == "kept"
        assert record["next"] == int(str(record["checked"])) + 6 * 3600
    timer = acme.run("backend", f"systemctl cat {RENEWAL}.timer")
    assert "Persistent=true" in timer and "RandomizedDelaySec=1h" in timer
    assert acme.serials() == before


def test_the_cas_information_decides_when(acme: Acme) -> None:
    """It suggests a window that is over (RFC 9773): the timer's next run renews and serves."""
    before = acme.serials()
    now = datetime.now(UTC)
    window = [(now - timedelta(hours=number)).isoformat() for number in (2, 1)]
    chain = acme.run("frontend", f"cat {TLS}/{acme.contract.lineage('frontend')}/current/chain.pem")
    acme.ca.suggest(chain, *window)
    acme.forget_when_to_ask("frontend")
    acme.run("frontend", f"systemctl start {RENEWAL}.service")
    after = acme.serials()
    assert after["backend"] == before["backend"]
    assert after["frontend"] != before["frontend"]
    assert acme.record("frontend")["result"] == "issued"


def test_a_forced_renewal_is_served_without_a_lost_request(acme: Acme) -> None:
    """New connections all the while, each with a handshake that verifies the certificate."""
    before = acme.serials()
    seen: Counter[str] = Counter()
    stop = threading.Event()
    context = acme.trusting()

    def client(role: str) -> None:
        address = acme.host(role).address
        while not stop.wait(0.02):
            connection = http.client.HTTPSConnection(address, context=context, timeout=20)
            try:
                connection.request("GET", "/")
                seen[f"{role} {connection.getresponse().status}"] += 1
            except OSError as problem:
                seen[f"{role} {problem}"] += 1
            finally:
                connection.close()

    threads = [threading.Thread(target=client, args=(role,)) for role in before for _ in "12"]
    for thread in threads:
        thread.start()
    try:
        said = acme.renew("--force")
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert said.count("a new certificate is served") == 2
    after = acme.serials()
    assert all(after[role] != before[role] for role in before)
    assert set(seen) == {"frontend 200", "backend 404"}
    assert min(seen.values()) > 50


def test_no_key_is_anywhere_but_in_its_private_file(acme: Acme) -> None:
    """Not in a generation, a log, the history, or a world-readable place; only root's, 0600."""
    for role in ("backend", "frontend"):
        key = f"{TLS}/{acme.contract.lineage(role)}/current/key.pem"
        assert acme.run(role, f"stat -L -c '%a %U' {key}").split() == ["600", "root"]
        assert acme.run(role, f"stat -c %a {TLS}").strip() == "700"
        line = acme.run(role, f"sed -n 2p {key}").strip()
        account = acme.run(role, f"cat {TLS}/certbot/*/accounts/*/*/*/private_key.json")
        for secret in (line, json.loads(account).get("p") or json.loads(account)["d"]):
            found = acme.run(
                role,
                f"grep -rlF -- {secret} /etc /var/log /run /opt /var/lib 2>/dev/null || true",
            )
            elsewhere = [path for path in found.split() if not path.startswith(f"{TLS}/")]
            assert elsewhere == []


# ---------------------------------------------------------------------------------- what goes wrong


@contextmanager
def full(acme: Acme) -> Iterator[str]:
    """A disk that is full while certbot works: a small one in the place of its folder."""
    place = f"{TLS}/certbot"
    acme.run(
        "backend",
        f"set -e; cp -a {place} /run/copy; mount -t tmpfs -o size=$(($(du -sk /run/copy | cut -f1)"
        f" + 8))k kit {place}; cp -a /run/copy/. {place}/; dd if=/dev/zero of={place}/filler bs=1k"
        " 2>/dev/null || true",
    )
    try:
        yield "No space left on device"
    finally:
        acme.run("backend", f"umount {place}; rm -r /run/copy")


TROUBLES = {"rate limit": Acme.limited, "dead directory": Acme.dead, "full disk": full}


@pytest.mark.parametrize("trouble", sampled(TROUBLES, ["rate limit"]))
def test_an_order_that_fails_leaves_the_certificate_that_serves(acme: Acme, trouble: str) -> None:
    """What the CA says, and when it may be asked again; afterwards all is well by itself."""
    before = acme.serials()
    with TROUBLES[trouble](acme) as words:
        said = acme.renew("--force", status=1)
        assert words in said
        assert STAYS in said
        assert acme.serials() == before
        record = acme.record("backend")
        assert record["result"] == "failed"
        assert words in str(record["text"])
    if trouble == "rate limit":
        assert record["retry_after"] == "2031-01-02 03:04:05 UTC"
        assert acme.record("frontend")["result"] != "failed", "one refusal is enough"
    acme.run("backend", f"systemctl start {RENEWAL}.service")
    assert acme.record("backend")["result"] in ("kept", "issued")
    acme.serials()


@pytest.mark.soak
def test_another_ca_that_refuses_changes_nothing(acme: Acme) -> None:
    """A wrong EAB key, then the right one and a challenge that fails: the CA asks at port 80 of an
    address where nobody answers."""
    before = acme.serials()
    right, wrong = eab_key("right"), eab_key("wrong")
    secrets = ROOT / "stacks" / f"{acme.stack.name}.secrets"
    with pebble(acme.folder / "other", acme.address, eab={"kid-1": right}, http_port=81) as other:
        acme.trust(other)
        with edited(acme, acme_directory=other.directory, acme_eab_kid="kid-1"):
            try:
                secrets.touch(0o600)
                secrets.write_text(f"acme_eab_hmac={wrong}\n")
                said = acme.stack.fab("deploy", status=1).stderr
                assert "external account binding JWS verification error" in said
                assert wrong not in said
                secrets.write_text(f"acme_eab_hmac={right}\n")
                said = acme.stack.fab("deploy", status=1).stderr
                assert "connection refused" in said
                assert acme.host("backend").address in said
            finally:
                secrets.unlink()
    acme.trust()
    assert acme.serials() == before
    logged = acme.run("backend", f"grep -rlF -e {right} -e {wrong} /etc /var/log /run /opt || true")
    assert logged == ""


@pytest.mark.soak
def test_a_certificate_that_expires_serves_on_and_the_next_renewal_mends_it(acme: Acme) -> None:
    """The CA is dead for longer than a short certificate lives: who looks sees it, clients that
    verify refuse, a deploy changes what it is to change, and the timer's next run ends all that."""
    with edited(acme, acme_profile="brief"):
        acme.stack.fab("deploy")
        acme.renew("--force")
        before = acme.serials()
        with acme.dead() as words:
            wait_for_the_end(acme)
            with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
                acme.served("frontend")
            acme.run("backend", f"systemctl start {RENEWAL}.service", check=False)
            assert acme.serials(unverified()) == before
            says_that_it_has_expired(acme.stack, words)
            acme.stack.write(acme_profile="brief", extra_origins=["https://late.test"])
            said = acme.stack.fab("deploy")
            assert "https://late.test" in acme.run("backend", "nginx -T 2>/dev/null")
            assert words in unwrapped(said.stdout)
            assert acme.serials(unverified()) == before
        for role in before:
            acme.run(role, f"systemctl start {RENEWAL}.service")
            assert acme.record(role)["result"] == "issued"
        after = acme.serials()
        assert all(after[role] != before[role] for role in before)
        acme.stack.fab("status")
    acme.stack.fab("deploy")
    acme.renew("--force")


def unverified() -> ssl.SSLContext:
    """A client that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def wait_for_the_end(acme: Acme) -> None:
    """Return when both certificates have expired."""
    end = max(
        acme.served(role, unverified()).not_valid_after_utc for role in ("backend", "frontend")
    )
    while datetime.now(UTC) <= end:
        time.sleep(1)


def says_that_it_has_expired(stack: Stack, words: str) -> None:
    """Status, `tls.show` and doctor; the backend has asked the CA since, the frontend has not."""
    ended = r"certificate expired (just now|\d+ minutes? ago)"
    cure = "run `fab tls.renew`"
    status = unwrapped(stack.fab("status", status=1).stdout)
    assert re.search(f"{ended}: {cure}", status), status
    shown = unwrapped(stack.fab("tls.show", status=None).stdout)
    because = (
        rf" \(the last renewal failed: no new certificate for [^)]*{re.escape(words)}; {STAYS}\)"
    )
    assert re.search(f"backend-1: {ended}{because}: {cure}", shown), shown
    doctor = unwrapped(stack.fab("doctor", status=1).stdout)
    assert re.search(rf"browsers refuse .*its {ended}, on ", doctor), doctor


# ------------------------------------------------------------------------------------- a power cut

STEPS = (
    "certify-ask",
    "certify-install",
    "certificate",
    "check-certificate",
    "switch-certificate",
    "reload-nginx",
)


@pytest.mark.parametrize("step", sampled(STEPS, ["certify-install"]))
def test_a_pulled_plug_at_a_step_boots_into_a_whole_certificate(acme: Acme, step: str) -> None:
    """Old or new, it serves; and the timer's next run finishes what was begun."""
    before = acme.serials()
    found = outputs.load(acme.stack.name)
    with pytest.raises(HostError):
        ask(found, acme.host("backend"), step)
    for record in acme.stack.kit.home.glob("machines/*backend-1*/machine.json"):
        os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    engine = [sys.executable, "-m", "infra.local.engine", "up", "--stack", acme.stack.name]
    subprocess.run(engine, cwd=ROOT, env=acme.stack.kit.environment, check=True)
    after = acme.serials()
    if step in ("certify-ask", "certify-install"):
        assert after == before
    acme.run("backend", f"systemctl start {RENEWAL}.service")
    assert acme.record("backend")["result"] in ("kept", "issued")
    finished = acme.serials()
    live = acme.run("backend", f"cat {TLS}/certbot/*/live/*/cert.pem")
    assert finished["backend"] == x509.load_pem_x509_certificate(live.encode()).serial_number
    assert "unchanged" in acme.stack.fab("deploy").stdout


def ask(found: outputs.Outputs, host: Host, die_at: str) -> None:
    """A forced renewal that dies just before a step."""
    orders = certify.orders_of(found.contract, "backend")
    orders["force"] = True
    orders["die_at"] = die_at
    with hosts.session(host, access.identity(found.contract)) as session:
        orders["certbot"] = session.ask(protocol.CERTIFY_FACTS, orders)["certbot"][0]
    with hosts.session(host, access.identity(found.contract)) as session:
        session.ask(protocol.CERTIFY, orders)


# ----------------------------------------------------------------------------------- names, and off


def test_names_have_a_certificate_of_45_days_and_off_stops_the_timer(acme: Acme) -> None:
    """One key of the config makes names of the addresses; and http of https, as it was."""
    with edited(acme, domain="kit.test"):
        acme.resolve("kit.test")
        acme.stack.fab("deploy")
        for role in ("backend", "frontend"):
            leaf = acme.served(role)
            assert pairs.names_of(leaf) == [acme.name(role)]
            lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
            assert abs(lifetime.total_seconds() - LIFETIMES["tlsserver"]) < 5
        acme.serials()
    with edited(acme, tls="off", acme_directory=""):
        acme.stack.fab("deploy")
        assert acme.run("backend", f"systemctl is-active {RENEWAL}.timer", False).strip() in (
            "inactive",
            "failed",
            "unknown",
        )
    acme.ca.front.orders.clear()
    acme.stack.fab("deploy")
    acme.serials()
    assert len(acme.ca.front.orders) == 0, "the pair of the addresses was still here"


# ------------------------------------------------------------------------------- another machine


@pytest.mark.soak
def test_a_replaced_host_has_the_certificate_and_the_account_of_the_one_before(acme: Acme) -> None:
    """The CA can't ask a machine that has no address yet, so it is not asked."""
    before = acme.serials()
    question = f"sha256sum < {TLS}/certbot/{acme.stack.name}/accounts.json"
    account = acme.run("frontend", question)
    acme.ca.front.orders.clear()
    acme.stack.fab("replace", "frontend-1", "--yes")
    assert acme.serials() == before
    assert acme.run("frontend", question) == account
    assert acme.ca.front.orders == []
    acme.trust()
    acme.run("frontend", f"systemctl start {RENEWAL}.service")
    assert acme.record("frontend")["result"] == "issued", "certbot there knows no certificate yet"
    acme.serials()
