"""Starting the broker and the page as processes of this one, and ending them with it."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, MappingProxyType, TracebackType
from typing import Final

from clients.greeting import greets
from core.address import BrokerAddress
from core.errors import BadAddress
from core.places import FILE_NAME, decode_connection_file

ROOT: Final = Path(__file__).resolve().parent.parent
LOCAL: Final = "127.0.0.1"
BROKER: Final = "The broker"
BROKER_PORT: Final = 12345
UI_PORT: Final = 8501

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_START_LIMIT: Final = 60.0  # seconds; a first start on a slow machine compiles Streamlit's modules
_STOP_LIMIT: Final = 10.0  # seconds, after which a process is killed
_PAUSE: Final = 0.1  # seconds between two looks


class Stopped(Exception):
    """Somebody asked this program to stop: Ctrl-C, or a signal."""


class Failed(Exception):
    """It cannot go on; the text is the sentence that a person reads."""


class Processes:
    """Processes that live as long as this context, and end in the opposite order of their start.

    While it is entered, SIGINT, SIGTERM and SIGHUP make ``until`` and ``forever`` raise Stopped; so does the end of any of
    the processes, as Failed.
    """

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._asked = False
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Processes:
        """Take over the signals."""
        for one in _SIGNALS:
            if one is signal.SIGHUP and signal.getsignal(one) is signal.SIG_IGN:
                continue  # nohup: it is to outlive its terminal
            self._before[one] = signal.signal(one, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End every process, and give the signals back."""
        for _, process in reversed(self._running):
            _end(process)
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def start(self, name: str, *command: str | Path, environ: Mapping[str, str] | None = None) -> int:
        """Start a Python module with its arguments, under a ``name`` for people; returns the process id.

        What it writes to stderr is shown. It gets no terminal and a session of its own, so that Ctrl-C reaches this
        program alone, which then ends all in order.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._running.append((name, process))
        return process.pid

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait until ``ready()``; raises Stopped, and Failed when a process ends or ``what`` takes too long."""
        limit = time.monotonic() + _START_LIMIT
        while not ready():
            self.look()
            if time.monotonic() > limit:
                raise Failed(f"{what} did not answer within {_START_LIMIT:g} seconds.")

    def forever(self, spared: Mapping[str, str] | None = None) -> None:
        """Wait for what ends this: raises Stopped, or Failed when a process ends.

        Of one whose name is among the ``spared`` it is only told that it has ended, and what stands there for it.
        """
        while True:
            self.look(spared or {})

    def look(self, spared: Mapping[str, str] = MappingProxyType({})) -> None:
        """Rest for a moment; raises Stopped, or Failed when a process has ended that is not ``spared``."""
        if self._asked:
            raise Stopped
        for name, process in list(self._running):
            code = process.poll()
            if code is None:
                continue
            ended = (
                f"{name} was ended by {signal.Signals(-code).name}."
                if code < 0
                else f"{name} ended with exit code {code}; what it said about that stands above."
            )
            if name not in spared:
                raise Failed(ended)
            self._running.remove((name, process))
            print(f"{ended} {spared[name]}", flush=True)
        time.sleep(_PAUSE)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True


def start_broker(processes: Processes, port: int, data: Path, *options: str) -> BrokerAddress:
    """Start a broker for this machine alone, wait until it answers, and return its address."""
    if not port_is_free(port):
        raise Failed(f"Port {port} is taken by another program; choose another one, as in: make run PORT={port + 1}")
    pid = processes.start(BROKER, "broker", "--host", LOCAL, "--port", str(port), "--data", data, *options)
    address: BrokerAddress | None = None

    def ready() -> bool:
        nonlocal address
        with contextlib.suppress(FileNotFoundError, BadAddress):  # not there yet, or left by another one
            content = decode_connection_file((data / FILE_NAME).read_bytes())
            address = content.address if content.pid == pid else None
        return address is not None and broker_answers(address)

    processes.until(ready, BROKER)
    assert address is not None
    return address


def start_page(processes: Processes, port: int, broker: BrokerAddress | None) -> str:
    """Start the page at ``port`` or the next free one, wait until it answers, and return its URL."""
    found = next_free_port(port, "UI_PORT")
    options = ["--server.address", LOCAL, "--server.port", str(found), "--server.headless", "true", "--logger.level", "warning"]
    environ = {"SECURECHAT_BROKER": broker.url} if broker else {}
    processes.start("The page", "streamlit", "run", "clients/streamlit_app.py", *options, environ=environ)
    processes.until(lambda: _page_answers(found), "The page")
    return f"http://{LOCAL}:{found}"


def port_setting(name: str, default: int) -> int:
    """The port that the environment variable ``name`` holds; raises Failed where it holds none."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise Failed(f"{name}={text} is not a port: give a number from 1 to 65535.")
    return int(text)


def next_free_port(port: int, name: str) -> int:
    """``port``, or the next one that is free; raises Failed, naming the setting ``name``, where there is none."""
    for one in range(port, min(port + 100, 65536)):
        if port_is_free(one):
            return one
    raise Failed(f"Port {port} and the next ones are taken; choose another one with {name}=")


def port_is_free(port: int) -> bool:
    """Whether a server can listen at ``port`` on 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: one that just ended is no hindrance
        try:
            probe.bind((LOCAL, port))
        except OSError:
            return False
    return True


def broker_answers(address: BrokerAddress) -> bool:
    """Whether a ZeroMQ server greets there. Who it is, its key will prove to each client."""
    return greets(address.hosts[0], address.port)


def _page_answers(port: int) -> bool:
    connection = http.client.HTTPConnection(LOCAL, port, timeout=2)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, wait for it, and kill what is left of its session."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_LIMIT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
