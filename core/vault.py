"""What a profile has on disk, encrypted: the keystore under a passphrase, and single records under a key from it.

scrypt (RFC 7914) makes the key, AES-256-GCM encrypts, and the header is the associated data. Without a passphrase the key
comes from the salt alone: that finds damage and hides nothing, which is what a file mode is for then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from core.encoding import b64url, from_b64url, pack, strict_json, unpack
from core.errors import KeystoreDamaged, KeystoreLocked, RecordDamaged, WrongPassphrase

_MAGIC: Final = b"sc1 keystore\n"
_SALT: Final = 16
_IV: Final = 12
_KEY: Final = 32
# 128 MiB and about half a second: dear for a guesser, bearable once a session.
_SCRYPT: Final = (2**17, 8, 1)
_SIZE_MAX: Final = 1024 * 1024


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kdf: str
    n: int
    r: int
    p: int
    salt: str
    iv: str


_DECODER: Final = msgspec.json.Decoder(_Header)


def lock(plain: bytes, passphrase: str | None, *, random: Callable[[int], bytes]) -> bytes:
    """Encrypt a keystore's content. An empty passphrase is none."""
    salt, iv = random(_SALT), random(_IV)
    n, r, p = _SCRYPT if passphrase else (0, 0, 0)
    header = msgspec.json.encode(_Header("scrypt" if passphrase else "none", n, r, p, b64url(salt), b64url(iv)))
    return _MAGIC + pack((header, AESGCM(_key(passphrase, salt)).encrypt(iv, plain, _MAGIC + header)))


def is_locked(raw: bytes) -> bool:
    """Whether a passphrase is needed; raises KeystoreDamaged."""
    return _read(raw)[1].kdf == "scrypt"


def unlock(raw: bytes, passphrase: str | None) -> bytes:
    """Decrypt a keystore's content; raises KeystoreLocked, WrongPassphrase or KeystoreDamaged."""
    header, values, salt, iv, body = _read(raw)
    if values.kdf == "scrypt" and not passphrase:
        raise KeystoreLocked
    try:
        return AESGCM(_key(passphrase if values.kdf == "scrypt" else None, salt)).decrypt(iv, body, _MAGIC + header)
    except InvalidTag:
        raise (WrongPassphrase if values.kdf == "scrypt" else KeystoreDamaged) from None


def _read(raw: bytes) -> tuple[bytes, _Header, bytes, bytes, bytes]:
    try:
        if not raw.startswith(_MAGIC) or len(raw) > _SIZE_MAX:
            raise ValueError
        header, body = unpack(raw[len(_MAGIC) :], 2)
        values = strict_json(header, _DECODER)
        salt, iv = from_b64url(values.salt, _SALT), from_b64url(values.iv, _IV)
        # Only the parameters that are written are read: a file must not choose how much memory to take.
        if (values.kdf, values.n, values.r, values.p) not in (("scrypt", *_SCRYPT), ("none", 0, 0, 0)):
            raise ValueError
    except ValueError:
        raise KeystoreDamaged from None
    return header, values, salt, iv, body


def _key(passphrase: str | None, salt: bytes) -> bytes:
    if not passphrase:
        return hashlib.sha256(b"sc1 keystore without a passphrase\0" + salt).digest()
    n, r, p = _SCRYPT
    return Scrypt(salt=salt, length=_KEY, n=n, r=r, p=p).derive(passphrase.encode("utf-8"))


class Records:
    """Encrypts single records on a profile's disk with AES-256-GCM, under the profile's data key (32 bytes).

    Each record is bound to a name: one cannot stand in for another. IVs are random, which is safe for the 2^32 records
    that no profile will ever write (NIST SP 800-38D, section 8.3).
    """

    def __init__(self, key: bytes, *, random: Callable[[int], bytes]) -> None:
        self._aead = AESGCM(key)
        self._random = random

    def lock(self, plain: bytes, name: bytes) -> bytes:
        """Encrypt a record."""
        iv = self._random(_IV)
        return iv + self._aead.encrypt(iv, plain, name)

    def unlock(self, raw: bytes, name: bytes) -> bytes:
        """Decrypt a record; raises RecordDamaged."""
        try:
            return self._aead.decrypt(raw[:_IV], raw[_IV:], name)
        except (InvalidTag, ValueError):
            raise RecordDamaged from None
