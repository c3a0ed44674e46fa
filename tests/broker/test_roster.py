"""What presence costs: the roster once for each client, then only what changed, once a tick. Counted, not timed."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest
import zmq

from core import frames
from core.limits import ROSTER_TICK
from core.messages import Bye, Roster
from tests.net import LocalBroker, Wire, identity, until

BATCH = 25
ROUNDS = 10
CHANGED = 5
FRAME = 48  # bytes that a roster frame has beside its entries, at most
ENTRY = 64  # bytes that one who joined or left takes in it, at most


class Witness(Wire):
    """A client that counts what it is told of others."""

    def prepare(self) -> None:
        self.known: set[str] = set()
        self.full = 0
        self.deltas = 0
        self.changes = 0
        self.in_roster = 0
        self.roster_bytes = 0

    def look(self) -> None:
        """Read what has come."""
        while self.waiting():
            raw = self.raw()
            message = frames.read_from_broker(raw)
            if not isinstance(message, Roster):
                continue
            self.roster_bytes += len(raw[0])
            joined = {entry.user for entry in message.joined}
            if message.full:
                self.full += 1
                self.in_roster = len(joined)
                self.known = joined
            else:
                self.deltas += 1
                self.changes += len(joined) + len(message.left)
                self.known = (self.known | joined) - set(message.left)


@pytest.fixture
def crowd() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """A context for many sockets; the usual limit of descriptors is too low for both ends of 500 connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def enter(broker: LocalBroker, context: zmq.Context[zmq.Socket[bytes]], names: Sequence[str]) -> list[Witness]:
    found = []
    for name in names:
        one = Witness(broker.address, context=context)
        one.prepare()
        one.say(one.prove_up(identity(name)))
        found.append(one)
    until(lambda: set(names) <= broker.present)
    return found


def tick(broker: LocalBroker, here: Sequence[Witness]) -> None:
    """Let one tick pass, and everybody hear of it."""
    present = broker.present
    before = {one: one.deltas for one in here}
    broker.clock.ahead += 1.5 * ROSTER_TICK

    def heard() -> bool:
        for one in here:
            one.look()
        return all(one.known == present and one.deltas > before[one] for one in here)

    until(heard)
    assert all(one.deltas == before[one] + 1 for one in here), "more than one change of the roster in one tick"


@pytest.mark.parametrize("count", [125, 250, 500])
def test_presence_costs_one_roster_and_what_changes(count: int, crowd: zmq.Context[zmq.Socket[bytes]]) -> None:
    with LocalBroker() as broker, ExitStack() as ending:
        broker.clock.stop()
        here: list[Witness] = []

        def close_all() -> None:
            for one in here:
                one.close()

        ending.callback(close_all)
        for at in range(0, count, BATCH):
            here += enter(broker, crowd, [f"user-{number:04}" for number in range(at, at + BATCH)])
            tick(broker, here)
        for round_ in range(ROUNDS):
            leaving, here = here[:CHANGED], here[CHANGED:]
            for one in leaving:
                one.say(Bye())
            here += enter(broker, crowd, [f"late-{round_:02}-{number}" for number in range(CHANGED)])
            until(lambda gone={one.user for one in leaving}: not broker.present & gone)  # type: ignore[misc]
            tick(broker, here)
            for one in leaving:
                one.close()
        assert len(here) == count
        for one in here:
            assert one.full == 1
            assert one.roster_bytes <= FRAME * (1 + one.deltas) + ENTRY * (one.in_roster + one.changes)
        assert here[0].deltas == (count - CHANGED * ROUNDS) // BATCH + ROUNDS
        assert here[0].changes <= count + 2 * CHANGED * ROUNDS
        first, last = here[0], here[-1]
        total = sum(one.roster_bytes for one in here)
        print(
            f"\n{count} clients: {total:,} bytes of roster to all; the first still here had {first.roster_bytes:,} in"
            f" {first.deltas} changes of {first.changes} names, the last {last.roster_bytes:,} for {last.in_roster} names"
        )
