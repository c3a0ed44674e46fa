"""Real brokers and bare peers for tests: sockets, threads and processes, each of which ends with its ``with``."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import random
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import zmq
from zmq.utils import z85

from broker.blob_storage import BlobDisk
from broker.curve import CurveKeys
from broker.files import load_or_make_keys
from broker.ledger import Ledger
from broker.mail_storage import SqliteMailStorage
from broker.server import Server
from broker.storage import SqliteStorage
from core import frames, messages
from core.address import BrokerAddress
from core.clock import Instant
from core.frames import Frames
from core.identity import Identity, guest_identity
from core.limits import NONCE_BYTES, PROTOCOL_VERSION, ROUTING_ID_BYTES
from core.login import LoginContext, prove
from core.messages import Challenge, Control, Deliver, FromBroker, Hello, Mode, Prove, Results, Roster, Status, Welcome
from core.profile import Profile
from core.rsa import OpeningKey, SigningKey

_T = TypeVar("_T", bound=FromBroker)

PROOF: Final = bytes(range(32))
PATIENCE: Final = 30.0  # seconds; reached only by what is broken


def until(condition: Callable[[], object], what: str = "it did not come about", patience: float = PATIENCE) -> None:
    """Wait for ``condition``."""
    limit = time.monotonic() + patience
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < limit, what
        pause.wait(0.005)


def unused_port() -> int:
    """A free port of 127.0.0.1, of those that no system gives away by itself: such a one may be somebody's a moment later."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@cache
def key_pool() -> tuple[tuple[SigningKey, OpeningKey], ...]:
    """A few key pairs, made once; names differ where keys need not."""
    return tuple((SigningKey.generate(), OpeningKey.generate()) for _ in range(6))


_turn = itertools.count()


def identity(user: str, *, sends_only: bool = False, keys: int | None = None) -> Identity:
    """A guest with keys of the pool: the next ones, or those numbered ``keys``."""
    signing, opening = key_pool()[(next(_turn) if keys is None else keys) % len(key_pool())]
    return guest_identity(user, signing, None if sends_only else opening, sid=os.urandom(16), now=time.time())


_curve_secrets: dict[bytes, bytes] = {}  # of the profiles made here, by their public keys


def profile(user: str, *, keys: int | None = None) -> Identity:
    """A profile with keys of the pool: the next ones, or those numbered ``keys``."""
    signing, opening = key_pool()[(next(_turn) if keys is None else keys) % len(key_pool())]
    public, secret = map(z85.decode, zmq.curve_keypair())
    _curve_secrets[public] = secret
    return Profile.create(user, signing, opening, secret, now=time.time(), random=os.urandom).identity(public)


def outside() -> str | None:
    """An address of this machine at which its peers do not look local. Connecting a datagram socket sends nothing."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address = str(probe.getsockname()[0])
        return None if ipaddress.ip_address(address).is_loopback else address
    return None


HERE = outside()


class Clock:
    """The real clocks, and how far ahead of them it is said to be; or, once ``stopped``, at one moment."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.stopped: float | None = None

    def __call__(self) -> Instant:
        return Instant(time.time(), self.ahead + (time.monotonic() if self.stopped is None else self.stopped))

    def stop(self) -> None:
        """Let no time pass but what ``ahead`` says."""
        self.stopped = time.monotonic()


class LocalBroker:
    """A broker in a thread of this process, so that a test can look into it and move its clock."""

    def __init__(
        self,
        *,
        keys: CurveKeys | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        folder: Path | None = None,
        open_to_all: bool = False,
    ) -> None:
        self.clock = Clock()
        with contextlib.ExitStack() as stack:
            self.folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.keys = keys or load_or_make_keys(self.folder)
            self.storage = stack.enter_context(contextlib.closing(SqliteStorage(self.folder)))
            self.mail = stack.enter_context(contextlib.closing(SqliteMailStorage(self.folder)))
            self.blobs = stack.enter_context(contextlib.closing(BlobDisk(self.folder)))
            self.server = Server(
                host,
                port,
                keys=self.keys,
                ledger=Ledger(),
                storage=self.storage,
                mail=self.mail,
                blobs=self.blobs,
                open_to_all=open_to_all,
                clock=self.clock,
            )
            self._stack = stack.pop_all()
        self.address = BrokerAddress(("127.0.0.1",), self.server.port, self.keys.public)
        self.router = self.server.router
        self._thread = threading.Thread(target=self.server.run, name="broker")

    def start(self) -> Self:
        self.storage.start(self.server.wake)
        self.mail.start(self.server.wake)
        self.blobs.start(self.server.wake)
        self._thread.start()
        return self

    def stop(self) -> None:
        with self._stack:
            self.server.stop()
            if self._thread.ident is None:
                self.server.close()
            else:
                self._thread.join(PATIENCE)
                assert not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def present(self) -> set[str]:
        """The names in its roster."""
        return {name.decode() for name in tuple(self.router.directory.receivers)}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


_HANDSHAKES: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)


class Watch:
    """How a socket's connections begin and end. Made before it connects: a handshake can be over at once, and for good."""

    def __init__(self, sock: zmq.Socket[bytes]) -> None:
        self._socket = sock
        self._monitor = sock.get_monitor_socket(_HANDSHAKES | zmq.EVENT_DISCONNECTED)

    def event(self) -> zmq.Event:
        """The next thing that happened."""
        assert self._monitor.poll(int(PATIENCE * 1000)), "nothing happened"
        (number,) = struct.unpack("=H", self._monitor.recv_multipart()[0][:2])
        return zmq.Event(number)

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close()


class Wire:
    """A bare DEALER that says exactly what a test wants it to say; ``watched``, it has a ``watch``."""

    def __init__(
        self,
        address: BrokerAddress,
        *,
        secret: bytes | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        routing_id: bytes | None = None,
        rcvhwm: int = 1000,
        rcvbuf: int = -1,
        watched: bool = False,
    ) -> None:
        self.address = address
        self._watched = watched
        self._own = context is None
        self.context = context or zmq.Context()
        self._routing_id = routing_id
        self._options = {"rcvhwm": rcvhwm, "rcvbuf": rcvbuf, "sndhwm": 0, "linger": 0, "reconnect_ivl": -1}
        self._given = secret is not None
        self._connect(z85.encode(secret) if secret else zmq.curve_keypair()[1])
        self.user = ""
        self.bytes_in = 0

    def _connect(self, secret: bytes) -> None:
        self.socket = self.context.socket(zmq.DEALER)
        self.public = z85.decode(zmq.curve_public(secret))
        self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_public(secret), secret
        self.socket.curve_serverkey = z85.encode(self.address.key)
        self.socket.routing_id = b"\1" + os.urandom(ROUTING_ID_BYTES - 1) if self._routing_id is None else self._routing_id
        self.socket.sndtimeo = int(PATIENCE * 1000)
        for name, value in self._options.items():
            setattr(self.socket, name, value)
        if self._watched:
            self.watch = Watch(self.socket)
        self.socket.connect(self.address.endpoints[0])

    def send(self, raw: Frames) -> None:
        self.socket.send_multipart(raw)

    def say(self, message: Control) -> None:
        self.send(frames.control(message))

    def raw(self, patience: float = PATIENCE) -> Frames:
        """The next message as it came."""
        assert self.socket.poll(int(patience * 1000)), "nothing came"
        raw = self.socket.recv_multipart()
        self.bytes_in += sum(map(len, raw))
        return raw

    def read(self) -> FromBroker:
        return frames.read_from_broker(self.raw())

    def expect(self, kind: type[_T]) -> _T:
        """The next message of this kind; what comes before it is passed over."""
        while not isinstance(message := self.read(), kind):
            pass
        return message

    def waiting(self) -> bool:
        return bool(self.socket.poll(0))

    def hello(self, me: Identity, mode: Mode = Mode.FULL) -> Hello:
        ik, nonce = me.signing.public.spki, os.urandom(NONCE_BYTES)
        return Hello((PROTOCOL_VERSION,), mode, me.user, me.kind, ik, me.bundle, me.curve, nonce)

    def proof(self, me: Identity, hello: Hello, challenge: Challenge) -> Prove:
        context = LoginContext(self.address.key, self.public, hello.nonce, challenge.nonce, me.user)
        return Prove(prove(me.signing, context))

    def prove_up(self, me: Identity, mode: Mode = Mode.FULL) -> Prove:
        """Begin a login; returns its last step, not yet sent. A profile comes by its own CURVE key, if no other was given."""
        secret = _curve_secrets.get(me.curve or b"")
        if secret and not self._given:
            self.socket.close()
            self._connect(z85.encode(secret))
        self.user = me.user
        hello = self.hello(me, mode)
        self.say(hello)
        return self.proof(me, hello, self.expect(Challenge))

    def log_in(self, who: str | Identity, mode: Mode = Mode.FULL) -> Self:
        """Log in and read the roster that follows."""
        me = identity(who, sends_only=mode is Mode.SEND) if isinstance(who, str) else who
        self.say(self.prove_up(me, mode))
        self.expect(Welcome)
        if mode is Mode.FULL:
            while self.expect(Roster).more:
                pass
        return self

    def mail(self, to: str, common: bytes = b"sealed", mid: bytes | None = None) -> bytes:
        """Send something to one user; the broker does not look into it. Returns its mid."""
        mid = mid or os.urandom(16)
        self.send(frames.send(mid, to, common))
        return mid

    def delivery(self) -> Deliver:
        return self.expect(Deliver)

    def results(self, count: int) -> list[messages.Result]:
        """The next results, at least ``count``."""
        found: list[messages.Result] = []
        while len(found) < count:
            found += self.expect(Results).results
        return found

    def ack(self, copies: Sequence[Deliver], proof: bytes = PROOF) -> None:
        self.send(frames.ack([(one.copy_id, proof) for one in copies]))

    def close(self) -> None:
        if self._watched:
            self.watch.close()
        self.socket.close()
        if self._own:
            self.context.destroy(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def tables(broker: LocalBroker) -> dict[str, int]:
    """Everything that the broker keeps for each connection, by its size."""
    server, router = broker.server, broker.router
    return {
        "descriptors": len(server._descriptors),
        "ended": len(server._sending.ended),
        "dying": len(server._sending.dying),
        "connections": len(router.connections),
        "unproven": len(router.door._unproven),
        "results": len(router.with_results),
        "receivers": len(router.directory.receivers),
        "users": len(router.directory._users),
        "entries": len(router.directory._entries),
    }


def works(broker: LocalBroker, first: Wire, second: Wire) -> None:
    """Two honest users reach each other."""
    mid = first.mail(second.user)
    copy = second.delivery()
    assert (copy.mid, copy.sender) == (mid, first.user)
    second.ack([copy])
    while (result := first.results(1)[-1]).mid != mid:
        pass
    assert result.status is Status.DELIVERED
