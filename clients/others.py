"""What a person decides about others: the same for a guest, whose memory is the session's, and for a profile."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from core.bundle import Kind
from core.errors import KeyChanged, NobodyVerified, NotVerified, PeerBlocked, PeerUnknown
from core.events import Trust
from core.memory import Memory, Pin
from core.messages import Entry
from core.names import check_name, safety_number
from core.trust import block, holds, seen, trust, verify


@dataclass(frozen=True, slots=True)
class Arrival:
    """Somebody's entry in the roster, and since when it stands there; milliseconds since 1970."""

    entry: Entry
    since: int


class Others:
    """The pins of one user's memory, with what the roster says laid over them.

    The roster is never believed: nothing is written because of it. But a person who looks at somebody now wants to decide
    about the key that is in use now, and a number that two people have compared is right whoever named the key.
    ``arrival`` looks somebody up in the roster; ``decided`` is called after each decision. ``kid`` (32 bytes) is one's own.
    """

    def __init__(
        self,
        user: str,
        kid: bytes,
        memory: Memory,
        arrival: Callable[[str], Arrival | None] = lambda _: None,
        decided: Callable[[], None] = lambda: None,
    ) -> None:
        self.user: Final = user
        self.kid: Final = kid
        self._memory = memory
        self._arrival = arrival
        self._decided = decided

    def pin(self, user: str) -> Pin:
        """The pin of somebody who was met or is here, as it is if they hold the key that the roster names.

        ``offered`` is the key to decide about, where it is not the pinned one. Raises PeerUnknown and BadName.
        """
        pin, arrival = self._memory.pin(check_name(user)), self._arrival(user)
        if arrival is not None:
            entry = arrival.entry
            if pin and pin.kid == entry.kid and pin.offered:  # another one was seen, and is gone again
                pin = replace(pin, offered=None, offered_at=None)
            pin = seen(pin, user, entry.kid, profile=entry.kind is Kind.PROFILE, now_ms=arrival.since)
        if pin is None:
            raise PeerUnknown(user=user)
        return pin

    def standing(self, user: str) -> Trust:
        """How somebody stands with this user; NEW for a stranger."""
        try:
            pin = self.pin(user)
        except PeerUnknown:
            return Trust.NEW
        if pin.blocked:
            return Trust.BLOCKED
        if pin.offered is not None:
            return Trust.CHANGED
        return Trust.VERIFIED if pin.verified is not None else Trust.PINNED

    def is_guest(self, user: str) -> bool:
        """Whether somebody who was met or is here has only been a guest, whom nobody has verified."""
        try:
            return not holds(self.pin(user))
        except PeerUnknown:
            return False

    def check(self, user: str) -> None:
        """Raise PeerBlocked or KeyChanged where nothing is to be sent to ``user`` before a person has decided."""
        match self.standing(user):
            case Trust.BLOCKED:
                raise PeerBlocked(user=user)
            case Trust.CHANGED:
                raise KeyChanged(user=user)
            case _:
                pass

    def check_for_sending(self, users: Collection[str], *, verified_only: bool) -> None:
        """Raise why nothing is to be sent to any of ``users``, or to everyone if there are none, before a person has decided.

        One who may be written to is enough but, with ``verified_only``, one who was not verified is too many. Raises
        PeerBlocked, KeyChanged, NotVerified and NobodyVerified.
        """
        verified = {pin.user for pin in self._memory.pins() if pin.verified is not None and not pin.blocked}
        if verified_only and not users and not verified:
            raise NobodyVerified
        for user in users:
            if verified_only and user not in verified:
                raise NotVerified(user=user)
        if all(self.standing(user) in (Trust.BLOCKED, Trust.CHANGED) for user in users):
            for user in users:
                self.check(user)

    def number(self, pin: Pin) -> str:
        """The safety number, 12 groups of 5 digits, with the key that ``pin`` holds or, if it changed, with the new one."""
        return safety_number(self.user, self.kid, pin.user, pin.offered or pin.kid)

    def verify(self, shown: Pin) -> Pin:
        """A person compared the number of ``shown``: accept its key, also a changed one, as verified.

        Raises KeyChanged if another key came meanwhile: it is not the one whose number was compared.
        """
        return self._decide(lambda: verify(self._still(shown), _now_ms()))

    def trust(self, shown: Pin) -> Pin:
        """A person accepts the changed key of ``shown``, or ends a block; raises KeyChanged as ``verify`` does."""
        return self._decide(lambda: trust(self._still(shown), _now_ms()))

    def block(self, user: str) -> Pin:
        """Send nothing to this name and take nothing from it."""
        return self._decide(lambda: block(self.pin(user)))

    def _still(self, shown: Pin) -> Pin:
        pin = self.pin(shown.user)
        if (pin.kid, pin.offered) != (shown.kid, shown.offered):
            raise KeyChanged(user=pin.user)
        return pin

    def _decide(self, decision: Callable[[], Pin]) -> Pin:
        with self._memory.together():  # nobody else changes the pin between the look and the decision
            pin = decision()
            self._memory.set_pin(pin)
        self._decided()  # outside: whoever hears of it may wait for somebody who wants to write
        return pin


def _now_ms() -> int:
    return int(time.time() * 1000)
