"""Processes that are killed and started again: each an actor with a name, of which at most one process runs at a time."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from core.address import BrokerAddress
from core.errors import BadAddress
from core.places import FILE_NAME, decode_connection_file
from scripts.processes import ROOT, Failed, broker_answers

_START_MAX: Final = 60.0
_PAUSE: Final = 0.02
_LIMIT: Final = 20.0  # seconds in which a process that is asked to end must have ended


class Actor:
    """``command`` are the arguments to Python; ``fine`` the exit codes with which it may end by itself.

    What run number N writes is in ``files``/NAME.N.out and .err; ``role`` says whose kind it is.
    """

    def __init__(
        self,
        role: str,
        name: str,
        command: Callable[[], Sequence[str]],
        files: Path,
        env: dict[str, str],
        fine: Sequence[int] = (),
    ) -> None:
        self.role: Final = role
        self.name: Final = name
        self.runs = 0
        self.accidents: list[str] = []
        self._command = command
        self._files = files
        self._env = env
        self._fine = fine
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while one runs."""
        return self._process.pid if self._process else None

    def output(self, run: int) -> Path:
        """The file with what a run wrote."""
        return self._files / f"{self.name}.{run}.out"

    def errors(self, run: int) -> Path:
        """The file with what a run complained of."""
        return self._files / f"{self.name}.{run}.err"

    def start(self) -> None:
        """Run, if it does not."""
        if self._process is not None:
            return
        self.runs += 1
        with self.output(self.runs).open("wb") as out, self.errors(self.runs).open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *self._command()], cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=out, stderr=errors
            )

    def look(self) -> int | None:
        """The exit code, once, if the process has ended by itself."""
        code = self._process.poll() if self._process else None
        if code is not None:
            self._process = None
            errors = self.errors(self.runs).read_text(errors="replace")
            if code not in self._fine or "Traceback" in errors:
                self.accidents.append(f"{self.name} ended with {code}: {errors[-2000:]}")
        return code

    def kill(self) -> bool:
        """Kill the process without warning; returns whether there was one."""
        self.look()
        return self._end(signal.SIGKILL) is not None

    def stop(self) -> None:
        """Ask the process to end, and wait until it has."""
        self.look()
        code = self._end(signal.SIGTERM)
        if code not in (None, 0, 128 + signal.SIGTERM, -signal.SIGTERM):
            self.accidents.append(f"{self.name} ended with {code} when asked to: {self.errors(self.runs).read_text()[-2000:]}")

    def _end(self, number: signal.Signals) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(number)
        try:
            return process.wait(_LIMIT)
        except subprocess.TimeoutExpired:
            self.accidents.append(f"{self.name} did not end within {_LIMIT:g} seconds")
            process.kill()
            return process.wait()


def wait_for_broker(broker: Actor, data: Path) -> BrokerAddress:
    """Wait until a broker that was started answers, and return its address; raises Failed if it ends instead."""
    until = time.monotonic() + _START_MAX
    while time.monotonic() < until and broker.look() is None:
        with contextlib.suppress(FileNotFoundError, BadAddress):  # not there yet, or left by the one before
            content = decode_connection_file((data / FILE_NAME).read_bytes())
            if content.pid == broker.pid and broker_answers(content.address):
                return content.address
        time.sleep(_PAUSE)
    raise Failed("The broker did not start. " + " ".join(broker.accidents))
