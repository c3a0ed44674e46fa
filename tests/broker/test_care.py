"""Looking after a broker: ``health``, ``stats``, ``backup`` and ``restore``, beside one that runs and without one."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from broker.backup import back_up, restore
from broker.blob_files import FILES_NAME
from broker.blob_storage import BLOBS_NAME, BlobDisk
from broker.blob_values import Append, Create, Delete, Extended
from broker.files import KEY_NAME, LOCK_NAME, load_keys
from broker.mail_storage import MAIL_NAME, SqliteMailStorage
from broker.mail_values import Drop, Put, Receipt
from broker.storage import LOG_NAME
from core.errors import BrokerFailed
from core.messages import Status
from core.places import FILE_NAME
from tests.broker_process import BrokerProcess, Finished, admin, cli, environment, got, listening
from tests.net import HERE, PATIENCE, until

KEPT = {KEY_NAME, MAIL_NAME, LOG_NAME, BLOBS_NAME, FILES_NAME}


def ok(done: Finished) -> Finished:
    assert done.code == 0, done.err
    return done


def failed(done: Finished) -> str:
    """The one sentence of a command that came to nothing."""
    assert (done.code, done.out) == (1, ""), done.err
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    return line


def profile(broker: BrokerProcess, name: str) -> dict[str, str]:
    """The environment of a profile that is made, at its first call."""
    env = {**broker.env, "SECURECHAT_HOME": str(Path(broker.env["HOME"]) / name)}
    if not Path(env["SECURECHAT_HOME"]).exists():
        ok(cli(env, "init", name))
    return env


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One with mail: alice wrote to bob, who is away."""
    with BrokerProcess(tmp_path_factory.mktemp("care")) as running:
        profile(running, "bob")
        for text in ("first", "second"):
            assert "(stored)" in ok(cli(profile(running, "alice"), "send", "bob", text)).err
        yield running


# Health


def test_a_broker_that_runs_is_healthy(broker: BrokerProcess) -> None:
    assert ok(admin(broker.data, broker.env, "health")).out == f"the broker answers at {broker.address.where}\n"


def test_one_that_does_not_run_is_not(tmp_path: Path) -> None:
    env = environment(tmp_path)
    assert "No broker runs on the folder" in failed(admin(tmp_path / "none", env, "health"))
    with BrokerProcess(tmp_path) as broker:
        broker.process.kill()
        broker.wait()
        assert (broker.data / FILE_NAME).exists()
    assert "No broker runs on the folder" in failed(admin(broker.data, env, "health"))


def test_one_that_is_stopped_in_its_tracks_does_not_answer_in_time(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        broker.process.send_signal(signal.SIGSTOP)
        assert "did not answer in time" in failed(admin(broker.data, broker.env, "health", "--timeout", "0.5"))
        broker.process.send_signal(signal.SIGCONT)
        until(lambda: admin(broker.data, broker.env, "health").code == 0)


def test_what_answers_with_another_key_is_not_the_broker(tmp_path: Path) -> None:
    """Another one took its place while the first one still holds its connection file."""
    with BrokerProcess(tmp_path) as first, BrokerProcess(tmp_path, data=tmp_path / "other") as second:
        path = first.data / FILE_NAME
        told = path.read_text()
        with path.open("r+") as file:  # in place: the lock is the running broker's
            file.write(told.replace(f":{first.address.port}/", f":{second.address.port}/"))
            file.truncate()
        assert "does not hold the broker's key" in failed(admin(first.data, first.env, "health"))


@pytest.mark.skipif(HERE is None, reason="this machine has no address but its own")
def test_one_that_lets_this_machine_in_by_invite_only_is_healthy(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path, "--host", str(HERE)) as broker:
        assert ok(admin(broker.data, broker.env, "health")).out == f"the broker answers at {HERE}:{broker.address.port}\n"


# Stats


def test_stats_say_what_waits_for_whom(broker: BrokerProcess) -> None:
    ok(admin(broker.data, broker.env, "invite"))
    began = time.time()
    (found,) = ok(admin(broker.data, broker.env, "stats", "--json")).data
    assert (found["v"], found["type"], found["running"], found["url"]) == (1, "stats", True, broker.address.url)
    assert found["folder"] == str(broker.data)
    assert (found["profiles"], found["invites_open"]) == (2, 1)
    assert found["users"]["alice"] == {"messages": 0, "bytes": 0, "oldest": None, "receipts": 0}
    bob = found["users"]["bob"]
    assert bob["messages"] == 2
    assert bob["bytes"] > 2 * 256
    assert began - 3600 < datetime.fromisoformat(bob["oldest"]).timestamp() < time.time()
    assert found["mail"] == {**bob, "receipts": 0}
    assert found["disk"][LOG_NAME] > 0
    assert found["disk"]["free"] > 0

    said = ok(admin(broker.data, broker.env, "stats")).out
    assert f"broker    runs, and listens on {broker.address.where}\n" in said
    assert "for       bob: 2 messages wait, " in said
    assert "for       alice" not in said


def test_stats_are_the_same_of_a_broker_that_was_killed_or_has_ended(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        profile(broker, "bob")
        ok(cli(profile(broker, "alice"), "send", "bob", "hello"))
        (while_running,) = ok(admin(broker.data, broker.env, "stats", "--json")).data
        broker.process.kill()
        broker.wait()
    (killed,) = ok(admin(broker.data, broker.env, "stats", "--json")).data
    with BrokerProcess(tmp_path) as again:
        assert again.end() == 0
    before = names(broker.data)
    (ended,) = ok(admin(broker.data, broker.env, "stats", "--json")).data
    assert names(broker.data) == before  # it left nothing behind
    assert (while_running["running"], killed["running"], ended["running"]) == (True, False, False)
    assert while_running["users"] == killed["users"] == ended["users"]
    assert ended["users"]["bob"]["messages"] == 1


def test_stats_count_receipts_and_leave_out_what_another_key_left_behind(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        profile(broker, "bob")
        assert broker.end() == 0
    bell = threading.Event()
    with contextlib.closing(sqlite3.connect(broker.data / LOG_NAME)) as log:
        (kid,) = log.execute("SELECT json_extract(CAST(event AS TEXT), '$.kid') FROM log WHERE id = 1").fetchone()
    with contextlib.closing(SqliteMailStorage(broker.data)) as storage:
        storage.start(bell.set)
        mid = bytes(16)
        storage.submit([Put(number, "bob", kid, 5, "alice", "k", mid, b"body", None) for number in (1, 2)])
        storage.submit([Put(3, "bob", "another key", 5, "alice", "k", mid, b"body", None)])
        storage.submit([Drop(2, Receipt(1, "bob", kid, 9, mid, "carol", Status.DELIVERED, bytes(32)))])
        storage.flush(PATIENCE)
    (found,) = ok(admin(broker.data, broker.env, "stats", "--json")).data
    assert found["users"] == {"bob": {"messages": 1, "bytes": 4, "oldest": "1970-01-01T00:00:05Z", "receipts": 1}}


@pytest.mark.parametrize("name", [MAIL_NAME, LOG_NAME])
@pytest.mark.parametrize("command", [("stats",), ("backup", "{to}")], ids=["stats", "backup"])
def test_a_database_that_is_none_is_said_in_one_sentence(tmp_path: Path, name: str, command: tuple[str, ...]) -> None:
    with BrokerProcess(tmp_path) as broker:
        assert broker.end() == 0
    (broker.data / name).write_bytes(b"no database at all, and long enough to be read as one" * 50)
    done = admin(broker.data, broker.env, *(one.format(to=tmp_path / "copy") for one in command))
    assert str(broker.data / name) in failed(done)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", [MAIL_NAME, LOG_NAME])
def test_a_database_of_another_version_is_not_guessed_at(tmp_path: Path, name: str) -> None:
    with BrokerProcess(tmp_path) as broker:
        assert broker.end() == 0
    with contextlib.closing(sqlite3.connect(broker.data / name)) as database:
        database.execute("PRAGMA user_version = 9")
    assert "is of version 9; this program knows 1" in failed(admin(broker.data, broker.env, "stats"))


@pytest.mark.parametrize("command", [("stats",), ("backup", "{to}"), ("users",)], ids=["stats", "backup", "users"])
def test_a_folder_without_a_broker_is_said_to_be_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = admin(tmp_path / "none", environment(tmp_path), *(one.format(to=tmp_path / "copy") for one in command))
    assert "No broker has ever run on the folder" in failed(done)
    assert not (tmp_path / "none").exists()


# Backups


def test_a_backup_made_while_it_runs_is_a_broker_elsewhere(broker: BrokerProcess, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ok(admin(broker.data, broker.env, "backup", str(tmp_path / "copy")))
    finally:
        os.umask(before)
    assert names(tmp_path / "copy") == KEPT
    assert mode(tmp_path / "copy") == 0o700
    assert {path.name: mode(path) for path in (tmp_path / "copy").iterdir()} == {
        **dict.fromkeys(KEPT, 0o600),
        FILES_NAME: 0o700,
    }
    assert names(tmp_path) == {"copy"}
    (of_copy,) = ok(admin(tmp_path / "copy", broker.env, "stats", "--json")).data
    (of_broker,) = ok(admin(broker.data, broker.env, "stats", "--json")).data
    assert of_copy["running"] is False
    assert of_copy["users"] == of_broker["users"]

    elsewhere = environment(tmp_path / "elsewhere")
    ok(admin(tmp_path / "new", elsewhere, "restore", str(tmp_path / "copy")))
    assert names(tmp_path / "new") == {*KEPT, LOCK_NAME}
    assert mode(tmp_path / "new") == 0o700
    with BrokerProcess(tmp_path / "elsewhere", data=tmp_path / "new") as second:
        assert second.address.key == broker.address.key
        bob = {**profile(broker, "bob"), "SECURECHAT_BROKER": second.address.url}
        with listening(bob, None, "--json", "-n", "2") as listener:
            assert [got(listener, text)["from"] for text in ("first", "second")] == ["alice", "alice"]
            assert listener.wait() == 0
        # The first broker still has the same mail: what comes once more is known, and not shown again.
        ok(cli(profile(broker, "alice"), "send", "bob", "third"))
        with listening(profile(broker, "bob"), None, "--json", "-n", "1") as listener:
            assert got(listener, '"id"')["text"] == "third"
            assert listener.wait() == 0
        until(lambda: ok(admin(broker.data, broker.env, "stats", "--json")).data[0]["users"]["bob"]["messages"] == 0)
        assert second.end() == 0


def test_a_backup_is_consistent_while_mail_is_written(tmp_path: Path) -> None:
    """What is reported as committed before the backup begins is in it, whatever is written meanwhile."""
    with BrokerProcess(tmp_path) as broker:
        assert broker.end() == 0
    bell = threading.Event()
    with contextlib.closing(SqliteMailStorage(broker.data)) as storage:
        storage.start(bell.set)
        number = 0
        for turn in range(5):
            for _ in range(40):
                number += 1
                storage.submit([Put(number, "bob", "k", 1, "alice", "k", bytes(16), os.urandom(4000), None)])
            storage.flush(PATIENCE)
            sure = number
            storage.submit([Put(number + one, "bob", "k", 1, "a", "k", bytes(16), bytes(4000), None) for one in range(1, 41)])
            number += 40
            back_up(broker.data, tmp_path / f"copy-{turn}")
            with contextlib.closing(sqlite3.connect(tmp_path / f"copy-{turn}" / MAIL_NAME)) as copy:
                ids = [one for (one,) in copy.execute("SELECT id FROM mail ORDER BY id")]
                assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert ids == list(range(1, len(ids) + 1))
            assert len(ids) >= sure


def test_a_backup_has_every_whole_file_that_its_list_names(tmp_path: Path) -> None:
    """Whatever is uploaded and deleted meanwhile; and what was whole before it began, and is not deleted, is in it."""
    with BrokerProcess(tmp_path) as broker:
        assert broker.end() == 0
    ended = threading.Event()
    data = os.urandom(20_000)

    def blob(number: int) -> bytes:
        return number.to_bytes(16, "big")

    def use(storage: BlobDisk) -> None:
        number = 100
        while not ended.is_set():
            storage.submit([Create(blob(number), "bob", "k", len(data), 1), Append(blob(number), 0, data, 1)])
            storage.submit([Delete((blob(number - 3),))])
            storage.flush(PATIENCE)
            number += 1

    with contextlib.closing(BlobDisk(broker.data)) as storage:
        storage.start(lambda: None)
        for number in (1, 2):
            storage.submit([Create(blob(number), "bob", "k", len(data), 1), Append(blob(number), 0, data[number:], 1)])
        storage.submit([Append(blob(1), len(data) - 1, data[:1], 1)])  # the other is not whole
        storage.flush(PATIENCE)
        assert (blob(1), len(data)) in [(one.blob, one.upto) for one in storage.completed() if isinstance(one, Extended)]
        thread = threading.Thread(target=use, args=(storage,))
        thread.start()
        try:
            for turn in range(5):
                back_up(broker.data, tmp_path / f"copy-{turn}")
        finally:
            ended.set()
            thread.join(PATIENCE)
    for turn in range(5):
        copy = tmp_path / f"copy-{turn}"
        with contextlib.closing(sqlite3.connect(copy / BLOBS_NAME)) as database:
            listed = {row[0]: row[1:] for row in database.execute("SELECT id, size, upto FROM blobs")}
        assert blob(1) in listed
        assert blob(2) not in listed
        for one, counts in listed.items():
            assert counts == (len(data), len(data))
            assert (copy / FILES_NAME / one.hex()[:2] / one.hex()).stat().st_size == len(data)
    restore(tmp_path / "copy-4", tmp_path / "new")
    with contextlib.closing(BlobDisk(tmp_path / "new")) as storage:
        assert {one.blob for one in storage.contents()} == set(listed)
    assert (tmp_path / "new" / FILES_NAME / "00" / blob(1).hex()).read_bytes() == data[1:] + data[:1]


def test_a_backup_of_a_broker_that_kept_no_files_is_restored(broker: BrokerProcess, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    back_up(broker.data, copy)
    (copy / BLOBS_NAME).unlink()
    (copy / FILES_NAME).rmdir()
    restore(copy, tmp_path / "new")
    assert names(tmp_path / "new") == {KEY_NAME, MAIL_NAME, LOG_NAME, LOCK_NAME}
    assert ok(admin(tmp_path / "new", broker.env, "stats", "--json")).data[0]["files"]["count"] == 0


def test_a_damaged_file_is_not_backed_up(broker: BrokerProcess, tmp_path: Path) -> None:
    back_up(broker.data, tmp_path / "copy")
    with contextlib.closing(BlobDisk(tmp_path / "copy")) as storage:
        storage.start(lambda: None)
        storage.submit([Create(bytes(16), "bob", "k", 5, 1), Append(bytes(16), 0, b"12345", 1)])
        storage.flush(PATIENCE)
    path = tmp_path / "copy" / FILES_NAME / "00" / bytes(16).hex()
    (found,) = ok(admin(tmp_path / "copy", broker.env, "stats", "--json")).data
    assert found["files"] == {"count": 1, "bytes": 5, "unfinished": 0}
    assert "files     1 is kept, 5 bytes; 0 of them not whole yet\n" in ok(admin(tmp_path / "copy", broker.env, "stats")).out
    os.truncate(path, 4)
    with pytest.raises(BrokerFailed, match=f"{path} is damaged: it has 4 bytes of 5"):
        restore(tmp_path / "copy", tmp_path / "new")
    path.unlink()
    with pytest.raises(BrokerFailed, match=f"{path} is not there"):
        restore(tmp_path / "copy", tmp_path / "new")
    assert names(tmp_path / "new") == {LOCK_NAME}


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_a_backup_overwrites_nothing(broker: BrokerProcess, tmp_path: Path, there: str) -> None:
    to = tmp_path / "to"
    if there == "file":
        to.write_text("mine")
    elif there == "folder":
        to.mkdir()
        (to / "mine").touch()
    else:
        to.symlink_to(tmp_path / "nowhere")
    assert "is there already" in failed(admin(broker.data, broker.env, "backup", str(to)))
    assert names(tmp_path) == {"to"}
    assert there != "file" or to.read_text() == "mine"
    assert there != "folder" or names(to) == {"mine"}


def test_a_backup_that_cannot_be_written_leaves_nothing(broker: BrokerProcess, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in failed(admin(broker.data, broker.env, "backup", str(tmp_path / "file" / "to")))
    assert "cannot be written" in failed(admin(broker.data, broker.env, "backup", str(tmp_path / "no" / "to")))
    assert names(tmp_path) == {"file"}


def _with_damage(folder: Path) -> None:
    """Overwrite a page in the middle of the mail."""
    with (folder / MAIL_NAME).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 2 // 4096 * 4096)
        file.write(os.urandom(4096))


def test_what_is_damaged_is_not_backed_up(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        assert broker.end() == 0
    with contextlib.closing(SqliteMailStorage(broker.data)) as storage:
        storage.start(lambda: None)
        storage.submit([Put(one, "bob", "k", 1, "alice", "k", bytes(16), bytes(1000), None) for one in range(1, 400)])
        storage.flush(PATIENCE)
    _with_damage(broker.data)
    with pytest.raises(BrokerFailed, match="is damaged"):
        back_up(broker.data, tmp_path / "copy")
    assert not [name for name in names(tmp_path) if "copy" in name]


def test_restoring_needs_an_empty_folder_without_a_broker(broker: BrokerProcess, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    ok(admin(broker.data, broker.env, "backup", str(copy)))
    assert "A broker runs on the folder" in failed(admin(broker.data, broker.env, "restore", str(copy)))
    (tmp_path / "full").mkdir(0o700)
    (tmp_path / "full" / "mine").touch()
    assert "is not empty (mine)" in failed(admin(tmp_path / "full", broker.env, "restore", str(copy)))
    assert names(tmp_path / "full") - {LOCK_NAME} == {"mine"}
    ok(admin(tmp_path / "empty", broker.env, "restore", str(copy)))
    assert "is not empty" in failed(admin(tmp_path / "empty", broker.env, "restore", str(copy)))


@pytest.mark.parametrize("lost", sorted(KEPT))
def test_half_a_backup_is_not_restored(broker: BrokerProcess, tmp_path: Path, lost: str) -> None:
    copy = tmp_path / "copy"
    back_up(broker.data, copy)
    if lost == FILES_NAME:
        (copy / lost).rmdir()
    else:
        (copy / lost).unlink()
    with pytest.raises(BrokerFailed, match=f"{copy}"):
        restore(copy, tmp_path / "new")
    assert not (tmp_path / "new").exists() or names(tmp_path / "new") == {LOCK_NAME}
    assert load_keys(tmp_path / "new") is None


def test_restoring_a_damaged_backup_leaves_the_folder_empty(broker: BrokerProcess, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    back_up(broker.data, copy)
    raw = (copy / MAIL_NAME).read_bytes()
    (copy / MAIL_NAME).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(BrokerFailed, match=MAIL_NAME):
        restore(copy, tmp_path / "new")
    assert names(tmp_path / "new") == {LOCK_NAME}
