"""Chain and key of `tls: files`, checked before anything is sent."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from rollout.certificates import pair
from rollout.certificates.errors import PairError
from rollout.certificates.pair import Pair
from tests.support.certificates import DAY, NOW, Authority, self_signed

ROOT = Authority.root("Test Root", NOW)
MIDDLE = ROOT.intermediate("Test Intermediate")
NAMES = ("shop.example.com", "www.shop.example.com")
GOOD = MIDDLE.issue(*NAMES)
ROOTS = (ROOT.certificate,)


def read(
    chain: str,
    key: str,
    names: tuple[str, ...] = NAMES,
    roots: tuple[x509.Certificate, ...] = ROOTS,
) -> Pair:
    return pair.read(chain, key, names, now=NOW, roots=roots, places=pair.places("frontend"))


def problems(chain: str, key: str, names: tuple[str, ...] = NAMES) -> list[str]:
    """What is wrong; no message holds a line of the key."""
    with pytest.raises(PairError) as raised:
        read(chain, key, names)
    for line in key.splitlines():
        assert len(line) < 40 or line not in str(raised.value)
    return raised.value.problems


def test_a_good_pair_has_its_leaf_first_and_no_root() -> None:
    """The root is in every browser; sending it costs each handshake a kilobyte."""
    found = read(GOOD.pem + MIDDLE.pem + ROOT.pem, GOOD.key)
    assert found.chain == GOOD.pem + MIDDLE.pem
    assert found.leaf == GOOD.certificate
    assert found.age(NOW).left == 80 * DAY
    assert GOOD.key.splitlines()[1] not in repr(found)


def test_what_stands_around_the_pem_blocks_is_dropped() -> None:
    """`openssl pkcs12` writes bag attributes, Windows its line ends."""
    noisy = "Bag Attributes\n    friendlyName: x\n" + GOOD.pem + "subject=CN = m\n" + MIDDLE.pem
    found = read(noisy.replace("\n", "\r\n"), "Bag Attributes\n" + GOOD.key.replace("\n", "\r\n"))
    assert found.chain == GOOD.pem + MIDDLE.pem
    assert found.key == GOOD.key


def test_a_key_in_openssl_s_older_form_is_taken() -> None:
    """With the parameters that `openssl ecparam -genkey` puts first."""
    private = GOOD.private
    old = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert read(GOOD.pem + MIDDLE.pem, parameters + old).key == GOOD.key


def test_a_private_ca_is_complete_with_its_own_root() -> None:
    """No store of this computer knows it; the chain itself does."""
    own = Authority.root("Company Root", NOW)
    issued = own.issue(*NAMES)
    assert read(issued.pem + own.pem, issued.key).chain == issued.pem
    assert problems(issued.pem, issued.key) == [
        "frontend_chain: incomplete: 'Company Root', which issued the last certificate, is not in"
        " this computer's trust store; append the CA's intermediates, or the root of a private CA"
    ]


def test_without_a_trust_store_nothing_is_said_of_completeness() -> None:
    """No answer is no verdict."""
    assert read(GOOD.pem, GOOD.key, roots=()).leaf == GOOD.certificate


def test_a_chain_that_ends_at_a_cross_signed_root_is_complete() -> None:
    """Its issuer is gone from the stores; the same key is there as a root."""
    older = Authority.root("Older Root", NOW)
    crossed = older.intermediate("Test Root")
    issued = crossed.issue(*NAMES)
    same_key = Authority.root("Test Root", NOW)
    assert problems(issued.pem + crossed.pem, issued.key)
    again = pair.read(
        issued.pem + crossed.pem,
        issued.key,
        NAMES,
        now=NOW,
        roots=(same_key.certificate, older.certificate),
        places=pair.places("frontend"),
    )
    assert again.leaf == issued.certificate


OTHER = MIDDLE.issue(*NAMES)
CHAIN = GOOD.pem + MIDDLE.pem
SELF_SIGNED = self_signed(*NAMES, now=NOW)
FOR_CLIENTS = MIDDLE.issue(*NAMES, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
EXPIRED = MIDDLE.issue(*NAMES, starts=-91 * DAY, ends=-DAY)
EARLY = MIDDLE.issue(*NAMES, starts=DAY, ends=91 * DAY)
BARE = MIDDLE.issue()
SHORT = MIDDLE.issue(*NAMES, private=rsa.generate_private_key(65537, 1024))
CURVED = MIDDLE.issue(*NAMES, private=ec.generate_private_key(ec.SECP521R1()))
EDWARDS = MIDDLE.issue(*NAMES, private=ed25519.Ed25519PrivateKey.generate())
OLD_MIDDLE = ROOT.intermediate("Old Intermediate", starts=-4000 * DAY, ends=-350 * DAY)
BELOW_OLD = OLD_MIDDLE.issue(*NAMES)
LOCKED = GOOD.private.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.BestAvailableEncryption(b"secret"),
).decode()

CASES = {
    "no-chain": ("", GOOD.key, "frontend_chain: empty; expected PEM: the certificate, then each"),
    "no-key": (CHAIN, "", "frontend_key: empty; expected the certificate's private key in PEM"),
    "not-pem": ("MIIB", GOOD.key, "frontend_chain: no certificate in PEM (-----BEGIN CERTIFICATE"),
    "broken": (
        GOOD.pem + MIDDLE.pem.replace("MII", "MIJ", 1),
        GOOD.key,
        "frontend_chain: certificate 2 can't be read; copy it again from what the CA sent",
    ),
    "swapped": (
        GOOD.key,
        CHAIN,
        "frontend_chain: holds a private key; the key belongs into frontend_key alone",
    ),
    "key-in-chain": (
        CHAIN + GOOD.key,
        GOOD.key,
        "frontend_chain: holds a private key; the key belongs into frontend_key alone",
    ),
    "locked": (
        CHAIN,
        LOCKED,
        "frontend_key: encrypted with a passphrase, which nginx can't enter; decrypt it with"
        " `openssl pkey -in KEY`",
    ),
    "broken-key": (
        CHAIN,
        GOOD.key.replace("MIG", "MIH", 1),
        "frontend_key: can't be read; expected a private key in PEM",
    ),
    "other-key": (
        CHAIN,
        OTHER.key,
        "frontend_key: the key of another certificate than the first one of frontend_chain",
    ),
    "leaf-last": (
        MIDDLE.pem + GOOD.pem,
        GOOD.key,
        "frontend_chain: wrong order; write the certificates in the order 2, 1",
    ),
    "shuffled": (
        GOOD.pem + ROOT.pem + MIDDLE.pem,
        GOOD.key,
        "frontend_chain: wrong order; write the certificates in the order 1, 3, 2",
    ),
    "foreign": (
        CHAIN + Authority.root("Third Party", NOW).pem,
        GOOD.key,
        "frontend_chain: certificate 3 ('Third Party') is no part of the chain; remove it",
    ),
    "twice": (
        GOOD.pem + GOOD.pem + MIDDLE.pem,
        GOOD.key,
        "frontend_chain: certificate 2 ('leaf') is no part of the chain; remove it",
    ),
    "no-intermediate": (
        GOOD.pem,
        GOOD.key,
        "frontend_chain: incomplete: 'Test Intermediate', which issued the last certificate",
    ),
    "self-signed": (
        SELF_SIGNED.pem,
        SELF_SIGNED.key,
        "frontend_chain: signs itself, which no browser trusts; get one from a CA, or set"
        " `tls: local-ca` for development",
    ),
    "no-names": (
        BARE.pem + MIDDLE.pem,
        BARE.key,
        "frontend_chain: the certificate has no subjectAltName, and browsers read no other name;"
        " get one for shop.example.com, www.shop.example.com",
    ),
    "expired": (
        EXPIRED.pem + MIDDLE.pem,
        EXPIRED.key,
        "frontend_chain: expired on 2027-02-28 12:00 UTC; get a new certificate",
    ),
    "early": (
        EARLY.pem + MIDDLE.pem,
        EARLY.key,
        "frontend_chain: not valid before 2027-03-02 12:00 UTC; wait, or correct this computer's"
        " clock",
    ),
    "expired-intermediate": (
        BELOW_OLD.pem + OLD_MIDDLE.pem,
        BELOW_OLD.key,
        "frontend_chain: certificate 2 ('Old Intermediate') expired on",
    ),
    "for-clients": (
        FOR_CLIENTS.pem + MIDDLE.pem,
        FOR_CLIENTS.key,
        "frontend_chain: not for servers (extended key usage); get one for server authentication",
    ),
    "short-rsa": (
        SHORT.pem + MIDDLE.pem,
        SHORT.key,
        "frontend_key: RSA of 1024 bits, which browsers refuse; use RSA of 2048 bits or more, P-256"
        " or P-384",
    ),
    "curve": (
        CURVED.pem + MIDDLE.pem,
        CURVED.key,
        "frontend_key: secp521r1, which browsers refuse; use",
    ),
    "edwards": (
        EDWARDS.pem + MIDDLE.pem,
        EDWARDS.key,
        "frontend_key: Ed25519, which browsers refuse; use",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_pair_is_refused_with_one_reason(case: str) -> None:
    """Where it is, what is wrong, and the next step; one cause is one line."""
    chain, key, expected = CASES[case]
    found = problems(chain, key)
    assert len(found) <= (2 if case == "swapped" else 1), found
    assert found[0].startswith(expected)


def test_all_that_is_wrong_comes_at_once() -> None:
    """A certificate that is too old and for another name needs one order to the CA, not two."""
    old = MIDDLE.issue("old.example.com", starts=-200 * DAY, ends=-110 * DAY)
    found = problems(old.pem + MIDDLE.pem, OTHER.key)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("held", "wanted", "missing"),
    [
        (["*.example.com"], ["shop.example.com"], []),
        (["*.example.com"], ["a.shop.example.com", "example.com"], 2),
        (["SHOP.example.com"], ["shop.example.com"], []),
        (["198.51.100.7"], ["198.51.100.7"], []),
        (["2001:db8::7"], ["2001:db8:0:0:0:0:0:7"], []),
        (["198.51.100.7.example.com"], ["198.51.100.7"], 1),
        (["xn--bcher-kva.example"], ["xn--bcher-kva.example"], []),
        (["*.com.example"], ["xn--bcher-kva.com.example"], []),
    ],
)
def test_names_are_covered_as_browsers_read_them(
    held: list[str], wanted: list[str], missing: int | list[str]
) -> None:
    """A wildcard stands for one label; an address is matched as an address (RFC 9525)."""
    issued = MIDDLE.issue(*held)
    uncovered = pair.uncovered(issued.certificate, wanted)
    assert len(uncovered) == (missing or 0)


def test_a_name_that_is_missing_is_named_with_those_that_are_there() -> None:
    issued = MIDDLE.issue("shop.example.com")
    assert problems(issued.pem + MIDDLE.pem, issued.key) == [
        "frontend_chain: the certificate is for shop.example.com, not for www.shop.example.com;"
        " get one for shop.example.com, www.shop.example.com"
    ]
