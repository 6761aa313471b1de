"""What is usually taken instead of a package that has no wheel. `fab adopt` and a ship say the
same."""

from __future__ import annotations

import re
from collections.abc import Sequence

from infra.core import debian
from rollout.release.declared import Requirements
from rollout.release.requirement_files import other_requirements

INSTEAD = {
    "psycopg2": (
        "psycopg2-binary, the same code as a wheel, or psycopg[binary] with Django 4.2 and later"
    ),
    "psycopg-c": "psycopg[binary]",
    "psycopg": "psycopg[binary]",
    "mysqlclient": "PyMySQL (`pymysql.install_as_MySQLdb()` in the settings)",
    "pygraphviz": "pygraphviz 2, which has wheels",
    "dbus-python": "nothing, since no server needs it",
    "uwsgi": "nothing, since gunicorn serves here",
    "pyuwsgi": "nothing, since gunicorn serves here",
    "python-ldap": "ldap3, or bonsai",
    "pycrypto": "pycryptodome",
    "pil": "Pillow",
    "xmlsec": "a newer xmlsec, which has wheels",
    "m2crypto": "cryptography",
    "python-levenshtein": "rapidfuzz",
    "pylibmc": "pymemcache",
    "backports-zoneinfo": (
        "nothing: Python has zoneinfo since 3.9; mark it `; python_version < '3.9'`"
    ),
}
# What no index has a wheel of, in any version, and the Debian packages that a build of them needs
# beyond what a build machine has.
NEVER_A_WHEEL: dict[str, tuple[str, ...]] = {
    "psycopg2": ("libpq-dev",),
    "psycopg-c": ("libpq-dev",),
    "mysqlclient": ("default-libmysqlclient-dev",),
    "python-ldap": ("libldap-dev", "libsasl2-dev"),
    "uwsgi": (),
    "pycairo": ("libcairo2-dev",),
    "dbus-python": ("libdbus-1-dev", "libglib2.0-dev"),
}

# What is compiled: building it here makes a wheel that the kit refuses.
_COMPILED = (INSTEAD.keys() | NEVER_A_WHEEL.keys()) - {"psycopg", "backports-zoneinfo"}


def removal(name: str, file: str) -> str:
    """How a package is taken out of a lock or a list."""
    return f"`uv remove {name}`" if file.endswith("uv.lock") else f"remove its line from {file}"


def other_python(said: str) -> str:
    """The Debian whose Python a package asks for, where that is why uv finds no solution; ""
    otherwise."""
    asked = re.search(r"(?:does not satisfy|requires) Python ?((?:>=|>|==|~=)[\d.]+)", said)
    if asked is None:
        return ""
    fits = debian.fitting(asked[1])
    if fits is None:
        return ""
    return (
        f"; {fits} has Python {fits.version}: `image: {fits.name}` in the stack's config. It counts"
        " for new machines: `fab down` and `fab up` where nothing was shipped yet; else `fab"
        " replace NAME`, with the source that serves there, and ship this one then"
    )


def allow(names: Sequence[str]) -> str:
    """The key that has these built here; "" where it would help for none: what is compiled can't be
    shipped."""
    pure = [name for name in names if name not in _COMPILED]
    if not pure:
        return ""
    rest = ""
    if len(pure) < len(names):
        rest = " (the others are compiled, and would be refused then)"
    return f", or allow it in the stack's config: `build_sdists: [{', '.join(pure)}]`{rest}"


def hint(names: Sequence[str], wanted: Requirements) -> str:
    """Ways out that are known for these packages, and other requirements files of the project; ""
    for none."""
    known = []
    for name in names:
        instead = INSTEAD.get(name, "")
        if instead.startswith("nothing, "):
            instead += f": {removal(name, wanted.file)}"
        if instead:
            known.append(f"instead of {name}: {instead}")
    files = other_requirements(wanted, names)
    if files:
        known.append(
            f"the project has other requirements too, e.g. `requirements: {files[0]}` in the"
            " stack's config"
        )
    return f"; {'; '.join(known)}" if known else ""
