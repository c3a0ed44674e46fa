"""What is fetched of blobs, in turn for all who fetch. No sockets and no disk.

A client that reads slowly costs little memory: nothing more is read for it while it has not taken what was read before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from broker.blob_values import BlobRead, NotRead, Read
from broker.directory import Connection
from broker.outbox import Outbox
from core import frames
from core.frames import Frames
from core.limits import BLOB_WINDOW, FETCH_MAX, PIECE_MAX
from core.messages import Fetch, Lack, NoBlob

READS_MAX: Final = 64 * 1024 * 1024  # bytes asked from the disk, or read and not yet handed to the socket, for all together
AHEAD_MAX: Final = 2 * FETCH_MAX  # bytes of that for one connection, with what it was handed and the network has not taken


@dataclass(slots=True, eq=False)
class _Reader:
    """One connection that fetches.

    ``asked`` is not yet read, ``reading`` is at the disk, ``ready`` are pieces to hand to the socket. ``outstanding`` counts
    the bytes of all three, ``ahead`` those of the last two and what was handed over and has not left.
    """

    asked: deque[Fetch] = field(default_factory=deque)
    reading: deque[Read] = field(default_factory=deque)
    ready: deque[tuple[bytes, int, memoryview]] = field(default_factory=deque)
    outstanding: int = 0
    ahead: int = 0


class Fetches:
    """All fetches. ``size_of`` a blob that may be fetched says its size; ``to_disk`` takes what is to be read.

    Whoever has the socket hands over what is ``first``, says so with ``handed``, and with ``left`` once it has left.
    """

    def __init__(self, size_of: Callable[[bytes], int | None], to_disk: Callable[[Read], None], outbox: Outbox) -> None:
        self._size_of = size_of
        self._to_disk = to_disk
        self._outbox: Final = outbox
        self._readers: dict[Connection, _Reader] = {}
        self._of_rid: dict[bytes, Connection] = {}
        self._turn: dict[Connection, None] = {}  # those for whom something may be read, the next one first
        self._reading = 0
        self.with_pieces: Final[dict[Connection, None]] = {}

    def fetch(self, connection: Connection, asked: Fetch) -> bool:
        """Take a request; returns whether there may be one more."""
        reader = self._readers.get(connection)
        count = asked.upto - asked.offset
        if count + (reader.outstanding if reader else 0) > BLOB_WINDOW:
            return False
        size = self._size_of(asked.blob)
        if size is None or asked.upto > size:
            self._outbox.say(connection, NoBlob(asked.blob, Lack.UNKNOWN))
            return True
        if reader is None:
            reader = self._readers[connection] = _Reader()
            self._of_rid[connection.rid] = connection
        reader.asked.append(asked)
        reader.outstanding += count
        self._turn.setdefault(connection)
        self._read()
        return True

    def _read(self) -> None:
        """Have the next ones read, one for each connection in turn, as far as there is room."""
        while self._turn and self._reading + FETCH_MAX <= READS_MAX:
            connection = next(iter(self._turn))
            del self._turn[connection]
            reader = self._readers[connection]
            if not reader.asked or reader.ahead + FETCH_MAX > AHEAD_MAX:
                continue  # it comes back when it asks for more, or when something has left
            asked = reader.asked.popleft()
            read = Read(connection.rid, asked.blob, asked.offset, asked.upto)
            reader.reading.append(read)
            reader.ahead += read.size
            self._reading += read.size
            self._to_disk(read)
            self._turn[connection] = None

    def completed(self, answer: BlobRead | NotRead) -> None:
        """Take what was read."""
        asked = answer.asked
        connection = self._of_rid.get(asked.rid)
        reader = self._readers.get(connection) if connection else None
        if connection is None or reader is None or not reader.reading or reader.reading[0] is not asked:
            self._reading -= asked.size  # of a connection that has ended
        else:
            reader.reading.popleft()
            whole = self._size_of(asked.blob)
            if isinstance(answer, BlobRead) and whole is not None:
                data = memoryview(answer.data)
                for at in range(0, len(data), PIECE_MAX):
                    reader.ready.append((asked.blob, asked.offset + at, data[at : at + PIECE_MAX]))
                self.with_pieces[connection] = None
            else:
                reader.outstanding -= asked.size
                self._reading -= asked.size
                self._outbox.say(connection, NoBlob(asked.blob, Lack.UNKNOWN if whole is None else Lack.DISK))
                self.left(connection, asked.size)
        self._read()

    def first(self, connection: Connection) -> Frames | None:
        """The piece that is to be handed over next to this connection."""
        reader = self._readers.get(connection)
        if reader is None or not reader.ready:
            return None
        blob, offset, data = reader.ready[0]
        return frames.piece(blob, offset, bytes(data))

    def handed(self, connection: Connection) -> None:
        """The first piece was handed over."""
        reader = self._readers[connection]
        _, _, data = reader.ready.popleft()
        reader.outstanding -= len(data)
        self._reading -= len(data)
        if not reader.ready:
            del self.with_pieces[connection]
        self._read()

    def left(self, connection: Connection, count: int) -> None:
        """So many bytes that were handed over are in nobody's memory here any more."""
        reader = self._readers.get(connection)
        if reader is None:
            return
        reader.ahead -= count
        if reader.asked:
            self._turn.setdefault(connection)
            self._read()
        elif not reader.ahead:
            self._forget(connection)

    def gone(self, connection: Connection) -> None:
        """A connection has ended: what it asked for is not read, and what is being read for it is dropped."""
        reader = self._readers.get(connection)
        if reader is None:
            return
        self._reading -= sum(len(data) for _, _, data in reader.ready)
        self._forget(connection)
        self._read()

    def _forget(self, connection: Connection) -> None:
        del self._readers[connection]
        self._of_rid.pop(connection.rid, None)
        self._turn.pop(connection, None)
        self.with_pieces.pop(connection, None)
