"""The log on disk: an interface that never makes the loop wait, and its SQLite implementation."""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from broker.ledger import LogEvent, decode_event, encode_event
from core.errors import BrokerFailed, LogDamaged

LOG_NAME: Final = "names.db"
_VERSION: Final = 1
_LOOK_AGAIN: Final = 0.5  # seconds between looks for what other processes wrote
_BUSY_MS: Final = 10_000


class Storage(Protocol):
    """An append-only log that others may append to as well. ``failure`` says why it can no longer be written, if so."""

    failure: str | None

    def submit(self, batch: Sequence[LogEvent]) -> None:
        """Append events, soon; returns at once."""

    def completed(self) -> list[LogEvent]:
        """Every event, from whomever, that is safely on disk and was not returned before, in the log's order."""


class SqliteStorage:
    """The log in SQLite (WAL, synchronous=FULL), written and read by a thread of its own.

    What it holds already is ``completed`` from the beginning. Raises BrokerFailed or LogDamaged if the log cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._path: Final = folder / LOG_NAME
        self._wake: Callable[[], None] = lambda: None
        self._todo: queue.SimpleQueue[Sequence[LogEvent] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[LogEvent] = queue.SimpleQueue()
        self.failure: str | None = None
        self._read_to = 0
        self._database = open_log(self._path)
        try:
            self._read()
        except (sqlite3.Error, LogDamaged):
            self._database.close()
            raise
        self._thread = threading.Thread(target=self._work, name="securechat-storage", daemon=True)

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to write and to look; ``wake`` is called, in another thread, whenever ``completed`` has something."""
        self._wake = wake
        self._thread.start()

    def submit(self, batch: Sequence[LogEvent]) -> None:
        """See ``Storage``."""
        self._todo.put(batch)

    def completed(self) -> list[LogEvent]:
        """See ``Storage``."""
        events = []
        while not self._done.empty():
            events.append(self._done.get())
        return events

    def close(self) -> None:
        """Write what was submitted, and close."""
        self._todo.put(None)
        if self._thread.ident is not None:
            self._thread.join()
        self._database.close()

    def _work(self) -> None:
        version = 0
        while True:
            try:
                batch = self._todo.get(timeout=_LOOK_AGAIN)
            except queue.Empty:
                batch = ()
            if batch is None:
                return
            try:
                if batch:
                    append(self._database, batch)
                (now,) = self._database.execute("PRAGMA data_version").fetchone()
                if batch or now != version:
                    version = now
                    self._read()
            except (sqlite3.Error, LogDamaged) as error:
                self.failure = (
                    str(error) if isinstance(error, LogDamaged) else f"The log {self._path} cannot be written: {error}."
                )
                self._wake()
                return

    def _read(self) -> None:
        rows = self._database.execute("SELECT id, event FROM log WHERE id > ? ORDER BY id", (self._read_to,)).fetchall()
        for number, raw in rows:
            self._done.put(decode_event(raw))
            self._read_to = number
        if rows:
            self._wake()


def open_log(path: Path) -> sqlite3.Connection:
    """Open the log, and make it if it is not there; raises BrokerFailed."""
    try:
        # Made beforehand, so that it and SQLite's files beside it are closed to others.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise BrokerFailed(why=f"The log {path} cannot be opened: {error}.") from error
    try:
        database.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise BrokerFailed(why=f"The log {path} is of version {version}; this program knows {_VERSION}.")
        database.execute("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, event BLOB NOT NULL) STRICT")
        database.execute(f"PRAGMA user_version = {_VERSION}")
    except sqlite3.Error as error:
        database.close()
        raise BrokerFailed(why=f"The log {path} cannot be used: {error}.") from error
    except BrokerFailed:
        database.close()
        raise
    return database


def append(database: sqlite3.Connection, batch: Sequence[LogEvent]) -> None:
    """Append events in one transaction; they are on disk when it returns."""
    database.execute("BEGIN IMMEDIATE")
    try:
        database.executemany("INSERT INTO log (event) VALUES (?)", [(encode_event(event),) for event in batch])
    except sqlite3.Error:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
