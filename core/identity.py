"""Who this client is: its keys, its name, and the counters that go with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.bundle import Kind, SignedBundle, sign_bundle
from core.limits import BUNDLE_LIFE
from core.names import check_name
from core.rsa import OpeningKey, SigningKey


@dataclass(frozen=True, slots=True)
class Identity:
    """One user's keys as one client session holds them.

    ``openings`` are the encryption keys, the current one first; there are none, and no ``bundle``, for an identity that only
    sends: nobody can write to it. ``sid`` (16 random bytes) names the space in which this identity counts its messages.
    ``curve`` is a profile's CURVE public key, ``rotate_at`` when its encryption key is due for a new one, and
    ``renew_at`` when a guest's bundle is due to be signed again (seconds since 1970).
    """

    user: str
    kind: Kind
    signing: SigningKey
    openings: tuple[OpeningKey, ...]
    bundle: SignedBundle | None
    sid: bytes
    curve: bytes | None = None
    renew_at: float | None = None
    rotate_at: float | None = None

    def renewed(self, now: float) -> Identity:
        """A guest's identity with a bundle that is valid for another 30 days; it lives as long as its session does."""
        if not self.openings:
            return self
        seq = int(now)  # grows with time, and needs no memory
        bundle = sign_bundle(self.user, self.kind, self.signing, self.openings[0].public, seq=seq, now=now)
        return replace(self, bundle=bundle, renew_at=now + BUNDLE_LIFE / 2)

    @property
    def kid(self) -> bytes:
        """The identity key's id; 32 bytes."""
        return self.signing.public.kid


def guest_identity(user: str, signing: SigningKey, opening: OpeningKey | None, *, sid: bytes, now: float) -> Identity:
    """An identity that lives in memory for one client session. Raises BadName."""
    check_name(user)
    return Identity(user, Kind.GUEST, signing, (opening,) if opening else (), None, sid).renewed(now)
