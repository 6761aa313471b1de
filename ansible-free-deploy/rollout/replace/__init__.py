"""`fab replace NAME`: a new machine for a host, with all that the old one holds, and the old one
removed last.

The steps are a table. Each may be done twice, and the stack's config says how far it has come
(`infra/core/serials.py`), so that a run which was killed is continued by the next one. Up to
`switch` the old machine serves, or can at any time; from then on the new one has all that it had.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed

from infra.core import exits
from infra.core.contract import Contract, Host
from infra.core.errors import KitError
from infra.core.serials import Serials, resource
from infra.core.settings import Settings
from on_host import protocol
from on_host.protocol import Orders, ReplacementDetails
from rollout import (
    access,
    check,
    deploy,
    engines,
    hosts,
    infrastructure,
    outputs,
    question,
    ready,
    report,
    ship,
)
from rollout import settings as source
from rollout.changes import Change
from rollout.outputs import Outputs
from rollout.replace import remote
from rollout.replace.config import serials_of, with_serials
from rollout.replace.remote import Remote
from rollout.replace.store import Copy, Journal, Store


class ReplaceError(KitError):
    """This host can't be replaced now; the text says why and what to do. Nothing was changed."""

    exit_status = exits.USAGE


class UnexpectedError(ReplaceError):
    """The infrastructure would lose something that is not part of this."""

    exit_status = exits.WRONG


@dataclass(frozen=True)
class Step:
    """One step; `data`: only for hosts that hold data; `serving`: the old machine can serve when it
    has failed."""

    name: str
    text: str
    data: bool = False
    serving: bool = True


STEPS = (
    Step("add", "makes the new machine"),
    Step("ready", "waits until it is ready"),
    Step("build", "builds the release for it"),
    Step("close", "stops writes on the old one", data=True),
    Step("copy", "copies the data here", data=True),
    Step("restore", "restores the data on the new one", data=True),
    Step("ship", "ships the release to it"),
    Step("deploy", "deploys the configuration to it"),
    Step("switch", "gives it the address of the old one", serving=False),
    Step("verify", "looks whether it serves", serving=False),
    Step("unprotect", "lifts the protection of the old one", serving=False),
    Step("remove", "removes the old one", serving=False),
    Step("clear", "clears up", serving=False),
)


CLOSED = ("close", "copy", "restore", "ship", "deploy")  # meanwhile the old machine takes no writes


def steps(role: str, production: bool, first: str = "add") -> list[Step]:
    """Those that a host of this role needs, from the one named `first` on."""
    names = [step.name for step in STEPS]
    return [
        step
        for step in STEPS[names.index(first) :]
        if (role == "backend" or not step.data) and (production or step.name != "unprotect")
    ]


def first_step(serials: Serials, old: int) -> str:
    """Where a replacement goes on, by what the config says."""
    if serials.other is None:
        return "add" if serials.serves == old else "remove"
    if serials.serves == old:
        return "add"
    return "switch" if serials.protected else "unprotect"


def replace(
    name: str,
    settings: Settings,
    engine: str | None,
    *,
    yes: bool = False,
    abort: bool = False,
    keep_copy: bool = False,
) -> str:
    """Replace the machine of a host, or take that back; what was done, for a person.

    Raises ReplaceError before anything is done; whatever a step raises after what it has said about
    the two machines.
    """
    chosen = engines.choose(settings, engine)
    found = outputs.load_to_change(settings.stack)
    roles = {host.name: role for role, host in found.contract.hosts}
    if name not in roles:
        raise ReplaceError(
            f"there is no host {name}; stack {settings.stack} has {', '.join(roles)}"
        )
    store = Store(settings)
    with store.locked():
        journal = _journal(store, settings, name, keep_copy)
        work = _Work(name, roles[name], settings, chosen, store, journal)
        _refuse_other_edits(found)
        if abort:
            return work.take_back()
        if journal is None:
            work.begin(found, yes, keep_copy)
        elif serials_of(settings, name) == Serials(journal.old):
            return work.take_back() + f"; run `fab replace {name}` again to replace it"
        return work.go_on()


def _journal(store: Store, settings: Settings, name: str, keep_copy: bool) -> Journal | None:
    """The replacement of this host that is under way. The config alone says so where somebody else
    began it."""
    journal, serials = store.read(), serials_of(settings, name)
    if (
        journal
        and journal.host == name
        and {serials.serves, serials.other} - {journal.old, journal.new, None}
    ):
        store.drop(journal)  # somebody else has finished it, and begun another one since
        store.forget()
        journal = None
    if journal is None and serials.other is not None:
        old, new = sorted((serials.serves, serials.other))
        return store.write(Journal(name, old, new, keep_copy))
    if journal is not None and journal.host != name:
        raise ReplaceError(
            f"{journal.host} is being replaced: run `fab replace {journal.host}` first"
        )
    if journal is not None and keep_copy and not journal.keep_copy:
        return store.write(changed(journal, keep_copy=True))
    return journal


def _refuse_other_edits(found: Outputs) -> None:
    """Whatever else `fab up` has to do is done before, or after: one thing at a time."""
    if others := [one for one in found.pending if one.key != "serials"]:
        stack = found.contract.environment
        raise ReplaceError(
            f"stacks/Pulumi.{stack}.yaml asks for other infrastructure as well: run `fab up --stack"
            f" {stack}` first, or set these back:\n" + "\n".join(f"  {one}" for one in others)
        )


def only(*allowed: str) -> Callable[[Sequence[Change]], None]:
    """Allows an `up` to lose what is named, as `kind name`, and nothing else."""

    def refuse_others(found: Sequence[Change]) -> None:
        lost = [
            change
            for change in found
            if change.loses and f"{change.kind} {change.name}" not in allowed
        ]
        if lost:
            lines = "\n".join(f"  {change}" for change in lost)
            raise UnexpectedError(
                f"this would also lose what has nothing to do with it; look at `fab plan`:\n{lines}"
            )

    return refuse_others


class _Work:
    """One replacement. Each step of STEPS is a method of its name."""

    def __init__(
        self,
        name: str,
        role: str,
        settings: Settings,
        engine: str,
        store: Store,
        journal: Journal | None,
    ) -> None:
        self.name, self.role, self.settings, self.engine, self.store = (
            name,
            role,
            settings,
            engine,
            store,
        )
        self._journal = journal

    @property
    def journal(self) -> Journal:
        """What is replaced by what."""
        assert self._journal is not None
        return self._journal

    # ----------------------------------------------------------------------------------- the course

    def begin(self, found: Outputs, yes: bool, keep_copy: bool) -> None:
        """Look whether it can be done, and ask. Nothing is changed but the config and the
        journal."""
        outputs.ready(found)
        self._refuse_another_release(found)
        if not yes:
            self._ask()
        old = serials_of(self.settings, self.name).serves
        self._set(Serials(old, old + 1))
        self._journal = self.store.write(Journal(self.name, old, old + 1, keep_copy))

    def _ask(self) -> None:
        writes = "; it takes no writes while its data is copied" if self.role == "backend" else ""
        typed = question.ask(
            f"This makes a new machine for {self.name} and removes the old one{writes}. Type"
            f" {self.name} to go on: ",
            f"nothing was changed: there is no terminal to ask on; to replace {self.name}, add"
            " --yes",
        )
        if typed != self.name:
            raise infrastructure.AnswerError("that is not its name; nothing was changed")

    def go_on(self) -> str:
        """All steps from where it stands."""
        first = first_step(serials_of(self.settings, self.name), self.journal.old)
        everything, todo = (
            steps(self.role, self.settings.production),
            steps(self.role, self.settings.production, first),
        )
        for step in todo:
            try:
                report.step(
                    "replace", f"{everything.index(step) + 1}/{len(everything)} {step.text}"
                )
                getattr(self, step.name)()
            except (ValueError, OSError, KeyboardInterrupt):
                self._failed(step)
                raise
        kept = (
            f"; the copy of its data is {self.store.place(self.journal)}" if self._keeps() else ""
        )
        return (
            f"{self.name} is replaced; commit stacks/Pulumi.{self.settings.stack}.yaml, whose"
            f" `serials` says so{kept}"
        )

    def _failed(self, step: Step) -> None:
        """Say what became of the two machines; where the old one has the data, it takes writes
        again."""
        again = f"run `fab replace {self.name}` again"
        if not step.serving:
            report.line(
                f"{self.name}: both machines are whole, and the new one has the data: {again} to"
                " finish"
            )
            return
        try:
            if self.role == "backend" and step.name in CLOSED:
                self._reopen(outputs.load(self.settings.stack))
        except (ValueError, OSError, KeyboardInterrupt) as problem:
            report.line(
                f"{self.name}: the old machine is whole and takes no writes yet ({problem}):"
                f" {again}"
            )
            return
        report.line(
            f"{self.name}: the old machine serves as before, the new one is kept for the next try:"
            f" {again}, or with --abort to remove it"
        )

    def take_back(self) -> str:
        """Remove the new machine while the old one still has the address. Raises ReplaceError later
        than that."""
        if self._journal is None:
            raise ReplaceError(f"{self.name} is not being replaced; there is nothing to take back")
        serials, journal = serials_of(self.settings, self.name), self.journal
        if serials.serves != journal.old:
            raise ReplaceError(
                f"{self.name}: the new machine has the address, and may have taken writes: it can't"
                f" be taken back. Run `fab replace {self.name}` to finish"
            )
        report.step("replace", "takes it back: removes the new machine")
        if self.role == "backend":
            self._reopen(outputs.load(self.settings.stack))
        new, address = resource(self.name, journal.new), f"public address {self.name}-standby"
        self._set(Serials(journal.old))
        self._up(f"machine {new}", f"instance {new}", address)
        self.store.drop(journal)
        self.store.forget()
        return f"{self.name} is as it was before"

    # ------------------------------------------------------------------------------------ its steps

    def add(self) -> None:
        self._up()

    def ready(self) -> None:
        ready.wait(self._with_new(self._found()).contract)

    def build(self) -> None:
        self._refuse_another_release(self._found())
        contract = self._with_new(self._found()).contract
        self._built(contract, _host(contract, self.name))

    def close(self) -> None:
        found = self._found()
        self._remote(found.contract).act(protocol.CLOSE)
        remote.take_no_writes(found, _host(found.contract, self.name), self._id)

    def copy(self) -> None:
        there, journal = self._remote(self._found().contract), self.journal
        if self.store.has(journal, there.act(protocol.CLOSE)["closing"]):
            return
        with self.store.arriving(journal) as arrival:
            room: ReplacementDetails = {"most": self.store.room(), "place": str(self.store.folder)}
            said = there.act(protocol.COPY, take=arrival.write, orders=room)
            copy = Copy(said["closing"], said["size"], said["digest"], said["told"])
            self._journal = self.store.keep(journal, arrival, copy)
        report.step(self.name, _in_words(copy.told))

    def restore(self) -> None:
        there, copy = self._remote(self._with_new(self._found()).contract), self.journal.copy
        assert copy is not None
        place = self.store.place(self.journal)
        orders: ReplacementDetails = {
            "closing": copy.closing,
            "size": copy.size,
            "digest": copy.digest,
        }
        said = there.act(protocol.RESTORE, blob=place, orders=orders)
        if said["restored"]:
            report.step(self.name, f"{_counts(said['told'])}: all as they were copied")

    def ship(self) -> None:
        ship.ship_to_all_hosts(
            self.settings, self._with_new(self._found()), only=self.name, replacement=self._id
        )

    def deploy(self) -> None:
        found = self._with_new(self._found())
        deploy.run_on_all_hosts(found, protocol.DEPLOY, only=self.name, replacement=self._id)
        check.from_here(found.contract, self.name)

    def switch(self) -> None:
        self._set(Serials(self.journal.new, self.journal.old))
        self._up(f"public address {self.name}-standby")

    def verify(self) -> None:
        found = self._found()
        ready.wait(found.contract)
        deploy.run_on_all_hosts(found, protocol.DEPLOY, only=self.name, replacement=self._id)
        check.from_here(found.contract, self.name)
        if self.role == "backend":
            self._remote(found.contract).act(protocol.SETTLE)

    def unprotect(self) -> None:
        self._set(Serials(self.journal.new, self.journal.old, protected=False))
        self._up()

    def remove(self) -> None:
        old = resource(self.name, self.journal.old)
        self._set(Serials(self.journal.new))
        self._up(f"machine {old}", f"instance {old}")

    def clear(self) -> None:
        if not self._keeps():
            self.store.drop(self.journal)
        self.store.forget()

    # ------------------------------------------------------------------------------ what they share

    @property
    def _id(self) -> str:
        """The same for whoever goes on with it."""
        return resource(self.name, self.journal.new)

    def _keeps(self) -> bool:
        return self.journal.keep_copy and self.store.place(self.journal).exists()

    def _found(self) -> Outputs:
        return outputs.load(self.settings.stack)

    def _set(self, serials: Serials) -> None:
        if serials_of(self.settings, self.name) != serials:
            self.settings = with_serials(self.settings, self.name, serials)

    def _up(self, *allowed: str) -> None:
        # This time with the operator's own keys: a new host takes them.
        wanted = source.read(self.settings.stack)
        infrastructure.run_up(wanted, self.engine, only(*allowed))

    def _with_new(self, found: Outputs) -> Outputs:
        """The outputs as they would be if the new machine served."""
        new = found.standby.get(self.name)
        if new is None:
            raise ReplaceError(
                f"the stack has no new machine for {self.name}; run `fab replace {self.name}` again"
            )
        contract = found.contract
        role = getattr(contract, self.role)
        swapped = changed(
            role, hosts=tuple(new if host.name == self.name else host for host in role.hosts)
        )
        return changed(found, contract=changed(contract, **{self.role: swapped}))

    def _remote(self, contract: Contract) -> Remote:
        return Remote(contract, _host(contract, self.name), self._id)

    def _reopen(self, found: Outputs) -> None:
        """The old machine takes writes as before; what was copied meanwhile is no longer what it
        has."""
        report.step(self.name, "takes writes again")
        host = _host(found.contract, self.name)
        deploy.run_on_all_hosts(found, protocol.DEPLOY, only=self.name, replacement=self._id)
        self._remote(found.contract).act(
            protocol.REOPEN, orders={"generation": remote.closed_id(found, host)}
        )

    def _built(self, contract: Contract, host: Host) -> tuple[str, str | None]:
        """The release that the source gives for a host, built; and the one that it serves."""
        with hosts.session(host, access.identity(contract)) as session:
            orders: Orders = {
                "app": contract.application.name,
                "role": self.role,
                "who": deploy.who(),
                "moving": {},
                "replacement": self._id if self._journal else "",
            }
            facts = session.ask(protocol.FACTS, orders)
        return ship.Builder(self.settings).release(self.role, facts).id, facts["release"]

    def _refuse_another_release(self, found: Outputs) -> None:
        """The new machine gets what the old one serves, and no migration in passing."""
        built, serves = self._built(found.contract, _host(found.contract, self.name))
        if built != serves:
            back = (
                ""
                if self._journal is None
                else f"; `fab replace {self.name} --abort` takes it back"
            )
            raise ReplaceError(
                f"{self.name} serves release {serves or 'none'}, and the source here gives {built}:"
                f" run `fab ship` first, or check out what {serves or 'it'} was made of{back}"
            )


def _host(contract: Contract, name: str) -> Host:
    ((_, host),) = contract.chosen(name)
    return host


def _in_words(summary: dict[str, object]) -> str:
    """What was copied, and what of it a person should look at."""
    texts = {
        "as_they_are": "SQLite can't read {}, copied as it is",
        "left_out": "left out, neither file, folder nor link: {}",
        "of_others": "of another user, the application's from now on: {}",
    }
    lines = [_counts(summary)]
    for key, text in texts.items():
        count, *names = _listed(summary.get(key))
        if count:
            lines.append(
                text.format(
                    ", ".join(map(str, names)) + (" …" if int(str(count)) > len(names) else "")
                )
            )
    return "; ".join(lines)


def _listed(value: object) -> Collection[object]:
    return value if isinstance(value, list) and value and isinstance(value[0], int) else [0]


def _counts(summary: dict[str, object]) -> str:
    return (
        f"{summary.get('files', 0)} files, {summary.get('tables', 0)} tables with"
        f" {summary.get('rows', 0)} rows"
    )
