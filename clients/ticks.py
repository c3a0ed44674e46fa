"""What became of the messages that were sent, in a line that stays short."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from clients.view import tick
from core.events import MessageSent, Outcome, Receipt, overtakes


@dataclass(slots=True)
class _Sent:
    message: MessageSent
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        return all(one.final for one in self.outcomes.values())


class Ticks:
    """Follows the messages of one program until nothing better or worse can follow, and the last one for good."""

    def __init__(self) -> None:
        self._sent: dict[bytes, _Sent] = {}

    def forget_settled(self) -> None:
        """Leave only what is still open."""
        self._sent = {id_: one for id_, one in self._sent.items() if not one.settled}

    def sent(self, message: MessageSent) -> None:
        """A message was taken for sending."""
        self.forget_settled()
        self._sent[message.id] = _Sent(message, dict.fromkeys(message.to, Outcome.QUEUED))

    def receipt(self, receipt: Receipt) -> MessageSent | None:
        """What became of a copy; returns its message if this is news of a copy that will not arrive."""
        one = self._sent.get(receipt.id)
        if one is None or receipt.user not in one.outcomes:
            return None
        if not overtakes(receipt.outcome, one.outcomes[receipt.user]):
            return None
        one.outcomes[receipt.user] = receipt.outcome
        return one.message if receipt.outcome.final and not receipt.outcome.safe else None

    def open(self, id_: bytes) -> MessageSent | None:
        """The message with this id, if something better or worse may still become of it."""
        one = self._sent.get(id_)
        return one.message if one and not one.settled else None

    def summary(self) -> str:
        """``✓✓ delivered``, or ``2x ✓ stored · … queued``; empty before the first message."""
        counts = Counter(tick(one.outcomes) for one in self._sent.values())
        return " · ".join(said if count == 1 else f"{count}x {said}" for said, count in counts.items())
