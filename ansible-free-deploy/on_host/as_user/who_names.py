"""Find the settings that name a module that can't be imported.

`python -c TEXT MODULE` prints `named: NAME` for each such setting.
"""

from __future__ import annotations

import importlib
import sys
from typing import Iterator  # noqa: UP035 - Python 3.9 on hosts


def texts(value: object) -> Iterator[str]:
    """Every text in a setting, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from texts(item)


def is_within(text: str, module: str) -> bool:
    """Whether `text` is the module's name or the name of something in it."""
    return text == module or text.startswith(module + ".")


def main(module: str) -> None:
    settings = vars(importlib.import_module("origin_kit_settings"))
    for name in sorted(settings):
        if not name.isupper():
            continue
        if any(is_within(text, module) for text in texts(settings[name])):
            print(f"\nnamed: {name}")


if __name__ == "__main__":
    main(sys.argv[1])
