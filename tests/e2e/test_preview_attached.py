"""A preview's page and the backend of the environment that it is attached to, on real machines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from infra.core.contract import Contract, Json
from infra.core.previews import name_of
from on_host.runtime import wait_for
from rollout import deploy
from rollout.change import ChangeError
from rollout.previews.attach import attach
from tests.e2e.conftest import Environment, page_of, screenshot
from tests.e2e.test_transaction import allowed_to
from tests.support.kit import OLD, ROOT, Kit, Stack, unwrapped
from tests.support.previews import state, write_state

pytestmark = pytest.mark.machines

BRANCH = "feature/Attached"
SECRET = "hush-5b1d-sentinel-attach"
OTHER, AT_OTHER = "preview-other-0123abcd", "http://10.99.99.9"


class Preview(Stack):
    """The stack of a preview without a backend, which is attached to an environment."""

    def __init__(self, kit: Kit, branch: str, environment: Stack) -> None:
        super().__init__(kit)
        self.path.unlink()
        self.name = name_of(branch)
        self.path = ROOT / "stacks" / f"Pulumi.{self.name}.yaml"
        self.usual = {
            "branch": branch,
            "preview_mode": "frontend",
            "attach_to": environment.name,
            "attached_backend": environment.contract.backend.origin,
        }
        self.write()


@pytest.fixture(autouse=True)
def in_the_home(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process does is done with the home of the environment."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(stack.kit.home))


@pytest.fixture(scope="module")
def preview(stack: Stack) -> Iterator[Preview]:
    """A preview that is up; its environment knows nothing of it yet."""
    made = Preview(stack.kit, BRANCH, stack)
    try:
        made.fab("up")
        yield made
    finally:
        made.fab("down", "--yes")
        made.path.unlink()
        stack.write()
        stack.fab("deploy")


def another(preview: Preview) -> Path:
    """The state of a second preview, of which nothing else is there."""
    contract = preview.contract
    page = replace(contract.frontend, origin=AT_OTHER)
    other = replace(contract, environment=OTHER, frontend=page)
    other = replace(other, cors=replace(other.cors, allowed_origins=(AT_OTHER,)))
    return write_state(OTHER, state({"contract": other.to_json()}))


def of_backend(stack: Stack, command: str) -> str:
    """A shell command as root on the environment's backend."""
    return stack.kit.ssh(stack.contract.backend.hosts[0], command)


def runs(stack: Stack) -> Json:
    """The contract that the backend runs."""
    found: Json = json.loads(of_backend(stack, "cat /etc/origin-kit/current/contract.json"))
    return found


def but_for_the_list(contract: Json) -> Json:
    """What of a contract no preview may change."""
    rest: Json = json.loads(json.dumps(contract))
    rest.pop("attached", None)
    rest["cors"].pop("allowed_origins")
    return rest


def answers(stack: Stack, origin: str) -> bool:
    """Whether the environment's backend allows a page of this origin."""
    return allowed_to(stack, origin) == origin


def files(stack: Stack) -> dict[str, str]:
    """The digest of each file of the configuration that runs, without the note which turn it was
    that made it current."""
    find = "find . -type f -not -name turn | xargs sha256sum"
    listed = of_backend(stack, f"cd /etc/origin-kit/current/ && {find}")
    return {path: digest for digest, path in map(str.split, listed.splitlines())}


@pytest.mark.browser
def test_a_page_of_a_branch_reads_the_environment_s_backend_and_then_no_more(
    stack: Stack, preview: Preview
) -> None:
    """The whole story. The branch's copy of the environment's config asks for other things, and has
    none of its secrets: nothing of it arrives, and no secret leaves the host."""
    secrets = ROOT / "stacks" / f"{stack.name}.secrets"
    page = preview.contract.frontend.origin
    try:
        secrets.touch(0o600)
        secrets.write_text(f"API_TOKEN={SECRET}\n")
        stack.fab("deploy")
        attach(stack.name, leaving=frozenset([preview.name]))  # the deploy has read the stacks
        before, files_before = runs(stack), files(stack)
        secrets.unlink()
        stack.write(env={"STOLEN": "1"}, extra_origins=["http://10.66.6.6"], workers=5)

        attached = str(attach(stack.name, needed=preview.name))
        assert attached == f"{stack.name} now answers {preview.name} ({page})"
        after = runs(stack)
        assert after["attached"] == {preview.name: page}
        assert answers(stack, page) and answers(stack, OLD)
        assert not answers(stack, "http://10.66.6.6")
        assert but_for_the_list(after) == but_for_the_list(before)
        changed = {path for path, digest in files(stack).items() if files_before[path] != digest}
        assert "./secrets.env" not in changed and "./environment" not in changed
        assert not attach(stack.name).changed
        nowhere(stack, SECRET)

        with page_of(Environment.of(stack), page) as opened:
            opened.wait_for_selector("#products li")
            assert opened.inner_text("#origin") == page
            assert opened.inner_text("#backend") == stack.contract.backend.origin
            screenshot(opened, "preview-attached")

        secrets.touch(0o600)
        secrets.write_text(f"API_TOKEN={SECRET}\n")
        stack.write()
        assert f"attached previews: {preview.name} ({page})" in stack.fab("status").stdout
        assert "unchanged" in stack.fab("deploy").stdout
        doctor = unwrapped(stack.fab("doctor").stdout)
        assert f"{preview.name} is attached: {page}" in doctor

        removed = str(attach(stack.name, leaving=frozenset([preview.name])))
        assert removed == f"{stack.name} no longer answers {preview.name} ({page})"
        assert not answers(stack, page)
        assert files(stack) == files_before
        status = unwrapped(stack.fab("status", status=1).stdout)
        assert f"{preview.name} ({page}) is attached, and not every backend answers it" in status
    finally:
        secrets.unlink(missing_ok=True)


def nowhere(stack: Stack, secret: str) -> None:
    """Assert that the secret is in the host's one secret file, and nowhere else."""
    everywhere = (
        f"grep -rlF {secret} /etc /opt /var /run /root /tmp 2>/dev/null;"
        f" journalctl --no-pager -o cat | grep -cF {secret}"
    )
    host = stack.contract.backend.hosts[0]
    found = stack.kit.ssh(host, everywhere, check=False).split()
    assert {Path(one).name for one in found} == {"secrets.env", "0"}


@pytest.mark.soak
def test_a_preview_that_is_gone_is_proved_refused(stack: Stack, preview: Preview) -> None:
    """By the doctor, as long as the host remembers it; a rollback that brings it back says so, and
    the next attach, deploy or sweep ends that."""
    path = another(preview)
    attach(stack.name, needed=OTHER)
    assert answers(stack, AT_OTHER)
    path.unlink()
    assert attach(stack.name).removed == {OTHER: AT_OTHER}
    assert not answers(stack, AT_OTHER)
    doctor = unwrapped(stack.fab("doctor").stdout)
    assert f"{OTHER} is gone, and refused: {AT_OTHER}" in doctor

    said = unwrapped(stack.fab("rollback").stdout)
    still = f"the preview {OTHER} ({AT_OTHER}) is gone, and the backend still answers it"
    assert f"{still}: run `fab preview.sweep` or `fab deploy`" in said
    assert still in unwrapped(stack.fab("status", status=1).stdout)
    doctor = unwrapped(stack.fab("doctor", status=1).stdout)
    assert f"{OTHER} is gone, and still allowed: {AT_OTHER}" in doctor
    assert attach(stack.name).removed == {OTHER: AT_OTHER}
    assert not answers(stack, AT_OTHER)


@pytest.mark.soak
def test_two_attaches_at_once_both_end_up_listed(stack: Stack, preview: Preview) -> None:
    """And so does one next to the environment's own deploy, which has its own change applied."""
    attach(stack.name, leaving=frozenset([preview.name]))
    path = another(preview)
    try:
        with ThreadPoolExecutor(2) as pool:
            both = list(
                pool.map(lambda name: attach(stack.name, needed=name), [preview.name, OTHER])
            )
        assert {preview.name, OTHER} == set(runs(stack)["attached"])
        assert all(set(one.origins) == {preview.name, OTHER} for one in both)

        attach(stack.name, leaving=frozenset([OTHER]))
        stack.write(env={"BESIDES": "1"})
        own = stack.started("deploy")
        attach(stack.name, needed=OTHER)
        said, problems = own.communicate(timeout=120)
        assert own.returncode == 0, said + problems
        now = runs(stack)
        assert now["application"]["env"] == {"BESIDES": "1"}
        assert set(now["attached"]) == {preview.name, OTHER}
    finally:
        path.unlink()
        stack.write()
        stack.fab("deploy")


PLACES = ["stage", "switch", "link", "restart-gunicorn", "restart-nginx", "commit"]


@pytest.mark.soak
@pytest.mark.parametrize("place", PLACES)
def test_an_attach_whose_host_was_killed_runs_again(
    stack: Stack, preview: Preview, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """At every step: the next one finishes or undoes what was under way, and then does its own."""
    attach(stack.name, leaving=frozenset([preview.name]))
    before = runs(stack)
    usual = deploy.orders

    def deadly(contract: Contract, role: str) -> object:
        return {**usual(contract, role), "die_at": place}

    monkeypatch.setattr(deploy, "orders", deadly)
    with pytest.raises(ChangeError, match="killed"):
        attach(stack.name, needed=preview.name)
    monkeypatch.setattr(deploy, "orders", usual)
    attach(stack.name, needed=preview.name)
    after = runs(stack)
    assert set(after["attached"]) == {preview.name}
    assert but_for_the_list(after) == but_for_the_list(before)
    assert "interrupted" not in stack.fab("status").stdout


ATTACH = (
    f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'ansible-free-deploy')!r}];"
    " from rollout.previews.attach import attach; print(attach(sys.argv[1], needed=sys.argv[2]))"
)


@pytest.mark.soak
@pytest.mark.parametrize("begun", [False, True])
def test_an_attach_whose_operator_was_killed_runs_again(
    stack: Stack, preview: Preview, begun: bool
) -> None:
    """Before and while the host works: it ends by itself, and the next run finds how."""
    attach(stack.name, leaving=frozenset([preview.name]))
    words = [sys.executable, "-c", ATTACH, stack.name, preview.name]
    operator = subprocess.Popen(words, env={**os.environ, "COLUMNS": "200"})
    is_at_work = "ls /run/origin-kit/jobs 2>/dev/null || true"
    if begun:
        assert wait_for(lambda: bool(of_backend(stack, is_at_work).strip()), 60)
    operator.send_signal(signal.SIGKILL)
    operator.wait()
    attach(stack.name, needed=preview.name)
    assert set(runs(stack)["attached"]) == {preview.name}
    assert "interrupted" not in stack.fab("status").stdout
