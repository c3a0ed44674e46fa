"""The hot path: copies on their way to connections, and their acknowledgements. No sockets and no clock."""

from __future__ import annotations

import struct
from itertools import count
from typing import Final

from broker.directory import Body, Connection, Copy, Directory
from broker.ledger import Ledger
from broker.outbox import Outbox
from broker.post import Post
from broker.quota import Quota
from broker.rate import Budgets
from core import frames
from core.errors import FrameError
from core.frames import ACK_SIZE, result_item
from core.limits import COPY_ID_BYTES, HASH_BYTES, MID_BYTES, WINDOW_BYTES, WINDOW_COPIES
from core.messages import Status
from core.names import is_name

_HEAD: Final = 1 + MID_BYTES
_deliver_head: Final = struct.Struct(f">cQ{MID_BYTES}s").pack
_acks: Final = struct.Struct(f">Q{HASH_BYTES}s").iter_unpack
_delivered: Final = struct.Struct(f">{MID_BYTES}sHB{HASH_BYTES}s").pack
_NO_PROOF: Final = frames.NO_PROOF
_DELIVERED: Final = int(Status.DELIVERED)

Delivery = tuple[tuple[Connection, ...], bytes]


class Relay(Outbox):
    """The two methods that every message passes, ``mail`` and ``acked``, return what to do, and touch nothing they need not.

    Whoever is not to be given a copy now has it kept by the ``post``.
    """

    def __init__(self, ledger: Ledger, quota: Quota, rate: int) -> None:
        super().__init__()
        self.connections: Final[dict[bytes, Connection]] = {}
        self.directory: Final = Directory()
        self.post: Final = Post(self.directory, ledger, quota, self._number, self.connections.get, self)
        self.budgets: Final = Budgets(rate)
        self.routed = 0  # copies taken since the start, as of the last `mark`
        self._receivers: Final = self.directory.receivers.get
        self.count_from(1)

    def count_from(self, first: int) -> None:
        """Number the copies from here on."""
        self._next_copy = count(first).__next__
        self._mark = first - 1

    def mark(self) -> int:
        """Return a number below which are the copies up to now, and above which all later ones will be."""
        before, self._mark = self._mark, self._next_copy()
        self.routed += self._mark - before - 1
        return self._mark

    def _number(self) -> int:
        return self._next_copy()

    def mail(self, sender: Connection, head: bytes, common: Body) -> Delivery | None:
        """Route one SEND by its head and ``common``: whom to give it to, and the DELIVER head to put before ``common``.

        None if there is nothing to do: the sender's result is noted. Raises FrameError for a head that is none.
        """
        targets = self._receivers(head[_HEAD:])
        left = sender.left
        if targets is None or left <= 0:
            return self._mail_slowly(sender, head, common)
        sender.left = left - 1
        mid = head[1:_HEAD]
        if len(targets) > 1:
            return self._copy(sender, mid, 0, common, None, targets)
        (target,) = targets  # one connection is the rule: what follows is `_copy` for it alone, in less time
        size = len(common)
        copies = target.copies
        bytes_out = target.bytes_out + size
        if len(copies) >= WINDOW_COPIES or bytes_out > WINDOW_BYTES:
            self.post.keep(sender, mid, 0, target.user, common, None, Status.FULL)
            return None
        target.bytes_out = bytes_out
        number = self._next_copy()
        copies[number] = (sender, mid, 0, size, targets, common if target.owned else None)
        return targets, _deliver_head(b"D", number, mid) + sender.sender

    def _mail_slowly(self, sender: Connection, head: bytes, common: Body) -> Delivery | None:
        to = head[_HEAD:]
        user = to.decode("ascii", "replace")
        if self.post.mailbox.of(user) is None and not is_name(user):  # who has a mailbox has a name, and it is quicker to find
            raise FrameError(what="a name that is none")
        if not self._may_send(sender):
            self.result(sender, head[1:_HEAD], 0, Status.RATE)
        elif targets := self._receivers(to):
            return self._copy(sender, head[1:_HEAD], 0, common, None, targets)
        else:
            self.post.keep(sender, head[1:_HEAD], 0, user, common, None, Status.ABSENT)
        return None

    def _may_send(self, sender: Connection) -> bool:
        if sender.left <= 0:
            sender.left = self.budgets.draw(sender.user)
        sender.left -= 1
        return sender.left >= 0

    def _copy(
        self, sender: Connection, mid: bytes, place: int, common: Body, wrap: bytes | None, targets: tuple[Connection, ...]
    ) -> Delivery | None:
        size = len(common) + len(wrap or b"")
        for target in targets:
            if len(target.copies) >= WINDOW_COPIES or target.bytes_out + size > WINDOW_BYTES:
                roomy = tuple(
                    one for one in targets if len(one.copies) < WINDOW_COPIES and one.bytes_out + size <= WINDOW_BYTES
                )
                # For an owner all wait, so that each gets everything in its order.
                if not roomy or target.owned:
                    self.post.keep(sender, mid, place, target.user, common, wrap, Status.FULL)
                    return None
                targets = roomy
                break
        number = self._next_copy()
        body = None if not targets[0].owned else common if wrap is None else (common, wrap)
        copy: Copy = (sender, mid, place, size, targets, body)
        for target in targets:
            target.copies[number] = copy
            target.bytes_out += size
        return targets, _deliver_head(b"D", number, mid) + sender.sender

    def acked(self, connection: Connection, head: bytes) -> None:
        """Take an ACK; copies that were never given to this connection are ignored. Raises FrameError."""
        if len(head) % ACK_SIZE != 1 or len(head) == 1:
            raise FrameError(what="acknowledgements of a wrong size")
        take = connection.copies.pop
        freed = 0
        delivered = (len(head) - 1) // ACK_SIZE
        last: Connection | None = None
        for number, proof in _acks(head[1:]):
            copy = take(number, None)
            if copy is None:
                freed += self.post.acked(connection, number, proof)
                delivered -= 1
                continue
            sender, mid, place, size, targets, _ = copy
            freed += size
            if len(targets) > 1:
                if proof == _NO_PROOF and any(number in other.copies for other in targets):
                    delivered -= 1
                    continue  # another connection of the same user may still open it
                self._forget_elsewhere(number, size, targets)
            if sender is not last:
                last = sender
                note = sender.results.append
                if sender.ready:  # if not, it left before the answer came, and nobody reads this list
                    self.with_results.add(sender)
            if proof == _NO_PROOF:
                note(result_item(mid, place, Status.REFUSED))
                self.counts[Status.REFUSED] += 1
                delivered -= 1
            else:
                note(_delivered(mid, place, _DELIVERED, proof))
        connection.bytes_out -= freed
        self.counts[Status.DELIVERED] += delivered
        if connection.catch_up.plan:
            self.post.feed(connection)

    @staticmethod
    def _forget_elsewhere(number: int, size: int, targets: tuple[Connection, ...]) -> None:
        for other in targets:
            if other.copies.pop(number, None) is not None:
                other.bytes_out -= size

    def undeliverable(self, connection: Connection, head: bytes) -> None:
        """A copy (named by its DELIVER head) did not fit into this connection's queue."""
        self.post.undeliverable(connection, int.from_bytes(head[1 : 1 + COPY_ID_BYTES], "big"))
