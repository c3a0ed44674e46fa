"""A program with all that it starts: ended together, and not before it had time to put things in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Final

from clients.programs import signals

PATIENCE: Final = 10  # seconds, whole ones, for a program that was told to end
_LOOK: Final = 0.05


class Group:
    """A program that is run in a process group of its own.

    A terminal's Ctrl-C and its end reach only this process then, as SIGTERM does. Each is passed on to the whole group, which
    has 10 seconds to end before it is killed. ``stopped_by`` is the first one that came: it was put off, and is to be raised
    again.
    """

    def __init__(self) -> None:
        self.stopped_by: int | None = None
        self._id: int | None = None
        self._killed = False

    def run(self, command: Sequence[str], environment: Mapping[bytes, bytes], said: bytes) -> int:
        """Run it with ``said`` on its standard input; returns its exit code, negative for a signal. Raises OSError.

        To be called in the main thread, and once. What it leaves running is not waited for, unless all is to end.
        """
        with signals({signal.SIGALRM: self._kill}):
            try:
                with signals(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), self._pass_on)):
                    return self._run(command, environment, said)
            finally:  # when nobody sets it any more
                signal.alarm(0)

    def _run(self, command: Sequence[str], environment: Mapping[bytes, bytes], said: bytes) -> int:
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True) as process:
            self._id = process.pid
            if self.stopped_by is not None:  # it came while the program was being started
                self._send(self.stopped_by)
            process.communicate(said)
        while self.stopped_by is not None and not self._killed and self._send(0):
            time.sleep(_LOOK)
        return process.returncode

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self.stopped_by is None:
            self.stopped_by = number
            signal.alarm(PATIENCE)  # a thread's timer could not be started from here without danger
        self._send(number)

    def _kill(self, _number: int, _frame: FrameType | None) -> None:
        self._killed = True
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> bool:
        """Send a signal to the group; returns whether there is anybody in it."""
        if self._id is None:
            return False
        with contextlib.suppress(PermissionError):  # somebody is there who runs as somebody else
            try:
                os.killpg(self._id, number)
            except ProcessLookupError:
                return False
        return True
