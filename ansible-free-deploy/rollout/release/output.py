"""The output of uv and pip, cut to what helps and without passwords."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from infra.core.rules import hide_password

_SECRET = re.compile(r"(UV_INDEX_.*_(PASSWORD|USERNAME)|UV_.*TOKEN|.*_PASSWORD)")
_ASIDE = re.compile(r"\s*(warning|WARNING|DEPRECATION|hint)\b")
_LONGEST_REASON = 400


def hidden(output: str) -> str:
    """A tool's output without passwords: those in URLs, and the values of variables that hold
    one."""
    text = hide_password(output)
    for name, value in os.environ.items():
        if len(value) > 3 and _SECRET.fullmatch(name):
            text = text.replace(value, "(secret)").replace(quote(value, safe=""), "(secret)")
    return text


def reason(output: str) -> str:
    """A tool's output up to where it quotes others, on one line and shortened; its warnings are
    left out."""
    lines = []
    for line in without_asides(output).splitlines():
        if line.strip():
            lines.append(re.sub(r"^(error|ERROR|cause|hint|╰─▶|×):?\s*", "", line.strip()))
    before_quotes = re.split(r"\[std(?:err|out)\]|Traceback", " ".join(lines))[0]
    text = hidden(before_quotes.strip())
    if len(text) > _LONGEST_REASON:
        return text[: _LONGEST_REASON - 3] + "..."
    return text


def without_asides(output: str) -> str:
    """The output without warnings and hints. Indented lines below one belong to it. They are no
    reason, and hints name the tool's own options, which nobody can set here."""
    kept: list[str] = []
    skips = False
    for line in output.splitlines():
        is_continued = line[:1] in ("", " ", "\t")
        skips = bool(_ASIDE.match(line)) or (skips and is_continued)
        if not skips:
            kept.append(line)
    return "\n".join(kept)


def detail(output: str) -> str:
    """The end of an output, where that is more than `reason` shows."""
    lines = without_asides(output).strip().splitlines()
    if len(lines) <= 6:
        return ""
    return hidden("\n".join(lines[-12:]))


def last(output: str) -> str:
    """The last line that is no warning."""
    lines = without_asides(output).strip().splitlines() or ["no reason given"]
    return hidden(lines[-1])
