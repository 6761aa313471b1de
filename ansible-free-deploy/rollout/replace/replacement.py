"""One replacement: what each step does, and what is said of the two machines where it fails."""

from __future__ import annotations

from dataclasses import replace as changed

from infra.core.contract import Contract, Host
from infra.core.serials import Serials, resource
from infra.core.settings import Settings
from on_host import protocol
from on_host.protocol import Orders, ReplacementDetails
from rollout import (
    access,
    check,
    deploy,
    hosts,
    infrastructure,
    outputs,
    question,
    ready,
    report,
    ship,
)
from rollout import settings as source
from rollout.acme import certify
from rollout.outputs import Outputs
from rollout.replace import remote
from rollout.replace.config import serials_of, with_serials
from rollout.replace.limits import ReplaceError, only
from rollout.replace.remote import Remote
from rollout.replace.steps import CLOSED, Step, first_step, steps
from rollout.replace.store import Copy, Journal, Store
from rollout.replace.words import counts, in_words


class Replacement:
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
        self.name = name
        self.role = role
        self.settings = settings
        self.engine = engine
        self.store = store
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
        writes = ""
        if self.role == "backend":
            writes = "; it takes no writes while its data is copied"
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
        everything = steps(self.role, self.settings.production)
        for step in steps(self.role, self.settings.production, first):
            number = everything.index(step) + 1
            try:
                report.step("replace", f"{number}/{len(everything)} {step.text}")
                getattr(self, step.name)()
            except (ValueError, OSError, KeyboardInterrupt):
                self._failed(step)
                raise
        kept = ""
        if self._keeps():
            kept = f"; the copy of its data is {self.store.place(self.journal)}"
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
                self._reopen()
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
        serials = serials_of(self.settings, self.name)
        journal = self.journal
        if serials.serves != journal.old:
            raise ReplaceError(
                "the new machine has the address, and may have taken writes: it can't be taken"
                f" back. Run `fab replace {self.name}` to finish",
                where=self.name,
            )
        report.step("replace", "takes it back: removes the new machine")
        if self.role == "backend":
            self._reopen()
        new = resource(self.name, journal.new)
        address = f"public address {self.name}-standby"
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
        found = self._found()
        self._refuse_another_release(found)
        contract = self._with_new(found).contract
        self._built(contract, _host(contract, self.name))

    def close(self) -> None:
        found = self._found()
        self._remote(found.contract).act(protocol.CLOSE)
        remote.take_no_writes(found, _host(found.contract, self.name), self._id)

    def copy(self) -> None:
        there = self._remote(self._found().contract)
        journal = self.journal
        closing = there.act(protocol.CLOSE)["closing"]
        if self.store.has(journal, closing):
            return
        with self.store.arriving(journal) as arrival:
            room: ReplacementDetails = {
                "most": self.store.room(),
                "place": str(self.store.folder),
            }
            said = there.act(protocol.COPY, take=arrival.write, orders=room)
            copy = Copy(
                said["closing"],
                said["size"],
                said["digest"],
                said["told"],
                said["seed"],
            )
            self._journal = self.store.keep(journal, arrival, copy)
        report.step(self.name, in_words(copy.told))

    def restore(self) -> None:
        there = self._remote(self._with_new(self._found()).contract)
        copy = self.journal.copy
        assert copy is not None
        place = self.store.place(self.journal)
        orders: ReplacementDetails = {
            "closing": copy.closing,
            "size": copy.size,
            "digest": copy.digest,
            "seed": copy.seed,
        }
        said = there.act(protocol.RESTORE, blob=place, orders=orders)
        if said["restored"]:
            report.step(self.name, f"{counts(said['told'])}: all as they were copied")

    def ship(self) -> None:
        ship.ship_to_all_hosts(
            self.settings,
            self._with_new(self._found()),
            only=self.name,
            replacement=self._id,
        )

    def deploy(self) -> None:
        serving = self._found()
        found = self._with_new(serving)
        certify.carry(serving, found, self.name, self._id)
        deploy.run_on_all_hosts(
            found,
            protocol.DEPLOY,
            only=self.name,
            replacement=self._id,
        )
        check.from_here(found.contract, self.name)

    def switch(self) -> None:
        self._set(Serials(self.journal.new, self.journal.old))
        self._up(f"public address {self.name}-standby")

    def verify(self) -> None:
        found = self._found()
        ready.wait(found.contract)
        deploy.run_on_all_hosts(
            found,
            protocol.DEPLOY,
            only=self.name,
            replacement=self._id,
        )
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
                f"the stack has no new machine for {self.name}",
                cure=f"run `fab replace {self.name}` again",
            )
        contract = found.contract
        role = getattr(contract, self.role)
        members = tuple(new if host.name == self.name else host for host in role.hosts)
        swapped = changed(role, hosts=members)
        return changed(found, contract=changed(contract, **{self.role: swapped}))

    def _remote(self, contract: Contract) -> Remote:
        return Remote(contract, _host(contract, self.name), self._id)

    def _reopen(self) -> None:
        """The old machine takes writes as before; what was copied meanwhile is no longer what it
        has."""
        found = self._found()
        report.step(self.name, "takes writes again")
        host = _host(found.contract, self.name)
        deploy.run_on_all_hosts(
            found,
            protocol.DEPLOY,
            only=self.name,
            replacement=self._id,
        )
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
            back = ""
            if self._journal is not None:
                back = f"; `fab replace {self.name} --abort` takes it back"
            raise ReplaceError(
                f"{self.name} serves release {serves or 'none'}, and the source here gives {built}:"
                f" run `fab ship` first, or check out what {serves or 'it'} was made of{back}"
            )


def _host(contract: Contract, name: str) -> Host:
    ((_, host),) = contract.chosen(name)
    return host
