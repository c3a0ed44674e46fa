"""A database with a thread of its own, so that whoever uses it never waits."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from core.errors import BrokerFailed

log = logging.getLogger("broker")

LOOK_AGAIN: Final = 0.5  # seconds until an idle thread looks for what there is to do besides
_Operation = TypeVar("_Operation")
_Answer = TypeVar("_Answer")


class Trouble:
    """Says so, once each, when ``what`` can be written no more (and what follows from it), and when it can again."""

    def __init__(self, what: str, consequence: str) -> None:
        self._what = what
        self._consequence = consequence
        self._lasts = False

    @property
    def lasts(self) -> bool:
        """Whether the last attempt to write failed. Other threads may ask."""
        return self._lasts

    def begins(self, error: sqlite3.Error | OSError) -> None:
        """Writing has failed."""
        if not self._lasts:
            self._lasts = True
            log.error("%s cannot be written: %s. %s", self._what, error, self._consequence)

    def ends(self) -> None:
        """Writing has worked."""
        if self._lasts:
            self._lasts = False
            log.warning("%s can be written again.", self._what)


class Disk(Generic[_Operation, _Answer]):
    """Takes operations, all that wait in one go, and gives answers. A subclass does the work in ``_handle``.

    ``failure`` says why nothing more can come of it, if so. ``trouble`` is told how writing goes, and tells others.
    """

    def __init__(self, database: sqlite3.Connection, name: str, trouble: Trouble) -> None:
        self._database: Final = database
        self._trouble: Final = trouble
        self._wake: Callable[[], None] = lambda: None
        self._todo: queue.SimpleQueue[Sequence[_Operation] | threading.Event | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self.failure: str | None = None
        self._thread: Final = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def failing(self) -> bool:
        """Whether it cannot be written now. Other threads may ask."""
        return self._trouble.lasts

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to work; ``wake`` is called, in another thread, whenever ``completed`` has something."""
        self._wake = wake
        self._thread.start()

    def submit(self, batch: Sequence[_Operation]) -> None:
        """Carry these out, soon; returns at once."""
        self._todo.put(batch)

    def completed(self) -> list[_Answer]:
        """The answers that have come since this was last asked, in their order."""
        answers = []
        while not self._done.empty():
            answers.append(self._done.get())
        return answers

    def flush(self, seconds: float) -> None:
        """Wait, at most so long, until all that was submitted has been carried out, or has failed."""
        reached = threading.Event()
        self._todo.put(reached)
        if self._thread.is_alive():
            reached.wait(seconds)

    def close(self) -> None:
        """Carry out what was submitted, and close."""
        self._todo.put(None)
        if self._thread.ident is not None:
            self._thread.join()
        self._database.close()

    def _handle(self, operations: Sequence[_Operation]) -> None:
        """Carry these out; none if nothing came for a while."""
        raise NotImplementedError

    def _change(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        """Do this in one transaction; returns whether it is on disk. If not, nothing was changed."""
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            work(database)
            database.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                if database.in_transaction:
                    database.execute("ROLLBACK")
            self._trouble.begins(error)
            return False
        return True

    def _answer(self, *answers: _Answer) -> None:
        for one in answers:
            self._done.put(one)
        if answers:
            self._wake()

    def _fail(self, why: str) -> None:
        self.failure = why
        self._wake()

    def _work(self) -> None:
        ending = False
        while not ending:
            operations: list[_Operation] = []
            reached: list[threading.Event] = []
            try:
                batch = self._todo.get(timeout=LOOK_AGAIN)
                while True:
                    if batch is None:
                        ending = True
                        break
                    if isinstance(batch, threading.Event):
                        reached.append(batch)
                    else:
                        operations += batch
                    batch = self._todo.get_nowait()
            except queue.Empty:
                pass
            try:
                self._handle(operations)
            except BaseException as error:  # no error of a database: nothing is known of what was to be done
                self._fail(f"A thread of the broker has failed: {error!r}.")
                raise
            finally:
                for one in reached:
                    one.set()


def open_database(path: Path, what: str, version: int, schema: Sequence[str], *, busy: float) -> sqlite3.Connection:
    """Open an SQLite database (WAL, synchronous=FULL), and make it if it is not there; raises BrokerFailed.

    ``what`` it is called in sentences; ``busy`` is how many seconds it waits for other processes that write.
    """
    try:
        # Made beforehand, so that it and SQLite's files beside it are closed to others.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise BrokerFailed(why=f"The {what} {path} cannot be opened: {error}.") from error
    try:
        database.execute(f"PRAGMA busy_timeout = {int(busy * 1000)}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        (found,) = database.execute("PRAGMA user_version").fetchone()
        if found not in (0, version):
            raise BrokerFailed(why=f"The {what} {path} is of version {found}; this program knows {version}.")
        for statement in schema:
            database.execute(statement)
        if found != version:
            database.execute(f"PRAGMA user_version = {version}")
    except sqlite3.Error as error:
        database.close()
        raise BrokerFailed(why=f"The {what} {path} cannot be used: {error}.") from error
    except BrokerFailed:
        database.close()
        raise
    return database
