"""What a person decides about others, in a guest's memory and in a profile's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from clients.others import Arrival, Others
from clients.store import Store
from core.bundle import Kind
from core.errors import BadName, KeyChanged, NobodyVerified, NotVerified, PeerBlocked, PeerUnknown, SecureChatError
from core.events import Trust
from core.memory import Memory, Pin, SessionMemory
from core.messages import Entry
from core.names import safety_number

MINE, OLD, NEW, NEWER = (bytes([n]) * 32 for n in range(4))
CAME = 9_000
GUEST = Pin("bob", OLD, profile=False, since=1)
HELD = [replace(GUEST, profile=True), replace(GUEST, verified=5), replace(GUEST, blocked=True)]


@pytest.fixture(params=["guest", "profile"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    if request.param == "guest":
        yield SessionMemory()
        return
    with closing(Store(tmp_path / "profile.db", bytes(32))) as store:
        yield store


class Room:
    """A roster, and how often somebody decided."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.here: dict[str, Arrival] = {}
        self.decisions = 0
        self.others = Others("alice", MINE, memory, self.here.get, self._decided)

    def _decided(self) -> None:
        self.decisions += 1

    def enter(self, kid: bytes, kind: Kind = Kind.PROFILE, user: str = "bob") -> None:
        self.here[user] = Arrival(Entry(user, kind, kid), CAME)


@pytest.fixture
def room(memory: Memory) -> Room:
    return Room(memory)


def test_who_was_never_met_and_is_not_here_is_unknown(room: Room) -> None:
    for ask in (room.others.pin, room.others.block):
        with pytest.raises(PeerUnknown):
            ask("bob")
        with pytest.raises(BadName):
            ask("Bob!")
    assert room.others.standing("bob") is Trust.NEW
    room.others.check("bob")
    assert room.decisions == 0


@pytest.mark.parametrize("kind", list(Kind))
def test_who_is_here_can_be_verified_at_first_sight(room: Room, kind: Kind) -> None:
    room.enter(NEW, kind)
    pin = room.others.pin("bob")
    assert pin == Pin("bob", NEW, kind is Kind.PROFILE, CAME)
    assert room.memory.pin("bob") is None  # the roster alone is believed nothing
    assert room.others.number(pin) == safety_number("bob", NEW, "alice", MINE)
    assert room.others.verify(pin).verified
    stored = room.memory.pin("bob")
    assert stored is not None
    assert (stored.kid, stored.verified is not None) == (NEW, True)
    assert room.others.standing("bob") is Trust.VERIFIED
    assert room.decisions == 1


@pytest.mark.parametrize("held", HELD, ids=["profile", "verified", "blocked"])
def test_a_changed_key_waits_for_a_person(room: Room, held: Pin) -> None:
    room.memory.set_pin(held)
    room.enter(NEW)
    pin = room.others.pin("bob")
    assert (pin.kid, pin.offered, pin.offered_at) == (OLD, NEW, CAME)
    assert room.memory.pin("bob") == held
    assert room.others.number(pin) == safety_number("alice", MINE, "bob", NEW)
    assert room.others.standing("bob") is (Trust.BLOCKED if held.blocked else Trust.CHANGED)
    with pytest.raises(PeerBlocked if held.blocked else KeyChanged):
        room.others.check("bob")
    accepted = room.others.trust(pin)
    assert (accepted.kid, accepted.offered, accepted.verified, accepted.blocked) == (NEW, None, None, False)
    assert room.others.standing("bob") is Trust.PINNED
    room.others.check("bob")


def test_a_guests_new_key_is_the_one_to_decide_about(room: Room) -> None:
    room.memory.set_pin(GUEST)
    room.enter(NEW, Kind.GUEST)
    assert room.others.pin("bob") == Pin("bob", NEW, profile=False, since=CAME)
    room.others.check("bob")


def test_a_key_that_was_offered_and_is_gone_again_is_not_asked_about(room: Room) -> None:
    room.memory.set_pin(replace(HELD[0], offered=NEW, offered_at=3))
    assert room.others.standing("bob") is Trust.CHANGED  # away: the last that was seen
    room.enter(OLD)
    assert room.others.standing("bob") is Trust.PINNED
    assert room.others.verify(room.others.pin("bob")).kid == OLD


@pytest.mark.parametrize("decide", ["verify", "trust"])
def test_only_the_key_that_was_shown_is_decided_about(room: Room, decide: str) -> None:
    room.memory.set_pin(HELD[0])
    room.enter(NEW)
    shown = room.others.pin("bob")
    room.enter(NEWER)
    with pytest.raises(KeyChanged):
        getattr(room.others, decide)(shown)
    assert room.memory.pin("bob") == HELD[0]
    assert room.decisions == 0


def test_a_guest_is_who_was_never_anything_else(room: Room) -> None:
    assert not room.others.is_guest("bob")  # nobody knows
    room.enter(OLD, Kind.GUEST)
    assert room.others.is_guest("bob")
    room.enter(OLD)
    assert not room.others.is_guest("bob")
    room.enter(NEW, Kind.GUEST)
    for pin in (GUEST, *HELD):
        room.memory.set_pin(pin)
        assert room.others.is_guest("bob") is (pin is GUEST)


def test_a_block_ends_with_trust(room: Room) -> None:
    room.enter(OLD)
    assert room.others.block("bob").blocked
    assert room.others.standing("bob") is Trust.BLOCKED
    with pytest.raises(PeerBlocked):
        room.others.check("bob")
    room.others.trust(room.others.pin("bob"))
    assert room.others.standing("bob") is Trust.PINNED
    assert room.decisions == 2


@pytest.mark.parametrize(
    ("users", "verified_only", "raised"),
    [
        (("stranger",), False, None),
        (("blocked",), False, PeerBlocked),
        (("changed",), False, KeyChanged),
        (("blocked", "changed"), False, PeerBlocked),
        (("blocked", "met"), False, None),
        (("changed", "stranger"), False, None),
        (("verified",), True, None),
        (("changed",), True, KeyChanged),
        (("changed", "verified"), True, None),
        (("met",), True, NotVerified),
        (("verified", "stranger"), True, NotVerified),
        (("blocked",), True, NotVerified),
        ((), True, None),
        ((), False, None),
    ],
)
def test_what_keeps_all_from_being_written_to(
    memory: Memory, users: tuple[str, ...], verified_only: bool, raised: type[SecureChatError] | None
) -> None:
    others = Others("alice", MINE, memory)
    if verified_only:
        with pytest.raises(NobodyVerified):
            others.check_for_sending((), verified_only=True)
    for pin in (
        replace(GUEST, user="met"),
        replace(GUEST, user="verified", verified=5),
        replace(GUEST, user="blocked", verified=5, blocked=True),
        replace(GUEST, user="changed", verified=5, offered=NEW, offered_at=6),
    ):
        memory.set_pin(pin)
    with contextlib.nullcontext() if raised is None else pytest.raises(raised):
        others.check_for_sending(users, verified_only=verified_only)
