"""Real sessions and the real router, joined by links without sockets, and time that is told."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from broker.directory import Connection
from broker.ledger import Ledger, LogEvent
from broker.router import Router
from core import frames
from core.bundle import Suite
from core.clock import Instant
from core.content import Text
from core.errors import FrameError
from core.events import Event, MessageReceived, MessageRefused, Outcome, Receipt
from core.frames import Frames
from core.identity import Identity, guest_identity
from core.limits import HEARTBEAT
from core.memory import Memory
from core.messages import Mode
from core.session import Session
from core.states import State
from tests.keys import BROKER_KEY, Keys, keys_of
from tests.mail_disk import MemoryMailStorage

Tamper = Callable[[Frames], Sequence[Frames]]
START = Instant(1_800_000_000.0, 1000.0)


def as_it_is(raw: Frames) -> Sequence[Frames]:
    """An honest link."""
    return [raw]


@dataclass(eq=False)
class Client:
    """A session, its connection, and everything that it has said happened.

    ``to_broker`` and ``to_client`` stand on the link: each gets one message and returns what arrives instead.
    """

    session: Session
    keys: Keys
    rid: bytes = b""
    client_key: bytes = b""
    events: list[Event] = field(default_factory=list)
    to_broker: Tamper = as_it_is
    to_client: Tamper = as_it_is
    inbox: deque[Frames] = field(default_factory=deque)

    @property
    def user(self) -> str:
        return self.session.me.user

    @property
    def messages(self) -> list[MessageReceived]:
        return [event for event in self.events if isinstance(event, MessageReceived)]

    @property
    def refusals(self) -> list[MessageRefused]:
        return [event for event in self.events if isinstance(event, MessageRefused)]

    def texts(self) -> list[tuple[str, str]]:
        """(sender, text) of each message taken."""
        return [(one.message.sender, getattr(one.message.content, "text", "?")) for one in self.messages]

    def outcomes(self, id_: bytes) -> dict[str, list[Outcome]]:
        """Per recipient, how the news of a submission went."""
        told: dict[str, list[Outcome]] = {}
        for event in self.events:
            if isinstance(event, Receipt) and event.id == id_:
                told.setdefault(event.user, []).append(event.outcome)
        return told

    def last(self, id_: bytes) -> dict[str, Outcome]:
        """Per recipient, the newest outcome of a submission."""
        return {user: told[-1] for user, told in self.outcomes(id_).items()}


class World:
    """One broker and its clients. ``settle`` moves frames until nobody has anything left to say.

    What the broker logs is safe at once, unless ``log_waits``; then it waits in ``unsafe`` for ``commit``. Its ``disk`` for
    mail does at once what it is told, unless ``disk_waits``; then ``store`` has it work.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.unsafe: list[LogEvent] = []
        self.log: list[LogEvent] = []
        self.log_waits = False
        self.disk = MemoryMailStorage()
        self.disk_waits = False
        self.router = Router(BROKER_KEY, self.ledger, self.unsafe.append, random=os.urandom)
        self.clients: list[Client] = []
        self.now = START
        self.cut: set[bytes] = set()  # routing ids whose connection the broker ended
        self.said: dict[bytes, list[Frames]] = {}  # what the broker sent to routing ids that are not a client's
        self._numbers = itertools.count(1)

    def pass_time(self, seconds: float) -> None:
        """Move both clocks on."""
        self.now = Instant(self.now.wall + seconds, self.now.mono + seconds)

    def go_on(self, seconds: float) -> None:
        """Let time go by; nobody is silent for too long."""
        while seconds > 0:
            self.pass_time(min(seconds, HEARTBEAT))
            seconds -= HEARTBEAT
            for client in self.clients:
                client.events += client.session.tick(self.now)
            self.tick()

    # Clients

    def make(self, user: str, *, mode: Mode = Mode.FULL, keys: Keys | None = None) -> Client:
        """A client that is not connected; its keys are those of its name unless given."""
        keys = keys or keys_of(user)
        opening = keys.opening if mode is Mode.FULL else None
        identity = guest_identity(user, keys.signing, opening, sid=os.urandom(16), now=self.now.wall)
        return self.adopt(identity, mode, keys)

    def adopt(self, identity: Identity, mode: Mode, keys: Keys, memory: Memory | None = None) -> Client:
        """A client with this identity."""
        client = Client(Session(identity, mode, BROKER_KEY, random=os.urandom, memory=memory), keys)
        self.clients.append(client)
        return client

    def connect(self, client: Client) -> None:
        """Give the client a new connection, and let it log in."""
        self.begin(client)
        self.settle()
        assert client.session.state is State.READY

    def begin(self, client: Client, client_key: bytes | None = None) -> None:
        """Give the client a new connection, with this CURVE key, else a profile's own or a fresh one; nothing moves yet."""
        client.rid = next(self._numbers).to_bytes(5, "big")
        client.client_key = client_key or client.session.me.curve or os.urandom(32)
        client.inbox.clear()
        client.session.connect(client.client_key, self.now)

    def join(self, user: str, *, mode: Mode = Mode.FULL, keys: Keys | None = None) -> Client:
        """A client that is logged in, and whom everybody knows of."""
        client = self.make(user, mode=mode, keys=keys)
        self.connect(client)
        self.tick()
        return client

    def lose(self, client: Client) -> None:
        """Cut the client's connection, and let both ends notice."""
        connection = self.router.find(client.rid)
        client.session.lost()
        client.inbox.clear()
        if connection:
            self.router.gone(connection)

    def submit(self, client: Client, text: str, *to: str, everyone: bool = False, suite: Suite = Suite.HYBRID) -> bytes:
        """Hand the client a message to send; nothing moves yet."""
        id_ = os.urandom(16)
        client.events += client.session.submit(id_, Text(text), to, everyone=everyone, suite=suite, now=self.now)
        return id_

    def say(self, client: Client, text: str, *to: str, everyone: bool = False, suite: Suite = Suite.HYBRID) -> bytes:
        """Send a message and let everything come of it that will."""
        id_ = self.submit(client, text, *to, everyone=everyone, suite=suite)
        self.settle()
        return id_

    # Frames

    def settle(self) -> None:
        """Move frames until there are none."""
        moved = True
        while moved:
            moved = False
            for client in self.clients:
                moved |= self.upload(client) | self.download(client)

    def upload(self, client: Client) -> bool:
        """Move what this client has to say to the broker."""
        sent = client.session.outgoing()
        for raw in sent:
            for arriving in client.to_broker(raw):
                self.take(client.rid, client.client_key, arriving)
        return bool(sent)

    def download(self, client: Client) -> bool:
        """Let this client read what has come for it."""
        waiting = bool(client.inbox)
        while client.inbox:
            client.events += client.session.receive(client.inbox.popleft(), self.now)
        return waiting

    def tick(self) -> None:
        """The broker's clock strikes: roster changes go out, then everything else."""
        self.router.roster_tick()
        self._emit()
        self.settle()

    def take(self, rid: bytes, client_key: bytes, raw: Frames) -> None:
        """Let the broker have one message, by the same ways as its server does."""
        router = self.router
        connection = router.connections.get(rid)
        if rid in self.cut:
            return
        if connection and raw and raw[0][:1] == b"S" and len(raw) == 2:
            connection.seen = self.now.mono
            try:
                delivery = router.mail(connection, raw[0], raw[1])
            except FrameError:
                router.malformed(rid)
            else:
                if delivery:
                    self._deliver(delivery[0], [delivery[1], raw[1]])
        elif connection and raw and raw[0][:1] == b"A" and len(raw) == 1:
            connection.seen = self.now.mono
            try:
                router.acked(connection, raw[0])
            except FrameError:
                router.malformed(rid)
        else:
            for (targets, head), rest in router.receive(rid, client_key, raw, self.now):
                self._deliver(targets, [head, *rest])
        if not self.log_waits:
            self.commit()
        self._emit()

    def commit(self, *foreign: LogEvent) -> None:
        """What waits for the log is safe in it, behind what others wrote meanwhile."""
        while events := [*foreign, *self.unsafe]:
            foreign = ()
            self.unsafe.clear()
            self.log += events
            self.router.committed(events, self.now)
        self._emit()

    def store(self) -> None:
        """The disk for mail does all that it was told."""
        router = self.router
        while router.to_disk:
            self.disk.submit(router.to_disk.copy())
            router.to_disk.clear()
            self.disk.work()
            router.stored(self.disk.completed())

    def _deliver(self, targets: Sequence[Connection], raw: Frames) -> None:
        for target in targets:
            self._put(target.rid, raw)

    def _emit(self) -> None:
        router = self.router
        if not self.disk_waits:
            self.store()
        for connection in list(router.with_results):
            while connection.results:
                self._put(connection.rid, [router.take_results(connection)])
        outgoing, router.outgoing = router.outgoing, []
        for connection, raw, _ in outgoing:
            self._put(connection.rid, raw)
        doomed, router.doomed = router.doomed, []
        for rid, last_words in doomed:
            self._put(rid, [last_words])
            self.cut.add(rid)

    def _put(self, rid: bytes, raw: Frames) -> None:
        for client in self.clients:
            if client.rid == rid:
                client.inbox.extend(list(one) for one in client.to_client(raw))
                return
        self.said.setdefault(rid, []).append(raw)


def swallow(*kinds: type) -> Tamper:
    """A link from the broker that loses messages of these kinds."""

    def tamper(raw: Frames) -> Sequence[Frames]:
        return [] if isinstance(frames.read_from_broker(raw), kinds) else [raw]

    return tamper
