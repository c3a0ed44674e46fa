"""A profile's history on disk: what happened, in its order, for every consumer to follow at its own pace.

The page, ``listen``, ``send`` and bots of one profile may run at once. Whichever takes a message writes it here, with what
became of the messages sent; all of them show what is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from clients.database import Database, check_record
from core.bundle import Suite
from core.content import Sendable, decode_content, encode_content
from core.errors import RecordDamaged
from core.events import (
    Event,
    Message,
    MessageReceived,
    MessageSent,
    Outcome,
    PeerKeyChanged,
    Receipt,
    Trust,
)
from core.order import Place
from core.vault import Records

SCHEMA: Final = """
CREATE TABLE history (number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE cursors (consumer TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT;
"""
_NAME: Final = b"history"
_PORTION: Final = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: ``number`` grows with each, ``at`` is in milliseconds since 1970."""

    number: int
    at: int
    event: Event


class _Received(msgspec.Struct, frozen=True, array_like=True, tag="received"):
    id: bytes
    sender: str
    kid: bytes
    to: tuple[str, ...]
    everyone: bool
    ts: int
    suite: Suite
    trust: Trust
    content: bytes
    missing: int
    late: bool
    fork: bool


class _Sent(msgspec.Struct, frozen=True, array_like=True, tag="sent"):
    id: bytes
    to: tuple[str, ...]
    everyone: bool
    suite: Suite
    content: Sendable
    at: int


class _Receipt(msgspec.Struct, frozen=True, array_like=True, tag="receipt"):
    id: bytes
    user: str
    outcome: Outcome


class _KeyChanged(msgspec.Struct, frozen=True, array_like=True, tag="key changed"):
    user: str
    old_kid: bytes
    new_kid: bytes
    accepted: bool


_Record = _Received | _Sent | _Receipt | _KeyChanged
_DECODER: Final[msgspec.msgpack.Decoder[_Record]] = msgspec.msgpack.Decoder(_Record)


class StoredHistory:
    """The history in a database. Raises StoreFailed where that cannot be used, RecordDamaged for what was altered."""

    def __init__(self, database: Database, records: Records) -> None:
        self._database = database
        self._records = records
        self._version = -1

    def record(self, events: Iterable[Event], now_ms: int) -> None:
        """Append what is worth keeping of these."""
        rows = [
            (now_ms, self._records.lock(msgspec.msgpack.encode(record), _NAME))
            for event in events
            if (record := _record_of(event)) is not None
        ]
        if rows:
            self._database.each("INSERT INTO history (at, body) VALUES (?, ?)", rows)

    def after(self, number: int) -> Iterator[Entry]:
        """What came after this number, oldest first."""
        rows = [(number, 0, b"")]
        while rows:
            rows = self._database.query(
                "SELECT number, at, body FROM history WHERE number > ? ORDER BY number LIMIT ?", rows[-1][0], _PORTION
            )
            for found, at, body in rows:
                yield self._entry(found, at, body)

    def outcomes(self) -> dict[bytes, dict[str, Outcome]]:
        """What became of each message that was sent, by its id and recipient: it stands behind the message itself."""
        outcomes: dict[bytes, dict[str, Outcome]] = {}
        for entry in self.after(0):
            if isinstance(entry.event, Receipt):
                outcomes.setdefault(entry.event.id, {})[entry.event.user] = entry.event.outcome
        return outcomes

    def before(self, number: int, most: int) -> list[Entry]:
        """The last ``most`` entries with smaller numbers, oldest first."""
        rows = self._database.query(
            "SELECT number, at, body FROM history WHERE number < ? ORDER BY number DESC LIMIT ?", number, most
        )
        return [self._entry(number, at, body) for number, at, body in reversed(rows)]

    @property
    def last(self) -> int:
        """The newest entry's number; 0 if there is none."""
        ((number,),) = self._database.query("SELECT coalesce(max(number), 0) FROM history")
        return int(number)

    def has_grown(self) -> bool:
        """Whether another process has written since this was last asked. (In doubt, yes.)"""
        ((version,),) = self._database.query("PRAGMA data_version")
        before, self._version = self._version, int(version)
        return self._version != before

    def cursor(self, consumer: str) -> int | None:
        """Up to which number this consumer has shown the history; None if it never did."""
        found = self._database.query("SELECT number FROM cursors WHERE consumer = ?", consumer)
        return int(found[0][0]) if found else None

    def move_cursor(self, consumer: str, number: int) -> None:
        """This consumer has shown the history up to this number."""
        self._database.query(
            "INSERT INTO cursors VALUES (?, ?) ON CONFLICT DO UPDATE SET number = max(number, excluded.number)",
            consumer,
            number,
        )

    def number_of(self, id_: bytes, cursor: int | None) -> int | None:
        """The number of the message that came with this id; of several the first behind ``cursor``, else the last.

        A sender may give any id to a message, also one that somebody else's had before.
        """
        numbers = [
            entry.number
            for entry in self.after(0)
            if isinstance(entry.event, MessageReceived) and entry.event.message.id == id_
        ]
        ahead = [number for number in numbers if cursor is not None and number > cursor]
        return ahead[0] if ahead else numbers[-1] if numbers else None

    def _entry(self, number: int, at: int, body: bytes) -> Entry:
        try:
            record = _DECODER.decode(self._records.unlock(body, _NAME))
            _check(record, at)
            return Entry(number, at, _event_of(record))
        except (msgspec.MsgspecError, ValueError):
            raise RecordDamaged from None


def _check(record: _Record, at: int) -> None:
    match record:
        case _Received(sender=sender, to=to, ts=ts):
            check_record((sender, *to), (at, ts))
        case _Sent(to=to, at=sent_at, content=content):
            check_record(to, (at, sent_at), content)
        case _Receipt(user=user) | _KeyChanged(user=user):
            check_record((user,), (at,))


def is_kept(event: Event) -> bool:
    """Whether the history keeps events like this one.

    Nothing that the broker could make up is kept: it could fill the disk.
    """
    match event:
        case MessageReceived() | MessageSent() | PeerKeyChanged():
            return True
        case Receipt(_, _, outcome):
            return outcome.final or outcome.safe
        case _:
            return False


def _record_of(event: Event) -> _Record | None:
    if not is_kept(event):
        return None
    match event:
        case MessageReceived(one):
            where = one.place
            return _Received(
                one.id, one.sender, one.kid, one.to, one.everyone, one.ts, one.suite, one.trust, encode_content(one.content),
                where.missing, where.late, where.fork,
            )  # fmt: skip
        case MessageSent(id_, to, everyone, suite, content, at):
            return _Sent(id_, to, everyone, suite, content, at)
        case Receipt(id_, user, outcome):
            return _Receipt(id_, user, outcome)
        case PeerKeyChanged(user, old_kid, new_kid, accepted):
            return _KeyChanged(user, old_kid, new_kid, accepted)
        case _:
            return None


def _event_of(record: _Record) -> Event:
    match record:
        case _Received():
            return MessageReceived(
                Message(
                    record.id, record.sender, record.kid, record.to, record.everyone, record.ts, record.suite, record.trust,
                    decode_content(record.content), Place(record.missing, record.late, record.fork),
                )
            )  # fmt: skip
        case _Sent(id_, to, everyone, suite, content, at):
            return MessageSent(id_, to, everyone, suite, content, at)
        case _Receipt(id_, user, outcome):
            return Receipt(id_, user, outcome)
        case _KeyChanged(user, old_kid, new_kid, accepted):
            return PeerKeyChanged(user, old_kid, new_kid, accepted)
