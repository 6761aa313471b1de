"""The environment's account with an ACME server.

One host makes it and the operator carries it to the others, so that a host that is replaced has it
again. certbot keeps an account as three files; the copy here is written durably, and is what
counts after a power cut.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from on_host.acme.paths import config
from on_host.files import private_folder, write_durably
from on_host.runtime import hide_also

if TYPE_CHECKING:
    from on_host.protocol import Account, CertificateOrder

_FILES = ("meta.json", "private_key.json", "regr.json")
_COPY = "accounts.json"


def known(order: CertificateOrder) -> Account | None:
    """The environment's account with the order's server; None where there is none."""
    found = _copies(config(order["environment"])).get(order["server"])
    if found:
        _hide(found)
    return found


def give(order: CertificateOrder, account: Account) -> None:
    """Keep an account that another host of the environment has made, in place of one of ours."""
    _hide(account)
    folder = config(order["environment"])
    private_folder(folder)
    copies = {**_copies(folder), order["server"]: account}
    write_durably(folder / _COPY, json.dumps(copies).encode(), 0o600)


def lay_out(order: CertificateOrder) -> str | None:
    """Let certbot have the account and no other one of that server; its id."""
    account = known(order)
    folder = _certbots_folder(order)
    if account is None:
        shutil.rmtree(str(folder), ignore_errors=True)
        return None
    for other in folder.glob("*"):
        if other.name != account["id"]:
            shutil.rmtree(str(other))
    for name in _FILES:
        path = folder / account["id"] / name
        if _text(path) != account["files"][name]:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_durably(path, account["files"][name].encode(), 0o600)
    return account["id"]


def keep_new(order: CertificateOrder) -> None:
    """Copy the account that certbot has just made, if it has."""
    if known(order) is not None:
        return
    for folder in _certbots_folder(order).glob("*"):
        files = {name: _text(folder / name) for name in _FILES}
        if all(files.values()):
            give(order, {"id": folder.name, "files": files})
            return


def _certbots_folder(order: CertificateOrder) -> Path:
    """certbot's configuration.py: `server_path`."""
    server = urlsplit(order["server"])
    return config(order["environment"]) / "accounts" / f"{server.netloc}{server.path}"


def _copies(folder: Path) -> dict[str, Account]:
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, Account] = json.loads((folder / _COPY).read_text())
        return found
    return {}


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def _hide(account: Account) -> None:
    hide_also([account["files"]["private_key.json"]])
