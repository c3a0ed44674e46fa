"""What a broker's data folder holds, read from the disk alone: who is here now, only the broker itself knows."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from broker.admin import read_ledger
from broker.blob_storage import BLOBS_NAME
from broker.files import load_keys, running
from broker.mail_storage import MAIL_NAME
from broker.reading import VERSIONS, must_exist, reading
from core.errors import BrokerFailed
from core.places import ConnectionFile


@dataclass(slots=True)
class Waiting:
    """What waits for one user: copies, their bytes, when the oldest came (seconds since 1970), and receipts to fetch."""

    copies: int = 0
    bytes: int = 0
    oldest: int | None = None
    receipts: int = 0


@dataclass(frozen=True, slots=True)
class Files:
    """What files users keep at the broker: how many, the bytes that are there of them, and how many are not whole yet."""

    count: int = 0
    bytes: int = 0
    unfinished: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """What is on disk. ``waiting`` has an entry for each name that a profile holds, ``disk`` the bytes that databases take.

    ``running`` is what the broker that runs there wrote down, and ``free`` how many bytes are left for more.
    """

    key: bytes
    running: ConnectionFile | None
    invites_open: int
    disk: dict[str, int]
    free: int
    waiting: dict[str, Waiting] = field(default_factory=dict)
    files: Files = field(default_factory=Files)

    @property
    def total(self) -> Waiting:
        """What waits for all users together."""
        every = self.waiting.values()
        return Waiting(
            sum(one.copies for one in every),
            sum(one.bytes for one in every),
            min((one.oldest for one in every if one.oldest is not None), default=None),
            sum(one.receipts for one in every),
        )


def read_stats(folder: Path, now: float) -> Stats:
    """Look into a data folder; writes nothing. ``now`` is seconds since 1970. Raises BrokerFailed and LogDamaged."""
    must_exist(folder)
    keys = load_keys(folder)
    if keys is None:
        raise BrokerFailed(why=f"The folder {folder} has no key; restore it from a backup.")
    ledger = read_ledger(folder)
    waiting = {owner.user: Waiting() for owner in ledger.owners()}
    held = {(owner.user, owner.kid) for owner in ledger.owners()}  # what another key left behind is purged at the next start
    with reading(folder, MAIL_NAME) as database:
        mail = database.execute("SELECT user, kid, count(*), sum(size), min(at) FROM mail GROUP BY user, kid")
        for user, kid, copies, size, oldest in mail:
            if (user, kid) in held:
                one = waiting[user]
                one.copies, one.bytes, one.oldest = copies, size, oldest
        for user, kid, receipts in database.execute("SELECT user, kid, count(*) FROM receipts GROUP BY user, kid"):
            if (user, kid) in held:
                waiting[user].receipts = receipts
    return Stats(
        key=keys.public,
        running=running(folder),
        invites_open=sum(one.open_at(now) for _, one in ledger.invites()),
        disk={name: _size(folder / name) for name in VERSIONS},
        free=_free(folder),
        waiting=waiting,
        files=_files(folder),
    )


def _files(folder: Path) -> Files:
    if not (folder / BLOBS_NAME).exists():  # no broker that keeps files has run there yet
        return Files()
    with reading(folder, BLOBS_NAME) as database:
        counts = "SELECT count(*), coalesce(sum(upto), 0), coalesce(sum(upto < size), 0) FROM blobs"
        return Files(*database.execute(counts).fetchone())


def _size(path: Path) -> int:
    """Bytes of a database and the files that SQLite keeps beside it."""
    size = 0
    for one in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with contextlib.suppress(FileNotFoundError):  # those beside it go when nobody uses it any more
            size += one.stat().st_size
    return size


def _free(folder: Path) -> int:
    info = os.statvfs(folder)
    return info.f_bavail * info.f_frsize
