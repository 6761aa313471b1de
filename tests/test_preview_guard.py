"""A preview is given nothing of another environment: neither a secret nor a database, by value and
before anything starts; and its own secrets come from their own set alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.core import exits
from infra.core.contract import Contract
from infra.core.keys.previews import PASSWORD
from infra.core.settings import Settings
from rollout import outputs, secret_values, stacks
from rollout.outputs import Outputs
from rollout.previews import guard
from rollout.previews.guard import GuardError
from rollout.secret_values import SecretsError
from tests.support.gated import PREVIEW, preview_of
from tests.test_render import load

REAL = stacks.ROOT
TOKEN = "live-0123456789"
STAGING_ENV = {
    "LANGUAGE": "en-gb-and-more",
    "CACHE_URL": "rediss://:hush@cache.example.com:6380/0",
}
STAGING_SECRETS = {
    "PAYMENT_KEY": TOKEN,
    "DATABASE_URL": "postgres://shop:p%40ssw0rd-of-staging@db.example.com/shop",
    "PIN": "1234",
    "EMPTY": "",
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a `staging` on a cloud, a `local`, and the template of previews."""
    (tmp_path / "Pulumi.yaml").write_text((REAL / "Pulumi.yaml").read_text())
    (tmp_path / "stacks").mkdir()
    monkeypatch.setattr(stacks, "ROOT", tmp_path)
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/backend")
    config(tmp_path, "staging", cloud="aws", domain="shop.example", env=STAGING_ENV)
    config(tmp_path, "local", cloud="local")
    config(tmp_path, PREVIEW, cloud="local")
    secrets(tmp_path, "staging", STAGING_SECRETS)
    state(tmp_path, "staging", load("local-ip"))
    return tmp_path


def config(folder: Path, stack: str, **values: Any) -> None:
    written = {f"origin-kit:{name}": value for name, value in values.items()}
    path = folder / "stacks" / f"Pulumi.{stack}.yaml"
    path.write_text(yaml.safe_dump({"config": written}))


def secrets(folder: Path, stack: str, values: dict[str, str]) -> None:
    path = folder / "stacks" / f"{stack}.secrets"
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    path.chmod(0o600)


def state(folder: Path, stack: str, contract: Contract) -> None:
    """What `pulumi up` has noted of a stack, in a file backend."""
    path = folder / "backend/.pulumi/stacks/origin-kit" / f"{stack}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    noted = {"type": "pulumi:pulumi:Stack", "outputs": {"contract": contract.to_json()}}
    path.write_text(json.dumps({"checkpoint": {"latest": {"resources": [noted]}}}))


def given(env: dict[str, str] | None = None, **own: str) -> Outputs:
    """A preview's outputs, its secrets as Pulumi has them."""
    contract = preview_of(load("local-ip"))
    application = dataclasses.replace(contract.application, env=env or {})
    return Outputs(dataclasses.replace(contract, application=application), own)


def of(stack: str, **values: Any) -> Settings:
    required = {"application": "shop", "wsgi": "shop.wsgi", "settings": "shop.settings"}
    return Settings.of(stack, cloud="local", frontend_path="site", **required, **values)


# Variables of the config, secrets → what the refusal says.
FOREIGN: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "a secret": ({}, {"KEY": TOKEN}, "KEY (its secrets) is a secret of staging"),
    "a secret as a plain variable": ({"KEY": TOKEN}, {}, f"KEY (stacks/Pulumi.{PREVIEW}.yaml) is"),
    "a short secret of the same name": ({}, {"PIN": "1234"}, "stacks/staging.secrets: PIN"),
    "the database": (
        {},
        {"DATABASE_URL": STAGING_SECRETS["DATABASE_URL"]},
        "a secret of staging (stacks/staging.secrets: DATABASE_URL)",
    ),
    "the database as somebody else": (
        {"DATABASE_URL": "postgresql+psycopg://me:mine@DB.example.com/shop/"},
        {},
        "the URL of a database of staging (stacks/staging.secrets: DATABASE_URL)",
    ),
    "its password alone": ({}, {"DB_PASSWORD": "p@ssw0rd-of-staging"}, "a secret of staging"),
    "its password for another database": (
        {},
        {"DATABASE_URL": "postgres://shop:p%40ssw0rd-of-staging@elsewhere.example.com/x"},
        "a secret of staging",
    ),
    "a cache in the config": (
        {"CACHE_URL": "rediss://cache.example.com:6380/0"},
        {},
        "the URL of a database of staging (stacks/Pulumi.staging.yaml: CACHE_URL)",
    ),
    "a database on its host": (
        {"DATABASE_URL": "mysql://me:mine@10.213.7.74/mine"},
        {},
        "a URL of a server on a host of staging",
    ),
    "a database on its host by name": (
        {},
        {"DATABASE_URL": "postgres://me:mine@api.shop.example:5432/mine"},
        "a URL of a server on a host of staging",
    ),
    "its host in a variable": ({"PGHOST": "10.213.7.74"}, {}, "PGHOST"),
    "its host with a port": ({"DB_HOST": "10.213.7.74:5432"}, {}, "a host of staging"),
}

OWN: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "values of its own": ({"LANGUAGE": "de"}, {"KEY": "preview-0123456789"}),
    "a plain value that others have": ({"LANGUAGE": "en-gb-and-more"}, {}),
    "a short value under another name": ({"RETRIES": "1234"}, {"CODE": "1234"}),
    "nothing": ({}, {"EMPTY": ""}),
    "another database of the same server": (
        {"DATABASE_URL": "postgres://me:mine@db.example.com/preview"},
        {},
    ),
    "a database on its own host": (
        {"DATABASE_URL": "postgres://me:mine@localhost/shop", "DB_HOST": "127.0.0.1"},
        {},
    ),
    "no URL at all": ({"DATABASE_URL": "postgres://[half", "A": "sqlite:////srv/db.sqlite3"}, {}),
    "an API of that environment": ({"SHOP": "https://api.shop.example/"}, {}),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_another_environments_is_refused(case: str) -> None:
    """Whoever reads the secrets of a preview is stopped, and no value is quoted."""
    env, own, said = FOREIGN[case]
    with pytest.raises(GuardError) as caught:
        secret_values.read(given(env, **own))
    assert said in str(caught.value)
    assert "stacks/preview.secrets" in str(caught.value)
    assert caught.value.exit_status == exits.USAGE
    for value in (*env.values(), *own.values()):
        assert value not in str(caught.value)


@pytest.mark.parametrize("case", OWN)
def test_what_is_its_own_is_not(case: str) -> None:
    env, own = OWN[case]
    assert secret_values.read(given(env, **own)) == own


def test_another_environment_may_share_what_it_likes() -> None:
    contract = load("local-ip")
    assert secret_values.read(Outputs(contract, {"KEY": TOKEN}))["KEY"] == TOKEN


def test_previews_share_their_own_set(project: Path) -> None:
    """Two previews are no environments to each other."""
    secrets(project, "preview", {"KEY": "of-all-previews"})
    config(project, "preview-b-12345678", cloud="local", env={"KEY": "of-all-previews"})
    assert secret_values.read(given()) == {"KEY": "of-all-previews"}


def refused() -> set[str]:
    """The cases that the check refuses."""
    found = set()
    for case, (env, own, _) in FOREIGN.items():
        try:
            secret_values.read(given(env, **own))
        except GuardError:
            found.add(case)
    return found


def nothing(*_: object) -> Any:
    return ""


MUTATIONS: dict[str, tuple[str, Callable[..., Any]]] = {
    "no other environment is read": ("_others", lambda: []),
    "secrets are not compared": ("_same_secret", nothing),
    "databases are not compared": ("_same_server", nothing),
    "secrets files are not read": ("_lines", lambda path: []),
    "configs are not read": ("_env", lambda values: {}),
    "hosts are not known": ("_hosts", lambda stack, values: []),
    "hosts are compared as they are written": ("_host", str),
    "any length is chance": ("_SHORTEST", 1000),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_cases_notice_a_check_that_is_broken(
    mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part of the check is needed: with it taken out, some case goes through."""
    assert refused() == set(FOREIGN)
    monkeypatch.setattr(guard, *MUTATIONS[mutation])
    assert refused() < set(FOREIGN)


def test_it_is_refused_before_anything_is_made(project: Path) -> None:
    """From the files alone: `fab up` and `fab preview.up` ask before the infrastructure."""
    settings = of(PREVIEW, branch="b")
    guard.refuse_before(settings)
    secrets(project, "preview", {"KEY": TOKEN})
    with pytest.raises(GuardError, match="KEY"):
        guard.refuse_before(settings)
    guard.refuse_before(of("local", env={"KEY": TOKEN}))


def test_a_secret_that_was_copied_with_its_encryption_is_refused(project: Path) -> None:
    """Nobody can decrypt it here, and the text is the same."""
    config(project, "staging", cloud="aws", **{"env.KEY": {"secure": "v1:abc"}})
    config(project, PREVIEW, cloud="aws", **{"env.OTHER": {"secure": "v1:abc"}})
    settings = of(PREVIEW, branch="b")
    with pytest.raises(GuardError, match=r"env\.OTHER is a secret of staging, copied"):
        guard.refuse_before(settings)
    config(project, PREVIEW, cloud="aws", **{"env.OTHER": {"secure": "v1:other"}})
    guard.refuse_before(settings)


# ------------------------------------------------------------------------------- their own secrets


def test_secrets_are_their_own_set_and_nothing_else(project: Path) -> None:
    """Neither a file called like the preview, nor that of `local`, nor another environment's is
    read in place of it."""
    for stack in (PREVIEW, "local", "staging"):
        secrets(project, stack, {"KEY": f"of-{stack}-0123456789", PASSWORD: "wrong-one"})
    assert secret_values.read(given()) == {}
    assert secret_values.password(given()) == {}
    secrets(project, "preview", {"KEY": "of-previews-0123456789", PASSWORD: "right-one"})
    assert secret_values.read(given()) == {"KEY": "of-previews-0123456789"}
    assert secret_values.of_host(given(), "frontend") == {PASSWORD: "right-one"}
    assert secret_values.names_for_host(given(), "frontend") == {PASSWORD: ""}


def test_no_environment_reads_the_set_of_previews(project: Path) -> None:
    secrets(project, "preview", {"KEY": "of-previews-0123456789", PASSWORD: "right-one"})
    contract = dataclasses.replace(load("local-ip"), environment="local")
    assert secret_values.read(Outputs(contract)) == {}
    assert secret_values.of_host(Outputs(contract), "frontend") == {}


@pytest.mark.parametrize("password", ["", "short", "x" * 73, "naïve-password", " blank-first"])
def test_a_password_that_browsers_would_not_send_alike_is_refused(
    project: Path, password: str
) -> None:
    secrets(project, "preview", {PASSWORD: password})
    with pytest.raises(SecretsError, match="8 to 72 characters") as caught:
        secret_values.of_host(given(), "frontend")
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize("password", ["12345678", "x" * 72, 'with: a colon, "quotes" and $'])
def test_any_other_is_taken(project: Path, password: str) -> None:
    secrets(project, "preview", {PASSWORD: password})
    assert secret_values.of_host(given(), "frontend") == {PASSWORD: password}
