"""What a host adds to the marks of a generation that holds secrets, and which secrets it keeps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from on_host import audit, files, journal, looks, places, recovery, runtime, seal, work
from on_host.activation import note_activation
from on_host.configuration import outline, state, switch
from on_host.configuration.state import KEPT
from on_host.files import point
from on_host.generations import Generation as SentGeneration
from on_host.generations import GenerationHead, Outline
from on_host.orders import DEPLOY_ORDERS, ORDERS
from on_host.runtime import ChangedMeanwhile, Failed
from rollout.render import Generation, render
from tests.test_render import application, load

KEY = b"k" * 32


def generation(pin: str = "1234", **env: str) -> SentGeneration:
    contract = application(load("local-ip"), env=env)
    return sent(render(contract, "backend", contract.backend.hosts[0], {"PIN": pin}))


def sent(rendered: Generation) -> SentGeneration:
    """As it comes to the host."""
    found: SentGeneration = json.loads(json.dumps(rendered.to_json()))
    return found


def readable(generation: SentGeneration) -> str:
    """All of it that other users of the host can see."""
    shown = {**generation, "files": [file for file in generation["files"] if file["mode"] & 0o077]}
    return json.dumps(shown)


def test_a_pin_can_not_be_tried_out_without_the_key() -> None:
    """With another key every value gives other marks; with the host's key the same value gives the
    same."""
    ours = seal.sealed(generation("1234"), KEY)
    assert ours == seal.sealed(generation("1234"), KEY)
    assert readable(ours) != readable(seal.sealed(generation("4321"), KEY))
    assert readable(ours) != readable(seal.sealed(generation("1234"), b"x" * 32))


def test_a_secret_that_nginx_reads_is_its_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a secret like others: root's and that group's from the first moment, in no digest."""
    monkeypatch.setattr(files, "group_of", lambda mode: os.getegid())
    path = tmp_path / "passwords"
    files.write_durably(path, b"hush", files.NGINX_READS)
    status = path.stat()
    assert (status.st_mode & 0o7777, status.st_gid) == (0o640, os.getegid())
    assert [mode for mode in (0o600, 0o640, 0o644, 0o755) if seal.is_private(mode)] == [
        0o600,
        0o640,
    ]


def test_only_that_mode_has_another_group() -> None:
    assert [files.group_of(mode) for mode in (0o600, 0o644, 0o755)] == [0, 0, 0]


def test_a_secret_marks_only_the_service_that_reads_it() -> None:
    """gunicorn restarts for another secret, nginx does not; the configuration's own digest stays
    visible."""
    one, other = seal.sealed(generation("1234"), KEY), seal.sealed(generation("4321"), KEY)
    assert one["id"] != other["id"]
    assert one["id"].split("-")[0] == other["id"].split("-")[0] == generation()["id"]
    assert one["fingerprints"]["gunicorn"] != other["fingerprints"]["gunicorn"]
    assert (
        one["fingerprints"]["nginx"]
        == other["fingerprints"]["nginx"]
        == generation()["fingerprints"]["nginx"]
    )


def test_gunicorn_reports_the_sealed_fingerprint() -> None:
    sealed = seal.sealed(generation(), KEY)
    (configuration,) = [
        f["text"] for f in sealed["files"] if f["path"] == "gunicorn/gunicorn.conf.py"
    ]
    assert f'FINGERPRINT = "{sealed["fingerprints"]["gunicorn"]}"' in configuration


def test_a_frontend_has_nothing_to_seal() -> None:
    contract = load("local-ip")
    plain = sent(render(contract, "frontend", contract.frontend.hosts[0], {}))
    assert seal.sealed(plain, KEY) == plain == seal.unsealed(plain, KEY)


def test_sealing_can_be_undone_by_the_host_that_sealed() -> None:
    assert seal.unsealed(seal.sealed(generation(), KEY), KEY) == generation()


def test_digests_of_before_there_were_keys_do_not_go_on() -> None:
    """They cover the secrets: what is made of such a generation shows neither, and is still one
    thing."""
    old: SentGeneration = {
        **generation(),
        "id": "0123456789abcdef",
        "fingerprints": {"gunicorn": "f" * 32, "nginx": "e" * 32},
    }
    for file in old["files"]:
        file["text"] = file["text"].replace(generation()["fingerprints"]["gunicorn"], "f" * 32)
    now = seal.sealed(seal.unsealed(old, KEY), KEY)
    assert "f" * 32 not in readable(now)
    assert "0123456789abcdef" not in readable(now)
    assert now == seal.sealed(seal.unsealed(old, KEY), KEY)
    assert now["fingerprints"]["nginx"] == "e" * 32


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's /etc/origin-kit, elsewhere."""
    kit = tmp_path / "kit"
    (kit / "generations").mkdir(parents=True)
    paths = {
        "KIT": "",
        "GENERATIONS": "generations",
        "CONFIGURATION": "current",
        "JOURNAL": "journal.json",
    }
    for name, path in paths.items():
        monkeypatch.setattr(places, name, kit / path)
    monkeypatch.setattr(journal, "OUTCOMES", kit / "committed.json")
    monkeypatch.setitem(ORDERS, "app", "none")
    monkeypatch.setattr(seal, "KEY", kit / "key")
    monkeypatch.setattr(seal, "_found", [])
    return kit


def test_the_key_is_made_once_and_for_root_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever only looks writes nothing; one that others could have read is replaced."""
    assert seal.key() == seal.key()
    assert not (place / "key").exists()
    made = seal.key(make=True)
    assert (place / "key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(seal, "_found", [])
    assert seal.key(make=True) == made
    (place / "key").chmod(0o644)
    monkeypatch.setattr(seal, "_found", [])
    assert seal.key(make=True) != made
    assert (place / "key").stat().st_mode & 0o777 == 0o600


def commit(rendered: SentGeneration) -> str:
    """What a deploy leaves behind, without its services."""
    made = seal.sealed(rendered, seal.key(make=True))
    switch.stage(made)
    point(places.CONFIGURATION, f"generations/{made['id']}")
    note_activation(places.GENERATIONS, made["id"])
    switch.prune()
    return str(made["id"])


def holders(place: Path, text: str) -> list[str]:
    return [
        str(path.relative_to(place))
        for path in sorted(place.rglob("*.env"))
        if text in path.read_text()
    ]


def test_a_secret_that_was_replaced_leaves_with_the_commit(place: Path) -> None:
    """The generations that held it stay, for their configuration."""
    first, second = commit(generation("1234")), commit(generation("1234", A="b"))
    assert len(holders(place, "1234")) == 2
    third = commit(generation("4321", A="b"))
    assert holders(place, "1234") == []
    assert holders(place, "4321") == [f"generations/{third}/secrets.env"]
    assert state.kept() == sorted([first, second, third])


def test_a_rollback_takes_todays_secrets(place: Path) -> None:
    """Configuration goes back, a secret that was replaced does not; the history says where it
    leads."""
    first, second = commit(generation("1234")), commit(generation("4321", A="b"))
    again = state.stored(first)
    assert again["id"] not in (first, second)
    assert again["id"] == state.leads_to()[first] == commit(generation("4321"))
    assert state.leads_to()[second] == second
    texts = {file["path"]: file["text"] for file in again["files"]}
    assert 'PIN="4321"' in texts["secrets.env"]
    assert 'A="b"' not in texts["environment"]


def test_a_rollback_with_the_same_secrets_is_that_generation(place: Path) -> None:
    """A rollback to what has the same secrets is that generation."""
    first = commit(generation("1234"))
    commit(generation("1234", A="b"))
    assert state.stored(first)["id"] == state.leads_to()[first] == first
    texts = {file["path"]: file["text"] for file in state.stored(first)["files"]}
    assert texts == {
        file["path"]: file["text"] for file in seal.sealed(generation("1234"), seal.key())["files"]
    }


def test_a_killed_commit_is_finished_by_the_next_deploy(
    place: Path,
) -> None:
    """A secret that should be gone is a difference, and so is one that a killed deploy has half
    written."""
    first, second = commit(generation("1234")), commit(generation("4321"))
    sealed = seal.sealed(generation("4321"), seal.key())
    assert state.left_secrets(sealed) == []
    (place / "generations" / first / "secrets.env").write_text("PIN=1234")
    (place / "generations" / "x.partial").mkdir()
    assert state.left_secrets(sealed) == [
        "generations/x.partial",
        f"generations/{first}/secrets.env",
    ]
    recovery.recover()
    assert commit(generation("4321")) == second
    assert state.left_secrets(sealed) == []


def test_only_the_current_generation_can_be_read(place: Path) -> None:
    """Only what is current can be read and nobody can list the rest."""
    first, second = commit(generation("1234")), commit(generation("4321"))
    modes = {
        name: (place / "generations" / name).stat().st_mode & 0o777 for name in (first, second, "")
    }
    assert modes == {first: 0o700, second: 0o755, "": 0o711}


def test_the_newest_are_kept_whatever_the_clock_says(place: Path) -> None:
    """A clock that was turned back makes a new generation look old."""
    made = []
    for number in range(KEPT + 2):
        made.append(commit(generation(A=str(number))))
        os.utime(place / "generations" / made[-1], (1e9 - number, 1e9 - number))
    assert state.kept() == sorted(made[-KEPT:])


def test_a_generation_whose_record_is_broken_is_no_traceback(place: Path) -> None:
    first, second = commit(generation("1234")), commit(generation("4321"))
    (place / "generations" / first / "generation.json").write_text("{")
    assert state.kept() == [second]
    switch.prune()
    assert not (place / "generations" / first).exists()


def test_a_value_with_a_carriage_return_survives_a_rollback(place: Path) -> None:
    first = commit(generation("one\rtwo\r\n"))
    assert 'PIN="one\rtwo\r\n"\n' in [file["text"] for file in state.stored(first)["files"]]


def test_a_plan_shows_no_former_or_future_secret(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The diff of `environment` holds the line that goes away."""
    contract = application(load("local-ip"), env={"TOKEN": "hush-hush"})
    commit(sent(render(contract, "backend", contract.backend.hosts[0], {})))
    later = render(
        application(contract, env={}), "backend", contract.backend.hosts[0], {"TOKEN": "hush-hush"}
    )
    monkeypatch.setitem(ORDERS, "secrets", {"TOKEN": "hush-hush"})
    shown = state.diff(seal.sealed(sent(later), seal.key()))
    assert "hush-hush" not in json.dumps(shown)
    assert "TOKEN" in shown["environment"]
    assert shown["secrets.env"] == "(secret: differs)\n"


def test_no_message_quotes_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A project that fails quotes what it was given; one that is two letters long is in every
    text."""
    values = {"DSN": "postgres://u:hush@h", "PEM": "-----BEGIN\nMIIEvQ==\n", "A": "ab"}
    monkeypatch.setitem(ORDERS, "secrets", values)
    runtime.emit({"error": "bad 'postgres://u:hush@h'", "detail": "…\nMIIEvQ==\nabout"})
    assert json.loads(capsys.readouterr().out) == {
        "error": "bad '(secret)'",
        "detail": "…\n(secret)\nabout",
    }


def test_the_audit_is_for_root_and_holds_no_secret(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "AUDIT", place / "audit.jsonl")
    for name, value in (("who", "ada@x"), ("secrets", {"TOKEN": "hush-hush"})):
        monkeypatch.setitem(ORDERS, name, value)
    (place / "audit.jsonl").touch(0o644)
    audit.write("failed: no hush-hush there", "0123", "configuration")
    assert "hush" not in (place / "audit.jsonl").read_text()
    assert (place / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def outline_of(secrets: dict[str, str]) -> Outline:
    contract = load("local-ip")
    generation = render(contract, "backend", contract.backend.hosts[0], secrets)
    outline: Outline = json.loads(json.dumps(generation.outline()))
    return outline


def test_a_status_is_reported_without_any_secret(place: Path) -> None:
    """The outline holds no text; the names of secrets are enough, whatever their values are."""
    commit(generation("1234"))
    wanted = outline_of({"PIN": ""})
    assert not any("text" in file for file in wanted["files"])
    assert (
        outline.compare(wanted)[0]
        == outline.compare(outline_of({"PIN": "other"}))[0]
        == unlinked(wanted)
    )


def unlinked(wanted: GenerationHead) -> list[str]:
    """What differs in a test for want of links into /etc, and by what is on this machine."""
    return [link["place"] for link in wanted["links"]] + [
        path for path in wanted["absent"] if Path(path).exists()
    ]


@pytest.mark.parametrize("path", ["environment", "secrets.env"])
def test_a_status_reports_an_edit_by_hand(place: Path, path: str) -> None:
    """A secret file's edit shows in the mark that the current generation's name should have."""
    commit(generation("1234"))
    file = places.CONFIGURATION / path
    file.write_text(file.read_text() + "MORE=1\n")
    wrong, reasons = outline.compare(outline_of({"PIN": ""}))
    assert {"environment": path in wrong, "secrets.env": "current" in wrong}[path]
    assert "gunicorn" in reasons


def test_a_status_reports_other_configuration(place: Path) -> None:
    commit(generation("1234"))
    contract = application(load("local-ip"), env={"NEW": "1"})
    other = render(contract, "backend", contract.backend.hosts[0], {"PIN": ""}).outline()
    wrong, _ = outline.compare(json.loads(json.dumps(other)))
    assert wrong[:3] == ["current", "contract.json", "environment"]


# ------------------------------------------------------------------------------- secrets that stay


@pytest.fixture
def started_from(place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of what runs: a generation with a secret, and orders to change its list alone."""
    current = commit(generation("1234-5678"))
    monkeypatch.setattr(runtime, "_hidden", [])
    monkeypatch.setitem(DEPLOY_ORDERS, "generation", without_values(A="b"))
    monkeypatch.setitem(DEPLOY_ORDERS, "keeps_secrets", True)
    monkeypatch.setitem(DEPLOY_ORDERS, "expects", current)
    return current


def without_values(**env: str) -> SentGeneration:
    """As whoever knows the names of secrets, and no value, renders it."""
    return generation("", **env)


def test_secrets_that_did_not_come_with_the_orders_stay(started_from: str) -> None:
    """The generation is the one that somebody with the secrets would have sent."""
    assert state.given() == seal.sealed(generation("1234-5678", A="b"), seal.key())
    assert "1234-5678" not in json.dumps(DEPLOY_ORDERS)


def test_no_message_quotes_a_secret_that_stayed(started_from: str) -> None:
    state.given()
    assert runtime.hide("denied for 1234-5678") == "denied for (secret)"


def test_secrets_that_can_not_be_read_stop_the_change(started_from: str) -> None:
    """An empty value in the place of a secret would be worse than no change."""
    (places.CONFIGURATION / "secrets.env").unlink()
    with pytest.raises(Failed, match="its secrets can't be kept; run `fab deploy`"):
        state.given()


def test_a_change_of_what_no_longer_runs_is_refused(started_from: str) -> None:
    """The orders say which generation they were made for."""
    state.refuse_another()
    second = commit(generation("1234-5678", C="d"))
    with pytest.raises(ChangedMeanwhile, match=f"generation {second} is current here now"):
        state.refuse_another()


def test_what_runs_is_answered_without_a_secret(started_from: str) -> None:
    """The contract, which generation it is, and the names of secrets."""
    answer = looks.running()
    assert answer["generation"] == started_from
    assert answer["secrets"] == ["PIN"]
    assert answer["contract"] is not None
    assert answer["contract"]["environment"] == "local"
    assert "hosts" not in answer["contract"]["backend"]
    assert "1234-5678" not in json.dumps(answer)


def test_a_host_without_a_configuration_runs_none(place: Path) -> None:
    answer = looks.running()
    assert (answer["generation"], answer["contract"], answer["secrets"]) == (None, None, [])


def test_a_refused_change_is_no_failure(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has sent it begins again from what runs now."""
    for problem, is_meanwhile in ((Failed("x"), False), (ChangedMeanwhile("x"), True)):
        work.report_failure(problem)
        assert json.loads(capsys.readouterr().out)["changed_meanwhile"] is is_meanwhile
