"""Invites on real sockets, from an address of this machine that is not a loopback one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from broker.admin import make_invite, read_ledger, release, revoke
from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from clients.profiles import OpenProfile
from core.address import BrokerAddress
from core.errors import BrokerUnreachable, NotAdmitted, NotInvited
from core.events import Outcome
from tests.broker_process import BrokerProcess, admin, cli, environment
from tests.net import HERE, PATIENCE, LocalBroker, Wire, until

pytestmark = pytest.mark.skipif(HERE is None, reason="this machine has no address but loopback ones")


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    assert HERE is not None
    with LocalBroker(host=HERE) as running:
        running.address = BrokerAddress((HERE,), running.server.port, running.keys.public)
        yield running


def invite(broker: LocalBroker, uses: int = 1, seconds: float = 3600) -> BrokerAddress:
    """A fresh invite that the broker has heard of."""
    assert HERE is not None
    line, _ = make_invite(broker.folder, uses, seconds, HERE, broker.server.port)
    address = BrokerAddress.parse(line)
    assert address.invite is not None
    if seconds > 0:
        heard(broker, public(address.invite))
    return address


def public(secret: bytes) -> bytes:
    from zmq.utils import z85

    return z85.decode(zmq.curve_public(z85.encode(secret)))


def heard(broker: LocalBroker, key: bytes) -> None:
    until(lambda: broker.server._access.knows(key), "the broker did not hear of it")


def used(broker: LocalBroker, address: BrokerAddress) -> int:
    found = read_ledger(broker.folder).invite(public(address.invite or b""))
    assert found is not None
    return found[1].used


@contextlib.contextmanager
def online(who: str | OpenProfile, address: BrokerAddress) -> Iterator[ChatClient]:
    client = ChatClient(who, address)
    client.start()
    try:
        client.wait_ready(PATIENCE)
        yield client
    finally:
        client.close()


def test_whoever_has_no_invite_gets_no_handshake(broker: LocalBroker) -> None:
    with Wire(broker.address, watched=True) as stranger:
        assert stranger.watch.event() is zmq.Event.HANDSHAKE_FAILED_AUTH
    client = ChatClient("alice", broker.address)
    client.start()
    with pytest.raises(NotInvited):
        client.wait_ready(PATIENCE)
    client.close()


def test_guests_come_in_by_it_and_come_back_also_to_a_broker_that_was_started_anew(tmp_path: Path) -> None:
    assert HERE is not None
    with contextlib.ExitStack() as stack:
        with LocalBroker(host=HERE, folder=tmp_path) as first:
            address, port = invite(first, uses=2), first.server.port
            alice, bob = (stack.enter_context(online(name, address)) for name in ("alice", "bob"))
            assert used(first, address) == 2
            id_ = alice.send("by invite", ["bob"])
            assert alice.wait_sent(id_, PATIENCE) == {"bob": Outcome.DELIVERED}
            third = ChatClient("carol", address)
            third.start()
            with pytest.raises(NotInvited):
                third.wait_ready(PATIENCE)
            third.close()
        until(lambda: ConnectionState.ONLINE not in (alice.status.state, bob.status.state))
        with LocalBroker(host=HERE, folder=tmp_path, port=port) as second:
            for one in (alice, bob):
                one.retry_now()
            until(lambda: second.present == {"alice", "bob"})
            assert used(second, address) == 2
            for one in (alice, bob):
                one.close()


def test_a_profile_comes_in_by_it_once_and_then_by_its_own_key(broker: LocalBroker, tmp_path: Path) -> None:
    address = invite(broker)
    with contextlib.closing(OpenProfile.create(tmp_path, "alice", None)) as profile:
        with online(profile, address):
            assert used(broker, address) == 1
        assert profile.broker == broker.address  # without the invite, which is of no more use
        with online(profile, broker.address):
            assert broker.present == {"alice"}
        assert used(broker, address) == 1


def test_a_profile_that_did_not_hear_that_it_was_let_in_comes_in_by_the_invite_again(
    broker: LocalBroker, tmp_path: Path
) -> None:
    address = invite(broker)
    with contextlib.closing(OpenProfile.create(tmp_path, "alice", None)) as profile:
        with Wire(address, secret=address.invite) as wire:
            wire.say(wire.prove_up(profile.identity()))
            until(lambda: used(broker, address))  # its claim is on the broker's disk
        until(lambda: not broker.router.connections)
        with online(profile, address):
            assert broker.present == {"alice"}
        with online(profile, broker.address):
            assert used(broker, address) == 1


def test_a_revoked_and_an_ended_invite_let_nobody_in(broker: LocalBroker) -> None:
    ended = invite(broker, seconds=-1)
    line = invite(broker)
    revoke(broker.folder, public(line.invite or b"")[:4].hex())
    until(lambda: not broker.server._access.knows(public(line.invite or b"")))
    for address in (ended, line):
        client = ChatClient("alice", address)
        client.start()
        with pytest.raises((NotInvited, BrokerUnreachable)):
            client.wait_ready(PATIENCE)
        client.close()
        assert used(broker, address) == 0


def test_a_released_profile_is_not_known_any_more(broker: LocalBroker, tmp_path: Path) -> None:
    with contextlib.closing(OpenProfile.create(tmp_path, "alice", None)) as profile:
        with online(profile, invite(broker)):
            pass
        release(broker.folder, "alice")
        key = public(profile.curve_secret)
        until(lambda: not broker.server._access.knows(key))
        client = ChatClient(profile, broker.address)
        client.start()
        with pytest.raises(NotAdmitted):
            client.wait_ready(PATIENCE)
        client.close()


def test_by_the_command_line_from_elsewhere(tmp_path: Path) -> None:
    """Broker, invite and profiles as people use them: one machine's folder, another one's home."""
    assert HERE is not None
    with BrokerProcess(tmp_path / "server", "--host", HERE) as broker:
        made = admin(broker.data, broker.env, "invite", "--uses", "1", "--host", HERE)
        assert made.code == 0, made.err
        away = environment(tmp_path / "away")
        line = tmp_path / "invite.txt"
        line.write_text(made.out)
        deadline = time.monotonic() + PATIENCE
        while (done := cli(away, "init", "alice", "--invite-file", str(line))).code != 0:
            assert time.monotonic() < deadline, done.err  # the broker has not looked at its log yet
            assert done.code in (3, 6)
            assert not (tmp_path / "away" / ".local/share/securechat/profiles/alice").exists()
        assert cli(away, "users").code == 0  # by its own key, at the broker it remembers
        again = cli(environment(tmp_path / "third"), "init", "bob", "--invite", "-", stdin=made.out.encode())
        assert again.code in (3, 6)
        assert "invite" in again.err
        named = cli(away, "--broker", made.out.strip(), "users")
        assert named.code == 2
        assert made.out.strip().rpartition("/")[2] not in named.err
        assert broker.end() == 0
