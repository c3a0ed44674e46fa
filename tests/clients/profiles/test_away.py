"""What is said to people who are away, and while the broker is: nothing is lost, everything comes once; real processes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker_process import ASCII, BrokerProcess, Running, cli, cli_command, listening
from tests.clients.profiles.people import Env, ok
from tests.net import until


class Town:
    """A broker that can be killed and started again, and two people with profiles."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.broker = BrokerProcess(folder)
        self._port = self.broker.address.port
        self.alice, self.bob = ({**self.broker.env, "SECURECHAT_HOME": str(folder / who)} for who in ("alice's", "bob's"))
        ok(cli(self.alice, "init", "alice"))
        ok(cli(self.bob, "init", "bob"))

    def kill(self) -> None:
        self.broker.end(signal.SIGKILL)
        self.broker.close()

    def start(self) -> None:
        self.broker = BrokerProcess(self._folder, port=self._port)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    town.broker.close()


def texts(env: Env, *args: str) -> list[str]:
    """What a command prints as JSON, text by text."""
    return [line["text"] for line in ok(cli(env, *args, "--json")).data]


def became(env: Env) -> list[str]:
    """What became of each message to bob, with the news that the broker has kept."""
    ok(cli(env, "users"))
    return [line["recipients"]["bob"] for line in ok(cli(env, "history", "bob", "--json")).data]


def test_what_was_stored_outlives_the_broker_and_comes_once_in_order(town: Town) -> None:
    for text in ("one", "two", "three"):
        done = ok(cli(town.alice, "send", "bob", text))
        assert "sent to bob (stored)" in done.err
    assert ok(cli({**town.alice, **ASCII}, "history")).out.count("[+ stored]") == 3
    town.kill()
    town.start()
    assert texts(town.bob, "listen", "-n", "3") == ["one", "two", "three"]
    ok(cli(town.alice, "send", "bob", "four"))
    assert texts(town.bob, "listen", "-n", "1") == ["four"]
    assert texts(town.bob, "history") == ["one", "two", "three", "four"]
    until(lambda: became(town.alice) == ["delivered"] * 4)


def test_a_retry_that_comes_to_nothing_says_so(town: Town) -> None:
    ok(cli(town.alice, "send", "bob", "hello"))
    town.kill()
    assert cli(town.alice, "send", "bob", "late", "--timeout", "300ms").code == 3
    ok(cli(town.alice, "block", "bob"))
    town.start()
    done = cli(town.alice, "outbox", "retry")
    assert done.code == 4, done.err
    assert "not sent" in done.err
    assert "sent to bob" not in done.err


def test_what_is_stored_is_that_also_if_the_broker_goes_while_its_delivery_is_awaited(town: Town) -> None:
    with Running(cli_command("send", "--wait", "delivered", "--timeout", "6s", "--json", "bob", "once"), town.alice) as sender:
        until(lambda: [line["recipients"] for line in ok(cli(town.alice, "history", "--json")).data] == [{"bob": "stored"}])
        town.kill()
        assert sender.wait() == 8, sender.err.text
        assert json.loads(sender.out.has("sent"))["recipients"] == {"bob": "stored"}
    town.start()
    assert texts(town.bob, "listen", "-n", "1") == ["once"]


def test_a_text_for_somebody_blocked_is_not_queued_while_the_broker_is_away(town: Town) -> None:
    ok(cli(town.alice, "send", "bob", "hello"))
    ok(cli(town.alice, "block", "bob"))
    town.kill()
    done = cli(town.alice, "send", "bob", "never", "--timeout", "300ms")
    assert (done.code, "You have blocked bob" in done.err) == (4, True)
    assert texts(town.alice, "outbox", "list") == []


def test_how_a_command_ended_and_that_nobody_was_told_are_both_json(town: Town) -> None:
    town.kill()
    done = cli(town.alice, "--json", "send", "--everyone", "--run", "--", "sh", "-c", "exit 4")
    assert (done.code, done.data[-1]["type"], done.data[-1]["exit"]) == (4, "error", 4)


def test_whom_one_may_have_meant_is_said(town: Town) -> None:
    ok(cli(town.alice, "send", "bob", "hello"))
    done = cli(town.alice, "send", "bbo", "hello")
    assert (done.code, "did you mean bob?" in done.err) == (6, True)
    done = cli(town.alice, "send", "bob", "hi", "there", "friend")
    assert (done.code, "put in quotes" in done.err) == (7, True)


def test_what_the_broker_cannot_be_told_waits_in_the_outbox(town: Town) -> None:
    town.kill()
    for text in ("one", "two"):
        done = cli(town.alice, "send", "bob", text, "--timeout", "300ms", "--json")
        assert (done.code, done.data[-1]["exit"], done.data[-1]["recipients"]) == (3, 3, {"bob": "queued"})
        assert "Trying for 0.3 s" in done.err
        assert "queued for bob" in done.err
        assert "it waits in the outbox" in done.err
    waiting = ok(cli(town.alice, "outbox", "--json")).data
    assert [(line["to"], line["text"]) for line in waiting] == [(["bob"], "one"), (["bob"], "two")]
    dropped = ok(cli(town.alice, "outbox", "drop", waiting[0]["id"], "--json"))
    assert dropped.data[-1]["messages"] == [waiting[0]["id"]]
    assert "1 dropped" in dropped.err
    assert cli(town.alice, "outbox", "drop", "nothing").code == 2
    failed = cli(town.alice, "outbox", "retry", "--timeout", "300ms", "--json")
    assert failed.code == 3
    town.start()
    sent = ok(cli(town.alice, "outbox", "retry", "--json"))
    assert "sent to bob (stored)" in sent.err
    assert sent.data[-1]["recipients"] == {"bob": "stored"}
    assert "nothing waits" in ok(cli(town.alice, "outbox", "retry")).err
    assert texts(town.alice, "outbox", "list") == []
    assert texts(town.bob, "listen", "-n", "1") == ["two"]
    until(lambda: became(town.alice) == ["dropped", "delivered"])


def test_what_one_process_could_not_send_another_does(town: Town) -> None:
    town.kill()
    assert cli(town.alice, "send", "bob", "one", "--timeout", "300ms").code == 3
    town.start()
    ok(cli(town.alice, "send", "bob", "two"))
    assert texts(town.bob, "listen", "-n", "2") == ["one", "two"]


def test_waiting_for_the_recipient_runs_out(town: Town) -> None:
    done = cli(town.alice, "send", "--wait", "delivered", "--timeout", "300ms", "bob", "one")
    assert done.code == 8
    assert "not fetched yet by bob" in done.err
    with listening(town.bob, None):
        done = ok(cli(town.alice, "send", "--wait", "delivered", "bob", "two"))
        assert "sent to bob (delivered)" in done.err


def test_listen_goes_on_where_it_stopped(town: Town) -> None:
    with listening(town.bob, None, "--json") as first:
        ok(cli(town.alice, "send", "bob", "one"))
        first.out.has("one")
        ok(cli(town.alice, "send", "bob", "two"))
        first.out.has("two")
        first.end(signal.SIGKILL)
    ok(cli(town.alice, "send", "bob", "three"))
    came = texts(town.bob, "listen", "-n", "1")
    if came == ["two"]:  # the last line may come again after a kill
        came = texts(town.bob, "listen", "-n", "1")
    assert came == ["three"]


def test_since(town: Town) -> None:
    for text in ("one", "two", "three"):
        ok(cli(town.alice, "send", "bob", text))
    first = ok(cli(town.bob, "listen", "-n", "3", "--json")).data
    assert texts(town.bob, "listen", "-n", "3", "--since", "all") == ["one", "two", "three"]
    assert texts(town.bob, "listen", "-n", "2", "--since", first[0]["id"]) == ["two", "three"]
    unknown = cli(town.bob, "listen", "-n", "1", "--since", "elsewhere")
    assert unknown.code == 2
    assert "No message with the id elsewhere" in unknown.err
    assert cli(town.bob, "--as", "guest", "listen", "--since", "all").code == 2


def test_history_is_searched(town: Town) -> None:
    for to, text in (("bob", "The Backup is done"), ("carol", "backup of carol's"), ("bob", "something else")):
        cli(town.alice, "send", to, text)
    assert texts(town.alice, "history", "--search", "BACKUP") == ["The Backup is done", "backup of carol's"]
    assert texts(town.alice, "history", "bob", "--search", "backup") == ["The Backup is done"]
    assert texts(town.alice, "history", "--limit", "1") == ["something else"]
    assert "nothing was found" in ok(cli(town.alice, "history", "--search", "nowhere")).err
    shown = ok(cli(town.alice, "history", "carol")).out
    assert "alice to carol [✗ was not here]: backup of carol's" in shown


def test_everyone_includes_profiles_that_are_away(town: Town) -> None:
    ok(cli(town.alice, "send", "bob", "hello"))
    done = ok(cli(town.alice, "send", "--everyone", "to all", "--json"))
    assert done.data[0]["recipients"] == {"bob": "stored"}
    assert texts(town.bob, "listen", "-n", "2") == ["hello", "to all"]
