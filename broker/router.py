"""Verbs to actions: routes frames by username. No sockets and no clock; it cannot read what it routes.

Whoever runs it hands in what arrives, and sends what it leaves in its outbox.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from broker.blobs import Blobs
from broker.directory import Connection
from broker.door import Door, Entrance
from broker.ledger import Ledger, LogEvent, Released
from broker.mail_values import Answer, Contents, Operation
from broker.quota import Quota
from broker.relay import Delivery, Relay
from core import frames
from core.bundle import SignedBundle
from core.clock import Instant
from core.errors import FrameError
from core.frames import Frames
from core.limits import (
    PROTOCOL_VERSION,
    SILENCE_MAX,
)
from core.messages import (
    Ack,
    Bundles,
    Bye,
    Challenge,
    Discard,
    Error,
    Fanout,
    Fetch,
    Found,
    FromClient,
    Hello,
    Lookup,
    Mode,
    Noted,
    Offer,
    Piece,
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
from core.rsa import kid_of

_QUOTA: Final = Quota()


class Router(Relay):
    """The broker's state. ``broker_key`` is its CURVE public key; ``random`` gives that many random bytes.

    What ``to_log`` gets comes back through ``committed`` once it is safe; logins that depend on it wait until then. What
    ``to_disk`` holds is for the mail's storage, whose answers ``stored`` takes; ``blobs`` has the same for files. ``rate`` is
    how many messages a second each user may send; 0 sets no bound.
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
        super().__init__(ledger, quota, rate)
        self.blobs: Final = Blobs(quota, self)
        self.door: Final = Door(broker_key, self.directory, ledger, to_log, random=random)
        self._ledger: Final = ledger
        self._swept = math.inf
        self._before = 0  # below this are the copies that were there at the last sweep

    def receive(self, rid: bytes, client_key: bytes, raw: Sequence[bytes], now: Instant) -> Iterator[tuple[Delivery, Frames]]:
        """Take any message in full; yields the deliveries of a fan-out, each with the frames that follow its head.

        ``client_key`` is the connection's CURVE key; only a HELLO needs it.
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
            case Piece() | Offer() | Fetch() | Discard():
                if not self.blobs.receive(connection, message, now):
                    self.malformed(rid)
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
                self.drop(connection)  # with an answer: what came before was heard too
            case Noted(upto):
                self.post.news.noted(connection, upto)
            case Pong():
                pass
            case Hello() | Prove():
                self.malformed(rid)

    def _renew(self, connection: Connection, signed: SignedBundle, now: Instant) -> None:
        seq = self.door.note_bundle(connection, signed, now)
        if seq is None:
            self.malformed(connection.rid)
        else:
            self.directory.renew(connection, signed, seq)

    def _fan_out(self, sender: Connection, message: Fanout) -> Iterator[tuple[Delivery, Frames]]:
        for place, (user, wrap) in enumerate(zip(message.to, message.wraps, strict=True)):
            if not self._may_send(sender):
                self.result(sender, message.mid, place, Status.RATE)
                continue
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
            if isinstance(verdict, Reason):
                self._refuse(rid, None, verdict)
            else:
                self.say(verdict.connection, Challenge(verdict.challenge))
        elif connection is not None and isinstance(message, Prove):
            self._judge(connection, self.door.check(connection, message.signature, now), now)
        else:
            self._refuse(rid, connection, Reason.NOT_LOGGED_IN)

    def committed(self, events: Iterable[LogEvent], now: Instant) -> None:
        """Take what is safely in the log, in its order, from whomever; logins that waited for it go on."""
        for event in events:
            owner = self._ledger.owner(event.user) if isinstance(event, Released) else None
            for connection, verdict in self.door.committed([event]):
                self._judge(connection, verdict, now)
            if isinstance(event, Released):
                self.post.released(event.user)
                if owner:
                    self.blobs.released(event.user, owner.kid, event.at)

    def restore(self, contents: Contents) -> None:
        """Take what the mail's storage holds; the log must have been taken before."""
        self.count_from(contents.last_copy + 1)
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
        hello = self.door.admit(connection)
        self.post.wall = int(now.wall)
        self.connections[connection.rid] = connection
        connection.ready = True
        connection.seen = now.mono
        connection.owned = self._ledger.owner(connection.user) is not None
        seq = self.door.note_bundle(connection, hello.bundle, now) if hello.bundle else None
        self.directory.enter(connection, kid_of(hello.ik), hello.bundle, seq or 0)
        waiting = self.post.waiting(connection)
        self.say(connection, Welcome(version=PROTOCOL_VERSION, connection=connection.rid.hex(), waiting=waiting))
        if connection.mode is Mode.FULL:
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
        self.budgets.give_back(connection.user, max(0, connection.left))
        self.post.gone(connection)
        self.blobs.gone(connection)

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
        self.budgets.refill(max(0.0, now.mono - self._swept))
        self._swept = now.mono
        self.post.sweep(now, self.connections.values(), self._before)
        self._before = self.mark()
        self.blobs.sweep(now)

    def roster_tick(self) -> None:
        """Tell everybody present what has changed since the last tick: one message each, encoded once."""
        changes = [frames.control(part) for part in self.directory.changes()]
        for connection in self.connections.values():
            if connection.mode is not Mode.FULL:
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
