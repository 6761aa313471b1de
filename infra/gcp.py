"""Google Cloud: the same attributes as every cloud, so that `topology.py` can't see which one it
is.

A network of its own (or an existing one), firewall rules by service account, and per instance a
shielded machine with a reserved address and an SSH host key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_gcp as gcp
import pulumi_tls as tls

from infra.clouds import Hosts, arriving, by_role, first_boot, login_keys
from infra.core import names, previews, provider
from infra.core.contract import Host
from infra.core.first_boot import startup_script
from infra.core.serials import ARRIVING, LEAVING
from infra.core.settings import Settings
from infra.core.topology import PORTS, Instance, records, roles

ANYWHERE = "0.0.0.0/0"
TTL_S = 60
FOR_LIFE = [
    "bootDisk.initializeParams.image",
    "bootDisk.initializeParams.labels",
    'metadata["startup-script"]',
]


def by_family(networks: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of IPv4, and those of IPv6."""
    of_ipv4 = [network for network in networks if ":" not in network]
    of_ipv6 = [network for network in networks if ":" in network]
    return of_ipv4, of_ipv6


class GcpCloud(pulumi.ComponentResource):
    """`hosts` is what exists, by role, first one first."""

    hosts: pulumi.Output[Hosts]
    standby: pulumi.Output[dict[str, Host]]

    def __init__(self, settings: Settings, instances: Sequence[Instance]) -> None:
        super().__init__("origin-kit:gcp:Cloud", settings.stack)
        self._settings = settings
        self._description = previews.google_description(settings)
        self._provider = gcp.Provider(
            "gcp",
            project=settings.gcp_project,
            region=settings.region,
            opts=pulumi.ResourceOptions(parent=self),
        )
        # A name can't be changed without a replacement: what exists keeps its own, whatever the
        # stack is called today.
        self._inside = pulumi.ResourceOptions(
            parent=self,
            provider=self._provider,
            ignore_changes=["name"],
        )
        self._make_network()
        self._accounts = {role: self._account(role) for role in roles(settings)}
        for role in self._accounts:
            self._firewalls(role)
        keys = login_keys(settings)
        self._made: dict[str, gcp.compute.Instance] = {}
        machines = pulumi.Output.all(*[self._machine(instance, keys) for instance in instances])
        self.hosts = machines.apply(lambda found: by_role(instances, found))
        self.standby = machines.apply(lambda found: arriving(instances, found))
        self.register_outputs({})

    def _kept(self, protected: bool) -> pulumi.ResourceOptions:
        """For what holds data, or an address that is known."""
        return pulumi.ResourceOptions.merge(
            self._inside, pulumi.ResourceOptions(protect=protected or None)
        )

    def _full(self, name: str) -> str:
        """A name of this application's stack in the project."""
        return names.dashed(self._settings.application, self._settings.stack, name)

    def _labels(self, **more: str) -> dict[str, str]:
        return {
            "application": self._settings.application,
            "project": pulumi.get_project(),
            "stack": names.label(self._settings.stack),
            **previews.google_labels(self._settings),
            **more,
        }

    # -------------------------------------------------------------------------------------- network

    def _make_network(self) -> None:
        settings = self._settings
        if settings.existing_network:
            self._network: pulumi.Input[str] = settings.existing_network
            self._subnet: pulumi.Input[str] = settings.existing_subnets[0]
            return
        network = gcp.compute.Network(
            "network",
            name=self._full("network"),
            description=self._description,
            project=settings.gcp_project,
            auto_create_subnetworks=False,
            opts=self._inside,
        )
        subnet = gcp.compute.Subnetwork(
            "public",
            name=self._full("public"),
            description=self._description,
            project=settings.gcp_project,
            network=network.id,
            region=settings.region,
            ip_cidr_range=settings.network_cidr or provider.NETWORK_CIDR,
            opts=self._inside,
        )
        self._network, self._subnet = network.id, subnet.id

    def _account(self, role: str) -> gcp.serviceaccount.Account:
        """Who the instances of a role are: a service account without any role. Firewall rules name
        it."""
        settings = self._settings
        return gcp.serviceaccount.Account(
            role,
            account_id=names.dashed(
                role, settings.application, settings.stack, longest=names.LONGEST_ACCOUNT
            ),
            display_name=self._full(role),
            description=self._description,
            project=settings.gcp_project,
            opts=pulumi.ResourceOptions.merge(
                self._inside, pulumi.ResourceOptions(ignore_changes=["account_id"])
            ),
        )

    def _firewalls(self, role: str) -> None:
        """Who may reach a role: browsers its ports, operators SSH. Google takes one family of
        addresses a rule."""
        self._firewall(role, "anyone", [ANYWHERE])
        families = filter(None, by_family(self._settings.ssh_from))
        for suffix, sources in zip(("", "-ipv6"), families, strict=False):
            self._firewall(role, "operators", sources, suffix)

    def _firewall(
        self,
        role: str,
        who: str,
        sources: Sequence[str],
        suffix: str = "",
    ) -> None:
        ports = [str(port.number) for port in PORTS if port.open_to == who]
        gcp.compute.Firewall(
            f"{role}-{who}{suffix}",
            name=self._full(f"{role}-{who}{suffix}"),
            description=self._description,
            project=self._settings.gcp_project,
            network=self._network,
            direction="INGRESS",
            source_ranges=list(sources),
            target_service_accounts=[self._accounts[role].email],
            allows=[gcp.compute.FirewallAllowArgs(protocol="tcp", ports=ports)],
            # Google changes no rule's network, though its provider asks for that.
            opts=pulumi.ResourceOptions.merge(
                self._inside,
                pulumi.ResourceOptions(replace_on_changes=["network"], delete_before_replace=True),
            ),
        )

    # ------------------------------------------------------------------------------------- machines

    def _machine(self, instance: Instance, keys: Sequence[str]) -> pulumi.Output[tuple[str, str]]:
        """One instance; its address and its SSH host key."""
        settings = self._settings
        name = instance.resource
        labels = self._labels(role=instance.role)
        protected = settings.production and instance.protected
        host_key = tls.PrivateKey(
            name,
            algorithm="ED25519",
            opts=pulumi.ResourceOptions(parent=self),
        )
        address = self._address(instance) if instance.serves else None
        # Of two machines that are one host's the older one goes first: it gives the address up.
        older = self._made.get(instance.name)
        self._made[instance.name] = machine = gcp.compute.Instance(
            name,
            name=self._full(name),
            project=settings.gcp_project,
            zone=provider.zones(settings)[0],
            machine_type=provider.machine_type(settings),
            boot_disk=self._boot_disk(labels),
            network_interfaces=[self._interface(instance, address)],
            service_account=gcp.compute.InstanceServiceAccountArgs(
                email=self._accounts[instance.role].email, scopes=[]
            ),
            shielded_instance_config=_shielded(),
            metadata=first_boot(startup_script, "gcp", name, keys, host_key).apply(_metadata),
            labels=labels,
            deletion_protection=protected,
            # Another machine type needs a stop, as on AWS; `fab up` asks before.
            allow_stopping_for_update=True,
            opts=self._for_life(protected, older),
        )
        found = address.address if address else _own_address(instance, machine)
        return pulumi.Output.all(found, host_key.public_key_openssh).apply(
            lambda both: (both[0], both[1])
        )

    def _interface(
        self, instance: Instance, address: gcp.compute.Address | None
    ) -> gcp.compute.InstanceNetworkInterfaceArgs:
        return gcp.compute.InstanceNetworkInterfaceArgs(
            subnetwork=self._subnet, access_configs=_access(instance, address)
        )

    def _boot_disk(self, labels: Mapping[str, str]) -> gcp.compute.InstanceBootDiskArgs:
        return gcp.compute.InstanceBootDiskArgs(
            initialize_params=gcp.compute.InstanceBootDiskInitializeParamsArgs(
                image=self._settings.machine_image,
                size=self._settings.disk_gb,
                type="pd-balanced",
                labels=labels,
            )
        )

    def _for_life(
        self, protected: bool, older: gcp.compute.Instance | None
    ) -> pulumi.ResourceOptions:
        """For an instance: neither a newer image, another first boot nor a disk's labels may stop
        or replace what holds data."""
        more = pulumi.ResourceOptions(
            ignore_changes=FOR_LIFE,
            additional_secret_outputs=["metadata"],
            depends_on=[older] if older else [],
        )
        return pulumi.ResourceOptions.merge(self._kept(protected), more)

    def _address(self, instance: Instance) -> gcp.compute.Address:
        """The host's address, whichever machine serves, and its name."""
        settings, name = self._settings, instance.name
        address = gcp.compute.Address(
            name,
            name=self._full(name),
            project=settings.gcp_project,
            region=settings.region,
            address_type="EXTERNAL",
            labels=self._labels(role=instance.role),
            opts=self._kept(settings.production),
        )
        for record, public_name in records(settings, instance).items():
            gcp.dns.RecordSet(
                record,
                managed_zone=settings.dns_zone,
                project=settings.gcp_project,
                name=f"{public_name}.",
                type="A",
                ttl=TTL_S,
                rrdatas=[address.address],
                opts=pulumi.ResourceOptions(parent=self, provider=self._provider),
            )
        return address


def _access(
    instance: Instance, address: gcp.compute.Address | None
) -> list[gcp.compute.InstanceNetworkInterfaceAccessConfigArgs] | None:
    """How the internet reaches it: an arriving machine has an address of its own until it gets the
    host's; one that leaves has none any more."""
    if instance.standing == LEAVING:
        return None
    if address is None:
        return [gcp.compute.InstanceNetworkInterfaceAccessConfigArgs()]
    return [gcp.compute.InstanceNetworkInterfaceAccessConfigArgs(nat_ip=address.address)]


def _own_address(instance: Instance, machine: gcp.compute.Instance) -> pulumi.Output[str]:
    if instance.standing != ARRIVING:
        return pulumi.Output.from_input("")
    return machine.network_interfaces.apply(
        lambda found: str((found[0].access_configs or [])[0].nat_ip or "")
    )


def _shielded() -> gcp.compute.InstanceShieldedInstanceConfigArgs:
    return gcp.compute.InstanceShieldedInstanceConfigArgs(
        enable_secure_boot=True,
        enable_vtpm=True,
        enable_integrity_monitoring=True,
    )


def _metadata(script: str) -> dict[str, str]:
    """An instance's metadata: only the first-boot script says who may log in."""
    return {
        "block-project-ssh-keys": "TRUE",
        "enable-oslogin": "FALSE",
        "startup-script": script,
    }
