"""The job as the peers get it: what the kit renders for each host, as files that each peer takes in
its own way."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from infra.core.contract import Contract, Host
from rollout import deploy
from rollout.render import Generation, places, render

HERE = Path(__file__).parent
# A member's time is fixed: it is content, mode and owner that make a file another one.
TIME = 1_000_000_000


def through(contract: Contract, ports: Sequence[int]) -> Contract:
    """The environment as far as there are ports: its first backends, each at its own port of the
    relay."""
    backends = zip(contract.backend.hosts, ports, strict=False)
    hosts = tuple(
        dataclasses.replace(host, address="127.0.0.1", port=port) for host, port in backends
    )
    return dataclasses.replace(
        contract,
        backend=dataclasses.replace(contract.backend, hosts=hosts),
        frontend=dataclasses.replace(contract.frontend, hosts=()),
    )


def allowing(contract: Contract, origin: str) -> Contract:
    """The same with one more origin, so that there is something to deploy."""
    origins = (*contract.cors.allowed_origins, origin)
    return dataclasses.replace(
        contract, cors=dataclasses.replace(contract.cors, allowed_origins=origins)
    )


def known_hosts(contract: Contract) -> str:
    """The contract's pinned keys as OpenSSH and paramiko read them."""
    return "".join(
        f"[{h.address}]:{h.port} {key}\n" for _, h in contract.hosts for key in h.host_keys
    )


def write(folder: Path, contract: Contract) -> None:
    """Everything that a peer needs for `contract`, below `folder`."""
    (folder / "outputs.json").write_text(json.dumps(contract.to_json()))
    for role, host in contract.hosts:
        _write_host(folder / host.name, contract, role, host)


def _write_host(folder: Path, contract: Contract, role: str, host: Host) -> None:
    generation = render(contract, role, host, {})
    services = {file.path: file.service for file in generation.files}
    for service in generation.units:
        _archive(folder / f"{service}.tar", generation, service, services)
    for file in generation.files:
        copy = folder / "files" / file.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.text)
    job = {
        "app": contract.application.name,
        "peers": str(HERE),
        "files": [
            {
                "path": f.path,
                "place": f"{places.CURRENT}/{f.path}",
                "mode": f"{f.mode:o}",
                "service": f.service,
            }
            for f in generation.files
        ],
        "links": [
            {
                "place": link.place,
                "target": f"{places.CURRENT}/{link.target}",
                "service": services[link.target],
            }
            for link in generation.links
        ],
        "absent": generation.absent,
        "probes": deploy.probes(contract, role, generation),
    }
    (folder / "job.json").write_text(json.dumps(job))


def _archive(path: Path, generation: Generation, service: str, services: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for file in generation.files:
            if file.service == service:
                data = file.text.encode()
                archive.addfile(
                    _member(f"{places.CURRENT}/{file.path}", file.mode, len(data)), io.BytesIO(data)
                )
        for link in generation.links:
            if services[link.target] == service:
                member = _member(link.place, 0o777, 0)
                member.type, member.linkname = tarfile.SYMTYPE, f"{places.CURRENT}/{link.target}"
                archive.addfile(member)


def _member(place: str, mode: int, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(place.lstrip("/"))
    member.mode, member.size, member.mtime = mode, size, TIME
    member.uname = member.gname = "root"
    return member
