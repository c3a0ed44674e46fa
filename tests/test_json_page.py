"""docs/JSON.md: every line that ``--json`` may print is in it, with every member."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from core.events import Outcome, Trust

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "JSON.md").read_text()
ROWS = re.findall(r"^\| `([a-z-]+)` \|[^|]*\|(.*)\|$", PAGE, re.MULTILINE)[1:]  # without the table's head
MEMBERS = {type_: set(re.findall(r"`([a-z_]+)`", what)) for type_, what in ROWS}


def printed() -> Iterator[tuple[str, set[str]]]:
    """The type and the members of each object that the code writes out."""
    for path in (ROOT / "clients").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Dict):
                continue
            members = {
                key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)
            }
            if {"v", "type"} <= members.keys():
                type_ = members["type"]
                assert isinstance(type_, ast.Constant), path
                yield str(type_.value), {str(key) for key in members} - {"v", "type"}


def test_every_line_is_documented_with_its_members() -> None:
    found: dict[str, set[str]] = {}
    for type_, members in printed():
        found.setdefault(type_, set()).update(members)
    assert MEMBERS.keys() == found.keys()
    assert {type_: members - MEMBERS[type_] for type_, members in found.items() if members - MEMBERS[type_]} == {}


def test_every_value_of_trust_and_of_an_outcome_is_documented() -> None:
    assert {one.value for one in (*Trust, *Outcome)} - set(re.findall(r"`([a-z]+)`", PAGE)) == set()
