"""Who is here: connections, the names they hold, and what changed in the roster since the last tick."""

from __future__ import annotations

from collections.abc import Iterator

from core.bundle import Kind, SignedBundle
from core.limits import ROSTER_CHUNK, USER_CONNECTIONS_MAX
from core.messages import Entry, Hello, Mode, Roster

Copy = tuple["Connection", bytes, int, int, tuple["Connection", ...]]
"""A copy on its way: who sent it, its mid, its place among the recipients, its size in bytes, and all that were given it."""


class Connection:
    """One client's connection, from its HELLO to its end. ``rid`` is ZeroMQ's random routing id, never a name."""

    __slots__ = (
        "behind",
        "bytes_out",
        "challenge",
        "client_key",
        "copies",
        "hello",
        "ready",
        "results",
        "rid",
        "seen",
        "sender",
        "since",
    )

    def __init__(self, rid: bytes, client_key: bytes, hello: Hello, challenge: bytes, now: float) -> None:
        self.rid = rid
        self.client_key = client_key
        self.hello = hello
        self.challenge = challenge
        self.since = self.seen = now
        self.ready = False
        self.behind = False  # could not be sent a roster change, so needs the whole roster
        self.sender = hello.user.encode("ascii")
        self.copies: dict[int, Copy] = {}
        self.bytes_out = 0
        self.results: list[bytes] = []

    @property
    def user(self) -> str:
        """The name that this connection speaks for; proven only once it is ``ready``."""
        return self.hello.user


class _User:
    __slots__ = ("bundle", "connections", "kid", "kind", "seq")

    def __init__(self, kind: Kind, kid: bytes) -> None:
        self.kind = kind
        self.kid = kid
        self.bundle: SignedBundle | None = None
        self.seq = 0
        self.connections: list[Connection] = []


class Directory:
    """Names and who holds them. A guest's name belongs to its key for as long as a connection of that key lives."""

    def __init__(self) -> None:
        self.receivers: dict[bytes, tuple[Connection, ...]] = {}  # by name in ASCII: the hot path looks names up as they come
        self._users: dict[str, _User] = {}
        self._entries: dict[str, Entry] = {}
        self._told: dict[str, Entry | None] = {}  # for each name that changed since the last tick: what the roster said then

    def holder(self, user: str) -> bytes | None:
        """The kid of the key that holds this name now."""
        known = self._users.get(user)
        return known.kid if known else None

    def has_room(self, user: str) -> bool:
        """Whether this user may open another connection."""
        known = self._users.get(user)
        return known is None or len(known.connections) < USER_CONNECTIONS_MAX

    def enter(self, connection: Connection, kid: bytes, seq: int = 0) -> None:
        """Let a proven connection in; ``seq`` is its bundle's."""
        hello = connection.hello
        user = self._users.setdefault(hello.user, _User(hello.kind, kid))
        user.connections.append(connection)
        if hello.mode is Mode.FULL:
            self.renew(connection, hello.bundle, seq)
            self._refresh(hello.user)

    def renew(self, connection: Connection, bundle: SignedBundle | None, seq: int) -> None:
        """Hand out this bundle for the user of this connection, unless another connection brought a newer one."""
        user = self._users[connection.user]
        if user.bundle is None or seq >= user.seq:  # peers who saw the newer one would not believe an older
            user.bundle, user.seq = bundle, seq

    def leave(self, connection: Connection) -> None:
        """Let go of a connection, and of its name if it was the last to hold it."""
        name = connection.hello.user
        user = self._users[name]
        user.connections.remove(connection)
        if not user.connections:
            del self._users[name]
        if connection.hello.mode is Mode.FULL:
            self._refresh(name)

    def bundle(self, user: str) -> SignedBundle | None:
        """The bundle of somebody who is present."""
        return self._users[user].bundle if user in self._entries else None

    def full_roster(self) -> Iterator[Roster]:
        """The whole roster, in as many parts as it takes."""
        entries = list(self._entries.values())
        for at in range(0, max(1, len(entries)), ROSTER_CHUNK):
            yield Roster(
                full=at == 0, more=at + ROSTER_CHUNK < len(entries), joined=tuple(entries[at : at + ROSTER_CHUNK]), left=()
            )

    def changes(self) -> Iterator[Roster]:
        """What changed since this was last asked, net: whoever came and went in between is not mentioned."""
        joined = [now for user, before in self._told.items() if (now := self._entries.get(user)) and now != before]
        left = [user for user, before in self._told.items() if before and user not in self._entries]
        self._told.clear()
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
        full = tuple(one for one in user.connections if one.hello.mode is Mode.FULL) if user else ()
        before = self._entries.get(name)
        key = name.encode("ascii")
        if user and full:
            self.receivers[key] = full
            now = self._entries[name] = Entry(name, user.kind, user.kid)
        else:
            self.receivers.pop(key, None)
            self._entries.pop(name, None)
            now = None
        if now != before:
            self._told.setdefault(name, before)
