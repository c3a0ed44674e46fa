"""Envelopes as a hostile but able sender makes them: any part can be replaced before or after the signature."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core import chunking
from core.bundle import Kind, Suite
from core.content import Text, encode_content, pad
from core.encoding import b64url, pack
from core.envelope import KINDS, MessageKind, block_labels, direct_cid, key_commitment, signed_bytes
from core.opening import Delivery
from core.rsa import Purpose, SealKey, SigningKey
from tests.keys import Keys

HYBRID = KINDS["RSA-OAEP-256", "A256GCM", "sc1"]
CHUNKED = KINDS["RSA-OAEP-256", "sc1-chunked", "sc1"]
KIND_OF = {Suite.HYBRID: HYBRID, Suite.CHUNKED: CHUNKED}

Edit = Callable[[bytes], bytes]


def counted_random(seed: str) -> Callable[[int], bytes]:
    """Reproducible bytes: SHA-256 over the seed and a counter."""
    counter = itertools.count()

    def random(size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += hashlib.sha256(f"{seed} {next(counter)}".encode()).digest()
        return data[:size]

    return random


def same(data: bytes) -> bytes:
    """No edit."""
    return data


def flip(at: int) -> Edit:
    """An edit that turns over one bit of the byte at ``at``."""

    def edit(data: bytes) -> bytes:
        place = at % len(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return edit


@dataclass(frozen=True)
class Draft:
    """What a sender decides about a message. Edits are applied where their names say, before the signature is made."""

    kind: MessageKind
    sender: str
    signing: SigningKey
    to: Sequence[tuple[str, SealKey, int]]
    cid: bytes
    mid: bytes = bytes(range(16))
    sid: bytes = bytes(range(16, 32))
    ts: int = 1_800_000_000_000
    plain: bytes = field(default_factory=lambda: encode_content(Text("hello")))
    padded: bytes | None = None
    secret: bytes = bytes(range(64, 96))
    wrapped: bytes | None = None  # hybrid: what the wraps hold instead of the secret
    commitment: bytes | None = None
    iv: bytes = bytes(range(100, 112))
    fields: dict[str, Any] = field(default_factory=dict)  # the header's, by their names on the wire
    header: Edit = same
    body: Edit = same
    wrap: Edit = same
    blocks: Callable[[list[bytes]], list[bytes]] = list
    labels: Callable[[list[bytes]], list[bytes]] = list
    sender_kind: Kind = Kind.GUEST
    signer: SigningKey | None = None
    purpose: Purpose | None = None

    def but(self, **changes: Any) -> Draft:
        """The same draft with some things different."""
        return replace(self, **changes)

    def make(self) -> Forged:
        """Encrypt and sign as the draft says."""
        padded = pad(self.plain) if self.padded is None else self.padded
        commitment = self.commitment or key_commitment(self.kind, self.secret, padded)
        fields: dict[str, Any] = {
            "alg": "RSA-OAEP-256",
            "enc": self.kind.enc,
            "typ": "sc1",
            "from": self.sender,
            "kind": self.sender_kind.value,
            "ik": b64url(self.signing.public.kid),
            "mid": b64url(self.mid),
            "sid": b64url(self.sid),
            "ts": self.ts,
            "kc": b64url(commitment),
            "cid": b64url(self.cid),
            "to": [[user, b64url(ek.kid), n] for user, ek, n in sorted(self.to, key=lambda one: one[0])],
            **self.fields,
        }
        header = self.header(msgspec.json.encode(fields))
        eks = [ek for _, ek, _ in sorted(self.to, key=lambda one: one[0])]
        iv = body = b""
        if self.kind is HYBRID:
            iv = self.iv
            body = self.body(AESGCM(self.secret).encrypt(iv, padded, b64url(header).encode()))
            wraps = [ek.seal(self.secret if self.wrapped is None else self.wrapped) for ek in eks]
        else:
            pieces = chunking.split(self.secret + padded)
            labels = self.labels(block_labels(header, len(pieces)))
            wraps = [
                b"".join(self.blocks([ek.seal(one, label) for one, label in zip(pieces, labels, strict=True)])) for ek in eks
            ]
        wraps = [self.wrap(one) for one in wraps]
        digests = b"".join(hashlib.sha256(one).digest() for one in wraps)
        signed = signed_bytes(self.kind, header, digests, iv, body)
        signature = (self.signer or self.signing).sign(self.purpose or self.kind.purpose, signed)
        return Forged(self.sender, self.mid, [header, digests, iv, body, signature, self.signing.public.spki], wraps)


PARTS = ("header", "digests", "iv", "body", "signature", "spki")


@dataclass
class Forged:
    """A finished envelope, whose parts can be tampered with after the signature."""

    sender: str
    mid: bytes
    parts: list[bytes]
    wraps: list[bytes]

    def tampered(self, part: str, edit: Edit) -> Forged:
        """The same with one part edited, or ``wraps`` (each of them)."""
        if part == "wraps":
            return Forged(self.sender, self.mid, list(self.parts), [edit(one) for one in self.wraps])
        at = PARTS.index(part)
        parts = [edit(one) if place == at else one for place, one in enumerate(self.parts)]
        return Forged(self.sender, self.mid, parts, self.wraps)

    def delivery(self, place: int = 0, *, inside: bool | None = None) -> Delivery:
        """As the recipient at ``place`` gets it; the wrap is inside ``common`` if there is only one, unless told."""
        if inside is None:
            inside = len(self.wraps) == 1
        common = pack((*self.parts, self.wraps[place] if inside else b""))
        return Delivery(self.mid, self.sender, common, None if inside else self.wraps[place])


def direct(suite: Suite, sender: str, sender_keys: Keys, recipient: str, recipient_keys: Keys, **changes: Any) -> Draft:
    """A draft of an honest message from one to one."""
    return Draft(
        kind=KIND_OF[suite],
        sender=sender,
        signing=sender_keys.signing,
        to=[(recipient, recipient_keys.opening.public, 1)],
        cid=direct_cid(sender_keys.signing.public.kid, recipient_keys.signing.public.kid),
    ).but(**changes)
