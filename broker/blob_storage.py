"""Blobs on disk: what is known of them in SQLite, their bytes in files."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from broker.blob_files import FILES_NAME, BlobFiles
from broker.blob_values import (
    Answer,
    Append,
    BlobRead,
    Create,
    Delete,
    Deleted,
    Extended,
    NotRead,
    NotWritten,
    Operation,
    Read,
    StoredBlob,
)
from broker.disk import Disk, Trouble, open_database
from core.errors import BrokerFailed

log = logging.getLogger("broker")

BLOBS_NAME: Final = "blobs.db"
BLOBS_VERSION: Final = 1
_BUSY: Final = 2.0  # seconds for another process to finish writing; uploads wait as long
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS blobs (
        id BLOB PRIMARY KEY, user TEXT NOT NULL, kid TEXT NOT NULL, size INTEGER NOT NULL, upto INTEGER NOT NULL,
        at INTEGER NOT NULL) STRICT, WITHOUT ROWID""",
)


class BlobDisk(Disk[Operation, Answer]):
    """``BlobStorage`` in a data folder, written and read by a thread of its own. Raises BrokerFailed if it cannot be used.

    What is answered as on disk is on disk: the bytes first, then how many there are. Bytes beyond that number mean nothing.
    Before bytes that count are written over, their number is made smaller: after a crash none of them may pass for the new.
    """

    def __init__(self, folder: Path) -> None:
        self._path: Final = folder / BLOBS_NAME
        database = open_database(self._path, "list of files", BLOBS_VERSION, _SCHEMA, busy=_BUSY)
        self._files: Final = BlobFiles(folder / FILES_NAME)
        try:
            self._files.begin()
        except OSError as error:
            database.close()
            raise BrokerFailed(why=f"The folder {folder / FILES_NAME} cannot be made: {error.strerror}.") from error
        trouble = Trouble(f"The files in {self._files.root}", "Until they can, uploads are refused.")
        super().__init__(database, "securechat-blobs", trouble)
        self._owed: list[bytes] = []  # what could not be deleted yet, and must be

    def contents(self) -> Iterator[StoredBlob]:
        """See ``BlobStorage``. Rows and files that do not go together are removed first."""
        try:
            self._tidy()
            for row in self._database.execute("SELECT id, user, kid, size, upto, at FROM blobs"):
                yield StoredBlob(*row)
        except (sqlite3.Error, OSError) as error:
            raise BrokerFailed(why=f"The files of {self._path} cannot be used: {error}.") from error

    def _tidy(self) -> None:
        database = self._database
        bad = []
        for blob, upto in database.execute("SELECT id, upto FROM blobs"):
            if (size := self._files.size(blob)) < upto:
                log.error("The file %s is damaged, and is deleted: %d bytes of %d.", self._files.path(blob), size, upto)
            if size < upto or not upto:  # what has no bytes yet is offered again
                bad.append((blob,))
        database.execute("BEGIN IMMEDIATE")
        database.executemany("DELETE FROM blobs WHERE id = ?", bad)
        database.execute("COMMIT")
        for path, blob in self._files.names():
            if blob is None or not self._row(blob):
                log.warning("The file %s belongs to nobody, and is deleted.", path)
                path.unlink()

    def _row(self, blob: bytes) -> tuple[int, int] | None:
        """The size of a blob, and how much of it is there."""
        found: tuple[int, int] | None = self._database.execute("SELECT size, upto FROM blobs WHERE id = ?", (blob,)).fetchone()
        return found

    def _handle(self, operations: Sequence[Operation]) -> None:
        creates: list[Create] = []
        appends: dict[bytes, list[Append]] = {}
        deletes: list[bytes] = [*self._owed]
        for one in operations:
            match one:
                case Read():  # of what is whole already, so it need not wait for what is not
                    self._answer(self._read(one))
                case Create():
                    creates.append(one)
                case Append(blob):
                    appends.setdefault(blob, []).append(one)
                case Delete(blobs):
                    deletes += blobs
        if creates and not self._change(lambda database: _create(database, creates)):
            self._answer(*(NotWritten(one.blob, 0, True) for one in creates))
        if appends:
            self._append(appends)
        if deletes:
            self._delete(deletes)

    # Writing

    def _append(self, appends: dict[bytes, list[Append]]) -> None:
        """Write the bytes, then how many there are, then say so."""
        written: list[tuple[int, int, bytes]] = []  # how many, when, and of which blob
        for blob, run in appends.items():
            upto = self._write(blob, run)
            if upto is not None:
                written.append((upto, run[-1].at, blob))
        if not written:
            return
        if self._change(lambda database: database.executemany("UPDATE blobs SET upto = ?, at = ? WHERE id = ?", written)):
            self._trouble.ends()
            self._answer(*(Extended(blob, upto, _count(appends[blob]), at) for upto, at, blob in written))
        else:
            self._answer(*(NotWritten(blob, _count(appends[blob]), False) for _, _, blob in written))

    def _write(self, blob: bytes, run: Sequence[Append]) -> int | None:
        """Write what follows on; returns where it ends. If it cannot, or does not follow on, that is answered."""
        lost = False
        try:
            row = self._row(blob)
            if row is None:
                lost = True
            elif run[0].offset <= row[1] < row[0] and _follow_on(run):
                start = run[0].offset
                if start == row[1] or self._change(lambda database: _rewind(database, blob, start)):
                    self._files.write(blob, start, start, [one.data for one in run])
                    return start + _count(run)
        except FileNotFoundError as error:  # somebody took it away: it can be offered anew
            self._trouble.begins(error)
            lost = self._change(lambda database: database.execute("DELETE FROM blobs WHERE id = ?", (blob,)))
        except (OSError, sqlite3.Error) as error:
            self._trouble.begins(error)
        self._answer(NotWritten(blob, _count(run), lost))
        return None

    def _delete(self, blobs: Sequence[bytes]) -> None:
        """The rows first: a file without one is removed at the next start at the latest."""
        rows = [(blob,) for blob in blobs]
        if not self._change(lambda database: database.executemany("DELETE FROM blobs WHERE id = ?", rows)):
            self._owed = list(blobs)
            return
        self._owed = []
        for blob in blobs:
            try:
                self._files.remove(blob)
            except OSError as error:
                log.error("The file %s cannot be deleted: %s", self._files.path(blob), error.strerror)
        self._answer(Deleted(tuple(blobs)))

    # Reading

    def _read(self, asked: Read) -> Answer:
        try:
            data = self._files.read(asked.blob, asked.offset, asked.upto)
        except FileNotFoundError:  # deleted meanwhile
            return NotRead(asked)
        except OSError as error:
            log.error("The file %s cannot be read: %s", self._files.path(asked.blob), os.strerror(error.errno or 0))
            return NotRead(asked)
        if len(data) != asked.size:
            log.error("The file %s is damaged: it ends before %d bytes.", self._files.path(asked.blob), asked.upto)
            return NotRead(asked)
        return BlobRead(asked, data)


def _count(run: Iterable[Append]) -> int:
    return sum(len(one.data) for one in run)


def _follow_on(run: Sequence[Append]) -> bool:
    return all(one.offset + len(one.data) == after.offset for one, after in pairwise(run))


def _create(database: sqlite3.Connection, creates: Iterable[Create]) -> None:
    database.executemany("INSERT INTO blobs (id, user, kid, size, upto, at) VALUES (?, ?, ?, ?, 0, ?)", creates)


def _rewind(database: sqlite3.Connection, blob: bytes, upto: int) -> None:
    database.execute("UPDATE blobs SET upto = ? WHERE id = ?", (upto, blob))
