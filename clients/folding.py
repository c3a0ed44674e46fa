"""Lines that a terminal does not have to break: what it goes on with at its left edge could pass for a line of its own."""

from __future__ import annotations

import functools
import unicodedata
from typing import Final

_JOINERS: Final = "\u200c\u200d"
_AS_PICTURE: Final = "\ufe0f"  # makes some terminals draw what stands before it two columns wide


def cells(text: str) -> int:
    """How many columns ``text`` takes at most; where terminals differ, the larger number."""
    return sum(_cells(one) for one in text)


@functools.cache
def _cells(one: str) -> int:
    from wcwidth import wcwidth

    if unicodedata.east_asian_width(one) in "WF":
        return 2
    drawn_with_another = unicodedata.category(one) in ("Mn", "Me") or one in _JOINERS
    return max(0 if drawn_with_another and one != _AS_PICTURE else 1, wcwidth(one))


def folded(line: str, first: int, later: int) -> list[str]:
    """``line`` in pieces: one that takes at most ``first`` columns, which may be none, then such of at most ``later``.

    Words that are longer than a line are broken.
    """
    pieces: list[str] = []
    line, room = line.expandtabs(), first
    while (fits := _fitting(line, room)) < len(line):
        cut = line.rfind(" ", 1, fits + 1)
        if cut < 0:
            cut = 0 if room < later else max(fits, 1)
        pieces.append(line[:cut].rstrip(" "))
        line, room = line[cut:].lstrip(" "), later
    return [*pieces, line]


def _fitting(line: str, room: int) -> int:
    """How many of its characters take at most ``room`` columns."""
    taken = 0
    for at, one in enumerate(line):
        taken += _cells(one)
        if taken > room:
            return at
    return len(line)
