"""What a person reads of the data that was copied."""

from __future__ import annotations

_TO_LOOK_AT = {
    "as_they_are": "SQLite can't read {}, copied as it is",
    "left_out": "left out, neither file, folder nor link: {}",
    "changed": "became shorter while it was copied: {}",
    "of_others": "of another user, the application's from now on: {}",
}


def in_words(summary: dict[str, object]) -> str:
    """What was copied, and what of it a person should look at."""
    lines = [counts(summary)]
    for key, text in _TO_LOOK_AT.items():
        count, names = _listed(summary.get(key))
        if not count:
            continue
        listed = ", ".join(map(str, names))
        if count > len(names):
            listed = f"{listed} …"
        lines.append(text.format(listed))
    return "; ".join(lines)


def _listed(value: object) -> tuple[int, list[object]]:
    """How many files there are of a kind, and the names of the first of them, from a list that
    begins with their number."""
    if not isinstance(value, list) or not value:
        return 0, []
    count, *names = value
    if not isinstance(count, int):
        return 0, []
    return count, names


def counts(summary: dict[str, object]) -> str:
    """How much was copied."""
    return (
        f"{summary.get('files', 0)} files, {summary.get('tables', 0)} tables with"
        f" {summary.get('rows', 0)} rows"
    )
