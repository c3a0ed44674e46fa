"""Mail on disk: what any storage promises, and what SQLite's does besides."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.mail_storage import MAIL_NAME, SqliteMailStorage
from broker.mail_values import (
    Answer,
    Committed,
    Drop,
    FindOld,
    FoundOld,
    Load,
    Loaded,
    LoadedReceipts,
    LoadReceipts,
    MailStorage,
    NotLoaded,
    Operation,
    Purge,
    Put,
    Receipt,
    Unstored,
)
from core.errors import BrokerFailed
from core.messages import Status
from tests.broker_process import ROOT
from tests.mail_disk import MemoryMailStorage
from tests.net import PATIENCE, PROOF, until

RID = b"rid"


def put(number: int, *, user: str = "bob", at: int = 0, body: bytes = b"common", wrap: bytes | None = None) -> Put:
    return Put(number, user, f"{user}'s key", at, "alice", "alice's key", number.to_bytes(16, "big"), body, wrap)


def receipt(number: int, status: Status = Status.DELIVERED, *, at: int = 0) -> Receipt:
    proof = PROOF if status is Status.DELIVERED else None
    return Receipt(number, "alice", "alice's key", at, bytes(16), "bob", status, proof)


class Used:
    """A storage, and all its answers."""

    def __init__(self, storage: MailStorage) -> None:
        self.storage = storage

    def say(self, *operations: Operation) -> list[Answer]:
        self.storage.submit(operations)
        self.storage.flush(PATIENCE)
        return self.storage.completed()

    def mail(self, *ids: int) -> tuple[Put, ...]:
        (answer,) = self.say(Load(RID, ids))
        assert isinstance(answer, Loaded)
        assert answer.asked == Load(RID, ids)
        return answer.copies

    def receipts(self, *ids: int) -> tuple[Receipt, ...]:
        (answer,) = self.say(LoadReceipts(RID, ids))
        assert isinstance(answer, LoadedReceipts)
        return answer.receipts


@contextlib.contextmanager
def started(folder: Path) -> Iterator[SqliteMailStorage]:
    with contextlib.closing(SqliteMailStorage(folder)) as storage:
        storage.start(lambda: None)
        yield storage


@pytest.fixture(params=["sqlite", "memory"])
def used(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Used]:
    if request.param == "memory":
        yield Used(MemoryMailStorage())
    else:
        with started(tmp_path) as storage:
            yield Used(storage)


# What any storage promises


def test_a_new_one_is_empty(used: Used) -> None:
    contents = used.storage.contents()
    assert (list(contents.copies), list(contents.receipts), contents.last_copy, contents.last_receipt) == ([], [], 0, 0)
    assert used.storage.completed() == []


def test_what_was_put_is_loaded_as_it_was_in_the_order_asked_for(used: Used) -> None:
    copies = [put(1), put(2, wrap=b"wrap"), put(5, body=bytes(range(256)) * 512)]
    assert used.say(*copies) == [Committed(tuple(copies))]
    assert used.mail(5, 1, 3, 2) == (copies[2], copies[0], copies[1])


def test_what_is_dropped_is_gone_and_its_receipt_there(used: Used) -> None:
    used.say(put(1), put(2), put(3))
    kept, refused, guests = receipt(1), receipt(2, Status.REFUSED), receipt(0)
    operations = (Drop(1, kept), Drop(2, refused), Drop(3, guests), Drop(4, None))
    assert used.say(*operations) == [Committed(operations)]
    assert used.mail(1, 2, 3) == ()
    assert used.receipts(2, 1, 0) == (refused, kept)


def test_operations_take_effect_in_their_order(used: Used) -> None:
    used.say(put(1), Drop(1, receipt(1)), put(2), Purge((2,), (1,)), put(3))
    assert used.mail(1, 2, 3) == (put(3),)
    assert used.receipts(1) == ()


def test_what_is_purged_is_gone(used: Used) -> None:
    used.say(*(put(number) for number in range(1, 6)), *(Drop(number, receipt(number)) for number in (1, 2)))
    used.say(Purge((3, 4), (1,)))
    assert used.mail(1, 2, 3, 4, 5) == (put(5),)
    assert used.receipts(1, 2) == (receipt(2),)


def test_old_ones_are_found_in_portions(used: Used) -> None:
    used.say(*(put(number, at=number) for number in range(1, 1500)))
    used.say(*(Drop(number, receipt(number, at=number)) for number in range(1, 11)))
    copies: list[int] = []
    receipts: list[int] = []
    ask: FindOld | None = FindOld(1000)
    while ask:
        answers = used.say(ask)
        ask = None
        for answer in answers:
            assert isinstance(answer, FoundOld)
            copies += [one.id for one in answer.copies]
            receipts += [number for number, _ in answer.receipts]
            ask = answer.next
    assert copies == list(range(11, 1000))
    assert receipts == list(range(1, 11))


def test_an_old_one_says_whom_to_tell(used: Used) -> None:
    used.say(put(7, at=1))
    (answer,) = used.say(FindOld(2))
    assert isinstance(answer, FoundOld)
    (old,) = answer.copies
    assert tuple(old) == (7, "bob", "alice", "alice's key", put(7).mid)


# SQLite


def test_it_is_a_storage(tmp_path: Path) -> None:
    with contextlib.closing(SqliteMailStorage(tmp_path)) as storage:
        promised: MailStorage = storage
        assert promised.completed() == []


def test_what_is_committed_is_there_again_with_the_highest_numbers(tmp_path: Path) -> None:
    with started(tmp_path) as storage:
        Used(storage).say(put(1), put(4, user="carol", body=b"12345", wrap=b"678"), Drop(1, receipt(9)))
        Used(storage).say(Purge((), (9,)))
    with started(tmp_path) as storage:
        contents = storage.contents()
        assert [tuple(one) for one in contents.copies] == [(4, "carol", "carol's key", 8)]
        assert list(contents.receipts) == []
        assert (contents.last_copy, contents.last_receipt) == (4, 9)
        assert Used(storage).mail(4)[0].wrap == b"678"


def test_what_is_committed_is_on_disk(tmp_path: Path) -> None:
    """Another connection sees it, though the first one still runs: it was committed, not only written."""
    with started(tmp_path) as storage:
        Used(storage).say(put(1))
        with contextlib.closing(sqlite3.connect(f"file:{tmp_path / MAIL_NAME}?mode=ro", uri=True)) as other:
            assert other.execute("SELECT id, size FROM mail").fetchall() == [(1, 6)]
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert storage._database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_closing_writes_what_was_submitted(tmp_path: Path) -> None:
    with started(tmp_path) as storage:
        for number in range(1, 50):
            storage.submit([put(number)])
    with started(tmp_path) as storage:
        assert [one.id for one in storage.contents().copies] == list(range(1, 50))


def test_answers_ring_the_bell(tmp_path: Path) -> None:
    bell = threading.Event()
    with contextlib.closing(SqliteMailStorage(tmp_path)) as storage:
        storage.start(bell.set)
        storage.submit([put(1)])
        assert bell.wait(PATIENCE)
        assert storage.completed() == [Committed((put(1),))]


def test_it_is_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with started(tmp_path) as storage:
            Used(storage).say(put(1))
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(modes) >= {MAIL_NAME, f"{MAIL_NAME}-wal"}
    assert set(modes.values()) == {0o600}


def test_a_full_disk_takes_no_mail_but_lets_it_go_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with started(tmp_path) as storage:
        used = Used(storage)
        used.say(*(put(number, body=bytes(3000)) for number in range(1, 21)))
        (pages,) = storage._database.execute("PRAGMA page_count").fetchone()
        storage._database.execute(f"PRAGMA max_page_count = {pages}")
        for number in (30, 31):
            assert used.say(put(number, body=bytes(100_000))) == [Unstored((number,))]
        dropped = (Drop(1, receipt(1)), Drop(2, None))
        assert used.say(put(32, body=bytes(100_000)), *dropped) == [Unstored((32,)), Committed(dropped)]
        assert used.receipts(1) == (receipt(1),)
        assert [one.id for one in used.mail(1, 2, 3, 30, 32)] == [3]
        storage._database.execute("PRAGMA max_page_count = 1000000")
        assert used.say(put(33)) == [Committed((put(33),))]
    first, last = [record.getMessage() for record in caplog.records]
    assert f"The mailbox {tmp_path / MAIL_NAME} cannot be written: database or disk is full" in first
    assert "can be written again" in last


WRITE = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
"""


@contextlib.contextmanager
def held_by_another(code: str, path: Path) -> Iterator[None]:
    """Another process runs this code on the file, and goes on holding what it took."""
    command = [sys.executable, "-c", f"{code}\nprint('held', flush=True)\nsys.stdin.read()", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        try:
            assert process.stdout.readline() == b"held\n"
            yield
        finally:
            process.stdin.close()
            process.wait(PATIENCE)


def test_a_locked_database_takes_no_mail_and_owes_what_must_be(tmp_path: Path) -> None:
    with started(tmp_path) as storage:
        used = Used(storage)
        used.say(put(1), put(2))
        with held_by_another(WRITE, tmp_path / MAIL_NAME):
            assert used.say(put(3), Drop(1, receipt(1))) == [Unstored((3,))]
            assert used.mail(2) == (put(2),)  # reading goes on
        answers: list[Answer] = []
        until(lambda: answers.extend(storage.completed()) or answers)  # type: ignore[func-returns-value]
        assert answers == [Committed((Drop(1, receipt(1)),))]
        assert used.mail(1, 2, 3) == (put(2),)


def test_damage_that_appears_while_it_runs_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with started(tmp_path) as storage:
        used = Used(storage)
        used.say(put(1), put(2))
        with contextlib.closing(sqlite3.connect(tmp_path / MAIL_NAME, isolation_level=None)) as vandal:
            vandal.execute("ALTER TABLE mail RENAME TO hidden")
            assert used.say(put(3)) == [Unstored((3,))]
            assert used.mail(1) == ()
            assert used.say(FindOld(100)) == []
            vandal.execute("ALTER TABLE hidden RENAME TO mail")
        assert used.say(put(4)) == [Committed((put(4),))]
        assert used.mail(1, 4) == (put(1), put(4))
    assert "cannot be read" in caplog.text


def test_a_page_that_is_overwritten_costs_its_mail_only(tmp_path: Path) -> None:
    with started(tmp_path) as storage:
        Used(storage).say(*(put(number, body=bytes([number]) * 3000) for number in range(1, 11)))
    with contextlib.closing(sqlite3.connect(tmp_path / MAIL_NAME)) as look:
        pages = dict(look.execute("SELECT pageno, mx_payload FROM dbstat WHERE name = 'mail' AND pagetype = 'leaf'"))
        look.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with started(tmp_path) as storage:
        with (tmp_path / MAIL_NAME).open("r+b") as file:
            file.seek((max(pages) - 1) * 4096)
            file.write(b"\xff" * 4096)
        storage._database.execute("PRAGMA shrink_memory")
        answers = Used(storage).say(Load(RID, tuple(range(1, 11))))
    (answer,) = answers
    assert isinstance(answer, Loaded)
    assert 0 < len(answer.copies) < 10
    assert {one.common for one in answer.copies} <= {bytes([number]) * 3000 for number in range(1, 11)}


@pytest.mark.parametrize("raw", [b"no database at all, and long enough to be read as one" * 50, b"\0" * 4096])
def test_a_file_that_is_no_mailbox_is_left_as_it_is(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / MAIL_NAME).write_bytes(raw)
    with pytest.raises(BrokerFailed, match=r"The mailbox .* cannot be used"):
        SqliteMailStorage(tmp_path)
    assert (tmp_path / MAIL_NAME).read_bytes() == raw


def test_a_mailbox_whose_pages_are_damaged_is_not_used(tmp_path: Path) -> None:
    with started(tmp_path) as storage:
        Used(storage).say(*(put(number, body=bytes(3000)) for number in range(1, 11)))
    raw = (tmp_path / MAIL_NAME).read_bytes()
    (tmp_path / MAIL_NAME).write_bytes(raw[: 3 * 4096] + b"\xff" * (len(raw) - 3 * 4096))
    with (
        contextlib.closing(SqliteMailStorage(tmp_path)) as storage,
        pytest.raises(BrokerFailed, match=r"The mailbox .* cannot be used"),
    ):
        list(storage.contents().copies)


def test_a_mailbox_of_another_version_is_left_as_it_is(tmp_path: Path) -> None:
    with started(tmp_path) as storage:
        storage._database.execute("PRAGMA user_version = 2")
    with pytest.raises(BrokerFailed, match="of version 2"):
        SqliteMailStorage(tmp_path)


SEIZE = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 8, 120)
"""


def test_a_read_that_another_process_hinders_can_be_tried_again(tmp_path: Path) -> None:
    """It holds the locks of SQLite's shared memory, from byte 120 on, by which readers know what they may read."""
    with started(tmp_path) as storage:
        used = Used(storage)
        used.say(put(1))
        with held_by_another(SEIZE, tmp_path / f"{MAIL_NAME}-shm"):
            assert used.say(Load(RID, (1,))) == [NotLoaded(Load(RID, (1,)))]
        assert used.mail(1) == (put(1),)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_fails_says_so(tmp_path: Path) -> None:
    bell = threading.Event()
    with contextlib.closing(SqliteMailStorage(tmp_path)) as storage:
        storage.start(bell.set)
        storage.submit([None])  # type: ignore[list-item]
        assert bell.wait(PATIENCE)
        assert "has failed" in (storage.failure or "")
