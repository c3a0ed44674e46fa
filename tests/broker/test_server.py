"""The broker on real sockets: honest users among slow, dead and hostile ones."""

from __future__ import annotations

import os
import socket
import threading

import pytest
import zmq
from zmq.utils import z85

from core import frames, messages
from core.clock import Instant
from core.errors import BrokerFailed
from core.limits import FRAME_MAX, SILENCE_MAX, WINDOW_BYTES, WINDOW_COPIES
from core.messages import Bye, Challenge, Deliver, Error, Mode, Ping, Pong, Reason, Results, Roster, Status, Welcome
from tests.net import PATIENCE, PROOF, LocalBroker, Wire, identity, tables, until, works

# Login


def test_a_message_and_its_answer(broker: LocalBroker) -> None:
    with Wire(broker.address).log_in("alice") as alice, Wire(broker.address).log_in("bob") as bob:
        proof = os.urandom(32)
        mid = alice.mail("bob", b"for bob")
        copy = bob.delivery()
        assert (copy.mid, copy.sender, copy.common, copy.wrap) == (mid, "alice", b"for bob", None)
        bob.ack([copy], proof)
        assert alice.results(1) == [messages.Result(mid, 0, Status.DELIVERED, proof)]


def test_a_login_and_the_first_message_in_one_go(broker: LocalBroker) -> None:
    """Whoever sends on before the WELCOME has come is served, and hears the WELCOME first."""
    for number in range(20):
        with Wire(broker.address) as eager:
            me = identity(f"eager-{number}")
            proof = eager.prove_up(me)
            eager.say(proof)
            mid = eager.mail(me.user)
            assert isinstance(eager.read(), Welcome)
            copy = eager.delivery()
            assert copy.mid == mid
            eager.ack([copy])
            assert eager.results(1)[0].status is Status.DELIVERED


def test_a_relayed_login_is_refused(broker: LocalBroker) -> None:
    """Whoever stands between a user and a broker cannot use what the user proves to them."""
    with LocalBroker() as other, Wire(broker.address) as victim, Wire(other.address) as attacker:
        me = identity("alice")
        hello = victim.hello(me)
        attacker.say(hello)
        challenge = attacker.expect(Challenge)
        attacker.say(victim.proof(me, hello, challenge))
        assert attacker.expect(Error).reason is Reason.LOGIN_FAILED
        assert not other.present


def test_a_name_belongs_to_one_key_at_a_time(broker: LocalBroker) -> None:
    holder = identity("bob", keys=0)
    with Wire(broker.address).log_in(holder), Wire(broker.address) as other, Wire(broker.address).log_in(holder):
        other.say(other.prove_up(identity("bob", keys=1)))
        assert other.expect(Error).reason is Reason.NAME_TAKEN
    until(lambda: not broker.present)
    with Wire(broker.address).log_in(identity("bob", keys=1)):
        assert broker.present == {"bob"}


def test_a_routing_id_that_can_be_guessed_is_refused(broker: LocalBroker) -> None:
    with Wire(broker.address, routing_id=b"short") as short:
        short.say(short.hello(identity("alice")))
        assert short.expect(Error).reason is Reason.MALFORMED
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with Wire(broker.address, context=context) as named:
        made_up = context.socket(zmq.DEALER)
        made_up.linger = 0
        made_up.curve_publickey, made_up.curve_secretkey = zmq.curve_keypair()
        made_up.curve_serverkey = z85.encode(broker.address.key)
        made_up.connect(broker.address.endpoints[0])
        made_up.send_multipart(frames.control(named.hello(identity("alice"))))
        assert made_up.poll(10_000)
        assert frames.read_from_broker(made_up.recv_multipart()) == Error(Reason.MALFORMED)
        made_up.close()
        named.log_in("alice")
    context.destroy(0)


def test_a_second_socket_with_a_taken_routing_id_takes_nothing(broker: LocalBroker) -> None:
    taken = b"\1" + os.urandom(15)
    with Wire(broker.address, routing_id=taken).log_in("bob") as bob, Wire(broker.address).log_in("alice") as alice:
        with Wire(broker.address, routing_id=taken) as thief:
            thief.mail("alice")
            works(broker, alice, bob)
            assert not thief.waiting()
        works(broker, alice, bob)


# Slow and dead recipients


def test_a_recipient_that_stops_reading_freezes_nobody(broker: LocalBroker) -> None:
    """Beyond its window each message to it is refused by name; none disappears, and others go on."""
    common = bytes(1024)
    count = WINDOW_COPIES + 500
    with (
        Wire(broker.address, rcvhwm=1, rcvbuf=4096).log_in("frozen"),
        Wire(broker.address).log_in("alice") as alice,
        Wire(broker.address).log_in("bob") as bob,
    ):
        sent = [alice.mail("frozen", common) for _ in range(count)]
        full = alice.results(500)
        assert {one.mid for one in full} == set(sent[WINDOW_COPIES:])
        assert {one.status for one in full} == {Status.FULL}
        works(broker, alice, bob)
        frozen = next(one for one in broker.router.connections.values() if one.user == "frozen")
        held = {copy[1] for copy in frozen.copies.values()}
        assert held == set(sent[:WINDOW_COPIES])


def test_large_messages_to_a_recipient_that_stops_reading_are_bounded_by_bytes(broker: LocalBroker) -> None:
    common = bytes(FRAME_MAX)
    fit = WINDOW_BYTES // FRAME_MAX
    with Wire(broker.address, rcvhwm=1, rcvbuf=4096).log_in("frozen") as frozen, Wire(broker.address).log_in("alice") as alice:
        sent = [alice.mail("frozen", common) for _ in range(fit + 10)]
        assert [(one.mid, one.status) for one in alice.results(10)] == [(mid, Status.FULL) for mid in sent[fit:]]
        # It reads on, and nothing that was taken for it is lost.
        copies = [frozen.delivery() for _ in range(fit)]
        assert [copy.mid for copy in copies] == sent[:fit]
        frozen.ack(copies)
        assert {one.mid for one in alice.results(fit)} == set(sent[:fit])
        works(broker, alice, frozen)


def test_what_a_frozen_recipient_never_took_is_answered_when_it_goes(broker: LocalBroker) -> None:
    with Wire(broker.address).log_in("alice") as alice:
        with Wire(broker.address, rcvhwm=1, rcvbuf=4096).log_in("frozen"):
            sent = [alice.mail("frozen", bytes(1024)) for _ in range(3000)]
            until(lambda: any(len(one.copies) == 3000 for one in broker.router.connections.values()))
        results = alice.results(3000)
        assert {one.mid for one in results} == set(sent)
        assert {one.status for one in results} == {Status.GONE}


def test_an_acknowledgement_followed_by_leaving_counts(broker: LocalBroker) -> None:
    """Even while others are writing to whoever leaves: what was acknowledged before the goodbye was heard."""
    with Wire(broker.address).log_in("alice") as alice, Wire(broker.address).log_in("carol") as carol:
        for _ in range(30):
            with Wire(broker.address).log_in("bob") as bob:
                mine = [alice.mail("bob") for _ in range(20)]
                copies = [bob.delivery() for _ in mine]
                for _ in range(50):
                    carol.mail("bob")
                for copy in copies:
                    bob.ack([copy])
                bob.say(Bye())
                bob.expect(Bye)
            results = alice.results(len(mine))
            assert {one.mid for one in results} == set(mine)
            assert {one.status for one in results} == {Status.DELIVERED}
            until(lambda: "bob" not in broker.present)


def test_what_was_acknowledged_is_read_before_a_connection_is_swept_away(
    broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop finds in one turn that it ended, and that it is time to sweep; it has not yet read its last words."""
    held, go_on = threading.Event(), threading.Event()
    round_, long_after = broker.server._round, broker.clock().mono + 1000

    def hold(now: Instant) -> bool:
        dry = round_(now)
        if now.mono > long_after and not held.is_set():
            held.set()
            assert go_on.wait(PATIENCE)
        return dry

    with Wire(broker.address).log_in("alice") as alice:
        with Wire(broker.address).log_in("bob") as bob:
            mid = alice.mail("bob")
            copy = bob.delivery()
            bobs = next(one.rid for one in broker.router.connections.values() if one.user == "bob")
            for one in broker.router.connections.values():
                one.seen += 2000
            monkeypatch.setattr(broker.server, "_round", hold)
            broker.clock.ahead += 2000
            assert held.wait(PATIENCE)
            bob.socket.linger = 5000
            bob.ack([copy])
        until(lambda: broker.server._sending.ping(bobs) is False)  # by this thread, while the loop's is held
        go_on.set()
        assert alice.results(1) == [messages.Result(mid, 0, Status.DELIVERED, PROOF)]


def test_a_loop_that_is_always_busy_lets_go_too(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    round_ = broker.server._round
    monkeypatch.setattr(broker.server, "_round", lambda now: round_(now) and False)
    with Wire(broker.address).log_in("alice") as alice:
        with Wire(broker.address).log_in("bob") as bob:
            works(broker, alice, bob)
        until(lambda: "bob" not in broker.present)
        works(broker, alice, alice)
    until(lambda: not any(tables(broker).values()))


def test_a_connection_that_has_ended_by_itself_is_not_cut(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its descriptor's number may have been given away: whatever has it now would be cut."""
    answered, go_on = threading.Event(), threading.Event()
    round_ = broker.server._round
    cut: list[int] = []
    monkeypatch.setattr("broker.server.shut", cut.append)

    def hold(now: Instant) -> bool:
        round_(now)
        if broker.server._sending.dying and not answered.is_set():
            answered.set()
            assert go_on.wait(PATIENCE)
        return False

    monkeypatch.setattr(broker.server, "_round", hold)
    with Wire(broker.address).log_in("bob") as bob:
        bobs = next(iter(broker.router.connections))
        bob.say(Bye())
        bob.expect(Bye)
        assert answered.wait(PATIENCE)
    until(lambda: broker.server._sending.ping(bobs) is False)  # by this thread, while the loop's is held
    broker.clock.ahead += 2000
    go_on.set()
    until(lambda: not any(tables(broker).values()))
    assert not cut


def test_the_first_acknowledgement_of_two_connections_retires_the_copy(broker: LocalBroker) -> None:
    me = identity("bob")
    with (
        Wire(broker.address).log_in(me) as desk,
        Wire(broker.address).log_in(me) as phone,
        Wire(broker.address).log_in("alice") as alice,
    ):
        mid = alice.mail("bob")
        at_desk, on_phone = desk.delivery(), phone.delivery()
        assert at_desk == on_phone
        phone.ack([on_phone], bytes([7]) * 32)
        assert alice.results(1) == [messages.Result(mid, 0, Status.DELIVERED, bytes([7]) * 32)]
        desk.ack([at_desk], bytes([8]) * 32)
        with Wire(broker.address).log_in("carol") as carol:
            works(broker, alice, carol)
        assert all(not one.copies and not one.bytes_out for one in broker.router.connections.values())


def test_silence_ends_a_connection(broker: LocalBroker) -> None:
    with Wire(broker.address).log_in("alice") as alice, Wire(broker.address).log_in("bob") as bob:
        alices = next(one for one in broker.router.connections.values() if one.user == "alice")
        broker.clock.ahead = 2 / 3 * SILENCE_MAX
        while alices.seen < broker.clock().mono - 1:
            alice.say(Ping())
            alice.expect(Pong)
        broker.clock.ahead += 2 / 3 * SILENCE_MAX
        assert isinstance(bob.expect(Bye), Bye)
        while not (change := alice.expect(Roster)).left:
            pass
        assert change.left == ("bob",)


# The life of the server itself


def test_nothing_is_kept_of_connections_that_ended(broker: LocalBroker) -> None:
    """Some log in, some do not, some say goodbye, some are cut, some speak nonsense; then there is nothing left of them."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    for round_ in range(50):
        peers = [Wire(broker.address, context=context) for _ in range(10)]
        peers[0].log_in(f"user-{round_}")
        peers[1].log_in(f"cron-{round_}", Mode.SEND)
        peers[2].log_in(f"leaver-{round_}").say(Bye())
        peers[3].prove_up(identity("stops-here"))
        peers[4].send([b"nonsense"])
        peers[5].say(Bye())
        peers[6].mail("bob")
        peers[7].say(peers[7].hello(identity("quick")))
        peers[0].mail(f"user-{round_}")
        peers[1].mail("nobody")
        for one in peers:
            one.close()
    until(lambda: not broker.present)
    until(lambda: not any(tables(broker).values()), str(tables(broker)))
    with Wire(broker.address).log_in("alice") as alice, Wire(broker.address).log_in("bob") as bob:
        works(broker, alice, bob)
    context.destroy(0)


def test_closing_does_not_wait_for_events_that_nobody_read() -> None:
    broker = LocalBroker()
    for _ in range(2500):
        socket.create_connection(("127.0.0.1", broker.address.port)).close()
    broker.stop()


def test_a_server_that_never_ran_can_be_closed_twice() -> None:
    broker = LocalBroker()
    broker.server.close()
    broker.server.close()
    broker.stop()


def test_a_port_in_use_is_said_in_one_sentence(broker: LocalBroker) -> None:
    with pytest.raises(BrokerFailed, match=rf"Port {broker.address.port} on 127\.0\.0\.1 is already in use"):
        LocalBroker(port=broker.address.port)
    with pytest.raises(BrokerFailed, match=r"This machine has no address 192\.0\.2\.1"):
        LocalBroker(host="192.0.2.1")


def test_results_are_not_lost_however_many(broker: LocalBroker) -> None:
    with Wire(broker.address).log_in("alice") as alice:
        names = [f"nobody-{number}" for number in range(256)]
        mids = [os.urandom(16) for _ in range(40)]
        for mid in mids:
            alice.send(frames.fanout(mid, names, b"common", [b"w"] * 256))
        results = alice.results(256 * len(mids))
        assert {(one.mid, one.place) for one in results} == {(mid, place) for mid in mids for place in range(256)}
        assert {one.status for one in results} == {Status.ABSENT}
        while alice.waiting():
            assert not isinstance(alice.read(), Results)


def test_nothing_of_mail_reaches_those_who_only_send(broker: LocalBroker) -> None:
    with Wire(broker.address).log_in("cron", Mode.SEND) as cron, Wire(broker.address).log_in("alice") as alice:
        mid = alice.mail("cron")
        assert alice.results(1) == [messages.Result(mid, 0, Status.ABSENT)]
        works(broker, cron, alice)
        cron.say(Ping())
        while not isinstance(message := cron.read(), Pong):
            assert not isinstance(message, Deliver | Roster)
            assert isinstance(message, Results | Ping)
