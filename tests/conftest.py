"""What all tests share: no test leaves anything running behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import termios
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from zmq.utils.garbage import gc as zero_copy

from tests.net import unused_port

# How long an example takes says how busy the machine is, no more.
settings.register_profile("here", deadline=None)
settings.load_profile("here")
# For mutants: a few examples, the same at each run, and no search for the smallest that fails.
settings.register_profile(
    "mutants", deadline=None, derandomize=True, database=None, max_examples=30, phases=[Phase.explicit, Phase.generate]
)


def pytest_configure() -> None:
    """Let go of the terminal that the tests were started from, so that nothing started by them finds it and asks there.

    They see the terminals that they open themselves, as they do where there is none. Ctrl-C reaches this process as before,
    and what is started here, also where it was itself started in the background: a shell has that ignore it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.getsid(0) == os.getpid():
        return  # were this one to let go, all in its session would be hung up on
    with contextlib.suppress(OSError):  # there is none
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.ioctl(terminal, termios.TIOCNOTTY)
        finally:
            os.close(terminal)


_GRACE = 10.0  # seconds in which what a test has asked to end may end


def running() -> dict[str, str]:
    """What runs in this process or under it: threads, ZeroMQ contexts, child processes; each by an id, with its name.

    A ZeroMQ context in use has threads that Python does not know, by which it is recognised. Where the system has no
    /proc, only Python's threads are seen.
    """
    found = {f"thread {id(thread)}": f"thread {thread.name}" for thread in threading.enumerate() if thread.is_alive()}
    for task in Path("/proc/self/task").glob("[0-9]*"):
        try:
            name = (task / "comm").read_text().strip()
            children = (task / "children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        if name.startswith("ZMQbg"):
            found[f"task {task.name}"] = f"ZeroMQ context's thread {name}"
        for child in children:
            found[f"process {child}"] = f"child process {child} {_command(child)}"
    return found


def _command(pid: str) -> str:
    try:
        return Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip() or "(ended)"
    except (FileNotFoundError, ProcessLookupError):
        return "(ended)"


def _expect_only(before: Collection[str]) -> None:
    limit = time.monotonic() + _GRACE
    while left := {key: name for key, name in running().items() if key not in before}:
        if time.monotonic() > limit:
            pytest.fail("left running: " + ", ".join(sorted(left.values())))
        threading.Event().wait(0.02)


@pytest.fixture(scope="session", autouse=True)
def _nothing_outlives_the_tests() -> Iterator[None]:
    before = running().keys()
    zero_copy.start()  # pyzmq has one such thread a process, and leaves it running once it is needed
    limit = time.monotonic() + _GRACE
    while Path("/proc/self/task").is_dir() and not {"IO/0", "Reaper"} <= {
        name.rpartition("ZMQbg/")[2] for name in running().values()
    }:
        assert time.monotonic() < limit, "no threads of ZeroMQ's came"
        threading.Event().wait(0.005)  # the context's threads come after that one, and belong to no test
    yield
    zero_copy.stop()
    _expect_only(before)


@pytest.fixture(autouse=True)
def _nothing_outlives_a_test(_nothing_outlives_the_tests: None) -> Iterator[None]:
    """Set up after the wider fixtures and ended before them: what those keep running is not this test's."""
    before = running().keys()
    yield
    _expect_only(before)


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 at which nothing listened a moment ago."""
    return unused_port()
