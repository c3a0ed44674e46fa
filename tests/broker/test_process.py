"""``python -m broker`` as people start it: what it says, how it stops, and that it goes on."""

from __future__ import annotations

import resource
import signal
import socket
from functools import partial
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from broker.curve import new_curve_keys
from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from core.address import BrokerAddress
from core.errors import BrokerKeyMismatch
from core.events import MessageReceived, Outcome
from core.limits import SILENCE_MAX
from core.messages import Error
from core.places import FILE_NAME
from core.version import VERSION
from tests.broker_process import BrokerProcess, Running, broker_command, environment, listening
from tests.net import Wire, until


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_stops_cleanly(tmp_path: Path, number: int) -> None:
    with BrokerProcess(tmp_path) as broker:
        assert broker.err.lines[0] == f"INFO:broker:Server listening on 127.0.0.1:{broker.address.port}"
        assert (tmp_path / "run" / "securechat" / FILE_NAME).exists()
        assert broker.end(number) == 0
        assert not list(tmp_path.rglob(FILE_NAME))
    assert broker.err.lines[-1] == "INFO:broker:Server stopped"
    assert not broker.out.lines
    assert "Traceback" not in broker.err.text


def test_its_key_stays_over_a_restart_and_its_folder_is_its_own(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as first:
        with Running(broker_command("--host", "127.0.0.1", "--port", "0", "--data", str(first.data)), first.env) as second:
            assert second.wait() == 1
            second.err.has("Another broker is using the folder")
        key = first.address.key
        first.process.kill()
        first.wait()
        assert (first.data / FILE_NAME).exists()
    with BrokerProcess(tmp_path) as again:
        assert again.address.key == key


def test_a_second_broker_of_the_same_user_says_how_to_reach_it(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path), BrokerProcess(tmp_path, data=tmp_path / "other") as second:
        second.err.has(f"name it to them: --broker {second.address.url}")


def test_serve_is_what_it_does_without_a_command(tmp_path: Path) -> None:
    env, data = environment(tmp_path), str(tmp_path / "data")
    with Running(broker_command("--host", "127.0.0.1", "serve", "--port", "0", "--data", data), env) as broker:
        broker.err.has("Server listening on 127.0.0.1")
        with Running(broker_command("invite", "--data", data), env) as inviting:  # a folder may be named behind a command, too
            assert inviting.wait() == 0
            assert BrokerAddress.parse(inviting.out.text).invite is not None
        assert broker.end() == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("serve", "invite"), 2, "unexpected extra argument (invite)"),
        (("--port", "{taken}"), 1, "Port {taken} on 127.0.0.1 is already in use"),
        (("--port", "70000"), 2, "70000"),
        (("--port", "x"), 2, "'x' is not a valid integer"),
        (("--no-such-option",), 2, "No such option"),
        (("surplus",), 2, "No such command"),
        (("--data", "{file}"), 1, "cannot be used"),
        (("--data", "{file}/below"), 1, "cannot be used"),
        (("--data", "{loose}"), 1, "is open to other users"),
        (("--data", ""), 2, "it is empty"),
        (("users", "--data", ""), 2, "it is empty"),
        (("--host", "192.0.2.1"), 1, "This machine has no address 192.0.2.1"),
        (("--host", "no-such-host.invalid"), 1, "The host no-such-host.invalid is not known"),
        (("--host", "a" * 70), 1, "is not known"),
        (("--host", "a..b"), 1, "is not known"),
        (("--host", ""), 1, "is not known"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_keeps_it_from_starting_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loose").mkdir(0o755)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        values = {"taken": str(other.getsockname()[1]), "file": str(tmp_path / "file"), "loose": str(tmp_path / "loose")}
        command = broker_command("--host", "127.0.0.1", "--data", str(tmp_path / "data"), "--port", "0")
        with Running([*command, *(one.format(**values) for one in arguments)], environment(tmp_path)) as broker:
            assert broker.wait() == code
    assert said.format(**values) in broker.err.text
    assert "Traceback" not in broker.err.text
    assert not broker.out.lines
    if code == 1:
        assert sum(line.startswith("error: ") for line in broker.err.lines) == 1
        assert len(broker.err.lines) <= 2


def test_help_does_not_start_anything(tmp_path: Path) -> None:
    with Running(broker_command("-h"), environment(tmp_path)) as helped:
        assert helped.wait() == 0
    assert "--open" in helped.out.text
    with Running(broker_command("--version"), environment(tmp_path)) as asked:
        assert asked.wait() == 0
    assert asked.out.text == f"securechat-broker {VERSION}"
    assert not (tmp_path / "state").exists()


def test_a_client_that_is_killed_is_noticed_at_once(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker, Wire(broker.address).log_in("alice") as alice:
        joined: list[str] = []
        left: list[str] = []

        def heard(users: list[str]) -> bool:
            if alice.socket.poll(50):
                said = alice.read()
                joined.extend(entry.user for entry in getattr(said, "joined", ()))
                left.extend(getattr(said, "left", ()))
            return "bob" in users

        with listening(broker.env, "bob") as bob:
            until(lambda: heard(joined))  # of who comes and goes within a tick nobody hears
            bob.end(signal.SIGKILL)
        until(lambda: heard(left), patience=SILENCE_MAX - 3)


def test_what_was_sent_while_the_broker_was_away_arrives_once(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        port = broker.address.port
        with ChatClient("alice", broker.address) as alice, ChatClient("bob", broker.address) as bob:
            until(lambda: {peer.user for peer in alice.users()} == {"bob"})
            first = alice.send("before", "bob")
            assert alice.wait_sent(first, 30) == {"bob": Outcome.DELIVERED}
            broker.process.kill()
            broker.wait()
            until(lambda: alice.status.state is ConnectionState.OFFLINE and bob.status.state is ConnectionState.OFFLINE)
            second = alice.send("while away", "bob")
            with BrokerProcess(tmp_path, port=port):
                bob.retry_now()
                until(lambda: bob.status.state is ConnectionState.ONLINE)
                alice.retry_now()
                assert alice.wait_sent(second, 30) == {"bob": Outcome.DELIVERED}
                last = alice.send("after", "bob")
                assert alice.wait_sent(last, 30) == {"bob": Outcome.DELIVERED}
                assert (alice.user, bob.user) == ("alice", "bob")
        texts = [event.message.content.text for event in bob.events() if isinstance(event, MessageReceived)]  # type: ignore[union-attr]
        assert texts == ["before", "while away", "after"]


def test_a_broker_with_another_key_is_not_spoken_to(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        address = BrokerAddress(("127.0.0.1",), broker.address.port, new_curve_keys().public)
        client = ChatClient("alice", address)
        client.start()
        with pytest.raises(BrokerKeyMismatch):
            client.wait_ready(30)
        client.close()


def test_an_id_that_zeromq_is_about_to_make_up_does_not_bring_it_down(tmp_path: Path) -> None:
    """libzmq aborts the process where an id it makes up is taken, and what it counts on from was the same everywhere."""
    with BrokerProcess(tmp_path) as broker:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        guesses = [b"\0" + (0xE43C9869 + ahead).to_bytes(4, "big") for ahead in range(64)]
        squatters = [Wire(broker.address, context=context, routing_id=guess) for guess in guesses]
        for one in squatters:
            one.send([b"x"])
            one.expect(Error)
        for _ in range(4):
            made_up = context.socket(zmq.DEALER)
            made_up.linger = 0
            made_up.curve_publickey, made_up.curve_secretkey = zmq.curve_keypair()
            made_up.curve_serverkey = z85.encode(broker.address.key)
            made_up.connect(broker.address.endpoints[0])
            made_up.send(b"x")
            until(lambda socket=made_up: socket.poll(50) or broker.process.poll() is not None)  # type: ignore[misc]
            assert broker.process.poll() is None
            made_up.close()
        for one in squatters:
            one.close()
        context.destroy(0)


def test_it_lives_with_few_descriptors(tmp_path: Path) -> None:
    """Strangers who take every descriptor keep others out only until they are cut."""
    command = broker_command("--host", "127.0.0.1", "--port", "0", "--data", str(tmp_path / "data"))
    few = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (64, 64))
    with Running(command, environment(tmp_path), preexec_fn=few) as broker:
        url = broker.err.has("its address is").rpartition(" ")[2]
        address = BrokerAddress.parse(url)
        strangers = [socket.create_connection(("127.0.0.1", address.port)) for _ in range(60)]
        for one in strangers:
            one.setblocking(False)
        with ChatClientThatWaits(address) as alice:
            assert alice.status.state is ConnectionState.ONLINE
        for one in strangers:
            one.close()
        assert broker.end() == 0


class ChatClientThatWaits(ChatClient):
    """Has more patience than a person."""

    def __init__(self, address: BrokerAddress) -> None:
        super().__init__("alice", address)

    def __enter__(self) -> ChatClient:
        self.start()
        until(lambda: self.status.state is ConnectionState.ONLINE, patience=60)
        return self
