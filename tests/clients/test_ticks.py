"""clients.ticks: what became of what was sent, in one line."""

from __future__ import annotations

from clients.ticks import Ticks
from core.bundle import Suite
from core.content import Text
from core.events import MessageSent, Outcome, Receipt


def sent(number: int, *to: str) -> MessageSent:
    return MessageSent(bytes([number]) * 16, to, False, Suite.HYBRID, Text("hi"), 0)


def test_the_last_message_stays_and_the_unsettled_are_counted() -> None:
    ticks = Ticks()
    assert ticks.summary() == ""
    for number in (1, 2, 3):
        ticks.sent(sent(number, "bob"))
    assert ticks.summary() == "3x … queued"
    for number in (1, 2):
        assert ticks.receipt(Receipt(bytes([number]) * 16, "bob", Outcome.STORED)) is None
    assert ticks.summary() == "2x ✓ stored · … queued"
    for number in (1, 2, 3):
        ticks.receipt(Receipt(bytes([number]) * 16, "bob", Outcome.DELIVERED))
    assert ticks.summary() == "3x ✓✓ delivered"
    ticks.sent(sent(4, "bob", "carol"))
    assert ticks.summary() == "… queued"
    ticks.receipt(Receipt(bytes([4]) * 16, "bob", Outcome.DELIVERED))
    assert ticks.summary() == "… queued (1 of 2)"


def test_what_fails_is_named_once() -> None:
    ticks = Ticks()
    message = sent(1, "bob", "carol")
    ticks.sent(message)
    assert ticks.receipt(Receipt(message.id, "bob", Outcome.ABSENT)) is message
    assert ticks.receipt(Receipt(message.id, "bob", Outcome.GONE)) is None
    assert ticks.receipt(Receipt(message.id, "dave", Outcome.ABSENT)) is None
    assert ticks.receipt(Receipt(b"\0" * 16, "bob", Outcome.ABSENT)) is None
    assert ticks.receipt(Receipt(message.id, "carol", Outcome.DELIVERED)) is None
    assert ticks.summary() == "✗ was not here (1 of 2)"
    assert ticks.open(message.id) is None
    ticks.sent(sent(2, "bob"))
    assert ticks.open(sent(2, "bob").id) == sent(2, "bob")
