"""A conversation as HTML. Every piece of text from outside goes through ``plain``: it is shown, never interpreted."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from clients.timeline import Line, LineKind
from clients.view import clean, clock, day, outcome_word, tick
from core.bundle import Suite
from core.content import File
from core.events import Outcome, Trust

# Lines are drawn in blocks at fixed places, so that a new line changes one block's HTML and the browser keeps the rest.
BLOCK: Final = 10
_FOLD_CHARS: Final = 1500
_FOLD_LINES: Final = 25
# Not behind the end of a sentence, where two spaces stand, too. A run is looked at from its beginning only: somebody may send
# nothing but spaces.
_COLUMN: Final = re.compile(r"(?<=[\w%/-])(?: {2,}+|\t++)\S")
_ROW_MAX: Final = 200  # characters: nobody is to hide at the far end of a row what is copied with it
# What Streamlit makes links, icons, emoji and arrows of once its Markdown is read and the backslashes are gone.
_MADE_MORE_OF: Final = re.compile(r"(?<=www)(?=[.])|(?<=[:@])|(?<=[-<>~])(?=[-=>])", re.IGNORECASE)
_WORD_JOINER: Final = "\u2060"  # it takes no room and allows no break
_SAME_BREATH: Final = 300.0  # seconds within which a sender's name is not repeated

SUITE_NAMES: Final = {Suite.HYBRID: "hybrid", Suite.CHUNKED: "chunked"}


def plain(text: str) -> str:
    """Text as HTML that shows exactly this text."""
    return html.escape(clean(text))


def literal(text: str) -> str:
    """Text for a label that Streamlit reads as Markdown: it shows exactly this text, and does no more with it."""
    return re.sub(r"[!-/:-@\[-`{-~]", lambda sign: "\\" + sign[0], _MADE_MORE_OF.sub(_WORD_JOINER, text))


@dataclass(frozen=True, slots=True)
class FileLine:
    """A message that is a file, which takes more than HTML to draw; ``meta`` is the HTML of when and how it was sent."""

    line: Line
    file: File
    meta: str


LogPart = str | FileLine


def log_parts(lines: Sequence[Line], shown: int) -> list[LogPart]:
    """The last ``shown`` lines, and up to nine more: blocks of HTML, and the files between them."""
    first = first_shown(len(lines), shown)
    return [part for at in range(first, len(lines), BLOCK) for part in _joined(_block(lines, at, first))]


def _joined(pieces: Iterator[LogPart]) -> Iterator[LogPart]:
    text: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            text.append(piece)
            continue
        if text:
            yield "".join(text)
            text = []
        yield piece
    if text:
        yield "".join(text)


def first_shown(total: int, shown: int) -> int:
    """Where drawing begins: at the start of a block."""
    return max(0, total - shown) // BLOCK * BLOCK


def line_id(key: str) -> str:
    """The HTML id by which the page's script finds a line."""
    return f"line-{key}"


def _block(lines: Sequence[Line], start: int, first: int) -> Iterator[LogPart]:
    for at in range(start, min(start + BLOCK, len(lines))):
        line = lines[at]
        before = lines[at - 1] if at > first else None
        if before is None or day(before.when) != day(line.when):
            yield f'<div class="sc-day"><span>{plain(day(line.when))}</span></div>'
            before = None
        if line.file is not None:
            yield from _file(line, line.file, before)
        else:
            yield _line(line, before)


def _file(line: Line, file: File, before: Line | None) -> Iterator[LogPart]:
    if head := _who(line, before):
        side = "sc-mine" if line.mine else "sc-theirs"
        yield f'<div class="sc-message {side}">{head}</div>'
    yield FileLine(line, file, f'<div id="{line_id(line.key)}">{_meta(line)}</div>')


def _line(line: Line, before: Line | None) -> str:
    if line.kind is LineKind.MESSAGE:
        return _message(line, before)
    kind = "sc-refused" if line.kind is LineKind.REFUSED else "sc-system"
    about = f' title="{plain(line.about)}"' if line.about else ""
    return f'<div class="{kind}"{about}>{plain(line.text)} · <time>{clock(line.when)}</time></div>'


def _message(line: Line, before: Line | None) -> str:
    side = "sc-mine" if line.mine else "sc-theirs"
    near = " sc-follows" if _follows(line, before) else ""
    bubble = f'<div class="sc-bubble">{body(line.text)}{_meta(line)}</div>'
    return f'<div class="sc-message {side}{near}" id="{line_id(line.key)}">{_who(line, before)}{bubble}</div>'


def _follows(line: Line, before: Line | None) -> bool:
    return (
        before is not None
        and before.kind is LineKind.MESSAGE
        and (before.sender, before.kid) == (line.sender, line.kid)
        and abs(line.when - before.when) < _SAME_BREATH
    )


def _who(line: Line, before: Line | None) -> str:
    if line.mine or _follows(line, before):
        return ""
    renewed = ' <span class="sc-renewed">· a guest with a new key</span>' if line.trust is Trust.RENEWED else ""
    return f'<div class="sc-who">{plain(line.sender)}{renewed}</div>'


def body(text: str) -> str:
    """A message's text; what is long is folded."""
    kind = "sc-text sc-columns" if _is_in_columns(text) else "sc-text"
    if len(text) <= _FOLD_CHARS and text.count("\n") < _FOLD_LINES:
        return f'<div class="{kind}">{plain(text)}</div>'
    head = "\n".join(text[:_FOLD_CHARS].split("\n")[: _FOLD_LINES - 1])
    rest = text[len(head) :]
    size = f"{len(text):,} characters, {text.count(chr(10)) + 1:,} lines"
    return (
        f'<div class="{kind}">{plain(head)}</div>'
        f'<details class="sc-fold"><summary>Show all ({size})</summary>'
        f'<div class="{kind}">{plain(rest)}</div></details>'
    )


def _is_in_columns(text: str) -> bool:
    """Whether it was set in a terminal's letters, all of one width, as the tables are that programs print."""
    rows = text.split("\n")
    return all(len(row) <= _ROW_MAX for row in rows) and sum(1 for row in rows if _COLUMN.search(row)) > 1


def _meta(line: Line) -> str:
    parts = [f"<time>{clock(line.when)}</time>"]
    if line.suite not in (None, Suite.HYBRID):  # what is the rule is not repeated in each line
        parts.append(f'<span class="sc-suite">{SUITE_NAMES[line.suite]}</span>')
    if line.outcomes:
        each = "\n".join(f"{user}: {outcome_word(outcome)}" for user, outcome in sorted(line.outcomes.items()))
        parts.append(f'<span class="sc-tick sc-{mood(line)}" title="{plain(each)}">{plain(tick(line.outcomes))}</span>')
    return f'<div class="sc-meta">{" · ".join(parts)}</div>'


def mood(line: Line) -> str:
    """How one's own message fares: ``bad``, ``waiting``, ``fine`` or ``done``, for its colour."""
    outcomes = set(line.outcomes.values())
    if failed(line):
        return "bad"
    if outcomes & {Outcome.QUEUED, Outcome.SENT}:
        return "waiting"
    return "done" if outcomes == {Outcome.DELIVERED} else "fine"


def failed(line: Line) -> tuple[str, ...]:
    """The recipients whom one's own message did not and will not reach."""
    return tuple(user for user, outcome in sorted(line.outcomes.items()) if outcome.final and not outcome.safe)
