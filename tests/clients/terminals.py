"""A command on a terminal of its own, for tests that type."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.broker_process import ROOT, cli_command
from tests.net import PATIENCE, until

ENTER: Final = "\r"
CTRL_C: Final = "\x03"
CTRL_D: Final = "\x04"
CTRL_U: Final = "\x15"
UP: Final = "\x1b[A"
TAB: Final = "\t"
_WHERE: Final = b"\x1b[6n"  # asks for the cursor's place, as a terminal is expected to tell
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z~]|[=>78]|\][^\x07]*\x07)")


class OnTerminal:
    """A command whose three streams are a terminal, which the test types on and reads; ``before`` is what starts it."""

    def __init__(self, env: dict[str, str], *arguments: str, cwd: Path = ROOT, before: Sequence[str] = ()) -> None:
        self._ours, self._theirs = os.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        env = {"TERM": "xterm", **env}
        self.raw = b""
        self._seen = 0
        self.process = subprocess.Popen(
            [*before, *cli_command(*arguments)], env=env, cwd=cwd, stdin=self._theirs, stdout=self._theirs, stderr=self._theirs
        )
        self._thread = threading.Thread(target=self._gather, name="terminal")
        self._thread.start()

    def _gather(self) -> None:
        while True:
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # the other end is closed
                return
            asked = self.raw.count(_WHERE)
            self.raw += part
            for _ in range(self.raw.count(_WHERE) - asked):
                os.write(self._ours, b"\x1b[1;1R")

    @property
    def text(self) -> str:
        """All that was drawn so far, without how; what is drawn again stands there again."""
        return _ESCAPES.sub("", self.raw.decode(errors="replace")).replace("\r", "")

    def press(self, keys: str) -> None:
        """Press keys; what is drawn from now on is what ``has`` looks for."""
        self._seen = len(self.text)
        os.write(self._ours, keys.encode())

    def has(self, part: str, after: str = "") -> None:
        """Wait until this was drawn since the last ``press``, and since ``after`` was."""
        over = False

        def drawn() -> bool:
            nonlocal over
            there = part in self.text[self._seen :].partition(after)[2] if after else part in self.text[self._seen :]
            over = not there and not self._thread.is_alive()
            return there or over

        try:
            until(drawn)
        except AssertionError:
            over = True
        assert not over, f"no '{part}' in: {self.text[self._seen :]}"

    def shows(self, state: str) -> None:
        """Have the prompt drawn anew, until this was drawn with it: what changes in place is drawn only in part."""

        def drawn() -> bool:
            self.press(ENTER)
            self.has(">")
            return state in self.text

        until(drawn, f"no '{state}'")

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, as it does before and after a program that draws by itself."""
        return bool(termios.tcgetattr(self._theirs)[3] & termios.ECHO)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        os.close(self._theirs)
        self._thread.join(PATIENCE)
        os.close(self._ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def chatting(env: dict[str, str], *arguments: str, prompt: str = "everyone>") -> OnTerminal:
    """``chat``, ready to be typed to."""
    running = OnTerminal(env, *arguments)
    try:
        running.has(prompt)
    except BaseException:
        running.close()
        raise
    return running
