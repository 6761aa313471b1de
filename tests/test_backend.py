"""Where the state of a local stack is: in the kit's own backend, or the program refuses to run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from infra.core import backend
from infra.core.home import LocalCloudError
from rollout.local_stack import unreadable_attributes, with_salt


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    (place / "state").mkdir(parents=True)
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(place))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "pulumi"))
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    return place


def login(tmp_path: Path, url: str) -> None:
    (tmp_path / "pulumi").mkdir(exist_ok=True)
    (tmp_path / "pulumi" / "credentials.json").write_text(json.dumps({"current": url}))


def test_the_kit_s_own_backend_is_taken(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable, in whatever spelling, or by a login; the variable counts more."""
    for url in (f"file://{home}/state", f"file://{home}/state/", f"file://{home}/../home/state"):
        monkeypatch.setenv("PULUMI_BACKEND_URL", url)
        backend.refuse_other("local")
    monkeypatch.delenv("PULUMI_BACKEND_URL")
    login(tmp_path, f"file://{home}/state")
    backend.refuse_other("local")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///srv/other")
    with pytest.raises(
        LocalCloudError, match="its state is not in file:///srv/other; nothing was changed"
    ):
        backend.refuse_other("local")


@pytest.mark.parametrize(
    "url", ["https://api.pulumi.com", "file://~", "s3://bucket", "gs://bucket", ""]
)
def test_another_backend_is_refused_with_what_to_do(home: Path, tmp_path: Path, url: str) -> None:
    """A second state would adopt the machines, and its destroy would remove them."""
    login(tmp_path, url)
    with pytest.raises(
        LocalCloudError, match=re.escape("Run `fab up --stack local`, which uses the kit's own")
    ):
        backend.refuse_other("local")
    (home / "passphrase").write_text("x")
    with pytest.raises(LocalCloudError) as refused:
        backend.refuse_other("local")
    assert str(refused.value).splitlines()[1:] == [
        (
            f"  export PULUMI_BACKEND_URL=file://{home}/state"
            f" PULUMI_CONFIG_PASSPHRASE_FILE={home}/passphrase"
        ),
        "  pulumi up --stack local",
    ]


def state(home: Path, stack: str, *names: object) -> None:
    """A state whose dynamic resources were made with these names of the stack."""
    resources: list[dict[str, object]] = [
        {"type": "pulumi:pulumi:Stack"},
        {"type": "origin-kit:local:Cloud"},
    ]
    resources += [
        {"type": "pulumi-python:dynamic/local:Machine", "inputs": {"stack": name}} for name in names
    ]
    path = home / "state" / ".pulumi" / "stacks" / "origin-kit" / f"{stack}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": {"resources": resources}}}))


def test_a_renamed_stack_is_refused_with_the_cure(home: Path) -> None:
    """Its machines bear the stack's name for life; what is not renamed, or can't be read, is no
    reason to refuse."""
    (home / "passphrase").write_text("x")
    state(home, "shop", "local", "local")
    with pytest.raises(LocalCloudError) as refused:
        backend.refuse_renamed("shop")
    assert str(refused.value).splitlines() == [
        (
            "stack shop was local, and its machines are known by that name; nothing was changed."
            " Rename it back. Run these two:"
        ),
        (
            f"  export PULUMI_BACKEND_URL=file://{home}/state"
            f" PULUMI_CONFIG_PASSPHRASE_FILE={home}/passphrase"
        ),
        "  pulumi stack rename local --stack shop",
    ]
    for names in ([], ["shop"], [None], [7]):
        state(home, "shop", *names)
        backend.refuse_renamed("shop")
    (home / "state" / ".pulumi" / "stacks" / "origin-kit" / "shop.json").write_text("{")
    backend.refuse_renamed("shop")
    backend.refuse_renamed("never-up")


def test_a_stack_s_config_has_one_salt_and_it_is_the_state_s() -> None:
    """`pulumi up` by hand wrote one into the tracked file: no second line, and none of a state that
    is gone."""
    config = "config:\n  origin-kit:cloud: local\n"
    assert with_salt(config, None) == config
    for before in (
        config,
        config + "encryptionsalt: v1:a=:v1:b\n",
        "encryptionsalt: v1:old\n" + config,
    ):
        assert yaml.safe_load(with_salt(before, "v1:a=:v1:b")) == {
            "config": {"origin-kit:cloud": "local"},
            "encryptionsalt": "v1:a=:v1:b",
        }
        assert "encryptionsalt" not in with_salt(before, None)


def test_only_attributes_that_can_t_be_read_are_removed(tmp_path: Path) -> None:
    """A killed CLI leaves an empty file; whole ones stay, and so does everything else."""
    folder = tmp_path / ".pulumi" / "stacks" / "origin-kit"
    folder.mkdir(parents=True)
    (folder / "local.json").write_text("")
    (folder / "local.json.attrs").write_text("")
    (folder / "local.json.bak.attrs").write_text('{"md5": "x"}')
    (tmp_path / ".pulumi" / "meta.yaml.attrs").write_text('{"md5')
    assert {path.name for path in unreadable_attributes(tmp_path)} == {
        "local.json.attrs",
        "meta.yaml.attrs",
    }
