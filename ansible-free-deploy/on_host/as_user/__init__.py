"""Programs that run on a host as the application's user, in its sandbox: `python -c TEXT`.

Each is one text of its own. They import nothing of this package, since that user can't read it, and
use the standard library only (Python 3.9 or newer). Those that load the project run by the
release's own interpreter.
"""

from __future__ import annotations

import pkgutil


def text(name: str) -> str:
    """The source of the program `name`, for the command line of a Python."""
    source = pkgutil.get_data(__name__, f"{name}.py")
    assert source is not None, name
    return source.decode()
