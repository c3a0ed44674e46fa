"""The broker's blobs with a disk that works only when told, their clients' connections made by hand, and what they hear."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from broker.blob_storage import BlobDisk
from broker.blob_values import Answer, Operation, StoredBlob
from broker.blobs import Blobs
from broker.directory import Connection
from broker.outbox import Outbox
from broker.quota import Quota
from core import frames
from core.bundle import Kind
from core.clock import Instant
from core.limits import PIECE_MAX
from core.messages import Control, Discard, Extent, Fetch, FromBroker, Hello, Mode, NoBlob, Offer, Piece


def connection(user: str, *, rid: bytes | None = None, key: str = "") -> Connection:
    """One that is logged in; ``key`` is another one than the user's usual key."""
    ik = f"{user} {key}".encode().ljust(294, b"\0")
    one = Connection(rid or os.urandom(16), Hello((1,), Mode.FULL, user, Kind.GUEST, ik, None, None, bytes(32)), 0.0)
    one.ready = True
    return one


class SteppedDisk(BlobDisk):
    """A real one, but it works in the thread of whoever tells it to, and breaks when told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.waiting: list[Operation] = []

    def work(self, operations: list[Operation] | None = None) -> list[Answer]:
        """Carry these out, or all that wait."""
        if operations is None:
            operations, self.waiting = self.waiting, []
        self._handle(operations)
        return self.completed()


class Desk:
    """``disk_waits`` keeps what is to be done from being done until ``work``."""

    def __init__(self, folder: Path, quota: Quota | None = None) -> None:
        self.quota = quota or Quota()
        self.now = Instant(1_800_000_000.0, 1000.0)
        self.disk_waits = False
        self.heard: dict[Connection, list[FromBroker]] = {}
        self.ended: set[Connection] = set()
        self._start(folder)

    def _start(self, folder: Path) -> None:
        self.disk = SteppedDisk(folder)
        self.outbox = Outbox()
        self.blobs = Blobs(self.quota, self.outbox)
        self.heard.clear()

    def restart(self, crash_into: Path | None = None, *released: tuple[str, str, int]) -> list[StoredBlob]:
        """The broker dies and another finds what is on the disk: here, or in a copy of it."""
        if crash_into:
            shutil.copytree(self.disk.folder, crash_into)
        self.disk._database.close()
        self._start(crash_into or self.disk.folder)
        for one in released:
            self.blobs.released(*one)
        found = list(self.disk.contents())
        self.blobs.restore(found)
        self.settle()
        return found

    def close(self) -> None:
        self.disk._database.close()

    def join(self, user: str, key: str = "") -> Connection:
        one = connection(user, key=key)
        self.heard[one] = []
        return one

    def leave(self, one: Connection) -> None:
        one.ready = False
        self.heard.pop(one, None)
        self.blobs.gone(one)
        self.settle()

    def say(self, one: Connection, message: Offer | Piece | Fetch | Discard) -> list[FromBroker]:
        """Say it; returns what that connection heard since it was last looked at. What may not be said ends it."""
        if not self.blobs.receive(one, message, self.now):
            self.ended.add(one)
            self.leave(one)
            return []
        self.settle()
        return self.news(one)

    def news(self, one: Connection) -> list[FromBroker]:
        news, self.heard[one] = self.heard[one], []
        return news

    def settle(self) -> None:
        while True:
            for to, raw, _ in self.outbox.outgoing:
                if to in self.heard:
                    self.heard[to].append(frames.read_from_broker(raw))
            self.outbox.outgoing.clear()
            fetches = self.blobs.fetches
            while fetches.with_pieces:
                self.hand(next(iter(fetches.with_pieces)))
            self.disk.waiting += self.blobs.to_disk
            self.blobs.to_disk.clear()
            if self.disk_waits or not self.disk.waiting:
                return
            self.blobs.completed(self.disk.work())

    def hand(self, one: Connection) -> None:
        """The socket and the network take one piece."""
        raw = self.blobs.fetches.first(one)
        assert raw is not None
        self.blobs.fetches.handed(one)
        piece = frames.read_from_broker(raw)
        assert isinstance(piece, Piece)
        self.heard[one].append(piece)
        self.blobs.fetches.left(one, len(piece.data))

    def work(self) -> None:
        """The disk does what waits."""
        with contextlib.ExitStack() as after:
            after.callback(setattr, self, "disk_waits", self.disk_waits)
            self.disk_waits = False
            self.settle()

    def pass_time(self, seconds: float) -> None:
        self.now = Instant(self.now.wall + seconds, self.now.mono + seconds)
        self.blobs.sweep(self.now)
        self.settle()

    # What clients usually do

    def upload(self, one: Connection, blob: bytes, data: bytes, size: int | None = None) -> None:
        """Offer a blob, and send these bytes, its first ones, as credit comes."""
        answers = self.say(one, Offer(blob, size or len(data)))
        at, credit = 0, 0
        while True:
            credit = max([credit, *(a.credit for a in answers if isinstance(a, Extent))])
            if at >= min(credit, len(data)):
                assert at == len(data), answers
                return
            end = min(credit, at + PIECE_MAX, len(data))
            answers = self.say(one, Piece(blob, at, data[at:end]))
            at = end

    def fetch(self, one: Connection, blob: bytes, offset: int, upto: int) -> bytes | list[FromBroker]:
        """The bytes, or what came instead of them."""
        news = self.say(one, Fetch(blob, offset, upto))
        pieces = [n for n in news if isinstance(n, Piece)]
        if len(pieces) != len(news) or not pieces:
            return news
        at = offset
        for piece in pieces:
            assert (piece.blob, piece.offset) == (blob, at)
            at += len(piece.data)
        return b"".join(piece.data for piece in pieces)


def lack(news: list[FromBroker] | bytes) -> str:
    """Why there is no blob, as the only thing that was said."""
    assert isinstance(news, list)
    (one,) = news
    assert isinstance(one, NoBlob)
    return str(one.why)


__all__ = ["Control", "Desk", "SteppedDisk", "connection", "lack"]
