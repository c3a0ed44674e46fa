"""A conversation as HTML, and what counts as unread: pure functions."""

from __future__ import annotations

import itertools
import string
from types import MappingProxyType

import pytest

from clients.page_log import BLOCK, failed, first_shown, literal, log_parts, mood, plain
from clients.page_state import count_unread
from clients.timeline import Line, LineKind
from core.bundle import Suite
from core.events import Outcome, Trust

NOON = 1_700_049_600.0


def line(number: int, text: str = "", *, sender: str = "bob", kind: LineKind = LineKind.MESSAGE, **more: object) -> Line:
    fields = {"when": NOON + number, "suite": Suite.HYBRID, **more}
    return Line(key=f"k{number}", kind=kind, conversation="bob", sender=sender, text=text or f"text {number}", **fields)  # type: ignore[arg-type]


def log_blocks(lines: list[Line], shown: int) -> list[str]:
    """The parts of a log without files."""
    parts = log_parts(lines, shown)
    return [part for part in parts if isinstance(part, str)]


def mine(number: int, **outcomes: Outcome) -> Line:
    return line(number, sender="me", mine=True, outcomes=MappingProxyType(outcomes))


@pytest.mark.parametrize("text", ["<script>", "a & b", '"quoted"', "'", "\x1b[0m", "</div>"])
def test_no_text_ends_up_as_markup(text: str) -> None:
    for kind in LineKind:
        (block,) = log_blocks([line(1, text, sender=text, kind=kind)], 50)
        assert "<script" not in block
        assert "\x1b" not in block
        assert block.count("<div") == block.count("</div>")
        assert plain(text) in block


@pytest.mark.parametrize(
    "text",
    [
        "bob",
        "a_b_c",
        "www.example.com",
        "x-_y_-",
        "a.b",
        "`x`",
        ":red[x]",
        "**x**",
        "<b>",
        "$x$",
        "“Größe” § 5 €",
        "e\u0301.txt",
    ],
)
def test_a_label_shows_exactly_this_text(text: str) -> None:
    escaped = literal(text)
    assert escaped.replace("\\", "").replace("\u2060", "") == text
    for before, one in itertools.pairwise(f" {escaped}"):
        assert (before == "\\") is (one in string.punctuation and one != "\\")  # it is seen before anything else


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("www.evil.example", "www|.evil.example"),
        ("WwW.evil.example", "WwW|.evil.example"),
        ("a@evil.example", "a@|evil.example"),
        (":material_x: :streamlit: :+1:", ":|material_x:| :|streamlit:| :|+1:|"),
        ("a -- b -> c <- d <-> e", "a -|- b -|> c <|- d <|-|> e"),
        (">= <= ~=", ">|= <|= ~|="),
        ("wwwx a.b c-d_e f<g>h ww.w", "wwwx a.b c-d_e f<g>h ww.w"),
    ],
)
def test_what_would_be_made_more_of_in_a_label_is_taken_apart(text: str, shown: str) -> None:
    assert literal(text).replace("\\", "").replace("\u2060", "|") == shown


def test_a_new_line_changes_the_last_block_alone() -> None:
    lines = [line(number) for number in range(95)]
    before = log_blocks(lines, 50)
    after = log_blocks([*lines, line(95)], 50)
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
    shown = "".join(before)
    assert "text 40<" in shown
    assert "text 39<" not in shown


@pytest.mark.parametrize(
    ("total", "shown", "first"), [(0, 50, 0), (50, 50, 0), (51, 50, 0), (60, 50, 10), (69, 50, 10), (95, 200, 0)]
)
def test_drawing_begins_at_the_start_of_a_block(total: int, shown: int, first: int) -> None:
    assert first_shown(total, shown) == first
    assert first % BLOCK == 0


def test_a_sender_is_named_once_and_a_day_told_where_it_begins() -> None:
    (block,) = log_blocks([line(1), line(2), line(3, sender="carol"), line(90_000, sender="carol")], 50)
    assert block.count('class="sc-who"') == 3  # bob, carol, and carol again on the next day
    assert block.count('class="sc-day"') == 2


def test_another_key_under_the_same_name_is_told_where_it_begins() -> None:
    first = line(1, kid=b"1" * 32)
    second, third = (line(number, kid=b"2" * 32, trust=Trust.RENEWED) for number in (2, 3))
    (block,) = log_blocks([first, second, third, line(4, kid=b"3" * 32, trust=Trust.RENEWED)], 50)
    assert block.count('class="sc-who"') == 3
    assert block.count("a guest with a new key") == 2


@pytest.mark.parametrize(
    ("text", "in_columns"),
    [
        ("Filesystem  Size\n/dev/sda1    30G", True),
        ("a\tb\nc\td", True),
        ("- a list\n    - with what belongs\n    - to it", False),
        ("One sentence.  And another!  And\na third.  That is all.", False),
        ("one row  only", False),
        ("“Yes.”  And\n“No.”  Then", False),
        ("Hello,  dear\nfriends,  all", False),
        ("step  one\nstep  two\ncurl https://ok.example/x" + 200 * " " + "; rm -rf ~", False),
        ("plain\nlines\nof text ", False),
    ],
)
def test_what_is_in_columns_stays_so(text: str, in_columns: bool) -> None:
    (block,) = log_blocks([line(1, text)], 50)
    assert ("sc-columns" in block) is in_columns


def test_suite_and_outcome_are_told() -> None:
    (block,) = log_blocks([mine(1, bob=Outcome.DELIVERED, carol=Outcome.ABSENT), line(2, suite=Suite.CHUNKED)], 50)
    assert "✗ was not here (1 of 2)" in block
    assert 'title="bob: delivered\ncarol: was not here"' in block
    assert "chunked" in block
    assert "hybrid" not in block


def test_what_only_few_want_to_know_is_where_they_point() -> None:
    (block,) = log_blocks([line(1, "Refused.", kind=LineKind.REFUSED, about='check: "decrypt"')], 50)
    assert 'title="check: &quot;decrypt&quot;">Refused. · <time>' in block


def test_long_text_is_folded_and_complete() -> None:
    text = "\n".join(f"row {number}" for number in range(100))
    (block,) = log_blocks([line(1, text)], 50)
    assert "<details" in block
    parts = [part.split("</div>")[0] for part in block.split('<div class="sc-text">')[1:]]
    assert "".join(parts) == text


@pytest.mark.parametrize(
    ("outcome", "feeling"),
    [
        (Outcome.QUEUED, "waiting"),
        (Outcome.SENT, "waiting"),
        (Outcome.STORED, "fine"),
        (Outcome.UNPROVEN, "bad"),
        (Outcome.DELIVERED, "done"),
        (Outcome.ABSENT, "bad"),
        (Outcome.GONE, "bad"),
        (Outcome.FULL, "bad"),
        (Outcome.UNTRUSTED, "bad"),
    ],
)
def test_how_a_message_fares(outcome: Outcome, feeling: str) -> None:
    assert mood(mine(1, bob=outcome)) == feeling
    assert failed(mine(1, bob=outcome)) == (("bob",) if feeling == "bad" else ())


def test_what_counts_as_unread() -> None:
    lines = [line(1), mine(2), line(3), line(4, kind=LineKind.SYSTEM), line(5, kind=LineKind.REFUSED)]
    assert count_unread(lines, None) == 3
    assert count_unread(lines, "k1") == 2
    assert count_unread(lines, "k5") == 0
    assert count_unread(lines, "gone from the log") == 3
    assert count_unread([], None) == 0
