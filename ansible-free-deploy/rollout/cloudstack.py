"""A cloud stack in Pulumi's backend: whether it is there, and its removal once nothing is left of
it."""

from __future__ import annotations

from collections.abc import Mapping

from infra.core import exits
from infra.core.errors import KitError
from infra.core.stackfile import stack_path
from rollout import pulumi_cli, report
from rollout.stacks import ROOT


class StackError(KitError):
    """Pulumi's backend does not answer, or has no such stack; the text says the next step."""

    exit_status = exits.UNREACHABLE


def exists(stack: str, environment: Mapping[str, str]) -> bool:
    """Whether the backend that Pulumi is logged in to has this stack. Raises StackError where it
    does not answer."""
    done = pulumi_cli.run("stack", "ls", "--json", environment=environment)
    if done.returncode:
        raise _not_listed(pulumi_cli.failure(done))
    try:
        return stack in pulumi_cli.stacks_in(done.stdout)
    except ValueError:
        raise _not_listed(f"`{' '.join(done.args)}` did not print a list of stacks") from None


def _not_listed(why: str) -> StackError:
    return StackError(why, cure="is this the login that you want?")


def require(stack: str, environment: Mapping[str, str]) -> None:
    """Raises StackError where there is no such stack, or as `exists` does."""
    if not exists(stack, environment):
        raise StackError(
            f"Pulumi has no stack {stack} where it is logged in to",
            cure=(
                f"nothing was changed. Run `pulumi stack init {stack}`, or `pulumi login` to the"
                " backend that has it"
            ),
            exit_status=exits.USAGE,
        )


def ensure(
    stack: str,
    environment: Mapping[str, str],
    provider: str = "",
) -> None:
    """Have the stack in the backend; `provider` is the key service of its config's secrets, where
    that is no passphrase. Raises StackError where Pulumi refuses."""
    if exists(stack, environment):
        return
    words = ["stack", "init", stack, "--no-select"]
    if provider:
        words.append(f"--secrets-provider={provider}")
    done = pulumi_cli.run(*words, environment=environment)
    if done.returncode and not exists(stack, environment):  # another run may have made it
        raise StackError(pulumi_cli.failure(done), cure="nothing was changed")


def remove(stack: str, environment: Mapping[str, str]) -> None:
    """Remove the empty stack; its config file stays. Raises StackError where Pulumi refuses.

    A stack without which the secrets in that file could never be read again stays as well.
    """
    if goes_with_its_secrets(stack_path(ROOT, stack).read_text()):
        report.step(
            "infra",
            f"keeps the empty stack {stack}: Pulumi holds the key to the secrets in its config"
            " with it",
        )
        return
    words = ["stack", "rm", "--stack", stack]
    done = pulumi_cli.run(*words, "--yes", "--preserve-config", environment=environment)
    if done.returncode:
        why = pulumi_cli.reason(done)
        raise StackError(
            f"all of {stack} is removed, and its empty stack is not: {why}",
            cure=f"run `pulumi {' '.join(words)}`",
            exit_status=exits.WRONG,
        )


def goes_with_its_secrets(config: str) -> bool:
    """Whether a stack's config holds secrets, and the key to them is the stack's own in Pulumi's
    cloud: passphrases and key services of a cloud leave their part in the file."""
    import yaml

    found = yaml.safe_load(config) or {}
    if found.get("encryptionsalt") or found.get("encryptedkey"):
        return False
    return _holds_secret(found.get("config"))


def _holds_secret(value: object) -> bool:
    if isinstance(value, dict):
        return "secure" in value or any(map(_holds_secret, value.values()))
    return isinstance(value, list) and any(map(_holds_secret, value))
