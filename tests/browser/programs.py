"""Real programs at the edges: processes that are listened to, a cable that can be pulled, a web server nobody should ask."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
LIMIT: Final = 60.0  # seconds: what takes longer on the slowest machine will never come
CHROMIUMS: Final = ("chromium", "chromium-browser", "google-chrome")


class Program:
    """A Python module in a process of its own, with all that it says, line by line."""

    def __init__(self, *module: str | Path, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env={**environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, name=f"reader of {module[0]}")
        self._reader.start()

    def told(self, what: str) -> str:
        """Wait for a line with ``what`` in it, and return the first."""
        with self._news:
            self._news.wait_for(lambda: self._ended or self._line(what) is not None, LIMIT)
            line = self._line(what)
            assert line is not None, f"no word of {what!r} {'until it ended' if self._ended else 'in time'}: {self.lines}"
            return line

    def count(self, what: str) -> int:
        """How many lines so far have ``what`` in them."""
        return sum(what in line for line in self.lines)

    def kill(self) -> None:
        """End it at once: it cannot say goodbye."""
        self._process.kill()
        self._wait()

    def stop(self) -> int:
        """Ask it to end, and wait; returns its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._wait()

    def _wait(self) -> int:
        try:
            return self._process.wait(LIMIT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._reader.join(LIMIT)

    def _line(self, what: str) -> str | None:
        return next((line for line in self.lines if what in line), None)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


class Town:
    """A folder in which one broker lives and is found, and the programs that were started there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        places = {"XDG_RUNTIME_DIR": folder / "runtime", "XDG_STATE_HOME": folder / "state"}
        for place in places.values():
            place.mkdir(mode=0o700, parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SECURECHAT_", "STREAMLIT_"))}
        self.environ = {**kept, **{name: str(place) for name, place in places.items()}}
        self._running: list[Program] = []

    def start(self, *module: str | Path) -> Program:
        """Start a module that ends with the town at the latest."""
        program = Program(*module, environ=self.environ)
        self._running.append(program)
        return program

    def start_broker(self, port: int = 0) -> Program:
        """Start the broker, and wait until clients find it."""
        broker = self.start("broker", "--host", "127.0.0.1", "--port", str(port), "--data", self.folder / "broker")
        broker.told("find it by themselves")
        return broker

    def broker(self) -> dict[str, Any]:
        """What the broker wrote down for its clients."""
        content = json.loads((self.folder / "runtime" / "securechat" / "broker.json").read_bytes())
        assert isinstance(content, dict)
        return content

    def start_page(self) -> str:
        """Start the page, wait until it answers, and return its URL."""
        port = free_port()
        self.start("streamlit", "run", "clients/streamlit_app.py", "--server.port", str(port)).told("URL: http")
        return f"http://127.0.0.1:{port}"

    def listener(self, user: str, *options: str) -> Program:
        """Start ``listen`` on the command line, and wait until it is connected."""
        listener = self.start("clients.cli", "--as", user, "listen", *options)
        listener.told("connected; here:")
        return listener

    def cli(self, *arguments: str) -> str:
        """Run one command of the command line; returns all that it said. Any exit code but 0 fails."""
        done = subprocess.run(
            [sys.executable, "-m", "clients.cli", *arguments],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def close(self) -> None:
        """End all programs, the youngest first; none may have failed on the way."""
        for program in reversed(self._running):
            program.stop()
        said = [line for program in self._running for line in program.lines]
        assert not [line for line in said if "Traceback" in line or "Uncaught" in line], "\n".join(said)


@contextlib.contextmanager
def town(folder: Path) -> Iterator[Town]:
    """A town whose programs end with the block."""
    it = Town(folder)
    try:
        yield it
    finally:
        it.close()


class Cable:
    """A connection to a local port that can be pulled out and plugged in again."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._plugged = True
        self._other: dict[socket.socket, socket.socket] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._wake_in, self._wake_out = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for one in (self._listener, self._wake_out):
            self._selector.register(one, selectors.EVENT_READ)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="cable")
        self._thread.start()

    def pull(self) -> None:
        """Break what is connected, and refuse what tries to."""
        self._plugged = False
        self._wake_in.send(b"\0")

    def plug(self) -> None:
        """Let connections through again."""
        self._plugged = True

    def close(self) -> None:
        """Pull, and end."""
        self._done.set()
        self.pull()
        self._thread.join(LIMIT)
        for one in (self._listener, self._wake_in, self._wake_out, self._selector):
            one.close()

    def _carry(self) -> None:
        while not self._done.is_set():
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wake_out:
                    self._wake_out.recv(1)
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._other:
                    self._pass_on(key.fileobj)
            if not self._plugged:
                for one in list(self._other):
                    self._hang_up(one)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._to), LIMIT)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._other[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        try:
            data = one.recv(65536)
            self._other[one].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._hang_up(one)

    def _hang_up(self, one: socket.socket) -> None:
        for end in (one, self._other.get(one)):
            if end is not None and self._other.pop(end, None) is not None:
                self._selector.unregister(end)
                end.close()


class Bait(ThreadingHTTPServer):
    """A web server that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Ask)
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Ask(BaseHTTPRequestHandler):
    server: Bait

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(204)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Keep quiet."""


@contextlib.contextmanager
def bait() -> Iterator[Bait]:
    """A bait that serves for the block."""
    with Bait() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="bait")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(LIMIT)


def free_port() -> int:
    """A port of 127.0.0.1 at which nothing listened a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def installed_chromium() -> str | None:
    """A Chromium or Chrome that the system has."""
    return next((found for name in CHROMIUMS if (found := shutil.which(name))), None)
