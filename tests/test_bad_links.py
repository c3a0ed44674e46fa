"""Whatever a link drops, delays and doubles, and whoever crashes meanwhile: everything arrives once, and nothing else does.

Sessions of profiles on their databases, the router and a mail disk in memory; turns are kept as the transport keeps them.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from broker.ledger import Ledger
from broker.mail_storage import SqliteMailStorage
from broker.post import Post
from broker.router import Router
from clients.outbox import StoredOutbox
from clients.store import Store
from clients.transport import Transport
from core import frames
from core.bundle import Suite
from core.content import Text
from core.errors import RemoteProtocolError
from core.events import Event, MessageReceived, MessageSent, Outcome, Receipt
from core.frames import Frames
from core.messages import Ack, Bundles, CaughtUp, Deliver, Fanout, Kept, Lookup, Mode, Noted, Results, Send
from core.outbox import compose
from core.profile import Profile
from core.states import State
from scripts.crash.bugs import BUGS
from scripts.crash.checker import Checker, Evidence
from scripts.crash.journal import Line, Tried
from tests.keys import BROKER_KEY, keys_of
from tests.pairs import Client, World

NAMES = ("alice", "bob", "carol")
SEATS = ("alice", "bob", "bob", "carol")  # two processes of bob's profile
DATA_KEY = bytes(range(32))
LEASE = 31.0  # seconds until what a process had claimed when it died is free
DISTURBED = (Send, Fanout, Ack, Lookup, Noted, Deliver, Results, Kept, CaughtUp, Bundles)


class Killed(Exception):
    """The process ends in the middle of a turn."""


@dataclass
class Weather:
    """What a link does, one way: by chance, each with a likelihood. What is ``held`` comes late."""

    rng: random.Random
    drop: float
    double: float
    delay: float
    held: list[Frames] = field(default_factory=list)

    def __call__(self, raw: Frames) -> Sequence[Frames]:
        chance = self.rng.random()
        if chance < self.drop:
            return []
        if chance < self.drop + self.delay:
            self.held.append(raw)
            return []
        return [raw] * (2 if self.rng.random() < self.double else 1)


Chances = tuple[float, float, float]
CALM: Chances = (0.0, 0.0, 0.0)
ELSEWHERE = ((Transport, "_receive"), (Transport, "_flush"), (SqliteMailStorage, "_commit"))  # bugs make these slow


class Shaken(World):
    """A world whose clients keep what they do in their profiles, and whose broker may crash."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.stores: dict[Client, Store] = {}
        self.held: dict[Client, tuple[list[Frames], list[Frames]]] = {}
        self.profiles = {
            name: Profile.create(
                name, keys_of(name).signing, keys_of(name).opening, os.urandom(32), now=self.now.wall, random=os.urandom
            )
            for name in NAMES
        }

    def seat(self, name: str) -> Client:
        """A process of a profile, which is not connected."""
        store = Store(self._folder / name, DATA_KEY)
        store.query("PRAGMA synchronous = OFF")  # no process of this test outlives the machine
        client = self.adopt(self.profiles[name].identity(os.urandom(32)), Mode.FULL, keys_of(name), store)
        self.stores[client] = store
        self.weather(client, 0, CALM, CALM)
        return client

    def weather(self, client: Client, seed: int, up: Chances, down: Chances) -> None:
        """How the link of this client is from now on; what was held comes first."""
        self.release(client)
        to_broker, to_client = Weather(random.Random(seed), *up), Weather(random.Random(~seed), *down)
        client.to_broker = lambda raw: to_broker(raw) if isinstance(frames.read_from_client(raw), DISTURBED) else [raw]
        client.to_client = lambda raw: to_client(raw) if isinstance(frames.read_from_broker(raw), DISTURBED) else [raw]
        self.held[client] = (to_broker.held, to_client.held)

    def release(self, client: Client) -> None:
        """What the link held arrives."""
        to_broker, to_client = self.held.get(client, ([], []))
        if client.session.state is State.READY:
            client.inbox.extend(to_client)
            for raw in to_broker:
                self.take(client.rid, client.client_key, raw)
        to_broker.clear()
        to_client.clear()

    def lose(self, client: Client) -> None:
        for held in self.held[client]:
            held.clear()
        super().lose(client)

    # Turns

    def download(self, client: Client) -> bool:
        """Read what has come as one turn, and keep what happened; a broker that breaks the protocol is left."""
        waiting = bool(client.inbox)
        store = self.stores[client]
        before = len(client.events)
        with store.together():
            try:
                super().download(client)
            except RemoteProtocolError:
                self.lose(client)
            store.history.record(client.events[before:], self.now.ms)
        return waiting

    def write(self, client: Client, text: str, *to: str, everyone: bool) -> None:
        """Take a message for sending, as ChatClient does, and have it sent."""
        store, id_, at = self.stores[client], os.urandom(16), self.now.ms
        with store.together():
            store.outbox.add(compose(id_, Text(text), to, everyone=everyone, suite=Suite.HYBRID, at=at, random=os.urandom))
            store.history.record([MessageSent(id_, to, everyone, Suite.HYBRID, Text(text), at)], at)
        self.turn(client)

    def turn(self, client: Client) -> None:
        store = self.stores[client]
        with store.together():
            store.history.record(client.session.tick(self.now), self.now.ms)
            store.history.record(client.session.resume(self.now), self.now.ms)

    # Crashes

    def kill(self, client: Client, *, in_a_turn: bool) -> Client:
        """The process dies, maybe in the middle of a turn; returns another one in its place, not connected."""
        store = self.stores[client]
        if in_a_turn:
            with suppress(Killed), store.together():
                self.download(client)
                raise Killed
        self.lose(client)
        store.close()
        del self.stores[client], self.held[client]
        self.clients.remove(client)
        return self.seat(client.user)

    def crash(self) -> None:
        """The broker dies, and another one finds what was committed."""
        for client in self.clients:
            self.lose(client)
        self.disk = self.disk.crash()
        self.ledger = Ledger()
        self.router = Router(BROKER_KEY, self.ledger, self.unsafe.append, random=os.urandom)
        self.router.committed(self.log, self.now)
        self.router.restore(self.disk.contents())

    def close(self) -> None:
        for store in self.stores.values():
            store.close()


likely = st.sampled_from([0.0, 0.2, 0.5])
chances = st.tuples(likely, likely, likely)
seats = st.integers(0, len(SEATS) - 1)


class BadLinks(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.world = Shaken(Path(self._folder.name))
        self.seats: list[Client] = []
        self.tried: dict[str, list[Line]] = {name: [] for name in NAMES}

    @initialize(waits=st.booleans(), away=st.sets(seats, max_size=3))
    def begin(self, waits: bool, away: set[int]) -> None:
        self.seats = [self.world.seat(name) for name in SEATS]
        for client in self.seats:
            self.world.connect(client)  # each once, so that the broker knows all names
        self.world.tick()
        for seat in away:
            self.world.lose(self.seats[seat])
        self.world.disk_waits = waits

    @rule(seat=seats, seed=st.integers(0, 2**32), up=chances, down=chances)
    def weather(self, seat: int, seed: int, up: Chances, down: Chances) -> None:
        self.world.weather(self.seats[seat], seed, up, down)

    @rule(seat=seats, everyone=st.booleans(), only=st.integers(0, 1), count=st.integers(1, 3))
    def write(self, seat: int, everyone: bool, only: int, count: int) -> None:
        client = self.seats[seat]
        others = [name for name in NAMES if name != client.user]
        for _ in range(count):
            text = f"{client.user} {len(self.tried[client.user])}"
            self.tried[client.user].append(Tried(text))
            self.world.write(client, text, *(others if everyone else [others[only]]), everyone=everyone)

    @rule()
    def settle(self) -> None:
        self.world.settle()

    @rule(seat=seats, up=st.booleans())
    def move_a_little(self, seat: int, up: bool) -> None:
        self.world.upload(self.seats[seat]) if up else self.world.download(self.seats[seat])

    @rule(seat=seats)
    def release(self, seat: int) -> None:
        self.world.release(self.seats[seat])

    @rule(seat=seats)
    def lose(self, seat: int) -> None:
        self.world.lose(self.seats[seat])

    @rule(seat=seats)
    def connect(self, seat: int) -> None:
        if self.seats[seat].session.state is State.OFFLINE:
            self.world.connect(self.seats[seat])
            self.world.tick()

    @rule(seat=seats, in_a_turn=st.booleans())
    def kill(self, seat: int, in_a_turn: bool) -> None:
        self.seats[seat] = self.world.kill(self.seats[seat], in_a_turn=in_a_turn)

    @rule()
    def crash(self) -> None:
        self.world.crash()

    @rule(waits=st.booleans())
    def disk(self, waits: bool) -> None:
        """It does what it was told; from now on at once, or only when this comes again."""
        self.world.disk_waits = waits
        self.world.store()
        self.world._emit()

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        self.world.router.sweep(self.world.now)
        for client in self.seats:
            self.world.turn(client)
        self.world.tick()

    def events(self, name: str) -> list[Event]:
        return [entry.event for entry in self.world.stores[self.seats[SEATS.index(name)]].history.after(0)]

    @invariant()
    def what_was_reported_is_safe(self) -> None:
        if not self.seats:
            return
        histories = {name: self.events(name) for name in NAMES}
        there = {
            name: {event.message.id for event in events if isinstance(event, MessageReceived)}
            for name, events in histories.items()
        }
        stored = {(put.user, put.mid) for put in self.world.disk.mail.values()}
        for name, events in histories.items():
            store = self.world.stores[self.seats[SEATS.index(name)]]
            for event in events:
                if isinstance(event, Receipt) and event.outcome.safe:
                    rows = store.query("SELECT mid FROM copies WHERE id = ? AND user = ?", event.id, event.user)
                    ((mid,),) = rows
                    kept = (event.user, mid) in stored and event.outcome is Outcome.STORED
                    assert kept or mid in there[event.user], f"{event.outcome} to {event.user} is nowhere"

    def teardown(self) -> None:
        try:
            if self.seats:
                self.judge()
        finally:
            self.world.close()
            self._folder.cleanup()

    def judge(self) -> None:
        """Let the links be good and everybody come; then hold what was sent against what is there."""
        world = self.world
        self.disk(waits=False)
        for client in self.seats:
            world.weather(client, 0, CALM, CALM)
            if client.session.state is not State.OFFLINE:
                world.lose(client)
        world.pass_time(LEASE)
        for client in self.seats:
            world.connect(client)
        for _ in range(3):
            self.pass_time(2.0)
        evidence = Evidence(journals=self.tried, histories={name: self.events(name) for name in NAMES})
        for seat, name in enumerate(SEATS):
            store = world.stores[self.seats[seat]]
            for kid, sid in store.query("SELECT kid, sid FROM streams"):
                evidence.gaps[name, kid.hex()[:8]] = store.stream(kid, sid).missing
            assert not store.outbox.waiting()
        assert [str(finding) for finding in Checker(evidence).findings] == []
        assert not world.disk.mail
        assert not world.router.post.mailbox.count


def test_everything_arrives_once() -> None:
    run_state_machine_as_test(BadLinks, settings=settings(max_examples=25, stateful_step_count=40))


@pytest.mark.parametrize(
    ("bug", "where"),
    [
        ("no-replay-check", (Store, "taken")),
        ("outbox-forgets", (StoredOutbox, "claim")),
        ("stored-first", (Post, "_put")),
    ],
)
def test_a_planted_bug_shows(bug: str, where: tuple[type, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in (where, *ELSEWHERE):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # so that it is put back
    BUGS[bug].plant()
    quick = settings(max_examples=2000, stateful_step_count=40, phases=[Phase.generate], database=None)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(BadLinks, settings=quick)
