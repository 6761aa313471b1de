"""What is locked is what is installed, format by format, against indexes on loopback: ours, and a
third party's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rollout import release
from rollout.release import Release, ReleaseError, Target
from rollout.release.needs import requirements
from rollout.release.output import without_asides
from rollout.release.resolving import older
from rollout.release.tools import uv
from rollout.stacks import ROOT
from tests.support.folders import write_files
from tests.support.loopback import Index, fetch_everything_below, serving, wheel

NO = "0" * 64
FORMATS = ["requirements.txt", "uv.lock", "pylock.toml"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_everything_below(tmp_path, monkeypatch)


@pytest.fixture
def ours() -> Iterator[Index]:
    """The project's own index, with all that a project needs, the kit's additions included."""
    with serving() as index:
        for name in ("gunicorn", "django-cors-headers", "pricing"):
            index.put(name, "98.0", "ours = True")
        yield index


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The index that this machine is set up with. A third party has a `pricing` there as well."""
    with serving() as index:
        for version in ("98.0", "99.0"):
            index.put("pricing", version, "ours = False")
        index.put("gunicorn", "98.0", "ours = True")
        index.put("django-cors-headers", "98.0", "ours = True")
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        monkeypatch.delenv("PIP_INDEX_URL", raising=False)
        yield index


def project(folder: Path, **files: str) -> Path:
    texts = {
        "manage.py": "",
        "shop/__init__.py": "",
        "shop/settings.py": "",
        "shop/wsgi.py": "application = print\n",
    }
    write_files(folder, {**texts, **files})
    return folder


def build(
    folder: Path, said: list[str] | None = None, may_build: tuple[str, ...] = (), **target: str
) -> Release:
    say = (said if said is not None else []).append
    return release.build_backend(
        release.local(folder),
        "shop.wsgi:application",
        "shop.settings",
        Target(**target),
        say,
        lambda *_: None,
        may_build,
    )


def digests(built: Release) -> dict[str, str]:
    assert built.wheels
    return {name.split("-")[0]: sha for name, sha in built.wheels.names.items()}


def lock(form: str, index: Index, hashes: dict[str, str], file_url: str = "") -> dict[str, str]:
    """A project's files that lock gunicorn, django-cors-headers and pricing 98.0 with these hashes,
    from `index`."""
    if form == "requirements.txt":
        lines = [f"{name}==98.0 --hash=sha256:{sha}" for name, sha in hashes.items()]
        return {"requirements.txt": "\n".join([f"--index-url {index.url}", *lines, ""])}
    wheels = {name: (file_url or index.file_url(name, "98.0"), sha) for name, sha in hashes.items()}
    if form == "pylock.toml":
        packages = [
            f'[[packages]]\nname = "{name}"\nversion = "98.0"\nindex = "{index.url}"\n'
            f'wheels = [{{ url = "{url}", hashes = {{ sha256 = "{sha}" }} }}]\n'
            for name, (url, sha) in wheels.items()
        ]
        return {
            "pylock.toml": 'lock-version = "1.0"\ncreated-by = "a person"\n' + "\n".join(packages)
        }
    packages = [
        f'[[package]]\nname = "{name}"\nversion = "98.0"\nsource = {{ registry = "{index.url}" }}\n'
        f'wheels = [{{ url = "{url}", hash = "sha256:{sha}" }}]\n'
        for name, (url, sha) in wheels.items()
    ]
    needs = "".join(f'{{ name = "{name}" }},' for name in hashes)
    own = (
        '[[package]]\nname = "shop"\nversion = "1"\nsource = { virtual = "." }\ndependencies ='
        f" [{needs}]\n"
    )
    sources = "".join(f'{name} = {{ index = "ours" }}\n' for name in hashes)
    pyproject = (
        '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies ='
        f' {list(hashes)}\n[tool.uv.sources]\n{sources}[[tool.uv.index]]\nname = "ours"\nurl ='
        f' "{index.url}"\nexplicit = true\n'
    )
    text = 'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n' + "\n".join([*packages, own])
    return {"pyproject.toml": pyproject, "uv.lock": text}


def hashes(index: Index) -> dict[str, str]:
    return {
        name: index.put(name, "98.0", "ours = True")
        for name in ("gunicorn", "django-cors-headers", "pricing")
    }


# ----------------------------------------------------------------------------- dependency confusion


def test_the_docs_name_the_formats_that_are_tested_here() -> None:
    """docs/security.md has it: in its table stands each of them, and none that nothing here
    holds."""
    text = (ROOT / "docs/security.md").read_text()
    _, _, rest = text.partition("\n## Dependency confusion\n")
    chapter = rest.partition("\n## ")[0]
    written_as = [line.split("|")[1] for line in chapter.splitlines() if line.startswith("|")]
    named = re.findall(r"`([\w.-]+\.(?:txt|lock|toml))`", " ".join(written_as))
    assert sorted(named) == sorted(FORMATS)
    assert f"`tests/{Path(__file__).name}`" in chapter


@pytest.mark.parametrize("form", FORMATS)
def test_a_lock_s_own_index_is_the_only_one_asked(
    tmp_path: Path, ours: Index, public: Index, form: str
) -> None:
    """What the lock names comes from where the lock says; the third party's package is not
    even asked for."""
    wanted = hashes(ours)
    built = build(project(tmp_path / "p", **lock(form, ours, wanted)))
    assert digests(built)["pricing"] == wanted["pricing"]
    assert not [path for path in public.asked if "pricing" in path]


@pytest.mark.parametrize("form", FORMATS)
def test_another_hash_than_the_lock_s_is_refused(tmp_path: Path, ours: Index, form: str) -> None:
    """By the package's name, before anything is sent, and nothing of it stays in the cache."""
    wanted = hashes(ours) | {"pricing": NO}
    with pytest.raises(
        ReleaseError, match=r"pricing.*: what its index has is not what .* locks \(another hash\)"
    ):
        build(project(tmp_path / "p", **lock(form, ours, wanted)))
    assert not [path for path in (tmp_path / "cache/wheels").iterdir() if path.name != ".lock"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_package_that_was_published_again_is_refused(
    tmp_path: Path, ours: Index, form: str
) -> None:
    """The same name and version, other content: the lock was made of the one before."""
    files = lock(form, ours, hashes(ours))
    ours.put("pricing", "98.0", "ours = 'no longer'")
    with pytest.raises(ReleaseError, match=r"pricing.* \(another hash\)"):
        build(project(tmp_path / "p", **files))


def test_a_list_s_own_index_is_the_one_asked(tmp_path: Path, ours: Index, public: Index) -> None:
    """uv would take the index of its environment first; without hashes the third party's newer
    package would win."""
    text = f"--index-url {ours.url}\npricing\ngunicorn\ndjango-cors-headers\n"
    built = build(project(tmp_path / "p", **{"requirements.txt": text}))
    assert digests(built)["pricing"] == hashes(ours)["pricing"]
    assert not [path for path in public.asked if "pricing" in path]


def test_an_extra_index_wins_over_the_public_one(
    tmp_path: Path, ours: Index, public: Index
) -> None:
    """The first index that knows a name is the only one for it, whatever versions others offer."""
    text = f"--extra-index-url {ours.url}\npricing\ngunicorn\ndjango-cors-headers\n"
    assert (
        digests(build(project(tmp_path / "p", **{"requirements.txt": text})))["pricing"]
        == hashes(ours)["pricing"]
    )


@pytest.mark.parametrize(
    ("toml", "wanted"),
    [
        (
            "[tool.uv.sources]\npricing = { workspace = true }",
            r"\[tool.uv.sources\] says .*; run `uv lock`",
        ),
        ("[tool.uv.sources]\npricing = { path = '../pricing' }", r"where pricing is from"),
        (
            "[tool.uv.sources]\npricing = { git = 'https://git.invalid/pricing' }",
            r"where pricing is from",
        ),
        ("[tool.uv.sources]\npricing = { index = 'ours' }", r"where pricing is from"),
        (
            "[tool.uv.sources]\npricing = { url = 'https://files.invalid/pricing.whl' }",
            r"where pricing is from",
        ),
        (
            "[tool.poetry.dependencies]\npricing = { path = '../pricing' }",
            r"where pricing is from; run `poetry lock`",
        ),
        (
            "[tool.poetry.dependencies]\npricing = { version = '1', source = 'ours' }",
            r"where pricing is from",
        ),
        (
            "[[tool.poetry.source]]\nname = 'ours'\nurl = 'https://ours.invalid'",
            r"names sources of its own",
        ),
        (
            "[[tool.pdm.source]]\nname = 'ours'\nurl = 'https://ours.invalid'",
            r"sources of its own; run `pdm lock`",
        ),
    ],
)
def test_sources_of_a_lock_are_never_resolved_past(
    tmp_path: Path, public: Index, toml: str, wanted: str
) -> None:
    """Without a lock a list of names says less than the project does: it stops, with the command
    that locks."""
    text = f'[project]\nname = "shop"\nversion = "1"\ndependencies = ["pricing"]\n{toml}\n'
    with pytest.raises(ReleaseError, match=wanted):
        build(project(tmp_path / "p", **{"pyproject.toml": text}))
    assert public.asked == []


def test_a_list_next_to_such_a_source_is_refused_too(tmp_path: Path, public: Index) -> None:
    """`requirements.txt` has only the name; with its hash, or from a folder, the list says
    enough."""
    toml = (
        '[project]\nname = "shop"\nversion = "1"\n[tool.uv.sources]\nPricing = { workspace ='
        " true }\n"
    )
    with pytest.raises(
        ReleaseError, match=r"pricing is from elsewhere by \[tool.uv.sources\] in .*; run `uv lock`"
    ):
        build(
            project(tmp_path / "p", **{"pyproject.toml": toml, "requirements.txt": "pricing>=1\n"})
        )
    assert public.asked == []


@pytest.mark.parametrize(
    "text", ["packages = 1\n", "packages = [1]\n", '[[packages]]\nname = "x"\nwheels = [1]\n']
)
def test_a_lock_that_is_none_is_an_error_and_no_traceback(tmp_path: Path, text: str) -> None:
    """Whatever somebody has written into it."""
    with pytest.raises(ReleaseError, match=r"pylock\.toml is no lock that can be read"):
        build(project(tmp_path / "p", **{"pylock.toml": 'lock-version = "1.0"\n' + text}))


AWAY = "https://files.invalid/pricing-1"
PYLOCK = 'lock-version = "1.0"\ncreated-by = "a person"\n[[packages]]\nname = "pricing"\n'


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"requirements.txt": "-e git+file:///nowhere/pricing#egg=pricing\n"}, r"pricing|Git"),
        ({"requirements.txt": "-e ../pricing\n"}, r"`-e \.\./pricing` is a folder of this machine"),
        (
            {"requirements.txt": "pricing @ file:///elsewhere/pricing\n"},
            r"is a folder of this machine",
        ),
        (
            {"requirements.txt": "-r https://elsewhere.invalid/more.txt\n"},
            r"needs https://elsewhere.invalid/more.txt",
        ),
        (
            {
                "pylock.toml": (
                    PYLOCK
                    + 'vcs = { type = "git", url = "https://git.invalid/pricing", commit-id ='
                    ' "abc" }\n'
                )
            },
            (
                r"pricing is from the repository"
                r" git\+https://git.invalid/pricing@abc.*`build_sdists: \[pricing\]`"
            ),
        ),
        (
            {"pylock.toml": PYLOCK + 'directory = { path = "../pricing" }\n'},
            r"pricing is the folder .*outside of",
        ),
        (
            {
                "pylock.toml": (
                    PYLOCK
                    + f'archive = {{ url = "{AWAY}.tar.gz", hashes = {{ sha256 = "00" }} }}\n'
                )
            },
            r"no wheel for .* of pricing",
        ),
        ({"pylock.toml": PYLOCK}, r"pricing has neither a wheel nor a source"),
        (
            {
                "pylock.toml": (
                    PYLOCK + f'version = "1"\nwheels = [{{ url = "{AWAY}-py3-none-any.whl" }}]\n'
                )
            },
            r"pricing has no sha256",
        ),
    ],
)
def test_a_source_that_can_t_be_honoured_is_refused_by_name(
    tmp_path: Path, public: Index, files: dict[str, str], wanted: str
) -> None:
    """A folder, a repository, an archive: never replaced by a package of the same name from an
    index."""
    with pytest.raises(ReleaseError, match=wanted):
        build(project(tmp_path / "p", **files))
    assert not [path for path in public.asked if "pricing" in path]


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (
            "gunicorn==98.0 --hash=sha256:{gunicorn}\npricing==98.0\n",
            r"a --hash for some .* none for pricing",
        ),
        (
            "gunicorn==98.0 --hash=sha256:{gunicorn}\nabove==1.0 --hash=sha256:{above}\n",
            r"pricing is needed too",
        ),
    ],
)
def test_what_is_locked_in_part_is_not_locked(
    tmp_path: Path, ours: Index, lines: str, wanted: str
) -> None:
    """As pip has it: one hash means that every package has one, those that others need included."""
    known = hashes(ours) | {"above": ours.put("above", "1.0", "", "pricing")}
    with pytest.raises(ReleaseError, match=wanted):
        build(
            project(
                tmp_path / "p",
                **{"requirements.txt": f"--index-url {ours.url}\n" + lines.format(**known)},
            )
        )


def test_a_package_by_its_address_is_not_added_a_second_time(tmp_path: Path, ours: Index) -> None:
    """A wheel that a list names by its URL counts with the version in its name."""
    urls = [
        f"{name} @ {ours.file_url(name, '98.0')}" for name in ("gunicorn", "django-cors-headers")
    ]
    built = build(project(tmp_path / "p", **{"requirements.txt": "\n".join([*urls, ""])}))
    assert sorted(digests(built)) == ["django_cors_headers", "gunicorn"]
    assert not [path for path in ours.asked if path.startswith("/simple")]


# --------------------------------------------------------------------------------------- workspaces


def workspace(top: Path, locked: bool = True) -> Path:
    """A uv workspace whose lock is at the top, the Django project one of its members; returns that
    member."""
    hatch = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    head = 'version = "1"\nrequires-python = ">=3.11"\n'
    files = {
        "pyproject.toml": '[tool.uv.workspace]\nmembers = ["apps/*", "packages/*"]\n',
        "packages/pricing/pyproject.toml": f'[project]\nname = "pricing"\n{head}{hatch}',
        "packages/pricing/src/pricing/__init__.py": "ours = True\n",
        "apps/shop/pyproject.toml": (
            f'[project]\nname = "shop"\n{head}dependencies = ["pricing", "gunicorn", '
            '"django-cors-headers"]\n[tool.uv.sources]\npricing = { workspace = true }\n'
        ),
    }
    member = project(top / "apps/shop")
    project(top, **files)
    (top / "manage.py").unlink()
    if locked:
        uv("lock", "-q", "--no-python-downloads", at=top).check_returncode()
    return member


def test_the_lock_of_a_workspace_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of that name is the workspace's, whatever the index has, and nothing is left
    next to its source. Asks the real index."""
    member = workspace(tmp_path / "ws")
    said: list[str] = []
    built = build(member, said)
    assert built.wheels
    names = [name for name in built.wheels.names if name.startswith("pricing")]
    assert names == ["pricing-1-py3-none-any.whl"]
    assert any("builds pricing from" in line for line in said)
    assert not any("locks nothing" in line for line in said)
    assert sorted(path.name for path in (tmp_path / "ws/packages/pricing").iterdir()) == [
        "pyproject.toml",
        "src",
    ]
    (tmp_path / "ws/packages/pricing/src/pricing/__init__.py").write_text("ours = 2\n")
    assert build(member).id != built.id


def test_a_workspace_without_a_lock_is_refused(tmp_path: Path, public: Index) -> None:
    """The cure is one command, and nobody is asked for a package of that name meanwhile."""
    with pytest.raises(
        ReleaseError, match=r"uv workspace .*/ws, which has no uv\.lock; run `uv lock` there"
    ):
        build(workspace(tmp_path / "ws", locked=False))
    assert public.asked == []


def test_a_package_of_the_same_repository_is_built_from_there(tmp_path: Path, ours: Index) -> None:
    """`./packages/pricing` in a requirements file: from the folder, not by its name. Asks the real
    index."""
    files = {
        "packages/pricing/setup.py": (
            "import setuptools\n"
            "setuptools.setup(name='pricing', version='7', py_modules=['pricing'])\n"
        ),
        "packages/pricing/pricing.py": "ours = True\n",
        "requirements.txt": (
            f"--extra-index-url {ours.url}\n-e ./packages/pricing\n"
            "gunicorn==98.0\ndjango-cors-headers==98.0\n"
        ),
    }
    built = build(project(tmp_path / "p", **files))
    assert built.wheels
    assert "pricing-7-py3-none-any.whl" in built.wheels.names
    assert not [path for path in ours.asked if "pricing" in path]


# ------------------------------------------------------------------------------------ the kit's own


def test_the_kit_s_additions_are_of_its_own_list(tmp_path: Path) -> None:
    """By the kit's hashes, in a second step; what the project locks stays as it is. Asks the real
    index."""
    said: list[str] = []
    built = build(project(tmp_path / "p", **{"requirements.txt": "django==4.1.13\n"}), said)
    from rollout.release.additions import LIST

    known = {
        one.name: one.sha256
        for one in LIST
        if one.pin in ("gunicorn==27.0.1", "django-cors-headers==4.4.0")
    }
    found = digests(built)
    assert found["gunicorn"] == known["gunicorn"]
    assert found["django_cors_headers"] == known["django-cors-headers"]  # 4.9 is for newer Djangos
    assert built.wheels and "Django-4.1.13-py3-none-any.whl" in built.wheels.names


def test_the_kit_s_list_says_what_its_wheels_need(tmp_path: Path) -> None:
    """`needs` is the wheel's own metadata. Asks the real index."""
    import email
    import subprocess
    import sys
    import zipfile

    from packaging.requirements import Requirement

    from rollout.release.additions import LIST

    for one in LIST:
        asked = tmp_path / "asked.txt"
        asked.write_text(one.line + "\n")
        words = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--require-hashes",
            "-d",
            str(tmp_path),
        ]
        subprocess.run([*words, "-r", str(asked)], check=True)
        name, _, version = one.pin.partition("==")
        with zipfile.ZipFile(
            next(tmp_path.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
        ) as archive:
            path = next(path for path in archive.namelist() if path.endswith(".dist-info/METADATA"))
            declared = email.message_from_bytes(archive.read(path)).get_all("Requires-Dist") or []
        plain = {
            (need.name.lower(), str(need.specifier))
            for need in map(Requirement, declared)
            if not need.marker
        }
        assert plain == {(need.name, str(need.specifier)) for need in map(Requirement, one.needs)}


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (
            {"gunicorn": "20.1"},
            r"has gunicorn==20\.1, and the kit needs gunicorn>=22; raise it there, or leave it out",
        ),
        (
            {"django-cors-headers": "3.4", "gunicorn": "98.0"},
            r"django-cors-headers==3\.4, and the kit needs .*>=3\.5",
        ),
        (
            {"gunicorn": "98.0"},
            r"has no django, and the kit's django-cors-headers==3\.14\.0 needs django>=3\.2",
        ),
        (
            {"gunicorn": "98.0", "django": "3.1"},
            r"has django==3\.1, and the kit's .* needs django>=3\.2; change that",
        ),
    ],
)
def test_a_conflict_with_the_kit_s_own_needs_is_a_message(
    tmp_path: Path, ours: Index, names: dict[str, str], wanted: str
) -> None:
    """Never another version than the locked one."""
    lines = "".join(
        f"{name}=={version} --hash=sha256:{ours.put(name, version)}\n"
        for name, version in names.items()
    )
    with pytest.raises(ReleaseError, match=wanted):
        build(project(tmp_path / "p", **{"requirements.txt": f"--index-url {ours.url}\n{lines}"}))


# -------------------------------------------------------------------------------------- credentials

PASSWORD = "open-sesame-4711"


@pytest.mark.parametrize("way", ["variables", "URL", "netrc", "pip's variable"])
@pytest.mark.parametrize("form", FORMATS)
def test_credentials_work_as_in_uv_and_pip_and_stay_here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    form: str,
    way: str,
) -> None:
    """From an explicit index with a password everything arrives, and the password is in no output,
    no file of the cache and nothing that is sent."""
    with serving(f"ada:{PASSWORD}") as index:
        files = lock(form, index, hashes(index))
        match way:
            case "variables":
                if form != "uv.lock":
                    monkeypatch.setenv("UV_INDEX", f"ours={index.url}")
                monkeypatch.setenv("UV_INDEX_OURS_USERNAME", "ada")
                monkeypatch.setenv("UV_INDEX_OURS_PASSWORD", PASSWORD)
                files = {
                    name: text.replace(f"--index-url {index.url}\n", "")
                    for name, text in files.items()
                }
            case "URL":
                monkeypatch.setenv("TOKEN", PASSWORD)
                monkeypatch.setenv("UV_INDEX", index.url_with_user)
                with_token = "--index-url http://ada:${TOKEN}@" + index.address + "/simple"
                files = {
                    name: text.replace(f"--index-url {index.url}", with_token)
                    for name, text in files.items()
                }
            case "netrc":
                netrc = tmp_path / "netrc"
                netrc.write_text(f"machine 127.0.0.1\nlogin ada\npassword {PASSWORD}\n")
                netrc.chmod(0o600)
                monkeypatch.setenv("NETRC", str(netrc))
            case "pip's variable":
                monkeypatch.setenv("PIP_INDEX_URL", index.url_with_user)
                files = {
                    name: text.replace(f"--index-url {index.url}\n", "")
                    for name, text in files.items()
                }
        said: list[str] = []
        built = build(project(tmp_path / "p", **files), said)
        assert built.wheels
        facts: Any = {"releases": [], "venvs": []}
        archive = built.archive(facts, lambda *_: None)
        assert archive
        monkeypatch.delenv("NETRC", raising=False)
        for path in (tmp_path / "cache").rglob("*"):
            if path.is_file() and path.suffix in ("", ".json", ".txt", ".toml"):
                assert PASSWORD not in path.read_text(errors="replace"), path
        orders = built.orders(facts, "shop", "ada", archive=archive)
        assert PASSWORD not in "".join([*said, *capfd.readouterr(), str(orders), repr(built)])


KEYRING = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
case "$*" in
  "--mode=creds --output=json get "*) echo '{{"username": "ada", "password": "{password}"}}' ;;
  "get "*" ada") echo {password} ;;
  *) exit 1 ;;
esac
"""  # as the program of that name answers pip and uv


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `keyring` that knows ada's password; the file where it writes what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "keyring").write_text(KEYRING.format(password=PASSWORD))
    (folder / "keyring").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "asked"


@pytest.mark.parametrize(
    "way", ["uv's variable", "pip's variable", "pyproject.toml", "pip's configuration"]
)
@pytest.mark.parametrize("form", FORMATS)
def test_a_keyring_is_asked_where_uv_or_pip_is_asked_to(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    keyring: Path,
    form: str,
    way: str,
) -> None:
    """Whichever of the two is set to it, both log in; the password is nowhere afterwards."""
    with serving(f"ada:{PASSWORD}") as index:
        with_user = f"http://ada@{index.address}/simple"
        files = {
            name: (
                text.replace(f"--index-url {index.url}", f"--index-url {with_user}").replace(
                    f'url = "{index.url}"\nexplicit', f'url = "{with_user}"\nexplicit'
                )
            )
            for name, text in lock(form, index, hashes(index)).items()
        }
        if form == "pylock.toml":
            monkeypatch.setenv("UV_INDEX", f"ours={index.url}")
            monkeypatch.setenv("UV_INDEX_OURS_USERNAME", "ada")
        match way:
            case "uv's variable":
                monkeypatch.setenv("UV_KEYRING_PROVIDER", "subprocess")
            case "pip's variable":
                monkeypatch.setenv("PIP_KEYRING_PROVIDER", "subprocess")
            case "pip's configuration":
                config = Path(os.environ["HOME"]) / ".config" / "pip" / "pip.conf"
                config.parent.mkdir(parents=True)
                config.write_text("[global]\nkeyring-provider = subprocess\n")
            case "pyproject.toml":
                asked = '[tool.uv]\nkeyring-provider = "subprocess"\n'
                files["pyproject.toml"] = files.get("pyproject.toml", "") + asked
        said: list[str] = []
        built = build(project(tmp_path / "p", **files), said)
    assert built.wheels and index.address in keyring.read_text()
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file() and path.suffix in ("", ".json", ".txt", ".toml"):
            assert PASSWORD not in path.read_text(errors="replace"), path
    assert PASSWORD not in "".join([*said, *capfd.readouterr(), repr(built)])


def test_a_keyring_that_nobody_speaks_of_is_not_asked(tmp_path: Path, keyring: Path) -> None:
    """And the message says how it would be."""
    with serving(f"ada:{PASSWORD}") as index:
        files = lock("requirements.txt", index, hashes(index))
        with pytest.raises(
            ReleaseError, match=r"UV_KEYRING_PROVIDER=subprocess and a user in the index's URL"
        ):
            build(project(tmp_path / "p", **files))
    assert not keyring.exists()


def test_a_keyring_that_is_not_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_KEYRING_PROVIDER", "subprocess")
    with serving(f"ada:{PASSWORD}") as index:
        files = lock("pylock.toml", index, hashes(index))
        with pytest.raises(ReleaseError, match="there is no program `keyring` on PATH: install it"):
            build(project(tmp_path / "p", **files))


def test_a_wrong_password_is_said_without_it(tmp_path: Path) -> None:
    """The message says that an index asks for one, and how it is given."""
    with serving("ada:right") as index:
        files = lock("pylock.toml", index, hashes(index))
        with pytest.raises(
            ReleaseError, match=r"asks for a user and password.*UV_INDEX_<NAME>_USERNAME"
        ) as problem:
            build(project(tmp_path / "p", **files))
        lines = f"--index-url http://ada:{PASSWORD}@{index.address}/simple\npricing\n"
        with pytest.raises(ReleaseError) as other:
            build(project(tmp_path / "q", **{"requirements.txt": lines}))
    for one in (problem.value, other.value):
        assert PASSWORD not in f"{one}{one.detail}"


# -------------------------------------------------------------------------------- markers, messages


@pytest.mark.parametrize(
    ("full", "taken"), [("3.11.2", True), ("3.11.1", False), ("3.11.2+", True)]
)
def test_markers_are_of_the_host_s_full_version(
    tmp_path: Path, ours: Index, full: str, taken: bool
) -> None:
    """`python_full_version` is compared with all three numbers of the host's Python."""
    text = (
        f"--index-url {ours.url}\npricing ; python_full_version >="
        " '3.11.2'\ngunicorn\ndjango-cors-headers\n"
    )
    built = build(project(tmp_path / "p", **{"requirements.txt": text}), full=full)
    assert ("pricing" in digests(built)) is taken


def test_warnings_are_no_reason() -> None:
    """A warning, and the lines that belong to it, are left out of what a tool gives as its
    reason."""
    said = (
        "warning: X fails\n  cause: it is broken\n\n     [stderr]\n     more\nerror: No solution\n "
        " cause: because\n"
    )
    said += "\nhint: consider `--python-version`\n  or another\n"
    assert without_asides(said).split() == ["error:", "No", "solution", "cause:", "because"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("psycopg2", "psycopg2-binary"),
        ("psycopg-c", r"psycopg\[binary\]"),
        ("mysqlclient", "PyMySQL"),
    ],
)
def test_a_package_without_a_wheel_comes_with_the_way_out(
    tmp_path: Path, ours: Index, name: str, wanted: str
) -> None:
    """What is usually taken instead, and the project's other requirements."""
    ours.files[f"{name.replace('-', '_')}-1.0.tar.gz"] = b"x"
    files = {
        "requirements.txt": f"--index-url {ours.url}\n{name}==1.0\n",
        "requirements/local.txt": "",
        "requirements/production.txt": "",
    }
    with pytest.raises(
        ReleaseError, match=rf"instead of {name}: {wanted}.*`requirements: requirements/prod"
    ):
        build(project(tmp_path / "p", **files))


@pytest.mark.parametrize(
    "line", ["./own-1.0-py3-none-any.whl[more]", "own[more] @ ./own-1.0-py3-none-any.whl"]
)
def test_extras_of_the_project_s_own_packages_count(tmp_path: Path, ours: Index, line: str) -> None:
    """As they do for a package of an index; a marker behind them too."""
    file, data = wheel("own", "1.0", "", "pricing==98.0 ; extra == 'more'\nProvides-Extra: more")
    text = f"--index-url {ours.url}\ngunicorn\ndjango-cors-headers\n{line} ; python_version > '3'\n"
    folder = project(tmp_path / "p", **{"requirements.txt": text})
    (folder / file).write_bytes(data)
    assert {"own", "pricing"} <= digests(build(folder)).keys()


def test_the_folder_above_is_the_project_s_package(tmp_path: Path) -> None:
    """`..[test]`, as a site that shows a package off has it, is that folder and no package of an
    index."""
    folder = project(
        tmp_path / "p/site", **{"requirements.txt": "..[test]\n-e ..[a,b] ; python_version > '3'\n"}
    )
    (tmp_path / "p/pyproject.toml").write_text("[project]\nname = 'own'\nversion = '1'\n")
    (tmp_path / "p/.git").mkdir()
    found = requirements(replace(release.local(folder), roof=tmp_path / "p"))
    assert found.text == f"{tmp_path}/p[test]\n{tmp_path}/p[a,b] ; python_version > '3'\n"
    assert set(found.local) == {tmp_path / "p"}


def test_a_version_that_is_older_for_want_of_a_wheel_is_reported(
    tmp_path: Path, ours: Index
) -> None:
    """Without a lock the newest with a wheel is taken, which may be years old; a pin is a
    choice."""
    ours.put("search", "1.0")
    ours.put("search", "2.1.dev0")
    ours.files["search-2.0.tar.gz"] = b"x"
    text = f"--index-url {ours.url}\ngunicorn\ndjango-cors-headers\n"
    said: list[str] = []
    build(project(tmp_path / "a", **{"requirements.txt": text + "search>=1\n"}), said)
    assert any(
        "takes search 1.0, since newer versions have no wheel; for the newest, ask for"
        " `search>=2.0`" in line
        for line in said
    )
    assert not any("takes gunicorn" in line for line in said)
    said.clear()
    build(project(tmp_path / "b", **{"requirements.txt": text + "search==1.0\n"}), said)
    assert not any("takes search" in line for line in said)


def test_an_old_wheel_may_have_a_newer_version_without_one() -> None:
    """By the time that the index got it; what is young, or built here, is not asked about."""

    def package(name: str, **more: object) -> dict[str, object]:
        return {"name": name, "version": "1", "wheels": [{"url": "https://x.org/a.whl", **more}]}

    times = {"old": datetime(2020, 1, 1, tzinfo=UTC), "young": datetime.now(UTC)}
    lock = {
        "packages": [
            *(package(name, **{"upload-time": time}) for name, time in times.items()),
            package("direct"),
            package("deep"),
            {"name": "built", "version": "1", "directory": {"path": "."}},
        ]
    }
    assert older(lock, {"direct", "young"}) == [("old", "1"), ("direct", "1")]


def test_building_is_not_offered_for_what_is_compiled(tmp_path: Path, ours: Index) -> None:
    """All that has no wheel is reported at once; only what may be pure Python can be allowed; a
    file that names it too, or is read already, is no way out."""
    for name in ("uwsgi", "promise", "pglocks"):
        ours.files[f"{name}-1.0.tar.gz"] = b"x"
    files = {
        "requirements.txt": "-r requirements/production.txt\n",
        "requirements/production.txt": (
            f"--index-url {ours.url}\nuwsgi==1.0\npromise==1.0\npglocks==1.0\n"
        ),
        "requirements/base.txt": "gunicorn\n",
    }
    with pytest.raises(ReleaseError) as problem:
        build(project(tmp_path / "p", **files))
    said = str(problem.value)
    assert "of pglocks, promise, uwsgi" in said and "; building from source" in said
    assert "`build_sdists: [pglocks, promise]` (the others are compiled" in said
    assert "`requirements: requirements/base.txt`" in said
    del ours.files["promise-1.0.tar.gz"], ours.files["pglocks-1.0.tar.gz"]
    (tmp_path / "p/requirements.txt").write_text(f"--index-url {ours.url}\nuwsgi==1.0\n")
    with pytest.raises(ReleaseError) as problem:
        build(tmp_path / "p")
    assert "build_sdists" not in str(problem.value)


def test_a_python_that_is_too_old_is_one_message(tmp_path: Path, ours: Index) -> None:
    """uv's hint names an option that nobody can set here; the way to another Debian holds for hosts
    that are there."""
    ours.put("django", "6.0", "x = 1", "gunicorn\nRequires-Python: >=3.12")
    with pytest.raises(ReleaseError) as problem:
        build(
            project(
                tmp_path / "p", **{"requirements.txt": f"--index-url {ours.url}\ndjango==6.0\n"}
            ),
            full="3.11.2",
        )
    said = f"{problem.value}\n{problem.value.detail}"
    assert "--python-version" not in said
    assert (
        "`image: trixie`" in said
        and "`fab down` and `fab up` where nothing was shipped yet" in said
    )


# --------------------------------------------------------------------------------------- which file


@pytest.mark.parametrize(
    ("files", "named", "found"),
    [
        (
            {"requirements/production.txt": "a\n", "requirements/local.txt": "b\n"},
            "",
            "production.txt",
        ),
        ({"requirements/production.txt": "a\n", "requirements.txt": "b\n"}, "", "requirements.txt"),
        (
            {"requirements/prod.txt": "a\n", "requirements.txt": "b\n"},
            "requirements/prod.txt",
            "prod.txt",
        ),
        (
            {"pylock.prod.toml": PYLOCK, "requirements.txt": "b\n"},
            "pylock.prod.toml",
            "pylock.prod.toml",
        ),
    ],
)
def test_the_file_that_the_stack_names_is_read(
    tmp_path: Path, files: dict[str, str], named: str, found: str
) -> None:
    """`requirements:` wins; without it production's list is found where there is no other."""
    assert requirements(release.local(project(tmp_path / "p", **files)), named).file == found


@pytest.mark.parametrize(
    ("files", "named", "wanted"),
    [
        (
            {"requirements/dev.txt": "a\n"},
            "",
            r"says nowhere what it needs .*`requirements: requirements/dev.txt`",
        ),
        ({}, "gone.txt", r"requirements: .*gone.txt does not exist; correct it"),
        ({}, "../elsewhere.txt", r"requirements: .* is outside of the repository"),
        ({"requirements.txt": "-r requirements.txt\n"}, "", r"requirements.txt includes itself"),
        (
            {"pyproject.toml": "[tool.poetry.dependencies]\ndjango = '5'\n"},
            "",
            r"only read by poetry, .* no lock",
        ),
    ],
)
def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, files: dict[str, str], named: str, wanted: str
) -> None:
    """With another one of the project's, where there is one."""
    with pytest.raises(ReleaseError, match=wanted):
        requirements(release.local(project(tmp_path / "p", **files)), named)
