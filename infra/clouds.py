"""The clouds by name. Only the chosen one is imported: `import pulumi_aws` alone costs half a
second."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env

from infra.core import provider
from infra.core.contract import Host
from infra.core.first_boot import FirstBoot
from infra.core.keys import SECRETS
from infra.core.serials import ARRIVING
from infra.core.settings import Settings
from infra.core.topology import ROLES, Instance

Hosts = dict[str, list[Host]]


class HostKey(Protocol):
    """An SSH host key that Pulumi makes (`tls.PrivateKey`)."""

    @property
    def private_key_openssh(self) -> pulumi.Output[str]: ...
    @property
    def public_key_openssh(self) -> pulumi.Output[str]: ...


class Cloud(Protocol):
    """What `__main__` asks of a cloud: the hosts by role, in the order of `instances`, and
    `arriving` ones."""

    hosts: pulumi.Output[Hosts]
    standby: pulumi.Output[dict[str, Host]]


_WHERE = {
    "local": ("infra.local.cloud", "LocalCloud"),
    "aws": ("infra.aws", "AwsCloud"),
    "gcp": ("infra.gcp", "GcpCloud"),
}


def choose(name: str) -> Callable[[Settings, Sequence[Instance]], Cloud]:
    """The component class of a cloud."""
    module_name, attribute = _WHERE[name]
    module = importlib.import_module(module_name)
    component = getattr(module, attribute)
    return cast(Callable[[Settings, Sequence[Instance]], Cloud], component)


def by_role(instances: Sequence[Instance], found: Sequence[Sequence[str]]) -> Hosts:
    """Hosts from the address and the SSH host key of every instance, in the same order."""
    hosts: Hosts = {role: [] for role in ROLES}
    for instance, (address, host_key) in zip(instances, found, strict=True):
        if instance.serves:
            hosts[instance.role].append(_host(instance, address, host_key))
    return hosts


def arriving(instances: Sequence[Instance], found: Sequence[Sequence[str]]) -> dict[str, Host]:
    """By the host's name, the machine that will serve as it and does not yet."""
    hosts: dict[str, Host] = {}
    for instance, (address, host_key) in zip(instances, found, strict=True):
        if instance.standing == ARRIVING:
            hosts[instance.name] = _host(instance, address, host_key)
    return hosts


def _host(instance: Instance, address: str, host_key: str) -> Host:
    return Host(instance.name, address, 22, "deploy", (host_key.strip(),))


def first_boot(
    render: Callable[[FirstBoot], str],
    cloud: str,
    name: str,
    keys: Sequence[str],
    host_key: HostKey,
) -> pulumi.Output[str]:
    """The first-boot text of one instance, secret: the host's private key is in it."""

    def text(private: str, public: str) -> str:
        return render(
            FirstBoot(
                name,
                tuple(keys),
                private,
                public.strip(),
                cloud,
            )
        )

    pair = pulumi.Output.all(host_key.private_key_openssh, host_key.public_key_openssh)
    return pulumi.Output.secret(pair.apply(lambda both: text(*both)))


def login_keys(settings: Settings) -> tuple[str, ...]:
    """Who may log in at the first boot: `ssh_keys`, else the keys in the operator's own file."""
    return settings.ssh_keys or provider.public_keys(settings.ssh_key_file)


def stack_config() -> dict[str, str]:
    """This project's config as Pulumi hands it to the program: plain keys, every value a string."""
    prefix = f"{pulumi.get_project()}:"
    return _below(prefix, {**get_config_env(), **CONFIG.get()})


def secret_env() -> dict[str, str]:
    """The application's secrets: `pulumi config set --secret env.NAME`, by NAME."""
    return _below("env.", stack_config())


def secret_https() -> dict[str, str]:
    """The secrets of HTTPS, by name: keys of certificates, and of an ACME account's binding."""
    return {name: value for name, value in stack_config().items() if name in SECRETS}


def _below(prefix: str, values: Mapping[str, str]) -> dict[str, str]:
    """The values whose keys begin with the prefix, by the rest of the key."""
    below: dict[str, str] = {}
    for key, value in values.items():
        if key.startswith(prefix):
            below[key.removeprefix(prefix)] = value
    return below
