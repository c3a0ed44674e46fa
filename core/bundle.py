"""Key bundles: what a user's identity key (IK) signs about the encryption key (EK) to use for them.

The broker hands bundles out; clients believe one only because of its signature and of the IK it is held against.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from core.encoding import b64url, from_b64url, strict_json
from core.errors import BadBundle, BadSignature, KeyRefused
from core.limits import BUNDLE_LIFE, BUNDLE_MAX, CLOCK_SKEW_MS, COUNTER_MAX, SPKI_BYTES
from core.names import is_name
from core.rsa import Purpose, SealKey, SigningKey, VerifyKey


class Kind(StrEnum):
    """How long an identity lives: a guest's dies with the client session, a profile's is kept."""

    GUEST = "guest"
    PROFILE = "profile"


class Suite(StrEnum):
    """How a message is encrypted: ``hybrid`` (kind E) or ``chunked`` (kind C, RSA blocks only)."""

    HYBRID = "hybrid"
    CHUNKED = "chunked"


ALL_SUITES: Final = (Suite.CHUNKED, Suite.HYBRID)


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user: str
    kind: Kind
    ik: str
    ek: str
    suites: tuple[Suite, ...]
    seq: int
    nbf: int
    exp: int


_DECODER: Final = msgspec.json.Decoder(_Body)


class SignedBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle as it travels: the exact JSON bytes and the IK's signature over them (purpose ``bundle``)."""

    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose signature was verified under its own IK. Whether that IK is the right one is for the pins to say."""

    user: str
    kind: Kind
    ik: VerifyKey
    ek: SealKey
    suites: tuple[Suite, ...]
    seq: int
    nbf: int
    exp: int

    def valid_at(self, now_ms: int) -> bool:
        """Whether the bundle may be used now, give or take five minutes between clocks."""
        return self.nbf * 1000 - CLOCK_SKEW_MS <= now_ms <= self.exp * 1000 + CLOCK_SKEW_MS


def sign_bundle(user: str, kind: Kind, signing: SigningKey, ek: SealKey, *, seq: int, now: float) -> SignedBundle:
    """Make a bundle that is valid for 30 days from ``now`` (seconds since 1970)."""
    body = msgspec.json.encode(
        _Body(
            user=user,
            kind=kind,
            ik=b64url(signing.public.spki),
            ek=b64url(ek.spki),
            suites=ALL_SUITES,
            seq=seq,
            nbf=int(now),
            exp=int(now) + BUNDLE_LIFE,
        )
    )
    return SignedBundle(body, signing.sign(Purpose.BUNDLE, body))


def read_bundle(signed: SignedBundle, user: str) -> Bundle:
    """Check size, form, that it speaks of ``user``, both keys and the signature; raises BadBundle.

    Validity in time is asked separately (``Bundle.valid_at``), for it changes while the bundle is held.
    """
    if len(signed.body) > BUNDLE_MAX:
        raise BadBundle(user=user, why="it is too large")
    try:
        body = strict_json(signed.body, _DECODER)
        ik_spki = from_b64url(body.ik, SPKI_BYTES)
        ek_spki = from_b64url(body.ek, SPKI_BYTES)
    except ValueError as error:
        raise BadBundle(user=user, why="it does not parse") from error
    if body.user != user or not is_name(body.user):
        raise BadBundle(user=user, why="it speaks of another name")
    if not 1 <= body.seq <= COUNTER_MAX or not 0 <= body.nbf < body.exp <= body.nbf + BUNDLE_LIFE:
        raise BadBundle(user=user, why="its numbers are out of range")
    if not body.suites or list(body.suites) != sorted(set(body.suites)):
        raise BadBundle(user=user, why="its suites are not a sorted list")
    if ik_spki == ek_spki:
        raise BadBundle(user=user, why="one key is given two jobs")
    try:
        ik = VerifyKey(ik_spki)
        ik.verify(Purpose.BUNDLE, signed.body, signed.signature)
        ek = SealKey(ek_spki)
    except (KeyRefused, BadSignature) as error:
        raise BadBundle(user=user, why="its keys or its signature do not hold") from error
    return Bundle(body.user, body.kind, ik, ek, body.suites, body.seq, body.nbf, body.exp)
