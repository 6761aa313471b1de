"""Ports of origins: the default ones, and those that browsers block. Pure."""

from __future__ import annotations

import re

from infra.core.origins.errors import Refusal, shown

DEFAULT_PORTS = {"http": 80, "https": 443}
HIGHEST = 65_535

# Fetch standard, "bad port", as of 2026-07-02: browsers load nothing from these.
_BAD_PORTS = """
    1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113
    115 117 119 123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554
    556 563 587 601 636 989 990 993 995 1719 1720 1723 2049 3659 4045 4190 5060 5061 6000 6566 6665
    6666 6667 6668 6669 6679 6697 10080
"""
BAD_PORTS = frozenset(map(int, _BAD_PORTS.split()))


def parse_port(text: str) -> int:
    """A port as browsers write it. Raises Refusal."""
    if not text:
        raise Refusal("has an empty port; drop the ':' or write a number after it")
    if not re.fullmatch(r"[0-9]+", text):
        raise Refusal(
            f"has the port {shown(text)}, not a number; write one from 1 to 65535 in plain digits"
        )
    if text.startswith("0") and text.strip("0"):
        raise Refusal(f"has a zero-padded port; browsers write {text.lstrip('0')[:20]}")
    if len(text) > 5 or not 1 <= int(text) <= HIGHEST:
        raise Refusal(f"has the port {text[:20]}; write one from 1 to 65535")
    if int(text) in BAD_PORTS:
        raise Refusal(
            f"has the port {text}, which browsers block (Fetch standard, 'bad port'); use one like"
            " 8080"
        )
    return int(text)
