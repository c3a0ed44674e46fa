"""A broker that hands out something else than the file that was sent: each lie is refused, and nothing is kept of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from clients.courier import Courier
from clients.files import Files
from clients.tickets import SessionTickets
from core import frames
from core.content import File
from core.errors import BrokerUnreachable, FileDamaged, FileGone, SecureChatError
from core.events import Event, Welcomed
from core.frames import Frames
from core.limits import FILE_CHUNK, PIECE_MAX
from core.messages import Fetch, Lack, NoBlob, Piece
from core.sealed_file import SEALED_CHUNK, chunk_count, seal_chunk

Change = Callable[[list[Event]], list[Event]]
KEY, BLOB = bytes(range(32)), bytes(range(16))
PLAIN = os.urandom(3 * FILE_CHUNK + 1000)
FILE = File("report.bin", len(PLAIN), hashlib.sha256(PLAIN).digest(), KEY, BLOB)


def sealed(plain: bytes, key: bytes = KEY) -> bytes:
    count = chunk_count(len(plain))
    chunks = (plain[at * FILE_CHUNK : (at + 1) * FILE_CHUNK] for at in range(count))
    return b"".join(seal_chunk(key, at, one, last=at == count - 1, random=os.urandom) for at, one in enumerate(chunks))


class LyingCourier(Courier):
    """A connection to a broker that answers with these bytes; what lies beyond their end it keeps to itself."""

    def __init__(self, blob: bytes, change: Change = lambda events: events) -> None:
        self._blob = blob
        self._change = change
        self._events: list[Event] = [Welcomed()]

    def __enter__(self) -> Courier:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def put(self, out: Iterable[Frames]) -> None:
        for raw in out:
            asked = frames.read_from_client(raw)
            assert isinstance(asked, Fetch)
            answer: list[Event] = []
            for at in range(asked.offset, asked.upto, PIECE_MAX):
                data = self._blob[at : min(at + PIECE_MAX, asked.upto)]
                if data:
                    answer.append(Piece(asked.blob, at, data))
            self._events += self._change(answer)

    def events(self) -> Iterator[Event]:
        while self._events:
            yield self._events.pop(0)
        raise BrokerUnreachable(where="here", why="it said nothing of the file for 60 s")


def fetch(folder: Path, blob: bytes, file: File = FILE, change: Change = lambda events: events) -> Path:
    return Files(lambda: LyingCourier(blob, change), SessionTickets()).download(file, folder)


def test_the_truth_arrives(tmp_path: Path) -> None:
    saved = fetch(tmp_path, sealed(PLAIN))
    assert saved == tmp_path / "report.bin"
    assert saved.read_bytes() == PLAIN
    assert list(tmp_path.iterdir()) == [saved]


def chunk(blob: bytes, at: int) -> bytes:
    return blob[at * SEALED_CHUNK : (at + 1) * SEALED_CHUNK]


LIES: dict[str, Callable[[bytes], bytes]] = {
    "two chunks swapped": lambda blob: chunk(blob, 1) + chunk(blob, 0) + chunk(blob, 2) + chunk(blob, 3),
    "a chunk repeated": lambda blob: chunk(blob, 0) + chunk(blob, 0) + chunk(blob, 2) + chunk(blob, 3),
    "a chunk dropped": lambda blob: chunk(blob, 0) + chunk(blob, 2) + chunk(blob, 3) + bytes(SEALED_CHUNK),
    "the last chunk in the middle": lambda blob: chunk(blob, 0) + chunk(blob, 3) + bytes(len(blob)),
    "a bit flipped": lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]),
    "another file under the same key": lambda _: sealed(os.urandom(len(PLAIN))),
    "another file": lambda _: sealed(PLAIN, os.urandom(32)),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_was_altered_is_refused(tmp_path: Path, lie: str) -> None:
    with pytest.raises(FileDamaged, match=r"chunk \d of 4 is another|its SHA-256 is another"):
        fetch(tmp_path, LIES[lie](sealed(PLAIN)))
    assert list(tmp_path.iterdir()) == []


def test_what_ends_early_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    """Cut off at a chunk's end: the last one does not say that it is the last one, so more is waited for."""
    with pytest.raises(BrokerUnreachable):
        fetch(tmp_path, sealed(PLAIN)[: 3 * SEALED_CHUNK])
    assert not (tmp_path / "report.bin").exists()
    assert [one.suffix for one in tmp_path.iterdir()] == [".part"]  # what has come is true, and need not come again


def test_a_file_that_was_sealed_shorter_is_refused(tmp_path: Path) -> None:
    """The sender's word on the size counts: a blob that ends earlier, in a chunk that says so, is another."""
    short = sealed(PLAIN[: 2 * FILE_CHUNK])
    with pytest.raises(FileDamaged, match="chunk 2 of 4"):
        fetch(tmp_path, short + bytes(2 * SEALED_CHUNK))
    assert list(tmp_path.iterdir()) == []


def test_what_is_withheld_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnreachable, match="said nothing of the file"):
        fetch(tmp_path, b"")
    with pytest.raises(FileGone, match=r"does not have report\.bin"):
        fetch(tmp_path, b"x", change=lambda _: [NoBlob(BLOB, Lack.UNKNOWN)])


def shifted(events: list[Event]) -> list[Event]:
    return [Piece(one.blob, one.offset + PIECE_MAX, one.data) for one in events if isinstance(one, Piece)]


def twice(events: list[Event]) -> list[Event]:
    return [one for event in events for one in (event, event)]


@pytest.mark.parametrize("change", [shifted, twice, lambda events: events[::-1]], ids=["shifted", "twice", "backwards"])
def test_pieces_that_were_not_asked_for_are_refused(tmp_path: Path, change: Change) -> None:
    with pytest.raises(FileDamaged, match="not asked for"):
        fetch(tmp_path, sealed(PLAIN), change=change)
    assert not (tmp_path / "report.bin").exists()


def test_a_sender_who_gives_two_people_two_files_is_found_out(tmp_path: Path) -> None:
    """One ciphertext that two keys open to two texts (AES-GCM allows it) has one hash too few."""
    other = os.urandom(len(PLAIN))
    with pytest.raises(FileDamaged, match="SHA-256"):
        fetch(tmp_path, sealed(other))
    assert list(tmp_path.iterdir()) == []


def test_another_blobs_pieces_are_nobodys(tmp_path: Path) -> None:
    def other(events: list[Event]) -> list[Event]:
        return [Piece(bytes(16), one.offset, one.data) for one in events if isinstance(one, Piece)]

    with pytest.raises(SecureChatError):
        fetch(tmp_path, sealed(PLAIN), change=other)
    assert not (tmp_path / "report.bin").exists()
