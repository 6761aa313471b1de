"""Environment files: what is written is read back."""

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
def test_what_is_written_is_read_back(values: dict[str, str]) -> None:
    assert environment(environment_text(values)) == values
