"""Whatever users, disks and crashes do to files: what was said to be on disk is there, and nothing else is ever served."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from broker.directory import Connection
from core.messages import Discard, Extent, NoBlob, Offer, Piece
from tests.broker.desk import Desk, lack

USERS = ("alice", "bob")
BLOBS = tuple(bytes([n]) * 16 for n in range(3))
SIZE = 40
SHORT = 600.0

_blobs = st.integers(0, len(BLOBS) - 1)
_any = st.integers(0, 9)


class Crash(BaseException):
    """The broker dies at this moment."""


@dataclass
class Known:
    """What is known of a blob from outside. ``contents`` are the bytes that may be on disk: one for each piece sent since
    all was quiet; the first ``sure`` bytes of the last one are there for certain.
    """

    owner: str = ""
    contents: list[bytes] = field(default_factory=lambda: [b""])
    sure: int = 0


@dataclass
class Turn:
    """What a client knows of its upload: its credit, and where its next piece goes."""

    upto: int
    credit: int
    next: int | None = None


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._kept = tempfile.TemporaryDirectory()
        self.desk = Desk(Path(self._kept.name))
        self.desk.disk._database.execute("PRAGMA synchronous = OFF")  # nobody cuts the power here
        self.known = [Known() for _ in BLOBS]
        self.turns: dict[tuple[Connection, int], Turn] = {}
        self.seed = 0

    def teardown(self) -> None:
        self.desk.close()
        self._kept.cleanup()

    @property
    def here(self) -> list[Connection]:
        return list(self.desk.heard)

    def someone(self, which: int) -> Connection:
        return self.here[which % len(self.here)]

    def hear(self) -> None:
        """Take what all were told."""
        for one in self.here:
            for said in self.desk.news(one):
                assert isinstance(said, Extent | NoBlob)
                which = BLOBS.index(said.blob)
                if isinstance(said, NoBlob):
                    self.turns.pop((one, which), None)
                    continue
                known = self.known[which]
                turn = self.turns.setdefault((one, which), Turn(0, 0))
                turn.upto, turn.credit = said.upto, max(turn.credit, said.credit)
                assert said.upto <= len(known.contents[-1])
                known.sure = max(known.sure, said.upto)
        for which, blob in enumerate(BLOBS):
            found = self.desk.blobs._known.get(blob)
            if found is None:
                self.known[which] = Known()
            elif not (found.upload and found.upload.pending):
                known = self.known[which]
                known.contents = [known.contents[-1][: found.upto]]

    # Users

    @precondition(lambda self: len(self.here) < 4)
    @rule(user=st.sampled_from(USERS))
    def join(self, user: str) -> None:
        self.desk.join(user)

    @precondition(lambda self: self.here)
    @rule(which=_any)
    def leave(self, which: int) -> None:
        one = self.someone(which)
        self.turns = {key: turn for key, turn in self.turns.items() if key[0] is not one}
        self.desk.leave(one)
        self.hear()

    @precondition(lambda self: self.here)
    @rule(which=_any, blob=_blobs)
    def offer(self, which: int, blob: int) -> None:
        one = self.someone(which)
        self.turns = {key: turn for key, turn in self.turns.items() if key[1] != blob or key[0].user != one.user}
        self.desk.heard[one] += self.desk.say(one, Offer(BLOBS[blob], SIZE))
        found = self.desk.blobs._known.get(BLOBS[blob])
        if found and not found.going and not self.known[blob].owner:
            self.known[blob] = Known(found.user)
        self.hear()

    @precondition(lambda self: self.turns)
    @rule(which=_any, back=st.integers(0, 12), length=st.integers(1, 30))
    def piece(self, which: int, back: int, length: int) -> None:
        (one, blob), turn = list(self.turns.items())[which % len(self.turns)]
        at = max(0, turn.upto - back) if turn.next is None else turn.next
        data = bytes((self.seed + n) % 256 for n in range(min(length, turn.credit - at)))
        self.seed += 97
        if not data or turn.upto == SIZE:
            return
        known = self.known[blob]
        upload = self.desk.blobs._known[BLOBS[blob]].upload
        assert upload
        assert upload.writer is one
        known.contents.append(known.contents[-1][:at] + data)
        known.sure = min(known.sure, at)
        turn.next = at + len(data)
        self.desk.heard[one] += self.desk.say(one, Piece(BLOBS[blob], at, data))
        assert one not in self.desk.ended
        self.hear()

    @precondition(lambda self: self.here)
    @rule(which=_any, blob=_blobs, data=st.binary(min_size=1, max_size=50), at=st.integers(0, SIZE))
    def meddle(self, which: int, blob: int, data: bytes, at: int) -> None:
        """Somebody who does not write a blob sends pieces of it."""
        one = self.someone(which)
        found = self.desk.blobs._known.get(BLOBS[blob])
        if found and found.upload and found.upload.writer is one:
            return
        assert self.desk.blobs.receive(one, Piece(BLOBS[blob], at, data), self.desk.now)

    @precondition(lambda self: self.here)
    @rule(which=_any, blob=_blobs)
    def discard(self, which: int, blob: int) -> None:
        one = self.someone(which)
        mine = self.known[blob].owner == one.user
        self.desk.heard[one] += self.desk.say(one, Discard(BLOBS[blob]))
        if mine:
            self.turns = {key: turn for key, turn in self.turns.items() if key[1] != blob}
        self.hear()

    @precondition(lambda self: self.here and not self.desk.disk_waits)
    @rule(which=_any, blob=_blobs, at=st.integers(0, SIZE - 1), length=st.integers(1, SIZE))
    def fetch(self, which: int, blob: int, at: int, length: int) -> None:
        one = self.someone(which)
        end = min(SIZE, at + length)
        known = self.known[blob]
        got = self.desk.fetch(one, BLOBS[blob], at, end)
        if known.sure == SIZE:
            assert got == known.contents[-1][at:end]
        else:
            assert lack(got) == "unknown"

    # Things that only rarely come together by themselves

    def begun(self, blob: int) -> Connection:
        """A connection that has just offered a blob which is not whole, some of which is there."""
        self.desk.disk_waits = False
        self.desk.settle()
        found = self.desk.blobs._known.get(BLOBS[blob])
        if found and found.whole:
            self.discard_as(self.desk.join(found.user), blob)
            found = None
        self.hear()
        one = self.desk.join(found.user if found else USERS[0])
        self.offer(self.here.index(one), blob)
        if not found or found.upto < 8:
            self.write(one, blob, 0, 8 + self.seed % 20)
            self.offer(self.here.index(one), blob)
        return one

    def discard_as(self, one: Connection, blob: int) -> None:
        self.desk.say(one, Discard(BLOBS[blob]))

    def write(self, one: Connection, blob: int, back: int, length: int) -> None:
        if (one, blob) in self.turns:
            self.piece(list(self.turns).index((one, blob)), back, length)

    @precondition(lambda self: len(self.here) < 8)
    @rule(blob=_blobs, back=st.integers(0, 12), length=st.integers(1, 30), more=st.integers(0, 10), how=st.data())
    def crash_soon_after_going_on(self, blob: int, back: int, length: int, more: int, how: st.DataObject) -> None:
        one = self.begun(blob)
        self.desk.disk_waits = True
        self.write(one, blob, back, length)
        if more:
            self.write(one, blob, 0, more)
        self.crash(how.draw(st.none() | st.integers(0, 30)), how.draw(st.binary(max_size=20)), how.draw(st.booleans()))

    @precondition(lambda self: len(self.here) < 8)
    @rule(blob=_blobs, back=st.integers(0, 12), length=st.integers(1, 30), then=st.sampled_from(["work", "fail", "crash"]))
    def take_over_while_bytes_are_under_way(self, blob: int, back: int, length: int, then: str) -> None:
        one = self.begun(blob)
        self.desk.disk_waits = True
        self.write(one, blob, 0, 7)
        other = self.desk.join(one.user)
        self.offer(self.here.index(other), blob)
        self.write(other, blob, back, length)
        if then == "crash":
            self.crash(3, b"", False)
        elif then == "fail":
            self.work_with_a_full_disk("fdatasync")
        else:
            self.desk.work()
            self.hear()
        if other in self.desk.heard:
            self.write(other, blob, back, length)

    # Disk, time and crashes

    @rule(waits=st.booleans())
    def let_the_disk_wait(self, waits: bool) -> None:
        self.desk.disk_waits = waits
        self.desk.settle()
        self.hear()

    @rule(call=st.sampled_from(["pwrite", "fdatasync"]))
    def work_with_a_full_disk(self, call: str) -> None:
        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "full")

        with _instead(os, call, full):
            self.desk.work()
        self.hear()

    @rule(seconds=st.sampled_from([1.0, SHORT]))
    def pass_time(self, seconds: float) -> None:
        self.desk.pass_time(seconds)
        self.hear()

    @rule(written=st.none() | st.integers(0, 30), tail=st.binary(max_size=20), synced=st.booleans())
    def crash(self, written: int | None, tail: bytes, synced: bool) -> None:
        """At any moment: before the disk does what waits, in the middle of a write, or after it and before it counts."""
        desk = self.desk
        if written is not None:
            real, victims = os.pwrite, []

            def dies(handle: int, data: bytes, offset: int) -> int:
                count = real(handle, data[:written], offset)
                if synced and count == len(data):
                    return count
                victims.append(real(handle, tail, offset + count))  # what a file system may leave there
                raise Crash

            with _instead(os, "pwrite", dies), contextlib.suppress(Crash):
                desk.disk.waiting += desk.blobs.to_disk
                desk.disk.work()
        if desk.disk._database.in_transaction:
            desk.disk._database.execute("ROLLBACK")
        self.turns.clear()
        desk.disk_waits = False
        found = {one.blob: one for one in desk.restart()}
        desk.disk._database.execute("PRAGMA synchronous = OFF")
        for blob, known in zip(BLOBS, self.known, strict=True):
            there = found.get(blob)
            if there is None:
                assert known.sure == 0 or not known.owner or blob in self.gone
                continue
            data = desk.disk._files.read(blob, 0, there.upto)
            assert there.upto >= known.sure or blob in self.gone
            assert any(one[: there.upto] == data for one in known.contents), (data, known.contents)
            known.contents = [data]
            known.sure = there.upto
        for which, blob in enumerate(BLOBS):
            if blob not in found:
                self.known[which] = Known()

    @property
    def gone(self) -> set[bytes]:
        """What may be gone: it was discarded, and that may have reached the disk."""
        return self._gone

    _gone: set[bytes]

    # What always holds

    @invariant()
    def accounts_are_right(self) -> None:
        blobs = self.desk.blobs
        uploads = [one.upload for one in blobs._known.values() if one.upload]
        assert blobs._reserved == sum(one.unused + one.pending for one in uploads)
        assert blobs._writers == sum(one.writer is not None for one in uploads) == sum(map(len, blobs._writing.values()))
        kept = [one for one in blobs._known.values() if not one.going]
        assert (blobs.count, blobs.bytes) == (len(kept), sum(one.size for one in kept))
        assert blobs.unfinished == sum(not one.whole for one in kept)
        if not self.desk.disk_waits:
            assert blobs._reserved == sum(one.unused for one in uploads)
            assert not blobs._waiting
        self._gone = {blob for blob, one in blobs._known.items() if one.going}


@contextlib.contextmanager
def _instead(where: Any, name: str, what: Any) -> Iterator[None]:
    real = getattr(where, name)
    setattr(where, name, what)
    try:
        yield
    finally:
        setattr(where, name, real)


def test_histories() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=100, stateful_step_count=40, deadline=None))
