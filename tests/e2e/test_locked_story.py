"""What is locked is what runs on the host: a workspace, a private index, a wrong hash; and what is
never shipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.test_bad_input import said
from tests.support.folders import write_files
from tests.support.kit import ROOT, Kit, Stack, manage
from tests.support.loopback import serving, sha256, wheels_of_the_example

pytestmark = [pytest.mark.machines, pytest.mark.soak]
UV = os.pathsep.join([os.environ["PATH"], str(ROOT / ".tools/bin")])
PASSWORD = "open-sesame-4711"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An environment and a cache of its own, so that every file is fetched here."""
    folder = tmp_path_factory.mktemp("locked")
    kit = Kit(folder / "home", {"PIP_NO_CACHE_DIR": "1"})
    with Stack.of(kit) as made:
        yield made


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder below the repository, where a stack can name it; the example is in `backend`."""
    folder = ROOT / "artifacts" / f"locked-{uuid4().hex[:6]}"
    shutil.copytree(
        ROOT / "examples/backend", folder / "backend", ignore=shutil.ignore_patterns("__pycache__")
    )
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def on_the_backend(stack: Stack, command: str, check: bool = True) -> str:
    return stack.kit.ssh(stack.contract.backend.hosts[0], command, check)


def test_a_workspace_ships_and_imports_its_own_package(stack: Stack, top: Path) -> None:
    """The lock is one folder above, the package of the settings is the workspace's; secrets and
    dumps stay here, and nobody but the application reads its code."""
    hatch = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    head = 'version = "1"\nrequires-python = ">=3.11"\n'
    needs = (
        'dependencies = ["django==5.2.19", "pricing"]\n[tool.uv.sources]\npricing = { workspace ='
        " true }\n"
    )
    write_files(
        top,
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["backend", "packages/*"]\n',
            "packages/pricing/pyproject.toml": f'[project]\nname = "pricing"\n{head}{hatch}',
            # Other text each time: a package that was built before comes from the cache, and
            # nothing is said of it.
            "packages/pricing/src/pricing/__init__.py": (
                f'FROM = "this workspace"  # {uuid4().hex}\n'
            ),
            "backend/pyproject.toml": f'[project]\nname = "shop"\n{head}{needs}',
            "backend/.env": "DATABASE_URL=postgres://somebody\n",
            "backend/dump.sql": "x",
            "backend/id_rsa": "x",
        },
    )
    (top / "backend/requirements.txt").unlink()
    settings = top / "backend/shop/settings.py"
    settings.write_text(
        settings.read_text() + 'import pricing\nassert pricing.FROM == "this workspace"\n'
    )
    uv = shutil.which("uv", path=UV)
    assert uv
    subprocess.run(
        [uv, "lock", "-q", "--no-python-downloads", "--python", sys.executable], cwd=top, check=True
    )

    stack.write(backend_path=str((top / "backend").relative_to(ROOT)))
    text = said(stack.fab("up"))
    for line in (
        "builds pricing from",
        "leaves out .env:",
        "leaves out dump.sql:",
        "leaves out id_rsa:",
    ):
        assert line in text
    assert "locks nothing" not in text
    shell = manage("shop", "shell -c 'import pricing; print(pricing.FROM, pricing.__file__)'")
    assert "this workspace /opt/shop/" in on_the_backend(stack, shell)
    assert (
        on_the_backend(
            stack,
            "cd /opt/shop/current/app && find . -name '.env*' -o -name 'id_*' -o -name '*.sql'",
        )
        == ""
    )
    for folder in ("app", "venv/"):
        look = (
            "setpriv --reuid=www-data --regid=www-data --clear-groups ls"
            f" /opt/shop/current/{folder} 2>&1"
        )
        assert "Permission denied" in on_the_backend(stack, look, check=False)
    assert "nothing to do" in said(stack.fab("up"))


@pytest.mark.soak
def test_an_explicit_index_alone_is_asked(stack: Stack, top: Path) -> None:
    """And for nothing else: the rest comes from where this machine gets its packages."""
    with serving() as index:
        index.put("pricing", "98.0", 'FROM = "the explicit index"')
        needs = [
            line
            for line in (top / "backend/requirements.txt").read_text().splitlines()
            if line[:1].isalpha()
        ]
        write_files(
            top,
            {
                "backend/pyproject.toml": (
                    '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'
                    f"dependencies = {[*needs, 'pricing']}\n[tool.uv.sources]\npricing = {{ index ="
                    " 'ours' }\n"
                    f'[[tool.uv.index]]\nname = "ours"\nurl = "{index.url}"\nexplicit = true\n'
                ),
            },
        )
        (top / "backend/requirements.txt").unlink()
        uv = shutil.which("uv", path=UV)
        assert uv
        words = [uv, "lock", "-q", "--no-python-downloads", "--python", sys.executable]
        subprocess.run(words, cwd=top / "backend", check=True)
        stack.write(backend_path=str((top / "backend").relative_to(ROOT)))
        assert "locks nothing" not in said(stack.fab("up"))
        assert {path.split("/")[2] for path in index.asked if path.startswith("/simple/")} == {
            "pricing"
        }
        shell = manage("shop", "shell -c 'import pricing; print(pricing.FROM)'")
        assert "the explicit index" in on_the_backend(stack, shell)


@pytest.mark.soak
def test_a_private_index_and_a_wrong_hash(stack: Stack, top: Path, tmp_path: Path) -> None:
    """With a password in the environment everything comes from the index and the password reaches
    no file; a package that is published again is refused before a host hears of it."""
    with serving(f"ada:{PASSWORD}") as index:
        index.files.update(wheels_of_the_example(tmp_path / "wheels"))
        pins = [
            f"{name.split('-')[0]}=={name.split('-')[1]} --hash=sha256:{sha256(data)}"
            for name, data in index.files.items()
        ]
        where = "--index-url http://ada:${OUR_INDEX_PASSWORD}@" + f"{index.address}/simple"
        (top / "backend/requirements.txt").write_text("\n".join([where, *pins, ""]))
        stack.write(backend_path=str((top / "backend").relative_to(ROOT)))
        stack.kit.variables["OUR_INDEX_PASSWORD"] = PASSWORD
        try:
            text = said(stack.fab("up"))
            assert "locks nothing" not in text and PASSWORD not in text
            assert any("/files/" in path for path in index.asked)
            search = (
                f"grep -rlF {PASSWORD} /opt/shop /etc /var/log /var/lib/shop /run/origin-kit"
                " /var/cache/origin-kit"
            )
            assert on_the_backend(stack, f"{search} 2>/dev/null", check=False) == ""
            assert (
                subprocess.run(
                    ["grep", "-rlF", PASSWORD, str(stack.kit.home)], capture_output=True
                ).stdout
                == b""
            )

            before = on_the_backend(
                stack, "readlink /opt/shop/current; wc -l < /var/log/origin-kit/audit.jsonl"
            )
            processes = stack.processes()
            django = next(
                pin for pin in pins if pin.startswith("django==") or pin.startswith("Django==")
            )
            wrong = [pin if pin != django else f"{django.split(':')[0]}:{'0' * 64}" for pin in pins]
            (top / "backend/requirements.txt").write_text("\n".join([where, *wrong, ""]))
            refused = said(stack.fab("ship", status=1))
            assert (
                "django==5.2.19: what its index has is not what requirements.txt locks (another"
                " hash)" in refused
            )
            assert PASSWORD not in refused
            after = on_the_backend(
                stack, "readlink /opt/shop/current; wc -l < /var/log/origin-kit/audit.jsonl"
            )
            assert (after, stack.processes()) == (before, processes)
        finally:
            del stack.kit.variables["OUR_INDEX_PASSWORD"]
