"""Opening an envelope: every check, in the one order in which that is safe."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core import chunking
from core.bundle import Kind, Suite
from core.content import Content, decode_content, unpad
from core.encoding import b64url, from_b64url, strict_json, unpack
from core.envelope import (
    KINDS,
    SECRET_BYTES,
    Header,
    MessageKind,
    block_labels,
    delivery_proof,
    direct_cid,
    everyone_cid,
    key_commitment,
    signed_bytes,
)
from core.errors import BadSignature, InvalidEnvelope, KeyRefused, NotPinned, Replayed
from core.limits import (
    CLOCK_SKEW_MS,
    COUNTER_MAX,
    FRAME_MAX,
    GCM_IV,
    GCM_TAG,
    HASH_BYTES,
    HEADER_MAX,
    MESSAGE_AGE_MAX_MS,
    MID_BYTES,
    PAD_SMALLEST,
    RECIPIENTS_MAX,
    RSA_BYTES,
    SPKI_BYTES,
)
from core.names import is_name
from core.rsa import OpeningKey, VerifyKey, known_verify_key

_HEADER: Final = msgspec.json.Decoder(Header)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An envelope as it arrived, with what the broker says about it."""

    mid: bytes
    sender: str
    common: bytes
    wrap: bytes | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A message that passed every check."""

    mid: bytes
    sid: bytes
    n: int
    sender: str
    kind: Kind
    sender_key: VerifyKey
    to: tuple[str, ...]
    everyone: bool
    ts: int
    suite: Suite
    content: Content
    proof: bytes


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whoever opens: their name and keys, and what they know that an envelope must agree with.

    ``keys`` maps EK kids (base64url) to keys. ``may_receive`` says whether a name's pin admits an IK kid. ``seen`` gives
    the delivery proof of an (IK kid, mid) that was taken before, else None.
    """

    user: str
    kid: bytes
    keys: dict[str, OpeningKey]
    broker_key: bytes
    may_receive: Callable[[str, bytes], bool]
    seen: Callable[[bytes, bytes], bytes | None]


@dataclass(slots=True)
class _Opening:
    """What the checks have established so far; each stage relies on those before it."""

    me: Recipient
    delivery: Delivery
    now_ms: int
    raw_header: bytes = b""
    digests: bytes = b""
    iv: bytes = b""
    body: bytes = b""
    signature: bytes = b""
    wrap: bytes = b""
    ik_spki: bytes = b""
    header: Header = field(init=False)
    kind: MessageKind = field(init=False)
    sender_key: VerifyKey = field(init=False)
    place: int = 0
    everyone: bool = False
    mid: bytes = b""
    sid: bytes = b""
    cid: bytes = b""
    commitment: bytes = b""
    secret: bytes = b""
    padded: bytes = b""
    plain: bytes = b""
    content: Content = field(init=False)


def _limits(o: _Opening) -> None:
    if len(o.delivery.common) > FRAME_MAX:
        raise ValueError


def _parse(o: _Opening) -> None:
    o.raw_header, o.digests, o.iv, o.body, o.signature, o.ik_spki, inner = unpack(o.delivery.common, 7)
    if (o.delivery.wrap is None) is (inner == b""):
        raise ValueError
    o.wrap = inner if o.delivery.wrap is None else o.delivery.wrap
    if len(o.raw_header) > HEADER_MAX:
        raise ValueError
    o.header = h = strict_json(o.raw_header, _HEADER)
    o.mid, o.sid = from_b64url(h.mid, MID_BYTES), from_b64url(h.sid, MID_BYTES)
    o.commitment = from_b64url(h.kc, HASH_BYTES)
    o.cid = from_b64url(h.cid, HASH_BYTES)
    for text in (h.ik, *(kid for _, kid, _ in h.to)):
        from_b64url(text, HASH_BYTES)
    names = [name for name, _, _ in h.to]
    if not 1 <= len(names) <= RECIPIENTS_MAX or names != sorted(set(names)) or not all(map(is_name, names)):
        raise ValueError
    if not is_name(h.sender) or h.ts < 0 or not all(1 <= n <= COUNTER_MAX for _, _, n in h.to):
        raise ValueError
    if len(o.digests) != HASH_BYTES * len(names) or len(o.signature) != RSA_BYTES or len(o.ik_spki) != SPKI_BYTES:
        raise ValueError


def _allow_list(o: _Opening) -> None:
    o.kind = KINDS[o.header.alg, o.header.enc, o.header.typ]
    if o.kind.suite is Suite.HYBRID:
        body_min = PAD_SMALLEST + GCM_TAG
        fits = len(o.iv) == GCM_IV and len(o.body) >= body_min and len(o.wrap) == RSA_BYTES
    else:
        fits = not o.iv and not o.body
        chunking.split_sealed(o.wrap)
    if not fits:
        raise ValueError


def _sender(o: _Opening) -> None:
    o.sender_key = known_verify_key(o.ik_spki)
    if b64url(o.sender_key.kid) != o.header.ik:
        raise ValueError


def _recipient(o: _Opening) -> None:
    places = [at for at, (user, _, _) in enumerate(o.header.to) if user == o.me.user]
    (o.place,) = places
    if o.header.to[o.place][1] not in o.me.keys:
        raise ValueError
    mine = o.digests[o.place * HASH_BYTES :][:HASH_BYTES]
    if not hmac.compare_digest(hashlib.sha256(o.wrap).digest(), mine):
        raise ValueError
    o.everyone = hmac.compare_digest(o.cid, everyone_cid(o.me.broker_key))
    direct = hmac.compare_digest(o.cid, direct_cid(o.sender_key.kid, o.me.kid)) and len(o.header.to) == 1
    if not (o.everyone or direct):
        raise ValueError


def _signature(o: _Opening) -> None:
    signed = signed_bytes(o.kind, o.raw_header, o.digests, o.iv, o.body)
    o.sender_key.verify(o.kind.purpose, signed, o.signature)


def _route(o: _Opening) -> None:
    if o.mid != o.delivery.mid or o.header.sender != o.delivery.sender:
        raise ValueError


def _freshness(o: _Opening) -> None:
    if not o.now_ms - MESSAGE_AGE_MAX_MS <= o.header.ts <= o.now_ms + CLOCK_SKEW_MS:
        raise ValueError


def _replay(o: _Opening) -> None:
    proof = o.me.seen(o.sender_key.kid, o.mid)
    if proof is not None:
        raise Replayed(proof)


def _pin(o: _Opening) -> None:
    if not o.me.may_receive(o.header.sender, o.sender_key.kid):
        raise NotPinned(o.sender_key.kid)


def _decrypt(o: _Opening) -> None:
    key = o.me.keys[o.header.to[o.place][1]]
    if o.kind.suite is Suite.HYBRID:
        o.secret = key.open(o.wrap)
    else:
        blocks = chunking.split_sealed(o.wrap)
        labels = block_labels(o.raw_header, len(blocks))
        plain = chunking.join(key.open(block, label) for block, label in zip(blocks, labels, strict=True))
        o.secret, o.padded = plain[:SECRET_BYTES], plain[SECRET_BYTES:]
    if len(o.secret) != SECRET_BYTES:
        raise ValueError


def _commit(o: _Opening) -> None:
    if not hmac.compare_digest(key_commitment(o.kind, o.secret, o.padded), o.commitment):
        raise ValueError


def _aead(o: _Opening) -> None:
    if o.kind.suite is Suite.HYBRID:
        o.padded = AESGCM(o.secret).decrypt(o.iv, o.body, b64url(o.raw_header).encode("ascii"))


def _unpad(o: _Opening) -> None:
    o.plain = unpad(o.padded)
    if len(o.plain) > o.kind.content_max:
        raise ValueError


def _content(o: _Opening) -> None:
    o.content = decode_content(o.plain)


# Cheap before dear, and the signature before any private operation: a forger can make nobody decrypt anything. The pin comes
# behind what proves who signed, and that the broker says the same: a key that it does not admit is noted.
RECEIVE_ORDER: Final[tuple[tuple[str, Callable[[_Opening], None]], ...]] = (
    ("limits", _limits),
    ("parse", _parse),
    ("allow-list", _allow_list),
    ("sender", _sender),
    ("recipient", _recipient),
    ("signature", _signature),
    ("route", _route),
    ("freshness", _freshness),
    ("replay", _replay),
    ("pin", _pin),
    ("decrypt", _decrypt),
    ("commitment", _commit),
    ("aead", _aead),
    ("unpad", _unpad),
    ("content", _content),
)


def open_envelope(delivery: Delivery, me: Recipient, now_ms: int) -> Opened:
    """Run every check of RECEIVE_ORDER, then return the message.

    Raises InvalidEnvelope: Replayed for a known one, NotPinned for one by a key that may not sign in its sender's name.

    Nothing outside is changed: the caller commits what was seen after this returned.
    """
    o = _Opening(me, delivery, now_ms)
    for stage, check in RECEIVE_ORDER:
        try:
            check(o)
        except InvalidEnvelope:
            raise
        except (ValueError, KeyError, BadSignature, KeyRefused, InvalidTag):
            # One error for every cause, and no chained one: a cause could carry what must not be shown.
            raise InvalidEnvelope(stage) from None
    return Opened(
        mid=o.mid,
        sid=o.sid,
        n=o.header.to[o.place][2],
        sender=o.header.sender,
        kind=o.header.kind,
        sender_key=o.sender_key,
        to=tuple(user for user, _, _ in o.header.to),
        everyone=o.everyone,
        ts=o.header.ts,
        suite=o.kind.suite,
        content=o.content,
        proof=delivery_proof(o.secret, o.mid, o.me.kid),
    )
