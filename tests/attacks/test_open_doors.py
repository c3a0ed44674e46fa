"""Bundles, invites and keys by which the liar would come in, or keep others out."""

from __future__ import annotations

import os

import pytest

from broker.access import Access
from broker.ledger import Bundled, Claimed, Invited, Released, Revoked
from core import frames
from core.bundle import Kind
from core.encoding import b64url
from core.login import LoginContext, prove
from core.messages import Challenge, Hello, Prove, Reason, Renew, Welcome
from tests.attacks.lies import Town, at, bundle
from tests.broker.raw import Raw, refusal
from tests.keys import BROKER_KEY, Keys, keys_of

ALICE, BOB, MALLORY = (keys_of(name) for name in ("alice", "bob", "mallory"))
INVITE = bytes(range(100, 132))
DAY = 24 * 3600


def profile_hello(raw: Raw, user: str, keys: Keys, curve: bytes | None = None, **changes: object) -> Hello:
    signed = bundle(user, keys, kind=Kind.PROFILE)
    key = raw.client_key if curve is None else curve
    return raw.hello(keys, user, **{"kind": Kind.PROFILE, "bundle": signed, "curve": key, **changes})


# Bundles at the broker


def test_mallory_renews_the_bundle_of_alice() -> None:
    """One of his own making, hers of another name, an old one, one of another kind: his connection ends."""
    town = Town()
    alice = town.join_profile("alice")
    for lie in (
        bundle("alice", MALLORY),
        bundle("alice", ALICE, kind=Kind.PROFILE, seq=9),
        bundle("mallory", ALICE),
        bundle("mallory", MALLORY, now=town.now.wall - 40 * DAY),
        bundle("mallory", MALLORY, kind=Kind.PROFILE),
    ):
        mallory = at(town)
        assert isinstance(mallory.log_in(), Welcome)
        assert refusal(mallory.say(frames.control(Renew(lie)))[-1]) is Reason.MALFORMED
        assert mallory.ended
    assert town.router.directory.bundle("alice") == alice.session.me.bundle
    assert [event.user for event in town.log if isinstance(event, Bundled)] == ["alice"]


def test_a_guest_uses_up_the_numbers_of_a_name() -> None:
    """A guest's bundle with the highest number, as a profile's; a profile that claims the name later has its own logged."""
    town = Town()
    guest = at(town)
    assert isinstance(guest.log_in(guest.hello(MALLORY, "alice")), Welcome)
    guest.say(frames.control(Renew(bundle("alice", MALLORY, kind=Kind.PROFILE, seq=2**53 - 1))))
    connection = town.router.find(guest.rid)
    if connection:
        town.router.gone(connection)
    town.join_profile("alice")
    assert [(event.user, event.kid) for event in town.log if isinstance(event, Bundled)] == [
        ("alice", b64url(ALICE.signing.public.kid))
    ]
    assert town.ledger.newest_bundle("alice") == 1


def test_an_owner_of_old_uses_up_the_numbers_of_a_name() -> None:
    """Released while connected: what the old owner renews then is not the next owner's."""
    town = Town()
    alice = town.join_profile("alice")
    town.commit(Released("alice", 2))
    town.take(alice.rid, alice.client_key, frames.control(Renew(bundle("alice", ALICE, kind=Kind.PROFILE, seq=2**53 - 1))))
    town.lose(alice)
    town.join_profile("alice", keys=MALLORY)
    assert town.ledger.newest_bundle("alice") == 1


def test_an_owner_of_old_speaks_for_the_new_one() -> None:
    """Released and claimed by another key in the log while the old owner is still connected."""
    town = Town()
    alice = town.join_profile("alice")
    town.commit(Released("alice", 2), Claimed("alice", b64url(MALLORY.signing.public.kid), b64url(bytes(32)), None, 3))
    before = len(town.log)
    town.take(alice.rid, alice.client_key, frames.control(Renew(bundle("alice", ALICE, kind=Kind.PROFILE, seq=9))))
    assert len(town.log) == before


def test_the_same_bundle_is_a_new_one() -> None:
    """What fills the broker's disk is a newer bundle, and not each login."""
    town = Town()
    alice = town.join_profile("alice")
    for _ in range(3):
        town.lose(alice)
        town.connect(alice)
    assert [type(event) for event in town.log] == [Claimed, Bundled]


# The door


def admits(town: Town, key: bytes) -> bool:
    return Access(open_to_all=False, knows=lambda one: town.ledger.knows(one, town.now.wall)).admits("192.0.2.7", key)


def test_an_invite_for_one_lets_two_in() -> None:
    town = Town()
    town.commit(Invited(b64url(INVITE), 1, int(town.now.wall) + DAY, 1))
    assert admits(town, INVITE)
    town.log_waits = True  # both at once, before either is on disk
    first, second = at(town, INVITE), at(town, INVITE)
    (challenge,) = first.say(frames.control(hello := first.hello(ALICE, "alice")))
    assert isinstance(challenge, Challenge)
    context = LoginContext(BROKER_KEY, INVITE, hello.nonce, challenge.nonce, "alice")
    assert first.say(frames.control(Prove(prove(ALICE.signing, context)))) == []
    assert refusal(second.log_in()) is Reason.NOT_INVITED
    town.commit()
    assert isinstance(frames.read_from_broker(town.said[first.rid][0]), Welcome)
    town.log_waits = False
    assert refusal(at(town, INVITE).log_in()) is Reason.NOT_INVITED
    # Whoever came in by it may come back; another key under the same name, or the same key under another, may not.
    again = at(town, INVITE)
    assert isinstance(again.log_in(again.hello(ALICE, "alice"), ALICE.signing), Welcome)
    other = at(town, INVITE)
    assert refusal(other.log_in(other.hello(ALICE, "other"), ALICE.signing)) is Reason.NOT_INVITED


@pytest.mark.parametrize("end", ["expired", "revoked"])
def test_an_invite_that_has_ended_lets_somebody_in(end: str) -> None:
    town = Town()
    town.commit(Invited(b64url(INVITE), 5, int(town.now.wall) + DAY, 1))
    guest = at(town, INVITE)
    assert isinstance(guest.log_in(), Welcome)
    if end == "revoked":
        town.commit(Revoked(b64url(INVITE), 2))
    else:
        town.pass_time(DAY + 1)
    late = at(town, INVITE)
    assert refusal(late.log_in(late.hello(ALICE, "alice"), ALICE.signing)) is Reason.NOT_INVITED
    profile = at(town, INVITE)
    assert refusal(profile.log_in(profile_hello(profile, "alice", ALICE), ALICE.signing)) is Reason.NOT_INVITED


def test_a_key_that_nobody_invited_was_invited() -> None:
    town = Town()
    town.commit(Invited(b64url(INVITE), 1, int(town.now.wall) + DAY, 1))
    assert not admits(town, os.urandom(32))
    town.commit(Revoked(b64url(INVITE), 2))
    assert not admits(town, INVITE)
    for address in ("127.0.0.1.example", "", "::ffff:192.0.2.7", "127.0.0.1\0", "localhost"):
        assert not Access(open_to_all=False, knows=lambda _: False).admits(address, bytes(32))


def test_an_invite_for_one_is_an_invite_for_all_names() -> None:
    """Who came in once as a profile comes back by the profile's own key, and as nobody else."""
    town = Town()
    town.commit(Invited(b64url(INVITE), 1, int(town.now.wall) + DAY, 1))
    curve = os.urandom(32)
    first = at(town, INVITE)
    assert isinstance(first.log_in(profile_hello(first, "mallory", MALLORY, curve), MALLORY.signing), Welcome)
    assert admits(town, curve)
    back = at(town, curve)
    assert isinstance(back.log_in(profile_hello(back, "mallory", MALLORY, curve), MALLORY.signing), Welcome)
    guest, profile = at(town, curve), at(town, curve)
    assert refusal(guest.log_in(guest.hello(ALICE, "alice"), ALICE.signing)) is Reason.NOT_INVITED
    assert refusal(profile.log_in(profile_hello(profile, "bob", BOB, curve), BOB.signing)) is Reason.NOT_INVITED
    assert [owner.user for owner in town.ledger.owners()] == ["mallory"]


def test_somebody_elses_connection_key_is_mine() -> None:
    """Mallory's claim names the CURVE key of alice, who then could not come in by it: he has not proved to hold it."""
    town = Town()
    alice = town.profile("alice")
    curve = alice.session.me.curve or b""
    mallory = at(town)
    assert refusal(mallory.log_in(profile_hello(mallory, "mallory", MALLORY, curve), MALLORY.signing)) is Reason.NOT_INVITED
    assert (town.log, admits(town, curve)) == ([], False)
    town.connect(alice)
    assert admits(town, curve)


def test_an_invited_profile_shares_the_key_of_another() -> None:
    """By an invite the CURVE key to come is only named; one by which somebody has a name already is refused, at no use."""
    town = Town()
    alice = town.join_profile("alice")
    town.commit(Invited(b64url(INVITE), 1, int(town.now.wall) + DAY, 1))
    mallory = at(town, INVITE)
    lie = profile_hello(mallory, "mallory", MALLORY, alice.session.me.curve)
    assert refusal(mallory.log_in(lie, MALLORY.signing)) is Reason.NOT_INVITED
    assert [owner.user for owner in town.ledger.owners()] == ["alice"]
    honest = at(town, INVITE)
    assert isinstance(honest.log_in(profile_hello(honest, "mallory", MALLORY, os.urandom(32)), MALLORY.signing), Welcome)
