"""What an operator has to be allowed, and the quotas that a stack uses up: derived from the graph,
written in docs.

What each kind of resource asks of its cloud is a table here, from knowledge of the providers'
source. The test proves that docs/aws-policy.json is exactly what the table says for the graphs of
the shipped stacks, that each action exists, and that it holds every call that the same graphs take
to be built in moto. It does not prove that AWS asks for no more: nobody has tried it with an
account.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support import graph
from tests.support.graph import ROOT
from tests.support.pretend import type_and_name
from tests.test_aws_moto import Aws, aws
from tests.test_clouds import KEY

__all__ = ["aws"]  # the fixture

POLICY = ROOT / "docs" / "aws-policy.json"
PAGE = ROOT / "docs" / "clouds.md"
OLD = ROOT / "tests" / "state" / "c449aef"
AWS, GOOGLE = ("aws-dev", "aws-staging", "aws-prod"), ("gcp-dev", "gcp-staging", "gcp-prod")

ACTIONS = {
    "aws:ec2/vpc:Vpc": (
        "CreateVpc DeleteVpc DescribeVpcs DescribeVpcAttribute ModifyVpcAttribute"
        " DescribeNetworkAcls DescribeRouteTables DescribeSecurityGroups"
    ),
    "aws:ec2/internetGateway:InternetGateway": (
        "CreateInternetGateway DeleteInternetGateway AttachInternetGateway "
        "DetachInternetGateway DescribeInternetGateways"
    ),
    "aws:ec2/routeTable:RouteTable": "CreateRouteTable DeleteRouteTable DescribeRouteTables",
    "aws:ec2/route:Route": "CreateRoute DeleteRoute ReplaceRoute DescribeRouteTables",
    "aws:ec2/subnet:Subnet": (
        "CreateSubnet DeleteSubnet DescribeSubnets ModifySubnetAttribute DescribeNetworkInterfaces"
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": (
        "AssociateRouteTable DisassociateRouteTable "
        "ReplaceRouteTableAssociation DescribeRouteTables"
    ),
    "aws:ec2/securityGroup:SecurityGroup": (
        "CreateSecurityGroup DeleteSecurityGroup DescribeSecurityGroups "
        "RevokeSecurityGroupEgress DescribeNetworkInterfaces"
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": (
        "AuthorizeSecurityGroupIngress "
        "RevokeSecurityGroupIngress ModifySecurityGroupRules DescribeSecurityGroupRules"
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": (
        "AuthorizeSecurityGroupEgress "
        "RevokeSecurityGroupEgress ModifySecurityGroupRules DescribeSecurityGroupRules"
    ),
    "aws:ec2/instance:Instance": (
        "RunInstances TerminateInstances StartInstances StopInstances DescribeInstances"
        " DescribeInstanceAttribute ModifyInstanceAttribute ModifyInstanceMetadataOptions"
        " ModifyNetworkInterfaceAttribute DescribeInstanceTypes"
        " DescribeInstanceCreditSpecifications DescribeImages DescribeVolumes ModifyVolume"
        " DescribeVolumesModifications DescribeTags"
    ),
    "aws:ec2/eip:Eip": (
        "AllocateAddress ReleaseAddress DescribeAddresses DescribeAddressesAttribute "
        "DisassociateAddress"
    ),
    "aws:ec2/eipAssociation:EipAssociation": (
        "AssociateAddress DisassociateAddress DescribeAddresses"
    ),
    "aws:route53/record:Record": (
        "route53:ChangeResourceRecordSets route53:GetChange route53:GetHostedZone "
        "route53:ListResourceRecordSets"
    ),
    # What stacks of earlier versions still have, and lose at the next `fab up`.
    "aws:ec2/keyPair:KeyPair": "DescribeKeyPairs DeleteKeyPair",
    "aws:iam/role:Role": (
        "iam:GetRole iam:DeleteRole iam:ListAttachedRolePolicies iam:ListRolePolicies "
        "iam:ListInstanceProfilesForRole"
    ),
    "aws:iam/instanceProfile:InstanceProfile": (
        "iam:GetInstanceProfile iam:DeleteInstanceProfile iam:RemoveRoleFromInstanceProfile"
        " DescribeIamInstanceProfileAssociations DisassociateIamInstanceProfile"
    ),
}
TAGS = "CreateTags DeleteTags"
IMAGES = "DescribeImages DescribeAvailabilityZones DescribeInstanceTypeOfferings"  # `fab images`

# Predefined roles, and the APIs that they are of.
ROLES = {
    "gcp:compute/network:Network": "roles/compute.networkAdmin",
    "gcp:compute/subnetwork:Subnetwork": "roles/compute.networkAdmin",
    "gcp:compute/address:Address": "roles/compute.networkAdmin",
    "gcp:compute/firewall:Firewall": "roles/compute.securityAdmin",
    "gcp:compute/instance:Instance": "roles/compute.instanceAdmin.v1 roles/iam.serviceAccountUser",
    "gcp:serviceaccount/account:Account": "roles/iam.serviceAccountAdmin",
    "gcp:dns/recordSet:RecordSet": "roles/dns.admin",
}
# Rows of the table of quotas: what counts, by type and for the shipped pair.
QUOTAS = {
    "AWS": {
        "aws:ec2/vpc:Vpc": "VPCs",
        "aws:ec2/eip:Eip": "Elastic IPs",
        "aws:ec2/instance:Instance": "instances",
    },
    "Google": {
        "gcp:compute/network:Network": "networks",
        "gcp:compute/address:Address": "static addresses",
        "gcp:compute/instance:Instance": "instances",
        "gcp:compute/firewall:Firewall": "firewall rules",
        "gcp:serviceaccount/account:Account": "service accounts",
    },
}


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


def types(stacks: tuple[str, ...], cloud: str) -> set[str]:
    found = {node.type for stack in stacks for node in graph.program(stack).nodes}
    return {kind for kind in found if kind.startswith(f"{cloud}:")}


def old_types() -> set[str]:
    states = [json.loads((OLD / f"{stack}.json").read_text()) for stack in AWS]
    urns = [one["urn"] for state in states for one in state["deployment"]["resources"]]
    return {type_and_name(urn)[0] for urn in urns if type_and_name(urn)[0].startswith("aws:")}


def actions(*texts: str) -> set[str]:
    return {word if ":" in word else f"ec2:{word}" for text in texts for word in text.split()}


def policy() -> dict[str, Any]:
    return {one["Sid"]: one for one in json.loads(POLICY.read_text())["Statement"]}


def test_the_policy_is_what_the_graph_asks_for() -> None:
    """No action too few, none too many; what only old stacks need is a statement of its own."""
    now = types(AWS, "aws")
    asked = actions(*(ACTIONS[kind] for kind in now), TAGS, IMAGES)
    gone = actions(*(ACTIONS[kind] for kind in old_types() - now)) - asked
    found = policy()
    listed = [action for one in found.values() for action in one["Action"]]
    assert len(listed) == len(set(listed))
    assert set(found) == {
        "OriginKitNetworkAndInstances",
        "OriginKitNames",
        "OriginKitOnceForOldStacks",
    }
    here = {*found["OriginKitNetworkAndInstances"]["Action"], *found["OriginKitNames"]["Action"]}
    assert here == asked
    assert set(found["OriginKitOnceForOldStacks"]["Action"]) == gone


def test_every_action_is_one_of_aws_s_own() -> None:
    """A misspelt one would allow nothing, and nobody would notice until it is needed."""
    known = {
        service: set(
            boto3.client(service, region_name="eu-central-1").meta.service_model.operation_names
        )
        for service in ("ec2", "iam", "route53")
    }
    for one in policy().values():
        for action in one["Action"]:
            service, _, operation = action.partition(":")
            assert operation in known[service], action


@pytest.mark.parametrize("stack", AWS)
def test_every_call_that_builds_the_stack_is_allowed(
    aws: Aws, stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls that the graph takes to be built in a model of AWS."""
    called: set[str] = set()
    ask = Aws.ask

    def recorded(self: Aws, client: Any, operation: str, **request: Any) -> Any:
        called.add(f"{client.meta.service_model.service_name}:{operation}")
        return ask(self, client, operation, **request)

    monkeypatch.setattr(Aws, "ask", recorded)
    aws.apply(graph.program(stack))
    assert "ec2:RunInstances" in called
    assert called <= {action for one in policy().values() for action in one["Action"]}


def test_the_docs_name_the_roles_and_apis_of_the_graph() -> None:
    """The docs name the roles and apis that the graph asks for."""
    asked = {role for kind in types(GOOGLE, "gcp") for role in ROLES[kind].split()}
    text = PAGE.read_text()
    assert set(re.findall(r"roles/[A-Za-z.0-9]+[A-Za-z0-9]", text)) == asked
    services = {role.split("/")[1].split(".")[0] for role in asked}
    assert set(re.findall(r"\b(\w+)\.googleapis\.com", text)) == services


def test_the_table_of_quotas_is_what_a_pair_uses() -> None:
    rows = dict(
        re.findall(r"^\| ((?:AWS|Google): [a-zA-Z ]+) \| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    )
    wanted: dict[str, str] = {}
    for cloud, stack in (("AWS", "aws-prod"), ("Google", "gcp-prod")):
        counted = Counter(node.type for node in graph.program(stack).nodes)
        wanted |= {f"{cloud}: {name}": str(counted[kind]) for kind, name in QUOTAS[cloud].items()}
    assert rows == wanted
