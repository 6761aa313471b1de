"""The graph for AWS, applied to a model of AWS's APIs that is not ours (moto), and read back.

The translator maps every input of every resource, and fails on one that it does not know. Enums are
held against botocore's own service model, since moto takes any text for them.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from infra.core.previews import name_of
from rollout.previews import tagged as of_the_sweep
from tests.support import graph
from tests.support.graph import Graph, Node
from tests.test_clouds import KEY

REGION = "eu-central-1"
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def an_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(KEY)
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(name, value)


def enums(client: Any, operation: str, request: Json) -> None:
    """Raises AssertionError for a value that is in no enum of the service's own model."""
    shape = client.meta.service_model.operation_model(operation).input_shape

    def walk(shape: Any, value: Any, place: str) -> None:
        if shape.type_name == "structure":
            for key, item in value.items():
                walk(shape.members[key], item, f"{place}.{key}")
        elif shape.type_name == "list":
            for item in value:
                walk(shape.member, item, place)
        elif getattr(shape, "enum", None):
            assert value in shape.enum, (
                f"{operation}{place}: {value!r} is none of {len(shape.enum)} known values"
            )

    walk(shape, request, "")


class Aws:
    """Applies nodes in order. Ids that the program saw are replaced by those that moto gave."""

    def __init__(self) -> None:
        self.ec2 = boto3.client("ec2", region_name=REGION)
        self.iam = boto3.client("iam", region_name=REGION)
        self.dns = boto3.client("route53", region_name=REGION)
        self.ids: dict[str, str] = {}

    def ask(self, client: Any, operation: str, **request: Any) -> Json:
        enums(client, operation, request)
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).lstrip("_")
        return dict(getattr(client, snake)(**request))

    def apply(self, built: Graph) -> None:
        for node in built.nodes:
            if not node.type.startswith("aws:"):
                continue
            inputs = self.real(json.loads(json.dumps(node.inputs)))
            tags = inputs.pop("tags", None)
            self.ids[node.id] = TRANSLATE[node.type](self, node, inputs, tags)
            assert not inputs, (
                f"{node.type} {node.name}: the translator does not map {sorted(inputs)}"
            )

    def real(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.real(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.real(item) for item in value]
        return self.ids.get(value, value) if isinstance(value, str) else value


def tagged(kind: str, tags: Json) -> list[Json]:
    return [
        {
            "ResourceType": kind,
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }
    ]


def vpc(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    made = aws.ask(
        aws.ec2,
        "CreateVpc",
        CidrBlock=inputs.pop("cidrBlock"),
        TagSpecifications=tagged("vpc", tags),
    )
    identity = str(made["Vpc"]["VpcId"])
    dns = {"Value": inputs.pop("enableDnsHostnames")}
    aws.ask(aws.ec2, "ModifyVpcAttribute", VpcId=identity, EnableDnsHostnames=dns)
    return identity


def gateway(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    made = aws.ask(
        aws.ec2, "CreateInternetGateway", TagSpecifications=tagged("internet-gateway", tags)
    )
    identity = str(made["InternetGateway"]["InternetGatewayId"])
    aws.ask(aws.ec2, "AttachInternetGateway", InternetGatewayId=identity, VpcId=inputs.pop("vpcId"))
    return identity


def table(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    made = aws.ask(
        aws.ec2,
        "CreateRouteTable",
        VpcId=inputs.pop("vpcId"),
        TagSpecifications=tagged("route-table", tags),
    )
    return str(made["RouteTable"]["RouteTableId"])


def route(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    aws.ask(
        aws.ec2,
        "CreateRoute",
        RouteTableId=inputs.pop("routeTableId"),
        GatewayId=inputs.pop("gatewayId"),
        DestinationCidrBlock=inputs.pop("destinationCidrBlock"),
    )
    return node.id


def subnet(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    made = aws.ask(
        aws.ec2,
        "CreateSubnet",
        VpcId=inputs.pop("vpcId"),
        CidrBlock=inputs.pop("cidrBlock"),
        AvailabilityZone=inputs.pop("availabilityZone"),
        TagSpecifications=tagged("subnet", tags),
    )
    return str(made["Subnet"]["SubnetId"])


def route_association(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    table, subnet = inputs.pop("routeTableId"), inputs.pop("subnetId")
    return str(
        aws.ask(aws.ec2, "AssociateRouteTable", RouteTableId=table, SubnetId=subnet)[
            "AssociationId"
        ]
    )


def group(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    made = aws.ask(
        aws.ec2,
        "CreateSecurityGroup",
        GroupName=inputs.pop("name"),
        VpcId=inputs.pop("vpcId"),
        Description=inputs.pop("description"),
        TagSpecifications=tagged("security-group", tags),
    )
    identity = str(made["GroupId"])
    # Pulumi's group begins without AWS's own rule that lets everything out.
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    aws.ask(aws.ec2, "RevokeSecurityGroupEgress", GroupId=identity, IpPermissions=everything)
    return identity


def rule(operation: str) -> Callable[[Aws, Node, Json, Json], str]:
    def apply(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
        permission: Json = {"IpProtocol": inputs.pop("ipProtocol")}
        if "fromPort" in inputs:
            permission |= {"FromPort": inputs.pop("fromPort"), "ToPort": inputs.pop("toPort")}
        if "cidrIpv4" in inputs:
            permission["IpRanges"] = [{"CidrIp": inputs.pop("cidrIpv4")}]
        if "cidrIpv6" in inputs:
            permission["Ipv6Ranges"] = [{"CidrIpv6": inputs.pop("cidrIpv6")}]
        aws.ask(
            aws.ec2,
            operation,
            GroupId=inputs.pop("securityGroupId"),
            IpPermissions=[permission],
            TagSpecifications=tagged("security-group-rule", tags),
        )
        return node.id

    return apply


def instance(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    options, disk = inputs.pop("metadataOptions"), inputs.pop("rootBlockDevice")
    keep = inputs.pop("disableApiTermination")
    request = {
        "ImageId": inputs.pop("ami"),
        "InstanceType": inputs.pop("instanceType"),
        "SubnetId": inputs.pop("subnetId"),
        "SecurityGroupIds": inputs.pop("vpcSecurityGroupIds"),
        "UserData": inputs.pop("userData")["secret"],
        "MetadataOptions": {
            "HttpEndpoint": options.pop("httpEndpoint"),
            "HttpTokens": options.pop("httpTokens"),
            "HttpPutResponseHopLimit": options.pop("httpPutResponseHopLimit"),
        },
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {
                    "VolumeType": disk.pop("volumeType"),
                    "VolumeSize": disk.pop("volumeSize"),
                    "Encrypted": disk.pop("encrypted"),
                    "DeleteOnTermination": True,  # the provider's default
                },
            }
        ],
        "TagSpecifications": [*tagged("instance", tags), *tagged("volume", disk.pop("tags"))],
        "MinCount": 1,
        "MaxCount": 1,
    }
    assert not options, options
    assert not disk, disk
    identity = str(aws.ask(aws.ec2, "RunInstances", **request)["Instances"][0]["InstanceId"])
    # moto drops this one where it stands in run_instances.
    aws.ask(
        aws.ec2,
        "ModifyInstanceAttribute",
        InstanceId=identity,
        DisableApiTermination={"Value": keep},
    )
    return identity


def eip(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    made = aws.ask(
        aws.ec2,
        "AllocateAddress",
        Domain=inputs.pop("domain"),
        TagSpecifications=tagged("elastic-ip", tags),
    )
    aws.ids[graph.address(node.name)] = str(made["PublicIp"])
    return str(made["AllocationId"])


def eip_association(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    allocation, machine = inputs.pop("allocationId"), inputs.pop("instanceId")
    return str(
        aws.ask(aws.ec2, "AssociateAddress", AllocationId=allocation, InstanceId=machine)[
            "AssociationId"
        ]
    )


def record(aws: Aws, node: Node, inputs: Json, tags: Json) -> str:
    entry = {
        "Name": inputs.pop("name"),
        "Type": inputs.pop("type"),
        "TTL": inputs.pop("ttl"),
        "ResourceRecords": [{"Value": value} for value in inputs.pop("records")],
    }
    changes = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": entry}]}
    aws.ask(
        aws.dns, "ChangeResourceRecordSets", HostedZoneId=inputs.pop("zoneId"), ChangeBatch=changes
    )
    return node.id


TRANSLATE: dict[str, Callable[[Aws, Node, Json, Json], str]] = {
    "aws:ec2/vpc:Vpc": vpc,
    "aws:ec2/internetGateway:InternetGateway": gateway,
    "aws:ec2/routeTable:RouteTable": table,
    "aws:ec2/route:Route": route,
    "aws:ec2/subnet:Subnet": subnet,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": route_association,
    "aws:ec2/securityGroup:SecurityGroup": group,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": rule(
        "AuthorizeSecurityGroupIngress"
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": rule("AuthorizeSecurityGroupEgress"),
    "aws:ec2/instance:Instance": instance,
    "aws:ec2/eip:Eip": eip,
    "aws:ec2/eipAssociation:EipAssociation": eip_association,
    "aws:route53/record:Record": record,
}


@pytest.fixture
def aws() -> Iterator[Aws]:
    with mock_aws():
        made = Aws()
        zone = made.dns.create_hosted_zone(Name="example.com", CallerReference="x")["HostedZone"][
            "Id"
        ]
        made.ids["Z0123456789EXAMPLE"] = zone.rpartition("/")[2]
        image = made.ec2.register_image(
            Name="debian-12", RootDeviceName="/dev/xvda", Architecture="x86_64"
        )
        made.ids[graph.IMAGES["aws"]] = image["ImageId"]
        yield made


def machines(aws: Aws) -> dict[str, Json]:
    found = {}
    for reservation in aws.ec2.describe_instances()["Reservations"]:
        for one in reservation["Instances"]:
            name = next(tag["Value"] for tag in one["Tags"] if tag["Key"] == "Name")
            found[name.split("-", 3)[-1]] = one
    return found


STACKS = ["aws-dev", "aws-staging", "aws-prod"]


@pytest.mark.parametrize("stack", STACKS)
def test_the_stack_is_taken_by_aws_s_own_model(aws: Aws, stack: str) -> None:
    """Every resource is mapped, every enum is known, and two machines run, each with its Elastic
    IP."""
    aws.apply(graph.program(stack))
    addresses = {
        one["InstanceId"]: one["PublicIp"] for one in aws.ec2.describe_addresses()["Addresses"]
    }
    assert set(machines(aws)) == {"frontend-1", "backend-1"}
    for name, one in machines(aws).items():
        assert addresses[one["InstanceId"]] == aws.ids[graph.address(name)]


@pytest.mark.parametrize("stack", STACKS)
def test_ports_answer_whom_they_should(aws: Aws, stack: str) -> None:
    """Browsers reach 80 and 443 of both roles, operators alone reach 22, nobody anything else."""
    aws.apply(graph.program(stack))
    for one in machines(aws).values():
        groups = aws.ec2.describe_security_groups(
            GroupIds=[group["GroupId"] for group in one["SecurityGroups"]]
        )
        open_to = {
            (rule["FromPort"], rule["ToPort"], source["CidrIp"])
            for group in groups["SecurityGroups"]
            for rule in group["IpPermissions"]
            for source in rule["IpRanges"]
        }
        assert open_to == {
            (80, 80, "0.0.0.0/0"),
            (443, 443, "0.0.0.0/0"),
            (22, 22, "203.0.113.0/24"),
        }


@pytest.mark.parametrize("stack", STACKS)
def test_metadata_disks_and_deletion_are_as_they_should(aws: Aws, stack: str) -> None:
    """IMDSv2 with one hop, encrypted gp3, and in production nothing that an API call terminates."""
    aws.apply(graph.program(stack))
    for one in machines(aws).values():
        assert (
            one["MetadataOptions"]["HttpTokens"],
            one["MetadataOptions"]["HttpPutResponseHopLimit"],
        ) == (
            "required",
            1,
        )
        volume = one["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        shown = aws.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
        assert (shown["Encrypted"], shown["VolumeType"], shown["Size"]) == (True, "gp3", 20)
        kept = aws.ec2.describe_instance_attribute(
            InstanceId=one["InstanceId"], Attribute="disableApiTermination"
        )
        assert kept["DisableApiTermination"]["Value"] is (stack == "aws-prod")


@pytest.mark.usefixtures("many_hosts")
def test_both_zones_have_a_public_subnet_with_a_way_out(aws: Aws) -> None:
    aws.apply(graph.program("aws-dev", backend_count="2"))
    vpcs = [
        vpc["VpcId"]
        for vpc in aws.ec2.describe_vpcs()["Vpcs"]
        if vpc["CidrBlock"] == "10.20.0.0/16"
    ]
    subnets = aws.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": vpcs}])["Subnets"]
    assert {subnet["AvailabilityZone"] for subnet in subnets} == {"eu-central-1a", "eu-central-1b"}
    for subnet in subnets:
        wanted = [{"Name": "association.subnet-id", "Values": [subnet["SubnetId"]]}]
        routes = aws.ec2.describe_route_tables(Filters=wanted)["RouteTables"][0]["Routes"]
        assert any(
            r.get("GatewayId", "").startswith("igw-") and r["DestinationCidrBlock"] == "0.0.0.0/0"
            for r in routes
        )


def test_the_records_point_at_the_elastic_addresses(aws: Aws) -> None:
    aws.apply(graph.program("aws-prod"))
    sets = aws.dns.list_resource_record_sets(HostedZoneId=aws.ids["Z0123456789EXAMPLE"])[
        "ResourceRecordSets"
    ]
    records = {
        one["Name"].rstrip("."): one["ResourceRecords"][0]["Value"]
        for one in sets
        if one["Type"] == "A"
    }
    assert records == {
        "app.example.com": aws.ids[graph.address("frontend-1")],
        "api.example.com": aws.ids[graph.address("backend-1")],
    }


def test_the_domain_itself_and_www_lead_to_the_frontend(aws: Aws) -> None:
    """Records of the zone's own name are A records like others; the redirect's is one more."""
    aws.apply(graph.program("aws-prod", frontend_name="@", www_redirect="true"))
    zone = aws.ids["Z0123456789EXAMPLE"]
    sets = aws.dns.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    found = {one["Name"]: one["ResourceRecords"] for one in sets if one["Type"] == "A"}
    frontend = [{"Value": aws.ids[graph.address("frontend-1")]}]
    backend = [{"Value": aws.ids[graph.address("backend-1")]}]
    assert found == {
        "example.com.": frontend,
        "www.example.com.": frontend,
        "api.example.com.": backend,
    }


def test_an_instance_has_neither_an_identity_nor_a_key_pair(aws: Aws) -> None:
    """It can ask AWS for nothing, and who may log in is in nobody's account."""
    built = graph.program("aws-prod")
    aws.apply(built)
    assert {
        node.type for node in built.nodes if ":iam/" in node.type or "keyPair" in node.type
    } == set()
    for one in machines(aws).values():
        assert "KeyName" not in one
        assert "IamInstanceProfile" not in one


def test_two_applications_share_an_account(aws: Aws) -> None:
    """Each has everything of its own, and what is whose is in the tags."""
    aws.apply(graph.program("aws-dev"))
    aws.apply(graph.program("aws-dev", application="store"))
    found = {}
    for reservation in aws.ec2.describe_instances()["Reservations"]:
        for one in reservation["Instances"]:
            tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
            found[tags["Name"]] = (tags["application"], one["VpcId"])
    assert set(found) == {
        f"{app}-aws-dev-{role}-1" for app in ("shop", "store") for role in ("frontend", "backend")
    }
    assert len(set(found.values())) == 2


def test_one_application_twice_in_one_network_is_refused(aws: Aws) -> None:
    """The same names in a network that is there already: AWS refuses, nothing is adopted."""
    vpc = aws.ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]
    subnets = []
    for number in (0, 1):
        made = aws.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.30.{number}.0/24")
        subnets.append(made["Subnet"]["SubnetId"])
    config = {"existing_network": vpc, "existing_subnets": json.dumps(subnets)}
    aws.apply(graph.program("aws-dev", **config))
    with pytest.raises(ClientError, match=r"InvalidGroup\.Duplicate"):
        aws.apply(graph.program("aws-dev", **config))
    aws.apply(graph.program("aws-dev", application="store", **config))


def test_the_first_boot_text_arrives_whole(aws: Aws) -> None:
    """It pins the host key that the contract names."""
    built = graph.program("aws-dev")
    aws.apply(built)
    identity = machines(aws)["backend-1"]["InstanceId"]
    shown = aws.ec2.describe_instance_attribute(InstanceId=identity, Attribute="userData")
    text = base64.b64decode(shown["UserData"]["Value"]).decode()
    assert text.startswith("#cloud-config\n")
    assert built.outputs["contract"]["backend"]["hosts"][0]["host_keys"][0] in text


@pytest.mark.parametrize(
    ("stack", "config", "said"),
    [
        ("aws-dev", {"machine_type": "t9.small"}, "'t9.small' is none of"),
        ("aws-dev", {"machine_type": "t3.smal"}, "'t3.smal' is none of"),
    ],
)
def test_a_machine_type_that_does_not_exist_is_caught(
    aws: Aws, stack: str, config: dict[str, str], said: str
) -> None:
    with pytest.raises(AssertionError, match=said):
        aws.apply(graph.program(stack, **config))


def test_an_input_that_nobody_maps_is_caught(aws: Aws) -> None:
    built = graph.program("aws-dev")
    built.of("aws:ec2/vpc:Vpc")[0].inputs["instanceTenancy"] = "dedicated"
    with pytest.raises(AssertionError, match="does not map"):
        aws.apply(built)


# ----------------------------------------------------------------------------------------- previews

BRANCH = "Feature/Login_Page"
TAG = {"Name": "tag:origin-kit:preview", "Values": [name_of(BRANCH)]}
ATTACHED = {
    "preview_mode": "frontend",
    "attach_to": "staging",
    "attached_backend": "https://api.staging.example.com",
}
# What finds by tag, and what a sweep calls the kind. EC2 has all of it.
BY_TAG: dict[str, tuple[str, str]] = {
    "vpc": ("describe_vpcs", "Vpcs"),
    "internet-gateway": ("describe_internet_gateways", "InternetGateways"),
    "route-table": ("describe_route_tables", "RouteTables"),
    "subnet": ("describe_subnets", "Subnets"),
    "security-group": ("describe_security_groups", "SecurityGroups"),
    "security-group-rule": ("describe_security_group_rules", "SecurityGroupRules"),
    "elastic-ip": ("describe_addresses", "Addresses"),
    "volume": ("describe_volumes", "Volumes"),
}


def found_by_tag(aws: Aws) -> dict[str, int]:
    """How many of each kind carry this preview's tag; none of those that are no more."""
    found: dict[str, int] = {}
    for kind, (operation, key) in BY_TAG.items():
        number = len(getattr(aws.ec2, operation)(Filters=[TAG])[key])
        found |= {kind: number} if number else {}
    alive = [TAG, {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]}]
    reservations = aws.ec2.describe_instances(Filters=alive)["Reservations"]
    number = sum(len(one["Instances"]) for one in reservations)
    return found | ({"instance": number} if number else {})


def destroy(aws: Aws, built: Graph) -> None:
    """As an engine does: the last one made is the first one gone. What has no call of its own goes
    with what it belongs to."""
    for node in reversed(built.nodes):
        if node.type in DESTROY:
            DESTROY[node.type](aws, node, aws.ids[node.id])


def gone_record(aws: Aws, node: Node, _identity: str) -> None:
    inputs = aws.real(json.loads(json.dumps(node.inputs)))
    entry = {
        "Name": inputs["name"],
        "Type": inputs["type"],
        "TTL": inputs["ttl"],
        "ResourceRecords": [{"Value": value} for value in inputs["records"]],
    }
    changes = {"Changes": [{"Action": "DELETE", "ResourceRecordSet": entry}]}
    aws.dns.change_resource_record_sets(HostedZoneId=inputs["zoneId"], ChangeBatch=changes)


def gone_gateway(aws: Aws, node: Node, identity: str) -> None:
    vpc = aws.real(json.loads(json.dumps(node.inputs)))["vpcId"]
    aws.ec2.detach_internet_gateway(InternetGatewayId=identity, VpcId=vpc)
    aws.ec2.delete_internet_gateway(InternetGatewayId=identity)


DESTROY: dict[str, Callable[[Aws, Node, str], object]] = {
    "aws:route53/record:Record": gone_record,
    "aws:ec2/eipAssociation:EipAssociation": lambda aws, _, identity: aws.ec2.disassociate_address(
        AssociationId=identity
    ),
    "aws:ec2/eip:Eip": lambda aws, _, identity: aws.ec2.release_address(AllocationId=identity),
    "aws:ec2/instance:Instance": lambda aws, _, identity: aws.ec2.terminate_instances(
        InstanceIds=[identity]
    ),
    "aws:ec2/securityGroup:SecurityGroup": lambda aws, _, identity: aws.ec2.delete_security_group(
        GroupId=identity
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": (
        lambda aws, _, identity: aws.ec2.disassociate_route_table(AssociationId=identity)
    ),
    "aws:ec2/routeTable:RouteTable": lambda aws, _, identity: aws.ec2.delete_route_table(
        RouteTableId=identity
    ),
    "aws:ec2/subnet:Subnet": lambda aws, _, identity: aws.ec2.delete_subnet(SubnetId=identity),
    "aws:ec2/internetGateway:InternetGateway": gone_gateway,
    "aws:ec2/vpc:Vpc": lambda aws, _, identity: aws.ec2.delete_vpc(VpcId=identity),
}


@pytest.mark.parametrize(
    ("config", "roles"),
    [
        ({}, 2),
        (ATTACHED, 1),
    ],
    ids=["full", "frontend"],
)
def test_a_preview_is_made_listed_by_tag_and_gone(
    aws: Aws, config: dict[str, str], roles: int
) -> None:
    """Next to an environment, of which nothing carries the tag and nothing goes."""
    environment = graph.program("aws-staging")
    aws.apply(environment)
    assert found_by_tag(aws) == {}
    before = everything(aws)
    built = graph.preview(BRANCH, "aws-staging", **config)
    aws.apply(built)
    kinds = ("security-group", "instance", "elastic-ip", "volume")
    assert found_by_tag(aws) == {
        **{"vpc": 1, "internet-gateway": 1, "route-table": 1, "subnet": 2},
        **dict.fromkeys(kinds, roles),
        "security-group-rule": 4 * roles,
    }
    branches = {
        tag["Value"]
        for vpc in aws.ec2.describe_vpcs(Filters=[TAG])["Vpcs"]
        for tag in vpc["Tags"]
        if tag["Key"] == "origin-kit:branch"
    }
    assert branches == {BRANCH}
    assert swept(without_a_stack=name_of(BRANCH)) == found_by_tag(aws)
    destroy(aws, built)
    # Of the tagging API nothing is asked now: moto's still knows the tags of what is gone.
    assert found_by_tag(aws) == {}
    assert everything(aws) == before


def swept(without_a_stack: str) -> dict[str, int]:
    """How many of each kind a sweep lists of this preview, whose state is lost."""
    found: Counter[str] = Counter()
    for line in of_the_sweep.found({"cloud": "aws", "region": REGION}, set):
        whose, kind, _ = line.split(" ")
        assert whose == f"{without_a_stack}:"
        found[kind.removeprefix("vpc-")] += 1  # moto's word for an Elastic IP is vpc-elastic-ip
    return dict(found)


def everything(aws: Aws) -> dict[str, list[str]]:
    """Every id and every record that there is."""
    found = {}
    for kind, (operation, key) in BY_TAG.items():
        found[kind] = sorted(
            json.dumps(one, default=str, sort_keys=True)
            for one in getattr(aws.ec2, operation)()[key]
        )
    zone = aws.ids["Z0123456789EXAMPLE"]
    sets = aws.dns.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return found | {"record": sorted(one["Name"] for one in sets)}
