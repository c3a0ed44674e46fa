"""``securechat-cli`` as real processes: what it sends, receives and shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.bundle import Suite
from core.messages import Mode
from tests.broker_process import ASCII, BrokerProcess, Running, cli, cli_command, environment, got, listening
from tests.clients.terminals import OnTerminal
from tests.net import PATIENCE, Wire, identity

# What works


def test_a_message_arrives(env: dict[str, str], bob: Running) -> None:
    sent = cli(env, "--as", "alice", "send", "bob", "backup done 1")
    assert sent.code == 0
    assert sent.out == ""
    assert sent.err.startswith("sent to bob (delivered) id=")
    message = got(bob, "backup done 1")
    assert message["text"] == "backup done 1"
    assert (message["v"], message["type"], message["from"], message["to"]) == (1, "message", "alice", ["bob"])
    assert (message["suite"], message["everyone"], message["content"]) == ("hybrid", False, "text")
    assert sent.err.strip().endswith(str(message["id"]))


def test_without_a_name_a_guest_sends_and_says_so(env: dict[str, str], bob: Running) -> None:
    sent = cli(env, "send", "bob", "from nobody in particular")
    assert sent.code == 0
    assert "a guest identity made for this message" in sent.err
    assert str(got(bob, "nobody in particular")["from"]).startswith("guest-")


@pytest.mark.parametrize("before", [True, False])
def test_json_on_both_sides_of_the_command(env: dict[str, str], bob: Running, before: bool) -> None:
    command = ["--json", "--as", "alice", "send"] if before else ["--as", "alice", "send", "--json"]
    sent = cli(env, *command, "bob", f"json {before}")
    (data,) = sent.data
    assert sent.code == data["exit"] == 0
    assert data["recipients"] == {"bob": "delivered"}
    assert (data["v"], data["type"], data["from"], data["everyone"]) == (1, "sent", "alice", False)
    assert data["id"] == got(bob, f"json {before}")["id"]


@pytest.mark.parametrize("suite", list(Suite))
def test_each_suite(env: dict[str, str], bob: Running, suite: Suite) -> None:
    assert cli(env, "--as", "alice", "send", "--suite", suite.value, "bob", f"in {suite.value}").code == 0
    assert got(bob, f"in {suite.value}")["suite"] == suite.value


@pytest.mark.parametrize("arguments", [("bob",), ("bob", "-")])
def test_the_text_from_standard_input(env: dict[str, str], bob: Running, arguments: tuple[str, ...]) -> None:
    text = f"line one of {len(arguments)}\nzwei: äöü €\n\n"
    assert cli(env, "send", *arguments, stdin=text.encode()).code == 0
    assert got(bob, f"line one of {len(arguments)}")["text"] == text.removesuffix("\n")


def test_to_everyone(env: dict[str, str], bob: Running) -> None:
    with listening(env, "carol", "-n", "1") as carol:
        sent = cli(env, "--as", "ops", "send", "--everyone", "--json", "restarting soon")
        assert sent.code == 0
        assert set(sent.data[0]["recipients"]) >= {"bob", "carol"}
        assert carol.wait() == 0
        assert "ops to everyone: restarting soon" in carol.out.text
    assert got(bob, "restarting soon")["everyone"] is True


def test_listen_stops_after_n_and_takes_only_from_whom_it_was_asked(env: dict[str, str], bob: Running) -> None:
    with listening(env, "dave", "-n", "2", "--from", "alice") as dave:
        assert cli(env, "--as", "mallory", "send", "dave", "not this").code == 0
        assert cli(env, "--as", "alice", "send", "dave", "this").code == 0
        assert cli(env, "--as", "alice", "send", "dave", "and this").code == 0
        assert dave.wait() == 0
        assert [line.partition("alice: ")[2] for line in dave.out.lines] == ["this", "and this"]


def test_users_and_status(env: dict[str, str], broker: BrokerProcess, bob: Running) -> None:
    shown = cli(env, "users")
    assert shown.code == 0
    assert shown.out.split()[:2] == ["bob", "guest"]
    (user,) = cli(env, "users", "--json").data
    assert (user["user"], user["kind"], len(user["fingerprint"].split())) == ("bob", "guest", 16)
    assert " ".join(user["fingerprint"].split()[:4]) in shown.out
    told = cli(env, "status")
    assert told.code == 0
    assert broker.address.where in told.out
    assert cli(env, "status", "--json").data == [
        {"v": 1, "type": "status", "broker": broker.address.url, "connected": True, "users": 1}
    ]


def test_the_environment_names_the_broker_and_the_guest(tmp_path: Path, broker: BrokerProcess, bob: Running) -> None:
    elsewhere = environment(tmp_path, SECURECHAT_BROKER=broker.address.url, SECURECHAT_AS="Erin")
    assert cli(elsewhere, "send", "bob", "by environment").code == 0
    assert got(bob, "by environment")["from"] == "erin"
    assert cli(environment(tmp_path), "--broker", broker.address.url, "status").code == 0
    assert cli(environment(tmp_path), "status", "--broker", broker.address.url).code == 0


# What is shown


def test_a_peers_escape_sequences_do_not_reach_the_terminal(env: dict[str, str]) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnol\r\nnext\x7f"
    with listening(env, "grace", "-n", "1") as grace, listening(env, "heidi", "-n", "1", "--json") as heidi:
        assert cli(env, "--as", "alice", "send", "grace", "heidi", evil).code == 0
        assert grace.wait() == 0
        assert heidi.wait() == 0
        for shown in (grace.out.text, heidi.out.text):
            assert not {*shown} & {*"\x1b\x07\x9b\u202e\r\x7f"}
        assert grace.out.lines[1].startswith("    next")
        assert json.loads(heidi.out.lines[0])["text"] == evil


def test_a_long_line_forges_none_on_a_terminal(env: dict[str, str]) -> None:
    with OnTerminal(env, "--as", "nina", "listen") as nina:
        nina.has("connected; here:")
        assert cli(env, "--as", "mallory", "send", "nina", "x" * 102 + " 23:31 boss: pay mallory").code == 0
        nina.has("pay mallory")
        (forged,) = [line for line in nina.text.splitlines() if "boss" in line]
    assert forged == "    23:31 boss: pay mallory"


@pytest.mark.parametrize("more", [ASCII, {"PYTHONIOENCODING": "ascii"}])
def test_a_terminal_that_knows_only_ascii(env: dict[str, str], more: dict[str, str]) -> None:
    text = "grüße 😀 \u2028"
    with listening({**env, **more}, "ivan", "-n", "1") as ivan, listening({**env, **more}, "judy", "-n", "1", "--json") as judy:
        assert cli(env, "--as", "alice", "send", "ivan", "judy", text).code == 0
        assert ivan.wait() == 0
        assert judy.wait() == 0
        assert "gr\\xfc\\xdfe \\U0001f600" in ivan.out.text
        assert json.loads(judy.out.lines[0])["text"] == text


def test_colour_only_on_a_terminal_that_wants_it(env: dict[str, str], bob: Running) -> None:
    def users(**more: str) -> bytes:
        parent, child = os.openpty()
        with subprocess.Popen(cli_command("users"), env={**env, **more}, stdin=child, stdout=child, stderr=child) as process:
            os.close(child)
            shown = b""
            try:
                while part := os.read(parent, 4096):
                    shown += part
            except OSError:  # the terminal's other end is closed
                pass
            assert process.wait(PATIENCE) == 0
        os.close(parent)
        return shown

    assert b"\x1b[1m" in users()
    assert b"\x1b" not in users(NO_COLOR="1")
    assert "\x1b" not in cli(env, "users").out


def test_on_a_terminal_without_a_text_it_shows_how(env: dict[str, str]) -> None:
    parent, child = os.openpty()
    done = subprocess.run(cli_command("send", "bob"), env=env, stdin=child, capture_output=True, timeout=60, check=False)
    os.close(child)
    os.close(parent)
    assert done.returncode == 2
    assert b"There is no text" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["-h"],
        ["send", "-h"],
        ["listen", "-h"],
        ["users", "--help"],
        ["status", "--help"],
        ["chat", "-h"],
        ["chat"],
        ["send", "bob", ""],
    ],
)
def test_help_is_quick(env: dict[str, str], arguments: list[str]) -> None:
    """It imports none of the libraries that take long to import."""
    program = (
        "import sys\n"
        "sys.argv[0] = 'securechat-cli'\n"
        "from clients.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    print(sorted({'zmq', 'streamlit', 'asyncio', 'prompt_toolkit'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=env, capture_output=True, timeout=60, check=False)
    assert done.stderr.decode().splitlines()[-1] == "[]"
    assert done.stdout.startswith(b"Usage:") or arguments[-1] in ("", "chat")


def test_quiet_and_verbose(env: dict[str, str], bob: Running) -> None:
    assert cli(env, "-q", "--as", "alice", "send", "bob", "quietly").err == ""
    assert cli(env, "send", "-q", "nobody-here", "hi").err != ""
    loud = cli(env, "-v", "--as", "alice", "send", "bob", "loudly")
    assert loud.code == 0
    assert "loudly" not in loud.err


def test_a_name_is_free_again_when_its_holder_has_left(env: dict[str, str], broker: BrokerProcess) -> None:
    with listening(env, "kate") as kate:
        kate.end(signal.SIGKILL)
    limit = time.monotonic() + PATIENCE
    while True:
        with Wire(broker.address) as other:
            me = identity("kate", sends_only=True)
            other.say(other.prove_up(me, Mode.SEND))
            if type(other.read()).__name__ == "Welcome":
                return
        assert time.monotonic() < limit
