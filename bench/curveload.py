"""The load with CURVE: DEALER sockets, a process that sends and one that receives, so that each has libzmq's thread.

libzmq encrypts here as well, so the load takes much of the machine; without CURVE ``bench.plainload`` measures better.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from multiprocessing.sharedctypes import Synchronized
from typing import TYPE_CHECKING, Final

import zmq
from zmq.utils import z85

from bench.people import PAIRS, People, log_in, now
from bench.processes import CpuMeter, Relay
from bench.traffic import MIDS, PROOF, RESULT, Measured, check_answers, check_copies, five_frames, mail
from bench.wire import routing_id
from core.frames import Frames, ack
from core.identity import Identity
from core.limits import COPY_ID_BYTES
from core.messages import Mode

_WINDOW: Final = 2048  # messages on their way, of all senders together
_AT_ONCE: Final = 64
_QUEUE: Final = 20_000
_STALL: Final = 20.0
_NB: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.SNDMORE)


if TYPE_CHECKING:
    Dealer = zmq.Socket[bytes]
    Arrived = Synchronized[int]  # messages that came to all receivers, where no answers tell


@dataclass(frozen=True, slots=True)
class Plan:
    """What both processes do: ``count`` messages of ``size`` bytes for each pair."""

    relay: Relay
    answered: bool
    size: int
    count: int
    people: list[tuple[Identity, Identity]]


def measure(relay: Relay, kind: str, size: int, total: int, people: People) -> Measured:
    """Move about ``total`` messages of ``size`` bytes between pairs of clients; raises if one was lost or came twice."""
    count = max(1, total // PAIRS // MIDS) * MIDS
    guests = [(people.guest(f"alice{at}"), people.guest(f"bob{at}")) for at in range(PAIRS)]
    plan = Plan(relay, kind == "broker", size, count, guests)
    fork = multiprocessing.get_context("fork")
    arrived = fork.Value("q", 0)
    running: list[ForkProcess] = []

    def start(work: Callable[[Plan, Arrived, Connection], None]) -> Connection:
        mine, theirs = fork.Pipe()
        process = fork.Process(target=work, args=(plan, arrived, theirs), daemon=True)
        process.start()
        running.append(process)
        theirs.close()
        _wait_for(mine)
        return mine

    try:
        receiver = start(_receive)
        sender = start(_send)
        meter, began = CpuMeter(relay.pid), time.perf_counter()
        sender.send(None)
        _wait_for(sender)
        seconds = time.perf_counter() - began
        usage = meter.usage()
        for one in (sender, receiver):  # both now check what they have
            one.send(None)
            _wait_for(one)
    finally:
        for process in running:
            process.kill()
            process.join()
    return Measured.of(count * PAIRS, seconds, usage)


def _wait_for(other: Connection) -> None:
    if not other.poll(_STALL):
        raise RuntimeError("the load does not get on")
    try:
        other.recv()
    except EOFError:
        raise RuntimeError("the load has failed") from None


class _Client:
    def __init__(self, context: zmq.Context[Dealer], relay: Relay, port: int, identity: bytes) -> None:
        self.socket: Final = context.socket(zmq.DEALER)
        self.socket.sndhwm = self.socket.rcvhwm = _QUEUE
        self.socket.linger = 0
        self.socket.rcvtimeo = int(_STALL * 1000)
        self.socket.identity = identity or routing_id()
        public, secret = zmq.curve_keypair()
        if relay.key:
            self.socket.curve_serverkey = relay.key.encode("ascii")
            self.socket.curve_publickey, self.socket.curve_secretkey = public, secret
        self._keys = (z85.decode(relay.key), z85.decode(public)) if relay.key else (bytes(32), bytes(32))
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def log_in(self, me: Identity, mode: Mode) -> None:
        broker_key, client_key = self._keys
        session = log_in(me, mode, self._send, self.socket.recv_multipart, broker_key=broker_key, client_key=client_key)
        while mode is Mode.FULL and me.user not in session.peers.present:
            session.receive(self.socket.recv_multipart(), now())

    def _send(self, message: Frames) -> None:
        self.socket.send_multipart(message)


def _receive(plan: Plan, arrived: Arrived, pipe: Connection) -> None:
    context: zmq.Context[Dealer] = zmq.Context()
    dealers = []
    for alice, bob in plan.people:
        dealer = _Client(context, plan.relay, plan.relay.back, b"" if plan.answered else alice.user.encode("ascii"))
        if plan.answered:
            dealer.log_in(bob, Mode.FULL)
        dealers.append(dealer.socket)
    pipe.send(None)
    total, got = plan.count * PAIRS, 0
    copy_ids: list[bytes] = []
    while got < total:
        for sock in _ready(dealers):
            if plan.answered:
                ids = _take(sock)
                copy_ids += ids
                got += len(ids)
                if ids:
                    sock.send(ack([(one, PROOF) for one in ids])[0])
            else:
                got += _take_five(sock)
                arrived.value = got
    pipe.recv()
    if plan.answered:
        check_copies([copy_ids], total)
    pipe.send(None)
    pipe.recv()


def _ready(dealers: Sequence[Dealer]) -> list[Dealer]:
    ready = dict(zmq.zmq_poll([(sock, int(zmq.POLLIN)) for sock in dealers], int(_STALL * 1000)))
    return [sock for sock in dealers if sock in ready]


def _take(sock: Dealer) -> list[bytes]:
    """Take what mail has come, up to a batch; returns its copy ids."""
    ids: list[bytes] = []
    try:
        while len(ids) < _AT_ONCE:
            head = sock.recv(_NB)
            if head[:1] == b"D":  # or a change of the roster, which is one frame
                sock.recv(_NB)
                ids.append(head[1 : 1 + COPY_ID_BYTES])
    except zmq.Again:
        pass
    return ids


def _take_five(sock: Dealer) -> int:
    count = 0
    try:
        while count < _AT_ONCE:
            for _ in range(5):
                sock.recv(_NB)
            count += 1
    except zmq.Again:
        pass
    return count


def _send(plan: Plan, arrived: Arrived, pipe: Connection) -> None:
    context: zmq.Context[Dealer] = zmq.Context()
    dealers = []
    for alice, _ in plan.people:
        dealer = _Client(context, plan.relay, plan.relay.front, b"" if plan.answered else alice.user.encode("ascii"))
        if plan.answered:
            dealer.log_in(alice, Mode.SEND)
        dealers.append(dealer.socket)
    mails = [mail(bob.user, plan.size) for _, bob in plan.people]
    wires = mails if plan.answered else [[five_frames(messages[0])] * MIDS for messages in mails]
    answers: list[list[bytes]] = [[] for _ in dealers]
    pipe.send(None)
    pipe.recv()
    total, sent, done = plan.count * PAIRS, 0, 0
    while done < total:
        while sent < total and sent - done < _WINDOW:
            which, first = sent // _AT_ONCE % PAIRS, sent // _AT_ONCE // PAIRS * _AT_ONCE % MIDS
            _send_all(dealers[which], wires[which][first : first + _AT_ONCE])
            sent += _AT_ONCE
        if plan.answered:
            for sock in _ready(dealers):
                body = sock.recv()
                if body[:1] == b"R":
                    answers[dealers.index(sock)].append(body[1:])
                    done += len(body) // RESULT
        else:
            done = arrived.value
            time.sleep(0.0002)
    pipe.send(None)
    pipe.recv()
    if plan.answered:
        for messages, results in zip(mails, answers, strict=True):
            check_answers(messages, results, plan.count)
    pipe.send(None)
    pipe.recv()


def _send_all(sock: Dealer, messages: Sequence[Frames]) -> None:
    send = super(zmq.Socket, sock).send  # the wrapper costs more than the call
    for message in messages:
        for one in message[:-1]:
            send(one, _MORE)
        send(message[-1])
