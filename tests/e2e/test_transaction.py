"""One deploy on a real host, killed at every step; and the verbs that look back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from on_host import protocol
from rollout import change, deploy, outputs, program
from tests.support.clients import connected
from tests.support.kit import OLD, ROOT, Stack
from tests.support.sampling import sampled

pytestmark = [pytest.mark.machines, pytest.mark.either_scheme]

OF_A_DEPLOY = re.compile("on_host/(configuration/.*|recovery|probe|journal|two_phase)[.]py")
SOURCES = [text for path, text in program.sources().items() if OF_A_DEPLOY.fullmatch(path)]
# In the order in which a deploy that changes everything comes by.
STEPS = (
    "stage",
    "check-django",
    "check-nginx",
    "journal",
    "switch",
    "link",
    "restart-gunicorn",
    "restart-nginx",
    "probe",
    "commit",
)
NEW = "http://localhost:7002"


@pytest.fixture
def found(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[outputs.Outputs]:
    """The outputs with the new origin in place of the old one; afterwards the hosts hold the old
    ones again."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(stack.kit.home))
    stack.fab("deploy")
    contract = json.loads(stack.fab("outputs").stdout)
    contract["cors"]["allowed_origins"] = [
        NEW if origin == OLD else origin for origin in contract["cors"]["allowed_origins"]
    ]
    file = stack.kit.home / "new.json"
    file.write_text(json.dumps(contract))
    yield outputs.load(stack.name, str(file))
    file.unlink()
    stack.fab("deploy")


def admitted(stack: Stack) -> set[str]:
    """Which of the two origins the live backend allows, asked through nginx and of what gunicorn's
    workers loaded."""
    answers = {origin: allowed_to(stack, origin) for origin in (OLD, NEW)}
    return {origin for origin, answer in answers.items() if answer == origin}


def allowed_to(stack: Stack, origin: str) -> str | None:
    """The origin that an answer to a page of this origin allows."""
    backend = stack.contract.backend
    connection = connected(stack.kit, backend)
    try:
        connection.request("GET", "/api/products/", headers={"Origin": origin})
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.getheader("Access-Control-Allow-Origin")
    finally:
        connection.close()


def test_every_step_of_the_transaction_has_its_case() -> None:
    """A new step without a case here fails."""
    plain = {step for text in SOURCES for step in re.findall(r'\bstep\(\s*"([a-z-]+)"', text)}
    undoing = {"back-release"}  # tests/test_install.py
    assert plain - undoing | {"restart-gunicorn", "restart-nginx"} == set(STEPS)


@pytest.mark.parametrize("step", sampled(STEPS, ["link"]))
def test_a_kill_at_a_step_leaves_old_or_new_whole(
    stack: Stack, found: outputs.Outputs, step: str
) -> None:
    """SIGKILL just before the step; then the same deploy goes through, and all of it is new."""
    with pytest.raises(
        change.ChangeError, match="the work on the host was killed; run the same command again"
    ):
        deploy.run_on_all_hosts(found, protocol.DEPLOY, die_at=step)
    first = deploy.run_on_all_hosts(found, protocol.DEPLOY)
    assert admitted(stack) == {NEW}
    assert [one.result["changed"] for one in deploy.run_on_all_hosts(found, protocol.DEPLOY)] == [
        False,
        False,
    ]
    assert any(one.result["changed"] for one in first)


@pytest.mark.parametrize("step", sampled(["switch", "restart-nginx", "commit"], ["switch"]))
def test_after_a_kill_the_old_configuration_comes_back(
    stack: Stack, found: outputs.Outputs, step: str
) -> None:
    """Whoever comes next may want the old one: it is undone to it, and serves it."""
    with pytest.raises(change.ChangeError):
        deploy.run_on_all_hosts(found, protocol.DEPLOY, die_at=step)
    stack.fab("deploy")
    assert admitted(stack) == {OLD}
    assert "as the contract says" in stack.fab("status").stdout


@pytest.mark.parametrize("step", sampled(STEPS, ["link"]))
def test_a_pulled_plug_at_a_step_boots_into_one_of_the_two(
    stack: Stack, found: outputs.Outputs, step: str
) -> None:
    """The machine dies with no shutdown and boots with nobody there: it serves the old, whole, and
    says so; after a deploy the new."""
    old = json.loads(stack.fab("status", "--json").stdout)["backend-1"]["generation"]
    with pytest.raises(change.ChangeError):
        deploy.run_on_all_hosts(found, protocol.DEPLOY, die_at=step)
    for record in stack.kit.home.glob("machines/*backend-1*/machine.json"):
        os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    engine = [sys.executable, "-m", "infra.local.engine", "up", "--stack", stack.name]
    subprocess.run(engine, cwd=ROOT, env=stack.kit.environment, check=True, capture_output=True)
    assert admitted(stack) == {OLD}
    status = json.loads(stack.fab("status", "--json").stdout)["backend-1"]
    assert (status["generation"], status["unfinished"]) == (old, False)
    deploy.run_on_all_hosts(found, protocol.DEPLOY)
    assert admitted(stack) == {NEW}


def test_a_rollback_goes_to_the_generation_before_and_back(
    stack: Stack, found: outputs.Outputs
) -> None:
    """No argument needed; history says what was, and by whom."""
    before = {
        one.host.name: one.result["generation"]
        for one in deploy.run_on_all_hosts(found, protocol.STATUS)
    }
    deploy.run_on_all_hosts(found, protocol.DEPLOY)
    said = stack.fab("rollback").stdout
    assert "the next `fab deploy` brings its configuration back" in said
    assert admitted(stack) == {OLD}
    assert {
        one.host.name: one.result["generation"]
        for one in deploy.run_on_all_hosts(found, protocol.STATUS)
    } == before
    history = json.loads(stack.fab("history", "--json").stdout)["backend-1"]
    assert history["current"] == before["backend-1"]
    assert [entry["result"] for entry in history["deploys"][:2]] == ["deployed", "deployed"]
    assert len({entry["deploy"] for entry in history["deploys"][:2]}) == 2
    stack.fab("rollback")
    assert admitted(stack) == {NEW}
    assert "current" in stack.fab("history").stdout
    refused = stack.fab("rollback", "--to", "nonsense", status=2)
    assert "generation nonsense is on no host; there is" in refused.stderr


def test_a_plan_shows_files_and_restarts_and_writes_nothing(
    stack: Stack, found: outputs.Outputs
) -> None:
    """A plan shows every file and why what restarts and writes nothing."""
    host, processes = stack.contract.backend.hosts[0], stack.processes()
    places = (
        "/etc/origin-kit /etc/nginx /etc/systemd /opt /run/origin-kit /var/log/origin-kit"
        " /var/lib/shop"
    )
    kept = "-path /run/origin-kit/programs -prune -o"  # the kit's own program, in memory
    question = (
        f"find {places} {kept} -printf '%p %l %m %u %s %T@\\n' 2>/dev/null | sort | sha256sum"
    )
    before = stack.kit.ssh(host, question)
    said = stack.fab("plan", "--outputs", str(stack.kit.home / "new.json")).stdout
    assert stack.kit.ssh(host, question) == before
    assert stack.processes() == processes
    assert "backend-1: would change" in said and "frontend-1: unchanged" in said
    for service in ("gunicorn", "nginx"):
        assert f"  restarts {service}: running an older configuration" in said
    for path, old, new in (
        ("nginx/origin-kit.conf", f'"{OLD}";', f'"{NEW}";'),
        ("django/origin_kit_settings.py", f"'{OLD}',", f"'{NEW}',"),
    ):
        assert f"--- now/{path}" in said and f"+++ new/{path}" in said
        assert re.search(rf"^  -.*{re.escape(old)}$", said, re.MULTILINE)
        assert re.search(rf"^  \+.*{re.escape(new)}$", said, re.MULTILINE)


def test_answers_for_other_programs_are_json_and_nothing_else(
    stack: Stack, found: outputs.Outputs
) -> None:
    for verb in ("plan", "deploy", "status", "history"):
        answer = json.loads(stack.fab(verb, "--json").stdout)
        assert set(answer) == {"backend-1", "frontend-1"}
        assert answer["backend-1"]["role"] == "backend"


def test_logs_are_those_of_every_host(stack: Stack) -> None:
    said = stack.fab("logs", "--lines", "5").stdout
    assert "backend-1" in said
    assert "frontend-1" in said
    assert "nginx" in said


def test_two_deploys_at_once_exclude_each_other_by_name(
    stack: Stack, found: outputs.Outputs, tmp_path: Path
) -> None:
    """The second waits as long as it is asked to, then names the first."""
    host = stack.contract.backend.hosts[0]
    stack.kit.ssh(
        host,
        "echo 'ada since noon' > /run/origin-kit/lock; "
        "systemd-run -q --unit holder flock /run/origin-kit/lock sleep 60; "
        "until ! flock -n /run/origin-kit/lock true; do sleep 0.05; done",
    )
    refused = stack.fab("deploy", "--wait", "1s", "--restart", status=1)
    assert "another ship or deploy is running here: ada since noon" in refused.stderr
    stack.kit.ssh(host, "systemctl stop holder")
    assert "restarted gunicorn" in stack.fab("deploy", "--restart").stdout
    assert "write seconds or minutes" in stack.fab("deploy", "--wait", "soon", status=2).stderr
