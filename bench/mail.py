"""What it costs to keep mail: storing it for who is away, and what it costs those who are here that it could be stored."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from bench import plainload, processes
from bench.people import PAIRS, People, log_in
from bench.processes import Relay
from bench.report import Report, interleaved, median
from bench.wire import Wire, encode
from core import frames
from core.identity import Identity
from core.limits import COPY_ID_BYTES, MID_BYTES
from core.messages import CaughtUp, Kept, Mode, Noted, Status
from scripts.measure import memory_now

_SIZE: Final = 600  # bytes of `common`: about those of a short message
_STORED: Final = 19  # bytes of a RESULT's entry without a proof
_WINDOW: Final = 4096
_COMMIT: Final = 1000  # rows in one transaction of bare SQLite: more make it no faster
_ONLINE: Final = 200_000
_PROOF: Final = b"\xaa" * 32


def run(report: Report, people: People, repeats: int, waiting: int) -> None:
    report.title(
        "6. Mail for who is away",
        f"Messages of {_SIZE} B to profiles that are away, from {PAIRS} senders, until every one is answered 'stored',",
        "that is, after its commit (SQLite, WAL, synchronous=FULL). Beside it bare SQLite in one process: the same rows, in",
        f"transactions of {_COMMIT:,} rows. Then messages between those who are here: profiles and, as the plain relay,",
        "guests, who have no mailbox.",
    )
    _storing(report, people, repeats)
    _relaying(report, people, repeats)
    _catching_up(report, people, waiting)


def _storing(report: Report, people: People, repeats: int) -> None:
    total = 40_000

    def once(kind: str) -> float:
        if kind == "sqlite":
            return _bare_sqlite(total)
        with processes.relay("broker", curve=False, profiles=_everybody(people)) as relay:
            return _store(relay, people, total)

    found = interleaved(repeats, ("sqlite", "broker"), once)
    rates = {kind: median(some) for kind, some in found.items()}
    ratio = median([one / other for one, other in zip(found["broker"], found["sqlite"], strict=True)])
    report.table(
        ("", "messages/s"),
        [
            ("bare SQLite, one process", f"{rates['sqlite']:,.0f}"),
            ("the broker, all recipients away", f"{rates['broker']:,.0f}"),
        ],
    )
    report.target("durable messages, broker to bare SQLite", ratio, least=0.5)


def _bare_sqlite(total: int) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="securechat-bench-") as folder,
        closing(sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)) as database,
    ):
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        columns = "id INTEGER PRIMARY KEY, user, kid, at, sender, sender_kid, mid BLOB, common BLOB, wrap BLOB, size"
        database.execute(f"CREATE TABLE mail ({columns})")
        kid, mid, common = "k" * 43, os.urandom(MID_BYTES), os.urandom(_SIZE)
        rows = [(None, f"bob{at % PAIRS}", kid, 1, "alice", kid, mid, common, None, _SIZE) for at in range(_COMMIT)]
        began = time.perf_counter()
        for _ in range(total // _COMMIT):
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO mail VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            database.execute("COMMIT")
        return total / (time.perf_counter() - began)


def _everybody(people: People) -> list[Identity]:
    pairs = [people.profile(f"{name}{at}") for name in ("alice", "bob") for at in range(PAIRS)]
    return [*pairs, people.profile("passer-by")]


def _store(relay: Relay, people: People, total: int) -> float:
    users = [f"bob{at}" for at in range(PAIRS)]
    with contextlib.ExitStack() as stack:
        senders = []
        for at in range(PAIRS):
            wire = stack.enter_context(closing(Wire(relay.front)))
            log_in(people.profile(f"alice{at}"), Mode.SEND, wire.send, wire.receive)
            senders.append(wire)
        began = time.perf_counter()
        _send_all(senders, users, total)
        return total / (time.perf_counter() - began)


def _send_all(senders: list[Wire], users: list[str], total: int) -> None:
    """Send ``total`` messages and wait until each is answered 'stored'. The senders take turns, a window at a time."""
    each = total // len(senders)
    # Made beforehand, and sent over and over: the load must need little of the cores that it shares with what is measured.
    blocks = [memoryview(b"".join(_message(users[at % len(users)]) for _ in range(_WINDOW))) for at in range(len(senders))]
    sent = [0] * len(senders)
    answered = [0] * len(senders)
    while sum(answered) < each * len(senders):
        for at, wire in enumerate(senders):
            stride = len(blocks[at]) // _WINDOW
            begin = sent[at] % _WINDOW
            room = min(each, answered[at] + _WINDOW) - sent[at]
            if room >= _WINDOW // 4 or (room and sent[at] + room == each):
                now = min(room, _WINDOW - begin)
                wire.socket.sendall(blocks[at][begin * stride : (begin + now) * stride])
                sent[at] += now
        for at, wire in enumerate(senders):
            if answered[at] < sent[at]:
                (body,) = wire.receive()
                if body[:1] != b"R" or set(body[_STORED::_STORED]) != {Status.STORED}:
                    raise RuntimeError("a message was not stored")
                answered[at] += len(body) // _STORED


def _message(to: str) -> bytes:
    return encode(frames.send(os.urandom(MID_BYTES), to, bytes(_SIZE)))


def _relaying(report: Report, people: People, repeats: int) -> None:
    def once(kind: str) -> float:
        profiles = _everybody(people) if kind == "profiles" else ()
        with processes.relay("broker", curve=False, profiles=profiles) as relay:
            identity = people.profile if profiles else people.guest
            return plainload.between(identity, relay, "broker", 256, _ONLINE).rate

    found = interleaved(repeats, ("guests", "profiles"), once)
    print()
    report.table(
        ("everybody is here, 256 B", "messages/s"),
        [("guests: the plain relay", f"{median(found['guests']):,.0f}"), ("profiles", f"{median(found['profiles']):,.0f}")],
    )
    ratio = median([one / other for one, other in zip(found["profiles"], found["guests"], strict=True)])
    report.target("everybody here, profiles to guests", ratio, least=0.8)


def _catching_up(report: Report, people: People, waiting: int) -> None:
    with processes.relay("broker", curve=False, profiles=_everybody(people)) as relay, closing(Wire(relay.front)) as alice:
        log_in(people.profile("alice0"), Mode.SEND, alice.send, alice.receive)
        _send_all([alice], ["bob0"], 1000)
        before = memory_now(relay.pid)
        _send_all([alice], ["bob0"], waiting - 1000)
        grown = memory_now(relay.pid) - before
        began = time.perf_counter()
        with closing(Wire(relay.back)) as bob:
            log_in(people.profile("bob0"), Mode.FULL, bob.send, bob.receive)
            came = _fetch(bob)
        seconds = time.perf_counter() - began
    if came != waiting:
        raise RuntimeError(f"{came} of {waiting} came")
    print()
    report.table(
        (f"{waiting:,} messages of {_SIZE} B waiting", "value"),
        [
            ("broker's memory grown by, MiB", f"{grown / 2**20:.1f}"),
            ("... for a message, B", f"{grown / (waiting - 1000):.0f}"),
            ("caught up in, s", f"{seconds:.1f}"),
            ("messages/s", f"{waiting / seconds:,.0f}"),
        ],
    )
    report.target("waiting mail, memory for a message to its size", grown / (waiting - 1000) / _SIZE, most=0.5)


def _fetch(bob: Wire) -> int:
    """Acknowledge all that comes until there is no more; returns how many copies came."""
    ids: set[bytes] = set()
    while True:
        message = bob.receive()
        if message[0][:1] == b"D":
            copy = message[0][1 : 1 + COPY_ID_BYTES]
            ids.add(copy)
            bob.send(frames.ack([(copy, _PROOF)]))
            continue
        said = frames.read_from_broker(message)
        if isinstance(said, CaughtUp):
            return len(ids)
        if isinstance(said, Kept):
            bob.send(frames.control(Noted(said.upto)))
