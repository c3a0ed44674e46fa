"""Which descriptor belongs to which connection, in every order in which that can be learned."""

from __future__ import annotations

from broker.descriptors import Descriptors
from core.limits import LOGIN_TIME_MAX, WAITING_MAX


def test_a_connection_that_ends_is_suspected_and_then_forgotten() -> None:
    known = Descriptors()
    known.accepted(7, 0.0)
    known.note(b"bob", 7, {})
    known.logged_in(b"bob")
    assert not known.overdue(1e6)
    known.disconnected(7)
    assert set(known.suspects) == {b"bob"}
    known.forget(b"bob")
    assert len(known) == 0


def test_a_suspect_that_can_be_written_to_is_cleared_after_a_while() -> None:
    known = Descriptors()
    known.suspect(b"bob")
    asked = 0
    while b"bob" in known.suspects:
        known.seems_alive(b"bob")
        asked += 1
    assert asked == 3


def test_whoever_does_not_log_in_is_overdue_once() -> None:
    known = Descriptors()
    known.accepted(7, 0.0)
    known.accepted(8, LOGIN_TIME_MAX)
    assert known.overdue(LOGIN_TIME_MAX) == []
    assert known.overdue(LOGIN_TIME_MAX + 0.1) == [7]
    assert known.overdue(LOGIN_TIME_MAX + 0.2) == []


def test_a_descriptor_that_was_given_to_a_new_connection_says_nothing_of_the_old() -> None:
    known = Descriptors()
    known.accepted(7, 0.0)
    known.note(b"old", 7, {})
    known.accepted(7, 1.0)
    assert set(known.suspects) == {b"old"}
    assert known.release(b"old") is None
    known.note(b"new", 7, {})
    known.forget(b"old")
    assert known.release(b"new") == 7


def test_what_an_ended_connection_left_to_be_read_takes_no_descriptor_from_a_member() -> None:
    known = Descriptors()
    known.accepted(7, 0.0)
    known.note(b"member", 7, {})
    known.note(b"ended", 7, {b"member"})
    assert known.release(b"ended") is None
    known.disconnected(7)
    assert set(known.suspects) == {b"member"}


def test_too_many_that_wait_push_out_the_one_that_waited_longest() -> None:
    known = Descriptors()
    assert all(known.accepted(number, 0.0) is None for number in range(WAITING_MAX))
    assert known.accepted(WAITING_MAX, 0.0) == 0
    known.disconnected(1)
    assert known.accepted(1, 0.0) is None
    assert known.accepted(WAITING_MAX + 1, 0.0) == 2
