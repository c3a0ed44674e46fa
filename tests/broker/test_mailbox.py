"""Mailboxes as the router keeps them: what is stored, for how long, in which order, and what senders are told."""

from __future__ import annotations

import pytest

from core.limits import WINDOW_BYTES, WINDOW_COPIES
from core.messages import CaughtUp, Status, Told, Welcome
from tests.broker.office import REFUSED, Office
from tests.net import PROOF


@pytest.fixture
def office() -> Office:
    return Office("alice", "bob")


def test_mail_for_an_absent_owner_is_stored_and_given_at_the_login_in_its_order(office: Office) -> None:
    alice = office.join("alice")
    sent = [office.send(alice, "bob") for _ in range(5)]
    assert alice.results == {mid: [Status.STORED] for mid in sent}
    bob = office.join("bob")
    assert bob.mids == sent
    kinds = [type(one) for one in bob.heard]
    assert kinds[0] is Welcome
    assert kinds[-1] is CaughtUp
    assert bob.waiting == 5
    office.ack(bob)
    assert alice.told == [Told(mid, "bob", Status.DELIVERED, PROOF) for mid in sent]
    assert office.disk.mail == {}
    assert (office.router.post.mailbox.count, office.router.post.mailbox.bytes) == (0, 0)


def test_what_was_stored_is_there_after_a_restart_and_what_comes_then_besides(office: Office) -> None:
    alice = office.join("alice")
    sent = [office.send(alice, "bob") for _ in range(3)]
    office.restart()
    sent.append(office.send(office.join("alice"), "bob"))
    assert office.join("bob").mids == sent


def test_nothing_is_reported_stored_before_it_is(office: Office) -> None:
    alice = office.join("alice")
    office.disk_waits = True
    mid = office.send(alice, "bob")
    assert alice.results == {}
    office.work()
    assert alice.results == {mid: [Status.STORED]}


def test_what_is_acknowledged_soon_never_reaches_the_disk(office: Office) -> None:
    alice, bob = office.join("alice"), office.join("bob")
    office.disk_waits = True
    mid = office.send(alice, "bob")
    office.ack(bob)
    office.pass_time(1)
    office.pass_time(1)
    assert alice.results == {mid: [Status.DELIVERED]}
    assert not [one for one in office.router.to_disk if type(one).__name__ in ("Put", "Drop")]


def test_whoever_has_nothing_waiting_is_told_so_at_once_and_guests_are_not(office: Office) -> None:
    assert [type(one) for one in office.join("bob").heard] == [Welcome, CaughtUp]
    assert [type(one) for one in office.join("gus").heard] == [Welcome]


def test_a_guest_has_no_mailbox(office: Office) -> None:
    alice = office.join("alice")
    absent = office.send(alice, "gus")
    gus = office.join("gus")
    gone = office.send(alice, "gus")
    office.pass_time(5)
    office.leave(gus)
    assert alice.results == {absent: [Status.ABSENT], gone: [Status.GONE]}
    assert office.disk.mail == {}


def test_a_fan_out_waits_for_those_who_are_away_each_with_their_wrap(office: Office) -> None:
    alice = office.join("alice")
    gus = office.join("gus")
    mid = office.fan_out(alice, "gus", "bob", "nobody")
    bob = office.join("bob")
    assert [(one.mid, one.common, one.wrap) for one in bob.copies] == [(mid, b"common", b"wrap for bob")]
    office.ack(bob)
    office.ack(gus)
    assert sorted(alice.results[mid]) == [Status.STORED, Status.DELIVERED, Status.ABSENT]
    assert alice.told == [Told(mid, "bob", Status.DELIVERED, PROOF)]


def test_a_copy_that_is_not_acknowledged_is_stored_and_stays_on_its_way(office: Office) -> None:
    alice, bob = office.join("alice"), office.join("bob")
    mid = office.send(alice, "bob")
    office.pass_time(1)
    office.pass_time(1)
    assert alice.results == {mid: [Status.STORED]}
    assert bob.mids == [mid]  # not a second time
    later = office.send(alice, "bob")  # and what comes next need not wait for it
    assert bob.mids == [mid, later]
    office.ack(bob)
    assert alice.told == [Told(mid, "bob", Status.DELIVERED, PROOF)]
    assert alice.results[later] == [Status.DELIVERED]
    assert office.disk.mail == {}


def test_an_acknowledgement_before_the_commit_is_the_answer(office: Office) -> None:
    alice, bob = office.join("alice"), office.join("bob")
    mid = office.send(alice, "bob")
    office.disk_waits = True
    office.pass_time(1)
    office.pass_time(1)
    office.ack(bob)
    assert alice.results == {mid: [Status.DELIVERED]}
    office.work()
    assert alice.results == {mid: [Status.DELIVERED]}
    assert (alice.told, office.disk.mail, office.disk.receipts) == ([], {}, {})


def test_what_a_connection_leaves_behind_waits_in_its_order(office: Office) -> None:
    alice, bob = office.join("alice"), office.join("bob")
    sent = [office.send(alice, "bob") for _ in range(3)]
    office.ack(bob, bob.copies[1:2])
    office.leave(bob)
    assert alice.results == {sent[0]: [Status.STORED], sent[1]: [Status.DELIVERED], sent[2]: [Status.STORED]}
    later = office.send(alice, "bob")
    assert office.join("bob").mids == [sent[0], sent[2], later]


def test_what_comes_while_older_mail_is_read_goes_behind_it(office: Office) -> None:
    alice = office.join("alice")
    first = office.send(alice, "bob")
    office.disk_waits = True
    bob = office.join("bob")
    second = office.send(alice, "bob")
    assert bob.mids == []
    office.work()
    third = office.send(alice, "bob")
    assert bob.mids == [first, second, third]
    office.work()
    assert bob.mids == [first, second, third]  # the third was given at once
    assert bob.caught_up == 1
    assert set(office.disk.mail) == {1, 2}


def test_more_than_a_window_waits_and_follows_as_it_is_acknowledged(office: Office) -> None:
    alice = office.join("alice")
    sent = [office.send(alice, "bob", 1) for _ in range(WINDOW_COPIES + 200)]
    bob = office.join("bob")
    assert bob.mids == sent[:WINDOW_COPIES]
    assert bob.caught_up == 0
    late = office.send(alice, "bob", 1)
    office.ack(bob, bob.copies[:100])
    assert bob.mids == sent[: WINDOW_COPIES + 100]
    office.ack(bob)
    office.ack(bob)
    assert bob.mids == [*sent, late]
    assert bob.caught_up == 1
    assert len(alice.told) == len(sent) + 1


def test_a_window_of_bytes_bounds_what_is_given_out(office: Office) -> None:
    alice = office.join("alice")
    size = WINDOW_BYTES // 64
    sent = [office.send(alice, "bob", size) for _ in range(70)]
    bob = office.join("bob")
    assert bob.mids == sent[:64]
    assert bob.connection.bytes_out == WINDOW_BYTES
    office.ack(bob, bob.copies[:1])
    assert bob.mids == sent[:65]


def test_what_does_not_fit_a_present_owners_window_waits_on_disk(office: Office) -> None:
    alice, bob = office.join("alice"), office.join("bob")
    sent = [office.send(alice, "bob", 1) for _ in range(WINDOW_COPIES + 3)]
    assert {alice.results[mid][0] for mid in sent[WINDOW_COPIES:]} == {Status.STORED}
    office.ack(bob)
    office.ack(bob)
    assert bob.mids == sent
    assert [one.mid for one in alice.told] == sent[WINDOW_COPIES:]
    assert b"bob" in office.router.directory.receivers


def test_what_comes_behind_a_copy_on_its_way_to_the_disk_waits_for_it(office: Office) -> None:
    alice, bob = office.join("alice"), office.join("bob")
    sent = [office.send(alice, "bob", 1) for _ in range(WINDOW_COPIES)]
    office.disk_waits = True
    sent.append(office.send(alice, "bob", 1))  # does not fit
    office.ack(bob)
    sent.append(office.send(alice, "bob", 1))  # would fit
    assert bob.mids == sent[:-2]
    office.work()
    assert bob.mids == sent


def test_a_small_message_does_not_pass_a_large_one_that_did_not_fit(office: Office) -> None:
    alice, bob = office.join("alice"), office.join("bob")
    sent = [office.send(alice, "bob", WINDOW_BYTES // 100) for _ in range(100)]
    sent += [office.send(alice, "bob", size) for size in (200, 20)]
    assert bob.mids == sent[:100]
    office.ack(bob)
    assert bob.mids == sent


def test_a_queue_that_takes_no_more_is_tried_again_in_order(office: Office) -> None:
    alice, bob = office.join("alice"), office.join("bob")
    office.rejected.add(bob.connection)
    sent = [office.send(alice, "bob") for _ in range(3)]
    office.pass_time(1)
    assert bob.mids == []
    office.rejected.clear()
    office.pass_time(1)
    assert bob.mids == sent
    assert {tuple(alice.results[mid]) for mid in sent} == {(Status.STORED,)}


# Several connections of one user


def test_a_queue_that_takes_nothing_of_what_waits_is_tried_again_in_order(office: Office) -> None:
    alice = office.join("alice")
    sent = [office.send(alice, "bob") for _ in range(300)]
    office.disk_waits = True
    bob = office.join("bob")
    office.rejected.add(bob.connection)
    office.work()
    office.disk_waits = False
    sent.append(office.send(alice, "bob"))
    assert bob.mids == []
    office.rejected.clear()
    assert bob.mids == []
    office.pass_time(1)
    assert bob.mids == sent
    assert bob.caught_up == 1


def test_each_connection_gets_what_waits_and_the_first_acknowledgement_retires_it(office: Office) -> None:
    alice = office.join("alice")
    sent = [office.send(alice, "bob") for _ in range(3)]
    desk, phone = office.join("bob"), office.join("bob")
    assert desk.mids == phone.mids == sent
    office.ack(phone)
    assert [one.mid for one in alice.told] == sent
    assert (desk.connection.bytes_out, desk.connection.catch_up.held) == (0, {})
    office.ack(desk)
    assert [one.mid for one in alice.told] == sent


def test_where_one_connection_is_full_all_get_what_comes_then_by_the_disk(office: Office) -> None:
    alice = office.join("alice")
    for _ in range(100):
        office.send(alice, "bob", WINDOW_BYTES // 100)
    desk, phone = office.join("bob"), office.join("bob")
    office.ack(phone, proof=REFUSED)  # it has room again; the other has not
    mid = office.send(alice, "bob", 1000)
    assert alice.results[mid] == [Status.STORED]
    assert phone.mids[-1] == mid
    office.ack(desk)
    assert desk.mids[-1] == mid


def test_whoever_waits_for_what_another_took_goes_on_at_once(office: Office) -> None:
    alice = office.join("alice")
    for _ in range(WINDOW_COPIES + 10):
        office.send(alice, "bob", 1)
    desk, phone = office.join("bob"), office.join("bob")
    office.ack(phone)
    office.ack(phone)
    assert b"bob" in office.router.directory.receivers
    assert desk.caught_up == 1
    mid = office.send(alice, "bob")
    assert desk.mids[-1] == phone.mids[-1] == mid


def test_a_second_connection_is_given_what_the_first_may_leave_behind(office: Office) -> None:
    alice, desk = office.join("alice"), office.join("bob")
    first = office.send(alice, "bob")
    phone = office.join("bob")
    assert phone.waiting == 1
    second = office.send(alice, "bob")
    assert desk.mids == phone.mids == [first, second]
    office.leave(desk)
    office.ack(phone)
    assert [one.mid for one in alice.told] == [first]
    assert alice.results == {first: [Status.STORED], second: [Status.DELIVERED]}


def test_a_refusal_speaks_for_its_own_connection_only(office: Office) -> None:
    alice = office.join("alice")
    mid = office.send(alice, "bob")
    desk, phone = office.join("bob"), office.join("bob")
    office.ack(desk, proof=REFUSED)
    assert alice.told == []
    office.ack(phone)
    assert alice.told == [Told(mid, "bob", Status.DELIVERED, PROOF)]


def test_the_last_connection_that_holds_a_copy_decides(office: Office) -> None:
    alice = office.join("alice")
    mid = office.send(alice, "bob")
    desk, phone = office.join("bob"), office.join("bob")
    office.ack(desk, proof=REFUSED)
    office.leave(phone)  # it is offered to the other once more
    assert desk.mids == [mid, mid]
    office.ack(desk, proof=REFUSED)
    assert alice.told == [Told(mid, "bob", Status.REFUSED, None)]
    assert office.disk.mail == {}


def test_the_plan_of_a_stuck_connection_does_not_grow_with_what_others_take(office: Office) -> None:
    alice, stuck = office.join("alice"), office.join("bob")
    for _ in range(WINDOW_COPIES):
        office.send(alice, "bob", 1)
    other = office.join("bob")
    for _ in range(3 * WINDOW_COPIES):
        office.send(alice, "bob", 1)
        office.ack(other)
    assert len(stuck.connection.catch_up.plan) < 1000
