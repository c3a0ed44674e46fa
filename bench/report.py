"""How results are said: medians of interleaved repeats, in aligned tables, each target with whether it is met."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")

median: Final = statistics.median


def interleaved(repeats: int, kinds: Sequence[_K], measure: Callable[[_K], _V]) -> dict[_K, list[_V]]:
    """Measure each kind in turn, ``repeats`` times over, so that what disturbs the machine disturbs all alike."""
    found: dict[_K, list[_V]] = {kind: [] for kind in kinds}
    for _ in range(repeats):
        for kind in kinds:
            found[kind].append(measure(kind))
    return found


@dataclass(slots=True)
class Report:
    """Prints as it goes, and remembers the targets for the end."""

    targets: list[str] = field(default_factory=list)
    missed: int = 0

    def title(self, text: str, *lines: str) -> None:
        print(f"\n{text}\n{'-' * len(text)}")
        for line in lines:
            print(line)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The first column is text; the others are numbers and stand to the right."""
        widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
        for row in (head, *rows):
            cells = [
                cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            print("  " + "  ".join(cells).rstrip(), flush=True)

    def target(self, what: str, value: float, *, least: float | None = None, most: float | None = None, unit: str = "") -> None:
        met = (least is None or value >= least) and (most is None or value <= most)
        wanted = f"at least {least:g}" if least is not None else f"at most {most:g}"
        self.missed += not met
        line = f"{'met   ' if met else 'MISSED'}  {what}: {value:.3f}{unit} (target: {wanted}{unit})"
        self.targets.append(line)
        print(f"  -> {line}", flush=True)

    def summary(self) -> None:
        self.title("Targets")
        for line in self.targets:
            print(f"  {line}")
        print(f"  {len(self.targets) - self.missed} of {len(self.targets)} met")
