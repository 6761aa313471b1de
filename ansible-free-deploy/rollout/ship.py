"""Ship: put a release on every host. What is there already is not sent again."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

from infra.core import rules, wanted
from infra.core.contract import Contract, Host
from infra.core.settings import Settings
from on_host import generations, protocol
from on_host.answers import FactsAnswer
from on_host.protocol import ChangeOrders, Orders, ShipOrders
from on_host.release.modules import files_of
from rollout import access, change, deploy, hosts, release, report, secret_values
from rollout.certificates import given
from rollout.change import ChangeError
from rollout.deploy import WAIT_S, UsageError
from rollout.host_errors import HostError
from rollout.outputs import Outputs
from rollout.release import Release, Target, Unpacked, Workshop, handed_over
from rollout.release.handed_over import HandedOver
from rollout.render import render
from rollout.stacks import ROOT

T = TypeVar("T")


@dataclass
class Builder:
    """Builds each release once, however many hosts wait for it: from `commit` where one is given
    that is not checked out; or takes it from what `fab build` has handed over."""

    settings: Settings
    commit: Unpacked | None = None
    handed_over: HandedOver | None = None
    _made: dict[tuple[str, Target | None], Release] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _workshops: list[Workshop] = field(default_factory=list)
    _stopped: bool = False

    def stop(self) -> None:
        """End what is built, from another thread."""
        self._stopped = True
        for workshop in self._workshops:
            workshop.stop()

    @property
    def folder(self) -> Path | None:
        """The project's folder, where it is on this machine."""
        if self.handed_over or self.settings.backend_git:
            return None
        place = ROOT / self.settings.backend_path
        return (self.commit and self.commit.of(place)) or place

    def release(self, role: str, facts: FactsAnswer) -> Release:
        """Raises ReleaseError for an application that can't be shipped."""
        return self.made_for(role, Target.of(facts) if role == "backend" else None)

    def made_for(self, role: str, target: Target | None) -> Release:
        """The release of a role, a backend's for hosts of one kind. Raises ReleaseError."""
        with self._lock:
            if (role, target) not in self._made:
                self._made[role, target] = self._build(target)
            return self._made[role, target]

    def _build(self, target: Target | None) -> Release:
        config = self.settings
        if self.handed_over:
            if target is None:
                return self.handed_over.page()
            return self.handed_over.backend(config.wsgi, config.settings, target)
        if target is None:
            page = release.page_of(config, self.commit)
            return release.build_frontend(
                page.folder,
                _say("release"),
                config.ship_also,
                config.single_page,
                page,
            )
        source = release.source_of(config, self.commit)
        workshop = Workshop.of(target)
        if workshop:
            self._workshops.append(workshop)
        if self._stopped:
            self.stop()
        with report.progress("release") as advance:
            return release.build_backend(
                source,
                config.wsgi,
                config.settings,
                target,
                _say("release"),
                advance,
                config.build_sdists,
                config.requirements,
                config.ship_also,
                workshop,
            )


def _say(name: str) -> Callable[[str], None]:
    return lambda text: report.step(name, text)


def moving(rename_from: str | None, remove: Sequence[str]) -> dict[str, str]:
    """What becomes of applications with other names, in the form that hosts get. Raises UsageError
    for a name that no application of this kit's may have: it is somebody else's."""
    if rename_from:
        _check_name("--rename-from", rename_from)
    for name in remove:
        _check_name("--remove-application", name)
    if rename_from in remove:
        raise UsageError(
            f"{rename_from} is to be renamed and to be removed", cure="say one of the two"
        )
    fates = dict.fromkeys(remove, "removed")
    if rename_from:
        fates[rename_from] = "renamed"
    return fates


def _check_name(option: str, name: str) -> None:
    try:
        rules.application_name(name)
    except ValueError as problem:
        raise UsageError(str(problem), where=option) from None


def ship_to_all_hosts(
    settings: Settings,
    outputs: Outputs,
    moved: Mapping[str, str] | None = None,
    *,
    wait_s: int = WAIT_S,
    batch: int = 1,
    only: str = "",
    commit: Unpacked | None = None,
    built: Path | None = None,
    **more: Unpack[ChangeOrders],
) -> list[bool]:
    """Every host, or the one named `only`, gets the release of its role, side by side; whether it
    was new there. `moved` is what `moving` gives. The code is what is checked out, or `commit`; or
    what is in the file `built` of `fab build`: then nothing of the project is built or read here.

    All are made ready first, then the data is migrated and the releases switched, `batch` hosts at
    a time; where one fails, all stay or go back, but for migrations. Raises ReleaseError before
    anything is sent, ChangeError for hosts that failed, UsageError for a move of the application to
    itself.
    """
    contract = outputs.contract
    name = contract.application.name
    if name in (moved or {}):
        raise UsageError(f"{name} is the application's name now", cure="name the one before")
    secrets = secret_values.read(outputs)
    certificates = given.orders(contract, secret_values.of_https(outputs), make=True)
    pairs = contract.chosen(only)
    common: Orders = {
        **common_orders(contract, pairs, wait_s),
        "moving": dict(moved or {}),
        **more,
    }
    builder = Builder(settings, commit, handed_over.read(built) if built else None)

    def ship_to_one(role: str, host: Host, turn: change.Turn) -> tuple[Host, bool]:
        with hosts.session(host, access.identity(contract)) as session:
            own: Orders = {**common}
            if role in certificates:
                own["certificate"] = certificates[role]
            return host, _ship(session, role, contract, builder, secrets, own, turn)

    outcomes = change.carry_out(contract, pairs, ship_to_one, batch, on_stop=builder.stop)
    return [changed for _, changed in all_or_error(outcomes)]


def common_orders(
    contract: Contract,
    pairs: Sequence[tuple[str, Host]],
    wait_s: int,
) -> Orders:
    """What all hosts of one change of the code get alike."""
    return {
        "app": contract.application.name,
        "who": deploy.who(),
        "deploy": change.new_transaction(),
        "together": len(pairs) > 1,
        "wait_s": wait_s,
    }


def all_or_error(
    outcomes: Sequence[tuple[Host, T] | HostError], again: Mapping[str, str] | None = None
) -> list[tuple[Host, T]]:
    """What the hosts answered. Raises ChangeError where one failed; `again` is as there."""
    answered, failures = change.split(outcomes)
    if failures:
        kept = [host.name for host, changed in answered if changed]
        raise ChangeError(
            failures,
            kept,
            but="; migrations that have run stay",
            again=again,
        )
    return answered


def _ship(
    session: hosts.Session,
    role: str,
    contract: Contract,
    builder: Builder,
    secrets: dict[str, str],
    common: Orders,
    turn: change.Turn,
) -> bool:
    question: Orders = {**common, "role": role}
    facts = session.ask(protocol.FACTS, question)
    built = builder.release(role, facts)
    made_from = wanted.made_from(builder.settings, role)
    if built.rests_on(facts) and facts["made_from"] == made_from and not common.get("moving"):
        return False
    with report.progress(session.host.name) as advance:
        archive = built.archive(facts, advance)
    environment: _Environment = {}
    if role == "backend":
        environment = _environment(contract, session.host, secrets)
    orders = built.orders(
        facts,
        contract.application.name,
        deploy.who(),
        archive=archive,
        wsgi=contract.application.wsgi,
        settings=contract.application.settings,
        **environment,
    )
    try:
        sent: ShipOrders = {
            **common,
            **orders,
            "made_from": made_from,
        }
        result = turn.run(session, protocol.SHIP, sent, archive)
    except HostError as problem:
        problem.note = not_shipped(problem.what, builder.folder, built)
        raise
    return result["changed"]


def not_shipped(text: str, folder: Path | None, built: Release) -> str:
    """What to say of a module that the host misses, if it is in the project's folder and was not
    shipped; else nothing.

    `text` is the host's error, `folder` the project's, where it is here.
    """
    missing = re.search(r"No module named '([\w.]+)'", text)
    if missing is None or folder is None:
        return ""
    shipped = {entry.path for entry in built.entries}
    for name in files_of(missing[1]):
        if (folder / name).is_file() and name not in shipped:
            return f"{name} is in {folder.name} here and was not shipped, because git ignores it"
    return ""


class _Environment(TypedDict, total=False):
    """What only a backend's orders hold: see `Release.orders`."""

    files: dict[str, str]
    env: dict[str, str]
    secrets: dict[str, str]
    unit: str
    generation: generations.Generation
    probes: protocol.Probes


def _environment(
    contract: Contract,
    host: Host,
    secrets: dict[str, str],
) -> _Environment:
    """What `manage.py` runs under: the very settings and the service's limits that the next deploy
    puts there."""
    generation = render(contract, "backend", host, secrets)
    texts = {file.path: file.text for file in generation.files}
    unit = texts[f"systemd/{contract.application.name}.service"]
    files = {}
    for path, text in texts.items():
        if path.startswith("django/"):
            files[path] = text
    return {
        "files": files,
        "env": contract.application.env,
        "secrets": secrets,
        "unit": unit,
        "generation": generation.to_json(),
        "probes": deploy.probes(contract, "backend", generation),
    }
