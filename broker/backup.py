"""Backups of a data folder, made while the broker runs or not. A backup is such a folder itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from broker.blob_files import FILES_NAME, BlobFiles
from broker.blob_storage import BLOBS_NAME
from broker.files import KEY_NAME, LOCK_NAME, data_folder, load_keys, running, save_keys, sync_folder
from broker.mail_storage import MAIL_NAME
from broker.reading import must_exist, reading
from broker.storage import LOG_NAME
from core.errors import BrokerFailed

# The mail first: a name that was released in between has its mail purged at the next start, while mail for a name that was
# not held yet would be purged wrongly.
_DATABASES: Final = (MAIL_NAME, LOG_NAME)


def back_up(folder: Path, to: Path) -> None:
    """Copy a data folder into the new folder ``to`` (mode 0700), whole or not at all.

    The copies are checked. Raises BrokerFailed, also where ``to`` is there already.
    """
    must_exist(folder)
    if os.path.lexists(to):
        raise BrokerFailed(why=f"{to} is there already, and was left as it is; name a new folder for the backup.")
    draft = to.with_name(f".{to.name}.{os.getpid()}")
    with contextlib.ExitStack() as on_failure, _writing(to):
        draft.mkdir(mode=0o700)
        on_failure.callback(shutil.rmtree, draft, ignore_errors=True)
        _copy(folder, draft, in_use=True)
        draft.rename(to)  # at worst onto an empty folder: one that is not, and a file, stop it
        on_failure.pop_all()
        sync_folder(to.parent)


def restore(backup: Path, folder: Path) -> None:
    """Fill an empty data folder, which is made if need be, from a backup. Raises BrokerFailed, and then it is empty again."""
    if not os.path.isfile(backup / LOG_NAME):  # noqa: PTH113 - Path's raises where a folder may not be looked into
        raise BrokerFailed(why=f"{backup} is no backup of a broker: it has no {LOG_NAME}.")
    if running(folder):
        raise BrokerFailed(why=f"A broker runs on the folder {folder}; stop it, and restore into an empty folder.")
    with data_folder(folder) as held, contextlib.ExitStack() as on_failure, _writing(folder):
        found = sorted(path.name for path in held.iterdir() if path.name != LOCK_NAME)
        if found:
            raise BrokerFailed(why=f"The folder {folder} is not empty ({found[0]}); restore into an empty one.")
        draft = held / f".restore.{os.getpid()}"
        draft.mkdir(mode=0o700)
        on_failure.callback(shutil.rmtree, draft, ignore_errors=True)
        _copy(backup, draft, in_use=False)
        # The key first: a folder that has databases has the key that goes with them.
        for path in sorted(draft.iterdir(), key=lambda path: (path.name != KEY_NAME, path.name)):
            on_failure.callback(_remove, held / path.name)
            path.rename(held / path.name)
        draft.rmdir()
        on_failure.pop_all()
        sync_folder(held)


def _copy(source: Path, target: Path, *, in_use: bool) -> None:
    """Copy the databases, the files and the key, and check what was copied. ``in_use``: a broker may be writing there."""
    keys = load_keys(source)
    if keys is None:
        raise BrokerFailed(why=f"The folder {source} has no key, so this is not all of a broker.")
    for name in _DATABASES:
        _copy_one(source, target, name)
    if (source / BLOBS_NAME).exists() or (source / FILES_NAME).exists():  # else no broker that keeps files has run there
        _copy_files(source, target, in_use=in_use)
    save_keys(target, keys)
    sync_folder(target)


def _copy_files(source: Path, target: Path, *, in_use: bool) -> None:
    """Copy the files of users that are whole. The list of them first, for what is whole changes no more.

    A file that is gone by then was deleted meanwhile, and so it is in the copy; where nobody deletes, it must be there.
    """
    found, copies = BlobFiles(source / FILES_NAME), BlobFiles(target / FILES_NAME)
    if not found.root.is_dir():
        raise BrokerFailed(why=f"The folder {found.root} is not there, so this is not all of a broker.")
    copies.begin()
    _copy_one(source, target, BLOBS_NAME)
    with contextlib.closing(sqlite3.connect(target / BLOBS_NAME, isolation_level=None)) as database:
        try:
            database.execute("DELETE FROM blobs WHERE upto < size")
            for blob, size in database.execute("SELECT id, size FROM blobs").fetchall():
                try:
                    length = copies.copy(blob, found)
                except FileNotFoundError:
                    if not in_use:
                        raise BrokerFailed(why=f"The file {found.path(blob)} is not there.") from None
                    database.execute("DELETE FROM blobs WHERE id = ?", (blob,))
                    continue
                if length < size:
                    raise BrokerFailed(why=f"The file {found.path(blob)} is damaged: it has {length} bytes of {size}.")
        except sqlite3.Error as error:
            raise BrokerFailed(why=f"The database {target / BLOBS_NAME} cannot be written: {error}.") from error
    sync_folder(copies.root)


def _copy_one(source: Path, target: Path, name: str) -> None:
    """Copy one database, and check what was copied."""
    with reading(source, name) as original:
        try:
            found = _copy_database(original, target / name)
        except sqlite3.Error as error:
            raise BrokerFailed(why=f"The database {source / name} cannot be copied to {target}: {error}.") from error
    if found != "ok":
        raise BrokerFailed(why=f"The database {source / name} is damaged: {found}. It was not copied.")


def _copy_database(original: sqlite3.Connection, path: Path) -> str:
    """Make the file ``path``, of mode 0600; returns what SQLite finds wrong with it, or ``ok``."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy:
        original.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # so that it is one file, to be read where nothing can be written
        return str(copy.execute("PRAGMA quick_check(1)").fetchone()[0])


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BrokerFailed(why=f"The folder {target} cannot be written: {error.strerror}.") from error
