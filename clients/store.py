"""A profile's database: what it remembers about others. Shared by all processes of the profile."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from core.errors import StoreFailed
from core.limits import REPLAY_MEMORY_MS
from core.memory import Pin, Taken
from core.order import Stream

_VERSION: Final = 1
_BUSY_MS: Final = 10_000

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
CREATE TABLE numbers (user TEXT NOT NULL, kid BLOB NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (user, kid)) STRICT;
CREATE TABLE bundles (kid BLOB PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


class Store:
    """A ``core.memory.Memory`` in SQLite. May be used from any thread; each write is on disk when its method returns.

    Raises StoreFailed where the database cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        # SQLite gives a new file the umask's mode; made beforehand, it and its journal get this one.
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StoreFailed(path=path, why=str(error)) from error
        try:
            self._database.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._prepare()
        except sqlite3.Error as error:
            self._database.close()
            raise StoreFailed(path=path, why=str(error)) from error

    def _prepare(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise StoreFailed(path=self._path, why=f"it is of version {version}, and this program knows {_VERSION}")
        finally:
            self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            try:
                return self._database.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise StoreFailed(path=self._path, why=str(error)) from error

    def setting(self, name: str) -> str | None:
        """A setting of the profile."""
        found = self._query("SELECT value FROM settings WHERE name = ?", name)
        return str(found[0][0]) if found else None

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting of the profile."""
        self._query("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    def pin(self, user: str) -> Pin | None:
        """See ``core.memory.Memory``."""
        found = self._query("SELECT * FROM pins WHERE user = ?", user)
        return _pin(found[0]) if found else None

    def pins(self) -> Iterable[Pin]:
        """See ``core.memory.Memory``."""
        return [_pin(row) for row in self._query("SELECT * FROM pins ORDER BY user")]

    def set_pin(self, pin: Pin) -> None:
        """See ``core.memory.Memory``."""
        self._query(
            "INSERT OR REPLACE INTO pins VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(pin.user, pin.kid, pin.profile, pin.since, pin.verified, pin.blocked, pin.offered, pin.offered_at),
        )

    def taken(self, kid: bytes, mid: bytes) -> bytes | None:
        """See ``core.memory.Memory``."""
        found = self._query("SELECT proof FROM taken WHERE kid = ? AND mid = ?", kid, mid)
        return bytes(found[0][0]) if found else None  # type: ignore[call-overload]  # the column is a BLOB

    def stream(self, kid: bytes, sid: bytes) -> Stream:
        """See ``core.memory.Memory``."""
        found = self._query("SELECT highest, gaps FROM streams WHERE kid = ? AND sid = ?", kid, sid)
        if not found:
            return Stream()
        ((highest, gaps),) = found
        return Stream(int(str(highest)), msgspec.json.decode(str(gaps), type=tuple[tuple[int, int], ...]))

    def numbered(self, kid: bytes, sid: bytes, n: int) -> bytes | None:
        """See ``core.memory.Memory``."""
        found = self._query("SELECT mid FROM taken WHERE kid = ? AND sid = ? AND n = ?", kid, sid, n)
        return bytes(found[0][0]) if found else None  # type: ignore[call-overload]  # the column is a BLOB

    def take(self, taken: Taken, now_ms: int) -> None:
        """See ``core.memory.Memory``."""
        gaps = msgspec.json.encode(taken.stream.gaps).decode("ascii")
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.execute(
                    "INSERT OR IGNORE INTO taken VALUES (?, ?, ?, ?, ?, ?)",
                    (taken.kid, taken.mid, taken.proof, taken.sid, taken.n, now_ms),
                )
                self._database.execute(
                    "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?)",
                    (taken.kid, taken.sid, taken.stream.highest, gaps),
                )
                self._database.execute("DELETE FROM taken WHERE at < ?", (now_ms - REPLAY_MEMORY_MS,))
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise StoreFailed(path=self._path, why=str(error)) from error

    def next_number(self, user: str, kid: bytes) -> int:
        """See ``core.memory.Memory``."""
        ((n,),) = self._query("INSERT INTO numbers VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n", user, kid)
        return int(n)  # type: ignore[call-overload,no-any-return]  # the column is an INTEGER

    def newest_bundle(self, kid: bytes) -> int:
        """See ``core.memory.Memory``."""
        found = self._query("SELECT seq FROM bundles WHERE kid = ?", kid)
        return int(found[0][0]) if found else 0  # type: ignore[call-overload]  # the column is an INTEGER

    def saw_bundle(self, kid: bytes, seq: int) -> None:
        """See ``core.memory.Memory``."""
        self._query("INSERT INTO bundles VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)", kid, seq)


def _pin(row: tuple[object, ...]) -> Pin:
    user, kid, profile, since, verified, blocked, offered, offered_at = row
    return Pin(user, kid, bool(profile), since, verified, bool(blocked), offered, offered_at)  # type: ignore[arg-type]
