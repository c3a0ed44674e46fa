"""What a history looks like as Markdown, read by a Markdown reader: no text of a peer's becomes more than text."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from clients.export import MarkdownExport
from core.bundle import Suite
from core.content import File, Text
from core.events import Message, MessageReceived, MessageSent, Outcome, Trust
from core.order import Place

NOW = 1_800_000_000
DAY = 86_400
AT_ITS_PLACE = Place()
HOSTILE = (
    "![](https://evil.example/pixel.png)",
    "<img src=https://evil.example/pixel.png>",
    "<script>alert(1)</script>",
    "</code></pre><h1>x</h1>",
    "[your bank](https://evil.example)",
    "[x]: https://evil.example\n\n[x]",
    "# A heading",
    "text\n====",
    "\n\n---\n\n## Monday, 1 January 2035\n\n**09:00 bob**\n\n",
    "```\n![](x)\n```\n~~~",
    "a\rb\u2028# c\u2029# d\x0b# e\x0c# f\x85# g",
    "\t\n \n# after blank lines",
    "&lt;b&gt; &#x3c;",
    "| a | b |\n| - | - |",
    "https://evil.example www.evil.example me@evil.example",
)


def received(
    text: str, at: int = NOW, sender: str = "bob", *, everyone: bool = False, place: Place = AT_ITS_PLACE
) -> MessageReceived:
    return MessageReceived(
        Message(bytes(16), sender, bytes(32), ("alice",), everyone, at * 1000, Suite.HYBRID, Trust.NEW, Text(text), place)
    )


def export(*events: MessageReceived | MessageSent, peer: str | None = None) -> str:
    page = MarkdownExport("alice", peer, UTC)
    became = {"bob": Outcome.DELIVERED}
    said = [page.received(one) if isinstance(one, MessageReceived) else page.sent(one, became) for one in events]
    return "".join([page.title(NOW), *said])


def shape(text: str) -> list[tuple[str, str]]:
    """What a reader makes of it: each block, with its text."""
    tokens = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(text)
    inline = {child.type for one in tokens for child in one.children or ()}
    assert inline <= {"text", "text_special", "strong_open", "strong_close", "em_open", "em_close"}, inline
    return [(one.type, one.content) for one in tokens if one.content]


def test_it_reads_well_as_it_is() -> None:
    sent = MessageSent(bytes(16), ("bob",), False, Suite.HYBRID, Text("all is well\n  here"), NOW * 1000)
    late = received("hi all", NOW + DAY, "a_b.c_d", everyone=True, place=Place(missing=2))
    assert export(sent, received("good"), late) == (
        "# Messages of alice\n"
        "\n"
        "Exported on 2027-01-15 08:00; times are local.\n"
        "\n"
        "## Friday, 15 January 2027\n"
        "\n"
        "**08:00 alice** to bob (✓✓ delivered)\n"
        "\n"
        "    all is well\n"
        "      here\n"
        "\n"
        "**08:00 bob**\n"
        "\n"
        "    good\n"
        "\n"
        "## Saturday, 16 January 2027\n"
        "\n"
        "*2 messages from a\\_b\\.c\\_d are missing*\n"
        "\n"
        "**08:00 a\\_b\\.c\\_d** to everyone\n"
        "\n"
        "    hi all\n"
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_more_than_text(text: str) -> None:
    assert harmless(text)


@given(st.lists(st.sampled_from([*HOSTILE, "\n", "\r\n", " ", "\t", "`", "*", "<", ">", "-", "x", "\\"])).map("".join))
def test_no_mixture_is_more_than_text(text: str) -> None:
    assert harmless(text)


def harmless(text: str) -> bool:
    """Whether a message is one block of code between its own line and the next message's, whatever is in it."""
    found = shape(export(received("1"), received(text), received("2")))
    blocks = [kind for kind, _ in found]
    body = [] if not text.replace("\r\n", "\n").strip(" \t\n") else ["code_block"]
    line = ["inline", "code_block"]
    return blocks == ["inline", "inline", "inline", *line, "inline", *body, *line]


def test_a_name_that_looks_like_a_place_is_none() -> None:
    assert "www\\.evil\\.com" in export(received("x", sender="www.evil.com"))
    assert shape(export(received("x", sender="a._b_"), peer="a._b_"))[0] == ("inline", "Messages of alice with a\\.\\_b\\_")
    assert "Messages of alice to everyone" in export(peer="everyone")


def test_a_files_name_is_text_too() -> None:
    file = File("![](x).png", 1200, bytes(32), bytes(32), bytes(16))
    sent = MessageSent(bytes(16), ("bob",), False, Suite.HYBRID, file, NOW * 1000)
    assert shape(export(sent))[-1] == ("code_block", "[file] ![](x).png (1.2 kB)\n")
