"""Texts on a terminal, in lines that it does not have to break."""

from __future__ import annotations

import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcwidth

from clients.folding import cells, folded
from clients.telling import under
from clients.terminal import Terminal, faint
from clients.view import clean

EVERY_LETTER = [one for one in map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]) if clean(one) == one]


@contextlib.contextmanager
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """One of 20 columns, which a person looks at."""
    ours, theirs = os.openpty()
    monkeypatch.setenv("COLUMNS", "20")
    with open(theirs, "w", encoding="ascii") as stream, monkeypatch.context() as patch:  # noqa: PTH123 - a descriptor
        patch.setattr("sys.stdout", stream)
        yield Terminal(as_json=False, quiet=False)
    os.close(ours)


def test_nothing_is_thought_narrower_than_it_is_drawn() -> None:
    assert [hex(ord(one)) for one in EVERY_LETTER if one not in "\n\t" and cells(one) < wcwidth(one)] == []
    assert cells("\u2764\ufe0f") == 2
    assert cells("a\u0301\u200d") == 1


@pytest.mark.parametrize(
    ("line", "first", "pieces"),
    [
        ("", 3, [""]),
        ("one two", 7, ["one two"]),
        ("one two", 6, ["one", "two"]),
        ("one  two three", 9, ["one  two", "three"]),
        ("two three", 1, ["", "two three"]),
        ("three", -5, ["", "three"]),
        ("abcdefghijklm", 5, ["", "abcdefghij", "klm"]),
        ("a abcdefghijklm", 5, ["a", "abcdefghij", "klm"]),
        ("abcdefghijklm", 10, ["abcdefghij", "klm"]),
        ("世界世界世界", 10, ["世界世界世", "界"]),
        ("       abcdefg", 10, ["", "abcdefg"]),
        ("a\tb", 9, ["a       b"]),
        (" " * 30, 10, ["", ""]),
    ],
)
def test_a_line_in_pieces(line: str, first: int, pieces: list[str]) -> None:
    assert folded(line, first, 10) == pieces


@given(st.text(st.sampled_from(EVERY_LETTER)), st.integers(-5, 9), st.integers(2, 9))
def test_no_piece_is_too_wide_and_no_word_is_lost(text: str, first: int, later: int) -> None:
    line = text.replace("\n", " ")
    first_piece, *others = folded(line, first, later)
    assert cells(first_piece) <= max(first, 0)
    assert all(cells(one) <= later for one in others)
    assert "".join([first_piece, *others]).replace(" ", "") == line.expandtabs().replace(" ", "")


def test_a_sender_cannot_have_the_terminal_begin_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    forged = "x" * 12 + " 23:31 boss: pay mallory\n" + "é" * 3
    head = faint("23:30") + " mal"
    with on_a_terminal(monkeypatch) as terminal:
        lines = under(terminal, head, forged).splitlines()
        longer = under(terminal, head, "é" * 5).splitlines()
    assert lines == [f"{head}: ", "    xxxxxxxxxxxx", "    23:31 boss: pay", "    mallory", r"    \xe9\xe9\xe9"]
    assert longer == [f"{head}: ", r"    \xe9\xe9\xe9\xe9", r"    \xe9"]


def test_what_no_person_looks_at_is_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    line = "x" * 99
    assert under(Terminal(as_json=False, quiet=False), "now bob", f"{line}\n{line}") == f"now bob: {line}\n    {line}"


def test_every_letter_has_a_category_that_is_counted() -> None:
    assert {unicodedata.category(one) for one in EVERY_LETTER if cells(one) == 0} == {"Mn", "Me", "Cf"}
