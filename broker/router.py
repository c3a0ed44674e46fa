"""Verbs to actions: routes frames by username. No sockets and no clock; it cannot read what it routes.

Whoever runs it hands in what arrives, and sends what it finds in ``outgoing`` (connection, frames, and whether it is a
roster change, which may be made up for later) and ``doomed`` (routing id and last words, then the connection is to be cut).
The two methods that every message passes (``mail`` and ``acked``) return what to do instead, and touch nothing they need not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Final

from broker.directory import Connection, Directory
from broker.door import Door, Entrance
from broker.ledger import Ledger, LogEvent
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
    RESULTS_MAX,
    SILENCE_MAX,
    WINDOW_BYTES,
    WINDOW_COPIES,
)
from core.messages import (
    Ack,
    Bundles,
    Bye,
    Challenge,
    Control,
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
    Roster,
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
# A client that does not read its results is not worth keeping: this many entries are about 1.6 MB.
_RESULTS_HELD_MAX: Final = 32 * RESULTS_MAX

Delivery = tuple[tuple[Connection, ...], bytes]


class Router:
    """The broker's state. ``broker_key`` is its CURVE public key; ``random`` gives that many random bytes.

    What ``to_log`` gets comes back through ``committed`` once it is safe; logins that depend on it wait until then.
    """

    def __init__(
        self, broker_key: bytes, ledger: Ledger, to_log: Callable[[LogEvent], None], *, random: Callable[[int], bytes]
    ) -> None:
        self.connections: Final[dict[bytes, Connection]] = {}
        self.directory: Final = Directory()
        self.with_results: Final[set[Connection]] = set()
        self.outgoing: list[tuple[Connection, Frames, bool]] = []
        self.doomed: list[tuple[bytes, bytes]] = []
        self.door: Final = Door(broker_key, self.directory, ledger, to_log, random=random)
        self._next_copy = count(1).__next__
        self._receivers = self.directory.receivers.get

    # The hot path

    def mail(self, sender: Connection, head: bytes, size: int) -> Delivery | None:
        """Route one SEND by its head: whom to give it to, and the DELIVER head to put before ``common`` (``size`` bytes).

        None if there is nothing to do: the sender's result is noted. Raises FrameError for a head that is none.
        """
        to = head[_HEAD:]
        targets = self._receivers(to)
        if targets is None:  # a name that is found has a valid form, so only a miss needs the check
            if not is_name(to.decode("ascii", "replace")):
                raise FrameError(what="a name that is none")
            self._result(sender, head[1:_HEAD], 0, Status.ABSENT)
            return None
        mid = head[1:_HEAD]
        if len(targets) > 1:
            return self._copy(sender, mid, 0, size, targets)
        (target,) = targets  # one connection is the rule: what follows is `_copy` for it alone, in less time
        copies = target.copies
        bytes_out = target.bytes_out + size
        if len(copies) >= WINDOW_COPIES or bytes_out > WINDOW_BYTES:
            self._result(sender, mid, 0, Status.FULL)
            return None
        target.bytes_out = bytes_out
        number = self._next_copy()
        copies[number] = (sender, mid, 0, size, targets)
        return targets, _deliver_head(b"D", number, mid) + sender.sender

    def _copy(self, sender: Connection, mid: bytes, place: int, size: int, targets: tuple[Connection, ...]) -> Delivery | None:
        for target in targets:
            if len(target.copies) >= WINDOW_COPIES or target.bytes_out + size > WINDOW_BYTES:
                targets = tuple(
                    one for one in targets if len(one.copies) < WINDOW_COPIES and one.bytes_out + size <= WINDOW_BYTES
                )
                break
        if not targets:
            self._result(sender, mid, place, Status.FULL)
            return None
        number = self._next_copy()
        copy = (sender, mid, place, size, targets)
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
                continue
            sender, mid, place, size, targets = copy
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

    @staticmethod
    def _forget_elsewhere(number: int, size: int, targets: tuple[Connection, ...]) -> None:
        for other in targets:
            if other.copies.pop(number, None) is not None:
                other.bytes_out -= size

    def undeliverable(self, connection: Connection, head: bytes) -> None:
        """A copy (named by its DELIVER head) did not fit into this connection's queue."""
        self._drop_copy(connection, int.from_bytes(head[1 : 1 + COPY_ID_BYTES], "big"), Status.FULL)

    def _drop_copy(self, connection: Connection, number: int, status: Status) -> None:
        copy = connection.copies.pop(number, None)
        if copy is None:
            return
        sender, mid, place, size, targets = copy
        connection.bytes_out -= size
        # Another connection of the same user may still take it.
        if not any(number in other.copies for other in targets):
            self._result(sender, mid, place, status)

    def _result(self, sender: Connection, mid: bytes, place: int, status: Status) -> None:
        if sender.ready:
            sender.results.append(result_item(mid, place, status))
            self.with_results.add(sender)

    def take_results(self, connection: Connection) -> bytes:
        """The next RESULT for this connection, at most 1,024 entries; the rest stays noted."""
        batch = connection.results[:RESULTS_MAX]
        del connection.results[:RESULTS_MAX]
        if not connection.results:
            self.with_results.discard(connection)
        return b"R" + b"".join(batch)

    def results_stuck(self, connection: Connection) -> bool:
        """Whether this client has left too many results unread to be kept."""
        return len(connection.results) > _RESULTS_HELD_MAX

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
                delivery = self.mail(connection, raw[0], len(common))
                if delivery:
                    yield delivery, [common]
            case Ack():
                self.acked(connection, raw[0])
            case Ping():
                self._say(connection, Pong())
            case Lookup(users):
                self._say(connection, Bundles(tuple(Found(user, self.directory.bundle(user)) for user in users)))
            case Users():
                self._send_roster(connection)
            case Renew(bundle):
                self._renew(connection, bundle, now)
            case Bye():
                self.gone(connection)
            case Pong() | Noted():
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
        for place, (user, wrap) in enumerate(zip(message.to, message.wraps, strict=True)):
            targets = self._receivers(user.encode("ascii"))
            if targets is None:
                self._result(sender, message.mid, place, Status.ABSENT)
                continue
            delivery = self._copy(sender, message.mid, place, len(message.common) + len(wrap), targets)
            if delivery:
                yield delivery, [message.common, wrap]

    def _log_in(self, rid: bytes, client_key: bytes, connection: Connection | None, message: FromClient, now: Instant) -> None:
        if connection is None and isinstance(message, Hello):
            verdict = self.door.greet(rid, client_key, message, now)
            if isinstance(verdict, Connection):
                self._say(verdict, Challenge(verdict.challenge))
            else:
                self._refuse(rid, None, verdict)
        elif connection is not None and isinstance(message, Prove):
            self._judge(connection, self.door.check(connection, message.signature, now), now)
        else:
            self._refuse(rid, connection, Reason.NOT_LOGGED_IN)

    def committed(self, events: Iterable[LogEvent], now: Instant) -> None:
        """Take what is safely in the log, in its order, from whomever; logins that waited for it go on."""
        for connection, verdict in self.door.committed(events):
            self._judge(connection, verdict, now)

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
        hello = connection.hello
        seq = self.door.note_bundle(hello, hello.bundle, now) if hello.bundle else None
        self.directory.enter(connection, kid_of(hello.ik), seq or 0)
        self._say(connection, Welcome(version=PROTOCOL_VERSION, connection=connection.rid.hex(), waiting=0))
        if hello.mode is Mode.FULL:
            self._send_roster(connection)

    def gone(self, connection: Connection) -> None:
        """Let go of a connection that has ended, in whatever state; what it had not acknowledged is answered for."""
        self.door.leave(connection)
        self.with_results.discard(connection)
        if self.connections.pop(connection.rid, None) is None:
            return
        connection.ready = False
        self.directory.leave(connection)
        for number in list(connection.copies):
            self._drop_copy(connection, number, Status.GONE)

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
            self._say(connection, Bye())

    def _send_roster(self, connection: Connection) -> None:
        for part in self.directory.full_roster():
            self._say(connection, part)

    def malformed(self, rid: bytes) -> None:
        """Something that is no frame of this protocol came from this routing id: its connection ends."""
        self._refuse(rid, self.find(rid), Reason.MALFORMED)

    def _refuse(self, rid: bytes, connection: Connection | None, reason: Reason) -> None:
        (last_words,) = frames.control(Error(reason))
        self.doomed.append((rid, last_words))
        if connection is not None:
            self.gone(connection)

    def _say(self, connection: Connection, message: Control) -> None:
        self.outgoing.append((connection, frames.control(message), isinstance(message, Roster)))
