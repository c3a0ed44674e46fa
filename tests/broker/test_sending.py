"""The server's sending side, on a real socket whose queue is short."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from broker.sending import Sending
from core import frames
from core.messages import Deliver
from tests.broker.office import Office, Peer
from tests.net import until


class Line:
    """A ROUTER that sends, and a DEALER that does not read yet, for one peer of an office."""

    def __init__(self, office: Office, peer: Peer) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.dealer = self.context.socket(zmq.DEALER)
        self.router.router_mandatory = True
        self.router.sndhwm = self.dealer.rcvhwm = 5
        self.router.linger = self.dealer.linger = 0
        self.dealer.routing_id = peer.connection.rid
        self.router.bind("inproc://line")
        self.dealer.connect("inproc://line")
        self.dealer.send(b"hello")
        assert self.router.recv_multipart() == [peer.connection.rid, b"hello"]
        self.sending = Sending(self.router, office.router, lambda: office.now.mono)

    def read(self) -> list[bytes]:
        """The mids of the copies that have come."""
        mids = []
        while self.dealer.poll(0):
            message = frames.read_from_broker(self.dealer.recv_multipart())
            if isinstance(message, Deliver):
                mids.append(message.mid)
        return mids


@pytest.fixture
def office() -> Office:
    return Office("alice", "bob")


@pytest.fixture
def bob(office: Office) -> Peer:
    return office.join("bob")


@pytest.fixture
def line(office: Office, bob: Peer) -> Iterator[Line]:
    made = Line(office, bob)
    yield made
    made.context.destroy(0)


def test_what_a_full_queue_does_not_take_is_kept_and_comes_in_its_order(office: Office, bob: Peer, line: Line) -> None:
    alice = office.join("alice")
    sent = []
    for _ in range(40):
        mid = office.mid()
        sent.append(mid)
        delivery = office.router.mail(alice.connection, b"S" + mid + b"bob", zmq.Frame(b"common"))
        assert delivery is not None
        for target in delivery[0]:
            line.sending.mail[target].append((delivery[1], zmq.Frame(b"common")))
    line.sending.deliver()
    office.disk.submit(office.router.to_disk.copy())
    office.router.to_disk.clear()
    came = line.read()
    assert 0 < len(came) < 40
    assert came == sent[: len(came)]
    assert list(bob.connection.catch_up.plan) == list(range(len(came) + 1, 41))
    assert b"bob" not in office.router.directory.receivers  # nothing newer gets ahead of them

    def rest_came() -> bool:
        office.disk.work()
        office.router.stored(office.disk.completed())
        line.sending.outgoing()
        office.router.sweep(office.now)
        office.disk.submit(office.router.to_disk.copy())
        office.router.to_disk.clear()
        came.extend(line.read())
        return len(came) == 40

    until(rest_came)
    assert came == sent


def test_a_guest_whose_queue_is_full_gets_no_later_copy_before_an_earlier_one(office: Office) -> None:
    gus, alice = office.join("gus"), office.join("alice")
    line = Line(office, gus)
    sent = []
    for _ in range(40):
        mid = office.mid()
        sent.append(mid)
        delivery = office.router.mail(alice.connection, b"S" + mid + b"gus", b"common")
        assert delivery is not None
        line.sending.mail[gus.connection].append((delivery[1], zmq.Frame(b"common")))
    line.sending.deliver()
    office.settle()
    came = line.read()
    assert came == sent[: len(came)]
    assert set(alice.results) == set(sent[len(came) :])
    line.context.destroy(0)
