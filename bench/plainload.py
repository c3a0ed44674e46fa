"""The load without CURVE: one process, whole buffers of messages over plain TCP, hardly any Python for a message.

Each sender keeps a window of messages without an answer: from the broker that is a RESULT, which comes after the
recipient's ACK; from the other relays, which know no answers, it is the arrival.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

from bench.people import PAIRS, People, log_in, now
from bench.processes import CpuMeter, Relay
from bench.traffic import MIDS, PROOF, RESULT, Measured, check_answers, check_copies, deliver_head, five_frames, mail
from bench.wire import Wire, encode
from core.frames import ACK_SIZE
from core.identity import Identity
from core.limits import COPY_ID_BYTES
from core.messages import Mode
from core.session import Session

_WINDOW: Final = 512
_ACKED_AT_ONCE: Final = 64
_CHUNK: Final = 1 << 17
_STALL: Final = 10.0


class Sender:
    """Sends one block of messages over and over, within its window."""

    def __init__(self, wire: Wire, messages: list[bytes], count: int) -> None:
        self.wire: Final = wire
        self._stride = len(messages[0])
        self._block = memoryview(b"".join(messages))
        self._total = count * self._stride
        self._sent = 0
        self._buffer = b""
        self.done = 0
        self.answers: list[bytes] = []  # RESULT bodies, looked at when the clock has stopped

    def pump(self) -> bool:
        """Send what the window allows; returns whether the socket could not take it all."""
        allowed = min(self._total, (self.done + _WINDOW) * self._stride)
        while self._sent < allowed:
            at = self._sent % len(self._block)
            end = min(len(self._block), at + min(allowed - self._sent, _CHUNK))
            try:
                self._sent += self.wire.socket.send(self._block[at:end])
            except BlockingIOError:
                return True
        return False

    def read_results(self) -> None:
        data = self._buffer + self.wire.socket.recv(1 << 18)
        at = 0
        while len(data) - at >= 9:
            head = 9 if data[at] & 2 else 2
            size = int.from_bytes(data[at + 1 : at + head], "big")
            if len(data) - at < head + size:
                break
            body = data[at + head + 1 : at + head + size]
            if data[at + head : at + head + 1] != b"R":
                raise RuntimeError("the broker said something else than results")
            self.answers.append(body)
            self.done += len(body) // RESULT
            at += head + size
        self._buffer = data[at:]


class Receiver:
    """Takes messages of one known size; acknowledges them to the broker as a client does: in batches, with proofs."""

    def __init__(self, wire: Wire, stride: int, *, acknowledges: bool) -> None:
        self.wire: Final = wire
        self._stride = stride
        self._acknowledges = acknowledges
        self._buffer = bytearray(1 << 21)
        self._fill = 0
        self._out = b""
        self.copy_ids: list[bytes] = []

    def read(self) -> int:
        """Take what has arrived; returns how many messages that were."""
        self._fill += self.wire.socket.recv_into(memoryview(self._buffer)[self._fill :])
        count = self._fill // self._stride
        used = count * self._stride
        if count and self._acknowledges:
            self._acknowledge(count)
        self._buffer[: self._fill - used] = self._buffer[used : self._fill]
        self._fill -= used
        return count

    def _acknowledge(self, count: int) -> None:
        stride, data = self._stride, self._buffer
        if data[2 : count * stride : stride].count(b"D") != count:
            raise RuntimeError("the broker said something else than mail")
        batches = []
        for first in range(0, count, _ACKED_AT_ONCE):
            here = min(_ACKED_AT_ONCE, count - first)
            ids = bytearray(COPY_ID_BYTES * here)
            body = bytearray(b"A" + (bytes(COPY_ID_BYTES) + PROOF) * here)
            begin, end = first * stride, (first + here) * stride
            for at in range(COPY_ID_BYTES):
                ids[at::COPY_ID_BYTES] = body[1 + at :: ACK_SIZE] = data[begin + 3 + at : end : stride]
            batches.append(encode([bytes(body)]))
            self.copy_ids.append(bytes(ids))
        self._out += b"".join(batches)
        self.flush()

    def flush(self) -> None:
        if self._out:
            with contextlib.suppress(BlockingIOError):
                self._out = self._out[self.wire.socket.send(self._out) :]


def measure(relay: Relay, kind: str, size: int, total: int, people: People) -> Measured:
    """Move about ``total`` messages of ``size`` bytes between pairs of guests; raises if one was lost or came twice."""
    return between(people.guest, relay, kind, size, total)


def between(identity: Callable[[str], Identity], relay: Relay, kind: str, size: int, total: int) -> Measured:
    """The same between users whose ``identity`` is made as told."""
    count = max(1, total // PAIRS // MIDS) * MIDS
    names = [(f"alice{at}", f"bob{at}") for at in range(PAIRS)]
    answered = kind == "broker"
    with contextlib.ExitStack() as stack:
        connected = _log_in(relay, names, identity) if answered else _connect(relay, names)
        pairs = [(stack.enter_context(closing(a)), stack.enter_context(closing(b))) for a, b in connected]
        mails = [mail(bob, size) for _, bob in names]
        senders, receivers = [], []
        for (alice, _), (out, back), messages in zip(names, pairs, mails, strict=True):
            if answered:
                wires = [encode(message) for message in messages]
                stride = len(encode([deliver_head(alice), messages[0][1]]))
            else:
                wires = [encode(five_frames(messages[0]))] * MIDS
                stride = len(wires[0])
            senders.append(Sender(out, wires, count))
            receivers.append(Receiver(back, stride, acknowledges=answered))
        meter, began = CpuMeter(relay.pid), time.perf_counter()
        _move(senders, receivers, count * PAIRS, answered=answered)
        seconds = time.perf_counter() - began
        usage = meter.usage()
        if answered:
            for sender, messages in zip(senders, mails, strict=True):
                check_answers(messages, sender.answers, count)
            check_copies([one.copy_ids for one in receivers], count * PAIRS)
    return Measured.of(count * PAIRS, seconds, usage)


def _log_in(relay: Relay, names: list[tuple[str, str]], identity: Callable[[str], Identity]) -> list[tuple[Wire, Wire]]:
    receivers = []
    for _, bob in names:
        wire = Wire(relay.back)
        receivers.append((wire, log_in(identity(bob), Mode.FULL, wire.send, wire.receive)))
    # Somebody comes after them and leaves: when that has been told, all of the roster has, and only mail follows.
    with closing(Wire(relay.back)) as wire:
        log_in(identity("passer-by"), Mode.FULL, wire.send, wire.receive)
        _until(receivers, lambda session: "passer-by" in session.peers.present)
    _until(receivers, lambda session: "passer-by" not in session.peers.present)
    senders = []
    for alice, _ in names:
        wire = Wire(relay.front)
        log_in(identity(alice), Mode.SEND, wire.send, wire.receive)
        senders.append(wire)
    return list(zip(senders, [wire for wire, _ in receivers], strict=True))


def _until(receivers: list[tuple[Wire, Session]], told: Callable[[Session], bool]) -> None:
    for wire, session in receivers:
        while not told(session):
            session.receive(wire.receive(), now())


def _connect(relay: Relay, names: list[tuple[str, str]]) -> list[tuple[Wire, Wire]]:
    """A pair shares its routing id, so that what comes in at the front goes out to its other half at the back."""
    backs = [Wire(relay.back, alice.encode("ascii")) for alice, _ in names]
    fronts = [Wire(relay.front, alice.encode("ascii")) for alice, _ in names]
    return list(zip(fronts, backs, strict=True))


def _move(senders: list[Sender], receivers: list[Receiver], total: int, *, answered: bool) -> None:
    with selectors.DefaultSelector() as selector:
        for sender, receiver in zip(senders, receivers, strict=True):
            for wire in (sender.wire, receiver.wire):
                wire.socket.setblocking(False)
            selector.register(sender.wire.socket, selectors.EVENT_READ, (sender, None))
            selector.register(receiver.wire.socket, selectors.EVENT_READ, (sender, receiver))
        stuck: set[Sender] = set()

        def pump(sender: Sender) -> None:
            if sender.pump() is not (sender in stuck):
                stuck.symmetric_difference_update({sender})
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if sender in stuck else 0)
                selector.modify(sender.wire.socket, events, (sender, None))

        for sender in senders:
            pump(sender)
        while sum(sender.done for sender in senders) < total:
            ready = selector.select(_STALL)
            if not ready:
                raise RuntimeError(f"nothing moves any more: {[sender.done for sender in senders]}")
            for key, events in ready:
                sender, receiver = key.data
                if receiver is not None:
                    arrived = receiver.read()
                    if not answered:
                        sender.done += arrived
                        pump(sender)
                else:
                    if events & selectors.EVENT_READ:
                        sender.read_results()
                    pump(sender)
            for receiver in receivers:
                receiver.flush()
