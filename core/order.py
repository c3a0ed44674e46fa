"""Order made visible: what is missing, late, or there twice among the messages of one sender.

A sender numbers its messages to each recipient from 1. A jump is a gap, unless the sender itself says that the numbers
between were given up. Two messages under one number are a fork: the sender, or whoever holds its key, said two things.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

_GAPS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands: how many before it are newly ``missing``, and whether it is ``late`` or a ``fork``."""

    missing: int = 0
    late: bool = False
    fork: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """What has come of one (identity key, sid): the highest number, and the ranges (first, last) missing below it.

    At most 64 ranges are kept, the newest.
    """

    highest: int = 0
    gaps: tuple[tuple[int, int], ...] = ()

    @property
    def missing(self) -> int:
        """How many messages are missing now."""
        return sum(last - first + 1 for first, last in self.gaps)


def place(stream: Stream, n: int, mid: bytes, taken: bytes | None, void: Collection[int] = ()) -> tuple[Stream, Place]:
    """Find message ``n``'s place; returns the stream with it, and the place.

    ``taken`` is the mid of a message that had this number already, if one is remembered; ``void`` are numbers that the sender
    gave up.
    """
    if n > stream.highest:
        opened: tuple[tuple[int, int], ...] = ((stream.highest + 1, n - 1),) if n > stream.highest + 1 else ()
        gaps = stream.gaps
        for given_up in void:
            opened, gaps = _without(opened, given_up), _without(gaps, given_up)
        missing = sum(last - first + 1 for first, last in opened)
        return Stream(n, (*gaps, *opened)[-_GAPS_MAX:]), Place(missing=missing)
    if taken is not None:
        return stream, Place(fork=taken != mid)
    return Stream(stream.highest, _without(stream.gaps, n)), Place(late=True)


def _without(ranges: tuple[tuple[int, int], ...], n: int) -> tuple[tuple[int, int], ...]:
    """The ranges with ``n`` taken out."""
    rest: list[tuple[int, int]] = []
    for first, last in ranges:
        if not first <= n <= last:
            rest.append((first, last))
            continue
        if first < n:
            rest.append((first, n - 1))
        if n < last:
            rest.append((n + 1, last))
    return tuple(rest)
