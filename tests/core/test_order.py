"""Gaps, late messages and forks."""

from hypothesis import given
from hypothesis import strategies as st

from core.order import Order, Place

KID, SID = b"k" * 32, b"s" * 16


def mid(n: int) -> bytes:
    return n.to_bytes(16, "big")


def test_a_jump_is_a_gap_and_a_late_message_closes_it() -> None:
    order = Order()
    assert order.place(KID, SID, 1, mid(1)) == Place()
    assert order.place(KID, SID, 4, mid(4)) == Place(missing=2)
    assert order.place(KID, SID, 2, mid(2)) == Place(late=True)
    assert order.open_gaps(KID, SID) == 1
    assert order.place(KID, SID, 3, mid(3)) == Place(late=True)
    assert order.open_gaps(KID, SID) == 0


def test_numbers_that_were_given_up_are_no_gap() -> None:
    order = Order()
    assert order.place(KID, SID, 4, mid(4), void=[1, 3]) == Place(missing=1)
    assert order.place(KID, SID, 5, mid(5), void=[2]) == Place()
    assert order.open_gaps(KID, SID) == 0


def test_two_messages_under_one_number_are_a_fork() -> None:
    order = Order()
    order.place(KID, SID, 1, mid(1))
    assert order.place(KID, SID, 1, mid(9)) == Place(fork=True)


def test_another_key_or_space_counts_for_itself() -> None:
    order = Order()
    order.place(KID, SID, 7, mid(7))
    assert order.place(b"o" * 32, SID, 1, mid(1)) == Place()
    assert order.place(KID, b"o" * 16, 1, mid(1)) == Place()


def test_a_jump_to_the_largest_number_costs_nothing() -> None:
    order = Order()
    assert order.place(KID, SID, 2**53 - 1, mid(1)).missing == 2**53 - 2


@given(st.permutations(range(1, 30)), st.sets(st.integers(1, 29)))
def test_in_any_order_each_gap_opens_once_and_closes_once(sequence: list[int], lost: set[int]) -> None:
    order = Order()
    arrived = [n for n in sequence if n not in lost]
    places = [order.place(KID, SID, n, mid(n)) for n in arrived]
    assert not any(place.fork for place in places)
    missing = set(range(1, max(arrived, default=0) + 1)) - set(arrived)
    assert order.open_gaps(KID, SID) == len(missing)
    assert sum(place.missing for place in places) - sum(place.late for place in places) == len(missing)
