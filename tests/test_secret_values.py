"""Secrets on this machine: what a line holds arrives exactly, or is refused by its number; no
message quotes it."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infra.core import variables
from on_host.envfile import environment_text
from rollout.secret_values import SecretsError, parse

NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
SEPARATORS = "\u2028\u2029\x0b\x0c\x1c\x1d\x1e\x85"


@pytest.mark.parametrize("separator", SEPARATORS)
def test_only_a_line_feed_ends_a_line(separator: str) -> None:
    """str.splitlines() knows eight more ends, and cut the value there."""
    assert parse(f"A=one{separator}B=two\nC=3\n".encode()) == {
        "A": f"one{separator}B=two",
        "C": "3",
    }


@given(st.dictionaries(NAMES, st.text(max_size=40)))
@example(
    {"A": "@fingerprint:gunicorn@", "B": "a\u2028b", "C": "\ufeff", "D": " blanks ", "E": "\rb"}
)
def test_a_value_arrives_exactly_or_is_refused(values: dict[str, str]) -> None:
    """Any text at all, written down as the file has it."""
    data = "".join(f"{name}={value}\n" for name, value in values.items()).encode(
        "utf-8", "surrogatepass"
    )
    fits = not any(
        "\n" in value or value.endswith("\r") or variables.problem("A", value)
        for value in values.values()
    )
    if fits:
        assert parse(data) == values
    elif not any(
        "\n" in value for value in values.values()
    ):  # a second line may look like one of the file's own
        with pytest.raises(SecretsError):
            parse(data)


REFUSED = {
    "others": (b"A=1\nB\n", "line 2: not NAME=value"),
    "blank before": (b" A=1\n", "line 1: not NAME=value"),
    "not UTF-8": (b"A=1\nB=hush\xff\n", "line 2: not UTF-8"),
    "mark": (b"\xef\xbb\xbfA=hush\n", "line 1: begins with a byte order mark"),
    "Windows": (b"A=hush\r\n", "line 1: ends with a carriage return"),
    "NUL": (b"A=hush\0\n", "line 1: the value of A holds a NUL"),
    "no character": ("A=hush\ufffe\n".encode(), "line 1: the value of A holds U+FFFE"),
    "surrogate": (b"A=hush\xed\xa0\x80\n", "line 1: not UTF-8"),
    "twice": (b"A=hush\nA=hush2\n", "line 2: A stands above already"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_taken_is_named_and_not_quoted(case: str) -> None:
    data, said = REFUSED[case]
    with pytest.raises(SecretsError) as caught:
        parse(data)
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


def test_all_that_is_wrong_comes_at_once() -> None:
    with pytest.raises(SecretsError) as caught:
        parse(b"A\n# no\n\nB=\0\nC=1\n")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["line 1", "line 4"]


def as_systemd_reads(text: str) -> dict[str, str]:
    """basic/env-file.c of systemd 252, for lines as the kit writes them: NAME="…", a backslash
    before " \\ ` $ only."""
    found = {}
    for name, quoted in re.findall(
        r'^([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"$', text, re.MULTILINE | re.DOTALL
    ):
        found[name] = re.sub(r'\\(["\\`$])', r"\1", quoted)
    return found


@given(
    st.dictionaries(
        NAMES,
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
    )
)
@example({"A": 'x"\nB="y', "C": "\\", "D": "line\\\nend", "E": "\x1b[0m\u2028"})
def test_what_is_written_reads_back(values: dict[str, str]) -> None:
    """No value ends early, starts another one, or loses a character; the real systemd is asked in
    tests/e2e."""
    assert as_systemd_reads(environment_text(values)) == values
