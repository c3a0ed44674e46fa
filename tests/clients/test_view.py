"""How things are said."""

from __future__ import annotations

import sys
import unicodedata
from datetime import UTC, timedelta, timezone

import pytest

from clients import view
from core.content import Text, Unknown
from core.events import Outcome


def test_what_is_harmless_stays() -> None:
    text = "Grüße, 世界! שלום 👩\u200d👧 a\u200cb\tc\nd — “e”\u00a0f"
    assert view.clean(text) == text


def test_nothing_that_a_terminal_acts_on_stays() -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]))
    shown = view.clean(everything)
    for one in set(shown) - set("\n\t\u200c\u200d"):
        assert unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp"), hex(ord(one))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "␛[31m"),
        ("a\r\nb\rc", "a\nb␍c"),
        ("\x00\x07", "␀␇"),
        ("\x7f\x9b\u202e\u2066\u2028\ufeff", "\ufffd" * 6),
        ("\udc80", "\ufffd"),
    ],
)
def test_what_would_act_becomes_a_mark(text: str, shown: str) -> None:
    assert view.clean(text) == shown


def test_content_as_text() -> None:
    assert view.text_of(Text("a\x1bb")) == "a␛b"
    assert view.text_of(Unknown("po\x1bll")) == "[a message of the unknown type 'po␛ll']"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_a_mark_and_a_word(outcome: Outcome) -> None:
    assert view.tick({"bob": outcome}) == view.tick({"bob": outcome, "carol": outcome})
    assert view.outcome_word(outcome) in view.tick({"bob": outcome})
    assert view.tick({"bob": outcome}).startswith("✗") is (outcome.final and not outcome.safe)


def test_the_worst_of_many_is_shown_with_its_count() -> None:
    assert view.tick({}) == ""
    assert view.tick({"a": Outcome.DELIVERED, "b": Outcome.STORED, "c": Outcome.DELIVERED}) == "✓ stored (1 of 3)"
    assert view.tick({"a": Outcome.DELIVERED, "b": Outcome.QUEUED, "c": Outcome.FULL}) == "✗ their mailbox is full (1 of 3)"


def test_times() -> None:
    moment = 1_795_442_700.25
    assert view.iso(int(moment * 1000)) == "2026-11-23T14:05:00.250Z"
    assert view.clock(moment, UTC) == "14:05"
    assert view.clock(moment, timezone(timedelta(hours=10))) == "00:05"
    assert view.day(moment, UTC) == "Monday, 23 November 2026"
    assert view.day(moment, timezone(timedelta(hours=10))) == "Tuesday, 24 November 2026"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (90_000, "25 h")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert view.lasting(seconds) == shown


def test_lists_of_names() -> None:
    assert [view.listing("abcd"[:count]) for count in range(5)] == ["", "a", "a and b", "a, b and c", "a, b, c and d"]
