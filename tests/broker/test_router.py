"""The router as a pure object: logins, copies and their answers, windows."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from broker.directory import Connection
from broker.ledger import Ledger, LogEvent
from broker.router import Router
from core import frames
from core.bundle import Kind
from core.clock import Instant
from core.frames import Frames
from core.identity import Identity
from core.limits import LOGIN_TIME_MAX, SILENCE_MAX, UNPROVEN_MAX, USER_CONNECTIONS_MAX, WINDOW_BYTES, WINDOW_COPIES
from core.login import LoginContext, prove
from core.messages import (
    Bundles,
    Bye,
    Challenge,
    Control,
    Error,
    FromBroker,
    Hello,
    Lookup,
    Mode,
    Ping,
    Pong,
    Prove,
    Reason,
    Results,
    Roster,
    Status,
    Users,
    Welcome,
)
from tests.net import PROOF, identity

BROKER_KEY = bytes(range(32))
CLIENT_KEY = bytes(32)
MID = bytes(range(16))


class House:
    """A router, and those who speak to it."""

    def __init__(self) -> None:
        self.log: list[LogEvent] = []
        self.router = Router(BROKER_KEY, Ledger(), self.log.append, random=os.urandom)
        self.now = Instant(time.time(), 1000.0)
        self._rids = (b"rid %d" % number for number in itertools.count())

    def later(self, seconds: float) -> None:
        self.now = Instant(self.now.wall + seconds, self.now.mono + seconds)

    def give(self, rid: bytes, raw: Frames, key: bytes = CLIENT_KEY) -> list[tuple[Connection, Frames]]:
        """What one message makes the router deliver at once: to whom, and the frames."""
        found = []
        for (targets, head), rest in self.router.receive(rid, key, raw, self.now):
            found += [(target, [head, *rest]) for target in targets]
        return found

    def say(self, rid: bytes, message: Control) -> None:
        assert not self.give(rid, frames.control(message))

    def heard(self, rid: bytes) -> list[FromBroker]:
        """What was said to this connection since this was last asked, last words included."""
        said = [raw for connection, raw, _ in self.router.outgoing if connection.rid == rid]
        said += [[words] for doomed, words in self.router.doomed if doomed == rid]
        self.router.outgoing = [one for one in self.router.outgoing if one[0].rid != rid]
        self.router.doomed = [one for one in self.router.doomed if one[0] != rid]
        return [frames.read_from_broker(raw) for raw in said]

    def greet(self, me: Identity, mode: Mode = Mode.FULL, **changed: Any) -> tuple[bytes, Hello, Challenge]:
        rid = next(self._rids)
        values: dict[str, Any] = {
            "versions": (1,),
            "mode": mode,
            "user": me.user,
            "kind": me.kind,
            "ik": me.signing.public.spki,
            "bundle": me.bundle,
            "curve": me.curve,
            "nonce": os.urandom(32),
            **changed,
        }
        hello = Hello(**values)
        self.say(rid, hello)
        (answer,) = self.heard(rid)
        assert isinstance(answer, Challenge), answer
        return rid, hello, answer

    def prove(self, me: Identity, rid: bytes, hello: Hello, challenge: Challenge, **changed: Any) -> list[FromBroker]:
        values: dict[str, Any] = {
            "broker_key": BROKER_KEY,
            "client_key": CLIENT_KEY,
            "client_nonce": hello.nonce,
            "broker_nonce": challenge.nonce,
            "user": me.user,
            **changed,
        }
        self.say(rid, Prove(prove(me.signing, LoginContext(**values))))
        return self.heard(rid)

    def enter(self, who: str | Identity, mode: Mode = Mode.FULL) -> Connection:
        me = identity(who, sends_only=mode is Mode.SEND) if isinstance(who, str) else who
        rid, hello, challenge = self.greet(me, mode)
        welcome, *roster = self.prove(me, rid, hello, challenge)
        assert isinstance(welcome, Welcome)
        assert [type(one) for one in roster] == ([Roster] if mode is Mode.FULL else [])
        return self.router.connections[rid]

    def mail(self, sender: Connection, to: str, size: int = 100) -> list[tuple[Connection, bytes]]:
        """Send as the fast path does; whom it goes to, and the DELIVER head."""
        delivery = self.router.mail(sender, b"S" + MID + to.encode(), bytes(size))
        return [(target, delivery[1]) for target in delivery[0]] if delivery else []

    def ack(self, connection: Connection, head: bytes, proof: bytes = PROOF) -> None:
        self.router.acked(connection, b"A" + head[1:9] + proof)

    def results(self, connection: Connection) -> list[tuple[int, Status]]:
        found = []
        while connection.results:
            message = frames.read_from_broker([self.router.take_results(connection)])
            assert isinstance(message, Results)
            found += [(one.place, one.status) for one in message.results]
        assert connection not in self.router.with_results
        return found


@pytest.fixture
def house() -> Iterator[House]:
    """A router; afterwards everybody leaves, and nothing may be left of them."""
    here = House()
    yield here
    router = here.router
    at_the_door = [login.connection for login in router.door._unproven.values()]
    for connection in [*router.connections.values(), *at_the_door]:
        router.gone(connection)
    directory = router.directory
    left = (
        router.connections,
        router.door._unproven,
        router.with_results,
        directory.receivers,
        directory._users,
        directory._entries,
    )
    assert not any(left)


# Login


@pytest.mark.parametrize("changed", ["broker_key", "client_key", "client_nonce", "broker_nonce", "user"])
def test_a_proof_for_anything_else_is_refused(house: House, changed: str) -> None:
    me = identity("alice")
    other = "alicf" if changed == "user" else bytes([1]) * 32
    answers = house.prove(me, *house.greet(me), **{changed: other})  # type: ignore[arg-type]
    assert answers == [Error(Reason.LOGIN_FAILED)]
    assert house.router.directory.holder("alice") is None


def test_a_proof_by_another_key_is_refused(house: House) -> None:
    me, other = identity("alice", keys=0), identity("alice", keys=1)
    rid, hello, challenge = house.greet(me)
    assert house.prove(other, rid, hello, challenge) == [Error(Reason.LOGIN_FAILED)]


@pytest.mark.parametrize("what", ["another's bundle", "another name's bundle", "no bundle", "a profile", "a stale bundle"])
def test_a_hello_that_does_not_hold_together_is_refused(house: House, what: str) -> None:
    me = identity("alice", keys=0)
    changes: dict[str, dict[str, Any]] = {
        "another's bundle": {"bundle": identity("alice", keys=1).bundle},
        "another name's bundle": {"bundle": identity("alicf", keys=0).bundle},
        "no bundle": {"bundle": None},
        "a profile": {"kind": Kind.PROFILE},
        "a stale bundle": {},
    }
    if what == "a stale bundle":
        house.later(40 * 24 * 3600)
    assert house.prove(me, *house.greet(me, **changes[what])) == [Error(Reason.LOGIN_FAILED)]


def test_no_version_in_common(house: House) -> None:
    me = identity("alice")
    hello = Hello((2, 3), Mode.FULL, "alice", me.kind, me.signing.public.spki, me.bundle, None, bytes(32))
    house.say(b"new", hello)
    assert house.heard(b"new") == [Error(Reason.VERSION)]
    house.say(b"both", Hello((3, 1), Mode.FULL, "alice", me.kind, me.signing.public.spki, me.bundle, None, bytes(32)))
    assert isinstance(house.heard(b"both")[0], Challenge)


@pytest.mark.parametrize("message", [Ping(), Users(), Lookup(("bob",)), Bye(), Pong(), Prove(bytes(256))])
def test_nothing_but_a_login_is_heard_of_a_stranger(house: House, message: Control) -> None:
    house.say(b"stranger", message)
    assert house.heard(b"stranger") == [Error(Reason.NOT_LOGGED_IN)]
    for raw in (frames.send(MID, "bob", b"x"), frames.ack([(bytes(8), bytes(32))])):
        assert not house.give(b"stranger", raw)
        assert house.heard(b"stranger") == [Error(Reason.NOT_LOGGED_IN)]


def test_a_second_hello_or_prove_ends_the_connection(house: House) -> None:
    me = identity("alice")
    rid, hello, _ = house.greet(me)
    house.say(rid, hello)
    assert house.heard(rid) == [Error(Reason.NOT_LOGGED_IN)]
    for again in (hello, Prove(bytes(256))):
        connection = house.enter("alice")
        house.say(connection.rid, again)
        assert house.heard(connection.rid) == [Error(Reason.MALFORMED)]
        assert house.router.directory.holder("alice") is None


def test_a_name_is_taken_by_another_key_only_while_it_is_held(house: House) -> None:
    first, other = identity("bob", keys=0), identity("bob", keys=1)
    one, two = house.enter(first), house.enter(first)
    assert house.prove(other, *house.greet(other)) == [Error(Reason.NAME_TAKEN)]
    house.say(one.rid, Bye())
    assert house.heard(one.rid) == [Bye()]
    assert house.prove(other, *house.greet(other)) == [Error(Reason.NAME_TAKEN)]
    house.router.gone(two)
    assert house.enter(other).ready


def test_two_logins_at_once_for_one_name_do_not_both_get_it(house: House) -> None:
    first, other = identity("bob", keys=0), identity("bob", keys=1)
    begun, begun_too = house.greet(first), house.greet(other)
    assert isinstance(house.prove(other, *begun_too)[0], Welcome)
    assert house.prove(first, *begun) == [Error(Reason.NAME_TAKEN)]


def test_the_send_mode_holds_a_name_unseen(house: House) -> None:
    alice = house.enter("alice")
    house.router.roster_tick()
    house.heard(alice.rid)
    cron = house.enter(identity("cron", sends_only=True, keys=0), Mode.SEND)
    house.router.roster_tick()
    assert house.heard(alice.rid) == []
    assert house.heard(cron.rid) == []
    house.say(alice.rid, Lookup(("cron",)))
    (answer,) = house.heard(alice.rid)
    assert isinstance(answer, Bundles)
    assert answer.found[0].bundle is None
    other = identity("cron", keys=1)
    assert house.prove(other, *house.greet(other)) == [Error(Reason.NAME_TAKEN)]


def test_too_many_of_one_user_and_too_many_at_the_door(house: House) -> None:
    me = identity("bob")
    for _ in range(USER_CONNECTIONS_MAX):
        house.enter(me)
    assert house.prove(me, *house.greet(me)) == [Error(Reason.BUSY)]
    hello = house.greet(me)[1]
    while len(house.router.door._unproven) < UNPROVEN_MAX:
        house.give(b"door %d" % len(house.router.door._unproven), frames.control(hello))
    house.router.outgoing.clear()
    house.say(b"one more", hello)
    assert house.heard(b"one more") == [Error(Reason.BUSY)]


def test_slow_logins_and_silent_connections_are_ended(house: House) -> None:
    slow, _, _ = house.greet(identity("slow"))
    quiet = house.enter("quiet")
    house.later(LOGIN_TIME_MAX)
    house.router.sweep(house.now)
    assert house.heard(slow) == []
    house.later(0.1)
    house.router.sweep(house.now)
    assert house.heard(slow) == [Error(Reason.LOGIN_FAILED)]
    house.later(SILENCE_MAX)
    house.router.sweep(house.now)
    assert house.heard(quiet.rid) == [Bye()]
    assert not quiet.ready


# Copies


def test_lookup_answers_in_order_and_says_who_is_not_there(house: House) -> None:
    alice, me = house.enter("alice"), identity("bob")
    house.enter(me)
    house.say(alice.rid, Lookup(("nobody", "bob", "bob")))
    (answer,) = house.heard(alice.rid)
    assert isinstance(answer, Bundles)
    assert [(found.user, found.bundle) for found in answer.found] == [("nobody", None), ("bob", me.bundle), ("bob", me.bundle)]


def test_a_fan_out_gives_each_only_their_wrap(house: House) -> None:
    alice, bob, carol = house.enter("alice"), house.enter("bob"), house.enter("carol")
    raw = frames.fanout(MID, ["bob", "nobody", "carol"], b"common", [b"B", b"N", b"C"])
    given = dict(house.give(alice.rid, raw))
    assert {target: message[1:] for target, message in given.items()} == {bob: [b"common", b"B"], carol: [b"common", b"C"]}
    house.ack(bob, given[bob][0])
    house.ack(carol, given[carol][0], bytes([1]) * 32)
    assert house.results(alice) == [(1, Status.ABSENT), (0, Status.DELIVERED), (2, Status.DELIVERED)]


def test_only_whoever_was_given_a_copy_can_acknowledge_it(house: House) -> None:
    alice, bob, mallory = house.enter("alice"), house.enter("bob"), house.enter("mallory")
    ((_, head),) = house.mail(alice, "bob")
    house.ack(mallory, head)
    house.ack(alice, head)
    assert house.results(alice) == []
    house.ack(bob, head)
    house.ack(bob, head)
    assert house.results(alice) == [(0, Status.DELIVERED)]
    assert (bob.copies, bob.bytes_out) == ({}, 0)


def test_the_first_of_two_connections_retires_the_copy_for_both(house: House) -> None:
    me = identity("bob")
    alice, desk, phone = house.enter("alice"), house.enter(me), house.enter(me)
    (at_desk, head), (on_phone, same) = house.mail(alice, "bob")
    assert {at_desk, on_phone} == {desk, phone}
    assert head == same
    house.ack(phone, head)
    house.ack(desk, head)
    assert house.results(alice) == [(0, Status.DELIVERED)]
    assert [(one.copies, one.bytes_out) for one in (desk, phone)] == [({}, 0)] * 2


def test_a_copy_is_gone_only_when_all_who_had_it_are(house: House) -> None:
    me = identity("bob")
    alice, desk, phone = house.enter("alice"), house.enter(me), house.enter(me)
    house.mail(alice, "bob")
    house.router.gone(desk)
    assert house.results(alice) == []
    house.router.gone(phone)
    assert house.results(alice) == [(0, Status.GONE)]
    house.router.gone(phone)
    assert house.mail(alice, "bob") == []
    assert house.results(alice) == [(0, Status.ABSENT)]


def test_a_sender_who_left_gets_no_results(house: House) -> None:
    alice, bob = house.enter("alice"), house.enter("bob")
    ((_, head),) = house.mail(alice, "bob")
    house.router.gone(alice)
    house.ack(bob, head)
    assert not house.router.with_results
    assert bob.bytes_out == 0


@pytest.mark.parametrize(("size", "fit"), [(1, WINDOW_COPIES), (WINDOW_BYTES // 4, 4), (WINDOW_BYTES // 4 + 1, 3)])
def test_a_window_that_is_full_refuses_until_it_is_emptied(house: House, size: int, fit: int) -> None:
    alice, bob = house.enter("alice"), house.enter("bob")
    heads = [head for _ in range(fit) for _, head in house.mail(alice, "bob", size)]
    assert len(heads) == fit
    assert house.mail(alice, "bob", size) == []
    assert house.results(alice) == [(0, Status.FULL)]
    house.ack(bob, heads[0])
    assert len(house.mail(alice, "bob", size)) == 1
    assert house.results(alice) == [(0, Status.DELIVERED)]


def test_a_full_connection_does_not_keep_a_sibling_from_its_copy(house: House) -> None:
    me = identity("bob")
    alice, stuck = house.enter("alice"), house.enter(me)
    for _ in range(WINDOW_COPIES):
        house.mail(alice, "bob")
    fresh = house.enter(me)
    ((target, head),) = house.mail(alice, "bob")
    assert target is fresh
    house.router.undeliverable(fresh, head)
    assert house.results(alice) == [(0, Status.FULL)]
    assert len(stuck.copies) == WINDOW_COPIES


def test_the_roster_tells_a_change_once_and_whole_to_whoever_missed_one(house: House) -> None:
    alice, bob = house.enter("alice"), house.enter("bob")
    house.router.roster_tick()
    for one in (alice, bob):
        (change,) = house.heard(one.rid)
        assert isinstance(change, Roster)
        assert {entry.user for entry in change.joined} == {"alice", "bob"}
    house.router.roster_tick()
    assert not house.router.outgoing
    bob.behind = True
    house.router.gone(alice)
    house.router.roster_tick()
    (whole,) = house.heard(bob.rid)
    assert isinstance(whole, Roster)
    assert whole.full
    assert [entry.user for entry in whole.joined] == ["bob"]
    house.router.roster_tick()
    assert not house.router.outgoing
