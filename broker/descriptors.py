"""Which file descriptor belongs to which connection, told from libzmq's events and from what arrives.

ZeroMQ says that a connection has ended by its descriptor, and only by closing a descriptor can one connection be ended.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Container
from typing import Final

from core.limits import LOGIN_TIME_MAX, WAITING_MAX

_ASK: Final = 3


class Descriptors:
    """The descriptors in use: those that wait for a login, and the routing id of each that has spoken.

    Events must be told in order, and all of them before anything that arrived after they happened.
    """

    def __init__(self) -> None:
        self.suspects: Final[dict[bytes, int]] = {}  # connections that seem to have ended, and how often to ask
        self._waiting: dict[int, float] = {}
        self._of: dict[bytes, int] = {}
        self._by_descriptor: dict[int, bytes] = {}

    def accepted(self, descriptor: int, now: float) -> int | None:
        """A connection came; returns the descriptor of one that must be cut because too many wait."""
        before = self._by_descriptor.get(descriptor)
        if before is not None:  # the number was given to a new connection, so the old one is over
            self.suspect(before)
            self.release(before)
        self._waiting[descriptor] = now
        if len(self._waiting) <= WAITING_MAX:
            return None
        oldest = next(iter(self._waiting))
        del self._waiting[oldest]
        return oldest

    def disconnected(self, descriptor: int) -> None:
        """A connection ended."""
        self._waiting.pop(descriptor, None)
        rid = self._by_descriptor.get(descriptor)
        if rid is not None:
            self.suspect(rid)

    def suspect(self, rid: bytes) -> None:
        """Find out whether this connection has ended."""
        self.suspects[rid] = _ASK

    def seems_alive(self, rid: bytes) -> None:
        """Something could be sent to a suspect. After a few times it is one no more."""
        self.suspects[rid] -= 1
        if not self.suspects[rid]:
            del self.suspects[rid]

    def note(self, rid: bytes, descriptor: int, members: Container[bytes]) -> None:
        """A connection spoke for the first time; ``members`` are those that have logged in."""
        before = self._by_descriptor.get(descriptor)
        if before is not None and before != rid:
            if before in members:
                return  # ``rid`` is over, and this is what it left to be read
            self.release(before)
        self._by_descriptor[descriptor] = rid
        self._of[rid] = descriptor

    def logged_in(self, rid: bytes) -> None:
        """A connection need not be cut for waiting."""
        self._waiting.pop(self._of.get(rid, -1), None)

    def release(self, rid: bytes) -> int | None:
        """Forget whose a descriptor was, and return it."""
        descriptor = self._of.pop(rid, None)
        if descriptor is not None:
            del self._by_descriptor[descriptor]
        return descriptor

    def forget(self, rid: bytes) -> None:
        """A connection is over."""
        self.release(rid)
        self.suspects.pop(rid, None)

    @property
    def open(self) -> int:
        """How many connections have spoken and do not seem to have ended."""
        return len(self._of.keys() - self.suspects.keys())

    def overdue(self, now: float) -> list[int]:
        """Take the descriptors of those that have waited too long."""
        late = [one for one, since in self._waiting.items() if now - since > LOGIN_TIME_MAX]
        for one in late:
            del self._waiting[one]
        return late

    def __len__(self) -> int:
        return len(self._waiting) + len(self._of) + len(self._by_descriptor) + len(self.suspects)


def shut(descriptor: int) -> None:
    """Shut a socket that libzmq owns: it then closes it itself, as if the peer had gone."""
    with contextlib.suppress(OSError):
        borrowed = socket.socket(fileno=descriptor)  # not a duplicate: there may be no descriptor left for one
        try:
            borrowed.shutdown(socket.SHUT_RDWR)
        finally:
            borrowed.detach()
