"""The server's sending side: each message whole or not at all, and what becomes of it where it cannot be sent."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Final

import zmq

from broker.directory import Connection
from broker.router import Router
from core.frames import PING, Frames
from core.limits import FETCH_MAX

# Plain ints: an enum's `|` costs as much as a send.
_NB: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK) | int(zmq.SNDMORE)
_AGAIN: Final = int(zmq.EAGAIN)
_DOOM: Final = 0.5  # time for an ERROR to reach its reader before the connection is cut

_PIECES_MAX: Final = FETCH_MAX  # bytes of files for one connection in one turn, so that chat is not kept waiting

Mail = tuple[bytes, zmq.Frame]


class Sending:
    """Sends by a ROUTER socket with ROUTER_MANDATORY. ``clock`` gives monotonic seconds.

    ``ended`` are the connections that have ended, and when that was noticed; what they sent before may still be unread.
    ``dying`` are those that had their last words, and when they are to be cut. ``flying`` are the pieces of files that each
    connection was sent and the network has not taken, as far as is known: whether it has, and how many bytes.
    """

    def __init__(self, socket: zmq.Socket[bytes], router: Router, clock: Callable[[], float]) -> None:
        self._socket: Final = socket
        self._router: Final = router
        self._clock = clock
        self.ended: Final[dict[bytes, float]] = {}
        self.dying: Final[dict[bytes, float]] = {}
        self.flying: Final[dict[Connection, deque[tuple[zmq.MessageTracker, int]]]] = {}
        # What single messages of this round leave for each connection: DELIVER head and `common`.
        self.mail: Final[defaultdict[Connection, list[Mail]]] = defaultdict(list)

    def end(self, rid: bytes) -> None:
        """Nothing can be sent to this connection any more."""
        self.ended.setdefault(rid, self._clock())

    def deliver(self) -> None:
        """Send what is in ``mail``, one connection after the other: measured to cost less than each copy by itself."""
        send = super(zmq.Socket, self._socket).send  # the wrapper costs a fifth of a message
        for target, mail in self.mail.items():
            rid = target.rid
            for deliver, common in mail:
                try:
                    send(rid, _MORE)
                except zmq.ZMQError as error:
                    self._unsent_mail(target, error, mail, deliver)
                    break
                send(deliver, _MORE)
                send(common, _NB)
        self.mail.clear()

    def _unsent_mail(self, target: Connection, error: zmq.ZMQError, mail: Sequence[Mail], first: bytes) -> None:
        """Account for this copy and for those after it: were one of them sent, it would come before this one."""
        at = next(at for at, (deliver, _) in enumerate(mail) if deliver is first)
        for deliver, _ in mail[at:]:
            self._unsent(target, error, deliver)

    def copy(self, target: Connection, raw: Frames) -> None:
        """Send one copy."""
        self._send(target, raw, raw[0])

    def _send(self, target: Connection, raw: Frames, deliver: bytes | None = None, *, roster: bool = False) -> None:
        """Send one message; ``deliver`` is its head if it is a copy that must be accounted for."""
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
            self.end(target.rid)
        elif error.errno != _AGAIN:
            raise error
        elif deliver is not None:
            self._router.undeliverable(target, deliver)
        elif roster:
            target.behind = True
        else:  # an answer it waits for cannot be given: it is better off with a new connection
            self._router.drop(target)

    def results(self) -> None:
        """Send the results that are noted."""
        router = self._router
        for connection in list(router.with_results):
            while connection.results:
                try:
                    self._socket.send(connection.rid, _MORE)
                except zmq.ZMQError as error:
                    if error.errno != _AGAIN or router.results_stuck(connection):
                        self._unsent(connection, error)
                    break
                self._socket.send(router.take_results(connection), _NB)

    def outgoing(self) -> None:
        """Send what the router has to say, last words at the end."""
        router = self._router
        while router.outgoing:
            batch, router.outgoing = router.outgoing, []
            for connection, raw, roster in batch:
                deliver = raw[0] if raw[0][:1] == b"D" else None
                if deliver and connection.catch_up.stuck:  # it would come before one that could not be sent
                    router.undeliverable(connection, deliver)
                else:
                    self._send(connection, raw, deliver, roster=roster)
        if not router.doomed:
            return
        doomed, router.doomed = router.doomed, []
        for rid, last_words in doomed:
            self.dying.setdefault(rid, self._clock() + _DOOM)
            try:
                self._socket.send(rid, _MORE)
            except zmq.ZMQError as error:  # gone, or not reading: it needs no answer
                if error.errno == zmq.EHOSTUNREACH:
                    self.end(rid)
                continue
            self._socket.send(last_words, _NB)

    def pieces(self) -> None:
        """Send what was read of files, to each connection a part."""
        router = self._router
        fetches = router.blobs.fetches
        for connection, flying in list(self.flying.items()):
            while flying and flying[0][0].done:
                fetches.left(connection, flying.popleft()[1])
            if not flying or not connection.ready:
                del self.flying[connection]
        for connection in list(fetches.with_pieces):
            room = _PIECES_MAX
            while room > 0 and (raw := fetches.first(connection)):
                # Not copied, however small: so the socket tells when it is done with it, and a slow reader is noticed.
                data = zmq.Frame(raw[1], track=True, copy_threshold=0)
                try:
                    self._socket.send(connection.rid, _MORE)
                except zmq.ZMQError as error:
                    if error.errno != _AGAIN:
                        self._unsent(connection, error)
                    break
                self._socket.send(raw[0], _MORE)
                self._socket.send(data, _NB, copy=False)
                size = len(raw[1])
                room -= size
                self.flying.setdefault(connection, deque()).append((data.tracker, size))
                fetches.handed(connection)

    def ping(self, rid: bytes) -> bool | None:
        """Ask whether a connection lives; None if its queue is full, and nothing can be said."""
        try:
            self._socket.send(rid, _MORE)
        except zmq.ZMQError as error:
            return False if error.errno == zmq.EHOSTUNREACH else None
        self._socket.send(PING, _NB)
        return True
