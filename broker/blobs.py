"""The blobs: who offered which, how much of each is on disk, and who is writing what. No sockets and no disk.

What is on its way to the disk is bounded by credit: a client may send bytes only before the credit that it was given, and all
credit together, used or not, stays below ``IN_FLIGHT_MAX``. Those who wait for some are given it in turn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

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
    StoredBlob,
)
from broker.directory import Connection
from broker.fetches import Fetches
from broker.outbox import Outbox
from broker.quota import Quota
from core.clock import Instant
from core.limits import BLOB_WINDOW, FILE_CHUNK, PIECE_MAX
from core.messages import Discard, Extent, Fetch, Lack, NoBlob, Offer, Piece

IN_FLIGHT_MAX: Final = 64 * 1024 * 1024  # bytes on their way to the disk, and bytes that may still be sent
SMALLEST: Final = PIECE_MAX  # what a blob counts at least: each costs a file, a row and some memory, however small it is
# Whoever goes on with an upload begins where a chunk of its own began, a little below what is on disk.
SLACK: Final = 2 * FILE_CHUNK
UPLOADS_MAX: Final = 64  # of one connection at a time: nobody is to stand in all the places of the queue for credit
UNUSED_MAX: Final = 60.0  # seconds for which credit may be kept from others who wait
UNFINISHED_MAX: Final = 86_400  # seconds for which what is not whole is kept untouched
_EXPIRY: Final = 3600.0  # seconds between looks for what is too old, or a tenth of the retention if that is less
_EXPIRY_AT_ONCE: Final = 2000


@dataclass(slots=True, eq=False)
class _Upload:
    """What one blob's upload is up to. ``writer`` may send bytes before ``credit`` once it is ``granted``.

    ``next`` is the offset of its next piece, None before its first. ``unused`` bytes of credit were given and not used, and
    ``pending`` bytes are on their way to the disk. At ``mark_at`` it was given credit up to ``mark``, which it has not reached.
    """

    writer: Connection | None = None
    granted: bool = False
    next: int | None = None
    credit: int = 0
    unused: int = 0
    pending: int = 0
    mark: int = 0
    mark_at: float = 0.0


@dataclass(slots=True, eq=False)
class Blob:
    """A blob that is kept; ``going`` once it is to be deleted, until it is. Of its ``size``, ``upto`` bytes are on disk."""

    id: bytes
    user: str
    kid: str
    size: int
    upto: int
    at: int
    going: bool = False
    upload: _Upload | None = None

    @property
    def whole(self) -> bool:
        """Whether it may be fetched."""
        return self.upto == self.size and not self.going


class Blobs:
    """All blobs. Work for the disk gathers in ``to_disk``; ``completed`` takes the answers.

    ``count``, ``bytes`` (of their sizes) and ``unfinished`` say what is kept; other threads may read them.
    """

    def __init__(self, quota: Quota, outbox: Outbox) -> None:
        self.to_disk: Final[list[Operation]] = []
        self._outbox: Final = outbox
        self._quota: Final = quota
        self._known: dict[bytes, Blob] = {}
        self.fetches: Final = Fetches(self._whole, self.to_disk.append, outbox)
        self.count = 0
        self.bytes = 0
        self.unfinished = 0
        self._charged = 0
        self._charged_to: defaultdict[str, int] = defaultdict(int)
        self._writing: defaultdict[Connection, set[Blob]] = defaultdict(set)
        self._writers = 0
        self._waiting: dict[Blob, None] = {}  # for credit, in turn
        self._reserved = 0  # credit unused and bytes pending, of all uploads
        self._released: dict[tuple[str, str], int] = {}
        self._now = Instant(0.0, 0.0)
        self._expire_at = 0.0
        self._to_check: list[Blob] = []

    def restore(self, contents: Iterable[StoredBlob]) -> None:
        """Take what is on disk; releases must have been told before. What a name's old owner left is deleted."""
        gone = []
        for one in contents:
            blob = self._add(Blob(*one))
            if blob.at < self._released.get((blob.user, blob.kid), 0):
                gone.append(blob)
        self._released.clear()
        self._delete(gone)

    def released(self, user: str, kid: str, at: int) -> None:
        """A name was taken from this key at this time: the blobs that it has kept under that name go."""
        self._released[user, kid] = at
        self._delete([one for one in self._known.values() if (one.user, one.kid) == (user, kid)])

    # What clients say

    def receive(self, connection: Connection, message: Offer | Piece | Fetch | Discard, now: Instant) -> bool:
        """Take what a client says; returns whether it may say so."""
        self._now = now
        match message:
            case Piece():
                return self._piece(connection, message)
            case Fetch():
                return self.fetches.fetch(connection, message)
            case Offer(blob, size):
                return self._offer(connection, blob, size)
            case Discard(blob):
                found = self._known.get(blob)
                if found and found.kid == connection.kid:
                    self._delete([found], by=connection)
        return True

    def _offer(self, connection: Connection, number: bytes, size: int) -> bool:
        if len(self._writing.get(connection, ())) >= UPLOADS_MAX:
            return False
        blob = self._known.get(number)
        if blob is None:
            charge = max(size, SMALLEST)
            used, all_used = self._charged_to.get(connection.kid, 0), self._charged
            if used + charge > self._quota.user_bytes or all_used + charge > self._quota.total_bytes:
                self._outbox.say(connection, NoBlob(number, Lack.QUOTA))
                return True
            create = Create(number, connection.user, connection.kid, size, int(self._now.wall))
            blob = self._add(Blob(number, *create[1:4], 0, create.at))
            self.to_disk.append(create)
        elif blob.kid != connection.kid or blob.size != size:
            self._outbox.say(connection, NoBlob(number, Lack.UNKNOWN))
            return True
        elif blob.going:  # what is still on its way to the disk must not get into a new one
            self._outbox.say(connection, NoBlob(number, Lack.DISK))
            return True
        elif blob.whole:
            self._outbox.say(connection, Extent(number, size, size))
            return True
        self._leave(blob)
        upload = blob.upload = blob.upload or _Upload()
        upload.writer, upload.granted, upload.next = connection, False, None
        self._writing[connection].add(blob)
        self._writers += 1
        if not upload.pending:  # else what an earlier connection sent is awaited, so that the answer stays true
            self._waiting[blob] = None
        self._grant()
        return True

    def _piece(self, connection: Connection, piece: Piece) -> bool:
        blob = self._known.get(piece.blob)
        upload = blob.upload if blob else None
        if blob is None or upload is None or upload.writer is not connection:
            return True  # it was told, or will be, or another connection of its user's goes on with it
        count, end = len(piece.data), piece.offset + len(piece.data)
        if not upload.granted:
            return False
        if upload.next is None:
            if piece.offset > blob.upto:
                return False
            self._begin(blob, upload, piece.offset)
        elif piece.offset != upload.next:
            return False
        if end > upload.credit:
            return False
        upload.next = end
        upload.unused -= count
        upload.pending += count
        if end >= upload.mark:
            upload.mark, upload.mark_at = upload.credit, self._now.mono
        self.to_disk.append(Append(blob.id, piece.offset, piece.data, int(self._now.wall)))
        return True

    def _begin(self, blob: Blob, upload: _Upload, offset: int) -> None:
        """The writer has chosen where to begin; from there on nothing counts until it is written anew."""
        upload.credit = min(upload.credit, offset + upload.unused)
        self._reserved -= upload.unused - (upload.credit - offset)
        upload.unused = upload.credit - offset
        upload.mark = min(upload.mark, upload.credit)
        blob.upto = offset

    # Credit

    def _grant(self) -> None:
        """Give credit to those who wait for it, in turn, as far as there is some."""
        while self._waiting:
            blob = next(iter(self._waiting))
            upload = blob.upload
            if upload is None or upload.writer is None:  # cannot be: who leaves waits no more
                del self._waiting[blob]
                continue
            base, slack = (upload.credit, 0) if upload.granted else (blob.upto, min(blob.upto, SLACK))
            share = max(PIECE_MAX, IN_FLIGHT_MAX // self._writers)
            needed = min(blob.size, blob.upto + min(BLOB_WINDOW, share)) - base
            room = IN_FLIGHT_MAX - self._reserved - slack
            if room < min(needed, PIECE_MAX):
                break
            del self._waiting[blob]
            if needed <= 0:
                continue
            count = min(needed, room)
            upload.unused += count + slack
            self._reserved += count + slack
            if not upload.granted or (upload.next or 0) >= upload.mark:
                upload.mark, upload.mark_at = base + count, self._now.mono
            upload.credit, upload.granted = base + count, True
            self._outbox.say(upload.writer, Extent(blob.id, blob.upto, upload.credit))

    def _leave(self, blob: Blob) -> Connection | None:
        """The writer of a blob, if it has one, is so no more. Returns who that was."""
        upload = blob.upload
        if upload is None or upload.writer is None:
            return None
        writer, upload.writer = upload.writer, None
        self._reserved -= upload.unused
        upload.unused = 0
        self._waiting.pop(blob, None)
        self._writers -= 1
        theirs = self._writing[writer]
        theirs.discard(blob)
        if not theirs:
            del self._writing[writer]
        if not upload.pending:
            blob.upload = None
        return writer

    def gone(self, connection: Connection) -> None:
        """A connection has ended."""
        self.fetches.gone(connection)
        for blob in list(self._writing.get(connection, ())):
            self._leave(blob)
        self._grant()

    # What the disk says

    def completed(self, answers: Sequence[Answer]) -> None:
        """Take what the disk says, in its order."""
        for answer in answers:
            match answer:
                case Extended():
                    self._extended(answer)
                case NotWritten():
                    self._not_written(answer)
                case BlobRead() | NotRead():
                    self.fetches.completed(answer)
                case Deleted(blobs):
                    for number in blobs:
                        self._known.pop(number, None)
        self._grant()

    def _extended(self, answer: Extended) -> None:
        blob = self._arrived(answer.blob, answer.length)
        if blob is None or blob.going:
            return
        blob.upto, blob.at = answer.upto, answer.at
        upload = blob.upload
        if blob.whole:
            self.unfinished -= 1
            if writer := self._leave(blob):
                self._outbox.say(writer, Extent(blob.id, blob.size, blob.size))
        elif upload and upload.writer and upload.granted:
            before = upload.credit
            self._waiting[blob] = None
            self._grant()
            if upload.credit == before:
                self._outbox.say(upload.writer, Extent(blob.id, blob.upto, upload.credit))

    def _not_written(self, answer: NotWritten) -> None:
        blob = self._arrived(answer.blob, answer.length)
        if blob is None or blob.going:
            return
        upload = blob.upload
        # A writer that has not begun has lost nothing: what did not reach the disk was an earlier one's.
        if (answer.lost or (upload and upload.next is not None)) and (writer := self._leave(blob)):
            self._outbox.say(writer, NoBlob(blob.id, Lack.DISK))
        if answer.lost:
            self._delete([blob])

    def _arrived(self, number: bytes, count: int) -> Blob | None:
        """So many bytes of a blob are on their way no more."""
        self._reserved -= count
        blob = self._known.get(number)
        upload = blob.upload if blob else None
        if blob and upload:
            upload.pending -= count
            if not upload.pending and upload.writer is None:
                blob.upload = None
            elif not upload.pending and not upload.granted:
                self._waiting[blob] = None
        return blob

    # What is kept

    def _whole(self, number: bytes) -> int | None:
        """The size of a blob that may be fetched."""
        blob = self._known.get(number)
        return blob.size if blob and blob.whole else None

    def _add(self, blob: Blob) -> Blob:
        self._known[blob.id] = blob
        charge = max(blob.size, SMALLEST)
        self._charged += charge
        self._charged_to[blob.kid] += charge
        self.count += 1
        self.bytes += blob.size
        self.unfinished += blob.upto < blob.size
        return blob

    def _uncount(self, blob: Blob) -> None:
        charge = max(blob.size, SMALLEST)
        self._charged -= charge
        self._charged_to[blob.kid] -= charge
        if not self._charged_to[blob.kid]:
            del self._charged_to[blob.kid]
        self.count -= 1
        self.bytes -= blob.size
        self.unfinished -= blob.upto < blob.size

    def _delete(self, blobs: Iterable[Blob], by: Connection | None = None) -> None:
        """Have these deleted, and say so to whoever is writing one, but for ``by``, who asked for it."""
        going = [one for one in blobs if not one.going]
        for blob in going:
            self._uncount(blob)
            blob.going = True
            writer = self._leave(blob)
            if writer and writer is not by:
                self._outbox.say(writer, NoBlob(blob.id, Lack.UNKNOWN))
        if going:
            self.to_disk.append(Delete(tuple(one.id for one in going)))
            self._grant()

    # Time

    def sweep(self, now: Instant) -> None:
        """About once a second: take back credit that others wait for, and delete what is too old."""
        self._now = now
        if self._waiting:
            for blob in [one for theirs in self._writing.values() for one in theirs]:
                upload = blob.upload
                if upload and upload.unused and now.mono - upload.mark_at > UNUSED_MAX and (writer := self._leave(blob)):
                    self._outbox.say(writer, NoBlob(blob.id, Lack.DISK))
            self._grant()
        if now.mono >= self._expire_at and not self._to_check:
            self._expire_at = now.mono + min(_EXPIRY, self._quota.seconds / 10)
            self._to_check = list(self._known.values())
        part = self._to_check[-_EXPIRY_AT_ONCE:]
        del self._to_check[-_EXPIRY_AT_ONCE:]
        self._delete([one for one in part if self._known.get(one.id) is one and self._too_old(one)])

    def _too_old(self, blob: Blob) -> bool:
        kept = self._quota.seconds if blob.whole else min(self._quota.seconds, UNFINISHED_MAX)
        return blob.at < int(self._now.wall) - kept
