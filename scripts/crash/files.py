"""Kill sender, broker and recipient in the middle of a file, again and again: it arrives whole, and little is sent twice.

Each party is killed when its link has carried a part of the file that is decided at random. What the links carried beyond
the file's ciphertext is counted, frames and logins included.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from core.limits import BLOB_WINDOW
from core.sealed_file import sealed_size
from scripts.crash.actors import Actor, wait_for_broker
from scripts.crash.link import Flow, Link
from scripts.crash.people import introduce, make_profile
from scripts.measure import make_file, same_content
from scripts.processes import Failed
from tests.broker_process import environment

PARTIES: Final = ("sender", "broker", "recipient")
_PATIENCE: Final = 120.0  # seconds for what must come about
_SHARE: Final = 0.01  # of the ciphertext: what frames and their encryption add to it
_LOGIN: Final = 64 * 1024  # bytes that a login and a message take, generously


@dataclass(frozen=True, slots=True)
class Outcome:
    """``again`` bytes were carried beyond the file's ciphertext; ``allowed`` is what one window a kill comes to."""

    party: str
    kills: int
    size: int
    again: int
    allowed: int
    whole: bool

    @property
    def good(self) -> bool:
        """Whether the file arrived whole, and no more than that was sent twice."""
        return self.whole and self.again <= self.allowed


class Stage:
    """A broker, a link to it, and two profiles, in a folder of their own."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder = folder
        self._home = folder / "home"
        self._files = folder / "output"
        self._files.mkdir()
        self._env = environment(folder)
        self._rng = rng
        self._actors: list[Actor] = []
        self._stack = contextlib.ExitStack()
        self._port = 0
        self.broker = self._actor("broker", "broker", lambda: self._broker_command)

    def __enter__(self) -> Stage:
        """Start the broker, and introduce both."""
        try:
            for number, name in enumerate(("alice", "bob")):
                make_profile(self._home, name, number)
            self.broker.start()
            address = wait_for_broker(self.broker, self.folder / "broker")
            self._port = address.port
            for name in ("alice", "bob"):
                introduce(self._home, name, address)
            self.link = Link(self._port)
            self._stack.callback(self.link.close)
            self._address = address
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        for actor in self._actors:
            actor.kill()
        self._stack.close()

    @property
    def _broker_command(self) -> Sequence[str]:
        return ["-m", "broker", "--host", "127.0.0.1", "--port", str(self._port), "--data", str(self.folder / "broker")]

    def _actor(self, role: str, name: str, command: Callable[[], Sequence[str]]) -> Actor:
        actor = Actor(role, name, command, self._files, self._env, fine=(0,))
        self._actors.append(actor)
        return actor

    def _client(self, role: str, name: str, *args: str, linked: bool) -> Actor:
        url = replace(self._address, port=self.link.port) if linked else self._address
        command = ["-m", "clients", "--home", str(self._home), "--profile", name, "--broker", url.url, *args]
        return self._actor(role, role, lambda: command)

    def restart_broker(self) -> None:
        """Start the broker again at its port."""
        self.broker.start()
        wait_for_broker(self.broker, self.folder / "broker")

    def carry(self, party: str, size: int, kills: int) -> Outcome:
        """Send a file, and kill this party on the way."""
        path = self.folder / f"{party}.bin"
        make_file(path, size)
        into = self.folder / f"{party}.in"
        up = party != "recipient"
        sender = self._client("sender", "alice", "send", "bob", "-f", str(path), "--timeout", "60s", linked=up)
        recipient = self._client("recipient", "bob", "listen", "-n", "1", "--download", str(into), linked=not up)
        flow = self.link.up if up else self.link.down
        before = flow.carried
        if not up:
            _run(sender)
        victim = {"sender": sender, "broker": self.broker, "recipient": recipient}[party]
        goer = sender if up else recipient
        goer.start()
        for _ in range(kills):
            self._kill_after(victim, flow, self._rng.randint(size // (4 * kills), size // kills))
            if victim is self.broker:
                self.restart_broker()
            else:
                goer.start()
        _wait(goer)
        again = flow.carried - before - sealed_size(size)
        if up:
            _run(recipient)
        arrived = into / path.name
        whole = same_content(arrived, path) and not list(into.glob("*.part"))
        allowed = kills * BLOB_WINDOW + int(_SHARE * sealed_size(size)) + (kills + 1) * _LOGIN
        path.unlink()
        shutil.rmtree(into, ignore_errors=True)
        return Outcome(party, kills, size, again, allowed, whole)

    def _kill_after(self, victim: Actor, flow: Flow, carried: int) -> None:
        if not self.link.hold(flow, carried).wait(_PATIENCE):
            raise Failed(f"The link did not carry {carried:,} bytes more.")
        if not victim.kill():
            raise Failed(f"{victim.name} had ended before it was killed: {victim.accidents}")
        self.link.release()

    @property
    def accidents(self) -> list[str]:
        """What should not have happened to a process."""
        return [accident for actor in self._actors for accident in actor.accidents]


def _run(actor: Actor) -> None:
    actor.start()
    _wait(actor)


def _wait(actor: Actor) -> None:
    until = time.monotonic() + _PATIENCE
    while actor.look() is None:
        if time.monotonic() > until:
            raise Failed(f"{actor.name} did not end.")
        time.sleep(0.02)


def carried(parties: Sequence[str], size: int, kills: int, seed: int) -> Iterator[Outcome]:
    """Carry one file for each of these parties."""
    with (
        tempfile.TemporaryDirectory(prefix="securechat-crash-") as folder,
        Stage(Path(folder), random.Random(seed)) as stage,
    ):
        for party in parties:
            yield stage.carry(party, size, kills)
        if stage.accidents:
            raise Failed(" ".join(stage.accidents))


def run(size: int, kills: int, seed: int) -> int:
    """Kill each party so often in a file of ``size`` bytes, and tell; returns for how many it did not go as it must."""
    bad = 0
    for one in carried(PARTIES, size, kills, seed):
        words = "arrived whole" if one.whole else "DID NOT ARRIVE WHOLE"
        print(
            f"{one.party} killed {one.kills} times in a file of {one.size:,} bytes: {words}; {one.again:,} bytes were carried "
            f"beyond it, of {one.allowed:,} that may be",
            flush=True,
        )
        bad += not one.good
    return bad
