"""A user's bundles and connections at the broker: which bundle is handed out, and who speaks for a copy."""

from __future__ import annotations

import os

import pytest

from broker.ledger import Bundled
from core import frames
from core.bundle import Kind, SignedBundle, read_bundle, sign_bundle
from core.events import Outcome
from core.identity import Identity
from core.messages import Renew
from tests.attacks.lies import Town, profile_identity, profile_of
from tests.keys import keys_of

CURVE = os.urandom(32)


@pytest.fixture
def town() -> Town:
    return Town()


# Bundles


def offered(town: Town, user: str) -> int:
    """The ``seq`` of the bundle that the broker hands out."""
    signed = town.router.directory.bundle(user)
    assert signed is not None
    return read_bundle(signed, user).seq


def test_a_profiles_bundles_go_into_the_log_once_each(town: Town) -> None:
    profile = profile_of("alice")
    alice = town.enter(profile.identity(CURVE), None, keys_of("alice"))
    town.connect(alice)
    for _ in range(2):
        town.lose(alice)
        town.connect(alice)
    rotated = profile.rotated(keys_of("dave").opening, town.now.wall)
    for _ in range(2):
        alice.session.adopt(rotated.identity(CURVE))
        town.settle()
    logged = [event for event in town.log if isinstance(event, Bundled)]
    assert [event.seq for event in logged] == [1, 2]
    bundle = read_bundle(SignedBundle(logged[1].body, logged[1].signature), "alice")
    assert bundle.ek.kid == keys_of("dave").opening.public.kid
    assert offered(town, "alice") == 2


def test_a_renewed_bundle_reaches_the_peers(town: Town) -> None:
    profile = profile_of("alice")
    alice = town.enter(profile.identity(CURVE), None, keys_of("alice"))
    town.connect(alice)
    town.tick()
    bob = town.join("bob")
    town.say(bob, "one", "alice")
    alice.session.adopt(profile.rotated(keys_of("dave").opening, town.now.wall).identity(CURVE))
    town.settle()
    town.say(bob, "two", "alice")  # to the old key, which alice keeps
    bob.session.peers.forget_bundles()
    town.say(bob, "three", "alice")
    assert [text for _, text in alice.texts()] == ["one", "two", "three"]
    bundle = bob.session.peers.bundle("alice", town.now.ms)
    assert bundle is not None
    assert bundle.ek.kid == keys_of("dave").opening.public.kid


def test_a_process_that_comes_back_with_an_older_bundle_does_not_undo_the_newer(town: Town) -> None:
    profile = profile_of("alice")
    rotated = profile.rotated(keys_of("dave").opening, town.now.wall)
    newer = town.enter(rotated.identity(CURVE), None, keys_of("alice"))
    town.connect(newer)
    town.tick()
    bob = town.join("bob")
    town.say(bob, "one", "alice")
    older = town.enter(profile.identity(CURVE), None, keys_of("alice"))
    town.connect(older)
    assert offered(town, "alice") == 2
    older.session.adopt(profile.identity(CURVE))
    town.settle()
    assert offered(town, "alice") == 2
    bob.session.peers.forget_bundles()
    assert bob.last(town.say(bob, "two", "alice")) == {"alice": Outcome.DELIVERED}


def _renewals(identity: Identity, town: Town) -> dict[str, Renew]:
    keys, other = keys_of("bob"), keys_of("mallory")
    now = town.now.wall
    made = {
        "another key": sign_bundle("bob", Kind.GUEST, other.signing, other.opening.public, seq=9, now=now),
        "another name": sign_bundle("alice", Kind.GUEST, keys.signing, keys.opening.public, seq=9, now=now),
        "a profile's": sign_bundle("bob", Kind.PROFILE, keys.signing, keys.opening.public, seq=2**53 - 1, now=now),
        "of long ago": sign_bundle("bob", Kind.GUEST, keys.signing, keys.opening.public, seq=9, now=now - 40 * 86_400),
    }
    return {name: Renew(signed) for name, signed in made.items()}


@pytest.mark.parametrize("lie", ["another key", "another name", "a profile's", "of long ago"])
def test_a_bundle_that_is_not_the_users_own_ends_the_connection(town: Town, lie: str) -> None:
    bob = town.join("bob")
    before = town.router.directory.bundle("bob")
    town.take(bob.rid, bob.client_key, frames.control(_renewals(bob.session.me, town)[lie]))
    assert bob.rid in town.cut
    assert town.log == []
    assert town.router.directory.bundle("bob") is None
    assert before is not None


def test_a_refusal_speaks_for_its_own_connection_only(town: Town) -> None:
    """One of a profile's two processes does not have the key yet that the other has made."""
    profile = profile_of("alice")
    late = town.enter(profile.identity(CURVE), None, keys_of("alice"))
    newer = town.enter(profile.rotated(keys_of("dave").opening, town.now.wall).identity(CURVE), None, keys_of("alice"))
    for one in (late, newer):
        town.connect(one)
    town.tick()
    bob = town.join("bob")
    id_ = town.submit(bob, "to the new key", "alice")
    held: list[frames.Frames] = []
    newer.to_client = lambda raw: held.append(raw) or [] if raw[0][:1] == b"D" else [raw]  # type: ignore[func-returns-value]
    town.settle()
    assert len(late.refusals) == 1
    assert bob.last(id_) == {"alice": Outcome.SENT}
    newer.to_client = lambda raw: [raw]
    newer.inbox.extend(held)
    town.settle()
    assert newer.texts() == [("bob", "to the new key")]
    assert bob.last(id_) == {"alice": Outcome.DELIVERED}
    assert all(not one.copies and not one.bytes_out for one in town.router.connections.values())


def test_when_all_connections_refuse_it_is_refused(town: Town) -> None:
    desk, phone = (town.enter(profile_identity("alice"), None, keys_of("alice")) for _ in range(2))
    for one in (desk, phone):
        town.connect(one)
    town.tick()
    bob = town.join("bob")
    for one in (desk, phone):
        one.to_client = lambda raw: [[raw[0], raw[1][:-1] + bytes([raw[1][-1] ^ 1])]] if raw[0][:1] == b"D" else [raw]
    id_ = town.say(bob, "x", "alice")
    assert bob.last(id_) == {"alice": Outcome.REFUSED}
    assert len(desk.refusals) == len(phone.refusals) == 1
    assert all(not one.copies and not one.bytes_out for one in town.router.connections.values())
