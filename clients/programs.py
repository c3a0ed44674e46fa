"""Programs that are run, so that their end can be told."""

from __future__ import annotations

import os
import select
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO, Any, Final

from clients.view import lasting

_OnSignal = Callable[[int, FrameType | None], Any]

NOT_FOUND: Final = 127
NOT_STARTED: Final = 126
_SIGNALLED: Final = 128
# A text of this size is within the limit of either suite, and a screenful.
_TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 4000
_TITLE_CHARS: Final = 200
_KEPT: Final = 16_384  # bytes of output that the last lines are looked for in
_PORTION: Final = 1 << 20  # more than a pipe holds


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code as a shell would give it, in words, and what it printed last."""

    title: str
    code: int
    how: str
    tail: str = ""

    @property
    def text(self) -> str:
        """All of it as a message."""
        head = f"{self.title}: {self.how}"
        return f"{head}\n\n{self.tail}" if self.tail else head


def exit_code_of_process(returned: int) -> int:
    """The exit code as a shell would give it: 128 and the number for a signal."""
    return returned if returned >= 0 else _SIGNALLED - returned


def how_it_ended(returned: int) -> str:
    """In words; a negative number is a signal's."""
    if returned < 0:
        try:
            return f"ended by {signal.Signals(-returned).name}"
        except ValueError:
            return f"ended by signal {-returned}"
    return f"failed with exit code {returned}" if returned else "done"


def run(command: Sequence[str], stdout: int = 1) -> Ended:
    """Run a program to its end, its output passed on byte by byte to this one's; ``stdout`` is where its standard output goes.

    What it started and left behind is not waited for. Ctrl-C is for the program; SIGTERM and SIGHUP are passed on to it.
    """
    title = _title(command)
    began = time.monotonic()
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_STARTED
        return Ended(title, code, f"could not be started: {error.strerror}")
    with process, _signals_for(process):
        last = _pass_on(process, stdout)
        returned = process.wait()
    took = lasting(time.monotonic() - began)
    return Ended(title, exit_code_of_process(returned), f"{how_it_ended(returned)} after {took}", tail_of(last))


@contextmanager
def signals(handlers: Mapping[signal.Signals, _OnSignal]) -> Iterator[None]:
    """Within, these signals do something else. What is ignored stays so: Ctrl-C in a shell's background, SIGHUP under nohup."""
    before = {number: signal.getsignal(number) for number in handlers}
    try:
        for number, handler in handlers.items():
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, handler)
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)


def _signals_for(process: subprocess.Popen[bytes]) -> AbstractContextManager[None]:
    """Ctrl-C on a terminal reaches the program by itself, so here it is only outlived."""
    return signals({
        signal.SIGINT: lambda _number, _frame: None,
        signal.SIGTERM: lambda number, _frame: process.send_signal(number),
        signal.SIGHUP: lambda number, _frame: process.send_signal(number),
    })  # fmt: skip


def _pass_on(process: subprocess.Popen[bytes], stdout: int) -> bytes:
    """Copy what comes from the program until it has ended; returns the last of it."""
    last = _Last()
    ended_in, ended_out = os.pipe()

    def wait() -> None:
        process.wait()
        os.close(ended_out)

    waiter = threading.Thread(target=wait, name="securechat-program", daemon=True)
    waiter.start()
    streams: dict[IO[bytes], int] = {stream: to for stream, to in ((process.stdout, stdout), (process.stderr, 2)) if stream}
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            # What the program leaves running has the pipes as well, and may keep them open for long after its end.
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ)
        selector.register(ended_in, selectors.EVENT_READ)
        over = False
        while not over:
            ready = [key.fileobj for key, _ in selector.select()]
            over = ended_in in ready
            for stream in [one for one in streams if over or one in ready]:
                if not _copy(stream, streams[stream], last):
                    selector.unregister(stream)
                    del streams[stream]
                    stream.close()
    waiter.join()
    os.close(ended_in)
    return last.data


class _Last:
    """The last bytes of what comes."""

    def __init__(self) -> None:
        self.data = b""

    def add(self, data: bytes) -> None:
        self.data = (self.data + data)[-_KEPT:]


def _copy(stream: IO[bytes], to: int, last: _Last) -> bool:
    """Copy all that is there now; returns whether more may come."""
    try:
        data = os.read(stream.fileno(), _PORTION)
    except BlockingIOError:
        return True
    last.add(data)
    try:
        _write(to, data)
    except OSError:  # nobody reads it any more: the program learns that as it would without us
        return False
    return bool(data)


def _write(to: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(to, data) :]
        except BlockingIOError:  # another program has left the terminal like that
            select.select([], [to], [])


def tail_of(output: bytes) -> str:
    """The last lines of a program's output, as much as a message may hold of it."""
    lines = output.decode("utf-8", "replace").rstrip().split("\n")
    # What a progress bar has drawn over is not there to be read on a terminal either.
    shown = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines[-_TAIL_LINES:]]
    text = "\n".join(shown)
    return text.encode()[-_TAIL_BYTES:].decode("utf-8", "ignore")


def _title(command: Sequence[str]) -> str:
    line = " ".join(shlex.join(command).split()).encode("utf-8", "replace").decode()
    return line if len(line) <= _TITLE_CHARS else f"{line[: _TITLE_CHARS - 1]}…"
