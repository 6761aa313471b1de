"""The rendered nginx against Mozilla's intermediate guideline, by sslyze: run for real on loopback,
with a certificate of the kit's own CA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rollout.certificates import local_ca
from rollout.render import Generation
from tests.support.certificates import Authority
from tests.support.guideline import WEAKENED, deviations
from tests.test_render import ROLES, load, rendered
from tests.test_render_nginx import Site, edited, running

pytestmark = pytest.mark.nginx

CONTRACT = load("https-names")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA of this test's own."""
    monkeypatch.setenv("ORIGIN_KIT_HOME", str(tmp_path / "home"))


@contextmanager
def serving(generation: Generation, role: str) -> Iterator[Site]:
    pair = local_ca.pair_for("test", role, CONTRACT.certificate_names(role))
    with running(generation) as site:
        site.put_pair(pair)
        site.ask("GET", "/")  # an nginx that still starts would end by the signal
        site.reload()
        yield site


def found(site: Site, role: str, root: Path) -> dict[str, str]:
    name = CONTRACT.certificate_names(role)[0]
    return deviations(name, "127.0.0.1", site.secure_port, root)


@pytest.mark.parametrize("role", ROLES)
def test_sslyze_finds_nothing(role: str) -> None:
    with serving(rendered(CONTRACT, role), role) as site:
        assert found(site, role, local_ca.certificate_path()) == {}


def test_sslyze_sees_each_weakness(tmp_path: Path) -> None:
    """A finding for each line of the rendered file that keeps one out, and for a certificate of an
    unknown CA."""
    generation = rendered(CONTRACT, "backend")
    for before, after in WEAKENED.values():
        generation = edited(generation, before, after)
    unknown = Authority.root().write(tmp_path / "unknown.pem")
    with serving(generation, "backend") as site:
        assert set(found(site, "backend", unknown)) == {*WEAKENED, "certificate_path_validation"}
