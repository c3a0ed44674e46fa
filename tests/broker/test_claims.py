"""Claims on their way to a log that is slow, or cannot be written."""

from __future__ import annotations

import pytest

from broker.ledger import Admitted, Bundled, Claimed
from core.bundle import Kind
from core.encoding import b64url
from core.messages import Reason
from core.states import State
from tests.attacks.lies import Town, bundle
from tests.broker.test_door import invite, try_to_join
from tests.keys import keys_of


@pytest.fixture
def town() -> Town:
    town = Town()
    town.log_waits = True
    return town


def test_claims_of_those_who_left_are_bounded_too(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever claims, leaves and claims another name must not fill the broker's memory while the log stands still."""
    monkeypatch.setattr("broker.door.UNPROVEN_MAX", 2)
    for user in ("alice", "carol"):
        one = town.profile(user)
        assert try_to_join(town, one) is State.PROVING
        town.lose(one)
    assert try_to_join(town, town.profile("dave")) is Reason.BUSY
    assert len(town.unsafe) == 2
    town.commit()
    assert try_to_join(town, town.profile("dave")) is State.PROVING


def test_a_profiles_claim_does_not_rest_on_the_admission_of_a_guest_with_its_key(town: Town) -> None:
    town.log_waits = False
    key = invite(town, uses=2)
    town.log_waits = True
    guest, profile = town.make("alice"), town.profile("alice")
    assert guest.session.me.kid == profile.session.me.kid
    assert try_to_join(town, guest, key) is State.PROVING
    assert try_to_join(town, profile, key) is State.PROVING
    assert [type(event) for event in town.unsafe] == [Admitted, Claimed]
    town.commit()
    assert town.ledger.owner("alice") is not None


def test_a_bundle_that_came_into_the_log_by_another_way_counts(town: Town) -> None:
    """As all of them do when a broker starts."""
    town.log_waits = False
    alice = town.join_profile("alice")
    signed = bundle("alice", keys_of("alice"), kind=Kind.PROFILE, seq=7)
    town.commit(Bundled("alice", b64url(alice.session.me.kid), 7, signed.body, signed.signature, 0))
    assert town.ledger.newest_bundle("alice") == 7
