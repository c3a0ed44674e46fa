"""Messages on their way out: waiting for bundles, sealed, sent, and answered recipient by recipient."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core import frames
from core.bundle import Bundle, Suite
from core.clock import Instant
from core.content import Text
from core.envelope import Sealed, To, delivery_proof, direct_cid, everyone_cid, fits, seal
from core.errors import BadBundle, LocalProtocolError
from core.events import Event, Outcome, Receipt, Trust
from core.frames import Frames
from core.identity import Identity
from core.limits import LOOKUP_MAX, VOID_MAX
from core.memory import Memory
from core.messages import Bundles, Lookup, Result, Status
from core.peers import Peers

_OUTCOMES = {
    Status.STORED: Outcome.STORED,
    Status.DELIVERED: Outcome.DELIVERED,
    Status.ABSENT: Outcome.ABSENT,
    Status.FULL: Outcome.FULL,
    Status.GONE: Outcome.GONE,
    Status.REFUSED: Outcome.REFUSED,
}


@dataclass(slots=True)
class _Outgoing:
    """One envelope. ``id`` is the submission's; ``mid`` its own; ``waiting`` the recipients without a final outcome."""

    id: bytes
    mid: bytes
    content: Text
    suite: Suite
    everyone: bool
    waiting: set[str]
    numbers: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    void: tuple[tuple[str, int], ...] = ()
    bundles: dict[str, Bundle] = field(default_factory=dict)
    sealed: Sealed | None = None
    # A recipient may answer for an earlier sealing of the same message, so every sealing's proof counts.
    proofs: dict[str, list[bytes]] = field(default_factory=dict)


class Sending:
    """The way out. It asks for the bundles it lacks, seals when it has them, and keeps what was not answered.

    After a reconnect everything unanswered goes out again under the same mid and counters, sealed anew where a
    recipient's encryption key is another one by now; recipients drop what they already have. It is never sealed anew
    for another identity key: whoever holds that is not whom it was written to, and the broker could make it so.
    """

    def __init__(self, me: Identity, peers: Peers, memory: Memory, broker_key: bytes, random: Callable[[int], bytes]) -> None:
        self._me = me
        self._peers = peers
        self._memory = memory
        self._broker_key = broker_key
        self._random = random
        self._queue: list[_Outgoing] = []
        self._sent: dict[bytes, _Outgoing] = {}
        self._mids: set[bytes] = set()  # of all that is queued or sent
        self._asked: set[str] = set()
        self._given_up: dict[tuple[str, bytes], list[int]] = {}

    def add(self, id_: bytes, mid: bytes, content: Text, suite: Suite, to: Sequence[str], *, everyone: bool) -> None:
        """Queue one envelope for ``to``. Raises LocalProtocolError for a ``mid`` that is still on its way."""
        if mid in self._mids:
            raise LocalProtocolError(what="a message's id was used twice")
        self._mids.add(mid)
        self._queue.append(_Outgoing(id_, mid, content, suite, everyone, set(to)))

    def reconnected(self) -> None:
        """Begin again on a new connection."""
        self._asked.clear()
        self._peers.forget_bundles()
        self._queue[:0] = self._sent.values()
        self._sent.clear()

    def pump(self, now: Instant) -> tuple[list[Frames], list[Event]]:
        """Send whatever can be sent now, and ask for what is missing."""
        out: list[Frames] = []
        events: list[Event] = []
        missing: dict[str, None] = {}
        held: list[_Outgoing] = []
        for item in self._queue:
            lacking = [user for user in sorted(item.waiting) if self._peers.bundle(user, now.ms) is None]
            missing.update(dict.fromkeys(lacking))
            if lacking:
                held.append(item)
                continue
            for user in self._others_by_now(item, now):
                item.waiting.discard(user)
                self._give_up(item, user)
                events.append(Receipt(item.id, user, Outcome.GONE))
            if item.waiting:
                out.append(self._dispatch(item, now))
                events.extend(Receipt(item.id, user, Outcome.SENT) for user in sorted(item.waiting))
            else:
                self._mids.discard(item.mid)
        self._queue = held
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
                if found.user in item.waiting:
                    item.waiting.discard(found.user)
                    self._give_up(item, found.user)
                    events.append(Receipt(item.id, found.user, outcome))
        return events

    def answered(self, result: Result) -> list[Event]:
        """Take one RESULT. One about nothing that waits is ignored: it may be late, and it can do no harm."""
        item = self._sent.get(result.mid)
        if item is None or item.sealed is None or result.place >= len(item.sealed.recipients):
            return []
        user = item.sealed.recipients[result.place]
        if user not in item.waiting:
            return []
        outcome = _OUTCOMES[result.status]
        if outcome is Outcome.DELIVERED and not _is_one_of(result.proof or b"", item.proofs[user]):
            outcome = Outcome.UNPROVEN  # the broker's word alone
        if outcome in (Outcome.GONE, Outcome.ABSENT, Outcome.REFUSED):
            self._peers.forget_bundles([user])
        if outcome.safe:
            self._told(item, user)
        elif outcome.final and outcome is not Outcome.UNPROVEN:  # if that was a lie, a gap is what tells the recipient
            self._give_up(item, user)
        if outcome.final:
            item.waiting.discard(user)
            if not item.waiting:
                del self._sent[result.mid]
                self._mids.discard(result.mid)
        return [Receipt(item.id, user, outcome)]

    def _others_by_now(self, item: _Outgoing, now: Instant) -> list[str]:
        """Recipients for whom it was sealed before, and whose identity key is another one now."""
        return [
            user
            for user in sorted(item.waiting & item.bundles.keys())
            if (bundle := self._peers.bundle(user, now.ms)) and bundle.ik.kid != item.bundles[user].ik.kid
        ]

    def _dispatch(self, item: _Outgoing, now: Instant) -> Frames:
        bundles = {user: bundle for user in item.waiting if (bundle := self._peers.bundle(user, now.ms))}
        if item.sealed is None or not self._still_fits(item, bundles):
            item.sealed = self._seal(item, bundles, now)
            item.bundles = bundles
            for user, bundle in bundles.items():
                item.proofs.setdefault(user, []).append(delivery_proof(item.sealed.secret, item.mid, bundle.ik.kid))
        self._sent[item.mid] = item
        if len(item.sealed.recipients) == 1:
            return frames.send(item.mid, item.sealed.recipients[0], item.sealed.common_direct())
        return frames.fanout(item.mid, item.sealed.recipients, item.sealed.common(), item.sealed.wraps)

    @staticmethod
    def _still_fits(item: _Outgoing, bundles: dict[str, Bundle]) -> bool:
        def keys(of: dict[str, Bundle]) -> dict[str, bytes]:
            return {user: bundle.ek.kid for user, bundle in of.items()}

        return keys(item.bundles) == keys(bundles)

    def _seal(self, item: _Outgoing, bundles: dict[str, Bundle], now: Instant) -> Sealed:
        for user, bundle in sorted(bundles.items()):
            kid = bundle.ik.kid
            if item.numbers.get(user, (b"", 0))[0] != kid:
                # Numbers belong to an identity key, not to a name: whoever holds the name next starts from 1.
                item.numbers[user] = (kid, self._memory.next_number(user, kid))
        if item.everyone:
            cid = everyone_cid(self._broker_key)
        else:
            (only,) = bundles.values()
            cid = direct_cid(self._me.kid, only.ik.kid)
        return seal(
            self._with_void(item, bundles),
            suite=item.suite,
            sender=self._me.user,
            kind=self._me.kind,
            signing=self._me.signing,
            sid=self._me.sid,
            mid=item.mid,
            cid=cid,
            to=[To(user, bundle.ek, item.numbers[user][1]) for user, bundle in bundles.items()],
            now_ms=now.ms,
            random=self._random,
        )

    def _with_void(self, item: _Outgoing, bundles: dict[str, Bundle]) -> Text:
        """The content, with the numbers that its recipients need not wait for, as far as they fit."""
        keys = [(user, bundle.ik.kid) for user, bundle in sorted(bundles.items())]
        void = [(user, n) for user, kid in keys for n in self._given_up.get((user, kid), ())][-VOID_MAX:]
        content = Text(item.content.text, tuple(void))
        if not fits(content, item.suite):
            content = item.content
        item.void = content.void
        return content

    def _give_up(self, item: _Outgoing, user: str) -> None:
        if user in item.numbers:
            kid, n = item.numbers[user]
            self._given_up.setdefault((user, kid), []).append(n)

    def _told(self, item: _Outgoing, user: str) -> None:
        """This recipient has the message, so knows of the numbers it listed."""
        known = {n for name, n in item.void if name == user}
        if known:
            key = user, item.numbers[user][0]
            self._given_up[key] = [n for n in self._given_up.get(key, ()) if n not in known]


def _is_one_of(proof: bytes, expected: list[bytes]) -> bool:
    return any(hmac.compare_digest(proof, one) for one in expected)
