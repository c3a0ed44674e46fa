"""A profile: a long-term identity, its encryption keys one after the other, and what goes with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Final

import msgspec

from core.bundle import Kind, SignedBundle, sign_bundle
from core.errors import BadName, KeyRefused, KeystoreDamaged
from core.identity import Identity
from core.limits import BUNDLE_LIFE, CURVE_KEY_BYTES, MID_BYTES
from core.names import check_name
from core.rsa import OpeningKey, SigningKey

ROTATE_AFTER: Final = 24 * 3600
"""Seconds after which a new encryption key is due."""
KEEP_OLD: Final = 7 * 24 * 3600
"""Seconds for which a superseded encryption key is kept at the least: mail sealed to it may still be on its way."""
_RENEW_BUNDLE: Final = BUNDLE_LIFE // 2
_VERSION: Final = 1
_DATA_KEY: Final = 32


@dataclass(frozen=True, slots=True)
class AgedKey:
    """An encryption key with when it was made and, if so, superseded; seconds since 1970."""

    key: OpeningKey = field(repr=False)
    made: int
    superseded: int | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything a profile's keystore holds.

    ``keys`` are oldest first; the last is the one in the bundle. ``seq`` is the bundle's. ``sid`` (16 bytes) is one counter
    space; a restored keystore gets a new one. ``data_key`` (32 bytes) encrypts what the profile keeps on disk.
    """

    user: str
    signing: SigningKey = field(repr=False)
    keys: tuple[AgedKey, ...]
    seq: int
    bundled: int
    curve_secret: bytes = field(repr=False)
    sid: bytes
    data_key: bytes = field(repr=False)

    @classmethod
    def create(
        cls,
        user: str,
        signing: SigningKey,
        opening: OpeningKey,
        curve_secret: bytes,
        *,
        now: float,
        random: Callable[[int], bytes],
    ) -> Profile:
        """A new profile. Raises BadName."""
        at = int(now)
        return cls(
            check_name(user), signing, (AgedKey(opening, at),), 1, at, curve_secret, random(MID_BYTES), random(_DATA_KEY)
        )

    @property
    def kid(self) -> bytes:
        """The identity key's id; 32 bytes."""
        return self.signing.public.kid

    def rotation_due(self, now: float) -> bool:
        """Whether the encryption key is a day old."""
        return now - self.keys[-1].made >= ROTATE_AFTER

    def rotated(self, opening: OpeningKey, now: float) -> Profile:
        """The profile with a new encryption key; the one before is kept for what is still on its way."""
        at = int(now)
        old = tuple(aged if aged.superseded else replace(aged, superseded=at) for aged in self.keys)
        return replace(self, keys=(*old, AgedKey(opening, at)), seq=self.seq + 1, bundled=at)

    def renewed(self, now: float) -> Profile:
        """The profile with a bundle that is valid for another 30 days, if half of that is over; else itself."""
        return replace(self, seq=self.seq + 1, bundled=int(now)) if now - self.bundled > _RENEW_BUNDLE else self

    def restored(self, opening: OpeningKey, now: float, *, random: Callable[[int], bytes]) -> Profile:
        """The profile as a backup of it goes on, which does not know how far the profile had come since.

        It counts its messages in a new space, so that no number is used for two. Its ``seq`` goes on from the time, in seconds
        since 1970, which is above all that it has had: they grow by one in a day. And it has a new encryption key, for who
        found the backup may have the old ones.
        """
        after = self.rotated(opening, now)
        return replace(after, seq=max(after.seq, int(now)), sid=random(MID_BYTES))

    def without_old_keys(self, drained_at: float) -> Profile:
        """The profile without the keys superseded at least 7 days before its mail was last seen to be all there."""
        kept = tuple(aged for aged in self.keys if not aged.superseded or drained_at - aged.superseded < KEEP_OLD)
        return replace(self, keys=kept)

    def identity(self, curve: bytes) -> Identity:
        """The keys as a session takes them; ``curve`` is the public half of ``curve_secret``.

        The bundle depends on nothing but the profile, so all its processes agree on it.
        """
        return Identity(
            user=self.user,
            kind=Kind.PROFILE,
            signing=self.signing,
            openings=tuple(aged.key for aged in reversed(self.keys)),
            bundle=self.bundle(),
            sid=self.sid,
            curve=curve,
            rotate_at=self.keys[-1].made + ROTATE_AFTER,
        )

    def bundle(self) -> SignedBundle:
        """The current bundle, signed."""
        return sign_bundle(self.user, Kind.PROFILE, self.signing, self.keys[-1].key.public, seq=self.seq, now=self.bundled)

    def encode(self) -> bytes:
        """The keystore's content, secrets and all."""
        return msgspec.msgpack.encode(
            _Stored(
                v=_VERSION,
                user=self.user,
                ik=self.signing.to_der(),
                eks=tuple((aged.key.to_der(), aged.made, aged.superseded) for aged in self.keys),
                seq=self.seq,
                bundled=self.bundled,
                curve=self.curve_secret,
                sid=self.sid,
                data_key=self.data_key,
            )
        )

    @classmethod
    def decode(cls, raw: bytes, *, foreign: bool = False) -> Profile:
        """Read a keystore's content; raises KeystoreDamaged.

        The keys of one that came from elsewhere, which is ``foreign``, are tested first. What this program has written is
        authentic, for the vault has opened it, and a profile in daily use has nine keys.
        """
        try:
            stored = msgspec.msgpack.decode(raw, type=_Stored)
            if stored.v != _VERSION or not stored.eks:
                raise KeystoreDamaged
            return cls(
                user=check_name(stored.user),
                signing=SigningKey.from_der(stored.ik, tested=not foreign),
                keys=tuple(
                    AgedKey(OpeningKey.from_der(der, tested=not foreign), made, superseded)
                    for der, made, superseded in stored.eks
                ),
                seq=stored.seq,
                bundled=stored.bundled,
                curve_secret=stored.curve,
                sid=stored.sid,
                data_key=stored.data_key,
            )
        except (msgspec.MsgspecError, UnicodeError, RecursionError, KeyRefused, BadName):
            raise KeystoreDamaged from None  # a cause could quote a key


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    user: str
    ik: bytes
    eks: tuple[tuple[bytes, int, int | None], ...]
    seq: int
    bundled: int
    curve: Annotated[bytes, msgspec.Meta(min_length=CURVE_KEY_BYTES, max_length=CURVE_KEY_BYTES)]
    sid: Annotated[bytes, msgspec.Meta(min_length=MID_BYTES, max_length=MID_BYTES)]
    data_key: Annotated[bytes, msgspec.Meta(min_length=_DATA_KEY, max_length=_DATA_KEY)]
