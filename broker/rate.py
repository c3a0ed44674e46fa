"""How much each user may send."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

_BURST: Final = 10  # so many seconds' worth may be sent at once


class Budget:
    """How many messages may still be sent; shared by all connections of a user."""

    __slots__ = ("left",)

    def __init__(self, left: float = math.inf) -> None:
        self.left = left


class Budgets:
    """The budgets of all users: ``rate`` messages a second, ten times that at once; 0 sets no bound."""

    def __init__(self, rate: int) -> None:
        self._rate: Final = rate
        self._budgets: dict[str, Budget] = {}

    def of(self, user: str) -> Budget:
        """This user's budget. It outlives connections, so that a new one brings no new budget."""
        if not self._rate:
            return Budget()
        return self._budgets.setdefault(user, Budget(self._rate * _BURST))

    def refill(self, seconds: float, present: Callable[[str], bool]) -> None:
        """Time has passed. A budget that is full and whose user is not ``present`` is forgotten."""
        most = self._rate * _BURST
        for user, budget in list(self._budgets.items()):
            budget.left = min(most, budget.left + seconds * self._rate)
            if budget.left == most and not present(user):
                del self._budgets[user]
