"""Mail under a name that bob knows by another key."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from core.bundle import Suite
from core.envelope import direct_cid
from core.events import PeerKeyChanged
from core.limits import MESSAGE_AGE_MAX_MS
from core.memory import Pin, SessionMemory, Taken
from core.opening import Delivery
from core.order import Stream
from core.trust import trust
from tests.attacks.lies import SUITES, Town, changes, draft, stages
from tests.keys import Keys, keys_of
from tests.pairs import START, Client

ALICE, BOB, CAROL, MALLORY = (keys_of(name) for name in ("alice", "bob", "carol", "mallory"))


def _mail(suite: Suite, by: Keys, **changes: Any) -> Delivery:
    """A message to bob in alice's name, signed by ``by`` and sealed to bob's true key."""
    cid = direct_cid(by.signing.public.kid, BOB.signing.public.kid)
    return draft(suite, signing=by.signing, cid=cid, mid=os.urandom(16)).but(**changes).make().delivery()


def _knowing_alice(*, verified: bool = False) -> tuple[Town, Client, SessionMemory]:
    """Bob has met alice, as a profile or, if she is verified, as a guest."""
    town, memory = Town(), SessionMemory()
    bob = town.join_profile("bob", memory)
    mark = START.ms if verified else None
    memory.set_pin(Pin("alice", ALICE.signing.public.kid, profile=not verified, since=1, verified=mark))
    return town, bob, memory


@SUITES
@pytest.mark.parametrize("verified", [False, True])
def test_another_key_writes_as_alice(suite: Suite, verified: bool) -> None:
    """Refused before any private operation, noted beside the pin, and told once; only a person's word lets it write."""
    town, bob, memory = _knowing_alice(verified=verified)
    old, new = ALICE.signing.public.kid, MALLORY.signing.public.kid
    for _ in range(2):
        town.hand_delivery(bob, _mail(suite, MALLORY))
    assert (bob.texts(), stages(bob), bob.keys.opening.operations) == ([], ["pin"] * 2, 0)
    assert changes(bob) == [PeerKeyChanged("alice", old, new, accepted=False)]
    pin = memory.pin("alice")
    assert pin is not None
    assert (pin.kid, pin.offered, pin.offered_at) == (old, new, town.now.ms)
    town.hand_delivery(bob, _mail(suite, ALICE))
    memory.set_pin(trust(pin, town.now.ms))
    town.hand_delivery(bob, _mail(suite, MALLORY))
    assert [sender for sender, _ in bob.texts()] == ["alice", "alice"]
    assert len(changes(bob)) == 1


@SUITES
def test_another_key_is_noted_that_nobody_proved_to_hold(suite: Suite) -> None:
    """A signature that fails, somebody else's message, an old one, a repeated one: none makes alice's a changed key."""
    town, bob, memory = _knowing_alice()
    before = memory.pin("alice")
    good = _mail(suite, MALLORY)
    elsewhere = direct_cid(MALLORY.signing.public.kid, CAROL.signing.public.kid)
    for lie in (
        _mail(suite, MALLORY, signer=CAROL.signing),
        _mail(suite, MALLORY, ts=START.ms - MESSAGE_AGE_MAX_MS - 1),
        _mail(suite, MALLORY, cid=elsewhere),
        replace(good, sender="mallory"),
        replace(good, mid=os.urandom(16)),
    ):
        town.hand_delivery(bob, lie)
    assert (stages(bob), changes(bob)) == (["signature", "freshness", "recipient", "route", "route"], [])
    assert memory.pin("alice") == before
    memory.take(Taken(MALLORY.signing.public.kid, good.mid, bytes(31) + b"p", bytes(16), 1, Stream(1)), START.ms)
    town.hand_delivery(bob, good)
    assert (len(stages(bob)), changes(bob), memory.pin("alice")) == (5, [], before)
