"""One SQLite file that several threads and processes share: opened safely, written in whole turns."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from core.content import File
from core.errors import BadFileName, RecordDamaged, StoreFailed
from core.limits import TIME_MAX_MS
from core.names import check_file_name, is_name

_BUSY_MS: Final = 10_000
_STEPS: Final = 100_000  # of SQLite's, a few milliseconds


class Database:
    """A database file, mode 0600, in SQLite's WAL mode; what is written is on disk when the method returns.

    ``schema`` makes the tables of a new file. Raises StoreFailed where the file cannot be used, or is of another version.
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0
        # SQLite gives a new file the umask's mode; made beforehand, it and its journal get this one.
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StoreFailed(path=path, why=str(error)) from error
        try:
            self._connection.set_progress_handler(_let_signals_in, _STEPS)
            self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            self._use_wal()
            self._connection.execute("PRAGMA synchronous = FULL")
            with self.together():
                self._prepare(schema, version)
        except sqlite3.Error as error:
            self._connection.close()
            raise StoreFailed(path=path, why=str(error)) from error
        except StoreFailed:
            self._connection.close()
            raise

    def _use_wal(self) -> None:
        """Change a new file's journal mode, for which SQLite does not wait for others that do the same."""
        until = time.monotonic() + _BUSY_MS / 1000
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)
            else:
                return

    def _prepare(self, schema: str, version: int) -> None:
        ((found,),) = self.query("PRAGMA user_version")
        if found == 0:
            for statement in schema.split(";"):
                self.query(statement)
            self.query(f"PRAGMA user_version = {version}")
        elif found != version:
            raise StoreFailed(path=self._path, why=f"it is of version {found}, and this program knows {version}")

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is written within is on disk together at its end, or none of it; nobody else writes meanwhile.

        May be nested: the outermost counts. Raises StoreFailed.
        """
        with self._lock:
            outermost = self._depth == 0
            self._depth += 1
            try:  # whatever happens from here on, Ctrl-C too, leaves no transaction open for others to write into
                if outermost:
                    self.query("BEGIN IMMEDIATE")
                yield
                if outermost:
                    self.query("COMMIT")
            finally:
                self._depth -= 1
                if outermost and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; raises StoreFailed."""
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise _failed(self._path, error) from error

    def each(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for each row; raises StoreFailed."""
        with self._lock:
            try:
                self._connection.executemany(sql, rows)
            except sqlite3.Error as error:
                raise _failed(self._path, error) from error

    def snapshot(self) -> bytes:
        """The whole database as a file's bytes, as it is at one moment, whoever else writes to it; raises StoreFailed."""
        with self._lock, contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
            try:
                self._connection.backup(copy)
                copy.execute("PRAGMA journal_mode = MEMORY")
                found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise StoreFailed(path=self._path, why=f"it is damaged: {found}")
                return copy.serialize()
            except sqlite3.Error as error:
                raise StoreFailed(path=self._path, why=str(error)) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def check_record(names: Iterable[object], times: Iterable[object], content: object = None) -> None:
    """Raise RecordDamaged for what SecureChat does not write: names that are none, also a file's, and times without a date.

    A database may come from a backup that somebody else has made, and what shows names relies on their letters.
    """
    try:
        right = all(isinstance(name, str) and is_name(name) for name in names)
        right = right and all(isinstance(ms, int) and 0 <= ms <= TIME_MAX_MS for ms in times)
        if isinstance(content, File):
            check_file_name(content.name)
    except BadFileName:
        right = False
    if not right:
        raise RecordDamaged


def _let_signals_in() -> int:
    """Python handles signals between steps of its own; while SQLite works, there are none but these."""
    return 0


def _failed(path: Path, error: sqlite3.Error) -> BaseException:
    """What to raise: of Ctrl-C in the middle of a statement, SQLite only tells that there was something."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
        return KeyboardInterrupt()
    return StoreFailed(path=path, why=str(error))


def is_made_by(path: Path, schema: str) -> bool:
    """Whether a database that nobody uses is whole, and has what ``schema`` makes and nothing else.

    A view or a trigger would be run in place of what is meant.
    """
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        model.executescript(schema)
        expected = _objects(model)
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)) as database:
        database.set_progress_handler(_let_signals_in, _STEPS)
        try:
            return _objects(database) == expected and database.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
        except sqlite3.Error as error:
            if isinstance(failed := _failed(path, error), KeyboardInterrupt):
                raise failed from error
            return False


def _objects(database: sqlite3.Connection) -> list[tuple[str, str, str, list[str]]]:
    """What there is, and how it was made, however that was laid out in lines."""
    rows = database.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master")
    return sorted((str(kind), str(name), str(table), str(sql).split()) for kind, name, table, sql in rows)


def look_into(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a query to a database that others may be writing; nothing is written. Raises sqlite3.Error and OSError."""
    # Without a write-ahead log nobody writes, and no file is made beside it.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    address = f"file:{quote(str(path))}?{how}"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_BUSY_MS / 1000)) as database:
        return database.execute(sql, values).fetchall()
