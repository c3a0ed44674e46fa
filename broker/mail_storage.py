"""The mailboxes on disk, in SQLite."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Final, TypeVar

from broker.disk import Disk, Trouble, open_database
from broker.mail_values import (
    Answer,
    Committed,
    Contents,
    Drop,
    FindOld,
    FoundOld,
    Load,
    Loaded,
    LoadedReceipts,
    LoadReceipts,
    NotLoaded,
    OldCopy,
    Operation,
    Purge,
    Put,
    Receipt,
    StoredCopy,
    StoredReceipt,
    Unstored,
)
from core.errors import BrokerFailed
from core.messages import Status

log = logging.getLogger("broker")

MAIL_NAME: Final = "mail.db"
MAIL_VERSION: Final = 1
_BUSY: Final = 2.0  # seconds for another process to finish writing; senders wait as long
_OLD_AT_ONCE: Final = 512
# The integer key is the only one: each other key makes a row cost two to five times as much. What is read at every start
# stands before the bodies, so that long ones need not be read with it. Receipts count on where they ended: a client may
# have noted the news up to a number.
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS mail (
        id INTEGER PRIMARY KEY, user TEXT NOT NULL, kid TEXT NOT NULL, size INTEGER NOT NULL, at INTEGER NOT NULL,
        sender TEXT NOT NULL, sender_kid TEXT NOT NULL, mid BLOB NOT NULL, common BLOB NOT NULL, wrap BLOB) STRICT""",
    """CREATE TABLE IF NOT EXISTS receipts (
        id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, kid TEXT NOT NULL, at INTEGER NOT NULL,
        mid BLOB NOT NULL, recipient TEXT NOT NULL, status INTEGER NOT NULL, proof BLOB) STRICT""",
)
# What keeps a read from succeeding now: other processes' locks. Anything else is wrong with what is there.
_PASSING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL})

_COLUMNS: Final = ("id", "user", "kid", "at", "sender", "sender_kid", "mid", "common", "wrap")  # as in Put

_Change = Put | Drop | Purge
_Row = TypeVar("_Row")


class SqliteMailStorage(Disk[Operation, Answer]):
    """``MailStorage`` in an SQLite database, written and read by a thread of its own. Raises BrokerFailed if it cannot be used.

    All that waits is committed as one transaction.
    """

    def __init__(self, folder: Path) -> None:
        self._path: Final = folder / MAIL_NAME
        trouble = Trouble(f"The mailbox {self._path}", "Until it can, messages to users who are away are refused.")
        super().__init__(open_database(self._path, "mailbox", MAIL_VERSION, _SCHEMA, busy=_BUSY), "securechat-mail", trouble)
        self._owed: list[Drop | Purge] = []  # what could not be written yet, and must be

    def contents(self) -> Contents:
        """See ``MailStorage``."""
        copies = self._rows("SELECT id, user, kid, size FROM mail ORDER BY id", StoredCopy)
        receipts = self._rows("SELECT id, user, kid FROM receipts ORDER BY id", StoredReceipt)
        last_copy = sum(self._rows("SELECT max(id) FROM mail WHERE true HAVING max(id)", int))
        last_receipt = sum(self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'receipts'", int))
        return Contents(copies, receipts, last_copy, last_receipt)

    def _rows(self, query: str, kind: Callable[..., _Row]) -> Iterator[_Row]:
        try:
            for row in self._database.execute(query):
                yield kind(*row)
        except sqlite3.Error as error:
            raise BrokerFailed(why=f"The mailbox {self._path} cannot be used: {error}.") from error

    def _handle(self, operations: Sequence[Operation]) -> None:
        changes: list[_Change] = [*self._owed]
        for one in operations:
            match one:
                case Load():  # of what is committed already, so it need not wait for what is not
                    self._answer(self._load(one))
                case LoadReceipts():
                    self._answer(self._load_receipts(one))
                case FindOld():
                    self._find_old(one)
                case _:
                    changes.append(one)
        if not changes or self._commit(changes):
            return
        puts = tuple(one.id for one in changes if isinstance(one, Put))
        self._owed = [one for one in changes if not isinstance(one, Put)]
        if puts:
            self._answer(Unstored(puts))
            if self._owed:  # where there is no room for mail, there may be some once this is gone
                self._commit(self._owed)

    def _commit(self, changes: Sequence[_Change]) -> bool:
        """Write these in one transaction; returns whether they are on disk."""
        if not self._change(lambda database: _write(database, changes)):
            return False
        if any(isinstance(one, Put) for one in changes):
            self._trouble.ends()
        self._owed = []
        self._answer(Committed(tuple(changes)))
        return True

    def _load(self, asked: Load) -> Answer:
        copies: list[Put] = []
        for number in asked.ids:
            try:
                row = self._database.execute(
                    "SELECT id, user, kid, at, sender, sender_kid, mid, common, wrap FROM mail WHERE id = ?", (number,)
                ).fetchone()
            except sqlite3.Error as error:
                if _code(error) in _PASSING:
                    return NotLoaded(asked)
                log.error("A copy in the mailbox %s cannot be read: %s", self._path, error)
                row = None
            if row:
                copies.append(Put(*row))
        return Loaded(asked, tuple(copies))

    def _load_receipts(self, asked: LoadReceipts) -> LoadedReceipts:
        receipts = []
        for number in asked.ids:
            try:
                row = self._database.execute(
                    "SELECT id, user, kid, at, mid, recipient, status, proof FROM receipts WHERE id = ?", (number,)
                ).fetchone()
            except sqlite3.Error as error:
                log.error("A receipt in the mailbox %s cannot be read: %s", self._path, error)
                row = None
            if row:
                receipts.append(Receipt(*row)._replace(status=Status(row[6])))
        return LoadedReceipts(asked, tuple(receipts))

    def _find_old(self, asked: FindOld) -> None:
        """Answer with a portion. Ids rise with time, so the first portion without anything old is the last one."""
        try:
            copies = self._database.execute(
                "SELECT at < ?, id, user, sender, sender_kid, mid FROM mail WHERE id > ? ORDER BY id LIMIT ?",
                (asked.before, asked.copy, _OLD_AT_ONCE),
            ).fetchall()
            receipts = self._database.execute(
                "SELECT at < ?, id, user FROM receipts WHERE id > ? ORDER BY id LIMIT ?",
                (asked.before, asked.receipt, _OLD_AT_ONCE),
            ).fetchall()
        except sqlite3.Error as error:
            log.error("The mailbox %s cannot be searched for old mail: %s", self._path, error)
            return
        old_copies = tuple(OldCopy(*row) for old, *row in copies if old)
        old_receipts = tuple((number, user) for old, number, user in receipts if old)
        if old_copies or old_receipts:
            after = FindOld(
                asked.before, copies[-1][1] if copies else asked.copy, receipts[-1][1] if receipts else asked.receipt
            )
            self._answer(FoundOld(old_copies, old_receipts, after))


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary code of an error; 0 for one of Python's making."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _values(first: int) -> str:
    """A row of the table ``mail`` in SQL, its parameters numbered from ``first``."""
    one = [f"?{first + at}" for at in range(len(Put._fields))]
    return f"({', '.join(one)}, length({one[7]}) + coalesce(length({one[8]}), 0))"


_INSERT: Final = f"INSERT INTO mail ({', '.join(_COLUMNS)}, size) VALUES {_values(1)}"  # noqa: S608 - constants
# Python's lock is let go, and fought for beside a busy loop, with each step of a statement: so many rows go in with one.
_ROWS: Final = 64
_INSERT_MANY: Final = f"{_INSERT}, {', '.join(_values(1 + row * len(Put._fields)) for row in range(1, _ROWS))}"


def _write(database: sqlite3.Connection, changes: Iterable[_Change]) -> None:
    for kind, run in groupby(changes, type):
        _WRITERS[kind](database, run)


def _put(database: sqlite3.Connection, run: Iterable[Put]) -> None:
    puts = list(run)
    whole = len(puts) - len(puts) % _ROWS
    for at in range(0, whole, _ROWS):
        database.execute(_INSERT_MANY, list(chain.from_iterable(puts[at : at + _ROWS])))
    database.executemany(_INSERT, puts[whole:])


def _drop(database: sqlite3.Connection, run: Iterable[Drop]) -> None:
    drops = list(run)
    database.executemany("DELETE FROM mail WHERE id = ?", [(one.id,) for one in drops])
    database.executemany(
        "INSERT INTO receipts (id, user, kid, at, mid, recipient, status, proof) VALUES (?,?,?,?,?,?,?,?)",
        [(*one.receipt[:6], int(one.receipt.status), one.receipt.proof) for one in drops if one.receipt and one.receipt.id],
    )


def _purge(database: sqlite3.Connection, run: Iterable[Purge]) -> None:
    for one in run:
        database.executemany("DELETE FROM mail WHERE id = ?", [(number,) for number in one.copies])
        database.executemany("DELETE FROM receipts WHERE id = ?", [(number,) for number in one.receipts])


_WRITERS: Final[dict[type[_Change], Callable[[sqlite3.Connection, Any], None]]] = {Put: _put, Drop: _drop, Purge: _purge}
