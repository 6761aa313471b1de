"""Why browsers don't accept the TLS of page or API, and what is likely to break. Pure."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from on_host.answers import HostState
from rollout import report
from rollout.certificates.age import State
from rollout.certificates.pair import age_of, common_name, names_of, uncovered
from rollout.doctor import handshake
from rollout.doctor.checks.places import IN_FRONT, served_by
from rollout.doctor.checks.tls_cures import cure, new_pair
from rollout.doctor.codes import Code
from rollout.doctor.handshake import Handshake
from rollout.doctor.observations import HostReport, Observations, Side, sides
from rollout.finding import Finding

# OpenSSL's reasons: https://github.com/openssl/openssl/blob/master/crypto/err/openssl.txt
_TOO_OLD = ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE")
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")
_OLD_VERSIONS = ("SSLv3", "TLSv1", "TLSv1.1")
_END = "-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Served:
    """What a role's public address serves, next to what its hosts have."""

    side: Side
    handshake: Handshake
    in_front: bool  # none of the hosts serves it

    @property
    def origin(self) -> str:
        return self.side.role.origin

    @property
    def host(self) -> str:
        return self.side.role.parsed_origin.hostname


def certificates(observed: Observations) -> Iterator[Finding]:
    """What is not served although it is on the disk; then one finding for each cause, however many
    roles show it; then what is likely to break."""
    for host in observed.hosts:
        yield from _of_host(observed, host)
    by_cause: dict[tuple[Code, str], list[tuple[Served, str]]] = {}
    for served in _served(observed):
        code, text = _problem(served)
        mends = cure(
            code,
            observed.contract,
            served.side.name,
            served.in_front,
        )
        same_cause = by_cause.setdefault((code, mends), [])
        same_cause.append((served, text))
    for (code, mends), found in by_cause.items():
        yield _finding(code, mends, found)
    yield from _own_ca(observed)
    yield from _ends_soon(observed)


def _served(observed: Observations) -> Iterator[Served]:
    """What browsers refuse."""
    for side in sides(observed.contract):
        found = observed.handshake_of(side.name)
        if found and found.problem:
            yield Served(side, found, _is_in_front(observed, side, found))


def _is_in_front(
    observed: Observations,
    side: Side,
    found: Handshake,
) -> bool:
    """Whether the hosts are known to serve something else."""
    own = set()
    for host in side.role.hosts:
        kept = _kept(observed.state_of(host.name))
        own.add(_first(kept.get("served", "")))
    known = own - {b""}
    return bool(known) and bool(found.chain) and found.chain[0] not in known


def _kept(state: HostState | None) -> Mapping[str, str]:
    """What a host reports of its certificate; empty for an older answer."""
    everything = cast("Mapping[str, Any]", state or {})
    return everything.get("certificate") or {}


def _first(pem: str) -> bytes:
    """The server's own certificate in a PEM chain, DER; empty where there is none."""
    if _END not in pem:
        return b""
    return ssl.PEM_cert_to_DER_cert(pem.partition(_END)[0].strip() + f"\n{_END}\n")


# ------------------------------------------------------------------------------------ what is wrong


def _problem(served: Served) -> tuple[Code, str]:
    """The cause, and what is wrong in words."""
    found = served.handshake
    leaf = found.leaf
    if not found.code:
        return _of_protocol(served)
    if leaf is None:
        return Code.TLS_FAILS, f"its certificate is refused: {found.problem}"
    if uncovered(leaf, [served.host]):
        names = ", ".join(names_of(leaf)) or "no name at all"
        return Code.CERTIFICATE_WRONG_NAME, f"its certificate is for {names}"
    age = age_of(leaf, found.at)
    if age.state is State.EXPIRED:
        when = report.moment(leaf.not_valid_after_utc)
        return Code.CERTIFICATE_EXPIRED, f"its certificate {age.text}, on {when}"
    if found.code == handshake.EXPIRED:
        return Code.CERTIFICATE_EXPIRED, "an issuer of its certificate has expired"
    if age.state is State.EARLY:
        when = report.moment(leaf.not_valid_before_utc)
        return Code.CERTIFICATE_NOT_YET_VALID, f"its certificate is valid from {when} on"
    return _of_trust(served, leaf)


def _of_trust(served: Served, leaf: x509.Certificate) -> tuple[Code, str]:
    """No way from the certificate to a root that is trusted here."""
    found = served.handshake
    issuer = common_name(leaf.issuer)
    last = x509.load_der_x509_certificate(found.chain[-1])
    root = common_name(last.issuer)
    if "STAGING" in f"{issuer} {root}".upper():
        return Code.CERTIFICATE_UNTRUSTED, f"its certificate is of a staging CA ({root})"
    if found.code == handshake.SELF_SIGNED:
        return Code.CERTIFICATE_UNTRUSTED, "its certificate signs itself"
    alone = len(found.chain) == 1 and found.code in (
        handshake.ISSUER_UNKNOWN,
        handshake.FIRST_UNVERIFIED,
    )
    if alone and _names_its_issuer(leaf):
        return (
            Code.CERTIFICATE_CHAIN_INCOMPLETE,
            f"only its own certificate is sent, without the one of its issuer {issuer}",
        )
    if found.code in handshake.UNTRUSTED:
        return Code.CERTIFICATE_UNTRUSTED, f"its CA {root} is not in this machine's trust store"
    return Code.CERTIFICATE_UNTRUSTED, f"its certificate is refused ({found.problem})"


def _names_its_issuer(leaf: x509.Certificate) -> bool:
    """Whether it says where its issuer's certificate is to be had, as those of public CAs do (RFC
    5280, 4.2.2.1): then that one is no root, and has to be sent along."""
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return False
    return any(one.access_method == AuthorityInformationAccessOID.CA_ISSUERS for one in access)


def _of_protocol(served: Served) -> tuple[Code, str]:
    found = served.handshake
    if found.reason in _TOO_OLD or found.version in _OLD_VERSIONS:
        version = found.version or "an older version"
        return Code.TLS_TOO_OLD, f"it speaks {version} at most, and browsers TLS 1.2 at least"
    if found.reason in _NO_TLS:
        return Code.NO_TLS, "its port answers without TLS"
    return Code.TLS_FAILS, f"the TLS handshake fails ({found.problem})"


def _finding(
    code: Code,
    mends: str,
    found: list[tuple[Served, str]],
) -> Finding:
    """One finding for all roles that one cure mends."""
    sentences = []
    places = set()
    has_one_in_front = False
    for served, text in found:
        sentences.append(f"{served.origin} ({served.side.name}): {text}")
        places.add(served.side.view)
        if served.in_front:
            has_one_in_front = True
    says = "; ".join(sentences)
    if has_one_in_front:
        says += ", and it is not the one of the hosts: something in front serves it"
        places.add(IN_FRONT)
    return Finding(
        f"browsers refuse {says}",
        cure=mends,
        code=code,
        anchor=code,
        places=frozenset(places),
        reach=frozenset(places),
    )


# ---------------------------------------------------------------------------------- what hosts have


def _of_host(observed: Observations, host: HostReport) -> Iterator[Finding]:
    """Renewed on the disk, and the old one is served; or none at all."""
    kept = _kept(host.state)
    if not kept or not observed.contract.speaks_https:
        return
    disk = _first(kept.get("disk", ""))
    served = _first(kept.get("served", ""))
    if not disk:
        code = Code.CERTIFICATE_MISSING
        cure = "run `fab deploy`"
        text = f"{host.name} has no certificate for its origin"
    elif served and served != disk:
        code = Code.CERTIFICATE_NOT_SERVED
        cure = "run `fab deploy --restart`"
        text = (
            f"{host.name} serves another certificate (until {_end(served)}) than the one on its"
            f" disk (until {_end(disk)}): nginx has not loaded it"
        )
    else:
        return
    views = served_by(observed, host)
    yield Finding(
        text,
        cure=cure,
        code=code,
        anchor=code,
        places=views,
        reach=views,
    )


def _end(der: bytes) -> str:
    return report.moment(x509.load_der_x509_certificate(der).not_valid_after_utc)


# -------------------------------------------------------------------------- what is likely to break


def _own_ca(observed: Observations) -> Iterator[Finding]:
    """The kit trusts the user's own CA; the user's browsers may not yet."""
    for side in sides(observed.contract):
        found = observed.handshake_of(side.name)
        if found and found.by_local_ca and found.browsers_trust is False:
            yield Finding(
                "the certificates are from your own CA, which this machine's browsers don't know:"
                " they warn about page and API",
                cure="have them trust it, as `fab up` says at its end",
                code=Code.LOCAL_CA_UNKNOWN,
                anchor=Code.LOCAL_CA_UNKNOWN,
                warning=True,
            )
            return


def _ends_soon(observed: Observations) -> Iterator[Finding]:
    """A certificate that should have been renewed by now."""
    for side in sides(observed.contract):
        found = observed.handshake_of(side.name)
        if not found or found.problem or not found.leaf:
            continue
        age = age_of(found.leaf, found.at)
        if age.state in (State.WARNING, State.RED):
            in_front = _is_in_front(observed, side, found)
            yield Finding(
                f"the certificate of {side.role.origin} was not renewed in time: {age.text}",
                cure=new_pair(observed.contract, side.name, in_front),
                code=Code.CERTIFICATE_ENDS_SOON,
                anchor=Code.CERTIFICATE_EXPIRED,
                warning=True,
                places=frozenset([IN_FRONT if in_front else side.view]),
            )
