"""The user's own CA, and what it issues for local stacks."""

from __future__ import annotations

import shutil
import ssl
import stat
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from infra.core import owner
from rollout import local_stack
from rollout.certificates import checked, local_ca, pair
from rollout.certificates.errors import PairError
from rollout.certificates.local_ca import LocalCaError
from rollout.certificates.pair import Pair
from rollout.stacks import ROOT
from tests.support.certificates import DAY, NOW
from tests.support.tls import handshake, serving

NAMES = ("shop.test", "10.213.7.10", "fd00::7")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(folder))
    return folder


def issue(names: tuple[str, ...] = NAMES, age: timedelta = timedelta(0)) -> Pair:
    return local_ca.pair_for("local-https", "frontend", names, NOW + age)


def test_the_ca_is_made_once_and_is_its_owner_s_alone(place: Path) -> None:
    """Whoever reads its key can pretend to be any website to this user's browsers."""
    first = local_ca.authority(NOW).certificate
    assert local_ca.authority(NOW).certificate == first
    assert stat.S_IMODE((place / "tls/ca-key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((place / "tls").stat().st_mode) == 0o700
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert "PRIVATE" not in (place / "tls/ca.pem").read_text()


def test_a_pair_passes_the_checks_of_files_and_a_real_handshake(place: Path) -> None:
    """For names and for both kinds of addresses."""
    made = local_ca.pair_for("local-https", "frontend", NAMES, None)
    root = local_ca.authority(None).certificate
    pair.read(
        made.chain,
        made.key,
        NAMES,
        now=local_ca.now(),
        roots=[root],
        places=pair.places("frontend"),
    )
    trusting = ssl.create_default_context(cafile=str(place / "tls/ca.pem"))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    with serving(made) as port:
        for name in NAMES:
            assert handshake(port, name, trusting)
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(port, "other.test", trusting)
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(port, "shop.test", ssl.create_default_context())


def test_a_pair_is_kept_until_a_third_is_left(place: Path) -> None:
    """So that a deploy without a change changes nothing."""
    first = issue()
    assert issue(age=200 * DAY) == first
    assert local_ca.kept("local-https", "frontend", NAMES, NOW + 200 * DAY) == first
    assert local_ca.kept("local-https", "frontend", NAMES, NOW + 250 * DAY) is None
    second = issue(age=250 * DAY)
    assert second.leaf != first.leaf
    assert second.age(NOW + 250 * DAY).left > 300 * DAY
    file = place / "tls/pairs/local-https.frontend.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_other_names_are_another_certificate() -> None:
    """Their order does not matter."""
    first = issue()
    assert issue(NAMES[::-1]) == first
    assert issue(NAMES[:2]).leaf != first.leaf
    assert pair.names_of(issue(NAMES[:2]).leaf) == ["shop.test", "10.213.7.10"]


def test_a_pair_of_another_ca_or_a_broken_one_is_made_again(place: Path) -> None:
    """The CA was removed by hand, or a disk was full."""
    first = issue()
    (place / "tls/ca.pem").unlink()
    assert local_ca.kept("local-https", "frontend", NAMES, NOW) is None
    shutil.rmtree(place / "tls/pairs")
    (place / "tls/ca-key.pem").unlink()
    second = issue()
    assert second.leaf.issuer == first.leaf.issuer
    local_ca.authority(NOW)
    file = place / "tls/pairs/local-https.frontend.pem"
    file.write_text(first.key + first.chain)
    assert issue().leaf not in (first.leaf, second.leaf)
    file.write_text("half")
    assert issue().leaf not in (first.leaf, second.leaf)


def recalled(names: tuple[str, ...] = NAMES, age: timedelta = timedelta(0)) -> object:
    return checked.recall("local-https", "frontend", names, NOW + age)


def test_a_checked_pair_is_known_without_reading_it() -> None:
    """For its names in any order, and only as long as a deploy would keep it."""
    assert recalled() is None
    made = issue()
    assert recalled() == recalled(NAMES[::-1]) == (made.chain, made.key)
    assert recalled(age=200 * DAY) == (made.chain, made.key)
    assert recalled(age=250 * DAY) is None
    assert recalled(NAMES[:2]) is None


@pytest.mark.parametrize("name", ["ca.pem", "pairs/local-https.frontend.pem"])
def test_a_note_counts_for_the_bytes_that_were_checked(name: str, place: Path) -> None:
    """What somebody has replaced since is read and checked again, and so is what is gone."""
    issue()
    file = place / "tls" / name
    checked_bytes = file.read_bytes()
    file.write_bytes(checked_bytes + b"\n")
    assert recalled() is None
    file.unlink()
    assert recalled() is None
    file.write_bytes(checked_bytes)
    assert recalled() is not None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"begins": 1, "ends": "x", "of": null}', "\xff"])
def test_a_note_that_is_damaged_says_nothing(text: str, place: Path) -> None:
    """The next deploy reads the pair, finds it good, and writes the note again."""
    made = issue()
    note = place / "tls/pairs/local-https.frontend.json"
    note.write_text(text, "latin-1")
    assert recalled() is None
    assert issue() == made
    assert recalled() == (made.chain, made.key)


def test_a_ca_without_its_key_is_said(place: Path) -> None:
    """A new one in silence would be one that no browser trusts."""
    local_ca.authority(NOW)
    (place / "tls/ca-key.pem").unlink()
    with pytest.raises(LocalCaError, match=r"ca-key\.pem: missing or unreadable, .* remove "):
        issue()


def test_a_ca_that_others_can_read_is_closed(place: Path) -> None:
    """Whatever a copy has done to its mode."""
    local_ca.authority(NOW)
    (place / "tls/ca-key.pem").chmod(0o644)
    local_ca.authority(NOW)
    assert stat.S_IMODE((place / "tls/ca-key.pem").stat().st_mode) == 0o600


def test_a_ca_that_ends_before_its_certificates_is_made_again() -> None:
    """A leaf may not outlive it."""
    first = local_ca.authority(NOW).certificate
    late = first.not_valid_after_utc - 300 * DAY
    second = local_ca.authority(late).certificate
    assert second != first
    assert issue(age=late - NOW).leaf.not_valid_after_utc < second.not_valid_after_utc


def test_the_pairs_of_a_stack_go_with_it_and_the_ca_stays(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Browsers may trust it, and the next stack uses it again."""
    issue()
    local_ca.pair_for("other", "backend", NAMES, NOW)
    owner.take("other", owner.Owner.here(ROOT))
    local_stack.forget("local-https")
    left = sorted(path.name for path in (place / "tls/pairs").iterdir())
    assert left == ["other.backend.json", "other.backend.pem"]
    local_stack.forget("other")
    assert f"leaves {place / 'tls'}, your CA" in capsys.readouterr().out
    assert sorted(path.name for path in (place / "tls").iterdir()) == ["ca-key.pem", "ca.pem"]


def test_how_to_trust_it(place: Path, tmp_path: Path) -> None:
    """Each program that has a store of its own, with a command that works."""
    text = local_ca.how_to_trust()
    assert f"install -m 644 {place}/tls/ca.pem /usr/local/share/ca-certificates/" in text
    for word in ("update-ca-certificates", "certutil", "Firefox", "curl --cacert"):
        assert word in text
    if shutil.which("certutil") is None:
        pytest.skip("certutil (libnss3-tools) is not installed")
    lines = [line for line in text.splitlines() if "certutil" in line]
    command = lines[0].partition("certutil")[2].replace(local_ca.INSTALLED, f"{place}/tls/ca.pem")
    store = tmp_path / ".pki/nssdb"
    store.mkdir(parents=True)
    subprocess.run(f"certutil{command}", shell=True, check=True, env={"HOME": str(tmp_path)})
    listed = subprocess.run(
        ["certutil", "-L", "-d", f"sql:{store}"], capture_output=True, text=True, check=True
    )
    assert "C,," in listed.stdout


def test_a_pair_for_no_name_is_refused() -> None:
    with pytest.raises((LocalCaError, PairError)):
        issue(())


def test_the_key_signs_nothing_but_certificates_of_servers() -> None:
    """A CA that could make other CAs would be more than this one is for."""
    root = local_ca.authority(NOW).certificate
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)
    assert load_pem_private_key(issue().key.encode(), None)
