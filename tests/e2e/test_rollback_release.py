"""A bad release goes back where it came, and nowhere else; who looks afterwards sees what
serves."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.kit import FAB, ROOT, Stack, a_copy_of_the_example
from tests.support.terminals import at_a_terminal

pytestmark = pytest.mark.machines

MIGRATION = """
from django.db import migrations
class Migration(migrations.Migration):
    dependencies = [("catalog", "{before}")]
    operations = []
"""
NEW = "catalog.0999_more"


@pytest.fixture(scope="module")
def page() -> Iterator[Path]:
    """A copy of the example's page."""
    folder = ROOT / "artifacts" / f"page-{uuid4().hex[:6]}"
    shutil.copytree(ROOT / "examples" / "frontend", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def shipped(stack: Stack, page: Path) -> Iterator[Stack]:
    """The shared environment after two ships: code with a migration and a page, then a bad page
    alone."""
    with a_copy_of_the_example() as copy:
        folder = copy / "catalog" / "migrations"
        before = sorted(path.stem for path in folder.glob("0*.py"))[-1]
        (folder / "0999_more.py").write_text(MIGRATION.format(before=before))
        stack.write(
            backend_path=str(copy.relative_to(ROOT)), frontend_path=str(page.relative_to(ROOT))
        )
        (page / "index.html").write_text("<h1>good</h1>")
        stack.fab("ship")
        (page / "index.html").write_text("<h1>bad</h1>")
        stack.fab("ship")
        yield stack
    stack.write()
    stack.fab("ship")
    assert "unchanged" in stack.fab("ship").stdout


def releases(stack: Stack) -> dict[str, str]:
    answers = json.loads(stack.fab("status", "--json", status=None).stdout)
    return {name: one["release"].rsplit("/", 1)[-1] for name, one in answers.items()}


def served(stack: Stack) -> str:
    with urllib.request.urlopen(stack.contract.frontend.origin + "/", timeout=20) as answer:
        return str(answer.read().decode())


def test_a_bad_page_goes_back_alone(shipped: Stack) -> None:
    """The last ship changed the page only, so the code stays, though it has a release before;
    status reports."""
    assert served(shipped) == "<h1>bad</h1>"
    before = releases(shipped)
    said = shipped.fab("rollback", "--release").stdout
    after = releases(shipped)
    way = f"frontend-1: page {before['frontend-1']} → {after['frontend-1']}"
    assert re.search(
        rf"^{way} \(application's commit [0-9a-f]{{12}}(\+changes)?\)$", said, re.MULTILINE
    )
    assert f"backend-1: stays at code {before['backend-1']}" in said
    assert served(shipped) == "<h1>good</h1>"
    assert after["backend-1"] == before["backend-1"]
    status = shipped.fab("status").stdout
    assert f"its page was rolled back from release {before['frontend-1']}" in status
    assert "configuration as the contract says; its page" in status
    for name in after.values():
        assert name in status


def test_history_shows_ships_and_rollbacks_among_the_deploys(shipped: Stack) -> None:
    shipped.fab("deploy", "--restart")
    hosts = shipped.fab("history").stdout.split("\n\n")
    page = next(text for text in hosts if "frontend-1\n" in text).splitlines()
    rows = [line.split() for line in page if line.startswith("  2")]
    assert [(row[1], row[-1]) for row in rows[:2]] == [("deploy", "deployed"), ("ship", "back")]
    assert [(row[1], row[-1]) for row in rows[2:4]] == [("ship", "shipped"), ("ship", "shipped")]
    assert re.search("[0-9a-f]{12} .* [0-9a-f]{12}", page[3]) and "rolled back" in page[3]


def test_migrations_are_asked_about_before_anything_changes(shipped: Stack) -> None:
    """Without a terminal status 3; on one a question; with the option it goes back, and says what
    stays and where the copy is."""
    before = releases(shipped)
    refused = shipped.fab("rollback", "--release", "--role", "backend", status=3).stderr
    assert NEW in refused and "--past-migrations" in refused
    words = [FAB, "rollback", "--stack", shipped.name, "--release", "--role", "backend"]
    asked = at_a_terminal(words, "no\n", environment=shipped.kit.environment, timeout=300)
    assert asked.returncode == 2 and NEW in asked.stdout and "nothing was changed" in asked.stderr
    assert releases(shipped) == before
    said = shipped.fab("rollback", "--release", "--role", "backend", "--past-migrations").stdout
    assert releases(shipped)["frontend-1"] == before["frontend-1"]
    assert releases(shipped)["backend-1"] != before["backend-1"]
    line = next(line for line in said.splitlines() if "stay applied" in line)
    assert (
        f"backend-1: these migrations stay applied: {NEW}; the database from before them is in "
        in line
    )
    copy = line.rsplit(" ", 1)[1]
    assert "db.sqlite3" in shipped.kit.ssh(shipped.contract.backend.hosts[0], f"ls {copy}")


@pytest.mark.soak
def test_a_release_is_gone_to_by_its_name(shipped: Stack) -> None:
    """And a name that is on no host is status 2, with those that are."""
    refused = shipped.fab("rollback", "--release", "--to", "feedfeedfeed", status=2).stderr
    assert "release feedfeedfeed is on no host; name one" in refused
    newest = json.loads(shipped.fab("history", "--json").stdout)["backend-1"]["ships"][0][
        "previous"
    ]
    said = shipped.fab("rollback", "--release", "--to", newest).stdout
    assert releases(shipped)["backend-1"] == newest and "frontend-1: page" not in said
    assert "serves already" in shipped.fab("rollback", "--release", "--to", newest).stdout


@pytest.mark.soak
def test_an_interrupted_rollback_is_reported_as_it_is(shipped: Stack) -> None:
    """The host decides alone and goes on: ^C waits for it, says that it is done, and names no
    command that would go back once more."""
    before = releases(shipped)
    with shipped.started("rollback", "--release", "--role", "frontend") as process:
        assert process.stdout and process.stderr
        lines = [
            next(line for line in process.stdout if "frontend-1" in line and "switches to" in line)
        ]
        process.send_signal(signal.SIGINT)
        lines += process.stdout.readlines()
        said = process.stderr.read()
        assert process.wait(60) == 130, said
    output = "".join(lines)
    assert "frontend-1 goes on alone and ends by itself" in output and "rolls back" not in output
    assert "every host has carried it out, so there is nothing left to do" in said
    after = releases(shipped)
    assert after["frontend-1"] != before["frontend-1"] and after["backend-1"] == before["backend-1"]
    shipped.fab("rollback", "--release", "--to", before["frontend-1"])
    assert releases(shipped) == before


def get(url: str, agent: str) -> int:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"User-Agent": agent}), timeout=20
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as problem:
        return problem.code


def test_logs_show_what_users_ask_and_not_what_the_kit_does(shipped: Stack) -> None:
    """By time, from nginx and the application; nobody hides by the kit's name, from outside or from
    the host itself."""
    api = shipped.contract.backend
    assert get(f"{api.origin}/before-the-deploy", "curl") == 404
    shipped.fab("deploy", "--restart")  # asks for / itself
    assert get(f"{api.origin}/lost-by-a-user", "origin-kit") == 404
    assert get(f"{api.origin}/static/no-such-file", "curl") == 404
    name = api.origin.removeprefix("http://")
    ask = (
        "import http.client; c = http.client.HTTPConnection('127.0.0.1'); c.request('GET',"
        f" '/from-the-host', headers={{'Host': '{name}', 'User-Agent': 'origin-kit'}});"
        " c.getresponse()"
    )
    shipped.kit.ssh(api.hosts[0], f'python3 -c "{ask}"')
    deadline = time.monotonic() + 20
    wanted = (
        "gunicorn",
        "Not Found: /lost-by-a-user",
        '"GET /lost-by-a-user HTTP/1.1" 404',
        "Not Found: /from-the-host",
        '"GET /from-the-host HTTP/1.1" 404',
        "nginx error: ",
        '/opt/shop/current/static/no-such-file" failed',
    )
    while not all(
        word in (text := shipped.fab("logs", "--lines", "300").stdout) for word in wanted
    ):
        assert time.monotonic() < deadline, [word for word in wanted if word not in text]
    since = text.split("Not Found: /before-the-deploy")[1]  # earlier stories have asked here too
    assert since.count("127.0.0.1 - - ") == 1
    assert [line for line in since.splitlines() if line.endswith("Not Found: /")] == []
    assert "nginx access" in text.split("frontend-1\n")[1]
    only = shipped.fab("logs", "--role", "frontend").stdout
    assert "frontend-1" in only and "backend-1" not in only
