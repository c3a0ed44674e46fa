"""Hostile clients against the router, with honest users beside: each known trick by itself."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from core import frames, messages
from core.bundle import Kind, SignedBundle, sign_bundle
from core.encoding import b64url
from core.events import Disconnected, Outcome
from core.frames import Frames
from core.limits import LOGIN_TIME_MAX, UNPROVEN_MAX, USER_CONNECTIONS_MAX, WINDOW_BYTES, WINDOW_COPIES
from core.messages import Prove, Reason, Result, Status, Welcome
from core.rsa import Purpose, SigningKey
from tests.broker.raw import MALLORY, Raw, refusal
from tests.keys import Keys, keys_of
from tests.pairs import World

ALICE = keys_of("alice")


@pytest.fixture
def world() -> World:
    return World()


# Logins


def test_an_honest_login_by_hand_succeeds(world: World) -> None:
    raw = Raw.open(world)
    assert isinstance(raw.log_in(), Welcome)
    assert not raw.ended


def test_a_held_name_is_refused_and_its_holder_not_disturbed(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    raw = Raw.open(world)
    assert refusal(raw.log_in(raw.hello(user="alice"))) is Reason.NAME_TAKEN
    assert raw.ended
    world.tick()
    world.say(bob, "still you?", "alice")
    assert alice.texts() == [("bob", "still you?")]
    assert not [event for event in alice.events if isinstance(event, Disconnected)]


def test_somebody_elses_key_cannot_be_used(world: World) -> None:
    """With Alice's public key and bundle, but without her private key, in every way."""
    alice_hello = Raw.open(world).hello(ALICE, "alice")
    attempts: list[tuple[SigningKey, dict[str, Any]]] = [
        (MALLORY.signing, {}),
        (ALICE.signing, {"broker_key": bytes(32)}),  # she logged in elsewhere
        (ALICE.signing, {"client_key": bytes(32)}),  # … on another connection
        (ALICE.signing, {"broker_nonce": bytes(32)}),  # … at another time
        (ALICE.signing, {"client_nonce": b"x" * 32}),
        (ALICE.signing, {"user": "bob"}),
    ]
    for signing, changes in attempts:
        raw = Raw.open(world)
        assert refusal(raw.log_in(alice_hello, signing, **changes)) is Reason.LOGIN_FAILED
        assert raw.ended
    assert world.router.directory.present == 0
    assert isinstance(Raw.open(world).log_in(alice_hello, ALICE.signing), Welcome)


def test_a_proof_cannot_be_used_again(world: World) -> None:
    said: list[Frames] = []
    alice = world.make("alice")
    alice.to_broker = lambda raw: said.append(raw) or [raw]  # type: ignore[func-returns-value]
    world.connect(alice)
    world.lose(alice)
    raw = Raw.open(world)
    raw.say(said[0])
    (answer,) = raw.say(said[1])
    assert refusal(answer) is Reason.LOGIN_FAILED


def _bundle(keys: Keys, user: str = "mallory", kind: Kind = Kind.GUEST, now: float = 1.8e9) -> SignedBundle:
    return sign_bundle(user, kind, keys.signing, keys.opening.public, seq=1, now=now)


def test_bundles_that_do_not_belong_to_the_login_are_refused(world: World) -> None:
    even = bytearray(MALLORY.opening.public.spki)
    even[-6] &= 0xFE
    good = _bundle(MALLORY)
    body = good.body.replace(b64url(MALLORY.opening.public.spki).encode(), b64url(bytes(even)).encode())
    assert body != good.body
    bad: dict[str, SignedBundle | None] = {
        "another's": _bundle(ALICE),
        "for another name": _bundle(MALLORY, "alice"),
        "of another kind": _bundle(MALLORY, kind=Kind.PROFILE),
        "expired": _bundle(MALLORY, now=1e9),
        "not valid yet": _bundle(MALLORY, now=2e9),
        "with a key that nothing can be sealed to": SignedBundle(body, MALLORY.signing.sign(Purpose.BUNDLE, body)),
        "unsigned": SignedBundle(good.body, bytes(256)),
        "none, for one who is to receive": None,
    }
    for what, bundle in bad.items():
        raw = Raw.open(world)
        assert refusal(raw.log_in(raw.hello(bundle=bundle))) is Reason.LOGIN_FAILED, what
    assert world.router.directory.present == 0


def test_a_profile_and_an_unknown_version_are_refused(world: World) -> None:
    raw = Raw.open(world)
    profile = raw.hello(kind=Kind.PROFILE, bundle=_bundle(MALLORY, kind=Kind.PROFILE))
    assert refusal(raw.log_in(profile)) is Reason.LOGIN_FAILED
    raw = Raw.open(world)
    assert refusal(raw.log_in(raw.hello(versions=(2, 3)))) is Reason.VERSION


@pytest.mark.parametrize("what", ["send", "fanout", "ack", "lookup", "users", "prove", "ping"])
def test_nothing_works_before_the_login(world: World, what: str) -> None:
    alice = world.join("alice")
    said: dict[str, Frames] = {
        "send": frames.send(bytes(16), "alice", b"x"),
        "fanout": frames.fanout(bytes(16), ["alice"], b"x", [b"y"]),
        "ack": frames.ack([(bytes(8), bytes(32))]),
        "lookup": frames.control(messages.Lookup(("alice",))),
        "users": frames.control(messages.Users()),
        "prove": frames.control(Prove(bytes(256))),
        "ping": [frames.PING],
    }
    before = list(alice.events)
    raw = Raw.open(world)
    (answer,) = raw.say(said[what])
    assert refusal(answer) is Reason.NOT_LOGGED_IN
    assert raw.ended
    if what != "prove":
        greeted = Raw.open(world)
        greeted.say(frames.control(greeted.hello()))
        (answer,) = greeted.say(said[what])
        assert refusal(answer) is Reason.NOT_LOGGED_IN
        assert greeted.ended
    world.tick()
    assert alice.events == before


@pytest.mark.parametrize("again", ["hello", "prove"])
def test_a_second_login_on_one_connection_ends_it(world: World, again: str) -> None:
    raw = Raw.open(world)
    assert isinstance(raw.log_in(), Welcome)
    hello = raw.hello(user="bob")
    answers = raw.say(frames.control(hello if again == "hello" else Prove(bytes(256))))
    assert refusal(answers[-1]) is Reason.MALFORMED
    assert raw.ended
    assert world.router.directory.present == 0
    assert world.router.directory.holder("mallory") is None


def test_a_second_hello_before_the_proof_ends_the_login(world: World) -> None:
    raw = Raw.open(world)
    raw.say(frames.control(raw.hello()))
    (answer,) = raw.say(frames.control(raw.hello(user="alice")))
    assert refusal(answer) is Reason.NOT_LOGGED_IN
    assert raw.ended


def test_logins_are_bounded_in_number_and_time(world: World) -> None:
    first = Raw.open(world)
    hello = frames.control(first.hello())
    first.say(hello)
    crowd = [Raw.open(world) for _ in range(UNPROVEN_MAX)]
    answers = [one.say(hello)[0] for one in crowd]
    assert refusal(answers[-1]) is Reason.BUSY
    assert all(isinstance(one, messages.Challenge) for one in answers[:-1])
    world.pass_time(LOGIN_TIME_MAX + 0.1)
    world.router.sweep(world.now)
    world.tick()
    assert first.ended
    assert all(one.ended for one in crowd)
    world.join("alice")


def test_connections_of_one_user_are_bounded(world: World) -> None:
    crowd = [Raw.open(world) for _ in range(USER_CONNECTIONS_MAX)]
    assert all(isinstance(one.log_in(), Welcome) for one in crowd)
    assert refusal(Raw.open(world).log_in()) is Reason.BUSY


# Mail


def test_the_sender_of_a_message_is_who_logged_in(world: World) -> None:
    """Mallory sends Bob's own bytes on: the broker says that they are from Mallory, so Alice refuses them unopened."""
    alice, bob = world.join("alice"), world.join("bob")
    caught: list[Frames] = []
    bob.to_broker = lambda raw: caught.append(raw) or [] if raw[0][:1] == b"S" else [raw]  # type: ignore[func-returns-value]
    world.say(bob, "x", "alice")
    raw = Raw.open(world)
    raw.log_in()
    raw.say(caught[0])
    world.settle()
    assert [(one.sender, one.stage) for one in alice.refusals] == [("mallory", "route")]
    assert alice.messages == []
    assert alice.keys.opening.operations == 0


def test_copies_of_others_cannot_be_acknowledged(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    held: list[Frames] = []
    bob.to_broker = lambda raw: held.append(raw) or [] if raw[0][:1] == b"A" else [raw]  # type: ignore[func-returns-value]
    id_ = world.say(alice, "x", "bob")
    raw = Raw.open(world)
    raw.log_in()
    for proof in (frames.NO_PROOF, os.urandom(32)):
        raw.say(frames.ack([(number.to_bytes(8, "big"), proof) for number in range(500)]))
    world.settle()
    assert alice.last(id_) == {"bob": Outcome.SENT}
    assert not raw.ended
    world.take(bob.rid, bob.client_key, held[0])
    world.settle()
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}
    world.take(bob.rid, bob.client_key, held[0])  # a second time changes nothing
    world.settle()
    assert alice.outcomes(id_)["bob"].count(Outcome.DELIVERED) == 1


@pytest.mark.parametrize(
    "lie",
    [
        [b"F" + bytes(16), b"c", b"alice,bob", b"one"],
        [b"F" + bytes(16), b"c", b"alice", b"one", b"two"],
        [b"F" + bytes(16), b"c", b"alice,alice", b"one", b"two"],
        [b"F" + bytes(16), b"c", b"alice,", b"one", b"two"],
        [b"F" + bytes(16), b"c", b"alice,everyone", b"one", b"two"],
        [b"F" + bytes(15), b"c", b"alice", b"one"],
        [b"F" + bytes(16), b"c", b"alice"],
        [b"F" + bytes(16), b"c", b"", b"one"],
        [b"F" + bytes(16), b"c", b",".join(b"u%d" % at for at in range(257)), *[b"w"] * 257],
        [b"S" + bytes(16) + b"alice", b"c", b"wrap"],
        [b"S" + bytes(16) + b"everyone", b"c"],
        [b"S" + bytes(16), b"c"],
        [b"S", b"c"],
        [b"D" + bytes(24) + b"bob", b"c"],
        [b"A" + bytes(39)],
        [b"A"],
        [b"R" + bytes(19)],
        [],
        [b""],
    ],
)
def test_mail_that_lies_about_itself_ends_its_connection_and_reaches_nobody(world: World, lie: Frames) -> None:
    alice = world.join("alice")
    raw = Raw.open(world)
    raw.log_in()
    world.tick()
    before = list(alice.events)
    assert refusal(raw.say(lie)[-1]) is Reason.MALFORMED
    assert raw.ended
    world.settle()
    assert alice.events == before


def test_a_fan_out_is_answered_place_by_place(world: World) -> None:
    alice, _ = world.join("alice"), world.join("bob")
    raw = Raw.open(world)
    raw.log_in()
    mid = os.urandom(16)
    answers = raw.say(frames.fanout(mid, ["nobody", "alice", "bob"], b"common", [b"1", b"2", b"3"]))
    assert answers[-1] == messages.Results((Result(mid, 0, Status.ABSENT),))
    world.settle()
    assert [one.stage for one in alice.refusals] == ["parse"]


def test_a_client_that_never_acknowledges_is_bounded(world: World) -> None:
    raw = Raw.open(world)
    raw.log_in()
    sender = Raw.open(world)
    sender.log_in(sender.hello(keys_of("bob"), "bob"), keys_of("bob").signing)
    big = bytes(64 * 1024)
    statuses: Counter[Status] = Counter()
    for number in range(WINDOW_BYTES // len(big) + 10):
        for answer in sender.say(frames.send(number.to_bytes(16, "big"), "mallory", big)):
            if isinstance(answer, messages.Results):
                statuses.update(one.status for one in answer.results)
    assert statuses == {Status.FULL: 10}
    connection = world.router.connections[raw.rid]
    assert connection.bytes_out <= WINDOW_BYTES
    raw.say(frames.ack([(number.to_bytes(8, "big"), frames.NO_PROOF) for number in connection.copies]))
    assert (connection.bytes_out, connection.copies) == (0, {})
    for number in range(WINDOW_COPIES + 10):
        sender.say(frames.send(number.to_bytes(16, "big"), "mallory", b""))
    assert len(connection.copies) == WINDOW_COPIES
