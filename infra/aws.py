"""AWS: the same attributes as every cloud, so that `topology.py` can't see which one it is.

A network of its own (or an existing one), a security group per role, and per instance an EC2
machine with an Elastic IP and an SSH host key. The address in the contract is the Elastic IP's: an
instance's own `public_ip` changes with a stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

import pulumi
import pulumi_aws as aws
import pulumi_tls as tls

from infra.clouds import Hosts, arriving, by_role, first_boot, login_keys
from infra.core import previews, provider
from infra.core.contract import Host
from infra.core.first_boot import cloud_config
from infra.core.serials import LEAVING
from infra.core.settings import Settings
from infra.core.topology import PORTS, Instance, records, roles

ANYWHERE = "0.0.0.0/0"
TTL_S = 60


class AwsCloud(pulumi.ComponentResource):
    """`hosts` is what exists, by role, first one first."""

    hosts: pulumi.Output[Hosts]
    standby: pulumi.Output[dict[str, Host]]

    def __init__(self, settings: Settings, instances: Sequence[Instance]) -> None:
        super().__init__("origin-kit:aws:Cloud", settings.stack)
        self._settings = settings
        self._provider = aws.Provider(
            "aws",
            region=settings.region,
            opts=self._options(),
        )
        self._inside = self._options(provider=self._provider)
        self._network()
        self._groups = {role: self._group(role) for role in roles(settings)}
        keys = login_keys(settings)
        machines = pulumi.Output.all(*[self._machine(instance, keys) for instance in instances])
        self.hosts = machines.apply(lambda found: by_role(instances, found))
        self.standby = machines.apply(lambda found: arriving(instances, found))
        self.register_outputs({})

    def _options(
        self, provider: pulumi.ProviderResource | None = None, protect: bool | None = None
    ) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(
            parent=self,
            provider=provider,
            protect=protect or None,
        )

    def _kept(self, protected: bool) -> pulumi.ResourceOptions:
        """For what holds data, or an address that is known."""
        return self._options(provider=self._provider, protect=protected)

    @staticmethod
    def _but(
        options: pulumi.ResourceOptions, ignore: list[str], secret: list[str] | None = None
    ) -> pulumi.ResourceOptions:
        """The options, with inputs whose changes are ignored and outputs that are secret."""
        more = pulumi.ResourceOptions(ignore_changes=ignore, additional_secret_outputs=secret)
        return pulumi.ResourceOptions.merge(options, more)

    def _tags(self, name: str, **more: str) -> dict[str, str]:
        application, stack = self._settings.application, self._settings.stack
        return {
            "Name": f"{application}-{stack}-{name}",
            "application": application,
            "project": pulumi.get_project(),
            "stack": stack,
            **previews.aws_tags(self._settings),
            **more,
        }

    # -------------------------------------------------------------------------------------- network

    def _network(self) -> None:
        settings = self._settings
        if settings.existing_network:
            self._vpc: pulumi.Input[str] = settings.existing_network
            self._subnets: list[pulumi.Input[str]] = list(settings.existing_subnets)
            return
        cidr = IPv4Network(settings.network_cidr or provider.NETWORK_CIDR)
        vpc = aws.ec2.Vpc(
            "network",
            cidr_block=str(cidr),
            enable_dns_hostnames=True,
            tags=self._tags("network"),
            opts=self._inside,
        )
        gateway = aws.ec2.InternetGateway(
            "gateway",
            vpc_id=vpc.id,
            tags=self._tags("gateway"),
            opts=self._inside,
        )
        routes = aws.ec2.RouteTable(
            "routes",
            vpc_id=vpc.id,
            tags=self._tags("routes"),
            opts=self._inside,
        )
        aws.ec2.Route(
            "out",
            route_table_id=routes.id,
            destination_cidr_block=ANYWHERE,
            gateway_id=gateway.id,
            opts=self._inside,
        )
        self._vpc = vpc.id
        self._subnets = []
        blocks = cidr.subnets(prefixlen_diff=4)
        in_zones = zip(provider.zones(settings), blocks, strict=False)
        for number, (zone, block) in enumerate(in_zones, 1):
            self._subnets.append(self._subnet(f"public-{number}", zone, block, routes))

    def _subnet(
        self,
        name: str,
        zone: str,
        block: IPv4Network,
        routes: aws.ec2.RouteTable,
    ) -> pulumi.Output[str]:
        """A subnet in one zone with a way to the internet; its id."""
        subnet = aws.ec2.Subnet(
            name,
            vpc_id=self._vpc,
            cidr_block=str(block),
            availability_zone=zone,
            tags=self._tags(name),
            opts=self._inside,
        )
        aws.ec2.RouteTableAssociation(
            name,
            subnet_id=subnet.id,
            route_table_id=routes.id,
            opts=self._inside,
        )
        return subnet.id

    def _group(self, role: str) -> aws.ec2.SecurityGroup:
        """Who may reach a role: browsers its ports, operators SSH; instances may fetch their
        packages."""
        whose = f"{role} of {self._settings.application} {self._settings.stack}"
        group = aws.ec2.SecurityGroup(
            role,
            vpc_id=self._vpc,
            name=whose,
            description=whose,
            tags=self._tags(role, role=role),
            # Neither can be changed; groups that exist keep theirs.
            opts=self._but(self._inside, ignore=["name", "description"]),
        )
        sources = {"anyone": (ANYWHERE,), "operators": self._settings.ssh_from}
        for port in PORTS:
            for number, cidr in enumerate(sources[port.open_to], 1):
                key = "cidr_ipv6" if ":" in cidr else "cidr_ipv4"
                aws.vpc.SecurityGroupIngressRule(
                    f"{role}-{port.number}-{number}",
                    security_group_id=group.id,
                    ip_protocol="tcp",
                    from_port=port.number,
                    to_port=port.number,
                    **{key: cidr},
                    tags=self._tags(f"{role}-{port.number}"),
                    opts=self._inside,
                )
        aws.vpc.SecurityGroupEgressRule(
            f"{role}-out",
            security_group_id=group.id,
            ip_protocol="-1",
            cidr_ipv4=ANYWHERE,
            tags=self._tags(f"{role}-out"),
            opts=self._inside,
        )
        return group

    # ------------------------------------------------------------------------------------- machines

    def _machine(self, instance: Instance, keys: Sequence[str]) -> pulumi.Output[tuple[str, str]]:
        """One instance; its address and its SSH host key."""
        settings = self._settings
        name = instance.resource
        tags = self._tags(name, role=instance.role)
        protected = settings.production and instance.protected
        host_key = tls.PrivateKey(
            name,
            algorithm="ED25519",
            opts=self._options(),
        )
        machine = aws.ec2.Instance(
            name,
            ami=settings.machine_image,
            instance_type=provider.machine_type(settings),
            subnet_id=self._subnets[instance.number % len(self._subnets)],
            vpc_security_group_ids=[self._groups[instance.role].id],
            user_data=first_boot(cloud_config, "aws", name, keys, host_key),
            metadata_options=_with_tokens_only(),
            root_block_device=aws.ec2.InstanceRootBlockDeviceArgs(
                volume_type="gp3",
                volume_size=settings.disk_gb,
                encrypted=True,
                tags=tags,
            ),
            disable_api_termination=protected,
            tags=tags,
            # Neither a newer image nor another first boot may stop or replace what runs and holds
            # data; nor may the key pair that earlier versions of this kit gave to an instance,
            # which is part of it for life.
            opts=self._but(
                self._kept(protected),
                ignore=["ami", "user_data", "key_name"],
                secret=["user_data", "user_data_base64"],
            ),
        )
        return pulumi.Output.all(
            self._address(instance, machine), host_key.public_key_openssh
        ).apply(lambda both: (both[0], both[1]))

    def _address(self, instance: Instance, machine: aws.ec2.Instance) -> pulumi.Output[str]:
        """How it is reached. The host's address is the host's, whichever machine serves; an
        arriving machine has one of its own until then, and one that leaves has none any more."""
        settings = self._settings
        name = instance.name if instance.serves else f"{instance.name}-standby"
        if instance.standing == LEAVING:
            return pulumi.Output.from_input("")
        kept = self._kept(settings.production and instance.serves)
        address = aws.ec2.Eip(
            name,
            domain="vpc",
            tags=self._tags(name, role=instance.role),
            opts=kept,
        )
        moves = pulumi.ResourceOptions.merge(
            self._inside, pulumi.ResourceOptions(delete_before_replace=True)
        )
        aws.ec2.EipAssociation(
            name,
            instance_id=machine.id,
            allocation_id=address.id,
            opts=moves,
        )
        for record, public_name in records(settings, instance).items():
            aws.route53.Record(
                record,
                zone_id=settings.dns_zone,
                name=public_name,
                type="A",
                ttl=TTL_S,
                records=[address.public_ip],
                opts=self._inside,
            )
        return address.public_ip


def _with_tokens_only() -> aws.ec2.InstanceMetadataOptionsArgs:
    """The instance's metadata answer only who has asked for a token before (IMDSv2), and nobody
    one network hop further."""
    return aws.ec2.InstanceMetadataOptionsArgs(
        http_endpoint="enabled",
        http_tokens="required",
        http_put_response_hop_limit=1,
    )
