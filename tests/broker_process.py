"""A broker and the command line as the processes that people start, with every folder of theirs inside a test's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Container, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import click

from clients.cli import cli as securechat_cli
from clients.cli_help import Command, Program
from core.address import BrokerAddress
from core.errors import BadAddress
from core.places import FILE_NAME, decode_connection_file
from tests.net import PATIENCE, until

ROOT: Final = Path(__file__).resolve().parent.parent
_TAKE_A_VALUE: Final = {
    name for one in securechat_cli.params if isinstance(one, click.Option) and not one.is_flag for name in one.opts
}
ASCII: Final = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # an environment without any other letters
_DROPPED: Final = ("SECURECHAT_", "XDG_", "NO_COLOR", "FORCE_COLOR", "PYTHON", "LC_", "LANG", "COLUMNS", "LINES")


def environment(home: Path, **more: str) -> dict[str, str]:
    """An environment whose home is ``home``; nothing of the user's own SecureChat is seen through it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
    runtime = home / "run"
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        **kept,
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_STATE_HOME": str(home / "state"),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
        **more,
    }


class Output:
    """What a process writes, line by line, gathered by a thread so that it never waits for its reader."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.lines: list[str] = []
        self._stream = stream
        self._thread = threading.Thread(target=self._gather, name="output")
        self._thread.start()

    def _gather(self) -> None:
        for line in self._stream:
            self.lines.append(line.decode("utf-8", "surrogateescape").rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def has(self, part: str) -> str:
        """Wait for a line with ``part`` in it, and return it."""
        found: list[str] = []

        def there() -> bool:
            over = not self._thread.is_alive()
            found[:] = [line for line in list(self.lines) if part in line]
            return bool(found) or over

        until(there, f"no '{part}'")
        assert found, f"no '{part}' in: {self.text}"
        return found[0]

    def close(self) -> None:
        self._thread.join(PATIENCE)
        self._stream.close()


class Running:
    """A process whose output is gathered; ended by the end of its ``with`` if it still runs."""

    def __init__(self, command: Sequence[str | bytes], env: dict[str, str], **options: Any) -> None:
        self.process = subprocess.Popen(
            command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )
        assert self.process.stdout
        assert self.process.stderr
        self.out, self.err = Output(self.process.stdout), Output(self.process.stderr)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(PATIENCE)
        self.out.close()
        self.err.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def broker_command(*args: str) -> list[str]:
    return [sys.executable, "-m", "broker", *args]


def cli_command(*args: str | bytes) -> list[str | bytes]:
    return [sys.executable, "-m", "clients", *args]


class BrokerProcess(Running):
    """``python -m broker`` on a free port of 127.0.0.1, found by clients with the same ``home``."""

    def __init__(self, home: Path, *args: str, port: int = 0, data: Path | None = None) -> None:
        self.data = data or home / "data"
        self.env = environment(home)
        super().__init__(broker_command("--host", "127.0.0.1", "--port", str(port), "--data", str(self.data), *args), self.env)
        try:
            self.err.has("its address is" if data is None else "Server listening")
            self.address = self._address()
        except BaseException:
            self.close()
            raise

    def _address(self) -> BrokerAddress:
        found: list[BrokerAddress] = []

        def written() -> bool:
            try:
                found.append(decode_connection_file((self.data / FILE_NAME).read_bytes()).address)
            except (OSError, BadAddress):
                return False
            return True

        until(written, "no connection file was written")
        return found[-1]


class Finished:
    """How a command of ``securechat-cli`` ended."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code = code
        self.out = out.decode("utf-8")
        self.err = err.decode("utf-8")

    @property
    def data(self) -> list[dict[str, Any]]:
        """The lines of JSON on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


def admin(data: Path, env: dict[str, str], *args: str) -> Finished:
    """Run a command of ``securechat-broker`` on a broker's data folder to its end."""
    command = broker_command("--data", str(data), *args)
    done = subprocess.run(command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Finished(done.returncode, done.stdout, done.stderr)


def cli(env: dict[str, str], *args: str | bytes, stdin: bytes | None = None, **options: Any) -> Finished:
    """Run a command to its end; without ``stdin`` it gets an empty one. No command may ever show a traceback."""
    done = subprocess.run(
        cli_command(*args), env=env, cwd=ROOT, input=stdin or b"", capture_output=True, timeout=60, check=False, **options
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert done.returncode in exits(args), (args, done.returncode, done.stderr.decode())
    return Finished(done.returncode, done.stdout, done.stderr)


def exits(args: Sequence[str | bytes]) -> Container[int]:
    """The exit codes that the help of the command in ``args`` lists; with ``--run``, all that a program can end with."""
    if "--run" in args:
        return range(256)
    command: click.Command = securechat_cli
    left = iter(args)
    for word in left:
        if isinstance(word, str) and isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
        elif word in _TAKE_A_VALUE:
            next(left, None)
    assert isinstance(command, Command | Program)
    return command.exits


def listening(env: dict[str, str], name: str | None, *args: str) -> Running:
    """``listen`` as the guest ``name``, or else as the profile in ``env`` or ``args``; present from now on."""
    running = Running(cli_command(*(("--as", name) if name else ()), "listen", *args), env)
    try:
        running.err.has("connected; here:")
    except BaseException:
        running.close()
        raise
    return running


def got(listener: Running, part: str) -> dict[str, Any]:
    """The message with ``part`` in its line."""
    message: dict[str, Any] = json.loads(listener.out.has(part))
    return message


def race(script: str, *args: str) -> list[str]:
    """Run a Python script in two processes, and return what they print after they said "ready" and were let go together."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, *args], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for one in processes:
        assert one.stdout
        assert one.stdout.readline() == "ready\n"
    for one in processes:
        assert one.stdin
        one.stdin.write("\n")
        one.stdin.flush()
    printed = [one.communicate(timeout=PATIENCE)[0] for one in processes]
    assert [one.returncode for one in processes] == [0, 0]
    return printed
