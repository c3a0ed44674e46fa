"""RSA-2048: the only module that touches RSA.

One key has one job, and the types say which: an identity key (IK) signs and verifies, an encryption key (EK) seals and
opens. Padding is OAEP with MGF1-SHA-256 and SHA-256 (RFC 8017, section 7.1) and PSS with SHA-256, MGF1-SHA-256 and a
salt of 32 bytes (section 8.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from core.encoding import b64url
from core.errors import BadSignature, KeyRefused
from core.limits import OAEP_MAX, PSS_SALT, RSA_BITS, RSA_BYTES, RSA_EXPONENT, SPKI_BYTES

_SHA256: Final = hashes.SHA256()
_PSS: Final = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=PSS_SALT)


def _oaep(label: bytes | None) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(algorithm=_SHA256), algorithm=_SHA256, label=label)


_PLAIN_OAEP: Final = _oaep(None)


class Purpose(Enum):
    """What a signature is for. One made for one purpose fails for every other."""

    LOGIN = "login"
    BUNDLE = "bundle"
    ENVELOPE = "env"
    CHUNKED = "chunk"


def _jws_prefix(purpose: Purpose) -> bytes:
    header = f'{{"alg":"PS256","b64":false,"crit":["b64"],"typ":"sc1-{purpose.value}"}}'
    return b64url(header.encode("ascii")).encode("ascii") + b"."


_PREFIX: Final = {purpose: _jws_prefix(purpose) for purpose in Purpose}


def signing_input(purpose: Purpose, payload: bytes) -> bytes:
    """The bytes that PSS signs: a JWS with detached, unencoded payload (RFC 7797, section 3)."""
    return _PREFIX[purpose] + payload


def kid_of(spki: bytes) -> bytes:
    """A key's id: SHA-256 of its SubjectPublicKeyInfo in DER; 32 bytes."""
    return hashlib.sha256(spki).digest()


class _PublicKey:
    """A public key that passed the import policy, with its canonical DER and its kid."""

    def __init__(self, spki: bytes) -> None:
        """Import SubjectPublicKeyInfo in DER; raises KeyRefused for anything but RSA-2048 with e = 65537."""
        if len(spki) != SPKI_BYTES:
            raise KeyRefused(why="it is not an RSA-2048 public key")
        try:
            key = serialization.load_der_public_key(spki)
        except Exception as error:
            raise KeyRefused(why="it cannot be read") from error
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size != RSA_BITS:
            raise KeyRefused(why="it is not an RSA-2048 public key")
        numbers = key.public_numbers()
        if numbers.e != RSA_EXPONENT:
            raise KeyRefused(why="its exponent is not 65537")
        # Nothing can be encrypted under an even modulus: sealing would fail in the hands of whoever writes to its owner.
        if numbers.n % 2 == 0:
            raise KeyRefused(why="its modulus is even")
        # Two encodings of one key would be two kids for one key.
        if _to_spki(key) != spki:
            raise KeyRefused(why="its encoding is not canonical")
        self._key: Final = key
        self.spki: Final = spki
        self.kid: Final = kid_of(spki)

    @property
    def pem(self) -> str:
        """The key as PEM text, as ``openssl`` and people expect it."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode(
            "ascii"
        )


class VerifyKey(_PublicKey):
    """The public half of an identity key (IK)."""

    def verify(self, purpose: Purpose, payload: bytes, signature: bytes) -> None:
        """Raise BadSignature unless ``signature`` (256 bytes) was made for ``purpose`` over ``payload``."""
        try:
            self._key.verify(signature, signing_input(purpose, payload), _PSS, _SHA256)
        except InvalidSignature as error:
            raise BadSignature from error


@lru_cache(maxsize=1024)
def known_verify_key(spki: bytes) -> VerifyKey:
    """Import an identity key as ``VerifyKey`` does, but each only once: what arrives mostly comes from the same senders."""
    return VerifyKey(spki)


class SealKey(_PublicKey):
    """The public half of an encryption key (EK)."""

    def seal(self, data: bytes, label: bytes | None = None) -> bytes:
        """Encrypt at most 190 bytes with OAEP; returns 256 bytes. ``label`` binds a context at no cost in payload."""
        if len(data) > OAEP_MAX:
            raise ValueError(f"OAEP holds at most {OAEP_MAX} bytes")
        return self._key.encrypt(data, _oaep(label) if label else _PLAIN_OAEP)


class SigningKey:
    """An identity key (IK): signs, and does nothing else."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key: Final = key
        self.public: Final = VerifyKey(_to_spki(key.public_key()))

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key; takes 20 to 110 ms."""
        return cls(rsa.generate_private_key(RSA_EXPONENT, RSA_BITS))

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """Import an unencrypted private key in PEM; raises KeyRefused for anything but RSA-2048 with e = 65537."""
        return cls(_private(lambda: serialization.load_pem_private_key(pem, None)))

    @classmethod
    def from_der(cls, der: bytes, *, tested: bool = False) -> SigningKey:
        """Import PKCS #8 in DER; raises KeyRefused for anything but RSA-2048 with e = 65537.

        ``tested``: it is known that its numbers are those of a key, so that is not tested again, which takes 45 ms.
        """
        return cls(_from_pkcs8(der, tested=tested))

    def to_der(self) -> bytes:
        """The secret key, unencrypted, as PKCS #8 in DER: for a keystore, which encrypts it."""
        return _to_pkcs8(self._key)

    def sign(self, purpose: Purpose, payload: bytes) -> bytes:
        """Sign ``payload`` for ``purpose``; returns 256 bytes. About 1 ms."""
        return self._key.sign(signing_input(purpose, payload), _PSS, _SHA256)


class OpeningKey:
    """An encryption key (EK): opens what was sealed to it, and does nothing else."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key: Final = key
        self.public: Final = SealKey(_to_spki(key.public_key()))

    @classmethod
    def generate(cls) -> OpeningKey:
        """Make a new key; takes 20 to 110 ms."""
        return cls(rsa.generate_private_key(RSA_EXPONENT, RSA_BITS))

    @classmethod
    def from_der(cls, der: bytes, *, tested: bool = False) -> OpeningKey:
        """Import PKCS #8 in DER; raises KeyRefused for anything but RSA-2048 with e = 65537.

        ``tested``: it is known that its numbers are those of a key, so that is not tested again, which takes 45 ms.
        """
        return cls(_from_pkcs8(der, tested=tested))

    def to_der(self) -> bytes:
        """The secret key, unencrypted, as PKCS #8 in DER: for a keystore, which encrypts it."""
        return _to_pkcs8(self._key)

    def open(self, block: bytes, label: bytes | None = None) -> bytes:
        """Decrypt one block of 256 bytes; raises ValueError if it, or its label, does not fit. About 1 ms."""
        if len(block) != RSA_BYTES:
            raise ValueError("a block has 256 bytes")
        return self._key.decrypt(block, _oaep(label) if label else _PLAIN_OAEP)


def _to_spki(key: rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _to_pkcs8(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _from_pkcs8(der: bytes, *, tested: bool) -> rsa.RSAPrivateKey:
    return _private(lambda: serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=tested))


def _private(load: Callable[[], object]) -> rsa.RSAPrivateKey:
    try:
        key = load()
    except Exception:  # noqa: BLE001 - several unrelated types, all meaning "not a key"
        raise KeyRefused(why="it cannot be read") from None  # a cause could quote the key
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != RSA_BITS:
        raise KeyRefused(why="it is not an RSA-2048 key")
    if key.public_key().public_numbers().e != RSA_EXPONENT:
        raise KeyRefused(why="its exponent is not 65537")
    return key
