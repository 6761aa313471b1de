"""Sections of the documentation as HTML, so that a report which is sent to somebody has them with
it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from rollout.stacks import ROOT

_HEADING = re.compile(r"(#+) (.+)")
_INLINE = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|\*([^*\s][^*]*)\*|\[([^\]]+)\]\(([^)\s]+)\)")
_FENCE = "```"


def anchor_of(heading: str) -> str:
    """The anchor of a heading, as Git hosts make it."""
    text = re.sub(r"[^\w\- ]", "", heading.lower())
    return text.replace(" ", "-")


def section_id(link: str) -> str:
    """The id in the report of what a link such as `docs/cors-errors.md#csp` leads to."""
    page, _, anchor = link.partition("#")
    return f"{Path(page).stem}-{anchor}"


def sections(links: Iterable[str]) -> dict[str, str]:
    """The HTML of each section by its link, and of those that they lead to on the same page. A
    section or page that does not exist is left out."""
    found: dict[str, str] = {}
    todo = list(dict.fromkeys(links))
    while todo:
        link = todo.pop(0)
        lines = _lines_of(link)
        if link in found or not lines:
            continue
        found[link] = _section(link, lines)
        page = link.partition("#")[0]
        for target in _targets(lines):
            inner_link = f"{page}{target}"
            if _lines_of(inner_link):
                todo.append(inner_link)
    return found


@functools.cache
def _page(path: str) -> tuple[str, ...]:
    try:
        text = (ROOT / path).read_text()
    except OSError:  # a kit without its docs/: the link stays a text
        return ()
    return tuple(text.splitlines())


def _lines_of(link: str) -> list[str]:
    """A section's lines with its heading first; empty where there is none."""
    path, _, anchor = link.partition("#")
    found: list[str] = []
    for line in _page(path):
        heading = _HEADING.fullmatch(line)
        if heading and found:
            break
        is_first = heading is not None and anchor_of(heading[2]) == anchor
        if found or is_first:
            found.append(line)
    return found


def _targets(lines: Sequence[str]) -> list[str]:
    """Where the section's links lead on its own page."""
    found = []
    for match in _INLINE.finditer("\n".join(lines)):
        target = match[5]
        if target and target.startswith("#"):
            found.append(target)
    return found


def _section(link: str, lines: Sequence[str]) -> str:
    heading = _HEADING.fullmatch(lines[0])
    title = heading[2] if heading else ""
    body = "".join(_blocks(lines[1:], link))
    name = escape(section_id(link))
    return f'<section class=guide id="{name}"><h3>{escape(title)}</h3>{body}</section>'


def _blocks(lines: Sequence[str], link: str) -> Iterator[str]:
    """Paragraphs, lists and listings."""
    for block in _split(lines):
        if block[0].startswith(_FENCE):
            listing = [line for line in block if not line.startswith(_FENCE)]
            text = escape("\n".join(listing))
            yield f"<pre>{text}</pre>"
        elif block[0].startswith("- "):
            yield _list(block, link)
        else:
            paragraph = " ".join(block)
            yield f"<p>{_inline(paragraph, link)}</p>"


def _list(block: Sequence[str], link: str) -> str:
    text = "\n".join(block)
    html = ""
    for item in text.removeprefix("- ").split("\n- "):
        html += f"<li>{_inline(item, link)}</li>"
    return f"<ul>{html}</ul>"


def _split(lines: Sequence[str]) -> Iterator[list[str]]:
    """Blocks: blank lines end one outside of a listing, and a list begins one."""
    block: list[str] = []
    inside = False
    for line in lines:
        is_blank = not line.strip() or line == "---"
        in_list_or_listing = bool(block) and block[0].startswith(("- ", _FENCE))
        starts_list = line.startswith("- ") and not in_list_or_listing
        if block and not inside and (is_blank or starts_list):
            yield block
            block = []
        if line.startswith(_FENCE):
            inside = not inside
        if inside or not is_blank:
            block.append(line)
    if block:
        yield block


def _inline(text: str, link: str) -> str:
    """Code, bold, italics and links; everything else as it is."""
    parts = []
    end = 0
    for match in _INLINE.finditer(text):
        parts.append(escape(text[end : match.start()]))
        parts.append(_element(match, link))
        end = match.end()
    parts.append(escape(text[end:]))
    return "".join(parts)


def _element(match: re.Match[str], link: str) -> str:
    code, bold, italic, label, target = match.groups()
    if code:
        return f"<code>{escape(code)}</code>"
    if bold:
        return f"<strong>{_inline(bold, link)}</strong>"
    if italic:
        return f"<em>{_inline(italic, link)}</em>"
    return _link(_inline(label, link), target, link)


def _link(label: str, target: str, link: str) -> str:
    """A link to a section that comes with this one, or to the web; for another page its name."""
    if target.startswith("#"):
        page, _, _ = link.partition("#")
        here = f"{page}{target}"
        if not _lines_of(here):
            return label
        name = escape(section_id(here))
        return f'<a href="#{name}">{label}</a>'
    if target.startswith(("https://", "http://")):
        return f'<a href="{escape(target)}">{label}</a>'
    return f"{label} (docs/{escape(target)})"
