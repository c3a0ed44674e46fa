"""core.peers: the roster as told, and the keys as seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.bundle import Kind, SignedBundle, sign_bundle
from core.errors import BadBundle, RemoteProtocolError
from core.events import Event, PeerKeyChanged, RosterChanged, Trust
from core.limits import BUNDLE_LIFE, ROSTER_CHUNK, ROSTER_MAX
from core.memory import Pin, SessionMemory
from core.messages import Entry, Roster
from core.peers import Peers
from core.trust import block, trust
from tests.keys import keys_of

NOW = 1_800_000_000
BOB, CAROL, DAVE = (Entry(user, Kind.GUEST, user.encode().ljust(32)) for user in ("bob", "carol", "dave"))


def _full(*entries: Entry, more: bool = False, first: bool = True) -> Roster:
    return Roster(full=first, more=more, joined=entries, left=())


def _change(joined: tuple[Entry, ...] = (), left: tuple[str, ...] = ()) -> Roster:
    return Roster(full=False, more=False, joined=joined, left=left)


def test_a_roster_in_parts_takes_effect_with_its_last_part() -> None:
    peers = Peers(SessionMemory())
    assert peers.roster(_full(BOB, more=True)) == []
    assert peers.roster(_full(CAROL, more=True, first=False)) == []
    assert peers.present == {}
    assert peers.roster(_full(DAVE, first=False)) == [RosterChanged((BOB, CAROL, DAVE), (), initial=True)]
    assert list(peers.present) == ["bob", "carol", "dave"]


def test_a_roster_begun_anew_forgets_the_parts_before() -> None:
    peers = Peers(SessionMemory())
    peers.roster(_full(BOB, more=True))
    assert peers.roster(_full(CAROL)) == [RosterChanged((CAROL,), (), initial=True)]


def test_changes_tell_only_what_changed() -> None:
    peers = Peers(SessionMemory())
    peers.roster(_full(BOB, CAROL))
    assert peers.roster(_change((DAVE,), ("bob",))) == [RosterChanged((DAVE,), (BOB,), initial=False)]
    assert peers.roster(_change((DAVE,), ("bob",))) == []
    again = Entry("carol", Kind.GUEST, bytes(32))
    assert peers.roster(_change((again,))) == [RosterChanged((again,), (), initial=False)]
    assert peers.roster(_full(DAVE)) == [RosterChanged((), (again,), initial=False)]
    assert peers.roster(_full(DAVE)) == [RosterChanged((), (), initial=False)]  # somebody may have asked for it


def test_whoever_reads_the_roster_is_not_disturbed_by_a_change() -> None:
    peers = Peers(SessionMemory())
    peers.roster(_full(BOB))
    reading = iter(peers.present.values())
    peers.roster(_change((CAROL, DAVE)))
    peers.roster(_full(CAROL))
    assert list(reading) == [BOB]


@pytest.mark.parametrize("in_parts", [True, False])
def test_a_roster_without_end_is_refused(in_parts: bool) -> None:
    peers = Peers(SessionMemory())
    parts = ROSTER_MAX // ROSTER_CHUNK
    for part in range(parts + 1):
        entries = tuple(Entry(f"u{part}-{at}", Kind.GUEST, bytes(32)) for at in range(ROSTER_CHUNK))
        change = _full(*entries, more=True, first=part == 0) if in_parts else _change(entries)
        if part < parts:
            peers.roster(change)
        else:
            with pytest.raises(RemoteProtocolError):
                peers.roster(change)
    assert len(peers.present) <= ROSTER_MAX


def _meet(peers: Peers, kid: bytes, kind: Kind = Kind.GUEST) -> tuple[bool, list[Event]]:
    return peers.meet("bob", kid, kind, NOW * 1000)


def test_the_first_key_pins_and_the_next_is_told() -> None:
    peers = Peers(SessionMemory())
    assert peers.trust_of("bob", b"1") is Trust.NEW
    assert _meet(peers, b"1") == (True, [])
    assert (peers.trust_of("bob", b"1"), peers.trust_of("bob", b"2")) == (Trust.PINNED, Trust.RENEWED)
    assert _meet(peers, b"2") == (True, [PeerKeyChanged("bob", b"1", b"2", accepted=True)])
    assert _meet(peers, b"2") == (True, [])
    assert peers.trust_of("bob", b"2") is Trust.RENEWED  # until a person says otherwise
    assert _meet(peers, b"1") == (True, [PeerKeyChanged("bob", b"2", b"1", accepted=True)])


def test_a_profile_that_takes_a_guests_name_is_no_guest_with_a_new_key() -> None:
    peers = Peers(SessionMemory())
    assert _meet(peers, b"1") == (True, [])
    assert _meet(peers, b"2", Kind.PROFILE) == (True, [PeerKeyChanged("bob", b"1", b"2", accepted=True)])
    assert peers.trust_of("bob", b"2") is Trust.PINNED


def test_a_guest_that_becomes_a_profile_with_its_key_is_no_news() -> None:
    memory = SessionMemory()
    peers = Peers(memory)
    for kind in (Kind.GUEST, Kind.PROFILE, Kind.GUEST):
        assert _meet(peers, b"1", kind) == (True, [])
        assert peers.trust_of("bob", b"1") is Trust.PINNED
    pin = memory.pin("bob")
    assert pin is not None
    assert pin.profile


def _verified(memory: SessionMemory) -> None:
    memory.set_pin(Pin("bob", b"1", False, 1, verified=2))


def _profile(memory: SessionMemory) -> None:
    memory.set_pin(Pin("bob", b"1", True, 1))


def _guest_then_profile(memory: SessionMemory) -> None:
    Peers(memory).meet("bob", b"0", Kind.GUEST, 1)
    Peers(memory).meet("bob", b"1", Kind.PROFILE, 2)


def _guest_that_became_a_profile(memory: SessionMemory) -> None:
    for kind in (Kind.GUEST, Kind.PROFILE, Kind.GUEST):
        Peers(memory).meet("bob", b"1", kind, 1)


HELD = [_verified, _profile, _guest_then_profile, _guest_that_became_a_profile]


@pytest.mark.parametrize("prepare", HELD)
@pytest.mark.parametrize("kind", Kind)
def test_a_name_that_is_held_to_its_key_keeps_it(prepare: Callable[[SessionMemory], None], kind: Kind) -> None:
    memory = SessionMemory()
    prepare(memory)
    peers = Peers(memory)
    assert not peers.may_receive("bob", b"2")
    assert _meet(peers, b"2", kind) == (False, [PeerKeyChanged("bob", b"1", b"2", accepted=False)])
    assert _meet(peers, b"2", kind) == (False, [])  # told once
    assert _meet(peers, b"3", kind) == (False, [PeerKeyChanged("bob", b"1", b"3", accepted=False)])
    pin = memory.pin("bob")
    assert pin is not None
    assert (pin.kid, pin.offered, pin.offered_at) == (b"1", b"3", NOW * 1000)
    assert peers.may_receive("bob", b"1")
    assert _meet(peers, b"1") == (True, [])
    assert peers.trust_of("bob", b"2") is Trust.CHANGED
    assert peers.trust_of("bob", b"1") in (Trust.PINNED, Trust.VERIFIED)


def test_nothing_comes_from_a_blocked_name_under_any_key() -> None:
    memory = SessionMemory()
    memory.set_pin(Pin("bob", b"1", False, 1, verified=3, blocked=True))
    peers = Peers(memory)
    assert not peers.may_receive("bob", b"1")
    assert not peers.may_receive("bob", b"2")
    assert _meet(peers, b"1") == (False, [])
    assert _meet(peers, b"2")[0] is False
    assert peers.trust_of("bob", b"1") is peers.trust_of("bob", b"2") is Trust.BLOCKED


def test_the_roster_is_not_believed_about_keys() -> None:
    peers = Peers(SessionMemory())
    _meet(peers, b"1")
    peers.roster(_full(BOB))
    assert peers.trust_of("bob", b"1") is Trust.PINNED


def _signed(seq: int = 1, *, name: str = "bob", kind: Kind = Kind.GUEST, now: float = NOW) -> SignedBundle:
    keys = keys_of(name)
    return sign_bundle("bob", kind, keys.signing, keys.opening.public, seq=seq, now=now)


def test_bundles_are_kept_while_they_are_valid_and_the_user_stays() -> None:
    peers = Peers(SessionMemory())
    keys = keys_of("bob")
    signed = _signed()
    assert peers.learn("bob", signed, NOW * 1000) == (None, [])
    assert peers.trust_of("bob", keys.signing.public.kid) is Trust.PINNED
    assert peers.bundle("bob", NOW * 1000) is not None
    assert peers.bundle("bob", (NOW + BUNDLE_LIFE + 301) * 1000) is None
    peers.roster(_full(BOB))
    assert peers.bundle("bob", NOW * 1000) is None
    peers.learn("bob", signed, NOW * 1000)
    peers.roster(_change((), ("bob",)))
    assert peers.bundle("bob", NOW * 1000) is None


def test_a_bundle_outlives_what_only_others_do() -> None:
    peers = Peers(SessionMemory())
    peers.learn("bob", _signed(), NOW * 1000)
    peers.roster(_full(CAROL))
    peers.roster(_change((DAVE,), ("carol",)))
    peers.forget_bundles(["dave"])
    assert peers.bundle("bob", NOW * 1000) is not None
    peers.forget_bundles(["bob"])
    assert peers.bundle("bob", NOW * 1000) is None


def test_a_bundle_that_is_not_believed_changes_nothing() -> None:
    peers = Peers(SessionMemory())
    bob, mallory = keys_of("bob"), keys_of("mallory")
    _meet(peers, bob.signing.public.kid)
    for user, now in (("carol", NOW), ("bob", NOW - 2 * BUNDLE_LIFE)):
        signed = sign_bundle(user, Kind.GUEST, mallory.signing, mallory.opening.public, seq=1, now=now)
        with pytest.raises(BadBundle):
            peers.learn("bob", signed, NOW * 1000)
    assert peers.bundle("bob", NOW * 1000) is None
    assert peers.trust_of("bob", bob.signing.public.kid) is Trust.PINNED


def test_a_bundle_is_looked_up_again_after_a_day() -> None:
    peers = Peers(SessionMemory())
    peers.learn("bob", _signed(), NOW * 1000)
    assert peers.bundle("bob", (NOW + 86_400) * 1000) is not None
    assert peers.bundle("bob", (NOW + 86_400) * 1000 + 1) is None


def test_a_bundle_older_than_one_that_was_seen_is_not_believed() -> None:
    memory = SessionMemory()
    peers = Peers(memory)
    peers.learn("bob", _signed(seq=7), NOW * 1000)
    for later in (peers, Peers(memory)):
        with pytest.raises(BadBundle):
            later.learn("bob", _signed(seq=6), NOW * 1000)
        assert later.learn("bob", _signed(seq=7), NOW * 1000) == (None, [])
    assert peers.learn("bob", _signed(seq=1, name="dave"), NOW * 1000)[0] is None  # another key counts for itself


def test_the_bundle_of_a_changed_key_is_not_used_until_a_person_accepts_it() -> None:
    memory = SessionMemory()
    peers = Peers(memory)
    assert peers.learn("bob", _signed(kind=Kind.PROFILE), NOW * 1000) == (None, [])
    old, new = keys_of("bob").signing.public.kid, keys_of("dave").signing.public.kid
    peers.forget_bundles()
    objection, news = peers.learn("bob", _signed(name="dave"), NOW * 1000)
    assert (objection, news) == (Trust.CHANGED, [PeerKeyChanged("bob", old, new, accepted=False)])
    assert peers.bundle("bob", NOW * 1000) is None
    pin = memory.pin("bob")
    assert pin is not None
    memory.set_pin(trust(pin, NOW * 1000))
    assert peers.learn("bob", _signed(name="dave"), NOW * 1000) == (None, [])
    assert peers.bundle("bob", NOW * 1000) is not None


def test_a_bundle_at_hand_is_not_used_once_its_owner_is_blocked() -> None:
    memory = SessionMemory()
    peers = Peers(memory)
    peers.learn("bob", _signed(), NOW * 1000)
    pin = memory.pin("bob")
    assert pin is not None
    memory.set_pin(block(pin))
    assert peers.bundle("bob", NOW * 1000) is None
    assert peers.learn("bob", _signed(), NOW * 1000) == (Trust.BLOCKED, [])
