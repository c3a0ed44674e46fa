"""A log that is slow, or cannot be written for a while: what waits for it is bounded, and nobody is let in without it."""

from __future__ import annotations

import os

import pytest

from broker import door
from broker.ledger import Bundled, Claimed
from core.bundle import read_bundle
from core.messages import Reason
from core.states import State
from tests.attacks.lies import Town, profile_of
from tests.broker.test_door import invite, try_to_join, used
from tests.keys import keys_of

CURVE = os.urandom(32)


@pytest.fixture
def town() -> Town:
    here = Town()
    here.log_waits = True
    return here


def test_whoever_comes_again_waits_for_the_claim_that_is_on_its_way(town: Town) -> None:
    alice = town.profile("alice")
    for _ in range(3):
        assert try_to_join(town, alice) is State.PROVING
        town.lose(alice)
    assert try_to_join(town, alice) is State.PROVING
    assert len(town.unsafe) == 1
    town.commit()
    town.settle()
    assert alice.session.state is State.READY


def test_coming_again_does_not_use_an_invite_up(town: Town) -> None:
    key = invite(town, uses=1)
    alice = town.profile("alice")
    for _ in range(2):
        assert try_to_join(town, alice, key) is State.PROVING
        town.lose(alice)
    assert try_to_join(town, town.profile("bob"), key) is Reason.NOT_INVITED
    town.commit()
    assert used(town, key) == 1
    assert [event.user for event in town.log if isinstance(event, Claimed)] == ["alice"]


def test_only_so_many_claims_wait(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "UNPROVEN_MAX", 2)
    for user in ("alice", "bob"):
        client = town.profile(user)
        assert try_to_join(town, client) is State.PROVING
        town.lose(client)  # the claim waits all the same
    assert try_to_join(town, town.profile("carol")) is Reason.BUSY
    town.commit()
    assert try_to_join(town, town.profile("carol")) is State.PROVING


def test_of_the_bundles_that_wait_only_the_newest_is_logged(town: Town) -> None:
    town.log_waits = False
    profile = profile_of("alice")
    alice = town.enter(profile.identity(CURVE), None, keys_of("alice"))
    town.connect(alice)
    town.log_waits = True
    for _ in range(5):
        profile = profile.rotated(keys_of("dave").opening, town.now.wall)
        alice.session.adopt(profile.identity(CURVE))
        town.settle()
    assert len(town.unsafe) == 1
    town.commit()
    assert [event.seq for event in town.log if isinstance(event, Bundled)] == [1, 2, 6]
    found = town.ledger.bundle("alice")
    assert found is not None
    assert read_bundle(found, "alice").seq == 6
