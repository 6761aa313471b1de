"""Programs of another Debian than this machine's, out of its packages."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.core.home import locked
from infra.local.image import mirror
from tests.support.kit import ROOT

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def unpacked(package: str, release: str) -> Path:
    """A tree with this package of a Debian release and all that it needs, made once: apt fetches
    them from this machine's mirror and checks the signatures."""
    tree = ROOT / ".tools" / f"{package}-{release}"
    with locked(tree.with_name(f"{tree.name}.lock")):
        if not tree.exists():
            with TemporaryDirectory(dir=tree.parent) as folder:
                made = Path(folder, "tree")
                for archive in _fetched(package, release, Path(folder)):
                    _run("dpkg-deb", "--extract", str(archive), str(made))
                made.rename(tree)
    return tree


def _fetched(package: str, release: str, folder: Path) -> list[Path]:
    """The archives. apt works in this folder alone, as if nothing were installed (apt.conf(5))."""
    for place in ("lists/partial", "cache/archives/partial"):
        (folder / place).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "list").write_text(f"deb [signed-by={KEYRING}] {mirror(release)} {release} main\n")
    options = {
        "Dir::Etc::SourceList": folder / "list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State": folder,
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]
    _run(*apt, "update")
    _run(*apt, "install", "--yes", "--download-only", "--no-install-recommends", package)
    return sorted((folder / "cache/archives").glob("*.deb"))


def _run(*words: str) -> None:
    """Raises AssertionError with what the program says."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr}"
