"""The broker on real sockets: strangers, nonsense and hostile bytes."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest
import zmq

from broker.access import Access
from core import frames
from core.limits import FRAME_MAX, LOGIN_TIME_MAX
from core.messages import Bye, Error, Ping, Pong, Reason, Status
from tests.net import LocalBroker, Watch, Wire, identity, tables, until, works

# Those who do not log in


def test_whoever_connects_and_says_nothing_is_cut(broker: LocalBroker) -> None:
    waiting = broker.server._descriptors._waiting
    with Wire(broker.address).log_in("alice") as alice:
        until(lambda: not waiting)  # a login is welcomed first, and then no longer waited for
        broker.clock.stop()
        with Wire(broker.address, watched=True) as silent:
            until(lambda: len(waiting) == 1)
            assert silent.watch.event() is zmq.Event.HANDSHAKE_SUCCEEDED
            broker.clock.ahead = LOGIN_TIME_MAX - 1
            for _ in range(2):  # whoever is late is cut after what came in the same round was answered
                alice.say(Ping())
                alice.expect(Pong)
            assert len(waiting) == 1
            broker.clock.ahead = LOGIN_TIME_MAX + 3
            assert silent.watch.event() is zmq.Event.DISCONNECTED
        alice.say(Ping())
        alice.expect(Pong)


def test_whoever_stops_in_the_middle_of_a_login_is_told_and_cut(broker: LocalBroker) -> None:
    with Wire(broker.address) as slow:
        slow.prove_up(identity("slow"))
        broker.clock.ahead = LOGIN_TIME_MAX + 0.1
        assert slow.expect(Error).reason is Reason.LOGIN_FAILED
        broker.clock.ahead += 5
        until(lambda: not any(tables(broker).values()))


@pytest.mark.parametrize("message", [Ping(), Pong(), Bye()], ids=lambda one: type(one).__name__)
def test_whoever_says_anything_else_before_the_login_is_cut(broker: LocalBroker, message: Ping | Pong | Bye) -> None:
    with Wire(broker.address) as stranger:
        stranger.say(message)
        assert stranger.expect(Error).reason is Reason.NOT_LOGGED_IN
        broker.clock.ahead = 5
        until(lambda: not any(tables(broker).values()))


def test_raw_bytes_and_half_handshakes_do_not_disturb(broker: LocalBroker) -> None:
    greeting = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
    lying = greeting + b"\x06" + (1 << 60).to_bytes(8, "big")  # a command that claims 2^60 bytes
    attacks = [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(4096),
        os.urandom(4096),
        greeting[:10],
        greeting,
        lying,
        greeting.replace(b"CURVE", b"NULL\0"),
        greeting.replace(b"CURVE", b"PLAIN"),
        greeting + b"\x04\x06\x05READY",
        b"\xff" * 4096,
    ]
    with Wire(broker.address).log_in("alice") as alice, Wire(broker.address).log_in("bob") as bob:
        peers = []
        for attack in attacks:
            one = socket.create_connection(("127.0.0.1", broker.address.port))
            one.sendall(attack)
            peers.append(one)
        works(broker, alice, bob)
        slow = socket.create_connection(("127.0.0.1", broker.address.port))
        for byte in greeting[:12]:  # a byte at a time
            slow.send(bytes([byte]))
            works(broker, alice, bob)
        for one in (*peers, slow):
            one.close()
        works(broker, alice, bob)
    until(lambda: not any(tables(broker).values()), str(tables(broker)))


@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN"])
def test_another_mechanism_gets_nowhere(broker: LocalBroker, mechanism: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as plain:
        plain.linger = 0
        if mechanism == "PLAIN":
            plain.plain_username, plain.plain_password = b"alice", b"secret"
        with contextlib.closing(Watch(plain)) as watch:
            plain.connect(broker.address.endpoints[0])
            with contextlib.suppress(zmq.Again):  # refused already: there is nobody to send it to
                plain.send_multipart([b"H"], zmq.NOBLOCK)
            event = watch.event()
    # Whichever end reads first that the other means something else hangs up.
    assert event in {zmq.Event.HANDSHAKE_FAILED_PROTOCOL, zmq.Event.HANDSHAKE_FAILED_NO_DETAIL}
    assert not broker.router.door._unproven


def test_whoever_access_does_not_admit_gets_no_handshake() -> None:
    class Nobody(Access):
        def admits(self, address: str, key: bytes) -> bool:  # noqa: ARG002
            return False

    local = LocalBroker()
    local.server._access = Nobody(open_to_all=False, knows=lambda _: False)  # this machine may have no other address
    with local as closed, Wire(closed.address, watched=True) as outsider:
        assert outsider.watch.event() is zmq.Event.HANDSHAKE_FAILED_AUTH
        until(lambda: len(closed.server._descriptors) == 0)


# Frames that are none


@pytest.mark.parametrize(
    "raw",
    [
        [b"S" + bytes(16) + b"bob"],
        [b"S" + bytes(16) + b"bob", b"a", b"b"],
        [b"D" + bytes(24) + b"bob", b"a"],
        [b"x"] * 259,
        [b"x"] * 300,
        [b"", b""],
        [b""],
        [b"S", b""],
        [b"S" + bytes(16), b"common"],
        [b"S" + bytes(16) + b"Not A Name", b"common"],
        [b"S" + bytes(16) + b"everyone", b"common"],
        [b"S" + bytes(16) + b"\xff\xfe", b"common"],
        [b"A"],
        [b"A" + bytes(39)],
        [b"A" + bytes(40), b"more"],
        [b"F" + bytes(16), b"common", b"bob,bob", b"w", b"w"],
        [b"I" + bytes(40_000)],
        [b"Z"],
        [b"W\x80"],
        [b"L\x81\xa5users\x90"],
    ],
    ids=lambda raw: f"{len(raw)} frames, {raw[0][:3]!r}",
)
def test_frames_that_are_none_end_only_their_sender(broker: LocalBroker, raw: list[bytes]) -> None:
    with (
        Wire(broker.address).log_in("alice") as alice,
        Wire(broker.address).log_in("bob") as bob,
        Wire(broker.address).log_in("mallory") as mallory,
    ):
        before = alice.mail("bob")
        mallory.send(raw)
        after = alice.mail("bob")
        assert mallory.expect(Error).reason is Reason.MALFORMED
        copies = [bob.delivery(), bob.delivery()]
        assert [copy.mid for copy in copies] == [before, after]
        bob.ack(copies)
        assert {one.status for one in alice.results(2)} == {Status.DELIVERED}
        until(lambda: "mallory" not in broker.present)
        works(broker, alice, bob)


def test_a_frame_over_the_limit_ends_the_connection(broker: LocalBroker) -> None:
    with Wire(broker.address).log_in("alice") as alice, Wire(broker.address).log_in("bob") as bob:
        with Wire(broker.address).log_in("mallory") as mallory:
            mallory.mail("bob", bytes(FRAME_MAX + 1))
            until(lambda: "mallory" not in broker.present)
        works(broker, alice, bob)
        largest = alice.mail("bob", bytes(FRAME_MAX))
        assert bob.delivery().mid == largest


def test_a_fan_out_gives_each_only_what_is_theirs(broker: LocalBroker) -> None:
    with (
        Wire(broker.address).log_in("alice") as alice,
        Wire(broker.address).log_in("bob") as bob,
        Wire(broker.address).log_in("carol") as carol,
    ):
        mid = os.urandom(16)
        alice.send(frames.fanout(mid, ["bob", "carol", "nobody"], b"common", [b"for bob", b"for carol", b"for nobody"]))
        for one, wrap in ((bob, b"for bob"), (carol, b"for carol")):
            copy = one.delivery()
            assert (copy.mid, copy.common, copy.wrap) == (mid, b"common", wrap)
            one.ack([copy])
        results = {one.place: one.status for one in alice.results(3)}
        assert results == {0: Status.DELIVERED, 1: Status.DELIVERED, 2: Status.ABSENT}
