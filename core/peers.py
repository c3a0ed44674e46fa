"""What a client knows of others: who is here, which key each name is pinned to, and their current bundles."""

from __future__ import annotations

from collections.abc import Iterable

from core.bundle import Bundle, SignedBundle, read_bundle
from core.errors import BadBundle, RemoteProtocolError
from core.events import Event, PeerKeyChanged, RosterChanged, Trust
from core.limits import ROSTER_MAX
from core.messages import Entry, Roster


class Peers:
    """The roster as the broker tells it, and beside it what this client has seen for itself.

    The roster says who can be written to; it is never believed about keys. Those come from bundles and messages, whose
    signatures were checked, and the first one under a name pins it.
    """

    def __init__(self) -> None:
        self.present: dict[str, Entry] = {}
        self._pins: dict[str, bytes] = {}
        self._changed: set[str] = set()
        self._bundles: dict[str, Bundle] = {}
        self._arriving: dict[str, Entry] | None = None
        self._known = False

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
            initial, self._known = not self._known, True
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
        pinned = self._pins.get(user)
        if pinned is None:
            return Trust.NEW
        if pinned != kid:
            return Trust.CHANGED
        return Trust.CHANGED if user in self._changed else Trust.PINNED

    def meet(self, user: str, kid: bytes) -> list[Event]:
        """Take note that ``user`` proved to hold ``kid``. A guest's new key replaces the pin and is news."""
        pinned = self._pins.get(user)
        if pinned == kid:
            return []
        self._pins[user] = kid
        if pinned is None:
            return []
        self._changed.add(user)
        return [PeerKeyChanged(user, pinned, kid)]

    def bundle(self, user: str, now_ms: int) -> Bundle | None:
        """The bundle to seal to now; None if it must be looked up."""
        bundle = self._bundles.get(user)
        return bundle if bundle is not None and bundle.valid_at(now_ms) else None

    def learn(self, user: str, signed: SignedBundle, now_ms: int) -> list[Event]:
        """Check a bundle that the broker handed out, and keep it; raises BadBundle."""
        bundle = read_bundle(signed, user)
        if not bundle.valid_at(now_ms):
            raise BadBundle(user=user, why="it is not valid now")
        news = self.meet(user, bundle.ik.kid)
        self._bundles[user] = bundle
        return news

    def forget_bundles(self, users: Iterable[str] | None = None) -> None:
        """Look these users' bundles (by default everybody's) up again before sealing to them."""
        for user in list(self._bundles) if users is None else users:
            self._bundles.pop(user, None)
