"""A file's chunks: each opens at its own place, with its own key, whole, and nowhere else."""

from __future__ import annotations

import hmac
import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from core.limits import FILE_CHUNK, FILE_SALT
from core.sealed_file import SEALED_CHUNK, chunk_at, chunk_count, open_chunk, seal_chunk, sealed_size

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("size", "chunks"),
    [(0, 1), (1, 1), (FILE_CHUNK - 1, 1), (FILE_CHUNK, 1), (FILE_CHUNK + 1, 2), (2 * FILE_CHUNK, 2), (10 * FILE_CHUNK + 1, 11)],
)
def test_every_file_has_a_last_chunk(size: int, chunks: int) -> None:
    assert chunk_count(size) == chunks
    assert sealed_size(size) == size + 32 * chunks


def test_an_offset_lies_in_its_chunk() -> None:
    assert [chunk_at(at) for at in (0, SEALED_CHUNK - 1, SEALED_CHUNK, 3 * SEALED_CHUNK)] == [0, 0, 1, 3]


@given(st.binary(max_size=300), st.integers(0, 2**40), st.booleans())
def test_a_chunk_opens_to_what_was_sealed(plain: bytes, index: int, last: bool) -> None:
    sealed = seal_chunk(KEY, index, plain, last=last, random=os.urandom)
    assert len(sealed) == len(plain) + 32
    assert open_chunk(KEY, index, sealed, last=last) == plain


@pytest.mark.parametrize(
    ("key", "index", "last"),
    [(KEY, 4, False), (KEY, 2, False), (KEY, 3, True), (bytes(32), 3, False)],
    ids=["the next place", "the place before", "the last place", "another key"],
)
def test_it_opens_at_no_other_place_and_with_no_other_key(key: bytes, index: int, last: bool) -> None:
    sealed = seal_chunk(KEY, 3, b"the fourth of many", last=False, random=os.urandom)
    with pytest.raises(ValueError, match="belongs"):
        open_chunk(key, index, sealed, last=last)


def by_hand(key: bytes, index: int, plain: bytes, salt: bytes, *, last: bool) -> bytes:
    """A sealed chunk as docs/PROTOCOL.md, 3.9, has it; HKDF by RFC 5869, sections 2.2 and 2.3."""
    info = b"sc1 file chunk\0" + index.to_bytes(8, "big") + (b"\1" if last else b"\0")
    chunk_key = hmac.digest(hmac.digest(salt, key, "sha256"), info + b"\1", "sha256")
    return salt + AESGCM(chunk_key).encrypt(bytes(12), plain, None)


@pytest.mark.parametrize(("index", "last"), [(0, True), (0, False), (2**40, True)])
def test_it_is_sealed_as_the_protocol_says(index: int, last: bool) -> None:
    salt = bytes(range(100, 116))
    assert seal_chunk(KEY, index, b"content", last=last, random=lambda size: salt[:size]) == by_hand(
        KEY, index, b"content", salt, last=last
    )


@pytest.mark.parametrize("at", [0, FILE_SALT - 1, FILE_SALT, -17, -16, -1])
def test_a_flipped_bit_is_noticed(at: int) -> None:
    sealed = bytearray(seal_chunk(KEY, 0, b"some content", last=True, random=os.urandom))
    sealed[at] ^= 1
    with pytest.raises(ValueError, match="belongs"):
        open_chunk(KEY, 0, bytes(sealed), last=True)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 31, 32, 40])
def test_a_chunk_that_was_cut_off_is_noticed(length: int) -> None:
    sealed = seal_chunk(KEY, 0, b"some content", last=True, random=os.urandom)
    with pytest.raises(ValueError, match="belongs"):
        open_chunk(KEY, 0, sealed[:length], last=True)


def test_sealed_again_nothing_of_the_key_stream_comes_again() -> None:
    """Two sealings of a chunk whose text was changed in between must not show what the texts differ in."""
    one, other = (seal_chunk(KEY, 0, bytes(64), last=True, random=os.urandom) for _ in range(2))
    assert one[FILE_SALT : FILE_SALT + 64] != other[FILE_SALT : FILE_SALT + 64]
