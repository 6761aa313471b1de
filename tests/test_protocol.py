"""What operator and host say to each other: every verb has a module, and a host loads no types."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import util

from on_host import protocol
from on_host.__main__ import MODULE_OF
from rollout import program
from tests.support.kit import ROOT


def test_every_verb_of_the_protocol_has_a_module() -> None:
    """And every verb that a host knows is in the protocol."""
    verbs = {value for value in vars(protocol).values() if isinstance(value, protocol.Verb)}
    assert verbs == set(MODULE_OF)
    for module in MODULE_OF.values():
        assert util.find_spec(f"on_host.{module}") is not None


def test_a_verb_is_its_name_on_the_wire() -> None:
    assert json.dumps({"verb": protocol.SHIP}) == '{"verb": "ship"}'


def test_a_host_loads_no_types() -> None:
    """To make the typed dictionaries takes milliseconds, at every verb: they are for mypy."""
    modules = [path[: -len(".py")].replace("/", ".") for path in program.sources()]
    ours = [name for name in modules if ".as_user" not in name and "__" not in name]
    types = {
        "on_host.protocol",
        "on_host.generations",
        "on_host.events",
        "on_host.answers",
        "on_host.on_disk",
    }
    ours = [name for name in ours if name not in types]
    script = f"""
import importlib, sys
for name in {ours!r}:
    importlib.import_module(name)
sys.exit(bool({types!r} & set(sys.modules)))
"""
    package = ROOT / "ansible-free-deploy"
    done = subprocess.run([sys.executable, "-c", script], cwd=package, check=False)
    assert done.returncode == 0
