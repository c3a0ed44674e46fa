"""What was not answered goes out again: same mid and n, sealed anew only where that is safe."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
import pytest

from core import frames, messages
from core.bundle import Suite
from core.content import Text
from core.encoding import b64url, unpack
from core.envelope import Header
from core.errors import BadName, LocalProtocolError
from core.events import Outcome, PeerKeyChanged
from core.frames import Frames
from core.identity import guest_identity
from core.limits import RETURN_GRACE
from core.messages import Deliver, Result, Results, Status
from tests.forge import flip
from tests.keys import Keys, keys_of
from tests.pairs import Client, World, swallow


@pytest.fixture
def world() -> World:
    return World()


def _headers(raws: list[Frames]) -> Iterator[tuple[bytes, Header]]:
    """Mid and header of every message in what was sent."""
    for raw in raws:
        if raw[0][:1] in (b"S", b"F"):
            yield raw[0][1:17], msgspec.json.decode(unpack(raw[1], 7)[0], type=Header)


def _watch(client: Client) -> list[Frames]:
    sent: list[Frames] = []

    def keep(raw: Frames) -> list[Frames]:
        sent.append(raw)
        return [raw]

    client.to_broker = keep
    return sent


def _again(world: World, client: Client) -> None:
    world.lose(client)
    world.connect(client)
    world.tick()


def _rekeyed(world: World, client: Client, name_of_new_ek: str) -> Client:
    """The same identity key on a new connection, with another encryption key."""
    keys = Keys(client.keys.signing, keys_of(name_of_new_ek).opening)
    identity = guest_identity(client.user, keys.signing, keys.opening, sid=os.urandom(16), now=world.now.wall)
    fresh = world.adopt(identity, messages.Mode.FULL, keys)
    world.lose(client)
    world.clients.remove(client)
    world.connect(fresh)
    world.tick()
    return fresh


def test_messages_wait_while_offline(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    world.lose(alice)
    ids = [world.say(alice, str(number), "bob") for number in range(5)]
    assert all(alice.outcomes(id_) == {"bob": [Outcome.QUEUED]} for id_ in ids)
    world.connect(alice)
    assert [text for _, text in bob.texts()] == ["0", "1", "2", "3", "4"]
    assert all(alice.last(id_) == {"bob": Outcome.DELIVERED} for id_ in ids)


@pytest.mark.parametrize("suite", Suite)
def test_a_lost_answer_does_not_show_a_message_twice(world: World, suite: Suite) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    alice.to_client = swallow(Results)
    sent = _watch(alice)
    id_ = world.say(alice, "once", "bob", suite=suite)
    assert alice.last(id_) == {"bob": Outcome.SENT}
    alice.to_client = lambda raw: [raw]
    _again(world, alice)
    assert bob.texts() == [("alice", "once")]
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}
    mails = [raw for raw in sent if raw[0][:1] == b"S"]
    assert len(mails) == 2
    assert mails[0] == mails[1]  # the very same bytes
    _again(world, alice)
    assert len([raw for raw in sent if raw[0][:1] == b"S"]) == 2  # answered, so no third time


def test_a_message_lost_on_the_way_arrives_after_a_reconnect(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    alice.to_broker = lambda raw: [] if raw[0][:1] == b"S" else [raw]
    id_ = world.say(alice, "lost", "bob")
    assert bob.texts() == []
    alice.to_broker = lambda raw: [raw]
    _again(world, alice)
    assert bob.texts() == [("alice", "lost")]
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}


def test_a_recipients_lost_acknowledgement_is_given_again_on_the_second_copy(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    bob.to_broker = lambda raw: [] if raw[0][:1] == b"A" else [raw]
    id_ = world.say(alice, "x", "bob")
    assert bob.texts() == [("alice", "x")]
    bob.to_broker = lambda raw: [raw]
    _again(world, alice)
    assert bob.texts() == [("alice", "x")]
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}


def test_a_new_encryption_key_of_the_same_person_is_sealed_to_anew(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    sent = _watch(alice)
    bob.to_client = swallow(Deliver)
    alice.to_client = swallow(Results)
    id_ = world.say(alice, "x", "bob")
    bob = _rekeyed(world, bob, "dave")
    alice.to_client = lambda raw: [raw]
    _again(world, alice)
    assert bob.texts() == [("alice", "x")]
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}
    (mid, first), (mid_again, second) = _headers(sent)
    assert mid == mid_again == id_
    assert (first.mid, first.sid, first.to[0][2]) == (second.mid, second.sid, second.to[0][2])
    assert (first.to[0][1], second.to[0][1]) == (
        b64url(keys_of("bob").opening.public.kid),
        b64url(keys_of("dave").opening.public.kid),
    )
    assert not any(isinstance(event, PeerKeyChanged) for event in alice.events)


def test_nothing_is_sealed_anew_for_another_identity_key(world: World) -> None:
    # Else a broker could lose a message, present its own key for the recipient, and be sent the text again.
    alice, bob = world.join("alice"), world.join("bob")
    bob.to_client = swallow(Deliver)
    alice.to_client = swallow(Results)
    id_ = world.say(alice, "for bob's eyes", "bob")
    everyone = world.say(alice, "for all eyes", "bob", everyone=True)
    world.lose(bob)
    world.clients.remove(bob)
    mallory = world.join("bob", keys=keys_of("mallory"))
    alice.to_client = lambda raw: [raw]
    sent = _watch(alice)
    _again(world, alice)
    assert list(_headers(sent)) == []
    assert mallory.messages == []
    assert mallory.refusals == []
    assert alice.last(id_) == alice.last(everyone) == {"bob": Outcome.GONE}
    fresh = world.say(alice, "who are you?", "bob")  # a new message is written in knowledge of the news
    assert mallory.texts() == [("alice", "who are you?")]
    assert alice.last(fresh) == {"bob": Outcome.DELIVERED}


def test_answers_by_place_after_sealing_anew_for_fewer(world: World) -> None:
    alice, bob, carol, dave = (world.join(user) for user in ("alice", "bob", "carol", "dave"))
    sent = _watch(alice)
    carol.to_client = dave.to_client = swallow(Deliver)
    id_ = world.say(alice, "all", "bob", "carol", "dave", everyone=True)
    assert alice.last(id_) == {"bob": Outcome.DELIVERED, "carol": Outcome.SENT, "dave": Outcome.SENT}
    carol.to_client = dave.to_client = lambda raw: [raw]
    _again(world, alice)
    assert alice.last(id_) == dict.fromkeys(("bob", "carol", "dave"), Outcome.DELIVERED)
    assert bob.texts() == carol.texts() == dave.texts() == [("alice", "all")]
    (mid, first), (again, second) = _headers(sent)
    assert mid == again
    assert [user for user, _, _ in first.to] == ["bob", "carol", "dave"]
    assert [user for user, _, _ in second.to] == ["carol", "dave"]
    assert {user: n for user, _, n in second.to}.items() <= {user: n for user, _, n in first.to}.items()


def test_a_late_answer_from_before_cannot_be_taken_for_another_recipients(world: World) -> None:
    alice, bob, _ = (world.join(user) for user in ("alice", "bob", "carol"))
    bob.to_client = swallow(Deliver)
    alice.to_client = swallow(Results)
    id_ = world.say(alice, "all", "bob", "carol", everyone=True)
    world.lose(bob)  # what alice would be told of it is lost, and on her next connection only carol is there
    world.clients.remove(bob)
    world.tick()
    alice.to_client = lambda raw: [raw]
    _again(world, alice)
    assert alice.last(id_) == {"bob": Outcome.ABSENT, "carol": Outcome.DELIVERED}


def test_a_proof_of_the_first_sealing_counts_after_the_second(world: World) -> None:
    # Bob took the first one; only his answer was lost. The second is sealed anew, for Carol has answered.
    alice, bob, _ = (world.join(user) for user in ("alice", "bob", "carol"))
    bob.to_broker = lambda raw: [] if raw[0][:1] == b"A" else [raw]
    id_ = world.say(alice, "all", "bob", "carol", everyone=True)
    assert alice.last(id_) == {"bob": Outcome.SENT, "carol": Outcome.DELIVERED}
    bob.to_broker = lambda raw: [raw]
    _again(world, alice)
    assert alice.last(id_)["bob"] is Outcome.DELIVERED
    assert bob.texts() == [("alice", "all")]


def test_counters_have_no_gap_after_resending(world: World) -> None:
    alice, bob, _ = (world.join(user) for user in ("alice", "bob", "carol"))
    sent = _watch(alice)
    for round_ in range(4):
        alice.to_client = swallow(Results) if round_ % 2 else lambda raw: [raw]
        world.say(alice, "one", "bob")
        world.say(alice, "all", "bob", "carol", everyone=True)
        _again(world, alice)
    numbers = {(mid, user): n for mid, header in _headers(sent) for user, _, n in header.to}
    assert sorted(n for (_, user), n in numbers.items() if user == "bob") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert sorted(n for (_, user), n in numbers.items() if user == "carol") == [1, 2, 3, 4]
    assert len(bob.messages) == 8


def test_an_id_on_its_way_is_not_taken_twice(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    alice.to_client = swallow(Results)
    id_ = world.say(alice, "one", "bob")
    with pytest.raises(LocalProtocolError):
        alice.session.submit(id_, Text("two"), ["bob"], everyone=False, suite=Suite.HYBRID, now=world.now)
    world.lose(alice)
    with pytest.raises(LocalProtocolError):
        alice.session.submit(id_, Text("two"), ["bob"], everyone=False, suite=Suite.HYBRID, now=world.now)
    world.lose(bob)
    alice.to_client = lambda raw: [raw]
    world.connect(alice)
    world.go_on(RETURN_GRACE)
    world.settle()
    assert alice.last(id_) == {"bob": Outcome.ABSENT}


def test_what_is_no_name_never_reaches_the_broker(world: World) -> None:
    alice = world.join("alice")
    for bad in ("Bob", "", "everyone", "a,b"):
        with pytest.raises(BadName):
            world.say(alice, "x", "bob", bad)
    assert alice.session.outgoing() == []
    assert len(alice.events) == 2


def test_a_recipient_named_twice_gets_it_once(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    world.say(alice, "x", "bob", "bob")
    world.say(alice, "y", "bob", "bob", everyone=True)
    assert bob.texts() == [("alice", "x"), ("alice", "y")]


def test_bundles_that_are_not_believed(world: World) -> None:
    alice = world.join("alice")
    foreign = guest_identity("bob", keys_of("bob").signing, keys_of("bob").opening, sid=bytes(16), now=world.now.wall).bundle
    old = guest_identity("carol", keys_of("carol").signing, keys_of("carol").opening, sid=bytes(16), now=1e9).bundle
    offered = {"bob": None, "carol": old, "dave": foreign}

    def lie(raw: Frames) -> list[Frames]:
        message = frames.read_from_broker(raw)
        if not isinstance(message, messages.Bundles):
            return [raw]
        return [frames.control(messages.Bundles(tuple(messages.Found(one.user, offered[one.user]) for one in message.found)))]

    alice.to_client = lie
    id_ = world.say(alice, "x", "bob", "carol", "dave", everyone=True)
    assert alice.last(id_) == {"bob": Outcome.ABSENT, "carol": Outcome.UNTRUSTED, "dave": Outcome.UNTRUSTED}


def test_bundles_that_were_not_asked_for_are_not_learnt(world: World) -> None:
    alice = world.join("alice")
    mallory = guest_identity("bob", keys_of("mallory").signing, keys_of("mallory").opening, sid=bytes(16), now=world.now.wall)
    alice.inbox.append(frames.control(messages.Bundles((messages.Found("bob", mallory.bundle),))))
    world.settle()
    assert alice.session.peers.bundle("bob", world.now.ms) is None
    assert len(alice.events) == 2


def test_the_list_of_users_can_be_asked_for_at_any_time(world: World) -> None:
    sender = world.make("alice", mode=messages.Mode.SEND)
    sender.session.ask_users()  # before the login: it must not disturb that
    world.begin(sender)
    sender.session.ask_users()
    world.settle()
    assert [type(event).__name__ for event in sender.events] == ["Welcomed", "RosterChanged"]
    for _ in range(2):
        sender.session.ask_users()
        world.settle()
    assert [type(event).__name__ for event in sender.events] == ["Welcomed", *["RosterChanged"] * 3]
    assert sender.events[-1].joined == ()  # type: ignore[union-attr]


def test_what_one_key_was_not_sent_excuses_no_gap_of_another(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    bob.to_client = swallow(Deliver)
    alice.to_client = swallow(Results)
    world.say(alice, "1", "bob")
    world.say(alice, "2", "bob")
    world.lose(bob)
    world.clients.remove(bob)
    again = world.join("bob", keys=keys_of("dave"))  # alice is told late that her two messages were not taken
    world.say(alice, "first", "bob")
    held = [frames.results([Result(mid, 0, Status.GONE)]) for mid in list(alice.session._sending._sent)]
    alice.to_client = lambda raw: [raw]
    alice.inbox.extend(held)
    world.settle()
    again.to_client = swallow(Deliver)
    world.say(alice, "lost", "bob")  # the second one to this key
    again.to_client = lambda raw: [raw]
    world.say(alice, "third", "bob")
    assert [(getattr(one.message.content, "text", ""), one.message.place.missing) for one in again.messages] == [
        ("first", 0),
        ("third", 1),
    ]


def test_a_number_that_was_given_up_is_no_gap(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    world.say(alice, "1", "bob")
    alice.to_broker = lambda raw: [] if raw[0][:1] == b"S" else [raw]
    id_ = world.say(alice, "2", "bob")
    alice.to_broker = lambda raw: [raw]
    alice.inbox.append(frames.results([Result(id_, 0, Status.FULL)]))
    world.settle()
    assert alice.last(id_) == {"bob": Outcome.FULL}
    world.say(alice, "3", "bob")
    world.say(alice, "4", "bob")
    assert [one.message.place.missing for one in bob.messages] == [0, 0, 0]
    assert [getattr(one.message.content, "void", ()) for one in bob.messages] == [(), (("bob", 2),), ()]


def test_a_number_is_given_up_until_a_message_that_says_so_has_come(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    world.say(alice, "1", "bob")
    alice.to_broker = lambda raw: [] if raw[0][:1] == b"S" else [raw]
    for text in ("2", "3"):  # the second one tells of the first, and does not come either
        id_ = world.say(alice, text, "bob")
        alice.inbox.append(frames.results([Result(id_, 0, Status.FULL)]))
        world.settle()
    alice.to_broker = lambda raw: [raw]
    world.say(alice, "4", "bob")
    assert [one.message.place.missing for one in bob.messages] == [0, 0]
    assert getattr(bob.messages[-1].message.content, "void", ()) == (("bob", 2), ("bob", 3))


def test_a_dropped_message_is_a_gap(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    world.say(alice, "1", "bob")
    bob.to_client = swallow(Deliver)
    world.say(alice, "2", "bob")
    bob.to_client = lambda raw: [raw]
    world.say(alice, "3", "bob")
    assert [one.message.place.missing for one in bob.messages] == [0, 1]
    _again(world, alice)  # answers what was lost, with the message that is late now
    assert [(text, one.message.place.late) for (_, text), one in zip(bob.texts(), bob.messages, strict=True)] == [
        ("1", False),
        ("3", False),
        ("2", True),
    ]


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("everyone", [True, False])
def test_a_refused_message_is_not_reported_as_safe(world: World, suite: Suite, everyone: bool) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    alice_sent = _watch(alice)
    bob.to_client = lambda raw: [[*raw[:-1], flip(-1)(raw[-1])]] if raw[0][:1] == b"D" else [raw]
    id_ = world.say(alice, "x", "bob", everyone=everyone, suite=suite)
    assert bob.messages == []
    assert [(one.sender, one.mid) for one in bob.refusals] == [("alice", id_)]
    assert alice.outcomes(id_) == {"bob": [Outcome.QUEUED, Outcome.SENT, Outcome.REFUSED]}
    assert not Outcome.REFUSED.safe
    bob.to_client = lambda raw: [raw]
    _again(world, alice)  # what was refused does not go out again
    assert len([raw for raw in alice_sent if raw[0][:1] in (b"S", b"F")]) == 1
    after = world.say(alice, "y", "bob", everyone=everyone, suite=suite)
    assert alice.last(after) == {"bob": Outcome.DELIVERED}
    assert [one.message.place.missing for one in bob.messages] == [0]  # its number was given up


def test_an_answer_without_a_proof_cannot_be_made_into_one_with_it(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    bob.to_client = swallow(Deliver)
    id_ = world.say(alice, "x", "bob")
    for proof in (frames.NO_PROOF, bytes([1]) * 32):
        alice.inbox.append(frames.results([Result(id_, 0, Status.DELIVERED, proof)]))
    world.settle()
    assert alice.last(id_) == {"bob": Outcome.UNPROVEN}
