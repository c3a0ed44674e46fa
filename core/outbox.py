"""What is on its way out: envelopes that wait for their results, and what became of every recipient's copy.

A guest's outbox is this module's; it dies with the session. A profile's is a database that says the same, and which all
processes of the profile share: whoever claims an envelope sends it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from core.bundle import Suite
from core.content import Sendable, encode_content
from core.envelope import check_length
from core.errors import LocalProtocolError
from core.events import Outcome
from core.limits import MID_BYTES, RECIPIENTS_MAX
from core.names import check_name

_COPIES_MAX: Final = 16_384


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One envelope before it is sealed.

    ``id`` is the message's and ``mid`` the envelope's own, 16 bytes each: a large audience needs several envelopes. ``to`` is
    who has no result yet. ``at`` is when it was written, in milliseconds since 1970.
    """

    id: bytes
    mid: bytes
    content: Sendable
    to: tuple[str, ...]
    everyone: bool
    suite: Suite
    at: int


@dataclass(frozen=True, slots=True)
class Copy:
    """One recipient's copy of the message ``id``.

    ``kid`` (32 bytes) and ``n`` are the identity key and the number that it was sealed with, None and 0 before; ``proofs`` are
    the delivery proofs (32 bytes each) of all its sealings, for the recipient may have opened an earlier one.
    """

    id: bytes
    user: str
    outcome: Outcome = Outcome.QUEUED
    kid: bytes | None = None
    n: int = 0
    proofs: tuple[bytes, ...] = ()


def compose(
    id_: bytes, content: Sendable, to: Sequence[str], *, everyone: bool, suite: Suite, at: int, random: Callable[[int], bytes]
) -> list[Outgoing]:
    """The envelopes of one message: to single people one each, to everyone one for up to 256.

    ``id_`` has 16 fresh random bytes, ``random`` gives more. Raises MessageTooLong, NotText and BadName.
    """
    # The broker would end the connection over a name that is none, and the message sent again the next one.
    to = tuple(dict.fromkeys(check_name(user) for user in to))
    check_length(encode_content(content), suite)
    step = RECIPIENTS_MAX if everyone else 1
    return [
        Outgoing(id_, id_ if first == 0 else random(MID_BYTES), content, to[first : first + step], everyone, suite, at)
        for first in range(0, len(to), step)
    ]


class Outbox(Protocol):
    """What is kept of messages on their way out. Each method is all or nothing."""

    def add(self, envelopes: Sequence[Outgoing]) -> None:
        """Keep these until their copies have results. Raises LocalProtocolError for a ``mid`` that is known."""

    def claim(self, most: int, now_ms: int) -> list[Outgoing]:
        """Up to ``most`` envelopes that wait and that nobody is sending, the oldest first; the caller sends them now."""

    def hold(self, now_ms: int) -> None:
        """Say that what was claimed is still being sent. Who has not said so for a while is taken for dead."""

    def release(self) -> None:
        """Let others claim what was claimed."""

    def number(self, mid: bytes, user: str, kid: bytes) -> int | None:
        """The number of this copy under this identity key, counted from 1 for each key and given out once.

        None if the copy was numbered for another key before: whoever holds that one is not whom it was written to.
        """

    def expect(self, mid: bytes, user: str, proof: bytes) -> None:
        """Remember the delivery proof (32 bytes) of a sealing."""

    def copy(self, mid: bytes, user: str) -> Copy | None:
        """What is known of a copy."""

    def settle(self, mid: bytes, user: str, outcome: Outcome, now_ms: int) -> bool:
        """Note what became of a copy; False if that is no news. An envelope whose copies all have results waits no more."""

    def void(self, user: str, kid: bytes) -> Sequence[int]:
        """Numbers that were used for this key and given up, and of which its holder may not have been told."""

    def told(self, user: str, kid: bytes, numbers: Collection[int]) -> None:
        """The holder of this key knows that these numbers were given up."""


class SessionOutbox:
    """An outbox that lasts as long as the program."""

    def __init__(self) -> None:
        self._unclaimed: list[Outgoing] = []
        self._copies: OrderedDict[tuple[bytes, str], Copy] = OrderedDict()
        self._numbers: dict[tuple[str, bytes], int] = {}
        self._void: dict[tuple[str, bytes], set[int]] = {}

    def add(self, envelopes: Sequence[Outgoing]) -> None:
        """See ``Outbox``."""
        if any((one.mid, user) in self._copies for one in envelopes for user in one.to):
            raise LocalProtocolError(what="a message's id was used twice")
        for one in envelopes:
            self._copies.update(((one.mid, user), Copy(one.id, user)) for user in one.to)
        self._unclaimed.extend(envelopes)
        while len(self._copies) > _COPIES_MAX and next(iter(self._copies.values())).outcome.final:
            self._copies.popitem(last=False)

    def claim(self, most: int, now_ms: int) -> list[Outgoing]:  # noqa: ARG002 - nobody else is there to have claimed it
        """See ``Outbox``."""
        claimed, self._unclaimed = self._unclaimed[:most], self._unclaimed[most:]
        return claimed

    def hold(self, now_ms: int) -> None:
        """See ``Outbox``."""

    def release(self) -> None:
        """See ``Outbox``."""

    def number(self, mid: bytes, user: str, kid: bytes) -> int | None:
        """See ``Outbox``."""
        copy = self._copies[mid, user]
        if copy.kid is not None:
            return copy.n if copy.kid == kid else None
        n = self._numbers[user, kid] = self._numbers.get((user, kid), 0) + 1
        self._copies[mid, user] = replace(copy, kid=kid, n=n)
        return n

    def expect(self, mid: bytes, user: str, proof: bytes) -> None:
        """See ``Outbox``."""
        copy = self._copies[mid, user]
        self._copies[mid, user] = replace(copy, proofs=(*copy.proofs, proof))

    def copy(self, mid: bytes, user: str) -> Copy | None:
        """See ``Outbox``."""
        return self._copies.get((mid, user))

    def settle(self, mid: bytes, user: str, outcome: Outcome, now_ms: int) -> bool:  # noqa: ARG002 - only a disk keeps times
        """See ``Outbox``."""
        copy = self._copies[mid, user]
        if copy.outcome.final or copy.outcome is outcome:
            return False
        self._copies[mid, user] = replace(copy, outcome=outcome)
        if outcome.failed and copy.kid is not None:
            self._void.setdefault((user, copy.kid), set()).add(copy.n)
        return True

    def void(self, user: str, kid: bytes) -> Sequence[int]:
        """See ``Outbox``."""
        return sorted(self._void.get((user, kid), ()))

    def told(self, user: str, kid: bytes, numbers: Collection[int]) -> None:
        """See ``Outbox``."""
        self._void.get((user, kid), set()).difference_update(numbers)
