"""How much each user may send."""

from __future__ import annotations

from typing import Final

_BURST: Final = 10  # so many seconds' worth may be sent at once
_LOT: Final = 64  # but no more than a small part of all
_UNBOUNDED: Final = 2**29  # fits a machine's word


class Budgets:
    """What each user may still send: ``rate`` messages a second, ten times that at once; 0 sets no bound.

    Connections draw from their user's budget in lots, so that a message costs them no more than counting down.
    """

    def __init__(self, rate: int) -> None:
        self._rate: Final = rate
        self._most: Final = float(rate * _BURST)
        self._left: dict[str, float] = {}  # of those who have less than the most

    def draw(self, user: str) -> int:
        """How many messages this user may send until it draws again."""
        if not self._rate:
            return _UNBOUNDED
        left = self._left.get(user, self._most)
        lot = min(_LOT, max(1, int(self._most) // 16), int(left))
        self._left[user] = left - lot
        return lot

    def give_back(self, user: str, count: int) -> None:
        """This much of a lot was not used."""
        if user in self._left:
            self._add(user, count)

    def refill(self, seconds: float) -> None:
        """Time has passed."""
        for user in list(self._left):
            self._add(user, seconds * self._rate)

    def _add(self, user: str, count: float) -> None:
        left = self._left[user] + count
        if left >= self._most:
            del self._left[user]
        else:
            self._left[user] = left
