"""What happened, as frozen values: everything a session tells whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.bundle import Suite
from core.content import Content, Sendable
from core.errors import LoginRefused
from core.messages import Entry, Extent, NoBlob, Piece
from core.order import Place


class Outcome(StrEnum):
    """What became of one recipient's copy of a message, in the words shown to people and scripts."""

    QUEUED = "queued"  # not yet sent
    SENT = "sent"  # given to the broker, no answer yet
    STORED = "stored"  # committed to the broker's disk
    DELIVERED = "delivered"  # the recipient's client proved that it opened it
    ABSENT = "absent"  # not connected
    GONE = "gone"  # left before taking it
    FULL = "full"  # reads too slowly, or their mailbox has no room; refused
    RATE = "rate"  # the broker takes no more from this user for now; it is sent again by itself
    UNSTORED = "unstored"  # the broker's disk did not take it
    EXPIRED = "expired"  # stored, but not fetched in the time that the broker keeps mail
    REFUSED = "refused"  # arrived, but could not be opened there
    UNPROVEN = "unproven"  # the broker says that the recipient has it, and gave no proof that holds
    UNTRUSTED = "untrusted"  # the key offered for them was not believed
    CHANGED = "changed"  # their key is another one than the pinned
    BLOCKED = "blocked"  # this profile has blocked them
    DROPPED = "dropped"  # taken out of the outbox by a person

    @property
    def final(self) -> bool:
        """Whether nothing better or worse will follow."""
        return self not in (Outcome.QUEUED, Outcome.SENT, Outcome.RATE, Outcome.STORED)

    @property
    def safe(self) -> bool:
        """Whether the copy is on the broker's disk, by its word, or with the recipient, by proof."""
        return self in (Outcome.STORED, Outcome.DELIVERED)

    @property
    def failed(self) -> bool:
        """Whether the recipient will not get this copy. If "delivered, but unproven" was a lie, a gap must tell them."""
        return self.final and not self.safe and self is not Outcome.UNPROVEN


def overtakes(news: Outcome, known: Outcome) -> bool:
    """Whether this is news: what is final stays, and what is stored is no longer on its way."""
    return not known.final and (known is not Outcome.STORED or news.final)


class Trust(StrEnum):
    """How a peer's identity key stands with this client."""

    NEW = "new"  # seen for the first time, and pinned
    PINNED = "pinned"  # the same as ever since
    VERIFIED = "verified"  # pinned, and compared by a person
    RENEWED = "renewed"  # another one than before under a guest's name, whose keys last for one session
    CHANGED = "changed"  # another one than the pinned; a person has to decide
    BLOCKED = "blocked"  # nothing is sent to this name or taken from it


@dataclass(frozen=True, slots=True)
class Message:
    """A message that passed every check.

    ``id`` has 16 bytes, ``kid`` 32; ``ts`` is the sender's clock in milliseconds since 1970. ``to`` names all recipients.
    ``place`` says whether any before it are missing, and whether it is itself late, or one of two under one number.
    """

    id: bytes
    sender: str
    kid: bytes
    to: tuple[str, ...]
    everyone: bool
    ts: int
    suite: Suite
    trust: Trust
    content: Content
    place: Place


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The login succeeded; messages can be sent. ``waiting`` messages in the mailbox are about to come."""

    waiting: int = 0


@dataclass(frozen=True, slots=True)
class MailboxDrained:
    """Whatever waited in the mailbox at the login has come."""


@dataclass(frozen=True, slots=True)
class MessageSent:
    """A message of one's own was taken for sending; ``at`` is in milliseconds since 1970, ``id`` has 16 bytes."""

    id: bytes
    to: tuple[str, ...]
    everyone: bool
    suite: Suite
    content: Sendable
    at: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker refused the login, for good."""

    error: LoginRefused


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is over; ``why`` says so in a person's words."""

    why: str


@dataclass(frozen=True, slots=True)
class RosterChanged:
    """Who came and who left. ``initial`` marks the roster as it was found at the login."""

    joined: tuple[Entry, ...]
    left: tuple[Entry, ...]
    initial: bool


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message for this user."""

    message: Message


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """Something arrived that failed a check; ``sender`` is only the broker's word."""

    sender: str
    mid: bytes
    stage: str


@dataclass(frozen=True, slots=True)
class PeerKeyChanged:
    """A name is now held by another identity key. Unless ``accepted``, nothing is sent to it or taken from it."""

    user: str
    old_kid: bytes
    new_kid: bytes
    accepted: bool


@dataclass(frozen=True, slots=True)
class RotationDue:
    """The profile's encryption key is a day old: make a new one, and let the session ``adopt`` it. Due hourly until then."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """News of one recipient's copy of the submission ``id`` (16 bytes)."""

    id: bytes
    user: str
    outcome: Outcome


Event = (
    Welcomed
    | MailboxDrained
    | MessageSent
    | Refused
    | Disconnected
    | RosterChanged
    | MessageReceived
    | MessageRefused
    | PeerKeyChanged
    | RotationDue
    | Receipt
    | Extent
    | NoBlob
    | Piece
)  # fmt: skip
