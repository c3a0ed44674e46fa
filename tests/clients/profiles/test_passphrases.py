"""Profiles under a passphrase; as real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.broker_process import BrokerProcess, Running, cli, cli_command
from tests.clients.profiles.people import Env, ok, release
from tests.clients.terminals import ENTER, OnTerminal
from tests.net import PATIENCE, until

# Passphrases


@pytest.fixture
def locked(broker: BrokerProcess, person: Callable[[str], Env], tmp_path: Path) -> Iterator[tuple[Env, Path]]:
    """A profile under a passphrase, and the file that holds it."""
    env, secret = person("locked"), tmp_path / "passphrase"
    secret.write_text("open sesame\n")
    until(lambda: cli(env, "--passphrase-file", str(secret), "init", "lock").code == 0)
    yield env, secret
    release(broker, "lock")


def test_a_passphrase_file_opens_it_and_nothing_else_does(locked: tuple[Env, Path], tmp_path: Path) -> None:
    env, secret = locked
    ok(cli(env, "users", "--passphrase-file", str(secret)))
    done = cli(env, "--json", "users")
    assert done.code == 9
    assert done.data[-1]["error"] == "KeystoreLocked"
    assert "--passphrase-file FILE" in done.err
    wrong = tmp_path / "wrong"
    for text in ("open sesame ", "Open sesame", "open sesame\n\n"):
        wrong.write_text(text)
        done = cli(env, "users", "--passphrase-file", str(wrong))
        assert done.code == 9
        assert "not the profile's passphrase" in done.err
        assert "esame" not in done.err
    wrong.write_text("")
    assert cli(env, "users", "--passphrase-file", str(wrong)).code == 9
    assert cli(env, "users", "--passphrase-file", str(tmp_path / "missing")).code == 2
    wrong.write_bytes(b"\xff\xfe")
    assert cli(env, "users", "--passphrase-file", str(wrong)).code == 2


def test_a_passphrase_comes_by_a_descriptor(locked: tuple[Env, Path]) -> None:
    env, secret = locked
    with secret.open() as file:
        number_ = file.fileno()
        ok(cli(env, "users", "--passphrase-file", f"/dev/fd/{number_}", pass_fds=(number_,)))


def test_the_environment_says_where_the_passphrase_is(locked: tuple[Env, Path]) -> None:
    env, secret = locked
    ok(cli({**env, "SECURECHAT_PASSPHRASE_FILE": str(secret)}, "history"))


@pytest.mark.skipif(shutil.which("setsid") is None, reason="a terminal is given to a process by setsid here")
def test_it_is_asked_for_at_the_terminal_also_where_standard_input_is_the_text(locked: tuple[Env, Path]) -> None:
    env, _ = locked
    piped = ("setsid", "--ctty", "--wait", "sh", "-c", 'echo "from a pipe" | "$@"', "sh")
    with OnTerminal(env, "send", "lock", before=piped) as terminal:
        terminal.has("Passphrase of lock")
        terminal.press("open sesame" + ENTER)
        assert terminal.wait() == 0, terminal.text
    assert "from a pipe" in ok(cli({**env, "SECURECHAT_PASSPHRASE_FILE": str(locked[1])}, "history")).out


def test_a_secrets_file_that_others_can_read_is_pointed_out(locked: tuple[Env, Path], tmp_path: Path) -> None:
    env, secret = locked
    warning = f"other users can read {secret}; mend that with: chmod 600 {secret}"
    for mode, said in ((0o644, 1), (0o640, 1), (0o600, 0)):
        secret.chmod(mode)
        assert ok(cli(env, "history", "--passphrase-file", str(secret))).err.count(warning) == said
    secret.chmod(0o644)
    with secret.open() as file:
        number_ = file.fileno()
        by_descriptor = ok(cli(env, "history", "--passphrase-file", f"/dev/fd/{number_}", pass_fds=(number_,)))
    assert "other users" not in by_descriptor.err
    os.mkfifo(tmp_path / "pipe", 0o644)
    with Running(cli_command("history", "--passphrase-file", str(tmp_path / "pipe")), env) as reader:
        (tmp_path / "pipe").write_text(secret.read_text())
        assert (reader.wait(), "other users" in reader.err.text) == (0, False)
    for option in ("--invite-file", "--import"):
        assert warning in cli(env, "init", "other", option, str(secret)).err


def answer(env: Env, arguments: tuple[str, ...], *lines: str) -> tuple[int, str]:
    """Run a command on a terminal and answer its questions; returns its exit code and what the terminal showed."""
    parent, child = os.openpty()
    shown = b""
    left = list(lines)
    with subprocess.Popen(cli_command(*arguments), env=env, stdin=child, stdout=child, stderr=child) as process:
        os.close(child)
        try:
            while part := os.read(parent, 4096):
                shown += part
                if left and shown.count(b": ") + shown.count(b"? ") > len(lines) - len(left):
                    os.write(parent, left.pop(0).encode() + b"\n")
        except OSError:  # the terminal's other end is closed
            pass
        code = process.wait(PATIENCE)
    os.close(parent)
    return code, shown.decode()


def test_on_a_terminal_it_asks_and_shows_nothing_of_it(locked: tuple[Env, Path]) -> None:
    env, _ = locked
    code, shown = answer(env, ("users",), "open sesame")
    assert code == 0, shown
    assert "Passphrase of lock" in shown
    assert "sesame" not in shown
    code, shown = answer(env, ("users",), "open says me")
    assert code == 9
    assert "says me" not in shown
    code, shown = answer(env, ("--no-input", "users"))
    assert code == 9
    assert "Passphrase of" not in shown


def test_a_new_passphrase_is_asked_for_twice(broker: BrokerProcess, person: Callable[[str], Env]) -> None:
    env = person("asked")
    code, shown = answer(env, ("init", "asked"), "one two", "one two")
    assert code == 0, shown
    assert "two" not in shown
    assert cli(env, "users").code == 9
    code, _ = answer(env, ("users",), "one two")
    assert code == 0
    release(broker, "asked")


def test_an_open_keystore_says_that_it_is(broker: BrokerProcess, person: Callable[[str], Env]) -> None:
    env = person("open")
    done = ok(cli(env, "init", "open"))
    assert "Its keys are not encrypted" in done.err
    release(broker, "open")
