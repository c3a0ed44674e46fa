"""core.peers: the roster as told, and the keys as seen."""

from __future__ import annotations

import pytest

from core.bundle import Kind, sign_bundle
from core.errors import BadBundle, RemoteProtocolError
from core.events import PeerKeyChanged, RosterChanged, Trust
from core.limits import BUNDLE_LIFE, ROSTER_CHUNK, ROSTER_MAX
from core.messages import Entry, Roster
from core.peers import Peers
from tests.keys import keys_of

NOW = 1_800_000_000
BOB, CAROL, DAVE = (Entry(user, Kind.GUEST, user.encode().ljust(32)) for user in ("bob", "carol", "dave"))


def _full(*entries: Entry, more: bool = False, first: bool = True) -> Roster:
    return Roster(full=first, more=more, joined=entries, left=())


def _change(joined: tuple[Entry, ...] = (), left: tuple[str, ...] = ()) -> Roster:
    return Roster(full=False, more=False, joined=joined, left=left)


def test_a_roster_in_parts_takes_effect_with_its_last_part() -> None:
    peers = Peers()
    assert peers.roster(_full(BOB, more=True)) == []
    assert peers.roster(_full(CAROL, more=True, first=False)) == []
    assert peers.present == {}
    assert peers.roster(_full(DAVE, first=False)) == [RosterChanged((BOB, CAROL, DAVE), (), initial=True)]
    assert list(peers.present) == ["bob", "carol", "dave"]


def test_a_roster_begun_anew_forgets_the_parts_before() -> None:
    peers = Peers()
    peers.roster(_full(BOB, more=True))
    assert peers.roster(_full(CAROL)) == [RosterChanged((CAROL,), (), initial=True)]


def test_changes_tell_only_what_changed() -> None:
    peers = Peers()
    peers.roster(_full(BOB, CAROL))
    assert peers.roster(_change((DAVE,), ("bob",))) == [RosterChanged((DAVE,), (BOB,), initial=False)]
    assert peers.roster(_change((DAVE,), ("bob",))) == []
    again = Entry("carol", Kind.GUEST, bytes(32))
    assert peers.roster(_change((again,))) == [RosterChanged((again,), (), initial=False)]
    assert peers.roster(_full(DAVE)) == [RosterChanged((), (again,), initial=False)]
    assert peers.roster(_full(DAVE)) == [RosterChanged((), (), initial=False)]  # somebody may have asked for it


def test_whoever_reads_the_roster_is_not_disturbed_by_a_change() -> None:
    peers = Peers()
    peers.roster(_full(BOB))
    reading = iter(peers.present.values())
    peers.roster(_change((CAROL, DAVE)))
    peers.roster(_full(CAROL))
    assert list(reading) == [BOB]


@pytest.mark.parametrize("in_parts", [True, False])
def test_a_roster_without_end_is_refused(in_parts: bool) -> None:
    peers = Peers()
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


def test_the_first_key_pins_and_the_next_is_told() -> None:
    peers = Peers()
    assert peers.trust_of("bob", b"1") is Trust.NEW
    assert peers.meet("bob", b"1") == []
    assert (peers.trust_of("bob", b"1"), peers.trust_of("bob", b"2")) == (Trust.PINNED, Trust.CHANGED)
    assert peers.meet("bob", b"2") == [PeerKeyChanged("bob", b"1", b"2")]
    assert peers.meet("bob", b"2") == []
    assert peers.trust_of("bob", b"2") is Trust.CHANGED  # until a person says otherwise
    assert peers.meet("bob", b"1") == [PeerKeyChanged("bob", b"2", b"1")]


def test_the_roster_is_not_believed_about_keys() -> None:
    peers = Peers()
    peers.meet("bob", b"1")
    peers.roster(_full(BOB))
    assert peers.trust_of("bob", b"1") is Trust.PINNED


def test_bundles_are_kept_while_they_are_valid_and_the_user_stays() -> None:
    peers = Peers()
    keys = keys_of("bob")
    signed = sign_bundle("bob", Kind.GUEST, keys.signing, keys.opening.public, seq=1, now=NOW)
    assert peers.learn("bob", signed, NOW * 1000) == []
    assert peers.trust_of("bob", keys.signing.public.kid) is Trust.PINNED
    assert peers.bundle("bob", NOW * 1000) is not None
    assert peers.bundle("bob", (NOW + BUNDLE_LIFE + 301) * 1000) is None
    peers.roster(_full(BOB))
    assert peers.bundle("bob", NOW * 1000) is None
    peers.learn("bob", signed, NOW * 1000)
    peers.roster(_change((), ("bob",)))
    assert peers.bundle("bob", NOW * 1000) is None


def test_a_bundle_that_is_not_believed_changes_nothing() -> None:
    peers = Peers()
    bob, mallory = keys_of("bob"), keys_of("mallory")
    peers.meet("bob", bob.signing.public.kid)
    for user, now in (("carol", NOW), ("bob", NOW - 2 * BUNDLE_LIFE)):
        signed = sign_bundle(user, Kind.GUEST, mallory.signing, mallory.opening.public, seq=1, now=now)
        with pytest.raises(BadBundle):
            peers.learn("bob", signed, NOW * 1000)
    assert peers.bundle("bob", NOW * 1000) is None
    assert peers.trust_of("bob", bob.signing.public.kid) is Trust.PINNED
