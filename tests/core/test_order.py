"""Gaps, late messages and forks."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from core.order import Place, Stream, place


def mid(n: int) -> bytes:
    return n.to_bytes(16, "big")


class Reader:
    """Places messages as they come, and remembers which number had which mid."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.mids: dict[int, bytes] = {}

    def take(self, n: int, id_: bytes | None = None, void: Collection[int] = ()) -> Place:
        id_ = id_ or mid(n)
        self.stream, where = place(self.stream, n, id_, self.mids.get(n), void)
        self.mids.setdefault(n, id_)
        return where


def test_a_jump_is_a_gap_and_a_late_message_closes_it() -> None:
    reader = Reader()
    assert reader.take(1) == Place()
    assert reader.take(4) == Place(missing=2)
    assert reader.stream == Stream(4, ((2, 3),))
    assert reader.take(2) == Place(late=True)
    assert reader.stream.missing == 1
    assert reader.take(3) == Place(late=True)
    assert reader.stream == Stream(4)


def test_numbers_that_were_given_up_are_no_gap() -> None:
    reader = Reader()
    assert reader.take(4, void=[1, 3]) == Place(missing=1)
    assert reader.take(5, void=[2]) == Place()
    assert reader.stream.missing == 0


def test_two_messages_under_one_number_are_a_fork() -> None:
    reader = Reader()
    reader.take(1)
    before = reader.stream
    assert reader.take(1, mid(9)) == Place(fork=True)
    assert reader.stream == before


def test_the_same_message_again_is_no_fork() -> None:
    reader = Reader()
    reader.take(1)
    assert reader.take(1) == Place()


def test_a_fork_of_a_late_message_is_one_too() -> None:
    reader = Reader()
    reader.take(3)
    assert reader.take(2) == Place(late=True)
    assert reader.take(2, mid(9)) == Place(fork=True)
    assert reader.stream.missing == 1


def test_a_jump_to_the_largest_number_costs_nothing() -> None:
    assert Reader().take(2**53 - 1).missing == 2**53 - 2


def test_only_so_many_gaps_are_remembered_and_they_are_the_newest() -> None:
    reader = Reader()
    for n in range(2, 2002, 2):
        assert reader.take(n) == Place(missing=1)
    assert len(reader.stream.gaps) == 64
    assert reader.stream.gaps[-1] == (1999, 1999)


def test_placing_changes_nothing_that_was_there() -> None:
    before = Stream(4, ((2, 3),))
    place(before, 2, mid(2), None)
    assert before == Stream(4, ((2, 3),))


@given(st.permutations(range(1, 30)), st.sets(st.integers(1, 29)))
def test_in_any_order_each_gap_opens_once_and_closes_once(sequence: list[int], lost: set[int]) -> None:
    reader = Reader()
    arrived = [n for n in sequence if n not in lost]
    places = [reader.take(n) for n in arrived]
    assert not any(place.fork for place in places)
    missing = set(range(1, max(arrived, default=0) + 1)) - set(arrived)
    assert reader.stream.missing == len(missing)
    assert {n for first, last in reader.stream.gaps for n in range(first, last + 1)} == missing
    assert sum(place.missing for place in places) - sum(place.late for place in places) == len(missing)


@given(st.lists(st.tuples(st.integers(1, 40), st.sets(st.integers(1, 40), max_size=5)), max_size=60))
def test_gaps_are_in_order_apart_and_below_the_highest(messages: list[tuple[int, set[int]]]) -> None:
    reader = Reader()
    for n, void in messages:
        reader.take(n, void=void)
        edges = [edge for gap in reader.stream.gaps for edge in gap]
        assert edges == sorted(edges)
        assert all(one[1] < other[0] for one, other in zip(reader.stream.gaps, reader.stream.gaps[1:], strict=False))
        assert not edges or edges[-1] < reader.stream.highest
