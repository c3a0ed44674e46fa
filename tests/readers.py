"""People who read a document and type what stands there, each with a home, a shell and a folder of their own."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.broker_process import BrokerProcess, Running
from tests.clients.terminals import ENTER, OnTerminal

PASSPHRASE: Final = "open sesame"

# What a reader has on the machine, and the tests need not: a stand-in of the few words that the documents use of it.
_JQ: Final = """
import json, sys
*options, filter = sys.argv[1:]
words = {
    ".id": "{id}", ".user": "{user}", ".encryption_key": "{encryption_key}", ".mail.messages": "{mail[messages]}",
}
for line in sys.stdin:
    said = json.loads(line)
    if "-r" in options or filter == ".mail.messages":
        print(words[filter].format(**said), flush=True)
    else:
        assert "-a" in options or options == ["-ac"], options
        found = {".text": said.get("text"), "[.from, .text]": [said.get("from"), said.get("text")]}[filter]
        print(json.dumps(found, separators=(",", ":")), flush=True)
"""


class Document:
    """The commands in it, and those of them that were run."""

    def __init__(self, commands: Iterable[str]) -> None:
        self.commands = list(commands)
        self._done: set[str] = set()

    def typed(self, line: str) -> str:
        """The line, which must stand there as it is."""
        assert line in self.commands, line
        self._done.add(line)
        return line

    @property
    def untyped(self) -> set[str]:
        """What nobody has typed; of no meaning where nobody has typed anything."""
        return set(self.commands) - self._done

    @property
    def was_read(self) -> bool:
        """Whether anything was typed."""
        return bool(self._done)


class Reader:
    """Somebody who reads a document; ``places`` says where what it names is here."""

    def __init__(self, document: Document, folder: Path, broker: BrokerProcess, data: Path | None = None) -> None:
        self._document = document
        self.folder = folder
        folder.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        python, where = shlex.quote(sys.executable), shlex.quote(str(data or broker.data))
        self._write(programs / "securechat-cli", f'exec {python} -m clients "$@"')
        self._write(programs / "securechat-broker", f'exec {python} -m broker --host 127.0.0.1 --port 0 --data {where} "$@"')
        self._write(programs / "jq", f'exec {python} -c {shlex.quote(_JQ)} "$@"')
        self._write(programs / "journalctl", 'echo "$2: it went wrong"')
        self._write(programs / "notify-send", 'echo "$@" >> notified')
        self._write(programs / "make", "echo made")
        self._write(folder / "backup.sh", "echo 1 of 2; echo 2 of 2")
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(programs)
        self.env = {**broker.env, "XDG_DATA_HOME": str(folder / "data"), "PATH": f"{programs}:{os.environ['PATH']}"}
        self.places = {
            "/opt/securechat/.venv/bin/": f"{programs}/",
            "/srv/": f"{folder}/",
            "/var/": f"{folder}/var/",
            "~/": f"{folder}/",
            "%i": "web.service",
        }

    @staticmethod
    def _write(path: Path, script: str) -> None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def _here(self, line: str, shell: str = "/bin/sh") -> list[str]:
        here = self._document.typed(line)
        for place, ours in self.places.items():
            here = here.replace(place, ours)
        return [shell, "-c", here]

    def run(self, line: str, typed: str = "", code: int | None = 0, shell: str = "/bin/sh") -> str:
        """Run it to its end; returns what it printed."""
        done = subprocess.run(
            self._here(line, shell),
            cwd=self.folder,
            env=self.env,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert code in (None, done.returncode), (line, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def exports(self, line: str) -> None:
        """Have it stand in the environment from now on."""
        self._here(line)
        name, _, value = line.removeprefix("export ").partition("=")
        self.env[name] = value

    @contextlib.contextmanager
    def running(self, line: str) -> Iterator[Running]:
        """What goes on until it is stopped, with all that stands behind its pipes."""
        command = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(self.folder), *self._here(line)]
        with Running(command, self.env, start_new_session=True) as process:
            yield process
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.process.pid, signal.SIGTERM)
            process.wait()

    def at_a_terminal(self, line: str) -> OnTerminal:
        """Run it where a person sits."""
        self._here(line)
        return OnTerminal(self.env, *shlex.split(line)[1:], cwd=self.folder)

    def unlocks(self, line: str) -> None:
        """Run it to its end where a person sits, who is asked for the passphrase."""
        with self.at_a_terminal(line) as terminal:
            terminal.has("assphrase")
            terminal.press(PASSPHRASE + ENTER)
            assert terminal.wait() == 0, terminal.text
