"""The Pulumi program: settings → cloud → topology → outputs."""

import os
from dataclasses import asdict

import pulumi

from infra import clouds
from infra.core import previews, topology, wanted
from infra.core.serials import ARRIVING
from infra.core.settings import WARNED, Settings, SettingsError

try:
    settings = Settings.read(clouds.stack_config(), pulumi.get_stack())
    settings.check_key_file()
except SettingsError as problem:
    raise pulumi.RunError(f"invalid stack configuration:\n{problem}") from None
if os.environ.get(WARNED) != "1":
    for warning in settings.warnings:
        pulumi.log.warn(warning)
instances = topology.instances(settings)
cloud = clouds.choose(settings.cloud)(settings, instances)
contract = cloud.hosts.apply(lambda hosts: topology.contract(settings, pulumi.get_project(), hosts))

pulumi.export("contract", contract.apply(lambda whole: whole.to_json()))
pulumi.export("infrastructure", wanted.infrastructure(settings))
pulumi.export("frontend_origin", contract.apply(lambda whole: whole.frontend.origin))
pulumi.export("backend_origin", contract.apply(lambda whole: whole.backend.origin))
if settings.branch:
    pulumi.export("preview", previews.output(settings))
if any(instance.standing == ARRIVING for instance in instances):
    standby = cloud.standby.apply(
        lambda hosts: {name: asdict(host) for name, host in hosts.items()}
    )
    pulumi.export("standby", standby)
secrets = clouds.secret_env()
if secrets:
    pulumi.export("secret_env", pulumi.Output.secret(secrets))
of_https = clouds.secret_https()
if of_https:
    pulumi.export("secret_https", pulumi.Output.secret(of_https))
