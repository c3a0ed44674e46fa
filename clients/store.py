"""A profile's database: what it remembers about others. Shared by all processes of the profile."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from clients.database import Database, check_record
from clients.history import SCHEMA as HISTORY_SCHEMA
from clients.history import StoredHistory
from clients.outbox import SCHEMA as OUTBOX_SCHEMA
from clients.outbox import StoredOutbox
from clients.tickets import SCHEMA as UPLOADS_SCHEMA
from clients.tickets import StoredTickets
from core.errors import RecordDamaged, StoreFailed
from core.events import Event, Outcome, Receipt
from core.limits import REPLAY_MEMORY_MS
from core.memory import Pin, Taken
from core.order import Stream
from core.outbox import Outgoing
from core.vault import Records

VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE pins (
    user TEXT PRIMARY KEY, kid BLOB NOT NULL, profile INTEGER NOT NULL, since INTEGER NOT NULL, verified INTEGER,
    blocked INTEGER NOT NULL, offered BLOB, offered_at INTEGER
) STRICT;
CREATE TABLE taken (
    kid BLOB NOT NULL, mid BLOB NOT NULL, proof BLOB NOT NULL, sid BLOB NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (kid, mid)
) STRICT, WITHOUT ROWID;
CREATE INDEX taken_n ON taken (kid, sid, n);
CREATE INDEX taken_at ON taken (at);
CREATE TABLE streams (
    kid BLOB NOT NULL, sid BLOB NOT NULL, highest INTEGER NOT NULL, gaps TEXT NOT NULL, PRIMARY KEY (kid, sid)
) STRICT, WITHOUT ROWID;
CREATE TABLE bundles (kid BLOB PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
SCHEMA: Final = _SCHEMA + OUTBOX_SCHEMA + HISTORY_SCHEMA + UPLOADS_SCHEMA


class Store(Database):
    """A ``core.memory.Memory`` in SQLite, with the profile's ``outbox`` and ``history``. May be used from any thread.

    ``data_key`` (32 bytes) encrypts what was said. Raises StoreFailed where the database cannot be used.
    """

    def __init__(self, path: Path, data_key: bytes) -> None:
        super().__init__(path, SCHEMA, VERSION)
        records = Records(data_key, random=os.urandom)
        self.outbox: Final = StoredOutbox(self, records, random=os.urandom)
        self.history: Final = StoredHistory(self, records)
        self.tickets: Final = StoredTickets(self, records, random=os.urandom, clock=time.time)

    def close(self) -> None:
        """Let go of the uploads that go on no more, and close the file."""
        with contextlib.suppress(StoreFailed):  # then others see in time that nobody holds them
            self.tickets.release_all()
        super().close()

    def setting(self, name: str) -> str | None:
        """A setting of the profile."""
        found = self.query("SELECT value FROM settings WHERE name = ?", name)
        return str(found[0][0]) if found else None

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting of the profile."""
        self.query("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    def drop(self, envelopes: Iterable[Outgoing], now_ms: int) -> None:
        """Give up envelopes that wait to be sent; the history says so."""
        with self.together():
            news: list[Event] = [
                Receipt(one.id, user, Outcome.DROPPED)
                for one in envelopes
                for user in one.to
                if self.outbox.settle(one.mid, user, Outcome.DROPPED, now_ms)
            ]
            self.history.record(news, now_ms)

    def begin_anew(self, now_ms: int) -> list[Outgoing]:
        """Forget how far a lost copy of this profile had come, when this one was made from a backup.

        What waited to be sent is given up, and returned: it may have been sent since, and a recipient who has it would miss
        the number under which it came again. Uploads begin anew.
        """
        with self.together():
            waiting = self.outbox.waiting()
            self.drop(waiting, now_ms)
            self.outbox.count_anew()
            for ticket in self.tickets.all():
                self.tickets.drop(ticket.blob)
        return waiting

    def pin(self, user: str) -> Pin | None:
        """See ``core.memory.Memory``."""
        found = self.query("SELECT * FROM pins WHERE user = ?", user)
        return _pin(found[0]) if found else None

    def pins(self) -> Iterable[Pin]:
        """See ``core.memory.Memory``."""
        return [_pin(row) for row in self.query("SELECT * FROM pins ORDER BY user")]

    def set_pin(self, pin: Pin) -> None:
        """See ``core.memory.Memory``."""
        self.query(
            "INSERT OR REPLACE INTO pins VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(pin.user, pin.kid, pin.profile, pin.since, pin.verified, pin.blocked, pin.offered, pin.offered_at),
        )

    def taken(self, kid: bytes, mid: bytes) -> bytes | None:
        """See ``core.memory.Memory``."""
        found = self.query("SELECT proof FROM taken WHERE kid = ? AND mid = ?", kid, mid)
        return bytes(found[0][0]) if found else None

    def stream(self, kid: bytes, sid: bytes) -> Stream:
        """See ``core.memory.Memory``."""
        found = self.query("SELECT highest, gaps FROM streams WHERE kid = ? AND sid = ?", kid, sid)
        if not found:
            return Stream()
        ((highest, gaps),) = found
        try:
            return Stream(highest, msgspec.json.decode(gaps, type=tuple[tuple[int, int], ...]))
        except msgspec.MsgspecError:
            raise RecordDamaged from None

    def numbered(self, kid: bytes, sid: bytes, n: int) -> bytes | None:
        """See ``core.memory.Memory``."""
        found = self.query("SELECT mid FROM taken WHERE kid = ? AND sid = ? AND n = ?", kid, sid, n)
        return bytes(found[0][0]) if found else None

    def take(self, taken: Taken, now_ms: int) -> None:
        """See ``core.memory.Memory``."""
        gaps = msgspec.json.encode(taken.stream.gaps).decode("ascii")
        with self.together():
            self.query(
                "INSERT OR IGNORE INTO taken VALUES (?, ?, ?, ?, ?, ?)",
                *(taken.kid, taken.mid, taken.proof, taken.sid, taken.n, now_ms),
            )
            self.query("INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?)", taken.kid, taken.sid, taken.stream.highest, gaps)
            self.query("DELETE FROM taken WHERE at < ?", now_ms - REPLAY_MEMORY_MS)

    def newest_bundle(self, kid: bytes) -> int:
        """See ``core.memory.Memory``."""
        found = self.query("SELECT seq FROM bundles WHERE kid = ?", kid)
        return int(found[0][0]) if found else 0

    def saw_bundle(self, kid: bytes, seq: int) -> None:
        """See ``core.memory.Memory``."""
        self.query("INSERT INTO bundles VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)", kid, seq)


def _pin(row: tuple[Any, ...]) -> Pin:
    user, kid, profile, since, verified, blocked, offered, offered_at = row
    check_record((user,), (since, verified or 0, offered_at or 0))
    return Pin(user, kid, bool(profile), since, verified, bool(blocked), offered, offered_at)
