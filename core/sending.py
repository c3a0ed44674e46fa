"""Messages on their way out: waiting for bundles, sealed, sent, and answered recipient by recipient."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from core import frames
from core.bundle import Bundle
from core.clock import Instant
from core.content import Sendable
from core.envelope import Sealed, To, delivery_proof, direct_cid, everyone_cid, fits, seal
from core.errors import BadBundle, StoreFailed
from core.events import Event, Outcome, Receipt, Trust
from core.frames import Frames
from core.identity import Identity
from core.limits import LOOKUP_MAX, RETURN_GRACE, VOID_MAX
from core.messages import Bundles, Lookup, Result, Status, Told
from core.outbox import Outbox, Outgoing
from core.peers import Peers

_IN_FLIGHT: Final = 512  # envelopes in memory; the others wait where they are kept
_SLOW_DOWN: Final = 1.0  # seconds without sending, after the broker said that it takes no more for now

_OUTCOMES: Final = {
    Status.STORED: Outcome.STORED,
    Status.DELIVERED: Outcome.DELIVERED,
    Status.ABSENT: Outcome.ABSENT,
    Status.FULL: Outcome.FULL,
    Status.GONE: Outcome.GONE,
    Status.REFUSED: Outcome.REFUSED,
    Status.EXPIRED: Outcome.EXPIRED,
    Status.RATE: Outcome.RATE,
    Status.UNSTORED: Outcome.UNSTORED,
}


@dataclass(slots=True)
class _Envelope:
    """``waiting`` are the recipients without a result; ``numbers`` and ``bundles`` are those of the last sealing."""

    of: Outgoing
    waiting: set[str]
    numbers: dict[str, int] = field(default_factory=dict)
    void: dict[str, set[int]] = field(default_factory=dict)
    bundles: dict[str, Bundle] = field(default_factory=dict)
    sealed: Sealed | None = None


class Sending:
    """The way out. It asks for the bundles it lacks, seals when it has them, and sends on until there are results.

    After a reconnect everything without a result goes out again under the same mid and numbers, sealed anew where a
    recipient's encryption key is another one by now; recipients drop what they already have. It is never sealed anew
    for another identity key: whoever holds that is not whom it was written to, and the broker could make it so.

    For a while after a reconnect, who was here before it may be on the way back as well: a message to one of them waits
    until the roster has them again, or that while is over.
    """

    def __init__(self, me: Identity, peers: Peers, outbox: Outbox, broker_key: bytes, random: Callable[[int], bytes]) -> None:
        self._me = me
        self._peers = peers
        self._outbox = outbox
        self._broker_key = broker_key
        self._random = random
        self._queue: list[_Envelope] = []
        self._sent: dict[bytes, _Envelope] = {}
        self._asked: set[str] = set()
        self._pause_until = 0.0
        self._is_back = False
        self._grace_until = 0.0
        self._were_here: set[str] | None = None  # None for not known
        self._awaited: set[str] = set()

    def connected(self, now: Instant) -> None:
        """Begin, or begin again on a new connection."""
        self._grace_until = now.mono + (RETURN_GRACE if self._is_back else 0.0)
        self._is_back = True
        self._were_here = self._awaited | self._peers.present.keys() if self._peers.known else None
        self._awaited.clear()
        self._asked.clear()
        self._peers.forget_bundles()
        self._queue[:0] = self._sent.values()
        self._sent.clear()

    def forget(self) -> None:
        """What is in memory may not be what was kept: begin again from that."""
        self._queue.clear()
        self._sent.clear()
        self._asked.clear()
        self._awaited.clear()
        with contextlib.suppress(StoreFailed):  # then the claims run out by themselves
            self._outbox.release()

    def came(self, users: Collection[str]) -> bool:
        """Take note that these are here; returns whether one of them is awaited, and is to be asked for again."""
        before = len(self._awaited)
        self._awaited.difference_update(users)
        return len(self._awaited) < before

    def pump(self, now: Instant) -> tuple[list[Frames], list[Event]]:
        """Send whatever can be sent now, and ask for what is missing."""
        if now.mono < self._pause_until:
            return [], []
        out: list[Frames] = []
        events: list[Event] = []
        missing: dict[str, None] = {}
        held: list[_Envelope] = []
        if now.mono >= self._grace_until:
            self._awaited.clear()
        room = _IN_FLIGHT - len(self._queue) - len(self._sent)
        if room > 0:
            self._queue += [_Envelope(one, set(one.to)) for one in self._outbox.claim(room, now.ms)]
        for item in self._queue:
            lacking = [user for user in sorted(item.waiting) if self._peers.bundle(user, now.ms) is None]
            # A message to everyone waits for nobody: the others would wait, too.
            missing.update((user, None) for user in lacking if item.of.everyone or user not in self._awaited)
            if lacking:
                held.append(item)
                continue
            for user in self._unnumbered(item, now):
                events += self._settle(item, user, Outcome.GONE, now)
            if item.waiting:
                out.append(self._dispatch(item, now))
                events.extend(Receipt(item.of.id, user, Outcome.SENT) for user in sorted(item.waiting))
        self._queue = [item for item in held if item.waiting]
        ask = [user for user in missing if user not in self._asked]
        self._asked.update(ask)
        out += [frames.control(Lookup(tuple(ask[at : at + LOOKUP_MAX]))) for at in range(0, len(ask), LOOKUP_MAX)]
        return out, events

    def found(self, answer: Bundles, now: Instant) -> list[Event]:
        """Take the answers to a LOOKUP; whoever has no bundle to trust is struck from the messages that wait for it."""
        events: list[Event] = []
        for found in answer.found:
            if found.user not in self._asked:
                continue  # not an answer to anything that was asked
            self._asked.discard(found.user)
            outcome = Outcome.ABSENT
            if found.bundle is not None:
                try:
                    objection, news = self._peers.learn(found.user, found.bundle, now.ms)
                except BadBundle:
                    outcome = Outcome.UNTRUSTED
                else:
                    events += news
                    if objection is None:
                        continue
                    outcome = Outcome.BLOCKED if objection is Trust.BLOCKED else Outcome.CHANGED
            for item in self._queue:
                if found.user not in item.waiting:
                    continue
                if outcome is Outcome.ABSENT and self._may_return(item, found.user, now):
                    self._awaited.add(found.user)
                else:
                    events += self._settle(item, found.user, outcome, now)
        return events

    def _may_return(self, item: _Envelope, user: str, now: Instant) -> bool:
        if item.of.everyone or now.mono >= self._grace_until:
            return False
        return self._were_here is None or user in self._were_here

    def answered(self, result: Result, now: Instant) -> list[Event]:
        """Take one RESULT. One about nothing that waits is ignored: it may be late, and it can do no harm."""
        item = self._sent.get(result.mid)
        if item is None or item.sealed is None or result.place >= len(item.sealed.recipients):
            return []
        user = item.sealed.recipients[result.place]
        if user not in item.waiting:
            return []
        outcome = self._judge(result.mid, user, result.status, result.proof)
        if outcome is Outcome.RATE:
            self._pause_until = now.mono + _SLOW_DOWN
            self._queue.append(item)
            del self._sent[result.mid]
            return [Receipt(item.of.id, user, outcome)]
        return self._settle(item, user, outcome, now)

    def told(self, news: Told, now: Instant) -> list[Event]:
        """Take what became of a copy after it was stored, whichever process of the profile had sent it, and when."""
        copy = self._outbox.copy(news.mid, news.user)
        if copy is None or copy.outcome.final:
            return []
        outcome = self._judge(news.mid, news.user, news.status, news.proof)
        if not outcome.final:
            return []
        item = self._sent.get(news.mid)
        if item is not None:
            return self._settle(item, news.user, outcome, now)
        self._outbox.settle(news.mid, news.user, outcome, now.ms)
        return [Receipt(copy.id, news.user, outcome)]

    def _judge(self, mid: bytes, user: str, status: Status, proof: bytes | None) -> Outcome:
        copy = self._outbox.copy(mid, user)
        if status is Status.DELIVERED and not (copy and _is_one_of(proof or b"", copy.proofs)):
            return Outcome.UNPROVEN  # the broker's word alone
        return _OUTCOMES[status]

    def _settle(self, item: _Envelope, user: str, outcome: Outcome, now: Instant) -> list[Event]:
        """This copy waits no longer."""
        news = self._outbox.settle(item.of.mid, user, outcome, now.ms)
        item.waiting.discard(user)
        if not item.waiting:
            self._sent.pop(item.of.mid, None)
        if outcome in (Outcome.GONE, Outcome.ABSENT, Outcome.REFUSED):
            self._peers.forget_bundles([user])
        if outcome.safe and item.void.get(user):
            # Whoever has the message knows of the numbers that it lists.
            self._outbox.told(user, item.bundles[user].ik.kid, item.void[user])
        return [Receipt(item.of.id, user, outcome)] if news else []

    def _unnumbered(self, item: _Envelope, now: Instant) -> list[str]:
        """Number the copies of those without a result; returns whose identity key is not the one it was numbered for."""
        others = []
        for user in sorted(item.waiting):
            bundle = self._peers.bundle(user, now.ms)
            n = self._outbox.number(item.of.mid, user, bundle.ik.kid) if bundle else None
            if n is None:
                others.append(user)
            else:
                item.numbers[user] = n
        return others

    def _dispatch(self, item: _Envelope, now: Instant) -> Frames:
        bundles = {user: bundle for user in item.waiting if (bundle := self._peers.bundle(user, now.ms))}
        mid = item.of.mid
        if item.sealed is None or not self._still_fits(item, bundles):
            item.sealed = self._seal(item, bundles, now)
            item.bundles = bundles
            for user, bundle in bundles.items():
                self._outbox.expect(mid, user, delivery_proof(item.sealed.secret, mid, bundle.ik.kid))
        self._sent[mid] = item
        if len(item.sealed.recipients) == 1:
            return frames.send(mid, item.sealed.recipients[0], item.sealed.common_direct())
        return frames.fanout(mid, item.sealed.recipients, item.sealed.common(), item.sealed.wraps)

    @staticmethod
    def _still_fits(item: _Envelope, bundles: dict[str, Bundle]) -> bool:
        def keys(of: dict[str, Bundle]) -> dict[str, bytes]:
            return {user: bundle.ek.kid for user, bundle in of.items()}

        return keys(item.bundles) == keys(bundles)

    def _seal(self, item: _Envelope, bundles: dict[str, Bundle], now: Instant) -> Sealed:
        if item.of.everyone:
            cid = everyone_cid(self._broker_key)
        else:
            (only,) = bundles.values()
            cid = direct_cid(self._me.kid, only.ik.kid)
        return seal(
            self._with_void(item, bundles),
            suite=item.of.suite,
            sender=self._me.user,
            kind=self._me.kind,
            signing=self._me.signing,
            sid=self._me.sid,
            mid=item.of.mid,
            cid=cid,
            to=[To(user, bundle.ek, item.numbers[user]) for user, bundle in bundles.items()],
            now_ms=now.ms,
            random=self._random,
        )

    def _with_void(self, item: _Envelope, bundles: dict[str, Bundle]) -> Sendable:
        """The content, with the numbers that its recipients need not wait for, as far as they fit."""
        given_up = {user: self._outbox.void(user, bundle.ik.kid) for user, bundle in sorted(bundles.items())}
        void = tuple((user, n) for user, numbers in given_up.items() for n in numbers)[-VOID_MAX:]
        content = replace(item.of.content, void=void)
        item.void = {}
        if not fits(content, item.of.suite):
            return item.of.content
        for user, n in void:
            item.void.setdefault(user, set()).add(n)
        return content


def _is_one_of(proof: bytes, expected: Sequence[bytes]) -> bool:
    return any(hmac.compare_digest(proof, one) for one in expected)
