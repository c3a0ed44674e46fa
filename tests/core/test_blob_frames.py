"""core.frames about blobs: what may be said, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import frames, messages
from core.errors import FrameError
from core.frames import Frames
from core.limits import BLOB_MAX, FETCH_MAX, PIECE_MAX

BLOB = bytes(range(16))
ids = st.binary(min_size=16, max_size=16)
offsets = st.integers(0, BLOB_MAX)
sizes = st.integers(1, BLOB_MAX)
read_client, read_broker = frames.read_from_client, frames.read_from_broker


@given(st.one_of(st.builds(messages.Offer, ids, sizes), st.builds(messages.Discard, ids)))
def test_what_a_client_says_comes_as_it_was_said(message: Any) -> None:
    assert read_client(frames.control(message)) == message


@given(ids, st.integers(0, BLOB_MAX - FETCH_MAX), st.integers(1, FETCH_MAX))
def test_what_is_fetched_comes_as_it_was_asked(blob: bytes, offset: int, length: int) -> None:
    message = messages.Fetch(blob, offset, offset + length)
    assert read_client(frames.control(message)) == message


@given(
    st.one_of(
        st.builds(messages.Extent, ids, offsets, offsets), st.builds(messages.NoBlob, ids, st.sampled_from(messages.Lack))
    )
)
def test_what_a_broker_says_comes_as_it_was_said(message: Any) -> None:
    assert read_broker(frames.control(message)) == message


@given(ids, st.integers(0, BLOB_MAX - 100), st.binary(min_size=1, max_size=100))
def test_pieces_go_both_ways(blob: bytes, offset: int, data: bytes) -> None:
    raw = frames.piece(blob, offset, data)
    assert read_client(raw) == read_broker(raw) == messages.Piece(blob, offset, data)


def test_the_largest_piece_fits_and_the_last_byte_may_be_any_blobs_last() -> None:
    raw = frames.piece(BLOB, BLOB_MAX - PIECE_MAX, bytes(PIECE_MAX))
    assert read_client(raw) == messages.Piece(BLOB, BLOB_MAX - PIECE_MAX, bytes(PIECE_MAX))


BAD_PIECES: dict[str, Frames] = {
    "nothing": frames.piece(BLOB, 0, b""),
    "too much": frames.piece(BLOB, 0, bytes(PIECE_MAX + 1)),
    "beyond any blob": frames.piece(BLOB, BLOB_MAX, b"x"),
    "a short head": [frames.piece(BLOB, 0, b"x")[0][:-1], b"x"],
    "a long head": [frames.piece(BLOB, 0, b"x")[0] + b"\0", b"x"],
    "another verb": [b"q" + frames.piece(BLOB, 0, b"x")[0][1:], b"x"],
    "a frame more": [*frames.piece(BLOB, 0, b"x"), b"x"],
    "a frame less": [frames.piece(BLOB, 0, b"x")[0]],
}


@pytest.mark.parametrize("raw", BAD_PIECES.values(), ids=BAD_PIECES)
def test_a_bad_piece_is_refused_by_both(raw: Frames) -> None:
    for read in (read_client, read_broker):
        with pytest.raises(FrameError):
            read(raw)


BAD: dict[str, messages.Control] = {
    "an empty part": messages.Fetch(BLOB, 5, 5),
    "a part from its end": messages.Fetch(BLOB, 6, 5),
    "a part too long": messages.Fetch(BLOB, 0, FETCH_MAX + 1),
    "an empty blob": messages.Offer(BLOB, 0),
    "a blob too long": messages.Offer(BLOB, BLOB_MAX + 1),
    "an id too short": messages.Offer(BLOB[:-1], 1),
    "an id too long": messages.Discard(BLOB + b"\0"),
    "an extent below nothing": messages.Extent(BLOB, -1, 0),
    "credit beyond any blob": messages.Extent(BLOB, 0, BLOB_MAX + 1),
}


@pytest.mark.parametrize("message", BAD.values(), ids=BAD)
def test_what_cannot_be_meant_is_refused(message: messages.Control) -> None:
    read = read_broker if isinstance(message, messages.Extent) else read_client
    with pytest.raises(FrameError):
        read(frames.control(message))


def test_an_unknown_reason_is_refused() -> None:
    with pytest.raises(FrameError):
        read_broker([b"n" + msgspec.msgpack.encode({"blob": BLOB, "why": "because"})])


@pytest.mark.parametrize("message", [messages.Offer(BLOB, 1), messages.Fetch(BLOB, 0, 1), messages.Discard(BLOB)])
def test_a_broker_does_not_say_what_clients_say(message: messages.Control) -> None:
    with pytest.raises(FrameError, match="broker does not say"):
        read_broker(frames.control(message))


@pytest.mark.parametrize("message", [messages.Extent(BLOB, 0, 1), messages.NoBlob(BLOB, messages.Lack.DISK)])
def test_a_client_does_not_say_what_brokers_say(message: messages.Control) -> None:
    with pytest.raises(FrameError, match="client does not say"):
        read_client(frames.control(message))
