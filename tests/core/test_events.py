"""core.events: what is news about a copy, and what stays as it is."""

from __future__ import annotations

import pytest

from core.events import Outcome, overtakes

ON_THEIR_WAY = {Outcome.QUEUED, Outcome.SENT, Outcome.RATE}
FINAL = {
    Outcome.DELIVERED,
    Outcome.ABSENT,
    Outcome.GONE,
    Outcome.FULL,
    Outcome.UNSTORED,
    Outcome.EXPIRED,
    Outcome.REFUSED,
    Outcome.UNPROVEN,
    Outcome.UNTRUSTED,
    Outcome.CHANGED,
    Outcome.BLOCKED,
    Outcome.DROPPED,
}


def test_every_outcome_is_on_its_way_stored_or_final() -> None:
    assert ON_THEIR_WAY | {Outcome.STORED} | FINAL == set(Outcome)
    assert {one for one in Outcome if one.final} == FINAL
    assert {one for one in Outcome if one.safe} == {Outcome.STORED, Outcome.DELIVERED}
    assert {one for one in Outcome if one.failed} == FINAL - {Outcome.DELIVERED, Outcome.UNPROVEN}


@pytest.mark.parametrize("known", Outcome)
@pytest.mark.parametrize("news", Outcome)
def test_what_is_final_stays_and_what_is_stored_is_no_longer_on_its_way(news: Outcome, known: Outcome) -> None:
    if known in FINAL:
        assert not overtakes(news, known)
    elif known is Outcome.STORED:
        assert overtakes(news, known) is (news in FINAL)
    else:
        assert overtakes(news, known)
