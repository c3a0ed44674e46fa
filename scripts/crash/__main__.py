"""Kill broker, senders and receivers at random, disturb their links, and see that nothing is lost, doubled or invented.

Then bugs are planted, one after the other, to see that the checker finds them, and each party is killed in the middle of a
file. ``--seed`` repeats what was decided at random.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

from core.errors import SecureChatError
from scripts.crash import files
from scripts.crash.bugs import BUGS
from scripts.crash.checker import Checker
from scripts.crash.world import Plan, World
from scripts.processes import Failed

_FILE: Final = 256 * 1024 * 1024  # bytes
_TRIES: Final = 5  # runs in which a planted bug must show


def run(plan: Plan, minutes: float) -> tuple[Checker, Counter[str]]:
    """Shake a world, and judge it."""
    with tempfile.TemporaryDirectory(prefix="securechat-crash-") as folder, World(Path(folder), plan) as world:
        world.shake(time.monotonic() + 60 * minutes)
        world.settle()
        return Checker(world.evidence()), world.counts


def tell(checker: Checker, counts: Counter[str]) -> None:
    """Print what was done, and what came of it."""
    roles = ", ".join(f"{role} {counts[f'kills of {role}']}" for role in ("broker", "sender", "script", "listen"))
    print(f"{counts['kills']} kills ({roles}), {counts['cuts']} cut links, {counts['stalls']} stalled")
    print(", ".join(f"{number} {what}" for what, number in checker.counts.items()))
    for finding in checker.findings[:20]:
        print(f"FOUND {finding}")
    print(f"{len(checker.findings)} findings", flush=True)


def find(bug: str, plan: Plan) -> bool:
    """Plant a bug and see whether the checker finds it, and says what it is."""
    for attempt in range(_TRIES):
        checker, counts = run(replace(plan, seed=plan.seed + attempt, bug=bug), minutes=1)
        kinds = Counter(finding.kind for finding in checker.findings)
        told = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common()) or "nothing"
        print(f"planted '{bug}' ({BUGS[bug].about}): {counts['kills']} kills, found {told}", flush=True)
        if kinds.keys() & set(BUGS[bug].kinds):
            return True
    return False


def main() -> int:
    """Run; returns 1 if there was anything to find, or if a planted bug was not found."""
    parser = argparse.ArgumentParser(prog="python -m scripts.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=220)
    parser.add_argument("--interval", type=float, default=1.1, help="seconds between two kills, about")
    parser.add_argument("--minutes", type=float, default=10.0, help="stop killing after so long")
    parser.add_argument("--stall", type=float, default=18.0, help="the longest time that a link stalls, in seconds")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--files", type=int, default=10, help="how often each party is killed in the middle of a file")
    parser.add_argument("--plant", choices=[*BUGS, "all", "none"], default="all", help="which bug to plant afterwards")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    print(f"seed {options.seed}", flush=True)
    failures = 0
    try:
        if options.kills:
            plan = Plan(kills=options.kills, seed=options.seed, interval=options.interval, stall=options.stall)
            checker, counts = run(plan, options.minutes)
            tell(checker, counts)
            failures += bool(checker.findings) or counts["kills"] < options.kills
        for bug in BUGS if options.plant == "all" else () if options.plant == "none" else (options.plant,):
            failures += not find(bug, Plan(kills=12, seed=options.seed, interval=1.0, pace=20, patience=4.0))
        if options.files:
            failures += files.run(_FILE, options.files, options.seed)
    except (Failed, SecureChatError) as error:
        print(error, file=sys.stderr)
        return 1
    with contextlib.suppress(BrokenPipeError):
        print("passed" if not failures else "FAILED", flush=True)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
