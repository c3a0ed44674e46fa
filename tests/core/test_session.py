"""core.session between real sessions and the real router."""

from __future__ import annotations

import os

import msgspec
import pytest

from core import frames, messages
from core.bundle import Kind, Suite
from core.clock import Instant
from core.content import Text, Unknown
from core.errors import LocalProtocolError, MessageTooLong, NameTaken, RemoteProtocolError, VersionRefused
from core.events import Disconnected, Outcome, PeerKeyChanged, Refused, RosterChanged, Trust, Welcomed
from core.identity import guest_identity
from core.limits import HEARTBEAT, SILENCE_MAX
from core.messages import Entry, Mode, Result, Status
from core.order import Place
from core.session import Session
from core.states import TRANSITIONS, State
from tests.forge import direct
from tests.keys import BROKER_KEY, keys_of
from tests.pairs import World

SUITES = list(Suite)


@pytest.fixture
def world() -> World:
    return World()


def _entry(user: str) -> Entry:
    return Entry(user, Kind.GUEST, keys_of(user).signing.public.kid)


def test_login_tells_who_is_here(world: World) -> None:
    alice = world.join("alice")
    assert alice.events == [Welcomed(), RosterChanged((_entry("alice"),), (), initial=True)]
    bob = world.join("bob")
    assert alice.events[2:] == [RosterChanged((_entry("bob"),), (), initial=False)]
    assert bob.events == [Welcomed(), RosterChanged((_entry("alice"), _entry("bob")), (), initial=True)]
    world.lose(bob)
    world.tick()
    assert alice.events[3:] == [RosterChanged((), (_entry("bob"),), initial=False)]


@pytest.mark.parametrize("suite", SUITES)
def test_a_direct_message_is_delivered_with_proof(world: World, suite: Suite) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    id_ = world.say(alice, "hello \N{SNOWMAN}", "bob", suite=suite)
    (received,) = bob.messages
    message = received.message
    assert (message.id, message.sender, message.to, message.everyone) == (id_, "alice", ("bob",), False)
    assert (message.content, message.suite, message.trust) == (Text("hello \N{SNOWMAN}"), suite, Trust.NEW)
    assert message.kid == alice.session.me.kid
    assert message.ts == world.now.ms
    assert alice.outcomes(id_) == {"bob": [Outcome.QUEUED, Outcome.SENT, Outcome.DELIVERED]}
    world.say(alice, "again", "bob", suite=suite)
    assert bob.messages[1].message.trust is Trust.PINNED


@pytest.mark.parametrize("suite", SUITES)
def test_a_message_to_everyone_is_one_envelope(world: World, suite: Suite) -> None:
    alice, bob, carol = (world.join(user) for user in ("alice", "bob", "carol"))
    uploads: list[frames.Frames] = []
    alice.to_broker = lambda raw: uploads.append(raw) or [raw]  # type: ignore[func-returns-value]
    id_ = world.say(alice, "all", "carol", "bob", everyone=True, suite=suite)
    assert [raw[0][:1] for raw in uploads] == [b"L", b"F"]
    for client in (bob, carol):
        (received,) = client.messages
        assert received.message.everyone
        assert received.message.to == ("bob", "carol")
    assert alice.last(id_) == {"bob": Outcome.DELIVERED, "carol": Outcome.DELIVERED}


def test_a_message_to_some_is_one_envelope_each_under_one_id(world: World) -> None:
    alice, bob, carol = (world.join(user) for user in ("alice", "bob", "carol"))
    id_ = world.say(alice, "two", "bob", "carol")
    assert alice.last(id_) == {"bob": Outcome.DELIVERED, "carol": Outcome.DELIVERED}
    assert bob.messages[0].message.to == ("bob",)
    assert carol.messages[0].message.to == ("carol",)
    assert bob.messages[0].message.id != carol.messages[0].message.id


def test_one_private_operation_for_each_hybrid_message(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    for _ in range(3):
        world.say(alice, "x" * 60_000, "bob")
    assert bob.keys.opening.operations == 3
    world.say(alice, "x" * 200, "bob", suite=Suite.CHUNKED)
    assert bob.keys.opening.operations == 3 + 2


@pytest.mark.parametrize(("suite", "most"), [(Suite.HYBRID, 64 * 1024 - 20), (Suite.CHUNKED, 8 * 1024 - 20)])
def test_the_longest_messages(world: World, suite: Suite, most: int) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    id_ = world.say(alice, "x" * most, "bob", suite=suite)
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}
    with pytest.raises(MessageTooLong):
        world.say(alice, "x" * (most + 20), "bob", suite=suite)
    assert len(bob.messages) == 1


def test_absent_recipients_are_named(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    id_ = world.say(alice, "anyone?", "bob", "carol", "dave")
    assert alice.last(id_) == {"bob": Outcome.DELIVERED, "carol": Outcome.ABSENT, "dave": Outcome.ABSENT}
    id_ = world.say(alice, "all?", "bob", "carol", "dave", everyone=True)
    assert alice.last(id_) == {"bob": Outcome.DELIVERED, "carol": Outcome.ABSENT, "dave": Outcome.ABSENT}
    assert bob.messages[1].message.to == ("bob",)


def test_who_leaves_before_taking_it_is_gone(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    world.say(alice, "one", "bob")
    bob.to_client = lambda _: []
    id_ = world.say(alice, "two", "bob")
    assert alice.last(id_) == {"bob": Outcome.SENT}
    world.lose(bob)
    world.tick()
    assert alice.last(id_) == {"bob": Outcome.GONE}


def test_a_proof_that_does_not_fit_is_only_the_brokers_word(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    bob.to_broker = lambda raw: [[raw[0][:9] + os.urandom(32)]] if raw[0][:1] == b"A" else [raw]
    id_ = world.say(alice, "x", "bob")
    assert alice.last(id_) == {"bob": Outcome.UNPROVEN}
    assert len(bob.messages) == 1


def test_a_proof_for_another_message_or_recipient_does_not_fit(world: World) -> None:
    alice, bob, carol = (world.join(user) for user in ("alice", "bob", "carol"))
    proofs: list[bytes] = []

    def keep_last(raw: frames.Frames) -> list[frames.Frames]:
        if raw[0][:1] != b"A":
            return [raw]
        proofs.append(raw[0][9:41])
        return [[raw[0][:9] + proofs[0]]]

    bob.to_broker = carol.to_broker = keep_last
    first = world.say(alice, "one", "bob")
    second = world.say(alice, "two", "bob")
    third = world.say(alice, "all", "bob", "carol", everyone=True)
    assert alice.last(first) == {"bob": Outcome.DELIVERED}
    assert alice.last(second) == {"bob": Outcome.UNPROVEN}
    assert set(alice.last(third).values()) == {Outcome.UNPROVEN}
    assert len(set(proofs)) == 4


def test_results_about_nothing_are_ignored(world: World) -> None:
    alice, _ = world.join("alice"), world.join("bob")
    id_ = world.say(alice, "x", "bob")
    before = list(alice.events)
    for mid, place in ((id_, 0), (id_, 1), (id_, 65535), (os.urandom(16), 0)):
        for status in Status:
            alice.inbox.append(frames.results([Result(mid, place, status, bytes(32) if status is Status.DELIVERED else None)]))
    world.settle()
    assert alice.events == before


def test_content_that_is_not_known_is_a_message_in_its_place(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    plain = msgspec.msgpack.encode({"type": "poll", "question": "tea?"})
    made = direct(Suite.HYBRID, "alice", alice.keys, "bob", bob.keys, plain=plain, ts=world.now.ms).make()
    bob.inbox.append(frames.deliver(bytes(8), made.mid, "alice", made.delivery().common, None))
    world.settle()
    (received,) = bob.messages
    assert (received.message.content, received.message.place) == (Unknown("poll"), Place())


# Send mode


def test_a_one_shot_sender_is_unseen(world: World) -> None:
    bob = world.join("bob")
    sender = world.join("alice", mode=Mode.SEND)
    assert sender.events == [Welcomed()]
    assert len(bob.events) == 2  # welcomed, and the roster it found
    id_ = world.say(sender, "done", "bob")
    assert sender.last(id_) == {"bob": Outcome.DELIVERED}
    assert bob.texts() == [("alice", "done")]
    answer = world.say(bob, "thanks", "alice")
    assert bob.last(answer) == {"alice": Outcome.ABSENT}
    sender.session.ask_users()
    world.settle()
    assert sender.events[-1] == RosterChanged((_entry("bob"),), (), initial=True)


def test_what_was_asked_for_before_the_login_is_asked_for_once(world: World) -> None:
    sender = world.make("alice", mode=Mode.SEND)
    sender.session.ask_users()
    world.connect(sender)
    world.lose(sender)
    world.connect(sender)
    assert sender.events == [Welcomed(), RosterChanged((), (), initial=True), Welcomed()]


def test_a_full_session_needs_an_encryption_key() -> None:
    identity = guest_identity("alice", keys_of("alice").signing, None, sid=bytes(16), now=0)
    with pytest.raises(LocalProtocolError):
        Session(identity, Mode.FULL, BROKER_KEY, random=os.urandom)


# Login refusals


def test_a_taken_name_is_refused_for_good(world: World) -> None:
    world.join("alice")
    other = world.make("alice", keys=keys_of("mallory"))
    world.begin(other)
    world.settle()
    (event,) = other.events
    assert isinstance(event, Refused)
    assert isinstance(event.error, NameTaken)
    assert other.session.state is State.REFUSED
    with pytest.raises(LocalProtocolError):
        other.session.connect(bytes(32), world.now)
    assert other.session.tick(Instant(0, 10**6)) == []


def test_the_same_key_may_connect_twice(world: World) -> None:
    first, second = world.join("alice"), world.join("alice")
    bob = world.join("bob")
    id_ = world.say(bob, "both", "alice")
    assert first.texts() == second.texts() == [("bob", "both")]
    assert bob.outcomes(id_)["alice"].count(Outcome.DELIVERED) == 1


def test_a_version_that_is_not_spoken_is_refused_by_name(world: World) -> None:
    alice = world.make("alice")
    world.begin(alice)
    alice.session.outgoing()
    alice.inbox.append(frames.control(messages.Error(messages.Reason.VERSION)))
    world.settle()
    (event,) = alice.events
    assert isinstance(event, Refused)
    assert isinstance(event.error, VersionRefused)


def test_a_version_that_was_not_offered_is_a_breach(world: World) -> None:
    session = _in_state(world, State.PROVING)
    with pytest.raises(RemoteProtocolError):
        session.receive(frames.control(messages.Welcome(2, "x", 0)), world.now)


def test_a_busy_broker_is_not_a_refusal(world: World) -> None:
    alice = world.make("alice")
    world.begin(alice)
    alice.session.outgoing()
    alice.inbox.append(frames.control(messages.Error(messages.Reason.BUSY)))
    world.settle()
    assert alice.session.state is State.OFFLINE
    world.connect(alice)


@pytest.mark.parametrize(
    ("answer", "in_doubt"),
    [
        (messages.Welcome(1, "x", 0), False),
        (messages.Error(messages.Reason.NAME_TAKEN), False),
        (messages.Error(messages.Reason.BUSY), True),
        (messages.Bye(), True),
    ],
    ids=["welcome", "refused", "busy", "bye"],
)
def test_a_login_is_in_doubt_from_its_proof_until_the_broker_says_what_came_of_it(
    world: World, answer: messages.Control, in_doubt: bool
) -> None:
    session = _in_state(world, State.PROVING)
    assert session.in_doubt is True
    session.receive(frames.control(answer), world.now)
    assert session.in_doubt is in_doubt


@pytest.mark.parametrize(
    ("answer", "in_doubt"),
    [
        (messages.Welcome(1, "x", 0), False),
        (messages.Error(messages.Reason.NOT_LOGGED_IN), True),
        (messages.Bye(), True),
    ],
    ids=["welcome", "the BYE came too early", "bye"],
)
def test_a_login_that_was_proven_stays_in_doubt_while_leaving_until_it_is_welcomed(
    world: World, answer: messages.Control, in_doubt: bool
) -> None:
    session = _in_state(world, State.PROVING)
    session.say_bye()
    session.receive(frames.control(answer), world.now)
    assert session.in_doubt is in_doubt


@pytest.mark.parametrize("state", [State.GREETED, State.READY])
@pytest.mark.parametrize("answer", [messages.Error(messages.Reason.BUSY), messages.Bye()], ids=["busy", "bye"])
def test_without_a_proof_that_waits_nothing_is_in_doubt(world: World, state: State, answer: messages.Control) -> None:
    assert _in_state(world, State.OFFLINE).in_doubt is False
    session = _in_state(world, state)
    assert session.in_doubt is False
    session.receive(frames.control(answer), world.now)
    assert session.in_doubt is False


def test_a_login_cannot_be_begun_twice(world: World) -> None:
    alice = world.join("alice")
    with pytest.raises(LocalProtocolError):
        alice.session.connect(bytes(32), world.now)


# States

FROM_BROKER: list[messages.Control | messages.Results | messages.Deliver | messages.Piece] = [
    messages.Challenge(bytes(32)),
    messages.Welcome(1, "x", 0),
    messages.Roster(True, False, (), ()),
    messages.Bundles((messages.Found("bob", None),)),
    messages.Ping(),
    messages.Pong(),
    messages.Bye(),
    messages.Error(messages.Reason.BUSY),
    messages.Results((Result(bytes(16), 0, Status.ABSENT),)),
    messages.Deliver(bytes(8), bytes(16), "bob", b"x", None),
    messages.CaughtUp(),
    messages.Kept(1, (messages.Told(bytes(16), "bob", Status.EXPIRED, None),)),
    messages.Extent(bytes(16), 1, 2),
    messages.NoBlob(bytes(16), messages.Lack.QUOTA),
    messages.Piece(bytes(16), 0, b"x"),
]


def _raw(message: messages.Control | messages.Results | messages.Deliver | messages.Piece) -> frames.Frames:
    if isinstance(message, messages.Results):
        return frames.results(message.results)
    if isinstance(message, messages.Deliver):
        return frames.deliver(message.copy_id, message.mid, message.sender, message.common, message.wrap)
    if isinstance(message, messages.Piece):
        return frames.piece(message.blob, message.offset, message.data)
    return frames.control(message)


def _in_state(world: World, state: State) -> Session:
    client = world.make("alice")
    if state is not State.OFFLINE:
        world.begin(client)
        client.session.outgoing()
    if state in (State.PROVING, State.READY, State.LEAVING):
        client.session.receive(frames.control(messages.Challenge(bytes(32))), world.now)
    if state in (State.READY, State.LEAVING):
        client.session.receive(frames.control(messages.Welcome(1, "x", 0)), world.now)
    if state is State.LEAVING:
        client.session.say_bye()
    if state is State.REFUSED:
        client.session.receive(frames.control(messages.Error(messages.Reason.NAME_TAKEN)), world.now)
    assert client.session.state is state
    client.session.outgoing()
    return client.session


def test_the_messages_here_are_all_that_a_broker_says() -> None:
    assert {type(one) for one in FROM_BROKER} == set(messages.FromBroker.__args__)
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("message", FROM_BROKER, ids=lambda one: type(one).__name__)
def test_every_cell_of_the_table(world: World, state: State, message: messages.Control) -> None:
    session = _in_state(world, state)
    following = TRANSITIONS[state].get(type(message))  # type: ignore[arg-type]
    if following is None:
        with pytest.raises(RemoteProtocolError) as refused:
            session.receive(_raw(message), world.now)
        assert type(message).__name__ in str(refused.value)
        assert session.state is state
        assert session.outgoing() == []
    else:
        session.receive(_raw(message), world.now)
        busy = isinstance(message, messages.Error)
        assert session.state is (State.OFFLINE if busy else following)


# Heartbeat


def test_a_silent_session_pings_and_any_traffic_keeps_it(world: World) -> None:
    alice = world.join("alice")
    rounds = 10
    for _ in range(rounds):
        world.pass_time(HEARTBEAT)
        assert alice.session.tick(world.now) == []
        assert alice.session.tick(world.now) == []  # once for each interval
        assert alice.session.outgoing() == [[frames.PING]]
        alice.inbox.append(frames.control(messages.Pong()))
        world.settle()
        world.router.connections[alice.rid].seen = world.now.mono
    assert alice.session.state is State.READY


def test_a_silent_broker_is_given_up(world: World) -> None:
    alice = world.join("alice")
    world.pass_time(SILENCE_MAX)
    assert alice.session.tick(world.now) == []
    world.pass_time(0.001)
    assert alice.session.tick(world.now) == [Disconnected("the broker does not answer")]
    assert alice.session.state is State.OFFLINE
    assert alice.session.tick(world.now) == []


@pytest.mark.parametrize("state", [State.GREETED, State.PROVING])
def test_a_broker_that_goes_silent_at_the_login_is_given_up(world: World, state: State) -> None:
    session = _in_state(world, state)
    world.pass_time(SILENCE_MAX + 1)
    (event,) = session.tick(world.now)
    assert isinstance(event, Disconnected)


def test_a_ping_is_answered(world: World) -> None:
    alice = world.join("alice")
    alice.inbox.append([frames.PING])
    world.download(alice)
    assert alice.session.outgoing() == [frames.control(messages.Pong())]


def test_the_broker_ends_silent_clients(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    world.pass_time(SILENCE_MAX)
    world.take(bob.rid, bob.client_key, [frames.PING])
    world.pass_time(1)
    world.router.sweep(world.now)
    world.tick()
    assert isinstance(alice.events[-1], Disconnected)
    assert bob.session.state is State.READY
    assert bob.events[-1] == RosterChanged((), (_entry("alice"),), initial=False)


def test_goodbye(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    heard = list(alice.events)
    alice.session.say_bye()
    alice.session.say_bye()
    alice.inbox.append([frames.PING])
    world.download(alice)
    (said,) = alice.session.outgoing()
    assert said == frames.control(messages.Bye())
    world.take(alice.rid, alice.client_key, said)
    world.tick()
    assert alice.session.state is State.OFFLINE
    assert alice.events == heard
    assert bob.events[-1] == RosterChanged((), (_entry("alice"),), initial=False)
    world.router.farewell()
    world.tick()
    assert bob.events[-1:] == [Disconnected("the broker has closed the connection")]
    assert bob.session.state is State.OFFLINE


def test_what_was_read_is_acknowledged_before_the_goodbye(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    id_ = world.submit(bob, "hello", "alice")
    while not alice.inbox:
        world.upload(bob)
        world.download(bob)
    world.download(alice)
    alice.session.say_bye()
    world.settle()
    assert bob.last(id_) == {"alice": Outcome.DELIVERED}
    assert alice.session.state is State.OFFLINE


# Keys that change


def test_a_guests_new_key_is_news(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    world.say(alice, "one", "bob")
    world.say(bob, "two", "alice")
    world.lose(bob)
    world.clients.remove(bob)
    world.tick()
    again = world.join("bob", keys=keys_of("dave"))
    old, new = bob.session.me.kid, again.session.me.kid
    world.say(again, "it is me", "alice")
    assert [event for event in alice.events if isinstance(event, PeerKeyChanged)] == [
        PeerKeyChanged("bob", old, new, accepted=True)
    ]
    assert [one.message.trust for one in alice.messages] == [Trust.PINNED, Trust.RENEWED]
    id_ = world.say(alice, "who?", "bob")
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}
    assert alice.session.peers.trust_of("bob", new) is Trust.RENEWED


# Files


def test_what_is_said_of_files_goes_out_in_its_order_and_only_when_logged_in(world: World) -> None:
    session = _in_state(world, State.READY)
    one, other = frames.control(messages.Discard(bytes(16))), frames.piece(bytes(16), 0, b"x")
    session.put([one])
    session.put([other])
    assert session.outgoing() == [one, other]
    session.lost()
    session.put([one])
    assert session.outgoing() == []


SAID_OF_FILES = [one for one in FROM_BROKER if isinstance(one, messages.Extent | messages.NoBlob | messages.Piece)]


@pytest.mark.parametrize("said", SAID_OF_FILES, ids=lambda said: type(said).__name__)
def test_what_the_broker_says_of_files_is_handed_on(world: World, said: messages.Control | messages.Piece) -> None:
    assert _in_state(world, State.READY).receive(_raw(said), world.now) == [said]
