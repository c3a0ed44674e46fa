"""ChatClient against real brokers: waiting, events, endings, and what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from broker.access import Access
from broker.curve import new_curve_keys
from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from core.address import BrokerAddress
from core.bundle import Suite
from core.clock import Instant
from core.content import Text
from core.errors import (
    BadName,
    BrokerUnreachable,
    EmptyMessage,
    LocalProtocolError,
    MessageTooLong,
    NameTaken,
    NobodyHere,
    NotAdmitted,
    NotInvited,
    TimeRanOut,
)
from core.events import Event, MessageReceived, Outcome, Receipt, Refused, RosterChanged, Trust, Welcomed
from core.messages import Mode
from core.states import State
from tests.net import PATIENCE, LocalBroker, Wire, until


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as running:
        yield running


@pytest.fixture
def alice(broker: LocalBroker) -> Iterator[ChatClient]:
    with ChatClient("alice", broker.address) as client:
        yield client


@pytest.fixture
def bob(broker: LocalBroker) -> Iterator[ChatClient]:
    with ChatClient("bob", broker.address) as client:
        yield client


def see(client: ChatClient, *users: str) -> None:
    until(lambda: {peer.user for peer in client.users()} == set(users))


def texts(events: list[Event]) -> list[str]:
    contents = [event.message.content for event in events if isinstance(event, MessageReceived)]
    return [content.text for content in contents if isinstance(content, Text)]


@pytest.mark.parametrize("suite", list(Suite))
def test_a_message_there_and_back(alice: ChatClient, bob: ChatClient, suite: Suite) -> None:
    see(alice, "bob")
    id_ = alice.send("ping", "bob", suite=suite)
    assert alice.wait_sent(id_, PATIENCE) == {"bob": Outcome.DELIVERED}
    heard = next(event.message for event in bob.events(PATIENCE) if isinstance(event, MessageReceived))
    assert (heard.id, heard.sender, heard.suite, heard.trust, heard.everyone) == (id_, "alice", suite, Trust.NEW, False)
    assert heard.kid == alice.kid
    back = bob.send("pong", [heard.sender])
    assert bob.wait_sent(back, PATIENCE) == {"alice": Outcome.DELIVERED}
    assert [line.text for line in alice.timeline("bob")] == ["ping", "pong"]
    assert [line.text for line in bob.timeline("alice")] == ["ping", "pong"]
    assert alice.conversations() == ("everyone", "bob")


def test_everyone_is_who_is_here(broker: LocalBroker, alice: ChatClient, bob: ChatClient) -> None:
    with ChatClient("carol", broker.address) as carol:
        see(alice, "bob", "carol")
        id_ = alice.send("hello all", "everyone")
        assert alice.wait_sent(id_, PATIENCE) == {"bob": Outcome.DELIVERED, "carol": Outcome.DELIVERED}
        for one in (bob, carol):
            until(lambda one=one: texts_of(one) == ["hello all"])  # type: ignore[misc]


def texts_of(client: ChatClient) -> list[str]:
    return [line.text for line in client.timeline("everyone") if not line.mine and line.suite]


def test_what_cannot_be_sent_is_said_before_anything_is(alice: ChatClient) -> None:
    for text, to, error in (
        ("", "bob", EmptyMessage),
        (" \n", "bob", EmptyMessage),
        ("x" * 70_000, "bob", MessageTooLong),
        ("x", "Not A Name", BadName),
        ("x", ["bob", "everyone"], BadName),
        ("x", [], EmptyMessage),
        ("x", "everyone", NobodyHere),
    ):
        with pytest.raises(error):
            alice.send(text, to)
    assert alice.conversations() == ("everyone",)


def test_the_same_id_is_taken_once(alice: ChatClient, bob: ChatClient) -> None:
    see(alice, "bob")
    id_ = os.urandom(16)
    assert {alice.send("once", "bob", id_=id_) for _ in range(3)} == {id_}
    assert alice.wait_sent(id_, PATIENCE) == {"bob": Outcome.DELIVERED}
    last = alice.send("last", "bob")
    assert alice.wait_sent(last, PATIENCE) == {"bob": Outcome.DELIVERED}
    bob.close()
    assert texts(list(bob.events())) == ["once", "last"]


def test_many_threads_send_at_once(alice: ChatClient, bob: ChatClient) -> None:
    see(alice, "bob")
    ids: list[bytes] = []

    def send(number: int) -> None:
        ids.extend(alice.send(f"{number} {count}", "bob") for count in range(20))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(set(ids)) == 100
    for id_ in ids:
        assert alice.wait_sent(id_, PATIENCE) == {"bob": Outcome.DELIVERED}
    bob.close()
    assert len(set(texts(list(bob.events())))) == 100


def test_events_come_once_and_in_order_and_end_with_the_client(broker: LocalBroker) -> None:
    client = ChatClient("alice", broker.address)
    client.start()
    client.wait_ready(PATIENCE)
    until(lambda: client._chronicle.rosters)
    client.close()
    events = list(client.events())
    assert isinstance(events[0], Welcomed)
    assert isinstance(events[1], RosterChanged)
    assert list(client.events()) == []
    assert list(client.events(0.1)) == []
    client.close()
    client.close()
    assert list(client.events()) == []


def test_events_run_out_of_time(alice: ChatClient) -> None:
    with pytest.raises(TimeRanOut, match=r"within 0\.05 seconds"):
        list(alice.events(0.05))


def test_events_that_nobody_was_to_read_are_not_kept(broker: LocalBroker) -> None:
    with ChatClient("alice", broker.address, events=False) as client:
        with pytest.raises(ValueError, match="events=False"):
            next(client.events())
        assert client._chronicle._feed is None


def test_a_refused_client_says_why_and_ends(broker: LocalBroker) -> None:
    with Wire(broker.address).log_in("alice"):
        client = ChatClient("alice", broker.address)
        client.start()
        with pytest.raises(NameTaken):
            client.wait_ready(PATIENCE)
        assert client.status.state == "refused"
        events = list(client.events())
        assert isinstance(events[-1], Refused)
        assert list(client.events()) == []
        with pytest.raises(NameTaken):
            client.send("x", "bob")
        client.close()
        assert client.status.state == "closed"
        assert list(client.events()) == []


def test_a_client_reads_on_until_the_broker_has_heard_its_goodbye(bob: ChatClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.transport._GOODBYE", PATIENCE)
    bob._transport.stop(PATIENCE)
    assert bob._session is not None
    assert bob._session.state is State.OFFLINE


def test_a_broker_that_hangs_keeps_nobody_from_leaving(
    bob: ChatClient, broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go_on = threading.Event(), threading.Event()

    def hold(now: Instant) -> bool:
        held.set()
        assert go_on.wait(PATIENCE)
        return round_(now)

    round_ = broker.server._round
    monkeypatch.setattr("clients.transport._GOODBYE", 0.05)
    monkeypatch.setattr(broker.server, "_round", hold)
    assert held.wait(PATIENCE)
    bob._transport.stop(PATIENCE)
    assert bob._session is not None
    assert bob._session.state is State.LEAVING
    go_on.set()


def test_a_closed_client_takes_nothing_more(broker: LocalBroker) -> None:
    with ChatClient("alice", broker.address) as client:
        pass
    assert client.status.state is ConnectionState.CLOSED
    with pytest.raises(LocalProtocolError):
        client.send("x", "bob")
    with pytest.raises(BrokerUnreachable):
        client.wait_ready(1)
    client.retry_now()


def test_what_waits_is_told_of_the_end(alice: ChatClient, broker: LocalBroker) -> None:
    with Wire(broker.address).log_in("mute") as mute:
        see(alice, "mute")
        id_ = alice.send("hello?", "mute")
        found: list[dict[str, Outcome]] = []
        waiting = threading.Thread(target=lambda: found.append(alice.wait_sent(id_, PATIENCE)))
        waiting.start()
        mute.delivery()
        alice.close()
        waiting.join(PATIENCE)
        assert found == [{"mute": Outcome.SENT}]


def test_waiting_ends_with_time(alice: ChatClient, broker: LocalBroker) -> None:
    with Wire(broker.address).log_in("mute"):
        see(alice, "mute")
        id_ = alice.send("hello?", "mute")
        assert alice.wait_sent(id_, 0.05)["mute"] in (Outcome.QUEUED, Outcome.SENT)
        assert alice.wait_sent(os.urandom(16), 0.05) == {}


def test_whoever_is_not_here_is_absent(alice: ChatClient) -> None:
    id_ = alice.send("hello?", ["nobody", "nobody-else"])
    assert alice.wait_sent(id_, PATIENCE) == {"nobody": Outcome.ABSENT, "nobody-else": Outcome.ABSENT}


def test_the_send_mode_is_unseen_and_asks_who_is_here(broker: LocalBroker, bob: ChatClient) -> None:
    with ChatClient("cron", broker.address, mode=Mode.SEND, events=False) as cron:
        assert cron.public_pem is None
        assert cron.users() == ()
        assert [peer.user for peer in cron.fetch_users(PATIENCE)] == ["bob"]
        assert [peer.user for peer in cron.fetch_users(PATIENCE)] == ["bob"]
        assert cron.wait_sent(cron.send("done", "everyone"), PATIENCE) == {"bob": Outcome.DELIVERED}
        assert bob.users() == ()


def test_a_broker_that_is_not_there(broker: LocalBroker) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = ChatClient("alice", BrokerAddress(("127.0.0.1",), taken.getsockname()[1], new_curve_keys().public))
        client.start()
        with pytest.raises(BrokerUnreachable, match="nothing answers there"):
            client.wait_ready(PATIENCE)
        assert client.status.state is ConnectionState.OFFLINE
        client.close()


def test_a_broker_that_says_nothing(broker: LocalBroker) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        client = ChatClient("alice", BrokerAddress(("127.0.0.1",), mute.getsockname()[1], new_curve_keys().public))
        client.start()
        with pytest.raises(BrokerUnreachable, match=r"no answer in 0\.2 seconds"):
            client.wait_ready(0.2)
        client.close()  # in the middle of connecting
        assert not client._transport._thread.is_alive()


@pytest.mark.parametrize("reads", [False, True])
def test_a_connection_that_is_cut_before_the_broker_spoke_says_nothing_of_its_key(reads: bool) -> None:
    def turn_away() -> None:
        with contextlib.suppress(OSError):  # until the gate is shut
            while True:
                with gate.accept()[0] as visitor, contextlib.suppress(ConnectionError):
                    if reads:
                        visitor.recv(64)

    with socket.socket() as gate:  # as of a tunnel whose other end has no broker
        gate.bind(("127.0.0.1", 0))
        gate.listen()
        keeper = threading.Thread(target=turn_away)
        keeper.start()
        client = ChatClient("alice", BrokerAddress(("127.0.0.1",), gate.getsockname()[1], new_curve_keys().public))
        client.start()
        try:
            with pytest.raises(BrokerUnreachable, match="it has closed the connection"):
                client.wait_ready(PATIENCE)
        finally:
            client.close()
            gate.shutdown(socket.SHUT_RDWR)
            keeper.join(PATIENCE)


def test_the_next_host_is_tried(broker: LocalBroker) -> None:
    address = BrokerAddress(("no-such-host.invalid", "127.0.0.1"), broker.address.port, broker.address.key)
    client = ChatClient("alice", address)
    client.start()
    until(lambda: client.status.state is ConnectionState.ONLINE)
    client.close()


class _Nobody(Access):
    def admits(self, address: str, key: bytes) -> bool:  # noqa: ARG002
        return False


def test_a_broker_that_lets_nobody_in() -> None:
    local = LocalBroker()
    local.server._access = _Nobody(open_to_all=False, knows=lambda _: False)  # this machine may have no other address
    with local as closed:
        client = ChatClient("alice", closed.address)
        client.start()
        with pytest.raises(NotInvited):
            client.wait_ready(PATIENCE)
        assert (client.status.state, str(client.status.error)) == (ConnectionState.REFUSED, str(NotInvited()))
        assert isinstance(list(client.events())[-1], Refused)  # it is over: nothing is tried again
        until(lambda: not client._transport._thread.is_alive())
        with pytest.raises(NotInvited):
            client.send("x", "bob")
        client.close()


def test_a_refusal_that_anybody_could_send_is_no_end_for_who_was_let_in_before() -> None:
    """It comes before the broker has shown its key; whoever has its port while it is gone can say so."""
    with LocalBroker() as local:
        client = ChatClient("alice", local.address)
        client.start()
        until(lambda: client.status.online)
        port = local.address.port
    posing = LocalBroker(port=port, keys=local.keys)
    posing.server._access = _Nobody(open_to_all=False, knows=lambda _: False)
    with posing:
        client.retry_now()
        until(lambda: isinstance(client.status.error, NotAdmitted))
        assert client.status.state is ConnectionState.OFFLINE
    client.close()


@pytest.mark.parametrize("when", ["never started", "at once", "with keys"])
def test_closing_at_any_moment_leaves_nothing(broker: LocalBroker, when: str) -> None:
    client = ChatClient("alice", broker.address)
    if when != "never started":
        client.start()
    if when == "with keys":
        until(lambda: client.kid)
    client.close()
    client.close()
    assert not client._transport._thread.is_alive()
    assert client.status.state is ConnectionState.CLOSED
    assert list(client.events(5)) is not None
    until(lambda: not broker.router.connections)


def test_clients_come_back_by_themselves_and_nothing_is_lost() -> None:
    keys = new_curve_keys()
    with LocalBroker(keys=keys) as first, ChatClient("alice", first.address) as alice, ChatClient("bob", first.address) as bob:
        see(alice, "bob")
        port, kid = first.address.port, alice.kid
        first.stop()
        until(lambda: alice.status.state is ConnectionState.OFFLINE and bob.status.state is ConnectionState.OFFLINE)
        assert {peer.user for peer in alice.users()} == {"bob"}  # the last known
        ids = [alice.send(f"number {number}", "bob") for number in range(3)]
        assert alice.wait_sent(ids[0], 0.05) == {"bob": Outcome.QUEUED}
        with LocalBroker(keys=keys, port=port):
            bob.retry_now()
            until(lambda: bob.status.state is ConnectionState.ONLINE)
            alice.retry_now()
            for id_ in ids:
                assert alice.wait_sent(id_, PATIENCE) == {"bob": Outcome.DELIVERED}
            assert alice.kid == kid
            bob.close()
            events = list(bob.events())
            assert texts(events) == [f"number {number}" for number in range(3)]
            states = [line.text for line in alice.timeline("everyone") if line.sender == ""]
            assert states[0].startswith("connection lost: ")
            assert states[-1] == "connected again"
            receipts = [event for event in drain(alice) if isinstance(event, Receipt) and event.id == ids[0]]
            assert receipts[-1].outcome is Outcome.DELIVERED


def drain(client: ChatClient) -> list[Event]:
    client.close()
    return list(client.events())


def test_what_a_person_could_see_has_a_version(alice: ChatClient, broker: LocalBroker) -> None:
    before = alice.version
    with ChatClient("bob", broker.address) as bob:
        see(alice, "bob")
        assert alice.version > before
        before = alice.version
        bob.wait_sent(bob.send("hi", "alice"), PATIENCE)
        until(lambda: alice.version > before)
        (peer,) = alice.users()
        assert (peer.user, peer.kid, peer.trust) == ("bob", bob.kid, Trust.PINNED)
    pem = alice.public_pem
    assert pem is not None
    assert pem.startswith("-----BEGIN PUBLIC KEY-----")
