"""Networks and machines as Pulumi dynamic resources: what should exist, held against what does.

The providers live in an importable module, so that the state holds them by name, and are no
secrets.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

import pulumi
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from infra.core.home import LocalCloudError, short_id
from infra.local import image, networks, nspawn

Props = dict[str, Any]
GONE = ReadResult("", {})


class _Plain:
    """Stands for the `traceback` module in Pulumi's plugin: our own errors say all that a person
    needs."""

    @staticmethod
    def format_exc() -> str:
        problem = sys.exc_info()[1]
        return str(problem) if isinstance(problem, LocalCloudError) else traceback.format_exc()


def _speak_plainly() -> None:
    """Pulumi's plugin for dynamic providers, which imports this module, reports every error as a
    traceback."""
    names = vars(sys.modules["__main__"])
    if "DynamicResourceProviderServicer" in names and "traceback" in names:
        names["traceback"] = _Plain


_speak_plainly()


class NetworkProvider(ResourceProvider):
    """A bridge with a /24 of its own."""

    serialize_as_secret_always = False

    def planned_id(self, props: Props) -> str:
        """The bridge's name, which `create` will give."""
        return f"ok-{short_id(props['stack'])}"

    def create(self, props: Props) -> CreateResult:
        network = networks.create_network(self.planned_id(props), props["wanted_subnet"])
        return CreateResult(
            network.bridge,
            {
                **props,
                "bridge": network.bridge,
                "subnet": network.subnet,
                "up": True,
            },
        )

    def read(self, id_: str, props: Props) -> ReadResult:
        return ReadResult(id_, {**props, "up": networks.keep_network(id_)})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        replaces = [key for key in ("stack", "wanted_subnet") if olds.get(key) != news.get(key)]
        return DiffResult(
            bool(replaces) or not olds.get("up", True), replaces, delete_before_replace=True
        )

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """A bridge that went with a reboot comes back with the subnet that it had."""
        network = networks.create_network(olds["bridge"], olds["subnet"])
        return UpdateResult(
            {
                **news,
                "bridge": network.bridge,
                "subnet": network.subnet,
                "up": True,
            }
        )

    def delete(self, id_: str, _props: Props) -> None:
        networks.delete_network(id_)


class MachineProvider(ResourceProvider):
    """A Debian machine under systemd-nspawn. `memory_mb` changes while it runs, its address with a
    restart; what is FIXED replaces it, and its data with it. `image` is for new machines: `fab
    replace` takes the data to one.
    """

    serialize_as_secret_always = False
    FIXED = ("name", "stack", "number", "bridge", "subnet")

    def planned_id(self, props: Props) -> str:
        """The machine's folder, which `create` will give."""
        return f"{props['stack']}-{props['name']}-{short_id(props['stack'], props['name'])}"

    def create(self, props: Props) -> CreateResult:
        wanted = self._machine(props)
        return CreateResult(wanted.id, self._outputs(props, nspawn.create(wanted)))

    def read(self, id_: str, props: Props) -> ReadResult:
        found = nspawn.load(id_)
        if found is None or not found.complete:
            return GONE
        return ReadResult(id_, {**props, "running": nspawn.running(found) and nspawn.stands(found)})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        replaces = [key for key in self.FIXED if not self._same(olds.get(key), news.get(key))]
        changes = (
            bool(replaces)
            or not self._same(olds.get("memory_mb"), news.get("memory_mb"))
            or not olds.get("running", True)
            or (olds.get("standing") or "") != (news.get("standing") or "")
        )
        return DiffResult(changes, replaces, delete_before_replace=True)

    def update(self, id_: str, _olds: Props, news: Props) -> UpdateResult:
        """A machine gets its memory while it runs, another address with a restart; a stopped one
        comes back with everything that was on it."""
        found = nspawn.load(id_)
        if found is None:
            raise nspawn.LocalCloudError(
                f"machine {id_} is gone", cure="run `fab up` again, which recreates it"
            )
        resized = nspawn.resize(found, int(news["memory_mb"]))
        moved = nspawn.readdress(resized, self._address(news))
        return UpdateResult(self._outputs(news, nspawn.start(moved)))

    def delete(self, id_: str, _props: Props) -> None:
        nspawn.delete(id_)

    @staticmethod
    def _same(old: Any, new: Any) -> bool:
        """Equal, a whole number and its double included; a value that a preview can't know yet
        counts as equal."""
        return new is None or not isinstance(new, str | int | float) or old == new

    def _machine(self, props: Props) -> nspawn.Machine:
        # Two machines that are one host's have serials that follow each other.
        letter = chr(ord(props["name"][0]) + (int(props.get("serial") or 1) + 1) % 2)
        return nspawn.Machine(
            id=self.planned_id(props),
            name=props["name"],
            container=f"{short_id(props['stack'])}{letter}{int(props['number']) % 64}",
            address=self._address(props),
            bridge=props["bridge"],
            image=image.path(props["image"]).name,
            memory_mb=int(props["memory_mb"]),
            first_user=image.first_user(),
        )

    @staticmethod
    def _address(props: Props) -> str:
        """The host's, but for a machine that is not the one that serves."""
        network = networks.Network(props["bridge"], props["subnet"])
        standing = props.get("standing") or ""
        return network.spare(standing) if standing else network.address(int(props["number"]))

    @staticmethod
    def _outputs(props: Props, machine: nspawn.Machine) -> Props:
        return {
            **props,
            "address": machine.address,
            "host_key": machine.host_key,
            "running": True,
            "limit": machine.limit,
        }


class Network(Resource, module="local", name="Network"):
    """`bridge` and `subnet` (a /24) once it exists."""

    bridge: pulumi.Output[str]
    subnet: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        stack: str,
        subnet: str,
        opts: pulumi.ResourceOptions,
    ) -> None:
        props = {
            "stack": stack,
            "wanted_subnet": subnet,
            "bridge": None,
            "subnet": None,
            "up": None,
        }
        super().__init__(NetworkProvider(), name, props, opts)


class Machine(Resource, module="local", name="Machine"):
    """`address` and `host_key` (an OpenSSH public key line) once it answers SSH."""

    address: pulumi.Output[str]
    host_key: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        stack: str,
        number: int,
        network: Network,
        image: str,
        memory_mb: int,
        opts: pulumi.ResourceOptions,
        serial: int = 1,
        standing: str = "",
    ) -> None:
        # What most machines have not is not in their state, as it never was.
        special = {
            **({"serial": serial} if serial > 1 else {}),
            **({"standing": standing} if standing else {}),
        }
        props = {
            **special,
            "name": name,
            "stack": stack,
            "number": number,
            "image": image,
            "memory_mb": memory_mb,
            "bridge": network.bridge,
            "subnet": network.subnet,
            "address": None,
            "host_key": None,
            "running": None,
            "limit": None,
        }
        super().__init__(MachineProvider(), name, props, opts)
