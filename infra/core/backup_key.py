"""The key `backup` of a stack's config: to whom backups are encrypted. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from infra.core import rules
from infra.core.rules import quote

# A native recipient of age: X25519 in Bech32 (https://age-encryption.org/v1).
_AGE = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_SSH_KINDS = ("ssh-ed25519", "ssh-rsa")  # the others are no keys for encryption
FIELDS = ("key",)


def public_key(value: Any) -> str:
    """A public key that age encrypts to. Raises ValueError."""
    text = value.strip() if isinstance(value, str) else ""
    if _AGE.fullmatch(text):
        return text
    if text.startswith(_SSH_KINDS):
        return " ".join(rules.login_key(text).split()[:2])
    private = text.upper().startswith("AGE-SECRET-KEY-")
    if private:
        raise ValueError("key is the private key; write the public one (age1…) here, and keep that")
    raise ValueError(
        f"key is {quote(value)}: expected age1… as `age-keygen` shows it, or an ssh-ed25519 line"
    )


def backup(text: Any) -> dict[str, str]:
    """The fields of `backup`, each checked; {} where nothing is said. Raises ValueError."""
    try:
        fields = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        fields = text
    if not isinstance(fields, dict):
        raise ValueError(f"{quote(text)} is not a map; write `key: age1…` below it")
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise ValueError(f"{unknown[0]} is no part of it; there are {', '.join(FIELDS)}")
    if not fields:
        return {}
    return {"key": public_key(fields.get("key"))}
