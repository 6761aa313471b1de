"""Every verb of `fab`, in the order in which a bare `fab` shows them; they are defined in `verbs/`.

A verb with a dot in its name belongs to a group: a module of its own, and a row in `GROUPS`.
"""

from __future__ import annotations

from invoke.collection import Collection

from rollout import commandline
from verbs import backups, deployment, infrastructure, inspection, preview, project, tls

FAB = (
    infrastructure.up,
    infrastructure.down,
    infrastructure.replace,
    infrastructure.move,
    inspection.outputs,
    infrastructure.images,
    deployment.build,
    deployment.ship,
    deployment.deploy,
    deployment.rollback,
    inspection.plan,
    inspection.status,
    inspection.history,
    inspection.logs,
    project.manage,
    backups.backup,
    backups.backups,
    backups.restore,
    inspection.doctor,
    project.adopt,
)
GROUPS = {
    "preview": (
        preview.up,
        preview.list_,
        preview.down,
        preview.sweep,
        preview.comment,
        preview.build,
    ),
    "tls": (tls.show, tls.renew),
}

ns = Collection(*FAB)
for group, members in GROUPS.items():
    ns.add_collection(Collection(group, *members))
ns.add_task(commandline.overview(ns), default=True)
commandline.take_over(ns)
