"""Templates look like the files that they become; `@{name}` is where a value goes."""

from __future__ import annotations

import re
from importlib import resources

# Not string.Template: nginx and systemd own the dollar sign.
_HOLE = re.compile(r"@\{(\w+)\}")


def fill(name: str, /, **values: object) -> str:
    """The text of `templates/<name>.in` with every hole filled. Raises KeyError for a hole without
    a value."""
    text = (
        resources.files(__package__).joinpath("templates", f"{name}.in").read_text(encoding="utf-8")
    )
    return _HOLE.sub(lambda hole: str(values[hole[1]]), text)
