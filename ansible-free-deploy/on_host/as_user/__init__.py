"""Programs that run on a host as the application's user, in its sandbox: `python -c TEXT`.

Each is one text of its own. They import nothing of this package, since that user can't read it, but
`archive`, which is put into the text; and they use the standard library only (Python 3.9 or newer).
Those that load the project run by the release's own interpreter.
"""

from __future__ import annotations

import pkgutil

_SHARED = "archive"
_WITH_SHARED = """\
import sys, types
module = types.ModuleType({name!r})
sys.modules[{name!r}] = module
exec(compile({shared!r}, {name!r}, "exec"), module.__dict__)
exec(compile({program!r}, "<string>", "exec"), {{"__name__": "__main__"}})
"""


def text(name: str) -> str:
    """The source of the program `name`, for the command line of a Python."""
    program = _source(name)
    shared = f"{__name__}.{_SHARED}"
    if f"from {shared} import" not in program:
        return program
    return _WITH_SHARED.format(name=shared, shared=_source(_SHARED), program=program)


def _source(name: str) -> str:
    source = pkgutil.get_data(__name__, f"{name}.py")
    assert source is not None, name
    return source.decode()
