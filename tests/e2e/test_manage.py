"""`fab manage`: the project's management commands, with the service's user, environment, settings
and limits."""

from __future__ import annotations

import os
import pty
import signal
import subprocess

import pytest

from tests.support.kit import FAB, ROOT, Stack

pytestmark = pytest.mark.machines


def manage(
    stack: Stack, *words: str, status: int = 0, given: str = ""
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [FAB, "manage", "--stack", stack.name, "--", *words],
        cwd=ROOT,
        env=stack.kit.environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr or status
    return done


SHOW = """
import getpass, os, sys
from django.conf import settings
print(getpass.getuser(), settings.SETTINGS_MODULE, os.environ["ORIGIN_KIT_DATA"], sys.argv)
"""


def test_a_command_runs_as_the_service_does(stack: Stack) -> None:
    """Its user, its settings, its variables; standard output is its alone, and words arrive as
    written."""
    done = manage(stack, "shell", "-v0", "-c", SHOW)
    assert done.stdout.startswith("shop origin_kit_settings /var/lib/shop")
    assert all(line.startswith(f"stack {stack.name} ") for line in done.stderr.splitlines()), (
        done.stderr
    )
    text = "a  b\t$HOME $$ ${x} %n 'q' \"d\" \\ ; é"
    assert manage(stack, "shell", "-v0", "-c", f"print({text!r})").stdout == f"{text}\n"


def test_its_limits_are_the_services(stack: Stack) -> None:
    """It writes where the service may write, and nowhere else."""
    refused = manage(
        stack, "shell", "-v0", "-c", "open('/opt/shop/current/app/new', 'w')", status=1
    )
    assert "Read-only file system" in refused.stderr
    assert "manage.py shell ended with status 1" in refused.stderr
    manage(
        stack,
        "shell",
        "-v0",
        "-c",
        "import os; p = '/var/lib/shop/new'; open(p, 'w'); os.unlink(p)",
    )


def test_standard_input_goes_in_and_a_failure_comes_out(stack: Stack) -> None:
    """`fab manage -- loaddata - < file`; the status of a command that fails is 1."""
    assert manage(stack, "shell", "-v0", given="print(6 * 7)\n").stdout == "42\n"
    assert "Unknown command: 'no-such'" in manage(stack, "no-such", status=1).stderr
    assert "--origin-kit" in manage(stack, "check", "--origin-kit", status=1).stderr


def test_it_is_interactive_on_a_terminal(stack: Stack) -> None:
    """createsuperuser asks, with no echo of the password, and the user is there afterwards."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execve(
            FAB,
            ["fab", "manage", "--stack", stack.name, "--", "createsuperuser"],
            stack.kit.environment,
        )
    answers = [
        ("Username", "grace"),
        ("Email", ""),
        ("Password:", "correct-horse"),
        ("again", "correct-horse"),
    ]
    said = ""
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        for question, answer in answers:
            while question not in said.rsplit("\n", 1)[-1]:
                said += screen.read(1024).decode()
            screen.write(f"{answer}\n".encode())
        try:
            while chunk := screen.read(1024):
                said += chunk.decode()
        except OSError:  # how Linux says that the other end has closed
            pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, said
    assert "Superuser created successfully" in said
    assert "correct-horse" not in said
    ask = (
        "from django.contrib.auth.models import User;"
        " print(User.objects.filter(username='grace').delete()[0] > 0)"
    )
    assert manage(stack, "shell", "-v0", "-c", ask).stdout == "True\n"


def test_an_interrupt_ends_the_command_on_the_host(stack: Stack) -> None:
    """^C: status 130, and nothing of the command is left running there."""
    code = "import time; print('begun', flush=True); time.sleep(900)"
    running = subprocess.Popen(
        [FAB, "manage", "--stack", stack.name, "--", "shell", "-v0", "-c", code],
        cwd=ROOT,
        env=stack.kit.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stdout and running.stderr
    assert running.stdout.readline() == "begun\n"
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(timeout=60) == 130
    assert "Traceback" not in running.stderr.read()
    backend = stack.contract.backend.hosts[0]
    ended = (
        'timeout 30 sh -c \'while systemctl -q is-active "origin-kit-manage-*"; do sleep 0.1;'
        " done'"
    )
    stack.kit.ssh(backend, ended)


def test_manage_py_by_hand_says_what_to_write(stack: Stack) -> None:
    """The obvious line on the host names the one that works, and that one works."""
    backend = stack.contract.backend.hosts[0]
    by_hand = "cd /opt/shop/current/app && sudo -u shop ../venv/bin/python manage.py check 2>&1"
    assert "write `sudo origin-kit-manage COMMAND`" in stack.kit.ssh(backend, by_hand, check=False)
    assert "no issues" in stack.kit.ssh(backend, "sudo origin-kit-manage check 2>&1")
    refused = stack.kit.ssh(
        backend, "sudo -u shop /usr/local/sbin/origin-kit-manage check 2>&1", check=False
    )
    assert "only root can run as the service's user" in refused


def test_words_in_the_wrong_place_are_explained(stack: Stack) -> None:
    """The command stands after --; other verbs take nothing there. Status 2, one line."""
    for words in (["manage"], ["manage", "createsuperuser"]):
        assert "fab manage -- createsuperuser" in stack.kit.fab(*words, status=2).stderr
    assert (
        "only `fab manage` takes words after --"
        in stack.kit.fab("status", "--", "x", status=2).stderr
    )


def test_a_configuration_of_before_needs_a_deploy(stack: Stack) -> None:
    """A host that an older version deployed to has no such command; the message says how it gets
    one."""
    backend = stack.contract.backend.hosts[0]
    stack.kit.ssh(backend, "rm /usr/local/sbin/origin-kit-manage")
    refused = manage(stack, "check", status=1)
    assert "run `fab deploy`, then this again" in refused.stderr
    stack.fab("deploy")
    manage(stack, "check")
