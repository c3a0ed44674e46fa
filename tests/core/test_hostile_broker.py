"""A hostile broker against a session at work: more than 10,000 pieces of input, beside honest traffic.

Nothing forged is shown, none of it costs a private operation, and only RemoteProtocolError ever comes of it.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from core import frames
from core.bundle import Kind, Suite
from core.content import Text
from core.envelope import To, direct_cid, everyone_cid, seal
from core.errors import RemoteProtocolError
from core.events import MessageReceived, Outcome, PeerKeyChanged
from core.frames import Frames
from core.states import State
from tests.hostile import Boom, Forger, controls, nonsense
from tests.keys import BROKER_KEY, keys_of
from tests.pairs import Client, World

ROUNDS = 3_000
SEEDS = [1, 2, 3, 4]
CAROL = keys_of("carol")


def _genuine(world: World, sender: Client, *recipients: Client, suite: Suite, everyone: bool) -> list[Frames]:
    """DELIVERs of a message that was never sent: one for each recipient. Any that were accepted would be news."""
    to = [To(one.user, one.keys.opening.public, 77) for one in recipients]
    mid = os.urandom(16)
    kids = (sender.session.me.kid, recipients[0].session.me.kid)
    sealed = seal(
        Text("never sent " * 40),
        suite=suite,
        sender=sender.user,
        kind=Kind.GUEST,
        signing=sender.keys.signing,
        sid=sender.session.me.sid,
        mid=mid,
        cid=everyone_cid(BROKER_KEY) if everyone else direct_cid(*kids),
        to=to,
        now_ms=world.now.ms,
        random=os.urandom,
    )
    if len(to) == 1:
        return [frames.deliver(os.urandom(8), mid, sender.user, sealed.common_direct(), None)]
    return [frames.deliver(os.urandom(8), mid, sender.user, sealed.common(), wrap) for wrap in sealed.wraps]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_forgery_is_taken(seed: int) -> None:
    rng = random.Random(seed)
    world = World()
    alice, bob, carol = (world.join(user) for user in ("alice", "bob", "carol"))
    taken: list[Frames] = []
    alice.to_client = lambda raw: taken.append(raw) or [raw] if raw[0][:1] == b"D" else [raw]  # type: ignore[func-returns-value]
    for suite in Suite:
        world.say(bob, "taken " * 50, "alice", suite=suite)
        world.say(bob, "taken by all", "alice", "carol", everyone=True, suite=suite)
    alice.to_client = lambda raw: [raw]
    assert len(taken) == len(alice.messages) == 4

    own, others = [], []
    for suite in Suite:
        own += _genuine(world, bob, alice, suite=suite, everyone=False)
        for_two = _genuine(world, bob, alice, carol, suite=suite, everyone=True)
        own.append(for_two[0])
        others += [for_two[1], *_genuine(world, bob, carol, suite=suite, everyone=False)]
        others += _genuine(world, alice, bob, suite=suite, everyone=False)
    forger = Forger(rng, own, others)

    labels: Counter[str] = Counter()
    honest = 0
    for round_ in range(ROUNDS):
        kind = rng.random()
        if kind < 0.70:
            label, raw = forger.forgery()
        elif kind < 0.80:
            label, raw = "replay", list(rng.choice(taken))
        elif kind < 0.88:
            label, raw = controls(rng, b"HCPWOULBIJEARDSFZ")
        else:
            label, raw = nonsense(rng)
        labels[label] += 1
        operations = alice.keys.opening.operations
        try:
            events = alice.session.receive(raw, world.now)
        except RemoteProtocolError:
            events = []
        what = f"round {round_} of seed {seed}: {label}"
        assert not [event for event in events if isinstance(event, MessageReceived | PeerKeyChanged)], what
        assert alice.keys.opening.operations == operations, what
        if alice.session.state is not State.READY:
            world.lose(alice)
            world.connect(alice)
            world.tick()
        if round_ % 100 == 0:
            alice.session.outgoing()  # what it would answer to copies that the real broker never gave
            world.tick()
            suite = rng.choice(list(Suite))
            sent = (
                world.say(bob, f"honest {round_}", "alice", suite=suite),
                world.say(alice, f"answer {round_}", "bob", suite=suite),
            )
            assert bob.last(sent[0]) == {"alice": Outcome.DELIVERED}
            assert alice.last(sent[1]) == {"bob": Outcome.DELIVERED}
            honest += 1
            assert alice.texts()[-1] == ("bob", f"honest {round_}")
            assert bob.texts()[-1] == ("alice", f"answer {round_}")

    assert len(alice.messages) == 4 + honest
    assert not Boom.ran
    assert not carol.refusals
    assert len(labels) > 40, labels
    # The unaltered ones do open, so what was refused was refused for what was done to it.
    for raw in own:
        (event,) = alice.session.receive(raw, world.now)
        assert isinstance(event, MessageReceived)


def test_there_is_enough_of_it() -> None:
    assert ROUNDS * len(SEEDS) >= 10_000
