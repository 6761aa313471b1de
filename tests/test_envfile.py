"""Environment files: reading gives back what was written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from on_host.envfile import environment, environment_text

NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)


@given(
    st.dictionaries(
        NAMES, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    )
)
def test_values_are_read_back(values: dict[str, str]) -> None:
    """Whatever the values hold, reading the text gives the same values."""
    assert environment(environment_text(values)) == values
