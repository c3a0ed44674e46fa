"""A large file from profile to profile, beside what else moves and encrypts bytes here, and chat beside it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.processes import ROOT, running_broker
from bench.report import Report, median
from clients.chat import ChatClient
from clients.profiles import OpenProfile
from core.address import BrokerAddress
from core.events import MessageReceived
from core.limits import FILE_CHUNK
from core.messages import Mode
from scripts.measure import make_file, memory_peak, same_content

_MEMORY_MAX: Final = 150.0  # MiB
_PAUSE: Final = 0.02  # seconds between two round trips


def run(report: Report, size: int) -> None:
    report.title(
        "8. Files",
        f"A file of {size / 2**20:,.0f} MiB from profile to profile by the broker, CURVE on: `send -f`, `listen --download`,",
        "whole processes. Beside it `age` to `age` over TCP on 127.0.0.1, if it is installed, and AES-256-GCM alone in chunks",
        "of 1 MiB. Meanwhile two guests of the same broker write to each other: from `send` until the answer is open.",
    )
    with tempfile.TemporaryDirectory(prefix="securechat-bench-") as name, running_broker() as (address, env, pid):
        folder = Path(name)
        path = folder / "large.bin"
        make_file(path, size)
        for user in ("alice", "bob"):
            _introduce(folder, user, address)
        with _Chat(address) as chat:
            idle = chat.round_trips(2.0)
            sent = _timed(folder, env, address, chat, "alice", "send", "bob", "-f", str(path), "--timeout", "60s")
            came = _timed(folder, env, address, chat, "bob", "listen", "-n", "1", "--download", str(folder / "in"))
        if not same_content(folder / "in" / path.name, path):
            raise RuntimeError("another file arrived")
        shutil.rmtree(folder / "in")
        age = _age(folder, path)
        memory = memory_peak(pid) / 2**20
    rates = {"sent": size / sent.seconds / 1e6, "fetched": size / came.seconds / 1e6, "age": size / age / 1e6 if age else 0.0}
    whole = size / (sent.seconds + came.seconds) / 1e6
    report.table(
        ("", "MB/s", "peak MiB", "p50 beside it, ms"),
        [
            ("sent to the broker", f"{rates['sent']:.0f}", f"{sent.memory:.0f}", f"{sent.trip * 1e3:.1f}"),
            ("fetched from it", f"{rates['fetched']:.0f}", f"{came.memory:.0f}", f"{came.trip * 1e3:.1f}"),
            ("one after the other", f"{whole:.0f}", f"{memory:.0f} (broker)", f"{idle * 1e3:.1f} (idle)"),
            ("age to age", f"{rates['age']:.0f}" if age else "not installed", "", ""),
            ("AES-256-GCM alone", f"{_bare() / 1e6:.0f}", "", ""),
        ],
    )
    least = max(100.0, 0.6 * rates["age"])
    report.target("a file, sent", rates["sent"], least=least, unit=" MB/s")
    report.target("a file, fetched", rates["fetched"], least=least, unit=" MB/s")
    report.target(
        "peak memory of sender, recipient and broker", max(sent.memory, came.memory, memory), most=_MEMORY_MAX, unit=" MiB"
    )
    report.target("round trip beside a file, to an idle one", max(sent.trip, came.trip) / idle, most=5)


@dataclass(frozen=True, slots=True)
class _Timed:
    """Of a whole process: seconds, peak memory in MiB, and the median round trip of a text meanwhile, in seconds."""

    seconds: float
    memory: float
    trip: float


def _timed(folder: Path, env: dict[str, str], address: BrokerAddress, chat: _Chat, user: str, *args: str) -> _Timed:
    command = [
        sys.executable,
        "-m",
        "clients",
        "--home",
        str(folder),
        "--profile",
        user,
        "--broker",
        address.url,
        "-q",
        *args,
    ]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    trips: list[float] = []
    ended = threading.Event()
    watching = threading.Thread(target=lambda: trips.extend(chat.until(ended)))
    watching.start()
    memory = 0.0
    while process.poll() is None:  # what the system adds up for its parent counts this process's memory, too, before `exec`
        memory = max(memory, memory_peak(process.pid) / 2**20)
        time.sleep(_PAUSE)
    seconds = time.perf_counter() - began
    ended.set()
    watching.join()
    if process.returncode:
        raise RuntimeError(f"'{' '.join(args[:1])}' ended with {process.returncode}")
    return _Timed(seconds, memory, median(trips))


class _Chat:
    """Two guests who write to each other."""

    def __init__(self, address: BrokerAddress) -> None:
        self._alice = ChatClient("anna", address)
        self._bob = ChatClient("bert", address)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Chat:
        self._stack.enter_context(self._alice)
        self._stack.enter_context(self._bob)
        threading.Thread(target=self._answer, daemon=True).start()
        self._answers = (event for event in self._alice.events() if isinstance(event, MessageReceived))
        for _ in range(3):  # the first ones look each other's bundles up
            self._trip()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _answer(self) -> None:
        for event in self._bob.events():
            if isinstance(event, MessageReceived):
                self._bob.send("pong", event.message.sender)

    def _trip(self) -> float:
        began = time.perf_counter()
        self._alice.send("ping", "bert")
        next(self._answers)
        return time.perf_counter() - began

    def until(self, ended: threading.Event) -> Iterator[float]:
        """One round trip after the other, in seconds."""
        while not ended.wait(_PAUSE):
            yield self._trip()

    def round_trips(self, seconds: float) -> float:
        """The median of so many seconds' round trips."""
        ended = threading.Event()
        threading.Timer(seconds, ended.set).start()
        return median(list(self.until(ended)))


def _introduce(home: Path, user: str, address: BrokerAddress) -> None:
    with contextlib.closing(OpenProfile.create(home, user, None)) as profile, ChatClient(profile, address, mode=Mode.SEND):
        pass


def _age(folder: Path, path: Path) -> float:
    """Seconds for `age` to encrypt the file into a TCP connection, and another one to decrypt it into a file; 0 without it."""
    if not shutil.which("age"):
        return 0.0
    key, out = folder / "age.key", folder / "age.out"
    subprocess.run(["age-keygen", "-o", str(key)], check=True, capture_output=True)
    public = subprocess.run(["age-keygen", "-y", str(key)], check=True, capture_output=True, text=True).stdout.strip()
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    began = time.perf_counter()
    with path.open("rb") as source, out.open("wb") as sink:
        reading = subprocess.Popen(["age", "-d", "-i", str(key)], stdin=other.fileno(), stdout=sink)
        writing = subprocess.Popen(["age", "-r", public], stdin=source, stdout=one.fileno())
        one.close()
        other.close()
        if writing.wait() or reading.wait():
            raise RuntimeError("age failed")
    seconds = time.perf_counter() - began
    out.unlink()
    return seconds


def _bare() -> float:
    """Bytes a second."""
    aead, chunk, done = AESGCM(bytes(32)), bytes(FILE_CHUNK), 0
    began = time.perf_counter()
    while time.perf_counter() - began < 0.5:
        aead.encrypt(done.to_bytes(12, "big"), chunk, None)
        done += 1
    return done * FILE_CHUNK / (time.perf_counter() - began)
