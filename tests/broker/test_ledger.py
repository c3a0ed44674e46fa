"""The log's events and what they amount to."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.ledger import (
    Admitted,
    Bundled,
    Claimed,
    Invited,
    Ledger,
    LogDamaged,
    LogEvent,
    Released,
    Revoked,
    decode_event,
    encode_event,
)
from core.encoding import b64url

NOW = 1_800_000_000
KEYS = [b64url(bytes([number]) * 32) for number in range(5)]
CURVES = [bytes([100 + number]) * 32 for number in range(3)]
INVITES = [bytes([200 + number]) * 32 for number in range(3)]
INVITE = b64url(INVITES[0])


def ledger_of(*events: LogEvent) -> Ledger:
    ledger = Ledger()
    for event in events:
        ledger.apply(event)
    return ledger


def claimed(user: str = "bob", key: int = 0, curve: int = 0, invite: str | None = None) -> Claimed:
    return Claimed(user, KEYS[key], b64url(CURVES[curve]), invite, NOW)


def admitted(user: str = "guest", key: int = 0) -> Admitted:
    return Admitted(user, KEYS[key], INVITE, NOW)


def invited(uses: int = 2, *, expires: int = NOW + 100) -> Invited:
    return Invited(INVITE, uses, expires, NOW)


def bundled(user: str = "bob", key: int = 0, seq: int = 1) -> Bundled:
    return Bundled(user, KEYS[key], seq, b"body", b"signature", NOW)


# The form of events

EVENTS: list[tuple[LogEvent, dict[str, object]]] = [
    (
        claimed(invite=INVITE),
        {"event": "claimed", "user": "bob", "kid": KEYS[0], "curve": b64url(CURVES[0]), "invite": INVITE, "at": NOW},
    ),
    (admitted(), {"event": "admitted", "user": "guest", "kid": KEYS[0], "invite": INVITE, "at": NOW}),
    (
        bundled(),
        {
            "event": "bundled",
            "user": "bob",
            "kid": KEYS[0],
            "seq": 1,
            "body": "Ym9keQ==",
            "signature": "c2lnbmF0dXJl",
            "at": NOW,
        },
    ),
    (Released("bob", NOW), {"event": "released", "user": "bob", "at": NOW}),
    (invited(), {"event": "invited", "invite": INVITE, "uses": 2, "expires": NOW + 100, "at": NOW}),
    (Revoked(INVITE, NOW), {"event": "revoked", "invite": INVITE, "at": NOW}),
]


def test_these_are_all_kinds_of_events() -> None:
    assert {type(event) for event, _ in EVENTS} == set(LogEvent.__args__)


@pytest.mark.parametrize(("event", "form"), EVENTS, ids=lambda one: type(one).__name__)
def test_an_event_is_canonical_json(event: LogEvent, form: dict[str, object]) -> None:
    raw = encode_event(event)
    assert raw == json.dumps(form, separators=(",", ":")).encode()
    assert decode_event(raw) == event


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b"\xff", b'{"event":"stolen","user":"bob","at":1}', b'{"event":"released","user":"bob"}']
)
def test_what_is_no_event_is_damage(raw: bytes) -> None:
    with pytest.raises(LogDamaged):
        decode_event(raw)


# Names


def test_a_name_is_its_first_claimers_until_it_is_released() -> None:
    first, second = claimed(key=0, curve=0), claimed(key=1, curve=1)
    ledger = ledger_of(first, second)
    assert ledger.owner("bob") == first
    assert ledger.knows(CURVES[0], NOW)
    assert not ledger.knows(CURVES[1], NOW)
    ledger.apply(Released("bob", NOW))
    assert ledger.owner("bob") is None
    assert not ledger.knows(CURVES[0], NOW)
    ledger.apply(second)
    assert ledger.owner("bob") == second
    assert ledger.knows(CURVES[1], NOW)


def test_a_curve_key_is_known_while_any_name_is_held_by_it() -> None:
    ledger = ledger_of(claimed("bob"), claimed("carol", 1), Released("bob", NOW))
    assert ledger.knows(CURVES[0], NOW)
    ledger.apply(Released("carol", NOW))
    assert not ledger.knows(CURVES[0], NOW)


def test_only_the_holders_bundles_count_and_none_goes_back() -> None:
    ledger = ledger_of(bundled(seq=9), claimed())
    assert ledger.newest_bundle("bob") == 0  # nobody held the name then
    ledger.apply(bundled(seq=3))
    ledger.apply(bundled(seq=2))
    ledger.apply(bundled(key=1, seq=7))
    assert ledger.newest_bundle("bob") == 3
    ledger.apply(Released("bob", NOW))
    ledger.apply(bundled(seq=8))  # was on its way while the name was released
    ledger.apply(claimed(key=1))
    assert ledger.newest_bundle("bob") == 0


def test_owners_come_in_the_order_of_their_names() -> None:
    ledger = ledger_of(claimed("carol"), claimed("alice", 1), claimed("bob", 2))
    assert [owner.user for owner in ledger.owners()] == ["alice", "bob", "carol"]


# Invites


def test_an_invite_opens_for_so_many_and_so_long() -> None:
    ledger = ledger_of(invited(uses=2))
    key, invite = ledger.invite(INVITES[0]) or ("", None)
    assert key == INVITE
    assert invite is not None
    assert ledger.knows(INVITES[0], NOW)
    assert not ledger.knows(INVITES[0], NOW + 100)  # the end is the first moment after
    assert invite.open_at(NOW + 99.9)
    ledger.apply(claimed(invite=INVITE))
    assert ledger.knows(INVITES[0], NOW)
    ledger.apply(claimed("carol", 1, invite=INVITE))
    assert invite.used == 2
    assert not invite.open_at(NOW)
    assert ledger.knows(INVITES[0], NOW)  # for a profile that never heard that it was let in
    ledger.apply(Released("bob", NOW))
    assert ledger.knows(INVITES[0], NOW)
    ledger.apply(Released("carol", NOW))
    assert not ledger.knows(INVITES[0], NOW)


def test_a_guest_uses_an_invite_once_and_may_come_back_by_it() -> None:
    ledger = ledger_of(invited(uses=1), admitted(), admitted())
    _, invite = ledger.invite(INVITES[0]) or ("", None)
    assert invite is not None
    assert (invite.used, invite.guests) == (1, {("guest", KEYS[0])})
    assert not invite.open_at(NOW)
    ledger.apply(Revoked(INVITE, NOW))
    assert ledger.knows(INVITES[0], NOW + 1000)
    ledger.apply(admitted(key=1))
    assert invite.used == 2


def test_a_lost_claim_uses_nothing() -> None:
    ledger = ledger_of(invited(uses=1), claimed(), claimed(key=1, invite=INVITE))
    _, invite = ledger.invite(INVITES[0]) or ("", None)
    assert invite is not None
    assert invite.used == 0


def test_a_revoked_invite_lets_nobody_new_in() -> None:
    ledger = ledger_of(invited(), Revoked(INVITE, NOW))
    assert not ledger.knows(INVITES[0], NOW)
    ledger.apply(invited(uses=100))  # nor does making it again
    assert not ledger.knows(INVITES[0], NOW)


def test_what_is_not_known_changes_nothing() -> None:
    ledger = ledger_of(Released("bob", NOW), Revoked(INVITE, NOW), admitted())
    assert list(ledger.owners()) == []
    assert list(ledger.invites()) == []
    assert ledger.invite(INVITES[0]) is None
    assert not ledger.knows(INVITES[0], NOW)


# Any history

users = st.sampled_from(["alice", "bob", "carol"])
kids = st.sampled_from(KEYS)
invites = st.sampled_from([b64url(one) for one in INVITES])
times = st.integers(NOW, NOW + 10)
events: st.SearchStrategy[LogEvent] = st.one_of(
    st.builds(Claimed, users, kids, st.sampled_from([b64url(one) for one in CURVES]), st.none() | invites, times),
    st.builds(Admitted, users, kids, invites, times),
    st.builds(Bundled, users, kids, st.integers(1, 9), st.binary(max_size=9), st.binary(max_size=9), times),
    st.builds(Released, users, times),
    st.builds(Invited, invites, st.integers(1, 3), times, times),
    st.builds(Revoked, invites, times),
)


def state(ledger: Ledger) -> object:
    return (
        list(ledger.owners()),
        [(key, one.uses, one.used, one.revoked, one.guests, one.profiles) for key, one in ledger.invites()],
        [ledger.newest_bundle(user) for user in ("alice", "bob", "carol")],
        [ledger.knows(key, NOW + 5) for key in (*CURVES, *INVITES)],
    )


@given(st.lists(events, max_size=60))
def test_the_ledger_is_a_fold_over_the_log(history: Sequence[LogEvent]) -> None:
    ledger = Ledger()
    for at, event in enumerate(history):
        ledger.apply(decode_event(encode_event(event)))
        again = ledger_of(*history[: at + 1])
        assert state(ledger) == state(again)


@given(st.lists(events, max_size=60))
def test_who_holds_a_name_is_told_by_the_log_alone(history: Sequence[LogEvent]) -> None:
    ledger = ledger_of(*history)
    for user in ("alice", "bob", "carol"):
        holder: Claimed | None = None
        newest = 0
        for event in history:
            if isinstance(event, Claimed) and event.user == user:
                holder = holder or event
            elif isinstance(event, Released) and event.user == user:
                holder, newest = None, 0
            elif isinstance(event, Bundled) and event.user == user and holder and holder.kid == event.kid:
                newest = max(newest, event.seq)
        assert ledger.owner(user) == holder
        assert ledger.newest_bundle(user) == newest
    held = {owner.curve for owner in ledger.owners()}
    assert [ledger.knows(key, NOW) for key in CURVES] == [b64url(key) in held for key in CURVES]


@given(st.lists(events, max_size=60))
def test_the_same_event_twice_in_a_row_is_as_good_as_once(history: Sequence[LogEvent]) -> None:
    doubled = [event for event in history for _ in range(2)]
    assert state(ledger_of(*doubled)) == state(ledger_of(*history))
