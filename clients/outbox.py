"""A profile's outbox on disk: a ``core.outbox.Outbox`` that all its processes share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from clients.database import Database, check_record
from core.bundle import Suite
from core.content import Sendable
from core.errors import LocalProtocolError, RecordDamaged
from core.events import Outcome
from core.limits import HASH_BYTES, REPLAY_MEMORY_MS
from core.outbox import Copy, Outgoing
from core.vault import Records

_HOLDER: Final = 16
_LEASE_MS: Final = 30_000
"""Whoever has not said for this long that it is still sending has died."""

SCHEMA: Final = """
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY, mid BLOB NOT NULL UNIQUE, body BLOB NOT NULL, holder BLOB, held INTEGER NOT NULL
) STRICT;
CREATE TABLE copies (
    mid BLOB NOT NULL, user TEXT NOT NULL, id BLOB NOT NULL, outcome TEXT NOT NULL, kid BLOB, n INTEGER NOT NULL,
    proofs BLOB NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (mid, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX copies_at ON copies (at);
CREATE TABLE numbers (user TEXT NOT NULL, kid BLOB NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (user, kid)) STRICT;
CREATE TABLE void (user TEXT NOT NULL, kid BLOB NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (user, kid, n)) STRICT, WITHOUT ROWID;
"""


class _Body(msgspec.Struct, frozen=True, array_like=True):
    id: bytes
    content: Sendable
    everyone: bool
    suite: Suite
    at: int


_BODY: Final = msgspec.msgpack.Decoder(_Body)


class StoredOutbox:
    """See ``core.outbox.Outbox``. ``random`` gives that many random bytes, by which this process is known when it claims.

    Raises StoreFailed where the database cannot be used.
    """

    def __init__(self, database: Database, records: Records, *, random: Callable[[int], bytes]) -> None:
        self._database = database
        self._records = records
        self._random = random
        self._holder = random(_HOLDER)

    def add(self, envelopes: Sequence[Outgoing]) -> None:
        """See ``Outbox``."""
        with self._database.together():
            for one in envelopes:
                if self._database.query("SELECT 1 FROM copies WHERE mid = ?", one.mid):
                    raise LocalProtocolError(what="a message's id was used twice")
                body = msgspec.msgpack.encode(_Body(one.id, one.content, one.everyone, one.suite, one.at))
                self._database.query(
                    "INSERT INTO outbox (mid, body, held) VALUES (?, ?, 0)", one.mid, self._records.lock(body, one.mid)
                )
                self._database.each(
                    "INSERT INTO copies VALUES (?, ?, ?, ?, NULL, 0, x'', ?)",
                    [(one.mid, user, one.id, Outcome.QUEUED, one.at) for user in one.to],
                )
            newest = max((one.at for one in envelopes), default=0)
            self._database.query(
                "DELETE FROM copies WHERE at < ? AND outcome NOT IN (?, ?)",
                *(newest - REPLAY_MEMORY_MS, Outcome.QUEUED, Outcome.STORED),
            )

    def claim(self, most: int, now_ms: int) -> list[Outgoing]:
        """See ``Outbox``."""
        with self._database.together():
            rows = self._database.query(
                "SELECT number, mid, body FROM outbox WHERE holder IS NULL OR (holder IS NOT ? AND held < ?)"
                " ORDER BY number LIMIT ?",
                *(self._holder, now_ms - _LEASE_MS, most),
            )
            self._database.each(
                "UPDATE outbox SET holder = ?, held = ? WHERE number = ?",
                [(self._holder, now_ms, number) for number, _, _ in rows],
            )
            return [self._read(mid, body) for _, mid, body in rows]

    def waiting(self) -> list[Outgoing]:
        """All envelopes that wait for results, the oldest first."""
        return [self._read(mid, body) for mid, body in self._database.query("SELECT mid, body FROM outbox ORDER BY number")]

    def _read(self, mid: bytes, locked: bytes) -> Outgoing:
        try:
            body = _BODY.decode(self._records.unlock(locked, mid))
        except msgspec.MsgspecError:
            raise RecordDamaged from None
        rows = self._database.query("SELECT user FROM copies WHERE mid = ? AND outcome = ? ORDER BY user", mid, Outcome.QUEUED)
        to = tuple(user for (user,) in rows)
        check_record(to, (body.at,), body.content)
        return Outgoing(body.id, mid, body.content, to, body.everyone, body.suite, body.at)

    def hold(self, now_ms: int) -> None:
        """See ``Outbox``."""
        self._database.query("UPDATE outbox SET held = ? WHERE holder = ?", now_ms, self._holder)

    def release(self) -> None:
        """See ``Outbox``."""
        # Under a new name first: what cannot be released now is claimed again once nobody holds it any more.
        before, self._holder = self._holder, self._random(_HOLDER)
        self._database.query("UPDATE outbox SET holder = NULL WHERE holder = ?", before)

    def number(self, mid: bytes, user: str, kid: bytes) -> int | None:
        """See ``Outbox``."""
        with self._database.together():
            copy = self.copy(mid, user)
            if copy is None:
                raise LocalProtocolError(what="a copy that was never added")
            if copy.kid is not None:
                return copy.n if copy.kid == kid else None
            ((n,),) = self._database.query(
                "INSERT INTO numbers VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n", user, kid
            )
            self._database.query("UPDATE copies SET kid = ?, n = ? WHERE mid = ? AND user = ?", kid, n, mid, user)
            return int(n)

    def expect(self, mid: bytes, user: str, proof: bytes) -> None:
        """See ``Outbox``."""
        with self._database.together():
            copy = self.copy(mid, user)
            if copy is not None:
                self._keep(mid, replace(copy, proofs=(*copy.proofs, proof)))

    def _keep(self, mid: bytes, copy: Copy) -> None:
        self._database.query(
            "UPDATE copies SET outcome = ?, proofs = ? WHERE mid = ? AND user = ?",
            *(copy.outcome, b"".join(copy.proofs), mid, copy.user),
        )

    def copy(self, mid: bytes, user: str) -> Copy | None:
        """See ``Outbox``."""
        found = self._database.query("SELECT id, outcome, kid, n, proofs FROM copies WHERE mid = ? AND user = ?", mid, user)
        if not found:
            return None
        ((id_, outcome, kid, n, proofs),) = found
        each = tuple(proofs[at : at + HASH_BYTES] for at in range(0, len(proofs), HASH_BYTES))
        try:
            return Copy(id_, user, Outcome(outcome), kid, n, each)
        except ValueError:
            raise RecordDamaged from None

    def settle(self, mid: bytes, user: str, outcome: Outcome, now_ms: int) -> bool:
        """See ``Outbox``."""
        with self._database.together():
            copy = self.copy(mid, user)
            if copy is None or copy.outcome.final or copy.outcome is outcome:
                return False
            self._keep(mid, replace(copy, outcome=outcome))
            if outcome.failed and copy.kid is not None:
                self._database.query("INSERT OR IGNORE INTO void VALUES (?, ?, ?)", user, copy.kid, copy.n)
            self._database.query("UPDATE copies SET at = ? WHERE mid = ? AND user = ?", now_ms, mid, user)
            self._database.query(
                "DELETE FROM outbox WHERE mid = ? AND NOT EXISTS (SELECT 1 FROM copies WHERE mid = ? AND outcome = ?)",
                *(mid, mid, Outcome.QUEUED),
            )
            return True

    def count_anew(self) -> None:
        """Begin to number from 1, in a new counter space. The numbers of the old one mean nothing there."""
        with self._database.together():
            self._database.query("UPDATE copies SET kid = NULL, n = 0")
            self._database.query("DELETE FROM numbers")
            self._database.query("DELETE FROM void")

    def void(self, user: str, kid: bytes) -> Sequence[int]:
        """See ``Outbox``."""
        return [n for (n,) in self._database.query("SELECT n FROM void WHERE user = ? AND kid = ? ORDER BY n", user, kid)]

    def told(self, user: str, kid: bytes, numbers: Collection[int]) -> None:
        """See ``Outbox``."""
        self._database.each("DELETE FROM void WHERE user = ? AND kid = ? AND n = ?", [(user, kid, n) for n in numbers])
