"""What a client remembers: pins, what it has already taken, and (``core.outbox``) what is on its way out.

A guest's memory is this module's; it dies with the session. A profile's is a database that says the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Protocol

from core.limits import REPLAY_MEMORY_MS
from core.order import Stream
from core.outbox import Outbox, SessionOutbox

_STREAMS_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Pin:
    """The identity key that a name stands for.

    ``kid`` has 32 bytes; times are milliseconds since 1970. ``offered`` is another key that was seen under the name and not
    accepted. ``profile`` stays true once a profile held the name.
    """

    user: str
    kid: bytes
    profile: bool
    since: int
    verified: int | None = None
    blocked: bool = False
    offered: bytes | None = None
    offered_at: int | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that passed every check: whose, which, its delivery proof, its number, and its stream after it."""

    kid: bytes
    mid: bytes
    proof: bytes
    sid: bytes
    n: int
    stream: Stream


class Memory(Protocol):
    """What a session asks and tells. Every method is quick; what must not be lost is on disk when it returns."""

    @property
    def outbox(self) -> Outbox:
        """What is on its way out."""

    def together(self) -> AbstractContextManager[None]:
        """What is written within is on disk together at its end, or none of it; and nobody else writes meanwhile."""

    def pin(self, user: str) -> Pin | None:
        """The pin of a name."""

    def pins(self) -> Iterable[Pin]:
        """All pins."""

    def set_pin(self, pin: Pin) -> None:
        """Keep a pin in place of the one before."""

    def taken(self, kid: bytes, mid: bytes) -> bytes | None:
        """The delivery proof that was given for a message of this key, if it was taken."""

    def stream(self, kid: bytes, sid: bytes) -> Stream:
        """What has come from this key in this counter space."""

    def numbered(self, kid: bytes, sid: bytes, n: int) -> bytes | None:
        """The mid of the message that had this number, if it is remembered."""

    def take(self, taken: Taken, now_ms: int) -> None:
        """Remember a message as taken, for 32 days, and its stream; all of it or nothing."""

    def newest_bundle(self, kid: bytes) -> int:
        """The highest ``seq`` of a bundle of this key that was seen; 0 for none."""

    def saw_bundle(self, kid: bytes, seq: int) -> None:
        """Remember a bundle's ``seq``."""


class SessionMemory:
    """A memory that lasts as long as the program."""

    def __init__(self) -> None:
        self.outbox: Final = SessionOutbox()
        self._pins: dict[str, Pin] = {}
        self._taken: dict[tuple[bytes, bytes], tuple[Taken, int]] = {}
        self._numbered: dict[tuple[bytes, bytes, int], bytes] = {}
        self._streams: OrderedDict[tuple[bytes, bytes], Stream] = OrderedDict()
        self._bundles: dict[bytes, int] = {}

    def pin(self, user: str) -> Pin | None:
        """See ``Memory``."""
        return self._pins.get(user)

    def pins(self) -> Iterable[Pin]:
        """See ``Memory``."""
        return tuple(self._pins.values())

    def set_pin(self, pin: Pin) -> None:
        """See ``Memory``."""
        self._pins[pin.user] = pin

    def taken(self, kid: bytes, mid: bytes) -> bytes | None:
        """See ``Memory``."""
        known = self._taken.get((kid, mid))
        return known[0].proof if known else None

    def stream(self, kid: bytes, sid: bytes) -> Stream:
        """See ``Memory``."""
        return self._streams.get((kid, sid), Stream())

    def numbered(self, kid: bytes, sid: bytes, n: int) -> bytes | None:
        """See ``Memory``."""
        return self._numbered.get((kid, sid, n))

    def together(self) -> AbstractContextManager[None]:
        """See ``Memory``."""
        return nullcontext()

    def take(self, taken: Taken, now_ms: int) -> None:
        """See ``Memory``."""
        self._taken[taken.kid, taken.mid] = (taken, now_ms)
        self._numbered.setdefault((taken.kid, taken.sid, taken.n), taken.mid)
        self._streams[taken.kid, taken.sid] = taken.stream
        self._streams.move_to_end((taken.kid, taken.sid))
        if len(self._streams) > _STREAMS_MAX:
            self._streams.popitem(last=False)
        oldest, at = self._taken[next(iter(self._taken))]
        if at < now_ms - REPLAY_MEMORY_MS:  # one in, at most one out: never a long pause
            del self._taken[oldest.kid, oldest.mid]
            self._numbered.pop((oldest.kid, oldest.sid, oldest.n), None)

    def newest_bundle(self, kid: bytes) -> int:
        """See ``Memory``."""
        return self._bundles.get(kid, 0)

    def saw_bundle(self, kid: bytes, seq: int) -> None:
        """See ``Memory``."""
        self._bundles[kid] = max(seq, self._bundles.get(kid, 0))
