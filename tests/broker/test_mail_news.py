"""What senders are told of copies that were stored, and how long that is kept for them."""

from __future__ import annotations

import pytest

from broker import mailbox
from core.limits import KEPT_MAX
from core.messages import Kept, Mode, Status, Told
from tests.broker.office import Office
from tests.net import PROOF


@pytest.fixture
def office() -> Office:
    return Office("alice", "bob")


def test_news_waits_for_an_owner_and_is_told_until_it_is_noted(office: Office) -> None:
    alice = office.join("alice")
    sent = [office.send(alice, "bob") for _ in range(2)]
    office.leave(alice)
    office.ack(office.join("bob"))
    expected = [Told(mid, "bob", Status.DELIVERED, PROOF) for mid in sent]
    for mode in (Mode.FULL, Mode.SEND):
        alice = office.join("alice", mode)
        assert alice.told == expected
        office.leave(alice)
    office.restart()
    alice = office.join("alice")
    assert alice.told == expected
    office.note(alice, alice.kept[-1].upto)
    assert office.disk.receipts == {}
    assert office.join("alice").told == []


def test_every_connection_of_a_sender_is_told(office: Office) -> None:
    one, other = office.join("alice"), office.join("alice", Mode.SEND)
    mid = office.send(one, "bob")
    office.ack(office.join("bob"))
    assert one.told == other.told == [Told(mid, "bob", Status.DELIVERED, PROOF)]


def test_much_news_comes_in_portions_the_next_when_one_is_noted(office: Office) -> None:
    alice = office.join("alice")
    sent = [office.send(alice, "bob", 1) for _ in range(2 * KEPT_MAX + 1)]
    office.leave(alice)
    bob = office.join("bob")
    office.ack(bob)
    alice = office.join("alice")
    assert [len(one.told) for one in alice.kept] == [KEPT_MAX]
    late = office.send(alice, "bob", 1)
    office.pass_time(1)
    office.pass_time(1)
    office.ack(bob)  # this news comes behind what waits
    assert len(alice.kept) == 1
    office.note(alice, alice.kept[-1].upto - 1)  # not all of it
    assert len(alice.kept) == 1
    while alice.kept[-1].told[-1].mid != late:
        office.note(alice, alice.kept[-1].upto)
    assert [one.mid for one in alice.told] == [*sent, late]
    assert [len(one.told) for one in alice.kept] == [KEPT_MAX, KEPT_MAX, 2]
    office.note(alice, alice.kept[-1].upto)
    assert office.disk.receipts == {}


def test_a_guest_is_told_while_it_is_here_and_nothing_is_kept_for_it(office: Office) -> None:
    gus = office.join("gus", key=1)
    mid = office.send(gus, "bob")
    other = office.send(gus, "bob")
    bob = office.join("bob")
    office.ack(bob, bob.copies[:1])
    assert gus.kept == [Kept(0, (Told(mid, "bob", Status.DELIVERED, PROOF),))]
    office.leave(gus)
    gus = office.join("gus", key=2)  # the name, but not the key
    office.ack(bob)
    assert gus.kept == []
    assert office.disk.receipts == {}
    assert other not in gus.results


def test_only_so_much_news_is_kept(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "RECEIPTS_MAX", 10)
    alice = office.join("alice")
    sent = [office.send(alice, "bob") for _ in range(15)]
    office.leave(alice)
    office.ack(office.join("bob"))
    assert [one.mid for one in office.join("alice").told] == sent[5:]
    assert len(office.disk.receipts) == 10


def test_numbers_of_news_are_not_used_twice(office: Office) -> None:
    """A client that noted the news up to a number would take newer news for old."""
    alice, bob = office.join("alice"), office.join("bob")
    highest = 0
    for _ in range(3):
        office.leave(bob)
        office.send(alice, "bob")
        bob = office.join("bob")
        office.ack(bob)
        (kept,) = alice.kept
        assert kept.upto > highest
        highest = kept.upto
        office.note(alice, highest)
        assert office.disk.receipts == {}
        office.restart()
        alice, bob = office.join("alice"), office.join("bob")
