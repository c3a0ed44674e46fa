"""What a client remembers: the same promises from a guest's memory and from a profile's database."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.store import Store
from core.bundle import Suite
from core.content import Text
from core.errors import StoreFailed
from core.limits import REPLAY_MEMORY_MS, TIME_MAX_MS
from core.memory import Memory, Pin, SessionMemory, Taken
from core.order import Stream
from core.outbox import Outgoing
from tests.broker_process import ROOT, race

NOW = 1_800_000_000_000
KID, OTHER = bytes([1]) * 32, bytes([2]) * 32
SID = bytes([3]) * 16
PROOF = bytes([4]) * 32
DATA_KEY = bytes([5]) * 32


def next_number(memory: Memory, user: str, kid: bytes) -> int | None:
    """The number of a new envelope's copy."""
    envelope = Outgoing(os.urandom(16), os.urandom(16), Text("x"), (user,), False, Suite.HYBRID, NOW)
    memory.outbox.add([envelope])
    return memory.outbox.number(envelope.mid, user, kid)


Open = Callable[[], Memory]
"""A view of the memory as it stands: the same object, or a database opened once more."""


@pytest.fixture(params=["session", "store", "store opened each time"])
def look(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    if request.param == "session":
        memory = SessionMemory()
        yield lambda: memory
        return
    with ExitStack() as stack:
        if request.param == "store":
            store = stack.enter_context(closing(Store(tmp_path / "profile.db", DATA_KEY)))
            yield lambda: store
        else:
            yield lambda: stack.enter_context(closing(Store(tmp_path / "profile.db", DATA_KEY)))


def mid(number: int) -> bytes:
    return number.to_bytes(16, "big")


def taken(number: int = 1, *, kid: bytes = KID, n: int | None = None, stream: Stream | None = None, sid: bytes = SID) -> Taken:
    n = number if n is None else n
    return Taken(kid, mid(number), PROOF, sid, n, stream or Stream(n))


# Pins

PINS = [
    Pin("bob", KID, profile=False, since=1),
    Pin("bob", KID, profile=True, since=NOW, verified=2, blocked=True, offered=OTHER, offered_at=3),
    Pin("bob", OTHER, profile=True, since=TIME_MAX_MS, blocked=True),
]


@pytest.mark.parametrize("pin", PINS, ids=["guest", "verified and blocked", "profile"])
def test_a_pin_is_kept_as_it_is(look: Open, pin: Pin) -> None:
    assert look().pin("bob") is None
    look().set_pin(pin)
    assert look().pin("bob") == pin
    assert look().pin("bo") is None


def test_a_pin_replaces_the_one_before_and_no_other(look: Open) -> None:
    for pin in PINS:
        look().set_pin(pin)
    look().set_pin(replace(PINS[0], user="alice"))
    assert look().pin("bob") == PINS[-1]
    assert sorted(look().pins(), key=lambda pin: pin.user) == [replace(PINS[0], user="alice"), PINS[-1]]


# What was taken


def test_what_was_taken_is_known_by_key_and_id(look: Open) -> None:
    assert look().taken(KID, mid(1)) is None
    look().take(taken(1), NOW)
    assert look().taken(KID, mid(1)) == PROOF
    assert look().taken(OTHER, mid(1)) is None
    assert look().taken(KID, mid(2)) is None


def test_a_number_is_known_by_key_and_space(look: Open) -> None:
    look().take(taken(1, n=7), NOW)
    assert look().numbered(KID, SID, 7) == mid(1)
    assert look().numbered(KID, SID, 1) is None
    assert look().numbered(OTHER, SID, 7) is None
    assert look().numbered(KID, bytes(16), 7) is None


def test_of_two_messages_under_a_number_one_is_known(look: Open) -> None:
    look().take(taken(1, n=7), NOW)
    look().take(taken(2, n=7), NOW)
    assert look().numbered(KID, SID, 7) in (mid(1), mid(2))
    assert look().taken(KID, mid(1)) == look().taken(KID, mid(2)) == PROOF


@pytest.mark.parametrize("stream", [Stream(9, ((1, 3), (5, 5))), Stream(2**53 - 1, ((1, 2**53 - 2),)), Stream(1)], ids=str)
def test_a_stream_is_kept_with_its_message(look: Open, stream: Stream) -> None:
    assert look().stream(KID, SID) == Stream()
    look().take(taken(1, stream=stream), NOW)
    assert look().stream(KID, SID) == stream
    assert look().stream(OTHER, SID) == look().stream(KID, bytes(16)) == Stream()
    look().take(taken(2, stream=Stream(20)), NOW)
    assert look().stream(KID, SID) == Stream(20)


def test_for_32_days_nothing_is_forgotten_and_after_that_it_is(look: Open) -> None:
    look().take(taken(1), NOW)
    look().take(taken(2), NOW + REPLAY_MEMORY_MS)
    assert look().taken(KID, mid(1)) == PROOF
    look().take(taken(3), NOW + REPLAY_MEMORY_MS + 1)
    assert look().taken(KID, mid(1)) is None
    assert look().numbered(KID, SID, 1) is None
    assert look().taken(KID, mid(2)) == look().taken(KID, mid(3)) == PROOF
    assert look().stream(KID, SID) == Stream(3)  # order outlives it


def test_two_messages_under_a_number_are_both_forgotten_in_time(look: Open) -> None:
    look().take(taken(1, n=7), NOW)
    look().take(taken(2, n=7), NOW)
    for number in (3, 4):
        look().take(taken(number), NOW + REPLAY_MEMORY_MS + 1)
    assert look().taken(KID, mid(1)) is look().taken(KID, mid(2)) is look().numbered(KID, SID, 7) is None
    assert look().taken(KID, mid(3)) == look().taken(KID, mid(4)) == PROOF


def test_of_too_many_streams_a_guest_forgets_the_one_that_was_silent_for_longest() -> None:
    memory = SessionMemory()
    sids = [number.to_bytes(16, "big") for number in range(4097)]
    for number, sid in enumerate(sids[:-1], 1):
        memory.take(taken(number, sid=sid), NOW)
    memory.take(taken(5000, sid=sids[0]), NOW)
    assert memory.stream(KID, sids[1]) == Stream(2)
    memory.take(taken(5001, sid=sids[-1]), NOW)
    assert memory.stream(KID, sids[1]) == Stream()
    assert [memory.stream(KID, sids[at]) for at in (0, 2, -1)] == [Stream(5000), Stream(3), Stream(5001)]


# Numbers and bundles


def test_numbers_count_from_1_for_each_name_and_key(look: Open) -> None:
    assert [next_number(look(), "bob", KID) for _ in range(3)] == [1, 2, 3]
    assert next_number(look(), "bob", OTHER) == 1
    assert next_number(look(), "alice", KID) == 1
    assert next_number(look(), "bob", KID) == 4


def test_the_newest_bundle_never_goes_back(look: Open) -> None:
    assert look().newest_bundle(KID) == 0
    for seen, newest in ((3, 3), (2, 3), (3, 3), (2**53 - 1, 2**53 - 1), (1, 2**53 - 1)):
        look().saw_bundle(KID, seen)
        assert look().newest_bundle(KID) == newest
    assert look().newest_bundle(OTHER) == 0


# Both say the same

kids = st.sampled_from([KID, OTHER])
users = st.sampled_from(["alice", "bob"])
small = st.integers(1, 4)
pins = st.builds(Pin, users, kids, st.booleans(), small, st.none() | small, st.booleans(), st.none() | kids, st.none() | small)
streams = st.builds(Stream, small, st.lists(st.tuples(small, small), max_size=2).map(tuple))
takes = st.tuples(kids, small, small, streams)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("pin"), pins),
        st.tuples(st.just("take"), takes),
        st.tuples(st.just("number"), st.tuples(users, kids)),
        st.tuples(st.just("bundle"), st.tuples(kids, small)),
    ),
    max_size=30,
)


def everything(memory: Memory) -> object:
    both = (KID, OTHER)
    return (
        sorted(memory.pins(), key=lambda pin: pin.user),
        [memory.pin(user) for user in ("alice", "bob", "carol")],
        [memory.taken(kid, mid(number)) for kid in both for number in range(5)],
        [memory.numbered(kid, SID, n) is None for kid in both for n in range(5)],
        [memory.stream(kid, SID) for kid in both],
        [memory.newest_bundle(kid) for kid in both],
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps)
def test_both_memories_say_the_same(tmp_path: Path, history: list[tuple[str, object]]) -> None:
    path = tmp_path / f"{os.urandom(8).hex()}.db"
    guest = SessionMemory()
    with closing(Store(path, DATA_KEY)) as profile:
        for what, value in history:
            told = []
            for memory in (guest, profile):
                match what, value:
                    case "pin", Pin() as pin:
                        memory.set_pin(pin)
                    case "take", (bytes(kid), int(number), int(n), Stream() as stream):
                        if memory.taken(kid, mid(number)) is None:  # a session takes each once
                            memory.take(Taken(kid, mid(number), PROOF, SID, n, stream), NOW)
                    case "number", (str(user), bytes(kid)):
                        told.append(next_number(memory, user, kid))
                    case "bundle", (bytes(kid), int(seq)):
                        memory.saw_bundle(kid, seq)
            assert len(set(told)) <= 1
        assert everything(guest) == everything(profile)
    with closing(Store(path, DATA_KEY)) as again:
        assert everything(guest) == everything(again)


# The database itself


def test_settings_are_kept(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "profile.db", DATA_KEY)) as store:
        assert store.setting("broker") is None
        store.set_setting("broker", "one")
        store.set_setting("broker", "two")
        store.set_setting("other", "three")
    with closing(Store(tmp_path / "profile.db", DATA_KEY)) as store:
        assert (store.setting("broker"), store.setting("other")) == ("two", "three")


NUMBERS = """
import sys
from pathlib import Path
from clients.store import Store
store = Store(Path(sys.argv[1]), bytes(32))
print("ready", flush=True)
input()
from tests.clients.test_memory import next_number
print(*[next_number(store, "bob", bytes(32)) for _ in range(50)])
"""


def test_two_processes_never_give_out_a_number_twice(tmp_path: Path) -> None:
    given_out = [int(number) for printed in race(NUMBERS, str(tmp_path / "profile.db")) for number in printed.split()]
    assert sorted(given_out) == list(range(1, 101))


def test_what_one_process_remembers_the_other_knows_at_once(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "profile.db", DATA_KEY)) as one, closing(Store(tmp_path / "profile.db", DATA_KEY)) as other:
        one.set_pin(PINS[1])
        assert other.pin("bob") == PINS[1]
        other.take(taken(1), NOW)
        assert one.taken(KID, mid(1)) == PROOF
        assert one.stream(KID, SID) == Stream(1)
        one.saw_bundle(KID, 4)
        assert other.newest_bundle(KID) == 4


KILLED = """
import os, signal, sys
from pathlib import Path
from clients.store import Store
from core.memory import Pin
store = Store(Path(sys.argv[1]), bytes(32))
store.set_pin(Pin("bob", bytes(32), True, 1))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_remembered_outlives_a_process_that_is_killed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "profile.db")], cwd=ROOT, timeout=60, check=False)
    with closing(Store(tmp_path / "profile.db", DATA_KEY)) as store:
        assert store.pin("bob") == Pin("bob", bytes(32), profile=True, since=1)


def test_it_is_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(Store(tmp_path / "profile.db", DATA_KEY)) as store:
            store.set_pin(PINS[0])
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(modes) >= {"profile.db", "profile.db-wal"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("raw", [b"no database at all, and long enough to be read as one" * 50])
def test_a_file_that_is_none_is_left_as_it_is(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "profile.db"
    path.write_bytes(raw)
    with pytest.raises(StoreFailed):
        Store(path, DATA_KEY)
    assert path.read_bytes() == raw


def test_one_of_another_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "profile.db"
    Store(path, DATA_KEY).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreFailed, match="of version 99"):
        Store(path, DATA_KEY)


def test_a_link_and_a_folder_are_no_database(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder", "missing/profile.db"):
        with pytest.raises(StoreFailed):
            Store(tmp_path / name, DATA_KEY)
    assert not (tmp_path / "elsewhere").exists()


def test_a_message_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "profile.db"
    with closing(Store(path, DATA_KEY)) as store:
        store.take(taken(1), NOW)
        with closing(sqlite3.connect(path)) as vandal:
            vandal.execute("DROP TABLE streams")
            vandal.commit()
        with pytest.raises(StoreFailed):
            store.take(taken(2), NOW)
        assert store.taken(KID, mid(2)) is None
        assert store.taken(KID, mid(1)) == PROOF
        store.set_pin(PINS[0])  # and what follows is not caught in what failed
    with closing(Store(path, DATA_KEY)) as store:
        assert store.pin("bob") == PINS[0]
