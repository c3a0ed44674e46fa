"""How long a person waits: one message between two clients that are connected."""

from __future__ import annotations

import threading
import time

from bench.processes import broker
from bench.report import Report, median
from clients.chat import ChatClient
from core.events import MessageReceived


def run(report: Report, count: int) -> None:
    report.title(
        "4. Round trips",
        "Two ChatClients in one process, by a broker that runs, CURVE on, hybrid. 'delivered' is from `send` until the proof",
        "that the recipient opened it is checked (a signature, a decryption); 'reply' until its answer is open (two each).",
    )
    with broker() as (address, _), ChatClient("alice", address) as alice, ChatClient("bob", address) as bob:
        answering = threading.Thread(target=_answer, args=(bob,), daemon=True)
        answering.start()
        delivered, replied = [], []
        replies = (event for event in alice.events(120) if isinstance(event, MessageReceived))
        for number in range(count + 3):
            began = time.perf_counter()
            id_ = alice.send(f"ping {number}", "bob")
            if not all(outcome.safe for outcome in alice.wait_sent(id_, 10).values()):
                raise RuntimeError("a message was not delivered")
            taken = time.perf_counter() - began
            next(replies)
            if number >= 3:  # the first ones look each other's bundles up
                delivered.append(taken)
                replied.append(time.perf_counter() - began)
    answering.join(10)
    rows = [
        (name, *(f"{value * 1e3:.1f}" for value in (median(times), sorted(times)[len(times) * 95 // 100], max(times))))
        for name, times in (("delivered", delivered), ("reply", replied))
    ]
    report.table(("", "p50 ms", "p95 ms", "most ms"), rows)


def _answer(bob: ChatClient) -> None:
    for event in bob.events(120):
        if isinstance(event, MessageReceived):
            bob.send("pong", event.message.sender)
