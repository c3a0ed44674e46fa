"""A part of the soak's crowd: profiles that come, write to others and go, each a client of its own in this process.

It says "ready" once all of them are known to the broker, and begins with the next line it is given. With the line after that
everybody comes once more; once nothing is on its way any more, it says "settled". At the end of its input everybody goes, and
what is left is told as a line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clients.chat import ChatClient
from clients.profiles import OpenProfile
from core.address import BrokerAddress
from core.errors import NobodyHere
from core.limits import MID_BYTES
from core.names import EVERYONE
from scripts.crash.journal import Handed, Journal, Tried
from scripts.crash.people import introduce, make_profile, unsettled
from scripts.crash.sender import unique_texts

HERE: Final = (20.0, 80.0)  # seconds that somebody stays
AWAY: Final = (5.0, 45.0)
_PAUSE: Final = 5.0  # seconds between two messages of one person, on average
_STEP: Final = 0.02
_PATIENCE: Final = 60.0  # seconds without any change, after which nothing more is expected


@dataclass(eq=False)
class Person:
    """A profile and, while it is here, its client. ``turn`` is when it next comes or goes, ``write`` when it next writes."""

    name: str
    journal: Journal
    turn: float = 0.0
    write: float = 0.0
    client: ChatClient | None = None
    open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


class Crowd:
    """People of this process, who write to anybody in ``everybody``."""

    def __init__(self, home: Path, broker: BrokerAddress, mine: list[str], everybody: list[str], seed: str) -> None:
        self._home = home
        self._broker = broker
        self._everybody = everybody
        self._rng = random.Random(seed)
        self._texts = {name: unique_texts(name) for name in mine}
        self.people = [Person(name, Journal(home / f"{name}.journal")) for name in mine]
        self.visits = 0

    def begin(self) -> None:
        """Let everybody take a name at the broker."""
        for person in self.people:
            make_profile(self._home, person.name, self._everybody.index(person.name))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda person: introduce(self._home, person.name, self._broker), self.people))

    def live(self, over: threading.Event) -> None:
        """Come, write and go, until it is over."""
        now = time.monotonic()
        for person in self.people:
            person.turn = now + self._rng.uniform(0, AWAY[1])
        while not over.is_set():
            now = time.monotonic()
            for person in self.people:
                if now >= person.turn:
                    self._turn(person, now)
                if person.client and now >= person.write:
                    person.write = now + self._rng.expovariate(1 / _PAUSE)
                    self._write(person, person.client)
            over.wait(_STEP)

    def _turn(self, person: Person, now: float) -> None:
        if person.client:
            self.leave(person)
            person.turn = now + self._rng.uniform(*AWAY)
        else:
            self.come(person)
            person.turn = now + self._rng.uniform(*HERE)
            person.write = now + self._rng.expovariate(1 / _PAUSE)

    def come(self, person: Person) -> None:
        """Open the profile, and connect it in the background."""
        self.visits += 1
        profile = person.open.enter_context(contextlib.closing(OpenProfile(self._home, person.name, None)))
        person.client = ChatClient(profile, self._broker, events=False)
        person.client.start()
        person.open.callback(person.client.close)

    def leave(self, person: Person) -> None:
        """Close what was opened."""
        person.client = None
        person.open.close()

    def _write(self, person: Person, client: ChatClient) -> None:
        chance = self._rng.random()
        others = [name for name in self._everybody if name != person.name]
        to = EVERYONE if chance < 0.01 else self._rng.sample(others, 3 if chance < 0.1 else 1)
        text = next(self._texts[person.name])
        person.journal.say(Tried(text))
        with contextlib.suppress(NobodyHere):
            person.journal.say(Handed(client.send(text, to, id_=os.urandom(MID_BYTES))))

    def settle(self) -> None:
        """Let everybody come, and wait until nothing is on its way any more."""
        for person in self.people:
            if person.client is None:
                self.come(person)
        before, moved = -1, time.monotonic()
        while time.monotonic() < moved + _PATIENCE:
            left = sum(unsettled(person.client.profile) for person in self.people if person.client and person.client.profile)
            if left == 0:
                break
            if left != before:
                before, moved = left, time.monotonic()
            time.sleep(10 * _STEP)

    def end(self) -> None:
        """Let everybody go."""
        for person in self.people:
            self.leave(person)
            person.journal.close()


def descriptors() -> int:
    """How many files and sockets this process has open; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def main() -> None:
    """Take part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--broker", type=BrokerAddress.parse, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--part", type=int, required=True)
    parser.add_argument("--of", type=int, required=True)
    parser.add_argument("everybody", nargs="+")
    options = parser.parse_args()
    mine = options.everybody[options.part :: options.of]
    crowd = Crowd(options.home, options.broker, mine, options.everybody, f"{options.seed} {options.part}")
    crowd.begin()
    before = descriptors()
    print("ready", flush=True)
    over = threading.Event()
    sys.stdin.readline()

    def watch() -> None:
        sys.stdin.readline()
        over.set()

    threading.Thread(target=watch, name="watch", daemon=True).start()
    try:
        crowd.live(over)
        crowd.settle()
        print("settled", flush=True)
        sys.stdin.read()
    finally:
        crowd.end()
    left = {
        "visits": crowd.visits,
        "descriptors": descriptors() + len(crowd.people) - before,
        "threads": threading.active_count(),
    }
    print(json.dumps(left), flush=True)


if __name__ == "__main__":
    main()
