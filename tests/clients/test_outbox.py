"""An outbox keeps what was to be sent, until it has a result: the same promises from a guest's and from a profile's."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.store import Store
from core.bundle import Suite
from core.content import Text
from core.errors import LocalProtocolError, MessageTooLong, RecordDamaged, StoreFailed
from core.events import Outcome
from core.limits import HEARTBEAT, REPLAY_MEMORY_MS
from core.outbox import Copy, Outbox, Outgoing, SessionOutbox, compose
from tests.attacks.lies import Town

NOW = 1_800_000_000_000
KID, OTHER = bytes([1]) * 32, bytes([2]) * 32
PROOF = bytes([4]) * 32
DATA_KEY = bytes([5]) * 32
LEASE = 30_000

Open = Callable[[], Outbox]
"""A view of the outbox as it stands: the same object, or one made by another process."""


@pytest.fixture(params=["session", "store", "store opened each time"])
def look(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    if request.param == "session":
        outbox = SessionOutbox()
        yield lambda: outbox
        return
    with ExitStack() as stack:
        one = stack.enter_context(closing(Store(tmp_path / "profile.db", DATA_KEY)))
        if request.param == "store":
            yield lambda: one.outbox
        else:
            yield lambda: stack.enter_context(closing(Store(tmp_path / "profile.db", DATA_KEY))).outbox


def message(text: str = "hello", to: tuple[str, ...] = ("bob",), *, everyone: bool = False) -> list[Outgoing]:
    return compose(os.urandom(16), Text(text), to, everyone=everyone, suite=Suite.CHUNKED, at=NOW, random=os.urandom)


# What a message becomes


def test_single_people_get_an_envelope_each_and_everyone_one_for_256() -> None:
    id_ = os.urandom(16)
    one, two = compose(id_, Text("hi"), ("bob", "carol", "bob"), everyone=False, suite=Suite.HYBRID, at=NOW, random=os.urandom)
    assert (one, two.id, two.to) == (Outgoing(id_, id_, Text("hi"), ("bob",), False, Suite.HYBRID, NOW), id_, ("carol",))
    assert two.mid != id_
    users = [f"u{at}" for at in range(257)]
    large, rest = compose(id_, Text("hi"), users, everyone=True, suite=Suite.HYBRID, at=NOW, random=os.urandom)
    assert (large.to, rest.to) == (tuple(users[:256]), ("u256",))


def test_what_is_too_long_is_no_message() -> None:
    with pytest.raises(MessageTooLong):
        message("x" * 9000)


# The promises


def test_what_was_added_is_claimed_once_and_in_order(look: Open) -> None:
    envelopes = [*message("one"), *message("two", ("bob", "carol")), *message("three")]
    look().add(envelopes)
    outbox = look()
    assert outbox.claim(3, NOW) == envelopes[:3]
    assert outbox.claim(9, NOW) == envelopes[3:]
    assert outbox.claim(9, NOW) == []


def test_an_id_is_taken_once_and_otherwise_nothing_is(look: Open) -> None:
    (known,), (fresh,) = message(), message()
    look().add([known])
    with pytest.raises(LocalProtocolError):
        look().add([fresh, known])
    assert look().claim(9, NOW) == [known]
    look().settle(known.mid, "bob", Outcome.DELIVERED, NOW)
    with pytest.raises(LocalProtocolError):
        look().add([known])


def test_a_copy_has_one_number_under_one_key(look: Open) -> None:
    one, two = (*message(), *message())
    look().add([one, two])
    assert look().copy(one.mid, "bob") == Copy(one.id, "bob")
    assert look().number(one.mid, "bob", KID) == 1
    assert look().number(one.mid, "bob", KID) == 1
    assert look().number(one.mid, "bob", OTHER) is None
    assert look().number(two.mid, "bob", KID) == 2
    look().expect(one.mid, "bob", bytes(32))
    look().expect(one.mid, "bob", KID)
    assert look().copy(one.mid, "bob") == Copy(one.id, "bob", Outcome.QUEUED, KID, 1, (bytes(32), KID))
    assert look().copy(one.mid, "carol") is None
    assert look().copy(bytes(16), "bob") is None


@pytest.mark.parametrize("outcome", [one for one in Outcome if one.final])
def test_what_is_final_stays(look: Open, outcome: Outcome) -> None:
    (one,) = message()
    look().add([one])
    assert look().settle(one.mid, "bob", Outcome.STORED, NOW)
    assert not look().settle(one.mid, "bob", Outcome.STORED, NOW)
    assert look().settle(one.mid, "bob", outcome, NOW)
    for later in Outcome:
        assert not look().settle(one.mid, "bob", later, NOW)
    copy = look().copy(one.mid, "bob")
    assert copy
    assert copy.outcome is outcome


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_the_number_of_a_copy_that_failed_is_void(look: Open, outcome: Outcome) -> None:
    one, unnumbered = (*message(), *message())
    look().add([one, unnumbered])
    look().number(one.mid, "bob", KID)
    look().settle(one.mid, "bob", outcome, NOW)
    look().settle(unnumbered.mid, "bob", outcome, NOW)
    assert list(look().void("bob", KID)) == ([1] if outcome.failed else [])
    assert list(look().void("bob", OTHER)) == list(look().void("carol", KID)) == []
    look().told("bob", KID, [1, 7])
    assert list(look().void("bob", KID)) == []


def test_of_too_many_copies_a_guest_forgets_the_oldest_that_have_their_end() -> None:
    outbox = SessionOutbox()
    done, waiting, last, one_more = (message()[0] for _ in range(4))
    many = message(to=tuple(f"u{at}" for at in range(256)), everyone=True)
    outbox.add([done, waiting])
    outbox.settle(done.mid, "bob", Outcome.DELIVERED, NOW)
    for at in range(2**14 // 256 - 1):
        outbox.add([replace(one, mid=at.to_bytes(16, "big")) for one in many])
    outbox.add([replace(many[0], mid=bytes([255]) * 16, to=many[0].to[:254])])
    assert outbox.copy(done.mid, "bob")  # 16,384 of them
    outbox.add([last])
    assert outbox.copy(done.mid, "bob") is None
    outbox.add([one_more])
    assert all(outbox.copy(one.mid, "bob") for one in (waiting, last, one_more))


# What a profile's promises beyond that


def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "profile.db", DATA_KEY)


def test_what_has_a_result_waits_no_more(tmp_path: Path) -> None:
    one, two = (*message("one", ("bob",)), *message("two", ("bob", "carol"), everyone=True))
    with closing(store(tmp_path)) as first:
        first.outbox.add([one, two])
        first.outbox.claim(9, NOW)
        first.outbox.settle(one.mid, "bob", Outcome.STORED, NOW)
        first.outbox.settle(two.mid, "carol", Outcome.ABSENT, NOW)
    with closing(store(tmp_path)) as second:
        (left,) = second.outbox.waiting()
        assert (left.mid, left.to, left.everyone) == (two.mid, ("bob",), True)
        second.outbox.settle(two.mid, "bob", Outcome.DELIVERED, NOW)
        assert second.outbox.waiting() == []
        assert second.outbox.claim(9, NOW + 10 * LEASE) == []


def test_what_the_dead_have_claimed_is_claimed_by_the_living(tmp_path: Path) -> None:
    (one,) = message()
    with closing(store(tmp_path)) as first, closing(store(tmp_path)) as second:
        first.outbox.add([one])
        assert first.outbox.claim(9, NOW) == [one]
        assert second.outbox.claim(9, NOW + LEASE) == []
        first.outbox.hold(NOW + LEASE)
        assert second.outbox.claim(9, NOW + 2 * LEASE) == []
        assert second.outbox.claim(9, NOW + 2 * LEASE + 1) == [one]
        assert first.outbox.claim(9, NOW + 2 * LEASE + 1) == []
        second.outbox.release()
        assert first.outbox.claim(9, NOW + 2 * LEASE + 2) == [one]


def test_what_could_not_be_released_is_claimed_again_later(tmp_path: Path) -> None:
    (one,) = message()
    with closing(store(tmp_path)) as mine, closing(sqlite3.connect(tmp_path / "profile.db")) as vandal:
        mine.outbox.add([one])
        assert mine.outbox.claim(9, NOW) == [one]
        vandal.execute("ALTER TABLE outbox RENAME TO elsewhere")
        vandal.commit()
        with pytest.raises(StoreFailed):
            mine.outbox.release()
        vandal.execute("ALTER TABLE elsewhere RENAME TO outbox")
        vandal.commit()
        assert mine.outbox.claim(9, NOW + LEASE) == []
        assert mine.outbox.claim(9, NOW + LEASE + 1) == [one]


def test_what_one_claims_another_does_not(tmp_path: Path) -> None:
    envelopes = [one for _ in range(20) for one in message()]
    with closing(store(tmp_path)) as first, closing(store(tmp_path)) as second:
        first.outbox.add(envelopes)
        claimed = [one for _ in range(4) for which in (first, second) for one in which.outbox.claim(3, NOW)]
        assert claimed == envelopes


def test_a_turn_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    one, two = (*message(), *message())
    with closing(store(tmp_path)) as mine:
        mine.outbox.add([one])
        with contextlib.suppress(KeyError), mine.together():
            mine.outbox.add([two])
            mine.outbox.number(one.mid, "bob", KID)
            with mine.together():
                mine.outbox.settle(one.mid, "bob", Outcome.ABSENT, NOW)
            raise KeyError
        assert mine.outbox.waiting() == [one]
        assert mine.outbox.copy(one.mid, "bob") == Copy(one.id, "bob")
        assert mine.outbox.number(one.mid, "bob", KID) == 1


def test_old_copies_are_forgotten_but_none_that_may_still_get_a_result(tmp_path: Path) -> None:
    done, stored = (*message(), *message())
    with closing(store(tmp_path)) as mine:
        mine.outbox.add([done, stored])
        mine.outbox.settle(done.mid, "bob", Outcome.DELIVERED, NOW)
        mine.outbox.settle(stored.mid, "bob", Outcome.STORED, NOW)
        later = NOW + REPLAY_MEMORY_MS + 1
        mine.outbox.add(
            compose(os.urandom(16), Text("x"), ("bob",), everyone=False, suite=Suite.HYBRID, at=later, random=os.urandom)
        )
        assert mine.outbox.copy(done.mid, "bob") is None
        assert mine.outbox.copy(stored.mid, "bob") is not None


def test_texts_are_encrypted_and_bound_to_their_ids(tmp_path: Path) -> None:
    one, two = (*message("a secret text"), *message("another one"))
    with closing(store(tmp_path)) as mine:
        mine.outbox.add([one, two])
    assert all(b"secret text" not in path.read_bytes() for path in tmp_path.iterdir())
    with closing(sqlite3.connect(tmp_path / "profile.db")) as vandal:
        ((body,),) = vandal.execute("SELECT body FROM outbox WHERE mid = ?", (one.mid,))
        vandal.execute("UPDATE outbox SET body = ? WHERE mid = ?", (body, two.mid))
        vandal.commit()
    with closing(store(tmp_path)) as mine, pytest.raises(RecordDamaged):
        mine.outbox.waiting()
    with closing(Store(tmp_path / "profile.db", bytes(32))) as other, pytest.raises(RecordDamaged):
        other.outbox.claim(1, NOW)


def test_a_session_forgets_what_a_failing_disk_may_not_have_kept(tmp_path: Path) -> None:
    town = Town()
    with closing(Store(tmp_path / "profile.db", DATA_KEY)) as store:
        alice = town.join_profile("alice", store)
        id_ = town.submit(alice, "hello", "bob")
        assert alice.session.outgoing()
        town.submit(alice, "again", "bob")
    alice.session.forget()  # nothing can be written any more
    assert alice.session.outgoing() == []
    with closing(Store(tmp_path / "profile.db", DATA_KEY)) as store:
        assert id_ in {one.mid for one in store.outbox.claim(10, town.now.ms + LEASE + 1)}


def test_a_session_that_lives_holds_what_it_has_claimed(tmp_path: Path) -> None:
    town = Town()
    town.join("bob")
    with closing(Store(tmp_path / "profile.db", DATA_KEY)) as store, closing(Store(tmp_path / "profile.db", DATA_KEY)) as other:
        alice = town.join_profile("alice", store)
        alice.to_broker = lambda raw: [raw] if len(raw) == 1 else []
        town.say(alice, "never answered", "bob")
        for _ in range(2 * LEASE // 1000 // int(HEARTBEAT)):
            town.pass_time(HEARTBEAT)
            alice.events += alice.session.tick(town.now)
            town.settle()
            assert other.outbox.claim(1, town.now.ms) == []
        town.pass_time(LEASE / 1000 + 1)
        assert len(other.outbox.claim(1, town.now.ms)) == 1


def test_a_profile_from_a_backup_numbers_anew_and_gives_up_what_waited(tmp_path: Path) -> None:
    with closing(store(tmp_path)) as one:
        (stored,), (waits,) = message("stored"), message("waits")
        one.outbox.add([stored, waits])
        assert [one.outbox.number(each.mid, "bob", KID) for each in (stored, waits)] == [1, 2]
        one.outbox.expect(stored.mid, "bob", PROOF)
        one.outbox.settle(stored.mid, "bob", Outcome.STORED, NOW)
        assert [given_up.mid for given_up in one.begin_anew(NOW)] == [waits.mid]
        assert one.outbox.waiting() == []
        assert one.begin_anew(NOW) == []
        # A number of the old counting that turns out to be void now means nothing in the new one.
        one.outbox.settle(stored.mid, "bob", Outcome.EXPIRED, NOW)
        assert list(one.outbox.void("bob", KID)) == []
        (after,) = message("after")
        one.outbox.add([after])
        assert one.outbox.number(after.mid, "bob", KID) == 1
        copy = one.outbox.copy(stored.mid, "bob")
        assert copy
        assert copy.proofs == (PROOF,)


def test_ctrl_c_as_a_turn_begins_leaves_none_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(store(tmp_path)) as one:
        query = one.query

        def interrupted(sql: str, *values: object) -> list[tuple[Any, ...]]:
            query(sql, *values)
            raise KeyboardInterrupt

        monkeypatch.setattr(one, "query", interrupted)
        with pytest.raises(KeyboardInterrupt), one.together():
            pass
        monkeypatch.undo()
        one.outbox.add(message())
        with closing(store(tmp_path)) as other:
            assert len(other.outbox.waiting()) == 1
