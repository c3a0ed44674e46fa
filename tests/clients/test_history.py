"""A profile's history: what happened, once and in order, for everybody who shows it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path

import pytest

from clients import view
from clients.history import Entry, is_kept
from clients.store import Store
from core.bundle import Kind, Suite
from core.content import Content, File, Text, Unknown
from core.errors import NameTaken, RecordDamaged
from core.events import (
    Disconnected,
    Event,
    MailboxDrained,
    Message,
    MessageReceived,
    MessageRefused,
    MessageSent,
    Outcome,
    PeerKeyChanged,
    Receipt,
    Refused,
    RosterChanged,
    RotationDue,
    Trust,
    Welcomed,
)
from core.limits import TIME_MAX_MS
from core.messages import Entry as Present
from core.messages import Extent, Lack, NoBlob, Piece
from core.order import Place

NOW = 1_800_000_000_000
KID = bytes([1]) * 32
SENT = (Suite.HYBRID, Text("hi"), NOW)


def received(content: Content, place: Place = Place()) -> MessageReceived:  # noqa: B008 - frozen
    return MessageReceived(
        Message(os.urandom(16), "bob", KID, ("alice", "carol"), True, NOW, Suite.CHUNKED, Trust.VERIFIED, content, place)
    )


KEPT: list[Event] = [
    received(Text("hello", (("alice", 3),))),
    received(File("a.txt", 3, bytes(32), bytes(32), bytes(16))),
    received(Unknown("poll"), Place(missing=2, late=True, fork=True)),
    MessageSent(os.urandom(16), ("bob", "carol"), True, Suite.HYBRID, Text("hi"), NOW),
    PeerKeyChanged("bob", KID, bytes(32), accepted=False),
    *(Receipt(os.urandom(16), "bob", outcome) for outcome in Outcome if outcome.final or outcome is Outcome.STORED),
]
PASSING: list[Event] = [
    Welcomed(3),
    MailboxDrained(),
    Refused(NameTaken(user="alice")),
    Disconnected("gone"),
    RosterChanged((Present("bob", Kind.GUEST, KID),), (), initial=True),
    RotationDue(),
    Extent(bytes(16), 1, 2),
    NoBlob(bytes(16), Lack.UNKNOWN),
    Piece(bytes(16), 0, b"x"),
    MessageRefused("bob", os.urandom(16), "signature"),
    *(Receipt(os.urandom(16), "bob", outcome) for outcome in (Outcome.QUEUED, Outcome.SENT, Outcome.RATE)),
]


def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "profile.db", bytes(32))


def test_what_lasts_comes_back_as_it_was_and_the_rest_is_not_kept(tmp_path: Path) -> None:
    assert {type(one) for one in (*KEPT, *PASSING)} == set(Event.__args__)  # none was forgotten here
    assert [is_kept(one) for one in (*KEPT, *PASSING)] == [True] * len(KEPT) + [False] * len(PASSING)
    with closing(store(tmp_path)) as first:
        first.history.record([*PASSING, *KEPT], NOW)
    with closing(store(tmp_path)) as second:
        entries = list(second.history.after(0))
        assert [entry.event for entry in entries] == KEPT
        assert [entry.number for entry in entries] == list(range(1, len(KEPT) + 1))
        assert {entry.at for entry in entries} == {NOW}
        assert second.history.last == len(KEPT)


def test_parts_of_it(tmp_path: Path) -> None:
    sent = [MessageSent(bytes(16), ("bob",), False, Suite.HYBRID, Text(str(number)), NOW) for number in range(1, 701)]
    with closing(store(tmp_path)) as mine:
        assert (list(mine.history.after(0)), mine.history.before(9, 9), mine.history.last) == ([], [], 0)
        mine.history.record(sent, NOW)
        assert [entry.event for entry in mine.history.after(0)] == sent
        assert [entry.number for entry in mine.history.after(698)] == [699, 700]
        assert mine.history.before(3, 9) == [Entry(1, NOW, sent[0]), Entry(2, NOW, sent[1])]
        assert [entry.number for entry in mine.history.before(701, 2)] == [699, 700]


def test_each_consumer_has_a_cursor_and_it_never_goes_back(tmp_path: Path) -> None:
    with closing(store(tmp_path)) as one, closing(store(tmp_path)) as two:
        assert one.history.cursor("listen") is None
        one.history.move_cursor("listen", 3)
        two.history.move_cursor("listen", 2)
        two.history.move_cursor("bot", 1)
        assert (one.history.cursor("listen"), one.history.cursor("bot")) == (3, 1)


def test_an_id_that_several_have_given_is_the_first_that_a_consumer_has_not_shown(tmp_path: Path) -> None:
    once, again = received(Text("one")), received(Text("again"))
    with closing(store(tmp_path)) as mine:
        mine.history.record([once, again, PASSING[0], again, MessageSent(once.message.id, ("bob",), False, *SENT), again], NOW)
        id_ = again.message.id
        assert [mine.history.number_of(id_, cursor) for cursor in (0, 1, 2, 3, 4, 5)] == [2, 2, 3, 5, 5, 5]
        assert mine.history.number_of(id_, None) == 5
        assert [mine.history.number_of(once.message.id, cursor) for cursor in (None, 0, 3)] == [1, 1, 1]
        assert mine.history.number_of(bytes(16), None) is None


def test_it_is_told_when_another_has_written(tmp_path: Path) -> None:
    with closing(store(tmp_path)) as one, closing(store(tmp_path)) as two:
        one.history.has_grown()
        assert not one.history.has_grown()
        one.history.record(KEPT[:1], NOW)
        assert not one.history.has_grown()
        two.history.record(KEPT[1:2], NOW)
        assert one.history.has_grown()
        assert not one.history.has_grown()


BAD = "x\x1b[2J"


@pytest.mark.parametrize(
    "event",
    [
        MessageReceived(replace(received(Text("hi")).message, sender=BAD)),
        MessageReceived(replace(received(Text("hi")).message, to=("alice", BAD))),
        MessageReceived(replace(received(Text("hi")).message, ts=2**60)),
        MessageSent(bytes(16), ("bob", BAD), False, *SENT),
        MessageSent(bytes(16), ("bob",), False, Suite.HYBRID, Text("hi"), -1),
        MessageSent(bytes(16), ("bob",), False, Suite.HYBRID, File("../a", 3, bytes(32), bytes(32), bytes(16)), NOW),
        Receipt(bytes(16), BAD, Outcome.DELIVERED),
        PeerKeyChanged(BAD, KID, KID, accepted=True),
    ],
)
def test_what_nobody_can_have_written_is_not_shown(tmp_path: Path, event: Event) -> None:
    with closing(store(tmp_path)) as mine:
        mine.history.record([event], NOW)
        with pytest.raises(RecordDamaged):
            list(mine.history.after(0))


def test_a_time_that_no_calendar_has_is_not_shown(tmp_path: Path) -> None:
    with closing(store(tmp_path)) as mine:
        mine.history.record(KEPT[:1], TIME_MAX_MS)
        assert view.moment(mine.history.before(2, 1)[0].at / 1000, timezone(timedelta(hours=14))).startswith("9892-")
        mine.history.record(KEPT[:1], TIME_MAX_MS + 1)
        with pytest.raises(RecordDamaged):
            mine.history.before(3, 1)


def test_nothing_that_was_said_is_readable_on_disk_and_nothing_altered_is_shown(tmp_path: Path) -> None:
    with closing(store(tmp_path)) as mine:
        mine.history.record([MessageSent(bytes(16), ("bob",), False, Suite.HYBRID, Text("a secret text"), NOW)], NOW)
    assert all(b"secret text" not in path.read_bytes() for path in tmp_path.iterdir())
    with closing(sqlite3.connect(tmp_path / "profile.db")) as vandal:
        ((body,),) = vandal.execute("SELECT body FROM history")
        for at in range(len(body)):
            altered = bytes([*body[:at], body[at] ^ 1, *body[at + 1 :]])
            vandal.execute("UPDATE history SET body = ?", (altered,))
            vandal.commit()
            with closing(store(tmp_path)) as mine, pytest.raises(RecordDamaged):
                list(mine.history.after(0))
        vandal.execute("UPDATE history SET body = x''")
        vandal.commit()
    with closing(store(tmp_path)) as mine, pytest.raises(RecordDamaged):
        list(mine.history.after(0))
