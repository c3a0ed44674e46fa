"""Bytes to blocks of at most 190 bytes and back: the arithmetic of the chunked suite, without any keys."""

from __future__ import annotations

from collections.abc import Iterable

from core.limits import CHUNKS_MAX, OAEP_MAX, RSA_BYTES


def split(data: bytes) -> list[bytes]:
    """Cut ``data`` into blocks of 190 bytes, the last one shorter; at least one block.

    Raises ValueError when that takes more than 44 blocks.
    """
    blocks = [data[at : at + OAEP_MAX] for at in range(0, len(data), OAEP_MAX)] or [b""]
    if len(blocks) > CHUNKS_MAX:
        raise ValueError("too many blocks")
    return blocks


def split_sealed(data: bytes) -> list[bytes]:
    """Cut one recipient's sealed blocks apart: 256 bytes each, 1 to 44 of them. Raises ValueError for another length."""
    count, rest = divmod(len(data), RSA_BYTES)
    if rest or not 1 <= count <= CHUNKS_MAX:
        raise ValueError("not a whole number of sealed blocks")
    return [data[at : at + RSA_BYTES] for at in range(0, len(data), RSA_BYTES)]


def join(blocks: Iterable[bytes]) -> bytes:
    """Put opened blocks together again; raises ValueError unless all but the last are full."""
    parts = list(blocks)
    if any(len(part) != OAEP_MAX for part in parts[:-1]) or not parts or len(parts[-1]) > OAEP_MAX:
        raise ValueError("a block is cut short")
    return b"".join(parts)
