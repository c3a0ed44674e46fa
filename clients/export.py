"""A history as Markdown that reads well as it is. What peers wrote stands in indented blocks, in which Markdown means nothing.

So no text can end its message, load a picture, disguise a link or add markup: an indented block ends only at a line that is
not indented, and every line of it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import tzinfo
from typing import Final

from clients.view import clock, day, listing, moment, order_notes, text_of, tick
from core.events import MessageReceived, MessageSent, Outcome
from core.names import EVERYONE

_MARKUP: Final = re.compile(r"([\\`*_\[\]<.])")  # the dot, too: www.example.org is a username, and for many programs a link


class MarkdownExport:
    """Puts messages into Markdown, one after the other: each under its day's heading. Times are of ``zone``, or local."""

    def __init__(self, user: str, peer: str | None, zone: tzinfo | None = None) -> None:
        self._user = user
        self._peer = peer
        self._zone = zone
        self._day = ""

    def title(self, now: float) -> str:
        """What the page begins with; ``now`` is in seconds since 1970."""
        whom = "" if self._peer is None else " to everyone" if self._peer == EVERYONE else f" with {self._peer}"
        made = moment(now, self._zone)
        return f"# Messages of {_plain(self._user + whom)}\n\nExported on {made}; times are local.\n"

    def received(self, event: MessageReceived) -> str:
        """A message from a peer."""
        message = event.message
        to = " to everyone" if message.everyone else ""
        notes = "".join(f"\n*{_plain(note)}*\n" for note in order_notes(message))
        return self._day_of(message.ts) + notes + self._said(message.ts, message.sender, to, text_of(message.content))

    def sent(self, event: MessageSent, became: Mapping[str, Outcome]) -> str:
        """A message of the user's own, and what became of it."""
        to = EVERYONE if event.everyone else listing(event.to)
        about = f" to {_plain(to)} ({_plain(tick(became))})"
        return self._day_of(event.at) + self._said(event.at, self._user, about, text_of(event.content))

    def _day_of(self, ms: int) -> str:
        found = day(ms / 1000, self._zone)
        if found == self._day:
            return ""
        self._day = found
        return f"\n## {found}\n"

    def _said(self, ms: int, who: str, about: str, text: str) -> str:
        body = "".join(f"    {line}\n" for line in text.split("\n"))
        return f"\n**{clock(ms / 1000, self._zone)} {_plain(who)}**{about}\n\n{body}"


def _plain(text: str) -> str:
    """Words of our own and names, without what Markdown could take for markup in them."""
    return _MARKUP.sub(r"\\\1", text)
