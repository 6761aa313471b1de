"""A preview on real machines: whom it answers, what lies on its hosts, and its first data."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.core.contract import Contract
from infra.core.errors import KitError
from infra.core.keys.previews import PASSWORD as PREVIEW_PASSWORD
from on_host import seed_mark
from rollout import gated
from rollout.previews import seed
from rollout.previews.seed import SeedError
from rollout.render import gates
from tests.e2e.conftest import PASSWORD, Environment, launching
from tests.e2e.test_browser import log_in, written
from tests.support.clients import root_of
from tests.support.gated import BRANCH, PREVIEW
from tests.support.kit import Kit, copy_of_the_checkout, unwrapped

pytestmark = [pytest.mark.machines, pytest.mark.browser, pytest.mark.soak]

OPENS = "an open-door sentence"
SEED = f"createdemo ada {PASSWORD}"


@dataclass(frozen=True)
class Preview:
    """A checkout of its own with a preview in it."""

    kit: Kit
    folder: Path

    def configure(self, **config: object) -> None:
        base = yaml.safe_load((self.folder / "stacks/Pulumi.local-names-https.yaml").read_text())
        own = {"domain": "gates.test", "branch": BRANCH, **config}
        values = base["config"] | {f"origin-kit:{key}": value for key, value in own.items()}
        path = self.folder / "stacks" / f"Pulumi.{PREVIEW}.yaml"
        path.write_text(yaml.safe_dump({"config": values}))

    def keep_secrets(self, stack: str, **values: str) -> None:
        path = self.folder / "stacks" / f"{stack}.secrets"
        path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        path.chmod(0o600)

    def fab(self, *words: str, status: int | None = 0) -> Any:
        verb, *rest = words
        return self.kit.fab(verb, "--stack", PREVIEW, *rest, status=status, cwd=self.folder)

    @property
    def contract(self) -> Contract:
        return Contract.from_json(json.loads(self.fab("outputs").stdout))


@pytest.fixture(scope="module")
def preview(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preview]:
    base = tmp_path_factory.mktemp("gates")
    made = Preview(Kit(base / "home"), copy_of_the_checkout(base / "checkout"))
    made.configure()
    made.keep_secrets("local", KEY="of-another-environment")
    made.keep_secrets("preview", KEY="of-another-environment")
    try:
        yield made
    finally:
        made.keep_secrets("preview")
        made.fab("down", "--yes", status=None)


@pytest.fixture(scope="module")
def up(preview: Preview) -> Preview:
    """Up, with a password on the page, for the network of this machine."""
    preview.keep_secrets("preview", KEY="of-previews-alone", **{PREVIEW_PASSWORD: OPENS})
    preview.fab("up")
    return preview


def test_another_environments_secret_is_refused_before_a_machine_is_made(preview: Preview) -> None:
    refused = preview.fab("up", status=2)
    assert "KEY (its secrets) is a secret of local (stacks/local.secrets: KEY)" in refused.stderr
    assert "of-another-environment" not in refused.stdout + refused.stderr
    assert not list(preview.kit.home.glob("machines/*"))


def answer(
    up: Preview, contract: Contract, role: str, path: str, **headers: str
) -> tuple[int, Message]:
    """Status and headers from outside of the hosts, under the role's name."""
    found = getattr(contract, role)
    origin = found.parsed_origin
    context = None
    if origin.scheme == "https":
        context = ssl.create_default_context(cafile=root_of(up.kit))
        context.check_hostname = False
    request = urllib.request.Request(
        f"{origin.scheme}://{found.hosts[0].address}{path}",
        headers={"Host": origin.authority, **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as done:
            return done.status, done.headers
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers


def opening() -> dict[str, str]:
    return dict(gated.credentials({PREVIEW_PASSWORD: OPENS}))


def test_the_page_asks_for_a_password_whose_hash_alone_is_there(up: Preview) -> None:
    """Debian's own crypt(3) verifies it; other users of the host read neither."""
    contract = up.contract
    assert answer(up, contract, "frontend", "/config.json")[0] == 401
    for path in ("/", "/config.json"):
        status, headers = answer(up, contract, "frontend", path, **opening())
        assert (status, headers["X-Robots-Tag"]) == (200, "noindex")
    status, headers = answer(up, contract, "backend", "/api/products/")
    assert (status, headers["X-Robots-Tag"]) == (200, "noindex")
    host = contract.frontend.hosts[0]
    file = f"/etc/origin-kit/current/{gates.PASSWORDS}"
    assert up.kit.ssh(host, f"stat -Lc '%a %U:%G' {file}").strip() == "640 root:www-data"
    assert up.kit.ssh(host, f"sudo -u nobody cat {file} || echo refused").strip() == "refused"
    assert up.kit.ssh(host, f"sudo -u www-data cat {file}").startswith("preview:$2b$06$")
    plain = f"grep -rlF '{OPENS}' /etc /var /run /opt 2>/dev/null; journalctl | grep -cF '{OPENS}'"
    assert up.kit.ssh(host, plain, check=False).split() == ["0"]


def test_nothing_is_called_broken(up: Preview) -> None:
    """Status, plan and doctor on a page that asks for a password, with it and without it."""
    assert "unchanged" in up.fab("deploy").stdout
    assert "as the contract says" in up.fab("status").stdout
    assert gates.HEADER not in up.fab("doctor").stdout
    up.keep_secrets("preview", KEY="of-previews-alone", **{PREVIEW_PASSWORD: "another-one"})
    said = unwrapped(up.fab("doctor").stdout)  # the hosts have another password
    assert "the page asks for preview_password" in said
    up.keep_secrets("preview", KEY="of-previews-alone", **{PREVIEW_PASSWORD: OPENS})


def test_the_seed_runs_once_and_one_that_ended_badly_again(
    up: Preview, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the application's user; a cut connection ends it, and it is not taken for done."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(up.kit.home))
    contract = up.contract
    host = contract.backend.hosts[0]
    with pytest.raises(SeedError, match="status 1"):
        seed.run_once(contract, "no-such-command")
    sleeping = "shell -v0 -c 'import time; time.sleep(900)'"
    failed: list[KitError] = []

    def run() -> None:
        try:
            seed.run_once(contract, sleeping)
        except KitError as problem:
            failed.append(problem)

    running = threading.Thread(target=run)
    running.start()
    is_active = 'systemctl -q is-active "origin-kit-manage-*"'
    begun = f"timeout 60 sh -c 'until {is_active}; do sleep 0.1; done'"
    up.kit.ssh(host, begun)
    up.kit.ssh(host, "pkill -KILL -o -f 'sshd: deploy@notty' -u deploy", check=False)
    running.join(timeout=90)
    assert failed, "the seed should have ended with the connection"
    ended = begun.replace("until", "while")
    up.kit.ssh(host, ended)
    assert up.kit.ssh(host, f"cat {seed.MARK}").strip() == seed_mark.BEGUN
    capfd.readouterr()
    who = "shell -v0 -c 'import getpass; print(getpass.getuser())'"
    assert seed.run_once(contract, who)
    said = capfd.readouterr()
    assert "again, as it failed or was stopped before" in said.out
    assert "shop" in said.err
    assert not seed.run_once(contract, SEED)
    up.kit.ssh(host, f"rm {seed.MARK}")
    assert seed.run_once(contract, SEED)


def open_page(up: Preview) -> Any:
    return launching([Environment(up.kit, PREVIEW, up.contract)], (), ())


@pytest.mark.parametrize("way", ["cookies", "token"])
def test_the_example_logs_in_and_writes_under_both_gates(up: Preview, way: str) -> None:
    """In Chromium, which asks for the password once: the page reads its config.json, and its calls
    carry the session's cookie or the token."""
    here = up.contract.backend.hosts[0].address.rpartition(".")[0] + ".1/32"
    scheme = {} if way == "cookies" else {"tls": "off", "allow_credentials": False}
    up.configure(preview_from=[here], **scheme)
    up.fab("deploy")
    contract = up.contract
    with open_page(up) as (program, options, _):
        browser = program.launch(**options)
        context = browser.new_context(
            http_credentials={
                "username": gates.USER,
                "password": OPENS,
                "origin": contract.frontend.origin,
            }
        )
        page = context.new_page()
        page.goto(f"{contract.frontend.origin}/")
        page.wait_for_function("window.shop !== undefined")
        log_in(page)
        assert written(page) == [201, 200, 204]
        browser.close()


def test_who_is_not_listed_is_refused_and_nothing_is_called_broken(up: Preview) -> None:
    """Both roles; the page that asks from elsewhere reads why, a write's preflight included. The
    hosts' own probes and the deploy pass, and `fab doctor` says that this machine is outside."""
    up.configure(preview_from=["192.0.2.0/24"])
    assert "can't be looked at from here" in up.fab("up").stdout
    contract = up.contract
    origin = contract.frontend.origin
    for role, path in (("frontend", "/"), ("backend", "/api/products/"), ("backend", "/static/x")):
        status, headers = answer(up, contract, role, path, Origin=origin, **opening())
        assert (status, headers[gates.HEADER]) == (403, "preview_from")
        assert headers["X-Robots-Tag"] == "noindex"
        allowed = {"frontend": None, "backend": origin}[role]
        assert headers["Access-Control-Allow-Origin"] == allowed
    said = unwrapped(up.fab("doctor").stdout)
    assert "this machine is in none" in said
    assert "as the contract says" in up.fab("status").stdout
