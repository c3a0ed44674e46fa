"""Uploads, fetches and what is kept of files: the rules, on a disk that works when it is told to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import broker.blobs
import broker.fetches
from broker.blob_values import Append, Read
from broker.blobs import SLACK, UPLOADS_MAX
from broker.quota import Quota
from core.limits import BLOB_WINDOW, FETCH_MAX, PIECE_MAX
from core.messages import Discard, Extent, Fetch, NoBlob, Offer, Piece
from tests.broker.desk import Desk, lack

BLOB, OTHER = bytes(range(16)), bytes(range(16, 32))
MIB = 1024 * 1024
DAY = 86_400


def data_of(size: int, seed: int = 0) -> bytes:
    return (b"%d," % seed + bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    folder = tmp_path / "data"
    folder.mkdir()
    one = Desk(folder)
    yield one
    one.close()


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Callable[[Quota], Desk]]:
    made: list[Desk] = []

    def make(quota: Quota) -> Desk:
        made.append(Desk(tmp_path, quota))
        return made[-1]

    yield make
    for one in made:
        one.close()


# Uploads


def test_what_was_uploaded_is_fetched_by_anybody_who_knows_its_id(desk: Desk) -> None:
    alice, bob = desk.join("alice"), desk.join("bob")
    data = data_of(3 * PIECE_MAX + 5)
    desk.upload(alice, BLOB, data)
    assert desk.fetch(bob, BLOB, 0, len(data)) == data
    assert desk.fetch(bob, BLOB, 7, PIECE_MAX + 9) == data[7 : PIECE_MAX + 9]


def test_an_offer_is_answered_with_what_is_there_and_credit(desk: Desk) -> None:
    alice = desk.join("alice")
    assert desk.say(alice, Offer(BLOB, 100)) == [Extent(BLOB, 0, 100)]
    assert desk.say(alice, Offer(OTHER, 10 * BLOB_WINDOW)) == [Extent(OTHER, 0, BLOB_WINDOW)]


def test_only_what_is_on_disk_is_said_to_be(desk: Desk) -> None:
    alice = desk.join("alice")
    desk.disk_waits = True
    desk.say(alice, Offer(BLOB, 2 * BLOB_WINDOW))
    assert desk.say(alice, Piece(BLOB, 0, bytes(1000))) == []
    assert desk.say(alice, Piece(BLOB, 1000, bytes(500))) == []
    desk.work()
    assert desk.news(alice) == [Extent(BLOB, 1500, BLOB_WINDOW + 1500)]


def test_the_last_piece_makes_it_whole_and_not_before(desk: Desk) -> None:
    alice, bob = desk.join("alice"), desk.join("bob")
    desk.say(alice, Offer(BLOB, 10))
    assert desk.say(alice, Piece(BLOB, 0, b"12345")) == [Extent(BLOB, 5, 10)]
    assert lack(desk.fetch(bob, BLOB, 0, 5)) == "unknown"
    assert desk.say(alice, Piece(BLOB, 5, b"67890")) == [Extent(BLOB, 10, 10)]
    assert desk.fetch(bob, BLOB, 0, 10) == b"1234567890"


def test_a_whole_blob_changes_no_more(desk: Desk) -> None:
    alice = desk.join("alice")
    desk.upload(alice, BLOB, b"1234567890")
    assert desk.say(alice, Piece(BLOB, 0, b"x")) == []
    assert desk.say(alice, Offer(BLOB, 10)) == [Extent(BLOB, 10, 10)]
    assert desk.say(alice, Piece(BLOB, 0, b"x")) == []
    assert desk.fetch(alice, BLOB, 0, 10) == b"1234567890"
    assert alice not in desk.ended


@pytest.mark.parametrize(
    "piece",
    [
        Piece(BLOB, 1, b"a"),  # the first one beyond what is there
        Piece(BLOB, 0, bytes(11)),  # beyond the size
    ],
)
def test_a_first_piece_that_is_not_allowed_ends_the_connection(desk: Desk, piece: Piece) -> None:
    alice = desk.join("alice")
    desk.say(alice, Offer(BLOB, 10))
    desk.say(alice, piece)
    assert alice in desk.ended


@pytest.mark.parametrize("offset", [0, 4, 6])
def test_later_pieces_follow_on(desk: Desk, offset: int) -> None:
    alice = desk.join("alice")
    desk.say(alice, Offer(BLOB, 10))
    desk.say(alice, Piece(BLOB, 0, b"12345"))
    desk.say(alice, Piece(BLOB, offset, b"x"))
    assert alice in desk.ended


def test_a_piece_beyond_the_credit_ends_the_connection(desk: Desk) -> None:
    alice = desk.join("alice")
    desk.disk_waits = True
    desk.say(alice, Offer(BLOB, 2 * BLOB_WINDOW))
    for at in range(0, BLOB_WINDOW, PIECE_MAX):
        desk.say(alice, Piece(BLOB, at, bytes(PIECE_MAX)))
    assert alice not in desk.ended
    desk.say(alice, Piece(BLOB, BLOB_WINDOW, b"x"))
    assert alice in desk.ended


def test_pieces_of_those_who_do_not_write_it_are_ignored(desk: Desk) -> None:
    alice, bob = desk.join("alice"), desk.join("bob")
    assert desk.say(bob, Piece(BLOB, 0, b"x")) == []
    desk.say(alice, Offer(BLOB, 2))
    assert desk.say(bob, Piece(BLOB, 0, b"x")) == []
    assert bob not in desk.ended
    desk.say(alice, Piece(BLOB, 0, b"12"))
    assert desk.fetch(bob, BLOB, 0, 2) == b"12"


def test_one_connection_has_no_more_than_so_many_uploads_at_a_time(desk: Desk) -> None:
    alice = desk.join("alice")
    for number in range(UPLOADS_MAX):
        desk.upload(alice, bytes([number]) * 16, b"1", size=2)
    desk.say(alice, Piece(bytes(16), 1, b"2"))  # one of them is whole
    assert len(desk.say(alice, Offer(BLOB, 10))) == 1
    desk.say(alice, Offer(OTHER, 10))
    assert alice in desk.ended


# Going on with an upload


def test_an_upload_goes_on_where_it_was_broken_off(desk: Desk) -> None:
    data = data_of(100_000)
    first = desk.join("alice")
    desk.upload(first, BLOB, data[:70_000], size=len(data))
    desk.leave(first)
    again = desk.join("alice")
    assert desk.say(again, Offer(BLOB, len(data))) == [Extent(BLOB, 70_000, 100_000)]
    assert desk.say(again, Piece(BLOB, 70_000, data[70_000:])) == [Extent(BLOB, 100_000, 100_000)]
    whole = desk.fetch(again, BLOB, 0, len(data))
    assert whole == data


def test_and_after_a_restart(desk: Desk) -> None:
    desk.upload(desk.join("alice"), BLOB, b"12345", size=10)
    desk.restart()
    alice = desk.join("alice")
    assert desk.say(alice, Offer(BLOB, 10)) == [Extent(BLOB, 5, 10)]
    desk.say(alice, Piece(BLOB, 5, b"67890"))
    assert desk.fetch(alice, BLOB, 0, 10) == b"1234567890"


def test_it_may_begin_lower_and_what_is_there_counts_no_more(desk: Desk, tmp_path: Path) -> None:
    alice = desk.join("alice")
    desk.upload(alice, BLOB, b"12345678", size=10)
    assert desk.say(alice, Offer(BLOB, 10)) == [Extent(BLOB, 8, 10)]
    assert desk.say(alice, Piece(BLOB, 3, b"a")) == [Extent(BLOB, 4, 10)]
    (found,) = desk.restart(tmp_path / "crashed")
    assert found.upto == 4
    alice = desk.join("alice")
    assert desk.say(alice, Offer(BLOB, 10)) == [Extent(BLOB, 4, 10)]
    desk.say(alice, Piece(BLOB, 4, b"bcdefg"))
    assert desk.fetch(alice, BLOB, 0, 10) == b"123abcdefg"


def test_who_begins_much_lower_gets_no_more_credit_by_it(desk: Desk) -> None:
    alice = desk.join("alice")
    start = SLACK + MIB
    desk.upload(alice, BLOB, bytes(start), size=5 * BLOB_WINDOW)
    desk.leave(alice)
    alice = desk.join("alice")
    assert desk.say(alice, Offer(BLOB, 5 * BLOB_WINDOW)) == [Extent(BLOB, start, start + BLOB_WINDOW)]
    desk.disk_waits = True
    for at in range(0, BLOB_WINDOW + SLACK, PIECE_MAX):
        desk.say(alice, Piece(BLOB, at, bytes(PIECE_MAX)))
    assert alice not in desk.ended
    desk.say(alice, Piece(BLOB, BLOB_WINDOW + SLACK, b"x"))
    assert alice in desk.ended


def test_a_later_connection_takes_over_once_the_bytes_of_the_earlier_one_are_on_disk(desk: Desk) -> None:
    first, second = desk.join("alice"), desk.join("alice")
    desk.say(first, Offer(BLOB, 10))
    desk.disk_waits = True
    desk.say(first, Piece(BLOB, 0, b"1234"))
    assert desk.say(second, Offer(BLOB, 10)) == []
    assert desk.say(first, Piece(BLOB, 4, b"xxx")) == []  # ignored
    desk.work()
    assert desk.news(second) == [Extent(BLOB, 4, 10)]
    assert desk.news(first) == []
    desk.disk_waits = False
    desk.say(second, Piece(BLOB, 4, b"567890"))
    assert first not in desk.ended
    assert desk.fetch(first, BLOB, 0, 10) == b"1234567890"


def test_nothing_is_taken_before_an_offer_is_answered(desk: Desk) -> None:
    first, second = desk.join("alice"), desk.join("alice")
    desk.say(first, Offer(BLOB, 10))
    desk.disk_waits = True
    desk.say(first, Piece(BLOB, 0, b"1234"))
    desk.say(second, Offer(BLOB, 10))
    desk.say(second, Piece(BLOB, 0, b"x"))
    assert second in desk.ended


def test_another_users_blob_or_one_of_another_size_is_unknown(desk: Desk) -> None:
    alice, bob, impostor = desk.join("alice"), desk.join("bob"), desk.join("alice", key="other")
    desk.say(alice, Offer(BLOB, 10))
    for one in (bob, impostor):
        assert lack(desk.say(one, Offer(BLOB, 10))) == "unknown"
    assert lack(desk.say(alice, Offer(BLOB, 11))) == "unknown"
    assert desk.say(alice, Piece(BLOB, 0, b"x")) == [Extent(BLOB, 1, 10)]  # it is still hers to write


# Quotas


def test_a_users_blobs_together_have_a_bound(limited: Callable[[Quota], Desk]) -> None:
    desk = limited(Quota(user_bytes=2 * MIB))
    alice, bob = desk.join("alice"), desk.join("bob")
    desk.say(alice, Offer(BLOB, MIB + 1))  # counts at once, with no byte there yet
    assert lack(desk.say(alice, Offer(OTHER, MIB))) == "quota"
    assert desk.say(alice, Offer(OTHER, MIB - 1)) == [Extent(OTHER, 0, MIB - 1)]
    assert desk.say(bob, Offer(bytes(16), 2 * MIB)) == [Extent(bytes(16), 0, 2 * MIB)]
    desk.say(alice, Discard(BLOB))
    assert desk.say(alice, Offer(b"3" * 16, MIB + 1)) == [Extent(b"3" * 16, 0, MIB + 1)]


def test_all_blobs_together_have_one(limited: Callable[[Quota], Desk]) -> None:
    desk = limited(Quota(total_bytes=2 * MIB))
    assert desk.say(desk.join("alice"), Offer(BLOB, 2 * MIB)) == [Extent(BLOB, 0, 2 * MIB)]
    assert lack(desk.say(desk.join("bob"), Offer(OTHER, 1))) == "quota"


def test_small_ones_count_for_more_than_they_are(limited: Callable[[Quota], Desk]) -> None:
    desk = limited(Quota(user_bytes=MIB))
    alice = desk.join("alice")
    answers = [desk.say(alice, Offer(bytes([n]) * 16, 1)) for n in range(17)]
    assert [type(one) for (one,) in answers] == 16 * [Extent] + [NoBlob]


def test_quotas_hold_after_a_restart(limited: Callable[[Quota], Desk]) -> None:
    desk = limited(Quota(user_bytes=2 * MIB))
    desk.upload(desk.join("alice"), BLOB, b"x", size=2 * MIB)
    desk.restart()
    assert lack(desk.say(desk.join("alice"), Offer(OTHER, 1))) == "quota"
    assert (desk.blobs.count, desk.blobs.bytes, desk.blobs.unfinished) == (1, 2 * MIB, 1)


# Credit


def test_all_credit_together_has_a_bound_and_those_who_wait_get_theirs_in_turn(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker.blobs, "IN_FLIGHT_MAX", BLOB_WINDOW)
    clients = [desk.join(name) for name in ("ann", "bob", "cid", "dan")]
    size = 2 * BLOB_WINDOW
    desk.disk_waits = True
    answers = [desk.say(one, Offer(bytes([n]) * 16, size)) for n, one in enumerate(clients)]
    assert answers == [[Extent(bytes(16), 0, BLOB_WINDOW)], [], [], []]
    done: dict[int, int] = dict.fromkeys(range(4), 0)
    credit = {0: BLOB_WINDOW, 1: 0, 2: 0, 3: 0}
    for _ in range(100):
        for n, one in enumerate(clients):
            for at in range(done[n], credit[n], PIECE_MAX):
                desk.say(one, Piece(bytes([n]) * 16, at, data_of(min(PIECE_MAX, credit[n] - at), n)))
            done[n] = credit[n]
        assert sum(len(one.data) for one in desk.disk.waiting if isinstance(one, Append)) <= BLOB_WINDOW
        assert desk.blobs._reserved <= BLOB_WINDOW
        desk.work()
        for n, one in enumerate(clients):
            for said in desk.news(one):
                assert isinstance(said, Extent)
                credit[n] = max(credit[n], said.credit)
    assert done == dict.fromkeys(range(4), size)
    assert desk.blobs._reserved == 0


def test_credit_that_is_not_used_goes_to_those_who_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.blobs, "IN_FLIGHT_MAX", BLOB_WINDOW)
    idle, waiting = desk.join("ann"), desk.join("bob")
    desk.say(idle, Offer(BLOB, BLOB_WINDOW))
    desk.pass_time(600)
    assert desk.news(idle) == []  # nobody waits
    assert desk.say(waiting, Offer(OTHER, 10)) == []
    desk.pass_time(1)
    assert lack(desk.news(idle)) == "disk"
    assert desk.news(waiting) == [Extent(OTHER, 0, 10)]
    assert desk.say(idle, Piece(BLOB, 0, b"x")) == []
    assert idle not in desk.ended


def test_the_credit_of_a_connection_that_ends_goes_to_those_who_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.blobs, "IN_FLIGHT_MAX", BLOB_WINDOW)
    first, waiting = desk.join("ann"), desk.join("bob")
    desk.say(first, Offer(BLOB, BLOB_WINDOW))
    desk.say(first, Piece(BLOB, 0, b"x"))
    assert desk.say(waiting, Offer(OTHER, BLOB_WINDOW)) == []
    desk.leave(first)
    assert desk.news(waiting) == [Extent(OTHER, 0, BLOB_WINDOW)]
    desk.leave(waiting)
    assert desk.blobs._reserved == 0
    assert not desk.blobs._writing


# A disk that fails


def test_a_full_disk_refuses_the_blob_and_takes_it_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = desk.join("alice"), desk.join("bob")
    desk.say(alice, Offer(BLOB, 10))
    desk.say(alice, Piece(BLOB, 0, b"123"))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", full)
        assert lack(desk.say(alice, Piece(BLOB, 3, b"456"))) == "disk"
        assert desk.say(alice, Piece(BLOB, 6, b"7890")) == []  # sent before it knew
        assert desk.disk.failing
    assert alice not in desk.ended
    desk.upload(bob, OTHER, b"others go on")
    assert desk.say(alice, Offer(BLOB, 10)) == [Extent(BLOB, 3, 10)]
    desk.say(alice, Piece(BLOB, 3, b"4567890"))
    assert desk.fetch(bob, BLOB, 0, 10) == b"1234567890"
    assert not desk.disk.failing
    assert desk.blobs._reserved == 0


def test_a_blob_whose_row_was_never_written_can_be_offered_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = desk.join("alice")
    desk.disk_waits = True
    desk.say(alice, Offer(BLOB, 10))
    desk.say(alice, Piece(BLOB, 0, b"123"))
    with monkeypatch.context() as broken:
        broken.setattr(desk.disk, "_change", lambda _: False)
        desk.blobs.completed(desk.disk.work())
        desk.settle()
        assert lack(desk.news(alice)) == "disk"
        assert lack(desk.say(alice, Offer(BLOB, 10))) == "disk"  # until the disk has forgotten it
    desk.work()
    desk.disk_waits = False
    assert desk.say(alice, Offer(BLOB, 10)) == [Extent(BLOB, 0, 10)]
    desk.upload(alice, BLOB, b"1234567890")
    assert desk.fetch(alice, BLOB, 0, 10) == b"1234567890"
    assert (desk.blobs._reserved, desk.blobs.count, desk.blobs._charged) == (0, 1, PIECE_MAX)


def test_what_cannot_be_read_is_said_to_be_so(desk: Desk) -> None:
    alice = desk.join("alice")
    desk.upload(alice, BLOB, bytes(100))
    os.truncate(desk.disk._files.path(BLOB), 50)
    assert desk.fetch(alice, BLOB, 0, 50) == bytes(50)
    assert lack(desk.fetch(alice, BLOB, 0, 100)) == "disk"


# Fetches


@pytest.mark.parametrize(("blob", "upto"), [(OTHER, 1), (BLOB, 11)])
def test_what_is_not_there_is_unknown(desk: Desk, blob: bytes, upto: int) -> None:
    alice = desk.join("alice")
    desk.upload(alice, BLOB, bytes(10))
    assert lack(desk.fetch(alice, blob, 0, upto)) == "unknown"
    assert alice not in desk.ended


def test_more_than_a_window_may_not_be_asked_for_at_a_time(desk: Desk) -> None:
    alice = desk.join("alice")
    desk.upload(alice, BLOB, bytes(FETCH_MAX))
    desk.disk_waits = True
    for _ in range(BLOB_WINDOW // FETCH_MAX):
        desk.say(alice, Fetch(BLOB, 0, FETCH_MAX))
    assert alice not in desk.ended
    desk.work()
    assert sum(len(one.data) for one in desk.news(alice) if isinstance(one, Piece)) == BLOB_WINDOW
    for _ in range(BLOB_WINDOW // FETCH_MAX):
        desk.say(alice, Fetch(BLOB, 0, FETCH_MAX))
    desk.say(alice, Fetch(BLOB, 0, 1))
    assert alice in desk.ended


def test_all_reads_together_have_a_bound_and_take_turns(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.fetches, "READS_MAX", 3 * FETCH_MAX)
    clients = [desk.join(name) for name in ("ann", "bob", "cid", "dan")]
    desk.upload(clients[0], BLOB, data_of(FETCH_MAX))
    desk.news(clients[0])
    desk.disk_waits = True
    for one in clients:
        for _ in range(8):
            desk.say(one, Fetch(BLOB, 0, FETCH_MAX))
    asked = []
    while waiting := desk.disk.waiting:
        assert sum(one.size for one in waiting if isinstance(one, Read)) <= 3 * FETCH_MAX
        asked += [one.rid for one in waiting if isinstance(one, Read)]
        desk.disk.waiting = []
        desk.blobs.completed(desk.disk.work(waiting))
        desk.settle()
    assert len(asked) == 32
    for one in clients:
        places = [at for at, rid in enumerate(asked) if rid == one.rid]
        assert all(place <= 4 * turn + 8 for turn, place in enumerate(places)), places
        assert sum(len(piece.data) for piece in desk.news(one) if isinstance(piece, Piece)) == 8 * FETCH_MAX
    assert desk.blobs.fetches._reading == 0
    assert not desk.blobs.fetches._readers


def test_nothing_is_read_ahead_for_who_does_not_take_what_was_read(desk: Desk) -> None:
    slow, quick = desk.join("ann"), desk.join("bob")
    desk.upload(slow, BLOB, bytes(FETCH_MAX))
    fetches = desk.blobs.fetches
    for _ in range(8):
        assert desk.blobs.receive(slow, Fetch(BLOB, 0, FETCH_MAX), desk.now)
    handed = 0
    for _ in range(10):
        reads, desk.blobs.to_disk[:] = desk.blobs.to_disk.copy(), []
        desk.blobs.completed(desk.disk.work(reads))
        while fetches.first(slow):  # the socket takes it, but not the network
            fetches.handed(slow)
            handed += PIECE_MAX
    assert handed == broker.fetches.AHEAD_MAX
    assert fetches._reading == 0  # so that others are not held up
    assert desk.fetch(quick, BLOB, 0, FETCH_MAX) == bytes(FETCH_MAX)
    fetches.left(slow, handed)
    desk.settle()
    assert sum(len(one.data) for one in desk.news(slow) if isinstance(one, Piece)) == 8 * FETCH_MAX - handed
    assert not fetches._readers


def test_what_is_read_for_a_connection_that_has_ended_is_dropped(desk: Desk) -> None:
    alice, bob = desk.join("alice"), desk.join("bob")
    desk.upload(alice, BLOB, bytes(FETCH_MAX))
    desk.disk_waits = True
    for _ in range(3):
        desk.say(bob, Fetch(BLOB, 0, FETCH_MAX))
    desk.leave(bob)
    again = desk.join("bob")
    again.rid = bob.rid
    desk.say(again, Fetch(BLOB, 0, 5))
    desk.work()
    assert desk.news(again) == [Piece(BLOB, 0, bytes(5))]
    assert desk.blobs.fetches._reading == 0
    assert not desk.blobs.fetches._readers
    assert not desk.blobs.fetches._of_rid


# Deleting


def test_who_stored_it_may_discard_it_and_nobody_else(desk: Desk) -> None:
    alice, bob = desk.join("alice"), desk.join("bob")
    desk.upload(alice, BLOB, b"12345")
    assert desk.say(bob, Discard(BLOB)) == []
    assert desk.fetch(bob, BLOB, 0, 5) == b"12345"
    assert desk.say(alice, Discard(BLOB)) == []
    assert lack(desk.fetch(bob, BLOB, 0, 5)) == "unknown"
    assert not desk.disk._files.path(BLOB).exists()
    assert desk.say(alice, Discard(BLOB)) == []
    assert (desk.blobs.count, desk.blobs.bytes, desk.blobs._charged) == (0, 0, 0)
    desk.restart()
    assert desk.blobs.count == 0


def test_a_blob_that_goes_while_it_is_written_takes_nothing_more(desk: Desk) -> None:
    writer, other = desk.join("alice"), desk.join("alice")
    desk.say(writer, Offer(BLOB, 10))
    desk.disk_waits = True
    desk.say(writer, Piece(BLOB, 0, b"123"))
    desk.say(other, Discard(BLOB))
    assert lack(desk.news(writer)) == "unknown"
    assert desk.say(writer, Piece(BLOB, 3, b"456")) == []
    assert lack(desk.say(writer, Offer(BLOB, 10))) == "disk"
    desk.work()
    assert desk.blobs._reserved == 0
    assert desk.say(writer, Offer(BLOB, 10)) == [Extent(BLOB, 0, 10)]


def test_one_that_goes_while_it_is_fetched_is_unknown(desk: Desk) -> None:
    alice, bob = desk.join("alice"), desk.join("bob")
    desk.upload(alice, BLOB, bytes(10))
    desk.disk_waits = True
    desk.say(bob, Fetch(BLOB, 0, 10))
    desk.say(alice, Discard(BLOB))
    desk.work()
    assert lack(desk.news(bob)) == "unknown"


def test_blobs_are_kept_as_long_as_mail(limited: Callable[[Quota], Desk]) -> None:
    desk = limited(Quota(seconds=10 * DAY))
    desk.upload(desk.join("alice"), BLOB, b"12345")
    desk.pass_time(5 * DAY)
    desk.upload(desk.join("alice"), OTHER, b"12345")
    desk.pass_time(5 * DAY)
    assert desk.blobs.count == 2
    desk.pass_time(DAY)
    bob = desk.join("bob")
    assert lack(desk.fetch(bob, BLOB, 0, 5)) == "unknown"
    assert desk.fetch(bob, OTHER, 0, 5) == b"12345"


def test_what_is_not_whole_is_kept_for_a_day_after_it_was_last_touched(desk: Desk) -> None:
    alice = desk.join("alice")
    desk.upload(alice, BLOB, b"12345", size=10)
    desk.pass_time(DAY - 1)
    desk.say(alice, Piece(BLOB, 5, b"6"))
    desk.news(alice)
    desk.pass_time(DAY - 1)
    assert desk.blobs.count == 1
    desk.pass_time(2 * 3600)
    assert desk.blobs.count == 0
    assert lack(desk.news(alice)) == "unknown"
    assert not desk.disk._files.path(BLOB).exists()


def test_what_was_kept_under_a_name_goes_when_the_name_is_released(desk: Desk) -> None:
    alice, guest, bob = desk.join("alice"), desk.join("alice", key="guest"), desk.join("bob")
    for n, one in enumerate((alice, guest, bob)):
        desk.upload(one, bytes([n]) * 16, b"12345")
    desk.blobs.released("alice", alice.kid, int(desk.now.wall))
    desk.settle()
    assert lack(desk.fetch(bob, bytes(16), 0, 5)) == "unknown"
    for n in (1, 2):
        assert desk.fetch(bob, bytes([n]) * 16, 0, 5) == b"12345"


def test_also_when_that_happened_while_no_broker_ran_but_not_what_came_later(desk: Desk) -> None:
    alice = desk.join("alice")
    desk.upload(alice, BLOB, b"12345")
    desk.pass_time(100)
    desk.upload(alice, OTHER, b"12345")
    desk.restart(None, ("alice", alice.kid, int(desk.now.wall) - 50))
    bob = desk.join("bob")
    assert lack(desk.fetch(bob, BLOB, 0, 5)) == "unknown"
    assert desk.fetch(bob, OTHER, 0, 5) == b"12345"
