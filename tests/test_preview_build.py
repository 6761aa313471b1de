"""What a job without credentials builds of a preview, and what `fab preview.up` refuses before it
makes anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from infra.core.home import state_dir
from infra.core.previews import name_of
from rollout import outputs, stacks
from rollout.acme.beforehand import LimitError
from rollout.previews import making, template, up
from rollout.previews.guard import GuardError
from rollout.previews.living import Known
from rollout.previews.making import Template
from rollout.previews.registry import Entry
from rollout.previews.run_records import RunRecords
from rollout.previews.up import UnreadableError, Wishes
from rollout.release import ReleaseError
from rollout.stacks import ROOT
from tests.test_certificates_beforehand import SETTINGS
from tests.test_preview_branches import commit, git
from tests.test_settings import GOOD


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORIGIN_KIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("more", "backends"),
    [({}, 1), ({"preview_mode": "frontend", "attach_to": "aws-staging"}, 0)],
)
def test_a_build_asks_nobody_for_what_the_verb_fills_in(
    more: dict[str, str], backends: int
) -> None:
    """Not the attached environment either: whoever builds may not be known to its cloud."""
    read = Template("", {**GOOD, **more})
    settings = making.for_a_build(read)
    assert (settings.application, settings.backend_count) == ("shop", backends)


def test_hosts_that_were_replaced_keep_their_machines(home: Path) -> None:
    """Without the key an update would make the first machines again, empty. The config says it as
    `fab replace` wrote it; in another checkout the state does. A host that goes takes its own
    along."""
    usual = making.for_a_build(Template("", GOOD))
    name = name_of("feature")
    assert making.serials(Known(name), usual) == {}
    assert making.serials(Known(name, Entry(name)), usual) == {}
    there = {"infrastructure": {"serials": {"backend-1": "2", "backend-2": "3"}}}
    entry = Entry(name, {"contract": {}, **there})
    assert making.serials(Known(name, entry), usual) == {"serials": {"backend-1": "2"}}


def test_the_config_of_a_replacement_counts_more_than_the_state(checkout: Path) -> None:
    """It is a step ahead of the state where a run was killed."""
    read = Template.read()
    usual = making.for_a_build(read)
    name = name_of("feature")
    known = Known(name, Entry(name, {"infrastructure": {"serials": {"backend-1": "1+2"}}}))
    read.write(name, {"branch": "feature", "serials": {"backend-1": "2+1"}})
    kept = making.serials(known, usual)
    assert kept == {"serials": {"backend-1": "2+1"}}
    assert read.settings(name, {"branch": "feature", **kept}).serials == {"backend-1": "2+1"}
    read.write(name, {"branch": "feature", **kept})
    assert making.serials(known, usual) == kept


def test_a_file_that_is_none_is_refused_before_anything_is_made(home: Path) -> None:
    (home / "x.tar.gz").write_text("no archive")
    with pytest.raises(ReleaseError, match="it can't be unpacked"):
        up.up(Wishes("feature", built=home / "x.tar.gz"))
    assert not (home / "home").exists()


def test_a_preview_over_the_ca_s_limit_leaves_no_trace(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is under way any more; near the limit a line says so, and it goes on."""

    def over(*words: object) -> str:
        raise LimitError("over the limit")

    records = RunRecords.of("local")
    records.begin(SETTINGS.stack, "feature", "up", home)
    monkeypatch.setattr("rollout.acme.beforehand.check", over)
    with pytest.raises(LimitError):
        up._count_certificates(SETTINGS, records)
    assert not records.notes()
    monkeypatch.setattr("rollout.acme.beforehand.check", lambda *words: "near the limit")
    up._count_certificates(SETTINGS, records)
    assert "near the limit" in capsys.readouterr().out


@pytest.fixture
def checkout(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the branch `feature`, and a template with a variable."""
    folder = home / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "feature")
    commit(folder, "examples/frontend/index.html", "page")
    commit(folder, "examples/backend/manage.py", "")
    commit(folder, "Pulumi.yaml", (ROOT / "Pulumi.yaml").read_text())
    config = {**GOOD, "env": {"KEY": "live-0123456789"}}
    written = {f"origin-kit:{name}": value for name, value in config.items()}
    commit(folder, "stacks/Pulumi.preview.yaml", yaml.safe_dump({"config": written}))
    for module in (stacks, outputs, making, template):
        monkeypatch.setattr(module, "ROOT", folder)
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{home}/backend")
    return folder


def test_another_environments_secret_is_refused_before_anything_is_noted(checkout: Path) -> None:
    """So that `fab preview.list` does not show a preview that nobody began; the message names the
    template, which is where to mend it."""
    secrets = checkout / "stacks/staging.secrets"
    secrets.touch(0o600)
    secrets.write_text("KEY=live-0123456789\n")
    before = sorted(checkout.parent.rglob("*"))
    with pytest.raises(GuardError, match=r"KEY \(stacks/Pulumi\.preview\.yaml\) is a secret of"):
        up.up(Wishes())
    assert sorted(checkout.parent.rglob("*")) == before


def test_what_can_t_be_read_is_refused_before_anything_is_noted(checkout: Path) -> None:
    """So that it is not called interrupted once it can be read again."""
    records = RunRecords.of("local")
    state = state_dir() / ".pulumi/stacks/origin-kit" / f"{name_of('feature')}.json"
    state.parent.mkdir(parents=True)
    state.write_text("{")
    with pytest.raises(UnreadableError):
        up.up(Wishes())
    assert not records.notes()
