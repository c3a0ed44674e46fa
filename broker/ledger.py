"""Who owns which name, and who is invited: what the log of events amounts to. Nothing is ever taken out of the log."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Final

import msgspec

from core.bundle import SignedBundle
from core.encoding import b64url
from core.errors import SecureChatError


class LogDamaged(SecureChatError):
    """The broker's log of names is damaged; restore it from a backup."""


class Claimed(msgspec.Struct, frozen=True, tag_field="event", tag="claimed"):
    """A profile took a name: with which identity key, which CURVE key it will connect by, and by which invite, if any."""

    user: str
    kid: str
    curve: str
    invite: str | None
    at: int


class Admitted(msgspec.Struct, frozen=True, tag_field="event", tag="admitted"):
    """A guest came in by an invite."""

    user: str
    kid: str
    invite: str
    at: int


class Bundled(msgspec.Struct, frozen=True, tag_field="event", tag="bundled"):
    """A profile's bundle replaced the one before."""

    user: str
    kid: str
    seq: int
    body: bytes
    signature: bytes
    at: int


class Released(msgspec.Struct, frozen=True, tag_field="event", tag="released"):
    """An administrator took a name from its key: whoever comes next may claim it."""

    user: str
    at: int


class Invited(msgspec.Struct, frozen=True, tag_field="event", tag="invited"):
    """An invite was made: its CURVE public key, how many may come in by it, and until when (seconds since 1970)."""

    invite: str
    uses: int
    expires: int
    at: int


class Revoked(msgspec.Struct, frozen=True, tag_field="event", tag="revoked"):
    """An invite lets nobody new in."""

    invite: str
    at: int


LogEvent = Claimed | Admitted | Bundled | Released | Invited | Revoked
_DECODER: Final[msgspec.json.Decoder[LogEvent]] = msgspec.json.Decoder(LogEvent)


def encode_event(event: LogEvent) -> bytes:
    """An event as canonical JSON: its members in their order, without white space."""
    return msgspec.json.encode(event)


def decode_event(raw: bytes) -> LogEvent:
    """Read an event; raises LogDamaged."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise LogDamaged from error


@dataclass(slots=True)
class Invite:
    """An invite as it stands.

    ``guests`` are the (name, kid) that came in by it and may come back. ``profiles`` are the names that were claimed by it and
    are held: they come back by keys of their own, unless they never heard that they were let in.
    """

    uses: int
    expires: int
    used: int = 0
    revoked: bool = False
    guests: set[tuple[str, str]] = field(default_factory=set)
    profiles: set[str] = field(default_factory=set)

    def open_at(self, now: float) -> bool:
        """Whether it lets somebody new in."""
        return not self.revoked and self.used < self.uses and now < self.expires


class Ledger:
    """The state that the log's events, applied in their order, lead to."""

    def __init__(self) -> None:
        self._owners: dict[str, Claimed] = {}
        self._curves: dict[str, set[str]] = {}
        self._invites: dict[str, Invite] = {}
        self._bundles: dict[str, Bundled] = {}

    def apply(self, event: LogEvent) -> None:
        """Take the next event. One that speaks of an invite or a name that is not known changes nothing."""
        match event:
            case Claimed(user, _, curve, invite):
                if user not in self._owners:
                    self._owners[user] = event
                    self._curves.setdefault(curve, set()).add(user)
                    if invite in self._invites:
                        self._invites[invite].used += 1
                        self._invites[invite].profiles.add(user)
            case Admitted(user, kid, invite):
                known = self._invites.get(invite)
                if known and (user, kid) not in known.guests:
                    known.guests.add((user, kid))
                    known.used += 1
            case Released(user):
                owner = self._owners.pop(user, None)
                if owner:
                    self._curves[owner.curve].discard(user)
                    self._bundles.pop(user, None)
                    if owner.invite in self._invites:
                        self._invites[owner.invite].profiles.discard(user)
            case Invited(invite, uses, expires):
                self._invites.setdefault(invite, Invite(uses, expires))
            case Revoked(invite):
                if invite in self._invites:
                    self._invites[invite].revoked = True
            case Bundled(user, kid, seq):
                owner = self._owners.get(user)
                # Another's was on its way while the name changed hands.
                if owner and owner.kid == kid and seq > self.newest_bundle(user):
                    self._bundles[user] = event

    def owner(self, user: str) -> Claimed | None:
        """The claim by which a profile holds this name."""
        return self._owners.get(user)

    def newest_bundle(self, user: str) -> int:
        """The ``seq`` of the newest bundle in the log for this name; 0 for none."""
        known = self._bundles.get(user)
        return known.seq if known else 0

    def bundle(self, user: str) -> SignedBundle | None:
        """The newest bundle in the log for this name."""
        known = self._bundles.get(user)
        return SignedBundle(known.body, known.signature) if known else None

    def owners(self) -> Iterator[Claimed]:
        """All names that are held, in alphabetical order."""
        return (self._owners[user] for user in sorted(self._owners))

    def invites(self) -> Iterator[tuple[str, Invite]]:
        """All invites, the oldest first."""
        return iter(self._invites.items())

    def knows(self, curve_key: bytes, now: float) -> bool:
        """Whether a connection with this CURVE key may be let in: a profile's, or an invite's that somebody may use."""
        key = b64url(curve_key)
        if self._curves.get(key):
            return True
        invite = self._invites.get(key)
        return invite is not None and (invite.open_at(now) or bool(invite.guests or invite.profiles))

    def names_of(self, curve_key: bytes) -> Set[str]:
        """The names of the profiles that connect by this CURVE key."""
        return self._curves.get(b64url(curve_key), frozenset())

    def invite(self, curve_key: bytes) -> tuple[str, Invite] | None:
        """The invite with this CURVE key."""
        key = b64url(curve_key)
        found = self._invites.get(key)
        return (key, found) if found else None
