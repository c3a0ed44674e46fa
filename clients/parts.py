"""A file that is being fetched: beside its place under a name of its own, until all of it has come and was verified."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import shutil
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final

from clients.folders import sync_folder
from clients.view import amount
from core.content import File
from core.encoding import pack
from core.errors import FileDamaged, FileFailed, FileUnwritable
from core.limits import FILE_CHUNK, FILE_NAME_MAX
from core.sealed_file import chunk_count

_SUFFIX: Final = ".part"
_MARK: Final = 16
_BEHIND: Final = 3  # chunks that may wait for the disk


class FileTooBig(FileFailed):
    """{name} is not fetched: {missing} of it are to come, and the disk has room for {room}."""

    hint = "Make room, and fetch it then: 'securechat-cli download' does that for a profile."


class PartFile:
    """Where the verified chunks of ``file`` gather in ``folder``; a broken off download finds its own again.

    Use it as a context. Raises FileUnwritable where the folder or the disk does not allow it, and FileTooBig where it is
    plain beforehand that the disk cannot hold it.
    """

    def __init__(self, folder: Path, file: File) -> None:
        self._folder = folder
        self._file = file
        self._hash = hashlib.sha256()
        self._name = saved_name(file.name)
        # Of all that tells this file from another, or a message that names somebody else's blob would take over what has come.
        mark = hashlib.sha256(pack((file.blob, file.key, file.hash, b"%d" % file.size))).hexdigest()[:_MARK]
        self.path: Final = folder / f"{_shortened(self._name, 1 + _MARK + len(_SUFFIX))}.{mark}{_SUFFIX}"
        self.chunks = 0  # that are here, or on their way to the disk
        # Writing and hashing take longer than opening, so the next chunks are opened meanwhile.
        self._writer = ThreadPoolExecutor(1, "securechat-part")
        self._writing: deque[Future[None]] = deque()
        self._error: OSError | None = None

    def __enter__(self) -> PartFile:
        """Open it, and take what is there already."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._check_room()
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check_own()
            self._resume()
        except BlockingIOError:
            os.close(self._fd)
            raise FileUnwritable(name=self._file.name, why="another process is fetching it") from None
        except FileUnwritable:
            os.close(self._fd)
            raise
        except OSError as error:
            os.close(self._fd)
            raise self._unwritable(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it; what has come stays, for the next time."""
        self._writer.shutdown()
        os.close(self._fd)

    def _check_room(self) -> None:
        """A disk that somebody has filled to the last byte is of no use to anybody, and the file would not be whole."""
        try:
            here = self.path.lstat().st_size
        except FileNotFoundError:
            here = 0
        missing, disk = self._file.size - here, shutil.disk_usage(self._folder)
        if missing > disk.free and disk.total:  # some file systems do not tell, and say 0
            raise FileTooBig(name=self._file.name, missing=amount(missing), room=amount(disk.free))

    def _check_own(self) -> None:
        """Where others can write to the folder, it may be theirs, or another name of what is not to be changed."""
        about = os.fstat(self._fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid() or about.st_nlink != 1:
            raise FileUnwritable(name=str(self.path), why="there is something that SecureChat did not leave there; remove it")

    def _resume(self) -> None:
        here = os.fstat(self._fd).st_size
        whole = chunk_count(self._file.size) if here == self._file.size else min(here, self._file.size) // FILE_CHUNK
        if self._file.size == 0:
            whole = 0
        for _ in range(whole):
            self._hash.update(os.read(self._fd, FILE_CHUNK))
        os.ftruncate(self._fd, os.lseek(self._fd, 0, os.SEEK_CUR))
        self.chunks = whole

    def write(self, plain: bytes) -> None:
        """Append a chunk, soon. Raises FileUnwritable if one before it could not be written."""
        self._settle(_BEHIND)
        self._writing.append(self._writer.submit(self._append, plain))
        self.chunks += 1

    def _append(self, plain: bytes) -> None:
        if self._error:  # what follows a gap must not be written
            return
        view = memoryview(plain)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self._error = error
        self._hash.update(plain)

    def _settle(self, most: int) -> None:
        """Wait until no more than so many chunks are on their way; raises FileUnwritable if one could not be written."""
        while len(self._writing) > most:
            self._writing.popleft().result()
        if self._error:
            raise self._unwritable(self._error) from self._error

    def finish(self) -> Path:
        """All chunks have come: give the file its name, or the next one that is free, and return where it is.

        A file of that name with the same content is it. Raises FileDamaged if the whole is not what was sent; then the
        part is gone.
        """
        self._settle(0)
        if not hmac.compare_digest(self._hash.digest(), self._file.hash):
            self._remove()
            raise FileDamaged(name=self._file.name, why="its SHA-256 is another")
        try:
            os.fsync(self._fd)
            place = self._take_name()
            sync_folder(self._folder)
        except OSError as error:
            raise self._unwritable(error) from error
        return place

    def drop(self) -> None:
        """It will never be whole."""
        self._remove()

    def _take_name(self) -> Path:
        number = 1
        while True:
            place = self._folder / _numbered(self._name, number)
            try:
                os.link(self.path, place, follow_symlinks=False)
            except FileExistsError:
                if self._is_it(place):
                    self._remove()
                    return place
                number += 1
            else:
                self._remove()
                return place

    def _is_it(self, place: Path) -> bool:
        with contextlib.suppress(OSError), place.open("rb") as other:
            if place.is_file() and os.fstat(other.fileno()).st_size == self._file.size:
                return hashlib.file_digest(other, "sha256").digest() == self._file.hash
        return False

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def _unwritable(self, error: OSError) -> FileUnwritable:
        return FileUnwritable(name=str(self.path), why=error.strerror or str(error))


def saved_name(name: str) -> str:
    """The name under which a file is kept that was sent as ``name``.

    A peer makes no hidden files, which programs obey, and none that a shell's ``*`` hands to a program as an option.
    """
    return f"_{name}" if name.startswith((".", "-")) else name


def _numbered(name: str, number: int) -> str:
    if number == 1:
        return name
    stem, dot, end = name.rpartition(".")
    if not stem:
        stem, dot, end = name, "", ""
    return f"{_shortened(stem, len(f' ({number}){dot}{end}'.encode()))} ({number}){dot}{end}"


def _shortened(text: str, room: int) -> str:
    """So much of a name that ``room`` bytes more fit."""
    return text.encode()[: FILE_NAME_MAX - room].decode("utf-8", "ignore")
