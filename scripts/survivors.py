"""Run mutmut over core/, and hold what survives against docs/SURVIVORS.md.

mutmut changes core/ in thousands of small ways, one at a time, and runs the tests of core and the attacks on each. The tree
is not touched: mutmut works in the folder mutants/. ``--only core.order`` takes one module, ``--resume`` goes on with a run
that was broken off (the tests must not have changed since), ``--list`` shows again what the last run found.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "SURVIVORS.md"
WORK: Final = ROOT / "mutants"
_TOKENS: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\w+|[<>=!]+|\s+|.")
_SEPARATOR: Final = "ǁ"  # what mutmut puts between a class and its method
# Exit codes, as mutmut writes them down: pytest's, a signal's where a test took far longer than without the mutant, or its own.
_NOTICED: Final = (1, 3, -signal.SIGXCPU, -signal.SIGKILL)
_SURVIVED: Final = (0, 33)  # 33 where no test calls the function


def listed(page: str) -> dict[str, str]:
    """The mutants that the page lists, each with its reason: the heading above it.

    Raises ValueError for one without a reason, or listed twice.
    """
    found: dict[str, str] = {}
    reason = ""
    for line in page.splitlines():
        if line.startswith("## "):
            reason = line.removeprefix("## ")
        elif line.startswith("- `") and line.endswith("`"):
            name = line[3:-1]
            if not reason or name in found:
                raise ValueError(f"{PAGE.name} lists this without a reason, or twice: {name}")
            found[name] = reason
    return found


def described(module: str, mutated: str, names: Iterable[str]) -> Iterator[str]:
    """What these mutants of a module change, in mutmut's order: ``core.order.place: if n {< → <=} self.first``.

    ``mutated`` is the source that mutmut made of the module, with every mutant of a function as a function of its own.
    """
    functions = {node.name: node for node in ast.walk(ast.parse(mutated)) if isinstance(node, ast.FunctionDef)}
    seen: Counter[str] = Counter()
    for name in names:
        base, _, _ = name.rpartition("__mutmut_")
        plain = base.removeprefix(f"x{_SEPARATOR}").replace(_SEPARATOR, ".") if _SEPARATOR in base else base.removeprefix("x_")
        change = _change(_lines(functions[f"{base}__mutmut_orig"]), _lines(functions[name]))
        text = f"{module}.{plain}: {change}"
        seen[text] += 1
        yield text if seen[text] == 1 else f"{text} (no. {seen[text]})"


def _lines(function: ast.FunctionDef) -> list[str]:
    """A function's lines, each statement on one, without the name that mutmut gave it."""
    function.name = "f"
    return [line.strip() for line in ast.unparse(function).splitlines()]


def _change(before: list[str], after: list[str]) -> str:
    if len(before) == len(after):
        return "; ".join(_inline(old, new) for old, new in zip(before, after, strict=True) if old != new)
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return "; ".join(
        _inline(" ⏎ ".join(before[i:j]), " ⏎ ".join(after[k:n])) for what, i, j, k, n in changes if what != "equal"
    )


def _inline(old: str, new: str) -> str:
    """A line with its change in it: ``if n {< → <=} self.first``."""
    a, b = _TOKENS.findall(old), _TOKENS.findall(new)
    head = _common(a, b)
    tail = _common(a[head:][::-1], b[head:][::-1])
    before, after = ("".join(tokens[head : len(tokens) - tail]) for tokens in (a, b))
    return f"{''.join(a[:head])}{{{before} → {after}}}{''.join(a[len(a) - tail :])}"


def _common(one: list[str], other: list[str]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def results() -> dict[str, int | None]:
    """What the tests of every mutant of the last run ended with (None for not yet), by mutmut's name for the mutant."""
    metas = sorted((WORK / "core").glob("*.py.meta"))
    return {name: code for meta in metas for name, code in json.loads(meta.read_bytes())["exit_code_by_key"].items()}


def survivors(found: Mapping[str, int | None]) -> list[str]:
    """Those of the last run's mutants that no test noticed, described."""
    by_module: dict[str, list[str]] = {}
    for name, code in found.items():
        if code in _SURVIVED:
            module, _, short = name.rpartition(".")
            by_module.setdefault(module, []).append(short)
    return [
        text
        for module, names in sorted(by_module.items())
        for text in described(module, (WORK / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"), names)
    ]


def main() -> int:
    """Run; returns 0 if what survives is what the page lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="MODULE", help="one module's mutants, as in core.order")
    parser.add_argument("--resume", action="store_true", help="keep the results of the last run")
    parser.add_argument("--list", action="store_true", help="run nothing; list what survived in the last run")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="runs at a time")
    options = parser.parse_args()
    known = listed(PAGE.read_text(encoding="utf-8"))
    within = f"{options.only}." if options.only else "core."
    began = time.monotonic()
    if not options.list:
        if not options.resume:
            shutil.rmtree(WORK, ignore_errors=True)
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(options.jobs)]
        ended = subprocess.run([*command, *([f"{options.only}.*"] if options.only else [])], cwd=ROOT, check=False).returncode
        if ended:
            print(f"mutmut ended with {ended}; what it said stands above.")
            return 1
    found = {name: code for name, code in results().items() if name.startswith(within)}
    alive = survivors(found)
    unclear = [name for name, code in found.items() if code not in (*_NOTICED, *_SURVIVED)]
    unlisted = [text for text in alive if text not in known]
    gone = [text for text in known if text.startswith(within) and text not in alive]
    if options.list:
        print(*alive, sep="\n")
    for names, sentence in (
        (unlisted, f"No test notices these: write one that does, or list them in docs/{PAGE.name} with the reason."),
        (gone, f"These are in docs/{PAGE.name} and survive no more: take them off."),
        (unclear, "What became of these is not known; run them again."),
    ):
        if names:
            print(sentence, *names, sep="\n  ")
    seconds = time.monotonic() - began
    harmless = len(alive) - len(unlisted)
    print(f"{len(found)} mutants in {seconds:.0f} s: {len(alive)} survive, {harmless} of them listed as harmless")
    return int(bool(unlisted or gone or unclear or not found))


if __name__ == "__main__":
    sys.exit(main())
