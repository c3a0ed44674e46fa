"""A file's ciphertext: chunks of 1 MiB, each sealed by itself, so that a reader trusts what it has before it has all.

A sealed chunk is ``salt || AES-256-GCM(chunk)``. Its key comes from the file's key by HKDF-SHA-256 (RFC 5869) with a salt of
its own and the chunk's place in the ``info``; so no chunk opens at another place, nor as the last one if it is not (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015, with keys in place of nonces). A chunk that is sealed again,
because an upload was broken off, gets another salt: were the file changed meanwhile, no key would have sealed two texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.limits import FILE_CHUNK, FILE_KEY_BYTES, FILE_SALT, GCM_IV, GCM_TAG

SEALED_CHUNK: Final = FILE_SALT + FILE_CHUNK + GCM_TAG
_OVERHEAD: Final = FILE_SALT + GCM_TAG
_LABEL: Final = b"sc1 file chunk\0"
_IV: Final = bytes(GCM_IV)  # a key seals one chunk


def chunk_count(size: int) -> int:
    """How many chunks a file of ``size`` bytes has: at least one."""
    return max(1, -(-size // FILE_CHUNK))


def sealed_size(size: int) -> int:
    """The bytes of ciphertext of a file of ``size`` bytes."""
    return size + _OVERHEAD * chunk_count(size)


def chunk_at(offset: int) -> int:
    """The chunk that holds the byte of ciphertext at ``offset``."""
    return offset // SEALED_CHUNK


def seal_chunk(key: bytes, index: int, plain: bytes, *, last: bool, random: Callable[[int], bytes]) -> bytearray:
    """Seal a chunk: ``key`` is the file's (32 bytes), ``index`` counts from 0, ``random`` gives the salt."""
    sealed = bytearray(_OVERHEAD + len(plain))  # written into: memory that comes and goes costs more than the encryption
    sealed[:FILE_SALT] = salt = random(FILE_SALT)
    AESGCM(_chunk_key(key, salt, index, last=last)).encrypt_into(_IV, plain, None, memoryview(sealed)[FILE_SALT:])
    return sealed


def open_chunk(key: bytes, index: int, sealed: bytes | bytearray | memoryview, *, last: bool) -> bytes:
    """Open a chunk; raises ValueError for one that was not sealed with this key for this place."""
    salt = bytes(sealed[:FILE_SALT])
    try:
        return AESGCM(_chunk_key(key, salt, index, last=last)).decrypt(_IV, memoryview(sealed)[FILE_SALT:], None)
    except InvalidTag:
        raise ValueError("not the chunk that belongs here") from None


def _chunk_key(key: bytes, salt: bytes, index: int, *, last: bool) -> bytes:
    info = _LABEL + index.to_bytes(8, "big") + bytes((last,))
    return HKDF(SHA256(), FILE_KEY_BYTES, salt, info).derive(key)
