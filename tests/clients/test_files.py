"""Files between two clients and a real broker: what happens while they are on their way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.chat import ChatClient
from core.content import File
from core.errors import FileChanged, FileGone
from core.events import MessageReceived, Outcome
from core.limits import FILE_CHUNK
from core.messages import Mode
from tests.net import PATIENCE, LocalBroker, until

SIZE = 10 * FILE_CHUNK + 3


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as running:
        yield running


def a_file(folder: Path) -> Path:
    path = folder / "large.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.mark.parametrize("how", ["grown", "cut short", "written to", "replaced"])
def test_a_file_that_changes_while_it_is_sent_is_not_sent(broker: LocalBroker, tmp_path: Path, how: str) -> None:
    path = a_file(tmp_path)
    changed = False

    def change(done: int, _size: int) -> None:
        nonlocal changed
        if done < FILE_CHUNK or changed:
            return
        changed = True
        if how == "replaced":  # by a new file of that name: what was opened is still the old one, whole
            path.rename(tmp_path / "old")
            path.write_bytes(b"new")
        else:
            with path.open("r+b") as file:
                file.truncate(SIZE - 1) if how == "cut short" else file.seek(0 if how == "written to" else SIZE)
                file.write(b"" if how == "cut short" else b"x")

    with ChatClient("alice", broker.address, mode=Mode.SEND) as alice:
        if how == "replaced":
            before = path.read_bytes()
            assert alice.files.upload(path, change).size == len(before)
        else:
            with pytest.raises(FileChanged, match="was changed while it was being sent"):
                alice.files.upload(path, change)
            until(lambda: broker.router.blobs.count == 0)  # nothing is left of it
    assert changed


def test_progress_grows_to_the_whole_on_both_sides(broker: LocalBroker, tmp_path: Path) -> None:
    path = a_file(tmp_path)
    seen: list[tuple[int, int]] = []
    with ChatClient("alice", broker.address) as alice, ChatClient("bob", broker.address) as bob:
        file = alice.files.upload(path, lambda done, size: seen.append((done, size)))
        assert seen[-1] == (SIZE, SIZE)
        assert sorted(seen) == seen
        id_ = alice.send(file, "bob")
        assert alice.wait_sent(id_, PATIENCE) == {"bob": Outcome.DELIVERED}
        seen.clear()
        came = next(event for event in bob.events(PATIENCE) if isinstance(event, MessageReceived)).message.content
        assert isinstance(came, File)
        saved = bob.files.download(came, tmp_path / "in", lambda done, size: seen.append((done, size)))
        assert seen[-1] == (SIZE, SIZE)
        assert len(seen) == 11
        assert saved.read_bytes() == path.read_bytes()


def test_what_is_given_up_the_broker_need_not_keep(broker: LocalBroker, tmp_path: Path) -> None:
    path = a_file(tmp_path)
    with ChatClient("alice", broker.address, mode=Mode.SEND) as alice, ChatClient("bob", broker.address) as bob:
        file = alice.files.upload(path)
        bob.files.give_up(path)  # it is not his
        bob.files.download(file, tmp_path / "first")
        alice.files.give_up(path)
        until(lambda: broker.router.blobs.count == 0)
        with pytest.raises(FileGone):
            bob.files.download(file, tmp_path / "second")
        assert list((tmp_path / "second").glob("large.bin")) == []
