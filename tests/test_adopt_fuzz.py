"""Reading settings has no crash and an end: generated modules, and sources that nobody wrote as
settings."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.adopt.evaluate import Reader
from rollout.adopt.values import AdoptError, shown
from tests.test_adopt import PLAIN, adopted, decisions, write

LINES = (
    "A = [A, A]",
    "A += [A]",
    "A = A + A",
    "B = A * A",
    "A = f'{A}{A}'",
    "A, B = B",
    "A[0] = B",
    "A['x'] = A",
    "A = {'x': A, **A}",
    "A = b'x'",
    "A = 1j",
    "A = ...",
    "A = -A",
    "A = not A",
    "A = A < B",
    "A = A[B]",
    "A = A.b",
    "A = os.environ['X']",
    "A = os.environ.get(A, B)",
    "A = env(A)",
    "A = env.int('X', A)",
    "A.append(A)",
    "A.update(B)",
    "A.insert(B, A)",
    "A = [x for x in A]",
    "A = A()",
    "A = f(A)",
    "B = A or B",
    "A = A if B else A",
    "del A",
    "A = lambda x: A",
    "*A, B = A",
    "A = 'x'.join(A)",
    "A = int(A)",
    "A = Path(A)",
    "from x import *",
    "if A: B = 1",
    "if not A: raise ValueError",
    "assert A",
    "with A as B: A = B",
    "for A in B: B.append(A)",
    "try: A = B\nexcept A: B = A",
    "def f(a, *b, c=A, **d):\n    if a: return f(a)\n    return b",
    "class A(B): A = B",
    "while A: B = A",
    "globals().update(A)",
    "include(A)",
    "exec(A)",
    "A = 10 ** 9 ** 9",
    "A: int",
    "return",
    "sys.exit()",
)
START = (
    "import os, sys, environ\nfrom pathlib import Path\nenv = environ.Env()\nA, B = ['x'], {'x':"
    " 1}\n"
)


def read(root: Path, name: str) -> None:
    for one in Reader(root).module(name).values():
        assert isinstance(shown(one.value), str)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lines=st.lists(st.sampled_from(LINES), max_size=40))
def test_any_module_is_read_to_its_end(tmp_path: Path, lines: list[str]) -> None:
    """Whatever its lines make of each other; lists and texts that double have bounds."""
    (tmp_path / "conf.py").write_text(START + "\n".join(lines) + "\n")
    read(tmp_path, "conf")


@pytest.mark.parametrize(
    "line", ["A = [A, A]", "A = A + A", "A = f'{A}{A}'", "A = A * A", "A = {'x': A}"]
)
def test_what_doubles_in_each_line_has_an_end(tmp_path: Path, line: str) -> None:
    for start in ("A = ['x']", "A = 7", "A = 'x'"):
        (tmp_path / "conf.py").write_text(f"{start}\n" + f"{line}\n" * 300)
        read(tmp_path, "conf")


@pytest.mark.parametrize(
    "text", ["A = " + "(" * 5000, "A = " + "-" * 5000 + "1", "A = 1" + "+1" * 20_000, "A = 'x\0'"]
)
def test_what_is_nested_too_deep_is_a_message_or_computed(tmp_path: Path, text: str) -> None:
    (tmp_path / "conf.py").write_text(text + "\n")
    try:
        read(tmp_path, "conf")
    except AdoptError as problem:
        assert "conf.py" in str(problem)


STANDARD = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[::6]


@pytest.mark.parametrize("file", STANDARD, ids=lambda file: file.stem)
def test_the_standard_library_is_read_as_settings(file: Path) -> None:
    """Not settings at all, and still no traceback."""
    read(file.parent, file.stem)


READS = "import os\ndef of(name):\n    return os.environ[name]\n"
LONG = {
    "X = [" + "1," * 70_000 + "]\nCORS_ALLOWED_ORIGINS = ['http://late.example.com']\n": (
        "60000 expressions"
    ),
    READS + "".join(f"V{n} = of('A{n}')\n" for n in range(1_100)): "1000 calls",
    READS
    + "".join(f"def of{n}(name):\n    return of{n - 1 or ''}(name)\n" for n in range(1, 9))
    + "X = of8('LATE')\n": "6 levels of calls",
    "import os\nN = ["
    + ", ".join(f"'A{n}'" for n in range(130))
    + "]\nX = [os.environ[n] for n in N]\n": "100 items",
    "import os\nN = ["
    + ", ".join(f"'A{n}'" for n in range(130))
    + "]\nX = list(map(os.getenv, N))\n": "100 items",
}


@pytest.mark.parametrize("text", LONG)
def test_where_reading_stops_is_said(tmp_path: Path, text: str) -> None:
    """Each limit of the reader leaves something out, so the report says which one, where, and
    once."""
    found = adopted(write(tmp_path, PLAIN + text), tmp_path / "kit")
    said = [line for line in decisions(found).splitlines() if "as far as this reads" in line]
    assert len(said) == 1 and LONG[text] in said[0] and "(shop/settings.py:" in said[0], said


def test_usual_settings_stay_below_every_limit(tmp_path: Path) -> None:
    assert "as far as this reads" not in decisions(adopted(write(tmp_path), tmp_path / "kit"))
