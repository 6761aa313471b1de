"""What nginx says of the content that it sends: its types, and what of it is compressed."""

from __future__ import annotations

from rollout.render.templates import fill

# text/html is compressed in any case. Not text/event-stream, and nothing that is compressed itself.
COMPRESSED = (
    "text/plain",
    "text/css",
    "text/javascript",
    "text/xml",
    "text/csv",
    "text/markdown",
    "text/calendar",
    "text/vtt",
    "application/javascript",
    "application/json",
    "application/geo+json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/vnd.api+json",
    "application/xml",
    "application/xhtml+xml",
    "application/atom+xml",
    "application/rss+xml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/svg+xml",
    "image/x-icon",
)


def types() -> str:
    """The http level's part: types by a file's extension."""
    return fill("types.conf").rstrip()


def compression() -> str:
    """The lines of a server that compresses."""
    return fill("compression.conf", types=" ".join(COMPRESSED)).rstrip()
