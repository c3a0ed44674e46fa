"""Keys that are not whose they are said to be: bundles, pins, kinds and the roster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from clients.store import Store
from core import frames
from core.bundle import Kind, SignedBundle, read_bundle
from core.encoding import b64url
from core.errors import BadBundle
from core.events import Outcome, PeerKeyChanged, Trust
from core.frames import Frames
from core.limits import BUNDLE_LIFE, CLOCK_SKEW_MS
from core.memory import Pin, SessionMemory
from core.messages import Bundles, Entry, Found, Roster
from core.names import safety_number
from core.opening import Delivery
from core.rsa import Purpose
from core.trust import block, trust, verify
from tests.attacks.lies import Town, bundle, bundles_say, changes, profile_identity, record, resigned, stages
from tests.keys import keys_of
from tests.pairs import START, Client

ALICE, BOB, CAROL, MALLORY = (keys_of(name) for name in ("alice", "bob", "carol", "mallory"))


def sealed_to_nobody(client: Client) -> list[Frames]:
    """From now on, what this client sends that is encrypted to somebody: nothing, if all goes well."""
    mail: list[Frames] = []
    before = client.to_broker

    def tamper(raw: Frames) -> Sequence[Frames]:
        if len(raw) > 1:
            mail.append(raw)
        return before(raw)

    client.to_broker = tamper
    return mail


# The broker swaps an identity key


def test_bobs_key_is_the_brokers_at_first_contact() -> None:
    """Believed, for nobody knows better; but the numbers of the two ends differ, and with the true key they agree."""
    for swapped in (True, False):
        town = Town()
        alice, bob = town.join_profile("alice"), town.join_profile("bob")
        if swapped:
            alice.to_client = bundles_say(lambda _, __: bundle("bob", MALLORY, kind=Kind.PROFILE))
        town.say(alice, "is it you?", "bob")
        pin = alice.session.peers._memory.pin("bob")
        assert pin is not None
        assert (pin.kid == MALLORY.signing.public.kid) is swapped
        mine = safety_number("alice", ALICE.signing.public.kid, "bob", pin.kid)
        his = safety_number("bob", BOB.signing.public.kid, "alice", ALICE.signing.public.kid)
        assert (mine != his) is swapped
        assert (bob.texts() == []) is swapped  # the broker has it now, and bob cannot read it


def test_bobs_key_is_the_brokers_later() -> None:
    town = Town()
    memory = SessionMemory()
    alice = town.join_profile("alice", memory)
    town.join_profile("bob")
    town.say(alice, "hello", "bob")
    alice.session.peers.forget_bundles()
    alice.to_client = bundles_say(lambda _, __: bundle("bob", MALLORY, kind=Kind.PROFILE))
    mail = sealed_to_nobody(alice)
    id_ = town.say(alice, "secret", "bob")
    assert (alice.last(id_), mail) == ({"bob": Outcome.CHANGED}, [])
    old, new = BOB.signing.public.kid, MALLORY.signing.public.kid
    assert changes(alice) == [PeerKeyChanged("bob", old, new, accepted=False)]
    pin = memory.pin("bob")
    assert pin is not None
    assert (pin.kid, pin.offered) == (old, new)
    # It stays so, in a message to everyone as well, and is told once; a person's word ends it.
    id_ = town.say(alice, "secret", "bob", everyone=True)
    assert (alice.last(id_), mail, len(changes(alice))) == ({"bob": Outcome.CHANGED}, [], 1)
    memory.set_pin(trust(pin, town.now.ms))
    town.say(alice, "so be it", "bob")
    assert len(mail) == 1


@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize("kind", Kind)
def test_verified_alice_is_guest_alice(kind: Kind, verified: bool) -> None:
    """Another key under a name that was a profile's or was verified, offered as a guest's: a changed key, not news."""
    town = Town()
    memory = SessionMemory()
    bob = town.join_profile("bob", memory)
    alice = town.join_profile("alice") if kind is Kind.PROFILE else town.join("alice")
    town.say(alice, "it is me", "bob")
    pin = memory.pin("alice")
    assert pin is not None
    if verified:
        memory.set_pin(verify(pin, town.now.ms))
    town.lose(alice)
    town.tick()
    lie = bundle("alice", MALLORY, kind=Kind.GUEST)
    bob.to_client = bundles_say(lambda _, __: lie)
    mail = sealed_to_nobody(bob)
    id_ = town.say(bob, "secret", "alice")
    stopped = verified or kind is Kind.PROFILE
    assert (bob.last(id_)["alice"] is Outcome.CHANGED) is stopped
    assert [event.accepted for event in changes(bob)] == [not stopped]
    assert (mail == []) is stopped


def test_guest_mallory_writes_as_profile_alice() -> None:
    """The broker lets a guest have a profile's name; what the guest writes is refused by who has met the profile."""
    town = Town()
    bob, alice = town.join_profile("bob"), town.join_profile("alice")
    town.say(alice, "it is me", "bob")
    town.lose(alice)
    hostile = Town()  # a broker that has forgotten who owns the name
    mallory = hostile.join("alice", keys=MALLORY)
    hostile.join_profile("bob")
    copies = record(hostile.clients[-1])
    hostile.say(mallory, "send money", "bob")
    town.hand(bob, copies[0])
    assert (bob.texts(), stages(bob)) == ([("alice", "it is me")], ["pin"])


def test_the_profile_is_a_guest_by_the_same_key() -> None:
    """Whoever says so changes nothing: the pin still says that the name was a profile's."""
    memory = SessionMemory()
    town = Town()
    bob = town.join_profile("bob", memory)
    for kind in (Kind.PROFILE, Kind.GUEST):
        bob.session.peers.learn("alice", bundle("alice", ALICE, kind=kind), town.now.ms)
        pin = memory.pin("alice")
        assert pin is not None
        assert pin.profile
    usable, news = bob.session.peers.meet("alice", MALLORY.signing.public.kid, Kind.GUEST, town.now.ms)
    assert (usable, len(news)) == (False, 1)


def test_somebody_blocked_is_somebody_else() -> None:
    """A blocked name cannot come back with another key, as another kind, or by a bundle."""
    town = Town()
    memory = SessionMemory()
    bob, alice = town.join_profile("bob", memory), town.join("alice")
    town.say(alice, "hello", "bob")
    pin = memory.pin("alice")
    assert pin is not None
    memory.set_pin(block(pin))
    town.say(alice, "hello?", "bob")
    id_ = town.say(bob, "go away", "alice")
    assert bob.last(id_) == {"alice": Outcome.BLOCKED}
    town.lose(alice)
    again = town.join("alice", keys=MALLORY)
    town.say(again, "a new me", "bob")
    id_ = town.say(bob, "go away", "alice")
    assert bob.last(id_)["alice"] in (Outcome.BLOCKED, Outcome.CHANGED)
    assert bob.texts() == [("alice", "hello")]
    # A block is quiet: neither what comes nor under which key is told, and no key waits there to be accepted.
    town.hand_delivery(bob, Delivery(os.urandom(16), "alice", b"", None))
    assert (stages(bob), changes(bob)) == ([], [])
    assert memory.pin("alice") == block(pin)


def test_the_key_changed_while_the_message_waited() -> None:
    """Sealed for a guest's key and not answered: the broker cannot have it sealed anew for a key of its own."""
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")
    bob.to_client = lambda raw: [] if raw[0][:1] == b"D" else [raw]
    id_ = town.say(alice, "for bob alone", "bob")
    town.lose(alice)
    alice.to_client = bundles_say(lambda _, __: bundle("bob", MALLORY))
    mail = sealed_to_nobody(alice)
    town.connect(alice)
    assert (alice.last(id_), mail) == ({"bob": Outcome.GONE}, [])


def test_the_key_that_was_learnt_is_the_one_that_was_accepted() -> None:
    """A person accepts another key, in another process, while the bundle of the one before is at hand."""
    memory = SessionMemory()
    town = Town()
    alice = town.join_profile("alice", memory)
    alice.session.peers.learn("bob", bundle("bob", BOB), town.now.ms)
    pin = memory.pin("bob")
    assert pin is not None
    assert alice.session.peers.bundle("bob", town.now.ms) is not None
    memory.set_pin(trust(replace(pin, offered=MALLORY.signing.public.kid), town.now.ms))
    assert alice.session.peers.bundle("bob", town.now.ms) is None


# Bundles


def _unsigned(signed: SignedBundle, **edits: object) -> SignedBundle:
    return SignedBundle(resigned(signed, BOB, **edits).body, signed.signature)


HONEST = bundle("bob", BOB)
NOW = int(START.wall)
FALSE = {
    "another user's": bundle("carol", CAROL),
    "another user's under this name": _unsigned(bundle("carol", CAROL), user="bob"),
    "with mallory's encryption key": _unsigned(HONEST, ek=b64url(MALLORY.opening.public.spki)),
    "with mallory's signature": SignedBundle(HONEST.body, MALLORY.signing.sign(Purpose.BUNDLE, HONEST.body)),
    "signed as a login": SignedBundle(HONEST.body, BOB.signing.sign(Purpose.LOGIN, HONEST.body)),
    "signed as a message": SignedBundle(HONEST.body, BOB.signing.sign(Purpose.ENVELOPE, HONEST.body)),
    "signed as blocks": SignedBundle(HONEST.body, BOB.signing.sign(Purpose.CHUNKED, HONEST.body)),
    "with suites stripped": _unsigned(HONEST, suites=["chunked"]),
    "without suites": resigned(HONEST, BOB, suites=[]),
    "with suites in another order": resigned(HONEST, BOB, suites=["hybrid", "chunked"]),
    "with a suite of its own": resigned(HONEST, BOB, suites=["chunked", "hybrid", "null"]),
    "expired": bundle("bob", BOB, now=START.wall - BUNDLE_LIFE - CLOCK_SKEW_MS / 1000 - 1),
    "from the future": bundle("bob", BOB, now=START.wall + CLOCK_SKEW_MS / 1000 + 1),
    "prolonged": _unsigned(HONEST, exp=NOW + 2 * BUNDLE_LIFE),
    "for longer than a month": resigned(HONEST, BOB, exp=NOW + BUNDLE_LIFE + 1),
    "ending before it begins": resigned(HONEST, BOB, exp=NOW),
    "number 0": resigned(HONEST, BOB, seq=0),
    "number 2^53": resigned(HONEST, BOB, seq=2**53),
    "of a kind of its own": resigned(HONEST, BOB, kind="admin"),
    "of another kind, unsigned": _unsigned(HONEST, kind="profile"),
    "with one key for two jobs": resigned(HONEST, BOB, ek=b64url(BOB.signing.public.spki)),
    "with a member more": resigned(HONEST, BOB, admin=True),
    "with white space": SignedBundle(HONEST.body + b" ", BOB.signing.sign(Purpose.BUNDLE, HONEST.body + b" ")),
    "of another form": SignedBundle(b"", BOB.signing.sign(Purpose.BUNDLE, b"")),
}


@pytest.mark.parametrize("lie", FALSE)
def test_a_bundle_is_bobs(lie: str) -> None:
    town = Town()
    alice = town.join("alice")
    town.join("bob")
    alice.to_client = bundles_say(lambda _, __: FALSE[lie])
    mail = sealed_to_nobody(alice)
    id_ = town.say(alice, "secret", "bob")
    assert (alice.last(id_), mail) == ({"bob": Outcome.UNTRUSTED}, [])
    assert alice.session.peers._memory.pin("bob") is None  # and nothing is remembered of it


def test_a_bundle_of_a_name_that_nobody_can_have() -> None:
    for name in ("everyone", "Bob", "b/../b", ""):
        with pytest.raises(BadBundle):
            read_bundle(bundle(name, BOB), name)


def test_a_bundle_that_nobody_asked_for() -> None:
    """The broker pushes bundles: they pin nothing and are not used."""
    town = Town()
    alice = town.join("alice")
    town.hand(alice, frames.control(Bundles((Found("bob", bundle("bob", MALLORY)),))))
    assert alice.session.peers._memory.pin("bob") is None
    assert alice.session.peers.bundle("bob", town.now.ms) is None


@contextlib.contextmanager
def remembering(path: Path) -> Iterator[Store]:
    store = Store(path, bytes(32))
    try:
        yield store
    finally:
        store.close()


def test_bobs_key_of_last_week_is_his_key_of_today(tmp_path: Path) -> None:
    """A bundle from before a rotation, in the same connection and after a restart of the client."""
    before, now = (profile_identity("bob", seq=seq).bundle for seq in (1, 2))
    assert before is not None
    assert now is not None
    for offers, outcome in (([now, before], Outcome.UNTRUSTED), ([before], Outcome.UNTRUSTED), ([now], Outcome.DELIVERED)):
        with remembering(tmp_path / "profile.db") as store:
            town = Town()
            alice = town.join_profile("alice", store)
            town.join_profile("bob", keys=BOB)
            for offer in offers:
                alice.session.peers.forget_bundles()
                alice.to_client = bundles_say(lambda _, __, offer=offer: offer)  # type: ignore[misc]
                id_ = town.say(alice, "secret", "bob")
            assert alice.last(id_) == {"bob": outcome}


def test_an_expired_bundle_lives_on_in_a_client() -> None:
    """One that was valid when it was learnt is not used when it no longer is."""
    town = Town()
    alice = town.join("alice")
    alice.session.peers.learn("bob", bundle("bob", BOB, now=START.wall - BUNDLE_LIFE + 60), town.now.ms)
    assert alice.session.peers.bundle("bob", town.now.ms) is not None
    town.pass_time(60 + CLOCK_SKEW_MS / 1000 + 1)
    assert alice.session.peers.bundle("bob", town.now.ms) is None


# The roster


def test_the_roster_names_a_ghost() -> None:
    """A name that nobody holds is pinned by nothing and gets nothing."""
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")
    ghost = Entry("ghost", Kind.PROFILE, os.urandom(32))
    town.hand(alice, frames.control(Roster(full=False, more=False, joined=(ghost,), left=())))
    assert alice.session.peers.trust_of("ghost", ghost.kid) is Trust.NEW
    id_ = town.say(alice, "to all", "bob", "ghost", everyone=True)
    assert alice.last(id_) == {"bob": Outcome.DELIVERED, "ghost": Outcome.ABSENT}
    assert bob.messages[0].message.to == ("bob",)
    assert alice.session.peers._memory.pin("ghost") is None


def test_the_roster_names_a_ghost_with_a_bundle() -> None:
    """A ghost that the broker has keys for is a name that this client never met, and is said to be new before it is."""
    town = Town()
    alice = town.join("alice")
    ghost = Entry("ghost", Kind.GUEST, MALLORY.signing.public.kid)
    town.hand(alice, frames.control(Roster(full=False, more=False, joined=(ghost,), left=())))
    assert alice.session.peers.trust_of("ghost", ghost.kid) is Trust.NEW
    alice.to_client = bundles_say(lambda user, _: bundle(user, MALLORY))
    town.say(alice, "boo", "ghost")
    assert alice.session.peers.trust_of("ghost", ghost.kid) is Trust.PINNED


def test_the_roster_says_that_bobs_key_is_mallorys() -> None:
    """It is not believed about keys: the message goes to bob's, and what is shown is that the two differ."""
    town = Town()
    alice, bob = town.join_profile("alice"), town.join_profile("bob")
    town.say(alice, "hello", "bob")
    lie = Entry("bob", Kind.PROFILE, MALLORY.signing.public.kid)
    town.hand(alice, frames.control(Roster(full=False, more=False, joined=(lie,), left=())))
    assert alice.session.peers.trust_of("bob", lie.kid) is Trust.CHANGED
    town.say(alice, "still you", "bob")
    assert bob.texts() == [("alice", "hello"), ("alice", "still you")]


def test_a_verified_name_in_the_roster_is_verified_whatever_is_handed_out() -> None:
    """For --verified-only: the roster shows the verified kid, the bundle holds another."""
    town = Town()
    memory = SessionMemory()
    alice = town.join_profile("alice", memory)
    town.join_profile("bob")
    town.say(alice, "hello", "bob")
    pin = memory.pin("bob")
    assert pin is not None
    memory.set_pin(verify(pin, town.now.ms))
    assert alice.session.peers.trust_of("bob", BOB.signing.public.kid) is Trust.VERIFIED
    alice.session.peers.forget_bundles()
    alice.to_client = bundles_say(lambda _, __: bundle("bob", MALLORY))
    mail = sealed_to_nobody(alice)
    id_ = town.say(alice, "to the verified", "bob", everyone=True)
    assert (alice.last(id_), mail) == ({"bob": Outcome.CHANGED}, [])


def test_a_changed_key_keeps_the_mark_of_the_verified_one() -> None:
    pin = Pin("bob", b"\1" * 32, profile=True, since=1, verified=5, offered=b"\2" * 32, offered_at=7)
    after = trust(pin, 9)
    assert (after.kid, after.verified, after.offered, after.profile) == (b"\2" * 32, None, None, True)
    assert verify(pin, 9).verified == 9
