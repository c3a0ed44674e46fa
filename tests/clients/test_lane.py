"""Work in a thread of its own, one thing after another."""

from __future__ import annotations

import time
from queue import SimpleQueue

import pytest

from clients.lane import Lane
from tests.net import PATIENCE


def test_one_after_another_and_a_mistake_in_one_keeps_no_other_from_being_done(caplog: pytest.LogCaptureFixture) -> None:
    lane, done = Lane(), SimpleQueue[int]()

    def fail() -> None:
        raise ValueError("a mistake")

    lane.put(lambda: done.put(1))
    lane.put(fail)
    lane.put(lambda: done.put(2))
    assert [done.get(timeout=PATIENCE) for _ in range(2)] == [1, 2]
    assert "a mistake" in caplog.text
    lane.put(lambda: done.put(3))
    assert done.get(timeout=PATIENCE) == 3


def test_nothing_is_begun_after_the_end() -> None:
    lane, begun, go, done = Lane(), SimpleQueue[None](), SimpleQueue[None](), SimpleQueue[int]()

    def first() -> None:
        begun.put(None)
        go.get(timeout=PATIENCE)
        done.put(1)

    lane.put(first)
    lane.put(lambda: done.put(2))
    begun.get(timeout=PATIENCE)
    lane.end(time.monotonic())
    go.put(None)
    lane.end(time.monotonic() + PATIENCE)
    assert done.qsize() == 1
