"""The log on disk: an interface that never makes the loop wait, and its SQLite implementation."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from broker.disk import Disk, Trouble, open_database
from broker.ledger import LogDamaged, LogEvent, decode_event, encode_event

LOG_NAME: Final = "names.db"
LOG_VERSION: Final = 1
_BUSY: Final = 10.0  # seconds to wait for the commands of an administrator
_SCHEMA: Final = ("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, event BLOB NOT NULL) STRICT",)


class Storage(Protocol):
    """An append-only log that others may append to as well. ``failure`` says why it cannot be believed any more, if so.

    What cannot be appended now is appended later, in its order.
    """

    failure: str | None

    def submit(self, batch: Sequence[LogEvent]) -> None:
        """Append events, soon; returns at once."""

    def completed(self) -> list[LogEvent]:
        """Every event, from whomever, that is safely on disk and was not returned before, in the log's order."""

    def flush(self, seconds: float) -> None:
        """Wait, at most so long, until what was submitted is on disk."""


class SqliteStorage(Disk[LogEvent, LogEvent]):
    """The log in SQLite, written and read by a thread of its own.

    What it holds already is ``completed`` from the beginning. Raises BrokerFailed or LogDamaged if the log cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._path: Final = folder / LOG_NAME
        trouble = Trouble(f"The log {self._path}", "Names can be claimed, and invites used, once it can.")
        super().__init__(open_log(self._path), "securechat-log", trouble)
        self._owed: list[LogEvent] = []
        self._read_to = 0
        self._version = 0
        try:
            self._read()
        except (sqlite3.Error, LogDamaged):
            self._database.close()
            raise

    def _handle(self, operations: Sequence[LogEvent]) -> None:
        self._owed += operations
        wrote = bool(self._owed)
        try:
            if self._owed:
                append(self._database, self._owed)
                self._owed = []
            (now,) = self._database.execute("PRAGMA data_version").fetchone()
            if wrote or now != self._version:  # others may have written, too
                self._read()
                self._version = now
        except sqlite3.Error as error:
            self._version = 0
            self._trouble.begins(error)
        except LogDamaged as error:
            self._fail(str(error))
        else:
            self._trouble.ends()

    def _read(self) -> None:
        rows = self._database.execute("SELECT id, event FROM log WHERE id > ? ORDER BY id", (self._read_to,)).fetchall()
        for number, raw in rows:
            event = decode_event(raw)
            self._read_to = number
            self._answer(event)


def open_log(path: Path) -> sqlite3.Connection:
    """Open the log, and make it if it is not there; raises BrokerFailed."""
    return open_database(path, "log", LOG_VERSION, _SCHEMA, busy=_BUSY)


def append(database: sqlite3.Connection, batch: Sequence[LogEvent]) -> None:
    """Append events in one transaction; they are on disk when it returns."""
    database.execute("BEGIN IMMEDIATE")
    try:
        database.executemany("INSERT INTO log (event) VALUES (?)", [(encode_event(event),) for event in batch])
    except sqlite3.Error:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
