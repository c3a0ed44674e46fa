"""Files: read, sealed and uploaded; fetched, verified and saved."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from clients.parts import PartFile
from clients.tickets import Ticket, Tickets
from core import frames
from core.content import File
from core.errors import FileChanged, FileDamaged, FileGone, FileUnreadable, NoRoomForFile, RemoteProtocolError, StoreFailed
from core.events import Event, Welcomed
from core.limits import BLOB_ID_BYTES, BLOB_MAX, FILE_CHUNK, FILE_KEY_BYTES
from core.messages import Discard, Extent, Lack, NoBlob, Piece
from core.names import check_file_name
from core.sealed_file import chunk_count, seal_chunk, sealed_size
from core.transfer import Download, Upload

if TYPE_CHECKING:
    from clients.courier import Courier

Progress = Callable[[int, int], None]
"""Told how many bytes of the file are done, and of how many."""

_RENEWED: Final = 10.0  # seconds after which an upload is noted anew, so that it does not look like one of a dead program
_LACKS: Final = {
    Lack.UNKNOWN: "it has something else under its number",
    Lack.QUOTA: "your room for files there is used up",
    Lack.DISK: "its disk does not take it",
}


def _quiet(_done: int, _all: int) -> None:
    pass


def check_file(path: Path) -> None:
    """Raise FileUnreadable or BadFileName for what cannot be sent, before anything is."""
    check_file_name(path.name)
    with _opened(path):
        pass


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a file that can be sent. Raises FileUnreadable, also for what the system says while it is read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would keep us waiting for its writer
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                why = "it is a folder" if stat.S_ISDIR(about.st_mode) else "it is not a regular file"
                raise FileUnreadable(name=str(path), why=why)
            if sealed_size(about.st_size) > BLOB_MAX:
                raise FileUnreadable(name=str(path), why="it is too long")
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FileUnreadable(name=str(path), why=error.strerror or str(error)) from error


class Files:
    """A client's files. ``courier`` makes a connection for one; ``tickets`` remembers uploads that were broken off."""

    def __init__(self, courier: Callable[[], Courier], tickets: Tickets) -> None:
        self._courier = courier
        self._tickets = tickets

    def upload(self, path: Path, progress: Progress = _quiet, *, known_as: str | None = None) -> File:
        """Store a file at the broker, sealed, and return what to send to whoever is to have it.

        An upload of the same file, unchanged, that was broken off is gone on with. ``known_as`` says by what that one is to
        be known, if not by the file's path. It blocks. Raises FileUnreadable, BadFileName, FileChanged, NoRoomForFile,
        BrokerUnreachable and LoginRefused.
        """
        name = check_file_name(path.name)
        with _opened(path) as descriptor:
            ticket = self._ticket(known_as or str(path.absolute()), os.fstat(descriptor))
            try:
                with self._courier() as courier:
                    digest = _Sending(descriptor, ticket, self._tickets, courier, progress).run()
            except BaseException:
                with contextlib.suppress(StoreFailed):  # then others see in time that nobody goes on with it
                    self._tickets.release(ticket.blob)
                raise
        return File(name, ticket.size, digest, ticket.key, ticket.blob)

    def _ticket(self, where: str, about: os.stat_result) -> Ticket:
        for ticket in self._tickets.all():
            if (ticket.path, ticket.size, ticket.changed_ns) == (where, about.st_size, about.st_mtime_ns):
                break
        else:
            blob, key = os.urandom(BLOB_ID_BYTES), os.urandom(FILE_KEY_BYTES)
            ticket = Ticket(where, about.st_size, about.st_mtime_ns, blob, key)
        self._tickets.note(ticket)
        return ticket

    def unfinished(self) -> list[Ticket]:
        """The uploads that were begun and not ended, from whichever of a profile's programs, and that none else goes on with.

        Raises StoreFailed and RecordDamaged.
        """
        held = self._tickets.held()
        return [ticket for ticket in self._tickets.all() if ticket.blob not in held]

    def give_up(self, known_as: Path | str) -> None:
        """A file that was not sent will not be: the broker need not keep what it has of it.

        It blocks. Raises BrokerUnreachable and LoginRefused; then the broker keeps that for a while.
        """
        where = known_as if isinstance(known_as, str) else str(known_as.absolute())
        begun = [ticket.blob for ticket in self._tickets.all() if ticket.path == where]
        for blob in begun:
            self._tickets.drop(blob)
        if not begun:
            return
        with self._courier() as courier:
            for event in courier.events():
                if isinstance(event, Welcomed):
                    courier.put(frames.control(Discard(blob)) for blob in begun)
                    return

    def download(self, file: File, folder: Path, progress: Progress = _quiet) -> Path:
        """Fetch a file into ``folder`` and return where it is; nothing there is overwritten.

        It blocks. Raises FileUnwritable, FileTooBig, FileGone, FileDamaged, BrokerUnreachable and LoginRefused.
        """
        with PartFile(folder, file) as part:
            if part.chunks < chunk_count(file.size):
                with self._courier() as courier:
                    _fetch(file, part, courier, progress)
            return part.finish()


class _Sending:
    """One run of an upload."""

    def __init__(self, descriptor: int, ticket: Ticket, tickets: Tickets, courier: Courier, progress: Progress) -> None:
        self._descriptor = descriptor
        self._ticket = ticket
        self._tickets = tickets
        self._courier = courier
        self._progress = progress
        self._upload = Upload(ticket.blob, sealed_size(ticket.size))
        self._chunks = chunk_count(ticket.size)
        self._noted = time.monotonic()
        self._next = 0  # the chunk to seal next
        self._sealed = memoryview(b"")
        self._hash = hashlib.sha256()
        self._digests: list[bytes] = [self._hash.digest()]  # of the first 0, 1, 2 … chunks

    def run(self) -> bytes:
        """Returns the file's SHA-256."""
        for event in self._courier.events():
            if self._take(event):
                break
        while len(self._digests) <= self._chunks:
            self._read(len(self._digests) - 1)
        self._check_unchanged()
        return self._digests[-1]

    def _take(self, event: Event) -> bool:
        upload = self._upload
        match event:
            case Welcomed():
                self._courier.put(upload.begin())
            case NoBlob(blob, why) if blob == upload.blob:
                if why is not Lack.DISK:
                    self._tickets.drop(blob)
                raise NoRoomForFile(name=Path(self._ticket.path).name, why=_LACKS[why])
            case Extent(blob) if blob == upload.blob:
                if upload.extent(event):
                    self._next, self._sealed = upload.chunk, memoryview(b"")
                    self._check_resumed()
                self._progress(min(upload.upto, self._ticket.size), self._ticket.size)
                self._note()
                self._fill()
            case _:
                pass
        return upload.done

    def _check_resumed(self) -> None:
        """What the broker has of the file must be what the file begins with now."""
        ticket = self._ticket
        while len(self._digests) <= max(self._next, ticket.chunks):
            self._read(len(self._digests) - 1)
        if ticket.chunks and self._digests[ticket.chunks] != ticket.digest:
            self._changed()

    def _note(self) -> None:
        whole = min(self._upload.chunks_safe, len(self._digests) - 1)
        if whole > self._ticket.chunks:
            self._ticket = replace(self._ticket, chunks=whole, digest=self._digests[whole])
        elif time.monotonic() < self._noted + _RENEWED:
            return
        self._tickets.note(self._ticket)
        self._noted = time.monotonic()

    def _fill(self) -> None:
        """Send what the broker's credit allows."""
        while self._upload.room and (self._sealed or self._next < self._chunks):
            if not self._sealed:
                plain = self._read(self._next)
                last = self._next == self._chunks - 1
                self._sealed = memoryview(seal_chunk(self._ticket.key, self._next, plain, last=last, random=os.urandom))
                self._next += 1
            length = min(self._upload.room, len(self._sealed))
            self._courier.put(self._upload.pieces(self._sealed[:length]))
            self._sealed = self._sealed[length:]

    def _read(self, index: int) -> bytes:
        """A chunk of the file; its bytes are hashed the first time."""
        length = min(FILE_CHUNK, self._ticket.size - index * FILE_CHUNK)
        plain = os.pread(self._descriptor, length, index * FILE_CHUNK)
        if len(plain) != length:
            self._changed()
        if index == len(self._digests) - 1:
            self._hash.update(plain)
            self._digests.append(self._hash.digest())
        return plain

    def _check_unchanged(self) -> None:
        about = os.fstat(self._descriptor)
        if (about.st_size, about.st_mtime_ns) != (self._ticket.size, self._ticket.changed_ns):
            self._changed()

    def _changed(self) -> None:
        self._tickets.drop(self._ticket.blob)
        self._courier.put([frames.control(Discard(self._ticket.blob))])
        raise FileChanged(name=self._ticket.path)


def _fetch(file: File, part: PartFile, courier: Courier, progress: Progress) -> None:
    download = Download(file, part.chunks)
    for event in courier.events():
        match event:
            case Welcomed():
                courier.put(download.begin())
            case NoBlob(blob) if blob == file.blob:
                raise FileGone(name=file.name)
            case Piece(blob) if blob == file.blob:
                try:
                    for plain in download.piece(event):
                        part.write(plain)
                        progress(min(part.chunks * FILE_CHUNK, file.size), file.size)
                except FileDamaged:
                    part.drop()
                    raise
                except RemoteProtocolError as error:
                    raise FileDamaged(name=file.name, why=str(error)) from error
                courier.put(download.more())
            case _:
                pass
        if download.done:
            return
