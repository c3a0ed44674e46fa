"""Who is here: connections, the names they hold, and what changed in the roster since the last tick."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from broker.catchup import CatchUp
from core.bundle import Kind, SignedBundle
from core.encoding import b64url
from core.limits import ROSTER_CHUNK, USER_CONNECTIONS_MAX
from core.messages import Entry, Hello, Mode, Roster
from core.rsa import kid_of

Body = Any
"""A frame of mail as it came, which nobody here looks into: bytes, or something with a length that ``bytes()`` copies."""
Copy = tuple["Connection", bytes, int, int, tuple["Connection", ...], Body]
"""A copy on its way: who sent it, its mid, its place among the recipients, its size in bytes, and all that were given it.

The last is what a mailbox may need: the ``common`` of a SEND, or a pair of ``common`` and wrap; None for whoever has none.
"""


class Connection:
    """One client's connection, from its HELLO to its end. ``rid`` is ZeroMQ's random routing id, never a name.

    ``user`` and ``kid`` (b64u, of its identity key) are proven only once it is ``ready``. Of its HELLO nothing else is kept:
    those who are connected are many, and most are idle.
    """

    __slots__ = (
        "behind",
        "bytes_out",
        "catch_up",
        "copies",
        "kid",
        "kind",
        "left",
        "mode",
        "owned",
        "ready",
        "results",
        "rid",
        "seen",
        "sender",
        "user",
    )

    def __init__(self, rid: bytes, hello: Hello, now: float) -> None:
        self.rid = rid
        self.user = hello.user
        self.kind = hello.kind
        self.mode = hello.mode
        self.seen = now
        self.ready = False
        self.behind = False  # could not be sent a roster change, so needs the whole roster
        self.sender = hello.user.encode("ascii")
        self.kid = b64url(kid_of(hello.ik))
        self.owned = False  # whether its user's name is its key's for good, so that there is a mailbox
        self.left = 0  # messages that it may send before it asks for more
        self.copies: dict[int, Copy] = {}  # given to it and not acknowledged; those from the mailbox are in `catch_up`
        self.bytes_out = 0
        self.catch_up = CatchUp()
        self.results: list[bytes] = []


class _User:
    __slots__ = ("bundle", "connections", "kid", "kind", "live", "seq")

    def __init__(self, kind: Kind, kid: bytes) -> None:
        self.kind = kind
        self.kid = kid
        self.bundle: SignedBundle | None = None
        self.seq = 0
        self.connections: list[Connection] = []
        self.live = True


class Directory:
    """Names and who holds them. A guest's name belongs to its key for as long as a connection of that key lives.

    ``receivers`` are those to whom new mail may be given at once, by their names in ASCII: as the hot path looks them up.
    """

    def __init__(self) -> None:
        self.receivers: dict[bytes, tuple[Connection, ...]] = {}
        self._users: dict[str, _User] = {}
        self._entries: dict[str, Entry] = {}
        self._told: dict[str, Entry | None] = {}  # for each name that changed since the last tick: what the roster said then
        self._shown: set[str] = set()  # of those, who was in a whole roster that somebody got since

    def holder(self, user: str) -> bytes | None:
        """The kid of the key that holds this name now."""
        known = self._users.get(user)
        return known.kid if known else None

    def has_room(self, user: str) -> bool:
        """Whether this user may open another connection."""
        known = self._users.get(user)
        return known is None or len(known.connections) < USER_CONNECTIONS_MAX

    def enter(self, connection: Connection, kid: bytes, bundle: SignedBundle | None = None, seq: int = 0) -> None:
        """Let a proven connection in, with its bundle, if it has one, and that one's ``seq``."""
        user = self._users.setdefault(connection.user, _User(connection.kind, kid))
        user.connections.append(connection)
        if connection.mode is Mode.FULL:
            self.renew(connection, bundle, seq)
            self._refresh(connection.user)

    def renew(self, connection: Connection, bundle: SignedBundle | None, seq: int) -> None:
        """Hand out this bundle for the user of this connection, unless another connection brought a newer one."""
        user = self._users[connection.user]
        if user.bundle is None or seq >= user.seq:  # peers who saw the newer one would not believe an older
            user.bundle, user.seq = bundle, seq

    def leave(self, connection: Connection) -> None:
        """Let go of a connection, and of its name if it was the last to hold it."""
        name = connection.user
        user = self._users[name]
        user.connections.remove(connection)
        if not user.connections:
            del self._users[name]
        if connection.mode is Mode.FULL:
            self._refresh(name)

    def connections_of(self, user: str) -> tuple[Connection, ...]:
        """All connections of this user."""
        known = self._users.get(user)
        return tuple(known.connections) if known else ()

    def receiving(self, user: str) -> tuple[Connection, ...]:
        """The connections of this user that receive."""
        known = self._users.get(user)
        return tuple([one for one in known.connections if one.mode is Mode.FULL]) if known else ()

    def set_live(self, user: str, live: bool) -> None:
        """Whether new mail may be given to this user at once, or has to wait behind what waits already."""
        known = self._users.get(user)
        if known and known.live is not live:
            known.live = live
            self._refresh(user)

    def bundle(self, user: str) -> SignedBundle | None:
        """The bundle of somebody who is present."""
        return self._users[user].bundle if user in self._entries else None

    def full_roster(self) -> Iterator[Roster]:
        """The whole roster, in as many parts as it takes."""
        self._shown.update(user for user in self._told if user in self._entries)
        entries = list(self._entries.values())
        for at in range(0, max(1, len(entries)), ROSTER_CHUNK):
            yield Roster(
                full=at == 0, more=at + ROSTER_CHUNK < len(entries), joined=tuple(entries[at : at + ROSTER_CHUNK]), left=()
            )

    def changes(self) -> Iterator[Roster]:
        """What changed since this was last asked, net: whoever came and went in between, and nobody saw, is not mentioned."""
        joined = [now for user, before in self._told.items() if (now := self._entries.get(user)) and now != before]
        left = [user for user, before in self._told.items() if (before or user in self._shown) and user not in self._entries]
        self._told.clear()
        self._shown.clear()
        for at in range(0, max(len(joined), len(left)), ROSTER_CHUNK):
            part = slice(at, at + ROSTER_CHUNK)
            yield Roster(full=False, more=False, joined=tuple(joined[part]), left=tuple(left[part]))

    @property
    def changed(self) -> bool:
        """Whether ``changes`` may have something to say."""
        return bool(self._told)

    @property
    def present(self) -> int:
        """How many users are present."""
        return len(self._entries)

    def _refresh(self, name: str) -> None:
        user = self._users.get(name)
        full = self.receiving(name)
        before = self._entries.get(name)
        key = name.encode("ascii")
        if user and full and user.live:
            self.receivers[key] = full
        else:
            self.receivers.pop(key, None)
        if user and full:
            now = self._entries[name] = Entry(name, user.kind, user.kid)
        else:
            self._entries.pop(name, None)
            now = None
        if now != before:
            self._told.setdefault(name, before)
