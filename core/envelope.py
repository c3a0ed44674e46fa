"""Envelopes: the signed header, and sealing a content for its recipients. ``core.opening`` opens them.

Kind E (``hybrid``) encrypts the content once under a fresh AES-256-GCM key and wraps that key for each recipient; with its
parts in base64url it is a General JWE (RFC 7516, section 7.2.1). Kind C (``chunked``) encrypts the content itself in RSA
blocks, once for each recipient. Both are signed after encryption, with all recipients inside the signed header.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core import chunking
from core.bundle import Kind, Suite
from core.content import Sendable, Text, encode_content, pad
from core.encoding import b64url, pack
from core.errors import EmptyMessage, MessageTooLong
from core.limits import (
    CHUNKED_CONTENT_MAX,
    GCM_IV,
    HYBRID_CONTENT_MAX,
    RECIPIENTS_MAX,
)
from core.rsa import Purpose, SealKey, SigningKey

_TYP: Final = "sc1"
SECRET_BYTES: Final = 32
_LABEL_PLACE: Final = struct.Struct(">II")


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signed header H, in its canonical order. Byte strings are base64url; ``to`` holds (user, EK kid, n), sorted."""

    alg: str
    enc: str
    typ: str
    sender: str = msgspec.field(name="from")
    kind: Kind
    ik: str
    mid: str
    sid: str
    ts: int
    kc: str
    cid: str
    to: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class MessageKind:
    """What a permitted (alg, enc, typ) triple stands for."""

    suite: Suite
    enc: str
    purpose: Purpose
    content_max: int


# The allow-list: any other triple is refused.
KINDS: Final = {
    ("RSA-OAEP-256", "A256GCM", _TYP): MessageKind(Suite.HYBRID, "A256GCM", Purpose.ENVELOPE, HYBRID_CONTENT_MAX),
    ("RSA-OAEP-256", "sc1-chunked", _TYP): MessageKind(Suite.CHUNKED, "sc1-chunked", Purpose.CHUNKED, CHUNKED_CONTENT_MAX),
}
_BY_SUITE: Final = {kind.suite: kind for kind in KINDS.values()}


def direct_cid(one_kid: bytes, other_kid: bytes) -> bytes:
    """The id of the conversation between two identity keys: the same from both ends; 32 bytes."""
    return hashlib.sha256(b"sc1 direct\0" + b"".join(sorted((one_kid, other_kid)))).digest()


def everyone_cid(broker_key: bytes) -> bytes:
    """The id of a broker's Everyone conversation; 32 bytes."""
    return hashlib.sha256(b"sc1 everyone\0" + broker_key).digest()


def delivery_proof(secret: bytes, mid: bytes, recipient_kid: bytes) -> bytes:
    """What only someone who opened the message can compute: the recipient's receipt; 32 bytes."""
    return hmac.digest(secret, b"sc1 delivered\0" + mid + recipient_kid, "sha256")


def check_length(content: bytes, suite: Suite) -> None:
    """Raise MessageTooLong if the suite cannot carry ``content``."""
    limit = _BY_SUITE[suite].content_max
    if len(content) > limit:
        advice = "Use the hybrid suite, or send it as a file." if suite is Suite.CHUNKED else "Send it as a file."
        raise MessageTooLong(suite=suite.value, limit=limit - _TEXT_OVERHEAD, advice=advice)


_TEXT_OVERHEAD: Final = len(encode_content(Text(256 * " "))) - 256  # bytes around a long text; no other content is long


def fits(content: Sendable, suite: Suite) -> bool:
    """Whether the suite can carry ``content``."""
    return len(encode_content(content)) <= _BY_SUITE[suite].content_max


def check_content(content: Sendable, suite: Suite) -> None:
    """Raise EmptyMessage, NotText or MessageTooLong for what cannot be sent."""
    if isinstance(content, Text) and not content.text.strip():
        raise EmptyMessage
    check_length(encode_content(content), suite)


@dataclass(frozen=True, slots=True)
class To:
    """One recipient as the sender addresses them: name, EK, and the counter for (sid, recipient), from 1."""

    user: str
    ek: SealKey
    n: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed message. ``wraps`` are in the order of ``recipients``; ``secret`` checks delivery proofs."""

    mid: bytes
    recipients: tuple[str, ...]
    parts: tuple[bytes, ...]
    wraps: tuple[bytes, ...]
    secret: bytes = field(repr=False)

    def common(self) -> bytes:
        """The frame that all recipients of a fan-out share."""
        return pack((*self.parts, b""))

    def common_direct(self) -> bytes:
        """The frame for a message with one recipient: its wrap travels inside."""
        return pack((*self.parts, *self.wraps))


def seal(
    content: Sendable,
    *,
    suite: Suite,
    sender: str,
    kind: Kind,
    signing: SigningKey,
    sid: bytes,
    mid: bytes,
    cid: bytes,
    to: Sequence[To],
    now_ms: int,
    random: Callable[[int], bytes],
) -> Sealed:
    """Encrypt ``content`` for every recipient in ``to`` and sign it.

    ``mid`` and ``sid`` have 16 bytes, ``cid`` 32. ``random`` gives that many random bytes. Raises MessageTooLong, and
    ValueError for no, too many or repeated recipients.
    """
    plain = encode_content(content)
    check_length(plain, suite)
    how = _BY_SUITE[suite]
    to = sorted(to, key=lambda one: one.user)
    if not 1 <= len(to) <= RECIPIENTS_MAX or len({one.user for one in to}) != len(to):
        raise ValueError("the recipients are none, too many, or repeated")
    padded = pad(plain)
    secret = random(SECRET_BYTES)
    commitment = key_commitment(how, secret, padded)
    header = msgspec.json.encode(
        Header(
            alg="RSA-OAEP-256",
            enc=how.enc,
            typ=_TYP,
            sender=sender,
            kind=kind,
            ik=b64url(signing.public.kid),
            mid=b64url(mid),
            sid=b64url(sid),
            ts=now_ms,
            kc=b64url(commitment),
            cid=b64url(cid),
            to=tuple((one.user, b64url(one.ek.kid), one.n) for one in to),
        )
    )
    if suite is Suite.HYBRID:
        iv = random(GCM_IV)
        body = AESGCM(secret).encrypt(iv, padded, b64url(header).encode("ascii"))
        wraps = tuple(one.ek.seal(secret) for one in to)
    else:
        iv = body = b""
        blocks = chunking.split(secret + padded)
        labels = block_labels(header, len(blocks))
        wraps = tuple(b"".join(one.ek.seal(block, label) for block, label in zip(blocks, labels, strict=True)) for one in to)
    digests = b"".join(hashlib.sha256(wrap).digest() for wrap in wraps)
    signature = signing.sign(how.purpose, signed_bytes(how, header, digests, iv, body))
    parts = (header, digests, iv, body, signature, signing.public.spki)
    return Sealed(mid, tuple(one.user for one in to), parts, wraps, secret)


def key_commitment(kind: MessageKind, secret: bytes, padded: bytes) -> bytes:
    """The header's ``kc``: HMAC-SHA256 that binds the message to one key and one text; 32 bytes."""
    # AES-GCM and OAEP let one ciphertext open to different texts under different keys; these bind it to one.
    message = b"sc1 key commitment" if kind.suite is Suite.HYBRID else padded
    return hmac.digest(secret, message, "sha256")


def block_labels(header: bytes, total: int) -> list[bytes]:
    """The OAEP label of each block: it pins a block to its message, its place and the number of blocks."""
    base = b"sc1 chunk\0" + hashlib.sha256(header).digest()
    return [base + _LABEL_PLACE.pack(at, total) for at in range(total)]


def signed_bytes(kind: MessageKind, header: bytes, digests: bytes, iv: bytes, body: bytes) -> bytes:
    """What the sender signs (with the kind's purpose): digests of everything that travels, for whoever holds only a part."""
    signed = hashlib.sha256(header).digest() + hashlib.sha256(digests).digest()
    if kind.suite is Suite.HYBRID:
        signed += hashlib.sha256(iv + body).digest()
    return signed
