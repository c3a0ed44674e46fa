"""Holds what people were told against what is in the profiles afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from core.content import Text
from core.encoding import b64url
from core.events import Event, Message, MessageReceived, MessageRefused, MessageSent, Outcome, PeerKeyChanged, Receipt
from scripts.crash.journal import Handed, Line, Told, Tried


class Kind(StrEnum):
    """What can be wrong."""

    LOST = "lost"  # its sender was told that it is safe, and its recipient does not have it
    UNSENT = "unsent"  # it was taken for sending, and neither arrived nor failed
    TWICE = "twice"  # it is in its recipient's history more than once
    FOREIGN = "foreign"  # nobody sent it thus, and it was shown or kept
    FAILED = "failed"  # it was refused, given up or said to be unproven, for which there was no reason
    UNTOLD = "untold"  # it arrived, and its sender was never told
    GAP = "gap"  # its recipient still waits for a number that nobody will use
    FORK = "fork"  # one number was used for two messages
    UNSHOWN = "unshown"  # it is in the history, and `listen` never printed it
    AGAIN = "again"  # `listen` printed it another time, not as its first line after a kill
    FELL = "fell"  # a process ended by itself, or showed a traceback


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be."""

    kind: Kind
    what: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.kind}: {self.what}"


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as ``listen`` printed it."""

    id: str
    sender: str
    text: str


@dataclass(slots=True)
class Evidence:
    """What there is to judge by, for each profile by name.

    ``journals`` are what it was told as a sender; ``histories`` its events in their order; ``shown`` what each run of its
    ``listen`` printed; ``gaps`` how many messages it still misses, by their sender; ``accidents`` what befell processes.
    """

    journals: dict[str, list[Line]] = field(default_factory=dict)
    histories: dict[str, list[Event]] = field(default_factory=dict)
    shown: dict[str, list[list[Shown]]] = field(default_factory=dict)
    gaps: dict[tuple[str, str], int] = field(default_factory=dict)
    accidents: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Copies:
    """Copies by their text, which is a message's own, and their recipient."""

    senders: dict[tuple[str, str], str] = field(default_factory=dict)
    told: dict[tuple[str, str], set[Outcome]] = field(default_factory=dict)


class Checker:
    """Judges the evidence; ``counts`` say of how much there was, ``findings`` what is wrong."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._copies = _Copies()
        self.counts: Counter[str] = Counter()
        self.findings: list[Finding] = [Finding(Kind.FELL, accident) for accident in evidence.accidents]
        for user in evidence.histories:
            self.findings += self._sent(user)
        arrived = {user: self._received(user) for user in evidence.histories}
        for user, messages in arrived.items():
            self.findings += self._kept(user, messages)
            if user in evidence.shown:
                self.findings += self._shown(user, messages)
        self.findings += self._missing({user: Counter(map(_text, messages)) for user, messages in arrived.items()})
        for (user, sender), missing in evidence.gaps.items():
            if missing:
                self.findings.append(Finding(Kind.GAP, f"{user} still waits for {missing} from {sender}"))

    def _sent(self, user: str) -> Iterator[Finding]:
        """What this user was told as a sender."""
        history = self._evidence.histories[user]
        journal = self._evidence.journals.get(user, [])
        sent = {event.id: event for event in history if isinstance(event, MessageSent)}
        tried = {line.text for line in journal if isinstance(line, Tried)}
        self.counts["messages"] += len(sent)
        for message in sent.values():
            self._copies.senders.update(((_text(message), to), user) for to in message.to)
            if _text(message) not in tried:
                yield Finding(Kind.FOREIGN, f"{user} never meant to send {_text(message)[:40]!r}")
        for line in journal:
            if isinstance(line, Handed) and line.id not in sent:
                yield Finding(Kind.UNSENT, f"{user} sent {b64url(line.id)}, and has not kept it")
        for one in (*journal, *history):
            if isinstance(one, Told | Receipt) and (found := sent.get(one.id)):
                self._copies.told.setdefault((_text(found), one.user), set()).add(one.outcome)
                if one.outcome.failed or one.outcome is Outcome.UNPROVEN:
                    yield Finding(Kind.FAILED, f"{user} was told '{one.outcome}' of {_text(found)[:40]!r} to {one.user}")

    def _received(self, user: str) -> list[Message]:
        return [event.message for event in self._evidence.histories[user] if isinstance(event, MessageReceived)]

    def _kept(self, user: str, messages: list[Message]) -> Iterator[Finding]:
        """What is in this user's history."""
        for event in self._evidence.histories[user]:
            if isinstance(event, MessageRefused | PeerKeyChanged):
                yield Finding(Kind.FAILED, f"{user} saw {event}")
        for message in messages:
            text = _text(message)
            self.counts["late"] += message.place.late
            self.counts["gaps seen"] += message.place.missing
            if self._copies.senders.get((text, user)) != message.sender or user not in message.to:
                yield Finding(Kind.FOREIGN, f"{user} has {text[:40]!r} from {message.sender}")
            if message.place.fork:
                yield Finding(Kind.FORK, f"{user} has {text[:40]!r} under a number that was used before")

    def _missing(self, arrived: dict[str, Counter[str]]) -> Iterator[Finding]:
        """Each copy is in its recipient's history once, and its sender knows."""
        for copy, sender in self._copies.senders.items():
            text, user = copy
            told = self._copies.told.get(copy, set())
            times = arrived.get(user, Counter())[text]
            name = f"{text[:40]!r} from {sender} to {user}"
            self.counts["copies"] += 1
            self.counts["reported stored"] += Outcome.STORED in told
            self.counts["reported delivered"] += Outcome.DELIVERED in told
            self.counts["there once"] += times == 1
            if times > 1:
                yield Finding(Kind.TWICE, f"{name} is there {times} times")
            elif times == 0 and any(outcome.safe for outcome in told):
                yield Finding(Kind.LOST, f"{name} was reported {' and '.join(sorted(told))}")
            elif times == 0 and not any(outcome.failed for outcome in told):
                yield Finding(Kind.UNSENT, f"{name} never arrived")
            elif times == 1 and not any(outcome.final for outcome in told):
                yield Finding(Kind.UNTOLD, f"{name} is there, and {sender} does not know")

    def _shown(self, user: str, messages: list[Message]) -> Iterator[Finding]:
        """``listen`` printed the history, in its order; after a kill it may have begun with its last line again."""
        kept = {b64url(message.id): message for message in messages}
        printed: list[str] = []
        for run in self._evidence.shown[user]:
            for at, line in enumerate(run):
                message = kept.get(line.id)
                if message is None or (line.sender, line.text) != (message.sender, _text(message)):
                    yield Finding(Kind.FOREIGN, f"{user} was shown {line.text[:40]!r} from {line.sender}")
                elif at == 0 and printed and line.id == printed[-1]:
                    self.counts["shown again"] += 1
                elif line.id in printed[-1:]:
                    yield Finding(Kind.AGAIN, f"{user} was shown {line.text[:40]!r} again")
                else:
                    printed.append(line.id)
        self.counts["shown"] += len(printed)
        times = Counter(printed)
        for id_, message in kept.items():
            if times[id_] != 1:
                kind = Kind.AGAIN if times[id_] else Kind.UNSHOWN
                yield Finding(kind, f"{user} was shown {_text(message)[:40]!r} {times[id_]} times")
        if set(times.values()) == {1} and len(times) == len(kept) and printed != list(kept):
            yield Finding(Kind.AGAIN, f"{user} was shown messages in another order than they have in the history")


def _text(message: Message | MessageSent) -> str:
    return message.content.text if isinstance(message.content, Text) else ""
