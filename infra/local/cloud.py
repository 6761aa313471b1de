"""The third cloud: this very machine. The same attributes as the others, so that nothing above can
distinguish them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pulumi

from infra.clouds import Hosts, arriving, by_role
from infra.core import backend
from infra.core.contract import Host
from infra.core.home import LocalCloudError
from infra.core.owner import Owner, refuse_other
from infra.core.settings import Settings
from infra.core.topology import Instance
from infra.local.machines import Machine, Network

CHECKOUT = Path(__file__).resolve().parents[2]


class LocalCloud(pulumi.ComponentResource):
    """One network and one machine per instance. `hosts` is what exists, by role, first one
    first."""

    hosts: pulumi.Output[Hosts]
    standby: pulumi.Output[dict[str, Host]]

    def __init__(self, settings: Settings, instances: Sequence[Instance]) -> None:
        try:
            # `pulumi up` by hand comes through here alone.
            refuse_other(settings.stack, Owner.here(CHECKOUT))
            backend.refuse_other(settings.stack)
            backend.refuse_renamed(settings.stack)
        except LocalCloudError as problem:
            raise pulumi.RunError(str(problem)) from None
        super().__init__("origin-kit:local:Cloud", settings.stack)
        self._inside = pulumi.ResourceOptions(parent=self)
        self._settings = settings
        self._network = Network(
            "network",
            stack=settings.stack,
            subnet=settings.subnet,
            opts=self._inside,
        )
        self._made: dict[str, Machine] = {}
        machines = [self._machine(instance) for instance in instances]
        found = pulumi.Output.all(
            *[pulumi.Output.all(machine.address, machine.host_key) for machine in machines]
        )
        self.hosts = found.apply(lambda all_of_them: by_role(instances, all_of_them))
        self.standby = found.apply(lambda all_of_them: arriving(instances, all_of_them))
        self.register_outputs({})

    def _machine(self, instance: Instance) -> Machine:
        # Of two machines that are one host's the older one goes first: it gives the address up.
        older = self._made.get(instance.name)
        after = pulumi.ResourceOptions.merge(
            self._inside, pulumi.ResourceOptions(depends_on=[older] if older else [])
        )
        self._made[instance.name] = made = Machine(
            instance.resource,
            stack=self._settings.stack,
            serial=instance.serial,
            standing=instance.standing,
            number=instance.number,
            network=self._network,
            image=self._settings.image,
            memory_mb=self._settings.memory_mb,
            opts=after,
        )
        return made
