"""Google Cloud: the same attributes as every cloud, so that `topology.py` can't tell which one it is.

A network of its own (or an existing one), firewall rules by service account, and per instance a shielded machine with a
reserved address and an SSH host key.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_gcp as gcp
import pulumi_tls as tls

from infra import provider
from infra.clouds import Hosts, by_role, first_boot
from infra.first_boot import startup_script
from infra.settings import Settings
from infra.topology import PORTS, ROLES, Instance, name_of

ANYWHERE = "0.0.0.0/0"
TTL_S = 60


class GcpCloud(pulumi.ComponentResource):
    """`hosts` is what exists, by role, first one first."""

    hosts: pulumi.Output[Hosts]

    def __init__(self, settings: Settings, instances: Sequence[Instance]) -> None:
        super().__init__("origin-kit:gcp:Cloud", settings.stack)
        self._settings = settings
        self._provider = gcp.Provider(
            "gcp", project=settings.gcp_project, region=settings.region, opts=pulumi.ResourceOptions(parent=self)
        )
        self._inside = pulumi.ResourceOptions(parent=self, provider=self._provider)
        self._kept = pulumi.ResourceOptions(parent=self, provider=self._provider, protect=settings.production or None)
        self._make_network()
        self._accounts = {role: self._account(role) for role in ROLES}
        for role in ROLES:
            self._firewalls(role)
        keys = provider.public_keys(settings.ssh_key_file)
        machines = [self._machine(instance, keys) for instance in instances]
        self.hosts = pulumi.Output.all(*machines).apply(lambda found: by_role(instances, found))
        self.register_outputs({})

    def _full(self, name: str) -> str:
        """A name of this stack's in the project, at most 63 characters."""
        return f"{pulumi.get_project()}-{self._settings.stack}-{name}"

    def _labels(self, **more: str) -> dict[str, str]:
        return {"project": pulumi.get_project(), "stack": self._settings.stack, **more}

    # ------------------------------------------------------------------------------------------------- network

    def _make_network(self) -> None:
        settings = self._settings
        if settings.existing_network:
            self._network: pulumi.Input[str] = settings.existing_network
            self._subnet: pulumi.Input[str] = settings.existing_subnets[0]
            return
        network = gcp.compute.Network(
            "network", name=self._full("network"), auto_create_subnetworks=False, opts=self._inside
        )
        subnet = gcp.compute.Subnetwork(
            "public", name=self._full("public"), network=network.id, region=settings.region,
            ip_cidr_range=settings.network_cidr or provider.NETWORK_CIDR, opts=self._inside,
        )  # fmt: skip
        self._network, self._subnet = network.id, subnet.id

    def _account(self, role: str) -> gcp.serviceaccount.Account:
        """Who the instances of a role are: a service account without any role. Firewall rules name it."""
        return gcp.serviceaccount.Account(
            role, account_id=f"{role}-{self._settings.stack}"[:30], display_name=self._full(role), opts=self._inside
        )

    def _firewalls(self, role: str) -> None:
        sources = {"anyone": [ANYWHERE], "operators": list(self._settings.ssh_from)}
        for who, cidrs in sources.items():
            ports = [str(port.number) for port in PORTS if port.open_to == who]
            gcp.compute.Firewall(
                f"{role}-{who}",
                name=self._full(f"{role}-{who}"),
                network=self._network,
                direction="INGRESS",
                source_ranges=cidrs,
                target_service_accounts=[self._accounts[role].email],
                allows=[gcp.compute.FirewallAllowArgs(protocol="tcp", ports=ports)],
                opts=self._inside,
            )

    # ------------------------------------------------------------------------------------------------- machines

    def _machine(self, instance: Instance, keys: Sequence[str]) -> pulumi.Output[tuple[str, str]]:
        """One instance; its address and its SSH host key."""
        settings, name, labels = self._settings, instance.name, self._labels(role=instance.role)
        host_key = tls.PrivateKey(name, algorithm="ED25519", opts=pulumi.ResourceOptions(parent=self))
        address = gcp.compute.Address(
            name, name=self._full(name), region=settings.region, address_type="EXTERNAL", labels=labels,
            opts=self._kept,
        )  # fmt: skip
        gcp.compute.Instance(
            name,
            name=self._full(name),
            zone=provider.zones(settings)[0],
            machine_type=provider.machine_type(settings),
            boot_disk=gcp.compute.InstanceBootDiskArgs(
                initialize_params=gcp.compute.InstanceBootDiskInitializeParamsArgs(
                    image=settings.machine_image, size=settings.disk_gb, type="pd-balanced", labels=labels
                )
            ),
            network_interfaces=[
                gcp.compute.InstanceNetworkInterfaceArgs(
                    subnetwork=self._subnet,
                    access_configs=[gcp.compute.InstanceNetworkInterfaceAccessConfigArgs(nat_ip=address.address)],
                )
            ],
            service_account=gcp.compute.InstanceServiceAccountArgs(
                email=self._accounts[instance.role].email, scopes=[]
            ),
            shielded_instance_config=gcp.compute.InstanceShieldedInstanceConfigArgs(
                enable_secure_boot=True, enable_vtpm=True, enable_integrity_monitoring=True
            ),
            metadata=first_boot(startup_script, "gcp", name, keys, host_key).apply(
                lambda text: {"block-project-ssh-keys": "TRUE", "enable-oslogin": "FALSE", "startup-script": text}
            ),
            labels=labels,
            deletion_protection=settings.production,
            allow_stopping_for_update=False,
            # Neither a newer image nor another first boot may stop or replace what runs and holds data.
            opts=pulumi.ResourceOptions.merge(
                self._kept,
                pulumi.ResourceOptions(
                    ignore_changes=["bootDisk.initializeParams.image", 'metadata["startup-script"]'],
                    additional_secret_outputs=["metadata"],
                ),
            ),
        )
        if settings.domain and instance.first:
            gcp.dns.RecordSet(
                name, managed_zone=settings.dns_zone, name=name_of(settings, instance.role) + ".", type="A", ttl=TTL_S,
                rrdatas=[address.address], opts=self._inside,
            )  # fmt: skip
        return pulumi.Output.all(address.address, host_key.public_key_openssh).apply(lambda both: (both[0], both[1]))
