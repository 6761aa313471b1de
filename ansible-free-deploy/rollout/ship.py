"""Ship: put a release on every host. What is there already is not sent again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from infra import rules
from infra.contract import Contract, Host, Json
from infra.settings import Settings
from rollout import access, hosts, release, report, secret_values
from rollout.deploy import WAIT_S, UsageError, who
from rollout.hosts import HostError
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


def everywhere(settings: Settings, outputs: Outputs, moved: Mapping[str, str] | None = None) -> list[bool]:
    """Every host gets the release of its role, side by side; whether it was new there. `moved` is what `moving` gives.

    Raises ReleaseError before anything is sent, HostError for the first host that failed, UsageError for a move of the
    application to itself.
    """
    if outputs.contract.application.name in (moved or {}):
        raise UsageError(f"{outputs.contract.application.name} is the application's name now; name the one before")
    builder, contract, secrets = Builder(settings), outputs.contract, secret_values.read(outputs)

    def one(pair: tuple[str, Host]) -> bool:
        role, host = pair
        with hosts.session(host, access.identity(contract)) as session:
            return _one(session, role, contract, builder, secrets, dict(moved or {}))

    try:
        return hosts.each(contract.hosts, one)
    except HostError:
        if moved:
            _put_back(contract)
        raise


def _put_back(contract: Contract) -> None:
    """A move is done on all hosts or none: where one failed, the others take theirs back."""

    def one(pair: tuple[str, Host]) -> None:
        orders = {"action": "put_back", "app": contract.application.name, "who": who(), "wait_s": WAIT_S}
        try:
            with hosts.session(pair[1], access.identity(contract)) as session, report.busy(pair[1].name) as begin:
                session.run(release.script(), orders, on_event=lambda event: begin(event["text"]))
        except HostError as problem:
            report.step(pair[1].name, f"can't take the move back ({problem}); the next `fab ship` does")

    hosts.each(contract.hosts, one)


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


def _one(
    session: hosts.Session, role: str, contract: Contract, builder: Builder, secrets: dict[str, str],
    moved: dict[str, str],
) -> bool:  # fmt: skip
    app, name = contract.application.name, session.host.name
    script = release.script()
    facts = session.run(script, {"action": "facts", "app": app, "role": role, "who": who(), "moving": moved})
    built = builder.release(role, facts)
    if built.rests_on(facts) and not moved:
        return False
    with report.progress(name) as advance:
        archive = built.archive(facts, advance)
    orders = built.orders(
        facts, app, who(), archive=archive, wsgi=contract.application.wsgi, settings=contract.application.settings,
        **(_environment(contract, session.host, secrets) if role == "backend" else {}),
    )  # fmt: skip
    orders |= {"wait_s": WAIT_S, "moving": moved}
    with report.busy(name) as begin:
        result = session.run(script, orders, blob=archive, on_event=lambda event: begin(event["text"]))
    return bool(result["changed"])


def _environment(contract: Contract, host: Host, secrets: dict[str, str]) -> dict[str, dict[str, str]]:
    """What `manage.py` runs under: the very settings that the next deploy will put there."""
    generation = render(contract, "backend", host, {})
    files = {file.path: file.text for file in generation.files if file.path.startswith("django/")}
    return {"files": files, "env": contract.application.env, "secrets": secrets}
