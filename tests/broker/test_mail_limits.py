"""What bounds mailboxes: quotas, time, rates, the names they belong to, and a disk in trouble."""

from __future__ import annotations

import pytest

from broker import mailbox
from broker.quota import Quota
from core.messages import Mode, Noted, Results, Status, Told
from tests.broker.office import Office, Peer
from tests.net import PROOF


@pytest.fixture
def office() -> Office:
    return Office("alice", "bob")


def outcome(office: Office, sender: Peer, to: str, size: int = 100) -> list[Status] | None:
    """Send, and return the results."""
    mid = office.send(sender, to, size)
    return sender.results.get(mid)


# Bounds


def test_a_full_mailbox_refuses_until_there_is_room() -> None:
    office = Office("alice", "bob", quota=Quota(copies=3, bytes=1000))
    alice = office.join("alice")
    sent = [office.send(alice, "bob") for _ in range(4)]
    assert [alice.results[mid] for mid in sent] == [[Status.STORED]] * 3 + [[Status.FULL]]
    bob = office.join("bob")
    office.ack(bob)
    office.leave(bob)
    large = [office.send(alice, "bob", 400) for _ in range(3)]
    assert [alice.results[mid] for mid in large] == [[Status.STORED]] * 2 + [[Status.FULL]]


def test_what_was_given_out_and_does_not_fit_the_mailbox_is_refused_when_its_holder_goes() -> None:
    office = Office("alice", "bob", quota=Quota(copies=2))
    alice, bob = office.join("alice"), office.join("bob")
    sent = [office.send(alice, "bob") for _ in range(3)]
    office.pass_time(1)
    office.pass_time(1)
    assert [alice.results.get(mid) for mid in sent] == [[Status.STORED], [Status.STORED], None]
    office.leave(bob)
    assert alice.results[sent[2]] == [Status.FULL]


def test_a_slow_disk_does_not_fill_the_memory(office: Office) -> None:
    alice = office.join("alice")
    office.disk_waits = True
    size = 128 * 1024
    fit = mailbox.UNWRITTEN_MAX // size
    sent = [office.send(alice, "bob", size) for _ in range(fit + 2)]
    assert alice.results == {mid: [Status.UNSTORED] for mid in sent[fit:]}
    office.work()
    assert {tuple(alice.results[mid]) for mid in sent[:fit]} == {(Status.STORED,)}
    office.disk_waits = False
    assert outcome(office, alice, "bob", size) == [Status.STORED]


def test_old_mail_expires_and_its_senders_are_told() -> None:
    office = Office("alice", "bob", quota=Quota(seconds=1000))
    alice, gus = office.join("alice"), office.join("gus")
    office.pass_time(0)
    old = [office.send(alice, "bob") for _ in range(5)]
    guests = office.send(gus, "bob")
    office.pass_time(990)
    fresh = office.send(alice, "bob")
    office.pass_time(100)
    assert alice.told == [Told(mid, "bob", Status.EXPIRED, None) for mid in old]
    assert gus.told == [Told(guests, "bob", Status.EXPIRED, None)]
    assert office.join("bob").mids == [fresh]


def test_old_news_expires() -> None:
    office = Office("alice", "bob", quota=Quota(seconds=1000))
    alice = office.join("alice")
    office.pass_time(0)
    for _ in range(5):
        office.send(alice, "bob")
    office.leave(alice)
    office.ack(office.join("bob"))
    assert len(office.disk.receipts) == 5
    office.pass_time(1100)
    assert office.disk.receipts == {}
    assert office.join("alice").told == []


def test_a_user_may_send_so_much_a_second_and_ten_times_that_at_once() -> None:
    office = Office("alice", "bob", rate=10)
    office.pass_time(0)
    alice, again, bob = office.join("alice"), office.join("alice"), office.join("bob")
    sent = [office.send(one, "bob") for _ in range(60) for one in (alice, again)]
    results = {**alice.results, **again.results}
    refused = [mid for mid in sent if results.get(mid) == [Status.RATE]]
    assert 20 <= len(refused) <= 26  # some may be left to one of the two
    office.ack(bob)  # acknowledgements do not count
    assert outcome(office, bob, "alice") is None
    office.leave(again)
    while outcome(office, alice, "nobody") == [Status.ABSENT]:
        pass
    mid = office.fan_out(alice, "bob", "nobody")
    assert alice.results[mid] == [Status.RATE] * 2
    office.pass_time(1)
    assert [outcome(office, alice, "nobody") for _ in range(11)] == [[Status.ABSENT]] * 10 + [[Status.RATE]]


def test_a_connection_that_ends_gives_back_what_it_did_not_send() -> None:
    office = Office("alice", rate=10)
    office.pass_time(0)
    for _ in range(90):
        once = office.join("alice", Mode.SEND)
        office.send(once, "nobody")
        office.leave(once)
    last = office.join("alice", Mode.SEND)
    assert [outcome(office, last, "nobody") for _ in range(11)] == [[Status.ABSENT]] * 10 + [[Status.RATE]]


# Names


def test_a_released_name_takes_its_mailbox_with_it(office: Office) -> None:
    alice = office.join("alice")
    office.send(alice, "bob")
    office.send(alice, "bob")
    bob = office.join("bob")
    office.disk_waits = True
    unwritten = office.send(alice, "carol")
    office.write(office.claim("carol"))
    waits = office.send(alice, "carol")
    for user in ("alice", "bob", "carol"):
        office.release(user)
    office.work()
    assert alice.results[unwritten] == [Status.ABSENT]
    assert alice.results[waits] == [Status.ABSENT]
    assert office.disk.mail == {}
    office.ack(bob)
    assert alice.told == []
    assert bob.connection.bytes_out == 0
    office.write(office.claim("bob", key=1))
    office.leave(bob)
    assert office.join("bob", key=1).mids == []


def test_a_name_that_was_released_while_the_broker_could_not_purge_gives_nothing_to_the_next_owner(office: Office) -> None:
    alice = office.join("alice")
    office.send(alice, "bob")
    bob = office.join("bob")
    office.send(bob, "alice")
    office.leave(alice)
    to_alice = office.send(bob, "alice")
    office.log += [office.claim("x")]  # what follows is in the log before the broker starts again
    office.release("bob")
    office.disk.mail[99] = office.disk.mail[max(office.disk.mail)]._replace(id=99, user="bob", kid=office.claim("bob").kid)
    office.log.append(office.claim("bob", key=1))
    office.restart()
    assert [one.mid for one in office.disk.mail.values()][-1] == to_alice
    assert 99 not in office.disk.mail
    assert office.join("bob", key=1).mids == []


def test_the_bundle_of_an_absent_owner_is_the_newest_in_the_log(office: Office) -> None:
    office.write(office.bundle("bob", 1), office.bundle("bob", 3), office.bundle("bob", 2))
    found = office.router._ledger.bundle("bob")
    assert found is not None
    assert found.body == b"body 3"
    office.release("bob")
    assert office.router._ledger.bundle("bob") is None


# A disk in trouble


def test_a_disk_that_takes_nothing_is_said_and_mail_for_those_present_goes_on(office: Office) -> None:
    alice = office.join("alice")
    office.disk.unwritable = True
    lost = office.send(alice, "bob")
    assert alice.results == {lost: [Status.UNSTORED]}
    bob = office.join("bob")
    assert bob.mids == []
    mid = office.send(alice, "bob")
    office.pass_time(1)
    office.pass_time(1)  # it would be stored by now
    assert bob.mids == [mid]
    office.ack(bob)
    assert alice.results[mid] == [Status.DELIVERED]
    again = office.send(alice, "bob")
    office.pass_time(1)
    office.pass_time(1)
    office.leave(bob)
    assert alice.results[again] == [Status.UNSTORED]
    office.disk.unwritable = False
    kept = office.send(alice, "bob")
    assert alice.results[kept] == [Status.STORED]
    assert office.router.post.mailbox.count == 1


def test_what_was_acknowledged_while_the_disk_took_nothing_is_forgotten_later(office: Office) -> None:
    alice = office.join("alice")
    mid = office.send(alice, "bob")
    office.disk.unwritable = True
    bob = office.join("bob")
    office.ack(bob)
    assert alice.told == []
    assert len(office.disk.mail) == 1
    office.disk.unwritable = False
    office.work()
    assert alice.told == [Told(mid, "bob", Status.DELIVERED, PROOF)]
    assert office.disk.mail == {}


def test_a_disk_that_cannot_be_read_is_asked_again(office: Office) -> None:
    alice = office.join("alice")
    sent = [office.send(alice, "bob") for _ in range(3)]
    office.disk.unreadable = True
    bob = office.join("bob")
    assert (bob.waiting, bob.mids, bob.caught_up) == (3, [], 0)
    later = office.send(alice, "bob")
    office.disk.unreadable = False
    office.pass_time(1)
    assert bob.mids == [*sent, later]
    assert bob.caught_up == 1


def test_a_copy_that_is_lost_on_disk_keeps_nobody_waiting(office: Office) -> None:
    alice = office.join("alice")
    sent = [office.send(alice, "bob") for _ in range(3)]
    del office.disk.mail[min(office.disk.mail)]
    bob = office.join("bob")
    assert bob.mids == sent[1:]
    assert bob.caught_up == 1
    assert b"bob" in office.router.directory.receivers


def test_an_answer_for_an_earlier_connection_of_the_same_routing_id_is_not_taken(office: Office) -> None:
    alice = office.join("alice")
    sent = [office.send(alice, "bob") for _ in range(100)]
    office.disk_waits = True
    bob = office.join("bob")
    rid = bob.connection.rid
    office.leave(bob)
    bob = office.join("bob")
    stale = office.router.to_disk[0]
    office.router.to_disk[:] = [stale._replace(rid=bob.connection.rid, ids=(1, 2)), *office.router.to_disk[1:]]  # type: ignore[call-arg]
    assert rid != bob.connection.rid
    office.work()
    assert bob.mids == sent


def test_what_a_guest_says_it_has_noted_changes_nothing(office: Office) -> None:
    gus = office.join("gus")
    office.note(gus, 2**62)
    assert not any(isinstance(one, Results | Noted) for one in gus.heard)
    assert gus.connection.ready
