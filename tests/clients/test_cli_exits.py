"""``securechat-cli`` as real processes: every exit code; no way out is a traceback."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from broker.curve import new_curve_keys
from clients.cli_values import Duration
from clients.exits import exit_code_of, without_guests_who_left
from core.address import BrokerAddress
from core.content import Text
from core.events import Outcome
from core.limits import CHUNKED_CONTENT_MAX, HYBRID_CONTENT_MAX
from tests.broker_process import BrokerProcess, Finished, Running, cli, cli_command, environment, got, listening
from tests.net import PATIENCE, Wire, until

# Exit codes


def check(done: Finished, code: int, said: str) -> None:
    assert done.code == code, done.err
    assert said in done.err
    assert sum(line.startswith("error:") for line in done.err.splitlines()) <= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Usage:"),
        (("nonsense",), "No such command"),
        (("send",), "Say to whom"),
        (("send", "--everyone", "a", "b"), "there is only the text"),
        (("send", "bob", ""), "nothing to send"),
        (("send", "bob", "  \n "), "nothing to send"),
        (("send", "Not A Name", "hi"), "is not a username"),
        (("send", "everyone", "hi"), "is not a username"),
        (("send", "a..b", "hi"), "is not a username"),
        (("--as", "x" * 33, "send", "bob", "hi"), "is not a username"),
        (("listen", "--from", "Not A Name"), "is not a username"),
        (("listen", "-n", "0"), "0 is not in the range"),
        (("history", "--limit", str(2**63)), "is not in the range"),
        (("--as", "", "send", "bob", "hi"), "Invalid value for '--as': it is empty"),
        (("send", "--profile", "", "bob", "hi"), "Invalid value for '--profile': it is empty"),
        (("--broker", "", "users"), "Invalid value for '--broker': it is empty"),
        (("--home", "", "users"), "Invalid value for '--home': it is empty"),
        (("send", "--suite", "rot13", "bob", "hi"), "rot13"),
        (("send", "--timeout", "soon", "bob", "hi"), "is not a time"),
        (("send", "--timeout", "-1", "bob", "hi"), "is not a time"),
        (("send", "--timeout", "1d", "bob", "hi"), "is not a time"),
        (("send", "--timeout", "9" * 400, "bob", "hi"), "is not a time"),
        (("listen", "--timeout", "99999999999h"), "is not a time"),
        (("--broker", "http://example.org", "status"), "not a broker's address"),
        (("--broker", "securechat://127.0.0.1:1/short", "status"), "not a broker's address"),
        (("--broker", f"securechat://127.0.0.1:1/{'A' * 43}/{'A' * 43}", "status"), "invite"),
        (("send", "bob", b"\xff\xfe"), "not text in UTF-8"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_2_usage(env: dict[str, str], arguments: tuple[str, ...], said: str) -> None:
    check(cli(env, *arguments), 2, said)


@pytest.mark.parametrize(
    ("stdin", "said"), [(b"", "nothing to send"), (b"\n", "nothing to send"), (b"\xff\x00", "not text in UTF-8")]
)
def test_2_nothing_or_no_text_on_standard_input(env: dict[str, str], stdin: bytes, said: str) -> None:
    check(cli(env, "send", "bob", stdin=stdin), 2, said)


def shell(env: dict[str, str], line: str) -> Finished:
    """Run a line of shell in which ``$CLI`` is the command."""
    command = " ".join(map(str, cli_command()))
    done = subprocess.run(
        ["sh", "-c", line.replace("$CLI", command)],
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"Exception" not in done.stderr, done.stderr.decode()
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(("others", "code"), [((), 1), (("bob",), 7)])
def test_1_delivered_without_a_proof_that_holds(
    env: dict[str, str], broker: BrokerProcess, bob: Running, others: tuple[str, ...], code: int
) -> None:
    name = f"liar-{code}"  # the broker may not have noticed yet that the other one has gone
    command = cli_command("--as", "alice", "send", "--json", name, *others, "unproven")
    with Wire(broker.address).log_in(name) as liar, Running(command, env) as sending:
        liar.ack([liar.delivery()])
        assert sending.wait() == code
        sending.err.has(f"unproven for {name}: the broker says it was taken, but gave no proof that holds")
        sent = json.loads(sending.out.has("recipients"))
    assert sent["recipients"] == {name: "unproven", **dict.fromkeys(others, "delivered")}
    if others:
        got(bob, "unproven")


def test_2_standard_input_is_closed(env: dict[str, str]) -> None:
    check(shell(env, "$CLI send bob <&-"), 2, "nothing to send")


def test_closed_output_does_no_harm_to_what_prints_none(env: dict[str, str], bob: Running) -> None:
    check(shell(env, "$CLI --as alice send bob closed-out >&-"), 0, "sent to bob")
    got(bob, "closed-out")
    assert shell(env, "$CLI --as alice send bob closed-err 2>&-").code == 0
    got(bob, "closed-err")


def test_1_output_that_cannot_be_written(env: dict[str, str], bob: Running) -> None:
    check(shell(env, "$CLI status >&-"), 1, "error:")
    for what in ("status", "--help", "send --help", "--version"):
        check(shell(env, f"$CLI {what} >/dev/full"), 1, "No space left on device")


def test_1_a_connection_file_that_others_could_have_written(tmp_path: Path, broker: BrokerProcess) -> None:
    env = environment(tmp_path)
    path = tmp_path / "run" / "securechat" / "broker.json"
    path.parent.mkdir()
    path.write_bytes((broker.data / "broker.json").read_bytes())
    path.chmod(0o644)
    check(cli(env, "status"), 1, "other users can read or write it")


def test_3_no_broker(tmp_path: Path) -> None:
    check(cli(environment(tmp_path), "status"), 3, "No broker was named, and none of yours is running")
    done = cli(environment(tmp_path), "--json", "users")
    assert done.code == 3
    assert done.data == [
        {
            "v": 1,
            "type": "error",
            "error": "NoBrokerFound",
            "message": "No broker was named, and none of yours is running on this machine.",
            "exit": 3,
        }
    ]


def test_3_nothing_answers_there(env: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = BrokerAddress(("127.0.0.1",), taken.getsockname()[1], new_curve_keys().public)
        check(cli(env, "--broker", address.url, "send", "bob", "hi"), 3, "cannot be reached: nothing answers there")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
def test_3_a_host_that_is_not_known(env: dict[str, str], host: str) -> None:
    address = BrokerAddress((host,), 12345, new_curve_keys().public)
    check(cli(env, "--broker", address.url, "status"), 3, "cannot be reached: its host is not known")


def test_3_something_else_listens_there(env: dict[str, str]) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = BrokerAddress(("127.0.0.1",), mute.getsockname()[1], new_curve_keys().public)
        check(cli(env, "--broker", address.url, "send", "--timeout", "500ms", "bob", "hi"), 3, "cannot be reached")


def test_3_the_broker_goes_away(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as own, Wire(own.address).log_in("mute") as mute:
        with Running(cli_command("--as", "alice", "send", "--timeout", "5s", "mute", "hi"), own.env) as sending:
            mute.delivery()  # and no acknowledgement
            own.process.kill()
            assert sending.wait() == 3
        assert "nothing was kept" in sending.err.text


def test_another_brokers_key_is_told_also_while_waiting_for_the_right_one(tmp_path: Path) -> None:
    """Otherwise somebody who looks on waits for a broker that is there, and never hears why it is not taken."""
    with BrokerProcess(tmp_path / "right") as right:
        there = {**right.env, "SECURECHAT_BROKER": right.address.url}
        with listening(there, "bob") as bob:
            right.end()
            bob.err.has("connection lost: ")
            with BrokerProcess(tmp_path / "wrong", port=right.address.port):
                told = bob.err.has("does not hold the key of its address")
                assert told.startswith("still not connected: ")
            with BrokerProcess(tmp_path / "right", port=right.address.port):
                bob.err.has("connected again")


def test_4_a_broker_with_another_key(env: dict[str, str], broker: BrokerProcess) -> None:
    address = BrokerAddress(broker.address.hosts, broker.address.port, new_curve_keys().public)
    check(cli(env, "--broker", address.url, "send", "bob", "hi"), 4, "does not hold the key of its address")


@pytest.mark.parametrize(("suite", "limit"), [("hybrid", HYBRID_CONTENT_MAX), ("chunked", CHUNKED_CONTENT_MAX)])
def test_5_too_long(env: dict[str, str], bob: Running, suite: str, limit: int) -> None:
    import msgspec

    room = limit - len(msgspec.msgpack.encode(Text("x" * limit))) + limit
    fits = "y" * room
    assert cli(env, "--as", "alice", "send", "--suite", suite, "bob", stdin=fits.encode()).code == 0
    check(cli(env, "--as", "alice", "send", "--suite", suite, "bob", stdin=fits.encode() + b"y"), 5, "too long")
    check(cli(env, "--as", "alice", "send", "--suite", suite, "bob", stdin="é".encode() * limit), 5, "too long")
    until(lambda: any(f'"{fits}"' in line for line in list(bob.out.lines)))


def test_5_too_long_and_no_text(env: dict[str, str], bob: Running) -> None:
    done = cli(env, "--as", "ops", "send", "bob", stdin="übermäßig\n".encode("latin-1") * 20_000)
    assert (done.code, "The message is too long" in done.err) == (5, True)
    assert "berm" not in bob.out.text


def test_1_a_home_that_is_not_there_makes_nobody_a_guest(env: dict[str, str], tmp_path: Path) -> None:
    done = cli({**env, "SECURECHAT_HOME": str(tmp_path / "not mounted")}, "send", "bob", "hi")
    assert (done.code, "This takes a profile, and there is none in" in done.err) == (1, True)


def test_2_a_text_that_looks_like_an_option(env: dict[str, str], bob: Running) -> None:
    done = cli(env, "--as", "ops", "send", "bob", "-5 degrees")
    assert (done.code, "put '--' before it: securechat-cli send alice -- '-5" in done.err) == (2, True)
    assert cli(env, "--as", "ops", "send", "bob", "--", "-5 degrees").code == 0
    got(bob, "-5 degrees")


def test_6_absent_and_taken_and_nobody(env: dict[str, str], tmp_path: Path, bob: Running) -> None:
    check(cli(env, "send", "nobody-here", "hi"), 6, "was not here")
    check(cli(env, "--as", "bob", "send", "bob", "hi"), 6, "in use by somebody else")
    check(cli(env, "--as", "bob", "listen"), 6, "in use by somebody else")
    with BrokerProcess(tmp_path) as empty:
        check(cli(empty.env, "send", "--everyone", "hi"), 6, "Nobody else is connected")
        check(cli(empty.env, "users"), 0, "nobody is here")


def test_6_the_name_was_taken_while_the_broker_was_away(tmp_path: Path) -> None:
    """A supervisor must not take that for a good end."""
    with BrokerProcess(tmp_path) as before, listening(before.env, "bob") as bob:
        bob.process.send_signal(signal.SIGSTOP)
        before.end(signal.SIGKILL)
        with BrokerProcess(tmp_path, port=before.address.port) as after, Wire(after.address).log_in("bob"):
            bob.process.send_signal(signal.SIGCONT)
            assert bob.wait() == 6
        assert "in use by somebody else" in bob.err.text


def test_7_only_some(env: dict[str, str], bob: Running) -> None:
    sent = cli(env, "--as", "alice", "send", "--json", "bob", "nobody-here", "partly")
    check(sent, 7, "was not here")
    assert sent.data[0]["recipients"] == {"bob": "delivered", "nobody-here": "absent"}
    assert sent.data[0]["exit"] == 7
    got(bob, "partly")


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ({"bob": Outcome.STORED, "guest": Outcome.ABSENT}, 0),
        ({"bob": Outcome.ABSENT, "guest": Outcome.ABSENT}, 6),
        ({"bob": Outcome.ABSENT, "guest": Outcome.DELIVERED}, 7),
        ({"guest": Outcome.ABSENT}, 6),
        ({"bob": Outcome.STORED, "guest": Outcome.CHANGED}, 7),
    ],
    ids=str,
)
def test_of_everyone_only_guests_who_have_left_do_not_count(outcomes: dict[str, Outcome], code: int) -> None:
    assert exit_code_of(without_guests_who_left(outcomes, {"guest"}).values()) == code


def out_of_time(env: dict[str, str], command: str, *arguments: str) -> Finished:
    """Run a command that nothing answers; a machine that is too busy to connect in so little time gets more of it."""
    for form in ("300ms", "0.05m", "30s"):
        done = cli(env, "--as", "alice", command, "--timeout", form, *arguments)
        if done.code != 3:
            break
    return done


def test_8_time_ran_out(env: dict[str, str], broker: BrokerProcess) -> None:
    with Wire(broker.address).log_in("mute") as mute:
        check(out_of_time(env, "send", "mute", "hi"), 8, "no answer came in time")
        mute.delivery()
    check(out_of_time(env, "listen"), 8, "What was waited for did not come within")


@pytest.mark.parametrize(
    ("form", "seconds"), [("300ms", 0.3), ("0.3s", 0.3), ("0.3", 0.3), ("10", 10), ("2m", 120), ("1.5h", 5400), ("0", 0)]
)
def test_forms_of_a_time(form: str, seconds: float) -> None:
    assert Duration().convert(form, None, None) == pytest.approx(seconds)


def test_130_and_143(env: dict[str, str]) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with listening(env, "erin") as erin:
            assert erin.end(number) == code
        assert "Traceback" not in erin.err.text


def test_130_while_sending(env: dict[str, str], broker: BrokerProcess) -> None:
    with Wire(broker.address).log_in("mute") as mute:
        with Running(cli_command("--as", "alice", "send", "mute", "hi"), env) as sending:
            mute.delivery()
            assert sending.end(signal.SIGINT) == 130
        assert "Traceback" not in sending.err.text


def test_141_whoever_reads_the_output_has_had_enough(env: dict[str, str]) -> None:
    with subprocess.Popen(
        cli_command("--as", "frank", "listen"),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as frank:
        assert frank.stdout
        assert frank.stderr
        while b"connected; here:" not in frank.stderr.readline():
            pass
        frank.stdout.close()
        assert cli(env, "--as", "alice", "send", "frank", "into a closed pipe").code == 0
        assert frank.wait(PATIENCE) == 141
        assert b"Traceback" not in (rest := frank.stderr.read())
        assert b"Exception" not in rest
