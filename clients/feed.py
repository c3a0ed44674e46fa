"""Events on their way to whoever iterates over them, each once."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator

from core.errors import TimeRanOut
from core.events import Event


class Feed:
    """A queue of events that ends; with each goes its number in the history, if it has one."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[int | None, Event] | None] = queue.SimpleQueue()

    def put(self, number: int | None, event: Event) -> None:
        """Add an event. From any thread."""
        self._queue.put((number, event))

    def end(self) -> None:
        """No more will come."""
        self._queue.put(None)

    def take(self, timeout: float | None) -> Iterator[tuple[int | None, Event]]:
        """What comes, until the end; raises TimeRanOut after ``timeout`` seconds in all."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                item = self._queue.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise TimeRanOut(what="What was waited for did not come", seconds=f"{timeout:g}") from None
            if item is None:
                self.end()  # for whoever asks again
                return
            yield item
