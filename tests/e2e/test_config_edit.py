"""An edit of the stack's config: seen by every verb, applied by `fab deploy`, agreed with by the
program."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.test_bad_input import said
from tests.e2e.test_transaction import NEW, admitted
from tests.support.kit import OLD, ROOT, Stack, a_copy_of_the_example, unwrapped

pytestmark = pytest.mark.machines


@pytest.fixture(autouse=True)
def as_before(stack: Stack) -> Iterator[None]:
    """The next module finds config and hosts as they were."""
    yield
    stack.write()
    stack.fab("deploy")


def preview(stack: Stack) -> str:
    """What the program would do now."""
    words = [sys.executable, "-m", "infra.local.engine", "preview", "--stack", stack.name]
    return subprocess.run(
        words, cwd=ROOT, env=stack.kit.environment, capture_output=True, text=True, check=True
    ).stdout


def test_an_edit_reaches_the_hosts_by_deploy_alone(stack: Stack) -> None:
    """Plan, status and doctor see it, deploy applies it, and again finds nothing; `fab up` then
    changes nothing."""
    assert admitted(stack) == {OLD}
    called = "https://api.stripe.com"
    stack.write(
        extra_origins=[NEW],
        workers=3,
        threads=2,
        max_body_mb=3,
        env={"FEATURE_X": "on"},
        behind=["198.51.100.0/24"],
        backend_aliases=["api2.example.com"],
        connect_src=[called],
        referrer_policy="no-referrer",
    )
    plan = stack.fab("plan").stdout
    assert plan.startswith(f"stack {stack.name} (--stack)\n")
    assert "backend-1: would change" in plan and NEW in plan and "FEATURE_X" in plan
    assert "frontend-1: would change" in plan and called in plan and "no-referrer" in plan
    assert "set_real_ip_from 198.51.100.0/24;" in plan and "'api2.example.com'" in plan
    assert "differs from the contract: run `fab deploy`" in stack.fab("status", status=1).stdout
    assert f"still answers for {OLD}; the contract says {NEW}" in unwrapped(
        stack.fab("doctor", status=1).stdout
    )
    assert NEW in stack.fab("outputs").stdout

    assert "restarted gunicorn, nginx" in stack.fab("deploy").stdout
    assert admitted(stack) == {NEW}
    assert "all as intended" in stack.fab("doctor").stdout
    assert stack.fab("status").stdout.count("as the contract says") == 2

    processes = stack.processes()
    assert "changed;" not in stack.fab("deploy").stdout
    assert "nothing to change" in preview(stack)
    assert "nothing to do" in stack.fab("up").stdout
    assert stack.processes() == processes


@pytest.mark.soak
def test_an_edit_that_needs_other_machines_stops_a_deploy(stack: Stack) -> None:
    """It names the keys and `fab up`; what else was edited is not applied alone, and those who look
    are reported."""
    stack.write(extra_origins=[NEW], memory_mb=640)
    text = said(stack.fab("deploy", status=2))
    assert (
        f"needs other infrastructure: run `fab up --stack {stack.name}`; nothing was changed"
        in text
    )
    assert "memory_mb: 512 → 640" in text
    assert admitted(stack) == {OLD}
    plan = stack.fab("plan").stdout
    assert "memory_mb: 512 → 640: needs other infrastructure: run `fab up" in plan
    assert NEW in plan


@pytest.mark.soak
def test_an_edit_that_needs_a_ship_is_reported_until_then(stack: Stack) -> None:
    """Every key that a release is made from: plan and status name it and `fab ship`, a deploy says
    it too. The next ship takes it, also where it comes to the same release, and then nobody says
    anything more."""
    with a_copy_of_the_example() as copy:
        page = copy / "dist"
        shutil.copytree(ROOT / "examples" / "frontend", page)
        edits = {
            "backend_path": str(copy.relative_to(ROOT)),
            "frontend_path": str(page.relative_to(ROOT)),
            "backend_git": "https://example.com/shop.git",
            "build_sdists": ["django-foo"],
        }
        for key, value in edits.items():
            stack.write(**{key: value})
            text = stack.fab("plan", "--check", status=1).stdout
            assert f"  {key}: " in text and f"→ {wanted_text(value)}: `fab ship` takes it" in text
            assert f"{key} changed: run `fab ship`" in stack.fab("status", status=1).stdout
        stack.write(backend_git=edits["backend_git"], backend_ref="v2")
        assert (
            "backend_git, backend_ref changed: run `fab ship`"
            in stack.fab("status", status=1).stdout
        )
        stack.write(build_sdists=edits["build_sdists"])
        assert "unchanged; build_sdists changed: run `fab ship`" in stack.fab("deploy").stdout
        processes = stack.processes()
        assert "unchanged: every host has this release already" in stack.fab("ship").stdout
        assert stack.processes() == processes
        assert stack.fab("status").stdout.count("as the contract says") == 2
        assert "ship" not in stack.fab("plan", "--check").stdout
    stack.write()
    stack.fab("ship")


def wanted_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def test_config_mistakes_stop_a_deploy_and_no_rollback(stack: Stack) -> None:
    """All of them are reported; history still shows what a rollback can go to."""
    stack.write(workers="many", extra_origins=["nonsense"], max_age_s=-1, wrokers=2)
    for verb in ("deploy", "plan", "status", "doctor"):
        text = said(stack.fab(verb, status=2))
        for key in ("workers", "extra_origins", "max_age_s", "wrokers"):
            assert f"stacks/Pulumi.{stack.name}.yaml: {key}: " in text
    history = stack.fab("history").stdout
    assert "for now the outputs of the last `fab up` count" in history and "current" in history
