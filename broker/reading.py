"""The databases of a data folder, opened to be read only: by the administrator's commands, whether the broker runs or not."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from broker.blob_storage import BLOBS_NAME, BLOBS_VERSION
from broker.mail_storage import MAIL_NAME, MAIL_VERSION
from broker.storage import LOG_NAME, LOG_VERSION
from core.errors import BrokerFailed

_BUSY: Final = 10.0  # seconds to wait for whoever writes
VERSIONS: Final = {LOG_NAME: LOG_VERSION, MAIL_NAME: MAIL_VERSION, BLOBS_NAME: BLOBS_VERSION}
"""The databases of a data folder, and the version of each that this program knows."""


@contextlib.contextmanager
def reading(folder: Path, name: str) -> Iterator[sqlite3.Connection]:
    """A database of the folder, as it is at the first statement; raises BrokerFailed, also for what happens within."""
    path = folder / name
    try:
        with contextlib.closing(_open(path)) as database:
            database.execute("BEGIN")
            (found,) = database.execute("PRAGMA user_version").fetchone()
            if found != VERSIONS[name]:
                raise BrokerFailed(why=f"The database {path} is of version {found}; this program knows {VERSIONS[name]}.")
            yield database
    except sqlite3.Error as error:
        raise BrokerFailed(why=f"The database {path} cannot be read: {error}.") from error


def _open(path: Path) -> sqlite3.Connection:
    # Without a write-ahead log nobody writes, and there is nothing to share with anybody: no file is made beside it.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    return sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=_BUSY, isolation_level=None)


def must_exist(folder: Path) -> None:
    """Raises BrokerFailed if no broker has ever run on this folder."""
    try:
        exists = (folder / LOG_NAME).exists()
    except OSError as error:
        raise BrokerFailed(why=f"The folder {folder} cannot be read: {error.strerror}.") from error
    if not exists:
        raise BrokerFailed(
            why=f"No broker has ever run on the folder {folder}; start it first, or name its folder with --data."
        )
