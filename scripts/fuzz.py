"""Feed every parser that reads remote bytes with inputs that it should refuse, and see that it does nothing else.

Valid inputs are mutated: with atheris, where that is installed, guided by what code they reach; else at random, by a seed
that is printed. ``--seconds`` is the time for each target, ``--target`` chooses one.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from scripts.fuzz_targets import Target

ROOT: Final = Path(__file__).resolve().parent.parent
_SIZE_MAX: Final = 160 * 1024  # over every limit of the protocol
_TOKENS: Final = (
    b"", b"\0", b"\xff", b"\x80", b"\x90", b"\xc0", b"\xc1", b"\xc4\xff", b"\xc6\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff", b"\xd9\xff", b"\xcf" + b"\xff" * 8, b"\x91" * 3000, b"\x81\xa1x" * 3000, b"[" * 3000,
    b'{"x":' * 3000, b"null", b"true", b"-1", b"1e999", b"9007199254740992", b'"\\ud800"', b"\xed\xa0\x80", b"everyone", b"..",
    b",", b"/", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\1\0", b"cposix\nsystem\n(S'true'\ntR.", b"guest", b"profile", b"%eth0",
)  # fmt: skip


class Mutator:
    """Makes inputs out of inputs. It knows that there are lengths before parts, numbers in text, and pieces that repeat."""

    def __init__(self, rng: random.Random, seeds: tuple[bytes, ...]) -> None:
        self._rng = rng
        self._seeds = seeds
        self._ways: tuple[Callable[[bytes], bytes], ...] = (
            self._bit, self._byte, self._cut, self._repeat, self._insert, self._replace, self._splice, self._length,
            self._number, self._part,
        )  # fmt: skip

    def make(self) -> bytes:
        """The next input."""
        return self.mutate(self._rng.choice(self._seeds))

    def mutate(self, data: bytes) -> bytes:
        """A few changes to an input."""
        for _ in range(self._rng.choice((1, 1, 1, 2, 3, 6))):
            data = self._rng.choice(self._ways)(data)
        return data[:_SIZE_MAX]

    def _at(self, data: bytes) -> int:
        return self._rng.randrange(len(data) + 1)

    def _piece(self, data: bytes) -> tuple[int, int]:
        first = self._at(data)
        return first, min(len(data), first + self._rng.choice((1, 2, 4, 16, 64, 256, 1024)))

    def _bit(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + bytes(byte ^ 1 << self._rng.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]

    def _byte(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + self._rng.randbytes(1) + data[at + 1 :]

    def _cut(self, data: bytes) -> bytes:
        first, last = self._piece(data)
        return self._rng.choice((data[:first], data[:first] + data[last:]))

    def _repeat(self, data: bytes) -> bytes:
        first, last = self._piece(data)
        return data[:last] + data[first:last] * self._rng.choice((1, 2, 300)) + data[last:]

    def _insert(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + self._rng.choice(_TOKENS) + data[at:]

    def _replace(self, data: bytes) -> bytes:
        first, last = self._piece(data)
        return data[:first] + self._rng.choice(_TOKENS) + data[last:]

    def _splice(self, data: bytes) -> bytes:
        other = self._rng.choice(self._seeds)
        first, last = self._piece(other)
        at = self._at(data)
        return self._rng.choice((data[:at] + other[first:], data[:at] + other[first:last] + data[at:]))

    def _length(self, data: bytes) -> bytes:
        """A length in front of a part, made a little wrong, or very."""
        places = [at for at in range(len(data) - 3) if data[at : at + 2] == b"\0\0"] or [0]
        at = self._rng.choice(places)
        size = int.from_bytes(data[at : at + 4], "big") + self._rng.choice((-1, 1, -4, 4, 256, 2**31))
        return data[:at] + (size % 2**32).to_bytes(4, "big") + data[at + 4 :]

    def _number(self, data: bytes) -> bytes:
        found = list(re.finditer(rb"[0-9]{1,19}", data))
        if not found:
            return data
        one = self._rng.choice(found)
        number = self._rng.choice((0, 1, -1, 2**31, 2**53, 2**53 - 1, 2**63, 2**64, 10**30, int(one[0]) + 1))
        return data[: one.start()] + str(number).encode() + data[one.end() :]

    def _part(self, data: bytes) -> bytes:
        """One part of those that stand behind their lengths, changed with its length kept right."""
        parts: list[bytes] = []
        at = 0
        while at + 4 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            if size > len(data) - at - 4:
                return data
            parts.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        if not parts or at != len(data):
            return data
        chosen = self._rng.randrange(len(parts))
        way = self._rng.choice(self._ways[:-1])
        changed = [way(part) if place == chosen else part for place, part in enumerate(parts)]
        if self._rng.random() < 0.1:
            self._rng.shuffle(changed)
        return b"".join(len(part).to_bytes(4, "big") + part for part in changed)


class Crash(Exception):
    """An input made a parser raise what it may not."""


def attempt(target: Target, data: bytes) -> str:
    """What came of one input: ``accepted``, or the error's name; raises Crash for any other error."""
    try:
        target.read(data)
    except target.refusals as error:
        return type(error).__name__
    except Exception as error:
        raise Crash(f"{target.name}: {error!r} for {data[:2000].hex()}") from error
    return "accepted"


def at_random(target: Target, seconds: float, seed: int) -> Counter[str]:
    """Run one target with random mutations."""
    mutator = Mutator(random.Random(f"{seed} {target.name}"), target.seeds)
    counts = Counter(attempt(target, one) for one in target.seeds)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        counts[attempt(target, mutator.make())] += 1
    return counts


# Guided


def guided(name: str, seconds: float) -> str:
    """Run one target with atheris, which ends its process; returns how many inputs it tried, or raises Crash."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        command = [sys.executable, "-m", "scripts.fuzz", "--inside", folder, "--target", name, "--seconds", f"{seconds:g}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.search(r"Done (\d+) runs", done.stderr)
    if done.returncode or not found:
        raise Crash(f"{name}: {done.stderr[-4000:]}")
    return found[1]


def inside(folder: Path, name: str, seconds: float) -> None:
    """The process that atheris ends: it instruments what is imported from here on."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["core", "broker"]):
        targets = importlib.import_module("scripts.fuzz_targets")
    target: Target = next(one for one in targets.TARGETS if one.name == name)
    for number, one in enumerate(target.seeds):
        (folder / str(number)).write_bytes(one)
    mutator = Mutator(random.Random(name), target.seeds)

    def custom(data: bytes, _max: int, seed: int) -> bytes:
        # Half of the time libFuzzer's own mutations, which know what it has learnt of the code.
        return mutator.mutate(data) if seed % 2 else bytes(atheris.Mutate(data, _SIZE_MAX))

    options = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={_SIZE_MAX}", "-print_final_stats=0", str(folder)]
    atheris.Setup([sys.argv[0], *options], lambda data: attempt(target, data) and None, custom_mutator=custom)
    atheris.Fuzz()


def main() -> int:
    """Run; returns 1 for a crash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random mutations")
    parser.add_argument("--plain", action="store_true", help="at random, even where atheris is installed")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(options.inside, options.target, options.seconds)
        return 0
    from scripts.fuzz_targets import TARGETS

    chosen = [target for target in TARGETS if options.target in (None, target.name)]
    if not chosen:
        parser.error(f"there is no such target; choose one of {', '.join(target.name for target in TARGETS)}")
    with_atheris = not options.plain and importlib.util.find_spec("atheris") is not None
    print("guided by atheris" if with_atheris else f"at random, seed {options.seed}", flush=True)
    crashes = 0
    for target in chosen:
        try:
            if with_atheris:
                print(f"{target.name:20} {guided(target.name, options.seconds):>9} inputs", flush=True)
                continue
            counts = at_random(target, options.seconds, options.seed)
            told = ", ".join(f"{number} {word}" for word, number in counts.most_common())
            print(f"{target.name:20} {counts.total():9} inputs: {told}", flush=True)
        except Crash as crash:
            crashes += 1
            print(f"CRASH {crash}", flush=True)
    return int(bool(crashes))


if __name__ == "__main__":
    sys.exit(main())
