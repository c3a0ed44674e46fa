"""What a client costs the broker that is connected, and silent but for its heartbeat."""

from __future__ import annotations

import time
from typing import Final

import zmq
from zmq.utils import z85

from bench import processes
from bench.people import People, log_in
from bench.report import Report
from bench.wire import routing_id
from core.frames import PING, Frames
from core.limits import HEARTBEAT
from core.messages import Mode
from scripts.measure import memory_now

_KEYS: Final = 50  # pairs of keys, used in turn
_PER_CONTEXT: Final = 500  # sockets; a context takes 1,023
_SETTLE: Final = 3.0  # seconds for the last roster changes to be told


class _Crowd:
    """Guests, each with a connection of its own, who read what they are sent and keep their heartbeat."""

    def __init__(self, port: int, key: bytes, people: People, mode: Mode) -> None:
        self._port = port
        self._key = key
        self._people = people
        self._mode = mode
        self._contexts: list[zmq.Context[zmq.Socket[bytes]]] = []
        self._sockets: list[zmq.Socket[bytes]] = []
        self._beat = time.monotonic()

    def join(self) -> None:
        if len(self._sockets) % _PER_CONTEXT == 0:
            self._contexts.append(zmq.Context())
        sock = self._contexts[-1].socket(zmq.DEALER)
        sock.linger = 0
        sock.rcvtimeo = 20_000
        sock.identity = routing_id()
        public, secret = zmq.curve_keypair()
        sock.curve_publickey, sock.curve_secretkey, sock.curve_serverkey = public, secret, z85.encode(self._key)
        sock.connect(f"tcp://127.0.0.1:{self._port}")
        self._sockets.append(sock)

        def send(message: Frames) -> None:
            sock.send_multipart(message)

        user = f"user{len(self._sockets)}"
        keys = {"broker_key": self._key, "client_key": z85.decode(public)}
        log_in(self._people.guest(user), self._mode, send, sock.recv_multipart, **keys)
        self.live()

    def live(self) -> None:
        """Keep all connections alive, if it is time."""
        if time.monotonic() - self._beat < HEARTBEAT / 2:
            return
        self._beat = time.monotonic()
        for sock in self._sockets:
            while sock.poll(0):
                sock.recv_multipart()
            sock.send(PING)

    def leave(self) -> None:
        for context in self._contexts:
            context.destroy()


def run(report: Report, clients: int) -> None:
    report.title(
        "7. Idle clients",
        f"{clients:,} guests with {_KEYS} pairs of keys connect to the broker, CURVE on, and say nothing but PING.",
        "In mode send they are like scripts; in mode full, each sees all others come. What the broker's process grows by for",
        "each, from the first hundred on.",
    )
    people = People(_KEYS)
    found = {mode.value: _each(people, mode, clients) for mode in (Mode.SEND, Mode.FULL)}
    report.table(("mode", "KiB for each client"), [(mode, f"{each:.1f}") for mode, each in found.items()])
    for mode, each in found.items():
        report.target(f"memory for an idle client at {clients:,}, mode {mode}", each, most=40, unit=" KiB")


def _each(people: People, mode: Mode, clients: int) -> float:
    """KiB that the broker grows by for each client."""
    first = min(100, clients // 2)
    with processes.relay("broker", curve=True) as relay:
        crowd = _Crowd(relay.front, z85.decode(relay.key or ""), people, mode)
        try:
            for _ in range(first):
                crowd.join()
            before = memory_now(relay.pid)
            for _ in range(clients - first):
                crowd.join()
            until = time.monotonic() + _SETTLE
            while time.monotonic() < until:
                crowd.live()
                time.sleep(0.05)
            grown = memory_now(relay.pid) - before
        finally:
            crowd.leave()
    return grown / (clients - first) / 1024
