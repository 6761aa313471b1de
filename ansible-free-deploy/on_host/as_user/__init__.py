"""Programs that run on a host as the application's user, in its sandbox, each as a text of its own:
`python -c TEXT`.

They import nothing of this package, since that user can't read it. Standard library only (Python >=
3.9); those that load the project run by the release's own interpreter.
"""

from __future__ import annotations

import pkgutil


def text(name: str) -> str:
    """The source of the program `name`, for the command line of a Python."""
    found = pkgutil.get_data(__name__, f"{name}.py")
    assert found is not None, name
    return found.decode()
