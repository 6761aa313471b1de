"""What a preview's nginx adds: no search engine lists it, and where that is limited, whom it
answers.

`preview_from` limits both roles to networks, `preview_password` the page alone: Basic
authentication of an API breaks what asks with a token of its own, or without credentials.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from infra.core.contract import Contract
from infra.core.keys.previews import PASSWORD as PREVIEW_PASSWORD
from on_host.files import NGINX_READS
from rollout.render import places
from rollout.render.generation import File
from rollout.render.templates import fill

USER = "preview"  # whose password it is
REALM = "preview"  # what a browser shows where it asks for the password
PASSWORDS = "nginx/preview-password"  # in each generation of a preview's page
HEADER = "X-Origin-Kit-Gate"  # names the gate that refused, for the kit's own checks
PREVIEW_FROM = "preview_from"  # its value

# 2^6 rounds of bcrypt, about 4 ms: nginx computes them for each request of a page that has thirty
# files.
_ROUNDS = "06"
_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BCRYPTS = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

_THIS_HOST = ("127.0.0.0/8", "::1/128")
_WHY_PREFLIGHTS = "A page can read the refusal only if its preflight is answered."
_REFUSED = "This preview answers listed addresses alone (preview_from), and yours is not one"


def networks(contract: Contract) -> tuple[str, ...]:
    """Whom a preview answers, as CIDRs; empty where everybody is answered."""
    return contract.preview.allowed_from if contract.preview else ()


def noindex(contract: Contract, before: str = "") -> str:
    """The line that keeps a preview out of search engines, next to each role's other headers, with
    some space before it; empty where the environment is none.

    https://developers.google.com/search/docs/crawling-indexing/block-indexing
    """
    return f"{before}add_header X-Robots-Tag noindex always;\n" if contract.preview else ""


# ------------------------------------------------------------------------------------ preview_from


def network_maps(contract: Contract, role: str) -> str:
    """The http level's variable that says whether a request is refused. An API's preflights are
    not: a page has to be able to read the refusal of what it asks then."""
    listed = networks(contract)
    if not listed:
        return ""
    lines = "\n".join(f"    {network} 0;" for network in dict.fromkeys([*_THIS_HOST, *listed]))
    exempt, why = "", ""
    if role == "backend":
        exempt, why = "$origin_kit_preflight", f" {_WHY_PREFLIGHTS}"
    maps = fill(
        "gate-maps.conf",
        networks=lines,
        exempt=exempt,
        why=why,
    )
    return "\n" + maps.rstrip()


def of_api(contract: Contract) -> str:
    """The lines of an API's server that refuse."""
    said = {
        "detail": f"{_REFUSED}.",
        "gate": PREVIEW_FROM,
        "address": "$remote_addr",
    }
    return _refusing(
        contract,
        "    include snippets/origin-kit-cors.conf;",
        "application/json",
        json.dumps(said),
    )


def of_page(contract: Contract) -> str:
    """The lines of a page's server that refuse."""
    headers = "    include snippets/origin-kit-page.conf;"
    return _refusing(contract, headers, "text/plain", f"{_REFUSED}: $remote_addr.")


def _refusing(contract: Contract, headers: str, kind: str, said: str) -> str:
    if not networks(contract):
        return ""
    lines = fill(
        "gate.conf",
        headers=headers,
        header=HEADER,
        gate=PREVIEW_FROM,
        type=kind,
        said=said,
    )
    return "\n" + lines.rstrip()


# -------------------------------------------------------------------------------- preview_password


def has_password(contract: Contract, secrets: Mapping[str, str]) -> bool:
    """Whether the page asks for a password."""
    return contract.preview is not None and PREVIEW_PASSWORD in secrets


def realm_map(contract: Contract, secrets: Mapping[str, str]) -> str:
    """The http level's variable with the realm of a request's password; `off` for none."""
    if not has_password(contract, secrets):
        return ""
    return "\n" + fill("gate-realm.conf", realm=REALM).rstrip()


def asking(contract: Contract, secrets: Mapping[str, str]) -> str:
    """The lines of the page's server that ask for the password."""
    if not has_password(contract, secrets):
        return ""
    return "\n" + fill("gate-password.conf", file=f"{places.CURRENT}/{PASSWORDS}").rstrip()


def password_files(contract: Contract, secrets: Mapping[str, str]) -> tuple[File, ...]:
    """The file with the password's hash, for root and nginx's workers. Each preview's page has one,
    which may be empty: a rollback goes back to files, and brings back no secret. nginx opens it
    for each request, so that another password restarts nothing."""
    if not contract.preview:
        return ()
    text = ""
    if has_password(contract, secrets):
        salt = f"{contract.project}/{contract.environment}"
        text = f"{USER}:{_hashed(secrets[PREVIEW_PASSWORD], salt)}\n"
    return (File(PASSWORDS, text, mode=NGINX_READS),)


def _hashed(password: str, name: str) -> str:
    """The password as crypt(3) has it. The salt is the environment's: the same password gives the
    same file, so that nothing restarts for it, and no other environment the same."""
    import bcrypt

    digest = hashlib.sha256(name.encode()).digest()[:16]
    salt = base64.b64encode(digest).rstrip(b"=").translate(bytes.maketrans(_STANDARD, _BCRYPTS))
    return bcrypt.hashpw(password.encode(), f"$2b${_ROUNDS}$".encode() + salt).decode()
