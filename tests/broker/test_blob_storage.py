"""Files on disk: what is said to be there is there, also after a crash, and nothing else passes for it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.blob_storage import BLOBS_NAME, BlobDisk
from broker.blob_values import (
    Answer,
    Append,
    BlobRead,
    Create,
    Delete,
    Deleted,
    Extended,
    NotRead,
    NotWritten,
    Operation,
    Read,
    StoredBlob,
)
from core.errors import BrokerFailed
from tests.net import PATIENCE, until

BLOB, OTHER = bytes(range(16)), bytes(range(16, 32))


def create(size: int, blob: bytes = BLOB) -> Create:
    return Create(blob, "alice", "alice's key", size, 1)


def append(offset: int, data: bytes, blob: bytes = BLOB) -> Append:
    return Append(blob, offset, data, 2)


def stored(size: int, upto: int, blob: bytes = BLOB, at: int = 2) -> StoredBlob:
    return StoredBlob(blob, "alice", "alice's key", size, upto, at)


class Used:
    def __init__(self, storage: BlobDisk) -> None:
        self.storage = storage

    def say(self, *operations: Operation) -> list[Answer]:
        self.storage.submit(operations)
        self.storage.flush(PATIENCE)
        return self.storage.completed()

    def read(self, offset: int, upto: int, blob: bytes = BLOB) -> bytes | None:
        asked = Read(b"rid", blob, offset, upto)
        (answer,) = self.say(asked)
        assert isinstance(answer, BlobRead | NotRead)
        assert answer.asked is asked
        return answer.data if isinstance(answer, BlobRead) else None


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Used]:
    with contextlib.closing(BlobDisk(folder)) as storage:
        list(storage.contents())
        storage.start(lambda: None)
        yield Used(storage)


def contents(folder: Path) -> list[StoredBlob]:
    with contextlib.closing(BlobDisk(folder)) as storage:
        return list(storage.contents())


def file_of(folder: Path, blob: bytes = BLOB) -> Path:
    return folder / "blobs" / blob.hex()[:2] / blob.hex()


@pytest.fixture
def used(tmp_path: Path) -> Iterator[Used]:
    with started(tmp_path) as one:
        yield one


def test_a_new_one_is_empty(tmp_path: Path) -> None:
    assert contents(tmp_path) == []


def test_what_was_written_is_read_and_found_again(used: Used, tmp_path: Path) -> None:
    answers = used.say(create(12), append(0, b"1234"), append(4, b"5678"), create(3, OTHER), append(0, b"abc", OTHER))
    assert answers == [Extended(BLOB, 8, 8, 2), Extended(OTHER, 3, 3, 2)]
    assert used.say(append(8, b"90ab")) == [Extended(BLOB, 12, 4, 2)]
    assert used.read(0, 12) == b"1234567890ab"
    assert used.read(3, 9) == b"456789"
    assert used.read(0, 3, OTHER) == b"abc"
    used.storage.close()
    assert contents(tmp_path) == [stored(12, 12), stored(3, 3, OTHER)]


def test_every_append_is_counted_whatever_becomes_of_it(used: Used) -> None:
    assert used.say(append(0, b"12")) == [NotWritten(BLOB, 2, True)]  # there is no such blob
    used.say(create(10), append(0, b"1234"))
    assert used.say(append(5, b"6"), append(6, b"7")) == [NotWritten(BLOB, 2, False)]  # a gap
    assert used.say(append(4, b"5"), append(6, b"7")) == [NotWritten(BLOB, 2, False)]
    assert used.say(append(4, b"567890")) == [Extended(BLOB, 10, 6, 2)]
    assert used.say(append(0, b"x")) == [NotWritten(BLOB, 1, False)]  # it is whole
    assert used.read(0, 10) == b"1234567890"


def test_what_is_deleted_is_gone(used: Used, tmp_path: Path) -> None:
    used.say(create(4), append(0, b"1234"), create(1, OTHER), append(0, b"1", OTHER))
    assert used.say(Delete((BLOB,))) == [Deleted((BLOB,))]
    assert used.read(0, 4) is None
    assert not file_of(tmp_path).exists()
    assert used.say(create(2), append(0, b"ab")) == [Extended(BLOB, 2, 2, 2)]
    assert used.read(0, 2) == b"ab"
    used.storage.close()
    assert contents(tmp_path) == [stored(2, 2), stored(1, 1, OTHER)]


def test_files_and_folders_are_closed_to_others(used: Used, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        used.say(create(4), append(0, b"1234"))
    finally:
        os.umask(before)
    path = file_of(tmp_path)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (path.parent.parent, path.parent, path, tmp_path / BLOBS_NAME)]
    assert modes == [0o700, 0o700, 0o600, 0o600]


def test_a_link_in_a_files_place_is_not_followed(used: Used, tmp_path: Path) -> None:
    used.say(create(8), append(0, b"1234"))
    secret = tmp_path / "secret"
    secret.write_bytes(b"precious")
    file_of(tmp_path).unlink()
    file_of(tmp_path).symlink_to(secret)
    assert used.say(append(4, b"5678")) == [NotWritten(BLOB, 4, False)]
    assert used.read(0, 8) is None
    assert secret.read_bytes() == b"precious"


# Order on the disk


def test_bytes_are_on_disk_before_their_number_and_that_before_the_answer(used: Used, monkeypatch: pytest.MonkeyPatch) -> None:
    used.say(create(100), append(0, b"1234"))
    done: list[str] = []
    real = os.fdatasync

    def sync(handle: int) -> None:
        (number,) = look.execute("SELECT upto FROM blobs").fetchone()
        done.append(f"sync at {number}")
        assert used.storage._done.empty()
        real(handle)

    path = used.storage._path
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as look:
        monkeypatch.setattr(os, "fdatasync", sync)
        assert used.say(append(4, b"5"), append(5, b"6")) == [Extended(BLOB, 6, 2, 2)]
        assert done == ["sync at 4"]  # once for both
        assert look.execute("SELECT upto FROM blobs").fetchone() == (6,)


def test_what_is_to_be_written_over_counts_no_more_before_it_is(
    used: Used, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it otherwise, a crash in between would leave bytes of two uploads that count as one."""
    used.say(create(100), append(0, b"12345678"))
    real = os.pwrite

    def write(handle: int, data: bytes, offset: int) -> int:
        shutil.copytree(tmp_path, tmp_path.with_name("before"))  # what a crash now would leave
        count = real(handle, data, offset)
        shutil.copytree(tmp_path, tmp_path.with_name("after"))
        return count

    monkeypatch.setattr(os, "pwrite", write)
    assert used.say(append(3, b"ab")) == [Extended(BLOB, 5, 2, 2)]
    for name in ("before", "after"):
        assert contents(tmp_path.with_name(name)) == [stored(100, 3)]
    used.storage.close()
    assert contents(tmp_path) == [stored(100, 5)]


# Crashes, damage, and what does not go together


def test_bytes_beyond_what_counts_are_written_over(tmp_path: Path) -> None:
    with started(tmp_path) as used:
        used.say(create(10), append(0, b"1234"))
    with file_of(tmp_path).open("ab") as file:
        file.write(b"garbage")
    with started(tmp_path) as used:
        assert used.say(append(4, b"567890")) == [Extended(BLOB, 10, 6, 2)]
        assert used.read(0, 10) == b"1234567890"


def test_a_file_that_is_too_short_makes_its_blob_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with started(tmp_path) as used:
        used.say(create(10), append(0, b"1234"), create(10, OTHER), append(0, b"1234", OTHER))
    os.truncate(file_of(tmp_path), 3)
    assert contents(tmp_path) == [stored(10, 4, OTHER)]
    assert "is damaged, and is deleted: 3 bytes of 4" in caplog.text
    assert not file_of(tmp_path).exists()


def test_what_belongs_to_nothing_is_removed_at_the_start(tmp_path: Path) -> None:
    with started(tmp_path) as used:
        used.say(create(4), append(0, b"1234"), create(4, OTHER), append(0, b"1234", OTHER), create(4, b"3" * 16))
    file_of(tmp_path, OTHER).unlink()
    strangers = [file_of(tmp_path, b"4" * 16), file_of(tmp_path).with_name("note"), tmp_path / "blobs" / "zz" / BLOB.hex()]
    for one in strangers:
        one.parent.mkdir(exist_ok=True)
        one.write_bytes(b"x")
    assert contents(tmp_path) == [stored(4, 4)]
    assert not any(one.exists() for one in strangers)
    with contextlib.closing(sqlite3.connect(tmp_path / BLOBS_NAME)) as look:
        assert look.execute("SELECT count(*) FROM blobs").fetchone() == (1,)


def test_a_file_that_somebody_takes_away_while_it_is_written_makes_its_blob_unknown(used: Used, tmp_path: Path) -> None:
    used.say(create(10), append(0, b"1234"))
    file_of(tmp_path).unlink()
    assert used.say(append(4, b"5")) == [NotWritten(BLOB, 1, True)]
    assert used.say(create(4), append(0, b"1234")) == [Extended(BLOB, 4, 4, 2)]


def test_a_list_that_is_damaged_or_of_another_version_is_left_alone(tmp_path: Path) -> None:
    contents(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / BLOBS_NAME, isolation_level=None)) as vandal:
        vandal.execute("PRAGMA user_version = 7")
    with pytest.raises(BrokerFailed, match="version 7"):
        BlobDisk(tmp_path)
    (tmp_path / BLOBS_NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(BrokerFailed, match=BLOBS_NAME):
        BlobDisk(tmp_path)


# A disk that does not take it


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_disk_that_fails_refuses_that_blob_only(
    used: Used, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    used.say(create(10), append(0, b"1234"), create(10, OTHER), append(0, b"1234", OTHER))
    victim = file_of(tmp_path).stat().st_ino
    real = getattr(os, call)

    def fails(handle: int, *rest: object) -> object:
        if os.fstat(handle).st_ino == victim:
            raise OSError(number, os.strerror(number))
        return real(handle, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fails)
        answers = used.say(append(4, b"5"), append(4, b"5", OTHER), append(5, b"6"))
        assert sorted(answers, key=len) == [NotWritten(BLOB, 2, False), Extended(OTHER, 5, 1, 2)]
    assert used.storage.failure is None
    assert file_of(tmp_path).stat().st_size == 4  # it takes no room
    assert used.say(append(4, b"567890")) == [Extended(BLOB, 10, 6, 2)]
    assert used.read(0, 10) == b"1234567890"


def test_a_write_may_take_several_turns(used: Used, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, offset: real(handle, data[:3], offset))
    used.say(create(10), append(0, b"1234567890"))
    assert used.read(0, 10) == b"1234567890"


def test_while_another_process_holds_the_list_nothing_is_lost(
    used: Used, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    used.say(create(10), append(0, b"1234"), create(4, OTHER), append(0, b"1234", OTHER))
    used.storage._database.execute("PRAGMA busy_timeout = 10")
    with contextlib.closing(sqlite3.connect(tmp_path / BLOBS_NAME, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert used.say(append(4, b"5")) == [NotWritten(BLOB, 1, False)]
        assert used.say(append(2, b"x")) == [NotWritten(BLOB, 1, False)]
        assert used.say(create(1, b"3" * 16)) == [NotWritten(b"3" * 16, 0, True)]
        assert used.say(Delete((OTHER,))) == []
        assert used.storage.failing
        assert used.read(0, 4, OTHER) == b"1234"
        holder.execute("ROLLBACK")
    until(lambda: not used.storage._done.empty())  # tried again by itself
    assert used.storage.completed() == [Deleted((OTHER,))]
    assert used.say(append(4, b"567890")) == [Extended(BLOB, 10, 6, 2)]
    assert used.read(0, 10) == b"1234567890"
    assert not used.storage.failing
    assert caplog.text.count("cannot be written") == 1
    assert caplog.text.count("can be written again") == 1
