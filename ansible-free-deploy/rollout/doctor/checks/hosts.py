"""What hosts report of their releases, services and files. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from on_host.answers import HostState
from rollout.doctor.checks.drift import drift
from rollout.doctor.checks.places import all_of, applications_of, fault_of, served_by
from rollout.doctor.codes import Code
from rollout.doctor.observations import HostReport, Observations
from rollout.finding import Finding

Views = frozenset[str]


def nothing(observed: Observations) -> Iterator[Finding]:
    """Nothing answers at all."""
    if observed.unanswered:
        yield Finding(
            "nothing answers: neither a host nor the page nor the API could be asked, so nothing"
            " was judged",
            cure="check that this machine has a network and that the hosts run, then ask again",
            code=Code.NOTHING_ANSWERS,
            anchor="no-answer",
        )


def hosts(observed: Observations) -> Iterator[Finding]:
    """Everything that the hosts report of themselves."""
    for host in observed.hosts:
        views = served_by(observed, host)
        if host.state is None:
            yield _unreachable(host, views)
        elif host.state.get("generation", "") is None:
            # Nothing runs there, and no file is in place: one finding says it all.
            yield _not_deployed(host.name, host.state, views)
        else:
            yield from _deployed(host.name, host.state, views)


def _unreachable(host: HostReport, views: Views) -> Finding:
    return Finding(
        f"{host.name} can't be asked: {host.problem}",
        cure="see how the hosts are reached",
        code=Code.HOST_UNREACHABLE,
        anchor="operating.md#how-the-hosts-are-reached",
        reach=views,
    )


def _not_deployed(name: str, state: HostState, views: Views) -> Finding:
    if state["release"] is None:
        text = f"nothing was shipped or deployed to {name} yet"
        cure = "run `fab up`"
    else:
        text = f"no configuration was deployed to {name} yet"
        cure = "run `fab deploy`"
    return Finding(
        text,
        cure=cure,
        code=Code.NOT_DEPLOYED,
        reach=views | applications_of(views),
    )


def _deployed(
    name: str,
    state: HostState,
    views: Views,
) -> Iterator[Finding]:
    if state["release"] is None:
        yield Finding(
            f"{name} has no release of the application",
            cure="run `fab ship`, then `fab deploy`",
            code=Code.NO_RELEASE,
            reach=applications_of(views),
        )
    if state["unfinished"]:
        yield Finding(
            f"a deploy was interrupted on {name}",
            cure="run `fab deploy`, which undoes it first",
            code=Code.DEPLOY_UNFINISHED,
            reach=views,
        )
    yield from _units(name, state, views)
    yield from _killed_workers(name, state, views)
    yield from _release_changed(name, state, views)
    for finding in drift(name, state):
        yield replace(finding, reach=all_of(views))


def _release_changed(
    name: str,
    state: HostState,
    views: Views,
) -> Iterator[Finding]:
    changed = state.get("release_changed")
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        yield Finding(
            f"the release on {name} was changed on the host: {changed[0]}{more}",
            cure="run `fab ship`",
            code=Code.RELEASE_CHANGED,
            reach=all_of(views),
        )


def _units(
    name: str,
    state: HostState,
    views: Views,
) -> Iterator[Finding]:
    for unit, status in state["units"].items():
        if status == "active":
            continue
        places = views if unit.startswith("nginx.") else applications_of(views)
        failed = status not in ("inactive", "deactivating")
        yield Finding(
            f"{unit} on {name} is {status}",
            cure="see `fab logs`, then run `fab deploy`",
            code=Code.UNIT_FAILED if failed else Code.UNIT_NOT_ACTIVE,
            anchor="no-answer",
            places=places | {fault_of(name)},
            reach=places,
        )


def _killed_workers(
    name: str,
    state: HostState,
    views: Views,
) -> Iterator[Finding]:
    killed = state.get("workers_killed")
    if killed:
        yield Finding(
            f"the kernel has killed {killed} of gunicorn's workers on {name} in the last 5"
            " minutes because memory ran out",
            cure="give the host more memory (memory_mb or machine_type, then `fab up`), or reduce"
            " `workers`",
            code=Code.WORKERS_KILLED,
            anchor="5xx",
            reach=applications_of(views),
        )
