"""Who this client is: its keys, its name, and the counters that go with them."""

from __future__ import annotations

from dataclasses import dataclass

from core.bundle import Kind, SignedBundle, sign_bundle
from core.names import check_name
from core.rsa import OpeningKey, SigningKey


@dataclass(frozen=True, slots=True)
class Identity:
    """One user's keys as one client session holds them.

    ``openings`` are the encryption keys, the current one first; there are none, and no ``bundle``, for an identity that only
    sends: nobody can write to it. ``sid`` (16 random bytes) names the space in which this identity counts its messages.
    ``curve`` is a profile's CURVE public key, ``rotate_at`` when its encryption key is due for a new one (since 1970).
    """

    user: str
    kind: Kind
    signing: SigningKey
    openings: tuple[OpeningKey, ...]
    bundle: SignedBundle | None
    sid: bytes
    curve: bytes | None = None
    rotate_at: float | None = None

    @property
    def kid(self) -> bytes:
        """The identity key's id; 32 bytes."""
        return self.signing.public.kid


def guest_identity(user: str, signing: SigningKey, opening: OpeningKey | None, *, sid: bytes, now: float) -> Identity:
    """An identity that lives in memory for one client session. Raises BadName."""
    check_name(user)
    bundle = None
    if opening is not None:
        bundle = sign_bundle(user, Kind.GUEST, signing, opening.public, seq=1, now=now)
    return Identity(user, Kind.GUEST, signing, (opening,) if opening else (), bundle, sid)
