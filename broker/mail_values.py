"""What the broker's mailbox and its disk say to each other, as frozen values: operations one way, answers the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from core.messages import Status


class Put(NamedTuple):
    """Keep a copy. ``kid`` (b64u) is the key that owns the recipient's name ``user``, ``at`` seconds since 1970."""

    id: int
    user: str
    kid: str
    at: int
    sender: str
    sender_kid: str
    mid: bytes
    common: bytes
    wrap: bytes | None

    @property
    def size(self) -> int:
        """Bytes of mail, without what goes with them."""
        return len(self.common) + len(self.wrap or b"")


class Receipt(NamedTuple):
    """What became of a copy that was stored, for ``user``, who sent it with the key ``kid``.

    ``id`` is 0 if it is not kept: a guest's.
    """

    id: int
    user: str
    kid: str
    at: int
    mid: bytes
    to: str
    status: Status
    proof: bytes | None


class Drop(NamedTuple):
    """Forget a copy, and keep the receipt in the same moment."""

    id: int
    receipt: Receipt | None


class Purge(NamedTuple):
    """Forget copies and receipts, without news for anybody."""

    copies: tuple[int, ...] = ()
    receipts: tuple[int, ...] = ()


class Load(NamedTuple):
    """Read copies for the connection ``rid``."""

    rid: bytes
    ids: tuple[int, ...]


class LoadReceipts(NamedTuple):
    """Read receipts for the connection ``rid``."""

    rid: bytes
    ids: tuple[int, ...]


class FindOld(NamedTuple):
    """Look for what was stored before ``before`` (seconds since 1970), from the copy and the receipt after these on."""

    before: int
    copy: int = 0
    receipt: int = 0


Operation = Put | Drop | Purge | Load | LoadReceipts | FindOld


class Committed(NamedTuple):
    """These are on disk, in their order."""

    operations: tuple[Put | Drop | Purge, ...]


class Unstored(NamedTuple):
    """The disk did not take these copies, and never will."""

    ids: tuple[int, ...]


class Loaded(NamedTuple):
    """Copies as they were put, in the order asked for; those that cannot be read are missing."""

    asked: Load
    copies: tuple[Put, ...]


class NotLoaded(NamedTuple):
    """The disk cannot be read now."""

    asked: Load


class LoadedReceipts(NamedTuple):
    """Receipts in the order asked for; those that cannot be read are missing."""

    asked: LoadReceipts
    receipts: tuple[Receipt, ...]


class OldCopy(NamedTuple):
    """Whose an old copy is, and who is to be told."""

    id: int
    user: str
    sender: str
    sender_kid: str
    mid: bytes


class FoundOld(NamedTuple):
    """What is old; ``next`` asks for more, if there may be more."""

    copies: tuple[OldCopy, ...]
    receipts: tuple[tuple[int, str], ...]
    next: FindOld | None


Answer = Committed | Unstored | Loaded | NotLoaded | LoadedReceipts | FoundOld


class StoredCopy(NamedTuple):
    """What is known of a stored copy without reading it: its recipient, the key that owned that name, and its size in bytes."""

    id: int
    user: str
    kid: str
    size: int


class StoredReceipt(NamedTuple):
    """What is known of a kept receipt without reading it."""

    id: int
    user: str
    kid: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a storage holds when it is opened, in the order of ids, to be read once; and the highest ids that it has held."""

    copies: Iterable[StoredCopy] = ()
    receipts: Iterable[StoredReceipt] = ()
    last_copy: int = 0
    last_receipt: int = 0


class MailStorage(Protocol):
    """A disk that never makes its caller wait. Operations take effect in the order in which they were submitted.

    A Put that fails is answered with Unstored. Drop and Purge are tried again until they succeed. Reads see what was
    committed before they were submitted, and may see more. ``failure`` says why nothing more can come of it, if so.
    """

    failure: str | None

    def contents(self) -> Contents:
        """What it holds, before anything is submitted. Reading may raise BrokerFailed."""

    def submit(self, batch: Sequence[Operation]) -> None:
        """Carry these out, soon; returns at once."""

    def completed(self) -> list[Answer]:
        """What has come of operations since this was last asked."""

    def flush(self, seconds: float) -> None:
        """Wait, at most so long, until all that was submitted is answered."""
