"""One blob on its way, up or down, as state machines: what the broker says in, frames and a file's bytes out.

Both go on after a lost connection: ``begin`` again on the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from core import frames, sealed_file
from core.content import File
from core.errors import FileDamaged, RemoteProtocolError
from core.frames import Frames
from core.limits import BLOB_WINDOW, FETCH_MAX, PIECE_MAX
from core.messages import Extent, Fetch, Offer, Piece
from core.sealed_file import SEALED_CHUNK, chunk_at, chunk_count, sealed_size


class Upload:
    """A blob of ``size`` bytes on its way to the broker. Whoever runs it gives ``pieces`` what ``wanted`` says comes next."""

    def __init__(self, blob: bytes, size: int) -> None:
        self.blob: Final = blob
        self.size: Final = size
        self.upto = 0  # bytes that the broker has on its disk
        self.sent_in_all = 0  # bytes, those that were sent again included
        self._sent = 0
        self._credit = 0
        self._asked = False
        self._found = 0  # what the broker had when this was begun

    def begin(self) -> list[Frames]:
        """What to say on a new connection."""
        self._asked, self._credit = True, 0
        return [frames.control(Offer(self.blob, self.size))]

    def extent(self, message: Extent) -> bool:
        """Take how far the broker is; returns whether to go on from another place, ``chunk``: a sealing is not repeated.

        Raises RemoteProtocolError for what cannot be.
        """
        begun, self._asked = self._asked, False
        if begun:
            self._found = message.upto
        # What is sent again takes the place of what was found: until then, or less, that counts.
        if message.upto > self.size or message.upto > max(self._sent, self._found):
            raise RemoteProtocolError(what="an upload that is further than what was sent")
        # A chunk less than the broker allows: what is sent again after a break begins with the chunk that was not whole.
        self._credit = min(message.credit, message.upto + BLOB_WINDOW - SEALED_CHUNK, self.size)
        self.upto = message.upto
        if begun:
            self._sent = self.upto if self.done else chunk_at(self.upto) * SEALED_CHUNK
        return begun and not self.done

    @property
    def chunk(self) -> int:
        """The chunk that holds the next byte to send."""
        return chunk_at(self._sent)

    @property
    def chunks_safe(self) -> int:
        """How many whole chunks the broker has on its disk."""
        return chunk_at(self.upto)

    @property
    def room(self) -> int:
        """How many bytes may be sent now."""
        return max(0, self._credit - self._sent)

    @property
    def done(self) -> bool:
        """Whether the broker has all of it on its disk."""
        return self.upto == self.size

    def pieces(self, data: memoryview) -> list[Frames]:
        """The frames that carry the next bytes; at most ``room`` of them."""
        out = []
        for at in range(0, len(data), PIECE_MAX):
            part = bytes(data[at : at + PIECE_MAX])
            out.append(frames.piece(self.blob, self._sent, part))
            self._sent += len(part)
        self.sent_in_all += len(data)
        return out


class Download:
    """A file on its way from the broker, from its chunk ``first`` on."""

    def __init__(self, file: File, first: int = 0) -> None:
        self._file: Final = file
        self._chunks: Final = chunk_count(file.size)
        self._size: Final = sealed_size(file.size)
        self._next = first
        self._came = memoryview(bytearray(SEALED_CHUNK))  # the chunk that is coming; used again for each
        self._held = 0  # how many bytes of it have come
        self._asked = 0
        self.came_in_all = 0  # bytes, those that came again included

    @property
    def done(self) -> bool:
        """Whether every chunk has come."""
        return self._next == self._chunks

    def begin(self) -> list[Frames]:
        """What to say on a new connection: what is missing is asked for from its last whole chunk on."""
        self._held = 0
        self._asked = self._next * SEALED_CHUNK
        return self._ask()

    def _ask(self) -> list[Frames]:
        out: list[Frames] = []
        # Half the window: the other half is on its way while this is worked on.
        until = min(self._size, self._at + BLOB_WINDOW // 2)
        while self._asked < until and (until - self._asked >= FETCH_MAX or until == self._size):
            upto = min(self._asked + FETCH_MAX, self._size)
            out.append(frames.control(Fetch(self._file.blob, self._asked, upto)))
            self._asked = upto
        return out

    @property
    def _at(self) -> int:
        return self._next * SEALED_CHUNK + self._held

    def piece(self, message: Piece) -> Iterator[bytes]:
        """Take what came; yields the chunks that are whole, opened and verified. Raises FileDamaged, RemoteProtocolError."""
        if message.offset != self._at or self._at + len(message.data) > self._asked:
            raise RemoteProtocolError(what="a part of a file that was not asked for")
        self.came_in_all += len(message.data)
        rest = memoryview(message.data)
        while rest:
            part = rest[: SEALED_CHUNK - self._held]
            self._came[self._held : self._held + len(part)] = part
            self._held, rest = self._held + len(part), rest[len(part) :]
            if self._held == self._length(self._next):
                yield self._open()

    def _open(self) -> bytes:
        """The chunk that has come."""
        sealed = self._came[: self._held]
        try:
            plain = sealed_file.open_chunk(self._file.key, self._next, sealed, last=self._next == self._chunks - 1)
        except ValueError:
            raise FileDamaged(name=self._file.name, why=f"chunk {self._next + 1} of {self._chunks} is another") from None
        self._next, self._held = self._next + 1, 0
        return plain

    def more(self) -> list[Frames]:
        """What to say after something came."""
        return self._ask()

    def _length(self, index: int) -> int:
        return self._size - index * SEALED_CHUNK if index == self._chunks - 1 else SEALED_CHUNK
