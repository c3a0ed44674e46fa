"""A profile's uploads that are under way, so that one which was broken off goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec

from clients.database import Database
from core.errors import RecordDamaged
from core.limits import FILE_CHUNK
from core.vault import Records

SCHEMA: Final = """
CREATE TABLE uploads (blob BLOB PRIMARY KEY, body BLOB NOT NULL, holder BLOB, held INTEGER NOT NULL) STRICT;
"""
_HOLDER: Final = 16
_LEASE_MS: Final = 90_000
"""Whoever has not gone on for this long has died: an upload gives up sooner when it hears nothing of the broker."""


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """One upload: which file, as it was when the upload began, and what its chunks are sealed with.

    ``path`` is where the file lies, or what else it is known as; ``changed_ns`` is its modification time. ``digest`` is the
    SHA-256 of its first ``chunks`` chunks, which the broker has.
    """

    path: str
    size: int
    changed_ns: int
    blob: bytes
    key: bytes
    chunks: int = 0
    digest: bytes = b""

    @property
    def name(self) -> str:
        """The file's name, for people."""
        return self.path.rpartition("/")[2]

    @property
    def done(self) -> int:
        """How many bytes of the file the broker has."""
        return min(self.chunks * FILE_CHUNK, self.size)

    def __repr__(self) -> str:
        """Never show the key."""
        return f"Ticket(path={self.path!r}, chunks={self.chunks})"


_DECODER: Final = msgspec.msgpack.Decoder(Ticket)


class Tickets(Protocol):
    """Where uploads under way are noted."""

    def all(self) -> Iterable[Ticket]:
        """Every upload that was begun and whose file was not sent."""

    def held(self) -> set[bytes]:
        """Those that another program, or another session of the page, is carrying on now."""

    def note(self, ticket: Ticket) -> None:
        """An upload was begun, or has gone on: it is held from now."""

    def release(self, blob: bytes) -> None:
        """An upload does not go on here."""

    def drop(self, blob: bytes) -> None:
        """An upload is over."""


class SessionTickets:
    """Tickets that last as long as the program."""

    def __init__(self) -> None:
        self._tickets: dict[bytes, Ticket] = {}

    def all(self) -> Iterable[Ticket]:
        """See ``Tickets``."""
        return list(self._tickets.values())

    def held(self) -> set[bytes]:
        """See ``Tickets``. Nobody else has these."""
        return set()

    def note(self, ticket: Ticket) -> None:
        """See ``Tickets``."""
        self._tickets[ticket.blob] = ticket

    def release(self, blob: bytes) -> None:
        """See ``Tickets``."""

    def drop(self, blob: bytes) -> None:
        """See ``Tickets``."""
        self._tickets.pop(blob, None)


class StoredTickets:
    """Tickets in a profile's database. Raises StoreFailed where that cannot be used, RecordDamaged for what was altered.

    ``random`` gives that many random bytes, by which this process is known when it holds an upload; ``clock``
    gives seconds since 1970.
    """

    def __init__(
        self, database: Database, records: Records, *, random: Callable[[int], bytes], clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._records = records
        self._holder = random(_HOLDER)
        self._clock = clock

    def all(self) -> Iterable[Ticket]:
        """See ``Tickets``."""
        return [self._read(blob, body) for blob, body in self._database.query("SELECT blob, body FROM uploads")]

    def _read(self, blob: bytes, body: bytes) -> Ticket:
        try:
            return _DECODER.decode(self._records.unlock(body, blob))
        except msgspec.MsgspecError:
            raise RecordDamaged from None

    def held(self) -> set[bytes]:
        """See ``Tickets``."""
        since = self._now_ms() - _LEASE_MS
        found = self._database.query("SELECT blob FROM uploads WHERE holder IS NOT ? AND held > ?", self._holder, since)
        return {blob for (blob,) in found}

    def note(self, ticket: Ticket) -> None:
        """See ``Tickets``."""
        body = self._records.lock(msgspec.msgpack.encode(ticket), ticket.blob)
        self._database.query(
            "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?)",
            *(ticket.blob, body, self._holder, self._now_ms()),
        )

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def release(self, blob: bytes) -> None:
        """See ``Tickets``."""
        self._database.query("UPDATE uploads SET held = 0 WHERE blob = ? AND holder = ?", blob, self._holder)

    def release_all(self) -> None:
        """Nothing goes on here."""
        self._database.query("UPDATE uploads SET held = 0 WHERE holder = ?", self._holder)

    def drop(self, blob: bytes) -> None:
        """See ``Tickets``."""
        self._database.query("DELETE FROM uploads WHERE blob = ?", blob)
