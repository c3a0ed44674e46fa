"""The clients' only ZeroMQ: one thread owns the DEALER and runs the session on it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import zmq
from zmq.utils import z85

from clients.greeting import greets
from core.address import BrokerAddress
from core.clock import Instant
from core.errors import (
    BrokerKeyMismatch,
    BrokerUnreachable,
    LoginRefused,
    NotAdmitted,
    NotInvited,
    RemoteProtocolError,
    SecureChatError,
    StoreFailed,
)
from core.events import Disconnected, Event, Refused
from core.frames import Frames
from core.limits import CURVE_OVERHEAD, FRAME_MAX, LOGIN_TIME_MAX, RECONNECT_FIRST, RECONNECT_MAX, ROUTING_ID_BYTES
from core.session import Session
from core.states import State

log = logging.getLogger("securechat.transport")

Command = Callable[[Session, Instant], list[Event]]

_TICK_MS: Final = 500
_LINGER_MS: Final = 500
_GOODBYE: Final = 2.0  # seconds: what a busy broker may need, and what one waits for at a terminal
_BURST: Final = 64  # messages in one turn: other processes of the profile cannot write meanwhile

# zmq_socket_monitor(3): the event and its value. zmq.utils.monitor reads it too, but imports asyncio with all it needs.
_EVENT: Final = struct.Struct("=hi")
_WATCHED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
)


def instant() -> Instant:
    """Now, on both clocks."""
    return Instant(time.time(), time.monotonic())


class ConnectionEnded(Exception):
    """Carries why a connection is over, as the error to show."""

    def __init__(self, error: SecureChatError) -> None:
        super().__init__(str(error))
        self.error = error


class Transport:
    """Runs a session in a thread of its own: connects, moves frames, reconnects with a growing, jittered pause.

    ``make_session`` runs in that thread (it may make keys). ``keep`` gets what happened together with what the session
    remembers of it; ``on_events`` gets it once that is safe, with the error where a connection ended, and an empty list about
    twice a second. Both are called in that thread and must not block, and so are ``before_connecting``, which gives the
    CURVE secret key (32 bytes) for the next connection (None means a fresh one), and ``let_in``, which says whether the
    broker has let this user in before: if so, it is no end that a handshake is refused, for anybody can say that.
    """

    def __init__(
        self,
        address: BrokerAddress,
        make_session: Callable[[], Session],
        on_events: Callable[[list[Event], SecureChatError | None], None],
        before_connecting: Callable[[], bytes | None] = lambda: None,
        keep: Callable[[list[Event]], None] = lambda _: None,
        let_in: Callable[[], bool] = lambda: False,
    ) -> None:
        self._address = address
        self._make_session = make_session
        self._on_events = on_events
        self._before_connecting = before_connecting
        self._keep = keep
        self._let_in = let_in
        self._commands: deque[Command] = deque()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._stopping = threading.Event()
        self._hurry = False
        self._thread = threading.Thread(target=self._main, name="securechat-transport", daemon=True)
        self._backlog: deque[Frames] = deque()

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def call(self, command: Command) -> None:
        """Run ``command`` with the session, in the transport's thread, soon. From any thread; never blocks."""
        self._commands.append(command)
        self._wake()

    def retry_now(self) -> None:
        """End the pause before the next attempt to connect."""
        self._hurry = True
        self._wake()

    def begin_stop(self) -> None:
        """Begin to say goodbye and to close the connection; returns at once."""
        self._stopping.set()
        self._wake()

    def stop(self, timeout: float = 5.0) -> None:
        """Say goodbye, close the connection and wait for the thread's end."""
        self.begin_stop()
        if self._thread.ident is None:  # never started, so nobody else closes these
            self._wake_in.close()
            self._wake_out.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: a wake-up is pending already; closed: nobody is left to wake
            self._wake_in.send(b"\0")

    def _main(self) -> None:
        try:
            session = self._make_session()
            try:
                self._connect_until_stopped(session)
            finally:
                with contextlib.suppress(StoreFailed):  # others find out by themselves, only later
                    session.release()
        except Exception as error:  # the thread's last line of defence: a silent end would look like a hang
            log.exception("the transport failed")
            self._on_events([Disconnected("an internal error")], BrokerUnreachable(where=self._address.where, why=repr(error)))
        finally:
            self._wake_in.close()
            self._wake_out.close()

    def _connect_until_stopped(self, session: Session) -> None:
        context = zmq.Context()
        pause, attempt, in_doubt = RECONNECT_FIRST, 0, False
        try:
            while not self._stopping.is_set():
                endpoint = self._address.endpoints[attempt % len(self._address.endpoints)]
                attempt += 1
                log.debug("attempt %d: connecting to %s", attempt, endpoint)
                began = time.monotonic()
                try:
                    self._one_connection(context, endpoint, session)
                except ConnectionEnded as end:
                    session.lost()
                    log.debug("the connection has ended: %s", end.error)
                    in_doubt = isinstance(end.error, BrokerKeyMismatch) and not in_doubt
                    if in_doubt:  # a link that is cut in the middle of a handshake looks the same, but not twice in a row
                        attempt -= 1
                        continue
                    if isinstance(end.error, LoginRefused):
                        self._on_events([Refused(end.error)], end.error)
                        return
                    self._on_events([Disconnected(str(end.error))], end.error)
                else:
                    in_doubt = False
                if session.state is State.REFUSED or self._stopping.is_set():
                    return
                # A connection that held for a while was a good one: begin with short pauses again.
                pause = RECONNECT_FIRST if time.monotonic() - began > RECONNECT_MAX else min(pause * 2, RECONNECT_MAX)
                rest = random.uniform(pause / 2, pause)  # noqa: S311 - jitter, not a secret
                log.debug("the next attempt is in %.1f s", rest)
                self._rest(rest, session)
        finally:
            context.destroy(linger=_LINGER_MS)

    def _rest(self, seconds: float, session: Session) -> None:
        until = time.monotonic() + seconds
        self._hurry = False
        poller = zmq.Poller()
        poller.register(self._wake_out, zmq.POLLIN)
        while not self._stopping.is_set() and not self._hurry and (left := until - time.monotonic()) > 0:
            if poller.poll(min(int(left * 1000) + 1, _TICK_MS)):
                self._drain_wake()
            with contextlib.suppress(ConnectionEnded):  # there is none to end; the next one tries again
                self._run_commands(session)
            self._on_events([], None)

    def _one_connection(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, session: Session) -> None:
        self._look_up(endpoint)
        sock = context.socket(zmq.DEALER)
        given = self._before_connecting()
        public, secret = (zmq.curve_public(z85.encode(given)), z85.encode(given)) if given else zmq.curve_keypair()
        sock.curve_publickey, sock.curve_secretkey = public, secret
        sock.curve_serverkey = z85.encode(self._address.key)
        # What begins with a zero is libzmq's own.
        sock.routing_id = b"\1" + os.urandom(ROUTING_ID_BYTES - 1)
        sock.linger = 0
        sock.maxmsgsize = FRAME_MAX + CURVE_OVERHEAD
        sock.ipv6 = True
        # One socket, one connection: a socket that reconnected by itself would send queued frames before the login.
        sock.reconnect_ivl = -1
        sock.handshake_ivl = int(LOGIN_TIME_MAX * 1000)
        monitor = sock.get_monitor_socket(_WATCHED)
        self._backlog.clear()
        try:
            sock.connect(endpoint)
            session.connect(z85.decode(public), instant())
            self._converse(sock, monitor, session)
        except zmq.ZMQError as error:
            raise ConnectionEnded(BrokerUnreachable(where=self._address.where, why=os.strerror(error.errno or 0))) from error
        finally:
            sock.disable_monitor()
            monitor.close(linger=0)
            sock.close(linger=_LINGER_MS if self._stopping.is_set() else 0)

    def _look_up(self, endpoint: str) -> None:
        """Raise ConnectionEnded for a host that is not known: ZeroMQ says nothing about it."""
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        try:
            socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # the second: no form that a host's name can have
            raise ConnectionEnded(BrokerUnreachable(where=self._address.where, why="its host is not known")) from error

    def _converse(self, sock: zmq.Socket[bytes], monitor: zmq.Socket[bytes], session: Session) -> None:
        poller = zmq.Poller()
        poller.register(sock, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        poller.register(self._wake_out, zmq.POLLIN)
        deadline = time.monotonic() + LOGIN_TIME_MAX
        shaken = False
        while True:
            self._flush(sock, session)
            poller.modify(sock, zmq.POLLIN | (zmq.POLLOUT if self._backlog else 0))
            ready = dict(poller.poll(_TICK_MS))
            if self._wake_out.fileno() in ready:
                self._drain_wake()
            self._run_commands(session)
            if self._stopping.is_set():
                self._leave(sock, monitor, session)
                return
            if sock in ready:
                self._receive(sock, session)
            if monitor in ready:
                shaken = self._watch(monitor, shaken=shaken)
            self._on_events(self._turn(session, lambda: session.tick(instant())), None)
            if session.state in (State.OFFLINE, State.REFUSED):
                return
            if session.state is not State.READY and time.monotonic() > deadline:
                raise ConnectionEnded(BrokerUnreachable(where=self._address.where, why="it does not answer"))

    def _leave(self, sock: zmq.Socket[bytes], monitor: zmq.Socket[bytes], session: Session) -> None:
        """Say goodbye, and read on until the broker has heard it.

        Whoever closes a TCP connection with something unread in it loses what was still on its way out, here acknowledgements.
        """
        session.say_bye()
        until = time.monotonic() + _GOODBYE
        poller = zmq.Poller()
        poller.register(monitor, zmq.POLLIN)
        with contextlib.suppress(ConnectionEnded, RemoteProtocolError):
            while True:
                self._flush(sock, session)
                if session.state is not State.LEAVING or (left := until - time.monotonic()) <= 0:
                    return
                poller.register(sock, zmq.POLLIN | (zmq.POLLOUT if self._backlog else 0))
                ready = dict(poller.poll(int(left * 1000) + 1))
                if ready.get(sock, 0) & zmq.POLLIN:
                    session.receive(sock.recv_multipart(zmq.NOBLOCK), instant())
                elif monitor in ready:
                    self._watch(monitor, shaken=True)

    def _turn(self, session: Session, work: Callable[[], list[Event]]) -> list[Event]:
        """Let the session do something, and keep what comes of it; raises ConnectionEnded if that cannot be kept."""
        try:
            with session.together():
                events = work()
                self._keep(events)
        except StoreFailed as error:
            session.forget()
            raise ConnectionEnded(error) from error
        for event in events:
            log.debug("%s", type(event).__name__)  # and nothing of what is in it
        return events

    def _receive(self, sock: zmq.Socket[bytes], session: Session) -> None:
        broken: RemoteProtocolError | None = None

        def burst() -> list[Event]:
            nonlocal broken
            events: list[Event] = []
            try:
                for _ in range(_BURST):
                    events += session.receive(sock.recv_multipart(zmq.NOBLOCK), instant())
            except zmq.Again:
                pass
            except RemoteProtocolError as error:  # what came before it is good
                broken = error
            return events

        events = self._turn(session, burst)
        refused = next((event.error for event in events if isinstance(event, Refused)), None)
        self._on_events(events, refused)
        if broken:
            raise ConnectionEnded(BrokerUnreachable(where=self._address.where, why=str(broken))) from broken

    def _watch(self, monitor: zmq.Socket[bytes], *, shaken: bool) -> bool:
        while monitor.poll(0):
            frame, endpoint = monitor.recv_multipart()
            event, value = _EVENT.unpack(frame)
            where = self._address.where
            log.debug("%s", zmq.Event(event).name)
            match event:
                case zmq.Event.HANDSHAKE_SUCCEEDED:
                    shaken = True
                case zmq.Event.HANDSHAKE_FAILED_AUTH:
                    # The refusal comes before the broker has shown its key: whoever has its port can send it.
                    raise ConnectionEnded(NotAdmitted(where=where) if self._let_in() else NotInvited())
                case zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
                    raise ConnectionEnded(self._unshaken(value, endpoint.decode()))
                case zmq.Event.DISCONNECTED | zmq.Event.CLOSED:
                    why = "it has closed the connection" if shaken else "nothing answers there"
                    raise ConnectionEnded(BrokerUnreachable(where=where, why=why))
                case _:
                    pass
        return shaken

    def _unshaken(self, why: int, endpoint: str) -> BrokerUnreachable:
        """What to tell of a handshake that failed: a broker with another key ends it, and so does a link that is cut.

        ``why`` is the event's value: how the connection ended, as an error number.
        """
        where = self._address.where
        if why == errno.EAGAIN:  # libzmq's word for a handshake that took too long
            return BrokerUnreachable(where=where, why="it does not answer")
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        if greets(host, int(port)):
            return BrokerKeyMismatch(where=where)
        return BrokerUnreachable(where=where, why="it has closed the connection")

    def _run_commands(self, session: Session) -> None:
        while self._commands:
            command = self._commands.popleft()
            self._on_events(self._turn(session, lambda: command(session, instant())), None)  # noqa: B023 - called at once

    def _flush(self, sock: zmq.Socket[bytes], session: Session) -> None:
        self._backlog.extend(session.outgoing())
        try:
            while self._backlog:
                sock.send_multipart(self._backlog[0], zmq.NOBLOCK)
                self._backlog.popleft()
        except zmq.Again:
            pass

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_out.recv(4096):
                pass
