"""What a client knows of others: who is here, which key each name is pinned to, and their current bundles."""

from __future__ import annotations

from collections.abc import Iterable

from core.bundle import Bundle, Kind, SignedBundle, read_bundle
from core.errors import BadBundle, RemoteProtocolError
from core.events import Event, PeerKeyChanged, RosterChanged, Trust
from core.limits import ROSTER_MAX
from core.memory import Memory
from core.messages import Entry, Roster
from core.trust import holds, seen

_KEEP_BUNDLE_MS = 24 * 3600 * 1000
"""Look a bundle up again after a day: the key in it may have been superseded, and is kept for a week only."""


class Peers:
    """The roster as the broker tells it, and beside it what this client has seen for itself.

    The roster says who can be written to; it is never believed about keys. Those come from bundles and messages, whose
    signatures were checked, and the first one under a name pins it. A name that was ever a profile's, or that was
    verified, keeps its pin until a person accepts another key; a guest's new key is news.
    """

    def __init__(self, memory: Memory) -> None:
        self.present: dict[str, Entry] = {}
        self.known = False  # whether there was a roster yet
        self._memory = memory
        self._renewed: set[str] = set()
        self._bundles: dict[str, tuple[Bundle, int]] = {}
        self._arriving: dict[str, Entry] | None = None

    def roster(self, change: Roster) -> list[Event]:
        """Apply one ROSTER frame; raises RemoteProtocolError for a roster without end.

        A full one that comes in parts takes effect with its last part, and is told even if it changes nothing: somebody
        may have asked for it.
        """
        if change.full:
            self._arriving = {}
        if self._arriving is not None:
            self._arriving.update((entry.user, entry) for entry in change.joined)
            if len(self._arriving) > ROSTER_MAX:
                raise RemoteProtocolError(what="a roster over the limit")
            if change.more:
                return []
            before, self.present, self._arriving = self.present, self._arriving, None
            joined = tuple(entry for user, entry in self.present.items() if before.get(user) != entry)
            left = tuple(entry for user, entry in before.items() if user not in self.present)
            initial, self.known = not self.known, True
            self.forget_bundles(entry.user for entry in (*joined, *left))
            return [RosterChanged(joined, left, initial)]
        now = dict(self.present)  # a copy, for others may be reading the one that was
        left = tuple(entry for user in change.left if (entry := now.pop(user, None)))
        joined = tuple(entry for entry in change.joined if now.get(entry.user) != entry)
        now.update((entry.user, entry) for entry in joined)
        if len(now) > ROSTER_MAX:
            raise RemoteProtocolError(what="a roster over the limit")
        self.present = now
        self.forget_bundles(entry.user for entry in (*joined, *left))
        return [RosterChanged(joined, left, initial=False)] if joined or left else []

    def trust_of(self, user: str, kid: bytes) -> Trust:
        """How ``kid`` stands under this name, without changing anything."""
        pin = self._memory.pin(user)
        if pin is None:
            return Trust.NEW
        if pin.blocked:
            return Trust.BLOCKED
        if pin.kid != kid:
            return Trust.CHANGED if holds(pin) else Trust.RENEWED
        if pin.verified is not None:
            return Trust.VERIFIED
        return Trust.RENEWED if user in self._renewed and not pin.profile else Trust.PINNED

    def meet(self, user: str, kid: bytes, kind: Kind, now_ms: int) -> tuple[bool, list[Event]]:
        """Take note that ``user`` proved to hold ``kid``; returns whether that key may be used, and the news.

        What becomes of the pin, ``core.trust.seen`` says.
        """
        before = self._memory.pin(user)
        if before and before.blocked:
            return False, []  # a block stays as it is
        pin = seen(before, user, kid, profile=kind is Kind.PROFILE, now_ms=now_ms)
        if pin == before:
            return pin.kid == kid, []
        self._memory.set_pin(pin)
        if before is None or before.kid == kid:
            return True, []
        accepted = pin.kid == kid
        if accepted:
            self._renewed.add(user)
        return accepted, [PeerKeyChanged(user, before.kid, kid, accepted=accepted)]

    def blocks(self, user: str) -> bool:
        """Whether a person has blocked this name."""
        pin = self._memory.pin(user)
        return pin is not None and pin.blocked

    def may_receive(self, user: str, kid: bytes) -> bool:
        """Whether a message signed with ``kid`` under this name may be opened, without changing anything."""
        pin = self._memory.pin(user)
        if pin is None:
            return True
        return not pin.blocked and (pin.kid == kid or not holds(pin))

    def bundle(self, user: str, now_ms: int) -> Bundle | None:
        """The bundle to seal to now; None if it must be looked up."""
        bundle, since = self._bundles.get(user, (None, 0))
        if bundle is None or not bundle.valid_at(now_ms) or now_ms - since > _KEEP_BUNDLE_MS:
            return None
        pin = self._memory.pin(user)
        return bundle if pin and pin.kid == bundle.ik.kid and not pin.blocked else None

    def learn(self, user: str, signed: SignedBundle, now_ms: int) -> tuple[Trust | None, list[Event]]:
        """Check a bundle that the broker handed out, and keep it if its key is this name's.

        Returns what speaks against the key (CHANGED or BLOCKED; None if nothing does), and the news; raises BadBundle.
        """
        bundle = read_bundle(signed, user)
        if not bundle.valid_at(now_ms):
            raise BadBundle(user=user, why="it is not valid now")
        if bundle.seq < self._memory.newest_bundle(bundle.ik.kid):
            raise BadBundle(user=user, why="it is older than one that was seen before")
        usable, news = self.meet(user, bundle.ik.kid, bundle.kind, now_ms)
        if not usable:
            return self.trust_of(user, bundle.ik.kid), news
        self._memory.saw_bundle(bundle.ik.kid, bundle.seq)
        self._bundles[user] = (bundle, now_ms)
        return None, news

    def forget_bundles(self, users: Iterable[str] | None = None) -> None:
        """Look these users' bundles (by default everybody's) up again before sealing to them."""
        for user in list(self._bundles) if users is None else users:
            self._bundles.pop(user, None)
