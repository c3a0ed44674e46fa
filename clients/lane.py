"""A queue of work with a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger("securechat.lane")


class Lane:
    """Does one thing after another, in a thread that runs while there is something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None

    def put(self, work: Callable[[], None]) -> None:
        """Have something done after all that was put in before."""
        with self._lock:
            self._waiting.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="securechat-transfer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while work := self._next():
            try:
                work()
            except Exception:  # a mistake in one of them is no reason to do no other
                log.exception("what was to be done failed")

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._thread = None
            return None

    def end(self, until: float) -> None:
        """Begin nothing more, and wait for what is under way until ``until`` (monotonic seconds)."""
        with self._lock:
            self._waiting.clear()
            thread = self._thread
        if thread and thread is not threading.current_thread():
            thread.join(max(0.0, until - time.monotonic()))
