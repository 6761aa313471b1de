"""The group `tls`: the certificates that hosts serve, shown and renewed."""

from __future__ import annotations

from invoke.context import Context
from invoke.exceptions import Exit

from infra.core import exits
from rollout import report
from rollout.options import JSON, OUTPUTS, STACK, WAIT
from rollout.verb import CHANGES, read, verb


@verb(
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "json": JSON,
    }
)
def show(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    json: bool = False,
) -> None:
    """Show the certificate that every host serves: issuer, names, time left.

    Status 1 where one is past its warning line, is not served, or is not the one on the disk.
    """
    from on_host import protocol
    from rollout import deploy as deployment
    from rollout import deploy_report
    from rollout.certificates import shown

    found = read(stack, outputs, json, strict=False)
    outcomes = deployment.run_on_all_hosts(found, protocol.STATUS)
    certificates = deploy_report.found_certificates(outcomes)
    if json:
        report.line(shown.as_json(certificates))
    else:
        report.line(shown.text(certificates))
    if any(certificate.problem for certificate in certificates):
        raise Exit(code=exits.WRONG)


@verb(
    stopped=CHANGES,
    help={
        "stack": STACK,
        "outputs": OUTPUTS,
        "force": "also where it is not time: it counts against the CA's limits",
        "wait": WAIT,
    },
)
def renew(
    _: Context,
    stack: str | None = None,
    outputs: str | None = None,
    force: bool = False,
    wait: str | None = None,
) -> None:
    """Have each host ask the CA now whether to renew its certificate, and do it.

    The timer on the hosts does the same every six hours. The CA's renewal information decides,
    unless --force does.
    """
    from rollout import deploy as deployment
    from rollout.acme import certify

    limit = deployment.seconds(wait)
    found = read(stack, outputs, change=True)
    for host, is_new in certify.renew(found, force=force, wait_s=limit):
        text = "a new certificate is served" if is_new else "not due: the CA says later"
        report.line(f"{host.name}: {text}")
