"""What client and broker say to each other, as frozen values. ``core.frames`` turns them into bytes and back."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from core.bundle import Kind, SignedBundle
from core.limits import (
    BLOB_ID_BYTES,
    BLOB_MAX,
    HASH_BYTES,
    KEPT_MAX,
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
_Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Mid = Annotated[bytes, Meta(min_length=MID_BYTES, max_length=MID_BYTES)]
_Blob = Annotated[bytes, Meta(min_length=BLOB_ID_BYTES, max_length=BLOB_ID_BYTES)]
_Offset = Annotated[int, Meta(ge=0, le=BLOB_MAX)]
_Size = Annotated[int, Meta(ge=1, le=BLOB_MAX)]


class Mode(StrEnum):
    """What a connection is for: ``full`` is present and receives; ``send`` only sends, unseen, and asks what it needs."""

    FULL = "full"
    SEND = "send"


class Status(IntEnum):
    """What became of one recipient's copy of a message."""

    STORED = 1  # committed to the broker's disk
    DELIVERED = 2  # opened by the recipient's client, with a proof
    ABSENT = 16  # no such user is connected
    FULL = 17  # the recipient reads too slowly, or its mailbox has no room
    GONE = 18  # the recipient left before acknowledging it
    REFUSED = 19  # the recipient's client could not open it
    EXPIRED = 20  # stored, but not fetched in the time that the broker keeps mail
    RATE = 21  # the sender sends more than the broker lets it
    UNSTORED = 22  # the broker's disk did not take it


class Reason(StrEnum):
    """Why the broker says no, in an ERROR."""

    VERSION = "version"
    NAME_TAKEN = "name-taken"
    NOT_INVITED = "not-invited"
    LOGIN_FAILED = "login-failed"
    NOT_LOGGED_IN = "not-logged-in"
    MALFORMED = "malformed"
    BUSY = "busy"


class Lack(StrEnum):
    """Why a blob can be neither stored nor fetched."""

    UNKNOWN = "unknown"  # there is none of this id, or no longer, or it is not whole, or another user's
    QUOTA = "quota"  # the user who offers it has no room for it, or the broker has none
    DISK = "disk"  # the broker's disk failed


class Hello(Struct, frozen=True, forbid_unknown_fields=True):
    """A client introduces itself.

    ``bundle`` is None only where nobody is to write to it (mode ``send``). ``curve`` is the CURVE public key by which a
    profile's later connections are known; None for a guest.
    """

    versions: Annotated[tuple[int, ...], Meta(min_length=1, max_length=16)]
    mode: Mode
    user: _Name
    kind: Kind
    ik: _Spki
    bundle: SignedBundle | None
    curve: _Nonce | None
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
    """The login succeeded. The roster follows in ROSTER frames where the mode is ``full``.

    ``waiting`` counts the copies in the user's mailbox, which follow too, until CAUGHT-UP.
    """

    version: int
    connection: Annotated[str, Meta(max_length=64)]
    waiting: _Number


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


class Renew(Struct, frozen=True, forbid_unknown_fields=True):
    """A newer bundle of the user who is logged in."""

    bundle: SignedBundle


class CaughtUp(Struct, frozen=True, forbid_unknown_fields=True):
    """Whatever waited in the mailbox at the login has been delivered to this connection."""


class Told(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What became of a copy after its RESULT said that it was stored."""

    mid: _Mid
    user: _Name
    status: Status
    proof: _Hash | None


class Kept(Struct, frozen=True, forbid_unknown_fields=True):
    """News of copies that were stored. The broker keeps them for a profile until NOTED names ``upto`` or more."""

    upto: _Number
    told: Annotated[tuple[Told, ...], Meta(min_length=1, max_length=KEPT_MAX)]


class Noted(Struct, frozen=True, forbid_unknown_fields=True):
    """The client has the news up to this number safe."""

    upto: _Number


class Offer(Struct, frozen=True, forbid_unknown_fields=True):
    """A blob of ``size`` bytes, for the broker to keep: a new one, or one whose upload was broken off. EXTENT answers."""

    blob: _Blob
    size: _Size


class Extent(Struct, frozen=True, forbid_unknown_fields=True):
    """The first ``upto`` bytes of a blob are on the broker's disk; bytes before ``credit`` may be sent."""

    blob: _Blob
    upto: _Offset
    credit: _Offset


class Fetch(Struct, frozen=True, forbid_unknown_fields=True):
    """Ask for the bytes of a blob from ``offset`` to before ``upto``, at most 1 MiB; they come as PIECEs, in order."""

    blob: _Blob
    offset: _Offset
    upto: _Size


class Discard(Struct, frozen=True, forbid_unknown_fields=True):
    """The broker need not keep this blob, of the same user, any longer."""

    blob: _Blob


class NoBlob(Struct, frozen=True, forbid_unknown_fields=True):
    """A blob can be neither stored nor fetched."""

    blob: _Blob
    why: Lack


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
    Hello
    | Challenge
    | Prove
    | Welcome
    | Roster
    | Users
    | Lookup
    | Bundles
    | Renew
    | CaughtUp
    | Kept
    | Noted
    | Offer
    | Extent
    | Fetch
    | Discard
    | NoBlob
    | Ping
    | Pong
    | Bye
    | Error
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


class Piece(Struct, frozen=True):
    """At most 64 KiB of a blob, from ``offset`` on: of an upload, or of what was fetched."""

    blob: bytes
    offset: int
    data: bytes


FromClient = (
    Hello | Prove | Users | Lookup | Renew | Noted | Offer | Fetch | Discard | Ping | Pong | Bye | Ack | Send | Fanout | Piece
)
FromBroker = (
    Challenge
    | Welcome
    | Roster
    | Bundles
    | CaughtUp
    | Kept
    | Extent
    | NoBlob
    | Ping
    | Pong
    | Bye
    | Error
    | Results
    | Deliver
    | Piece
)  # fmt: skip
