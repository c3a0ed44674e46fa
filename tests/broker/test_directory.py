"""Names, who holds them, and what the roster says about it."""

from __future__ import annotations

import itertools

from broker.directory import Connection, Directory
from core.bundle import Kind
from core.limits import ROSTER_CHUNK, USER_CONNECTIONS_MAX
from core.memory import SessionMemory
from core.messages import Entry, Hello, Mode, Roster
from core.peers import Peers

numbers = itertools.count()
KID, OTHER_KID = bytes(32), bytes([1]) * 32


def connection(user: str, mode: Mode = Mode.FULL) -> Connection:
    hello = Hello((1,), mode, user, Kind.GUEST, bytes(294), None, None, bytes(32))
    return Connection(b"rid %d" % next(numbers), hello, 0.0)


def entered(directory: Directory, user: str, kid: bytes = KID, mode: Mode = Mode.FULL) -> Connection:
    one = connection(user, mode)
    directory.enter(one, kid)
    return one


def changes(directory: Directory) -> tuple[set[str], set[str]]:
    """What joined and what left since this was last asked."""
    parts = list(directory.changes())
    return {entry.user for part in parts for entry in part.joined}, {user for part in parts for user in part.left}


def test_a_name_is_held_until_its_last_connection_leaves() -> None:
    directory = Directory()
    first, second = entered(directory, "bob"), entered(directory, "bob")
    assert directory.holder("bob") == KID
    directory.leave(first)
    assert directory.holder("bob") == KID
    assert directory.receivers[b"bob"] == (second,)
    directory.leave(second)
    assert directory.holder("bob") is None
    assert not directory.receivers
    assert directory.present == 0


def test_a_user_may_open_only_so_many_connections() -> None:
    directory = Directory()
    held = [entered(directory, "bob") for _ in range(USER_CONNECTIONS_MAX)]
    assert not directory.has_room("bob")
    assert directory.has_room("alice")
    directory.leave(held[0])
    assert directory.has_room("bob")


def test_whoever_only_sends_is_unseen() -> None:
    directory = Directory()
    one = entered(directory, "cron", mode=Mode.SEND)
    assert directory.holder("cron") == KID  # the name is taken all the same
    assert not directory.receivers
    assert not directory.changed
    assert directory.bundle("cron") is None
    directory.leave(one)
    assert not directory.changed
    assert directory.holder("cron") is None


def test_a_second_connection_is_no_news() -> None:
    directory = Directory()
    entered(directory, "bob")
    assert changes(directory) == ({"bob"}, set())
    second = entered(directory, "bob")
    assert not directory.changed
    directory.leave(second)
    assert changes(directory) == (set(), set())


def test_whoever_comes_and_goes_between_two_ticks_is_not_mentioned() -> None:
    directory = Directory()
    directory.leave(entered(directory, "bob"))
    assert changes(directory) == (set(), set())
    stays = entered(directory, "alice")
    changes(directory)
    directory.leave(stays)
    entered(directory, "alice")
    assert changes(directory) == (set(), set())


def test_a_name_that_another_key_took_between_two_ticks_is_told_anew() -> None:
    directory = Directory()
    one = entered(directory, "bob")
    changes(directory)
    directory.leave(one)
    entered(directory, "bob", OTHER_KID)
    (part,) = directory.changes()
    assert part == Roster(full=False, more=False, joined=(Entry("bob", Kind.GUEST, OTHER_KID),), left=())


def test_many_changes_come_in_parts_that_add_up() -> None:
    directory = Directory()
    peers = Peers(SessionMemory())
    names = [f"user-{number}" for number in range(2 * ROSTER_CHUNK + 5)]
    connections = [entered(directory, name) for name in names]
    for part in directory.changes():
        assert len(part.joined) <= ROSTER_CHUNK
        peers.roster(part)
    assert set(peers.present) == set(names)
    for one in connections[3:]:
        directory.leave(one)
    entered(directory, "late")
    for part in directory.changes():
        peers.roster(part)
    assert set(peers.present) == {*names[:3], "late"}


def test_the_full_roster_comes_in_parts_that_take_effect_with_the_last() -> None:
    directory = Directory()
    peers = Peers(SessionMemory())
    assert list(directory.full_roster()) == [Roster(full=True, more=False, joined=(), left=())]
    names = [f"user-{number}" for number in range(ROSTER_CHUNK + 1)]
    for name in names:
        entered(directory, name)
    first, last = directory.full_roster()
    assert (first.full, first.more, last.full, last.more) == (True, True, False, False)
    assert not peers.roster(first)
    peers.roster(last)
    assert set(peers.present) == set(names)


def test_who_came_and_went_within_a_tick_is_told_of_if_a_whole_roster_named_them() -> None:
    directory = Directory()
    bob = entered(directory, "bob")
    list(directory.full_roster())  # somebody who has just logged in sees bob
    directory.leave(bob)
    assert changes(directory) == (set(), {"bob"})
    carol = entered(directory, "carol")
    directory.leave(carol)
    list(directory.full_roster())
    assert changes(directory) == (set(), set())
