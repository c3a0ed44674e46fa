"""Take each check out of the code, one at a time, and see that a test notices.

The tree is never touched: the tests run on a copy of it in a temporary folder. ``--only core.opening`` limits it to one
module, ``--list`` only lists what would be taken out, ``--write`` brings docs/MUTANTS.md up to date.
"""

from __future__ import annotations

import argparse
import ast
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "MUTANTS.md"
_COPIED: Final = ("core", "broker", "clients", "tests", "scripts", "docs", "Makefile", "pyproject.toml", "README.md")
_LIMIT: Final = 300  # seconds for one run of the tests; a mutant that hangs them is noticed, too

TARGETS: Final[dict[str, tuple[str, ...]]] = {
    "core.opening": (
        "RECEIVE_ORDER", "_limits", "_parse", "_allow_list", "_sender", "_recipient", "_signature", "_route", "_freshness",
        "_replay", "_pin", "_decrypt", "_commit", "_aead", "_unpad", "_content",
    ),
    "core.bundle": ("valid_at", "read_bundle"),
    "core.encoding": ("from_b64url", "strict_json", "unpack"),
    "core.content": ("decode_content", "unpad"),
    "core.names": ("check_file_name",),
    "core.transfer": ("extent", "piece"),
    "core.chunking": ("split_sealed", "join"),
    "core.rsa": ("_PublicKey", "_private"),
    "core.frames": (
        "read_from_client", "read_from_broker", "ack_items", "_result_items", "_read_fanout", "_check_counts", "_check_name",
        "_check_bundle", "_name", "_read_piece",
    ),
    "core.peers": ("roster", "meet", "may_receive", "bundle", "learn"),
    "core.trust": ("holds", "seen"),
    "core.sending": ("found", "answered", "told", "_judge", "_settle", "_unnumbered", "_may_return"),
    "core.vault": ("unlock", "_read"),
    "broker.door": ("check", "_check_name", "committed", "note_bundle"),
    "broker.access": ("admits", "answer"),
}  # fmt: skip
"""The functions whose checks are taken out, by module."""

_FIRST: Final[dict[str, tuple[str, ...]]] = {
    "core.opening": ("tests/attacks/test_forged_envelopes.py", "tests/attacks/test_forged_headers.py"),
    "core.bundle": ("tests/attacks/test_false_keys.py", "tests/core/test_bundle_and_login.py"),
    "core.encoding": ("tests/core/test_encoding.py", "tests/attacks/test_forged_envelopes.py"),
    "core.content": ("tests/attacks/test_forged_envelopes.py", "tests/core/test_content.py"),
    "core.names": ("tests/core/test_content.py",),
    "core.transfer": ("tests/core/test_transfer.py",),
    "core.chunking": ("tests/attacks/test_stolen_words.py", "tests/core/test_content.py"),
    "core.rsa": ("tests/attacks/test_weak_keys.py",),
    "core.frames": (
        "tests/core/test_frames.py",
        "tests/core/test_blob_frames.py",
        "-k",
        "not mutated_messages and not any_body",
    ),
    "core.peers": ("tests/attacks/test_false_keys.py", "tests/core/test_peers.py"),
    "core.sending": ("tests/attacks/test_told_again.py", "tests/attacks/test_false_keys.py", "tests/core/test_returning.py"),
    "core.trust": ("tests/core/test_trust.py",),
    "core.vault": ("tests/attacks/test_curious_eyes.py", "-k", "keystore and not another_user"),
    "broker.door": (
        "tests/broker/test_door.py",
        "tests/broker/test_claims.py",
        "tests/attacks/test_false_names.py",
        "tests/attacks/test_open_doors.py",
        "tests/broker/test_renewed_bundles.py",
    ),
    "broker.access": ("tests/broker/test_access.py", "tests/attacks/test_open_doors.py"),
}
"""What is quickest to notice most; what it does not notice goes on to the rest."""
_ATTACKS: Final = ("tests/attacks", "-k", "not test_the_logs_tell and not test_another_user_reads")
_OTHERS: Final = (
    "tests/core", "tests/broker/test_hostile_clients.py", "tests/broker/test_access.py", "-k", "not mutated_messages",
    "--deselect", "tests/core/test_hostile_broker.py",
)  # fmt: skip

HARMLESS: Final[dict[str, str]] = {
    "core.bundle.read_bundle: if len(signed.body) > BUNDLE_MAX": (
        "no body in canonical form with members in range is that long, and the frame's reader has looked already; it saves the "
        "reading of what is too long"
    ),
    **dict.fromkeys(
        (
            "core.bundle.read_bundle: the size in from_b64url(body.ik, SPKI_BYTES)",
            "core.bundle.read_bundle: the size in from_b64url(body.ek, SPKI_BYTES)",
        ),
        "what reads the key refuses every other length as well, before anything else",
    ),
    "core.frames.read_from_client: len(head) > CONTROL_MAX (of 2)": (
        "nothing that a client may say and that passes the other checks is that long; it saves the reading of what is"
    ),
    "core.frames.read_from_broker: if len(head) <= _DELIVER_HEAD": (
        "behind a head that is too short there is no name, and that is refused for not being one"
    ),
    **dict.fromkeys(
        (
            "core.rsa._private: if key.public_key().public_numbers().e != RSA_EXPONENT",
            "core.rsa._private: key.key_size != RSA_BITS (of 2)",
        ),
        "the public half is held against the same policy right after; this says it before anything is done with the key",
    ),
    "core.rsa._PublicKey: not isinstance(key, rsa.RSAPublicKey) (of 2)": (
        "of the other kinds of key that are 294 bytes long, none says that it has 2,048 bits"
    ),
    "core.sending.answered: item.sealed is None (of 3)": "nothing is sent before it is sealed; the type does not say so",
    "core.sending._judge: copy (of 2)": "whoever asks this knows that there is a copy; the type does not say so",
    "core.vault._read: len(raw) > _SIZE_MAX (of 2)": (
        "nobody has a longer keystore that opens, for none is ever written; it saves the deriving of its key"
    ),
    "core.peers.bundle: pin (of 3)": "a bundle is kept once its key is pinned, and no pin is ever taken away",
    "broker.door.committed: owner is None (of 2)": "a claim that was applied has an owner, its own or an earlier one's",
}
"""Mutants that no test can notice, each with the reason."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One check taken out: ``text`` is what is gone, ``source`` the module without it."""

    module: str
    function: str
    line: int
    text: str
    source: str

    @property
    def name(self) -> str:
        """What it is called in lists."""
        return f"{self.module}.{self.function}: {self.text}"


Edit = Callable[[], None]


def mutants_of(module: str, functions: Sequence[str]) -> Iterator[Mutant]:
    """Every way to take one check out of these functions, in the order of the code."""
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    for function in functions:
        count = len(list(_edits(_find(ast.parse(source), function))))
        for number in range(count):
            tree = ast.parse(source)
            node, text, edit = list(_edits(_find(tree, function)))[number]
            edit()
            yield Mutant(module, function, node.lineno, text, ast.unparse(ast.fix_missing_locations(tree)) + "\n")


def _find(tree: ast.Module, name: str) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return node
    raise SystemExit(f"There is no {name} any more; correct TARGETS in {__file__}.")


def _edits(root: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str, Edit]]:
    """What can be taken out below ``root``: the node, its text, and what takes it out."""
    if isinstance(root, ast.AnnAssign) and isinstance(root.value, ast.Tuple):  # a table of checks
        for entry in root.value.elts:
            yield entry, f"the stage {ast.unparse(entry)}", _removing(root.value.elts, entry)
        return
    for node in ast.walk(root):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                for statement in block:
                    if _is_check(statement):
                        yield statement, _headline(statement), _passing(block, statement)
        # `x or default` is no condition.
        if isinstance(node, ast.BoolOp) and not isinstance(node.values[-1], ast.Constant | ast.Tuple):
            for operand in node.values:
                yield operand, f"{ast.unparse(operand)} (of {len(node.values)})", _without(node, operand)
        if isinstance(node, ast.Compare) and len(node.ops) == 2:
            yield node, f"the lower end of {ast.unparse(node)}", _end(node, lower=True)
            yield node, f"the upper end of {ast.unparse(node)}", _end(node, lower=False)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "from_b64url" and len(node.args) == 2:
            yield node, f"the size in {ast.unparse(node)}", _removing(node.args, node.args[1])


def _is_check(statement: object) -> bool:
    """Whether it does nothing but refuse: an ``if`` that only raises or returns, or a call whose result nobody takes."""
    if isinstance(statement, ast.If):
        last = statement.body[-1]
        return not statement.orelse and len(statement.body) == 1 and isinstance(last, ast.Raise | ast.Return | ast.Continue)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return not isinstance(statement.value.func, ast.Attribute) or statement.value.func.attr in ("verify", "split_sealed")
    return False


def _headline(statement: ast.stmt) -> str:
    return ast.unparse(statement).split("\n", 1)[0].rstrip(":")


def _removing(items: list[ast.expr], item: ast.expr) -> Edit:
    return lambda: items.remove(item)


def _passing(block: list[ast.stmt], statement: ast.stmt) -> Edit:
    def edit() -> None:
        block[block.index(statement)] = ast.copy_location(ast.Pass(), statement)

    return edit


def _without(node: ast.BoolOp, operand: ast.expr) -> Edit:
    # One operand left is still a BoolOp for Python's printer, and means that operand.
    return lambda: node.values.remove(operand)


def _end(node: ast.Compare, *, lower: bool) -> Edit:
    def edit() -> None:
        if lower:
            node.left = node.comparators.pop(0)
            node.ops.pop(0)
        else:
            node.comparators.pop()
            node.ops.pop()

    return edit


# Running


class Copies:
    """Copies of the tree to run the tests in, as many as run at a time."""

    def __init__(self, folder: Path, number: int) -> None:
        self._free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for at in range(number):
            copy = folder / str(at)
            for name in _COPIED:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / name, copy / name)
            self._free.put(copy)

    def notices(self, mutant: Mutant | None) -> bool:
        """Whether the tests fail with this mutant in place of its module."""
        copy = self._free.get()
        try:
            path = None if mutant is None else copy / f"{mutant.module.replace('.', '/')}.py"
            before = path.read_bytes() if path else b""
            if path and mutant:
                path.write_text(mutant.source, encoding="utf-8")
            first = [_FIRST[mutant.module]] if mutant else []
            try:
                return any(_fails(copy, tests) for tests in (*first, _ATTACKS, _OTHERS))
            finally:
                if path:
                    path.write_bytes(before)
        finally:
            self._free.put(copy)


def _fails(copy: Path, tests: Sequence[str]) -> bool:
    # No compiled files: two mutants of one size and second would be taken for each other.
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy)}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=copy, env=environ, capture_output=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def page() -> str:
    """docs/MUTANTS.md: how many checks are taken out where, and which of them nothing can notice."""
    lines = [
        "# Checks that are taken out",
        "",
        "`make mutants` takes each check below out of a copy of the code, one at a time, and runs the tests: one must fail.",
        "A check is an `if` that only refuses, one of several conditions, one end of a range, a size, or a call whose result",
        "nobody takes. The stages of the receive order are those of [the protocol](PROTOCOL.md#37-opening-in-this-order).",
        "This page is made by `python -m scripts.mutants --write`.",
        "",
        "| module | function | checks |",
        "| --- | --- | --- |",
    ]
    for module, functions in TARGETS.items():
        for function in functions:
            count = len(list(mutants_of(module, [function])))
            if count:
                lines.append(f"| `{module}` | `{function}` | {count} |")
    lines += ["", "## Those that no test can notice", "", "| check | why that is harmless |", "| --- | --- |"]
    lines += [f"| `{name.replace('|', chr(92) + '|')}` | {why} |" for name, why in HARMLESS.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run; returns 0 if every mutant is noticed or known to be harmless."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TARGETS, help="one module's checks")
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("--write", action="store_true", help="bring docs/MUTANTS.md up to date")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="runs at a time")
    options = parser.parse_args()
    if options.write:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    found = [
        mutant
        for module, functions in TARGETS.items()
        if options.only in (None, module)
        for mutant in mutants_of(module, functions)
    ]
    if options.list:
        print(*(f"{mutant.module}:{mutant.line} {mutant.function}: {mutant.text}" for mutant in found), sep="\n")
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = Copies(Path(folder), options.jobs)
        if copies.notices(None):
            raise SystemExit("The tests fail without any mutant; mend that first.")
        print(f"{len(found)} checks to take out; the tests pass with all of them in place", flush=True)
        survivors = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for mutant, noticed in zip(found, pool.map(copies.notices, found), strict=True):
                word = "noticed" if noticed else "harmless" if mutant.name in HARMLESS else "SURVIVED"
                print(f"{word:8}  {mutant.name}", flush=True)
                if word == "SURVIVED":
                    survivors.append(mutant)
                elif noticed and mutant.name in HARMLESS:
                    print(f"          … which is listed as harmless in {Path(__file__).name}: take it off", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(found)} checks taken out in {seconds:.0f} s, {len(survivors)} of them unnoticed")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
