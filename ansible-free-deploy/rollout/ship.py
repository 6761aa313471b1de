"""Ship: put a release on every host. What is there already is not sent again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.contract import Contract, Host, Json
from infra.settings import Settings
from rollout import access, hosts, release, report, secret_values
from rollout.deploy import WAIT_S, who
from rollout.outputs import ROOT, Outputs
from rollout.release import Release, Target
from rollout.render import render


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
            return release.build_frontend(ROOT / wanted.frontend_path)
        source = (
            release.from_git(wanted.backend_git, wanted.backend_ref, wanted.backend_path)
            if wanted.backend_git
            else release.local(ROOT / wanted.backend_path)
        )
        with report.progress("release") as advance:
            return release.build_backend(source, wanted.wsgi, wanted.settings, target, _say("release"), advance)


def _say(name: str) -> Callable[[str], None]:
    return lambda text: report.step(name, text)


def everywhere(settings: Settings, outputs: Outputs) -> list[bool]:
    """Every host gets the release of its role, side by side; whether it was new there.

    Raises ReleaseError before anything is sent, HostError for the first host that failed.
    """
    builder, contract, secrets = Builder(settings), outputs.contract, secret_values.read(outputs)

    def one(pair: tuple[str, Host]) -> bool:
        role, host = pair
        with hosts.session(host, access.identity(contract)) as session:
            return _one(session, role, contract, builder, secrets)

    return hosts.each(contract.hosts, one)


def rollback(contract: Contract, to: str | None, wait_s: int) -> list[str | None]:
    """Every backend host goes to the release before, or to release `to`; what each serves now, None for no change.

    Raises HostError where there is none.
    """

    def one(host: Host) -> str | None:
        with hosts.session(host, access.identity(contract)) as session, report.busy(host.name) as begin:
            orders = release.rollback_orders(contract.application.name, "backend", who(), to)
            orders["wait_s"] = wait_s
            result = session.run(release.script(), orders, on_event=lambda event: begin(event["text"]))
        return str(result["release"]) if result["changed"] else None

    return hosts.each(contract.backend.hosts, one)


def _one(session: hosts.Session, role: str, contract: Contract, builder: Builder, secrets: dict[str, str]) -> bool:
    app, name = contract.application.name, session.host.name
    script = release.script()
    facts = session.run(script, {"action": "facts", "app": app, "role": role, "who": who()})
    built = builder.release(role, facts)
    if built.rests_on(facts):
        return False
    with report.progress(name) as advance:
        archive = built.archive(facts, advance)
    orders = built.orders(
        facts, app, who(), archive=archive, wsgi=contract.application.wsgi, settings=contract.application.settings,
        **(_environment(contract, session.host, secrets) if role == "backend" else {}),
    )  # fmt: skip
    orders["wait_s"] = WAIT_S
    with report.busy(name) as begin:
        result = session.run(script, orders, blob=archive, on_event=lambda event: begin(event["text"]))
    return bool(result["changed"])


def _environment(contract: Contract, host: Host, secrets: dict[str, str]) -> dict[str, dict[str, str]]:
    """What `manage.py` runs under: the very settings that the next deploy will put there."""
    generation = render(contract, "backend", host, secrets)
    files = {file.path: file.text for file in generation.files if file.path.startswith("django/")}
    return {"files": files, "env": contract.application.env, "secrets": secrets}
