"""What one connection is still to be given of what was stored: copies from the mailbox, and news for a sender."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator
from enum import Enum
from typing import NamedTuple

_TRIM = 1024


class Plan:
    """Copy ids that a connection is to be given, the smallest first."""

    __slots__ = ("_at", "_ids")

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._ids = sorted(ids)
        self._at = 0

    def __len__(self) -> int:
        return len(self._ids) - self._at

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids[self._at :])

    def __contains__(self, number: int) -> bool:
        at = bisect_left(self._ids, number, self._at)
        return at < len(self._ids) and self._ids[at] == number

    @property
    def first(self) -> int:
        """The next one; there must be one."""
        return self._ids[self._at]

    def skip(self) -> None:
        """Take out the next one."""
        self._at += 1
        if self._at >= _TRIM and 2 * self._at >= len(self._ids):
            del self._ids[: self._at]
            self._at = 0

    def add(self, number: int) -> None:
        """Put one in, at its place; once."""
        if len(self) == 0 or number > self._ids[-1]:
            self._ids.append(number)
        elif number not in self:
            self._ids.insert(bisect_left(self._ids, number, self._at), number)

    def keep(self, ids: Container[int]) -> None:
        """Take out all but these."""
        self._ids, self._at = [number for number in self if number in ids], 0

    def clear(self) -> None:
        """Take out all."""
        self._ids, self._at = [], 0


class Held(NamedTuple):
    """A copy that is on disk, or on its way there, as a connection holds it without having acknowledged it."""

    size: int
    mid: bytes
    sender: str
    sender_kid: str


class Hearing(Enum):
    """How far a connection is with the receipts that were kept for its user."""

    LOADING = "loading"  # a portion is being read
    SENT = "sent"  # a portion was sent, and there are more: they follow when it is noted
    ALL = "all"  # what comes is sent at once


class CatchUp:
    """``plan`` is not even read yet, ``loading`` is being read, ``held`` is given out and not acknowledged.

    While there are copies in ``plan`` or ``loading``, nothing newer may be given to the connection. ``until`` is the copy id
    below which everything was there at the login; None once it has been told that it has caught up. ``stuck`` is whether its
    queue was full: then nothing more is given to it until the next sweep.
    """

    __slots__ = ("held", "loading", "news", "news_to", "plan", "stuck", "until")

    def __init__(self) -> None:
        self.plan = Plan()
        self.loading: tuple[int, ...] = ()
        self.held: dict[int, Held] = {}
        self.stuck = False
        self.until: int | None = None
        self.news = Hearing.ALL
        self.news_to = 0  # the last receipt that it was sent

    @property
    def pending(self) -> bool:
        """Whether there is something that must be given out before anything newer."""
        return bool(self.loading) or len(self.plan) > 0

    def wants(self, number: int) -> bool:
        """Whether this connection has the copy, or is to be given it."""
        return number in self.held or number in self.loading or number in self.plan
