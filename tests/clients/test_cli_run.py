"""``send --run`` as a real process: the command's output, exit code and signals are its own, and its end is sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.programs import tail_of
from core.limits import CHUNKED_CONTENT_MAX
from tests.broker_process import BrokerProcess, Finished, Running, cli, cli_command, environment, got, listening
from tests.clients.profiles.people import Env, ok
from tests.net import PATIENCE


def test_output_passes_through_and_the_end_is_sent(env: dict[str, str], bob: Running) -> None:
    script = r"printf 'out 1\nno line end \377'; printf '\033[1merr 1\n' >&2; exit 3"
    done = subprocess.run(
        cli_command("--as", "alice", "send", "bob", "--run", "--", "sh", "-c", script),
        env=env, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stdout == b"out 1\nno line end \xff"
    assert b"\x1b[1merr 1\n" in done.stderr
    assert b"sent to bob" in done.stderr
    text = got(bob, "failed with exit code 3 after")["text"]
    assert text.startswith("sh -c 'printf ")
    assert "out 1\n" in text
    assert "\x1b[1merr 1" in text


def test_a_command_reads_this_standard_input(env: dict[str, str], bob: Running) -> None:
    done = cli(env, "--as", "alice", "send", "bob", "--run", "--", "tr", "a-z", "A-Z", stdin=b"loud and clear")
    assert (done.code, done.out) == (0, "LOUD AND CLEAR")
    assert "tr a-z A-Z: done after" in got(bob, "LOUD AND CLEAR")["text"]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("no-such-program-here",), 127, "no-such-program-here: could not be started: No such file or directory"),
        (("/dev/null",), 126, "/dev/null: could not be started: Permission denied"),
        (("sh", "-c", "kill -KILL $$"), 137, "ended by SIGKILL after"),
        (("sh", "-c", "exit 255"), 255, "failed with exit code 255 after"),
        ((b"sh", b"-c", b": \xff\nexit 4"), 4, "failed with exit code 4 after"),
    ],
)
def test_how_it_ended(env: dict[str, str], bob: Running, command: tuple[str, ...], code: int, said: str) -> None:
    done = cli(env, "--as", "alice", "send", "bob", "--run", "--", *command)
    assert done.code == code
    assert said in got(bob, said)["text"]


def test_what_it_leaves_running_is_not_waited_for(env: dict[str, str], bob: Running) -> None:
    # The one left behind holds both pipes and waits for this test's end of a third.
    script = "cat <&3 & echo started $!"
    read, write = os.pipe()
    with subprocess.Popen(
        cli_command("--as", "alice", "send", "bob", "--run", "--", "sh", "-c", f"exec 3<&0; {script}"),
        env=env, stdin=read, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(read)
        assert process.stdout
        assert process.stdout.readline().startswith(b"started")
        assert process.wait(PATIENCE) == 0
        os.close(write)
    assert "done after" in got(bob, "exec 3<&0")["text"]


def test_ctrl_c_is_for_the_command(env: dict[str, str], bob: Running) -> None:
    """It may take its time to clean up, and its end is sent all the same."""
    script = "trap 'echo cleaned up; exit 5' INT; echo ready; while :; do sleep 0.05; done"
    command = cli_command("--as", "alice", "send", "bob", "--run", "--", "sh", "-c", script)
    with Running(command, env, start_new_session=True) as running:
        running.out.has("ready")
        os.killpg(running.process.pid, signal.SIGINT)  # what a terminal does
        assert running.wait() == 5
        assert "cleaned up" in running.out.text
    assert "cleaned up" in got(bob, "failed with exit code 5")["text"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_it_is_passed_on(env: dict[str, str], bob: Running, number: signal.Signals) -> None:
    command = cli_command("--as", "alice", "send", "bob", "--run", "--", "sh", "-c", "echo up; exec sleep 600")
    with Running(command, env) as running:
        running.out.has("up")
        assert running.end(number) == 128 + number
    assert f"ended by {number.name} after" in got(bob, f"ended by {number.name}")["text"]


def test_whoever_reads_the_output_has_had_enough(env: dict[str, str], bob: Running) -> None:
    """The command is told so, as it would be without us."""
    with subprocess.Popen(
        cli_command("--as", "alice", "send", "bob", "--run", "--", "sh", "-c", "while echo more; do :; done"),
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == b"more\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
    assert "ended by SIGPIPE" in got(bob, "while echo more")["text"]


def test_the_commands_exit_code_counts_and_then_the_sending(env: dict[str, str]) -> None:
    lost = cli(env, "--as", "alice", "send", "nobody-here", "--run", "--", "true")
    assert lost.code == 6
    assert "not sent to nobody-here: was not here" in lost.err
    lost = cli(env, "--as", "alice", "send", "nobody-here", "--run", "--", "false")
    assert lost.code == 1
    assert "not sent to nobody-here: was not here" in lost.err


def test_without_a_broker_the_command_runs_all_the_same(tmp_path: Path) -> None:
    for command, code in (("true", 3), ("false", 1)):
        done = cli(environment(tmp_path), "--as", "alice", "send", "bob", "--run", "--", command)
        assert done.code == code
        assert done.err.count("No broker was named, and none of yours is running") == 2  # before, and after
        assert f"{command}: " in done.err


def test_it_is_not_run_if_it_is_certain_that_nothing_can_be_sent(env: dict[str, str], bob: Running, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for arguments, code in (
        (("--as", "bob", "send", "bob"), 6),
        (("--as", "alice", "send", "Not A Name"), 2),
        (("--as", "alice", "send"), 2),
        (("--as", "alice", "send", "--everyone", "bob"), 2),
        (("--as", "alice", "send", "bob", "-f", sys.executable), 2),
        (("--profile", "nobody", "send", "bob"), 1),
    ):
        assert cli(env, *arguments, "--run", "--", "touch", str(ran)).code == code
    for arguments in (("send", "bob", "--run"), ("send", "bob", "--run", "touch", str(ran)), ("send", "bob", "--run", "--")):
        done = cli(env, *arguments)
        assert done.code == 2
        assert "Put the command behind '--'" in done.err
    assert not ran.exists()


@pytest.fixture
def alice(tmp_path: Path) -> Iterator[Env]:
    """A profile that has met bob and carol, two others."""
    with BrokerProcess(tmp_path) as broker:
        alice, bob, carol = (
            {**broker.env, "SECURECHAT_HOME": str(tmp_path / f"{name}'s")} for name in ("alice", "bob", "carol")
        )
        for env, name in ((alice, "alice"), (bob, "bob"), (carol, "carol")):
            ok(cli(env, "init", name))
        ok(cli(alice, "send", "bob", "carol", "good morning"))
        yield alice


def test_a_profiles_command_is_not_run_either(alice: Env, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    def not_run(env: Env, *args: str) -> Finished:
        done = cli(env, *args, "--run", "--", "touch", str(ran))
        assert not ran.exists(), done.err
        return done

    elsewhere = not_run(alice, "--broker", "securechat://127.0.0.1:1/" + "A" * 43, "send", "bob")
    assert (elsewhere.code, "alice" in elsewhere.err) == (4, True)
    assert "You have not verified bob" in (done := not_run(alice, "send", "bob", "--verified-only")).err
    assert done.code == 4
    assert "You have verified none" in (done := not_run(alice, "send", "--everyone", "--verified-only")).err
    assert done.code == 4
    ok(cli(alice, "verify", "bob", "--yes"))
    assert not_run(alice, "send", "bob", "carol", "--verified-only").code == 4
    ok(cli(alice, "block", "bob"))
    assert "You have blocked bob" in (done := not_run(alice, "send", "bob")).err
    assert done.code == 4
    # One who may be told is enough.
    both = cli(alice, "send", "bob", "carol", "--run", "--", "touch", str(ran))
    assert (both.code, ran.exists()) == (7, True)


def test_a_profile_without_a_broker_runs_nothing(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "SECURECHAT_HOME": str(tmp_path / "home")}
    ok(cli(env, "init", "alice"))
    done = cli(env, "send", "bob", "--run", "--", "touch", str(tmp_path / "ran"))
    assert done.code == 3
    assert "No broker was named, and none of yours is running" in done.err
    assert not (tmp_path / "ran").exists()


def test_a_guest_has_verified_nobody(env: dict[str, str], bob: Running, tmp_path: Path) -> None:
    for to in ("bob", "--everyone"):
        done = cli(env, "--as", "alice", "send", to, "--verified-only", "--run", "--", "touch", str(tmp_path / "ran"))
        assert done.code == 4
        assert "verified" in done.err
    assert not (tmp_path / "ran").exists()


def test_the_commands_own_options_are_its_own(env: dict[str, str], bob: Running) -> None:
    done = cli(env, "--as", "alice", "send", "bob", "--run", "--", "echo", "--json", "-f", "--", "--run")
    assert (done.code, done.out) == (0, "--json -f -- --run\n")
    done = cli(env, "--as", "alice", "send", "bob", "--", "--run")
    assert done.code == 0
    assert got(bob, '"--run"')["text"] == "--run"


def test_to_everyone_and_as_json(env: dict[str, str], bob: Running) -> None:
    with listening(env, "carol", "-n", "1") as carol:
        done = cli(env, "--as", "ops", "--json", "send", "--everyone", "--run", "--", "echo", "for all")
        assert done.code == 0
        (sent,) = done.data
        assert sent["exit"] == 0
        assert "for all" in done.err
        assert carol.wait() == 0
        assert "ops to everyone: echo 'for all': done" in carol.out.text


def test_a_profile_keeps_it_in_its_outbox(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        env = {**broker.env, "SECURECHAT_HOME": str(tmp_path / "home")}
        ok(cli(env, "init", "alice"))
    done = cli(env, "send", "bob", "--timeout", "300ms", "--run", "--", "sh", "-c", "echo for later; exit 9")
    assert done.code == 9
    assert "it waits in the outbox" in done.err
    (waiting,) = ok(cli(env, "outbox", "--json")).data
    assert waiting["text"].endswith("\n\nfor later")


def test_a_passphrase_is_read_once_and_before(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker, listening(broker.env, "bob", "--json") as bob:
        env = {**broker.env, "SECURECHAT_HOME": str(tmp_path / "home")}
        (tmp_path / "pass").write_text("correct horse")
        ok(cli(env, "init", "alice", "--passphrase-file", str(tmp_path / "pass")))
        command = ("send", "bob", "--passphrase-file", "/dev/stdin", "--run", "--", "sh", "-c", "env; cat")
        done = ok(cli(env, *command, stdin=b"correct horse"))
        assert "correct horse" not in done.out + done.err
        assert "env; cat" in got(bob, "done after")["text"]
        assert cli(env, *command, stdin=b"wrong").code == 9


def test_the_last_lines() -> None:
    assert tail_of(b"") == ""
    assert tail_of(b"one\r\ntwo\r\n\n\n") == "one\ntwo"
    assert tail_of(b"one  \n two\t \nthree") == "one\n two\nthree"
    assert tail_of(b"  1 %\r 50 %\r100 %\nall\n") == "100 %\nall"
    many = b"".join(b"%d\n" % number for number in range(100))
    assert tail_of(many) == "\n".join(map(str, range(80, 100)))
    for wide in ("x", "é", "\U0001f600", "\udcff"):
        tail = tail_of((wide * 20_000).encode("utf-8", "surrogateescape"))
        assert 3000 < len(tail.encode()) < CHUNKED_CONTENT_MAX // 2
