"""The outputs that both sides share."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from infra.contract import Application, Contract, ContractError, Cors, Host, Role
from infra.settings import Settings
from infra.topology import contract as make
from infra.topology import instances, origin
from tests.test_settings import GOOD


def host(name: str, address: str) -> Host:
    return Host(name, address, 22, "deploy", ("ssh-ed25519 AAAA",))


HOSTS = {"frontend": [host("frontend-1", "10.0.0.2")], "backend": [host("backend-1", "10.0.0.3")]}


def example(**config: str) -> Contract:
    return make(Settings.read(GOOD | config, "x"), "kit", HOSTS)


def test_it_survives_json() -> None:
    """What one side writes the other reads back equal."""
    whole = example(env='{"A": "b"}')
    assert Contract.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def test_pulumi_s_doubles_are_read_as_whole_numbers() -> None:
    """Pulumi keeps every number as a double; a port comes back as an int."""
    data = example().to_json()
    data["frontend"]["hosts"][0]["port"] = 22.0
    assert Contract.from_json(data).frontend.hosts[0].port == 22


def test_it_has_every_field_of_version_1() -> None:
    """The design's fields are all there, under the design's names."""
    data = example().to_json()
    assert list(data)[:2] == ["contract", "project"]
    assert set(data) >= {
        "environment",
        "production",
        "kind",
        "branch",
        "attached_to",
        "tls",
        "application",
        "frontend",
        "backend",
        "cors",
    }
    assert set(data["application"]) >= {"name", "wsgi", "settings", "env"}
    assert set(data["backend"]["hosts"][0]) == {"name", "address", "port", "user", "host_keys"}
    assert set(data["cors"]) == {f.name for f in dataclasses.fields(Cors)}
    assert (data["contract"], data["kind"], data["branch"], data["tls"]) == (1, "environment", None, "off")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contract": 2}, "contract version 2, this kit reads 1"),
        ({"extra": 1}, "contract: extra unknown to this kit"),
        ({"tls": 3}, "contract.tls: 3 is not a str"),
        ({"cors": []}, r"contract.cors: \[\] is not an object"),
        ({"frontend": {"origin": "x"}}, "contract.frontend: hosts missing"),
        ({"frontend": {"origin": "x", "hosts": [{}]}}, r"contract.frontend.hosts\[0\]: address, host_keys, name"),
    ],
)
def test_a_strange_contract_is_refused_by_place(change: dict[str, Any], said: str) -> None:
    """A contract of another kit names what is wrong, where, and the next step."""
    with pytest.raises(ContractError, match=said):
        Contract.from_json(example().to_json() | change)


def test_outputs_without_a_contract_say_what_to_run() -> None:
    """An empty stack is not a traceback."""
    with pytest.raises(ContractError, match="run `fab up` or `pulumi up`"):
        Contract.from_json({})


def test_the_frontend_s_origin_is_always_allowed_and_first() -> None:
    """Extra origins join it; the same one twice is one."""
    cors = example(extra_origins='["http://localhost:8080", "http://10.0.0.2"]').cors
    assert cors.allowed_origins == ("http://10.0.0.2", "http://localhost:8080")


def test_a_domain_names_both_origins() -> None:
    """With a domain the names are the origins, whatever the addresses."""
    whole = example(domain="shop.test")
    assert (whole.frontend.origin, whole.backend.origin) == ("http://app.shop.test", "http://api.shop.test")


def test_an_ipv6_address_is_bracketed() -> None:
    """An origin on an IPv6 address is spelled as a browser spells it."""
    assert origin(Settings.read(GOOD, "x"), "backend", "FD00:0::7") == "http://[fd00::7]"


def test_instances_keep_their_numbers_while_counts_grow() -> None:
    """A second frontend does not renumber the backends, so nothing that exists is replaced."""
    before = {i.name: i.number for i in instances(Settings.read(GOOD, "x"))}
    after = {i.name: i.number for i in instances(Settings.read(GOOD | {"frontend_count": "3"}, "x"))}
    assert before.items() <= after.items()
    assert len(set(after.values())) == 4


def test_backends_come_before_frontends() -> None:
    """A backend learns a new origin before the page that has it."""
    assert [role for role, _ in example().hosts] == ["backend", "frontend"]


def test_allow_all_is_one_shape() -> None:
    """`allow_all_origins` is the shape `*`, so that no other field has to know of it."""
    assert example(allow_all_origins="true").cors.allowed_shapes == ("*",)
    assert isinstance(example().application, Application)
    assert isinstance(example().backend, Role)
