"""One profile in several clients at once, and a disk that fails under them: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.chat import ChatClient
from clients.profiles import OpenProfile
from core.content import Text
from core.errors import StoreFailed
from core.events import Event, MessageReceived, Outcome
from core.messages import Mode
from tests.net import PATIENCE, LocalBroker, until


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as running:
        yield running


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as opened:
        yield opened


def made(tmp_path: Path, name: str, stack: contextlib.ExitStack) -> OpenProfile:
    return stack.enter_context(contextlib.closing(OpenProfile.create(tmp_path, name, None)))


def again(tmp_path: Path, name: str, stack: contextlib.ExitStack) -> OpenProfile:
    """The same profile as another process opens it."""
    return stack.enter_context(contextlib.closing(OpenProfile(tmp_path, name, None)))


def texts(events: Iterator[Event]) -> Iterator[str]:
    for event in events:
        if isinstance(event, MessageReceived) and isinstance(event.message.content, Text):
            yield event.message.content.text


def test_each_client_of_a_profile_shows_each_message_once(
    tmp_path: Path, broker: LocalBroker, stack: contextlib.ExitStack
) -> None:
    alice = made(tmp_path, "alice", stack)
    first = stack.enter_context(ChatClient(alice, broker.address))
    second = stack.enter_context(ChatClient(again(tmp_path, "alice", stack), broker.address))
    senders = [stack.enter_context(ChatClient(f"guest{number}", broker.address, events=False)) for number in range(10)]
    said = [f"{number} of {sender.user}" for number in range(20) for sender in senders]
    for number in range(20):
        for sender in senders:
            sender.send(f"{number} of {sender.user}", "alice")
    for client in (first, second):
        came = list(itertools.islice(texts(client.events(PATIENCE)), len(said)))
        assert sorted(came) == sorted(said)
    kept = [entry.event for entry in alice.store.history.after(0)]
    assert sorted(texts(iter(kept))) == sorted(said)


def test_what_one_client_of_a_profile_sends_the_others_show(
    tmp_path: Path, broker: LocalBroker, stack: contextlib.ExitStack
) -> None:
    alice = made(tmp_path, "alice", stack)
    page = stack.enter_context(ChatClient(alice, broker.address, events=False))
    stack.enter_context(ChatClient("bob", broker.address, events=False))
    with ChatClient(again(tmp_path, "alice", stack), broker.address, mode=Mode.SEND, events=False) as script:
        id_ = script.send("from a script", "bob")
        assert script.wait_sent(id_, PATIENCE) == {"bob": Outcome.DELIVERED}
    until(lambda: [(line.text, dict(line.outcomes)) for line in page.timeline("bob") if line.mine]
          == [("from a script", {"bob": Outcome.DELIVERED})])  # fmt: skip
    later = ChatClient(again(tmp_path, "alice", stack), broker.address, events=False)
    assert [line.text for line in later.timeline("bob") if line.mine] == ["from a script"]
    later.close()


def test_consumers_go_on_where_they_stopped(tmp_path: Path, broker: LocalBroker, stack: contextlib.ExitStack) -> None:
    made(tmp_path, "alice", stack)
    bob = stack.enter_context(ChatClient("bob", broker.address, events=False))
    with ChatClient(again(tmp_path, "alice", stack), broker.address) as client:
        bob.send("one", "alice")
        bob.send("two", "alice")
        events = texts(client.events(PATIENCE, cursor="bot"))
        assert next(events) == "one"  # asked for no more: not done
    with ChatClient(again(tmp_path, "alice", stack), broker.address) as client:
        events = texts(client.events(PATIENCE, cursor="bot"))
        assert [next(events), next(events)] == ["one", "two"]
        client.mark_shown("bot")
    with ChatClient(again(tmp_path, "alice", stack), broker.address) as client:
        bob.send("three", "alice")
        assert next(texts(client.events(PATIENCE, cursor="bot"))) == "three"
        assert next(texts(client.events(PATIENCE, cursor="bot", since=0))) == "one"


def full(profile: OpenProfile) -> int:
    """Let the disk have no more room for this profile's database; returns how much it may have again."""
    ((size,),) = profile.store.query("PRAGMA page_count")
    ((most,),) = profile.store.query("PRAGMA max_page_count")
    profile.store.query(f"PRAGMA max_page_count = {size}")
    return int(most)


LONG = "x" * 20_000  # finds no room in what pages there are


def test_a_full_disk_loses_nothing(tmp_path: Path, broker: LocalBroker, stack: contextlib.ExitStack) -> None:
    alice = made(tmp_path, "alice", stack)
    client = stack.enter_context(ChatClient(alice, broker.address))
    bob = stack.enter_context(ChatClient("bob", broker.address, events=False))
    room = full(alice)
    ids = [bob.send(text + LONG, "alice") for text in ("one", "two")]
    until(lambda: isinstance(client.status.error, StoreFailed))
    assert "cannot be used: database or disk is full" in client.status.why
    with pytest.raises(StoreFailed):
        client.send(LONG, "bob")
    assert Outcome.DELIVERED not in {outcome for id_ in ids for outcome in bob.wait_sent(id_, 0).values()}
    alice.store.query(f"PRAGMA max_page_count = {room}")
    client.retry_now()
    assert [text[:3] for text in itertools.islice(texts(client.events(PATIENCE)), 2)] == ["one", "two"]
    assert [bob.wait_sent(id_, PATIENCE, stored=False) for id_ in ids] == [{"alice": Outcome.DELIVERED}] * 2
    id_ = client.send("room again", "bob")
    assert client.wait_sent(id_, PATIENCE) == {"bob": Outcome.DELIVERED}


def test_a_locked_database_is_waited_for(tmp_path: Path, broker: LocalBroker, stack: contextlib.ExitStack) -> None:
    alice = made(tmp_path, "alice", stack)
    client = stack.enter_context(ChatClient(alice, broker.address))
    bob = stack.enter_context(ChatClient("bob", broker.address, events=False))
    other = again(tmp_path, "alice", stack)
    locked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with other.store.together():
            locked.set()
            go_on.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(PATIENCE)
    id_ = bob.send("meanwhile", "alice")
    assert bob.wait_sent(id_, 0.2)["alice"] is not Outcome.DELIVERED
    go_on.set()
    holder.join(PATIENCE)
    assert next(texts(client.events(PATIENCE))) == "meanwhile"
    assert bob.wait_sent(id_, PATIENCE, stored=False) == {"alice": Outcome.DELIVERED}
