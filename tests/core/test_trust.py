"""What becomes of a pin, and the number that two people compare."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.memory import Pin
from core.names import safety_number
from core.trust import block, holds, seen, trust, verify

NOW = 2_000
OLD, NEW = bytes([1]) * 32, bytes([2]) * 32
PROTOCOL = Path(__file__).parent.parent.parent / "docs" / "PROTOCOL.md"

FIRST = Pin("bob", OLD, profile=False, since=1)
VERIFIED = replace(FIRST, verified=5)
CHANGED = Pin("bob", OLD, profile=True, since=1, verified=5, offered=NEW, offered_at=7)


@pytest.mark.parametrize("profile", [True, False])
def test_a_first_key_is_pinned(profile: bool) -> None:
    assert seen(None, "bob", NEW, profile=profile, now_ms=NOW) == Pin("bob", NEW, profile, NOW)


@pytest.mark.parametrize("pin", [FIRST, VERIFIED, CHANGED, block(FIRST)])
def test_the_same_key_changes_nothing_but_that_a_profile_stays_one(pin: Pin) -> None:
    assert seen(pin, "bob", OLD, profile=pin.profile, now_ms=NOW) == pin
    assert seen(pin, "bob", OLD, profile=True, now_ms=NOW) == replace(pin, profile=True)
    assert seen(replace(pin, profile=True), "bob", OLD, profile=False, now_ms=NOW).profile


def test_a_guests_other_key_replaces_the_first() -> None:
    assert not holds(FIRST)
    assert seen(FIRST, "bob", NEW, profile=True, now_ms=NOW) == Pin("bob", NEW, profile=True, since=NOW)


@pytest.mark.parametrize("pin", [VERIFIED, replace(FIRST, profile=True), block(FIRST)])
def test_any_other_name_s_other_key_is_noted_once(pin: Pin) -> None:
    assert holds(pin)
    noted = seen(pin, "bob", NEW, profile=False, now_ms=NOW)
    assert noted == replace(pin, offered=NEW, offered_at=NOW)
    assert seen(noted, "bob", NEW, profile=False, now_ms=NOW + 1) == noted


def test_verifying_accepts_the_key_that_is_there() -> None:
    assert verify(FIRST, NOW) == replace(FIRST, verified=NOW)
    assert verify(VERIFIED, NOW) == replace(FIRST, verified=NOW)


def test_verifying_accepts_the_changed_key() -> None:
    assert verify(CHANGED, NOW) == Pin("bob", NEW, profile=True, since=NOW, verified=NOW)


def test_trusting_accepts_the_changed_key_unverified() -> None:
    assert trust(CHANGED, NOW) == Pin("bob", NEW, profile=True, since=NOW)


@pytest.mark.parametrize("pin", [FIRST, VERIFIED])
def test_trusting_a_key_that_did_not_change_changes_nothing(pin: Pin) -> None:
    assert trust(pin, NOW) == pin


@pytest.mark.parametrize("pin", [FIRST, VERIFIED, CHANGED])
def test_a_block_ends_with_trust_or_verification(pin: Pin) -> None:
    blocked = block(pin)
    assert blocked == replace(pin, blocked=True)
    assert trust(blocked, NOW) == trust(pin, NOW)
    assert verify(blocked, NOW) == verify(pin, NOW)
    assert not trust(blocked, NOW).blocked


# Safety numbers

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True)
kids = st.binary(min_size=32, max_size=32)
few = settings(max_examples=15)


@few
@given(names, kids, names, kids)
def test_both_ends_see_the_same_60_digits(one: str, kid: bytes, other: str, other_kid: bytes) -> None:
    number = safety_number(one, kid, other, other_kid)
    assert number == safety_number(other, other_kid, one, kid)
    groups = number.split(" ")
    assert len(groups) == 12
    assert all(len(group) == 5 and group.isdecimal() and group.isascii() for group in groups)


@few
@given(kids, kids, st.integers(0, 255))
def test_any_other_key_or_name_gives_another_number(kid: bytes, other_kid: bytes, bit: int) -> None:
    flipped = bytearray(kid)
    flipped[bit // 8] ^= 1 << bit % 8
    right = safety_number("alice", kid, "bob", other_kid)
    assert right != safety_number("alice", bytes(flipped), "bob", other_kid)
    assert right != safety_number("alicf", kid, "bob", other_kid)
    assert (right == safety_number("bob", kid, "alice", other_kid)) is (kid == other_kid)


def test_somebody_in_between_cannot_show_both_the_same() -> None:
    alice, bob, mallory = (bytes([number]) * 32 for number in (1, 2, 3))
    assert safety_number("alice", alice, "bob", mallory) != safety_number("bob", bob, "alice", mallory)


def test_the_number_is_computed_as_documented() -> None:
    def half(user: bytes, kid: bytes) -> list[str]:
        label = digest = b"sc1 safety number\0" + user + b"\0" + kid
        for _ in range(5200):
            digest = hashlib.sha512(digest + label).digest()
        return [f"{int.from_bytes(digest[at : at + 5], 'big') % 100_000:05d}" for at in range(0, 30, 5)]

    alice, bob = bytes([1]) * 32, bytes([2]) * 32
    first, second = sorted([half(b"alice", alice), half(b"bob", bob)])
    number = safety_number("alice", alice, "bob", bob)
    assert number == " ".join(first + second)
    assert f"    {number}\n" in PROTOCOL.read_text()
