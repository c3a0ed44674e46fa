"""Mail for users who are away, on real sockets and real disks: brokers that are killed, and disks in trouble."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path

import pytest

from broker.admin import release
from broker.mail_storage import MAIL_NAME
from broker.storage import LOG_NAME
from core.events import Outcome
from core.identity import Identity
from core.messages import (
    Bundles,
    CaughtUp,
    Deliver,
    Error,
    Kept,
    Lookup,
    Mode,
    Reason,
    Result,
    Results,
    Status,
    Told,
    Welcome,
)
from tests.attacks.lies import Town
from tests.broker.test_mail_storage import WRITE, held_by_another
from tests.broker_process import BrokerProcess, Running, broker_command, environment
from tests.net import PROOF, LocalBroker, Wire, profile, until, works


def claim(broker: LocalBroker | BrokerProcess, *owners: Identity) -> None:
    """Have these log in once."""
    for me in owners:
        with Wire(broker.address).log_in(me):
            pass


def stored(sender: Wire, count: int) -> set[bytes]:
    """The next results, all of them STORED; their mids."""
    results = sender.results(count)
    assert {one.status for one in results} == {Status.STORED}
    return {one.mid for one in results}


def fetched(broker: LocalBroker | BrokerProcess, me: Identity) -> list[Deliver]:
    """Log in, take all that waits, and acknowledge it."""
    with Wire(broker.address) as reader:
        reader.say(reader.prove_up(me))
        waiting = reader.expect(Welcome).waiting
        copies: list[Deliver] = []
        while not isinstance(message := reader.read(), CaughtUp):
            if isinstance(message, Deliver):
                copies.append(message)
                if len(copies) % 64 == 0:
                    reader.ack(copies[-64:])
        assert len(copies) == waiting
        if len(copies) % 64:
            reader.ack(copies[-(len(copies) % 64) :])
        reader.say(Lookup((me.user,)))  # an answer comes when all before has been read
        reader.expect(Bundles)
    return copies


def boxed(broker: LocalBroker) -> int:
    return broker.router.post.mailbox.count


def test_what_is_sent_to_an_absent_owner_waits_and_its_sender_hears_of_it(broker: LocalBroker) -> None:
    alice, bob = profile("alice"), profile("bob")
    claim(broker, bob)
    until(lambda: not broker.present)
    with Wire(broker.address).log_in(alice) as sender:
        mid = sender.mail("bob", b"for later")
        assert sender.results(1) == [Result(mid, 0, Status.STORED)]
        with Wire(broker.address) as reader:
            reader.say(reader.prove_up(bob))
            assert reader.expect(Welcome).waiting == 1
            copy = reader.delivery()
            assert (copy.mid, copy.sender, copy.common, copy.wrap) == (mid, "alice", b"for later", None)
            assert isinstance(reader.read(), CaughtUp)
            reader.ack([copy])
            told = sender.expect(Kept)
            assert told.told == (Told(mid, "bob", Status.DELIVERED, PROOF),)
    assert boxed(broker) == 0


def test_sealed_mail_waits_and_opens_in_its_order() -> None:
    town = Town()
    alice, bob = town.join_profile("alice"), town.join_profile("bob")
    town.lose(bob)
    sent = [f"message {number}" for number in range(20)]
    for text in sent:
        assert alice.last(town.say(alice, text, "bob")) == {"bob": Outcome.STORED}
    town.connect(bob)
    assert bob.texts() == [("alice", text) for text in sent]
    assert town.disk.mail == {}


def test_much_mail_waits_in_its_order_and_new_mail_comes_behind_it(broker: LocalBroker) -> None:
    alice, bob = profile("alice"), profile("bob")
    claim(broker, bob)
    until(lambda: not broker.present)
    with Wire(broker.address).log_in(alice) as sender:
        sent = [sender.mail("bob", b"%d" % number * 100) for number in range(3000)]
        assert stored(sender, 3000) == set(sent)
        with Wire(broker.address) as reader:
            reader.say(reader.prove_up(bob))
            reader.expect(Welcome)
            more = [sender.mail("bob") for _ in range(500)]
            copies: list[Deliver] = []
            while len(copies) < 3500:
                copies.append(reader.delivery())
                if len(copies) % 100 == 0:
                    reader.ack(copies[-100:])
            assert [one.mid for one in copies] == [*sent, *more]
            until(lambda: boxed(broker) == 0)


def test_whoever_is_away_is_looked_up(broker: LocalBroker) -> None:
    bob = profile("bob")
    claim(broker, bob)
    until(lambda: not broker.present)
    with Wire(broker.address).log_in("gus", Mode.SEND) as asking:
        asking.say(Lookup(("bob",)))
        (found,) = asking.expect(Bundles).found
        assert found.bundle == bob.bundle


def test_a_name_that_is_released_while_its_owner_is_here(broker: LocalBroker) -> None:
    alice, bob = profile("alice"), profile("bob")
    claim(broker, bob)
    until(lambda: not broker.present)
    with Wire(broker.address).log_in(alice) as sender:
        mid = sender.mail("bob")
        assert stored(sender, 1) == {mid}
        with Wire(broker.address).log_in(bob) as holder:
            old = holder.delivery()
            release(broker.folder, "bob")
            until(lambda: boxed(broker) == 0)
            holder.ack([old])
            works(broker, sender, holder)
        until(lambda: broker.present == {"alice"})
        mid = sender.mail("bob")
        assert sender.results(1) == [Result(mid, 0, Status.ABSENT)]
        assert fetched(broker, profile("bob")) == []


# Brokers that end


def test_a_broker_that_is_killed_has_what_it_said_it_stored(tmp_path: Path) -> None:
    """Three times, in the middle of things."""
    alice, bob = profile("alice", keys=0), profile("bob", keys=1)
    said: set[bytes] = set()
    sent: list[bytes] = []
    for _ in range(3):
        with BrokerProcess(tmp_path) as broker:
            claim(broker, bob)
            with Wire(broker.address).log_in(alice) as sender:
                sent += [sender.mail("bob", bytes(1000)) for _ in range(400)]
                said |= {one.mid for one in sender.results(150) if one.status is Status.STORED}
                broker.process.kill()
                broker.wait()
                while sender.waiting():  # what it still said
                    message = sender.read()
                    if isinstance(message, Results):
                        said |= {one.mid for one in message.results if one.status is Status.STORED}
    assert len(said) >= 300
    with BrokerProcess(tmp_path) as broker, Wire(broker.address) as killed:
        killed.say(killed.prove_up(bob))
        first = [killed.delivery().mid for _ in range(100)]  # and not acknowledged
        broker.process.kill()
        broker.wait()
    with BrokerProcess(tmp_path) as broker:
        came = [one.mid for one in fetched(broker, bob)]
        assert came[:100] == first
        assert came == [mid for mid in sent if mid in set(came)]
        assert said <= set(came)
        assert fetched(broker, bob) == []
        with Wire(broker.address).log_in(alice) as sender:
            told = sender.expect(Kept).told
            assert {(one.user, one.status, one.proof) for one in told} == {("bob", Status.DELIVERED, PROOF)}
            assert {one.mid for one in told} <= set(came)


def test_a_broker_that_stops_has_written_what_it_took(tmp_path: Path) -> None:
    alice, bob = profile("alice", keys=0), profile("bob", keys=1)
    with BrokerProcess(tmp_path) as broker:
        claim(broker, bob)
        with Wire(broker.address).log_in(alice) as sender:
            sent = [sender.mail("bob", bytes(5000)) for _ in range(500)]
            sender.say(Lookup(("bob",)))
            sender.expect(Bundles)  # all was read; not all may be written
            assert broker.end() == 0
    with BrokerProcess(tmp_path) as broker:
        assert [one.mid for one in fetched(broker, bob)] == sent


def test_a_broker_that_stops_says_what_became_of_what_it_took(tmp_path: Path) -> None:
    alice, bob = profile("alice"), profile("bob")
    with LocalBroker() as broker:
        claim(broker, bob)
        until(lambda: not broker.present)
        with Wire(broker.address).log_in(alice) as sender, held_by_another(WRITE, broker.folder / MAIL_NAME):
            mid = sender.mail("bob")
            until(lambda: boxed(broker) == 1)  # taken, but not written
            broker.server.stop()
            assert sender.results(1) == [Result(mid, 0, Status.UNSTORED)]


# Disks in trouble


def test_a_full_disk_refuses_mail_for_those_who_are_away_and_harms_nobody_else(broker: LocalBroker) -> None:
    alice, bob = profile("alice"), profile("bob")
    claim(broker, bob)
    until(lambda: not broker.present)
    database = broker.mail._database
    with Wire(broker.address).log_in(alice) as sender, Wire(broker.address).log_in("carol") as carol:
        kept = sender.mail("bob")
        assert stored(sender, 1) == {kept}
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        refused = sender.mail("bob", bytes(100_000))
        assert sender.results(1) == [Result(refused, 0, Status.UNSTORED)]
        works(broker, sender, carol)
        assert boxed(broker) == 1
        database.execute("PRAGMA max_page_count = 1000000")
        again = sender.mail("bob", bytes(100_000))
        assert stored(sender, 1) == {again}
    assert [one.mid for one in fetched(broker, bob)] == [kept, again]


def test_a_locked_mailbox_refuses_mail_until_it_is_unlocked(broker: LocalBroker) -> None:
    alice, bob = profile("alice"), profile("bob")
    claim(broker, bob)
    until(lambda: not broker.present)
    with Wire(broker.address).log_in(alice) as sender, Wire(broker.address).log_in("carol") as carol:
        with held_by_another(WRITE, broker.folder / MAIL_NAME):
            refused = sender.mail("bob")
            works(broker, carol, sender)  # meanwhile
            assert sender.results(1) == [Result(refused, 0, Status.UNSTORED)]
        kept = sender.mail("bob")
        assert stored(sender, 1) == {kept}
    assert [one.mid for one in fetched(broker, bob)] == [kept]


def test_a_locked_log_keeps_claims_waiting_and_nobody_else(broker: LocalBroker) -> None:
    with Wire(broker.address) as waiting, Wire(broker.address).log_in("carol") as carol:
        with held_by_another(WRITE, broker.folder / LOG_NAME):
            waiting.say(waiting.prove_up(profile("alice")))
            with Wire(broker.address).log_in("dave") as dave:
                works(broker, carol, dave)
            assert not waiting.waiting()
            broker.clock.ahead += 11  # longer than a login may take
            assert waiting.expect(Error).reason is Reason.BUSY
        claim(broker, profile("bob"))
        until(lambda: broker.router._ledger.owner("alice"))


@pytest.mark.parametrize("name", [MAIL_NAME, LOG_NAME])
@pytest.mark.parametrize("how", ["rubbish", "another version"])
def test_a_database_that_cannot_be_used_is_one_sentence(tmp_path: Path, name: str, how: str) -> None:
    data = tmp_path / "data"
    with BrokerProcess(tmp_path) as broker:
        assert broker.end() == 0
    if how == "rubbish":
        (data / name).write_bytes(b"rubbish" * 1000)
    else:
        with sqlite3.connect(data / name) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    command = broker_command("--host", "127.0.0.1", "--port", "0", "--data", str(data))
    with Running(command, environment(tmp_path)) as failed:
        assert failed.wait() == 1
    (line,) = failed.err.lines
    assert line.startswith("error: The ")
    assert str(data / name) in line


def test_options_are_checked_and_used(tmp_path: Path) -> None:
    alice, bob = profile("alice", keys=0), profile("bob", keys=1)
    with BrokerProcess(tmp_path, "--quota-messages", "2", "--rate", "1") as broker:
        claim(broker, bob)
        with Wire(broker.address).log_in(alice) as sender:
            for _ in range(12):
                sender.mail("bob")
            statuses = [one.status for one in sender.results(12)]
    assert statuses.count(Status.STORED) == 2
    assert statuses.count(Status.FULL) in (8, 9)  # a second may have passed
    assert statuses.count(Status.RATE) in (1, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--retention", "40d"), "It must be from 1m to 31d"),
        (("--retention", "soon"), "'soon' is not a whole number with a unit"),
        (("--quota-bytes", "12"), "It must be from 1M to 1024G"),
        (("--quota-bytes", "1X"), "'1X' is not a whole number with a unit"),
        (("--files-each-user", "12"), "It must be from 1M to 1024G"),
        (("--files", "1X"), "'1X' is not a whole number with a unit"),
        (("--quota-messages", "0"), "0 is not in the range"),
        (("--rate", "-1"), "-1 is not in the range"),
    ],
)
def test_an_option_out_of_range_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    command = broker_command("--host", "127.0.0.1", "--port", "0", "--data", str(tmp_path / "data"), *arguments)
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "data").exists()
