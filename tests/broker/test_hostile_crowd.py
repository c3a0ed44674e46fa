"""Hostile clients loose on the router, with honest users beside: more than 10,000 pieces of input."""

from __future__ import annotations

import os
import random

import pytest

from core import frames
from core.events import Disconnected, MessageReceived, Outcome
from core.frames import Frames
from core.messages import Welcome
from tests.broker.raw import Raw
from tests.hostile import Boom, Forger, controls, noise, nonsense, pickled
from tests.pairs import Client, World

ROUNDS = 3_500
SEEDS = [1, 2, 3]


def _captured(world: World, bob: Client) -> list[Frames]:
    """Real uploads of Bob to Alice, which never reached her."""
    caught: list[Frames] = []
    bob.to_broker = lambda raw: caught.append(raw) or [] if raw[0][:1] in b"SF" else [raw]  # type: ignore[func-returns-value]
    world.say(bob, "never sent", "alice")
    world.say(bob, "never sent to all", "alice", "carol", everyone=True)
    bob.to_broker = lambda raw: [raw]
    return caught


def _as_upload(rng: random.Random, raw: Frames) -> Frames:
    """A forged DELIVER as the SEND or FANOUT that would bring it about."""
    if len(raw) < 2 or raw[0][:1] != b"D":
        return raw
    to = rng.choice([b"alice", b"bob", b"carol", b"nobody", b"Alice", b"everyone", b""])
    mid = raw[0][9:25]
    if len(raw) == 2:
        return [b"S" + mid + to, raw[1]]
    return [b"F" + mid, raw[1], b",".join([to, *[b"bob"] * rng.randrange(2)]), *raw[2:]]


@pytest.mark.parametrize("seed", SEEDS)
def test_honest_users_notice_nothing(seed: int) -> None:
    rng = random.Random(seed)
    world = World()
    alice, bob, carol = (world.join(user) for user in ("alice", "bob", "carol"))
    uploads = _captured(world, bob)
    mids = [raw[0][1:17] for raw in uploads]
    as_delivered = [
        frames.deliver(bytes(8), mids[0], "bob", uploads[0][1], None),
        frames.deliver(bytes(8), mids[1], "bob", uploads[1][1], uploads[1][3]),
    ]
    forger = Forger(rng, as_delivered, [frames.deliver(bytes(8), mids[1], "bob", uploads[1][1], uploads[1][4])])
    operations = {client.user: client.keys.opening.operations for client in (alice, bob, carol)}

    inside = Raw.open(world)
    assert isinstance(inside.log_in(), Welcome)
    logins = honest = 0
    for round_ in range(ROUNDS):
        kind = rng.random()
        if kind < 0.35:
            raw = _as_upload(rng, forger.forgery()[1])
        elif kind < 0.45:
            raw = list(rng.choice(uploads))  # Bob's own bytes, sent by somebody else
        elif kind < 0.60:
            copies = [(rng.randrange(2000).to_bytes(8, "big"), rng.choice([frames.NO_PROOF, os.urandom(32)])) for _ in range(8)]
            raw = frames.ack(copies)
        elif kind < 0.80:
            raw = controls(rng, b"HCPWOULBIJEARDSFZ")[1]
        elif kind < 0.90:
            raw = [rng.choice([b"S", b"F", b"A", b""]) + noise(rng, 60), *[pickled(rng)] * rng.randrange(4)]
        else:
            raw = nonsense(rng)[1]
        if rng.random() < 0.5:
            outside = Raw.open(world)
            outside.say(raw)
            assert outside.ended or outside.rid not in world.router.connections
        else:
            inside.say(raw)
        if inside.ended or inside.rid not in world.router.connections:
            inside = Raw.open(world)
            assert isinstance(inside.log_in(), Welcome)
            logins += 1
        if round_ % 50 == 0:
            world.tick()
            id_ = world.say(bob, f"honest {round_}", "alice", "carol", everyone=True)
            assert bob.last(id_) == {"alice": Outcome.DELIVERED, "carol": Outcome.DELIVERED}
            honest += 1
            world.said.clear()
            world.cut.clear()

    world.tick()
    assert logins > 100
    assert not Boom.ran
    assert alice.texts() == carol.texts() == [("bob", f"honest {50 * at}") for at in range(honest)]
    for client in (alice, bob, carol):
        assert client.keys.opening.operations - operations[client.user] == (honest if client is not bob else 0)
        assert not [event for event in client.events if isinstance(event, Disconnected)]
        assert {one.message.sender for one in client.events if isinstance(one, MessageReceived)} <= {"bob"}
        assert {one.sender for one in client.refusals} <= {"mallory"}
    assert {one.stage for one in alice.refusals} >= {"parse", "signature", "route"}


def test_there_is_enough_of_it() -> None:
    assert ROUNDS * len(SEEDS) >= 10_000
