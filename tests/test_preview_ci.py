"""Previews in CI: the job that holds credentials runs nothing of a branch, and both files call the
same `fab`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support import workflows
from tests.support.kit import ROOT
from tests.support.workflows import Job, commands, gitlab, steps, workflow

GITHUB = workflow("preview")
JOBS: dict[str, Job] = GITHUB["jobs"]
BUILD: dict[str, Job] = workflow("preview-build")
HOLDS_CREDENTIALS = ("up", "down", "sweep")
TRUST = ROOT / "docs" / "preview-aws-trust.json"
WORKFLOWS = sorted(workflows.FOLDER.glob("*.yml"))
SUBJECT = "repo:OWNER@OWNER_ID/REPOSITORY@REPOSITORY_ID:environment:preview"


# ----------------------------------------------------------------------------------- other checkers


@pytest.mark.actionlint
def test_actionlint_has_nothing_to_say() -> None:
    """Of every workflow, this project's own CI included."""
    done = subprocess.run(
        [workflows.actionlint(), *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_zizmor_has_nothing_to_say() -> None:
    """Security of workflows and actions; what it is asked to pass over stands in the files with its
    reason."""
    program = Path(sys.executable).with_name("zizmor")
    files = [*WORKFLOWS, workflows.KIT]
    done = subprocess.run(
        [program, "--offline", "--no-progress", "--format=plain", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    passed_over = [
        line for file in files for line in file.read_text().splitlines() if "zizmor: ignore" in line
    ]
    assert {re.findall(r"ignore\[([\w,-]+)\] \S", line)[0] for line in passed_over} == {
        "dangerous-triggers",
        "self-repository",
    }


def test_the_file_for_gitlab_fits_gitlab_s_schema() -> None:
    place = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "gitlab-ci.json"
    schema = json.loads(place.read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    for document in yaml.safe_load_all(workflows.GITLAB.read_text()):
        assert [error.message for error in validator.iter_errors(document)] == []


# ------------------------------------------------------------------------- who holds, and who runs


def test_a_branch_is_built_without_credentials() -> None:
    """The one job that runs its code has no secret, no variable of the project, and a token that
    reads the repository."""
    text = (workflows.FOLDER / "preview-build.yml").read_text()
    assert not re.search(r"\b(secrets|vars)\.", text)
    assert BUILD["permissions"] == {}
    (job,) = BUILD["jobs"].values()
    assert job["permissions"] == {"contents": "read"}
    assert "environment" not in job
    checkout = steps(job)[0]["with"]
    assert checkout["ref"] == "${{ github.event.pull_request.head.sha }}"
    assert checkout["persist-credentials"] is False
    assert list(BUILD["on"]) == ["pull_request"]


def test_credentials_are_for_events_that_run_the_default_branch_s_file() -> None:
    """GitHub takes a workflow from the branch for `push` and `pull_request`: a branch would write
    its own."""
    assert set(GITHUB["on"]) == {
        "workflow_run",
        "pull_request_target",
        "schedule",
        "workflow_dispatch",
    }
    assert GITHUB["on"]["workflow_run"]["workflows"] == [BUILD["name"]]
    assert GITHUB["permissions"] == {}


@pytest.mark.parametrize("name", HOLDS_CREDENTIALS)
def test_the_job_with_credentials_runs_nothing_of_a_branch(name: str) -> None:
    """Its kit, and the template of previews, are the default branch's; it builds nothing, and ships
    what was handed over."""
    job = JOBS[name]
    assert job["environment"] == "preview"
    used = [step for step in steps(job) if "uses" in step]
    (checkout,) = [step for step in used if "/checkout@" in step["uses"]]
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    assert checkout["with"]["persist-credentials"] is False
    first = used.index(checkout)
    assert all(number > first for number, step in enumerate(used) if "/kit" in step["uses"])
    for step in steps(job):
        assert not re.search(r"\bgit (checkout|switch|merge|pull)\b", step.get("run", ""))
    for command in commands(job):
        assert re.match(r"fab preview\.(up|down|comment|sweep)\b", command)
        assert "preview.up" not in command or " --built " in command


@pytest.mark.parametrize("name", ["up", "down"])
def test_nothing_runs_for_forks(name: str) -> None:
    condition = JOBS[name]["if"]
    assert re.search(
        r"(workflow_run\.head_repository|pull_request\.head\.repo)\.full_name"
        r" == github\.repository( &&|$)",
        condition.strip(),
    )
    assert "||" not in condition.split("(", 1)[0]


def test_a_fork_builds_nothing() -> None:
    (job,) = BUILD["jobs"].values()
    assert job["if"].startswith(
        "github.event.pull_request.head.repo.full_name == github.repository &&"
        " contains(github.event.pull_request.labels.*.name, 'preview') &&"
    )


def test_who_writes_to_a_pull_request_has_no_credentials() -> None:
    """And who has them may write nowhere at GitHub."""
    for name, job in JOBS.items():
        writes = {key for key, value in job["permissions"].items() if value == "write"}
        if name in HOLDS_CREDENTIALS:
            assert writes == {"id-token"}
        else:
            assert writes == {"pull-requests", "statuses"}
            assert "environment" not in job


@pytest.mark.parametrize("file", [*WORKFLOWS, workflows.KIT], ids=lambda file: file.stem)
def test_actions_are_pinned_and_texts_of_others_are_no_shell(file: Path) -> None:
    """By commit, with the version for people; a branch's name comes through the environment."""
    content: Any = yaml.safe_load(file.read_text())
    jobs = content["jobs"].values() if "jobs" in content else [content["runs"]]
    for job in jobs:
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
    for line in file.read_text().splitlines():
        if re.match(r"[ -]+uses: (?!\./)", line):
            assert re.search(r"uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("name", JOBS)
def test_every_job_ends(name: str) -> None:
    assert JOBS[name]["timeout-minutes"] <= 60


def test_jobs_of_a_branch_wait_for_one_another() -> None:
    """Up and down share a group, and nothing is cancelled half way; GitHub keeps the latest of
    those that wait."""
    groups = [JOBS[name]["concurrency"] for name in HOLDS_CREDENTIALS]
    assert [group["cancel-in-progress"] for group in groups] == [False] * 3
    assert groups[0]["group"] == "preview-${{ github.event.workflow_run.head_branch }}"
    assert groups[1]["group"] == "preview-${{ github.event.pull_request.head.ref }}"


def test_the_clis_are_those_of_the_lock() -> None:
    lock = (ROOT / "uv.lock").read_text()
    found = re.search(r'^name = "pulumi"\nversion = "([\d.]+)"', lock, re.MULTILINE)
    assert found
    assert f"pulumi-version: {found[1]}\n" in workflows.KIT.read_text()
    assert f"pulumi-python:{found[1]}\n" in workflows.GITLAB.read_text()


# ---------------------------------------------------------------------------------------- the twins


def test_every_call_of_fab_is_read() -> None:
    """None is written in a way that the tests overlook."""
    found = {
        "preview": sum(len(commands(job)) for job in JOBS.values()),
        "preview-build": sum(len(commands(job)) for job in BUILD["jobs"].values()),
    }
    for name, count in found.items():
        assert (workflows.FOLDER / f"{name}.yml").read_text().count("bin/fab") == count
    there = sum(len(commands(job)) for job in gitlab().values())
    assert workflows.GITLAB.read_text().count("bin/fab") == there == sum(found.values())


def test_both_call_the_same_verbs_in_the_same_order() -> None:
    """The files differ in where the file that was handed over lies, and in nothing else."""

    def plain(job: Job) -> list[str]:
        return [
            re.sub(r'"?[$/][^ "]*release\.tar\.gz"?', "FILE", command) for command in commands(job)
        ]

    there = gitlab()
    for name in HOLDS_CREDENTIALS:
        assert plain(JOBS[name]) == plain(there[name])
    assert commands(BUILD["jobs"]["build"]) == commands(there["build"])


def test_on_gitlab_a_branch_s_pipeline_has_no_credentials() -> None:
    """GitLab takes the file from the branch there; what has credentials runs in a pipeline of the
    default branch alone, with inputs that have a form and no variables of who asks."""
    for name, job in gitlab().items():
        text = json.dumps(job)
        conditions = [rule["if"] for rule in job["rules"]]
        of_a_branch = [condition for condition in conditions if "merge_request_event" in condition]
        if of_a_branch:
            assert of_a_branch == conditions
            assert "id_tokens" not in job
            assert "PREVIEW_" not in text
            for condition in conditions:
                assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID" in condition
            assert not re.search(r'"variables\[', text)
        else:
            assert ("id_tokens" in job) is (name in HOLDS_CREDENTIALS)
            assert ("PREVIEW_COMMENT_TOKEN" in text) is (name == "report")
            assert not re.search(r"\bgit (checkout|switch|merge|pull)\b", text)
            assert "timeout" in job
    head, body = yaml.safe_load_all(workflows.GITLAB.read_text())
    for name, given in head["spec"]["inputs"].items():
        assert "options" in given or (given["regex"].startswith("^") and given["regex"][-1] == "$")
        assert name == "preview" or given["default"] == ""
    (default,) = [
        rule["if"] for rule in body["workflow"]["rules"] if "DEFAULT_BRANCH" in rule["if"]
    ]
    assert default.startswith("$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH &&")


# -------------------------------------------------------------------------------- whom clouds trust


def test_the_role_in_aws_trusts_one_environment_of_one_repository() -> None:
    """By equality: a pattern such as `repo:OWNER/*` would be every repository and every branch."""
    (statement,) = json.loads(TRUST.read_text())["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Principal"]["Federated"].endswith(
        ":oidc-provider/token.actions.githubusercontent.com"
    )
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": SUBJECT,
        }
    }
    assert "*" not in TRUST.read_text()


def test_the_pool_in_google_cloud_trusts_the_same_subject() -> None:
    """A condition on the provider, and a binding for the subject, not for the pool."""
    page = (ROOT / "docs" / "previews.md").read_text()
    assert f"--attribute-condition=\"assertion.sub == '{SUBJECT}'\"" in page
    (member,) = re.findall(r"--member=\"(.*?)\"", page)
    assert member.startswith("principal://iam.googleapis.com/projects/")
    assert member.endswith(f"/subject/{SUBJECT}")
    assert "principalSet" not in page
