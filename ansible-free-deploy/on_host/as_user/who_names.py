"""Which settings name a module that can't be imported: `python -c TEXT MODULE` prints `named: NAME`
for each."""

from __future__ import annotations

import importlib
import sys
from typing import Iterator  # noqa: UP035 - Python 3.9 on hosts


def texts(value: object) -> Iterator[str]:
    """Every text in a setting, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from texts(list(pair))
    elif isinstance(value, (list, tuple, set)):
        for one in value:
            yield from texts(one)


def names(module: str, text: str) -> bool:
    """Whether `text` is the module or something in it; a package that it is in asks for nothing in
    particular."""
    return text == module or text.startswith(module + ".")


def main(module: str) -> None:
    settings = vars(importlib.import_module("origin_kit_settings"))
    for name in sorted(filter(str.isupper, settings)):
        if any(names(module, text) for text in texts(settings[name])):
            print(f"\nnamed: {name}")


if __name__ == "__main__":
    main(sys.argv[1])
