"""Two hundred clients come, write to each other, and go, for ten minutes: nothing is lost, and the broker's memory stays flat.

``--minutes`` and ``--clients`` choose otherwise, ``--seed`` repeats what was decided at random. It ends by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.mail import resident
from clients.chat import ChatClient
from clients.profiles import OpenProfile
from core.address import BrokerAddress
from core.content import Text
from core.errors import SecureChatError
from core.events import MessageReceived
from core.places import FILE_NAME
from scripts.crash.people import introduce, make_profile
from scripts.processes import BROKER_PORT, Failed, Processes, Stopped, next_free_port, start_broker

_PACE: Final = 0.02  # seconds between two things that happen
_SAMPLE: Final = 5.0  # seconds between two looks at the broker's memory
_SETTLE_MAX: Final = 120.0
_GROWTH_MAX: Final = 1.10  # of the first third's median, in the last third
_SLACK: Final = 8 * 2**20  # bytes that say nothing: the allocator's


@dataclass
class User:
    """One profile, its client while it is here, and what it wrote."""

    name: str
    sent: dict[str, str] = field(default_factory=dict)  # text: to whom
    profile: OpenProfile | None = None
    client: ChatClient | None = None

    def come(self, home: Path, broker: BrokerAddress) -> None:
        """Open the profile, and begin to connect."""
        self.profile = OpenProfile(home, self.name, None)
        self.client = ChatClient(self.profile, broker, events=False)
        self.client.start()

    def go(self) -> None:
        """Leave, if here."""
        if self.client and self.profile:
            self.client.close()
            self.profile.close()
        self.client = self.profile = None


def live(users: list[User], home: Path, broker: BrokerAddress, pid: int, seconds: float, rng: random.Random) -> list[int]:
    """Let them come, write and go; returns the broker's memory over time, in bytes."""
    counts: Counter[str] = Counter()
    memory: list[int] = []
    end = time.monotonic() + seconds
    sample_at = 0.0
    while (now := time.monotonic()) < end:
        if now >= sample_at:
            sample_at = now + _SAMPLE
            memory.append(resident(pid))
        user = rng.choice(users)
        if user.client is None:
            user.come(home, broker)
            counts["came"] += 1
        elif rng.random() < 0.2:
            user.go()
            counts["went"] += 1
        else:
            to = rng.choice([one.name for one in users if one is not user])
            text = f"{len(user.sent)} of {user.name}"
            user.client.send(text, to)
            user.sent[text] = to
            counts["sent"] += 1
        time.sleep(_PACE)
    print(f"{counts['came']} came, {counts['went']} went, {counts['sent']} messages were sent", flush=True)
    return memory


def settle(users: list[User], home: Path, broker: BrokerAddress) -> int:
    """Have everybody there until nothing waits; returns how many copies still do."""
    for user in users:
        if user.client is None:
            user.come(home, broker)
    until = time.monotonic() + _SETTLE_MAX
    while (left := sum(_unsettled(user) for user in users)) and time.monotonic() < until:
        time.sleep(1)
    return left


def _unsettled(user: User) -> int:
    if user.profile is None:
        return 0
    sql = "SELECT count(*) FROM copies WHERE outcome IN ('queued', 'stored')"
    return int(user.profile.store.query(sql)[0][0])


def judge(users: list[User]) -> list[str]:
    """What is lost, double or made up in the histories."""
    wanted: Counter[tuple[str, str]] = Counter((to, text) for user in users for text, to in user.sent.items())
    there: Counter[tuple[str, str]] = Counter()
    for user in users:
        if user.profile is None:
            continue
        for entry in user.profile.store.history.after(0):
            if isinstance(entry.event, MessageReceived) and isinstance(entry.event.message.content, Text):
                there[user.name, entry.event.message.content.text] += 1
    print(f"{wanted.total()} messages to be there, {there.total()} there", flush=True)
    lost = [f"lost: '{text}' to {to}" for to, text in wanted - there]
    return [*lost, *(f"too many: '{text}' to {to}" for to, text in there - wanted)]


def flat(memory: list[int]) -> bool:
    """Whether the last third of the samples is about as high as the first; prints both."""
    third = max(1, len(memory) // 3)
    first, last = (statistics.median(part) for part in (memory[third // 2 : third + third // 2], memory[-third:]))
    print(f"the broker's memory: {first / 2**20:.1f} MiB early, {last / 2**20:.1f} MiB late, {max(memory) / 2**20:.1f} at most")
    return last <= first * _GROWTH_MAX + _SLACK


def soak(clients: int, minutes: float, seed: int) -> bool:
    """Run; returns whether all was well."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="securechat-soak-") as name, Processes() as processes:
        home, data = Path(name) / "home", Path(name) / "broker"
        broker = start_broker(processes, next_free_port(BROKER_PORT, "PORT"), data)
        pid = int(json.loads((data / FILE_NAME).read_text())["pid"])
        users = [User(f"user{number}") for number in range(clients)]
        for number, user in enumerate(users):
            make_profile(home, user.name, number)
            introduce(home, user.name, broker)
        print(f"{clients} profiles know the broker", flush=True)
        try:
            memory = live(users, home, broker, pid, 60 * minutes, rng)
            left = settle(users, home, broker)
            findings = judge(users)
        finally:
            for user in users:
                user.go()
    for finding in findings[:20]:
        print(finding)
    print(f"{len(findings)} findings, {left} copies without an end")
    return flat(memory) and not findings and not left


def main() -> int:
    """Run; returns 1 if something was lost, doubled or grew."""
    parser = argparse.ArgumentParser(prog="python -m scripts.soak", description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    well = False
    with contextlib.suppress(Stopped):
        try:
            well = soak(options.clients, options.minutes, options.seed)
        except (Failed, SecureChatError) as error:
            print(f"error: {error}")
    print("passed" if well else "FAILED")
    return int(not well)


if __name__ == "__main__":
    sys.exit(main())
