"""What to do about TLS that browsers refuse: it depends on where the certificate is from. Pure."""

from __future__ import annotations

from infra.core.contract import Contract
from rollout.doctor.codes import Code

_FRONT = "the proxy, CDN or load balancer in front"
_IN_FRONT = {
    Code.CERTIFICATE_UNTRUSTED: f"give {_FRONT} a certificate of a CA that browsers trust",
    Code.CERTIFICATE_EXPIRED: f"renew it in {_FRONT}",
    Code.CERTIFICATE_NOT_YET_VALID: f"compare the clock of this machine; renew it in {_FRONT}",
    Code.CERTIFICATE_WRONG_NAME: f"give {_FRONT} a certificate for this name",
    Code.CERTIFICATE_CHAIN_INCOMPLETE: f"send the issuer's certificate along in {_FRONT}",
}
_OLD = (
    f"enable TLS 1.2 and 1.3 in {_FRONT}; the hosts' nginx speaks both after `fab deploy --restart`"
)
_CLOCK = "compare this machine's clock with the hosts'; if it is right, "


def cure(
    code: Code,
    contract: Contract,
    role: str,
    in_front: bool,
) -> str:
    """The next step for this cause, in the role."""
    if code == Code.TLS_TOO_OLD:
        return _OLD
    if code in (Code.NO_TLS, Code.TLS_FAILS):
        return "run `fab deploy --restart`; if that changes nothing, look at what stands in front"
    if in_front:
        return _IN_FRONT[code]
    if code == Code.CERTIFICATE_UNTRUSTED:
        return _trusted(contract)
    if code == Code.CERTIFICATE_NOT_YET_VALID:
        return _CLOCK + new_pair(contract, role)
    if code == Code.CERTIFICATE_CHAIN_INCOMPLETE and contract.tls == "files":
        return f"append the CA's intermediates to {role}_chain, then run `fab deploy`"
    if code == Code.CERTIFICATE_WRONG_NAME and contract.tls != "files":
        return _again(contract)
    return new_pair(contract, role)


def new_pair(
    contract: Contract,
    role: str,
    in_front: bool = False,
) -> str:
    """How the role gets a newer certificate."""
    if in_front:
        return _IN_FRONT[Code.CERTIFICATE_EXPIRED]
    if contract.tls == "acme":
        return (
            "see `fab tls.show` for the last renewal, mend what it names, then run `fab tls.renew`"
        )
    if contract.tls == "files":
        return (
            f"put a new chain and key into the secrets {role}_chain and {role}_key, then run"
            " `fab deploy`"
        )
    return "run `fab deploy`, which issues a new one"


def _again(contract: Contract) -> str:
    if contract.tls == "acme":
        return "run `fab tls.renew --force`"
    return "run `fab deploy`, which issues one for the contract's names"


def _trusted(contract: Contract) -> str:
    if contract.tls == "acme":
        return (
            "set acme_staging: false (and no acme_directory of a private CA), then run `fab deploy`"
        )
    if contract.tls == "local-ca":
        return "run `fab deploy`, which issues one of your own CA"
    return (
        "use a CA that browsers trust; for a private one add its root to the trust store of every"
        " visitor's machine and of this one (or name it in SSL_CERT_FILE)"
    )
