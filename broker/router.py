"""Verbs to actions: routes frames by username. No sockets and no clock; it cannot read what it routes.

Whoever runs it hands in what arrives, and sends what it leaves in its outbox. The two methods that every message passes
(``mail`` and ``acked``) return what to do instead, and touch nothing they need not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Final

from broker.directory import Body, Connection, Copy, Directory
from broker.door import Door, Entrance
from broker.ledger import Ledger, LogEvent, Released
from broker.mail_values import Answer, Contents, Operation
from broker.mailbox import Quota
from broker.outbox import Outbox
from broker.post import Post
from broker.rate import Budgets
from core import frames
from core.bundle import SignedBundle
from core.clock import Instant
from core.errors import FrameError
from core.frames import ACK_SIZE, Frames, result_item
from core.limits import (
    COPY_ID_BYTES,
    HASH_BYTES,
    MID_BYTES,
    PROTOCOL_VERSION,
    SILENCE_MAX,
    WINDOW_BYTES,
    WINDOW_COPIES,
)
from core.messages import (
    Ack,
    Bundles,
    Bye,
    Challenge,
    Error,
    Fanout,
    Found,
    FromClient,
    Hello,
    Lookup,
    Mode,
    Noted,
    Ping,
    Pong,
    Prove,
    Reason,
    Renew,
    Send,
    Status,
    Users,
    Welcome,
)
from core.names import is_name
from core.rsa import kid_of

_HEAD: Final = 1 + MID_BYTES
_deliver_head: Final = struct.Struct(f">cQ{MID_BYTES}s").pack
_acks: Final = struct.Struct(f">Q{HASH_BYTES}s").iter_unpack
_delivered: Final = struct.Struct(f">{MID_BYTES}sHB{HASH_BYTES}s").pack
_NO_PROOF: Final = frames.NO_PROOF
_DELIVERED: Final = int(Status.DELIVERED)

_QUOTA: Final = Quota()

Delivery = tuple[tuple[Connection, ...], bytes]


class Router(Outbox):
    """The broker's state. ``broker_key`` is its CURVE public key; ``random`` gives that many random bytes.

    What ``to_log`` gets comes back through ``committed`` once it is safe; logins that depend on it wait until then. What
    ``to_disk`` holds is for the mail's storage, whose answers ``stored`` takes. ``rate`` is how many messages a second each
    user may send; 0 sets no bound.
    """

    def __init__(
        self,
        broker_key: bytes,
        ledger: Ledger,
        to_log: Callable[[LogEvent], None],
        *,
        random: Callable[[int], bytes],
        quota: Quota = _QUOTA,
        rate: int = 0,
    ) -> None:
        super().__init__()
        self.connections: Final[dict[bytes, Connection]] = {}
        self.directory: Final = Directory()
        self.door: Final = Door(broker_key, self.directory, ledger, to_log, random=random)
        self.post: Final = Post(self.directory, ledger, quota, self._number, self.connections.get, self)
        self._ledger: Final = ledger
        self._budgets: Final = Budgets(rate)
        self._swept = 0.0
        self._next_copy = count(1).__next__
        self._before = 0
        self._receivers = self.directory.receivers.get

    def _number(self) -> int:
        return self._next_copy()

    # The hot path

    def mail(self, sender: Connection, head: bytes, common: Body) -> Delivery | None:
        """Route one SEND by its head and ``common``: whom to give it to, and the DELIVER head to put before ``common``.

        None if there is nothing to do: the sender's result is noted. Raises FrameError for a head that is none.
        """
        budget = sender.budget
        to = head[_HEAD:]
        targets = self._receivers(to)
        if targets is None or budget.left <= 0:
            self._not_now(sender, head, common)
            return None
        budget.left -= 1
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
        copies[number] = (sender, mid, 0, size, targets, common, None)
        return targets, _deliver_head(b"D", number, mid) + sender.sender

    def _not_now(self, sender: Connection, head: bytes, common: Body) -> None:
        to = head[_HEAD:].decode("ascii", "replace")
        if not is_name(to):  # a name that is found has a valid form, so only a miss needs the check
            raise FrameError(what="a name that is none")
        if sender.budget.left <= 0:
            self.result(sender, head[1:_HEAD], 0, Status.RATE)
        else:
            sender.budget.left -= 1
            self.post.keep(sender, head[1:_HEAD], 0, to, common, None, Status.ABSENT)

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
                if not roomy or self._ledger.owner(target.user):
                    self.post.keep(sender, mid, place, target.user, common, wrap, Status.FULL)
                    return None
                targets = roomy
                break
        number = self._next_copy()
        copy: Copy = (sender, mid, place, size, targets, common, wrap)
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
        last: Connection | None = None
        for number, proof in _acks(head[1:]):
            copy = take(number, None)
            if copy is None:
                freed += self.post.acked(connection, number, proof)
                continue
            sender, mid, place, size, targets, _, _ = copy
            freed += size
            if len(targets) > 1:
                if proof == _NO_PROOF and any(number in other.copies for other in targets):
                    continue  # another connection of the same user may still open it
                self._forget_elsewhere(number, size, targets)
            if sender is not last:
                last = sender
                note = sender.results.append
                if sender.ready:  # if not, it left before the answer came, and nobody reads this list
                    self.with_results.add(sender)
            if proof == _NO_PROOF:
                note(result_item(mid, place, Status.REFUSED))
            else:
                note(_delivered(mid, place, _DELIVERED, proof))
        connection.bytes_out -= freed
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

    # Everything else

    def receive(self, rid: bytes, client_key: bytes, raw: Sequence[bytes], now: Instant) -> Iterator[tuple[Delivery, Frames]]:
        """Take any message in full; yields the deliveries of a fan-out, each with the frames that follow its head.

        Bad frames end their sender's connection, with an ERROR that says so.
        """
        connection = self.connections.get(rid) or self.door.find(rid)
        try:
            message = frames.read_from_client(raw)
        except FrameError:
            self.malformed(rid)
            return
        if connection is None or not connection.ready:
            self._log_in(rid, client_key, connection, message, now)
            return
        connection.seen = now.mono
        match message:
            case Fanout():
                yield from self._fan_out(connection, message)
            case Send(_, _, common):
                delivery = self.mail(connection, raw[0], common)
                if delivery:
                    yield delivery, [common]
            case Ack():
                self.acked(connection, raw[0])
            case Ping():
                self.say(connection, Pong())
            case Lookup(users):
                bundles = ((user, self.directory.bundle(user) or self._ledger.bundle(user)) for user in users)
                self.say(connection, Bundles(tuple(Found(user, bundle) for user, bundle in bundles)))
            case Users():
                self._send_roster(connection)
            case Renew(bundle):
                self._renew(connection, bundle, now)
            case Bye():
                self.gone(connection)
            case Noted(upto):
                self.post.news.noted(connection, upto)
            case Pong():
                pass
            case Hello() | Prove():
                self.malformed(rid)

    def _renew(self, connection: Connection, signed: SignedBundle, now: Instant) -> None:
        seq = self.door.note_bundle(connection.hello, signed, now)
        if seq is None:
            self.malformed(connection.rid)
        else:
            self.directory.renew(connection, signed, seq)

    def _fan_out(self, sender: Connection, message: Fanout) -> Iterator[tuple[Delivery, Frames]]:
        budget = sender.budget
        for place, (user, wrap) in enumerate(zip(message.to, message.wraps, strict=True)):
            if budget.left <= 0:
                self.result(sender, message.mid, place, Status.RATE)
                continue
            budget.left -= 1
            targets = self._receivers(user.encode("ascii"))
            if targets is None:
                self.post.keep(sender, message.mid, place, user, message.common, wrap, Status.ABSENT)
                continue
            delivery = self._copy(sender, message.mid, place, message.common, wrap, targets)
            if delivery:
                yield delivery, [message.common, wrap]

    def _log_in(self, rid: bytes, client_key: bytes, connection: Connection | None, message: FromClient, now: Instant) -> None:
        if connection is None and isinstance(message, Hello):
            verdict = self.door.greet(rid, client_key, message, now)
            if isinstance(verdict, Connection):
                self.say(verdict, Challenge(verdict.challenge))
            else:
                self._refuse(rid, None, verdict)
        elif connection is not None and isinstance(message, Prove):
            self._judge(connection, self.door.check(connection, message.signature, now), now)
        else:
            self._refuse(rid, connection, Reason.NOT_LOGGED_IN)

    def committed(self, events: Iterable[LogEvent], now: Instant) -> None:
        """Take what is safely in the log, in its order, from whomever; logins that waited for it go on."""
        for event in events:
            for connection, verdict in self.door.committed([event]):
                self._judge(connection, verdict, now)
            if isinstance(event, Released):
                self.post.released(event.user)

    def restore(self, contents: Contents) -> None:
        """Take what the mail's storage holds; the log must have been taken before."""
        self._next_copy = count(contents.last_copy + 1).__next__
        self.post.mailbox.restore(contents)

    @property
    def to_disk(self) -> list[Operation]:
        """What is to be written and read; whoever carries it out clears it."""
        return self.post.to_disk

    def stored(self, answers: Sequence[Answer]) -> None:
        """Take what the mail's storage says, in its order."""
        self.post.completed(answers)

    def _judge(self, connection: Connection, verdict: Reason | Entrance, now: Instant) -> None:
        if isinstance(verdict, Reason):
            self._refuse(connection.rid, connection, verdict)
        elif verdict is Entrance.GRANTED:
            self._admit(connection, now)

    def _admit(self, connection: Connection, now: Instant) -> None:
        self.door.leave(connection)
        self.connections[connection.rid] = connection
        connection.ready = True
        connection.seen = now.mono
        connection.budget = self._budgets.of(connection.user)
        hello = connection.hello
        seq = self.door.note_bundle(hello, hello.bundle, now) if hello.bundle else None
        self.directory.enter(connection, kid_of(hello.ik), seq or 0)
        waiting = self.post.waiting(connection)
        self.say(connection, Welcome(version=PROTOCOL_VERSION, connection=connection.rid.hex(), waiting=waiting))
        if hello.mode is Mode.FULL:
            self._send_roster(connection)
        self.post.begin(connection)

    def gone(self, connection: Connection) -> None:
        """Let go of a connection that has ended, in whatever state; what it had not acknowledged is answered for."""
        self.door.leave(connection)
        self.with_results.discard(connection)
        if self.connections.pop(connection.rid, None) is None:
            return
        connection.ready = False
        self.directory.leave(connection)
        self.post.gone(connection)

    def drop(self, connection: Connection) -> None:
        """End a connection from this side."""
        (last_words,) = frames.control(Bye())
        self.doomed.append((connection.rid, last_words))
        self.gone(connection)

    def find(self, rid: bytes) -> Connection | None:
        """The connection with this routing id, logged in or not."""
        return self.connections.get(rid) or self.door.find(rid)

    def sweep(self, now: Instant) -> None:
        """End what has been silent, or at its login, for too long. Call it about once a second."""
        for connection, reason in self.door.overdue(now):
            self._refuse(connection.rid, connection, reason)
        for connection in [*self.connections.values()]:
            if now.mono - connection.seen > SILENCE_MAX:
                self.drop(connection)
        self._budgets.refill(now.mono - self._swept, lambda user: self.directory.holder(user) is not None)
        self._swept = now.mono
        self.post.sweep(now, self.connections.values(), self._before)
        self._before = self._next_copy()

    def roster_tick(self) -> None:
        """Tell everybody present what has changed since the last tick: one message each, encoded once."""
        changes = [frames.control(part) for part in self.directory.changes()]
        for connection in self.connections.values():
            if connection.hello.mode is not Mode.FULL:
                continue
            if connection.behind:
                connection.behind = False
                self._send_roster(connection)
            else:
                self.outgoing.extend((connection, change, True) for change in changes)

    def farewell(self) -> None:
        """Say goodbye to everybody: the broker is stopping."""
        for connection in self.connections.values():
            self.say(connection, Bye())

    def _send_roster(self, connection: Connection) -> None:
        for part in self.directory.full_roster():
            self.say(connection, part)

    def malformed(self, rid: bytes) -> None:
        """Something that is no frame of this protocol came from this routing id: its connection ends."""
        self._refuse(rid, self.find(rid), Reason.MALFORMED)

    def _refuse(self, rid: bytes, connection: Connection | None, reason: Reason) -> None:
        (last_words,) = frames.control(Error(reason))
        self.doomed.append((rid, last_words))
        if connection is not None:
            self.gone(connection)
