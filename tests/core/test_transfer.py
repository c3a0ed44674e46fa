"""Uploads and downloads against a blob that does what the protocol says, and against one that does not."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import frames
from core.content import File
from core.errors import FileDamaged, RemoteProtocolError
from core.frames import Frames
from core.limits import BLOB_WINDOW, FETCH_MAX, FILE_CHUNK, PIECE_MAX
from core.messages import Extent, Fetch, Offer, Piece
from core.sealed_file import SEALED_CHUNK, chunk_count, seal_chunk, sealed_size
from core.transfer import Download, Upload

BLOB, KEY = bytes(range(16)), bytes(range(32))
SIZE = 5 * FILE_CHUNK + 12_345


def sealed(plain: bytes) -> bytes:
    """A whole file's ciphertext."""
    count = chunk_count(len(plain))
    chunks = (plain[at * FILE_CHUNK : (at + 1) * FILE_CHUNK] for at in range(count))
    return b"".join(seal_chunk(KEY, at, one, last=at == count - 1, random=os.urandom) for at, one in enumerate(chunks))


def file_of(plain: bytes) -> File:
    return File("x.bin", len(plain), bytes(32), KEY, BLOB)


class Store:
    """The broker's side of one blob."""

    def __init__(self, size: int, data: bytes = b"") -> None:
        self.size = size
        self.data = bytearray(data)
        self.credit = 0

    def take(self, out: Sequence[Frames]) -> None:
        for raw in out:
            said = frames.read_from_client(raw)
            assert isinstance(said, Piece)
            assert said.offset <= len(self.data)
            assert said.offset + len(said.data) <= self.credit
            self.data[said.offset : said.offset + len(said.data)] = said.data

    def extent(self, upto: int | None = None) -> Extent:
        upto = len(self.data) if upto is None else upto
        del self.data[upto:]
        self.credit = min(self.size, upto + BLOB_WINDOW)
        return Extent(BLOB, upto, self.credit)


def send_some(upload: Upload, store: Store, content: bytes, most: int) -> None:
    """Send what the credit allows, at most so many bytes."""
    at = store_at = sent_of(upload)
    room = min(upload.room, most)
    store.take(upload.pieces(memoryview(content)[at : at + room]))
    assert sent_of(upload) == store_at + room


def sent_of(upload: Upload) -> int:
    return upload._sent


def test_an_upload_fills_its_credit_and_waits_for_more() -> None:
    content = os.urandom(BLOB_WINDOW + 3 * SEALED_CHUNK)
    upload, store = Upload(BLOB, len(content)), Store(len(content))
    (raw,) = upload.begin()
    assert frames.read_from_client(raw) == Offer(BLOB, len(content))
    assert upload.room == 0
    assert upload.extent(store.extent())
    send_some(upload, store, content, 2**40)
    assert len(store.data) == BLOB_WINDOW - SEALED_CHUNK  # a chunk less than the broker would take
    assert upload.room == 0
    assert not upload.extent(store.extent())
    send_some(upload, store, content, 2**40)
    assert not upload.done
    upload.extent(store.extent())
    assert upload.done
    assert bytes(store.data) == content
    assert upload.sent_in_all == len(content)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4 * SEALED_CHUNK), st.none() | st.floats(0, 1)), max_size=12))
def test_an_upload_goes_on_after_any_break_and_sends_no_more_than_the_window_again(
    steps: list[tuple[int, float | None]],
) -> None:
    """In each step some bytes are sent; then the link holds, or breaks when a share of what was under way is on the disk."""
    content = os.urandom(12 * SEALED_CHUNK + 77)
    upload, store = Upload(BLOB, len(content)), Store(len(content))
    upload.begin()
    upload.extent(store.extent())
    breaks = 0
    for length, share in [*steps, *[(len(content), None)] * 3]:
        send_some(upload, store, content, length)
        upto = None
        if share is not None:
            breaks += 1
            upload.begin()
            upto = upload.upto + int(share * (len(store.data) - upload.upto))
        upload.extent(store.extent(upto))
    assert upload.done
    assert bytes(store.data) == content
    assert upload.sent_in_all <= len(content) + breaks * BLOB_WINDOW


def test_a_finished_upload_is_not_begun_again() -> None:
    upload, store = Upload(BLOB, 100), Store(100, bytes(100))
    upload.begin()
    assert not upload.extent(store.extent())
    assert upload.done
    assert upload.room == 0


@pytest.mark.parametrize("upto", [51, 101], ids=["more than was sent", "more than there is"])
def test_a_broker_that_claims_what_cannot_be_is_not_believed(upto: int) -> None:
    upload = Upload(BLOB, 100)
    upload.begin()
    upload.extent(Extent(BLOB, 0, 100))
    upload.pieces(memoryview(bytes(50)))
    upload.extent(Extent(BLOB, 40, 100))
    with pytest.raises(RemoteProtocolError):
        upload.extent(Extent(BLOB, upto, 100))


def test_before_it_has_begun_nothing_is_sent_and_nothing_believed() -> None:
    upload = Upload(BLOB, 1)
    assert (upload.upto, upload.room, upload.done) == (0, 0, False)
    with pytest.raises(RemoteProtocolError):
        upload.extent(Extent(BLOB, 1, 1))


def test_a_credit_is_a_limit_and_so_is_the_size() -> None:
    upload = Upload(BLOB, 5000)
    upload.begin()
    upload.extent(Extent(BLOB, 0, 1000))
    assert upload.room == 1000
    upload.extent(Extent(BLOB, 0, 10_000))
    assert upload.room == 5000


def test_it_goes_on_at_the_beginning_of_a_chunk() -> None:
    upload = Upload(BLOB, 4 * SEALED_CHUNK)
    upload.begin()
    assert upload.extent(Extent(BLOB, 2 * SEALED_CHUNK + 5, 4 * SEALED_CHUNK))
    assert upload.chunk == 2
    (raw,) = upload.pieces(memoryview(b"x"))
    assert frames.read_from_client(raw) == Piece(BLOB, 2 * SEALED_CHUNK, b"x")


def test_nor_is_one_that_has_more_than_there_is_from_the_first() -> None:
    upload = Upload(BLOB, 100)
    upload.begin()
    with pytest.raises(RemoteProtocolError):
        upload.extent(Extent(BLOB, 101, 101))


# Downloads


def fetched(out: Sequence[Frames], content: bytes) -> list[Piece]:
    """What an honest broker answers."""
    pieces: list[Piece] = []
    for raw in out:
        asked = frames.read_from_client(raw)
        assert isinstance(asked, Fetch)
        ends = range(asked.offset, asked.upto, PIECE_MAX)
        pieces += [Piece(asked.blob, at, content[at : min(at + PIECE_MAX, asked.upto)]) for at in ends]
    return pieces


@pytest.mark.parametrize("size", [0, 1, FILE_CHUNK, FILE_CHUNK + 1, SIZE])
def test_a_download_gives_what_was_sealed(size: int) -> None:
    plain = os.urandom(size)
    content = sealed(plain)
    download = Download(file_of(plain))
    came: list[bytes] = []
    waiting = fetched(download.begin(), content)
    most = 0
    while waiting:
        most = max(most, sum(len(one.data) for one in waiting))
        came += download.piece(waiting.pop(0))
        waiting += fetched(download.more(), content)
    assert download.done
    assert b"".join(came) == plain
    assert download.came_in_all == len(content) == sealed_size(size)
    assert most <= BLOB_WINDOW


def test_a_download_keeps_half_a_window_asked_for() -> None:
    plain = os.urandom(12 * FILE_CHUNK)
    content = sealed(plain)
    download = Download(file_of(plain))
    asked = download.begin()
    assert len(asked) == BLOB_WINDOW // 2 // FETCH_MAX
    *some, last = fetched(asked[:1], content)
    for piece in some:
        list(download.piece(piece))
        assert download.more() == []
    list(download.piece(last))
    (raw,) = download.more()
    assert frames.read_from_client(raw) == Fetch(BLOB, BLOB_WINDOW // 2, BLOB_WINDOW // 2 + FETCH_MAX)


def test_nothing_may_come_before_it_was_asked_for() -> None:
    with pytest.raises(RemoteProtocolError):
        list(Download(file_of(b"x")).piece(Piece(BLOB, 0, b"x")))


def test_a_download_asks_again_from_its_last_whole_chunk_on() -> None:
    plain = os.urandom(SIZE)
    content = sealed(plain)
    download = Download(file_of(plain), first=1)
    came = [plain[:FILE_CHUNK]]
    for piece in fetched(download.begin(), content)[: SEALED_CHUNK // PIECE_MAX + 5]:
        came += download.piece(piece)
    assert len(came) == 2
    waiting = fetched(download.begin(), content)
    assert waiting[0].offset == 2 * SEALED_CHUNK
    while waiting:
        came += download.piece(waiting.pop(0))
        waiting += fetched(download.more(), content)
    assert b"".join(came) == plain


def swapped(content: bytes) -> bytes:
    return content[SEALED_CHUNK : 2 * SEALED_CHUNK] + content[:SEALED_CHUNK] + content[2 * SEALED_CHUNK :]


def repeated(content: bytes) -> bytes:
    return content[:SEALED_CHUNK] * 2 + content[2 * SEALED_CHUNK :]


def another_end(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("lie", [swapped, repeated, another_end])
def test_other_chunks_are_refused_by_their_number(lie: object) -> None:
    plain = os.urandom(SIZE)
    content = lie(sealed(plain))  # type: ignore[operator]
    download = Download(file_of(plain))
    waiting = fetched(download.begin(), content)
    with pytest.raises(FileDamaged, match=r"^x\.bin is not what was sent: chunk \d of 6 is another"):  # noqa: PT012 - which piece it is depends on the lie
        while waiting:
            list(download.piece(waiting.pop(0)))
            waiting += fetched(download.more(), content)


@pytest.mark.parametrize("offset", [1, PIECE_MAX, 2**39])
def test_what_was_not_asked_for_now_is_refused(offset: int) -> None:
    download = Download(file_of(bytes(SIZE)))
    download.begin()
    with pytest.raises(RemoteProtocolError):
        list(download.piece(Piece(BLOB, offset, b"x")))


def test_more_than_was_asked_for_is_refused() -> None:
    plain = os.urandom(FETCH_MAX * 20)
    content = sealed(plain)
    download = Download(file_of(plain))
    asked = fetched(download.begin(), content)
    for piece in asked:
        list(download.piece(piece))
    end = asked[-1].offset + len(asked[-1].data)
    with pytest.raises(RemoteProtocolError):
        list(download.piece(Piece(BLOB, end, content[end : end + 10])))
