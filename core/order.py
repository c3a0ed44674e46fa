"""Order made visible: what is missing, late, or there twice among the messages of one sender.

A sender numbers its messages to each recipient from 1. A jump is a gap, unless the sender itself says that the numbers
between were given up. Two messages under one number are a fork: the sender, or whoever holds its key, said two things.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

_STREAMS_MAX: Final = 4096
_GAPS_MAX: Final = 64
_NUMBERS_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands: how many before it are newly ``missing``, and whether it is ``late`` or a ``fork``."""

    missing: int = 0
    late: bool = False
    fork: bool = False


@dataclass(slots=True)
class _Stream:
    highest: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    mids: dict[int, bytes] = field(default_factory=dict)


class Order:
    """What has come from each (identity key, sid). Its memory is bounded: the oldest is forgotten first."""

    def __init__(self) -> None:
        self._streams: OrderedDict[tuple[bytes, bytes], _Stream] = OrderedDict()

    def place(self, kid: bytes, sid: bytes, n: int, mid: bytes, void: Collection[int] = ()) -> Place:
        """Take note of message ``n``, whose sender gave up the numbers in ``void``."""
        stream = self._streams.setdefault((kid, sid), _Stream())
        self._streams.move_to_end((kid, sid))
        if len(self._streams) > _STREAMS_MAX:
            self._streams.popitem(last=False)
        missing, late, fork = 0, False, False
        if n > stream.highest:
            opened = [(stream.highest + 1, n - 1)] if n > stream.highest + 1 else []
            for given_up in void:
                opened = _without(opened, given_up)
                stream.gaps = _without(stream.gaps, given_up)
            missing = sum(last - first + 1 for first, last in opened)
            stream.gaps = [*stream.gaps, *opened][-_GAPS_MAX:]
            stream.highest = n
        elif n in stream.mids:
            fork = stream.mids[n] != mid
        else:
            late = True
            stream.gaps = _without(stream.gaps, n)
        stream.mids[n] = mid
        if len(stream.mids) > _NUMBERS_MAX:
            del stream.mids[next(iter(stream.mids))]
        return Place(missing, late, fork)

    def open_gaps(self, kid: bytes, sid: bytes) -> int:
        """How many messages of this stream are missing now."""
        stream = self._streams.get((kid, sid))
        return sum(last - first + 1 for first, last in stream.gaps) if stream else 0


def _without(ranges: list[tuple[int, int]], n: int) -> list[tuple[int, int]]:
    """The ranges with ``n`` taken out."""
    rest = []
    for first, last in ranges:
        if not first <= n <= last:
            rest.append((first, last))
            continue
        if first < n:
            rest.append((first, n - 1))
        if n < last:
            rest.append((n + 1, last))
    return rest
