"""Strict text and byte encodings: each value has exactly one accepted form."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Sequence
from typing import TypeVar

import msgspec

# Straight from binascii: `base64` only adds a layer above it, and every envelope holds a dozen of these.
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_JSON = msgspec.json.Encoder()
_LENGTH = struct.Struct(">I")
_T = TypeVar("_T")


def b64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 4648, section 5; RFC 7515, appendix C)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")


def from_b64url(text: str, size: int | None = None) -> bytes:
    """Decode canonical, unpadded base64url; ``size`` demands an exact number of bytes.

    Raises ValueError for padding, other alphabets, stray bits in the last character, or another size.
    """
    try:
        data = binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL) + b"=" * (-len(text) % 4))
    except ValueError as error:
        raise ValueError("not base64url") from error
    # binascii skips what is not of the alphabet; this refuses it, and whatever else has another canonical form.
    if b64url(data) != text:
        raise ValueError("not canonical base64url")
    if size is not None and len(data) != size:
        raise ValueError("wrong size")
    return data


def strict_json(raw: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """Decode JSON that must be byte for byte what encoding its value gives.

    That one rule refuses white space, duplicate and reordered keys, needless escapes and unusual numbers. The bytes that
    get hashed and verified remain ``raw``: the second encoding is only compared. Raises ValueError.
    """
    try:
        value = decoder.decode(raw)
        canonical = _JSON.encode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError("not the expected JSON") from error
    if canonical != raw or not raw.isascii():
        raise ValueError("not in canonical form")
    return value


def pack(parts: Sequence[bytes]) -> bytes:
    """Join parts, each behind its length as 4 bytes, big-endian."""
    return b"".join([piece for part in parts for piece in (_LENGTH.pack(len(part)), part)])


def unpack(data: bytes, count: int) -> list[bytes]:
    """Split what ``pack`` joined into exactly ``count`` parts; a length that lies costs nothing. Raises ValueError."""
    parts = []
    at = 0
    for _ in range(count):
        if len(data) - at < _LENGTH.size:
            raise ValueError("too short")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if size > len(data) - at:
            raise ValueError("a length runs past the end")
        parts.append(data[at : at + size])
        at += size
    if at != len(data):
        raise ValueError("bytes left over")
    return parts
