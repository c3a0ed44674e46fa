"""The broker's only ZeroMQ: one ROUTER, the ZAP socket, and the loop that moves frames.

The loop's shape comes from what single calls cost (docs/PERFORMANCE.md): a frame is received with one call, its ``more``
flag is read from the frame, sends bypass the Python wrapper, and nothing is polled for each message.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

import zmq
from zmq.backend import zmq_poll
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from broker.access import Access
from broker.binding import bind_problem, bracketed, open_monitor, seed_routing_ids
from broker.curve import CurveKeys
from broker.descriptors import Descriptors, shut
from broker.directory import Connection
from broker.ledger import Ledger, LogEvent
from broker.router import Router
from broker.storage import Storage
from broker.wake import Wake
from core.clock import Instant
from core.errors import BrokerFailed, FrameError
from core.frames import PING, Frames
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

# Plain ints: an enum's `|` costs as much as a send.
_NB: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK) | int(zmq.SNDMORE)
_POLLIN: Final = int(zmq.POLLIN)
_AGAIN: Final = int(zmq.EAGAIN)

# Messages, not bytes: the router's window of unacknowledged bytes is what bounds a slow client's queue.
_QUEUE: Final = 16_384
_FRAMES_MAX: Final = 3 + RECIPIENTS_MAX
_BUSY_LOOK: Final = 0.01  # how often a busy loop looks at the other sockets
_LINGER_MS: Final = 500
_DOOM: Final = 0.5  # time for an ERROR to reach its reader before the connection is cut
_SWEEP: Final = 1.0
_SPARE: Final = 2.0  # whoever is late in the middle of a login is told so before the connection is cut

_WATCHED: Final = int(zmq.EVENT_ACCEPTED) | int(zmq.EVENT_DISCONNECTED)


class Server:
    """Binds in the constructor, then ``run`` until ``stop``. Raises BrokerFailed if it cannot bind.

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
        open_to_all: bool = False,
        clock: Callable[[], Instant] = lambda: Instant(time.time(), time.monotonic()),
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._clock = clock
        self._storage = storage
        self._access = Access(open_to_all, lambda key: ledger.knows(key, self._clock().wall))
        self._curve = keys is not None
        self._context = zmq.Context()
        self._wake: Final = Wake()
        self._stopping = False
        self._to_log: list[LogEvent] = []
        self.router: Final = Router(keys.public if keys else bytes(CURVE_KEY_BYTES), ledger, self._to_log.append, random=random)
        self.router.committed(storage.completed(), clock())
        self._descriptors: Final = Descriptors()
        self._ended: set[bytes] = set()  # connections that have ended; what they sent before may still be unread
        self._dying: dict[bytes, float] = {}
        # What single messages of this round leave for each connection: DELIVER head and `common`.
        self._mail: defaultdict[Connection, list[tuple[bytes, zmq.Frame]]] = defaultdict(list)
        try:
            # ZAP must be there before the ROUTER is bound, or the first to connect would not be asked.
            self._zap = self._context.socket(zmq.REP)
            self._zap.linger = 0
            self._zap.bind("inproc://zeromq.zap.01")
            seed_routing_ids()
            self._socket = self._context.socket(zmq.ROUTER)
            self._prepare(keys)
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
            self.router.farewell()
            self._send_outgoing()
        finally:
            self._socket.linger = _LINGER_MS
            self.close()

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
            if dry and self._ended:
                self._let_go()
            self._deliver()
            if router.with_results:
                self._send_results()
            self._send_outgoing()
            self._keep_log(now)
            if dry:
                due = mono if self._ended else tick_at if router.directory.changed or self._descriptors.suspects else sweep_at
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
                self._let_go()  # a loop that is always busy must not keep them
                self._cut(mono)

    def _round(self, now: Instant) -> bool:
        """Handle up to 256 messages; returns whether the input ran dry."""
        recv = self._socket.recv
        connection_of = self.router.connections.get
        mail, acked = self.router.mail, self.router.acked
        waiting = self._mail
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
                    delivery = mail(connection, head, len(common))
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
            self._storage.submit(self._to_log.copy())
            self._to_log.clear()
        if events := self._storage.completed():
            self.router.committed(events, now)
            self._send_outgoing()
        if self._storage.failure:
            raise BrokerFailed(why=self._storage.failure)

    def _deliver(self) -> None:
        """Send what is in ``_mail``, one connection after the other: measured to cost less than each copy by itself."""
        send = super(zmq.Socket, self._socket).send  # the wrapper costs a fifth of a message
        for target, mail in self._mail.items():
            rid = target.rid
            for deliver, common in mail:
                try:
                    send(rid, _MORE)
                except zmq.ZMQError as error:
                    self._unsent(target, error, deliver)
                    continue
                send(deliver, _MORE)
                send(common, _NB)
        self._mail.clear()

    def _receive(self, rid: bytes, frame: zmq.Frame, more: list[zmq.Frame], now: Instant) -> None:
        """Everything but single messages and acknowledgements: read the rest, whatever its length, and route it."""
        self._deliver()  # what came before goes out before
        raw: Frames = [frame.bytes, *(one.bytes for one in more)]
        last = more[-1] if more else frame
        while last.more:
            last = self._socket.recv(_NB, False)
            if len(raw) <= _FRAMES_MAX:  # one too many is kept, so that the count is refused
                raw.append(last.bytes)
        if rid in self._dying:
            return
        connection = self.router.find(rid)
        if connection is None:
            self._note_descriptor(rid, int(frame.get(zmq.SRCFD)))
            if len(rid) < ROUTING_ID_BYTES:
                self.router.malformed(rid)
                self._send_outgoing()
                return
        key = self._client_key(frame) if connection is None else connection.client_key
        for (targets, deliver), rest in self.router.receive(rid, key, raw, now):
            for target in targets:
                self._send(target, [deliver, *rest], deliver)
        # Now, not at the round's end: a WELCOME must precede the first message to whoever has just logged in.
        self._send_outgoing()
        if rid in self.router.connections:
            self._descriptors.logged_in(rid)
        elif rid not in self._dying and not self.router.find(rid):
            self._descriptors.suspect(rid)  # it said goodbye, or nothing of interest

    def _client_key(self, frame: zmq.Frame) -> bytes:
        return bytes.fromhex(str(frame.get("User-Id"))) if self._curve else bytes(CURVE_KEY_BYTES)

    def _send(self, target: Connection, raw: Frames, deliver: bytes | None = None, *, roster: bool = False) -> None:
        """Send one message whole or not at all; ``deliver`` is its head if it is a copy that must be accounted for."""
        try:
            self._socket.send(target.rid, _MORE)
        except zmq.ZMQError as error:
            self._unsent(target, error, deliver, roster=roster)
            return
        for one in raw[:-1]:
            self._socket.send(one, _MORE)
        self._socket.send(raw[-1], _NB)

    def _unsent(self, target: Connection, error: zmq.ZMQError, deliver: bytes | None = None, *, roster: bool = False) -> None:
        if error.errno == zmq.EHOSTUNREACH:
            self._ended.add(target.rid)
        elif error.errno != _AGAIN:
            raise error
        elif deliver is not None:
            self.router.undeliverable(target, deliver)
        elif roster:
            target.behind = True
        else:  # an answer it waits for cannot be given: it is better off with a new connection
            self.router.drop(target)

    def _send_results(self) -> None:
        for connection in list(self.router.with_results):
            while connection.results:
                try:
                    self._socket.send(connection.rid, _MORE)
                except zmq.ZMQError as error:
                    if error.errno != _AGAIN or self.router.results_stuck(connection):
                        self._unsent(connection, error)
                    break
                self._socket.send(self.router.take_results(connection), _NB)

    def _send_outgoing(self) -> None:
        router = self.router
        while router.outgoing:
            batch, router.outgoing = router.outgoing, []
            for connection, raw, roster in batch:
                self._send(connection, raw, roster=roster)
        if not router.doomed:
            return
        doomed, router.doomed = router.doomed, []
        for rid, last_words in doomed:
            self._dying.setdefault(rid, self._clock().mono + _DOOM)
            try:
                self._socket.send(rid, _MORE)
            except zmq.ZMQError as error:  # gone, or not reading: it needs no answer
                if error.errno == zmq.EHOSTUNREACH:
                    self._ended.add(rid)
                continue
            self._socket.send(last_words, _NB)

    def _look_aside(self) -> None:
        for _ in range(ROUND_MAX):
            try:
                request = self._zap.recv_multipart(_NB)
            except zmq.Again:
                break
            self._zap.send_multipart(self._access.answer(request))
        while True:
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(_NB))
            except zmq.Again:
                break
            if event["event"] != zmq.Event.ACCEPTED:
                self._descriptors.disconnected(int(event["value"]))
            elif (surplus := self._descriptors.accepted(int(event["value"]), self._clock().mono)) is not None:
                shut(surplus)

    def _note_descriptor(self, rid: bytes, descriptor: int) -> None:
        self._look_aside()  # a connection is accepted before it speaks
        self._descriptors.note(rid, descriptor, self.router.connections)

    def _forget(self, rid: bytes) -> None:
        self._descriptors.forget(rid)
        self._ended.discard(rid)
        self._dying.pop(rid, None)
        connection = self.router.find(rid)
        if connection:
            self.router.gone(connection)

    def _probe(self) -> None:
        """Find out whether connections that seem to have ended have: then nothing can be sent to them.

        The event alone does not say so: it comes before libzmq's own threads have let go.
        """
        for rid in list(self._descriptors.suspects):
            try:
                self._socket.send(rid, _MORE)
            except zmq.ZMQError as error:
                if error.errno == zmq.EHOSTUNREACH:
                    del self._descriptors.suspects[rid]
                    self._ended.add(rid)
                continue  # a full queue says nothing: ask again
            self._socket.send(PING, _NB)
            self._descriptors.seems_alive(rid)

    def _let_go(self) -> None:
        """Forget the connections that have ended, now that all they sent, acknowledgements above all, was read."""
        for rid in list(self._ended):
            self._forget(rid)

    def _cut(self, mono: float) -> None:
        """Cut the connections that were refused a moment ago, and those that connected but never logged in."""
        self._look_aside()  # so that no descriptor below has been closed, and given to another, without our knowing
        for rid in [rid for rid, due in self._dying.items() if due <= mono]:
            descriptor = self._descriptors.release(rid)
            self._forget(rid)
            if descriptor is not None:
                shut(descriptor)
        for descriptor in self._descriptors.overdue(mono - _SPARE):
            shut(descriptor)
