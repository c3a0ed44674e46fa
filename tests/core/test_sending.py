"""core.sending: how much is on its way at once, who is looked up again, and what is told of each copy, each once."""

from __future__ import annotations

import pytest

from core import frames, sending
from core.bundle import Suite
from core.clock import Instant
from core.content import Text, encode_content
from core.events import Outcome, Receipt
from core.frames import Frames
from core.limits import CHUNKED_CONTENT_MAX, HEARTBEAT
from core.messages import Bundles, Deliver, Found, Kept, Lookup, Result, Results, Status, Told
from tests.keys import keys_of
from tests.pairs import START, Client, World, as_it_is, swallow


@pytest.fixture
def world() -> World:
    return World()


def no_mail(raw: Frames) -> list[Frames]:
    """A link to the broker that loses every message."""
    return [raw] if len(raw) == 1 else []


def mail(client: Client) -> list[bytes]:
    """The mids of the messages that are about to go out."""
    return [raw[0][1:17] for raw in client.session.outgoing() if len(raw) > 1]


def answer(world: World, client: Client, id_: bytes, status: Status, place: int = 0) -> None:
    """What the broker says of a copy; what comes of it does not move yet."""
    result = Result(id_, place, status, bytes(32) if status is Status.DELIVERED else None)
    client.events += client.session.receive(frames.results([result]), world.now)


# How much is on its way


def test_what_goes_beyond_the_most_on_its_way_waits_for_a_result(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_IN_FLIGHT", 3)
    alice, bob = world.join("alice"), world.join("bob")
    alice.to_broker = no_mail
    ids = [world.say(alice, str(number), "bob") for number in range(5)]
    assert [alice.last(id_)["bob"] for id_ in ids] == [Outcome.SENT] * 3 + [Outcome.QUEUED] * 2
    answer(world, alice, ids[1], Status.FULL)
    assert mail(alice) == [ids[3]]
    answer(world, alice, ids[0], Status.FULL)
    assert mail(alice) == [ids[4]]
    alice.to_broker = as_it_is
    world.lose(alice)
    world.connect(alice)
    assert bob.texts() == [("alice", text) for text in "234"]


def test_what_waits_for_bundles_counts_as_on_its_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_IN_FLIGHT", 3)
    alice, bob = world.join("alice"), world.join("bob")
    alice.to_client = swallow(Bundles)
    ids = [world.say(alice, str(number), "bob") for number in range(5)]
    assert [one.id for one in alice.session._memory.outbox.claim(1, world.now.ms)] == [ids[3]]
    alice.to_client = as_it_is
    world.lose(alice)
    world.connect(alice)
    assert bob.texts() == [("alice", text) for text in "0124"]


def test_a_broker_that_takes_no_more_for_now_is_left_alone_for_just_a_second(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    alice.to_broker = no_mail
    id_ = world.say(alice, "x", "bob")
    alice.to_broker = as_it_is
    answer(world, alice, id_, Status.RATE)
    for _ in range(2):
        world.settle()
        assert (alice.last(id_), bob.texts()) == ({"bob": Outcome.RATE}, [])
        world.pass_time(0.5)
        alice.events += alice.session.tick(world.now)
    world.settle()
    assert bob.texts() == [("alice", "x")]


def test_a_clock_may_begin_at_nought(world: World) -> None:
    world.now = Instant(START.wall, 0.0)
    alice, bob, carol = (world.join(user) for user in ("alice", "bob", "carol"))
    id_ = world.say(alice, "at once", "bob")
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}
    assert bob.texts() == [("alice", "at once")]
    world.pass_time(HEARTBEAT)
    carol.session.tick(world.now)
    assert carol.session.outgoing() == [[frames.PING]]


# Whom it looks up


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.RATE])
def test_only_whose_copy_found_nobody_to_open_it_is_looked_up_again(world: World, status: Status) -> None:
    alice, _, _ = (world.join(user) for user in ("alice", "bob", "carol"))
    world.say(alice, "both are known", "bob", "carol")
    alice.to_broker = no_mail
    id_ = world.say(alice, "x", "bob")
    answer(world, alice, id_, status)
    world.submit(alice, "y", "bob", "carol")
    said = [frames.read_from_client(raw) for raw in alice.session.outgoing()]
    anew = status in (Status.GONE, Status.ABSENT, Status.REFUSED)
    assert [one.users for one in said if isinstance(one, Lookup)] == ([("bob",)] if anew else [])


def test_answers_about_others_hide_none_about_who_was_asked_for(world: World) -> None:
    alice = world.join("alice")
    alice.to_client = swallow(Bundles)
    id_ = world.say(alice, "x", "bob")
    found = frames.control(Bundles((Found("carol", None), Found("bob", None))))
    assert alice.session.receive(found, world.now) == [Receipt(id_, "bob", Outcome.ABSENT)]


# What it tells


def test_everybody_who_is_somebody_else_by_now_is_told_of(world: World) -> None:
    alice, bob, carol = (world.join(user) for user in ("alice", "bob", "carol"))
    alice.to_client = swallow(Results)
    bob.to_client = carol.to_client = swallow(Deliver)
    id_ = world.say(alice, "to all", "bob", "carol", everyone=True)
    for client, name in ((bob, "dave"), (carol, "mallory")):
        world.lose(client)
        world.clients.remove(client)
        world.join(client.user, keys=keys_of(name))
    alice.to_client = as_it_is
    world.lose(alice)
    world.connect(alice)
    assert alice.last(id_) == {"bob": Outcome.GONE, "carol": Outcome.GONE}


def test_a_copy_that_has_its_end_is_told_of_no_more(world: World) -> None:
    """The news come while the copy waits to be sent again; then its answer is no news."""
    alice, _ = world.join("alice"), world.join("bob")
    alice.to_broker = no_mail
    id_ = world.say(alice, "x", "bob")
    answer(world, alice, id_, Status.RATE)
    kept = frames.control(Kept(0, (Told(id_, "bob", Status.EXPIRED, None),)))
    assert alice.session.receive(kept, world.now) == [Receipt(id_, "bob", Outcome.EXPIRED)]
    world.pass_time(HEARTBEAT)
    alice.session.tick(world.now)
    assert alice.session.receive(frames.results([Result(id_, 0, Status.ABSENT)]), world.now) == []


def test_numbers_given_up_wait_for_a_message_with_room_for_them(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    alice.to_broker = no_mail
    answer(world, alice, world.say(alice, "given up", "bob"), Status.FULL)
    alice.to_broker = as_it_is
    longest = "x" * (CHUNKED_CONTENT_MAX - len(encode_content(Text("x" * 300))) + 300)
    for text in (longest, "short"):
        id_ = world.say(alice, text, "bob", suite=Suite.CHUNKED)
        assert alice.last(id_) == {"bob": Outcome.DELIVERED}
    assert [one.message.content for one in bob.messages] == [Text(longest), Text("short", (("bob", 1),))]
