"""The broker's only ZeroMQ: one ROUTER, the ZAP socket, and the loop that moves frames.

The loop's shape comes from what single calls cost (docs/PERFORMANCE.md): a frame is received with one call, its ``more``
flag is read from the frame, sends bypass the Python wrapper, and nothing is polled for each message.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import zmq
from zmq.backend import zmq_poll
from zmq.utils import z85

from broker.access import Access
from broker.binding import bind_problem, bracketed, open_monitor, seed_routing_ids
from broker.blob_values import BlobStorage
from broker.curve import CurveKeys
from broker.descriptors import Descriptors, shut
from broker.ledger import Ledger, LogEvent
from broker.mail_values import MailStorage
from broker.quota import Quota
from broker.router import Router
from broker.sending import Sending
from broker.storage import Storage
from broker.wake import Wake
from core.clock import Instant
from core.errors import BrokerFailed, FrameError
from core.frames import Frames
from core.limits import (
    CURVE_KEY_BYTES,
    CURVE_OVERHEAD,
    FRAME_MAX,
    LOGIN_TIME_MAX,
    RECIPIENTS_MAX,
    ROSTER_TICK,
    ROUND_MAX,
    ROUTING_ID_BYTES,
)

_T = TypeVar("_T")

_NB: Final = int(zmq.NOBLOCK)
_POLLIN: Final = int(zmq.POLLIN)

# Messages, not bytes: the router's window of unacknowledged bytes is what bounds a slow client's queue.
_QUEUE: Final = 16_384
_FRAMES_MAX: Final = 3 + RECIPIENTS_MAX
_BUSY_LOOK: Final = 0.01  # how often a busy loop looks at the other sockets
_FLYING_LOOK: Final = 0.01  # how often an idle loop looks whether more of a file can be sent
_LINGER_MS: Final = 500
_SWEEP: Final = 1.0
_FLUSH: Final = 5.0  # how long the end waits for the disks
_QUOTA: Final = Quota()
_SPARE: Final = 2.0  # whoever is late in the middle of a login is told so before the connection is cut

_monitored: Final = struct.Struct("=Hi").unpack  # zmq_socket_monitor(3): the event, and its value
_WATCHED: Final = int(zmq.EVENT_ACCEPTED) | int(zmq.EVENT_DISCONNECTED)


class Server:
    """Binds in the constructor, then ``run`` until ``stop``. Raises BrokerFailed if it cannot, or a storage cannot be read.

    ``keys`` is None only in benchmarks, to measure what CURVE costs.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        keys: CurveKeys | None,
        ledger: Ledger,
        storage: Storage,
        mail: MailStorage,
        blobs: BlobStorage,
        quota: Quota = _QUOTA,
        rate: int = 0,
        open_to_all: bool = False,
        clock: Callable[[], Instant] = lambda: Instant(time.time(), time.monotonic()),
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._clock = clock
        self._storage = storage
        self._mail = mail
        self._blobs = blobs
        self._access = Access(open_to_all, lambda key: ledger.knows(key, self._clock().wall))
        self._curve = keys is not None
        self._stopping = False
        self._to_log: list[LogEvent] = []
        public = keys.public if keys else bytes(CURVE_KEY_BYTES)
        self.router: Final = Router(public, ledger, self._to_log.append, random=random, quota=quota, rate=rate)
        self.router.committed(storage.completed(), clock())
        self.router.restore(mail.contents())
        self.router.blobs.restore(blobs.contents())
        self._context = zmq.Context()
        self._wake: Final = Wake()
        self._descriptors: Final = Descriptors()
        try:
            # ZAP must be there before the ROUTER is bound, or the first to connect would not be asked.
            self._zap = self._context.socket(zmq.REP)
            self._zap.linger = 0
            self._zap.bind("inproc://zeromq.zap.01")
            seed_routing_ids()
            self._socket = self._context.socket(zmq.ROUTER)
            self._prepare(keys)
            self._sending = Sending(self._socket, self.router, lambda: self._clock().mono)
            self._monitor = open_monitor(self._context, self._socket, _WATCHED)
            self._socket.bind(f"tcp://{bracketed(host)}:{port or '*'}")
            endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        except zmq.ZMQError as error:
            self.close()
            raise BrokerFailed(why=bind_problem(host, port, error)) from error
        self.port: Final = int(bytes(endpoint).rstrip(b"\0").rpartition(b":")[2])

    def _prepare(self, keys: CurveKeys | None) -> None:
        sock = self._socket
        sock.linger = 0
        sock.router_mandatory = True
        sock.maxmsgsize = FRAME_MAX + CURVE_OVERHEAD if keys else FRAME_MAX
        sock.sndhwm = sock.rcvhwm = _QUEUE
        sock.backlog = 1024
        sock.ipv6 = True
        sock.handshake_ivl = int(LOGIN_TIME_MAX * 1000)
        if keys:
            sock.curve_server = True
            sock.curve_secretkey = z85.encode(keys.secret)
            sock.zap_domain = b"securechat"

    def stop(self) -> None:
        """Let ``run`` end soon. From any thread, or from a signal handler."""
        self._stopping = True
        self.wake()

    def wake(self) -> None:
        """Have the loop look at the storage soon. From any thread."""
        self._wake.ring()

    def run(self) -> None:
        """Route until stopped, then say goodbye and close."""
        try:
            self._loop()
            self._settle()
            self.router.farewell()
            self._sending.outgoing()
            self._part()
        finally:
            self._socket.linger = _LINGER_MS
            self.close()

    def _settle(self) -> None:
        """Have what was submitted written, and tell of it whom it concerns."""
        now = self._clock()
        for _ in range(2):
            self._keep_log(now)
            self._keep_mail()
            self._keep_blobs()
            for disk in (self._storage, self._mail, self._blobs):
                disk.flush(_FLUSH)
        self._keep_log(now)
        self._keep_mail()
        self._keep_blobs()

    def _part(self) -> None:
        """Wait a moment for clients to go, as they do when told: closed at once, a connection can lose its last words."""
        until = self._clock().mono + _LINGER_MS / 1000
        while self._descriptors.open and (left := until - self._clock().mono) > 0:
            zmq_poll([(self._monitor, _POLLIN)], int(left * 1000) + 1)
            self._look_aside()

    def close(self) -> None:
        """Close every socket; ``run`` does so by itself. Closing twice does no harm."""
        if self._context.closed:
            return
        if getattr(self, "_monitor", None):
            self._socket.monitor(None, 0)
        self._context.destroy()
        self._wake.close()

    def _loop(self) -> None:
        router = self.router
        every: list[tuple[Any, int]] = [(one, _POLLIN) for one in (self._socket, self._zap, self._monitor, self._wake.fileno())]
        aside = every[1:]
        look_at = tick_at = sweep_at = 0.0
        while not self._stopping:
            now = self._clock()
            mono = now.mono
            dry = self._round(now)
            if dry and self._sending.ended:
                self._let_go()
            self._sending.deliver()
            if router.with_results:
                self._sending.results()
            self._sending.outgoing()
            self._keep_log(now)
            self._keep_mail()
            self._keep_blobs()
            if dry:
                calm = not (router.directory.changed or self._descriptors.suspects)
                due = mono if self._sending.ended else sweep_at if calm else tick_at
                if self._sending.flying:  # nothing wakes the loop when the network has taken them
                    due = min(due, mono + _FLYING_LOOK)
                ready = zmq_poll(every, max(0, int((due - mono) * 1000) + 1))
                self._wake.hush()
                if any(sock is not self._socket for sock, _ in ready):
                    self._look_aside()
            elif mono >= look_at:
                look_at = mono + _BUSY_LOOK
                if zmq_poll(aside, 0):
                    self._look_aside()
            if mono >= tick_at:
                tick_at = mono + ROSTER_TICK
                router.roster_tick()
                self._probe()
            if mono >= sweep_at:
                sweep_at = mono + _SWEEP
                router.sweep(now)
                self._let_go(silent_for=_SWEEP)  # a loop that is always busy must not keep them
                self._cut(mono)

    def _round(self, now: Instant) -> bool:
        """Handle up to 256 messages; returns whether the input ran dry."""
        recv = self._socket.recv
        connection_of = self.router.connections.get
        mail, acked = self.router.mail, self.router.acked
        waiting = self._sending.mail
        mono = now.mono
        rid = b""
        try:
            for _ in range(ROUND_MAX):
                rid = recv(_NB)
                frame = recv(_NB, False)
                head = frame.bytes
                connection = connection_of(rid)
                if connection is None:
                    self._receive(rid, frame, [], now)
                elif frame.more:
                    common = recv(_NB, False)
                    if common.more or head[:1] != b"S":
                        self._receive(rid, frame, [common], now)
                        continue
                    connection.seen = mono
                    delivery = mail(connection, head, common)
                    if delivery is None:
                        continue
                    targets, deliver = delivery
                    for target in targets:
                        waiting[target].append((deliver, common))
                elif head[:1] == b"A":
                    connection.seen = mono
                    acked(connection, head)
                else:
                    self._receive(rid, frame, [], now)
        except zmq.Again:  # only ever "no more input": whatever sends catches its own
            return True
        except FrameError:  # from the two calls that read a head themselves; its message was read to the end
            self.router.malformed(rid)
        return False

    def _keep_log(self, now: Instant) -> None:
        if self._to_log:
            self._storage.submit(_taken(self._to_log))
        if events := self._storage.completed():
            self.router.committed(events, now)
            self._sending.outgoing()
        if failure := self._storage.failure or self._mail.failure or self._blobs.failure:
            raise BrokerFailed(why=failure)

    def _keep_mail(self) -> None:
        router = self.router
        if answers := self._mail.completed():
            router.stored(answers)
            # At once: copies that waited precede those that the next round brings, and results what became of them.
            self._sending.results()
            self._sending.outgoing()
        if router.to_disk:
            self._mail.submit(_taken(router.to_disk))

    def _keep_blobs(self) -> None:
        blobs = self.router.blobs
        if answers := self._blobs.completed():
            blobs.completed(answers)
            self._sending.outgoing()
        if self._sending.flying or blobs.fetches.with_pieces:
            self._sending.pieces()
        if blobs.to_disk:
            self._blobs.submit(_taken(blobs.to_disk))

    def _receive(self, rid: bytes, frame: zmq.Frame, more: list[zmq.Frame], now: Instant) -> None:
        """Everything but single messages and acknowledgements: read the rest, whatever its length, and route it."""
        self._sending.deliver()  # what came before goes out before
        raw: Frames = [frame.bytes, *(one.bytes for one in more)]
        last = more[-1] if more else frame
        while last.more:
            last = self._socket.recv(_NB, False)
            if len(raw) <= _FRAMES_MAX:  # one too many is kept, so that the count is refused
                raw.append(last.bytes)
        if rid in self._sending.dying:
            return
        connection = self.router.find(rid)
        if connection is None:
            self._note_descriptor(rid, int(frame.get(zmq.SRCFD)))
            if len(rid) < ROUTING_ID_BYTES:
                self.router.malformed(rid)
                self._sending.outgoing()
                return
        key = b"" if connection else self._client_key(frame)
        for (targets, deliver), rest in self.router.receive(rid, key, raw, now):
            for target in targets:
                self._sending.copy(target, [deliver, *rest])
        # Now, not at the round's end: a WELCOME must precede the first message to whoever has just logged in.
        self._sending.outgoing()
        if rid in self.router.connections:
            self._descriptors.logged_in(rid)
        elif rid not in self._sending.dying and not self.router.find(rid):
            self._descriptors.suspect(rid)  # it said goodbye, or nothing of interest

    def _client_key(self, frame: zmq.Frame) -> bytes:
        return bytes.fromhex(str(frame.get("User-Id"))) if self._curve else bytes(CURVE_KEY_BYTES)

    def _look_aside(self) -> None:
        for _ in range(ROUND_MAX):
            try:
                request = self._zap.recv_multipart(_NB)
            except zmq.Again:
                break
            self._zap.send_multipart(self._access.answer(request))
        while True:
            try:
                # pyzmq's own reader of these makes each value, here a descriptor, a flag that is never freed.
                event, descriptor = _monitored(self._monitor.recv_multipart(_NB)[0])
            except zmq.Again:
                break
            if event != zmq.Event.ACCEPTED:
                self._descriptors.disconnected(descriptor)
            elif (surplus := self._descriptors.accepted(descriptor, self._clock().mono)) is not None:
                shut(surplus)

    def _note_descriptor(self, rid: bytes, descriptor: int) -> None:
        self._look_aside()  # a connection is accepted before it speaks
        self._descriptors.note(rid, descriptor, self.router.connections)

    def _forget(self, rid: bytes) -> None:
        self._descriptors.forget(rid)
        self._sending.ended.pop(rid, None)
        self._sending.dying.pop(rid, None)
        connection = self.router.find(rid)
        if connection:
            self.router.gone(connection)

    def _probe(self) -> None:
        """Find out whether connections that seem to have ended have: then nothing can be sent to them.

        The event alone does not say so: it comes before libzmq's own threads have let go.
        """
        for rid in list(self._descriptors.suspects):
            alive = self._sending.ping(rid)
            if alive:
                self._descriptors.seems_alive(rid)
            elif alive is False:  # a full queue says nothing: ask again
                del self._descriptors.suspects[rid]
                self._sending.end(rid)

    def _let_go(self, silent_for: float = 0.0) -> None:
        """Forget the connections that have ended, once all they sent, acknowledgements above all, was read.

        The input has run dry then; or nothing of theirs came for ``silent_for`` seconds, in which a ROUTER, which reads from
        all in turn, has come to everybody unless very many write at once.
        """
        mono = self._clock().mono
        for rid, noticed in list(self._sending.ended.items()):
            connection = self.router.find(rid)
            if mono - max(noticed, connection.seen if connection else noticed) >= silent_for:
                self._forget(rid)

    def _cut(self, mono: float) -> None:
        """Cut the connections that were refused a moment ago, and those that connected but never logged in."""
        self._look_aside()  # so that no descriptor below has been closed, and given to another, without our knowing
        # By themselves, surely or perhaps: another connection, or another part of this process, may have the number by now.
        over = self._sending.ended.keys() | self._descriptors.suspects.keys()
        for rid in [rid for rid, due in self._sending.dying.items() if due <= mono and rid not in over]:
            descriptor = self._descriptors.release(rid)
            self._forget(rid)
            if descriptor is not None:
                shut(descriptor)
        for descriptor in self._descriptors.overdue(mono - _SPARE):
            shut(descriptor)


def _taken(batch: list[_T]) -> list[_T]:
    """What is in the list, which is empty then."""
    taken = batch.copy()
    batch.clear()
    return taken
