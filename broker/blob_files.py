"""The files that hold the bytes of blobs: one each, in folders by the first byte of its id. Errors are the system's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from broker.files import sync_folder
from core.limits import BLOB_ID_BYTES

FILES_NAME: Final = "blobs"
_COPY: Final = 1024 * 1024
_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # the last: what is no regular file must not keep us waiting
_NAME: Final = 2 * BLOB_ID_BYTES


class BlobFiles:
    """Below ``root``. Folders have the mode 0700, files 0600."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root

    def begin(self) -> None:
        """Make the folder if need be."""
        self.root.mkdir(mode=0o700, exist_ok=True)

    def path(self, blob: bytes) -> Path:
        """Where the bytes of a blob are."""
        name = blob.hex()
        return self.root / name[:2] / name

    def size(self, blob: bytes) -> int:
        """How many bytes there are; 0 if there is no file."""
        try:
            return os.stat(self.path(blob), follow_symlinks=False).st_size  # noqa: PTH116 - of the path itself
        except FileNotFoundError:
            return 0

    def write(self, blob: bytes, upto: int, offset: int, parts: Sequence[bytes]) -> None:
        """Write these bytes from ``offset`` on, and have them on the disk; the first ``upto`` bytes are there already.

        On failure nothing is known of what is there from ``upto`` on, and it takes no room.
        """
        path = self.path(blob)
        handle = self._make(path) if upto == 0 else os.open(path, os.O_WRONLY | _OPEN)
        try:
            try:
                for part in parts:
                    offset = _put(handle, offset, part)
                os.fdatasync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, upto)
                raise
        finally:
            os.close(handle)

    def read(self, blob: bytes, offset: int, upto: int) -> bytes:
        """The bytes from ``offset`` to before ``upto``; fewer only if the file ends before."""
        handle = os.open(self.path(blob), os.O_RDONLY | _OPEN)
        try:
            parts = []
            while offset < upto and (part := os.pread(handle, upto - offset, offset)):
                parts.append(part)
                offset += len(part)
        finally:
            os.close(handle)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def copy(self, blob: bytes, source: BlobFiles) -> int:
        """Copy the file of a blob from there; returns how many bytes it has."""
        handle = os.open(source.path(blob), os.O_RDONLY | _OPEN)
        try:
            copy = self._make(self.path(blob))
            try:
                offset = 0
                while part := os.pread(handle, _COPY, offset):
                    offset = _put(copy, offset, part)
                os.fsync(copy)
            finally:
                os.close(copy)
        finally:
            os.close(handle)
        return offset

    def remove(self, blob: bytes) -> None:
        """Remove the file of a blob, if there is one."""
        self.path(blob).unlink(missing_ok=True)

    def names(self) -> Iterator[tuple[Path, bytes | None]]:
        """Every file, and the blob that it is named after, if it is."""
        for folder in sorted(self.root.iterdir()):
            for path in sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else ():
                blob = _blob_of(path.name)
                yield path, blob if blob and self.path(blob) == path else None

    def _make(self, path: Path) -> int:
        """Open the file of a blob that has no bytes yet; what a blob that is gone left there is removed."""
        folder = path.parent
        try:
            folder.mkdir(mode=0o700)
            sync_folder(self.root)
        except FileExistsError:
            pass
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600)
        try:
            sync_folder(folder)
        except OSError:
            os.close(handle)
            raise
        return handle


def _put(handle: int, offset: int, part: bytes) -> int:
    """Write all of it; returns where it ends."""
    rest = memoryview(part)
    while rest:
        count = os.pwrite(handle, rest, offset)
        rest, offset = rest[count:], offset + count
    return offset


def _blob_of(name: str) -> bytes | None:
    try:
        return bytes.fromhex(name) if len(name) == _NAME and name == name.lower() else None
    except ValueError:
        return None
