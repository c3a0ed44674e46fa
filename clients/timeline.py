"""What a person sees of a conversation: messages, what became of them, and what happened around them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from clients.view import key_news, order_notes, text_of, why_refused
from core.bundle import Suite
from core.content import Content, File, Text
from core.events import (
    Event,
    Message,
    MessageReceived,
    MessageRefused,
    MessageSent,
    Outcome,
    PeerKeyChanged,
    Receipt,
    RosterChanged,
    Trust,
    overtakes,
)
from core.names import EVERYONE

_JOINED, _LEFT = " joined", " left"
# Checks that the same text passes when it is sent anew. By others it is refused again, or its sender is in doubt.
_AGAIN: Final = ("recipient", "decrypt", "commitment", "aead", "unpad", "content")
LINES_MAX: Final = 2000  # kept in each conversation
CONVERSATIONS_MAX: Final = 1000


class LineKind(StrEnum):
    """What a line of a conversation is."""

    MESSAGE = "message"
    SYSTEM = "system"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a conversation; ``about`` is what only few want to know of it.

    ``key`` is unique and stays; ``when`` is in seconds since 1970 (for a message, the sender's clock). ``kid`` (32 bytes) is
    the key that a message which came was signed with. ``outcomes`` says for a message of one's own what became of each
    recipient's copy.
    """

    key: str
    kind: LineKind
    when: float
    conversation: str
    sender: str
    text: str
    file: File | None = None
    mine: bool = False
    suite: Suite | None = None
    trust: Trust | None = None
    kid: bytes = b""
    outcomes: Mapping[str, Outcome] = field(default_factory=lambda: MappingProxyType({}))
    about: str = ""


class Timeline:
    """All conversations of one client session. Not thread-safe: the client guards it."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._lines: dict[str, deque[Line]] = {EVERYONE: deque()}
        self._keys: defaultdict[str, set[str]] = defaultdict(set)  # of the lines of each conversation
        self._count = 0

    def conversations(self) -> tuple[str, ...]:
        """Everyone first, then the peers there has been something with."""
        return tuple(self._lines)

    def lines(self, conversation: str) -> tuple[Line, ...]:
        """The lines of one conversation, oldest first; empty for an unknown one."""
        return tuple(self._lines.get(conversation, ()))

    def apply(self, event: Event, when: float) -> None:
        """Note what happened."""
        match event:
            case MessageReceived(message):
                self._received(message)
            case MessageSent():
                self._sent(event)
            case MessageRefused(sender, mid, stage):
                again = " Ask them to send it again." if stage in _AGAIN else ""
                text = f"A message said to be from {sender} was refused: {why_refused(stage)}.{again}"
                about = f"check: {stage}"
                self._add(Line(f"bad-{mid.hex()}-{self._next()}", LineKind.REFUSED, when, sender, sender, text, about=about))
            case RosterChanged(joined, left, initial) if not initial:
                for entry in joined:
                    self._moved(entry.user, _JOINED, when)
                for entry in left:
                    self._moved(entry.user, _LEFT, when)
            case PeerKeyChanged(user=user, accepted=accepted) as change:
                held = "" if accepted else "; nothing is sent to it or taken from it until you accept it"
                # A guest's next key is of interest only to who has a conversation with that guest.
                self._system(user, f"{key_news(change)}{held}", when, aside=accepted)
            case Receipt(id_, user, outcome):
                self._receipt(sent_key(id_), user, outcome)
            case _:
                pass

    def say(self, text: str, when: float) -> None:
        """Add a system line about this client itself."""
        self._add(Line(f"sys-{self._next()}", LineKind.SYSTEM, when, EVERYONE, "", text))

    def _sent(self, message: MessageSent) -> None:
        outcomes = dict.fromkeys(message.to, Outcome.QUEUED)
        for conversation in (EVERYONE,) if message.everyone else tuple(outcomes):
            mine = outcomes if message.everyone else {conversation: Outcome.QUEUED}
            self._add(
                Line(
                    key=sent_key(message.id),
                    kind=LineKind.MESSAGE,
                    when=message.at / 1000,
                    conversation=conversation,
                    sender=self._me,
                    text=_text(message.content),
                    file=_file(message.content),
                    mine=True,
                    suite=message.suite,
                    outcomes=MappingProxyType(mine),
                )
            )

    def _received(self, message: Message) -> None:
        content = message.content
        conversation = EVERYONE if message.everyone else message.sender
        for note in order_notes(message):
            said = note if note.startswith(message.sender) else note[0].upper() + note[1:]
            self._add(Line(f"sys-{self._next()}", LineKind.SYSTEM, message.ts / 1000, conversation, message.sender, said))
        self._add(
            Line(
                key=message_key(message),
                kind=LineKind.MESSAGE,
                when=message.ts / 1000,
                conversation=conversation,
                sender=message.sender,
                text=_text(content),
                file=_file(content),
                suite=message.suite,
                trust=message.trust,
                kid=message.kid,
            )
        )

    def _moved(self, user: str, how: str, when: float) -> None:
        """Somebody came or went: where nothing was said since they last did, this takes the place of that."""
        for conversation in (EVERYONE, user):
            lines = self._lines.get(conversation)
            if lines is None:
                continue
            # A line keeps its key where it is taken over: by its key it is known up to where somebody has read.
            key, before = f"sys-{self._next()}", _last_moved(lines, user)
            if before is not None:
                key = lines[before].key
                self._keys[conversation].discard(key)
                del lines[before]
            self._add(Line(key, LineKind.SYSTEM, when, conversation, user, user + how))

    def _system(self, user: str, text: str, when: float, *, aside: bool = False) -> None:
        places = (() if aside else (EVERYONE,)) + ((user,) if user in self._lines else ())
        for conversation in places:
            self._add(Line(f"sys-{self._next()}", LineKind.SYSTEM, when, conversation, user, text))

    def _receipt(self, key: str, user: str, outcome: Outcome) -> None:
        for conversation in (EVERYONE, user):
            lines = self._lines.get(conversation, deque())
            # Receipts are about recent lines: search from the end.
            for at in range(len(lines) - 1, -1, -1):
                if lines[at].key == key and user in lines[at].outcomes:
                    if not overtakes(outcome, lines[at].outcomes[user]):
                        return
                    lines[at] = replace(lines[at], outcomes=MappingProxyType({**lines[at].outcomes, user: outcome}))
                    break

    def _add(self, line: Line) -> None:
        if line.conversation not in self._lines and len(self._lines) >= CONVERSATIONS_MAX:
            return
        lines, keys = self._lines.setdefault(line.conversation, deque()), self._keys[line.conversation]
        if len(lines) == LINES_MAX:
            keys.discard(lines.popleft().key)
        lines.append(replace(line, key=distinct(line.key, keys)))

    def _next(self) -> int:
        self._count += 1
        return self._count


def _last_moved(lines: deque[Line], user: str) -> int | None:
    """Where it stands that this user came or went, if nothing but that, of whomever, was told since."""
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].kind is not LineKind.SYSTEM:
            return None
        if lines[at].text in (user + _JOINED, user + _LEFT):
            return at
    return None


def message_key(message: Message) -> str:
    """The key of a received message's line.

    Its sender may use an id again, once nobody knows any more that it was taken; the time is another one by then.
    """
    return f"in-{message.kid.hex()[:16]}-{message.ts}-{message.id.hex()}"


def distinct(key: str, taken: set[str]) -> str:
    """``key``, with a number in it if that is among the ``taken`` ones; it is among them then."""
    head, _, id_ = key.rpartition("-")
    found, count = key, 1
    while found in taken:
        count += 1
        found = f"{head}.{count}-{id_}"
    taken.add(found)
    return found


def sent_key(id_: bytes) -> str:
    """The key of the line of one's own message with this id."""
    return f"out-{id_.hex()}"


def message_id(key: str) -> bytes:
    """The id (16 bytes) of the message whose line has this key."""
    return bytes.fromhex(key.rpartition("-")[2])


def _text(content: Content) -> str:
    return content.text if isinstance(content, Text) else text_of(content)


def _file(content: Content) -> File | None:
    return content if isinstance(content, File) else None
