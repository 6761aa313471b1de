"""The application's name on real machines: what is somebody's already, and what becomes of the one
before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from infra.core import rules
from tests.e2e.test_bad_input import said
from tests.support.kit import OLD, ROOT, Stack, a_copy_of_the_example, manage
from tests.test_report import EVIL, evil_in

pytestmark = pytest.mark.machines


def named(stack: Stack, folder: Path, name: str) -> list[str]:
    """The words for the stack's own outputs, but for the application's name."""
    contract = json.loads(stack.fab("outputs").stdout)
    contract["application"]["name"] = name
    path = folder / f"{name}.json"
    path.write_text(json.dumps(contract))
    return ["--outputs", str(path)]


def on_backend(stack: Stack, command: str, check: bool = True) -> str:
    return stack.kit.ssh(stack.contract.backend.hosts[0], command, check)


def test_no_name_of_a_fresh_machine_may_be_an_application_s(stack: Stack) -> None:
    """Every user, group, unit and folder of Debian's and the kit's is refused at config time
    already."""
    question = (
        "cut -d: -f1 /etc/passwd /etc/group; ls /var/lib /opt /etc/init.d; find /run -mindepth 1"
        " -maxdepth 1 -type d -printf '%f\\n'; find /lib/systemd/system /etc/systemd/system"
        " /run/systemd -name '*.service' -o -name '*.socket' | sed 's|.*/||; s|[.][a-z]*$||'"
    )
    names = set(on_backend(stack, question).split()) - {"shop"}
    assert len(names) > 150
    free = []
    for name in sorted(names):
        try:
            rules.application_name(name)
            free.append(name)
        except ValueError:
            continue
    assert free == []


@pytest.mark.parametrize(
    ("make", "unmake", "whose"),
    [
        ("useradd -m -s /bin/bash ops", "userdel -r ops", "user ops (uid 1"),
        ("groupadd --system ops", "groupdel ops", "group ops (gid"),
        ("mkdir -m 700 /var/lib/ops", "rmdir /var/lib/ops", "/var/lib/ops"),
    ],
    ids=["user", "group", "folder"],
)
def test_a_name_in_use_is_refused_before_any_change(
    stack: Stack, tmp_path: Path, make: str, unmake: str, whose: str
) -> None:
    """Nothing of it changes hands: no owner, no mode, no folder of the kit's."""
    look = (
        "ls -ldn /var/lib/ops /opt/ops /etc/origin-kit/applications/*; getent passwd ops; getent"
        " group ops"
    )
    on_backend(stack, make)
    try:
        before = on_backend(stack, look, check=False)
        text = said(stack.fab("ship", *named(stack, tmp_path, "ops"), status=1))
        assert "the name ops is taken here by what this kit did not make" in text
        assert whose in text
        assert on_backend(stack, look, check=False) == before
    finally:
        on_backend(stack, unmake)
    assert "as the contract says" in stack.fab("status").stdout


def test_a_deploy_replaces_no_file_of_somebody_s(stack: Stack) -> None:
    """A unit that an administrator wrote in the kit's place is named, by plan too, and stays; then
    all is well."""
    place = "/etc/systemd/system/shop.service"
    on_backend(
        stack,
        f"readlink {place} > /root/link && cp --remove-destination $(readlink {place}) {place}",
    )
    try:
        for verb in ("plan", "deploy"):
            text = said(stack.fab(verb, *(["--restart"] if verb == "deploy" else []), status=1))
            assert f"{place}: not this kit's" in text or "taken here by" in text
            assert place in text
        assert on_backend(stack, f"test -L {place} || echo a file") == "a file\n"
    finally:
        on_backend(
            stack, f"ln -sfn $(cat /root/link) {place}; rm /root/link; systemctl daemon-reload"
        )
    stack.fab("deploy")
    assert "as the contract says" in stack.fab("status").stdout


@pytest.mark.soak
def test_a_host_of_an_older_kit_is_taken_over(stack: Stack) -> None:
    """Without the mark, as every host from before it: nothing to do is nothing to do, and the next
    ship marks it."""
    for _, host in stack.contract.hosts:
        stack.kit.ssh(host, "rm -r /etc/origin-kit/applications")
    assert "nothing to do" in stack.fab("up").stdout
    with a_copy_of_the_example() as copy:
        (copy / "shop" / "new.py").write_text("NEW = True\n")
        stack.write(extra_origins=[OLD], backend_path=str(copy.relative_to(ROOT)))
        try:
            stack.fab("ship")
        finally:
            stack.write(extra_origins=[OLD])
    assert (
        on_backend(stack, "cat /etc/origin-kit/applications/shop.json") == '{"application": "shop"}'
    )


# ------------------------------------------------------------------------------------- another name


def rows(stack: Stack, app: str) -> str:
    """What is in the data: products, the secret key, an upload; and whose all of it is, by
    number."""
    products = 'from catalog.models import Product; print(*Product.objects.values_list(\\"name\\"))'
    return on_backend(
        stack,
        manage(app, f'shell -c "{products}"')
        + f"; cd /var/lib/{app}; sha256sum < secret_key; cat media/kept.txt; "
        "find . -printf '%P %U %G %m\\n' | grep -v -e -shm -e -wal -e -journal | sort",
    )


def serves(stack: Stack) -> bool:
    with urlopen(f"{stack.contract.backend.origin}/api/products/", timeout=20) as answer:
        return bool(answer.status == 200)


def of_name(stack: Stack, app: str) -> str:
    """Everything on the backend that has this name."""
    return on_backend(
        stack,
        f"getent passwd {app}; getent group {app}; ls -d /var/lib/{app} /opt/{app} /run/{app}"
        f" /run/{app}.sock; pgrep -u {app} 2>/dev/null; find /etc/systemd/system -name '{app}.*';"
        f" ls /etc/origin-kit/applications/{app}.*; grep -rl /opt/{app}/"
        f" /etc/origin-kit/generations; systemctl list-units --all --no-legend '{app}.*'",
        check=False,
    )


@pytest.fixture
def data(stack: Stack) -> Iterator[str]:
    """A product and an upload of a customer's."""
    stack.fab("up")
    make = (
        'from catalog.models import Product; Product.objects.create(name="Kept", price=1, stock=1)'
    )
    on_backend(stack, manage("shop", f"shell -c '{make}'"))
    on_backend(stack, "echo kept | sudo -u shop tee /var/lib/shop/media/kept.txt")
    found = rows(stack, "shop")
    assert "Kept" in found and "kept" in found
    yield found


@pytest.mark.soak
def test_a_renamed_application_keeps_its_data(stack: Stack, data: str, tmp_path: Path) -> None:
    """Every verb stops with the choices; the flag moves user and data whole, nothing of the old one
    stays; and back."""
    file = named(stack, tmp_path, "store")
    running = stack.processes()
    for verb in ("ship", "deploy", "plan", "status"):
        text = said(stack.fab(verb, *file, status=1))
        assert (
            "this host has application shop of this kit, and the stack's config says store" in text
        )
        assert "fab ship --rename-from shop" in text
    assert stack.processes() == running

    text = said(stack.fab("ship", *file, "--rename-from", "shop"))
    assert "restarted gunicorn" in text
    assert rows(stack, "store") == data
    assert serves(stack)
    assert "as the contract says" in stack.fab("status", *file).stdout
    assert of_name(stack, "shop") == ""
    assert "unchanged" in said(stack.fab("ship", *file, "--rename-from", "shop"))

    stack.fab("up", "--rename-from", "store")
    assert rows(stack, "shop") == data
    assert of_name(stack, "store") == ""
    assert "nothing to do" in stack.fab("up").stdout


@pytest.mark.soak
def test_a_rename_whose_ship_fails_leaves_the_old_one_serving(
    stack: Stack, data: str, tmp_path: Path
) -> None:
    """The project does not load: user, data and units are as before; its words can't act on the
    terminal."""
    file = named(stack, tmp_path, "store")
    with a_copy_of_the_example() as copy:
        settings = copy / "shop" / "settings.py"
        settings.write_text(
            settings.read_text() + f"\nraise RuntimeError({EVIL.replace(chr(0xD800), '')!r})\n"
        )
        stack.write(extra_origins=[OLD], backend_path=str(copy.relative_to(ROOT)))
        try:
            text = said(stack.fab("ship", *file, "--rename-from", "shop", status=1))
        finally:
            stack.write(extra_origins=[OLD])
    assert re.search("backend-1 +puts shop back in service", text)
    assert re.search("frontend-1 +puts shop back in service", text)
    assert evil_in(text) == []
    assert "RuntimeError: ]0;owned" in text  # the host has left the control characters out already
    assert serves(stack)
    assert rows(stack, "shop") == data
    assert on_backend(stack, "getent passwd store", check=False) == ""
    assert "nothing to do" in stack.fab("up").stdout


@pytest.mark.soak
def test_a_removed_application_takes_its_data_with_it(
    stack: Stack, data: str, tmp_path: Path
) -> None:
    """Named, it goes with user, data and secrets once the new one serves. What the project logs is
    harmless as well."""
    file = named(stack, tmp_path, "store")
    with a_copy_of_the_example() as copy:
        settings = copy / "shop" / "settings.py"
        settings.write_text(
            settings.read_text() + "\nimport sys\nprint('loud \u202e\u2066word', file=sys.stderr)\n"
        )
        stack.write(extra_origins=[OLD], backend_path=str(copy.relative_to(ROOT)))
        try:
            said(stack.fab("ship", *file, "--remove-application", "shop"))
        finally:
            stack.write(extra_origins=[OLD])
    assert of_name(stack, "shop") == ""
    assert serves(stack)
    logs = stack.fab("logs", *file, "--lines", "200").stdout
    assert r"loud \u202e\u2066word" in logs
    assert evil_in(logs) == []

    stack.fab("up", "--remove-application", "store")
    assert of_name(stack, "store") == ""
    assert "Kept" not in on_backend(stack, manage("shop", "dumpdata catalog.product"))
    assert "nothing to do" in stack.fab("up").stdout


@pytest.mark.parametrize("option", ["--rename-from", "--remove-application"])
def test_what_is_the_system_s_is_never_moved_or_removed(
    stack: Stack, tmp_path: Path, option: str
) -> None:
    """`apt` has a folder in /var/lib, and none of this kit's: refused before anybody is asked."""
    text = said(stack.fab("ship", *named(stack, tmp_path, "store"), option, "apt", status=2))
    assert re.search(rf"{option}: 'apt' is a folder in /var/lib", text)
