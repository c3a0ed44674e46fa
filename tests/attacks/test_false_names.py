"""Logins and names that are not the liar's, and doors that are not open to them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from broker.ledger import Claimed, Released
from core import frames, messages
from core.bundle import Kind
from core.encoding import b64url
from core.errors import BadSignature, LoginRefused, NameTaken, RemoteProtocolError
from core.events import Outcome, Refused
from core.frames import Frames
from core.login import LoginContext, check_proof, prove
from core.messages import Challenge, Mode, Prove, Reason, Renew, Welcome
from core.rsa import Purpose
from core.session import Session
from core.states import State
from tests.attacks.lies import Town, at, bundle, profile_identity
from tests.broker.raw import refusal
from tests.keys import BROKER_KEY, keys_of
from tests.pairs import Client

ALICE, BOB, MALLORY = (keys_of(name) for name in ("alice", "bob", "mallory"))
INVITE = bytes(range(100, 132))
DAY = 24 * 3600


def why(client: Client) -> LoginRefused:
    (refused,) = (event.error for event in client.events if isinstance(event, Refused))
    return refused


# The proof


def test_a_login_at_mallorys_broker_is_one_at_ours() -> None:
    """Alice connects to a broker of mallory's, which relays every frame of her login to ours."""
    town = Town()
    theirs = hashlib.sha256(b"mallory's broker").digest()
    session = Session(profile_identity("alice"), Mode.FULL, theirs, random=os.urandom)
    for relay_key in (os.urandom(32), None):
        session.lost()
        client_key = os.urandom(32)
        session.connect(client_key, town.now)
        relay = at(town, relay_key or client_key)  # even if it could have her CURVE key
        (hello,) = session.outgoing()
        (challenge,) = relay.say(hello)
        assert isinstance(challenge, Challenge)
        session.receive(frames.control(challenge), town.now)
        (proof,) = session.outgoing()
        assert refusal(relay.say(proof)[0]) is Reason.LOGIN_FAILED
    assert town.ledger.owner("alice") is None


def test_a_login_of_yesterday_is_one_of_today() -> None:
    town = Town()
    spoken: list[Frames] = []
    alice = town.make("alice")
    alice.to_broker = lambda raw: spoken.append(raw) or [raw]  # type: ignore[func-returns-value]
    town.connect(alice)
    town.lose(alice)
    for key in (alice.client_key, os.urandom(32)):
        again = at(town, key)
        (challenge,) = again.say(spoken[0])
        assert isinstance(challenge, Challenge)
        assert refusal(again.say(spoken[1])[0]) is Reason.LOGIN_FAILED


def test_the_broker_asks_again_what_was_answered() -> None:
    """A challenge replayed gets no second signature in one login, and in another login another one."""
    town = Town()
    session = Session(profile_identity("alice"), Mode.FULL, BROKER_KEY, random=os.urandom)
    challenge = frames.control(Challenge(bytes(32)))
    proofs = []
    for _ in range(2):
        session.connect(bytes(32), town.now)
        session.outgoing()
        session.receive(challenge, town.now)
        (raw,) = session.outgoing()
        proofs.append(frames.read_from_client(raw))
        with pytest.raises(RemoteProtocolError):
            session.receive(challenge, town.now)
        assert not session.outgoing()
        session.lost()
    assert proofs[0] != proofs[1]


def test_any_part_of_a_login_was_another() -> None:
    context = LoginContext(bytes(32), b"\1" * 32, b"\2" * 32, b"\3" * 32, "alice")
    proof = prove(ALICE.signing, context)
    check_proof(ALICE.signing.public, context, proof)
    others: list[tuple[str, Any]] = [
        ("broker_key", b"\1" * 32), ("client_key", bytes(32)), ("client_nonce", b"\3" * 32), ("broker_nonce", b"\2" * 32),
        ("user", "alicf"), ("user", "alic"),
    ]  # fmt: skip
    for name, other in others:
        with pytest.raises(BadSignature):
            check_proof(ALICE.signing.public, replace(context, **{name: other}), proof)
    for purpose in Purpose:
        if purpose is not Purpose.LOGIN:
            with pytest.raises(BadSignature):
                check_proof(
                    ALICE.signing.public, context, ALICE.signing.sign(purpose, context.payload(ALICE.signing.public.kid))
                )


def test_mallory_has_alices_key() -> None:
    """Her public key and bundle, his signature; his key, her bundle; his key and bundle, her kind."""
    town = Town()
    hers, his = (bundle("alice", keys, kind=Kind.PROFILE) for keys in (ALICE, MALLORY))
    for hello, signing in (
        (at(town).hello(ALICE, "alice"), MALLORY.signing),
        (at(town).hello(MALLORY, "alice", bundle=hers), MALLORY.signing),
        (at(town).hello(MALLORY, "alice", bundle=hers, kind=Kind.PROFILE, curve=bytes(32)), MALLORY.signing),
        (at(town).hello(MALLORY, "alice", bundle=his), MALLORY.signing),
        (at(town).hello(MALLORY, "alice", bundle=bundle("mallory", MALLORY)), MALLORY.signing),
        (at(town).hello(MALLORY, "alice", bundle=None), MALLORY.signing),
        (at(town).hello(MALLORY, "alice", kind=Kind.PROFILE, bundle=his), MALLORY.signing),
        (at(town).hello(MALLORY, "alice", bundle=bundle("alice", MALLORY, now=town.now.wall - 40 * DAY)), MALLORY.signing),
    ):  # fmt: skip
        assert refusal(at(town).log_in(hello, signing)) is Reason.LOGIN_FAILED
    assert not town.log


def test_nobody_speaks_before_the_login() -> None:
    town = Town()
    alice = town.join("alice")
    for raw in (
        frames.send(bytes(16), "alice", b"x" * 300),
        frames.fanout(bytes(16), ["alice"], b"x" * 300, [b"w" * 256]),
        frames.control(messages.Lookup(("alice",))),
        frames.control(messages.Users()),
        frames.ack([(bytes(8), bytes(32))]),
        frames.control(Renew(bundle("alice", MALLORY))),
        frames.control(Prove(bytes(256))),
    ):
        stranger = at(town)
        assert refusal(stranger.say(raw)[0]) is Reason.NOT_LOGGED_IN
        assert stranger.ended
        between = at(town)
        between.say(frames.control(between.hello()))
        answer = between.say(raw)[0]
        assert refusal(answer) in (Reason.NOT_LOGGED_IN, Reason.LOGIN_FAILED)
    assert not alice.messages


# One name


def test_two_profiles_are_alice_in_a_race() -> None:
    """Neither claim is on disk when the other comes; one of the two gets the name, and only once it is."""
    town = Town()
    town.log_waits = True
    alice, mallory = town.profile("alice"), town.profile("alice", keys=MALLORY)
    town.begin(alice)
    town.begin(mallory)
    town.settle()
    assert not alice.events  # not before it is safe
    assert isinstance(why(mallory), NameTaken)
    town.commit()
    town.settle()
    assert alice.session.state is State.READY
    assert [event.kid for event in town.log if isinstance(event, Claimed)] == [b64url(ALICE.signing.public.kid)]


def test_one_profile_is_two_in_a_race() -> None:
    """Two connections of one profile, and a proof that comes twice, before its claim is on disk: one claim, no rival."""
    town = Town()
    town.log_waits = True
    first, second = town.profile("alice"), town.profile("alice")
    said: list[Frames] = []
    first.to_broker = lambda raw: said.append(raw) or [raw, raw] if raw[0][:1] == b"P" else [raw]  # type: ignore[func-returns-value]
    for client in (first, second):
        town.begin(client)
        town.settle()
    assert len(said) == 1
    assert len(town.unsafe) == 1
    town.commit()
    town.settle()
    assert [client.session.state for client in (first, second)] == [State.READY, State.READY]


def test_another_process_claims_the_name_first() -> None:
    """The log is what counts: a claim that stands before ours in it wins, whoever asked first."""
    town = Town()
    town.log_waits = True
    mallory = town.profile("alice", keys=MALLORY)
    town.begin(mallory)
    town.settle()
    town.commit(Claimed("alice", b64url(ALICE.signing.public.kid), b64url(bytes(32)), None, 1))
    town.settle()
    assert isinstance(why(mallory), NameTaken)
    owner = town.ledger.owner("alice")
    assert owner is not None
    assert owner.kid == b64url(ALICE.signing.public.kid)


@pytest.mark.parametrize("stays", [True, False])
def test_a_guest_is_alice_while_her_claim_is_written(stays: bool) -> None:
    """Also when she has gone again before it is on disk: the claim is in the log all the same."""
    town = Town()
    town.log_waits = True
    alice = town.profile("alice")
    town.begin(alice)
    town.settle()
    if not stays:
        town.lose(alice)
    guest = town.make("alice", keys=MALLORY)
    town.begin(guest)
    town.settle()
    assert isinstance(why(guest), NameTaken)
    town.commit()
    town.settle()
    assert (alice.session.state is State.READY) is stays
    assert town.ledger.owner("alice") is not None


def test_a_guest_is_alice_while_she_is_away() -> None:
    town = Town()
    alice = town.join_profile("alice")
    town.lose(alice)
    for keys in (MALLORY, ALICE):  # not even with her key: that would be another kind of alice
        guest = town.make("alice", keys=keys)
        town.begin(guest)
        town.settle()
        assert isinstance(why(guest), NameTaken)
    other = town.profile("alice", keys=MALLORY)
    town.begin(other)
    town.settle()
    assert isinstance(why(other), NameTaken)
    town.connect(alice)


def test_a_profile_takes_the_name_of_a_guest_who_is_here() -> None:
    town = Town()
    guest = town.join("alice")
    mallory = town.profile("alice", keys=MALLORY)
    town.begin(mallory)
    town.settle()
    assert isinstance(why(mallory), NameTaken)
    assert guest.session.state is State.READY
    assert town.ledger.owner("alice") is None


def test_a_released_name_is_still_the_old_owners() -> None:
    town = Town()
    alice = town.join_profile("alice")
    town.commit(Released("alice", 2))
    town.lose(alice)
    town.join_profile("alice", keys=MALLORY)
    town.begin(alice)
    town.settle()
    assert isinstance(why(alice), NameTaken)


def test_a_name_that_is_none_logs_in() -> None:
    town = Town()
    for name in ("everyone", "Alice", "a/b", "..", "a" * 33):
        stranger = at(town)
        assert refusal(stranger.say(frames.control(stranger.hello(MALLORY, name)))[0]) is Reason.MALFORMED


def test_a_broker_of_another_version_is_ours() -> None:
    town = Town()
    session = Session(profile_identity("alice"), Mode.FULL, BROKER_KEY, random=os.urandom)
    session.connect(bytes(32), town.now)
    session.receive(frames.control(Challenge(bytes(32))), town.now)
    with pytest.raises(RemoteProtocolError):
        session.receive(frames.control(Welcome(2, "x", 0)), town.now)
    older = at(town)
    assert refusal(older.say(frames.control(older.hello(versions=(2, 3))))[0]) is Reason.VERSION


def test_the_broker_welcomes_who_has_not_proved_anything() -> None:
    """Out of turn, whatever it says: before the challenge nothing but a challenge is believed."""
    town = Town()
    out_of_turn: Sequence[Frames] = (
        frames.control(Welcome(1, "x", 0)),
        frames.control(messages.Roster(full=True, more=False, joined=(), left=())),
        frames.control(messages.Bundles((messages.Found("bob", None),))),
        frames.deliver(bytes(8), bytes(16), "bob", b"x", None),
        frames.control(messages.Ping()),
    )
    for raw in out_of_turn:
        session = Session(profile_identity("alice"), Mode.FULL, BROKER_KEY, random=os.urandom)
        with pytest.raises(RemoteProtocolError):
            session.receive(raw, town.now)
        session.connect(bytes(32), town.now)
        session.outgoing()
        with pytest.raises(RemoteProtocolError):
            session.receive(raw, town.now)
        assert not session.outgoing()


def test_a_send_only_guest_is_present() -> None:
    """Nobody can be written to who did not say where."""
    town = Town()
    alice = town.join("alice")
    town.join("bob", mode=Mode.SEND)
    id_ = town.say(alice, "hello", "bob")
    assert alice.last(id_) == {"bob": Outcome.ABSENT}
