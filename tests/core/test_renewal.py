"""Sessions that last longer than a bundle does."""

from __future__ import annotations

import os

import pytest

from core import frames
from core.bundle import read_bundle
from core.errors import LocalProtocolError
from core.events import Outcome, PeerKeyChanged, RotationDue
from core.identity import guest_identity
from core.limits import BUNDLE_LIFE, HEARTBEAT, ROTATE_AGAIN
from core.messages import Mode, Result, Status
from core.profile import ROTATE_AFTER, Profile
from core.states import State
from tests.keys import keys_of
from tests.pairs import Client, World, as_it_is

DAY = 86_400.0


@pytest.fixture
def world() -> World:
    return World()


def _keep(world: World, *clients: Client) -> None:
    """Let some seconds go by in which everybody says that they are still here."""
    world.pass_time(HEARTBEAT)
    for client in clients:
        client.events += client.session.tick(world.now)
    world.settle()
    world.router.sweep(world.now)


def test_a_guest_reconnects_on_day_31(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    world.lose(bob)
    world.tick()
    world.pass_time(31 * DAY)
    for client in (alice, bob):
        world.lose(client)
        world.connect(client)
    world.tick()
    id_ = world.say(alice, "still here?", "bob")
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}
    assert not any(isinstance(event, PeerKeyChanged) for event in alice.events)


def test_a_bundle_is_renewed_by_a_login_from_the_second_on_in_which_that_is_due(world: World) -> None:
    alice = world.make("alice")
    first = alice.session.me
    assert first.renew_at is not None
    for seconds, renewed in ((first.renew_at - world.now.wall - 1, False), (1, True)):
        world.pass_time(seconds)
        world.connect(alice)
        assert (alice.session.me.bundle != first.bundle) is renewed
        world.lose(alice)


def test_a_guest_that_stays_connected_can_be_written_to_on_day_31(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    for _ in range(3):  # the clock leaps, as after a laptop's sleep; the connection is what counts
        world.now = world.now.__class__(world.now.wall + 12 * DAY, world.now.mono)
        _keep(world, alice, bob)
    assert alice.session.state is bob.session.state is State.READY
    id_ = world.say(alice, "still here?", "bob")
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}
    assert bob.session.me.bundle is not None
    bundle = read_bundle(bob.session.me.bundle, "bob")
    assert bundle.valid_at(world.now.ms)
    assert world.router.directory.bundle("bob") == bob.session.me.bundle


def test_the_moment_of_renewal_keeps_nothing_from_being_told(world: World) -> None:
    """What a tick sends and what it renews are both in its news, and it renews from the second on in which that is due."""
    bob, keys = world.join("bob"), keys_of("alice")
    at = world.now.wall - BUNDLE_LIFE / 2 + HEARTBEAT
    identity = guest_identity("alice", keys.signing, keys.opening, sid=os.urandom(16), now=at)
    alice = world.adopt(identity, Mode.FULL, keys)
    world.connect(alice)
    world.tick()
    alice.to_broker = lambda raw: [raw] if len(raw) == 1 else []
    id_ = world.say(alice, "lost", "bob")
    alice.events += alice.session.receive(frames.results([Result(id_, 0, Status.RATE)]), world.now)
    assert alice.last(id_) == {"bob": Outcome.RATE}
    world.pass_time(HEARTBEAT)
    assert identity.renew_at == world.now.wall
    alice.to_broker = as_it_is
    alice.events += alice.session.tick(world.now)
    assert alice.last(id_) == {"bob": Outcome.SENT}
    assert alice.session.me.bundle != identity.bundle
    world.settle()
    assert alice.last(id_) == {"bob": Outcome.DELIVERED}
    assert bob.texts() == [("alice", "lost")]


def test_a_renewed_bundle_is_newer_and_of_the_same_keys() -> None:
    keys = keys_of("bob")
    before = guest_identity("bob", keys.signing, keys.opening, sid=os.urandom(16), now=1_800_000_000.5)
    after = before.renewed(1_800_000_000.5 + BUNDLE_LIFE)
    assert before.bundle is not None
    assert after.bundle is not None
    old, new = read_bundle(before.bundle, "bob"), read_bundle(after.bundle, "bob")
    assert new.seq > old.seq
    assert new.exp == old.exp + BUNDLE_LIFE
    assert (new.ik.kid, new.ek.kid) == (old.ik.kid, old.ek.kid)
    assert after.sid == before.sid


def test_a_guest_that_only_sends_has_nothing_to_renew() -> None:
    sender = guest_identity("bob", keys_of("bob").signing, None, sid=os.urandom(16), now=1_800_000_000)
    assert sender.bundle is None
    assert sender.renewed(2_000_000_000) == sender


def test_a_session_takes_no_other_identitys_keys(world: World) -> None:
    alice = world.join("alice")
    dave = keys_of("dave")
    other = guest_identity("alice", dave.signing, dave.opening, sid=os.urandom(16), now=world.now.wall)
    with pytest.raises(LocalProtocolError):
        alice.session.adopt(other)
    sender = world.join("carol", mode=Mode.SEND)
    assert sender.session.me.bundle is None
    with pytest.raises(LocalProtocolError):
        sender.session.adopt(sender.session.me)


def test_only_a_present_clients_new_bundle_is_told_to_the_broker(world: World) -> None:
    sender = world.make("alice", mode=Mode.SEND)
    keys = keys_of("alice")
    world.connect(sender)
    identity = guest_identity("alice", keys.signing, keys.opening, sid=sender.session.me.sid, now=world.now.wall)
    assert sender.session.adopt(identity) == []
    assert sender.session.outgoing() == []
    offline = world.make("bob")
    assert offline.session.adopt(offline.session.me.renewed(world.now.wall)) == []
    assert offline.session.outgoing() == []
    world.connect(offline)
    offline.session.adopt(offline.session.me.renewed(world.now.wall + 1))
    (raw,) = offline.session.outgoing()
    assert raw[0][:1] == b"K"


def test_a_rotation_is_due_again_every_hour_until_there_is_a_new_key(world: World) -> None:
    keys = keys_of("alice")
    begun = world.now.wall
    profile = Profile.create("alice", keys.signing, keys.opening, os.urandom(32), now=begun, random=os.urandom)
    curve = os.urandom(32)
    alice = world.adopt(profile.identity(curve), Mode.FULL, keys)
    world.connect(alice)

    def due(seconds: float) -> bool:
        world.now = world.now.__class__(begun + seconds, world.now.mono)
        return RotationDue() in alice.session.tick(world.now)

    day = float(ROTATE_AFTER)
    when = (day - 1, day, day + 1, day + ROTATE_AGAIN - 1, day + ROTATE_AGAIN, day + ROTATE_AGAIN + 1)
    assert [due(one) for one in when] == [False, True, False, False, True, False]
    alice.session.adopt(profile.rotated(keys_of("dave").opening, begun + day + ROTATE_AGAIN + 2).identity(curve))
    assert not due(2 * day + ROTATE_AGAIN)
    assert due(2 * day + ROTATE_AGAIN + 2)
