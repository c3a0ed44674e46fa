"""Hostile clients against the router, with honest users beside: more than 10,000 pieces of input, and each known trick."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest

from core import frames
from core.bundle import Kind, SignedBundle, sign_bundle
from core.encoding import b64url
from core.events import Disconnected, MessageReceived, Outcome
from core.frames import Error, Frames, Hello, Mode, Prove, Reason, Result, Status, Welcome
from core.limits import LOGIN_TIME_MAX, UNPROVEN_MAX, USER_CONNECTIONS_MAX, WINDOW_BYTES, WINDOW_COPIES
from core.login import LoginContext, prove
from core.rsa import Purpose, SigningKey
from tests.hostile import Boom, Forger, controls, noise, nonsense, pickled
from tests.keys import BROKER_KEY, Keys, keys_of
from tests.pairs import Client, World

ROUNDS = 3_500
SEEDS = [1, 2, 3]
MALLORY, ALICE = keys_of("mallory"), keys_of("alice")


@pytest.fixture
def world() -> World:
    return World()


@dataclass
class Raw:
    """A connection whose frames are made by hand."""

    world: World
    rid: bytes
    client_key: bytes

    @classmethod
    def open(cls, world: World) -> Raw:
        return cls(world, os.urandom(5), os.urandom(32))

    def say(self, raw: Frames) -> list[object]:
        """Send one message; returns what came back."""
        self.world.take(self.rid, self.client_key, raw)
        return [frames.read_from_broker(one) for one in self.world.said.pop(self.rid, [])]

    def hello(self, keys: Keys = MALLORY, user: str = "mallory", **changes: Any) -> Hello:
        bundle = sign_bundle(user, Kind.GUEST, keys.signing, keys.opening.public, seq=1, now=self.world.now.wall)
        plain = Hello((1,), Mode.FULL, user, Kind.GUEST, keys.signing.public.spki, bundle, bytes(32))
        return Hello(**{**{name: getattr(plain, name) for name in plain.__struct_fields__}, **changes})

    def log_in(self, hello: Hello | None = None, signing: SigningKey | None = None, **changes: Any) -> object:
        """Go through a login; returns the broker's last word on it. ``changes`` are to what is signed."""
        hello = hello or self.hello()
        (challenge,) = self.say(frames.control(hello))
        if not isinstance(challenge, frames.Challenge):
            return challenge
        context = LoginContext(BROKER_KEY, self.client_key, hello.nonce, challenge.nonce, hello.user)
        signature = prove(signing or MALLORY.signing, replace(context, **changes))
        return self.say(frames.control(Prove(signature)))[0]

    @property
    def ended(self) -> bool:
        return self.rid in self.world.cut


def _refusal(answer: object) -> Reason:
    assert isinstance(answer, Error)
    return answer.reason


# Logins


def test_an_honest_login_by_hand_succeeds(world: World) -> None:
    raw = Raw.open(world)
    assert isinstance(raw.log_in(), Welcome)
    assert not raw.ended


def test_a_held_name_is_refused_and_its_holder_not_disturbed(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    raw = Raw.open(world)
    assert _refusal(raw.log_in(raw.hello(user="alice"))) is Reason.NAME_TAKEN
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
        assert _refusal(raw.log_in(alice_hello, signing, **changes)) is Reason.LOGIN_FAILED
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
    assert _refusal(answer) is Reason.LOGIN_FAILED


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
        assert _refusal(raw.log_in(raw.hello(bundle=bundle))) is Reason.LOGIN_FAILED, what
    assert world.router.directory.present == 0


def test_a_profile_and_an_unknown_version_are_refused(world: World) -> None:
    raw = Raw.open(world)
    profile = raw.hello(kind=Kind.PROFILE, bundle=_bundle(MALLORY, kind=Kind.PROFILE))
    assert _refusal(raw.log_in(profile)) is Reason.LOGIN_FAILED
    raw = Raw.open(world)
    assert _refusal(raw.log_in(raw.hello(versions=(2, 3)))) is Reason.VERSION


@pytest.mark.parametrize("what", ["send", "fanout", "ack", "lookup", "users", "prove", "ping"])
def test_nothing_works_before_the_login(world: World, what: str) -> None:
    alice = world.join("alice")
    said: dict[str, Frames] = {
        "send": frames.send(bytes(16), "alice", b"x"),
        "fanout": frames.fanout(bytes(16), ["alice"], b"x", [b"y"]),
        "ack": frames.ack([(bytes(8), bytes(32))]),
        "lookup": frames.control(frames.Lookup(("alice",))),
        "users": frames.control(frames.Users()),
        "prove": frames.control(Prove(bytes(256))),
        "ping": [frames.PING],
    }
    before = list(alice.events)
    raw = Raw.open(world)
    (answer,) = raw.say(said[what])
    assert _refusal(answer) is Reason.NOT_LOGGED_IN
    assert raw.ended
    if what != "prove":
        greeted = Raw.open(world)
        greeted.say(frames.control(greeted.hello()))
        (answer,) = greeted.say(said[what])
        assert _refusal(answer) is Reason.NOT_LOGGED_IN
        assert greeted.ended
    world.tick()
    assert alice.events == before


@pytest.mark.parametrize("again", ["hello", "prove"])
def test_a_second_login_on_one_connection_ends_it(world: World, again: str) -> None:
    raw = Raw.open(world)
    assert isinstance(raw.log_in(), Welcome)
    hello = raw.hello(user="bob")
    answers = raw.say(frames.control(hello if again == "hello" else Prove(bytes(256))))
    assert _refusal(answers[-1]) is Reason.MALFORMED
    assert raw.ended
    assert world.router.directory.present == 0
    assert world.router.directory.holder("mallory") is None


def test_a_second_hello_before_the_proof_ends_the_login(world: World) -> None:
    raw = Raw.open(world)
    raw.say(frames.control(raw.hello()))
    (answer,) = raw.say(frames.control(raw.hello(user="alice")))
    assert _refusal(answer) is Reason.NOT_LOGGED_IN
    assert raw.ended


def test_logins_are_bounded_in_number_and_time(world: World) -> None:
    first = Raw.open(world)
    hello = frames.control(first.hello())
    first.say(hello)
    crowd = [Raw.open(world) for _ in range(UNPROVEN_MAX)]
    answers = [one.say(hello)[0] for one in crowd]
    assert _refusal(answers[-1]) is Reason.BUSY
    assert all(isinstance(one, frames.Challenge) for one in answers[:-1])
    world.pass_time(LOGIN_TIME_MAX + 0.1)
    world.router.sweep(world.now)
    world.tick()
    assert first.ended
    assert all(one.ended for one in crowd)
    world.join("alice")


def test_connections_of_one_user_are_bounded(world: World) -> None:
    crowd = [Raw.open(world) for _ in range(USER_CONNECTIONS_MAX)]
    assert all(isinstance(one.log_in(), Welcome) for one in crowd)
    assert _refusal(Raw.open(world).log_in()) is Reason.BUSY


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
    assert _refusal(raw.say(lie)[-1]) is Reason.MALFORMED
    assert raw.ended
    world.settle()
    assert alice.events == before


def test_a_fan_out_is_answered_place_by_place(world: World) -> None:
    alice, _ = world.join("alice"), world.join("bob")
    raw = Raw.open(world)
    raw.log_in()
    mid = os.urandom(16)
    answers = raw.say(frames.fanout(mid, ["nobody", "alice", "bob"], b"common", [b"1", b"2", b"3"]))
    assert answers[-1] == frames.Results((Result(mid, 0, Status.ABSENT),))
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
            if isinstance(answer, frames.Results):
                statuses.update(one.status for one in answer.results)
    assert statuses == {Status.FULL: 10}
    connection = world.router.connections[raw.rid]
    assert connection.bytes_out <= WINDOW_BYTES
    raw.say(frames.ack([(number.to_bytes(8, "big"), frames.NO_PROOF) for number in connection.copies]))
    assert (connection.bytes_out, connection.copies) == (0, {})
    for number in range(WINDOW_COPIES + 10):
        sender.say(frames.send(number.to_bytes(16, "big"), "mallory", b""))
    assert len(connection.copies) == WINDOW_COPIES


# All at once


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
