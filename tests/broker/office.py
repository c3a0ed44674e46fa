"""A router with mailboxes and a disk in memory, its clients' connections made by hand, and a record of all that was said."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

from broker.directory import Connection
from broker.door import Login
from broker.ledger import Bundled, Claimed, Ledger, LogEvent, Released
from broker.quota import Quota
from broker.router import Router
from core import frames
from core.bundle import Kind
from core.clock import Instant
from core.encoding import b64url
from core.frames import Frames
from core.messages import CaughtUp, Deliver, FromBroker, Hello, Kept, Mode, Noted, Results, Roster, Status, Told, Welcome
from core.rsa import kid_of
from tests.mail_disk import MemoryMailStorage
from tests.net import PROOF

BROKER_KEY = bytes(32)
REFUSED = bytes(32)


class Peer:
    """A connection and what it was told, in order."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.heard: list[FromBroker] = []
        self.unacked: dict[bytes, Deliver] = {}

    @property
    def user(self) -> str:
        return self.connection.user

    @property
    def copies(self) -> list[Deliver]:
        return [one for one in self.heard if isinstance(one, Deliver)]

    @property
    def mids(self) -> list[bytes]:
        return [one.mid for one in self.copies]

    @property
    def caught_up(self) -> int:
        return sum(isinstance(one, CaughtUp) for one in self.heard)

    @property
    def waiting(self) -> int:
        (welcome,) = [one for one in self.heard if isinstance(one, Welcome)]
        return welcome.waiting

    @property
    def results(self) -> dict[bytes, list[Status]]:
        found: dict[bytes, list[Status]] = {}
        for one in self.heard:
            if isinstance(one, Results):
                for result in one.results:
                    found.setdefault(result.mid, []).append(result.status)
        return found

    @property
    def kept(self) -> list[Kept]:
        return [one for one in self.heard if isinstance(one, Kept)]

    @property
    def told(self) -> list[Told]:
        return [told for one in self.kept for told in one.told]


class Office:
    """The disk works after everything that happens, unless ``disk_waits``. ``owners`` hold their names for good."""

    def __init__(self, *owners: str, quota: Quota | None = None, rate: int = 0) -> None:
        self.log: list[LogEvent] = []
        self.disk = MemoryMailStorage()
        self.disk_waits = False
        self.now = Instant(1_800_000_000.0, 1000.0)
        self.peers: list[Peer] = []
        self._quota = quota or Quota()
        self._rate = rate
        self._mids = itertools.count(1)
        self.rejected: set[Connection] = set()  # whose queue takes no copies now
        self._start(MemoryMailStorage())
        for user in owners:
            self.write(self.claim(user))

    def _start(self, disk: MemoryMailStorage) -> None:
        self.disk = disk
        self.router = Router(BROKER_KEY, Ledger(), lambda _: None, random=os.urandom, quota=self._quota, rate=self._rate)
        self.router.committed(self.log, self.now)
        self.router.restore(disk.contents())
        self.peers = []
        self.rejected = set()
        self.settle()

    def restart(self) -> None:
        """The broker dies at once, and another finds what is on the disks."""
        self._start(self.disk.crash())

    # The log

    @staticmethod
    def ik(user: str, key: int = 0) -> bytes:
        return f"{user} {key}".encode().ljust(294, b"\0")

    def claim(self, user: str, key: int = 0) -> Claimed:
        return Claimed(user, b64url(kid_of(self.ik(user, key))), b64url(bytes(32)), None, 0)

    def bundle(self, user: str, seq: int = 1) -> Bundled:
        return Bundled(user, self.claim(user).kid, seq, b"body %d" % seq, b"signature", 0)

    def write(self, *events: LogEvent) -> None:
        """These are in the log."""
        self.log += events
        self.router.committed(events, self.now)
        self.settle()

    def release(self, user: str) -> None:
        self.write(Released(user, 0))

    # Clients

    def join(self, user: str, mode: Mode = Mode.FULL, key: int = 0) -> Peer:
        """A connection that has just proved who it is."""
        owner = self.router._ledger.owner(user)
        kind = Kind.PROFILE if owner else Kind.GUEST
        hello = Hello((1,), mode, user, kind, self.ik(user, key), None, None, bytes(32))
        login = self.router.door.greet(os.urandom(16), bytes(32), hello, self.now)
        assert isinstance(login, Login)
        peer = Peer(login.connection)
        self.peers.append(peer)
        self.router._admit(peer.connection, self.now)
        self.settle()
        return peer

    def leave(self, peer: Peer) -> None:
        self.peers.remove(peer)
        self.rejected.discard(peer.connection)
        self.router.gone(peer.connection)
        self.settle()

    def mid(self) -> bytes:
        return next(self._mids).to_bytes(16, "big")

    def send(self, peer: Peer, to: str, size: int = 100) -> bytes:
        """Send as the fast path does; returns the mid."""
        mid = self.mid()
        delivery = self.router.mail(peer.connection, b"S" + mid + to.encode(), bytes(size))
        if delivery:
            self._deliver(delivery[0], [delivery[1], bytes(size)])
        self.settle()
        return mid

    def fan_out(self, peer: Peer, *to: str) -> bytes:
        mid = self.mid()
        raw = frames.fanout(mid, to, b"common", [f"wrap for {user}".encode() for user in to])
        for (targets, head), rest in self.router.receive(peer.connection.rid, bytes(32), raw, self.now):
            self._deliver(targets, [head, *rest])
        self.settle()
        return mid

    def ack(self, peer: Peer, copies: Sequence[Deliver] | None = None, proof: bytes = PROOF) -> None:
        """Acknowledge these copies, or all that it has."""
        chosen = list(peer.unacked.values()) if copies is None else list(copies)
        for one in chosen:
            peer.unacked.pop(one.copy_id, None)
        if chosen:
            self.router.acked(peer.connection, frames.ack([(one.copy_id, proof) for one in chosen])[0])
        self.settle()

    def note(self, peer: Peer, upto: int) -> None:
        list(self.router.receive(peer.connection.rid, bytes(32), frames.control(Noted(upto)), self.now))
        self.settle()

    # Time, and the disk

    def pass_time(self, seconds: float) -> None:
        """Time passes without anything being done, and then the router looks."""
        self.now = Instant(self.now.wall + seconds, self.now.mono + seconds)
        for peer in self.peers:
            peer.connection.seen = self.now.mono
        self.router.sweep(self.now)
        self.settle()

    def work(self) -> None:
        """The disk does all that it was told, and what follows from it."""
        router = self.router
        for _ in range(1000):
            self.disk.submit(router.to_disk.copy())
            router.to_disk.clear()
            self.disk.work()
            answers = self.disk.completed()
            if not answers:
                return
            router.stored(answers)
            self._send()
        raise AssertionError("the disk is asked for the same over and over")

    def settle(self) -> None:
        """What is to be said is said, and the disk works unless it waits."""
        self._send()
        if not self.disk_waits:
            self.work()

    def _send(self) -> None:
        """In the order of the server: results, then what else there is to say."""
        router = self.router
        for peer in self.peers:
            while peer.connection.results:
                peer.heard.append(frames.read_from_broker([router.take_results(peer.connection)]))
        outgoing, router.outgoing = router.outgoing, []
        for connection, raw, _ in outgoing:
            self._hear(connection, raw)

    def _deliver(self, targets: Sequence[Connection], raw: Frames) -> None:
        for target in targets:
            self._hear(target, raw)

    def _hear(self, connection: Connection, raw: Frames) -> None:
        if connection in self.rejected and raw[0][:1] == b"D":
            self.router.undeliverable(connection, raw[0])
            return
        message = frames.read_from_broker(raw)
        for peer in self.peers:
            if peer.connection is connection and not isinstance(message, Roster):
                peer.heard.append(message)
                if isinstance(message, Deliver):
                    peer.unacked[message.copy_id] = message
