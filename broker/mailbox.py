"""The mailboxes: what waits for whom, how much of it may, and what senders are still to be told.

A name that a profile holds has a box. Bodies are on disk; here are only their ids and sizes. No sockets and no disk: what is
to be written is handed to ``write``, and what came of it comes back through ``stored`` and ``unstored``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import msgspec

from broker.directory import Connection, Copy
from broker.ledger import Ledger
from broker.mail_values import Contents, Drop, Operation, Purge, Put, Receipt
from broker.quota import Quota
from core.limits import KEPT_MAX
from core.messages import Status

RECEIPTS_MAX: Final = 10_000  # a sender who never comes back is told no more than this
UNWRITTEN_MAX: Final = 64 * 1024 * 1024  # bytes on their way to the disk: what a slow disk may cost in memory


@dataclass(slots=True, eq=False)
class Box:
    """What waits for one name, held by the key ``kid``: sizes by copy id, and the ids of receipts for what it sent."""

    user: str
    kid: str
    sizes: dict[int, int] = field(default_factory=dict)
    bytes: int = 0
    receipts: deque[int] = field(default_factory=deque)


class Unwritten(msgspec.Struct, eq=False):
    """A copy on its way to the disk; ``live`` is what was also given out, ``answered`` whether its sender was told."""

    box: Box
    sender: Connection
    mid: bytes
    place: int
    size: int
    live: Copy | None
    answered: bool = False


class Mailbox:
    """All boxes. Raises nothing: whatever it is told of copies and names it does not know changes nothing."""

    def __init__(self, ledger: Ledger, quota: Quota, write: Callable[[Operation], None]) -> None:
        self._ledger: Final = ledger
        self.quota: Final = quota
        self._write = write
        self._boxes: dict[str, Box] = {}
        self.unwritten: dict[int, Unwritten] = {}
        self._unwritten_bytes = 0
        self._last_receipt = 0
        self.count = 0
        self.bytes = 0

    def restore(self, contents: Contents) -> None:
        """Take what is on disk. What a key left behind whose name was released is purged."""
        self._last_receipt = contents.last_receipt
        lost_copies, lost_receipts = [], []
        for number, user, kid, size in contents.copies:
            box = self.of(user)
            if box and box.kid == kid:
                self._add(box, number, size)
            else:
                lost_copies.append(number)
        for number, user, kid in contents.receipts:
            box = self.of(user)
            if box and box.kid == kid:
                box.receipts.append(number)
            else:
                lost_receipts.append(number)
        if lost_copies or lost_receipts:
            self._write(Purge(tuple(lost_copies), tuple(lost_receipts)))

    def of(self, user: str) -> Box | None:
        """The box of a name that a profile holds."""
        box = self._boxes.get(user)
        if box is None and (owner := self._ledger.owner(user)):
            box = self._boxes[user] = Box(user, owner.kid)
        return box

    # Copies

    def refusal(self, box: Box, size: int) -> Status | None:
        """Why a copy of this size cannot be kept now, if so."""
        if len(box.sizes) >= self.quota.copies or box.bytes + size > self.quota.bytes:
            return Status.FULL
        return Status.UNSTORED if self._unwritten_bytes + size > UNWRITTEN_MAX else None

    def put(self, copy: Put, unwritten: Unwritten) -> None:
        """Keep a copy that was not refused."""
        number, size = copy.id, unwritten.size
        self._add(unwritten.box, number, size)
        self.unwritten[number] = unwritten
        self._unwritten_bytes += size
        self._write(copy)

    def written(self, number: int) -> Unwritten | None:
        """The disk is done with a copy that was put, one way or the other."""
        unwritten = self.unwritten.pop(number, None)
        if unwritten:
            self._unwritten_bytes -= unwritten.size
        return unwritten

    def drop(self, box: Box, number: int, receipt: Receipt | None) -> None:
        """Forget a copy, for its recipient has it, or will not get it."""
        self.forget(box, number)
        self._write(Drop(number, receipt))

    def forget(self, box: Box, number: int) -> None:
        """Count a copy no more."""
        size = box.sizes.pop(number, None)
        if size is not None:
            box.bytes -= size
            self.count -= 1
            self.bytes -= size

    def _add(self, box: Box, number: int, size: int) -> None:
        box.sizes[number] = size
        box.bytes += size
        self.count += 1
        self.bytes += size

    def release(self, user: str) -> Iterator[Unwritten]:
        """A name was taken from its holder: purge its box. Yields what was still on its way to the disk."""
        box = self._boxes.pop(user, None)
        if box is None:
            return
        copies, receipts = tuple(box.sizes), tuple(box.receipts)
        for number in copies:
            self.forget(box, number)
        if copies or receipts:
            self._write(Purge(copies, receipts))
        for number in copies:
            if number in self.unwritten:
                yield self.unwritten[number]

    # Receipts

    def receipt(self, sender: str, kid: str, at: int, mid: bytes, to: str, status: Status, proof: bytes | None) -> Receipt:
        """What ``sender`` is to be told; with an id, and so to be kept, if the key that sent it holds that name."""
        box = self.of(sender)
        number = 0
        if box and box.kid == kid:
            self._last_receipt += 1
            number = self._last_receipt
        return Receipt(number, sender, kid, at, mid, to, status, proof)

    def keep(self, receipt: Receipt) -> bool:
        """A receipt is on disk; returns whether it is of use to anybody."""
        box = self._boxes.get(receipt.user)
        if box is None or box.kid != receipt.kid:
            self._write(Purge(receipts=(receipt.id,)))
            return False
        if len(box.receipts) >= RECEIPTS_MAX:
            self._write(Purge(receipts=(box.receipts.popleft(),)))
        box.receipts.append(receipt.id)
        return True

    def receipts_after(self, user: str, number: int) -> tuple[int, ...]:
        """The next portion of kept receipts."""
        box = self._boxes.get(user)
        if box is None:
            return ()
        return tuple(islice((one for one in box.receipts if one > number), KEPT_MAX))

    def noted(self, user: str, upto: int) -> None:
        """Forget the receipts up to this number: their sender has them safe."""
        box = self._boxes.get(user)
        if box is None:
            return
        gone = []
        while box.receipts and box.receipts[0] <= upto:
            gone.append(box.receipts.popleft())
        if gone:
            self._write(Purge(receipts=tuple(gone)))
