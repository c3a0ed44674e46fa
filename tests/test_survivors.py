"""scripts.survivors: mutants by what they change, and the page that lists those that no test notices."""

from __future__ import annotations

import ast

import pytest

from scripts.survivors import PAGE, ROOT, described, listed

MUTATED = """
def x_size__mutmut_orig(a, b):
    if a < b:
        return a + 1
    return a + 1

def x_size__mutmut_1(a, b):
    if a <= b:
        return a + 1
    return a + 1

def x_size__mutmut_2(a, b):
    if a < b:
        return a - 1
    return a + 1

def x_size__mutmut_3(a, b):
    if a < b:
        return a + 1
    return a - 1

class Box:
    def xǁBoxǁopen__mutmut_orig(self):
        return self.lid("a word", 1)
    def xǁBoxǁopen__mutmut_1(self):
        return self.lid(
            "XXa wordXX", 1
        )
    def xǁBoxǁopen__mutmut_2(self):
        return self.lid("a word", )
"""


def test_a_mutant_is_called_by_its_function_and_its_change() -> None:
    names = ["x_size__mutmut_1", "x_size__mutmut_2", "x_size__mutmut_3", "xǁBoxǁopen__mutmut_1", "xǁBoxǁopen__mutmut_2"]
    assert list(described("core.box", MUTATED, names)) == [
        "core.box.size: if a {< → <=} b:",
        "core.box.size: return a {+ → -} 1",
        "core.box.size: return a {+ → -} 1 (no. 2)",
        "core.box.Box.open: return self.lid({'a word' → 'XXa wordXX'}, 1)",
        "core.box.Box.open: return self.lid('a word'{, 1 → })",
    ]


def test_the_page_gives_each_mutant_the_reason_above_it() -> None:
    assert listed("# Title\n\n## Why\n\n- `a: b`\n- `c: d`\n\n## Another\n\n- `e: f`\n") == {
        "a: b": "Why",
        "c: d": "Why",
        "e: f": "Another",
    }


@pytest.mark.parametrize("page", ["- `a: b`\n", "## Why\n- `a: b`\n- `a: b`\n"])
def test_a_page_that_lists_one_without_a_reason_or_twice_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="a: b"):
        listed(page)


def test_what_is_listed_is_in_the_code() -> None:
    for name in listed(PAGE.read_text(encoding="utf-8")):
        where, _, _ = name.partition(": ")
        parts = where.split(".")
        tree = ast.parse((ROOT / "core" / f"{parts[1]}.py").read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert defined.issuperset(parts[2:]), name
