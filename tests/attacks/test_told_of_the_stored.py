"""What a broker says of copies that it stored: believed where a proof holds, and harmless where it lies.

The lies: "delivered" without a proof or with another copy's; news of what was never sent; the same news again; news that
takes back what is final; "stored", and then nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from clients.store import Store
from core import frames
from core.events import MailboxDrained, Outcome, Receipt, Welcomed
from core.frames import Frames
from core.memory import Memory, SessionMemory
from core.messages import Kept, Noted, Result, Results, Status, Told
from tests.attacks.lies import Town
from tests.pairs import Client, as_it_is, swallow

STORED, DELIVERED = Outcome.STORED, Outcome.DELIVERED


@pytest.fixture
def town() -> Town:
    return Town()


@pytest.fixture(params=["session", "store"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    if request.param == "session":
        yield SessionMemory()
        return
    with closing(Store(tmp_path / "profile.db", bytes(32))) as store:
        yield store


def away(town: Town, memory: Memory) -> tuple[Client, Client, bytes]:
    """Alice has sent a message to Bob, a profile that is away, and the broker has stored it."""
    alice, bob = town.join_profile("alice", memory), town.join_profile("bob")
    town.lose(bob)
    id_ = town.say(alice, "for later", "bob")
    assert alice.last(id_) == {"bob": STORED}
    return alice, bob, id_


def tell(town: Town, client: Client, told: Told, upto: int = 1) -> list[Receipt]:
    """The broker says this to a client; returns the receipts that come of it."""
    events = client.session.receive(frames.control(Kept(upto, (told,))), town.now)
    return [event for event in events if isinstance(event, Receipt)]


def test_a_copy_that_was_stored_is_delivered_and_proven_later(town: Town, memory: Memory) -> None:
    alice, bob, id_ = away(town, memory)
    town.connect(bob)
    assert bob.texts() == [("alice", "for later")]
    assert alice.outcomes(id_)["bob"][-2:] == [STORED, DELIVERED]
    assert [event for event in bob.events if isinstance(event, Welcomed | MailboxDrained)][-2:] == [
        Welcomed(1),
        MailboxDrained(),
    ]


def test_what_was_stored_is_not_sent_again(town: Town, memory: Memory) -> None:
    alice, bob, id_ = away(town, memory)
    sent: list[Frames] = []

    def keep(raw: Frames) -> list[Frames]:
        sent.append(raw)
        return [raw]

    alice.to_broker = keep
    town.lose(alice)
    town.connect(alice)
    assert not [raw for raw in sent if len(raw) > 1]
    town.connect(bob)
    assert alice.last(id_) == {"bob": DELIVERED}


def test_news_that_overtake_the_answer_end_the_copy_all_the_same(town: Town, memory: Memory) -> None:
    alice, bob = town.join_profile("alice", memory), town.join_profile("bob")
    town.lose(bob)
    alice.to_client = swallow(Results)
    id_ = town.say(alice, "for later", "bob")
    assert alice.last(id_) == {"bob": Outcome.SENT}
    town.connect(bob)
    assert alice.last(id_) == {"bob": DELIVERED}
    sent: list[Frames] = []
    alice.to_client, alice.to_broker = as_it_is, lambda raw: sent.append(raw) or [raw]  # type: ignore[func-returns-value]
    town.lose(alice)
    town.connect(alice)
    assert not [raw for raw in sent if len(raw) > 1]


def test_the_news_find_another_run_of_the_profile(town: Town, tmp_path: Path) -> None:
    with closing(Store(tmp_path / "profile.db", bytes(32))) as store:
        alice, bob, id_ = away(town, store)
        town.lose(alice)
        town.clients.remove(alice)
        town.connect(bob)
        assert bob.texts() == [("alice", "for later")]
    with closing(Store(tmp_path / "profile.db", bytes(32))) as store:
        again = town.join_profile("alice", store)
        assert again.last(id_) == {"bob": DELIVERED}
        town.lose(again)
        town.clients.remove(again)
        third = town.join_profile("alice", store)
        assert third.last(id_) == {}  # noted, so told no more


@pytest.mark.parametrize("proof", [None, bytes(32), bytes(range(32))], ids=["none", "zeros", "made up"])
def test_delivered_without_a_proof_that_holds_is_unproven(town: Town, memory: Memory, proof: bytes | None) -> None:
    alice, _, id_ = away(town, memory)
    assert tell(town, alice, Told(id_, "bob", Status.DELIVERED, proof)) == [Receipt(id_, "bob", Outcome.UNPROVEN)]


def test_the_proof_of_another_copy_is_none(town: Town, memory: Memory) -> None:
    alice, _, first = away(town, memory)
    second = town.say(alice, "another", "bob")
    copy = memory.outbox.copy(first, "bob")
    assert copy
    (proof,) = copy.proofs
    assert tell(town, alice, Told(second, "bob", Status.DELIVERED, proof)) == [Receipt(second, "bob", Outcome.UNPROVEN)]
    assert tell(town, alice, Told(first, "bob", Status.DELIVERED, proof)) == [Receipt(first, "bob", DELIVERED)]


@pytest.mark.parametrize("status", Status)
def test_news_of_what_was_never_sent_are_noted_and_that_is_all(town: Town, memory: Memory, status: Status) -> None:
    alice, _, id_ = away(town, memory)
    for told in (Told(os.urandom(16), "bob", status, bytes(32)), Told(id_, "carol", status, bytes(32))):
        assert tell(town, alice, told, 7) == []
        assert alice.session.outgoing() == [*frames_of(Noted(7))]
    assert alice.last(id_) == {"bob": STORED}


def frames_of(noted: Noted) -> list[Frames]:
    return [frames.control(noted)]


@pytest.mark.parametrize("later", Status)
def test_what_is_final_is_not_taken_back(town: Town, memory: Memory, later: Status) -> None:
    alice, _, id_ = away(town, memory)
    assert tell(town, alice, Told(id_, "bob", Status.EXPIRED, None)) == [Receipt(id_, "bob", Outcome.EXPIRED)]
    assert tell(town, alice, Told(id_, "bob", later, bytes(32))) == []
    result = frames.results([Result(id_, 0, later, bytes(32) if later is Status.DELIVERED else None)])
    assert [event for event in alice.session.receive(result, town.now) if isinstance(event, Receipt)] == []


@pytest.mark.parametrize("status", [Status.STORED, Status.RATE])
def test_news_that_are_none(town: Town, memory: Memory, status: Status) -> None:
    alice, _, id_ = away(town, memory)
    assert tell(town, alice, Told(id_, "bob", status, None)) == []


@pytest.mark.parametrize("status", [Status.EXPIRED, Status.REFUSED])
def test_the_number_of_what_never_came_is_no_gap(town: Town, memory: Memory, status: Status) -> None:
    alice, bob, id_ = away(town, memory)
    tell(town, alice, Told(id_, "bob", status, None))
    town.disk_waits = True  # the copy itself is gone
    for connection in list(town.router.connections.values()):
        assert connection.user == "alice"
    town.say(alice, "the next", "bob")
    assert list(memory.outbox.void("bob", bob.session.me.kid)) == [1]


def test_a_broker_that_takes_no_more_for_now_is_asked_again_later(town: Town, memory: Memory) -> None:
    alice, bob = town.join_profile("alice", memory), town.join_profile("bob")
    town.tick()
    town.lose(bob)
    sent: list[Frames] = []

    def swallow(raw: Frames) -> list[Frames]:
        if raw[0][:1] == b"S":
            sent.append(raw)
            return []
        return [raw]

    alice.to_broker = swallow
    ids = [town.say(alice, str(number), "bob") for number in range(2)]
    assert len(sent) == 2
    busy = frames.results([Result(ids[0], 0, Status.RATE)])
    events = alice.session.receive(busy, town.now)
    assert Receipt(ids[0], "bob", Outcome.RATE) in events
    town.settle()
    assert len(sent) == 2
    town.pass_time(0.9)
    alice.events += alice.session.tick(town.now)
    town.settle()
    assert len(sent) == 2
    town.pass_time(0.2)
    alice.events += alice.session.tick(town.now)
    alice.to_broker = lambda raw: [raw]
    town.settle()
    assert alice.last(ids[0]) == {"bob": STORED}
