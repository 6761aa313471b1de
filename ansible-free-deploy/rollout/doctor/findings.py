"""From what was asked and answered to causes and cures. Pure."""

from __future__ import annotations

from dataclasses import replace

from on_host.answers import HostState
from rollout.doctor.causes import by_cause
from rollout.doctor.checks.answers import answers
from rollout.doctor.checks.certificates import certificates
from rollout.doctor.checks.contract import contract_alone
from rollout.doctor.checks.django import django
from rollout.doctor.checks.frontend import names, page
from rollout.doctor.checks.gates import gates
from rollout.doctor.checks.hosts import hosts, nothing
from rollout.doctor.checks.logging_in import logging_in
from rollout.doctor.checks.lost_cookies import lost_cookies
from rollout.doctor.checks.redirects import redirects
from rollout.doctor.checks.schemes import schemes
from rollout.doctor.checks.server_errors import server_errors
from rollout.doctor.checks.surroundings import surroundings
from rollout.doctor.codes import Code
from rollout.doctor.observations import Observations
from rollout.finding import Finding


def findings(observed: Observations) -> tuple[Finding, ...]:
    """Every root cause, the ones nearest to the hosts first, and under each what follows from it.

    A problem is one finding, however many cells show it. A question without an answer is no
    verdict.
    """
    cors = [*answers(observed), *django(observed)]
    if _files_are_right(observed):
        cors = [_with_restart(finding) for finding in cors]
    everything = [
        *nothing(observed),
        *surroundings(observed),
        *hosts(observed),
        *names(observed),
        *certificates(observed),
        *page(observed),
        *gates(observed),
        *server_errors(observed),
        *lost_cookies(observed),
        *logging_in(observed),
        *redirects(observed),
        *schemes(observed),
        *cors,
        *contract_alone(observed.contract),
    ]
    return by_cause(everything)


def _files_are_right(observed: Observations) -> bool:
    """Whether every host reports that its files and processes are what the contract says."""
    return all(_holds_the_contract(host.state) for host in observed.hosts)


def _holds_the_contract(state: HostState | None) -> bool:
    if not state:
        return False
    differs = state["diff"] or state["differs"] or state["restarts"] or state["unfinished"]
    return not differs


def _with_restart(finding: Finding) -> Finding:
    """The same finding with a deploy that restarts: a plain one would find nothing to do. What
    Django itself answers may come from the project's own code, which no deploy changes."""
    cure = finding.cure.replace("run `fab deploy`", "run `fab deploy --restart`")
    if finding.code == Code.DJANGO_ALLOWS_UNLISTED:
        cure += (
            "; if the project's own code writes the header (a middleware, a decorator), take it out"
            " there and run `fab ship`"
        )
    return replace(finding, cure=cure)
