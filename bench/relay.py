"""Relaying: the broker, with every check, beside libzmq's own proxy in C and a textbook loop in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench import curveload, plainload, processes
from bench.people import People
from bench.processes import Relay
from bench.report import Report, interleaved, median
from bench.traffic import Measured

KINDS: Final = ("proxy", "broker", "textbook")
_NAMES: Final = {
    "proxy": "zmq.proxy, 5 frames",
    "broker": "the broker, every check",
    "textbook": "recv_/send_multipart, 5 frames",
}
_PLAIN: Final = {"proxy": 400_000, "broker": 200_000, "textbook": 40_000}
_CURVE: Final = {"proxy": 60_000, "broker": 60_000, "textbook": 20_000}
_LARGE: Final = 4  # so many times fewer large messages

Engine = Callable[[Relay, str, int, int, People], Measured]


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: which load, messages of how many bytes, and the least ratio to the proxy that is wanted."""

    what: str
    engine: Engine
    size: int
    curve: bool
    least: float | None = None


_UNJUDGED: Final = "no CURVE, DEALERs as load (not judged: with the proxy this load is slower than the relay)"
_CASES: Final = (
    Case("256 B, no CURVE", plainload.measure, 256, curve=False, least=0.30),
    Case("4 KiB, no CURVE", plainload.measure, 4096, curve=False, least=0.80),
    Case("256 B, CURVE on both sides", curveload.measure, 256, curve=True, least=0.75),
    Case("4 KiB, CURVE on both sides", curveload.measure, 4096, curve=True, least=0.75),
    Case(f"256 B, {_UNJUDGED}", curveload.measure, 256, curve=False),
    Case(f"4 KiB, {_UNJUDGED}", curveload.measure, 4096, curve=False),
)


def run(report: Report, people: People, repeats: int) -> None:
    report.title(
        "1. Relaying",
        "One and the same load moves messages through each relay; the proxy's five frames hold as many bytes as the broker's",
        "two. The clients of the broker logged in, acknowledge in batches of up to 64, and every message's RESULT is checked.",
        "Ratios to the proxy: 'wall' is messages a second, and what the targets are about. 'busiest' is CPU time for a message",
        "of the relay's busiest thread (what bounds it where cores abound), 'CPU' that of all its threads.",
    )
    for case in _CASES:
        _compare(report, case, people, repeats)


def _compare(report: Report, case: Case, people: People, repeats: int) -> None:
    totals = _PLAIN if case.engine is plainload.measure else _CURVE

    def once(kind: str) -> Measured:
        with processes.relay(kind, curve=case.curve) as relay:
            total = totals[kind] // (_LARGE if case.size > 1024 else 1)
            return case.engine(relay, kind, case.size, total, people)

    found = interleaved(repeats, KINDS, once)
    proxy = found["proxy"]
    rows = [
        (
            _NAMES[kind],
            f"{median([one.rate for one in runs]):,.0f}",
            f"{_wall(runs, proxy):.2f}",
            f"{_ratio([one.busiest_cpu for one in proxy], [one.busiest_cpu for one in runs]):.2f}",
            f"{_ratio([one.total_cpu for one in proxy], [one.total_cpu for one in runs]):.2f}",
            f"{median([one.busiest_cpu for one in runs]) * 1e6:.2f}",
            f"{median([one.total_cpu for one in runs]) * 1e6:.2f}",
        )
        for kind, runs in found.items()
    ]
    print(f"\n  {case.what}")
    report.table(("", "messages/s", "wall", "busiest", "CPU", "us busiest", "us CPU"), rows)
    if case.least is not None:
        report.target(f"relay, {case.what}, broker to proxy", _wall(found["broker"], proxy), least=case.least)


def _wall(runs: Sequence[Measured], proxy: Sequence[Measured]) -> float:
    return _ratio([one.rate for one in runs], [one.rate for one in proxy])


def _ratio(some: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios within each round of the interleaved runs."""
    return median([one / other if other else 0.0 for one, other in zip(some, others, strict=True)])
