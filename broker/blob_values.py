"""What the broker's blobs and their disk say to each other, as frozen values: operations one way, answers the other.

Offsets and sizes are bytes, times seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol


class Create(NamedTuple):
    """Keep a new blob of ``size`` bytes, none of which is there, for ``user``, who offered it with the key ``kid`` (b64u)."""

    blob: bytes
    user: str
    kid: str
    size: int
    at: int


class Append(NamedTuple):
    """Write these bytes of a blob. What was on disk from ``offset`` on counts no longer."""

    blob: bytes
    offset: int
    data: bytes
    at: int


class Read(NamedTuple):
    """Read the bytes of a blob from ``offset`` to before ``upto``, for the connection ``rid``."""

    rid: bytes
    blob: bytes
    offset: int
    upto: int

    @property
    def size(self) -> int:
        """How many bytes that is."""
        return self.upto - self.offset


class Delete(NamedTuple):
    """Forget these blobs."""

    blobs: tuple[bytes, ...]


Operation = Create | Append | Read | Delete


class Extended(NamedTuple):
    """The first ``upto`` bytes of a blob are on disk; ``length`` bytes of Appends are dealt with by this."""

    blob: bytes
    upto: int
    length: int
    at: int


class NotWritten(NamedTuple):
    """``length`` bytes of Appends did not reach the disk, and never will; ``lost``: nor is there such a blob on it."""

    blob: bytes
    length: int
    lost: bool


class BlobRead(NamedTuple):
    """The bytes that were asked for, all of them."""

    asked: Read
    data: bytes


class NotRead(NamedTuple):
    """The bytes cannot be read."""

    asked: Read


class Deleted(NamedTuple):
    """These blobs are gone from the disk."""

    blobs: tuple[bytes, ...]


Answer = Extended | NotWritten | BlobRead | NotRead | Deleted


class StoredBlob(NamedTuple):
    """What is known of a blob without reading it; ``upto`` bytes of ``size`` are on disk, ``at`` is when that last changed."""

    blob: bytes
    user: str
    kid: str
    size: int
    upto: int
    at: int


class BlobStorage(Protocol):
    """A disk that never makes its caller wait. Operations on one blob take effect in the order in which they were submitted.

    Every Append is counted in one Extended or NotWritten, and every Read has an answer. A Create is answered only if it
    fails, with a NotWritten of no bytes that is ``lost``. A Delete is tried again until it succeeds. Reads are of whole
    blobs. ``failure`` says why nothing more can come of it, if so.
    """

    failure: str | None

    def contents(self) -> Iterable[StoredBlob]:
        """What it holds, before anything is submitted; to be read once. Reading may raise BrokerFailed."""

    def submit(self, batch: Sequence[Operation]) -> None:
        """Carry these out, soon; returns at once."""

    def completed(self) -> list[Answer]:
        """What has come of operations since this was last asked."""

    def flush(self, seconds: float) -> None:
        """Wait, at most so long, until all that was submitted is answered."""
