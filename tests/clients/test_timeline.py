"""What a person sees of a conversation."""

from __future__ import annotations

import os

from clients.timeline import CONVERSATIONS_MAX, LINES_MAX, LineKind, Timeline, message_id, sent_key
from core.bundle import Kind, Suite
from core.content import Text, Unknown
from core.events import (
    Message,
    MessageReceived,
    MessageRefused,
    MessageSent,
    Outcome,
    PeerKeyChanged,
    Receipt,
    RosterChanged,
    Trust,
)
from core.messages import Entry
from core.names import EVERYONE
from core.order import Place

KID = bytes(32)


def received(
    sender: str,
    text: str,
    *,
    everyone: bool = False,
    id_: bytes = bytes(16),
    ts: int = 5000,
    unknown: bool = False,
    place: Place | None = None,
) -> MessageReceived:
    content = Unknown(text) if unknown else Text(text)
    message = Message(
        id=id_,
        sender=sender,
        kid=KID,
        to=("me",),
        everyone=everyone,
        ts=ts,
        suite=Suite.HYBRID,
        trust=Trust.NEW,
        place=place or Place(),
        content=content,
    )
    return MessageReceived(message)


def texts(timeline: Timeline, conversation: str) -> list[str]:
    return [line.text for line in timeline.lines(conversation)]


def entry(user: str) -> Entry:
    return Entry(user, Kind.GUEST, KID)


def test_a_lines_key_tells_its_messages_id() -> None:
    timeline = Timeline("me")
    timeline.apply(received("bob", "hello", id_=b"0123456789abcdef"), 9.0)
    (line,) = timeline.lines("bob")
    assert message_id(line.key) == message_id(sent_key(b"0123456789abcdef")) == b"0123456789abcdef"


def test_messages_go_where_they_belong() -> None:
    timeline = Timeline("me")
    timeline.apply(received("bob", "to me"), 9.0)
    timeline.apply(received("bob", "to all", everyone=True), 9.0)
    assert timeline.conversations() == (EVERYONE, "bob")
    (line,) = timeline.lines("bob")
    assert (line.kind, line.sender, line.text, line.mine, line.when) == (LineKind.MESSAGE, "bob", "to me", False, 5.0)
    assert (line.suite, line.trust, line.kid) == (Suite.HYBRID, Trust.NEW, KID)
    assert texts(timeline, EVERYONE) == ["to all"]
    assert timeline.lines("carol") == ()


def test_an_unknown_type_is_shown_as_such() -> None:
    timeline = Timeline("me")
    timeline.apply(received("bob", "poll", unknown=True), 9.0)
    assert texts(timeline, "bob") == ["[a message of the unknown type 'poll']"]


def test_what_is_missing_late_or_double_is_said_before_the_message() -> None:
    timeline = Timeline("me")
    timeline.apply(received("bob", "four", place=Place(missing=2)), 9.0)
    timeline.apply(received("bob", "two", place=Place(late=True), id_=bytes([1]) * 16), 9.0)
    timeline.apply(received("bob", "two!", place=Place(fork=True), id_=bytes([2]) * 16), 9.0)
    said = texts(timeline, "bob")
    assert (said[1], said[3], said[5]) == ("four", "two", "two!")
    assert said[0] == "2 messages from bob are missing"
    assert said[2] == "The next message from bob is late: others overtook it"
    assert said[4].startswith("bob used one number for two messages")


def test_ones_own_message_and_what_becomes_of_each_copy() -> None:
    timeline = Timeline("me")
    id_ = os.urandom(16)
    timeline.apply(MessageSent(id_, ("bob", "carol"), False, Suite.CHUNKED, Text("hi"), 1000), 1.0)
    timeline.apply(Receipt(id_, "bob", Outcome.DELIVERED), 2.0)
    timeline.apply(Receipt(id_, "nobody", Outcome.ABSENT), 2.0)
    timeline.apply(Receipt(os.urandom(16), "bob", Outcome.GONE), 2.0)
    (bobs,), (carols,) = timeline.lines("bob"), timeline.lines("carol")
    assert (dict(bobs.outcomes), dict(carols.outcomes)) == ({"bob": Outcome.DELIVERED}, {"carol": Outcome.QUEUED})
    assert (bobs.mine, bobs.sender, bobs.text, bobs.suite) == (True, "me", "hi", Suite.CHUNKED)


def test_one_line_for_a_message_to_everyone() -> None:
    timeline = Timeline("me")
    id_ = os.urandom(16)
    timeline.apply(MessageSent(id_, ("bob", "carol"), True, Suite.HYBRID, Text("hi all"), 1000), 1.0)
    timeline.apply(Receipt(id_, "carol", Outcome.DELIVERED), 2.0)
    (line,) = timeline.lines(EVERYONE)
    assert dict(line.outcomes) == {"bob": Outcome.QUEUED, "carol": Outcome.DELIVERED}
    assert timeline.conversations() == (EVERYONE,)


def test_comings_goings_and_what_must_not_be_missed() -> None:
    timeline = Timeline("me")
    timeline.apply(RosterChanged((entry("bob"),), (), initial=True), 1.0)
    assert texts(timeline, EVERYONE) == []
    timeline.apply(received("bob", "hi"), 2.0)
    timeline.apply(RosterChanged((entry("carol"),), (entry("bob"),), initial=False), 3.0)
    assert texts(timeline, EVERYONE) == ["carol joined", "bob left"]
    assert texts(timeline, "bob") == ["hi", "bob left"]
    assert "carol" not in timeline.conversations()
    timeline.apply(MessageRefused("bob", bytes(16), "signature"), 4.0)
    timeline.apply(PeerKeyChanged("bob", KID, bytes([0xAB]) * 32, accepted=True), 5.0)
    assert timeline.lines("bob")[-2].kind is LineKind.REFUSED
    assert timeline.lines("bob")[-2].about == "check: signature"
    assert timeline.lines("bob")[-2].text.endswith("was refused: its signature is not that of the key it names.")
    assert timeline.lines("bob")[-1].text == "bob has a new key: abab abab abab abab"
    timeline.apply(PeerKeyChanged("carol", KID, bytes([0xCD]) * 32, accepted=True), 5.0)
    assert texts(timeline, EVERYONE) == ["carol joined", "bob left"]  # guests come and go, each time with another key
    assert "carol" not in timeline.conversations()
    timeline.apply(PeerKeyChanged("bob", KID, bytes([0xAB]) * 32, accepted=False), 6.0)
    held = "bob now uses another key: abab abab abab abab; nothing is sent to it or taken from it until you accept it"
    assert timeline.lines("bob")[-1].text == timeline.lines(EVERYONE)[-1].text == held


def test_whose_text_could_not_be_read_is_to_send_it_again() -> None:
    timeline = Timeline("me")
    timeline.apply(MessageRefused("bob", bytes(16), "decrypt"), 4.0)
    assert texts(timeline, "bob") == [
        "A message said to be from bob was refused: it is encrypted to another key than yours. Ask them to send it again."
    ]


def test_who_comes_and_goes_takes_one_line_where_nothing_is_said_meanwhile() -> None:
    timeline = Timeline("me")
    timeline.apply(received("bob", "hi"), 1.0)
    comes = RosterChanged((entry("bob"),), (), initial=False)
    goes = RosterChanged((), (entry("bob"),), initial=False)
    timeline.apply(goes, 2.0)
    key = timeline.lines("bob")[-1].key
    timeline.apply(RosterChanged((entry("carol"),), (), initial=False), 3.0)
    timeline.apply(comes, 4.0)
    timeline.apply(goes, 5.0)
    assert texts(timeline, "bob") == ["hi", "bob left"]
    assert (timeline.lines("bob")[-1].key, timeline.lines("bob")[-1].when) == (key, 5.0)  # read up to there is read
    assert texts(timeline, EVERYONE) == ["carol joined", "bob left"]
    timeline.apply(received("carol", "where is bob?", everyone=True), 6.0)
    timeline.apply(comes, 7.0)
    assert texts(timeline, EVERYONE) == ["carol joined", "bob left", "where is bob?", "bob joined"]


def test_keys_are_unique_and_stay() -> None:
    timeline = Timeline("me")
    for _ in range(3):
        timeline.apply(MessageRefused("bob", bytes(16), "replay"), 1.0)
        timeline.say("connected again", 1.0)
    id_ = os.urandom(16)
    timeline.apply(MessageSent(id_, ("bob",), False, Suite.HYBRID, Text("x"), 1000), 1.0)
    before = [line.key for name in timeline.conversations() for line in timeline.lines(name)]
    timeline.apply(Receipt(id_, "bob", Outcome.DELIVERED), 2.0)
    assert [line.key for name in timeline.conversations() for line in timeline.lines(name)] == before
    for name in timeline.conversations():
        keys = [line.key for line in timeline.lines(name)]
        assert len(set(keys)) == len(keys)


def test_a_message_keeps_its_key_from_one_session_to_the_next() -> None:
    first, again = received("bob", "one"), received("bob", "again", ts=6000)
    whole, rest = Timeline("me"), Timeline("me")
    for event in (first, again):
        whole.apply(event, 9.0)
    rest.apply(again, 9.0)
    assert whole.lines("bob")[-1].key == rest.lines("bob")[-1].key != whole.lines("bob")[0].key


def test_keys_are_unique_whatever_peers_send() -> None:
    timeline = Timeline("me")
    for number in range(LINES_MAX + 100):
        timeline.apply(received("bob", str(number), ts=5000 + number % 3, id_=bytes([number % 2]) * 16), 9.0)
    lines = timeline.lines("bob")
    assert [line.text for line in lines] == [str(number) for number in range(100, LINES_MAX + 100)]
    assert len({line.key for line in lines}) == LINES_MAX
    assert {message_id(line.key) for line in lines} == {bytes(16), bytes([1]) * 16}


def test_memory_is_bounded() -> None:
    timeline = Timeline("me")
    for number in range(LINES_MAX + 10):
        timeline.apply(received("bob", str(number), id_=number.to_bytes(16, "big")), 1.0)
    assert texts(timeline, "bob") == [str(number) for number in range(10, LINES_MAX + 10)]
    for number in range(CONVERSATIONS_MAX + 10):
        timeline.apply(received(f"user-{number}", "hi"), 1.0)
    assert len(timeline.conversations()) == CONVERSATIONS_MAX
    timeline.apply(received("bob", "still here"), 1.0)
    assert texts(timeline, "bob")[-1] == "still here"
