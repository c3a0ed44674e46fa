"""Let many clients come and go for a while; then nothing may be lost, and the broker's memory must have stayed flat.

It stops by itself after ``--minutes``, and prints what it counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from core.address import BrokerAddress
from core.errors import SecureChatError
from scripts.crash.actors import Actor, wait_for_broker
from scripts.crash.checker import Checker, Evidence
from scripts.crash.people import take_down
from scripts.measure import memory_now
from scripts.processes import LOCAL, ROOT, Failed
from tests.broker_process import environment

_LOOK: Final = 1.0  # seconds between two looks at the memory
_SLACK: Final = 4 * 1024 * 1024
_MIB: Final = 1024 * 1024


class Part:
    """One process of the crowd."""

    def __init__(self, command: list[str], env: dict[str, str], errors: Path) -> None:
        with errors.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file
            )
        self._errors = errors

    def told(self) -> bytes:
        """The next line that it prints; raises Failed if it ends instead."""
        line = self.process.stdout.readline() if self.process.stdout else b""
        if not line:
            raise Failed(f"A part of the crowd ended: {self._errors.read_text()[-2000:]}")
        return line

    def go_on(self) -> None:
        """Let it begin what comes next."""
        if self.process.stdin:
            self.process.stdin.write(b"go on\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """Let it come to its end."""
        if self.process.stdin:
            self.process.stdin.close()

    def close(self) -> None:
        """End it, whatever it does."""
        self.end()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


class Memory:
    """What a process has in use, looked at again and again; ``grown`` compares the last quarter of the time with the second.

    The first quarter is for what is loaded once, and for caches to fill.
    """

    def __init__(self) -> None:
        self.looks: list[int] = []

    def _mean(self, quarter: int) -> float:
        size = max(1, len(self.looks) // 4)
        part = self.looks[quarter * size : (quarter + 1) * size] or [0]
        return sum(part) / len(part)

    def __str__(self) -> str:
        """By quarters of the time, in MiB."""
        return " ".join(f"{self._mean(quarter) / _MIB:.1f}" for quarter in range(4)) + " MiB"

    @property
    def is_flat(self) -> bool:
        """Whether it grew by less than a tenth and 4 MiB."""
        return self._mean(3) < 1.1 * self._mean(1) + _SLACK


def soak(folder: Path, options: argparse.Namespace) -> bool:
    """Run; returns whether all is well."""
    env = environment(folder)
    names = [f"user{number}" for number in range(options.clients)]
    home, data = folder / "home", folder / "broker"
    home.mkdir()
    broker = Actor(
        "broker", "broker", lambda: ["-m", "broker", "--host", LOCAL, "--port", "0", "--data", str(data)], folder, env
    )
    with contextlib.ExitStack() as stack:
        stack.callback(broker.kill)
        broker.start()
        address = wait_for_broker(broker, data)
        parts = [stack.enter_context(contextlib.closing(part)) for part in _parts(options, home, address, names, env, folder)]
        for part in parts:
            part.told()
        print(f"{len(names)} profiles are known to the broker", flush=True)
        idle = memory_now(broker.pid or 0)
        memory, crowd = Memory(), Memory()
        for part in parts:
            part.go_on()
        until = time.monotonic() + 60 * options.minutes
        while (now := time.monotonic()) < until:
            if broker.look() is not None:
                raise Failed(" ".join(broker.accidents))
            memory.looks.append(memory_now(broker.pid or 0))
            crowd.looks.append(sum(memory_now(part.process.pid) for part in parts))
            time.sleep(min(_LOOK, max(0.0, until - now)))
        left = Counter[str]()
        for part in parts:
            part.go_on()
        for part in parts:
            part.told()
        for part in parts:  # only now: others may have had mail for them
            part.end()
        for part in parts:
            left.update(json.loads(part.told()))
        broker.stop()
    evidence = Evidence(accidents=broker.accidents)
    for name in names:
        take_down(evidence, home, name, home / f"{name}.journal")
    checker = Checker(evidence)
    print(f"{left['visits']} visits; " + ", ".join(f"{number} {what}" for what, number in checker.counts.items()))
    for finding in checker.findings[:20]:
        print(f"FOUND {finding}")
    print(f"{len(checker.findings)} findings")
    verdict = "flat" if memory.is_flat else "GROWING"
    print(f"the broker's memory: {idle / _MIB:.1f} MiB before, then by quarters {memory}: {verdict}")
    print(f"the crowd's memory, histories and all: {crowd}; left open in the end: {left['descriptors']} descriptors")
    return not checker.findings and memory.is_flat and left["descriptors"] <= 0


def _parts(
    options: argparse.Namespace, home: Path, address: BrokerAddress, names: list[str], env: dict[str, str], folder: Path
) -> Iterator[Part]:
    for number in range(options.processes):
        command = ["-m", "scripts.crash.crowd", "--home", str(home), "--broker", address.url, "--seed", str(options.seed)]
        share = ["--part", str(number), "--of", str(options.processes)]
        yield Part([*command, *share, *names], env, folder / f"crowd{number}.err")


def main() -> int:
    """Run; returns 1 if something was lost, or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m scripts.crash.soak", description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--processes", type=int, default=4, help="among which the clients are distributed")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    print(f"seed {options.seed}", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="securechat-soak-") as folder:
            well = soak(Path(folder), options)
    except (Failed, SecureChatError) as error:
        print(error, file=sys.stderr)
        return 1
    print("passed" if well else "FAILED", flush=True)
    return int(not well)


if __name__ == "__main__":
    sys.exit(main())
