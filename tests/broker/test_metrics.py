"""``--metrics``: the broker's numbers as Prometheus reads them, from a broker that runs."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.mail_storage import MAIL_NAME
from tests.broker_process import BrokerProcess, Running, broker_command, cli, environment, listening
from tests.net import until


def read(url: str) -> str:
    """What is given there."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", where.path)
        answer = connection.getresponse()
        assert answer.status == http.client.OK
        return answer.read().decode()


class Measured(BrokerProcess):
    """A broker that gives its numbers."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, "--metrics", "0")
        self.url = self.err.has("Metrics are at ").rpartition(" ")[2]

    @property
    def numbers(self) -> dict[str, float]:
        """Each sample by its name and its label's value."""
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(read(self.url))
            for sample in family.samples
        }


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Measured]:
    with Measured(tmp_path) as running:
        yield running
        assert running.end() == 0


def profile(broker: Measured, name: str) -> dict[str, str]:
    env = {**broker.env, "SECURECHAT_HOME": str(Path(broker.env["HOME"]) / name)}
    done = cli(env, "init", name)
    assert done.code == 0, done.err
    return env


def test_it_counts_who_is_here_and_what_becomes_of_mail(broker: Measured) -> None:
    before = broker.numbers
    assert {value for name, value in before.items() if name.startswith("securechat_")} == {0}
    bob, alice = profile(broker, "bob"), profile(broker, "alice")
    assert "(stored)" in cli(alice, "send", "bob", "while away").err
    waits = broker.numbers
    assert (waits["securechat_mail_waiting"], waits["securechat_results_total stored"]) == (1, 1)
    assert waits["securechat_mail_waiting_bytes"] > 256
    with listening(bob, None) as listener:
        listener.out.has("while away")
        until(lambda: broker.numbers["securechat_mail_waiting"] == 0)
        here = broker.numbers
        assert (here["securechat_connections"], here["securechat_users_present"]) == (1, 1)
        assert (here["securechat_results_total stored"], here["securechat_results_total delivered"]) == (1, 1)
        assert here["securechat_mail_waiting_bytes"] == 0
        assert "(delivered)" in cli(alice, "send", "--wait", "delivered", "bob", "now").err
        listener.out.has("now")
    after = broker.numbers
    assert (after["securechat_results_total stored"], after["securechat_results_total delivered"]) == (1, 2)
    until(lambda: broker.numbers["securechat_copies_total"] >= 2)  # counted once a second
    until(lambda: broker.numbers["securechat_connections"] == 0)
    assert after["process_open_fds"] > 0


def test_no_number_names_a_user(broker: Measured) -> None:
    alice = profile(broker, "alice")
    with listening({**broker.env}, "bob"):
        assert cli(alice, "send", "bob", "hello").code == 0
        assert not re.search("alice|bob", read(broker.url))


def test_it_says_that_the_disk_does_not_take_mail(broker: Measured) -> None:
    profile(broker, "bob")
    alice = profile(broker, "alice")
    with contextlib.closing(sqlite3.connect(broker.data / MAIL_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert cli(alice, "send", "bob", "not now").code == 5
        found = broker.numbers
        assert (found["securechat_storage_failing mail"], found["securechat_storage_failing names"]) == (1, 0)
        assert found["securechat_results_total unstored"] == 1
        other.execute("ROLLBACK")
    assert cli(alice, "send", "bob", "now").code == 0
    assert broker.numbers["securechat_storage_failing mail"] == 0


def test_whoever_connects_and_says_nothing_holds_up_nobody_for_long(broker: Measured) -> None:
    where = urlsplit(broker.url)
    with socket.create_connection((str(where.hostname), where.port)):
        assert broker.numbers["securechat_connections"] == 0
    assert "Traceback" not in broker.err.text


def test_it_is_given_to_this_machine_only(broker: Measured) -> None:
    assert urlsplit(broker.url).hostname == "127.0.0.1"
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", urlsplit(broker.url).port))  # which it would answer at if it listened everywhere


def test_a_port_that_is_taken_keeps_it_from_starting(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = broker_command("--host", "127.0.0.1", "--port", "0", "--data", str(tmp_path / "data"))
        with Running([*command, "--metrics", str(port)], environment(tmp_path)) as broker:
            assert broker.wait() == 1
    assert broker.err.lines[0].startswith(f"error: Port {port} of 127.0.0.1 cannot be had for metrics: ")
    assert len(broker.err.lines) == 1


def test_without_the_option_there_is_none(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        assert broker.end() == 0
    assert "Metrics" not in broker.err.text
