"""The job in pyinfra's own operations; a host's files, links and probes are in its job.json."""

import json
import shlex
from pathlib import Path

from pyinfra import host
from pyinfra.operations import files, server, systemd

JOB = Path(host.data.job)
job = json.loads((JOB / "job.json").read_text())
app, peers = job["app"], Path(job["peers"])
changes = {"gunicorn": [], "nginx": []}

for file in job["files"]:
    changes[file["service"]].append(
        files.put(
            name=file["place"],
            src=str(JOB / "files" / file["path"]),
            dest=file["place"],
            user="root",
            group="root",
            mode=file["mode"],
            create_remote_dir=False,
        )
    )
for link in job["links"]:
    changes[link["service"]].append(
        files.link(
            name=link["place"], path=link["place"], target=link["target"], create_remote_dir=False
        )
    )
changes["nginx"] += [files.file(name=place, path=place, present=False) for place in job["absent"]]


def changed(*services):
    return lambda: any(change.did_change() for service in services for change in changes[service])


server.shell(
    name="nginx and Django accept it",
    commands=[shlex.join(["sh", "-c", (peers / "check.sh").read_text(), "check", app])],
    _if=changed("gunicorn", "nginx"),
)
systemd.daemon_reload(name="units are read again", _if=changed("gunicorn", "nginx"))
for service, unit in (("gunicorn", f"{app}.service"), ("nginx", "nginx.service")):
    systemd.service(name=f"{unit} runs", service=unit, running=True)
    systemd.service(name=f"restart {unit}", service=unit, restarted=True, _if=changed(service))
server.shell(
    name="it answers the right origins",
    commands=[
        shlex.join(["python3", "-c", (peers / "probe.py").read_text(), json.dumps(job["probes"])])
    ],
    _if=changed("gunicorn", "nginx"),
)
