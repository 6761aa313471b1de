"""What is usually taken instead of a package that has no wheel. `fab adopt` and a ship say the same."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rollout import python
from rollout.release.needs import Requirements, other_requirements

INSTEAD = {
    "psycopg2": "psycopg2-binary, the same code as a wheel, or psycopg[binary] with Django 4.2 and later",
    "psycopg-c": "psycopg[binary]",
    "psycopg": "psycopg[binary]",
    "mysqlclient": "PyMySQL (`pymysql.install_as_MySQLdb()` in the settings)",
    "pygraphviz": "a version on an index of yours that has a wheel",
    "pycairo": "a version on an index of yours that has a wheel",
    "dbus-python": "nothing that a server needs: leave it out",
    "uwsgi": "nothing: gunicorn serves here, leave it out",
    "pyuwsgi": "nothing: gunicorn serves here, leave it out",
    "python-ldap": "ldap3, or bonsai",
    "pycrypto": "pycryptodome",
    "pil": "Pillow",
    "xmlsec": "a newer xmlsec, which has wheels",
    "m2crypto": "cryptography",
    "python-levenshtein": "rapidfuzz",
    "pylibmc": "pymemcache",
    "backports-zoneinfo": "nothing: Python has zoneinfo since 3.9; mark it `; python_version < '3.9'`",
}
# Those of them that no index has a wheel of, in any version.
NEVER_A_WHEEL = ("psycopg2", "psycopg-c", "mysqlclient", "python-ldap", "uwsgi", "pygraphviz", "pycairo", "dbus-python")


def other_python(said: str) -> str:
    """The Debian whose Python a package asks for, where that is why uv finds no solution; "" otherwise."""
    asked = re.search(r"does not satisfy Python((?:>=|>|==|~=)[\d.]+)", said)
    if asked is None:
        return ""
    fits = python.fitting(asked[1])
    if fits is None:
        return ""
    return (
        f"; {fits} has Python {fits.version}: `image: {fits.name}` in the stack's config, and `fab replace NAME` for "
        "a host that is there"
    )


def hint(names: Iterable[str], wanted: Requirements) -> str:
    """Ways out that are known for these packages, and other requirements files of the project; "" for none."""
    known = [f"instead of {name}: {INSTEAD[name]}" for name in names if name in INSTEAD]
    if files := other_requirements(wanted):
        known.append(f"the project has other requirements too, e.g. `requirements: {files[0]}` in the stack's config")
    return f"; {'; '.join(known)}" if known else ""
