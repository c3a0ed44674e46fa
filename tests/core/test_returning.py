"""Messages to somebody who was here before the connection broke, and may be on the way back as well."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import frames
from core.bundle import SignedBundle
from core.events import Outcome, Receipt
from core.frames import Frames
from core.limits import BUNDLE_LIFE, RECONNECT_MAX, RETURN_GRACE
from core.messages import Bundles, Found, Mode, Result, Results, Status
from core.states import State
from tests.attacks.lies import bundle, bundles_say
from tests.pairs import Client, World, as_it_is, swallow


@pytest.fixture
def world() -> World:
    return World()


def lose_all(world: World) -> None:
    """The broker was started anew."""
    for client in world.clients:
        world.lose(client)


def test_a_message_waits_for_who_was_here_before(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    lose_all(world)
    id_ = world.say(alice, "are you back?", "bob")
    world.connect(alice)
    world.tick()
    world.go_on(RETURN_GRACE - 1)
    assert alice.last(id_) == {"bob": Outcome.QUEUED}
    world.connect(bob)
    assert bob.texts() == []
    world.tick()  # the roster has him
    assert bob.texts() == [("alice", "are you back?")]
    assert alice.outcomes(id_) == {"bob": [Outcome.QUEUED, Outcome.SENT, Outcome.DELIVERED]}
    world.go_on(2 * RETURN_GRACE)
    assert len(bob.texts()) == 1


def test_who_pauses_the_longest_between_two_attempts_is_waited_for(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    lose_all(world)
    id_ = world.say(alice, "are you back?", "bob")
    world.connect(alice)
    world.go_on(RECONNECT_MAX)
    world.connect(bob)
    world.tick()
    world.settle()
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}


def test_a_bundle_that_nobody_could_trust_is_not_waited_for(world: World) -> None:
    """Bob may be on the way back, but what the broker hands out as his is no better later."""
    alice, _ = world.join("alice"), world.join("bob")
    lose_all(world)
    id_ = world.say(alice, "are you back?", "bob")
    alice.to_client = swallow(Bundles)
    world.connect(alice)
    forged = frames.control(Bundles((Found("bob", SignedBundle(b"{}", bytes(256))),)))
    alice.events += alice.session.receive(forged, world.now)
    assert alice.last(id_) == {"bob": Outcome.UNTRUSTED}


def test_whoever_does_not_come_back_in_time_is_absent(world: World) -> None:
    alice, _ = world.join("alice"), world.join("bob")
    lose_all(world)
    id_ = world.say(alice, "are you back?", "bob")
    world.connect(alice)
    world.go_on(RETURN_GRACE - 0.1)
    later = world.say(alice, "and now?", "bob")
    assert alice.last(id_) == alice.last(later) == {"bob": Outcome.QUEUED}
    world.go_on(0.1)
    assert alice.last(id_) == alice.last(later) == {"bob": Outcome.ABSENT}
    assert alice.last(world.say(alice, "still not?", "bob")) == {"bob": Outcome.ABSENT}


def test_a_connection_that_breaks_again_makes_nobody_a_stranger(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    lose_all(world)
    id_ = world.say(alice, "are you back?", "bob")
    for _ in range(3):  # each time the roster lacks him
        world.connect(alice)
        world.tick()
        assert alice.last(id_) == {"bob": Outcome.QUEUED}
        world.lose(alice)
    world.connect(alice)
    world.connect(bob)
    world.tick()
    assert bob.texts() == [("alice", "are you back?")]


def test_a_key_that_is_not_believed_is_not_waited_out(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    lose_all(world)
    stale = bundle("bob", bob.keys, now=world.now.wall - 2 * BUNDLE_LIFE)
    alice.to_client = bundles_say(lambda _, __: stale)
    id_ = world.say(alice, "are you back?", "bob")
    world.connect(alice)
    assert alice.last(id_) == {"bob": Outcome.UNTRUSTED}


def test_without_a_roster_the_end_of_the_wait_decides(world: World) -> None:
    alice, bob = world.join("alice", mode=Mode.SEND), world.join("bob")
    lose_all(world)
    here, away = world.say(alice, "to the one who comes", "bob"), world.say(alice, "to the one who does not", "carol")
    world.connect(alice)
    world.connect(bob)
    world.lose(bob)
    id_ = world.say(alice, "asked for while he is away", "bob")
    world.connect(bob)
    world.go_on(RETURN_GRACE - 0.1)
    assert alice.last(id_) == {"bob": Outcome.QUEUED}
    assert alice.last(away) == {"carol": Outcome.QUEUED}
    world.go_on(0.1)
    assert alice.last(here) == alice.last(id_) == {"bob": Outcome.DELIVERED}
    assert alice.last(away) == {"carol": Outcome.ABSENT}


def test_nobody_else_is_waited_for(world: World) -> None:
    alice = world.make("alice")
    first = world.say(alice, "before the first login", "bob")
    world.connect(alice)
    assert alice.last(first) == {"bob": Outcome.ABSENT}
    bob = world.join("bob")
    lose_all(world)
    stranger = world.say(alice, "who was not here", "carol")
    everyone = world.say(alice, "to all", "bob", everyone=True)
    direct = world.say(alice, "to one", "bob")
    world.connect(alice)
    world.tick()
    assert (alice.last(stranger), alice.last(everyone)) == ({"carol": Outcome.ABSENT}, {"bob": Outcome.ABSENT})
    assert alice.last(direct) == {"bob": Outcome.QUEUED}
    carol = world.join("carol")
    everyone = world.say(alice, "to all who are here", "bob", "carol", everyone=True)
    assert alice.last(everyone) == {"bob": Outcome.ABSENT, "carol": Outcome.DELIVERED}
    assert carol.texts() == [("alice", "to all who are here")]
    world.connect(bob)
    world.tick()
    assert bob.texts() == [("alice", "to one")]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["say", "all", "lose alice", "lose bob", "alice", "bob", "mute", "heard", "wait"]), st.integers(1, 14)
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_nobody_gets_a_message_twice_whoever_comes_back_when(steps: list[tuple[str, int]]) -> None:
    world = World()
    alice, bob = world.join("alice"), world.join("bob")
    sent: list[tuple[bytes, bytes]] = []  # over which connection, and which message

    def watch(raw: Frames) -> list[Frames]:
        if raw[0][:1] in (b"S", b"F"):
            sent.append((alice.rid, raw[0][1:17]))
        return [raw]

    alice.to_broker = watch
    said: dict[bytes, str] = {}
    for step, number in steps:
        match step:
            case "say" | "all":
                text = f"{len(said)}"
                said[world.say(alice, text, "bob", everyone=step == "all")] = text
            case "lose alice":
                world.lose(alice)
            case "lose bob":
                world.lose(bob)
            case "alice":
                _back(world, alice)
            case "bob":
                _back(world, bob)
            case "mute" | "heard":
                alice.to_client = swallow(Results) if step == "mute" else as_it_is
            case _:
                world.go_on(number)
    alice.to_client = as_it_is
    world.lose(alice)
    for client in (alice, bob):
        _back(world, client)
    world.go_on(2 * RETURN_GRACE)
    assert len(set(sent)) == len(sent)
    texts = [text for _, text in bob.texts()]
    assert len(set(texts)) == len(texts)
    outcomes = {text: alice.last(id_)["bob"] for id_, text in said.items()}
    assert all(outcome.final for outcome in outcomes.values())
    assert {text for text, outcome in outcomes.items() if outcome is Outcome.DELIVERED} <= set(texts)
    assert not bob.refusals


def _back(world: World, client: Client) -> None:
    if client.session.state is State.OFFLINE:
        world.connect(client)
        world.tick()


def test_an_answer_about_a_copy_that_has_one_changes_nothing(world: World) -> None:
    alice, _, _ = (world.join(user) for user in ("alice", "bob", "carol"))
    alice.to_broker = lambda raw: [raw] if len(raw) == 1 else []
    id_ = world.say(alice, "to all", "bob", "carol", everyone=True)
    (receipt,) = alice.session.receive(frames.results([Result(id_, 0, Status.ABSENT)]), world.now)
    assert receipt == Receipt(id_, "bob", Outcome.ABSENT)
    for place, status in ((0, Status.RATE), (2, Status.ABSENT), (65535, Status.ABSENT)):  # there are two recipients
        assert alice.session.receive(frames.results([Result(id_, place, status)]), world.now) == []
    assert alice.session.outgoing() == []
    (receipt,) = alice.session.receive(frames.results([Result(id_, 1, Status.ABSENT)]), world.now)
    assert receipt == Receipt(id_, "carol", Outcome.ABSENT)
