"""The log on disk: what any storage promises, and what SQLite's does besides."""

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

from broker.ledger import LogDamaged, LogEvent, Released, encode_event
from broker.storage import LOG_NAME, SqliteStorage, Storage, append, open_log
from core.errors import BrokerFailed
from tests.broker_process import ROOT
from tests.net import PATIENCE, until


def event(number: int) -> Released:
    return Released(f"user-{number}", number)


class Started:
    """A storage that runs, and whose ``wake`` is heard."""

    def __init__(self, folder: Path) -> None:
        self.bell = threading.Event()
        self.storage = SqliteStorage(folder)
        self.storage.start(self.bell.set)
        self.seen: list[LogEvent] = []

    def wait_for(self, count: int) -> list[LogEvent]:
        """All events so far, once there are that many; looks only when it was woken."""
        while len(self.seen) < count:
            assert self.bell.wait(PATIENCE), f"{len(self.seen)} of {count} came"
            self.bell.clear()
            self.seen += self.storage.completed()
        return self.seen


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Started]:
    one = Started(folder)
    with contextlib.closing(one.storage):
        yield one


def test_it_is_a_storage(tmp_path: Path) -> None:
    with contextlib.closing(SqliteStorage(tmp_path)) as storage:
        promised: Storage = storage
        assert promised.failure is None
        assert promised.completed() == []


def test_events_come_back_in_their_order_each_once(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        for number in range(0, 100, 5):
            one.storage.submit([event(number + at) for at in range(5)])
        assert one.wait_for(100) == [event(number) for number in range(100)]
        assert one.storage.completed() == []


def test_what_is_there_is_complete_before_anything_runs(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        one.storage.submit([event(1), event(2)])
        one.wait_for(2)
    with contextlib.closing(SqliteStorage(tmp_path)) as storage:
        assert storage.completed() == [event(1), event(2)]


def test_closing_writes_what_was_submitted(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        for number in range(50):
            one.storage.submit([event(number)])
    with contextlib.closing(SqliteStorage(tmp_path)) as storage:
        assert storage.completed() == [event(number) for number in range(50)]


def test_what_is_completed_is_on_disk(tmp_path: Path) -> None:
    """Another connection sees it, though the first one still runs: it was committed, not only written."""
    with started(tmp_path) as one:
        one.storage.submit([event(1)])
        one.wait_for(1)
        with contextlib.closing(sqlite3.connect(f"file:{tmp_path / LOG_NAME}?mode=ro", uri=True)) as other:
            assert other.execute("SELECT event FROM log").fetchall() == [(encode_event(event(1)),)]
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert one.storage._database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_what_another_process_appends_is_seen_in_the_logs_order(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        one.storage.submit([event(0)])
        one.wait_for(1)
        code = (
            "import sys; from pathlib import Path; from broker.ledger import Released; from broker.storage import *\n"
            "database = open_log(Path(sys.argv[1])); append(database, [Released('from-outside', 7)])"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path / LOG_NAME)], cwd=ROOT, timeout=60, check=True)
        assert one.wait_for(2) == [event(0), Released("from-outside", 7)]
        one.storage.submit([event(2)])
        assert one.wait_for(3)[2] == event(2)


def test_two_writers_lose_nothing_and_agree_on_the_order(tmp_path: Path) -> None:
    with started(tmp_path) as one, started(tmp_path) as other:
        for number in range(40):
            one.storage.submit([event(2 * number)])
            other.storage.submit([event(2 * number + 1)])
        assert one.wait_for(80) == other.wait_for(80)
        assert set(one.seen) == {event(number) for number in range(80)}


def test_what_cannot_be_written_now_is_written_later_in_its_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with started(tmp_path) as one:
        with contextlib.closing(sqlite3.connect(tmp_path / LOG_NAME)) as vandal:
            vandal.execute("ALTER TABLE log RENAME TO hidden")
            vandal.commit()
            for number in range(3):
                one.storage.submit([event(number)])
                one.storage.flush(PATIENCE)
            assert (one.storage.failure, one.storage.completed()) == (None, [])
            vandal.execute("ALTER TABLE hidden RENAME TO log")
            vandal.commit()
        assert one.wait_for(3) == [event(0), event(1), event(2)]
    first, last = [record.getMessage() for record in caplog.records]
    assert f"The log {tmp_path / LOG_NAME} cannot be written" in first
    assert "can be written again" in last


def test_damage_that_appears_while_it_runs_is_a_failure(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        one.storage.submit([event(1)])
        one.wait_for(1)
        with contextlib.closing(sqlite3.connect(tmp_path / LOG_NAME)) as vandal:
            vandal.execute("INSERT INTO log (event) VALUES (?)", (b'{"event":"nonsense"}',))
            vandal.commit()
        until(lambda: one.storage.failure)
        assert "damaged" in (one.storage.failure or "")


def test_damage_is_not_overlooked_at_the_start(tmp_path: Path) -> None:
    with contextlib.closing(open_log(tmp_path / LOG_NAME)) as database:
        append(database, [event(1)])
        database.execute("INSERT INTO log (event) VALUES (?)", (b"\x80",))
    with pytest.raises(LogDamaged):
        SqliteStorage(tmp_path)


@pytest.mark.parametrize("raw", [b"no database at all, and long enough to be read as one" * 50, b"\0" * 4096])
def test_a_file_that_is_no_log_is_left_as_it_is(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / LOG_NAME).write_bytes(raw)
    with pytest.raises(BrokerFailed, match="cannot be used"):
        SqliteStorage(tmp_path)
    assert (tmp_path / LOG_NAME).read_bytes() == raw


def test_a_log_of_another_version_is_left_as_it_is(tmp_path: Path) -> None:
    with contextlib.closing(open_log(tmp_path / LOG_NAME)) as database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(BrokerFailed, match="of version 2"):
        SqliteStorage(tmp_path)


def test_a_log_that_cannot_be_opened_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / LOG_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BrokerFailed, match="cannot be opened"):
        SqliteStorage(tmp_path)
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_the_log_is_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with started(tmp_path) as one:
            one.storage.submit([event(1)])
            one.wait_for(1)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(modes) >= {LOG_NAME, f"{LOG_NAME}-wal"}
    assert set(modes.values()) == {0o600}
