"""Ship: put a release on every host. What is there already is not sent again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from infra import rules
from infra.contract import Contract, Host, Json
from infra.settings import Settings
from rollout import access, change, deploy, hosts, release, report, secret_values
from rollout.change import ChangeError
from rollout.deploy import WAIT_S, UsageError
from rollout.hosts import HostError
from rollout.outputs import ROOT, Outputs
from rollout.release import Release, Target
from rollout.render import render

T = TypeVar("T")


@dataclass
class Builder:
    """Builds each release once, however many hosts wait for it."""

    settings: Settings
    _made: dict[tuple[str, Target | None], Release] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def release(self, role: str, facts: Json) -> Release:
        """Raises ReleaseError for an application that can't be shipped."""
        target = Target.of(facts) if role == "backend" else None
        with self._lock:
            if (role, target) not in self._made:
                self._made[role, target] = self._build(target)
            return self._made[role, target]

    def _build(self, target: Target | None) -> Release:
        wanted = self.settings
        if target is None:
            return release.build_frontend(ROOT / wanted.frontend_path, _say("release"), wanted.ship_also)
        source = (
            release.from_git(wanted.backend_git, wanted.backend_ref, wanted.backend_path)
            if wanted.backend_git
            else release.local(ROOT / wanted.backend_path)
        )
        with report.progress("release") as advance:
            return release.build_backend(
                source,
                wanted.wsgi,
                wanted.settings,
                target,
                _say("release"),
                advance,
                wanted.build_sdists,
                wanted.requirements,
                wanted.ship_also,
            )


def _say(name: str) -> Callable[[str], None]:
    return lambda text: report.step(name, text)


def moving(rename_from: str | None, remove: Sequence[str]) -> dict[str, str]:
    """What becomes of applications with other names, as hosts are told. Raises UsageError for a name that no
    application of this kit's may have: it is somebody else's."""
    fates = {**dict.fromkeys(remove, "removed"), **({rename_from: "renamed"} if rename_from else {})}
    for option, names in (("--rename-from", [rename_from] if rename_from else []), ("--remove-application", remove)):
        for name in names:
            try:
                rules.application_name(name)
            except ValueError as problem:
                raise UsageError(f"{option}: {problem}") from None
    if rename_from in remove:
        raise UsageError(f"{rename_from} is to be renamed and to be removed; say one of the two")
    return fates


def everywhere(
    settings: Settings, outputs: Outputs, moved: Mapping[str, str] | None = None, *, wait_s: int = WAIT_S,
    batch: int = 1, **more: object,
) -> list[bool]:  # fmt: skip
    """Every host gets the release of its role, side by side; whether it was new there. `moved` is what `moving` gives.

    All are made ready first, then the data is migrated and the releases switched, `batch` hosts at a time; where one
    fails, all stay or go back, but for migrations. Raises ReleaseError before anything is sent, ChangeError for hosts
    that failed, UsageError for a move of the application to itself.
    """
    if outputs.contract.application.name in (moved or {}):
        raise UsageError(f"{outputs.contract.application.name} is the application's name now; name the one before")
    contract, secrets = outputs.contract, secret_values.read(outputs)
    builder, common = Builder(settings), {**_common(contract, wait_s), "moving": dict(moved or {}), **more}

    def one(role: str, host: Host, turn: change.Turn) -> tuple[Host, bool]:
        with hosts.session(host, access.identity(contract)) as session:
            return host, _one(session, role, contract, builder, secrets, common, turn)

    return [changed for _, changed in _all_or_error(change.carry_out(contract, contract.hosts, one, batch))]


def rollback(contract: Contract, to: str | None, wait_s: int, batch: int = 1) -> list[str | None]:
    """Every backend host goes to the release before, or to release `to`; what each serves now, None for no change.

    Raises ChangeError where there is none.
    """
    backends = [(role, host) for role, host in contract.hosts if role == "backend"]
    common = {**_common(contract, wait_s), "together": len(backends) > 1}

    def one(role: str, host: Host, turn: change.Turn) -> tuple[Host, str | None]:
        with hosts.session(host, access.identity(contract)) as session:
            orders = {**release.rollback_orders(contract.application.name, role, deploy.who(), to), **common}
            result = turn.run(session, release.script(), orders)
        return host, str(result["release"]) if result["changed"] else None

    return [served for _, served in _all_or_error(change.carry_out(contract, backends, one, batch))]


def _common(contract: Contract, wait_s: int) -> Json:
    """What all hosts of one ship are told alike."""
    return {
        "deploy": change.new_transaction(),
        "together": len(contract.hosts) > 1,
        "wait_s": wait_s,
    }


def _all_or_error(outcomes: Sequence[tuple[Host, T] | HostError]) -> list[tuple[Host, T]]:
    done = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
    if failures := [outcome for outcome in outcomes if isinstance(outcome, HostError)]:
        kept = [host.name for host, changed in done if changed]
        raise ChangeError(failures, kept, but="; migrations that have run stay")
    return done


def _one(
    session: hosts.Session, role: str, contract: Contract, builder: Builder, secrets: dict[str, str], common: Json,
    turn: change.Turn,
) -> bool:  # fmt: skip
    app, name = contract.application.name, session.host.name
    script = release.script()
    facts = session.run(script, {"action": "facts", "app": app, "role": role, "who": deploy.who(),
                                 "moving": common["moving"]})  # fmt: skip
    built = builder.release(role, facts)
    if built.rests_on(facts) and not common["moving"]:
        return False
    with report.progress(name) as advance:
        archive = built.archive(facts, advance)
    orders = built.orders(
        facts, app, deploy.who(), archive=archive, wsgi=contract.application.wsgi,
        settings=contract.application.settings,
        **(_environment(contract, session.host, secrets) if role == "backend" else {}),
    )  # fmt: skip
    result = turn.run(session, script, {**common, **orders}, blob=archive)
    return bool(result["changed"])


def _environment(contract: Contract, host: Host, secrets: dict[str, str]) -> Json:
    """What `manage.py` runs under: the very settings and the service's limits that the next deploy puts there."""
    generation = render(contract, "backend", host, secrets)
    texts = {file.path: file.text for file in generation.files}
    files = {path: text for path, text in texts.items() if path.startswith("django/")}
    unit = texts[f"systemd/{contract.application.name}.service"]
    return {"files": files, "env": contract.application.env, "secrets": secrets, "unit": unit}
