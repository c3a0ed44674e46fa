"""Messages told again, in another order, under another number, or as if they had never been."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.store import Store
from core import frames
from core.bundle import Suite
from core.content import Text, encode_content
from core.encoding import b64url
from core.events import MessageReceived, Outcome
from core.frames import Frames
from core.identity import guest_identity
from core.limits import REPLAY_MEMORY_MS
from core.memory import Memory, SessionMemory
from core.messages import Result, Status
from core.order import Place
from tests.attacks.lies import SUITES, Town, delivery_of, draft, fields, profile_identity, record, stages
from tests.keys import keys_of
from tests.pairs import Client


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Store]:
    store = Store(path, bytes(32))
    try:
        yield store
    finally:
        store.close()


def acks(town: Town, client: Client) -> list[tuple[bytes, bytes]]:
    """The (copy id, proof) pairs that the client has to say."""
    return [pair for raw in client.session.outgoing() if raw[0][:1] == b"A" for pair in frames.ack_items(raw[0])]


def places(client: Client) -> list[Place]:
    return [event.message.place for event in client.events if isinstance(event, MessageReceived)]


# Replays


@SUITES
def test_it_was_said_twice_within_a_connection(suite: Suite) -> None:
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")
    copies = record(bob)
    id_ = town.say(alice, "once", "bob", suite=suite)
    (first,) = copies
    operations = bob.keys.opening.operations
    for copy in range(3):
        town.hand(bob, [first[0][:1] + copy.to_bytes(8, "big") + first[0][9:], *first[1:]])
    assert bob.texts() == [("alice", "once")]
    assert bob.keys.opening.operations == operations
    proofs = [proof for _, proof in acks(town, bob)]
    assert len(proofs) == 3
    assert len(set(proofs)) == 1  # the proof that was given the first time, for a sender who missed it
    assert proofs[0] != frames.NO_PROOF
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}


@SUITES
def test_it_was_said_again_after_a_reconnect(suite: Suite) -> None:
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")
    copies = record(bob)
    town.say(alice, "once", "bob", suite=suite)
    town.lose(bob)
    town.connect(bob)
    town.pass_time(31 * 24 * 3600)
    town.hand(bob, copies[0])
    assert bob.texts() == [("alice", "once")]
    town.pass_time(1)
    town.hand(bob, copies[0])  # forgotten by nobody yet, and too old by now
    assert (bob.texts(), stages(bob)) == ([("alice", "once")], ["freshness"])


@SUITES
def test_it_was_said_again_after_a_restart_of_the_client(tmp_path: Path, suite: Suite) -> None:
    town = Town()
    alice = town.join_profile("alice")
    with opened(tmp_path / "profile.db") as store:
        bob = town.join_profile("bob", store)
        copies = record(bob)
        town.say(alice, "once", "bob", suite=suite)
        assert bob.texts() == [("alice", "once")]
        proof = store.taken(alice.keys.signing.public.kid, delivery_of(copies[0]).mid)
        town.lose(bob)
        town.clients.remove(bob)
    with opened(tmp_path / "profile.db") as store:
        again = town.join_profile("bob", store)
        town.hand(again, copies[0])
        assert (again.texts(), again.keys.opening.operations) == ([], 0)
        assert [told for _, told in acks(town, again)] == [proof]


def memories() -> list[object]:
    return [pytest.param(False, id="guest"), pytest.param(True, id="profile")]


@contextlib.contextmanager
def memory_of(path: Path, *, lasting: bool) -> Iterator[Memory]:
    if not lasting:
        yield SessionMemory()
        return
    with opened(path / "profile.db") as store:
        yield store


@pytest.mark.parametrize("lasting", memories())
def test_enough_messages_make_one_forgotten(tmp_path: Path, lasting: bool) -> None:
    """Many messages do not push an earlier one out of the memory: only time does, when it is too old to be taken at all."""
    town = Town()
    with memory_of(tmp_path, lasting=lasting) as memory:
        bob = town.enter(profile_identity("bob"), memory, keys_of("bob"))
        town.connect(bob)
        kid = keys_of("alice").signing.public.kid
        began = town.now
        _numbered(town, bob, 1)
        for at in range(300):
            town.hand(bob, frames.deliver(bytes(8), os.urandom(16), "alice", b"", None))
            assert len(stages(bob)) == at + 1
        town.pass_time(30 * 24 * 3600)
        _numbered(town, bob, 2)
        _numbered(town, bob, 1, ts=began.ms)
        town.pass_time(REPLAY_MEMORY_MS / 1000 - 30 * 24 * 3600 + 1)
        _numbered(town, bob, 3)
        assert bob.texts() == [("alice", "1"), ("alice", "2"), ("alice", "3")]
        assert [memory.taken(kid, n.to_bytes(16, "big")) is not None for n in (1, 2, 3)] == [False, True, True]
        _numbered(town, bob, 1, ts=began.ms)
        assert stages(bob)[-1] == "freshness"


def test_mallory_said_it_first_under_the_same_id() -> None:
    """Another user takes the mid of a message on its way: the two do not get in each other's way."""
    town = Town()
    alice, bob, mallory = (town.join(name) for name in ("alice", "bob", "mallory"))
    copies = record(bob, deliver=False)
    id_ = town.submit(alice, "mine", "bob")
    town.settle()
    mallory.events += mallory.session.submit(
        id_, Text("mine, says mallory"), ("bob",), everyone=False, suite=Suite.HYBRID, now=town.now
    )
    town.settle()
    for raw in reversed(copies):
        town.hand(bob, raw)
    town.settle()
    assert bob.texts() == [("mallory", "mine, says mallory"), ("alice", "mine")]
    assert (alice.last(id_), mallory.last(id_)) == ({"bob": Outcome.DELIVERED}, {"bob": Outcome.DELIVERED})


# Order


def _numbered(
    town: Town, bob: Client, *numbers: int, mids: list[int] | None = None, sid: bytes = bytes(16), ts: int = 0
) -> None:
    """Alice's messages under these numbers, made by whoever has her signing key."""
    for at, n in enumerate(numbers):
        one = draft(
            Suite.HYBRID,
            mid=(mids[at] if mids else n).to_bytes(16, "big"),
            sid=sid,
            ts=ts or town.now.ms,
            plain=encode_content(Text(f"{n}")),
            header=fields(to=[["bob", b64url(keys_of("bob").opening.public.kid), n]]),
        )
        town.hand_delivery(bob, one.make().delivery())


@pytest.mark.parametrize("lasting", memories())
def test_what_was_dropped_never_was(tmp_path: Path, lasting: bool) -> None:
    town = Town()
    with memory_of(tmp_path, lasting=lasting) as memory:
        bob = town.enter(profile_identity("bob"), memory, keys_of("bob"))
        town.connect(bob)
        _numbered(town, bob, 1, 4)
        assert places(bob) == [Place(), Place(missing=2)]
        # … and when it comes after all, it does not stand where it would have stood.
        _numbered(town, bob, 3, 2, 5)
        assert places(bob)[2:] == [Place(late=True), Place(late=True), Place()]


@pytest.mark.parametrize("lasting", memories())
def test_the_last_came_first(tmp_path: Path, lasting: bool) -> None:
    town = Town()
    with memory_of(tmp_path, lasting=lasting) as memory:
        bob = town.enter(profile_identity("bob"), memory, keys_of("bob"))
        town.connect(bob)
        _numbered(town, bob, 3, 1, 2)
        assert places(bob) == [Place(missing=2), Place(late=True), Place(late=True)]


@pytest.mark.parametrize("lasting", memories())
def test_the_same_number_says_two_things(tmp_path: Path, lasting: bool) -> None:
    """A fork: a thief of the signing key, or a copy of the profile, wrote under a number that was used."""
    town = Town()
    with memory_of(tmp_path, lasting=lasting) as memory:
        bob = town.enter(profile_identity("bob"), memory, keys_of("bob"))
        town.connect(bob)
        _numbered(town, bob, 1, 2, 2, 1, mids=[1, 2, 12, 11])
        assert places(bob) == [Place(), Place(), Place(fork=True), Place(fork=True)]


def test_order_begins_anew_after_a_restart(tmp_path: Path) -> None:
    """What a profile has seen of an order, and that two were under one number, outlives its program."""
    town = Town()
    for numbers, mids, expected in (
        ([1, 2, 5], [1, 2, 5], [Place(), Place(), Place(missing=2)]),
        ([2, 4, 7], [12, 4, 7], [Place(fork=True), Place(late=True), Place(missing=1)]),
    ):
        with opened(tmp_path / "profile.db") as store:
            bob = town.enter(profile_identity("bob"), store, keys_of("bob"))
            town.connect(bob)
            _numbered(town, bob, *numbers, mids=mids)
            assert places(bob) == expected
            town.lose(bob)
            town.clients.remove(bob)


def test_one_session_continues_another() -> None:
    """Numbers belong to one sid: a sender's new session begins at 1 and is no gap, no fork and no replay."""
    town = Town()
    bob = town.join("bob")
    _numbered(town, bob, 1, 2)
    _numbered(town, bob, 1, 2, mids=[11, 12], sid=b"\1" * 16)
    assert places(bob) == [Place()] * 4


def test_mallory_gave_up_what_alice_is_still_to_say() -> None:
    """A sender tells of numbers it gave up; it can do so for nobody's numbers but its own."""
    town = Town()
    mallory, bob = town.join("mallory"), town.join("bob")
    _numbered(town, bob, 1)
    void = Text("nothing to see", tuple(("bob", n) for n in range(2, 9)))
    one = draft(Suite.HYBRID, sender="mallory", plain=encode_content(void), ts=town.now.ms)
    town.hand_delivery(bob, one.make().delivery())
    _numbered(town, bob, 4)
    assert places(bob)[-1] == Place(missing=2)
    assert mallory.texts() == []


# Whose answer it is


def test_the_broker_proves_a_delivery_that_was_none() -> None:
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")
    before = bob.to_client
    for proof in (bytes(32), b"\1" * 32, os.urandom(32)):
        record(bob, deliver=False)
        id_ = town.say(alice, "never arrives", "bob")
        town.hand(alice, frames.results([Result(id_, 0, Status.DELIVERED, proof)]))
        assert alice.last(id_) == {"bob": Outcome.UNPROVEN}  # the broker's word, which counts for nothing
    assert not Outcome.UNPROVEN.safe
    bob.to_client = before
    town.say(alice, "arrives", "bob")
    assert places(bob) == [Place(missing=3)]  # the lie does not keep bob from seeing that something is missing


def test_the_proof_of_one_message_is_the_proof_of_another() -> None:
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")
    proofs: list[bytes] = []

    def listen(raw: Frames) -> list[Frames]:
        if raw[0][:1] == b"A":
            proofs.extend(proof for _, proof in frames.ack_items(raw[0]))
        return [raw]

    bob.to_broker = listen
    first = town.say(alice, "arrives", "bob")
    assert alice.last(first) == {"bob": Outcome.DELIVERED}
    record(bob, deliver=False)
    second = town.say(alice, "never arrives", "bob")
    town.hand(alice, frames.results([Result(second, 0, Status.DELIVERED, proofs[0])]))
    assert alice.last(second) == {"bob": Outcome.UNPROVEN}


def test_one_recipients_proof_is_anothers() -> None:
    town = Town()
    alice, bob, carol = (town.join(name) for name in ("alice", "bob", "carol"))
    proofs: list[bytes] = []

    def listen(raw: Frames) -> list[Frames]:
        if raw[0][:1] == b"A":
            proofs.extend(proof for _, proof in frames.ack_items(raw[0]))
        return [raw]

    bob.to_broker = listen
    record(carol, deliver=False)
    id_ = town.say(alice, "hello", "bob", "carol", everyone=True)
    place = ["bob", "carol"].index("carol")
    town.hand(alice, frames.results([Result(id_, place, Status.DELIVERED, proofs[0])]))
    assert alice.last(id_) == {"bob": Outcome.DELIVERED, "carol": Outcome.UNPROVEN}


def test_mallory_acknowledges_what_is_bobs() -> None:
    """Copy ids can be guessed; an acknowledgement counts only from a connection that was given the copy."""
    town = Town()
    alice, bob, mallory = (town.join(name) for name in ("alice", "bob", "mallory"))
    record(bob, deliver=False)
    id_ = town.say(alice, "for bob", "bob")
    town.take(mallory.rid, mallory.client_key, frames.ack([(n.to_bytes(8, "big"), b"\1" * 32) for n in range(500)]))
    town.settle()
    assert alice.last(id_) == {"bob": Outcome.SENT}
    assert not mallory.session.outgoing()


def test_a_result_about_what_was_never_sent() -> None:
    town = Town()
    alice = town.join("alice")
    town.join("bob")
    id_ = town.say(alice, "hello", "bob")
    before = list(alice.events)
    for mid, place in ((os.urandom(16), 0), (id_, 0), (id_, 1), (id_, 65535)):
        for status in Status:
            town.hand(alice, frames.results([Result(mid, place, status, bytes(32) if status is Status.DELIVERED else None)]))
    assert alice.events == before


def test_a_guests_next_session_is_the_one_before() -> None:
    """A guest's copy is sealed to keys that died with its session: handed to the next one, it opens nothing."""
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")
    copies = record(bob)
    town.say(alice, "once", "bob")
    town.lose(bob)
    keys = keys_of("carol")
    again = town.enter(guest_identity("bob", keys.signing, keys.opening, sid=os.urandom(16), now=town.now.wall), None, keys)
    town.connect(again)
    town.hand(again, copies[0])
    assert (again.texts(), stages(again), keys.opening.operations) == ([], ["recipient"], 0)
