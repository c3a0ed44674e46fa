"""What a broker sends to tell who is here, while many come and go."""

from __future__ import annotations

import contextlib
import selectors
import time
from dataclasses import dataclass, field
from typing import Final

from bench import processes
from bench.people import People, log_in
from bench.report import Report, median
from bench.wire import Wire
from core.frames import control, read_from_broker
from core.limits import ROSTER_TICK
from core.messages import Bye, Mode, Roster

_PATIENCE: Final = 30.0
_PACE: Final = 0.004  # between two that leave, so that they do so over many ticks


@dataclass(slots=True)
class Client:
    """One client's connection and what it was told: bytes of the roster it began with, and of the changes that followed."""

    user: str
    wire: Wire
    since: float
    present: set[str] = field(default_factory=set)
    rosters: int = 0
    roster_bytes: int = 0
    messages: int = 0
    change_bytes: int = 0
    changes: int = 0
    ticks: float = 0.0

    def take(self) -> None:
        (body,) = self.wire.receive()
        message = read_from_broker([body])
        if not isinstance(message, Roster):
            return
        joined = {entry.user for entry in message.joined}
        if message.full:
            self.rosters += 1
            self.roster_bytes += len(body)
            self.present = joined
        else:
            self.messages += 1
            self.change_bytes += len(body)
            self.changes += len(joined) + len(message.left)
            self.present = (self.present | joined) - set(message.left)

    def leave(self) -> None:
        self.ticks = (time.monotonic() - self.since) / ROSTER_TICK
        self.wire.send(control(Bye()))


def run(report: Report, people: People, sizes: tuple[int, ...]) -> None:
    report.title(
        "5. The roster",
        f"Clients join one after the other, all see each other, and leave again; the broker's tick is {ROSTER_TICK:g} s.",
        "Medians over the clients: what each was sent as roster when it came, how many changes followed, in how many messages",
        "and within how many ticks, their bytes, and bytes for a change: if that is bounded whatever the number of clients, a",
        "client costs one roster and its changes.",
    )
    found = {size: _come_and_go(people, size) for size in sizes}
    rows = []
    for size, clients in found.items():
        told = [one for one in clients if one.changes]
        each = [one.change_bytes / one.changes for one in told]
        values = (
            [one.roster_bytes for one in clients],
            [one.changes for one in clients],
            [one.messages for one in clients],
            [one.ticks for one in clients],
            [one.change_bytes for one in clients],
        )
        rows.append((str(size), *(f"{median(some):,.0f}" for some in values), f"{median(each):.1f}", f"{max(each):.1f}"))
    head = ("clients", "roster B", "changes", "messages", "ticks", "changes B", "B a change", "most")
    report.table(head, rows)
    for size, clients in found.items():
        over = max(one.messages / (one.ticks + 1) for one in clients)
        report.target(f"roster, {size} clients, messages a tick, the most of any client", over, most=1)
        report.target(
            f"roster, {size} clients, whole rosters, the most of any client", max(one.rosters for one in clients), most=1
        )


def _come_and_go(people: People, size: int) -> list[Client]:
    clients: list[Client] = []
    with contextlib.ExitStack() as stack:
        relay = stack.enter_context(processes.relay("broker", curve=False))
        selector = stack.enter_context(selectors.DefaultSelector())

        def drain(wait: float) -> None:
            for key, _ in selector.select(wait):
                key.data.take()

        for number in range(size):
            wire = Wire(relay.front)
            stack.callback(wire.close)
            user = f"guest-{number:04}"
            client = Client(user, wire, time.monotonic())
            log_in(people.guest(user), Mode.FULL, wire.send, wire.receive)
            clients.append(client)
            selector.register(wire.socket, selectors.EVENT_READ, client)
            drain(0)
        until = time.monotonic() + _PATIENCE
        while any(len(one.present) < size for one in clients):
            if time.monotonic() > until:
                raise RuntimeError("not everybody was told of everybody")
            drain(ROSTER_TICK)
        for number, client in enumerate(clients):
            selector.unregister(client.wire.socket)
            client.leave()
            until = time.monotonic() + _PACE
            while number + 1 < size and (left := until - time.monotonic()) > 0:
                drain(left)
    return clients
