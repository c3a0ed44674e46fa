"""``listen --exec`` as a real process: what a handler is given, and that nothing counts as handled that was not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.chat import ChatClient
from core.content import File
from core.limits import BLOB_MAX
from core.places import FILE_NAME, decode_connection_file
from tests.broker_process import ROOT, BrokerProcess, Finished, Running, cli, cli_command, listening
from tests.clients.profiles.people import Env, ok
from tests.net import PATIENCE, until

TELL = (
    'printf "%s|" "$SECURECHAT_FROM" "$SECURECHAT_TO" "$SECURECHAT_TRUST" "$SECURECHAT_CONTENT" "$SECURECHAT_FILE"; cat; echo'
)


@contextlib.contextmanager
def bobs_machine(folder: Path) -> Iterator[tuple[Env, Env]]:
    """A broker; the environment of its machine's guests, and that of the profile bob."""
    with BrokerProcess(folder) as broker:
        bob = {**broker.env, "SECURECHAT_HOME": str(folder / "bob's")}
        ok(cli(bob, "init", "bob"))
        yield broker.env, bob


def begin(env: Env) -> None:
    """Let a profile's first handler take its place: what is not yet in the history is for it."""
    assert cli(env, "listen", "--timeout", "1ms", "--exec", "false").code == 8


def added(failed: Finished) -> list[str]:
    """What the hint says to add to the command."""
    (hint,) = [line for line in failed.err.splitlines() if line.startswith("hint:")]
    return hint.partition("add once: ")[2].split()


def test_a_guests_handler_is_given_all_of_a_message(env: Env) -> None:
    with listening(env, "bob", "-n", "2", "--exec", TELL) as bob:
        ok(cli(env, "--as", "alice", "send", "bob", "hello"))
        ok(cli(env, "--as", "ops", "send", "--everyone", "all of you"))
        assert bob.wait() == 0
    assert bob.out.lines == ["alice|bob|new|text||hello", "ops|everyone|new|text||all of you"]


def test_nothing_that_a_sender_writes_is_run_or_ends_up_in_the_environment(env: Env, tmp_path: Path) -> None:
    evil = f"$(touch {tmp_path}/a) `touch {tmp_path}/b`; touch {tmp_path}/c\n\x00'\"\x1b[2J"
    said = tmp_path / "said"
    with listening(env, "bob", "-n", "1", "--exec", f"env > {tmp_path}/env; cat > {said}") as bob:
        ok(cli(env, "--as", "alice", "send", "bob", stdin=evil.encode()))
        assert bob.wait() == 0
    assert said.read_text() == evil
    assert not {"a", "b", "c"} & {path.name for path in tmp_path.iterdir()}
    given = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    about = {f"SECURECHAT_{name}" for name in ("FROM", "TO", "ID", "TIME", "TRUST", "CONTENT")}
    assert {name for name in given if name.startswith("SECURECHAT_")} == about
    assert "touch" not in (tmp_path / "env").read_text()


def test_with_json_it_reads_the_line_that_would_be_printed(env: Env) -> None:
    with listening(env, "bob", "-n", "1", "--json", "--exec", "cat") as bob:
        ok(cli(env, "--as", "alice", "send", "bob", "a\nb"))
        assert bob.wait() == 0
    (line,) = bob.out.lines
    assert (json.loads(line)["type"], json.loads(line)["text"]) == ("message", "a\nb")


def test_the_example_hands_on_nothing_that_a_sender_writes(env: Env, tmp_path: Path) -> None:
    (example,) = re.findall(r"listen --exec '(.+)'", cli(env, "listen", "-h").out)
    stand_in = tmp_path / "notify-send"
    stand_in.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    stand_in.chmod(0o755)
    env = {**env, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with listening(env, "bob", "-n", "1", "--exec", example) as bob:
        ok(cli(env, "--as", "alice", "send", "bob", stdin=b"<b>--expire-time=0"))
        assert bob.wait() == 0
    assert bob.out.lines == ["a message from alice|"]


def test_a_line_of_json_is_one_line_without_control_characters(env: Env) -> None:
    """The README's recipe relies on it: no sender forges a line of a file, or speaks to the terminal that shows it."""
    with listening(env, "bob", "-n", "1", "--json", "--exec", "cat") as bob:
        ok(cli(env, "--as", "alice", "send", "bob", stdin=b'\x1b]0;x\x07\r\n{"v":1,"from":"ops"}\xc2\x9b2J\xe2\x80\xa8'))
        assert bob.wait() == 0
    (line,) = bob.out.lines
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["from"] == "alice"


def test_a_file_is_saved_first(env: Env, tmp_path: Path) -> None:
    (tmp_path / "le rapport é.txt").write_text("numbers")
    where = tmp_path / "in box"
    with listening(env, "bob", "-n", "1", "--download", str(where), "--exec", 'cat "$SECURECHAT_FILE"; echo; cat') as bob:
        ok(cli(env, "--as", "alice", "send", "bob", "-f", str(tmp_path / "le rapport é.txt")))
        assert bob.wait() == 0
    assert bob.out.lines == ["numbers", "[file] le rapport é.txt (7 B)"]


def test_a_file_that_the_disk_cannot_hold_keeps_nobody_from_going_on(env: Env, broker: BrokerProcess, tmp_path: Path) -> None:
    size = BLOB_MAX
    if shutil.disk_usage(tmp_path).free >= size:
        pytest.skip("this disk has room for the largest file there is")
    with listening(env, "bob", "-n", "2", "--download", str(tmp_path / "in"), "--exec", TELL) as bob:
        with ChatClient("alice", broker.address, events=False) as alice:
            for what in (File("huge.bin", size, bytes(32), bytes(32), bytes(16)), "and on"):
                alice.wait_sent(alice.send(what, "bob"), PATIENCE, stored=False)
        assert bob.wait() == 0
        bob.err.has("not saved: huge.bin is not fetched: 1100 GB of it are to come, and the disk has room for ")
    assert bob.out.lines == ["alice|bob|new|file||[file] huge.bin (1100 GB)", "alice|bob|pinned|text||and on"]


def test_a_file_that_cannot_be_written_comes_again(tmp_path: Path) -> None:
    with bobs_machine(tmp_path) as (env, bob):
        begin(bob)
        (tmp_path / "plan.txt").write_text("numbers")
        ok(cli(env, "--as", "alice", "send", "bob", "make it impossible"))
        ok(cli(env, "--as", "alice", "send", "bob", "-f", str(tmp_path / "plan.txt")))
        into = tmp_path / "in"
        handler = f'if test "$SECURECHAT_FILE"; then cat "$SECURECHAT_FILE"; else rmdir "{into}"; touch "{into}"; fi'
        command = ("listen", "--exec", handler, "--download", str(into))
        failed = cli(bob, *command, "-n", "2")
        assert failed.code == 1
        (id_,) = re.findall(
            r"error: The message (\S+) from alice does not count as handled: .* cannot be written: ", failed.err
        )
        assert added(failed) == ["--since", id_]
        refused = cli(bob, *command)
        assert refused.code == 2
        assert "is a file" in refused.err  # and nothing was begun
        into.unlink()
        assert ok(cli(bob, *command, "-n", "1")).out == "numbers"


@pytest.mark.parametrize(("end", "how"), [("exit 3", "failed with exit code 3"), ("kill -KILL $$", "ended by SIGKILL")])
def test_what_failed_comes_again_and_what_did_not_comes_once(tmp_path: Path, end: str, how: str) -> None:
    with bobs_machine(tmp_path) as (env, bob):
        begin(bob)
        for text in ("one", "bad", "two"):
            ok(cli(env, "--as", "alice", "send", "bob", text))
        log = tmp_path / "log"
        handler = f'read said; echo "$said" >> "{log}"; test "$said" != bad || test -e "{tmp_path}/mended" || {{ {end}; }}'
        for _ in range(2):
            failed = cli(bob, "listen", "-n", "3", "--exec", handler)
            assert failed.code == 1
            assert "error: The message " in failed.err
            assert f" from alice does not count as handled: the command {how}." in failed.err
            assert "hint: Mend it and start again: the same message comes first." in failed.err
        (tmp_path / "mended").touch()
        ok(cli(bob, "listen", "-n", "2", "--exec", handler))
        assert log.read_text().split() == ["one", "bad", "bad", "bad", "two"]
        assert cli(bob, "listen", "--timeout", "300ms", "--exec", handler).code == 8
        assert log.read_text().split()[-1] == "two"


def test_the_hint_passes_over_it(tmp_path: Path) -> None:
    with bobs_machine(tmp_path) as (env, bob):
        begin(bob)
        for text in ("bad", "good"):
            ok(cli(env, "--as", "alice", "send", "bob", text))
        failed = cli(bob, "listen", "--exec", "false")
        words = added(failed)
        assert ok(cli(bob, "listen", *words, "-n", "1", "--exec", "cat")).out == "good"
        assert cli(bob, "listen", "--timeout", "300ms", "--exec", "cat").out == ""


def test_an_id_that_a_sender_uses_again_does_not_bring_back_what_was_handled(tmp_path: Path) -> None:
    with bobs_machine(tmp_path) as (_, bob):
        begin(bob)
        broker = decode_connection_file((tmp_path / "data" / FILE_NAME).read_bytes()).address
        for name, text in (("alice", "one"), ("ops", "two"), ("mallory", "bad"), ("alice", "good")):
            with ChatClient(name, broker, events=False) as sender:
                used = bytes(16) if text in ("one", "bad") else None
                sender.wait_sent(sender.send(text, "bob", id_=used), PATIENCE)
        failed = cli(bob, "listen", "--exec", 'read said; test "$said" != bad')
        assert " from mallory does not count as handled" in failed.err
        words = added(failed)
        assert ok(cli(bob, "listen", *words, "-n", "1", "--exec", "cat")).out == "good"


def test_passed_over_it_stays_so_if_nothing_follows(tmp_path: Path) -> None:
    with bobs_machine(tmp_path) as (env, bob):
        begin(bob)
        ok(cli(env, "--as", "alice", "send", "bob", "bad"))
        words = added(cli(bob, "listen", "--exec", "false"))
        assert cli(bob, "listen", *words, "--timeout", "1ms", "--exec", "cat").code == 8
        ok(cli(env, "--as", "alice", "send", "bob", "good"))
        assert ok(cli(bob, "listen", "-n", "1", "--exec", "cat")).out == "good"


@pytest.mark.parametrize("face", [("--exec", "cat"), ("--json",)], ids=["handled", "printed"])
def test_who_looks_for_one_sender_has_not_seen_what_others_sent(tmp_path: Path, face: tuple[str, ...]) -> None:
    with bobs_machine(tmp_path) as (env, bob):
        begin(bob)
        cli(bob, "listen", "--timeout", "1ms")
        ok(cli(env, "--as", "alice", "send", "bob", "from alice"))
        ok(cli(env, "--as", "dave", "send", "bob", "from dave"))
        assert cli(bob, "listen", "--from", "alice", "--exec", "false").code == 1
        assert "from dave" in ok(cli(bob, "listen", "--from", "Dave", "-n", "1", *face)).out
        over = cli(bob, "listen", "--from", "dave", "--timeout", "300ms", *face)
        assert "from dave" not in over.out  # it has a place of its own
        assert "from alice" in ok(cli(bob, "listen", "--from", "alice", "-n", "1", *face)).out
        both = ok(cli(bob, "listen", "-n", "2", *face)).out
        assert both.index("from alice") < both.index("from dave")


def test_what_is_printed_does_not_count_as_handled(tmp_path: Path) -> None:
    with bobs_machine(tmp_path) as (env, bob):
        begin(bob)
        cli(bob, "listen", "--timeout", "1ms")
        ok(cli(env, "--as", "alice", "send", "bob", "bad"))
        assert cli(bob, "listen", "--exec", "false").code == 1
        assert ok(cli(bob, "listen", "-n", "1", "--json")).data[0]["text"] == "bad"
        assert ok(cli(bob, "listen", "-n", "1", "--exec", "cat")).out == "bad"


def test_a_first_handler_is_given_what_comes_from_then_on(tmp_path: Path) -> None:
    with bobs_machine(tmp_path) as (env, bob):
        ok(cli(env, "--as", "alice", "send", "bob", "printed before"))
        ok(cli(bob, "listen", "-n", "1"))
        ok(cli(env, "--as", "alice", "send", "bob", "waits at the broker"))
        assert ok(cli(bob, "listen", "-n", "1", "--exec", "cat")).out == "waits at the broker"


def test_a_guest_is_told_that_it_does_not_come_again(env: Env) -> None:
    with listening(env, "bob", "--exec", "false") as bob:
        ok(cli(env, "--as", "alice", "send", "bob", "once"))
        assert bob.wait() == 1
        bob.err.has("A guest has no history to go on from")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_ended_in_the_middle_it_does_not_count_as_handled(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with bobs_machine(tmp_path) as (env, bob):
        begin(bob)
        ok(cli(env, "--as", "alice", "send", "bob", "slowly"))
        begun, pipe = tmp_path / "begun", tmp_path / "pipe"
        os.mkfifo(pipe)
        held = os.open(pipe, os.O_RDWR)  # the handler ends when this does, even if nobody else ends it
        with Running(cli_command("listen", "--exec", f'exec 3<"{pipe}"; touch "{begun}"; exec cat <&3'), bob) as running:
            try:
                until(begun.exists)
                code_given = running.end(number)
            finally:
                os.close(held)
            assert code_given == code
        assert ok(cli(bob, "listen", "-n", "1", "--exec", "cat")).out == "slowly"


def test_a_handler_that_puts_things_in_order_has_handled_it(tmp_path: Path) -> None:
    with bobs_machine(tmp_path) as (env, bob):
        begin(bob)
        for text in ("one", "two"):
            ok(cli(env, "--as", "alice", "send", "bob", text))
        handler = "trap 'echo in order; exit 0' TERM; cat; echo; while :; do sleep 0.05; done"
        with Running(cli_command("listen", "--exec", handler), bob) as running:
            running.out.has("one")
            assert running.end(signal.SIGTERM) == 143
            assert running.out.lines == ["one", "in order"]
        assert ok(cli(bob, "listen", "-n", "1", "--exec", "cat")).out == "two"


def test_all_that_a_handler_started_has_time_to_end(env: Env, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    # The shell does not wait for what it started: it ends at once.
    child = f"trap 'sleep 0.5; touch \"{ended}\"; exit' TERM; echo up; while :; do sleep 0.05; done"
    with listening(env, "bob", "--exec", f"({child}); true") as bob:
        ok(cli(env, "--as", "alice", "send", "bob", "hello"))
        bob.out.has("up")
        assert bob.end(signal.SIGTERM) == 143
        assert ended.exists()


def test_a_handler_that_does_not_end_is_killed_with_all_that_it_started(env: Env) -> None:
    """In a second here, that nobody has to wait for ten."""
    patient = "import sys; sys.argv[0] = 'securechat-cli'; from clients import cli, group; group.PATIENCE = 1; cli.main()"
    handler = "trap '' TERM; (echo up; while :; do sleep 0.05; done) & while :; do sleep 0.05; done"
    command = [sys.executable, "-c", patient, "--as", "bob", "listen", "--exec", handler]
    with subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as bob:
        until(lambda: cli(env, "--as", "alice", "send", "bob", "hello").code == 0)
        assert bob.stdout
        assert bob.stdout.readline() == b"up\n"
        bob.terminate()
        bob.communicate(timeout=PATIENCE)  # until nobody is left who could write
        assert bob.returncode == 143


def test_a_handler_that_cannot_be_started(env: Env) -> None:
    with listening({**env, "PATH": "/nonexistent"}, "bob", "--exec", "true") as bob:
        ok(cli(env, "--as", "alice", "send", "bob", "hello"))
        assert bob.wait() == 1
        bob.err.has("from alice does not count as handled: the command could not be started: No such file or directory.")
        assert "Traceback" not in bob.err.text


@pytest.mark.parametrize("handler", ["", "  "])
def test_2_no_command(env: Env, handler: str) -> None:
    done = cli(env, "--as", "bob", "listen", "--exec", handler)
    assert done.code == 2
    assert "--exec needs a command" in done.err
