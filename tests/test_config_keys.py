"""What a change of each config key needs, on each cloud: the table in docs/operating.md is what
really happens."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.core.contract import Contract, Host
from infra.core.cross_fields import UNBALANCED
from infra.core.keys import CLOUDS, GROUPS, KEYS, Effect
from infra.core.settings import SettingsError
from infra.core.stackfile import as_text
from infra.core.wanted import made_from, to_ship
from infra.local.machines import MachineProvider, NetworkProvider
from rollout import deploy, deploy_report, outputs, settings
from rollout.changes import STOPS
from rollout.render import render
from tests.support import graph, stackfiles
from tests.support.graph import IMAGES, ROOT, Graph, Node
from tests.support.stackfiles import StackFile
from tests.test_clouds import KEY

OPERATING = ROOT / "docs" / "operating.md"
TABLE = re.compile(r"(<!-- table of effects:[^\n]*-->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
BASE = {"local": "local-names", "aws": "aws-staging", "gcp": "gcp-staging"}

GIT = "https://example.com/shop.git"
NETWORKS = {
    "aws": {
        "existing_network": "vpc-0123456789abcdef0",
        "existing_subnets": ["subnet-0123456a", "subnet-0123456b"],
    },
    "gcp": {"existing_network": "mine", "existing_subnets": ["my-subnet"]},
    "local": {"existing_network": "mine", "existing_subnets": ["my-subnet"]},
}
OTHER_SUBNETS = {
    "aws": ["subnet-0123456c", "subnet-0123456d"],
    "gcp": ["another"],
    "local": ["another"],
}

OWN_CA = {"tls": "acme", "acme_directory": "https://other.example.com/directory"}

# What a key is changed to, on every cloud or by cloud; and what stands in the config before the
# change.
CHANGES: dict[str, object] = {
    "production": True,
    "tls": "files",
    "acme_directory": "https://ca.example.com/directory",
    "acme_staging": True,
    "acme_email": "ops@example.com",
    "acme_profile": "tlsserver",
    "acme_eab_kid": "kid-1",
    "hsts": "max-age=300",
    "domain": "other.example.com",
    "frontend_name": "www",
    "backend_name": "django",
    "www_redirect": True,
    "backend_aliases": ["api2.example.com"],
    "behind": ["198.51.100.0/24"],
    "frontend_count": 2,
    "backend_count": 2,
    "application": "store",
    "backend_path": "examples",
    "backend_git": GIT,
    "backend_ref": "main",
    "requirements": "more.txt",
    "build_sdists": ["django-foo"],
    "ship_also": ["ca.pem"],
    "wsgi": "shop.other:application",
    "settings": "shop.other",
    "frontend_path": "examples",
    "static_url": "/assets/",
    "media_url": "/uploads/",
    "max_body_mb": 20,
    "gzip_answers": False,
    "single_page": False,
    "source_maps": True,
    "timeout_s": 60,
    "workers": 3,
    "threads": 8,
    "env": {"FEATURE": "on"},
    "backup": {"key": f"age1{'q' * 58}"},
    "timers": {"nightly": {"run": "manage.py check", "at": "daily"}},
    "extra_origins": ["https://other.example.com"],
    "allowed_patterns": ["https://{branch}.preview.example.com"],
    "app_origins": ["capacitor://localhost"],
    "allow_all_origins": True,
    "allow_methods": ["GET"],
    "allow_headers": ["X-Other"],
    "expose_headers": ["X-Other"],
    "max_age_s": 60,
    "connect_src": ["https://api.stripe.com"],
    "csp": "img-src 'self'",
    "frame_ancestors": ["https://cms.example.com"],
    "referrer_policy": "no-referrer",
    "gcp_project": "other-project",
    "architecture": "arm64",
    "disk_gb": 40,
    "ssh_from": ["198.51.100.0/24"],
    "ssh_from_anywhere": True,
    "ssh_keys": [KEY.replace("IJKE", "IJKF").strip()],
    "ssh_key_file": "~/.ssh/other.pub",
    "network_cidr": "10.30.0.0/16",
    "dns_zone": "Z9876543210OTHER",
    "image": "trixie",
    "memory_mb": 768,
    "subnet": "10.213.7.0/24",
    "serials": {"backend-1": "1+2"},
    "attachable": True,
    "branch": "feature/other",
    "preview_slots": 5,
    "preview_max": 20,
    "preview_ttl_h": 24,
    "preview_seed": "loaddata shop.json",
    "preview_from": ["198.51.100.0/24"],
    "attach_to": "other",
    "attached_backend": "https://api.other.example.com",
    "preview_owner": "ada",
    "preview_commit": "0123abc",
    "preview_updated": "2026-11-30T18:00:00Z",
    "preview_keep": True,
    "preview_vacant": True,
}
PREVIEW = {"branch": "feature/x", "production": None, "frontend_name": None}
ATTACHED: dict[str, object] = {
    "preview_mode": "frontend",
    "attach_to": "staging",
    "attached_backend": "https://api.shop.example.com",
}
BY_CLOUD: dict[str, dict[str, object]] = {
    "allow_credentials": {"local": False, "aws": False, "gcp": False},
    "region": {"local": "eu-west-1", "aws": "eu-west-1", "gcp": "europe-west4"},
    "zones": {"local": ["a"], "aws": ["eu-central-1b", "eu-central-1c"], "gcp": ["europe-west3-c"]},
    "machine_type": {"local": "t3.large", "aws": "t3.large", "gcp": "e2-medium"},
    "machine_image": {
        "local": "ami-0",
        "aws": "ami-0fedcba9876543210",
        "gcp": "projects/debian-cloud/global/images/debian-12-bookworm-v20270101",
    },
    "existing_subnets": dict(OTHER_SUBNETS),
}
TOGETHER: dict[str, dict[str, dict[str, object]]] = {
    "preview_mode": {cloud: {**ATTACHED} for cloud in CLOUDS},
    "existing_network": {cloud: {**keys} for cloud, keys in NETWORKS.items()},
    "cloud": {
        "local": {
            "cloud": "aws",
            "region": "eu-central-1",
            "machine_image": IMAGES["aws"],
            "ssh_from": ["10.0.0.0/8"],
            "dns_zone": "Z1",
        },
        "aws": {
            "cloud": "gcp",
            "region": "europe-west3",
            "machine_image": IMAGES["gcp"],
            "gcp_project": "my-project",
        },
        "gcp": {
            "cloud": "aws",
            "region": "eu-central-1",
            "machine_image": IMAGES["aws"],
            "gcp_project": "",
        },
    },
}
BEFORE: dict[str, dict[str, dict[str, object]]] = {
    "backend_ref": {cloud: {"backend_git": GIT} for cloud in CLOUDS},
    "www_redirect": {cloud: {"frontend_name": "@"} for cloud in CLOUDS},
    "existing_subnets": {cloud: {**NETWORKS[cloud]} for cloud in ("aws", "gcp")},
    "acme_directory": {cloud: {**OWN_CA} for cloud in CLOUDS},
    "acme_staging": {cloud: {"tls": "acme"} for cloud in ("aws", "gcp")},
    "acme_email": {cloud: {**OWN_CA} for cloud in CLOUDS},
    "acme_profile": {cloud: {**OWN_CA} for cloud in CLOUDS},
    "acme_eab_kid": {cloud: {**OWN_CA} for cloud in CLOUDS},
    "hsts": {cloud: {"tls": "files"} for cloud in CLOUDS},
    "attach_to": {cloud: {**ATTACHED} for cloud in CLOUDS},
    "attached_backend": {cloud: {**ATTACHED} for cloud in CLOUDS},
}

# Inputs whose change makes new instances, by the providers' schemas: of the instance itself, or of
# what it is in. (Google's own provider was run over this program: for another project of the
# provider it replaces nothing; a disk grows in place; a stopped instance moves to another network.)
TAKES_INSTANCES = {
    "pulumi:providers:aws": {"region"},
    "aws:ec2/vpc:Vpc": {"cidrBlock"},
    "aws:ec2/subnet:Subnet": {"availabilityZone", "cidrBlock"},
    "aws:ec2/keyPair:KeyPair": {"publicKey"},
    "aws:ec2/instance:Instance": {"subnetId", "keyName", "availabilityZone"},
    "gcp:compute/subnetwork:Subnetwork": {"ipCidrRange", "region"},
    "gcp:compute/instance:Instance": {"zone", "project"},
}
LOCAL = {
    "pulumi-python:dynamic/local:Network": NetworkProvider(),
    "pulumi-python:dynamic/local:Machine": MachineProvider(),
}


def changed(key: str, cloud: str) -> dict[str, object]:
    """The keys to edit, with their new values."""
    if key in TOGETHER:
        return TOGETHER[key][cloud]
    return {key: BY_CLOUD[key][cloud] if key in BY_CLOUD else CHANGES[key]}


@pytest.fixture(scope="module", autouse=True)
def an_operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Somebody with two SSH keys, no state and no selection."""
    home = tmp_path_factory.mktemp("operator")
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519.pub").write_text(KEY)
    (home / ".ssh" / "other.pub").write_text(KEY.replace("IJKE", "IJKF"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("ORIGIN_KIT_HOME", str(home / "kit"))
        patch.setenv("PULUMI_BACKEND_URL", f"file://{home}/backend")
        patch.setenv(UNBALANCED, "1")
        yield home


@pytest.fixture
def stack(key: str, cloud: str) -> Iterator[StackFile]:
    """A stack of this cloud: a preview for the keys of previews, else an environment."""
    if KEYS[key] in GROUPS["Previews"] and key != "attachable":
        with stackfiles.like(BASE[cloud], "preview-", **PREVIEW) as made:
            yield made
    else:
        with stackfiles.like(BASE[cloud]) as made:
            yield made


def state(home: Path, cloud: str, stack: StackFile, of: Graph, **more: Any) -> None:
    """What a run of the program leaves: its outputs, in the backend."""
    base = home / "kit" / "state" if cloud == "local" else home / "backend"
    path = base / ".pulumi" / "stacks" / "origin-kit" / f"{stack.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    resource = {"type": "pulumi:pulumi:Stack", "outputs": {**of.outputs, **more}}
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": {"resources": [resource]}}}))


def run(stack: StackFile, config: dict[str, object]) -> Graph:
    """The program's graph with these keys on top of the file."""
    return graph.program(stack.name, **{key: as_text(value) for key, value in config.items()})


def differences(one: Graph, other: Graph) -> tuple[set[tuple[str, str]], bool]:
    """Inputs (type, property) that differ, without those that the program ignores; and whether
    those do as well."""
    first, second = (
        {(node.type, node.name): node for node in found.nodes} for found in (one, other)
    )
    found, ignored = set(), False
    for key in first.keys() | second.keys():
        before, after = first.get(key), second.get(key)
        if before is None or after is None:
            found.add((key[0], "exists"))
            continue
        own = {name for name in before.inputs.keys() | after.inputs.keys() if name != "__provider"}
        if (before.protect, before.parent) != (after.protect, after.parent):
            found.add((key[0], "protect"))
        if (
            before.type in LOCAL
            and not LOCAL[before.type].diff("", before.inputs, after.inputs).changes
        ):
            # Its provider lets a machine be as it was made.
            ignored = ignored or before.inputs != after.inputs
            continue
        for name in own:
            if _kept(before, name) != _kept(after, name):
                found.add((key[0], name))
            elif before.inputs.get(name) != after.inputs.get(name):
                ignored = True
    return found, ignored


def _kept(node: Node, name: str) -> Any:
    """An input without what `ignore_changes` takes out of it."""
    value = json.loads(json.dumps(node.inputs.get(name)))
    for path in node.ignores:
        words = [word for word in re.split(r'[.\[\]"]+', path) if word]
        if words[0].replace("_d", "D") != name:
            continue
        if len(words) == 1:
            return None
        inner = value.get("secret", value)
        for word in words[1:-1]:
            inner = inner[word]
        inner.pop(words[-1], None)
    return value


def new_machines(one: Graph, other: Graph, found: set[tuple[str, str]]) -> bool:
    """Whether machines that are there make way for new ones."""
    if any(name in TAKES_INSTANCES.get(kind, ()) for kind, name in found):
        return True
    before = {(node.type, node.name): node for node in one.nodes}
    pairs = [
        (before[node.type, node.name], node)
        for node in other.nodes
        if (node.type, node.name) in before
    ]
    return any(
        LOCAL[old.type].diff("", old.inputs, new.inputs).replaces
        for old, new in pairs
        if old.type in LOCAL
    )


def observed(one: Graph, other: Graph) -> Effect:
    """What the program makes of the change."""
    found, ignored = differences(one, other)
    if found:
        if new_machines(one, other, found):
            return Effect.REPLACES
        account = (  # it keeps its id, and so its address, which the graph makes from the new one
            "serviceAccount"
        )
        stops = any(name in STOPS.get(kind, ()) for kind, name in found if name != account)
        return Effect.STOPS if stops else Effect.IN_PLACE
    if ignored:
        return Effect.NEW_HOSTS
    return Effect.CONFIG if one.outputs["contract"] != other.outputs["contract"] else Effect.UNUSED


def generations(contract: Contract) -> list[object]:
    return [render(contract, role, host, {}).to_json() for role, host in contract.hosts]


def asked_to_ship(one: outputs.Outputs, other: outputs.Outputs) -> set[str]:
    """The keys that plan and status name when a host has the release that `one` asked for, and
    `other` is wanted."""
    keys_to_ship = set()
    for role in ("frontend", "backend"):
        changes = to_ship(other.made_from[role], one.made_from[role])
        result = {
            "release": "/r",
            "differs": [],
            "restarts": {},
            "unfinished": False,
            "units": {},
            "diff": {},
            "to_ship": changes,
        }
        outcome: deploy.Outcome[Any] = deploy.Outcome(
            role, Host(role, "192.0.2.1", 22, "deploy", ()), result
        )
        assert deploy_report.as_wanted(outcome) == (not changes)
        assert deploy_report.would_change(outcome) == bool(changes)
        keys = {change.partition(":")[0] for change in changes}
        assert all(
            f"  {change}: `fab ship` takes it" in deploy_report.plan_text(outcome)
            for change in changes
        )
        keys_to_ship |= keys
    return keys_to_ship


CASES = [(key, cloud) for key in KEYS for cloud in CLOUDS]


@pytest.mark.parametrize(("key", "cloud"), CASES)
def test_a_changed_key_does_what_the_table_says(
    key: str, cloud: str, stack: StackFile, an_operator: Path
) -> None:
    """The program and every verb of `fab` see it as the table says, and agree about the
    contract."""
    before, edits = BEFORE.get(key, {}).get(cloud, {}), changed(key, cloud)
    expected = KEYS[key].effect(cloud)
    try:
        stack.edit(**before)
        first = run(stack, before)
        state(an_operator, cloud, stack, first)
        unchanged = outputs.load(stack.name)
        stack.edit(**edits)
        found = outputs.load(stack.name)
    except SettingsError:
        assert expected in (Effect.UNUSED, Effect.CHECK)
        return
    assert unchanged.contract == Contract.from_json(first.outputs["contract"])
    assert unchanged.pending == ()
    waits = {one.key for one in found.pending}
    assert (key in waits) == (expected in (Effect.IN_PLACE, Effect.STOPS, Effect.REPLACES))
    assert not waits or key in waits
    if key == "cloud":
        return
    second = run(stack, {**before, **edits})
    by_program = observed(first, second)
    hosts_differ = (generations(found.contract), found.contract.ssh_keys) != (
        generations(unchanged.contract),
        unchanged.contract.ssh_keys,
    )
    assert asked_to_ship(unchanged, found) == (
        {key} if expected is Effect.RELEASE and key != "application" else set()
    )
    if expected is Effect.CONFIG:
        # Of hosts that are made later.
        first_boot = (Effect.NEW_HOSTS,) if key == "ssh_keys" else ()
        assert by_program in (Effect.CONFIG, *first_boot) and hosts_differ
    elif expected is Effect.RELEASE:
        # The program makes nothing of it, but for the application's name: tags, which the next
        # `fab up` brings along.
        names = (Effect.IN_PLACE,) if key == "application" else ()
        assert by_program in (Effect.UNUSED, Effect.CONFIG, *names) and hosts_differ == (
            key == "application"
        )
    elif expected is Effect.OUTPUTS:
        assert by_program is Effect.CONFIG and not hosts_differ
    elif expected is Effect.CHECK:
        assert by_program is Effect.UNUSED and not hosts_differ
    else:
        assert by_program is expected
        assert not hosts_differ or key in ("production", "branch", "preview_mode")
    if not waits:
        assert found.contract == Contract.from_json(second.outputs["contract"])
    state(an_operator, cloud, stack, second)
    after = outputs.load(stack.name)
    assert after.pending == () and after.contract == Contract.from_json(second.outputs["contract"])


def effects_table() -> str:
    """Every key and its effect on each cloud, as a Markdown table."""
    rows = ["| key | local | AWS | Google |", "|---|---|---|---|"]
    rows += [f"| `{key.name}` | " + " | ".join(key.effects) + " |" for key in KEYS.values()]
    return "\n".join(rows) + "\n"


def test_the_table_in_the_docs_is_this_one() -> None:
    """docs/operating.md says what the code does; UPDATE_DOCS=1 writes the table."""
    text = OPERATING.read_text()
    if os.environ.get("UPDATE_DOCS"):
        text = TABLE.sub(lambda match: match[1] + effects_table() + match[3], text)
        OPERATING.write_text(text)
    found = TABLE.search(text)
    assert found is not None and found[2] == effects_table()


def test_what_nobody_has_written_down_is_not_guessed() -> None:
    """A release from before hosts noted it, or a key that is newer than the note."""
    assert to_ship({"backend_ref": "v2"}, None) == []
    assert to_ship({"backend_ref": "v2", "newer": 1}, {"backend_ref": "v1"}) == [
        "backend_ref: v1 → v2"
    ]
    assert to_ship({}, {"backend_ref": "v1"}) == []


def test_a_host_never_keeps_the_password_of_a_repository() -> None:
    """It may stand in `backend_git`; what is noted on a host, and shown, is the URL without it."""
    with stackfiles.like("local") as stack:
        stack.edit(backend_git="https://me:secret@example.com/shop.git")
        noted = made_from(settings.read(stack.name), "backend")
    assert noted["backend_git"] == GIT
