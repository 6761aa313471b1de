"""The Pulumi program: settings → cloud → topology → outputs."""

import pulumi

from infra import clouds, topology
from infra.settings import Settings

settings = Settings.read(clouds.stack_config(), pulumi.get_stack())
cloud = clouds.choose(settings.cloud)(settings, topology.instances(settings))
contract = cloud.hosts.apply(lambda hosts: topology.contract(settings, pulumi.get_project(), hosts))

pulumi.export("contract", contract.apply(lambda whole: whole.to_json()))
pulumi.export("frontend_origin", contract.apply(lambda whole: whole.frontend.origin))
pulumi.export("backend_origin", contract.apply(lambda whole: whole.backend.origin))
