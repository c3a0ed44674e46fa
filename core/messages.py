"""What client and broker say to each other, as frozen values. ``core.frames`` turns them into bytes and back."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from core.bundle import Kind, SignedBundle
from core.limits import (
    HASH_BYTES,
    LOOKUP_MAX,
    MID_BYTES,
    NAME_MAX,
    NONCE_BYTES,
    ROSTER_CHUNK,
    RSA_BYTES,
    SPKI_BYTES,
)

_Name = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]
_Nonce = Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
_Hash = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
_Spki = Annotated[bytes, Meta(min_length=SPKI_BYTES, max_length=SPKI_BYTES)]
_Signature = Annotated[bytes, Meta(min_length=RSA_BYTES, max_length=RSA_BYTES)]
_Mid = Annotated[bytes, Meta(min_length=MID_BYTES, max_length=MID_BYTES)]


class Mode(StrEnum):
    """What a connection is for: ``full`` is present and receives; ``send`` only sends, unseen, and asks what it needs."""

    FULL = "full"
    SEND = "send"


class Status(IntEnum):
    """What became of one recipient's copy of a message."""

    STORED = 1  # committed to the broker's disk
    TAKEN = 2  # taken over by the recipient's client
    DELIVERED = 3  # opened there, with a proof
    ABSENT = 16  # no such user is connected
    FULL = 17  # the recipient reads too slowly
    GONE = 18  # the recipient left before acknowledging it


class Reason(StrEnum):
    """Why the broker says no, in an ERROR."""

    VERSION = "version"
    NAME_TAKEN = "name-taken"
    LOGIN_FAILED = "login-failed"
    NOT_LOGGED_IN = "not-logged-in"
    MALFORMED = "malformed"
    BUSY = "busy"


class Hello(Struct, frozen=True, forbid_unknown_fields=True):
    """A client introduces itself. ``bundle`` is None only where nobody is to write to it (mode ``send``)."""

    versions: Annotated[tuple[int, ...], Meta(min_length=1, max_length=16)]
    mode: Mode
    user: _Name
    kind: Kind
    ik: _Spki
    bundle: SignedBundle | None
    nonce: _Nonce


class Challenge(Struct, frozen=True, forbid_unknown_fields=True):
    """The broker's fresh nonce."""

    nonce: _Nonce


class Prove(Struct, frozen=True, forbid_unknown_fields=True):
    """The login's signature."""

    signature: _Signature


class Entry(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One present user in a roster: name, kind and identity key id (32 bytes)."""

    user: _Name
    kind: Kind
    kid: _Hash


class Welcome(Struct, frozen=True, forbid_unknown_fields=True):
    """The login succeeded. The roster follows in ROSTER frames where the mode is ``full``."""

    version: int
    connection: Annotated[str, Meta(max_length=64)]


class Roster(Struct, frozen=True, forbid_unknown_fields=True):
    """Who joined and who left since the last one. ``full`` starts over; ``more`` announces another part of the same."""

    full: bool
    more: bool
    joined: Annotated[tuple[Entry, ...], Meta(max_length=ROSTER_CHUNK)]
    left: Annotated[tuple[_Name, ...], Meta(max_length=ROSTER_CHUNK)]


class Users(Struct, frozen=True, forbid_unknown_fields=True):
    """Ask for the whole roster once."""


class Lookup(Struct, frozen=True, forbid_unknown_fields=True):
    """Ask for bundles by name."""

    users: Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=LOOKUP_MAX)]


class Found(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One answer of a LOOKUP; ``bundle`` is None for a user who cannot be written to now."""

    user: _Name
    bundle: SignedBundle | None


class Bundles(Struct, frozen=True, forbid_unknown_fields=True):
    """The answers to a LOOKUP, in its order."""

    found: Annotated[tuple[Found, ...], Meta(min_length=1, max_length=LOOKUP_MAX)]


class Ping(Struct, frozen=True, forbid_unknown_fields=True):
    """Still here? Any traffic counts as an answer; PONG is one."""


class Pong(Struct, frozen=True, forbid_unknown_fields=True):
    """Still here."""


class Bye(Struct, frozen=True, forbid_unknown_fields=True):
    """This side is closing the connection."""


class Error(Struct, frozen=True, forbid_unknown_fields=True):
    """The broker says no. ``mid`` names the message it is about, if it is about one."""

    reason: Reason
    mid: _Mid | None = None


Control = (
    Hello | Challenge | Prove | Welcome | Roster | Users | Lookup | Bundles | Ping | Pong | Bye | Error
)  # fmt: skip


class Ack(Struct, frozen=True):
    """Copies that the client has safe: (the broker's copy id, delivery proof or zeros), 8 and 32 bytes each."""

    copies: tuple[tuple[bytes, bytes], ...]


class Result(Struct, frozen=True):
    """What became of one recipient's copy. ``place`` counts recipients from 0 in the order sent."""

    mid: bytes
    place: int
    status: Status
    proof: bytes | None = None


class Results(Struct, frozen=True):
    """Results, batched."""

    results: tuple[Result, ...]


class Send(Struct, frozen=True):
    """A message for one recipient; ``common`` holds its wrap."""

    mid: bytes
    to: str
    common: bytes


class Fanout(Struct, frozen=True):
    """One upload for many recipients: ``wraps`` in the order of ``to``."""

    mid: bytes
    to: tuple[str, ...]
    common: bytes
    wraps: tuple[bytes, ...]


class Deliver(Struct, frozen=True):
    """One copy on its way to a recipient; ``copy_id`` (8 bytes) is the broker's, ``sender`` its authenticated view."""

    copy_id: bytes
    mid: bytes
    sender: str
    common: bytes
    wrap: bytes | None


FromClient = Hello | Prove | Users | Lookup | Ping | Pong | Bye | Ack | Send | Fanout
FromBroker = Challenge | Welcome | Roster | Bundles | Ping | Pong | Bye | Error | Results | Deliver
